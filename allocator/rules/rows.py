"""Linear rules as coefficients over one decision, and how limits are written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from functools import cached_property, lru_cache
from typing import Any, Self, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.ambiguity.sets import Ambiguity
from allocator.outlook.outlook import Outlook
from allocator.presentation import LimitKind, LimitState
from allocator.types import Matrix, Vector

AMBER, BREACHED = 0.9, 1e-9
"""Use of a limit from which on it is told beside breaches, and what it must be missed by to be one."""
AIM = 10
"""The priority of what a band aims at: every limit goes before it, and it before the objective."""
PERCENT, NUMBER, TIMES, COUNT = "%", "", " x", " names"
"""The units that a limit is written in: a fraction in percent, a plain number, a multiple, how many names."""


@dataclass(frozen=True)
class RuleId:
    """Which limit of a mandate: it stays where the limit moves and the label with it.

    `key` of book.toml states it; where that is not written, `shared` is the one that states it of all alike.
    """

    kind: str
    name: str = ""
    key: str = ""
    shared: str = ""
    joins: bool = False
    """Where there is no limit: whether its name joins the list of its key to be rid of it, or leaves it."""


@dataclass(frozen=True)
class LooserLimit:
    """A limit moved to where it is looser, as printed: what fixes are made of. Without a limit a name leaves a
    list, or joins it.

    `label` is what people call it, or its key where it is the limit of several.
    """

    id: RuleId
    label: str
    limit: float | None
    sense: float = 1.0
    unit: str = PERCENT

    def in_words(self, name: str = "") -> str:
        """An instruction, `name` being how the limit was spoken of before."""
        if self.limit is None:
            return (
                f"add {self.id.name} to {self.id.key}" if self.id.joins else f"take {self.id.name} out of {self.id.key}"
            )
        name = name or (self.label if self.label == self.id.key else f"'{self.label}'")
        verb = "raise" if self.sense > 0 else "lower"
        return f"{verb} {name} to {format_limit(self.printed, self.unit)}"

    @property
    def printed(self) -> float:
        """The limit as it is printed, the number of the key: of names a whole one."""
        if self.unit == COUNT:
            return float(np.ceil((self.limit or 0.0) - 1e-6))
        return round_loosened(self.limit or 0.0, self.sense)

    def further(self, more: float) -> LooserLimit:
        """The same limit so much looser, in its own unit."""
        if self.limit is None or not more:
            return self
        return replace(self, limit=self.printed + self.sense * more * max(abs(self.printed), 1.0))


def one_key_one_limit(moves: Sequence[LooserLimit]) -> tuple[LooserLimit, ...]:
    """Limits that one key states are one, as loose as the loosest of them needs."""
    several = [move.id.shared for move in moves if move.id.shared]
    found: dict[tuple[str, str], list[LooserLimit]] = {}
    for move in moves:
        one = move
        if several.count(move.id.shared) > 1 or (move.id.key and move.id.key == move.id.shared):
            one = replace(move, id=RuleId(move.id.kind, "", move.id.shared, move.id.shared), label=move.id.shared)
        name = one.id.name if one.limit is None or not one.id.key else ""
        found.setdefault((one.id.key or one.id.kind, name), []).append(one)
    return tuple(_loosest(limits[0], limits) for limits in found.values())


def _loosest(first: LooserLimit, limits: Sequence[LooserLimit]) -> LooserLimit:
    """The loosest, called by its key where the limits have several names."""
    label = first.label if len({one.label for one in limits}) == 1 else first.id.key or first.label
    return replace(max(limits, key=lambda one: one.sense * (one.limit or 0.0)), label=label)


@dataclass(frozen=True, eq=False)
class RuleRows:
    """R linear rows over one decision, wealth before trading being 1:

    holdings·h + cash·c + buys·b + sells·s + expected·(p'r) + gains·r ≤ wealth·W + limit

    h (N,) holdings after the trades, c cash, b and s purchases and sales, W = Σh + c wealth after costs, r (K,) the
    gains before costs in each scenario, p'r their expectation under the belief. Made once a mandate: nothing here
    depends on the outlook, unless a tangent of a convex rule does.
    """

    labels: tuple[str, ...]
    holdings: sp.csr_array
    cash: Vector
    buys: sp.csr_array
    sells: sp.csr_array
    expected: Vector
    gains: Matrix
    """(R, K), or (R, 0) where no row looks at single scenarios."""
    wealth: Vector
    limit: Vector
    stated: Vector
    """The limit as the user wrote it; NaN where there is nothing to loosen."""
    sense: Vector
    """+1 for an 'at most' rule, -1 for an 'at least' rule: the direction in which loosening moves `stated`."""
    tier: Vector
    """0 for a hard rule; else its priority, from 1 (relaxed last) to 9 (relaxed first)."""
    size: Vector
    """How much the row's limit moves for one unit of `stated`, before `wealth` multiplies it."""
    unit: tuple[str, ...]
    """What `stated` is written in: PERCENT, NUMBER or TIMES."""
    ids: tuple[RuleId, ...]
    """Rows of one id are one limit, as purchases and sales are one turnover."""
    limit_labels: tuple[str, ...]
    """What the limit of a row is called, where `labels` tell its rows apart."""

    @cached_property
    def structure(self) -> tuple[bytes, ...]:
        """Every coefficient, limits and what multiplies wealth apart: equal rows give equal bytes."""
        matrices = (self.holdings, self.buys, self.sells)
        sparse = [part for matrix in matrices for part in (matrix.indptr, matrix.indices, matrix.data)]
        return tuple(part.tobytes() for part in (self.cash, self.expected, self.gains, *sparse))

    @cached_property
    def uses_scenario_returns(self) -> Vector:
        """(R,) 1 for rows on what the scenarios bring, expected or one by one."""
        own = self.gains.any(axis=1) if self.gains.shape[1] else np.zeros(len(self.labels), dtype=bool)
        return np.asarray((self.expected != 0) | own, dtype=np.float64)

    @cached_property
    def looks_at_gains_alone(self) -> Vector:
        """(R,) whether a row looks at what the scenarios bring, and at nothing else but wealth."""
        if not self.uses_scenario_returns.any():
            return np.zeros(len(self.labels), dtype=bool)
        others = (abs(self.holdings) + abs(self.buys) + abs(self.sells)).sum(axis=1) + np.abs(self.cash)
        return np.asarray((self.uses_scenario_returns != 0) & (others == 0))

    @cached_property
    def by_name(self) -> sp.csr_array:
        """(3·N, R) the coefficients of holdings, then of purchases, then of sales, name by name."""
        return _stacked([sp.csr_array(part.T) for part in (self.holdings, self.buys, self.sells)])

    def charges(self, prices: Vector) -> Matrix:
        """(3, N) what the rows charge for a unit held, bought and sold, at their prices (R,)."""
        charged: Vector = self.by_name @ prices
        return charged.reshape(3, -1)

    def on(self, outlook: Outlook) -> RuleRows:
        """The same rows with gains written out in holdings and cash."""
        if not (self.gains.shape[1] or self.expected.any()):
            return self
        weights = np.outer(self.expected, outlook.probabilities)
        if self.gains.shape[1]:
            weights = weights + self.gains
        nothing = np.zeros(len(self.labels))
        return replace(
            self,
            holdings=sp.csr_array(self.holdings + sp.csr_array(weights) @ outlook.returns)
            if weights.any()
            else self.holdings,
            cash=self.cash + weights @ outlook.cash_returns,
            expected=nothing,
            gains=np.zeros((len(self.labels), 0)),
        )


def format_limit_percent(fraction: float) -> str:
    """A limit as people write it: 0.125 is 12.5%."""
    return f"{fraction * 100:z.6g}%"


def format_limit(limit: float, unit: str = PERCENT) -> str:
    """A limit in its unit: 12.5%, 1.2 or 2 x."""
    return format_limit_percent(limit) if unit == PERCENT else f"{limit:z.12g}{unit}"


def format_loosened(limit: float, sense: float, unit: str = PERCENT) -> str:
    """A limit to loosen to, in words, rounded to four decimals in the direction of `sense`, so that it works."""
    return format_limit(round_loosened(limit, sense), unit)


def round_loosened(limit: float, sense: float) -> float:
    """A limit rounded to four decimals (a basis point) in the direction of `sense`, which loosens."""
    return float(np.ceil(sense * limit * 1e4 - 1e-5) / 1e4 * sense + 0.0)


def linear_rows(
    labels: Sequence[str],
    instruments: int,
    *,
    holdings: Matrix | sp.csr_array | None = None,
    cash: Vector | None = None,
    buys: Matrix | sp.csr_array | None = None,
    sells: Matrix | sp.csr_array | None = None,
    expected: Vector | None = None,
    gains: Matrix | None = None,
    wealth: Vector | None = None,
    limit: Vector | None = None,
    stated: Sequence[float] | None = None,
    sense: float = 1.0,
    tier: int = 0,
    size: Vector | None = None,
    unit: str = PERCENT,
    ids: Sequence[RuleId] = (),
    limit_labels: Sequence[str] = (),
) -> RuleRows:
    """Rows whose unnamed coefficients are zero."""
    count = len(labels)
    held, bought, sold = (_sparse(part, count, instruments) for part in (holdings, buys, sells))
    zeros = np.zeros(count)
    return RuleRows(
        tuple(labels),
        held,
        zeros if cash is None else cash,
        bought,
        sold,
        zeros if expected is None else expected,
        np.zeros((count, 0)) if gains is None else gains,
        zeros if wealth is None else wealth,
        zeros if limit is None else limit,
        np.full(count, np.nan) if stated is None else np.array(stated),
        np.full(count, sense),
        np.full(count, float(tier)),
        np.ones(count) if size is None else size,
        (unit,) * count,
        tuple(ids) or tuple(RuleId("other", label) for label in labels),
        tuple(limit_labels or labels),
    )


def _sparse(part: Matrix | sp.csr_array | None, rows: int, columns: int) -> sp.csr_array:
    """What is not zero; scipy's own way from a dense matrix takes twice as long."""
    if part is None:
        return _no_entries(rows, columns)
    if sp.issparse(part):
        return sp.csr_array(part)
    row, at = np.nonzero(part)
    return sp.csr_array((part[row, at], at, np.searchsorted(row, np.arange(len(part) + 1))), shape=part.shape)


@lru_cache(maxsize=64)
def _no_entries(rows: int, columns: int) -> sp.csr_array:
    return sp.csr_array((rows, columns))


def stack_rows(parts: Sequence[RuleRows], instruments: int) -> RuleRows:
    """All rows of all rules, one above the other."""
    if not parts:
        return linear_rows([], instruments)
    scenarios = max(part.gains.shape[1] for part in parts)
    padded = [
        part if part.gains.shape[1] else replace(part, gains=np.zeros((len(part.labels), scenarios))) for part in parts
    ]

    def stacked(pieces: list[Any]) -> Any:
        if isinstance(pieces[0], tuple):
            return tuple(entry for piece in pieces for entry in piece)
        return _stacked(pieces) if sp.issparse(pieces[0]) else np.concatenate(pieces)

    return RuleRows(*(stacked([getattr(part, field.name) for part in padded]) for field in fields(RuleRows)))


def _stacked(pieces: Sequence[sp.csr_array]) -> sp.csr_array:
    """One above the other; scipy's own way takes four times as long."""
    ends = np.cumsum([0, *(piece.nnz for piece in pieces)])
    starts = [piece.indptr[:-1] + end for piece, end in zip(pieces, ends, strict=False)]
    data, indices = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("data", "indices"))
    shape = sum(piece.shape[0] for piece in pieces), pieces[0].shape[1]
    found = sp.csr_array((data, indices, np.concatenate([*starts, ends[-1:]])), shape=shape)
    found.sum_duplicates()  # a plugin's row may name an instrument twice, and solvers take no entry twice
    return found


