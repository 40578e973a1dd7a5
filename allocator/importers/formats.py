"""The one verb of this wing: a file in, told by its header, and the positions of one account out, each line counted.

What cannot be told is asked for and not guessed: which of several accounts, which of two columns, which instrument a
name means. `docs/books.md` says what each format is told by.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from pathlib import Path
from typing import Literal

import pandas as pd

from allocator.errors import BadInput, Breach, did_you_mean, printable
from allocator.importers import FORMATS
from allocator.importers.cells import (
    DELIMITERS,
    Element,
    Export,
    Record,
    as_text,
    count_records,
    day,
    is_amount,
    read_export,
)
from allocator.importers.layouts import GENERIC, LAYOUTS, Layout, folded, read_layout
from allocator.importers.positions import (
    Contents,
    Entry,
    Holding,
    Positions,
    find_disagreements,
    is_cash,
    plain,
    reason,
)
from allocator.importers.statements import is_activity, read_13f, read_activity, read_flex, submission_parts
from allocator.tables.files import RawTable, read_table
from allocator.tables.validation import validate

Accept = Literal["price", "value"]


def import_positions(
    path: str | Path,
    *,
    format: str | None = None,  # noqa: A002  as the option is called
    account: str | None = None,
    accept_values: Accept | None = None,
    identifiers: str | Path | None = None,
    currency: str | None = None,
    period: dt.date | None = None,
) -> Positions:
    """Read the positions of one account from an export, a filing, or a fund's holdings.

    `format` is one of `allocator.importers.FORMATS` where the header alone does not tell; `account` names one where the
    file has several; `accept_values` says what is right where value and quantity x price differ; `identifiers` is a
    table of `instrument` with `cusip`, `isin`, `symbol` or `name`; `currency` is that of rows that state none; `period`
    the quarter's end of a 13F table, which says whether it is in dollars or thousands.

    Raises:
        BadInput: the file is of no known format, contradicts itself, or a line is not understood; all errors at once.
    """
    place = Path(path)
    if format is not None and format not in FORMATS:
        raise BadInput.of("--format", "no such format", did_you_mean(format, FORMATS), value=format)
    known = _Identifiers.read(Path(identifiers)) if identifiers is not None else _Identifiers({}, {})
    export = read_export(place)
    found = _read(export, format, period)
    contents = found.contents
    faults = list(contents.breaches)
    if currency is not None:
        faults += _other_cash(contents, currency, export.name)
        contents.entries = [replace(one, currency=one.currency or currency) for one in contents.entries]
    if not contents.entries and not faults:
        rule = f"holds no positions: {_lines(contents.outside)}"
        raise BadInput.of(export.name, rule, "export the positions again; a disclaimer alone is no book")
    if period is not None and found.format != "sec-13f":
        rule = f"is of 13F tables alone, and this is {FORMATS[found.format]}"
        faults.append(Breach.of("--period", rule, "leave it out"))
    try:
        chosen, own = _of_account(contents, export.name, account)
    except BadInput as error:
        faults += error.breaches
    if faults:
        raise BadInput(faults)
    _hold_to_count(export, found)
    return _assemble(found, own, chosen, known, accept_values, export.name)


@dataclass(frozen=True)
class _Found:
    format: str
    contents: Contents
    counted_again: int


def _other_cash(contents: Contents, currency: str, name: str) -> Iterator[Breach]:
    """Rows that state no currency and read like cash of another one than is said of them all."""
    for one in contents.entries:
        bare = not one.currency and not one.kind and one.price == 1 and re.fullmatch("[A-Z]{3}", one.symbol)
        if bare and one.symbol != currency:
            rule = f"{one.symbol} at a price of 1 {currency} would be a security, and reads like cash"
            yield Breach.of(name, rule, "add a column currency, and state each row's", row=one.row)


def _lines(outside: Mapping[str, int]) -> str:
    return ", ".join(f"{what} {count}" for what, count in outside.items()) or "nothing"


# Which format: by what only its header has.
#


def _read(export: Export, asked: str | None, period: dt.date | None) -> _Found:
    if export.xml:
        return _read_xml(export, asked, period)
    unread: BadInput | None = None
    others: list[str] = []
    for delimiter in DELIMITERS[:1] if export.table else DELIMITERS:
        try:
            records = export.records(delimiter)
        except BadInput as error:
            unread = unread or (error if delimiter == DELIMITERS[0] else None)
            continue
        told = list(_told(records, export.name, grouped=delimiter == DELIMITERS[0], generic=asked == "generic"))
        found = [one for one in told if asked in (None, one[0])]
        others += [FORMATS[name] for name, _ in told]
        if len({name for name, _ in found}) > 1:
            names = ", ".join(dict.fromkeys(name for name, _ in found))
            raise BadInput.of(export.name, f"could be {names}", "say which with --format")
        if found:
            return _Found(*found[0], count_records(export, delimiter))
    raise unread or _not_told(export, asked, others=others)


def _told(records: Sequence[Record], name: str, *, grouped: bool, generic: bool) -> Iterator[tuple[str, Contents]]:
    """Every format whose header is there, read; any table only where no other is, or it is asked for."""
    if any(is_activity(record) for record in records):
        yield "ibkr-activity", read_activity(records, name)
        return
    fitting = [layout for layout in LAYOUTS if layout.fits(records)]
    for layout in fitting:
        yield layout.format, _with_days(layout, read_layout(layout, records, name), records, name)
    if (generic or not fitting) and (head := next((one for one in records if _is_generic(one)), None)) is not None:
        yield "generic", _read_generic(head, records, name, grouped=grouped)


def _with_days(layout: Layout, contents: Contents, records: Sequence[Record], name: str) -> Contents:
    """Account and day that a fund's file says in its own way."""
    if layout.format == "ishares":
        first = records[0].texts
        title = first[0] if len(first) == 1 and not layout.said(records[0]) else ""
        contents.entries = [replace(one, account=title) for one in contents.entries]
    if layout.format == "ark":
        days = dict.fromkeys(one.section for one in contents.entries)
        if len(days) > 1:
            rule = f"has rows of {len(days)} days: {', '.join(list(days)[:3])}"
            contents.breaches.append(Breach.of(name, rule, "keep the rows of one day", column="date"))
        contents.as_of = day(next(iter(days), ""))
        contents.entries = [replace(one, section="") for one in contents.entries]
    return contents


