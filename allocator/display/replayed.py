"""How replay looks: the worst window of each length for each portfolio, and what was left out."""

from __future__ import annotations

from allocator.display.console import console, heading, percents, table
from allocator.stress_testing.replay import Loser, Replay

_NARROW = 72


def show_replay(found: Replay) -> None:
    """Print the worst windows."""
    out = console()
    heading(out, "The worst of the book's own history")
    if found.why:
        out.print(f"None: {found.why}.")
        return
    wide = out.width >= _NARROW
    dates = ("from", "to") if wide else ("from",)
    made = table("rows", "portfolio", "loss", *dates, "lost most", right=("rows", "loss", *dates))
    for one in found.windows:
        days = (one.start, one.end) if wide else (one.start,)
        made.add_row(str(one.rows), one.portfolio, percents(one.loss), *days, ", ".join(map(_loser, one.losers)))
    out.print(made)
    out.print("Weights drift through a window and cash stays; lost most: the name, and its part of the account.")
    for note in found.notes:
        out.print(f"{note[0].upper()}{note[1:]}.")


def _loser(one: Loser) -> str:
    return f"{one.instrument}{' (by beta)' if one.by_beta else ''} {percents(one.lost)}"
