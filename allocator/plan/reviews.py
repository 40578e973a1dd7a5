"""Today's orders as the first step of a policy that re-optimises at every review.

The policy is solved over the tree and checked outside the solver; today's targets become whole lots; what the lots are
worth, and what holding is worth, is asked of the tree again with today's trades given and every later one open.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from allocator.book.book import Book
from allocator.errors import Infeasible, NotSolved
from allocator.lots.milp import OrderGrid, order_grid, steady
from allocator.lots.whole_lots import whole_lots
from allocator.mandate.mandate import Mandate, no_trade
from allocator.mandate.precheck import check_obviously_infeasible
from allocator.multistage.mandate import MultistageMandate, build_multistage_mandate, without_ambiguity
from allocator.multistage.objectives import LinearUtility
from allocator.multistage.policy import Policy, policy_from_trades
from allocator.multistage.review_policy import ReviewPolicy
from allocator.multistage.solve import policy_after_first_trades, solve_policy, with_hindsight
from allocator.optimization.conflicts import Move, describe_fix, explain_conflict
from allocator.optimization.highs import Work
from allocator.optimization.solve import Limits, trade_of_solution
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.outlook.scenario_tree import node_flows
from allocator.plan.certificate import certificate_of_policy, verified_lots
from allocator.plan.plan import Order, Plan, list_orders
from allocator.plan.trade_decision import TradeValue, refuse_unpaid_tickets, value_of_reviewed_trading
from allocator.rules import LooserLimit, Rule, RuleId, RuleMeasurement, Trade, one_key_one_limit
from allocator.rules.rows import Position, ProgramRows
from allocator.settings.reading import dotted_key
from allocator.types import Vector

if TYPE_CHECKING:
    from allocator.few_names.search import FoundNames


def plan_with_reviews(book: Book, say: Callable[[str], None], *, with_lots: bool = True) -> Plan:
    """Turn a book whose objective is solved on the tree of decisions into orders for today and a policy for reviews.

    Without lots the policy begins with its own targets, and there are no orders.

    Raises:
        BadInput: the price history cannot give a covariance.
        Infeasible: rules conflict, now or at a review, or no whole lots keep them.
        NotSolved: no solver gave an answer that passes our own checks.
    """
    say("reading the outlook")
    outlook = build_outlook(book)
    if with_lots:
        found = orders_with_reviews(book, outlook, say)
        best, begun, names, most, lots = found.best, found.begun, found.names, found.most, found.lots
        target, weighed = found.target, found.weighed
    else:
        best, names = _best_policy(book, outlook, say)
        begun, most, lots = best, best.equivalent, None
        target = weighed = trade_of_solution(best.start, best.staged.mandates[0], best.holdings[0], book.value)
    holding = _beginning_with(best.staged, best.start, 0 * best.start.holdings, Limits.of(book))
    plan = _decided(book, outlook, best.staged, target, weighed, lots, most, (best, begun, holding))
    if names is None:
        return plan
    left = best.staged.utility.equivalent(names.bound) - begun.equivalent  # other names may have better lots
    return replace(plan, names=names, lots_gap_bps=max(plan.lots_gap_bps, left * 1e4 if with_lots else 0.0))


@dataclass(frozen=True, eq=False)
class ReviewedOrders:
    """The `best` policy, whose first trades are the `target`, and `begun`, the best that begins with whole `lots` (N,),
    the trade `weighed`. No policy that begins with lots has a certainty equivalent above `most`; `names` say how they
    were chosen where few are wanted.
    """

    best: Policy
    begun: Policy
    target: Trade
    weighed: Trade
    lots: Vector
    most: float
    names: FoundNames | None


def orders_with_reviews(
    book: Book, outlook: Outlook, say: Callable[[str], None], work: Work | None = None, *, explains: bool = True
) -> ReviewedOrders:
    """The best policy, and the best lots to begin with; of a search that does not explain the nearest.

    Raises:
        Infeasible: rules conflict, now or at a review, or no whole lots keep them.
        NotSolved: no solver gave an answer that passes our own checks.
    """
    best, names = _best_policy(book, outlook, say)
    say("finding whole lots")
    asked = _FirstLots(book, outlook, best, work)
    target = trade_of_solution(best.start, best.staged.mandates[0], best.holdings[0], book.value)
    nearest = whole_lots(book, outlook, best.staged.mandates[0], best.start, target, work=work, explains=explains)[0]
    say("weighing the orders against no trade")
    found = asked.begun(nearest)
    if found is None:
        raise Infeasible("the nearest whole lots leave no way to keep the rules at a later review", of_lots=True)
    most = _proved(best)
    if explains and not best.staged.utility.is_large:
        found, most = asked.best(found, most)
    return ReviewedOrders(best, found.policy, target, found.trade, found.lots, most, names)


def _proved(policy: Policy) -> float:
    """What no policy's certainty equivalent is above, by the multipliers of the best one."""
    return policy.staged.utility.equivalent(certificate_of_policy(policy, ()).bound)


