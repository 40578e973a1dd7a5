"""Why no whole lots keep the rules: the rules missed by least, the lot that stands in the way, and a way out.

A fix is what one whole-lot portfolio that keeps all other rules measures, by the rules' own formulas, in their own
units: it works as printed. Linear rows, of which a limit of volatility has many, only find that portfolio.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from allocator.errors import Infeasible, NotSolved
from allocator.mandate.rules import Reading, Rows, widened
from allocator.plan.integer import Block, Found, IntegerProgram
from allocator.plan.search import NODES, RULE_TOLERANCE, Search, Stuck, broken, wider, with_tangent
from allocator.plan.window import Window, rules_on
from allocator.types import Vector

_SMALLER = "use smaller lots or a smaller lots.min_trade"
_TANGENTS = 5
_PLACES = ("first", "second")
_SECONDS = 5.0
"""What naming an irreducible set of rules may take."""
_DEARER = 30.0
"""How much more a rule of one tier costs than one of the next, among whole lots."""


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
    conflict, fixes, whole = [reading.label for reading in missed], list[str](), True
    if stuck.proved:
        conflict, whole = irreducible(search, rows, stuck.view)
        fixes = [fix for label in conflict if (fix := _fix(search, rows, stuck.view, label, conflict))]
    if not fixes and (together := joint.join(fix for reading in missed if (fix := _loosened(rows, reading)))):
        fixes = [together]
    return Infeasible(
        f"{said} {' and '.join(map(repr, conflict))}: {_largest_order(search, rows, missed[0])}",
        conflict,
        [*fixes, _SMALLER],
        cut_short=not whole,
    )


def irreducible(search: Search, rows: Rows, view: Window) -> tuple[list[str], bool]:
    """Rules that no whole lots keep together although they keep each part of them; False where time ran out.

    Deletion filter: a rule stays only where the others were proved to be kept by some whole lots, or time ran out. A
    convex rule counts by the tangents met so far, which are weaker: what is impossible under them is impossible.
    """
    until = time.monotonic() + min(search.seconds / 3, _SECONDS)
    kept, whole = list(dict.fromkeys(map(rule_name, rows.labels))), True
    for label in list(kept):
        without = [other for other in kept if other != label]
        others = dict.fromkeys((one for one in map(rule_name, rows.labels) if one not in without), 0.0)
        left = until - time.monotonic()
        found = _missed(search, view, rows, others, left) if left > 0 else None
        if found is not None and found.impossible:
            kept = without
        elif found is None or found.x is None:
            whole = False
    return kept, whole


def _fix(search: Search, rows: Rows, view: Window, label: str, conflict: list[str]) -> str | None:
    """The limit that whole lots which keep everything else measure where they miss this rule by least."""
    readings = _readings(search, rows, view, {label: 1.0})
    if readings is None:
        return None
    missed = broken(readings)
    own = [reading for reading in missed if rule_name(reading.label) == label]
    if not own or len(own) < len(missed):
        return None
    name = f"the {_PLACES[conflict.index(label)]}" if len(conflict) == 2 else None
    return _loosened(rows, max(own, key=lambda reading: reading.excess), name)


def rule_name(label: str) -> str:
    """What a row's rule is called: purchases and sales are one limit of turnover."""
    return label.removesuffix(" (purchases)").removesuffix(" (sales)")


class LotsGiveWay(Exception):
    """Whole lots keep every hard rule, but not all that have a tier: `missed` is (row, measured) of those."""

    def __init__(self, missed: list[tuple[int, float]]) -> None:
        self.missed = missed
        super().__init__()


def refuse_or_give_way(search: Search, rows: Rows, stuck: Stuck) -> None:
    """Raise what is to be done where the search is stuck.

    Raises:
        LotsGiveWay: loosening rules that have a tier is enough.
        Infeasible: it is not, or there are none.
        NotSolved: whole lots keep the rules, but were not found.
    """
    prices = _by_tier(search)
    if prices is not None:
        readings = _readings(search, rows, stuck.view, prices)
        missed = [] if readings is None else [(i, r) for i, r in enumerate(readings) if r in broken([r])]
        if missed and all(prices.get(rule_name(reading.label)) for _, reading in missed):
            raise LotsGiveWay([(i, reading.measured) for i, reading in missed])
    raise cannot_fit(search, rows, stuck)


