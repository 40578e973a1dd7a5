"""`rebalance`: today's lots keep every rule and cost little, and a conflict is named where it is."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadMandate, Infeasible, OutOfTime
from allocator.multistage.mandate import build_multistage_mandate, without_ambiguity
from allocator.multistage.objectives import LinearUtility
from allocator.multistage.solve import solve_policy
from allocator.outlook.outlook import build_outlook
from allocator.plan.explanation import explain
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.rules.rows import Position
from tests.books import book

FREE = (
    "mandate.buckets.efficiency.min=0.0", "mandate.buckets.capital_intensity.max=1.0", "mandate.max_cash=0.9",
    "mandate.min_cash=0.0", "mandate.groups.private.max=1.0", "mandate.groups.orbit.max=1.0", "mandate.max_weight=0.9",
)  # fmt: skip
"""The sample book's rules, so loose that today's holdings keep them."""


def sample(root: Path, *overrides: str) -> Book:
    return load(root / "tests" / "plain_books" / "reviewed", overrides=overrides)


@pytest.fixture(scope="module")
def plan(root: Path) -> Plan:
    return rebalance(sample(root))


def small(**mandate: Any) -> Book:
    """Four names that only two scenarios tell apart, one decision."""
    returns = {"up": [0.3, 0.1, 0.05, 0.0], "down": [-0.2, 0.0, 0.03, 0.04]}
    return book({"mandate": {"objective": "log", "max_weight": 0.6, **mandate}}, returns=returns)


def test_the_sample_book_must_trade_and_its_lots_keep_every_rule(plan: Plan) -> None:
    assert plan.policy is not None
    assert plan.decision.verdict == "trade required"
    assert len(plan.orders) > 0
    assert max(reading.excess for reading in plan.measurements) <= 1e-9
    assert -0.01 <= plan.rounding_bps < 2  # whole lots of private stakes; never better than fractions
    assert plan.policy.best.equivalent - plan.policy.with_lots.equivalent >= -1e-6


def test_small_books_keep_every_rule_and_lose_little_to_lots() -> None:
    wishes: tuple[dict[str, Any], ...] = (
        {},
        {"max_turnover": 0.1},
        {"min_cash": 0.1, "max_cash": 0.4},
        {"objective": "return"},
    )
    for mandate in wishes:
        made = rebalance(small(**mandate))
        assert max((reading.excess for reading in made.measurements), default=0.0) <= 1e-9, mandate
        assert made.policy is not None
        assert made.policy.best.equivalent - made.policy.with_lots.equivalent >= -1e-6, mandate
        assert made.policy.with_lots.equivalent <= made.policy.best.equivalent + 1e-6, mandate
        assert made.rounding_bps < 100, mandate


def test_where_no_rule_is_broken_the_gain_decides_between_trading_and_holding(root: Path) -> None:
    trade = rebalance(sample(root, *FREE))
    assert trade.policy is not None
    assert trade.decision.gain_bps is not None
    assert (trade.decision.verdict, trade.policy.followed) == ("recommended", trade.policy.with_lots)
    assert trade.decision.gain_bps > 0
    wanted = trade.decision.gain_bps + 1
    hold = rebalance(sample(root, *FREE, f"trading.min_gain_bps={wanted}"))
    assert hold.policy is not None
    assert (hold.decision.verdict, hold.orders, hold.policy.followed) == ("no trade", (), hold.policy.holding)
    assert len(hold.weighed_orders) == len(trade.orders)
    assert hold.decision.gain_bps == pytest.approx(trade.decision.gain_bps, abs=1e-3)


def test_caution_has_a_price_that_is_never_negative_and_none_without_a_set(root: Path, plan: Plan) -> None:
    assert plan.policy is not None
    release = plan.policy.caution_schedule
    assert all(one.cost_of_robustness_bps >= 0 for one in release)
    assert release[0].cost_of_robustness_bps > 0
    trusting = rebalance(sample(root, "robust.set=none"))
    assert trusting.policy is not None
    assert {one.cost_of_robustness_bps for one in trusting.policy.caution_schedule} == {0.0}


def test_a_set_of_radius_0_costs_nothing_and_not_what_lots_do(root: Path) -> None:
    none = "{set='total_variation',schedule='caution',caution=0}"
    made = rebalance(sample(root, f"robust={{question={none},regime={none}}}"))
    assert made.policy is not None
    assert {one.cost_of_robustness_bps for one in made.policy.caution_schedule} == {0.0}
    assert {share.cost_bps for share in made.axes.values()} == {0.0}


def test_rules_that_conflict_today_are_named(root: Path) -> None:
    with pytest.raises(Infeasible) as caught:
        rebalance(sample(root, "robust.set=none", "mandate.max_turnover=0.05"))
    assert set(caught.value.rules) == {"bucket capital_intensity at most 50%", "turnover at most 5%"}
    assert caught.value.fixes


@cache
def refused_later(root: Path) -> tuple[dict[str, float], Infeasible]:
    """Today's holdings keep the least cash; with no turnover its share drifts below, as other names grow."""
    today = sample(root, *FREE)
    narrow = {"max_turnover": 0.0, "min_cash": round(today.cash / today.value - 1e-5, 6)}
    with pytest.raises(Infeasible) as caught:
        rebalance(sample(root, *FREE, *(f"mandate.{name}={limit}" for name, limit in narrow.items())))
    return narrow, caught.value


