"""Solve a compiled program: solver by class, a ladder of fallbacks, and nothing accepted on a solver's word.

QPs go to PIQP, linear programs to HiGHS, cones to Clarabel, which is also everybody's fallback. A status other than
`optimal`, or a solution that fails the canonical check, sends the question to the next solver; when none is left there
is no plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from allocator.ambiguity.balls import AnyProbabilities
from allocator.book.book import Book
from allocator.errors import Infeasible, NotSolved
from allocator.mandate.mandate import Mandate
from allocator.optimization.conflicts import explain_conflict
from allocator.optimization.highs import TimeLimit
from allocator.optimization.quadratic_program import TIE_BREAK, LinearProgram, QuadraticProgram, is_matrices
from allocator.optimization.verification import CanonicalCheck, DualValues, canonical_check
from allocator.outlook.outlook import Outlook
from allocator.rules import Trade
from allocator.rules.convex import ConvexRuleDual
from allocator.rules.directions import flat_dual
from allocator.rules.rows import Position
from allocator.types import DeferredModule, Vector

if TYPE_CHECKING:
    import cvxpy as cp

    from allocator.optimization.single_period import ProblemShape, SinglePeriodProblem
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


class MatrixPrograms:
    """The program that writes a mandate as matrices, and whose they are: PIQP's, or HiGHS's where risk has no price."""

    def __init__(self) -> None:
        self._kept = dict[Solver, QuadraticProgram]()

    def of(self, mandate: Mandate, limits: Limits) -> tuple[Solver, QuadraticProgram]:
        """What was kept of them, unless it was asked within other limits."""
        solver, make = (PIQP, QuadraticProgram) if mandate.risk_aversion > 0 else (HIGHS, LinearProgram)
        options = solver.options(limits)
        if solver not in self._kept or self._kept[solver].options != options:
            self._kept[solver] = make(options)
        return solver, self._kept[solver]


class Program:
    """A mandate solved as often as its numbers change: as matrices where it has no curve but its risk, else compiled
    once for its shape.
    """

    def __init__(self, outlook: Outlook, mandate: Mandate, *, warm: bool = True, explains: bool = True) -> None:
        """Compile; where not `warm`, solvers start anew each time and no answer depends on the one before.

        Where it does not explain, a conflict of rules that Clarabel proves is not taken apart, which takes as long as a
        hundred solves; `quick` is set where it is taken apart as far as takes little work.
        """
        self._warm, self.explains, self.quick = warm, explains, False
        self._matrices = MatrixPrograms()
        self._kept: SinglePeriodProblem | None = None
        self._shape: ProblemShape | None = None
        self._cuts: _AdversaryCuts | None = None
        if not is_matrices(mandate):
            self._shape = _shape_of(outlook, mandate)
            if self._shape.conic and self._shape.scenarios >= MANY:
                self._cuts = _AdversaryCuts(outlook, mandate)
            else:
                self._compiled(outlook, mandate)

    def fits(self, outlook: Outlook, mandate: Mandate) -> bool:
        """Whether this program has the shape of that question."""
        if is_matrices(mandate):
            return True
        return self._shape is not None and self._shape.fits(_shape_of(outlook, mandate))

    def _compiled(self, outlook: Outlook, mandate: Mandate) -> SinglePeriodProblem:
        from allocator.optimization.single_period import SinglePeriodProblem

        if self._cuts is not None and not is_matrices(mandate):
            return SinglePeriodProblem(outlook, mandate, fixed_returns=True)
        if self._kept is None or not self._kept.shape.fits(_shape_of(outlook, mandate)):
            self._kept = SinglePeriodProblem(outlook, mandate)
        return self._kept

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
        mandate.refuse_unchosen()
        if not self.fits(outlook, mandate):
            raise ValueError("this question has another shape; compile a Program of its own")
        limits, attempts = limits or Limits(), [f"{solver}: {reason}" for solver, reason in refused.items()]
        ladder = [solver for solver in self.ladder(mandate) if str(solver) not in refused]
        if is_matrices(mandate) and ladder[:1] != [CLARABEL]:
            found = self._by_matrices(start, outlook, mandate, limits, attempts, trading_price)
            if found is not None:
                return found
            ladder = ladder[1:]
        if self._cuts is not None and not is_matrices(mandate) and str(self._cuts) not in refused:
            try:
                return self._cuts.solve(start, outlook, mandate, limits, trading_price)
            except NotSolved as error:
                attempts.append(f"{self._cuts}: {error}")
            except Infeasible:
                if self.explains and (conflict := explain_conflict(start, outlook, mandate, quick=self.quick)):
                    raise conflict from None
                raise
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
        """The answer by matrices; None, and why among the `attempts`, where there is none that passes."""
        solver, program = self._matrices.of(mandate, limits)
        at, clock = program.write(start, outlook, mandate, trading_price), limits.clock()
        raw = program.solve(at)
        clock.refuse_late()
        check = None if raw is None else at.check(raw)
        if raw is None or check is None or not check.worst <= RESIDUAL_ALLOWED:
            said = program.status if check is None else f"said optimal, but residuals are {check.worst:.1e}"
            attempts.append(f"{solver}: {said}")
            return None
        names, duals = len(start.holdings), at.duals(raw, outlook, mandate)
        held, bought, sold = (raw.x[part * names : (part + 1) * names] for part in range(3))
        adversary = mandate.ambiguity.project(duals.adversary, outlook.probabilities)
        multipliers = replace(duals, adversary=adversary)
        return Solution(held, float(raw.x[3 * names]), bought, sold, multipliers, str(solver), tuple(attempts), check)

    def ladder(self, mandate: Mandate) -> tuple[Solver, ...]:
        """The solvers asked, in this order."""
        if not is_matrices(mandate) and self._shape is not None and self._shape.conic:
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


def _shape_of(outlook: Outlook, mandate: Mandate) -> ProblemShape:
    from allocator.optimization.single_period import problem_shape

    return problem_shape(outlook, mandate)


def kept_programs(*, explains: bool = True) -> Callable[[Outlook, Mandate], Program]:
    """What makes a program of a question, or finds one of its shape that it made before; each solve starts cold, so
    that no answer depends on the one before.
    """
    kept = list[Program]()

    def fitting(outlook: Outlook, mandate: Mandate) -> Program:
        found = next((program for program in kept if program.fits(outlook, mandate)), None)
        if found is None:
            found = Program(outlook, mandate, warm=False, explains=explains)
            kept.append(found)
            del kept[:-_KEPT]
        return found

    return fitting


_KEPT = 32
"""Programs of other shapes that are kept beside each other."""


# Many scenarios: the adversary is asked for his worst probabilities one by one (adversary cuts).
#
# A set of a thousand scenarios takes a cone for each in its dual form; its worst member for a portfolio is known in
# closed form. So the program of the scenarios' mean alone is solved with a row for each member met so far, and
# asked of once more, until the worst for its solution changes nothing (Kelley 1960). Members are also asked for between
# the solution and the best portfolio met, which halves the rounds (Ben-Ameur and Neto 2007), and rows that hold nothing
# back are dropped, which keeps a dozen. Rules on gains, linear or convex, are rows of the same kind: their tangents.
#
MANY = 50
"""Scenarios from which on a program that is conic is solved by cuts; one that is not is solved faster as it is."""
_MOST_ROUNDS = 250
_MET = 1e-8
"""Of the account: how near to its bound the last solution is."""
_TOWARDS = 0.8
"""The part of the way to the best portfolio met at which the adversary is asked besides."""
_IDLE = 1e-7
"""A row whose multiplier is less holds nothing back."""
_AT_ONCE = 50
"""Rows of rules that are added in a round, at most."""


@dataclass(frozen=True, eq=False)
class _Cut:
    """A row over holdings, cash, purchases, sales, wealth and θ, of the adversary (-1) or of a rule by its place."""

    of: int
    direction: Vector
    row: Vector
    limit: float


class _AdversaryCuts:
    """The program of the scenarios' mean, to which rows are added."""

    def __init__(self, outlook: Outlook, mandate: Mandate) -> None:
        self._program = Program(*_of_mean(outlook, mandate), warm=False)
        self.compiled = self._program._compiled(*_of_mean(outlook, mandate))
        curved = mandate.risk_aversion > 0 and not self.compiled.shape.conic
        asked = (PIQP, CLARABEL) if curved else (CLARABEL, RELAXED)  # PIQP stops at a few nearly degenerate programs
        self._forms = [_RowsForm(self.compiled, solver) for solver in asked]

    def __str__(self) -> str:
        """What plans call it."""
        return f"{self._forms[0].solver} by cuts"

    def solve(
        self, start: Position, outlook: Outlook, mandate: Mandate, limits: Limits, trading_price: float
    ) -> Solution:
        """The solution of the whole question.

        Raises:
            Infeasible: the rules conflict.
            NotSolved: no solver takes a program of it, or it is not met in so many rounds.
            OutOfTime: the user's time limit ended a solver.
        """
        mean, small = _of_mean(outlook, mandate)
        self.compiled.write(start, mean, small, trading_price)
        for form in self._forms:
            form.forget()
        asked = _Adversary(start, outlook, mandate, self.compiled.scale)
        kept, best = list[_Cut](), (np.inf, np.zeros(0))
        for _ in range(_MOST_ROUNDS):
            form, x, equations, cones = self._ask(kept, limits)
            at = form.places
            bound = form.objective(x)
            duals, own = form.parted(cones, len(kept))
            value, cut = asked.worst(x[at])
            over = 0.0 if cut is None else value - x[at[-1]] * asked.scale
            broken = asked.broken(x[at])
            if over <= _MET * max(1.0, abs(bound * asked.scale)) and not broken:
                check = canonical_check(form.with_rows(kept), x, equations, cones)
                if check.worst > RESIDUAL_ALLOWED:
                    raise NotSolved(f"residuals are {check.worst:.1e}")
                form.unpack(x, equations, own)
                found = self._program._solution(self.compiled, mean, small, str(self), (), check)
                return asked.answer(found, kept, duals)
            best = min(best, (bound * asked.scale + over, x), key=lambda one: one[0])
            kept = [one for one, price in zip(kept, duals, strict=True) if price > _IDLE]
            kept += [*([cut] if cut is not None else []), *broken]
            if not asked.has_rules and len(best[1]) and best[1] is not x:
                between = _TOWARDS * best[1] + (1 - _TOWARDS) * x
                value, cut = asked.worst(between[at])
                there = (form.objective(between) - between[at[-1]]) * asked.scale + value
                best = min(best, (there, between), key=lambda one: one[0])
                kept += [cut] if cut is not None else []
        raise NotSolved(f"the adverse expectation is still {over:.1e} away after {_MOST_ROUNDS} rounds")

    def _ask(self, kept: list[_Cut], limits: Limits) -> tuple[_RowsForm, Vector, Vector, Vector]:
        """The first answer of a solver to the program with these rows, and in whose form it is."""
        said = ""
        for form in self._forms:
            said, vectors = form.solve(kept, limits)
            if vectors is not None:
                return form, *vectors
            if form.solver.proves_conflicts and said == "PrimalInfeasible":
                raise Infeasible("infeasible: limits conflict; `rebalance` with these numbers names them")
        raise NotSolved(said)


