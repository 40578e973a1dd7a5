"""In which groups two books differ, and the books between them: each group from one side, held to a book's checks."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.ledger.input_groups import (
    COST_COLUMNS,
    GROUPS,
    NO_GROUP,
    PLUGINS,
    SECTIONS,
    TABLES,
    MixedBooks,
)
from allocator.settings.settings import PluginsSection, Settings
from tests.conftest import Folder
from tests.ledger.book_pairs import ROOT, book_of_one_name, changed_book

NOTHING = dict[str, tuple[str, ...]]()


def differences(one: Book, other: Book) -> Mapping[str, tuple[str, ...]]:
    """What differs, by group."""
    return MixedBooks.of(one, other).changed


def blocks(one: Book, other: Book) -> list[tuple[str, ...]]:
    """The groups that differ, together where no book takes them apart."""
    return list(MixedBooks.of(one, other).blocks)


def copied(folder: str, place: Path) -> Folder:
    """A copy of a sample book, to be changed."""
    shutil.copytree(ROOT / "data" / folder, place / folder)
    return Folder(place / folder)


def test_everything_that_a_plan_is_made_from_is_of_one_group() -> None:
    sections = [name for names in SECTIONS.values() for name in names]

    assert sorted([*sections, *NO_GROUP, "book", "plugins"]) == sorted(Settings.model_fields)
    assert sorted([*TABLES, "settings", "account"]) == sorted(field.name for field in fields(Book))
    assert sorted([*PLUGINS, "exporters"]) == sorted(PluginsSection.model_fields)
    assert {*SECTIONS, *PLUGINS.values(), *(group for group, _ in TABLES.values())} == {*GROUPS}


@pytest.mark.parametrize("folder", ["note", "reviewed"])
def test_each_group_of_a_mix_is_of_its_side(folder: str) -> None:
    one, other = changed_book(folder, ()), changed_book(folder, tuple(GROUPS))
    other = replace(other, exposures=other.exposures.assign(spread_bps=7.0))
    books = MixedBooks.of(one, other)

    for mix in np.random.default_rng(1).choice([True, False], size=(8, 6)):
        groups = {group for group, taken in zip(GROUPS, mix, strict=True) if taken}
        mixed = books.book(groups)
        side = {group: other if group in groups else one for group in GROUPS}
        for group, names in SECTIONS.items():
            for name in names:
                assert getattr(mixed.settings, name) == getattr(side[group].settings, name), name
        for name, (group, _) in TABLES.items():
            if name != "exposures":
                mine, theirs = getattr(mixed, name), getattr(side[group], name)
                assert np.array_equal(np.asarray(mine, dtype=object), np.asarray(theirs, dtype=object)), name
        for column in mixed.exposures:
            owner = side["costs" if column in COST_COLUMNS else "exposures"]
            assert mixed.exposures[column].equals(owner.exposures[column]), column
        assert mixed.settings.model_fields_set <= one.settings.model_fields_set | {"plugins", "believe"}


def test_all_and_nothing_are_the_books_themselves() -> None:
    one, other = changed_book("note", ()), changed_book("note", ("mandate", "costs"))
    books = MixedBooks.of(one, other)

    assert books.book(()) is one
    assert books.book(("costs", "mandate", "signals")).settings is other.settings


def test_the_order_of_rows_and_columns_makes_no_difference(tmp_path: Path) -> None:
    folder = copied("note", tmp_path)
    for file in ("holdings.csv", "exposures.csv", "benchmark.csv"):
        header, *rows = folder.rows(file)
        folder.write(file, [row[::-1] for row in (header, *rows[::-1])])
    one, other = load(ROOT / "data" / "note"), load(folder.path)

    assert other.instruments != one.instruments
    assert differences(one, other) == NOTHING


def test_what_differs_is_said_by_key_and_column(tmp_path: Path) -> None:
    folder = copied("note", tmp_path)
    folder.cell("holdings.csv", "META", "quantity", "6000")
    folder.cell("exposures.csv", "META", "beta", "1.9")
    folder.cell("exposures.csv", "META", "spread_bps", "9")
    folder.cell("exposures.csv", "META", "source", "another")
    rows = folder.rows("signals.csv")
    folder.write("signals.csv", rows[:-1])
    one = load(ROOT / "data" / "note")
    other = load(folder.path, overrides=["mandate.max_weight=0.2", "scenarios.proprietary_jevons.entry=0.1"])

    assert differences(one, other) == {
        "holdings": ("holdings.csv (quantity)",),
        "signals": (f"signals.csv ({len(rows) - 1} rows → {len(rows) - 2})",),
        "exposures": ("exposures.csv (beta)",),
        "model": ("scenarios.proprietary_jevons.entry 0 → 0.1",),
        "mandate": ("mandate.max_weight 0.18 → 0.2",),
        "costs": ("exposures.csv (spread_bps)",),
    }


def test_words_and_what_no_plan_is_made_from_are_no_difference(tmp_path: Path) -> None:
    folder = copied("note", tmp_path)
    text = (folder.path / "book.toml").read_text(encoding="utf-8").replace("note = ", "note = 'So it is said.' # ")
    (folder.path / "book.toml").write_text(text, encoding="utf-8")
    one = load(ROOT / "data" / "note")

    assert differences(one, load(folder.path, overrides=["book.name=another"])) == NOTHING


def test_reviews_that_have_passed_are_the_dates_difference_alone() -> None:
    one, other = (load(ROOT / "data" / "reviewed", as_of=day) for day in (None, dt.date(2027, 3, 1)))
    books = MixedBooks.of(one, other)

    assert len(other.settings.horizon.reviews) < len(one.settings.horizon.reviews)
    assert books.changed == {"signals": ("book.as_of 2026-11-20 → 2027-03-01",)}
    moved = load(ROOT / "data" / "reviewed", as_of=dt.date(2027, 3, 1), overrides=["horizon.reviews=[2027-09-01]"])
    assert [*differences(one, moved)] == ["signals", "model"]


def test_an_earlier_book_is_let_see_no_later_review() -> None:
    one = load(ROOT / "data" / "reviewed")
    other = load(ROOT / "data" / "reviewed", as_of=dt.date(2027, 3, 1), overrides=["mandate.max_weight=0.2"])
    mixed = MixedBooks.of(one, other).book(("signals",))

    assert mixed.settings.mandate.max_weight == one.settings.mandate.max_weight
    assert mixed.settings.horizon.reviews == other.settings.horizon.reviews


# Groups that no book takes apart.
#


def test_another_universe_is_of_holdings_and_exposures_together(tmp_path: Path) -> None:
    folder = copied("note", tmp_path)
    for file in ("holdings.csv", "exposures.csv"):
        header, *rows = folder.rows(file)
        at = header.index("instrument")
        new = [
            ["NEWCO" if place == at else cell for place, cell in enumerate(row)] for row in rows if row[at] == "META"
        ]
        folder.write(file, [header, *rows, *new])
    one = load(ROOT / "data" / "note")
    other = load(folder.path, overrides=["mandate.max_weight=0.2", "costs.commission_bps=2"])
    books = MixedBooks.of(one, other)

    assert list(books.blocks) == [("holdings", "exposures"), ("mandate",), ("costs",)]
    assert books.blocks["holdings", "exposures"] == "they are of other instruments"
    assert books.changed["exposures"] == ("exposures.csv (NEWCO new)",)
    assert books.book(("holdings", "exposures")).instruments == other.instruments
    assert list(books.book(("mandate",)).benchmark.index) == [*one.instruments, "USD"]
    # a rule about the new name is nothing that the other universe could keep
    ruled = load(folder.path, overrides=["mandate.weights.NEWCO.max=0.1", "costs.commission_bps=2"])
    found = MixedBooks.of(one, ruled).blocks
    assert list(found) == [("holdings", "exposures", "mandate"), ("costs",)]
    assert "NEWCO" in found["holdings", "exposures", "mandate"]


def test_another_question_is_of_the_model_and_of_all_that_speaks_of_its_answers(tmp_path: Path) -> None:
    folder = copied("approval", tmp_path)
    for file in ("book.toml", "signals.csv", "scenario_returns.csv"):
        path = folder.path / file
        path.write_text(path.read_text(encoding="utf-8").replace("restricted", "limited"), encoding="utf-8")
    one, other = load(ROOT / "data" / "approval"), load(folder.path, overrides=["costs.commission_bps=5"])

    assert blocks(one, other) == [("exposures", "model"), ("costs",)]
    assert "scenario" in MixedBooks.of(one, other).blocks["exposures", "model"]


def test_a_horizon_that_has_passed_goes_with_the_date() -> None:
    one = load(ROOT / "data" / "reviewed")
    other = load(
        ROOT / "data" / "reviewed",
        as_of=dt.date(2027, 12, 1),
        overrides=["horizon.until=2028-11-20", "horizon.reviews=[2028-05-20]", "mandate.max_weight=0.2"],
    )
    found = MixedBooks.of(one, other).blocks

    assert list(found) == [("signals", "model"), ("mandate",)]
    assert "2027-11-20" in found["signals", "model"]


def test_groups_that_can_be_told_apart_are() -> None:
    assert blocks(changed_book("note", ()), changed_book("note", tuple(GROUPS))) == [(group,) for group in GROUPS]
    assert blocks(book_of_one_name(0.2), book_of_one_name(0.3, max_weight=0.5)) == [("holdings",), ("mandate",)]


def test_a_table_that_one_book_has_alone_is_new_or_gone() -> None:
    one = changed_book("note", ())
    without = replace(one, benchmark=None, signals=None)
    history = pd.DataFrame({name: [1.0] for name in one.instruments}, index=pd.Index([pd.Timestamp("2026-11-20")]))

    assert differences(one, without) == {"signals": ("signals.csv (gone)",), "mandate": ("benchmark.csv (gone)",)}
    assert differences(without, one)["signals"] == ("signals.csv (new)",)
    assert differences(one, replace(one, price_history=history)) == {"signals": ("prices.csv (new)",)}