def selection_matrix(at: Sequence[int], instruments: int, value: float = 1.0) -> sp.csr_array:
    """(n, N) one `value` a row."""
    count = len(at)
    entries = (np.full(count, value), np.asarray(at, dtype=int), np.arange(count + 1))
    return sp.csr_array(entries, shape=(count, instruments))


@dataclass(frozen=True, eq=False)
class Position:
    """Where we stand: (N,) `holdings` and `cash` before trading, as fractions summing to 1."""

    holdings: Vector
    cash: float


# A portfolio in money, a rule measured on it, and what every linear rule can say of itself.
#


@dataclass(frozen=True, eq=False)
class Trade:
    """A portfolio before and after, in money: (N,) `values` after, `bought`, `sold`; `cash` after `costs`."""

    values: Vector
    cash: float
    bought: Vector
    sold: Vector
    costs: float
    value_before: float

    @cached_property
    def value(self) -> float:
        """Account value after the trades and their costs."""
        return float(self.values.sum()) + self.cash

    @cached_property
    def weights(self) -> Vector:
        """(N,) fractions of the account's value after the trades."""
        return self.values / self.value

    @property
    def all_weights(self) -> Vector:
        """(N + 1,) the same, cash last."""
        return np.append(self.values, self.cash) / self.value

    def gains(self, outlook: Outlook) -> Vector:
        """(K,) what it brings by the horizon in each scenario, after costs, as fractions of the value before."""
        before = self.value_before
        return outlook.portfolio_returns(self.values / before, self.cash / before) + self.value / before - 1


