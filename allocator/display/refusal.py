"""How a refusal looks: what, where, and the cure, on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from allocator.display.console import console
from allocator.errors import AllocatorError, BadInput, BadMandate, Breach, Infeasible

SHOWN = 40
"""Entries printed one by one; `--json` has every breach."""
CONFLICTS = 8
"""Further conflicts that are shown."""
NAMED = 3
"""Rows and values that an entry of several breaches names."""


def show_refusal(error: AllocatorError) -> None:
    """Print an error for people."""
    out = console(err=True)
    if isinstance(error, BadInput | BadMandate):
        count = len(error.breaches)
        out.print(Text(f"{count} breach{'es' if count != 1 else ''}; nothing was written", style="bold red"))
        entries = _alike(error.breaches)
        for entry in entries[:SHOWN]:
            out.print(_entry(entry))
        if rest := sum(map(len, entries[SHOWN:])):
            out.print(Text(f"… and {rest} more; --json lists them all"))
        return
    if isinstance(error, Infeasible):
        out.print(Text(error.message, style="bold red"))
        if error.fixes:
            out.print(Text("smallest fix: " + "\n   or, instead: ".join(error.fixes)))
            if error.for_fractions:
                out.print("Not every fix was tried on whole lots, which may take a little more.")
        _others(out, error)
        return
    out.print(Text(str(error), style="bold red"))


def _others(out: Console, error: Infeasible) -> None:
    """The conflicts that stay when the first is mended."""
    others = [conflict for conflict in error.conflicts if conflict != error.rules]
    for conflict in others[:CONFLICTS]:
        names = _listed([f"'{name}'" for name in conflict], len(conflict))
        out.print(Text(f"also: {names} cannot hold{' together' if len(conflict) > 1 else ''}"))
    if len(others) > CONFLICTS:
        out.print(Text(f"also: {len(others) - CONFLICTS} more; --json lists them all"))
    if error.cut_short:
        out.print(Text("there may be more: the search was cut short"))


def _alike(breaches: Iterable[Breach]) -> list[list[Breach]]:
    """Breaches that differ in row and value only, together, where the first of them stands."""
    found: dict[tuple[str | None, ...], list[Breach]] = {}
    for breach in breaches:
        found.setdefault((breach.table, breach.column, breach.rule, breach.cure), []).append(breach)
    return list(found.values())


def _entry(alike: Sequence[Breach]) -> Text:
    """`holdings.csv:7 price  must be above 0 (got '-3')` and the cure on the next line; of several, all their rows."""
    first, rows = alike[0], [str(breach.row) for breach in alike if breach.row is not None]
    place = first.table
    if rows:
        place += f":{rows[0]}" if len(rows) == 1 else f": rows {_listed(rows)}"
    text = Text.assemble((place, "bold"), " ", (first.column or "", "cyan"), "  " if first.column else "", first.rule)
    if values := list(dict.fromkeys(repr(breach.value) for breach in alike if breach.value is not None)):
        text.append(f" (got {_listed(values)})")
    text.append(f"\n    {first.cure}", style="green")
    return text


def _listed(items: Sequence[str], most: int = NAMED) -> str:
    """`2, 3, 4 and 2398 more`."""
    if len(items) == 1:
        return items[0]
    if len(items) <= most:
        return f"{', '.join(items[:-1])} and {items[-1]}"
    return f"{', '.join(items[:most])} and {len(items) - most} more"
