"""What every command shares: the BOOK argument and its options, and how errors become exit codes.

Results go to stdout, everything else to stderr. `--json` answers with one document, also for errors.
"""

from __future__ import annotations

import datetime as dt
import errno
import functools
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, ParamSpec, TypedDict

import click

from allocator.errors import AllocatorError, BadInput, BadMandate, Breach, Infeasible
from allocator.presentation import Document, Keywords, Row, stable_numbers

if TYPE_CHECKING:
    from allocator.book.book import Book
    from allocator.ledger.record import RunOptions
    from allocator.outlook.scenario_cards import Cards
    from allocator.plugins import Plugin

P = ParamSpec("P")
INTERRUPTED = 130
"""What a shell says of a command that Ctrl-C ended; 1 would call it a defect of ours."""


@dataclass(frozen=True)
class BookChoice:
    """Which book, of whom, on which day, and what is changed in it."""

    path: str
    account: str | None
    overrides: tuple[str, ...]
    as_of: dt.date | None
    records: bool = False
    """Whether what is made of it is kept in a ledger, also where the book names none."""

    def load(self, *more: str) -> Book:
        """The book, with `more` overrides after those that were given."""
        from allocator.book.loading import load

        overrides = (*self.overrides, *more)
        return self._counted(load(self.path, account=self.account, overrides=overrides, as_of=self.as_of))

    def _counted(self, book: Book) -> Book:
        """The book with what its turnover budget counts in a ledger."""
        budget = book.settings.mandate.turnover_budget
        if budget is None or budget.used is not None:
            return book
        from allocator.ledger.record import with_used_turnover

        return with_used_turnover(book, self.path, records=self.records)

    def recorded(self, turned: Sequence[str] = (), export: Sequence[str] = ()) -> RunOptions:
        """What a ledger keeps of it, with overrides that were added, and exporters that were asked for."""
        return {
            "account": self.account,
            "overrides": [*self.overrides, *turned],
            "as_of": None if self.as_of is None else self.as_of.isoformat(),
            "export": list(export),
        }

    def load_with_cards(self) -> tuple[Book, Cards]:
        """The book and its scenario cards."""
        from allocator.outlook.scenario_cards import load_with_cards

        book, cards = load_with_cards(self.path, account=self.account, overrides=self.overrides, as_of=self.as_of)
        return self._counted(book), cards


def book_options(command: Callable[..., None], named: str = "BOOK") -> Callable[..., None]:
    """The BOOK argument with --account, --set, --believe, --cash and --as-of, for the command one `BookChoice`."""

    @functools.wraps(command)
    def wrapped(
        path: str,
        account: str | None,
        overrides: tuple[str, ...],
        believe: tuple[str, ...],
        cash: tuple[str, ...],
        as_of: dt.date | None,
        **others: Any,
    ) -> None:
        command(BookChoice(path, account, (*overrides, *believe, *cash), as_of), **others)

    for option in reversed(
        (
            click.argument("path", metavar=named, type=click.Path()),
            click.option("--account", help="Which account, where holdings.csv has several."),
            click.option(
                "--set",
                "overrides",
                multiple=True,
                metavar="KEY=VALUE",
                help="What-if: replace a key of book.toml, such as mandate.max_weight=0.2. Repeatable.",
            ),
            click.option(
                "--believe",
                multiple=True,
                metavar="NAME=P",
                callback=_as_overrides,
                help="A view of today: probability of a hypothesis or a scenario; the others keep their proportions. "
                "Repeatable.",
            ),
            click.option(
                "--cash",
                callback=_as_cash_flow,
                metavar="AMOUNT",
                help="Cash that comes or goes before trading, in the book's currency: +250000 or -80000.",
            ),
            click.option(
                "--as-of",
                type=click.DateTime(["%Y-%m-%d"]),
                callback=_as_date,
                metavar="DATE",
                help="Replace the book's own date.",
            ),
        )
    ):
        wrapped = option(wrapped)
    return wrapped


def handle_errors_and_json(command: Callable[P, Document | None]) -> Callable[P, None]:
    """Add --json, print a returned document, and turn Allocator's errors into their exit codes.

    The command is given `as_json`; it returns the document to print with --json.
    """

    @click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document (see `allocator schema`).")
    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        try:
            # the one document of --json is all of stdout: what a plugin prints goes where messages go
            with redirect_stdout(sys.stderr) if as_json else nullcontext():
                document = command(*args, **kwargs)
        except KeyboardInterrupt:
            click.echo("interrupted; nothing was written", err=True)
            sys.exit(INTERRUPTED)
        except AllocatorError as error:
            if as_json:
                click.echo(json.dumps(error_document(error), indent=2))
            else:
                _exit_with_error(error)
            sys.exit(error.exit_code)
        if as_json and document is not None:
            click.echo(json.dumps(stable_numbers(document), indent=2, allow_nan=False))
        if document is not None and document.get("interrupted"):
            sys.exit(INTERRUPTED)  # what is finished was shown, and is not all
        if document is not None and document.get("failed"):
            sys.exit(Infeasible.exit_code)  # of many accounts some have no plan, and all others are complete

    return wrapped


