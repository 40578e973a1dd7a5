"""Where a reading of the best allocation changes its sign along an axis: bracketed, and exactly where it is piecewise
linear.

With a polyhedral ambiguity set the best allocation moves along straight lines between the beliefs at which its active
rules change. Next to such a corner an interior-point solver rounds it off, by less than it is asked for; so a line is
laid through three answers that stand clear of the corner, and where it meets 0 is the turn. With no charge for risk the
allocation jumps, where both sides are worth the same. Either is a guess until the solves around it agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH = 1e-4
"""Of a bracket."""
CLEAR = (5e-4, 1e-3)
"""Between the answers that a line is laid through, the first of them so far from the bracket."""
STRAIGHT = 1e-6
"""Of the axis: how far the middle one of three answers may be from the line through the others."""
Reading = Callable[[float], float | None]
"""A number at a probability; None where there is no verified answer."""
Guesses = Callable[[float, float], Sequence[float]]
"""Where a jump inside a bracket should be."""


@dataclass(frozen=True)
class Crossing:
    """Where a reading turns: verified answers at `low` and `high` lie on different sides. `at` is the middle of them,
    or where `exact` the point that straight lines or a tie give.
    """

    at: float
    low: float
    high: float
    exact: bool


@dataclass(frozen=True)
class Gap:
    """Answers failed between `low` and `high`, where a reading turns or may turn: where, is not known."""

    low: float
    high: float


def nearest_crossing(
    reading: Reading, points: Sequence[float], today: float, *, nothing: float = 0.0, jumps: Guesses | None = None
) -> Crossing | Gap | None:
    """The turn nearest to today's probability, of those that the points show; None where all of them show none.

    A reading of no more than `nothing` is none. Exact turns are looked for where `jumps` are given.
    """
    values = [(point, reading(point)) for point in points]
    signs = [(point, value > nothing) for point, value in values if value is not None]
    turns = [(a, b) for (a, one), (b, other) in pairwise(signs) if one != other]
    below, above = [turn for turn in turns if turn[1] <= today][-1:], [turn for turn in turns if turn[0] >= today][:1]
    within = [turn for turn in turns if turn[0] < today < turn[1]]
    found = [_narrowed(reading, *turn, nothing, jumps) for turn in (*below, *within, *above)]
    if not found and (failed := [point for point, value in values if value is None]):
        return Gap(min(failed), max(failed))
    return min(found, key=lambda one: _distance(one, today), default=None)


def _distance(found: Crossing | Gap, today: float) -> float:
    """From today's probability; of a gap at the least."""
    if isinstance(found, Crossing):
        return abs(found.at - today)
    return max(found.low - today, today - found.high, 0.0)


def _narrowed(reading: Reading, low: float, high: float, nothing: float, jumps: Guesses | None) -> Crossing | Gap:
    first = reading(low)
    while high - low > WIDTH:
        middle = (low + high) / 2
        value = reading(middle)
        if value is None or first is None:
            return Gap(low, high)  # nothing verified inside: no crossing is named
        low, high = (middle, high) if (value > nothing) == (first > nothing) else (low, middle)
    if jumps is not None:
        for guess in straight(reading, low, high):
            value = reading(guess)
            if low - WIDTH <= guess <= high + WIDTH and value is not None and abs(value) <= 3 * nothing + STRAIGHT:
                return Crossing(guess, min(low, guess), max(high, guess), exact=True)
        for guess in jumps(low, high):
            if low <= guess <= high:
                return Crossing(guess, low, high, exact=True)
    return Crossing((low + high) / 2, low, high, exact=False)


def straight(reading: Reading, low: float, high: float) -> list[float]:
    """Where the lines through answers on either side of a bracket meet 0, as far as they are lines."""
    found = []
    for end, way in ((low, -1.0), (high, 1.0)):
        for apart in CLEAR:
            at = [end + way * apart * k for k in (1, 2, 3)]
            known = [value for point in at if 0 <= point <= 1 and (value := reading(point)) is not None]
            if len(known) < 3 or known[2] == known[0]:
                continue
            slope = (known[2] - known[0]) / (at[2] - at[0])
            if abs(known[1] - (known[0] + known[2]) / 2) <= STRAIGHT * abs(slope):
                found.append(at[0] - known[0] / slope)
    return found
