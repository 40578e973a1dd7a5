"""A book with other values of its settings, or of what it holds: what a peer says in place of the book."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.integrations.translated import Places
from allocator.settings.reading import dotted, idle_keys, settings_from
from allocator.types import Vector


def restated(book: Book, changes: Mapping[tuple[str, str], object]) -> Book:
    """The same book with other values of (section, key) of book.toml, none of which may be a new name.

    Raises:
        BadInput: a value is not of the contract, or nothing would read it.
    """
    if not changes:
        return book
    document = book.settings.model_dump(exclude_unset=True)
    for (section, key), value in changes.items():
        document.setdefault(section, {})[key] = value
    settings = settings_from(document)
    found = [
        Breach("book.toml", None, dotted(*place), f"{changes[place]}", f"has no effect with {reason}", "leave it out")
        for place, _, reason in idle_keys(document)
        if place in changes
    ]
    if found:
        raise BadInput(found)
    return replace(book, settings=settings)


def forbidding(book: Book, places: Places) -> Book:
    """The same book, of whose names that a peer does not know nothing may be left."""
    if not places.absent:
        return book
    return restated(book, {("mandate", "forbidden"): [*book.settings.mandate.forbidden, *places.absent]})


def holding(book: Book, holdings: Vector, cash: float, value: float | None = None) -> Book:
    """The same book where (N,) `holdings` and `cash` are held, in fractions of the account's `value` in money.

    Raises:
        BadInput: the account is worth nothing.
    """
    worth = book.value if value is None else float(value)
    if not 0 < worth < np.inf:
        raise BadInput([Breach("account", None, None, f"{worth:g}", "must be worth something", "stop trading it")])
    return replace(book, quantities=holdings * worth / book.prices, cash=cash * worth)
