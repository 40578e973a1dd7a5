"""The two checks of a solution outside its solver: canonical residuals, and a lower bound that no plan can beat.

For any multipliers λ ≥ 0, any probabilities inside the ambiguity set and any prices of the account's equations, the
Lagrangian's least value over a box is a lower bound on the minimised objective, in closed form coordinate by
coordinate. The solver's multipliers only make it tight; wrong ones make it loose, never false.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from allocator.mandate.mandate import Mandate
from allocator.outlook.outlook import Outlook
from allocator.rules import RuleRows, Trade, stack_rows
from allocator.rules.convex import ConvexRuleDual
from allocator.rules.rows import Position
from allocator.types import Matrix, Vector

# The first of two checks: the compiled data and the solver's raw vectors, by numpy alone.
#
#     minimise ½x'Px + q'x   subject to   Ax = b,  b − Ax ∈ K,  lower ≤ x ≤ upper
#
# Cone membership of the primal and the dual, stationarity and the duality gap; nothing that the solver says about
# itself is used, only x and the dual vector.
#


@dataclass(frozen=True)
class CanonicalCheck:
    """Worst violations, relative to max(1, size of the data they are compared with)."""

    primal: float
    dual: float
    gap: float

    @property
    def worst(self) -> float:
        """The largest of the three."""
        return max(self.primal, self.dual, self.gap)


def canonical_check(data: Mapping[str, Any], x: Vector, equalities: Vector, cones: Vector) -> CanonicalCheck:
    """Residuals of a solution of cvxpy's canonical data, in the quadratic or in the conic form.

    `x` (n,), `equalities` duals of Ax = b, `cones` duals of the inequality and cone rows, in the data's order.
    """
    if not (np.isfinite(x).all() and np.isfinite(equalities).all() and np.isfinite(cones).all()):
        return CanonicalCheck(np.inf, np.inf, np.inf)
    b, g, q, missed, slack, priced = _rows(data, x, equalities, cones)
    low, high = _bounds(data.get("lower_bounds"), -np.inf, len(x)), _bounds(data.get("upper_bounds"), np.inf, len(x))
    primal = max(
        _largest(np.abs(missed)), _largest(low - x), _largest(x - high), _outside(data["dims"], slack, dual=False)
    ) / max(1.0, _largest(np.abs(b)), _largest(np.abs(g)))
    curved = data["P"] @ x if "P" in data else np.zeros(len(x))
    gradient = curved + q + priced
    # what is left of the gradient must be the price of a bound that exists
    held = np.where(gradient > 0, np.isfinite(low), np.isfinite(high))
    dual = max(_largest(np.abs(gradient[~held])), _outside(data["dims"], cones, dual=True)) / max(
        1.0, _largest(np.abs(q))
    )
    at_bounds = np.where(gradient > 0, low, high)[held] @ gradient[held]
    curvature = float(x @ curved)
    upper = 0.5 * curvature + float(q @ x)
    lower = -0.5 * curvature - float(b @ equalities) - float(g @ cones) + float(at_bounds)
    return CanonicalCheck(float(primal), float(dual), abs(upper - lower) / max(1.0, abs(upper)))


def linear_check(
    costs: Vector,
    rows: sp.csr_array,
    low: Vector,
    high: Vector,
    lower: Vector,
    upper: Vector,
    *,
    x: Vector,
    prices: Vector,
) -> CanonicalCheck:
    """The same of a linear program: minimise costs·x subject to low ≤ rows·x ≤ high, lower ≤ x ≤ upper.

    A price (R,) above 0 is of a row at its lower side, one below 0 of a row at its upper side.
    """
    used, gradient = rows @ x, costs - rows.T @ prices
    missed = max(map(_largest, (low - used, used - high, lower - x, x - upper)))
    sides, bounds = np.where(prices > 0, low, high), np.where(gradient > 0, lower, upper)
    held, priced = np.isfinite(bounds), np.isfinite(sides)
    size = max(1.0, *(_largest(np.abs(side[np.isfinite(side)])) for side in (low, high)))
    dual = max(_largest(np.abs(gradient[~held])), _largest(np.abs(prices[~priced]))) / max(1.0, _largest(np.abs(costs)))
    value = float(costs @ x)
    bound = float(sides[priced] @ prices[priced]) + float(bounds[held] @ gradient[held])
    return CanonicalCheck(missed / size, dual, abs(value - bound) / max(1.0, abs(value)))


def _rows(data: Mapping[str, Any], x: Vector, equalities: Vector, cones: Vector) -> tuple[Vector, ...]:
    """Of either form the right sides of equalities and of inequality and cone rows, the linear objective, what
    equalities are missed by, the slack of the others, and the prices of all in x.
    """
    if "F" in data:
        A, F, b, g = data["A"], data["F"], data["b"], data["G"]
        return b, g, data["q"], A @ x - b, g - F @ x, A.T @ equalities + F.T @ cones
    A, zero = data["A"], data["dims"].zero
    b, g, left = data["b"][:zero], data["b"][zero:], data["b"] - A @ x
    return b, g, data["c"], left[:zero], left[zero:], A.T @ np.concatenate([equalities, cones])


def _bounds(given: Vector | None, default: float, count: int) -> Vector:
    return np.full(count, default) if given is None else np.asarray(given, dtype=float)


def _largest(values: Vector) -> float:
    return max(float(values.max()), 0.0) if values.size else 0.0


def _outside(dims: Any, values: Vector, *, dual: bool) -> float:
    """How far a slack (or a dual vector) lies outside its cone."""
    if dims.psd or dims.p3d or dims.pnd:
        return np.inf  # no program of ours has such a cone; never wave one through
    worst, start = _largest(-values[: dims.nonneg]), dims.nonneg
    for size in dims.soc:
        cone = values[start : start + size]
        worst = max(worst, float(np.linalg.norm(cone[1:]) - cone[0]))
        start += size
    outside = _outside_dual_exponential if dual else _outside_exponential
    with np.errstate(over="ignore"):  # an overflow is infinitely far outside, which is what it then says
        return max(worst, outside(values[start : start + 3 * dims.exp].reshape(-1, 3)))


def _outside_exponential(cones: Matrix) -> float:
    """K = closure of {y > 0, y·e^(x/y) ≤ z}; `cones` (C, 3).

    Never less than the distance to K in the largest coordinate: what z is short of, or how far the face y = 0 is. Next
    to the apex, where a set costs nothing, z alone would say any number of a point that all but touches K.
    """
    x, y, z = cones.T
    inner = y > 0
    at_edge = np.maximum(np.maximum(-y, x), -z)[~inner]
    x, y, z = x[inner], y[inner], z[inner]
    to_face = np.maximum(np.maximum(y, x), -z)
    return max(_largest(at_edge), _largest(np.minimum(y * np.exp(x / y) - z, to_face)))


def _outside_dual_exponential(cones: Matrix) -> float:
    """K* = closure of {u < 0, −u·e^(v/u) ≤ e·w}; `cones` (C, 3). Never less than the distance, as for K."""
    u, v, w = cones.T
    inner = u < 0
    at_edge = np.maximum(np.maximum(u, -v), -w)[~inner]
    u, v, w = u[inner], v[inner], w[inner]
    to_face = np.maximum(np.maximum(-u, -v), -w)
    return max(_largest(at_edge), _largest(np.minimum(-u * np.exp(v / u - 1) - w, to_face)))


_BEYOND = 3e-6
"""Per unit traded: how far a price may lie beyond what the next unit costs, where impact makes that cost a curve."""
_BEYOND_COSTS = 1e-11
"""Of the account and a name: what lying beyond may cost the bound; the flatter the curve, the less room there is."""


@dataclass(frozen=True, eq=False)
class DualValues:
    """Duals in units of the objective (fractions of the account).

    `rows` (R,) ≥ 0 belong to the linear rules in order; `cash` prices one unit of money; `adversary` (K,) are the
    adverse probabilities; `slopes` belong to the convex rules in order; `error` is the direction in which the
    returns are wrong, where the solver gave one.
    """

    rows: Vector
    cash: float
    adversary: Vector
    slopes: tuple[ConvexRuleDual, ...] = ()
    error: Vector | None = None


@dataclass(frozen=True, eq=False)
class DualCertificate:
    """Everything that the bound needs, and all that a stranger needs to recompute it.

    `rows` (R,) of the linear rules; `slopes` of the convex ones, each with its direction; `position` (N,) of
    h = before + b − s; `cash` of the cash row; `wealth` of W = Σh + c; `factors` (F,) of y = L'h; `adversary` (K,);
    `error`, the direction in which returns are wrong, empty where no choice is left.
    """

    rows: Vector
    slopes: tuple[ConvexRuleDual, ...]
    position: Vector
    cash: float
    wealth: float
    factors: Vector
    adversary: Vector
    error: Vector

    def priced(self, outlook: Outlook, mandate: Mandate) -> tuple[RuleRows, Vector]:
        """All rules as rows over holdings and cash, the convex ones by their tangents, and the price of each row."""
        return _priced(outlook, mandate, self.rows, self.slopes)


def _priced(
    outlook: Outlook, mandate: Mandate, rows: Vector, slopes: tuple[ConvexRuleDual, ...]
) -> tuple[RuleRows, Vector]:
    linear = mandate.rows.on(outlook)
    if not slopes:
        return linear, rows
    tangents = []
    for rule, slope in zip(mandate.convex_rules, slopes, strict=True):
        assert slope.direction is not None  # completed prices have one each
        tangents.append(rule.tangent(slope.direction, outlook).on(outlook))
    both = stack_rows([linear, *tangents], len(mandate.cost_rates))
    return both, np.concatenate([rows, [slope.price for slope in slopes]])


def best_dual_certificate(
    start: Position, outlook: Outlook, mandate: Mandate, target: Trade, found: DualValues
) -> tuple[DualCertificate, float]:
    """Prices completed from the solver's multipliers, and the lower bound that they prove.

    With cash in the portfolio its price follows exactly from the others; with none left the solver's may be higher.
    The directions of convex rules and of the return error are the portfolio's own or the solver's. All are lawful, the
    best is kept.
    """
    steepest = tuple(rule.steepest(target, outlook) for rule in mandate.convex_rules)
    own = tuple(ConvexRuleDual(slope.price, at) for slope, at in zip(found.slopes, steepest, strict=True))
    solvers = tuple(
        slope if slope.direction is not None else mine for slope, mine in zip(found.slopes, own, strict=True)
    )
    error = mandate.return_error
    at = np.zeros(0) if error is None else error.steepest(target.values / target.value_before, outlook.risk)
    chosen = [(own, at)] if not own and found.error is None else [(own, at), (solvers, at)]
    if found.error is not None:
        chosen += [(own, found.error), (solvers, found.error)]
    ways, tried = list[tuple[tuple[ConvexRuleDual, ...], Vector, float]](), list[DualCertificate]()
    for one in chosen:
        for floor in (-np.inf, found.cash):
            if np.isinf(floor) or tried[-1].cash < floor:  # else it is the same
                ways.append((*one, floor))
                tried.append(_completed(start, outlook, mandate, target, found, *ways[-1]))
    bounds = [lower_bound(start, outlook, mandate, at) for at in tried]
    best = int(np.argmax(bounds))
    prices, bound = tried[best], bounds[best]
    for row in _shut(mandate, target, found.rows):

        def priced(price: float, others: Vector = prices.rows, row: int = row) -> DualCertificate:
            rows = np.where(np.arange(len(others)) == row, price, others)
            return _completed(start, outlook, mandate, target, replace(found, rows=rows), *ways[best])

        def proves(price: float) -> bool:
            return lower_bound(start, outlook, mandate, priced(price)) >= bound - _LOST

        steps = np.linspace(0.0, float(found.rows[row]), _STEPS + 1).tolist()
        prices = priced(steps[bisect_left(steps, True, hi=_STEPS, key=proves)])
    return prices, bound if prices is tried[best] else lower_bound(start, outlook, mandate, prices)


_NOTHING, _LOST, _STEPS = 1e-9, 1e-11, 2**14


def _shut(mandate: Mandate, target: Trade, prices: Vector) -> list[int]:
    """Rows that leave nothing of what they count, such as no sales: every price above that of the first unit proves as
    much, and only the least of them is what loosening is worth.
    """
    rows = mandate.rows
    left = np.abs(rows.limit + rows.wealth * target.value / target.value_before)
    told = ~np.isnan(rows.stated) & (prices > _NOTHING) & (rows.uses_scenario_returns == 0) & (left <= _NOTHING)
    if not told.any():
        return []
    used = abs(rows.holdings) @ target.values + abs(rows.buys) @ target.bought + abs(rows.sells) @ target.sold
    shut = used + np.abs(rows.cash) * target.cash <= _NOTHING * target.value_before
    return [int(row) for row in np.flatnonzero(shut & told)]


def _completed(
    start: Position,
    outlook: Outlook,
    mandate: Mandate,
    target: Trade,
    found: DualValues,
    slopes: tuple[ConvexRuleDual, ...],
    error: Vector,
    cash_floor: float,
) -> DualCertificate:
    """The prices of the account's own equations, so that the bound loses nothing to the solver's last digits.

    Wealth and cash by stationarity in W and c, the factors' in y. The position's is the best there is, name by name:
    where the name would be held as it was, clipped into the interval in which neither buying nor selling gains.
    Last, wealth is lowered as far as the names together ask for it.
    """
    risk, q, before = outlook.risk, found.adversary, target.value_before
    rows, prices = _priced(outlook, mandate, found.rows, slopes)
    holdings, own = target.values / before, mandate.risk_aversion * risk.specific
    wealth = mandate.cost_price(outlook) + float(rows.wealth @ prices)
    gains, (in_rows, on_buys, on_sells) = -mandate.return_weight * q, rows.charges(prices)
    cash = max(wealth - float(gains @ outlook.cash_returns) - float(rows.cash @ prices), cash_floor)
    in_factors = -2 * mandate.risk_aversion * (risk.loadings.T @ holdings)
    pull = outlook.returns.T @ gains + in_rows - wealth - risk.loadings @ in_factors
    pull = pull + mandate.marginal_charge(error, outlook.risk) + 2 * own * start.holdings
    # where impact bends the costs of a trade, a little beyond costs next to nothing, and what is held costs in full
    beyond = _beyond(mandate, cash)
    got = cash * (1 - mandate.cost_rates - _impact_rate(mandate, target.sold / before)) - on_sells - beyond
    paid = cash * (1 + mandate.cost_rates + _impact_rate(mandate, target.bought / before)) + on_buys + beyond
    position = np.minimum(np.maximum(-pull, got), paid)
    in_holdings = pull - 2 * own * start.holdings + position
    wealth -= wealth_price(in_holdings, own)
    return DualCertificate(found.rows, slopes, position, cash, wealth, in_factors, q, error)


def reduced_costs(
    outlook: Outlook, mandate: Mandate, at: DualCertificate, trading_price: float = 0.0
) -> tuple[Vector, Vector, Vector]:
    """(N,) of the Lagrangian: what a unit held, bought and sold of each name costs beside risk of its own and impact.

    `trading_price` is charged for a unit traded beside its costs.
    """
    rows, prices = at.priced(outlook, mandate)
    in_rows, on_buys, on_sells = rows.charges(prices)
    in_holdings = -mandate.return_weight * outlook.returns.T @ at.adversary + in_rows
    in_holdings = in_holdings + at.position - at.wealth - outlook.risk.loadings @ at.factors
    in_buys = on_buys - at.position + at.cash * (1 + mandate.cost_rates) + trading_price
    in_sells = on_sells + at.position - at.cash * (1 - mandate.cost_rates) + trading_price
    return in_holdings + mandate.marginal_charge(at.error, outlook.risk), in_buys, in_sells


def lower_bound(
    start: Position, outlook: Outlook, mandate: Mandate, at: DualCertificate, trading_price: float = 0.0
) -> float:
    """A number that the minimised objective cannot fall below, in fractions of the account; `trading_price` is charged
    for a unit traded beside its costs.
    """
    rows, prices = at.priced(outlook, mandate)
    risk, gamma, price = outlook.risk, mandate.risk_aversion, mandate.cost_price(outlook)
    gains = -mandate.return_weight * at.adversary
    in_holdings, in_buys, in_sells = reduced_costs(outlook, mandate, at, trading_price)
    in_cash = float(gains @ outlook.cash_returns) + float(rows.cash @ prices) + at.cash - at.wealth
    in_wealth = -price - float(rows.wealth @ prices) + at.wealth
    constant = price - float(prices @ rows.limit) - float(at.position @ start.holdings) - at.cash * start.cash
    return (
        constant
        + least_quadratic(in_holdings, gamma * risk.specific)
        + least_free(at.factors, gamma)
        + min(in_cash, 0.0)
        + _least_traded(in_buys, in_sells, start.holdings, mandate, at.cash)
        + min(in_wealth, 0.0)
    )


def _impact_rate(mandate: Mandate, traded: Vector) -> Vector | float:
    """(N,) what the next unit traded costs in impact: 1.5·m·√z."""
    return 0.0 if mandate.impact is None else 1.5 * mandate.impact * np.sqrt(traded)


def _beyond(mandate: Mandate, cash: float) -> Vector | float:
    """(N,) δ such that min over z of −δz + cash·m·z^(3/2), which is −4δ³/(27·(cash·m)²), is next to nothing."""
    if mandate.impact is None:
        return 0.0
    curve = max(cash, 0.0) * mandate.impact
    return np.minimum(np.cbrt(6.75 * _BEYOND_COSTS * curve**2), _BEYOND)


def _least_traded(buys: Vector, sells: Vector, held: Vector, mandate: Mandate, cash: float) -> float:
    """Σ min over purchases b in [0, 1] and sales s in [0, held] of buys·b + sells·s + cash·m·(b + s)^(3/2)."""
    linear = float(np.minimum(buys, 0.0).sum()) + float(np.minimum(sells * held, 0.0).sum())
    if mandate.impact is None:
        return linear
    if cash <= 0:
        return linear + cash * float(mandate.impact @ (1 + held) ** 1.5)
    impact, one = cash * mandate.impact, np.ones(len(buys))
    bought = np.minimum(
        _least_power(buys, impact, 0 * one, one), buys - sells + _least_power(sells, impact, one, 1 + held)
    )
    # with sales the cheaper way the first `held` units are sold, and more could only be bought
    sold = _least_power(sells, impact, 0 * one, held)
    both = (sells - buys) * held + _least_power(buys, impact, held, 1 + held)
    return float(np.where(sells < buys, np.minimum(sold, both), bought).sum())


def _least_power(linear: Vector, impact: Vector, low: Vector, high: Vector) -> Vector:
    """(N,) min over low ≤ z ≤ high of linear·z + impact·z^(3/2)."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        free = np.where(impact > 0, (np.maximum(-linear, 0) / (1.5 * impact)) ** 2, np.where(linear < 0, np.inf, 0.0))
    at = np.clip(free, low, high)
    result: Vector = linear * at + impact * at**1.5
    return result


