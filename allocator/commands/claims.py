"""`allocator claims BOOK`: hold the claims of a text against its own figures."""

from __future__ import annotations

from typing import Any

import click

from allocator.commands.answer import answers


@click.command()
@click.argument("book", metavar="BOOK", type=click.Path())
@answers
def claims(book: str, *, as_json: bool) -> dict[str, Any]:
    """Check every claim of BOOK's claims.csv with the figures of figures.csv.

    Each claim is shown with what it states, what the figures give, and whether it holds.

    \b
    Example:
      allocator claims data/note
    """
    from allocator.outlook.claims import claims_of

    checked = claims_of(book)
    if not as_json:
        from allocator.display.claimed import show_claims

        show_claims(book, checked)
    return {
        "format": "allocator.claims/1",
        "claims": [
            {
                "claim": one.claim,
                "check": one.formula.name,
                "meaning": one.formula.meaning,
                "unit": one.formula.unit,
                "stated": {"low": one.low, "high": one.high},
                "found": {"low": one.found[0], "high": one.found[1]},
                "verdict": one.verdict,
                "sentence": one.sentence,
            }
            for one in checked
        ],
    }