def file_options(command: Callable[P, Document]) -> Callable[P, Document]:
    """Add --plot and --xlsx, which draw and tabulate the document that the command returns; what cannot be written is
    refused before.
    """

    @click.option("--plot", metavar="FILE", help="Draw the answer too: FILE.svg or FILE.png.")
    @click.option("--xlsx", metavar="FILE", help="Write its tables too, as a workbook with a sheet a table.")
    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Document:
        plot, xlsx = (kwargs.pop(name, None) for name in ("plot", "xlsx"))
        if plot is not None:
            from allocator.reporting.drawings import check_picture

            check_picture(str(plot))
        if xlsx is not None:
            from allocator.reporting.workbook import check_workbook

            check_workbook(str(xlsx))
        document = command(*args, **kwargs)
        if plot is not None:
            from allocator.reporting.drawings import write_picture
            from allocator.reporting.pictures import picture

            write_picture(picture(document), str(plot))
        if xlsx is not None:
            from allocator.reporting.workbook import write_workbook

            write_workbook(document, str(xlsx))
        for path in (plot, xlsx):
            if path is not None:
                click.echo(f"wrote {path}", err=True)
        return document

    return wrapped


class ErrorDocument(TypedDict):
    """Why a command said no."""

    format: Literal["allocator.error/2"]
    error: Annotated[
        str, Keywords(enum=["BadInput", "BadMandate", "Infeasible", "NotSolved", "OutOfTime", "UsageError"])
    ]
    exit_code: Annotated[int, Keywords(enum=[2, 3, 4, 5])]
    message: str
    errors: NotRequired[list[Annotated[Row, Breach]]]
    rules: NotRequired[Annotated[list[str], "the limits that conflict"]]
    fixes: NotRequired[Annotated[list[str], "each is one way out"]]
    overrides: NotRequired[
        Annotated[list[list[str]], "each fix as what --set takes, as far as it is one of book.toml's keys"]
    ]
    conflicts: NotRequired[
        Annotated[
            list[list[str]],
            "every set of limits found that conflict although no smaller part of the set does; the first is 'rules'",
        ]
    ]
    cut_short: NotRequired[
        Annotated[bool, "whether there may be more conflicts than were found before the work was spent"]
    ]
    for_fractions: NotRequired[
        Annotated[bool, "whether some fix could not be tried on the whole mandate and on whole lots"]
    ]


def error_document(error: AllocatorError | click.ClickException) -> ErrorDocument:
    """An error as plain data; its JSON Schema is `schemas/error.schema.json`."""
    if isinstance(error, click.ClickException):
        return {
            "format": "allocator.error/2",
            "error": "UsageError",
            "exit_code": error.exit_code,
            "message": error.format_message(),
        }
    document: ErrorDocument = {
        "format": "allocator.error/2",
        "error": type(error).__name__,
        "exit_code": error.exit_code,
        "message": str(error),
    }
    if isinstance(error, BadInput | BadMandate):
        document["errors"] = [vars(breach) for breach in error.breaches]
    if isinstance(error, Infeasible):
        document |= {
            "rules": list(error.rules),
            "fixes": list(error.fixes),
            "overrides": list(map(list, error.overrides)),
            "conflicts": [list(conflict) for conflict in error.conflicts],
            "cut_short": error.cut_short,
            "for_fractions": error.for_fractions,
        }
    return document


def _as_overrides(_: click.Context, __: click.Parameter, views: tuple[str, ...]) -> tuple[str, ...]:
    """Each view as the key of book.toml that it is a what-if of."""
    from allocator.settings.reading import dotted_key

    pairs = [view.rpartition("=") for view in views]
    for view, (name, _equals, _p) in zip(views, pairs, strict=True):
        if not name:
            raise click.BadParameter(f"{view!r} is no view; write --believe NAME=0.7")
    return tuple(f"{dotted_key('believe', name.strip())}={p.strip()}" for name, _, p in pairs)


