"""Linear rules on what the account brings: under the belief, in every scenario, under a named shock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from allocator.outlook.outlook import Outlook
from allocator.rules.rows import (
    LinearRule,
    OneLimit,
    RuleId,
    RuleMeasurement,
    RuleRows,
    Trade,
)
from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class MinimumExpectedReturn(OneLimit, LinearRule):
    """The expected return after costs is at least `limit`: p'r + W − 1 ≥ limit."""

    limit: float
    tier: int = 0
    key: str = ""
    kind, words = "expected return", "expected return at least {limit}"
    at_most = False

    def rows(self, instruments: int) -> RuleRows:
        """One row, over the expected gain."""
        return self._rows(instruments, expected=-np.ones(1), wealth=np.ones(1), limit=np.array([-1 - self.limit]))

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Expected gain over the account's value before."""
        return self._measured(float(outlook.probabilities @ trade.gains(outlook)))


@dataclass(frozen=True, eq=False)
class ScenarioFloor(LinearRule):
    """The return after costs is at least `limits_k` in every scenario of `names`: r_k + W − 1 ≥ limits_k."""

    names: tuple[str, ...]
    limits: tuple[float, ...]
    tier: int = 0
    key: str = ""
    kind, words = "return in a scenario", "return in {name} at least {limit}"
    at_most = False

    @property
    def ids(self) -> Sequence[RuleId]:
        """One key states them all."""
        return [replace(one, shared=self.key) for one in super().ids]

    def rows(self, instruments: int) -> RuleRows:
        """One row a scenario."""
        count = len(self.names)
        limit = -1 - np.array(self.limits)
        return self._rows(instruments, gains=-np.eye(count), wealth=np.ones(count), limit=limit)

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Gain in each scenario over the account's value before."""
        return self._measured(*map(float, trade.gains(outlook)))


@dataclass(frozen=True, eq=False)
class StressFloor(OneLimit, LinearRule):
    """Under a named shock at most `limit` is lost, costs included: −shock'h + 1 − W ≤ limit.

    `shock` (N,) are simple returns of the instruments; cash does not move.
    """

    name: str
    shock: Vector
    limit: float
    tier: int = 0
    key: str = ""
    kind, words, below_zero = "loss under a shock", "loss under {name} at most {limit}", "gain of "

    def rows(self, instruments: int) -> RuleRows:
        """One row."""
        slope, limit = -self.shock[None, :], np.array([self.limit - 1])
        return self._rows(instruments, holdings=slope, wealth=np.ones(1), limit=limit)

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Loss over the account's value before."""
        del outlook
        after = trade.value + float(self.shock @ trade.values)
        return self._measured(1 - after / trade.value_before)
