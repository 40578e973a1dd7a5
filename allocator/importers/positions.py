"""What an export says that somebody holds: rows read in, checked against what the file says of itself, accounted for.

Every line of a file is a position that was imported, one that was not handled (with its amount), or no position (a
heading, a total, a text), and the lines are counted a second time by other means. Nothing is dropped without a word.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Annotated, Literal, TypedDict

from allocator.errors import BadInput, Breach, printable
from allocator.presentation import Count, IsoDate
from allocator.tables.schema import UNCLASSIFIED, sample_books_folder


@dataclass(frozen=True, eq=False)
class Entry:
    """A line of an export that is about a position, as it stands there; itself, as two may say the same on one line.

    `kind` is what the file calls it; `heading` the row of the header that it stands under; `unhandled` why it is no
    holding of a long-only account, where the line says so.
    """

    row: int
    account: str = ""
    symbol: str = ""
    name: str = ""
    cusip: str = ""
    isin: str = ""
    kind: str = ""
    quantity: Decimal | None = None
    price: Decimal | None = None
    value: Decimal | None = None
    currency: str = ""
    multiplier: Decimal = Decimal(1)
    weight: Decimal | None = None
    section: str = ""
    heading: int = 0
    unhandled: str = ""

    @property
    def label(self) -> str:
        """What a message calls it."""
        return self.symbol or self.name or self.cusip or self.isin or f"row {self.row}"

    @property
    def amount(self) -> Decimal | None:
        """What it is worth: as stated, or else quantity x price."""
        return self.value if self.value is not None else self.product

    @property
    def product(self) -> Decimal | None:
        """Quantity x price."""
        return None if self.quantity is None or self.price is None else self.quantity * self.price * self.multiplier


@dataclass(frozen=True)
class Total:
    """A line that sums positions: of an account, a section or a currency, where it names one."""

    row: int
    label: str
    stated: Decimal
    account: str = ""
    section: str = ""
    currency: str = ""


@dataclass
class Contents:
    """What a reader of one format found; `outside` counts the lines that are no position, by what they are."""

    entries: list[Entry] = field(default_factory=list)
    totals: list[Total] = field(default_factory=list)
    outside: Counter[str] = field(default_factory=Counter)
    as_of: dt.date | None = None
    breaches: list[Breach] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bases: dict[str, str] = field(default_factory=dict)
    """By account, the currency that it is kept in."""
    rates: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    """By account and currency, what one unit is worth in that."""


class HoldingRow(TypedDict):
    """One row of holdings.csv, and where it is from."""

    account: str
    instrument: str
    name: str
    quantity: float
    price: float
    currency: Annotated[str | None, "null where the file states none"]
    price_date: IsoDate | None
    rows: Annotated[list[int], "lines of the file; the header is one, too"]
    source: str


class NotHandledRow(TypedDict):
    """A position that a long-only account of shares and cash cannot hold."""

    row: int
    label: str
    why: str
    quantity: float | None
    amount: Annotated[float | None, "in its currency; null where the file states none"]
    currency: str | None


class DisagreementRow(TypedDict):
    """Where the file contradicts itself, and what was accepted."""

    row: int | None
    label: str
    rule: str
    accepted: Literal["price", "value"] | None


class SuggestionRow(TypedDict):
    """A name that the identifier map may have meant; nothing was made of it."""

    row: int
    label: str
    suggestion: str


class RowCounts(TypedDict):
    """Every line of the file with something on it, once."""

    file: Annotated[Count, "imported and not handled: the positions of the file"]
    imported: Count
    not_handled: Count
    outside: Annotated[dict[str, int], "lines that are no position of this account, by what they are"]
    counted_again: Annotated[Count, "all lines, counted by other means"]


class ImportDocument(TypedDict):
    """What `allocator import` found in a file."""

    format: Literal["allocator.import/1"]
    file: str
    recognised: str
    account: str
    as_of: IsoDate | None
    holdings: list[HoldingRow]
    not_handled: list[NotHandledRow]
    disagreements: list[DisagreementRow]
    suggestions: list[SuggestionRow]
    notes: list[str]
    rows: RowCounts
    written: str | None


@dataclass(frozen=True)
class Holding:
    """A row of holdings.csv: cash of one currency has price 1 and the currency's code as its name."""

    account: str
    instrument: str
    quantity: Decimal
    price: Decimal
    currency: str
    name: str
    rows: tuple[int, ...]
    source: str

    @property
    def value(self) -> Decimal:
        """Quantity x price, in its currency."""
        return self.quantity * self.price


