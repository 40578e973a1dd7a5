"""The call that users make, `rebalance(book)` with its document, over the bare solver on the same data: CPU time.

    python benchmarks/public.py            # N = 15, 100, 500, 2000
    python benchmarks/public.py 100 500

Long-only, budget, ten group bounds, caps, turnover, total variation over 4 scenarios, ten statistical factors of 260
rows of prices. Every timed call gets a book with other returns, holdings and prices (the history too); the first of a
shape in a process is compiled, later ones are not. `targets` is `rebalance(book, lots=False)`, proof and document
included, `whole` the same with lots; `tables` is `from_frames`. Read the ratios: machines differ and are noisy.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from rebalance import settings, tables

from allocator.book.book import Book
from allocator.errors import Infeasible

REPEATS = 7


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and the CPU time of this thread that it took, in ms."""
    began = time.thread_time()
    answer = call()
    return answer, (time.thread_time() - began) * 1e3


def books(count: int, rng: np.random.Generator) -> tuple[list[Book], list[float]]:
    """Books of one mandate with other numbers, and what each took to be made of its tables."""
    from allocator.book.book import from_frames

    stated = settings(count, rng)
    frames = [tables(count, rng) for _ in range(REPEATS + 1)]
    made = [timed(lambda: from_frames(stated, frame)) for frame in frames]  # noqa: B023
    return [book for book, _ in made], [took for _, took in made]


def bare(book: Book) -> float:
    """What PIQP alone takes for the book's program, its matrices prepared."""
    import piqp

    from allocator.mandate.builder import build_mandate
    from allocator.optimization.quadratic_program import QuadraticProgram
    from allocator.outlook.outlook import build_outlook
    from allocator.rules.rows import Position

    outlook = build_outlook(book)
    mandate = build_mandate(book, outlook)
    start = Position(book.weights, book.cash / book.value)
    given = QuadraticProgram({}).write(start, outlook, mandate).named()
    took = []
    for _ in range(3):
        solver = piqp.SparseSolver()
        solver.settings.eps_abs = solver.settings.eps_rel = 1e-9
        solver.settings.eps_duality_gap_abs = solver.settings.eps_duality_gap_rel = 1e-9
        took.append(timed(lambda: (solver.setup(**given), solver.solve()))[1])  # noqa: B023
    return min(took)


def measure(count: int) -> None:
    """Print one row for one size."""
    warnings.simplefilter("ignore")
    from allocator.plan.document import plan_document
    from allocator.plan.rebalance import rebalance

    rng = np.random.default_rng(7)
    made, loading = books(count, rng)
    limits = [bare(book) for book in made[1:4]]
    rebalance(books(20, rng)[0][0])  # what is imported at the first call is not of a shape

    def asked(book: Book, **how: Any) -> Any:
        plan = rebalance(book, **how)
        plan_document(plan)
        return plan

    found = [timed(lambda: asked(book, lots=False)) for book in made]  # noqa: B023
    times = [took for _, took in found]
    whole = []
    for book in made[1:]:
        try:
            whole.append(timed(lambda: asked(book))[1])  # noqa: B023
        except Infeasible:
            whole.append(float("nan"))
    limit, repeated, gap = statistics.median(limits), statistics.median(times[1:]), 0.0
    gap = max(plan.certificate.gap for plan, _ in found)
    print(
        f"{count:6d} {statistics.median(loading):9.1f} {limit:9.2f} {times[0]:9.1f} {times[0] / limit:7.1f} "
        f"{repeated:9.1f} {repeated / limit:7.1f} {statistics.median(whole):9.1f} {gap:9.1e}",
        flush=True,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(int(sys.argv[2]))
    else:
        print("     N    tables      bare     first   ratio  repeated   ratio     whole       gap", flush=True)
        for size in sys.argv[1:] or ("15", "100", "500", "2000"):
            subprocess.run([sys.executable, __file__, "--one", size], check=True)
