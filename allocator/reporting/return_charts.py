"""Charts of scenario returns, name by name: of `returns --json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allocator.reporting.charts import PERCENT, SERIES, Column, Series, Spec, grid, largest, stacked_bars


def returns_by_scenario(returns: Mapping[str, Any], *, width: int) -> Spec | None:
    """Return of each name in each scenario and what is expected of it, the names that differ most first."""
    rows = returns["instruments"]
    if not rows or not returns["scenarios"]:
        return None
    sizes = [max(row["returns"].values()) - min(row["returns"].values()) for row in rows]
    shown, _ = largest([row["instrument"] for row in rows], sizes)
    kept = [rows[i] for i in shown]
    columns = [Column(name, [row["returns"][name] for row in kept]) for name in returns["scenarios"]]
    columns.append(Column("expected", [row["expected"] for row in kept]))
    return grid([row["instrument"] for row in kept], columns, width, PERCENT.text)


def drivers_of_expected_return(returns: Mapping[str, Any], *, width: int) -> Spec | None:
    """What of each name's expected return is required, disagreement with the market, and undigested news."""
    rows = [row for row in returns["instruments"] if row["parts"]]
    if not rows:
        return None
    shown, _ = largest([row["instrument"] for row in rows], [row["expected"] for row in rows])
    kept = [rows[i] for i in shown]
    keys = list(dict.fromkeys(key for row in kept for key in row["parts"]))
    parts = [
        Series(key.replace("_", " "), SERIES[i % len(SERIES)], [row["parts"].get(key) for row in kept])
        for i, key in enumerate(keys)
    ]
    return stacked_bars([row["instrument"] for row in kept], parts, width, PERCENT)
