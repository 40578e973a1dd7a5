"""Special programs beside what one writes by hand for one of them: many scenarios, tails of many draws, and the shell.

    python benchmarks/special.py              # everything, a table each
    python benchmarks/special.py sets 1000    # KL and modified chi2, N = 100, so many scenarios
    python benchmarks/special.py tails 100x5000 500x5000
    python benchmarks/special.py shell

`sets`: the whole solve through the product (compiled, solved, proved) over adversary cuts on PIQP written by hand for
this one mandate: in-out points, idle rows dropped, the adversary in closed form. `tails`: mean and CVaR at 95 % of so
many names and draws, over row generation on HiGHS written by hand; of 392 names and 10 000 and 20 000 draws cuOpt on an
H200 is published at about 0.6 and 2 s, which was not run here. `shell`: processor time of a whole command. Times are
processor time of one thread, objectives' differences stand beside. Read the ratios: machines differ and are noisy.
"""

from __future__ import annotations

import datetime as dt
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"
import highspy
import numpy as np
import piqp
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).parent))
from rebalance import settings, tables

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.divergences import KullbackLeibler, ModifiedChiSquared
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.risk_adjustment import MeanCVaR, simulated_values
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.outlook.scenario_tree import ScenarioTree
from allocator.rules import InstrumentCaps
from allocator.rules.rows import Position

COUNT = 100
SHELL = (("waiting", "data/reviewed", 3.5), ("stress", "data/listed", 3.0))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor time, and what came of them."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def many_scenarios(count: int) -> tuple[Position, Outlook, Mandate]:
    """The book of `rebalance.py` with returns of five common factors in so many scenarios."""
    from allocator.book.book import from_frames
    from allocator.mandate.builder import build_mandate
    from allocator.outlook.outlook import build_outlook

    rng = np.random.default_rng(7)
    book = from_frames(settings(COUNT, rng), tables(COUNT, rng))
    outlook = build_outlook(book)
    mandate, start = build_mandate(book, outlook), Position(book.weights, book.cash / book.value)
    common = rng.normal(0, 1, (count, 5)) @ rng.normal(0, 1, (5, COUNT))
    returns = np.clip(0.08 + 0.08 * common + rng.normal(0, 0.15, (count, COUNT)), -0.9, 3)
    names = tuple(f"s{k}" for k in range(count))
    p, cash = rng.dirichlet(np.full(count, 5.0)), np.full(count, 0.04)
    return start, replace(outlook, scenarios=names, probabilities=p, returns=returns, cash_returns=cash), mandate


def cuts_by_hand(start: Position, outlook: Outlook, mandate: Mandate) -> tuple[float, int]:
    """The objective and the rounds; x is h, c, b, s, y, θ, W."""
    rows, load, n, R = mandate.rows, outlook.risk.loadings, COUNT, outlook.returns
    factors, aversion, rates = load.shape[1], mandate.risk_aversion, mandate.cost_rates
    theta, width, y = 3 * n + 1 + factors, 3 * n + 3 + factors, 3 * n + 1
    curved = np.concatenate([2 * aversion * outlook.risk.specific, np.zeros(2 * n + 1), np.full(factors, 2 * aversion)])
    P = sp.csc_matrix(sp.diags(np.append(curved, [0, 0])))
    cost = np.zeros(width)
    cost[theta], cost[n + 1 : y] = 1.0, np.tile(rates, 2)
    eye, one = sp.eye(n), sp.csr_matrix([[1.0]])
    A = sp.bmat(
        [
            [eye, None, -eye, eye, None, None, None],
            [None, one, sp.csr_matrix(1 + rates), sp.csr_matrix(rates - 1), None, None, None],
            [sp.csr_matrix(load.T), None, None, None, -sp.eye(factors), None, None],
            [sp.csr_matrix(np.ones(n)), one, None, None, None, sp.csr_matrix((1, 1)), -one],
        ]
    ).tocsc()
    b = np.concatenate([start.holdings, [start.cash], np.zeros(factors + 1)])
    count = len(rows.limit)
    parts = [rows.holdings, rows.cash[:, None], rows.buys, rows.sells, sp.csr_matrix((count, factors + 1))]
    G = sp.csr_matrix(sp.hstack([*parts, -rows.wealth[:, None]]))
    low, high = np.zeros(width), np.full(width, np.inf)
    low[y:], high[2 * n + 1 : y] = -np.inf, start.holdings

    def loss(x: np.ndarray) -> tuple[np.ndarray, float]:
        losses = -(R @ x[:n] + outlook.cash_returns * x[n])
        q = mandate.ambiguity.adversary(losses, outlook.probabilities)
        return q, 0.5 * x @ (P @ x) + cost @ x - x[theta] + q @ losses

    kept, best = [outlook.probabilities], (np.inf, np.zeros(0))
    for rounds in range(1, 300):
        Q = np.array(kept)
        blocks = [-Q @ R, -(Q @ outlook.cash_returns)[:, None], sp.csr_matrix((len(Q), 2 * n + factors))]
        cut = sp.hstack([*map(sp.csr_matrix, blocks), -np.ones((len(Q), 1)), sp.csr_matrix((len(Q), 1))])
        solver = piqp.SparseSolver()
        own = solver.settings
        own.eps_abs = own.eps_rel = own.eps_duality_gap_abs = own.eps_duality_gap_rel = 1e-9
        limits = np.concatenate([rows.limit, np.zeros(len(Q))])
        solver.setup(P=P, c=cost, A=A, b=b, G=sp.csc_matrix(sp.vstack([G, cut])), h_u=limits, x_l=low, x_u=high)
        solver.solve()
        x, prices = np.array(solver.result.x), np.array(solver.result.z_u)[count:]
        (q, value), bound = loss(x), 0.5 * x @ (P @ x) + cost @ x
        if value - bound <= 1e-8:
            return float(value), rounds
        best = min(best, (value, x), key=lambda at: at[0])
        kept = [*(old for old, price in zip(kept, prices, strict=True) if price > 1e-7), q]
        if best[1] is not x:
            middle = 0.8 * best[1] + 0.2 * x
            q, value = loss(middle)
            kept.append(q)
            best = min(best, (value, middle), key=lambda at: at[0])
    raise RuntimeError("not met")


