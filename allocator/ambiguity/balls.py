"""Sets with flat faces that need nothing but the belief and at most a radius, whatever the number of scenarios."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from allocator.ambiguity.sets import (
    PROBABILITY_SHIFT,
    Ambiguity,
    LinearDual,
    NewInformation,
    current_radius,
    radius_after,
    weighted_sums,
)
from allocator.book.book import Book
from allocator.outlook.outlook import Outlook
from allocator.settings.uncertainty import ReachSection
from allocator.types import Matrix, Vector

if TYPE_CHECKING:
    import cvxpy as cp

    from allocator.ambiguity.sets import Form


@dataclass(frozen=True)
class Singleton(Ambiguity):
    """The stated probabilities are right: {p}."""

    name = "none"
    guards = False
    keeps_every_scenario = True

    def adversaries(self, losses: Matrix, probabilities: Matrix) -> Matrix:
        """The beliefs themselves."""
        return probabilities.copy()

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """max |q − p|."""
        return float(np.abs(q - probabilities).max())

    def dual_numbers(self, probabilities: Vector) -> dict[str, Any]:
        """The belief."""
        return {"probabilities": probabilities}

    def dual(self, losses: cp.Expression, probabilities: Vector, given: Sequence[cp.Parameter]) -> Form:
        """p'losses."""
        return given[0] @ losses, []

    def linear_dual(self, probabilities: Vector) -> LinearDual:
        """p'losses."""
        count = len(probabilities)
        return LinearDual(probabilities, np.zeros(0), np.zeros(0, bool), np.zeros((0, count)), np.zeros((0, 0)))

    def members(self, q: cp.Expression, probabilities: Vector, mass: Any = 1.0) -> list[cp.Constraint]:
        """q = p."""
        return [q == mass * probabilities]

    def widened(self) -> Ambiguity:
        """Everything within the shift."""
        return TotalVariation(PROBABILITY_SHIFT)

    def words(self, robust: ReachSection | None) -> str:
        """That there is no other."""
        return "the stated probabilities alone"


@dataclass(frozen=True)
class AnyProbabilities(Ambiguity):
    """Any probabilities at all: {q ≥ 0, Σq = 1}."""

    name = "worst"

    def adversaries(self, losses: Matrix, probabilities: Matrix) -> Matrix:
        """Certainty of the worst scenario."""
        q = np.zeros_like(probabilities)
        q[np.arange(len(losses)), losses.argmax(axis=1)] = 1.0
        return q

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """Every probability vector is inside."""
        return 0.0

    def dual_numbers(self, probabilities: Vector) -> dict[str, Any]:
        """None."""
        return {}

    def dual(self, losses: cp.Expression, probabilities: Vector, given: Sequence[cp.Parameter]) -> Form:
        """The largest loss."""
        import cvxpy as cp

        largest = cp.Variable()
        return largest, [largest >= losses]

    def linear_dual(self, probabilities: Vector) -> LinearDual:
        """The largest loss."""
        count = len(probabilities)
        return LinearDual.of(count, [1.0], [True], np.eye(count), -np.ones((count, 1)))

    def members(self, q: cp.Expression, probabilities: Vector, mass: Any = 1.0) -> list[cp.Constraint]:
        """No constraint."""
        return []

    def words(self, robust: ReachSection | None) -> str:
        """That it is all."""
        return "any probabilities at all"


@dataclass(frozen=True)
class Ball(Ambiguity):
    """All within a `radius` of the belief that a schedule of the book may tell."""

    radius: float

    @classmethod
    def on_axis(cls, radius: float, experts: Matrix) -> Self:
        """At that radius."""
        del experts
        return cls(radius)

    def at_caution(self, answer: float, regime: float = 0.0) -> Self:
        """The radius of so much of the way."""
        del regime
        return replace(self, radius=self.radius * self.radius_for(answer) / self.radius_for(1.0))

    @classmethod
    def from_book(cls, book: Book, outlook: Outlook) -> Self:
        """As far as the schedule makes it."""
        return cls(current_radius(book, outlook))

    def at_node(self, book: Book, beliefs: Vector, news: NewInformation) -> Self:
        """As far as the schedule makes it by then."""
        return replace(self, radius=radius_after(book, beliefs, news.signals, news.told, news.question))

    def widened(self) -> Ambiguity:
        """At least as wide as the shift."""
        return replace(self, radius=max(self.radius, self.radius_for(PROBABILITY_SHIFT)))

    def words(self, robust: ReachSection | None) -> str:
        """The distance, and how far."""
        why = "" if robust is None or robust.schedule == "fixed" else f", by schedule {robust.schedule}"
        return f"{self.name.replace('_', ' ')} within {self.radius:.3g}{why}"


