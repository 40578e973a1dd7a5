"""`rebalance_in_stages(book)`: today's orders as the first step of a policy that decides again at every review.

The policy is solved over the tree and checked outside the solver; today's targets become whole lots; what the lots are
worth, and what holding is worth, is asked of the tree again with today's trades given and every later one open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from allocator.book.book import Book, refuse_no_book
from allocator.errors import BadMandate, Breach, Infeasible
from allocator.lots.whole_lots import RULE_TOLERANCE, traded, whole_lots
from allocator.mandate.mandate import untraded
from allocator.mandate.precheck import refuse_hopeless
from allocator.mandate.reviewed import staged_of
from allocator.mandate.staged import Staged
from allocator.optimization.conflicts import explain_conflict
from allocator.optimization.single_period import Start
from allocator.optimization.solve import Limits, as_trade
from allocator.outlook.outlook import Outlook, outlook_of
from allocator.plan.certificate import refuse_broken
from allocator.plan.later import later_conflict
from allocator.plan.plan import Figures, Order, figures, orders
from allocator.plan.trade_decision import Verdict
from allocator.program.alternatives import rooted
from allocator.program.decisions import policy_of
from allocator.program.policy import Policy
from allocator.program.regret import with_hindsight
from allocator.rules import Reading, Trade
from allocator.types import Vector

_BROKEN = 1e-9
"""Of a rule's own unit: what whole lots are allowed, today's holdings are allowed too."""


@dataclass(frozen=True, eq=False)
class StagedPlan:
    """Today's whole-lot orders and the policy that they begin.

    `policy` is the best one with fractional trades; `with_lots` begins with the lots that were weighed, `holding` with
    today's holdings, and both decide anew at every review; `holding` is None where nobody who holds today could keep
    the rules at a review. `final` is today's portfolio after `orders`: the lots, or what is held where the verdict is
    to hold.
    """

    book: Book
    outlook: Outlook
    staged: Staged
    start: Start
    policy: Policy
    with_lots: Policy
    holding: Policy | None
    target: Trade
    weighed: Trade
    final: Trade
    orders: tuple[Order, ...]
    weighed_orders: tuple[Order, ...]
    verdict: Verdict
    readings: tuple[Reading, ...]
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


def rebalance_in_stages(book: Book, *, progress: Callable[[str], None] | None = None) -> StagedPlan:
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
    outlook = outlook_of(book)
    refuse_hopeless(book, outlook)
    staged, start = staged_of(book, outlook), Start(book.weights, book.cash / book.value)
    mandate = staged.mandates[0]
    limits = Limits(book.settings.solver.tolerance, book.settings.solver.time_limit_seconds)
    say(f"solving {staged.tree.nodes} decisions")
    policy = _policy(staged, start, outlook, limits)
    staged = policy.staged  # what regret is measured against is known now
    say("finding whole lots")
    target = as_trade(start, mandate, policy.holdings[0], book.value)
    lots = whole_lots(book, outlook, mandate, start, target)
    weighed, held = traded(book, mandate, lots), untraded(book)
    refuse_broken(mandate.readings(weighed, outlook), RULE_TOLERANCE, "the whole lots")
    say("weighing the orders against holding")
    with_lots = _beginning_with(staged, start, (weighed.bought - weighed.sold) / book.value, limits)
    if with_lots is None:
        told = "the nearest whole lots leave no way to keep the rules at a later review"
        raise Infeasible(told, fixes=["use smaller lots", "loosen a rule a little"])
    holding = _beginning_with(staged, start, 0 * start.holdings, limits)
    listed = orders(book, mandate, weighed, lots)
    plan = StagedPlan(
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
        before=figures(book, outlook, mandate, held),
        after=figures(book, outlook, mandate, weighed),
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


def _beginning_with(staged: Staged, start: Start, moves: Vector, limits: Limits) -> Policy | None:
    """The best policy that trades `moves` (N,) today; None where nothing after them keeps the rules at every review.

    Raises:
        NotSolved: a later part of it has no verified policy.
    """
    try:
        return rooted(staged, start, moves, limits, ruled=False)
    except Infeasible:
        return None


def _policy(staged: Staged, start: Start, outlook: Outlook, limits: Limits) -> Policy:
    """The best policy, or why there is none.

    Raises:
        Infeasible: names the rules in conflict today, or those that a later review cannot keep.
        NotSolved: no answer passes the checks.
    """
    try:
        return policy_of(with_hindsight(staged, start, limits), start, limits)
    except Infeasible:
        today = explain_conflict(start, outlook, staged.mandates[0])
        if today is not None:
            raise today from None
        raise later_conflict(staged, start, limits) from None
