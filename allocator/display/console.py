"""The terminal as it is: colours only where wanted, 80 columns where there is no terminal to ask."""

from __future__ import annotations

import io
import os
import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

PIPE_CLOSED = 141
"""What a shell says of a program whose reader has gone, as `head` does: no defect, and nothing left to tell."""


class _Piped(Console):
    """rich's console, which would end with 1 where a reader has gone, a defect by our own table of exit codes."""

    def on_broken_pipe(self) -> None:
        """Say no more, not even at the end, and go."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(PIPE_CLOSED)


def console(*, err: bool = False) -> Console:
    """stdout, or stderr for what is not a result. NO_COLOR, COLUMNS and redirection are respected.

    Markup is off: a name in somebody's table is text, whatever brackets it holds.
    """
    stream = sys.stderr if err else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal without '·' shows '?', and does not crash
    width = None if stream.isatty() or "COLUMNS" in os.environ else 80
    return _Piped(file=stream, width=width, highlight=False, markup=False, emoji=False)


def heading(out: Console, text: str) -> None:
    """The title of a section."""
    out.print()
    out.print(text, style="bold")


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table that fits 80 columns; `right` are the columns of numbers, which are never cut."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        numeric = column in right
        made.add_column(column, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    return made


def fitting(out: Console, made: Table, *spare: str) -> Table:
    """The table without as many of the `spare` columns, in their order, as it takes for no word to be broken."""
    unbounded = out.options.update(max_width=10 * out.width + 1000)
    for name in spare:
        if Measurement.get(out, unbounded, made).maximum <= out.width:
            break
        made = _without(made, name)
    return made


def _without(made: Table, name: str) -> Table:
    """The same table without a column: made anew, as a table's columns know where they stand."""
    kept = [column for column in made.columns if column.header != name]
    less = table()
    for column in kept:
        less.add_column(column.header, justify=column.justify, no_wrap=column.no_wrap, overflow=column.overflow)
    cells = [list(column.cells) for column in kept]
    for at, row in enumerate(made.rows):
        less.add_row(*(column[at] for column in cells), style=row.style)
    return less


def percents(value: float | None, digits: int = 1) -> str:
    """A fraction as people read it; never '-0.0%'."""
    if value is None:
        return ""
    shown = f"{value * 100:.{digits}f}%"
    return shown[1:] if shown.startswith("-") and float(shown[:-1]) == 0 else shown


def amount(value: float) -> str:
    """Money without cents, thousands apart."""
    return f"{value:,.0f}"
