"""The dual form of the worst case over probabilities, one function an ambiguity set (science §3.2).

`worst_case(losses, ambiguity, probabilities)` gives a convex expression that equals sup over the set of q'losses, the
constraints that it needs, and a function that writes the set's numbers into its parameters. The expression is
nondecreasing in `losses`, so it composes with epigraph rows losses ≥ loss, whose duals are then the adversary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import cvxpy as cp
import numpy as np

from allocator.mandate.ambiguity import (
    LEAST_PROBABILITY,
    LEAST_RADIUS,
    Ambiguity,
    Box,
    Known,
    KullbackLeibler,
    TotalVariation,
    Worst,
)
from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class WorstCase:
    """A dual form: `write(ambiguity, probabilities)` sets its parameters before a solve."""

    expression: cp.Expression
    constraints: list[cp.Constraint]
    write: Callable[[Any, Vector], None]


def worst_case(losses: cp.Expression, ambiguity: Ambiguity, probabilities: Vector) -> WorstCase:
    """The dual form of `ambiguity`; `probabilities` (K,) matter only for which of them are zero."""
    return _dual(shape_of(ambiguity, probabilities)[0], losses, probabilities)


def shape_of(ambiguity: Ambiguity, probabilities: Vector) -> tuple[Ambiguity, tuple[bool, ...]]:
    """The set that is compiled, and what else of it is structure: a tiny KL ball is the belief itself, and a KL ball
    never reaches a scenario that the belief excludes.
    """
    if isinstance(ambiguity, KullbackLeibler):
        if ambiguity.radius < LEAST_RADIUS:
            return Known(), ()
        return ambiguity, tuple(bool(p > LEAST_PROBABILITY) for p in probabilities)
    return ambiguity, ()


@singledispatch
def _dual(ambiguity: object, losses: cp.Expression, probabilities: Vector) -> WorstCase:  # noqa: ARG001
    raise TypeError(f"no dual form for {type(ambiguity).__name__}")


@_dual.register
def _(ambiguity: Known, losses: cp.Expression, probabilities: Vector) -> WorstCase:  # noqa: ARG001
    p = cp.Parameter(losses.shape[0], nonneg=True, name="probabilities")

    def write(_: Any, probabilities: Vector) -> None:
        p.value = probabilities

    return WorstCase(p @ losses, [], write)


@_dual.register
def _(ambiguity: TotalVariation, losses: cp.Expression, probabilities: Vector) -> WorstCase:  # noqa: ARG001
    p = cp.Parameter(losses.shape[0], nonneg=True, name="probabilities")
    moved, stays = cp.Parameter(nonneg=True, name="radius"), cp.Parameter(nonneg=True, name="one minus radius")
    eta, largest, above = cp.Variable(), cp.Variable(), cp.Variable(losses.shape[0], nonneg=True)

    def write(ambiguity: TotalVariation, probabilities: Vector) -> None:
        p.value = probabilities
        moved.value, stays.value = ambiguity.radius, 1 - ambiguity.radius

    return WorstCase(
        moved * largest + stays * eta + p @ above,
        [above >= losses - eta, largest >= losses, largest >= eta],
        write,
    )


@_dual.register
def _(ambiguity: Box, losses: cp.Expression, probabilities: Vector) -> WorstCase:  # noqa: ARG001
    scenarios = losses.shape[0]
    low, high = (
        cp.Parameter(scenarios, nonneg=True, name="lowest"),
        cp.Parameter(scenarios, nonneg=True, name="highest"),
    )
    eta, up, down = cp.Variable(), cp.Variable(scenarios, nonneg=True), cp.Variable(scenarios, nonneg=True)

    def write(ambiguity: Box, probabilities: Vector) -> None:
        low.value, high.value = ambiguity.bounds(probabilities)

    return WorstCase(eta + high @ up - low @ down, [losses <= eta + up - down], write)


@_dual.register
def _(ambiguity: KullbackLeibler, losses: cp.Expression, probabilities: Vector) -> WorstCase:  # noqa: ARG001
    possible = np.flatnonzero(probabilities > LEAST_PROBABILITY)
    count = len(possible)
    p, radius = cp.Parameter(count, nonneg=True, name="probabilities"), cp.Parameter(nonneg=True, name="radius")
    eta, price, weight, shifted = cp.Variable(), cp.Variable(nonneg=True), cp.Variable(count), cp.Variable(count)

    def write(ambiguity: KullbackLeibler, probabilities: Vector) -> None:
        p.value = probabilities[possible] / probabilities[possible].sum()
        # beyond the farthest scenario the ball is everything, and a larger number would only strain the solver
        radius.value = min(ambiguity.radius, -float(np.log(p.value.min())) + 0.1)

    return WorstCase(
        eta + price * radius + p @ weight,
        [shifted >= losses[possible] - eta - price, cp.ExpCone(shifted, price * np.ones(count), weight)],
        write,
    )


@_dual.register
def _(ambiguity: Worst, losses: cp.Expression, probabilities: Vector) -> WorstCase:  # noqa: ARG001
    largest = cp.Variable()

    def write(_: Any, probabilities: Vector) -> None:
        del probabilities

    return WorstCase(largest, [largest >= losses], write)