together = pytest.mark.xdist_group("a review that cannot")  # what is said of it is found once


@together
def test_rules_that_a_later_review_alone_cannot_keep_are_named(root: Path) -> None:
    _, error = refused_later(root)
    assert "the rules hold together today, and cannot at every review" in str(error)
    assert any(rule.startswith("cash at least 12.959%") for rule in error.rules)
    assert any(rule.startswith("turnover at most 0%") for rule in error.rules)


@together
@pytest.mark.parametrize("key", ["min_cash", "max_turnover"])
def test_what_a_later_review_needs_is_named_with_the_least_that_does(root: Path, key: str) -> None:
    """What is printed works; of cash a hundredth of a percent less, the last digit printed, does not."""
    narrow, error = refused_later(root)
    label = "turnover at most 0%" if key == "max_turnover" else "cash at least"
    (fix,) = [one for one in error.fixes if label in one]
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
    assert key != "min_cash" or not can(limit + 2e-4)
    assert rebalance(sample(root, *FREE, *(f"mandate.{name}={one}" for name, one in {**narrow, key: limit}.items())))


def test_a_time_limit_that_is_too_small_gives_no_plan(root: Path) -> None:
    with pytest.raises(OutOfTime, match=r"raise solver\.time_limit_seconds"):
        rebalance(sample(root, "solver.time_limit_seconds=0.000001"))


def test_one_verb_gives_one_kind_of_plan_with_a_policy_where_there_are_reviews(plan: Plan) -> None:
    single = rebalance(small(objective="return_minus_risk"))

    assert type(single) is type(plan) is Plan
    assert single.policy is None
    assert single.duals is not None
    assert plan.duals is None
    with pytest.raises(BadMandate, match="is solved on the tree of decisions, and explanations are of one period"):
        explain(plan)


def test_a_policy_is_a_table_of_weights_that_sum_to_one_at_every_decision(plan: Plan) -> None:
    assert plan.policy is not None
    table = plan.policy.weights_frame()

    assert table.shape == (plan.policy.mandate.tree.nodes, len(plan.book.instruments) + 1)
    assert table.sum(axis=1).to_numpy() == pytest.approx(1.0, abs=1e-12)
    now = table.iloc[0]
    assert now.to_numpy() == pytest.approx(plan.weights.to_numpy(), abs=1e-9)  # today's lots, not the targets
    assert list(table.columns) == list(plan.weights.index) == [*plan.book.instruments, plan.book.cash_instrument]
    assert plan.weights.sum() == pytest.approx(1.0, abs=1e-15)
