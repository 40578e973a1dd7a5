"""Solve a compiled program: solver by class, a ladder of fallbacks, and nothing accepted on a solver's word.

QPs go to PIQP, linear programs to HiGHS, cones to Clarabel, which is also everybody's fallback. A status other than
`optimal`, or a solution that fails the canonical check, sends the question to the next solver; when none is left there
is no plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from allocator.book.book import Book
from allocator.errors import Infeasible, NotSolved
from allocator.mandate.mandate import Mandate
from allocator.optimization.conflicts import explain_conflict
from allocator.optimization.highs import TimeLimit
from allocator.optimization.quadratic_program import TIE_BREAK, QuadraticProgram, is_quadratic
from allocator.optimization.verification import CanonicalCheck, DualValues, canonical_check
from allocator.outlook.outlook import Outlook
from allocator.rules import Trade
from allocator.rules.convex import ConvexRuleDual
from allocator.rules.directions import flat_dual
from allocator.rules.rows import Position
from allocator.types import DeferredModule, Vector

if TYPE_CHECKING:
    import cvxpy as cp

    from allocator.optimization.single_period import SinglePeriodProblem
else:
    cp = DeferredModule("cvxpy")

RESIDUAL_ALLOWED = 1e-6
"""Canonical residuals above this are no solution, whatever the status says."""


@dataclass(frozen=True)
class Limits:
    """Where a solver stops: residual and gap `tolerance` on the scaled program, and `seconds` for each solver where the
    user limits them. A solver that takes no limit is refused when it ends too late.
    """

    tolerance: float = 1e-9
    seconds: float | None = None

    @classmethod
    def of(cls, book: Book) -> Limits:
        """As `[solver]` states them."""
        return cls(book.settings.solver.tolerance, book.settings.solver.time_limit_seconds)

    def clock(self) -> TimeLimit:
        """The user's limit for a solver that is asked now."""
        return TimeLimit("solver.time_limit_seconds", self.seconds)


@dataclass(frozen=True, eq=False)
class Solver:
    """A solver as it is asked: `name` to cvxpy, `label` in plans, and in its own words what bounds it.

    `tolerances` and `work` are its options, `finest` the least tolerance that it takes, and `time_limit` its option
    where it has one. `read` finds the primal vector and the duals of equations and of cones in what it hands back,
    copied. It is asked at `looseness` times the tolerance, with `further` options.
    """

    name: str
    tolerances: tuple[str, ...]
    work: tuple[str, int]
    read: Callable[[Any, Any], tuple[Vector, Vector, Vector]]
    time_limit: str | None = None
    finest: float = 0.0
    proves_conflicts: bool = False
    """Whether its certificate that limits conflict is to be trusted."""
    label: str = ""
    looseness: float = 1.0
    further: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """What plans call it."""
        return self.label or self.name

    def at(self, looseness: float, label: str, further: Mapping[str, float] = MappingProxyType({})) -> Solver:
        """The same asked in another way, whose certificates prove nothing."""
        return replace(self, looseness=looseness, label=label, further=further, proves_conflicts=False)

    def options(self, limits: Limits) -> dict[str, Any]:
        """Tolerances, the work that ends it, and the user's time limit where there is one."""
        tolerance = max(self.looseness * limits.tolerance, self.finest)
        options = {**dict.fromkeys(self.tolerances, tolerance), self.work[0]: self.work[1], **self.further}
        timed = self.time_limit is not None and limits.seconds is not None
        return options | ({str(self.time_limit): limits.seconds} if timed else {})


def _parted(x: Any, z: Any, data: Any) -> tuple[Vector, Vector, Vector]:
    duals, equations = np.array(z), data["dims"].zero
    return np.array(x), duals[:equations], duals[equations:]