@dataclass(frozen=True)
class Disagreement:
    """What the file says of a sum or a product that is another; `rule` says both."""

    row: int | None
    label: str
    rule: str
    entry: Entry | None = None
    """The position that it is about; none of a total."""


@dataclass(frozen=True)
class Positions:
    """The positions of one account: rows for holdings.csv, what was not handled, and how the file was accounted for."""

    file: str
    format: str
    account: str
    as_of: dt.date | None
    holdings: tuple[Holding, ...]
    not_handled: tuple[Entry, ...]
    disagreements: tuple[Disagreement, ...]
    accepted: Literal["price", "value"] | None
    suggestions: tuple[tuple[Entry, str], ...]
    notes: tuple[str, ...]
    imported: int
    outside: Mapping[str, int]
    counted_again: int
    base: str = ""
    """The currency that the account is kept in, where the file says so."""
    rates: Mapping[str, Decimal] = field(default_factory=dict)
    """What one unit of another is worth in it, where the file says so."""

    @property
    def rows(self) -> int:
        """The positions of the file, each imported or not handled."""
        return self.imported + len(self.not_handled)

    def csv(self) -> str:
        """holdings.csv; a column that nothing is known for is left out."""
        columns = ["account", "instrument", "quantity", "price"]
        columns += ["currency"] * any(one.currency for one in self.holdings)
        columns += ["price_date"] * (self.as_of is not None) + ["source"]
        return _table(columns, ([row[column] for column in columns] for row in self._rows()))

    def _rows(self) -> Iterator[dict[str, str]]:
        day = "" if self.as_of is None else self.as_of.isoformat()
        for one in self.holdings:
            numbers = {"quantity": plain(one.quantity), "price": plain(one.price)}
            named = {"account": one.account, "instrument": one.instrument, "currency": one.currency}
            yield named | numbers | {"price_date": day, "source": one.source}

    def document(self, written: str | None = None) -> ImportDocument:
        """The same as plain data; its JSON Schema is `schemas/import.schema.json`."""
        day = None if self.as_of is None else self.as_of.isoformat()
        return {
            "format": "allocator.import/1", "file": self.file, "recognised": self.format, "account": self.account,
            "as_of": day,
            "holdings": [
                {"account": one.account, "instrument": one.instrument, "name": one.name,
                 "quantity": float(one.quantity), "price": float(one.price), "currency": one.currency or None,
                 "price_date": day, "rows": list(one.rows), "source": one.source}
                for one in self.holdings
            ],
            "not_handled": [
                {"row": one.row, "label": one.label, "why": one.unhandled,
                 "quantity": None if one.quantity is None else float(one.quantity),
                 "amount": None if one.amount is None else float(one.amount), "currency": one.currency or None}
                for one in self.not_handled
            ],
            "disagreements": [
                {"row": one.row, "label": one.label, "rule": one.rule, "accepted": self.accepted}
                for one in self.disagreements
            ],
            "suggestions": [{"row": one.row, "label": one.label, "suggestion": said} for one, said in self.suggestions],
            "notes": list(self.notes),
            "rows": {"file": self.rows, "imported": self.imported, "not_handled": len(self.not_handled),
                     "outside": dict(self.outside), "counted_again": self.counted_again},
            "written": written,
        }  # fmt: skip


# A book of them: what is held, every name unclassified, and the scenarios of a sample.
#
SAMPLE = "listed"
"""The sample book whose scenarios, model and market a made book begins with."""
_BOOK = """\
# Made of {file}. Weights and shares are fractions: 12 % is 0.12. State `bucket` or `archetype` of names in
# exposures.csv: until then they are unclassified, held and not bought. `allocator schema book` says what keys mean.

[book]
name = {name}
currency = "{currency}"
as_of = {as_of}{undated}

[mandate]
risk_aversion = 1.5             # charge per unit of variance; limits such as max_weight = 0.25 belong here

[robust]                        # the scenario probabilities may be wrong by this much in all
set = "total_variation"
radius = 0.1

[costs]
spread_bps = 5                  # full quoted spread, of which half is paid each way (illustrative)

[buckets.archetypes]            # what names are like that state a bucket and no archetype: allocator schema archetypes
efficiency = "efficient_platform"
capital_intensity = "hyperscaler"
adopter = "software_adopter"
neutral = "diversified"

# From here on the illustrative numbers of the sample book `{sample}`, whose comments say what each is.
"""


