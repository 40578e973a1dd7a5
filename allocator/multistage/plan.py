"""`rebalance_multistage(book)`: today's orders as the first step of a policy that decides again at every review.

The policy is solved over the tree and checked outside the solver; today's targets become whole lots; what the lots are
worth, and what holding is worth, is asked of the tree again with today's trades given and every later one open.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from allocator.book.book import Book, refuse_no_book
from allocator.errors import BadMandate, Breach, Infeasible, NotSolved
from allocator.lots.whole_lots import RULE_TOLERANCE, trade_of_lots, whole_lots
from allocator.mandate.mandate import Mandate, no_trade
from allocator.mandate.precheck import check_obviously_infeasible
from allocator.multistage.mandate import MultistageMandate, build_multistage_mandate, without_ambiguity
from allocator.multistage.objectives import (
    ExAnteRegret,
    LinearUtility,
    LogUtility,
    MeanCVaR,
    MixtureVariance,
    PowerUtility,
    Regret,
)
from allocator.multistage.policy import Policy, policy_from_trades
from allocator.multistage.reference_policies import policy_after_first_trades, with_regret_benchmarks
from allocator.multistage.solve import solve_policy
from allocator.optimization.conflicts import explain_conflict
from allocator.optimization.single_period import Position
from allocator.optimization.solve import Limits, trade_of_solution
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.plan.certificate import refuse_broken
from allocator.plan.plan import Figures, Order, list_orders, portfolio_figures
from allocator.plan.trade_decision import Verdict
from allocator.rules import ConvexRule, LinearRule, RuleMeasurement, Trade, Turnover, format_loosened
from allocator.types import Vector

# Rules that hold together today and not at every review: which of them, loosened how far, would let them.
#
# A rule that could keep the others from holding is found by leaving it out at the reviews. Its limit then moves until
# there is a policy, by halving, and a policy that keeps the moved limit is there before it is told: each figure works.
#
R = TypeVar("R")
Rule = LinearRule | ConvexRule
_NATURAL = 0.01
"""What a limit of 0 is measured in; others are measured in themselves."""
_DOUBLINGS = 12
_HALVINGS = 10
_FIRST = 1e-3
_OVER = 1e-7


@dataclass(frozen=True, eq=False)
class _RulePosition:
    """A rule of every node: the n-th of its kind, and what it reads where nothing is traded."""

    rule: Rule
    nth: int
    readings: Sequence[RuleMeasurement]


def later_review_conflict(staged: MultistageMandate, start: Position, limits: Limits) -> Infeasible:
    """Why there is no policy although the rules can be kept today: rules without which there would be, each with the
    least that it must give.
    """
    # what may be wrong, and what wealth is worth, do not decide whether rules can be kept
    asked = replace(without_ambiguity(staged), utility=LinearUtility(), risk_charge=0.0)
    found, cures = [], []
    for place in _places(asked, start):
        first, *others = asked.mandates
        later = tuple(_without(mandate, type(place.rule), place.nth) for mandate in others)
        if _policy_or_none(replace(asked, mandates=(first, *later)), start, limits) is None:
            continue
        label = _named(place.rule, len(start.holdings))
        found.append(label)
        cures.append(_least(asked, start, limits, place) or f"loosen '{label}'")
    told = "the rules hold together today, and cannot at every review"
    return Infeasible(told, found, cures or ["loosen a rule, or remove a review"], for_fractions=True)


def _places(staged: MultistageMandate, start: Position) -> Iterator[_RulePosition]:
    mandate = staged.mandates[0]
    rules: tuple[Rule, ...] = (*mandate.linear_rules, *mandate.convex_rules)
    trade = policy_from_trades(staged, start, np.zeros_like(staged.tree.growth)).trade(0)
    for at, rule in enumerate(rules):
        nth = sum(type(one) is type(rule) for one in rules[:at])
        yield _RulePosition(rule, nth, rule.readings(trade, staged.outlooks[0]))


def _policy_or_none(staged: MultistageMandate, start: Position, limits: Limits) -> Policy | None:
    try:
        return solve_policy(staged, start, limits)
    except (Infeasible, NotSolved):
        return None


def _least(staged: MultistageMandate, start: Position, limits: Limits, place: _RulePosition) -> str | None:
    """The least loosening of one rule that lets every other hold, as an instruction; None where it has no limit, or
    none would do.
    """
    if isinstance(place.rule, LinearRule) and np.isnan(place.rule.rows(len(start.holdings)).stated).any():
        return None
    rows = range(len(place.readings))

    def at(step: float, moved: Collection[int]) -> Policy | None:
        return _policy_or_none(_eased(staged, place, step, moved), start, limits)

    low, high = 0.0, _FIRST
    for _ in range(_DOUBLINGS):
        if at(high, rows) is not None:
            break
        low, high = high, 2 * high
    else:
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if at(middle, rows) is not None else (middle, high)
    moved = set(rows)
    if not isinstance(place.rule, Turnover):
        for row in rows:  # those that need not move stay
            if len(moved) > 1 and at(high, moved - {row}) is not None:
                moved.remove(row)
    return _in_words(place, high, sorted(moved), len(start.holdings))


def _in_words(place: _RulePosition, step: float, moved: Sequence[int], names: int) -> str:
    """The moved limits, rounded so that they work as printed."""
    told = list[str]()
    for row in moved if not isinstance(place.rule, Turnover) else moved[:1]:
        reading, sense = place.readings[row], 1.0 if place.readings[row].at_most else -1.0
        label = _named(place.rule, names) if isinstance(place.rule, Turnover) else reading.label
        limit = format_loosened(_moved(reading, step), sense, reading.unit)
        told.append(f"{'raise' if sense > 0 else 'lower'} '{label}' to {limit}")
    return " and ".join(told)


def _moved(reading: RuleMeasurement, step: float) -> float:
    """A limit `step` times its own size looser."""
    size = abs(reading.limit) if abs(reading.limit) > _OVER else _NATURAL
    return reading.limit + (size if reading.at_most else -size) * step


def _eased(staged: MultistageMandate, place: _RulePosition, step: float, moved: Collection[int]) -> MultistageMandate:
    """The question with some rows of one rule looser at every node, as the book would state them."""
    limits = [_moved(one, step) if row in moved else one.limit for row, one in enumerate(place.readings)]

    def eased(rules: Sequence[R]) -> tuple[R, ...]:
        of_kind = [i for i, one in enumerate(rules) if type(one) is type(place.rule)]
        at = of_kind[place.nth] if place.nth < len(of_kind) else None
        return tuple(one.with_limits(limits) if i == at else one for i, one in enumerate(rules))  # type: ignore[attr-defined]

    return replace(
        staged,
        mandates=tuple(
            replace(one, linear_rules=eased(one.linear_rules), convex_rules=eased(one.convex_rules))
            for one in staged.mandates
        ),
    )


def _named(rule: Rule, names: int) -> str:
    """A rule's label; of many rows the first and the last, but purchases and sales are one turnover."""
    if not isinstance(rule, LinearRule):
        return rule.label
    labels = rule.rows(names).labels
    if isinstance(rule, Turnover):
        return labels[0].partition(" (")[0]
    return labels[0] if len(labels) == 1 else f"{labels[0]} … {labels[-1]}"