def _is_generic(record: Record) -> bool:
    columns = GENERIC.header(record)
    return (
        columns is not None
        and bool(columns.keys() & {"price", "value"})
        and bool(columns.keys() & {"symbol", "name", "cusip", "isin"})
    )


def _read_generic(head: Record, records: Sequence[Record], name: str, *, grouped: bool) -> Contents:
    """A table by the names of its columns, none of which may mean what another means, too."""
    columns = GENERIC.header(head) or {}
    contents = read_layout(GENERIC, records, name, grouped=grouped)
    for other in (one for one in records if _is_generic(one) and one.cells != head.cells):
        rule = "another table begins here"
        contents.breaches.append(Breach.of(name, rule, f"keep the one that begins in row {head.row}", row=other.row))
    for key in ("quantity", "price", "value", "currency", "account"):
        alike = [cell for cell in head.cells if folded(cell) in GENERIC.columns[key]]
        if len(alike) > 1:
            rule, cure = f"could each be the {key}: {', '.join(alike)}", "remove or rename all but one"
            contents.breaches.append(Breach.of(name, rule, cure, row=head.row, column=alike[0]))
    spare = [cell for at, cell in enumerate(head.cells) if cell and at not in columns.values()]
    if spare:
        contents.notes.append(f"columns that are not used: {', '.join(spare)}")
    return contents


def _read_xml(export: Export, asked: str | None, period: dt.date | None) -> _Found:
    roots, stated, filed = submission_parts(export.xml, export.name)
    kinds = {"ibkr-flex": "FlexQueryResponse", "sec-13f": "infoTable"}
    told = next((name for name, tag in kinds.items() for root in roots if any(root.all(tag))), None)
    if told is None or asked not in (None, told):
        raise _not_told(export, asked, roots)
    if told == "sec-13f":
        contents = read_13f(roots, export.name, period or stated, None if period else filed)
        tags = ["infoTable"]
    else:
        contents = read_flex(roots[0], export.name)
        tags = ["OpenPosition", "CashReportCurrency"]
    own = sum(count for what, count in contents.outside.items() if what in ("totals", "tax lots"))
    others = sum(contents.outside.values()) - own
    again = sum(len(re.findall(rf"<(?:[\w.-]+:)?{tag}[\s/>]".encode(), _as_utf8(export.xml))) for tag in tags)
    return _Found(told, contents, again + others)


def _as_utf8(content: bytes) -> bytes:
    return content.decode("utf-16").encode() if content[:2] in (b"\xff\xfe", b"\xfe\xff") else content


_OTHERS = re.compile(f"[{re.escape(DELIMITERS[1:])}]")


