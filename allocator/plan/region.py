"""No-trade regions: for every name, the weights from which trading it alone is not worth its cost.

Everything else at the targets and cash the counterpart, the marginal value of name i at holding x is, by stationarity,

    π_i(x) = π_i(h_i) − 2 · risk_aversion · Ω_ii · (x − h_i)

and trading pays only where π_i(x) is above what a unit bought costs, κ(1 + rate) and the rules' prices of a purchase,
or below what a unit sold brings, κ(1 − rate) less the rules' prices of a sale, κ the price of cash. Exact while the
prices stay as they are at the targets: the adversary, rules shared with other names, tangents of conic rules. Rules on
one name alone are no prices but bounds. Impact and the market's volume do not stop the first unit, so they move no
edge; they stop a trade short of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.mandate.mandate import Mandate
from allocator.optimization.verification import Prices
from allocator.outlook.outlook import Outlook
from allocator.rules import Rows, Trade
from allocator.types import Vector

_NOISE = 3e-7
"""A marginal value this near to what trading costs is at the edge: the rest is the solver's last digits."""


@dataclass(frozen=True, eq=False)
class Regions:
    """(N,) the lowest and the highest weight of each name from which it is not traded.

    In weights of the account after the targets' costs, as the target weights are.
    """

    low: Vector
    high: Vector


@dataclass(frozen=True, eq=False)
class _Own:
    """(N,) what rules on one name alone come to: bounds of its holding, and whether it may not be traded at all."""

    low: Vector
    high: Vector
    locked: NDArray[np.bool_]


def no_trade_regions(
    outlook: Outlook, mandate: Mandate, target: Trade, prices: Prices, trading_price: float = 0.0
) -> Regions:
    """The regions at the targets; `trading_price` is what the program charged for a unit traded beside its costs."""
    rows, priced = prices.priced(outlook, mandate)
    touched = sp.csr_array(abs(rows.holdings) + abs(rows.buys) + abs(rows.sells))
    touched.eliminate_zeros()
    alone = (np.diff(touched.indptr) == 1) & (rows.cash == 0)
    shared = np.where(alone, 0.0, priced)
    before = target.value_before
    value = _marginal_value(outlook, mandate, target, prices) - rows.holdings.T @ shared
    value = value + mandate.cost_price(outlook) + float(rows.wealth @ priced)
    spent = prices.cash * (1 + mandate.cost_rates) + rows.buys.T @ shared + trading_price
    brought = prices.cash * (1 - mandate.cost_rates) - rows.sells.T @ shared - trading_price
    risk = outlook.risk
    curvature = 2 * mandate.risk_aversion * ((risk.loadings**2).sum(axis=1) + risk.specific)
    own = _own(rows, touched, alone, target.value / before)
    holdings = target.values / before
    low = np.clip(holdings + _over(value - spent, curvature), own.low, own.high)
    high = np.clip(holdings + _over(value - brought, curvature), own.low, own.high)
    # where money is worth less than nothing, only the target itself is not worth trading
    low, high = np.where(low > high, holdings, low), np.where(low > high, holdings, high)
    wealth = target.value / before
    return Regions(np.where(own.locked, 0.0, low / wealth), np.where(own.locked, 1.0, high / wealth))


def _marginal_value(outlook: Outlook, mandate: Mandate, target: Trade, prices: Prices) -> Vector:
    """(N,) what one more unit held brings at the targets: return under the adversary less risk and charges."""
    holdings = target.values / target.value_before
    value = mandate.return_weight * (outlook.returns.T @ prices.adversary)
    value = value - 2 * mandate.risk_aversion * outlook.risk.covariances(holdings)
    return np.asarray(value - mandate.held_charge(prices.error, outlook.risk), dtype=np.float64)


def _over(gain: Vector, curvature: Vector) -> Vector:
    """(N,) how far the edge is; without curvature it is here, or nowhere."""
    clean = np.where(np.abs(gain) <= _NOISE, 0.0, gain)
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.where(curvature > 0, clean / curvature, np.where(clean == 0, 0.0, np.copysign(np.inf, clean)))
    return np.asarray(far, dtype=np.float64)


def _own(rows: Rows, touched: sp.csr_array, alone: NDArray[np.bool_], wealth: float) -> _Own:
    """Rows on one name alone as bounds, at the wealth after the targets' costs."""
    names = touched.shape[1]
    low, high, locked = np.zeros(names), np.full(names, wealth), np.zeros(names, dtype=bool)
    at = touched.indices[touched.indptr[:-1][alone]]
    held, limits = np.asarray(rows.holdings.sum(axis=1))[alone], (rows.limit + rows.wealth * wealth)[alone]
    caps, floors = held > 0, held < 0
    np.minimum.at(high, at[caps], limits[caps] / held[caps])
    np.maximum.at(low, at[floors], limits[floors] / held[floors])
    locked[at[(held == 0) & (limits <= 0)]] = True
    return _Own(low, np.maximum(high, low), locked)
