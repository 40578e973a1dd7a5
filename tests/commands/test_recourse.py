"""T10 through the command: at every node of the tree, the book that the node implies gives the node's decision.

A node's book differs from today's in four things only: its date, its signals, what is held and what it costs. Everything
else (mandate, model, the market's probabilities and their date, reviews, horizon) stays as it is written.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from allocator.__main__ import main
from allocator.book.folder import load
from allocator.mandate.reviewed import staged_of
from allocator.outlook.outlook import outlook_of
from allocator.outlook.reviews import State, staging_of
from allocator.program.compile import Start
from allocator.program.policy import Policy, policy_of

SETS = {
    "kl": (),
    "total_variation": ("robust.set='total_variation'",),
    "none": ("robust.set='none'",),
    "crra": ("mandate.objective='crra'", "mandate.relative_risk_aversion=3.0"),
    "impact and volume": ("costs.impact=0.1", "mandate.max_participation=0.5"),
}


def announced(place: Path, overrides: tuple[str, ...]) -> tuple[Policy, tuple[State, ...]]:
    book = load(place, overrides=overrides)
    outlook = outlook_of(book)
    policy = policy_of(staged_of(book, outlook), Start(book.weights, book.cash / book.value))
    return policy, staging_of(book, outlook).states


def node_book(root: Path, place: Path, policy: Policy, state: State, node: int) -> None:
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
            new = {"date": signal.date.isoformat(), "kind": signal.kind, "source": signal.lab, "since": since}
            writer.writerow(new)


def decided(place: Path, day: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    arguments = ["rebalance", str(place), "--as-of", day, "--json"]
    for override in overrides:
        arguments += ["--set", override]
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == 0, answer.output
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


@pytest.mark.parametrize("case", SETS)
def test_solving_again_at_each_node_through_the_command_gives_the_announced_decision(
    root: Path, tmp_path: Path, case: str
) -> None:
    sample = tmp_path / "today"
    shutil.copytree(root / "data" / "reviewed", sample)
    if case == "impact and volume":
        with_volumes(sample)
    policy, states = announced(sample, SETS[case])
    assert len(states) == 11
    farthest = 0.0
    for node in range(len(states)):
        place = tmp_path / f"node-{node}"
        node_book(sample, place, policy, states[node], node)
        document = decided(place, states[node].day.isoformat(), SETS[case])
        target = np.array([row["target"] for row in document["positions"]])
        there = np.append(policy.holdings[node], policy.cash[node]) / policy.wealth[node]
        farthest = max(farthest, float(np.abs(target - there).sum()))
        beliefs = np.array(list(document["policy"][0]["beliefs"].values()))
        np.testing.assert_allclose(beliefs, policy.staged.tree.beliefs[node], atol=1e-12)
        assert document["release"][0]["radius"] == pytest.approx(
            getattr(policy.staged.ambiguities[node], "radius", 0.0), abs=1e-8
        )
    assert farthest < 5e-4


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
