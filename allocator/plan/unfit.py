"""Why no whole lots keep the rules: the rules missed by least, the lot that stands in the way, and a way out.

A fix is what one whole-lot portfolio that keeps all other rules measures, by the rules' own formulas, in their own
units: it works as printed. Linear rows, of which a limit of volatility has many, only find that portfolio.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from allocator.errors import Infeasible, NotSolved
from allocator.mandate.rules import Reading, Rows, widened
from allocator.plan.integer import Block, IntegerProgram
from allocator.plan.search import NODES, RULE_TOLERANCE, Search, Stuck, broken, wider, with_tangent
from allocator.plan.window import Window, rules_on
from allocator.types import Vector

_SMALLER = "use smaller lots or a smaller lots.min_trade"
_TANGENTS = 5


def cannot_fit(search: Search, rows: Rows, stuck: Stuck) -> Infeasible | NotSolved:
    """The error to raise where the search is stuck."""
    said = "no whole-lot portfolio keeps" if stuck.proved else "found no whole-lot portfolio that keeps"
    readings = _readings(search, rows, stuck.view)
    if readings is None:
        return Infeasible(f"{said} the rules", fixes=[_SMALLER])
    missed, joint = broken(readings), " and "
    if not missed:  # kept by no more than the tolerance, so that the nearest cannot be told: any of them may give way
        missed, joint = [_eased(reading) for reading in readings if _is_tight(reading)], " or "
    if not missed:
        return NotSolved("whole lots keep the rules, but the nearest were not found; raise lots.time_limit_seconds")
    missed.sort(key=lambda reading: -reading.excess)
    fixes = joint.join(fix for reading in missed if (fix := _loosened(rows, reading)))
    return Infeasible(
        f"{said} {' and '.join(repr(reading.label) for reading in missed)}: {_largest_order(search, rows, missed[0])}",
        [reading.label for reading in missed],
        [*([fixes] if fixes else []), _SMALLER],
    )


def _readings(search: Search, rows: Rows, view: Window) -> list[Reading] | None:
    """Every rule measured on the whole lots that miss the rules by least; None where none were found."""
    best: list[Reading] | None = None
    convex = search.mandate.convex_rules
    for _ in range(_TANGENTS):
        steps = _least_missed(search, view, rows)
        if steps is None:
            break
        trade = search.trade(steps)
        readings = search.mandate.readings(trade, search.outlook)
        if best is None or _total(readings) < _total(best):
            best = readings
        still = [rule for rule in convex if broken(list(rule.readings(trade, search.outlook)))]
        if not still:
            break
        for rule in still:
            rows = with_tangent(rows, trade, search.outlook, rule)
    return best


def _total(readings: list[Reading]) -> float:
    return sum(reading.excess for reading in broken(readings))


def _is_tight(reading: Reading) -> bool:
    return reading.limit != 0 and reading.excess > -RULE_TOLERANCE


def _eased(reading: Reading) -> Reading:
    """As if the rule were missed by a basis point."""
    return replace(reading, measured=reading.limit + (1e-4 if reading.at_most else -1e-4))


def _loosened(rows: Rows, reading: Reading) -> str | None:
    """The rule with the limit that was measured, as an instruction; None where it has no limit."""
    if reading.label not in rows.labels or np.isnan(rows.stated[rows.labels.index(reading.label)]):
        return None
    sense = 1.0 if reading.at_most else -1.0
    limit = widened(reading.measured, sense, reading.unit)
    return f"{'raise' if sense > 0 else 'lower'} '{reading.label}' to {limit}"


def _least_missed(search: Search, view: Window, rows: Rows) -> Vector | None:
    """The steps (N,) that miss the rules by least in all, proved or not; rows of one rule are missed together."""
    count = len(search.lattice.targets)
    rules = rules_on(view, search.outlook, rows)
    labels = list(dict.fromkeys(rows.labels))
    own = rules.kept < len(rows.labels)  # the last row, cash not below nothing, is no rule to be loosened
    at = np.array([labels.index(rows.labels[i]) for i in rules.kept[own]], dtype=int)
    shape = (len(rules.kept), len(labels))
    slack = sp.csr_array((-rules.shrink[own], (np.flatnonzero(own), at)), shape=shape)
    missable = Block(sp.csr_array(sp.hstack([rules.rules.coefficients, slack])), rules.rules.low, rules.rules.high)
    extra = 2 + len(labels)
    program = IntegerProgram(
        objective=np.concatenate([np.zeros(6 * count + 2), np.ones(len(labels))]),
        blocks=(wider(rules.equations, len(labels)), missable, *(wider(block, extra) for block in view.structure())),
        lower=np.concatenate([np.zeros(6 * count), [-np.inf, -np.inf], np.zeros(len(labels))]),
        upper=np.concatenate([view.upper, np.full(extra, np.inf)]),
        integral=np.concatenate([np.ones(5 * count), np.zeros(count + extra)]),
    )
    found = program.solve(search.seconds / 2, NODES)
    return None if found.x is None else view.steps(found.x)


def _largest_order(search: Search, rows: Rows, reading: Reading) -> str:
    """The largest smallest order among the names that a rule touches: the lot that does not fit."""
    book, lattice = search.book, search.lattice
    touched = np.ones(len(book.instruments), dtype=bool)  # every order moves cash, risk and the expected return
    if reading.label in rows.labels:
        rule = rows.labels.index(reading.label)
        if rows.cash[rule] == 0 and rows.expected[rule] == 0:
            touched = np.abs((rows.holdings + rows.buys + rows.sells)[[rule]].toarray()[0]) > 0
    orders = np.where(touched, lattice.values * lattice.smallest, 0.0)
    worst = int(np.argmax(orders))
    share = np.format_float_positional(float(f"{orders[worst] * 100:.3g}"), trim="-")
    return (
        f"the smallest order of {book.instruments[worst]} is {orders[worst] * book.value:,.2f} "
        f"{book.settings.book.currency}, {share}% of the account"
    )
