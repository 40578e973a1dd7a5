"""Whole lots: the search for the best orders that keep every rule; and where none do, why, and a way out.

A fix is what one whole-lot portfolio that keeps all other rules measures, by the rules' own formulas, in their own
units: it works as printed. Linear rows, of which a limit of volatility has many, only find that portfolio.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.book.book import Book
from allocator.errors import Infeasible, NotSolved
from allocator.lots.milp import (
    GridNeighbourhood,
    LotObjective,
    Nearness,
    OrderGrid,
    PlanObjective,
    neighbourhood,
    neighbourhood_rules,
    order_grid,
    steady_rows,
)
from allocator.mandate.mandate import Mandate
from allocator.optimization.conflicts import RelaxedLimits, has_tiers
from allocator.optimization.highs import Block, IntegerProgram, IntegerSolution, TimeLimit, Work
from allocator.optimization.verification import DualCertificate
from allocator.outlook.outlook import Outlook
from allocator.presentation import plain_amount, plain_decimal
from allocator.rules import (
    AIM,
    PERCENT,
    ConvexRule,
    LooserLimit,
    RuleId,
    RuleMeasurement,
    RuleRows,
    Trade,
    one_key_one_limit,
    row_slack,
    stack_rows,
)
from allocator.rules.rows import Position
from allocator.types import Vector

# What a search has at hand, and what it finds.
#
RULE_TOLERANCE = 1e-9
"""A rule on final lots may be missed by this much, in its own unit: float noise, not a trade."""
PROOF_NODES = 1_000
"""Where lots are known, a round of looking for better ones, or for a proof of none, may branch so often."""
NODES = 300
"""A first look of so many nodes: where it finds nothing at all, the rules are asked what stands in the way."""
_FLOAT_NOISE = 1e-13  # of the account: the last bits of its sums


@dataclass(frozen=True, eq=False)
class LotSearch:
    """What stays the same while rules are tightened, and the `work` that they have in common."""

    book: Book
    outlook: Outlook
    mandate: Mandate
    grid: OrderGrid
    objective: LotObjective
    target: Trade
    work: Work

    def judged(self, steps: Vector) -> LotsFound | None:
        """Steps with their objective, where they keep every rule by its own formula."""
        trade = self.trade(steps)
        if rules_broken(self.mandate.readings(trade, self.outlook)) or trade.cash < 0:
            return None
        return LotsFound(steps, self.objective.value(steps, trade), self.objective.bound)

    def lots(self, steps: Vector) -> Vector:
        """(N,) signed lots of signed steps; selling everything held never sells a last bit more."""
        lots = steps * self.grid.lots_a_step
        everything = (steps == -self.grid.held) & (self.grid.held > 0)
        for _ in range(4):
            over = everything & (self.book.quantities + lots * self.book.lot_sizes < 0)
            lots = np.where(over, np.nextafter(lots, 0.0), lots)
        return np.where(self.book.given_away, -self.book.quantities / self.book.lot_sizes, lots)

    def trade(self, steps: Vector) -> Trade:
        """The trade in money that signed steps make."""
        return trade_of_lots(self.book, self.mandate, self.lots(steps))


class NoLotsFound(Exception):
    """There is no portfolio in `view`, or none was found; `proved` says which."""

    def __init__(self, view: GridNeighbourhood, *, proved: bool) -> None:
        self.view, self.proved = view, proved
        super().__init__()


def trade_of_lots(book: Book, mandate: Mandate, lots: Vector) -> Trade:
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


@dataclass(frozen=True, eq=False)
class LotsFound:
    """Signed steps that keep every rule, what the objective makes of them, and the least that any lots could make."""

    steps: Vector
    value: float
    bound: float

    @property
    def gap(self) -> float:
        """How far they may be from the best, in the objective's unit."""
        return max(self.value - self.bound, 0.0)


# Rounding that keeps every rule: from the nearest trades, one name at a time to its next trade up or down.
#
_REPAIRS = 6
"""Times that a convex rule may gain a tangent here before the integer program is asked."""
_PASSES = 400


