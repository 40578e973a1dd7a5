"""The Mandate: what we want, made from `[mandate]`, `[robust]` and `[costs]` and aligned with the book.

Objective, in fractions of the account before trading:

    maximise  min_{q ∈ ambiguity} q'r(h, c)  −  return error  −  charges'h  −  risk_aversion · h'Ωh  −  costs

with r the scenario gains and costs = 1 − W; or, for `minimum_variance`, minimise h'Ωh + 2·(largest variance)·costs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np

from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import Book
from allocator.errors import BadMandate, Breach
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.rules import ConvexRule, LinearRule, RuleMeasurement, RuleRows, Trade, stack_rows
from allocator.types import Vector

# By how much the returns of a scenario may be wrong: a charge on what is held, beside the adverse expectation.
#
# Errors common to all scenarios add to every scenario's loss alike, so the adversary's choice between scenarios is
# untouched and the charge is a term of its own (science §3.3).
#


@dataclass(frozen=True, eq=False)
class BoxError:
    """Each name's return may be `deviations_i` lower, all of them at once: charge δ'h. `deviations` (N,) simple."""

    deviations: Vector

    def charge(self, holdings: Vector, risk: FactorRisk) -> float:
        """The largest shortfall of the portfolio's return, as a fraction of wealth."""
        del risk
        return float(self.deviations @ np.abs(holdings))

    def slope(self, direction: Vector, risk: FactorRisk) -> Vector:
        """(N,) s with charge ≥ s'h for every h ≥ 0; there is only one."""
        del direction, risk
        return self.deviations

    def steepest(self, holdings: Vector, risk: FactorRisk) -> Vector:
        """No choice: an empty direction."""
        del holdings, risk
        return np.zeros(0)

    def outside(self, direction: Vector) -> float:
        """Whatever is not empty is unlawful."""
        return float(len(direction))


@dataclass(frozen=True, eq=False)
class EllipsoidError:
    """Returns may be jointly wrong by `size` standard deviations in the metric of the covariance: κ·√(h'Ωh)."""

    size: float

    def charge(self, holdings: Vector, risk: FactorRisk) -> float:
        """The largest shortfall of the portfolio's return, as a fraction of wealth."""
        return self.size * float(np.sqrt(risk.variance(holdings)))

    def slope(self, direction: Vector, risk: FactorRisk) -> Vector:
        """(N,) κ(Lu, √d∘u): charge ≥ slope'h for every direction u (F + N,) of length at most 1."""
        factors = risk.loadings.shape[1]
        result: Vector = self.size * (
            risk.loadings @ direction[:factors] + np.sqrt(risk.specific) * direction[factors:]
        )
        return result

    def steepest(self, holdings: Vector, risk: FactorRisk) -> Vector:
        """(F + N,) the unit vector along which the portfolio is at risk."""
        both = np.concatenate([risk.loadings.T @ holdings, np.sqrt(risk.specific) * holdings])
        length = float(np.linalg.norm(both))
        return both / (length * (1 + 1e-15)) if length > 0 else both

    def outside(self, direction: Vector) -> float:
        """‖u‖ − 1."""
        return float(np.linalg.norm(direction)) - 1


ReturnError: TypeAlias = BoxError | EllipsoidError


