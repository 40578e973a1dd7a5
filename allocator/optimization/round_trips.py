"""The least violation without round trips: nothing bought and sold at once, no impact cost above what the trade makes.

A linear program may meet a rule (little cash, say) by buying and selling one name at once, which only pays costs, or by
a cost of impact above what the trade comes to. No order does that. So each name is bought or sold, which is one
binary, and its impact lies below the chords of impact·t^1.5 between points, which are set closer where it matters
(the incremental form of Markowitz and Manne 1957).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import highspy
import numpy as np

from allocator.errors import NotSolved
from allocator.optimization import highs
from allocator.rules.epigraphs import ColumnLayout, Cuts
from allocator.types import Vector

NODES = 1000
"""What one round may branch up to FEW names; beyond, there is no answer."""
FEW = 20
"""Names up to which rounds take milliseconds."""
MORE = 20_000
"""Where there are more names: nodes times names, of all rounds together."""
_ROUNDS = 40
_OFF_CURVE = 1e-9
"""Of the account: an impact's cost this near to what its trade comes to is that."""
Check = Callable[[Vector], tuple[bool, Cuts]]
"""Of a point: whether it is an answer, and else the tangents that it violates."""


def least_violation_without_round_trips(
    solver: highspy.Highs, columns: ColumnLayout, impact: Vector | None, check: Check, spend: Callable[[int], None]
) -> Vector | None:
    """The best point of the solver's linear program without round trips; None where there is none.

    Tangents that are needed are added to the solver's own program, too. `spend` is told the simplex
    iterations of each round.

    Raises:
        NotSolved: that takes more work than one question may.
    """
    left = NODES * _ROUNDS if columns.names <= FEW else MORE // columns.names
    points = [np.array([0.0, 1.0])] * (0 if impact is None else columns.names)
    for _ in range(_ROUNDS):
        program = _integer(solver, columns, impact, points, max(min(left, NODES), 1))
        highs.run_highs(program)
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
        finer = _finer(point, columns, impact, points)
        if left <= 0 or (cuts.rows.shape[0] == 0 and finer is None):
            break
        points = points if finer is None else finer
    raise NotSolved("whether the limits conflict without round trips takes too much work to tell")


def _integer(
    solver: highspy.Highs, columns: ColumnLayout, impact: Vector | None, points: Sequence[Vector], nodes: int
) -> highspy.Highs:
    program = highspy.Highs()
    for option, value in (
        ("output_flag", False),
        ("threads", 1),
        ("mip_max_nodes", nodes),
        ("mip_rel_gap", 0.0),
        ("mip_abs_gap", 1e-10),
        ("mip_feasibility_tolerance", 1e-9),
        ("primal_feasibility_tolerance", 1e-9),
        ("small_matrix_value", 1e-12),
    ):
        program.setOptionValue(option, value)
    program.passModel(solver.getModel())
    held, names = columns.start.holdings, columns.names
    dear = columns.cost_rates > 0 if impact is None else (columns.cost_rates > 0) | (impact > 0)
    for i in map(int, np.flatnonzero(dear & (held > 0))):  # what is not held cannot be sold
        bought = _column(program, 1.0, whole=True)
        _row(program, [i, bought], [1.0, -1.0], 0.0)
        _row(program, [names + i, bought], [1.0, held[i]], held[i])
    for i, at in enumerate(points):
        if impact is not None and impact[i] > 0:
            _below_chords(program, i, names, impact[i], at)
        elif impact is not None:
            program.changeColBounds(2 * names + i, 0.0, 0.0)
    return program


def _below_chords(program: highspy.Highs, name: int, names: int, impact: float, at: Vector) -> None:
    """b + s = Σδ, m ≤ Σ slope·δ, and no part δ before the one below it is full."""
    slopes, lengths = impact * np.diff(at**1.5) / np.diff(at), np.diff(at)
    parts = [_column(program, length) for length in lengths]
    ones = [1.0] * len(parts)
    _row(program, [name, names + name, *parts], [1.0, 1.0, *(-np.array(ones))], 0.0, 0.0)
    _row(program, [2 * names + name, *parts], [1.0, *(-slopes)], 0.0)
    for k in range(len(parts) - 1):
        full = _column(program, 1.0, whole=True)
        _row(program, [full, parts[k]], [lengths[k], -1.0], 0.0)
        _row(program, [parts[k + 1], full], [1.0, -lengths[k + 1]], 0.0)


def _finer(
    point: Vector, columns: ColumnLayout, impact: Vector | None, points: Sequence[Vector]
) -> list[Vector] | None:
    """The points with today's trade of each name whose impact is dearer than it comes to; None where there is none."""
    if impact is None:
        return None
    names = columns.names
    traded = np.clip(point[:names] + point[names : 2 * names], 0.0, 1.0)
    above = point[2 * names : 3 * names] - impact * traded**1.5
    finer, found = list(points), False
    for i in map(int, np.flatnonzero(above > _OFF_CURVE)):
        if np.abs(points[i] - traded[i]).min() > 1e-9:
            finer[i], found = np.sort(np.append(points[i], traded[i])), True
    return finer if found else None


def _column(program: highspy.Highs, most: float, *, whole: bool = False) -> int:
    at = int(program.getNumCol())
    program.addVar(0.0, float(most))
    if whole:
        program.changeColIntegrality(at, highspy.HighsVarType.kInteger)
    return at


def _row(
    program: highspy.Highs, at: Sequence[int], values: Sequence[float], most: float, least: float = -np.inf
) -> None:
    program.addRow(least, float(most), len(at), np.array(at, dtype=np.int32), np.array(values, dtype=np.float64))
