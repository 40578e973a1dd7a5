"""How a refusal looks: what, where, and the cure, on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from allocator.display.console import console
from allocator.errors import AllocatorError, BadInput, BadMandate, Breach, Infeasible

SHOWN = 40
"""Entries printed one by one; `--json` has every breach."""
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
        return
    out.print(Text(str(error), style="bold red"))


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


def _listed(items: Sequence[str]) -> str:
    """`2, 3, 4 and 2398 more`."""
    if len(items) == 1:
        return items[0]
    if len(items) <= NAMED:
        return f"{', '.join(items[:-1])} and {items[-1]}"
    return f"{', '.join(items[:NAMED])} and {len(items) - NAMED} more"
