"""A mandate in stages → verified policy, beside the solver's own time on the same canonical data.

    python benchmarks/tree.py                 # reviews x N: 4 x 20, 4 x 100, 12 x 100, 4 x 300
    python benchmarks/tree.py 4x100

Nested KL, log utility, costs, caps at every decision; a chain of silence with a claim and its verdict at each review.
Medians of 5 markets, of processor time. `compile` builds and compiles a tree, `solve` is the bare solver's time on its
data; `re-solve` is a verified policy of a compiled tree from other holdings, all checks included, and `first` one whose
tree is still to be compiled, each with its ratio over the solver's own time. `charged` is the solver's own time where
the risk within a scenario is charged along the path, around the policy found without, over that where it is not: one
solve of two or three. The gap of the canonical certificate stands beside. Machines differ and are noisy: read the
ratios. Each size runs in a process of its own, so that peak memory is its own.
"""

from __future__ import annotations

import datetime as dt
import math
import resource
import statistics
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import cvxpy as cp
import numpy as np

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import Ambiguity
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.objectives import LogUtility
from allocator.multistage.program import TreeProgram, tree_program
from allocator.multistage.solve import SMALL_STEPS, solve_policy
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.outlook.scenario_tree import ScenarioTree
from allocator.rules import InstrumentCaps
from allocator.rules.rows import Position

REPEATS = 5
SIZES = ("4x20", "4x100", "12x100", "4x300")
TARGETS = {"4x100": 0.3, "12x100": 1.5, "4x300": 1.2}
"""Seconds for a re-solve."""
JEVONS, SHARE, CLAIM = 0.6, 0.6, 0.15


def chain(reviews: int) -> tuple[list[tuple[str, int, float, float]], list[float]]:
    """Kind, parent, probability and P(generalizable) of every decision node, and the years of each."""
    nodes, years = [("silent", -1, 1.0, 0.5)], [0.0]
    silent, open_claim = 0, -1
    for review in range(1, reviews + 1):
        p = nodes[silent][3]
        claimed = min(0.95, p * 1.8)
        quiet = (p - CLAIM * claimed) / (1 - CLAIM)
        level = [("silent", silent, 1 - CLAIM, quiet), ("claimed", silent, CLAIM, claimed)]
        if open_claim >= 0:
            q = nodes[open_claim][3]
            level += [("verified", open_claim, q, 1.0), ("refuted", open_claim, 1 - q, 0.0)]
        silent, open_claim = len(nodes), len(nodes) + 1
        nodes += level
        years += [1.25 * review / (reviews + 1)] * len(level)
    return nodes, years


def question(reviews: int, count: int, rng: np.random.Generator) -> tuple[MultistageMandate, Position]:
    """A random market of `count` names, priced at the market's probabilities of each node."""
    nodes, years = chain(reviews)
    returns = np.clip(rng.normal(0.1, 0.35, (4, count)), -0.9, 2.0)
    beliefs = np.array([[g * JEVONS, g * (1 - JEVONS), (1 - g) * JEVONS, (1 - g) * (1 - JEVONS)] for *_, g in nodes])
    t = np.array(years)
    implied = beliefs @ (1 + returns)
    price = 1.1 ** t[:, None] * (implied / implied[0]) ** SHARE
    cash = 1.04**t
    parents = np.array([parent for _, parent, *_ in nodes])
    above = np.maximum(parents, 0)
    last = np.setdiff1d(np.arange(len(nodes)), parents)
    ends = [(node, k) for node in last for k in range(4) if beliefs[node, k] > 0]
    at, scenario = np.array([node for node, _ in ends]), np.array([k for _, k in ends])
    tree = ScenarioTree(
        names=tuple(f"{kind} {i}" for i, (kind, *_) in enumerate(nodes)),
        kinds=tuple(kind for kind, *_ in nodes),
        dates=(dt.date(2026, 1, 1),) * len(nodes),
        parents=parents,
        probabilities=np.array([p for *_, p, _ in nodes]),
        beliefs=beliefs,
        growth=price / price[above],
        cash_growth=cash / cash[above],
        leaf_parents=at,
        leaf_scenarios=scenario,
        leaf_probabilities=beliefs[at, scenario],
        leaf_growth=(1 + returns)[scenario] / price[at],
        leaf_cash_growth=1.04**1.25 / cash[at],
    )
    caps = InstrumentCaps(tuple(f"I{i}" for i in range(count)), tuple(range(count)), (max(0.1, 2 / count),) * count)
    mandate = Mandate(1.0, 0.0, Singleton(), (caps,), (), np.full(count, 0.001))
    risk = FactorRisk(0.18 * rng.uniform(0.5, 1.5, (count, 1)), rng.uniform(0.2, 0.5, count) ** 2, "one market")
    outlooks = tuple(
        Outlook(("A", "B", "C", "D"), beliefs[i], (1 + returns) / price[i] - 1, np.full(4, 1.04**1.25 / cash[i] - 1),
                risk.over(1.25 - years[i]), 1.25 - years[i])
        for i in range(len(nodes))
    )  # fmt: skip
    radii = [2 * (0.5 * min(g, 1 - g)) ** 2 for *_, g in nodes]
    sets: list[Ambiguity] = [Singleton() if radius < 1e-6 else KullbackLeibler(radius) for radius in radii]
    held = rng.random(count) * (rng.random(count) < 0.5)
    held = 0.9 * np.minimum(held / held.sum(), 0.05)
    start = Position(held, 1 - float(held.sum()))
    return MultistageMandate(tree, (mandate,) * len(nodes), outlooks, tuple(sets), LogUtility()), start


