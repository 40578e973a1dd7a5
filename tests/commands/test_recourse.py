"""T10 through the command: at every node of the tree, the book that the node implies gives the node's decision.

A node's book differs from today's in four things only: its date, its signals, what is held and what it costs. All else
(mandate, model, the market's probabilities and their date, reviews, horizon) stays as it is written.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.implied_books import announced, decided, node_book, with_volumes
from tests.thoroughness import some

SETS = {
    "kl": (),
    "total_variation": ("robust.set='total_variation'",),
    "none": ("robust.set='none'",),
    "nested CVaR": ("mandate.objective='mean_cvar'", "mandate.draws=20", "mandate.cvar_level=0.8"),
    "crra": ("mandate.objective='crra'", "mandate.relative_risk_aversion=3.0"),
    "digested news": ("horizon.digestion_months=1",),
    "impact and volume": ("costs.impact=0.1", "mandate.max_participation=0.02"),  # binds at eight of eleven nodes
}


@pytest.mark.parametrize("case", SETS)
def test_solving_again_at_each_node_through_the_command_gives_the_announced_decision(
    root: Path, tmp_path: Path, case: str
) -> None:
    sample = tmp_path / "today"
    shutil.copytree(root / "tests" / "plain_books" / "reviewed", sample)
    if case == "impact and volume":
        with_volumes(sample)
    policy, states = announced(sample, SETS[case])
    assert len(states) == 11
    farthest = 0.0
    for node in some(range(len(states) - 1, -1, -1), 6):
        place = tmp_path / f"node-{node}"
        node_book(sample, place, policy, states[node], node)
        document = decided(place, states[node].day.isoformat(), SETS[case])
        target = np.array([row["weight_target"] for row in document["positions"]])
        there = np.append(policy.holdings[node], policy.cash[node]) / policy.wealth[node]
        farthest = max(farthest, float(np.abs(target - there).sum()))
        beliefs = np.array(list(document["policy"]["nodes"][0]["beliefs"].values()))
        np.testing.assert_allclose(beliefs, policy.staged.tree.beliefs[node], atol=1e-12)
        assert document["policy"]["caution_schedule"][0]["radius"] == pytest.approx(
            getattr(policy.staged.ambiguities[node], "radius", 0.0), abs=1e-8
        )
    assert farthest < 5e-4
