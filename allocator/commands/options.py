"""What every command shares: the BOOK argument and its options, and how errors become exit codes.

Results go to stdout, everything else to stderr. `--json` answers with one document, also for errors.
"""

from __future__ import annotations

import datetime as dt
import errno
import functools
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any, ParamSpec

import click

from allocator.errors import AllocatorError, BadInput, BadMandate, Breach, Infeasible

if TYPE_CHECKING:
    from allocator.plugins import Plugin

P = ParamSpec("P")
INTERRUPTED = 130
"""What a shell says of a command that Ctrl-C ended; 1 would call it a defect of ours."""


def book_options(command: Callable[P, None]) -> Callable[P, None]:
    """The BOOK argument with --account, --set and --as-of."""
    for option in reversed(
        (
            click.argument("book", metavar="BOOK", type=click.Path()),
            click.option("--account", help="Which account, where holdings.csv has several."),
            click.option(
                "--set",
                "overrides",
                multiple=True,
                metavar="KEY=VALUE",
                help="What-if: replace a key of book.toml, such as mandate.max_weight=0.2. Repeatable.",
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
        command = option(command)
    return command


def handle_errors_and_json(command: Callable[P, dict[str, Any] | None]) -> Callable[P, None]:
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
            click.echo(json.dumps(document, indent=2, allow_nan=False))
        if document is not None and document.get("interrupted"):
            sys.exit(INTERRUPTED)  # what is finished was shown, and is not all

    return wrapped


def error_document(error: AllocatorError | click.ClickException) -> dict[str, Any]:
    """An error as plain data; its JSON Schema is `schemas/error.schema.json`."""
    if isinstance(error, click.ClickException):
        told = {"error": "UsageError", "exit_code": error.exit_code, "message": error.format_message()}
        return {"format": "allocator.error/2", **told}
    document: dict[str, Any] = {
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
            "conflicts": [list(conflict) for conflict in error.conflicts],
            "cut_short": error.cut_short,
            "for_fractions": error.for_fractions,
        }
    return document


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
