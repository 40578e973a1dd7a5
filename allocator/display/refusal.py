"""How a refusal looks: what, where, and the cure, on stderr."""

from __future__ import annotations

from rich.text import Text

from allocator.display.console import console
from allocator.errors import AllocatorError, BadInput, BadMandate, Breach, Infeasible

SHOWN = 40
"""Breaches printed one by one; `--json` has them all."""


def show_refusal(error: AllocatorError) -> None:
    """Print an error for people."""
    out = console(err=True)
    if isinstance(error, BadInput | BadMandate):
        count = len(error.breaches)
        out.print(Text(f"{count} breach{'es' if count != 1 else ''}; nothing was written", style="bold red"))
        for breach in error.breaches[:SHOWN]:
            out.print(_line(breach))
        if count > SHOWN:
            out.print(Text(f"… and {count - SHOWN} more; --json lists them all"))
        return
    if isinstance(error, Infeasible):
        out.print(Text(error.message, style="bold red"))
        if error.fixes:
            out.print(Text("smallest fix: " + "\n   or, instead: ".join(error.fixes)))
        return
    out.print(Text(str(error), style="bold red"))


def _line(breach: Breach) -> Text:
    """`holdings.csv:7 price  must be above 0 (got -3)` and the cure on the next line."""
    place = breach.table + (f":{breach.row}" if breach.row is not None else "")
    text = Text.assemble(
        (place, "bold"), " ", (breach.column or "", "cyan"), "  " if breach.column else "", breach.rule
    )
    if breach.value is not None:
        text.append(f" (got {breach.value!r})")
    text.append(f"\n    {breach.cure}", style="green")
    return text
