"""Rules: one frozen class, one formula.

A linear rule answers in two independent ways. `rows` is its formula as coefficients, which the program, the whole-lot
search and the lower bound share. `broken` is the same formula on money after the trades, in plain arithmetic, which is
what the certificate checks: it never sees a coefficient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import scipy.sparse as sp

from allocator.outlook.outlook import Outlook
from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class Rows:
    """R linear rows over one decision, wealth before trading being 1:

    holdings·h + cash·c + buys·b + sells·s + expected·(p'r) ≤ wealth·W + limit

    h (N,) holdings after the trades, c cash, b and s purchases and sales, W = Σh + c wealth after costs, p'r the
    expected gain before costs under the belief. Nothing here depends on the outlook, so rows are made once a mandate.
    """

    labels: tuple[str, ...]
    holdings: sp.csr_array
    cash: Vector
    buys: sp.csr_array
    sells: sp.csr_array
    expected: Vector
    wealth: Vector
    limit: Vector
    stated: Vector
    """The limit as the user wrote it; NaN where there is nothing to loosen."""
    sense: Vector
    """+1 for an 'at most' rule, -1 for an 'at least' rule: the direction in which loosening moves `stated`."""


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

    @property
    def excess(self) -> float:
        """How far the rule is broken, in its own unit; negative is room to spare."""
        return self.measured - self.limit if self.at_most else self.limit - self.measured


@runtime_checkable
class LinearRule(Protocol):
    """What every linear rule can say of itself."""

    def rows(self, instruments: int) -> Rows:
        """The formula as coefficients over `instruments` names."""
        ...

    def readings(self, trade: Trade, outlook: Outlook) -> Sequence[Reading]:
        """The formula on money, one reading a row, in the order of `rows`."""
        ...


def percent(fraction: float) -> str:
    """A limit as people write it: 0.125 is 12.5%."""
    return f"{fraction * 100:.6g}%"


def widened(limit: float, sense: float) -> str:
    """A limit to loosen to, rounded to a basis point in the direction of `sense`, so that a fix as printed works."""
    return percent(float(np.ceil(sense * limit * 1e4 - 1e-5) / 1e4 * sense + 0.0))


def some_rows(
    labels: Sequence[str],
    instruments: int,
    *,
    holdings: sp.csr_array | None = None,
    cash: Vector | None = None,
    buys: sp.csr_array | None = None,
    sells: sp.csr_array | None = None,
    expected: Vector | None = None,
    wealth: Vector | None = None,
    limit: Vector | None = None,
    stated: Sequence[float] | None = None,
    sense: float = 1.0,
) -> Rows:
    """Rows whose unnamed coefficients are zero."""
    count = len(labels)
    empty = sp.csr_array((count, instruments))
    zeros = np.zeros(count)
    return Rows(
        tuple(labels),
        empty if holdings is None else holdings,
        zeros if cash is None else cash,
        empty if buys is None else buys,
        empty if sells is None else sells,
        zeros if expected is None else expected,
        zeros if wealth is None else wealth,
        zeros if limit is None else limit,
        np.full(count, np.nan) if stated is None else np.array(stated),
        np.full(count, sense),
    )


@dataclass(frozen=True, eq=False)
class InstrumentCaps:
    """No instrument weighs more than its cap: h_i ≤ caps_i·W. `caps` (n,) belong to the positions `at`."""

    names: tuple[str, ...]
    at: tuple[int, ...]
    caps: tuple[float, ...]

    def rows(self, instruments: int) -> Rows:
        """One row a capped instrument."""
        labels = [f"{name} at most {percent(cap)}" for name, cap in zip(self.names, self.caps, strict=True)]
        return some_rows(
            labels, instruments, holdings=_picked(self.at, instruments), wealth=np.array(self.caps), stated=self.caps
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[Reading]:
        """Weights after the trades."""
        del outlook
        return [
            Reading(f"{name} at most {percent(cap)}", float(trade.values[i]) / trade.value, cap, at_most=True)
            for name, i, cap in zip(self.names, self.at, self.caps, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class InstrumentFloors:
    """No instrument weighs less than its floor: h_i ≥ floors_i·W."""

    names: tuple[str, ...]
    at: tuple[int, ...]
    floors: tuple[float, ...]

    def rows(self, instruments: int) -> Rows:
        """One row an instrument with a floor."""
        labels = [f"{name} at least {percent(floor)}" for name, floor in zip(self.names, self.floors, strict=True)]
        return some_rows(
            labels,
            instruments,
            holdings=-_picked(self.at, instruments),
            wealth=-np.array(self.floors),
            stated=self.floors,
            sense=-1.0,
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[Reading]:
        """Weights after the trades."""
        del outlook
        return [
            Reading(f"{name} at least {percent(floor)}", float(trade.values[i]) / trade.value, floor, at_most=False)
            for name, i, floor in zip(self.names, self.at, self.floors, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class AtMost:
    """A group weighs at most `limit`: Σ shares_i·h_i ≤ limit·W. `shares` (N,) in [0, 1] say how much of each counts."""

    name: str
    shares: Vector
    limit: float
    cash_share: float = 0.0

    def rows(self, instruments: int) -> Rows:
        """One row."""
        return some_rows(
            [f"{self.name} at most {percent(self.limit)}"],
            instruments,
            holdings=sp.csr_array(self.shares[None, :]),
            cash=np.array([self.cash_share]),
            wealth=np.array([self.limit]),
            stated=[self.limit],
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[Reading]:
        """The group's share of the account after the trades."""
        del outlook
        held = (float(self.shares @ trade.values) + self.cash_share * trade.cash) / trade.value
        return [Reading(f"{self.name} at most {percent(self.limit)}", held, self.limit, at_most=True)]


@dataclass(frozen=True, eq=False)
class AtLeast:
    """A group weighs at least `limit`: Σ shares_i·h_i ≥ limit·W."""

    name: str
    shares: Vector
    limit: float
    cash_share: float = 0.0

    def rows(self, instruments: int) -> Rows:
        """One row."""
        return some_rows(
            [f"{self.name} at least {percent(self.limit)}"],
            instruments,
            holdings=-sp.csr_array(self.shares[None, :]),
            cash=np.array([-self.cash_share]),
            wealth=np.array([-self.limit]),
            stated=[self.limit],
            sense=-1.0,
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[Reading]:
        """The group's share of the account after the trades."""
        del outlook
        held = (float(self.shares @ trade.values) + self.cash_share * trade.cash) / trade.value
        return [Reading(f"{self.name} at least {percent(self.limit)}", held, self.limit, at_most=False)]


@dataclass(frozen=True, eq=False)
class Turnover:
    """At most `limit` of the account changes hands: max(Σb, Σs) ≤ limit, of the value before trading.

    Without costs this is ½‖w − w₀‖₁ with cash counted as a name (one-way turnover).
    """

    limit: float

    def rows(self, instruments: int) -> Rows:
        """One row for purchases, one for sales."""
        ones = sp.csr_array(np.vstack([np.ones(instruments), np.zeros(instruments)]))
        sold = sp.csr_array(np.vstack([np.zeros(instruments), np.ones(instruments)]))
        return some_rows(
            self._labels(), instruments, buys=ones, sells=sold, limit=np.full(2, self.limit), stated=[self.limit] * 2
        )

    def _labels(self) -> list[str]:
        limit = f"turnover at most {percent(self.limit)}"
        return [f"{limit} (purchases)", f"{limit} (sales)"]

    def readings(self, trade: Trade, outlook: Outlook) -> list[Reading]:
        """Money bought and sold, over the account's value before."""
        del outlook
        moved = (float(trade.bought.sum()), float(trade.sold.sum()))
        return [
            Reading(label, money / trade.value_before, self.limit, at_most=True)
            for label, money in zip(self._labels(), moved, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class MinimumExpectedReturn:
    """The expected return after costs is at least `limit`: p'r + W − 1 ≥ limit."""

    limit: float

    def rows(self, instruments: int) -> Rows:
        """One row, over the expected gain."""
        return some_rows(
            [self._label()],
            instruments,
            expected=-np.ones(1),
            wealth=np.ones(1),
            limit=np.array([-1 - self.limit]),
            stated=[self.limit],
            sense=-1.0,
        )

    def _label(self) -> str:
        return f"expected return at least {percent(self.limit)}"

    def readings(self, trade: Trade, outlook: Outlook) -> list[Reading]:
        """Expected gain over the account's value before."""
        mean = float(outlook.probabilities @ outlook.portfolio_returns(trade.values, trade.cash))
        gain = (mean + trade.value - trade.value_before) / trade.value_before
        return [Reading(self._label(), gain, self.limit, at_most=False)]


@dataclass(frozen=True, eq=False)
class NoTrade:
    """Instruments that cannot be traded yet stay as they are: b_i + s_i ≤ 0."""

    names: tuple[str, ...]
    at: tuple[int, ...]

    def rows(self, instruments: int) -> Rows:
        """One row a name."""
        picked = _picked(self.at, instruments)
        return some_rows([f"{name} is not tradable yet" for name in self.names], instruments, buys=picked, sells=picked)

    def readings(self, trade: Trade, outlook: Outlook) -> list[Reading]:
        """Money traded, over the account's value before."""
        del outlook
        return [
            Reading(
                f"{name} is not tradable yet",
                float(trade.bought[i] + trade.sold[i]) / trade.value_before,
                0.0,
                at_most=True,
            )
            for name, i in zip(self.names, self.at, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class VolatilityLimit:
    """Annual volatility within a scenario is at most `limit`: √(h'Ωh) ≤ limit·√years·W. The one conic rule."""

    limit: float

    @property
    def label(self) -> str:
        """What the rule is called."""
        return f"volatility at most {percent(self.limit)}"

    def readings(self, trade: Trade, outlook: Outlook) -> list[Reading]:
        """Annual volatility of the portfolio after the trades."""
        variance = outlook.risk.variance(trade.weights)
        return [Reading(self.label, float(np.sqrt(variance / outlook.years)), self.limit, at_most=True)]


def _picked(at: Sequence[int], instruments: int) -> sp.csr_array:
    """(n, N) selection matrix."""
    count = len(at)
    return sp.csr_array((np.ones(count), (np.arange(count), np.asarray(at, dtype=int))), shape=(count, instruments))


def stacked(parts: Sequence[Rows], instruments: int) -> Rows:
    """All rows of all rules, one above the other."""
    if not parts:
        none = sp.csr_array((0, instruments))
        nothing = np.zeros(0)
        return Rows((), none, nothing, none, none, nothing, nothing, nothing, nothing, nothing)
    return Rows(
        tuple(label for part in parts for label in part.labels),
        sp.csr_array(sp.vstack([part.holdings for part in parts])),
        np.concatenate([part.cash for part in parts]),
        sp.csr_array(sp.vstack([part.buys for part in parts])),
        sp.csr_array(sp.vstack([part.sells for part in parts])),
        np.concatenate([part.expected for part in parts]),
        np.concatenate([part.wealth for part in parts]),
        np.concatenate([part.limit for part in parts]),
        np.concatenate([part.stated for part in parts]),
        np.concatenate([part.sense for part in parts]),
    )
