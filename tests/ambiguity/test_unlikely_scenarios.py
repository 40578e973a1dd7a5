"""A scenario that is all but impossible is possible: what divergences make of it, in all their verbs."""

from __future__ import annotations

import sys
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest

from allocator.ambiguity.divergences import Divergence, KullbackLeibler, ModifiedChiSquared
from allocator.integrations.cvxpy_terms import worst_case_expression
from tests.agreement import OBJECTIVE
from tests.thoroughness import count, some
from tests.unlikely import DECADES, DIVERGENCES, RADII, exact_worst_case, unlikely_beliefs

sys.path.append(str(Path(__file__).resolve().parents[2] / "docs"))

from verify_sets import is_member, worst_case  # type: ignore[import-not-found]

BY_CLASS = pytest.mark.parametrize("class_", DIVERGENCES)
BY_DECADE = pytest.mark.parametrize("p", some(DECADES, 3))
NO_WITNESS = np.zeros(0)


@BY_CLASS
@BY_DECADE
def test_the_adversary_is_worth_what_thirty_digits_make_of_it_and_strangers_agree(
    class_: type[Divergence], p: float
) -> None:
    for seed in range(count(6, 3)):
        for losses, belief in unlikely_beliefs(seed, p):
            for radius in some(RADII, 2):
                ambiguity = class_(radius)
                q, exact = ambiguity.adversary(losses, belief), exact_worst_case(losses, ambiguity, belief)

                assert q @ losses == pytest.approx(exact, abs=1e-12)
                assert (q >= 0).all()
                assert abs(q.sum() - 1) <= 1e-15
                assert ambiguity.excess(q, belief) <= 1e-12
                assert worst_case(losses, ambiguity.name, radius, [], belief) == pytest.approx(exact, abs=1e-12)
                assert is_member(q, ambiguity.name, radius, [], belief, NO_WITNESS)


def test_two_scenarios_are_tilted_as_far_as_the_entropy_allows_however_unlikely_one_is() -> None:
    losses, belief = np.array([0.95, -0.10]), np.array([1e-9, 1 - 1e-9])

    q = KullbackLeibler(0.5).adversary(losses, belief)

    assert q[0] * np.log(q[0] / 1e-9) + q[1] * np.log(q[1] / belief[1]) == pytest.approx(0.5, abs=1e-12)
    assert -q @ losses == pytest.approx(0.0677, abs=5e-5)


@pytest.mark.parametrize("p", [1e-300, 1e-100, 1e-30, 1e-16, 1e-6])
def test_two_scenarios_of_chi_squared_move_by_the_root_of_radius_and_variance(p: float) -> None:
    q = ModifiedChiSquared(0.5).adversary(np.array([1.0, 0.0]), np.array([p, 1 - p]))

    assert q[0] == pytest.approx(p + np.sqrt(0.5 * p * (1 - p)), rel=1e-12)


@pytest.mark.parametrize("p", [1e-300, 1e-100, 1e-30, 1e-16])
@pytest.mark.parametrize("gap", [1.0, 1e-6, 1e-13])
def test_entropy_reaches_its_radius_from_any_probability_above_nothing(p: float, gap: float) -> None:
    losses, belief = np.array([1.0, 1 - gap, 0.0]), np.array([p, p, 1.0])

    q = KullbackLeibler(0.5).adversary(losses, belief)

    assert KullbackLeibler(0.5).excess(q, belief) == pytest.approx(0, abs=1e-9)
    assert q[0] > q[1]


@BY_CLASS
@BY_DECADE
def test_the_dual_form_and_the_set_by_its_definition_are_worth_the_same(class_: type[Divergence], p: float) -> None:
    for seed, radius in enumerate(some(RADII, 2)):
        for losses, belief in unlikely_beliefs(seed, p):
            ambiguity, held = class_(radius), cp.Variable(len(losses))
            exact, fixed = exact_worst_case(losses, ambiguity, belief), held == losses
            form = ambiguity.dual_form(held, belief)
            by_form = cp.Problem(cp.Minimize(form.expression), [fixed, *form.constraints]).solve(cp.CLARABEL)
            assert by_form == pytest.approx(exact, abs=OBJECTIVE)
            term = worst_case_expression(held, ambiguity, belief)
            by_members = cp.Problem(cp.Minimize(term), [fixed]).solve(cp.CLARABEL)
            assert by_members == pytest.approx(exact, abs=OBJECTIVE)
            assert (ambiguity.project(-fixed.dual_value, belief)) @ losses == pytest.approx(exact, abs=OBJECTIVE)


@BY_CLASS
@BY_DECADE
def test_a_solvers_noise_on_an_unlikely_scenario_costs_no_more_than_it_is(class_: type[Divergence], p: float) -> None:
    draw = np.random.default_rng(3)
    for seed, radius in enumerate(RADII):
        for losses, belief in unlikely_beliefs(seed, p):
            ambiguity = class_(radius)
            worst = ambiguity.adversary(losses, belief)
            found = ambiguity.project(worst + draw.uniform(-1e-8, 1e-8, len(belief)), belief)

            assert ambiguity.excess(found, belief) <= 0
            assert found @ losses == pytest.approx(worst @ losses, abs=2e-7)


@BY_CLASS
def test_an_unlikely_scenario_hides_no_plausible_belief(class_: type[Divergence]) -> None:
    """As many of them lie far from the belief as without it."""
    with_it, without = np.array([0.5, 0.3, 0.2 - 1e-8, 1e-8]), np.array([0.5, 0.3, 0.2])
    ambiguity, far = class_(0.1), []
    for belief in (with_it, without):
        beliefs = ambiguity.sample(belief, np.random.default_rng(5), 2000)
        assert max(ambiguity.excess(q, belief) for q in beliefs) <= 1e-12
        far.append(float(np.abs(beliefs - belief).sum(axis=1).mean()))

    assert far[0] == pytest.approx(far[1], rel=0.25)