PIQP = Solver(
    "PIQP",
    ("eps_abs", "eps_rel", "eps_duality_gap_abs", "eps_duality_gap_rel"),
    ("max_iter", 500),
    lambda raw, _: (np.array(raw.x), np.array(raw.y), np.array(raw.z_u)),  # live views, which the next solve changes
)
HIGHS = Solver(
    "HIGHS",
    ("primal_feasibility_tolerance", "dual_feasibility_tolerance"),
    ("simplex_iteration_limit", 1_000_000),
    lambda raw, data: _parted(raw["solution"].col_value, -np.array(raw["solution"].row_dual), data),
    "time_limit",
    finest=1e-10,
)
CLARABEL = Solver(
    "CLARABEL",
    ("tol_gap_abs", "tol_gap_rel", "tol_feas"),
    ("max_iter", 500),
    lambda raw, data: _parted(raw.x, raw.z, data),
    "time_limit",
    proves_conflicts=True,
)
RELAXED = CLARABEL.at(10.0, "CLARABEL at 10 x tolerance")
"""Where cones meet in a corner the last digit may be out of reach; our own checks then judge what is left."""
SCS = Solver(
    "SCS",
    ("eps_abs", "eps_rel"),
    ("max_iters", 100_000),
    lambda raw, data: _parted(raw["x"], raw["y"], data),
    "time_limit_secs",
    finest=1e-9,
)


@dataclass(frozen=True, eq=False)
class Solution:
    """What a solver found and who vouches for it; holdings (N,), cash and trades (N,) are fractions of the account."""

    holdings: Vector
    cash: float
    bought: Vector
    sold: Vector
    multipliers: DualValues
    solver: str
    attempts: tuple[str, ...]
    """Solvers tried before, each with the reason why its answer was not taken."""
    canonical: CanonicalCheck