def _as_cash_flow(_: click.Context, __: click.Parameter, amount: str | None) -> tuple[str, ...]:
    """An amount of either sign as the keys of book.toml that it is a what-if of."""
    if amount is None:
        return ()
    try:
        flow = float(amount)
    except ValueError:
        raise click.BadParameter(f"{amount!r} is no amount; write +250000 or -80000, without separators") from None
    if not math.isfinite(flow):
        raise click.BadParameter(f"{amount!r} is no amount that can be paid; write +250000 or -80000")
    return f"cash.paid_in={max(flow, 0.0)!r}", f"cash.paid_out={max(-flow, 0.0)!r}"


def _as_date(_: click.Context, __: click.Parameter, value: dt.datetime | None) -> dt.date | None:
    return None if value is None else value.date()


# Streams as they are: closed, full, or left by who read them.
#


def open_closed_streams() -> None:
    """Where a standard stream is closed, nothing is read or written; else the next file that is opened would be it."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  # until the end


@contextmanager
def _reader_may_go() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        from allocator.display.console import PIPE_CLOSED, discard_output

        discard_output()
        sys.exit(PIPE_CLOSED)


@contextmanager
def _output_is_taken() -> Iterator[None]:
    """Say so, and exit as for any file that cannot be written, where stdout takes no more."""
    try:
        try:
            yield
        finally:
            with _reader_may_go():
                sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:  # not of a stream
            raise
        from allocator.display.console import discard_output

        discard_output()
        rule = f"cannot be written: {error.strerror or error}"
        refusal = BadInput([Breach("stdout", None, None, None, rule, "make room, or send it elsewhere")])
        _exit_with_error(refusal)
        sys.exit(refusal.exit_code)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""Why a stream takes no more, other than that its reader has gone."""


def _say_wrong_usage(error: click.ClickException, *, as_json: bool) -> None:
    from allocator.display.console import tell

    if as_json:
        click.echo(json.dumps(error_document(error), indent=2))
        return
    text = io.StringIO()
    error.show(text)
    tell(text.getvalue(), err=True, end="")


# Commands of other packages: found when one is called by a name that is not ours, and imported then.
#


class CommandGroup(click.Group):
    """Our commands, and behind them those of the entry points `allocator.commands`; none can take the place of ours.

    `--help` lists ours alone: to tell what another's is for, it would have to be imported. `allocator plugins` lists
    those of others.
    """

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        *,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run and exit as click does, but with a document for wrong usage, and a word where stdout takes no more."""
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **extra)
        open_closed_streams()
        given = sys.argv[1:] if args is None else list(args)
        try:
            with _output_is_taken():
                code = super().main(args, prog_name, standalone_mode=False, **extra)
        except click.ClickException as error:
            _say_wrong_usage(error, as_json="--json" in given)
            code = error.exit_code
        except click.Abort:
            click.echo("interrupted; nothing was written", err=True)
            code = INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)

    def make_context(self, *given: Any, **extra: Any) -> click.Context:
        """What the command line asks for; `--help` is answered here."""
        with _reader_may_go():
            return super().make_context(*given, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _reader_may_go():
            return super().invoke(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Ours of this name; else another package's."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        from allocator.plugins import installed_plugins

        if cmd_name not in [plugin.name for plugin in installed_plugins("commands")]:
            return None
        try:
            return _further(cmd_name)
        except AllocatorError as error:
            _exit_with_error(error)
            sys.exit(error.exit_code)


def _exit_with_error(error: AllocatorError) -> None:
    from allocator.display.console import show_refusal

    with suppress(OSError):  # stderr takes no more; the exit code says it
        show_refusal(error)


def _further(name: str) -> click.Command:
    from allocator.errors import BadInput
    from allocator.plugins import load_plugin, plugin_refusal

    plugin, command = load_plugin("commands", name, "allocator")
    if not isinstance(command, click.Command):
        raise BadInput([plugin_refusal(plugin, "is no click.Command", "let its entry point name one")])
    own = command.invoke

    def invoke(ctx: click.Context) -> object:
        """What it raises is its own defect, named, and none of ours."""
        try:
            return own(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException, KeyboardInterrupt, BrokenPipeError):
            raise
        except Exception as error:
            _exit_with_error(_named(plugin, error))
            ctx.exit(BadInput.exit_code)

    command.invoke = invoke  # type: ignore[method-assign]
    return command


def _named(plugin: Plugin, error: Exception) -> AllocatorError:
    """Its own refusal, or its defect by its name."""
    from allocator.errors import BadInput
    from allocator.plugins import plugin_refusal

    if isinstance(error, AllocatorError):
        return error
    return BadInput([plugin_refusal(plugin, f"fails: {type(error).__name__}: {error}".rstrip(": "))])
