"""Scenario returns from another package's model, held to the contract of scenario_returns.csv.

A plugin is `make(book, parameters)` and gives a DataFrame as that table has it: instruments and cash down, scenarios
across, simple returns over the horizon. It is aligned by label, never by position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace

import pandas as pd

from allocator.book.book import Book, lent
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.plugins import Plugin, called, loaded, refused
from allocator.tables import hold
from allocator.tables.files import from_frame


def plugged_returns(book: Book) -> pd.DataFrame | None:
    """(N + 1, K) returns of instruments and, last, cash; None where the book names no model of another package.

    Raises:
        BadInput: the plugin is missing or fails, or what it gives is not of the contract; all breaches at once.
    """
    for name, parameters in book.settings.plugins.models.items():
        plugin, make = loaded("models", name, "book.toml", f"plugins.models.{name}")
        made, again = (_held(plugin, book, called(plugin, make, lent(book), deepcopy(parameters))) for _ in range(2))
        if not made.equals(again):  # and so would the plan be: the same inputs give the same plan
            cure = "let it draw its random numbers from a seed among its parameters"
            raise BadInput([refused(plugin, "gave two answers to one question", cure)])
        return made
    return None


def _held(plugin: Plugin, book: Book, made: object) -> pd.DataFrame:
    """The frame in the book's order, once it is of its contract."""
    if not isinstance(made, pd.DataFrame):
        cure = "a table as of scenario_returns.csv is wanted"
        raise BadInput([refused(plugin, f"gives a {type(made).__name__}, not a DataFrame", cure)])
    named = made if "instrument" in made else made.rename_axis(index="instrument")
    raw = from_frame(str(plugin), named)
    frame, found = hold("scenario_returns", str(plugin), raw.frame, raw.rows)
    everyone = [*book.instruments, book.cash_instrument]
    if not found:
        found = [
            *_strangers(plugin, "instrument", list(frame["instrument"]), everyone),
            *_strangers(
                plugin, "scenario", [str(one) for one in frame if one not in ("instrument", "source")], book.scenarios
            ),
        ]
    if found:
        raise BadInput(replace(one, table=plugin.package) if one.table == str(plugin) else one for one in found)
    return frame.set_index("instrument").loc[everyone, list(book.scenarios)]


def _strangers(plugin: Plugin, what: str, given: Sequence[str], wanted: Sequence[str]) -> Iterator[Breach]:
    """Labels that mean nothing here, and those that are missing: neither is dropped or filled in."""
    for name in given:
        if name not in wanted:
            yield refused(plugin, f"knows a{'n' if what[0] == 'i' else ''} {what} that the book has not",
                          did_you_mean(name, wanted), name)  # fmt: skip
    for name in wanted:
        if name not in given:
            yield refused(plugin, f"gives no returns for the {what}", "have it make them all", name)
