"""Ambiguity sets that speak of scenarios by name: experts and stated limits here, transport in a file of its own.

Each is a polytope that may be flat (fewer experts than scenarios, an equality among the limits), so that each gives its
`nearest` member in any direction: the way to the belief could be long. At a node of a tree they are pushed forward by
the news. A branch m comes with probability P(m | k) in scenario k, so probabilities q of the scenarios make
Σ_k q_k·P(m | k) of the branches, and an adverse expectation over branches is one over scenarios whose losses are what
the branches bring in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from allocator.ambiguity.balls import TotalVariation
from allocator.ambiguity.sets import PROBABILITY_SHIFT, Ambiguity, LinearDual, NewInformation, NodeSetDocument
from allocator.book.book import Book
from allocator.errors import BadMandate, Breach, NotSolved
from allocator.outlook.outlook import Outlook
from allocator.outlook.posterior import bayes_update
from allocator.settings.reading import dotted_key
from allocator.settings.uncertainty import ReachSection, RobustSection
from allocator.types import Matrix, Vector

if TYPE_CHECKING:
    import cvxpy as cp

    from allocator.ambiguity.sets import Form, NodeSetDocument

MOST_CORNERS = 20_000
"""Beyond so many candidates a polytope is asked by a linear program each time, and not by its corners."""
_ROUNDING = 1e-12
"""Of a probability, or of a distance: nearer than this is inside."""
_NOISE = 1e-9
_LOSSES = 64
"""Random losses a scenario, whose worst members are mixed."""


class ScenarioSet(Ambiguity):
    """A set that speaks of scenarios by name."""

    about_scenarios = True

    def after_news(self, beliefs: Vector, children: Vector, child_beliefs: Matrix) -> Ambiguity:
        """Pushed forward."""
        return Pushforward(self, news_likelihoods(beliefs, children, child_beliefs), beliefs)

    def sample(self, probabilities: Vector, draw: np.random.Generator, count: int) -> Matrix:
        """Mixtures of as many members as a point between corners takes; the set may be flat, and hold no other way."""
        scenarios = len(probabilities)
        if scenarios == 1:
            return np.ones((count, 1))
        members = self.spread(probabilities, draw)
        if np.abs(members - probabilities).sum(axis=1).max() / 2 <= PROBABILITY_SHIFT:
            return TotalVariation(PROBABILITY_SHIFT).sample(probabilities, draw, count)
        picked = draw.integers(len(members), size=(count, scenarios))
        weights = draw.dirichlet(np.ones(scenarios), count)
        beliefs = np.einsum("nk,nkj->nj", weights, members[picked])
        sampled: Matrix = beliefs / beliefs.sum(axis=1, keepdims=True)
        return sampled

    def spread(self, probabilities: Vector, draw: np.random.Generator) -> Matrix:
        """(M, K) the belief, and corners: members that are worst for random losses."""
        losses = draw.normal(size=(_LOSSES * len(probabilities), len(probabilities)))
        worst = [self.adversary(each, probabilities) for each in losses]
        return np.vstack([probabilities, np.unique(np.round(worst, 12), axis=0)])


def news_likelihoods(beliefs: Vector, children: Vector, child_beliefs: Matrix) -> Matrix:
    """(K, M) how likely each of M `children` is in each scenario, by Bayes: P(m | k) = P(m)·belief_m(k) / belief(k)."""
    possible, joint = beliefs > 0, children[:, None] * child_beliefs
    likelihoods = np.where(possible, joint / np.where(possible, beliefs, 1.0), children[:, None]).T
    result: Matrix = likelihoods / likelihoods.sum(axis=1, keepdims=True)
    return result


@dataclass(frozen=True, eq=False)
class Pushforward(Ambiguity):
    """The set `over` around `beliefs` (K,), pushed forward by `likelihoods` (K, M) of a node's M children."""

    over: Ambiguity
    likelihoods: Matrix
    beliefs: Vector

    @property
    def of_scenarios(self) -> Ambiguity:
        """What is pushed forward."""
        return self.over

    def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
        """(M,) the adverse probabilities of the children, made by the adverse ones of the scenarios."""
        worst: Vector = self.over.adversary(self.likelihoods @ losses, self.beliefs) @ self.likelihoods
        return worst

    @property
    def signed(self) -> bool:  # type: ignore[override]
        """Whether its numbers are."""
        return self.over.compiled.signed

    def support(self, probabilities: Vector) -> tuple[Any, ...]:
        """Which kind of news it is of how many branches, and the set's structure."""
        return (type(self).__name__, *self.likelihoods.shape, *self.over.structure(self.beliefs))

    def dual(self, losses: cp.Expression, probabilities: Vector, given: Sequence[cp.Parameter]) -> Form:
        """That of the set, over what the children bring in each scenario."""
        import cvxpy as cp

        told = cp.Variable(len(self.beliefs))  # of its own, as the set's numbers are parameters, too
        expression, rows = self.over.compiled.dual(told, self.beliefs, given[1:])
        return expression, [told >= given[0] @ losses, *rows]

    def dual_numbers(self, probabilities: Vector) -> dict[str, Any]:
        """What the news says, then its numbers."""
        return {"likelihoods": self.likelihoods, **self.over.compiled.dual_numbers(self.beliefs)}

    def node_document(self, probabilities: Vector) -> NodeSetDocument:
        """The set of scenarios, and how likely the news is in each."""
        return {**self.over.node_document(self.beliefs), "likelihoods": self.likelihoods.tolist()}


