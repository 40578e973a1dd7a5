"""Scenario returns as something to read: whose they are, and which driver makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from allocator.book.book import Book
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.outlook.efficiency import DRIVERS
from allocator.outlook.model import modelled
from allocator.outlook.outlook import Outlook, outlook_of
from allocator.types import Matrix

COLUMNS = (*DRIVERS, "required return and anchor")
"""What a modelled return is split into; the parts add up to it."""


@dataclass(frozen=True, eq=False)
class Account:
    """Scenario returns of a book: `origins` says model, table or `plugin NAME` for each instrument.

    With an `instrument`, `drivers` (K, len(COLUMNS)) add up to its return in each scenario.
    """

    outlook: Outlook
    instruments: tuple[str, ...]
    origins: tuple[str, ...]
    instrument: str | None
    drivers: Matrix | None

    def document(self) -> dict[str, Any]:
        """The account as plain data; its JSON Schema is `schemas/returns.schema.json`."""
        scenarios, outlook = self.outlook.scenarios, self.outlook
        document: dict[str, Any] = {
            "format": "allocator.returns/1",
            "scenarios": dict(zip(scenarios, map(float, outlook.probabilities), strict=True)),
            "instruments": [
                {
                    "instrument": name,
                    "origin": self.origins[i],
                    "expected": float(outlook.probabilities @ outlook.returns[:, i]),
                    "returns": dict(zip(scenarios, map(float, outlook.returns[:, i]), strict=True)),
                }
                for i, name in enumerate(self.instruments)
            ],
        }
        if self.drivers is not None:
            document["drivers"] = {
                "instrument": self.instrument,
                "scenarios": {
                    name: dict(zip(COLUMNS, map(float, self.drivers[k]), strict=True))
                    for k, name in enumerate(scenarios)
                },
            }
        return document


def account_of(book: Book, instrument: str | None = None) -> Account:
    """The scenario returns of a book, and the drivers of one instrument's.

    Raises:
        BadInput: the instrument is unknown, or its returns are the user's own and have no drivers.
    """
    outlook, model = outlook_of(book), modelled(book)
    given = set(book.scenario_returns.index)
    maker = next((f"plugin {name}" for name in book.settings.plugins.models), "model")
    origins = tuple("table" if name in given else maker for name in book.instruments)
    drivers = None
    if instrument is not None:
        i = _position(book, instrument)
        if model is None or origins[i] == "table":
            rule = "its returns are your own, not the model's"
            cure = "remove its row from scenario_returns.csv to let [model] make them"
            if origins[i] == maker:
                rule, cure = f"its returns are those of {maker}, which tells no drivers", "leave --drivers out"
            raise BadInput([Breach("--drivers", None, None, instrument, rule, cure)])
        drivers = model.drivers(outlook.years)[:, i, :]
    return Account(outlook, book.instruments, origins, instrument, drivers)


def _position(book: Book, instrument: str) -> int:
    """Where an instrument stands in the book's order; cash, which no driver moves, has no place in it."""
    if instrument in book.instruments:
        return book.instruments.index(instrument)
    rule, cure = "no such instrument in exposures.csv", did_you_mean(instrument, book.instruments)
    if instrument == book.cash_instrument:
        rule, cure = "is cash and has no drivers", "name an instrument that is not cash"
    raise BadInput([Breach("--drivers", None, None, instrument, rule, cure)])
