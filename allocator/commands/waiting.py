"""`allocator waiting BOOK`: what deciding again, knowing more and being careful are worth."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import click

from allocator.commands.answer import answers, book_options

if TYPE_CHECKING:
    from allocator.book.book import Book


@click.command()
@book_options
@click.option(
    "--share",
    "shares",
    multiple=True,
    type=click.FloatRange(0, 1),
    metavar="J",
    help="Announcement shares to show beside the book's own. Repeatable; 0 and 1 by default.",
)
@answers
def waiting(
    book: str,
    account: str | None,
    overrides: tuple[str, ...],
    as_of: dt.date | None,
    shares: tuple[float, ...],
    *,
    as_json: bool,
) -> dict[str, Any]:
    """Show what BOOK's reviews are worth, in bps and money, and how that hangs on the announcement share.

    \b
    Examples:
      allocator waiting data/reviewed
      allocator waiting data/reviewed --share 0.3 --share 0.9
    """
    from allocator.book.loading import load
    from allocator.display.progress import working

    def book_at(share: float | None) -> Book:
        more = () if share is None else (f"horizon.announcement_share={share!r}",)
        return load(book, account=account, overrides=(*overrides, *more), as_of=as_of)

    with working() as say:
        say("loading the solvers")
        from allocator.multistage.value_of_waiting import waited

        found = waited(book_at, shares or (0.0, 1.0), say)
    if not as_json:
        from allocator.display.waited import show_waited

        show_waited(found)
    return found.document()