def _not_told(export: Export, asked: str | None, roots: Sequence[Element] = (), others: Sequence[str] = ()) -> BadInput:
    """Why a file is of no format, or not of the one that was asked for."""
    if export.xml:
        rule = f"is XML of no known format: <{roots[0].tag if roots else ''}>"
        return BadInput.of(export.name, rule, f"known here: {FORMATS['ibkr-flex']}, {FORMATS['sec-13f']}")
    records = export.records(DELIMITERS[0])
    if not records:
        return BadInput.of(export.name, "the file is empty", "export it once more")
    if others:
        rule = f"is not of the form of {FORMATS[asked or 'generic']} but of {' and '.join(dict.fromkeys(others))}"
        return BadInput.of(export.name, rule, "leave out --format", value=asked)
    widest = max(records, key=lambda record: len(record.texts))
    parted = ([cell.strip() for text in record.texts for cell in re.split(_OTHERS, text)] for record in records)
    if not any(len(cells) > 1 and any(map(is_amount, cells)) for cells in parted):
        rule = f"holds no table, only text: {printable(widest.texts[0])[:60]!r}"
        return BadInput.of(export.name, rule, "export the positions again; a disclaimer alone is no book")
    seems = next((record for record in records if len(record.texts) >= 3), widest)
    said = f" as {FORMATS[asked]}" if asked is not None else ""
    rule = f"no header{said} was recognised; row {seems.row} has {printable(', '.join(seems.texts))[:80]}"
    cure = "name columns instrument, quantity and price (currency, account, name, cusip), or say another --format"
    return BadInput.of(export.name, rule, cure, row=seems.row)


def _hold_to_count(export: Export, found: _Found) -> None:
    """Lines by what they are, against lines counted by other means."""
    accounted = len(found.contents.entries) + sum(found.contents.outside.values())
    if accounted != found.counted_again:
        rule = f"has {found.counted_again} lines, of which {accounted} could be accounted for"
        raise BadInput.of(export.name, rule, "look for a quotation mark that is not closed, and export it again")


# Whose: one account of those that the file names.
#


def _of_account(contents: Contents, name: str, asked: str | None) -> tuple[str, Contents]:
    """The account, and what the file says of it alone; the rows of others are counted as such."""
    accounts = list(dict.fromkeys(entry.account for entry in contents.entries))
    named = [account for account in accounts if account]
    if asked is None and len(accounts) > 1:
        rule = f"holds {len(accounts)} accounts and none is chosen"
        cure = f"say which with --account: {', '.join(map(printable, named))}"
        raise BadInput.of(name, rule, cure, column="account")
    if asked is not None and named and asked not in named:
        raise BadInput.of("--account", f"no such account in {name}", did_you_mean(asked, named), value=asked)
    chosen = asked or (named[0] if named else "main")
    if printable(chosen) != chosen or chosen[:1] in "=+-@" or len(chosen) > 100:
        rule = "the account must be printable text of at most 100 characters that no spreadsheet would run"
        raise BadInput.of(name, rule, "correct it in the file", value=printable(chosen)[:80], column="account")
    if not named:
        return chosen, contents
    own = [entry for entry in contents.entries if entry.account == chosen]
    outside = contents.outside + Counter({"rows of other accounts": len(contents.entries) - len(own)})
    totals = [
        total for total in contents.totals if total.account in ("", chosen) and (total.account or len(named) == 1)
    ]
    return chosen, replace(contents, entries=own, totals=totals, outside=+outside)


# Which instrument: by what a map says, or as the file calls it.
#


