"""`allocator stress BOOK`: what happens if, what it takes to lose so much, and how wrong the probabilities may be."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

from allocator.commands.answer import answers, book_options


@click.command()
@book_options
@click.option(
    "--shock",
    "shocks",
    multiple=True,
    metavar="NAME",
    help="Only this shock, in detail. Repeatable; by default every one that BOOK can carry.",
)
@answers
def stress(
    book: str,
    account: str | None,
    overrides: tuple[str, ...],
    as_of: dt.date | None,
    shocks: tuple[str, ...],
    *,
    as_json: bool,
) -> dict[str, Any]:
    """Show what shocks do to what BOOK holds, to its plan, and to the plan decided again.

    \b
    Examples:
      allocator stress data/note
      allocator stress data/note --shock all_silent_12_months
    """
    from allocator.book.folder import load
    from allocator.display.progress import working

    loaded = load(book, account=account, overrides=overrides, as_of=as_of)
    with working() as say:
        say("loading the solvers")
        from allocator.studies.stress import stress as study

        found = study(loaded, shocks=tuple(name.replace(" ", "_") for name in shocks), progress=say)
    if not as_json:
        from allocator.display.stressed import show_stress

        show_stress(found)
    return found.document()
