"""Today's orders as the first step of a policy that re-optimises at every review.

The policy is solved over the tree and checked outside the solver; today's targets become whole lots; what the lots are
worth, and what holding is worth, is asked of the tree again with today's trades given and every later one open.
"""

from __future__ import annotations

from collections.abc import Callable

from allocator.book.book import Book
from allocator.errors import Infeasible
from allocator.lots.whole_lots import whole_lots
from allocator.mandate.mandate import no_trade
from allocator.mandate.precheck import check_obviously_infeasible
from allocator.multistage.mandate import MultistageMandate, build_multistage_mandate
from allocator.multistage.policy import Policy
from allocator.multistage.review_policy import ReviewPolicy
from allocator.multistage.solve import policy_after_first_trades, solve_policy, with_hindsight
from allocator.optimization.conflicts import explain_conflict
from allocator.optimization.highs import Work
from allocator.optimization.single_period import Position
from allocator.optimization.solve import Limits, trade_of_solution
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.plan.certificate import certificate_of_policy, verified_lots
from allocator.plan.plan import Plan, adverse_probabilities, list_orders, portfolio_figures
from allocator.plan.trade_decision import value_of_reviewed_trading
from allocator.rules import Trade
from allocator.types import Vector


def plan_with_reviews(book: Book, say: Callable[[str], None]) -> Plan:
    """Turn a book whose objective is solved on the tree of decisions into orders for today and a policy for reviews.

    Raises:
        BadInput: the price history cannot give a covariance.
        Infeasible: rules conflict, now or at a review, or no whole lots keep them.
        NotSolved: no solver gave an answer that passes our own checks.
    """
    say("reading the outlook")
    outlook = build_outlook(book)
    best, with_lots, target, weighed, lots = orders_with_reviews(book, outlook, say)
    holding = _beginning_with(best.staged, best.start, 0 * best.start.holdings, Limits.of(book))
    return _decided(book, outlook, best.staged, target, weighed, lots, (best, with_lots, holding))


def orders_with_reviews(
    book: Book, outlook: Outlook, say: Callable[[str], None], work: Work | None = None, *, explains: bool = True
) -> tuple[Policy, Policy, Trade, Trade, Vector]:
    """The best policy, the best that begins with whole lots, today's targets, and the lots as a trade and as lots.

    Raises:
        Infeasible: rules conflict, now or at a review, or no whole lots keep them.
        NotSolved: no solver gave an answer that passes our own checks.
    """
    check_obviously_infeasible(book, outlook)
    staged, start = build_multistage_mandate(book, outlook), Position(book.weights, book.cash / book.value)
    limits = Limits.of(book)
    say(f"solving {staged.tree.nodes} decisions")
    best = _policy(staged, start, outlook, limits)
    staged = best.staged  # what regret is measured against is known now
    mandate = staged.mandates[0]
    say("finding whole lots")
    target = trade_of_solution(start, mandate, best.holdings[0], book.value)
    lots = whole_lots(book, outlook, mandate, start, target, work=work, explains=explains)
    weighed = verified_lots(book, outlook, mandate, lots)
    say("weighing the orders against no trade")
    with_lots = _beginning_with(staged, start, (weighed.bought - weighed.sold) / book.value, limits)
    if with_lots is None:
        raise Infeasible("the nearest whole lots leave no way to keep the rules at a later review", of_lots=True)
    return best, with_lots, target, weighed, lots


def _decided(
    book: Book,
    outlook: Outlook,
    staged: MultistageMandate,
    target: Trade,
    weighed: Trade,
    lots: Vector,
    policies: tuple[Policy, Policy, Policy | None],
) -> Plan:
    """The plan: the lots, or what is held where trading is not recommended."""
    (best, with_lots, holding), mandate, held = policies, staged.mandates[0], no_trade(book)
    listed = list_orders(book, mandate, weighed, lots)
    gain = None if holding is None else with_lots.equivalent - holding.equivalent
    decision = value_of_reviewed_trading(
        gain, mandate.readings(held, outlook), book.settings.trading, orders=len(listed),
        tickets=book.settings.costs.ticket * len(listed), account_value=book.value,
        required=bool(book.given_away.any()),
    )  # fmt: skip
    trades = decision.trades or holding is None
    final, followed = (weighed, with_lots) if trades or holding is None else (held, holding)
    measurements = tuple(mandate.readings(final, outlook))
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
        adversary=adverse_probabilities(outlook, mandate, target),
        measurements=measurements,
        before=portfolio_figures(book, outlook, mandate, held),
        targeted=portfolio_figures(book, outlook, mandate, target),
        after=portfolio_figures(book, outlook, mandate, final),
        rounding_bps=(best.equivalent - with_lots.equivalent) * 1e4,
        certificate=certificate_of_policy(best, mandate.readings(target, outlook)),
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


def _policy(staged: MultistageMandate, start: Position, outlook: Outlook, limits: Limits) -> Policy:
    """The best policy, or why there is none.

    Raises:
        Infeasible: names the rules in conflict today, or those that a later review cannot keep.
        NotSolved: no answer passes the checks.
    """
    try:
        return solve_policy(with_hindsight(staged, start, limits), start, limits)
    except Infeasible:
        today = explain_conflict(start, outlook, staged.mandates[0])
        if today is not None:
            raise today from None
        from allocator.multistage.conflicts import later_review_conflict

        raise later_review_conflict(staged, start, limits) from None
