"""A set of two axes re-solved beside one set over all scenarios: target at most 1.3 times as long.

`python benchmarks/axes.py [count ...]`, N = 100 and 500. The mandate of `questions.py` with two answers of two regimes.
Total variation on both axes goes the fast way (`ParametricSolver`, answers proved), beside total variation over all
scenarios; relative entropy on the answers is solved by `Program`, beside relative entropy. Processor time, every
question asked of both in turn, so that the ratios are of one run; read these, machines differ. Then `allocator caution`
of each sample book, all of the command: target at most 4 s of processor time.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

# beside this script
from questions import settings, tables

from allocator.ambiguity.balls import TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.product import ProductSet
from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import from_frames
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import Mandate
from allocator.optimization.resolve import ParametricSolver
from allocator.optimization.solve import Program
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.rules.rows import Position

REPEATS = 25
ANSWERS = np.array([0, 0, 1, 1])


def two(question: Ambiguity) -> ProductSet:
    """That set of the answers, and total variation of the regimes."""
    return ProductSet(ANSWERS, question, (TotalVariation(0.1),) * 2)


def main(count: int) -> None:
    """Print the ratios of one size."""
    rng = np.random.default_rng(20261120)
    book = from_frames(settings(count, rng), tables(count, rng))
    outlook, start = build_outlook(book), Position(book.weights, book.cash / book.value)
    plain = build_mandate(book, outlook)
    for name, one in (("TV x TV", TotalVariation(0.1)), ("KL x TV", KullbackLeibler(0.02))):
        mandates = [replace(plain, ambiguity=ambiguity) for ambiguity in (one, two(one))]
        fast = not one.is_curved
        solvers = [
            ParametricSolver(start, outlook, mandate) if fast else Program(outlook, mandate) for mandate in mandates
        ]
        seconds: list[list[float]] = [[], []]
        for _ in range(REPEATS + 1):
            asked = replace(
                outlook,
                probabilities=rng.dirichlet(np.full(4, 8.0)),
                returns=outlook.returns + rng.normal(0, 0.01, outlook.returns.shape),
            )
            for solver, mandate, own in zip(solvers, mandates, seconds, strict=True):
                own.append(_timed(solver, start, asked, mandate))
        before, after = (statistics.median(own[1:]) * 1e3 for own in seconds)  # the first also warms up
        print(f"N = {count}, {name}: {before:.1f} ms with one set, {after:.1f} ms with two: {after / before:.2f} times")


def _timed(solver: ParametricSolver | Program, start: Position, outlook: Outlook, mandate: Mandate) -> float:
    began = time.process_time()
    if solver.solve(start, outlook, mandate) is None:
        raise SystemExit("not solved")
    return time.process_time() - began


def caution(book: Path) -> None:
    """Print what the command takes of one book."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    asked = [sys.executable, "-m", "allocator", "caution", str(book), "--json"]
    subprocess.run(asked, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"caution of {book.name}: {seconds:.2f} s")


if __name__ == "__main__":
    for size in map(int, sys.argv[1:] or ("100", "500")):
        main(size)
    for sample in ("listed", "note", "reviewed", "approval"):
        caution(Path(__file__).parents[1] / "data" / sample)
