"""Small books from pandas objects, for tests of what a book becomes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pandas as pd

from allocator.book.book import Book, from_frames

AS_OF = dt.date(2026, 11, 20)
NAMES = ("AAA", "BBB", "CCC", "DDD")
CASH = "USD-CASH"


def holdings(names: tuple[str, ...] = NAMES, cash: float = 1000.0, *, quantity: float = 10.0) -> pd.DataFrame:
    """Ten units of 100 each of every name, and cash."""
    count = len(names)
    return pd.DataFrame(
        {
            "account": "main",
            "instrument": [*names, CASH],
            "quantity": [quantity] * count + [cash],
            "price": [100.0] * count + [1.0],
            "currency": "USD",
        }
    )


def exposures(names: tuple[str, ...] = NAMES, **columns: Any) -> pd.DataFrame:
    """Every name its own issuer, an efficiency play of beta 1; `columns` (names only, cash follows blank) go on top."""
    count = len(names)
    frame = pd.DataFrame(
        {
            "instrument": [*names, CASH],
            "name": [*names, "Cash"],
            "issuer": [f"Issuer {name}" for name in names] + ["Bank"],
            "bucket": ["efficiency"] * count + ["cash"],
            "beta": [1.0] * count + [0.0],
            "idiosyncratic_volatility": [0.2] * count + [0.0],
            "source": "a test",
        }
    )
    for column, values in columns.items():
        blank = "Bank" if column == "issuer" else "cash" if column == "bucket" else None
        frame[column] = [*values, blank]
    return frame


def book(
    settings: Mapping[str, Any] | None = None,
    *,
    names: tuple[str, ...] = NAMES,
    returns: Mapping[str, list[float]] | None = None,
    probabilities: Mapping[str, float] | None = None,
    cash: float = 1000.0,
    quantity: float = 10.0,
    exposures_columns: Mapping[str, Any] | None = None,
    quoted: pd.Series[float] | None = None,
    **tables: pd.DataFrame,
) -> Book:
    """A book of `names`, one section of `settings` replacing the default section of that name."""
    returns = returns or {"base": [0.05 + 0.01 * i for i in range(len(names))]}
    probabilities = probabilities or {name: 1 / len(returns) for name in returns}
    document: dict[str, Any] = {
        "book": {"name": "test", "currency": "USD", "as_of": AS_OF},
        "scenarios": {name: {"probability": p} for name, p in probabilities.items()},
        "risk": {"source": "exposures", "market_volatility": 0.15},
    }
    scenario_returns = pd.DataFrame({"instrument": [*names, CASH], **{k: [*v, 0.02] for k, v in returns.items()}})
    held = holdings(names, cash, quantity=quantity)
    if quoted is not None:
        held["price"] = [float(quoted.get(name, 1.0)) for name in held["instrument"]]
    frames = {
        "holdings": held,
        "exposures": exposures(names, **(exposures_columns or {})),
        "scenario_returns": scenario_returns,
    }
    return from_frames(document | dict(settings or {}), frames | tables)
