"""Which rules cannot hold together: one irreducible conflict, then every one of a few rules.

An elastic solve's prices give suspects, a deletion filter leaves an irreducible set (each proper subset can hold).
Then all conflicts of up to four rules, by hitting sets (Liffiton, Previti, Malik and Marques-Silva 2016): a conflict
meets every set of rules without which the others hold, so a smallest set that meets all that are known is either a
conflict, and irreducible, or can hold, and what it grows to leaves out another such set.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from allocator.errors import Infeasible, NotSolved
from allocator.mandate.mandate import Mandate
from allocator.outlook.outlook import Outlook
from allocator.program import fixes
from allocator.program.compile import Start
from allocator.program.feasibility import HOLDS, Feasibility
from allocator.program.fixes import fixes_for
from allocator.program.members import Member

LARGEST = 4
"""Conflicts of more rules than this are not looked for, beyond the first."""
SOLVES = 600
"""Linear programs that looking for further conflicts may take; a refusal says where they were not enough."""
WORK = 20_000
"""Where there are many names: solves times names."""
FEWEST = 60
"""Solves, however many names."""
SETS = 20_000
"""Sets of rules that it may look at without a solve."""


def explain_conflict(start: Start, outlook: Outlook, mandate: Mandate) -> Infeasible | None:
    """Every small conflict among the rules as an error to raise, or None when all rules can hold together.

    Where some rules have a tier, those that never give way are asked first.
    """
    feasibility = Feasibility(start, outlook, mandate)
    hard = [i for i, member in enumerate(feasibility.members) if member.tier == 0]
    return refusal(feasibility, hard) or refusal(feasibility, range(len(feasibility.members)))


def refusal(feasibility: Feasibility, asked: Sequence[int]) -> Infeasible | None:
    """Every small conflict among the members `asked`, the others left aside; None when they can hold together."""
    first = _first(feasibility, asked)
    if first is None:
        return None
    members = feasibility.members
    if not first:
        return Infeasible("the account cannot meet its own equations", fixes=["report this: it is a defect of ours"])
    most = min(SOLVES, max(WORK // max(feasibility.names, 1), FEWEST))
    search = _Search(feasibility, tuple(asked), feasibility.solves + most, SETS)
    search.conflicts.append(first)
    try:
        search.run()
    except NotSolved:  # further conflicts are a help; the first stands without them
        search.cut_short = True
    found = sorted({frozenset(c) for c in search.conflicts}, key=_size_then_place)
    conflicts = [tuple(sorted(conflict)) for conflict in found]
    moves, labels = fixes_for(feasibility, conflicts[0], asked), [members[i].label for i in conflicts[0]]
    return Infeasible(
        in_words([members[i] for i in conflicts[0]]),
        labels,
        [fixes.in_words(members, move, labels) for move in moves],
        [[members[i].label for i in conflict] for conflict in conflicts],
        cut_short=search.cut_short,
        moves=moves,
        for_fractions=True,
    )


def in_words(conflict: Sequence[Member]) -> str:
    """What cannot be."""
    names = [f"'{member.label}'" for member in conflict]
    if len(names) == 1:
        return f"cannot be met: {names[0]}"
    return f"cannot hold together: {', '.join(names[:-1])} and {names[-1]}"


def _first(feasibility: Feasibility, asked: Sequence[int]) -> list[int] | None:
    """One irreducible conflict; None where all can hold together, empty where not even the account's equations do."""
    elastic = feasibility.elastic(dict.fromkeys(asked, 1.0), enough=HOLDS)
    if elastic is None:
        return []
    if elastic.total <= HOLDS:
        return None
    suspects = [i for i in asked if elastic.prices[i] > 1e-7]
    if feasibility.holds(suspects):  # prices are a hint
        suspects = list(asked)
    return irreducible(feasibility, suspects)


def irreducible(feasibility: Feasibility, suspects: Sequence[int]) -> list[int]:
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
class _Search:
    """All conflicts of up to LARGEST members, while there is work left to spend."""

    feasibility: Feasibility
    asked: tuple[int, ...]
    solves: int
    sets: int
    conflicts: list[list[int]] = field(default_factory=list)
    corrections: list[frozenset[int]] = field(default_factory=list)
    """Sets of members without which the others hold together."""
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
        return self.feasibility.solves > self.solves or self.sets <= 0

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
