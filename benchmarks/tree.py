"""A tree of reviews → verified policy, beside Clarabel's own time on the same canonical data.

    python benchmarks/tree.py                  # 4 reviews of 20, 100 and 300 names, 12 reviews of 100
    python benchmarks/tree.py 4x100 12x100

A chain of silent nodes, a claim at each review, verified or refuted at the next; nested Kullback-Leibler balls, log
utility, costs, and caps at every node. Medians of 5; the ratio is the median of each run's own. Read the ratios:
machines differ and are noisy. Each size runs in a process of its own, so that peak memory is its own.
"""

from __future__ import annotations

import datetime as dt
import resource
import statistics
import subprocess
import sys
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from allocator.mandate.staged import Staged
    from allocator.program.compile import Start

REPEATS = 5
SIZES = ("4x20", "4x100", "4x300", "12x100")
TARGETS = {"4x100": 0.45, "4x300": 1.2, "12x100": 1.5}
"""Seconds in total."""
_SCENARIOS = ("up", "flat", "fall", "crash")


def chain(reviews: int) -> tuple[list[int], list[float], list[int], list[int]]:
    """Parents, probabilities and reviews of the decision nodes, and those that branch straight to the scenarios."""
    parents, probabilities, dates, ends = [-1], [1.0], [0], list[int]()
    silent, claim = 0, -1

    def add(parent: int, probability: float, date: int) -> int:
        parents.append(parent)
        probabilities.append(probability)
        dates.append(date)
        return len(parents) - 1

    for review in range(1, reviews + 1):
        claimed, still = add(silent, 0.3, review), add(silent, 0.7, review)
        if claim >= 0:
            ends += [add(claim, 0.6, review), add(claim, 0.4, review)]
        silent, claim = still, claimed
    return parents, probabilities, dates, [*ends, silent, claim]


def question(reviews: int, names: int, seed: int) -> tuple[Staged, Start]:
    """A random market over the chain, from a diversified account."""
    from allocator.mandate.ambiguity import Known, KullbackLeibler
    from allocator.mandate.mandate import Mandate
    from allocator.mandate.rules import InstrumentCaps
    from allocator.mandate.staged import Staged
    from allocator.mandate.utility import Log
    from allocator.outlook.outlook import Outlook
    from allocator.outlook.risk import FactorRisk
    from allocator.outlook.tree import Tree
    from allocator.program.compile import Start

    draw = np.random.default_rng(seed)
    parents, probabilities, dates, ends = chain(reviews)
    nodes, scenarios = len(parents), len(_SCENARIOS)
    beliefs = draw.dirichlet(np.full(scenarios, 4.0), nodes)
    growth = np.exp(draw.normal(0.02, 0.08, (nodes, names)))
    growth[0] = 1
    tree = Tree(
        tuple(f"node {node}" for node in range(nodes)),
        ("now", *("silent",) * (nodes - 1)),
        tuple(dt.date(2026, 1, 1) + dt.timedelta(days=91 * date) for date in dates),
        np.array(parents),
        np.array(probabilities),
        beliefs,
        growth,
        np.where(np.array(parents) < 0, 1.0, 1.01),
        np.repeat(ends, scenarios),
        np.tile(np.arange(scenarios), len(ends)),
        beliefs[ends].ravel(),
        np.exp(draw.normal(0.02, 0.25, (scenarios * len(ends), names))),
        np.full(scenarios * len(ends), 1.01),
    )
    flat = FactorRisk(np.zeros((names, 1)), np.zeros(names), "")
    outlooks = tuple(
        Outlook(_SCENARIOS, beliefs[node], np.zeros((scenarios, names)), np.zeros(scenarios), flat, years)
        for node, years in enumerate((reviews + 1 - np.array(dates)) / 4)
    )
    caps = InstrumentCaps(tuple(f"I{i}" for i in range(names)), tuple(range(names)), (max(0.1, 5 / names),) * names)
    mandate = Mandate(1.0, 0.0, Known(), (caps,), (), draw.uniform(0.0005, 0.003, names), None)
    weights = draw.dirichlet(np.ones(names + 1))
    staged = Staged(tree, (mandate,) * nodes, outlooks, (KullbackLeibler(0.05),) * nodes, Log())
    return staged, Start(weights[:-1], float(weights[-1]))


def measure(size: str) -> None:
    """Print one row for one size."""
    warnings.simplefilter("ignore")
    from allocator.errors import NotSolved
    from allocator.program.policy import policy_of
    from allocator.program.recourse import staging
    from allocator.program.solve import Limits, _options

    reviews, names = map(int, size.split("x"))
    options = _options("CLARABEL", Limits())
    policy_of(*question(reviews, 5, 0))  # imports and caches
    compiles, solves, totals, gaps = list[float](), list[float](), list[float](), list[float]()
    for seed in range(REPEATS):
        asked = question(reviews, names, seed)
        began = time.perf_counter()
        problem = staging(*asked).problem
        data, chain_, _ = problem.get_problem_data("CLARABEL", canon_backend="COO", solver_opts=options)
        compiles.append(time.perf_counter() - began)
        solves.append(float(chain_.solve_via_data(problem, data, True, False, options).solve_time))
        began = time.perf_counter()
        try:
            gaps.append(policy_of(*asked).gap)
        except NotSolved:  # time spent in vain is time spent, and the row says so
            gaps.append(float("inf"))
        totals.append(time.perf_counter() - began)
    ratio = statistics.median(total / solve for total, solve in zip(totals, solves, strict=True))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{size:>8} {statistics.median(compiles):9.3f} {statistics.median(solves):9.3f} "
        f"{statistics.median(totals):8.3f} {TARGETS.get(size, float('nan')):7.2f} {ratio:6.2f} "
        f"{max(gaps):9.1e} {memory:7.0f}",
        flush=True,
    )


def growths(rows: dict[str, list[float]]) -> None:
    """Print the exponents of growth in names and in reviews, of compiling, solving and all of it."""
    for what, small, large, times in (("names", "4x100", "4x300", 3.0), ("reviews", "4x100", "12x100", 3.0)):
        if small in rows and large in rows:
            found = np.log(np.array(rows[large][:3]) / np.array(rows[small][:3])) / np.log(times)
            print(f"growth in {what}: compile {found[0]:.2f}, solve {found[1]:.2f}, total {found[2]:.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2])
    else:
        print("    size compile s  solve s  total s  target  ratio  worst gap     MB", flush=True)
        printed: dict[str, list[float]] = {}
        for size in sys.argv[1:] or SIZES:
            row = subprocess.run([sys.executable, __file__, "--one", size], check=True, capture_output=True, text=True)
            print(row.stdout, end="", flush=True)
            printed[size] = [float(number) for number in row.stdout.split()[1:]]
        growths(printed)
