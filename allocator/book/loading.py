"""A Book from a folder: `book.toml` and the tables beside it, every error of all of them at once."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Collection, Sequence
from copy import deepcopy
from pathlib import Path

from allocator.book.book import OPTIONAL, REQUIRED, Book, assemble_book, check_tables
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.plugins import call_plugin, load_plugin
from allocator.settings.reading import read_settings, with_lines
from allocator.settings.settings import Settings, SourceTable, TablesSection
from allocator.tables.files import SUFFIXES, RawTable, from_frame, read_table, refuse_unreadable, utf8_text

# Tables that another package reads, from wherever it has them; from then on they are tables like any other.
#
# A plugin is `read(table, folder, parameters)`: the name of the table, the folder of the book, what `book.toml` says;
# it gives a DataFrame.
#


def read_source(table: str, wanted: SourceTable, folder: Path) -> RawTable:
    """The table as a source of another package gives it, held to no contract yet.

    Raises:
        BadInput: the source is missing or fails, or gives no table.
    """
    plugin, read = load_plugin("sources", wanted.source, "book.toml", f"tables.{table}")
    frame = call_plugin(plugin, read, table, folder, deepcopy(wanted.parameters))
    return from_frame(f"{table} of {wanted.source}", frame)


_INIT = "`allocator init FOLDER` makes a book to start from"
_OURS = ("orders.csv", "figures.csv", "claims.csv")  # what rebalance writes; a book may keep it beside its tables


def load(
    folder: str | Path,
    *,
    account: str | None = None,
    overrides: Sequence[str] = (),
    as_of: dt.date | None = None,
) -> Book:
    """Read and check a book: `book.toml` and the tables beside it, each held to its contract (`allocator schema`).

    `account` names one where holdings.csv has several; `overrides` are what-ifs such as `'mandate.max_weight=0.2'`;
    `as_of` replaces the book's own date. Arrays of the book are (N,) in the order of `book.instruments`, cash apart.

    Raises:
        BadInput: anything is not of its contract; every error of every table at once.
    """
    if isinstance(overrides, str):
        rule, cure = "must be a list, and is one text", 'write ["mandate.max_weight=0.2"]'
        raise BadInput.of("overrides", rule, cure, value=overrides)
    place = Path(folder)
    if place.is_file():
        raise BadInput.of(str(folder), "is a file", "name the folder that it stands in")
    if not place.is_dir():
        raise BadInput.of(str(folder), "there is no such folder", _nearest_book(place))
    breaches: list[Breach] = []
    settings: Settings | None = None
    try:
        text = _text(place / "book.toml")
        settings = read_settings(text, overrides=overrides, as_of=as_of)
    except BadInput as error:
        breaches += error.breaches
    tables = settings.tables if settings is not None else TablesSection()
    raw, unreadable = _read_all(place, tables)
    breaches += unreadable + _strangers(place, tables)
    if settings is None or breaches:
        known = {breach.table for breach in breaches}
        breaches += [breach for breach in check_tables(raw) if breach.table not in known]
        raise BadInput(breaches)
    try:
        return assemble_book(settings, raw, account=account)
    except BadInput as error:
        raise BadInput(with_lines(error.breaches, text, overrides)) from None


def _text(path: Path) -> str:
    if not path.is_file():
        raise BadInput.of("book.toml", "this folder has no book.toml", _INIT)
    with refuse_unreadable("book.toml"):
        return utf8_text(path.read_bytes(), "book.toml", "save it as UTF-8 text")


def _read_all(place: Path, tables: TablesSection) -> tuple[dict[str, RawTable], list[Breach]]:
    """The tables that are there; a table named in `[tables]`, or required, must be."""
    raw: dict[str, RawTable] = {}
    breaches: list[Breach] = []
    for name in REQUIRED + OPTIONAL:
        where = getattr(tables, name)
        try:
            if isinstance(where, SourceTable):
                raw[name] = read_source(name, where, place)
            elif name in REQUIRED or name in tables.model_fields_set or os.path.lexists(place / where):
                raw[name] = read_table(place / where, where)
        except BadInput as error:
            breaches += error.breaches
    return raw, breaches


def _strangers(place: Path, tables: TablesSection) -> list[Breach]:
    """A table whose name nobody reads is a misspelt table: neither `benchmrk.csv` nor `prices.parquet` may vanish."""
    known = {where for name in REQUIRED + OPTIONAL if isinstance(where := getattr(tables, name), str)}
    read = {os.path.normpath(place / name) for name in known}
    return [
        Breach.of(path.name, "no table of a book has this name", _stranger_cure(path, known))
        for path in sorted(place.iterdir())
        if path.suffix.lower() in SUFFIXES
        and os.path.normpath(path) not in read
        and path.name not in _OURS
        and not path.name.startswith(("~$", "."))  # locks of spreadsheets, and what no listing shows
    ]


def _stranger_cure(path: Path, known: Collection[str]) -> str:
    name = path.stem.casefold()
    if name in REQUIRED + OPTIONAL and path.name.casefold() not in known:
        return f'say so with {name} = "{path.name}" in [tables], or move it away'
    return f"{did_you_mean(path.name, known, by_stem=True)} Else name it in [tables], or move it away"


def _nearest_book(place: Path) -> str:
    parent = place.parent
    if not parent.is_dir():
        return f"check the path; {_INIT}"
    books = [child.name for child in parent.iterdir() if (child / "book.toml").is_file()]
    return did_you_mean(place.name, books) if books else _INIT
