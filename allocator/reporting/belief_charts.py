"""Charts of what is believed: of `beliefs --json` and of the tree of `outlook --json`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from allocator.reporting.charts import (
    AFTER,
    BAND,
    BEFORE,
    MOST,
    NARROW,
    PERCENT,
    SERIES,
    Column,
    Line,
    Series,
    Spec,
    grid,
    grouped_bars,
    largest,
    lines,
    month_ticks,
    stacked_bars,
    tree_order,
)

_AHEAD = 3.0
"""Times the past that is drawn of the future, to show when silence settles it."""


def beliefs_through_time(beliefs: Mapping[str, Any], *, width: int) -> Spec | None:
    """Probability of each answer since the question was opened, with its signals, and when silence would settle it."""
    path = beliefs["path"]
    if len(path) < 2:
        return None
    days = [float(dt.date.fromisoformat(row["date"]).toordinal()) for row in path]
    drawn = [
        Line(name, _colour(i), [(day, row["hypotheses"][name]) for day, row in zip(days, path, strict=True)])
        for i, name in enumerate(beliefs["hypotheses"])
    ]
    told: dict[float, list[str]] = {}
    for signal in beliefs["signals"]:
        day = float(dt.date.fromisoformat(signal["date"]).toordinal())
        told.setdefault(day, []).append(_said(signal))
    down = {day: _first(words) for day, words in told.items() if days[0] <= day}
    end, silence = days[-1], beliefs["settled_by_silence"]
    if silence is not None and beliefs["settled"] is None:
        day = float(dt.date.fromisoformat(silence).toordinal())
        if day - days[-1] <= _AHEAD * (days[-1] - days[0]):
            end, down[day] = day, f"silence settles it {silence}"
    ticks = month_ticks(dt.date.fromordinal(int(days[0])), dt.date.fromordinal(int(end)), 3 if width < NARROW else 7)
    level = beliefs["threshold"]
    across = {level: f"settled from {PERCENT.text(level)}"}
    return lines(drawn, width, PERCENT, ticks=ticks, across=across, down=down, end=end, bounds=(0, 1))


def _colour(i: int) -> str:
    return SERIES[i % len(SERIES)]


def _said(signal: Mapping[str, Any]) -> str:
    return " ".join(filter(None, [signal["kind"], signal["source"] and f"by {signal['source']}"]))


def _first(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{words[0]} and {len(words) - 1} more"


def prior_market_and_belief(beliefs: Mapping[str, Any], *, width: int) -> Spec | None:
    """Prior, belief and the market's probability of each scenario."""
    rows = beliefs["scenarios"]
    kinds = (("prior", "prior", BAND), ("market", "market", BEFORE), ("belief", "belief", AFTER))
    series = [Series(name, colour, [row[key] for row in rows]) for key, name, colour in kinds]
    told = [one for one in series if any(value is not None for value in one.values)]
    return grouped_bars([row["scenario"] for row in rows], told, width, PERCENT) if rows else None


def beliefs_after_next_signals(beliefs: Mapping[str, Any], *, width: int) -> Spec | None:
    """What each answer's probability would be after each signal that may come next."""
    rows = [{"signal": "today", "hypotheses": beliefs["hypotheses"]}, *beliefs["next"]]
    if len(rows) < 2:
        return None
    columns = [Column(name, [row["hypotheses"][name] for row in rows]) for name in beliefs["hypotheses"]]
    return grid([row["signal"] for row in rows], columns, width, PERCENT.text)


def prices_by_node(outlook: Mapping[str, Any], *, width: int) -> Spec | None:
    """What prices are at each review, as changes from today, of the names that move most."""
    names, nodes, indents = _tree(outlook, width)
    if len(nodes) < 2:
        return None
    rows, indents, nodes = names[1:], indents[1:], nodes[1:]
    names = list(nodes[0]["prices"])
    first, _ = largest(names, [max(abs(node["prices"][name] - 1) for node in nodes) for name in names])
    shown = [names[i] for i in sorted(first[: MOST if width >= NARROW else 10])]
    columns = [Column(name, [node["prices"][name] - 1 for node in nodes]) for name in shown]
    text = (lambda value: f"{100 * value:+z.0f}".replace("-", "−")) if len(shown) > 6 else PERCENT.text
    return grid(rows, columns, width, text, indents=indents)


def beliefs_by_node(outlook: Mapping[str, Any], *, width: int) -> Spec | None:
    """Scenario probabilities today and at each node of the tree."""
    names, nodes, indents = _tree(outlook, width)
    if not nodes:
        return None
    parts = [Series(name, _colour(i), [node["beliefs"][name] for node in nodes])
             for i, name in enumerate(nodes[0]["beliefs"])]  # fmt: skip
    return stacked_bars(names, parts, width, PERCENT, indents=indents, whole=True)


def _tree(outlook: Mapping[str, Any], width: int) -> tuple[list[str], list[Mapping[str, Any]], list[float]]:
    """Names, nodes and where the names begin, in the order in which the tree is read."""
    order, depths = tree_order([node["parent"] for node in outlook["nodes"]])
    nodes = [outlook["nodes"][i] for i in order]
    return [node["node"] for node in nodes], nodes, [(8.0 if width < NARROW else 12.0) * depths[i] for i in order]