def sets(count: int) -> None:
    """A row a set."""
    from allocator.optimization.solve import Program
    from allocator.plan.certificate import certify_solution

    start, outlook, mandate = many_scenarios(count)

    def whole(asked: Mandate) -> tuple[Any, Any]:
        program = Program(outlook, asked)
        return program, certify_solution(start, outlook, asked, program.solve(start, outlook, asked))[2]

    for ambiguity in (KullbackLeibler(0.05), ModifiedChiSquared(0.1)):
        asked = replace(mandate, ambiguity=ambiguity)
        bare, (value, rounds) = timed(partial(cuts_by_hand, start, outlook, asked))
        first, (program, proof) = timed(partial(whole, asked))
        there = replace(outlook, returns=outlook.returns * 1.01)
        again, _ = timed(partial(program.solve, start, there, asked))
        print(
            f"{ambiguity.name:>14} {count:5d} {rounds:7d} {bare * 1e3:9.0f} {first * 1e3:9.0f} {first / bare:6.2f}"
            f"    1.5 {again * 1e3:9.0f} {proof.gap:9.1e} {proof.objective - value:10.1e}  {proof.solver}",
            flush=True,
        )


def tail_question(count: int, draws: int) -> tuple[MultistageMandate, Position]:
    """Mean and CVaR of one scenario, caps, costs; half of the names are held."""
    rng = np.random.default_rng(7)
    returns, p = np.clip(rng.normal(0.08, 0.1, (1, count)), -0.5, 1), np.ones(1)
    risk = FactorRisk(0.15 * rng.uniform(0.5, 1.5, (count, 1)), rng.uniform(0.1, 0.4, count) ** 2, "one market")
    outlook, one = Outlook(("0",), p, returns, np.array([0.03]), risk, 1.0), np.zeros(1, dtype=np.int64)
    tree = ScenarioTree(
        ("now",), ("silent",), (dt.date(2026, 1, 1),), one - 1, p, p[None], np.ones((1, count)), p, one, one, p,
        1 + returns, np.array([1.03]),
    )  # fmt: skip
    cap, names = max(0.05, 2 / count), tuple(f"I{i}" for i in range(count))
    mandate = Mandate(
        1.0, 0.0, Singleton(), (InstrumentCaps(names, tuple(range(count)), (cap,) * count),), (), np.full(count, 0.001)
    )
    objective = MeanCVaR(0.95, 0.5, simulated_values(outlook, draws, one), np.array([1.03]))
    held = np.minimum(0.9 * rng.dirichlet(np.ones(count)) * (rng.random(count) < 0.5), cap)
    return MultistageMandate(tree, (mandate,), (outlook,), (Singleton(),), objective), Position(held, 1 - held.sum())


