"""Why not more: what one more unit of a name would bring at the targets, motive by motive (science §4.2).

Stationarity of the Lagrangian, name by name: for a name that is held the motives cancel; for one that is not, their
sum is what it lacks. With it stand the parts that names have in risk and in the worst case (science §4.3, §4.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from allocator.mandate.mandate import Mandate
from allocator.optimization.verification import DualCertificate
from allocator.outlook.outlook import Outlook
from allocator.plan.attribution import append_cash, funding_price
from allocator.rules import RuleRows, Trade, row_slack
from allocator.rules.rows import Position
from allocator.types import Matrix, Vector

Bools: TypeAlias = NDArray[np.bool_]
MARGINS = ("expected_return", "robustness", "return_error", "objectives", "risk", "rules", "funding", "trading")
"""The columns of the account: `money` is what a unit of cash is worth elsewhere, `trading` what it costs to get there:
between minus and plus a name's cost, and the prices of rules on trading."""
HELD = 1e-7
"""Of the account: less than a thousandth of a basis point is the solver's noise, not held or not traded."""
_TIGHT = 1e-6
"""Of a row's own unit: nearer to its limit a rule stands in the way."""


@dataclass(frozen=True, eq=False)
class MarginalValues:
    """The account at the targets, per unit of the account put into a name; positive speaks for more of it.

    `parts` (N + 1, margins), cash last, sum to 0 in the rows of what is held and to minus `reduced_cost` in the others.
    """

    parts: Matrix
    held: Bools
    """(N + 1,) whether the targets hold it."""
    to_more: Vector
    """(N,) return over the horizon, in every scenario, that a name lacks before the plan holds more of it: 0 where it
    trades and stays, infinite where no return would do or a rule of its own stands in the way."""
    to_less: Vector
    """(N,) return that a name could lose before the plan holds less of it; infinite where none is held, or where a
    rule of its own keeps it."""

    @property
    def reduced_cost(self) -> Vector:
        """(N + 1,) what a name lacks, at least 0; 0 where it is held."""
        return np.asarray(-self.parts.sum(axis=1))


@dataclass(frozen=True, eq=False)
class RiskContributions:
    """Parts of the targets' risk and worst case, (N + 1,) each, cash last; annual volatilities, returns a horizon.

    `within` adds up to the volatility within scenarios; `mixture_within` and `mixture_between` together to that of the
    mixture; `dual_form` to the worst-case return before costs, `expected` to the expected one.
    """

    within: Vector
    mixture_within: Vector
    mixture_between: Vector
    worst_case: Vector
    expected: Vector


def marginal_values(
    start: Position, outlook: Outlook, mandate: Mandate, target: Trade, prices: DualCertificate
) -> MarginalValues:
    """The account of every name at the targets, from the prices that the certificate vouches for."""
    rows, priced = prices.priced(outlook, mandate)
    before, own, weight = target.value_before, append_cash(outlook), mandate.return_weight
    holdings, p = target.values / before, outlook.probabilities
    nothing = np.zeros(len(holdings))
    error = nothing if mandate.return_error is None else mandate.return_error.slope(prices.error, outlook.risk)
    lowest, highest = trading_range(mandate, outlook, target, prices)
    kept = holdings > HELD
    resting = np.clip(prices.position, lowest, highest)  # the bound lets it lie a little beyond
    position = np.where(kept, resting, np.where(start.holdings > HELD, lowest, highest))
    parts = np.column_stack(
        [
            weight * (p @ own),
            weight * ((prices.adversary - p) @ own),
            -np.append(error, 0.0),
            -np.append(nothing if mandate.charges is None else mandate.charges, 0.0),
            -np.append(2 * mandate.risk_aversion * outlook.risk.covariances(holdings), 0.0),
            -np.append(rows.charges(priced)[0], float(rows.cash @ priced)),
            np.full(len(holdings) + 1, funding_price(outlook, mandate, prices)),
            -np.append(position - prices.cash, 0.0),
        ]
    )
    still = kept & (np.abs(holdings - start.holdings) <= HELD)
    worth = _worth_of_return(outlook, mandate, prices)
    to_more = np.where(kept, np.where(still, highest - position, 0.0), -parts[:-1].sum(axis=1))
    to_less = np.where(still, position - lowest, 0.0)
    more, less = why_not_tradable(rows, target)
    return MarginalValues(
        parts,
        np.append(kept, target.cash / before > HELD),
        np.where(more, np.inf, _in_return(np.maximum(to_more, 0.0), worth)),
        np.where(kept & ~less, _in_return(np.maximum(to_less, 0.0), worth), np.inf),
    )


