"""A model: in each scenario the market moves by so much, and each name by its beta times that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from allocator.book.book import Book


def beta_times_market(book: Book, parameters: Mapping[str, Any]) -> pd.DataFrame:
    """Instruments and cash down, scenarios across: simple returns over the horizon, as scenario_returns.csv has them.

    What is missing or not finite is refused by Allocator, so nothing is filled in here.
    """
    market: Mapping[str, float] = parameters["market"]
    returns = pd.DataFrame({scenario: book.exposures["beta"] * move for scenario, move in market.items()})
    returns.loc[book.cash_instrument] = parameters["cash"]
    return returns
