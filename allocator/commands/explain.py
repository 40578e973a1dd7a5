"""`allocator explain BOOK [INSTRUMENT]`: why these orders, why not more, and how wrong we may be."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

from allocator.commands.answer import answers, book_options


@click.command()
@book_options
@click.argument("instrument", required=False)
@answers
def explain(
    book: str,
    account: str | None,
    overrides: tuple[str, ...],
    as_of: dt.date | None,
    instrument: str | None,
    *,
    as_json: bool,
) -> dict[str, Any]:
    """Say why BOOK's plan trades what it trades, in bps that add up; of INSTRUMENT also why not more of it.

    \b
    Examples:
      allocator explain data/listed
      allocator explain data/listed NVDA
    """
    from allocator.display.progress import working

    with working() as say:
        say("reading the book")
        from allocator.book.loading import load

        loaded = load(book, account=account, overrides=overrides, as_of=as_of)
        say("loading the solvers")
        from allocator.plan.explanation import about, explanation_document, position_of
        from allocator.plan.explanation import explain as explained
        from allocator.plan.rebalance import rebalance

        if instrument is not None:
            position_of(loaded, instrument)
        plan = rebalance(loaded, progress=say)
        say("explaining")
        found = explained(plan)
        one = None if instrument is None else about(plan, instrument)
    if not as_json:
        from allocator.display.explained import show_explanation

        show_explanation(found, one)
    return explanation_document(found, one)
