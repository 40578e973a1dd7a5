"""Fixes that whole lots keep too: a limit that fractions can just keep may be too tight for any lots."""

from __future__ import annotations

from dataclasses import dataclass

from allocator.book.book import Book
from allocator.errors import Infeasible, NotSolved, OutOfTime
from allocator.lots.whole_lots import whole_lots
from allocator.mandate.mandate import Mandate
from allocator.optimization.conflicts import GivenUp, has_tiers
from allocator.optimization.conflicts import in_words_fixes as in_words
from allocator.optimization.elastic import Feasibility
from allocator.optimization.single_period import Start
from allocator.optimization.solve import Limits, Program
from allocator.outlook.outlook import Outlook
from allocator.plan.targets import solved

WORK = 1600
"""Tries times names: what trying fixes on whole lots may take in all; a refusal says where it was not enough."""
MOST, FEWEST = 64, 4
"""Tries, however few or many names."""
_MORE = (0.0, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)
"""How much further a limit is moved, in its own unit, until whole lots are found."""
_NODES = 1500
"""What one try may branch."""
_BRANCHES = 20
"""Where the best on paper burns money: what one try may look at for a plan that does not."""


def with_lots(error: Infeasible, book: Book, start: Start, outlook: Outlook, stated: Mandate) -> Infeasible:
    """The same refusal with each fix moved as far as whole lots need; those not tried or not found stay as they are."""
    if not error.moves or has_tiers(stated):
        return error
    members = Feasibility(start, outlook, stated).members
    trying, found = _Trying(book, start, outlook, min(max(WORK // max(len(book.instruments), 1), FEWEST), MOST)), []
    for move in error.moves:
        given = GivenUp(members, move)
        found.append(next((more for more in _MORE if trying.keeps(given.looser(more).eased(stated))), None))
    moves = [
        move if more is None else GivenUp(members, move).looser(more).limits
        for move, more in zip(error.moves, found, strict=True)
    ]
    return Infeasible(
        error.message if trying.late is None else f"{error.message} (fixes on whole lots: {trying.late})",
        error.rules,
        [in_words(members, move, error.rules) for move in moves],
        error.conflicts,
        cut_short=error.cut_short,
        moves=moves,
        for_fractions=None in found,
    )


@dataclass(eq=False)
class _Trying:
    """Mandates tried on whole lots, while there are tries `left`; `late`: the user's time limit ended them."""

    book: Book
    start: Start
    outlook: Outlook
    left: int
    program: Program | None = None
    late: OutOfTime | None = None

    def keeps(self, mandate: Mandate) -> bool:
        """Whether whole lots that keep a mandate are found."""
        if self.left <= 0:
            return False
        self.left -= 1
        book, start, outlook = self.book, self.start, self.outlook
        if self.program is None or not self.program.fits(outlook, mandate):
            self.program = Program(outlook, mandate, warm=False, explains=False)
        solver = book.settings.solver
        limits = Limits(solver.tolerance, solver.time_limit_seconds)
        try:
            target, _, _ = solved(self.program, start, outlook, mandate, limits, book.value, branches=_BRANCHES)
            whole_lots(book, outlook, mandate, start, target, quick=_NODES)
        except (Infeasible, NotSolved):
            return False
        except OutOfTime as late:
            self.left, self.late = 0, late
            return False
        return True
