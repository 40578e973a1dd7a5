"""The search for the names to hold: relaxed, rounded and polished first, so that there is always an answer with its
gap; then branched on until no other choice of names can be better by more than the gap that the mandate allows.

Every node is a convex program that says of each name whether it is held, is not, or is free. Where a free name has risk
of its own, σ²h², it counts σ²h²/z for the part z of it that is held: with Σz at most the number of names this is the
perspective reformulation, whose prices bound every choice (`bounds.py`). Nodes are counted, no clock is looked at.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TypeAlias

import numpy as np

from allocator.errors import NotSolved
from allocator.few_names.bounds import Choice, NameBounds, Names, PositionRange
from allocator.rules.rows import FewNames
from allocator.types import Vector

NODES, FEWEST_NODES = 200_000, 300
"""Nodes times names that the search may take, and nodes however many names."""
_ROOT, _ROUNDS = 40, 3
"""Times that the parts of names are weighed anew at the root, and at a node."""
_LEAST_PART = 1e-3
"""A smaller part of a name is not told from none: σ²/z would be out of a solver's reach."""
_SWAPS, _CLIMBS = 10, 40
"""Exchanges of names that are tried around an answer, the best ones by its prices, and times that one may be better."""
_POOL = 100
"""Prices that are kept: the last ones, which are of choices like those to come."""
_OTHERS = 24
"""Names that are told beside the best."""
_SAME = 1e-9
"""Of the account: objectives that differ by less are the same, whichever processor computed them."""
ENOUGH = 1e-6
"""Of the account: a gap of a hundredth of a basis point is none, however small the objective."""


@dataclass(frozen=True, eq=False)
class Node:
    """What a program found: (N,) holdings, the objective, what no plan of its choice is below, and where its prices
    bound others too, these bounds.
    """

    holdings: Vector
    loss: float
    bound: float
    bounds: NameBounds | None = None


class Relaxation(ABC):
    """The convex programs of a question: of a choice, free names counted in part or as they are."""

    own: Vector
    """(N,) what is charged for a name's own square, which parts of it weigh more."""

    @abstractmethod
    def solve(self, choice: Choice, parts: Vector) -> Node | None:
        """The best of a choice, free names held in `parts` (N,); None where none was found."""

    @abstractmethod
    def nearest(self, choice: Choice, wish: Vector) -> Names | None:
        """The names of a choice with the most of `wish` (N,) that some portfolio keeps the rules with; None where it is
        proved that there are none.

        Raises:
            NotSolved: that is not known.
        """


@dataclass(frozen=True, eq=False)
class FoundNames:
    """The names (N,) that are held, the objective with them, and what no plan with any other names is below."""

    held: Names
    objective: float
    bound: float
    programs: int
    others: tuple[Names, ...] = ()
    """Other names that were tried, the best first."""

    @property
    def of_objective(self) -> float | None:
        """The gap as a part of the objective."""
        return round(self.gap / abs(self.objective), 8) if self.objective else None

    @property
    def gap(self) -> float:
        """How far from the best they may be, in fractions of the account."""
        return max(self.objective - self.bound, 0.0)


def search_names(
    relaxation: Relaxation,
    few: FewNames,
    positions: PositionRange,
    first: Choice,
    gap: float,
    nodes: int,
    keep: float = 0.0,
) -> FoundNames | None:
    """The best names of those that `first` leaves open, as far as the work goes; None where there are none. Where told
    to `keep` so much, all names are looked at whose objective may be less than that above the best.

    Raises:
        NotSolved: none were found, and it is not proved that there are none.
    """
    return _Search(relaxation, few, positions, gap, nodes, keep).run(first)


_Open: TypeAlias = tuple[float, int, Choice, Vector]
"""A node still to be solved: what it is not below, its number, its choice, and the parts in which names are held."""


