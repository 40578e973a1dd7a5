"""Every doubt about a book: prices as they are used, levels, rates, a given covariance."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pandas as pd

from allocator.book.checks.rules import Tables, file_name
from allocator.book.doubts.covariances import covariance_doubts
from allocator.book.doubts.doubt import Doubt, unconfirmed
from allocator.book.doubts.levels import level_doubts
from allocator.book.doubts.prices import PriceTable, price_doubts
from allocator.errors import Breach
from allocator.settings.settings import Settings


def check_doubts(settings: Settings, tables: Tables, account: str | None, given: Collection[str]) -> Iterator[Breach]:
    """What is improbable and not confirmed, and what is confirmed and not in doubt.

    `given` names the tables that are there, sound or not: of one that is not sound nothing is known to be needless.
    """
    unsound = set(given) - set(tables)
    unknown = set(tables) if unsound & {"exposures", "fx"} else set()  # what volatilities and values are told by
    yield from unconfirmed(_raised(settings, tables, account), settings.confirm, silent=unsound | unknown)


def _raised(settings: Settings, tables: Tables, account: str | None) -> Iterator[Doubt]:
    yield from level_doubts(settings, tables, account)
    if "prices" in tables and settings.risk.source == "prices":
        yield from price_doubts(used_prices(settings, tables["prices"]), PriceTable(file_name(tables, "prices")))
    if "covariance" in tables and settings.risk.source == "covariance" and _is_square(tables["covariance"]):
        yield from covariance_doubts(settings, tables)


def _is_square(covariance: pd.DataFrame) -> bool:
    return set(covariance.columns) - {"instrument"} == set(covariance["instrument"])


def used_prices(settings: Settings, prices: pd.DataFrame) -> pd.DataFrame:
    """Dates × names up to as_of, the rows that `[risk]` counts back from there."""
    long = set(prices.columns) == {"date", "instrument", "price"}
    wide = prices.pivot(index="date", columns="instrument", values="price") if long else prices.set_index("date")
    wide = wide.sort_index().astype(float)
    until = wide.loc[wide.index <= pd.Timestamp(settings.book.as_of)]
    return until.tail(int(settings.risk.window_rows or 0) + 1)
