"""Statements and filings that are no plain tables: Interactive Brokers in both of its forms, and SEC 13F tables.

Interactive Brokers writes sections into the first column of its activity statement, and attributes of XML into its Flex
queries. Its Flex files are read here and not by ibflex, which takes 1,2,3 for 123 and NaN for an amount, drops a whole
file over an attribute that is new, and does not know the lines that things stand on.
"""

from __future__ import annotations

import datetime as dt
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Context, Decimal
from typing import Any

from allocator.errors import BadInput, Breach
from allocator.importers.cells import Element, Record, amount, day, is_amount, is_blank_mark, parse_xml
from allocator.importers.layouts import Layout, Walk, folded
from allocator.importers.positions import Contents, Entry, Total
from allocator.tables.validation import number_fault

# Interactive Brokers, activity statement: every line begins with its section and what it is in it.
#
_POSITIONS = Layout(
    "ibkr-activity",
    {
        "detail": ("datadiscriminator",), "kind": ("asset category",), "currency": ("currency",),
        "symbol": ("symbol",), "quantity": ("quantity",), "multiplier": ("mult", "multiplier"),
        "price": ("close price",),
        "value": ("value",), "account": ("account",), "name": ("description",),
    },
    ("detail", "kind", "currency", "symbol", "quantity", "price", "value"),
)  # fmt: skip
_CASH = Layout(
    "ibkr-activity", {"what": ("currency summary",), "currency": ("currency",), "value": ("total",),
                      "account": ("account",)}, ("what", "currency", "value"),
)  # fmt: skip


_OPEN = ("open positions", "long open positions", "short open positions")
_BASE = "base currency summary"


def is_activity(record: Record) -> bool:
    """Whether a line heads a section of an activity statement that holds positions or cash."""
    section, role = (*map(folded, record.cells), "", "")[:2]
    return role == "header" and section in (*_OPEN, "cash report")


def read_activity(records: Sequence[Record], name: str) -> Contents:
    """The sections Open Positions and Cash Report; others hold no positions."""
    found = Contents()
    positions, cash = Walk(_POSITIONS, name), Walk(_CASH, name)
    walks = dict.fromkeys(_OPEN, positions) | {"cash report": cash}
    base, of_base = "", list[tuple[Record, str]]()
    for record in records:
        section, role = (*map(folded, record.cells), "", "")[:2]
        rest = Record(record.row, record.cells[2:])
        key, value = (*rest.cells, "", "")[:2]
        if section == "account information" and folded(key) == "account":
            positions.account = cash.account = value
        elif section == "account information" and folded(key) == "base currency":
            base = value
        elif section == "statement" and folded(key) == "period":
            found.as_of = day(value.rpartition(" - ")[2])
        if section not in walks or role not in ("header", "data", "total", "subtotal"):
            found.outside["headings" if role == "header" else "other sections"] += 1
        elif role == "header":
            _take_header(walks[section], rest, found)
        elif section == "cash report" and folded(key) == "ending cash" and folded(value) == _BASE:
            of_base.append((rest, cash.account))
        else:
            _take_activity(walks[section], rest, role, found)
    for rest, account in of_base:  # the sum of the currencies, where these are stated
        _take_base(found, cash, base, rest, account)
        if base and cash.columns and account not in {entry.account for entry in cash.found.entries}:
            said = {key: rest.cells[at] for key, at in cash.columns.items() if at < len(rest.cells)}
            cash.position(rest, {**said, "kind": "Cash", "symbol": base, "currency": base, "account": account})
        else:
            found.outside["totals"] += 1
    found.notes += _absent(positions.columns is not None, cash.columns is not None)
    for walk in (positions, cash):
        found.entries += walk.found.entries
        found.totals += walk.found.totals
        found.breaches += walk.found.breaches
        found.outside += walk.found.outside
    found.breaches += _twice(found, name)
    found.breaches.sort(key=lambda breach: breach.row or 0)
    return found


def _absent(positions: bool, cash: bool) -> list[str]:
    """What a statement without one of its two sections leaves open."""
    sections = (positions, "Open Positions", "positions"), (cash, "Cash Report", "cash")
    return [f"no section {name}: no {what} could be read" for there, name, what in sections if not there]


