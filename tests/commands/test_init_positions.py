"""`allocator init my-book --positions FILE`: from somebody else's file to a checked book, whole or not at all."""

from __future__ import annotations

import csv
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import allocator
from allocator.importers.formats import import_positions

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
SAMPLES = Path(__file__).parents[1] / "importers" / "samples"
NAMES = sorted(path.name for path in SAMPLES.iterdir() if path.name != "identifiers.csv")


def words(text: str) -> str:
    return " ".join(text.split())


def made(run: Run, folder: Path, *arguments: object) -> Path:
    answer = run("init", folder, "--positions", *arguments)
    assert answer.exit_code == 0, answer.stderr
    return folder


def refused(run: Run, folder: Path, *arguments: object) -> str:
    """Why nothing was written."""
    there = sorted(folder.iterdir())
    answer = run("init", folder / "mine", *arguments)
    assert (answer.exit_code, answer.stdout) == (3, "")
    assert sorted(folder.iterdir()) == there
    return words(answer.stderr)


def state(folder: Path, column: str, cells: dict[str, str]) -> None:
    """What a manager writes into exposures.csv."""
    with (folder / "exposures.csv").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    for row in rows:
        row[column] = cells.get(row["instrument"], row[column])
    with (folder / "exposures.csv").open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("name", NAMES)
def test_two_commands_lead_from_every_format_to_a_checked_book(run: Run, tmp_path: Path, name: str) -> None:
    folder = made(run, tmp_path / "mine", SAMPLES / name)

    checked = run("check", folder)

    found, book = import_positions(SAMPLES / name), allocator.load(folder)
    names = [one.instrument for one in found.holdings if one.instrument != "USD"]
    count = f"{len(names)} names are unclassified" if len(names) > 1 else "1 name is unclassified"
    assert checked.exit_code == 0
    assert count in checked.stdout
    assert list(book.instruments) == names == [*book.classification.unclassified]
    worth = sum(float(one.value) for one in found.holdings if one.currency == "USD")
    assert book.value >= worth - 0.01
    if name == "schwab.csv":
        assert not allocator.rebalance(book).orders


def test_bucket_labels_alone_or_archetypes_alone_lead_to_orders(run: Run, tmp_path: Path) -> None:
    for column, cells in {
        "bucket": {"NVDA": "capital_intensity", "BND": "neutral"},
        "archetype": {"NVDA": "chip_seller", "BND": "diversified"},
    }.items():
        folder = made(run, tmp_path / column, SAMPLES / "schwab.csv")
        state(folder, column, cells)
        book = allocator.load(folder)
        assert not book.classification.unclassified
        assert allocator.rebalance(book).orders
        assert "Assumed by archetype" in run("rebalance", folder).stdout


def test_what_is_not_handled_is_shown_with_its_amount_and_the_document_counts_every_row(
    run: Run, valid: Valid, tmp_path: Path
) -> None:
    shown = words(run("init", tmp_path / "one", "--positions", SAMPLES / "schwab.csv").stdout)
    document = valid(run("init", tmp_path / "two", "--positions", SAMPLES / "schwab.csv", "--json").stdout, "init")

    assert "6 NVDA 12/18/2026 200.00 C option or warrant -410.00 USD" in shown
    assert "2 names are unclassified: held, not bought, at a return of 0." in shown
    assert document["sample"] is None
    assert document["files"] == ["book.toml", "exposures.csv", "holdings.csv"]
    assert (document["as_of"], document["unclassified"]) == ("2026-11-20", ["NVDA", "BND"])
    rows = document["positions"]["rows"]
    assert (rows["file"], rows["imported"], rows["not_handled"]) == (5, 3, 2)


def test_the_made_book_has_the_scenarios_and_the_model_of_the_sample(run: Run, tmp_path: Path, root: Path) -> None:
    folder = made(run, tmp_path / 'a "quoted" \u00e9 book', SAMPLES / "schwab.csv")

    book = tomllib.loads((folder / "book.toml").read_text(encoding="utf-8"))
    sample = tomllib.loads((root / "data" / "listed" / "book.toml").read_text(encoding="utf-8"))
    for scenario in sample["scenarios"].values():
        scenario.pop("note")
    assert book["book"]["name"] == 'a "quoted" \u00e9 book'
    assert {key: book[key] for key in ("scenarios", "model", "risk")} == {
        key: sample[key] for key in ("scenarios", "model", "risk")
    }
    assert book["market"]["probabilities"] == sample["market"]["probabilities"]


def test_a_file_that_states_no_day_is_dated_today_and_says_so(run: Run, tmp_path: Path) -> None:
    shown = words(run("init", tmp_path / "mine", "--positions", SAMPLES / "vanguard.csv").stdout)
    day = allocator.load(tmp_path / "mine").settings.book.as_of

    assert f"as_of is {day}, as the file states no day: correct it in book.toml" in shown


