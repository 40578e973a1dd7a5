"""At which probability what we do, how we lean and whom we prefer turns, and how far the plan is good enough (§4.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Annotated

import numpy as np

from allocator.optimization.resolve import CertifiedSolution
from allocator.optimization.single_period import problem_shape
from allocator.plan.break_even import break_even_probability
from allocator.plan.plan import Plan
from allocator.presentation import Keywords, Probability
from allocator.rules import Trade
from allocator.rules.builder import bucket_shares
from allocator.stress_testing.belief_sweep import AxisPoint
from allocator.types import Vector

# Where a reading of the best allocation changes its sign along an axis: bracketed, and exactly where it is piecewise
# linear.
#
# With a polyhedral ambiguity set the best allocation moves along straight lines between the beliefs at which its
# active rules change. Next to such a corner an interior-point solver rounds it off, by less than it is asked for; so
# a line is laid through three answers that stand clear of the corner, and where it meets 0 is the turn. With no
# charge for risk the allocation jumps, where both sides are worth the same. Either is a guess until the solves around
# it agree.
#
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
class RootBracket:
    """Where a reading turns: verified answers at `low` and `high` lie on different sides. `at` is the middle of them,
    or where `exact` the point that straight lines or a tie give; None where answers failed between them, and the
    reading turns or may turn there.
    """

    at: float | None
    low: float
    high: float
    exact: bool = False

    def distance(self, today: float) -> float:
        """From today's probability; of a gap at the least."""
        return max(self.low - today, today - self.high, 0.0) if self.at is None else abs(self.at - today)


def narrowed(holds: Callable[[float], bool | None], inside: float, outside: float) -> tuple[float, float, bool]:
    """The last point where something holds and the first where it does not, no farther apart than a bracket is wide.

    By bisection, as each end must be a point that was solved for; False where an answer failed on the way.
    """
    while abs(outside - inside) > WIDTH:
        middle = (inside + outside) / 2
        still = holds(middle)
        if still is None:
            return inside, outside, False
        inside, outside = (middle, outside) if still else (inside, middle)
    return inside, outside, True


def nearest_crossing(
    reading: Reading, points: Sequence[float], today: float, *, nothing: float = 0.0, jumps: Guesses | None = None
) -> RootBracket | None:
    """The turn nearest to today's probability, of those that the points show; None where all of them show none.

    A reading of no more than `nothing` is none. Exact turns are looked for where `jumps` are given.
    """
    values = [(point, reading(point)) for point in points]
    signs = [(point, value > nothing) for point, value in values if value is not None]
    turns = [(a, b) for (a, one), (b, other) in pairwise(signs) if one != other]
    below, above = [turn for turn in turns if turn[1] <= today][-1:], [turn for turn in turns if turn[0] >= today][:1]
    within = [turn for turn in turns if turn[0] < today < turn[1]]
    brackets = [_bracket(reading, *turn, nothing, jumps) for turn in (*below, *within, *above)]
    if not brackets and (failed := [point for point, value in values if value is None]):
        return RootBracket(None, min(failed), max(failed))
    return min(brackets, key=lambda bracket: bracket.distance(today), default=None)


def _bracket(reading: Reading, low: float, high: float, nothing: float, jumps: Guesses | None) -> RootBracket:
    first = (reading(low) or 0.0) > nothing

    def as_at_low(at: float) -> bool | None:
        value = reading(at)
        return None if value is None else (value > nothing) == first

    low, high, verified = narrowed(as_at_low, low, high)
    if not verified:
        return RootBracket(None, low, high)  # nothing verified inside: no crossing is named
    if jumps is not None:
        for guess in straight_line_root(reading, low, high):
            near = 0 <= guess <= 1 and low - WIDTH <= guess <= high + WIDTH
            value = reading(guess) if near else None
            if value is not None and abs(value) <= 3 * nothing + STRAIGHT:
                return RootBracket(guess, min(low, guess), max(high, guess), exact=True)
        for guess in jumps(low, high):
            if low <= guess <= high:
                return RootBracket(guess, low, high, exact=True)
    return RootBracket((low + high) / 2, low, high)


