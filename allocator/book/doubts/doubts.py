"""Every doubt about a book: prices as they are used, levels, rates, a given covariance."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from allocator.book.checks.draft import Draft
from allocator.book.doubts.covariances import covariance_doubts
from allocator.book.doubts.doubt import Doubt, unconfirmed
from allocator.book.doubts.levels import level_doubts
from allocator.book.doubts.prices import PriceTable, price_doubts
from allocator.errors import Breach
from allocator.settings.settings import Settings


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
        yield from price_doubts(used_prices(draft.settings, tables["prices"]), PriceTable(draft.name("prices")))
    if "covariance" in tables and risk.source == "covariance" and _is_square(tables["covariance"]):
        yield from covariance_doubts(draft)


def _is_square(covariance: pd.DataFrame) -> bool:
    return set(covariance.columns) - {"instrument"} == set(covariance["instrument"])


def used_prices(settings: Settings, prices: pd.DataFrame) -> pd.DataFrame:
    """Dates × names up to as_of, the rows that `[risk]` counts back from there."""
    long = set(prices.columns) == {"date", "instrument", "price"}
    wide = prices.pivot(index="date", columns="instrument", values="price") if long else prices.set_index("date")
    wide = wide.sort_index().astype(float)
    until = wide.loc[wide.index <= pd.Timestamp(settings.book.as_of)]
    return until.tail(int(settings.risk.window_rows or 0) + 1)
