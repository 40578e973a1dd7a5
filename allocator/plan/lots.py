"""From target weights to whole lots: the nearest portfolio in money that keeps every rule, by a small integer program.

Costs are in the cash row, orders are at least the smallest trade, nothing is sold that is not held. Conic rules are
re-checked on the lots and cut off where they break. HiGHS solves; nothing is accepted that the rules' own formulas
refuse.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from allocator.book.book import Book
from allocator.errors import Infeasible, NotSolved
from allocator.mandate.mandate import Mandate
from allocator.mandate.rules import Rows, Trade, VolatilityLimit, percent, some_rows, stacked
from allocator.outlook.outlook import Outlook
from allocator.plan.integer import Block, IntegerProgram
from allocator.program.compile import Start
from allocator.program.conflicts import loosened
from allocator.types import Vector

RULE_TOLERANCE = 1e-9
"""A rule on final lots may be missed by this much, in its own unit: float noise, not money."""
_ROUNDS = 40
_BASIS_POINTS = 1e4  # rows are scaled to basis points, so that a solver's 1e-6 is 1e-10 of the account


@dataclass(frozen=True, eq=False)
class _Lattice:
    """The integer program in wealth units: lots bought, lots sold, is bought, is sold, distance; five blocks of N.

    `smallest` (N,) lots in the smallest order; `most_bought`, `most_sold` (N,) bound the lots.
    """

    start: Start
    lot_values: Vector
    targets: Vector
    """(N,) wanted trades in lots, not whole."""
    smallest: Vector
    most_bought: Vector
    most_sold: Vector
    cost_rates: Vector
    seconds: float


def whole_lots(book: Book, outlook: Outlook, mandate: Mandate, start: Start, target: Trade) -> Vector:
    """(N,) signed whole lots to trade, the nearest to `target` in money that keeps every rule.

    Raises:
        Infeasible: no whole-lot portfolio keeps the rules; names the rule and the lot that cannot fit.
        NotSolved: the time limit passed before a whole-lot portfolio was proved nearest.
    """
    lattice = _lattice(book, mandate, start, target)
    rows = mandate.rows
    for _ in range(_ROUNDS):
        found = _nearest(lattice, outlook, rows)
        if found is None:
            raise _cannot_fit(book, mandate, lattice, outlook, rows)
        lots = np.rint(found)
        trade = traded(book, mandate, lots)
        tightened = _cut(rows, trade, outlook, mandate)
        if tightened is None:
            return lots
        rows = tightened
    raise NotSolved(
        f"no whole-lot portfolio kept every rule after {_ROUNDS} cuts; loosen mandate.max_volatility a little"
    )


def traded(book: Book, mandate: Mandate, lots: Vector) -> Trade:
    """The trade in money that signed whole `lots` (N,) make."""
    moved = lots * book.lot_values
    bought, sold = np.maximum(moved, 0.0), np.maximum(-moved, 0.0)
    costs = float(mandate.cost_rates @ (bought + sold))
    quantities = book.quantities + lots * book.lot_sizes
    cash = book.cash + float(sold.sum()) - float(bought.sum()) - costs
    return Trade(quantities * book.prices, cash, bought, sold, costs, book.value)


def _lattice(book: Book, mandate: Mandate, start: Start, target: Trade) -> _Lattice:
    lot_values = book.lot_values / book.value
    smallest = np.ceil(np.maximum(book.settings.lots.min_trade / book.lot_values - 1e-9, 0))
    return _Lattice(
        start=start,
        lot_values=lot_values,
        targets=(target.bought - target.sold) / book.lot_values,
        smallest=np.maximum(smallest, 1.0),
        most_bought=np.floor(1 / lot_values + 1e-9),
        most_sold=np.floor(book.quantities / book.lot_sizes + 1e-9),
        cost_rates=mandate.cost_rates,
        seconds=book.settings.lots.time_limit_seconds,
    )


def _nearest(lattice: _Lattice, outlook: Outlook, rows: Rows) -> Vector | None:
    """Signed lots (N,) of the nearest whole-lot portfolio, or None where there is none."""
    count = len(lattice.targets)
    coefficients, limits = _rules_on_lots(lattice, outlook, rows)
    kept = Block(sp.hstack([coefficients, sp.csr_array((len(limits), 3 * count))]), -np.inf, limits)
    objective = np.concatenate([np.zeros(4 * count), lattice.lot_values])
    status, found = _program(lattice, objective, [kept, *_structure(lattice)]).solve(lattice.seconds)
    if status == "Infeasible":
        return None
    if found is None:
        raise NotSolved(f"whole lots: {status}; raise lots.time_limit_seconds")
    result: Vector = found[:count] - found[count : 2 * count]
    return result


def _program(lattice: _Lattice, objective: Vector, blocks: list[Block], extra: int = 0) -> IntegerProgram:
    """Lots bought and sold, is bought, is sold, distance, and `extra` columns of slack."""
    count = len(lattice.targets)
    upper = np.concatenate([lattice.most_bought, lattice.most_sold, np.ones(2 * count), np.full(count + extra, np.inf)])
    integral = np.concatenate([np.ones(4 * count), np.zeros(count + extra)])
    return IntegerProgram(objective, tuple(blocks), upper, integral)


def _rules_on_lots(lattice: _Lattice, outlook: Outlook, rows: Rows) -> tuple[sp.csr_array, Vector]:
    """The rules' rows over lots bought and sold (R + 1, 2N), in basis points; the last row keeps cash from below 0."""
    value, rates, start = lattice.lot_values, lattice.cost_rates, lattice.start
    in_holdings = rows.holdings + sp.csr_array(np.outer(rows.expected, outlook.probabilities @ outlook.returns))
    in_cash = rows.cash + rows.expected * float(outlook.probabilities @ outlook.cash_returns)
    # one lot bought: holdings + value, cash − (1 + rate)·value, wealth − rate·value; sold: the mirror image
    paid, received, lost = -(1 + rates) * value, (1 - rates) * value, rates * value
    own = sp.diags_array(value)
    bought = (in_holdings + rows.buys) @ own + np.outer(in_cash, paid) + np.outer(rows.wealth, lost)
    sold = (rows.sells - in_holdings) @ own + np.outer(in_cash, received) + np.outer(rows.wealth, lost)
    limits = rows.limit + rows.wealth - in_holdings @ start.holdings - in_cash * start.cash
    coefficients = np.vstack([np.hstack([bought, sold]), np.concatenate([-paid, -received])[None, :]])
    return sp.csr_array(coefficients) * _BASIS_POINTS, np.append(limits, start.cash) * _BASIS_POINTS