def rounded_lots(search: LotSearch, rows: RuleRows) -> tuple[LotsFound | None, RuleRows]:
    """Rounding that keeps every rule, improved while one name alone can; None where that was not found. And the rows,
    with the tangents that were met.
    """
    steps = search.grid.rounded
    for _ in range(_REPAIRS):
        kept, steps = _descend(search, rows, steps)
        if not kept:
            return None, rows
        found = search.judged(steps)
        if found is not None:
            return found, rows
        rows = tighten_rows(rows, search.trade(steps), search.outlook, search.mandate)
    return None, rows


def _descend(search: LotSearch, rows: RuleRows, steps: Vector) -> tuple[bool, Vector]:
    """Moves of one name, first those that mend rows, then those that gain, as many at once as that still holds for; and
    whether the rows are kept.
    """
    effects, grid, objective = RowEffects.of(search, rows), search.grid, search.objective
    slack, trade = effects.slack(search.trade(steps)), search.trade(steps)
    value, missed = objective.value(steps, trade), _missed(slack)
    for _ in range(_PASSES):
        to = np.concatenate([grid.next_up(steps), grid.next_down(steps)])
        twice, names = np.concatenate([steps, steps]), len(steps)
        up, down = np.split(to, 2)
        costs = np.concatenate([objective.changes(steps, trade, up), objective.changes(steps, trade, down)])
        after = missed + effects.changes(slack, twice, to)
        if missed > 0:
            mends = (missed - after > 1e-12) & (to != twice)
            score = np.where(mends, np.maximum(costs, 1e-9) / np.maximum(missed - after, 1e-15), np.inf)
        else:
            gains = (after <= 0) & (costs < -1e-3 * objective.gap - 1e-9)
            score = np.where(gains, costs, np.inf)
        order = np.argsort(score, kind="stable")
        order = order[np.isfinite(score[order])]
        first = np.unique(order % names, return_index=True)[1]  # a name moves once
        order = order[np.sort(first)]
        count = len(order)
        while count:
            moved = steps.copy()
            moved[order[:count] % names] = to[order[:count]]
            then = search.trade(moved)
            slack_then = effects.slack(then)
            missed_then, value_then = _missed(slack_then), objective.value(moved, then)
            if missed_then < missed or (missed_then == 0 and missed == 0 and value_then < value):
                break
            count //= 2
        if not count:
            break
        steps, trade, slack, missed, value = moved, then, slack_then, missed_then, value_then
    return missed == 0, steps


def _missed(slack: Vector) -> float:
    return float(np.maximum(-slack - _FLOAT_NOISE, 0.0).sum())


@dataclass(frozen=True, eq=False)
class RowEffects:
    """What money traded does to each row and to cash, the last of R + 1; wealth that costs take aside."""

    grid: OrderGrid
    written_out: RuleRows
    bought: sp.csc_array
    sold: sp.csc_array

    @staticmethod
    def of(search: LotSearch, rows: RuleRows) -> RowEffects:
        """Of rows, over steps."""
        on, rates = steady_rows(rows, search.outlook), search.grid.cost_rates
        cash = sp.csr_array(np.append(on.cash, -1.0)[:, None])
        held = sp.vstack([on.holdings, sp.csr_array((1, len(rates)))])
        none = sp.csr_array((1, len(rates)))
        buys = held + sp.vstack([on.buys, none]) - cash @ sp.csr_array(1 + rates[None, :])
        sells = sp.vstack([on.sells, none]) - held + cash @ sp.csr_array(1 - rates[None, :])
        money = sp.diags_array(search.grid.values)
        return RowEffects(search.grid, on, sp.csc_array(buys @ money), sp.csc_array(sells @ money))

    def slack(self, trade: Trade) -> Vector:
        """(R + 1,) what each row leaves."""
        return np.append(row_slack(self.written_out, trade), trade.cash / trade.value_before)

    def changes(self, slack: Vector, steps: Vector, to: Vector) -> Vector:
        """(2N,) what moving one name, up or down, adds to what rows are missed by in all."""
        names, parts = len(self.grid.values), list[Vector]()
        rows, columns, starts, of_bought, of_sold = self._entries
        before = -slack[rows] - _FLOAT_NOISE
        broken = np.maximum(before, 0.0)
        for side in (slice(0, names), slice(names, None)):
            bought = np.maximum(to[side], 0) - np.maximum(steps[side], 0)
            sold = np.maximum(-to[side], 0) - np.maximum(-steps[side], 0)
            added = np.maximum(before + (of_bought * bought[columns] + of_sold * sold[columns]), 0.0) - broken
            parts.append(np.add.reduceat(np.append(added, 0.0), starts[:-1]) * (np.diff(starts) > 0))
        return np.concatenate(parts)

    @cached_property
    def _entries(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], Vector, Vector]:
        """Where money traded does anything: rows and names, where each name begins, and what a step does there."""
        every = sp.csc_array(abs(self.bought) + abs(self.sold))
        every.sort_indices()
        columns = np.repeat(np.arange(every.shape[1]), np.diff(every.indptr))
        places = sp.csc_array((np.arange(1, every.nnz + 1), every.indices, every.indptr), shape=every.shape)
        found = list[Vector]()
        for effect in (self.bought, self.sold):
            there = sp.coo_array(effect)
            there.eliminate_zeros()
            data = np.zeros(every.nnz)
            data[np.asarray(places[there.row, there.col]).ravel() - 1] = there.data
            found.append(data)
        return every.indices, columns, every.indptr, found[0], found[1]