class TotalVariation(Ball):
    """Within `radius` of the belief in total variation: {q ≥ 0, Σq = 1, ½‖q − p‖₁ ≤ radius}."""

    name = "total_variation"
    batched = True

    def adversaries(self, losses: Matrix, probabilities: Matrix) -> Matrix:
        """Mass moved from the smallest losses to the largest, as far as the radius allows."""
        worst = np.arange(len(losses)), losses.argmax(axis=1)
        others = probabilities.copy()
        others[worst] = 0.0
        taken = _filled(others, np.argsort(losses, axis=1, kind="stable"), np.full(len(losses), self.radius))
        q: Matrix = probabilities - taken
        q[worst] += taken.sum(axis=1)
        return q

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """½‖q − p‖₁ − radius."""
        return float(np.abs(q - probabilities).sum() / 2 - self.radius)

    def dual_numbers(self, probabilities: Vector) -> dict[str, Any]:
        """The belief, what may move and what stays."""
        return {"probabilities": probabilities, "radius": self.radius, "one minus radius": 1 - self.radius}

    def dual(self, losses: cp.Expression, probabilities: Vector, given: Sequence[cp.Parameter]) -> Form:
        """A radius of the largest loss, and of the others what lies above a level η."""
        import cvxpy as cp

        p, moved, stays = given
        eta, largest, above = cp.Variable(), cp.Variable(), cp.Variable(len(probabilities), nonneg=True)
        rows = [above >= losses - eta, largest >= losses, largest >= eta]
        return moved * largest + stays * eta + p @ above, rows

    @classmethod
    def dual_forms(
        cls, sets: Sequence[Any], beliefs: Sequence[Vector], at: Sequence[Any], losses: cp.Expression
    ) -> Form:
        """The same of each node."""
        import cvxpy as cp

        from allocator.cvxpy_parameters import FastParameter

        numbers = [*cls.numbers_of_many(sets, beliefs)]
        radii, (below, owner) = FastParameter.of(numbers[0]), (np.concatenate(at), owners(at))
        eta, largest = cp.Variable(len(sets)), cp.Variable(len(sets))
        above = cp.Variable(len(below), nonneg=True)
        rows = [above >= losses[below] - eta[owner], largest[owner] >= losses[below], largest >= eta]
        mean = weighted_sums(numbers[1], above, np.split(np.arange(len(below)), np.flatnonzero(np.diff(owner)) + 1))
        return cp.multiply(radii, largest) + cp.multiply(1 - radii, eta) + mean, rows

    @classmethod
    def numbers_of_many(cls, sets: Sequence[Any], beliefs: Sequence[Vector]) -> Iterator[Any]:
        """The radii, and the beliefs."""
        yield np.array([one.radius for one in sets])
        yield np.concatenate(beliefs)

    def linear_dual(self, probabilities: Vector) -> LinearDual:
        """The largest loss, the level and what lies above it."""
        count, one = len(probabilities), np.ones((len(probabilities), 1))
        cost, free = [self.radius, 1 - self.radius, probabilities], [1, 1, 0 * probabilities]
        nothing = np.zeros((1, count))
        rows: list[list[Matrix]] = [
            [0 * one, -one, -np.eye(count)],
            [-one, 0 * one, np.zeros((count, count))],
            [-one[:1], one[:1], nothing],
        ]
        return LinearDual.of(count, cost, free, [[np.eye(count)], [np.eye(count)], [nothing]], rows)

    def members(self, q: cp.Expression, probabilities: Vector, mass: Any = 1.0) -> list[cp.Constraint]:
        """‖q − p‖₁ ≤ 2·radius."""
        import cvxpy as cp

        return [cp.norm1(q - mass * probabilities) <= 2 * self.radius * mass]

    def room_along(self, probabilities: Vector, ways: Matrix, edge: Vector) -> Vector:
        """The radius over the length of the way."""
        return np.asarray(self.radius / (np.abs(ways).sum(axis=1) / 2), dtype=np.float64)


