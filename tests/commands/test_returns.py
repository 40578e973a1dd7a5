"""`allocator returns`: scenario by instrument, and the drivers of one instrument."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result

from allocator.outlook import efficiency_model
from allocator.outlook.efficiency_model import DRIVERS, Driver

if TYPE_CHECKING:
    from tests.conftest import Folder

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
PARTS = [*(driver.name for driver in DRIVERS), "required return and anchor"]


def test_people_see_every_name_in_every_scenario(root: Path, run: Run) -> None:
    answer = run("returns", root / "tests" / "plain_books" / "note")

    shown = answer.stdout
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert "The note's actors · 2026-11-20 · over 12 months" in shown
    for name in ("META", "OPENAI", "SPX_XAI", "ORBITAL", "APPS", "USD"):
        assert any(line.startswith(name) for line in shown.splitlines())
    assert "driver" not in shown


def test_people_see_where_a_return_comes_from(root: Path, run: Run) -> None:
    shown = run("returns", root / "tests" / "plain_books" / "note", "--drivers", "OPENAI").stdout

    assert "Where OPENAI's return comes from (the parts add up)" in shown
    for driver in (*PARTS, "return"):
        assert any(line.startswith(driver) for line in shown.splitlines())


def test_a_driver_of_ones_own_is_a_row_of_the_table(
    root: Path, run: Run, valid: Valid, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Driver("levy", column="owner", scale=lambda m, owner: 1 - 0.1 * owner * m.scenarios.replicability)
    before = valid(run("returns", root / "tests" / "plain_books" / "note", "--json").stdout, "returns")["instruments"]
    monkeypatch.setattr(efficiency_model, "DRIVERS", (*DRIVERS, own))

    shown = run("returns", root / "tests" / "plain_books" / "note", "--drivers", "META").stdout
    document = valid(
        run("returns", root / "tests" / "plain_books" / "note", "--drivers", "META", "--json").stdout, "returns"
    )

    assert any(line.startswith("levy") for line in shown.splitlines())
    assert [row for row in document["instruments"] if row["instrument"] == "META"] != [
        row for row in before if row["instrument"] == "META"
    ]
    (returns,) = [row["returns"] for row in document["instruments"] if row["instrument"] == "META"]
    for name, parts in document["drivers"]["scenarios"].items():
        assert parts["levy"] != 0
        assert sum(parts.values()) == pytest.approx(returns[name], abs=1e-12)


@pytest.mark.parametrize("book", ["note", "listed"])
def test_no_line_of_the_returns_is_longer_than_80_columns(root: Path, run: Run, book: str) -> None:
    lines = run("returns", root / "tests" / "plain_books" / book, "--drivers", "META").stdout.splitlines()

    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("book", ["note", "listed"])
def test_programs_get_returns_and_drivers_that_add_up(root: Path, run: Run, valid: Valid, book: str) -> None:
    document = valid(
        run("returns", root / "tests" / "plain_books" / book, "--drivers", "META", "--json").stdout, "returns"
    )

    p = document["scenarios"]
    assert sum(p.values()) == pytest.approx(1, abs=1e-12)
    for row in document["instruments"]:
        assert row["expected"] == pytest.approx(sum(p[name] * row["returns"][name] for name in p), abs=1e-12)
        assert row["origin"] == "model"
    own = {row["instrument"]: row["returns"] for row in document["instruments"]}["META"]
    assert document["drivers"]["instrument"] == "META"
    for name, parts in document["drivers"]["scenarios"].items():
        assert list(parts) == PARTS
        assert sum(parts.values()) == pytest.approx(own[name], abs=1e-12)


def test_returns_of_another_day_are_anchored_to_that_days_prices(root: Path, run: Run, valid: Valid) -> None:
    today, later = (
        valid(run("returns", root / "tests" / "plain_books" / "note", *day, "--json").stdout, "returns")
        for day in ((), ("--as-of", "2027-04-08"))
    )

    assert later["scenarios"] != today["scenarios"]
    assert later["instruments"][0]["returns"] != today["instruments"][0]["returns"]


def test_returns_of_ones_own_are_marked_and_have_no_drivers(listed: Folder, run: Run, valid: Valid) -> None:
    document = valid(run("returns", listed.path, "--json").stdout, "returns")
    answer = run("returns", listed.path, "--drivers", "NVDA")

    assert {row["origin"] for row in document["instruments"]} == {"table"}
    assert answer.exit_code == 3
    assert "its returns are your own, not the model's" in " ".join(answer.stderr.split())


def test_drivers_of_nobody_are_refused_with_the_nearest_name(root: Path, run: Run, valid: Valid) -> None:
    answer = run("returns", root / "tests" / "plain_books" / "note", "--drivers", "OPENIA", "--json")

    (breach,) = valid(answer.stdout, "error")["errors"]
    assert answer.exit_code == 3
    assert (breach["table"], breach["value"], breach["cure"]) == ("--drivers", "OPENIA", "did you mean 'OPENAI'?")


def test_drivers_of_cash_are_refused_as_of_cash(root: Path, run: Run, valid: Valid) -> None:
    answer = run("returns", root / "tests" / "plain_books" / "note", "--drivers", "USD", "--json")

    (breach,) = valid(answer.stdout, "error")["errors"]
    assert answer.exit_code == 3
    assert (breach["table"], breach["value"], breach["rule"]) == ("--drivers", "USD", "is cash and has no drivers")


def test_the_returns_examples_of_the_help_run_as_written(root: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [line.split()[1:] for line in run("returns", "--help").stdout.splitlines()
                if line.strip().startswith("allocator ")]  # fmt: skip
    monkeypatch.chdir(root)

    assert len(examples) == 2
    assert [run(*example).exit_code for example in examples] == [0, 0]
