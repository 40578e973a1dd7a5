"""What the reasons of a plan add to a rebalance: the sample books, and 100 random names. Target: at most 20 %.

`python benchmarks/reasons.py` prints medians of 5 after the first, in one process; read the ratios.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from questions import settings, tables

from allocator.book.book import Book, from_frames
from allocator.book.loading import load
from allocator.plan.attribution import attribute_gain
from allocator.plan.rebalance import rebalance

REPEATS = 5


def measure(name: str, book: Book) -> None:
    """One row."""
    planning, giving = [], []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        plan = rebalance(book)
        planned = time.perf_counter()
        attribute_gain(plan)
        planning.append(planned - began)
        giving.append(time.perf_counter() - planned)
    plan_, give = (statistics.median(times[1:]) for times in (planning, giving))
    print(f"{name:>12} rebalance {plan_:7.3f} s, reasons {give:7.4f} s, {give / plan_:6.1%} more", flush=True)


def main() -> None:
    """The sample books, then a random one."""
    warnings.simplefilter("ignore")
    root = Path(__file__).resolve().parents[1] / "data"
    for name in ("listed", "note"):
        measure(name, load(root / name))
    rng = np.random.default_rng(7)
    measure("100 names", from_frames(settings(100, rng), tables(100, rng)))


if __name__ == "__main__":
    main()