class Box(Ball):
    """Each probability within `radius` of the belief: {q ≥ 0, Σq = 1, |q_k − p_k| ≤ radius}."""

    name = "box"

    def bounds(self, probabilities: Matrix) -> tuple[Matrix, Matrix]:
        """Lowest and highest probability of each scenario."""
        return np.maximum(probabilities - self.radius, 0.0), np.minimum(probabilities + self.radius, 1.0)

    def adversaries(self, losses: Matrix, probabilities: Matrix) -> Matrix:
        """Everything at its lowest, then the largest losses filled up first."""
        low, high = self.bounds(probabilities)
        largest_first = np.argsort(-losses, axis=1, kind="stable")
        return np.asarray(low + _filled(high - low, largest_first, 1 - low.sum(axis=1)))

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """max |q − p| − radius."""
        return float(np.abs(q - probabilities).max() - self.radius)

    def dual_numbers(self, probabilities: Vector) -> dict[str, Any]:
        """The bounds."""
        low, high = self.bounds(probabilities)
        return {"lowest": low, "highest": high}

    def dual(self, losses: cp.Expression, probabilities: Vector, given: Sequence[cp.Parameter]) -> Form:
        """What lies above a level η at the highest probabilities, and what lies below at the lowest."""
        import cvxpy as cp

        (low, high), count = given, len(probabilities)
        eta, up, down = cp.Variable(), cp.Variable(count, nonneg=True), cp.Variable(count, nonneg=True)
        return eta + high @ up - low @ down, [losses <= eta + up - down]

    def linear_dual(self, probabilities: Vector) -> LinearDual:
        """The level, what lies above it and what below."""
        (low, high), count = self.bounds(probabilities), len(probabilities)
        rows = [[-np.ones((count, 1)), -np.eye(count), np.eye(count)]]
        return LinearDual.of(count, [1.0, high, -low], [1, np.zeros(2 * count)], np.eye(count), rows)

    def members(self, q: cp.Expression, probabilities: Vector, mass: Any = 1.0) -> list[cp.Constraint]:
        """|q − p| ≤ radius."""
        import cvxpy as cp

        return [cp.abs(q - mass * probabilities) <= self.radius * mass]

    def room_along(self, probabilities: Vector, ways: Matrix, edge: Vector) -> Vector:
        """The radius over the largest step of the way."""
        return np.asarray(self.radius / np.abs(ways).max(axis=1), dtype=np.float64)


class Contamination(Ball):
    """With probability `radius` the belief is beside the point: {(1 − radius)·p + radius·r, r any probabilities}."""

    name = "contamination"

    @classmethod
    def radius_to(cls, low: float, high: float, p: float) -> float:
        """The largest part of an answer's probability that one of the two beliefs takes from it."""
        return max(1 - low / p if p > 0 else 0.0, 1 - (1 - high) / (1 - p) if p < 1 else 0.0, 0.0)

    def adversaries(self, losses: Matrix, probabilities: Matrix) -> Matrix:
        """The same part of every probability moved to the worst scenario."""
        q: Matrix = (1 - self.radius) * probabilities
        q[np.arange(len(losses)), losses.argmax(axis=1)] += self.radius
        return q

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """max ((1 − radius)·p − q): by how much some probability has given more than its part."""
        return float(((1 - self.radius) * probabilities - q).max())

    def nearest(self, q: Vector, probabilities: Vector) -> Vector:
        """What every probability keeps, and the rest shared out as `q` does: the way to p could be long."""
        kept = (1 - self.radius) * probabilities
        beside = np.maximum(q - kept, 0.0)
        if beside.sum() <= 0 or self.radius <= 0:
            return probabilities.copy()
        member: Vector = kept + self.radius * beside / beside.sum()
        return member

    def dual_numbers(self, probabilities: Vector) -> dict[str, Any]:
        """What stays of each probability, and what may go."""
        return {"what stays": (1 - self.radius) * probabilities, "radius": self.radius}

    def dual(self, losses: cp.Expression, probabilities: Vector, given: Sequence[cp.Parameter]) -> Form:
        """A part of the mean, and the rest of the largest loss."""
        import cvxpy as cp

        (stays, moved), largest = given, cp.Variable()
        return stays @ losses + moved * largest, [largest >= losses]

    def linear_dual(self, probabilities: Vector) -> LinearDual:
        """The largest loss, beside a part of the mean."""
        count, stays = len(probabilities), (1 - self.radius) * probabilities
        return LinearDual.of(count, [self.radius], [True], np.eye(count), -np.ones((count, 1)), stays)

    def members(self, q: cp.Expression, probabilities: Vector, mass: Any = 1.0) -> list[cp.Constraint]:
        """q ≥ (1 − radius)·p."""
        return [q >= mass * ((1 - self.radius) * probabilities)]

    def room_along(self, probabilities: Vector, ways: Matrix, edge: Vector) -> Vector:
        """The simplex, drawn together around the belief."""
        return np.asarray(self.radius * edge, dtype=np.float64)


def _filled(room: Matrix, order: NDArray[np.int64], left: Vector) -> Matrix:
    """(D, K) `left` (D,) shared out over the `room` in its `order`, as far as it goes."""
    at = np.arange(len(order))[:, None], order
    ordered, shared = room[at], np.zeros_like(room)
    before = np.cumsum(ordered, axis=1) - ordered
    shared[at] = np.minimum(np.maximum(left[:, None] - before, 0.0), ordered)
    return shared


def owners(at: Sequence[Any]) -> NDArray[np.int64]:
    """Of many nodes' places one after the other, whose each is."""
    return np.repeat(np.arange(len(at)), [len(places) for places in at])
