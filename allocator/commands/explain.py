"""`allocator explain BOOK [INSTRUMENT]`: why these orders, why not more, and how wrong we may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from allocator.commands.options import BookChoice, book_options, handle_errors_and_json
from allocator.presentation import Document

if TYPE_CHECKING:
    from allocator.book.book import Book


@click.command()
@book_options
@click.argument("instrument", required=False)
@click.option("--full", is_flag=True, help="Show all orders and names, and every no-trade region.")
@handle_errors_and_json
def explain(
    choice: BookChoice,
    instrument: str | None,
    full: bool,
    *,
    as_json: bool,
) -> Document:
    """Say why BOOK's plan trades what it trades, in bps that add up; of INSTRUMENT also why not more of it.

    \b
    Examples:
      allocator explain data/listed
      allocator explain data/listed NVDA
    """
    from allocator.display.console import progress_spinner

    with progress_spinner() as say:
        say("reading the book")
        loaded = choice.load()
        say("loading the solvers")
        from allocator.plan.explanation import explain as explained
        from allocator.plan.explanation import (
            explain_name,
            explanation_document,
            position_of,
            refuse_unexplained,
        )
        from allocator.plan.rebalance import rebalance

        if instrument is not None:
            position_of(loaded, instrument)
        refuse_unexplained(loaded)
        plan = rebalance(loaded, progress=say)
        say("explaining")
        found = explained(plan)
        one = None if instrument is None else explain_name(plan, instrument)
    if not as_json:
        from allocator.display.explanation import show_explanation

        show_explanation(found, one, full=full)
    return explanation_document(found, one)


# `allocator waiting BOOK`: the value of re-optimising, of knowing more and of robustness.
#


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
@handle_errors_and_json
def waiting(
    choice: BookChoice,
    shares: tuple[float, ...],
    *,
    as_json: bool,
) -> Document:
    """Show the value of BOOK's reviews, in bps and in its currency, and how it depends on the announcement share.

    \b
    Examples:
      allocator waiting data/reviewed
      allocator waiting data/reviewed --share 0.3 --share 0.9
    """
    from allocator.display.console import progress_spinner

    def book_at(share: float | None) -> Book:
        return choice.load(*(() if share is None else (f"horizon.announcement_share={share!r}",)))

    with progress_spinner() as say:
        say("loading the solvers")
        from allocator.multistage.value_of_waiting import value_of_waiting_by_share

        found = value_of_waiting_by_share(book_at, shares or (0.0, 1.0), say)
    if not as_json:
        from allocator.display.multistage import show_value_of_waiting

        show_value_of_waiting(found)
    return found.document()


# `allocator caution BOOK`: what caution costs, what it protects, and where more of it no longer pays.
#


@click.command()
@book_options
@handle_errors_and_json
def caution(choice: BookChoice, *, as_json: bool) -> Document:
    """Show what caution about the answer and about the regime costs, what it protects, and where BOOK's plan lies.

    \b
    Examples:
      allocator caution data/note
      allocator caution data/reviewed --as-of 2026-12-20
    """
    from allocator.display.console import progress_spinner

    loaded = choice.load()
    with progress_spinner() as say:
        say("loading the solvers")
        from allocator.plan.caution import caution_study

        found = caution_study(loaded, progress=say)
    if not as_json:
        from allocator.display.explanation import show_caution

        show_caution(found)
    return found.document()
