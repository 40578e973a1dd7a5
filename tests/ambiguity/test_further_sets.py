"""Contamination, modified χ², transport, experts, limits: each worst case against maximisers that know only the set."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from allocator.ambiguity.balls import Contamination, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler, ModifiedChiSquared
from allocator.ambiguity.polyhedral import ExpertHull, Polytope
from allocator.ambiguity.sets import Ambiguity
from allocator.ambiguity.transport import Wasserstein
from allocator.types import Vector
from tests.further_sets import FURTHER
from tests.inner_maximisers import inner, random_instance
from tests.thoroughness import count

INSTANCES = count(200, 4)
AGREEMENT = {"modified chi squared": 1e-9}


def instances(kind: str, seed: int) -> list[tuple[Vector, Vector, Ambiguity]]:
    draw = np.random.default_rng(seed)
    made = []
    for i in range(INSTANCES):
        losses, p = random_instance(draw, 2 + i % 7, kind=i % 4)
        radius = (0.0, 1.0)[i % 2] if i % 10 < 2 else float(draw.uniform(0, 1))
        made.append((losses, p, FURTHER[kind](draw, p, radius)))
    return made


@pytest.mark.parametrize("kind", FURTHER)
def test_each_adversary_is_a_member_and_is_worth_what_an_independent_maximiser_finds(kind: str) -> None:
    for losses, p, ambiguity in instances(kind, 1):
        q = ambiguity.adversary(losses, p)

        assert q @ losses == pytest.approx(inner(losses, ambiguity, p), abs=AGREEMENT.get(kind, 1e-12))
        assert (q >= 0).all()
        assert q.sum() == pytest.approx(1, abs=1e-12)
        assert ambiguity.excess(q, p) <= 1e-11
        assert ambiguity.excess(p / p.sum(), p) <= 1e-15


@pytest.mark.parametrize("kind", FURTHER)
def test_no_plausible_belief_is_worse_than_the_worst(kind: str) -> None:
    draw = np.random.default_rng(2)
    for i in range(30):
        losses, p = random_instance(draw, 2 + i % 7, kind=i % 4)
        ambiguity = FURTHER[kind](draw, p, float(draw.uniform(0.1, 1)))
        beliefs = ambiguity.sample(p, draw, 200)
        wide = np.abs(beliefs - p).sum(axis=1) / 2 > 0.02 + 1e-9  # no belief is known better than so

        assert (beliefs[wide] @ losses <= ambiguity.worst_case(losses, p) + 1e-10).all()
        assert all(ambiguity.excess(q, p) <= 1e-9 for q in beliefs[wide][:20])


def test_a_general_nonlinear_solver_finds_no_worse_probabilities_at_a_chi_squared_distance() -> None:
    draw = np.random.default_rng(3)
    for i in range(40):
        losses, p = random_instance(draw, 2 + i % 7, kind=0)
        ambiguity = ModifiedChiSquared(float(draw.uniform(0.05, 3)))
        found = minimize(
            lambda q, losses=losses: -q @ losses,
            p,
            jac=lambda _, losses=losses: -losses,
            bounds=[(0, 1)] * len(p),
            constraints=[
                {"type": "eq", "fun": lambda q: q.sum() - 1, "jac": lambda q: np.ones(len(q))},
                {
                    "type": "ineq",
                    "fun": lambda q, p=p, radius=ambiguity.radius: radius - np.sum((q - p) ** 2 / p),
                    "jac": lambda q, p=p: -2 * (q - p) / p,
                },
            ],
            method="SLSQP",
            options={"ftol": 1e-13, "maxiter": 500},
        )

        assert found.status in (0, 8), found.message  # 8: no step is better by more than rounding
        assert ambiguity.worst_case(losses, p) == pytest.approx(-found.fun, abs=1e-6)


def test_chi_squared_costs_standard_deviations_while_no_probability_would_fall_below_nothing_and_less_beyond() -> None:
    draw = np.random.default_rng(4)
    beyond = 0
    for i in range(INSTANCES):
        losses, p = random_instance(draw, 2 + i % 7, kind=0)
        radius = float(draw.uniform(0.01, 0.5))
        mean = float(p @ losses)
        deviation = float(np.sqrt(p @ (losses - mean) ** 2))
        found = ModifiedChiSquared(radius).worst_case(losses, p)

        assert found <= mean + np.sqrt(radius) * deviation + 1e-12
        if (1 + np.sqrt(radius) * (losses - mean) / deviation >= 0).all():
            assert found == pytest.approx(mean + np.sqrt(radius) * deviation, abs=1e-12)
        else:
            beyond += 1
            assert found < mean + np.sqrt(radius) * deviation
    assert beyond > INSTANCES / 10


@pytest.mark.parametrize("kind", FURTHER)
def test_a_radius_of_nothing_is_the_belief_exactly(kind: str) -> None:
    draw = np.random.default_rng(5)
    for i in range(INSTANCES):
        losses, p = random_instance(draw, 2 + i % 7, kind=i % 4)
        if kind == "wasserstein":  # scenarios without a distance are one to it, whatever the radius
            ambiguity: Ambiguity = Wasserstein(0.0, np.ones((len(p), len(p))) - np.eye(len(p)))
        elif kind == "polytope":  # as many equalities as there are scenarios
            ambiguity = Polytope(np.vstack([np.eye(len(p)), -np.eye(len(p))]), np.concatenate([p, -p]))
        else:
            ambiguity = FURTHER[kind](draw, p, 0.0)

        assert ambiguity.worst_case(losses, p) == pytest.approx(float(p @ losses), abs=1e-15)


def test_the_largest_radius_of_each_set_is_the_largest_loss_exactly() -> None:
    draw = np.random.default_rng(6)
    for i in range(INSTANCES):
        losses, p = random_instance(draw, 2 + i % 7, kind=i % 2)
        count, largest = len(p), losses.max()
        tied = float(p[losses == largest].sum())
        metric = np.abs(np.subtract.outer(np.arange(count), np.arange(count))).astype(float)

        for ambiguity in (
            Contamination(1.0),
            ModifiedChiSquared(1 / tied - 1 + 1e-12),
            ModifiedChiSquared(1e6),
            Wasserstein(count - 1.0, metric),
            ExpertHull(np.eye(count)),
            Polytope(np.eye(count), np.ones(count)),
        ):
            assert ambiguity.worst_case(losses, p) == pytest.approx(largest, abs=1e-15)
        if tied < 1 - 1e-9:
            assert ModifiedChiSquared((1 / tied - 1) * 0.99).worst_case(losses, p) < largest


def test_a_chi_squared_ball_costs_no_more_than_the_entropy_and_variation_balls_that_hold_it() -> None:
    draw = np.random.default_rng(7)
    for i in range(INSTANCES):
        losses, p = random_instance(draw, 2 + i % 7, kind=i % 4)
        radius = float(draw.uniform(0.001, 3))
        chi2 = ModifiedChiSquared(radius).worst_case(losses, p)

        assert chi2 <= KullbackLeibler(float(np.log1p(radius))).worst_case(losses, p) + 1e-9
        assert chi2 <= TotalVariation(min(np.sqrt(radius) / 2, 1.0)).worst_case(losses, p) + 1e-12


def test_contamination_costs_no_more_than_the_total_variation_of_its_radius() -> None:
    draw = np.random.default_rng(8)
    for i in range(INSTANCES):
        losses, p = random_instance(draw, 2 + i % 7, kind=i % 4)
        radius = float(draw.uniform(0, 1))

        assert Contamination(radius).worst_case(losses, p) <= TotalVariation(radius).worst_case(losses, p) + 1e-12


def test_transport_where_all_scenarios_are_equally_far_is_total_variation() -> None:
    draw = np.random.default_rng(9)
    for i in range(INSTANCES):
        losses, p = random_instance(draw, 2 + i % 7, kind=i % 4)
        radius = float(draw.uniform(0, 1))
        even = Wasserstein(radius, np.ones((len(p), len(p))) - np.eye(len(p)))

        assert even.worst_case(losses, p) == pytest.approx(TotalVariation(radius).worst_case(losses, p), abs=1e-12)


def test_transport_moves_probability_to_similar_scenarios_first() -> None:
    # two answers, two regimes: the answer is three times as far as the regime
    places = np.array([[0.0, 0.0], [0.0, 1.0], [3.0, 0.0], [3.0, 1.0]])
    metric = np.abs(places[:, None] - places[None]).sum(axis=2)
    losses, p = np.array([0.0, 1.0, 0.0, 1.5]), np.array([0.4, 0.1, 0.3, 0.2])

    q = Wasserstein(0.5, metric).adversary(losses, p)

    # a unit of distance is worth 1.5 between the regimes of the second answer, 1 between those of the first
    np.testing.assert_allclose(q, [0.2, 0.3, 0.0, 0.5], atol=1e-12)


def test_scenarios_without_a_distance_are_one_to_the_transport() -> None:
    metric = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])

    q = Wasserstein(0.0, metric).adversary(np.array([0.0, 1.0, 9.0]), np.array([0.6, 0.1, 0.3]))

    np.testing.assert_allclose(q, [0.0, 0.7, 0.3], atol=1e-12)


def test_the_belief_is_a_vertex_of_every_hull() -> None:
    p, mild = np.array([0.2, 0.8]), ExpertHull(np.array([[0.9, 0.1], [0.7, 0.3]]))

    np.testing.assert_array_equal(mild.adversary(np.array([0.0, 1.0]), p), p)
    np.testing.assert_array_equal(mild.adversary(np.array([1.0, 0.0]), p), [0.9, 0.1])


def test_with_one_scenario_there_is_nothing_to_be_wrong_about() -> None:
    one, draw = np.ones(1), np.random.default_rng(16)
    for make in FURTHER.values():
        ambiguity = make(draw, one, 0.3)
        np.testing.assert_allclose(ambiguity.adversary(np.array([0.2]), one), one)
        np.testing.assert_allclose(ambiguity.project(np.array([1.1]), one), one)
        np.testing.assert_array_equal(ambiguity.sample(one, draw, 3), np.ones((3, 1)))


def test_a_polytope_of_many_rows_is_asked_by_a_linear_program() -> None:
    draw = np.random.default_rng(10)
    p = draw.dirichlet(np.ones(12))
    matrix = draw.normal(size=(30, 12))
    many, losses = Polytope(matrix, matrix @ p + 0.05), draw.normal(size=12)

    assert many.corners is None
    assert many.worst_case(losses, p) == pytest.approx(inner(losses, many, p), abs=1e-9)
    assert many.excess(many.adversary(losses, p), p) <= 1e-9


@pytest.mark.parametrize("kind", FURTHER)
def test_stepping_inside_changes_no_member_and_leaves_no_set(kind: str) -> None:
    draw = np.random.default_rng(11)
    for losses, p, ambiguity in instances(kind, 12):
        member = p + draw.uniform(0, 0.99) * (ambiguity.adversary(losses, p) - p)
        wild = ambiguity.project(draw.normal(0.2, 0.5, len(p)), p)

        np.testing.assert_allclose(ambiguity.project(member, p), member, rtol=0, atol=1e-9)
        assert (wild >= 0).all()
        assert wild.sum() == pytest.approx(1, abs=1e-12)
        assert ambiguity.excess(wild, p) <= 1e-10


@pytest.mark.parametrize("kind", FURTHER)
def test_stepping_inside_takes_out_a_solvers_noise_and_no_more(kind: str) -> None:
    draw = np.random.default_rng(13)
    for losses, p, ambiguity in instances(kind, 14):
        worst = ambiguity.adversary(losses, p)
        found = ambiguity.project(worst + draw.uniform(-1e-9, 1e-9, len(p)), p)

        assert found @ losses == pytest.approx(worst @ losses, abs=1e-7)


@pytest.mark.parametrize("kind", ["wasserstein", "hull"])
def test_witnesses_show_that_a_member_is_one(kind: str) -> None:
    for losses, p, ambiguity in instances(kind, 15)[::4]:
        q = ambiguity.adversary(losses, p)
        if isinstance(ambiguity, Wasserstein):
            transport = ambiguity.witness(q, p)
            assert (transport >= 0).all()
            np.testing.assert_allclose(transport.sum(axis=1), p, atol=1e-12)
            np.testing.assert_allclose(transport.sum(axis=0), q, atol=1e-9)
            assert (transport * ambiguity.metric).sum() <= ambiguity.radius + 1e-9
        elif isinstance(ambiguity, ExpertHull):
            weights = ambiguity.witness(q, p)
            assert (weights >= 0).all()
            np.testing.assert_allclose(weights @ ambiguity.table(p), q, atol=1e-9)


def test_a_chi_squared_ball_below_a_millionth_is_the_belief_itself() -> None:
    p = np.array([0.6, 0.4])

    assert ModifiedChiSquared(9e-7).is_singleton
    assert not ModifiedChiSquared(1.1e-6).is_singleton
    np.testing.assert_array_equal(ModifiedChiSquared(9e-7).adversary(np.array([0.0, 1.0]), p), p)


def test_no_divergence_reaches_a_scenario_that_the_belief_excludes() -> None:
    p = np.array([0.6, 0.4, 0.0])

    np.testing.assert_allclose(ModifiedChiSquared(1e6).adversary(np.array([0.0, 1.0, 9.0]), p), [0, 1, 0], atol=1e-12)
    assert ModifiedChiSquared(9.0).excess(np.array([0.5, 0.4, 0.1]), p) == float("inf")


def test_each_excess_measures_what_its_set_is_named_after() -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.2, 0.4])
    line = np.abs(np.subtract.outer(np.arange(3.0), np.arange(3.0)))

    assert Contamination(0.05).excess(q, p) == pytest.approx(0.95 * 0.3 - 0.2)
    assert ModifiedChiSquared(0.1).excess(q, p) == pytest.approx(0.01 / 0.5 + 0.01 / 0.3 + 0.04 / 0.2 - 0.1)
    assert Wasserstein(0.1, line).excess(q, p) == pytest.approx(0.1 + 0.2 - 0.1)
    assert ExpertHull(np.array([[0.4, 0.2, 0.4]])).excess(q, p) == 0
    assert ExpertHull(np.array([[0.5, 0.3, 0.2]])).excess(q, p) == pytest.approx(0.2)
    assert Polytope(np.array([[0.0, 0.0, 1.0]]), np.array([0.3])).excess(q, p) == pytest.approx(0.1)


def test_a_metric_that_measures_no_distance_is_refused() -> None:
    for metric in (np.ones((2, 2)), np.array([[0.0, -1.0], [1.0, 0.0]]), np.zeros((2, 3))):
        with pytest.raises(ValueError, match="a square of distances of 0 or more"):
            Wasserstein(0.1, metric)