@dataclass(frozen=True)
class RuleMeasurement:
    """One rule measured on one trade: it holds when `measured` is on the right side of `limit`."""

    label: str
    measured: float
    limit: float
    at_most: bool
    unit: str = PERCENT
    of_account: float | None = None
    """How far the limit is missed as a part of the account, where its own unit may be a million times that."""
    id: RuleId = RuleId("other")
    below_zero: str = ""
    """What a measure below 0 is, turned round, where that has another name: of a loss "gain of"."""

    @cached_property
    def use(self) -> float | None:
        """How much of the limit is used, 1 at the limit and more beyond it: measured over limit, or limit over measured
        where less is worse, as of a floor above 0. None of a limit of 0, which is kept or not, and without a number.
        """
        sign = 1.0 if self.at_most else -1.0
        measured, limit = sign * self.measured, sign * self.limit
        if limit > 0:
            return max(measured, 0.0) / limit if np.isfinite(measured) else None
        return limit / measured if limit < 0 and -np.inf < measured < 0 else None

    @property
    def state(self) -> LimitState:
        """Breach, amber from 90 % of the limit, else green."""
        if self.excess > BREACHED:
            return "breach"
        return "amber" if self.use is not None and self.use >= AMBER - 1e-9 else "green"

    @property
    def missed(self) -> float:
        """How far the limit is missed in parts of the account, which is what a solver's last digits are measured in."""
        return self.excess if self.of_account is None else self.of_account

    @property
    def kind(self) -> LimitKind:
        """Which side of the limit is kept, in words."""
        return "at most" if self.at_most else "at least"

    @property
    def excess(self) -> float:
        """How far the limit is missed, in its own unit; negative is room to spare."""
        return self.measured - self.limit if self.at_most else self.limit - self.measured


