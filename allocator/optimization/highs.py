"""A mixed-integer program for HiGHS: quiet, bounded in work, honest about what is proved."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import highspy
import numpy as np
import scipy.sparse as sp

from allocator.errors import OutOfTime
from allocator.types import Vector


def quiet_highs(**options: float | str) -> highspy.Highs:
    """A solver that prints nothing and drops nothing above 1e-12, with these options."""
    solver = highspy.Highs()
    for option, value in {"output_flag": False, "small_matrix_value": 1e-12, **options}.items():
        solver.setOptionValue(option, value)
    return solver


def linear_model(
    costs: Vector, lower: Vector, upper: Vector, rows: sp.csr_array, low: Vector, high: Vector
) -> highspy.HighsModel:
    """minimise costs·x subject to low ≤ rows·x ≤ high and lower ≤ x ≤ upper."""
    model = highspy.HighsModel()
    lp = model.lp_
    lp.num_row_, lp.num_col_ = rows.shape
    lp.col_cost_, lp.col_lower_, lp.col_upper_, lp.row_lower_, lp.row_upper_ = costs, lower, upper, low, high
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = rows.indptr, rows.indices, rows.data
    return model


def run_highs(solver: highspy.Highs) -> None:
    """Run; where the process has started HiGHS with more threads than one, on those.

    The first who runs HiGHS in a process settles its threads for all: it then refuses another number before it has
    looked at the model. A host may have been first, or our own search for whole lots.
    """
    if solver.run() == highspy.HighsStatus.kError and solver.getModelStatus() == highspy.HighsModelStatus.kNotset:
        solver.setOptionValue("threads", 0)  # as many as there are
        solver.run()


@dataclass(frozen=True, eq=False)
class Block:
    """Rows `low` ≤ coefficients·x ≤ `high`."""

    coefficients: sp.csr_array
    low: Vector | float
    high: Vector | float


_WIDE = 1e4
"""Of a whole number with so many values no branch is tried before it is taken: what a try proves is one value less, and
the next try follows, all within a single node. No count of nodes would end that."""


class TimeLimit:
    """The user's own limit of time, from now on; where he set none, no clock is looked at."""

    def __init__(self, setting: str, seconds: float | None) -> None:
        self.setting, self.seconds = setting, seconds
        self._began = 0.0 if seconds is None else time.monotonic()

    @property
    def left(self) -> float:
        """Seconds that are left, endless without a limit."""
        return np.inf if self.seconds is None else self.seconds - (time.monotonic() - self._began)

    def refuse_late(self) -> None:
        """Raise where nothing is left.

        Raises:
            OutOfTime: names the setting.
        """
        if self.left <= 0:
            raise self.reached()

    def reached(self) -> OutOfTime:
        """The error to raise where the limit ended a search."""
        return OutOfTime(self.setting, self.seconds or 0.0)


@dataclass(eq=False)
class Work:
    """What a search may still spend: `nodes` to branch, a program counting as one at least, and the user's time."""

    nodes: int
    limit: TimeLimit


@dataclass(frozen=True, eq=False)
class IntegerSolution:
    """HiGHS's `status` in words; `x`, the best point found, None where there is none; whether it is `proved` best;
    the `bound` that no point is below.
    """

    status: str
    x: Vector | None
    proved: bool
    bound: float = -np.inf

    @property
    def impossible(self) -> bool:
        """Whether it is proved that there is no point at all."""
        return self.status == "Infeasible"


_KEPT_TO, _LOOSER = 1e-9, 1e-8
"""How far a point may miss a row: whoever asked judges it by the rules themselves."""


def _set_tolerance(solver: highspy.Highs, tolerance: float) -> None:
    for option in ("mip_feasibility_tolerance", "primal_feasibility_tolerance"):
        solver.setOptionValue(option, tolerance)


@dataclass(frozen=True, eq=False)
class IntegerProgram:
    """minimise objective·x subject to the blocks, lower ≤ x ≤ upper, and x whole where `integral`.

    `gap` is what the objective may be from the best when the search stops. The model is made once and kept, so that
    rows can be added to it.
    """

    objective: Vector
    blocks: tuple[Block, ...]
    lower: Vector
    upper: Vector
    integral: Vector
    gap: float = 1e-6

    def solve(self, work: Work, nodes: int | None = None, begun: Vector | None = None) -> IntegerSolution:
        """The best point, searched for as long as there is work left and, where given, for so many nodes; from the
        whole numbers of `begun`, the first columns of a point.

        Raises:
            OutOfTime: the user's time limit passed first.
        """
        work.limit.refuse_late()
        solver = self._kept
        solver.setOptionValue("time_limit", solver.getRunTime() + work.limit.left)
        solver.setOptionValue("mip_max_nodes", max(work.nodes if nodes is None else min(nodes, work.nodes), 1))
        if begun is not None:
            solver.setSolution(len(begun), np.arange(len(begun), dtype=np.int32), begun)
        run_highs(solver)
        if (
            solver.getModelStatus() == highspy.HighsModelStatus.kSolveError
        ):  # it missed its own tolerance by last digits
            _set_tolerance(solver, _LOOSER)
            run_highs(solver)
            _set_tolerance(solver, _KEPT_TO)
        if solver.getModelStatus() == highspy.HighsModelStatus.kTimeLimit:
            raise work.limit.reached()
        work.nodes -= max(int(solver.getInfo().mip_node_count), 1)
        status = solver.modelStatusToString(solver.getModelStatus())
        # one that misses a row by more than its tolerance is a point, too
        has_point = solver.getInfo().primal_solution_status != highspy.SolutionStatus.kSolutionStatusNone
        x = np.array(solver.getSolution().col_value) if has_point else None
        bound = float(solver.getInfo().mip_dual_bound)
        return IntegerSolution(status, x, status == "Optimal" and has_point, bound)

    def add(self, blocks: Sequence[Block]) -> None:
        """Further rows, which the next solve must keep."""
        for block in blocks:
            rows, count = block.coefficients, block.coefficients.shape[0]
            low, high = (np.broadcast_to(np.asarray(side, dtype=float), count) for side in (block.low, block.high))
            self._kept.addRows(count, low, high, rows.nnz, rows.indptr[:-1], rows.indices, rows.data)

    @cached_property
    def _kept(self) -> highspy.Highs:
        solver = quiet_highs(
            mip_rel_gap=1e-6,
            mip_abs_gap=self.gap,
        )
        _set_tolerance(solver, _KEPT_TO)
        if float((self.upper - self.lower)[self.integral > 0].max(initial=0.0)) > _WIDE:
            solver.setOptionValue("mip_pscost_minreliable", 0)
        solver.passModel(self._model())
        return solver

    def _model(self) -> highspy.HighsModel:
        matrix = sp.csr_array(sp.vstack([block.coefficients for block in self.blocks]))
        matrix.eliminate_zeros()
        sizes = [block.coefficients.shape[0] for block in self.blocks]
        low = [np.broadcast_to(np.asarray(b.low, dtype=float), n) for b, n in zip(self.blocks, sizes, strict=True)]
        high = [np.broadcast_to(np.asarray(b.high, dtype=float), n) for b, n in zip(self.blocks, sizes, strict=True)]
        sides = np.concatenate(low), np.concatenate(high)
        model = linear_model(self.objective, self.lower, self.upper, matrix, *sides)
        kinds = {True: highspy.HighsVarType.kInteger, False: highspy.HighsVarType.kContinuous}
        model.lp_.integrality_ = [kinds[bool(whole)] for whole in self.integral]
        return model
