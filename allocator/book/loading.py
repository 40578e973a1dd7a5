"""A Book from a folder: `book.toml` and the tables beside it, every error of all of them at once."""

from __future__ import annotations

import datetime as dt
import os
import re
import stat
from collections.abc import Callable, Collection, Sequence
from copy import deepcopy
from itertools import compress
from pathlib import Path

from allocator.book.book import OPTIONAL, REQUIRED, Book, assemble_book, check_tables
from allocator.book.checks.tables import missing_risk_table
from allocator.errors import BadInput, Breach, did_you_mean, printable, setting_breach
from allocator.plugins import call_plugin, load_plugin
from allocator.settings.reading import is_set, read_settings, stated_risk_source, stated_tables, with_lines
from allocator.settings.settings import QueryTable, Settings, SourceTable, TablesSection
from allocator.tables.files import (
    SUFFIXES,
    RawTable,
    from_frame,
    is_plain_file,
    names_in,
    read_regular_file,
    read_table,
    utf8_text,
)

# Tables that a database or another package has; from then on they are tables like any other.
#
# A plugin is `read(table, folder, parameters)`: the name of the table, the folder of the book, what `book.toml` says;
# it gives a DataFrame.
#


def read_source(table: str, wanted: SourceTable | QueryTable, folder: Path, as_of: dt.date) -> RawTable:
    """The table as a database or a source of another package gives it, held to no contract yet.

    Raises:
        BadInput: the database or source is missing or fails, or gives no table.
    """
    if isinstance(wanted, QueryTable):
        from allocator.importers.databases import read_query

        return read_query(table, wanted.url, wanted.query, folder, as_of)
    plugin, read = load_plugin("sources", wanted.source, "book.toml", f"tables.{table}")
    frame = call_plugin(plugin, read, table, folder, deepcopy(wanted.parameters))
    return from_frame(f"{table} of {wanted.source}", frame)


_INIT = "`allocator init FOLDER` makes a book to start from"
_OURS = ("orders.csv", "figures.csv", "claims.csv", "accounts.csv")
"""What commands write, and what a fleet's accounts have of their own: a book may keep it beside its tables."""


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
        raise BadInput([Breach("overrides", None, None, overrides, rule, cure)])
    if account is not None and printable(account) != account:
        rule, cure = "is no printable text", "write it as it stands in holdings.csv"
        raise BadInput([Breach("--account", None, None, printable(account), rule, cure)])
    settings, raw, text = read_tables_of(folder, overrides=overrides, as_of=as_of, account=account)
    try:
        book = assemble_book(settings, raw, account=account)
    except BadInput as error:
        raise BadInput(with_lines(error.breaches, text, overrides)) from None
    refuse_another_horizon(book, text, overrides, as_of)
    return book


def read_tables_of(
    folder: str | Path,
    *,
    overrides: Sequence[str] = (),
    as_of: dt.date | None = None,
    account: str | None = None,
    read_holdings: Callable[[Path, str], RawTable] | None = None,
) -> tuple[Settings, dict[str, RawTable], str]:
    """Settings, tables as they are written, and the text of book.toml; of a long holdings.csv what says anything of an
    account, or what `read_holdings` makes of the file.

    Raises:
        BadInput: what keeps these from being read; all errors at once.
    """
    place = Path(folder)
    if refusal := _no_folder(place):
        raise BadInput([Breach(str(folder), None, None, None, *refusal)])
    breaches: list[Breach] = []
    settings: Settings | None = None
    text = ""
    try:
        text = book_text(place)
        settings = read_settings(text, overrides=overrides, as_of=as_of)
    except BadInput as error:
        breaches += error.breaches
    stated = settings.tables if settings is not None else stated_tables(text)
    tables = stated or TablesSection()
    day = settings.book.as_of if settings is not None else None
    raw, found = _read_all(place, tables, () if stated is None else REQUIRED, day, read_holdings or read_table)
    if "holdings" in raw and read_holdings is None:
        raw["holdings"] = without_further_accounts(raw["holdings"], account)
    breaches += with_lines(found, text, overrides) + _strangers(place, tables)
    if settings is None or breaches:
        known = {breach.table for breach in breaches}
        if settings is None and (source := stated_risk_source(text)) and source not in raw:
            breaches.append(setting_breach("risk.source", source, *missing_risk_table(source)))
        breaches += [breach for breach in check_tables(raw) if breach.table not in known]
        raise BadInput(breaches)
    return settings, raw, text


_SAME_HORIZON = 0.01


def refuse_another_horizon(book: Book, text: str, overrides: Sequence[str], as_of: dt.date | None) -> None:
    """Typed returns are over the horizon that book.toml states: a what-if of another has none.

    Raises:
        BadInput: there is one.
    """
    others = [
        item for item in overrides if not is_set("horizon.months", [item]) and not is_set("horizon.until", [item])
    ]
    if len(others) == len(overrides) or book.scenario_returns.empty:
        return
    stated = read_settings(text, overrides=others, as_of=as_of).years
    if abs(book.settings.years - stated) > _SAME_HORIZON * abs(stated):
        rule = f"is another horizon than the {12 * stated:.4g} months that the returns of scenario_returns.csv are over"
        raise BadInput.of("--set", rule, "state it in book.toml, and returns over it in the table", column="horizon")


