"""Balls of a divergence from the belief: relative entropy and modified χ².

No member gives a probability to a scenario that the belief excludes, which one of probability 0 is and no other: an
adversary may raise one of a millionth to a hundredth. Below LEAST_RADIUS such a set is the belief itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import rel_entr

from allocator.ambiguity.balls import Ball, Singleton, owners
from allocator.ambiguity.sets import Ambiguity
from allocator.settings.uncertainty import AMBIGUITY_SETS
from allocator.types import Matrix, Vector

if TYPE_CHECKING:
    import cvxpy as cp

    from allocator.ambiguity.sets import Form

LEAST_RADIUS = 1e-6
"""Such a set below this is the belief itself (science F14)."""
_ROOM = 1e-9
"""Of a way: how far sampled beliefs keep from where a divergence ends."""
_NEWTON_STEPS = 200
_UNLIKELY = 0.01
"""Below this a scenario's row of a program is made as small as its probability is, relative to this."""
_LEAST_PULL, _PULLS = 1e-320, 60
"""Of the way to the belief: how weakly a scenario's probability is pulled at first, and how often that is halved."""


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
        possible = probabilities > 0
        if (q[~possible] > 0).any():
            return float("inf")
        return self.distance(q[possible], probabilities[possible]) - max(self.radius, 0.0)

    def project(self, q: Vector, probabilities: Vector) -> Vector:
        """Without what the belief excludes."""
        return super().project(np.where(probabilities > 0, q, 0.0), probabilities)

    def nearest(self, q: Vector, probabilities: Vector) -> Vector:
        """Pulled to the belief, the unlikelier the more: noise that is nothing beside a likely scenario's probability
        is all of a distance relative to an unlikely one's, and a straight way would end at its beginning.
        """
        member, (least, most) = probabilities.copy(), np.log([_LEAST_PULL, 1e6])
        for _ in range(_PULLS):
            middle = (least + most) / 2
            kept = probabilities / (probabilities + np.exp(middle))
            near = probabilities + (q - probabilities) * kept
            near = near / near.sum()
            inside = self.excess(near, probabilities) <= 0
            member = near if inside else member
            least, most = (least, middle) if inside else (middle, most)
        return member

    def support(self, probabilities: Vector) -> tuple[bool | int, ...]:
        """What the belief does not exclude."""
        return tuple(bool(p > 0) for p in probabilities)

    def members(self, q: cp.Expression, probabilities: Vector, mass: Any = 1.0) -> list[cp.Constraint]:
        """The divergence ≤ radius, and nothing of what the belief excludes."""
        excluded = np.flatnonzero(probabilities <= 0)
        inside = self._within(q[np.flatnonzero(probabilities > 0)], _possible(probabilities), mass)
        return [*inside, *([q[excluded] == 0] if len(excluded) else [])]

    @abstractmethod
    def _within(self, q: cp.Expression, p: Vector, mass: Any) -> list[cp.Constraint]:
        """The distance is within the radius."""

    @property
    @abstractmethod
    def width(self) -> float:
        """Of the ellipsoid {Σ (q − p)²/p ≤ width²} that the set is when small."""

    def ways(self, probabilities: Vector, draw: np.random.Generator, count: int) -> tuple[Matrix, int]:
        """As likely as the ellipsoid is wide: no tilt leads elsewhere. None goes below nothing before that ends, else
        an unlikely scenario would end every other way of all of them at once.
        """
        own = draw.normal(size=(count, len(probabilities)))
        least = -np.sqrt(probabilities) * np.linalg.norm(own, axis=1)[:, None] / self.width
        own = np.maximum(own, least) * np.sqrt(probabilities)
        ways = own - own.sum(axis=1, keepdims=True) * probabilities / probabilities.sum()
        return ways, max(int((probabilities > 0).sum()) - 1, 1)


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
        possible, p = probabilities > 0, probabilities / probabilities.sum(axis=1, keepdims=True)
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
        logs = np.log(_possible(probabilities))
        return {"one minus log of probabilities": 1 - logs, "radius": min(self.radius, 0.1 - float(logs.min()))}

    def dual(self, losses: cp.Expression, probabilities: Vector, given: Sequence[cp.Parameter]) -> Form:
        """η + radius·price + Σ weight with weight_k ≥ price·p_k·e^{(loss_k − η)/price − 1}, an exponential cone a
        scenario: with the p_k in its exponent none is too small for a solver.
        """
        import cvxpy as cp

        (rarity, radius), possible = given, np.flatnonzero(probabilities > 0)
        count = len(possible)
        eta, price, weight, shifted = cp.Variable(), cp.Variable(nonneg=True), cp.Variable(count), cp.Variable(count)
        cone = cp.ExpCone(shifted, price * np.ones(count), weight)
        return eta + price * radius + cp.sum(weight), [shifted >= losses[possible] - eta - rarity * price, cone]

    @classmethod
    def dual_forms(
        cls, sets: Sequence[Any], beliefs: Sequence[Vector], at: Sequence[Any], losses: cp.Expression
    ) -> Form:
        """The same of each node."""
        import cvxpy as cp
        import scipy.sparse as sp

        from allocator.cvxpy_parameters import FastParameter

        radii, rarity = map(FastParameter.of, cls.numbers_of_many(sets, beliefs))
        possible = [places[p > 0] for places, p in zip(at, beliefs, strict=True)]
        below, owner = np.concatenate(possible), owners(possible)
        eta, price = cp.Variable(len(sets)), cp.Variable(len(sets), nonneg=True)
        weight, shifted = cp.Variable(len(below)), cp.Variable(len(below))
        raised = losses[below] - eta[owner] - cp.multiply(rarity, price[owner])
        sums = sp.csr_array(sp.block_diag([np.ones((1, len(places))) for places in possible]))
        rows = [shifted >= raised, cp.ExpCone(shifted, price[owner], weight)]
        return eta + cp.multiply(radii, price) + sums @ weight, rows

    @classmethod
    def numbers_of_many(cls, sets: Sequence[Any], beliefs: Sequence[Vector]) -> Iterator[Any]:
        """Radii and beliefs, as `dual_numbers` has them."""
        numbers = [one.dual_numbers(p) for one, p in zip(sets, beliefs, strict=True)]
        yield np.array([one["radius"] for one in numbers])
        yield np.concatenate([one["one minus log of probabilities"] for one in numbers])

    @property
    def width(self) -> float:
        """To second order entropy is half of it."""
        return float(np.sqrt(2 * self.radius))

    def _within(self, q: cp.Expression, p: Vector, mass: Any) -> list[cp.Constraint]:
        import cvxpy as cp

        return [cp.sum(cp.rel_entr(q, mass * np.ones(len(p)))) - np.log(p) @ q <= self.radius * mass]

    def room_along(self, probabilities: Vector, ways: Matrix, edge: Vector) -> Vector:
        """By Newton's method: relative entropy is convex along a way, so steps that overshoot come back."""
        p, most = np.where(probabilities > 0, probabilities, 1.0), edge * (1 - _ROOM)
        at = np.minimum(np.nan_to_num(self.width / np.sqrt((ways**2 / p).sum(axis=1))), most)
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
        possible = probabilities > 0
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
        size, weights = np.minimum(np.sqrt(p / _UNLIKELY), 1.0), np.sqrt(min(self.radius, 1 / p.min() - 0.9) * p)
        return {"size": size, "probabilities / size": p / size, "weights / size": weights / size, "weights": weights}

    def dual(self, losses: cp.Expression, probabilities: Vector, given: Sequence[cp.Parameter]) -> Form:
        """Mean + √radius·deviation of losses raised where a probability would fall below 0; the equal
        η + √(1 + radius)·‖√p∘(ℓ − η)₊‖ left one solve in ten short of the tolerance, and so did raised losses of
        unlikely scenarios as they are, or of likely ones times √p.
        """
        import cvxpy as cp

        (size, mean, around, weights), possible = given, np.flatnonzero(probabilities > 0)
        centre, raised, length = cp.Variable(), cp.Variable(len(possible)), cp.Variable()
        away = cp.multiply(around, raised) - weights * centre
        return mean @ raised + length, [raised >= cp.multiply(size, losses[possible]), cp.SOC(length, away)]

    @property
    def width(self) -> float:
        """At any size, inside the simplex."""
        return float(np.sqrt(self.radius))

    def _within(self, q: cp.Expression, p: Vector, mass: Any) -> list[cp.Constraint]:
        import cvxpy as cp

        away = cp.Variable(len(p))
        return [q == mass * p + cp.multiply(np.sqrt(p), away), cp.norm2(away) <= self.width * mass]

    def room_along(self, probabilities: Vector, ways: Matrix, edge: Vector) -> Vector:
        """The root of the radius over the length of the way."""
        length = np.sqrt((ways**2 / np.where(probabilities > 0, probabilities, 1.0)).sum(axis=1))
        return np.where(length > 0, self.width / length * (1 - _ROOM), edge)


