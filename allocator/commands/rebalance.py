"""`allocator rebalance BOOK`: from a folder of tables to whole-lot orders with a proof."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from allocator.commands.answer import answers, book_options
from allocator.errors import BadInput, Breach

if TYPE_CHECKING:
    from allocator.book.book import Book


@click.command()
@book_options
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Write orders.csv and plan.json there, both or neither.",
)
@click.option(
    "--follow",
    type=click.Path(dir_okay=False),
    metavar="PLAN",
    help="An earlier plan.json of a book with reviews: say how far this plan follows it, and why not.",
)
@answers
def rebalance(
    book: str,
    account: str | None,
    overrides: tuple[str, ...],
    as_of: dt.date | None,
    out: str | None,
    follow: str | None,
    *,
    as_json: bool,
) -> dict[str, Any]:
    """Turn BOOK into whole-lot orders that keep every rule, with a proof.

    \b
    Examples:
      allocator rebalance data/listed
      allocator rebalance data/listed --set robust.caution=0.5 --out plans/today
      allocator rebalance data/reviewed --out plans/policy
      allocator rebalance data/reviewed --as-of 2027-02-20 --follow plans/policy/plan.json
    """
    from allocator.display.progress import working

    with working() as say:
        say("reading the book")
        from allocator.outlook.carded import load_with_cards

        loaded, _ = load_with_cards(book, account=account, overrides=overrides, as_of=as_of)
        say("loading the solvers")
        if loaded.settings.in_stages:
            return _in_stages(loaded, out, follow, say, as_json=as_json)
        if follow is not None:
            rule = "has no meaning for a book without a utility: it announces no policy"
            raise BadInput([Breach("--follow", None, None, follow, rule, "leave it out")])
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


def _in_stages(
    book: Book, out: str | None, follow: str | None, say: Callable[[str], None], *, as_json: bool
) -> dict[str, Any]:
    """Today's orders as the first step of a policy, and how it lets go of its caution."""
    from allocator.plan.announced import departure
    from allocator.plan.release import released
    from allocator.plan.stages import rebalance_in_stages
    from allocator.plan.stages_document import stages_document

    plan = rebalance_in_stages(book, progress=say)
    say("pricing caution at every review")
    release = released(book, plan.followed)
    held_against = None if follow is None else departure(plan, Path(follow))
    document = stages_document(plan, release, held_against)
    if out is not None:
        from allocator.plan.files import write_plan

        written = write_plan(plan, document, Path(out))
        click.echo("wrote " + " and ".join(map(str, written)), err=True)
    if not as_json:
        from allocator.display.staged import show_staged

        show_staged(plan, release, held_against)
    return document
