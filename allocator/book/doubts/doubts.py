"""Every doubt about a book: prices as they are used, levels, rates, a given covariance."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from allocator.book.checks.draft import Doubt, Draft, unconfirmed
from allocator.book.doubts.levels import level_doubts, own_volatilities, return_doubts
from allocator.book.doubts.prices import PriceTable, price_doubts
from allocator.book.price_history import prices_by_day
from allocator.errors import Breach
from allocator.types import Matrix, Vector

RETURNS_TABLE = "returns"
"""What confirmations call a host's table of returns, which is looked at when it is given."""


def check_doubts(draft: Draft) -> Iterator[Breach]:
    """What is improbable and not confirmed, and what is confirmed and not in doubt.

    Of a table that is not of its contract nothing is known to be needless, nor of any without what they are told by.
    """
    unsound = set(draft.given) - set(draft.tables)
    unknown = set(draft.tables) if unsound & {"exposures", "fx"} else set()
    yield from unconfirmed(_raised(draft), draft.settings.confirm, silent=unsound | unknown | {RETURNS_TABLE})


def _raised(draft: Draft) -> Iterator[Doubt]:
    risk, tables = draft.settings.risk, draft.tables
    yield from level_doubts(draft)
    if "scenario_returns" in tables:
        yield from return_doubts(draft)
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


# A given covariance: a day's in the place of a year's, percent squared, a correlation.
#
APART = 3.0
"""Volatilities of the covariance against those of exposures.csv, either way, by their median."""
QUIET, WILD = 0.03, 2.0
"""Annual: a median volatility outside is in doubt where exposures.csv says nothing of risk."""
ROWS_A_YEAR = {"daily": 252.0, "weekly": 52.0, "monthly": 12.0, "quarterly": 4.0}


def covariance_doubts(draft: Draft) -> Iterator[Doubt]:
    """Every doubt about covariance.csv, which is square, symmetric and of its contract."""
    frame, where = draft.tables["covariance"], draft.name("covariance")
    names = list(map(str, frame["instrument"]))
    square: Matrix = frame.set_index("instrument").loc[names, names].to_numpy(dtype=float)
    volatilities = np.sqrt(np.maximum(np.diag(square), 0.0))
    if _is_correlation(square):
        rule = "has 1 in each diagonal place and nothing beyond it elsewhere: a correlation, of volatilities of 100 %"
        cure = "multiply by the volatilities of both names"
        yield Doubt("covariance", "scale", None, None, where, None, None, None, rule, cure)
        return
    own = None
    if "exposures" in draft.tables:
        exposures = draft.tables["exposures"].drop_duplicates("instrument").set_index("instrument").reindex(names)
        own = own_volatilities(draft.settings, exposures)
    told = _scale(volatilities, own)
    if told is not None:
        spread = f"volatilities from {volatilities.min():.2%} to {volatilities.max():.2%} a year"
        yield Doubt("covariance", "scale", None, None, where, None, None, None, f"says {spread}{told[0]}", told[1])


def _is_correlation(square: Matrix) -> bool:
    apart = square - np.diag(np.diag(square))
    return bool(len(square) > 1 and (np.abs(np.diag(square) - 1) < 1e-9).all() and np.abs(apart).max() <= 1)


def _scale(volatilities: Vector, own: Vector | None) -> tuple[str, str] | None:
    """What is odd about the volatilities, and what would mend it; None where nothing is."""
    if own is None or not (np.isfinite(own) & (own > 0)).any():
        middle = float(np.median(volatilities))
        if QUIET <= middle <= WILD:
            return None
        likely = "daily" if middle < QUIET else "percent"
        return "", _mended(likely)
    told = np.isfinite(own) & (own > 0) & (volatilities > 0)
    if not told.any():  # no risk at all where the book has some
        return None
    ratio = float(np.exp(np.median(np.log(volatilities[told] / own[told]))))
    if 1 / APART <= ratio <= APART:
        return None
    said = f", where exposures.csv says {np.median(own[told]):.1%} for the median name"
    candidates = {name: 1 / math.sqrt(rows) for name, rows in ROWS_A_YEAR.items()} | {"percent": 100.0}
    likely = min(candidates, key=lambda name: abs(math.log(ratio / candidates[name])))
    return said, _mended(likely if abs(math.log(ratio / candidates[likely])) < math.log(2.0) else None)


def _mended(likely: str | None) -> str:
    if likely == "percent":
        return "is it in percent squared? divide by 10000"
    if likely is None:
        return "write an annual covariance of returns as fractions"
    return f"is it {likely}? multiply by {ROWS_A_YEAR[likely]:g}"
