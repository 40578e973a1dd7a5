"""From a price history to the returns that a covariance is estimated from: cut-off, window, blanks, late listings.

Nothing is filled. What is left out is left out by a rule that `[risk]` names, and `words` says how much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.types import Matrix

FEWEST_ROWS = 20
"""Below this a covariance is noise."""
_APART = 1.5
"""Daily rows are 252 to 365 a year, weekly ones 52: further apart than this they are others than is said."""


@dataclass(frozen=True, eq=False)
class History:
    """Simple returns per row, shape (T, names with a full history); `fully_listed` (N,) says which names those are."""

    returns: Matrix
    fully_listed: NDArray[np.bool_]
    words: str


def returns_of(book: Book) -> History:
    """The returns inside the window that `[risk]` states, counted back from as_of.

    Raises:
        BadInput: too few rows, blanks or late listings where the rule is to refuse them; all at once.
    """
    assert book.price_history is not None
    until = book.price_history.loc[book.price_history.index <= pd.Timestamp(book.settings.book.as_of)]
    breaches = list(_too_short(book, until))
    window = until.tail(int(book.settings.risk.window_rows or 0) + 1)  # one more price than returns
    later = len(book.price_history) - len(until)
    notes = [f"{later} later rows cut"] if later else []

    window, late, found, told = _listed(book, window)
    breaches, notes = breaches + found, notes + told
    kept, found, told = _without_blanks(book, window.loc[:, ~late])
    breaches, notes = breaches + found, notes + told
    if not breaches and len(kept) - 1 < FEWEST_ROWS:
        breaches.append(_breach("risk.window_rows", f"only {len(kept) - 1} returns are left", "at least 20 are needed"))
    if not breaches and kept.shape[1] == 0:
        breaches.append(_breach("risk.source", "no instrument has a full history", 'set risk.source = "exposures"'))
    if not breaches:
        breaches += spacing(
            pd.DatetimeIndex(kept.index), float(book.settings.risk.periods_per_year or 0.0), "prices.csv"
        )
    if breaches:
        raise BadInput(breaches)
    words = f"{len(kept) - 1} returns to {kept.index[-1]:%Y-%m-%d}" + "".join(f", {note}" for note in notes)
    prices = kept.to_numpy(dtype=float)
    return History(prices[1:] / prices[:-1] - 1, ~late.to_numpy(dtype=bool), words)


def spacing(days: pd.DatetimeIndex, periods_per_year: float, table: str) -> Iterator[Breach]:
    """What rows of these days cannot be where so many are a year: annualised, their risk would be another's."""
    if not days.is_monotonic_increasing:
        yield Breach(table, None, "date", None, "rows are not in the order of their dates", "sort them: sort_index()")
    elif len(days) > FEWEST_ROWS and (span := (days[-1] - days[0]).days) > 0:
        found = (len(days) - 1) / span * 365.25
        if not 1 / _APART < found / periods_per_year < _APART:
            rule = f"there are about {found:.0f} rows a year by their dates, and risk.periods_per_year says "
            cure = "correct risk.periods_per_year, or give rows that are so many a year"
            yield Breach(table, None, "date", None, f"{rule}{periods_per_year:g}", cure)


def _too_short(book: Book, until: pd.DataFrame) -> Iterator[Breach]:
    rows = int(book.settings.risk.window_rows or 0)
    if len(until) < rows + 1:
        told = f"{rows} returns need {rows + 1} prices up to {book.settings.book.as_of}; there are {len(until)}"
        yield _breach("risk.window_rows", told, "shorten the window or lengthen the history")


def _listed(book: Book, window: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series[bool], list[Breach], list[str]]:
    """The window by the rule for late listings; which names are late in it; breaches and notes."""
    rule = book.settings.risk.late_listings
    there = window.notna()
    first = there.idxmax().where(there.any()) if len(window) else pd.Series(pd.NaT, index=window.columns)
    late = first.isna() | (first > window.index[0]) if len(window) else first.isna()
    if not late.any() or rule == "beta":
        return window, late, [], []
    if rule == "refuse":
        cure = 'shorten risk.window_rows, or set risk.late_listings = "shorten_window" or "beta"'
        found = [
            _breach(str(name), f"has no price before {f'{day:%Y-%m-%d}' if pd.notna(day) else 'as_of'}", cure)
            for name, day in first[late].items()
        ]
        return window, late, found, []
    if first.isna().any():
        cure = 'set risk.late_listings = "beta"'
        never = first.index[first.isna()]
        return window, late, [_breach(str(name), "has no price at all before as_of", cure) for name in never], []
    note = f"window starts {first.max():%Y-%m-%d} with the last listing"
    return window.loc[first.max() :], late & False, [], [note]


def _without_blanks(book: Book, kept: pd.DataFrame) -> tuple[pd.DataFrame, list[Breach], list[str]]:
    """The prices by the rule for blanks, breaches and notes."""
    blank = kept.isna()
    some = bool(blank.to_numpy().any())
    if some and book.settings.risk.blanks == "refuse":
        return kept, [_blank(str(name), kept.index[blank[name]]) for name in kept if blank[name].any()], []
    breaches = list(_stale(book, kept))
    if not some:
        return kept, breaches, []
    return kept.dropna(), breaches, [f"{int(blank.any(axis=1).sum())} rows with blanks left out"]


def _blank(name: str, days: pd.Index) -> Breach:
    more = len(days) - 1
    rest = f" and {more} more day{'s' if more > 1 else ''}" if more else ""
    cure = 'correct it, or set risk.blanks = "drop_rows" to leave out those days'
    return _breach(name, f"is blank on {days[0]:%Y-%m-%d}{rest}", cure)


def _stale(book: Book, prices: pd.DataFrame) -> Iterator[Breach]:
    """A history that ends long before as_of, one name's or all of it, or that does once rows with blanks are out."""
    today, days = book.settings.book.as_of, book.settings.risk.max_age_days
    cure = f"bring it up to date, or raise risk.max_age_days above {days}"
    if not len(prices):
        return

    def told(date: pd.Timestamp) -> str:
        return f"{date:%Y-%m-%d}, {(today - date.date()).days} days before as_of = {today}"

    oldest = pd.Timestamp(today) - pd.Timedelta(days=days)
    if prices.index[-1] < oldest:
        yield _breach("date", f"the last row is of {told(prices.index[-1])}", cure)
        return
    last = {str(name): prices.index[prices[name].notna()].max() for name in prices}
    late = {name: date for name, date in last.items() if date < oldest}
    yield from (_breach(name, f"has its last price on {told(date)}", cure) for name, date in late.items())
    whole = prices.dropna()
    if not late and len(whole) and whole.index[-1] < oldest:
        yield _breach("date", f"the last row without a blank is of {told(whole.index[-1])}", cure)


def _breach(column: str, rule: str, cure: str) -> Breach:
    return Breach("prices.csv", None, column, None, rule, cure)
