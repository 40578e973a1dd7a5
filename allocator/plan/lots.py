"""From target weights to whole lots: the nearest portfolio in money that keeps every rule, by a small integer program.

Costs are in the cash row, orders are at least the smallest trade, nothing is sold that is not held; all of a holding
may always be sold, lots or not. Conic rules are re-checked on the lots and cut off where they break. HiGHS solves;
nothing is accepted that the rules' own formulas refuse.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from allocator.book.book import Book
from allocator.errors import Infeasible, NotSolved
from allocator.mandate.mandate import Mandate
from allocator.mandate.rules import Reading, Rows, Trade, VolatilityLimit, some_rows, stacked, widened
from allocator.outlook.outlook import Outlook
from allocator.plan.integer import Block, Found, IntegerProgram
from allocator.plan.lattice import Lattice, lattice_of
from allocator.plan.window import Window, rules_on, window
from allocator.program.compile import Start
from allocator.types import Vector

RULE_TOLERANCE = 1e-9
"""A rule on final lots may be missed by this much, in its own unit: float noise, not money."""
_ROUNDS = 40
_NODES = 300
"""A first look of so many nodes: where it finds nothing at all, the rules are asked what stands in the way."""
_DEAREST = 1e5
"""A lot counts for at most this much more than a middling one, and at least this much less: what a solver can see."""


@dataclass(frozen=True, eq=False)
class _Search:
    """What stays the same while rules are tightened. `deadline` is of `time.monotonic`."""

    book: Book
    outlook: Outlook
    mandate: Mandate
    lattice: Lattice
    deadline: float

    @property
    def seconds(self) -> float:
        return self.deadline - time.monotonic()

    def trade(self, steps: Vector) -> Trade:
        return traded(self.book, self.mandate, _lots(self.book, self.lattice, steps))


class _Stuck(Exception):
    """There is no portfolio in `view`, or none was found; `proved` says which."""

    def __init__(self, view: Window, *, proved: bool) -> None:
        self.view, self.proved = view, proved
        super().__init__()


def whole_lots(book: Book, outlook: Outlook, mandate: Mandate, start: Start, target: Trade) -> Vector:
    """(N,) signed lots to trade, whole except where everything is sold: the nearest to `target` in money.

    Of all portfolios that keep every rule. Where a lot is worth less than arithmetic can tell from nothing
    (1e-10 of the account, or a millionth of the coarsest rounding), round numbers of lots are traded.

    Raises:
        Infeasible: no whole-lot portfolio keeps the rules; names the rule and the lot that cannot fit.
        NotSolved: the time limit passed before a whole-lot portfolio was proved nearest.
    """
    deadline = time.monotonic() + book.settings.lots.time_limit_seconds
    search = _Search(book, outlook, mandate, lattice_of(book, mandate, start, target), deadline)
    rows = mandate.rows
    if mandate.volatility:
        rows = _with_tangent(rows, target, outlook, mandate.volatility)
    broken: list[Reading] = []
    for _ in range(_ROUNDS):
        try:
            steps = _nearest(search, rows)
        except _Stuck as stuck:
            raise _cannot_fit(search, rows, stuck) from None
        trade = search.trade(steps)
        broken = _broken(mandate.readings(trade, outlook))
        if not broken:
            _refuse_disorder(search, rows, steps)
            return _lots(book, search.lattice, steps)
        rows = _cut(rows, trade, outlook, mandate)
    said = " and ".join(f"'{reading.label}' (measures {reading.measured:.8g})" for reading in broken)
    raise NotSolved(
        f"found no whole-lot portfolio that keeps {said}, after {_ROUNDS} cuts; loosen it a little, or use smaller lots"
    )


def traded(book: Book, mandate: Mandate, lots: Vector) -> Trade:
    """The trade in money that signed `lots` (N,) make: whole lots, or everything that is held."""
    moved = lots * book.lot_values
    bought, sold = np.maximum(moved, 0.0), np.maximum(-moved, 0.0)
    costs = float(mandate.cost_rates @ (bought + sold))
    quantities = book.quantities + lots * book.lot_sizes
    quantities = np.where(np.abs(quantities) <= 1e-15 * book.quantities, 0.0, quantities)
    cash = book.cash + float(sold.sum()) - float(bought.sum()) - costs
    return Trade(quantities * book.prices, cash, bought, sold, costs, book.value)


def _lots(book: Book, lattice: Lattice, steps: Vector) -> Vector:
    """(N,) signed lots of signed steps; selling everything held never sells a last bit more."""
    lots = lattice.lots(steps)
    everything = (steps == -lattice.held) & (lattice.held > 0)
    for _ in range(4):
        over = everything & (book.quantities + lots * book.lot_sizes < 0)
        lots = np.where(over, np.nextafter(lots, 0.0), lots)
    return lots


def _nearest(search: _Search, rows: Rows) -> Vector:
    """Signed steps (N,) of the nearest portfolio that keeps the rows.

    A window around the target is searched. What is found is the nearest of all when what it could be nearer is within
    the window's reach; else the window is widened.
    """
    lattice, reach = search.lattice, search.lattice.reach
    while True:
        view = window(lattice, reach)
        found = _solve(search, view, rows)
        if found.impossible and not view.whole_lattice:
            reach = reach * 64 if reach < 1 else np.inf
            continue
        if found.x is None:
            raise _Stuck(view, proved=found.impossible)
        if not found.proved:
            raise NotSolved(f"whole lots: {found.status}; raise lots.time_limit_seconds")
        steps = view.steps(found.x)
        avoidable = lattice.avoidable(steps)
        if view.whole_lattice or avoidable <= reach * (1 + 1e-9):
            return steps
        reach = avoidable


def _solve(search: _Search, view: Window, rows: Rows) -> Found:
    """The nearest portfolio in a window: a first look bounded in work, then whatever time there is."""
    lattice, count = search.lattice, len(search.lattice.targets)
    rules = rules_on(view, search.outlook, rows)
    money = np.clip(lattice.values / lattice.unit, 1 / _DEAREST, _DEAREST)
    program = IntegerProgram(
        objective=np.concatenate([np.zeros(5 * count), money, np.zeros(2)]),
        blocks=(rules.equations, rules.rules, *(_wider(block, 2) for block in view.structure())),
        lower=np.append(np.zeros(6 * count), [-np.inf, -np.inf]),
        upper=np.append(view.upper, [np.inf, np.inf]),
        integral=np.concatenate([np.ones(5 * count), np.zeros(count + 2)]),
        gap=1e-6 * max(1.0, float(money @ np.abs(lattice.rounded - lattice.targets))),
    )
    found = program.solve(search.seconds / 2, _NODES)
    if found.proved or found.impossible or found.x is None:
        return found
    return program.solve(search.seconds)


def _wider(block: Block, columns: int) -> Block:
    none = sp.csr_array((block.coefficients.shape[0], columns))
    return Block(sp.csr_array(sp.hstack([block.coefficients, none])), block.low, block.high)


def _refuse_disorder(search: _Search, rows: Rows, steps: Vector) -> None:
    """Raise unless the final lots are orders and, where no rule holds them back, the nearest ones.

    Raises:
        NotSolved: naming an instrument whose order is none, or further from its target than it need be.
    """
    book, lattice = search.book, search.lattice
    lots = _lots(book, lattice, steps)
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


def _broken(readings: list[Reading]) -> list[Reading]:
    return [reading for reading in readings if reading.excess > RULE_TOLERANCE]


def _cut(rows: Rows, trade: Trade, outlook: Outlook, mandate: Mandate) -> Rows:
    """Rows tightened where the lots still break a rule's own formula."""
    readings = [reading for rule in mandate.linear_rules for reading in rule.readings(trade, outlook)]
    excess = np.array([reading.excess for reading in readings] + [0.0] * (len(rows.labels) - len(readings)))
    tightened = replace(rows, limit=rows.limit - np.where(excess > RULE_TOLERANCE, excess, 0.0))
    if mandate.volatility and _broken(mandate.volatility.readings(trade, outlook)):
        return _with_tangent(tightened, trade, outlook, mandate.volatility)
    return tightened


