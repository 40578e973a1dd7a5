"""Which limits conflict: one irreducible conflict, then every one of a few rules.

An elastic solve's prices give suspects, a deletion filter leaves an irreducible set (each proper subset can hold).
Then all conflicts of up to four rules, by hitting sets (Liffiton, Previti, Malik and Marques-Silva 2016): a conflict
meets every set of rules without which the others hold, so a smallest set that meets all that are known is either a
conflict, and irreducible, or can hold, and what it grows to leaves out another such set.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np

from allocator.errors import Infeasible, NotSolved, describe_conflict
from allocator.mandate.mandate import Mandate
from allocator.optimization.elastic import HOLDS, ConflictRule, ElasticProgram, Violation
from allocator.outlook.outlook import Outlook
from allocator.rules import LooserLimit, one_key_one_limit
from allocator.rules.rows import Position, round_loosened

# The smallest way out of a conflict, one for each of its rules, in the rule's own unit.
#
# A limit moves until every other rule can hold. How much room a unit of limit makes may hang on the portfolio (a cap
# is of its wealth, a ratio of the second group), so the smallest limit is that of a ratio of two linear functions:
# Dinkelbach's iteration (1967), each step one linear program, falls to it from the first portfolio that works.
#
Move = tuple[LooserLimit, ...]
"""What is changed together."""
_STEPS = 30
_ENOUGH = 1e-9
_NO_ROOM = 1e-9


def fixes_for(
    feasibility: ElasticProgram,
    conflict: Sequence[int],
    asked: Sequence[int],
    corrections: Iterable[frozenset[int]] = (),
) -> list[Move]:
    """For each key of a conflict the smallest change that lets all of `asked` hold; else one of several together.

    Of `corrections` each is known to be enough of them, if their limits move far enough.
    """
    fixes: list[Move] = []
    members = feasibility.members
    shared = dict.fromkeys(members[i].id.shared for i in conflict if members[i].has_limit and members[i].id.shared)
    of_all = [[j for j in asked if members[j].id.shared == key] for key in shared]
    for together in (*_by_key(members, conflict, asked), *of_all):
        if together in of_all and fixes:
            break  # a key that states several limits moves where no limit of its own suffices
        try:
            limits = _least_limits(feasibility, together, [j for j in asked if j not in together])
        except NotSolved:  # one fix less must not cost the conflict
            continue
        if limits is not None:
            fixes.append(one_key_one_limit([feasibility.members[i].at(limit) for i, limit in limits.items()]))
    if fixes:
        return fixes
    fewest = [one for one in sorted(set(corrections), key=_size_then_place) if one]
    tried = (_joint(feasibility, asked, sorted(some)) for some in (*fewest[:LARGEST], asked))
    return next(filter(None, tried), [])


def _by_key(members: Sequence[ConflictRule], conflict: Sequence[int], asked: Sequence[int]) -> list[list[int]]:
    """The members of a conflict, those that one key states together, with all that it states."""
    stated = [members[i].id.shared for i in conflict]
    found: dict[object, list[int]] = {}
    for i in conflict:
        own = members[i].id
        key = own.shared if stated.count(own.shared) > 1 else own.key
        if not key or not members[i].has_limit:
            found[i] = [i]
        elif key not in found:
            found[key] = [j for j in asked if key in (members[j].id.key, members[j].id.shared)]
    return list(found.values())


def describe_fix(move: Move, rules: Sequence[str]) -> str:
    """A move as an instruction; `rules` are the labels of what clashes, of which two are told by their place."""
    places = dict(zip(rules, ("the first", "the second"), strict=False)) if len(rules) == 2 == len(set(rules)) else {}
    if len(move) > 1:
        return " and ".join(one.in_words() for one in move) + " (one alone is not enough)"
    return move[0].in_words(places.get(move[0].label, ""))


def _least_limits(
    feasibility: ElasticProgram, together: Sequence[int], others: Sequence[int]
) -> dict[int, float | None] | None:
    """The smallest loosening of limits that are one key's with which `others` can hold; None where there is none."""
    first, *more = together
    if not feasibility.members[first].has_limit:
        listed = feasibility.members[first].id.key and feasibility.holds(others)
        return {first: None} if listed else None
    if not more:
        limit = least_limit(feasibility, first, others)
        return None if limit is None else {first: limit}
    found = feasibility.elastic(dict.fromkeys(together, 1.0), others)
    limits = {} if found is None else measured_limits(feasibility, found, together)
    if not limits or None in limits.values():
        return None
    one = feasibility.members[first]
    furthest = max(one.sense * (limit - one.stated) for limit in limits.values() if limit is not None)

    def can(points: int) -> bool:
        moved = dict.fromkeys(together, one.stated + one.sense * points / 1e4)
        missed = feasibility.elastic(dict.fromkeys([*others, *together], 1.0), limits=moved, enough=HOLDS)
        return missed is not None and missed.total <= HOLDS

    points = bisect_left(range(ceil(furthest * 1e4 - 1e-5)), True, key=can)
    return dict.fromkeys(together, one.stated + one.sense * points / 1e4)


