"""Wide tables are read as one block: its errors are those of each column read alone, and so are its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.errors import Breach
from allocator.tables import validate
from allocator.tables.files import RawTable

FAULTS: tuple[Any, ...] = (
    "0",
    "-1",
    "2e9",
    "1e999",
    "abc",
    "1,234.5",
    "=A1",
    "1_000",
    "٣",
    " 7",
    "nan",
    "inf",
    "",
    "1.250",
)


def raw(frame: pd.DataFrame) -> RawTable:
    """A table as a file would give it."""
    return RawTable("prices.csv", frame, tuple(range(2, len(frame) + 2)))


def spoiled(seed: int, *, values: bool) -> pd.DataFrame:
    """Prices of 12 names, some cells of which are no prices."""
    draw = np.random.default_rng(seed)
    prices = pd.DataFrame(draw.uniform(1, 100, (6, 12)), columns=[f"N{i}" for i in range(12)])
    dates = [f"2026-11-{day:02d}" for day in range(1, 7)]
    if not values:
        prices = prices.map(lambda price: f"{price:.2f}").astype(object)
    for _ in range(int(draw.integers(0, 6))):
        row, column = int(draw.integers(6)), int(draw.integers(12))
        odd = (0.0, -1.0, 2e9, np.inf, np.nan) if values else FAULTS
        prices.iloc[row, column] = odd[int(draw.integers(len(odd)))]
    prices.insert(0, "date", dates)
    return prices


@pytest.mark.parametrize("values", [False, True], ids=["texts", "values"])
def test_a_block_has_the_errors_and_numbers_of_its_columns(values: bool) -> None:
    refused = 0
    for seed in range(12):
        frame = spoiled(seed, values=values)
        typed, breaches = validate("prices", raw(frame))
        alone: list[Breach] = []
        for name in frame.columns[1:]:
            one, own = validate("prices", raw(frame[["date", name]]))
            alone += own
            if not own:
                np.testing.assert_array_equal(typed[name], one[name])
        refused += bool(breaches)

        assert list(typed.columns) == list(frame.columns)
        assert {str(breach) for breach in breaches} == {str(breach) for breach in alone}, seed
    assert refused > 4


def test_a_decimal_comma_anywhere_makes_grouped_points_ambiguous_everywhere() -> None:
    frame = pd.DataFrame({"date": ["2026-11-01", "2026-11-02"], "A": ["8,80", "9,10"], "B": ["1.250", "1.300"]})
    _, breaches = validate("prices", raw(frame))

    assert {(breach.column, breach.row) for breach in breaches} == {("A", 2), ("A", 3), ("B", 2), ("B", 3)}
    assert all("can be read in two ways" in breach.rule for breach in breaches if breach.column == "B")
