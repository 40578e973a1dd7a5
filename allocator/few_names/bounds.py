"""What a choice of names can be worth at best: a lower bound that is a sum over names, from the prices of one solve.

The Lagrangian of `optimization/verification.py` falls into names once its prices are fixed. What a name adds is least
where it is held with nothing, or somewhere between the least position and its cap: two numbers a name, beside a
constant. So the prices of any solve bound every choice of names, those of many solves better, and the best of all is
what the perspective reformulation proves (Günlük and Linderoth 2010; as cuts Bertsimas and Cory-Wright 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from allocator.mandate.mandate import Mandate
from allocator.optimization.verification import DualCertificate, DualValues, least_free, reduced_costs
from allocator.outlook.outlook import Outlook
from allocator.rules import Trade
from allocator.rules.convex import ConvexRuleDual
from allocator.rules.rows import Position, RuleRows
from allocator.types import Vector

Names: TypeAlias = NDArray[np.bool_]
"""(N,) whether each is one of them."""


@dataclass(frozen=True, eq=False)
class Choice:
    """Names (N,) that are held at all events, and names that are not; the others are free."""

    held: Names
    out: Names

    @property
    def free(self) -> Names:
        """(N,) names of which nothing is said."""
        return ~(self.held | self.out)

    def split(self, name: int, most: float) -> Iterator[Choice]:
        """The same with one more name held, and with one more out; where `most` are held all others are out."""
        one = np.arange(len(self.held)) == name
        count = self.held.sum() + 1
        if count <= most:
            yield Choice(self.held | one, self.out if count < most else ~(self.held | one))
        yield Choice(self.held, self.out | one)


@dataclass(frozen=True, eq=False)
class NameBounds:
    """No plan's objective is below `constant` + Σ over names of `held` or `out` (N,), whichever each is."""

    constant: float
    held: Vector
    out: Vector

    def least(self, choice: Choice, most: float) -> float:
        """The bound of every plan of a choice that holds at most so many names."""
        fixed = float(self.held[choice.held].sum()) + float(self.out[~choice.held].sum())
        gains = np.sort(np.minimum((self.held - self.out)[choice.free], 0.0))
        room = max(int(min(most, len(self.held))) - int(choice.held.sum()), 0)
        return self.constant + fixed + float(gains[:room].sum())


@dataclass(frozen=True, eq=False)
class PositionRange:
    """(N,) the least and the most that a name weighs where it is held; what is left of the account at least."""

    least: Vector
    most: Vector
    left: float


def name_caps(rows: RuleRows, instruments: int) -> Vector:
    """(N,) the most that each name may weigh by rows that speak of it alone."""
    caps, matrix = np.ones(instruments), rows.holdings
    alone = np.diff(matrix.indptr) == 1
    others = (abs(rows.buys) + abs(rows.sells)).sum(axis=1) + np.abs(rows.cash) + rows.uses_scenario_returns
    for row in np.flatnonzero(alone & (others == 0)):
        at = matrix.indptr[row]
        if (size := matrix.data[at]) > 0:
            name = matrix.indices[at]
            caps[name] = min(caps[name], max(float(rows.wealth[row] + rows.limit[row]) / size, 0.0))
    return caps


def name_bounds(
    start: Position, outlook: Outlook, mandate: Mandate, target: Trade, duals: DualValues, positions: PositionRange
) -> NameBounds:
    """The bound that the duals of a solve prove; `mandate` has no rule of few names. Where there is a least position,
    its last N rows are h_i ≥ least·W − least·(1 − z_i) with z_i = 0: for a held name the limit is 0, not `least`.
    """
    prices = _completed(outlook, mandate, target, duals)
    rows, every = prices.priced(outlook, mandate)
    gains = -mandate.return_weight * prices.adversary
    in_holdings, in_buys, in_sells = reduced_costs(outlook, mandate, prices)
    in_cash = float(gains @ outlook.cash_returns) + float(rows.cash @ every) + prices.cash - prices.wealth
    gamma, price, own = (
        mandate.risk_aversion,
        mandate.cost_price(outlook),
        mandate.risk_aversion * outlook.risk.specific,
    )
    constant = price - float(every @ rows.limit) - prices.cash * start.cash
    constant += least_free(prices.factors, gamma) + min(in_cash, 0.0)
    constant += float(np.minimum(in_buys + in_sells, 0.0).sum())  # of a round trip, which takes 1 at most
    if mandate.impact is not None:
        if prices.cash < 0:
            constant += prices.cash * float(mandate.impact @ (1 + start.holdings) ** 1.5)
        else:  # by its tangent at what is traded
            traded = (target.bought + target.sold) / target.value_before
            slope = prices.cash * mandate.impact * np.sqrt(traded)
            in_buys, in_sells = in_buys + 1.5 * slope, in_sells + 1.5 * slope
            constant -= 0.5 * float(slope @ traded)
    in_buys, held = np.maximum(in_buys, -in_sells), start.holdings

    def cost(at: Vector) -> Vector:
        bought, sold = np.maximum(at - held, 0.0), np.maximum(held - at, 0.0)
        return np.asarray(in_holdings * at + own * at**2 + in_buys * bought + in_sells * sold)

    low, high = positions.least * positions.left, np.maximum(positions.most, positions.least * positions.left)
    curve = 2 * np.maximum(own, 1e-290)
    ends = [-(in_holdings + in_buys) / curve, -(in_holdings - in_sells) / curve, held]
    least = np.min([cost(np.clip(at, low, high)) for at in ends], axis=0)
    floors = duals.rows[-len(held) :] * positions.least if positions.least.any() else 0.0
    return NameBounds(constant, least + floors, cost(0 * held))


def _completed(outlook: Outlook, mandate: Mandate, target: Trade, duals: DualValues) -> DualCertificate:
    """The prices of the account's own equations, by stationarity in W, c and y; that of h = before + b − s is nothing,
    as what a trade costs is told name by name.
    """
    slopes = tuple(
        slope if slope.direction is not None else ConvexRuleDual(slope.price, rule.steepest(target, outlook))
        for rule, slope in zip(mandate.convex_rules, duals.slopes, strict=True)
    )
    holdings, error = target.values / target.value_before, mandate.return_error
    at = np.zeros(0) if error is None else error.steepest(holdings, outlook.risk)
    factors = -2 * mandate.risk_aversion * (outlook.risk.loadings.T @ holdings)
    nothing = np.zeros(len(holdings))
    first = DualCertificate(duals.rows, slopes, nothing, duals.cash, 0.0, factors, duals.adversary, at)
    rows, every = first.priced(outlook, mandate)
    wealth = mandate.cost_price(outlook) + float(rows.wealth @ every)
    pays = -mandate.return_weight * float(duals.adversary @ outlook.cash_returns) + float(rows.cash @ every)
    return DualCertificate(
        duals.rows, slopes, nothing, max(wealth - pays, duals.cash), wealth, factors, duals.adversary, at
    )