class Program:
    """A mandate solved as often as its numbers change: as matrices where it is a quadratic program, else compiled once
    for its shape.
    """

    def __init__(self, outlook: Outlook, mandate: Mandate, *, warm: bool = True, explains: bool = True) -> None:
        """Compile; where not `warm`, solvers start anew each time and no answer depends on the one before.

        Where it does not explain, a conflict of rules that Clarabel proves is not taken apart, which takes as long as a
        hundred solves; `quick` is set where it is taken apart as far as takes little work.
        """
        self._warm, self.explains, self.quick = warm, explains, False
        self._quadratic: QuadraticProgram | None = None
        self._kept: SinglePeriodProblem | None = None
        if not is_quadratic(mandate):
            self._compiled(outlook, mandate)

    def fits(self, outlook: Outlook, mandate: Mandate) -> bool:
        """Whether this program has the shape of that question."""
        if self._kept is None or is_quadratic(mandate):
            return is_quadratic(mandate)
        return self._has_shape(outlook, mandate)

    def _compiled(self, outlook: Outlook, mandate: Mandate) -> SinglePeriodProblem:
        from allocator.optimization.single_period import SinglePeriodProblem

        if self._kept is None or not self._has_shape(outlook, mandate):
            self._kept = SinglePeriodProblem(outlook, mandate)
        return self._kept

    def _has_shape(self, outlook: Outlook, mandate: Mandate) -> bool:
        from allocator.optimization.single_period import problem_shape

        return self._kept is not None and self._kept.shape.fits(problem_shape(outlook, mandate))

    def solve(
        self,
        start: Position,
        outlook: Outlook,
        mandate: Mandate,
        limits: Limits | None = None,
        refused: Mapping[str, str] = MappingProxyType({}),
        trading_price: float = TIE_BREAK,
    ) -> Solution:
        """Write the numbers, solve, check canonically; `refused` names solvers not to ask, and why.

        `trading_price` is charged for a unit of wealth traded, beside its costs.

        Raises:
            Infeasible: limits conflict; names an irreducible conflict and its smallest fixes.
            NotSolved: no solver gave an answer that passes the canonical check.
            OutOfTime: the user's time limit ended a solver.
        """
        if not self.fits(outlook, mandate):
            raise ValueError("this question has another shape; compile a Program of its own")
        limits, attempts = limits or Limits(), [f"{solver}: {reason}" for solver, reason in refused.items()]
        ladder = [solver for solver in self.ladder(mandate) if str(solver) not in refused]
        if is_quadratic(mandate) and ladder[:1] == [PIQP]:
            found = self._by_matrices(start, outlook, mandate, limits, attempts, trading_price)
            if found is not None:
                return found
            ladder = ladder[1:]
        compiled = self._compiled(outlook, mandate)
        compiled.write(start, outlook, mandate, trading_price)
        for solver in ladder:
            status, check = solve_once(compiled.problem, solver, limits, warm=self._warm)
            if check is not None and check.worst <= RESIDUAL_ALLOWED:
                return self._solution(compiled, outlook, mandate, str(solver), tuple(attempts), check)
            said = status if check is None else f"said {status}, but residuals are {check.worst:.1e}"
            attempts.append(f"{solver}: {said}")
            if solver.proves_conflicts and status in (cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE):
                if not self.explains:
                    raise Infeasible("infeasible: limits conflict; `rebalance` with these numbers names them")
                break
        if (conflict := explain_conflict(start, outlook, mandate, quick=self.quick)) is not None:
            raise conflict
        rule = ", or a tight rule" if mandate.rules else ""
        raise NotSolved(f"no verified solution ({'; '.join(attempts)}); loosen solver.tolerance a little{rule}")

    def _by_matrices(
        self,
        start: Position,
        outlook: Outlook,
        mandate: Mandate,
        limits: Limits,
        attempts: list[str],
        trading_price: float,
    ) -> Solution | None:
        """The quadratic program's answer; None, and why among the `attempts`, where there is none that passes."""
        options = PIQP.options(limits)
        if self._quadratic is None or self._quadratic.options != options:
            self._quadratic = QuadraticProgram(options)
        at, clock = self._quadratic.write(start, outlook, mandate, trading_price), limits.clock()
        raw = self._quadratic.solve(at)
        clock.refuse_late()
        check = None if raw is None else at.check(raw)
        if raw is None or check is None or not check.worst <= RESIDUAL_ALLOWED:
            said = self._quadratic.status if check is None else f"said optimal, but residuals are {check.worst:.1e}"
            attempts.append(f"{PIQP}: {said}")
            return None
        names, duals = len(start.holdings), at.duals(raw, outlook, mandate)
        held, bought, sold = (raw.x[part * names : (part + 1) * names] for part in range(3))
        adversary = mandate.ambiguity.project(duals.adversary, outlook.probabilities)
        multipliers = replace(duals, adversary=adversary)
        return Solution(held, float(raw.x[3 * names]), bought, sold, multipliers, str(PIQP), tuple(attempts), check)

    def ladder(self, mandate: Mandate) -> tuple[Solver, ...]:
        """The solvers asked, in this order."""
        if not is_quadratic(mandate) and self._kept is not None and self._kept.shape.conic:
            return (CLARABEL, RELAXED, SCS)
        return (PIQP, CLARABEL) if mandate.risk_aversion > 0 else (HIGHS, CLARABEL)

    def _solution(
        self,
        compiled: SinglePeriodProblem,
        outlook: Outlook,
        mandate: Mandate,
        solver: str,
        attempts: tuple[str, ...],
        canonical: CanonicalCheck,
    ) -> Solution:
        variables, constraints, scale = compiled.variables, compiled.constraints, compiled.scale
        rows = len(mandate.rows.labels)
        dual = constraints.losses.dual_value if constraints.losses is not None else outlook.probabilities
        prices = flat_dual(constraints.rows.dual_value if constraints.rows is not None else None, rows)
        prices = np.maximum(prices, 0) * scale / compiled.row_units
        slopes = self._slopes(compiled, outlook, mandate)
        # where W is written as 1 − costs, cash is priced without what wealth is worth there
        in_costs = mandate.cost_price(outlook) + float(
            prices @ np.where(mandate.rows.uses_scenario_returns != 0, mandate.rows.wealth, 0)
        )
        in_costs += sum(
            slope.price for rule, slope in zip(mandate.convex_rules, slopes, strict=True) if rule.looks_at_gains
        )
        multipliers = DualValues(
            rows=prices,
            cash=float(flat_dual(constraints.cash.dual_value, 1)[0]) * scale + in_costs,
            adversary=mandate.ambiguity.project(flat_dual(dual, len(outlook.scenarios)), outlook.probabilities),
            slopes=slopes,
            error=self._error_direction(compiled, mandate),
        )
        return Solution(
            np.asarray(variables.holdings.value, dtype=float).copy(),
            float(variables.cash.value),
            np.asarray(variables.buys.value, dtype=float).copy(),
            np.asarray(variables.sells.value, dtype=float).copy(),
            multipliers,
            solver,
            attempts,
            canonical,
        )

    def _error_direction(self, compiled: SinglePeriodProblem, mandate: Mandate) -> Vector | None:
        """The direction in which the solver's dual says that returns are wrong; None without such a charge."""
        multiplier = None if compiled.error is None else compiled.error.read()
        if multiplier is None or mandate.return_error is None or mandate.return_error.directions is None:
            return None
        _, direction, length = multiplier
        # shorter than the price where nothing is at risk: only a part of the charge is then used
        used = max(length * (1 + 1e-15), compiled.price_of_error)
        return mandate.return_error.directions.lawful(direction / used if used > 0 else direction)

    def _slopes(self, compiled: SinglePeriodProblem, outlook: Outlook, mandate: Mandate) -> tuple[ConvexRuleDual, ...]:
        """Prices and lawful directions of the convex rules."""
        slopes = []
        for rule, own in zip(mandate.convex_rules, compiled.convex, strict=True):
            price, along, length = own.read() or (0.0, np.zeros(0), 0.0)
            # a price that is too small tells no direction
            direction = rule.lawful(along / length, outlook) if length > 1e-12 else None
            unit = compiled.unit if rule.looks_at_gains else 1.0
            slopes.append(ConvexRuleDual(price / unit * compiled.scale, direction))
        return tuple(slopes)


