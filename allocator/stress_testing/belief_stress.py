"""How wrong we can be about the probabilities before we would want something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import numpy as np

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.plan.break_even import LeastShift, least_shift_chi2, least_shift_kl, least_shift_tv
from allocator.plan.plan import Plan, portfolio_figures
from allocator.presentation import Count, Probability, Row
from allocator.stress_testing.belief_sweep import (
    AxisPoint,
    BeliefAxis,
    BeliefSweep,
    FailedBelief,
    SweepDocument,
    axis_grid,
    belief_axes,
    belief_sweep,
    plan_or_rebalance,
    refuse_impossible_axis,
    sweep_axis,
)
from allocator.stress_testing.break_even import WIDTH, BreakEven, belief_break_evens
from allocator.types import Vector

if TYPE_CHECKING:
    import pandas as pd


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
KINDS = {"total_variation": least_shift_tv, "kl": least_shift_kl, "chi2": least_shift_chi2}


class _LeastShiftRow(TypedDict):
    distance: float
    probabilities: Annotated[dict[str, Probability], "by scenario"]


class _ReversalRow(TypedDict):
    first: str
    second: str
    advantage: float
    plausibility: float | None
    rating: str
    shifts: dict[str, _LeastShiftRow | None]


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
                kind: None
                if shift is None
                else {
                    "distance": round(shift.distance, 10),
                    "probabilities": dict(zip(scenarios, (round(float(q), 10) for q in shift.q), strict=True)),
                }
                for kind, shift in self.shifts.items()
            },
        }


def describe_plausibility(plausibility: float | None) -> str:
    """A plausibility exp(−KL) as a rating; None is a shift that no belief makes."""
    if plausibility is None:
        return "impossible"
    return next((said for least, said in _RATINGS if plausibility >= least), "extreme")


def find_reversals(plan: Plan) -> tuple[Reversal, ...]:
    """The orders against no trade, after costs; then each of the largest targets against the next, by their returns."""
    weighed = portfolio_figures(plan.book, plan.outlook, plan.mandate, plan.weighed)
    found = []
    if plan.weighed_orders:
        today, then = (np.array(one.scenario_returns) for one in (plan.before, weighed))
        found.append(find_reversal("the orders", then, "no trade", today, plan.outlook.probabilities))
    weights, names = plan.target.weights, plan.book.instruments
    largest = [i for i in np.argsort(-weights, kind="stable")[:PAIRS] if weights[i] > 0]
    for i, j in pairwise(largest):
        returns = plan.outlook.returns
        found.append(find_reversal(names[i], returns[:, i], names[j], returns[:, j], plan.outlook.probabilities))
    return tuple(found)


def find_reversal(first: str, its_returns: Vector, second: str, others: Vector, probabilities: Vector) -> Reversal:
    """The least shifts between two choices with these (K,) returns; the better one under the belief comes first."""
    better = others - its_returns
    ahead = -float(probabilities @ better)
    if ahead < 0:
        first, second, better, ahead = second, first, -better, -ahead
    return Reversal(first, second, ahead, {kind: shift(better, probabilities) for kind, shift in KINDS.items()})


# In which beliefs the plan is good enough: within so many basis points of what would be best there.
#


@dataclass(frozen=True)
class OptimalityInterval:
    """The plan's lots stay within `within_bps` of optimal while the probability of `axis` is in [`low`, `high`].

    Both None where they are not even at the `stated` probability. `shortfall_bps` is how much less their objective is
    there, `shortfall_low_bps` and `shortfall_high_bps` at the ends; an end inside (0, 1) is within 1e-4 of where the
    shortfall is larger, or where the plan breaches one of `limit_breaches`, of rules that depend on the belief.
    `cut_short` says that an end is where no verified answer was found, and not where the shortfall is larger.
    """

    axis: str
    stated: Probability
    within_bps: float
    shortfall_bps: float
    low: Probability | None
    high: Probability | None
    shortfall_low_bps: float | None
    shortfall_high_bps: float | None
    cut_short: bool = False
    limit_breaches: Annotated[tuple[str, ...], "limits that the plan breaches beyond an end"] = ()


def optimality_interval(on: AxisPoint, points: Sequence[float], within_bps: float) -> OptimalityInterval | None:
    """The interval around today's probability; None where nothing is verified there.

    Found by steps from today outwards and bisection of the first step that leaves it. With a belief that is trusted the
    shortfall is convex along the axis and nothing is overlooked; with a set it could leave and come back within a step.
    """
    stated, axis = on.axis.stated, on.axis.name
    short = optimality_shortfall(on, stated)
    if short is None:
        return None
    if short > within_bps:
        return OptimalityInterval(axis, stated, within_bps, short, None, None, None, None)
    below = _end(on, [point for point in reversed(points) if point < stated], within_bps)
    above = _end(on, [point for point in points if point > stated], within_bps)
    low, high = optimality_shortfall(on, below[0]), optimality_shortfall(on, above[0])
    beyond = [end + way * 2 * WIDTH for (end, _), way in ((below, -1), (above, 1)) if 0 < end < 1]
    rules = dict.fromkeys(rule for point in beyond if 0 <= point <= 1 for rule in on.limit_breaches(point))
    cut = below[1] or above[1]
    return OptimalityInterval(axis, stated, within_bps, short, below[0], above[0], low, high, cut, tuple(rules))


def optimality_shortfall(on: AxisPoint, probability: float) -> float | None:
    """The shortfall of the plan's lots against the optimum, in bps of the account, by the formulas; None where no
    optimum is verified, infinite where they breach a limit that it keeps.
    """
    best = on.at(probability)
    if best is None:
        return None
    if on.limit_breaches(probability):
        return float("inf")
    return (on.plan.mandate.loss(on.plan.final, on.outlook(probability)) - best.objective) * 1e4


def _end(on: AxisPoint, outwards: Sequence[float], within_bps: float) -> tuple[float, bool]:
    """The last probability inside, and whether the way ended at an answer that failed."""
    inside = on.axis.stated
    for point in outwards:
        short = optimality_shortfall(on, point)
        if short is None:
            return inside, True
        if short <= within_bps:
            inside = point
            continue
        outside = point
        while abs(outside - inside) > WIDTH:
            middle = (inside + outside) / 2
            short = optimality_shortfall(on, middle)
            if short is None:
                return inside, True
            inside, outside = (middle, outside) if short <= within_bps else (inside, middle)
        return inside, False
    return inside, False


WITHIN_BPS = 10.0


@dataclass(frozen=True, eq=False)
class AxisStress:
    """All that one probability does; `interval` is None where nothing is verified at today's."""

    sweep: BeliefSweep
    break_evens: tuple[BreakEven, ...]
    interval: OptimalityInterval | None
    failed: tuple[FailedBelief, ...]


