"""`rebalance_multistage`: today's lots keep every rule and cost little, and a conflict is named where it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadMandate, Infeasible, OutOfTime
from allocator.multistage.mandate import build_multistage_mandate, without_ambiguity
from allocator.multistage.objectives import LinearUtility
from allocator.multistage.plan import MultistagePlan, rebalance_multistage
from allocator.multistage.solve import solve_policy
from allocator.multistage.value_of_waiting import caution_schedule
from allocator.optimization.single_period import Position
from allocator.outlook.outlook import build_outlook
from allocator.plan.rebalance import rebalance
from tests.books import book

FREE = (
    "mandate.buckets.efficiency.min=0.0", "mandate.buckets.capital_intensity.max=1.0", "mandate.max_cash=0.9",
    "mandate.min_cash=0.0", "mandate.groups.private.max=1.0", "mandate.groups.orbit.max=1.0", "mandate.max_weight=0.9",
)  # fmt: skip
"""The sample book's rules, so loose that today's holdings keep them."""


def sample(root: Path, *overrides: str) -> Book:
    return load(root / "data" / "reviewed", overrides=overrides)


@pytest.fixture(scope="module")
def plan(root: Path) -> MultistagePlan:
    return rebalance_multistage(sample(root))


def small(**mandate: Any) -> Book:
    """Four names that only two scenarios tell apart, one decision."""
    returns = {"up": [0.3, 0.1, 0.05, 0.0], "down": [-0.2, 0.0, 0.03, 0.04]}
    return book({"mandate": {"objective": "log", "max_weight": 0.6, **mandate}}, returns=returns)


def test_the_sample_book_must_trade_and_its_lots_keep_every_rule(plan: MultistagePlan) -> None:
    assert plan.verdict == "must trade"
    assert len(plan.orders) > 0
    assert max(reading.excess for reading in plan.readings) <= 1e-9
    assert -0.01 <= plan.rounding_bps < 2  # whole lots of private stakes; never better than fractions
    assert plan.policy.equivalent - plan.with_lots.equivalent >= -1e-6


def test_small_books_keep_every_rule_and_lose_little_to_lots() -> None:
    wishes: tuple[dict[str, Any], ...] = (
        {},
        {"max_turnover": 0.1},
        {"min_cash": 0.1, "max_cash": 0.4},
        {"objective": "return"},
    )
    for mandate in wishes:
        made = rebalance_multistage(small(**mandate))
        assert max((reading.excess for reading in made.readings), default=0.0) <= 1e-9, mandate
        assert made.policy.equivalent - made.with_lots.equivalent >= -1e-6, mandate
        assert made.with_lots.equivalent <= made.policy.equivalent + 1e-6, mandate
        assert made.rounding_bps < 100, mandate


def test_where_no_rule_is_broken_the_gain_decides_between_trading_and_holding(root: Path) -> None:
    trade = rebalance_multistage(sample(root, *FREE))
    assert (trade.verdict, trade.followed) == ("trade", trade.with_lots)
    assert trade.gain_bps > 0
    wanted = trade.gain_bps + 1
    hold = rebalance_multistage(sample(root, *FREE, f"trading.min_gain_bps={wanted}"))
    assert (hold.verdict, hold.orders, hold.followed) == ("hold", (), hold.holding)
    assert len(hold.weighed_orders) == len(trade.orders)
    assert hold.gain_bps == pytest.approx(trade.gain_bps, abs=1e-3)


def test_caution_has_a_price_that_is_never_negative_and_none_without_a_set(root: Path, plan: MultistagePlan) -> None:
    release = caution_schedule(plan.book, plan.followed)
    assert all(one.caution_bps >= 0 for one in release)
    assert release[0].caution_bps > 0
    trusting = rebalance_multistage(sample(root, "robust.set=none"))
    assert {one.caution_bps for one in caution_schedule(trusting.book, trusting.followed)} == {0.0}


def test_rules_that_conflict_today_are_named(root: Path) -> None:
    with pytest.raises(Infeasible) as caught:
        rebalance_multistage(sample(root, "robust.set=none", "mandate.max_turnover=0.05"))
    assert set(caught.value.rules) == {"bucket capital_intensity at most 50%", "turnover at most 5%"}
    assert caught.value.fixes


def test_rules_that_a_later_review_alone_cannot_keep_are_named(root: Path) -> None:
    """Today's holdings keep the least cash; with no turnover its share drifts below, as other names grow."""
    today = sample(root, *FREE)
    cash = today.cash / today.value
    with pytest.raises(Infeasible) as caught:
        rebalance_multistage(sample(root, *FREE, "mandate.max_turnover=0.0", f"mandate.min_cash={cash - 1e-5:.6f}"))
    assert "the rules hold together today, and cannot at every review" in str(caught.value)
    assert any(rule.startswith("cash at least 12.959%") for rule in caught.value.rules)
    assert any(rule.startswith("turnover at most 0%") for rule in caught.value.rules)


@pytest.mark.parametrize("key", ["min_cash", "max_turnover"])
def test_what_a_later_review_needs_is_named_with_the_least_that_does(root: Path, key: str) -> None:
    """What is printed works, and a hundredth of a percent less, the last digit printed, does not."""
    today = sample(root, *FREE)
    floor = round(today.cash / today.value - 1e-5, 6)
    narrow = {"max_turnover": 0.0, "min_cash": floor}
    with pytest.raises(Infeasible) as caught:
        rebalance_multistage(sample(root, *FREE, *(f"mandate.{name}={limit}" for name, limit in narrow.items())))
    label = "turnover at most 0%" if key == "max_turnover" else "cash at least"
    (fix,) = [one for one in caught.value.fixes if label in one]
    limit = float(fix.rpartition(" to ")[2].rstrip("%")) / 100

    def can(limit: float) -> bool:
        book = sample(root, *FREE, *(f"mandate.{name}={one}" for name, one in {**narrow, key: limit}.items()))
        staged = without_ambiguity(build_multistage_mandate(book, build_outlook(book)))
        asked = replace(staged, utility=LinearUtility())
        try:
            solve_policy(asked, Position(book.weights, book.cash / book.value))
        except Infeasible:
            return False
        return True

    assert can(limit)
    assert not can(limit + (2e-4 if key == "min_cash" else -2e-4))


def test_a_time_limit_that_is_too_small_gives_no_plan(root: Path) -> None:
    with pytest.raises(OutOfTime, match=r"raise solver\.time_limit_seconds"):
        rebalance_multistage(sample(root, "solver.time_limit_seconds=0.000001"))


def test_each_of_the_two_programs_refuses_the_other_s_objective(root: Path) -> None:
    with pytest.raises(BadMandate, match=r"mandate\.objective: is not for the tree of decisions .*use `rebalance`"):
        rebalance_multistage(small(objective="return_minus_risk"))
    with pytest.raises(BadMandate, match=r"mandate\.objective: is for the tree .*use `allocator rebalance`"):
        rebalance(sample(root))