@dataclass(frozen=True)
class _Identifiers:
    """Instruments by (kind of identifier, identifier), and by what may be alike: letters, or a name's first word."""

    by: Mapping[tuple[str, str], str]
    names: Mapping[str, Sequence[str]]

    @staticmethod
    def read(path: Path) -> _Identifiers:
        """The map of a table; other columns are not looked at, so that exposures.csv will do.

        Raises:
            BadInput: it has no column to go by, a blank instrument, or an identifier of two instruments.
        """
        raw = read_table(path)
        columns = {folded(column): column for column in raw.columns}
        keys = {"symbol": ("symbol", "ticker"), "cusip": ("cusip",), "isin": ("isin",), "name": ("name",)}
        using = {key: columns[one] for key, names in keys.items() for one in names if one in columns}
        if "instrument" not in columns or not using:
            rule = "must have a column instrument, and cusip, isin, symbol or name"
            raise BadInput.of(raw.name, rule, "add what is missing")
        by: dict[tuple[str, str], str] = {}
        names: dict[str, list[str]] = {}
        breaches = []
        for at, row in enumerate(raw.rows):
            instrument = as_text(raw.frame[columns["instrument"]].iloc[at])
            if not instrument:
                breaches.append(Breach.of(raw.name, "must not be blank", "fill it in", row=row, column="instrument"))
            by["instrument", instrument] = instrument
            alike = {_letters(instrument)}
            for key, column in using.items():
                given = folded(as_text(raw.frame[column].iloc[at]))
                if given and by.setdefault((key, given), instrument) != instrument:
                    rule = f"is of {by[key, given]} and of {instrument}"
                    breaches.append(Breach(raw.name, row, column, given, rule, "an identifier means one instrument"))
                if given and key == "name":
                    alike.add(given.partition(" ")[0])
            for text in alike:
                names.setdefault(text, []).append(instrument)
        if breaches:
            raise BadInput(breaches)
        return _Identifiers(by, names)

    def find(self, entry: Entry, name: str) -> tuple[str, Breach | None]:
        """What an entry is called here: what the map has for all its identifiers, or else its own symbol or number."""
        given = {"isin": entry.isin, "cusip": entry.cusip, "symbol": entry.symbol, "name": entry.name}
        found = {key: self.by[key, folded(text)] for key, text in given.items() if (key, folded(text)) in self.by}
        if len(set(found.values())) > 1:
            said = " and ".join(f"{key} {given[key]} is {one}" for key, one in found.items())
            rule, cure = f"the map calls it two things: {said}", "correct the map"
            return "", Breach.of(name, rule, cure, row=entry.row, value=entry.label)
        own = entry.symbol or entry.cusip or entry.isin or entry.name
        return next(iter(found.values()), own), None

    def suggestion(self, entry: Entry, instrument: str) -> str | None:
        """What the map may have meant, where it has nothing for an entry."""
        if ("instrument", instrument) in self.by or instrument in self.by.values():
            return None
        alike = self.names.get(_letters(instrument)) or self.names.get(folded(entry.name).partition(" ")[0], ())
        return f"{' or '.join(alike)}?" if 0 < len(alike) <= _FEW else None


_FEW = 3
"""Names that a suggestion tells; more of them share a word that says little."""


def _letters(name: str) -> str:
    return re.sub(r"\W", "", name.casefold())


# What becomes of it: rows of holdings.csv, held to their contract.
#
_DIGITS = Context(prec=12)
"""Of a price that is value / quantity: quantity x price is the value again, to the cent and beyond."""


def _assemble(
    found: _Found, contents: Contents, account: str, known: _Identifiers, accept: Accept | None, name: str
) -> Positions:
    judged = [(entry, reason(entry)) for entry in contents.entries]
    held = [entry for entry, why in judged if not why]
    if not held:
        why = Counter(why for _, why in judged)
        rule = f"holds nothing that can be held here: {_lines(why)}"
        raise BadInput.of(name, rule, "options, bonds, futures and short positions are not handled")
    apart = find_disagreements(contents, held)
    cure = "correct the file, or say --accept-values price or --accept-values value"
    refused = apart if accept is None else []
    breaches = [Breach(name, one.row, None, None, f"{one.label}: {one.rule}", cure) for one in refused]
    named = {entry: known.find(entry, name) for entry in held if not is_cash(entry)}
    breaches += [breach for _, breach in named.values() if breach is not None]
    accepted = _Accepted(accept, {one.entry: one.rule for one in apart}, found.format)
    holdings = []
    for (instrument, cash), entries in _groups(held, {entry: one for entry, (one, _) in named.items()}).items():
        if fault := _two_things(instrument, entries, cash):
            breaches.append(Breach.of(name, *fault, row=entries[-1].row))
        else:
            holdings.append(_holding(instrument, entries, account, accepted, cash))
    overall = [f"{one.label}: {one.rule}" for one in apart if one.entry is None]
    if overall and holdings:  # said in the last row, which is the account's cash where it has any
        holdings[-1] = replace(
            holdings[-1], source=f"{holdings[-1].source}; {accept} accepted although {'; '.join(overall)}"
        )
    breaches = breaches or _against_contract(holdings, name)
    if breaches:
        raise BadInput(breaches)
    near = [(entry, known.suggestion(entry, instrument)) for entry, (instrument, _) in named.items()]
    return Positions(
        file=name, format=found.format, account=account, as_of=contents.as_of, holdings=tuple(holdings),
        not_handled=tuple(replace(entry, unhandled=why) for entry, why in judged if why), disagreements=tuple(apart),
        accepted=accept if apart else None, suggestions=tuple((one, said) for one, said in near if said is not None),
        notes=tuple(contents.notes), imported=len(held), outside=dict(contents.outside),
        counted_again=found.counted_again, base=contents.bases.get(account, ""),
        rates={currency: rate for (whose, currency), rate in contents.rates.items() if whose == account},
    )  # fmt: skip


