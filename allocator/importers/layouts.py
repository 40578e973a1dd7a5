"""Positions as tables: Schwab, Fidelity, Vanguard, iShares, ARK, and any other table whose columns say what they are.

A `Layout` is a table with a header of its own somewhere in the file, told by the names of its columns alone;
`read_layout` walks through a file by it and says of each line what it is.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from allocator.errors import Breach
from allocator.importers.cells import Record, amount, day, is_amount, is_blank_mark
from allocator.importers.positions import PENDING, Contents, Entry, Total
from allocator.tables.validation import SYNONYMS, number_fault

NUMBERS = ("quantity", "price", "value", "weight", "multiplier")
"""Fields of an `Entry` that are amounts."""
TOTALS = re.compile(r"(?:account |positions |portfolio |grand )?totals?|sub-?total(?: of)?.*|sum", re.I)


@dataclass(frozen=True)
class Layout:
    """A table of positions: the names that its columns have, by field of an `Entry`, and what else is in such a file.

    `required` fields tell the header, and where others have these columns too, one of the columns `marks` or a text of
    `preamble`, which also finds account and day. `titled` says that a text right above a header names its account;
    `sections` are texts within the table, with the kind that they stand for; `others` are columns of a header of which
    the rows are no positions, with what they are; `amend` knows the issuer's own habits.
    """

    format: str
    columns: Mapping[str, tuple[str, ...]]
    required: tuple[str, ...]
    currency: str = ""
    preamble: tuple[re.Pattern[str], ...] = ()
    titled: bool = False
    sections: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    amend: Callable[[Entry, Sequence[str]], Entry] = lambda entry, _: entry

    def fits(self, records: Sequence[Record]) -> bool:
        """Whether a file is of this format."""
        heads = [record for record in records if self.header(record) is not None]
        if not heads or not self.marks:
            return bool(heads)
        marked = any(mark in _forms(cell) for record in heads for cell in record.cells for mark in self.marks)
        return marked or any(self.said(record) for record in records)

    def said(self, record: Record) -> dict[str, str]:
        """What a text of the preamble says of account and day."""
        text = ", ".join(record.texts)
        found = (pattern.search(text) for pattern in self.preamble)
        return next((match.groupdict() for match in found if match), {})

    def header(self, record: Record) -> dict[str, int] | None:
        """The place of each field, if the record is a header of this table."""
        names = [_forms(cell) for cell in record.cells]
        found: dict[str, int] = {}
        for key, aliases in self.columns.items():
            at = next((i for alias in aliases for i, forms in enumerate(names) if alias in forms), None)
            if at is not None and at not in found.values():
                found[key] = at
        return found if all(key in found for key in self.required) else None


def folded(text: str) -> str:
    """A name in small letters, with single blanks."""
    return " ".join(text.replace("_", " ").casefold().split())


def _forms(cell: str) -> set[str]:
    """`Mkt Val (Market Value)` is `market value`, too, and so are `Market Value($)` and `Market Value $`."""
    name = folded(cell)
    found = re.fullmatch(r"(.*?) ?\((.*)\)", name)
    return {name, name.removesuffix(" $"), *(found.groups() if found else ())} - {""}


_AS_OF = re.compile(
    r"Positions for (?:account )?(?P<account>.+?) as of (?:[0-9: ]+[AP]M,? ?\w*,? )?(?P<day>[0-9/-]{8,10})", re.I
)
_LOADED = re.compile(r"Date downloaded (?P<day>[0-9A-Za-z]{2,3}[-/][0-9]{1,2}[-/][0-9]{4})", re.I)


def _of_fidelity(entry: Entry, cells: Sequence[str]) -> Entry:
    """Stars mark the core account; what is pending has its amount in the column of one thing or another."""
    core = entry.symbol.endswith("**") and not entry.kind
    named = replace(entry, symbol=entry.symbol.rstrip("*"), name=html.unescape(entry.name))
    if PENDING.fullmatch(entry.symbol) and entry.value is None:
        amounts = [cell for cell in cells if is_amount(cell) and "$" in cell]
        return replace(named, value=amount(amounts[0]) if len(amounts) == 1 else None)
    return replace(named, kind="core") if core else named


def _of_schwab(entry: Entry, _: Sequence[str]) -> Entry:
    """Cash has a name in place of a symbol, whether there is a column of kinds or not."""
    return replace(entry, kind=entry.kind or "cash") if re.match(r"cash &|cash$", entry.symbol, re.I) else entry


def _of_ark(entry: Entry, cells: Sequence[str]) -> Entry:
    """Cash funds have no ticker there, and a unit of them is worth 1."""
    at_par = entry.quantity is not None and entry.value is not None and abs(entry.quantity - entry.value) <= 1
    return replace(entry, kind="money market" if at_par and not entry.symbol else "", section=cells[0])


SCHWAB = Layout(
    "schwab",
    {
        "symbol": ("symbol",), "name": ("description",), "quantity": ("quantity",), "price": ("price",),
        "value": ("market value",), "kind": ("security type", "asset type"),
    },
    ("symbol", "name", "quantity", "value"),
    "USD", (_AS_OF,), titled=True, marks=("% of account", "% of acct", "mkt val"), amend=_of_schwab,
)  # fmt: skip
FIDELITY = Layout(
    "fidelity",
    {
        "account": ("account number", "account name/number"), "symbol": ("symbol",), "name": ("description",),
        "quantity": ("quantity",), "price": ("last price",), "value": ("current value",),
    },
    ("account", "symbol", "name", "quantity", "price", "value"),
    "USD", (_LOADED,), amend=_of_fidelity,
)  # fmt: skip
FIDELITY_STATEMENT = Layout(
    "fidelity",
    {
        "symbol": ("symbol/cusip",), "name": ("description",), "quantity": ("quantity",), "price": ("price",),
        "beginning": ("beginning value",), "value": ("ending value",),
    },
    ("symbol", "name", "quantity", "price", "beginning", "value"),
    "USD",
    sections={
        "stocks": "stock", "bonds": "bond", "options": "option", "core account": "core", "mutual funds": "fund",
        "other": "other", "etps": "etf", "exchange traded products": "etf",
    },
    others={"account summary": ("account type", "account #")},
    amend=_of_fidelity,
)  # fmt: skip
VANGUARD = Layout(
    "vanguard",
    {
        "account": ("account number", "fund account number"), "name": ("investment name", "fund name"),
        "symbol": ("symbol",), "quantity": ("shares",), "price": ("share price", "price"), "value": ("total value",),
    },
    ("account", "name", "quantity", "price", "value"),
    "USD", others={"transactions": ("trade date", "transaction type")},
)  # fmt: skip
ISHARES = Layout(
    "ishares",
    {
        "symbol": ("ticker", "issuer ticker"), "name": ("name",), "kind": ("asset class",), "value": ("market value",),
        "weight": ("weight",), "quantity": ("quantity", "shares", "nominal", "par value"), "price": ("price",),
        "currency": ("currency", "market currency"), "cusip": ("cusip",), "isin": ("isin",),
    },
    ("name", "kind", "value", "quantity"), marks=("weight",),
    preamble=(re.compile(r"fund holdings as of,? *(?P<day>[^,]*(?:, *[0-9]{4})?)$", re.I),),
)  # fmt: skip
ARK = Layout(
    "ark",
    {
        "day": ("date",), "account": ("fund",), "name": ("company",), "symbol": ("ticker",), "cusip": ("cusip",),
        "quantity": ("shares",), "value": ("market value",), "weight": ("weight",),
    },
    ("day", "account", "name", "symbol", "cusip", "quantity", "value", "weight"),
    "USD", amend=_of_ark,
)  # fmt: skip
_TWO_THINGS = ("amount", "number", "position", "nominal")
"""Units here, and their value or their name there: a name to suggest, and none to go by."""
GENERIC = Layout(
    "generic",
    {
        "symbol": ("instrument", "symbol", "ticker", "ticker symbol"),
        "name": ("name", "description", "security", "security name", "security description", "investment name",
                 "fund name", "holding", "company", "issuer", "asset", "fund", "stock"),
        "cusip": ("cusip",), "isin": ("isin",),
        "kind": ("asset class", "asset type", "security type", "instrument type", "asset category"),
        "multiplier": ("multiplier", "contract size"),
    } | {
        key: tuple(name for name in (column.replace("_", " "), *SYNONYMS[column], *more) if name not in _TWO_THINGS)
        for key, column, more in (
            ("quantity", "quantity", ("shares held", "number of shares", "no. of shares", "units held", "share count")),
            ("price", "price", ("current price", "closing price", "mkt price")),
            ("value", "market_value", ("mkt value", "mkt val")),
            ("currency", "currency", ()), ("account", "account", ("account #", "account no.")),
        )
    },
    ("quantity",),
)  # fmt: skip
LAYOUTS = (SCHWAB, FIDELITY, FIDELITY_STATEMENT, VANGUARD, ISHARES, ARK)


def read_layout(layout: Layout, records: Sequence[Record], name: str, *, grouped: bool = True) -> Contents:
    """Walk through a file by a layout: what each line is, and the positions as they stand there.

    `grouped` says that commas part thousands; where cells are parted otherwise, a comma may be a decimal one.
    """
    walk = Walk(layout, name, grouped=grouped)
    walk.pointed = grouped or any(_POINTED.fullmatch(cell) for record in records for cell in record.cells)
    for record in records:
        walk.take(record)
    return walk.found


_POINTED = re.compile(r"[+-]?[0-9]+\.([0-9]{1,2}|[0-9]{4,})")
"""A number whose point cannot part thousands."""
_EITHER = re.compile(r"[+-]?[0-9]{1,3}\.[0-9]{3}")


class Walk:
    """Where in a file a reader is: the header that holds, its account, the section."""

    def __init__(self, layout: Layout, name: str, *, grouped: bool = True) -> None:
        self.layout, self.name, self.found = layout, name, Contents()
        self.grouped = self.pointed = grouped
        self.columns: dict[str, int] | None = None
        self.width = self.heading = 0
        self.account = self.section = self.title = self.other = ""

    def take(self, record: Record) -> None:
        """One line: a header, the begin of another table, a text, a total, or a position."""
        if (columns := self.layout.header(record)) is not None:
            self.columns, self.other, self.width, self.heading = columns, "", len(record.cells), record.row
            if self.layout.titled and self.title:
                self.account, self.title = self.title, ""
            self.found.outside["headings"] += 1
        elif other := self._begins_another(record):
            self.columns, self.other = None, other
            self.found.outside["headings"] += 1
        elif self.other:
            self.found.outside[self.other] += 1
        elif self.columns is None and sum(map(is_amount, record.cells)) > 1:
            self.found.outside["lines of other tables"] += 1
        elif self.columns is None or (len(record.texts) == 1 and not is_amount(record.texts[0])):
            self._text(record)
        else:
            self.row(record, self.columns)

    def _begins_another(self, record: Record) -> str:
        names = {folded(cell) for cell in record.cells}
        return next((what for what, columns in self.layout.others.items() if names >= set(columns)), "")

    def _text(self, record: Record) -> None:
        text = ", ".join(record.texts)
        self.title = text if self.layout.titled else ""
        if known := self.layout.said(record):
            self.title, self.account = "", " ".join(known.get("account", self.account).split())
            self.account = "" if folded(self.account) in ("all-accounts", "all accounts") else self.account
            self.found.as_of = day(known["day"]) or self.found.as_of
        if self.columns is not None and self.layout.sections:
            is_account = re.fullmatch(r"(?=.*[0-9])[A-Z0-9-]{5,20}", text) is not None
            self.account, self.section = (text, "") if is_account else (self.account, folded(text))
        self.found.outside["texts"] += 1

    def row(self, record: Record, columns: Mapping[str, int]) -> None:
        """A line of several cells below a header."""
        cells = record.cells
        if self.section == "core account" and len(cells) > 1 and is_amount(cells[columns["name"]]):
            cells = (*cells[: columns["name"]], "", *cells[columns["name"] :])  # cash has no description there
        if any(cells[self.width :]):
            rule = f"the row has {len(cells)} cells and the header {self.width}"
            self._fault(record, None, None, rule, "quote text that contains a comma")
            return
        said = {key: cells[at] if at < len(cells) else "" for key, at in columns.items()}
        total = next((text for text in record.texts[:2] if TOTALS.fullmatch(text)), None)
        if total is not None and not is_amount(said.get("quantity", "")):  # SUM is a ticker, too
            self._total(record, said, total)
        elif not any(is_amount(cell) for cell in cells) and len(cells) != self.width:
            self.found.outside["texts"] += 1
        else:
            self.position(Record(record.row, cells), said)

    def _total(self, record: Record, said: Mapping[str, str], label: str) -> None:
        self.found.outside["totals"] += 1
        stated = self._number(record, "value", said)
        if stated is not None:
            scope = folded(label).partition(" of ")[2] if self.layout.sections else ""
            account = said.get("account", "") if "account" in said and said["account"] != label else self.account
            self.found.totals.append(Total(record.row, label, stated, account, scope))

    def position(self, record: Record, said: Mapping[str, str]) -> None:
        """A line about a position, by the fields of an entry."""
        texts = {key: said.get(key, "") for key in ("symbol", "name", "cusip", "isin", "kind", "currency", "account")}
        texts = {key: "" if is_blank_mark(text) else text for key, text in texts.items()}
        if self.layout.sections:  # one that is not known is a kind that is not known
            texts["kind"] = self.layout.sections.get(self.section, self.section)
        texts["currency"] = texts["currency"] or self.layout.currency
        texts["account"] = " ".join((texts["account"] or self.account).split())
        numbers = {key: self._number(record, key, said) for key in NUMBERS if key in said}
        if numbers.get("multiplier", 0) is None:
            del numbers["multiplier"]
        made: dict[str, Any] = texts | numbers
        entry = Entry(record.row, section=self.section, heading=self.heading, **made)
        self.found.entries.append(self.layout.amend(entry, record.cells))

    def _number(self, record: Record, key: str, said: Mapping[str, str]) -> Decimal | None:
        text = said.get(key, "")
        if not self.pointed and _EITHER.fullmatch(text):  # where a comma may be the decimal one, a point may part
            rule, cure = "its point may part thousands or decimals", f"write {text.replace('.', '')} or {text}0"
            self._fault(record, key, text, rule, cure)
            return None
        try:
            if ("," in text and not self.grouped) or ("%" in text and key != "weight"):
                raise ValueError(text)
            return amount(text)
        except ValueError:
            self._fault(record, key, text, *number_fault(text, nullable=True))
            return None

    def _fault(self, record: Record, column: str | None, value: str | None, rule: str, cure: str) -> None:
        self.found.breaches.append(Breach(self.name, record.row, column, value and value[:80], rule, cure))