@dataclass(frozen=True, eq=False)
class ExpertHull(ScenarioSet):
    """Any mixture of the belief and the experts': {w₀·p + Σ w_m·experts_m, w ≥ 0, Σw = 1}.

    `experts` (M, K) are probabilities. The belief is one more vertex, so that it is always among what is guarded
    against, and taking an expert in can only widen the set.
    """

    experts: Matrix

    name = "hull"

    def table(self, probabilities: Vector) -> Matrix:
        """(M + 1, K) the vertices, the belief first."""
        return np.vstack([probabilities, self.experts])

    @classmethod
    def from_book(cls, book: Book, outlook: Outlook) -> Self:
        """`[robust.experts]`."""
        experts = [[expert[name] for name in book.scenarios] for expert in book.settings.robust.experts.values()]
        stated = np.array(experts)
        return cls(stated / stated.sum(axis=1, keepdims=True))

    @classmethod
    def on_axis(cls, radius: float, experts: Matrix) -> Self:
        """Their hull."""
        del radius
        return cls(experts)

    def at_node(self, book: Book, beliefs: Vector, news: NewInformation) -> Self:
        """Experts have seen the news too: their probabilities move by the same evidence."""
        return type(self)(np.array([bayes_update(expert, news.evidence[None, :])[0] for expert in self.experts]))

    def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
        """(K,) the expert who expects the largest loss; the belief where none expects more."""
        vertices = self.table(probabilities)
        worst: Vector = vertices[int(np.argmax(vertices @ losses))].copy()
        return worst

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """Half the sum of differences from the nearest mixture; 0 where rounding could not tell."""
        from scipy.optimize import nnls

        # of a member least squares says so in a tenth of the time
        vertices = np.vstack([self.table(probabilities).T, np.ones(len(self.experts) + 1)])
        if nnls(vertices, np.append(q, 1.0))[1] <= _ROUNDING / np.sqrt(len(vertices)):
            return 0.0
        return noticed(float(np.abs(q - self.nearest(q, probabilities)).sum()) / 2)

    def witness(self, q: Vector, probabilities: Vector) -> Vector:
        """(M + 1,) the weights of the nearest mixture, the belief's first."""
        count = len(self.experts) + 1
        weights = nearest_member(self.table(probabilities).T, q, (np.ones((1, count)), np.ones(1)))
        mixture: Vector = weights / weights.sum()
        return mixture

    def nearest(self, q: Vector, probabilities: Vector) -> Vector:
        """(K,) the member with the least sum of differences from q."""
        member: Vector = self.witness(q, probabilities) @ self.table(probabilities)
        return member

    def support(self, probabilities: Vector) -> tuple[bool | int, ...]:
        """The number of experts."""
        return (len(self.experts),)

    def dual_numbers(self, probabilities: Vector) -> dict[str, Any]:
        """The vertices."""
        return {"belief and experts": self.table(probabilities)}

    def dual(self, losses: cp.Expression, probabilities: Vector, given: Sequence[cp.Parameter]) -> Form:
        """The largest loss that one of them expects."""
        import cvxpy as cp

        largest = cp.Variable()
        return largest, [largest >= given[0] @ losses]

    def linear_dual(self, probabilities: Vector) -> LinearDual:
        """The largest of the means."""
        table = self.table(probabilities)
        return LinearDual.of(len(probabilities), [1.0], [True], table, -np.ones((len(table), 1)))

    def members(self, q: cp.Expression, probabilities: Vector, mass: Any = 1.0) -> list[cp.Constraint]:
        """A mixture of the vertices."""
        import cvxpy as cp

        share = cp.Variable(len(self.experts) + 1, nonneg=True)
        return [cp.sum(share) == mass, q == self.table(probabilities).T @ share]

    def spread(self, probabilities: Vector, draw: np.random.Generator) -> Matrix:
        """The vertices."""
        return self.table(probabilities)

    def words(self, robust: ReachSection | None) -> str:
        """Who the experts are."""
        if robust is None or not robust.experts:
            return "all beliefs that [question.ranges] allow"
        return f"mixtures of the belief with expert{'s' * (len(robust.experts) > 1)} {', '.join(robust.experts)}"