def _of_mean(outlook: Outlook, mandate: Mandate) -> tuple[Outlook, Mandate]:
    """One scenario, the mean of all, and the rules that look at no single one."""
    p, names = outlook.probabilities, len(mandate.cost_rates)
    mean = replace(
        outlook,
        scenarios=("mean",),
        probabilities=np.ones(1),
        returns=(p @ outlook.returns)[None, :],
        cash_returns=np.array([p @ outlook.cash_returns]),
    )
    linear = tuple(rule for rule in mandate.linear_rules if not rule.rows(names).gains.any())
    convex = tuple(rule for rule in mandate.convex_rules if not rule.looks_at_gains)
    ambiguity = AnyProbabilities() if mandate.return_weight else mandate.ambiguity
    return mean, replace(mandate, linear_rules=linear, convex_rules=convex, ambiguity=ambiguity)


class _RowsForm:
    """The program's data as a solver takes them, with room for rows."""

    def __init__(self, compiled: SinglePeriodProblem, solver: Solver) -> None:
        self._compiled, self.solver, self._data = compiled, solver, dict[str, Any]()

    def forget(self) -> None:
        """The numbers are other ones."""
        self._data.clear()

    def _open(self, limits: Limits) -> None:
        """Data, and where holdings, cash, purchases, sales, wealth and θ stand in them."""
        with np.errstate(invalid="ignore"):  # as in `solve_once`
            data, self._chain, self._inverse = self._compiled.problem.get_problem_data(
                self.solver.name, canon_backend="COO", solver_opts=self.solver.options(limits)
            )
        self._data = dict(data)
        self._quadratic = "F" in data
        self._first = len(data["G"]) if self._quadratic else data["dims"].nonneg
        self._linear = data["q"] if self._quadratic else data["c"]
        equations = len(data["b"]) if self._quadratic else data["dims"].zero
        cones = len(data["G"]) if self._quadratic else len(data["b"]) - equations
        v, worst = self._compiled.variables, self._compiled.worst
        self.unpack(np.arange(1.0, len(self._linear) + 1), np.zeros(equations), np.zeros(cones))
        own = [v.holdings, v.cash, v.buys, v.sells, v.wealth, *([worst.expression] if worst else [])]
        self.places = np.concatenate([np.ravel(one.value) for one in own]).astype(int) - 1

    def with_rows(self, kept: Sequence[_Cut]) -> dict[str, Any]:
        """The data with rows below the inequalities."""
        count, width = len(kept), len(self._linear)
        rows = sp.csr_array(np.array([one.row[: len(self.places)] for one in kept]).reshape(count, len(self.places)))
        rows = sp.csr_array((rows.data, self.places[rows.indices], rows.indptr), shape=(count, width))
        limits = np.array([one.limit for one in kept])
        data = self._data
        if self._quadratic:
            both = {"F": sp.csc_array(sp.vstack([data["F"], rows])), "G": np.concatenate([data["G"], limits])}
            return {**data, **both}
        dims = copy(data["dims"])
        at, dims.nonneg = dims.zero + dims.nonneg, dims.nonneg + count
        matrix, b = sp.csr_array(data["A"]), data["b"]
        matrix = sp.csc_array(sp.vstack([matrix[:at], rows, matrix[at:]]))
        return {**data, "A": matrix, "b": np.concatenate([b[:at], limits, b[at:]]), "dims": dims}

    def solve(self, kept: Sequence[_Cut], limits: Limits) -> tuple[str, tuple[Vector, Vector, Vector] | None]:
        """The status, and the vectors where it says that it solved."""
        if not self._data:
            self._open(limits)
        data, options, clock = self.with_rows(kept), self.solver.options(limits), limits.clock()
        raw = self._chain.solve_via_data(self._compiled.problem, data, False, False, options)
        clock.refuse_late()
        status = raw.info.status.name if self._quadratic else str(raw.status)
        return status, self.solver.read(raw, data) if status in ("PIQP_SOLVED", "Solved") else None

    def objective(self, x: Vector) -> float:
        """½x'Px + q'x."""
        curved = 0.5 * float(x @ (self._data["P"] @ x)) if "P" in self._data else 0.0
        return curved + float(self._linear @ x)

    def parted(self, cones: Vector, count: int) -> tuple[Vector, Vector]:
        """The duals of the rows, and of what was there before."""
        at = slice(self._first, self._first + count)
        return np.maximum(cones[at], 0.0), np.delete(cones, at)

    def unpack(self, x: Vector, equations: Vector, cones: Vector) -> None:
        """Hand a solver's vectors to the program's variables and constraints."""
        duals = cones if self._quadratic else np.concatenate([equations, cones])
        info = SimpleNamespace(status=SimpleNamespace(name="PIQP_SOLVED"), primal_obj=0.0, run_time=0.0, iter=0)
        shown = SimpleNamespace(x=x, y=equations, z=duals, info=info, status="Solved", obj_val=0.0, solve_time=0.0)
        shown.iterations = 0
        self._compiled.problem.unpack(self._chain.invert(shown, self._inverse))


