"""Ambiguity sets: which scenario probabilities we guard against.

One frozen class a set, with its definition and its inner maximiser in closed form: `adversary(losses, p)` is the worst
member of the set, found without a solver. The program uses the dual forms; these are what it is checked against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from allocator.types import Vector

LEAST_PROBABILITY = 1e-9
"""A scenario below this is impossible in a KL set (relative entropy to it is not computable)."""
LEAST_RADIUS = 1e-6
"""A KL ball below this is the belief itself (science F14)."""


@dataclass(frozen=True)
class Known:
    """The stated probabilities are right: {p}."""

    def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
        """(K,) the belief itself."""
        del losses
        return probabilities.copy()

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """How far `q` lies outside the set; ≤ 0 is inside."""
        return float(np.abs(q - probabilities).max())


@dataclass(frozen=True)
class TotalVariation:
    """Within `radius` of the belief in total variation: {q ≥ 0, Σq = 1, ½‖q − p‖₁ ≤ radius}."""

    radius: float

    def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
        """(K,) mass moved from the smallest losses to the largest, as far as the radius allows."""
        q = probabilities.copy()
        worst = int(np.argmax(losses))
        left = min(self.radius, 1 - q[worst])
        q[worst] += left
        for k in np.argsort(losses, kind="stable"):
            if k != worst and left > 0:
                moved = min(q[k], left)
                q[k] -= moved
                left -= moved
        return q

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """½‖q − p‖₁ − radius."""
        return float(np.abs(q - probabilities).sum() / 2 - self.radius)


@dataclass(frozen=True)
class Box:
    """Each probability within `radius` of the belief: {q ≥ 0, Σq = 1, |q_k − p_k| ≤ radius}."""

    radius: float

    def bounds(self, probabilities: Vector) -> tuple[Vector, Vector]:
        """(K,) lowest and highest probability of each scenario."""
        return np.maximum(probabilities - self.radius, 0.0), np.minimum(probabilities + self.radius, 1.0)

    def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
        """(K,) everything at its lowest, then the largest losses filled up first."""
        low, high = self.bounds(probabilities)
        q, left = low.copy(), 1 - low.sum()
        for k in np.argsort(-losses, kind="stable"):
            added = min(high[k] - low[k], left)
            q[k] += added
            left -= added
        return q

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """max |q − p| − radius."""
        return float(np.abs(q - probabilities).max() - self.radius)


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
class Worst:
    """Any probabilities at all: {q ≥ 0, Σq = 1}."""

    def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
        """(K,) certainty of the worst scenario."""
        q = np.zeros_like(probabilities)
        q[int(np.argmax(losses))] = 1.0
        return q

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """Every probability vector is inside."""
        del q, probabilities
        return 0.0


Ambiguity: TypeAlias = Known | TotalVariation | Box | KullbackLeibler | Worst


def ambiguity_of(name: str, radius: float) -> Ambiguity:
    """The set that `[robust]` names."""
    if name == "total_variation":
        return TotalVariation(radius)
    if name == "box":
        return Box(radius)
    if name == "kl":
        return KullbackLeibler(radius)
    return Worst() if name == "worst" else Known()


def worst_case(losses: Vector, ambiguity: Ambiguity, probabilities: Vector) -> float:
    """The largest expected loss over the set, by the inner maximiser."""
    return float(ambiguity.adversary(losses, probabilities) @ losses)


def inside(q: Vector, ambiguity: Ambiguity, probabilities: Vector) -> Vector:
    """The member of the set nearest to `q` on the way to the belief: solver noise taken out, never added.

    Every set is convex and holds p, so a step back towards p always ends inside.
    """
    clean = np.maximum(q, 0.0)
    if isinstance(ambiguity, KullbackLeibler):
        clean = np.where(probabilities > LEAST_PROBABILITY, clean, 0.0)  # no tilt reaches what the belief excludes
    clean = clean / clean.sum() if clean.sum() > 0 else probabilities.copy()
    if ambiguity.excess(clean, probabilities) <= 0:
        return clean
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if ambiguity.excess(probabilities + middle * (clean - probabilities), probabilities) <= 0:
            low = middle
        else:
            high = middle
    result: Vector = probabilities + low * (clean - probabilities)
    return result


def _tilt(scaled: Vector, p: Vector, strength: float) -> Vector:
    weight: Vector = p * np.exp(strength * scaled)
    tilted: Vector = weight / weight.sum()
    return tilted


def _entropy(q: Vector, p: Vector) -> float:
    seen = q > 0
    return float(np.sum(q[seen] * np.log(q[seen] / p[seen])))
