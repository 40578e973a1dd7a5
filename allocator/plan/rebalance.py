"""`rebalance(book) -> Plan`: the one verb. Outlook and mandate, solve, check, whole lots, check again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from allocator.book.book import Book, refuse_no_book
from allocator.errors import AllocatorError, BadInput, BadMandate, Infeasible, NotSolved, OutOfTime, describe_conflict
from allocator.lots.whole_lots import relaxed_rules, whole_lots_with_soft_rules
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import Mandate, no_trade
from allocator.mandate.precheck import check_obviously_infeasible
from allocator.optimization.conflicts import Move, RelaxedLimits, describe_fix, explain_conflict
from allocator.optimization.highs import TimeLimit, Work
from allocator.optimization.solve import Limits, Program
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.plan.certificate import verified_lots
from allocator.plan.plan import Order, Plan, list_orders
from allocator.plan.reviews import orders_with_reviews, plan_with_reviews
from allocator.plan.targets import Targets, other_names, recertify, solve_targets
from allocator.plan.trade_decision import TradeValue, refuse_unpaid_tickets, value_of_trading
from allocator.rules import LooserLimit, Rule, RuleId, Trade, one_key_one_limit
from allocator.rules.rows import NUMBER, Position
from allocator.settings.reading import with_overrides
from allocator.types import Vector

# Fixes that work: each is applied as --set would, and the whole mandate planned, down to whole lots.
#
TRIES = 1600
"""Tries times names: what trying fixes may take in all; a refusal says where it was not enough."""
MOST, FEWEST = 64, 4
"""Tries, however few or many names."""
REVIEWED = 4
"""A try with reviews counts as so many."""
_MORE = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
"""How much further a limit is moved, in its own unit, until whole lots are found."""
_HALVINGS = 3
"""Of the last of these steps, to come near to the smallest that is enough."""
_FEW = 3
"""Choices of names of which lots are looked for besides, where a fix is tried."""
_TOGETHER = 4
"""Limits that are moved together, where what mends one conflict leads to the next."""
_SMALLER = (0.1, 0.01, 0.001)
_NODES, _FEWEST_NODES = 40_000, 100
"""Nodes times names that all tries together may branch, and nodes however many names."""


def with_tried_fixes(error: Infeasible, book: Book) -> Infeasible:
    """The same refusal with the fixes that lead to a plan, each moved as far as that needs.

    Those that could not be tried stay as they are, and the refusal says so.
    """
    outlook = build_outlook(book)
    trying, moves = _Trying.of(book, outlook), _candidates(error, book, outlook)
    found, untried, cut = dict[frozenset[str], Move](), list[Move](), False
    for place, move in enumerate(moves):
        trying.most = trying.left // (len(moves) - place)
        if trying.spent or (book.settings.uses_tree and not all(one.id.key for one in move)):
            untried.append(move)
        elif (mended := trying.mended(move)) is not None:
            mended = trying.tightened(mended)
            found.setdefault(frozenset(one.id.key or one.id.name for one in mended), mended)
        elif trying.late is not None:
            untried.append(move)
        elif trying.spent:
            cut = True
    if not found and not untried and (paid := trying.payable()) is not None:
        found[frozenset(one.id.key for one in paid)] = paid
    every = [move for keys, move in found.items() if not any(other < keys for other in found)] + untried
    told = error.rules if error.rules and error.message.startswith(describe_conflict(error.rules)) else ()
    fixes = [describe_fix(move, told) for move in every]
    trying.most = trying.left
    if error.of_lots:
        part = next((part for part in _SMALLER if trying.refusal((), part) is None), None)
        fixes += [] if part is None else [f"use smaller lots: {part:g} times each lot_size of holdings.csv"]
    said = error.message if trying.late is None else f"{error.message} (fixes on whole lots: {trying.late})"
    if not fixes:
        said += f"; no change of one limit, or of {_TOGETHER} together, was found that leads to a plan"
        said += " in the work that the search may take; there may be one" if cut else ""
    return Infeasible(
        said,
        error.rules,
        fixes,
        error.conflicts,
        cut_short=error.cut_short,
        moves=every,
        overrides=[overrides_of(move, book) for move in every],
        for_fractions=bool(untried),
        of_lots=error.of_lots,
    )


def _candidates(error: Infeasible, book: Book, outlook: Outlook, *, quick: bool = False) -> Sequence[Move]:
    """What may mend it: what was told with it, else what mends the conflict of fractions; of lots a little of any."""
    if error.moves:
        return (*error.moves, *_smallest_trade(error, book))
    start, stated = Position(book.weights, book.cash / book.value), build_mandate(book, outlook)
    if not error.of_lots:
        try:
            conflict = explain_conflict(start, outlook, stated, quick=quick)
            if conflict is None and stated.few_names is not None:
                from allocator.few_names.feasibility import names_conflict

                conflict = names_conflict(start, outlook, stated)
        except NotSolved:  # a fix that is not found does not hide the conflict that is known
            return ()
        return () if conflict is None else conflict.moves
    members = RelaxedLimits.nothing(start, outlook, stated).members
    little = (one.at(one.stated).further(_MORE[0]) for one in members if one.has_limit)
    return (*dict.fromkeys(one_key_one_limit([one]) for one in little), *_smallest_trade(error, book))


def _smallest_trade(error: Infeasible, book: Book) -> tuple[Move, ...]:
    key = "lots.min_trade"
    if not (error.of_lots and book.settings.lots.min_trade):
        return ()
    return ((LooserLimit(RuleId("smallest trade", key=key), key, 0.0, -1.0, NUMBER),),)


def overrides_of(move: Move, book: Book) -> list[str]:
    """What --set takes to make a move, as far as its limits are of book.toml."""
    numbers = [f"{one.id.key}={one.printed:.12g}" for one in move if one.id.key and one.limit is not None]
    changed = [(one.id.key, one.id.name) for one in move if one.limit is None]
    joined = [(one.id.key, one.id.name) for one in move if one.limit is None and one.id.joins]
    for key in dict.fromkeys(key for key, _ in changed):
        listed = [name for name in getattr(book.settings.mandate, key.rpartition(".")[2]) if (key, name) not in changed]
        numbers.append(f"{key}={json.dumps([*listed, *(name for of, name in joined if of == key)])}")
    return numbers


@dataclass(eq=False)
class _Trying:
    """Moves tried on the whole mandate, while there are tries `left`; `late`: the user's time limit ended them."""

    book: Book
    outlook: Outlook
    labels: Mapping[RuleId, str]
    left: int
    work: Work
    most: int = MOST
    """Of the tries that are left, what one fix may take."""
    seen: set[frozenset[tuple[RuleId, float]]] = field(default_factory=set)
    program: Program | None = None
    late: OutOfTime | None = None

    @staticmethod
    def of(book: Book, outlook: Outlook) -> _Trying:
        """As many tries as a book of this size may take."""
        names = max(len(book.instruments), 1)
        limit = TimeLimit("lots.time_limit_seconds", book.settings.lots.time_limit_seconds)
        work = Work(max(_NODES // names, _FEWEST_NODES), limit)
        labels = {rule_id: label for rule in build_mandate(book, outlook).rules for rule_id, label in _labels(rule)}
        return _Trying(book, outlook, labels, min(max(TRIES // names, FEWEST), MOST), work)

    @property
    def spent(self) -> bool:
        """Whether nothing more can be tried of a fix."""
        return self.most <= 0 or self.left <= 0 or self.work.nodes <= 0

    def mended(self, move: Move) -> Move | None:
        """The move, as far as whole lots need it, or with what else is needed; None where that leads to no plan."""
        said = self.refusal(move, explains=True)
        if said is None:
            return move
        of_lots = isinstance(said, NotSolved) or (isinstance(said, Infeasible) and said.of_lots)
        if of_lots and (found := self.further(move)) is not None:
            return found
        for following in self.following(said, move):
            for instead in (following, one_key_one_limit([*move, *following])):
                if len(instead) > _TOGETHER or self.known(instead):
                    continue
                if (mended := self.mended(instead)) is not None:
                    return mended
        return None

    def further(self, move: Move) -> Move | None:
        """The move as much further as whole lots are found to need; None where that is too far."""
        kept, found, at = 0.0, None, 0.0
        for more in _MORE[:: 2 if self.book.settings.uses_tree else 1]:
            at, further = more, self.lawful(move, more)
            if self.refusal(further) is None:
                found = further
                break
            kept = more
        for _ in range(_HALVINGS if found else 0):
            between = self.lawful(move, (kept + at) / 2)
            if not self.known(between) and self.refusal(between) is None:
                found, at = between, (kept + at) / 2
            else:
                kept = (kept + at) / 2
        return found

    def payable(self) -> Move | None:
        """About the most that can be paid out today instead; None where nothing is, or less does not help either."""
        key, paid = "cash.paid_out", self.book.settings.cash.paid_out
        label, unit = (
            f"{paid:,.12g} {self.book.settings.book.currency} paid out",
            f" {self.book.settings.book.currency}",
        )
        self.most, found, low, high = self.left, None, 0.0, paid
        while paid and high - low > paid / 256:
            move = (LooserLimit(RuleId("paid out", key=key), label, float(int((low + high) / 2)), -1.0, unit),)
            if self.refusal(move) is None:
                found, low = move, (low + high) / 2
            else:
                high = (low + high) / 2
        return found

    def lawful(self, move: Move, more: float) -> Move:
        """The limits so much looser, but those that would then leave their key's range."""
        looser = []
        for one in move:
            try:
                self.moved((one.further(more),))
                looser.append(one.further(more))
            except BadInput:
                looser.append(one)
        return tuple(looser)

    def known(self, move: Move) -> bool:
        """Whether it was tried."""
        return frozenset((one.id, one.printed) for one in move) in self.seen

    def following(self, said: AllocatorError | None, move: Move) -> Iterator[Move]:
        """What may mend what is still refused after a move, in the words of the book as it is."""
        if not isinstance(said, Infeasible) or self.spent:
            return
        moves = said.moves if said.of_lots else _candidates(said, self.moved(move), self.outlook, quick=True)
        for other in moves:
            yield tuple(replace(one, label=self.labels.get(one.id, one.label)) for one in other)

    def moved(self, move: Move, part: float = 1.0) -> Book:
        """The book after a move.

        Raises:
            BadInput: a limit is out of its key's range.
        """
        settings = with_overrides(self.book.settings, overrides_of(move, self.book))
        if settings.mandate.names_gap < 1:  # whether there are names is asked, and not which are best
            settings = settings.model_copy(update={"mandate": settings.mandate.model_copy(update={"names_gap": 1.0})})
        cash = self.book.cash + settings.cash.flow - self.book.settings.cash.flow
        return replace(self.book, settings=settings, lot_sizes=self.book.lot_sizes * part, cash=cash)

    def tightened(self, move: Move) -> Move:
        """A move of several that leads to a plan, without what is not needed for that, or not so far."""
        for one in move if len(move) > 1 else ():
            rest = tuple(other for other in move if other.id != one.id)
            said = self.refusal(rest, explains=True)
            if said is None:
                return self.tightened(rest)
            for other in self.following(said, rest):
                less = (*rest, *other)
                if [limit.id for limit in other] == [one.id] and {*less} != {*move} and self.refusal(less) is None:
                    return self.tightened(less)
        return move

    def refusal(self, move: Move, part: float = 1.0, *, explains: bool = False) -> AllocatorError | None:
        """Why there is no plan after a move, with lots of `part` of their size; None where there is one."""
        if self.spent:
            return NotSolved("not tried")
        count = REVIEWED if self.book.settings.uses_tree else 1
        self.left, self.most = self.left - count, self.most - count
        try:
            self.seen.add(frozenset((one.id, one.printed) for one in move))
            book = self.moved(move, part)
            if book.settings.uses_tree:
                orders_with_reviews(book, self.outlook, _quietly, self.work, explains=explains)
            else:
                further = {one.id: one.printed for one in move if not one.id.key}
                _orders(book, self.outlook, _quietly, self, further, explains=explains)
        except (BadInput, BadMandate, Infeasible, NotSolved) as error:
            return error
        except OutOfTime as late:
            self.left, self.late = 0, late
            return late
        return None

    def compiled(self, outlook: Outlook, mandate: Mandate, *, explains: bool) -> Program:
        """A program of this shape, the last one where it fits."""
        if self.program is None or not self.program.fits(outlook, mandate):
            self.program = Program(outlook, mandate, warm=False)
        self.program.explains, self.program.quick = explains, True
        return self.program


def _quietly(_: str) -> None:
    pass


def _labels(rule: Rule) -> Iterator[tuple[RuleId, str]]:
    return zip(rule.ids, rule.limit_labels, strict=True)


def rebalance(book: Book, *, lots: bool = True, progress: Callable[[str], None] | None = None) -> Plan:
    """Turn a book into a verified plan of whole-lot orders; with reviews the plan has a `policy` for each of them.

    Without `lots` the plan is the targets and their proof alone: there are no orders, and nothing is weighed against no
    trade.

    Holdings of the plan are (N,) money in the order of `book.instruments`, in the book's currency; weights are
    fractions of the account, returns simple and over the horizon. What is solved stands in `Mandate`, how the proof
    goes in `Certificate`. `progress` is told what is being done, for people who wait.

    Raises:
        BadInput: the price history cannot give a covariance.
        Infeasible: limits conflict, now or at a review, or no whole-lot portfolio keeps them; names them and the
            smallest fixes, each of which was tried.
        NotSolved: no solver gave an answer that passes our own checks.
        OutOfTime: a time limit of the user's own ended the search.
    """
    refuse_no_book(book)
    say = progress or _quietly
    try:
        plan = plan_with_reviews if book.settings.uses_tree else _plan_of_one_period
        return plan(book, say, with_lots=lots)
    except Infeasible as error:
        say("trying the fixes on the whole mandate")
        raise with_tried_fixes(error, book) from None


@dataclass(frozen=True)
class Making:
    """Where what a plan is made with comes from: made for it, or kept of another account that shares it."""

    program: Callable[[Outlook, Mandate], Program] = Program
    mandate: Callable[[Book, Outlook], Mandate] = build_mandate
    check: Callable[[Book, Outlook], None] = check_obviously_infeasible


_ANEW = Making()


def plan_under(outlook: Outlook, book: Book, making: Making = _ANEW, *, lots: bool = True) -> Plan:
    """The plan that `rebalance` makes of a book, under an outlook that is known.

    A refusal is without the fixes that were tried.

    Raises:
        Infeasible, NotSolved, OutOfTime: as of `rebalance`.
    """
    if book.settings.uses_tree:
        return plan_with_reviews(book, _quietly, with_lots=lots)
    return _plan_of_one_period(book, _quietly, with_lots=lots, known=outlook, making=making)


def _orders(
    book: Book,
    outlook: Outlook,
    say: Callable[[str], None],
    trying: _Trying | None = None,
    further: Mapping[RuleId, float] = MappingProxyType({}),
    *,
    explains: bool = True,
    making: Making = _ANEW,
) -> _Orders:
    """Targets and the best lots, and what they keep.

    `further` are other limits of rules that are not of book.toml.
    """
    found, start = _targets(book, outlook, say, trying, further, explains=explains, making=making)
    say("finding whole lots")

    def with_lots(found: Targets, *, explains: bool = explains) -> _Orders:
        own = found.restrained
        lots, gap, mandate, given = whole_lots_with_soft_rules(
            book, outlook, found.stated, found.given, found.mandate, start, own.target, own.prices, own.trading_price,
            work=None if trying is None else trying.work, explains=explains,
        )  # fmt: skip
        found = recertify(found, mandate, given, start, outlook, Limits.of(book))
        return found, mandate, given, lots, gap, verified_lots(book, outlook, mandate, lots)

    if found.names is None:
        return with_lots(found)
    return _best_names(book, outlook, start, found, with_lots, further=trying is None)


_Orders: TypeAlias = tuple[Targets, Mandate, RelaxedLimits | None, Vector, float, Trade]
"""Targets, the mandate that lots keep, what was given up for it, the lots, how far they may be from the best in bps,
and their trade."""


def _best_names(
    book: Book,
    outlook: Outlook,
    start: Position,
    found: Targets,
    with_lots: Callable[..., _Orders],
    *,
    further: bool,
) -> _Orders:
    """The best lots of the chosen names and of others that were tried, as far as these may be better: what is best of
    fractions need not be of lots, or may have none. Where not `further`, whether there are lots is asked of a few.

    Raises:
        Infeasible: no names have whole lots.
        NotSolved: none were found.
    """
    from allocator.few_names.relaxations import choose_names

    names, limits, refusal, seen = found.names, Limits.of(book), None, list[NDArray[np.bool_]]()
    best: _Orders | None = None
    assert names is not None
    enough, bound = book.settings.lots.gap_bps / 1e4, names.bound
    candidates = [names.held, *(names.others if further else names.others[:_FEW])]
    while candidates:
        seen.append(held := candidates.pop(0))
        try:
            here = found if held is names.held else other_names(book, start, outlook, found, held, limits)
            if best is not None and _value(best, outlook) - here.certificate.bound <= enough:
                break
            if refusal is not None:  # one reason is told: then whether there are lots is asked before which are best
                with_lots(here, explains=False)
            tried = with_lots(here)
            if best is None or _value(tried, outlook) < _value(best, outlook) - 1e-9:
                best = tried
        except (Infeasible, NotSolved) as error:
            refusal = refusal or error
        lost = np.inf if best is None else _value(best, outlook) - bound
        if further and lost > max(enough, names.gap) and (best is not None or not candidates):
            unchosen, further = found.mandate.choosing(None), False  # every choice that may have better lots than these
            again = choose_names(start, outlook, unchosen, limits, book.settings.mandate.names_gap, keep=min(lost, 1.0))
            if again is not None:
                candidates = [one for one in again.others if not any((one == other).all() for other in seen)]
                bound = max(bound, again.bound)
    if best is None:
        assert refusal is not None
        raise refusal
    own, mandate, given, lots, gap, weighed = best
    return own, mandate, given, lots, max(gap, (_value(best, outlook) - bound) * 1e4), weighed


def _value(orders: _Orders, outlook: Outlook) -> float:
    return orders[1].loss(orders[-1], outlook)


def _targets(
    book: Book,
    outlook: Outlook,
    say: Callable[[str], None],
    trying: _Trying | None = None,
    further: Mapping[RuleId, float] = MappingProxyType({}),
    *,
    explains: bool = True,
    making: Making = _ANEW,
) -> tuple[Targets, Position]:
    """Targets, and where the account stands."""
    stated, start = making.mandate(book, outlook), Position(book.weights, book.cash / book.value)
    if further:
        members = RelaxedLimits.nothing(start, outlook, stated).members
        moved = {place: further[one.id] for place, one in enumerate(members) if one.id in further}
        stated = RelaxedLimits(members, moved).with_limits(stated)
    making.check(book, outlook)
    say("solving")
    compiled = making.program if trying is None else partial(trying.compiled, explains=explains)
    return solve_targets(book, start, outlook, stated, Limits.of(book), compiled), start


def _plan_of_one_period(
    book: Book,
    say: Callable[[str], None],
    *,
    with_lots: bool,
    known: Outlook | None = None,
    making: Making = _ANEW,
) -> Plan:
    say("reading the outlook")
    outlook, start = known or build_outlook(book), Position(book.weights, book.cash / book.value)
    held, listed, lots_gap, rounding = no_trade(book), tuple[Order, ...](), 0.0, 0.0
    if with_lots:
        found, mandate, given, lots, lots_gap, weighed = _orders(book, outlook, say, making=making)
        listed = list_orders(book, mandate, weighed, lots)
        rounding = mandate.loss(weighed, outlook) - found.certificate.objective
        decision = value_of_trading(
            outlook, mandate, held, weighed, book.settings.trading,
            orders=len(listed), ticket=book.settings.costs.ticket, required=bool(book.given_away.any()),
        )  # fmt: skip
    else:
        found, _ = _targets(book, outlook, say, making=making)
        mandate, given, weighed = found.mandate, found.given, found.target
        decision = TradeValue.of_targets(mandate.loss(held, outlook) - found.certificate.objective)
    final = weighed if decision.trades else held
    refuse_unpaid_tickets(book, final, decision)
    target = found.target
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
        rounding_bps=rounding * 1e4,
        lots_gap_bps=lots_gap,
        certificate=found.certificate,
        relaxed=relaxed_rules(given, () if given is None else mandate.readings(final, outlook)),
        duals=found.prices,
        traded_prices=(found.restrained.prices, found.restrained.trading_price),
        best=found.best,
        names=found.names,
    )
