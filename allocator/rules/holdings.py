"""Linear rules on what is held: ranges of names, groups, exposures, and one group against another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from allocator.outlook.outlook import Outlook
from allocator.rules.rows import (
    NUMBER,
    TIMES,
    RuleMeasurement,
    RuleRows,
    Trade,
    format_limit_percent,
    linear_rows,
    selection_matrix,
)
from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class InstrumentCaps:
    """No instrument weighs more than its cap: h_i ≤ caps_i·W. `caps` (n,) belong to the positions `at`."""

    names: tuple[str, ...]
    at: tuple[int, ...]
    caps: tuple[float, ...]
    tier: int = 0

    def rows(self, instruments: int) -> RuleRows:
        """One row a capped instrument."""
        labels = [
            f"{name} at most {format_limit_percent(cap)}" for name, cap in zip(self.names, self.caps, strict=True)
        ]
        return linear_rows(
            labels,
            instruments,
            holdings=selection_matrix(self.at, instruments),
            wealth=np.array(self.caps),
            stated=self.caps,
            tier=self.tier,
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Weights after the trades."""
        del outlook
        weights = trade.weights
        return [
            RuleMeasurement(f"{name} at most {format_limit_percent(cap)}", float(weights[i]), cap, at_most=True)
            for name, i, cap in zip(self.names, self.at, self.caps, strict=True)
        ]

    def with_limits(self, limits: Sequence[float]) -> InstrumentCaps:
        """Other caps."""
        return replace(self, caps=tuple(limits))


