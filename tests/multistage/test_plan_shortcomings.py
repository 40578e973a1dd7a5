"""A plan in stages that lacks something beside it: holding that is no choice, a figure not found, a solver in doubt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest

import allocator.multistage.plan
import allocator.multistage.solve
import allocator.multistage.value_of_waiting
from allocator.book.loading import load
from allocator.display.multistage import show_multistage_plan
from allocator.errors import Infeasible, NotSolved
from allocator.multistage.document import multistage_document
from allocator.multistage.plan import MultistagePlan, rebalance_multistage
from allocator.multistage.policy import policy_from_trades
from allocator.multistage.solve import refuse_infeasible_tree, solve_policy
from allocator.multistage.value_of_waiting import caution_schedule
from allocator.optimization.solve import Limits
from tests.trees import CASH_ONLY, worked

NARROW = "mandate.max_turnover=0.165"
"""Just enough to mend today's holdings now: who holds them drifts too far to mend them at the first review."""


@pytest.fixture(scope="module")
def narrow(root: Path) -> MultistagePlan:
    return rebalance_multistage(load(root / "data" / "reviewed", overrides=[NARROW]))


def test_a_plan_is_not_refused_because_holding_could_not_keep_the_rules_later(
    narrow: MultistagePlan, capsys: pytest.CaptureFixture[str]
) -> None:
    release = caution_schedule(narrow.book, narrow.followed)
    document = json.loads(json.dumps(multistage_document(narrow, release), allow_nan=False))
    show_multistage_plan(narrow, release)
    said = " ".join(capsys.readouterr().out.split())

    assert narrow.verdict == "must trade"
    assert narrow.holding is None
    assert narrow.orders
    assert (document["worth"]["gain_bps"], document["worth"]["holding_equivalent"]) == (None, None)
    assert "Must trade: who holds today cannot keep the rules at a review." in said


def test_lots_that_leave_no_later_way_are_refused_as_lots(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.plan.stages, "_beginning_with", lambda *_: None)
    with pytest.raises(Infeasible, match="the nearest whole lots leave no way to keep the rules at a later review"):
        rebalance_multistage(load(root / "data" / "reviewed"))


def test_a_verified_plan_is_not_lost_for_want_of_the_price_of_caution(
    narrow: MultistagePlan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise NotSolved("no")

    monkeypatch.setattr(allocator.plan.release, "policy_of", fails)
    release = caution_schedule(narrow.book, narrow.followed)
    document = multistage_document(narrow, release)
    show_multistage_plan(narrow, release)

    assert release[0].caution_bps is None
    assert document["release"][0]["caution_bps"] is None
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("now"))
    assert row.split()[4] == "none"


def test_what_the_formulas_are_above_the_solver_counts_in_the_gap() -> None:
    policy = solve_policy(worked(), CASH_ONLY)
    moves = policy.bought - policy.sold
    claimed = policy.objective - 3e-7

    again = policy_from_trades(policy.staged, policy.start, moves, canonical=policy.canonical, claimed=claimed)

    assert again.gap == pytest.approx(policy.canonical.gap + 3e-7, abs=1e-12)
    assert policy.gap == pytest.approx(policy.canonical.gap + max(policy.objective - policy.claimed, 0.0), abs=1e-15)
    assert np.isnan(policy_from_trades(policy.staged, policy.start, moves).gap)  # nothing vouches for it


def test_an_inaccurate_certificate_does_not_say_that_rules_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = worked()
    monkeypatch.setattr(allocator.program.decisions, "attempt", lambda *_, **__: (cp.INFEASIBLE_INACCURATE, None))
    refuse_infeasible_tree(staged, CASH_ONLY, Limits())
    with pytest.raises(NotSolved, match="infeasible_inaccurate"):
        solve_policy(staged, CASH_ONLY)


def test_a_policy_whose_value_is_not_what_the_solver_says_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = allocator.program.decisions.follow

    def lied(*given: object, **more: object) -> object:
        made = honest(*given, **more)  # type: ignore[arg-type]  # whatever it was given
        return replace(made, claimed=made.claimed + 1e-4)

    monkeypatch.setattr(allocator.program.decisions, "follow", lied)
    with pytest.raises(NotSolved, match="the formulas give"):
        solve_policy(worked(), CASH_ONLY)
