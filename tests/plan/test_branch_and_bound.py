"""The best plan without round trips, where the best on paper has some: against a closed form and all directions."""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest

from allocator.errors import Infeasible, NotSolved, OutOfTime
from allocator.optimization.conflicts import explain_conflict
from allocator.optimization.solve import Limits, Program
from allocator.optimization.verification import DualCertificate, lower_bound
from allocator.plan import branch_and_bound
from allocator.plan.branch_and_bound import TradeBranch, restrict_to_branch
from allocator.plan.certificate import GAP_ALLOWED, Certificate
from allocator.plan.targets import solve_certified
from allocator.rules import ExposureLimit, Trade, WeightAtLeast, WeightAtMost
from tests.agreement import HOLDINGS
from tests.infeasible_books import demanding, mended
from tests.problems import Question, caps, question

COUNT, AVERSION = 4, 12.0


def planned(asked: Question, *, branches: int | None = None) -> tuple[Trade, DualCertificate, Certificate]:
    """The plan of the main path."""
    return solve_certified(
        Program(asked.outlook, asked.mandate), asked.start, asked.outlook, asked.mandate, branches=branches
    )


def cash_at_most(count: int, limit: float) -> WeightAtMost:
    return WeightAtMost("cash", np.zeros(count), limit, cash_share=1.0)


def reluctant() -> Question:
    """Half in A, and cash must fall from 50% to 45%: to buy A is risky, to buy and sell it is calmer on paper."""
    return question(
        np.array([[0.0]]), np.eye(1), risk_aversion=4.0, held=np.array([0.5]), cost_rate=0.2,
        rules=[cash_at_most(1, 0.45), WeightAtLeast("a", np.ones(1), 0.5)],
    )  # fmt: skip


def crowded(seed: int) -> Question:
    """Random names with dear trades, of which some must be bought although all are risky."""
    draw = np.random.default_rng(seed)
    held = draw.dirichlet(np.ones(COUNT)) * 0.6
    asked = question(
        draw.normal(0.02, 0.1, (1, COUNT)), np.diag(draw.uniform(0.2, 1.0, COUNT)), held=held, risk_aversion=AVERSION,
        rules=[
            caps(COUNT, 0.5),
            cash_at_most(COUNT, float(draw.uniform(0.28, 0.38))),
            ExposureLimit("beta", draw.uniform(0.5, 1.5, COUNT), 0.9),
        ],
    )  # fmt: skip
    return replace(asked, mandate=replace(asked.mandate, cost_rates=draw.uniform(0.05, 0.2, COUNT)))


def by_hand(asked: Question) -> float:
    """The least loss where each name is bought only or sold only, every choice tried; written without the program."""
    way = cp.Parameter(COUNT)
    mandate, start = asked.mandate, asked.start
    bought, sold = cp.Variable(COUNT, nonneg=True), cp.Variable(COUNT, nonneg=True)
    holdings = start.holdings + bought - sold
    costs = mandate.cost_rates @ (bought + sold)
    cash = start.cash - cp.sum(bought) + cp.sum(sold) - costs
    wealth = cp.sum(holdings) + cash
    variances = (asked.outlook.risk.loadings**2).sum(axis=1)  # they do not vary together
    loss = AVERSION * cp.sum(cp.multiply(variances, holdings**2)) + costs - asked.outlook.returns[0] @ holdings
    rows = mandate.rows
    within = [
        rows.holdings @ holdings + rows.cash * cash - rows.wealth * wealth <= rows.limit,
        cash >= 0,
        bought <= way,
        sold <= cp.multiply(1 - way, start.holdings),
    ]
    problem = cp.Problem(cp.Minimize(loss), within)
    least = np.inf
    for way.value in map(np.array, itertools.product((1.0, 0.0), repeat=COUNT)):
        problem.solve("CLARABEL")
        least = min(least, float(problem.value) if problem.status == cp.OPTIMAL else np.inf)
    return least


def test_a_purchase_that_a_rule_needs_is_made_where_burning_would_be_cheaper_on_paper() -> None:
    asked = reluctant()
    with pytest.raises(NotSolved, match="has round trips"):
        planned(asked, branches=0)
    target, _, certificate = planned(asked)

    # cash is 0.5 − 1.2·b of 1 − 0.2·b: 45% at b = 0.05 / 1.11
    assert target.bought == pytest.approx([5 / 111], abs=HOLDINGS)
    assert target.sold == pytest.approx([0.0], abs=0)
    assert certificate.round_trips is not None
    assert abs(certificate.objective - certificate.round_trips.bound) <= GAP_ALLOWED


