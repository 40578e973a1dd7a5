"""`allocator rebalance BOOK`: from a folder of tables to whole-lot orders with a proof."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from allocator.commands.options import BookChoice, book_options, file_options, handle_errors_and_json
from allocator.presentation import Document

if TYPE_CHECKING:
    from allocator.book.book import Book
    from allocator.plan.follow import PolicyDeviation
    from allocator.plan.plan import Plan
    from allocator.plan.runs import Run


@click.command()
@book_options
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Write orders.csv and plan.json there, both or neither.",
)
@click.option(
    "--run-id",
    metavar="ID",
    help="With --out: write into DIR/ID, once. The same run again is not solved again; other inputs are refused.",
)
@click.option(
    "--export",
    multiple=True,
    metavar="NAME",
    help="With --out: also write what this exporter of another package makes of the plan. Repeatable.",
)
@click.option(
    "--follow",
    type=click.Path(dir_okay=False),
    metavar="PLAN",
    help="An earlier plan.json of a book with reviews: say how far this plan follows it, and why not.",
)
@click.option("--full", is_flag=True, help="Show all orders, why each, every limit, weight and figure.")
@handle_errors_and_json
@file_options
def rebalance(
    choice: BookChoice,
    out: str | None,
    run_id: str | None,
    export: tuple[str, ...],
    follow: str | None,
    full: bool,
    *,
    as_json: bool,
) -> Document:
    """Turn BOOK into whole-lot orders that keep every rule, with a proof.

    \b
    Examples:
      allocator rebalance data/listed
      allocator rebalance data/listed --set robust.regime.caution=0.8 --out plans/today
      allocator rebalance data/listed --run-id 2026-11-20 --out plans
      allocator rebalance data/reviewed --out plans/policy
      allocator rebalance data/reviewed --as-of 2027-02-20 --follow plans/policy/plan.json
    """
    if out is None and (run_id is not None or export):
        raise click.UsageError(f"{'--export' if run_id is None else '--run-id'} writes files, and wants --out DIR")
    from allocator.display.console import progress_spinner, tell

    with progress_spinner() as say:
        say("reading the book")
        before = _digests(choice) if run_id is not None else {}
        loaded, _ = choice.load_with_cards()
        run: Run | None = None
        if run_id is not None and out is not None:
            from allocator.plan.runs import finished_document, open_run, refuse_changing_inputs, run_inputs

            refuse_changing_inputs(before, _digests(choice))
            options = _options(choice, export, follow) | ({"--full": "yes"} if full else {})
            run = open_run(run_id, Path(out), run_inputs(loaded, before, options))
            if (done := finished_document(run)) is not None:
                tell(f"already done: run {run.id} is in {run.folder}; nothing was solved", err=as_json)
                return done
        if export:
            from allocator.plan.output import find_exporters

            find_exporters(export)
        say("loading the solvers")
        from allocator.plan.document import plan_document

        plan, deviation = _solve(loaded, follow, say)
        from allocator.plan.output import with_digest

        document = with_digest(plan, plan_document(plan, deviation, full=full))
    if out is not None:
        _write(plan, document, Path(out), run, export)
    if not as_json:
        from allocator.display.plan import show_plan

        show_plan(plan, deviation, full=full)
    return document


def _digests(choice: BookChoice) -> dict[str, str]:
    from allocator.plan.runs import input_digests

    return input_digests(Path(choice.path), choice.overrides, choice.as_of)


def _options(choice: BookChoice, export: tuple[str, ...], follow: str | None) -> dict[str, str | None]:
    """What was asked for, as far as it can change what is written."""
    from allocator.plan.runs import digest
    from allocator.tables.files import is_plain_file, read_regular_file

    path = None if follow is None else Path(follow)
    return {
        "--account": choice.account,
        "--set": "; ".join(choice.overrides),
        "--as-of": None if choice.as_of is None else choice.as_of.isoformat(),
        "--export": " ".join(export),
        "--follow": digest(read_regular_file(path, "--follow")) if path is not None and is_plain_file(path) else follow,
    }


def _solve(book: Book, follow: str | None, say: Callable[[str], None]) -> tuple[Plan, PolicyDeviation | None]:
    """The plan of a book, and how far it follows an earlier one where one is named."""
    from allocator.plan.follow import check_announced_policy, policy_deviation
    from allocator.plan.rebalance import rebalance as solve

    if follow is not None:
        check_announced_policy(book, Path(follow))
    plan = solve(book, progress=say)
    if plan.policy is not None:
        say("pricing robustness at every review")
        _ = plan.policy.caution_schedule
    return plan, None if follow is None else policy_deviation(plan, Path(follow))


def _write(plan: Plan, document: Document, out: Path, run: Run | None, export: tuple[str, ...]) -> None:
    """All files or none; where they belong to a run, with what it was made from."""
    from allocator.display.console import tell
    from allocator.plan.output import plan_files, run_exporters
    from allocator.plan.runs import write_files, write_run

    files = plan_files(plan, document) | run_exporters(document, export, plan.book.settings.plugins.exporters)
    written = write_files(files, out) if run is None else write_run(run, files)
    tell("wrote " + " and ".join(map(str, written)), err=True)
