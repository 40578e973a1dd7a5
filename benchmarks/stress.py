"""The belief map of 66 x 66 beliefs, N = 100: `python benchmarks/stress.py`. Target: 15 s in one process.

Long-only, budget, 10 group bounds, caps, turnover, total variation over 4 scenarios, 10 statistical factors. What one
re-solve takes beside the bare solver is a row of `bench.py`.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # per core; helper threads would count as processor time
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from questions import settings, tables

COUNT = 100


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
    the_map()
