"""Replay on the screen: the worst window of each length for each portfolio, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from allocator.display.console import format_percent, table
from allocator.display.stress_screen import ESSENTIAL, LEGEND, REST, ScreenBlock, ScreenSection, text_block
from allocator.stress_testing.outcomes import PROPOSED
from allocator.stress_testing.replay import HistoricalReplay, LosingPosition, ReplayWindow

_NARROW = 72
_LEGEND = (
    "Holdings are kept from the beginning of a window to its end; cash does not change. Largest losses: instruments, "
    "and what of the account each loses."
)


def replay_section(found: HistoricalReplay) -> ScreenSection:
    """The worst windows, the proposed portfolio's first."""
    if found.why:
        return ScreenSection(f"Replay: not available, as {found.why}.")
    windows = sorted(found.windows, key=lambda one: one.portfolio != PROPOSED)
    notes = [f"{note[0].upper()}{note[1:]}." for note in found.notes]
    return ScreenSection(
        "Replay: the worst windows of the price history",
        (
            ScreenBlock(lambda out, rows: _table(out, windows[:rows]), "all windows", ESSENTIAL, len(windows)),
            *(text_block(note, "notes on the history", REST) for note in notes),
            text_block(_LEGEND, "legend", LEGEND),
        ),
    )


def replay_summary(found: HistoricalReplay) -> Iterator[str]:
    """The window with the largest loss of the proposed portfolio."""
    own = [one for one in found.windows if one.portfolio == PROPOSED]
    if own:
        worst = max(own, key=lambda one: one.loss)
        yield (
            f"The worst window of the price history, {worst.rows} rows to {worst.end}, returns "
            f"{format_percent(-worst.loss)} on the proposed portfolio."
        )


def _table(out: Console, windows: list[ReplayWindow]) -> None:
    wide = out.width >= _NARROW
    dates = ("from", "to") if wide else ("from",)
    made = table("rows", "portfolio", "loss", *dates, "largest losses", right=("rows", "loss", *dates))
    for one in windows:
        days = (one.start, one.end) if wide else (one.start,)
        made.add_row(str(one.rows), one.portfolio, format_percent(one.loss), *days, ", ".join(map(_loser, one.losers)))
    out.print(made)


def _loser(one: LosingPosition) -> str:
    return f"{one.instrument}{' (by beta)' if one.by_beta else ''} {format_percent(one.lost)}"
