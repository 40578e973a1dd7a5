"""`allocator rebalance BOOK`: from a folder of tables to whole-lot orders with a proof."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from allocator.commands.options import BookChoice, book_options, file_options, handle_errors_and_json
from allocator.presentation import Document

if TYPE_CHECKING:
    from allocator.book.book import Book
    from allocator.ledger.ledger import Ledger, LedgerEntry
    from allocator.ledger.record import RunOptions
    from allocator.plan.follow import PolicyDeviation
    from allocator.plan.plan import Plan
    from allocator.plan.runs import BookInput, Run


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
    help="Name the run, once: --out writes into DIR/ID. The same run again is not solved again; other inputs are "
    "refused.",
)
@click.option(
    "--record", is_flag=True, help="Keep the run in a ledger: the one that [ledger] of BOOK names, or ledger.db here."
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
    record: bool,
    *,
    as_json: bool,
) -> Document:
    """Turn BOOK into whole-lot orders that keep every rule, with a proof.

    \b
    Examples:
      allocator rebalance data/listed
      allocator rebalance data/listed --set robust.regime.caution=0.8 --out plans/today
      allocator rebalance data/listed --run-id 2026-11-20 --out plans --record
      allocator rebalance data/reviewed --out plans/policy
      allocator rebalance data/reviewed --as-of 2027-02-20 --follow plans/policy/plan.json
    """
    if out is None and export:
        raise click.UsageError("--export writes files, and wants --out DIR")
    from allocator.display.console import progress_spinner, tell

    choice = replace(choice, records=record)
    with progress_spinner() as say:
        say("reading the book")
        before = _inputs(choice) if run_id is not None or record or _states_ledger(choice) else []
        loaded, _ = choice.load_with_cards()
        case = _Case(choice, loaded, run_id, out, export, follow, before)
        ledger = _ledger(case, record=record)
        if run_id is not None and out is None and ledger is None:
            raise click.UsageError("--run-id writes files, and wants --out DIR; or --record, which keeps the run")
        if run_id is not None or ledger is not None:
            from allocator.plan.runs import digests_of, refuse_changing_inputs

            refuse_changing_inputs(digests_of(before), digests_of(_inputs(choice)))
        if (done := _done(case, ledger)) is not None:
            told, document = done
            tell(told, err=as_json)
            return document
        if export:
            from allocator.plan.output import find_exporters

            find_exporters(export)
        say("loading the solvers")
        from allocator.plan.document import look_again_document, plan_document

        plan, deviation = _solve(loaded, follow, say)
        from allocator.plan.output import plan_files, run_exporters
        from allocator.plan.runs import digest

        document = plan_document(plan, deviation, full=full)
        files = plan_files(plan, document)
        document = {**document, "orders_sha256": digest(files["orders.csv"])}
        files |= run_exporters(document, export, loaded.settings.plugins.exporters)
        if full:
            say("looking for what turns the orders")
            document = {**document, "look_again": look_again_document(plan)}
    _keep(case, ledger, document, files)
    if not as_json:
        from allocator.display.plan import show_plan

        show_plan(plan, deviation, full=full)
    return document


@dataclass(frozen=True)
class _Case:
    """What is asked of which book, and what it was read from where that is written down."""

    choice: BookChoice
    book: Book
    run_id: str | None
    out: str | None
    export: tuple[str, ...]
    follow: str | None
    inputs: Sequence[BookInput]

    @property
    def options(self) -> RunOptions:
        """What was asked for, as far as it can change what is written."""
        return self.choice.recorded(self.book.settings.mandate.counted, self.export)

    @cached_property
    def made_from(self) -> dict[str, str]:
        """What a run of it is told from others by."""
        from allocator.plan.runs import digest, digests_of, run_inputs
        from allocator.tables.files import is_plain_file, read_regular_file

        followed, path = self.follow, Path(self.follow or "")
        if followed is not None and is_plain_file(path):
            followed = digest(read_regular_file(path, "--follow"))
        return run_inputs(self.book, digests_of(self.inputs), self.options, followed)

    @property
    def run(self) -> Run | None:
        """The folder of the run, where it has an id and files are written."""
        from allocator.plan.runs import open_run

        if self.run_id is None:
            return None
        run = open_run(self.run_id, Path(self.out or ""), self.made_from)
        return None if self.out is None else run


def _inputs(choice: BookChoice) -> list[BookInput]:
    from allocator.plan.runs import book_inputs

    return book_inputs(Path(choice.path), choice.overrides, choice.as_of)


def _states_ledger(choice: BookChoice) -> bool:
    """Whether a book seems to name a ledger: what it is read from is then looked at before it is read."""
    from allocator.book.loading import book_text
    from allocator.errors import BadInput

    with suppress(BadInput):
        return "ledger" in "\n".join([*choice.overrides, book_text(Path(choice.path))])
    return False


def _ledger(case: _Case, *, record: bool) -> Ledger | None:
    """Where the run is recorded: it is there, and can be written to, before anything is solved."""
    section = case.book.settings.ledger
    if not record and section is None:
        return None
    from allocator.ledger.ledger import ledger_of
    from allocator.ledger.record import refuse_own_name, refuse_passwords, refuse_unapproved

    refuse_passwords(case.inputs, case.options)
    refuse_own_name(case.run_id)
    ledger = ledger_of(section, Path(case.choice.path))
    ledger.open()
    if (
        section is not None
        and section.require_approval
        and case.out is not None
        and (case.run_id is None or ledger.find(case.run_id) is None)
    ):
        refuse_unapproved(ledger, None)
    return ledger


def _done(case: _Case, ledger: Ledger | None) -> tuple[str, Document] | None:
    """The plan of a run that was made before, from the same inputs, and what is told of it.

    A run that the ledger has and whose files are missing, as its writer was killed, gets them now; one whose folder was
    written without a ledger is recorded.
    """
    if case.run_id is None:
        return None
    from allocator.plan.runs import finished_document, write_run

    run = case.run
    document = None if run is None else finished_document(run)
    if ledger is None:
        return (
            None
            if document is None or run is None
            else (f"already done: run {run.id} is in {run.folder}; nothing was solved", document)
        )
    from allocator.ledger.record import recorded_files, refuse_another, released_files

    entry = ledger.find(case.run_id)
    if entry is None:
        if document is None or run is None:
            return None
        names = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))["outputs"]
        entry = _record(case, ledger, document, {name: (run.folder / name).read_bytes() for name in names})
        return f"already done: run {run.id} is in {run.folder}; it was recorded, {_where(ledger, entry)}", document
    refuse_another(entry, case.made_from)
    if run is not None and document is None:
        write_run(run, released_files(ledger, entry)[0])
    return f"already done: run {case.run_id} is {_where(ledger, entry)}; nothing was solved", json.loads(
        recorded_files(ledger, entry)["plan.json"]
    )


def _where(ledger: Ledger, entry: LedgerEntry) -> str:
    return f"entry {entry.sequence} of {ledger.shown}"


def _record(case: _Case, ledger: Ledger, document: Document, files: Mapping[str, bytes]) -> LedgerEntry:
    from allocator.ledger.record import FOLLOWED, record_run
    from allocator.plan.runs import BookInput
    from allocator.tables.files import read_regular_file

    inputs = list(case.inputs)
    if case.follow is not None:
        inputs.append(BookInput(FOLLOWED, read_regular_file(Path(case.follow), FOLLOWED)))
    return record_run(ledger, case.run_id, document, files, case.book.settings, inputs, case.options, case.made_from)


def _keep(case: _Case, ledger: Ledger | None, document: Document, files: Mapping[str, bytes]) -> None:
    """Record the run, then let its files be seen: killed in between, a run may be without files, and no file without
    its run.
    """
    from allocator.display.console import tell
    from allocator.plan.runs import write_files, write_run

    if ledger is not None:
        entry = _record(case, ledger, document, files)
        tell(f"recorded run {entry.run_id} as {_where(ledger, entry)}\nhead {entry.hash}", err=True)
        if entry.clock_went_back:
            said = f"the clock here is before {entry.before}, when the entry before was recorded"
            tell(f"{said}: the order of runs is that of their numbers", err=True)
    if case.out is None:
        return
    if ledger is not None:
        from allocator.ledger.record import released_files

        files, _ = released_files(ledger, entry)
    run = case.run
    written = write_files(files, Path(case.out)) if run is None else write_run(run, files)
    unrecorded = "" if ledger is not None else " (not recorded)"
    tell("wrote " + " and ".join(map(str, written)) + unrecorded, err=True)


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
