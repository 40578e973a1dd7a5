"""At which probability what we do, how we lean and whom we prefer turns (science §4.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import numpy as np

from allocator.optimization.resolve import CertifiedSolution
from allocator.optimization.single_period import problem_shape
from allocator.plan.break_even import break_even_probability
from allocator.plan.plan import Order, Plan
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
    or where `exact` the point that straight lines or a tie give.
    """

    at: float
    low: float
    high: float
    exact: bool


@dataclass(frozen=True)
class UnverifiedBracket:
    """Answers failed between `low` and `high`, where a reading turns or may turn: where, is not known."""

    low: float
    high: float


def nearest_crossing(
    reading: Reading, points: Sequence[float], today: float, *, nothing: float = 0.0, jumps: Guesses | None = None
) -> RootBracket | UnverifiedBracket | None:
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
        return UnverifiedBracket(min(failed), max(failed))
    return min(found, key=lambda one: _distance(one, today), default=None)


def _distance(found: RootBracket | UnverifiedBracket, today: float) -> float:
    """From today's probability; of a gap at the least."""
    if isinstance(found, RootBracket):
        return abs(found.at - today)
    return max(found.low - today, today - found.high, 0.0)


def _narrowed(
    reading: Reading, low: float, high: float, nothing: float, jumps: Guesses | None
) -> RootBracket | UnverifiedBracket:
    first = reading(low)
    while high - low > WIDTH:
        middle = (low + high) / 2
        value = reading(middle)
        if value is None or first is None:
            return UnverifiedBracket(low, high)  # nothing verified inside: no crossing is named
        low, high = (middle, high) if (value > nothing) == (first > nothing) else (low, middle)
    if jumps is not None:
        for guess in straight_line_root(reading, low, high):
            value = reading(guess)
            if low - WIDTH <= guess <= high + WIDTH and value is not None and abs(value) <= 3 * nothing + STRAIGHT:
                return RootBracket(guess, min(low, guess), max(high, guess), exact=True)
        for guess in jumps(low, high):
            if low <= guess <= high:
                return RootBracket(guess, low, high, exact=True)
    return RootBracket((low + high) / 2, low, high, exact=False)


def straight_line_root(reading: Reading, low: float, high: float) -> list[float]:
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
    for kind, what, nothing, reading in _readings(on):
        yield _turn(on, points, kind, what, nothing, reading)
    yield from _returns(on)


def _turn(on: AxisPoint, points: Sequence[float], kind: str, what: str, nothing: float, reading: Reading) -> BreakEven:
    stated, name = on.axis.stated, on.axis.name

    def ties(low: float, high: float) -> list[float]:
        return _ties(on, low, high)

    jumps = ties if is_piecewise_linear(on.plan) else None
    found = nearest_crossing(reading, points, stated, nothing=nothing, jumps=jumps)
    if found is None:
        return BreakEven(kind, what, name, stated, None, None, None, exact=False)
    if isinstance(found, UnverifiedBracket):
        return BreakEven(kind, what, name, stated, None, found.low, found.high, exact=False, unverified=True)
    return BreakEven(kind, what, name, stated, found.at, found.low, found.high, exact=found.exact)


def is_piecewise_linear(plan: Plan) -> bool:
    """Whether the best allocation is piecewise linear along an axis: flat sets and rules, quadratic risk."""
    return not plan.mandate.ambiguity.is_curved and not problem_shape(plan.outlook, plan.mandate).conic


def _ties(on: AxisPoint, low: float, high: float) -> list[float]:
    """Where the best allocations at both ends of a bracket are worth the same, where they are apart: it jumps there."""
    ends = [on.at(low), on.at(high)]
    if ends[0] is None or ends[1] is None:
        return []
    if np.abs(ends[0].weights - ends[1].weights).max() < _JUMP:
        return []
    first, second = (trade_of_weights(on.plan, end) for end in ends if end is not None)
    apart = [
        on.plan.mandate.loss(first, on.outlook(at)) - on.plan.mandate.loss(second, on.outlook(at)) for at in (low, high)
    ]
    if apart[0] == apart[1]:
        return []
    return [low - apart[0] * (high - low) / (apart[1] - apart[0])]


def trade_of_weights(plan: Plan, found: CertifiedSolution) -> Trade:
    """An answer as a trade, the account before it being 1."""
    moved = found.holdings - plan.start.holdings
    costs = 1 - float(found.holdings.sum()) - found.cash
    return Trade(found.holdings, found.cash, np.maximum(moved, 0.0), np.maximum(-moved, 0.0), costs, 1.0)


def _readings(on: AxisPoint) -> Iterator[tuple[str, str, float, Reading]]:
    """What is looked at, positive on today's side where today's best has it so."""
    plan, book = on.plan, on.plan.book
    for order in plan.weighed_orders:
        verb = "bought" if order.side == "buy" else "sold"
        yield "trade", f"{order.instrument} is no longer {verb}", NOTHING, _trade(on, order)
    lean = bucket_shares(book, "efficiency") - bucket_shares(book, "capital_intensity")
    today = float(lean @ book.weights)
    yield "tilt", "efficiency and capital intensity weigh the same", 0.0, _weighed(on, lean, 0.0)
    yield (
        "tilt",
        "efficiency and capital intensity are as far apart as in today's holdings",
        0.0,
        _weighed(on, lean, today),
    )
    best = on.at(on.axis.stated)
    if best is None:
        return
    order_ = np.argsort(-best.weights[:-1], kind="stable")
    for i, j in pairwise(order_):
        if best.weights[i] - best.weights[j] > NOTHING and int(np.flatnonzero(order_ == i)[0]) < RANKED:
            names = book.instruments
            apart = np.zeros(len(names))
            apart[i], apart[j] = 1.0, -1.0
            yield "weight", f"{names[i]} is no longer above {names[j]}", NOTHING, _weighed(on, apart, 0.0)


def _trade(on: AxisPoint, order: Order) -> Reading:
    """By how much the best allocation buys (or sells) a name."""
    i, sign = on.plan.book.instruments.index(order.instrument), 1.0 if order.side == "buy" else -1.0

    def reading(at: float) -> float | None:
        found = on.at(at)
        return None if found is None else sign * float(found.holdings[i] - on.plan.start.holdings[i])

    return reading


def _weighed(on: AxisPoint, coefficients: Vector, level: float) -> Reading:
    """A sum over the best allocation's weights, less a level."""

    def reading(at: float) -> float | None:
        found = on.at(at)
        return None if found is None else float(coefficients @ found.weights[:-1]) - level

    return reading


def _returns(on: AxisPoint) -> Iterator[BreakEven]:
    """Neighbours by expected return: two straight lines, which meet exactly once or never."""
    outlook, axis, names = on.plan.outlook, on.axis, on.plan.book.instruments
    ranked = np.argsort(-(outlook.probabilities @ outlook.returns), kind="stable")[:RANKED]
    for i, j in pairwise(ranked):
        at = break_even_probability(outlook.returns[:, i], outlook.returns[:, j], axis.if_true, axis.if_false)
        what = f"{names[i]} returns no more than {names[j]}"
        yield BreakEven("return", what, axis.name, axis.stated, at, at, at, exact=at is not None)
