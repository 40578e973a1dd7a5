"""The map of what is best over two probabilities, or over the triangle of three beliefs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import numpy as np

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.optimization.resolve import CertifiedSolution
from allocator.outlook.outlook import Outlook
from allocator.plan.plan import Plan
from allocator.presentation import Count, Numbers, Probability, Row
from allocator.rules.builder import bucket_shares
from allocator.stress_testing.belief_sweep import (
    BUCKETS,
    DEMAND,
    HYPOTHESIS,
    FailedBelief,
    axis_solver,
    failed_belief,
    plan_or_rebalance,
    refuse_impossible_axis,
)
from allocator.stress_testing.break_even import NOTHING
from allocator.stress_testing.reoptimization import UnsolvedProblem, parallel_map
from allocator.types import Matrix, Vector

if TYPE_CHECKING:
    import pandas as pd

STEPS = 66
MOST_STEPS = 200


@dataclass(frozen=True, eq=False)
class BeliefGrid:
    """M points over two probabilities: `names` of them, `at` (M, 2), `beliefs` (M, K), and pairs (E, 2) of neighbours.

    `stated` (2,) is where today's belief lies on it; not on it itself where demand hangs on the answer.
    """

    names: tuple[str, str]
    at: Matrix
    beliefs: Matrix
    neighbours: np.ndarray[Any, np.dtype[np.int64]]
    stated: tuple[float, float]


_MapPoint = TypedDict("_MapPoint", {"at": Numbers, "objective": float | None, "weights": Numbers | None})


class MapDocument(TypedDict):
    """the optimum over both probabilities"""

    probabilities: list[str]
    stated: list[Probability]
    asked: Count
    finished: Count
    interrupted: bool
    instruments: list[str]
    points: list[_MapPoint]
    failed: list[Annotated[Row, FailedBelief]]


@dataclass(frozen=True, eq=False)
class BeliefMap:
    """What is best at each of the lattice's points, as far as they were reached.

    `weights` (M, N + 1) after the trades, cash last, and the maximised `objective` (M,) as a fraction of the
    account over the horizon: NaN where a point failed (see `failed`) or was not reached. `apart` (M,) is the part of
    the account that lies elsewhere than in the plan's targets, which are best today, `changes` (M,) the largest part
    that lies elsewhere than at a neighbour.
    """

    lattice: BeliefGrid
    instruments: tuple[str, ...]
    weights: Matrix
    objective: Vector
    buckets: Matrix
    apart: Vector
    changes: Vector
    failed: tuple[FailedBelief, ...]
    asked: int
    finished: int
    interrupted: bool

    @property
    def largest(self) -> tuple[str | None, ...]:
        """(M,) the name, or cash, with the largest weight; of those that weigh the same, the book's first."""
        return tuple(
            None if np.isnan(row).any() else self.instruments[int(np.argmax(row >= row.max() - NOTHING))]
            for row in self.weights
        )

    def frame(self) -> pd.DataFrame:
        """One row a point."""
        import pandas as pd

        places = dict(zip((f"p_{name}" for name in self.lattice.names), self.lattice.at.T, strict=True))
        columns = dict(zip((*BUCKETS, "cash"), self.buckets.T, strict=True))
        names = dict(zip(self.instruments, self.weights.T, strict=True))
        own = {"objective": self.objective, "largest": self.largest, "apart": self.apart, "changes": self.changes}
        return pd.DataFrame({**places, **own, **columns, **names})

    def document(self) -> MapDocument:
        """Plain data; weights by name at each point."""
        return {
            "probabilities": list(self.lattice.names),
            "stated": list(self.lattice.stated),
            "asked": self.asked,
            "finished": self.finished,
            "interrupted": self.interrupted,
            "instruments": list(self.instruments),
            "points": [
                {
                    "at": [round(float(x), 8) for x in at],
                    "objective": None if np.isnan(objective) else round(float(objective), 10),
                    "weights": None if np.isnan(objective) else [round(float(w), 8) for w in weights],
                }
                for at, objective, weights in zip(self.lattice.at, self.objective, self.weights, strict=True)
            ],
            "failed": [vars(one) | {"probabilities": dict(one.probabilities)} for one in self.failed],
        }


