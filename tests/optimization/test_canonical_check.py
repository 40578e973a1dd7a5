"""The canonical check takes right answers and no other: perturbed, tampered, of wrong sign, or not a number."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp

from allocator.optimization.verification import canonical_check
from allocator.types import Vector
from tests.agreement import SOLVED

TIGHT: dict[str, dict[str, float]] = {
    "PIQP": {"eps_abs": 1e-11, "eps_rel": 1e-11, "eps_duality_gap_abs": 1e-11, "eps_duality_gap_rel": 1e-11},
    "CLARABEL": {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11},
}


@dataclass(frozen=True)
class Dims:
    """The cones of a hand-made program, in the order of its rows."""

    zero: int = 0
    nonneg: int = 0
    soc: list[int] = field(default_factory=list)
    exp: int = 0
    psd: list[int] = field(default_factory=list)
    p3d: list[float] = field(default_factory=list)
    pnd: list[float] = field(default_factory=list)


def program(cones: bool) -> cp.Problem:
    """A portfolio: least variance at a return, with a second-order and an exponential cone if asked."""
    draw = np.random.default_rng(12)
    loadings, mean = draw.normal(size=(3, 6)), draw.normal(0.1, 0.1, 6)
    h = cp.Variable(6, nonneg=True)
    rules = [cp.sum(h) == 1, h <= 0.22]
    if cones:
        risk = cp.Variable()
        rules += [cp.norm(loadings @ h) <= risk]
        return cp.Problem(cp.Minimize(risk + 0.1 * cp.sum(cp.exp(h))), rules)
    return cp.Problem(cp.Minimize(cp.sum_squares(loadings @ h) - mean @ h), rules)


def solved(cones: bool) -> tuple[Any, Vector, Vector, Vector]:
    """Compiled data, and what the solver hands back: x, duals of the equalities, duals of the rest."""
    problem, solver = program(cones), "CLARABEL" if cones else "PIQP"
    data, chain, _ = problem.get_problem_data(solver)
    raw = chain.solve_via_data(problem, data, False, False, TIGHT[solver])
    if solver == "PIQP":
        return data, np.array(raw.x), np.array(raw.y), np.array(raw.z_u)
    zero = data["dims"].zero
    return data, np.array(raw.x), np.array(raw.z)[:zero], np.array(raw.z)[zero:]


BOTH = pytest.mark.parametrize("cones", [False, True], ids=["quadratic", "conic"])


@BOTH
def test_a_right_answer_has_no_residual_worth_naming(cones: bool) -> None:
    assert canonical_check(*solved(cones)).worst < 100 * SOLVED


@BOTH
def test_a_perturbed_portfolio_is_caught_by_the_primal_or_the_gap(cones: bool) -> None:
    data, x, equalities, rest = solved(cones)
    for i in range(len(x)):
        for step in (1e-4, -1e-4):
            moved = x + step * np.eye(len(x))[i]
            assert canonical_check(data, moved, equalities, rest).worst > 1e-6


@BOTH
def test_perturbed_duals_are_caught_wherever_they_are_not_free(cones: bool) -> None:
    data, x, equalities, rest = solved(cones)
    for i in range(len(equalities)):
        assert canonical_check(data, x, equalities + 1e-4 * np.eye(len(equalities))[i], rest).worst > 1e-6
    for i in range(len(rest)):
        assert canonical_check(data, x, equalities, rest + 1e-4 * np.eye(len(rest))[i]).worst > 1e-6
        assert canonical_check(data, x, equalities, rest - 1e-4 * np.eye(len(rest))[i]).worst > 1e-6


@BOTH
def test_swapped_signs_are_caught(cones: bool) -> None:
    data, x, equalities, rest = solved(cones)

    assert canonical_check(data, -x, equalities, rest).primal > 1e-3
    assert canonical_check(data, x, -equalities, rest).worst > 1e-3
    assert canonical_check(data, x, equalities, -rest).dual > 1e-3


@BOTH
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_no_solution(cones: bool, bad: float) -> None:
    data, x, equalities, rest = solved(cones)
    for at in range(3):
        vectors = [x.copy(), equalities.copy(), rest.copy()]
        vectors[at][0] = bad
        assert canonical_check(data, *vectors).worst == np.inf


def test_a_feasible_portfolio_that_is_not_optimal_is_told_apart() -> None:
    data, _, equalities, rest = solved(False)
    problem = program(False)
    _, chain, _ = problem.get_problem_data("PIQP")
    other = np.array(chain.solve_via_data(problem, data | {"q": -data["q"]}, False, False, TIGHT["PIQP"]).x)
    found = canonical_check(data, other, equalities, rest)

    assert found.primal < 1e-8
    assert found.worst > 1e-3


def in_cone(dims: Dims, point: Vector) -> float:
    """The primal residual of a point that must lie in a cone: −I·x + s = 0."""
    count = len(point)
    data = {"A": -sp.eye_array(count).tocsr(), "b": np.zeros(count), "c": np.zeros(count), "dims": dims}
    return canonical_check(data, point, np.zeros(0), np.zeros(count)).primal


def in_dual_cone(dims: Dims, price: Vector) -> float:
    """The dual residual of a price that must lie in the dual cone, the gradient being zero: c = price."""
    count = len(price)
    data = {"A": -sp.eye_array(count).tocsr(), "b": np.zeros(count), "c": price, "dims": dims}
    return canonical_check(data, np.zeros(count), np.zeros(0), price).dual


SOC, EXP = Dims(soc=[3]), Dims(exp=1)


@pytest.mark.parametrize("point", [(5, 3, 4), (5, 3, -4), (0, 0, 0), (2, 0.5, 0.5)])
def test_points_of_the_second_order_cone_are_inside(point: tuple[float, ...]) -> None:
    assert in_cone(SOC, np.array(point, dtype=float)) <= 1e-12
    assert in_dual_cone(SOC, np.array(point, dtype=float)) <= 1e-12  # it is its own dual


@pytest.mark.parametrize("point", [(4.99, 3, 4), (-5, 3, 4), (-1, 0, 0), (0, 0.1, 0)])
def test_points_beside_the_second_order_cone_are_outside(point: tuple[float, ...]) -> None:
    assert in_cone(SOC, np.array(point, dtype=float)) > 1e-3
    assert in_dual_cone(SOC, np.array(point, dtype=float)) > 1e-3


@pytest.mark.parametrize(
    "point", [(0, 1, 1), (1, 1, np.e), (1, 2, 2 * np.exp(0.5)), (-3, 0, 0), (-1, 0, 2), (0, 0, 0), (-5, 1, 1)]
)
def test_points_of_the_exponential_cone_are_inside(point: tuple[float, ...]) -> None:
    assert in_cone(EXP, np.array(point, dtype=float)) <= 1e-12


@pytest.mark.parametrize("point", [(0, 1, 0.9), (1, 1, 2.7), (0.1, 0, 5), (-1, -0.1, 1), (-1, 0, -0.1), (9, 0.01, 9)])
def test_points_beside_the_exponential_cone_are_outside(point: tuple[float, ...]) -> None:
    assert in_cone(EXP, np.array(point, dtype=float)) > 1e-3


@pytest.mark.parametrize("price", [(-1, 1, 1), (-1, 0, np.exp(-1)), (0, 1, 1), (0, 0, 0), (-2, -4, 2 * np.exp(1))])
def test_prices_of_the_dual_exponential_cone_are_inside(price: tuple[float, ...]) -> None:
    assert in_dual_cone(EXP, np.array(price, dtype=float)) <= 1e-12


@pytest.mark.parametrize("price", [(-1, -1, 0.9), (-1, 0, 0.36), (0, -0.1, 1), (0.1, 1, 1), (0, 1, -0.1), (-1, -9, 1)])
def test_prices_beside_the_dual_exponential_cone_are_outside(price: tuple[float, ...]) -> None:
    assert in_dual_cone(EXP, np.array(price, dtype=float)) > 1e-3


def test_every_pair_of_an_inside_point_and_an_inside_price_has_a_product_of_at_least_nothing() -> None:
    draw = np.random.default_rng(13)
    points, prices = [], []
    for at in draw.normal(size=(1000, 3)) * 2:
        if in_cone(EXP, at) <= 0:
            points.append(at)
        if in_dual_cone(EXP, at) <= 0:
            prices.append(at)

    assert min(len(points), len(prices)) > 50
    assert (np.array(points) @ np.array(prices).T).min() >= -1e-9


def distance(x: float, y: float, z: float, times: float = 1.0) -> float:
    """To {y > 0, y·e^(x/y) ≤ times·z} in the largest coordinate: the least t with a member within it, by bisection.

    For a given x and z the best y is x itself, where y·e^(x/y) is least, or as near to it as t allows.
    """

    def reached(t: float) -> bool:
        low, high, left, up = max(y - t, 0.0), y + t, x - t, z + t
        if high < 0 or up < 0:
            return False
        best = min(max(left, low), high) if left > 0 else low
        return left <= 0 if best <= 0 else bool(best * np.exp(min(left / best, 700.0)) <= times * up)

    if reached(0.0):
        return 0.0
    inside, outside = 0.0, 2 * max(abs(x), abs(y), abs(z))
    for _ in range(100):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if reached(middle) else (middle, outside)
    return outside


def test_what_is_said_of_a_point_beside_an_exponential_cone_is_never_less_than_its_distance() -> None:
    """At every scale up to 1, beyond which figures are relative; the dual cone is {u < 0, −u·e^(v/u) ≤ e·w}."""
    draw = np.random.default_rng(14)
    for at in draw.normal(size=(300, 3)):
        for scale in (1.0, 1e-4, 1e-10):
            x, y, z = (float(value) for value in at / np.abs(at).max() * scale)
            farthest = max(abs(x), abs(y), abs(z)) * (1 + 1e-9)
            assert distance(x, y, z) * (1 - 1e-9) <= in_cone(EXP, np.array([x, y, z])) <= farthest
            dual = in_dual_cone(EXP, np.array([-y, -x, z]))
            assert distance(x, y, z, np.e) * (1 - 1e-9) <= dual <= farthest


def test_a_point_that_all_but_touches_the_apex_is_as_far_outside_as_it_is() -> None:
    """What Clarabel gives where a set costs nothing: along z alone it would be 1.5e-5 outside, and no answer."""
    point = np.array([5.10112073e-11, 3.33285163e-12, -3.02451769e-11])

    assert point[1] * np.exp(point[0] / point[1]) - point[2] > 1e-5
    assert distance(*map(float, point)) * (1 - 1e-9) <= in_cone(EXP, point) <= 6e-11
    assert in_cone(EXP, 1e8 * point) > 1e-3
    assert in_dual_cone(EXP, np.array([-3e-12, -5e-11, 3e-11])) <= 6e-11
    assert in_dual_cone(EXP, 1e8 * np.array([-3e-12, -5e-11, 3e-11])) > 1e-3


def test_several_cones_are_told_apart_by_their_order() -> None:
    dims = Dims(nonneg=1, soc=[3], exp=1)
    inside = np.array([1.0, 5, 3, 4, 0, 1, 1])

    assert in_cone(dims, inside) <= 1e-12
    for at, by in ((0, -2), (1, -1), (6, -0.5)):
        assert in_cone(dims, inside + by * np.eye(7)[at]) > 1e-3


@pytest.mark.parametrize("kind", ["psd", "p3d", "pnd"])
def test_a_cone_that_no_program_of_ours_has_is_never_waved_through(kind: str) -> None:
    assert in_cone(Dims(**{kind: [1]}), np.zeros(3)) == np.inf


def test_bounds_of_the_variables_are_held_to() -> None:
    # minimise −x subject to 0 ≤ x ≤ 1, where the bounds are no rows: the gradient is the price of the upper bound
    data = {
        "A": sp.csr_array((0, 1)), "b": np.zeros(0), "F": sp.csr_array((0, 1)), "G": np.zeros(0), "q": np.array([-1.0]),
        "dims": Dims(), "lower_bounds": np.zeros(1), "upper_bounds": np.ones(1),
    }  # fmt: skip
    none = np.zeros(0)

    assert canonical_check(data, np.array([1.0]), none, none).worst == 0
    assert canonical_check(data, np.array([1.1]), none, none).primal == pytest.approx(0.1)
    assert canonical_check(data, np.array([-0.1]), none, none).primal == pytest.approx(0.1)
    assert canonical_check(data, np.array([0.5]), none, none).gap == pytest.approx(0.5)
    assert canonical_check(
        data | {"upper_bounds": np.array([np.inf])}, np.array([1.0]), none, none
    ).dual == pytest.approx(1.0)
