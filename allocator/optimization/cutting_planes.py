"""Convex functions over the columns of a linear program, cut out by tangents where a point lies below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from allocator.mandate.mandate import Mandate
from allocator.optimization.single_period import Position
from allocator.outlook.outlook import Outlook
from allocator.rules import ConvexRule, LargestWeights, RuleRows, Trade, VolatilityLimit
from allocator.types import Vector

_NOISE = 1e-12


@dataclass(frozen=True, eq=False)
class Cuts:
    """Rows over the columns, rows·x ≤ limits."""

    rows: sp.csr_array
    limits: Vector

    @staticmethod
    def all(parts: Sequence[Cuts], columns: int) -> Cuts:
        """All of them, one above the other."""
        if not parts:
            return Cuts(sp.csr_array((0, columns)), np.zeros(0))
        return Cuts(
            sp.csr_array(sp.vstack([part.rows for part in parts])), np.concatenate([part.limits for part in parts])
        )


@dataclass(frozen=True, eq=False)
class ColumnLayout:
    """Where everything stands: b, s, m (N, or none without impact), c, W, then what each convex rule brings.

    A convex rule has its epigraph t; a volatility also τ, the exposures y (F,) and the parts v (F + N,); the largest
    weights also the least of them k and what each name is above it (N,).
    """

    start: Position
    cost_rates: Vector
    has_impact: bool
    extra: tuple[int, ...]

    @staticmethod
    def of(start: Position, outlook: Outlook, mandate: Mandate) -> ColumnLayout:
        """The columns that a mandate needs."""
        names, factors = outlook.risk.loadings.shape
        extra = {VolatilityLimit: 2 + 2 * factors + names, LargestWeights: 2 + names}
        counts = tuple(extra.get(type(rule), 1) for rule in mandate.convex_rules)
        return ColumnLayout(start, mandate.cost_rates, mandate.impact is not None, counts)

    @property
    def names(self) -> int:
        """N."""
        return len(self.start.holdings)

    @property
    def cash(self) -> int:
        """Where c stands."""
        return (3 if self.has_impact else 2) * self.names

    @property
    def wealth(self) -> int:
        """Where W stands."""
        return self.cash + 1

    @property
    def total(self) -> int:
        """All columns but the slacks."""
        return self.cash + 2 + sum(self.extra)

    def first(self, position: int) -> int:
        """Where the columns of a convex rule begin."""
        return self.cash + 2 + sum(self.extra[:position])

    def trade(self, point: Vector) -> Trade:
        """The portfolio of a point."""
        bought, sold = point[: self.names], point[self.names : 2 * self.names]
        values = np.maximum(self.start.holdings + bought - sold, 0.0)
        cash = float(point[self.cash])
        return Trade(values, cash, bought, sold, 1 - float(values.sum()) - cash, 1.0)

    def bounds(self, epigraphs: Sequence[Epigraph]) -> tuple[Vector, Vector]:
        """Least and most of every column."""
        lower, upper = np.zeros(self.total), np.full(self.total, np.inf)
        upper[self.names : 2 * self.names] = self.start.holdings
        for epigraph in epigraphs:
            lower[list(epigraph.unbounded)] = -np.inf
        return lower, upper

    def equations(self, epigraphs: Sequence[Epigraph]) -> tuple[sp.csr_array, Vector, Vector]:
        """The account's own rows, low ≤ rows·x ≤ high: the cash row, what wealth is, and what epigraphs bring."""
        names, money = self.names, np.zeros((2, self.total))
        money[0, :names], money[0, names : 2 * names] = 1 + self.cost_rates, -(1 - self.cost_rates)
        money[0, 2 * names : self.cash + 1] = 1.0
        money[1, :names], money[1, names : 2 * names] = -1.0, 1.0
        money[1, self.cash], money[1, self.wealth] = -1.0, 1.0
        rights = np.array([self.start.cash, float(self.start.holdings.sum())])
        own = [epigraph.own for epigraph in epigraphs]
        return (
            sp.csr_array(sp.vstack([sp.csr_array(money), *(rows for rows, _, _ in own)])),
            np.concatenate([rights, *(low for _, low, _ in own)]),
            np.concatenate([rights, *(high for _, _, high in own)]),
        )

    def holding(self, weights: sp.csr_array) -> sp.csr_array:
        """(R, total) the coefficients of weights·(h − before)."""
        after = sp.csr_array((weights.shape[0], self.total - 2 * self.names))
        return sp.csr_array(sp.hstack([weights, -weights, after]))


