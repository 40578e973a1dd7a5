"""The quadratic and linear programs of one period, written down as matrices: PIQP is given them, and updated in place;
HiGHS where there is no aversion to risk.

The same program as `single_period.py` states in cvxpy for every mandate, for those whose only curve is their risk and
whose set has flat faces: no convex rules, no impact, no ellipsoids. Nothing is compiled, and cvxpy is not imported. The
two are held to each other in tests; an answer of either is proved outside of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.ambiguity.sets import LinearDual
from allocator.mandate.mandate import Mandate
from allocator.optimization.highs import linear_model, quiet_highs, run_highs
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
    return mandate.risk_aversion > 0 and is_matrices(mandate)


def is_matrices(mandate: Mandate) -> bool:
    """Whether the mandate is a program that this module writes: quadratic, or linear where risk has no price."""
    error = mandate.return_error
    linear = error is None or error.linear_charge is not None
    flat = not mandate.convex_rules and mandate.impact is None and mandate.ambiguity.says_linear_dual
    return flat and linear


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
    At: sp.csr_array
    Ft: sp.csr_array
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
        gradient = curve + self.q + self.At @ y + self.Ft @ z
        bound = np.where(gradient > 0, self.low, self.high)
        held = np.isfinite(bound)
        dual = max(_largest(np.abs(gradient[~held])), _largest(-z)) / max(1.0, _largest(np.abs(self.q)))
        curvature, linear = float(x @ curve), float(self.q @ x)
        upper = 0.5 * curvature + linear
        lower = -0.5 * curvature - float(self.b @ y) - float(self.g @ z) + float(bound[held] @ gradient[held])
        return CanonicalCheck(max(map(_largest, missed)) / size, dual, abs(upper - lower) / max(1.0, abs(upper)))


_NO_SET = LinearDual(np.zeros(0), np.zeros(0), np.zeros(0, dtype=bool), np.zeros((0, 0)), np.zeros((0, 0)))
Columns: TypeAlias = tuple[Places, Places, Vector]
"""How many entries each of some columns has, then the row and the number of each entry, column after column."""


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
        self._made = dict[str, tuple[tuple[Any, ...], Any]]()

    def write(
        self, start: Position, outlook: Outlook, mandate: Mandate, trading_price: float = TIE_BREAK
    ) -> ProblemData:
        """The question as numbers; `trading_price` is charged for a unit of wealth traded, beside its costs."""
        rows, risk, names, returns = mandate.rows, outlook.risk, len(mandate.cost_rates), outlook.returns
        own = (risk.loadings, risk.specific)
        unit, variance = self._kept(
            "units", (*own, returns, outlook.cash_returns), lambda: (largest_return(outlook), typical_variance(outlook))
        )
        scale = objective_scale(mandate, unit, variance)
        row_units = np.where(rows.looks_at_gains_alone, unit, 1.0)
        dual = _NO_SET
        if mandate.return_weight:
            dual = self._kept(
                "set",
                (mandate.ambiguity, outlook.probabilities),
                lambda: mandate.ambiguity.compiled.linear_dual(outlook.probabilities),
            )
        factors = 0 if _is_full(risk) else risk.loadings.shape[1]
        looks = bool(mandate.return_weight) or bool(rows.uses_scenario_returns.any())
        gains = len(outlook.scenarios) if looks else 0
        # holdings, purchases, sales (names each), cash, wealth, costs, factors, gains, and the set's own
        ends = np.cumsum([0, names, names, names, 1, 1, 1, factors, gains, len(dual.cost)])
        held, bought, sold, _, _, costs, _, of_gains, of_set = map(slice, ends[:-1], ends[1:])
        count, equations = int(ends[-1]), names + 3 + factors + gains
        gain_price = mandate.return_weight * unit / scale
        q, low, high = np.zeros(count), np.full(count, -np.inf), np.full(count, np.inf)
        q[bought] = q[sold] = trading_price / scale
        q[costs] = mandate.cost_price(outlook) * unit / scale
        if (charges := mandate.linear_charge) is not None:
            q[held] = charges / scale
        low[: 3 * names + 1], high[sold] = 0.0, start.holdings
        if mandate.return_weight:
            q[of_gains], q[of_set], low[of_set] = -gain_price * dual.mean, dual.cost, np.where(dual.free, -np.inf, 0)
        b, g = np.zeros(equations), np.zeros(len(rows.labels) + len(dual.losses))
        b[:names], b[names] = start.holdings, start.cash
        wealth = np.where(rows.uses_scenario_returns != 0, rows.wealth, 0.0)
        g[: len(rows.labels)] = (rows.limit + wealth) / row_units
        curve = self._kept("curve", (*own, count), lambda: _matrix(count, self._curve(risk, count)))
        A, At = self._kept(
            "equations",
            (*own, returns, outlook.cash_returns, mandate.cost_rates, gains, len(dual.cost)),
            lambda: _both_ways(
                equations, self._equations(outlook, mandate.cost_rates, unit, factors, gains, len(dual.cost))
            ),
        )
        F, Ft = self._kept(
            "inequalities",
            (rows, dual.losses, dual.rows, outlook.probabilities, unit, factors, gains),
            lambda: _both_ways(len(g), self._inequalities(outlook, rows, dual, unit, row_units, factors, gains)),
        )
        # of what is kept, the curve is at a price of 1, and so are the losses of the set
        P = self._kept(
            "priced curve",
            (curve, mandate.risk_aversion, scale),
            lambda: _with_numbers(curve, 2 * mandate.risk_aversion / scale * curve.data),
        )
        F, Ft = self._kept("priced", (F, gain_price), lambda: _priced(F, Ft, of_gains, len(rows.labels), gain_price))
        return ProblemData(
            P, A, F, At, Ft, q, b, g, low, high, scale, row_units, len(rows.labels), dual.losses, dual.mean,
        )  # fmt: skip

    def _kept(self, what: str, of: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What was made of the same arrays the last time; else made anew. Where one was changed in place since, the
        answer is one to another question, and its proof refuses it.
        """
        before, made = self._made.get(what, ((), None))
        if len(before) != len(of) or not all(map(_same, before, of)):
            made = make()
            self._made[what] = of, made
        return made

    def _equations(
        self, outlook: Outlook, rates: Vector, unit: float, factors: int, gains: int, of_set: int
    ) -> list[Columns]:
        """Holdings, cash, wealth, costs, factors and gains, one equation each, and from wealth on one variable."""
        names, ones = len(rates), np.ones(len(rates))
        each, cash, wealth, costs = np.arange(names)[:, None], names, names + 1, names + 2
        further = np.arange(wealth, costs + 1 + factors + gains)
        of_gains, of_held = further[2 + factors :], further[further != costs]
        loadings, returns = outlook.risk.loadings[:, :factors], outlook.returns[:gains].T / unit
        of_cash = np.array([[1.0, -1.0, *-outlook.cash_returns[:gains] / unit]])
        return [
            _alike(_beside(each, of_held), np.column_stack([ones, -ones, -loadings, -returns])),
            _alike(_beside(each, [cash, costs]), np.column_stack([-ones, 1 + rates, -rates / unit])),
            _alike(_beside(each, [cash, costs]), np.column_stack([ones, rates - 1, -rates / unit])),
            _alike(np.array([[cash, wealth, *of_gains]]), of_cash),
            _alike(further[:, None], np.ones((len(further), 1))),
            _empty(of_set),
        ]

    def _inequalities(
        self,
        outlook: Outlook,
        rows: RuleRows,
        dual: LinearDual,
        unit: float,
        row_units: Vector,
        factors: int,
        gains: int,
    ) -> list[Columns]:
        """The rules, rows on gains having W written as 1 − costs; then the set, a gain being worth 1."""
        expects, count = rows.uses_scenario_returns != 0, len(rows.labels)
        wealth = -np.where(expects, 0.0, rows.wealth)
        names, in_costs = rows.by_name, np.flatnonzero(expects)
        found = [
            (np.diff(names.indptr), names.indices, names.data / row_units[names.indices]),
            _nonzero((rows.cash / row_units)[:, None]),
            _nonzero(wealth[:, None]),
            (np.array([len(in_costs)]), in_costs, rows.wealth[in_costs] * unit / row_units[in_costs]),
            _empty(factors),
        ]
        losses = -dual.losses if len(dual.losses) else np.zeros((0, gains))
        if expects.any():
            own = rows.gains if rows.gains.shape[1] else 0 * rows.expected[:, None]
            on_gains = (np.outer(rows.expected, outlook.probabilities) + own) * unit / row_units[:, None]
            there = np.broadcast_to((rows.expected != 0)[:, None] | (own != 0), on_gains.shape)
            found.append(_nonzero(np.vstack([on_gains, losses]), np.vstack([there, losses != 0])))
        else:
            found.append(_nonzero(losses, below=count))
        return [*found, _nonzero(dual.rows, below=count)]

    def _curve(self, risk: FactorRisk, count: int) -> list[Columns]:
        """The risk at a price of 1; P is twice its quadratic form."""
        names, factors = risk.loadings.shape
        if _is_full(risk):
            covariance = risk.loadings @ risk.loadings.T + np.diag(risk.specific)
            return [_alike(np.arange(names)[None, :], covariance), _empty(count - names)]
        place, own = np.arange(names)[:, None], 3 * names + 3 + np.arange(factors)[:, None]
        between = _empty(2 * names + 3)
        after = _empty(count - 3 * names - 3 - factors)
        return [_alike(place, risk.specific[:, None]), between, _alike(own, np.ones((factors, 1))), after]

    def solve(self, at: ProblemData) -> RawSolution | None:
        """Solve what was written; None where PIQP does not say that it did."""
        before, self._given = self._given, None
        if before is None or not at.same_pattern(before):
            self._solver = self._fresh()
            self._solver.setup(**at.named())
        else:
            old = before.named()
            self._solver.update(**{key: new for key, new in at.named().items() if new is not old[key]})
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


