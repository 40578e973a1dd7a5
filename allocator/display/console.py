"""The terminal as it is: colours only where wanted, 80 columns where there is no terminal to ask."""

from __future__ import annotations

import io
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from allocator.errors import (
    AllocatorError,
    BadInput,
    BadMandate,
    Breach,
    Infeasible,
    alike,
    describe_conflict,
    in_parts,
    printable,
)
from allocator.presentation import plain_amount

if TYPE_CHECKING:
    from allocator.ambiguity.product import AxisShare
    from allocator.book.book import Book
    from allocator.rules import RuleMeasurement

Cells: TypeAlias = Iterable[str | float | None]
_NARROW_NAME = 8
"""Letters of a hypothesis that a narrow column has room for."""
PIPE_CLOSED = 141
"""What a shell says of a program whose reader has gone, as `head` does: no defect, and nothing left to tell."""


class _PipedConsole(Console):
    """rich's console, which shows nothing from outside that would steer the terminal.

    Where a reader has gone, rich would end with 1, a defect by our own table of exit codes.
    """

    def on_broken_pipe(self) -> None:
        """Say no more, not even at the end, and go."""
        discard_output()
        raise SystemExit(PIPE_CLOSED)

    def render_str(self, text: str, **options: Any) -> Text:
        """Text for people, wherever it is from; here, so that it is measured as it is shown."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Every piece that is shown; what rich itself says to the terminal passes."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else Segment(printable(piece.text), piece.style)


def discard_output() -> None:
    """What is still to be written to stdout goes nowhere, not even when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(text: str, *, err: bool = False, end: str = "\n") -> None:
    """A line of plain text, as safe as a screen. What cannot be said on stderr is not said: it is no result."""
    stream = sys.stderr if err else sys.stdout
    try:
        print(printable(text), file=_encodable(stream), end=end, flush=True)
    except OSError:
        if not err:
            raise


def _encodable(stream: TextIO) -> TextIO:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal without '·' shows '?', and does not crash
    return stream


WIDTHS = range(20, 1001)
"""What a terminal may be wide; another COLUMNS is a slip."""


def _stated_width() -> int | None:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if re.fullmatch("[0-9]{1,4}", columns) and int(columns) in WIDTHS else None


def console(*, err: bool = False) -> Console:
    """stdout, or stderr for what is not a result. NO_COLOR, COLUMNS and redirection are respected.

    Markup is off: a name in somebody's table is text, whatever brackets it holds.
    """
    stream = _encodable(sys.stderr if err else sys.stdout)
    width = _stated_width() or (None if stream.isatty() else 80)
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}  # rich reads '²'
    return _PipedConsole(
        file=stream, width=width, highlight=False, markup=False, emoji=False, force_jupyter=False, _environ=plain
    )


def text_console(width: int) -> Console:
    """A console that writes into its own `file`, plain text of this width, in a notebook too."""
    return _PipedConsole(
        file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False, color_system=None,
        force_jupyter=False,
    )  # fmt: skip


def heading(out: Console, text: str) -> None:
    """The title of a section."""
    out.print()
    out.print(text, style="bold")


