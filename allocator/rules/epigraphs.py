"""Convex functions over the columns of a linear program, cut out by tangents where a point lies below them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.rules.rows import Position, RuleRows, Trade
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
class Epigraph:
    """A convex rule's function at its stated limit: the rule holds where column `column` is at most 0.

    `first` is the tangent at `direction`; `cut` gives tangents that a point violates, and how far it lies below the
    function. `own` are rows that go with it, low ≤ rows·x ≤ high.
    """

    column: int
    direction: Vector
    first: Cuts
    cut: Callable[[Vector, Trade], tuple[Cuts, float]]
    own: tuple[sp.csr_array, Vector, Vector]
    unbounded: Sequence[int] = ()
    """Columns that may be negative beside `column`, which is room to spare."""


@dataclass(frozen=True, eq=False)
class ColumnLayout:
    """Where everything stands: b, s, m (N, or none without impact), c, W, then what each convex rule brings.

    A convex rule has its epigraph t, and as many columns more as it says.
    """

    start: Position
    cost_rates: Vector
    has_impact: bool
    extra: tuple[int, ...]

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

    @property
    def untraded(self) -> Trade:
        """The portfolio of no trade."""
        held, nothing = self.start.holdings, 0 * self.start.holdings
        return Trade(held, self.start.cash, nothing, nothing, 0.0, 1.0)

    def trade(self, point: Vector) -> Trade:
        """The portfolio of a point."""
        bought, sold = point[: self.names], point[self.names : 2 * self.names]
        values = np.maximum(self.start.holdings + bought - sold, 0.0)
        cash = float(point[self.cash])
        return Trade(values, cash, bought, sold, 1 - float(values.sum()) - cash, 1.0)

    def bounds(self, epigraphs: Sequence[Epigraph]) -> tuple[Vector, Vector]:
        """Least and most of every column."""
        lower, upper = np.zeros(self.total), np.full(self.total, np.inf)
        lower[self.cash] = min(self.start.cash, 0.0)  # what is to be paid out is a rule, and may be missed
        upper[self.names : 2 * self.names] = self.start.holdings
        for epigraph in epigraphs:
            lower[[epigraph.column, *epigraph.unbounded]] = -np.inf
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

    def block(self, first: int, entries: Vector, *, each: bool = True) -> sp.csr_array:
        """(n, total) `entries` (n,) down a diagonal from the column `first` on, or all of them in that column."""
        rows = np.arange(len(entries))
        return sp.csr_array((entries, (rows, first + rows if each else 0 * rows + first)), (len(rows), self.total))

    @property
    def no_rows(self) -> tuple[sp.csr_array, Vector, Vector]:
        """Of an epigraph that brings none."""
        return sp.csr_array((0, self.total)), np.zeros(0), np.zeros(0)

    @property
    def no_cuts(self) -> Cuts:
        """None."""
        return Cuts.all([], self.total)

    def of_rows(self, rows: RuleRows) -> Cuts:
        """Rules' rows (gains written out) over the columns."""
        count = len(rows.labels)
        parts = [
            rows.holdings + rows.buys,
            rows.sells - rows.holdings,
            sp.csr_array((count, self.cash - 2 * self.names)),
            rows.cash[:, None],
            -rows.wealth[:, None],
            sp.csr_array((count, self.total - self.wealth - 1)),
        ]
        limits = np.asarray(rows.limit - rows.holdings @ self.start.holdings, dtype=np.float64)
        return Cuts(sp.csr_array(sp.hstack(parts)), limits)


