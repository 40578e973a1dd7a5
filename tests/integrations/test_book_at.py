"""Hosts that walk through the past ask the book of each day: what is dated later has no effect, in every adapter."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadInput
from allocator.integrations.host import TranslationWarning, with_holdings
from allocator.plan.rebalance import rebalance
from tests.agreement import HOLDINGS
from tests.integrations.conftest import asked, ours, peer

TURN = dt.date(2026, 10, 1)
pytestmark = pytest.mark.filterwarnings("ignore:a part of the account stays:UserWarning")


@pytest.fixture(scope="module")
def note(root: Path) -> Book:
    return load(root / "tests" / "plain_books" / "note", overrides=["mandate.max_turnover=1.0"])


@pytest.fixture(scope="module")
def planted(note: Book) -> Callable[[dt.date], Book]:
    """The same book, of which a usage figure that no one foresaw is known from a day on."""
    assert note.signals is not None
    spike = {"date": TURN, "kind": "usage", "source": "a router of API calls", "price_fall": 0.5, "usage_growth": 1.5}
    table = pd.concat([note.signals, pd.DataFrame([spike])], ignore_index=True)
    return lambda day: note.at(day, signals=table)


def rows(note: Book, until: dt.date, count: int = 30) -> pd.DataFrame:
    """Simple returns until a day; no risk is estimated from them."""
    draw = np.random.default_rng(5)
    days = pd.bdate_range(end=pd.Timestamp(until), periods=count)
    return pd.DataFrame(draw.normal(0, 0.01, (count, len(note.instruments))), index=days, columns=[*note.instruments])


def by_hand(book: Book) -> np.ndarray[Any, Any]:
    return np.asarray(rebalance(book, lots=False).target.weights)


def walked(bt: Any, note: Book, book_at: Callable[[dt.date], Book]) -> dict[dt.date, dict[str, float]]:
    """What a strategy of bt aims at month by month, from cash."""
    found = dict[dt.date, dict[str, float]]()

    class Noted(bt.Algo):  # type: ignore[misc]
        def __call__(self, target: Any) -> bool:
            found[target.now.date()] = dict(target.temp["weights"])
            return True

    prices = note.prices * (1 + rows(note, dt.date(2026, 11, 20), 100)).cumprod()
    weigh = ours("bt").WeighRobustly(note, book_at=book_at)
    steps = [bt.algos.RunMonthly(), bt.algos.SelectAll(), weigh, Noted(), bt.algos.Rebalance()]
    bt.run(bt.Backtest(bt.Strategy("dated", steps), prices, progress_bar=False))
    return found


def test_a_strategy_of_bt_believes_what_was_known_on_each_day(note: Book, planted: Callable[[dt.date], Book]) -> None:
    bt = peer("bt")
    plain, told = walked(bt, note, note.at), walked(bt, note, planted)
    first = min(plain)
    start = with_holdings(note.at(first), np.zeros(len(note.instruments)), 1.0, 1e6)
    target = rebalance(start, lots=False).target
    bought = dict(zip(note.instruments, target.values / target.value_before, strict=True))

    assert plain[first] == pytest.approx({name: w for name, w in bought.items() if w > 0}, abs=HOLDINGS)
    assert [day for day in plain if plain[day] != told[day]] == [day for day in plain if day >= TURN]
    assert min(plain) < TURN <= max(plain)


@pytest.mark.filterwarnings("ignore:the weights are best after costs:UserWarning")
def test_a_fit_of_skfolio_believes_what_was_known_on_the_last_day_of_its_rows(
    note: Book, planted: Callable[[dt.date], Book]
) -> None:
    peer("skfolio")
    skfolio = ours("skfolio")
    for day in (dt.date(2026, 9, 30), TURN):
        X = rows(note, day)
        fitted = skfolio.RobustAllocation(note, book_at=planted).fit(X)
        assert fitted.weights_ == pytest.approx(by_hand(planted(day)), abs=HOLDINGS)
        same = skfolio.RobustAllocation(note, book_at=note.at).fit(X)
        assert (same.weights_ == fitted.weights_).all() == (day < TURN)
        with pytest.warns(TranslationWarning, match="have no order"):
            one, other = (
                skfolio.ScenarioPrior(note, book_at=known).fit(X).return_distribution_.mu
                for known in (planted, note.at)
            )
        assert (one == other).all() == (day < TURN)


def test_trades_of_cvxportfolio_know_the_day_before_theirs(note: Book, planted: Callable[[dt.date], Book]) -> None:
    peer("cvxportfolio")
    policy = ours("cvxportfolio").RobustPolicy
    held = pd.Series([*note.quantities * note.prices, note.cash], index=[*note.instruments, "USDOLLAR"])
    for days, moved in ((0, False), (1, True)):
        day = pd.Timestamp(TURN, tz="UTC") + pd.Timedelta(days=days, hours=14)
        told, plain = (
            policy(note, book_at=known).execute(held, market_data=None, t=day)[0] for known in (planted, note.at)
        )
        assert (np.abs(told - plain).max() > 1.0) == moved
        target = rebalance(planted(day.date() - dt.timedelta(days=1)), lots=False).target
        assert told.iloc[:-1].to_numpy() == pytest.approx(target.bought - target.sold, abs=HOLDINGS * note.value)


def test_a_day_is_wanted_and_a_book_that_knows_more_than_it_is_refused(note: Book) -> None:
    peer("skfolio")
    skfolio, X = ours("skfolio"), rows(note, TURN)
    undated = X.reset_index(drop=True)
    with pytest.raises(BadInput, match="rows from skfolio: have no dates, and book_at is asked of a day"):
        skfolio.RobustAllocation(note, book_at=note.at).fit(undated)
    with pytest.raises(BadInput, match="answers of 2026-10-01 with a book of 2026-11-20"):
        skfolio.RobustAllocation(note, book_at=lambda _: note).fit(X)
    with pytest.raises(BadInput, match="is a NoneType and not a Book"):
        skfolio.RobustAllocation(note, book_at=lambda _: None).fit(X)
    with pytest.raises(BadInput, match="is asked of days of a book, and there is none"):
        skfolio.RobustAllocation(book_at=note.at).fit(X)


def test_what_is_held_without_a_price_on_that_day_is_refused() -> None:
    book = asked(("AAA", "BBB"))
    unpriced = replace(book, prices=np.array([0.0, 1.0]), quantities=np.zeros(2))
    with pytest.raises(BadInput, match="AAA: is held, and the book of 2010-01-04 has no price of it"):
        with_holdings(unpriced, np.array([0.5, 0.0]), 0.5, 10.0)
    assert with_holdings(unpriced, np.array([0.0, 0.5]), 0.5, 10.0).quantities.tolist() == [0.0, 5.0]


def test_skfolio_updates_it_with_new_rows_as_if_all_had_come_at_once(returns: pd.DataFrame) -> None:
    peer("skfolio")
    from skfolio.exceptions import OptimizationError
    from skfolio.model_selection import online_predict

    made = ours("skfolio").RobustAllocation
    X = returns.tail(120)
    sections = {"robust": {"set": "box", "radius": 0.005}}
    walk = online_predict(made(settings=sections), X, warmup_size=60, test_size=30)
    for at, one in zip((60, 90), walk, strict=True):
        assert one.weights == pytest.approx(made(settings=sections).fit(X.iloc[:at]).weights_, abs=1e-12)

    model = made(settings=sections).fit(X.iloc[:60])
    with pytest.raises(BadInput, match=r"begin on .* are known; give new rows alone"):
        model.partial_fit(X.iloc[59:])
    model.set_params(settings={"mandate": {"max_weight": 0.1}})
    with pytest.raises(OptimizationError, match="caps add up to 60%"):
        model.partial_fit(X.iloc[60:90])
    model.set_params(settings=sections).partial_fit(X.iloc[90:])  # rows that had no plan were seen all the same
    assert model.weights_ == pytest.approx(made(settings=sections).fit(X).weights_, abs=1e-12)
    held = np.full(X.shape[1], 1 / X.shape[1])
    kept = made(settings={"mandate": {"max_weight": 0.1}}, fallback="previous_weights", previous_weights=held)
    assert kept.partial_fit(X.iloc[:60]).weights_ == pytest.approx(held)


def test_of_a_history_only_the_rows_that_risk_wants_are_kept(prices: pd.DataFrame, returns: pd.DataFrame) -> None:
    peer("skfolio")
    risk = {"source": "prices", "window_rows": 50, "periods_per_year": 252.0}
    table, quoted = prices.rename_axis("date").reset_index(), prices.iloc[-1]
    book = asked(returns.columns, as_of=prices.index[-1].date(), risk=risk, prices=table, quoted=quoted)
    made = ours("skfolio").RobustAllocation(book)
    made.fit(returns.iloc[:-10]).partial_fit(returns.iloc[-10:])

    assert len(made._seen) == 50
    assert made.weights_ == pytest.approx(ours("skfolio").RobustAllocation(book).fit(returns).weights_, abs=1e-12)
