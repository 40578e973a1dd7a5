"""A plan with reviews that lacks something: holding that is no choice, a figure not found, a solver in doubt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest

import allocator.multistage.review_policy
import allocator.multistage.solve
import allocator.plan.reviews
from allocator.book.loading import load
from allocator.display.plan import show_plan
from allocator.errors import Infeasible, NotSolved
from allocator.multistage.policy import policy_from_trades
from allocator.multistage.program import TreeProgram
from allocator.multistage.solve import refuse_infeasible_tree, solve_policy
from allocator.optimization.solve import Limits
from allocator.plan.document import plan_document
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from tests.trees import CASH_ONLY, worked

NARROW = "mandate.max_turnover=0.1625"
"""Just enough to mend today's holdings now: who holds them drifts too far to mend them at the first review."""


@pytest.fixture(scope="module")
def narrow(root: Path) -> Plan:
    return rebalance(load(root / "tests" / "plain_books" / "reviewed", overrides=[NARROW]))


def test_a_plan_is_not_refused_because_holding_could_not_keep_the_rules_later(
    narrow: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    assert narrow.policy is not None
    document = json.loads(json.dumps(plan_document(narrow), allow_nan=False))
    show_plan(narrow)
    said = " ".join(capsys.readouterr().out.split())

    assert narrow.decision.verdict == "trade required"
    assert narrow.policy.holding is None
    assert narrow.orders
    assert document["decision"]["gain_bps"] is None
    assert document["policy"]["certainty_equivalent_of_holding"] is None
    assert "Trade required: whoever holds today's holdings cannot keep the limits at a review." in said


def test_lots_that_leave_no_later_way_are_refused_as_lots(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.plan.reviews, "_beginning_with", lambda *_: None)
    with pytest.raises(Infeasible, match="the nearest whole lots leave no way to keep the rules at a later review"):
        rebalance(load(root / "tests" / "plain_books" / "reviewed"))


def test_a_verified_plan_is_not_lost_for_want_of_the_price_of_caution(
    narrow: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise NotSolved("no")

    monkeypatch.setattr(allocator.multistage.review_policy, "solve_policy", fails)
    assert narrow.policy is not None
    made = replace(narrow, policy=replace(narrow.policy))  # a schedule that is not there yet
    document = plan_document(made)
    show_plan(made)

    assert made.policy is not None
    assert made.policy.caution_schedule[0].cost_of_robustness_bps is None
    assert document["policy"]["caution_schedule"][0]["cost_of_robustness_bps"] is None
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("now"))
    assert "none" in row.split()


def test_what_the_formulas_are_above_the_solver_counts_in_the_gap() -> None:
    policy = solve_policy(worked(), CASH_ONLY)
    moves = policy.bought - policy.sold
    claimed = policy.objective - 3e-7

    again = replace(policy_from_trades(policy.staged, policy.start, moves), canonical=policy.canonical, claimed=claimed)

    assert again.gap == pytest.approx(policy.canonical.gap + 3e-7, abs=1e-12)
    assert policy.gap == pytest.approx(policy.canonical.gap + max(policy.objective - policy.claimed, 0.0), abs=1e-15)
    assert np.isnan(policy_from_trades(policy.staged, policy.start, moves).gap)  # nothing vouches for it


def test_an_inaccurate_certificate_does_not_say_that_rules_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = worked()
    monkeypatch.setattr(TreeProgram, "ask", lambda *_: (cp.INFEASIBLE_INACCURATE, None))
    refuse_infeasible_tree(staged, CASH_ONLY, Limits())
    with pytest.raises(NotSolved, match="infeasible_inaccurate"):
        solve_policy(staged, CASH_ONLY)


def test_a_policy_whose_value_is_not_what_the_solver_says_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = allocator.multistage.solve._followed

    def lied(*given: object, **more: object) -> object:
        made = honest(*given, **more)  # type: ignore[arg-type]  # whatever it was given
        return replace(made, claimed=made.claimed + 1e-4)

    monkeypatch.setattr(allocator.multistage.solve, "_followed", lied)
    with pytest.raises(NotSolved, match="the formulas give"):
        solve_policy(worked(), CASH_ONLY)
