"""What was traded of a run, as ordered or as a broker confirms it: written into holdings and recorded, both or neither.

Money is counted in decimals: a fill is worth quantity x price, rounded to the cent, and cash is what the cents add up
to. Of the table only the cells that a fill changes are written; every other byte stays.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from allocator.book.loading import book_text, read_source
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.importers.cells import DELIMITERS, amount, as_text, is_blank_mark, read_export
from allocator.importers.layouts import folded
from allocator.importers.positions import plain
from allocator.ledger.ledger import APPLIED, Ledger, LedgerEntry, sha256
from allocator.ledger.record import Digest, refuse_unapproved
from allocator.presentation import Count, NotNegative
from allocator.settings.reading import read_settings
from allocator.tables.files import RawTable, is_plain_file, read_regular_file, read_table, replace_file

_CENT = Decimal("0.01")


class UnfilledOrder(TypedDict):
    """An order of which not everything was traded."""

    side: str
    instrument: str
    ordered: float
    filled: NotNegative


class ApplyDocument(TypedDict):
    """What was traded of a run, and what is held since; amounts are in the book's currency."""

    format: Literal["allocator.apply/1"]
    ledger: str
    run_id: str
    sequence: Annotated[int, "of the entry that records it"]
    head: Digest
    written: Annotated[str, "the table of holdings"]
    holdings: Annotated[Digest, "SHA-256 of the table as it was written"]
    fills: Count
    sold: NotNegative
    bought: NotNegative
    costs: Annotated[NotNegative, "commissions, spreads and impact as ordered, or what the broker took"]
    tickets: Annotated[NotNegative, "costs.ticket for each order that was filled as ordered; 0 with a broker's fills"]
    turnover: Annotated[NotNegative, "sales or purchases, whichever are more, as a fraction of the account before"]
    cash_before: float
    cash_after: float
    unfilled: list[UnfilledOrder]
    not_read: Annotated[list[str], "columns of the broker's file that say nothing here"]


@dataclass(frozen=True)
class _Fill:
    """Something that was traded: units, and money in the book's currency."""

    side: str
    instrument: str
    quantity: Decimal
    value: Decimal
    cost: Decimal
    row: int | None = None

    @property
    def cash(self) -> Decimal:
        """What cash changes by."""
        return (self.value if self.side == "sell" else -self.value) - self.cost

    @property
    def said(self) -> dict[str, str]:
        """In the entry."""
        return {
            "side": self.side, "instrument": self.instrument, "quantity": plain(self.quantity),
            "value": str(self.value), "cost": str(self.cost),
        }  # fmt: skip


@dataclass(frozen=True)
class _Run:
    """What the ledger has of a run: its plan, its settings, and the holdings that it was made from."""

    entry: LedgerEntry
    plan: Mapping[str, Any]
    settings: Mapping[str, Any]
    holdings: bytes

    @property
    def orders(self) -> dict[str, Mapping[str, Any]]:
        """By instrument; none is bought and sold."""
        return {one["instrument"]: one for one in self.plan["orders"]}


