"""The dual forms of the further sets against independent maximisers, alone and in a minimisation over portfolios."""

from __future__ import annotations

import warnings

import cvxpy as cp
import numpy as np
import pytest

from allocator.ambiguity.balls import Contamination
from allocator.ambiguity.divergences import ModifiedChiSquared
from allocator.ambiguity.polyhedral import ExpertHull, Polytope
from allocator.ambiguity.sets import Ambiguity
from allocator.ambiguity.transport import Wasserstein
from allocator.types import Vector
from tests.agreement import OBJECTIVE
from tests.further_sets import FURTHER
from tests.inner_maximisers import inner, random_instance
from tests.thoroughness import count

INSTANCES = count(210, 3)


def by_clarabel(problem: cp.Problem) -> float:
    """As tight as the program asks, then ten times looser, as it does."""
    for tolerance in (1e-9, 1e-8):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Solution may be inaccurate", category=UserWarning)
            problem.solve(cp.CLARABEL, tol_gap_abs=tolerance, tol_gap_rel=tolerance, tol_feas=tolerance)
        if problem.status == cp.OPTIMAL:
            break
    assert problem.status == cp.OPTIMAL
    return float(problem.value)


class Dual:
    """One compiled dual form: minimise the worst case of `losses` ≥ given numbers."""

    def __init__(self, ambiguity: Ambiguity, p: Vector) -> None:
        self.losses, self.given = cp.Variable(len(p)), cp.Parameter(len(p))
        self.worst = ambiguity.dual_form(self.losses, p)
        self.rows = self.losses >= self.given
        self.problem = cp.Problem(cp.Minimize(self.worst.expression), [self.rows, *self.worst.constraints])

    def solve(self, losses: Vector, ambiguity: Ambiguity, p: Vector) -> tuple[float, Vector]:
        """The value, and the duals of the rows."""
        self.given.value = losses
        self.worst.write(ambiguity, p)
        if ambiguity.is_curved:
            by_clarabel(self.problem)
        else:
            self.problem.solve(cp.HIGHS)
        assert self.problem.status == cp.OPTIMAL
        return float(self.problem.value), np.asarray(self.rows.dual_value, dtype=float)


@pytest.mark.parametrize("kind", FURTHER)
def test_each_dual_form_is_worth_what_an_independent_maximiser_finds_and_its_duals_are_the_adversary(kind: str) -> None:
    draw = np.random.default_rng(7)
    for i in range(INSTANCES):
        losses, p = random_instance(draw, 2 + i % 7, kind=i % 4)
        radius = (0.0, 1.0)[i % 2] if i % 10 < 2 else float(draw.uniform(0, 1))
        ambiguity = FURTHER[kind](draw, p, radius)
        dual = Dual(ambiguity, p)
        value, q = dual.solve(losses, ambiguity, p)

        assert dual.problem.is_dcp(dpp=True)
        assert value == pytest.approx(inner(losses, ambiguity, p), abs=OBJECTIVE)
        assert value == pytest.approx(ambiguity.worst_case(losses, p), abs=OBJECTIVE)
        assert q.min() >= -OBJECTIVE
        assert q.sum() == pytest.approx(1, abs=OBJECTIVE)
        assert q @ losses == pytest.approx(value, abs=OBJECTIVE)
        assert ambiguity.project(q, p) @ losses == pytest.approx(value, abs=OBJECTIVE)
        np.testing.assert_allclose(ambiguity.project(q, p), q, atol=1e-5)


@pytest.mark.parametrize("kind", FURTHER)
def test_a_compiled_form_serves_every_set_of_its_shape_through_its_parameters(kind: str) -> None:
    draw = np.random.default_rng(8)
    dual, shape, served = None, None, 0
    for _ in range(60):
        losses, p = random_instance(draw, 4, kind=0)
        ambiguity = FURTHER[kind](draw, p, float(draw.uniform(0.05, 1)))
        own = ambiguity.structure(p)
        if dual is None:
            dual, shape = Dual(ambiguity, p), own
        if own == shape:
            served += 1
            assert dual.solve(losses, ambiguity, p)[0] == pytest.approx(inner(losses, ambiguity, p), abs=OBJECTIVE)
    assert served >= 8


@pytest.mark.parametrize("kind", FURTHER)
def test_the_adversary_of_the_best_portfolio_makes_it_the_best_against_him(kind: str) -> None:
    draw = np.random.default_rng(9)
    for _ in range(8):
        scenarios, names = int(draw.integers(3, 7)), 6
        returns, p = draw.normal(0.05, 0.2, (scenarios, names)), draw.dirichlet(np.ones(scenarios))
        ambiguity = FURTHER[kind](draw, p, float(draw.uniform(0.05, 0.6)))
        x, losses = cp.Variable(names, nonneg=True), cp.Variable(scenarios)
        risk = 2 * cp.sum_squares(cp.multiply(draw.uniform(0.1, 0.4, names), x))
        worst, rows = ambiguity.dual_form(losses, p), losses >= -returns @ x
        worst.write(ambiguity, p)
        problem = cp.Problem(cp.Minimize(worst.expression + risk), [rows, cp.sum(x) == 1, *worst.constraints])
        value = by_clarabel(problem)
        q, charge = np.asarray(rows.dual_value, dtype=float), float(risk.value)
        at_best = -returns @ x.value

        assert value == pytest.approx(inner(at_best, ambiguity, p) + charge, abs=OBJECTIVE)
        assert q @ at_best + charge == pytest.approx(value, abs=OBJECTIVE)
        saddle = cp.Problem(cp.Minimize(-(ambiguity.project(q, p) @ returns) @ x + risk), [cp.sum(x) == 1])
        assert by_clarabel(saddle) == pytest.approx(value, abs=OBJECTIVE)


@pytest.mark.parametrize("kind", FURTHER)
def test_the_forms_never_fall_when_a_loss_rises(kind: str) -> None:
    draw = np.random.default_rng(10)
    for _ in range(5):
        losses, p = random_instance(draw, 4, kind=0)
        ambiguity = FURTHER[kind](draw, p, 0.3)
        dual = Dual(ambiguity, p)
        base, _ = dual.solve(losses, ambiguity, p)

        assert all(dual.solve(losses + 0.1 * one, ambiguity, p)[0] >= base - 1e-8 for one in np.eye(4))


def test_what_is_compiled_in_is_what_a_set_has_beside_its_numbers() -> None:
    p = np.array([0.5, 0.5, 0.0])
    metric = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    row = np.array([1.0, 0.0, 0.0])
    equal = Polytope(np.array([row, row[::-1], -row]), np.array([0.5, 0.2, -0.5]))

    assert ModifiedChiSquared(9e-7).structure(p) == ("none",)
    assert ModifiedChiSquared(0.1).structure(p)[1:] == (True, True, False)
    assert Contamination(0.0).structure(p) == ("contamination",)
    assert Wasserstein(0.1, metric).structure(p)[1:] == (True, True, False)
    assert Wasserstein(0.0, metric).structure(p)[4:] == (
        True,
        True,
        False,
        True,
        True,
        False,
        False,
        False,
        True,
    )
    assert ExpertHull(np.eye(3)).structure(p)[1:] == (3,)
    assert equal.structure(p)[1:] == (3, 0, 2)
