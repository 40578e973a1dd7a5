"""Write a plan's files whole or not at all, in a form that a spreadsheet will not execute."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from allocator.errors import BadInput, Breach
from allocator.plan.plan import Plan
from allocator.plan.stages import StagedPlan

COLUMNS = (
    "account", "as_of", "side", "instrument", "name", "quantity", "price", "currency", "value", "cost", "book_currency",
)  # fmt: skip


def files_of(plan: Plan | StagedPlan, document: Mapping[str, Any]) -> dict[str, bytes]:
    """`orders.csv` and `plan.json` by name."""
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    return {"orders.csv": orders_csv(plan).encode(), "plan.json": text.encode()}


def write_files(files: Mapping[str, bytes], folder: Path) -> tuple[Path, ...]:
    """Write files into `folder` by name: all of them whole, or none.

    Raises:
        BadInput: the folder cannot be written; files that were there before are as they were.
    """
    contents = {folder / name: content for name, content in files.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as temporary:
            _replace_all(contents, Path(temporary))
    except OSError as error:
        rule = f"cannot be written: {error.strerror or error}"
        raise BadInput([Breach("--out", None, None, str(folder), rule, "make room, or name another folder")]) from None
    return tuple(contents)


def _replace_all(contents: Mapping[Path, bytes], temporary: Path) -> None:
    """Give every path its contents by renaming finished files; on a failure put back what was there."""
    for path, content in contents.items():
        with (temporary / path.name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copy2(path, temporary / f"{path.name}.before")
    replaced: list[Path] = []
    try:
        for path in contents:
            (temporary / path.name).replace(path)
            replaced.append(path)
    except OSError:
        for path in replaced:
            before = temporary / f"{path.name}.before"
            if before.exists():
                before.replace(path)
            else:
                path.unlink()
        raise


def orders_csv(plan: Plan | StagedPlan) -> str:
    """One row an order, sells before buys; price in the instrument's own currency, value and cost in the book's."""
    settings, names = plan.book.settings.book, plan.book.exposures["name"]
    at = {name: i for i, name in enumerate(plan.book.instruments)}
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
            f"{plan.book.quoted_prices[at[order.instrument]]:.10g}",
            plan.book.currencies[at[order.instrument]],
            f"{order.value:.2f}",
            f"{order.cost:.2f}",
            settings.currency,
        )
        writer.writerow([inert(cell) for cell in row])
    return text.getvalue()


def inert(cell: str) -> str:
    """A cell that a spreadsheet shows instead of running."""
    return "'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