def apply_run(
    ledger: Ledger, run_id: str, book: Path, *, fills: Path | None = None, out: Path | None = None
) -> ApplyDocument:
    """Write what was traded of a run into the holdings of its book, or into a new table in `out`, and record it.

    Without `fills`, a broker's confirmation, all was traded as ordered, at the run's prices and costs.

    Raises:
        BadInput: the run was applied before or waits for approval, the holdings are not those that it was made from, a
            fill is of no order or of more than was ordered, or something cannot be written; all is as it was.
    """
    run = _recorded(ledger, run_id)
    place, name, now, then = _table_of(run, book, out)
    heading = run.plan["book"]

    def unchanged() -> None:  # another run may have been applied meanwhile
        if _table_of(run, book, out)[2] != now:
            raise _changed(run, name)

    traded, not_read = (_as_ordered(run), list[str]()) if fills is None else _confirmed(run, fills, _Table(then))
    ticket = _cents(run.settings["costs"]["ticket"]) if fills is None else Decimal(0)
    tickets = ticket * len(traded)
    if _Table(now).of(heading["account"]) == _Table(then).of(heading["account"]):
        after, cash = _after(run, _Table(now), name, traded, tickets)
    else:  # written by a command that was killed before it could record that?
        written, cash = _after(run, _Table(then), name, traded, tickets)
        after = now
        if _Table(now).of(heading["account"]) != _Table(written).of(heading["account"]):
            raise _changed(run, name)
    sold, bought = (sum((one.value for one in traded if one.side == side), Decimal(0)) for side in ("sell", "buy"))
    turnover = round(float(max(sold, bought)) / heading["value"], 8)
    held = {"before": {name: sha256(now)}, "after": {place.name: sha256(after)}}
    contents = {sha256(now): now, sha256(after): after}
    if fills is not None:
        broker = read_regular_file(fills, "--fills")
        held["fills"], contents[sha256(broker)] = {fills.name: sha256(broker)}, broker
    said = {
        "run": run.entry.hash, "book": heading["name"], "account": heading["account"], "as_of": heading["as_of"],
        "turnover": turnover, "fills": [one.said for one in traded], "tickets": str(tickets), "contents": held,
    }  # fmt: skip
    entry = _written_and_recorded(ledger, run, said, contents, place, after, unchanged)
    filled = _filled(traded)
    return {
        "format": "allocator.apply/1",
        "ledger": ledger.shown,
        "run_id": run.entry.run_id,
        "sequence": entry.sequence,
        "head": entry.hash,
        "written": str(place),
        "holdings": sha256(after),
        "fills": len(traded),
        "sold": float(sold),
        "bought": float(bought),
        "costs": float(sum((one.cost for one in traded), Decimal(0))),
        "tickets": float(tickets),
        "turnover": turnover,
        "cash_before": float(cash[0]),
        "cash_after": float(cash[1]),
        "unfilled": [
            {"side": one["side"], "instrument": name, "ordered": one["quantity"], "filled": float(filled.get(name, 0))}
            for name, one in run.orders.items()
            if filled.get(name, Decimal(0)) < Decimal(repr(one["quantity"]))
        ],
        "not_read": not_read,
    }


def _recorded(ledger: Ledger, run_id: str) -> _Run:
    entry = ledger.run(run_id)
    ledger.refuse_applied(entry)
    contents, approvals, _ = ledger.with_approvals(entry)
    parts = entry.said["contents"]
    settings = json.loads(contents[parts["parameters"]["settings.json"]])
    if settings["ledger"] and settings["ledger"]["require_approval"] and not approvals:
        refuse_unapproved(ledger, entry.run_id, then="apply {}")
    name = next(name for name, table in entry.said["tables"].items() if table == "holdings")
    plan = json.loads(contents[parts["outputs"]["plan.json"]])
    return _Run(entry, plan, settings, contents[parts["inputs"][name]])


def _written_and_recorded(
    ledger: Ledger,
    run: _Run,
    said: Mapping[str, Any],
    contents: Mapping[str, bytes],
    place: Path,
    after: bytes,
    unchanged: Callable[[], None],
) -> LedgerEntry:
    """Both or neither: the table is renamed into place before the entry is committed, and put back where it is not."""
    was, wrote = place.read_bytes() if is_plain_file(place) else None, False

    def write() -> None:
        nonlocal wrote
        unchanged()
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            rule = f"cannot be made: {error.strerror}"
            raise BadInput.of("--out", rule, "name another folder", value=str(place.parent)) from None
        try:
            replace_file(place, after)
        except BadInput as error:
            cure = "make room, look at the rights of the folder, or write a new table: --out FOLDER"
            raise BadInput([replace(one, table=place.name, cure=cure) for one in error.breaches]) from None
        wrote = True

    try:
        return ledger.add(APPLIED, run.entry.run_id, said, contents, write)
    except BaseException as failed:
        if not wrote:
            raise
        try:
            recorded = ledger.application(run.entry)  # an answer may be lost after it was committed
        except BadInput as unknown:
            told = failed.breaches if isinstance(failed, BadInput) else unknown.breaches
            rule = "has the trades in it, and whether the ledger knows cannot be asked"
            cure = "repeat the command when the ledger answers: it finds this table, and records it if it has to"
            raise BadInput([*told, Breach(str(place), None, None, None, rule, cure)]) from None
        if recorded is not None:
            return recorded
        if was is not None:
            replace_file(place, was)
        else:
            place.unlink()
        raise


