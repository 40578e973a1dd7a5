"""In which beliefs the plan is good enough: within so many basis points of what would be best there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from allocator.studies.roots import WIDTH
from allocator.studies.sweeps import OnAxis


@dataclass(frozen=True)
class Interval:
    """The plan's lots stay within `within_bps` of optimal while the probability of `axis` is in [`low`, `high`].

    Both None where they are not even at the `stated` probability. `short_bps` is what they lack there, `short_low_bps`
    and `short_high_bps` at the ends; an end inside (0, 1) is within 1e-4 of where more is lacking, or where the plan
    breaks one of `broken`, rules that hang on the belief. `cut_short` says that an end is where no verified answer was
    found, and not where more is lacking.
    """

    axis: str
    stated: float
    within_bps: float
    short_bps: float
    low: float | None
    high: float | None
    short_low_bps: float | None
    short_high_bps: float | None
    cut_short: bool = False
    broken: tuple[str, ...] = ()


def interval_of(on: OnAxis, points: Sequence[float], within_bps: float) -> Interval | None:
    """The interval around today's probability; None where nothing is verified there.

    Found by steps from today outwards and bisection of the first step that leaves it. With a belief that is trusted the
    shortfall is convex along the axis and nothing is overlooked; with a set it could leave and come back within a step.
    """
    stated, axis = on.axis.stated, on.axis.name
    short = shortfall(on, stated)
    if short is None:
        return None
    if short > within_bps:
        return Interval(axis, stated, within_bps, short, None, None, None, None)
    below = _end(on, [point for point in reversed(points) if point < stated], within_bps)
    above = _end(on, [point for point in points if point > stated], within_bps)
    low, high = shortfall(on, below[0]), shortfall(on, above[0])
    beyond = [end + way * 2 * WIDTH for (end, _), way in ((below, -1), (above, 1)) if 0 < end < 1]
    rules = dict.fromkeys(rule for point in beyond if 0 <= point <= 1 for rule in on.broken(point))
    cut = below[1] or above[1]
    return Interval(axis, stated, within_bps, short, below[0], above[0], low, high, cut, tuple(rules))


def shortfall(on: OnAxis, probability: float) -> float | None:
    """What the plan's lots lack to the best there is, in bps of the account, by the formulas; None where none is
    verified, infinite where they break a rule that the best keeps.
    """
    best = on.at(probability)
    if best is None:
        return None
    if on.broken(probability):
        return float("inf")
    return (on.plan.mandate.loss(on.plan.final, on.outlook(probability)) - best.objective) * 1e4


def _end(on: OnAxis, outwards: Sequence[float], within_bps: float) -> tuple[float, bool]:
    """The last probability inside, and whether the way ended at an answer that failed."""
    inside = on.axis.stated
    for point in outwards:
        short = shortfall(on, point)
        if short is None:
            return inside, True
        if short <= within_bps:
            inside = point
            continue
        outside = point
        while abs(outside - inside) > WIDTH:
            middle = (inside + outside) / 2
            short = shortfall(on, middle)
            if short is None:
                return inside, True
            inside, outside = (middle, outside) if short <= within_bps else (inside, middle)
        return inside, False
    return inside, False
