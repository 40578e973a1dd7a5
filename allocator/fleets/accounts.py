"""A fleet's accounts: the tables of one book, held to their contracts once, and what each account has of its own.

An error that stands in a row of one account is that account's, which fails with it; any other is everybody's, and
refuses the run.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from allocator.book.book import Book, aligned, checked_draft
from allocator.book.checks.draft import Draft
from allocator.book.checks.tables import check_account, check_something_is_held, check_value
from allocator.book.defaults import ACCOUNT
from allocator.book.loading import read_tables_of, refuse_another_horizon
from allocator.errors import BadInput, Breach, did_you_mean, printable
from allocator.fleets.holdings import Holdings, HoldingsReader, NotForAll
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.settings.reading import with_lines
from allocator.settings.settings import Settings
from allocator.tables.files import RawTable, read_table
from allocator.tables.validation import is_blank, read_cells

SECTIONS = ("cash", "costs", "lots", "mandate", "robust", "trading")
"""Of book.toml, what an account may have of its own: nothing that an outlook is made from."""
_LISTS = ("mandate.locked", "mandate.forbidden", "mandate.eligible")
"""Keys whose cells may be names with semicolons between them."""
_OF_RISK = ("holdings", "prices", "covariance")
"""Tables that no check of an account's own settings looks into."""
OWN_CHECKS = (check_something_is_held, check_value)
"""What is asked of each account by itself."""
_ROUNDS = 4
"""Times that errors of accounts may uncover others: by then an error is everybody's."""


