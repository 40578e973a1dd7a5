"""The answer to a changed question: the fast way where it is proved, else the whole ladder and a certificate.

An answer depends on its question alone, not on those before it: what runs in two processes or in another order gives
the same digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from allocator.ambiguity.polyhedral import Polytope
from allocator.errors import AllocatorError
from allocator.mandate.mandate import Mandate
from allocator.optimization.resolve import Again, Question, Solved
from allocator.optimization.single_period import Start
from allocator.optimization.solve import Limits, Program
from allocator.outlook.outlook import Outlook
from allocator.plan.targets import solved
from allocator.types import Vector

LEFT_OUT = "robust.limits leaves out this belief, so that what is best would not hang on it"
NOISE = 1e-9
"""Of a limit on probabilities: what is no breach of it."""
_MOST = 32
"""Programs for the long way that are kept."""


@dataclass(frozen=True)
class Failed:
    """A question that has no verified answer, and why: the class of the error and its text."""

    error: str
    reason: str


class Answers:
    """Answers to questions near the one it was made with, each proved; none is less than a certificate says."""

    def __init__(self, start: Start, outlook: Outlook, mandate: Mandate, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._again = Again(start, outlook, mandate, self._limits)
        self._programs: list[Program] = []

    def solve(self, start: Start, outlook: Outlook, mandate: Mandate) -> Solved:
        """The proved answer.

        Raises:
            Infeasible: the rules cannot hold together.
            NotSolved: no solver's answer passes the checks.
        """
        found = self._again.solve(start, outlook, mandate)
        return found if found is not None else self._long_way(start, outlook, mandate)

    def attempt_many(self, asked: Sequence[Question]) -> list[Solved | Failed]:
        """The proved answers, or why there is none; a few dozen at once are answered fastest."""
        lawful = [question for question in asked if not _left_out(*question)]
        answered = zip(self._again.solve_many(lawful), lawful, strict=True)
        found = iter([one if one is not None else self._attempt(*question) for one, question in answered])
        return [Failed("BadMandate", LEFT_OUT) if _left_out(*question) else next(found) for question in asked]

    def _attempt(self, start: Start, outlook: Outlook, mandate: Mandate) -> Solved | Failed:
        try:
            return self._long_way(start, outlook, mandate)
        except AllocatorError as error:
            return Failed(type(error).__name__, str(error))

    def _long_way(self, start: Start, outlook: Outlook, mandate: Mandate) -> Solved:
        program = self._program(outlook, mandate)
        trade, _, certificate = solved(program, start, outlook, mandate, self._limits)
        return Solved(trade.values, trade.cash, certificate.objective, certificate.gap, certificate.solver)

    def _program(self, outlook: Outlook, mandate: Mandate) -> Program:
        """A program of this shape that starts cold and says of a conflict only that there is one."""
        for program in self._programs:
            if program.fits(outlook, mandate):
                return program
        made = Program(outlook, mandate, warm=False, explains=False)
        self._programs = [*self._programs[-_MOST:], made]
        return made


def _left_out(start: Start, outlook: Outlook, mandate: Mandate) -> bool:
    """Whether limits on probabilities leave out the belief itself: a book that believes it is refused, too."""
    del start
    set_, p = mandate.ambiguity, outlook.probabilities
    return isinstance(set_, Polytope) and set_.excess(p, p) > NOISE


def at_beliefs(
    start: Start, outlook: Outlook, mandate: Mandate, limits: Limits | None = None
) -> Callable[[Sequence[Vector]], list[Solved | Failed]]:
    """What is best under other probabilities (K,), the radius of the ambiguity set staying as it is."""
    answers = Answers(start, outlook, mandate, limits)

    def at(beliefs: Sequence[Vector]) -> list[Solved | Failed]:
        return answers.attempt_many([(start, replace(outlook, probabilities=belief), mandate) for belief in beliefs])

    return at
