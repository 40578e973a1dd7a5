"""Convex rules: each is the supremum of linear ones, sup over lawful directions of tangent(direction).

A multiplier of such a rule is a price and a direction; the tangent there is an ordinary row, which is all that the
lower bound, the whole-lot search and a stranger's verification need to know of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, Any, TypeAlias, TypedDict

import numpy as np
import scipy.sparse as sp

from allocator.ambiguity.sets import SET_NAMES, Ambiguity, SetTable
from allocator.outlook.outlook import Outlook
from allocator.presentation import Keywords, Numbers
from allocator.rules.directions import Directions, LargestOf, Multiplier, UnitBall, flat_dual
from allocator.rules.epigraphs import ColumnLayout, Epigraph, largest_epigraph, norm_epigraph, tangent_epigraph
from allocator.rules.rows import OneLimit, RuleMeasurement, RuleRows, Trade
from allocator.types import Vector

_KINDS = [directions.kind for directions in Directions.__subclasses__()]
Witness: TypeAlias = Annotated[
    list[float | list[float]],
    "shows that the probabilities are in the set: of wasserstein a transport from the belief, of hull the weights of "
    "its rows; empty for the others",
]


class _Supremum(TypedDict):
    set: Annotated[str, Keywords(enum=[*_KINDS, *SET_NAMES])]
    radius: Annotated[float, "size of the set; of largest, how many names"]
    table: SetTable


class ConvexDocument(TypedDict):
    """The largest u'x over a set is at most a limit."""

    label: str
    kind: Annotated[str, Keywords(enum=["holdings", "risk", "worst_case"]), "what x is made of"]
    set: _Supremum
    against: Annotated[Numbers, "the benchmark's weights, cash last; zeros without one"]
    limit: Annotated[float, "over what is left of the horizon"]


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

    `gains` (K,) and `costs` are in a unit of the program's choice; `before` is the wealth before trading.
    """

    holdings: Any
    wealth: Any
    factors: Any
    gains: Any
    costs: Any
    before: Any = 1.0


@dataclass(frozen=True, eq=False)
class RuleConstraints:
    """A convex rule's constraints on a decision; `read()` gives their multiplier, `write(rule, outlook)` sets what is
    no number of the rule itself.
    """

    constraints: list[Any]
    read: Callable[[], Multiplier | None]
    write: Callable[[Any, Outlook], None] = lambda rule, outlook: None  # noqa: ARG005


class ConvexRule(OneLimit):
    """What every convex rule can say of itself: the largest u'x over lawful directions u is within its limit."""

    directions: Directions | None
    """Which u are lawful; None where they are probabilities around the belief."""
    looks_at = "holdings"
    """What x is made of, as a proof says it: holdings, risk (factor exposures and names), or worst_case (losses)."""
    uses_factors = False
    """Whether its constraints speak of factor exposures."""
    looks_at_gains = False
    """Whether they speak of gains and costs, so that costs are priced with it."""

    @property
    def is_conic(self) -> bool:
        """Whether its constraints are more than linear."""
        return self.directions is not None and self.directions.is_conic

    def pattern(self, outlook: Outlook) -> tuple[Any, ...]:
        """What of the rule is compiled in: rules of one pattern share a program."""
        del outlook
        return (self.kind, self.directions)

    @abstractmethod
    def tangent(self, direction: Vector, outlook: Outlook) -> RuleRows:
        """One row that every portfolio of the rule keeps, whatever the lawful direction."""

    @abstractmethod
    def steepest(self, trade: Trade, outlook: Outlook) -> Vector:
        """The direction whose tangent touches the rule at this portfolio."""

    def lawful(self, direction: Vector, outlook: Outlook) -> Vector:
        """A lawful direction near this one: solver noise taken out."""
        del outlook
        return direction if self.directions is None else self.directions.lawful(direction)

    def outside(self, direction: Vector, outlook: Outlook) -> float:
        """How far a direction is from lawful; at most 0 is lawful."""
        del outlook
        return 0.0 if self.directions is None else self.directions.outside(direction)

    @abstractmethod
    def numbers(self, outlook: Outlook, unit: float) -> Mapping[str, Any]:
        """Its numbers by name, which may change between two solves; `unit` is what gains are measured in."""

    @abstractmethod
    def cone(self, decision: DecisionVariables, outlook: Outlook, numbers: Mapping[str, Any]) -> RuleConstraints:
        """Its constraints on a decision, with its numbers as parameters or as they are."""

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

    def witness(self, direction: Vector, outlook: Outlook) -> list[Any]:
        """The numbers from which a stranger sees that a direction is lawful, where its own do not say it."""
        del direction, outlook
        return []

    def document(self, outlook: Outlook) -> ConvexDocument:
        """What a proof says of it: what x is (`kind`), which u, `against` what (N + 1,), cash last, and the limit."""
        directions, nobody = self.directions, [0.0] * (outlook.returns.shape[1] + 1)
        kind, radius = ("none", 0.0) if directions is None else (directions.kind, directions.radius)
        supremum: _Supremum = {"set": kind, "radius": radius, "table": []}
        return {"label": self.label, "kind": self.looks_at, "set": supremum, "against": nobody, "limit": self.limit}