@dataclass(frozen=True, eq=False)
class Mandate:
    """The objective, the ambiguity set, the rules and the costs.

    `cost_rates` (N,) are fractions of traded money, each way; `impact` (N,) times the 3/2 power of the traded part of
    the account comes on top. `return_weight` is 1, or 0 for minimum variance. `charges` (N,) are what objectives of
    other packages charge for a unit held.
    """

    return_weight: float
    risk_aversion: float
    ambiguity: Ambiguity
    linear_rules: tuple[LinearRule, ...]
    convex_rules: tuple[ConvexRule, ...]
    cost_rates: Vector
    impact: Vector | None = None
    return_error: ReturnError | None = None
    charges: Vector | None = None

    def __post_init__(self) -> None:
        """Refuse what no program solves: a mandate made in Python passes here as one from a book does.

        Raises:
            BadMandate: every number or combination that has no meaning.
        """
        found: list[tuple[str, object, str, str]] = []
        if self.return_weight not in (0.0, 1.0):
            found.append(("return_weight", self.return_weight, "must be 1, or 0 for minimum variance", "choose one"))
        if not 0 <= self.risk_aversion < np.inf:
            found.append(("risk_aversion", self.risk_aversion, "must be 0 or more", "write for example 2.0"))
        if self.return_weight == 0 and self.ambiguity.guards:
            found.append(
                (
                    "ambiguity",
                    self.ambiguity,
                    "means nothing to minimum variance, which looks at no return",
                    "use Known()",
                )
            )
        if self.return_weight == 0 and self.return_error is not None:
            found.append(("return_error", "", "means nothing to minimum variance, which looks at no return", "drop it"))
        if self.charges is not None and not (np.abs(self.charges) < 1).all():
            found.append(("charges", self.charges, "must be between -1 and 1", "a percent of what is held is 0.01"))
        if self.return_weight == 0 and self.charges is not None:
            found.append(("charges", "", "mean nothing to minimum variance, which looks at no return", "drop them"))
        if self.impact is not None and not ((self.impact >= 0) & (self.impact < np.inf)).all():
            found.append(("impact", self.impact, "must be 0 or more, and finite", "give the volumes"))
        if not ((self.cost_rates >= 0) & (self.cost_rates < 1)).all():
            found.append(("cost_rates", self.cost_rates, "must be fractions from 0 to below 1", "10 bps are 0.001"))
        if found:
            raise BadMandate(Breach("Mandate", None, name, str(value), rule, cure) for name, value, rule, cure in found)

    @cached_property
    def rows(self) -> RuleRows:
        """Every linear rule's rows, one above the other."""
        instruments = len(self.cost_rates)
        return stack_rows([rule.rows(instruments) for rule in self.linear_rules], instruments)

    def with_limits(self, limits: Vector) -> Mandate:
        """The same mandate with other limits: one a row of the linear rules, then one a convex rule."""
        linear, at = [], 0
        for rule in self.linear_rules:
            count = len(rule.rows(len(self.cost_rates)).labels)
            linear.append(rule.with_limits([float(limit) for limit in limits[at : at + count]]))
            at += count
        convex = [rule.with_limits([float(limit)]) for rule, limit in zip(self.convex_rules, limits[at:], strict=True)]
        return replace(self, linear_rules=tuple(linear), convex_rules=tuple(convex))

    def loss(self, trade: Trade, outlook: Outlook) -> float:
        """The minimised objective on a trade, from the formulas: no solver, no coefficient of the program."""
        before = trade.value_before
        holdings, cash = trade.values / before, trade.cash / before
        costs = 1 - trade.value / before
        loss = self.risk_aversion * outlook.risk.variance(holdings) + self.cost_price(outlook) * costs
        if not self.return_weight:
            return loss
        if self.return_error is not None:
            loss += self.return_error.charge(holdings, outlook.risk)
        if self.charges is not None:
            loss += float(self.charges @ holdings)
        gains = outlook.portfolio_returns(holdings, cash)
        return loss + self.ambiguity.worst_case(-gains, outlook.probabilities)

    def marginal_charge(self, direction: Vector, risk: FactorRisk) -> Vector:
        """(N,) what a unit held is charged beside risk: the return error's slope along its direction, and `charges`."""
        own = np.zeros(len(self.cost_rates)) if self.charges is None else self.charges
        return own if self.return_error is None else own + self.return_error.slope(direction, risk)

    def cost_price(self, outlook: Outlook) -> float:
        """What a unit of costs weighs in the objective: 1, or in minimum variance so much that no round trip pays.

        A portfolio that throws part δ of its money away has 2δ less variance; at 2·γ·(the largest variance of a name)
        that is never worth its cost.
        """
        if self.return_weight:
            return 1.0
        variances = (outlook.risk.loadings**2).sum(axis=1) + outlook.risk.specific
        return 2 * self.risk_aversion * float(variances.max(initial=0.0))

    def costs(self, bought: Vector, sold: Vector, value_before: float = 1.0) -> Vector:
        """(N,) what trading costs, in the money that `bought`, `sold` and the account's value before are in."""
        traded = bought + sold
        linear: Vector = self.cost_rates * traded
        if self.impact is None:
            return linear
        return linear + self.impact * traded * np.sqrt(traded / value_before)

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Every rule's own formula on a trade: the linear rules' in the order of `rows`, then the convex ones'."""
        rules: tuple[LinearRule | ConvexRule, ...] = (*self.linear_rules, *self.convex_rules)
        return [reading for rule in rules for reading in rule.readings(trade, outlook)]


def no_trade(book: Book) -> Trade:
    """The portfolio as it is, as a trade of nothing."""
    nothing = np.zeros(len(book.instruments))
    return Trade(book.quantities * book.prices, book.cash, nothing, nothing, 0.0, book.value)