def least_limit(feasibility: ElasticProgram, member: int, others: Sequence[int]) -> float | None:
    """The smallest loosening of one member's limit with which `others` can hold; None where there is none."""
    one = feasibility.members[member]
    if not one.has_limit:
        return None
    limit, start = one.stated, 0
    found = feasibility.elastic({member: 1.0}, others)
    while found is not None and start < _STEPS:
        room = feasibility.room(member, found.point)
        if room <= _NO_ROOM:
            if start or (found := _with_room(feasibility, member, others)) is None:
                return None
            limit, start = one.stated, 1
            continue
        step = float(found.by[member]) / room
        limit += one.sense * step
        if abs(step) <= _ENOUGH or feasibility.fixed_room(member):
            return limit
        start += 1
        found = feasibility.elastic({member: 1.0}, others, limits={member: limit}, free=True)
    return None if found is None else limit


def _with_room(feasibility: ElasticProgram, member: int, others: Sequence[int]) -> Violation | None:
    """The portfolio that misses by least where the limit is far looser, so that what it leaves room for counts."""
    one = feasibility.members[member]
    far = one.stated + one.sense * 1e3 * max(abs(one.stated), 1.0)
    found = feasibility.elastic({member: 1.0}, others, limits={member: far}, free=True)
    if found is None or found.by[member] > 0:
        return None
    at_stated = found.by.copy()
    at_stated[member] += feasibility.room(member, found.point) * abs(far - one.stated)
    return Violation(found.total, at_stated, found.prices, found.trade, found.point)


def _joint(feasibility: ElasticProgram, asked: Sequence[int], some: Sequence[int]) -> list[Move]:
    """Where no single rule suffices: the least changes in all, together, of `some` rules that have a limit to move.

    A ratio to a group of which the least violation holds nothing has no limit that would do: it is kept instead, and
    where that cannot be, nothing is offered.
    """
    movable = [i for i in some if feasibility.members[i].has_limit]
    while movable:
        found = feasibility.elastic(dict.fromkeys(movable, 1.0), [i for i in asked if i not in movable])
        if found is None:
            break
        limits = measured_limits(feasibility, found, movable)
        hopeless = [i for i, limit in limits.items() if limit is None]
        if not hopeless:
            return [one_key_one_limit([feasibility.members[i].at(limit) for i, limit in limits.items()])]
        movable = [i for i in movable if i not in hopeless]
    return []


def measured_limits(feasibility: ElasticProgram, missed: Violation, members: Sequence[int]) -> dict[int, float | None]:
    """The limits that a portfolio which misses them would keep; None where no limit of that rule would do."""
    limits: dict[int, float | None] = {}
    for i in members:
        one = feasibility.members[i]
        if missed.by[i] > _ENOUGH:
            room = feasibility.room(i, missed.point)
            limits[i] = one.stated + one.sense * missed.by[i] / room if room > _NO_ROOM else None
    return limits


LARGEST = 4
"""Conflicts of more rules than this are not looked for, beyond the first."""
ITERATIONS = 15_000
"""Of the simplex, that looking for further conflicts may take: a second. A refusal says where they were not enough."""
SETS = 20_000
"""Sets of rules that it may look at."""


def explain_conflict(start: Position, outlook: Outlook, mandate: Mandate, *, quick: bool = False) -> Infeasible | None:
    """Every small conflict among the rules as an error to raise, or None where no limits conflict.

    Where some rules have a priority, those that are never relaxed are asked first. One that is `quick` leaves round
    trips that are hard to tell to whoever solves the program.
    """
    feasibility = ElasticProgram(start, outlook, mandate, quick=quick)
    hard = [i for i, member in enumerate(feasibility.members) if member.tier == 0]
    return conflict_among(feasibility, hard) or conflict_among(feasibility, range(len(feasibility.members)))


def conflict_among(feasibility: ElasticProgram, asked: Sequence[int]) -> Infeasible | None:
    """Every small conflict among the members `asked`, the others left aside; None where they do not conflict."""
    first = _first(feasibility, asked)
    if first is None:
        return None
    members = feasibility.members
    if not first:
        return Infeasible(
            "infeasible: the account does not meet its own equations", fixes=["report this: it is a defect of ours"]
        )
    search = _ConflictSearch(feasibility, tuple(asked), feasibility.iterations + ITERATIONS, SETS)
    search.conflicts.append(first)
    try:
        search.run()
    except NotSolved:  # further conflicts are a help; the first stands without them
        search.cut_short = True
    found = sorted({frozenset(c) for c in search.conflicts}, key=_size_then_place)
    conflicts = [tuple(sorted(conflict)) for conflict in found]
    moves = fixes_for(feasibility, conflicts[0], asked, search.corrections)
    labels = [members[i].label for i in conflicts[0]]
    return Infeasible(
        describe_conflict(labels),
        labels,
        [describe_fix(move, labels) for move in moves],
        [[members[i].label for i in conflict] for conflict in conflicts],
        cut_short=search.cut_short,
        moves=moves,
    )


