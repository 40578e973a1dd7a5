"""Tables behind charts and in workbooks: the document's own numbers, and nothing that it does not hold."""

from __future__ import annotations

import copy
import csv
import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from allocator.reporting.tables import OF_FORMAT, Table, plan_tables
from allocator.reporting.workbook import workbook
from tests.thoroughness import THOROUGH


def numbers(document: object) -> Iterator[float]:
    """Every number of a document."""
    if isinstance(document, dict | list):
        for part in document.values() if isinstance(document, dict) else document:
            yield from numbers(part)
    elif isinstance(document, int | float) and not isinstance(document, bool):
        yield float(document)


def tables_of(document: dict[str, Any]) -> dict[str, Table]:
    return OF_FORMAT[document["format"]](document)


@pytest.mark.parametrize("command", ["rebalance", "beliefs", "returns", "outlook", "stress"])
def test_every_number_of_a_table_is_one_of_its_document(documents: dict[str, Any], command: str) -> None:
    known = {*numbers(documents[command])}
    for name, table in tables_of(documents[command]).items():
        cells = [cell for row in table.rows for cell in row if isinstance(cell, int | float)]
        assert cells or name in ("observations",), name
        assert {float(cell) for cell in cells if not isinstance(cell, bool)} <= known, name


def test_tables_without_rows_are_left_out(documents: dict[str, Any]) -> None:
    idle = copy.deepcopy(documents["rebalance"]) | {"orders": [], "axes": None, "attribution": None}

    assert {"orders", "axes", "reasons"} <= {*plan_tables(documents["rebalance"])}
    assert not {"orders", "axes", "reasons", "reviews"} & {*plan_tables(idle)}


@pytest.mark.parametrize("command", ["rebalance", "stress"])
def test_the_workbook_has_the_numbers_of_its_tables_as_numbers(documents: dict[str, Any], command: str) -> None:
    tables = tables_of(documents[command])
    book = openpyxl.load_workbook(io.BytesIO(workbook(tables, "USD")))

    assert book.sheetnames == [name[:31] for name in tables]
    for sheet, table in zip(book.worksheets, tables.values(), strict=True):
        rows = [*sheet.iter_rows(min_row=2, values_only=True)]
        assert len(rows) == len(table.rows)
        for row, wanted in zip(rows, table.rows, strict=True):
            for cell, was in zip(row, wanted, strict=True):
                if isinstance(was, bool):
                    assert cell == ("yes" if was else "no")
                elif isinstance(was, int | float):
                    assert cell == pytest.approx(was, rel=1e-15, abs=0)
                else:
                    assert (cell or "") == (was or "")


def test_units_stand_in_the_header_of_a_workbook(documents: dict[str, Any]) -> None:
    book = openpyxl.load_workbook(io.BytesIO(workbook(tables_of(documents["rebalance"]), "USD")))

    assert [cell.value for cell in book["orders"][1]] == [
        "side", "instrument", "quantity", "price (in USD)", "value (in USD)", "cost (in USD)",
    ]  # fmt: skip
    assert book["scenarios"]["B1"].value == "belief (fraction)"


@pytest.mark.parametrize("name", ["=1+1", "@SUM(A1)", "http://a.example/", "+cmd", "{=A1}", "x" * 40_000])
def test_no_cell_of_a_workbook_is_a_formula_or_a_link(documents: dict[str, Any], name: str) -> None:
    plan = copy.deepcopy(documents["rebalance"])
    plan["orders"][0]["instrument"] = name
    sheet = openpyxl.load_workbook(io.BytesIO(workbook({"orders": plan_tables(plan)["orders"]}, "USD")))["orders"]

    assert (sheet["B2"].data_type, sheet["B2"].value, sheet["B2"].hyperlink) == ("s", name[:32_767], None)


@pytest.mark.skipif(not THOROUGH, reason="in make thorough alone: a spreadsheet program is large and slow to start")
def test_a_spreadsheet_program_reads_the_numbers_of_the_document(documents: dict[str, Any], tmp_path: Path) -> None:
    """LibreOffice, without a screen: what it writes as CSV is what stands in the tables, to nine digits."""
    office = shutil.which("soffice")
    if office is None:
        pytest.skip("LibreOffice is not installed")
    tables = tables_of(documents["rebalance"])
    (tmp_path / "plan.xlsx").write_bytes(workbook(tables, "USD"))
    as_csv = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false,false,false,false,-1"  # all sheets, as stored
    command = [office, f"-env:UserInstallation={(tmp_path / 'home').as_uri()}", "--headless", "--convert-to", as_csv]
    subprocess.run([*command, "plan.xlsx"], cwd=tmp_path, check=True, capture_output=True)
    for name, table in tables.items():
        with (tmp_path / f"plan-{name}.csv").open(encoding="utf-8", newline="") as opened:
            _, *rows = csv.reader(opened)
        assert len(rows) == len(table.rows)
        for row, wanted in zip(rows, table.rows, strict=True):
            for cell, was in zip(row, wanted, strict=False):
                if isinstance(was, int | float) and not isinstance(was, bool):
                    number = float(cell.rstrip("%")) / (100 if cell.endswith("%") else 1)
                    assert number == pytest.approx(was, rel=1e-8, abs=1e-18)  # as many digits as it writes
