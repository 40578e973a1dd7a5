"""`allocator import`: a table of a book from somebody else's file, whole or not at all."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
SAMPLES = Path(__file__).parents[1] / "importers" / "samples"


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def words(text: str) -> str:
    return " ".join(text.split())


def test_an_import_is_shown_and_written_in_place_of_what_was_there(run: Run, tmp_path: Path) -> None:
    (tmp_path / "holdings.csv").write_text("old", encoding="utf-8")
    (tmp_path / "holdings.csv").chmod(0o640)

    answer = run("import", SAMPLES / "schwab.csv", "-o", tmp_path / "holdings.csv")

    written = (tmp_path / "holdings.csv").read_text(encoding="utf-8")
    assert answer.exit_code == 0, answer.stderr
    assert written.splitlines()[:2] == [
        "account,instrument,quantity,price,currency,price_date,source",
        'Individual ...482,NVDA,120,190,USD,2026-11-20,"Schwab positions, row 4"',
    ]
    assert stat.S_IMODE((tmp_path / "holdings.csv").stat().st_mode) == 0o640
    assert names(tmp_path) == ["holdings.csv"]  # nothing beside it
    assert "schwab.csv · Schwab positions · account Individual ...482 · 2026-11-20" in words(answer.stdout)
    assert "6 NVDA 12/18/2026 200.00 C option or warrant -410.00 USD" in words(answer.stdout)
    assert "5 positions: 3 imported, 2 not handled." in answer.stdout
    assert "8 lines, counted twice." in words(answer.stdout)
    assert max(map(len, answer.stdout.splitlines())) <= 80


def test_without_a_place_nothing_is_written(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert run("import", SAMPLES / "ark.csv").exit_code == 0
    assert names(tmp_path) == []


@pytest.mark.parametrize("sample", sorted(path.name for path in SAMPLES.iterdir() if path.name != "identifiers.csv"))
def test_the_document_of_every_sample_keeps_its_schema(run: Run, valid: Valid, sample: str) -> None:
    document = valid(run("import", SAMPLES / sample, "--json").stdout, "import")

    counts = document["rows"]
    assert counts["file"] == counts["imported"] + counts["not_handled"]
    assert counts["file"] + sum(counts["outside"].values()) == counts["counted_again"]
    assert sum(len(one["rows"]) for one in document["holdings"]) == counts["imported"]
    assert document["written"] is None


def test_the_document_says_what_was_accepted_and_suggested(run: Run, valid: Valid, tmp_path: Path) -> None:
    text = (SAMPLES / "ishares.csv").read_text(encoding="utf-8-sig").replace('"190.00"', '"180.00"')
    (tmp_path / "f.csv").write_text(text, encoding="utf-8")
    asked = ("--accept-values", "value", "--identifiers", SAMPLES / "identifiers.csv")

    document = valid(run("import", tmp_path / "f.csv", *asked, "--json").stdout, "import")

    assert [(one["row"], one["label"], one["accepted"]) for one in document["disagreements"]] == [(11, "NVDA", "value")]
    assert document["suggestions"] == [{"row": 12, "label": "BRKB", "suggestion": "BRK.B?"}]
    assert document["holdings"][0]["price"] == 190


def test_a_refusal_leaves_what_was_there(run: Run, valid: Valid, tmp_path: Path) -> None:
    (tmp_path / "holdings.csv").write_text("old", encoding="utf-8")
    (tmp_path / "f.csv").write_text("Ticker,Shares,Price\nAAA,1,x\n", encoding="utf-8")

    answer = run("import", tmp_path / "f.csv", "-o", tmp_path / "holdings.csv")
    document = valid(run("import", tmp_path / "f.csv", "--json").stdout, "error")

    assert (answer.exit_code, answer.stdout) == (3, "")
    assert "f.csv:2 price must be a number (got 'x')" in words(answer.stderr)
    assert document["errors"][0]["row"] == 2
    assert (tmp_path / "holdings.csv").read_text(encoding="utf-8") == "old"


def test_a_place_that_cannot_be_written_is_said(run: Run, tmp_path: Path) -> None:
    nowhere = run("import", SAMPLES / "ark.csv", "-o", tmp_path / "nowhere" / "holdings.csv")
    itself = run("import", SAMPLES / "ark.csv", "-o", SAMPLES / "ark.csv")

    assert (nowhere.exit_code, itself.exit_code) == (3, 3)
    assert "--out cannot be written: No such file or directory; what was there is as it was" in words(nowhere.stderr)
    assert "--out is the file that is read" in words(itself.stderr)


def test_what_was_imported_is_a_book_s_own_table(run: Run, tmp_path: Path) -> None:
    assert run("init", tmp_path / "mine").exit_code == 0
    held = (tmp_path / "mine" / "holdings.csv").read_text(encoding="utf-8")
    (tmp_path / "positions.csv").write_text(held, encoding="utf-8")

    answer = run("import", tmp_path / "positions.csv", "-o", tmp_path / "mine" / "holdings.csv", "--account", "main")

    assert answer.exit_code == 0, answer.stderr
    checked = run("check", tmp_path / "mine")
    assert checked.exit_code == 0, checked.stderr
    assert "account main · 2026-11-20 · 1,460,000 USD" in checked.stdout


def test_the_verb_of_python_is_the_command(run: Run, tmp_path: Path) -> None:
    import allocator

    run("import", SAMPLES / "vanguard.csv", "-o", tmp_path / "holdings.csv")

    found = allocator.import_positions(SAMPLES / "vanguard.csv")
    assert isinstance(found, allocator.Positions)
    assert (tmp_path / "holdings.csv").read_text(encoding="utf-8") == found.csv()
