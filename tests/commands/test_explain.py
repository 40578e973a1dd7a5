"""`allocator explain`: reasons that add up, one name's page, and an unknown name asked back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import Result

import allocator
from allocator.plan.attribution import MOTIVES
from allocator.plan.explanation import Explanation, explain_name
from tests.many_names import write_many_names

if TYPE_CHECKING:
    from tests.conftest import Folder

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
pytestmark = pytest.mark.usefixtures("plans_made_once")


@pytest.fixture(scope="module")
def found(root: Path) -> Explanation:
    return allocator.explain(allocator.load(root / "tests" / "plain_books" / "note"))


def test_an_explanation_says_why_what_and_how_wrong(listed: Folder, run: Run) -> None:
    answer = run("explain", listed.path)

    assert (answer.exit_code, answer.stderr) == (0, "")
    for said in (
        "Listed AI names · account main · 2026-11-20",
        "Why each order",
        "sell  NVDA",
        "rounding",
        "What the targets consist of",
        "How wrong may we be",
        "under the belief the orders are expected to return",
        "Break-even P(generalizable), today",
    ):
        assert said in " ".join(answer.stdout.split()) or said in answer.stdout


@pytest.mark.parametrize("name", ["note", "listed"])
def test_lines_and_columns_of_the_document_add_up(name: str, root: Path, run: Run, valid: Valid) -> None:
    document = valid(run("explain", root / "tests" / "plain_books" / name, "--json").stdout, "explain")
    reasons = document["attribution"]
    lines = [*reasons["orders"], reasons["others"], reasons["cash"]]

    for motive in (*MOTIVES, "sum"):
        assert sum(line[motive] for line in lines) == pytest.approx(reasons["targets"][motive], abs=1e-4)
    for line in (*lines, reasons["targets"]):
        assert sum(line[motive] for motive in MOTIVES) == pytest.approx(line["sum"], abs=1e-5)
    assert reasons["targets"]["funding"] == pytest.approx(0, abs=1e-5)
    assert reasons["total"] == pytest.approx(reasons["targets"]["sum"] + reasons["lots"], abs=1e-5)
    assert document["instrument"] is None


def test_risk_is_what_rebalance_has_and_three_of_its_figures_are_on_the_screen(root: Path, run: Run) -> None:
    path = root / "tests" / "plain_books" / "note"
    plan = json.loads(run("rebalance", path, "--json").stdout)["risk"]
    explained, stressed = (json.loads(run(*asked, path, "--json").stdout)["risk"] for asked in (
        ("explain",), ("stress", "--replay", "--shock", "rates_up"),
    ))  # fmt: skip
    after, (tail,) = plan["after"], [row for row in plan["after"]["tails"] if (row["days"], row["level"]) == (10, 0.99)]
    held = next(row for row in after["positions"] if row["instrument"] == "GOOGL")
    screen, page, full = (
        " ".join(run("explain", path, *asked).stdout.split()) for asked in ((), ("GOOGL",), ("--full",))
    )

    assert plan == explained == stressed
    assert f"Risk: volatility {after['volatility']:.1%} (today " in screen
    assert f"VaR 99% over 10 days {tail['value_at_risk']:.1%} (" in screen
    assert f"effective names {after['effective_names']:.1f} (" in screen
    assert f"it is {held['volatility']:.1%} of volatility {after['volatility']:.1%}, " in page
    assert f"VaR 99%, 10 days {plan['before']['tails'][3]['value_at_risk']:.1%}" in full


@pytest.mark.parametrize("asked", [(), ("NVDA",), ("GOOGL",)])
def test_an_explanation_fits_forty_five_lines(asked: tuple[str, ...], root: Path, run: Run) -> None:
    assert len(run("explain", root / "data" / "listed", *asked).stdout.splitlines()) <= 45


def test_the_plan_gives_the_same_reasons(root: Path, run: Run, valid: Valid) -> None:
    plan = json.loads(run("rebalance", root / "tests" / "plain_books" / "listed", "--json").stdout)
    explained = valid(run("explain", root / "tests" / "plain_books" / "listed", "--json").stdout, "explain")

    assert plan["attribution"] == explained["attribution"]
    ordered = [row["instrument"] for row in plan["orders"]]
    assert [line["instrument"] for line in plan["attribution"]["orders"]] == ordered
    assert plan["attribution"]["lots"] == pytest.approx(-plan["rounding_bps"], abs=1e-4)


def test_a_rebalance_has_a_line_of_why_for_each_order(root: Path, run: Run) -> None:
    answer = run("rebalance", root / "tests" / "plain_books" / "listed", "--full")
    plan = json.loads(run("rebalance", root / "tests" / "plain_books" / "listed", "--json").stdout)
    why = answer.stdout.split("Why each order")[1].split("Return: under")[0]

    for line in plan["attribution"]["orders"]:
        (row,) = [row.split() for row in why.splitlines() if line["instrument"] in row.split()]
        assert row[0] in ("buy", "sell")
        assert float(row[-1]) == pytest.approx(line["sum"], abs=0.051)
        assert float(row[2]) == pytest.approx(line["expected_return"], abs=0.051)
    (cash,) = [row.split() for row in why.splitlines() if row.split()[:1] == ["USD"]]
    assert float(cash[-1]) == pytest.approx(plan["attribution"]["cash"]["sum"], abs=0.051)


@pytest.mark.parametrize("arguments", [("note",), ("note", "GOOGL"), ("note", "OPENAI"), ("note", "USD"), ("listed",)])
def test_nothing_is_wider_than_eighty_columns(arguments: tuple[str, ...], root: Path, run: Run) -> None:
    answer = run("explain", root / "tests" / "plain_books" / arguments[0], *arguments[1:])

    assert answer.exit_code == 0
    assert max(map(len, answer.stdout.splitlines())) <= 80


@pytest.mark.parametrize("width", ["50", "70", "80", "120"])
def test_every_number_of_the_reasons_stands_whole_on_any_terminal(
    width: str, root: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    shown = run("explain", root / "tests" / "plain_books" / "note").stdout
    document = json.loads(run("explain", root / "tests" / "plain_books" / "note", "--json").stdout)

    for line in document["attribution"]["orders"]:
        (row,) = [
            row.split()
            for row in shown.splitlines()
            if row.split()[:1] in (["buy"], ["sell"]) and row.split()[1] == line["instrument"]
        ]
        numbers = list(map(float, row[2:]))
        assert len(numbers) == {"50": 1, "70": 5}.get(width, 7)
        assert len(numbers) == 1 or sum(numbers[:-1]) == pytest.approx(numbers[-1], abs=0.35)
        assert numbers[-1] == pytest.approx(line["sum"], abs=0.051)


def test_a_name_has_a_page_of_its_own(root: Path, run: Run, valid: Valid) -> None:
    shown = run("explain", root / "tests" / "plain_books" / "note", "OPENAI").stdout
    document = valid(run("explain", root / "tests" / "plain_books" / "note", "OPENAI", "--json").stdout, "explain")
    one = document["instrument"]
    (position,) = [row for row in document["positions"] if row["instrument"] == "OPENAI"]

    assert (
        f"To be held it would have to return {position['break_even_excess_return']:.1f} bps more, in every scenario."
        in " ".join(shown.split())
    )
    assert "OPENAI: sell 9,000; 12.2% of the account today, 0.0% proposed." in shown
    for name, drivers in one["drivers"].items():
        assert sum(drivers.values()) == pytest.approx(one["returns"][name])
    for letter, name in zip("ABCD", one["returns"], strict=True):
        assert f"\n{letter}  {name} " in shown
    assert "turnover at most 40% (sales)" in [rule["rule"] for rule in one["rules"]]
    assert "GOOGL at most 18%" not in [rule["rule"] for rule in one["rules"]]
    rules = sum(rule["takes"] for rule in one["rules"])
    assert -rules == pytest.approx(position["marginal_value"]["rules"], abs=1e-4)


def test_returns_that_are_typed_in_have_no_drivers(listed: Folder, run: Run, valid: Valid) -> None:
    document = valid(run("explain", listed.path, "NVDA", "--json").stdout, "explain")

    assert document["instrument"]["drivers"] is None
    shown = run("explain", listed.path, "NVDA").stdout
    assert "driver" not in shown
    assert "\ngeneralizable_jevons " in shown  # a letter names a scenario for the drivers alone


def test_an_unknown_name_is_asked_back_before_anything_is_solved(
    listed: Folder, run: Run, valid: Valid, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("allocator.plan.rebalance.rebalance", fail)
    answer = run("explain", listed.path, "NVDIA")
    document = valid(run("explain", listed.path, "NVDIA", "--json").stdout, "error")

    assert (answer.exit_code, answer.stdout) == (3, "")
    assert "did you mean 'NVDA'?" in " ".join(answer.stderr.split())
    assert document["errors"][0]["value"] == "NVDIA"


def test_a_book_is_explained_as_its_plan_is(found: Explanation) -> None:
    again = allocator.explain(found.plan)

    assert (again.reasons.parts == found.reasons.parts).all()
    assert again.plan is found.plan


def test_the_flip_along_the_hypothesis_is_where_both_are_worth_the_same(found: Explanation) -> None:
    assert found.hypothesis is not None
    sections, p = found.plan.book.settings.scenarios, found.plan.outlook.probabilities
    true = np.array([sections[name].hypothesis == "generalizable" for name in found.plan.outlook.scenarios])
    today, then = (np.array(figures.scenario_returns) for figures in (found.plan.before, found.plan.after))

    assert found.hypothesis.probability == pytest.approx(p[true].sum())
    assert found.hypothesis.by_return is not None
    moved = np.where(true, p / p[true].sum() * found.hypothesis.by_return, p / p[~true].sum())
    moved = np.where(true, moved, moved * (1 - found.hypothesis.by_return))
    assert moved @ today == pytest.approx(moved @ then, abs=1e-12)


def test_the_least_shifts_just_turn_the_expected_return(found: Explanation) -> None:
    today, then = (np.array(figures.scenario_returns) for figures in (found.plan.before, found.plan.after))

    assert found.ahead == pytest.approx(found.plan.after.expected_return - found.plan.before.expected_return)
    assert set(found.shifts) == {"total_variation", "kl", "chi2"}
    for shift in found.shifts.values():
        assert shift is not None
        assert shift.distance > 0
        assert shift.q @ (then - today) == pytest.approx(0, abs=1e-9)


def test_every_name_and_cash_have_a_page(found: Explanation) -> None:
    for name in (*found.plan.book.instruments, found.plan.book.cash_instrument):
        page = explain_name(found.plan, name)
        assert page.instrument == name
        assert len(page.returns) == len(found.plan.outlook.scenarios)


def test_nothing_to_trade_is_explained_too(listed: Folder, run: Run) -> None:
    plan = json.loads(run("rebalance", listed.path, "--json").stdout)
    for row in plan["positions"]:
        listed.cell("holdings.csv", row["instrument"], "quantity", repr(row["quantity_after"]))

    answer = run("explain", listed.path, "--set", "mandate.max_turnover=0")

    assert answer.exit_code == 0, answer.stderr
    assert "No trade: today's holdings are the plan." in answer.stdout


def test_where_a_name_is_not_worth_trading_is_shown_as_the_plan_has_it(root: Path, run: Run) -> None:
    shown = run("explain", root / "tests" / "plain_books" / "listed", "--full").stdout
    plan = json.loads(run("rebalance", root / "tests" / "plain_books" / "listed", "--json").stdout)
    table = shown.partition("No-trade regions, all else at the targets")[2]
    orders = {order["instrument"]: order["side"] for order in plan["orders"]}

    rows = {row.split()[0]: row.split() for row in table.splitlines()[3:] if row.strip()}
    for position in plan["positions"][:-1]:
        name, low, high = position["instrument"], position["no_trade_from"], position["no_trade_to"]
        _, today, start, end, *words = rows[name]
        assert (start, end) == (f"{low:.1%}", f"{high:.1%}")
        standing = (
            "too little"
            if position["weight_before"] < low
            else "too much"
            if position["weight_before"] > high
            else "right"
        )
        assert " ".join(words) == standing
        assert today == f"{position['weight_before']:.1%}"
        # what stands right is left alone but for what rounding leaves over, and what does not is traded towards it
        moved = abs(position["weight_after"] - position["weight_before"])
        told = orders.get(name) if standing != "right" or moved > 0.002 else None
        assert told == {"too little": "buy", "too much": "sell", "right": None}[standing]
    page = " ".join(run("explain", root / "tests" / "plain_books" / "listed", "MSFT").stdout.split())
    region = f"from {rows['MSFT'][2]} to {rows['MSFT'][3]} of the account"
    assert f"No-trade region, all else at the targets: {region}; today it is right." in page


# The first screen, and what --full adds.
#


@pytest.mark.parametrize(
    "arguments",
    [
        ("tests/plain_books/listed",),
        ("tests/plain_books/note",),
        ("tests/typed",),
        ("tests/plain_books/note", "OPENAI"),
        ("tests/plain_books/note", "USD"),
    ],
)
def test_each_explanation_has_45_lines_of_80_columns_at_most(
    arguments: tuple[str, ...], root: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = run("explain", root / arguments[0], *arguments[1:]).stdout.splitlines()
    monkeypatch.setenv("COLUMNS", "60")
    narrow = [
        line
        for more in ((), ("--full",))
        for line in run("explain", root / arguments[0], *arguments[1:], *more).stdout.splitlines()
    ]

    assert 20 < len(lines) <= 45
    assert [line for line in lines if len(line) > 80] == []
    assert [line for line in narrow if len(line) > 60] == []


def test_of_84_names_the_largest_are_explained_and_the_others_as_sums(tmp_path: Path, run: Run) -> None:
    write_many_names(tmp_path / "many")
    shown = run("explain", tmp_path / "many").stdout
    full = run("explain", tmp_path / "many", "--full").stdout
    document = json.loads(run("explain", tmp_path / "many", "--json").stdout)
    reasons = document["attribution"]

    assert len(shown.splitlines()) <= 45
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    table = shown.partition("Why each order")[2].partition("\n\n")[0].splitlines()
    rows = [line.split() for line in table if line.startswith(("sell", "buy", "and"))]
    assert len(rows) < len(reasons["orders"])
    assert rows[-1][1:3] == [str(len(reasons["orders"]) - len(rows) + 1), "more"]
    named = {row[1] for row in rows[:-1]}
    others = [line for line in reasons["orders"] if line["instrument"] not in named]
    assert float(rows[-1][-1]) == pytest.approx(sum(line["sum"] for line in others), abs=0.051)
    parts = shown.partition("What the targets consist of")[2].partition("Expected, adverse:")[0].splitlines()
    (rest,) = [line.split() for line in parts if line.startswith("and ")]
    listed = {line.split()[0] for line in parts[2:] if line.strip()}
    held = [row for row in document["positions"] if row["instrument"] not in listed]
    assert float(rest[3][:-1]) == pytest.approx(100 * sum(row["weight_target"] for row in held), abs=0.051)
    whole = full.partition("Why each order")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[1] for line in whole if line.startswith(("sell", "buy"))] == [
        line["instrument"] for line in reasons["orders"]
    ]
    regions = full.partition("No-trade regions, all else at the targets")[2]
    assert "more" not in full.partition("What the targets consist of")[2].partition("Expected, adverse:")[0]
    assert sum(f"N{i:02} " in regions for i in range(84)) > 60


def test_the_break_even_sentences_agree_with_the_document(root: Path, run: Run) -> None:
    said = " ".join(run("explain", root / "tests" / "plain_books" / "listed").stdout.split())
    found = json.loads(run("explain", root / "tests" / "plain_books" / "listed", "--json").stdout)["break_even"]

    assert found["ahead_bps"] < 0
    assert f"the orders are expected to return {-found['ahead_bps']:.1f} bps less than today's holdings" in said
    assert f"if {found['shifts']['total_variation']['distance']:.1%} of probability moved to " in said
    flip = found["hypothesis"]
    assert (
        f"today {flip['probability']:.1%}: by expected return at {flip['by_return']:.1%}; by the objective at "
        f"{flip['by_objective']:.1%}."
    ) in said