@dataclass(eq=False)
class _Search:
    relaxation: Relaxation
    few: FewNames
    positions: PositionRange
    gap: float
    left: int
    keep: float = 0.0
    pool: list[NameBounds] = field(default_factory=list)
    best: Node | None = None
    held: Names = field(default_factory=lambda: np.zeros(0, dtype=bool))
    tried: dict[bytes, Node | None] = field(default_factory=dict)
    solved: int = 0

    @property
    def enough(self) -> float:
        """The gap that is small enough."""
        return ENOUGH if self.best is None else max(self.gap * abs(self.best.loss), ENOUGH)

    def run(self, first: Choice) -> FoundNames | None:
        """The best that was found, and what bounds all others: of what is open, and of what was not followed."""
        order, given_up = 0, np.inf
        heap: list[_Open] = [(-np.inf, 0, first, np.ones(len(first.held)))]
        while heap and self.left > 0 and not self._settled(heap[0][0]):
            least, _, choice, parts = heappop(heap)
            node, parts, bound = self._node(choice, parts, least, _ROUNDS if order else _ROOT)
            if node is None and self.relaxation.nearest(choice, parts) is None:
                continue
            bound = max(bound, self._pooled(choice))
            if node is not None and not self._rounded(choice, node, parts):
                continue
            if (name := self._branch(choice, node, parts)) is None:
                if node is None or node.loss > bound + self.enough:  # all is said, and more is not known of it
                    given_up = min(given_up, bound)
                continue
            for half in choice.split(name, self.few.most):
                order += 1
                least = round(max(bound, self._pooled(half)), 12)
                if self._settled(least):
                    given_up = min(given_up, least)
                else:
                    heappush(heap, (least, order, half, parts))
        left = min((max(least, self._pooled(choice)) for least, _, choice, _ in heap), default=np.inf)
        if self.best is None and min(left, given_up) == np.inf:
            return None
        if self.best is None:
            raise NotSolved("no names were found that keep every rule; loosen one, or allow more names")
        tried = sorted((round(node.loss, 9), key) for key, node in self.tried.items() if node is not None)
        others = [np.frombuffer(key, dtype=bool) for _, key in tried if key != self.held.tobytes()]
        bound = min(self.best.loss, given_up, left)
        return FoundNames(self.held, self.best.loss, bound, self.solved, tuple(others[:_OTHERS]))

    def _settled(self, bound: float) -> bool:
        """Whether what is not below a bound is of no interest."""
        return self.best is not None and self.best.loss + self.keep - bound <= self.enough

    def _solve(self, choice: Choice, parts: Vector) -> Node | None:
        self.left, self.solved = self.left - 1, self.solved + 1
        node = self.relaxation.solve(choice, parts)
        if node is not None and node.bounds is not None:
            self.pool = [*self.pool[-_POOL:], node.bounds]
        return node

    def _pooled(self, choice: Choice) -> float:
        """The best bound of a choice by all prices so far."""
        return max((bounds.least(choice, self.few.most) for bounds in self.pool), default=-np.inf)

    def _node(self, choice: Choice, parts: Vector, bound: float, rounds: int) -> tuple[Node | None, Vector, float]:
        """A node's program with parts weighed anew until that brings no more."""
        node = None
        for _ in range(rounds):
            found = self._solve(choice, parts)
            if found is None:
                break
            node = found
            own = found.bound if found.bounds is None else found.bounds.least(choice, self.few.most)
            before, bound = bound, max(bound, own)
            moved = self._parts(choice, node.holdings)
            if bound - before < 0.02 * self.enough or np.abs(moved - parts).max(initial=0.0) < _LEAST_PART:
                parts = moved
                break
            parts = moved
        return node, parts, bound

    def _parts(self, choice: Choice, holdings: Vector) -> Vector:
        """(N,) the parts in which names are best held, so many in all: of what has own risk in proportion to it."""
        free, positions = choice.free, self.positions
        room = self.few.most - int(choice.held.sum())
        weights = np.where(free, holdings * np.sqrt(np.maximum(self.relaxation.own, 1e-12)), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            low = np.where(free & (positions.most > 0), holdings / np.maximum(positions.most, 1e-12), 0.0)
            high = np.where(positions.least > 0, holdings / np.maximum(positions.least, 1e-12), np.inf)
        high = np.minimum(high, 1.0)
        low = np.minimum(low, high)

        def parts(scale: float) -> Vector:
            return np.clip(weights * scale, low, high) * free

        least, most = 0.0, 1.0
        while parts(most).sum() < min(room, float((high * free * (weights > 0)).sum())) - 1e-12 and most < 1e12:
            most *= 4
        for _ in range(60):
            between = (least + most) / 2
            if parts(between).sum() > room:
                most = between
            else:
                least = between
        return np.where(choice.held, 1.0, np.maximum(parts(least), _LEAST_PART))

    def _rounded(self, choice: Choice, node: Node, parts: Vector) -> bool:
        """The answer next to a node's, polished, and improved by exchanges; whether there may be one at all."""
        most = int(min(self.few.most, len(parts)))
        order = np.lexsort((-np.round(node.holdings, 9), -np.round(parts, 6)))
        wanted = [name for name in order if choice.free[name] and node.holdings[name] > _SAME]
        if np.isinf(self.few.most) or self.few.least > 0:
            likely = [name for name in wanted if parts[name] >= 0.5]
        else:
            likely = wanted
        held = choice.held.copy()
        for name in likely[: most - int(held.sum())]:
            held[name] = True
        found = self._polished(held)
        if found is None and self.best is None:
            near = self.relaxation.nearest(choice, parts)
            if near is None:
                return False
            held, found = near, self._polished(near)
        if found is not None and (self.best is None or found.loss < self.best.loss - _SAME):
            self.best, self.held = found, held
            self._climb()
        return True

    def _climb(self) -> None:
        """Exchanges of one name for another, one more or one fewer, as long as one of the likeliest is better."""
        for _ in range(_CLIMBS):
            assert self.best is not None
            if self.left <= 0 or not any(self._better(held) for held in self._exchanges(self.best)):
                return

    def _better(self, held: Names) -> bool:
        found = self._polished(held)
        if found is None or self.best is None or found.loss >= self.best.loss - _SAME:
            return False
        self.best, self.held = found, held
        return True

    def _exchanges(self, at: Node) -> Iterator[Names]:
        """The likeliest first, by what the prices here leave of hope."""
        names = np.arange(len(self.held))
        if at.bounds is None:
            return
        change = at.bounds.held - at.bounds.out
        out = [(0.0, -1), *((-float(change[i]), int(i)) for i in names[self.held])]
        into = sorted((float(change[i]), int(i)) for i in names[~self.held & np.isfinite(change)])[: 2 * _SWAPS]
        into = [(0.0, -1), *into]
        pairs = sorted(
            (round(less + more, 9), leaves, joins)
            for less, leaves in out
            for more, joins in into
            if (leaves, joins) != (-1, -1) and self.held.sum() + (joins >= 0) - (leaves >= 0) <= self.few.most
        )
        for hope, leaves, joins in pairs[:_SWAPS]:
            if hope > -_SAME:
                return
            yield (self.held & (names != leaves)) | (names == joins)

    def _polished(self, held: Names) -> Node | None:
        """The best with these names and no others."""
        key = held.tobytes()
        if key not in self.tried:
            self.tried[key] = self._solve(Choice(held, ~held), np.ones(len(held)))
        return self.tried[key]

    def _branch(self, choice: Choice, node: Node | None, parts: Vector) -> int | None:
        """The free name of which least is known; None where none is free."""
        free = np.flatnonzero(choice.free)
        if not len(free):
            return None
        if node is None:
            return int(free[0])
        doubt = np.round(np.minimum(parts, 1 - parts), 9)[free]
        held = np.round(node.holdings[free], 9)
        return int(free[np.lexsort((-held, -doubt))[0]])