@dataclass(frozen=True, eq=False)
class AccountCase:
    """An account, what it overrides (as after --set) in which line of accounts.csv, and the errors of its own rows."""

    name: str
    overrides: tuple[str, ...] = ()
    table: str = "accounts.csv"
    row: int | None = None
    breaches: tuple[Breach, ...] = ()

    @property
    def hash(self) -> str:
        """What batches are keyed by."""
        return hashlib.sha256(self.name.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class SharedBook:
    """What all accounts of a fleet share: it goes to every process.

    `book` is that of the account that is first, without what its outlook was made from; `quotes` has a row of
    holdings.csv for every instrument. Without an `outlook` each account has its own, as it looks at what is held.
    """

    text: str
    overrides: tuple[str, ...]
    as_of: dt.date | None
    tables: Mapping[str, pd.DataFrame]
    given: tuple[str, ...]
    quotes: pd.DataFrame
    book: Book
    outlook: Outlook | None
    lots: bool = True


@dataclass(frozen=True, eq=False)
class Batch:
    """Accounts that are worked on together, and what each holds."""

    number: int
    cases: tuple[AccountCase, ...]
    held: tuple[Holdings, ...]

    @property
    def parts(self) -> Iterator[Batch]:
        """Each of its accounts alone."""
        return (Batch(self.number, (case,), (held,)) for case, held in zip(self.cases, self.held, strict=True))


@dataclass(frozen=True, eq=False)
class Accounts:
    """The cases of a fleet in the order of their hashes, and the sound rows of their holdings in the same order."""

    cases: Sequence[AccountCase]
    size: int
    """Of a batch: about half a second of work."""
    holdings: Holdings = field(repr=False)
    begins: NDArray[np.int64] = field(repr=False)
    """Where the rows of each account begin among them, and where the last ones end."""

    @property
    def batches(self) -> int:
        """How many there are."""
        return -(-len(self.cases) // self.size)

    def batch(self, number: int) -> Batch:
        """The batch of this number, counted from 0."""
        these = range(len(self.cases))[number * self.size : (number + 1) * self.size]
        held = tuple(self.holdings[self.begins[at] : self.begins[at + 1]] for at in these)
        return Batch(number, tuple(self.cases[at] for at in these), held)


_NAMES_A_BATCH = 2_000
"""Accounts times instruments."""
_MOST_A_BATCH = 64


def read_fleet(
    folder: Path,
    accounts: Path | None = None,
    *,
    overrides: Sequence[str] = (),
    as_of: dt.date | None = None,
    lots: bool = True,
) -> tuple[SharedBook, Accounts]:
    """What accounts share, and what each has of its own.

    Raises:
        BadInput: errors that are no account's own, with all others that were found; or no account is without one.
    """
    reader = HoldingsReader()
    try:
        return _read(reader, folder, accounts, overrides=overrides, as_of=as_of, lots=lots)
    except (BadInput, NotForAll):
        if not reader.leaves_out:
            raise
    # every row has to be looked at
    return _read(HoldingsReader(whole=True), folder, accounts, overrides=overrides, as_of=as_of, lots=lots)


def _read(
    reader: HoldingsReader,
    folder: Path,
    accounts: Path | None,
    *,
    overrides: Sequence[str],
    as_of: dt.date | None,
    lots: bool,
) -> tuple[SharedBook, Accounts]:
    breaches, own = list[Breach](), dict[str, AccountCase]()
    try:
        own = _own_settings(accounts) if accounts is not None else {}
    except BadInput as error:
        breaches += error.breaches
    try:
        settings, raw, text = read_tables_of(folder, overrides=overrides, as_of=as_of, read_holdings=reader.read)
    except BadInput as error:
        raise BadInput([*error.breaches, *breaches]) from None
    written = reader.names if reader.leaves_out else _account_names(raw.get("holdings"))
    names = [name for name in dict.fromkeys(written) if name]
    breaches += [
        Breach.of(case.table, "no such account in holdings.csv", did_you_mean(name, names), row=case.row,
                  column="account", value=name)
        for name, case in own.items() if names and name not in names
    ]  # fmt: skip
    breaches += _uncounted_turnover(settings, own)
    draft, faults = _sound_draft(settings, raw, breaches, text, overrides)
    reader.refuse_wrong(breach.row for found in faults.values() for breach in found)
    failed = {
        **faults,
        **{name: [*case.breaches, *faults.get(name, ())] for name, case in own.items() if case.breaches},
    }
    holdings = draft.tables["holdings"]
    sound = next((name for name in names if name not in failed), None)
    if sound is None:
        raise BadInput(breach for found in failed.values() for breach in found)
    template = aligned(replace(draft, account=sound))
    refuse_another_horizon(template, text, overrides, as_of)
    looks_at_holdings = bool(settings.views or settings.plugins.models or settings.uses_tree)
    outlook, lean = None, template
    if not looks_at_holdings:
        outlook = build_outlook(template)
        others = any(said.startswith("mandate.objective=") for case in own.values() for said in case.overrides)
        if not others and not any(vars(settings.plugins).values()):  # which may look at anything
            lean = replace(template, price_history=None, covariance=None)
    quotes = holdings.drop_duplicates("instrument").assign(account="", quantity=0.0)
    shared = SharedBook(
        text=text,
        overrides=tuple(overrides),
        as_of=as_of,
        tables={name: table for name, table in draft.tables.items() if name not in _OF_RISK},
        given=tuple(raw),
        quotes=quotes,
        book=lean,
        outlook=outlook,
        lots=lots,
    )
    every = [replace(own.get(name, AccountCase(name)), breaches=tuple(failed.get(name, ()))) for name in names]
    every.sort(key=lambda case: case.hash)
    size = min(max(_NAMES_A_BATCH // len(template.instruments), 1), _MOST_A_BATCH)
    order = {case.name: at for at, case in enumerate(every)}
    return shared, Accounts(every, size, *reader.rows(holdings, [*quotes["instrument"]], order))


def _account_names(raw: RawTable | None) -> list[str | None]:
    """Whose each row is, whatever else is wrong there; None where that cannot be read."""
    if raw is None or "account" not in raw.frame:
        return [ACCOUNT]
    cells, _ = read_cells(raw.frame["account"], "str", nullable=False)
    return [name if isinstance(name, str) else None for name in cells]


# Rows of holdings.csv that are wrong: whose they are, and what is left without them.
#


def _sound_draft(
    settings: Settings, raw: dict[str, RawTable], breaches: Sequence[Breach], text: str, overrides: Sequence[str]
) -> tuple[Draft, dict[str, list[Breach]]]:
    """Tables without the rows that are wrong, and by account the errors of its rows.

    Raises:
        BadInput: an error that is no account's own.
    """
    failed = dict[str, list[Breach]]()
    for _ in range(_ROUNDS):
        draft, found = checked_draft(settings, raw, without=(check_account, *OWN_CHECKS))
        whose = _whose(raw.get("holdings"), draft, found)
        theirs = [(name, breach) for name, breach in zip(whose, found, strict=True) if name is not None]
        if None in whose or breaches:
            earlier = [breach for own in failed.values() for breach in own]
            raise BadInput([*with_lines([*earlier, *found], text, overrides), *breaches])
        if not theirs:
            return draft, failed
        for name, breach in theirs:
            failed.setdefault(name, []).append(breach)
        raw = {**raw, "holdings": _without(raw["holdings"], [breach for _, breach in theirs])}
    raise BadInput(breach for own in failed.values() for breach in own)


def _whose(raw: RawTable | None, draft: Draft, found: Sequence[Breach]) -> list[str | None]:
    """Which account each error is of; None where it is of none."""
    wrong = {} if raw is None else {breach.row: "" for breach in found if breach.table == raw.name}
    if raw is None or not wrong or not {"account", "instrument"} <= {*raw.columns}:
        return [None] * len(found)
    undecided = _undecided(draft.tables["holdings"]) if "holdings" in draft.tables else frozenset[str]()
    names, instruments = _account_names(raw), raw.frame["instrument"]
    at = {row: place for place, row in enumerate(raw.rows) if row in wrong}
    return [
        names[at[breach.row]]
        if breach.table == raw.name
        and breach.row in at
        and breach.column != "account"
        and instruments.iloc[at[breach.row]] not in undecided
        else None
        for breach in found
    ]


def _undecided(holdings: pd.DataFrame) -> frozenset[str]:
    """Instruments whose price, currency or lot size no more than half of their rows agree in."""
    found = set[str]()
    for column in ("price", "currency", "lot_size"):
        if column in holdings:
            said = holdings.groupby(["instrument", column]).size()
            apart = said.groupby(level=0).max() * 2 <= said.groupby(level=0).sum()
            found |= {str(name) for name in apart.index[apart & (said.groupby(level=0).size() > 1)]}
    return frozenset(found)


def _without(raw: RawTable, breaches: Sequence[Breach]) -> RawTable:
    """The table without rows that are wrong; where the quantity alone is, the row still says what it costs."""
    columns = dict[int, set[str | None]]()
    for breach in breaches:
        columns.setdefault(breach.row or 0, set()).add(breach.column)
    quantities = {row for row, wrong in columns.items() if wrong == {"quantity"}}
    frame = raw.frame.copy()
    numeric = pd.api.types.is_numeric_dtype(frame["quantity"])
    frame.loc[[row in quantities for row in raw.rows], "quantity"] = 0 if numeric else "0"
    kept = [row not in columns or row in quantities for row in raw.rows]
    return RawTable(raw.name, frame.loc[kept].reset_index(drop=True), tuple(compress(raw.rows, kept)))


# accounts.csv: one row an account, a column for each key of book.toml that it may set otherwise.
#


def _own_settings(path: Path) -> dict[str, AccountCase]:
    """What each account sets otherwise, by its name.

    Raises:
        BadInput: a column is none that an account may have, or a row names no account.
    """
    raw = read_table(path, path.name)
    breaches = list(_column_breaches(raw))
    if breaches:
        raise BadInput(breaches)
    found = dict[str, AccountCase]()
    keys = [column for column in raw.columns if column != "account"]
    cells = [raw.frame[key].tolist() for key in keys]
    for line, name, *own in zip(raw.rows, _account_names(raw), *cells, strict=True):
        if name is None:
            cure = "write whose limits these are"
            breaches.append(Breach(raw.name, line, "account", None, "must not be blank", cure))
            continue
        said = [f"{key}={_value(key, cell)}" for key, cell in zip(keys, own, strict=True) if not is_blank(cell)]
        case = AccountCase(name, tuple(said), raw.name, line)
        if name in found:
            cure = "keep one of its rows"
            twice = Breach(raw.name, line, "account", printable(name), "names the account twice", cure)
            case = replace(found[name], breaches=(*found[name].breaches, twice))
        found[name] = case
    if breaches:
        raise BadInput(breaches)
    return found


def _column_breaches(raw: RawTable) -> Iterator[Breach]:
    if "account" not in raw.columns:
        yield Breach.of(raw.name, "has no column 'account'", "name the account of each row", column="account")
    known = {
        f"{section}.{key}": None
        for section in SECTIONS
        for key in getattr(Settings.model_fields[section].annotation, "model_fields")  # noqa: B009
    }
    for column in raw.columns:
        key = ".".join(column.split(".")[:2])
        if column == "account" or key in known:
            continue
        nearest = next((name for name in known if name.endswith(f".{column}")), None)
        cure = f"write {nearest}" if nearest else did_you_mean(column, known)
        rule = f"is no key of book.toml that an account may set: {', '.join(SECTIONS)}"
        yield Breach.of(raw.name, rule, cure, column=printable(column))


def _value(key: str, cell: object) -> str:
    """A cell as --set takes it; names are parted by semicolons, or a list of TOML."""
    if isinstance(cell, bool | np.bool_):
        return str(bool(cell)).lower()
    if not isinstance(cell, str):
        return cell.isoformat() if isinstance(cell, dt.date) else repr(float(cell))  # type: ignore[arg-type]
    if key in _LISTS and not cell.startswith("["):
        return json.dumps([name.strip() for name in cell.split(";") if name.strip()], ensure_ascii=False)
    return cell


def _uncounted_turnover(settings: Settings, own: Mapping[str, AccountCase]) -> Iterator[Breach]:
    """A budget whose use a ledger would have to count, account by account."""
    key = "mandate.turnover_budget.used"
    budget = settings.mandate.turnover_budget
    if (
        budget is not None
        and budget.used is None
        and not any(key in one for case in own.values() for one in case.overrides)
    ):
        cure = f"add the column {key} to accounts.csv, with what each account has traded of it"
        yield Breach.of("book.toml", "is counted in a ledger for one account at a time", cure, column=key)
