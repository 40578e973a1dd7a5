"""How the studies look: the answer at a glance, at 80 columns and at 60, and never a line that is too wide."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from allocator.book.checks.stress import ParameterKey
from allocator.display.console import console
from allocator.display.stress import show_stress
from allocator.display.stress_model import model_sections, reverse_section
from allocator.display.stress_screen import ScreenSection, show_sections
from allocator.display.stress_shocks import replay_section, shock_sections
from allocator.mandate.mandate import no_trade
from allocator.outlook.outlook import build_outlook
from allocator.plan.rebalance import rebalance
from allocator.rules import Trade
from allocator.stress_testing.parameter_stress import model_stress
from allocator.stress_testing.replay import replay_history
from allocator.stress_testing.reverse import reverse_stress
from allocator.stress_testing.shock_effects import shock_stress
from allocator.stress_testing.stress import stress
from tests.books import book
from tests.stress_testing.sample_plans import planned, sample, staged

WIDTHS = ("80", "60")


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", request.param)
    return int(request.param)


def show(*sections: ScreenSection) -> None:
    show_sections(console(), sections, full=True)


def printed(capsys: pytest.CaptureFixture[str], width: int) -> str:
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    return " ".join(text.split())


def test_reverse_stress_says_what_would_have_to_happen(capsys: pytest.CaptureFixture[str], width: int) -> None:
    plan = planned("listed")
    found = reverse_stress(plan)
    show(reverse_section(found))
    text = printed(capsys, width)

    for name, figures, one in zip(("Current", "Proposed"), (plan.before, plan.after), found.portfolios, strict=True):
        returns = f"expected return {figures.expected_return:.1%}, worst scenario {figures.worst_scenario_return:.1%}"
        assert f"{name} portfolio: {returns}." in text
        assert [root for root in one.roots if root.value is not None] == []
        worst = max(one.roots, key=lambda root: root.largest_loss)
        assert f"the worst is {worst.key.label}, expected return {-worst.largest_loss:.1%}" in text
    assert "No single parameter has an expected loss of 10.0% at any allowed value (35 tried, one at a time)" in text
    for shift in (shift for one in found.portfolios for shift in one.shifts if shift.equivalent_z_score is not None):
        assert f"{shift.equivalent_z_score:.2f}" in text
        assert shift.rating in text
        assert shift.market in (None, 0) or f"market {shift.market:.1%}" in text
        if width == 80:
            assert f"{shift.equivalent_z_score:.2f} {shift.plausibility:.2f}" in text


def test_a_loss_out_of_a_normal_market_s_reach_is_said(capsys: pytest.CaptureFixture[str], width: int) -> None:
    show(reverse_section(reverse_stress(planned("listed"), loss=0.8)))

    assert re.search(r"normal model of markets would take [A-Z, ]*CRWV[A-Z, ]* below -100%", printed(capsys, width))


def test_a_parameter_that_loses_it_stands_with_its_value(capsys: pytest.CaptureFixture[str], width: int) -> None:
    found = reverse_stress(staged())
    show(reverse_section(found))
    text = printed(capsys, width)

    lost = [root for one in found.portfolios for root in one.roots if root.value is not None]
    assert {root.key.name for root in lost} >= {"multiple_compression", "capacity"}
    assert {root.rating for root in lost} == {"extreme", "no range stated"}
    for root in lost:
        row = f"{root.key.label} {root.base_value:g} {root.value:.4g}"
        assert (f"{row} {root.rating}" if width == 80 else row) in text
    assert "No other single parameter has an expected loss of 10.0%" in text


def test_a_plan_that_holds_is_not_told_twice(capsys: pytest.CaptureFixture[str], width: int) -> None:
    plan = planned("listed")
    show(reverse_section(reverse_stress(replace(plan, final=planned_hold()))))
    text = printed(capsys, width)

    assert "Current portfolio:" not in text
    assert "The plan makes no trade: the current portfolio is the proposed one." in text


def planned_hold() -> Trade:
    return no_trade(sample("listed"))


def test_replay_shows_the_worst_window_of_each_length(capsys: pytest.CaptureFixture[str], width: int) -> None:
    plan = planned("listed")
    draw = np.random.default_rng(0).normal(0, 0.02, (300, len(plan.book.instruments)))
    days = pd.bdate_range(end="2026-11-20", periods=300)
    prices = pd.DataFrame(np.exp(draw.cumsum(axis=0)), columns=list(plan.book.instruments), index=days)
    traded = replace(plan.book, price_history=prices)
    found = replay_history(replace(plan, book=traded))
    show(replay_section(found))
    text = printed(capsys, width)

    for window in found.windows:
        assert f"{window.rows} {window.portfolio} {-window.loss:+.1%} {window.start}" in text
    show(replay_section(replay_history(plan)))
    assert "Replay: not available, as this book has no price history; add prices.csv." in printed(capsys, width)


def test_model_stress_shows_which_parameter_matters(capsys: pytest.CaptureFixture[str], width: int) -> None:
    plan = planned("listed")
    found = model_stress(plan, 20, redo=4)
    show(*model_sections(found))
    text = printed(capsys, width)

    assert "Model stress: 32 draws of 25 parameters" in text
    assert "20 rounded up to a power of two" in text
    assert "usage_elasticity (generalizable_jevons)" in text
    assert "announcement_share 0.00" in text
    assert "changes the returns of the day of news only" in text
    assert "Target weights at 4 draws" in text
    assert "failed" not in text


def test_failures_interruptions_and_what_is_not_reoptimised_are_shown(
    capsys: pytest.CaptureFixture[str], width: int
) -> None:
    plan = staged()
    found = model_stress(plan, 16)
    redone = replace(found.redone, failed=dict.fromkeys(range(7), "no verified solution"))
    show(*model_sections(replace(found, interrupted=True, values=found.values[:9], redone=redone, importance=None)))
    text = printed(capsys, width)

    assert "Interrupted: 9 of 16 draws were finished." in text
    assert "7 draws failed" in text
    assert "And 2 more; --json has each with its parameters." in text
    assert "The plan is not re-optimised at the draws: with objective = 'log'" in text
    assert "Which parameters matter is not available: a draw failed, or the run was interrupted." in text


def test_parameters_are_called_what_people_call_them() -> None:
    assert ParameterKey("model", "token_reduction").label == "token_reduction"
    key = ParameterKey("scenarios", "usage_elasticity", "a.b")
    assert (key.label, str(key)) == ("usage_elasticity (a.b)", 'scenarios."a.b".usage_elasticity')


def test_what_is_not_in_the_table_of_shocks_is_said(capsys: pytest.CaptureFixture[str], width: int) -> None:
    """Refused shocks, news without [market], lock-ups that are over, names worth nothing: each in a sentence."""
    made = book({"shocks": {"crash": {"instruments": {"AAA": -1.0}}, "late": {"delay_months": 6.0}}},
                exposures_columns={"tradable_from": [pd.Timestamp("2026-01-01"), pd.NaT, pd.NaT, pd.NaT]})  # fmt: skip
    found = shock_stress(rebalance(made), ("crash", "late"))
    show(*shock_sections(replace(found, refused={"proof_by_all": "robust.limits leaves it out"}), made))
    text = printed(capsys, width)
    assert "Not computed: proof by all: robust.limits leaves it out." in text
    assert "late: no lock-up is left to be extended." in text
    assert "What a shock makes worthless cannot be traded after it: AAA." in text
    assert "Without [market]" not in text


def test_shocks_that_were_all_cut_short_are_not_said_to_be_none(capsys: pytest.CaptureFixture[str], width: int) -> None:
    plan = planned("note")
    found = replace(shock_stress(plan, ("rates_up",)), effects=(), asked=27)
    show(*shock_sections(found, plan.book))
    text = printed(capsys, width)
    assert "has no shocks" not in text
    assert "Interrupted: 0 of 27 shocks are done" in text


def test_an_interval_that_is_not_verified_is_not_known(capsys: pytest.CaptureFixture[str], width: int) -> None:
    plan = planned("note")
    whole = stress(plan.book, plan=plan, parts=("reverse", "beliefs"))
    assert whole.beliefs is not None
    (axis,) = whole.beliefs.axes
    show_stress(replace(whole, beliefs=replace(whole.beliefs, axes=(replace(axis, interval=None),))))
    text = printed(capsys, width)
    generalizable = build_outlook(plan.book).probabilities[:2].sum()
    assert f"How wrong P(generalizable), now {generalizable:.1%}, may be is not known" in text
    assert axis.interval is not None
    cut = replace(axis, interval=replace(axis.interval, high=0.9, cut_short=True))
    show_stress(replace(whole, beliefs=replace(whole.beliefs, axes=(cut,))))
    assert "(beyond, nothing is verified)." in printed(capsys, width)


def test_without_market_news_is_said_to_move_no_price_at_once(capsys: pytest.CaptureFixture[str], width: int) -> None:
    silent = {"all_silent_12_months": {"silent_months": 12.0}}
    plan = planned("note")
    found = shock_stress(plan, tuple(silent))
    show(*shock_sections(found, plan.book))
    assert "Without [market]" not in printed(capsys, width)
    horizon = plan.book.settings.horizon.model_copy(update={"announcement_share": None})
    settings = plan.book.settings.model_copy(update={"horizon": horizon})
    show(*shock_sections(found, replace(plan.book, settings=settings)))
    assert "Without horizon.announcement_share news changes no price at once" in printed(capsys, width)
    settings = plan.book.settings.model_copy(update={"market": None})
    show(*shock_sections(found, replace(plan.book, settings=settings)))
    assert "Without [market] news changes no price at once: its whole effect comes by the horizon." in printed(
        capsys, width
    )
