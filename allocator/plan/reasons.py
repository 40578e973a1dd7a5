"""Why a plan trades: the gain of the targets over today's holdings, split by order and by motive so that it adds up.

With F the minimised objective, g the rules as the rows that the certificate prices and λ those prices (science §4.10):

    gain = [F(today) + λ'g(today)] − [F(target) + λ'g(target)]

Each motive's slope is averaged along the straight way from today's holdings and cash to the targets. A convex rule
stands in g as its tangent at the targets, the very row that `plan.json` proves the bound with: the targets minimise
F + λ'g over everything the account can do, today's holdings included, so the gain is never negative, also where they
break a rule. Being linear, the tangent splits exactly; it counts a breach of a convex rule for no more than it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from allocator.errors import NotSolved
from allocator.mandate.mandate import BoxError, EllipsoidError, Mandate
from allocator.optimization.single_period import Start
from allocator.optimization.verification import Prices
from allocator.outlook.outlook import Outlook
from allocator.plan.path import averaged_adversary, inverse_norm_weights
from allocator.plan.plan import Plan
from allocator.rules import Trade
from allocator.types import Matrix, Vector

MOTIVES = ("expected_return", "robustness", "return_error", "objectives", "risk", "costs", "rules", "money")
"""The columns of the reasons. Robustness is the worst case less the belief; rules are λ'g. Money is what an order takes
from the others or gives them, at the price of money at the targets: it adds up to nothing over orders and cash, and
without it every purchase would look as if its money came from nowhere and could go nowhere else."""
EXACT = 1e-9
"""Of the account, or of the objective where it is larger than 1: how far parts may be from their whole."""


@dataclass(frozen=True, eq=False)
class Reasons:
    """The gain of the targets in parts, as fractions of the account before trading; positive speaks for the trade.

    `parts` (N + 1, motives) have a row for each instrument and, last, one for cash; they add up to `gain`. `lots` is
    what whole lots add to it, F(target) − F(lots), mostly negative.
    """

    parts: Matrix
    gain: float
    lots: float

    @property
    def lines(self) -> Vector:
        """(N + 1,) what each order brings, all motives together."""
        return np.asarray(self.parts.sum(axis=1))

    @property
    def motives(self) -> Vector:
        """(motives,) what each motive brings, all orders together."""
        return np.asarray(self.parts.sum(axis=0))

    @property
    def total(self) -> float:
        """The gain of the final lots."""
        return self.gain + self.lots


def reasons(plan: Plan) -> Reasons:
    """The reasons of a plan, adding up to its gain.

    Raises:
        NotSolved: the parts do not add up, which would be a defect of ours.
    """
    found = reasons_of(plan.start, plan.outlook, plan.mandate, plan.target, plan.prices)
    return Reasons(found.parts, found.gain, -plan.rounding_bps / 1e4)


def reasons_of(start: Start, outlook: Outlook, mandate: Mandate, target: Trade, prices: Prices) -> Reasons:
    """The reasons of targets, before whole lots.

    Raises:
        NotSolved: the parts do not add up.
    """
    nothing = np.zeros(len(start.holdings))
    today = Trade(start.holdings, start.cash, nothing, nothing, 0.0, 1.0)
    before, after = mandate.loss(today, outlook), mandate.loss(target, outlook)
    gain = before + _priced_rules(today, outlook, mandate, prices)
    gain -= after + _priced_rules(target, outlook, mandate, prices)
    columns = (
        *_returns(start, outlook, mandate, target),
        _return_error(start, outlook, mandate, target),
        _charges(start, mandate, target),
        _risk(start, outlook, mandate, target),
        _costs(outlook, mandate, target),
        _rules(start, outlook, mandate, target, prices),
        _money(start, outlook, mandate, target, prices),
    )
    parts = np.column_stack(columns)
    if not abs(float(parts.sum()) - gain) <= EXACT * max(1.0, abs(before), abs(after)):
        raise NotSolved(f"the reasons miss the gain by {(parts.sum() - gain) * 1e4:.2g} bps; no number leaves")
    return Reasons(parts, gain, 0.0)


def moved(start: Start, target: Trade) -> Vector:
    """(N + 1,) what the targets change, cash last, in fractions of the account before trading."""
    before = target.value_before
    return np.append(target.values / before - start.holdings, target.cash / before - start.cash)


def _priced_rules(trade: Trade, outlook: Outlook, mandate: Mandate, prices: Prices) -> float:
    """λ'g: rules at their prices, positive where they are broken."""
    rows, priced = prices.priced(outlook, mandate)
    before = trade.value_before
    used = rows.holdings @ trade.values + rows.cash * trade.cash + rows.buys @ trade.bought + rows.sells @ trade.sold
    return float(priced @ ((used - rows.wealth * trade.value) / before - rows.limit))


