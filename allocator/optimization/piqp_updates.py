"""The fast way through one compiled quadratic program: cvxpy's affine maps applied by numpy, PIQP updated in place.

The only module that looks inside cvxpy (1.9: the parametrised program, its sparse maps from stacked parameters to
data). It trusts none of it: a loop is used only if its data equal those that cvxpy itself writes, to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from allocator.optimization.single_period import SinglePeriodProblem
from allocator.optimization.solve import PIQP
from allocator.optimization.verification import CanonicalCheck
from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class RawSolution:
    """A solver's vectors: `x` (n,), duals of the equations and of the rows; copied, PIQP's are live views."""

    x: Vector
    equalities: Vector
    rows: Vector


@dataclass(frozen=True, eq=False)
class ProblemData:
    """The data of one question: numbers of P, A, F and of A above −F, and the vectors q, b and g."""

    P: Vector
    A: Vector
    F: Vector
    both: Vector
    q: Vector
    b: Vector
    g: Vector


@dataclass(frozen=True, eq=False)
class VectorSlice:
    """Where the entries of a variable or of a dual stand in a solver's vectors, and with which sign."""

    at: np.ndarray[Any, np.dtype[np.int64]]
    sign: Vector

    def of(self, vector: Vector) -> Vector:
        """The entries."""
        return np.asarray(self.sign * vector[self.at])


class PiqpUpdater:
    """PIQP on the maps of a compiled program whose parameters are written.

    Every solve starts cold, and PIQP is told not to scale: an update would unscale and scale again what it is not
    given, the scaling of bounds too, and lose bits each time. The numbers are of order one already; so no answer
    depends on the one before, or on what the loop was made with.
    """

    def __init__(self, compiled: SinglePeriodProblem, tolerance: float) -> None:
        import piqp

        self._problem = compiled.problem
        data, chain, inverse = self._problem.get_problem_data(PIQP.name, canon_backend="COO")
        program = data["param_prob"]
        self._stack = np.zeros(program.total_param_size + 1)
        self._stack[-1] = 1.0
        for key, column in program.param_id_to_col.items():
            if key in program.id_to_param:
                place = self._stack[column : column + program.param_id_to_size[key]]
                place[:] = np.asarray(program.id_to_param[key].value).ravel(order="F")
                program.id_to_param[key].stacked = place  # from now on every number written is written there too
        self._linear = sp.csr_array(program.q)
        self._curved, self._rows = program.reduced_P.reduced_mat, program.reduced_A.reduced_mat
        self._open(program, data)
        self.places = _places(compiled, chain, inverse, data)
        self._solver = piqp.SparseSolver()
        settings = self._solver.settings
        settings.eps_abs = settings.eps_rel = tolerance
        settings.eps_duality_gap_abs = settings.eps_duality_gap_rel = tolerance
        settings.max_iter, settings.compute_timings = 100, False  # a dozen are usual
        settings.preconditioner_iter, settings.preconditioner_reuse_on_update = 0, True
        self._given = self.write()
        bounds = {"x_l": data["lower_bounds"], "x_u": data["upper_bounds"]}
        given = self._data(self._given) | {key: bound for key, bound in bounds.items() if bound is not None}
        self._refuse_other_data(self._given, data)
        self._solver.setup(**given)

    def _open(self, program: Any, data: Any) -> None:
        """The matrices that the maps fill, and where in them each number goes."""
        equations = program.cone_dims.zero
        indices, starts, shape = program.reduced_A.problem_data_index
        counted = sp.csc_array((np.arange(1.0, len(indices) + 1), indices, starts), shape=shape)
        own, rights = sp.csc_array(counted[:, :-1]), sp.csc_array(counted[:, [-1]])
        first, second = sp.csc_array(own[:equations]), sp.csc_array(own[equations:])
        self._of_A, self._of_F = first.data.astype(int) - 1, second.data.astype(int) - 1
        self._of_right, self._right_rows = rights.data.astype(int) - 1, rights.indices.copy()
        self._right = np.zeros(shape[0])
        self._equations = equations
        self.A, self.F = first, second
        indices, starts, shape = program.reduced_P.problem_data_index
        self.P = sp.csc_array((np.zeros(len(indices)), indices, starts), shape=shape)
        self._of_both, self._both = own.data.astype(int) - 1, own
        self._back = own.T  # shares its numbers
        count = len(data["q"])
        low, high = data["lower_bounds"], data["upper_bounds"]
        if program.lb_tensor is not None or program.ub_tensor is not None:
            raise ValueError("bounds that follow parameters")
        self._low = np.full(count, -np.inf) if low is None else np.asarray(low, dtype=np.float64)
        self._high = np.full(count, np.inf) if high is None else np.asarray(high, dtype=np.float64)

    def write(self) -> ProblemData:
        """The data that the numbers make which the program's parameters hold now."""
        rows = self._rows @ self._stack
        self._right[self._right_rows] = rows[self._of_right]
        return ProblemData(
            P=self._curved @ self._stack,
            A=rows[self._of_A],
            F=-rows[self._of_F],
            both=rows[self._of_both],
            q=(self._linear @ self._stack)[:-1],
            b=-self._right[: self._equations],
            g=self._right[self._equations :].copy(),
        )

    def _data(self, at: ProblemData) -> dict[str, Any]:
        """PIQP's names for them; the matrices are filled."""
        self.P.data[:], self.A.data[:], self.F.data[:] = at.P, at.A, at.F
        return {"P": self.P, "c": at.q, "A": self.A, "b": at.b, "G": self.F, "h_u": at.g}

    def _refuse_other_data(self, at: ProblemData, data: Any) -> None:
        """Raise where the maps were misread."""
        same = all(
            np.array_equal(ours, theirs) for ours, theirs in ((at.q, data["q"]), (at.b, data["b"]), (at.g, data["G"]))
        ) and all(
            (sp.csc_array(ours) != sp.csc_array(theirs)).nnz == 0
            for ours, theirs in ((self.P, data["P"]), (self.A, data["A"]), (self.F, data["F"]))
        )
        if not same:
            raise ValueError("the maps do not give cvxpy's own data")

    def solve(self, at: ProblemData) -> RawSolution | None:
        """Solve what was written; None where PIQP does not say that it did."""
        data, before = self._data(at), self._given
        pairs = {"P": "P", "c": "q", "A": "A", "b": "b", "G": "F", "h_u": "g"}
        changed = {
            key: value
            for key, value in data.items()
            if not np.array_equal(getattr(at, pairs[key]), getattr(before, pairs[key]))
        }
        self._given = at
        if changed:
            self._solver.update(**changed)
        status = self._solver.solve()
        if status.name != "PIQP_SOLVED":
            return None
        result = self._solver.result
        return RawSolution(np.array(result.x), np.array(result.y), np.array(result.z_u))

    def check(self, at: ProblemData, raw: RawSolution) -> CanonicalCheck:
        """`canonical.check` of what was written, without forming matrices anew."""
        x, y, z = raw.x, raw.equalities, raw.rows
        if not (np.isfinite(x).all() and np.isfinite(y).all() and np.isfinite(z).all()):
            return CanonicalCheck(np.inf, np.inf, np.inf)
        self.P.data[:], self._both.data[:] = at.P, at.both
        used, curve, equations = (
            self._both @ x,
            self.P @ x,
            self._equations,
        )  # rows of inequalities with their sign turned
        missed = (np.abs(used[:equations] - at.b), self._low - x, x - self._high, -used[equations:] - at.g)
        size = max(1.0, _largest(np.abs(at.b)), _largest(np.abs(at.g)))
        gradient = curve + at.q + self._back @ np.concatenate([y, -z])
        bound = np.where(gradient > 0, self._low, self._high)
        held = np.isfinite(bound)
        dual = max(_largest(np.abs(gradient[~held])), _largest(-z)) / max(1.0, _largest(np.abs(at.q)))
        curvature, linear = float(x @ curve), float(at.q @ x)
        upper = 0.5 * curvature + linear
        lower = -0.5 * curvature - float(at.b @ y) - float(at.g @ z) + float(bound[held] @ gradient[held])
        return CanonicalCheck(max(map(_largest, missed)) / size, dual, abs(upper - lower) / max(1.0, abs(upper)))


