"""Every doubt about a book: prices as they are used, levels, rates, a given covariance."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from allocator.book.checks.draft import Draft
from allocator.book.doubts.covariances import covariance_doubts
from allocator.book.doubts.doubt import Doubt, unconfirmed
from allocator.book.doubts.levels import level_doubts
from allocator.book.doubts.prices import PriceTable, price_doubts
from allocator.book.price_history import prices_by_day
from allocator.errors import Breach


def check_doubts(draft: Draft) -> Iterator[Breach]:
    """What is improbable and not confirmed, and what is confirmed and not in doubt.

    Of a table that is not of its contract nothing is known to be needless, nor of any without what they are told by.
    """
    unsound = set(draft.given) - set(draft.tables)
    unknown = set(draft.tables) if unsound & {"exposures", "fx"} else set()
    yield from unconfirmed(_raised(draft), draft.settings.confirm, silent=unsound | unknown)


def _raised(draft: Draft) -> Iterator[Doubt]:
    risk, tables = draft.settings.risk, draft.tables
    yield from level_doubts(draft)
    if "prices" in tables and risk.source == "prices":
        yield from price_doubts(_used_prices(draft), PriceTable(draft.name("prices")))
    if "covariance" in tables and risk.source == "covariance" and _is_square(tables["covariance"]):
        yield from covariance_doubts(draft)


def _is_square(covariance: pd.DataFrame) -> bool:
    return set(covariance.columns) - {"instrument"} == set(covariance["instrument"])


def _used_prices(draft: Draft) -> pd.DataFrame:
    """Dates × names up to as_of, the rows that `[risk]` counts back from there."""
    by_day = prices_by_day(draft.tables["prices"])
    until = by_day.loc[by_day.index <= pd.Timestamp(draft.settings.book.as_of)]
    return until.tail(int(draft.settings.risk.window_rows or 0) + 1)
