"""`allocator check BOOK`: hold a book to its contracts, without solving anything."""

from __future__ import annotations

import datetime as dt
from math import isfinite
from typing import Any

import click

from allocator.commands.answer import answers, book_options


@click.command()
@book_options
@answers
def check(
    book: str, account: str | None, overrides: tuple[str, ...], as_of: dt.date | None, *, as_json: bool
) -> dict[str, Any]:
    """Check every table, scenario card and rule of BOOK, and say which rules its holdings break today.

    All breaches are shown at once, each with its file, row and likely cure.

    \b
    Example:
      allocator check data/listed
    """
    from allocator.mandate.mandate import untraded
    from allocator.mandate.prechecks import refuse_hopeless
    from allocator.mandate.wanted import mandate_of
    from allocator.outlook.carded import load_with_cards
    from allocator.outlook.outlook import outlook_of

    loaded, _ = load_with_cards(book, account=account, overrides=overrides, as_of=as_of)
    outlook = outlook_of(loaded)
    mandate = mandate_of(loaded, outlook)
    refuse_hopeless(loaded, outlook)
    readings = mandate.readings(untraded(loaded), outlook)
    if not as_json:
        from allocator.display.checked import show_check

        show_check(loaded, outlook, readings)
    return {
        "format": "allocator.check/1",
        "book": {
            "name": loaded.settings.book.name,
            "account": loaded.account,
            "as_of": loaded.settings.book.as_of.isoformat(),
            "currency": loaded.settings.book.currency,
            "value": round(loaded.value, 2),
        },
        "instruments": len(loaded.instruments),
        "scenarios": {name: float(p) for name, p in zip(outlook.scenarios, outlook.probabilities, strict=True)},
        "risk_source": outlook.risk.source,
        "rules": [
            {
                "rule": reading.label,
                "measured_today": round(reading.measured, 8) if isfinite(reading.measured) else None,
                "limit": reading.limit,
                "kind": "at most" if reading.at_most else "at least",
                "holds_today": reading.excess <= 1e-9,
            }
            for reading in readings
        ],
    }