def _possible(probabilities: Vector) -> Vector:
    """The belief in what it does not exclude."""
    possible = probabilities[probabilities > 0]
    return np.asarray(possible / possible.sum())


def _tilts(scaled: Matrix, p: Matrix, radius: float) -> Matrix:
    """(D, K) the tilts of this entropy; `scaled` losses are from −1 to 0.

    Entropy ϑ·mean − ln Σ p e^{ϑ·loss} rises with ϑ at ϑ·variance, which is at most a quarter: Newton steps, halved or
    doubled, in logarithms, where they leave what is known to hold the root.
    """
    low, high = np.full(len(p), np.sqrt(8 * radius)), np.full(len(p), np.inf)
    at = np.maximum(np.sqrt(2 * radius / np.maximum(_moments(scaled, p)[1], 1e-300)), low)
    for _ in range(_NEWTON_STEPS):
        q, total = _tilted(scaled, p, at)
        mean, variance = _moments(scaled, q)
        lacking = radius - (at * mean - np.log(total))
        low, high = np.where(lacking > 0, at, low), np.where(lacking > 0, high, at)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = at + lacking / (at * variance)
        beyond = np.where(np.isinf(high), 4 * at, np.sqrt(low) * np.sqrt(high))
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
        away = scaled - scaled[np.argmax(np.where(seen, p, 0.0))]  # from the likeliest, which keeps the last digits
        mean = float(p[seen] @ away[seen]) / mass
        below = np.sqrt(float(p[seen] @ (away[seen] - mean) ** 2) / mass / ((1 + radius) * mass - 1))
        if mean - below <= away[seen].min():
            q = np.where(seen, np.maximum(p * (away - mean + below), 0.0), 0.0)
            return np.asarray(q / q.sum(), dtype=np.float64)
    worst = np.where(scaled >= 0, p, 0.0)
    return np.asarray(worst / worst.sum(), dtype=np.float64)