# The integer program: tangents of the objective and of rules, until what it finds is as good as it says.
#


def best_lots(search: LotSearch, rows: RuleRows) -> LotsFound:
    """The lots that keep every rule and have the least objective, as far as the work goes.

    Where rounding is within the gap of what no lots can beat, that is the proof, and there is no integer program. Else
    it is asked of the trades that could be better still, by the prices of the targets; names that none of those trade
    are out of it.

    Raises:
        NoLotsFound: there are none, or none were found.
        NotSolved: all that were found miss a rule that cuts do not end.
        OutOfTime: the user's time limit passed first.
    """
    grid, objective, reach = search.grid, search.objective, search.grid.reach
    search.work.limit.refuse_late()
    best, rows = rounded_lots(search, rows)
    while best is None:  # any, before the best
        view = neighbourhood(grid, *grid.around(reach))
        best, impossible = _searched(search, rows, view, None)
        if best is None and (not impossible or view.whole_grid):
            raise NoLotsFound(view, proved=impossible)
        reach = reach * 64 if reach < 1 else np.inf
    if best.value - objective.bound <= objective.gap:
        return replace(best, bound=objective.bound)
    within = objective.within(best.value - objective.bound)
    again, _ = _searched(search, rows, neighbourhood(grid, *within), best)
    return again or best


def _searched(
    search: LotSearch, rows: RuleRows, view: GridNeighbourhood, best: LotsFound | None
) -> tuple[LotsFound | None, bool]:
    """The best lots of a neighbourhood, begun from `best`, and whether it is proved that there are none.

    Its bound is what no lots in it can beat; where rows had to be tightened by more than float noise, or impact is
    charged by a line above it, that is what the targets' prices prove.
    """
    objective, bound = search.objective, search.objective.bound
    if best is None and search.work.nodes <= 0:
        return None, False
    cuts = [view.chord(objective.own, *pair) for pair in _neighbours(search.grid, search.grid.targets, _CHORDS)]
    program = _program(search, view, rows, cuts, search.target)
    if best is not None:
        room = best.value - bound
        of_best = [view.chord(objective.own, *pair) for pair in _neighbours(search.grid, best.steps)]
        program.add([
            *(widen_block(block, 2 + objective.coupled) for block in of_best),
            *objective.near(view, search.target, room),
            *objective.tangents(view, search.trade(best.steps)),
        ])  # fmt: skip
    exact, before = search.mandate.impact is None, np.full(len(search.grid.values), np.nan)
    for _ in range(_ROUNDS):
        begun = None if best is None else view.begun(best.steps)
        found = program.solve(search.work, NODES if best is None else PROOF_NODES, begun)
        if found.x is None:
            return best, found.impossible and best is None
        if exact:
            bound = max(bound, min(found.bound, np.inf if best is None else best.value))
        steps = view.steps(found.x)
        trade, judged = search.trade(steps), search.judged(steps)
        if judged is not None and (best is None or judged.value < best.value):
            best = judged
        if best is not None and best.value - bound <= objective.gap:
            break
        if search.work.nodes <= 0 or (judged is not None and (steps == before).all()):
            break
        before = steps
        if judged is None:
            tightened = tighten_rows(rows, trade, search.outlook, search.mandate)
            own = len(mandate_rows := search.mandate.rows.limit)
            exact = exact and bool((mandate_rows - tightened.limit[:own] <= 1e-8).all())
            rows, program = tightened, _program(search, view, tightened, cuts, search.target)
        more = [view.chord(objective.own, *pair) for pair in _neighbours(search.grid, steps)]
        cuts = [*cuts, *more]
        program.add([*(widen_block(block, 2 + objective.coupled) for block in more), *objective.tangents(view, trade)])
    else:
        if best is None:
            missed = rules_broken(search.mandate.readings(search.trade(before), search.outlook))
            said = " and ".join(f"'{reading.label}' (measures {reading.measured:.8g})" for reading in missed)
            told = f"found no whole-lot portfolio that keeps {said}, after {_ROUNDS} cuts"
            raise NotSolved(f"{told}; loosen it a little, or use smaller lots")
    return None if best is None else replace(best, bound=bound), False