class _Adversary:
    """What the scenarios say of a portfolio: the adversary's worst probabilities, and the rules on gains that it
    breaks.
    """

    def __init__(self, start: Position, outlook: Outlook, mandate: Mandate, scale: float) -> None:
        self._start, self._outlook, self._mandate, self.scale = start, outlook, mandate, scale
        self._names = len(mandate.cost_rates)
        rows = mandate.rows
        on_gains = rows.gains.any(axis=1) if rows.gains.shape[1] else np.zeros(len(rows.labels), dtype=bool)
        self._linear, self._all = np.flatnonzero(on_gains), rows.on(outlook)
        self.has_rules = bool(on_gains.any()) or any(rule.looks_at_gains for rule in mandate.convex_rules)
        self._left = np.concatenate(
            [
                (self._all.holdings[self._linear]).toarray(),
                self._all.cash[self._linear, None],
                (self._all.buys[self._linear]).toarray(),
                (self._all.sells[self._linear]).toarray(),
                -self._all.wealth[self._linear, None],
                np.zeros((len(self._linear), 1)),
            ],
            axis=1,
        )

    def worst(self, at: Vector) -> tuple[float, _Cut | None]:
        """The adverse expected loss of the portfolio, and its row: θ is no less."""
        if not self._mandate.return_weight:
            return 0.0, None
        losses = -self._outlook.portfolio_returns(at[: self._names], float(at[self._names]))
        q = self._mandate.ambiguity.adversary(losses, self._outlook.probabilities)
        row = np.zeros(len(at))
        row[: self._names] = -(q @ self._outlook.returns) / self.scale
        row[self._names], row[-1] = -float(q @ self._outlook.cash_returns) / self.scale, -1.0
        return float(q @ losses), _Cut(-1, q, row, 0.0)

    def broken(self, at: Vector) -> list[_Cut]:
        """Rows of the rules on gains that the portfolio breaks, the worst of them."""
        if not self.has_rules:
            return []
        here, limits = at[: self._left.shape[1]], self._all.limit[self._linear]
        missed = self._left[:, : len(here)] @ here - limits
        places = np.argsort(-missed)[:_AT_ONCE]
        found = [_Cut(int(self._linear[i]), np.zeros(0), self._left[i], limits[i]) for i in places if missed[i] > _MET]
        return found + [cut for cut in self._tangents(at) if float(cut.row[: len(at)] @ at) - cut.limit > _MET]

    def _tangents(self, at: Vector) -> Iterator[_Cut]:
        names, before = self._names, len(self._all.labels)
        h, b, s = at[:names], at[names + 1 : 2 * names + 1], at[2 * names + 1 : 3 * names + 1]
        trade = Trade(h, float(at[names]), b, s, 1 - float(h.sum()) - float(at[names]), 1.0)
        for place, rule in enumerate(self._mandate.convex_rules):
            if rule.looks_at_gains:
                direction = rule.steepest(trade, self._outlook)
                rows = rule.tangent(direction, self._outlook).on(self._outlook)
                parts = [rows.holdings.toarray()[0], rows.cash, rows.buys.toarray()[0], rows.sells.toarray()[0]]
                row = np.concatenate([*parts, -rows.wealth, [0.0]])
                yield _Cut(before + place, direction, row, float(rows.limit[0]))

    def answer(self, found: Solution, kept: Sequence[_Cut], duals: Vector) -> Solution:
        """The solution of the program of the mean as one of the whole question: rows' multipliers where they belong."""
        mandate, p, small = self._mandate, self._outlook.probabilities, found.multipliers
        prices, before = np.zeros(len(self._all.labels)), len(self._all.labels)
        prices[np.setdiff1d(np.arange(before), self._linear)] = small.rows
        q, along = np.zeros(len(p)), {place: (0.0, np.zeros(len(p))) for place in range(len(mandate.convex_rules))}
        for one, dual in zip(kept, duals, strict=True):
            if one.of < 0:
                q += dual * one.direction
            elif one.of < before:
                prices[one.of] += dual * self.scale
            else:
                price, towards = along[one.of - before]
                along[one.of - before] = price + dual * self.scale, towards + dual * self.scale * one.direction
        q = q + max(1 - float(q.sum()), 0.0) * p
        own, slopes = iter(small.slopes), list[ConvexRuleDual]()
        for place, rule in enumerate(mandate.convex_rules):
            price, towards = along[place]
            if not rule.looks_at_gains:
                slopes.append(next(own))
            else:
                direction = rule.lawful(towards / price, self._outlook) if price > 1e-12 else None
                slopes.append(ConvexRuleDual(price, direction))
        adversary = mandate.ambiguity.project(q, p)
        return replace(found, multipliers=replace(small, rows=prices, adversary=adversary, slopes=tuple(slopes)))


