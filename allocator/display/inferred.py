"""How implied probabilities look, with what they leave unexplained."""

from __future__ import annotations

from allocator.book.book import Book
from allocator.display.console import console, heading, percents, table
from allocator.outlook.implied_probabilities import Implied


def show_implied(book: Book, found: Implied) -> None:
    """Print what `implied` found."""
    out = console()
    stated = book.settings.market
    since = "" if stated is None else f" since {stated.date}"
    out.print(f"{book.settings.book.name} · {book.settings.book.as_of} · price moves{since}", style="bold")
    heading(out, "Scenario probabilities in prices")
    numbers = ("stated", "moved by signals", "implied")
    made = table("scenario", *numbers, right=numbers)
    for k, name in enumerate(found.scenarios):
        columns = (found.stated, found.moved, found.probabilities)
        made.add_row(name, *(percents(float(column[k])) for column in columns))
    out.print(made)
    heading(out, "Price moves")
    made = table("instrument", "observed", "explained", "residual", right=("observed", "explained", "residual"))
    for i, name in enumerate(found.names):
        made.add_row(
            name,
            percents(float(found.observed[i])),
            percents(float(found.explained[i])),
            percents(float(found.residuals[i])),
        )
    out.print(made)
    out.print("A residual is mispricing or a wrong exposure: the numbers cannot tell which.")
    if found.not_read:
        heading(out, "Not read")
        made = table("instrument", "why")
        for one in found.not_read:
            made.add_row(one.instrument, one.reason)
        out.print(made)