def book_files(
    found: Positions, name: str, today: dt.date, rates: Mapping[str, Decimal] | None = None
) -> dict[str, str]:
    """The files of a book of these positions, by name: every instrument unclassified, scenarios of the sample.

    `today` is its date where the file states none; `rates` are what one unit of other currencies is worth.

    Raises:
        BadInput: a currency has no rate, or nobody says which is the book's.
    """
    given = dict(rates or {})
    home, known = _home(found, given)
    cash = Holding(found.account, home, Decimal(0), Decimal(1), home, "", (), "no row of it in the file")
    held = found.holdings if any(one.instrument == home for one in found.holdings) else (*found.holdings, cash)
    book = _BOOK.format(
        file=found.file, name=json.dumps(name, ensure_ascii=False), currency=home, as_of=found.as_of or today,
        undated="" if found.as_of else "              # the file states no day: this is the one on which it was read",
        sample=SAMPLE,
    )  # fmt: skip
    files = {
        "book.toml": book + _sample_sections(found.as_of or today),
        "holdings.csv": replace(found, holdings=held).csv(),
        "exposures.csv": _table(
            ["instrument", "name", "bucket", "archetype", "required_return", "source"],
            [(one.instrument, one.instrument, "cash", "", 0, "nothing is assumed of cash: it returns nothing")
             if one.instrument == home else
             (one.instrument, _named(one), UNCLASSIFIED, "", "", one.source.partition(";")[0])
             for one in held],
        ),
    }  # fmt: skip
    if known:
        day = found.as_of or today
        rows = [(one, plain(rate), day, "--rate" if one in given else found.file) for one, rate in known.items()]
        files["fx.csv"] = _table(["currency", "rate", "date", "source"], rows)
    return files


def _named(one: Holding) -> str:
    name = printable(one.name)
    return one.instrument if not name or name[0] in "=+-@" else name


def _home(found: Positions, given: Mapping[str, Decimal]) -> tuple[str, dict[str, Decimal]]:
    """The book's currency, and what the others are worth in it."""
    stated = list(dict.fromkeys(one.currency for one in found.holdings))
    cure = "say what one unit of each other is worth, such as --rate EUR=1.15: the one without is the book's"
    if strange := [one for one in given if one not in stated]:
        raise BadInput.of("--rate", f"nothing is held in it: {', '.join(stated)}", "leave it out", value=strange[0])
    left = [one for one in stated if one not in given]
    home = found.base if found.base in left else left[0] if len(left) == 1 else ""
    if not home:
        rule = (
            f"holds {', '.join(stated)}, and no base currency is stated" if left else "leaves no currency for the book"
        )
        raise BadInput.of("--rate" if not left else found.file, rule, cure, column="currency")
    known = (dict(found.rates) if home == found.base else {}) | dict(given)
    if missing := [one for one in stated if one != home and one not in known]:
        rule = f"states no rate of {', '.join(missing)} to {home}"
        raise BadInput.of(found.file, rule, f"say it, such as --rate {missing[0]}=1.15", column="currency")
    return home, {one: known[one] for one in stated if one != home}


def _sample_sections(as_of: dt.date) -> str:
    """[model], [market], [risk] and the scenarios of the sample, as they stand there."""
    said = tomllib.loads((sample_books_folder() / SAMPLE / "book.toml").read_text(encoding="utf-8"))
    scenarios = {f"scenarios.{name}": one for name, one in said["scenarios"].items()}
    market = {"market": {"date": as_of}, "market.probabilities": said["market"]["probabilities"]}
    sections = {**scenarios, "model": said["model"], **market, "risk": said["risk"]}
    lines = []
    for name, keys in sections.items():
        lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in keys.items() if key != "note")]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else str(value)


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *rows])
    return text.getvalue()


def plain(number: Decimal) -> str:
    """Every digit and no exponent."""
    return format(number.normalize() + 0, "f")