def _without(mandate: Mandate, kind: type, nth: int) -> Mandate:
    """The mandate without the n-th of its rules of one kind."""

    def others(rules: Sequence[R]) -> tuple[R, ...]:
        of_kind = [i for i, one in enumerate(rules) if type(one) is kind]
        gone = of_kind[nth] if nth < len(of_kind) else None
        return tuple(one for i, one in enumerate(rules) if i != gone)

    return replace(mandate, linear_rules=others(mandate.linear_rules), convex_rules=others(mandate.convex_rules))


_BROKEN = 1e-9
"""Of a rule's own unit: what whole lots are allowed, today's holdings are allowed too."""


@dataclass(frozen=True, eq=False)
class MultistagePlan:
    """Today's whole-lot orders and the policy that they begin.

    `policy` is the best one with fractional trades; `with_lots` begins with the lots that were weighed, `holding` with
    today's holdings, and both decide anew at every review; `holding` is None where nobody who holds today could keep
    the rules at a review. `final` is today's portfolio after `orders`: the lots, or what is held where the verdict is
    to hold.
    """

    book: Book
    outlook: Outlook
    staged: MultistageMandate
    start: Position
    policy: Policy
    with_lots: Policy
    holding: Policy | None
    target: Trade
    weighed: Trade
    final: Trade
    orders: tuple[Order, ...]
    weighed_orders: tuple[Order, ...]
    verdict: Verdict
    readings: tuple[RuleMeasurement, ...]
    before: Figures
    after: Figures

    @property
    def followed(self) -> Policy:
        """The policy that today's portfolio begins."""
        return self.holding if self.verdict == "hold" and self.holding is not None else self.with_lots

    @property
    def tickets(self) -> float:
        """Money for the tickets of the orders that were weighed."""
        return self.book.settings.costs.ticket * len(self.weighed_orders)

    @property
    def gain_bps(self) -> float | None:
        """What trading today gains over holding until the first review, in sure return, after costs and tickets; None
        where holding is no choice.
        """
        if self.holding is None:
            return None
        return (self.with_lots.equivalent - self.holding.equivalent - self.tickets / self.book.value) * 1e4

    @property
    def rounding_bps(self) -> float:
        """What whole lots cost against fractional trades, in sure return."""
        return (self.policy.equivalent - self.with_lots.equivalent) * 1e4