def _neighbours(grid: OrderGrid, steps: Vector, reach: int = 1) -> list[tuple[Vector, Vector]]:
    """(N,) pairs of neighbouring trades about these, so many on either side."""
    low = np.where(grid.orderable(steps), steps, grid.nearest[0])
    high = np.where(grid.orderable(steps), steps, grid.nearest[1])
    pairs = [(low, high)]
    for _ in range(reach):
        below, above = grid.next_down(low), grid.next_up(high)
        pairs = [(below, low), *pairs, (high, above)]
        low, high = below, above
    return pairs


def _program(
    search: LotSearch, view: GridNeighbourhood, rows: RuleRows, cuts: Sequence[Block], at: Trade
) -> IntegerProgram:
    """The neighbourhood's orders, the rules, and the objective by its tangents at one trade."""
    count, objective, rules = (
        len(search.grid.targets),
        search.objective,
        neighbourhood_rules(view, search.outlook, rows),
    )
    costs, lower, upper = objective.columns()
    return IntegerProgram(
        objective=np.concatenate([np.zeros(5 * count), np.ones(count), np.zeros(2), costs]),
        blocks=(
            *(widen_block(block, len(costs)) for block in (rules.equations, rules.rules)),
            *(widen_block(block, 2 + len(costs)) for block in (*view.structure(), *cuts)),
            *objective.coupling(view),
            *objective.tangents(view, at),
        ),
        lower=np.concatenate([np.zeros(5 * count), np.full(count + 2, -np.inf), lower]),
        upper=np.concatenate([view.upper, [np.inf, np.inf], upper]),
        integral=np.concatenate([np.ones(5 * count), np.zeros(count + 2 + len(costs))]),
        gap=objective.gap / 4,
    )


def widen_block(block: Block, columns: int) -> Block:
    """A block with so many more columns, all of them zero."""
    none = sp.csr_array((block.coefficients.shape[0], columns))
    return Block(sp.csr_array(sp.hstack([block.coefficients, none])), block.low, block.high)


def rules_broken(readings: list[RuleMeasurement]) -> list[RuleMeasurement]:
    """The rules that final lots may not break so far."""
    return [reading for reading in readings if not reading.excess <= RULE_TOLERANCE]


def with_tangent(rows: RuleRows, trade: Trade, outlook: Outlook, rule: ConvexRule) -> RuleRows:
    """The rows and a convex rule's tangent at this portfolio: it cuts off nothing that the rule allows."""
    tangent = rule.tangent(rule.steepest(trade, outlook), outlook)
    return stack_rows([rows, tangent], len(trade.values))


