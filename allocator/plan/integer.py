"""A mixed-integer program for HiGHS: quiet, exact to 1e-9, bounded in time."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
import scipy.sparse as sp

from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class Block:
    """Rows `low` ≤ coefficients·x ≤ `high`."""

    coefficients: sp.csr_array
    low: Vector | float
    high: Vector | float


@dataclass(frozen=True, eq=False)
class IntegerProgram:
    """minimise objective·x subject to the blocks, 0 ≤ x ≤ upper, and x whole where `integral`."""

    objective: Vector
    blocks: tuple[Block, ...]
    upper: Vector
    integral: Vector

    def solve(self, seconds: float) -> tuple[str, Vector | None]:
        """HiGHS's status in words and x; x is None unless the status is Optimal (to a relative gap of 1e-6)."""
        matrix = sp.csr_array(sp.vstack([block.coefficients for block in self.blocks]))
        sizes = [block.coefficients.shape[0] for block in self.blocks]
        low = [np.broadcast_to(np.asarray(b.low, dtype=float), n) for b, n in zip(self.blocks, sizes, strict=True)]
        high = [np.broadcast_to(np.asarray(b.high, dtype=float), n) for b, n in zip(self.blocks, sizes, strict=True)]
        model = highspy.HighsModel()
        lp = model.lp_
        lp.num_col_, lp.num_row_ = len(self.objective), matrix.shape[0]
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = self.objective, np.zeros_like(self.upper), self.upper
        lp.row_lower_, lp.row_upper_ = np.concatenate(low), np.concatenate(high)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
        kinds = {True: highspy.HighsVarType.kInteger, False: highspy.HighsVarType.kContinuous}
        lp.integrality_ = [kinds[bool(whole)] for whole in self.integral]
        solver = highspy.Highs()
        solver.setOptionValue("output_flag", False)
        for option, value in (
            ("time_limit", seconds),
            ("mip_rel_gap", 1e-6),
            ("mip_feasibility_tolerance", 1e-9),
            ("primal_feasibility_tolerance", 1e-9),
        ):
            solver.setOptionValue(option, value)
        solver.passModel(model)
        solver.run()
        status = solver.modelStatusToString(solver.getModelStatus())
        return status, np.array(solver.getSolution().col_value) if status == "Optimal" else None