def elsewhere(count: int, rng: np.random.Generator, start: Position) -> Position:
    """The same names, held in other amounts."""
    held = start.holdings * rng.uniform(0.5, 1.5, count)
    held = 0.9 * np.minimum(held / held.sum(), 0.05)
    return Position(held, 1 - float(held.sum()))


def alone(program: TreeProgram) -> float:
    """Seconds of processor time of the bare solver on the prepared matrices, setting them up included."""
    # by the steps that the policy asks for: by its defaults the solver gives up on some of these in no time
    options = {"tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9, "max_iter": 500, **SMALL_STEPS}
    data, chain_, _ = program.problem.get_problem_data("CLARABEL", canon_backend="COO", solver_opts=options)
    began = time.process_time()
    chain_.solve_via_data(program.problem, data, False, False, options)
    return time.process_time() - began


def measure(size: str) -> None:
    """One size: medians, and the peak memory of this process."""
    reviews, count = map(int, size.split("x"))
    rng = np.random.default_rng(20261120)
    compiling, solving, again, ratios, first, gaps, charged = [], [], [], [], [], [], []
    for _ in range(REPEATS + 1):
        staged, start = question(reviews, count, rng)
        began = time.process_time()
        tree_program(staged, start).problem.get_problem_data("CLARABEL", canon_backend="COO")
        compiling.append(time.process_time() - began)
        began = time.process_time()
        solve_policy(staged, start)
        first.append(time.process_time() - began)
        there = elsewhere(count, rng, start)
        began = time.process_time()
        policy = solve_policy(staged, there)
        again.append(time.process_time() - began)
        solving.append(alone(tree_program(staged, there)))
        risky = replace(staged, utility=LogUtility(charged=True))
        around = replace(policy, staged=risky).own_path
        charged.append(alone(tree_program(replace(risky, around=around), there)) / solving[-1])
        ratios.append(again[-1] / solving[-1])
        gaps.append(policy.gap)
    compile_, solve, resolve, ratio, all_ = (
        statistics.median(times[1:]) for times in (compiling, solving, again, ratios, first)
    )
    charge = statistics.median(charged[1:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    target = f"{TARGETS[size]:.1f}" if size in TARGETS else "-"
    print(
        f"{size:>7} {staged.tree.nodes:9d} {staged.tree.leaves:6d} {compile_:8.3f} {solve:7.3f} {resolve:8.3f} "
        f"{target:>6} {ratio:6.2f} {all_:7.3f} {all_ / solve:6.2f} {charge:7.2f} {max(gaps):9.1e} {peak:6.0f} MB",
        flush=True,
    )


def main() -> None:
    """Every size in a process of its own."""
    sizes = sys.argv[1:] or SIZES
    if len(sizes) == 1:
        warnings.filterwarnings("ignore", message="invalid value encountered in matmul", category=RuntimeWarning)
        measure(sizes[0])
        return
    print(
        f"cvxpy {cp.__version__}, nested KL, log utility; seconds, ratios over the solver's own, worst gap, peak memory"
    )
    print("   size decisions leaves  compile   solve re-solve target  ratio   first  ratio charged       gap   peak")
    told: dict[str, tuple[float, float]] = {}
    for size in sizes:
        shown = subprocess.run([sys.executable, __file__, size], check=True, stdout=subprocess.PIPE, text=True).stdout
        print(shown, end="", flush=True)
        columns = shown.split()
        told[size] = float(columns[3]), float(columns[5])
    for words, one, other in (("N", "4x100", "4x300"), ("reviews", "4x100", "12x100")):
        if one in told and other in told:
            grown = 3.0  # both are three times as much
            compile_, again = (math.log(b / a) / math.log(grown) for a, b in zip(told[one], told[other], strict=True))
            print(f"growth in {words}, exponents: compile {compile_:.2f}, re-solve {again:.2f}")


if __name__ == "__main__":
    main()