@dataclass(frozen=True, eq=False)
class Polytope(ScenarioSet):
    """All probabilities within stated limits: {q ≥ 0, Σq = 1, matrix·q ≤ limits}.

    `matrix` (R, K), `limits` (R,). The belief must be inside (`excess(p, p) ≤ 0`); whoever makes the set refuses it
    otherwise.
    """

    matrix: Matrix
    limits: Vector

    name = "polytope"
    signed = True

    @classmethod
    def from_book(cls, book: Book, outlook: Outlook) -> Self:
        """A row for each stated max and min of `[robust.limits]`, the latter with its signs turned.

        Raises:
            BadMandate: the belief is outside, so that it would guard against everything but the belief.
        """
        rows, limits, breaches = [], [], []
        for name, limit in book.settings.robust.limits.items():
            own = np.array([limit.weights.get(scenario, 0.0) for scenario in book.scenarios])
            for key, bound, sign in (("max", limit.max, 1.0), ("min", limit.min, -1.0)):
                if bound is not None:
                    rows.append(sign * own)
                    limits.append(sign * bound)
                    breaches += _outside(
                        dotted_key("robust", "limits", name, key), bound, sign, float(own @ outlook.probabilities)
                    )
        if breaches:  # signals move the belief, so that this is seen only once there is an outlook
            raise BadMandate(breaches)
        return cls(np.array(rows), np.array(limits))

    def at_node(self, book: Book, beliefs: Vector, news: NewInformation) -> Self:
        """The same.

        Raises:
            BadMandate: the belief is outside by then.
        """
        if self.leaves_out(beliefs):
            rule = f"leaves out what we would believe {news.when}"
            cure = "widen the limits: what holds today need not hold after the news"
            raise BadMandate([Breach("book.toml", None, "robust.limits", None, rule, cure)])
        return self

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
        worst = best_of(-losses, self.matrix, self.limits, ones, np.ones(1))
        member: Vector = worst / worst.sum()
        return member

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """max (matrix·q − limits); 0 where rounding could not tell."""
        return noticed(float((self.matrix @ q - self.limits).max(initial=-1.0)))

    def nearest(self, q: Vector, probabilities: Vector) -> Vector:
        """(K,) the member with the least sum of differences from q."""
        one = (np.ones((1, len(q))), np.ones(1))
        near = nearest_member(np.eye(len(q)), q, one, (self.matrix, self.limits))
        member: Vector = near / near.sum()
        return member

    def leaves_out(self, beliefs: Vector) -> bool:
        """Whether the belief itself is outside."""
        return self.excess(beliefs, beliefs) > _NOISE

    def _pairs(self) -> dict[int, int]:
        """Rows a'q ≤ b and −a'q ≤ −b: an equality, whose two prices could grow together without end."""
        rows, pairs = np.hstack([self.matrix, self.limits[:, None]]), dict[int, int]()
        for i, j in combinations(range(len(rows)), 2):
            if not {i, j} & {*pairs, *pairs.values()} and (rows[i] == -rows[j]).all():
                pairs[i] = j
        return pairs

    def _kept(self) -> list[int]:
        dropped = self._pairs().values()
        return [row for row in range(len(self.limits)) if row not in dropped]

    def support(self, probabilities: Vector) -> tuple[bool | int, ...]:
        """The number of rows, and those that come in pairs and leave no room between them."""
        return (len(self.limits), *(row for pair in self._pairs().items() for row in pair))

    def dual_numbers(self, probabilities: Vector) -> dict[str, Any]:
        """The rows, one of each pair."""
        kept = self._kept()
        return {"coefficients": self.matrix[kept], "limits": self.limits[kept]}

    def dual(self, losses: cp.Expression, probabilities: Vector, given: Sequence[cp.Parameter]) -> Form:
        """η + limits'prices with matrix'prices + η ≥ losses; the price of an equality has either sign."""
        import cvxpy as cp

        matrix, limits = given
        eta, prices = cp.Variable(), cp.Variable(limits.size)
        equal = self._pairs()
        signed = np.flatnonzero([row not in equal for row in self._kept()])
        rows = [matrix.T @ prices + eta >= losses]
        return eta + limits @ prices, rows + ([prices[signed] >= 0] if len(signed) else [])

    def linear_dual(self, probabilities: Vector) -> LinearDual:
        """η, and the prices of the rows."""
        (matrix, limits), equal = self.dual_numbers(probabilities).values(), self._pairs()
        free = [True, [row in equal for row in self._kept()]]
        count = len(probabilities)
        return LinearDual.of(count, [1.0, limits], free, np.eye(count), [[-np.ones((count, 1)), -matrix.T]])

    def members(self, q: cp.Expression, probabilities: Vector, mass: Any = 1.0) -> list[cp.Constraint]:
        """matrix·q ≤ limits."""
        return [self.matrix @ q <= mass * self.limits]

    def table(self, probabilities: Vector) -> Matrix:
        """(R, K + 1) the rows, their limits last."""
        return np.hstack([self.matrix, self.limits[:, None]])

    def spread(self, probabilities: Vector, draw: np.random.Generator) -> Matrix:
        """The corners where they are known."""
        if self.corners is None:
            return super().spread(probabilities, draw)
        return np.vstack([probabilities, self.corners])

    def words(self, robust: RobustSection) -> str:  # type: ignore[override]
        """What the limits are called."""
        return f"all probabilities within limits {', '.join(robust.limits)}"