@dataclass(frozen=True, eq=False)
class InstrumentFloors:
    """No instrument weighs less than its floor: h_i ≥ floors_i·W."""

    names: tuple[str, ...]
    at: tuple[int, ...]
    floors: tuple[float, ...]
    tier: int = 0

    def rows(self, instruments: int) -> RuleRows:
        """One row an instrument with a floor."""
        labels = [
            f"{name} at least {format_limit_percent(floor)}"
            for name, floor in zip(self.names, self.floors, strict=True)
        ]
        return linear_rows(
            labels,
            instruments,
            holdings=-selection_matrix(self.at, instruments),
            wealth=-np.array(self.floors),
            stated=self.floors,
            sense=-1.0,
            tier=self.tier,
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Weights after the trades."""
        del outlook
        weights = trade.weights
        return [
            RuleMeasurement(f"{name} at least {format_limit_percent(floor)}", float(weights[i]), floor, at_most=False)
            for name, i, floor in zip(self.names, self.at, self.floors, strict=True)
        ]

    def with_limits(self, limits: Sequence[float]) -> InstrumentFloors:
        """Other floors."""
        return replace(self, floors=tuple(limits))


@dataclass(frozen=True, eq=False)
class WeightAtMost:
    """A group weighs at most `limit`: Σ shares_i·h_i ≤ limit·W. `shares` (N,) in [0, 1] say how much of each counts."""

    name: str
    shares: Vector
    limit: float
    cash_share: float = 0.0
    tier: int = 0

    def rows(self, instruments: int) -> RuleRows:
        """One row."""
        return linear_rows(
            [f"{self.name} at most {format_limit_percent(self.limit)}"],
            instruments,
            holdings=sp.csr_array(self.shares[None, :]),
            cash=np.array([self.cash_share]),
            wealth=np.array([self.limit]),
            stated=[self.limit],
            tier=self.tier,
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """The group's share of the account after the trades."""
        del outlook
        held = (float(self.shares @ trade.values) + self.cash_share * trade.cash) / trade.value
        return [
            RuleMeasurement(f"{self.name} at most {format_limit_percent(self.limit)}", held, self.limit, at_most=True)
        ]

    def with_limits(self, limits: Sequence[float]) -> WeightAtMost:
        """Another limit."""
        return replace(self, limit=limits[0])


@dataclass(frozen=True, eq=False)
class WeightAtLeast:
    """A group weighs at least `limit`: Σ shares_i·h_i ≥ limit·W."""

    name: str
    shares: Vector
    limit: float
    cash_share: float = 0.0
    tier: int = 0

    def rows(self, instruments: int) -> RuleRows:
        """One row."""
        return linear_rows(
            [f"{self.name} at least {format_limit_percent(self.limit)}"],
            instruments,
            holdings=-sp.csr_array(self.shares[None, :]),
            cash=np.array([-self.cash_share]),
            wealth=np.array([-self.limit]),
            stated=[self.limit],
            sense=-1.0,
            tier=self.tier,
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """The group's share of the account after the trades."""
        del outlook
        held = (float(self.shares @ trade.values) + self.cash_share * trade.cash) / trade.value
        return [
            RuleMeasurement(f"{self.name} at least {format_limit_percent(self.limit)}", held, self.limit, at_most=False)
        ]

    def with_limits(self, limits: Sequence[float]) -> WeightAtLeast:
        """Another limit."""
        return replace(self, limit=limits[0])


@dataclass(frozen=True, eq=False)
class ExposureLimit:
    """The account's exposure stays on its side of `limit`: Σ exposures_i·h_i ≤ limit·W, or ≥ where not `at_most`.

    `exposures` (N,) are any numbers: betas, factor loadings, a column of exposures.csv. Cash has none.
    """

    name: str
    exposures: Vector
    limit: float
    at_most: bool = True
    tier: int = 0

    @property
    def _label(self) -> str:
        return f"exposure {self.name} at {'most' if self.at_most else 'least'} {self.limit:.6g}"

    def rows(self, instruments: int) -> RuleRows:
        """One row, in units of the largest exposure: a column may count in millions."""
        sense = 1.0 if self.at_most else -1.0
        return linear_rows(
            [self._label],
            instruments,
            holdings=sp.csr_array(sense * self.exposures[None, :] / self._largest),
            wealth=np.array([sense * self.limit / self._largest]),
            stated=[self.limit],
            sense=sense,
            tier=self.tier,
            size=np.array([1 / self._largest]),
            unit=NUMBER,
        )

    @property
    def _largest(self) -> float:
        return max(float(np.abs(self.exposures).max(initial=0.0)), 1.0)

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """The exposure after the trades."""
        del outlook
        measured = float(self.exposures @ trade.values) / trade.value
        beyond = (measured - self.limit) * (1.0 if self.at_most else -1.0)
        return [RuleMeasurement(self._label, measured, self.limit, self.at_most, NUMBER, beyond / self._largest)]

    def with_limits(self, limits: Sequence[float]) -> ExposureLimit:
        """Another limit."""
        return replace(self, limit=limits[0])


@dataclass(frozen=True, eq=False)
class RatioLimit:
    """One group against another: Σ of_i·h_i ≤ limit·Σ to_i·h_i, or ≥ where not `at_most`; 0 ≤ 0 holds.

    `of` and `to` (N,) say how much of each instrument counts, `of_cash` and `to_cash` how much of cash.
    """

    name: str
    of: Vector
    to: Vector
    limit: float
    at_most: bool = True
    of_cash: float = 0.0
    to_cash: float = 0.0
    tier: int = 0

    @property
    def _label(self) -> str:
        """`name` holds the place of the limit: capital_intensity at most {} efficiency."""
        return self.name.format(f"{'at most' if self.at_most else 'at least'} {self.limit:.6g} x")

    def rows(self, instruments: int) -> RuleRows:
        """One row."""
        sense = 1.0 if self.at_most else -1.0
        return linear_rows(
            [self._label],
            instruments,
            holdings=sp.csr_array(sense * (self.of - self.limit * self.to)[None, :]),
            cash=np.array([sense * (self.of_cash - self.limit * self.to_cash)]),
            stated=[self.limit],
            sense=sense,
            tier=self.tier,
            unit=TIMES,
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """How many times the second group the first is; without any of the second, nothing or infinitely many."""
        del outlook
        first = float(self.of @ trade.values) + self.of_cash * trade.cash
        second = float(self.to @ trade.values) + self.to_cash * trade.cash
        if second <= 1e-12 * trade.value:
            empty = first <= 1e-12 * trade.value
            measured = self.limit if empty else np.inf
        else:
            measured = first / second
        beyond = (first - self.limit * second) * (1.0 if self.at_most else -1.0)
        return [RuleMeasurement(self._label, measured, self.limit, self.at_most, TIMES, beyond / trade.value)]

    def with_limits(self, limits: Sequence[float]) -> RatioLimit:
        """Another limit."""
        return replace(self, limit=limits[0])
