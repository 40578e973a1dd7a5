"""Which rules cannot hold together, and the smallest way out of it, in each rule's own unit.

A small linear program of our own (HiGHS through scipy), apart from the compiled one: an elastic solve picks suspects,
a deletion filter leaves an irreducible set (each proper subset can hold), and one solve a member gives its fix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from allocator.errors import Infeasible
from allocator.mandate.mandate import Mandate
from allocator.mandate.rules import Rows, VolatilityLimit, percent
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
    count, rows = len(start.holdings), rows.on(outlook)
    rules = sp.hstack(
        [
            rows.holdings,
            rows.cash[:, None],
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


@dataclass(frozen=True, eq=False)
class _Elastic:
    """The least total violation of the rules: how much each is `missed` (R,), its price (R,), and wealth there."""

    total: float
    missed: Vector
    prices: Vector
    wealth: float


def explain_conflict(
    start: Start, outlook: Outlook, mandate: Mandate, least_volatility: Callable[[], float] | None
) -> Infeasible | None:
    """An irreducible conflict among the rules as an error to raise, or None when they can hold together.

    `least_volatility` (annual) is asked when a solver certified infeasibility although the linear rules can hold: then
    the conic rule is to blame.
    """
    rows = mandate.rows
    space = polyhedron(start, outlook, mandate, rows)
    elastic = _elastic(space)
    if elastic is None:
        return Infeasible("the account cannot meet its own equations", fixes=["report this: it is a defect of ours"])
    if elastic.total <= _SLACK:
        calm = next((rule for rule in mandate.convex_rules if isinstance(rule, VolatilityLimit)), None)
        if calm is None or least_volatility is None:
            return None
        return _too_calm(calm, least_volatility())
    conflict = _irreducible(space, list(np.flatnonzero(elastic.prices > 1e-7)))
    names = [rows.labels[i] for i in conflict]
    fixes = [fix for i in conflict if (fix := _fix(space, rows, i))] or _joint_fix(space, rows)
    if len(names) == 1:
        return Infeasible(f"cannot be met: '{names[0]}'", names, fixes)
    listed = ", ".join(f"'{name}'" for name in names[:-1]) + f" and '{names[-1]}'"
    return Infeasible(f"cannot hold together: {listed}", names, fixes)


def _too_calm(volatility: VolatilityLimit, least: float) -> Infeasible:
    needed = np.ceil(least * 1e4) / 1e4
    return Infeasible(
        f"cannot hold together: '{volatility.label}' and the other rules, under which no portfolio is calmer than "
        f"{percent(float(needed))}",
        [volatility.label],
        [f"raise '{volatility.label}' to {percent(float(needed))}"],
    )


def _elastic(space: Polyhedron, relaxed: Sequence[int] | None = None) -> _Elastic | None:
    """Violate the rules at `relaxed` (by default all) as little as possible; None where even that fails."""
    rules, columns = space.rules.shape
    at = np.arange(rules) if relaxed is None else np.asarray(relaxed, dtype=int)
    if rules == 0:
        return _Elastic(0.0, np.zeros(0), np.zeros(0), 1.0)
    slack = sp.csr_array((-np.ones(len(at)), (at, np.arange(len(at)))), shape=(rules, len(at)))
    found = linprog(
        np.concatenate([np.zeros(columns), np.ones(len(at))]),
        A_ub=sp.hstack([space.rules, slack]),
        b_ub=space.limits,
        A_eq=sp.hstack([space.equations, sp.csr_array((space.equations.shape[0], len(at)))]),
        b_eq=space.rights,
        bounds=np.column_stack([np.zeros(columns + len(at)), np.append(space.upper, np.full(len(at), np.inf))]),
        method="highs",
    )
    if found.status != 0:
        return None
    missed = np.zeros(rules)
    missed[at] = found.x[columns:]
    return _Elastic(float(found.fun), missed, -np.asarray(found.ineqlin.marginals), float(found.x[columns - 1]))


def _feasible(space: Polyhedron, kept: list[int]) -> bool:
    part = Polyhedron(space.rules[kept], space.limits[kept], space.equations, space.rights, space.upper)
    elastic = _elastic(part)
    return elastic is not None and elastic.total <= _SLACK


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
    """The least change of one member's limit with which all else can hold; None where none suffices."""
    elastic = _elastic(space, [member])
    return None if elastic is None else loosened(rows, member, elastic.missed[member], elastic.wealth)


def _joint_fix(space: Polyhedron, rows: Rows) -> list[str]:
    """Where no single rule suffices: the least changes in all, together, of the rules that have a limit to move."""
    elastic = _elastic(space, np.flatnonzero(~np.isnan(rows.stated)).tolist())
    if elastic is None:
        return []
    changes = [
        loosened(rows, int(i), elastic.missed[i], elastic.wealth) for i in np.flatnonzero(elastic.missed > _SLACK)
    ]
    return [" and ".join(filter(None, changes)) + " (one alone is not enough)"]


def loosened(rows: Rows, member: int, missed: float, wealth: float) -> str | None:
    """A rule's limit moved so far that what it was `missed` by fits, as an instruction; None where it has no limit.

    Rounded to a basis point in the direction that loosens, so that the fix works as printed.
    """
    if np.isnan(rows.stated[member]):
        return None
    sense = float(rows.sense[member])
    per_wealth = missed / wealth if rows.limit[member] == 0 else missed
    limit = np.ceil((sense * rows.stated[member] + per_wealth) * 1e4 - 1e-5) / 1e4 * sense
    return f"{'raise' if sense > 0 else 'lower'} '{rows.labels[member]}' to {percent(float(limit))}"