def test_rates_are_those_of_the_file_or_are_asked_for(run: Run, tmp_path: Path) -> None:
    text = (SAMPLES / "activity.csv").read_text(encoding="utf-8")
    silent = tmp_path / "silent.csv"
    silent.write_text(text.replace("Base Currency,USD", "Nothing,USD"), encoding="utf-8")
    by_file = allocator.load(made(run, tmp_path / "told", SAMPLES / "activity.csv"))
    stated = allocator.load(made(run, tmp_path / "said", silent, "--rate", "EUR=1.2"))

    # 8,412.10 in all, of which 8,700 are dollars and the rest -250.50 euros
    assert by_file.rates["EUR"] == pytest.approx((8700 - 8412.10) / 250.50, rel=1e-6)
    assert stated.rates == {"EUR": 1.2}
    assert "holds USD, EUR, and no base currency is stated" in refused(run, tmp_path, "--positions", silent)
    assert "nothing is held in it: USD, EUR" in refused(run, tmp_path, "--positions", silent, "--rate", "GBP=1.3")
    assert "must be a currency and a number" in refused(run, tmp_path, "--positions", silent, "--rate", "EUR=0")


def test_a_flex_file_says_what_each_currency_is_worth(run: Run, tmp_path: Path) -> None:
    text = (SAMPLES / "flex.xml").read_text(encoding="utf-8")
    text = text.replace('currency="USD" assetCategory', 'currency="EUR" fxRateToBase="1.15" assetCategory')
    text = text.replace('currency="USD" endingCash', 'currency="USD" fxRateToBase="1" endingCash')
    (tmp_path / "f.xml").write_text(text, encoding="utf-8")

    book = allocator.load(made(run, tmp_path / "mine", tmp_path / "f.xml"))

    assert (book.settings.book.currency, book.rates) == ("USD", {"EUR": 1.15})


def test_where_values_disagree_the_book_says_what_was_accepted(run: Run, tmp_path: Path) -> None:
    text = (SAMPLES / "schwab.csv").read_text(encoding="utf-8").replace("22,800.00", "24,000.00")
    (tmp_path / "odd.csv").write_text(text, encoding="utf-8")

    assert "the value is 24,000.00 and quantity x price is 22,800.00" in refused(
        run, tmp_path, "--positions", tmp_path / "odd.csv"
    )
    folder = made(run, tmp_path / "mine", tmp_path / "odd.csv", "--accept-values", "price")
    assert "price accepted where the value is 24,000.00" in (folder / "holdings.csv").read_text(encoding="utf-8")


def test_a_sample_and_positions_are_not_both_and_options_of_positions_want_a_file(run: Run, tmp_path: Path) -> None:
    both = refused(run, tmp_path, "--from", "listed", "--positions", SAMPLES / "schwab.csv")
    idle = refused(run, tmp_path, "--format", "schwab", "--rate", "EUR=1.1")

    assert "--from names a sample, and --positions a file (got 'listed') leave one of them out" in both
    assert "--format is of --positions alone" in idle
    assert "--rate is of --positions alone" in idle


def test_bad_files_leave_nothing_behind(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    text = (SAMPLES / "schwab.csv").read_text(encoding="utf-8")
    (bad / "nul.csv").write_text(text.replace("BND", "B\0ND"), encoding="utf-8")
    flex = (SAMPLES / "flex.xml").read_text(encoding="utf-8")
    (bad / "doctype.xml").write_text(flex.replace("?>", "?><!DOCTYPE a [<!ENTITY b 'c'>]>", 1), encoding="utf-8")
    with zipfile.ZipFile(bad / "bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("xl/worksheets/sheet1.xml", b"<" + b" " * 3_000_000)
    (bad / "cash.csv").write_text("instrument,quantity,price,currency\nUSD,100,1,USD\n", encoding="utf-8")
    (bad / "two.csv").write_text(
        "account,instrument,quantity,price,currency\na,NVDA,1,180,USD\nb,META,1,600,USD\n", encoding="utf-8"
    )

    for name, told in {
        "nul.csv": "nul.csv", "doctype.xml": "has a DOCTYPE", "cash.csv": "there is nothing but cash",
        "two.csv": "holds 2 accounts and none is chosen", "missing.csv": "missing",
    }.items():  # fmt: skip
        assert told in refused(run, bad, "--positions", bad / name), name
    pytest.importorskip("openpyxl")
    assert "which no table does" in refused(run, bad, "--positions", bad / "bomb.xlsx")


def test_a_folder_with_something_in_it_stays_as_it_is(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine", encoding="utf-8")

    assert "this folder is not empty" in refused(run, tmp_path, "--positions", SAMPLES / "schwab.csv")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
