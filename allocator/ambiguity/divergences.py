"""Balls of a divergence from the belief: relative entropy and modified χ².

No member gives a probability to a scenario that the belief excludes, and below LEAST_RADIUS such a set is the belief
itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import rel_entr

from allocator.ambiguity.balls import Ball, Singleton, means, owners
from allocator.ambiguity.sets import Ambiguity
from allocator.settings.uncertainty import AMBIGUITY_SETS
from allocator.types import Matrix, Vector

if TYPE_CHECKING:
    import cvxpy as cp

    from allocator.ambiguity.sets import Form

LEAST_PROBABILITY = 1e-9
"""A scenario below this is impossible in such a set (a distance relative to it is not computable)."""
LEAST_RADIUS = 1e-6
"""Such a set below this is the belief itself (science F14)."""
_ROOM = 1e-9
"""Of a way: how far sampled beliefs keep from where a divergence ends."""
_NEWTON_STEPS = 80


class Divergence(Ball, ABC):
    """A ball that never reaches a scenario that the belief excludes; below LEAST_RADIUS it is the belief itself."""

    curved = True

    @property
    def compiled(self) -> Ambiguity:
        """The belief, where it cannot be told from it."""
        return Singleton() if self.radius < LEAST_RADIUS else self

    @classmethod
    def _as_allowed(cls, radius: float) -> float:
        return min(max(radius, LEAST_RADIUS), AMBIGUITY_SETS[cls.name].most_radius or 0.0)

    @abstractmethod
    def distance(self, q: Vector, p: Vector) -> float:
        """The divergence of `q` from `p`, which excludes nothing."""

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """The divergence less the radius; infinite where q sees what p excludes."""
        possible = probabilities > LEAST_PROBABILITY
        if (q[~possible] > 0).any():
            return float("inf")
        return self.distance(q[possible], probabilities[possible]) - max(self.radius, 0.0)

    def project(self, q: Vector, probabilities: Vector) -> Vector:
        """Without what the belief excludes."""
        possible = probabilities > LEAST_PROBABILITY
        home = np.where(possible, probabilities, 0.0)
        lost = (probabilities.sum() - home.sum()) / home.sum()  # of nothing the belief keeps its last digit
        return super().project(np.where(possible, q, 0.0), home * (1 + lost))

    def support(self, probabilities: Vector) -> tuple[bool | int, ...]:
        """What the belief does not exclude."""
        return tuple(bool(p > LEAST_PROBABILITY) for p in probabilities)

    def members(self, q: cp.Variable, probabilities: Vector) -> list[cp.Constraint]:
        """The divergence ≤ radius, and nothing of what the belief excludes."""
        excluded = np.flatnonzero(probabilities <= LEAST_PROBABILITY)
        inside = self._within(q[np.flatnonzero(probabilities > LEAST_PROBABILITY)], _possible(probabilities))
        return [inside, *([q[excluded] == 0] if len(excluded) else [])]

    @abstractmethod
    def _within(self, q: cp.Expression, p: Vector) -> cp.Constraint:
        """The distance is within the radius."""

    def ways(self, probabilities: Vector, draw: np.random.Generator, count: int) -> tuple[Matrix, int]:
        """As likely as the ellipsoid diag(p) − pp' is wide, which the set is when small: no tilt leads elsewhere."""
        possible = np.where(probabilities > LEAST_PROBABILITY, probabilities, 0.0)
        own = draw.normal(size=(count, len(probabilities))) * np.sqrt(possible)
        ways = own - own.sum(axis=1, keepdims=True) * possible / possible.sum()
        return ways, max(int((possible > 0).sum()) - 1, 1)


