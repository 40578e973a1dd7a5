"""What the rules count, as arrays over the book's instruments: shares of buckets and groups, volumes, shocks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.outlook.outlook import Outlook
from allocator.settings.stress import ShockSection
from allocator.types import Vector

TRADING_DAYS = 252
"""A year, for the volatility of a day."""


def bucket_shares(book: Book, bucket: str) -> Vector:
    """(N,) how much of each instrument counts towards a bucket.

    `efficiency` and `capital_intensity` read the numeric shares of exposures.csv where they are given; everything else
    is the label.
    """
    label = (book.exposures["bucket"] == bucket).astype(float)
    column = f"{bucket}_share"
    if column in book.exposures:
        return np.asarray(book.exposures[column].fillna(label), dtype=np.float64)
    return np.asarray(label, dtype=np.float64)


def locked_names(book: Book) -> dict[str, int]:
    """Names that cannot be traded before a later day, and where they stand."""
    if "tradable_from" not in book.exposures:
        return {}
    later = book.exposures["tradable_from"] > pd.Timestamp(book.settings.book.as_of)
    return {str(name): i for i, (name, locked) in enumerate(later.items()) if locked}


def group_shares(book: Book, name: str) -> tuple[Vector, float]:
    """(N,) how much of each instrument counts towards a bucket or a user group, and how much of cash."""
    if name not in book.settings.groups:
        return bucket_shares(book, name), float(name == "cash")
    members = book.members(name)
    shares = np.array([members.get(instrument, 0.0) for instrument in book.instruments])
    return shares, members.get(book.cash_instrument, 0.0)


def exposures_named(book: Book, name: str) -> Vector:
    """(N,) a numeric column of exposures.csv or factors.csv."""
    factors = book.factors
    table = factors if factors is not None and name in factors else book.exposures
    return np.asarray(table[name], dtype=np.float64)


def adv_in_money(book: Book) -> Vector:
    """(N,) money traded on an average day."""
    return np.asarray(book.exposures["average_daily_volume"], dtype=np.float64) * book.prices


def daily_volatility(outlook: Outlook) -> Vector:
    """(N,) volatility of a day, from the risk over the horizon."""
    variance = (outlook.risk.loadings**2).sum(axis=1) + outlook.risk.specific
    return np.asarray(np.sqrt(variance / outlook.years / TRADING_DAYS), dtype=np.float64)


def shock_returns(book: Book, name: str) -> Vector:
    """(N,) returns at once under a shock of the book, as far as it states them."""
    return moved_at_once(book, book.settings.shocks[name])


def moved_at_once(book: Book, shock: ShockSection) -> Vector:
    """(N,) an instrument's own number, else its bucket's, else the market's times its beta and the factors'."""
    moved = np.zeros(len(book.instruments))
    if shock.market is not None:
        moved = shock.market * np.asarray(book.exposures["beta"], dtype=np.float64)
    if shock.factors and book.factors is not None:
        moved = moved + book.factors[list(shock.factors)].to_numpy(dtype=float) @ np.array([*shock.factors.values()])
    for i, (instrument, bucket) in enumerate(book.exposures["bucket"].items()):
        moved[i] = shock.instruments.get(str(instrument), shock.buckets.get(str(bucket), moved[i]))
    return np.maximum(moved, -1.0)
