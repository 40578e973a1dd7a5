"""The dual form of the adverse expectation over probabilities, one function an ambiguity set (science §3.2).

`dual_form(losses, ambiguity, probabilities)` gives a convex expression that equals sup over the set of q'losses, the
constraints that it needs, and a function that writes the set's numbers into its parameters. The expression is
nondecreasing in `losses`, so it composes with epigraph rows losses ≥ loss, whose duals are then the adversary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from itertools import combinations
from math import isfinite
from typing import Any

import cvxpy as cp
import numpy as np

from allocator.ambiguity.sets import (
    LEAST_PROBABILITY,
    Ambiguity,
    AnyProbabilities,
    Box,
    Contamination,
    ExpertHull,
    KullbackLeibler,
    ModifiedChiSquared,
    Polytope,
    Singleton,
    TotalVariation,
    Wasserstein,
    is_singleton,
)
from allocator.types import Vector

# Parameters whose numbers are written often: cvxpy's own checks of a value take longer than the solve that follows.
#


class FastParameter(cp.Parameter):  # type: ignore[misc]  # cvxpy has no types
    """A cvxpy parameter that looks once at what it is given: its shape, that it is finite, and its sign.

    cvxpy projects each value onto what the parameter's attributes allow and compares (0.1 ms; twenty of them were two
    thirds of a re-solve at N = 100). What does not pass is left to cvxpy, and refused in its words.
    """

    stacked: Vector | None = None
    """Where the numbers are written besides: a part of the vector that a loop's maps are applied to."""

    @property
    def value(self) -> Any:
        """The number last written."""
        return super().value

    @value.setter
    def value(self, given: Any) -> None:
        numbers = np.array(given, dtype=np.float64)
        least = numbers if numbers.ndim == 0 else np.minimum.reduce(numbers, axis=None, initial=0.0)
        whole = numbers if numbers.ndim == 0 else np.add.reduce(numbers, axis=None)
        lawful = numbers.shape == self.shape and isfinite(whole)
        if lawful and (least >= 0 or not self.attributes["nonneg"]):
            self.save_value(numbers)
            if self.stacked is not None:
                self.stacked[:] = numbers.ravel(order="F")
        else:
            cp.Parameter.value.fset(self, given)
            if self.stacked is not None:
                self.stacked[:] = np.asarray(super().value).ravel(order="F")


@dataclass(frozen=True, eq=False)
class DualForm:
    """A dual form: `write(ambiguity, probabilities)` sets its parameters before a solve."""

    expression: cp.Expression
    constraints: list[cp.Constraint]
    write: Callable[[Any, Vector], None]


def dual_form(losses: cp.Expression, ambiguity: Ambiguity, probabilities: Vector) -> DualForm:
    """The dual form of `ambiguity`; `probabilities` (K,) matter only for which of them are zero."""
    return _dual(set_structure(ambiguity, probabilities)[0], losses, probabilities)


def set_structure(ambiguity: Ambiguity, probabilities: Vector) -> tuple[Ambiguity, tuple[bool | int, ...]]:
    """The set that is compiled, and what else of it is structure.

    A tiny divergence ball is the belief itself, and a divergence never reaches a scenario that the belief excludes.
    Transport starts from possible scenarios only; with nothing to spend it goes where there is no distance. A hull has
    its experts and a polytope its rows, those apart that come in pairs and leave no room between them.
    """
    if is_singleton(ambiguity):
        return Singleton(), ()
    if isinstance(ambiguity, KullbackLeibler | ModifiedChiSquared):
        return ambiguity, tuple(bool(p > LEAST_PROBABILITY) for p in probabilities)
    if isinstance(ambiguity, Wasserstein):
        free = () if ambiguity.radius > 0 else tuple(map(bool, np.ravel(ambiguity.metric <= 0)))
        return ambiguity, (*(bool(p > 0) for p in probabilities), *free)
    if isinstance(ambiguity, ExpertHull):
        return ambiguity, (len(ambiguity.experts),)
    if isinstance(ambiguity, Polytope):
        return ambiguity, (len(ambiguity.limits), *(row for pair in _pairs(ambiguity) for row in pair))
    return ambiguity, ()


def is_conic_set(kind: str) -> bool:
    """Whether the dual form of a set of this class takes more than linear constraints."""
    return kind in (KullbackLeibler.__name__, ModifiedChiSquared.__name__)


