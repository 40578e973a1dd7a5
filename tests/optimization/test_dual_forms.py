"""The dual forms inside the program against the independent inner maximisers, re-solved through their parameters."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest

from allocator.ambiguity.balls import AnyProbabilities, Box, Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import Ambiguity
from allocator.types import Vector
from tests.agreement import SHARP
from tests.inner_maximisers import inner, random_instance

SCENARIOS = range(2, 9)
EACH = 30  # 7 × 30 = 210 instances a set
KINDS: dict[str, Callable[[float], Ambiguity]] = {
    "none": lambda _: Singleton(),
    "total variation": TotalVariation,
    "box": Box,
    "relative entropy": lambda radius: KullbackLeibler(2e-3 + 2 * radius),
    "worst": lambda _: AnyProbabilities(),
}
VALUE = {"relative entropy": 1e-7}
SOLVER = {"relative entropy": cp.CLARABEL}
TIGHT = {"tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9}


class Dual:
    """One compiled dual form: minimise the worst case of `losses` ≥ given numbers."""

    def __init__(self, kind: str, ambiguity: Ambiguity, p: Vector) -> None:
        self.losses, self.given = cp.Variable(len(p)), cp.Parameter(len(p))
        self.worst = ambiguity.dual_form(self.losses, p)
        self.rows = self.losses >= self.given
        self.problem = cp.Problem(cp.Minimize(self.worst.expression), [self.rows, *self.worst.constraints])
        self.solver = SOLVER.get(kind, cp.HIGHS)

    def solve(self, losses: Vector, ambiguity: Ambiguity, p: Vector) -> tuple[float, Vector]:
        """The value, and the duals of the rows."""
        self.given.value = losses
        self.worst.write(ambiguity, p)
        self.problem.solve(self.solver, **(TIGHT if self.solver == cp.CLARABEL else {}))
        assert self.problem.status == cp.OPTIMAL
        return float(self.problem.value), np.asarray(self.rows.dual_value, dtype=float)


@pytest.mark.parametrize("kind", KINDS)
def test_each_dual_form_is_worth_what_an_independent_maximiser_finds_and_its_duals_are_the_adversary(kind: str) -> None:
    draw = np.random.default_rng(7)
    agreement = VALUE.get(kind, SHARP)
    for scenarios in SCENARIOS:
        dual = Dual(kind, KINDS[kind](0.1), np.full(scenarios, 1 / scenarios))
        assert dual.problem.is_dcp(dpp=True)
        for i in range(EACH):
            # which probabilities are zero is structure in a relative-entropy set only
            losses, p = random_instance(draw, scenarios, kind=i % 2 if kind == "relative entropy" else i % 4)
            ambiguity = KINDS[kind]((0.0, 1.0)[i % 2] if i % 10 < 2 else float(draw.uniform(0, 1)))
            value, q = dual.solve(losses, ambiguity, p)

            assert value == pytest.approx(inner(losses, ambiguity, p), abs=agreement)
            assert q.sum() == pytest.approx(1, abs=agreement)
            assert q @ losses == pytest.approx(value, abs=10 * agreement)
            assert q.min() >= -agreement
            assert ambiguity.excess(np.maximum(q, 0), p) <= 100 * agreement


def test_the_relative_entropy_form_leaves_out_scenarios_that_the_belief_excludes() -> None:
    draw = np.random.default_rng(8)
    for _ in range(10):
        losses, p = draw.normal(size=5), draw.dirichlet(np.ones(5))
        p[2] = 0.0
        p /= p.sum()
        ambiguity = KullbackLeibler(float(draw.uniform(0.01, 1)))
        value, q = Dual("relative entropy", ambiguity, p).solve(losses, ambiguity, p)

        assert value == pytest.approx(inner(losses, ambiguity, p), abs=SHARP)
        assert q[2] == pytest.approx(0, abs=SHARP)


def test_a_tiny_relative_entropy_ball_is_compiled_as_the_belief() -> None:
    p = np.array([0.5, 0.5, 0.0])

    assert KullbackLeibler(9e-7).structure(p) == ("none",)
    assert KullbackLeibler(1e-5).structure(p) == ("kl", True, True, False)
    assert TotalVariation(0.0).structure(p) == ("total_variation",)


def test_the_forms_never_fall_when_a_loss_rises() -> None:
    draw = np.random.default_rng(9)
    for kind, make in KINDS.items():
        losses, p = draw.normal(size=4), np.array([0.4, 0.3, 0.2, 0.1])
        dual = Dual(kind, make(0.1), p)
        base, _ = dual.solve(losses, make(0.1), p)
        for k in range(4):
            higher, _ = dual.solve(losses + 0.1 * np.eye(4)[k], make(0.1), p)
            assert higher >= base - 1e-8
