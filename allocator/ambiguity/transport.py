"""Transport between scenarios: probability moves to similar ones first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from allocator.ambiguity.polyhedral import ScenarioSet, best_of, nearest_member, noticed
from allocator.ambiguity.sets import LinearDual
from allocator.book.book import Book
from allocator.outlook.outlook import Outlook
from allocator.settings.uncertainty import RobustSection
from allocator.types import Matrix, Vector

if TYPE_CHECKING:
    import cvxpy as cp

    from allocator.ambiguity.sets import Form


@dataclass(frozen=True, eq=False)
class Wasserstein(ScenarioSet):
    """Within `radius` of the belief in transport: {q: some T ≥ 0 with T1 = p, T'1 = q, Σ T∘metric ≤ radius}.

    `metric` (K, K) is what moving a unit of probability from scenario j to k costs, 0 for j = k; mass goes to similar
    scenarios first. Where two different scenarios have no distance, mass moves between them freely.
    """

    radius: float
    metric: Matrix

    name = "wasserstein"

    def __post_init__(self) -> None:
        count = len(self.metric)
        if self.metric.shape != (count, count) or (self.metric < 0).any() or np.diag(self.metric).any():
            raise ValueError("metric must be a square of distances of 0 or more, with 0 on its diagonal")

    @classmethod
    def from_book(cls, book: Book, outlook: Outlook) -> Self:
        """The weighted L1 distance in the coordinates that `[robust.metric]` names."""
        scenarios, robust = book.settings.scenarios.values(), book.settings.robust
        places = np.array([[float(getattr(scenario, name)) for name in robust.metric] for scenario in scenarios])
        distances = np.abs(places[:, None, :] - places[None, :, :]) @ list(robust.metric.values())
        return cls(robust.radius, np.asarray(distances, dtype=np.float64))

    def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
        """(K,) the moves that gain most for what they cost, until the radius is used up."""
        q, left = np.zeros_like(probabilities), self.radius
        moves: list[tuple[float, float, int, int, int]] = []
        for j in map(int, np.flatnonzero(probabilities > 0)):
            at = free = _best(losses, self.metric[j] <= 0)
            q[free] += probabilities[j]
            while (following := _steepest(losses, self.metric[j], at)) is not None:
                slope, to = following
                moves.append((-slope, float(self.metric[j, to] - self.metric[j, at]), j, at, to))
                at = to
        for _, cost, j, start, to in sorted(moves):  # of one source they come in order: its slopes fall
            part = min(float(probabilities[j]) * cost, left)
            left -= part
            moved = float(probabilities[j]) if part == probabilities[j] * cost else part / cost
            q[start] -= moved
            q[to] += moved
        return np.maximum(q, 0.0)

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """The cheapest transport from p to q, less radius; 0 where rounding could not tell."""
        return noticed(float((self.witness(q, probabilities) * self.metric).sum()) - self.radius)

    def witness(self, q: Vector, probabilities: Vector) -> Matrix:
        """(K, K) the cheapest transport from p to q."""
        count = len(q)
        rights = np.concatenate([probabilities, q * (probabilities.sum() / q.sum())])
        told = np.arange(2 * count) != count + int(np.argmax(q))  # one row follows from the others, up to rounding
        plan = best_of(self.metric.ravel(), None, None, np.vstack(_sums(count))[told], rights[told])
        return _balanced(plan.reshape(count, count), probabilities)

    def nearest(self, q: Vector, probabilities: Vector) -> Vector:
        """(K,) the member with the least sum of differences from q."""
        from_each, to_each = _sums(len(q))
        within = (self.metric.reshape(1, -1), np.array([self.radius]))
        plan = nearest_member(to_each, q, (from_each, probabilities), within)
        member: Vector = _balanced(plan.reshape(self.metric.shape), probabilities).sum(axis=0)
        return member

    def support(self, probabilities: Vector) -> tuple[bool | int, ...]:
        """Transport starts from possible scenarios; with nothing to spend it goes where there is no distance."""
        free = () if self.radius > 0 else tuple(map(bool, np.ravel(self.metric <= 0)))
        return (*(bool(p > 0) for p in probabilities), *free)

    def dual_numbers(self, probabilities: Vector) -> dict[str, Any]:
        """Beyond the largest distance everything can move, and a larger radius would only strain the solver."""
        sources = probabilities > 0
        radius = min(self.radius, 1.1 * float(self.metric.max(initial=0.0)))
        return {"probabilities": probabilities[sources], "metric": self.metric[sources], "radius": radius}

    def dual(self, losses: cp.Expression, probabilities: Vector, given: Sequence[cp.Parameter]) -> Form:
        """radius·price + p'worth, with worth_j ≥ loss_k − price·metric_jk; at radius 0 the price of distance has no
        limit, and what costs nothing is structure.
        """
        import cvxpy as cp

        (p, metric, radius), sources = given, np.flatnonzero(probabilities > 0)
        price, worth = cp.Variable(nonneg=True), cp.Variable(len(sources))
        if self.radius == 0:
            free = [np.flatnonzero(self.metric[source] <= 0) for source in sources]
            return p @ worth, [worth[j] >= losses[to] for j, to in enumerate(free)]
        rows = [worth[j] >= losses - cp.multiply(metric[j], price) for j in range(len(sources))]
        return price * radius + p @ worth, rows

    def linear_dual(self, probabilities: Vector) -> LinearDual:
        """The price of distance and the worth of each source."""
        p, metric, radius = self.dual_numbers(probabilities).values()
        if self.radius == 0:
            sources = self.metric[probabilities > 0]
            source, to = np.nonzero(sources <= 0)
            worth, price = -np.eye(len(p))[source], np.zeros((len(source), 1))
        else:
            source, to = (each.ravel() for each in np.indices(metric.shape))
            worth, price = -np.eye(len(p))[source], -metric.reshape(-1, 1)
        losses, free = np.eye(len(probabilities))[to], [False, np.ones(len(p))]
        return LinearDual.of(len(probabilities), [radius, p], free, losses, [[price, worth]])

    def members(self, q: cp.Expression, probabilities: Vector, mass: Any = 1.0) -> list[cp.Constraint]:
        """A transport from p to q."""
        import cvxpy as cp

        moved = cp.Variable(self.metric.shape, nonneg=True)
        sums = [cp.sum(moved, axis=1) == mass * probabilities, cp.sum(moved, axis=0) == q]
        return [*sums, cp.sum(cp.multiply(self.metric, moved)) <= self.radius * mass]

    def table(self, probabilities: Vector) -> Matrix:
        """The metric."""
        return self.metric

    def words(self, robust: RobustSection) -> str:  # type: ignore[override]
        """What distances are of, and how far."""
        return f"wasserstein over {', '.join(robust.metric)} within {self.radius:.3g}"


def _best(losses: Vector, among: Vector) -> int:
    return int(np.flatnonzero(among)[np.argmax(losses[among])])


def _steepest(losses: Vector, distances: Vector, at: int) -> tuple[float, int] | None:
    """The scenario that gains most for each further unit of distance, the farthest of equals; None where none gains."""
    ahead = np.flatnonzero((losses > losses[at]) & (distances > distances[at]))
    if not len(ahead):
        return None
    slopes = (losses[ahead] - losses[at]) / (distances[ahead] - distances[at])
    best = max(range(len(ahead)), key=lambda i: (slopes[i], distances[ahead[i]]))
    return float(slopes[best]), int(ahead[best])


def _sums(count: int) -> tuple[Matrix, Matrix]:
    """What makes of a transport, row by row, the sums from each scenario and to each."""
    eye, ones = np.eye(count), np.ones(count)
    return np.asarray(np.kron(eye, ones), dtype=np.float64), np.asarray(np.kron(ones, eye), dtype=np.float64)


def _balanced(plan: Matrix, probabilities: Vector) -> Matrix:
    """The transport with its noise taken out: no negative part, and from each scenario exactly what it has."""
    clean = np.maximum(plan, 0.0)
    sums = clean.sum(axis=1, keepdims=True)
    shared = np.where(sums > 0, clean / np.where(sums > 0, sums, 1.0), np.eye(len(plan)))
    result: Matrix = shared * probabilities[:, None]
    return result
