"""`check(book) -> Check`: everything that can be said of a book without solving anything."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

import pandas as pd

from allocator.book.book import Book
from allocator.mandate.mandate import untraded
from allocator.mandate.prechecks import refuse_hopeless
from allocator.mandate.rules import Reading
from allocator.mandate.wanted import mandate_of
from allocator.outlook.outlook import Outlook, outlook_of

_HOLDS = 1e-9
"""Of a rule's own unit: broken by less is held."""


@dataclass(frozen=True, eq=False)
class Check:
    """A sound book, what it believes, and every rule measured on what it holds today."""

    book: Book
    outlook: Outlook
    readings: tuple[Reading, ...]

    @property
    def broken(self) -> tuple[Reading, ...]:
        """The rules that today's holdings break; a plan mends them."""
        return tuple(reading for reading in self.readings if not reading.excess <= _HOLDS)

    def rules(self) -> pd.DataFrame:
        """One row a rule: `rule`, `measured_today` and `limit` in the rule's unit, `kind`, `holds_today`."""
        return pd.DataFrame(
            map(_row, self.readings), columns=["rule", "measured_today", "limit", "kind", "holds_today"]
        )

    def document(self) -> dict[str, Any]:
        """The check as plain data; its JSON Schema is `schemas/check.schema.json`."""
        settings, outlook = self.book.settings.book, self.outlook
        return {
            "format": "allocator.check/1",
            "book": {
                "name": settings.name,
                "account": self.book.account,
                "as_of": settings.as_of.isoformat(),
                "currency": settings.currency,
                "value": round(self.book.value, 2),
            },
            "instruments": len(self.book.instruments),
            "scenarios": {name: float(p) for name, p in zip(outlook.scenarios, outlook.probabilities, strict=True)},
            "risk_source": outlook.risk.source,
            "rules": [_row(reading) for reading in self.readings],
        }


def check(book: Book) -> Check:
    """Measure every rule of a book on what it holds today; no solver is imported.

    `load` has held tables and settings to their contracts, so what is left is what they mean together.

    Raises:
        BadInput: the price history cannot give a covariance, or a plugin of the book is not sound.
        BadMandate: a rule or a set of probabilities has no meaning.
        Infeasible: arithmetic alone shows that rules cannot hold together; names them and the smallest fix.
    """
    outlook = outlook_of(book)
    mandate = mandate_of(book, outlook)
    refuse_hopeless(book, outlook)
    return Check(book, outlook, tuple(mandate.readings(untraded(book), outlook)))


def _row(reading: Reading) -> dict[str, Any]:
    return {
        "rule": reading.label,
        "measured_today": round(reading.measured, 8) if isfinite(reading.measured) else None,
        "limit": reading.limit,
        "kind": "at most" if reading.at_most else "at least",
        "holds_today": reading.excess <= _HOLDS,
    }