@singledispatch
def _dual(ambiguity: object, losses: cp.Expression, probabilities: Vector) -> DualForm:  # noqa: ARG001
    raise TypeError(f"no dual form for {type(ambiguity).__name__}")


@_dual.register
def _(ambiguity: Singleton, losses: cp.Expression, probabilities: Vector) -> DualForm:  # noqa: ARG001
    p = FastParameter(losses.shape[0], nonneg=True, name="probabilities")

    def write(_: Any, probabilities: Vector) -> None:
        p.value = probabilities

    return DualForm(p @ losses, [], write)


@_dual.register
def _(ambiguity: TotalVariation, losses: cp.Expression, probabilities: Vector) -> DualForm:  # noqa: ARG001
    p = FastParameter(losses.shape[0], nonneg=True, name="probabilities")
    moved, stays = FastParameter(nonneg=True, name="radius"), FastParameter(nonneg=True, name="one minus radius")
    eta, largest, above = cp.Variable(), cp.Variable(), cp.Variable(losses.shape[0], nonneg=True)

    def write(ambiguity: TotalVariation, probabilities: Vector) -> None:
        p.value = probabilities
        moved.value, stays.value = ambiguity.radius, 1 - ambiguity.radius

    return DualForm(
        moved * largest + stays * eta + p @ above,
        [above >= losses - eta, largest >= losses, largest >= eta],
        write,
    )


@_dual.register
def _(ambiguity: Box, losses: cp.Expression, probabilities: Vector) -> DualForm:  # noqa: ARG001
    scenarios = losses.shape[0]
    low, high = (
        FastParameter(scenarios, nonneg=True, name="lowest"),
        FastParameter(scenarios, nonneg=True, name="highest"),
    )
    eta, up, down = cp.Variable(), cp.Variable(scenarios, nonneg=True), cp.Variable(scenarios, nonneg=True)

    def write(ambiguity: Box, probabilities: Vector) -> None:
        low.value, high.value = ambiguity.bounds(probabilities)

    return DualForm(eta + high @ up - low @ down, [losses <= eta + up - down], write)


@_dual.register
def _(ambiguity: Contamination, losses: cp.Expression, probabilities: Vector) -> DualForm:  # noqa: ARG001
    stays, moved = (
        FastParameter(losses.shape[0], nonneg=True, name="what stays"),
        FastParameter(nonneg=True, name="radius"),
    )
    largest = cp.Variable()

    def write(ambiguity: Contamination, probabilities: Vector) -> None:
        stays.value, moved.value = (1 - ambiguity.radius) * probabilities, ambiguity.radius

    return DualForm(stays @ losses + moved * largest, [largest >= losses], write)


@_dual.register
def _(ambiguity: KullbackLeibler, losses: cp.Expression, probabilities: Vector) -> DualForm:  # noqa: ARG001
    possible = np.flatnonzero(probabilities > LEAST_PROBABILITY)
    count = len(possible)
    p, radius = FastParameter(count, nonneg=True, name="probabilities"), FastParameter(nonneg=True, name="radius")
    eta, price, weight, shifted = cp.Variable(), cp.Variable(nonneg=True), cp.Variable(count), cp.Variable(count)

    def write(ambiguity: KullbackLeibler, probabilities: Vector) -> None:
        p.value = probabilities[possible] / probabilities[possible].sum()
        # beyond the farthest scenario the ball is everything, and a larger number would only strain the solver
        radius.value = min(ambiguity.radius, -float(np.log(p.value.min())) + 0.1)

    return DualForm(
        eta + price * radius + p @ weight,
        [shifted >= losses[possible] - eta - price, cp.ExpCone(shifted, price * np.ones(count), weight)],
        write,
    )


