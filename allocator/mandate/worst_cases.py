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

_STEPS = 80


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
    """Relative entropy: q ∝ p·e^{ϑ·loss} of each draw whose entropy is the radius, all ϑ at once."""
    mean = (probabilities * losses).sum(axis=1)
    if radius < LEAST_RADIUS:
        return np.asarray(mean)
    possible = probabilities > LEAST_PROBABILITY
    p = np.where(possible, probabilities, 0.0)
    p = p / p.sum(axis=1, keepdims=True)
    top = np.where(possible, losses, -np.inf).max(axis=1)
    spread = top - np.where(possible, losses, np.inf).min(axis=1)
    scaled = np.where(possible, (losses - top[:, None]) / np.where(spread > 0, spread, 1.0)[:, None], -1.0)
    whole = -np.log(np.where(possible & (scaled >= 0), p, 0.0).sum(axis=1)) <= radius
    inner = np.flatnonzero(~whole & (spread > 1e-15))
    result: Vector = np.where(whole, top, mean)
    result[inner] = top[inner] + spread[inner] * _mean_at_radius(scaled[inner], p[inner], radius)
    return result


def _mean_at_radius(scaled: Matrix, p: Matrix, radius: float) -> Vector:
    """(D,) mean of the losses (from −1 to 0) under the tilt of this entropy, ϑ·mean − ln Σ p e^{ϑ·loss}.

    It rises with ϑ at ϑ·variance: Newton steps, halved or doubled where they leave what is known to hold the root.
    """
    low, high = np.zeros(len(p)), np.full(len(p), np.inf)
    centre = (p * scaled).sum(axis=1)
    at = np.sqrt(2 * radius / (p * (scaled - centre[:, None]) ** 2).sum(axis=1))
    mean = centre
    for _ in range(_STEPS):
        weight = p * np.exp(at[:, None] * scaled)
        total = weight.sum(axis=1)
        mean = (weight * scaled).sum(axis=1) / total
        variance = (weight * (scaled - mean[:, None]) ** 2).sum(axis=1) / total
        lacking = radius - (at * mean - np.log(total))
        low, high = np.where(lacking > 0, at, low), np.where(lacking > 0, high, at)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = at + lacking / (at * variance)
        beyond = np.where(np.isinf(high), 2 * at, (low + high) / 2)
        following = np.where((step > low) & (step < high), step, beyond)
        if ((np.abs(following - at) <= 1e-12 * at) | (np.abs(lacking) <= 1e-15)).all():
            break
        at = following
    return np.asarray(mean)
