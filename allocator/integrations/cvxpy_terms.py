"""A mandate as cvxpy expressions of somebody else's weights: every rule, and the adverse expectation.

The other program's weights are fractions of the account before costs, and its cash has not paid them yet. Costs are
therefore written out: limits from above are taken of what is there before costs or after, whichever is less, so that
no rule is looser than stated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np

from allocator.ambiguity.sets import Ambiguity, ambiguity_set
from allocator.book.book import Book
from allocator.errors import BadMandate, Breach
from allocator.mandate.builder import build_mandate, cost_rates
from allocator.mandate.mandate import Mandate
from allocator.optimization.rule_cones import DecisionVariables, cone_of_rule
from allocator.outlook.outlook import Outlook
from allocator.rules import RuleRows
from allocator.types import Vector


def worst_case_expression(losses: cp.Expression, ambiguity: Ambiguity, probabilities: Vector) -> cp.Expression:
    """sup over the set of q'losses, for (K,) losses that are affine: one convex expression, no constraint beside.

    The program uses dual forms, which want variables and constraints of their own; other people's objectives take a
    term and no constraint, so here it is the support function of the set itself.
    """
    if ambiguity.is_singleton:
        return probabilities @ losses
    q = cp.Variable(len(probabilities))
    return cp.suppfunc(q, [q >= 0, cp.sum(q) == 1, *ambiguity.members(q, probabilities)])(losses)


@dataclass(frozen=True, eq=False)
class HostTrade:
    """Expressions of another program: (N,) `holdings` and `cash` after the trades, (N,) `moved` by them."""

    holdings: Any
    cash: Any
    moved: Any


def rule_constraints(book: Book, outlook: Outlook, traded: HostTrade) -> list[cp.Constraint]:
    """Every rule of a book's mandate, that nothing is held short, and that cash pays the book's own costs.

    Raises:
        BadMandate: a rule that is not convex in another program's weights, or hangs on an account's value; or cash has
            no room for costs.
    """
    if found := list(_unwritable(book)):
        raise BadMandate(found)
    mandate = build_mandate(book, outlook)
    costs = _costs(mandate, traded)
    constraints = [traded.holdings >= 0, traded.cash - costs >= 0]
    rows = mandate.rows.on(outlook)
    if rows.labels:
        constraints.append(_linear(rows, traded, costs).set_label("rules"))
    if not mandate.convex_rules:
        return constraints
    factors, gains = cp.Variable(outlook.risk.loadings.shape[1]), cp.Variable(len(outlook.scenarios))
    charged = cp.Variable()
    constraints += [
        factors == outlook.risk.loadings.T @ traded.holdings,
        gains <= outlook.returns @ traded.holdings + _cash_gains(outlook, traded.cash, costs),
        charged >= costs,
    ]
    decision = DecisionVariables(traded.holdings, cp.Constant(1.0), factors, gains, charged)
    for rule in mandate.convex_rules:
        written = cone_of_rule(rule, decision, outlook)
        written.write(rule, outlook, 1.0)
        constraints += written.constraints
    return constraints


def _unwritable(book: Book) -> Iterator[Breach]:
    """What another program's constraints would quietly say otherwise."""
    wanted = book.settings.mandate
    valued = {"mandate.max_participation": wanted.max_participation, "costs.impact": book.settings.costs.impact}
    for place, value in valued.items():
        if value:
            rule = "hangs on the account's value, which a constraint on weights is not told"
            yield Breach("book.toml", None, place, f"{value:g}", rule, "leave it out, or use our own program")
    if wanted.max_cash == 0 and cost_rates(book).any():
        rule = "leaves no cash to pay the costs of trading from"
        cure = "raise it above what trading costs, such as 0.01, or state no costs"
        yield Breach("book.toml", None, "mandate.max_cash", "0", rule, cure)


def worst_case_return(book: Book, outlook: Outlook, traded: HostTrade) -> cp.Expression:
    """The adverse expected gain over the book's set of probabilities, before costs: concave in the weights.

    Raises:
        BadMandate: scenario returns may be wrong too, or another package charges for holdings: the term says neither.
    """
    others = ["robust.return_error"] if book.settings.robust.return_error != "none" else []
    others += [f"plugins.objectives.{name}" for name in book.settings.plugins.objectives]
    if others:
        rule, cure = "is not in an expectation under adverse probabilities", "leave it out, or use our own program"
        raise BadMandate(Breach("book.toml", None, place, None, rule, cure) for place in others)
    gains = outlook.returns @ traded.holdings + outlook.cash_returns * traded.cash
    return -worst_case_expression(-gains, ambiguity_set(book, outlook), outlook.probabilities)


def _costs(mandate: Mandate, traded: HostTrade) -> Any:
    """What trading will take out of cash by the book's own rates: convex in what is moved."""
    moved = cp.abs(traded.moved)
    costs = mandate.cost_rates @ moved
    return costs if mandate.impact is None else costs + mandate.impact @ cp.power(moved, 1.5)


def _cash_gains(outlook: Outlook, cash: Any, costs: Any) -> Any:
    """(K,) what cash brings after costs, or before them where it loses: concave, and never more than there is."""
    earned, lost = np.maximum(outlook.cash_returns, 0.0), np.minimum(outlook.cash_returns, 0.0)
    return earned * (cash - costs) + lost * cash


def _linear(rows: RuleRows, traded: HostTrade, costs: Any) -> cp.Constraint:
    """The linear rules; costs stand where they are convex, and are left out where that only tightens.

    Raises:
        BadMandate: a rule rewards trading.
    """
    if rows.buys.min() < 0 or rows.sells.min() < 0:
        at = int(np.argmin(np.minimum(rows.buys.min(axis=1).toarray(), rows.sells.min(axis=1).toarray())))
        rule, cure = "rewards trading, which no other program can say convexly", "leave it out"
        raise BadMandate([Breach("book.toml", None, "mandate", rows.labels[at], rule, cure)])
    used = rows.holdings @ traded.holdings + rows.buys @ cp.pos(traded.moved) + rows.sells @ cp.neg(traded.moved)
    used = used + np.maximum(rows.cash, 0.0) * traded.cash + np.minimum(rows.cash, 0.0) * (traded.cash - costs)
    more, less = np.maximum(rows.wealth, 0.0), np.minimum(rows.wealth, 0.0)
    return used <= more * (1 - costs) + less + rows.limit
