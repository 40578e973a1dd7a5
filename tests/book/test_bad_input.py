"""Bad input through the command line: exit 3 (or 4), file, row, column and cure on stderr, and nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result

if TYPE_CHECKING:
    from tests.conftest import Folder

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]


def unknown_instrument(book: Folder) -> None:
    rows = book.rows("holdings.csv")
    rows[6][1] = "NVDIA"
    book.write("holdings.csv", rows)


def duplicate_instrument(book: Folder) -> None:
    rows = book.rows("holdings.csv")
    book.write("holdings.csv", [*rows, rows[6]])


def cell(file: str, instrument: str, column: str, value: str) -> Callable[[Folder], None]:
    def spoil(book: Folder) -> None:
        book.cell(file, instrument, column, value)

    return spoil


def text(old: str, new: str) -> Callable[[Folder], None]:
    def spoil(book: Folder) -> None:
        book.replace("book.toml", old, new)

    return spoil


def without(file: str, instrument: str) -> Callable[[Folder], None]:
    def spoil(book: Folder) -> None:
        book.write(file, [row for row in book.rows(file) if instrument not in row[:2]])

    return spoil


def weights_in_percent(book: Folder) -> None:
    header, *rows = book.rows("benchmark.csv")
    book.write("benchmark.csv", [header, *([name, f"{float(weight) * 100:.4f}"] for name, weight in rows)])


def prices_as_returns(book: Folder) -> None:
    prices = {row[1]: row[3] for row in book.rows("holdings.csv")[1:]}
    header, *rows = book.rows("scenario_returns.csv")
    book.write("scenario_returns.csv", [header, *([row[0], prices[row[0]], *row[2:]] for row in rows)])


def missing_scenario(book: Folder) -> None:
    book.write("scenario_returns.csv", [[*row[:3], *row[4:]] for row in book.rows("scenario_returns.csv")])


def empty(file: str) -> Callable[[Folder], None]:
    def spoil(book: Folder) -> None:
        book.write(file, book.rows(file)[:1])

    return spoil


def no_bytes(book: Folder) -> None:
    (book.path / "holdings.csv").write_bytes(b"")


def binary(book: Folder) -> None:
    (book.path / "holdings.csv").write_bytes(b"PK\x03\x04\x14\x00\x06\x00\x08\x00")


@dataclass(frozen=True)
class Case:
    """How a book is spoiled, and what must be said about it."""

    spoil: Callable[[Folder], None]
    file: str
    row: int | str | None
    """The line in the file, or how that line begins."""
    column: str | None
    said: str
    cure: str


CASES = {
    "an unknown instrument": Case(
        unknown_instrument,
        "holdings.csv",
        7,
        "instrument",
        "is not in exposures.csv (got 'NVDIA')",
        "did you mean 'NVDA'?",
    ),
    "a duplicate instrument": Case(
        duplicate_instrument,
        "holdings.csv",
        16,
        "instrument",
        "together must be unique (got 'main, NVDA')",
        "add the lots up: write quantity 2900 in row 7 and remove row 16",
    ),
    "a typo in the name of a rule": Case(
        text("max_turnover = 0.35", "max_turnvoer = 0.35"),
        "book.toml",
        "max_turnvoer",
        "mandate.max_turnvoer",
        "unknown key (got '0.35')",
        "did you mean 'max_turnover'?",
    ),
    "a typo in the group of a rule": Case(
        text("[mandate.groups.power]", "[mandate.groups.powr]"),
        "book.toml",
        "[mandate.groups.powr]",
        "mandate.groups.powr",
        "no such group (got 'powr')",
        "did you mean 'power'?",
    ),
    "a missing number": Case(
        cell("scenario_returns.csv", "NVDA", "proprietary_jevons", "NaN"),
        "scenario_returns.csv",
        7,
        "proprietary_jevons",
        "must be a number (got 'NaN')",
        "a blank is not allowed here",
    ),
    "a blank number": Case(
        cell("holdings.csv", "NVDA", "price", ""), "holdings.csv", 7, "price", "must not be blank", "fill it in"
    ),
    "an infinite price": Case(
        cell("holdings.csv", "NVDA", "price", "inf"),
        "holdings.csv",
        7,
        "price",
        "must be finite (got 'inf')",
        "write a finite number",
    ),
    "a price too large for a number": Case(
        cell("holdings.csv", "NVDA", "price", "1e400"),
        "holdings.csv",
        7,
        "price",
        "must be finite (got '1e400')",
        "write a finite number",
    ),
    "a negative price": Case(
        cell("holdings.csv", "NVDA", "price", "-190"),
        "holdings.csv",
        7,
        "price",
        "must be at least 0 (got '-190')",
        "write the price of one unit",
    ),
    "a price of zero": Case(
        cell("holdings.csv", "NVDA", "price", "0"),
        "holdings.csv",
        7,
        "price",
        "must be above 0 (got '0')",
        "write the price of one unit; or put 'NVDA' into mandate.locked to hold it at 0, or into mandate.forbidden",
    ),
    "a short position": Case(
        cell("holdings.csv", "NVDA", "quantity", "-5"),
        "holdings.csv",
        7,
        "quantity",
        "must be at least 0 (got '-5')",
        "short positions are refused",
    ),
    "weights in percent in a table": Case(
        weights_in_percent, "benchmark.csv", 2, "weight", "must lie from 0 to 1 (got '8.1800'", "write 12 % as 0.12"
    ),
    "weights in percent in the settings": Case(
        text("max_weight = 0.12  ", "max_weight = 12  "),
        "book.toml",
        "max_weight = 12 ",
        "mandate.max_weight",
        "must be at most 1 (got '12')",
        "write 12 % as 0.12",
    ),
    "a percent sign in a table": Case(
        cell("benchmark.csv", "NVDA", "weight", "22.12%"),
        "benchmark.csv",
        7,
        "weight",
        "must be a number (got '22.12%')",
        "write 22.12 % as 0.2212",
    ),
    "prices where returns belong": Case(
        prices_as_returns,
        "scenario_returns.csv",
        2,
        "generalizable_jevons",
        "must be at most 10 (+1000 %) (got '700'",
        "a price or percent? write +12 % as 0.12",
    ),
    "a holding without exposure": Case(
        without("exposures.csv", "AMZN"), "holdings.csv", 5, "instrument", "is not in exposures.csv (got 'AMZN')", ""
    ),
    "an unknown key of the settings": Case(
        text("[lots]", "[lots]\nround_lots = true"),
        "book.toml",
        "round_lots",
        "lots.round_lots",
        "unknown key (got 'True')",
        "known here: gap_bps, min_trade, time_limit_seconds",
    ),
    "probabilities that do not sum to one": Case(
        text('0.30              # 0.5 x 0.6\nhypothesis = "p', '0.35\nhypothesis = "p'),
        "book.toml",
        None,
        "scenarios.*.probability",
        "probabilities must sum to 1 (got '1.05')",
        "lower them by 0.05 in all",
    ),
    "a probability above one": Case(
        text('0.30              # 0.5 x 0.6\nhypothesis = "p', '30\nhypothesis = "p'),
        "book.toml",
        "probability = 30",
        "scenarios.proprietary_jevons.probability",
        "must be at most 1 (got '30')",
        "write 30 % as 0.3",
    ),
    "a probability below zero": Case(
        text('0.30              # 0.5 x 0.6\nhypothesis = "p', '-0.3\nhypothesis = "p'),
        "book.toml",
        "probability = -0.3",
        "scenarios.proprietary_jevons.probability",
        "must be greater than or equal to 0 (got '-0.3')",
        "raise it into the range",
    ),
    "a missing column of a scenario": Case(
        missing_scenario,
        "scenario_returns.csv",
        None,
        "proprietary_jevons",
        "this scenario of book.toml has no column",
        "add it",
    ),
    "a table that is only a header": Case(
        empty("holdings.csv"),
        "holdings.csv",
        None,
        None,
        "the table is empty: it has only a header",
        "add at least one row",
    ),
    "a file without a byte": Case(
        no_bytes, "holdings.csv", None, None, "the file is empty", "write a header and at least one row"
    ),
    "a file that is not text": Case(
        binary,
        "holdings.csv",
        None,
        None,
        "is not text but a spreadsheet or archive",
        "name it .xlsx, or save it as 'CSV UTF-8'",
    ),
}


def line(book: Folder, file: str, row: int | str | None) -> int | None:
    """The line that a case means."""
    if not isinstance(row, str):
        return row
    lines = (book.path / file).read_text(encoding="utf-8").splitlines()
    (number,) = [number for number, text in enumerate(lines, 1) if text.startswith(row)]
    return number


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_is_refused_with_file_row_column_and_cure(case: Case, listed: Folder, run: Run) -> None:
    case.spoil(listed)

    answer = run("rebalance", listed.path, "--out", listed.path / "plans")

    told = " ".join(answer.stderr.split())
    assert answer.exit_code == 3
    assert answer.stdout == ""
    row = line(listed, case.file, case.row)
    one = f"{case.file}{f':{row}' if row else ''} {case.column or ''}".strip()
    several = f"{case.file}: rows {row}, "  # of one breach that many rows have
    assert one in told or several in told
    assert case.said in told
    assert case.cure in told
    assert "nothing was written" in told
    assert "Traceback" not in told
    assert not (listed.path / "plans").exists()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_is_one_valid_document_for_programs(case: Case, listed: Folder, run: Run, valid: Valid) -> None:
    case.spoil(listed)

    answer = run("check", listed.path, "--json")

    document, row = valid(answer.stdout, "error"), line(listed, case.file, case.row)
    assert answer.exit_code == document["exit_code"] == 3
    assert answer.stderr == ""
    assert [
        breach
        for breach in document["errors"]
        if (breach["table"], breach["row"], breach["column"]) == (case.file, row, case.column)
        and case.cure in breach["cure"]
    ]


CANNOT_ADD_UP = {
    "caps of names": (
        ["mandate.max_weight=0.05"],
        "infeasible: caps add up to 65% and cash is at most 10%: together less than 100%",
        "raise mandate.max_weight to 10.46%",
    ),
    "floors of names": (
        [
            "mandate.weights.ADBE.min=0.6",
            "mandate.weights.ADBE.max=0.7",
            "mandate.weights.CRM.min=0.5",
            "mandate.weights.CRM.max=0.7",
        ],
        "infeasible: floors add up to 115% and cash is at least 2%: more than 100%",
        "lower 'CRM at least 50%' to",
    ),
    "the floor of a group above the caps of its members": (
        ["mandate.groups.power.min=0.5", "mandate.groups.power.max=0.6"],
        "'group power at least 50%' and 'its members' caps, 24% in all'",
        "lower the first to 19.11%",
    ),
    "the cap of a group below the floors of its members": (
        ["mandate.groups.chips.max=0.02"],
        "'group chips at most 2%' and 'its members' floors, 5% in all'",
        "raise the first to 7.89%",
    ),
    "the floor of a name above the general cap": (
        ["mandate.weights.NVDA.min=0.2"],
        "'NVDA at least 20%' and 'NVDA at most 12%'",
        "lower the first to 11.98%",
    ),
    "a return that no name has": (
        ["mandate.min_expected_return=0.5"],
        "infeasible: expected return at least 50% is above the best name's",
        "lower 'expected return at least 50%' to 11.71%",
    ),
}


@pytest.mark.parametrize(("overrides", "said", "fix"), CANNOT_ADD_UP.values(), ids=CANNOT_ADD_UP)
def test_rules_that_cannot_add_up_are_named_with_a_fix(
    overrides: list[str], said: str, fix: str, listed: Folder, run: Run, valid: Valid
) -> None:
    options = [part for item in overrides for part in ("--set", item)]

    answer = run("rebalance", listed.path, "--out", listed.path / "plans", *options)
    document = valid(run("check", listed.path, "--json", *options).stdout, "error")

    told = " ".join(answer.stderr.split())
    assert (answer.exit_code, answer.stdout) == (4, "")
    assert said in told
    assert fix in told
    assert not (listed.path / "plans").exists()
    assert (document["error"], document["exit_code"]) == ("Infeasible", 4)
    assert document["fixes"] == []  # check tries nothing
    assert "rebalance" in document["message"]


def test_a_refusal_leaves_an_earlier_plan_as_it_was(listed: Folder, run: Run) -> None:
    plans = listed.path / "plans"
    assert run("rebalance", listed.path, "--out", plans).exit_code == 0
    before = {path.name: path.read_bytes() for path in plans.iterdir()}
    listed.cell("holdings.csv", "NVDA", "price", "-190")

    assert run("rebalance", listed.path, "--out", plans).exit_code == 3
    assert {path.name: path.read_bytes() for path in plans.iterdir()} == before


def test_every_breach_of_a_spoiled_book_is_in_one_answer(listed: Folder, run: Run) -> None:
    listed.cell("holdings.csv", "NVDA", "price", "-190")
    listed.cell("holdings.csv", "META", "quantity", "many")
    weights_in_percent(listed)
    text("max_turnover = 0.35", "max_turnvoer = 0.35")(listed)

    document = json.loads(run("check", listed.path, "--json").stdout)
    told = run("check", listed.path).stderr

    found = {(breach["table"], breach["row"]) for breach in document["errors"]}
    assert {
        ("holdings.csv", 2),
        ("holdings.csv", 7),
        ("benchmark.csv", 2),
        ("book.toml", line(listed, "book.toml", "max_turnvoer")),
    } <= found
    assert told.startswith(f"{len(document['errors'])} errors; nothing was written")
    assert "benchmark.csv: rows 2, 3, 4 and 7 more weight  must lie from 0 to 1" in told
    assert all(f"{table}:{row}" in told for table, row in found if table != "benchmark.csv")
