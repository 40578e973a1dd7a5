"""`allocator check`: a book in order, and which limits its holdings breach today."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result

if TYPE_CHECKING:
    from tests.conftest import Folder

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]


def test_a_book_in_order_says_what_it_is(listed: Folder, run: Run) -> None:
    answer = run("check", listed.path)

    shown = " ".join(answer.stdout.split())
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert "Listed AI names · account main · 2026-11-20 · 1,460,000 USD" in shown
    assert "13 instruments and cash" in shown
    assert "generalizable_jevons 30.0%" in shown
    assert "all tables in order" in shown
    assert "risk: beta and idiosyncratic volatility of exposures.csv, market volatility 18.0% a year" in shown
    assert "Today's holdings keep 30 of 36 rules" in shown
    assert "NVDA at most 12% 18.87%" in shown


def test_no_line_of_a_check_is_longer_than_80_columns(listed: Folder, run: Run) -> None:
    assert max(map(len, run("check", listed.path).stdout.splitlines())) <= 80


def test_the_document_lists_every_rule_measured_today(listed: Folder, run: Run, valid: Valid) -> None:
    answer = run("check", listed.path, "--json")

    document = valid(answer.stdout, "check")
    rules = {rule["rule"]: rule for rule in document["rules"]}
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert document["book"] == {
        "name": "Listed AI names", "account": "main", "as_of": "2026-11-20", "currency": "USD", "value": 1_460_000,
    }  # fmt: skip
    assert sum(document["scenarios"].values()) == 1
    assert len(rules) == 36
    assert sum(not rule["holds_today"] for rule in rules.values()) == 6
    assert rules["NVDA at most 12%"] == {
        "rule": "NVDA at most 12%", "measured_today": round(1450 * 190 / 1_460_000, 8), "limit": 0.12,
        "kind": "at most", "holds_today": False,
    }  # fmt: skip
    assert rules["cash at least 2%"]["kind"] == "at least"
    assert rules["cash at least 2%"]["holds_today"]


def test_a_book_that_keeps_every_rule_is_told_so(listed: Folder, run: Run) -> None:
    wide = ["mandate.max_weight=1", "mandate.max_issuer_weight=1", "mandate.buckets.capital_intensity.max=1",
            "mandate.buckets.efficiency.min=0", "mandate.groups.chips.max=1",
            "mandate.groups.committed_capacity.max=1"]  # fmt: skip

    answer = run("check", listed.path, *[part for item in wide for part in ("--set", item)])

    assert "Today's holdings keep 6 of 6 rules" in answer.stdout
    assert "broken" not in answer.stdout


def test_a_what_if_is_checked_like_the_book(listed: Folder, run: Run) -> None:
    document = json.loads(run("check", listed.path, "--json", "--set", "mandate.max_weight=0.2").stdout)

    assert {rule["rule"] for rule in document["rules"]} >= {"NVDA at most 20%"}
    assert all(rule["holds_today"] for rule in document["rules"] if rule["rule"] == "NVDA at most 20%")


def test_a_wrong_date_is_wrong_usage(listed: Folder, run: Run) -> None:
    answer = run("check", listed.path, "--as-of", "20.11.2026")

    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "does not match the format '%Y-%m-%d'" in answer.stderr


def test_a_book_that_is_not_there_is_refused(listed: Folder, run: Run, valid: Valid) -> None:
    answer = run("check", listed.path.parent / "listd", "--json")

    document = valid(answer.stdout, "error")
    assert answer.exit_code == 3
    assert document["errors"][0]["cure"] == "did you mean 'listed'?"


@pytest.mark.parametrize("command", ["check", "rebalance", "beliefs"])
def test_a_card_that_cannot_be_read_is_refused(note: Folder, run: Run, valid: Valid, command: str) -> None:
    note.replace("scenarios.md", "## generalizable_jevons", "### generalizable_jevons")

    answer = run(command, note.path, "--json")

    (breach,) = valid(answer.stdout, "error")["errors"]
    assert answer.exit_code == 3
    assert (breach["table"], breach["row"], breach["rule"]) == ("scenarios.md", 3, "is no heading of a card")


@pytest.mark.parametrize("command", ["check", "rebalance", "beliefs"])
def test_breaches_of_tables_and_cards_are_told_at_once(note: Folder, run: Run, valid: Valid, command: str) -> None:
    note.cell("exposures.csv", "META", "owner", "")
    note.replace("scenarios.md", "## proprietary_jevons", "## propietary_jevons")

    answer = run(command, note.path, "--json")

    found = valid(answer.stdout, "error")["errors"]
    assert answer.exit_code == 3
    assert [breach["table"] for breach in found] == ["exposures.csv", "scenarios.md"]


def test_cards_of_a_book_whose_settings_cannot_be_read_are_not_judged(note: Folder, run: Run, valid: Valid) -> None:
    note.replace("book.toml", "max_weight = 0.18", "max_wieght = 0.18")
    note.replace("scenarios.md", "## proprietary_jevons", "## propietary_jevons")

    found = valid(run("check", note.path, "--json").stdout, "error")["errors"]

    assert {breach["table"] for breach in found} == {"book.toml"}


def test_a_book_without_cards_is_in_order(note: Folder, run: Run) -> None:
    (note.path / "scenarios.md").unlink()

    assert run("check", note.path).exit_code == 0


def test_a_history_with_a_hole_is_refused_with_the_rule_that_helps(listed: Folder, run: Run, valid: Valid) -> None:
    names = [row[0] for row in listed.rows("exposures.csv")[1:-1]]
    days = [f"2026-{month:02d}-{day:02d}" for month in (10, 11) for day in range(1, 29) if (month, day) <= (11, 20)]
    rows = [[day, *(f"{100 + (i * (3 + k)) % 7 + i % 2}" for k in range(len(names)))] for i, day in enumerate(days)]
    rows[-3][6] = ""
    listed.write("prices.csv", [["date", *names], *rows])
    options = ["--set", "risk.source=prices", "--set", "risk.window_rows=30", "--set", "risk.periods_per_year=365"]
    listed.price_at(dict.fromkeys(names, 103.0))

    answer = run("check", listed.path, "--json", *options)
    dropped = run("check", listed.path, "--json", *options, "--set", "risk.blanks=drop_rows")

    (breach,) = valid(answer.stdout, "error")["errors"]
    assert answer.exit_code == 3
    assert (breach["table"], breach["column"]) == ("prices.csv", "NVDA")
    assert breach["rule"] == "is blank on 2026-11-18"
    assert 'risk.blanks = "drop_rows"' in breach["cure"]
    assert "1 rows with blanks left out" in valid(dropped.stdout, "check")["risk_source"]


def test_a_broken_rule_is_measured_in_its_own_unit(listed: Folder, run: Run) -> None:
    answer = run("check", listed.path, "--set", "mandate.exposures.beta.max=1.0")

    line = next(line for line in answer.stdout.splitlines() if "exposure beta at most 1" in line)
    assert line.split()[-1] == "1.181"