def tighten_rows(
    rows: RuleRows, trade: Trade, outlook: Outlook, mandate: Mandate, linear: Collection[RuleId] | None = None
) -> RuleRows:
    """Rows tightened where lots still break a rule's own formula; of linear rules all, or those of these ids."""
    readings = [reading for rule in mandate.linear_rules for reading in rule.readings(trade, outlook)]
    missed = np.zeros(len(rows.labels), dtype=bool)
    missed[: len(readings)] = [bool(rules_broken([r])) and (linear is None or r.id in linear) for r in readings]
    # by what the row itself is missed: a rule's own unit may be a day's volume, or another group
    tightened = replace(
        rows, limit=rows.limit - np.where(missed, np.maximum(-row_slack(rows.on(outlook), trade), 1e-13), 0)
    )
    for rule in mandate.convex_rules:
        if rules_broken(list(rule.readings(trade, outlook))):
            tightened = with_tangent(tightened, trade, outlook, rule)
    return tightened


_SMALLER = "use smaller lots or a smaller lots.min_trade"
_NEAREST_ROUNDS = 40
_CHORDS = 4
"""Trades on either side of the targets between which what a name costs is a line from the start."""
_DEARER = 30.0
"""How much more a rule of one priority costs than one of the next, among whole lots."""


def explain_infeasible_lots(search: LotSearch, rows: RuleRows, stuck: NoLotsFound) -> Infeasible | NotSolved:
    """The error to raise where the search is stuck: what the nearest whole lots miss, and the largest order."""
    said = f"infeasible: no whole-lot portfolio {'keeps' if stuck.proved else 'was found that keeps'} every rule"
    readings = _nearest_to_rules(search, rows, stuck.view)
    if readings is None:
        return Infeasible(said, fixes=[_SMALLER], of_lots=True)
    missed, what, joint = rules_broken(readings), "misses", " and "
    if not missed:  # kept by no more than the tolerance, so that the nearest cannot be told: any of them may be the one
        missed, what, joint = [_eased(one) for one in readings if _is_tight(one)], "only just keeps", " or "
    if not missed:
        return NotSolved("whole lots keep the rules, but none were found; loosen a rule a little")
    missed.sort(key=lambda reading: -reading.excess)
    furthest = {reading.id: reading for reading in reversed(missed)}  # purchases or sales, not both
    apart = [reading for reading in missed if furthest[reading.id] is reading]
    found = [move for reading in apart if (move := _loosened(rows, reading))]
    moves = [(move,) for move in found] if joint == " or " else [one_key_one_limit(found)] if found else []
    together = joint.join(move.in_words() for move in found)
    labels = [_limit_label(rows, reading) for reading in apart]
    return Infeasible(
        f"{said}; the nearest one {what} {' and '.join(map(repr, labels))}: "
        f"{_largest_order(search, rows, missed[0].id)}",
        labels,
        [together, _SMALLER] if together else [_SMALLER],
        moves=moves,
        of_lots=True,
    )


def _limit_label(rows: RuleRows, reading: RuleMeasurement) -> str:
    """What a row's rule is called: purchases and sales are one limit of turnover."""
    return rows.limit_labels[rows.ids.index(reading.id)] if reading.id in rows.ids else reading.label


class SoftRulesViolated(Exception):
    """Whole lots keep every hard rule, but not all that have a priority: `missed` is (row, measured) of those."""

    def __init__(self, missed: list[tuple[int, float]]) -> None:
        self.missed = missed
        super().__init__()


def refuse_or_relax(search: LotSearch, rows: RuleRows, stuck: NoLotsFound) -> None:
    """Raise what is to be done where the search is stuck.

    Raises:
        SoftRulesViolated: loosening rules that have a priority is enough.
        Infeasible: it is not, or there are none.
        NotSolved: whole lots keep the rules, but were not found.
    """
    prices = _by_tier(search)
    if prices is not None:
        readings = _nearest_to_rules(search, rows, stuck.view, prices) or []
        missed = [(i, reading) for i, reading in enumerate(readings) if rules_broken([reading])]
        if missed and all(prices.get(reading.id) for _, reading in missed):
            raise SoftRulesViolated([(i, reading.measured) for i, reading in missed])
    raise explain_infeasible_lots(search, rows, stuck)


