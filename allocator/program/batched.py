"""The dual forms of many nodes of a tree as one block of rows and cones: what they say is what `worst_case` says.

A constraint of cvxpy costs as much to compile for one node as for all of them (science §3.7).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from allocator.ambiguity.sets import LEAST_PROBABILITY, Ambiguity, KullbackLeibler, TotalVariation
from allocator.types import Vector

BATCHED = (KullbackLeibler, TotalVariation)
"""Sets whose nodes are compiled as one."""


@dataclass(frozen=True, eq=False)
class Robust:
    """A node with a set of its own: the value of its children stands at `children` (K,), believed at `p` (K,)."""

    node: int
    children: np.ndarray[tuple[Any, ...], np.dtype[Any]]
    p: Vector
    ambiguity: Ambiguity


def batched(
    nodes: Sequence[Robust], theta: cp.Variable, ahead: cp.Expression, charges: cp.Expression
) -> Iterator[cp.Constraint]:
    """θ_n ≥ the worst case of what is `ahead` of it, for nodes whose sets are among `BATCHED`."""
    divergence = [one for one in nodes if isinstance(one.ambiguity, KullbackLeibler)]
    variation = [one for one in nodes if isinstance(one.ambiguity, TotalVariation)]
    if divergence:
        yield from _divergence(divergence, theta, ahead, charges)
    if variation:
        yield from _variation(variation, theta, ahead, charges)


def _divergence(
    nodes: Sequence[Robust], theta: cp.Variable, ahead: cp.Expression, charges: cp.Expression
) -> Iterator[cp.Constraint]:
    possible = [np.flatnonzero(one.p > LEAST_PROBABILITY) for one in nodes]
    believed = [one.p[at] / one.p[at].sum() for one, at in zip(nodes, possible, strict=True)]
    below = np.concatenate([one.children[at] for one, at in zip(nodes, possible, strict=True)])
    # beyond the farthest child the ball is everything, and a larger number would only strain the solver
    radii = np.array([min(_radius(one), -float(np.log(p.min())) + 0.1) for one, p in zip(nodes, believed, strict=True)])
    owner = np.repeat(np.arange(len(nodes)), [len(at) for at in possible])
    eta, price = cp.Variable(len(nodes)), cp.Variable(len(nodes), nonneg=True)
    weight, shifted = cp.Variable(len(below)), cp.Variable(len(below))
    yield shifted >= ahead[below] - eta[owner] - price[owner]
    yield cp.ExpCone(shifted, price[owner], weight)
    at = [one.node for one in nodes]
    yield theta[at] >= eta + cp.multiply(radii, price) + _means(believed) @ weight + charges[at]


def _variation(
    nodes: Sequence[Robust], theta: cp.Variable, ahead: cp.Expression, charges: cp.Expression
) -> Iterator[cp.Constraint]:
    below = np.concatenate([one.children for one in nodes])
    owner = np.repeat(np.arange(len(nodes)), [len(one.p) for one in nodes])
    radii = np.array([_radius(one) for one in nodes])
    eta, largest = cp.Variable(len(nodes)), cp.Variable(len(nodes))
    above = cp.Variable(len(below), nonneg=True)
    yield above >= ahead[below] - eta[owner]
    yield largest[owner] >= ahead[below]
    yield largest >= eta
    at, means = [one.node for one in nodes], _means([one.p for one in nodes])
    yield theta[at] >= cp.multiply(radii, largest) + cp.multiply(1 - radii, eta) + means @ above + charges[at]


def _radius(one: Robust) -> float:
    assert isinstance(one.ambiguity, BATCHED)
    return one.ambiguity.radius


def _means(believed: Sequence[Vector]) -> sp.csr_array:
    """(n, rows): each node's mean over its own children."""
    return sp.csr_array(sp.block_diag([p[None, :] for p in believed]))