def _by_tier(search: Search) -> dict[str, float] | None:
    """What a unit missed costs, by label, of the rules that have a tier; None where none has."""
    mandate = search.mandate
    labelled = [
        (label, int(tier), float(stated))
        for label, tier, stated in zip(mandate.rows.labels, mandate.rows.tier, mandate.rows.stated, strict=True)
    ] + [(rule.label, rule.tier, 0.1) for rule in mandate.convex_rules]
    tiers = sorted({tier for _, tier, _ in labelled} - {0}, reverse=True)
    if not tiers:
        return None
    return {
        rule_name(label): _DEARER ** min(tiers.index(tier), 3) / max(abs(stated), 0.01)
        for label, tier, stated in labelled
        if tier
    }


def _readings(
    search: Search, rows: Rows, view: Window, prices: Mapping[str, float] | None = None
) -> list[Reading] | None:
    """Every rule measured on the whole lots that miss the rules by least; None where none were found.

    With `prices`, only the rules that are priced may be missed.
    """
    best: list[Reading] | None = None
    convex = search.mandate.convex_rules
    for _ in range(_TANGENTS):
        steps = _least_missed(search, view, rows, prices)
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


def _loosened(rows: Rows, reading: Reading, name: str | None = None) -> str | None:
    """The rule with the limit that was measured, as an instruction; None where it has no limit."""
    if reading.label not in rows.labels or np.isnan(rows.stated[rows.labels.index(reading.label)]):
        return None
    sense = 1.0 if reading.at_most else -1.0
    limit = widened(reading.measured, sense, reading.unit)
    name = name or f"'{rule_name(reading.label)}'"
    return f"{'raise' if sense > 0 else 'lower'} {name} to {limit}"


def _least_missed(search: Search, view: Window, rows: Rows, prices: Mapping[str, float] | None = None) -> Vector | None:
    """The steps (N,) that miss the rules by least in all, proved or not; rows of one rule are missed together."""
    found = _missed(search, view, rows, prices, search.seconds / 2, NODES)
    return None if found.x is None else view.steps(found.x)


def _missed(
    search: Search,
    view: Window,
    rows: Rows,
    prices: Mapping[str, float] | None,
    seconds: float,
    nodes: int | None = None,
) -> Found:
    """Whole lots that miss the rules in `prices`, by default all, by least at these prices, and keep all others."""
    count = len(search.lattice.targets)
    rules = rules_on(view, search.outlook, rows)
    named = list(map(rule_name, rows.labels))
    labels = list(dict.fromkeys(named))
    own = rules.kept < len(rows.labels)  # the last row, cash not below nothing, is no rule to be loosened
    at = np.array([labels.index(named[i]) for i in rules.kept[own]], dtype=int)
    shape = (len(rules.kept), len(labels))
    slack = sp.csr_array((-rules.shrink[own], (np.flatnonzero(own), at)), shape=shape)
    missable = Block(sp.csr_array(sp.hstack([rules.rules.coefficients, slack])), rules.rules.low, rules.rules.high)
    extra = 2 + len(labels)
    prices = dict.fromkeys(labels, 1.0) if prices is None else prices
    costs = np.array([prices.get(label, 0.0) for label in labels])
    most = np.array([np.inf if label in prices else 0.0 for label in labels])
    program = IntegerProgram(
        objective=np.concatenate([np.zeros(6 * count + 2), costs]),
        blocks=(wider(rules.equations, len(labels)), missable, *(wider(block, extra) for block in view.structure())),
        lower=np.concatenate([np.zeros(6 * count), [-np.inf, -np.inf], np.zeros(len(labels))]),
        upper=np.concatenate([view.upper, [np.inf, np.inf], most]),
        integral=np.concatenate([np.ones(5 * count), np.zeros(count + extra)]),
    )
    return program.solve(seconds, nodes)


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