def _structure(lattice: _Lattice) -> list[Block]:
    """What makes lots orders: bought or sold, at least the smallest trade; and what makes distance the distance."""
    count = len(lattice.targets)
    eye, none = sp.eye_array(count), sp.csr_array((count, count))
    smallest = sp.diags_array(lattice.smallest)
    low, high = _around(lattice)
    # the chord between the two nearest allowed trades: with it the relaxation knows the cost of rounding
    below, above = np.abs(low - lattice.targets), np.abs(high - lattice.targets)
    slope = np.divide(above - below, high - low, out=np.zeros(count), where=high > low)
    chord = sp.diags_array(slope)
    return [
        Block(sp.hstack([eye, none, -sp.diags_array(lattice.most_bought), none, none]), -np.inf, 0),
        Block(sp.hstack([none, eye, none, -sp.diags_array(lattice.most_sold), none]), -np.inf, 0),
        Block(sp.hstack([-eye, none, smallest, none, none]), -np.inf, 0),
        Block(sp.hstack([none, -eye, none, smallest, none]), -np.inf, 0),
        Block(sp.hstack([none, none, eye, eye, none]), -np.inf, 1),
        Block(sp.hstack([-eye, eye, none, none, eye]), -lattice.targets, np.inf),
        Block(sp.hstack([eye, -eye, none, none, eye]), lattice.targets, np.inf),
        Block(sp.hstack([-chord, chord, none, none, eye]), below - slope * low, np.inf),
    ]


def _around(lattice: _Lattice) -> tuple[Vector, Vector]:
    """(N,) the nearest allowed trades below and above the target, in signed lots."""
    whole_low, whole_high = np.floor(lattice.targets + 1e-9), np.ceil(lattice.targets - 1e-9)
    smallest = lattice.smallest
    low = np.where(whole_low >= smallest, whole_low, np.where(whole_low >= 0, 0.0, np.minimum(whole_low, -smallest)))
    high = np.where(
        whole_high <= -smallest, whole_high, np.where(whole_high <= 0, 0.0, np.maximum(whole_high, smallest))
    )
    return low, high


