"""The Plan: what to do, what it is worth under the belief and under the worst of it, and the proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from allocator.ambiguity.sets import worst_case
from allocator.book.book import Book
from allocator.lots.whole_lots import RelaxedRule
from allocator.mandate.mandate import Mandate
from allocator.optimization.single_period import Position
from allocator.optimization.verification import DualCertificate
from allocator.outlook.outlook import Outlook
from allocator.plan.certificate import Certificate
from allocator.plan.trade_decision import NoTradeRegions, TradeValue
from allocator.rules import RuleMeasurement, Trade, row_slack
from allocator.rules.builder import bucket_shares
from allocator.types import Vector

BINDING = 1e-7
"""A shadow price below this (a hundred-thousandth of a basis point for a point of limit) is the solver's noise."""


@dataclass(frozen=True)
class Order:
    """One whole-lot order; `value` and `cost` in the book's currency, `quantity` in units, always positive."""

    side: str
    instrument: str
    quantity: float
    price: float
    value: float
    cost: float
    weight_before: float
    weight_after: float


@dataclass(frozen=True)
class Figures:
    """One portfolio under the outlook, over the horizon, as fractions of the account before trading; after costs.

    `volatility_within` and `volatility_between` are annual: risk inside a scenario, and the spread of scenario means.
    The `active_*` figures and `tracking_error` (annual, within) are against the benchmark, None without one.
    """

    expected_return: float
    worst_case_return: float
    volatility_within: float
    volatility_between: float
    costs: float
    buckets: Mapping[str, float]
    scenario_returns: tuple[float, ...]
    active_expected_return: float | None = None
    active_worst_case_return: float | None = None
    tracking_error: float | None = None


@dataclass(frozen=True)
class BindingRule:
    """A rule that holds the targets back: what one more point of its limit is worth, in bps of the account."""

    label: str
    bps_per_point: float


@dataclass(frozen=True, eq=False)
class Plan:
    """Targets, whole-lot orders and the certificate; made by `rebalance`, never by hand."""

    book: Book
    outlook: Outlook
    mandate: Mandate
    start: Position
    target: Trade
    weighed: Trade
    """The whole lots that were weighed against holding; `final` unless the verdict was to hold."""
    final: Trade
    orders: tuple[Order, ...]
    """None where the verdict is to hold; `final` is then today's portfolio."""
    weighed_orders: tuple[Order, ...]
    """The orders that were weighed: `orders`, or what is forgone by holding."""
    worth: TradeValue
    adversary: Vector
    """(K,) the worst-case probabilities of the targets."""
    prices: DualCertificate
    binding: tuple[BindingRule, ...]
    no_trade: NoTradeRegions
    readings: tuple[RuleMeasurement, ...]
    """Every rule measured on the final lots."""
    given_way: tuple[RelaxedRule, ...]
    """Rules with a tier that could not be kept; `mandate` has the limits kept instead."""
    before: Figures
    targeted: Figures
    after: Figures
    stability: float | None
    """Largest L1 change of the best target weights when one probability moves by 2 points; None where such a move
    leaves no verified plan."""
    certificate: Certificate

    @property
    def rounding_bps(self) -> float:
        """What whole lots cost against the targets, in bps of the account by the objective's formula, traded or not."""
        return (self.mandate.loss(self.weighed, self.outlook) - self.mandate.loss(self.target, self.outlook)) * 1e4


def binding_rules(
    outlook: Outlook, mandate: Mandate, target: Trade, prices: DualCertificate
) -> tuple[BindingRule, ...]:
    """Rules with a price, dearest first: what one point (0.01) more of the limit is worth, in bps of the account."""
    rows, priced = prices.priced(outlook, mandate)
    found = [
        BindingRule(label, float(price * room) * 100)
        for label, price, room in zip(rows.labels, priced, _room(outlook, mandate, target, prices), strict=True)
        if price > BINDING
    ]
    return tuple(sorted(found, key=lambda rule: -rule.bps_per_point))


def _room(outlook: Outlook, mandate: Mandate, target: Trade, prices: DualCertificate) -> Vector:
    """(rules,) how much room in its row one unit of a rule's limit makes, at the targets; 1 where there is no limit."""
    rows, _ = prices.priced(outlook, mandate)
    step = np.where(np.isnan(rows.stated), 0.0, 1e-3 * rows.sense)
    wider, _ = prices.priced(outlook, mandate.with_limits(rows.stated + step))
    room = (row_slack(wider, target) - row_slack(rows, target)) / 1e-3
    return np.where(np.isnan(rows.stated), 1.0, room)


def portfolio_figures(book: Book, outlook: Outlook, mandate: Mandate, trade: Trade) -> Figures:
    """What a portfolio is worth under the outlook."""
    before = trade.value_before
    holdings, cash = trade.values / before, trade.cash / before
    gains = outlook.portfolio_returns(holdings, cash) + trade.value / before - 1
    buckets = {
        name: float(bucket_shares(book, name) @ trade.weights)
        for name in ("efficiency", "capital_intensity", "adopter", "neutral")
    }
    buckets["cash"] = trade.cash / trade.value
    active: dict[str, float] = {}
    if book.benchmark is not None:
        weights = np.asarray(book.benchmark, dtype=np.float64)
        against = gains - outlook.portfolio_returns(weights[:-1], float(weights[-1]))
        difference = trade.weights - weights[:-1]
        active = {
            "active_expected_return": float(outlook.probabilities @ against),
            "active_worst_case_return": -worst_case(-against, mandate.ambiguity, outlook.probabilities),
            "tracking_error": float(np.sqrt(outlook.risk.variance(difference) / outlook.years)),
        }
    return Figures(
        expected_return=float(outlook.probabilities @ gains),
        worst_case_return=-worst_case(-gains, mandate.ambiguity, outlook.probabilities),
        volatility_within=float(np.sqrt(outlook.risk.variance(holdings) / outlook.years)),
        volatility_between=float(np.sqrt(outlook.variance_between(holdings, cash) / outlook.years)),
        costs=trade.costs / before,
        buckets=buckets,
        scenario_returns=tuple(map(float, gains)),
        **active,
    )


def list_orders(book: Book, mandate: Mandate, final: Trade, lots: Vector) -> tuple[Order, ...]:
    """Sells before buys, each with the largest first."""
    weights, costs = final.weights, mandate.costs(final.bought, final.sold, final.value_before)
    listed = []
    for i in np.flatnonzero(lots):
        value = abs(float(lots[i] * book.lot_values[i]))
        listed.append(
            Order(
                side="sell" if lots[i] < 0 else "buy",
                instrument=book.instruments[i],
                quantity=_clean(abs(float(lots[i] * book.lot_sizes[i]))),
                price=float(book.prices[i]),
                value=value,
                cost=float(costs[i]),
                weight_before=float(book.weights[i]),
                weight_after=float(weights[i]),
            )
        )
    return tuple(sorted(listed, key=lambda order: (order.side != "sell", -order.value, order.instrument)))


def _clean(quantity: float) -> float:
    """Lots × lot size without the last bits of float noise (7 lots of 0.1 are 0.7)."""
    return float(f"{quantity:.12g}")