def _returns(start: Start, outlook: Outlook, mandate: Mandate, target: Trade) -> tuple[Vector, Vector]:
    """Return under the belief, and what the adversary, averaged along the way, makes of it."""
    ways, before = moved(start, target), target.value_before
    if not mandate.return_weight:
        return np.zeros(len(ways)), np.zeros(len(ways))
    p, all_returns = outlook.probabilities, with_cash(outlook)
    today = -outlook.portfolio_returns(start.holdings, start.cash)
    then = -outlook.portfolio_returns(target.values / before, target.cash / before)
    q = averaged_adversary(today, then, mandate.ambiguity, p)
    return (p @ all_returns) * ways, ((q - p) @ all_returns) * ways


def with_cash(outlook: Outlook) -> Matrix:
    """(K, N + 1) returns in each scenario, cash last."""
    return np.column_stack([outlook.returns, outlook.cash_returns])


def _return_error(start: Start, outlook: Outlook, mandate: Mandate, target: Trade) -> Vector:
    error, ways = mandate.return_error, moved(start, target)
    slope = np.zeros(len(start.holdings))
    if isinstance(error, BoxError):
        slope = error.deviations
    elif isinstance(error, EllipsoidError):
        risk, then = outlook.risk, target.values / target.value_before
        deviations = [float(np.sqrt(risk.variance(held))) for held in (start.holdings, then, then - start.holdings)]
        first, second = inverse_norm_weights(*deviations)
        slope = error.size * risk.covariances(first * start.holdings + second * then)
    return -np.append(slope, 0.0) * ways


def _charges(start: Start, mandate: Mandate, target: Trade) -> Vector:
    """What objectives of other packages charge is linear."""
    own = np.zeros(len(start.holdings)) if mandate.charges is None else mandate.charges
    return -np.append(own, 0.0) * moved(start, target)


def _risk(start: Start, outlook: Outlook, mandate: Mandate, target: Trade) -> Vector:
    """γ·h'Ωh is quadratic: its slope half way is its average."""
    half = (start.holdings + target.values / target.value_before) / 2
    slope = 2 * mandate.risk_aversion * outlook.risk.covariances(half)
    return -np.append(slope, 0.0) * moved(start, target)


def _costs(outlook: Outlook, mandate: Mandate, target: Trade) -> Vector:
    """Each order's own cost; what the account's last digits leave over is cash's."""
    spent = _spent(mandate, target)
    rest = 1 - target.value / target.value_before - float(spent.sum())
    return -mandate.cost_price(outlook) * np.append(spent, rest)


def _spent(mandate: Mandate, target: Trade) -> Vector:
    before = target.value_before
    return mandate.costs(target.bought / before, target.sold / before)


def _rules(start: Start, outlook: Outlook, mandate: Mandate, target: Trade, prices: Prices) -> Vector:
    """λ'g is linear; the wealth that limits are a part of falls by each order's cost."""
    rows, priced = prices.priced(outlook, mandate)
    before, ways, spent = target.value_before, moved(start, target), _spent(mandate, target)
    own = (rows.holdings.T @ priced) * ways[:-1]
    own = own + (rows.buys.T @ priced) * target.bought / before + (rows.sells.T @ priced) * target.sold / before
    rest = 1 - target.value / before - float(spent.sum())
    cash = float(rows.cash @ priced) * float(ways[-1])
    return -np.append(own, cash) - float(rows.wealth @ priced) * np.append(spent, rest)


def _money(start: Start, outlook: Outlook, mandate: Mandate, target: Trade, prices: Prices) -> Vector:
    """What each order spends, its cost with it, at what a unit of money is worth elsewhere; sums to nothing."""
    spent, ways = _spent(mandate, target), moved(start, target)
    rest = 1 - target.value / target.value_before - float(spent.sum())
    return np.asarray(money_price(outlook, mandate, prices) * (ways + np.append(spent, rest)))


def money_price(outlook: Outlook, mandate: Mandate, prices: Prices) -> float:
    """What a unit held is worth as wealth, less what it costs as money: the same for every name."""
    rows, priced = prices.priced(outlook, mandate)
    return mandate.cost_price(outlook) + float(rows.wealth @ priced) - prices.cash


def reasons_document(plan: Plan) -> dict[str, Any]:
    """The reasons as plain data, in bps of the account; `others` are targets that no whole lot follows."""
    found = reasons(plan)
    index = {name: i for i, name in enumerate(plan.book.instruments)}
    rows = [index[order.instrument] for order in plan.weighed_orders]
    others = found.parts[np.setdiff1d(np.arange(len(index)), rows)].sum(axis=0)
    return {
        "orders": [{"instrument": plan.book.instruments[i], **motives_in_bps(found.parts[i])} for i in rows],
        "others": motives_in_bps(others),
        "cash": motives_in_bps(found.parts[-1]),
        "targets": motives_in_bps(found.motives),
        "lots": bps(found.lots),
        "total": bps(found.total),
    }


def motives_in_bps(parts: Vector) -> dict[str, float]:
    """One line of reasons by name, with its sum."""
    return dict(zip(MOTIVES, map(bps, parts), strict=True)) | {"sum": bps(float(parts.sum()))}


def bps(fraction: float) -> float:
    """Basis points with the digits that are stable."""
    return round(float(fraction) * 1e4, 6) + 0.0
