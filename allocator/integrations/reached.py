"""An ambiguity set by its definition, in cvxpy: for other people's objectives, which take a term and no constraint.

The program uses dual forms, which want variables and constraints of their own; here the largest expected loss is the
support function of the set itself.
"""

from __future__ import annotations

from functools import singledispatch

import cvxpy as cp
import numpy as np

from allocator.ambiguity.sets import (
    LEAST_PROBABILITY,
    Ambiguity,
    Box,
    Contamination,
    Hull,
    Known,
    KullbackLeibler,
    ModifiedChiSquared,
    Polytope,
    TotalVariation,
    Wasserstein,
    Worst,
    is_belief,
)
from allocator.types import Vector


def largest_expected(losses: cp.Expression, ambiguity: Ambiguity, probabilities: Vector) -> cp.Expression:
    """sup over the set of q'losses, for (K,) losses that are affine: one convex expression, no constraint beside."""
    if is_belief(ambiguity):
        return probabilities @ losses
    q = cp.Variable(len(probabilities))
    return cp.suppfunc(q, [q >= 0, cp.sum(q) == 1, *_within(ambiguity, q, probabilities)])(losses)


@singledispatch
def _within(ambiguity: object, q: cp.Variable, p: Vector) -> list[cp.Constraint]:  # noqa: ARG001
    raise TypeError(f"no definition of {type(ambiguity).__name__}")


@_within.register
def _(ambiguity: Known, q: cp.Variable, p: Vector) -> list[cp.Constraint]:
    del ambiguity
    return [q == p]


@_within.register
def _(ambiguity: TotalVariation, q: cp.Variable, p: Vector) -> list[cp.Constraint]:
    return [cp.norm1(q - p) <= 2 * ambiguity.radius]


@_within.register
def _(ambiguity: Box, q: cp.Variable, p: Vector) -> list[cp.Constraint]:
    return [cp.abs(q - p) <= ambiguity.radius]


@_within.register
def _(ambiguity: Contamination, q: cp.Variable, p: Vector) -> list[cp.Constraint]:
    return [q >= (1 - ambiguity.radius) * p]


@_within.register
def _(ambiguity: Worst, q: cp.Variable, p: Vector) -> list[cp.Constraint]:
    del ambiguity, q, p
    return []


@_within.register
def _(ambiguity: KullbackLeibler, q: cp.Variable, p: Vector) -> list[cp.Constraint]:
    possible, excluded = np.flatnonzero(p > LEAST_PROBABILITY), np.flatnonzero(p <= LEAST_PROBABILITY)
    entropy = cp.sum(cp.kl_div(q[possible], p[possible] / p[possible].sum()))
    return [entropy <= ambiguity.radius, *([q[excluded] == 0] if len(excluded) else [])]


@_within.register
def _(ambiguity: ModifiedChiSquared, q: cp.Variable, p: Vector) -> list[cp.Constraint]:
    possible, excluded = np.flatnonzero(p > LEAST_PROBABILITY), np.flatnonzero(p <= LEAST_PROBABILITY)
    base = p[possible] / p[possible].sum()
    apart = cp.multiply(q[possible] - base, 1 / np.sqrt(base))
    return [cp.norm2(apart) <= np.sqrt(ambiguity.radius), *([q[excluded] == 0] if len(excluded) else [])]


@_within.register
def _(ambiguity: Wasserstein, q: cp.Variable, p: Vector) -> list[cp.Constraint]:
    moved = cp.Variable((len(p), len(p)), nonneg=True)
    cost = cp.sum(cp.multiply(ambiguity.metric, moved))
    return [cp.sum(moved, axis=1) == p, cp.sum(moved, axis=0) == q, cost <= ambiguity.radius]


@_within.register
def _(ambiguity: Hull, q: cp.Variable, p: Vector) -> list[cp.Constraint]:
    vertices = ambiguity.vertices(p)
    share = cp.Variable(len(vertices), nonneg=True)
    return [cp.sum(share) == 1, q == vertices.T @ share]


@_within.register
def _(ambiguity: Polytope, q: cp.Variable, p: Vector) -> list[cp.Constraint]:
    del p
    return [ambiguity.matrix @ q <= ambiguity.limits]
