"""`allocator claims`: claim, what the figures give, verdict; for people and for programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.testing import Result

if TYPE_CHECKING:
    from tests.conftest import Folder

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]


def test_every_claim_is_shown_with_its_figure_and_its_verdict(root: Path, run: Run) -> None:
    answer = run("claims", root / "tests" / "plain_books" / "note")

    shown = " ".join(answer.stdout.split())
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert "34 checks: 8 hold, 5 hold on a condition, 6 do not hold, 15 state no figure" in shown
    assert (
        "states 2.65 to 2.75, the figures give 2.07 to 2.71 times holds only if the rival is Claude Opus 4.6" in shown
    )
    assert "states at least 200, the figures give 122 USD bn does not hold unless the other 78 bn can be found" in shown
    assert "implies 1,655 to 2,459 USD bn" in shown


def test_no_line_of_the_claims_is_longer_than_80_columns(root: Path, run: Run) -> None:
    lines = run("claims", root / "tests" / "plain_books" / "note").stdout.splitlines()

    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line != line.rstrip()] == []


def test_programs_get_both_intervals_and_the_verdict(root: Path, run: Run, valid: Valid) -> None:
    answer = run("claims", root / "tests" / "plain_books" / "note", "--json")

    document = valid(answer.stdout, "claims_report")
    first, *rest = document["claims"]
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert len(rest) == 33
    assert (first["check"], first["unit"], first["verdict"]) == ("token_ratio", "times", "holds only if")
    assert first["stated"] == {"low": 2.65, "high": 2.75}
    assert first["found"] == {"low": 120 / 58, "high": 157 / 58}


def test_an_unknown_check_is_refused_with_the_nearest(note: Folder, run: Run, valid: Valid) -> None:
    note.replace("claims.csv", ",token_ratio,", ",token_ration,")

    answer = run("claims", note.path, "--json")

    (breach,) = valid(answer.stdout, "error")["errors"]
    assert answer.exit_code == 3
    assert (breach["table"], breach["row"], breach["cure"]) == ("claims.csv", 2, "did you mean 'token_ratio'?")


def test_a_what_if_is_an_edited_figure(note: Folder, run: Run, valid: Valid) -> None:
    note.replace("figures.csv", "tokens_gpt,120,", "tokens_gpt,157,")

    first = valid(run("claims", note.path, "--json").stdout, "claims_report")["claims"][0]

    assert first["verdict"] == "holds"


def test_markup_in_a_claim_is_shown_and_not_obeyed(note: Folder, run: Run) -> None:
    note.replace("claims.csv", "2.7x fewer tokens to", "[red]2.7x[/red] fewer tokens to")

    assert "“[red]2.7x[/red] fewer tokens to" in run("claims", note.path).stdout