def _with_tangent(rows: Rows, trade: Trade, outlook: Outlook, volatility: VolatilityLimit) -> Rows:
    """The volatility limit's tangent at this portfolio, (Ωh)'h/√(h'Ωh) ≤ limit·√years·W: cuts off nothing allowed."""
    weights = trade.weights
    deviation = np.sqrt(outlook.risk.variance(weights))
    if deviation == 0:
        return rows
    gradient = outlook.risk.covariances(weights) / deviation
    tangent = some_rows(
        [volatility.label],
        len(weights),
        holdings=sp.csr_array(gradient[None, :]),
        wealth=np.array([volatility.limit * np.sqrt(outlook.years)]),
        stated=[volatility.limit],
    )
    return stacked([rows, tangent], len(weights))


def _cannot_fit(search: _Search, rows: Rows, stuck: _Stuck) -> Infeasible:
    """The rules that whole lots miss by least, the largest lot that stands in their way, and the way out.

    The fix is what a whole-lot portfolio measures, by the rules' own formulas, that keeps all other rules: it works as
    printed.
    """
    smaller = "use smaller lots or a smaller lots.min_trade"
    said = "no whole-lot portfolio keeps" if stuck.proved else "found no whole-lot portfolio that keeps"
    mandate, volatility = search.mandate, search.mandate.volatility
    best: list[Reading] | None = None
    for _ in range(5):
        steps = _least_missed(search, stuck.view, rows)
        if steps is None:
            break
        trade = search.trade(steps)
        readings = _broken(mandate.readings(trade, search.outlook))
        if best is None or _total(readings) < _total(best):
            best = readings
        if volatility is None or volatility.label not in [reading.label for reading in readings]:
            break
        rows = _with_tangent(rows, trade, search.outlook, volatility)
    if best is None:
        return Infeasible(f"{said} the rules", fixes=[smaller])
    if not best:
        return _hardly_fits(mandate.readings(trade, search.outlook), rows)
    best.sort(key=lambda reading: -reading.excess)
    together = " and ".join(fix for reading in best if (fix := _loosened(rows, reading)))
    return Infeasible(
        f"{said} {' and '.join(repr(reading.label) for reading in best)}: {_largest_order(search, rows, best[0])}",
        [reading.label for reading in best],
        [*([together] if together else []), smaller],
    )