def why_not_tradable(rows: RuleRows, target: Trade) -> tuple[Bools, Bools]:
    """(N,) each: whether a rule about one name alone stands in the way of more of it, and of less."""
    of, buys, sells = (matrix.toarray() for matrix in (rows.holdings, rows.buys, rows.sells))
    alone = ((of != 0) | (buys != 0) | (sells != 0)).sum(axis=1) == 1
    tight = (alone & (rows.cash == 0) & (row_slack(rows, target) <= _TIGHT))[:, None]
    return (tight & ((of > 0) | (buys > 0))).any(axis=0), (tight & ((of < 0) | (sells > 0))).any(axis=0)


def _in_return(lacking: Vector, worth: float) -> Vector:
    """What is lacking as return, a unit of which is `worth` so much; infinite where return is worth nothing."""
    return np.where(lacking > 0, lacking / worth, 0.0) if worth > 0 else np.full(len(lacking), np.inf)


def trading_range(mandate: Mandate, outlook: Outlook, target: Trade, prices: DualCertificate) -> tuple[Vector, Vector]:
    """(N,) each: the prices of a position at which the next unit is sold, and at which it is bought."""
    rows, priced = prices.priced(outlook, mandate)
    selling, buying = next_costs(mandate, target)
    _, bought, sold = rows.charges(priced)
    return prices.cash * (1 - selling) - sold, prices.cash * (1 + buying) + bought


def next_costs(mandate: Mandate, target: Trade) -> tuple[Vector, Vector]:
    """(N,) each: what the next unit sold, and the next unit bought, costs, as a fraction of it."""
    impact = 0.0 if mandate.impact is None else 1.5 * mandate.impact
    selling = mandate.cost_rates + impact * np.sqrt(target.sold / target.value_before)
    return selling, mandate.cost_rates + impact * np.sqrt(target.bought / target.value_before)


def _worth_of_return(outlook: Outlook, mandate: Mandate, prices: DualCertificate) -> float:
    """What a unit of return in every scenario is worth to the plan: once as the objective, and by rules on returns."""
    rows = mandate.rows
    worth = mandate.return_weight - float(prices.rows @ (rows.expected + rows.gains.sum(axis=1)))
    for rule, slope in zip(mandate.convex_rules, prices.slopes, strict=True):
        tangent = rule.tangent(np.asarray(slope.direction), outlook)
        worth -= slope.price * float(tangent.expected.sum() + tangent.gains.sum())
    return worth


def risk_contributions(outlook: Outlook, target: Trade, adversary: Vector) -> RiskContributions:
    """Euler's split of risk, and of the return under the belief and under the adversary."""
    own, p = append_cash(outlook), outlook.probabilities
    both = np.append(target.values, target.cash) / target.value_before
    within = both * np.append(outlook.risk.covariances(both[:-1]), 0.0)
    gains = own @ both
    between = both * ((p * (gains - p @ gains)) @ own)
    deviation, mixed = (_deviation(float(parts.sum()), outlook.years) for parts in (within, within + between))
    return RiskContributions(
        within / (deviation * outlook.years),
        within / (mixed * outlook.years),
        between / (mixed * outlook.years),
        both * (adversary @ own),
        both * (p @ own),
    )


def _deviation(variance: float, years: float) -> float:
    """Annual; 1 where there is no risk to split."""
    return float(np.sqrt(variance / years)) if variance > 0 else 1.0
