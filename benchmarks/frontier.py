"""Thirty points of a frontier beside the bare solver, and thirty of a tail of many draws: targets 1.5 times, 5 s.

`python benchmarks/frontier.py`. The mandate of `questions.py` of 100 names along the aversion to risk: every point
proved, then with its figures, beside PIQP updated with the same matrices. Then mean and CVaR of 392 names on 10 000
draws along the weight of the tail, every point proved. Processor time, medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

# beside this script
from by_hand import fresh_piqp
from questions import settings, tables, tail_question

from allocator.book.book import from_frames
from allocator.multistage.solve import TailPolicies
from allocator.optimization.quadratic_program import QuadraticProgram
from allocator.optimization.solve import Limits
from allocator.stress_testing.frontier import POINTS, _Measured, _OnePeriod

REPEATS, BOOKS = 9, 4


def seconds(work: Callable[[], Any]) -> float:
    """Processor time."""
    began = time.process_time()
    work()
    return time.process_time() - began


def of_risk(count: int) -> None:
    """Print the ratios of one size."""
    book = from_frames(settings(count, np.random.default_rng([7, count])), tables(count, np.random.default_rng(7)))
    asked = _OnePeriod(book)
    measured, found = _Measured(book, asked, asked.plan()), asked.by_aversion(POINTS)[1]
    writer, mandate = QuadraticProgram({}), asked.mandate
    data = [writer.write(asked.start, asked.outlook, mandate.wanting(risk_aversion=at)).named() for at, _ in found]
    bare = fresh_piqp()
    bare.setup(**data[0])

    def updated() -> None:
        for one in data:
            bare.update(**one)
            bare.solve()

    def proved() -> list[Any]:
        return [measured.point(at, answer) for at, answer in asked.by_aversion(POINTS)[1]]

    times = [(seconds(updated), seconds(lambda: asked.by_aversion(POINTS)), seconds(proved)) for _ in range(REPEATS)]
    alone, points, figures = map(statistics.median, zip(*times, strict=True))
    print(f"N = {count}, {len(found)} points: PIQP {alone * 1e3:.0f} ms, proved {points / alone:.2f} times as long, "
          f"with figures {figures / alone:.2f}")  # fmt: skip


def of_tail(count: int, draws: int) -> None:
    """Print the seconds of some books."""
    taken = list[float]()
    for own in range(BOOKS):
        staged, start = tail_question(count, draws, np.random.default_rng([7, own]))
        rows, weights = TailPolicies(start, Limits()), np.linspace(0.0, 1.0, POINTS).round(2)
        tails = [staged.utility.with_tail(float(weight)) for weight in weights]
        questions = [replace(staged, utility=tail) for tail in tails if tail is not None]
        taken.append(seconds(lambda: [rows.solve(one) for one in questions]))  # noqa: B023
    print(f"{count} x {draws}, {POINTS} points: {', '.join(f'{one:.1f}' for one in taken)} s")


if __name__ == "__main__":
    of_risk(100)
    of_tail(392, 10_000)
