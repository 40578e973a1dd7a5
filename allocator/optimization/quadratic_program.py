"""The quadratic programs of one period, written down as matrices: PIQP is given them, and updated in place.

The same program as `single_period.py` states in cvxpy for every mandate, for those whose only curve is their risk and
whose set has flat faces: no convex rules, no impact, no ellipsoids. Nothing is compiled, and cvxpy is not imported. The
two are held to each other in tests; an answer of either is proved outside of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.ambiguity.sets import LinearDual
from allocator.mandate.mandate import Mandate
from allocator.optimization.verification import CanonicalCheck, DualValues
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.rules.rows import Position, RuleRows
from allocator.types import Matrix, Vector

Places: TypeAlias = NDArray[np.int64]
FEW_FACTORS = 0.5
"""Of the instruments: with more factors than this the full covariance is solved faster than its factors."""
HUGE = 10.0
"""The objective is measured in its largest part, but in no more than this times the largest return."""
TIE_BREAK = 1e-8
"""Price of trading one unit of wealth, so that among equal optima the plan that trades least is taken."""


def is_quadratic(mandate: Mandate) -> bool:
    """Whether the mandate is a quadratic program that this module writes."""
    error = mandate.return_error
    linear = error is None or error.linear_charge is not None
    return (
        mandate.risk_aversion > 0
        and not mandate.convex_rules
        and mandate.impact is None
        and linear
        and not mandate.ambiguity.is_curved
    )


def largest_return(outlook: Outlook) -> float:
    """The unit that returns and costs are measured in while solving."""
    largest = max(float(np.abs(outlook.returns).max()), float(np.abs(outlook.cash_returns).max()))
    return largest if largest > 0 else 1.0


def typical_variance(outlook: Outlook) -> float:
    """Median variance of an instrument, the unit that risk is measured in while solving."""
    variances = outlook.risk.variances
    return float(np.median(variances[variances > 0])) if (variances > 0).any() else 1.0


def objective_scale(mandate: Mandate, unit: float, variance: float) -> float:
    """What the objective is divided by to be of order one (solvers lie otherwise)."""
    # a huge risk aversion must not push what returns decide below the solver's tolerance
    most = HUGE * unit if mandate.return_weight else np.inf
    return max(min(mandate.risk_aversion * variance, most), unit * mandate.return_weight, 1e-12)


@dataclass(frozen=True, eq=False)
class RawSolution:
    """A solver's vectors: `x` (n,), duals of the equations and of the rows; copied, PIQP's are live views."""

    x: Vector
    equalities: Vector
    rows: Vector


@dataclass(frozen=True, eq=False)
class ProblemData:
    """One question: minimise ½x'Px + q'x, Ax = b, Fx ≤ g, low ≤ x ≤ high, and the units that it is in.

    x begins with holdings, purchases and sales (N,) each, then cash. The rows of F begin with the rules'; those from
    `set_rows` on are of the set's dual form, whose `losses` (n, K) make the adversary of their duals, beside `mean`.
    """

    P: sp.csc_array
    A: sp.csc_array
    F: sp.csc_array
    q: Vector
    b: Vector
    g: Vector
    low: Vector
    high: Vector
    scale: float
    row_units: Vector
    set_rows: int
    losses: Matrix
    mean: Vector

    def named(self) -> dict[str, Any]:
        """PIQP's names for them."""
        bounds = {"h_u": self.g, "x_l": self.low, "x_u": self.high}
        return {"P": self.P, "c": self.q, "A": self.A, "b": self.b, "G": self.F, **bounds}

    def same_pattern(self, other: ProblemData) -> bool:
        """Whether the numbers of the other stand at the same places."""
        pairs = ((self.P, other.P), (self.A, other.A), (self.F, other.F))
        return all(
            one.shape == two.shape and _same(one.indptr, two.indptr) and _same(one.indices, two.indices)
            for one, two in pairs
        )

    def duals(self, raw: RawSolution, outlook: Outlook, mandate: Mandate) -> DualValues:
        """The solver's duals in units of the account, the adversary as it was found."""
        rows = mandate.rows
        prices = np.maximum(raw.rows[: self.set_rows], 0.0) * self.scale / self.row_units
        # where W is written as 1 − costs, cash is priced without what wealth is worth there
        apart = float(prices @ np.where(rows.uses_scenario_returns != 0, rows.wealth, 0.0))
        cash = float(raw.equalities[len(mandate.cost_rates)]) * self.scale + mandate.cost_price(outlook) + apart
        return DualValues(prices, cash, np.asarray(self.mean + self.losses.T @ raw.rows[self.set_rows :]))

    def check(self, raw: RawSolution) -> CanonicalCheck:
        """The first of the two checks, `verification.canonical_check`, for the bounds and rows that there are here."""
        x, y, z = raw.x, raw.equalities, raw.rows
        if not (np.isfinite(x).all() and np.isfinite(y).all() and np.isfinite(z).all()):
            return CanonicalCheck(np.inf, np.inf, np.inf)
        curve = self.P @ x
        missed = (np.abs(self.A @ x - self.b), self.low - x, x - self.high, self.F @ x - self.g)
        size = max(1.0, _largest(np.abs(self.b)), _largest(np.abs(self.g)))
        gradient = curve + self.q + self.A.T @ y + self.F.T @ z
        bound = np.where(gradient > 0, self.low, self.high)
        held = np.isfinite(bound)
        dual = max(_largest(np.abs(gradient[~held])), _largest(-z)) / max(1.0, _largest(np.abs(self.q)))
        curvature, linear = float(x @ curve), float(self.q @ x)
        upper = 0.5 * curvature + linear
        lower = -0.5 * curvature - float(self.b @ y) - float(self.g @ z) + float(bound[held] @ gradient[held])
        return CanonicalCheck(max(map(_largest, missed)) / size, dual, abs(upper - lower) / max(1.0, abs(upper)))


