"""PyPortfolioOpt: our robust program as one of its optimizers, with figures that its own functions go on with.

Written against PyPortfolioOpt 1.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from allocator.book.book import Book, refuse_no_book
from allocator.errors import Infeasible, NotSolved, OutOfTime
from allocator.integrations.host import Absent, host_targets, match_names, moments, weights_after, with_forbidden_names
from allocator.outlook.outlook import build_outlook

try:
    from pypfopt import base_optimizer
    from pypfopt.exceptions import OptimizationError
except ImportError as error:
    raise ImportError(
        "allocator.integrations.pypfopt needs PyPortfolioOpt: pip install 'portfolio-allocator[integrations]'"
    ) from error
PEER = "PyPortfolioOpt"


class Conflict(OptimizationError):
    """The peer's own error, with our text in place of its 'check your constraints or use a different solver'."""

    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)


class RobustOptimizer(base_optimizer.BaseOptimizer):
    """Our robust program: the book's outlook and mandate, the weights in PyPortfolioOpt's form.

        weights = RobustOptimizer(allocator.load("data/listed")).optimize()
        DiscreteAllocation(weights, latest_prices, total_portfolio_value=1e6).lp_portfolio()

    `tickers` may give the names an order of their own, and leave out cash; weights are by ticker as it was given, a
    number too. By default they are all instruments of the book and its cash, which is then a ticker with the price 1.
    `expected_returns` (n,) and `cov_matrix` (n, n) are the outlook's, a year, by ticker: the belief's mean and the
    covariance within and between scenarios. There is no table of its own to doubt: the book's were when it was made.

    Args:
        book: what `allocator.load` or `allocator.from_frames` gives.
        tickers: names in the order that the weights are wanted in, matched as texts.
        absent: names of the book that are no tickers are refused, or what is held of them is sold ("sell").

    Raises:
        BadInput: a ticker that the book does not know, or the other way round.
    """

    def __init__(self, book: Book, tickers: Sequence[Any] | None = None, *, absent: Absent = "refuse") -> None:
        refuse_no_book(book)
        names = [*book.instruments, book.cash_instrument] if tickers is None else list(tickers)
        self._places = match_names(book, names, peer=PEER, absent=absent)
        self._book = with_forbidden_names(book, self._places)
        super().__init__(len(names), names)  # as they were given: its own functions look them up
        self._outlook = build_outlook(self._book)
        mean, covariance = moments(self._outlook, self._places)
        years = self._outlook.years
        self.expected_returns = pd.Series(mean / years, index=self.tickers)
        self.cov_matrix = pd.DataFrame(covariance / years, index=self.tickers, columns=self.tickers)

    def optimize(self) -> dict[str, float]:
        """The verified targets before whole lots, by ticker, as fractions of the account after costs; sets `weights`.

        They add up to less than 1 where cash is kept and is no ticker, which is warned of.

        Raises:
            Conflict: limits conflict, with the smallest fix, or there is no verified answer.
            BadMandate: an objective that is decided in stages.
        """
        try:
            self.weights = weights_after(host_targets(self._book, self._outlook), self._places)
        except (Infeasible, NotSolved, OutOfTime) as error:
            raise Conflict(str(error)) from error
        weights: dict[str, float] = self._make_output_weights()
        return weights

    def portfolio_performance(self, verbose: bool = False, risk_free_rate: float = 0.0) -> tuple[float, float, float]:
        """Expected return, volatility and Sharpe ratio a year under the belief, by PyPortfolioOpt's own function."""
        if self.weights is None:
            raise ValueError("there are no weights yet; call optimize() first")
        found: tuple[float, float, float] = base_optimizer.portfolio_performance(
            np.asarray(self.weights), self.expected_returns, self.cov_matrix, verbose, risk_free_rate
        )
        return found
