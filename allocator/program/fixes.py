"""The smallest way out of a conflict, one for each of its rules, in the rule's own unit.

A limit moves until every other rule can hold. How much room a unit of limit makes may hang on the portfolio (a cap is
of its wealth, a ratio of the second group), so the smallest limit is that of a ratio of two linear functions:
Dinkelbach's iteration (1967), each step one linear program, falls to it from the first portfolio that works.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from allocator.errors import NotSolved
from allocator.program.feasibility import Feasibility, Missed
from allocator.program.members import Member
from allocator.rules import widened

_STEPS = 30
_ENOUGH = 1e-9
_NO_ROOM = 1e-9
_PLACES = ("first", "second")
Move = dict[int, float]
"""Limits to move to, by the place of a member: one, or several together."""


def fixes_for(feasibility: Feasibility, conflict: Sequence[int], asked: Sequence[int]) -> list[Move]:
    """For each member of a conflict the smallest change that lets all of `asked` hold; else one of several together."""
    fixes = []
    for i in conflict:
        try:
            limit = least_limit(feasibility, i, [j for j in asked if j != i])
        except NotSolved:  # one fix less must not cost the conflict
            continue
        if limit is not None:
            fixes.append({i: limit})
    return fixes or _joint(feasibility, asked)


def in_words(members: Sequence[Member], move: Mapping[int, float], conflict: Sequence[str]) -> str:
    """A move as an instruction; `conflict` are the labels of the rules that clash."""
    if len(move) > 1:
        changes = [loosened(members[i], limit) for i, limit in move.items()]
        return " and ".join(changes) + " (one alone is not enough)"
    ((i, limit),) = move.items()
    name = f"the {_PLACES[list(conflict).index(members[i].label)]}" if len(conflict) == 2 else None
    return loosened(members[i], limit, name)


def least_limit(feasibility: Feasibility, member: int, others: Sequence[int]) -> float | None:
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


def _with_room(feasibility: Feasibility, member: int, others: Sequence[int]) -> Missed | None:
    """The portfolio that misses by least where the limit is far looser, so that what it leaves room for counts."""
    one = feasibility.members[member]
    far = one.stated + one.sense * 1e3 * max(abs(one.stated), 1.0)
    found = feasibility.elastic({member: 1.0}, others, limits={member: far}, free=True)
    if found is None or found.by[member] > 0:
        return None
    at_stated = found.by.copy()
    at_stated[member] += feasibility.room(member, found.point) * abs(far - one.stated)
    return Missed(found.total, at_stated, found.prices, found.trade, found.point)


def loosened(member: Member, limit: float, name: str | None = None) -> str:
    """A limit to move to, as an instruction, rounded so that it works as printed."""
    name = f"'{member.label}'" if name is None else name
    return f"{'raise' if member.sense > 0 else 'lower'} {name} to {widened(limit, member.sense, member.unit)}"


def _joint(feasibility: Feasibility, asked: Sequence[int]) -> list[Move]:
    """Where no single rule suffices: the least changes in all, together, of the rules that have a limit to move.

    A ratio to a group of which the least violation holds nothing has no limit that would do: it is kept instead, and
    where that cannot be, nothing is offered.
    """
    movable = [i for i in asked if feasibility.members[i].has_limit]
    while movable:
        found = feasibility.elastic(dict.fromkeys(movable, 1.0), [i for i in asked if i not in movable])
        if found is None:
            break
        limits = limits_at(feasibility, found, movable)
        hopeless = [i for i, limit in limits.items() if limit is None]
        if not hopeless:
            return [{i: limit for i, limit in limits.items() if limit is not None}]
        movable = [i for i in movable if i not in hopeless]
    return []


def limits_at(feasibility: Feasibility, missed: Missed, members: Sequence[int]) -> dict[int, float | None]:
    """The limits that a portfolio which misses them would keep; None where no limit of that rule would do."""
    limits: dict[int, float | None] = {}
    for i in members:
        one = feasibility.members[i]
        if missed.by[i] > _ENOUGH:
            room = feasibility.room(i, missed.point)
            limits[i] = one.stated + one.sense * missed.by[i] / room if room > _NO_ROOM else None
    return limits