def rows_by_hand(staged: MultistageMandate, start: Position) -> tuple[float, int, int]:
    """The objective, the rounds and the draws that have rows; x is h, b, s, c, W, t and an excess a draw."""
    objective: Any = staged.utility
    values, mean = objective.growth[0], staged.tree.leaf_growth[0]
    (draws, n), tail, weight = values.shape, 1 - objective.level, objective.weight
    cap, price = staged.mandates[0].linear_rules[0].rows(n).wealth, objective.weight / (tail * draws)
    solver, inf = highspy.Highs(), highspy.kHighsInf
    options = {"primal_feasibility_tolerance": 1e-9, "dual_feasibility_tolerance": 1e-9}
    for name, value in {"output_flag": False, "threads": 1, **options}.items():
        solver.setOptionValue(name, value)
    cost = np.concatenate([-(1 - weight) * mean, np.full(2 * n, 1e-8), [-(1 - weight) * 1.03, 0.0, weight]])
    low, high = np.zeros(3 * n + 3), np.full(3 * n + 3, inf)
    low[-1], high[2 * n : 3 * n] = -inf, start.holdings
    solver.addVars(len(cost), low, high)
    solver.changeColsCost(len(cost), np.arange(len(cost), dtype=np.int32), cost)
    for i in range(n):
        own = np.array([i, n + i, 2 * n + i], dtype=np.int32)
        solver.addRow(start.holdings[i], start.holdings[i], 3, own, np.array([1.0, -1.0, 1.0]))
        solver.addRow(-inf, 0.0, 2, np.array([i, 3 * n + 1], dtype=np.int32), np.array([1.0, -cap[i]]))
    paid = np.concatenate([np.full(n, 1.001), np.full(n, -0.999), [1.0]])
    solver.addRow(start.cash, start.cash, 2 * n + 1, np.arange(n, 3 * n + 1, dtype=np.int32), paid)
    at = np.append(np.arange(n), [3 * n, 3 * n + 1]).astype(np.int32)
    solver.addRow(0.0, 0.0, n + 2, at, np.append(np.ones(n + 1), -1.0))
    known = np.zeros(draws, dtype=bool)

    def add(new: np.ndarray) -> None:
        count, first = len(new), solver.getNumCol()
        known[new] = True
        none, empty = np.zeros(count, dtype=np.int32), np.zeros(0, dtype=np.int32)
        bounds = np.zeros(count), np.full(count, inf)
        solver.addCols(count, np.full(count, price), *bounds, 0, none, empty, np.zeros(0))
        of = [
            np.tile(np.arange(n), (count, 1)),
            np.tile([3 * n, 3 * n + 2], (count, 1)),
            first + np.arange(count)[:, None],
        ]
        columns = np.concatenate(of, axis=1).astype(np.int32)
        entries = np.concatenate([values[new], np.tile([1.03, 1.0, 1.0], (count, 1))], axis=1)
        starts = (np.arange(count) * columns.shape[1]).astype(np.int32)
        solver.addRows(
            count, np.ones(count), np.full(count, inf), columns.size, starts, columns.ravel(), entries.ravel()
        )

    add(np.argsort(values @ start.holdings, kind="stable")[: int(2 * tail * draws)])
    for rounds in range(1, 300):
        solver.run()
        x, claimed = np.array(solver.getSolution().col_value), solver.getInfo().objective_function_value
        excess = np.maximum(1 - values @ x[:n] - 1.03 * x[3 * n] - x[3 * n + 2], 0.0)
        loss = cost[: 3 * n + 3] @ x[: 3 * n + 3] + price * excess.sum()
        missing = np.flatnonzero((excess > 0) & ~known)
        if loss - claimed <= 1e-10 or not len(missing):
            return float(loss + 1 - weight - 1e-8 * x[n : 3 * n].sum()), rounds, int(known.sum())
        add(missing[np.argsort(-excess[missing])[:300]])
    raise RuntimeError("not met")


def tails(size: str) -> None:
    """A row of a size."""
    from allocator.multistage.solve import solve_policy

    count, draws = map(int, size.split("x"))
    staged, start = tail_question(count, draws)
    bare, (value, rounds, rows) = timed(partial(rows_by_hand, staged, start))
    ours, policy = timed(partial(solve_policy, staged, start))
    print(
        f"{size:>10} {rounds:7d} {rows:6d} {bare:8.3f} {ours:8.3f} {ours / bare:6.2f}    1.3 {policy.gap:9.1e} "
        f"{policy.objective - value:10.1e}  {policy.solver}",
        flush=True,
    )


def shell() -> None:
    """A row a command, whose processor time is its own."""
    root = Path(__file__).parents[1]
    for command, book, target in SHELL:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "cli.py", command, book], cwd=root, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{command + ' ' + book:>24} {spent:6.1f} {target:7.1f}", flush=True)


def main() -> None:
    """What is asked, or all."""
    warnings.simplefilter("ignore")
    what, *given = sys.argv[1:] or ("all",)
    if what in ("sets", "all"):
        print("           set     K  rounds   bare ms  first ms  ratio target  again ms       gap difference  solver")
        for count in given or (60, 200, 1000):
            sets(int(count))
    if what in ("tails", "all"):
        print("      size  rounds   rows   bare s   ours s  ratio target       gap difference  solver")
        for size in given or ("100x1000", "100x5000", "500x5000", "392x10000", "392x20000"):
            tails(size)
    if what in ("shell", "all"):
        print("                 command  CPU s  target")
        shell()


if __name__ == "__main__":
    main()
