"""cvxportfolio 1.5, installed: the same trades as ours, backtests that go on with them, our rules in its programs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book
from allocator.errors import BadInput, BadMandate, Infeasible
from allocator.integrations.host import TranslationWarning, with_holdings
from allocator.plan.rebalance import rebalance
from tests.agreement import HOLDINGS, KEPT
from tests.books import AS_OF, CASH
from tests.integrations.conftest import asked, ours, peer

pytestmark = [
    # cvxportfolio 1.5.1 says "1d" to pandas 3, which wants "1D"
    pytest.mark.filterwarnings("ignore:'d' is deprecated"),
]
DOLLARS = "USDOLLAR"


@pytest.fixture(scope="module")
def cvx() -> Any:
    return peer("cvxportfolio")


@pytest.fixture(scope="module")
def adapter() -> Any:
    peer("cvxportfolio")
    return ours("cvxportfolio")


def account(book: Book, order: list[str]) -> pd.Series:
    """What the book holds in money, cash last."""
    held = pd.Series(np.append(book.quantities * book.prices, book.cash), index=[*book.instruments, DOLLARS])
    return held[[*order, DOLLARS]]


def executed(policy: Any, held: pd.Series) -> pd.Series:
    """Weights after the trades that a policy executes."""
    trades, _, _ = policy.execute(held, None, pd.Timestamp("2026-11-20"))
    return (held + trades) / held.sum()


def test_the_policy_trades_to_the_targets_of_our_own_api(adapter: Any, prices: pd.DataFrame) -> None:
    book = asked(prices.columns, costs={"commission_bps": 20.0})
    weights = executed(adapter.RobustPolicy(book), account(book, list(prices.columns[::-1])))

    target = rebalance(book).target
    expected = dict(zip(book.instruments, target.values / target.value_before, strict=True))
    assert weights.drop(DOLLARS).to_dict() == pytest.approx(expected, abs=HOLDINGS)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert weights[DOLLARS] == pytest.approx((target.cash + target.costs) / target.value_before, abs=HOLDINGS)


def test_a_backtest_goes_on_from_what_it_holds(cvx: Any, adapter: Any, returns: pd.DataFrame) -> None:
    book = asked(returns.columns, mandate={"max_turnover": 0.1, "max_weight": 0.4, "risk_aversion": 1.0})
    data = cvx.UserProvidedMarketData(
        returns=returns.assign(**{DOLLARS: 0.0}), cash_key=DOLLARS, min_history=pd.Timedelta("5D")
    )
    simulator = cvx.MarketSimulator(market_data=data)
    start, held = returns.index[-6], account(book, list(returns.columns))
    result = simulator.backtest(adapter.RobustPolicy(book), start_time=start, h=held)

    assert np.isfinite([result.sharpe_ratio, result.final_value]).all()
    trades = result.u.dropna()
    assert len(trades) >= 5
    for moment, traded in trades.iterrows():
        before = result.h.loc[moment]
        fractions = (before / before.sum())[list(book.instruments)].to_numpy()
        target = rebalance(with_holdings(book, fractions, 1 - fractions.sum(), float(before.sum()))).target
        after = (before + traded) / before.sum()
        assert after[list(book.instruments)].to_numpy() == pytest.approx(
            target.values / target.value_before, abs=HOLDINGS
        )


@pytest.mark.parametrize("kind", ["none", "total_variation", "kl", "box", "worst"])
def test_our_rules_and_worst_case_in_their_program_are_our_own_program(
    cvx: Any, adapter: Any, prices: pd.DataFrame, kind: str
) -> None:
    names = list(prices.columns)
    robust = {"set": kind, **({"radius": 0.1} if kind in ("total_variation", "kl", "box") else {})}
    book = asked(
        names,
        robust=robust,
        mandate={
            "risk_aversion": 1.5,
            "max_weight": 0.35,
            "max_turnover": 0.3,
            "max_cash": 0.1,
            "min_cash": 0.02,
            "max_volatility": 0.2,
            "min_expected_return": 0.01,
            "min_worst_case_return": -0.2,
            "largest": {"count": 2, "max": 0.6},
            "locked": [names[3]],
            "weights": {names[5]: {"min": 0.05}},
        },
    )
    plan = rebalance(book)
    risk = plan.outlook.risk
    covariance = pd.DataFrame(risk.loadings @ risk.loadings.T + np.diag(risk.specific), index=names, columns=names)
    backwards = names[::-1]
    objective = adapter.WorstCaseReturn(book) - 1.5 * cvx.FullCovariance(covariance.loc[backwards, backwards])
    policy = cvx.SinglePeriodOptimization(
        objective, [adapter.Rules(book)], include_cash_return=False, solver="CLARABEL"
    )
    weights = executed(policy, account(book, backwards))

    theirs = weights[names].to_numpy()
    assert theirs == pytest.approx(plan.target.weights, abs=2e-4)
    assert np.abs(theirs - book.weights).max() > 0.01


def test_what_our_rules_allow_in_their_program_breaks_none_of_ours_after_costs(
    cvx: Any, adapter: Any, prices: pd.DataFrame
) -> None:
    from allocator.mandate.builder import build_mandate
    from allocator.outlook.outlook import build_outlook
    from allocator.rules import Trade

    names = list(prices.columns)
    wishes = {"max_weight": 0.25, "max_cash": 0.05, "min_cash": 0.03, "weights": {names[5]: {"min": 0.2}}}
    book = asked(names, costs={"commission_bps": 200.0}, mandate={"risk_aversion": 0.0, **wishes})
    policy = cvx.SinglePeriodOptimization(
        adapter.WorstCaseReturn(book), [adapter.Rules(book)], include_cash_return=False, solver="CLARABEL"
    )
    weights = executed(policy, account(book, names))

    outlook = build_outlook(book)
    mandate, held = build_mandate(book, outlook), weights[names].to_numpy() * book.value
    moved = held - book.weights * book.value
    bought, sold = np.maximum(moved, 0), np.maximum(-moved, 0)
    costs = float(mandate.costs(bought, sold, book.value).sum())
    trade = Trade(held, float(weights[DOLLARS] * book.value - costs), bought, sold, costs, book.value)
    assert costs > 0.003 * book.value
    assert max(reading.excess for reading in mandate.readings(trade, outlook)) < KEPT


def test_cash_s_own_return_is_in_the_worst_case(cvx: Any, adapter: Any, prices: pd.DataFrame) -> None:
    """Cash returns 2 % in every scenario of the book, and each name 1 %: all of it stays cash."""
    names = list(prices.columns)
    table = pd.DataFrame({"instrument": [*names, CASH], **dict.fromkeys(("good", "dull", "bad"), [0.01] * 6 + [0.02])})
    book = asked(names, mandate={"max_cash": 1.0}, scenario_returns=table)
    policy = cvx.SinglePeriodOptimization(
        adapter.WorstCaseReturn(book), [adapter.Rules(book)], include_cash_return=False, solver="CLARABEL"
    )
    assert executed(policy, account(book, names))[DOLLARS] == pytest.approx(1.0, abs=1e-5)


def test_what_hangs_on_the_account_s_value_is_refused_of_a_constraint_and_kept_by_the_policy(
    cvx: Any, adapter: Any, prices: pd.DataFrame
) -> None:
    names = list(prices.columns)
    volumes = {"average_daily_volume": [10.0] * len(names)}
    for sections, place in (
        ({"mandate": {"max_participation": 0.1, "max_cash": 1.0}}, "mandate.max_participation"),
        ({"costs": {"impact": 0.1}}, "costs.impact"),
        ({"mandate": {"max_cash": 0.0}, "costs": {"commission_bps": 1.0}}, "mandate.max_cash"),
    ):
        book = asked(names, exposures_columns=volumes, **sections)
        policy = cvx.SinglePeriodOptimization(
            adapter.WorstCaseReturn(book), [adapter.Rules(book)], include_cash_return=False, solver="CLARABEL"
        )
        with pytest.raises(BadMandate, match=place):
            executed(policy, account(book, names))
    book = asked(names, exposures_columns=volumes, mandate={"max_participation": 0.1, "max_cash": 1.0})
    large = account(book, names) * 1000
    traded = (executed(adapter.RobustPolicy(book), large) - large / large.sum()) * large.sum()
    assert traded[names].abs().max() == pytest.approx(0.1 * 10.0 * 100.0, rel=1e-5)  # units at 100, as in the book


def test_a_constraint_without_a_name_of_the_book_does_not_offer_what_it_cannot(
    cvx: Any, adapter: Any, prices: pd.DataFrame
) -> None:
    names = list(prices.columns)
    book = asked(names)
    policy = cvx.SinglePeriodOptimization(
        adapter.WorstCaseReturn(book), [adapter.Rules(book)], include_cash_return=False, solver="CLARABEL"
    )
    with pytest.raises(BadInput, match=rf"of the book is not there .got .{names[-1]}.*; add it") as caught:
        executed(policy, account(book, names[:-1]))
    assert "absent" not in str(caught.value)


def test_a_book_of_a_later_day_is_warned_of(adapter: Any, prices: pd.DataFrame) -> None:
    book = asked(prices.columns, as_of=AS_OF)
    held = account(book, list(prices.columns))
    with pytest.warns(TranslationWarning, match="what it believes was not known then"):
        adapter.RobustPolicy(book).execute(held, None, pd.Timestamp("2018-01-02"))


def test_names_shorts_and_borrowed_cash_are_refused(adapter: Any, prices: pd.DataFrame) -> None:
    names = list(prices.columns)
    book = asked(names)
    policy, held = adapter.RobustPolicy(book), account(book, names)

    with pytest.raises(BadInput, match="is not an instrument of the book"):
        executed(policy, held.rename({names[0]: "WHO"}))
    with pytest.raises(BadInput, match="is an instrument of the book, and last"):
        executed(policy, held[[DOLLARS, *names]])
    with pytest.raises(BadInput, match="must be a number from 0 to 1"):
        executed(policy, held + pd.Series({names[0]: -2000.0}).reindex(held.index, fill_value=0.0))
    with pytest.raises(BadInput, match=r"must be a number from 0 to 1 .*let mandate.min_cash leave room"):
        executed(policy, held + pd.Series({DOLLARS: -2000.0}).reindex(held.index, fill_value=0.0))


def test_conflicts_and_what_a_term_cannot_say_are_named(cvx: Any, adapter: Any, prices: pd.DataFrame) -> None:
    names = list(prices.columns)
    hopeless = asked(names, mandate={"max_weight": 0.1, "max_cash": 0.0})
    with pytest.raises(Infeasible, match="caps add up to 60%"):
        executed(adapter.RobustPolicy(hopeless), account(hopeless, names))
    unsure = asked(names, robust={"return_error": "box", "return_error_size": 0.2})
    with pytest.raises(BadMandate, match="is not in an expectation under adverse probabilities"):
        executed(
            cvx.SinglePeriodOptimization(adapter.WorstCaseReturn(unsure), include_cash_return=False),
            account(unsure, names),
        )


def test_a_backtest_of_their_program_keeps_our_rules_at_every_step(
    cvx: Any, adapter: Any, returns: pd.DataFrame
) -> None:
    book = asked(returns.columns, mandate={"max_turnover": 0.1, "max_weight": 0.4, "max_cash": 0.3, "min_cash": 0.02})
    data = cvx.UserProvidedMarketData(
        returns=returns.assign(**{DOLLARS: 0.0}), cash_key=DOLLARS, min_history=pd.Timedelta("5D")
    )
    policy = cvx.SinglePeriodOptimization(
        adapter.WorstCaseReturn(book), [adapter.Rules(book)], include_cash_return=False, solver="CLARABEL"
    )
    held = account(book, list(returns.columns))
    result = cvx.MarketSimulator(market_data=data).backtest(policy, start_time=returns.index[-3], h=held)

    assert np.isfinite(result.final_value)
    trades = result.u.dropna()
    assert len(trades) >= 2
    for moment, traded in trades.iterrows():
        before = result.h.loc[moment]
        after = ((before + traded) / before.sum()).drop(DOLLARS)
        assert after.max() <= 0.4 + 1e-5
        assert after.min() >= -1e-6
        assert traded.drop(DOLLARS).clip(lower=0).sum() / before.sum() <= 0.1 + 1e-5


def test_improbable_past_returns_are_refused_until_they_are_confirmed(
    cvx: Any, adapter: Any, returns: pd.DataFrame
) -> None:
    """At the end of a backtest, which then has no result, and before an execution answers; each of them once."""
    book = asked(returns.columns)
    held, name, day = account(book, list(returns.columns)), str(returns.columns[4]), returns.index[-100].date()
    entry = {"table": "returns", "kind": "jump", "name": name, "date": day, "why": "a test"}

    def market(rows: pd.DataFrame) -> Any:
        return cvx.UserProvidedMarketData(
            returns=rows.assign(**{DOLLARS: 0.0001}), cash_key=DOLLARS, min_history=pd.Timedelta("5D")
        )

    def run(rows: pd.DataFrame, policy: Any) -> Any:
        return cvx.MarketSimulator(market_data=market(rows)).backtest(policy, start_time=rows.index[-4], h=held)

    split = returns.copy()
    split.iloc[-100, 4] = -0.75
    with pytest.raises(BadInput, match=rf"returns from cvxportfolio {name}: falls by 75% .* on {day}, as in a 4:1"):
        run(split, adapter.RobustPolicy(book))
    with pytest.raises(BadInput, match="as in a 4:1 split"):
        adapter.RobustPolicy(book).execute(held, market(split), returns.index[-1])
    assert np.isfinite(run(split, adapter.RobustPolicy(book, confirm=[entry])).final_value)
    late = returns.copy()
    late.iloc[:50, 2] = np.nan
    for rows in (returns.tz_localize("UTC"), late):
        with pytest.raises(BadInput, match=r"returns from cvxportfolio confirm.0: confirms what is not in doubt"):
            run(rows, adapter.RobustPolicy(book, confirm=[entry]))
    with pytest.raises(BadInput, match="confirms what is not in doubt"):
        adapter.RobustPolicy(book, confirm=[entry]).execute(held, None, returns.index[-1])


def test_prices_in_the_place_of_past_returns_are_refused(cvx: Any, adapter: Any, prices: pd.DataFrame) -> None:
    book = asked(prices.columns)
    market = cvx.UserProvidedMarketData(
        returns=prices.assign(**{DOLLARS: 0.0}), cash_key=DOLLARS, min_history=pd.Timedelta("5D")
    )
    with pytest.raises(BadInput, match=r"these are not returns.*are they prices"):
        adapter.RobustPolicy(book).execute(account(book, list(prices.columns)), market, prices.index[-1])
