"""The least violation where each name is only bought or only sold, by one binary a name.

A linear program may meet a rule (little cash, say) by buying and selling one name at once, which only pays costs, or by
a cost of impact above what the trade comes to. No order does that. Here impact costs at most what its line to a trade
of the whole account comes to: of what is left above the curve, whoever solves the program finds that no plan comes.
"""

from __future__ import annotations

from collections.abc import Callable

import highspy
import numpy as np

from allocator.errors import NotSolved
from allocator.optimization.highs import quiet_highs, run_highs
from allocator.rules.epigraphs import ColumnLayout, Cuts
from allocator.types import Vector

NODES = 1000
"""What one round may branch."""
MORE = 20_000
"""Nodes times names, of all rounds together, where there are more than FEW names."""
FEW = 20
_ROUNDS = 40
Check = Callable[[Vector], tuple[bool, Cuts]]
"""Of a point: whether it is an answer, and else the tangents that it violates, which the solver is given."""


def least_violation_one_way(
    solver: highspy.Highs, columns: ColumnLayout, impact: Vector | None, check: Check, spend: Callable[[int], None]
) -> Vector | None:
    """The best point of the solver's program without round trips; None where there is none.

    `spend` is told the simplex iterations of each round.

    Raises:
        NotSolved: that takes more work than one question may.
    """
    left = NODES * _ROUNDS if columns.names <= FEW else MORE // columns.names
    for _ in range(_ROUNDS):
        program = _one_way(solver, columns, impact, max(min(left, NODES), 1))
        run_highs(program)
        left -= max(int(program.getInfo().mip_node_count), 1)
        spend(int(program.getInfo().simplex_iteration_count))
        status = program.getModelStatus()
        if status == highspy.HighsModelStatus.kInfeasible:
            return None
        if status != highspy.HighsModelStatus.kOptimal:
            break
        point = np.array(program.getSolution().col_value)[: solver.getNumCol()]
        answers, cuts = check(point)
        if answers:
            return point
        if left <= 0 or cuts.rows.shape[0] == 0:
            break
    raise NotSolved("whether the limits conflict without round trips takes too much work to tell")


def _one_way(solver: highspy.Highs, columns: ColumnLayout, impact: Vector | None, nodes: int) -> highspy.Highs:
    """The solver's program, and for each name b ≤ z, s ≤ held·(1 − z) with z binary, and m ≤ impact·(b + s)."""
    program = quiet_highs(
        threads=1,
        mip_max_nodes=nodes,
        mip_rel_gap=0.0,
        mip_abs_gap=1e-10,
        mip_feasibility_tolerance=1e-9,
        primal_feasibility_tolerance=1e-9,
    )
    program.passModel(solver.getModel())
    held, names = columns.start.holdings, columns.names
    bent = np.zeros(names) if impact is None else impact
    for i in map(
        int, np.flatnonzero(((columns.cost_rates > 0) | (bent > 0)) & (held > 0))
    ):  # what is not held cannot be sold
        bought = program.getNumCol()
        program.addVar(0.0, 1.0)
        program.changeColIntegrality(bought, highspy.HighsVarType.kInteger)
        _add_row(program, {i: 1.0, bought: -1.0}, 0.0)
        _add_row(program, {names + i: 1.0, bought: held[i]}, held[i])
    for i in range(0 if impact is None else names):
        _add_row(program, {2 * names + i: 1.0, i: -bent[i], names + i: -bent[i]}, 0.0)
    return program


def _add_row(program: highspy.Highs, coefficients: dict[int, float], most: float) -> None:
    columns, values = np.array([*coefficients], dtype=np.int32), np.array([*coefficients.values()], dtype=np.float64)
    program.addRow(-np.inf, float(most), len(columns), columns, values)
