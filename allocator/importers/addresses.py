"""The address of a database: as somebody states it, with what the environment says in it, and what a database answers.

What comes from the environment is in no message: addresses are shown as they are written, and an error that repeats a
password is not shown.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import parse_qsl, quote, unquote

from allocator.errors import closest_name, lacking_extra, printable

if TYPE_CHECKING:
    from sqlalchemy import Engine

Mode: TypeAlias = Literal["ro", "rw", "rwc"]
CONNECT_SECONDS, LOCK_SECONDS = 10, 30
"""What PostgreSQL may take to connect, where the address does not say otherwise, and a writer to wait for another."""

_ADDRESS = re.compile(
    r"(?P<scheme>[\w+]+)://((?P<username>[^:/]*)(:(?P<password>[^@]*))?@)?"
    r"(?P<host>\[[^\]]*\]|[^:/?]*)(:(?P<port>[^/?]*))?(/(?P<database>[^?]*))?(\?(?P<options>.*))?",
    re.DOTALL,
)
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_SECRET = re.compile("pass(?!file)|pwd|secret|token", re.IGNORECASE)
_POSTGRES, _SQLITE = "postgresql+psycopg", "sqlite"
_EXAMPLES = "write sqlite:///positions.db or postgresql+psycopg://USER:${PASSWORD}@HOST/DATABASE"


class Unanswered(Exception):
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
    except Unanswered as refused:
        return refused.args[0], refused.args[1]


def _parts(url: str) -> re.Match[str]:
    found = _ADDRESS.fullmatch(url)
    if found is None:
        raise Unanswered("is no address of a database", _EXAMPLES)
    scheme = found["scheme"]
    if scheme.partition("+")[0] in ("postgresql", "postgres") and scheme != _POSTGRES:
        raise Unanswered(f"names another driver than {_POSTGRES}", f"begin it with {_POSTGRES}://")
    if scheme not in (_POSTGRES, _SQLITE):
        cure = f"{_EXAMPLES}; for another database see `allocator.sources` in docs/plugins.md"
        raise Unanswered(f"must begin with {_SQLITE}:/// or {_POSTGRES}://", cure)
    if scheme == _SQLITE:
        if found["host"] or found["username"] is not None or found["database"] in (None, "", ":memory:"):
            cure = "write sqlite:///positions.db for a file beside book.toml, four slashes for a path from the root"
            raise Unanswered("names no file", cure)
        if found["options"] is not None:
            raise Unanswered("has options, and SQLite is given none", "leave out ? and what follows")
    return found


def _options(found: re.Match[str]) -> list[tuple[str, str]]:
    return parse_qsl(found["options"] or "", keep_blank_values=True)


def database_engine(url: str, folder: Path, secrets: set[str], mode: Mode = "ro") -> Engine:
    """What connects to an address; a variable is all of it, or stands for itself within a part, however it is spelt.

    It may only read, unless by its `mode`: rw mends what a writer who was killed has left in a file of SQLite, rwc also
    writes, and makes the file; whoever uses these begins transactions.

    Raises:
        Unanswered: nothing can be asked there; `secrets` then hold what no message may repeat.
    """
    whole = _VARIABLE.fullmatch(url)
    found = _parts(_environment(whole) if whole else url)
    parts = {key: _filled(text or "", whole) for key, text in found.groupdict().items()}
    options = {key: _filled(text, whole) for key, text in _options(found)}
    hidden = [found["password"], parts["password"], *(text for key, text in options.items() if _SECRET.search(key))]
    secrets |= {text for text in hidden if text}
    if found["scheme"] == _SQLITE:
        return sqlite_engine(folder / parts["database"], mode)
    try:
        from sqlalchemy import URL, NullPool, create_engine
    except ImportError:
        raise Unanswered(*lacking_extra("SQLAlchemy", "postgres")) from None
    if (port := parts["port"]) and not (port.isascii() and port.isdigit()):
        raise Unanswered("the port is no number", "write it as in HOST:5432, and a @ or : of a password as %40 or %3A")
    names = ("username", "password", "host", "database")
    address = URL.create(
        _POSTGRES, **{name: parts[name] or None for name in names}, port=int(port) if port else None,
        query={"connect_timeout": str(CONNECT_SECONDS), **options},
    )  # fmt: skip
    try:
        made = create_engine(address, poolclass=NullPool)
    except ImportError:
        raise Unanswered(*lacking_extra("psycopg", "postgres")) from None
    return made if mode == "rwc" else made.execution_options(postgresql_readonly=True)


def sqlite_engine(path: Path, mode: Mode = "ro") -> Engine:
    """What opens a file of SQLite.

    Raises:
        Unanswered: it is not there, and is not to be made.
    """
    try:
        from sqlalchemy import NullPool, create_engine
    except ImportError:
        raise Unanswered(*lacking_extra("SQLAlchemy", "sql")) from None
    place = f"file:{quote(str(path.absolute()))}" if mode == "rwc" else _database_file(path)
    own: Any = {} if mode == "ro" else {"isolation_level": None, "timeout": LOCK_SECONDS}
    return create_engine(
        f"{_SQLITE}://", creator=lambda: sqlite3.connect(f"{place}?mode={mode}", uri=True, **own), poolclass=NullPool
    )


def _filled(text: str, whole: object) -> str:
    """A part of an address with what the environment says in it; of a whole address from there, as it is."""
    return unquote(text) if whole else _VARIABLE.sub(_environment, unquote(text))


def _environment(variable: re.Match[str]) -> str:
    text = os.environ.get(variable[1], "")
    if not text:
        raise Unanswered(f"the environment has no {variable[1]}", f"say export {variable[1]}=… before the command")
    if not text.isprintable() or text != text.strip():
        rule = f"{variable[1]} of the environment has a line break or blanks around it"
        raise Unanswered(rule, "set it without them")
    return text


def _database_file(path: Path) -> str:
    if not os.path.isfile(path):  # noqa: PTH113  # also of a name that no file can have
        from allocator.tables.files import is_plain_file, names_in  # with pandas, which the ledger does without

        files = [name for name in names_in(path.parent) if is_plain_file(path.parent / name)]
        near = closest_name(path.name, files, by_stem=True)
        cure = f"did you mean {near!r}?" if near else "put the file there; a path is relative to the folder of the book"
        raise Unanswered("there is no such file", cure)
    return f"file:{quote(str(path.absolute()))}"


FEWER_ROWS = "ask for fewer rows or columns: a where for the days and names that the book needs"
ONE_SELECT = "write one select: a query may only read"
_CURES = {
    "^28": "look at the user and the password of the address",
    "^25006|^0A000|not authorized|authorization denied|readonly|may not be|one statement|multiple com": ONE_SELECT,
    "^57014|interrupted|too big": FEWER_ROWS,
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


def database_said(
    error: BaseException,
    secrets: set[str],
    *,
    reached: bool,
    otherwise: str,
    cures: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str, str]:
    """An error of a database: its first line, unless that has a password in it, and the cure; `cures` go first."""
    error = getattr(error, "orig", None) or error
    line = printable(next(iter(str(error).strip().splitlines()), "") or type(error).__name__)
    of_code = f"{getattr(error, 'sqlstate', None) or ''} {line}"
    cure = next((cure for signs, cure in (*cures.items(), *_CURES.items()) if re.search(signs, of_code)), otherwise)
    if any(secret in line for secret in secrets):
        line = f"{type(error).__name__}, whose text holds a password and is not shown"
    return f"the database {'refuses it' if reached else 'cannot be reached'}: {line[:300]}", cure


_TOLD = re.compile(
    r"""://[^/\s:@'"]*:(?!\$\{\w+\}@)[^@\s/'"]+@|[?&]\w*(?:pass(?!file)|pwd|secret|token)\w*=(?!\$\{\w+\})[^&\s'"]""",
    re.IGNORECASE,
)


def tells_password(text: str) -> bool:
    """Whether an address in a text holds a password, wherever it stands; a variable of the environment is none."""
    return _TOLD.search(text) is not None
