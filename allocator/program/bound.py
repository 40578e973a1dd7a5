"""The second check's lower bound: no plan of this mandate can be better, proved without the solver (science §4.9).

For any multipliers λ ≥ 0, any probabilities inside the ambiguity set and any prices of the account's equations, the
Lagrangian's least value over a box is a lower bound on the minimised objective, in closed form coordinate by
coordinate. The solver's multipliers only make it tight; wrong ones make it loose, never false.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.mandate.mandate import Mandate
from allocator.outlook.outlook import Outlook
from allocator.program.compile import Start
from allocator.program.multipliers import Multipliers
from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class Prices:
    """Everything that the bound needs, and all that a stranger needs to recompute it.

    `rows` (R,) of the linear rules; `position` (N,) of h = before + b − s; `cash` of the cash row; `wealth` of
    W = Σh + c; `factors` (F,) of y = L'h; `adversary` (K,); `volatility` of the conic rule along `direction` (F + N,).
    """

    rows: Vector
    position: Vector
    cash: float
    wealth: float
    factors: Vector
    adversary: Vector
    volatility: float
    direction: Vector


def tightest(
    start: Start, outlook: Outlook, mandate: Mandate, holdings: Vector, found: Multipliers
) -> tuple[Prices, float]:
    """Prices completed from the solver's multipliers, and the lower bound that they prove.

    With cash in the portfolio its price follows exactly from the others; with none left the solver's may be higher.
    The conic rule's direction is the portfolio's own or the solver's. All are lawful, the best is kept.
    """
    directions = [_direction(outlook, holdings), *([] if found.direction is None else [found.direction])]
    tried = [
        _completed(start, outlook, mandate, holdings, found, direction, floor)
        for direction in directions
        for floor in (-np.inf, found.cash)
    ]
    bounds = [lower_bound(start, outlook, mandate, at) for at in tried]
    best = int(np.argmax(bounds))
    return tried[best], bounds[best]


def _direction(outlook: Outlook, holdings: Vector) -> Vector:
    """(F + N,) the unit vector along which the portfolio is at risk."""
    both = np.concatenate([outlook.risk.loadings.T @ holdings, np.sqrt(outlook.risk.specific) * holdings])
    length = float(np.linalg.norm(both))
    return both / length if length > 0 else both


def _completed(
    start: Start,
    outlook: Outlook,
    mandate: Mandate,
    holdings: Vector,
    found: Multipliers,
    direction: Vector,
    cash_floor: float,
) -> Prices:
    """The prices of the account's own equations, so that the bound loses nothing to the solver's last digits.

    Wealth and cash by stationarity in W and c, the factors' in y. The position's is the best there is, name by name:
    where the name would be held as it was, clipped into the interval in which neither buying nor selling gains.
    Last, wealth is lowered as far as the names together ask for it.
    """
    rows, risk, q = mandate.rows, outlook.risk, found.adversary
    factors = risk.loadings.T @ holdings
    limit = mandate.volatility.limit * np.sqrt(outlook.years) if mandate.volatility else 0.0
    wealth = mandate.cost_price(outlook) + float(rows.wealth @ found.rows) + found.volatility * limit
    gains = float(rows.expected @ found.rows) * outlook.probabilities - mandate.return_weight * q
    cash = max(wealth - float(gains @ outlook.cash_returns) - float(rows.cash @ found.rows), cash_floor)
    in_factors = -2 * mandate.risk_aversion * factors - found.volatility * direction[: len(factors)]
    pull = (
        outlook.returns.T @ gains
        + rows.holdings.T @ found.rows
        - wealth
        - risk.loadings @ in_factors
        + found.volatility * np.sqrt(risk.specific) * direction[len(factors) :]
        + 2 * mandate.risk_aversion * risk.specific * start.holdings
    )
    position = np.clip(
        -pull,
        cash * (1 - mandate.cost_rates) - rows.sells.T @ found.rows,
        cash * (1 + mandate.cost_rates) + rows.buys.T @ found.rows,
    )
    in_holdings = pull - 2 * mandate.risk_aversion * risk.specific * start.holdings + position
    wealth -= _excess_price(in_holdings, mandate.risk_aversion * risk.specific)
    return Prices(found.rows, position, cash, wealth, in_factors, q, found.volatility, direction)


def lower_bound(start: Start, outlook: Outlook, mandate: Mandate, at: Prices) -> float:
    """A number that the minimised objective cannot fall below, in fractions of the account."""
    rows, risk = mandate.rows, outlook.risk
    gamma, weight, price = mandate.risk_aversion, mandate.return_weight, mandate.cost_price(outlook)
    gains = float(rows.expected @ at.rows) * outlook.probabilities - weight * at.adversary
    count = risk.loadings.shape[1]
    limit = mandate.volatility.limit * np.sqrt(outlook.years) if mandate.volatility else 0.0
    along_factors, along_own = at.direction[:count] * at.volatility, at.direction[count:] * at.volatility
    in_holdings = outlook.returns.T @ gains + rows.holdings.T @ at.rows + at.position - at.wealth
    in_holdings = in_holdings - risk.loadings @ at.factors + np.sqrt(risk.specific) * along_own
    in_cash = float(gains @ outlook.cash_returns) + float(rows.cash @ at.rows) + at.cash - at.wealth
    in_buys = rows.buys.T @ at.rows - at.position + at.cash * (1 + mandate.cost_rates)
    in_sells = rows.sells.T @ at.rows + at.position - at.cash * (1 - mandate.cost_rates)
    in_wealth = -price - float(rows.wealth @ at.rows) + at.wealth - at.volatility * limit
    constant = price - float(at.rows @ rows.limit) - float(at.position @ start.holdings) - at.cash * start.cash
    return (
        constant
        + _least_quadratic(in_holdings, gamma * risk.specific)
        + _least_free(at.factors + along_factors, gamma)
        + min(in_cash, 0.0)
        + float(np.minimum(in_buys, 0.0).sum())
        + float(np.minimum(in_sells * start.holdings, 0.0).sum())
        + min(in_wealth, 0.0)
    )


def _excess_price(linear: Vector, curvature: Vector) -> float:
    """The least price of wealth at which nobody would hold more than there is: Σ at most 1, where each name alone may
    take all. Without it the solver's last digit counts once for every name.
    """
    low, high = 0.0, max(-float(linear.min()), 0.0)
    if _cheapest(linear, curvature).sum() <= 1:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        if _cheapest(linear + middle, curvature).sum() > 1:
            low = middle
        else:
            high = middle
    return high


def _least_quadratic(linear: Vector, curvature: Vector) -> float:
    """Σ min over 0 ≤ h ≤ 1 of linear·h + curvature·h²."""
    at = _cheapest(linear, curvature)
    return float((linear * at + curvature * at**2).sum())


def _cheapest(linear: Vector, curvature: Vector) -> Vector:
    """(N,) where linear·h + curvature·h² is least, 0 ≤ h ≤ 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = np.where(curvature > 0, -linear / (2 * curvature), np.where(linear < 0, 1.0, 0.0))
    return np.clip(inner, 0.0, 1.0)


def _least_free(linear: Vector, curvature: float) -> float:
    """Σ min over all y of linear·y + curvature·y²."""
    if curvature > 0:
        return -float(linear @ linear) / (4 * curvature)
    return 0.0 if not linear.any() else -np.inf