def _cut(rows: Rows, trade: Trade, outlook: Outlook, mandate: Mandate) -> Rows | None:
    """Rows tightened where the lots still break a rule's own formula; None when every rule holds."""
    readings = [reading for rule in mandate.linear_rules for reading in rule.readings(trade, outlook)]
    excess = np.array([reading.excess for reading in readings] + [0.0] * (len(rows.labels) - len(readings)))
    broken = excess > RULE_TOLERANCE
    conic = mandate.volatility.readings(trade, outlook)[0].excess if mandate.volatility else -1.0
    if not broken.any() and conic <= RULE_TOLERANCE:
        return None
    tightened = replace(rows, limit=rows.limit - np.where(broken, excess + RULE_TOLERANCE, 0.0))
    if conic <= RULE_TOLERANCE or mandate.volatility is None:
        return tightened
    return _with_tangent(tightened, trade, outlook, mandate.volatility)


def _with_tangent(rows: Rows, trade: Trade, outlook: Outlook, volatility: VolatilityLimit) -> Rows:
    """The volatility limit's tangent at this portfolio, (Ωh)'h/√(h'Ωh) ≤ limit·√years·W: cuts off nothing allowed."""
    weights = trade.weights
    gradient = outlook.risk.covariances(weights) / np.sqrt(outlook.risk.variance(weights))
    tangent = some_rows(
        [volatility.label],
        len(weights),
        holdings=sp.csr_array(gradient[None, :]),
        wealth=np.array([volatility.limit * np.sqrt(outlook.years)]),
        stated=[volatility.limit],
    )
    return stacked([rows, tangent], len(weights))


def _cannot_fit(book: Book, mandate: Mandate, lattice: _Lattice, outlook: Outlook, rows: Rows) -> Infeasible:
    """The rules that whole lots miss by least, the largest lot that stands in their way, and the way out."""
    count = len(lattice.targets)
    found = _least_missed(lattice, outlook, rows)
    if found is None:
        return Infeasible("no whole-lot portfolio keeps the rules", fixes=["use smaller lots, or a smaller min_trade"])
    missed = found[5 * count :] / _BASIS_POINTS
    broken = [int(i) for i in np.argsort(-missed, kind="stable") if missed[i] > RULE_TOLERANCE]
    names = [rows.labels[i] for i in broken]
    wealth = traded(book, mandate, np.rint(found[:count] - found[count : 2 * count])).value / book.value
    together = " and ".join(fix for i in broken if (fix := loosened(rows, i, missed[i], wealth)))
    return Infeasible(
        f"no whole-lot portfolio keeps {' and '.join(map(repr, names)) or 'the rules'}: "
        f"{_largest_order(book, lattice, rows, broken[0] if broken else 0)}",
        names,
        [*([together] if together else []), "use smaller lots or a smaller lots.min_trade"],
    )


def _least_missed(lattice: _Lattice, outlook: Outlook, rows: Rows) -> Vector | None:
    """The whole-lot portfolio that misses the rules by least in all; its last R entries say by how much, in bps."""
    count, rules = len(lattice.targets), len(rows.labels)
    coefficients, limits = _rules_on_lots(lattice, outlook, rows)
    slack = sp.vstack([-sp.eye_array(rules), sp.csr_array((1, rules))])
    missed = Block(sp.hstack([coefficients, sp.csr_array((rules + 1, 3 * count)), slack]), -np.inf, limits)
    widened = [
        Block(sp.hstack([block.coefficients, sp.csr_array((count, rules))]), block.low, block.high)
        for block in _structure(lattice)
    ]
    objective = np.concatenate([np.zeros(5 * count), np.ones(rules)])
    return _program(lattice, objective, [missed, *widened], extra=rules).solve(lattice.seconds)[1]


def _largest_order(book: Book, lattice: _Lattice, rows: Rows, rule: int) -> str:
    """The largest smallest order among the names that a rule touches: the lot that does not fit."""
    touched = np.abs((rows.holdings + rows.buys + rows.sells)[[rule]].toarray()[0]) > 0
    # a rule on cash or on the expected return names no instrument: every order touches it
    orders = np.where(touched | (not touched.any()), lattice.lot_values * lattice.smallest, 0.0)
    worst = int(np.argmax(orders))
    return (
        f"the smallest order of {book.instruments[worst]} is {orders[worst] * book.value:,.2f} "
        f"{book.settings.book.currency}, {percent(float(round(orders[worst], 4)))} of the account"
    )
