"""How the worth of waiting looks: a row a measure, a column an announcement share, money at the book's own."""

from __future__ import annotations

from allocator.display.console import amount, console, heading, table
from allocator.multistage.value_of_waiting import MEASURES, Waited


def show_waited(found: Waited) -> None:
    """Print what waiting is worth."""
    out, settings = console(), found.book.settings.book
    out.print(f"{settings.name} · account {found.book.account} · {settings.as_of}", style="bold")
    heading(out, "What waiting is worth, in bps of the account, by announcement share")
    columns = [f"{share:g}" for share in found.shares]
    money = f"{settings.currency} at {found.stated:g}"
    made = table("", *columns, money, right=(*columns, money))
    for name, words in MEASURES.items():
        bps = [getattr(one, name) for one in found.worth]
        own = getattr(found.at_stated(), name)
        shown = ["none" if one is None else f"{one:.0f}" for one in bps]
        # a tenth of a basis point is what is stable from machine to machine, and so is the money that it makes
        made.add_row(words, *shown, "" if own is None else amount(round(own, 1) / 1e4 * found.book.value))
    out.print(made)
    out.print(
        "Announcement share: the part of a re-pricing that comes with the news, before anyone can trade. In sure "
        "return to the horizon. EVPI and VSS under the belief as it is; EVPI is mostly the spread of the scenarios."
    )
    told: dict[tuple[str, str], list[str]] = {}
    for share, one in zip(found.shares, found.worth, strict=True):
        for reason in one.missing.items():
            told.setdefault(reason, []).append(f"{share:g}")
    for (name, why), shares in told.items():
        out.print(f"None at {', '.join(shares)}: there is no policy '{name.replace('_', ' ')}': {why}.")