def _by_tier(search: LotSearch) -> dict[RuleId, float] | None:
    """What a unit missed costs, by id, of the rules that have a priority; None where none has."""
    mandate = search.mandate
    rows = mandate.rows
    limits = list(zip(rows.ids, map(int, rows.tier), map(float, rows.stated), strict=True))
    limits += [(limit, rule.tier, 0.1) for rule in mandate.convex_rules for limit in rule.ids]
    tiers = sorted({tier for _, tier, _ in limits} - {0}, reverse=True)
    if not tiers:
        return None
    return {
        limit: _DEARER ** min(tiers.index(tier), 3) / max(abs(stated), 0.01) for limit, tier, stated in limits if tier
    }


def _nearest_to_rules(
    search: LotSearch, rows: RuleRows, view: GridNeighbourhood, prices: Mapping[RuleId, float] | None = None
) -> list[RuleMeasurement] | None:
    """Every rule measured on the whole lots that miss the rules in `prices`, by default all alike, by least, and keep
    all others by their formulas; None where none were found.

    Looked for until they keep these, and until the same lots are found again: then what a convex rule is missed by is
    no less than its tangents counted.
    """
    kept_back = search.work.nodes // 2  # for the questions after this one
    best: list[RuleMeasurement] | None = None
    before: Vector | None = None
    convex = {limit for rule in search.mandate.convex_rules for limit in rule.ids}
    for _ in range(_NEAREST_ROUNDS):
        nearest = _least_violation(search, view, rows, prices) if search.work.nodes > kept_back else None
        if nearest is None or nearest.x is None:
            break
        steps = view.steps(nearest.x)
        trade = search.trade(steps)
        readings = search.mandate.readings(trade, search.outlook)
        cost = {r.id: 1.0 if prices is None else prices.get(r.id) for r in readings}
        missed = rules_broken(readings)
        kept = all(cost[reading.id] is not None for reading in missed)
        if kept and (best is None or _total(missed, cost) < _total(rules_broken(best), cost)):
            best = readings
        if kept and (not convex & {one.id for one in missed} or (before is not None and (steps == before).all())):
            break
        hard = {reading.id for reading in missed if cost[reading.id] is None}
        rows, before = tighten_rows(rows, trade, search.outlook, search.mandate, hard), steps
    return best


def _total(missed: list[RuleMeasurement], cost: Mapping[RuleId, float | None]) -> float:
    return sum((cost[reading.id] or 0.0) * reading.excess for reading in missed)


def _is_tight(reading: RuleMeasurement) -> bool:
    return reading.limit != 0 and reading.excess > -RULE_TOLERANCE


def _eased(reading: RuleMeasurement) -> RuleMeasurement:
    """As if the rule were missed by a basis point."""
    return replace(reading, measured=reading.limit + (1e-4 if reading.at_most else -1e-4))


def _loosened(rows: RuleRows, reading: RuleMeasurement) -> LooserLimit | None:
    """The rule with the limit that was measured; None where it has no limit."""
    if reading.id not in rows.ids or np.isnan(rows.stated[rows.ids.index(reading.id)]):
        return None
    sense = 1.0 if reading.at_most else -1.0
    return LooserLimit(reading.id, _limit_label(rows, reading), reading.measured, sense, reading.unit)


def _least_violation(
    search: LotSearch, view: GridNeighbourhood, rows: RuleRows, prices: Mapping[RuleId, float] | None
) -> IntegerSolution:
    """Whole lots that miss the rules in `prices`, by default all, by least at these prices, and keep all others."""
    count = len(search.grid.targets)
    rules = neighbourhood_rules(view, search.outlook, rows)
    limits = list(dict.fromkeys(rows.ids))
    own = rules.kept < len(rows.labels)  # the last row, cash not below nothing, is no rule to be loosened
    at = np.array([limits.index(rows.ids[i]) for i in rules.kept[own]], dtype=int)
    shape = (len(rules.kept), len(limits))
    slack = sp.csr_array((-rules.shrink[own], (np.flatnonzero(own), at)), shape=shape)
    missable = Block(sp.csr_array(sp.hstack([rules.rules.coefficients, slack])), rules.rules.low, rules.rules.high)
    extra = 2 + len(limits)
    prices = dict.fromkeys(limits, 1.0) if prices is None else prices
    costs = np.array([prices.get(limit, 0.0) for limit in limits])
    most = np.array([np.inf if limit in prices else 0.0 for limit in limits])
    program = IntegerProgram(
        objective=np.concatenate([np.zeros(6 * count + 2), costs]),
        blocks=(
            widen_block(rules.equations, len(limits)),
            missable,
            *(widen_block(block, extra) for block in view.structure()),
        ),
        lower=np.concatenate([np.zeros(6 * count), [-np.inf, -np.inf], np.zeros(len(limits))]),
        upper=np.concatenate([view.upper, [np.inf, np.inf], most]),
        integral=np.concatenate([np.ones(5 * count), np.zeros(count + extra)]),
    )
    return program.solve(search.work, NODES)


