"""What was decided: `allocator history`, `show`, `verify`, `replay`, `compare`, `approve`, `export` and `apply`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from allocator.commands.options import BookChoice, book_options, handle_errors_and_json

if TYPE_CHECKING:
    from allocator.ledger.comparison import ComparisonDocument
    from allocator.ledger.fills import ApplyDocument
    from allocator.ledger.ledger import Ledger
    from allocator.ledger.record import (
        ApproveDocument,
        HistoryDocument,
        ReceiptDocument,
        ShowDocument,
        VerifyDocument,
    )
    from allocator.ledger.replay import RunReplayDocument

LAST = 30
"""Runs on the screen of a history."""


def _ledger_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--ledger",
        "place",
        metavar="PLACE",
        help="A file, an address such as postgresql+psycopg://…, or a book whose [ledger] names one; by default "
        "ledger.db here.",
    )(command)


def _ledger(place: str | None) -> Ledger:
    from allocator.ledger.ledger import find_ledger

    return find_ledger(place)


@click.command()
@_ledger_option
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="So many runs; by default 30, with --json all.")
@handle_errors_and_json
def history(place: str | None, last: int | None, *, as_json: bool) -> HistoryDocument:
    """List the runs of a ledger: when, of which book, what was ordered, and what was approved.

    \b
    Examples:
      allocator rebalance data/listed --record
      allocator history
    """
    from allocator.ledger.record import history_document

    document = history_document(_ledger(place), last if last or as_json else LAST)
    if not as_json:
        from allocator.display.ledger import show_history

        show_history(document)
    return document


@click.command()
@click.argument("run")
@_ledger_option
@handle_errors_and_json
def show(run: str, place: str | None, *, as_json: bool) -> ShowDocument:
    """Show what is recorded of RUN: what it was made from, believed, proved and ordered, and who approved it.

    RUN is its name; or the folder that `rebalance --run-id` wrote without a ledger.

    \b
    Examples:
      allocator rebalance data/listed --record --run-id 2026-11-20
      allocator show 2026-11-20
    """
    from allocator.ledger.record import show_document

    document = show_document(_ledger(place), run)
    if not as_json:
        from allocator.display.ledger import show_run

        show_run(document)
    return document


@click.command()
@_ledger_option
@click.option("--head", metavar="HASH", help="A head that was kept elsewhere, as it is printed with orders.")
@handle_errors_and_json
def verify(place: str | None, head: str | None, *, as_json: bool) -> VerifyDocument:
    """Recompute every hash of a ledger: any changed byte is found, and with --head a tail that was cut off.

    \b
    Examples:
      allocator rebalance data/listed --record
      allocator verify
    """
    from allocator.ledger.record import verify_document

    document = verify_document(_ledger(place), head)
    if not as_json:
        from allocator.display.ledger import show_verification

        show_verification(document, head)
    return document


@click.command()
@click.argument("run")
@_ledger_option
@handle_errors_and_json
def replay(run: str, place: str | None, *, as_json: bool) -> RunReplayDocument:
    """Make RUN once more from what the ledger holds: the same orders, or which version or input differs.

    \b
    Examples:
      allocator rebalance data/listed --record --run-id 2026-11-20
      allocator replay 2026-11-20
    """
    from allocator.display.console import progress_spinner
    from allocator.ledger.replay import replay_run

    ledger = _ledger(place)
    with progress_spinner() as say:
        document = replay_run(ledger, ledger.run(run), say)
    if not as_json:
        from allocator.display.ledger import show_replay

        show_replay(document)
    return document


@click.command()
@partial(book_options, named="A")
@click.argument("b", required=False)
@_ledger_option
@click.option(
    "--every-order",
    is_flag=True,
    help="With reviews: take more than three groups in every order too, which is a tree for each of up to 64 books.",
)
@click.option("--full", is_flag=True, help="Show all names, figures and limits, with the range of every part.")
@handle_errors_and_json
def compare(
    choice: BookChoice,
    b: str | None,
    place: str | None,
    every_order: bool,
    full: bool,
    *,
    as_json: bool,
) -> ComparisonDocument:
    """Put plan B beside plan A, and say what made the difference in parts that add up.

    A and B are folders of books, runs of a ledger, or plan.json files, which hold no inputs: of these nobody knows what
    made the difference. --set, --believe, --cash and --as-of change B, which is A itself where no B is named.

    \b
    Examples:
      allocator compare data/note --set mandate.max_weight=0.15
      allocator compare data/note --as-of 2027-01-20
    """
    from allocator.display.console import progress_spinner

    if b is None and not choice.overrides and choice.as_of is None:
        raise click.UsageError(
            "there is one plan alone: name B too, or change A with --set, --believe or --as-of, or --cash"
        )
    with progress_spinner() as say:
        say("reading both")
        from allocator.ledger.compared_plans import PlanPlace, opened_plans
        from allocator.ledger.comparison import compare_plans

        places = (
            PlanPlace(choice.path, choice.account),
            PlanPlace(choice.path if b is None else b, choice.account, choice.overrides, choice.as_of),
        )
        one, other = opened_plans(places, lambda: _ledger(place))
        labels = places[0].label, places[1].label
        found = compare_plans(one, other, labels=labels, every_order=every_order, progress=say)
    document = found.document()
    if not as_json:
        from allocator.display.ledger import show_comparison

        show_comparison(document, full=full)
    return document


@click.command()
@click.argument("run")
@click.option("--note", required=True, metavar="TEXT", help="Who approves it, and why.")
@_ledger_option
@handle_errors_and_json
def approve(run: str, note: str, place: str | None, *, as_json: bool) -> ApproveDocument:
    """Add a note of approval to RUN. It is a note and no access control: whoever can write the ledger can add it.

    \b
    Examples:
      allocator rebalance data/listed --record --run-id 2026-11-20
      allocator approve 2026-11-20 --note "A. Meyer: within the mandate"
    """
    from allocator.ledger.record import approve as approved

    document = approved(_ledger(place), run, note)
    if not as_json:
        from allocator.display.ledger import show_approval

        show_approval(document)
    return document


@click.command()
@click.argument("run")
@click.option("--out", required=True, type=click.Path(file_okay=False), metavar="DIR", help="Write the files there.")
@_ledger_option
@handle_errors_and_json
def export(run: str, out: str, place: str | None, *, as_json: bool) -> ReceiptDocument:
    """Write the files of RUN again, byte for byte, with a receipt of totals, digests and the head of the ledger.

    Where [ledger] of the book has require_approval, only an approved RUN leaves.

    \b
    Examples:
      allocator rebalance data/listed --record --run-id 2026-11-20
      allocator export 2026-11-20 --out plans/today
    """
    from allocator.display.console import tell
    from allocator.ledger.record import released_files
    from allocator.plan.runs import write_files

    ledger = _ledger(place)
    files, document = released_files(ledger, ledger.run(run))
    tell("wrote " + " and ".join(map(str, write_files(files, Path(out)))), err=True)
    if not as_json:
        from allocator.display.ledger import show_receipt

        show_receipt(document)
    return document


@click.command()
@click.argument("run")
@click.option(
    "--book", type=click.Path(file_okay=False), metavar="BOOK", help="Whose holdings; by default the book of --ledger."
)
@click.option("--fills", type=click.Path(dir_okay=False), metavar="FILE", help="What a broker confirms, as CSV.")
@click.option(
    "--out", type=click.Path(file_okay=False), metavar="FOLDER", help="Write the table there, and leave the book's."
)
@_ledger_option
@handle_errors_and_json
def apply(
    run: str, book: str | None, fills: str | None, out: str | None, place: str | None, *, as_json: bool
) -> ApplyDocument:
    """Write what was traded of RUN into the holdings of its book, cash and costs to the cent, once.

    All was traded as ordered, at the run's prices and costs; or as the broker's --fills say, in columns such as
    instrument, side, quantity, price and cost. Where [ledger] has require_approval, only an approved RUN is applied.

    \b
    Examples:
      allocator init my-book --from listed
      allocator rebalance my-book --record --run-id 2026-11-20 --out plans
      allocator apply 2026-11-20 --book my-book --fills plans/2026-11-20/orders.csv
    """
    from allocator.errors import BadInput
    from allocator.ledger.fills import apply_run

    folder = book or next((one for one in (place or ".", ".") if Path(one, "book.toml").is_file()), None)
    if folder is None:
        raise BadInput.of("--book", "is not stated, and there is no book here", "name the book: --book FOLDER")
    given, written = (None if path is None else Path(path) for path in (fills, out))
    document = apply_run(_ledger(place), run, Path(folder), fills=given, out=written)
    if not as_json:
        from allocator.display.ledger import show_application

        show_application(document)
    return document