def wealth_price(linear: Vector, curvature: Vector) -> float:
    """The least price of wealth at which nobody would hold more than there is: Σ at most 1, where each name alone may
    take all. Without it the solver's last digit counts once for every name.
    """
    from scipy.optimize import brentq

    if cheapest(linear, curvature).sum() <= 1:
        return 0.0

    def too_much(price: float) -> float:
        return float(cheapest(linear + price, curvature).sum()) - 1

    return float(brentq(too_much, 0.0, max(-float(linear.min()), 0.0), xtol=1e-14, maxiter=500))


def least_quadratic(linear: Vector, curvature: Vector) -> float:
    """Σ min over 0 ≤ h ≤ 1 of linear·h + curvature·h²."""
    at = cheapest(linear, curvature)
    return float((linear * at + curvature * at**2).sum())


def cheapest(linear: Vector, curvature: Vector) -> Vector:
    """(N,) where linear·h + curvature·h² is least, 0 ≤ h ≤ 1."""
    inner = np.divide(-linear, 2 * curvature, out=(linear < 0).astype(float), where=curvature > 0)
    at: Vector = np.minimum(np.maximum(inner, 0.0), 1.0)
    return at


def least_free(linear: Vector, curvature: float) -> float:
    """Σ min over all y of linear·y + curvature·y²."""
    if curvature > 0:
        return -float(linear @ linear) / (4 * curvature)
    return 0.0 if not linear.any() else -np.inf
