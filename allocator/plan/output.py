"""A plan as files, in a form that a spreadsheet will not execute, and as pandas objects."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.mandate.mandate import no_trade
from allocator.plan.plan import Order, Plan
from allocator.plan.runs import RECEIPT, digest
from allocator.plugins import Plugin, call_plugin, load_plugin, plugin_refusal
from allocator.presentation import plain_amount, plain_decimal, stable_numbers
from allocator.settings.settings import ORDER_COLUMNS, ConstantColumn, OrdersSection


def plan_files(plan: Plan, document: Mapping[str, Any]) -> dict[str, bytes]:
    """`orders.csv` and `plan.json` by name, each with the digest of the other, and what [orders] wants of them.

    `plan.json` names that of the bytes of `orders.csv`. Each order names that of `plan.json` as it is with
    `NO_DIGEST` in that place, as none can name what it is a part of.

    Raises:
        BadInput: the plan is of targets only.
    """
    if not plan.has_lots:
        cure = "call allocator.rebalance(book) without lots=False"
        raise BadInput([Breach("plan", None, None, None, "is of targets only, and orders.csv would be empty", cure)])
    unsigned = stable_numbers({**document, "orders_sha256": NO_DIGEST})
    whole = _plain_quantities(json.dumps(unsigned, indent=1, allow_nan=False) + "\n")
    orders = orders_csv(plan, digest(whole.encode())).encode()
    head, _, tail = whole.rpartition(NO_DIGEST)
    files = {"orders.csv": orders, "plan.json": f"{head}{digest(orders)}{tail}".encode()}
    if (section := plan.book.settings.orders) is not None:
        files[section.file] = order_system_csv(plan, digest(whole.encode()), section).encode()
    return files


NO_DIGEST = "0" * 64
"""What stands for the digest of orders.csv while that of plan.json is taken."""
_SCIENTIFIC = re.compile(r'("(?:quantity|quantity_before|quantity_after|price)": )(-?[0-9.]+e[-+]?[0-9]+)')


def _plain_quantities(text: str) -> str:
    """0.000000001 and not 1e-09, for readers that know no other; the same number."""
    return _SCIENTIFIC.sub(lambda match: match[1] + plain_decimal(float(match[2])), text)


def orders_csv(plan: Plan, plan_digest: str) -> str:
    """One row an order, sells before buys; price in the instrument's own currency, value and cost in the book's."""
    rows = order_rows(plan.book, plan.orders, plan_digest)
    return csv_text([ORDER_COLUMNS, *([row[name] for name in ORDER_COLUMNS] for row in rows)])


def order_system_csv(plan: Plan, plan_digest: str, section: OrdersSection) -> str:
    """The same orders in the columns of an order system."""
    rows = order_rows(plan.book, plan.orders, plan_digest)
    return csv_text([[*section.columns], *(order_system_row(row, section) for row in rows)])


def order_system_row(row: Mapping[str, Any], section: OrdersSection) -> list[str]:
    """An order in the columns of an order system."""
    said = {**row, "side": section.sides[row["side"]]}
    return [one.text if isinstance(one, ConstantColumn) else said[one] for one in section.columns.values()]


def order_rows(book: Book, orders: Sequence[Order], plan_digest: str, first: int = 1) -> Iterator[dict[str, Any]]:
    """Each order by the names of columns; its id is of the plan and its place in it, counted from `first`."""
    settings, names = book.settings.book, book.exposures["name"]
    at = {name: i for i, name in enumerate(book.instruments)}
    for number, order in enumerate(orders, first):
        row = (
            book.account,
            settings.as_of.isoformat(),
            order.side,
            order.instrument,
            str(names[order.instrument]),
            plain_decimal(order.quantity),
            plain_decimal(book.quoted_prices[at[order.instrument]]),
            book.currencies[at[order.instrument]],
            plain_amount(order.value),
            plain_amount(order.cost),
            settings.currency,
            plan_digest,
        )
        yield {**dict(zip(ORDER_COLUMNS, row, strict=True)), "order_id": f"{plan_digest[:16]}-{number}"}


def csv_text(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a spreadsheet shows them, and runs nothing of them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([neutralise_formula(cell) for cell in row] for row in rows)
    return text.getvalue()


def neutralise_formula(cell: str) -> str:
    """A cell that a spreadsheet shows instead of running."""
    return "'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


# What a plan says as pandas objects, for people who go on from there; labels are the book's own.
#


def orders_frame(plan: Plan) -> pd.DataFrame:
    """One row an order, sells before buys: `side`, `instrument`, `quantity` in units and always positive, `price`,
    `value` and `cost` in the book's currency, `weight_before` and `weight_after` as fractions. No rows where the plan
    is to hold.
    """
    return pd.DataFrame([asdict(order) for order in plan.orders], columns=[field.name for field in fields(Order)])


def weights_frame(plan: Plan) -> pd.DataFrame:
    """Instruments and, last, cash down; `before`, `target` and `after` across, as fractions of the account.

    `before` is of the account before trading, `target` and `after` of what is left after costs: each column sums to 1.
    """
    book, trades = plan.book, {"before": no_trade(plan.book), "target": plan.target, "after": plan.final}
    columns = {name: trade.all_weights for name, trade in trades.items()}
    return pd.DataFrame(columns, index=pd.Index([*book.instruments, book.cash_instrument], name="instrument"))


# A plan in another package's form: its exporter writes beside us, and what it wrote is taken whole or not at all.
#
# A plugin is `write(document, folder, parameters)`: it is given the plan as plain data and an empty folder that is
# nobody's yet, and leaves files there.
#
OURS = ("orders.csv", "plan.json", RECEIPT, "run.json")


def find_exporters(names: Sequence[str]) -> None:
    """Import every exporter that was asked for, so that none is found missing after the work is done.

    Raises:
        BadInput: an exporter is missing, there twice, or cannot be imported; all breaches at once.
    """
    breaches: list[Breach] = []
    for name in dict.fromkeys(names):
        try:
            load_plugin("exporters", name, "--export")
        except BadInput as error:
            breaches += error.breaches
    if breaches:
        raise BadInput(breaches)


def run_exporters(
    document: Mapping[str, Any], names: Sequence[str], parameters: Mapping[str, Mapping[str, Any]]
) -> dict[str, bytes]:
    """The files of every exporter by name, from a document that none of them can change.

    Raises:
        BadInput: an exporter fails, or leaves something that cannot stand beside the plan.
    """
    files: dict[str, bytes] = {}
    for name in dict.fromkeys(names):
        plugin, write = load_plugin("exporters", name, "--export")
        with tempfile.TemporaryDirectory(prefix="allocator-") as temporary:
            folder = Path(temporary)
            call_plugin(plugin, write, deepcopy(document), folder, deepcopy(dict(parameters.get(name, {}))))
            if faults := list(_faults(plugin, folder, files)):
                raise BadInput(faults)
            files |= {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return files


def _faults(plugin: Plugin, folder: Path, taken: Mapping[str, bytes]) -> Iterator[Breach]:
    left = sorted(folder.iterdir())
    if not left:
        yield plugin_refusal(plugin, "leaves no file", "ask who maintains that package")
    for path in left:
        if path.is_symlink() or not path.is_file():
            yield plugin_refusal(plugin, "leaves something that is no file", "let it write plain files", path.name)
        elif path.name in OURS or path.name in taken:
            yield plugin_refusal(plugin, "writes a file that another wrote", "let it choose another name", path.name)
        elif path.name.startswith(".") or not path.name.isprintable():
            yield plugin_refusal(plugin, "writes a file that no listing shows", "let it choose another name", path.name)
