"""`allocator returns BOOK`: what each instrument returns in each scenario, and which driver makes it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

from allocator.commands.answer import answers, book_options


@click.command()
@book_options
@click.option("--drivers", "instrument", metavar="INSTRUMENT", help="Split one instrument's returns into drivers.")
@answers
def returns(
    book: str,
    account: str | None,
    overrides: tuple[str, ...],
    as_of: dt.date | None,
    instrument: str | None,
    *,
    as_json: bool,
) -> dict[str, Any]:
    """Show BOOK's scenario returns, and with --drivers where one instrument's come from.

    \b
    Examples:
      allocator returns data/note
      allocator returns data/note --drivers META
    """
    from allocator.book.loading import load
    from allocator.outlook.outlook import account_of

    loaded = load(book, account=account, overrides=overrides, as_of=as_of)
    found = account_of(loaded, instrument)
    if not as_json:
        from allocator.display.returned import show_returns

        show_returns(loaded, found)
    return found.document()
