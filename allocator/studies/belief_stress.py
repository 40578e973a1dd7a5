"""How wrong we can be about the probabilities before we would want something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.plan.plan import Plan
from allocator.studies.axes import Axis, axes_of, refuse_unbelieved
from allocator.studies.break_evens import BreakEven, break_evens
from allocator.studies.interval import Interval, interval_of
from allocator.studies.shifts import Flip, flips_of
from allocator.studies.sweeps import FailedBelief, Sweep, grid, plan_of, sweep_of, swept

if TYPE_CHECKING:
    import pandas as pd

WITHIN_BPS = 10.0


@dataclass(frozen=True, eq=False)
class AxisStress:
    """All that one probability does; `interval` is None where nothing is verified at today's."""

    sweep: Sweep
    break_evens: tuple[BreakEven, ...]
    interval: Interval | None
    failed: tuple[FailedBelief, ...]


@dataclass(frozen=True, eq=False)
class BeliefStress:
    """Belief stress of a plan, one part an axis. `asked` points of the axes' grids, `finished` of them done.

    Where `interrupted`, an axis may have fewer break-evens, and no axis comes after it.
    """

    plan: Plan
    axes: tuple[AxisStress, ...]
    flips: tuple[Flip, ...]
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

    def document(self) -> dict[str, Any]:
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
            "flips": [flip.document(self.plan.outlook.scenarios) for flip in self.flips],
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
    refuse_unbelieved(book)
    plan = plan_of(book, plan, say)
    axes, found, interrupted = axes_of(book, plan.outlook), [], False
    asked = sum(len(grid(axis)) for axis in axes)
    for axis in axes:
        stressed, interrupted = _stressed(plan, axis, within_bps, jobs, say)
        found.append(stressed)
        if interrupted:
            break
    finished = sum(len(one.sweep.probabilities) + len(_on_grid(one)) for one in found)
    return BeliefStress(plan, tuple(found), flips_of(plan), asked, finished, interrupted)


def _stressed(
    plan: Plan, axis: Axis, within_bps: float, jobs: int, say: Callable[[str], None] | None
) -> tuple[AxisStress, bool]:
    """One axis, and whether Ctrl-C came."""
    on, interrupted = swept(plan, axis, jobs=jobs, say=say)
    points, turns, interval = [point for point in grid(axis) if point in on.known], [], None
    sweep = sweep_of(on, points)
    try:
        if not interrupted:
            interval = interval_of(on, points, within_bps)
            for one in break_evens(on, points):
                turns.append(one)
                if say is not None:
                    say(f"{len(turns)} break-evens of {axis.name}")
    except KeyboardInterrupt:
        interrupted = True
    return AxisStress(sweep, tuple(turns), interval, tuple(on.failures())), interrupted


def _on_grid(one: AxisStress) -> list[FailedBelief]:
    """The failures that are points of the grid and not of a bisection."""
    axis = one.sweep.axis
    points = {tuple(map(float, axis.at(point))) for point in grid(axis)}
    return [failure for failure in one.failed if tuple(failure.probabilities.values()) in points]


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 10) if isinstance(value, float) else value for key, value in values.items()}