def _hardly_fits(readings: list[Reading], rows: Rows) -> Infeasible:
    """Rules that some whole lots keep by no more than the tolerance, so that the nearest cannot be told."""
    tight = [reading for reading in readings if reading.excess > -RULE_TOLERANCE]
    names = [reading.label for reading in tight]
    slack = [replace(reading, measured=reading.limit + (1e-4 if reading.at_most else -1e-4)) for reading in tight]
    return Infeasible(
        f"whole lots leave no room under {' and '.join(map(repr, names)) or 'the rules'}",
        names,
        [*(fix for reading in slack if (fix := _loosened(rows, reading))), "raise lots.time_limit_seconds"],
    )


def _total(readings: list[Reading]) -> float:
    return sum(reading.excess for reading in readings)


def _loosened(rows: Rows, reading: Reading) -> str | None:
    """The rule with the limit that was measured, as an instruction; None where it has no limit."""
    if reading.label not in rows.labels or np.isnan(rows.stated[rows.labels.index(reading.label)]):
        return None
    sense = 1.0 if reading.at_most else -1.0
    return f"{'raise' if sense > 0 else 'lower'} '{reading.label}' to {widened(reading.measured, sense)}"


def _least_missed(search: _Search, view: Window, rows: Rows) -> Vector | None:
    """The portfolio that misses the rules by least in all, proved or not; rows of one rule are missed together."""
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
        blocks=(_wider(rules.equations, len(labels)), missable, *(_wider(b, extra) for b in view.structure())),
        lower=np.concatenate([np.zeros(6 * count), [-np.inf, -np.inf], np.zeros(len(labels))]),
        upper=np.concatenate([view.upper, np.full(extra, np.inf)]),
        integral=np.concatenate([np.ones(5 * count), np.zeros(count + extra)]),
    )
    found = program.solve(search.seconds / 2, _NODES)
    return None if found.x is None else view.steps(found.x)


def _largest_order(search: _Search, rows: Rows, reading: Reading) -> str:
    """The largest smallest order among the names that a rule touches: the lot that does not fit."""
    book, lattice = search.book, search.lattice
    rule = rows.labels.index(reading.label)
    touched = np.abs((rows.holdings + rows.buys + rows.sells)[[rule]].toarray()[0]) > 0
    touched |= rows.cash[rule] != 0 or rows.expected[rule] != 0  # every order moves cash and the expected return
    orders = np.where(touched, lattice.values * lattice.smallest, 0.0)
    worst = int(np.argmax(orders))
    share = np.format_float_positional(float(f"{orders[worst] * 100:.3g}"), trim="-")
    return (
        f"the smallest order of {book.instruments[worst]} is {orders[worst] * book.value:,.2f} "
        f"{book.settings.book.currency}, {share}% of the account"
    )
