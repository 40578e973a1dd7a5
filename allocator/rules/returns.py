"""Linear rules on what the account brings: under the belief, in every scenario, under a named shock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from allocator.outlook.outlook import Outlook
from allocator.rules.rows import RuleMeasurement, RuleRows, Trade, format_limit_percent, linear_rows
from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class MinimumExpectedReturn:
    """The expected return after costs is at least `limit`: p'r + W − 1 ≥ limit."""

    limit: float
    tier: int = 0

    def rows(self, instruments: int) -> RuleRows:
        """One row, over the expected gain."""
        return linear_rows(
            [self._label()],
            instruments,
            expected=-np.ones(1),
            wealth=np.ones(1),
            limit=np.array([-1 - self.limit]),
            stated=[self.limit],
            sense=-1.0,
            tier=self.tier,
        )

    def _label(self) -> str:
        return f"expected return at least {format_limit_percent(self.limit)}"

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Expected gain over the account's value before."""
        mean = float(outlook.probabilities @ outlook.portfolio_returns(trade.values, trade.cash))
        gain = (mean + trade.value - trade.value_before) / trade.value_before
        return [RuleMeasurement(self._label(), gain, self.limit, at_most=False)]

    def with_limits(self, limits: Sequence[float]) -> MinimumExpectedReturn:
        """Another limit."""
        return replace(self, limit=limits[0])


@dataclass(frozen=True, eq=False)
class ScenarioFloor:
    """The return after costs is at least `limits_k` in every scenario: r_k + W − 1 ≥ limits_k."""

    scenarios: tuple[str, ...]
    limits: tuple[float, ...]
    tier: int = 0

    def rows(self, instruments: int) -> RuleRows:
        """One row a scenario."""
        count = len(self.scenarios)
        return linear_rows(
            self._labels(),
            instruments,
            gains=-np.eye(count),
            wealth=np.ones(count),
            limit=-1 - np.array(self.limits),
            stated=self.limits,
            sense=-1.0,
            tier=self.tier,
        )

    def _labels(self) -> list[str]:
        return [
            f"return in {name} at least {format_limit_percent(limit)}"
            for name, limit in zip(self.scenarios, self.limits, strict=True)
        ]

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Gain in each scenario over the account's value before."""
        gains = outlook.portfolio_returns(trade.values, trade.cash) + trade.value - trade.value_before
        return [
            RuleMeasurement(label, float(gain) / trade.value_before, limit, at_most=False)
            for label, gain, limit in zip(self._labels(), gains, self.limits, strict=True)
        ]

    def with_limits(self, limits: Sequence[float]) -> ScenarioFloor:
        """Other limits."""
        return replace(self, limits=tuple(limits))


@dataclass(frozen=True, eq=False)
class StressFloor:
    """Under a named shock at most `limit` is lost, costs included: −shock'h + 1 − W ≤ limit.

    `shock` (N,) are simple returns of the instruments; cash does not move.
    """

    name: str
    shock: Vector
    limit: float
    tier: int = 0

    @property
    def _label(self) -> str:
        return f"loss under {self.name} at most {format_limit_percent(self.limit)}"

    def rows(self, instruments: int) -> RuleRows:
        """One row."""
        return linear_rows(
            [self._label],
            instruments,
            holdings=sp.csr_array(-self.shock[None, :]),
            wealth=np.ones(1),
            limit=np.array([self.limit - 1]),
            stated=[self.limit],
            tier=self.tier,
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Loss over the account's value before."""
        del outlook
        after = trade.value + float(self.shock @ trade.values)
        return [RuleMeasurement(self._label, 1 - after / trade.value_before, self.limit, at_most=True)]

    def with_limits(self, limits: Sequence[float]) -> StressFloor:
        """Another limit."""
        return replace(self, limit=limits[0])
