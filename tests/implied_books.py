"""The book that a node of a tree implies, as a folder: its date, signals, holdings and prices, and nothing else."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

from allocator.__main__ import main
from allocator.book.loading import load
from allocator.multistage.mandate import build_multistage_mandate
from allocator.multistage.policy import Policy
from allocator.multistage.solve import solve_policy
from allocator.outlook.outlook import build_outlook
from allocator.outlook.scenario_tree import NodeEvidence, build_review_tree
from allocator.rules.rows import Position
from tests.command_line import runner


def announced(place: Path, overrides: tuple[str, ...]) -> tuple[Policy, tuple[NodeEvidence, ...]]:
    book = load(place, overrides=overrides)
    outlook = build_outlook(book)
    policy = solve_policy(build_multistage_mandate(book, outlook), Position(book.weights, book.cash / book.value))
    return policy, build_review_tree(book, outlook).states


def node_book(root: Path, place: Path, policy: Policy, state: NodeEvidence, node: int) -> None:
    """The folder that the node implies."""
    shutil.copytree(root, place)
    today = load(root)
    growth, _ = policy.staged.tree.since_now()
    prices = today.prices * growth[node]
    quantities = policy.before[node] * today.value / prices
    cash = (policy.wealth_before[node] - policy.before[node].sum()) * today.value
    with (root / "holdings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    at = {name: i for i, name in enumerate(today.instruments)}
    for row in rows:
        if row["instrument"] == today.cash_instrument:
            row["quantity"] = repr(float(cash))
        else:
            i = at[row["instrument"]]
            row["quantity"], row["price"] = repr(float(quantities[i])), repr(float(prices[i]))
    with (place / "holdings.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    with (place / "signals.csv").open(newline="") as file:
        kept = list(csv.DictReader(file))
    columns = ["date", "kind", "source", "since", "price_fall", "usage_growth", "note"]
    seen = [signal for signal in state.signals if signal.date > today.settings.book.as_of]
    with (place / "signals.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(kept)
        for signal in seen:
            since = "" if signal.since is None else signal.since.isoformat()
            new = {"date": signal.date.isoformat(), "kind": signal.kind, "source": signal.source, "since": since}
            writer.writerow(new)


def decided(place: Path, day: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    arguments = ["rebalance", str(place), "--as-of", day, "--json"]
    for override in overrides:
        arguments += ["--set", override]
    answer = runner().invoke(main, arguments)
    assert answer.exit_code == 0, answer.output
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def with_volumes(place: Path) -> None:
    """A daily volume for everyone, so that impact and participation have something to count."""
    with (place / "exposures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["average_daily_volume"] = "" if row["bucket"] == "cash" else "2000000"
    with (place / "exposures.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