def norm_epigraph(
    columns: ColumnLayout, column: int, direction: Vector, spread: sp.csr_array, against: Vector | None, limit: float
) -> Epigraph:
    """t = τ − limit·W with τ ≥ ‖u‖, u = B(h − aW) for the (F + N, N) matrix B = `spread` and the weights a = `against`.

    The first F of u, exposures y, have columns of their own after t and τ, then come the parts v of the cone:
    v_i·τ ≥ u_i², Σv ≤ τ (Vielma, Dunning, Huchette and Lubin 2017).
    """
    count, names = spread.shape
    factors, tau, exposures = count - names, column + 1, column + 2
    own = exposures + factors
    weights = columns.holding(spread)
    if against is not None:
        weights = sp.csr_array(weights + columns.block(columns.wealth, -(spread @ against), each=False))
    before = np.asarray(spread @ columns.start.holdings, dtype=np.float64)
    eye = columns.block(exposures, np.ones(factors))
    sums = np.zeros((2, columns.total))
    sums[0, column], sums[0, tau], sums[0, columns.wealth] = 1.0, -1.0, limit
    sums[1, own : own + count], sums[1, tau] = 1.0, -1.0
    rows = sp.csr_array(sp.vstack([weights[:factors] - eye, sp.csr_array(sums)]))
    sides = np.concatenate([-before[:factors], [0.0, -np.inf]]), np.concatenate([-before[:factors], [0.0, 0.0]])
    parts, left = sp.csr_array(sp.vstack([eye, weights[factors:]])), before.copy()
    left[:factors] = 0.0

    def tangents(slope: Vector, at: NDArray[np.int64]) -> Cuts:
        """v_i ≥ 2·slope_i·u_i − slope_i²·τ of the parts `at`."""
        of_tau = columns.block(tau, -(slope[at] ** 2), each=False)
        of_parts = sp.csr_array((-np.ones(len(at)), (np.arange(len(at)), own + at)), shape=of_tau.shape)
        return Cuts(
            sp.csr_array(sp.diags_array(2 * slope[at]) @ parts[at] + of_tau + of_parts), -2 * slope[at] * left[at]
        )

    def cut(point: Vector, trade: Trade) -> tuple[Cuts, float]:
        """Tangents of the parts that lie below, in the direction of the whole."""
        del trade
        here = point[: columns.total]
        reached = parts @ here + left
        length, bound = float(np.linalg.norm(reached)), float(here[tau])
        if length - bound <= _NOISE:
            return columns.no_cuts, 0.0
        slope = reached / length
        missed = 2 * slope * reached - slope**2 * bound - here[own : own + count]
        return tangents(slope, np.flatnonzero(missed > 0)), length - bound

    first = tangents(direction, np.arange(count))
    return Epigraph(column, direction, first, cut, (rows, *sides), range(exposures, own))


def largest_epigraph(columns: ColumnLayout, column: int, direction: Vector, count: int, limit: float) -> Epigraph:
    """t = count·k + Σ above − limit·W with above_i ≥ h_i − k: rows say it exactly, and there is nothing to cut."""
    names, least = columns.names, column + 1
    above = columns.block(column + 2, -np.ones(names)) + columns.block(least, -np.ones(names), each=False)
    each = columns.holding(sp.csr_array(sp.eye_array(names))) + above
    together = np.zeros((1, columns.total))
    together[0, [column, least, columns.wealth]] = -1.0, count, -limit
    together[0, column + 2 : column + 2 + names] = 1.0
    rows = sp.csr_array(sp.vstack([each, sp.csr_array(together)]))
    own = rows, np.append(np.full(names, -np.inf), 0.0), np.append(-columns.start.holdings, 0.0)
    return Epigraph(column, direction, columns.no_cuts, lambda point, trade: (columns.no_cuts, 0.0), own)  # noqa: ARG005


def tangent_epigraph(
    columns: ColumnLayout,
    column: int,
    tangent: Callable[[Vector], RuleRows],
    steepest: Callable[[Trade], Vector],
) -> Epigraph:
    """t ≥ tangent(direction) for every direction met so far."""

    def at(direction: Vector) -> Cuts:
        row = columns.of_rows(tangent(direction))
        return Cuts(sp.csr_array(row.rows - columns.block(column, np.ones(1))), row.limits)

    def cut(point: Vector, trade: Trade) -> tuple[Cuts, float]:
        cuts = at(steepest(trade))
        below = float((cuts.rows @ point[: columns.total] - cuts.limits)[0])
        return (cuts, below) if below > _NOISE else (columns.no_cuts, 0.0)

    direction = steepest(columns.untraded)
    return Epigraph(column, direction, at(direction), cut, columns.no_rows)


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