def belief_map(
    book: Book,
    plan: Plan | None = None,
    *,
    steps: int = STEPS,
    jobs: int = 1,
    say: Callable[[str], None] | None = None,
) -> BeliefMap:
    """What would be best over P(generalizable) x P(jevons | either answer), `steps` points a side.

    Where scenarios do not say both, over the triangle of the two most probable scenarios and the rest, which keeps its
    proportions. The ambiguity set keeps today's radius. Ctrl-C keeps what is finished.

    Raises:
        BadMandate: the plan does not follow from probabilities, or not by one decision.
        BadInput: `steps` is not between 2 and 200, `jobs` is not 1 or more, or the plan is of another book.
        AllocatorError: without a plan, whatever `rebalance` raises.
    """
    if not 2 <= steps <= MOST_STEPS:
        raise BadInput([Breach("steps", None, None, str(steps), f"must be between 2 and {MOST_STEPS}", "66 is usual")])
    refuse_impossible_axis(book)
    plan = plan_or_rebalance(book, plan, say)
    lattice = belief_grid(book, plan.outlook, steps)
    done = parallel_map(axis_solver(plan), list(lattice.beliefs), jobs=jobs, say=say, what="beliefs on the map")
    names = (*book.instruments, book.cash_instrument)
    weights, objective = np.full((len(lattice.at), len(names)), np.nan), np.full(len(lattice.at), np.nan)
    failed = []
    for m, found in enumerate(done.results):
        if isinstance(found, CertifiedSolution):
            weights[m], objective[m] = found.weights, -found.objective
        elif isinstance(found, UnsolvedProblem):
            failed.append(failed_belief(plan.outlook, lattice.beliefs[m], found))
    shares = np.column_stack([bucket_shares(book, name) for name in BUCKETS])
    buckets = np.column_stack([weights[:, :-1] @ shares, weights[:, -1]])
    today = np.append(plan.target.weights, plan.target.cash / plan.target.value)
    apart = np.abs(weights - today).sum(axis=1) / 2
    return BeliefMap(
        lattice, names, weights, objective, buckets, apart, _changes(lattice, weights), tuple(failed),
        done.asked, done.finished, done.interrupted,
    )  # fmt: skip


def _changes(lattice: BeliefGrid, weights: Matrix) -> Vector:
    """(M,) the largest part of the account that lies elsewhere than at a neighbour that has an answer."""
    first, second = lattice.neighbours.T
    apart = np.nan_to_num(np.abs(weights[first] - weights[second]).sum(axis=1) / 2, nan=0.0)
    found = np.zeros(len(weights))
    np.maximum.at(found, first, apart)
    np.maximum.at(found, second, apart)
    return found


def belief_grid(book: Book, outlook: Outlook, steps: int) -> BeliefGrid:
    """The square of the two questions where every scenario answers both, else the triangle."""
    sections = [book.settings.scenarios[name] for name in outlook.scenarios]
    both = all(section.hypothesis is not None and section.demand is not None for section in sections)
    if both:
        generalizable = np.array([section.hypothesis == HYPOTHESIS for section in sections])
        jevons = np.array([section.demand == DEMAND for section in sections])
        if _cells(generalizable, jevons, outlook.probabilities) is not None:
            return _square(generalizable, jevons, outlook.probabilities, steps)
    return _triangle(outlook, steps)


def _cells(generalizable: Any, jevons: Any, p: Vector) -> Matrix | None:
    """(4, K) the belief given each pair of answers; None where one of the pairs has no probability."""
    pairs = [generalizable & jevons, generalizable & ~jevons, ~generalizable & jevons, ~generalizable & ~jevons]
    parts = [np.where(pair, p, 0.0) for pair in pairs]
    return np.array([part / part.sum() for part in parts]) if all(part.sum() > 0 for part in parts) else None


def _square(generalizable: Any, jevons: Any, p: Vector, steps: int) -> BeliefGrid:
    cells = _cells(generalizable, jevons, p)
    assert cells is not None
    side = np.linspace(0, 1, steps)
    first, second = (each.ravel() for each in np.meshgrid(side, side, indexing="ij"))
    mixed = np.column_stack([first * second, first * (1 - second), (1 - first) * second, (1 - first) * (1 - second)])
    numbers = np.arange(steps * steps).reshape(steps, steps)
    pairs = [(numbers[1:].ravel(), numbers[:-1].ravel()), (numbers[:, 1:].ravel(), numbers[:, :-1].ravel())]
    return BeliefGrid(
        (HYPOTHESIS, DEMAND),
        np.column_stack([first, second]),
        mixed @ cells,
        np.concatenate([np.column_stack(pair) for pair in pairs]),
        (float(p[generalizable].sum()), float(p[jevons].sum())),
    )


def _triangle(outlook: Outlook, steps: int) -> BeliefGrid:
    """Barycentric: the two most probable scenarios and the rest."""
    p = outlook.probabilities
    one, two = np.sort(np.argsort(-p, kind="stable")[:2])
    rest = np.delete(np.arange(len(p)), [one, two])
    corners = np.zeros((3, len(p)))
    corners[0, one] = corners[1, two] = 1.0
    if len(rest):
        left = p[rest].sum()
        corners[2, rest] = p[rest] / left if left > 0 else 1 / len(rest)
    number: dict[tuple[int, int], int] = {}
    places: list[tuple[int, int]] = []
    for i in range(steps):
        for j in range(steps - i):
            if len(rest) or i + j == steps - 1:
                number[i, j] = len(places)
                places.append((i, j))
    at = np.array(places) / (steps - 1)
    sides = ((1, 0), (0, 1), (1, -1))
    pairs = [
        (m, number[i + di, j + dj]) for (i, j), m in number.items() for di, dj in sides if (i + di, j + dj) in number
    ]
    names = outlook.scenarios[one], outlook.scenarios[two]
    beliefs = np.column_stack([at, np.maximum(1 - at.sum(axis=1), 0.0)]) @ corners
    return BeliefGrid(
        names, at, beliefs, np.array(pairs, dtype=np.int64).reshape(-1, 2), (float(p[one]), float(p[two]))
    )
