"""bt 1.4, installed: the same weights as ours at each rebalancing, and a backtest that goes on with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.errors import BadInput, Infeasible
from allocator.integrations.host import TranslationWarning, with_holdings
from allocator.plan.rebalance import rebalance
from allocator.settings.settings import Confirmation
from tests.agreement import HOLDINGS
from tests.books import AS_OF, CASH
from tests.integrations.conftest import asked, ours, peer

# bt's statistics ask pandas 3.1 for the frequency of dates, and pandas says how the one after it will answer
pytestmark = pytest.mark.filterwarnings("ignore:A future version of pandas will return a BaseOffset")
INVESTED = {"mandate": {"risk_aversion": 1.0, "max_weight": 0.4, "max_cash": 0.02, "min_cash": 0.0}}
WHOLE = {"mandate": {"risk_aversion": 1.0, "max_weight": 0.4, "max_cash": 0.0}}


@pytest.fixture(scope="module")
def bt() -> Any:
    return peer("bt")


@pytest.fixture(scope="module")
def adapter() -> Any:
    peer("bt")
    return ours("bt")


def backtest(bt: Any, algo: Any, prices: pd.DataFrame, *before: Any, **options: Any) -> tuple[Any, Any]:
    """A quarterly strategy, and what it ended as."""
    algos = [bt.algos.RunQuarterly(), *(before or [bt.algos.SelectAll()]), algo, bt.algos.Rebalance()]
    test = bt.Backtest(bt.Strategy("robust", algos), prices, integer_positions=False, **options)
    return bt.run(test), test


@pytest.mark.filterwarnings("ignore:a part of the account stays")  # whole lots of our own API want a little cash
def test_each_rebalancing_buys_the_targets_of_our_own_api(bt: Any, adapter: Any, prices: pd.DataFrame) -> None:
    book = asked(prices.columns, **INVESTED, costs={"commission_bps": 10.0})
    asked_for: list[tuple[dict[str, float], np.ndarray, float]] = []

    class Recorded(adapter.WeighRobustly):  # type: ignore[misc, name-defined]
        def __call__(self, target: Any) -> bool:
            held = np.array([target.children[n].weight if n in target.children else 0.0 for n in book.instruments])
            done = super().__call__(target)
            asked_for.append((dict(target.temp["weights"]), held, float(target.value)))
            return bool(done)

    result, test = backtest(bt, Recorded(book), prices[prices.columns[::-1]])

    assert len(asked_for) >= 4
    for weights, held, value in asked_for:
        target = rebalance(with_holdings(book, held, 1 - held.sum(), value)).target
        ours_now = dict(zip(book.instruments, target.values / target.value_before, strict=True))
        assert {name: weights.get(name, 0.0) for name in book.instruments} == pytest.approx(ours_now, abs=HOLDINGS)
    assert np.isfinite(result.stats.loc["cagr", "robust"])
    traded = test.security_weights.iloc[-1]
    assert traded.sum() == pytest.approx(0.98, abs=0.02)


def test_capital_that_is_kept_as_cash_is_warned_of(bt: Any, adapter: Any, prices: pd.DataFrame) -> None:
    book = asked(prices.columns, mandate={"min_cash": 0.3, "max_cash": 0.3, "max_weight": 0.4})

    with pytest.warns(TranslationWarning, match=r"a part of the account stays in USD-CASH, which is not a name of bt"):
        _, test = backtest(bt, adapter.WeighRobustly(book), prices)
    assert test.security_weights.sum(axis=1).max() < 0.8


@pytest.mark.parametrize("whole", [True, False])
def test_cash_that_is_a_column_is_what_is_not_invested_too(
    bt: Any, adapter: Any, prices: pd.DataFrame, whole: bool
) -> None:
    """With bt's whole units, which are its default, a rest is always left; on the first day all is."""
    book = asked(prices.columns, mandate={"min_cash": 0.2, "max_cash": 0.2, "max_weight": 0.4})
    held = prices.assign(**{CASH: 1.0})
    algos = [bt.algos.RunQuarterly(), bt.algos.SelectAll(), adapter.WeighRobustly(book), bt.algos.Rebalance()]
    test = bt.Backtest(bt.Strategy("robust", algos), held, integer_positions=whole)
    bt.run(test)

    weights = test.security_weights.loc[test.security_weights.sum(axis=1) > 0]
    assert weights.iloc[0].sum() == pytest.approx(1.0, abs=2e-3)
    assert weights.iloc[0][CASH] == pytest.approx(0.2, abs=2e-3)


