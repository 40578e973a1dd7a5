"""Ambiguity sets: which scenario probabilities we guard against.

One frozen class a set, with its definition and its inner maximiser in closed form: `adversary(losses, p)` is the worst
member of the set, exact and apart from the program. The program uses the dual forms; these are what it is checked
against. Sets that a divergence bounds are in `divergences.py`, those that flat faces bound in `polytopes.py`; all are
reached from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from allocator.ambiguity.divergences import LEAST_PROBABILITY, LEAST_RADIUS, KullbackLeibler, ModifiedChiSquared
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
