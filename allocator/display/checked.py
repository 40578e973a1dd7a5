"""How a checked book looks: what it is, and which rules its holdings break today."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.book.book import Book
from allocator.display.console import amount, console, percents, table
from allocator.mandate.rules import Reading
from allocator.outlook.outlook import Outlook


def show_check(book: Book, outlook: Outlook, readings: Sequence[Reading]) -> None:
    """Print what `check` found."""
    out = console()
    settings = book.settings.book
    out.print(
        f"[bold]{settings.name}[/bold] · account {book.account} · {settings.as_of} · "
        f"{amount(book.value)} {settings.currency}",
        soft_wrap=True,
    )
    beliefs = ", ".join(
        f"{name} {percents(p)}" for name, p in zip(outlook.scenarios, outlook.probabilities, strict=True)
    )
    out.print(f"{len(book.instruments)} instruments and cash; scenarios: {beliefs}")
    out.print(f"risk: {outlook.risk.source}")
    broken = [reading for reading in readings if reading.excess > 1e-9]
    if not broken:
        out.print(f"the book is in order; today's holdings keep all {len(readings)} rules")
        return
    made = table(
        "rule",
        "today",
        right=("today",),
        title=f"the book is in order; today's holdings break {len(broken)} of {len(readings)} rules",
    )
    for reading in broken:
        made.add_row(reading.label, percents(reading.measured, 2))
    out.print(made)