def solve_once(
    problem: cp.Problem,
    solver: Solver,
    limits: Limits,
    *,
    warm: bool = True,
    rounded: bool = False,
    amend: Callable[[dict[str, Any], Any, Any], None] | None = None,
) -> tuple[str, CanonicalCheck | None]:
    """Ask one solver: its status, and the canonical check of its answer where it says that it has one.

    A `warm` solver keeps what it made of the last question: its scaling, and options that are not said anew. What is to
    be written into the compiled data, `amend` writes, told cvxpy's chain and what that inverts with. With
    `rounded` numbers a solver is told what is the same on every processor, and checked by what was meant.

    Raises:
        OutOfTime: the user's time limit ended it, so that what another solver would say hangs on the clock.
    """
    options, clock = solver.options(limits), limits.clock()
    try:
        # cvxpy 1.9.3 multiplies infinite bounds of nonneg variables while compiling; the product is not used
        with np.errstate(invalid="ignore"):
            data, chain, inverse = problem.get_problem_data(solver.name, canon_backend="COO", solver_opts=options)
            if amend is not None:
                amend(data, chain, inverse)
            told = _rounded(data, limits.tolerance) if rounded else data
            raw = chain.solve_via_data(problem, told, warm, False, options)
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


def _rounded(data: Mapping[str, Any], tolerance: float) -> dict[str, Any]:
    """The data without the digits that are far below the tolerance. The last ones of products differ with a processor's
    arithmetic, and in cones an interior-point solver makes millions of times as much of them.
    """
    told = dict(data)
    digits = _BEYOND_TOLERANCE - math.log10(tolerance)
    for name in told.keys() & {"P", "q", "c", "A", "b", "F", "G"}:
        if isinstance(told[name], np.ndarray):
            told[name] = _significant(told[name], digits)
        elif told[name] is not None:
            told[name] = told[name].copy()
            told[name].data = _significant(told[name].data, digits)
    return told


_BEYOND_TOLERANCE = 1.0
"""Digits that a solver is told beyond those of its tolerance."""


def _significant(values: Vector, digits: float) -> Vector:
    """Rounded to so many digits of its own."""
    size = np.floor(np.log10(np.abs(values), out=np.zeros(len(values)), where=(values != 0) & np.isfinite(values)))
    unit = 10.0 ** np.round(digits - 1 - size)
    return np.where(np.isfinite(values), np.round(values * unit) / unit, values)


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
