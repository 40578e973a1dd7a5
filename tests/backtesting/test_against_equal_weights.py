"""DeMiguel, Garlappi and Uppal (2009): how optimised portfolios fare against 1/N out of sample, on French's industries.

Twelve industries in excess of the bill, July 1963 to November 2004, 120 months of estimation, one month ahead, rolling;
no short positions, sample moments. Every portfolio is the product's own, proved as a re-optimised plan is.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.backtesting.measures import sharpe_ratio
from allocator.backtesting.standard_portfolios import equal_weights
from allocator.book.book import Book
from allocator.mandate.builder import build_mandate
from allocator.optimization.resolve import CertifiedSolution
from allocator.optimization.solve import Limits
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.rules.rows import Position
from allocator.stress_testing.reoptimization import PlanProblem, Reoptimizer
from tests.books import book

M = 120
INDUSTRIES = slice("NoDur", "Other")


@cache
def excess_returns() -> pd.DataFrame:
    """(497, 12) monthly returns of industries less the bill's; the file is read, and its package is not imported."""
    found = importlib.util.find_spec("linearmodels")
    if found is None:
        pytest.skip("the peer linearmodels is not installed: pip install 'portfolio-allocator[test]'")
    (place,) = found.submodule_search_locations or ()
    table = pd.read_csv(Path(place) / "datasets" / "french" / "french.csv.bz2", index_col="dates", parse_dates=True)
    months = table.loc["1963-07":"2004-11"]
    return months.loc[:, INDUSTRIES].sub(months["RF"], axis=0)


OUTLOOKS = dict[int, Outlook]()
"""By month, the same for every portfolio."""


def with_moments(stated: Book, t: int) -> Book:
    """The book with the sample moments of the M months before month t; the covariance of a book is annual."""
    names, past = [*stated.instruments], excess_returns().to_numpy()[t - M : t]
    mean = stated.scenario_returns.copy()
    mean.loc[names, "sample"] = past.mean(axis=0)
    return replace(stated, scenario_returns=mean, covariance=pd.DataFrame(12 * np.cov(past.T), names, names))


def sharpe_out_of_sample(mandate: dict[str, Any], robust: dict[str, Any] | None = None) -> float:
    """Of what the product's optimum of the M months before each month earned in it."""
    returns = excess_returns()
    names, values = tuple(map(str, returns)), returns.to_numpy()
    settings = {
        "horizon": {"months": 1.0}, "risk": {"source": "covariance"},
        "mandate": {"max_cash": 0.0, **mandate}, "robust": robust or {},
    }  # fmt: skip
    square = pd.DataFrame(0.04 * np.eye(len(names)), columns=list(names)).assign(instrument=list(names))
    stated = book(settings, names=names, returns={"sample": [0.01] * len(names)}, covariance=square, quantity=0.0)
    earned, solver = list[float](), None
    for t in range(M, len(values)):
        month = with_moments(stated, t)
        outlook = OUTLOOKS[t] if t in OUTLOOKS else OUTLOOKS.setdefault(t, build_outlook(month))
        wanted = build_mandate(month, outlook)
        if solver is None:
            start = Position(month.weights, month.cash / month.value)
            solver = Reoptimizer(PlanProblem(start, outlook, wanted, Limits.of(month)))
        found = solver.solve(outlook, wanted)
        assert isinstance(found, CertifiedSolution), found
        earned.append(float(found.weights[:-1] @ values[t]))
    sharpe = sharpe_ratio(np.array(earned), 1.0)
    assert sharpe is not None
    return sharpe


def test_the_page_shows_the_ratios_that_are_made_here(root: Path) -> None:
    page = (root / "docs" / "backtest.md").read_text(encoding="utf-8")
    table = page.partition("| portfolio | Sharpe ratio a month |")[2].partition("\n\n")[0]
    shown = [float(line.split("|")[2]) for line in table.splitlines()[2:]]
    assert shown == [0.1345, *(case.values[2] for case in CASES)]


def test_equal_weights_earn_the_ratio_of_the_page() -> None:
    returns = excess_returns()
    assert returns.shape == (497, 12)
    earned = returns.to_numpy()[M:] @ equal_weights(returns)
    assert sharpe_ratio(earned, 1.0) == pytest.approx(0.1345, abs=1e-4)


# the variance is weighed by half of gamma = 1
CASES = [
    pytest.param({"risk_aversion": 0.5}, None, 0.0774, id="mean and variance"),
    pytest.param(
        {"risk_aversion": 0.5},
        {"return_error": "box", "return_error_size": M**-0.5},
        0.1048,
        id="one standard error",
    ),
    pytest.param({"objective": "minimum_variance"}, None, 0.1459, id="minimum variance"),
]


@pytest.mark.parametrize(("mandate", "robust", "ratio"), CASES)
def test_an_optimised_portfolio_earns_the_ratio_of_the_page(
    mandate: dict[str, Any], robust: dict[str, Any] | None, ratio: float
) -> None:
    assert sharpe_out_of_sample(mandate, robust) == pytest.approx(ratio, abs=1e-4)
