"""A mixed-integer program for HiGHS: quiet, bounded in time and in work, honest about what is proved."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
import scipy.sparse as sp

from allocator.program import highs
from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class Block:
    """Rows `low` ≤ coefficients·x ≤ `high`."""

    coefficients: sp.csr_array
    low: Vector | float
    high: Vector | float


@dataclass(frozen=True, eq=False)
class Found:
    """HiGHS's `status` in words; `x`, the best point found, None where there is none; whether it is `proved` best."""

    status: str
    x: Vector | None
    proved: bool

    @property
    def impossible(self) -> bool:
        """Whether it is proved that there is no point at all."""
        return self.status == "Infeasible"


@dataclass(frozen=True, eq=False)
class IntegerProgram:
    """minimise objective·x subject to the blocks, lower ≤ x ≤ upper, and x whole where `integral`.

    `gap` is what the objective may be from the best when the search stops.
    """

    objective: Vector
    blocks: tuple[Block, ...]
    lower: Vector
    upper: Vector
    integral: Vector
    gap: float = 1e-6

    def solve(self, seconds: float, nodes: int | None = None) -> Found:
        """The best point, searched for so many seconds and, where given, so many nodes."""
        solver = highspy.Highs()
        solver.setOptionValue("output_flag", False)
        for option, value in (
            ("time_limit", max(seconds, 0.01)),
            ("mip_rel_gap", 1e-6),
            ("mip_abs_gap", self.gap),
            ("mip_feasibility_tolerance", 1e-9),
            ("primal_feasibility_tolerance", 1e-9),
            ("small_matrix_value", 1e-12),
        ):
            solver.setOptionValue(option, value)
        if nodes is not None:
            solver.setOptionValue("mip_max_nodes", nodes)
        solver.passModel(self._model())
        highs.run(solver)
        status = solver.modelStatusToString(solver.getModelStatus())
        has_point = solver.getInfo().primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
        x = np.array(solver.getSolution().col_value) if has_point else None
        return Found(status, x, proved=status == "Optimal" and has_point)

    def _model(self) -> highspy.HighsModel:
        matrix = sp.csr_array(sp.vstack([block.coefficients for block in self.blocks]))
        matrix.eliminate_zeros()
        sizes = [block.coefficients.shape[0] for block in self.blocks]
        low = [np.broadcast_to(np.asarray(b.low, dtype=float), n) for b, n in zip(self.blocks, sizes, strict=True)]
        high = [np.broadcast_to(np.asarray(b.high, dtype=float), n) for b, n in zip(self.blocks, sizes, strict=True)]
        model = highspy.HighsModel()
        lp = model.lp_
        lp.num_col_, lp.num_row_ = len(self.objective), matrix.shape[0]
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = self.objective, self.lower, self.upper
        lp.row_lower_, lp.row_upper_ = np.concatenate(low), np.concatenate(high)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
        kinds = {True: highspy.HighsVarType.kInteger, False: highspy.HighsVarType.kContinuous}
        lp.integrality_ = [kinds[bool(whole)] for whole in self.integral]
        return model
