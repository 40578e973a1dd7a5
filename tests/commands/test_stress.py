"""`allocator stress`: what happens if, on screen and as a document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from allocator.__main__ import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["stress", *map(str, arguments)])


def said(answer: Result) -> str:
    return " ".join(answer.stdout.split())


@pytest.fixture(scope="module")
def whole(root: Path) -> Result:
    return run(root / "data" / "note")


@pytest.mark.parametrize("name", ["note", "listed", "reviewed"])
def test_the_document_keeps_its_schema(root: Path, name: str) -> None:
    answer = run(root / "data" / name, "--json", "--shock", "usage_lags", "--shock", "rates up")
    assert answer.exit_code == 0, answer.output
    document: dict[str, Any] = json.loads(answer.stdout)
    schema = json.loads((root / "schemas" / "stress.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    assert [one["shock"] for one in document["shocks"]] == ["usage_lags", "rates_up"]
    del document["shocks"][0]["held"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_shocks_are_listed_with_the_worst_for_the_plan_first(whole: Result) -> None:
    assert whole.exit_code == 0, whole.output
    rows = whole.stdout.partition("none ")[2].splitlines()[1:]
    names = [row[:22].strip() for row in rows[: rows.index(next(row for row in rows if row.startswith("Percent")))]]
    plans = [float(row.split()[-2].rstrip("*")) for row in rows[: len(names)]]
    assert len(names) >= 27
    assert plans == sorted(plans)
    assert f"Worst for the plan: {names[0]}," in said(whole)


def test_claims_that_do_not_come_true_are_named_with_the_reason(whole: Result) -> None:
    assert "usage times 10: OPENAI -" in said(whole)
    assert "not a gain: at a full pass-through whoever cannot replicate sells below cost" in said(whole)


def test_every_line_fits_the_terminal(root: Path, whole: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(map(len, whole.stdout.splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "50")
    narrow = run(root / "data" / "note", "--shock", "rates_up", "--shock", "multiples_54_to_25")
    assert max(map(len, narrow.stdout.splitlines())) <= 50
    assert "multiples 54 to 25" in narrow.stdout


def test_one_shock_is_shown_with_its_words_its_trades_and_the_rules_that_it_breaks(root: Path) -> None:
    told = said(run(root / "data" / "note", "--shock", "revenue_stagnates"))
    assert "Even if usage expands 5-10x, total revenue may stagnate”" in told
    assert "Breaks: CLOUD at most 18%, bucket efficiency at least 15%," in told
    assert "Then trade, of the account: CLOUD -" in told
    assert "What happens if Worst for the plan: revenue stagnates" in told


def test_an_unknown_shock_is_refused_with_the_nearest_name(root: Path) -> None:
    answer = run(root / "data" / "note", "--shock", "ipo_slip")
    assert answer.exit_code == 3
    assert "did you mean 'ipo_slips'?" in answer.stderr
    assert answer.stdout == ""


def test_starter_shocks_that_the_book_cannot_carry_are_named(root: Path) -> None:
    told = said(run(root / "data" / "listed", "--set", "mandate.risk_aversion=3.0"))
    assert "Starter shocks that this book cannot carry: half the revenue, raise undone, ipo slips, orbital" in told
