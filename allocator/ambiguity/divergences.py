"""Ambiguity sets that a divergence from the belief bounds: relative entropy and the modified χ² distance.

No member gives a probability to a scenario that the belief excludes. Below LEAST_RADIUS a set is the belief itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.types import Vector

LEAST_PROBABILITY = 1e-9
"""A scenario below this is impossible in a set of this kind (a distance relative to it is not computable)."""
LEAST_RADIUS = 1e-6
"""A set of this kind below this is the belief itself (science F14)."""


@dataclass(frozen=True)
class KullbackLeibler:
    """Relative entropy to the belief at most `radius`: {q ≥ 0, Σq = 1, Σ q ln(q/p) ≤ radius}."""

    radius: float

    def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
        """(K,) the exponential tilt q ∝ p·e^{ϑ·loss} whose entropy is the radius, ϑ by bisection."""
        possible = probabilities > LEAST_PROBABILITY
        p, loss = probabilities[possible] / probabilities[possible].sum(), losses[possible]
        spread = float(np.ptp(loss))
        if self.radius < LEAST_RADIUS or spread <= 1e-15:
            return probabilities.copy()
        scaled = (loss - loss.max()) / spread
        tied = scaled >= 0
        if self.radius >= -np.log(p[tied].sum()):
            tilted = np.where(tied, p, 0.0) / p[tied].sum()
        else:
            tilted = self._tilted(scaled, p)
        q = np.zeros_like(probabilities)
        q[possible] = tilted
        return q

    def _tilted(self, scaled: Vector, p: Vector) -> Vector:
        low, high = 0.0, 1.0
        while _entropy(_tilt(scaled, p, high), p) < self.radius and high < 1e12:
            low, high = high, high * 2
        for _ in range(200):
            middle = (low + high) / 2
            if middle in (low, high):  # no number lies between them: further halving would change nothing
                break
            if _entropy(_tilt(scaled, p, middle), p) < self.radius:
                low = middle
            else:
                high = middle
        return _tilt(scaled, p, low)

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """Σ q ln(q/p) − radius; infinite where q sees what p excludes."""
        possible = probabilities > LEAST_PROBABILITY
        if (q[~possible] > 0).any():
            return float("inf")
        return _entropy(q[possible], probabilities[possible]) - max(self.radius, 0.0)


@dataclass(frozen=True)
class ModifiedChiSquared:
    """χ² distance to the belief at most `radius`: {q ≥ 0, Σq = 1, Σ (q − p)²/p ≤ radius}.

    While no probability would fall below 0 the adverse expectation is the mean plus √radius standard deviations of the
    losses.
    """

    radius: float

    def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
        """(K,) q ∝ p·(loss − η)₊ with the one threshold η at which the distance is the radius.

        Over the scenarios above η, of mass S, mean loss m and variance v, it lies √(v / ((1 + radius)·S − 1)) below m.
        The mildest are left out one after the other until none of the others lies below its own threshold.
        """
        possible = probabilities > LEAST_PROBABILITY
        p, loss = probabilities[possible] / probabilities[possible].sum(), losses[possible]
        spread = float(np.ptp(loss))
        if self.radius < LEAST_RADIUS or spread <= 1e-15:
            return probabilities.copy()
        q = np.zeros_like(probabilities)
        q[possible] = _above_threshold((loss - loss.max()) / spread, p, self.radius)
        return q

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """Σ (q − p)²/p − radius; infinite where q sees what p excludes."""
        possible = probabilities > LEAST_PROBABILITY
        if (q[~possible] > 0).any():
            return float("inf")
        p = probabilities[possible]
        return float(np.sum((q[possible] - p) ** 2 / p) - max(self.radius, 0.0))


def _above_threshold(scaled: Vector, p: Vector, radius: float) -> Vector:
    """`scaled` losses are at most 0, and 0 where they are largest."""
    for lowest in np.unique(scaled):
        seen = scaled >= lowest
        mass = float(p[seen].sum())
        if lowest >= 0 or (1 + radius) * mass <= 1:  # no threshold: the largest losses are all that is left
            break
        mean = float(p[seen] @ scaled[seen]) / mass
        below = np.sqrt(float(p[seen] @ (scaled[seen] - mean) ** 2) / mass / ((1 + radius) * mass - 1))
        if mean - below <= lowest:
            q: Vector = np.where(seen, p * (scaled - mean + below), 0.0)
            return np.asarray(np.maximum(q, 0.0) / np.maximum(q, 0.0).sum(), dtype=np.float64)
    worst = np.where(scaled >= 0, p, 0.0)
    return np.asarray(worst / worst.sum(), dtype=np.float64)


def _tilt(scaled: Vector, p: Vector, strength: float) -> Vector:
    weight: Vector = p * np.exp(strength * scaled)
    tilted: Vector = weight / weight.sum()
    return tilted


def _entropy(q: Vector, p: Vector) -> float:
    seen = q > 0
    return float(np.sum(q[seen] * np.log(q[seen] / p[seen])))