def test_the_least_loss_is_that_of_the_best_of_all_directions() -> None:
    burned = 0
    for seed in range(9):
        asked = crowded(seed)
        best = by_hand(asked)
        try:
            _, _, certificate = planned(asked)
        except Infeasible:
            assert best == np.inf, seed
            continue
        assert certificate.objective == pytest.approx(best, abs=2e-6), seed
        if certificate.round_trips is not None:
            burned += 1
            assert certificate.round_trips.gain_on_paper > 1e-6, seed
            assert best - GAP_ALLOWED <= certificate.round_trips.bound <= best + 1e-7, seed
            assert certificate.gap <= certificate.round_trips.gain_on_paper + GAP_ALLOWED, seed
    assert burned >= 5


def pressed(seed: int) -> Question:
    """Two risky names with impact, of which some must be bought."""
    draw = np.random.default_rng(seed)
    held = draw.uniform(0.1, 0.3, 2)
    asked = question(
        draw.normal(0.02, 0.1, (1, 2)), np.diag(draw.uniform(1.0, 2.0, 2)), held=held, risk_aversion=AVERSION,
        rules=[
            cash_at_most(2, 1 - float(held.sum()) - float(draw.uniform(0.02, 0.1))),
            ExposureLimit("beta", draw.uniform(0.5, 1.5, 2), 0.9),
        ],
    )  # fmt: skip
    mandate = replace(asked.mandate, cost_rates=draw.uniform(0.0, 0.02, 2), impact=draw.uniform(0.3, 0.6, 2))
    return replace(asked, mandate=mandate)


def least_on_a_grid(asked: Question) -> float:
    """The least loss of two names' net trades, by ever finer grids of 100 x 100 around the best so far."""
    mandate, start, outlook = asked.mandate, asked.start, asked.outlook
    low, high, least = -start.holdings, np.ones(2) - start.holdings, np.inf
    for _ in range(16):
        moved = np.stack(np.meshgrid(*np.linspace(low, high, 100).T), axis=-1).reshape(-1, 2)
        traded, holdings = np.abs(moved), start.holdings + moved
        assert mandate.impact is not None
        costs = traded @ mandate.cost_rates + traded**1.5 @ mandate.impact
        cash = start.cash - moved.sum(axis=1) - costs
        rows, wealth = mandate.rows, 1 - costs
        used = holdings @ rows.holdings.toarray().T + np.outer(cash, rows.cash) - np.outer(wealth, rows.wealth)
        kept = (used <= rows.limit + 1e-12).all(axis=1) & (cash >= 0)
        risk = AVERSION * (holdings**2) @ (outlook.risk.loadings**2).sum(axis=1)
        loss = np.where(kept, risk + costs - holdings @ outlook.returns[0], np.inf)
        best = int(np.argmin(loss))
        least, step = min(least, float(loss[best])), (high - low) / 4
        low, high = np.maximum(moved[best] - step, -start.holdings), moved[best] + step
    return least


def test_with_impact_the_least_loss_is_that_of_a_fine_grid() -> None:
    burned = 0
    for seed in range(5):
        asked = pressed(seed)
        try:
            _, _, certificate = planned(asked)
        except Infeasible:
            assert least_on_a_grid(asked) == np.inf, seed
            continue
        least = least_on_a_grid(asked)
        assert certificate.objective == pytest.approx(least, abs=2e-5), seed
        assert certificate.objective <= least + 1e-6, seed
        if certificate.round_trips is not None:
            burned += 1
            assert certificate.round_trips.bound <= least + 1e-7, seed
            assert certificate.objective - certificate.round_trips.bound <= GAP_ALLOWED, seed
    assert burned >= 3


@pytest.mark.parametrize("one", [(24, False), (9007, True), (9018, True)])
def test_the_fixes_that_burned_money_on_paper_give_plans_that_keep_every_rule(one: tuple[int, bool]) -> None:
    seed, impact = one
    asked = demanding(seed, impact=impact)
    error = explain_conflict(asked.start, asked.outlook, asked.mandate)
    assert error is not None
    loose = mended(asked, error, error.fixes[-1])
    target, _, certificate = planned(loose)

    assert loose.broken(target) <= 3e-7
    assert not ((target.bought > 0) & (target.sold > 0)).any()
    assert certificate.round_trips is not None
    assert certificate.round_trips.gain_on_paper > 1e-3
    assert abs(certificate.objective - certificate.round_trips.bound) <= GAP_ALLOWED
    # what a stranger can prove counts plans with round trips, too, and says so
    proved = lower_bound(loose.start, loose.outlook, loose.mandate, certificate.duals)
    assert certificate.objective - proved == pytest.approx(certificate.round_trips.gain_on_paper, abs=1e-9)


