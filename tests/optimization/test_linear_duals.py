"""Dual forms as numbers: as linear programs they are worth what independent maximisers find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from allocator.ambiguity.balls import AnyProbabilities, Box, Singleton, TotalVariation
from allocator.ambiguity.product import ProductSet
from allocator.ambiguity.sets import Ambiguity
from allocator.types import Vector
from tests.agreement import SHARP
from tests.further_sets import FURTHER
from tests.inner_maximisers import inner, random_instance

Made = Callable[[Any, Vector, float], Ambiguity]
KINDS: dict[str, Made] = {
    "none": lambda *_: Singleton(),
    "total variation": lambda _, __, radius: TotalVariation(radius),
    "box": lambda _, __, radius: Box(radius),
    "worst": lambda *_: AnyProbabilities(),
    **{kind: made for kind, made in FURTHER.items() if kind in ("contamination", "wasserstein", "hull", "polytope")},
}


def solved(ambiguity: Ambiguity, losses: Vector, p: Vector) -> tuple[float, Vector]:
    """The least value of the dual form at given losses, and the adversary that its duals tell."""
    dual = ambiguity.compiled.linear_dual(p)
    if not len(dual.cost):
        return float(dual.mean @ losses), dual.mean
    bounds = [(None if free else 0.0, None) for free in dual.free]
    found = linprog(dual.cost, A_ub=dual.rows, b_ub=-dual.losses @ losses, bounds=bounds, method="highs")
    assert found.status == 0, found.message
    return float(dual.mean @ losses + found.fun), dual.mean - dual.losses.T @ found.ineqlin.marginals


@pytest.mark.parametrize("kind", KINDS)
def test_each_linear_dual_is_worth_what_an_independent_maximiser_finds(kind: str) -> None:
    draw = np.random.default_rng(17)
    for i in range(30):
        losses, p = random_instance(draw, 2 + i % 7, kind=i % 4)
        radius = (0.0, 1.0)[i % 2] if i % 10 < 2 else float(draw.uniform(0, 1))
        ambiguity = KINDS[kind](draw, p, radius)
        value, q = solved(ambiguity, losses, p)

        assert value == pytest.approx(inner(losses, ambiguity, p), abs=SHARP)
        assert q @ losses == pytest.approx(value, abs=10 * SHARP)
        assert ambiguity.excess(np.maximum(q, 0), p) <= 100 * SHARP


def test_the_linear_dual_of_two_axes_is_worth_its_adversary() -> None:
    draw, answers = np.random.default_rng(18), np.array([0, 1, 0, 1, 1])
    for i in range(30):
        losses, p = draw.normal(size=5), draw.dirichlet(np.ones(5))
        regimes = (TotalVariation(float(draw.uniform(0, 1))), Box(float(draw.uniform(0, 1))))
        sets = ProductSet(answers, TotalVariation((0.0, 0.3)[i % 2]), regimes)
        value, q = solved(sets, losses, p)

        assert value == pytest.approx(sets.worst_case(losses, p), abs=SHARP)
        assert sets.excess(np.maximum(q, 0), p) <= 100 * SHARP