class KullbackLeibler(Divergence):
    """Relative entropy to the belief at most `radius`: {q ≥ 0, Σq = 1, Σ q ln(q/p) ≤ radius}."""

    name = "kl"
    batched = True
    keeps_every_scenario = True

    @classmethod
    def radius_for(cls, distance: float) -> float:
        """Pinsker's inequality."""
        return 2 * distance**2

    @classmethod
    def radius_to(cls, low: float, high: float, p: float) -> float:
        """Relative entropy of the farther belief in the answer; that of the scenarios is the same, as the ranges move
        probability between the answers and not within them.
        """
        farthest = max(float(rel_entr(q, p) + rel_entr(1 - q, 1 - p)) for q in (low, high))
        return 0.0 if farthest < 1e-12 else cls._as_allowed(farthest)  # one belief only, up to rounding

    def distance(self, q: Vector, p: Vector) -> float:
        """Σ q ln(q/p)."""
        return float(rel_entr(q, p).sum())

    def adversaries(self, losses: Matrix, probabilities: Matrix) -> Matrix:
        """The exponential tilts q ∝ p·e^{ϑ·loss} whose entropy is the radius; beyond the last of them the largest
        losses are all that is left.
        """
        q = probabilities.copy()
        if self.is_singleton:
            return q
        possible = probabilities > LEAST_PROBABILITY
        p = np.where(possible, probabilities, 0.0)
        p = p / p.sum(axis=1, keepdims=True)
        top = np.where(possible, losses, -np.inf).max(axis=1, keepdims=True)
        spread = top - np.where(possible, losses, np.inf).min(axis=1, keepdims=True)
        scaled = np.where(possible, (losses - top) / np.where(spread > 0, spread, 1.0), -1.0)
        tied = np.where(scaled >= 0, p, 0.0)
        varied, whole = spread[:, 0] > 1e-15, self.radius >= -np.log(tied.sum(axis=1))
        q[varied & whole] = (tied / tied.sum(axis=1, keepdims=True))[varied & whole]
        q[varied & ~whole] = _tilts(scaled[varied & ~whole], p[varied & ~whole], self.radius)
        return q

    def dual_numbers(self, probabilities: Vector) -> dict[str, Any]:
        """Belief and radius: beyond the farthest scenario the ball is all, and more would only strain the solver."""
        p = _possible(probabilities)
        return {"probabilities": p, "radius": min(self.radius, -float(np.log(p.min())) + 0.1)}

    def dual(self, losses: cp.Expression, probabilities: Vector, given: Sequence[cp.Parameter]) -> Form:
        """η + radius·price + price·(mean of e^{(loss − η)/price} − 1), an exponential cone a scenario."""
        import cvxpy as cp

        (p, radius), possible = given, np.flatnonzero(probabilities > LEAST_PROBABILITY)
        count = len(possible)
        eta, price, weight, shifted = cp.Variable(), cp.Variable(nonneg=True), cp.Variable(count), cp.Variable(count)
        cone = cp.ExpCone(shifted, price * np.ones(count), weight)
        return eta + price * radius + p @ weight, [shifted >= losses[possible] - eta - price, cone]

    @classmethod
    def dual_forms(
        cls, sets: Sequence[Any], beliefs: Sequence[Vector], at: Sequence[Any], losses: cp.Expression
    ) -> Form:
        """The same of each node, its numbers compiled in."""
        import cvxpy as cp

        possible = [places[p > LEAST_PROBABILITY] for places, p in zip(at, beliefs, strict=True)]
        numbers = [one.dual_numbers(p) for one, p in zip(sets, beliefs, strict=True)]
        below, owner = np.concatenate(possible), owners(possible)
        eta, price = cp.Variable(len(sets)), cp.Variable(len(sets), nonneg=True)
        weight, shifted = cp.Variable(len(below)), cp.Variable(len(below))
        rows = [shifted >= losses[below] - eta[owner] - price[owner], cp.ExpCone(shifted, price[owner], weight)]
        radii, weights = np.array([one["radius"] for one in numbers]), means([one["probabilities"] for one in numbers])
        return eta + cp.multiply(radii, price) + weights @ weight, rows

    def _within(self, q: cp.Expression, p: Vector) -> cp.Constraint:
        import cvxpy as cp

        return cp.sum(cp.kl_div(q, p)) <= self.radius

    def room_along(self, probabilities: Vector, ways: Matrix, edge: Vector) -> Vector:
        """By Newton's method: relative entropy is convex along a way, so steps that overshoot come back."""
        p, most = np.where(probabilities > LEAST_PROBABILITY, probabilities, 1.0), edge * (1 - _ROOM)
        at = np.minimum(np.nan_to_num(np.sqrt(2 * self.radius / (ways**2 / p).sum(axis=1))), most)
        for _ in range(8):
            beliefs = np.maximum(probabilities + at[:, None] * ways, 0.0)
            logs = np.log(np.where(beliefs > 0, beliefs / p, 1.0))
            slope = (ways * logs).sum(axis=1)
            step = np.where(slope > 0, ((beliefs * logs).sum(axis=1) - self.radius) / slope, 0.0)
            at = np.clip(at - step, 0.0, most)
        return np.asarray(at * (1 - _ROOM), dtype=np.float64)


