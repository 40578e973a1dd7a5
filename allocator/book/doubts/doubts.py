"""Every doubt about a book: prices as they are used, levels, rates, a given covariance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from allocator.book.checks.draft import Draft
from allocator.book.doubts.covariances import covariance_doubts
from allocator.book.doubts.doubt import Doubt, unconfirmed
from allocator.book.doubts.levels import level_doubts, return_doubts
from allocator.book.doubts.prices import PriceTable, price_doubts
from allocator.book.price_history import prices_by_day
from allocator.errors import BadInput, Breach
from allocator.settings.settings import Confirmation
from allocator.types import Matrix

NO_RETURNS = 0.05
"""Rows beyond 100 % that are more than this part are no returns."""
RETURNS_TABLE = "returns"
"""What confirmations call a host's table of returns, which is looked at when it is given."""


def refuse_doubtful_returns(
    returns: Matrix, names: Sequence[str], days: pd.DatetimeIndex, confirmed: Sequence[Confirmation], table: str
) -> None:
    """Doubt (T, n) simple returns on `days` like the prices that they make; `table` is what errors call them.

    Raises:
        BadInput: some are improbable, and no entry of `confirmed` says that they are right.
    """
    moving = [at for at, column in enumerate(returns.T) if column.any()]  # the others are cash, under any name
    returns, names = returns[:, moving], [names[at] for at in moving]
    if not moving or (np.abs(returns) > 1).mean() > NO_RETURNS:  # prices: that is said elsewhere
        return
    growth = np.cumprod(np.vstack([np.ones(returns.shape[1]), 1 + np.maximum(returns, -0.999999)]), axis=0)
    index = days.insert(0, days[0] - pd.Timedelta(days=1))
    prices = pd.DataFrame(growth, index=index, columns=list(names))
    own = [entry for entry in confirmed if entry.table == RETURNS_TABLE]
    doubts = price_doubts(prices, PriceTable(table, RETURNS_TABLE))
    # one that no doubt of these rows needs may be needed by another fold of a walk
    if breaches := list(unconfirmed(doubts, own, silent={RETURNS_TABLE})):
        raise BadInput(breaches)


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
