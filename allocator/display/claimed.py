"""How checked claims look: each claim, what it states, what the figures give, and the verdict with its reason."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from allocator.display.console import console
from allocator.outlook.claims import FAILS, HOLDS, IMPLIES, IN_PART, CheckedClaim

_SHOWN = {
    HOLDS: ("hold", "green"),
    IN_PART: ("hold on a condition", "yellow"),
    FAILS: ("do not hold", "red"),
    IMPLIES: ("state no figure", "cyan"),
}
_INDENT = "   "


def show_claims(name: str, checked: Sequence[CheckedClaim]) -> None:
    """Print every claim with its verdict."""
    out = console()
    count = Counter(one.verdict for one in checked)
    told = ", ".join(f"{count[verdict]} {words}" for verdict, (words, _) in _SHOWN.items() if count[verdict])
    out.print(textwrap.fill(f"{name} · {len(checked)} checks: {told}", out.width), style="bold")
    for one in checked:
        out.print(f"\n{textwrap.fill(f'“{one.claim}”', out.width)}")
        for text, style in _lines(one):
            out.print(textwrap.fill(text, out.width, initial_indent=_INDENT, subsequent_indent=_INDENT), style=style)


def _lines(one: CheckedClaim) -> list[tuple[str, str]]:
    """What is said under a claim, and in which colour."""
    colour = _SHOWN[one.verdict][1]
    given = f"{interval(*one.found)} {one.formula.unit}"
    if one.verdict == IMPLIES:
        return [(f"implies {given}", colour), *([(one.remark, "")] if one.remark else [])]
    return [(f"states {interval(one.low, one.high)}, the figures give {given}", ""), (one.sentence, colour)]


def interval(low: float | None, high: float | None) -> str:
    """An interval as people read it, at least one side of it being bounded."""
    if low is None or high is None:
        return f"at most {figure(high)}" if high is not None else f"at least {figure(low or 0.0)}"
    first, last = figure(low), figure(high)
    return first if first == last else f"{first} to {last}"


def figure(value: float) -> str:
    """Three digits that tell, none after the point from a hundred on; less where less says it all."""
    size = abs(value)
    text = f"{value:,.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"
    return exact if size < 1000 and len(exact := f"{value:.9g}") < len(text) else text
