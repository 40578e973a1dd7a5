"""Linear rules on what is traded: turnover, one way alone, the market's volume, what is paid out, names that stay, must
go, or may not be bought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

import numpy as np

from allocator.ambiguity.sets import Ambiguity
from allocator.outlook.outlook import Outlook
from allocator.rules.rows import AIM, LinearRule, OneLimit, RuleId, RuleMeasurement, RuleRows, Trade, selection_matrix
from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class Turnover(OneLimit, LinearRule):
    """At most `limit` of the account changes hands: max(Σb, Σs) ≤ limit, of the value before trading.

    Without costs this is ½‖w − w₀‖₁ with cash counted as a name (one-way turnover). Purchases and sales are two rows of
    one limit. Of a limit over the last `months`, what was `used` before is no longer there to be traded.
    """

    limit: float
    tier: int = 0
    key: str = ""
    used: float = 0.0
    months: int | None = None
    kind = "turnover"
    names = " (purchases)", " (sales)"

    @property
    def words(self) -> str:  # type: ignore[override]
        """Of which window, and what of it was used."""
        if self.months is None:
            return "turnover at most {limit}{name}"
        return f"turnover in {self.months} months at most {{limit}} ({100 * self.used:.3g}% used){{name}}"

    @property
    def limits(self) -> tuple[float, ...]:  # type: ignore[override]
        """One and the same."""
        return self.limit, self.limit

    @property
    def _left(self) -> float:
        """What may be traded; nothing where fills came to more than was ordered."""
        return max(self.limit - self.used, 0.0)

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
        every, nothing = np.ones(instruments), np.zeros(instruments)
        traded = {"buys": np.array([every, nothing]), "sells": np.array([nothing, every])}
        return self._rows(instruments, **traded, limit=np.full(2, self._left))

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Money bought and sold, over the account's value before, and what was used of the limit before."""
        del outlook
        before = self.limit - self._left
        return self._measured(
            *(before + float(money.sum()) / trade.value_before for money in (trade.bought, trade.sold))
        )

    def with_limits(self, limits: Sequence[float]) -> Turnover:
        """Another limit, the wider of the two."""
        return replace(self, limit=max(limits))


@dataclass(frozen=True, eq=False)
class OneWay(OneLimit, LinearRule):
    """Nothing is sold (or bought), or no more than `limit` of the account's value before trading: Σs ≤ limit."""

    name: str
    limit: float
    tier: int = 0
    key: str = ""
    kind = "one way"

    @property
    def words(self) -> str:  # type: ignore[override]
        """Without a limit where it is nothing."""
        return "no {name} beyond {limit}" if self.limit else "no {name}"

    def rows(self, instruments: int) -> RuleRows:
        """One row."""
        every = np.ones((1, instruments))
        traded = {"sells": every} if self.name == "sales" else {"buys": every}
        return self._rows(instruments, **traded, limit=np.array([self.limit]))

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Money traded that way, over the account's value before."""
        del outlook
        traded = trade.sold if self.name == "sales" else trade.bought
        return self._measured(float(traded.sum()) / trade.value_before)


@dataclass(frozen=True, eq=False)
class LeftAlone(OneLimit, LinearRule):
    """What is inside its band is neither bought nor sold, a group together: |Σ shares_i·(b_i − s_i)| ≤ limit, which is
    nothing unless limits or whole lots need it.
    """

    name: str
    shares: Vector
    limit: float = 0.0
    tier: int = AIM
    kind = "left alone"

    @property
    def limits(self) -> tuple[float, ...]:  # type: ignore[override]
        """One and the same."""
        return self.limit, self.limit

    @property
    def labels(self) -> Sequence[str]:
        """One a way."""
        return [f"{self.name} left alone ({way})" for way in ("purchases", "sales")]

    @property
    def limit_labels(self) -> Sequence[str]:
        """One and the same."""
        return [f"{self.name} left alone"] * 2

    @property
    def ids(self) -> Sequence[RuleId]:
        """One and the same."""
        return [RuleId(self.kind, self.name)] * 2

    def rows(self, instruments: int) -> RuleRows:
        """One row for more of it, one for less."""
        more = np.outer([1.0, -1.0], self.shares)
        return self._rows(instruments, buys=more, sells=-more, limit=np.full(2, self.limit))

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Money that it grew by, and shrank by, over the account's value before."""
        del outlook
        more = float(self.shares @ (trade.bought - trade.sold)) / trade.value_before
        return self._measured(more, -more)

    def with_limits(self, limits: Sequence[float]) -> LeftAlone:
        """Another limit, the wider of the two."""
        return replace(self, limit=max(limits))

    def at_review(self, day: date, growth: Vector, ambiguity: Ambiguity) -> None:
        """It is today's."""
        del day, growth, ambiguity


@dataclass(frozen=True, eq=False)
class PaidOut(OneLimit, LinearRule):
    """At least `limit` of money can be paid out, where the account is valued as if `amount` were: no less than nothing
    is left of cash. `value` is the account's without that money.
    """

    limit: float
    amount: float
    value: float
    currency: str
    key: str = ""
    tier = 0
    kind, words, at_most, in_money = "paid out", "{limit} paid out", False, True

    @property
    def unit(self) -> str:  # type: ignore[override]
        """Money."""
        return f" {self.currency}"

    def rows(self, instruments: int) -> RuleRows:
        """One row: cash is what is left of the amount."""
        limit, size = np.array([(self.amount - self.limit) / self.value]), np.array([1 / self.value])
        return self._rows(instruments, cash=np.array([-1.0]), limit=limit, size=size)

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """What could be paid out, with all the cash there is."""
        del outlook
        paid = self.amount + trade.cash * self.value / trade.value_before
        return self._measured(paid, beyond=[(self.limit - paid) / self.value])

    def at_review(self, day: date, growth: Vector, ambiguity: Ambiguity) -> None:
        """It is paid out today."""
        del day, growth, ambiguity

    def _in_words(self, limit: float) -> str:
        return f"{limit:,.12g} {self.currency}"


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


@dataclass(frozen=True, eq=False)
class NotEligible(_NothingOfEach):
    """Instruments of which nothing is bought, as they are not on the list: b_i ≤ 0."""

    names: tuple[str, ...]
    at: tuple[int, ...]
    tier: int = 0
    key: str = ""
    kind = "not eligible"
    words = "{name} is not eligible"

    @property
    def ids(self) -> Sequence[RuleId]:
        """It joins the list to be bought."""
        return [replace(one, joins=True) for one in super().ids]

    def rows(self, instruments: int) -> RuleRows:
        """One row a name."""
        return self._rows(instruments, buys=selection_matrix(self.at, instruments))

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Money spent on each, over the account's value before."""
        del outlook
        return self._measured(*(float(trade.bought[i]) / trade.value_before for i in self.at))