@dataclass(frozen=True, eq=False)
class VolatilityLimit(ConvexRule):
    """Annual volatility within a scenario is at most `limit`: √((h − aW)'Ω(h − aW)) ≤ limit·√years·W.

    `against` a (N,) are a benchmark's weights, which make it a limit of the tracking error; None measures volatility
    itself. Directions u have length at most 1 in the space of the risk factors and the names (F + N,).
    """

    limit: float
    against: Vector | None = None
    tier: int = 0
    key: str = ""
    words = "{name} at most {limit}"
    directions = UnitBall()
    looks_at = "risk"
    uses_factors = True

    @property
    def name(self) -> str:
        """What is measured."""
        return "volatility" if self.against is None else "tracking error"

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The same."""
        return self.name

    def _active(self, trade: Trade) -> Vector:
        return trade.weights if self.against is None else trade.weights - self.against

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Annual volatility of the portfolio after the trades, or of its difference to the benchmark."""
        variance = outlook.risk.variance(self._active(trade))
        return self._measured(float(np.sqrt(variance / outlook.years)))

    def tangent(self, direction: Vector, outlook: Outlook) -> RuleRows:
        """u'(L'h, √d∘h) ≤ (limit·√years + u'(L'a, √d∘a))·W."""
        slope, size = outlook.risk.slope(direction), np.sqrt(outlook.years)
        reference = 0.0 if self.against is None else float(slope @ self.against)
        wealth = np.array([self.limit * size + reference])
        return self._rows(len(slope), holdings=slope[None, :], wealth=wealth, size=np.array([size]))

    def steepest(self, trade: Trade, outlook: Outlook) -> Vector:
        """(F + N,) the unit vector along which the portfolio is at risk."""
        return self.directions.steepest(outlook.risk.parts(self._active(trade)))

    def numbers(self, outlook: Outlook, unit: float) -> Mapping[str, Any]:
        """The limit over the horizon, and where the benchmark stands in the space of directions."""
        del unit
        reference = {} if self.against is None else {"benchmark's risk": outlook.risk.parts(self.against)}
        return {"volatility limit": self.limit * np.sqrt(outlook.years)} | reference

    def cone(self, decision: DecisionVariables, outlook: Outlook, numbers: Mapping[str, Any]) -> RuleConstraints:
        """‖(y, √d∘h) − a·W‖ ≤ limit·W."""
        parts = outlook.risk.parts_expression(decision.holdings, decision.factors)
        if self.against is not None:
            parts = parts - numbers["benchmark's risk"] * decision.wealth
        within = self.directions.above(numbers["volatility limit"] * decision.wealth, parts, "volatility")
        return RuleConstraints(within.constraints, within.read)

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

    def document(self, outlook: Outlook) -> ConvexDocument:
        """A deviation over the horizon."""
        over_horizon: ConvexDocument = {
            **super().document(outlook),
            "limit": self.limit * float(np.sqrt(outlook.years)),
        }
        if self.against is None:
            return over_horizon
        return {**over_horizon, "against": [*self.against.tolist(), float(1 - self.against.sum())]}