# What a position is: cash, something that this house holds, or why not. A file's own word goes before its symbol's
# form; a word that is not known here is a reason not to hold it, never a guess.
#
_REASONS = (
    (re.compile(r"collateral|margin", re.I), "collateral"),
    (re.compile(r"option|warrant|\bOPT\b|\bFOP\b|\bFSFOP\b|\bWAR\b|\bIOPT\b", re.I), "option or warrant"),
    (re.compile(r"future|forward|swap|\bFUT\b|\bCFDs?\b|\bFX\b|forex|derivative", re.I), "future or other derivative"),
    (re.compile(r"fixed income|bond|treasur|\bbills?\b|\bnotes?\b|\bCDs?\b|certificate|debt|mortgage", re.I), "bond"),
)
_CASH_KIND = re.compile(r"^(?:cash|currency|core)\b|money market|cash and |cash & |sweep", re.I)
_SHARE = re.compile(
    r"stock|equit|\bshares?\b|\bADRs?\b|depositary|REIT|\btrust|\bSTK\b|\bunits?\b|preferred|partnership", re.I
)
_FUND = re.compile(r"\bET[FNP]s?\b|\bfunds?\b|exchange.traded", re.I)
_OPTION_SYMBOL = re.compile(r"-?\.?[A-Z]{1,6}[0-9]?\s*[0-9]{6}[CP][0-9]+(\.[0-9]+)?")
_OPTION_NAME = re.compile(
    r"^(?:CALL|PUT)\b.*\$\s*[0-9]|\b[0-9]+(?:\.[0-9]+)? (?:CALL|PUT)\b|\b[0-9]+\.[0-9]+ [CP]$|\bWTS\b|\bWARRANTS?\b",
    re.I,
)
_BOND_NAME = re.compile(
    r"\bTREAS(?:URY|\.)?\s*(?:SEC(?:URITIES)? )?(?:BILLS?|NOTES?|BONDS?|STRIPS?)\b|\bCPN\b|ZERO COUPON|\bMTD [0-9]"
    r"|\bDUE [0-9]{1,2}/|[0-9.]+ ?% ?[0-9]{1,2}/[0-9]{1,2}/[0-9]{2,4}|\bT-BILLS?\b",
    re.I,
)
_CASH_FUND = re.compile(r"[A-Z]{3}XX|FCASH|CORE|CASH|USD999997|QPCTQ|QPIKQ")
"""Five letters that end in XX are a money-market fund's by Nasdaq's convention; the rest are core accounts."""
_CASH_NAME = re.compile(
    r"\bMONEY (?:MARKET|MKT)\b|\bCASH (?:MAN|MGMT|MANAGEMENT|INVESTMENTS?|SWEEP)\b|^CASH(?: (?:&|AND) .*)?$"
    r"|\b(?:BANK|INSURED) (?:DEPOSIT|SWEEP)S?\b", re.I,
)  # fmt: skip
_CUSIP = re.compile(r"[0-9A-Z*@#]{8}[0-9]")
PENDING = re.compile(r"pending activity", re.I)
PAR = 100
"""Bills and bonds are quoted per so much of their nominal value."""


def is_cash(entry: Entry) -> bool:
    """Whether a row is cash, or a money-market fund that is as good as cash."""
    if entry.kind:
        return _CASH_KIND.search(entry.kind) is not None and not unhandled_kind(entry.kind)
    named = _CASH_FUND.fullmatch(entry.symbol.rstrip("*")) or (entry.symbol and entry.symbol == entry.currency)
    if not named and not _CASH_NAME.search(entry.symbol or entry.name):
        return False
    if entry.price is not None:
        return entry.price == 1  # CASH and CORE are shares, too
    return entry.quantity is None or entry.value is None or abs(entry.quantity - entry.value) <= 1


def unhandled_kind(kind: str) -> str:
    """Why what a file calls so is not held here; empty where it is."""
    if _FUND.search(kind):  # of bonds, say: its own price is a share's
        return ""
    for pattern, why in _REASONS:
        if pattern.search(kind):
            return why
    return "" if not kind or _SHARE.search(kind) or _CASH_KIND.search(kind) else f"a kind that is not known: {kind}"


def reason(entry: Entry) -> str:
    """Why a row is no holding; empty where it is one, or cash."""
    said = entry.unhandled or unhandled_kind(entry.kind)
    if said or is_cash(entry):
        return said or _unheld_cash(entry)
    if PENDING.fullmatch(entry.symbol or entry.name):
        return "pending, not settled"
    named = () if entry.kind else (entry.symbol, entry.name)
    if _OPTION_SYMBOL.fullmatch(entry.symbol) or any(map(_OPTION_NAME.search, named)):
        return "option or warrant"
    untraded = not entry.symbol or _CUSIP.fullmatch(entry.symbol)  # a bond has no ticker, and a fund of bonds has one
    if not entry.kind and untraded and (_BOND_NAME.search(entry.name) or _per_hundred(entry)):
        return "bond"
    return "future or other derivative" if entry.symbol.startswith("/") else _unheld(entry)


