"""A screen of at most 45 lines at 80 columns: what matters less makes room, and each section says what --full adds."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from allocator.display.console import heading, table, text_console

LINES, COLUMNS = 45, 80
"""Of a first screen."""
WIDE_ENOUGH = 72
"""Columns of a terminal that has room for every column of a table."""
ANSWER, ESSENTIAL, DETAIL, REST, LEGEND = range(5)
"""Priorities of blocks: what has the highest number makes room first."""


@dataclass(frozen=True, eq=False)
class ScreenBlock:
    """A sentence, or a table of which any number of its `rows` can be shown, down to `least`.

    `adds` says what is missing where not all of it is shown.
    """

    show: Callable[[Console, int], None]
    adds: str = ""
    priority: int = ESSENTIAL
    rows: int = 1
    least: int = 0
    explains: ScreenBlock | None = None
    """The table that a legend is of, without which it is not shown."""


@dataclass(frozen=True, eq=False)
class ScreenSection:
    """Blocks under a title; no title is what stands before all others."""

    title: str
    blocks: Sequence[ScreenBlock] = field(default_factory=tuple)


def text_block(
    text: str, adds: str = "", priority: int = ESSENTIAL, *, least: int = 0, style: str | None = None
) -> ScreenBlock:
    """A block of words."""
    return ScreenBlock(lambda out, _: out.print(text, style=style), adds, priority, least=least)


def legend_block(explains: ScreenBlock, said: str | Callable[[Console], str], style: str | None = None) -> ScreenBlock:
    """What the columns of a table mean; `said` of a console where it has not room for all of them."""

    def show(out: Console, _: int) -> None:
        out.print(said if isinstance(said, str) else said(out), style=style)

    return ScreenBlock(show, "legend", LEGEND, explains=explains)


def answer_block(text: str, style: str | None = None) -> ScreenBlock:
    """What always stands on the screen."""
    return text_block(text, priority=ANSWER, least=1, style=style)


def table_block(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    adds: str,
    priority: int = ESSENTIAL,
    *,
    numbers: Sequence[str],
    wide: Sequence[str] = (),
    title: str = "",
    tight: bool = False,
    whole: bool = False,
) -> ScreenBlock:
    """A table of which the first rows can stand alone, unless it is shown `whole` or not at all.

    `numbers` are columns that are never cut; `wide` ones are shown where the terminal is. What is `tight` has one space
    less between columns.
    """

    def show(out: Console, count: int) -> None:
        shown = [i for i, column in enumerate(columns) if out.width >= WIDE_ENOUGH or column not in wide]
        if title:
            heading(out, title)
        grid = table(*(columns[i] for i in shown), right=tuple(numbers))
        if tight:
            grid.padding = (0, 1, 0, 0)
        for row in rows if whole else rows[:count]:
            grid.add_row(*(row[i] for i in shown))
        out.print(grid)

    return ScreenBlock(show, adds, priority, 1 if whole else len(rows))


def show_sections(out: Console, sections: Sequence[ScreenSection], *, full: bool) -> None:
    """Print all of them, or what of them fits a first screen."""
    shown = {block: block.rows for section in sections for block in section.blocks}
    if not full:
        shown = _Fit(sections, shown, max(out.width, COLUMNS)).rows()
    for section in sections:
        if not _without_room(section, shown):
            _print(out, section, shown)
    if closing := _closing(sections, shown):
        out.print()
        out.print(closing, style="dim")


def _without_room(section: ScreenSection, shown: dict[ScreenBlock, int]) -> bool:
    """Whether nothing of a section is shown, so that its title would stand alone."""
    return bool(section.blocks) and not any(shown[block] for block in section.blocks)


def _closing(sections: Sequence[ScreenSection], shown: dict[ScreenBlock, int]) -> str:
    """The sections for which there is no room."""
    names = [section.title for section in sections if section.title and _without_room(section, shown)]
    return f"--full adds sections: {'; '.join(names)}." if names else ""


def _print(out: Console, section: ScreenSection, shown: dict[ScreenBlock, int]) -> None:
    if section.title:
        heading(out, section.title)
    for block in section.blocks:
        if shown[block]:
            block.show(out, shown[block])
    if missing := _missing(section, shown):
        out.print(missing, style="dim")


def _missing(section: ScreenSection, shown: dict[ScreenBlock, int]) -> str:
    """What --full adds to a section."""
    adds = list(dict.fromkeys(block.adds for block in section.blocks if shown[block] < block.rows and block.adds))
    return f"--full adds {', '.join(adds)}." if adds else ""


class _Fit:
    """How many rows of each block a first screen has room for; measured as it will be printed."""

    def __init__(self, sections: Sequence[ScreenSection], shown: dict[ScreenBlock, int], width: int) -> None:
        self._sections, self._shown, self._width = sections, shown, width
        self._known: dict[tuple[ScreenBlock, int] | str, int] = {}

    def rows(self) -> dict[ScreenBlock, int]:
        """Row by row, the least important and longest first; what room is left is filled the other way round."""
        shown = self._shown
        while self._height() > LINES and self._cut():
            pass
        for block in sorted(shown, key=lambda block: block.priority):
            while shown[block] < block.rows and (block.explains is None or shown[block.explains]):
                shown[block] += 1
                if self._height() > LINES:
                    shown[block] -= 1
                    break
        return shown

    def _cut(self) -> bool:
        """One row less; False where no block can do with less."""
        spare = [block for block, rows in self._shown.items() if rows > block.least]
        if spare:  # of blocks that are as long, the last makes room first
            self._shown[max(reversed(spare), key=lambda block: (block.priority, self._shown[block]))] -= 1
        return bool(spare)

    def _height(self) -> int:
        """The lines of all; no more than are known where these are too many: what is printed to be measured was half of
        a screen's time.
        """
        at_least = sum(self._known.get(block, block[1]) for block in self._shown.items())  # a row is a line or more
        if at_least > LINES:
            return at_least
        closing = _closing(self._sections, self._shown)
        shown = [section for section in self._sections if not _without_room(section, self._shown)]
        return sum(map(self._lines, shown)) + (1 + self._wrapped(closing) if closing else 0)

    def _lines(self, section: ScreenSection) -> int:
        title = 1 + self._wrapped(section.title) if section.title else 0
        missing = _missing(section, self._shown)
        blocks = sum(self._block(block) for block in section.blocks if self._shown[block])
        return title + blocks + (self._wrapped(missing) if missing else 0)

    def _wrapped(self, text: str) -> int:
        return self._printed(text, lambda out: out.print(text))

    def _block(self, block: ScreenBlock) -> int:
        rows = self._shown[block]
        return self._printed((block, rows), lambda out: block.show(out, rows))

    def _printed(self, what: tuple[ScreenBlock, int] | str, show: Callable[[Console], None]) -> int:
        """How many lines it takes, printed once."""
        if what not in self._known:
            out = text_console(self._width)
            show(out)
            assert isinstance(out.file, io.StringIO)
            self._known[what] = out.file.getvalue().count("\n")
        return self._known[what]
