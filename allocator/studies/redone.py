"""The plan itself under draws of the parameters: targets optimised again at each draw, certified as a plan's are.

The mandate is the plan's: its rules, its costs, and its ambiguity set with the reach that it has today, around the
belief of the draw. No answer depends on the ones before it, so that neither the order nor the number of workers changes
a digit. A draw that has no verified targets is reported, never dropped.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait as wait_for
from threading import Thread
from typing import TypeAlias

import numpy as np

from allocator.mandate.mandate import Mandate
from allocator.optimization.single_period import Start
from allocator.optimization.solve import Limits
from allocator.outlook.outlook import Outlook
from allocator.plan.plan import Plan
from allocator.studies.answers import Answers, Failed
from allocator.studies.evaluated import Evaluated
from allocator.studies.pool import unheard
from allocator.types import Matrix, Vector

BATCH = 32
"""Draws that are evaluated, and given to a worker, at once."""
Draws: TypeAlias = Callable[[range], Evaluated]
"""The outlook at some draws, by their indices: asked for batch by batch."""


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked at every draw, but for the returns and the belief."""

    start: Start
    outlook: Outlook
    mandate: Mandate
    limits: Limits

    @classmethod
    def of(cls, plan: Plan) -> Question:
        """The question that the plan answers."""
        solver = plan.book.settings.solver
        limits = Limits(solver.tolerance, solver.time_limit_seconds)
        return cls(plan.start, plan.outlook, plan.mandate, limits)

    def answers(self) -> Answers:
        """Who answers it, whatever the returns and the belief."""
        return Answers(self.start, self.outlook, self.mandate, self.limits)


@dataclass(frozen=True, eq=False)
class Redone:
    """Target weights at draws, cash last: by index, (N + 1,) or why there are none."""

    weights: dict[int, Vector]
    failed: dict[int, str]
    interrupted: bool = False


def redone(
    question: Question, count: int, draws: Draws, jobs: int = 1, say: Callable[[int], None] | None = None
) -> Redone:
    """Optimise again at each of `count` draws; interrupted, it gives what is finished."""
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
    return Redone(dict(sorted(weights.items())), dict(sorted(failed.items())), interrupted)


def _answers(question: Question, count: int, draws: Draws, jobs: int) -> Iterator[tuple[int, Vector | str]]:
    """The answers as they come."""
    batches = [range(at, min(at + BATCH, count)) for at in range(0, count, BATCH)]
    if jobs <= 1 or len(batches) <= 1:
        answers = question.answers()
        for batch in batches:
            found = draws(batch)
            yield from zip(batch, targets_at(answers, question, found.returns, found.probabilities), strict=True)
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
    pool: Executor, question: Question, batches: Sequence[range], draws: Draws, most: int
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
            yield from zip(batch, targets_at(answers, question, found.returns, found.probabilities), strict=True)


def _apart(
    pool: Executor, question: Question, left: dict[range, None], draws: Draws, most: int
) -> Iterator[tuple[int, Vector | str]]:
    """At most so many batches are under way, so that memory does not grow with the number of draws; what is answered
    is taken out of `left`.
    """
    asked: dict[Future[list[Vector | str]], range] = {}
    batches = iter(list(left))
    while True:
        for batch in islice(batches, most - len(asked)):
            found = draws(batch)
            with unheard():
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


def _batch(question: Question, returns: Matrix, probabilities: Matrix) -> list[Vector | str]:
    return targets_at(question.answers(), question, returns, probabilities)


def targets_at(answers: Answers, question: Question, returns: Matrix, probabilities: Matrix) -> list[Vector | str]:
    """Certified target weights (N + 1,) at each of some draws, cash last, or why there are none."""
    sound = np.isfinite(returns).all(axis=(1, 2)) & np.isfinite(probabilities).all(axis=1)
    asked = [
        (question.start, replace(question.outlook, returns=own, probabilities=belief), question.mandate)
        for own, belief in zip(returns[sound], probabilities[sound], strict=True)
    ]
    found = iter(answers.attempt_many(asked))
    answered = (next(found) if one else None for one in np.atleast_1d(sound))
    return [
        "its returns or probabilities are no numbers"
        if one is None
        else one.reason
        if isinstance(one, Failed)
        else one.weights
        for one in answered
    ]
