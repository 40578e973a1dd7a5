"""Which rules cannot hold together, and the smallest way out of it, in each rule's own unit.

A small linear program of our own (HiGHS through scipy), apart from the compiled one: an elastic solve picks suspects,
a deletion filter leaves an irreducible set (each proper subset can hold), and one solve a member gives its fix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from allocator.errors import Infeasible
from allocator.mandate.mandate import Mandate
from allocator.mandate.rules import Rows, percent
from allocator.outlook.outlook import Outlook
from allocator.program.compile import Start
from allocator.types import Vector

_SLACK = 1e-9


@dataclass(frozen=True, eq=False)
class Polyhedron:
    """Everything linear: the rules' rows and the account's own equations over x = (h, c, b, s, W)."""

    rules: sp.csr_array
    limits: Vector
    equations: sp.csr_array
    rights: Vector
    upper: Vector


def polyhedron(start: Start, outlook: Outlook, mandate: Mandate, rows: Rows) -> Polyhedron:
    """The linear part of a mandate, from the rules' coefficients."""
    count = len(start.holdings)
    rules = sp.hstack(
        [
            rows.holdings + sp.csr_array(np.outer(rows.expected, outlook.probabilities @ outlook.returns)),
            (rows.cash + rows.expected * (outlook.probabilities @ outlook.cash_returns))[:, None],
            rows.buys,
            rows.sells,
            -rows.wealth[:, None],
        ]
    )
    eye, column = sp.eye_array(count), np.zeros((count, 1))
    position = sp.hstack([eye, column, -eye, eye, column])
    cash = np.concatenate([np.zeros(count), [1.0], 1 + mandate.cost_rates, -(1 - mandate.cost_rates), [0.0]])
    wealth = np.concatenate([-np.ones(count), [-1.0], np.zeros(2 * count), [1.0]])
    return Polyhedron(
        sp.csr_array(rules),
        rows.limit,
        sp.csr_array(sp.vstack([position, cash[None, :], wealth[None, :]])),
        np.concatenate([start.holdings, [start.cash, 0.0]]),
        np.concatenate([np.full(2 * count + 1, np.inf), start.holdings, [np.inf]]),
    )


def explain_conflict(start: Start, outlook: Outlook, mandate: Mandate, *, certain: bool) -> Infeasible | None:
    """An irreducible conflict among the rules as an error to raise, or None when they can hold together.

    `certain` says that a solver certified infeasibility, so that the conic rule is to blame where the linear ones can
    hold.
    """
    rows = mandate.rows
    space = polyhedron(start, outlook, mandate, rows)
    slack = _elastic(space)
    if slack is None:
        return Infeasible("the account cannot meet its own equations", fixes=["report this: it is a defect of ours"])
    if slack[0] <= _SLACK:
        if mandate.volatility is not None and certain:
            return Infeasible(
                f"cannot hold together: '{mandate.volatility.label}' and the other rules",
                [mandate.volatility.label],
                ["raise mandate.max_volatility"],
            )
        return None
    conflict = _irreducible(space, list(np.flatnonzero(slack[1] > 1e-7)))
    names = [rows.labels[i] for i in conflict]
    fixes = [fix for i in conflict if (fix := _fix(space, rows, i))]
    if len(names) == 1:
        return Infeasible(f"cannot be met: '{names[0]}'", names, fixes)
    listed = ", ".join(f"'{name}'" for name in names[:-1]) + f" and '{names[-1]}'"
    return Infeasible(f"cannot hold together: {listed}", names, fixes)


def _elastic(space: Polyhedron) -> tuple[float, Vector] | None:
    """Least total violation of the rules, and the rules' prices there."""
    rules = space.rules.shape[0]
    if rules == 0:
        return 0.0, np.zeros(0)
    found = linprog(
        np.concatenate([np.zeros(space.rules.shape[1]), np.ones(rules)]),
        A_ub=sp.hstack([space.rules, -sp.eye_array(rules)]),
        b_ub=space.limits,
        A_eq=sp.hstack([space.equations, sp.csr_array((space.equations.shape[0], rules))]),
        b_eq=space.rights,
        bounds=np.column_stack(
            [np.zeros(len(space.upper) + rules), np.concatenate([space.upper, np.full(rules, np.inf)])]
        ),
        method="highs",
    )
    if found.status != 0:
        return None
    return float(found.fun), -np.asarray(found.ineqlin.marginals)


def _feasible(space: Polyhedron, kept: list[int]) -> bool:
    part = Polyhedron(space.rules[kept], space.limits[kept], space.equations, space.rights, space.upper)
    slack = _elastic(part)
    return slack is not None and slack[0] <= _SLACK


def _irreducible(space: Polyhedron, suspects: list[int]) -> list[int]:
    """Deletion filter (Chinneck and Dravnieks 1991): drop what is not needed for the conflict."""
    if _feasible(space, suspects):
        suspects = list(range(space.rules.shape[0]))
    kept = list(suspects)
    for i in suspects:
        without = [j for j in kept if j != i]
        if not _feasible(space, without):
            kept = without
    return kept


def _fix(space: Polyhedron, rows: Rows, member: int) -> str | None:
    """The least change of one member's limit with which everything else can hold."""
    count = space.rules.shape[0]
    relax = np.zeros((count, 1))
    relax[member] = -1.0
    found = linprog(
        np.concatenate([np.zeros(space.rules.shape[1]), [1.0]]),
        A_ub=sp.hstack([space.rules, sp.csr_array(relax)]),
        b_ub=space.limits,
        A_eq=sp.hstack([space.equations, sp.csr_array((space.equations.shape[0], 1))]),
        b_eq=space.rights,
        bounds=np.column_stack([np.zeros(len(space.upper) + 1), np.append(space.upper, np.inf)]),
        method="highs",
    )
    if found.status != 0 or np.isnan(rows.stated[member]):
        return None
    sense = float(rows.sense[member])
    loosest = rows.stated[member] + sense * float(found.fun)
    # rounded to a basis point in the direction that loosens, so that the fix as printed works
    shown = np.ceil(sense * loosest * 1e4 - 1e-5) / 1e4 * sense
    return f"{'raise' if sense > 0 else 'lower'} '{rows.labels[member]}' to {percent(float(shown))}"
