"""Fixes that whole lots keep too: a limit that fractions can just keep may be too tight for any lots."""

from __future__ import annotations

import time
from dataclasses import replace

from allocator.book.book import Book
from allocator.errors import Infeasible, NotSolved
from allocator.mandate.mandate import Mandate
from allocator.outlook.outlook import Outlook
from allocator.plan.lots import whole_lots
from allocator.plan.targets import solved
from allocator.program.compile import Start
from allocator.program.feasibility import Feasibility
from allocator.program.fixes import in_words
from allocator.program.solve import Limits, Program
from allocator.program.tiers import GivenUp, has_tiers

SECONDS = 3.0
"""What trying fixes on whole lots may take in all; a refusal says where it was not enough."""
_MORE = (0.0, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)
"""How much further a limit is moved, in its own unit, until whole lots are found."""
_LOTS_SECONDS = 1.0


def with_lots(error: Infeasible, book: Book, start: Start, outlook: Outlook, stated: Mandate) -> Infeasible:
    """The same refusal with each fix moved as far as whole lots need; those not tried or not found stay as they are."""
    if not error.moves or has_tiers(stated):
        return error
    lots = book.settings.lots.model_copy(update={"time_limit_seconds": _LOTS_SECONDS})
    quick = replace(book, settings=book.settings.model_copy(update={"lots": lots}))
    members = Feasibility(start, outlook, stated).members
    deadline, found = time.monotonic() + SECONDS, []
    for move in error.moves:
        given = GivenUp(members, move)
        found.append(
            next((m for m in _MORE if _kept(quick, start, outlook, given.looser(m).eased(stated), deadline)), None)
        )
    moves = [
        move if more is None else GivenUp(members, move).looser(more).limits
        for move, more in zip(error.moves, found, strict=True)
    ]
    return Infeasible(
        error.message,
        error.rules,
        [in_words(members, move, error.rules) for move in moves],
        error.conflicts,
        cut_short=error.cut_short,
        moves=moves,
        for_fractions=None in found,
    )


def _kept(book: Book, start: Start, outlook: Outlook, mandate: Mandate, deadline: float) -> bool:
    """Whether whole lots that keep a mandate are found in time."""
    if time.monotonic() > deadline:
        return False
    left = max(min(book.settings.solver.time_limit_seconds, deadline - time.monotonic()), 0.1)
    limits = Limits(book.settings.solver.tolerance, left)
    try:
        target, _, _ = solved(Program(outlook, mandate), start, outlook, mandate, limits, book.value)
        whole_lots(book, outlook, mandate, start, target)
    except (Infeasible, NotSolved):
        return False
    return True
