"""The map of what is best over two probabilities, or over the triangle of three beliefs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypedDict

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.optimization.resolve import CertifiedSolution
from allocator.outlook.outlook import Outlook
from allocator.plan.plan import Plan
from allocator.presentation import Count, Numbers, Probability, Row, document_of
from allocator.stress_testing.belief_sweep import (
    FailedBelief,
    allocation_columns,
    refuse_impossible_axis,
)
from allocator.stress_testing.reoptimization import PlanProblem, Say, UnsolvedProblem, parallel_map, say_nothing
from allocator.types import Matrix, Vector

STEPS = 66
MOST_STEPS = 200
_BARELY = 1e-9
"""Of an excluded answer on a map of two axes: a belief that excludes it cannot say what regimes it would bring, and the
adversary may bring the answer back."""


@dataclass(frozen=True, eq=False)
class BeliefGrid:
    """M points over two probabilities: `names` of them, `at` (M, 2), `beliefs` (M, K).

    `stated` (2,) is where today's belief lies on it; not on it itself where demand hangs on the answer.
    """

    names: tuple[str, str]
    at: Matrix
    beliefs: Matrix
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
    the account that lies elsewhere than in the plan's targets, which are best today.
    """

    book: Book
    lattice: BeliefGrid
    weights: Matrix
    objective: Vector
    apart: Vector
    failed: tuple[FailedBelief, ...]
    finished: int
    interrupted: bool

    @property
    def asked(self) -> int:
        """How many points the lattice has."""
        return len(self.weights)

    def frame(self) -> pd.DataFrame:
        """One row a point."""
        places = dict(zip((f"p_{name}" for name in self.lattice.names), self.lattice.at.T, strict=True))
        own = {"objective": self.objective, "apart": self.apart}
        return pd.DataFrame({**places, **own, **allocation_columns(self.book, self.weights)})

    def document(self) -> MapDocument:
        """Plain data; weights by name at each point."""
        return {
            "probabilities": list(self.lattice.names),
            "stated": list(self.lattice.stated),
            "asked": self.asked,
            "finished": self.finished,
            "interrupted": self.interrupted,
            "instruments": [*self.book.instruments, self.book.cash_instrument],
            "points": [
                {
                    "at": [round(float(x), 8) for x in at],
                    "objective": None if np.isnan(objective) else round(float(objective), 10),
                    "weights": None if np.isnan(objective) else [round(float(w), 8) for w in weights],
                }
                for at, objective, weights in zip(self.lattice.at, self.objective, self.weights, strict=True)
            ],
            "failed": list(map(document_of, self.failed)),
        }


def belief_map(plan: Plan, *, steps: int = STEPS, jobs: int = 1, say: Say = say_nothing) -> BeliefMap:
    """What would be best over the probabilities of the first hypothesis and, given either, of the first regime, `steps`
    points a side.

    Where scenarios do not say both, over the triangle of the two most probable scenarios and the rest, which keeps its
    proportions. The ambiguity set keeps today's radius. Ctrl-C keeps what is finished.

    Raises:
        BadMandate: the plan does not follow from probabilities, or not by one decision.
    """
    refuse_impossible_axis(plan.book)
    lattice = belief_grid(plan.book, plan.outlook, steps)
    make, beliefs = PlanProblem.of(plan).at_beliefs, list(lattice.beliefs)
    answers, interrupted = parallel_map(make, beliefs, jobs=jobs, say=say, what="beliefs on the map")
    today = plan.target.all_weights
    weights, objective = np.full((len(beliefs), len(today)), np.nan), np.full(len(beliefs), np.nan)
    failed = []
    for m, answer in enumerate(answers):
        if isinstance(answer, CertifiedSolution):
            weights[m], objective[m] = answer.weights, -answer.objective
        elif isinstance(answer, UnsolvedProblem):
            failed.append(FailedBelief.of(plan.outlook, beliefs[m], answer))
    apart = np.abs(weights - today).sum(axis=1) / 2
    finished = sum(answer is not None for answer in answers)
    return BeliefMap(plan.book, lattice, weights, objective, apart, tuple(failed), finished, interrupted)


def belief_grid(book: Book, outlook: Outlook, steps: int) -> BeliefGrid:
    """The square of the two questions where every scenario answers both, else the triangle."""
    sections, p = [book.settings.scenarios[name] for name in outlook.scenarios], outlook.probabilities
    names = book.settings.hypotheses[:1] + book.settings.regimes[:1]
    if len(names) == 2 and all(section.hypothesis is not None and section.regime is not None for section in sections):
        answer = np.array([section.hypothesis == names[0] for section in sections])
        regime = np.array([section.regime == names[1] for section in sections])
        pairs = (answer & regime, answer & ~regime, ~answer & regime, ~answer & ~regime)
        cells = np.array([np.where(pair, p, 0.0) for pair in pairs])
        if (cells.sum(axis=1) > 0).all():  # the belief given each pair of answers
            stated = float(p[answer].sum()), float(p[regime].sum())
            least = _BARELY if book.settings.robust.axes else 0.0
            return _square(names, np.array([cell / cell.sum() for cell in cells]), stated, steps, least)
    return _triangle(outlook, steps)


def _square(names: tuple[str, ...], cells: Matrix, stated: tuple[float, float], steps: int, least: float) -> BeliefGrid:
    """Both probabilities from 0 to 1, independent of each other; `cells` (4, K) the belief given both answers.

    The beliefs give either answer no less than `least`.
    """
    side = np.linspace(0, 1, steps)
    at = np.column_stack([each.ravel() for each in np.meshgrid(side, side, indexing="ij")])
    first, second = np.clip(at[:, 0], least, 1 - least), at[:, 1]
    mixed = np.column_stack([first * second, first * (1 - second), (1 - first) * second, (1 - first) * (1 - second)])
    return BeliefGrid((names[0], names[1]), at, mixed @ cells, stated)


def _triangle(outlook: Outlook, steps: int) -> BeliefGrid:
    """Barycentric: the two most probable scenarios and the rest."""
    p = outlook.probabilities
    first, second = np.sort(np.argsort(-p, kind="stable")[:2])
    rest = np.delete(np.arange(len(p)), [first, second])
    corners = np.zeros((3, len(p)))
    corners[0, first] = corners[1, second] = 1.0
    if len(rest):
        left = p[rest].sum()
        corners[2, rest] = p[rest] / left if left > 0 else 1 / len(rest)
    places = [(i, j) for i in range(steps) for j in range(steps - i) if len(rest) or i + j == steps - 1]
    at = np.array(places) / (steps - 1)
    beliefs = np.column_stack([at, np.maximum(1 - at.sum(axis=1), 0.0)]) @ corners
    stated = float(p[first]), float(p[second])
    return BeliefGrid((outlook.scenarios[first], outlook.scenarios[second]), at, beliefs, stated)
