"""How long 131 072 draws of the model's parameters take to evaluate, and how much memory: target 4 s and 400 MB.

`python benchmarks/stress_model.py [book] [draws]`; Sobol points, which are even where their number is a power of two.
Memory is what the process has at most beyond what it had before: the draws, what is kept of them, and all that came on
the way.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from pathlib import Path

from allocator.book.loading import load
from allocator.plan.rebalance import rebalance
from allocator.stress_testing.outcomes import OutcomeMeter, measure_outcomes, stress_base, stress_portfolios
from allocator.stress_testing.parameter_draws import draw_parameters, parameter_ranges
from allocator.stress_testing.parameter_stress import parameter_importance

REPEATS = 5
DATA = Path(__file__).resolve().parents[1] / "data"


def peak() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(name: str = "listed", draws: int = 131_072) -> None:
    """Print what was measured."""
    book = load(DATA / name)
    plan = rebalance(book)
    portfolios, ambiguity = stress_portfolios(plan), plan.mandate.ambiguity
    doubts = parameter_ranges(book)
    keys = tuple(doubt.key for doubt in doubts)
    meter = OutcomeMeter(stress_base(book), ambiguity, portfolios, keys)
    measure_outcomes(meter, draw_parameters(doubts, 1024, 0))
    before, seconds = peak(), []
    for _ in range(REPEATS):
        began = time.perf_counter()
        measure_outcomes(meter, draw_parameters(doubts, draws, 1), kept=4096)
        seconds.append(time.perf_counter() - began)
    print(
        f"{name}: {draws:,} draws of {len(doubts)} parameters, {len(meter.outcomes)} outcomes: "
        f"{statistics.median(seconds):.2f} s (slowest {max(seconds):.2f}), {peak() - before:.0f} MB more"
    )
    began = time.perf_counter()
    parameter_importance(meter, doubts, seed=1)
    print(f"{name}: Sobol indices with their bootstrap: {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    given = [*sys.argv[1:], *["listed", "131072"][len(sys.argv) - 1 :]]
    main(given[0], int(given[1]))