class LinearProgram(QuadraticProgram):
    """The same where risk has no price: HiGHS, whose answer is a corner; each solve starts cold, too."""

    def solve(self, at: ProblemData) -> RawSolution | None:
        """Solve what was written; None where HiGHS does not say that it did."""
        solver, equations = quiet_highs(**self.options), len(at.b)
        rows = sp.csr_array(sp.vstack([at.A, at.F]))
        low, high = np.concatenate([at.b, np.full(len(at.g), -np.inf)]), np.concatenate([at.b, at.g])
        solver.passModel(linear_model(at.q, at.low, at.high, rows, low, high))
        run_highs(solver)
        self.status = solver.modelStatusToString(solver.getModelStatus()).lower()
        if self.status != "optimal":
            return None
        found = solver.getSolution()
        prices = -np.array(found.row_dual)
        return RawSolution(np.array(found.col_value), prices[:equations], prices[equations:])


def _is_full(risk: FactorRisk) -> bool:
    """Whether the full covariance is smaller than its factors."""
    return bool(risk.loadings.shape[1] > FEW_FACTORS * risk.loadings.shape[0])


def _matrix(rows: int, blocks: list[Columns]) -> sp.csc_array:
    """Blocks of columns side by side."""
    counts, at, numbers = map(np.concatenate, zip(*blocks, strict=True))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return sp.csc_array((numbers, at.astype(np.int32), starts), shape=(rows, len(counts)))