def test_the_account_is_worth_what_the_strategy_is(bt: Any, adapter: Any, prices: pd.DataFrame) -> None:
    """A day's volume is money: a strategy of millions trades the smaller part of itself."""
    volumes = {"average_daily_volume": [100.0] * len(prices.columns)}
    wishes = {"max_participation": 0.1, "max_weight": 0.4, "max_cash": 1.0}
    book = asked(prices.columns, mandate=wishes, exposures_columns=volumes)
    for money, most in ((1e4, 0.1), (1e6, 0.001)):
        with pytest.warns(TranslationWarning, match="stays in USD-CASH"):
            _, test = backtest(bt, adapter.WeighRobustly(book), prices, initial_capital=money)
        invested = test.security_weights.loc[test.security_weights.sum(axis=1) > 0]
        assert invested.iloc[0].max() == pytest.approx(most, rel=0.02)


def test_returns_in_the_place_of_prices_are_refused(bt: Any, adapter: Any, prices: pd.DataFrame) -> None:
    book = asked(prices.columns, **INVESTED)
    for absent in ("refuse", "sell"):
        with pytest.raises(BadInput, match=r"are they returns\? bt wants prices"):
            backtest(bt, adapter.WeighRobustly(book, absent=absent), prices.pct_change().iloc[1:])


def test_a_book_of_a_later_day_is_warned_of(bt: Any, adapter: Any, prices: pd.DataFrame) -> None:
    book = asked(prices.columns, as_of=AS_OF, mandate={"max_weight": 0.4, "max_cash": 0.0})
    with pytest.warns(TranslationWarning, match="what it believes was not known then"):
        backtest(bt, adapter.WeighRobustly(book), prices)


def test_names_without_a_price_and_unknown_names_are_refused(bt: Any, adapter: Any, prices: pd.DataFrame) -> None:
    book = asked(prices.columns, **INVESTED)
    gone = prices.copy()
    gone.iloc[:, 0] = np.nan

    with pytest.raises(BadInput, match="select only names that have a price"):
        backtest(bt, adapter.WeighRobustly(book), gone, bt.algos.SelectAll(include_no_data=True))
    with pytest.raises(BadInput, match="of the book is not there"):
        backtest(bt, adapter.WeighRobustly(book), gone)
    with pytest.raises(BadInput, match="is not an instrument of the book"):
        backtest(bt, adapter.WeighRobustly(book), prices.rename(columns={prices.columns[0]: "WHO"}))


def test_a_short_position_is_refused_and_a_conflict_stops_the_run(bt: Any, adapter: Any, prices: pd.DataFrame) -> None:
    first, second = prices.columns[:2]
    book = asked(prices.columns, **INVESTED)

    class Short(bt.Algo):  # type: ignore[misc, name-defined]
        def __call__(self, target: Any) -> bool:
            target.rebalance(-0.2, first)
            target.rebalance(0.5, second)
            return True

    with pytest.raises(BadInput, match=f"{first}: must be a number from 0 to 1"):
        backtest(bt, adapter.WeighRobustly(book), prices, bt.algos.SelectAll(), Short())
    hopeless = asked(prices.columns, mandate={"max_turnover": 0.1, "max_cash": 0.0})
    with pytest.raises(Infeasible, match="turnover at most 10%"):
        backtest(bt, adapter.WeighRobustly(hopeless), prices)


