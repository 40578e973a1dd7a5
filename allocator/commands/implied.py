"""`allocator implied BOOK`: the scenario probabilities that prices imply."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

from allocator.commands.answer import answers, book_options
from allocator.errors import BadInput, Breach


@click.command()
@book_options
@click.option(
    "--move",
    "moves",
    multiple=True,
    metavar="NAME=RETURN",
    help="A price move since [market] date, such as NVDA=-0.12. Repeatable; without it prices.csv is read.",
)
@click.option(
    "--without", multiple=True, metavar="NAME", help="Leave this name's move unread. Repeatable, with either source."
)
@answers
def implied(
    book: str,
    account: str | None,
    overrides: tuple[str, ...],
    as_of: dt.date | None,
    moves: tuple[str, ...],
    without: tuple[str, ...],
    *,
    as_json: bool,
) -> dict[str, Any]:
    """Infer the market's scenario probabilities from price moves.

    Of all that explain the moves, those nearest to what BOOK's signals have made of the market's own since its date.

    \b
    Example:
      allocator implied data/listed --move NVDA=-0.05 --move META=0.02
    """
    from allocator.book.loading import load
    from allocator.outlook.implied_probabilities import implied as infer

    loaded = load(book, account=account, overrides=overrides, as_of=as_of)
    numbers, breaches = _numbers(moves)
    if breaches and not numbers:
        raise BadInput(breaches)
    try:
        found = infer(loaded, numbers if moves else None, without)
    except BadInput as error:
        raise BadInput([*breaches, *error.breaches]) from None
    if breaches:
        raise BadInput(breaches)
    if not as_json:
        from allocator.display.inferred import show_implied

        show_implied(loaded, found)
    return {
        "format": "allocator.implied/1",
        "as_of": loaded.settings.book.as_of.isoformat(),
        "scenarios": [
            {
                "scenario": name,
                "stated": float(found.stated[k]),
                "moved": float(found.moved[k]),
                "implied": float(found.probabilities[k]),
            }
            for k, name in enumerate(found.scenarios)
        ],
        "instruments": [
            {
                "instrument": name,
                "observed": float(found.observed[i]),
                "explained": float(found.explained[i]),
                "residual": float(found.residuals[i]),
            }
            for i, name in enumerate(found.names)
        ],
        "not_read": [{"instrument": one.instrument, "reason": one.reason} for one in found.not_read],
    }


def _numbers(moves: tuple[str, ...]) -> tuple[dict[str, float], list[Breach]]:
    """The moves that can be read, and what is wrong with the others."""
    numbers: dict[str, float] = {}
    breaches = []
    for move in moves:
        name, _, value = (part.strip() for part in move.partition("="))
        try:
            number = float(value)
        except ValueError:
            breaches.append(Breach("--move", None, None, move, "must be NAME=RETURN", "write for example NVDA=-0.12"))
            continue
        if name in numbers:
            breaches.append(Breach("--move", None, name, value, "is given twice", "give one move for each name"))
        numbers.setdefault(name, number)
    return numbers, breaches
