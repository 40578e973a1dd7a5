"""Convex rules: each is the supremum of linear ones, sup over lawful directions of tangent(direction).

A multiplier of such a rule is a price and a direction; the tangent there is an ordinary row, which is all that the
lower bound, the whole-lot search and a stranger's verification need to know of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import scipy.sparse as sp

from allocator.ambiguity.sets import Ambiguity, project, worst_case
from allocator.outlook.outlook import Outlook
from allocator.rules.epigraphs import ColumnLayout, Epigraph, norm_epigraph, tangent_epigraph
from allocator.rules.rows import (
    OneLimit,
    RuleId,
    RuleMeasurement,
    RuleRows,
    Trade,
    format_limit_percent,
    linear_rows,
)
from allocator.types import Vector

# What a convex rule and a program say to each other. Expressions and constraints are cvxpy's, which is imported where
# a program is built.
#


@dataclass(frozen=True, eq=False)
class ConvexRuleDual:
    """The multiplier of a convex rule: its `price` and the direction whose tangent is priced, None if not known."""

    price: float
    direction: Vector | None


@dataclass(frozen=True, eq=False)
class DecisionVariables:
    """The expressions of one decision that a convex rule may speak of.

    `gains` (K,) and `costs` are in a unit of the program's choice; `before` is the wealth before trading. `adverse`
    gives the dual form of an adverse expectation.
    """

    holdings: Any
    wealth: Any
    factors: Any
    gains: Any
    costs: Any
    adverse: Callable[[Any, Ambiguity, Vector], Any]
    before: Any = 1.0


@dataclass(frozen=True, eq=False)
class RuleConstraints:
    """A convex rule's constraints on a decision; `read()` gives its dual, `write(rule, outlook)` sets what is no number
    of the rule itself.
    """

    constraints: list[Any]
    read: Callable[[], ConvexRuleDual]
    write: Callable[[Any, Outlook], None] = lambda rule, outlook: None  # noqa: ARG005


@dataclass(frozen=True, eq=False)
class Supremum:
    """A rule in words for a proof: the largest u'x over a set by its `name` and `radius`, or over probabilities, is at
    most `limit` of wealth; x is of what is held over `against` (N + 1,), cash last.
    """

    kind: str
    name: str
    radius: float
    limit: float
    against: Vector | None = None


class ConvexRule(OneLimit):
    """What every convex rule can say of itself."""

    is_conic = False
    """Whether its constraints are more than linear."""
    uses_factors = False
    """Whether they speak of factor exposures."""
    looks_at_gains = False
    """Whether they speak of gains and costs, so that costs are priced with it."""

    @property
    def guards(self) -> Ambiguity | None:
        """The probabilities that it is kept under, where that is a set."""
        return None

    @property
    def pattern(self) -> tuple[Any, ...]:
        """What of the rule is compiled in: rules of one pattern share a program."""
        return (type(self).__name__,)

    @abstractmethod
    def tangent(self, direction: Vector, outlook: Outlook) -> RuleRows:
        """One row that every portfolio of the rule keeps, whatever the lawful direction."""

    @abstractmethod
    def steepest(self, trade: Trade, outlook: Outlook) -> Vector:
        """The direction whose tangent touches the rule at this portfolio."""

    @abstractmethod
    def lawful(self, direction: Vector, outlook: Outlook) -> Vector:
        """A lawful direction near this one: solver noise taken out."""

    @abstractmethod
    def outside(self, direction: Vector, outlook: Outlook) -> float:
        """How far a direction is from lawful; at most 0 is lawful."""

    @abstractmethod
    def numbers(self, outlook: Outlook, unit: float) -> Mapping[str, Any]:
        """Its numbers by name, which may change between two solves; `unit` is what gains are measured in."""

    @abstractmethod
    def cone(self, decision: DecisionVariables, outlook: Outlook, numbers: Mapping[str, Any]) -> RuleConstraints:
        """Its constraints on a decision, with its numbers as parameters or as they are."""

    @abstractmethod
    def supremum(self, outlook: Outlook) -> Supremum:
        """What a proof says of it."""

    def extra_columns(self, outlook: Outlook) -> int:
        """How many columns its epigraph takes."""
        del outlook
        return 1

    def epigraph(self, column: int, columns: ColumnLayout, outlook: Outlook) -> Epigraph:
        """Its function in a linear program, from `column` on: by its tangents, unless it knows better."""
        return tangent_epigraph(
            columns,
            column,
            lambda direction: self.tangent(direction, outlook).on(outlook),
            lambda trade: self.steepest(trade, outlook),
        )

    def _tangent(self, instruments: int, **coefficients: Any) -> RuleRows:
        return linear_rows(
            [self.label],
            instruments,
            ids=self.ids,
            stated=self.stated,
            sense=self.sense,
            tier=self.tier,
            **coefficients,
        )


def _dual(price: float, direction: Vector, length: float) -> ConvexRuleDual:
    """The direction is that of the dual; None where that is too short to tell one."""
    return ConvexRuleDual(price, direction / length if length > 1e-12 else None)


def flat_dual(value: object, count: int) -> Vector:
    """A dual as a flat vector; zeros where the solver gave none."""
    return np.zeros(count) if value is None else np.atleast_1d(np.asarray(value, dtype=float)).reshape(-1)


@dataclass(frozen=True, eq=False)
class VolatilityLimit(ConvexRule):
    """Annual volatility within a scenario is at most `limit`: √((h − aW)'Ω(h − aW)) ≤ limit·√years·W.

    `against` a (N,) are a benchmark's weights, which make it a limit of the tracking error; None measures volatility
    itself. Directions u have length at most 1 in the space of the risk factors and the names (F + N,).
    """

    limit: float
    against: Vector | None = None
    tier: int = 0
    is_conic = True
    uses_factors = True

    @property
    def _measure(self) -> str:
        return "volatility" if self.against is None else "tracking error"

    @property
    def label(self) -> str:
        """What people call it."""
        return f"{self._measure} at most {format_limit_percent(self.limit)}"

    @property
    def rule_id(self) -> RuleId:
        """Volatility or tracking error."""
        return RuleId(self._measure)

    def _active(self, trade: Trade) -> Vector:
        return trade.weights if self.against is None else trade.weights - self.against

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Annual volatility of the portfolio after the trades, or of its difference to the benchmark."""
        variance = outlook.risk.variance(self._active(trade))
        return self._measured(float(np.sqrt(variance / outlook.years)))

    def tangent(self, direction: Vector, outlook: Outlook) -> RuleRows:
        """u'(L'h, √d∘h) ≤ (limit·√years + u'(L'a, √d∘a))·W."""
        risk = outlook.risk
        factors = risk.loadings.shape[1]
        slope = risk.loadings @ direction[:factors] + np.sqrt(risk.specific) * direction[factors:]
        reference = 0.0 if self.against is None else float(slope @ self.against)
        return self._tangent(
            len(slope),
            holdings=sp.csr_array(slope[None, :]),
            wealth=np.array([self.limit * np.sqrt(outlook.years) + reference]),
            size=np.array([np.sqrt(outlook.years)]),
        )

    def steepest(self, trade: Trade, outlook: Outlook) -> Vector:
        """(F + N,) the unit vector along which the portfolio is at risk."""
        active, risk = self._active(trade), outlook.risk
        both = np.concatenate([risk.loadings.T @ active, np.sqrt(risk.specific) * active])
        return self.lawful(both / (float(np.linalg.norm(both)) or 1.0), outlook)

    def lawful(self, direction: Vector, outlook: Outlook) -> Vector:
        """Shortened to length 1."""
        del outlook
        return direction / max(float(np.linalg.norm(direction)), 1.0)

    def outside(self, direction: Vector, outlook: Outlook) -> float:
        """‖u‖ − 1."""
        del outlook
        return float(np.linalg.norm(direction)) - 1

    @property
    def pattern(self) -> tuple[Any, ...]:
        """With or without a benchmark."""
        return (self._measure,)

    def numbers(self, outlook: Outlook, unit: float) -> Mapping[str, Any]:
        """The limit over the horizon, and where the benchmark stands in the space of directions."""
        del unit
        limit = {"volatility limit": self.limit * np.sqrt(outlook.years)}
        if self.against is None:
            return limit
        deviations = np.sqrt(outlook.risk.specific)
        return limit | {
            "benchmark's risk": np.concatenate([outlook.risk.loadings.T @ self.against, deviations * self.against])
        }

    def cone(self, decision: DecisionVariables, outlook: Outlook, numbers: Mapping[str, Any]) -> RuleConstraints:
        """‖(y, √d∘h) − a·W‖ ≤ limit·W."""
        import cvxpy as cp

        factors = outlook.risk.loadings.shape[1]
        exposures, own = decision.factors, cp.multiply(np.sqrt(outlook.risk.specific), decision.holdings)
        if self.against is not None:
            reference = numbers["benchmark's risk"]
            exposures = exposures - reference[:factors] * decision.wealth
            own = own - reference[factors:] * decision.wealth
        parts = cp.hstack([exposures, own])
        within = cp.SOC(numbers["volatility limit"] * decision.wealth, parts).set_label("volatility")

        def read() -> ConvexRuleDual:
            if within.dual_value is None:
                return ConvexRuleDual(0.0, None)
            price, direction = max(float(np.ravel(within.dual_value[0])[0]), 0.0), -np.ravel(within.dual_value[1])
            return _dual(price, direction, float(np.linalg.norm(direction)))

        return RuleConstraints([within], read)

    def extra_columns(self, outlook: Outlook) -> int:
        """t and τ, the exposures and the parts."""
        names, factors = outlook.risk.loadings.shape
        return int(2 + 2 * factors + names)

    def epigraph(self, column: int, columns: ColumnLayout, outlook: Outlook) -> Epigraph:
        """By its parts, which take a few rounds where tangents of the whole take hundreds."""
        risk, direction = outlook.risk, self.steepest(columns.untraded, outlook)
        spread = sp.csr_array(sp.vstack([sp.csr_array(risk.loadings.T), sp.diags_array(np.sqrt(risk.specific))]))
        limit = self.limit * float(np.sqrt(outlook.years))
        return norm_epigraph(columns, column, direction, spread, self.against, limit)

    def supremum(self, outlook: Outlook) -> Supremum:
        """A deviation over the horizon, within the unit ball."""
        against = None if self.against is None else np.append(self.against, 1 - self.against.sum())
        return Supremum("norm", "norm", 1.0, self.limit * float(np.sqrt(outlook.years)), against)


@dataclass(frozen=True, eq=False)
class LargestWeights(ConvexRule):
    """The `count` largest names together weigh at most `limit`: Σ of the largest h_i ≤ limit·W.

    Directions v (N,) lie in [0, 1] and sum to at most `count`.
    """

    count: int
    limit: float
    tier: int = 0
    rule_id = RuleId("largest")

    @property
    def label(self) -> str:
        """What people call it."""
        return f"the {self.count} largest names at most {format_limit_percent(self.limit)}"

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Weight of the largest names after the trades."""
        del outlook
        return self._measured(float(np.sort(trade.weights)[-self.count :].sum()))

    def tangent(self, direction: Vector, outlook: Outlook) -> RuleRows:
        """v'h ≤ limit·W."""
        del outlook
        return self._tangent(len(direction), holdings=sp.csr_array(direction[None, :]), wealth=np.array([self.limit]))

    def steepest(self, trade: Trade, outlook: Outlook) -> Vector:
        """(N,) 1 for the largest names."""
        del outlook
        chosen = np.zeros(len(trade.values))
        chosen[np.argsort(-trade.values, kind="stable")[: self.count]] = 1.0
        return chosen

    def lawful(self, direction: Vector, outlook: Outlook) -> Vector:
        """Clipped into [0, 1], and scaled down where it sums to more than `count`."""
        del outlook
        clipped = np.clip(direction, 0.0, 1.0)
        return clipped * min(1.0, self.count / max(float(clipped.sum()), 1e-300))

    def outside(self, direction: Vector, outlook: Outlook) -> float:
        """The most by which a bound or the sum is missed."""
        del outlook
        return max(-float(direction.min()), float(direction.max()) - 1, float(direction.sum()) - self.count)

    @property
    def pattern(self) -> tuple[Any, ...]:
        """How many are counted."""
        return ("largest", self.count)

    def numbers(self, outlook: Outlook, unit: float) -> Mapping[str, Any]:
        """The limit."""
        del outlook, unit
        return {"limit of the largest": self.limit}

    def cone(self, decision: DecisionVariables, outlook: Outlook, numbers: Mapping[str, Any]) -> RuleConstraints:
        """count·k + Σ above ≤ limit·W with above_i ≥ h_i − k (Rockafellar and Uryasev 2000)."""
        import cvxpy as cp

        names = outlook.risk.loadings.shape[0]
        # nobody is held short, so the least is not below nothing; else a count beyond the names would allow anything
        least, above = cp.Variable(nonneg=True, name="least of the largest"), cp.Variable(names, nonneg=True)
        each = above >= decision.holdings - least
        together = self.count * least + cp.sum(above) <= numbers["limit of the largest"] * decision.wealth
        together.set_label("largest")

        def read() -> ConvexRuleDual:
            price = max(float(flat_dual(together.dual_value, 1)[0]), 0.0)
            return _dual(price, flat_dual(each.dual_value, names), price)

        return RuleConstraints([each, together], read)

    def extra_columns(self, outlook: Outlook) -> int:
        """t, the least of the largest and what each name is above it."""
        return 2 + len(outlook.risk.specific)

    def epigraph(self, column: int, columns: ColumnLayout, outlook: Outlook) -> Epigraph:
        """t = count·k + Σ above − limit·W: rows say it exactly, and there is nothing to cut."""
        names, least = columns.names, column + 1
        above = columns.block(column + 2, -np.ones(names)) + columns.block(least, -np.ones(names), each=False)
        each = columns.holding(sp.csr_array(sp.eye_array(names))) + above
        together = np.zeros((1, columns.total))
        together[0, [column, least, columns.wealth]] = -1.0, self.count, -self.limit
        together[0, column + 2 : column + 2 + names] = 1.0
        rows = sp.csr_array(sp.vstack([each, sp.csr_array(together)]))
        own = rows, np.append(np.full(names, -np.inf), 0.0), np.append(-columns.start.holdings, 0.0)
        direction = self.steepest(columns.untraded, outlook)
        return Epigraph(column, direction, columns.no_cuts, lambda point, trade: (columns.no_cuts, 0.0), own)  # noqa: ARG005

    def supremum(self, outlook: Outlook) -> Supremum:
        """The weights, as many of them as are counted."""
        del outlook
        return Supremum("largest", "largest", self.count, self.limit)


@dataclass(frozen=True, eq=False)
class WorstCaseFloor(ConvexRule):
    """Adverse expected return after costs, min over q in `ambiguity` of q'(r − a) + W − 1, is at least `limit`.

    `against` (N + 1,) are a benchmark's weights, cash last, with a = its gains; without it a = 0. Directions q (K,)
    are the probabilities of the set.
    """

    limit: float
    ambiguity: Ambiguity
    against: Vector | None = None
    tier: int = 0
    at_most = False
    looks_at_gains = True

    @property
    def _measure(self) -> str:
        return "adverse expected return" if self.against is None else "adverse expected active return"

    @property
    def label(self) -> str:
        """What people call it."""
        return f"{self._measure} at least {format_limit_percent(self.limit)}"

    @property
    def rule_id(self) -> RuleId:
        """Of the account, or over the benchmark's."""
        return RuleId(self._measure)

    def benchmark_gains(self, outlook: Outlook) -> Vector:
        """(K,) the benchmark's gains; zeros without one."""
        if self.against is None:
            return np.zeros(len(outlook.scenarios))
        return outlook.portfolio_returns(self.against[:-1], float(self.against[-1]))

    def _gains(self, trade: Trade, outlook: Outlook) -> Vector:
        before = trade.value_before
        gains = outlook.portfolio_returns(trade.values / before, trade.cash / before) + trade.value / before - 1
        return gains - self.benchmark_gains(outlook)

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Gain under adverse probabilities, over the benchmark's where there is one, of the account's value before."""
        return self._measured(-worst_case(-self._gains(trade, outlook), self.ambiguity, outlook.probabilities))

    def tangent(self, direction: Vector, outlook: Outlook) -> RuleRows:
        """−q'r ≤ W − 1 − limit − q'a."""
        reference = float(direction @ self.benchmark_gains(outlook))
        return self._tangent(
            outlook.returns.shape[1],
            gains=-direction[None, :],
            wealth=np.ones(1),
            limit=np.array([-1 - self.limit - reference]),
        )

    def steepest(self, trade: Trade, outlook: Outlook) -> Vector:
        """(K,) the adverse probabilities."""
        return self.ambiguity.adversary(-self._gains(trade, outlook), outlook.probabilities)

    def lawful(self, direction: Vector, outlook: Outlook) -> Vector:
        """The member of the set on the way to the belief."""
        return project(direction, self.ambiguity, outlook.probabilities)

    def outside(self, direction: Vector, outlook: Outlook) -> float:
        """How far the probabilities are from the set."""
        unlawful = max(-float(direction.min()), abs(float(direction.sum()) - 1))
        return max(unlawful, self.ambiguity.excess(direction, outlook.probabilities))

    @property
    def guards(self) -> Ambiguity:
        """The adverse probabilities."""
        return self.ambiguity

    def at_review(self, day: date, growth: Vector, ambiguity: Ambiguity) -> WorstCaseFloor:
        """Under the probabilities of that day."""
        del day, growth
        return replace(self, ambiguity=ambiguity)

    @property
    def pattern(self) -> tuple[Any, ...]:
        """Its set comes on top."""
        return ("adverse expected return",)

    def numbers(self, outlook: Outlook, unit: float) -> Mapping[str, Any]:
        """The benchmark's gains and the limit, in the unit of gains."""
        return {"benchmark's gains / unit": self.benchmark_gains(outlook) / unit, "floor / unit": self.limit / unit}

    def cone(self, decision: DecisionVariables, outlook: Outlook, numbers: Mapping[str, Any]) -> RuleConstraints:
        """sup over q of q'shortfalls + costs ≤ −limit with shortfalls ≥ a − r, as parts of the wealth before."""
        import cvxpy as cp

        scenarios = len(outlook.scenarios)
        shortfalls = cp.Variable(scenarios, name="shortfalls")
        worst = decision.adverse(shortfalls, self.ambiguity, outlook.probabilities)
        each = shortfalls >= numbers["benchmark's gains / unit"] * decision.before - decision.gains
        together = worst.expression + decision.costs <= -numbers["floor / unit"] * decision.before
        together.set_label("adverse expected return")

        def read() -> ConvexRuleDual:
            price = max(float(flat_dual(together.dual_value, 1)[0]), 0.0)
            return _dual(price, flat_dual(each.dual_value, scenarios), price)

        def write(rule: WorstCaseFloor, outlook: Outlook) -> None:
            worst.write(rule.ambiguity, outlook.probabilities)

        return RuleConstraints([each, together, *worst.constraints], read, write)

    def supremum(self, outlook: Outlook) -> Supremum:
        """The losses below the benchmark's, under the set's probabilities."""
        del outlook
        return Supremum("worst_case", "", 0.0, self.limit, self.against)