# The table of holdings: where it is, what it says now, and what it says after the fills.
#


def _table_of(run: _Run, book: Path, out: Path | None) -> tuple[Path, str, bytes, bytes]:
    """Where to write, what errors call the table, and as CSV what it says now and what it said to the run.

    Raises:
        BadInput: it is no CSV file, and is to be written in its place.
    """
    options = run.entry.said["options"]
    as_of = None if options["as_of"] is None else dt.date.fromisoformat(options["as_of"])
    settings = read_settings(book_text(book), overrides=options["overrides"], as_of=as_of)
    where = settings.tables.holdings
    if not isinstance(where, str):
        raw, kind = read_source("holdings", where, book, settings.book.as_of), "answered by a database or a package"
        name, now, then = raw.name, raw.frame.to_csv(index=False).encode(), run.holdings
    else:
        read_table(book / where, where)  # refused, where it is no table any more
        name, now, then = where, read_regular_file(book / where, where), run.holdings
        kind = "" if Path(where).suffix.lower() == ".csv" else f"a {Path(where).suffix} file"
        if kind:
            if now != then:
                raise _changed(run, name)
            now = then = _as_csv(read_table(book / where, where))
    if out is not None:
        return out / ("holdings.csv" if kind else Path(str(where)).name), name, now, then
    if kind:
        cure = "write the holdings as a new CSV: --out FOLDER"
        raise BadInput.of(name, f"is {kind}, and is not written to", cure)
    return book / str(where), name, now, then


def _as_csv(raw: RawTable) -> bytes:
    text = io.StringIO()
    rows = raw.frame.itertuples(index=False, name=None)
    csv.writer(text, lineterminator="\n").writerows([raw.columns, *([as_text(cell) for cell in row] for row in rows)])
    return text.getvalue().encode()


def _changed(run: _Run, name: str) -> BadInput:
    rule = f"is not what run '{run.entry.run_id}' was made from"
    return BadInput.of(name, rule, "rebalance from the table as it is, or restore it")


_CELL = re.compile(r'("(?:[^"]|"")*"|[^,\r\n]*)(,|\r\n|\r|\n|\Z)')


class _Table:
    """A CSV file, cell by cell, each with the place that it has in the text."""

    def __init__(self, content: bytes) -> None:
        self.text, self.bom = content.decode("utf-8-sig"), content.startswith(b"\xef\xbb\xbf")
        lines, line, at = list[list[tuple[int, int]]](), list[tuple[int, int]](), 0
        while at < len(self.text) or line:
            found = _CELL.match(self.text, at)
            assert found is not None  # the same table was read for the run
            line.append(found.span(1))
            at = found.end()
            if found[2] != ",":
                lines.append(line)
                line = []
        filled = [line for line in lines if any(self._said(span) for span in line)]
        self.columns = [self._said(span) for span in filled[0]]
        self.spans = [dict(zip(self.columns, line, strict=True)) for line in filled[1:]]
        self.rows = [{name: self._said(span) for name, span in line.items()} for line in self.spans]
        self.newline = "\r\n" if "\r\n" in self.text else "\n"

    def _said(self, span: tuple[int, int]) -> str:
        text = self.text[slice(*span)]
        return (text[1:-1].replace('""', '"') if text.startswith('"') else text).strip()

    def of(self, account: str) -> list[dict[str, str]]:
        """The rows of an account."""
        return [row for row in self.rows if row.get("account", account) == account]

    def with_cells(self, changes: Mapping[tuple[int, str], str], new: Sequence[Mapping[str, str]]) -> bytes:
        """The file with some cells of its rows changed, and rows after the last."""
        text = self.text
        for (start, end), said in sorted(((self.spans[at][column], said) for (at, column), said in changes.items()),
                                         reverse=True):  # fmt: skip
            text = text[:start] + (f'"{said}"' if text[start:end].startswith('"') else said) + text[end:]
        if new:
            added = io.StringIO()
            writer = csv.writer(added, lineterminator=self.newline)
            writer.writerows([row.get(column, "") for column in self.columns] for row in new)
            text += ("" if text.endswith(("\n", "\r")) else self.newline) + added.getvalue()
        return text.encode("utf-8-sig" if self.bom else "utf-8")


