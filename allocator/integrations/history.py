"""A peer's table of returns beside a book: the history that risk is estimated from, and what such a table cannot be."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.integrations.translated import Places, TranslationWarning, refuse_prices
from allocator.outlook.outlook import Outlook, outlook_of
from allocator.outlook.risk_model import estimated, spacing
from allocator.types import Matrix


def with_history(book: Book, places: Places, returns: Matrix, days: Any, *, peer: str) -> Outlook:
    """The book's outlook; where its risk is that of prices, estimated from the last rows of (T, n) returns instead.

    `days` (T,) are the index of the rows, read where it holds dates.
    """
    risk = book.settings.risk
    if risk.source != "prices":
        return outlook_of(book)
    rows, needed = len(returns), int(risk.window_rows or 0)
    table = f"returns from {peer}"
    found = [
        Breach(table, None, name, None, "has no history here, and risk is estimated from it", "add its column")
        for name in places.absent
    ]
    if rows < needed:
        rule, cure = f"risk.window_rows = {needed} wants more rows than {rows}", "lengthen them or shorten the window"
        found.append(Breach(table, None, None, None, rule, cure))
    if isinstance(days, pd.PeriodIndex):
        days = days.to_timestamp()
    if isinstance(days, pd.DatetimeIndex):
        found += spacing(days, float(risk.periods_per_year or 0.0), table)
    if found:
        raise BadInput(found)
    order = [places.at.index(i) for i in range(places.instruments)]
    per_row = estimated(returns[-needed:][:, order], risk, f"{needed} returns from {peer}")
    return replace(outlook_of(book), risk=per_row.over(float(risk.periods_per_year or 0.0)).over(book.settings.years))


def last_day(X: Any) -> pd.Timestamp | None:
    """The day of the last row of a table, where its index says it."""
    if not isinstance(X, pd.DataFrame) or not len(X):
        return None
    last = X.index[-1]
    if isinstance(last, pd.Period):
        return last.end_time.normalize()
    return pd.Timestamp(last) if isinstance(last, dt.date) else None


def warn_of_hindsight(book: Book, day: Any) -> None:
    """A book of today that is asked in the past, on `day`, knows what was not known then; None says no day."""
    if day is None:
        return
    asked, today = pd.Timestamp(day).tz_localize(None), pd.Timestamp(book.settings.book.as_of)
    if (today - asked).days > book.settings.risk.max_age_days:
        told = f"it is asked on {asked:%Y-%m-%d}, and the book speaks on {today:%Y-%m-%d}"
        warnings.warn(f"{told}: what it believes was not known then", TranslationWarning, stacklevel=5)


def warn_of_prices(returns: Matrix, names: Sequence[str], *, peer: str) -> None:
    """Rows of returns are wanted; a peer's own optimizers take prices in silence."""
    try:
        refuse_prices(returns, names, peer=peer)
    except BadInput as error:
        warnings.warn(str(error), TranslationWarning, stacklevel=5)
