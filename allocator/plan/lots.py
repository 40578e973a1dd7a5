"""From target weights to whole lots: the nearest portfolio in money that keeps every rule, by a small integer program.

Costs are in the cash row, with impact between lines that meet them at every trade that was met (`bent`). Orders are at
least the smallest trade, nothing is sold that is not held; all of a holding may always be sold, lots or not. Conic
rules are re-checked on the lots and cut off where they break. HiGHS solves; nothing is accepted that the rules' own
formulas refuse.
"""

from __future__ import annotations

import numpy as np

from allocator.book.book import Book
from allocator.errors import NotSolved
from allocator.mandate.mandate import Mandate
from allocator.outlook.outlook import Outlook
from allocator.plan.integer import TimeLimit, Work
from allocator.plan.lattice import lattice_of
from allocator.plan.search import RULE_TOLERANCE, Search, Stuck, broken, cut, nearest, traded, with_tangent
from allocator.plan.unfit import refuse_or_give_way
from allocator.plan.window import rules_on, window
from allocator.program.compile import Start
from allocator.rules import Reading, Rows, Trade
from allocator.types import Vector

__all__ = ["RULE_TOLERANCE", "traded", "whole_lots"]
_ROUNDS = 40
_NODES = 10_000_000
"""Nodes times names: what the search for the nearest lots, or for what stands in their way, may branch."""
_FEWEST = 10_000
"""Nodes, however many names."""


def whole_lots(
    book: Book, outlook: Outlook, mandate: Mandate, start: Start, target: Trade, *, quick: int | None = None
) -> Vector:
    """(N,) signed lots to trade, whole except where everything is sold: the nearest to `target` in money.

    Of all portfolios that keep every rule. Where a lot is worth less than arithmetic can tell from nothing
    (1e-10 of the account, or a millionth of the coarsest rounding), round numbers of lots are traded. A `quick` search
    branches so many nodes at most, and does not ask what stands in the way.

    Raises:
        Infeasible: no whole-lot portfolio keeps the rules; names the rule and the lot that cannot fit.
        LotsGiveWay: none does, but rules with a tier could give way.
        NotSolved: the work was spent before a whole-lot portfolio was proved nearest.
        OutOfTime: the user's time limit passed first.
    """
    nodes = max(_NODES // max(len(book.instruments), 1), _FEWEST) if quick is None else quick
    work = Work(nodes, TimeLimit("lots.time_limit_seconds", book.settings.lots.time_limit_seconds))
    search = Search(book, outlook, mandate, lattice_of(book, mandate, start, target), work)
    rows = mandate.rows
    for rule in mandate.convex_rules:
        rows = with_tangent(rows, target, outlook, rule)
    missed, tightened = list[Reading](), rows
    for _ in range(_ROUNDS):
        try:
            steps = nearest(search, tightened)
        except Stuck as stuck:
            if quick is not None:
                raise NotSolved("a quick search found no whole lots") from None
            # rows tightened where costs are only known to lie between lines prove nothing
            refuse_or_give_way(search, rows, stuck if tightened is rows else Stuck(stuck.view, proved=False))
            raise  # never: the line above always raises
        trade = search.trade(steps)
        missed = broken(mandate.readings(trade, outlook))
        if trade.cash < -RULE_TOLERANCE * book.value:
            missed = missed or [Reading("cash at least 0%", trade.cash / book.value, 0.0, at_most=False)]
        if not missed:
            _refuse_disorder(search, rows, steps)
            return search.lots(steps)
        if mandate.impact is None:
            rows = tightened = cut(rows, trade, outlook, mandate)
            continue
        sure = search.lattice.learnt(steps) and tightened is rows
        rows = cut(rows, trade, outlook, mandate, linear=())
        tightened = rows if sure else cut(tightened, trade, outlook, mandate)
    said = " and ".join(f"'{reading.label}' (measures {reading.measured:.8g})" for reading in missed)
    raise NotSolved(
        f"found no whole-lot portfolio that keeps {said}, after {_ROUNDS} cuts; loosen it a little, or use smaller lots"
    )


def _refuse_disorder(search: Search, rows: Rows, steps: Vector) -> None:
    """Raise unless the final lots are orders and, where no rule holds them back, the nearest ones.

    Raises:
        NotSolved: naming an instrument whose order is none, or further from its target than it need be.
    """
    book, lattice = search.book, search.lattice
    lots = search.lots(steps)
    money = np.abs(lots) * book.lot_values
    sold_out = steps == -lattice.held
    wrong = ~lattice.orderable(steps) | (book.quantities + lots * book.lot_sizes < -1e-12 * book.quantities)
    wrong |= (lots != 0) & ~sold_out & (money < book.settings.lots.min_trade * (1 - 1e-9))
    low, high = lattice.nearest
    loose = np.abs(steps - lattice.targets) > (high - low) + 1e-6
    if loose.any() and not len(rules_on(window(lattice, lattice.avoidable(steps)), search.outlook, rows).kept):
        wrong |= loose
    if wrong.any():
        worst = int(np.argmax(wrong))
        raise NotSolved(
            f"the order of {book.instruments[worst]}, {lots[worst]:.12g} lots, is not one; no number leaves"
        )