def _first(feasibility: ElasticProgram, asked: Sequence[int]) -> list[int] | None:
    """One irreducible conflict; None where there is none, empty where not even the account's equations hold."""
    elastic = feasibility.elastic(dict.fromkeys(asked, 1.0), enough=HOLDS)
    if elastic is None:
        return []
    if elastic.total <= HOLDS:
        return None
    suspects = [i for i in asked if elastic.prices[i] > 1e-7]
    if feasibility.holds(suspects):  # prices are a hint
        suspects = list(asked)
    return irreducible_conflict(feasibility, suspects)


def irreducible_conflict(feasibility: ElasticProgram, suspects: Sequence[int]) -> list[int]:
    """Deletion filter (Chinneck and Dravnieks 1991): drop what is not needed for the conflict."""
    kept = list(suspects)
    for i in suspects:
        if i not in kept:
            continue
        without = [j for j in kept if j != i]
        try:
            held = feasibility.holds(without)
        except NotSolved:  # not known to be needed, and not known not to be: it stays
            continue
        if not held:
            core = feasibility.core(without)
            kept = without if core is None else [j for j in without if j in core]
    return kept


@dataclass(eq=False)
class _ConflictSearch:
    """All conflicts of up to LARGEST members, while there is work left to spend."""

    feasibility: ElasticProgram
    asked: tuple[int, ...]
    iterations: int
    sets: int
    conflicts: list[list[int]] = field(default_factory=list)
    corrections: list[frozenset[int]] = field(default_factory=list)
    """Sets of members without which the others do not conflict."""
    cut_short: bool = False

    def run(self) -> None:
        """Until no small set meets all corrections, or the work is spent."""
        self.corrections.append(self._left_out([]))
        while (chosen := self._next()) is not None:
            if self.feasibility.holds(chosen):
                self.corrections.append(self._left_out(chosen))
            else:
                self.conflicts.append(chosen)

    def _next(self) -> list[int] | None:
        known = [frozenset(conflict) for conflict in self.conflicts]
        for size in range(1, LARGEST + 1):
            for chosen in self._hitting(frozenset(), size, frozenset()):
                if self._spent():
                    self.cut_short = True
                    return None
                if not any(conflict <= chosen for conflict in known):
                    return sorted(chosen)
        return None

    def _spent(self) -> bool:
        return self.feasibility.iterations > self.iterations or self.sets <= 0

    def _hitting(self, chosen: frozenset[int], room: int, barred: frozenset[int]) -> Iterator[frozenset[int]]:
        """Sets of so many more members that meet every correction, each set once, not all of them smallest."""
        self.sets -= 1
        missed: list[frozenset[int]] = [
            correction - barred for correction in self.corrections if not correction & chosen
        ]
        if not missed:
            yield chosen
            return
        if room == 0 or self._spent():
            if room:
                yield chosen
            return
        smallest = min(missed, key=_size_then_place)
        for member in sorted(smallest):
            yield from self._hitting(chosen | {member}, room - 1, barred)
            barred = barred | {member}

    def _left_out(self, chosen: Sequence[int]) -> frozenset[int]:
        """What stays outside when a set that can hold grows as far as it goes."""
        kept = list(chosen)
        others = [i for i in self.asked if i not in set(kept)]
        elastic = self.feasibility.elastic({i: self.feasibility.members[i].price for i in others}, kept)
        if elastic is None:  # by no more than the simplex's own tolerance: nothing can be said of this set
            return frozenset(others)
        outside = [i for i in others if elastic.by[i] > HOLDS / 100]
        kept += [i for i in others if i not in set(outside)]
        left = []
        for i in outside:
            # when the work is spent, what is left out is more than need be: a conflict meets that, too
            if not self._spent() and self.feasibility.holds([*kept, i]):
                kept.append(i)
            else:
                left.append(i)
        return frozenset(left)


def _size_then_place(members: Collection[int]) -> tuple[int, list[int]]:
    return len(members), sorted(members)


# Which rules are relaxed where limits conflict, and how far: priority by priority, the last to be relaxed first.
#
# For priority 1, 2, … 9 the total violation of its rules is made as small as it can be, each limit measured in itself,
# under the hard rules and what earlier priorities were brought to (science §5.4). What a rule was missed by is what its
# limit moves.
#
_AS_GOOD = 1e-4
"""What a priority may lose again to those that come after it, in parts of a limit: limits kept are rounded to a basis
point anyway, and without this room the last digit of a limit would be paid for with round trips.
"""
_NOISE = 1e-7


