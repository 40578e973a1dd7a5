"""Table files: what is read as it was written, on which line, and what is no table at all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from allocator.errors import BadInput
from allocator.tables.files import RawTable, from_frame, read_table


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "t.csv"


def written(path: Path, content: str | bytes) -> RawTable:
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return read_table(path)


def refused(path: Path, content: str | bytes | None = None) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read_table(path) if content is None else written(path, content)
    return [str(breach) for breach in caught.value.breaches]


def test_cells_come_as_untouched_text_with_their_lines(table: Path) -> None:
    raw = written(table, "a,b\n 007 ,NaN\n1e3,\n")

    assert raw.name == "t.csv"
    assert raw.frame.to_dict("list") == {"a": ["007", "1e3"], "b": ["NaN", ""]}
    assert raw.rows == (2, 3)


def test_a_table_is_called_what_the_caller_says(table: Path) -> None:
    table.write_text("a\n1\n", encoding="utf-8")

    assert read_table(table, "holdings").name == "holdings"


def test_blank_lines_are_skipped_but_counted(table: Path) -> None:
    raw = written(table, "\na,b\n\n1,2\n,\n   \n3,4\n\n")

    assert raw.frame.to_numpy().tolist() == [["1", "2"], ["3", "4"]]
    assert raw.rows == (4, 7)


def test_a_quoted_line_break_keeps_the_right_line_numbers(table: Path) -> None:
    raw = written(table, 'a,b\n"one\ntwo",1\n3,"four, ""five"""\n')

    assert raw.frame["a"].tolist() == ["one\ntwo", "3"]
    assert raw.frame["b"].tolist() == ["1", 'four, "five"']
    assert raw.rows == (2, 4)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "old mac"])
def test_every_line_ending_gives_the_same_rows(table: Path, end: str) -> None:
    raw = written(table, end.join(["a,b", "1,2", "", '"x', 'y",4']))

    assert raw.rows == (2, 4)
    assert raw.frame["b"].tolist() == ["2", "4"]


def test_a_byte_order_mark_is_not_part_of_the_first_name(table: Path) -> None:
    raw = written(table, b"\xef\xbb\xbfname\nZ\xc3\xbcrich\n")

    assert raw.frame.to_dict("list") == {"name": ["Zürich"]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "t.csv: the file is empty; write a header and at least one row"),
        ("\n\n", "t.csv: the file is empty; write a header and at least one row"),
        ("a,b\n", "t.csv: the table is empty: it has only a header; add at least one row"),
        ("a;b\n1,5;2\n",
         "t.csv:1: is separated by semicolons (got 'a;b'); separate with commas, and write 1.5 for 1,5"),
        ("a\tb\n1\t2\n", "t.csv:1: is separated by tabs (got 'a\\tb'); separate with commas, and write 1.5 for 1,5"),
        ("a,a\n1,2\n", "t.csv:1 a: this column is there 2 times; remove or rename all but one"),
        (",a\n0,2\n", "t.csv:1: column 1 has no name; name it, or remove it (pandas writes none with index=False)"),
        ("a,b\n1,2\n1,2,3\n",
         "t.csv:3: the row has 3 cells and the header 2; quote text that contains a comma, and write 1.5 for 1,5"),
        ("a,b\n1\n", "t.csv:2: the row has 1 cells and the header 2; add what is missing"),
        ('a,b\n1,2\n"1,2\n3,4\n',
         't.csv:3: the quotes do not fit: unexpected end of data; close each quote; write "" for one inside'),
        (b"\x00\x01\x02", "t.csv: is not text but a binary file; save it as 'CSV UTF-8'"),
        (b"PK\x03\x04\x00",
         "t.csv: is not text but a spreadsheet or archive; name it .xlsx, or save it as 'CSV UTF-8'"),
        ("a\n1\n".encode("utf-16"), "t.csv: is UTF-16, not UTF-8 text; save it as 'CSV UTF-8'"),
        ("name\nGenève\n".encode("latin-1"), "t.csv:2: is not UTF-8 text (byte 0xe8); save it as 'CSV UTF-8'"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_table_is_refused_with_its_cure(table: Path, content: str | bytes, expected: str) -> None:
    assert refused(table, content) == [expected]


def test_all_ragged_rows_are_reported_at_once(table: Path) -> None:
    assert [line.split(";")[0] for line in refused(table, "a,b\n1\n1,2\n1,2,3\n")] == [
        "t.csv:2: the row has 1 cells and the header 2",
        "t.csv:4: the row has 3 cells and the header 2",
    ]


def test_a_missing_file_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "holdings.csv").write_text("a\n1\n", encoding="utf-8")

    assert refused(tmp_path / "holding.csv") == ["holding.csv: this file is missing; did you mean 'holdings.csv'?"]
    assert refused(tmp_path / "fx.csv") == [f"fx.csv: this file is missing; add fx.csv to the folder '{tmp_path.name}'"]
    assert "there is no folder" in refused(tmp_path / "nowhere" / "fx.csv")[0]


def test_a_folder_is_not_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").mkdir()

    assert refused(tmp_path / "t.csv") == ["t.csv: this file is missing; this is a folder: name the file in it"]


@pytest.mark.parametrize("name", ["t.xls", "t.pkl", "t.json", "t"])
def test_an_unknown_kind_of_file_is_refused(tmp_path: Path, name: str) -> None:
    assert refused(tmp_path / name, "a\n1\n") == [
        f"{name}: must be a .csv, .parquet or .xlsx file; save {name} as one of these"
    ]


