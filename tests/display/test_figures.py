"""Figures as people read them: nothing has no sign, a loss below 0 is a gain, and what is shown is explained."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from allocator.display.console import (
    describe_columns,
    format_measurement,
    format_money,
    format_percent,
    format_signed,
    format_signed_bps,
    format_signed_percent,
    table,
    text_console,
)
from allocator.display.explanation import _contributions, show_explanation
from allocator.display.outlook import format_figure
from allocator.display.plan import _objective_change, describe_proof, order_cells, orders_table, plan_text
from allocator.display.plan_details import show_plan_details
from allocator.display.stress_screen import LEGEND, ScreenSection, legend_block, show_sections, table_block
from allocator.display.stress_shocks import replay_section
from allocator.plan.explanation import Explanation, explain, explain_name
from allocator.plan.output import orders_csv
from allocator.plan.plan import Plan
from allocator.presentation import plain_amount
from allocator.rules import RuleMeasurement, format_limit
from allocator.rules.returns import StressFloor
from allocator.stress_testing.replay import replay_history
from tests.stress_testing.sample_plans import planned

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planned("listed")


@pytest.fixture(scope="module")
def found(plan: Plan) -> Explanation:
    return explain(plan)


def lines(out: Console) -> list[str]:
    return out.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (format_percent, "0.0%"), (format_money, "0"), (format_signed, "0.0"), (format_signed_bps, "0.0"),
        (format_signed_percent, "0.0%"), (format_limit, "0%"), (format_figure, "0"), (plain_amount, "0.00"),
    ],
)  # fmt: skip
def test_nothing_has_no_sign(shown: Callable[[float], str], expected: str) -> None:
    assert shown(-0.0) == shown(0.0) == expected


@pytest.mark.parametrize(
    ("shown", "value", "expected"),
    [
        (format_percent, -0.00049, "0.0%"), (format_percent, -0.0006, "-0.1%"), (format_signed, -0.04, "0.0"),
        (format_signed, 0.04, "0.0"), (format_signed, -1234.56, "-1,234.6"), (format_signed_bps, -4e-6, "0.0"),
        (format_signed_bps, 5e-5, "+0.5"), (format_signed_percent, -0.0004, "0.0%"), (format_money, -0.004, "-0.004"),
        (format_money, 0.001, "0.001"), (format_money, 3.456, "3.46"), (format_money, -12.3, "-12"),
        (format_money, 12345.6, "12,346"), (plain_amount, 0.00012345, "0.000123"), (plain_amount, 1234.5, "1234.50"),
    ],
)  # fmt: skip
def test_what_rounds_to_nothing_has_no_sign_and_small_amounts_are_not_nothing(
    shown: Callable[[float], str], value: float, expected: str
) -> None:
    assert shown(value) == expected


@pytest.mark.parametrize("unit", ["%", "", " x"])
def test_a_rule_that_measures_nothing_measures_no_negative_nothing(unit: str) -> None:
    reading = RuleMeasurement("x at most 0", -0.0, 0.0, at_most=True, unit=unit)

    assert not format_measurement(reading).startswith("-")
    assert "-0" not in format_limit(-0.0, unit)


def test_every_figure_of_screens_and_labels_is_written_without_negative_zero() -> None:
    """`z` in a format is what takes the sign from a zero."""
    paths = [*(ROOT / "allocator" / "display").glob("*.py"), ROOT / "allocator" / "rules" / "rows.py"]
    signed = {f"{path.name}:{spec}" for path in paths for spec in figures(path) if "z" not in spec}

    assert signed == {"rows.py:+.0f", "multistage.py:+.0f"}  # the identity of a rule; trades that are not nothing


def figures(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
            parts = node.format_spec.values  # type: ignore[attr-defined]
            spec = "".join(part.value if isinstance(part, ast.Constant) else "0" for part in parts)
            if spec[-1] in "feg%":
                yield spec


def test_no_page_shows_a_negative_zero() -> None:
    negative = re.compile(r"(?<![\w.,])[-−]0(?:\.0*)?(?![\d.,]*[1-9])(?=[\s%,;])")

    assert negative.findall("lose -0.00 bps, at most −0%, -0.05 and -0.10%") == ["-0.00", "−0"]
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert negative.findall(page.read_text(encoding="utf-8")) == [], page


def test_a_loss_below_nothing_is_a_gain() -> None:
    rule = StressFloor("glut", np.array([0.1]), 0.25)
    (gain,), (loss,) = rule._measured(-0.0481), rule._measured(0.0481)

    assert (format_measurement(gain, 2), format_measurement(loss, 2)) == ("gain of 4.81%", "4.81%")
    assert format_measurement(rule._measured(-1e-9)[0]) == "0.0%"


def test_the_worst_window_of_a_history_that_only_rises_is_no_loss(plan: Plan) -> None:
    days = pd.bdate_range(end="2026-11-20", periods=300)
    rising = np.exp(np.linspace(0, 0.5, 300))[:, None] * np.ones(len(plan.book.instruments))
    prices = pd.DataFrame(rising, columns=list(plan.book.instruments), index=days)
    found = replay_history(replace(plan, book=replace(plan.book, price_history=prices)))
    out = text_console(80)
    show_sections(out, [replay_section(found)], full=True)
    text = " ".join(lines(out))

    assert all(window.loss < 0 for window in found.windows)
    assert all(f"{-window.loss:+.1%}" in text for window in found.windows)
    assert " loss " not in text


def test_the_proof_of_no_rule_and_of_one_is_said_so(plan: Plan) -> None:
    def said(rules: int, *, orders: bool) -> str:
        proved = replace(plan, certificate=replace(plan.certificate, rules=rules), orders=plan.orders if orders else ())
        return describe_proof(proved)[0]

    lost, most = f"{plan.rounding_bps:.2f}", f"{math.ceil(plan.lots_gap_bps * 100) / 100:.2f}"
    told = f"Proof: the orders lose {lost} bps to rounding, at most {most} from the best lots; the targets"
    assert said(0, orders=True).startswith(told)
    assert said(0, orders=False).startswith("Proof: there is no rule to keep; the targets")
    assert said(1, orders=True).startswith("Proof: the orders keep the one rule and lose")
    assert said(1, orders=False).startswith("Proof: today's holdings keep the one rule; the targets")
    assert said(38, orders=True).startswith("Proof: the orders keep all 38 rules and lose")


def test_a_plan_that_loses_nothing_to_rounding_loses_no_negative_nothing(plan: Plan) -> None:
    assert "lose 0.00 bps to rounding" in describe_proof(replace(plan, rounding_bps=-0.0))[0]


def test_weights_before_stay_where_quantities_are_wide(plan: Plan) -> None:
    wide = [replace(order, quantity=123456.123456789012 + i) for i, order in enumerate(plan.orders)]
    named = [replace(order, instrument=order.instrument.ljust(32, "x")) for order in wide]
    out = text_console(80)
    out.print(orders_table(out, replace(plan, orders=tuple(named)), 12))
    head, first, *_ = lines(out)

    assert head.split() == ["side", "instrument", "quantity", "USD", "before", "after"]
    assert "123,456.1…" in first
    assert first.split()[-2:] == list(order_cells(plan.orders[0])[-2:])
    out = text_console(120)
    out.print(orders_table(out, replace(plan, orders=tuple(named)), 12))
    assert order_cells(wide[0])[2] in lines(out)[1]  # every digit where there is room


def test_whole_quantities_are_never_cut(plan: Plan) -> None:
    wide = [replace(order, quantity=123456789012.0, instrument="x" * 40) for order in plan.orders[:1]]
    out = text_console(60)
    out.print(orders_table(out, replace(plan, orders=tuple(wide)), 12))

    assert "…" not in " ".join(lines(out))


def test_columns_are_explained_where_they_stand() -> None:
    made = table("instrument", "risk", right=("risk",))

    assert describe_columns(made, {"risk": "Risk: r.", "adverse": "Adverse: a."}) == "Risk: r."
    assert describe_columns(made, {"adverse": "Adverse: a."}) == ""


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_legend_explains_a_column_for_which_there_is_no_room(plan: Plan, found: Explanation, width: int) -> None:
    out = text_console(width)
    for part in _contributions(out, found, None):
        out.print(part)
    text = " ".join(lines(out))
    assert ("Risk:" in text) == (re.search(r"\brisk\b", text) is not None)

    out = text_console(width)
    show_plan_details(out, plan)
    whole = " ".join(" ".join(lines(out)).split())
    reasons = whole[whole.index("Why each order") : whole.index("Figures over")]
    head = reasons.partition("sell")[0].split()
    for column in ("return", "robustness", "risk", "rules", "funding", "other"):
        assert (f"{column.capitalize()}:" in reasons) == (column in head), column
    weights = whole[whole.index("Every weight") : whole.index("Stability")]
    for column in ("expected", "adverse"):
        assert (f"{column.capitalize()}:" in weights) == (f" {column} " in weights.partition("META")[0]), column


@pytest.mark.parametrize("width", [30, 80])
def test_the_adverse_column_of_scenarios_has_its_legend_only_where_it_stands(
    plan: Plan, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allocator.display.plan._WIDTH", width)
    text = plan_text(plan)

    head = next(line for line in text.splitlines() if line.startswith("return in")) if width == 80 else ""
    assert ("Adverse: the probabilities" in " ".join(text.split())) == ("adverse" in head)


def test_a_legend_makes_room_with_its_table() -> None:
    made = table_block(("name",), [(f"row {i}",) for i in range(60)], "more rows", LEGEND - 1, numbers=(), whole=True)
    legend = legend_block(made, "Name: what it is called.")
    out = text_console(80)
    show_sections(out, [ScreenSection("Title", (made, legend))], full=False)

    assert "Name:" not in " ".join(lines(out))
    out = text_console(80)
    show_sections(out, [ScreenSection("Title", (made, legend))], full=True)
    assert "Name:" in " ".join(lines(out))


def test_a_names_page_gives_each_expectation_beside_its_own_words(
    plan: Plan, found: Explanation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    one = explain_name(plan, "NVDA")
    show_explanation(found, one)
    shown = {" ".join(line.split()[:-1]): line.split()[-1] for line in capsys.readouterr().out.splitlines() if line}

    assert shown["expected under the belief"] == f"{plan.outlook.probabilities @ one.returns:.1%}"
    assert shown["expected under adverse probabilities"] == f"{plan.adversary @ one.returns:.1%}"
    rule = max(one.rules, key=lambda rule: abs(rule.takes))
    assert shown["limit measured"] == "brings"
    assert shown[f"{rule.reading.label} {rule.reading.measured:.2%}"] == f"{-rule.takes * 100:+.2f}"


def test_one_belief_is_not_called_many(plan: Plan) -> None:
    """Of one scenario there is one belief: only costs vary, and where they do not either nothing is sampled."""
    alone = replace(plan, outlook=replace(plan.outlook, scenarios=plan.outlook.scenarios[:1]))
    settled = replace(alone.decision, lowest_bps=1.0, median_bps=1.0, highest_bps=1.0)

    assert "under adverse probabilities): " in _objective_change(plan)
    assert "over sampled inputs" in _objective_change(plan)
    assert "(certainty equivalent): " in _objective_change(alone)
    assert "over sampled costs" in _objective_change(alone)
    assert _objective_change(replace(alone, decision=settled)).endswith("bps after costs.")


def test_orders_of_less_than_a_cent_are_written_with_their_value(plan: Plan) -> None:
    tiny = replace(plan.orders[0], value=0.001, cost=0.0000123)
    _, row = orders_csv(replace(plan, orders=(tiny,)), "0" * 64).splitlines()

    assert row.split(",")[-4:-2] == ["0.001", "0.0000123"]
    assert order_cells(tiny)[3] == "0.001"
