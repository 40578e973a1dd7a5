"""How wrong we can be about the probabilities before we would want something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, TypedDict

import numpy as np
import pandas as pd

from allocator.plan.break_even import LEAST_SHIFTS, LeastShift, ShiftRow
from allocator.plan.plan import Plan, portfolio_figures
from allocator.presentation import Count, Row, document_of
from allocator.stress_testing.belief_sweep import (
    BeliefAxis,
    BeliefSweep,
    FailedBelief,
    SweepDocument,
    belief_axes,
    belief_sweep,
    refuse_impossible_axis,
    sweep_axis,
)
from allocator.stress_testing.break_even import BreakEven, OptimalityInterval, belief_break_evens, optimality_interval
from allocator.stress_testing.reoptimization import Say, say_nothing
from allocator.types import Vector

# The least shift of the belief that makes another choice better, and how plausible it is (science §4.6).
#
PAIRS = 4
"""Of the largest names, each compared with the next."""
_RATINGS = (
    (0.99, "negligible change"),
    (0.9, "small change"),
    (0.7, "moderate change"),
    (0.4, "large change"),
    (0.1, "very large change"),
)
"""The least plausibility of each rating."""


class _ReversalRow(TypedDict):
    first: str
    second: str
    advantage: float
    plausibility: float | None
    rating: str
    shifts: dict[str, ShiftRow | None]


@dataclass(frozen=True, eq=False)
class Reversal:
    """`first` is expected to return `advantage` more than `second` (fraction of the account, over the horizon).

    The nearest belief that makes them equal, by each distance; None where none does.
    """

    first: str
    second: str
    advantage: float
    shifts: Mapping[str, LeastShift | None]

    @property
    def plausibility(self) -> float | None:
        """exp(−KL) of the least shift: 1 is today's belief, 0 what it excludes."""
        shift = self.shifts["kl"]
        return None if shift is None else float(np.exp(-shift.distance))

    @property
    def rating(self) -> str:
        """What the plausibility is called."""
        return describe_plausibility(self.plausibility)

    def document(self, scenarios: tuple[str, ...]) -> _ReversalRow:
        """Plain data."""
        return {
            "first": self.first,
            "second": self.second,
            "advantage": round(self.advantage, 10),
            "plausibility": None if self.plausibility is None else round(self.plausibility, 8),
            "rating": self.rating,
            "shifts": {
                kind: None if shift is None else shift.document(scenarios) for kind, shift in self.shifts.items()
            },
        }


def describe_plausibility(plausibility: float | None) -> str:
    """A plausibility exp(−KL) as a rating; None is a shift that no belief makes."""
    if plausibility is None:
        return "impossible"
    return next((rating for least, rating in _RATINGS if plausibility >= least), "extreme")


def find_reversals(plan: Plan) -> tuple[Reversal, ...]:
    """The orders against no trade, after costs; then each of the largest targets against the next, by their returns."""
    p, returns = plan.outlook.probabilities, plan.outlook.returns
    weights, names = plan.target.weights, plan.book.instruments
    reversals = []
    if plan.weighed_orders:
        weighed = portfolio_figures(plan.book, plan.outlook, plan.mandate, plan.weighed)
        today, then = (np.array(figures.scenario_returns) for figures in (plan.before, weighed))
        reversals.append(find_reversal("the orders", then, "no trade", today, p))
    largest = [i for i in np.argsort(-weights, kind="stable")[:PAIRS] if weights[i] > 0]
    pairs = pairwise(largest)
    return (*reversals, *(find_reversal(names[i], returns[:, i], names[j], returns[:, j], p) for i, j in pairs))


def find_reversal(first: str, its_returns: Vector, second: str, others: Vector, probabilities: Vector) -> Reversal:
    """The least shifts between two choices with these (K,) returns; the better one under the belief comes first."""
    better = others - its_returns
    ahead = -float(probabilities @ better)
    if ahead < 0:
        first, second, better, ahead = second, first, -better, -ahead
    return Reversal(first, second, ahead, {kind: shift(better, probabilities) for kind, shift in LEAST_SHIFTS.items()})


