"""Linear rules on what is traded: turnover, participation in the market's volume, names that stay or must go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from allocator.ambiguity.sets import Ambiguity
from allocator.outlook.outlook import Outlook
from allocator.rules.rows import LinearRule, OneLimit, RuleId, RuleMeasurement, RuleRows, Trade, selection_matrix
from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class Turnover(OneLimit, LinearRule):
    """At most `limit` of the account changes hands: max(Σb, Σs) ≤ limit, of the value before trading.

    Without costs this is ½‖w − w₀‖₁ with cash counted as a name (one-way turnover). Purchases and sales are two rows of
    one limit.
    """

    limit: float
    tier: int = 0
    key: str = ""
    kind = "turnover"
    words = "turnover at most {limit}{name}"
    names = " (purchases)", " (sales)"

    @property
    def limits(self) -> tuple[float, ...]:  # type: ignore[override]
        """One and the same."""
        return self.limit, self.limit

    @property
    def limit_labels(self) -> Sequence[str]:
        """One and the same."""
        return [self.words.format(name="", limit=self._in_words(self.limit))] * 2

    @property
    def ids(self) -> Sequence[RuleId]:
        """One and the same."""
        return [RuleId(self.kind, "", self.key)] * 2

    def rows(self, instruments: int) -> RuleRows:
        """One row for purchases, one for sales."""
        bought = sp.csr_array(np.outer([1.0, 0.0], np.ones(instruments)))
        sold = sp.csr_array(np.outer([0.0, 1.0], np.ones(instruments)))
        return self._rows(instruments, buys=bought, sells=sold, limit=np.full(2, self.limit))

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Money bought and sold, over the account's value before."""
        del outlook
        return self._measured(*(float(money.sum()) / trade.value_before for money in (trade.bought, trade.sold)))

    def with_limits(self, limits: Sequence[float]) -> Turnover:
        """Another limit, the wider of the two."""
        return replace(self, limit=max(limits))


@dataclass(frozen=True, eq=False)
class Participation(LinearRule):
    """No more of a name is traded than a part of what the market trades in a day: b_i + s_i ≤ limit·volumes_i.

    `volumes` (n,) are the money of an average day over the account's value before trading.
    """

    names: tuple[str, ...]
    at: tuple[int, ...]
    limits: tuple[float, ...]
    volumes: tuple[float, ...]
    tier: int = 0
    key: str = ""
    kind = "participation"
    words = "{name} traded at most {limit} of its daily volume"
    in_money = True

    @cached_property
    def ids(self) -> Sequence[RuleId]:
        """One key states them all."""
        return [RuleId(f"{self.kind} {self.sense:+.0f}", name, self.key, self.key) for name in self.names]

    def rows(self, instruments: int) -> RuleRows:
        """One row a name."""
        traded, volumes = selection_matrix(self.at, instruments), np.array(self.volumes)
        limit = np.array(self.limits) * volumes
        return self._rows(instruments, buys=traded, sells=traded, limit=limit, size=volumes)

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Money traded over the money of an average day; nothing traded is no part of any day, however thin."""
        traded, volumes = self._traded(trade), np.array(self.volumes)
        thin = np.where(traded == 0, 0.0, np.inf)
        parts = np.divide(traded, volumes, out=thin, where=volumes > 0)
        return self._measured(*parts.tolist(), beyond=self.missed(trade, outlook).tolist())

    def missed(self, trade: Trade, outlook: Outlook) -> Vector:
        """Money traded beyond what may be."""
        del outlook
        return np.asarray(self._traded(trade) - np.array(self.limits) * np.array(self.volumes))

    def _traded(self, trade: Trade) -> Vector:
        """(n,) parts of the account before trading."""
        return np.asarray((trade.bought + trade.sold)[list(self.at)] / trade.value_before)

    def at_review(self, day: date, growth: Vector, ambiguity: Ambiguity) -> Participation:
        """A day's volume in money grows with the price."""
        del day, ambiguity
        return replace(self, volumes=tuple(np.array(self.volumes) * growth[list(self.at)]))

    def rescaled(self, wealth_before: float) -> Participation:
        """A day's volume is a smaller part of a larger account."""
        return replace(self, volumes=tuple(volume / wealth_before for volume in self.volumes))


class _NothingOfEach(LinearRule):
    """A rule that leaves several names nothing: there is no limit to ease."""

    has_limits = False

    @property
    def limits(self) -> tuple[float, ...]:  # type: ignore[override]
        return (0.0,) * len(self.names)

    def with_limits(self, limits: Sequence[float]) -> _NothingOfEach:
        del limits
        return self


@dataclass(frozen=True, eq=False)
class NoTrade(_NothingOfEach):
    """Instruments that are not traded `until` a day stay as they are: b_i + s_i ≤ 0; None is for good, and `why`."""

    names: tuple[str, ...]
    at: tuple[int, ...]
    until: date | None = None
    tier: int = 0
    key: str = ""
    why: str = "locked"
    kind = "no trade"

    @property
    def words(self) -> str:  # type: ignore[override]
        """Whether it is for good."""
        return f"{{name}} is {self.why}" if self.until is None else "{name} is not tradable yet"

    @property
    def untradable(self) -> Sequence[int]:
        """All of them."""
        return self.at

    def rows(self, instruments: int) -> RuleRows:
        """One row a name."""
        traded = selection_matrix(self.at, instruments)
        return self._rows(instruments, buys=traded, sells=traded)

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Money traded, over the account's value before."""
        del outlook
        return self._measured(*(float(trade.bought[i] + trade.sold[i]) / trade.value_before for i in self.at))

    def at_review(self, day: date, growth: Vector, ambiguity: Ambiguity) -> NoTrade | None:
        """A lock that has ended is gone."""
        del growth, ambiguity
        return self if self.until is None or self.until > day else None


@dataclass(frozen=True, eq=False)
class Forbidden(_NothingOfEach):
    """Instruments of which nothing may be left: h_i ≤ 0."""

    names: tuple[str, ...]
    at: tuple[int, ...]
    tier: int = 0
    key: str = ""
    kind = "forbidden"
    words = "{name} is forbidden"

    def rows(self, instruments: int) -> RuleRows:
        """One row a name."""
        return self._rows(instruments, holdings=selection_matrix(self.at, instruments))

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Weights after the trades."""
        del outlook
        return self._measured(*(float(trade.values[i]) / trade.value for i in self.at))
