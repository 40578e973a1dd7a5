"""A workbook: a sheet a table, numbers as numbers, units in the header; no cell is a formula or a link."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allocator.errors import required_extra
from allocator.reporting.tables import OF_FORMAT, Cell, Table, Unit
from allocator.tables.files import check_file, replace_file

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

_SHOWN: Mapping[Unit, str] = {
    "fraction": "0.00%",
    "bps": "0.0",
    "money": "#,##0.00",
    "price": "#,##0.00####",
    "number": "General",
    "": "@",
}
_UNITS: Mapping[Unit, str] = {"fraction": "fraction", "bps": "bps", "money": "in {}", "price": "in {}"}
_WIDEST = 60
"""Characters of a column that is made as wide as its texts."""
LONGEST = 32_767
"""Characters that a cell of a workbook holds."""


def check_workbook(path: str) -> None:
    """Refuse now what could not be written later, before anything is solved.

    Raises:
        BadInput: another suffix than .xlsx, no folder, no XlsxWriter.
    """
    check_file(path, (".xlsx",), "--xlsx")
    _writer()


def write_workbook(document: Mapping[str, Any], path: str) -> None:
    """The tables of what `--json` writes as a file, in place of what was there.

    Raises:
        BadInput: the extra `report` is not installed, or the file cannot be written.
    """
    currency = document["book"]["currency"] if "book" in document else ""
    replace_file(Path(path), workbook(OF_FORMAT[document["format"]](document), currency), "--xlsx")


def workbook(tables: Mapping[str, Table], currency: str) -> bytes:
    """The file: a sheet for each table, called like it; amounts are in `currency`.

    Raises:
        BadInput: the extra `report` is not installed.
    """
    xlsxwriter = _writer()

    written = io.BytesIO()
    options = {
        "in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False,
        "nan_inf_to_errors": False,
    }  # fmt: skip
    with xlsxwriter.Workbook(written, options) as book:
        head = book.add_format({"bold": True, "text_wrap": True, "valign": "top", "bottom": 1})
        formats = {unit: book.add_format({"num_format": shown}) for unit, shown in _SHOWN.items()}
        for name, table in tables.items():
            _write(book.add_worksheet(name[:31]), table, currency, head, formats)
    return written.getvalue()


def _writer() -> Any:
    return required_extra("xlsxwriter", "XlsxWriter", "report", "--xlsx")


def _write(sheet: Worksheet, table: Table, currency: str, head: Format, formats: Mapping[Unit, Format]) -> None:
    for j, column in enumerate(table.columns):
        unit = _UNITS.get(column.unit, "").format(currency)
        sheet.write_string(0, j, f"{column.name} ({unit})" if unit else column.name, head)
        for i, row in enumerate(table.rows, 1):
            _write_cell(sheet, i, j, row[j], formats.get(column.unit, formats[""]))
        texts = [len(str(row[j])) for row in table.rows if isinstance(row[j], str)]
        sheet.set_column(j, j, min(max([12, *texts]), _WIDEST))
    sheet.freeze_panes(1, 1)


def _write_cell(sheet: Worksheet, i: int, j: int, cell: Cell, shown: Format) -> None:
    if isinstance(cell, bool):
        sheet.write_string(i, j, "yes" if cell else "no")
    elif isinstance(cell, int | float) and math.isfinite(cell):
        sheet.write_number(i, j, cell, shown)
    elif cell is not None:
        sheet.write_string(i, j, str(cell)[:LONGEST])