def _per_hundred(entry: Entry) -> bool:
    product = entry.product
    return product is not None and entry.value is not None and close_to(entry, product / PAR)


def _unheld_cash(entry: Entry) -> str:
    if entry.amount is None:
        return "no amount is stated"
    return "borrowed cash" if entry.amount < 0 else "" if entry.amount else "nothing is held"


def _unheld(entry: Entry) -> str:
    if entry.quantity is not None and entry.quantity < 0:
        return "short position"
    if entry.quantity is None or (entry.price is None and (not entry.value or not entry.quantity)):
        return "no quantity is stated" if entry.quantity is None else "neither price nor value is stated"
    return "negative price or value" if min(entry.price or 0, entry.value or 0) < 0 else ""


def _last_digit(number: Decimal) -> Decimal:
    """The unit of the last digit that is written; a whole number is as good as one with cents."""
    exponent = number.as_tuple().exponent
    return Decimal(1).scaleb(min(exponent if isinstance(exponent, int) else 0, -2))


def close_to(entry: Entry, product: Decimal) -> bool:
    """Whether a product is the value that is stated, as far as the digits that are written say."""
    quantity, price, value = entry.quantity or Decimal(0), entry.price or Decimal(0), entry.value or Decimal(0)
    room = abs(quantity) * _last_digit(price) * abs(entry.multiplier) + _last_digit(value)
    if quantity != quantity.to_integral_value():
        room += abs(price) * _last_digit(quantity)
    return abs(product - value) <= room


def find_disagreements(contents: Contents, held: Sequence[Entry]) -> list[Disagreement]:
    """Every row whose value is not quantity x price, and every total that is not the sum of its rows."""
    found = []
    for entry in held:
        product = entry.quantity if is_cash(entry) else entry.product
        if product is None or entry.value is None or _agrees(entry, product):
            continue
        said = "quantity" if is_cash(entry) else "quantity x price"
        rule = f"the value is {entry.value:,f} and {said} is {_cents(product)}"
        found.append(Disagreement(entry.row, entry.label, rule, entry))
    return [*found, *_totals(contents, set(held)), *_weights(contents)]


def _agrees(entry: Entry, product: Decimal) -> bool:
    """Cash is its own value, or has the price of a unit or of a hundred of its own currency."""
    if not is_cash(entry):
        return close_to(entry, product)
    at_rate = entry.product is not None and (close_to(entry, entry.product) or close_to(entry, entry.product / PAR))
    return abs(product - (entry.value or 0)) <= 1 or at_rate


def _totals(contents: Contents, held: set[Entry]) -> Iterator[Disagreement]:
    """A total is of values, or of quantity x price where a row's value is another.

    Of two totals of one thing, as in two currencies, one that agrees is enough.
    """
    scopes: dict[tuple[str, str, str], list[tuple[Total, str]]] = {}
    for total in contents.totals:
        own = [
            entry
            for entry in contents.entries
            if all(getattr(total, key) in ("", getattr(entry, key)) for key in ("account", "section", "currency"))
        ]
        if total.currency and not own:
            continue
        room = (len(own) + 1) * Decimal("0.01") + _last_digit(total.stated)
        by_value = sum((entry.amount or Decimal(0) for entry in own), Decimal(0))
        products = (entry.product if entry in held and not is_cash(entry) else None for entry in own)
        by_price = sum((p or entry.amount or Decimal(0) for p, entry in zip(products, own, strict=True)), Decimal(0))
        agrees = min(abs(by_value - total.stated), abs(by_price - total.stated)) <= room
        rule = f"the total is {total.stated:,f} and the values of its rows sum to {_cents(by_value)}"
        scopes.setdefault((total.account, total.section, total.currency), []).append((total, "" if agrees else rule))
    for found in scopes.values():  # of positions of a currency that the file has none of, it is a conversion
        if all(rule for _, rule in found):
            yield from (Disagreement(total.row, total.label, rule) for total, rule in found)


def _weights(contents: Contents) -> Iterator[Disagreement]:
    """Weights of a fund's rows sum to 100 %: what was cut off would be missed here."""
    weights = [entry.weight for entry in contents.entries if entry.weight is not None]
    total = sum(weights, Decimal(0))
    if weights and abs(total - 100) > 1 + len(weights) * Decimal("0.005"):
        yield Disagreement(None, "weights", f"they sum to {total:,f} % and not to 100 %: rows may be missing")


def _cents(number: Decimal) -> str:
    return f"{number:,.2f}"
