"""Real prices and small books for the peers, each imported only where it is installed."""

from __future__ import annotations

import datetime as dt
import importlib
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from allocator.book.book import Book
from tests.books import book

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "reference" / "prices" / "sp500_ai_subset_close_2013_2018.csv"
COUNT, ROWS = 6, 320


def peer(name: str, extra: str = "integrations") -> Any:
    """A peer, or a skip that says why; `.ci/run` does not let this skip pass."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"the peer {name} is not installed: pip install 'portfolio-allocator[{extra}]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cvxportfolio 1.5.1 and what it imports warn of pandas 4 when imported
        return importlib.import_module(name)


def ours(name: str) -> Any:
    """Our adapter for a peer."""
    peer(name)
    return importlib.import_module(f"allocator.integrations.{name}")


@pytest.fixture(scope="session")
def prices() -> pd.DataFrame:
    """(ROWS, COUNT) daily closes of US names; those that skfolio ships where the reference data are absent."""
    if REAL.is_file():
        table = pd.read_csv(REAL, index_col="date", parse_dates=True)[["AAPL", "GOOGL", "MSFT", "AMZN", "NVDA", "NEE"]]
    else:
        peer("skfolio")
        from skfolio.datasets import load_sp500_dataset

        table = load_sp500_dataset().iloc[:, :COUNT]
    assert not table.tail(ROWS).isna().to_numpy().any()
    return table.tail(ROWS)


@pytest.fixture(scope="session")
def returns(prices: pd.DataFrame) -> pd.DataFrame:
    """(ROWS − 1, COUNT) simple returns."""
    return prices.pct_change().iloc[1:]


EARLY = dt.date(2010, 1, 4)
"""A day before all the prices, so that a walk through them knows nothing in advance."""


def asked(names: Any, *, as_of: dt.date = EARLY, cash: float = 1000.0, **sections: Any) -> Book:
    """A book of `names` with three scenarios and adverse probabilities; sections of book.toml on top."""
    names = tuple(map(str, names))
    scenarios = {
        "good": [0.30 - 0.03 * i for i in range(len(names))],
        "dull": [0.05 + 0.01 * i for i in range(len(names))],
        "bad": [-0.35 + 0.07 * i for i in range(len(names))],
    }
    document: dict[str, Any] = {
        "mandate": {"risk_aversion": 1.0, "max_weight": 0.4, "max_cash": 0.2},
        "robust": {"set": "total_variation", "radius": 0.1},
    }
    document["book"] = {"name": "test", "currency": "USD", "as_of": as_of}
    tables = {
        name: sections.pop(name)
        for name in ("prices", "exposures_columns", "scenario_returns", "quoted")
        if name in sections
    }
    beliefs = {"good": 0.4, "dull": 0.35, "bad": 0.25}
    return book(document | sections, names=names, returns=scenarios, probabilities=beliefs, cash=cash, **tables)