# The best lots to begin with: a tree is solved for a range of today's trades, and what it trades is rounded; the name
# whose rounding moves most money is then traded no more than the one lot, or no less than the other (Land and Doig
# 1960). What its lots are worth is asked of the tree each time, so that a bound and a policy stand at both ends.
#
_TREES, _PARTS = 16, 4000
"""Trees that the search may solve, and names at all times that these may have together: some seconds."""
_WHOLE = 1e-7
"""Of the account: a trade so near to whole lots is one."""
_DIGITS = 9
"""Of what steers the search: on another processor the last ones differ."""


@dataclass(frozen=True, eq=False)
class _BegunWith:
    """Lots (N,), the trade that they make, and the best policy that begins with it."""

    lots: Vector
    trade: Trade
    policy: Policy


class _FirstLots:
    """The search for the lots with which the best policy begins."""

    def __init__(self, book: Book, outlook: Outlook, best: Policy, work: Work | None) -> None:
        self._book, self._outlook, self._best, self._work = book, outlook, best, work
        self._mandate, self._limits = best.staged.mandates[0], Limits.of(book)
        self._known: dict[bytes, _BegunWith | None] = {}

    def begun(self, lots: Vector) -> _BegunWith | None:
        """The best policy that begins with these lots; None where nothing after them keeps the rules.

        Raises:
            NotSolved: a later part of it has no verified policy.
        """
        key = lots.tobytes()
        if key not in self._known:
            trade = verified_lots(self._book, self._outlook, self._mandate, lots)
            moves = (trade.bought - trade.sold) / self._book.value
            policy = _beginning_with(self._best.staged, self._best.start, moves, self._limits)
            self._known[key] = None if policy is None else _BegunWith(lots, trade, policy)
        return self._known[key]

    def best(self, found: _BegunWith, most: float) -> tuple[_BegunWith, float]:
        """Lots within `lots.gap_bps` of what no lots can beat, as far as the work goes; and that bound."""
        enough = self._book.settings.lots.gap_bps / 1e4
        grid = self._grid(self._best)
        left = [(-round(most, _DIGITS), 0, -grid.held, grid.most_bought, self._best)]
        given_up, solved = -np.inf, 0
        trees = min(_TREES, _PARTS // (len(self._best.staged.mandates) * len(self._book.instruments)))
        while left and solved < trees and -left[0][0] - found.policy.equivalent > enough:
            bound, _, low, high, policy = heappop(left)
            grid = self._grid(policy)
            below, above = grid.nearest
            apart = steady(np.minimum(grid.targets - below, above - grid.targets) * grid.values, _DIGITS)
            name = int(np.argmax(apart))
            if apart[name] <= _WHOLE:
                given_up = max(given_up, -bound)
                continue
            at = np.arange(len(apart)) == name
            for lowest, highest in ((low, np.where(at, below, high)), (np.where(at, above, low), high)):
                solved += 1
                try:
                    other = self._within(lowest * grid.values, highest * grid.values)
                    found = self._better(found, other)
                except Infeasible:
                    continue
                except NotSolved:
                    given_up = max(given_up, -bound)
                    continue
                heappush(left, (max(bound, -round(_proved(other), _DIGITS)), solved, lowest, highest, other))
        most = min(most, max([found.policy.equivalent, given_up, *(-bound for bound, *_ in left)]))
        return found, most

    def _grid(self, policy: Policy) -> OrderGrid:
        target = trade_of_solution(policy.start, self._mandate, policy.holdings[0], self._book.value)
        return order_grid(self._book, self._mandate, policy.start, target)

    def _within(self, low: Vector, high: Vector) -> Policy:
        """The best policy whose purchases less sales (N,) of today are between `low` and `high`, of the account."""
        staged, one = self._best.staged, np.eye(len(low))
        buys, sells = np.vstack([one, -one]), np.vstack([-one, one])
        traded = ProgramRows({"buys": buys, "sells": sells, "limit": np.concatenate([high, -low])})
        today = replace(self._mandate, linear_rules=(*self._mandate.linear_rules, traded))
        asked = replace(staged, mandates=(today, *staged.mandates[1:]), around=self._best.around)
        return solve_policy(asked, self._best.start, self._limits)

    def _better(self, found: _BegunWith, policy: Policy) -> _BegunWith:
        """What is found, or the lots nearest to another policy's first trades where they are worth more."""
        target = trade_of_solution(policy.start, self._mandate, policy.holdings[0], self._book.value)
        try:
            lots, _ = whole_lots(
                self._book, self._outlook, self._mandate, policy.start, target, work=self._work, explains=False
            )
            other = self.begun(lots)
        except (Infeasible, NotSolved):
            return found
        if other is None or other.policy.equivalent <= found.policy.equivalent + _SAME:
            return found
        return other


_SAME = 1e-9
"""Of the account: certainty equivalents that differ by less are the same on another processor."""


def _best_policy(book: Book, outlook: Outlook, say: Callable[[str], None]) -> tuple[Policy, FoundNames | None]:
    """The best policy, whose `staged` knows what regret is measured against; and the names, where few are wanted."""
    check_obviously_infeasible(book, outlook)
    staged, start = build_multistage_mandate(book, outlook), Position(book.weights, book.cash / book.value)
    say(f"solving {staged.tree.nodes} decisions")
    staged, names = of_chosen_names(book, outlook, staged, start)
    return _policy(book, staged, start, outlook), names


def of_chosen_names(
    book: Book, outlook: Outlook, staged: MultistageMandate, start: Position
) -> tuple[MultistageMandate, FoundNames | None]:
    """The same question with its names chosen, where few are wanted, and these.

    Raises:
        Infeasible: no names keep the rules.
        NotSolved: none were found.
    """
    stated, gap = staged.mandates[0], book.settings.mandate.names_gap
    if stated.few_names is None:
        return staged, None
    from allocator.few_names.relaxations import choose_names_or_refuse

    names = choose_names_or_refuse(start, outlook, stated, Limits.of(book), gap, staged)
    return staged.choosing(names.held), names


def _decided(
    book: Book,
    outlook: Outlook,
    staged: MultistageMandate,
    target: Trade,
    weighed: Trade,
    lots: Vector | None,
    most: float,
    policies: tuple[Policy, Policy, Policy | None],
) -> Plan:
    """The plan: the lots, or what is held where trading is not recommended; the targets where there are no lots."""
    (best, with_lots, holding), mandate, held = policies, staged.mandates[0], no_trade(book)
    gain, listed = None if holding is None else with_lots.equivalent - holding.equivalent, tuple[Order, ...]()
    if lots is None:
        decision = TradeValue.of_targets(gain)
    else:
        listed = list_orders(book, mandate, weighed, lots)
        decision = value_of_reviewed_trading(
            gain, mandate.readings(held, outlook), book.settings.trading, orders=len(listed),
            costs=weighed.costs, tickets=book.settings.costs.ticket * len(listed), account_value=book.value,
            required=bool(book.given_away.any()),
        )  # fmt: skip
    trades = decision.trades or holding is None
    final, followed = (weighed, with_lots) if trades or holding is None else (held, holding)
    refuse_unpaid_tickets(book, final, decision)
    certificate = certificate_of_policy(best, mandate.readings(target, outlook))
    return Plan(
        book=book,
        outlook=outlook,
        mandate=mandate,
        start=best.start,
        target=target,
        weighed=weighed,
        final=final,
        orders=listed if trades else (),
        weighed_orders=listed,
        decision=decision,
        rounding_bps=(best.equivalent - with_lots.equivalent) * 1e4,
        lots_gap_bps=0.0 if lots is None else max(most - with_lots.equivalent, 0.0) * 1e4,
        certificate=certificate,
        policy=ReviewPolicy(book, staged, best, with_lots, holding, followed),
    )


def _beginning_with(staged: MultistageMandate, start: Position, moves: Vector, limits: Limits) -> Policy | None:
    """The best policy that trades `moves` (N,) today; None where nothing after them keeps the rules at every review.

    Raises:
        NotSolved: a later part of it has no verified policy.
    """
    try:
        return policy_after_first_trades(staged, start, moves, limits, ruled=False)
    except Infeasible:
        return None


def _policy(book: Book, staged: MultistageMandate, start: Position, outlook: Outlook) -> Policy:
    """The best policy, or why there is none.

    Raises:
        Infeasible: names the rules in conflict today, or those that a later review cannot keep.
        NotSolved: no answer passes the checks.
    """
    limits = Limits.of(book)
    try:
        return solve_policy(with_hindsight(staged, start, limits), start, limits)
    except Infeasible:
        today = explain_conflict(start, outlook, staged.mandates[0])
        if today is not None:
            raise today from None
        raise later_review_conflict(book, staged, start, limits) from None


# Rules that hold together today and not at every review: which of them, loosened how far, would let them.
#
# A rule that could keep the others from holding is found by leaving it out at the reviews. Its limit then moves by the
# least step of a scale at which there is a policy, and that policy is there before it is told: each figure works.
#
_NATURAL = 0.01
"""What a limit of 0 is measured in; others are measured in themselves."""
_OVER = 1e-7
_FIRST, _DOUBLINGS, _PARTS = 1e-3, 11, 1024
_EACH = np.arange(1, _PARTS + 1)
_DOUBLED = np.outer(_FIRST * 2.0 ** np.arange(_DOUBLINGS), 1 + _EACH / _PARTS)
_SCALE: list[float] = [*(_FIRST * _EACH / _PARTS).tolist(), *_DOUBLED.ravel().tolist()]
"""Steps by which a limit may move: to the first of them and between doublings in as many parts."""
R = TypeVar("R", bound=Rule)


@dataclass(frozen=True, eq=False)
class _RulePosition:
    """A rule of every node, and what it reads where nothing is traded."""

    rule: Rule
    readings: Sequence[RuleMeasurement]

    def stands_for(self, other: Rule) -> bool:
        """Whether the other is the same rule, at whatever node."""
        return not set(self.rule.ids).isdisjoint(other.ids)

    def changed(self, mandate: Mandate, change: Callable[[Any], Any]) -> Mandate:
        """A node's mandate with the rule put through `change`, which may drop it; where it has the rule."""

        def each(rules: tuple[R, ...]) -> tuple[R, ...]:
            after = [change(rule) if self.stands_for(rule) else rule for rule in rules]
            return tuple(rule for rule in after if rule is not None)

        return replace(mandate, linear_rules=each(mandate.linear_rules), convex_rules=each(mandate.convex_rules))

    @property
    def label(self) -> str:
        """The rule's label; of many limits the first and the last."""
        labels = list(dict.fromkeys(self.rule.limit_labels))
        return labels[0] if len(labels) == 1 else f"{labels[0]} … {labels[-1]}"


def later_review_conflict(book: Book, staged: MultistageMandate, start: Position, limits: Limits) -> Infeasible:
    """Why there is no policy although the rules can be kept today: rules, and what is paid out, without which there
    would be, each with the least that it must give.
    """
    # what may be wrong, and what wealth is worth, do not decide whether rules can be kept
    plain = replace(without_ambiguity(staged), utility=LinearUtility())
    labels, moves = list[str](), list[Move]()
    for place in _places(plain, start):
        today, *later = plain.mandates
        without = [place.changed(mandate, lambda _: None) for mandate in later]
        if not _can_be_kept(replace(plain, mandates=(today, *without)), start, limits):
            continue
        labels.append(place.label)
        if (move := _least(plain, start, limits, place)) is not None:
            moves.append(move)
    for told_of, move in _payments(book, plain, start, limits):
        labels += told_of
        moves.append(move)
    told = "the rules hold together today, and cannot at every review"
    if labels:
        told += ": " + ", ".join(f"'{label}'" for label in labels)
    return Infeasible(told, labels, [describe_fix(move, ()) for move in moves], moves=moves)


def _payments(
    book: Book, staged: MultistageMandate, start: Position, limits: Limits
) -> Iterator[tuple[list[str], Move]]:
    """What is paid out at reviews without which there would be a policy: each alone, else all of them, with the most
    that can be paid.
    """
    days, home = staged.tree.dates, book.settings.book.currency
    flows = {str(day): flow for day, flow in book.settings.cash.dated.items()}
    out = [day for day, flow in flows.items() if flow < 0]

    def works(changed: Sequence[str], step: float) -> bool:
        paid = {day: flow * max(1 - step, 0.0) if day in changed else flow for day, flow in flows.items()}
        cash = book.settings.cash.model_copy(update={"flows": paid})
        other = replace(book, settings=book.settings.model_copy(update={"cash": cash}))
        found = node_flows(other, days)
        tree = replace(staged.tree, flows=np.zeros(len(days)) if found is None else found)
        return _can_be_kept(replace(staged, tree=tree), start, limits)

    groups = [[day] for day in out if works([day], 1.0)]
    for changed in groups or ([out] if len(out) > 1 and works(out, 1.0) else []):
        step, move = _SCALE[bisect_left(_SCALE, True, key=lambda step: works(changed, step))], list[LooserLimit]()
        for day in changed:
            key, unit = dotted_key("cash", "flows", day), f" {home}"
            less = LooserLimit(
                RuleId("paid out", day, key), key, -float(int(-flows[day] * max(1 - step, 0.0))), 1.0, unit
            )
            move.append(less)
        yield [f"{-flows[day]:,.12g} {home} paid out at the first review from {day} on" for day in changed], tuple(move)


def _places(staged: MultistageMandate, start: Position) -> Iterator[_RulePosition]:
    mandate = staged.mandates[0]
    rules: tuple[Rule, ...] = (*mandate.linear_rules, *mandate.convex_rules)
    trade = policy_from_trades(staged, start, np.zeros_like(staged.tree.growth)).trade(0)
    for rule in rules:
        yield _RulePosition(rule, rule.readings(trade, staged.outlooks[0]))


def _can_be_kept(staged: MultistageMandate, start: Position, limits: Limits) -> bool:
    try:
        return bool(solve_policy(staged, start, limits))
    except (Infeasible, NotSolved):
        return False


def _least(staged: MultistageMandate, start: Position, limits: Limits, place: _RulePosition) -> Move | None:
    """The least loosening of one rule that lets every other hold; None where it has no limit, or none would do."""
    if not place.rule.has_limits:
        return None
    every = list(dict.fromkeys(place.rule.ids))

    def works(step: float, moved: Collection[RuleId]) -> bool:
        limits_of_rule = [_moved(one, step) if one.id in moved else one.limit for one in place.readings]
        mandates = [place.changed(one, lambda rule: rule.with_limits(limits_of_rule)) for one in staged.mandates]
        return _can_be_kept(replace(staged, mandates=tuple(mandates)), start, limits)

    nearest = bisect_left(_SCALE, True, key=lambda step: works(step, every))
    if nearest == len(_SCALE):
        return None
    moved = set(every)
    for limit in every:  # those that need not move stay
        if len(moved) > 1 and works(_SCALE[nearest], moved - {limit}):
            moved.remove(limit)
    told = [
        LooserLimit(one.id, label, _moved(one, _SCALE[nearest]), 1.0 if one.at_most else -1.0, one.unit)
        for label, one in zip(place.rule.limit_labels, place.readings, strict=True)
        if one.id in moved
    ]
    return one_key_one_limit(told)


def _moved(reading: RuleMeasurement, step: float) -> float:
    """A limit `step` times its own size looser."""
    size = abs(reading.limit) if abs(reading.limit) > _OVER else _NATURAL
    return reading.limit + (size if reading.at_most else -size) * step
