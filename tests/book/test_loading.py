"""A book from a folder or from pandas objects: what is read, what is refused, and that labels alone decide."""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book, from_frames
from allocator.book.loading import load
from allocator.errors import BadInput

if TYPE_CHECKING:
    from tests.conftest import Folder


def told(path: Path, **options: Any) -> list[str]:
    with pytest.raises(BadInput) as refused:
        load(path, **options)
    return [str(breach) for breach in refused.value.breaches]


def assert_same(one: Book, other: Book) -> None:
    """Every field of two books, label by label."""
    assert one.settings == other.settings
    assert (one.account, one.cash_instrument, one.cash) == (other.account, other.cash_instrument, other.cash)
    assert one.instruments == other.instruments
    for field in ("quantities", "prices", "lot_sizes"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    pd.testing.assert_frame_equal(one.exposures, other.exposures)
    pd.testing.assert_frame_equal(one.scenario_returns, other.scenario_returns)
    pd.testing.assert_series_equal(one.benchmark, other.benchmark)  # type: ignore[arg-type]


def frames(folder: Path) -> dict[str, pd.DataFrame]:
    return {name: pd.read_csv(folder / f"{name}.csv") for name in
            ("holdings", "exposures", "scenario_returns", "benchmark")}  # fmt: skip


def test_the_sample_book_is_read_as_it_is_written(root: Path) -> None:
    book = load(root / "tests" / "typed")

    assert book.instruments[:3] == ("META", "GOOGL", "MSFT")
    assert (book.cash_instrument, book.cash, book.account) == ("USD", 60_500.0, "main")
    assert book.value == pytest.approx(1_460_000)
    assert book.weights[book.instruments.index("NVDA")] == pytest.approx(1450 * 190 / 1_460_000)
    assert book.weights.sum() + book.cash / book.value == pytest.approx(1)
    assert book.scenarios[0] == "generalizable_jevons"
    assert book.scenario_returns.loc["NVDA", "generalizable_compression"] == -0.4303
    assert book.members("chips") == {"NVDA": 1.0, "AVGO": 1.0, "TSM": 1.0}
    assert book.members("committed_capacity") == {"CRWV": 1.0, "ORCL": 0.6}


def test_pandas_objects_make_the_same_book_as_the_folder(root: Path) -> None:
    folder = root / "tests" / "typed"
    settings = tomllib.loads((folder / "book.toml").read_text(encoding="utf-8"))

    assert_same(from_frames(settings, frames(folder)), load(folder))


def test_a_table_indexed_by_instrument_is_the_same_table(root: Path) -> None:
    folder = root / "tests" / "typed"
    tables = frames(folder)
    indexed = {name: table.set_index("instrument") for name, table in tables.items()}

    assert_same(from_frames(load(folder).settings, indexed), load(folder))


def test_the_order_of_rows_and_columns_does_not_matter(listed: Folder, root: Path) -> None:
    for number, (name, table) in enumerate(frames(listed.path).items()):
        # the order of exposures is the order of the book
        moved_rows = table if name == "exposures" else table.sample(frac=1, random_state=number)
        moved_rows[table.columns[::-1]].to_csv(listed.path / f"{name}.csv", index=False)

    moved, still = load(listed.path), load(root / "tests" / "typed")

    moved_exposures = moved.exposures[still.exposures.columns]
    pd.testing.assert_frame_equal(moved_exposures, still.exposures)
    np.testing.assert_array_equal(moved.quantities, still.quantities)
    np.testing.assert_array_equal(moved.prices, still.prices)
    pd.testing.assert_frame_equal(moved.scenario_returns, still.scenario_returns)
    pd.testing.assert_series_equal(moved.benchmark, still.benchmark)  # type: ignore[arg-type]


def test_the_book_speaks_in_the_order_of_exposures(listed: Folder) -> None:
    header, *rows = listed.rows("exposures.csv")
    listed.write("exposures.csv", [header, *rows[::-1]])

    book = load(listed.path)

    assert book.instruments[0] == "ADBE"
    assert book.instruments[-1] == "META"
    at = book.instruments.index("NVDA")
    assert (book.quantities[at], book.prices[at]) == (1450.0, 190.0)
    assert list(book.scenario_returns.index) == [*book.instruments, "USD"]


def test_a_name_without_lot_size_trades_in_single_units(listed: Folder) -> None:
    listed.write("holdings.csv", [row[:5] for row in listed.rows("holdings.csv")])

    assert set(load(listed.path).lot_sizes) == {1.0}


def test_overrides_and_as_of_reach_the_book(root: Path) -> None:
    book = load(root / "tests" / "typed", overrides=["mandate.max_weight=0.2"], as_of=dt.date(2027, 1, 4))

    assert book.settings.mandate.max_weight == 0.2
    assert book.settings.book.as_of == dt.date(2027, 1, 4)


def test_a_folder_that_is_not_there_names_the_nearest_book(listed: Folder) -> None:
    missing = listed.path.parent / "lsted"

    assert told(missing) == [f"{missing}: there is no such folder; did you mean 'listed'?"]


def test_a_folder_far_from_any_book_is_told_how_to_make_one(tmp_path: Path) -> None:
    assert told(tmp_path / "none") == [
        f"{tmp_path / 'none'}: there is no such folder; `allocator init FOLDER` makes a book to start from"
    ]
    assert "check the path" in told(tmp_path / "neither" / "nor")[0]


def test_a_file_in_place_of_the_folder_is_refused(listed: Folder) -> None:
    path = listed.path / "book.toml"

    assert told(path) == [f"{path}: is a file; name the folder that it stands in"]


def test_a_folder_without_book_toml_is_told_how_to_make_one(listed: Folder) -> None:
    (listed.path / "book.toml").unlink()

    assert told(listed.path) == [
        "book.toml: this folder has no book.toml; `allocator init FOLDER` makes a book to start from"
    ]


def test_settings_that_are_not_text_are_refused(listed: Folder) -> None:
    (listed.path / "book.toml").write_bytes(b'[book]\nname = "Gen\xe8ve"\n')

    assert told(listed.path) == ["book.toml:2: is not UTF-8 text (byte 0xe8); save it as UTF-8 text"]


def test_settings_that_cannot_be_read_are_refused(listed: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("allocator.tables.files._open_without_waiting", fail)

    assert told(listed.path)[0] == "book.toml: cannot be read: Permission denied; check the file and its rights"


def test_settings_that_begin_with_a_byte_order_mark_are_read(listed: Folder) -> None:
    path = listed.path / "book.toml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert load(listed.path).account == "main"


@pytest.mark.parametrize("file", ["holdings.csv", "exposures.csv"])
def test_a_required_table_that_is_missing_is_named(listed: Folder, file: str) -> None:
    (listed.path / file).unlink()

    assert told(listed.path) == [f"{file}: this file is missing; add {file} to the folder 'listed'"]


def test_scenario_returns_are_required_where_no_model_makes_them(listed: Folder) -> None:
    (listed.path / "scenario_returns.csv").unlink()

    assert told(listed.path) == [
        "scenario_returns: this table is required, as there is no [model]; "
        "add scenario_returns.csv, or [model] to book.toml"
    ]


def test_a_misspelt_file_of_a_required_table_is_told_twice_over(listed: Folder) -> None:
    (listed.path / "holdings.csv").rename(listed.path / "holding.csv")

    assert told(listed.path) == [
        "holdings.csv: this file is missing; did you mean 'holding.csv'?",
        "holding.csv: no table of a book has this name; "
        "did you mean 'holdings.csv'? Else name it in [tables], or move it away",
    ]


def test_a_misspelt_optional_table_does_not_vanish(listed: Folder) -> None:
    (listed.path / "benchmark.csv").rename(listed.path / "benchmrk.csv")

    assert told(listed.path) == [
        "benchmrk.csv: no table of a book has this name; "
        "did you mean 'benchmark.csv'? Else name it in [tables], or move it away"
    ]


def test_orders_that_we_wrote_ourselves_are_no_stranger(listed: Folder) -> None:
    (listed.path / "orders.csv").write_text("side,instrument\n", encoding="utf-8")

    assert load(listed.path).account == "main"


def test_tables_may_have_other_names_and_places(listed: Folder) -> None:
    (listed.path / "today").mkdir()
    (listed.path / "holdings.csv").rename(listed.path / "today" / "custodian.csv")

    book = load(listed.path, overrides=["tables.holdings=today/custodian.csv"])

    assert book.quantities[book.instruments.index("NVDA")] == 1450.0


def test_an_optional_table_that_is_named_must_be_there(listed: Folder) -> None:
    (listed.path / "benchmark.csv").unlink()
    assert load(listed.path).benchmark is None

    found = told(listed.path, overrides=["tables.benchmark=index.csv"])

    assert found == ["index.csv: this file is missing; add index.csv to the folder 'listed'"]


def test_faults_of_settings_and_of_tables_come_at_once(listed: Folder) -> None:
    listed.replace("book.toml", "max_cash = 0.10", "max_cahs = 0.10")
    line = listed.cell("holdings.csv", "NVDA", "price", "-190")
    (listed.path / "stranger.csv").write_text("a\n1\n", encoding="utf-8")
    (listed.path / "exposures.csv").unlink()

    found = told(listed.path)

    assert len(found) == 4
    assert "did you mean 'max_cash'?" in found[0]
    assert found[1].startswith("exposures.csv: this file is missing")
    assert found[2].startswith("stranger.csv: no table of a book has this name")
    assert found[3].startswith(f"holdings.csv:{line} price: must be at least 0 (got '-190')")


def test_pandas_objects_are_refused_by_label_not_repaired(root: Path) -> None:
    folder = root / "tests" / "typed"
    tables = frames(folder)
    tables["holdings"].loc[5, "instrument"] = "NVDIA"
    tables["holdings"].loc[0, "price"] = float("nan")

    with pytest.raises(BadInput) as refused:
        from_frames(load(folder).settings, tables)

    assert [str(breach) for breach in refused.value.breaches] == [
        "holdings:1 price: must not be blank; fill it in",
    ]


def test_pandas_tables_must_be_known_and_complete(root: Path) -> None:
    folder = root / "tests" / "typed"
    tables = frames(folder)
    tables["holding"] = tables.pop("holdings")

    with pytest.raises(BadInput) as refused:
        from_frames(load(folder).settings, tables)

    assert [str(breach) for breach in refused.value.breaches] == [
        "holdings: this table is required; add holdings.csv to the book's folder",
        "holding: this table is not known; did you mean 'holdings'?",
    ]


def test_the_frames_that_were_given_are_left_alone(root: Path) -> None:
    folder = root / "tests" / "typed"
    tables = frames(folder)
    before = {name: table.copy() for name, table in tables.items()}

    from_frames(load(folder).settings, tables)

    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, before[name])


@pytest.mark.parametrize(
    ("file", "cure"),
    [
        ("prices.parquet", 'say so with prices = "prices.parquet" in [tables], or move it away'),
        ("covariance.xlsx", 'say so with covariance = "covariance.xlsx" in [tables], or move it away'),
        ("BENCHMRK.CSV", "did you mean 'benchmark.csv'? Else name it in [tables], or move it away"),
        ("FX.XLSX", 'say so with fx = "FX.XLSX" in [tables], or move it away'),
    ],
)
def test_no_table_beside_the_book_vanishes_whatever_its_suffix(listed: Folder, file: str, cure: str) -> None:
    (listed.path / file).write_bytes(b"anything")

    assert told(listed.path) == [f"{file}: no table of a book has this name; {cure}"]


def test_a_file_that_is_like_no_table_is_not_guessed_at(listed: Folder) -> None:
    (listed.path / "long.csv").write_text("a\n1\n", encoding="utf-8")

    (only,) = told(listed.path)

    assert only.startswith("long.csv: no table of a book has this name; known here: benchmark.csv, ")


def test_locks_of_spreadsheets_and_hidden_files_are_no_tables(listed: Folder) -> None:
    for file in ("~$holdings.xlsx", "._holdings.csv", ".~lock.holdings.csv#"):
        (listed.path / file).write_bytes(b"anything")

    assert load(listed.path).account == "main"


def test_a_file_that_is_named_in_another_spelling_of_its_path_is_no_stranger(listed: Folder) -> None:
    (listed.path / "holdings.csv").rename(listed.path / "custodian.csv")

    assert load(listed.path, overrides=["tables.holdings=./custodian.csv"]).account == "main"


def test_a_link_that_leads_nowhere_is_not_an_absent_table(listed: Folder) -> None:
    (listed.path / "benchmark.csv").unlink()
    (listed.path / "benchmark.csv").symlink_to("nowhere.csv")

    assert told(listed.path)[0].startswith("benchmark.csv: this file is missing")