_ENOUGH = 100
"""Units of a currency from which cents tell its rate to four digits."""
_RATE = Context(prec=8)


def _take_base(found: Contents, cash: Walk, base: str, rest: Record, account: str) -> None:
    """What one other currency is worth, where the sum in the account's own is stated beside the parts."""
    at = (cash.columns or {}).get("value", len(rest.cells))
    said = rest.cells[at] if at < len(rest.cells) else ""
    if base and is_amount(said):
        _take_rate(found, account, base, amount(said), [one for one in cash.found.entries if one.account == account])


def _take_rate(found: Contents, account: str, base: str, total: Decimal | None, parts: Sequence[Entry]) -> None:
    found.bases[account] = base
    others = [one for one in parts if one.currency != base]
    own = sum((one.value or Decimal(0) for one in parts if one.currency == base), Decimal(0))
    if total is None or len(others) != 1 or abs(others[0].value or Decimal(0)) < _ENOUGH:
        return
    rate = _RATE.divide(total - own, others[0].value or Decimal(1))
    if rate > 0:
        found.rates.setdefault((account, others[0].currency), rate)


def _twice(found: Contents, name: str) -> Iterator[Breach]:
    """Positions that are there a second time: of two statements in one file, they would be added up."""
    before: dict[tuple[str, ...], Entry] = {}
    for entry in found.entries:
        first = before.setdefault((entry.account, entry.kind, entry.symbol, entry.currency), entry)
        if first is not entry:
            rule = f"{entry.label} is there twice, first in row {first.row}"
            yield Breach.of(name, rule, "keep one day", row=entry.row)


def _take_header(walk: Walk, rest: Record, found: Contents) -> None:
    found.outside["headings"] += 1
    walk.columns, walk.width = walk.layout.header(rest), len(rest.cells)
    if walk.columns is None:
        missing = ", ".join(walk.layout.required)
        walk.found.breaches.append(Breach(
            walk.name, rest.row, None, ", ".join(rest.texts)[:60], f"this section needs columns for {missing}",
            "export the statement in full, in English",
        ))  # fmt: skip


def _take_activity(walk: Walk, rest: Record, role: str, found: Contents) -> None:
    columns = walk.columns
    if columns is None:
        found.outside["other sections"] += 1
        return
    said = {key: rest.cells[at] if at < len(rest.cells) else "" for key, at in columns.items()}
    if role != "data":
        found.outside["totals"] += 1
        if role == "total" and is_amount(said.get("value", "")) and not is_blank_mark(said["currency"]):
            stated, currency = amount(said["value"]) or Decimal(0), said["currency"]
            label = f"total of {said['kind']}, {currency}"
            walk.found.totals.append(Total(rest.row, label, stated, walk.account, said["kind"], currency))
    elif "what" in columns:
        if folded(said["what"]) == "ending cash":
            walk.position(rest, {**said, "kind": "Cash", "symbol": said["currency"]})
        else:
            found.outside["other sections"] += 1
    elif folded(said["detail"]) == "lot":
        found.outside["tax lots"] += 1
    else:
        walk.section = said["kind"]
        walk.row(rest, columns)


# Interactive Brokers, Flex query: attributes of OpenPosition and CashReportCurrency.
#


def read_flex(root: Element, name: str) -> Contents:
    """Open positions and cash of every account; other sections hold no positions.

    Raises:
        BadInput: the statements are not as many as the file says, or one account has two.
    """
    found = Contents()
    statements = list(root.all("FlexStatement"))
    stated = next((element.attributes.get("count", "") for element in root.all("FlexStatements")), "")
    faults = []
    if stated not in ("", str(len(statements))):
        rule = f"holds {len(statements)} statements and says {stated}"
        faults.append(Breach.of(name, rule, "export it again: it was cut short", row=root.row))
    accounts = [statement.attributes.get("accountId", "") for statement in statements]
    for account in dict.fromkeys(accounts):
        if accounts.count(account) > 1:
            rule = f"holds {accounts.count(account)} statements of account {account}"
            faults.append(Breach.of(name, rule, "query one period that ends on the day that is wanted", row=root.row))
    if faults:
        raise BadInput(faults)
    for statement in statements:
        found.as_of = found.as_of or day(statement.attributes.get("toDate", ""))
        for element in statement.walk():
            if element.tag in ("OpenPosition", "CashReportCurrency"):
                _take_flex(element, statement, name, found)
            elif element.attributes and element is not statement:
                found.outside[element.tag] += 1
                if element.tag == "AccountInformation" and (base := element.attributes.get("currency")):
                    found.bases[statement.attributes.get("accountId", "")] = base
    found.breaches += _twice(found, name)
    found.notes += _absent(*(any(root.all(tag)) for tag in ("OpenPositions", "CashReport")))
    if not found.entries:
        there = ", ".join(f"{count} {tag}" for tag, count in found.outside.items()) or "nothing"
        rule = f"holds no open positions and no cash but {there}"
        raise BadInput.of(name, rule, "add the sections Open Positions and Cash Report to the Flex query", row=root.row)
    return found


