"""How implied probabilities look, with what they leave unexplained."""

from __future__ import annotations

from allocator.book.book import Book
from allocator.display.console import console, heading, percents, table
from allocator.outlook.implied import Implied


def show_implied(book: Book, found: Implied) -> None:
    """Print what `implied` found."""
    out = console()
    stated = book.settings.market
    since = "" if stated is None else f" since {stated.date}"
    out.print(f"{book.settings.book.name} · {book.settings.book.as_of} · price moves{since}", style="bold")
    heading(out, "Scenario probabilities in prices")
    numbers = ("stated", "implied")
    made = table("scenario", *numbers, right=numbers)
    for k, name in enumerate(found.scenarios):
        made.add_row(name, percents(float(found.prior[k])), percents(float(found.probabilities[k])))
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