def _after(
    run: _Run, table: _Table, name: str, fills: Sequence[_Fill], tickets: Decimal
) -> tuple[bytes, tuple[Decimal, Decimal]]:
    """The table after the fills, with cash that came or went on the day, and cash before and after."""
    account, cash = run.plan["book"]["account"], run.plan["positions"][-1]["instrument"]
    flow = run.settings["cash"]
    came = Decimal(repr(flow["paid_in"])) - Decimal(repr(flow["paid_out"]))
    moves = {cash: sum((one.cash for one in fills), came - tickets)}
    for one in fills:
        moves[one.instrument] = moves.get(one.instrument, Decimal(0)) + one.quantity * (1 if one.side == "buy" else -1)
    own = {row["instrument"]: at for at, row in enumerate(table.rows) if row.get("account", account) == account}
    changes, new = dict[tuple[int, str], str](), list[dict[str, str]]()
    found = dict[str, tuple[Decimal, Decimal]]()
    for instrument, move in moves.items():
        at = own.get(instrument)
        row = table.rows[at] if at is not None else _new_row(run, table, account, instrument, cash)
        before = Decimal(row["quantity"])
        after = before + move
        found[instrument] = before, after
        said = {"quantity": plain(after)}
        if row.get("market_value"):
            said["market_value"] = plain(after * Decimal(row["price"]))
        if at is None:
            new.append({**row, **said})
        elif move:
            changes |= {(at, column): text for column, text in said.items()}
    if found[cash][1] < 0:
        cure = "pay that in first, or give what the broker did: --fills FILE"
        raise BadInput.of(name, f"would be left with {found[cash][1]} of cash", cure, value=cash)
    return table.with_cells(changes, new), found[cash]


def _new_row(run: _Run, table: _Table, account: str, instrument: str, cash: str) -> dict[str, str]:
    """Of a name that the account has no row of: what another account's says of it; of cash what a row must."""
    kept = ("instrument", "price", "currency", "lot_size", "price_date", "source")
    other = next((row for row in table.rows if row["instrument"] == instrument), None)
    if other is None:
        assert instrument == cash  # of any other name nobody would know a price
        other = {"instrument": cash, "price": "1", "currency": run.plan["book"]["currency"]}
    return {"account": account, "quantity": "0", **{column: other[column] for column in kept if column in other}}


# What was traded.
#


def _as_ordered(run: _Run) -> list[_Fill]:
    return [
        _Fill(
            one["side"],
            one["instrument"],
            *(Decimal(repr(one["quantity"])), _cents(one["value"]), _cents(one["cost"])),
        )
        for one in run.plan["orders"]
    ]


def _cents(number: object) -> Decimal:
    return Decimal(str(number)).quantize(_CENT, ROUND_HALF_UP)


_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "instrument": ("instrument", "symbol", "ticker", "security"),
    "side": ("side", "action", "buy/sell", "transaction", "transaction type", "b/s"),
    "quantity": ("quantity", "filled quantity", "quantity filled", "filled", "qty", "shares", "units"),
    "price": ("price", "fill price", "average price", "avg price", "execution price", "trade price", "t. price"),
    "currency": ("currency",),
    "account": ("account", "account id", "account number", "account name"),
    "status": ("status", "order status"),
}
_COSTS = ("cost", "costs", "commission", "commissions", "comm/fee", "fee", "fees", "tax", "taxes", "charges")
_SIDES = {
    **dict.fromkeys(("buy", "b", "bought", "bot", "you bought", "purchase"), "buy"),
    **dict.fromkeys(("sell", "s", "sold", "sld", "you sold", "sale"), "sell"),
}
_NEEDED = ("instrument", "side", "quantity", "price")
_DONE = {
    "",
    "filled",
    "partially filled",
    "partial",
    "partial fill",
    "executed",
    "complete",
    "completed",
    "done",
    "settled",
}
_DEARER = 20
"""Times the run's price that a fill's may be: in a day it may fall to nothing, and pence are 100 times pounds."""
_LARGE = Decimal(10) ** 15
"""No order is of as much, and cents of more than that are none."""
_LITTLE = 1000
"""Of a fill that is worth less, a broker may take as much."""


