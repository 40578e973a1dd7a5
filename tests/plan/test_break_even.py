"""Break-even probabilities and least shifts against cvxpy, linear programs and arithmetic by hand."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import linprog

from allocator.plan.break_even import break_even_probability, crossing, least_shift_chi2, least_shift_kl, least_shift_tv
from allocator.types import Vector

SEEDS = range(40)


def shifts(seed: int) -> tuple[Vector, Vector]:
    """By how much the other allocation is better in each scenario, and a belief under which it is worse."""
    draw = np.random.default_rng(seed)
    count = 2 + seed % 5
    p, d = draw.dirichlet(np.ones(count)), draw.normal(0, 0.2, count)
    return (d if p @ d < 0 else -d), p


def by_cvxpy(kind: str, better: Vector, p: Vector) -> float | None:
    """The least distance by a solver that knows nothing of closed forms."""
    q = cp.Variable(len(p), nonneg=True)
    distances: dict[str, Any] = {
        "kl": cp.sum(cp.kl_div(q, p)),
        "tv": cp.norm1(q - p) / 2,
        "chi2": cp.sum(cp.multiply(1 / p, cp.square(q - p))),
    }
    problem = cp.Problem(cp.Minimize(distances[kind]), [cp.sum(q) == 1, q @ better >= 0])
    problem.solve(solver=cp.CLARABEL)
    return None if problem.status not in ("optimal", "optimal_inaccurate") else float(problem.value)


@pytest.mark.parametrize("kind", ["kl", "tv", "chi2"])
def test_the_least_shift_is_that_of_a_solver_and_just_flips(kind: str) -> None:
    by_formula = {"kl": least_shift_kl, "tv": least_shift_tv, "chi2": least_shift_chi2}[kind]
    flipped = 0
    for seed in SEEDS:
        better, p = shifts(seed)
        found, solved = by_formula(better, p), by_cvxpy(kind, better, p)

        assert (found is None) == bool(better.max() < 0), seed
        if found is None or solved is None:
            continue
        flipped += 1
        assert found.distance == pytest.approx(solved, abs=3e-6), seed
        assert found.q @ better == pytest.approx(0, abs=1e-9)
        assert found.q.sum() == pytest.approx(1)
        assert found.q.min() >= 0
    assert flipped > 20


def test_the_total_variation_shift_is_exactly_that_of_the_linear_program() -> None:
    for seed in SEEDS:
        better, p = shifts(seed)
        count = len(p)
        # q = p + u - v, least sum of v
        program = linprog(
            np.concatenate([np.zeros(count), np.ones(count)]),
            A_ub=-np.concatenate([better, -better])[None, :], b_ub=[p @ better],
            A_eq=np.concatenate([np.ones(count), -np.ones(count)])[None, :], b_eq=[0.0],
            bounds=[(0, None)] * count + [(0, float(x)) for x in p],
        )  # fmt: skip
        found = least_shift_tv(better, p)

        assert (found is None) == (program.status == 2)
        if found is not None:
            assert found.distance == pytest.approx(program.fun, abs=1e-12)


def test_the_closed_form_of_modified_chi_squared_holds_while_nothing_falls_to_zero() -> None:
    closed = 0
    for seed in SEEDS:
        better, p = shifts(seed)
        found, mean = least_shift_chi2(better, p), float(p @ better)
        variance = float(p @ (better - mean) ** 2)
        if found is not None and (1 - mean * (better - mean) / variance >= 0).all():
            closed += 1
            assert found.distance == pytest.approx(mean**2 / variance, rel=1e-9)
    assert closed > 5


def test_the_tilt_of_the_kl_shift_is_its_stationarity() -> None:
    better, p = np.array([0.3, -0.2, 0.1, -0.15]), np.array([0.1, 0.5, 0.2, 0.2])
    found = least_shift_kl(better, p)

    assert found is not None
    slopes = np.diff(np.log(found.q / p)) / np.diff(better)
    assert slopes == pytest.approx([slopes[0]] * 3)
    assert slopes[0] > 0


@pytest.mark.parametrize("shift", [least_shift_kl, least_shift_tv, least_shift_chi2])
def test_what_is_better_already_needs_no_shift_and_what_never_is_has_none(shift: Any) -> None:
    p = np.array([0.5, 0.5])

    assert shift(np.array([0.2, -0.1]), p).distance == 0
    assert shift(np.array([-0.2, -0.1]), p) is None


@pytest.mark.parametrize("shift", [least_shift_kl, least_shift_chi2])
def test_no_shift_by_ratios_reaches_an_impossible_scenario(shift: Any) -> None:
    assert shift(np.array([0.9, -0.1, -0.2]), np.array([0.0, 0.5, 0.5])) is None


def test_break_even_is_where_expected_returns_meet() -> None:
    first, second = np.array([0.30, 0.10, -0.20, -0.10]), np.array([-0.10, 0.00, 0.15, 0.25])
    true, false = np.array([0.8, 0.2, 0, 0]), np.array([0, 0, 0.75, 0.25])
    found = break_even_probability(first, second, true, false)

    # given G: 0.26 against -0.08, given P: -0.175 against 0.175; π·0.34 = (1 - π)·0.35
    assert found == pytest.approx(0.35 / 0.69)
    belief = found * true + (1 - found) * false
    assert belief @ first == pytest.approx(belief @ second, abs=1e-15)


def test_no_probability_is_named_where_one_is_always_better() -> None:
    belief = np.array([1.0, 0.0]), np.array([0.0, 1.0])

    assert break_even_probability(np.array([0.2, 0.1]), np.array([0.1, 0.0]), *belief) is None
    assert crossing(lambda x: 1 + x, 0.5) is None


def test_the_crossing_nearest_to_the_belief_is_found() -> None:
    def difference(x: float) -> float:
        return (x - 0.13) * (x - 0.57) * (x - 0.91)

    assert crossing(difference, 0.2) == pytest.approx(0.13)
    assert crossing(difference, 0.6) == pytest.approx(0.57)
    assert crossing(difference, 1.0) == pytest.approx(0.91)


def test_the_published_break_even_of_two_names_is_met() -> None:
    """Science §4.5: OPENAI against GPU .4350; 15-month returns of §1.5, Jevons at .6 under either answer."""
    openai, gpu = np.array([1.653, -0.074, -0.167, -0.720]), np.array([0.330, -0.611, 0.517, 0.195])
    found = break_even_probability(openai, gpu, np.array([0.6, 0.4, 0, 0]), np.array([0, 0, 0.6, 0.4]))

    assert found == pytest.approx(0.4350, abs=5e-5)
