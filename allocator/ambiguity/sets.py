"""Ambiguity sets: which scenario probabilities we guard against.

One frozen class a set, with its definition and its inner maximiser in closed form: `adversary(losses, p)` is the worst
member of the set, exact and apart from the program. The program uses the dual forms; these are what it is checked
against. Sets that flat faces bound are in `polyhedral.py`, and reached from here. Of sets that a divergence bounds
(relative entropy, modified χ²) no member gives a probability to a scenario that the belief excludes, and below
LEAST_RADIUS such a set is the belief itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from allocator.ambiguity.polyhedral import ExpertHull, Polytope, Wasserstein
from allocator.types import Matrix, Vector

__all__ = [
    "LEAST_PROBABILITY",
    "LEAST_RADIUS",
    "Ambiguity",
    "AnyProbabilities",
    "Box",
    "Contamination",
    "ExpertHull",
    "KullbackLeibler",
    "ModifiedChiSquared",
    "Polytope",
    "Singleton",
    "TotalVariation",
    "Wasserstein",
    "build_ambiguity_set",
    "is_singleton",
    "project",
    "worst_case",
]


LEAST_PROBABILITY = 1e-9
"""A scenario below this is impossible in a set of this kind (a distance relative to it is not computable)."""
LEAST_RADIUS = 1e-6
"""A set of this kind below this is the belief itself (science F14)."""


@dataclass(frozen=True)
class Singleton:
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
class Contamination:
    """With probability `radius` the belief is beside the point: {(1 − radius)·p + radius·r, r any probabilities}."""

    radius: float

    def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
        """(K,) the same part of every probability moved to the worst scenario."""
        q: Vector = (1 - self.radius) * probabilities
        q[int(np.argmax(losses))] += self.radius
        return q

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """max ((1 − radius)·p − q): by how much some probability has given more than its part."""
        return float(((1 - self.radius) * probabilities - q).max())

    def nearest(self, q: Vector, probabilities: Vector) -> Vector:
        """(K,) what every probability keeps, and the rest shared out as `q` does."""
        kept = (1 - self.radius) * probabilities
        beside = np.maximum(q - kept, 0.0)
        if beside.sum() <= 0 or self.radius <= 0:
            return probabilities.copy()
        member: Vector = kept + self.radius * beside / beside.sum()
        return member


@dataclass(frozen=True)
class AnyProbabilities:
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


Direct: TypeAlias = (
    Singleton | TotalVariation | Box | Contamination | KullbackLeibler | ModifiedChiSquared | AnyProbabilities
)
"""Sets that need nothing but the belief, whatever the number of scenarios."""


Ambiguity: TypeAlias = Direct | Wasserstein | ExpertHull | Polytope
_BALLS: dict[str, type[TotalVariation | Box | Contamination | KullbackLeibler | ModifiedChiSquared]] = {
    "total_variation": TotalVariation,
    "box": Box,
    "contamination": Contamination,
    "kl": KullbackLeibler,
    "modified_chi2": ModifiedChiSquared,
}


def build_ambiguity_set(
    name: str,
    radius: float = 0.0,
    *,
    metric: Matrix | None = None,
    experts: Matrix | None = None,
    limits: tuple[Matrix, Vector] | None = None,
) -> Ambiguity:
    """The set that `[robust]` names; three of them want more than a radius.

    `metric` (K, K) is the ground distance of wasserstein, `experts` (M, K) are the probabilities of hull, `limits`
    (R, K) and (R,) are A and b of polytope.

    Raises:
        ValueError: the set wants what was not given.
    """
    if name in _BALLS:
        return _BALLS[name](radius)
    needed = {"wasserstein": metric, "hull": experts, "polytope": limits}
    if name in needed and needed[name] is None:
        wanted = {"wasserstein": "metric", "hull": "experts", "polytope": "limits"}[name]
        raise ValueError(f"a {name} set needs its {wanted}; pass {wanted}=…")
    if name == "wasserstein" and metric is not None:
        return Wasserstein(radius, metric)
    if name == "hull" and experts is not None:
        return ExpertHull(experts)
    if name == "polytope" and limits is not None:
        return Polytope(*limits)
    return AnyProbabilities() if name == "worst" else Singleton()


def is_singleton(ambiguity: Ambiguity) -> bool:
    """Whether the set holds the belief alone: it is so small that it cannot be told from it."""
    small = isinstance(ambiguity, KullbackLeibler | ModifiedChiSquared) and ambiguity.radius < LEAST_RADIUS
    return small or isinstance(ambiguity, Singleton)


def worst_case(losses: Vector, ambiguity: Ambiguity, probabilities: Vector) -> float:
    """The largest expected loss over the set, by the inner maximiser."""
    return float(ambiguity.adversary(losses, probabilities) @ losses)


def project(q: Vector, ambiguity: Ambiguity, probabilities: Vector) -> Vector:
    """The member of the set nearest to `q` on the way to the belief: solver noise taken out, never added.

    Every set is convex and holds p, so a step back towards p always ends inside. A set that may be flat, or whose
    faces may pass close to p, gives the nearest member in any direction: the way to p would be long.
    """
    clean, home = np.maximum(q, 0.0), probabilities
    if isinstance(ambiguity, KullbackLeibler | ModifiedChiSquared):
        possible = probabilities > LEAST_PROBABILITY  # nothing reaches what the belief excludes
        clean, home = np.where(possible, clean, 0.0), np.where(possible, home, 0.0)
        home = home / home.sum()
    clean = clean / clean.sum() if clean.sum() > 0 else home.copy()
    if ambiguity.excess(clean, probabilities) <= 0:
        return clean
    if isinstance(ambiguity, Contamination | Wasserstein | ExpertHull | Polytope):
        return ambiguity.nearest(clean, probabilities)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if ambiguity.excess(home + middle * (clean - home), probabilities) <= 0:
            low = middle
        else:
            high = middle
    result: Vector = home + low * (clean - home)
    return result