def straight_line_root(reading: Reading, low: float, high: float) -> list[float]:
    """Where the lines through answers on either side of a bracket meet 0, as far as they are lines."""
    roots = []
    for end, way in ((low, -1.0), (high, 1.0)):
        for apart in CLEAR:
            at = [end + way * apart * k for k in (1, 2, 3)]
            known = [value for point in at if 0 <= point <= 1 and (value := reading(point)) is not None]
            if len(known) < 3 or known[2] == known[0]:
                continue
            slope = (known[2] - known[0]) / (at[2] - at[0])
            if abs(known[1] - (known[0] + known[2]) / 2) <= STRAIGHT * abs(slope):
                roots.append(at[0] - known[0] / slope)
    return roots


NOTHING = 1e-5
"""Of the account: a trade of a tenth of a basis point is none, and weights no farther apart are the same."""
_JUMP = 1e-3
"""Of the account: more than this within a bracket is a jump and no slope."""
RANKED = 5
"""Of names by weight and by expected return, whose neighbours are compared."""


@dataclass(frozen=True)
class BreakEven:
    """The probability of `axis` nearest to today's `stated` at which `what` happens; None where nowhere from 0 to 1.

    It lies in [`low`, `high`], 1e-4 wide, whose ends are solved for and on different sides. `exact` says that
    `probability` is where straight lines of answers meet, or two answers tie; else it is the middle. `kind` is trade,
    tilt, weight or return. Where it is `unverified`, answers failed from `low` to `high`, and it may happen there.
    """

    kind: Annotated[str, Keywords(enum=["trade", "tilt", "weight", "return"])]
    what: str
    axis: str
    stated: Probability
    probability: Probability | None
    low: float | None
    high: float | None
    exact: bool
    unverified: Annotated[bool, "answers failed from low to high, and it may happen there"] = False

    @property
    def distance(self) -> float | None:
        """How far the probability is from today's, signed."""
        return None if self.probability is None else self.probability - self.stated


def belief_break_evens(on: AxisPoint, points: Sequence[float]) -> Iterator[BreakEven]:
    """Every one along an axis, trades first; `points` are where turns are looked for."""
    jumps: Guesses | None = (lambda low, high: _ties(on, low, high)) if is_piecewise_linear(on.plan) else None
    stated, name = on.axis.stated, on.axis.name
    for kind, what, nothing, reading in _readings(on):
        turn = nearest_crossing(reading, points, stated, nothing=nothing, jumps=jumps)
        if turn is None:
            yield BreakEven(kind, what, name, stated, None, None, None, exact=False)
        else:
            yield BreakEven(kind, what, name, stated, turn.at, turn.low, turn.high, turn.exact, turn.at is None)
    yield from _returns(on)


def is_piecewise_linear(plan: Plan) -> bool:
    """Whether the best allocation is piecewise linear along an axis: flat sets and rules, quadratic risk."""
    return not plan.mandate.ambiguity.is_curved and not problem_shape(plan.outlook, plan.mandate).conic


def _ties(on: AxisPoint, low: float, high: float) -> list[float]:
    """Where the best allocations at both ends of a bracket are worth the same, where they are apart: it jumps there."""
    at_low, at_high = on.at(low), on.at(high)
    if at_low is None or at_high is None or np.abs(at_low.weights - at_high.weights).max() < _JUMP:
        return []
    first, second, loss = trade_of_weights(on.plan, at_low), trade_of_weights(on.plan, at_high), on.plan.mandate.loss
    apart = [loss(first, on.outlook(at)) - loss(second, on.outlook(at)) for at in (low, high)]
    return [] if apart[0] == apart[1] else [low - apart[0] * (high - low) / (apart[1] - apart[0])]