def _both_ways(rows: int, blocks: list[Columns]) -> tuple[sp.csc_array, sp.csr_array]:
    """The same, and transposed."""
    matrix = _matrix(rows, blocks)
    return matrix, matrix.T


def _priced(F: Any, Ft: Any, of_gains: slice, rules: int, price: float) -> tuple[Any, Any]:
    """The same with the losses of the set, which stand below the rules, at a price."""
    begin, end = F.indptr[[of_gains.start, of_gains.stop]]
    numbers, of_losses = F.data.copy(), F.indices[begin:end] >= rules
    numbers[begin:end][of_losses] *= price
    return _with_numbers(F, numbers), _with_numbers(Ft, numbers)


def _with_numbers(matrix: Any, numbers: Vector) -> Any:
    """Other numbers at the same places, which need no looking at."""
    same = copy(matrix)
    same.data = numbers
    return same


def _alike(rows: Places, numbers: Matrix) -> Columns:
    """(n, m) columns of as many entries each."""
    at = np.broadcast_to(rows, numbers.shape)
    return np.full(len(numbers), numbers.shape[1]), at.ravel(), numbers.ravel()


def _beside(each: Places, shared: Sequence[int]) -> Places:
    """(n, m) rows: (n, 1) one of its own, then the same for all."""
    return np.hstack([each, np.broadcast_to(np.array(shared), (len(each), len(shared)))])


def _empty(count: int) -> Columns:
    nothing = np.zeros(0, dtype=np.int64)
    return np.zeros(count, dtype=np.int64), nothing, np.zeros(0)


def _nonzero(matrix: Matrix, there: Matrix | None = None, below: int = 0) -> Columns:
    """The columns of a matrix without zeros, or those that are there, below so many rows."""
    column, row = np.nonzero((matrix if there is None else there).T)
    return np.bincount(column, minlength=matrix.shape[1]), below + row, matrix[row, column]


def _same(one: Any, other: Any) -> bool:
    """Whether two arrays or numbers are equal; anything else is only the same as itself."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else isinstance(one, (float, int)) and one == other


def _largest(values: Vector) -> float:
    return max(float(values.max()), 0.0) if values.size else 0.0
