"""`allocator rebalance BOOK`: from a folder of tables to whole-lot orders with a proof."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import click

from allocator.commands.answer import answers, book_options


@click.command()
@book_options
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Write orders.csv and plan.json there, both or neither.",
)
@answers
def rebalance(
    book: str, account: str | None, overrides: tuple[str, ...], as_of: dt.date | None, out: str | None, *, as_json: bool
) -> dict[str, Any]:
    """Turn BOOK into whole-lot orders that keep every rule, with a proof.

    \b
    Examples:
      allocator rebalance data/listed
      allocator rebalance data/listed --set robust.caution=0.5 --out plans/today
    """
    from allocator.display.progress import working

    with working() as say:
        say("reading the book")
        from allocator.outlook.carded import load_with_cards

        loaded, _ = load_with_cards(book, account=account, overrides=overrides, as_of=as_of)
        say("loading the solvers")
        from allocator.plan.document import plan_document
        from allocator.plan.rebalance import rebalance as solve

        plan = solve(loaded, progress=say)
    document = plan_document(plan)
    if out is not None:
        from allocator.plan.files import write_plan

        written = write_plan(plan, document, Path(out))
        click.echo("wrote " + " and ".join(map(str, written)), err=True)
    if not as_json:
        from allocator.display.planned import show_plan

        show_plan(plan)
    return document
