"""The price moves that probabilities are read from: typed or of prices.csv, and the names that tell nothing.

A name without loadings, or worth the same in every scenario, would be read as if the model knew its price: typed it is
refused, of prices.csv it is left out and named.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.book.checks.question import LOADINGS
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.outlook.model import Modelled, with_loadings

_ALIKE = 1e-9
"""Values that differ by less of themselves, scenario by scenario, are the same."""
_NO_LOADINGS = "has no loadings, so the model says nothing of its price"
_CONSTANT = "is worth the same in every scenario, so its price says nothing of them"


@dataclass(frozen=True)
class NotRead:
    """A name whose price move is not read, and why."""

    instrument: str
    reason: str


@dataclass(frozen=True)
class Moves:
    """Simple returns since the market's date, by instrument, and the names whose moves are not read."""

    returns: Mapping[str, float]
    not_read: tuple[NotRead, ...]


def moves_of(
    book: Book, model: Modelled, since: dt.date, typed: Mapping[str, float] | None, without: Collection[str] = ()
) -> Moves:
    """The moves since the market's date that can be read: the `typed` ones, else those of prices.csv.

    Raises:
        BadInput: a name is unknown or is cash, a move is none, a typed one tells nothing, or there is no move to read.
    """
    silent = _silent(book, model)
    if typed is not None:
        breaches = [*_misnamed("--without", book, without), *_mistyped(book, typed, without, silent)]
        skipped = [NotRead(name, "left out by --without") for name in dict.fromkeys(without)]
        found = {name: move for name, move in typed.items() if name not in without}
    else:
        found, blank = _of_prices(book, since)
        silent |= blank
        skipped = [
            NotRead(name, "left out by --without" if name in without else silent[name])
            for name in book.instruments
            if name in without or name in silent
        ]
        found = {name: move for name, move in found.items() if name not in without and name not in silent}
        breaches = [*_misnamed("--without", book, without), *_misprinted(found)]
    if not found and not breaches:
        rule = "no price move is given" if not skipped else "no price move is left to read"
        told = "; ".join(f"{one.instrument} {one.reason}" for one in skipped[:3])
        cure = "write for example --move NVDA=-0.12" + (f" ({told})" if told else "")
        breaches.append(Breach("--move" if typed is not None else "prices.csv", None, None, None, rule, cure))
    if breaches:
        raise BadInput(breaches)
    return Moves(found, tuple(skipped))


def _silent(book: Book, model: Modelled) -> dict[str, str]:
    """Names of which the model has nothing to say, with the reason."""
    reasons: dict[str, str] = {}
    loaded = with_loadings(book)
    least, most = model.values.min(axis=0), model.values.max(axis=0)
    for i, name in enumerate(book.instruments):
        total = sum(float(getattr(model.loadings, loading)[i]) for loading in LOADINGS)
        if not loaded[i]:
            reasons[name] = _NO_LOADINGS
        elif abs(total - 1) > 1e-6:  # the book holds only those to it that the model makes returns of
            reasons[name] = f"has loadings that sum to {total:.6g}, not 1, so the model says nothing of its price"
        elif most[i] - least[i] <= _ALIKE * most[i]:
            reasons[name] = _CONSTANT
    return reasons


def _misnamed(where: str, book: Book, names: Iterable[str]) -> Iterator[Breach]:
    for name in names:
        if name == book.cash_instrument:
            yield Breach(where, None, None, name, "is cash and has no price move", "leave it out")
        elif name not in book.instruments:
            rule = "no such instrument in exposures.csv"
            yield Breach(where, None, None, name, rule, did_you_mean(name, book.instruments))


def _mistyped(
    book: Book, typed: Mapping[str, float], without: Collection[str], silent: Mapping[str, str]
) -> Iterator[Breach]:
    yield from _misnamed("--move", book, typed)
    for name, move in typed.items():
        if not -1 < move <= 10:
            yield Breach("--move", None, name, f"{move:g}", "must be above -1 and at most 10", "write -12 % as -0.12")
        elif name in silent and name not in without:
            cure = "leave it out" if silent[name] == _CONSTANT else "correct them in exposures.csv, or leave it out"
            yield Breach("--move", None, name, f"{move:g}", silent[name], cure)


def _misprinted(found: Mapping[str, float]) -> Iterator[Breach]:
    for name, move in found.items():
        if not -1 < move <= 10:
            rule, cure = "moved by more than tenfold", f"adjust its prices for splits, or go on with --without {name}"
            yield Breach("prices.csv", None, name, f"{move:+.1%}", rule, cure)


def _of_prices(book: Book, since: dt.date) -> tuple[dict[str, float], dict[str, str]]:
    """Simple returns by instrument from the price history, and the names without a price on either day."""
    then, now = _rows(book, since)
    blank = {str(name): f"has no price on {row.name:%Y-%m-%d}" for row in (now, then) for name in row.index[row.isna()]}
    change = now / then - 1
    return {str(name): float(move) for name, move in change.items() if str(name) not in blank}, blank


def _rows(book: Book, since: dt.date) -> tuple[pd.Series[float], pd.Series[float]]:
    """The last prices on or before the market's date, and the last after it on or before as_of."""
    history, until = book.price_history, book.settings.book.as_of
    typing = "give moves: --move NVDA=-0.12"
    if since == until:
        rule, cure = "is as_of, so that prices have had no time to move", f"state an earlier one, or {typing}"
        raise BadInput([Breach("book.toml", None, "market.date", str(since), rule, cure)])
    if history is None:
        rule, cure = "there are no prices to read moves from", f"add prices.csv, or {typing}"
        raise BadInput([Breach("prices.csv", None, None, None, rule, cure)])
    days = history.index
    then, now = history.loc[days <= np.datetime64(since)], history.loc[days <= np.datetime64(until)]
    if then.empty:
        rule, cure = f"has no row on or before {since}", "lengthen the history, or move [market] date"
        raise BadInput([Breach("prices.csv", None, "date", None, rule, cure)])
    if len(now) == len(then):
        rule = f"has no row after [market] date {since} up to as_of {until}, so that no time has passed"
        raise BadInput([Breach("prices.csv", None, "date", None, rule, f"lengthen the history, or {typing}")])
    return then.iloc[-1], now.iloc[-1]
