"""Which rules give way where not all can hold, and how far: tier by tier, the last to give way first.

For tier 1, 2, … 9 the total violation of the tier is made as small as it can be, each limit measured in itself, under
the hard rules and what earlier tiers were brought to (science §5.4). What a rule was missed by is what its limit moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from allocator.mandate.mandate import Mandate
from allocator.outlook.outlook import Outlook
from allocator.program.compile import Start
from allocator.program.conflicts import refusal
from allocator.program.feasibility import HOLDS, Feasibility, Missed
from allocator.program.fixes import limits_at
from allocator.program.members import Member
from allocator.rules.rows import rounded_up

_AS_GOOD = 1e-4
"""What a tier may lose again to those that come after it, in parts of a limit: limits kept are rounded to a basis point
anyway, and without this room a tier would burn money for its last digit.
"""
_NOISE = 1e-7


@dataclass(frozen=True, eq=False)
class GivenUp:
    """Limits kept instead of the stated ones, by the place of a member among `members`."""

    members: tuple[Member, ...]
    limits: Mapping[int, float]

    @staticmethod
    def nothing(start: Start, outlook: Outlook, mandate: Mandate) -> GivenUp:
        """Every limit as stated."""
        return GivenUp(Feasibility(start, outlook, mandate).members, {})

    def measured(self, row: int, limit: float) -> GivenUp:
        """These limits, and one row's (of the linear ones, then one a convex rule) as far out as was measured."""
        place = next(i for i, member in enumerate(self.members) if row in member.rows)
        member = self.members[place]
        wider = rounded_up(limit, member.sense)
        if (known := self.limits.get(place)) is not None:
            wider = member.sense * max(member.sense * wider, member.sense * known)
        return replace(self, limits={**self.limits, place: wider})

    def looser(self, more: float) -> GivenUp:
        """Each of these limits loosened by so much more."""
        moved = {
            place: limit + self.members[place].sense * more * max(abs(limit), 1.0)
            for place, limit in self.limits.items()
        }
        return replace(
            self, limits={place: rounded_up(limit, self.members[place].sense) for place, limit in moved.items()}
        )

    def eased(self, mandate: Mandate) -> Mandate:
        """The mandate with these limits."""
        rows = len(mandate.rows.labels)
        every = np.concatenate([mandate.rows.stated, np.zeros(len(mandate.convex_rules))])
        for place, member in enumerate(self.members):
            if place in self.limits or member.rows[0] >= rows:
                limit = self.limits.get(place, member.stated)
                every[list(member.rows)] = limit
        return mandate.eased(every)


def give_way(start: Start, outlook: Outlook, mandate: Mandate) -> GivenUp | None:
    """The limits that hold instead of the stated ones; None where all rules can hold, or none has a tier.

    Raises:
        Infeasible: the rules that never give way cannot hold together.
    """
    if not has_tiers(mandate):
        return None
    feasibility = Feasibility(start, outlook, mandate)
    members = feasibility.members
    every = feasibility.elastic({i: member.price for i, member in enumerate(members)}, enough=HOLDS)
    if every is not None and every.total <= HOLDS:
        return None
    hard = [i for i, member in enumerate(members) if member.tier == 0]
    if (conflict := refusal(feasibility, hard)) is not None:
        raise conflict
    found = lexicographic(feasibility, hard)
    tiered = [i for i, member in enumerate(members) if member.tier and found.by[i] * member.price > _NOISE]
    limits = limits_at(feasibility, found, tiered)
    known = {i: rounded_up(limit, members[i].sense) for i, limit in limits.items() if limit is not None}
    if len(known) < len(limits):  # a ratio to nothing: no limit of it would do
        conflict = refusal(feasibility, [*hard, *(i for i in limits if i not in known)])
        conflict = conflict or refusal(feasibility, range(len(members)))
        if conflict is not None:
            raise conflict
    return GivenUp(members, known)


def has_tiers(mandate: Mandate) -> bool:
    """Whether any rule may give way."""
    return bool(mandate.rows.tier.any()) or any(rule.tier for rule in mandate.convex_rules)


def lexicographic(feasibility: Feasibility, hard: list[int]) -> Missed:
    """The portfolio that misses tier 1 by least, of those tier 2, and so on."""
    members = feasibility.members
    before: list[tuple[dict[int, float], float]] = []
    found: Missed | None = None
    for tier in sorted({member.tier for member in members} - {0}):
        prices = {i: member.price for i, member in enumerate(members) if member.tier == tier}
        found = feasibility.elastic(prices, hard, together=before)
        if found is None:  # what was reached is out of reach by the simplex's tolerance
            before = [(earlier, most + HOLDS) for earlier, most in before]
            found = feasibility.elastic(prices, hard, together=before)
        if found is None:
            raise RuntimeError("tiers cannot be brought to what they were brought to; a defect of ours")
        before.append((prices, found.total + _AS_GOOD))
    if found is None:
        raise RuntimeError("no rule has a tier")
    return found