@_dual.register
def _(ambiguity: ModifiedChiSquared, losses: cp.Expression, probabilities: Vector) -> DualForm:  # noqa: ARG001
    possible = np.flatnonzero(probabilities > LEAST_PROBABILITY)
    # mean + √radius·deviation of losses raised where a probability would fall below 0; η + √(1 + radius)·‖√p∘(ℓ − η)₊‖
    # is the same and left one solve in ten short of the tolerance
    p = FastParameter(len(possible), nonneg=True, name="probabilities")
    weight = FastParameter(len(possible), nonneg=True, name="root of radius x probabilities")
    centre, raised, length = cp.Variable(), cp.Variable(len(possible)), cp.Variable()

    def write(ambiguity: ModifiedChiSquared, probabilities: Vector) -> None:
        p.value = probabilities[possible] / probabilities[possible].sum()
        # beyond the farthest scenario the ball is everything, and a larger number would only strain the solver
        weight.value = np.sqrt(min(ambiguity.radius, 1 / float(p.value.min()) - 1 + 0.1) * p.value)

    return DualForm(
        p @ raised + length,
        [raised >= losses[possible], cp.SOC(length, cp.multiply(weight, raised - centre))],
        write,
    )


@_dual.register
def _(ambiguity: Wasserstein, losses: cp.Expression, probabilities: Vector) -> DualForm:
    sources = np.flatnonzero(probabilities > 0)
    p = FastParameter(len(sources), nonneg=True, name="probabilities")
    metric = FastParameter((len(sources), losses.shape[0]), nonneg=True, name="metric")
    radius, price, worth = (
        FastParameter(nonneg=True, name="radius"),
        cp.Variable(nonneg=True),
        cp.Variable(len(sources)),
    )

    def write(ambiguity: Wasserstein, probabilities: Vector) -> None:
        p.value, metric.value = probabilities[sources], ambiguity.metric[sources]
        # beyond the largest distance everything can move, and a larger number would only strain the solver
        radius.value = min(ambiguity.radius, 1.1 * float(ambiguity.metric.max(initial=0.0)))

    if ambiguity.radius == 0:  # then the price of distance has no limit, and what costs nothing is structure
        free = [np.flatnonzero(ambiguity.metric[source] <= 0) for source in sources]
        return DualForm(p @ worth, [worth[j] >= losses[to] for j, to in enumerate(free)], write)
    rows = [worth[j] >= losses - cp.multiply(metric[j], price) for j in range(len(sources))]
    return DualForm(price * radius + p @ worth, rows, write)


@_dual.register
def _(ambiguity: ExpertHull, losses: cp.Expression, probabilities: Vector) -> DualForm:
    vertices = FastParameter(ambiguity.vertices(probabilities).shape, nonneg=True, name="belief and experts")
    largest = cp.Variable()

    def write(ambiguity: ExpertHull, probabilities: Vector) -> None:
        vertices.value = ambiguity.vertices(probabilities)

    return DualForm(largest, [largest >= vertices @ losses], write)


def _pairs(ambiguity: Polytope) -> list[tuple[int, int]]:
    """Rows a'q ≤ b and −a'q ≤ −b: an equality, whose two prices could grow together without end."""
    rows = np.hstack([ambiguity.matrix, ambiguity.limits[:, None]])
    found: dict[int, int] = {}
    for i, j in combinations(range(len(rows)), 2):
        if i not in found.values() and j not in found.values() and i not in found and (rows[i] == -rows[j]).all():
            found[i] = j
    return list(found.items())


@_dual.register
def _(ambiguity: Polytope, losses: cp.Expression, probabilities: Vector) -> DualForm:  # noqa: ARG001
    pairs = _pairs(ambiguity)
    dropped = {j for _, j in pairs}
    kept = [row for row in range(len(ambiguity.limits)) if row not in dropped]
    signed = np.array([row not in dict(pairs) for row in kept])
    matrix = FastParameter((len(kept), losses.shape[0]), name="coefficients")
    limits = FastParameter(len(kept), name="limits")
    eta, prices = cp.Variable(), cp.Variable(len(kept))

    def write(ambiguity: Polytope, probabilities: Vector) -> None:
        del probabilities
        matrix.value, limits.value = ambiguity.matrix[kept], ambiguity.limits[kept]

    rows = [matrix.T @ prices + eta >= losses]
    if signed.any():
        rows.append(prices[np.flatnonzero(signed)] >= 0)
    return DualForm(eta + limits @ prices, rows, write)


@_dual.register
def _(ambiguity: AnyProbabilities, losses: cp.Expression, probabilities: Vector) -> DualForm:  # noqa: ARG001
    largest = cp.Variable()

    def write(_: Any, probabilities: Vector) -> None:
        del probabilities

    return DualForm(largest, [largest >= losses], write)
