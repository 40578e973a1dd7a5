"""Ambiguity sets with flat faces that say more than how far: transport between scenarios, experts, stated limits.

Each is a polytope that may be flat (fewer experts than scenarios, an equality among the limits), so that each gives its
`nearest` member. `witness` are the numbers from which a stranger sees that a member is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb

import numpy as np
from scipy.optimize import linprog

from allocator.errors import NotSolved
from allocator.types import Matrix, Vector

MOST_CORNERS = 20_000
"""Beyond so many candidates a polytope is asked by a linear program each time, and not by its corners."""
_ROUNDING = 1e-12
"""Of a probability, or of a distance: nearer than this is inside."""


@dataclass(frozen=True, eq=False)
class Wasserstein:
    """Within `radius` of the belief in transport: {q: some T ≥ 0 with T1 = p, T'1 = q, Σ T∘metric ≤ radius}.

    `metric` (K, K) is what moving a unit of probability from scenario j to k costs, 0 for j = k; mass goes to similar
    scenarios first. Where two different scenarios have no distance, mass moves between them freely.
    """

    radius: float
    metric: Matrix

    def __post_init__(self) -> None:
        count = len(self.metric)
        if self.metric.shape != (count, count) or (self.metric < 0).any() or np.diag(self.metric).any():
            raise ValueError("metric must be a square of distances of 0 or more, with 0 on its diagonal")

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
        return _told(float((self.witness(q, probabilities) * self.metric).sum()) - self.radius)

    def witness(self, q: Vector, probabilities: Vector) -> Matrix:
        """(K, K) the cheapest transport from p to q."""
        count = len(q)
        sums = np.vstack([np.kron(np.eye(count), np.ones(count)), np.kron(np.ones(count), np.eye(count))])
        rights = np.concatenate([probabilities, q * (probabilities.sum() / q.sum())])
        told = np.arange(2 * count) != count + int(np.argmax(q))  # one row follows from the others, up to rounding
        plan = _solved(self.metric.ravel(), None, None, sums[told], rights[told])
        return _balanced(plan.reshape(count, count), probabilities)

    def nearest(self, q: Vector, probabilities: Vector) -> Vector:
        """(K,) the member with the least sum of differences from q."""
        count = len(q)
        from_each = np.asarray(np.kron(np.eye(count), np.ones(count)), dtype=np.float64)
        to_each = np.asarray(np.kron(np.ones(count), np.eye(count)), dtype=np.float64)
        plan = _nearest(
            to_each,
            q,
            equal=(from_each, probabilities),
            below=(self.metric.reshape(1, -1), np.array([self.radius])),
        )
        member: Vector = _balanced(plan.reshape(count, count), probabilities).sum(axis=0)
        return member


@dataclass(frozen=True, eq=False)
class ExpertHull:
    """Any mixture of the belief and the experts': {w₀·p + Σ w_m·experts_m, w ≥ 0, Σw = 1}.

    `experts` (M, K) are probabilities. The belief is one more vertex, so that it is always among what is guarded
    against, and taking an expert in can only widen the set.
    """

    experts: Matrix

    def vertices(self, probabilities: Vector) -> Matrix:
        """(M + 1, K) the belief first."""
        return np.vstack([probabilities, self.experts])

    def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
        """(K,) the expert who expects the largest loss; the belief where none expects more."""
        vertices = self.vertices(probabilities)
        worst: Vector = vertices[int(np.argmax(vertices @ losses))].copy()
        return worst

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """Half the sum of differences from the nearest mixture; 0 where rounding could not tell."""
        return _told(float(np.abs(q - self.nearest(q, probabilities)).sum()) / 2)

    def witness(self, q: Vector, probabilities: Vector) -> Vector:
        """(M + 1,) the weights of the nearest mixture, the belief's first."""
        count = len(self.experts) + 1
        weights = _nearest(self.vertices(probabilities).T, q, equal=(np.ones((1, count)), np.ones(1)))
        found: Vector = weights / weights.sum()
        return found

    def nearest(self, q: Vector, probabilities: Vector) -> Vector:
        """(K,) the member with the least sum of differences from q."""
        member: Vector = self.witness(q, probabilities) @ self.vertices(probabilities)
        return member


@dataclass(frozen=True, eq=False)
class Polytope:
    """All probabilities within stated limits: {q ≥ 0, Σq = 1, matrix·q ≤ limits}.

    `matrix` (R, K), `limits` (R,). The belief must be inside (`excess(p, p) ≤ 0`); whoever makes the set refuses it
    otherwise.
    """

    matrix: Matrix
    limits: Vector

    @cached_property
    def corners(self) -> Matrix | None:
        """(V, K) every corner; None where there are too many to look through."""
        rows, count = self.matrix.shape
        if comb(rows + count, count - 1) > MOST_CORNERS:
            return None
        size = np.maximum(np.abs(self.matrix).max(axis=1, initial=0.0), 1e-300)[:, None]
        sides = np.vstack([np.hstack([self.matrix, self.limits[:, None]]) / size, np.eye(count, count + 1) * -1])
        chosen = np.array(list(combinations(range(rows + count), count - 1)), dtype=int)
        systems = np.concatenate([np.ones((len(chosen), 1, count + 1)), sides[chosen]], axis=1)
        regular = np.abs(np.linalg.det(systems[:, :, :-1])) > _ROUNDING
        points = np.linalg.solve(systems[regular, :, :-1], systems[regular, :, -1:])[..., 0]
        sound = (points @ sides[:, :-1].T <= sides[:, -1] + _ROUNDING).all(axis=1)
        corners: Matrix = np.maximum(points[sound], 0.0)
        return np.unique(corners / corners.sum(axis=1, keepdims=True), axis=0)

    def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
        """(K,) the corner with the largest expected loss; the belief where none has more."""
        if self.corners is None:
            worst = self._by_program(losses)
        elif not len(self.corners):
            return probabilities.copy()
        else:
            worst = self.corners[int(np.argmax(self.corners @ losses))].copy()
        return worst if worst @ losses > probabilities @ losses else probabilities.copy()

    def _by_program(self, losses: Vector) -> Vector:
        ones = np.ones((1, len(losses)))
        worst = _solved(-losses, self.matrix, self.limits, ones, np.ones(1))
        member: Vector = worst / worst.sum()
        return member

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """max (matrix·q − limits); 0 where rounding could not tell."""
        del probabilities
        return _told(float((self.matrix @ q - self.limits).max(initial=-1.0)))

    def nearest(self, q: Vector, probabilities: Vector) -> Vector:
        """(K,) the member with the least sum of differences from q."""
        del probabilities
        count = len(q)
        found = _nearest(np.eye(count), q, equal=(np.ones((1, count)), np.ones(1)), below=(self.matrix, self.limits))
        member: Vector = found / found.sum()
        return member


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


def _told(excess: float) -> float:
    return excess if abs(excess) > _ROUNDING else 0.0


def _balanced(plan: Matrix, probabilities: Vector) -> Matrix:
    """The transport with its noise taken out: no negative part, and from each scenario exactly what it has."""
    clean = np.maximum(plan, 0.0)
    sums = clean.sum(axis=1, keepdims=True)
    shared = np.where(sums > 0, clean / np.where(sums > 0, sums, 1.0), np.eye(len(plan)))
    result: Matrix = shared * probabilities[:, None]
    return result


def _nearest(
    members: Matrix,
    q: Vector,
    *,
    equal: tuple[Matrix, Vector],
    below: tuple[Matrix, Vector] | None = None,
) -> Vector:
    """(n,) x ≥ 0 under the two kinds of rows with the least Σ|members·x − q|."""
    count, width = members.shape
    eye = np.eye(count)
    upper = [np.hstack([members, -eye]), np.hstack([-members, -eye])]
    limits = [q, -q]
    if below is not None:
        upper.append(np.hstack([below[0], np.zeros((len(below[1]), count))]))
        limits.append(below[1])
    found = _solved(
        np.concatenate([np.zeros(width), np.ones(count)]),
        np.vstack(upper),
        np.concatenate(limits),
        np.hstack([equal[0], np.zeros((len(equal[1]), count))]),
        equal[1],
    )
    return found[:width]


def _solved(costs: Vector, above: Matrix | None, most: Vector | None, equal: Matrix, rights: Vector) -> Vector:
    """The x ≥ 0 of the least costs'x under above·x ≤ most and equal·x = rights.

    Raises:
        NotSolved: no answer; a presolve that stumbles over rounding is left out first.
    """
    for presolve in (True, False):
        options = {"presolve": presolve, "primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
        found = linprog(costs, above, most, equal, rights, method="highs", options=options)
        if found.status == 0:
            best: Vector = np.maximum(found.x, 0.0)
            return best
    raise NotSolved(f"a linear program over scenario probabilities ended without an answer: {found.message}")