def piqp_updater(compiled: SinglePeriodProblem, tolerance: float) -> PiqpUpdater | None:
    """The loop of a compiled program, its parameters written; None where cvxpy is not as this module knows it."""
    try:
        return PiqpUpdater(compiled, tolerance)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, cp.SolverError):
        return None


@dataclass(frozen=True, eq=False)
class SolutionLayout:
    """Where the answer stands: `holdings` in x; `adversary`, `rows` and `cash` in both duals, one after the other."""

    holdings: VectorSlice
    adversary: VectorSlice | None
    rows: VectorSlice | None
    cash: VectorSlice


def _places(compiled: SinglePeriodProblem, chain: Any, inverse: Any, data: Any) -> SolutionLayout:
    """Found by handing cvxpy numbered vectors and looking where the numbers come out."""
    unknowns, equations, rows = len(data["q"]), len(data["b"]), len(data["G"])
    numbered = SimpleNamespace(
        x=np.arange(1.0, unknowns + 1),
        y=np.arange(1.0, equations + 1),
        z_u=np.arange(equations + 1.0, equations + rows + 1),
        info=SimpleNamespace(status=SimpleNamespace(name="PIQP_SOLVED"), primal_obj=0.0, run_time=0.0, iter=0),
    )
    compiled.problem.unpack_results(numbered, chain, inverse)
    duals, own = equations + rows, compiled.constraints
    return SolutionLayout(
        _place(compiled.variables.holdings.value, unknowns),
        None if own.losses is None else _place(own.losses.dual_value, duals),
        None if own.rows is None else _place(own.rows.dual_value, duals),
        _place(own.cash.dual_value, duals),
    )


def _place(numbers: Any, count: int) -> VectorSlice:
    flat = np.atleast_1d(np.asarray(numbers, dtype=np.float64)).ravel()
    at = np.abs(flat).astype(np.int64)
    if not (np.abs(flat) == at).all() or at.min(initial=1) < 1 or at.max(initial=1) > count:
        raise ValueError("a value is not one number of the solver's")
    return VectorSlice(at - 1, np.sign(flat))


def _largest(values: Vector) -> float:
    return max(float(values.max()), 0.0) if values.size else 0.0