def test_a_search_cut_short_says_how_far_from_the_best_its_plan_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pressed(1)
    _, _, whole = planned(asked)
    assert whole.round_trips is not None
    monkeypatch.setattr(branch_and_bound, "WORK", 0)
    gaps = []
    for branches in (4, whole.round_trips.branches // 2):
        monkeypatch.setattr(branch_and_bound, "FEWEST", branches)
        with suppress(NotSolved):
            _, _, certificate = planned(asked)
            assert certificate.round_trips is not None
            assert certificate.round_trips.branches < whole.round_trips.branches
            assert certificate.round_trips.bound <= whole.objective + 1e-9
            gaps.append(certificate.objective - certificate.round_trips.bound)

    assert gaps[0] > GAP_ALLOWED
    assert gaps == sorted(gaps, reverse=True)


def test_a_search_without_a_plan_says_what_it_looked_at_and_what_to_loosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branch_and_bound, "WORK", 0)
    monkeypatch.setattr(branch_and_bound, "FEWEST", 1)
    monkeypatch.setattr(branch_and_bound, "_NEARER", ())
    with pytest.raises(NotSolved, match=r"has round trips.* in 1 branches; loosen what asks for little cash"):
        planned(pressed(1))


def test_a_search_without_time_gives_no_plan_rather_than_another_one() -> None:
    asked = reluctant()
    with pytest.raises(OutOfTime, match=r"raise solver\.time_limit_seconds"):
        solve_certified(
            Program(asked.outlook, asked.mandate), asked.start, asked.outlook, asked.mandate, Limits(seconds=0.0)
        )


def test_what_a_branch_asks_is_kept_by_every_wasteless_trade_in_it_and_by_no_other() -> None:
    asked, draw = pressed(1), np.random.default_rng(2)
    branch = TradeBranch.of_all(asked.start).narrowed(0, sold=0.0, least=0.1, most=0.3).narrowed(1, bought=0.0)
    rows = restrict_to_branch(branch, asked.mandate).rows
    own = slice(len(asked.mandate.rows.labels), None)
    inside = 0
    for _ in range(400):
        moved = draw.uniform([-0.05, -asked.start.holdings[1]], [0.4, 0.05])
        bought, sold = np.maximum(moved, 0.0), np.maximum(-moved, 0.0)
        trade = asked.swapped(bought, sold)
        left = rows.buys @ bought + rows.sells @ sold - rows.wealth * trade.value - rows.limit
        expected = 0.1 <= moved[0] <= 0.3 and moved[1] <= 0
        assert ((left[own] <= 1e-12).all()) == expected
        inside += expected
    assert inside > 50
    wasting = asked.swapped(np.array([0.2, 0.0]), np.array([0.0, 0.0]))
    burned = replace(wasting, cash=wasting.cash - 0.2)  # more than any trade of the branch costs
    left = rows.buys @ burned.bought + rows.sells @ burned.sold - rows.wealth * burned.value - rows.limit
    assert left[-1] > 0


@pytest.mark.parametrize("impact", [False, True])
def test_many_names_have_a_plan_long_before_it_is_proved_the_best(impact: bool) -> None:
    count, draw = 40, np.random.default_rng(0)
    asked = question(
        np.zeros((1, count)), np.diag(draw.uniform(1.0, 3.0, count)), held=draw.dirichlet(np.ones(count)) * 0.6,
        risk_aversion=120.0, rules=[caps(count, 0.5), cash_at_most(count, 0.35)],
    )  # fmt: skip
    bends = draw.uniform(0.3, 0.6, count) if impact else None
    asked = replace(asked, mandate=replace(asked.mandate, cost_rates=draw.uniform(0.05, 0.2, count), impact=bends))
    target, _, certificate = planned(asked)

    assert asked.broken(target) <= 3e-7
    assert certificate.round_trips is not None
    assert certificate.round_trips.bound < certificate.objective - 0.01  # and it says so
    assert certificate.round_trips.branches <= branch_and_bound.FEWEST + 10
