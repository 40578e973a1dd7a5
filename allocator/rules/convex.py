"""Convex rules: each is the supremum of linear ones, sup over lawful directions of tangent(direction).

A multiplier of such a rule is a price and a direction; the tangent there is an ordinary row, which is all that the
lower bound, the whole-lot search and a stranger's verification need to know of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import scipy.sparse as sp

from allocator.ambiguity.sets import Ambiguity
from allocator.outlook.outlook import Outlook
from allocator.rules.rows import RuleMeasurement, RuleRows, Trade, format_limit_percent, linear_rows
from allocator.types import Vector


@runtime_checkable
class ConvexRule(Protocol):
    """What every convex rule can say of itself."""

    @property
    def tier(self) -> int:
        """0 for a rule that is never relaxed, else 1 (relaxed last) to 9 (first)."""
        ...

    @property
    def label(self) -> str:
        """What the rule is called."""
        ...

    def readings(self, trade: Trade, outlook: Outlook) -> Sequence[RuleMeasurement]:
        """The formula on money, one reading."""
        ...

    def tangent(self, direction: Vector, outlook: Outlook) -> RuleRows:
        """One row that every portfolio of the rule keeps, whatever the lawful direction."""
        ...

    def steepest(self, trade: Trade, outlook: Outlook) -> Vector:
        """The direction whose tangent touches the rule at this portfolio."""
        ...

    def lawful(self, direction: Vector, outlook: Outlook) -> Vector:
        """A lawful direction near this one: solver noise taken out."""
        ...

    def outside(self, direction: Vector, outlook: Outlook) -> float:
        """How far a direction is from lawful; at most 0 is lawful."""
        ...

    def with_limits(self, limits: Sequence[float]) -> ConvexRule:
        """The same rule with another limit."""
        ...


@dataclass(frozen=True, eq=False)
class VolatilityLimit:
    """Annual volatility within a scenario is at most `limit`: √((h − aW)'Ω(h − aW)) ≤ limit·√years·W.

    `against` a (N,) are a benchmark's weights, which make it a limit of the tracking error; None measures volatility
    itself. Directions u have length at most 1 in the space of the risk factors and the names (F + N,).
    """

    limit: float
    against: Vector | None = None
    tier: int = 0

    @property
    def label(self) -> str:
        """What the rule is called."""
        return (
            f"{'volatility' if self.against is None else 'tracking error'} at most {format_limit_percent(self.limit)}"
        )

    def _active(self, trade: Trade) -> Vector:
        return trade.weights if self.against is None else trade.weights - self.against

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Annual volatility of the portfolio after the trades, or of its difference to the benchmark."""
        variance = outlook.risk.variance(self._active(trade))
        return [RuleMeasurement(self.label, float(np.sqrt(variance / outlook.years)), self.limit, at_most=True)]

    def tangent(self, direction: Vector, outlook: Outlook) -> RuleRows:
        """u'(L'h, √d∘h) ≤ (limit·√years + u'(L'a, √d∘a))·W."""
        risk = outlook.risk
        factors = risk.loadings.shape[1]
        slope = risk.loadings @ direction[:factors] + np.sqrt(risk.specific) * direction[factors:]
        reference = 0.0 if self.against is None else float(slope @ self.against)
        return linear_rows(
            [self.label],
            len(slope),
            holdings=sp.csr_array(slope[None, :]),
            wealth=np.array([self.limit * np.sqrt(outlook.years) + reference]),
            stated=[self.limit],
            tier=self.tier,
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

    def with_limits(self, limits: Sequence[float]) -> VolatilityLimit:
        """Another limit."""
        return replace(self, limit=limits[0])


@dataclass(frozen=True, eq=False)
class LargestWeights:
    """The `count` largest names together weigh at most `limit`: Σ of the largest h_i ≤ limit·W.

    Directions v (N,) lie in [0, 1] and sum to at most `count`.
    """

    count: int
    limit: float
    tier: int = 0

    @property
    def label(self) -> str:
        """What the rule is called."""
        return f"the {self.count} largest names at most {format_limit_percent(self.limit)}"

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Weight of the largest names after the trades."""
        del outlook
        largest = float(np.sort(trade.weights)[-self.count :].sum())
        return [RuleMeasurement(self.label, largest, self.limit, at_most=True)]

    def tangent(self, direction: Vector, outlook: Outlook) -> RuleRows:
        """v'h ≤ limit·W."""
        del outlook
        return linear_rows(
            [self.label],
            len(direction),
            holdings=sp.csr_array(direction[None, :]),
            wealth=np.array([self.limit]),
            stated=[self.limit],
            tier=self.tier,
        )

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

    def with_limits(self, limits: Sequence[float]) -> LargestWeights:
        """Another limit."""
        return replace(self, limit=limits[0])


@dataclass(frozen=True, eq=False)
class WorstCaseFloor:
    """Adverse expected return after costs, min over q in `ambiguity` of q'(r − a) + W − 1, is at least `limit`.

    `against` (N + 1,) are a benchmark's weights, cash last, with a = its gains; without it a = 0. Directions q (K,)
    are the probabilities of the set.
    """

    limit: float
    ambiguity: Ambiguity
    against: Vector | None = None
    tier: int = 0

    @property
    def label(self) -> str:
        """What the rule is called."""
        active = "" if self.against is None else "active "
        return f"adverse expected {active}return at least {format_limit_percent(self.limit)}"

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
        worst = -self.ambiguity.worst_case(-self._gains(trade, outlook), outlook.probabilities)
        return [RuleMeasurement(self.label, worst, self.limit, at_most=False)]

    def tangent(self, direction: Vector, outlook: Outlook) -> RuleRows:
        """−q'r ≤ W − 1 − limit − q'a."""
        reference = float(direction @ self.benchmark_gains(outlook))
        return linear_rows(
            [self.label],
            outlook.returns.shape[1],
            gains=-direction[None, :],
            wealth=np.ones(1),
            limit=np.array([-1 - self.limit - reference]),
            stated=[self.limit],
            sense=-1.0,
            tier=self.tier,
        )

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

    def with_limits(self, limits: Sequence[float]) -> WorstCaseFloor:
        """Another limit."""
        return replace(self, limit=limits[0])
