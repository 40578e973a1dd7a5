"""No trade for nothing: a plan that was carried out is left alone the day after, at the same prices."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import pytest

from allocator.book.loading import load
from allocator.plan.rebalance import rebalance
from tests.settled_books import carry_out, next_day, what_is_weighed
from tests.thoroughness import THOROUGH, some


@pytest.mark.skipif(not THOROUGH, reason="all of them in `make thorough`")
def test_at_least_95_of_100_books_trade_nothing_the_day_after_their_plan(tmp_path: Path) -> None:
    days = [day for seed in range(300) if (day := next_day(seed, tmp_path / str(seed))) is not None]

    assert len(days) > 250
    assert sum(day.trades for day in days) <= 0.05 * len(days)
    assert all(day.gain > 0 for day in days if day.trades)  # after costs


@pytest.mark.parametrize("seed", some((2, 4, 10, 12, 16, 20, 38, 56), 3))
def test_a_plan_that_was_carried_out_is_left_alone(seed: int, tmp_path: Path) -> None:
    day = next_day(seed, tmp_path / "book")
    assert day is not None
    assert not day.trades or day.gain > max(day.cost, 3.0)


@pytest.mark.parametrize("name", ["listed", "note", "reviewed", "approval"])
def test_a_sample_book_trades_nothing_the_day_after_its_plan(name: str, tmp_path: Path, root: Path) -> None:
    shutil.copytree(root / "data" / name, tmp_path / name)
    book = load(tmp_path / name)
    plan = rebalance(book)
    carry_out(plan, tmp_path / name)
    spent = max(float(plan.final.bought.sum()), float(plan.final.sold.sum())) / book.value
    limit, tree = book.settings.mandate.max_turnover, bool(book.settings.horizon.reviews)
    left = [] if limit is None or tree else [f"mandate.max_turnover={max(limit - spent, 0.0):.8f}"]
    tomorrow = load(tmp_path / name, overrides=left, as_of=book.settings.book.as_of + dt.timedelta(days=1))

    assert not what_is_weighed(rebalance(tomorrow)).trades