def _take_flex(element: Element, statement: Element, name: str, found: Contents) -> None:
    said = element.attributes
    account = said.get("accountId") or statement.attributes.get("accountId", "")
    _take_flex_rate(said, account, found)
    if element.tag == "CashReportCurrency":
        if said.get("currency") == "BASE_SUMMARY":
            found.outside["totals"] += 1
            return
        keys, kind, symbol = {"value": "endingCash"}, "Cash", said.get("currency", "")
    elif said.get("levelOfDetail", "SUMMARY") == "LOT":
        found.outside["tax lots"] += 1
        return
    else:
        keys = {"quantity": "position", "price": "markPrice", "value": "positionValue", "multiplier": "multiplier"}
        kind, symbol = said.get("assetCategory", ""), said.get("symbol", "")
    numbers: dict[str, Any] = dict(_flex_numbers(keys, element, name, found))
    texts: dict[str, Any] = {
        "name": said.get("description", ""),
        **{key: said.get(key, "") for key in ("cusip", "isin")},
    }
    odd = "foreign exchange" if kind == "CASH" else ""
    found.entries.append(
        Entry(element.row, account, symbol, kind=kind, currency=said.get("currency", ""), unhandled=odd,
              **texts, **numbers)
    )  # fmt: skip


def _take_flex_rate(said: Mapping[str, str], account: str, found: Contents) -> None:
    """What a row's currency is worth in the account's own; of that, it is 1."""
    text, currency = said.get("fxRateToBase", ""), said.get("currency", "")
    rate = amount(text) if is_amount(text) else None
    if rate is not None and rate > 0 and currency != "BASE_SUMMARY":
        if rate == 1:
            found.bases.setdefault(account, currency)
        found.rates.setdefault((account, currency), rate)


def _flex_numbers(
    keys: Mapping[str, str], element: Element, name: str, found: Contents
) -> Iterator[tuple[str, Decimal | None]]:
    for key, attribute in keys.items():
        try:
            number = amount(element.attributes.get(attribute, ""))
        except ValueError:
            text = element.attributes[attribute]
            found.breaches.append(Breach(name, element.row, attribute, text[:80], *number_fault(text, nullable=True)))
            continue
        if number is not None or key != "multiplier":
            yield key, number


# SEC 13F: an information table alone, or a whole submission as EDGAR keeps it.
#
IN_DOLLARS_FILED = dt.date(2023, 1, 3)
"""From this day on values are filed in dollars; before, in thousands of them (EDGAR Filer Manual, release 22.4.1)."""
IN_DOLLARS_AFTER = dt.date(2022, 9, 30)
"""What is about a later quarter was filed after that day; about this very quarter, it may have been either way."""
DOLLAR_PRICES, THOUSANDS_PRICES = Decimal(3), Decimal("0.8")
"""Half of the implied prices of a filing in dollars lie above, of one in thousands below: shares cost 10 to 500."""


def submission_parts(content: bytes, name: str) -> tuple[list[Element], dt.date | None, dt.date | None]:
    """The documents of a file of 13F, the period and the day of filing, as far as it says them.

    Raises:
        BadInput: it is not well-formed.
    """
    if not re.match(rb"\s*(-----BEGIN|<SEC-DOCUMENT|<SEC-HEADER|<SUBMISSION)", content):
        return [parse_xml(content, name)], None, None
    blocks = re.finditer(rb"<XML>\s*?\n(.*?)</XML>", content, re.DOTALL)
    roots = [parse_xml(block[1], name, content.count(b"\n", 0, block.start(1))) for block in blocks]
    period = re.search(rb"CONFORMED PERIOD OF REPORT:\s*([0-9]{8})", content)
    filed = re.search(rb"FILED AS OF DATE:\s*([0-9]{8})", content)
    first, second = (day(said[1].decode()) if said else None for said in (period, filed))
    return roots, first, second


