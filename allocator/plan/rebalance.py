"""`rebalance(book) -> Plan`: the one verb. Outlook and mandate, solve, check, whole lots, check again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from allocator.book.book import Book
from allocator.errors import Infeasible, NotSolved
from allocator.mandate.mandate import Mandate, untraded
from allocator.mandate.plausible import PROBABILITY_SHIFT
from allocator.mandate.prechecks import refuse_hopeless
from allocator.mandate.rules import Trade
from allocator.mandate.wanted import mandate_of
from allocator.outlook.outlook import Outlook, outlook_of
from allocator.plan.certificate import Certificate, certify, refuse_broken
from allocator.plan.lots import RULE_TOLERANCE, traded, whole_lots
from allocator.plan.plan import Plan, binding, figures, orders
from allocator.plan.region import no_trade_regions
from allocator.plan.restraint import Restrained, least_traded
from allocator.plan.worth import worth
from allocator.program.bound import Prices, tightest
from allocator.program.compile import Start
from allocator.program.solve import Limits, Program, Solution
from allocator.types import Vector

_DUST = 1e-9
"""A fractional trade below this part of the account is the solver's noise, not a wish."""


def rebalance(book: Book, *, progress: Callable[[str], None] | None = None) -> Plan:
    """Turn a book into a verified plan of whole-lot orders.

    `progress` is told what is being done, for people who wait.

    Raises:
        BadInput: the price history cannot give a covariance.
        Infeasible: rules cannot hold together, or no whole-lot portfolio keeps them; names them and the smallest fix.
        NotSolved: no solver gave an answer that passes our own checks.
    """
    say = progress or (lambda _: None)
    say("reading the outlook")
    outlook = outlook_of(book)
    mandate = mandate_of(book, outlook)
    start = Start(book.weights, book.cash / book.value)
    refuse_hopeless(book, outlook)
    say("solving")
    program = Program(outlook, mandate)
    limits = Limits(book.settings.solver.tolerance, book.settings.solver.time_limit_seconds)
    best, prices, certificate = solved(program, start, outlook, mandate, limits, book.value)
    restrained = _restrained(book, program, start, outlook, mandate, limits, Restrained(best, certificate, prices))
    target, certificate = restrained.target, restrained.certificate
    say("finding whole lots")
    lots = whole_lots(book, outlook, mandate, start, target)
    final = traded(book, mandate, lots)
    refuse_broken(mandate.readings(final, outlook), RULE_TOLERANCE, "the whole lots")
    if (
        final.cash < -RULE_TOLERANCE * book.value
        or (book.quantities + lots * book.lot_sizes < -1e-9 * book.lot_sizes).any()
    ):
        raise NotSolved("the whole lots spend more than there is; no number leaves")
    weighed, weighed_orders = final, orders(book, mandate, final, lots)
    value = worth(
        outlook,
        mandate,
        untraded(book),
        weighed,
        book.settings.trading,
        orders=len(weighed_orders),
        ticket=book.settings.costs.ticket,
    )
    if value.verdict == "hold":
        final = untraded(book)
    say("measuring stability")
    adversary = mandate.ambiguity.adversary(
        -outlook.portfolio_returns(target.values, target.cash), outlook.probabilities
    )
    return Plan(
        book=book,
        outlook=outlook,
        mandate=mandate,
        start=start,
        target=target,
        final=final,
        weighed=weighed,
        orders=() if value.verdict == "hold" else weighed_orders,
        worth=value,
        adversary=_vouched(adversary, prices.adversary, target, outlook),
        prices=prices,
        binding=binding(outlook, mandate, target, prices),
        no_trade=no_trade_regions(outlook, mandate, target, restrained.prices, restrained.trading_price),
        readings=tuple(mandate.readings(final, outlook)),
        before=figures(book, outlook, mandate, untraded(book)),
        targeted=figures(book, outlook, mandate, target),
        after=figures(book, outlook, mandate, final),
        stability=stability(program, start, outlook, mandate, best, limits),
        certificate=certificate,
    )


