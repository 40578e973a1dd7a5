"""The parts of expected return on the screens and in the documents that say one: they add up."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from allocator.__main__ import main
from allocator.book.loading import load
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import no_trade
from allocator.outlook.outlook import PARTS, build_outlook
from allocator.plan.document import plan_document
from allocator.plan.explanation import explain, explain_name, explanation_document
from allocator.plan.plan import Plan, portfolio_figures
from allocator.plan.rebalance import rebalance
from tests.command_line import runner

TWO_LABS = Path(__file__).parents[1] / "outlook" / "two_labs"
THREE = PARTS[:3]


@cache
def planned() -> Plan:
    return rebalance(load(TWO_LABS))


def test_the_parts_of_each_portfolio_and_its_costs_are_its_expected_return() -> None:
    plan = planned()
    for figures in (plan.before, plan.targeted, plan.after):
        parts = [getattr(figures, name) for name in THREE]
        assert figures.not_anchored is None
        assert sum(parts) - figures.costs == pytest.approx(figures.expected_return, abs=1e-12)
    for figures in plan_document(plan)["figures"].values():
        total = sum(figures[name] for name in THREE) - figures["costs"]
        assert total == pytest.approx(figures["expected_return"], abs=3e-8)  # of four rounded numbers


def test_an_explanation_parts_what_each_position_and_one_name_are_expected_to_return() -> None:
    found = explain(planned())
    document = explanation_document(found, explain_name(planned(), "GPU"))
    for row in document["positions"]:
        parts = row["expected_return_parts"]
        assert set(parts) == ({"required"} if row["instrument"] == "USD" else set(THREE))
        assert sum(parts.values()) == pytest.approx(row["expected_return"], abs=1e-10)
    one = document["instrument"]
    assert one is not None
    outlook = planned().outlook
    believed = sum(p * one["returns"][name] for name, p in zip(outlook.scenarios, outlook.probabilities, strict=True))
    assert sum(one["expected_return_parts"].values()) == pytest.approx(believed, abs=1e-12)


SAID = r"required -?[\d.]+%, disagreement -?[\d.]+%, undigested news -?[\d.]+%\."


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["rebalance"], f"Expected before costs: {SAID}"),
        (
            ["rebalance", "--full"],
            r"expected: required( -?[\d.]+%){3} expected: disagreement( -?[\d.]+%){3} expected: undigested",
        ),
        (["explain"], f"Expected before costs: {SAID}"),
        (["explain", "GPU"], f"Expected: {SAID}"),
        (["returns"], r"instrument required disagreement undigested news expected .* GPU 11\.0% 0\.8% 1\.3% 13\.0%"),
    ],
)
def test_each_screen_that_shows_an_expected_return_says_its_parts(command: list[str], told: str) -> None:
    name, *more = command
    answer = runner().invoke(main, [name, str(TWO_LABS), *more])
    assert answer.exit_code == 0, answer.output
    if command == ["rebalance"]:
        assert len(answer.stdout.splitlines()) <= 45
    assert re.search(told, " ".join(answer.stdout.split())), answer.stdout


def test_a_portfolio_without_a_market_has_no_disagreement_and_no_news(tmp_path: Path) -> None:
    for file in TWO_LABS.iterdir():
        text = file.read_text(encoding="utf-8")
        if file.name == "book.toml":
            start, end = text.index("[market]"), text.index("[horizon]")
            text = text[:start] + text[end:]
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    book = load(tmp_path)
    outlook = build_outlook(book)
    figures = portfolio_figures(book, outlook, build_mandate(book, outlook), no_trade(book))
    assert (figures.disagreement, figures.undigested_news) == (None, None)
    assert figures.required is not None
    assert figures.not_anchored is not None
    assert figures.required + figures.not_anchored == pytest.approx(figures.expected_return, abs=1e-12)
