"""`allocator report BOOK|plan.json -o report.html`, a page to present, and `allocator desk BOOK`, one to work at."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import click

from allocator.commands.options import BookChoice, book_options, handle_errors_and_json
from allocator.presentation import Count

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from allocator.book.book import Book
    from allocator.plan.runs import BookInput
    from allocator.reporting.page import Documents
    from allocator.reporting.server import DeskServer


class ReportDocument(TypedDict):
    """What was written where."""

    format: Literal["allocator.report/1"]
    written: Annotated[str, "the file, as it was named"]
    bytes: Count
    sections: Annotated[list[str], "parts of the page, in their order"]


@click.command()
@book_options
@click.option("-o", "--out", default="report.html", show_default=True, metavar="FILE", help="The page to write.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes to work in.")
@handle_errors_and_json
def report(choice: BookChoice, out: str, jobs: int, *, as_json: bool) -> ReportDocument:
    """Write one page of what BOOK's plan trades, why, what if it is wrong, and when to look again.

    BOOK may be a plan.json, of which the page shows what it holds. The file needs nothing beside it: send it, print it.

    \b
    Examples:
      allocator report data/note -o report.html
      allocator rebalance data/note --out plans/today
      allocator report plans/today/plan.json -o today.html
    """
    from allocator.display.console import progress_spinner, tell
    from allocator.tables.files import check_file, is_folder, replace_file

    check_file(out, (".html", ".htm"), "--out")
    of_file = choice.path.endswith(".json") and not is_folder(Path(choice.path))
    with progress_spinner() as say:
        documents = of_plan(choice) if of_file else of_book(choice, jobs, say)[0]
        say("drawing the page")
        content, names = _drawn(documents, choice.path if of_file else None)
    replace_file(Path(out), content)
    tell(f"wrote {out}", err=as_json)
    return {"format": "allocator.report/1", "written": out, "bytes": len(content), "sections": names}


def _drawn(documents: Documents, file: str | None) -> tuple[bytes, list[str]]:
    """The page and the names of its parts; of a `file` that was not checked when it was read.

    Raises:
        BadInput: the extra `report` is not installed, or the file is not as `rebalance` writes it.
    """
    from allocator.errors import BadInput
    from allocator.reporting.page import as_printable, page_of, sections

    try:
        documents = as_printable(documents)
        shown = sections(documents)
        return page_of(documents, shown).encode(), [section.id for section in shown]
    except (ArithmeticError, AttributeError, LookupError, StopIteration, TypeError, ValueError) as error:
        if file is None:
            raise
        rule = f"is not as `rebalance --out` wrote it: {type(error).__name__}: {error}"
        raise BadInput.of("BOOK", rule, "name the plan.json that it wrote, unchanged", value=file) from None


def of_plan(choice: BookChoice) -> Documents:
    """What a plan.json holds.

    Raises:
        BadInput: it is none, or not as its JSON Schema says, or options ask for what only a book has.
    """
    from allocator.errors import BadInput, Breach
    from allocator.plan.follow import read_plan
    from allocator.tables.schema import document_breaches

    if choice.overrides or choice.account or choice.as_of:
        raise BadInput.of("BOOK", "is a plan.json, of which nothing can be changed", "name the book's folder")
    plan = read_plan(Path(choice.path), "BOOK")
    found = islice(document_breaches(plan, "plan"), _MOST_BREACHES)
    cure = "name the plan.json that `rebalance --out` wrote, unchanged"
    if breaches := [
        Breach(choice.path, None, at or "/", None if value is None else _shortened(value), rule, cure)
        for at, value, rule in found
    ]:
        raise BadInput(breaches)
    return {"plan": plan}


_MOST_BREACHES, _MOST_SHOWN = 50, 60
"""Of a file that is no plan: so many are told, and so many characters of what stands there."""


def _shortened(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def of_book(
    choice: BookChoice, jobs: int, say: Callable[[str], None], *, stressed: bool = True
) -> tuple[Documents, Book]:
    """Everything that is computed of a book, and the book: its plan, beliefs, returns and, where `stressed`, stress.

    Raises:
        BadInput, BadMandate, Infeasible, NotSolved: as `rebalance`.
    """
    say("reading the book")
    loaded, observations = choice.load_with_cards()
    say("loading the solvers")
    from allocator.commands.outlook import beliefs_document
    from allocator.outlook.belief_report import belief_report
    from allocator.outlook.outlook import attribute_returns
    from allocator.outlook.scenario_cards import due_observations
    from allocator.plan.document import plan_document
    from allocator.plan.rebalance import rebalance
    from allocator.stress_testing.belief_sweep import reviewed_sweep
    from allocator.stress_testing.stress import PARTS, stress

    plan = rebalance(loaded, progress=say)
    documents: dict[str, Any] = {"plan": plan_document(plan), "sources": sources(loaded)}
    if loaded.settings.question is not None:
        found = belief_report(loaded)
        documents["beliefs"] = beliefs_document(found, due_observations(observations, found.signals, found.day))
    documents["returns"] = attribute_returns(loaded, None).document()
    if not stressed:
        return documents, loaded  # type: ignore[return-value]  # built by name
    tree = loaded.settings.uses_tree
    if tree:
        documents["sweep"] = reviewed_sweep(loaded, say)
    parts = tuple(part for part in PARTS if not (tree and part == "beliefs"))
    documents["stress"] = stress(
        loaded, parts=parts, map_steps=0 if tree else _STEPS, jobs=jobs, plan=plan, progress=say
    ).document()
    return documents, loaded  # type: ignore[return-value]  # built by name


_STEPS = 9
"""Points a side of the map of beliefs: as many as are read on a phone."""


def sources(book: Book) -> list[dict[str, str]]:
    """Where the numbers of each row come from, as far as tables say."""
    rows = [
        {"file": "exposures.csv", "of": str(name), "source": str(text)}
        for name, text in (book.exposures["source"].items() if "source" in book.exposures else ())
    ]
    signals = book.signals
    if signals is not None and "note" in signals:
        rows += [
            {"file": "signals.csv", "of": f"{row.date:%Y-%m-%d} {row.kind}", "source": str(row.note)}
            for row in signals.itertuples()
        ]
    return [row for row in rows if row["source"] not in ("", "nan")]


# `allocator desk BOOK`: the same page with knobs.
#
HOST = "127.0.0.1"


class DeskDocument(TypedDict):
    """Where the desk listened, once it is closed."""

    format: Literal["allocator.desk/1"]
    address: str


@click.command()
@book_options
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes any that is free."
)
@click.option("--out", default="plans/desk", show_default=True, metavar="DIR", help="Where orders are written.")
@handle_errors_and_json
def desk(choice: BookChoice, port: int, out: str, *, as_json: bool) -> DeskDocument:
    """Turn BOOK's knobs and watch: belief, caution, risk aversion, turnover, caps of buckets, reviews.

    It listens on this machine alone, at an address with a token that it prints. Ctrl-C ends it.

    \b
    Example:
      allocator desk data/note
    """
    from allocator.display.console import progress_spinner, tell
    from allocator.errors import BadInput, required_extra

    uvicorn, _ = (required_extra(name.lower(), name, "desk", "desk") for name in ("uvicorn", "Starlette"))
    with progress_spinner() as say, socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()  # at once: two desks may bind one port as long as neither listens
        except OSError as error:
            cure = "end the other desk, or choose another: --port 0 takes any that is free"
            raise BadInput.of("--port", f"cannot be listened on: {error.strerror}", cure, value=str(port)) from None
        address = f"http://{HOST}:{listening.getsockname()[1]}"
        server = server_of(choice, out, address, say)
        tell(f"the desk is at {address}/?token={server.token} (Ctrl-C ends it)", err=as_json)
        say("listening")
        _serve(uvicorn, server.app, listening)
    tell("the desk is closed", err=True)
    return {"format": "allocator.desk/1", "address": address}


def server_of(choice: BookChoice, out: str, address: str, say: Callable[[str], None]) -> DeskServer:
    """The desk of a book as it is now on disk, and what it writes where; refused once the book is another."""
    from allocator.plan.runs import book_inputs, digests_of

    def inputs() -> list[BookInput]:
        return book_inputs(Path(choice.path), choice.overrides, choice.as_of)

    before = inputs()
    documents, loaded = of_book(choice, 1, say, stressed=False)
    from allocator.plan.document import plan_document
    from allocator.plan.output import plan_files
    from allocator.plan.rebalance import rebalance
    from allocator.plan.runs import write_files
    from allocator.reporting.desk import Desk
    from allocator.reporting.server import DeskServer

    def write(book: Book, turned: Sequence[str]) -> Sequence[Path]:
        plan = rebalance(book)
        document = plan_document(plan)
        files = plan_files(plan, document)
        if book.settings.ledger is not None:
            from allocator.ledger.record import record_and_release

            options = choice.recorded([*turned, *book.settings.mandate.counted])
            files = record_and_release(book, Path(choice.path), document, files, before, options)
        return write_files(files, Path(out))

    return DeskServer(Desk(loaded), documents, address, write, lambda: digests_of(inputs()) != digests_of(before))


def _serve(uvicorn: Any, app: Starlette, listening: socket.socket) -> None:
    """Until Ctrl-C, which is how it ends."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        return
