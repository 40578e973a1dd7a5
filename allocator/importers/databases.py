"""A table from a database: an address and a query of `book.toml` in, cells as a CSV file would hold them out.

A query may only read: SQLite is opened for reading and may do nothing else, PostgreSQL reads in a transaction that
cannot write.
"""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pandas as pd

from allocator.errors import BadInput, Breach
from allocator.importers.addresses import FEWER_ROWS, ONE_SELECT, Unanswered, database_engine, database_said
from allocator.tables.files import MOST_FILE_BYTES, RawTable, header_breaches

if TYPE_CHECKING:
    from sqlalchemy import Connection, TextClause

MOST_ROWS, MOST_CELLS, MOST_LETTERS = 500_000, 5_000_000, 131_072
"""What a query may give, and how long a cell may be (as in a CSV file); what is beyond is not read."""
MOST_STEPS = 20_000
"""Of SQLite, each 100,000 instructions of its machine: some minutes, however fast the machine is."""
MOST_SECONDS = 300
"""What PostgreSQL may take for a query, where neither the address nor the database says otherwise."""


def read_query(table: str, url: str, query: str, folder: Path, as_of: dt.date) -> RawTable:
    """What a database answers, as texts; rows are counted from 1. `:as_of` in the query is the day of the book.

    Raises:
        BadInput: it cannot be asked, or refuses, or what it gives is no table; nothing of a password is told.
    """
    key, secrets, fault = "url", set[str](), None
    try:
        engine = database_engine(url, folder, secrets)
        try:
            with engine.connect() as connection:
                key = "query"
                header, rows = _answer(connection, _statement(query, as_of))
        finally:
            engine.dispose()
    except MemoryError:
        fault = "the answer is too large for the memory here", FEWER_ROWS
    except Unanswered as refused:
        fault = refused.args
    except Exception as error:  # drivers have no error in common
        otherwise = "look at the address" if key == "url" else "try the query where you wrote it"
        fault = database_said(error, secrets, reached=key == "query", otherwise=otherwise)
    if fault:  # not raised above, where an error of a driver would be its context
        raise BadInput([Breach("book.toml", None, f"tables.{table}.{key}", None, *fault)])
    called = f"{table} of {url.partition('?')[0].rpartition('/')[2].rpartition('@')[2]}"
    if breaches := [*header_breaches(called, None, header), *_odd_cells(called, header, rows)]:
        raise BadInput(breaches)
    frame = pd.DataFrame([tuple(map(_text, row)) for row in rows], columns=pd.Index(header, dtype=object), dtype=object)
    return RawTable(called, frame, tuple(range(1, len(rows) + 1)))


def _statement(query: str, as_of: dt.date) -> TextClause:
    from sqlalchemy import text

    # every other colon is the query's own: of a time, a cast, or a text
    statement = text(re.sub(r"(?<![:\w\\]):(?=\w)(?!as_of\b)", r"\:", query))
    return statement.bindparams(as_of=as_of) if statement._bindparams else statement


def _answer(connection: Connection, statement: TextClause) -> tuple[list[str], list[Sequence[Any]]]:
    """The columns and rows that a query gives, of which no more are fetched than a table may have."""
    driver: Any = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):
        _bound_sqlite(driver)
    else:
        from sqlalchemy import text

        limit = "SELECT set_config('statement_timeout', :limit, true)"
        unlimited = text(f"{limit} WHERE current_setting('statement_timeout') = '0'")
        connection.execute(unlimited, {"limit": f"{MOST_SECONDS}s"})
    # names as they are: BRK.B is no column B of a table BRK
    asked = connection.execution_options(stream_results=True, sqlite_raw_colnames=True).execute(statement)
    with asked as result:
        if not result.returns_rows:
            raise Unanswered("gives no table", ONE_SELECT)
        header, rows, letters = list(result.keys()), list[Sequence[Any]](), 0
        for part in result.partitions(1000):
            rows += part
            letters += sum(len(cell) for row in part for cell in row if isinstance(cell, str | bytes))
            if len(rows) > MOST_ROWS or len(rows) * len(header) > MOST_CELLS or letters > MOST_FILE_BYTES:
                rule = f"gives more than {MOST_ROWS:,} rows, {MOST_CELLS:,} cells or {MOST_FILE_BYTES / 1e6:,.0f} MB"
                raise Unanswered(rule, FEWER_ROWS)
    if not rows:
        raise Unanswered("gives no rows", "look what it asks for: a day, an account or a spelling that is not there")
    return header, rows


def _bound_sqlite(driver: sqlite3.Connection) -> None:
    """Let a connection read and nothing else: a file could be attached, or a copy written, where this one is shut."""
    reading = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)

    def judged(action: int, first: str | None, *_: object) -> int:
        declares = action == sqlite3.SQLITE_UPDATE and first == "sqlite_master"  # what json_each does, in no file
        return sqlite3.SQLITE_OK if action in reading or declares else sqlite3.SQLITE_DENY

    driver.set_authorizer(judged)
    driver.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 8 * MOST_LETTERS)
    steps = iter(range(MOST_STEPS))
    driver.set_progress_handler(lambda: next(steps, None) is None, 100_000)


def _odd_cells(name: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[Breach]:
    """The first cell of each column that no CSV file could hold."""
    for at, column in enumerate(header):
        faults = ((number, fault) for number, row in enumerate(rows, 1) if (fault := _cell_fault(row[at])))
        for number, (rule, cure) in islice(faults, 1):
            yield Breach(name, number, column, None, rule, cure)


def _cell_fault(cell: object) -> tuple[str, str] | None:
    if cell is not None and not isinstance(cell, _PLAIN):
        rule = f"is of type {type(cell).__name__}, and no text, number or date"
        return rule, "cast it to one of these in the query"
    if isinstance(cell, str) and (len(cell) > MOST_LETTERS or "\0" in cell):
        return f"is a text of more than {MOST_LETTERS:,} characters, or with a NUL", "correct it, or leave it out"
    return None


_PLAIN = (str, int, float, Decimal, dt.date, UUID)  # a bool is an int, and a timestamp a date


def _text(cell: object) -> str:
    """A cell as a CSV file has it: a blank for NULL, no zeros that only the type of a column adds."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, Decimal) and cell.is_finite():
        text = format(cell, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(cell, float) and cell.is_integer():
        return format(cell, ".0f")
    return str(cell).strip()