def workbook(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for number, row in enumerate(rows, 1):
            for column, cell in enumerate(row, 1):
                sheet.cell(number, column, cell)
    book.save(path)
    return path


def test_a_sheet_gives_values_and_the_rows_of_the_spreadsheet(tmp_path: Path) -> None:
    rows: list[list[Any]] = [["a", "b"], [1, " x "], [None, None], [2.5, None], [True, "#N/A"]]

    raw = read_table(workbook(tmp_path / "t.xlsx", {"Sheet1": rows}))

    assert raw.frame.to_dict("list") == {"a": [1, 2.5, True], "b": ["x", None, "#N/A"]}
    assert raw.rows == (2, 4, 5)


def test_of_several_sheets_the_one_named_like_the_file_is_read(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", {"notes": [["hello"]], "t": [["a"], [1]]})

    assert read_table(path).frame.to_dict("list") == {"a": [1]}


def test_several_sheets_without_a_hint_are_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", {"one": [["a"], [1]], "two": [["a"], [2]]})

    assert refused(path) == ["t.xlsx: has 2 sheets, none named 't'; name one 't'"]


def test_cells_beside_the_header_of_a_sheet_are_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", {"t": [["a", "b"], [1, 2, "note"]]})

    assert refused(path)[0].startswith("t.xlsx:2: the row has 3 cells and the header 2; ")


def test_a_column_of_a_sheet_must_be_named_in_words(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", {"t": [["a", 2026], [1, 2]]})

    assert refused(path) == ["t.xlsx:1: a column name must be text (got '2026'); name column 2 in words"]


@pytest.mark.parametrize(
    ("name", "package", "expected"),
    [
        ("t.xlsx", "openpyxl", "t.xlsx: is not an Excel workbook; save it as .xlsx"),
        ("t.parquet", "pyarrow", "t.parquet: is not a Parquet file; write it with DataFrame.to_parquet"),
    ],
)
def test_a_file_under_a_false_name_is_refused(tmp_path: Path, name: str, package: str, expected: str) -> None:
    pytest.importorskip(package)

    assert refused(tmp_path / name, "a\n1\n") == [expected]


@pytest.mark.parametrize(
    ("name", "package", "expected"),
    [
        (
            "t.xlsx",
            "openpyxl",
            "t.xlsx: needs openpyxl, which is not installed; pip install 'portfolio-allocator[excel]'",
        ),
        (
            "t.parquet",
            "pyarrow",
            "t.parquet: needs pyarrow, which is not installed; pip install 'portfolio-allocator[parquet]'",
        ),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str, expected: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    assert refused(tmp_path / name, "a\n1\n") == [expected]


def test_a_parquet_file_gives_values_and_its_dates_as_a_column(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    dates = pd.date_range("2026-01-01", periods=2, name="date")
    pd.DataFrame({"NVDA": [1.0, None]}, index=dates).to_parquet(tmp_path / "prices.parquet")

    raw = read_table(tmp_path / "prices.parquet")

    assert list(raw.frame) == ["date", "NVDA"]
    assert raw.frame["date"].tolist() == list(dates)
    assert raw.rows == (1, 2)


def test_an_index_named_like_a_column_of_a_contract_becomes_one() -> None:
    frame = pd.DataFrame({"weight": [0.4, 0.6]}, index=pd.Index(["A", "B"], name="instrument"))

    raw = from_frame("benchmark", frame)

    assert raw.frame.to_dict("list") == {"instrument": ["A", "B"], "weight": [0.4, 0.6]}
    assert raw.rows == (1, 2)


def test_every_named_level_of_an_index_becomes_a_column_in_order() -> None:
    index = pd.MultiIndex.from_tuples(
        [("2026-01-02", "A", 0), ("2026-01-02", "B", 1)], names=["date", "instrument", "n"]
    )

    raw = from_frame("prices", pd.DataFrame({"price": [1.0, 2.0]}, index=index))

    assert list(raw.frame) == ["date", "instrument", "n", "price"]


def test_an_index_without_a_name_is_left_out_and_rows_count_from_one() -> None:
    raw = from_frame("fx", pd.DataFrame({"rate": [1.0, 2.0]}, index=["x", "y"]))

    assert list(raw.frame) == ["rate"]
    assert list(raw.frame.index) == [0, 1]
    assert raw.rows == (1, 2)


def test_a_frame_that_changes_later_does_not_change_the_table() -> None:
    frame = pd.DataFrame({"rate": [1.0]})
    raw = from_frame("fx", frame)

    frame.loc[0, "rate"] = 9.0

    assert raw.frame["rate"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (pd.DataFrame({"rate": []}), "t: the table is empty; add at least one row"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "t a: this column is there 2 times; remove or rename all but one"),
        (pd.DataFrame([[1]], columns=[7]), "t: a column name must be text (got '7'); name column 1 in words"),
        (pd.DataFrame({"date": [1]}, index=pd.Index([1], name="date")),
         "t date: this column is there 2 times; remove or rename all but one"),
        (pd.Series([1.0], name="weight"),
         "t: must be a DataFrame, columns by name or a list of rows, not a Series; for a Series call .to_frame(name)"),
    ],
)  # fmt: skip
def test_a_pandas_object_that_is_no_table_is_refused(frame: Any, expected: str) -> None:
    with pytest.raises(BadInput) as caught:
        from_frame("t", frame)

    assert [str(breach) for breach in caught.value.breaches] == [expected]
