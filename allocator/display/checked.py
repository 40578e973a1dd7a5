"""How a checked book looks: what it is, and which rules its holdings break today."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.book.book import Book
from allocator.display.console import amount, console, heading, percents, table
from allocator.display.measured import in_its_unit
from allocator.outlook.outlook import Outlook
from allocator.rules import Reading


def show_check(book: Book, outlook: Outlook, readings: Sequence[Reading]) -> None:
    """Print what `check` found."""
    out = console()
    settings = book.settings.book
    out.print(
        f"{settings.name} · account {book.account} · {settings.as_of} · {amount(book.value)} {settings.currency}",
        style="bold",
    )
    out.print(f"{len(book.instruments)} instruments and cash, all tables in order")
    out.print(f"risk: {outlook.risk.source}")
    heading(out, "Scenarios")
    made = table("scenario", "belief", right=("belief",))
    for name, probability in zip(outlook.scenarios, outlook.probabilities, strict=True):
        made.add_row(name, percents(probability))
    out.print(made)
    broken = [reading for reading in readings if reading.excess > 1e-9]
    heading(out, f"Today's holdings keep {len(readings) - len(broken)} of {len(readings)} rules")
    if broken:
        made = table("broken today", "measured", right=("measured",))
        for reading in broken:
            made.add_row(reading.label, in_its_unit(reading, 2))
        out.print(made)
