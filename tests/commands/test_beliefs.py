"""`allocator beliefs`: where the question stands, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result

if TYPE_CHECKING:
    from tests.conftest import Folder

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]


def test_people_see_now_the_way_here_what_may_come_and_when(root: Path, run: Run, valid: Valid) -> None:
    answer = run("beliefs", root / "tests" / "plain_books" / "note")
    document = valid(run("beliefs", root / "tests" / "plain_books" / "note", "--json").stdout, "beliefs")
    p, (low, high) = document["hypotheses"]["generalizable"], document["bounds"]
    third, usage = document["scenarios"][2], next(day for day in document["path"] if day["date"] == "2026-10-30")
    within = " ".join(f"{one:.1%}" for one in document["settled_within"].values())

    shown = " ".join(answer.stdout.split())
    assert (answer.exit_code, answer.stderr) == (0, "")
    for said in (
        "The note's actors · 2026-11-20",
        f"Generalizable with probability {p:.1%}, between {low:.1%} and {high:.1%}. The question is open.",
        f"Jevons with probability {document['regimes']['jevons']:.1%}.",
        f"proprietary_jevons 28.0% {third['belief']:.1%} {third['market']:.1%}",
        "2026-04-08 50.0% ███████████████",
        f"2026-10-30 {usage['hypotheses']['generalizable']:.1%} ██████ usage",
        f"claim by OpenAI {document['next'][0]['hypotheses']['generalizable']:.1%}",
        f"Silence alone settles it on {document['settled_by_silence']}.",
        "within 3 m 6 m 12 m 18 m 24 m 36 m",
        f"probability {within}",
        "Cards that are due",
        "By silence, a verdict or the next claim, with a probability of at least:",
        "by scenario what would contradict it contradicted",
        "2026-10-08 generalizable_jevons no rival has announced a yes",
    ):
        assert said in shown


@pytest.mark.parametrize("book", ["note", "listed"])
def test_no_line_of_the_beliefs_is_longer_than_80_columns(root: Path, run: Run, book: str) -> None:
    lines = run("beliefs", root / "tests" / "plain_books" / book).stdout.splitlines()

    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line.strip() == "y"] == []  # no label broken within a word


@pytest.mark.parametrize("book", ["note", "listed"])
def test_programs_get_beliefs_path_signals_and_cards(root: Path, run: Run, valid: Valid, book: str) -> None:
    document = valid(run("beliefs", root / "tests" / "plain_books" / book, "--json").stdout, "beliefs")

    for kind in ("prior", "belief", "market"):
        assert sum(row[kind] for row in document["scenarios"]) == pytest.approx(1, abs=1e-12)
    generalizable = sum(row["belief"] for row in document["scenarios"] if row["scenario"].startswith("generalizable"))
    assert document["hypotheses"]["generalizable"] == pytest.approx(generalizable, abs=1e-12)
    assert document["bounds"][0] < document["hypotheses"]["generalizable"] < document["bounds"][1]
    assert document["path"][-1] == {"date": "2026-11-20", "hypotheses": document["hypotheses"]}
    within = list(document["settled_within"].values())
    assert within == sorted(within)


def test_another_day_has_other_beliefs(root: Path, run: Run, valid: Valid) -> None:
    later = valid(
        run("beliefs", root / "tests" / "plain_books" / "note", "--as-of", "2027-04-08", "--json").stdout, "beliefs"
    )

    assert later["as_of"] == later["path"][-1]["date"] == "2027-04-08"
    assert later["hypotheses"]["generalizable"] == pytest.approx(0.0963, abs=1e-4)  # .0909 if the prior were a product
    contradicted = {card["scenario"] for card in later["cards"] if card["contradicted"]}
    assert contradicted == {"generalizable_jevons", "generalizable_compression", "proprietary_compression"}
    assert {card["contradicted"] for card in later["cards"]} == {True, False, None}


def test_a_settled_question_says_which_answer(root: Path, run: Run, valid: Valid) -> None:
    day = valid(run("beliefs", root / "tests" / "plain_books" / "note", "--json").stdout, "beliefs")[
        "settled_by_silence"
    ]
    settled = valid(run("beliefs", root / "tests" / "plain_books" / "note", "--as-of", day, "--json").stdout, "beliefs")

    assert settled["settled"] == "proprietary"
    assert settled["settled_by_silence"] == day
    assert set(settled["settled_within"].values()) == {1.0}


def test_a_question_that_was_settled_says_when_and_not_when_it_will_be(note: Folder, run: Run, valid: Valid) -> None:
    note.write("signals.csv", [["date", "kind", "source"], ["2026-08-08", "claim", "OpenAI"],
                               ["2026-08-20", "verification", "OpenAI"]])  # fmt: skip

    document = valid(run("beliefs", note.path, "--as-of", "2027-11-20", "--json").stdout, "beliefs")
    shown = " ".join(run("beliefs", note.path, "--as-of", "2027-11-20").stdout.split())

    assert 0.85 < document["hypotheses"]["generalizable"] < 0.95
    assert (document["settled"], document["settled_by_silence"]) == ("generalizable", "2026-08-20")
    assert set(document["settled_within"].values()) == {1.0}
    assert "When it was settled It was settled on 2026-08-20." in shown
    assert "silence" not in shown.lower()


def test_usage_figures_speak_of_the_demand_regime(root: Path, run: Run, valid: Valid) -> None:
    document = valid(run("beliefs", root / "tests" / "plain_books" / "note", "--json").stdout, "beliefs")

    belief = {row["scenario"]: row["belief"] for row in document["scenarios"]}
    jevons = belief["generalizable_jevons"] + belief["proprietary_jevons"]
    assert document["regimes"]["jevons"] == pytest.approx(jevons, abs=1e-12)
    assert document["signals"][0] == {
        "date": "2026-07-31", "kind": "usage", "source": "", "hypothesis": "", "strength": 1.0,
        "log10_bayes_factor": None, "price_fall": 0.25, "usage_growth": 0.45,
    }  # fmt: skip
    figures = [one for one in document["next"] if one["signal"].startswith("usage")]
    assert [one["signal"] for one in figures] == [
        f"usage {growth} as prices fall 30%" for growth in ("+20%", "+43%", "+104%")
    ]
    assert figures[0]["regimes"]["jevons"] < jevons < figures[2]["regimes"]["jevons"]
    assert len(figures) < len(document["next"])
    assert all(one["regimes"] is not None for one in document["next"])


def test_a_question_without_demand_says_nothing_of_it(note: Folder, run: Run, valid: Valid) -> None:
    text = (note.path / "book.toml").read_text(encoding="utf-8")
    first = text.index("[question.demand]")
    (note.path / "book.toml").write_text(text[:first] + text[text.index("[question.ranges]") :], encoding="utf-8")
    (note.path / "signals.csv").unlink()

    document = valid(run("beliefs", note.path, "--json").stdout, "beliefs")

    assert document["regimes"] is None
    assert [one["regimes"] for one in document["next"]] == [None] * len(document["next"])
    assert "Jevons" not in run("beliefs", note.path).stdout


def test_a_claim_is_marked_and_its_test_is_what_may_come(note: Folder, run: Run, valid: Valid) -> None:
    note.write("signals.csv", [["date", "kind", "source"], ["2026-08-08", "claim", "OpenAI"]])
    note.replace("book.toml", "date = 2026-04-08", "date = 2026-11-20")

    document = valid(run("beliefs", note.path, "--json").stdout, "beliefs")

    assert document["signals"] == [{
        "date": "2026-08-08", "kind": "claim", "source": "OpenAI", "hypothesis": "generalizable", "strength": 1.0,
        "log10_bayes_factor": None, "price_fall": None, "usage_growth": None,
    }]  # fmt: skip
    assert [one["signal"] for one in document["next"]] == [
        "verification of OpenAI", "refutation of OpenAI", "claim by Google", "claim by Anthropic",
        *(f"usage {growth} as prices fall 30%" for growth in ("+20%", "+43%", "+104%")),
    ]  # fmt: skip
    assert "2026-08-08" in {point["date"] for point in document["path"]}
    assert "claim OpenAI" in run("beliefs", note.path).stdout


def test_a_book_without_cards_has_none_that_are_due(note: Folder, run: Run, valid: Valid) -> None:
    (note.path / "scenarios.md").unlink()

    answer = run("beliefs", note.path)

    assert answer.exit_code == 0
    assert "Cards" not in answer.stdout
    assert valid(run("beliefs", note.path, "--json").stdout, "beliefs")["cards"] == []


def test_a_card_that_cannot_be_read_is_refused_by_its_line(note: Folder, run: Run, valid: Valid) -> None:
    note.replace("scenarios.md", "## generalizable_jevons", "## generalisable_jevons")

    answer = run("beliefs", note.path, "--json")

    (breach,) = valid(answer.stdout, "error")["errors"]
    assert answer.exit_code == 3
    assert (breach["table"], breach["row"], breach["value"]) == ("scenarios.md", 3, "generalisable_jevons")
    assert breach["cure"] == "did you mean 'generalizable_jevons'?"


def test_cards_that_are_no_text_are_refused(note: Folder, run: Run) -> None:
    (note.path / "scenarios.md").write_bytes(b"\xff\xfe## x")

    answer = run("beliefs", note.path)

    assert answer.exit_code == 3
    assert "scenarios.md:1 is not UTF-8 text (byte 0xff) save it as UTF-8 text" in " ".join(answer.stderr.split())


def test_a_book_without_a_question_is_told_how_to_ask_one(listed: Folder, run: Run) -> None:
    answer = run("beliefs", listed.path)

    shown = " ".join(answer.stderr.split())
    assert (answer.exit_code, answer.stdout) == (3, "")
    assert "this book states its probabilities outright add [question] with its sources and their hazards" in shown


def test_the_beliefs_example_of_the_help_runs_as_written(root: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [line.split()[1:] for line in run("beliefs", "--help").stdout.splitlines()
                if line.strip().startswith("allocator ")]  # fmt: skip
    monkeypatch.chdir(root)

    assert examples == [["beliefs", "data/note"]]
    assert run(*examples[0]).exit_code == 0


def test_signals_of_one_day_are_all_marked_on_it(note: Folder, run: Run) -> None:
    note.write("signals.csv", [
        ["date", "kind", "source", "price_fall", "usage_growth"],
        ["2026-08-01", "claim", "OpenAI", "", ""], ["2026-08-01", "claim", "Google", "", ""],
    ])  # fmt: skip

    assert "claim OpenAI, claim Google" in run("beliefs", note.path).stdout


def test_a_card_that_asks_for_silence_reads_well_where_somebody_spoke(note: Folder, run: Run) -> None:
    note.write("signals.csv", [
        ["date", "kind", "source", "price_fall", "usage_growth"], ["2026-08-01", "claim", "OpenAI", "", ""],
    ])  # fmt: skip

    shown = " ".join(run("beliefs", note.path).stdout.split())

    assert "not seen" not in shown
    assert "2026-10-08 generalizable_jevons no rival has announced a no" in shown


def test_a_settled_question_is_called_settled(root: Path, run: Run) -> None:
    shown = " ".join(run("beliefs", root / "tests" / "plain_books" / "note", "--as-of", "2028-01-01").stdout.split())

    assert "The question is settled: proprietary." in shown


def test_the_probability_of_being_settled_is_described_as_a_lower_bound(root: Path) -> None:
    schema = json.loads((root / "schemas" / "beliefs.schema.json").read_text(encoding="utf-8"))

    assert "at least" in schema["properties"]["settled_within"]["description"]
