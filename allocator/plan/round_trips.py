"""Where the best on paper makes round trips, there is no plan: which limits ask for that, and how far to loosen them.

A convex program may buy and sell one name at once, or pay more impact than its trades come to, where being rid of money
keeps a rule. No order does that.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from allocator.errors import Infeasible, NotSolved
from allocator.mandate.mandate import Mandate
from allocator.optimization.conflicts import RelaxedLimits, describe_fix, explain_conflict
from allocator.optimization.single_period import Position
from allocator.optimization.solve import Limits, Program, Solution, trade_of_solution
from allocator.outlook.outlook import Outlook
from allocator.plan.certificate import certify_solution
from allocator.rules import one_key_one_limit

_LOST = 1e-7
"""Of the account: a solution that has this much less cash than its trades leave pays for trades that are none."""
_NOISE = 1e-8
_LOOSENINGS = 12
_SHARES = np.linspace(0.0, 1.0, 2**12 + 1)[1:].tolist()
_CURE = "let more cash be held, or less of what is held be kept"


def has_round_trips(start: Position, mandate: Mandate, solution: Solution) -> bool:
    """Whether a solution's own trades lead to its holdings, and leave more cash than it has."""
    apart = np.abs(start.holdings + solution.bought - solution.sold - solution.holdings).max(initial=0.0)
    left = trade_of_solution(start, mandate, solution.holdings, 1.0).cash
    return bool(apart <= _LOST and left - solution.cash > _LOST)


def round_trip_refusal(
    program: Program, start: Position, outlook: Outlook, mandate: Mandate, limits: Limits | None, solution: Solution
) -> Infeasible:
    """Why there is no plan: a conflict, else the limits that its trades miss once no name is bought and sold at once.

    The fix is how far these must be loosened, together, for a plan without round trips: it was solved.
    """
    said = "no plan: the best on paper{} buys and sells one name at once, which only loses cash"
    if not program.explains:
        return Infeasible(f"{said.format('')}; `rebalance` with these numbers names the limits")
    if (conflict := explain_conflict(start, outlook, mandate, quick=program.quick)) is not None:
        return conflict
    asked = _Loosening(program, start, outlook, mandate, limits)
    wide, works = asked.wide_enough(solution)
    rules = [wide.members[place].label for place in wide.limits]
    said = said.format(f" under {' and '.join(map(repr, rules))}" if rules else "")
    if not works:
        return Infeasible(said, rules, [_CURE])
    least = asked.least(wide).limits
    move = one_key_one_limit([wide.members[place].at(limit) for place, limit in least.items()])
    return Infeasible(said, rules, [describe_fix(move, rules)], moves=[move])


@dataclass(frozen=True, eq=False)
class _Loosening:
    """How far limits must be loosened until the best on paper has no round trips."""

    program: Program
    start: Position
    outlook: Outlook
    mandate: Mandate
    limits: Limits | None

    def wide_enough(self, solution: Solution) -> tuple[RelaxedLimits, bool]:
        """Limits loosened to what is measured without the round trips until that works, and whether it does."""
        wide = RelaxedLimits.nothing(self.start, self.outlook, self.mandate)
        for _ in range(_LOOSENINGS):
            if self._works(wide, solution):
                return wide, True
            wide = self._loosened(wide, solution)
            loosened = self._best(wide) if all(wide.members[place].has_limit for place in wide.limits) else None
            if loosened is None:
                break
            solution = loosened
        return wide, False

    def least(self, wide: RelaxedLimits) -> RelaxedLimits:
        """The least part of a loosening that still works, by halving: the more, the less money is in the way."""

        def works(share: float) -> bool:
            solution = self._best(between := wide.part(share))
            return solution is not None and self._works(between, solution)

        return wide.part(_SHARES[bisect_left(_SHARES, True, hi=len(_SHARES) - 1, key=works)])

    def _best(self, given: RelaxedLimits) -> Solution | None:
        try:
            return self.program.solve(self.start, self.outlook, given.with_limits(self.mandate), self.limits)
        except (Infeasible, NotSolved):
            return None

    def _works(self, given: RelaxedLimits, solution: Solution) -> bool:
        try:
            certify_solution(self.start, self.outlook, given.with_limits(self.mandate), solution)
        except NotSolved:
            return False
        return True

    def _loosened(self, given: RelaxedLimits, solution: Solution) -> RelaxedLimits:
        """Each limit that a solution misses without its round trips as far out as is measured then."""
        netted = trade_of_solution(self.start, self.mandate, solution.holdings, 1.0)
        for row, reading in enumerate(given.with_limits(self.mandate).readings(netted, self.outlook)):
            if reading.missed > _NOISE:
                given = given.measured(row, reading.measured)
        return given
