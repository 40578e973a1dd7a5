"""The search for the nearest whole lots under linear rows: a window around the target, widened while it matters."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from allocator.book.book import Book
from allocator.errors import NotSolved
from allocator.mandate.mandate import Mandate
from allocator.outlook.outlook import Outlook
from allocator.plan.integer import Block, Found, IntegerProgram, Work
from allocator.plan.lattice import Lattice
from allocator.plan.window import Window, rules_on, window
from allocator.rules import ConvexRule, Reading, Rows, Trade, slack, stacked
from allocator.types import Vector

RULE_TOLERANCE = 1e-9
"""A rule on final lots may be missed by this much, in its own unit: float noise, not money."""
NODES = 300
"""A first look of so many nodes: where it finds nothing at all, the rules are asked what stands in the way."""
_EASIER = "loosen a rule a little, or use smaller lots"
_FLOAT_NOISE = 1e-13  # of the account: the last bits of its sums
_DEAREST = 1e5
"""A lot counts for at most this much more than a middling one, and at least this much less: what a solver can see."""


@dataclass(frozen=True, eq=False)
class Search:
    """What stays the same while rules are tightened, and the `work` that they have in common."""

    book: Book
    outlook: Outlook
    mandate: Mandate
    lattice: Lattice
    work: Work

    def lots(self, steps: Vector) -> Vector:
        """(N,) signed lots of signed steps; selling everything held never sells a last bit more."""
        lots = steps * self.lattice.lots_a_step
        everything = (steps == -self.lattice.held) & (self.lattice.held > 0)
        for _ in range(4):
            over = everything & (self.book.quantities + lots * self.book.lot_sizes < 0)
            lots = np.where(over, np.nextafter(lots, 0.0), lots)
        return lots

    def trade(self, steps: Vector) -> Trade:
        """The trade in money that signed steps make."""
        return traded(self.book, self.mandate, self.lots(steps))


class Stuck(Exception):
    """There is no portfolio in `view`, or none was found; `proved` says which."""

    def __init__(self, view: Window, *, proved: bool) -> None:
        self.view, self.proved = view, proved
        super().__init__()


def traded(book: Book, mandate: Mandate, lots: Vector) -> Trade:
    """The trade in money that signed `lots` (N,) make: whole lots, or everything that is held."""
    moved = lots * book.lot_values
    bought, sold = np.maximum(moved, 0.0), np.maximum(-moved, 0.0)
    costs = float(mandate.costs(bought, sold, book.value).sum())
    quantities = book.quantities + lots * book.lot_sizes
    quantities = np.where(np.abs(quantities) <= 1e-15 * book.quantities, 0.0, quantities)
    cash = book.cash + float(sold.sum()) - float(bought.sum()) - costs
    if -_FLOAT_NOISE * book.value < cash < 0:
        cash = 0.0
    return Trade(quantities * book.prices, cash, bought, sold, costs, book.value)


def nearest(search: Search, rows: Rows) -> Vector:
    """Signed steps (N,) of the nearest portfolio that keeps the rows.

    What is found in a window is the nearest of all when what it could be nearer is within the window's reach; else the
    window is widened.

    Raises:
        Stuck: there is none, or none was found.
        NotSolved: the work was spent before the best that was found was proved nearest.
        OutOfTime: the user's time limit passed first.
    """
    lattice, reach = search.lattice, search.lattice.reach
    while True:
        view = window(lattice, reach)
        found = _solve(search, view, rows)
        if found.impossible and not view.whole_lattice:
            reach = reach * 64 if reach < 1 else np.inf
            continue
        if found.x is None:
            raise Stuck(view, proved=found.impossible)
        if not found.proved:
            raise NotSolved(
                f"whole lots were found, but not proved nearest, before the work was spent ({found.status}); {_EASIER}"
            )
        steps = view.steps(found.x)
        avoidable = lattice.avoidable(steps)
        if view.whole_lattice or avoidable <= reach * (1 + 1e-9):
            return steps
        reach = avoidable


def _solve(search: Search, view: Window, rows: Rows) -> Found:
    """The nearest portfolio in a window: a first look, then whatever work there is."""
    lattice, count = search.lattice, len(search.lattice.targets)
    rules = rules_on(view, search.outlook, rows)
    money = np.clip(lattice.values / lattice.unit, 1 / _DEAREST, _DEAREST)
    program = IntegerProgram(
        objective=np.concatenate([np.zeros(5 * count), money, np.zeros(2)]),
        blocks=(rules.equations, rules.rules, *(wider(block, 2) for block in view.structure())),
        lower=np.append(np.zeros(6 * count), [-np.inf, -np.inf]),
        upper=np.append(view.upper, [np.inf, np.inf]),
        integral=np.concatenate([np.ones(5 * count), np.zeros(count + 2)]),
        gap=1e-6 * max(1.0, float(money @ np.abs(lattice.rounded - lattice.targets))),
    )
    found = program.solve(search.work, NODES)
    if found.proved or found.impossible or found.x is None:
        return found
    return program.solve(search.work)


def wider(block: Block, columns: int) -> Block:
    """A block with so many more columns, all of them zero."""
    none = sp.csr_array((block.coefficients.shape[0], columns))
    return Block(sp.csr_array(sp.hstack([block.coefficients, none])), block.low, block.high)


def broken(readings: list[Reading]) -> list[Reading]:
    """The rules that final lots may not break so far."""
    return [reading for reading in readings if not reading.excess <= RULE_TOLERANCE]


def with_tangent(rows: Rows, trade: Trade, outlook: Outlook, rule: ConvexRule) -> Rows:
    """The rows and a convex rule's tangent at this portfolio: it cuts off nothing that the rule allows."""
    tangent = rule.tangent(rule.steepest(trade, outlook), outlook)
    return stacked([rows, tangent], len(trade.values))


def cut(
    rows: Rows,
    trade: Trade,
    outlook: Outlook,
    mandate: Mandate,
    convex: Collection[str] | None = None,
    linear: Collection[str] | None = None,
) -> Rows:
    """Rows tightened where lots still break a rule's own formula: of all rules, or of those labelled so."""
    readings = [reading for rule in mandate.linear_rules for reading in rule.readings(trade, outlook)]
    missed = np.zeros(len(rows.labels), dtype=bool)
    missed[: len(readings)] = [bool(broken([r])) and (linear is None or r.label in linear) for r in readings]
    # by what the row itself is missed: a rule's own unit may be a day's volume, or another group
    tightened = replace(
        rows, limit=rows.limit - np.where(missed, np.maximum(-slack(rows.on(outlook), trade), 1e-13), 0)
    )
    for rule in mandate.convex_rules:
        found = broken(list(rule.readings(trade, outlook)))
        if found and (convex is None or found[0].label in convex):
            tightened = with_tangent(tightened, trade, outlook, rule)
    return tightened