def solve_once(
    problem: cp.Problem, solver: Solver, limits: Limits, *, warm: bool = True
) -> tuple[str, CanonicalCheck | None]:
    """Ask one solver: its status, and the canonical check of its answer where it says that it has one.

    A `warm` solver keeps what it made of the last question: its scaling, and options that are not said anew.

    Raises:
        OutOfTime: the user's time limit ended it, so that what another solver would say hangs on the clock.
    """
    options, clock = solver.options(limits), limits.clock()
    try:
        # cvxpy 1.9.3 multiplies infinite bounds of nonneg variables while compiling; the product is not used
        with np.errstate(invalid="ignore"):
            data, chain, inverse = problem.get_problem_data(solver.name, canon_backend="COO", solver_opts=options)
            raw = chain.solve_via_data(problem, data, warm, False, options)
        clock.refuse_late()  # also of solvers that know no limit, and of those that reached it
        # not unpack_results: it warns of inaccurate solutions, which our own residuals judge, and what silences a
        # warning is of the whole process, where another thread may be solving too
        solution = chain.invert(raw, inverse)
        if solution.status in cp.settings.ERROR:
            return f"failed ({solution.status})", None
        problem.unpack(solution)
    except cp.SolverError as error:
        return f"failed ({error})", None
    if problem.status != cp.OPTIMAL:
        return str(problem.status), None
    return str(problem.status), canonical_check(data, *solver.read(raw, data))


# From a solver's holdings to a trade: without dust, and with the cash that the trades leave.
#
_DUST = 1e-9
"""A fractional trade below this part of the account is the solver's noise, not a wish."""


def trade_of_solution(start: Position, mandate: Mandate, holdings: Vector, value: float) -> Trade:
    """The solver's holdings without dust, cash recomputed from the cash row."""
    moved = np.maximum(holdings, 0.0) - start.holdings
    moved = np.where(np.abs(moved) < _DUST, 0.0, moved)
    moved = np.where(start.holdings + moved < _DUST, -start.holdings, moved)
    bought, sold = np.maximum(moved, 0.0), np.maximum(-moved, 0.0)
    costs = float(mandate.costs(bought, sold).sum())
    cash = start.cash + float(sold.sum()) - float(bought.sum()) - costs
    if -_DUST < cash < 0:
        cash = 0.0
    return Trade((start.holdings + moved) * value, cash * value, bought * value, sold * value, costs * value, value)
