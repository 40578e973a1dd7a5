"""Hold a wide price table of 1500 days × 500 names to its contract: as text from a CSV, and as numbers from pandas.

python benchmarks/contracts.py
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import pandas as pd

from allocator.tables import validate
from allocator.tables.files import RawTable

DAYS, NAMES, REPEATS = 1500, 500, 5


def measure(what: str, frame: pd.DataFrame) -> None:
    """Print the median of a few runs."""
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        _, breaches = validate("prices", RawTable("prices.csv", frame, tuple(range(2, len(frame) + 2))))
        seconds.append(time.perf_counter() - began)
        assert not breaches
    print(f"{what:8} {statistics.median(seconds):6.2f} s  (min {min(seconds):.2f}, max {max(seconds):.2f})")


if __name__ == "__main__":
    prices = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, (DAYS, NAMES)), axis=0))
    numbers = pd.DataFrame(prices, columns=[f"I{i}" for i in range(NAMES)])
    numbers.insert(0, "date", [f"{day:%Y-%m-%d}" for day in pd.bdate_range("2020-01-01", periods=DAYS)])
    measure("text", numbers.map(str))
    measure("numbers", numbers)
