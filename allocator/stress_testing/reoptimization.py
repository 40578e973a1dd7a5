"""Re-optimised at many draws, in this process or in several; what is finished when Ctrl-C comes is kept."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait as wait_for
from threading import Thread
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np

from allocator.errors import AllocatorError, BadInput, Breach
from allocator.mandate.mandate import Mandate
from allocator.optimization.resolve import CertifiedSolution, ParametricSolver, Problem
from allocator.optimization.single_period import Position
from allocator.optimization.solve import Limits, Program
from allocator.outlook.outlook import Outlook
from allocator.plan.plan import Plan
from allocator.plan.targets import solve_certified
from allocator.stress_testing.outcomes import OutlookDraws
from allocator.types import Matrix, Vector

T = TypeVar("T")
R = TypeVar("R")
BATCH_SECONDS = 0.25
"""Of work handed to a process at once: less would be spent on the way there and back."""
AT_ONCE = 16
"""Items that work is given together: what Ctrl-C loses at most, beside batches under way elsewhere."""
_TOLD_SECONDS = 0.1
_LAST_SECONDS = 60.0
"""How long batches under way are waited for after Ctrl-C."""
_AHEAD = 2
"""Batches a process has waiting: results are never more than these ahead of what is kept."""


@dataclass(frozen=True)
class ParallelResult(Generic[R]):
    """Results in the order of the items, None where Ctrl-C came before."""

    results: tuple[R | None, ...]
    interrupted: bool

    @property
    def asked(self) -> int:
        """How many items there were."""
        return len(self.results)

    @property
    def finished(self) -> int:
        """How many of them are done."""
        return sum(result is not None for result in self.results)


def parallel_map(
    make: Callable[[], Callable[[Sequence[T]], list[R]]],
    items: Sequence[T],
    *,
    jobs: int = 1,
    say: Callable[[str], None] | None = None,
    what: str = "draws",
) -> ParallelResult[R]:
    """`make()` of all items, a few at once; it runs once a process, and goes there by pickle, as items and results do.

    `say` is told how many are done. Results may not be None. They do not depend on `jobs` as long as the work of an
    item depends on nothing but the item.

    Raises:
        BadInput: `jobs` is not 1 or more.
    """
    if jobs < 1:
        raise BadInput([Breach("jobs", None, None, str(jobs), "must be 1 or more", "leave it out for one process")])
    told = _ItemCounter(say, len(items), what)
    results: list[Any] = [None] * len(items)
    try:
        work = make()
        done = _map_in_this_process(work, items, results, told, until=None if jobs == 1 else BATCH_SECONDS)
        if done < len(items):
            _map_in_processes_or_here(make, work, items, results, told, jobs, done)
    except KeyboardInterrupt:
        return ParallelResult(tuple(results), interrupted=True)
    return ParallelResult(tuple(results), interrupted=False)


class _ItemCounter:
    """Says how many are done, ten times a second at most."""

    def __init__(self, say: Callable[[str], None] | None, asked: int, what: str) -> None:
        self._say, self._asked, self._what, self._last, self._done = say, asked, what, 0.0, 0

    def more(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if self._say is not None and (now - self._last > _TOLD_SECONDS or self._done == self._asked):
            self._last = now
            self._say(f"{self._done:,} of {self._asked:,} {self._what}")


def _map_in_this_process(
    work: Callable[[Sequence[T]], list[R]],
    items: Sequence[T],
    results: list[Any],
    told: _ItemCounter,
    until: float | None,
) -> int:
    """Work in this process, to the end or for some seconds (which say how long an item takes); how many are done."""
    began = time.monotonic()
    for at in range(0, len(items), AT_ONCE):
        if until is not None and time.monotonic() - began > until:
            return at
        found = work(items[at : at + AT_ONCE])
        results[at : at + len(found)] = found
        told.more(len(found))
    return len(items)


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


_work: Callable[[Any], list[Any]] | None = None
"""A process's own work, made once."""