def _confirmed(run: _Run, path: Path, before: _Table) -> tuple[list[_Fill], list[str]]:
    """The fills of a broker's file, and its columns that were not read.

    Prices are in the currency that the name is held in; costs in the book's.

    Raises:
        BadInput: every fill that is no fill, is of no order, or of more than was ordered.
    """
    export, known = read_export(path), {*_COSTS, *(one for names in _COLUMNS.values() for one in names)}
    ways = [[folded(cell) for cell in export.records(mark)[0].cells] for mark in DELIMITERS]
    head = max(ways, key=lambda names: len(known & {*names}))
    name, records = path.name, export.records(DELIMITERS[ways.index(head)])
    places = {key: [i for i, one in enumerate(head) if one in names] for key, names in _COLUMNS.items()}
    at = {key: found[0] if found else None for key, found in places.items()}
    costs = [i for i, column in enumerate(head) if column in _COSTS]
    if missing := [key for key in _NEEDED if at[key] is None]:
        cure = f"name its columns {', '.join(_NEEDED)}, and cost where the broker took something"
        raise BadInput.of(name, f"has no column for {' and '.join(missing)}", cure, row=records[0].row)
    if twice := [(key, found) for key, found in places.items() if len(found) > 1]:
        raise BadInput(
            Breach(name, records[0].row, key, None,
                   f"may be any of {', '.join(repr(records[0].cells[i]) for i in found)}",
                   "leave one of them, that of what was filled")
            for key, found in twice
        )  # fmt: skip
    sides = _SIDES | {
        text.casefold(): side for side, text in ((run.settings["orders"] or {}).get("sides") or {}).items()
    }
    found, faults = list[_Fill](), list[Breach]()
    for record in records[1:]:
        said = {key: record.cells[i] if i is not None and i < len(record.cells) else "" for key, i in at.items()}
        taken = [record.cells[i] for i in costs if i < len(record.cells)]
        wrong = [*_row_faults(run, said, taken, sides, before)]
        if further := [cell for cell in record.cells[len(head) :] if cell]:  # of 1,000 without quotes, say
            rule = "has more cells than the columns have names"
            wrong.append(("", ", ".join(further), rule, "quote a number that has separators, or name the columns"))
        faults += [Breach(name, record.row, *one) for one in wrong]
        if not wrong:
            found.append(_fill(run, said, taken, sides[said["side"].casefold()], before, record.row))
    place = at["account"]
    accounts = {record.cells[place] for record in records[1:] if place is not None and place < len(record.cells)}
    if not faults and len(accounts - {""}) > 1:
        rule = f"are {len(accounts - {''})}, and a run is of one, '{run.plan['book']['account']}'"
        faults.append(Breach(name, None, "account", None, rule, "keep the lines of the one that traded"))
    if not faults:
        faults += [Breach(name, one.row, *rest) for one, *rest in _beyond_orders(run, found)]
    if not faults and not found:
        faults.append(Breach.of(name, "holds no fill", "leave --fills out where all was traded as ordered"))
    if faults:
        raise BadInput(faults)
    if run.plan["book"]["account"] not in accounts:  # a broker's number says nothing here
        known -= {*_COLUMNS["account"]}
    return found, [cell for cell, column in zip(records[0].cells, head, strict=True) if column not in {*known, ""}]


