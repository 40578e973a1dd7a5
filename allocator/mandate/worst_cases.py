"""The worst case of many losses at once, each under a belief of its own: what `worst_case` says of one."""

from __future__ import annotations

import numpy as np

from allocator.mandate.ambiguity import (
    LEAST_PROBABILITY,
    LEAST_RADIUS,
    Ambiguity,
    Box,
    Contamination,
    Known,
    KullbackLeibler,
    TotalVariation,
    Worst,
    worst_case,
)
from allocator.types import Matrix, Vector

_DOUBLINGS, _HALVINGS = 41, 60


def worst_cases(losses: Matrix, ambiguity: Ambiguity, probabilities: Matrix) -> Vector:
    """(D,) the largest expected loss over the set around each belief; `losses` and `probabilities` are (D, K)."""
    if isinstance(ambiguity, TotalVariation):
        return _moved(losses, probabilities, ambiguity.radius)
    if isinstance(ambiguity, Box):
        return _filled(losses, probabilities, ambiguity.radius)
    if isinstance(ambiguity, KullbackLeibler):
        return _tilted(losses, probabilities, ambiguity.radius)
    if isinstance(ambiguity, Known | Worst | Contamination):  # a part of the mean, the rest of the worst
        part = {Known: 0.0, Worst: 1.0}.get(type(ambiguity), getattr(ambiguity, "radius", 0.0))
        return np.asarray((1 - part) * (probabilities * losses).sum(axis=1) + part * losses.max(axis=1))
    each = [worst_case(loss, ambiguity, p) for loss, p in zip(losses, probabilities, strict=True)]
    return np.array(each)


def _sorted(losses: Matrix, probabilities: Matrix) -> tuple[Matrix, Matrix]:
    """Both with the smallest loss of each draw first."""
    order = np.argsort(losses, axis=1, kind="stable")
    return np.take_along_axis(losses, order, axis=1), np.take_along_axis(probabilities, order, axis=1)


def _moved(losses: Matrix, probabilities: Matrix, radius: float) -> Vector:
    """Total variation: mass moved from the smallest losses to the largest."""
    loss, q = _sorted(losses, probabilities)
    before = np.cumsum(q, axis=1) - q
    taken = np.clip(radius - before, 0.0, q)
    taken[:, -1] = 0.0
    kept = q - taken
    kept[:, -1] += taken.sum(axis=1)
    return np.asarray((kept * loss).sum(axis=1))


def _filled(losses: Matrix, probabilities: Matrix, radius: float) -> Vector:
    """Box: everything at its lowest, the largest losses filled up first."""
    loss, p = _sorted(losses, probabilities)
    low, high = np.maximum(p - radius, 0.0), np.minimum(p + radius, 1.0)
    room = (high - low)[:, ::-1]
    left = (1 - low.sum(axis=1))[:, None] - (np.cumsum(room, axis=1) - room)
    q = low + np.clip(left, 0.0, room)[:, ::-1]
    return np.asarray((q * loss).sum(axis=1))


def _tilted(losses: Matrix, probabilities: Matrix, radius: float) -> Vector:
    """Relative entropy: q ∝ p·e^{ϑ·loss} of each draw whose entropy is the radius, all ϑ bisected at once."""
    possible = probabilities > LEAST_PROBABILITY
    p = np.where(possible, probabilities, 0.0)
    p = p / p.sum(axis=1, keepdims=True)
    top = np.where(possible, losses, -np.inf).max(axis=1, keepdims=True)
    spread = top - np.where(possible, losses, np.inf).min(axis=1, keepdims=True)
    flat = spread[:, 0] <= 1e-15
    if radius < LEAST_RADIUS:
        return np.asarray((probabilities * losses).sum(axis=1))
    scaled = np.where(possible, (losses - top) / np.where(spread > 0, spread, 1.0), 0.0)

    def tilt(strength: Vector) -> Matrix:
        weight = p * np.exp(strength[:, None] * scaled)
        return np.asarray(weight / weight.sum(axis=1, keepdims=True))

    def within(q: Matrix) -> Vector:
        logs = np.log(np.where(q > 0, q, 1.0) / np.where(q > 0, p, 1.0))
        return np.asarray((q * logs).sum(axis=1) < radius)

    low, high = np.zeros(len(p)), np.ones(len(p))
    for _ in range(_DOUBLINGS):
        inside = within(tilt(high))
        if not inside.any():
            break
        low, high = np.where(inside, high, low), np.where(inside, 2 * high, high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        inside = within(tilt(middle))
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    q = tilt(low)
    return np.asarray(np.where(flat, (probabilities * losses).sum(axis=1), (q * losses).sum(axis=1)))