def _outside(place: str, bound: float, sign: float, measured: float) -> list[Breach]:
    if sign * (measured - bound) <= _NOISE:
        return []
    rule = f"today's belief is outside: it makes {measured:.6g} of it"
    cure = (
        f"{'raise' if sign > 0 else 'lower'} it to {measured:.6g} or {'more' if sign > 0 else 'less'}, "
        "or correct the probabilities of the scenarios"
    )
    return [Breach("book.toml", None, place, f"{bound:g}", rule, cure)]


def noticed(excess: float) -> float:
    """0 where rounding could not tell."""
    return excess if abs(excess) > _ROUNDING else 0.0


def nearest_member(
    members: Matrix, q: Vector, equal: tuple[Matrix, Vector], below: tuple[Matrix, Vector] | None = None
) -> Vector:
    """(n,) x ≥ 0 under the two kinds of rows with the least Σ|members·x − q|."""
    count, width = members.shape
    rows, limits = below or (np.zeros((0, width)), np.zeros(0))
    apart = np.vstack([np.hstack([members, -np.eye(count)]), np.hstack([-members, -np.eye(count)])])
    above = np.vstack([apart, np.hstack([rows, np.zeros((len(rows), count))])])
    costs, sums = np.append(np.zeros(width), np.ones(count)), np.hstack([equal[0], np.zeros((len(equal[0]), count))])
    return best_of(costs, above, np.concatenate([q, -q, limits]), sums, equal[1])[:width]


def best_of(costs: Vector, above: Matrix | None, most: Vector | None, equal: Matrix, rights: Vector) -> Vector:
    """The x ≥ 0 of the least costs'x under above·x ≤ most and equal·x = rights.

    Raises:
        NotSolved: no answer; a presolve that stumbles over rounding is left out first.
    """
    from scipy.optimize import linprog

    for presolve in (True, False):
        options = {"presolve": presolve, "primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
        found = linprog(costs, above, most, equal, rights, method="highs", options=options)
        if found.status == 0:
            best: Vector = np.maximum(found.x, 0.0)
            return best
    raise NotSolved(f"a linear program over scenario probabilities ended without an answer: {found.message}")
