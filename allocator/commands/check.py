"""`allocator check BOOK`: hold a book to its contracts, without solving anything."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

from allocator.commands.answer import answers, book_options


@click.command()
@book_options
@answers
def check(
    book: str, account: str | None, overrides: tuple[str, ...], as_of: dt.date | None, *, as_json: bool
) -> dict[str, Any]:
    """Check every table, scenario card and rule of BOOK, and say which rules its holdings break today.

    All breaches are shown at once, each with its file, row and likely cure.

    \b
    Example:
      allocator check data/listed
    """
    from allocator.mandate.precheck import check as checked
    from allocator.outlook.scenario_cards import load_with_cards

    loaded, _ = load_with_cards(book, account=account, overrides=overrides, as_of=as_of)
    found = checked(loaded)
    if not as_json:
        from allocator.display.checked import show_check

        show_check(loaded, found.outlook, found.readings)
    return found.document()
