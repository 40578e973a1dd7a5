"""Fractional targets: solved and certified, under the stated rules or under what holds of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.product import axis_shares
from allocator.ambiguity.sets import PROBABILITY_SHIFT, Ambiguity
from allocator.book.book import Book
from allocator.errors import Infeasible, NotSolved
from allocator.mandate.mandate import Mandate
from allocator.optimization.conflicts import (
    RelaxedLimits,
    describe_fix,
    explain_conflict,
    has_tiers,
    relax_by_tier,
)
from allocator.optimization.resolve import ParametricSolver
from allocator.optimization.solve import Limits, Program, Solution, trade_of_solution
from allocator.optimization.verification import DualCertificate, best_dual_certificate
from allocator.outlook.outlook import Outlook
from allocator.plan.certificate import Certificate, certify, certify_solution
from allocator.rules import Trade, one_key_one_limit
from allocator.rules.rows import Position
from allocator.types import Vector

if TYPE_CHECKING:
    from allocator.few_names.search import FoundNames

# Among plans that are nearly the best, the one that trades least (`trading.indifference_bps`).
#
# The program is asked again with a price on every unit traded beside its costs. The dearer trading is, the less is
# traded and the more of the objective is given up, so the dearest price whose plan is near enough is found by
# bisection. The prices tried are the same whatever the indifference: more of it never trades more.
#
_SOLVES = 8
_LADDER = np.geomspace(1e-7, 10.0, 2**_SOLVES - 1).tolist()
"""Prices of trading one unit of wealth: from a thousandth of a basis point to ten times all there is, 7.5% apart."""


@dataclass(frozen=True, eq=False)
class LowTurnoverTargets:
    """Targets, their certificate, their own prices, and what was charged for a unit traded beside its costs."""

    target: Trade
    certificate: Certificate
    prices: DualCertificate
    trading_price: float = 0.0


def least_turnover(best: LowTurnoverTargets, again: Callable[[float], LowTurnoverTargets | None]) -> LowTurnoverTargets:
    """The plan at the dearest price of trading that is still near enough; `best` where none is.

    `again(price)` solves at that price and answers None where the plan is not near enough, or not verified.
    """
    answers: dict[float, LowTurnoverTargets | None] = {}

    def too_dear(price: float) -> bool:
        answers[price] = again(price)
        return answers[price] is None

    dearest = bisect_left(_LADDER, True, key=too_dear) - 1
    return (answers[_LADDER[dearest]] if dearest >= 0 else None) or best


_ROOM = (0.0, 1e-4, 2e-4)
"""Limits that only just hold may leave a solver no room to work in: then each is a basis point looser, then two."""


@dataclass(frozen=True, eq=False)
class Targets:
    """Verified targets: the mandate they keep, what of the stated one was `given` up for it, and the proof.

    `best` is the optimum and `prices` its own; `restrained` are the targets that are traded: the same, or within the
    book's indifference.
    """

    program: Program
    mandate: Mandate
    given: RelaxedLimits | None
    best: Trade
    prices: DualCertificate
    restrained: LowTurnoverTargets
    stated: Mandate
    """The stated mandate; where it wants few names, once these were chosen."""
    names: FoundNames | None = None
    """How they were chosen."""

    @property
    def target(self) -> Trade:
        """The targets."""
        return self.restrained.target

    @property
    def certificate(self) -> Certificate:
        """Their proof."""
        return self.restrained.certificate


def solve_targets(
    book: Book,
    start: Position,
    outlook: Outlook,
    stated: Mandate,
    limits: Limits,
    compiled: Callable[[Outlook, Mandate], Program] = Program,
) -> Targets:
    """The targets of a book under its stated mandate, or under what holds of it where rules with a tier give way.

    Raises:
        Infeasible: the rules that never give way cannot hold together.
        NotSolved: no solver's solution passes both checks.
    """
    names = chosen_names(stated, book, start, outlook)
    stated = stated if names is None else stated.choosing(names.held)
    given = relax_by_tier(start, outlook, stated)
    for room in _ROOM if given is not None else _ROOM[:1]:
        looser = None if given is None else given.looser(room)
        mandate = stated if looser is None else looser.with_limits(stated)
        program = compiled(outlook, mandate)
        try:
            best, prices, certificate = solve_certified(program, start, outlook, mandate, limits, book.value)
        except (Infeasible, NotSolved):
            if given is None or room == _ROOM[-1]:
                raise
            continue
        found = LowTurnoverTargets(best, certificate, prices)
        restrained = _restrained(book, program, start, outlook, mandate, limits, found)
        return Targets(program, mandate, looser, best, prices, restrained, stated, names)
    raise RuntimeError("unreachable")


def chosen_names(stated: Mandate, book: Book, start: Position, outlook: Outlook) -> FoundNames | None:
    """The names to hold where the mandate wants few and they are not chosen, under what holds of its rules; else None.

    Raises:
        Infeasible: no names keep the rules.
        NotSolved: none were found.
    """
    if stated.few_names is None:
        return None
    from allocator.few_names.feasibility import names_by_priority
    from allocator.few_names.relaxations import choose_names, choose_names_or_refuse

    given, gap, limits = relax_by_tier(start, outlook, stated), book.settings.mandate.names_gap, Limits.of(book)
    held = stated if given is None else given.with_limits(stated)
    if has_tiers(stated):
        if (found := choose_names(start, outlook, held, limits, gap)) is not None:
            return found
        # rules give way to whole names, too, where fractions of them would keep more
        if (names := names_by_priority(start, outlook, stated)) is not None:
            chosen = stated.choosing(names)
            if (given := relax_by_tier(start, outlook, chosen)) is not None:
                held = given.looser(_ROOM[1]).with_limits(chosen).choosing(None)
        else:
            held = stated.without_priorities
    return choose_names_or_refuse(start, outlook, held, limits, gap)


def with_chosen_names(stated: Mandate, book: Book, start: Position, outlook: Outlook) -> Mandate:
    """The mandate with its names chosen, where it wants few.

    Raises:
        Infeasible: no names keep the rules.
        NotSolved: none were found.
    """
    names = chosen_names(stated, book, start, outlook)
    return stated if names is None else stated.choosing(names.held)


def other_names(
    book: Book, start: Position, outlook: Outlook, found: Targets, held: NDArray[np.bool_], limits: Limits
) -> Targets:
    """The targets of the same book with other names (N,) than were chosen.

    Raises:
        Infeasible: rules conflict for these.
        NotSolved: no solver's solution passes both checks.
    """
    assert found.names is not None
    instead = solve_targets(book, start, outlook, found.stated.choosing(held), limits)
    return replace(instead, names=replace(found.names, held=held, objective=instead.certificate.objective))


def recertify(
    targets: Targets, mandate: Mandate, given: RelaxedLimits | None, start: Position, outlook: Outlook, limits: Limits
) -> Targets:
    """The same targets where whole lots made more rules give way: proved under the mandate that the lots keep.

    The targets need none of that room, so they may be further from the best there is now; the certificate says how far.
    """
    if mandate is targets.mandate:
        return targets
    value, program = targets.target.value_before, Program(outlook, mandate)
    best, prices, certificate = solve_certified(program, start, outlook, mandate, limits, value)
    lost = max(mandate.loss(targets.target, outlook) - certificate.objective, 0.0)
    assert certificate.duals is not None  # of one period
    proof = certify(start, outlook, mandate, targets.target, certificate.duals, certificate, indifference=lost)
    restrained = replace(targets.restrained, certificate=proof)
    return Targets(program, mandate, given, best, prices, restrained, targets.stated, targets.names)


def _restrained(
    book: Book,
    program: Program,
    start: Position,
    outlook: Outlook,
    mandate: Mandate,
    limits: Limits,
    best: LowTurnoverTargets,
) -> LowTurnoverTargets:
    """The targets that trade least among those within the book's indifference, certified by the best ones' prices."""
    indifference = book.settings.trading.indifference_bps / 1e4

    def again(trading_price: float) -> LowTurnoverTargets | None:
        try:
            found = program.solve(start, outlook, mandate, limits, trading_price=trading_price)
            target = trade_of_solution(start, mandate, found.holdings, book.value)
            if mandate.loss(target, outlook) > best.certificate.objective + indifference:
                return None
            assert best.certificate.duals is not None  # of one period
            duals = best.certificate.duals
            proof = certify(start, outlook, mandate, target, duals, found, indifference=indifference)
        except (Infeasible, NotSolved):
            return None
        own, _ = best_dual_certificate(start, outlook, mandate, target, found.multipliers)
        return LowTurnoverTargets(target, proof, own, trading_price)

    return least_turnover(best, again) if indifference > 0 else best


def solve_certified(
    program: Program,
    start: Position,
    outlook: Outlook,
    mandate: Mandate,
    limits: Limits | None = None,
    value: float = 1.0,
) -> tuple[Trade, DualCertificate, Certificate]:
    """The program's solution, certified; a solver whose solution fails the certificate is passed over for the next.

    Raises:
        Infeasible: the rules cannot hold together, or the best of what keeps them has round trips.
        NotSolved: no solver's solution passes both checks.
    """
    refused: dict[str, str] = {}
    while True:
        solution = program.solve(start, outlook, mandate, limits, refused)
        try:
            return certify_solution(start, outlook, mandate, solution, value)
        except NotSolved as error:
            if _has_round_trips(start, mandate, solution):
                raise _round_trip_refusal(program, start, outlook, mandate, limits, solution) from None
            if refused.setdefault(solution.solver, str(error)) and len(refused) >= len(program.ladder(mandate)):
                raise


def cost_shares(
    start: Position, outlook: Outlook, mandate: Mandate, target: Trade, limits: Limits
) -> tuple[float, float]:
    """What each axis costs if the belief is right: the nominal objective of plans that are guarded against it."""
    nominal = replace(mandate, ambiguity=Singleton())

    def if_right(sets: tuple[Ambiguity, ...]) -> float:
        guarded = replace(mandate, ambiguity=sets[0])
        found, _, _ = solve_certified(Program(outlook, guarded), start, outlook, guarded, limits)
        return nominal.loss(found, outlook)

    return axis_shares((mandate.ambiguity,), if_right, if_right((Singleton(),)), nominal.loss(target, outlook))


# How far targets hang on what is believed.
#
_LIKELIEST = 4
"""Scenarios whose probability is moved: with many, a shift of one that is hardly believed tells little."""


def stability(start: Position, outlook: Outlook, mandate: Mandate, target: Trade, limits: Limits) -> float | None:
    """Largest L1 change of the target weights, cash included, when one probability moves by ± 2 points, of the four
    largest.

    The others share the move in proportion. Every shifted plan passes the same checks as the plan itself; None where
    there is none that does.
    """
    largest, here = 0.0, target.all_weights
    again, program = ParametricSolver(start, outlook, mandate, limits), Program(outlook, mandate)
    for shifted in _shifts(outlook.probabilities):
        moved = replace(outlook, probabilities=shifted)
        if (found := again.solve(start, moved, mandate)) is not None:
            there = found.weights
        else:
            fitting = program if program.fits(moved, mandate) else Program(moved, mandate)
            try:
                there = solve_certified(fitting, start, moved, mandate, limits)[0].all_weights
            except (Infeasible, NotSolved):
                return None
        largest = max(largest, float(np.abs(there - here).sum()))
    return largest


def _shifts(probabilities: Vector) -> Iterator[Vector]:
    for k in np.argsort(-probabilities, kind="stable")[:_LIKELIEST]:
        p = probabilities[k]
        for moved in (max(p - PROBABILITY_SHIFT, 0.0), min(p + PROBABILITY_SHIFT, 1.0)):
            if moved != p and p < 1:
                shifted = probabilities * (1 - moved) / (1 - p)
                shifted[k] = moved
                yield shifted


# Where the best on paper makes round trips, there is no plan: which limits ask for that, and how far to loosen them.
#
# A convex program may buy and sell one name at once, or pay more impact than its trades come to, where being rid of
# money keeps a rule. No order does that.
#
_LOST = 1e-7
"""Of the account: a solution that has this much less cash than its trades leave pays for trades that are none."""
_NOISE = 1e-8
_LOOSENINGS = 12
_SHARES = np.linspace(0.0, 1.0, 2**12 + 1)[1:].tolist()
_CURE = "let more cash be held, or less of what is held be kept"


def _has_round_trips(start: Position, mandate: Mandate, solution: Solution) -> bool:
    """Whether a solution's own trades lead to its holdings, and leave more cash than it has."""
    apart = np.abs(start.holdings + solution.bought - solution.sold - solution.holdings).max(initial=0.0)
    left = trade_of_solution(start, mandate, solution.holdings, 1.0).cash
    return bool(apart <= _LOST and left - solution.cash > _LOST)


def _round_trip_refusal(
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
