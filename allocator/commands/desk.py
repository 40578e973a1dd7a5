"""`allocator desk BOOK`: the report with knobs, on this machine alone."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import click

from allocator.commands.options import BookChoice, book_options, handle_errors_and_json
from allocator.commands.report import of_book

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from allocator.book.book import Book
    from allocator.reporting.server import DeskServer

HOST = "127.0.0.1"


class DeskDocument(TypedDict):
    """Where the desk listened."""

    format: str
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
    from allocator.errors import BadInput

    try:
        import uvicorn
    except ImportError:
        raise BadInput.of("desk", "needs Starlette and uvicorn", "pip install 'portfolio-allocator[desk]'") from None
    with progress_spinner() as say, socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
        except OSError as error:
            cure = "end the other desk, or choose another: --port 0 takes any that is free"
            raise BadInput.of("--port", f"cannot be listened on: {error.strerror}", cure, value=str(port)) from None
        address = f"http://{HOST}:{listening.getsockname()[1]}"
        server = _server(choice, out, address, say)
        listening.listen()
        tell(f"the desk is at {address}/?token={server.token} (Ctrl-C ends it)", err=as_json)
        say("listening")
        _serve(uvicorn, server.app, listening)
    tell("the desk is closed", err=True)
    return {"format": "allocator.desk/1", "address": address}


def _server(choice: BookChoice, out: str, address: str, say: Callable[[str], None]) -> DeskServer:
    from allocator.plan.runs import input_digests

    def digests() -> dict[str, str]:
        return input_digests(Path(choice.path), choice.overrides, choice.as_of)

    before = digests()
    documents, loaded = of_book(choice, 1, say, stressed=False)
    from allocator.plan.document import plan_document
    from allocator.plan.output import plan_files
    from allocator.plan.rebalance import rebalance
    from allocator.plan.runs import write_files
    from allocator.reporting.desk import Desk
    from allocator.reporting.server import DeskServer

    def write(book: Book) -> Sequence[Path]:
        plan = rebalance(book)
        return write_files(plan_files(plan, plan_document(plan)), Path(out))

    return DeskServer(Desk(loaded), documents, address, write, lambda: digests() != before)


def _serve(uvicorn: Any, app: Starlette, listening: socket.socket) -> None:
    """Until Ctrl-C, which is how it ends."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        return
