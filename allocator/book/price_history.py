"""From a price history to the returns that a covariance is estimated from: cut-off, window, blanks, late listings.

Nothing is filled. What is left out is left out by a rule that `[risk]` names, and `words` says how much.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from allocator.book.checks.draft import Draft
from allocator.book.doubts.prices import row_gaps
from allocator.errors import BadInput, Breach
from allocator.settings.settings import Settings
from allocator.types import Matrix

FEWEST_ROWS = 20
"""Below this a covariance is noise."""
_APART = 1.25
"""Daily rows are 252 to 262 a year, 365 with weekends, weekly ones 52: further apart than this they are others."""


@dataclass(frozen=True, eq=False)
class ReturnHistory:
    """Simple returns per row, shape (T, names with a full history); `fully_listed` (N,) says which names those are."""

    returns: Matrix
    fully_listed: NDArray[np.bool_]
    words: str


def historical_returns(settings: Settings, history: pd.DataFrame) -> ReturnHistory:
    """The returns inside the window that `[risk]` states, counted back from as_of.

    Raises:
        BadInput: too few rows, blanks or late listings where the rule is to refuse them; all at once.
    """
    risk = settings.risk
    rows = int(risk.window_rows or 0)
    past = np.asarray(history.index <= pd.Timestamp(settings.book.as_of))
    until = _Prices(pd.DatetimeIndex(history.index), history.columns, history.to_numpy(dtype=float)).at(past)
    breaches = []
    if len(until.days) < rows + 1:
        told = f"{rows} returns need {rows + 1} prices up to {settings.book.as_of}; there are {len(until.days)}"
        breaches.append(_breach("risk.window_rows", told, "shorten the window or lengthen the history"))
    begin = max(len(until.days) - rows - 1, 0)  # one more price than returns
    notes = [f"{len(history) - len(until.days)} later rows cut"] if len(history) > len(until.days) else []

    window, late, of_listings, told_of_listings = _listed(settings, until, begin)
    kept, of_blanks, told_of_blanks = _without_blanks(settings, window)
    breaches += of_listings + of_blanks
    notes += told_of_listings + told_of_blanks
    count = len(kept.days) - 1
    if not breaches and count < FEWEST_ROWS:
        breaches.append(_breach("risk.window_rows", f"only {count} returns are left", "at least 20 are needed"))
    if not breaches and not len(kept.names):
        breaches.append(_breach("risk.source", "no instrument has a full history", 'set risk.source = "exposures"'))
    if not breaches:
        breaches += spacing_breach(kept.days, float(risk.periods_per_year or 0.0), "prices.csv")
    if breaches:
        raise BadInput(breaches)
    words = f"{count} returns to {kept.days[-1]:%Y-%m-%d}" + "".join(f", {note}" for note in notes)
    prices = np.asfortranarray(kept.values)  # each name's side by side, as pandas has them: sums have an order
    return ReturnHistory(prices[1:] / prices[:-1] - 1, ~late, words)


@dataclass(frozen=True, eq=False)
class _Prices:
    """`values` (T, n), blanks as NaN, of (n,) `names` on (T,) `days`."""

    days: pd.DatetimeIndex
    names: pd.Index
    values: Matrix

    def at(self, rows: slice | NDArray[np.bool_]) -> _Prices:
        """Some of the rows."""
        return _Prices(self.days[rows], self.names, self.values[rows])


def spacing_breach(days: pd.DatetimeIndex, periods_per_year: float, table: str) -> Iterator[Breach]:
    """What rows of these days cannot be where so many are a year: annualised, their risk would be another's."""
    if not days.is_monotonic_increasing:
        yield Breach.of(table, "rows are not in the order of their dates", "sort them: sort_index()", column="date")
    elif len(days) > FEWEST_ROWS and days[-1] > days[0]:
        gaps, long = row_gaps(days)
        a_year = 365.25 / float(np.where(long, np.median(gaps), gaps).mean())  # a gap is doubted, or is another fold
        if not 1 / _APART < a_year / periods_per_year < _APART:
            rule = f"there are about {a_year:.0f} rows a year by their dates, and risk.periods_per_year says "
            cure = "correct risk.periods_per_year, or give rows that are so many a year"
            yield Breach.of(table, f"{rule}{periods_per_year:g}", cure, column="date")


