"""Workbooks and Parquet files that are small on disk and endless to read are refused before they are read."""

from __future__ import annotations

import io
import random
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from allocator.errors import BadInput
from allocator.tables.files import MOST_TAGS, RawTable, read_table

openpyxl = pytest.importorskip("openpyxl")
HEAD = (
    b'<row r="1"><c r="A1" t="inlineStr"><is><t>a</t></is></c><c r="B1" t="inlineStr"><is><t>b</t></is></c></row>'
    b'<row r="2"><c r="A2"><v>1</v></c><c r="B2"><v>2</v></c></row>'
)
NAMESPACE = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
Make = Callable[..., Path]


def sheet(rows: bytes) -> bytes:
    """A worksheet of two rows and these."""
    return b"<worksheet " + NAMESPACE + b"><sheetData>" + HEAD + rows + b"</sheetData></worksheet>"


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """A workbook some of whose parts are others; with as much noise beside them as hides how well they pack."""

    def make(parts: dict[str, bytes], noise: int = 2_000_000) -> Path:
        content = io.BytesIO()
        openpyxl.Workbook().save(content)
        with zipfile.ZipFile(content) as plain, zipfile.ZipFile(tmp_path / "t.xlsx", "w", zipfile.ZIP_DEFLATED) as odd:
            for part in plain.infolist():
                odd.writestr(part.filename, parts.get(part.filename, plain.read(part)))
            odd.writestr(
                "xl/media/noise.bin", b"\x89PNG" + random.Random(0).randbytes(noise)
            )  # never begins as XML does
        return tmp_path / "t.xlsx"

    return make


def bounded(path: Path) -> RawTable | str:
    """The table or why not, within ten seconds of work and 300 MB."""
    start, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        return read_table(path)
    except BadInput as error:
        return str(error)
    finally:
        assert time.process_time() - start < 10
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000


SHEET = "xl/worksheets/sheet1.xml"


def test_a_stray_cell_at_the_far_corner_is_named_at_once(made: Make) -> None:
    assert "t.xlsx:1048576: the row has 16384 cells" in str(
        bounded(made({SHEET: sheet(b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>')}))
    )


def test_a_sheet_whose_last_row_is_filled_is_read_at_once(made: Make) -> None:
    last = b'<row r="1048576"><c r="A1048576"><v>3</v></c><c r="B1048576"><v>4</v></c></row>'

    raw = bounded(made({SHEET: sheet(last)}))

    assert isinstance(raw, RawTable)
    assert raw.rows == (2, 1_048_576)


STRAY_ROWS = b"".join(b'<row r="%d"><c r="XFD%d"><v>1</v></c></row>' % (row, row) for row in range(3, 20_000))
NESTED = b"<x>" * 150_000 + b"</x>" * 150_000


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({SHEET: sheet(b'<row r="99999999999"><c><v>1</v></c></row>')}, "has more than 2,000,000 cells"),
        ({SHEET: sheet(STRAY_ROWS)}, "has more than 2,000,000 cells"),
        ({SHEET: sheet(b'<row r="3">' + NESTED + b"</row>")}, "holds more than a table does"),
        ({SHEET: sheet(b" " * 20_000_000)}, "holds more than a table does"),
        ({SHEET: b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]>" + sheet(b"")}, "is not an Excel workbook"),
        ({SHEET: sheet(b"").decode().encode("utf-16")}, "is not an Excel workbook"),
        ({SHEET: b"<worksheet"}, "is not an Excel workbook"),
        ({SHEET: sheet(b'<row r="-5"><c r="A-5"><v>1</v></c></row>')}, "is not an Excel workbook"),
        ({"xl/styles.xml": b"<styleSheet " + NAMESPACE + b">" + b"<xf/>" * (MOST_TAGS["others"] + 1)},
         "holds more than a table does"),
        ({"xl/workbook.xml": b"<sst>" + b"<si><t>x</t></si>" * (MOST_TAGS["texts"] + 1)},
         "holds more than a table does"),
    ],
    ids=["far row", "stray cells", "depth", "blanks", "entities", "utf-16", "cut", "row", "styles", "texts"],
)  # fmt: skip
def test_a_workbook_that_no_table_needs_is_refused_in_little_time_and_memory(
    made: Make, parts: dict[str, bytes], said: str
) -> None:
    assert said in str(bounded(made(parts)))


def test_an_archive_that_unpacks_to_hundreds_of_times_its_size_is_refused_unopened(made: Make) -> None:
    assert "which no table does" in str(bounded(made({SHEET: sheet(b" " * 30_000_000)}, noise=0)))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18, b"no archive"])
def test_what_is_no_workbook_is_refused_as_ours(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.xlsx").write_bytes(content)

    assert "is not an Excel workbook" in str(bounded(tmp_path / "t.xlsx"))


def test_a_parquet_file_of_more_values_than_a_table_has_is_refused_unread(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    many = pa.chunked_array([pa.nulls(1_000_000, pa.int8())] * 21)
    parquet.write_table(pa.table({"a": many}), tmp_path / "t.parquet")

    assert "has more than 20,000,000 cells" in str(bounded(tmp_path / "t.parquet"))


@pytest.mark.parametrize("damage", [10, 60, 200])
def test_a_damaged_parquet_file_is_refused_as_ours(tmp_path: Path, damage: int) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(
        pa.table({"a": ["text that is long enough"] * 50}), tmp_path / "t.parquet", use_dictionary=False
    )
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    content[damage : damage + 6] = b"\x94" * 6
    (tmp_path / "t.parquet").write_bytes(content)

    found = bounded(tmp_path / "t.parquet")

    assert isinstance(found, RawTable) or "is not a Parquet file" in found