class _AxisRow(SweepDocument):
    break_evens: list[Annotated[Row, BreakEven, ("distance",)]]
    interval: Annotated[Row, OptimalityInterval] | None


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
        return tuple(one for axis in self.axes for one in axis.failed)

    def frame(self) -> pd.DataFrame:
        """The break-evens, one row each."""
        import pandas as pd

        rows = [vars(one) | {"distance": one.distance} for axis in self.axes for one in axis.break_evens]
        columns = [*BreakEven.__dataclass_fields__, "distance"]
        return pd.DataFrame(rows, columns=columns)

    def document(self) -> BeliefStressDocument:
        """Plain data."""
        return {
            "radius": "today's",
            "asked": self.asked,
            "finished": self.finished,
            "interrupted": self.interrupted,
            "axes": [
                {
                    **axis.sweep.document(),
                    "break_evens": [_rounded(vars(one) | {"distance": one.distance}) for one in axis.break_evens],
                    "interval": None if axis.interval is None else _rounded(vars(axis.interval)),
                }
                for axis in self.axes
            ],
            "reversals": [one.document(self.plan.outlook.scenarios) for one in self.reversals],
            "failed": [vars(one) | {"probabilities": dict(one.probabilities)} for one in self.failed],
        }


def belief_stress(
    book: Book,
    plan: Plan | None = None,
    *,
    within_bps: float = WITHIN_BPS,
    jobs: int = 1,
    say: Callable[[str], None] | None = None,
) -> BeliefStress:
    """Stress the probabilities under a plan of `book`, or under the one that `rebalance` makes.

    The ambiguity set keeps its shape and today's radius and follows the belief; signals stay as they are. Ctrl-C keeps
    what is finished.

    Raises:
        BadMandate: the plan does not follow from probabilities, or not by one decision.
        BadInput: `within_bps` is not above 0, `jobs` is not 1 or more, or the plan is of another book.
        AllocatorError: without a plan, whatever `rebalance` raises.
    """
    if not 0 < within_bps < float("inf"):
        rule, cure = "must be above 0", "10 is usual: 0.1% of the account"
        raise BadInput([Breach("within_bps", None, None, f"{within_bps:g}", rule, cure)])
    refuse_impossible_axis(book)
    plan = plan_or_rebalance(book, plan, say)
    axes, found, interrupted = belief_axes(book, plan.outlook), [], False
    asked = sum(len(axis_grid(axis)) for axis in axes)
    for axis in axes:
        stressed, interrupted = _stressed(plan, axis, within_bps, jobs, say)
        found.append(stressed)
        if interrupted:
            break
    finished = sum(len(one.sweep.probabilities) + len(_on_grid(one)) for one in found)
    return BeliefStress(plan, tuple(found), find_reversals(plan), asked, finished, interrupted)


def _stressed(
    plan: Plan, axis: BeliefAxis, within_bps: float, jobs: int, say: Callable[[str], None] | None
) -> tuple[AxisStress, bool]:
    """One axis, and whether Ctrl-C came."""
    on, interrupted = sweep_axis(plan, axis, jobs=jobs, say=say)
    points, turns, interval = [point for point in axis_grid(axis) if point in on.known], [], None
    sweep = belief_sweep(on, points)
    try:
        if not interrupted:
            interval = optimality_interval(on, points, within_bps)
            for one in belief_break_evens(on, points):
                turns.append(one)
                if say is not None:
                    say(f"{len(turns)} break-evens of {axis.name}")
    except KeyboardInterrupt:
        interrupted = True
    return AxisStress(sweep, tuple(turns), interval, tuple(on.failures())), interrupted


def _on_grid(one: AxisStress) -> list[FailedBelief]:
    """The failures that are points of the grid and not of a bisection."""
    axis = one.sweep.axis
    points = {tuple(map(float, axis.at(point))) for point in axis_grid(axis)}
    return [failure for failure in one.failed if tuple(failure.probabilities.values()) in points]


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 10) if isinstance(value, float) else value for key, value in values.items()}
