"""The least shift that makes a loss expected, by closed forms (science §4.7): of probabilities, of markets, of both.

Losses are of scenario means; within scenario k the loss is normal with variance v_k = x'Ω_k x. Distance is relative
entropy in nats. Pure functions of arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.plan.break_even import least_shift_kl
from allocator.types import Vector

_FARTHEST = 1e15
_HALVINGS = 200


@dataclass(frozen=True, eq=False)
class Tilt:
    """`distance` from the belief, the probabilities `q` (K,), and `strength` ϑ: markets move by −ϑ·Ω_k x."""

    distance: float
    q: Vector
    strength: float


def by_probabilities(losses: Vector, probabilities: Vector, loss: float) -> Tilt | None:
    """q ∝ p·e^{ϑ·loss}; None where no probabilities that keep impossible scenarios impossible give the loss."""
    found = least_shift_kl(losses - loss, probabilities)
    return None if found is None else Tilt(found.distance, found.q, 0.0)


def by_markets(losses: Vector, variance: float, probabilities: Vector, loss: float) -> Tilt | None:
    """z = −ϑΩx with ϑ = (L + μ'x) / x'Ωx, at a distance of (L + μ'x)² / (2·x'Ωx); None without any risk."""
    lacking = max(loss - float(probabilities @ losses), 0.0)
    if lacking == 0:
        return Tilt(0.0, probabilities.copy(), 0.0)
    if variance <= 0:
        return None
    return Tilt(lacking**2 / (2 * variance), probabilities.copy(), lacking / variance)


def by_both(losses: Vector, variances: Vector, probabilities: Vector, loss: float) -> Tilt | None:
    """Entropy pooling on scenario × normal: q_k ∝ p_k·exp(ϑℓ_k + ½ϑ²v_k), z_k = −ϑΩ_k x, ϑ by bisection.

    The mean loss at ϑ is the slope of the cumulant function ln Σ p_k exp(ϑℓ_k + ½ϑ²v_k), which is convex, so it rises
    with ϑ. `variances` (K,) may differ by scenario.
    """
    if float(probabilities @ losses) >= loss:
        return Tilt(0.0, probabilities.copy(), 0.0)
    possible = probabilities > 0
    p, own, v = probabilities[possible], losses[possible], variances[possible]

    def tilted(strength: float) -> Vector:
        exponent = strength * own + strength**2 * v / 2
        weight = p * np.exp(exponent - exponent.max())
        return np.asarray(weight / weight.sum())

    def mean(strength: float) -> float:
        return float(tilted(strength) @ (own + strength * v))

    low, high = 0.0, 1.0
    while mean(high) < loss:
        low, high = high, 2 * high
        if high > _FARTHEST:
            return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) < loss else (low, middle)
    tilt, q = tilted(high), np.zeros_like(probabilities)
    q[possible], seen = tilt, tilt > 0
    entropy = float(np.sum(tilt[seen] * np.log(tilt[seen] / p[seen])))
    return Tilt(max(entropy, 0.0) + high**2 * float(tilt @ v) / 2, q, high)