@dataclass(frozen=True, eq=False)
class _Columns:
    """How many variables there are, and where each stands in x."""

    count: int
    held: Places
    bought: Places
    sold: Places
    cash: Places
    wealth: Places
    costs: Places
    factors: Places
    gains: Places
    sets: Places


_NO_SET = LinearDual(np.zeros(0), np.zeros(0), np.zeros(0, dtype=bool), np.zeros((0, 0)), np.zeros((0, 0)))
Entries = tuple[Any, Any, Any]
"""Rows, columns and numbers of coefficients; each of the three may be one for all."""


class QuadraticProgram:
    """PIQP for questions one after the other: what of a question is as in the one before is not laid out anew.

    Every solve starts cold, and PIQP is told not to scale: an update would unscale and scale again what it is not
    given, the scaling of bounds too, and lose bits each time. The numbers are of order one already; so no answer
    depends on the one before, or on what the loop was made with.
    """

    def __init__(self, options: Mapping[str, float]) -> None:
        """`options` are PIQP's own, beside those that are the same for all."""
        self.options, self.status = dict(options), ""
        self._solver: Any = None
        self._given: ProblemData | None = None
        self._of_rows: tuple[RuleRows, list[Entries]] | None = None
        self._of_risk: tuple[FactorRisk, list[Entries], bool] | None = None
        self._patterns: dict[str, _Pattern] = {}

    def write(
        self, start: Position, outlook: Outlook, mandate: Mandate, trading_price: float = TIE_BREAK
    ) -> ProblemData:
        """The question as numbers; `trading_price` is charged for a unit of wealth traded, beside its costs."""
        rows, unit = mandate.rows, largest_return(outlook)
        scale = objective_scale(mandate, unit, typical_variance(outlook))
        row_units = np.where(rows.looks_at_gains_alone, unit, 1.0)
        dual = mandate.ambiguity.compiled.linear_dual(outlook.probabilities) if mandate.return_weight else _NO_SET
        at = self._columns(outlook, mandate, len(dual.cost))
        expects, count, names = rows.uses_scenario_returns != 0, len(rows.labels), len(mandate.cost_rates)
        gain_price = mandate.return_weight * unit / scale
        q, low, high = np.zeros(at.count), np.full(at.count, -np.inf), np.full(at.count, np.inf)
        q[at.bought] = q[at.sold] = trading_price / scale
        q[at.costs] = mandate.cost_price(outlook) * unit / scale
        if (charges := mandate.linear_charge) is not None:
            q[at.held] = charges / scale
        low[: 3 * names + 1], high[at.sold] = 0.0, start.holdings
        of_rows = self._inequalities(outlook, rows, at, unit, row_units)
        if mandate.return_weight:
            q[at.gains], q[at.sets], low[at.sets] = -gain_price * dual.mean, dual.cost, np.where(dual.free, -np.inf, 0)
            for matrix, to, factor in ((dual.losses, at.gains, -gain_price), (dual.rows, at.sets, 1.0)):
                row, column = np.nonzero(matrix)
                of_rows.append((count + row, to[column], factor * matrix[row, column]))
        equations = names + 3 + len(at.factors) + len(at.gains)
        b, g = np.zeros(equations), np.zeros(count + len(dual.losses))
        b[:names], b[names] = start.holdings, start.cash
        g[:count] = (rows.limit + np.where(expects, rows.wealth, 0.0)) / row_units
        return ProblemData(
            self._matrix("P", self._curve(outlook.risk, at, 2 * mandate.risk_aversion / scale), at.count, at.count),
            self._matrix("A", self._equations(outlook, mandate.cost_rates, at, unit), equations, at.count),
            self._matrix("F", of_rows, len(g), at.count),
            q, b, g, low, high, scale, row_units, count, dual.losses, dual.mean,
        )  # fmt: skip

    def _columns(self, outlook: Outlook, mandate: Mandate, of_set: int) -> _Columns:
        """Where each variable stands; gains only where something looks at them."""
        names, _, full = len(mandate.cost_rates), *self._risk(outlook.risk)
        looks = bool(mandate.return_weight) or bool(mandate.rows.uses_scenario_returns.any())
        factors, gains = 0 if full else outlook.risk.loadings.shape[1], len(outlook.scenarios) if looks else 0
        ends = np.cumsum([0, names, names, names, 1, 1, 1, factors, gains, of_set])
        parts = [np.arange(begin, end) for begin, end in pairwise(ends)]
        return _Columns(int(ends[-1]), *parts)

    def _equations(self, outlook: Outlook, rates: Vector, at: _Columns, unit: float) -> list[Entries]:
        """Holdings, cash, wealth, costs, factors and gains, one equation each."""
        names, scenarios = len(rates), len(at.gains)
        position, ones = np.arange(names), np.ones(names)
        cash, wealth, costs = names + np.arange(3)
        of_factors, of_gains = (
            names + 3 + np.arange(len(at.factors)),
            names + 3 + len(at.factors) + np.arange(scenarios),
        )
        found: list[Entries] = [
            (position, at.held, ones), (position, at.bought, -ones), (position, at.sold, ones),
            (cash, at.cash, 1.0), (cash, at.bought, 1 + rates), (cash, at.sold, rates - 1),
            (wealth, at.wealth, 1.0), (wealth, at.held, -ones), (wealth, at.cash, -1.0),
            (costs, at.costs, 1.0), (costs, at.bought, -rates / unit), (costs, at.sold, -rates / unit),
            (of_factors, at.factors, 1.0),
            *((names + 3 + row, to, -value) for row, to, value in self._risk(outlook.risk)[0]),
        ]  # fmt: skip
        if scenarios:
            found += [
                (of_gains, at.gains, 1.0), (of_gains, at.cash, -outlook.cash_returns / unit),
                (np.repeat(of_gains, names), np.tile(at.held, scenarios), -outlook.returns.ravel() / unit),
            ]  # fmt: skip
        return found

    def _inequalities(
        self, outlook: Outlook, rows: RuleRows, at: _Columns, unit: float, row_units: Vector
    ) -> list[Entries]:
        """The rules; rows on gains have W written as 1 − costs."""
        expects = rows.uses_scenario_returns != 0
        in_cash, in_wealth = np.flatnonzero(rows.cash), np.flatnonzero((rows.wealth != 0) & ~expects)
        found: list[Entries] = [(row, to, value / row_units[row]) for row, to, value in self._rows(rows)]
        found += [
            (in_cash, at.cash, rows.cash[in_cash] / row_units[in_cash]),
            (in_wealth, at.wealth, -rows.wealth[in_wealth]),
        ]
        if expects.any():
            in_costs, own = np.flatnonzero(expects), rows.gains if rows.gains.shape[1] else 0 * rows.expected[:, None]
            on_gains = np.outer(rows.expected, outlook.probabilities) + own
            row, to = np.nonzero(np.broadcast_to((rows.expected != 0)[:, None] | (own != 0), on_gains.shape))
            found += [
                (in_costs, at.costs, rows.wealth[in_costs] * unit / row_units[in_costs]),
                (row, at.gains[to], on_gains[row, to] * unit / row_units[row]),
            ]
        return found

    def _curve(self, risk: FactorRisk, at: _Columns, price: float) -> list[Entries]:
        """The risk, which is twice its quadratic form."""
        if len(at.factors):
            return [(at.held, at.held, price * risk.specific), (at.factors, at.factors, price)]
        row, column = np.indices((len(at.held), len(at.held))).reshape(2, -1)
        covariance = risk.loadings @ risk.loadings.T + np.diag(risk.specific)
        return [(row, column, price * covariance.ravel())]

    def _rows(self, rows: RuleRows) -> list[Entries]:
        if self._of_rows is None or self._of_rows[0] is not rows:
            names, found = rows.holdings.shape[1], list[Entries]()
            for part, matrix in enumerate((rows.holdings, rows.buys, rows.sells)):
                entries = matrix.tocoo()
                found.append((entries.coords[0], entries.coords[1] + part * names, entries.data))
            self._of_rows = rows, found
        return self._of_rows[1]

    def _risk(self, risk: FactorRisk) -> tuple[list[Entries], bool]:
        """The loadings, rows from 0, and whether the full covariance is smaller than its factors."""
        if self._of_risk is None or self._of_risk[0] is not risk:
            names, factors = risk.loadings.shape
            full = factors > FEW_FACTORS * names
            at, to = np.repeat(np.arange(factors), names), np.tile(np.arange(names), factors)
            self._of_risk = risk, [] if full else [(at, to, risk.loadings.T.ravel())], full
        return self._of_risk[1:]

    def _matrix(self, name: str, entries: list[Entries], rows: int, columns: int) -> sp.csc_array:
        """A matrix of entries; its pattern is that of the question before, where that is the same."""
        known = self._patterns.get(name)
        if known is None or not known.fits(entries, rows, columns):
            known = self._patterns[name] = _Pattern(entries, rows, columns)
        return known.filled(entries)

    def solve(self, at: ProblemData) -> RawSolution | None:
        """Solve what was written; None where PIQP does not say that it did."""
        before, self._given = self._given, None
        named, old = at.named(), {} if before is None else before.named()
        if before is None or not at.same_pattern(before):
            self._solver = self._fresh()
            self._solver.setup(**named)
        elif changed := {
            key: new for key, new in named.items() if not np.array_equal(_numbers(new), _numbers(old[key]))
        }:
            self._solver.update(**changed)
        status = self._solver.solve()
        self._given, self.status = at, status.name.removeprefix("PIQP_").lower()
        if status.name != "PIQP_SOLVED":
            return None
        result = self._solver.result
        return RawSolution(np.array(result.x), np.array(result.y), np.array(result.z_u))

    def _fresh(self) -> Any:
        import piqp

        solver = piqp.SparseSolver()
        settings = solver.settings
        fixed = {"compute_timings": False, "preconditioner_iter": 0, "preconditioner_reuse_on_update": True}
        for name, value in (self.options | fixed).items():
            setattr(settings, name, value)
        return solver


