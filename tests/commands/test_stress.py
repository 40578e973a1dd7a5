"""`allocator stress`: on screen and as a document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import Result

from allocator.__main__ import main
from allocator.book.loading import load
from allocator.outlook.outlook import build_outlook
from tests.command_line import runner

pytestmark = pytest.mark.xdist_group("stress on screen")  # the whole of it is told once


def run(*arguments: object) -> Result:
    return runner().invoke(main, ["stress", *map(str, arguments)])


def said(answer: Result) -> str:
    return " ".join(answer.stdout.split())


@pytest.fixture(scope="module")
def whole(root: Path) -> Result:
    return run(root / "tests" / "plain_books" / "note", "--full")


@pytest.mark.parametrize("name", ["note", "listed", "reviewed"])
def test_the_document_keeps_its_schema(root: Path, name: str) -> None:
    answer = run(root / "tests" / "plain_books" / name, "--json", "--shock", "usage_lags", "--shock", "rates up")
    assert answer.exit_code == 0, answer.output
    document: dict[str, Any] = json.loads(answer.stdout)
    schema = json.loads((root / "schemas" / "stress.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    assert [one["shock"] for one in document["shocks"]["effects"]] == ["usage_lags", "rates_up"]
    assert document["reverse"] is document["beliefs"] is document["replay"] is document["model"] is None
    del document["shocks"]["effects"][0]["current"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_shocks_are_listed_with_the_worst_for_the_proposed_portfolio_first(whole: Result) -> None:
    assert whole.exit_code == 0, whole.output
    rows = whole.stdout.partition("none ")[2].splitlines()[1:]
    names = [row[:20].strip() for row in rows[: rows.index(next(row for row in rows if "are as claimed" in row))]]
    plans = [float(row.split()[-2]) for row in rows[: len(names)]]
    assert len(names) >= 27
    assert plans == sorted(plans)
    assert f"The worst shock by the horizon for the proposed portfolio is {names[0]}:" in said(whole)


def test_claims_that_do_not_come_true_are_named_with_the_reason(whole: Result) -> None:
    assert "usage times 10: OPENAI -" in said(whole)
    assert "not a gain: at a full pass-through whoever cannot replicate earns nothing" in said(whole)


def test_every_line_fits_the_terminal(root: Path, whole: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(map(len, whole.stdout.splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "50")
    narrow = run(root / "tests" / "plain_books" / "note", "--shock", "rates_up", "--shock", "multiples_54_to_25")
    assert max(map(len, narrow.stdout.splitlines())) <= 50
    assert "multiples 54 to 25" in narrow.stdout


def test_one_shock_is_shown_with_its_words_its_trades_and_its_limit_breaches(root: Path) -> None:
    told = said(run(root / "tests" / "plain_books" / "note", "--shock", "revenue_stagnates"))
    assert "Even if usage expands 5-10x, total revenue may stagnate”" in told
    assert "Limit breaches: CLOUD at most 18%, bucket efficiency at least 15%," in told
    assert "Re-optimised trades, in % of the account: META +" in told
    assert "At a glance" not in told  # one part has no summary beside it


def test_an_unknown_shock_is_refused_with_the_nearest_name(root: Path) -> None:
    answer = run(root / "tests" / "plain_books" / "note", "--shock", "ipo_slip")
    assert answer.exit_code == 3
    assert "did you mean 'ipo_slips'?" in answer.stderr
    assert answer.stdout == ""


def test_a_shock_is_asked_as_it_is_written_and_as_it_is_shown(root: Path) -> None:
    own = ("--set", "shocks={'my crash'={market=-0.3}, mine_too={market=-0.2}}")
    for name in ("my crash", "mine_too", "mine too"):
        assert run(root / "tests" / "plain_books" / "note", *own, "--shock", name).exit_code == 0, name


def test_an_option_of_a_part_that_is_not_asked_is_wrong_usage(root: Path) -> None:
    answer = run(root / "tests" / "plain_books" / "note", "--reverse", "10%", "--within", "5")
    assert answer.exit_code == 2
    assert "add --beliefs" in answer.stderr


def test_what_cannot_be_asked_is_refused_before_anything_is_solved(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("solved")

    monkeypatch.setattr("allocator.stress_testing.stress.rebalance", never)
    answer = run(root / "tests" / "plain_books" / "note", "--shock", "rates_upp", "--model", "2000000")
    assert answer.exit_code == 3
    words = " ".join(answer.stderr.split())
    assert "did you mean 'rates_up'?" in words
    assert "draws must be a whole number from 2 to 1000000" in words
    doubted = run(
        root / "tests" / "plain_books" / "note", "--set", "model.salvage=0.95", "--shock", "rates_up", "--model", "16"
    )
    assert doubted.exit_code == 3
    assert "does not hold the book's own 0.95" in " ".join(doubted.stderr.split())


def test_starter_shocks_that_the_book_cannot_carry_are_named(root: Path) -> None:
    told = said(run(root / "tests" / "plain_books" / "listed", "--full", "--set", "mandate.risk_aversion=3.0"))
    assert "Starter shocks that this book cannot carry: half the revenue, raise undone, ipo slips, orbital" in told


def test_each_study_s_answer_stands_at_a_glance(whole: Result, root: Path) -> None:
    generalizable = build_outlook(load(root / "tests" / "plain_books" / "note")).probabilities[:2].sum()
    glance = " ".join(whole.stdout.partition("At a glance")[2].partition("Shocks: return")[0].split())
    assert "The worst shock by the horizon for the proposed portfolio is crash: -3" in glance
    assert "An expected loss of 10.0% needs a joint shift" in glance
    assert f"within 10 bps of the optimum while P(generalizable), now {generalizable:.1%}, lies between " in glance
    assert whole.stdout.index("Shocks: return") < whole.stdout.index("Reverse stress: ")
    assert whole.stdout.index("Reverse stress: ") < whole.stdout.index("How wrong may P(generalizable)")
    assert "this book has no price history; add prices.csv" in said(whole)


def test_naming_a_part_shows_that_part_alone(root: Path) -> None:
    told = said(run(root / "tests" / "plain_books" / "note", "--reverse", "15%"))
    assert "the least shifts with an expected loss of 15.0%" in told
    assert "market down 20" not in told
    assert "How wrong may" not in told


@pytest.mark.parametrize("wrong", ["ten", "0", "-5%", "150%", "10%%"])
def test_a_loss_that_is_no_part_of_the_account_is_wrong_usage(root: Path, wrong: str) -> None:
    answer = run(root / "tests" / "plain_books" / "note", f"--reverse={wrong}")
    assert answer.exit_code == 2
    assert "write 10% or 0.1" in " ".join(answer.stderr.split())


def test_beliefs_under_a_tree_of_decisions_are_refused_alone_and_said_among_others(root: Path) -> None:
    alone = run(root / "tests" / "plain_books" / "reviewed", "--beliefs")
    assert alone.exit_code == 3
    among = run(root / "tests" / "plain_books" / "reviewed", "--beliefs", "--reverse", "10%")
    assert among.exit_code == 0
    assert "Beliefs: " in said(among)


def test_every_part_keeps_the_schema(root: Path) -> None:
    wanted = ("--shock", "glut", "--reverse", "0.1", "--replay", "--beliefs", "--map", "5", "--model", "16", "--json")
    answer = run(root / "tests" / "plain_books" / "listed", *wanted)
    document: dict[str, Any] = json.loads(answer.stdout)
    schema = json.loads((root / "schemas" / "stress.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, schema)
    assert all(document[part] is not None for part in ("shocks", "reverse", "replay", "beliefs", "map", "model"))
    assert document["map"]["finished"] == 25
    assert document["reverse"]["loss"] == 0.1
    assert document["model"]["finished"] == 16
    assert document["interrupted"] == []


def test_after_ctrl_c_what_is_finished_is_shown_and_what_is_not_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from allocator.stress_testing import shock_effects as room

    real, done = room.shock_effect, list[str]()

    def twice(*given: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append("one")
        return real(*given)

    monkeypatch.setattr(room, "shock_effect", twice)
    answer = run(root / "tests" / "plain_books" / "note")
    assert answer.exit_code == 130
    assert "Interrupted: 2 of " in said(answer)
    assert "Interrupted before the end: shocks, reverse, replay, beliefs." in said(answer)
