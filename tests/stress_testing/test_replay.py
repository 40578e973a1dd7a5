"""The worst windows of a history against every window looked at by hand; what is left out, and that it is said."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book
from allocator.mandate.mandate import no_trade
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.stress_testing.replay import LENGTHS, replay_history
from tests.books import NAMES, book

DAYS = pd.bdate_range(end="2026-11-20", periods=300)


def prices(seed: int = 8) -> pd.DataFrame:
    moves = np.random.default_rng(seed).normal(0, 0.02, (len(DAYS), len(NAMES)))
    walked = np.cumsum(moves, axis=0)
    return pd.DataFrame(100 * np.exp(walked - walked[-1]), columns=list(NAMES), index=DAYS)


def held(frame: pd.DataFrame, **risk: Any) -> Book:
    source = {"source": "prices", "window_rows": 40, "periods_per_year": 252.0, **risk} if risk else None
    settings = {"risk": source} if source else {}
    return book(settings, quantity=3.0, prices=frame.rename_axis("date").reset_index())


def kept(own: Book) -> Plan:
    """A plan that trades nothing: the windows of both portfolios are the same."""
    return replace(rebalance(book()), book=own, final=no_trade(own))


def by_hand(frame: pd.DataFrame, weights: Any, rows: int) -> tuple[float, str, str]:
    worst = (-np.inf, "", "")
    for start in range(len(frame) - rows):
        loss = 0.0
        for name, weight in zip(NAMES, weights, strict=True):
            loss -= weight * (frame[name].iloc[start + rows] / frame[name].iloc[start] - 1)
        if loss > worst[0]:
            worst = (loss, f"{frame.index[start]:%Y-%m-%d}", f"{frame.index[start + rows]:%Y-%m-%d}")
    return worst


def test_the_worst_window_of_each_length_is_the_one_found_by_looking_at_all() -> None:
    frame = prices()
    own = held(frame)
    plan = rebalance(own)
    found = replay_history(plan)
    weights = {"current": own.weights, "proposed": plan.final.values / own.value}

    assert [(one.portfolio, one.rows) for one in found.windows] == [(p, n) for p in weights for n in LENGTHS]
    for one in found.windows:
        loss, start, end = by_hand(frame, weights[one.portfolio], one.rows)
        assert one.loss == pytest.approx(loss, abs=1e-12)
        assert (one.start, one.end) == (start, end)
    assert found.counted == {rows: len(DAYS) - rows for rows in LENGTHS}
    assert found.notes == ()


def test_the_names_that_lost_most_are_told_with_what_they_took() -> None:
    frame = prices()
    window, _ = replay_history(kept(held(frame)), lengths=(21,)).windows
    span = frame.loc[window.end] / frame.loc[window.start] - 1
    lost = -span * held(frame).weights

    assert [loser.instrument for loser in window.losers] == list(lost.sort_values(ascending=False).index[:3])
    assert window.losers[0].lost == pytest.approx(lost.max())
    assert window.losers[0].price_return == pytest.approx(span[window.losers[0].instrument])


def test_a_book_without_a_history_says_what_is_missing() -> None:
    found = replay_history(kept(book()))

    assert found.why == "this book has no price history; add prices.csv"
    assert found.windows == ()
    assert len(found.frame()) == 0


def test_a_window_at_whose_end_a_held_name_has_no_price_is_left_out_and_counted() -> None:
    frame = prices()
    worst, _ = replay_history(kept(held(frame)), lengths=(5,)).windows
    frame.loc[worst.start, "BBB"] = np.nan
    own = replace(held(prices()), price_history=frame)
    found = replay_history(kept(own), lengths=(5,))

    assert found.windows[0].start != worst.start
    assert found.counted == {5: 295 - 2}
    assert "2 or more windows of a length left out: BBB has no price at one of their ends" in found.notes


def test_a_late_listing_leaves_out_the_windows_before_it_and_a_name_not_held_leaves_out_nothing() -> None:
    frame = prices()
    frame.iloc[:100, 3] = np.nan
    own = replace(held(prices()), price_history=frame)
    without = replace(own, quantities=own.quantities * np.array([1, 1, 1, 0]), cash=own.cash + 300.0)

    assert replay_history(kept(own), lengths=(1,)).counted == {1: 199}
    assert replay_history(kept(without), lengths=(1,)).counted == {1: 299}
    assert replay_history(kept(without), lengths=(1,)).notes == ()


def test_rows_that_the_risk_model_drops_are_dropped_here_and_said() -> None:
    frame = prices()
    frame.iloc[150, 1] = np.nan
    found = replay_history(kept(held(frame, blanks="drop_rows")), lengths=(5,))
    loss, start, _ = by_hand(frame.drop(frame.index[150]), held(prices()).weights, 5)

    assert found.notes == ("1 rows with blanks left out",)
    assert found.windows[0].loss == pytest.approx(loss)
    assert found.windows[0].start == start


def test_a_late_listing_by_beta_moves_by_its_beta_times_the_average_of_the_listed() -> None:
    frame = prices()
    frame.iloc[:280, 3] = np.nan
    own = held(frame, late_listings="beta", market_volatility=0.15)
    own = replace(own, exposures=own.exposures.assign(beta=[1.0, 1.0, 1.0, 2.0]))
    moves = frame.pct_change(5, fill_method=None).iloc[5:]
    moves["DDD"] = moves["DDD"].where(np.arange(5, 300) - 5 >= 280, 2 * moves[["AAA", "BBB", "CCC"]].mean(axis=1))
    losses = -moves @ pd.Series(own.weights, index=list(NAMES))
    found = replay_history(kept(own), lengths=(5,))

    assert found.windows[0].loss == pytest.approx(losses.max())
    assert found.windows[0].end == f"{losses.idxmax():%Y-%m-%d}"
    assert [loser.by_beta for loser in found.windows[0].losers if loser.instrument == "DDD"] == [True]


def test_rows_after_the_day_the_book_speaks_are_cut_and_a_window_too_long_is_said() -> None:
    own = replace(held(prices()), price_history=prices().set_axis(DAYS + pd.Timedelta(days=7)))
    found = replay_history(kept(own), lengths=(1, 400))

    assert found.notes[0] == "5 rows after as_of left out"
    assert "no window of 400 rows: 295 prices make at most 294" in found.notes
    assert max(one.end for one in found.windows) <= dt.date(2026, 11, 20).isoformat()


def test_the_document_is_plain_data() -> None:
    document = replay_history(kept(held(prices())), lengths=(5,)).document()

    assert document["windows"][0]["losers"][0].keys() == {"instrument", "price_return", "lost", "by_beta"}
    assert document["counted"] == {"5": 295}
