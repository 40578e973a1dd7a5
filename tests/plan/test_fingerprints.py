"""What a plan says of the tables that it was made from: equal where nothing was changed, also of large ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from allocator.plan.follow import input_fingerprints
from tests import books


@pytest.mark.parametrize("count", [20, 120])
def test_a_number_or_a_name_that_was_changed_changes_the_fingerprint_of_its_table(count: int) -> None:
    names = [f"N{i}" for i in range(count)]
    table = pd.DataFrame(np.random.default_rng(1).uniform(0, 0.1, (count, count)), index=names, columns=names)
    book = books.book()

    def told(other: pd.DataFrame) -> str:
        return input_fingerprints(replace(book, covariance=other))["covariance.csv"]

    assert told(table) == told(table.copy())
    changed = table.copy()
    changed.iloc[3, 4] += 1e-9
    others = [changed, table.rename(index={"N3": "N03"}), table.rename(columns={"N3": "N03"})]
    assert told(table) not in {told(other) for other in others}
