"""A book with the scenario cards beside it, every breach of both at once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadInput, Breach
from allocator.outlook.cards import Observation, cards_beside
from allocator.settings.reading import read_settings
from allocator.settings.settings import Settings

Cards = dict[str, tuple[Observation, ...]]


def load_with_cards(
    folder: str | Path,
    *,
    account: str | None = None,
    overrides: Sequence[str] = (),
    as_of: dt.date | None = None,
) -> tuple[Book, Cards]:
    """Read and check a book and its `scenarios.md`; see `load` for the arguments.

    Raises:
        BadInput: a table, a setting or a card is not of its contract. Cards are held to the scenarios of `book.toml`:
            where it cannot be read, nothing is said of them.
    """
    try:
        book = load(folder, account=account, overrides=overrides, as_of=as_of)
    except BadInput as error:
        raise BadInput([*error.breaches, *_breaches_of_cards(folder, overrides, as_of)]) from None
    return book, _cards(folder, book.settings)


def _cards(folder: str | Path, settings: Settings) -> Cards:
    question = settings.question
    return cards_beside(folder, tuple(settings.scenarios), None if question is None else tuple(question.labs))


def _breaches_of_cards(folder: str | Path, overrides: Sequence[str], as_of: dt.date | None) -> tuple[Breach, ...]:
    """What is wrong with the cards of a book whose tables cannot be read."""
    try:
        text = (Path(folder) / "book.toml").read_bytes().decode("utf-8-sig")
        settings = read_settings(text, overrides=overrides, as_of=as_of)
    except (OSError, UnicodeDecodeError, BadInput):
        return ()  # the book's own breaches say so
    try:
        _cards(folder, settings)
    except BadInput as error:
        return error.breaches
    return ()