def read_13f(
    roots: Sequence[Element], name: str, period: dt.date | None = None, filed: dt.date | None = None
) -> Contents:
    """The rows of an information table: values in dollars, and no price but what value / shares implies.

    Raises:
        BadInput: there is no row, or whether values are dollars or thousands cannot be told.
    """
    found = Contents(as_of=period)
    for root in roots:
        for element in root.all("infoTable"):
            _take_info(element, name, found)
    if not found.entries and not found.breaches:
        raise BadInput.of(name, "holds no row of a 13F information table", "take the information table of the filing")
    scale = _scale(found, name, period, filed)
    found.entries = [_scaled(entry, scale) for entry in found.entries]
    for tag, count in (("tableEntryTotal", True), ("tableValueTotal", False)):
        for root in roots:
            stated = root.said(tag)
            if count and is_amount(stated) and amount(stated) != len(found.entries):
                rule = f"the cover says {stated} rows, and there are {len(found.entries)}"
                found.breaches.append(Breach.of(name, rule, "take the filing again: it was cut short"))
            elif not count and is_amount(stated):
                found.totals.append(Total(root.row, "total of the cover page", (amount(stated) or Decimal(0)) * scale))
    return found


def _take_info(element: Element, name: str, found: Contents) -> None:
    numbers: dict[str, Any] = {}
    for key, tag in (("quantity", "sshPrnamt"), ("value", "value")):
        text = element.said(tag)
        try:
            numbers[key] = amount(text)
        except ValueError:
            numbers[key] = None
        if numbers[key] is None:
            rule, cure = number_fault(text, nullable=False)
            found.breaches.append(Breach(name, element.row, tag, text[:80] or None, rule, cure))
    kind, put = element.said("sshPrnamtType").upper(), element.said("putCall")
    why = "option or warrant" if put else {"SH": "", "PRN": "principal of a debt"}.get(kind, f"amount of type {kind}")
    issuer, cusip = element.said("nameOfIssuer"), element.said("cusip").upper()
    found.entries.append(Entry(element.row, name=issuer, cusip=cusip, currency="USD", unhandled=why, **numbers))


def _scale(found: Contents, name: str, period: dt.date | None, filed: dt.date | None) -> int:
    """1 where values are dollars, 1000 where they are thousands: by the day, held to the prices that they imply."""
    by_day = None
    if filed is not None:
        by_day = 1 if filed >= IN_DOLLARS_FILED else 1000
    elif period is not None and period != IN_DOLLARS_AFTER:
        by_day = 1 if period > IN_DOLLARS_AFTER else 1000
    shares = [entry for entry in found.entries if not entry.unhandled and entry.quantity and entry.value]
    prices = [entry.value / entry.quantity for entry in shares if entry.value and entry.quantity]
    middle = statistics.median(prices) if prices else None
    by_price = (
        None if middle is None else 1 if middle >= DOLLAR_PRICES else 1000 if middle <= THOUSANDS_PRICES else None
    )
    units = {1: "dollars", 1000: "thousands of dollars"}
    half = f"the median implied price is {middle:.4g}" if middle is not None else "no row implies a price"
    if by_day is not None and by_price not in (None, by_day):
        other = "2023-03-31" if by_price == 1 else "2022-06-30"
        cure = f"look at the filing: if it is in {units[by_price]} all the same, say --period {other}"
        rule = f"values of that day are filed in {units[by_day]}, and {half}"
        raise BadInput.of(name, rule, cure, column="value")
    scale = by_day or by_price
    if scale is None:
        rule = f"are the values dollars or thousands? {half}"
        raise BadInput.of(name, rule, "say --period DATE, the end of the quarter", column="value")
    found.notes.append(f"values are {units[scale]}: " + (half if by_day is None else f"by the day, and {half}"))
    return scale


def _scaled(entry: Entry, scale: int) -> Entry:
    return replace(entry, value=None if entry.value is None else entry.value * scale)