def _start_worker(make: Callable[[], Callable[[Any], list[Any]]]) -> None:
    global _work  # noqa: PLW0603  the only way a process keeps what its initializer made
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer; a batch under way is finished
    _work = make()


def _work_on_batch(items: list[Any]) -> list[Any]:
    assert _work is not None
    return [result for at in range(0, len(items), AT_ONCE) for result in _work(items[at : at + AT_ONCE])]


def _map_in_processes_or_here(
    make: Callable[[], Callable[[Sequence[T]], list[R]]],
    work: Callable[[Sequence[T]], list[R]],
    items: Sequence[T],
    results: list[Any],
    told: _ItemCounter,
    jobs: int,
    done: int,
) -> None:
    """Work in several processes; where one of them ends by itself, what is left is worked on in this one."""
    try:
        _map_in_processes(make, items, results, told, jobs, done)
    except BrokenExecutor:
        left = [i for i, result in enumerate(results) if result is None]
        for at in range(0, len(left), AT_ONCE):
            some = left[at : at + AT_ONCE]
            for i, result in zip(some, work([items[i] for i in some]), strict=True):
                results[i] = result
            told.more(len(some))


def _map_in_processes(
    make: Callable[[], Callable[[Sequence[T]], list[R]]],
    items: Sequence[T],
    results: list[Any],
    told: _ItemCounter,
    jobs: int,
    done: int,
) -> None:
    """Work in `jobs` processes on what is not `done`; a process is started afresh, so that no thread is forked."""
    size = max(done, 1)  # what took BATCH_SECONDS here
    size = max(1, min(size, -(-(len(items) - done) // jobs)))
    starts = iter(range(done, len(items), size))
    running: dict[Future[list[Any]], int] = {}
    context = multiprocessing.get_context("spawn")

    def keep(finished: set[Future[list[Any]]]) -> None:
        for future in finished:
            at, found = running.pop(future), future.result()
            results[at : at + len(found)] = found
            told.more(len(found))

    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker, initargs=(make,)) as pool:
        try:
            for at in starts:
                with ignore_interrupts():
                    future = pool.submit(_work_on_batch, list(items[at : at + size]))
                running[future] = at
                if len(running) >= _AHEAD * jobs:
                    keep(wait(running, return_when=FIRST_COMPLETED).done)
            while running:
                keep(wait(running, return_when=FIRST_COMPLETED).done)
        except KeyboardInterrupt:
            for future in list(running):
                if future.cancel():
                    running.pop(future)
            with suppress(BrokenExecutor):  # what a process that ended had is not finished, and Ctrl-C is the reason
                keep(wait(running, timeout=_LAST_SECONDS).done)
            raise


# The answer to a changed question: the fast way where it is proved, else the whole ladder and a certificate.
#
# An answer depends on its question alone, not on those before it: what runs in two processes or in another order gives
# the same digits.
#
LEFT_OUT = "robust.limits exclude this belief, so that the optimum would not depend on it"
NOISE = 1e-9
"""Of a limit on probabilities: what is no breach of it."""
_MOST = 32
"""Programs for the long way that are kept."""


@dataclass(frozen=True)
class UnsolvedProblem:
    """A question that has no verified answer, and why: the class of the error and its text."""

    error: str
    reason: str


class Reoptimizer:
    """Answers to questions near the one it was made with, each proved; none is less than a certificate says."""

    def __init__(self, start: Position, outlook: Outlook, mandate: Mandate, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._again = ParametricSolver(start, outlook, mandate, self._limits)
        self._programs: list[Program] = []

    def solve(self, start: Position, outlook: Outlook, mandate: Mandate) -> CertifiedSolution:
        """The proved answer.

        Raises:
            Infeasible: its limits conflict.
            NotSolved: no solver's answer passes the checks.
        """
        found = self._again.solve(start, outlook, mandate)
        return found if found is not None else self._long_way(start, outlook, mandate)

    def attempt_many(self, asked: Sequence[Problem]) -> list[CertifiedSolution | UnsolvedProblem]:
        """The proved answers, or why there is none; a few dozen at once are answered fastest."""
        lawful = [question for question in asked if not _left_out(*question)]
        answered = zip(self._again.solve_many(lawful), lawful, strict=True)
        found = iter([one if one is not None else self._attempt(*question) for one, question in answered])
        return [UnsolvedProblem("BadMandate", LEFT_OUT) if _left_out(*question) else next(found) for question in asked]

    def _attempt(self, start: Position, outlook: Outlook, mandate: Mandate) -> CertifiedSolution | UnsolvedProblem:
        try:
            return self._long_way(start, outlook, mandate)
        except AllocatorError as error:
            return UnsolvedProblem(type(error).__name__, str(error))

    def _long_way(self, start: Position, outlook: Outlook, mandate: Mandate) -> CertifiedSolution:
        program = self._program(outlook, mandate)
        trade, _, certificate = solve_certified(program, start, outlook, mandate, self._limits)
        return CertifiedSolution(trade.values, trade.cash, certificate.objective, certificate.gap, certificate.solver)

    def _program(self, outlook: Outlook, mandate: Mandate) -> Program:
        """A program of this shape that starts cold and says of a conflict only that there is one."""
        for program in self._programs:
            if program.fits(outlook, mandate):
                return program
        made = Program(outlook, mandate, warm=False, explains=False)
        self._programs = [*self._programs[-_MOST:], made]
        return made


def _left_out(start: Position, outlook: Outlook, mandate: Mandate) -> bool:
    """Whether limits on probabilities leave out the belief itself: a book that believes it is refused, too."""
    del start
    return mandate.ambiguity.leaves_out(outlook.probabilities)


def reoptimizer_at_beliefs(
    start: Position, outlook: Outlook, mandate: Mandate, limits: Limits | None = None
) -> Callable[[Sequence[Vector]], list[CertifiedSolution | UnsolvedProblem]]:
    """What is best under other probabilities (K,), the radius of the ambiguity set staying as it is."""
    answers = Reoptimizer(start, outlook, mandate, limits)

    def at(beliefs: Sequence[Vector]) -> list[CertifiedSolution | UnsolvedProblem]:
        return answers.attempt_many([(start, replace(outlook, probabilities=belief), mandate) for belief in beliefs])

    return at


# The plan itself under draws of the parameters: targets re-optimised at each draw, certified as a plan's are.
#
# The mandate is the plan's: its rules, its costs, and its ambiguity set with the reach that it has today, around the
# belief of the draw. No answer depends on the ones before it, so that neither the order nor the number of workers
# changes a digit. A draw that has no verified targets is reported, never dropped.
#
BATCH = 32
"""Draws that are evaluated, and given to a worker, at once."""
Draws: TypeAlias = Callable[[range], OutlookDraws]
"""The outlook at some draws, by their indices: asked for batch by batch."""


@dataclass(frozen=True, eq=False)
class DrawProblem:
    """What is asked at every draw, but for the returns and the belief."""

    start: Position
    outlook: Outlook
    mandate: Mandate
    limits: Limits

    @classmethod
    def of(cls, plan: Plan) -> DrawProblem:
        """The question that the plan answers."""
        solver = plan.book.settings.solver
        limits = Limits(solver.tolerance, solver.time_limit_seconds)
        return cls(plan.start, plan.outlook, plan.mandate, limits)

    def answers(self) -> Reoptimizer:
        """Who answers it, whatever the returns and the belief."""
        return Reoptimizer(self.start, self.outlook, self.mandate, self.limits)


@dataclass(frozen=True, eq=False)
class Reoptimization:
    """Target weights at draws, cash last: by index, (N + 1,) or why there are none."""

    weights: dict[int, Vector]
    failed: dict[int, str]
    interrupted: bool = False


def reoptimize(
    question: DrawProblem, count: int, draws: Draws, jobs: int = 1, say: Callable[[int], None] | None = None
) -> Reoptimization:
    """Re-optimise at each of `count` draws; interrupted, it gives what is finished."""
    weights: dict[int, Vector] = {}
    failed: dict[int, str] = {}
    interrupted = False
    try:
        for index, answer in _answers(question, count, draws, jobs):
            if isinstance(answer, str):
                failed[index] = answer
            else:
                weights[index] = answer
            if say is not None:
                say(len(weights) + len(failed))
    except KeyboardInterrupt:
        interrupted = True
    return Reoptimization(dict(sorted(weights.items())), dict(sorted(failed.items())), interrupted)


def _answers(question: DrawProblem, count: int, draws: Draws, jobs: int) -> Iterator[tuple[int, Vector | str]]:
    """The answers as they come."""
    batches = [range(at, min(at + BATCH, count)) for at in range(0, count, BATCH)]
    if jobs <= 1 or len(batches) <= 1:
        answers = question.answers()
        for batch in batches:
            found = draws(batch)
            yield from zip(batch, targets_at_draw(answers, question, found.returns, found.probabilities), strict=True)
        return
    workers = min(jobs, len(batches))
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin_worker)
    try:
        yield from _pooled(pool, question, batches, draws, 2 * workers)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """Ctrl-C reaches every process of a terminal: the one that asks decides what is kept, and workers end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asking = parent_process()
    assert asking is not None

    def follow() -> None:
        wait_for([asking.sentinel])
        os._exit(1)

    Thread(target=follow, daemon=True).start()


def _pooled(
    pool: Executor, question: DrawProblem, batches: Sequence[range], draws: Draws, most: int
) -> Iterator[tuple[int, Vector | str]]:
    """In several processes; where one of them ends by itself, what is left is worked on in this one: no answer hangs
    on the number of processes.
    """
    left = dict.fromkeys(batches)
    try:
        yield from _apart(pool, question, left, draws, most)
    except BrokenExecutor:
        answers = question.answers()
        for batch in list(left):
            found = draws(batch)
            yield from zip(batch, targets_at_draw(answers, question, found.returns, found.probabilities), strict=True)


def _apart(
    pool: Executor, question: DrawProblem, left: dict[range, None], draws: Draws, most: int
) -> Iterator[tuple[int, Vector | str]]:
    """At most so many batches are under way, so that memory does not grow with the number of draws; what is answered
    is taken out of `left`.
    """
    asked: dict[Future[list[Vector | str]], range] = {}
    batches = iter(list(left))
    while True:
        for batch in islice(batches, most - len(asked)):
            found = draws(batch)
            with ignore_interrupts():
                future = pool.submit(_batch, question, found.returns, found.probabilities)
            asked[future] = batch
        if not asked:
            return
        try:
            done, _ = wait(asked, return_when=FIRST_COMPLETED)
        except KeyboardInterrupt:  # what is finished elsewhere is finished
            for future, batch in asked.items():
                if future.done() and not future.cancelled() and future.exception() is None:
                    yield from zip(batch, future.result(), strict=True)
            raise
        for future in done:
            batch, answers = asked.pop(future), future.result()
            del left[batch]
            yield from zip(batch, answers, strict=True)


def _batch(question: DrawProblem, returns: Matrix, probabilities: Matrix) -> list[Vector | str]:
    return targets_at_draw(question.answers(), question, returns, probabilities)


def targets_at_draw(
    answers: Reoptimizer, question: DrawProblem, returns: Matrix, probabilities: Matrix
) -> list[Vector | str]:
    """Certified target weights (N + 1,) at each of some draws, cash last, or why there are none."""
    sound = np.isfinite(returns).all(axis=(1, 2)) & np.isfinite(probabilities).all(axis=1)
    asked = [
        (question.start, replace(question.outlook, returns=own, probabilities=belief), question.mandate)
        for own, belief in zip(returns[sound], probabilities[sound], strict=True)
    ]
    found = iter(answers.attempt_many(asked))
    answered = (next(found) if one else None for one in np.atleast_1d(sound))
    return [
        "its returns or probabilities are not finite"
        if one is None
        else one.reason
        if isinstance(one, UnsolvedProblem)
        else one.weights
        for one in answered
    ]
