"""What a risk officer sees of belief stress: the answer first, within 80 columns, and nothing dropped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from allocator.display.console import console
from allocator.display.stress_beliefs import belief_map_section, belief_sections
from allocator.display.stress_screen import ScreenSection, show_sections
from allocator.plan.rebalance import rebalance
from allocator.stress_testing.belief_map import belief_map
from allocator.stress_testing.belief_stress import belief_stress
from allocator.stress_testing.belief_sweep import FailedBelief
from tests.stress_testing.known_books import two_names

FAILED = FailedBelief({"open": 0.25, "closed": 0.75}, "NotSolved", "made to fail")


def show(*sections: ScreenSection) -> None:
    show_sections(console(), sections, full=True)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("lines")
def test_the_answer_comes_first_and_fits_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show(*belief_sections(belief_stress(rebalance(two_names()))))
    shown = capsys.readouterr().out.splitlines()

    assert "How wrong may P(generalizable) = 60.0% be?" in shown[1]
    assert shown[2] == "The plan stays within 10 bps of the optimum from 49.0% to 71.0%."
    assert shown[3].startswith("The nearest reversal of an order or tilt is at ")
    assert max(map(len, shown)) <= 80
    text = "\n".join(shown)
    assert "AAA is no longer sold" in text
    assert "Never, from 0 to 100%: BBB is no longer sold" in text
    assert "Interrupted" not in text


@pytest.mark.usefixtures("lines")
def test_failures_and_interruptions_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    stress = belief_stress(rebalance(two_names()))
    axis = replace(stress.axes[0], failed=(FAILED,) * 5)
    show(*belief_sections(replace(stress, axes=(axis,), interrupted=True, finished=7)))
    shown = capsys.readouterr().out

    assert "5 beliefs have no verified allocation" in shown
    assert "open 25.0%, closed 75.0%: made to fail" in shown
    assert "And 2 more" in shown
    assert f"Interrupted: 7 of {stress.asked} beliefs are finished" in shown


@pytest.mark.usefixtures("lines")
def test_what_is_not_verified_is_not_said_to_reverse_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    limits = {"open": {"weights": {"open": 1.0}, "max": 0.75}}
    made = two_names(robust={"set": "polytope", "limits": limits})
    show(*belief_sections(belief_stress(rebalance(made))))
    text = " ".join(capsys.readouterr().out.split())
    assert "Never, from 0 to 100%" not in text
    assert "Whether an order or a tilt reverses is not known everywhere" in text
    assert "Not known, as no allocation is verified there: " in text


def test_a_plan_that_is_far_from_the_optimum_is_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    stress = belief_stress(rebalance(two_names()))
    interval = stress.axes[0].interval
    assert interval is not None
    bad = replace(interval, low=None, high=None, shortfall_bps=25.0)
    show(*belief_sections(replace(stress, axes=(replace(stress.axes[0], interval=bad),))))

    assert "The plan is 25.0 bps from the optimum at today's probability, not within 10 bps" in capsys.readouterr().out


@pytest.mark.usefixtures("lines")
def test_a_map_says_where_the_account_would_lie_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    found = belief_map(rebalance(two_names()), steps=11)
    show(belief_map_section(replace(found, failed=(FAILED,), interrupted=True, finished=9)))
    shown = capsys.readouterr().out

    assert "P(open) = 60.0%" in shown
    assert "·: 1 points have no verified allocation; made to fail" in shown
    assert "Interrupted: 9 of 11 points" in shown
    assert max(map(len, shown.splitlines())) <= 80
