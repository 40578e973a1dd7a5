"""Re-optimised at many beliefs or draws, in this process or in several; what is finished when Ctrl-C comes is kept."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from math import inf
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait as wait_for
from threading import Thread
from typing import Any, Generic, TypeAlias, TypeVar

from allocator.errors import AllocatorError
from allocator.mandate.mandate import Mandate
from allocator.optimization.resolve import CertifiedSolution, ParametricSolver
from allocator.optimization.solve import Limits, kept_programs
from allocator.outlook.outlook import Outlook
from allocator.plan.plan import Plan
from allocator.plan.targets import solve_certified
from allocator.rules.rows import Position
from allocator.types import Vector

T = TypeVar("T")
R = TypeVar("R")
Say: TypeAlias = Callable[[str], None]
"""What is told of progress."""
Work: TypeAlias = Callable[[Sequence[T]], list[R]]
"""Results of some items, one each, in their order."""
ALONE_SECONDS = 0.25
"""Of work in this process before others are started, which takes longer."""
AT_ONCE = 16
"""Items that work is given together: what Ctrl-C loses at most, beside what is under way elsewhere."""
_TOLD_SECONDS = 0.1
_LAST_SECONDS = 60.0
"""How long what is under way elsewhere is waited for after Ctrl-C."""
_AHEAD = 2
"""Batches a process has waiting: results are never more than these ahead of what is kept."""


def say_nothing(_: str) -> None:
    """Nobody listens."""


def parallel_map(
    make: Callable[[], Work[T, R]],
    items: Sequence[T],
    *,
    jobs: int = 1,
    say: Say = say_nothing,
    what: str = "draws",
    at_once: int | None = None,
) -> tuple[list[R | None], bool]:
    """`make()` of all items, `at_once` or AT_ONCE of them together: results in their order, None where Ctrl-C came
    before; whether it came.

    It runs once a process, and goes there by pickle, as items and results do. `say` is told how many are done. Results
    may not be None. Work is given the same items together however many `jobs` there are, so that results are the same.
    Where a process ends by itself, what is left is worked on in this one.
    """
    kept = _KeptResults[T, R](items, say, what, at_once or AT_ONCE)
    try:
        work = make()
        _work_here(work, kept, inf if jobs == 1 else ALONE_SECONDS)
        if kept.left():
            try:
                _work_in_processes(make, kept, jobs)
            except BrokenExecutor:
                say("a process ended by itself: what is left is worked on in this one")
                _work_here(work, kept)
    except KeyboardInterrupt:
        return kept.results, True
    return kept.results, False


class _KeptResults(Generic[T, R]):
    """What is done of the items; says how many, ten times a second at most."""

    def __init__(self, items: Sequence[T], say: Say, what: str, at_once: int) -> None:
        self.items, self._say, self._what, self._last, self._done = items, say, what, 0.0, 0
        self.at_once = at_once
        self.results: list[R | None] = [None] * len(items)

    def left(self) -> list[int]:
        """The indices of what is not done: whole groups of `at_once` items."""
        return [i for i, result in enumerate(self.results) if result is None]

    def keep(self, indices: Sequence[int], results: Sequence[R]) -> None:
        for i, result in zip(indices, results, strict=True):
            self.results[i] = result
        self._done += len(indices)
        now = time.monotonic()
        if now - self._last > _TOLD_SECONDS or self._done == len(self.items):
            self._last = now
            self._say(f"{self._done:,} of {len(self.items):,} {self._what}")


def _work_here(work: Work[T, R], kept: _KeptResults[T, R], seconds: float = inf) -> None:
    """Work in this process on what is left, to the end or for some seconds."""
    began, left = time.monotonic(), kept.left()
    for at in range(0, len(left), kept.at_once):
        if time.monotonic() - began > seconds:
            return
        some = left[at : at + kept.at_once]
        kept.keep(some, work([kept.items[i] for i in some]))


def _work_in_processes(make: Callable[[], Work[T, R]], kept: _KeptResults[T, R], jobs: int) -> None:
    """Work in `jobs` processes on what is left; a process is started afresh, so that no thread is forked."""
    left = kept.left()
    batches = iter([left[at : at + kept.at_once] for at in range(0, len(left), kept.at_once)])
    running: dict[Future[list[R]], list[int]] = {}
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_start_worker, initargs=(make,)) as pool:
        try:
            while True:
                for batch in islice(batches, _AHEAD * jobs - len(running)):
                    with ignore_interrupts():
                        running[pool.submit(_work_on_batch, [kept.items[i] for i in batch])] = batch
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    kept.keep(running.pop(future), future.result())
        except KeyboardInterrupt:
            under_way = {future: batch for future, batch in running.items() if not future.cancel()}
            with suppress(BrokenExecutor):  # what a process that ended had is not finished, and Ctrl-C is the reason
                for future in wait(under_way, timeout=_LAST_SECONDS).done:
                    kept.keep(under_way[future], future.result())
            raise


@contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Processes that are started within never hear Ctrl-C, not even before their first line: it is the parent's."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_work: Work[Any, Any] | None = None
"""A process's own work, made once."""


