"""What a price history is doubted for: splits, single wrong prints, names that no longer move, uneven rows.

Each function looks at prices as they are used, dates × names with blanks as NaN, and yields what is improbable. Nothing
is adjusted: a split that is missed here would be a volatility of many times the true one (a 10:1 split in a year of
daily closes of a 10 % stock reads as 77 %), and a wrong print moves a shrinkage estimate as much.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from allocator.book.checks.draft import Doubt
from allocator.types import Vector

LARGE_MOVE = 0.4
"""Of a price, from one row to the next: beyond it a move is looked at."""
SPLITS = (2, 3, 4, 5, 8, 10, 15, 20, 25, 50, 100)
"""Shares for one, or one for so many."""
NEAR_SPLIT = 0.05
"""Of the ratio of a split."""
MOST_MOVE = 4.0
"""Beyond this factor a move is in doubt, whatever the ratio: a price in another unit."""
TAKEN_BACK_ROWS = 3
"""Rows within which a wrong print is followed by a right one."""
TAKEN_BACK = 0.25
"""Of a move, in logarithms: what may be left of it where it was taken back."""
EQUAL_CLOSES = 10
"""So many equal closes in a row are a name that nobody quotes any more, where others move."""
SELDOM_MOVES, OFTEN_MOVES = 0.4, 0.8
"""Shares of rows: a name that changes in fewer than the first, where half of the others do in more than the second."""
UNEVEN_ROWS = 1.25
"""Rows a year of a part of the history against those of all of it."""
PARTS, LEAST_ROWS = 4, 20
"""Equal parts of a history that are compared, and the rows that each must have to tell."""
LONGEST_GAP_DAYS, LONGEST_GAP = 14, 4.0
"""A gap between rows is in doubt beyond so many days, and beyond this factor of the median gap."""


@dataclass(frozen=True)
class PriceTable:
    """How errors speak of a price history: what the file is called, and the table that confirmations name."""

    file: str = "prices.csv"
    table: str = "prices"

    def doubt(self, kind: str, name: str | None, day: pd.Timestamp | None, said: tuple[str | None, str, str]) -> Doubt:
        """A doubt about this table; `said` are the value, the rule and the cure."""
        date = None if day is None else day.date()
        return Doubt(self.table, kind, name, date, self.file, None, name or "date", *said)


def price_doubts(prices: pd.DataFrame, where: PriceTable) -> Iterator[Doubt]:
    """Every doubt about prices (dates × names, dates increasing, blanks NaN)."""
    values = prices.to_numpy(dtype=np.float64)
    before = prices.ffill().shift().to_numpy(dtype=np.float64)  # NaN compares as nothing
    large = (np.abs(values / before - 1) > LARGE_MOVE * (1 - 1e-9)).any(axis=0)
    for name, closes in prices.loc[:, large].items():
        yield from _moves(str(name), closes.dropna(), where)
    stale = list(_equal_closes(prices.loc[:, (values == before).sum(axis=0) >= EQUAL_CLOSES - 1], prices, where))
    yield from stale
    yield from _seldom(prices, where, told={doubt.name for doubt in stale})
    yield from _uneven(pd.DatetimeIndex(prices.dropna(how="all").index), where)


def _moves(name: str, closes: pd.Series[float], where: PriceTable) -> Iterator[Doubt]:
    values = np.asarray(closes, dtype=np.float64)
    ratios = values[1:] / values[:-1]
    at = 0
    for before in map(int, np.flatnonzero((ratios > 1 + LARGE_MOVE) | (ratios < 1 - LARGE_MOVE))):
        if before < at:  # the way back of a print that was doubted
            continue
        back = _taken_back(values, before)
        day = closes.index[before + 1]
        told = f"{values[before]:g} -> {values[before + 1]:g}"
        if back is not None:
            at = back
            rule = f"moves by {ratios[before] - 1:+.0%} on {day:%Y-%m-%d} and back by {closes.index[back]:%Y-%m-%d}"
            yield where.doubt("spike", name, day, (told, rule, "correct the print"))
        elif (split := _split(float(ratios[before]))) is not None:
            change = f"{'falls' if ratios[before] < 1 else 'rises'} by {abs(ratios[before] - 1):.0%}"
            rule = f"{change} from one row to the next on {day:%Y-%m-%d}, as in {split[0]}"
            cure = f"adjust for the split: multiply the earlier prices by {split[1]:.6g}"
            yield where.doubt("jump", name, day, (told, rule, cure))
        elif not 1 / MOST_MOVE <= ratios[before] <= MOST_MOVE:
            rule = f"moves by a factor {ratios[before]:.4g} from one row to the next on {day:%Y-%m-%d}"
            cure = "write all its prices in one unit, adjusted for splits"
            yield where.doubt("jump", name, day, (told, rule, cure))


def _taken_back(values: Vector, before: int) -> int | None:
    """The row by which a move is taken back; None where it stays."""
    move = abs(np.log(values[before + 1] / values[before]))
    for row in range(before + 2, min(before + 2 + TAKEN_BACK_ROWS, len(values))):
        if abs(np.log(values[row] / values[before])) <= TAKEN_BACK * move:
            return row
    return None


def _split(ratio: float) -> tuple[str, float] | None:
    """The split that a ratio looks like, in words, and the ratio that it has exactly."""
    for count in SPLITS:
        if abs(ratio * count - 1) <= NEAR_SPLIT:
            return f"a {count}:1 split", 1 / count
        if abs(ratio / count - 1) <= NEAR_SPLIT:
            return f"a 1:{count} split", float(count)
    return None


def _equal_closes(some: pd.DataFrame, prices: pd.DataFrame, where: PriceTable) -> Iterator[Doubt]:
    """Runs of equal closes of some names while at least half of the others move."""
    for name in some:
        closes = some[name].dropna()
        starts = np.flatnonzero((closes != closes.shift()).to_numpy())
        runs = np.diff(starts, append=len(closes))
        for start, run in zip(starts[runs >= EQUAL_CLOSES], runs[runs >= EQUAL_CLOSES], strict=True):
            first, last = closes.index[start], closes.index[start + run - 1]
            if _others_move(prices.loc[first:last].drop(columns=[name])):
                rule = f"has {run} equal closes from {first:%Y-%m-%d} to {last:%Y-%m-%d} while others move"
                cure = "leave blank what was not quoted"
                yield where.doubt("stale", str(name), first, (f"{closes.iloc[start]:g}", rule, cure))


def _others_move(others: pd.DataFrame) -> bool:
    quoted = others.loc[:, others.notna().sum() > 1]
    if not quoted.shape[1]:
        return True
    return bool((quoted.nunique() > 1).mean() >= 0.5)


def _changes(prices: pd.DataFrame) -> pd.Series[float]:
    """Of each name the share of its rows in which its close differs from the one before; NaN where few tell."""
    values, before = prices.to_numpy(dtype=np.float64), prices.ffill().shift().to_numpy(dtype=np.float64)
    pairs = ~np.isnan(values) & ~np.isnan(before)
    rows = pairs.sum(axis=0)
    moved = (pairs & (values != before)).sum(axis=0)
    return pd.Series(np.where(rows >= LEAST_ROWS, moved / np.maximum(rows, 1), np.nan), index=prices.columns)


def _seldom(prices: pd.DataFrame, where: PriceTable, told: Collection[str | None]) -> Iterator[Doubt]:
    """Names that change on a slower clock than the others: weekly closes carried forward through daily rows."""
    shares = _changes(prices)
    for name, share in shares[shares < SELDOM_MOVES].items():
        others = shares.drop(name).dropna()
        if name not in told and len(others) and float(others.median()) > OFTEN_MOVES:
            rule = f"changes in {share:.0%} of its rows, the others in {float(others.median()):.0%}"
            cure = "leave blank what was not quoted, or give all names rows of one clock"
            yield where.doubt("clock", str(name), None, (None, rule, cure))


def row_gaps(days: pd.DatetimeIndex) -> tuple[Vector, NDArray[np.bool_]]:
    """Days from each row to the next, and which of them are gaps in the rows."""
    gaps = np.diff(days.tz_localize(None).to_numpy()) / np.timedelta64(1, "D")
    return gaps, (gaps > LONGEST_GAP_DAYS) & (gaps > LONGEST_GAP * np.median(gaps))


def _uneven(days: pd.DatetimeIndex, where: PriceTable) -> Iterator[Doubt]:
    """Rows that are denser in one part than in another, and gaps."""
    if len(days) < LEAST_ROWS:
        return
    gaps, long = row_gaps(days)
    for before in map(int, np.flatnonzero(long)):
        rule = f"has no row for {gaps[before]:.0f} days before {days[before + 1]:%Y-%m-%d}"
        cure = "add the rows that are missing, or start the window after the gap"
        yield where.doubt("gap", None, days[before + 1], (None, rule, cure))
    even = np.where(long, np.median(gaps), gaps)
    ends = np.linspace(0, len(even), PARTS + 1).astype(int)
    densities = [(end - start) / max(float(even[start:end].sum()), 1.0) for start, end in pairwise(ends)]
    whole = len(even) / max(float(even.sum()), 1.0)
    if len(even) >= PARTS * LEAST_ROWS and not all(1 / UNEVEN_ROWS < one / whole < UNEVEN_ROWS for one in densities):
        told = ", ".join(f"{one * 365.25:.0f}" for one in densities)
        rule = f"has rows of two clocks: {told} a year in its four quarters"
        yield where.doubt("clock", None, None, (None, rule, "give rows of one clock: one a day, or one a week"))