def rows_in_columns(rows: RuleRows, columns: ColumnLayout) -> tuple[sp.csr_array, Vector]:
    """Rules' rows (gains written out) over the columns, and their limits there."""
    left = sp.hstack(
        [
            rows.holdings + rows.buys,
            rows.sells - rows.holdings,
            sp.csr_array((len(rows.labels), columns.cash - 2 * columns.names)),
            rows.cash[:, None],
            -rows.wealth[:, None],
            sp.csr_array((len(rows.labels), columns.total - columns.wealth - 1)),
        ]
    )
    return sp.csr_array(left), np.asarray(rows.limit - rows.holdings @ columns.start.holdings, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Tangents:
    """t ≥ tangent(direction) for every direction met so far."""

    rule: ConvexRule
    column: int
    columns: ColumnLayout
    outlook: Outlook
    direction: Vector

    @property
    def unbounded(self) -> tuple[int, ...]:
        """t may be negative: room to spare."""
        return (self.column,)

    @property
    def own(self) -> tuple[sp.csr_array, Vector, Vector]:
        """Nothing."""
        return sp.csr_array((0, self.columns.total)), np.zeros(0), np.zeros(0)

    @property
    def first(self) -> Cuts:
        """The tangent at the first direction."""
        return self._at(self.direction)

    def _at(self, direction: Vector) -> Cuts:
        row, limit = rows_in_columns(self.rule.tangent(direction, self.outlook).on(self.outlook), self.columns)
        row = sp.csr_array(row - sp.csr_array(([1.0], ([0], [self.column])), shape=row.shape))
        return Cuts(row, limit)

    def cut(self, point: Vector, trade: Trade) -> tuple[Cuts, float]:
        """The tangent at the steepest direction there."""
        cuts = self._at(self.rule.steepest(trade, self.outlook))
        below = float((cuts.rows @ point[: self.columns.total] - cuts.limits)[0])
        return (cuts, below) if below > _NOISE else (Cuts.all([], self.columns.total), 0.0)


@dataclass(frozen=True, eq=False)
class LinearEpigraph:
    """A function that rows of its own say exactly: there is nothing to cut."""

    column: int
    columns: ColumnLayout
    direction: Vector
    own: tuple[sp.csr_array, Vector, Vector]

    @property
    def unbounded(self) -> tuple[int, ...]:
        """t may be negative: room to spare."""
        return (self.column,)

    @property
    def first(self) -> Cuts:
        """None."""
        return Cuts.all([], self.columns.total)

    def cut(self, point: Vector, trade: Trade) -> tuple[Cuts, float]:
        """None."""
        del point, trade
        return self.first, 0.0


@dataclass(frozen=True, eq=False)
class NormEpigraph:
    """t = τ − limit·√years·W with τ ≥ ‖u‖, u = (y, √d∘(h − aW)) and y = L'(h − aW): v_i·τ ≥ u_i², Σv ≤ τ."""

    column: int
    columns: ColumnLayout
    direction: Vector
    own: tuple[sp.csr_array, Vector, Vector]
    parts: sp.csr_array
    """(F + N, total) u as rows over the columns, without what the start brings."""
    before: Vector

    @property
    def unbounded(self) -> tuple[int, ...]:
        """t and the exposures."""
        factors = len(self.before) - self.columns.names
        return (self.column, *range(self.column + 2, self.column + 2 + factors))

    @property
    def first(self) -> Cuts:
        """Tangents at the start."""
        return self._at(self.direction, np.ones(len(self.before), dtype=bool))

    def _at(self, slope: Vector, wanted: Vector) -> Cuts:
        """v_i ≥ 2·slope_i·u_i − slope_i²·τ."""
        at = np.flatnonzero(wanted)
        count, total = len(at), self.columns.total
        first = parts_offset(self)
        tau = sp.csr_array((-(slope[at] ** 2), (np.arange(count), np.full(count, self.column + 1))), (count, total))
        own = sp.csr_array((-np.ones(count), (np.arange(count), first + at)), shape=(count, total))
        rows = sp.csr_array(sp.diags_array(2 * slope[at]) @ self.parts[at] + tau + own)
        return Cuts(rows, -2 * slope[at] * self.before[at])

    def cut(self, point: Vector, trade: Trade) -> tuple[Cuts, float]:
        """Tangents of the parts that lie below, in the direction of the whole."""
        del trade
        here = point[: self.columns.total]
        parts = self.parts @ here + self.before
        length, tau = float(np.linalg.norm(parts)), float(here[self.column + 1])
        below = length - tau
        if below <= _NOISE:
            return Cuts.all([], self.columns.total), 0.0
        slope = parts / length
        first = parts_offset(self)
        missed = 2 * slope * parts - slope**2 * tau - here[first : first + len(parts)]
        return self._at(slope, missed > 0), below


Epigraph = Tangents | LinearEpigraph | NormEpigraph
"""A convex rule's function at its stated limit: the rule holds where column `column` is at most 0.

`own` are rows that go with it, `first` the tangent at `direction`; `cut` gives tangents that a point violates, and how
far it lies below the function.
"""


def parts_offset(norm: NormEpigraph) -> int:
    """Where the parts v begin: after t, τ and the exposures."""
    return norm.column + 2 + len(norm.before) - norm.columns.names


def build_epigraph(
    rule: ConvexRule, position: int, columns: ColumnLayout, start: Position, outlook: Outlook
) -> Epigraph:
    """A convex rule as an epigraph over the columns."""
    untraded = Trade(start.holdings, start.cash, 0 * start.holdings, 0 * start.holdings, 0.0, 1.0)
    direction, column = rule.steepest(untraded, outlook), columns.first(position)
    if isinstance(rule, VolatilityLimit):
        return _norm(rule, column, columns, outlook, direction)
    if isinstance(rule, LargestWeights):
        return _largest(rule, column, columns, direction)
    return Tangents(rule, column, columns, outlook, direction)


def _largest(rule: LargestWeights, column: int, columns: ColumnLayout, direction: Vector) -> LinearEpigraph:
    """t = count·k + Σ above − limit·W with above_i ≥ h_i − k (Rockafellar and Uryasev 2000)."""
    names, total = columns.names, columns.total
    above = np.arange(column + 2, column + 2 + names)
    least = sp.csr_array((-np.ones(names), (np.arange(names), np.full(names, column + 1))), shape=(names, total))
    own = sp.csr_array((-np.ones(names), (np.arange(names), above)), shape=(names, total))
    each = columns.holding(sp.csr_array(sp.eye_array(names))) + least + own
    together = np.zeros((1, total))
    together[0, column], together[0, column + 1], together[0, columns.wealth] = -1.0, rule.count, -rule.limit
    together[0, above] = 1.0
    rows = sp.csr_array(sp.vstack([each, sp.csr_array(together)]))
    low, high = np.append(np.full(names, -np.inf), 0.0), np.append(-columns.start.holdings, 0.0)
    return LinearEpigraph(column, columns, direction, (rows, low, high))


def _norm(
    rule: VolatilityLimit, column: int, columns: ColumnLayout, outlook: Outlook, direction: Vector
) -> NormEpigraph:
    risk, total = outlook.risk, columns.total
    names, factors = risk.loadings.shape
    both = sp.csr_array(sp.vstack([sp.csr_array(risk.loadings.T), sp.diags_array(np.sqrt(risk.specific))]))
    weights = columns.holding(both)
    if rule.against is not None:
        reference = sp.csr_array(
            (-(both @ rule.against), (np.arange(factors + names), np.full(factors + names, columns.wealth))),
            shape=weights.shape,
        )
        weights = sp.csr_array(weights + reference)
    before = np.asarray(both @ columns.start.holdings, dtype=np.float64)
    exposures = np.arange(column + 2, column + 2 + factors)
    eye = sp.csr_array((np.ones(factors), (np.arange(factors), exposures)), shape=(factors, total))
    what_exposures_are = sp.csr_array(weights[:factors] - eye)
    tau = np.zeros((2, total))
    tau[0, column], tau[0, column + 1], tau[0, columns.wealth] = 1.0, -1.0, rule.limit * np.sqrt(outlook.years)
    first = column + 2 + factors
    tau[1, first : first + factors + names], tau[1, column + 1] = 1.0, -1.0
    own = (
        sp.csr_array(sp.vstack([what_exposures_are, sp.csr_array(tau)])),
        np.concatenate([-before[:factors], [0.0, -np.inf]]),
        np.concatenate([-before[:factors], [0.0, 0.0]]),
    )
    parts = sp.csr_array(sp.vstack([eye, weights[factors:]]))
    return NormEpigraph(column, columns, direction, own, parts, np.concatenate([np.zeros(factors), before[factors:]]))


def impact_cuts(point: Vector, impact: Vector, columns: ColumnLayout) -> tuple[Cuts, float]:
    """m_i ≥ impact_i·(1.5·√t·(b_i + s_i) − t^1.5 / 2) at today's t = b_i + s_i, where m_i lies below."""
    names = columns.names
    traded = np.maximum(point[:names] + point[names : 2 * names], 0.0)
    below = impact * traded**1.5 - point[2 * names : 3 * names]
    at = np.flatnonzero(below > _NOISE)
    rows, slope = np.arange(len(at)), 1.5 * impact[at] * np.sqrt(traded[at])
    values = np.concatenate([slope, slope, -np.ones(len(at))])
    places = (np.tile(rows, 3), np.concatenate([at, at + names, at + 2 * names]))
    cuts = sp.csr_array((values, places), shape=(len(at), columns.total))
    return Cuts(cuts, impact[at] * traded[at] ** 1.5 / 2), float(np.maximum(below, 0).sum())
