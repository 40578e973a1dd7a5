"""`replay(book, plan)`: what the worst windows of the book's own price history would do to what is held.

A window of L rows begins at one price and ends L rows later; what is held at its beginning is held to its end, so that
weights drift, and cash stays as it is; what it cost to get there is not in it. Nothing is filled: a window at one of
whose ends a held name has no price is left out and counted. Rows that the risk model leaves out (`risk.blanks =
"drop_rows"`, rows after as_of) are left out here, and with `risk.late_listings = "beta"` a name not yet listed moves as
the risk model has it: by its beta times the average of the listed names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.plan.plan import Plan
from allocator.presentation import Count, Row
from allocator.stress_testing.outcomes import StressPortfolio, stress_portfolios
from allocator.types import Matrix, Vector

LENGTHS = (1, 5, 21, 63, 126, 252)
"""Rows of a window: of daily prices a day, a week, one, three, six and twelve months."""
NO_HISTORY = "this book has no price history; add prices.csv"
_LOSERS = 3


@dataclass(frozen=True)
class LosingPosition:
    """A name's simple return over a window and what it took from the portfolio, a part of the account."""

    instrument: str
    price_return: float
    lost: float
    by_beta: bool


@dataclass(frozen=True)
class ReplayWindow:
    """The window of `rows` rows that is worst for a `portfolio`, from `start` to `end` (ISO dates of its prices).

    `loss` is a part of the account, below 0 where even the worst window gained; `losers` lost the most of it.
    """

    portfolio: str
    rows: Count
    start: str
    end: str
    loss: float
    losers: tuple[LosingPosition, ...]


class ReplayDocument(TypedDict):
    """The worst windows of the price history."""

    why: str
    notes: list[str]
    counted: Annotated[dict[str, Count], "windows of each length in rows"]
    windows: list[Annotated[Row, ReplayWindow]]


@dataclass(frozen=True, eq=False)
class HistoricalReplay:
    """The worst window of each length for each portfolio; none, and `why`, where the book has no price history.

    `notes` say what was left out. `counted` are the windows of each length that could be told.
    """

    windows: tuple[ReplayWindow, ...]
    counted: dict[int, int]
    notes: tuple[str, ...]
    why: str = ""

    def frame(self) -> pd.DataFrame:
        """One row a portfolio and length."""
        columns = ["portfolio", "rows", "start", "end", "loss", "losers"]
        rows = [
            vars(window) | {"losers": ", ".join(loser.instrument for loser in window.losers)} for window in self.windows
        ]
        return pd.DataFrame(rows, columns=columns)

    def document(self) -> ReplayDocument:
        """The windows as plain data."""
        return {
            "why": self.why,
            "notes": list(self.notes),
            "counted": {str(rows): count for rows, count in self.counted.items()},
            "windows": [vars(window) | {"losers": list(map(vars, window.losers))} for window in self.windows],
        }


def replay_history(plan: Plan, lengths: Sequence[int] = LENGTHS) -> HistoricalReplay:
    """The worst windows of the book's price history up to as_of, for today's holdings and for the plan's final lots."""
    book = plan.book
    if book.price_history is None:
        return HistoricalReplay((), {}, (), NO_HISTORY)
    history, notes = _history(book, book.price_history)
    windows: list[ReplayWindow] = []
    counted: dict[int, int] = {}
    lacking: dict[str, int] = {}
    for portfolio in stress_portfolios(plan):
        for rows in lengths:
            count, worst = _worst(book, history, portfolio, rows, lacking)
            counted[rows] = min(counted.get(rows, len(history)), count)
            windows += worst
    notes += [
        f"no window of {rows} rows: {len(history)} prices make at most {max(len(history) - 1, 0)}"
        for rows in counted
        if rows >= len(history)
    ]
    notes += [
        f"{count} or more windows of a length left out: {name} has no price at one of their ends"
        for name, count in lacking.items()
    ]
    return HistoricalReplay(tuple(windows), counted, tuple(notes))


def _history(book: Book, history: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows that count, and what is said of the others."""
    settings, notes = book.settings, []
    kept = history.loc[history.index <= pd.Timestamp(settings.book.as_of)]
    if later := len(history) - len(kept):
        notes.append(f"{later} rows after as_of left out")
    if settings.risk.blanks == "drop_rows":
        listed = kept.ffill().notna()  # from a name's first price on; what is filled is looked at and thrown away
        blank = (kept.isna() & listed).any(axis=1)
        if blank.any():
            notes.append(f"{int(blank.sum())} rows with blanks left out")
            kept = kept.loc[~blank]
    if book.foreign_currencies:
        notes.append(f"exchange rates are held constant ({', '.join(book.foreign_currencies)})")
    return kept, notes


def _worst(
    book: Book, history: pd.DataFrame, portfolio: StressPortfolio, rows: int, lacking: dict[str, int]
) -> tuple[int, list[ReplayWindow]]:
    """How many windows could be told, and the worst of them; `lacking` counts the others by name."""
    prices = history.to_numpy(dtype=float)
    if rows >= len(prices):
        return 0, []
    moves = prices[rows:] / prices[:-rows] - 1
    by_beta = np.zeros(moves.shape, dtype=bool)
    if book.settings.risk.late_listings == "beta":
        moves, by_beta = _by_beta(book, prices, moves, rows)
    blank = np.isnan(moves) & (portfolio.holdings != 0)
    for i in np.flatnonzero(blank.any(axis=0)):
        name = book.instruments[i]
        lacking[name] = min(lacking.get(name, len(prices)), int(blank[:, i].sum()))
    whole = ~blank.any(axis=1)
    if not whole.any():
        return 0, []
    losses = -np.nan_to_num(moves) @ portfolio.holdings
    at = int(np.argmax(np.where(whole, losses, -np.inf)))
    start, end = (f"{history.index[row]:%Y-%m-%d}" for row in (at, at + rows))
    losers = tuple(_losers(book, portfolio, moves[at], by_beta[at]))
    return int(whole.sum()), [ReplayWindow(portfolio.name, rows, start, end, float(losses[at]), losers)]


def _by_beta(book: Book, prices: Matrix, moves: Matrix, rows: int) -> tuple[Matrix, Any]:
    """Names not yet listed when a window begins move by their beta times the average of those that were."""
    first = np.where(np.isnan(prices).all(axis=0), len(prices), np.argmax(~np.isnan(prices), axis=0))
    late = np.arange(len(prices) - rows)[:, None] < first
    listed = ~np.isnan(moves)
    count = listed.sum(axis=1)
    average = np.where(listed, moves, 0.0).sum(axis=1) / np.maximum(count, 1)
    average = np.where(count > 0, average, np.nan)
    beta = book.exposures["beta"].to_numpy(dtype=float)
    return np.where(late, average[:, None] * beta, moves), late


def _losers(book: Book, portfolio: StressPortfolio, moves: Vector, by_beta: Any) -> Iterator[LosingPosition]:
    """The names that lost the most of the portfolio, most first."""
    lost = -np.nan_to_num(moves) * portfolio.holdings
    for i in np.argsort(-lost, kind="stable")[:_LOSERS]:
        if lost[i] > 0:
            yield LosingPosition(book.instruments[i], float(moves[i]), float(lost[i]), bool(by_beta[i]))