@pytest.mark.filterwarnings("ignore:a part of the account stays")  # as above
def test_what_is_no_longer_selected_is_sold_where_that_is_asked(bt: Any, adapter: Any, prices: pd.DataFrame) -> None:
    book = asked(prices.columns, **INVESTED)
    last = prices.columns[-1]

    class LaterWithoutLast(bt.Algo):  # type: ignore[misc, name-defined]
        def __call__(self, target: Any) -> bool:
            later = target.now > prices.index[100]
            target.temp["selected"] = [name for name in prices.columns if not (later and name == last)]
            return True

    _, test = backtest(bt, adapter.WeighRobustly(book, absent="sell"), prices, LaterWithoutLast())
    assert test.security_weights[last].iloc[80] > 0.01
    assert test.security_weights[last].iloc[-1] == 0


def test_columns_that_are_numbers_are_given_their_weights(bt: Any, adapter: Any, prices: pd.DataFrame) -> None:
    numbered = prices.set_axis(range(len(prices.columns)), axis=1)
    _, named = backtest(bt, adapter.WeighRobustly(asked(prices.columns, **WHOLE)), prices)
    _, same = backtest(bt, adapter.WeighRobustly(asked(numbered.columns, **WHOLE)), numbered)
    last = named.security_weights.iloc[-1].rename(dict(zip(prices.columns, numbered.columns, strict=True)))
    assert same.security_weights.iloc[-1].to_dict() == pytest.approx(last.to_dict(), abs=1e-6)


def test_a_fixed_income_strategy_weighs_its_next_notional(bt: Any, adapter: Any, prices: pd.DataFrame) -> None:
    book = asked(prices.columns, **WHOLE)
    notional = pd.Series(np.linspace(1e6, 5e5, len(prices)), index=prices.index)
    asked_for: list[tuple[float, float]] = []

    class Recorded(adapter.WeighRobustly):  # type: ignore[misc, name-defined]
        def __call__(self, target: Any) -> bool:
            done = super().__call__(target)
            asked_for.append((sum(target.temp["weights"].values()), target.temp["notional_value"]))
            return bool(done)

    def run(*before: Any) -> Any:
        algos = [bt.algos.RunQuarterly(), bt.algos.SelectAll(), *before, Recorded(book), bt.algos.Rebalance()]
        strategy = bt.FixedIncomeStrategy("bonds", algos, [bt.FixedIncomeSecurity(name) for name in prices.columns])
        test = bt.Backtest(
            strategy, prices / prices.iloc[0], integer_positions=False, additional_data={"notional": notional}
        )
        bt.run(test)
        return test

    held = run(bt.algos.SetNotional("notional")).strategy.notional_values
    assert len(asked_for) >= 4
    assert asked_for[-1][1] < 0.6 * asked_for[0][1]
    assert held.iloc[1] == pytest.approx(asked_for[0][0] * asked_for[0][1], rel=1e-6)
    assert held.iloc[-1] == pytest.approx(asked_for[-1][0] * asked_for[-1][1], rel=1e-6)
    with pytest.raises(BadInput, match=r"has no notional value above 0 .*as bt.algos.SetNotional does"):
        run()


