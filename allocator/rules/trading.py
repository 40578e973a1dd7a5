"""Linear rules on what is traded: turnover, participation in the market's volume, names that stay or must go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from allocator.outlook.outlook import Outlook
from allocator.rules.rows import RuleMeasurement, RuleRows, Trade, format_limit_percent, linear_rows, selection_matrix


@dataclass(frozen=True, eq=False)
class Turnover:
    """At most `limit` of the account changes hands: max(Σb, Σs) ≤ limit, of the value before trading.

    Without costs this is ½‖w − w₀‖₁ with cash counted as a name (one-way turnover).
    """

    limit: float
    tier: int = 0

    def rows(self, instruments: int) -> RuleRows:
        """One row for purchases, one for sales."""
        ones = sp.csr_array(np.vstack([np.ones(instruments), np.zeros(instruments)]))
        sold = sp.csr_array(np.vstack([np.zeros(instruments), np.ones(instruments)]))
        return linear_rows(
            self._labels(),
            instruments,
            buys=ones,
            sells=sold,
            limit=np.full(2, self.limit),
            stated=[self.limit] * 2,
            tier=self.tier,
        )

    def _labels(self) -> list[str]:
        limit = f"turnover at most {format_limit_percent(self.limit)}"
        return [f"{limit} (purchases)", f"{limit} (sales)"]

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Money bought and sold, over the account's value before."""
        del outlook
        moved = (float(trade.bought.sum()), float(trade.sold.sum()))
        return [
            RuleMeasurement(label, money / trade.value_before, self.limit, at_most=True)
            for label, money in zip(self._labels(), moved, strict=True)
        ]

    def with_limits(self, limits: Sequence[float]) -> Turnover:
        """Another limit, the wider of the two."""
        return replace(self, limit=max(limits))


@dataclass(frozen=True, eq=False)
class Participation:
    """No more of a name is traded than a part of what the market trades in a day: b_i + s_i ≤ limit·volumes_i.

    `volumes` (n,) are the money of an average day over the account's value before trading.
    """

    names: tuple[str, ...]
    at: tuple[int, ...]
    limits: tuple[float, ...]
    volumes: tuple[float, ...]
    tier: int = 0

    def _labels(self) -> list[str]:
        return [
            f"{name} traded at most {format_limit_percent(limit)} of its daily volume"
            for name, limit in zip(self.names, self.limits, strict=True)
        ]

    def rows(self, instruments: int) -> RuleRows:
        """One row a name."""
        traded, volumes = selection_matrix(self.at, instruments), np.array(self.volumes)
        return linear_rows(
            self._labels(),
            instruments,
            buys=traded,
            sells=traded,
            limit=np.array(self.limits) * volumes,
            stated=self.limits,
            tier=self.tier,
            size=volumes,
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Money traded over the money of an average day; nothing traded is no part of any day, however thin."""
        del outlook
        found = []
        for label, i, limit, volume in zip(self._labels(), self.at, self.limits, self.volumes, strict=True):
            money = float(trade.bought[i] + trade.sold[i]) / trade.value_before
            measured = money / volume if volume > 0 else (0.0 if money == 0 else np.inf)
            beyond = money - limit * volume
            found.append(RuleMeasurement(label, measured, limit, at_most=True, of_account=beyond))
        return found

    def with_limits(self, limits: Sequence[float]) -> Participation:
        """Other parts of the day's volume."""
        return replace(self, limits=tuple(limits))


@dataclass(frozen=True, eq=False)
class NoTrade:
    """Instruments that are not traded stay as they are: b_i + s_i ≤ 0; `why` says so in words."""

    names: tuple[str, ...]
    at: tuple[int, ...]
    why: str = "is not tradable yet"
    tier: int = 0

    def rows(self, instruments: int) -> RuleRows:
        """One row a name."""
        traded = selection_matrix(self.at, instruments)
        return linear_rows([f"{name} {self.why}" for name in self.names], instruments, buys=traded, sells=traded)

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Money traded, over the account's value before."""
        del outlook
        return [
            RuleMeasurement(
                f"{name} {self.why}",
                float(trade.bought[i] + trade.sold[i]) / trade.value_before,
                0.0,
                at_most=True,
            )
            for name, i in zip(self.names, self.at, strict=True)
        ]

    def with_limits(self, limits: Sequence[float]) -> NoTrade:
        """There is nothing to ease."""
        del limits
        return self


@dataclass(frozen=True, eq=False)
class Forbidden:
    """Instruments of which nothing may be left: h_i ≤ 0."""

    names: tuple[str, ...]
    at: tuple[int, ...]
    tier: int = 0

    def rows(self, instruments: int) -> RuleRows:
        """One row a name."""
        return linear_rows(
            [f"{name} is forbidden" for name in self.names],
            instruments,
            holdings=selection_matrix(self.at, instruments),
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Weights after the trades."""
        del outlook
        return [
            RuleMeasurement(f"{name} is forbidden", float(trade.values[i]) / trade.value, 0.0, at_most=True)
            for name, i in zip(self.names, self.at, strict=True)
        ]

    def with_limits(self, limits: Sequence[float]) -> Forbidden:
        """There is nothing to ease."""
        del limits
        return self
