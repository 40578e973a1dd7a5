"""The objectives of one decision through the command: words that fit, the same plan again, reasons of refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.agreement import SHARP

Run = Callable[..., Result]
OBJECTIVES = ("mixture_variance", "mean_cvar", "regret")
REVIEWED = (
    *("--set", "horizon.reviews=[2027-03-01]"),
    *("--set", "horizon.until=2027-11-20"),
    *("--set", "model.since=2026-04-08"),
)


def one_line(text: str) -> str:
    return " ".join(text.split())


def asked(objective: str, *settings: str) -> list[str]:
    return [part for one in (f"mandate.objective={objective}", *settings) for part in ("--set", one)]


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (
            "mixture_variance",
            "maximises the adverse expected return less 1.5 x variance within and between scenarios, over",
        ),
        (
            "mean_cvar",
            "largest over the set of 0.5 x expected loss + 0.5 x CVaR at 0.95 on 500 draws a scenario, over the prob",
        ),
        ("regret", "minimises the largest regret: what the best portfolio of each scenario would have earned more"),
    ],
)
def test_the_plan_says_what_it_minimises_and_that_its_figure_is_minus_that(
    objective: str, said: str, root: Path, run: Run
) -> None:
    answer = run("rebalance", root / "tests" / "plain_books" / "listed", *asked(objective), "--full")

    words = one_line(answer.stdout)
    assert answer.exit_code == 0
    assert said in words
    assert "Objective (risk-adjusted return): " in words
    assert "objective (risk-adjusted return) " in words
    assert "Risk-adjusted return: minus what is minimised." in words
    assert "certainty equivalent" not in words.lower()
    assert "re-optimised" not in words
    assert "held to the horizon" not in words
    assert "the orders keep all 38 rules" in words
    assert "the policy keeps them at 1 decision over 4 outcomes" in words
    assert "checked outside the solver" in words
    assert words.count("return in scenario") == 1


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_same_book_gives_the_same_plan_and_nobody_gains_by_lots(objective: str, root: Path, run: Run) -> None:
    first, second = (
        run("rebalance", root / "tests" / "plain_books" / "listed", *asked(objective), "--json").stdout
        for _ in range(2)
    )

    document = json.loads(first)
    assert first == second
    assert document["certificate"]["gap_bps"] <= SHARP * 1e4
    assert document["policy"]["certainty_equivalent_with_lots"] <= -document["certificate"]["objective"] + 1e-8
    assert document["policy"]["caution_schedule"][0]["cost_of_robustness_bps"] >= 0


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        ("mixture_variance", "is not time-consistent: the variance between scenarios has one mean for all"),
        ("return_minus_risk", "what is best at a review by it is not what it planned for that review"),
    ],
)
def test_with_reviews_what_cannot_be_nested_is_refused_with_its_reason(
    objective: str, reason: str, root: Path, run: Run
) -> None:
    answer = run("rebalance", root / "tests" / "plain_books" / "listed", *asked(objective), *REVIEWED)

    assert answer.exit_code == 3
    assert reason in one_line(answer.stderr)
    cure = "with reviews choose 'log' or 'crra' or 'return' or 'mean_cvar' or 'regret'"
    assert cure in one_line(answer.stderr)


def test_more_draws_than_memory_allows_are_refused_with_how_many_fit(root: Path, run: Run) -> None:
    answer = run("check", root / "tests" / "plain_books" / "listed", *asked("mean_cvar", "mandate.draws=3000000"))

    assert answer.exit_code == 3
    said = one_line(answer.stdout + answer.stderr)
    assert "do not fit into memory: 4 scenarios x 13 names leave room for 2,403,846 (1 GB)" in said
    assert "write draws = 2403846, or have fewer scenarios or names" in said


def test_regret_of_not_knowing_the_probabilities_is_refused_with_what_to_use_instead(root: Path, run: Run) -> None:
    answer = run("check", root / "tests" / "plain_books" / "listed", *asked("regret_ex_ante"))

    assert answer.exit_code == 3
    assert "use 'regret', or 'return_minus_risk' with a set of [robust]" in one_line(answer.stdout + answer.stderr)


@pytest.mark.parametrize(
    ("objective", "key"),
    [("regret", "cvar_level=0.9"), ("log", "draws=100"), ("mean_cvar", "risk_aversion=2.0"), ("log", "cvar_weight=1")],
)
def test_a_key_of_another_objective_is_refused(objective: str, key: str, root: Path, run: Run) -> None:
    answer = run("check", root / "tests" / "plain_books" / "listed", *asked(objective, f"mandate.{key}"))

    assert answer.exit_code == 3
    assert f"has no effect with objective = '{objective}'" in one_line(answer.stdout + answer.stderr)


def test_an_explanation_of_another_objective_than_the_stated_one_is_not_given(root: Path, run: Run) -> None:
    for objective in ("regret", "log"):
        answer = run("explain", root / "tests" / "plain_books" / "listed", *asked(objective))

        assert answer.exit_code == 3
        assert "is solved on the tree of decisions, and explanations are of one period" in one_line(answer.stderr)
