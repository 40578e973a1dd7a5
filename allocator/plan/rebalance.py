"""`rebalance(book) -> Plan`: the one verb. Outlook and mandate, solve, check, whole lots, check again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from allocator.ambiguity.sets import PROBABILITY_SHIFT
from allocator.book.book import Book, refuse_no_book
from allocator.errors import Infeasible, NotSolved, OutOfTime
from allocator.lots.whole_lots import (
    relaxed_rules,
    whole_lots,
    whole_lots_with_soft_rules,
)
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import Mandate, no_trade
from allocator.mandate.precheck import check_obviously_infeasible
from allocator.optimization.conflicts import RelaxedLimits, has_tiers
from allocator.optimization.conflicts import describe_fix as in_words
from allocator.optimization.elastic import ElasticProgram
from allocator.optimization.highs import TimeLimit, Work
from allocator.optimization.single_period import Position
from allocator.optimization.solve import Limits, Program
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.plan.certificate import verified_lots
from allocator.plan.plan import Plan, adverse_probabilities, binding_rules, list_orders, portfolio_figures
from allocator.plan.reviews import plan_with_reviews
from allocator.plan.targets import recertify, solve_certified, solve_targets
from allocator.plan.trade_decision import no_trade_regions, value_of_trading
from allocator.rules import Trade
from allocator.types import Vector

# Fixes that whole lots keep too: a limit that fractions can just keep may be too tight for any lots.
#
TRIES = 1600
"""Tries times names: what trying fixes on whole lots may take in all; a refusal says where it was not enough."""
MOST, FEWEST = 64, 4
"""Tries, however few or many names."""
_MORE = (0.0, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)
"""How much further a limit is moved, in its own unit, until whole lots are found."""
_NODES, _FEWEST_NODES = 40_000, 100
"""Nodes times names that all tries together may branch, and nodes however many names."""


def fixes_on_whole_lots(
    error: Infeasible, book: Book, start: Position, outlook: Outlook, stated: Mandate
) -> Infeasible:
    """The same refusal with each fix moved as far as whole lots need; those not tried or not found stay as they are."""
    if not error.moves or has_tiers(stated):
        return error
    members = ElasticProgram(start, outlook, stated).members
    trying, found = _Trying.of(book, start, outlook), []
    for move in error.moves:
        given = RelaxedLimits(members, move)
        found.append(next((more for more in _MORE if trying.keeps(given.looser(more).with_limits(stated))), None))
    moves = [
        move if more is None else RelaxedLimits(members, move).looser(more).limits
        for move, more in zip(error.moves, found, strict=True)
    ]
    return Infeasible(
        error.message if trying.late is None else f"{error.message} (fixes on whole lots: {trying.late})",
        error.rules,
        [in_words(members, move, error.places) for move in moves],
        error.conflicts,
        cut_short=error.cut_short,
        moves=moves,
        places=error.places,
        for_fractions=None in found,
    )


@dataclass(eq=False)
class _Trying:
    """Mandates tried on whole lots, while there are tries `left`; `late`: the user's time limit ended them."""

    book: Book
    start: Position
    outlook: Outlook
    left: int
    lots: Work
    program: Program | None = None
    late: OutOfTime | None = None

    @staticmethod
    def of(book: Book, start: Position, outlook: Outlook) -> _Trying:
        """As many tries as a book of this size may take."""
        names = max(len(book.instruments), 1)
        limit = TimeLimit("lots.time_limit_seconds", book.settings.lots.time_limit_seconds)
        lots = Work(max(_NODES // names, _FEWEST_NODES), limit)
        return _Trying(book, start, outlook, min(max(TRIES // names, FEWEST), MOST), lots)

    def keeps(self, mandate: Mandate) -> bool:
        """Whether whole lots that keep a mandate are found."""
        if self.left <= 0 or self.lots.nodes <= 0:
            return False
        self.left -= 1
        book, start, outlook = self.book, self.start, self.outlook
        if self.program is None or not self.program.fits(outlook, mandate):
            self.program = Program(outlook, mandate, warm=False, explains=False)
        try:
            target, _, _ = solve_certified(self.program, start, outlook, mandate, Limits.of(book), book.value)
            whole_lots(book, outlook, mandate, start, target, quick=self.lots)
        except (Infeasible, NotSolved):
            return False
        except OutOfTime as late:
            self.left, self.late = 0, late
            return False
        return True


def rebalance(book: Book, *, progress: Callable[[str], None] | None = None) -> Plan:
    """Turn a book into a verified plan of whole-lot orders; with reviews the plan has a `policy` for each of them.

    Holdings of the plan are (N,) money in the order of `book.instruments`, in the book's currency; weights are
    fractions of the account, returns simple and over the horizon. What is solved stands in `Mandate`, how the proof
    goes in `Certificate`. `progress` is told what is being done, for people who wait.

    Raises:
        BadInput: the price history cannot give a covariance.
        Infeasible: limits conflict, now or at a review, or no whole-lot portfolio keeps them; names them and the
            smallest fix.
        NotSolved: no solver gave an answer that passes our own checks.
        OutOfTime: a time limit of the user's own ended the search.
    """
    refuse_no_book(book)
    say = progress or (lambda _: None)
    return plan_with_reviews(book, say) if book.settings.uses_tree else _plan_of_one_period(book, say)


def _plan_of_one_period(book: Book, say: Callable[[str], None]) -> Plan:
    say("reading the outlook")
    outlook = build_outlook(book)
    stated = build_mandate(book, outlook)
    start = Position(book.weights, book.cash / book.value)
    check_obviously_infeasible(book, outlook)
    say("solving")
    limits = Limits.of(book)
    try:
        found = solve_targets(book, start, outlook, stated, limits)
    except Infeasible as error:
        say("trying the fixes on whole lots")
        raise fixes_on_whole_lots(error, book, start, outlook, stated) from None
    say("finding whole lots")
    lots, mandate, given = whole_lots_with_soft_rules(
        book, outlook, stated, found.given, found.mandate, start, found.target
    )
    found = recertify(found, mandate, given, start, outlook, limits)
    weighed, held = verified_lots(book, outlook, mandate, lots), no_trade(book)
    listed = list_orders(book, mandate, weighed, lots)
    decision = value_of_trading(
        outlook, mandate, held, weighed, book.settings.trading,
        orders=len(listed), ticket=book.settings.costs.ticket, required=bool(book.given_away.any()),
    )  # fmt: skip
    final = weighed if decision.trades else held
    say("measuring stability")
    target, measurements = found.target, mandate.readings(final, outlook)
    adversary = adverse_probabilities(outlook, mandate, target)
    return Plan(
        book=book,
        outlook=outlook,
        mandate=mandate,
        start=start,
        target=target,
        weighed=weighed,
        final=final,
        orders=listed if decision.trades else (),
        weighed_orders=listed,
        decision=decision,
        adversary=_reported_adversary(adversary, found.prices.adversary, target, outlook),
        measurements=tuple(measurements),
        before=portfolio_figures(book, outlook, mandate, held),
        targeted=portfolio_figures(book, outlook, mandate, target),
        after=portfolio_figures(book, outlook, mandate, final),
        rounding_bps=(mandate.loss(weighed, outlook) - mandate.loss(target, outlook)) * 1e4,
        certificate=found.certificate,
        relaxed=relaxed_rules(given, measurements),
        duals=found.prices,
        binding=binding_rules(outlook, mandate, target, found.prices),
        no_trade=no_trade_regions(outlook, mandate, target, found.restrained.prices, found.restrained.trading_price),
        stability=stability(found.program, start, outlook, mandate, found.best, limits),
    )


def _reported_adversary(own: Vector, dual: Vector, target: Trade, outlook: Outlook) -> Vector:
    """The adversary to report: the solver's where several are equally bad, so that it fits the shadow prices."""
    gains = outlook.portfolio_returns(target.values, target.cash) / target.value_before
    return dual if float((dual - own) @ gains) < 1e-6 else own


def stability(
    program: Program, start: Position, outlook: Outlook, mandate: Mandate, target: Trade, limits: Limits
) -> float | None:
    """Largest L1 change of the target weights, cash included, when one probability moves by ± 2 points.

    The others share the move in proportion. Every shifted plan passes the same checks as the plan itself; None where
    there is none that does.
    """
    largest = 0.0
    here = np.append(target.values, target.cash) / target.value
    for shifted in _shifts(outlook.probabilities):
        moved = replace(outlook, probabilities=shifted)
        fitting = program if program.fits(moved, mandate) else Program(moved, mandate)
        try:
            there, _, _ = solve_certified(fitting, start, moved, mandate, limits)
        except (Infeasible, NotSolved):
            return None
        change = np.append(there.values, there.cash) / there.value - here
        largest = max(largest, float(np.abs(change).sum()))
    return largest


def _shifts(probabilities: Vector) -> list[Vector]:
    shifts = []
    for k, p in enumerate(probabilities):
        for moved in (max(p - PROBABILITY_SHIFT, 0.0), min(p + PROBABILITY_SHIFT, 1.0)):
            if moved != p and p < 1:
                shifted = probabilities * (1 - moved) / (1 - p)
                shifted[k] = moved
                shifts.append(shifted)
    return shifts