class _AxisRow(SweepDocument):
    break_evens: list[Annotated[Row, BreakEven, ("distance",)]]
    interval: Annotated[Row, OptimalityInterval] | None


@dataclass(frozen=True, eq=False)
class AxisStress:
    """All that one probability does; `interval` is None where nothing is verified at today's."""

    sweep: BeliefSweep
    break_evens: tuple[BreakEven, ...]
    interval: OptimalityInterval | None
    failed: tuple[FailedBelief, ...]

    def document(self) -> _AxisRow:
        """Plain data."""
        return {
            **self.sweep.document(),
            "break_evens": [_rounded(vars(turn) | {"distance": turn.distance}) for turn in self.break_evens],
            "interval": None if self.interval is None else _rounded(vars(self.interval)),
        }


class BeliefStressDocument(TypedDict):
    """How wrong the probabilities may be."""

    radius: str
    asked: Count
    finished: Count
    interrupted: bool
    axes: list[_AxisRow]
    reversals: list[_ReversalRow]
    failed: list[Annotated[Row, FailedBelief]]


@dataclass(frozen=True, eq=False)
class BeliefStress:
    """Belief stress of a plan, one part an axis. `asked` points of the axes' grids, `finished` of them done.

    Where `interrupted`, an axis may have fewer break-evens, and no axis comes after it.
    """

    plan: Plan
    axes: tuple[AxisStress, ...]
    reversals: tuple[Reversal, ...]
    asked: int
    finished: int
    interrupted: bool

    @property
    def failed(self) -> tuple[FailedBelief, ...]:
        """Every belief without a verified allocation."""
        return tuple(failure for axis in self.axes for failure in axis.failed)

    def frame(self) -> pd.DataFrame:
        """The break-evens, one row each."""
        rows = [vars(turn) | {"distance": turn.distance} for axis in self.axes for turn in axis.break_evens]
        return pd.DataFrame(rows, columns=[*BreakEven.__dataclass_fields__, "distance"])

    def document(self) -> BeliefStressDocument:
        """Plain data."""
        return {
            "radius": "today's",
            "asked": self.asked,
            "finished": self.finished,
            "interrupted": self.interrupted,
            "axes": [axis.document() for axis in self.axes],
            "reversals": [reversal.document(self.plan.outlook.scenarios) for reversal in self.reversals],
            "failed": list(map(document_of, self.failed)),
        }


def belief_stress(plan: Plan, *, within_bps: float = 10.0, jobs: int = 1, say: Say = say_nothing) -> BeliefStress:
    """Stress the probabilities under a plan.

    The ambiguity set keeps its shape and today's radius and follows the belief; signals stay as they are. Ctrl-C keeps
    what is finished.

    Raises:
        BadMandate: the plan does not follow from probabilities, or not by one decision.
    """
    refuse_impossible_axis(plan.book)
    axes, stressed, finished, interrupted = belief_axes(plan.book, plan.outlook), list[AxisStress](), 0, False
    for axis in axes:
        stress, done, interrupted = _stressed(plan, axis, within_bps, jobs, say)
        stressed.append(stress)
        finished += done
        if interrupted:
            break
    asked = sum(len(axis.grid()) for axis in axes)
    return BeliefStress(plan, tuple(stressed), find_reversals(plan), asked, finished, interrupted)


def _stressed(plan: Plan, axis: BeliefAxis, within_bps: float, jobs: int, say: Say) -> tuple[AxisStress, int, bool]:
    """One axis, how many points of its grid are finished, and whether Ctrl-C came."""
    on, interrupted = sweep_axis(plan, axis, jobs=jobs, say=say)
    points, turns, interval = [point for point in axis.grid() if point in on.known], list[BreakEven](), None
    sweep = belief_sweep(on, points)
    try:
        if not interrupted:
            interval = optimality_interval(on, points, within_bps)
            for turn in belief_break_evens(on, points):
                turns.append(turn)
                say(f"{len(turns)} break-evens of {axis.name}")
    except KeyboardInterrupt:
        interrupted = True
    return AxisStress(sweep, tuple(turns), interval, tuple(on.failures())), len(points), interrupted


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 10) if isinstance(value, float) else value for key, value in values.items()}
