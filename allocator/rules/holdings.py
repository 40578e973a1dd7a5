"""Linear rules on what is held: ranges of names, groups, exposures, and one group against another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.ambiguity.sets import Ambiguity
from allocator.outlook.outlook import Outlook
from allocator.rules.rows import (
    AIM,
    COUNT,
    NUMBER,
    TIMES,
    FewNames,
    LinearRule,
    OneLimit,
    RuleId,
    RuleMeasurement,
    RuleRows,
    Trade,
    format_limit_percent,
    selection_matrix,
)
from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class _InstrumentLimits(LinearRule):
    """Each instrument's weight on its side of its limit; `limits` (n,) belong to the positions `at`.

    `keys` are each limit's own and the one that is `shared`, where that states it.
    """

    names: tuple[str, ...]
    at: tuple[int, ...]
    limits: tuple[float, ...]
    tier: int = 0
    keys: tuple[tuple[str, str], ...] = ()
    kind, words = "weight", "{name} {side} {limit}"

    @cached_property
    def ids(self) -> Sequence[RuleId]:
        """With each one's keys."""
        kind, keys = f"{self.kind} {self.sense:+.0f}", self.keys or (("", ""),) * len(self.names)
        return [RuleId(kind, name, own, shared) for name, (own, shared) in zip(self.names, keys, strict=True)]

    def rows(self, instruments: int) -> RuleRows:
        """One row a name."""
        held = selection_matrix(self.at, instruments, self.sense)
        return self._rows(instruments, holdings=held, wealth=self.sense * np.array(self.limits))

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Weights after the trades."""
        del outlook
        return self._measured(*trade.weights[list(self.at)].tolist())

    def missed(self, trade: Trade, outlook: Outlook) -> Vector:
        """The same weights against their limits."""
        del outlook
        return np.asarray(self.sense * (trade.weights[list(self.at)] - np.array(self.limits)))


class InstrumentCaps(_InstrumentLimits):
    """No instrument weighs more than its cap: h_i ≤ limits_i·W."""


class InstrumentFloors(_InstrumentLimits):
    """No instrument weighs less than its floor: h_i ≥ limits_i·W."""

    at_most = False


@dataclass(frozen=True, eq=False)
class _WeightLimit(OneLimit, LinearRule):
    """A group's weight Σ shares_i·h_i + cash_share·c on its side of limit·W."""

    name: str
    shares: Vector
    limit: float
    cash_share: float = 0.0
    tier: int = 0
    key: str = ""
    shared: str = ""
    kind, words = "group", "{name} {side} {limit}"

    @property
    def ids(self) -> Sequence[RuleId]:
        """With the key that is shared."""
        return [RuleId(f"{self.kind} {self.sense:+.0f}", self.name, self.key, self.shared)]

    def rows(self, instruments: int) -> RuleRows:
        """One row."""
        return self._rows(
            instruments,
            holdings=self.sense * self.shares[None, :],
            cash=np.array([self.sense * self.cash_share]),
            wealth=np.array([self.sense * self.limit]),
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """The group's share of the account after the trades."""
        del outlook
        return self._measured(self._share(trade))

    def missed(self, trade: Trade, outlook: Outlook) -> Vector:
        """The same share against its limit."""
        del outlook
        return np.array([self.sense * (self._share(trade) - self.limit)])

    def _share(self, trade: Trade) -> float:
        return (float(self.shares @ trade.values) + self.cash_share * trade.cash) / trade.value


class WeightAtMost(_WeightLimit):
    """A group weighs at most `limit`: Σ shares_i·h_i ≤ limit·W. `shares` (N,) in [0, 1] say how much of each counts."""


class WeightAtLeast(_WeightLimit):
    """A group weighs at least `limit`: Σ shares_i·h_i ≥ limit·W."""

    at_most = False


@dataclass(frozen=True, eq=False)
class Band(OneLimit, LinearRule):
    """A weight w = (Σ shares_i·h_i + cash_share·c) / W within `limit` of `target`: two rows, above and below, of one
    limit.
    """

    name: str
    shares: Vector
    target: float
    limit: float
    cash_share: float = 0.0
    tier: int = 0
    key: str = ""
    kind = "band"

    @property
    def limits(self) -> tuple[float, ...]:  # type: ignore[override]
        """One and the same."""
        return self.limit, self.limit

    @property
    def labels(self) -> Sequence[str]:
        """One a side."""
        return [f"{label} ({side})" for label, side in zip(self.limit_labels, ("above", "below"), strict=True)]

    @property
    def limit_labels(self) -> Sequence[str]:
        """One and the same."""
        return [f"{self.name} within {self._in_words(self.limit)} of {format_limit_percent(self.target)}"] * 2

    @property
    def ids(self) -> Sequence[RuleId]:
        """One and the same."""
        return [RuleId(self.kind, self.name, self.key)] * 2

    def rows(self, instruments: int) -> RuleRows:
        """w - target and target - w, of the account's value."""
        sides, shares = np.array([1.0, -1.0]), np.outer([1.0, -1.0], self.shares)
        return self._rows(
            instruments,
            holdings=shares,
            cash=sides * self.cash_share,
            wealth=sides * self.target + self.limit,
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """How far it is above the target, and below."""
        del outlook
        weight = (float(self.shares @ trade.values) + self.cash_share * trade.cash) / trade.value
        return self._measured(weight - self.target, self.target - weight)

    def with_limits(self, limits: Sequence[float]) -> Self:
        """Another limit, the wider of the two."""
        return replace(self, limit=max(limits))


class Destination(Band):
    """Where a band brings today what is outside of it, as near as limits and whole lots let it."""

    tier = AIM
    kind = "destination"

    @property
    def limit_labels(self) -> Sequence[str]:
        """Without how near."""
        return [f"{self.name} at {format_limit_percent(self.target)}"] * 2

    def at_review(self, day: date, growth: Vector, ambiguity: Ambiguity) -> None:
        """It is today's."""
        del day, growth, ambiguity


@dataclass(frozen=True, eq=False)
class ExposureLimit(OneLimit, LinearRule):
    """The account's exposure stays on its side of `limit`: Σ exposures_i·h_i ≤ limit·W, or ≥ where not `at_most`.

    `exposures` (N,) are any numbers: betas, factor loadings, a column of exposures.csv. Cash has none.
    """

    name: str
    exposures: Vector
    limit: float
    at_most: bool = True
    tier: int = 0
    key: str = ""
    kind, words = "exposure", "exposure {name} {side} {limit}"
    unit = NUMBER

    def rows(self, instruments: int) -> RuleRows:
        """One row, in units of the largest exposure: a column may count in millions."""
        return self._rows(
            instruments,
            holdings=self.sense * self.exposures[None, :] / self._largest,
            wealth=np.array([self.sense * self.limit / self._largest]),
            size=np.array([1 / self._largest]),
        )

    @property
    def _largest(self) -> float:
        return max(float(np.abs(self.exposures).max(initial=0.0)), 1.0)

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """The exposure after the trades."""
        del outlook
        measured = float(self.exposures @ trade.values) / trade.value
        return self._measured(measured, beyond=[(measured - self.limit) * self.sense / self._largest])


@dataclass(frozen=True, eq=False)
class RatioLimit(OneLimit, LinearRule):
    """One group against another: Σ of_i·h_i ≤ limit·Σ to_i·h_i, or ≥ where not `at_most`; 0 ≤ 0 holds.

    `of` and `to` (N,) say how much of each instrument counts, `of_cash` and `to_cash` how much of cash. `pair` holds
    the place of the limit: chips {} power; `name` is what the book calls the ratio.
    """

    pair: str
    of: Vector
    to: Vector
    limit: float
    at_most: bool = True
    of_cash: float = 0.0
    to_cash: float = 0.0
    tier: int = 0
    name: str = ""
    key: str = ""
    kind, unit = "ratio", TIMES

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Its own, or that of the groups."""
        return (self.name or self.pair,)

    @property
    def words(self) -> str:  # type: ignore[override]
        """The limit stands between the groups."""
        return self.pair.format("{side} {limit}")

    def rows(self, instruments: int) -> RuleRows:
        """One row."""
        return self._rows(
            instruments,
            holdings=self.sense * (self.of - self.limit * self.to)[None, :],
            cash=np.array([self.sense * (self.of_cash - self.limit * self.to_cash)]),
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
        return self._measured(measured, beyond=[(first - self.limit * second) * self.sense / trade.value])


@dataclass(frozen=True, eq=False)
class NameCount(OneLimit, LinearRule):
    """At most `limit` names are held. Which ones is chosen by a search; until then its row is what fractions can say of
    that, Σ h_i/caps_i ≤ limit·W, and from then on that nothing is held of the names that are not `chosen`.
    """

    limit: float
    caps: Vector
    key: str = ""
    chosen: NDArray[np.bool_] | None = None
    tier = 0
    kind, unit = "names", COUNT

    @property
    def labels(self) -> Sequence[str]:
        """One."""
        return [names_label(self.limit)]

    @property
    def has_limits(self) -> bool:
        """Of names that are chosen none is left to move."""
        return self.chosen is None

    @property
    def few_names(self) -> FewNames | None:  # type: ignore[override]
        """How many."""
        return FewNames(most=self.limit) if self.chosen is None else None

    def with_limits(self, limits: Sequence[float]) -> Self:
        """Of names that are chosen none is moved."""
        return self if self.chosen is not None else super().with_limits(limits)

    def choosing(self, held: NDArray[np.bool_] | None) -> NameCount:
        """These."""
        return replace(self, chosen=held)

    def rows(self, instruments: int) -> RuleRows:
        """One row."""
        if self.chosen is not None:
            return self._rows(instruments, holdings=(~self.chosen).astype(float)[None, :])
        shares = np.divide(1.0, self.caps, out=np.ones(instruments), where=self.caps > 0)
        return self._rows(instruments, holdings=shares[None, :], wealth=np.array([self.limit]))

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """How many are held; what is held of those beyond is what the limit is missed by."""
        del outlook
        weights = np.sort(trade.weights)[::-1]
        count, most = float((weights > 0).sum()), int(self.limit)
        return self._measured(count, beyond=[float(weights[most:].sum()) if count > most else count - self.limit])


def names_label(most: float) -> str:
    """At most so many names, in words."""
    return f"at most {most:z.6g} name{'' if most == 1 else 's'} held"


@dataclass(frozen=True, eq=False)
class MinimumPosition(LinearRule):
    """Each name is held with nothing or at least its limit: h_i = 0 or h_i ≥ limit_i·W. Which of the two is chosen by a
    search; until then no row says anything.
    """

    names: tuple[str, ...]
    limits: tuple[float, ...]
    key: str = ""
    chosen: NDArray[np.bool_] | None = None
    tier = 0
    kind, words, at_most = "position", "{name} nothing or {side} {limit}", False

    @property
    def few_names(self) -> FewNames | None:  # type: ignore[override]
        """How much of each."""
        return FewNames(least=max(self.limits)) if self.chosen is None else None

    @property
    def ids(self) -> Sequence[RuleId]:
        """One and the same."""
        return [RuleId(self.kind, "", self.key)] * len(self.names)

    @property
    def limit_labels(self) -> Sequence[str]:
        """One and the same."""
        return [f"every name nothing or at least {self._in_words(max(self.limits))}"] * len(self.names)

    def with_limits(self, limits: Sequence[float]) -> MinimumPosition:
        """Another limit, the least of them."""
        return replace(self, limits=(min(limits),) * len(self.names))

    def choosing(self, held: NDArray[np.bool_] | None) -> MinimumPosition:
        """These."""
        return replace(self, chosen=held)

    def rows(self, instruments: int) -> RuleRows:
        """One row a name: a floor where it is held, else a cap of nothing."""
        if self.chosen is None:
            return self._rows(instruments)
        held = sp.csr_array(sp.diags_array(np.where(self.chosen, -1.0, 1.0)))
        return self._rows(instruments, holdings=held, wealth=np.where(self.chosen, -np.array(self.limits), 0.0))

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Weights of what is held; of nothing there is none to be too small."""
        beyond, weights = self.missed(trade, outlook), trade.weights
        return self._measured(*np.where(trade.values > 0, weights, np.inf).tolist(), beyond=beyond.tolist())

    def missed(self, trade: Trade, outlook: Outlook) -> Vector:
        """How much is missing of a position, or how much there is of it, whichever is less."""
        del outlook
        limits, weights = np.array(self.limits), trade.weights
        return np.where(weights > 0, np.minimum(limits - weights, weights), -limits)