def test_a_few_figures_of_no_price_stop_no_run(bt: Any, adapter: Any, prices: pd.DataFrame) -> None:
    """Oil at -37, a blank written as 0, years of 0 before a listing, and columns that nobody selects."""
    names = list(prices.columns)
    odd = prices.assign(SPREAD=np.linspace(-1.0, 1.0, len(prices)))
    odd.iloc[50, 1], odd.iloc[60:63, 2], odd.iloc[:80, 3] = -37.0, 0.0, 0.0
    chosen = bt.algos.SelectThese([name for name in names if name != names[3]])
    book = asked(names, **WHOLE)
    _, test = backtest(bt, adapter.WeighRobustly(book, absent="sell"), odd, chosen)
    assert test.security_weights.iloc[-1].sum() == pytest.approx(1.0, abs=1e-3)
    _, later = backtest(bt, adapter.WeighRobustly(book, absent="sell"), odd[names])
    assert later.security_weights[names[3]].iloc[:70].max() == 0
    many = prices.copy()
    many.iloc[20:100, 0] = -1.0
    with pytest.raises(BadInput, match=rf"{names[0]}: 25% of its figures are 0 or less.*are they returns"):
        backtest(bt, adapter.WeighRobustly(book, absent="sell"), many)


def test_improbable_prices_are_refused_until_they_are_confirmed(bt: Any, adapter: Any, prices: pd.DataFrame) -> None:
    names, book = list(prices.columns), asked(prices.columns, **WHOLE)
    split, day = prices.copy(), prices.index[200].date()
    split.iloc[:200, 4] *= 4
    with pytest.raises(BadInput, match=rf"{names[4]}: falls by \d+% .* on {day}, as in a 4:1 split") as found:
        backtest(bt, adapter.WeighRobustly(book), split)
    (breach,) = found.value.breaches
    assert breach.table == "prices from bt"
    entry = {"table": "prices", "kind": "jump", "name": names[4], "date": day, "why": "a test"}
    assert (
        breach.confirm
        == f'[[confirm]]\ntable = "prices"\nkind = "jump"\nname = "{names[4]}"\ndate = {day}\nwhy = ""  # say why'
    )

    backtest(bt, adapter.WeighRobustly(book, confirm=[entry]), split)
    for kind, wrong in (("spike", 1), ("stale", 12)):
        spoiled = prices.copy()
        spoiled.iloc[100 : 100 + wrong, 2] = prices.iloc[100, 2] / 2 if kind == "spike" else prices.iloc[99, 2]
        with pytest.raises(BadInput) as found:
            backtest(bt, adapter.WeighRobustly(book), spoiled)
        assert [f'kind = "{kind}"' in str(one.confirm) for one in found.value.breaches] == [True]
    bars = pd.date_range("2017-01-03 10:00", periods=8, freq="30min")  # half hours of forty days, most without a trade
    hours = pd.DatetimeIndex([day + (bar - bars[0].normalize()) for day in prices.index[:40] for bar in bars])
    within = pd.DataFrame(np.repeat(prices.iloc[:40].to_numpy(), 8, axis=0), index=hours, columns=names)
    backtest(bt, adapter.WeighRobustly(book), within)
    with pytest.raises(BadInput, match="has no row for"):
        backtest(bt, adapter.WeighRobustly(book), prices.drop(prices.index[100:140]))
    entries = [Confirmation.model_validate(entry)]
    in_writing = replace(book, settings=book.settings.model_copy(update={"confirm": entries}))
    backtest(bt, adapter.WeighRobustly(in_writing), split)  # of the book, for its own table and this one
    backtest(bt, adapter.WeighRobustly(in_writing), prices)
    others = bt.algos.SelectThese([name for name in names if name != names[4]])
    backtest(bt, adapter.WeighRobustly(book, absent="sell"), split, others)  # which is never held


def test_a_confirmation_that_no_price_needs_is_refused(bt: Any, adapter: Any, prices: pd.DataFrame) -> None:
    book = asked(prices.columns, **WHOLE)
    entry = {"table": "prices", "kind": "jump", "name": prices.columns[4], "date": "2017-08-17", "why": "a test"}
    with pytest.raises(BadInput, match=r"prices from bt confirm.0: confirms what is not in doubt"):
        backtest(bt, adapter.WeighRobustly(book, confirm=[entry]), prices)
    with pytest.raises(BadInput, match=r"confirm.0.why: is required"):
        adapter.WeighRobustly(book, confirm=[{"table": "prices", "kind": "jump"}])
