"""A portfolio in money, a rule measured on it, and what every linear rule can say of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from allocator.mandate.rules.rows import PERCENT, Rows
from allocator.outlook.outlook import Outlook
from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class Trade:
    """A portfolio before and after, in money: (N,) `values` after, `bought`, `sold`; `cash` after `costs`."""

    values: Vector
    cash: float
    bought: Vector
    sold: Vector
    costs: float
    value_before: float

    @property
    def value(self) -> float:
        """Account value after the trades and their costs."""
        return float(self.values.sum()) + self.cash

    @property
    def weights(self) -> Vector:
        """(N,) fractions of the account's value after the trades."""
        return self.values / self.value


@dataclass(frozen=True)
class Reading:
    """One rule measured on one trade: it holds when `measured` is on the right side of `limit`."""

    label: str
    measured: float
    limit: float
    at_most: bool
    unit: str = PERCENT
    of_account: float | None = None
    """How far the rule is broken as a part of the account, where its own unit may be a million times that."""

    @property
    def missed(self) -> float:
        """How far the rule is broken as far as money goes, which is what a solver's last digits are measured in."""
        return self.excess if self.of_account is None else self.of_account

    @property
    def excess(self) -> float:
        """How far the rule is broken, in its own unit; negative is room to spare."""
        return self.measured - self.limit if self.at_most else self.limit - self.measured


def slack(rows: Rows, trade: Trade) -> Vector:
    """(R,) what rows with their gains written out leave on a trade, wealth before trading being 1."""
    before = trade.value_before
    used = rows.holdings @ trade.values + rows.cash * trade.cash + rows.buys @ trade.bought
    used = used + rows.sells @ trade.sold - rows.wealth * trade.value
    return np.asarray(rows.limit - used / before, dtype=np.float64)


@runtime_checkable
class LinearRule(Protocol):
    """What every linear rule can say of itself."""

    @property
    def tier(self) -> int:
        """0 for a rule that never gives way, else 1 (last) to 9 (first)."""
        ...

    def rows(self, instruments: int) -> Rows:
        """The formula as coefficients over `instruments` names."""
        ...

    def readings(self, trade: Trade, outlook: Outlook) -> Sequence[Reading]:
        """The formula on money, one reading a row, in the order of `rows`."""
        ...

    def eased(self, limits: Sequence[float]) -> LinearRule:
        """The same rule with other limits, one a row, in the order of `rows`."""
        ...