def trade_of_weights(plan: Plan, best: CertifiedSolution) -> Trade:
    """An answer as a trade, the account before it being 1."""
    moved = best.holdings - plan.start.holdings
    costs = 1 - float(best.holdings.sum()) - best.cash
    return Trade(best.holdings, best.cash, np.maximum(moved, 0.0), np.maximum(-moved, 0.0), costs, 1.0)


def _readings(on: AxisPoint) -> Iterator[tuple[str, str, float, Reading]]:
    """What is looked at, what of it is nothing, and its reading, positive where today's best has it so."""
    plan, book = on.plan, on.plan.book
    one_each = np.eye(len(book.instruments))
    for order in plan.weighed_orders:
        verb, sign = ("bought", 1.0) if order.side == "buy" else ("sold", -1.0)
        i = book.instruments.index(order.instrument)
        level = sign * float(plan.start.holdings[i])
        reading = _reading(on, sign * one_each[i], level, lambda best: best.holdings)
        yield "trade", f"{order.instrument} is no longer {verb}", NOTHING, reading
    first, second = book.settings.buckets.shown
    lean, pair = bucket_shares(book, first) - bucket_shares(book, second), f"{first} and {second}".replace("_", " ")
    yield "tilt", f"{pair} weigh the same", 0.0, _reading(on, lean, 0.0)
    today = _reading(on, lean, float(lean @ book.weights))
    yield "tilt", f"{pair} are as far apart as in today's holdings", 0.0, today
    if (best := on.at(on.axis.stated)) is None:
        return
    for i, j in islice(pairwise(np.argsort(-best.weights[:-1], kind="stable")), RANKED):
        if best.weights[i] - best.weights[j] > NOTHING:
            what = f"{book.instruments[i]} is no longer above {book.instruments[j]}"
            yield "weight", what, NOTHING, _reading(on, one_each[i] - one_each[j], 0.0)


def _reading(
    on: AxisPoint,
    coefficients: Vector,
    level: float,
    amounts: Callable[[CertifiedSolution], Vector] = lambda best: best.weights[:-1],
) -> Reading:
    """A sum over the best allocation's weights (N,), or other amounts of it, less a level."""

    def reading(at: float) -> float | None:
        best = on.at(at)
        return None if best is None else float(coefficients @ amounts(best)) - level

    return reading


def _returns(on: AxisPoint) -> Iterator[BreakEven]:
    """Neighbours by expected return: two straight lines, which meet exactly once or never."""
    outlook, axis, names = on.plan.outlook, on.axis, on.plan.book.instruments
    ranked = np.argsort(-(outlook.probabilities @ outlook.returns), kind="stable")[:RANKED]
    for i, j in pairwise(ranked):
        at = break_even_probability(outlook.returns[:, i], outlook.returns[:, j], axis.if_true, axis.if_false)
        what = f"{names[i]} returns no more than {names[j]}"
        yield BreakEven("return", what, axis.name, axis.stated, at, at, at, exact=at is not None)


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
    low, cut_below = _end(on, [point for point in reversed(points) if point < stated], within_bps)
    high, cut_above = _end(on, [point for point in points if point > stated], within_bps)
    beyond = [end + way * 2 * WIDTH for end, way in ((low, -1), (high, 1)) if 0 < end < 1]
    rules = tuple(dict.fromkeys(rule for point in beyond if 0 <= point <= 1 for rule in on.limit_breaches(point)))
    ends = optimality_shortfall(on, low), optimality_shortfall(on, high)
    return OptimalityInterval(axis, stated, within_bps, short, low, high, *ends, cut_below or cut_above, rules)


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

    def holds(at: float) -> bool | None:
        short = optimality_shortfall(on, at)
        return None if short is None else short <= within_bps

    inside = on.axis.stated
    for point in outwards:
        good_enough = holds(point)
        if good_enough is None:
            return inside, True
        if not good_enough:
            inside, _, verified = narrowed(holds, inside, point)
            return inside, not verified
        inside = point
    return inside, False