def rebalance_multistage(book: Book, *, progress: Callable[[str], None] | None = None) -> MultistagePlan:
    """Turn a book whose objective is a utility, or for one decision, into orders for today and a policy for reviews.

    Raises:
        BadInput: the price history cannot give a covariance.
        BadMandate: the objective is for the one-period program; `rebalance` is for it.
        Infeasible: rules cannot hold together, now or at a review, or no whole lots keep them.
        NotSolved: no solver gave an answer that passes our own checks.
    """
    refuse_no_book(book)
    if not book.settings.in_stages:
        rule, cure = "is not for the tree of decisions", "use `rebalance`, or choose log, crra or return"
        raise BadMandate([Breach("book.toml", None, "mandate.objective", book.settings.mandate.objective, rule, cure)])
    say = progress or (lambda _: None)
    say("reading the outlook")
    outlook = build_outlook(book)
    check_obviously_infeasible(book, outlook)
    staged, start = build_multistage_mandate(book, outlook), Position(book.weights, book.cash / book.value)
    mandate = staged.mandates[0]
    limits = Limits(book.settings.solver.tolerance, book.settings.solver.time_limit_seconds)
    say(f"solving {staged.tree.nodes} decisions")
    policy = _policy(staged, start, outlook, limits)
    staged = policy.staged  # what regret is measured against is known now
    say("finding whole lots")
    target = trade_of_solution(start, mandate, policy.holdings[0], book.value)
    lots = whole_lots(book, outlook, mandate, start, target)
    weighed, held = trade_of_lots(book, mandate, lots), no_trade(book)
    refuse_broken(mandate.readings(weighed, outlook), RULE_TOLERANCE, "the whole lots")
    say("weighing the orders against holding")
    with_lots = _beginning_with(staged, start, (weighed.bought - weighed.sold) / book.value, limits)
    if with_lots is None:
        told = "the nearest whole lots leave no way to keep the rules at a later review"
        raise Infeasible(told, fixes=["use smaller lots", "loosen a rule a little"])
    holding = _beginning_with(staged, start, 0 * start.holdings, limits)
    listed = list_orders(book, mandate, weighed, lots)
    plan = MultistagePlan(
        book=book,
        outlook=outlook,
        staged=staged,
        start=start,
        policy=policy,
        with_lots=with_lots,
        holding=holding,
        target=target,
        weighed=weighed,
        final=weighed,
        orders=listed,
        weighed_orders=listed,
        verdict="trade",
        readings=tuple(mandate.readings(weighed, outlook)),
        before=portfolio_figures(book, outlook, mandate, held),
        after=portfolio_figures(book, outlook, mandate, weighed),
    )
    if plan.gain_bps is None or any(reading.excess > _BROKEN for reading in mandate.readings(held, outlook)):
        return replace(plan, verdict="must trade")
    if listed and plan.gain_bps > book.settings.trading.min_gain_bps:
        return plan
    return replace(
        plan,
        verdict="hold",
        final=held,
        orders=(),
        readings=tuple(mandate.readings(held, outlook)),
        after=plan.before,
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


def _policy(staged: MultistageMandate, start: Position, outlook: Outlook, limits: Limits) -> Policy:
    """The best policy, or why there is none.

    Raises:
        Infeasible: names the rules in conflict today, or those that a later review cannot keep.
        NotSolved: no answer passes the checks.
    """
    try:
        return solve_policy(with_regret_benchmarks(staged, start, limits), start, limits)
    except Infeasible:
        today = explain_conflict(start, outlook, staged.mandates[0])
        if today is not None:
            raise today from None
        raise later_review_conflict(staged, start, limits) from None


# What an objective is called on a tree, where it is not what its one-decision name says.
#
_NAMES = {
    LinearUtility: "expected wealth",
    LogUtility: "log utility",
    PowerUtility: "power utility",
    MixtureVariance: "mean and mixture variance",
    ExAnteRegret: "regret of not knowing the probabilities",
}


def objective_label(staged: MultistageMandate) -> str:
    """The objective's name; one that is not time-consistent says so."""
    if isinstance(staged.utility, MeanCVaR):
        return "nested CVaR" if staged.tree.nodes > 1 else "mean and CVaR"
    if isinstance(staged.utility, Regret):
        return "regret at the leaves: not time-consistent" if staged.at_leaves else "regret"
    return _NAMES.get(type(staged.utility), "goals")