def _largest_order(search: LotSearch, rows: RuleRows, limit: RuleId) -> str:
    """The largest smallest order among the names that a rule touches: the lot that does not fit."""
    book, grid = search.book, search.grid
    touched = np.ones(len(book.instruments), dtype=bool)  # every order moves cash, risk and the expected return
    if limit in rows.ids:
        rule = rows.ids.index(limit)
        if rows.cash[rule] == 0 and rows.expected[rule] == 0:
            touched = np.abs((rows.holdings + rows.buys + rows.sells)[[rule]].toarray()[0]) > 0
    orders = np.where(touched, grid.values * grid.smallest, 0.0)
    worst = int(np.argmax(orders))
    share = plain_decimal(float(f"{orders[worst] * 100:.3g}"))
    return (
        f"the smallest order of {book.instruments[worst]} is {plain_amount(orders[worst] * book.value, grouped=True)} "
        f"{book.settings.book.currency}, {share}% of the account"
    )


# From target weights to whole lots: the portfolio with the best objective that keeps every rule.
#
# Costs are in the cash row; impact is charged by a line above it, so that with impact the lots are the best of
# those that could pay that much, and nothing is called impossible. Orders are at least the smallest trade, nothing is
# sold that is not held; all of a holding may always be sold, lots or not.
# Conic rules are re-checked on the lots and cut off where they break. HiGHS solves; nothing is accepted that the
# rules' own formulas refuse.
#
__all__ = ["RULE_TOLERANCE", "trade_of_lots", "whole_lots"]
_ROUNDS = 40
_CHORDS = 4
"""Trades on either side of the targets between which what a name costs is a line from the start."""
_NODES = 400_000
"""Nodes times names: what the search for the best lots, and for what stands in their way, may branch. A minute."""
_SQUARED = 20_000_000
"""Nodes times names squared, where that is more: the fewer names, the less a node takes. Of 400 books of ten names two
took a little more than the nodes that the above leaves them."""
_FEWEST = 1_000
"""Nodes, however many names."""


def whole_lots(
    book: Book,
    outlook: Outlook,
    mandate: Mandate,
    start: Position,
    target: Trade,
    prices: DualCertificate | None = None,
    trading_price: float = 0.0,
    *,
    work: Work | None = None,
    explains: bool = True,
) -> tuple[Vector, float]:
    """(N,) signed lots to trade, whole except where everything is sold: the best for the mandate's objective of all
    portfolios that keep every rule; and how many bps they may be from the best.

    `prices` are those of the targets, and prove what no lots can beat; `trading_price` is what they were charged for a
    unit traded beside its costs. Without prices, as of a tree, the lots are the nearest to `target` in money. Where a
    lot is worth less than arithmetic can tell from nothing (1e-10 of the account, or a millionth of the coarsest
    rounding), round numbers of lots are traded. A search that does not explain does not ask what stands in the way.

    Raises:
        Infeasible: no whole-lot portfolio keeps the rules; names the rule and the lot that cannot fit.
        SoftRulesViolated: none does, but rules with a priority could be relaxed.
        NotSolved: the work was spent before a whole-lot portfolio was found.
        OutOfTime: the user's time limit passed first.
    """
    grid = order_grid(book, mandate, start, target)
    objective: LotObjective = Nearness(grid)
    if prices is not None:
        enough = book.settings.lots.gap_bps if explains else np.inf  # a quick search asks whether there are any
        objective = PlanObjective(grid, outlook, mandate, prices, trading_price, enough)
    target = trade_of_lots(book, mandate, grid.targets * grid.lots_a_step)
    search = LotSearch(book, outlook, mandate, grid, objective, target, work or _work(book))
    rows = mandate.rows
    for rule in mandate.convex_rules:
        rows = with_tangent(rows, target, outlook, rule)
    try:
        found = best_lots(search, rows)
    except NoLotsFound as stuck:
        if not explains:
            raise NotSolved("a quick search found no whole lots") from None
        refuse_or_relax(search, rows, NoLotsFound(stuck.view, proved=stuck.proved and mandate.impact is None))
        raise  # never: the line above always raises
    _refuse_disorder(search, found.steps)
    return search.lots(found.steps), found.gap


