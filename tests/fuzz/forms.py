"""Tables as workbooks and Parquet, as other programs write them."""

from __future__ import annotations

import datetime as dt
import io
import re
import zipfile
from collections.abc import Sequence
from typing import Any

Odd = tuple[int, int, int] | None
"""Row and column of a cell of another type, and which; None where there is none."""
TYPES: tuple[Any, ...] = (
    True,
    dt.date(2026, 11, 20),
    dt.datetime(2026, 11, 20, 5),
    "=1+1",
    "#N/A",
    1e300,
    None,
    "\x0b",
)


def _typed(cell: str) -> Any:
    if cell == "":
        return None
    if re.fullmatch(r"[0-9]+", cell):
        return int(cell)
    return float(cell) if re.fullmatch(r"-?[0-9]*\.?[0-9]+", cell) else cell


def workbook_of(rows: Sequence[Sequence[str]], odd: Odd) -> bytes:
    """A workbook of one sheet, numbers as numbers."""
    import openpyxl

    book = openpyxl.Workbook()
    for number, cells in enumerate(rows, 1):
        for column, cell in enumerate(cells, 1):
            book.active.cell(number, column, _typed(cell) if number > 1 else cell)
    if odd is not None:
        value = TYPES[odd[2]]
        book.active.cell(odd[0] + 1, odd[1] + 1, "x" if value == "\x0b" else value)
    content = io.BytesIO()
    book.save(content)
    return _timeless(content)


def _timeless(workbook: io.BytesIO) -> bytes:
    """The same workbook, which says nothing of when it was made: a mutant is the same each time."""
    made = io.BytesIO()
    with zipfile.ZipFile(workbook) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            text = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2026-01-01T00:00:00Z", old.read(name))
            new.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def parquet_of(rows: Sequence[Sequence[str]], odd: Odd) -> bytes:
    """A Parquet file, a column of numbers as numbers; an odd cell makes a column of texts or of lists."""
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, Any] = {}
    for at, name in enumerate(rows[0]):
        cells = [_typed(cells[at]) for cells in rows[1:]]
        numbers = all(isinstance(cell, int | float | None) for cell in cells)
        columns[name] = [None if c is None else float(c) if numbers else str(c) for c in cells]
    if odd is not None:
        name = rows[0][odd[1]]
        columns[name] = [[cell] if odd[2] % 2 else str(cell) for cell in columns[name]]
    content = io.BytesIO()
    parquet.write_table(pa.table(columns), content)
    return content.getvalue()
