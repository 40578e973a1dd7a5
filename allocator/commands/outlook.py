"""`allocator outlook BOOK`: the tree of what may be known at each review, with dates and probabilities."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

from allocator.commands.answer import answers, book_options


@click.command()
@book_options
@answers
def outlook(
    book: str, account: str | None, overrides: tuple[str, ...], as_of: dt.date | None, *, as_json: bool
) -> dict[str, Any]:
    """Draw what may be known at each review of BOOK, how likely it is, and what it makes of the question.

    \b
    Examples:
      allocator outlook data/reviewed
      allocator outlook data/reviewed --json
    """
    from allocator.book.loading import load
    from allocator.outlook.outlook import outlook_of
    from allocator.outlook.scenario_tree import reviews_of, tree_document

    loaded = load(book, account=account, overrides=overrides, as_of=as_of)
    reviews = reviews_of(loaded, outlook_of(loaded))
    if not as_json:
        from allocator.display.drawn import show_tree

        show_tree(loaded, reviews)
    return tree_document(loaded, reviews)