def _restrained(
    book: Book,
    program: Program,
    start: Start,
    outlook: Outlook,
    mandate: Mandate,
    limits: Limits,
    best: Restrained,
) -> Restrained:
    """The targets that trade least among those within the book's indifference, certified by the best ones' prices."""
    indifference = book.settings.trading.indifference_bps / 1e4

    def again(trading_price: float) -> Restrained | None:
        try:
            found = program.solve(start, outlook, mandate, limits, trading_price=trading_price)
            target = _as_trade(start, mandate, found.holdings, book.value)
            if mandate.loss(target, outlook) > best.certificate.objective + indifference:
                return None
            proof = certify(
                start,
                outlook,
                mandate,
                target,
                best.prices,
                solver=found.solver,
                attempts=found.attempts,
                canonical=found.canonical,
                indifference=indifference,
            )
        except (Infeasible, NotSolved):
            return None
        own, _ = tightest(start, outlook, mandate, target, found.multipliers)
        return Restrained(target, proof, own, trading_price)

    return least_traded(best, again) if indifference > 0 else best


def solved(
    program: Program, start: Start, outlook: Outlook, mandate: Mandate, limits: Limits | None = None, value: float = 1.0
) -> tuple[Trade, Prices, Certificate]:
    """The program's solution, certified; a solver whose solution fails the certificate is passed over for the next.

    Raises:
        Infeasible: the rules cannot hold together.
        NotSolved: no solver's solution passes both checks.
    """
    refused: dict[str, str] = {}
    while True:
        solution = program.solve(start, outlook, mandate, limits, refused)
        try:
            return certified(start, outlook, mandate, solution, value)
        except NotSolved as error:
            if refused.setdefault(solution.solver, str(error)) and len(refused) >= len(program.ladder(mandate)):
                raise


def certified(
    start: Start, outlook: Outlook, mandate: Mandate, solution: Solution, value: float = 1.0
) -> tuple[Trade, Prices, Certificate]:
    """A solution as a trade in money (`value` before), its prices and its certificate.

    Raises:
        NotSolved: it breaks a rule, or is further from the proved bound than 0.01 bps.
    """
    target = _as_trade(start, mandate, solution.holdings, value)
    prices, _ = tightest(start, outlook, mandate, target, solution.multipliers)
    certificate = certify(
        start,
        outlook,
        mandate,
        target,
        prices,
        solver=solution.solver,
        attempts=solution.attempts,
        canonical=solution.canonical,
    )
    return target, prices, certificate


def _as_trade(start: Start, mandate: Mandate, holdings: Vector, value: float) -> Trade:
    """The solver's holdings without dust, cash recomputed from the cash row."""
    moved = np.maximum(holdings, 0.0) - start.holdings
    moved = np.where(np.abs(moved) < _DUST, 0.0, moved)
    moved = np.where(start.holdings + moved < _DUST, -start.holdings, moved)
    bought, sold = np.maximum(moved, 0.0), np.maximum(-moved, 0.0)
    costs = float(mandate.costs(bought, sold).sum())
    cash = start.cash + float(sold.sum()) - float(bought.sum()) - costs
    if -_DUST < cash < 0:
        cash = 0.0
    return Trade((start.holdings + moved) * value, cash * value, bought * value, sold * value, costs * value, value)


def _vouched(own: Vector, dual: Vector, target: Trade, outlook: Outlook) -> Vector:
    """The adversary to report: the solver's where several are equally bad, so that it fits the shadow prices."""
    gains = outlook.portfolio_returns(target.values, target.cash) / target.value_before
    return dual if float((dual - own) @ gains) < 1e-6 else own


def stability(
    program: Program, start: Start, outlook: Outlook, mandate: Mandate, target: Trade, limits: Limits
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
            there, _, _ = solved(fitting, start, moved, mandate, limits)
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
