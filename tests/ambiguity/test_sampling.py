"""Plausible beliefs: inside the set, all over it, and the same ones every time."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.ambiguity.balls import AnyProbabilities, Box, Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import PROBABILITY_SHIFT, Ambiguity
from allocator.types import Matrix, Vector

SETS: tuple[Ambiguity, ...] = (
    TotalVariation(0.05),
    TotalVariation(0.8),
    Box(0.1),
    KullbackLeibler(0.01),
    KullbackLeibler(0.5),
    KullbackLeibler(4.0),
    AnyProbabilities(),
)


def drawn(ambiguity: Ambiguity, belief: Vector, count: int = 2000) -> Matrix:
    return ambiguity.sample(belief, np.random.default_rng(5), count)


def random_belief(seed: int) -> Vector:
    draw = np.random.default_rng(seed)
    belief: Vector = draw.dirichlet(np.full(int(draw.integers(2, 9)), draw.choice([0.2, 1.0, 3.0])))
    if seed % 3 == 0:
        belief[0] = 0.0
    return belief / belief.sum()


@pytest.mark.parametrize("seed", range(9))
@pytest.mark.parametrize("ambiguity", SETS, ids=str)
def test_every_draw_is_a_member_of_the_set(ambiguity: Ambiguity, seed: int) -> None:
    belief = random_belief(seed)

    for q in drawn(ambiguity, belief, 300):
        assert (q >= 0).all()
        assert q.sum() == pytest.approx(1)
        assert ambiguity.excess(q, belief) <= 1e-12


@pytest.mark.parametrize("ambiguity", [TotalVariation(0.1), Box(0.1), KullbackLeibler(0.05)], ids=str)
def test_the_draws_reach_the_edge_of_the_set_and_surround_the_belief(ambiguity: Ambiguity) -> None:
    belief = np.array([0.4, 0.3, 0.2, 0.1])
    beliefs = drawn(ambiguity, belief)

    excess = np.array([ambiguity.excess(q, belief) for q in beliefs])
    assert excess.max() > -0.01 * ambiguity.radius  # type: ignore[union-attr]
    assert (beliefs.min(axis=0) < belief - 0.02).all()
    assert (beliefs.max(axis=0) > belief + 0.02).all()


def test_any_probabilities_at_all_are_drawn_evenly() -> None:
    beliefs = drawn(AnyProbabilities(), np.array([0.7, 0.2, 0.1]), 20_000)

    # uniform on the triangle: each mean 1/3, each variance 1/18, whatever the belief
    assert beliefs.mean(axis=0) == pytest.approx(1 / 3, abs=0.01)
    assert beliefs.var(axis=0) == pytest.approx(1 / 18, rel=0.05)


@pytest.mark.parametrize("ambiguity", [Singleton(), TotalVariation(0.0), TotalVariation(0.001), Box(0.0)], ids=str)
def test_no_belief_is_known_better_than_the_shift_of_stability(ambiguity: Ambiguity) -> None:
    belief = np.array([0.5, 0.3, 0.2])
    moved = np.abs(drawn(ambiguity, belief) - belief).max()

    assert 0.9 * PROBABILITY_SHIFT < moved <= PROBABILITY_SHIFT + 1e-12


def test_a_small_entropy_ball_is_as_wide_as_the_shift_by_pinsker() -> None:
    belief = np.array([0.5, 0.3, 0.2])

    beliefs = drawn(KullbackLeibler(0.0), belief)

    assert (np.abs(beliefs - belief).sum(axis=1) / 2 <= PROBABILITY_SHIFT + 1e-12).all()
    assert np.ptp(beliefs, axis=0).min() > PROBABILITY_SHIFT


def test_one_scenario_and_certainty_have_nothing_to_draw() -> None:
    certain = np.array([1.0, 0.0, 0.0])

    assert (drawn(AnyProbabilities(), np.ones(1)) == 1).all()
    assert (drawn(KullbackLeibler(0.5), certain) == certain).all()
    assert (drawn(Singleton(), certain)[:, 0] < 1).any()


def test_the_same_seed_draws_the_same_beliefs() -> None:
    belief = np.array([0.5, 0.3, 0.2])

    assert (drawn(KullbackLeibler(0.1), belief) == drawn(KullbackLeibler(0.1), belief)).all()
