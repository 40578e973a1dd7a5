"""Charts of returns: of names in each scenario, of `returns --json`; of accounts through time, of `backtest --json`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from allocator.reporting.charts import (
    NARROW,
    PERCENT,
    SERIES,
    Column,
    Line,
    Series,
    Spec,
    grid,
    largest,
    lines,
    month_ticks,
    stacked_bars,
)


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


_MOST_POINTS = 260
"""Of a line: more rows are drawn thinner, the last among them."""


def accounts_through_time(backtest: Mapping[str, Any], *, width: int) -> Spec | None:
    """What each policy's account has gained since the start."""
    days = [dt.date.fromisoformat(day) for day in backtest["dates"]]
    every = -(-len(days) // _MOST_POINTS)
    kept = [*reversed(range(len(days) - 1, -1, -every))]
    starts = {one["policy"]: one["start"] for one in backtest["policies"]}
    drawn = [
        Line(name, SERIES[i % len(SERIES)], [(float(days[t].toordinal()), values[t] / starts[name] - 1) for t in kept])
        for i, (name, values) in enumerate(backtest["values"].items())
    ]
    return lines(drawn, width, PERCENT, ticks=month_ticks(days[0], days[-1], 3 if width < NARROW else 7))


def drawdowns_through_time(backtest: Mapping[str, Any], *, width: int) -> Spec | None:
    """How far each policy's account is below its highest value so far."""
    fallen = dict[str, list[float]]()
    for one in backtest["policies"]:
        highest, fallen[one["policy"]] = one["start"], []
        for value in backtest["values"][one["policy"]]:
            highest = max(highest, value)
            fallen[one["policy"]].append(one["start"] * value / highest)
    return accounts_through_time({**backtest, "values": fallen}, width=width)
