"""PyPortfolioOpt's published numbers for its 20 US stocks, through our own mandate and program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.agreement import HOLDINGS, OBJECTIVE
from tests.problems import Question, no_cash, question


@pytest.fixture(scope="module")
def moments(reference: Path) -> tuple[np.ndarray, np.ndarray]:
    """Compound annual means, and the pairwise sample covariance a year, each name over its own history."""
    prices = pd.read_csv(reference / "pypfopt" / "stock_prices.csv", index_col="date", parse_dates=True)
    returns = prices.pct_change(fill_method=None)
    mean = (1 + returns).prod() ** (252 / returns.count()) - 1
    return mean.to_numpy(), (returns.cov() * 252).to_numpy()


def figures(asked: Question, mean: np.ndarray, covariance: np.ndarray) -> tuple[float, float, float]:
    trade, _, _ = asked.certified()
    expected, volatility = float(mean @ trade.values), float(np.sqrt(trade.values @ covariance @ trade.values))
    return expected, volatility, (expected - 0.02) / volatility


def test_minimum_volatility_is_theirs(moments: tuple[np.ndarray, np.ndarray]) -> None:
    mean, covariance = moments
    asked = question(mean[None, :], covariance, return_weight=0.0, rules=[no_cash(20)])

    found = figures(asked, mean, covariance)
    assert found == pytest.approx((0.1505682140, 0.1591508451, 0.8204054077), rel=1e-5)
    assert found[1] == pytest.approx(0.1591508451, abs=HOLDINGS)


def test_largest_quadratic_utility_is_theirs(moments: tuple[np.ndarray, np.ndarray]) -> None:
    mean, covariance = moments
    asked = question(mean[None, :], covariance, risk_aversion=1.0, rules=[no_cash(20)])

    found = figures(asked, mean, covariance)
    assert found == pytest.approx((0.3677732712, 0.2921342198, 1.1904571516), rel=1e-5)
    assert found[0] - found[1] ** 2 == pytest.approx(0.3677732712 - 0.2921342198**2, abs=OBJECTIVE)


def test_largest_return_under_a_volatility_limit_is_theirs(moments: tuple[np.ndarray, np.ndarray]) -> None:
    mean, covariance = moments
    asked = question(mean[None, :], covariance, risk_aversion=0.0, rules=[no_cash(20)], volatility=0.19)

    assert figures(asked, mean, covariance) == pytest.approx((0.2552422849, 0.19, 1.2381172871), rel=1e-6)