@dataclass(frozen=True, eq=False)
class RelaxedLimits:
    """Limits kept instead of the stated ones, by the place of a member among `members`."""

    members: tuple[ConflictRule, ...]
    limits: Mapping[int, float]

    @staticmethod
    def nothing(start: Position, outlook: Outlook, mandate: Mandate) -> RelaxedLimits:
        """Every limit as stated."""
        return RelaxedLimits(ElasticProgram(start, outlook, mandate).members, {})

    def measured(self, row: int, limit: float) -> RelaxedLimits:
        """These limits, and one row's (of the linear ones, then one a convex rule) as far out as was measured."""
        place = next(i for i, member in enumerate(self.members) if row in member.rows)
        member = self.members[place]
        wider = round_loosened(limit, member.sense)
        if (known := self.limits.get(place)) is not None:
            wider = member.sense * max(member.sense * wider, member.sense * known)
        return replace(self, limits={**self.limits, place: wider})

    def looser(self, more: float) -> RelaxedLimits:
        """Each of these limits loosened by so much more."""
        moved = {
            place: limit + self.members[place].sense * more * max(abs(limit), 1.0)
            for place, limit in self.limits.items()
        }
        return replace(
            self, limits={place: round_loosened(limit, self.members[place].sense) for place, limit in moved.items()}
        )

    def part(self, share: float) -> RelaxedLimits:
        """These limits moved only a share of the way from the stated ones."""
        moved = {}
        for place, limit in self.limits.items():
            member = self.members[place]
            moved[place] = round_loosened(member.stated + share * (limit - member.stated), member.sense)
        return replace(self, limits=moved)

    def with_limits(self, mandate: Mandate) -> Mandate:
        """The mandate with these limits."""
        rows = len(mandate.rows.labels)
        every = np.concatenate([mandate.rows.stated, np.zeros(len(mandate.convex_rules))])
        for place, member in enumerate(self.members):
            if place in self.limits or member.rows[0] >= rows:
                limit = self.limits.get(place, member.stated)
                every[list(member.rows)] = limit
        return mandate.with_limits(every)


def relax_by_tier(start: Position, outlook: Outlook, mandate: Mandate) -> RelaxedLimits | None:
    """The limits that hold instead of the stated ones; None where no limits conflict, or none has a priority.

    Raises:
        Infeasible: the limits that are never relaxed conflict.
    """
    if not has_tiers(mandate):
        return None
    feasibility = ElasticProgram(start, outlook, mandate)
    members = feasibility.members
    every = feasibility.elastic({i: member.price for i, member in enumerate(members)}, enough=HOLDS)
    if every is not None and every.total <= HOLDS:
        return None
    hard = [i for i, member in enumerate(members) if member.tier == 0]
    if (conflict := conflict_among(feasibility, hard)) is not None:
        raise conflict
    found = solve_lexicographic(feasibility, hard)
    tiered = [i for i, member in enumerate(members) if member.tier and found.by[i] * member.price > _NOISE]
    limits = measured_limits(feasibility, found, tiered)
    known = {i: round_loosened(limit, members[i].sense) for i, limit in limits.items() if limit is not None}
    if len(known) < len(limits):  # a ratio to nothing: no limit of it would do
        conflict = conflict_among(feasibility, [*hard, *(i for i in limits if i not in known)])
        conflict = conflict or conflict_among(feasibility, range(len(members)))
        if conflict is not None:
            raise conflict
    return RelaxedLimits(members, known)


def has_tiers(mandate: Mandate) -> bool:
    """Whether any rule may be relaxed."""
    return bool(mandate.rows.tier.any()) or any(rule.tier for rule in mandate.convex_rules)


def solve_lexicographic(feasibility: ElasticProgram, hard: list[int]) -> Violation:
    """The portfolio that misses the rules of priority 1 by least, of those priority 2, and so on."""
    members = feasibility.members
    before: list[tuple[dict[int, float], float]] = []
    found: Violation | None = None
    for tier in sorted({member.tier for member in members} - {0}):
        prices = {i: member.price for i, member in enumerate(members) if member.tier == tier}
        found = feasibility.elastic(prices, hard, together=before)
        if found is None:  # what was reached is out of reach by the simplex's tolerance
            before = [(earlier, most + HOLDS) for earlier, most in before]
            found = feasibility.elastic(prices, hard, together=before)
        if found is None:
            raise RuntimeError("rules of one priority cannot be kept as far as they were kept before; a defect of ours")
        before.append((prices, found.total + _AS_GOOD))
    if found is None:
        raise RuntimeError("no rule has a priority")
    return found
