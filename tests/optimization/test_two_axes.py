"""Portfolios that are guarded on two axes: certified, and at the saddle of an independent minimisation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.product import ProductSet
from allocator.optimization.resolve import ParametricSolver
from tests.ambiguity.test_product import PAIRS, SETS
from tests.problems import Question, random_question
from tests.thoroughness import count, some

ANSWERS = np.array([0, 1, 0, 1, 1])


def guarded(seed: int, kinds: tuple[str, str]) -> Question:
    """Five scenarios, of which two are of the first answer and three of the second."""
    draw, asked = np.random.default_rng(seed), random_question(seed)
    names = asked.outlook.returns.shape[1]
    outlook = replace(
        asked.outlook,
        scenarios=tuple("ABCDE"),
        probabilities=draw.dirichlet(np.full(5, 3.0)),
        returns=draw.normal(0.06, 0.2, (5, names)),
        cash_returns=np.full(5, 0.02),
    )
    question, regime = kinds
    sets = ProductSet(ANSWERS, SETS[question](draw, 2), (SETS[regime](draw, 2), SETS[regime](draw, 3)))
    mandate = replace(asked.mandate, ambiguity=sets, return_weight=1.0)
    return Question(asked.start, outlook, mandate)


@pytest.mark.parametrize("kinds", some(PAIRS, 6))
def test_every_pair_is_certified_and_at_a_saddle(kinds: tuple[str, str]) -> None:
    for seed in range(count(5, 5)):
        asked = guarded(seed, kinds)
        target, prices, proof = asked.certified()
        q, p = prices.adversary, asked.outlook.probabilities

        assert proof.gap <= 1e-6
        assert asked.mandate.ambiguity.excess(q, p) <= 1e-9
        assert proof.objective == pytest.approx(asked.loss(target.values), abs=1e-9)
        # who believes the adverse probabilities can do no better: min over x of the largest is the largest of the min
        believing = replace(asked, outlook=replace(asked.outlook, probabilities=q)).with_ambiguity(Singleton())
        assert believing.optimum() == pytest.approx(proof.objective, abs=2e-6)


@pytest.mark.parametrize("seed", some(range(30), 10))
def test_flat_axes_go_the_fast_way_to_the_same_answer(seed: int) -> None:
    asked = guarded(seed, ("total_variation", "box"))
    solver = ParametricSolver(asked.start, asked.outlook, asked.mandate)
    if not solver.is_fast:
        return
    moved = replace(asked.outlook, probabilities=np.random.default_rng(seed).dirichlet(np.full(5, 2.0)))
    found = solver.solve(asked.start, moved, asked.mandate)

    assert found is not None
    assert found.objective == pytest.approx(replace(asked, outlook=moved).optimum(), abs=1e-6)
