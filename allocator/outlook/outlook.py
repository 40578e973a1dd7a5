"""What we believe: scenario probabilities, what each instrument returns in each scenario, and the risk within one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.book.book import Book
from allocator.outlook.risk import FactorRisk, risk_of
from allocator.types import Matrix, Vector


@dataclass(frozen=True, eq=False)
class Outlook:
    """K scenarios for N instruments and cash, over one horizon.

    `returns` (K, N) and `cash_returns` (K,) are simple returns over `years`; `probabilities` (K,) sum to one; `risk`
    is over the same horizon.
    """

    scenarios: tuple[str, ...]
    probabilities: Vector
    returns: Matrix
    cash_returns: Vector
    risk: FactorRisk
    years: float

    def portfolio_returns(self, holdings: Vector, cash: float) -> Vector:
        """(K,) gains of holdings and cash in each scenario, as fractions of the wealth they are fractions of."""
        result: Vector = self.returns @ holdings + self.cash_returns * cash
        return result

    def variance_between(self, holdings: Vector, cash: float) -> float:
        """Variance over the horizon of the scenario means, under the stated probabilities (science §3.4)."""
        gains = self.portfolio_returns(holdings, cash)
        mean = float(self.probabilities @ gains)
        return float(self.probabilities @ (gains - mean) ** 2)


def outlook_of(book: Book) -> Outlook:
    """The outlook that the book itself gives: `scenario_returns.csv` and the probabilities of `book.toml`.

    Raises:
        BadInput: the price history cannot give a covariance by the rules of `[risk]`.
    """
    table = book.scenario_returns
    scenarios = book.settings.scenarios
    return Outlook(
        scenarios=book.scenarios,
        probabilities=np.array([scenario.probability for scenario in scenarios.values()]),
        returns=np.ascontiguousarray(table.loc[list(book.instruments)].to_numpy(dtype=float).T),
        cash_returns=table.loc[book.cash_instrument].to_numpy(dtype=float),
        risk=risk_of(book),
        years=book.settings.horizon.months / 12,
    )