def _work(book: Book) -> Work:
    names = max(len(book.instruments), 1)
    nodes = max(_NODES // names, _SQUARED // names**2, _FEWEST)
    return Work(nodes, TimeLimit("lots.time_limit_seconds", book.settings.lots.time_limit_seconds))


def _refuse_disorder(search: LotSearch, steps: Vector) -> None:
    """Raise unless the final lots are orders.

    Raises:
        NotSolved: naming an instrument whose order is none.
    """
    book, grid = search.book, search.grid
    lots = search.lots(steps)
    money = np.abs(lots) * book.lot_values
    sold_out = steps == -grid.held
    wrong = ~grid.orderable(steps) | (book.quantities + lots * book.lot_sizes < -1e-12 * book.quantities)
    wrong |= (lots != 0) & ~sold_out & (money < book.settings.lots.min_trade * (1 - 1e-9))
    if wrong.any():
        worst = int(np.argmax(wrong))
        raise NotSolved(
            f"the order of {book.instruments[worst]}, {lots[worst]:.12g} lots, is not one; no number leaves"
        )


# Rules with a priority that a plan could not keep, for fractions and then for whole lots: nothing is relaxed silently.
#
_RELAXATION_ROUNDS = 8


@dataclass(frozen=True)
class RelaxedRule:
    """A rule that was relaxed: as stated, its stated limit, the limit kept instead, and what the final lots measure."""

    label: str
    stated: float
    kept: float
    measured: float
    tier: int
    at_most: bool = True
    unit: str = PERCENT


def relaxed_rules(given: RelaxedLimits | None, readings: Sequence[RuleMeasurement]) -> tuple[RelaxedRule, ...]:
    """What was relaxed, measured on the final lots; `readings` are every rule's, in the order of their rows."""
    if given is None:
        return ()
    found = []
    for place, limit in sorted(given.limits.items()):
        member = given.members[place]
        if member.tier >= AIM:  # a band aims as near as it can, and its own limit says whether that is near enough
            continue
        measured = max((readings[row].measured for row in member.rows), key=lambda one: member.sense * one)
        found.append(
            RelaxedRule(member.label, member.stated, limit, measured, member.tier, member.sense > 0, member.unit)
        )
    return tuple(found)


def whole_lots_with_soft_rules(
    book: Book,
    outlook: Outlook,
    stated: Mandate,
    given: RelaxedLimits | None,
    mandate: Mandate,
    start: Position,
    target: Trade,
    prices: DualCertificate,
    trading_price: float = 0.0,
    *,
    work: Work | None = None,
    explains: bool = True,
) -> tuple[Vector, float, Mandate, RelaxedLimits | None]:
    """The best whole lots, how many bps they may be from the best, the mandate that they keep, and what of the stated
    one was relaxed.

    Raises:
        Infeasible: no whole lots keep the hard rules.
        NotSolved: none were found.
    """
    for _ in range(_RELAXATION_ROUNDS):
        try:
            lots, gap = whole_lots(
                book, outlook, mandate, start, target, prices, trading_price,
                work=work, explains=explains or has_tiers(stated),
            )  # fmt: skip
            return lots, gap, mandate, given
        except SoftRulesViolated as way:
            given = given or RelaxedLimits.nothing(start, outlook, stated)
            for row, measured in way.missed:
                given = given.measured(row, measured)
            mandate = given.with_limits(stated)
    raise NotSolved("whole lots were not found although rules were relaxed; use smaller lots")
