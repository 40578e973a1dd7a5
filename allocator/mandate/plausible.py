"""Beliefs that are plausible beside the stated one: draws from the ambiguity set, the same ones every time.

A belief is drawn on the way from the stated one to a random point of the simplex, prolonged to where the set or the
simplex ends, at a depth that would fill a ball evenly. For the whole simplex the draws are exactly uniform.
"""

from __future__ import annotations

import numpy as np

from allocator.mandate.ambiguity import LEAST_PROBABILITY, Ambiguity, Box, Known, KullbackLeibler, TotalVariation
from allocator.types import Matrix, Vector

PROBABILITY_SHIFT = 0.02
"""No belief is known better than this: the shift of one probability that stability is measured with."""
_HALVINGS = 30


def plausible(ambiguity: Ambiguity, probabilities: Vector, draw: np.random.Generator, count: int) -> Matrix:
    """(count, K) beliefs inside the set; where it is narrower than PROBABILITY_SHIFT, within that shift.

    The floor makes a set that shrinks with the evidence (`robust.schedule`) end where a single belief stands, and not
    in a certainty that nobody has.
    """
    if len(probabilities) == 1:
        return np.ones((count, 1))
    set_ = _at_least_a_shift(ambiguity)
    towards = draw.dirichlet(np.ones(len(probabilities)), count)
    depth = draw.random(count) ** (1 / (len(probabilities) - 1))
    if isinstance(set_, KullbackLeibler):  # no tilt reaches what the belief excludes
        towards = np.where(probabilities > LEAST_PROBABILITY, towards, 0.0)
        towards /= towards.sum(axis=1, keepdims=True)
    way = towards - probabilities
    with np.errstate(divide="ignore", invalid="ignore"):
        to_the_edge = np.where(way < 0, probabilities / -way, np.inf).min(axis=1)
    to_the_edge = np.where(np.isfinite(to_the_edge), to_the_edge, 0.0)
    reach = np.minimum(to_the_edge, _reach(set_, probabilities, way, to_the_edge))
    beliefs = np.maximum(probabilities + (depth * reach)[:, None] * way, 0.0)
    result: Matrix = beliefs / beliefs.sum(axis=1, keepdims=True)
    return result


def _at_least_a_shift(ambiguity: Ambiguity) -> Ambiguity:
    if isinstance(ambiguity, KullbackLeibler):
        return KullbackLeibler(max(ambiguity.radius, 2 * PROBABILITY_SHIFT**2))  # Pinsker, as in `radius_of`
    if isinstance(ambiguity, TotalVariation | Box):
        return type(ambiguity)(max(ambiguity.radius, PROBABILITY_SHIFT))
    return TotalVariation(PROBABILITY_SHIFT) if isinstance(ambiguity, Known) else ambiguity


def _reach(ambiguity: Ambiguity, probabilities: Vector, way: Matrix, to_the_edge: Vector) -> Vector:
    """(count,) how many times each way may be gone before the set is left."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if isinstance(ambiguity, TotalVariation):
            return np.asarray(ambiguity.radius / (np.abs(way).sum(axis=1) / 2), dtype=np.float64)
        if isinstance(ambiguity, Box):
            return np.asarray(ambiguity.radius / np.abs(way).max(axis=1), dtype=np.float64)
    if not isinstance(ambiguity, KullbackLeibler):
        return to_the_edge
    low, high = np.zeros(len(way)), to_the_edge.copy()
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        within = _entropies(probabilities + middle[:, None] * way, probabilities) <= ambiguity.radius
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    return low


def _entropies(beliefs: Matrix, probabilities: Vector) -> Vector:
    """(count,) Σ q ln(q/p) of each row."""
    ratio = np.maximum(beliefs, 0.0) / np.where(probabilities > LEAST_PROBABILITY, probabilities, 1.0)
    result: Vector = (np.maximum(beliefs, 0.0) * np.log(np.where(ratio > 0, ratio, 1.0))).sum(axis=1)
    return result