@dataclass(frozen=True)
class _Accepted:
    """What is taken for right where the file contradicts itself, and where it does."""

    accept: Accept | None
    apart: Mapping[Entry | None, str]
    format: str


def _groups(held: Sequence[Entry], named: Mapping[Entry, str]) -> dict[tuple[str, bool], list[Entry]]:
    """The rows of each instrument in the order of the file, and then of each currency's cash."""
    groups: dict[tuple[str, bool], list[Entry]] = {}
    for entry in sorted(held, key=is_cash):
        key = named.get(entry, entry.currency or "CASH"), entry not in named
        groups.setdefault(key, []).append(entry)
    return groups


def _holding(instrument: str, entries: Sequence[Entry], account: str, accepted: _Accepted, cash: bool) -> Holding:
    """One row: lots and cash are added up."""
    rows = tuple(one.row for one in entries)
    said = [accepted.apart[one] for one in entries if one in accepted.apart]
    quantity, price = _sums(entries, accepted.accept if said else None, cash)
    source = f"{FORMATS[accepted.format]}, row{'s' * (len(rows) > 1)} {', '.join(map(str, rows))}"
    source += f"; {accepted.accept} accepted where {'; '.join(said)}" if said else ""
    name = "" if cash else entries[0].name
    return Holding(account, instrument, quantity, price, entries[0].currency, name, rows, source)


def _two_things(instrument: str, entries: Sequence[Entry], cash: bool) -> tuple[str, str] | None:
    """Why rows of one name are not one position."""
    if cash:
        return None
    if len({one.currency for one in entries}) > 1:
        return f"{instrument} is in two currencies", "name them apart with --identifiers"
    if len(headings := list(dict.fromkeys(one.heading for one in entries))) > 1:
        rule = f"{instrument} is there under the headings of rows {' and '.join(map(str, headings))}"
        return rule, "keep one of the tables; where they are one, remove all headings but the first"
    for key in ("cusip", "isin"):
        numbers = list(dict.fromkeys(getattr(one, key) for one in entries if getattr(one, key)))
        if len(numbers) > 1:
            return f"{instrument} would be two securities: {key.upper()} {' and '.join(numbers)}", f"map them by {key}"
    prices = {one.price for one in entries if one.price is not None}
    if len(prices) > 1:
        cure = "keep the one that is right; name two securities apart with --identifiers"
        return f"{instrument} has several prices: {', '.join(map(str, sorted(prices)))}", cure
    named = f"{instrument} is the name of cash here", "name the security otherwise with --identifiers"
    return named if instrument in (one.currency for one in entries) else None


def _sums(entries: Sequence[Entry], accept: Accept | None, cash: bool) -> tuple[Decimal, Decimal]:
    """Quantity and price of one instrument."""
    if cash:
        by = [one.quantity if accept == "price" and one.price in (None, 1) else one.amount for one in entries]
        return sum((one for one in by if one is not None), Decimal(0)), Decimal(1)
    quantity = sum((one.quantity for one in entries if one.quantity is not None), Decimal(0))
    price = next((one.price for one in entries if one.price is not None), None)
    if price is None or (accept == "value" and quantity):
        value = sum((one.amount for one in entries if one.amount is not None), Decimal(0))
        return quantity, _DIGITS.divide(value, quantity)
    return quantity, price * entries[0].multiplier


def _against_contract(holdings: Sequence[Holding], name: str) -> list[Breach]:
    """The rows as holdings.csv will have them, by its own contract; errors name the lines of the file."""
    stated = [one.currency for one in holdings]
    columns = {
        "account": [one.account for one in holdings], "instrument": [one.instrument for one in holdings],
        "quantity": [plain(one.quantity) for one in holdings], "price": [plain(one.price) for one in holdings],
        "source": [one.source for one in holdings],
    } | ({"currency": stated} if any(stated) else {})  # fmt: skip
    if not any(stated):  # which the account is in, nobody guesses
        return [Breach.of(name, "states no currency", "say it, such as --currency USD", column="currency")]
    frame = pd.DataFrame(columns, dtype=object)
    lines = tuple(one.rows[0] for one in holdings)
    _, breaches = validate("holdings", RawTable(name, frame, lines))
    spoiled = (one for one in holdings if one.instrument.startswith(("+", "-", "@")))
    rule = "must not begin with a sign that a spreadsheet would run"
    return [*breaches, *(Breach(name, one.rows[0], "instrument", one.instrument, rule, "map it") for one in spoiled)]