@dataclass(frozen=True, eq=False)
class LargestWeights(ConvexRule):
    """The `count` largest names together weigh at most `limit`: Σ of the largest h_i ≤ limit·W.

    Directions v (N,) lie in [0, 1] and sum to at most `count`.
    """

    count: int
    limit: float
    tier: int = 0
    key: str = ""
    kind, words = "largest", "the {name} largest names at most {limit}"

    @property
    def name(self) -> str:
        """How many."""
        return str(self.count)

    @property
    def directions(self) -> LargestOf:  # type: ignore[override]
        """So many of the weights."""
        return LargestOf(self.count)

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Weight of the largest names after the trades."""
        del outlook
        return self._measured(float(np.sort(trade.weights)[-self.count :].sum()))

    def tangent(self, direction: Vector, outlook: Outlook) -> RuleRows:
        """v'h ≤ limit·W."""
        del outlook
        return self._rows(len(direction), holdings=direction[None, :], wealth=np.array([self.limit]))

    def steepest(self, trade: Trade, outlook: Outlook) -> Vector:
        """(N,) 1 for the largest names."""
        del outlook
        return self.directions.steepest(trade.values)

    def numbers(self, outlook: Outlook, unit: float) -> Mapping[str, Any]:
        """The limit."""
        del outlook, unit
        return {"limit of the largest": self.limit}

    def cone(self, decision: DecisionVariables, outlook: Outlook, numbers: Mapping[str, Any]) -> RuleConstraints:
        """The sum of the largest holdings is at most limit·W."""
        del outlook
        bound = numbers["limit of the largest"] * decision.wealth
        within = self.directions.above(bound, decision.holdings, "largest")
        return RuleConstraints(within.constraints, within.read)

    def extra_columns(self, outlook: Outlook) -> int:
        """t, the least of the largest and what each name is above it."""
        return 2 + len(outlook.risk.specific)

    def epigraph(self, column: int, columns: ColumnLayout, outlook: Outlook) -> Epigraph:
        """By rows, which say it exactly."""
        return largest_epigraph(columns, column, self.steepest(columns.untraded, outlook), self.count, self.limit)


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
    key: str = ""
    words = "{name} at least {limit}"
    at_most = False
    directions = None
    looks_at = "worst_case"
    looks_at_gains = True

    @property
    def name(self) -> str:
        """Of the account, or over the benchmark's."""
        return "adverse expected return" if self.against is None else "adverse expected active return"

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The same."""
        return self.name

    @property
    def is_conic(self) -> bool:
        """Whether the set is curved."""
        return self.ambiguity.is_curved

    def pattern(self, outlook: Outlook) -> tuple[Any, ...]:
        """With what is compiled of the set."""
        return (self.kind, self.ambiguity.structure(outlook.probabilities))

    def benchmark_gains(self, outlook: Outlook) -> Vector:
        """(K,) the benchmark's gains; zeros without one."""
        if self.against is None:
            return np.zeros(len(outlook.scenarios))
        return outlook.portfolio_returns(self.against[:-1], float(self.against[-1]))

    def _gains(self, trade: Trade, outlook: Outlook) -> Vector:
        return trade.gains(outlook) - self.benchmark_gains(outlook)

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Gain under adverse probabilities, over the benchmark's where there is one, of the account's value before."""
        return self._measured(-self.ambiguity.worst_case(-self._gains(trade, outlook), outlook.probabilities))

    def tangent(self, direction: Vector, outlook: Outlook) -> RuleRows:
        """−q'r ≤ W − 1 − limit − q'a."""
        limit = np.array([-1 - self.limit - float(direction @ self.benchmark_gains(outlook))])
        return self._rows(outlook.returns.shape[1], gains=-direction[None, :], wealth=np.ones(1), limit=limit)

    def steepest(self, trade: Trade, outlook: Outlook) -> Vector:
        """(K,) the adverse probabilities."""
        return self.ambiguity.adversary(-self._gains(trade, outlook), outlook.probabilities)

    def lawful(self, direction: Vector, outlook: Outlook) -> Vector:
        """The member of the set on the way to the belief."""
        return self.ambiguity.project(direction, outlook.probabilities)

    def outside(self, direction: Vector, outlook: Outlook) -> float:
        """How far the probabilities are from the set."""
        unlawful = max(-float(direction.min()), abs(float(direction.sum()) - 1))
        return max(unlawful, self.ambiguity.excess(direction, outlook.probabilities))

    def at_review(self, day: date, growth: Vector, ambiguity: Ambiguity) -> WorstCaseFloor:
        """Under the probabilities of that day."""
        del day, growth
        return replace(self, ambiguity=ambiguity)

    def numbers(self, outlook: Outlook, unit: float) -> Mapping[str, Any]:
        """The benchmark's gains and the limit, in the unit of gains."""
        return {"benchmark's gains / unit": self.benchmark_gains(outlook) / unit, "floor / unit": self.limit / unit}

    def cone(self, decision: DecisionVariables, outlook: Outlook, numbers: Mapping[str, Any]) -> RuleConstraints:
        """sup over q of q'shortfalls + costs ≤ −limit with shortfalls ≥ a − r, as parts of the wealth before."""
        import cvxpy as cp

        shortfalls = cp.Variable(len(outlook.scenarios), name="shortfalls")
        worst = self.ambiguity.dual_form(shortfalls, outlook.probabilities)
        each = shortfalls >= numbers["benchmark's gains / unit"] * decision.before - decision.gains
        together = worst.expression + decision.costs <= -numbers["floor / unit"] * decision.before
        together.set_label("adverse expected return")

        def read() -> Multiplier:
            price = max(float(flat_dual(together.dual_value, 1)[0]), 0.0)
            return price, flat_dual(each.dual_value, len(outlook.scenarios)), price

        def write(rule: WorstCaseFloor, outlook: Outlook) -> None:
            worst.write(rule.ambiguity, outlook.probabilities)

        return RuleConstraints([each, together, *worst.constraints], read, write)

    def document(self, outlook: Outlook) -> ConvexDocument:
        """The losses below the benchmark's, under the probabilities of the set."""
        own = super().document(outlook) | {"set": self.ambiguity.document(outlook.probabilities)}
        return own if self.against is None else own | {"against": self.against.tolist()}

    def witness(self, direction: Vector, outlook: Outlook) -> list[Any]:
        """What shows that the probabilities belong to the set."""
        return list(self.ambiguity.witness(direction, outlook.probabilities).tolist())
