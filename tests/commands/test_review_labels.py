"""Nested CVaR and regret at the leaves through the commands: called what they are, and nothing claimed beyond."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result

from allocator.book.loading import load
from allocator.outlook.outlook import build_outlook
from tests.agreement import OBJECTIVE

if TYPE_CHECKING:
    from allocator.plan.plan import Plan

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
pytestmark = [pytest.mark.usefixtures("plans_made_once"), pytest.mark.xdist_group("plans of the reviewed book")]
CVAR = ("--set", "mandate.objective=mean_cvar", "--set", "mandate.draws=10")
REGRET = ("--set", "mandate.objective=regret")


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def sample(root: Path) -> Path:
    return root / "tests" / "plain_books" / "reviewed"


def test_cvar_with_reviews_is_called_nested(sample: Path, run: Run) -> None:
    answer = run("rebalance", sample, *CVAR, "--full")
    words = one_line(answer.stdout)

    assert answer.exit_code == 0
    assert "Objective (risk-adjusted return): " in words
    assert "risk-adjusted return, re-optimised at reviews " in words
    assert "Risk-adjusted return: minus what is minimised." in words
    assert (
        "minimises nested CVaR: at every node the largest over the set of 0.5 x expected loss + 0.5 x CVaR at 0.95 "
        "of what is ahead, at the end on 10 draws a scenario, over the probabilities of the set 'kl' at every node."
    ) in words
    assert "the policy keeps them at 11 decisions over 24 outcomes" in words
    assert "time-consistent" not in words


def todays_radius(sample: Path) -> float:
    """2 x (caution x (1 - probability of the likelier answer))^2, of relative entropy."""
    generalizable = build_outlook(load(sample)).probabilities[:2].sum()
    return float(2 * (0.5 * min(generalizable, 1 - generalizable)) ** 2)


def test_regret_with_reviews_is_labelled_not_time_consistent_and_shows_one_radius(sample: Path, run: Run) -> None:
    answer = run("rebalance", sample, *REGRET, "--full")
    words = one_line(answer.stdout)

    assert answer.exit_code == 0
    assert "Regret at the leaves: not time-consistent: solved again at a review it may decide otherwise" in words
    assert "minimises the largest regret at the leaves" in words
    assert "the set 'kl' over all paths and scenarios at once" in words
    assert "node by node" not in words
    rows = [line.split() for line in answer.stdout.partition("The policy, review by review")[2].splitlines()]
    radii = [row[3] for row in rows if row and row[0] in ("now", "silent", "claimed", "verified", "refuted")]
    assert radii[0] == f"{todays_radius(sample):.3f}"
    assert not any("." in radius for radius in radii[1:])


@pytest.mark.parametrize(
    ("settings", "objective"),
    [
        (CVAR, {"kind": "mean_cvar", "label": "nested CVaR", "time_consistent": True}),
        (
            REGRET,
            {"kind": "regret", "label": "regret at the leaves: not time-consistent", "time_consistent": False},
        ),
        ((), {"kind": "log", "label": "log utility", "time_consistent": True}),
    ],
    ids=["cvar", "regret", "log"],
)
def test_the_document_says_what_is_minimised_and_whether_a_review_keeps_to_it(
    settings: tuple[str, ...],
    objective: dict[str, Any],
    sample: Path,
    run: Run,
    valid: Valid,
    plans_made_once: dict[bytes, Plan],
) -> None:
    first = run("rebalance", sample, *settings, "--json").stdout
    if objective["kind"] != "regret":  # the slowest: that its plan is the same is in tests of the tree
        plans_made_once.clear()
    second = run("rebalance", sample, *settings, "--json").stdout
    document = valid(first, "plan")

    assert first == second
    assert document["objective"] == objective
    assert document["certificate"]["gap_bps"] <= OBJECTIVE * 1e4
    radii = [node["radius"] for node in document["policy"]["caution_schedule"]]
    assert all(radius is None for radius in radii[1:]) == (objective["kind"] == "regret")
    assert radii[0] == pytest.approx(todays_radius(sample), abs=1e-8)


def test_one_decision_is_called_what_it_was(root: Path, run: Run) -> None:
    for objective, label in (("mean_cvar", "mean and CVaR"), ("regret", "regret")):
        answer = run(
            "rebalance", root / "tests" / "plain_books" / "listed", "--set", f"mandate.objective={objective}", "--json"
        )

        assert json.loads(answer.stdout)["objective"] == {
            "kind": objective,
            "label": label,
            "time_consistent": True,
        }


def test_nothing_follows_a_plan_by_regret_nor_does_such_a_plan_follow(sample: Path, run: Run, tmp_path: Path) -> None:
    by_regret, by_log = tmp_path / "regret", tmp_path / "log"
    assert run("rebalance", sample, *REGRET, "--out", by_regret).exit_code == 0
    assert run("rebalance", sample, "--out", by_log).exit_code == 0

    for settings, plan in ((REGRET, by_log), ((), by_regret), (REGRET, by_regret)):
        answer = run("rebalance", sample, *settings, "--follow", plan / "plan.json")
        assert answer.exit_code == 3
        assert "regret at the leaves is not time-consistent" in one_line(answer.stderr)


def test_what_waiting_is_worth_is_told_of_nested_cvar_and_refused_of_regret(sample: Path, run: Run) -> None:
    told = run("waiting", sample, *CVAR, "--share", "0.6", "--json")
    refused = run("waiting", sample, *REGRET)

    (found,) = json.loads(told.stdout)["waiting"]
    assert found["recourse_bps"] >= 0
    assert found["perfect_information_bps"] >= found["vss_root_bps"] >= 0
    assert found["cost_of_robustness_bps"] >= 0
    assert found["protection_bps"] >= 0
    assert refused.exit_code == 3
    assert "mandate.objective is not time-consistent at the leaves" in one_line(refused.stderr)


def test_draws_that_do_not_fit_count_the_ways_to_the_end(sample: Path, run: Run) -> None:
    answer = run("check", sample, *CVAR[:2], "--set", "mandate.draws=900000")

    assert answer.exit_code == 3
    said = one_line(answer.stdout + answer.stderr)
    assert "x 6 ways to come there leave room for" in said
    assert "or have fewer scenarios, reviews or names" in said