class _Pattern:
    """Where coefficients go in a matrix, by the order in which they are stated."""

    def __init__(self, entries: list[Entries], rows: int, columns: int) -> None:
        self._stated, self._shape = [(at, to) for at, to, _ in entries], (rows, columns)
        at, to = (np.concatenate([np.broadcast_to(part[axis], _size(part)) for part in entries]) for axis in (0, 1))
        self._order = np.lexsort((at, to))
        self._indices = at[self._order].astype(np.int32)
        self._starts = np.zeros(columns + 1, dtype=np.int32)
        np.cumsum(np.bincount(to, minlength=columns), out=self._starts[1:])

    def fits(self, entries: list[Entries], rows: int, columns: int) -> bool:
        """Whether these are stated in the same order of the same places."""
        return (
            self._shape == (rows, columns)
            and len(entries) == len(self._stated)
            and all(
                _same(at, one) and _same(to, other)
                for (at, to, _), (one, other) in zip(entries, self._stated, strict=True)
            )
        )

    def filled(self, entries: list[Entries]) -> sp.csc_array:
        """The matrix of the entries' numbers."""
        numbers = np.concatenate([np.broadcast_to(part[2], _size(part)) for part in entries])[self._order]
        return sp.csc_array((numbers, self._indices, self._starts), shape=self._shape)


def _same(one: Any, other: Any) -> bool:
    return one is other or np.array_equal(one, other)


def _size(entries: Entries) -> int:
    return max(np.size(part) for part in entries) if all(np.size(part) for part in entries) else 0


def _numbers(of: Any) -> Vector:
    return np.asarray(of.data if sp.issparse(of) else of)


def _largest(values: Vector) -> float:
    return max(float(values.max()), 0.0) if values.size else 0.0
