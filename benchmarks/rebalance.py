"""Book in memory → verified plan before lots, first and again, beside the bare solver on the same canonical data.

    python benchmarks/rebalance.py            # N = 100, 500, 2000
    python benchmarks/rebalance.py 100 500

Long-only, budget, 10 group bounds, caps, turnover, total variation over 4 scenarios, 10 statistical factors. Medians of
15 re-solves with other returns, probabilities and holdings; the certificate's gap stands beside the time. Read the
ratios: machines differ and are noisy. Each size runs in a process of its own, so that peak memory is its own.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd

REPEATS = 15
TARGETS = {100: (0.1, 15.0), 500: (0.2, 40.0), 2000: (1.0, 300.0)}
"""Seconds to compile, milliseconds to re-solve."""


def tables(count: int, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """A random book of `count` instruments with a year of prices."""
    names = [f"I{i:04d}" for i in range(count)]
    factors = rng.normal(0, 0.01, (260, 10)) @ rng.normal(0, 1, (10, count))
    prices = 100 * np.exp(np.cumsum(factors + rng.normal(0, 0.015, (260, count)), axis=0))
    history = pd.DataFrame(prices, columns=names)
    history.insert(0, "date", pd.bdate_range("2025-11-20", periods=260))
    held = rng.random(count) < 0.5
    holdings = pd.DataFrame(
        {
            "account": "main",
            "instrument": [*names, "USD"],
            "price": [*prices[-1], 1.0],
            "currency": "USD",
            "quantity": [*np.where(held, np.rint(1e8 / count / prices[-1]), 0), 5e6],
        }
    )
    exposures = pd.DataFrame(
        {
            "instrument": [*names, "USD"],
            "name": [*names, "cash"],
            "issuer": [*names, "USD"],
            "bucket": [*["neutral"] * count, "cash"],
            "spread_bps": 10.0,
            "source": "random",
        }
    )
    scenario_returns = pd.DataFrame(
        {"instrument": [*names, "USD"]}
        | {f"s{k}": [*np.clip(rng.normal(0.08, 0.2, count), -0.9, 3), 0.04] for k in range(4)}
    )
    return {"holdings": holdings, "exposures": exposures, "scenario_returns": scenario_returns, "prices": history}


def settings(count: int, rng: np.random.Generator) -> dict[str, object]:
    """The mandate of the issue's speed target."""
    names = [f"I{i:04d}" for i in range(count)]
    groups = {f"g{g}": [name for name in names if rng.random() < 0.2] for g in range(10)}
    return {
        "book": {"name": "benchmark", "currency": "USD", "as_of": pd.Timestamp("2026-11-20").date()},
        "scenarios": {f"s{k}": {"probability": 0.25} for k in range(4)},
        "risk": {
            "source": "prices",
            "window_rows": 250,
            "periods_per_year": 252,
            "after_as_of": "cut",
            "method": "statistical_factors",
            "factors": 10,
        },
        "mandate": {
            "risk_aversion": 2.0,
            "max_weight": max(0.05, 5 / count),
            "max_turnover": 0.3,
            "min_cash": 0.01,
            "groups": {name: {"max": 0.3} for name in groups},
        },
        "robust": {"set": "total_variation", "radius": 0.15},
        "costs": {"commission_bps": 1.0},
        "groups": groups,
    }


def measure(count: int) -> None:
    """Print one row for one size."""
    warnings.simplefilter("ignore")
    import piqp

    from allocator.book.book import from_frames
    from allocator.mandate.builder import build_mandate
    from allocator.optimization.quadratic_program import QuadraticProgram
    from allocator.optimization.solve import Program
    from allocator.outlook.outlook import build_outlook
    from allocator.plan.certificate import certify_solution
    from allocator.rules.rows import Position

    rng = np.random.default_rng(7)
    book = from_frames(settings(count, rng), tables(count, rng))
    outlook = build_outlook(book)
    mandate = build_mandate(book, outlook)
    start = Position(book.weights, book.cash / book.value)
    began = time.perf_counter()
    program = Program(outlook, mandate)
    certify_solution(start, outlook, mandate, program.solve(start, outlook, mandate))
    first = time.perf_counter() - began
    ours, bare, gaps = [], [], []
    for _ in range(REPEATS):
        moved = replace(
            outlook,
            returns=outlook.returns + rng.normal(0, 0.02, outlook.returns.shape),
            probabilities=rng.dirichlet(np.full(4, 20.0)),
        )
        held = rng.dirichlet(np.append(np.ones(count), 5.0))
        here = Position(held[:-1], float(held[-1]))
        began = time.perf_counter()
        _, _, certificate = certify_solution(here, moved, mandate, program.solve(here, moved, mandate))
        ours.append((time.perf_counter() - began) * 1e3)
        gaps.append(abs(certificate.gap))
        data = QuadraticProgram({}).write(here, moved, mandate)
        solver = piqp.SparseSolver()
        solver.settings.eps_abs = solver.settings.eps_rel = 1e-9
        solver.settings.eps_duality_gap_abs = solver.settings.eps_duality_gap_rel = 1e-9
        solver.setup(**data.named())
        began = time.perf_counter()
        solver.solve()
        bare.append((time.perf_counter() - began) * 1e3)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wanted = TARGETS.get(count, (float("nan"), float("nan")))
    print(
        f"{count:6d} {first:9.3f} {wanted[0]:7.1f} {statistics.median(ours):10.1f} {wanted[1]:7.0f} "
        f"{statistics.median(bare):8.1f} {statistics.median(o / b for o, b in zip(ours, bare, strict=True)):6.2f} "
        f"{max(gaps):9.1e} {memory:7.0f}",
        flush=True,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(int(sys.argv[2]))
    else:
        print("     N   first s  target  re-solve ms  target  bare ms  ratio   worst gap     MB", flush=True)
        for size in sys.argv[1:] or ("100", "500", "2000"):
            subprocess.run([sys.executable, __file__, "--one", size], check=True)