def row_slack(rows: RuleRows, trade: Trade) -> Vector:
    """(R,) what rows with their gains written out leave on a trade, wealth before trading being 1."""
    before = trade.value_before
    used = rows.holdings @ trade.values + rows.cash * trade.cash + rows.buys @ trade.bought
    used = used + rows.sells @ trade.sold - rows.wealth * trade.value
    return np.asarray(rows.limit - used / before, dtype=np.float64)


class Rule(ABC):
    """What every rule can say of itself: limits of one `kind`, a name each, and its formula on money."""

    kind: str
    words: str
    """A label, where {name}, {side} and {limit} stand for themselves."""
    tier: int
    """0 for a rule that is never relaxed, else 1 (relaxed last) to 9 (first)."""
    key: str = ""
    """Of book.toml, that states it; empty where none does."""
    names: tuple[str, ...]
    """What its limits are of, row by row."""
    limits: tuple[float, ...]
    """As the user wrote them, row by row."""
    at_most = True
    unit = PERCENT
    below_zero = ""
    """What a measure below 0 is called, where that has another name."""

    @abstractmethod
    def readings(self, trade: Trade, outlook: Outlook) -> Sequence[RuleMeasurement]:
        """The formula on money, one reading a row, in the order of the rows."""

    def missed(self, trade: Trade, outlook: Outlook) -> Vector:
        """(rows,) by how much of the account each reading misses its limit."""
        return np.array([reading.missed for reading in self.readings(trade, outlook)])

    @cached_property
    def labels(self) -> Sequence[str]:
        """What people call each row."""
        side, each = "at most" if self.at_most else "at least", zip(self.names, self.limits, strict=True)
        return [self.words.format(name=name, side=side, limit=self._in_words(limit)) for name, limit in each]

    @property
    def limit_labels(self) -> Sequence[str]:
        """What people call the limit of each row."""
        return self.labels

    @cached_property
    def ids(self) -> Sequence[RuleId]:
        """Which limit each row is of."""
        return [RuleId(f"{self.kind} {self.sense:+.0f}", name, self.key) for name in self.names]

    @property
    def has_limits(self) -> bool:
        """Whether there is anything to loosen."""
        return True

    @property
    def sense(self) -> float:
        """+1 for an 'at most' rule, -1 for an 'at least' rule."""
        return 1.0 if self.at_most else -1.0

    def with_limits(self, limits: Sequence[float]) -> Self:
        """The same rule with other limits, one a row, in the order of the rows."""
        return cast(Self, replace(cast(Any, self), limits=tuple(limits)))

    def at_review(self, day: date, growth: Vector, ambiguity: Ambiguity) -> Self | None:
        """The rule on a later day, names (N,) having grown by `growth`; None where it has ended."""
        del day, growth, ambiguity
        return self

    def rescaled(self, wealth_before: float) -> Self:
        """The rule for an account that is worth so many times as much; only money changes by that."""
        del wealth_before
        return self

    def _in_words(self, limit: float) -> str:
        return format_limit_percent(limit) if self.unit == PERCENT else f"{limit:z.6g}{self.unit}"

    def _measured(self, *measured: float, beyond: Sequence[float | None] = ()) -> list[RuleMeasurement]:
        """Readings of the limits; `beyond` is how far each is missed as a part of the account, where that differs."""
        each = zip(self.labels, measured, self.limits, beyond or [None] * len(measured), self.ids, strict=True)
        return [
            RuleMeasurement(label, value, limit, self.at_most, self.unit, missed, name, self.below_zero)
            for label, value, limit, missed, name in each
        ]

    def _rows(self, instruments: int, **coefficients: Any) -> RuleRows:
        """Rows of its limits."""
        return linear_rows(
            self.labels,
            instruments,
            ids=self.ids,
            limit_labels=self.limit_labels,
            stated=self.limits if self.has_limits else None,
            sense=self.sense,
            tier=self.tier if self.has_limits else 0,
            unit=self.unit,
            **coefficients,
        )