def table(*columns: str, right: Sequence[str] = (), rows: Iterable[Cells] = (), compact: bool = False) -> Table:
    """A table that fits 80 columns; `right` are the columns of numbers, which are never cut.

    In `rows` a fraction is shown in percent and None as nothing. A `compact` one has no rule below its head.
    """
    made = Table(box=None if compact else SIMPLE_HEAD, pad_edge=False, show_edge=False)
    if compact:
        made.padding = (0, 2, 0, 0)
    for column in columns:
        numeric = column in right
        made.add_column(column, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        add_cells(made, row)
    return made


def add_cells(made: Table, row: Cells, style: str = "") -> None:
    """One more row: texts as they are, fractions in percent, nothing for None."""
    made.add_row(*(cell if isinstance(cell, str) else format_percent(cell) for cell in row), style=style)


def scenario_letters(count: int) -> list[str]:
    """What stands for scenarios at the head of columns: A to Z, then numbers."""
    return [chr(ord("A") + k) if k < 26 else str(k) for k in range(count)]


def title_of(book: Book) -> str:
    """What a screen is about: book, account, date and value."""
    settings = book.settings.book
    value, flow = f"{format_money(book.value)} {settings.currency}", book.settings.cash.flow
    paid = f", {format_money(abs(flow))} paid {'in' if flow > 0 else 'out'}" if flow else ""
    return f"{settings.name} · account {book.account} · {settings.as_of} · {value}{paid}"


def describe_cash_flows(book: Book) -> list[str]:
    """What comes and goes at later reviews; nothing where nothing does."""
    told = [
        f"{format_money(abs(flow))} {book.settings.book.currency} {'come in' if flow > 0 else 'go out'} at the review "
        f"of {day}"
        for day, flow in book.settings.cash_at_reviews.items()
    ]
    return [f"{'; '.join(told)}."] if told else []


def count_lines(out: Console, parts: Iterable[RenderableType]) -> int:
    """How many lines they take on this terminal."""
    return sum(len(out.render_lines(part, out.options, pad=False)) for part in parts)


def fit_table(out: Console, made: Table, *spare: str) -> Table:
    """The table without as many of the `spare` columns, in their order, as it takes for no word to be broken."""
    for name in spare:
        if fits(out, made):
            break
        made = _without(made, name)
    return made


def fits(out: Console, made: Table) -> bool:
    """Whether no word of it is broken on this terminal."""
    unbounded = out.options.update(max_width=10 * out.width + 1000)
    return Measurement.get(out, unbounded, made).maximum <= out.width


def describe_columns(made: Table, said: Mapping[str, str]) -> str:
    """What columns mean, by their heads: of those that the table has."""
    heads = {column.header for column in made.columns}
    return " ".join(text for head, text in said.items() if head in heads)


def _without(made: Table, name: str) -> Table:
    """The same table without a column: made anew, as a table's columns know where they stand."""
    kept = [column for column in made.columns if column.header != name]
    less = copy(made)
    less.columns, less.rows = [], []
    for column in kept:
        less.add_column(column.header, justify=column.justify, no_wrap=column.no_wrap, overflow=column.overflow)
    cells = [list(column.cells) for column in kept]
    for at, row in enumerate(made.rows):
        less.add_row(*(column[at] for column in cells), style=row.style)
    return less


def answer_heading(hypothesis: str) -> str:
    """The probability of a hypothesis as a narrow column is headed; the page says whose it is."""
    return f"P({hypothesis if len(hypothesis) <= _NARROW_NAME else hypothesis[:3]})"


def format_percent(value: float | None, digits: int = 1) -> str:
    """A fraction as people read it."""
    return "" if value is None else f"{value * 100:z.{digits}f}%"


def format_money(value: float) -> str:
    """Money without cents, thousands apart; less than 10 with them, and little never as nothing."""
    return plain_amount(value) if 0 < abs(value) < 10 else f"{value:z,.0f}"


def format_signed(value: float, digits: int = 1, unit: str = "") -> str:
    """A figure with its sign; nothing is 0.0 and has none."""
    text = f"{value:+z,.{digits}f}"
    return (text if float(text.replace(",", "")) else text[1:]) + unit


def format_signed_bps(fraction: float, digits: int = 1) -> str:
    """A fraction in bps with its sign."""
    return format_signed(fraction * 1e4, digits)


def format_signed_percent(fraction: float, digits: int = 1) -> str:
    """A change in percent: +3.0%, -3.0%, 0.0%."""
    return format_signed(fraction * 100, digits, "%")


def part_words(name: str) -> str:
    """A part of an expected return as people read it."""
    return name.replace("_", " ")


def describe_parts(parts: Mapping[str, float]) -> str:
    """Parts of an expected return, of which every one is said that there is."""
    return ", ".join(f"{part_words(name)} {format_percent(part)}" for name, part in parts.items())


# What is being done, on stderr, for people who wait; silent where nobody watches.
#


@contextmanager
def progress_spinner() -> Iterator[Callable[[str], None]]:
    """A spinner whose text the caller sets; nothing at all when stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with console(err=True).status("starting") as status:
        yield lambda text: status.update(f"{text} …")


# What a rule measured, in the unit of its limit.
#


def format_measurement(reading: RuleMeasurement, digits: int = 1) -> str:
    """18.9%, 1.18 or 2.4 x; a ratio to a group of which nothing is held is no number, and a loss below 0 a gain."""
    from allocator.rules import PERCENT

    measured = reading.measured
    if not math.isfinite(measured):
        return "none of the second"
    if reading.unit != PERCENT:
        return f"{measured:z.4g}{reading.unit}"
    told = format_percent(measured, digits)
    return f"{reading.below_zero}{told[1:]}" if reading.below_zero and told.startswith("-") else told


# How a refusal looks: what, where, and the cure, on stderr.
#
SHOWN = 40
"""Entries printed one by one; `--json` has every error."""
CONFLICTS = 8
"""Further conflicts that are shown."""
CONFIRMED = 4
"""Entries of `[[confirm]]` that are shown in full."""


def show_refusal(error: AllocatorError) -> None:
    """Print an error for people."""
    out = console(err=True)
    if isinstance(error, BadInput | BadMandate):
        count = len(error.breaches)
        out.print(Text(f"{count} error{'s' if count != 1 else ''}; nothing was written", style="bold red"))
        entries = alike(error.breaches)
        for entry in entries[:SHOWN]:
            out.print(_entry(entry))
        if rest := sum(map(len, entries[SHOWN:])):
            out.print(Text(f"… and {rest} more; --json lists them all"))
        if doubts := [breach.confirm for breach in error.breaches if breach.confirm is not None]:
            out.print(Text("To confirm what is right as it stands, add to book.toml, with the reason:"))
            out.print(Text("\n".join(doubts[:CONFIRMED]), style="cyan"))
            if len(doubts) > CONFIRMED:
                out.print(Text(f"… and {len(doubts) - CONFIRMED} more; --json has them all"))
        return
    if isinstance(error, Infeasible):
        out.print(Text(error.message, style="bold red"))
        if error.fixes:
            for place, (fix, keys) in enumerate(zip_longest(error.fixes, error.overrides, fillvalue=())):
                out.print(Text(f"{'   or, instead' if place else 'smallest fix'}: {fix}"))
                if keys:
                    asked = " ".join(f"--set {shlex.quote(key)}" for key in keys)
                    out.print(Text(f"      {asked}"), soft_wrap=True)
            if error.for_fractions:
                out.print("Not every fix was tried on the whole mandate and whole lots, which may take a little more.")
        _others(out, error)
        return
    out.print(Text(str(error), style="bold red"))


def _others(out: Console, error: Infeasible) -> None:
    """The conflicts that stay when the first is mended."""
    others = [conflict for conflict in error.conflicts if conflict != error.rules]
    for conflict in others[:CONFLICTS]:
        out.print(Text(f"also {describe_conflict(conflict)}"))
    if len(others) > CONFLICTS:
        out.print(Text(f"and {len(others) - CONFLICTS} more conflicts; --json lists them all"))
    if error.cut_short:
        out.print(Text("there may be more conflicts: the search was cut short"))


def _entry(line: Sequence[Breach]) -> Text:
    """`holdings.csv:7 price  must be above 0 (got '-3')`, and the cure on the next line."""
    place, columns, wrong, cure = in_parts(line)
    text = Text.assemble((place, "bold"), " ", (columns, "cyan"), "  " if columns else "", wrong)
    return text.append(f"\n    {cure}", style="green")


def describe_axes(shares: Mapping[str, AxisShare], figure: str) -> str:
    """In a sentence, what of an adverse `figure` is about which axis, and what guarding against it costs."""
    parts, right = list[str](), " if the belief is right"
    for name, one in shares.items():
        cost = "" if one.cost_bps is None else f" (cost {one.cost_bps:z.0f}{right})"
        parts.append(f"{one.adverse_bps:z.0f} about the {name}{cost}")
        right = "" if cost else right
    return f"Adverse probabilities take {sum(one.adverse_bps for one in shares.values()):z.0f} bps of {figure}: " + (
        f"{', '.join(parts)}."
    )
