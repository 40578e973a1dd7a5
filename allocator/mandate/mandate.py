"""The Mandate: what we want, made from `[mandate]`, `[robust]` and `[costs]` and aligned with the book.

Objective, in fractions of the account before trading:

    maximise  min_{q ∈ ambiguity} q'r(h, c)  −  return error  −  charges'h  −  risk_aversion · h'Ωh  −  costs

with r the scenario gains and costs = 1 − W; or, for `minimum_variance`, minimise h'Ωh + 2·(largest variance)·costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import or_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import Book
from allocator.errors import BadMandate, Breach
from allocator.mandate.return_errors import ReturnError
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.rules import ConvexRule, LinearRule, Rule, RuleMeasurement, RuleRows, Trade, stack_rows
from allocator.rules.rows import FewNames
from allocator.types import Vector


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

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The linear rules, then the convex ones."""
        return (*self.linear_rules, *self.convex_rules)

    @cached_property
    def rows(self) -> RuleRows:
        """Every linear rule's rows, one above the other."""
        return stack_rows(self.parts, len(self.cost_rates))

    @cached_property
    def parts(self) -> Sequence[RuleRows]:
        """The rows of each linear rule."""
        return [rule.rows(len(self.cost_rates)) for rule in self.linear_rules]

    def wanting(self, **objective: Any) -> Mandate:
        """The same rules under another objective or set: their rows stay laid out."""
        changed = replace(self, **objective)
        changed.__dict__.update(rows=self.rows, parts=self.parts)
        return changed

    def beside(self, other: Mandate) -> Mandate:
        """The same mandate: rows of rules that the other has too are not laid out again."""
        known = dict(zip(map(id, other.linear_rules), other.parts, strict=True))
        parts = [known.get(id(rule)) or rule.rows(len(self.cost_rates)) for rule in self.linear_rules]
        self.__dict__["parts"] = parts
        if len(parts) == len(other.parts) and all(one is two for one, two in zip(parts, other.parts, strict=True)):
            self.__dict__["rows"] = other.rows
        return self

    @cached_property
    def few_names(self) -> FewNames | None:
        """How many names are to be held, and how little of each, where these are still to be chosen."""
        stated = [rule.few_names for rule in self.linear_rules if rule.few_names is not None]
        return reduce(or_, stated) if stated else None

    def refuse_unchosen(self) -> None:
        """Raise where names are still to be chosen: a convex program would hold parts of too many.

        Raises:
            BadMandate: names the rules.
        """
        for rule in self.linear_rules:
            if rule.few_names is not None:
                said = "chooses names once, for a plan; what is asked here solves a mandate many times, or in stages"
                cure = "leave the rule out here, or ask `rebalance` of a book without reviews"
                raise BadMandate([Breach("book.toml", None, rule.key, None, said, cure)])

    def choosing(self, held: NDArray[np.bool_] | None) -> Mandate:
        """The same mandate once the names (N,) that are held are chosen; of None they are still to be."""
        return replace(self, linear_rules=tuple(rule.choosing(held) for rule in self.linear_rules))

    @property
    def without_priorities(self) -> Mandate:
        """The same mandate of the rules that never give way."""
        linear = tuple(rule for rule in self.linear_rules if not rule.tier)
        return replace(
            self, linear_rules=linear, convex_rules=tuple(rule for rule in self.convex_rules if not rule.tier)
        )

    def with_limits(self, limits: Vector) -> Mandate:
        """The same mandate with other limits: one a row of the linear rules, then one a convex rule."""
        linear, at = [], 0
        for rule, part in zip(self.linear_rules, self.parts, strict=True):
            count = len(part.labels)
            linear.append(rule.with_limits([float(limit) for limit in limits[at : at + count]]))
            at += count
        convex = [rule.with_limits([float(limit)]) for rule, limit in zip(self.convex_rules, limits[at:], strict=True)]
        return replace(self, linear_rules=tuple(linear), convex_rules=tuple(convex))

    def loss(self, trade: Trade, outlook: Outlook) -> float:
        """The minimised objective on a trade, from the formulas: no solver, no coefficient of the program."""
        before = trade.value_before
        holdings, cash = trade.values / before, trade.cash / before
        loss = self.held_charge(holdings, outlook.risk) + self.cost_price(outlook) * (1 - trade.value / before)
        if not self.return_weight:
            return loss
        return loss + self.ambiguity.worst_case(-outlook.portfolio_returns(holdings, cash), outlook.probabilities)

    def held_charge(self, holdings: Vector, risk: FactorRisk) -> float:
        """What is charged for holding (N,), whatever it brings: its risk, what returns may be wrong by, `charges`."""
        charge = self.risk_aversion * risk.variance(holdings)
        if self.return_error is not None:
            charge += self.return_error.charge(holdings, risk)
        return charge if self.charges is None else charge + float(self.charges @ holdings)

    @property
    def linear_charge(self) -> Vector | None:
        """(N,) what the objective charges for a unit held, whatever else is; None where that is nothing."""
        error = None if self.return_error is None else self.return_error.linear_charge
        if error is None or self.charges is None:
            return self.charges if error is None else error
        return self.charges + error

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
        return 2 * self.risk_aversion * float(outlook.risk.variances.max(initial=0.0))

    def costs(self, bought: Vector, sold: Vector, value_before: float = 1.0) -> Vector:
        """(N,) what trading costs, in the money that `bought`, `sold` and the account's value before are in."""
        traded = bought + sold
        linear: Vector = self.cost_rates * traded
        if self.impact is None:
            return linear
        return linear + self.impact * traded * np.sqrt(traded / value_before)

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Every rule's own formula on a trade: the linear rules' in the order of `rows`, then the convex ones'."""
        return [reading for rule in self.rules for reading in rule.readings(trade, outlook)]

    def missed(self, trade: Trade, outlook: Outlook) -> Vector:
        """(rules,) by how much of the account each reading of `readings` misses its limit."""
        return np.concatenate([np.zeros(0), *(rule.missed(trade, outlook) for rule in self.rules)])


def no_trade(book: Book) -> Trade:
    """The portfolio as it is, as a trade of nothing."""
    nothing = np.zeros(len(book.instruments))
    return Trade(book.quantities * book.prices, book.cash, nothing, nothing, 0.0, book.value)
