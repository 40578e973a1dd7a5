"""1000 re-solves at N = 100 beside a bare PIQP loop that updates the same problems; then the belief map of 66 x 66.

    python benchmarks/stress.py

Long-only, budget, 10 group bounds, caps, turnover, total variation over 4 scenarios, 10 statistical factors; returns
and probabilities differ from draw to draw. Both loops take the same fifty draws in turn, in processor time. Ours writes
the numbers, solves, and proves every answer outside the solver; the bare loop is handed finished matrices. The gap is
the proved one. Read the ratios: machines differ and are noisy.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # per core; helper threads would count as processor time
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from rebalance import settings, tables

DRAWS = 1000
AT_ONCE = 50
COUNT = 100


def bare_solver(data: Any, *, keep_scaling: bool) -> Any:
    """PIQP at the tolerance that we use: as it comes, or with the scaling of the first problem kept."""
    import piqp

    solver = piqp.SparseSolver()
    solver.settings.eps_abs = solver.settings.eps_rel = 1e-9
    solver.settings.eps_duality_gap_abs = solver.settings.eps_duality_gap_rel = 1e-9
    solver.settings.preconditioner_reuse_on_update = keep_scaling
    solver.settings.compute_timings = False
    solver.setup(**data)
    return solver


def resolves() -> None:
    from allocator.book.book import from_frames
    from allocator.mandate.builder import build_mandate
    from allocator.optimization.quadratic_program import QuadraticProgram
    from allocator.optimization.resolve import ParametricSolver
    from allocator.outlook.outlook import build_outlook
    from allocator.rules.rows import Position

    rng = np.random.default_rng(7)
    book = from_frames(settings(COUNT, rng), tables(COUNT, rng))
    outlook = build_outlook(book)
    mandate, start = build_mandate(book, outlook), Position(book.weights, book.cash / book.value)
    again, program = ParametricSolver(start, outlook, mandate), QuadraticProgram({})
    first = program.write(start, outlook, mandate).named()
    solvers = [bare_solver(first, keep_scaling=keep) for keep in (False, True)]
    bare: list[list[float]] = [[], []]
    ours, found = [], []
    for _ in range(DRAWS // AT_ONCE):
        drawn, data = [], []
        for _ in range(AT_ONCE):
            moved = replace(
                outlook,
                returns=outlook.returns + rng.normal(0, 0.02, outlook.returns.shape),
                probabilities=rng.dirichlet(np.full(4, 5.0)),
            )
            drawn.append(moved)
            data.append(program.write(start, moved, mandate).named())
        for solver, times in zip(solvers, bare, strict=True):
            began = time.process_time()
            for one in data:
                solver.update(**{key: one[key] for key in ("c", "A", "b", "G", "h_u")})
                solver.solve()
            times.append((time.process_time() - began) / AT_ONCE * 1e3)
        began = time.process_time()
        found += again.solve_many([(start, moved, mandate) for moved in drawn])
        ours.append((time.process_time() - began) / AT_ONCE * 1e3)
    proved = [one.gap for one in found if one is not None]
    print(f"{DRAWS} re-solves, N = {COUNT}: ours {statistics.median(ours):.2f} ms", flush=True)
    for what, times in zip(("as it comes", "scaling kept"), bare, strict=True):
        ratio = statistics.median(o / b for o, b in zip(ours, times, strict=True))
        print(f"  bare PIQP, {what}: {statistics.median(times):.2f} ms, ratio {ratio:.2f} (target 1.5)")
    print(f"  worst proved gap {max(proved):.1e}; {DRAWS - len(proved)} left to the long way", flush=True)


def the_map() -> None:
    """4356 beliefs, in this process."""
    from allocator.book.book import from_frames
    from allocator.plan.rebalance import rebalance
    from allocator.stress_testing.belief_map import belief_map

    rng = np.random.default_rng(7)
    stated = settings(COUNT, rng)
    pairs = [(answer, demand) for answer in ("generalizable", "proprietary") for demand in ("jevons", "compression")]
    stated["scenarios"] = {
        f"s{k}": {"probability": 0.25, "hypothesis": answer, "demand": demand}
        for k, (answer, demand) in enumerate(pairs)
    }
    plan = rebalance(from_frames(stated, tables(COUNT, rng)))
    began, own = time.perf_counter(), time.process_time()
    found = belief_map(plan)
    print(f"map of {found.finished} beliefs, N = {COUNT}: {time.perf_counter() - began:.1f} s (target 15), ", end="")
    print(f"{time.process_time() - own:.1f} s of processor time; {len(found.failed)} failed")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    resolves()
    the_map()
