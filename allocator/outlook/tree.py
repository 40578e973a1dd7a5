"""The tree of what may be known when: decision nodes at today and at the review dates, leaves at the horizon.

A node is a state of the evidence on a date: silence so far, a claim since the last review, a verdict on it. What it
costs to trade there is known from the price of the node; what a leaf brings is a scenario come true. The tree says
nothing of what is decided.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import numpy as np

from allocator.types import Matrix, Vector


@dataclass(frozen=True, eq=False)
class Tree:
    """D decision nodes, the root first and parents before children, and L leaves, for N instruments and K scenarios.

    `parents` (D,), −1 at the root; `probabilities` (D,) given the parent; `beliefs` (D, K) about the scenarios at each
    node. `growth` (D, N) and `cash_growth` (D,) are values at a node per unit of value at its parent, before any
    trade. A leaf hangs on decision node `leaf_parents`, is scenario `leaf_scenarios`, and has the same three: (L,),
    (L, N), (L,). `names`, `kinds` and `dates` tell people what the nodes are.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    dates: tuple[dt.date, ...]
    parents: np.ndarray[tuple[int], np.dtype[np.int64]]
    probabilities: Vector
    beliefs: Matrix
    growth: Matrix
    cash_growth: Vector
    leaf_parents: np.ndarray[tuple[int], np.dtype[np.int64]]
    leaf_scenarios: np.ndarray[tuple[int], np.dtype[np.int64]]
    leaf_probabilities: Vector
    leaf_growth: Matrix
    leaf_cash_growth: Vector

    @property
    def nodes(self) -> int:
        """D."""
        return len(self.parents)

    @property
    def leaves(self) -> int:
        """L."""
        return len(self.leaf_parents)

    def children(self, node: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]:
        """Positions of its decision nodes and of its leaves."""
        return np.flatnonzero(self.parents == node), np.flatnonzero(self.leaf_parents == node)

    def child_probabilities(self, node: int) -> Vector:
        """Probabilities of its decision nodes, then of its leaves; they sum to one."""
        nodes, leaves = self.children(node)
        return np.concatenate([self.probabilities[nodes], self.leaf_probabilities[leaves]])

    def reach(self) -> tuple[Vector, Vector]:
        """(D,) and (L,) probabilities of coming there at all."""
        reached = np.ones(self.nodes)
        for node in range(1, self.nodes):
            reached[node] = reached[self.parents[node]] * self.probabilities[node]
        return reached, reached[self.leaf_parents] * self.leaf_probabilities

    def since_now(self) -> tuple[Matrix, Vector]:
        """(D, N) and (D,) values at each node per unit of today's."""
        growth, cash = self.growth.copy(), self.cash_growth.copy()
        for node in range(1, self.nodes):
            growth[node] *= growth[self.parents[node]]
            cash[node] *= cash[self.parents[node]]
        return growth, cash

    def below(self, node: int) -> tuple[Tree, np.ndarray[tuple[int], np.dtype[np.int64]]]:
        """The tree that begins at `node`, and where its decision nodes stand in this one."""
        kept = [node]
        for child in range(node + 1, self.nodes):
            if self.parents[child] in kept:
                kept.append(child)
        at, leaves = np.array(kept), np.flatnonzero(np.isin(self.leaf_parents, kept))
        place = np.full(self.nodes, -1)
        place[at] = np.arange(len(at))
        growth, cash, probabilities = self.growth[at].copy(), self.cash_growth[at].copy(), self.probabilities[at].copy()
        growth[0], cash[0], probabilities[0] = 1.0, 1.0, 1.0
        return (
            replace(
                self,
                names=tuple(self.names[i] for i in at),
                kinds=tuple(self.kinds[i] for i in at),
                dates=tuple(self.dates[i] for i in at),
                parents=np.concatenate([[-1], place[self.parents[at[1:]]]]).astype(np.int64),
                probabilities=probabilities,
                beliefs=self.beliefs[at],
                growth=growth,
                cash_growth=cash,
                leaf_parents=place[self.leaf_parents[leaves]],
                leaf_scenarios=self.leaf_scenarios[leaves],
                leaf_probabilities=self.leaf_probabilities[leaves],
                leaf_growth=self.leaf_growth[leaves],
                leaf_cash_growth=self.leaf_cash_growth[leaves],
            ),
            at,
        )