def _start_worker(make: Callable[[], Work[Any, Any]]) -> None:
    global _work  # noqa: PLW0603  the only way a process keeps what its initializer made
    serve_parent()
    _work = make()


def serve_parent() -> None:
    """Ctrl-C is the parent's to answer: a batch under way is finished. Where the parent is killed, so is this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    Thread(target=follow, daemon=True).start()


def _work_on_batch(items: list[Any]) -> list[Any]:
    assert _work is not None
    return _work(items)


# The answer to a changed question: the fast way where it is proved, else the whole ladder and a certificate.
#
# An answer depends on its question alone, not on those before it: what runs in two processes or in another order gives
# the same digits.
#
LEFT_OUT = "robust.limits exclude this belief, so that the optimum would not depend on it"
NOISE = 1e-9
"""Of a limit on probabilities: what is no breach of it."""


@dataclass(frozen=True)
class UnsolvedProblem:
    """A question that has no verified answer, and why: the class of the error and its text."""

    error: str
    reason: str


Answer: TypeAlias = CertifiedSolution | UnsolvedProblem


@dataclass(frozen=True, eq=False)
class PlanProblem:
    """The question that a plan answers: its rules, its costs, its ambiguity set with the reach that it has today."""

    start: Position
    outlook: Outlook
    mandate: Mandate
    limits: Limits

    @classmethod
    def of(cls, plan: Plan) -> PlanProblem:
        """It can go to another process."""
        return cls(plan.start, plan.outlook, plan.mandate, Limits.of(plan.book))

    def at_beliefs(self) -> Work[Vector, Answer]:
        """What is best under other probabilities (K,), the radius of the ambiguity set staying as it is."""
        answers = Reoptimizer(self)
        return lambda beliefs: answers.solve_many([replace(self.outlook, probabilities=own) for own in beliefs])


class Reoptimizer:
    """Answers under outlooks near the plan's own, each proved; none is less than a certificate says."""

    def __init__(self, problem: PlanProblem) -> None:
        self._problem, self._compiled = problem, kept_programs(explains=False)
        self._fast = ParametricSolver(problem.start, problem.outlook, problem.mandate, problem.limits)

    def solve_many(self, outlooks: Sequence[Outlook]) -> list[Answer]:
        """The proved answers, or why there is none."""
        return [self.solve(outlook, self._problem.mandate) for outlook in outlooks]

    def solve(self, outlook: Outlook, mandate: Mandate, start: Position | None = None) -> Answer:
        """The proved answer to the plan's question under another outlook and mandate, from its start or another; or why
        there is none.
        """
        if _left_out(outlook, mandate):
            return UnsolvedProblem("BadMandate", LEFT_OUT)
        start = start or self._problem.start
        return self._fast.solve(start, outlook, mandate) or self._long_way(start, outlook, mandate)

    def _long_way(self, start: Position, outlook: Outlook, mandate: Mandate) -> Answer:
        limits = self._problem.limits
        try:
            program = self._compiled(outlook, mandate)
            trade, _, certificate = solve_certified(program, start, outlook, mandate, limits)
        except AllocatorError as error:
            return UnsolvedProblem(type(error).__name__, str(error))
        return CertifiedSolution(trade.values, trade.cash, certificate.objective, certificate.gap, certificate.solver)


def _left_out(outlook: Outlook, mandate: Mandate) -> bool:
    """Whether limits on probabilities leave out the belief itself: a book that believes it is refused, too."""
    return mandate.ambiguity.leaves_out(outlook.probabilities)
