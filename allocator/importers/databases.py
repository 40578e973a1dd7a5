"""A table from a database: an address and a query of `book.toml` in, cells as a CSV file would hold them out.

A query may only read: SQLite is opened for reading and may do nothing else, PostgreSQL reads in a transaction that
cannot write. What comes from the environment is in no message: addresses are shown as they are written in `book.toml`.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote
from uuid import UUID

import pandas as pd

from allocator.errors import BadInput, Breach, closest_name, lacking_extra, printable
from allocator.tables.files import MOST_FILE_BYTES, RawTable, header_breaches, is_plain_file, names_in

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, TextClause

MOST_ROWS, MOST_CELLS, MOST_LETTERS = 500_000, 5_000_000, 131_072
"""What a query may give, and how long a cell may be (as in a CSV file); what is beyond is not read."""
MOST_STEPS = 20_000
"""Of SQLite, each 100,000 instructions of its machine: some minutes, however fast the machine is."""
MOST_SECONDS, CONNECT_SECONDS = 300, 10
"""What PostgreSQL may take for a query and to connect, where neither the address nor the database says otherwise."""

_ADDRESS = re.compile(
    r"(?P<scheme>[\w+]+)://((?P<username>[^:/]*)(:(?P<password>[^@]*))?@)?"
    r"(?P<host>\[[^\]]*\]|[^:/?]*)(:(?P<port>[^/?]*))?(/(?P<database>[^?]*))?(\?(?P<options>.*))?",
    re.DOTALL,
)
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_SECRET = re.compile("pass(?!file)|pwd|secret|token", re.IGNORECASE)
_POSTGRES, _SQLITE = "postgresql+psycopg", "sqlite"
_EXAMPLES = "write sqlite:///positions.db or postgresql+psycopg://USER:${PASSWORD}@HOST/DATABASE"


class _Unanswered(Exception):
    """A rule and a cure that say nothing of what the environment holds."""


def address_fault(url: str) -> tuple[str, str] | None:
    """What is wrong with an address as `book.toml` states it, and the cure: a password in it before all else."""
    found = _ADDRESS.fullmatch(url)
    stated = [found["password"], *(text for key, text in _options(found) if _SECRET.search(key))] if found else []
    if any(secret and not _VARIABLE.fullmatch(secret) for secret in stated):
        cure = "write ${NAME} in its place, set NAME in the environment, and change the password: it was written down"
        return "holds a password, which may not stand in a file", cure
    try:
        return None if _VARIABLE.fullmatch(url) else _parts(url) and None
    except _Unanswered as refused:
        return refused.args[0], refused.args[1]


def _parts(url: str) -> re.Match[str]:
    found = _ADDRESS.fullmatch(url)
    if found is None:
        raise _Unanswered("is no address of a database", _EXAMPLES)
    scheme = found["scheme"]
    if scheme.partition("+")[0] in ("postgresql", "postgres") and scheme != _POSTGRES:
        raise _Unanswered(f"names another driver than {_POSTGRES}", f"begin it with {_POSTGRES}://")
    if scheme not in (_POSTGRES, _SQLITE):
        cure = f"{_EXAMPLES}; for another database see `allocator.sources` in docs/plugins.md"
        raise _Unanswered(f"must begin with {_SQLITE}:/// or {_POSTGRES}://", cure)
    if scheme == _SQLITE:
        if found["host"] or found["username"] is not None or found["database"] in (None, "", ":memory:"):
            cure = "write sqlite:///positions.db for a file beside book.toml, four slashes for a path from the root"
            raise _Unanswered("names no file", cure)
        if found["options"] is not None:
            raise _Unanswered("has options, and SQLite is given none", "leave out ? and what follows")
    return found


def _options(found: re.Match[str]) -> list[tuple[str, str]]:
    return parse_qsl(found["options"] or "", keep_blank_values=True)


def read_query(table: str, url: str, query: str, folder: Path, as_of: dt.date) -> RawTable:
    """What a database answers, as texts; rows are counted from 1. `:as_of` in the query is the day of the book.

    Raises:
        BadInput: it cannot be asked, or refuses, or what it gives is no table; nothing of a password is told.
    """
    key, secrets, fault = "url", set[str](), None
    try:
        engine = _engine(url, folder, secrets)
        try:
            with engine.connect() as connection:
                key = "query"
                header, rows = _answer(connection, _statement(query, as_of))
        finally:
            engine.dispose()
    except MemoryError:
        fault = "the answer is too large for the memory here", _FEWER
    except _Unanswered as refused:
        fault = refused.args
    except Exception as error:  # drivers have no error in common
        fault = _said(getattr(error, "orig", None) or error, key, secrets)
    if fault:  # not raised above, where an error of a driver would be its context
        raise BadInput([Breach("book.toml", None, f"tables.{table}.{key}", None, *fault)])
    called = f"{table} of {url.partition('?')[0].rpartition('/')[2].rpartition('@')[2]}"
    if breaches := [*header_breaches(called, None, header), *_odd_cells(called, header, rows)]:
        raise BadInput(breaches)
    frame = pd.DataFrame([tuple(map(_text, row)) for row in rows], columns=pd.Index(header, dtype=object), dtype=object)
    return RawTable(called, frame, tuple(range(1, len(rows) + 1)))


def _engine(url: str, folder: Path, secrets: set[str]) -> Engine:
    """What connects to an address; a variable is all of it, or stands for itself within a part, however it is spelt."""
    whole = _VARIABLE.fullmatch(url)
    found = _parts(_environment(whole) if whole else url)
    parts = {key: _filled(text or "", whole) for key, text in found.groupdict().items()}
    options = {key: _filled(text, whole) for key, text in _options(found)}
    hidden = [found["password"], parts["password"], *(text for key, text in options.items() if _SECRET.search(key))]
    secrets |= {text for text in hidden if text}
    of_postgres = found["scheme"] == _POSTGRES
    try:
        from sqlalchemy import URL, NullPool, create_engine
    except ImportError:
        raise _Unanswered(*lacking_extra("SQLAlchemy", "postgres" if of_postgres else "sql")) from None
    if not of_postgres:
        place = _database_file(folder / parts["database"])
        return create_engine(f"{_SQLITE}://", creator=lambda: sqlite3.connect(place, uri=True), poolclass=NullPool)
    if (port := parts["port"]) and not (port.isascii() and port.isdigit()):
        raise _Unanswered("the port is no number", "write it as in HOST:5432, and a @ or : of a password as %40 or %3A")
    names = ("username", "password", "host", "database")
    address = URL.create(
        _POSTGRES, **{name: parts[name] or None for name in names}, port=int(port) if port else None,
        query={"connect_timeout": str(CONNECT_SECONDS), **options},
    )  # fmt: skip
    try:
        return create_engine(address, poolclass=NullPool).execution_options(postgresql_readonly=True)
    except ImportError:
        raise _Unanswered(*lacking_extra("psycopg", "postgres")) from None


def _filled(text: str, whole: object) -> str:
    """A part of an address with what the environment says in it; of a whole address from there, as it is."""
    return unquote(text) if whole else _VARIABLE.sub(_environment, unquote(text))


def _environment(variable: re.Match[str]) -> str:
    text = os.environ.get(variable[1], "")
    if not text:
        raise _Unanswered(f"the environment has no {variable[1]}", f"say export {variable[1]}=… before the command")
    if not text.isprintable() or text != text.strip():
        rule = f"{variable[1]} of the environment has a line break or blanks around it"
        raise _Unanswered(rule, "set it without them")
    return text


def _database_file(path: Path) -> str:
    if not is_plain_file(path):
        files = [name for name in names_in(path.parent) if is_plain_file(path.parent / name)]
        near = closest_name(path.name, files, by_stem=True)
        cure = f"did you mean {near!r}?" if near else "put the file there; a path is relative to the folder of the book"
        raise _Unanswered("there is no such file", cure)
    return f"file:{quote(str(path.absolute()))}?mode=ro"


def _statement(query: str, as_of: dt.date) -> TextClause:
    from sqlalchemy import text

    # every other colon is the query's own: of a time, a cast, or a text
    statement = text(re.sub(r"(?<![:\w\\]):(?=\w)(?!as_of\b)", r"\:", query))
    return statement.bindparams(as_of=as_of) if statement._bindparams else statement


_FEWER = "ask for fewer rows or columns: a where for the days and names that the book needs"


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
            raise _Unanswered("gives no table", _ONE_SELECT)
        header, rows, letters = list(result.keys()), list[Sequence[Any]](), 0
        for part in result.partitions(1000):
            rows += part
            letters += sum(len(cell) for row in part for cell in row if isinstance(cell, str | bytes))
            if len(rows) > MOST_ROWS or len(rows) * len(header) > MOST_CELLS or letters > MOST_FILE_BYTES:
                rule = f"gives more than {MOST_ROWS:,} rows, {MOST_CELLS:,} cells or {MOST_FILE_BYTES / 1e6:,.0f} MB"
                raise _Unanswered(rule, _FEWER)
    if not rows:
        raise _Unanswered("gives no rows", "look what it asks for: a day, an account or a spelling that is not there")
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


_ONE_SELECT = "write one select: a query may only read"
_CURES = {
    "^28": "look at the user and the password of the address",
    "^25006|^0A000|not authorized|authorization denied|readonly|may not be|one statement|multiple com": _ONE_SELECT,
    "^57014|interrupted|too big": _FEWER,
    "^42P01|no such table": "name a table or view that the database has",
    "^42703|no such column": "name a column that the table has",
    "^42501": "let this user read it, or ask as another user",
    'binding parameter|number of bindings|near ":"': "a query knows :as_of alone, the day of the book",
    "^42601|syntax error|incomplete": "write one select in the language of this database",
    "database is locked": "let whoever writes to it finish, and run again",
    "not a database": "name a file of SQLite",
    "unable to open": "look at the rights of the file and of its folder, where SQLite in WAL mode writes beside it",
    "refused": "look at host and port, and that the server runs",
    "resolve host|translate host|not known": "look at the spelling of the host",
    "password": "look at the user and the password of the address",
}
"""Cures by what is found in the code of an error, or in its first line."""


def _said(error: BaseException, key: str, secrets: set[str]) -> tuple[str, str]:
    """An error of a database: its first line, unless that has a password in it, and the cure."""
    line = printable(next(iter(str(error).strip().splitlines()), "") or type(error).__name__)
    of_code = f"{getattr(error, 'sqlstate', None) or ''} {line}"
    fallback = "look at the address" if key == "url" else "try the query where you wrote it"
    cure = next((cure for signs, cure in _CURES.items() if re.search(signs, of_code)), fallback)
    if any(secret in line for secret in secrets):
        line = f"{type(error).__name__}, whose text holds a password and is not shown"
    return f"the database {'cannot be reached' if key == 'url' else 'refuses it'}: {line[:300]}", cure


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
