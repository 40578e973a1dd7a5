"""Two axes, two radii: the answers' set and the regimes' given each answer, against other formulations of the same."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import cvxpy as cp
import numpy as np
import pytest

from allocator.ambiguity.balls import AnyProbabilities, Box, Contamination, Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler, ModifiedChiSquared
from allocator.ambiguity.polyhedral import ExpertHull
from allocator.ambiguity.product import ProductSet, axis_shares
from allocator.ambiguity.sets import Ambiguity
from allocator.integrations.cvxpy_terms import worst_case_expression
from allocator.types import Vector
from tests.inner_maximisers import inner
from tests.thoroughness import count, some

Maker = Callable[[np.random.Generator, int], Ambiguity]
SETS: dict[str, Maker] = {
    "none": lambda _, __: Singleton(),
    "worst": lambda _, __: AnyProbabilities(),
    "total_variation": lambda draw, _: TotalVariation(float(draw.uniform(0.01, 0.4))),
    "box": lambda draw, _: Box(float(draw.uniform(0.01, 0.4))),
    "contamination": lambda draw, _: Contamination(float(draw.uniform(0.01, 0.4))),
    "kl": lambda draw, _: KullbackLeibler(float(draw.uniform(0.005, 0.3))),
    "modified_chi2": lambda draw, _: ModifiedChiSquared(float(draw.uniform(0.005, 0.5))),
    "hull": lambda draw, size: ExpertHull(draw.dirichlet(np.ones(size), 3)),
}
PAIRS = [*product(SETS, SETS)]
P, LOSSES = np.array([0.3, 0.2, 0.35, 0.15]), np.array([-0.2, 0.3, -0.1, 0.05])
ANSWERS = np.array([0, 0, 1, 1])


def variation(answer: float, regime: float) -> ProductSet:
    """The worked example's sets."""
    return ProductSet(ANSWERS, TotalVariation(answer), (TotalVariation(regime),) * 2)


