"""Rules with a tier that a plan could not keep, for fractions and then for whole lots: nothing gives way silently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from allocator.book.book import Book
from allocator.errors import NotSolved
from allocator.mandate.mandate import Mandate
from allocator.outlook.outlook import Outlook
from allocator.plan.lots import whole_lots
from allocator.plan.unfit import LotsGiveWay
from allocator.program.compile import Start
from allocator.program.tiers import GivenUp
from allocator.rules import PERCENT, Reading, Trade
from allocator.types import Vector

_ROUNDS = 8


@dataclass(frozen=True)
class GivenWay:
    """A rule that gave way: as stated, its stated limit, the limit kept instead, and what the final lots measure."""

    label: str
    stated: float
    kept: float
    measured: float
    tier: int
    at_most: bool = True
    unit: str = PERCENT


def given_way(given: GivenUp | None, readings: Sequence[Reading]) -> tuple[GivenWay, ...]:
    """What gave way, measured on the final lots; `readings` are every rule's, in the order of their rows."""
    if given is None:
        return ()
    found = []
    for place, limit in sorted(given.limits.items()):
        member = given.members[place]
        measured = max((readings[row].measured for row in member.rows), key=lambda one: member.sense * one)
        found.append(GivenWay(member.label, member.stated, limit, measured, member.tier, member.sense > 0, member.unit))
    return tuple(found)


def lots_giving_way(
    book: Book, outlook: Outlook, stated: Mandate, given: GivenUp | None, mandate: Mandate, start: Start, target: Trade
) -> tuple[Vector, Mandate, GivenUp | None]:
    """The nearest whole lots, the mandate that they keep, and what of the stated one gave way.

    Raises:
        Infeasible: no whole lots keep the hard rules.
        NotSolved: none were found.
    """
    for _ in range(_ROUNDS):
        try:
            return whole_lots(book, outlook, mandate, start, target), mandate, given
        except LotsGiveWay as way:
            given = given or GivenUp.nothing(start, outlook, stated)
            for row, measured in way.missed:
                given = given.measured(row, measured)
            mandate = given.eased(stated)
    raise NotSolved("whole lots were not found although rules gave way; use smaller lots")