def _listed(
    settings: Settings, until: _Prices, begin: int
) -> tuple[_Prices, NDArray[np.bool_], list[Breach], list[str]]:
    """The window from row `begin` on by the rule for late listings, of names that are not late; which are; errors and
    notes.
    """
    rule, window = settings.risk.late_listings, until.at(slice(begin, None))
    there = ~np.isnan(window.values)
    never: NDArray[np.bool_] = np.asarray(~there.any(axis=0))
    first = there.argmax(axis=0) if len(there) else np.zeros(len(never), dtype=np.int64)
    if first.any():  # blank on one day is not late
        first[~np.isnan(until.values[: begin + 1]).all(axis=0)] = 0
    late = never | (first > 0)
    early = _Prices(window.days, window.names[~late], window.values[:, ~late]) if late.any() else window
    if not late.any() or rule == "beta":
        return early, late, [], []
    names = list(map(str, window.names))
    if rule == "refuse":
        cure = 'shorten risk.window_rows, or set risk.late_listings = "shorten_window" or "beta"'
        days = ["as_of" if never[i] else f"{window.days[first[i]]:%Y-%m-%d}" for i in np.flatnonzero(late)]
        told = zip(np.flatnonzero(late), days, strict=True)
        return early, late, [_breach(names[i], f"has no price before {day}", cure) for i, day in told], []
    if never.any():
        cure = 'set risk.late_listings = "beta"'
        told_of = [_breach(names[i], "has no price at all before as_of", cure) for i in np.flatnonzero(never)]
        return early, late, told_of, []
    note = f"window starts {window.days[first.max()]:%Y-%m-%d} with the last listing"
    return window.at(slice(int(first.max()), None)), np.zeros_like(late), [], [note]


def _without_blanks(settings: Settings, kept: _Prices) -> tuple[_Prices, list[Breach], list[str]]:
    """The prices by the rule for blanks, errors and notes."""
    blank = np.isnan(kept.values)
    some = bool(blank.any())
    if some and settings.risk.blanks == "refuse":
        names = map(str, kept.names)
        return kept, [_blank(one, kept.days[no]) for one, no in zip(names, blank.T, strict=True) if no.any()], []
    breaches = list(_stale(settings, kept, ~blank))
    if not some:
        return kept, breaches, []
    without = np.asarray(blank.any(axis=1))
    return kept.at(~without), breaches, [f"{int(without.sum())} rows with blanks left out"]


def _blank(name: str, days: pd.Index) -> Breach:
    more = len(days) - 1
    rest = f" and {more} more day{'s' if more > 1 else ''}" if more else ""
    cure = 'correct it, or set risk.blanks = "drop_rows" to leave out those days'
    return _breach(name, f"is blank on {days[0]:%Y-%m-%d}{rest}", cure)


def _stale(settings: Settings, prices: _Prices, there: NDArray[np.bool_]) -> Iterator[Breach]:
    """A history that ends long before as_of, one name's or all of it, or that does once rows with blanks are out."""
    today, days = settings.book.as_of, settings.risk.max_age_days
    cure = f"bring it up to date, or raise risk.max_age_days above {days}"
    dates = prices.days
    if not len(dates):
        return

    def told(date: pd.Timestamp) -> str:
        return f"{date:%Y-%m-%d}, {(today - date.date()).days} days before as_of = {today}"

    oldest = pd.Timestamp(today - dt.timedelta(days=days))  # a Timestamp of pandas 2 ends in 2262
    if dates[-1] < oldest:
        yield _breach("date", f"the last row is of {told(dates[-1])}", cure)
        return
    if there[-1].all():
        return
    last = dates[len(dates) - 1 - there[::-1].argmax(axis=0)]
    late = np.flatnonzero(there.any(axis=0) & np.asarray(last < oldest)).tolist()
    yield from (_breach(str(prices.names[i]), f"has its last price on {told(last[i])}", cure) for i in late)
    whole = dates[np.flatnonzero(there.all(axis=1))]
    if not late and len(whole) and whole[-1] < oldest:
        yield _breach("date", f"the last row without a blank is of {told(whole[-1])}", cure)


def _breach(column: str, rule: str, cure: str) -> Breach:
    return Breach.of("prices.csv", rule, cure, column=column)


def check_history(draft: Draft) -> Iterator[Breach]:
    """What `historical_returns` refuses, where prices.csv has a column for everyone and risk comes from it."""
    if draft.settings.risk.source != "prices" or "exposures" not in draft.tables:
        return
    prices, names = prices_by_day(draft.tables["prices"]), list(draft.risky_names)
    if (holdings := draft.tables.get("holdings")) is not None:
        traded = {*holdings.loc[(holdings["price"] > 0) | (holdings["quantity"] > 0), "instrument"]}
        names = [name for name in names if name in traded]
    if names and set(names) <= set(prices):
        try:
            historical_returns(draft.settings, prices[names])
        except BadInput as error:
            yield from error.breaches


def is_long(prices: pd.DataFrame) -> bool:
    """Whether a table of prices has one row a day and name, and not one a day."""
    return set(prices.columns) == {"date", "instrument", "price"}


def prices_by_day(prices: pd.DataFrame) -> pd.DataFrame:
    """Dates × names in date order, of a table that is long or wide."""
    wide = prices.set_index("date")
    if is_long(prices):
        wide = prices.pivot(index="date", columns="instrument", values="price")
    return wide.sort_index().astype(np.float64)
