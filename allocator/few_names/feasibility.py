"""Do the rules leave any choice of names, which ones are nearest to what is wished, and where none: what conflicts.

One mixed-integer program for HiGHS: the trades as in `optimization/elastic.py`, and a whole number a name, 1 where it
is held. A position h_i ≥ least·W of a held name is h_i ≥ least·W − least·(1 − z_i), as W is at most 1; h_i ≤ z_i.
Convex rules and impact are cut by tangents, so that what it calls impossible is impossible.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

from allocator.errors import Infeasible, describe_conflict
from allocator.few_names.bounds import Choice, Names
from allocator.mandate.mandate import Mandate
from allocator.optimization.conflicts import Move, describe_fix
from allocator.optimization.elastic import ConflictRule, conflict_rules
from allocator.optimization.highs import Block, IntegerProgram, IntegerSolution, TimeLimit, Work
from allocator.outlook.outlook import Outlook
from allocator.rules import LooserLimit, one_key_one_limit
from allocator.rules.epigraphs import ColumnLayout, Cuts, impact_cuts
from allocator.rules.rows import FewNames, Position
from allocator.types import Vector

_NODES, _MOVES, _CUT_ROUNDS, _MET = 2_000, 100, 30, 1e-8
_AS_GOOD = 1e-4
"""What a priority may lose again to those that come after it, as where fractions alone conflict."""
_STEPS = 10_000
"""Parts of a least position that its fix is told to: a basis point of the account at most."""


Missed: TypeAlias = tuple[Mapping[int, float], float]
"""What a unit of each member missed counts, and how much that may be in all."""


class NamesProgram:
    """Every question of whether names can be chosen, about one mandate without rules of few names."""

    def __init__(self, start: Position, outlook: Outlook, mandate: Mandate) -> None:
        self._mandate, rules = mandate, mandate.convex_rules
        extra = tuple(rule.extra_columns(outlook) for rule in rules)
        columns = self._columns = ColumnLayout(start, mandate.cost_rates, mandate.impact is not None, extra)
        self._epigraphs = [rule.epigraph(columns.first(at), columns, outlook) for at, rule in enumerate(rules)]
        tangents = [rule.tangent(one.direction, outlook) for rule, one in zip(rules, self._epigraphs, strict=True)]
        self.members: tuple[ConflictRule, ...] = tuple(conflict_rules(mandate, tangents))
        self._linear = columns.of_rows(mandate.rows.on(outlook))
        self._linear_members = [i for i, one in enumerate(self.members) if one.rows[0] < len(mandate.rows.labels)]
        self._cuts = Cuts.all([one.first for one in self._epigraphs], columns.total)

    def solve(
        self,
        few: FewNames,
        kept: Collection[int] | None = None,
        choice: Choice | None = None,
        wish: Vector | None = None,
        looser: Collection[int] = (),
        missed: Sequence[Missed] = (),
    ) -> IntegerSolution:
        """A portfolio of few names that keeps the members `kept`, all if not said, and a choice; the one whose held
        names (N,) have the most of `wish`, or, without a wish, the fewest names; of one key's members the least slack;
        or what misses the last of `missed` by least, and the others by no more than they say.
        """
        while True:
            found = self._solved(few, kept, choice, wish, looser, missed)
            if found.x is None or not self._cut(found.x, kept):
                return found

    def _solved(
        self,
        few: FewNames,
        kept: Collection[int] | None,
        choice: Choice | None,
        wish: Vector | None,
        looser: Collection[int],
        missed: Sequence[Missed],
    ) -> IntegerSolution:
        columns, names, total = self._columns, self._columns.names, self._columns.total
        # one slack for all members of a key, in units of their limit, or one for each that is missed, in its row's unit
        slacks = {member: (0, self.members[member].size) for member in looser}
        slacks |= {member: (at, 1.0) for at, member in enumerate(i for prices, _ in missed for i in prices)}
        count = max((at + 1 for at, _ in slacks.values()), default=1)
        wanted = {*(range(len(self.members)) if kept is None else kept), *slacks}
        linear = [row for i in self._linear_members if i in wanted for row in self.members[i].rows]
        convex = [i for i in self._convex_members if i in slacks]
        at = [self._epigraphs[self._convex_members.index(i)].column for i in convex]
        totals = missed[:-1]
        slack = np.zeros((len(linear) + len(convex) + len(totals), count))
        for member, (place, room) in slacks.items():
            slack[: len(linear)][np.isin(linear, self.members[member].rows), place] = -room
        for row, member in enumerate(convex, len(linear)):
            slack[row, slacks[member][0]] = -slacks[member][1]
        for row, (prices, _) in enumerate(totals, len(linear) + len(convex)):
            for member, price in prices.items():
                slack[row, slacks[member][0]] = price
        of_convex = sp.csr_array((np.ones(len(at)), (np.arange(len(at)), at)), shape=(len(at), total))
        stated = sp.csr_array(sp.vstack([self._linear.rows[linear], of_convex, sp.csr_array((len(totals), total))]))
        limits = np.concatenate([self._linear.limits[linear], np.zeros(len(at)), [most for _, most in totals]])
        own, low, high = columns.equations(self._epigraphs)
        one = sp.csr_array(sp.eye_array(names))
        holding, before = columns.holding(one), columns.start.holdings
        wealth = columns.block(columns.wealth, np.full(names, few.least), each=False)

        def wide(rows: sp.csr_array, chosen: sp.csr_array | None = None, last: Vector | None = None) -> sp.csr_array:
            of_names = sp.csr_array((rows.shape[0], names)) if chosen is None else chosen
            of_slacks = sp.csr_array((rows.shape[0], count) if last is None else last)
            return sp.csr_array(sp.hstack([rows, of_names, of_slacks]))

        blocks = [
            Block(wide(own), low, high),
            Block(wide(stated, last=slack), -np.inf, limits),
            Block(wide(self._cuts.rows), -np.inf, self._cuts.limits),
            Block(wide(holding, -one), -np.inf, -before),
            Block(wide(wealth - holding, few.least * one), -np.inf, few.least + before),
            Block(wide(sp.csr_array((1, total)), sp.csr_array(np.ones((1, names)))), -np.inf, min(few.most, names)),
        ]
        lower, upper = columns.bounds(self._epigraphs)
        for member, epigraph in zip(self._convex_members, self._epigraphs, strict=True):
            upper[epigraph.column] = 0.0 if member in wanted and member not in slacks else np.inf
        held = np.zeros(names) if choice is None else choice.held.astype(float)
        costs = np.zeros(total + names + count)
        costs[total : total + names] = 1.0 if wish is None else -wish
        gap = 0.5 if wish is None else 0.1
        if slacks:
            costs[:], gap = 0.0, 1e-4
            for member, price in (missed[-1][0] if missed else dict.fromkeys(looser, 1.0)).items():
                costs[total + names + slacks[member][0]] = price
        program = IntegerProgram(
            objective=costs,
            blocks=tuple(block for block in blocks if block.coefficients.shape[0]),
            lower=np.concatenate([lower, held, np.zeros(count)]),
            upper=np.concatenate([upper, 1 - (0 * held if choice is None else choice.out), np.full(count, np.inf)]),
            integral=np.concatenate([np.zeros(total), np.ones(names), np.zeros(count)]),
            gap=gap,
        )
        return program.solve(Work(_MOVES if looser else _NODES, TimeLimit("", None)))

    @property
    def _convex_members(self) -> list[int]:
        count = len(self._epigraphs)
        return list(range(len(self.members) - count, len(self.members)))

    def _cut(self, x: Vector, kept: Collection[int] | None) -> bool:
        """Whether tangents were added that a point breaks; no more than so many times."""
        columns, trade = self._columns, self._columns.trade(x)
        each = zip(self._convex_members, self._epigraphs, strict=True)
        found = [one.cut(x, trade) for at, one in each if kept is None or at in kept]
        if self._mandate.impact is not None:
            found.append(impact_cuts(x, self._mandate.impact, columns))
        found = [(cuts, by) for cuts, by in found if by > _MET]
        if not found or self._cuts.rows.shape[0] > _CUT_ROUNDS * columns.total:
            return False
        self._cuts = Cuts.all([self._cuts, *(cuts for cuts, _ in found)], columns.total)
        return True

    def held(self, found: IntegerSolution) -> Names:
        """(N,) the names of a point."""
        assert found.x is not None
        at = found.x[self._columns.total : self._columns.total + self._columns.names]
        return np.asarray(at > 0.5)


def names_by_priority(start: Position, outlook: Outlook, stated: Mandate) -> Names | None:
    """(N,) names with which rules that have a priority are missed by least, the first priority before the second; None
    where the others leave none, or that is not known.
    """
    plain = replace(stated, linear_rules=tuple(rule for rule in stated.linear_rules if rule.few_names is None))
    program, before, names = NamesProgram(start, outlook, plain), list[Missed](), None
    members = program.members
    hard = [i for i, member in enumerate(members) if not member.tier]
    for tier in sorted({member.tier for member in members} - {0}):
        prices = {i: member.price for i, member in enumerate(members) if member.tier == tier}
        found = program.solve(stated.few_names or FewNames(), hard, missed=[*before, (prices, np.inf)])
        if found.x is None:
            return names
        names = program.held(found)
        before.append((prices, float(found.x[-len(prices) :] @ [*prices.values()]) + _AS_GOOD))
    return names


def names_conflict(start: Position, outlook: Outlook, stated: Mandate) -> Infeasible | None:
    """An irreducible conflict of the rules of few names with others, with the smallest fix of each; None where names
    can be chosen, or that is not known.
    """
    few = stated.few_names
    if few is None or not (asked := _Conflict(start, outlook, stated)).impossible(asked.everything):
        return None
    kept = irreducible(asked.everything, asked.impossible)
    labels = [asked.label(member) for member in kept]
    moves = [move for group in asked.by_key(kept) if (move := asked.move(group)) is not None]
    return Infeasible(describe_conflict(labels), labels, [describe_fix(move, labels) for move in moves], moves=moves)


def irreducible(every: Sequence[int], impossible: Callable[[Sequence[int]], bool]) -> list[int]:
    """Members that are impossible together, and are not without any one of them (deletion filter, halves first)."""
    kept, size = list(every), max(len(every) // 2, 1)
    while True:
        at = 0
        while at < len(kept):
            without = kept[:at] + kept[at + size :]
            if impossible(without):
                kept = without
            else:
                at += size
        if size == 1:
            return kept
        size //= 2


class _Conflict:
    """The members of a mandate, those of few names last."""

    def __init__(self, start: Position, outlook: Outlook, stated: Mandate) -> None:
        plain = replace(stated, linear_rules=tuple(rule for rule in stated.linear_rules if rule.few_names is None))
        self._rules = [rule for rule in stated.linear_rules if rule.few_names is not None]
        self._program = NamesProgram(start, outlook, plain)
        self._own = len(self._program.members)
        self.everything = list(range(self._own + len(self._rules)))

    def _few(self, kept: Collection[int]) -> FewNames:
        wanted = FewNames()
        for at, rule in enumerate(self._rules, self._own):
            if at in kept and rule.few_names is not None:
                wanted |= rule.few_names
        return wanted

    def _solve(self, few: FewNames, kept: Collection[int], looser: Collection[int] = ()) -> IntegerSolution:
        return self._program.solve(few, [member for member in kept if member < self._own], looser=looser)

    def impossible(self, kept: Collection[int]) -> bool:
        """Whether no portfolio keeps these."""
        return self._solve(self._few(kept), kept).impossible

    def label(self, member: int) -> str:
        """What people call it."""
        if member < self._own:
            return self._program.members[member].label
        return self._rules[member - self._own].limit_labels[0]

    def by_key(self, kept: Sequence[int]) -> list[list[int]]:
        """The members of a conflict, those that one key states together, with all that it states."""
        members = self._program.members
        shared = [members[i].id.shared if i < self._own and members[i].has_limit else "" for i in kept]
        found: dict[object, list[int]] = {}
        for member, key in zip(kept, shared, strict=True):
            several = key and shared.count(key) > 1
            every = [i for i, one in enumerate(members) if one.id.shared == key and one.has_limit]
            found.setdefault(key if several else member, every if several else [member])
        return list(found.values())

    def move(self, group: Sequence[int]) -> Move | None:
        """The least change of the limits of one key with which all others hold; None where none was found."""
        member = group[0]
        others = [other for other in self.everything if other not in group]
        few = self._few(others)
        if member < self._own:
            one = self._program.members[member]
            if not one.has_limit:
                return one_key_one_limit([one.at(None)]) if one.id.key and not self.impossible(others) else None
            found = self._solve(few, self.everything, group)
            if found.x is None:
                return None
            looser = (self._program.members[i] for i in group)
            return one_key_one_limit([one.at(one.stated + one.sense * float(found.x[-1])) for one in looser])
        rule = self._rules[member - self._own]
        own = rule.few_names
        assert own is not None
        if np.isfinite(own.most):
            found = self._solve(few, others)
            if found.x is None:
                return None
            names = float(self._program.held(found).sum())
            return (LooserLimit(rule.ids[0], self.label(member), names, 1.0, rule.unit),)

        def holds(step: int) -> bool:
            less = FewNames(least=own.least * (1 - step / _STEPS))
            return self._solve(few | less, others).x is not None

        step = bisect_left(range(_STEPS), True, key=holds)
        least = own.least * (1 - step / _STEPS)
        return (LooserLimit(rule.ids[0], self.label(member), least, -1.0, rule.unit),)
