"""How scenario returns look: one row an instrument, or one instrument's drivers."""

from __future__ import annotations

from allocator.book.book import Book
from allocator.display.console import console, heading, percents, table
from allocator.outlook.outlook import COLUMNS, Account


def show_returns(book: Book, found: Account) -> None:
    """Print what `returns` found."""
    out = console()
    outlook = found.outlook
    out.print(
        f"{book.settings.book.name} · {book.settings.book.as_of} · over {book.settings.months:.4g} months",
        style="bold",
    )
    heading(out, "Scenarios")
    made = table("", "scenario", "belief", right=("belief",))
    letters = [chr(ord("A") + k) if k < 26 else str(k) for k in range(len(outlook.scenarios))]
    for letter, name, p in zip(letters, outlook.scenarios, outlook.probabilities, strict=True):
        made.add_row(letter, name, percents(float(p)))
    out.print(made)
    heading(out, "Return in each scenario")
    made = table("instrument", *letters, "expected", "from", right=(*letters, "expected"))
    for i, name in enumerate(found.instruments):
        own = outlook.returns[:, i]
        made.add_row(
            name, *map(percents, map(float, own)), percents(float(outlook.probabilities @ own)), found.origins[i]
        )
    cash = outlook.cash_returns
    made.add_row(
        book.cash_instrument, *map(percents, map(float, cash)), percents(float(outlook.probabilities @ cash)), ""
    )
    out.print(made)
    if found.drivers is None:
        return
    heading(out, f"Where {found.instrument}'s return comes from (the parts add up)")
    made = table("driver", *letters, right=tuple(letters))
    for column, name in enumerate(COLUMNS):
        made.add_row(name, *(percents(float(part)) for part in found.drivers[:, column]))
    made.add_row("return", *(percents(float(total)) for total in found.drivers.sum(axis=1)), style="bold")
    out.print(made)
