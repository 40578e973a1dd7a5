"""Why no whole lots keep the rules: the rules missed by least, the lot that stands in the way, and a way out.

A fix is what one whole-lot portfolio that keeps all other rules measures, by the rules' own formulas, in their own
units: it works as printed. Linear rows, of which a limit of volatility has many, only find that portfolio.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from allocator.errors import Infeasible, NotSolved
from allocator.plan.integer import Block, Found, IntegerProgram, Work
from allocator.plan.search import NODES, RULE_TOLERANCE, Search, Stuck, broken, cut, wider
from allocator.plan.window import Window, rules_on
from allocator.rules import Reading, Rows, widened
from allocator.types import Vector

_SMALLER = "use smaller lots or a smaller lots.min_trade"
_ROUNDS = 40
_PLACES = ("first", "second")
_NAMING = 400_000
"""Nodes times names: what naming an irreducible set of rules may branch."""
_FEWEST = 2_000
"""Nodes, however many names."""
_DEARER = 30.0
"""How much more a rule of one tier costs than one of the next, among whole lots."""


def cannot_fit(search: Search, rows: Rows, stuck: Stuck) -> Infeasible | NotSolved:
    """The error to raise where the search is stuck."""
    said = "no whole-lot portfolio keeps" if stuck.proved else "found no whole-lot portfolio that keeps"
    near = _nearest_to_rules(search, rows, stuck.view)
    if near.readings is None and not stuck.proved:
        return Infeasible(f"{said} the rules", fixes=[_SMALLER])
    readings, joint = near.readings or [], " and "
    missed = broken(readings)
    if not missed:  # kept by no more than the tolerance, so that the nearest cannot be told: any of them may give way
        missed, joint = [_eased(reading) for reading in readings if _is_tight(reading)], " or "
    missed.sort(key=lambda reading: -reading.excess)
    conflict, fixes, whole = [reading.label for reading in missed], list[str](), True
    if stuck.proved:
        conflict, whole, rows = irreducible(search, near.rows, stuck.view)
        fixes = [fix for label in conflict if (fix := _fix(search, rows, stuck.view, label, conflict))]
    if not conflict:
        return NotSolved("whole lots keep the rules, but the nearest were not found; loosen a rule a little")
    furthest = {rule_name(reading.label): reading for reading in reversed(missed)}  # purchases or sales, not both
    apart = [reading for reading in missed if furthest[rule_name(reading.label)] is reading]
    if not fixes and (together := joint.join(fix for reading in apart if (fix := _loosened(rows, reading)))):
        fixes = [together]
    return Infeasible(
        f"{said} {' and '.join(map(repr, conflict))}: "
        f"{_largest_order(search, rows, missed[0].label if missed else conflict[0])}",
        conflict,
        [*fixes, _SMALLER],
        cut_short=not whole,
    )


def irreducible(search: Search, rows: Rows, view: Window) -> tuple[list[str], bool, Rows]:
    """Rules that no whole lots keep together although some keep each part of them; False where the work was spent.

    Deletion filter: a rule stays only where some whole lots keep the others, by the formulas, or the work was spent. A
    convex rule counts by the tangents met so far, which are returned: what is impossible under them is impossible.
    """
    work = Work(max(_NAMING // max(len(search.lattice.targets), 1), _FEWEST), search.work.limit)
    every = list(dict.fromkeys(map(rule_name, rows.labels)))
    kept, whole = every, True
    for label in every:
        without = [other for other in kept if other != label]
        found = _nearest_to_rules(search, rows, view, {one: 0.0 for one in every if one not in without}, work, None)
        rows = found.rows
        if found.impossible:
            kept = without
        elif found.readings is None:
            whole = False
    return kept, whole, rows


def _fix(search: Search, rows: Rows, view: Window, label: str, conflict: list[str]) -> str | None:
    """The limit that whole lots which keep everything else measure where they miss this rule by least."""
    missed = broken(_nearest_to_rules(search, rows, view, {label: 1.0}, nodes=10 * NODES).readings or [])
    if not missed:
        return None
    name = f"the {_PLACES[conflict.index(label)]}" if len(conflict) == 2 else None
    return _loosened(rows, max(missed, key=lambda reading: reading.excess), name)


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
        readings = _nearest_to_rules(search, rows, stuck.view, prices).readings or []
        missed = [(i, reading) for i, reading in enumerate(readings) if broken([reading])]
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


@dataclass(frozen=True, eq=False)
class _Near:
    """Every rule measured on the whole lots that miss priced rules by least and keep all others by their formulas.

    `readings` are None where none were found, and `impossible` says whether it is proved that there are none. `rows`
    are those asked with, and the tangents met on the way.
    """

    readings: list[Reading] | None
    impossible: bool
    rows: Rows


def _nearest_to_rules(
    search: Search,
    rows: Rows,
    view: Window,
    prices: Mapping[str, float] | None = None,
    work: Work | None = None,
    nodes: int | None = NODES,
) -> _Near:
    """The whole lots that miss the rules in `prices`, by default all alike, by least, and keep all others.

    Looked for until they are kept by the formulas, and until lots are found again whose tangents are all known: then
    what a convex rule is missed by is no less than was counted.
    """
    work = work or Work(_ROUNDS * (nodes or NODES), search.work.limit)
    best: list[Reading] | None = None
    before: Vector | None = None
    tightened = rows  # where costs are only known to lie between lines, rows are, and then prove nothing
    for _ in range(_ROUNDS):
        found = None if work.spent else _missed(search, view, tightened, prices, work, nodes)
        if found is None or found.x is None:
            impossible = found is not None and found.impossible and best is None and tightened is rows
            return _Near(best, impossible, rows)
        steps = view.steps(found.x)
        trade = search.trade(steps)
        readings = search.mandate.readings(trade, search.outlook)
        cost = {r.label: 1.0 if prices is None else prices.get(rule_name(r.label)) for r in readings}
        missed = broken(readings)
        paid = trade.cash >= -RULE_TOLERANCE * search.book.value
        kept = paid and not any(cost[reading.label] is None for reading in missed)
        if kept and (best is None or _total(missed, cost) < _total(broken(best), cost)):
            best = readings
        labels = {reading.label for reading in missed if cost[reading.label] != 0}
        learnt = search.lattice.learnt(steps)
        if (
            not learnt
            and kept
            and (not labels & {rule.label for rule in search.mandate.convex_rules} or _same(steps, before))
        ):
            break
        linear = {label for label in labels if not cost[label]}
        sure, was_sure = search.mandate.impact is None or learnt, tightened is rows
        rows = cut(rows, trade, search.outlook, search.mandate, labels, linear if search.mandate.impact is None else ())
        tightened = rows if sure and was_sure else cut(tightened, trade, search.outlook, search.mandate, labels, linear)
        before = steps
    return _Near(best, impossible=False, rows=rows)


def _same(steps: Vector, before: Vector | None) -> bool:
    return before is not None and np.array_equal(steps, before)


def _total(missed: list[Reading], cost: Mapping[str, float | None]) -> float:
    return sum((cost[reading.label] or 0.0) * reading.excess for reading in missed)


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


def _missed(
    search: Search,
    view: Window,
    rows: Rows,
    prices: Mapping[str, float] | None,
    work: Work,
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
    return program.solve(work, nodes)


def _largest_order(search: Search, rows: Rows, label: str) -> str:
    """The largest smallest order among the names that a rule touches: the lot that does not fit."""
    book, lattice = search.book, search.lattice
    touched = np.ones(len(book.instruments), dtype=bool)  # every order moves cash, risk and the expected return
    named = list(map(rule_name, rows.labels))
    if rule_name(label) in named:
        rule = named.index(rule_name(label))
        if rows.cash[rule] == 0 and rows.expected[rule] == 0:
            touched = np.abs((rows.holdings + rows.buys + rows.sells)[[rule]].toarray()[0]) > 0
    orders = np.where(touched, lattice.values * lattice.smallest, 0.0)
    worst = int(np.argmax(orders))
    share = np.format_float_positional(float(f"{orders[worst] * 100:.3g}"), trim="-")
    return (
        f"the smallest order of {book.instruments[worst]} is {orders[worst] * book.value:,.2f} "
        f"{book.settings.book.currency}, {share}% of the account"
    )