def _no_folder(place: Path) -> tuple[str, str] | None:
    """What keeps a path from being a folder that can be read, and the cure."""
    try:
        if os.path.isdir(place):  # noqa: PTH112  # False for a name that no folder can have
            next(place.iterdir(), None)
            return None
        if not stat.S_ISDIR(place.stat().st_mode):
            return "is a file", "name the folder that it stands in"
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}", "check the folder and its rights"
    return "there is no such folder", _nearest_book(place)


def book_text(folder: Path) -> str:
    """The text of book.toml.

    Raises:
        BadInput: it is missing, cannot be read, or is not UTF-8 text.
    """
    path = folder / "book.toml"
    if not os.path.lexists(path) or path.is_dir():
        raise BadInput.of("book.toml", "this folder has no book.toml", _INIT)
    return utf8_text(read_regular_file(path, "book.toml"), "book.toml", "save it as UTF-8 text")


def _read_all(
    place: Path,
    tables: TablesSection,
    required: Collection[str],
    as_of: dt.date | None,
    read_holdings: Callable[[Path, str], RawTable],
) -> tuple[dict[str, RawTable], list[Breach]]:
    """The tables that are there; a table named in `[tables]`, or required, must be. Without a day nobody is asked."""
    raw: dict[str, RawTable] = {}
    breaches: list[Breach] = []
    for name in REQUIRED + OPTIONAL:
        where = getattr(tables, name)
        try:
            if not isinstance(where, str):
                if as_of is not None:
                    raw[name] = read_source(name, where, place, as_of)
            elif name in required or name in tables.model_fields_set or os.path.lexists(place / where):
                raw[name] = (read_holdings if name == "holdings" else read_table)(place / where, where)
        except BadInput as error:
            breaches += error.breaches
    return raw, breaches


MANY_ROWS = 20_000
PLAIN_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,2})?")
"""A quantity that nobody could take for another."""


def without_further_accounts(raw: RawTable, account: str | None) -> RawTable:
    """Of a long holdings.csv the rows that can say anything of this account, or be refused.

    Left out are rows of other accounts that are sound as written, are not there twice, and agree in price, currency
    and all else with a row that stays.
    """
    frame, own = raw.frame, {"account", "instrument", "quantity"}
    if len(frame) <= MANY_ROWS or not own <= set(frame.columns) or frame["account"].nunique() == 1:
        return raw
    texts = frame["quantity"].unique()
    plain = [text for text in texts if isinstance(text, str) and PLAIN_NUMBER.fullmatch(text)]
    sound = frame["quantity"].isin(plain) & frame["account"].ne("") & frame["account"].notna()
    further = sound & frame["account"].ne(account or "") & ~frame.duplicated(["account", "instrument"], keep=False)
    shared = [column for column in frame.columns if column not in ("account", "quantity")]
    left_out = further & frame.duplicated(shared)  # the first stays, and with it the first form of a number
    if not frame["account"].eq(account or "").any():
        left_out &= frame.duplicated("account")  # the cure names the accounts
    kept = (~left_out).to_numpy()
    return RawTable(raw.name, frame.loc[kept].reset_index(drop=True), tuple(compress(raw.rows, kept)))


def _strangers(place: Path, tables: TablesSection) -> list[Breach]:
    """A table whose name nobody reads is a misspelt table: neither `benchmrk.csv` nor `prices.parquet` may vanish."""
    known = {where for name in REQUIRED + OPTIONAL if isinstance(where := getattr(tables, name), str)}
    read = {os.path.normpath(place / name) for name in known}
    return [
        Breach(path.name, None, None, None, "no table of a book has this name", _stranger_cure(path, known))
        for path in (place / found for found in names_in(place))
        if path.suffix.lower() in SUFFIXES
        and os.path.normpath(path) not in read
        and path.name not in _OURS
        and not path.name.startswith(("~$", "."))  # locks of spreadsheets, and what no listing shows
    ]


def _stranger_cure(path: Path, known: Collection[str]) -> str:
    name = path.stem.casefold()
    if not is_plain_file(path):
        return "it is no plain file: move it away"
    if name in REQUIRED + OPTIONAL and path.name.casefold() not in known:
        return f'say so with {name} = "{path.name}" in [tables], or move it away'
    return f"{did_you_mean(path.name, known, by_stem=True)} Else name it in [tables], or move it away"


def _nearest_book(place: Path) -> str:
    names = names_in(place.parent)
    if not names and not os.path.isdir(place.parent):  # noqa: PTH112  # False for a name that no folder can have
        return f"check the path; {_INIT}"
    books = [name for name in names if is_plain_file(place.parent / name / "book.toml")]
    return did_you_mean(place.name, books) if books else _INIT