def instance(seed: int, question: str, regime: str) -> tuple[ProductSet, Vector, Vector]:
    """Two to four answers of one to three regimes each, in any order; a belief and losses."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(1, 4, size=int(draw.integers(2, 5)))
    answers = draw.permutation(np.repeat(np.arange(len(sizes)), sizes))
    own = tuple(SETS[regime](draw, int(size)) for size in sizes)
    losses = draw.normal(size=len(answers))
    return ProductSet(answers, SETS[question](draw, len(sizes)), own), draw.dirichlet(np.ones(len(answers))), losses


def given(q: Vector, answers: Vector, h: int) -> Vector:
    """What q says of the scenarios of one answer, given it."""
    own = q[answers == h]
    return np.asarray(own / own.sum())


def test_the_worked_example_is_met_to_its_digits() -> None:
    both = variation(0.1, 0.2)
    q = both.adversary(LOSSES, P)

    assert q == pytest.approx([0.24, 0.36, 0.2, 0.2], abs=1e-15)
    assert [q[:2].sum(), q[2:].sum()] == pytest.approx([0.6, 0.4], abs=1e-15)
    assert given(q, ANSWERS, 0) == pytest.approx([0.4, 0.6], abs=1e-15)
    assert given(q, ANSWERS, 1) == pytest.approx([0.5, 0.5], abs=1e-15)
    assert both.worst_case(LOSSES, P) == pytest.approx(0.05, abs=1e-15)
    assert variation(0.0, 0.0).worst_case(LOSSES, P) == pytest.approx(-0.0275, abs=1e-15)
    assert variation(0.1, 0.0).worst_case(LOSSES, P) == pytest.approx(-0.022, abs=1e-15)
    assert variation(0.0, 0.2).worst_case(LOSSES, P) == pytest.approx(0.0375, abs=1e-15)


def test_what_is_about_the_answer_and_about_the_regime_adds_up() -> None:
    both = variation(0.1, 0.2)
    parts = axis_shares((both,), lambda sets: sets[0].worst_case(LOSSES, P), -0.0275, 0.05)

    assert parts[0] == pytest.approx(((-0.022 + 0.0275) + (0.05 - 0.0375)) / 2, abs=1e-15)
    assert sum(parts) == pytest.approx(0.0775, abs=1e-16)
    alone = variation(0.1, 0.0)
    assert axis_shares((alone,), lambda _: np.nan, -0.0275, -0.022) == pytest.approx((0.0055, 0.0), abs=1e-15)


@pytest.mark.parametrize("seed", some(range(300), 10))
def test_nested_total_variation_is_its_closed_form_and_its_program(seed: int) -> None:
    both, p, losses = instance(seed, "total_variation", "total_variation")
    mass = np.array([p[both.answers == h].sum() for h in range(len(both.regimes))])
    each = [inner(losses[both.answers == h], one, given(p, both.answers, h)) for h, one in enumerate(both.regimes)]
    q = both.adversary(losses, p)

    assert q @ losses == pytest.approx(inner(np.array(each), both.question, mass), abs=1e-9)
    assert both.worst_case(losses, p) == pytest.approx(q @ losses, abs=1e-15)
    assert q.sum() == pytest.approx(1, abs=1e-14)
    assert both.excess(q, p) <= 1e-14


@pytest.mark.parametrize(("question", "regime"), PAIRS)
def test_every_pair_of_sets_is_the_program_of_its_definition(question: str, regime: str) -> None:
    for seed in range(count(20, 20)):
        both, p, losses = instance(seed, question, regime)
        q = both.adversary(losses, p)
        form = both.dual_form(cp.Constant(losses), p)
        cp.Problem(cp.Minimize(form.expression), form.constraints).solve(solver="CLARABEL")
        defined = defined_worst_case(both, losses, p)

        assert q @ losses == pytest.approx(defined, abs=2e-6)
        assert form.expression.value == pytest.approx(defined, abs=2e-6)
        assert both.excess(q, p) <= 1e-9
        assert np.isclose(both.adversaries(np.tile(losses, (2, 1)), np.tile(p, (2, 1))), q, 0, 1e-15).all()


def defined_worst_case(both: ProductSet, losses: Vector, p: Vector) -> float:
    """Over joint probabilities, each answer's regimes in their set times the answer's own probability."""
    q = cp.Variable(len(p), nonneg=True)
    mass = cp.hstack([cp.sum(q[np.flatnonzero(both.answers == h)]) for h in range(len(both.regimes))])
    around = np.array([p[both.answers == h].sum() for h in range(len(both.regimes))])
    rows = [cp.sum(q) == 1, *apart(both.question, mass, around, 1.0)]
    for h, one in enumerate(both.regimes):
        rows += apart(one, q[np.flatnonzero(both.answers == h)], given(p, both.answers, h), mass[h])
    problem = cp.Problem(cp.Maximize(losses @ q), rows)
    return float(problem.solve(solver="CLARABEL"))


def apart(one: Ambiguity, q: cp.Expression, p: Vector, mass: cp.Expression | float) -> list[cp.Constraint]:
    """A set by its definition, written down anew: q is `mass` times a member."""
    radius = getattr(one, "radius", 0.0)
    if isinstance(one, ExpertHull):
        share = cp.Variable(len(one.experts) + 1, nonneg=True)
        return [cp.sum(share) == mass, q == np.vstack([p, one.experts]).T @ share]
    if isinstance(one, KullbackLeibler):
        return [cp.sum(cp.rel_entr(q, mass * p)) <= radius * mass]
    if isinstance(one, ModifiedChiSquared):
        return [cp.norm2(cp.multiply(1 / np.sqrt(p), q - mass * p)) <= np.sqrt(radius) * mass]
    away = q - mass * p
    rows: dict[type[Ambiguity], list[cp.Constraint]] = {
        Singleton: [away == 0],
        AnyProbabilities: [],
        TotalVariation: [cp.sum(cp.pos(away)) <= radius * mass],
        Box: [away <= radius * mass, away >= -radius * mass],
        Contamination: [q >= (1 - radius) * p * mass],
    }
    return rows[type(one)]


@pytest.mark.parametrize(("question", "regime"), some(PAIRS, 7))
def test_a_term_without_constraints_is_worth_the_same(question: str, regime: str) -> None:
    both, p, losses = instance(7, question, regime)
    x = cp.Variable(len(p))
    cp.Problem(cp.Minimize(worst_case_expression(x, both, p)), [x == losses]).solve(solver="CLARABEL")

    assert worst_case_expression(x, both, p).value == pytest.approx(both.worst_case(losses, p), abs=1e-5)


@pytest.mark.parametrize("kind", ["total_variation", "kl", "modified_chi2", "box", "contamination"])
@pytest.mark.parametrize("seed", some(range(30), 6))
def test_an_axis_without_a_radius_stays_as_it_is_believed(kind: str, seed: int) -> None:
    both, p, losses = instance(seed, kind, kind)
    nothing = type(both.question)(0.0)
    of_answers = ProductSet(both.answers, both.question, (nothing,) * len(both.regimes)).adversary(losses, p)
    of_regimes = ProductSet(both.answers, nothing, both.regimes).adversary(losses, p)

    for h in range(len(both.regimes)):
        if of_answers[both.answers == h].sum() > 0:  # an answer may be ruled out altogether
            assert given(of_answers, both.answers, h) == pytest.approx(given(p, both.answers, h), abs=1e-15)
        assert of_regimes[both.answers == h].sum() == pytest.approx(p[both.answers == h].sum(), abs=1e-15)
    neither = ProductSet(both.answers, nothing, (nothing,) * len(both.regimes))
    assert neither.is_singleton
    assert neither.adversary(losses, p) == pytest.approx(p, abs=1e-15)


@pytest.mark.parametrize("kind", ["total_variation", "kl", "modified_chi2", "box", "contamination"])
@pytest.mark.parametrize("seed", some(range(60), 12))
def test_the_adverse_figure_never_falls_as_either_radius_grows(kind: str, seed: int) -> None:
    both, p, losses = instance(seed, kind, kind)
    make = type(both.question)

    def worst(answer: float, regime: float) -> float:
        return ProductSet(both.answers, make(answer), (make(regime),) * len(both.regimes)).worst_case(losses, p)

    grid = [0.0, 0.01, 0.1, 0.4, 0.9]
    found = np.array([[worst(a, r) for r in grid] for a in grid])
    assert (np.diff(found, axis=0) >= -1e-12).all()
    assert (np.diff(found, axis=1) >= -1e-12).all()


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("seed", some(range(20), 5))
def test_one_regime_an_answer_is_the_old_set(kind: str, seed: int) -> None:
    draw = np.random.default_rng(seed)
    one, p, losses = SETS[kind](draw, 4), draw.dirichlet(np.ones(4)), draw.normal(size=4)
    whole = ProductSet(np.arange(4), one, (TotalVariation(0.3),) * 4)

    assert whole.adversary(losses, p) == pytest.approx(one.adversary(losses, p), abs=1e-12)
    assert kind == "none" or whole.structure(p)[-4:] == (("none",),) * 4


@pytest.mark.parametrize(("question", "regime"), PAIRS)
def test_what_a_solver_says_is_brought_inside_and_a_member_stays(question: str, regime: str) -> None:
    both, p, losses = instance(3, question, regime)
    draw = np.random.default_rng(3)
    q = both.adversary(losses, p)

    assert both.project(q, p) == pytest.approx(q, abs=1e-9)
    assert both.excess(both.project(draw.dirichlet(np.ones(len(p))), p), p) <= 1e-12
    assert both.excess(both.project(q + 1e-10 * draw.normal(size=len(p)), p), p) <= 1e-12


@pytest.mark.parametrize(("question", "regime"), some(PAIRS, 5))
def test_sampled_beliefs_are_of_both_axes(question: str, regime: str) -> None:
    both, p, _ = instance(5, question, regime)
    sampled = both.sample(p, np.random.default_rng(5), 200)

    assert sampled.sum(axis=1) == pytest.approx(np.ones(200), abs=1e-12)
    assert (sampled >= 0).all()
    if question not in ("none", "kl", "hull") and regime not in ("none", "kl", "hull"):  # no narrower than the shift
        wide = ProductSet(both.answers, both.question.widened(), tuple(one.widened() for one in both.regimes))
        assert max(wide.excess(q, p) for q in sampled) <= 1e-9


def test_an_answer_that_is_excluded_may_come_back_with_all_its_scenarios_alike() -> None:
    p = np.array([0.6, 0.4, 0.0, 0.0])
    q = variation(0.25, 0.0).adversary(np.array([0.0, 0.0, 1.0, 2.0]), p)

    assert q == pytest.approx([0.45, 0.30, 0.125, 0.125], abs=1e-15)
