"""`allocator implied`: the probabilities that price moves imply, with what they leave over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result

if TYPE_CHECKING:
    from tests.conftest import Folder

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
MOVES = ("--move", "GPU=0.1", "--move", "META=0.08")


def test_people_see_what_prices_imply_and_what_they_leave_over(root: Path, run: Run) -> None:
    answer = run("implied", root / "tests" / "plain_books" / "note", *MOVES)

    assert (answer.exit_code, answer.stderr) == (0, "")
    for said in (
        "The note's actors · 2026-11-20 · price moves since 2026-04-08",
        "Scenario probabilities in prices",
        "Price moves",
        "A residual is mispricing or a wrong exposure: the numbers cannot tell which.",
    ):
        assert said in answer.stdout
    assert max(map(len, answer.stdout.splitlines())) <= 80


def test_programs_get_probabilities_and_residuals(root: Path, run: Run, valid: Valid) -> None:
    document = valid(run("implied", root / "tests" / "plain_books" / "note", *MOVES, "--json").stdout, "implied")

    assert sum(row["implied"] for row in document["scenarios"]) == pytest.approx(1, abs=1e-12)
    assert [row["stated"] for row in document["scenarios"]] == pytest.approx([0.275, 0.225, 0.275, 0.225])
    beliefs = valid(run("beliefs", root / "tests" / "plain_books" / "note", "--json").stdout, "beliefs")
    market = [row["market"] for row in beliefs["scenarios"]]
    assert [row["moved"] for row in document["scenarios"]] == pytest.approx(market, abs=1e-15)
    assert document["not_read"] == []
    assert [row["instrument"] for row in document["instruments"]] == ["GPU", "META"]
    for row, move in zip(document["instruments"], (0.1, 0.08), strict=True):
        assert row["observed"] == move
        assert row["explained"] + row["residual"] == pytest.approx(move, abs=1e-15)


def test_the_same_move_over_a_longer_time_implies_less(root: Path, run: Run, valid: Valid) -> None:
    """Of a later day more of a rise is required return, so that less of it is news."""
    now, later = (
        valid(
            run("implied", root / "tests" / "plain_books" / "note", *day, "--move", "GPU=0.1", "--json").stdout,
            "implied",
        )
        for day in ((), ("--as-of", "2027-04-08"))
    )
    sunny = [document["scenarios"][2]["implied"] for document in (now, later)]

    assert later["as_of"] == "2027-04-08"
    assert sunny[0] > sunny[1]


def test_a_move_that_no_probability_explains_names_the_nearest(root: Path, run: Run, valid: Valid) -> None:
    answer = run("implied", root / "tests" / "plain_books" / "note", "--move", "META=-0.5", "--json")

    (breach,) = valid(answer.stdout, "error")["errors"]
    assert answer.exit_code == 3
    assert (breach["column"], breach["value"]) == ("META", "-50.0%")
    assert "certainty of generalizable_compression" in breach["cure"]


@pytest.mark.parametrize("move", ["GPU", "GPU=up", "GPU=12%", "=0.1", "GPUS=0.1"])
def test_a_move_that_cannot_be_read_is_refused(root: Path, run: Run, valid: Valid, move: str) -> None:
    answer = run("implied", root / "tests" / "plain_books" / "note", "--move", move, "--json")

    (breach,) = valid(answer.stdout, "error")["errors"]
    assert answer.exit_code == 3
    assert breach["table"] == "--move"


def test_people_see_the_market_as_stated_and_as_the_signals_moved_it(root: Path, run: Run) -> None:
    shown = run("implied", root / "tests" / "plain_books" / "note", *MOVES).stdout

    assert "stated" in shown
    assert "moved by signals" in shown
    assert "Not read" not in shown


def test_a_name_left_out_is_listed_for_people_and_programs(root: Path, run: Run, valid: Valid) -> None:
    asked = ("implied", root / "tests" / "plain_books" / "note", *MOVES, "--move", "CLOUD=-0.9", "--without", "CLOUD")

    shown, document = run(*asked).stdout, valid(run(*asked, "--json").stdout, "implied")

    assert shown.index("A residual is") < shown.index("Not read") < shown.index("CLOUD")
    assert max(map(len, shown.splitlines())) <= 80
    assert document["not_read"] == [{"instrument": "CLOUD", "reason": "left out by --without"}]
    assert [row["instrument"] for row in document["instruments"]] == ["GPU", "META"]


def test_prices_that_no_probability_explains_name_the_option_that_goes_on(note: Folder, run: Run, valid: Valid) -> None:
    names = [row[0] for row in note.rows("exposures.csv")[1:-1]]
    rows = [["2026-04-08", *[10] * len(names)], ["2026-11-20", *(1 if name == "GPU" else 10 for name in names)]]
    note.write("prices.csv", [["date", *names], *rows])
    note.price_at(dict(zip(names, map(float, rows[-1][1:]), strict=True)))

    breaches = valid(run("implied", note.path, "--json").stdout, "error")["errors"]
    left = [breach["column"] for breach in breaches]
    options = [part for name in left for part in ("--without", name)]
    went_on = valid(run("implied", note.path, *options, "--json").stdout, "implied")

    assert "GPU" in left
    assert all(breach["cure"].endswith(f"or go on with --without {breach['column']}") for breach in breaches)
    assert [one["instrument"] for one in went_on["not_read"]] == left


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--move", "USD=0.01"), "--move: is cash and has no price move"),
        ((*MOVES, "--without", "GPUS"), "--without: no such instrument in exposures.csv"),
    ],
)
def test_cash_has_no_move_and_nobody_cannot_be_left_out(
    root: Path, run: Run, valid: Valid, options: tuple[str, ...], said: str
) -> None:
    answer = run("implied", root / "tests" / "plain_books" / "note", *options, "--json")

    assert answer.exit_code == 3
    assert said in valid(answer.stdout, "error")["message"]


def test_without_moves_or_prices_both_are_asked_for(note: Folder, run: Run) -> None:
    answer = run("implied", note.path)

    assert (answer.exit_code, answer.stdout) == (3, "")
    assert "add prices.csv, or give moves: --move NVDA=-0.12" in " ".join(answer.stderr.split())


def test_the_implied_example_of_the_help_runs_as_written(root: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = [line.split()[1:] for line in run("implied", "--help").stdout.splitlines()
                  if line.strip().startswith("allocator ")]  # fmt: skip
    monkeypatch.chdir(root)

    assert run(*example).exit_code == 0


def test_moves_that_are_wrong_in_several_ways_are_told_all_at_once(root: Path, run: Run, valid: Valid) -> None:
    typed = ["NVDA=-0.05", "NVDA=0.1", "NVIDA=0.1", "META=-2", "AVGO"]
    answer = run(
        "implied",
        root / "tests" / "plain_books" / "listed",
        *(part for move in typed for part in ("--move", move)),
        "--json",
    )

    rules = [breach["rule"] for breach in valid(answer.stdout, "error")["errors"]]
    assert answer.exit_code == 3
    for said in ("is given twice", "no such instrument", "must be above -1", "must be NAME=RETURN"):
        assert any(said in rule for rule in rules)