def _row_faults(
    run: _Run, said: Mapping[str, str], costs: Sequence[str], sides: Mapping[str, str], before: _Table
) -> Iterator[tuple[str, str, str, str]]:
    """The column, what it says, what is wrong with it, and the cure."""
    known = [row["instrument"] for row in run.plan["positions"][:-1]]
    instrument, side = said["instrument"], sides.get(said["side"].casefold())
    own, accounts = run.plan["book"]["account"], {row.get("account", "") for row in before.rows}
    if said["account"] in accounts - {own, ""}:
        yield "account", said["account"], f"is another account than the run's, '{own}'", "leave out what is not of it"
    if said["status"].casefold() not in _DONE:
        yield "status", said["status"], "is no fill", "leave out what was not filled"
    if instrument not in known:
        yield "instrument", instrument, "is no name of the run", did_you_mean(instrument, known)
    elif said["currency"] and said["currency"] != (own := _quoted(run, before, instrument)[1]):
        yield "currency", said["currency"], f"is not the currency of '{instrument}'", f"state its price in {own}"
    if side is None:
        yield "side", said["side"], "is neither a purchase nor a sale", "write buy or sell"
    for key in ("quantity", "price"):
        number = _number(said[key])
        if (
            number is None
            or (number <= 0 and key == "quantity" and side != "sell")
            or number == 0
            or (number < 0 and key == "price")
        ):
            yield key, said[key], "must be a number above 0", f"state the {key} of the fill"
        elif abs(number) >= _LARGE:
            yield key, said[key], "must be below 1e15", f"state the {key} of the fill"
        elif key == "price" and instrument in known:
            quoted, currency = _quoted(run, before, instrument)
            if quoted and number > quoted * _DEARER:
                rule = f"is more than {_DEARER} times the {plain(quoted)} {currency} that the run was made at"
                yield key, said[key], rule, f"state it in {currency} for one unit, or put that price into a new run"
    yield from _cost_faults(said, costs)


def _cost_faults(said: Mapping[str, str], costs: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    worth = abs((_number(said["quantity"]) or Decimal(0)) * (_number(said["price"]) or Decimal(0)))
    for cost in costs:
        number = _number(cost)
        if (number is None and not is_blank_mark(cost)) or (number or 0) < 0:
            yield "cost", cost, "must be an amount of at least 0", "state what the broker took as a positive amount"
        elif number is not None and (number >= _LARGE or (worth > _LITTLE and abs(number - worth) <= worth / 50)):
            rule, cure = "is what the fill is worth, and no cost", "state what the broker took beside that"
            yield "cost", cost, rule, cure


def _number(text: str) -> Decimal | None:
    try:
        return amount(text)
    except ValueError:
        return None


def _quoted(run: _Run, table: _Table, instrument: str) -> tuple[Decimal, str]:
    """What an instrument is quoted at when the run was made, and in which currency."""
    row = next(row for row in table.rows if row["instrument"] == instrument)
    return Decimal(row["price"]), row.get("currency") or run.plan["book"]["currency"]


def _fill(run: _Run, said: Mapping[str, str], costs: Sequence[str], side: str, before: _Table, row: int) -> _Fill:
    """A fill in the book's currency, at the rate that the run was made at."""
    quantity, price = (abs(_number(said[key]) or Decimal(0)) for key in ("quantity", "price"))
    quoted, currency = _quoted(run, before, said["instrument"])
    if currency != run.plan["book"]["currency"] and quoted > 0:
        own = next(one["price"] for one in run.plan["positions"] if one["instrument"] == said["instrument"])
        price *= Decimal(repr(own)) / quoted
    cost = sum((_number(one) or Decimal(0) for one in costs), Decimal(0))
    return _Fill(side, said["instrument"], quantity, _cents(quantity * price), _cents(cost), row)


def _filled(fills: Sequence[_Fill]) -> dict[str, Decimal]:
    """Units by instrument."""
    found = dict[str, Decimal]()
    for one in fills:
        found[one.instrument] = found.get(one.instrument, Decimal(0)) + one.quantity
    return found


def _beyond_orders(run: _Run, fills: Sequence[_Fill]) -> Iterator[tuple[_Fill, str, str, str, str]]:
    """Fills that no order asked for, and those that are more than it asked for."""
    cure, filled = "ask the broker; a trade of your own belongs into the table of holdings first", dict[str, Decimal]()
    for one in fills:
        order, name = run.orders.get(one.instrument), one.instrument
        if order is None or order["side"] != one.side:
            gave = "gave no order for it" if order is None else f"ordered to {order['side']} it"
            yield one, "instrument", name, f"is {'bought' if one.side == 'buy' else 'sold'}, and the run {gave}", cure
            continue
        filled[name] = filled.get(name, Decimal(0)) + one.quantity
        ordered = Decimal(repr(order["quantity"]))
        if filled[name] > ordered:
            rule = f"comes to {plain(filled[name])} of '{name}', and the run ordered {plain(ordered)}"
            yield one, "quantity", plain(one.quantity), rule, cure
