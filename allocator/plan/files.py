"""Write a plan's files whole or not at all, in a form that a spreadsheet will not execute."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from allocator.plan.plan import Plan

COLUMNS = ("account", "as_of", "side", "instrument", "name", "quantity", "price", "currency", "value", "cost")


def write_plan(plan: Plan, document: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write `orders.csv` and `plan.json` into `folder`; each appears complete under its name, or not at all.

    Raises:
        OSError: the folder cannot be written; files that were there before are unharmed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        folder / "orders.csv": orders_csv(plan),
        folder / "plan.json": json.dumps(document, indent=1, allow_nan=False) + "\n",
    }
    temporaries = {}
    try:
        for path, text in texts.items():
            handle, name = tempfile.mkstemp(dir=folder, prefix=f".{path.name}-")
            temporaries[path] = Path(name)
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in temporaries.items():
            temporary.chmod(0o644)
            temporary.replace(path)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
    orders, plan_json = texts
    return orders, plan_json


def orders_csv(plan: Plan) -> str:
    """One row an order, sells before buys; price, value and cost in the book's currency."""
    settings, names = plan.book.settings.book, plan.book.exposures["name"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for order in plan.orders:
        row = (
            plan.book.account,
            settings.as_of.isoformat(),
            order.side,
            order.instrument,
            str(names[order.instrument]),
            f"{order.quantity:.12g}",
            f"{order.price:.10g}",
            settings.currency,
            f"{order.value:.2f}",
            f"{order.cost:.2f}",
        )
        writer.writerow([inert(cell) for cell in row])
    return text.getvalue()


def inert(cell: str) -> str:
    """A cell that a spreadsheet shows instead of running."""
    return "'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