class OneLimit(Rule):
    """A rule of one `limit`."""

    limit: float

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Its name, where it has one."""
        return (getattr(self, "name", ""),)

    @property
    def limits(self) -> tuple[float, ...]:  # type: ignore[override]
        """Its limit."""
        return (self.limit,)

    @property
    def label(self) -> str:
        """What people call it."""
        return self.labels[0]

    def with_limits(self, limits: Sequence[float]) -> Self:
        """Another limit."""
        return cast(Self, replace(cast(Any, self), limit=limits[0]))


class LinearRule(Rule):
    """A rule that is rows. Another package need not derive from it: of what has `tier`, `rows`, `readings` and
    `with_limits`, `PluginRule` makes one.
    """

    in_money = False
    """Whether its limits are money, whatever the account is worth; else they are parts of the account."""

    @abstractmethod
    def rows(self, instruments: int) -> RuleRows:
        """The formula as coefficients over `instruments` names."""

    @property
    def untradable(self) -> Sequence[int]:
        """Where the names stand that are not traded at all; where there are any, that is all it says."""
        return ()

    few_names: FewNames | None = None
    """What it says of which names are held, as long as they are not chosen."""

    def choosing(self, held: NDArray[np.bool_] | None) -> LinearRule:
        """The rule once the names (N,) that are held are chosen; of None they are still to be."""
        del held
        return self


@dataclass(frozen=True, eq=False)
class ProgramRows(LinearRule):
    """Rows that a search asks of a program and nobody else: `coefficients` as `linear_rows` has them, with a limit."""

    coefficients: Mapping[str, Any]
    is_kept: bool = True
    """Whether what a program finds must keep them; else they say nothing of a portfolio."""
    tier, kind, has_limits, limits = 0, "search", False, ()

    @cached_property
    def labels(self) -> Sequence[str]:
        """By number."""
        return [f"search {row}" for row in range(len(self.coefficients["limit"]))]

    @property
    def ids(self) -> Sequence[RuleId]:
        """None."""
        return ()

    def rows(self, instruments: int) -> RuleRows:
        """As they are."""
        return self._rows(instruments, **self.coefficients)

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """By how much each row is missed."""
        del outlook
        over = -row_slack(self.rows(len(trade.values)), trade) if self.is_kept else ()
        return [RuleMeasurement(label, float(one), 0.0, True) for label, one in zip(self.labels, over, strict=False)]


@dataclass(frozen=True)
class FewNames:
    """At most `most` names are held, each with nothing or `least` of the account."""

    most: float = np.inf
    least: float = 0.0

    def __or__(self, other: FewNames) -> FewNames:
        """Both."""
        return FewNames(min(self.most, other.most), max(self.least, other.least))