class ModifiedChiSquared(Divergence):
    """χ² distance to the belief at most `radius`: {q ≥ 0, Σq = 1, Σ (q − p)²/p ≤ radius}.

    While no probability would fall below 0 the adverse expectation is the mean plus √radius standard deviations of the
    losses.
    """

    name = "modified_chi2"

    @classmethod
    def radius_for(cls, distance: float) -> float:
        """The inequality of Cauchy and Schwarz."""
        return 4 * distance**2

    @classmethod
    def radius_to(cls, low: float, high: float, p: float) -> float:
        """Modified χ² of the farther belief in the answer, which is that of the scenarios too."""
        distance = super().radius_to(low, high, p)
        return 0.0 if distance < 1e-12 else cls._as_allowed(distance**2 / max(p * (1 - p), 1e-300))

    def distance(self, q: Vector, p: Vector) -> float:
        """Σ (q − p)²/p."""
        return float(np.sum((q - p) ** 2 / p))

    def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
        """q ∝ p·(loss − η)₊ with the one threshold η at which the distance is the radius.

        Over the scenarios above η, of mass S, mean loss m and variance v, it lies √(v / ((1 + radius)·S − 1)) below m.
        The mildest are left out one after the other until none of the others lies below its own threshold.
        """
        possible = probabilities > LEAST_PROBABILITY
        p, loss = _possible(probabilities), losses[possible]
        spread = float(np.ptp(loss))
        if self.is_singleton or spread <= 1e-15:
            return probabilities.copy()
        q = np.zeros_like(probabilities)
        q[possible] = _above_threshold((loss - loss.max()) / spread, p, self.radius)
        return q

    def dual_numbers(self, probabilities: Vector) -> dict[str, Any]:
        """Belief and radius: beyond the farthest scenario the ball is all, and more would only strain the solver."""
        p = _possible(probabilities)
        radius = min(self.radius, 1 / float(p.min()) - 1 + 0.1)
        return {"probabilities": p, "root of radius x probabilities": np.sqrt(radius * p)}

    def dual(self, losses: cp.Expression, probabilities: Vector, given: Sequence[cp.Parameter]) -> Form:
        """Mean + √radius·deviation of losses raised where a probability would fall below 0; the equal
        η + √(1 + radius)·‖√p∘(ℓ − η)₊‖ left one solve in ten short of the tolerance.
        """
        import cvxpy as cp

        (p, weight), possible = given, np.flatnonzero(probabilities > LEAST_PROBABILITY)
        centre, raised, length = cp.Variable(), cp.Variable(len(possible)), cp.Variable()
        rows = [raised >= losses[possible], cp.SOC(length, cp.multiply(weight, raised - centre))]
        return p @ raised + length, rows

    def _within(self, q: cp.Expression, p: Vector) -> cp.Constraint:
        import cvxpy as cp

        return cp.norm2(cp.multiply(q - p, 1 / np.sqrt(p))) <= np.sqrt(self.radius)

    def room_along(self, probabilities: Vector, ways: Matrix, edge: Vector) -> Vector:
        """The root of the radius over the length of the way."""
        p = np.where(probabilities > LEAST_PROBABILITY, probabilities, 1.0)
        length = np.sqrt((ways**2 / p).sum(axis=1))
        return np.where(length > 0, np.sqrt(self.radius) / length * (1 - _ROOM), edge)


def _possible(probabilities: Vector) -> Vector:
    """The belief in what it does not exclude."""
    possible = probabilities[probabilities > LEAST_PROBABILITY]
    return np.asarray(possible / possible.sum())


def _tilts(scaled: Matrix, p: Matrix, radius: float) -> Matrix:
    """(D, K) the tilts of this entropy; `scaled` losses are from −1 to 0.

    Entropy ϑ·mean − ln Σ p e^{ϑ·loss} rises with ϑ at ϑ·variance: Newton steps, halved or doubled where they leave
    what is known to hold the root.
    """
    low, high = np.zeros(len(p)), np.full(len(p), np.inf)
    at = np.sqrt(2 * radius / _moments(scaled, p)[1])
    for _ in range(_NEWTON_STEPS):
        q, total = _tilted(scaled, p, at)
        mean, variance = _moments(scaled, q)
        lacking = radius - (at * mean - np.log(total))
        low, high = np.where(lacking > 0, at, low), np.where(lacking > 0, high, at)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = at + lacking / (at * variance)
        beyond = np.where(np.isinf(high), 2 * at, (low + high) / 2)
        before, at = at, np.where((step > low) & (step < high), step, beyond)
        at = np.where(np.abs(lacking) <= 1e-15, before, at)
        if (np.abs(at - before) <= 1e-12 * before).all():
            break
    return _inside(scaled, p, at, radius)


def _moments(scaled: Matrix, q: Matrix) -> tuple[Vector, Vector]:
    mean = (q * scaled).sum(axis=1)
    return mean, (q * (scaled - mean[:, None]) ** 2).sum(axis=1)


def _inside(scaled: Matrix, p: Matrix, at: Vector, radius: float) -> Matrix:
    """The tilts of strengths `at`, a little weaker where rounding has put them outside."""
    q, back = _tilted(scaled, p, at)[0], 1e-16
    while (outside := rel_entr(q, p).sum(axis=1) > radius).any():
        back = min(2 * back, 1.0)
        at = np.where(outside, at * (1 - back), at)
        q = _tilted(scaled, p, at)[0]
    return q


def _tilted(scaled: Matrix, p: Matrix, strength: Vector) -> tuple[Matrix, Vector]:
    weight = p * np.exp(strength[:, None] * scaled)
    total = weight.sum(axis=1)
    return weight / total[:, None], total


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
            q = np.where(seen, np.maximum(p * (scaled - mean + below), 0.0), 0.0)
            return np.asarray(q / q.sum(), dtype=np.float64)
    worst = np.where(scaled >= 0, p, 0.0)
    return np.asarray(worst / worst.sum(), dtype=np.float64)
