"""What we believe: scenario probabilities, what each instrument returns in each scenario, and the risk within one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.book.book import Book, refuse_no_book
from allocator.outlook.model import modelled, probabilities_of
from allocator.outlook.plugged import plugged_returns
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
        """Variance over the horizon of the scenario means, under the stated probabilities."""
        gains = self.portfolio_returns(holdings, cash)
        mean = float(self.probabilities @ gains)
        return float(self.probabilities @ (gains - mean) ** 2)


def outlook_of(book: Book) -> Outlook:
    """The outlook of a book on its as_of date: (K,) probabilities, (K, N) simple returns over the horizon, and risk.

    Probabilities: those of `book.toml`, updated by signals and silence where there is a `[question]`. Returns: the
    efficiency model's where there is a `[model]`, or another package's of `[plugins.models]`, replaced name by name by
    the user's `scenario_returns.csv`.

    Raises:
        BadInput: the price history cannot give a covariance by the rules of `[risk]`, or a plugin's model no returns.
    """
    refuse_no_book(book)
    years = book.settings.years
    returns, cash_returns = _returns(book, years)
    return Outlook(
        scenarios=book.scenarios,
        probabilities=probabilities_of(book),
        returns=returns,
        cash_returns=cash_returns,
        risk=risk_of(book),
        years=years,
    )


def _returns(book: Book, years: float) -> tuple[Matrix, Vector]:
    """(K, N) and (K,): the model's, ours or a plugin's, then the user's own over them."""
    model, given, plugged = modelled(book), book.scenario_returns, plugged_returns(book)
    returns = np.full((len(book.scenarios), len(book.instruments)), np.nan) if model is None else model.returns
    if plugged is not None:
        returns = plugged.to_numpy(dtype=float)[:-1].T
    returns = with_given(book, returns)
    if book.cash_instrument in given.index:
        cash = given.loc[book.cash_instrument].to_numpy(dtype=float)
    elif plugged is not None:
        cash = plugged.loc[book.cash_instrument].to_numpy(dtype=float)
    else:
        cash = np.full(len(book.scenarios), (1 + float(book.cash_required_return or 0.0)) ** years - 1)
    return np.ascontiguousarray(returns), cash


def with_given(book: Book, returns: Matrix) -> Matrix:
    """(K, N), or (draws, K, N): the user's own scenario returns where there are any, else `returns`."""
    own = book.scenario_returns.reindex(list(book.instruments)).to_numpy(dtype=float).T
    result: Matrix = np.where(np.isnan(own), returns, own)
    return result
