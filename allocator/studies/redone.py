"""The plan itself under draws of the parameters: targets optimised again at each draw, certified as a plan's are.

The mandate is the plan's: its rules, its costs, and its ambiguity set with the reach that it has today, around the
belief of the draw. Every draw is solved from nothing, so that neither the order nor the number of workers changes a
digit. A draw that has no verified targets is reported, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np

from allocator.errors import Infeasible, NotSolved
from allocator.mandate.mandate import Mandate
from allocator.outlook.outlook import Outlook
from allocator.plan.plan import Plan
from allocator.plan.targets import solved
from allocator.program.compile import Start
from allocator.program.solve import Limits, Program
from allocator.studies.evaluated import Evaluated
from allocator.types import Matrix, Vector

BATCH = 32
"""Draws that a worker is given at once."""


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


@dataclass(frozen=True, eq=False)
class Redone:
    """Target weights at draws, cash last: by index, (N + 1,) or why there are none."""

    weights: dict[int, Vector]
    failed: dict[int, str]
    interrupted: bool = False


def redone(question: Question, draws: Evaluated, jobs: int = 1, say: Callable[[int], None] | None = None) -> Redone:
    """Optimise again at each draw; interrupted, it gives what is finished."""
    count = len(draws.returns)
    batches = [range(at, min(at + BATCH, count)) for at in range(0, count, BATCH)]
    weights: dict[int, Vector] = {}
    failed: dict[int, str] = {}
    try:
        for index, answer in _answers(question, draws, batches, jobs):
            if isinstance(answer, str):
                failed[index] = answer
            else:
                weights[index] = answer
            if say is not None:
                say(len(weights) + len(failed))
    except KeyboardInterrupt:
        return Redone(dict(sorted(weights.items())), dict(sorted(failed.items())), interrupted=True)
    return Redone(dict(sorted(weights.items())), dict(sorted(failed.items())))


def _answers(
    question: Question, draws: Evaluated, batches: Sequence[range], jobs: int
) -> Iterator[tuple[int, Vector | str]]:
    """The answers as they come."""
    if jobs <= 1 or len(batches) <= 1:
        program = Program(question.outlook, question.mandate)
        for batch in batches:
            for index in batch:
                yield index, targets_at(program, question, draws.returns[index], draws.probabilities[index])
        return
    pool = ProcessPoolExecutor(min(jobs, len(batches)), mp_context=get_context("spawn"))
    try:
        yield from _pooled(pool, question, draws, batches)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pooled(
    pool: Executor, question: Question, draws: Evaluated, batches: Sequence[range]
) -> Iterator[tuple[int, Vector | str]]:
    asked: dict[Future[list[Vector | str]], range] = {
        pool.submit(_batch, question, draws.returns[list(batch)], draws.probabilities[list(batch)]): batch
        for batch in batches
    }
    for future in as_completed(asked):
        yield from zip(asked[future], future.result(), strict=True)


def _batch(question: Question, returns: Matrix, probabilities: Matrix) -> list[Vector | str]:
    program = Program(question.outlook, question.mandate)
    return [targets_at(program, question, *one) for one in zip(returns, probabilities, strict=True)]


def targets_at(program: Program, question: Question, returns: Matrix, probabilities: Vector) -> Vector | str:
    """(N + 1,) certified target weights at one draw, cash last, or why there are none."""
    if not (np.isfinite(returns).all() and np.isfinite(probabilities).all()):
        return "its returns or probabilities are no numbers"
    outlook = replace(question.outlook, returns=returns, probabilities=probabilities)
    program.forget()
    try:
        fitting = program if program.fits(outlook, question.mandate) else Program(outlook, question.mandate)
        target, _, _ = solved(fitting, question.start, outlook, question.mandate, question.limits)
    except (Infeasible, NotSolved) as error:
        return str(error)
    return np.append(target.values, target.cash) / target.value
