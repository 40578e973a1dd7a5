"""Risk within a scenario, always as factors plus a diagonal: Ω = LL' + diag(d).

Built from beta and idiosyncratic volatility, from a price history, or from a given covariance. No N × N matrix is
formed unless the user gave one or the history has more rows than names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from allocator.book.book import Book
from allocator.book.price_history import historical_returns
from allocator.errors import BadInput, Breach, lacking_extra, setting_breach
from allocator.settings.settings import RiskSection
from allocator.types import Matrix, Vector

if TYPE_CHECKING:
    import cvxpy as cp


@dataclass(frozen=True, eq=False)
class FactorRisk:
    """Covariance of instrument returns over the horizon, Ω = loadings·loadings' + diag(specific).

    `loadings` has shape (N, F) with the factors scaled to unit variance; `specific` (N,) is variance. `source` says
    in words where it is from. Cash carries no risk.
    """

    loadings: Matrix
    specific: Vector
    source: str

    @property
    def variances(self) -> Vector:
        """(N,) of each instrument, over the horizon."""
        return np.asarray((self.loadings**2).sum(axis=1) + self.specific, dtype=np.float64)

    def variance(self, holdings: Vector) -> float:
        """h'Ωh over the horizon, for holdings as fractions of wealth."""
        factors = self.loadings.T @ holdings
        return float(factors @ factors + self.specific @ holdings**2)

    def covariances(self, holdings: Vector) -> Vector:
        """(N,) Ωh: each instrument's covariance with the portfolio."""
        result: Vector = self.loadings @ (self.loadings.T @ holdings) + self.specific * holdings
        return result

    def parts(self, holdings: Vector) -> Vector:
        """(F + N,) u with h'Ωh = u'u: the factors' share of a portfolio's risk, then each name's own."""
        return np.concatenate([self.loadings.T @ holdings, np.sqrt(self.specific) * holdings])

    def parts_expression(self, holdings: cp.Expression, factors: cp.Expression | None = None) -> cp.Expression:
        """The same in a program, which may have its `factors` L'h already."""
        import cvxpy as cp

        exposed = self.loadings.T @ holdings if factors is None else factors
        return cp.hstack([exposed, cp.multiply(np.sqrt(self.specific), holdings)])

    def slope(self, direction: Vector) -> Vector:
        """(N,) s with s'h the part of `parts` along a direction (F + N,)."""
        factors = self.loadings.shape[1]
        return np.asarray(self.loadings @ direction[:factors] + np.sqrt(self.specific) * direction[factors:])

    def over(self, years: float) -> FactorRisk:
        """The same risk over a horizon `years` times as long; variance grows with time."""
        return FactorRisk(self.loadings * np.sqrt(years), self.specific * years, self.source)

    def among(self, names: NDArray[np.bool_]) -> FactorRisk:
        """The same of all `names`, which are true where it has a row; the others have no risk."""
        loadings, specific = np.zeros((len(names), self.loadings.shape[1])), np.zeros(len(names))
        loadings[names], specific[names] = self.loadings, self.specific
        return FactorRisk(loadings, specific, self.source)

    def stressed(self, loadings: float = 1.0, own: float = 1.0, correlation: float = 0.0) -> FactorRisk:
        """The same with loadings and own volatilities so many times as large, and every correlation then that part of
        the way to 1: (1 − ρ)·Ω + ρ·σσ' with σ (N,) the names' volatilities, which it leaves.
        """
        risk = FactorRisk(self.loadings * loadings, self.specific * own**2, self.source)
        if not correlation:
            return risk
        common = np.sqrt(correlation * risk.variances)[:, None]
        if correlation < 1:
            common = np.hstack([common, np.sqrt(1 - correlation) * risk.loadings])
        return FactorRisk(common, (1 - correlation) * risk.specific, self.source)


def build_risk_model(book: Book) -> FactorRisk:
    """The book's risk over its horizon, from the source that `[risk]` names.

    Raises:
        BadInput: the price history is too short, or has blanks or late listings that no rule allows.
    """
    sources = {
        "prices": _from_prices, "covariance": _from_covariance, "exposures": _from_exposures, "none": _left_out
    }  # fmt: skip
    return sources[book.settings.risk.source](book).over(book.settings.years)


def _from_exposures(book: Book) -> FactorRisk:
    """One market factor: Ω = σ²ββ' + diag(idiosyncratic²), the single-index model (Sharpe 1963)."""
    beta = book.exposures["beta"].to_numpy(dtype=float)
    idiosyncratic = book.exposures["idiosyncratic_volatility"].to_numpy(dtype=float)
    volatility = float(book.settings.risk.market_volatility or 0.0)
    source = f"beta and idiosyncratic volatility of exposures.csv, market volatility {volatility:.1%} a year"
    return FactorRisk((beta * volatility)[:, None], idiosyncratic**2, source)


def _left_out(book: Book) -> FactorRisk:
    """No risk within a scenario: all that is known of it is how returns differ between scenarios."""
    names = len(book.instruments)
    why = "risk.source is none" if "risk" in book.settings.model_fields_set else "the book has no [risk]"
    return FactorRisk(np.zeros((names, 1)), np.zeros(names), f"left out within scenarios, as {why}")


def _from_covariance(book: Book) -> FactorRisk:
    assert book.covariance is not None
    values, vectors = np.linalg.eigh(book.covariance.to_numpy(dtype=float))
    kept = values >= values[-1] * 1e-14  # all of them where there is no risk at all
    return FactorRisk(vectors[:, kept] * np.sqrt(values[kept]), np.zeros(len(values)), "covariance.csv")


def _from_prices(book: Book) -> FactorRisk:
    assert book.price_history is not None
    traded = ~book.untraded
    history, settings = historical_returns(book.settings, book.price_history.loc[:, traded]), book.settings.risk
    per_year = float(settings.periods_per_year or 0.0)
    words = f"{history.words}; {per_year:g} rows a year"
    if book.foreign_currencies:
        words += f"; currency moves are not in it ({', '.join(book.foreign_currencies)})"
    own = estimate_risk(history.returns, settings, words).over(per_year)
    if not history.fully_listed.all():
        own = _with_late_listings(book, book.exposures.loc[traded], own, ~history.fully_listed)
    return own if traded.all() else own.among(traded)


def estimate_risk(returns: Matrix, settings: RiskSection, words: str) -> FactorRisk:
    """The risk of one row of (T, N) simple returns, by the method that `settings` names; `words` say wherefrom.

    Raises:
        BadInput: the method needs scikit-learn, which is not installed.
    """
    rows, names = returns.shape
    method = settings.method
    if method == "auto":
        method = "statistical_factors" if names > rows / 2 else "ledoit_wolf"
    estimate = _statistical_factors if method == "statistical_factors" else _ledoit_wolf
    return estimate(returns, settings, words)


def _statistical_factors(returns: Matrix, settings: RiskSection, words: str) -> FactorRisk:
    """The leading principal components, the rest of each name's variance as its own (Connor and Korajczyk 1986)."""
    rows, names = returns.shape
    count = min(settings.factors, names, rows - 1)
    centred = returns - returns.mean(axis=0)
    # of many rows the triangle has all that is asked, and no left vectors are computed (Chan 1982)
    tall = np.linalg.qr(centred, mode="r") if rows > 2 * names else centred
    _, singular, vectors = np.linalg.svd(tall, full_matrices=False)
    loadings = (vectors[:count].T * singular[:count]) / np.sqrt(rows - 1)
    total = (centred**2).sum(axis=0) / (rows - 1)
    specific = np.maximum(total - (loadings**2).sum(axis=1), 0.0)
    return FactorRisk(loadings, specific, f"{count} statistical factors of {words}")


def _ledoit_wolf(returns: Matrix, settings: RiskSection, words: str) -> FactorRisk:
    """Sample covariance shrunk towards a multiple of the identity (Ledoit and Wolf 2004); rows are its factors."""
    try:
        from sklearn.covariance import ledoit_wolf_shrinkage
    except ImportError:
        (rule, cure), key = lacking_extra("scikit-learn", "risk"), "source" if settings.method == "auto" else "method"
        cure += ', or set risk.method = "statistical_factors"'
        raise BadInput([setting_breach(f"risk.{key}", getattr(settings, key), rule, cure)]) from None
    rows, names = returns.shape
    centred = returns - returns.mean(axis=0)
    shrinkage = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
    target = float((centred**2).sum() / rows / names)
    if rows < names:
        loadings = centred.T * np.sqrt((1 - shrinkage) / rows)
    else:
        values, vectors = np.linalg.eigh(centred.T @ centred * ((1 - shrinkage) / rows))
        loadings = vectors * np.sqrt(np.maximum(values, 0.0))
    source = f"Ledoit-Wolf (shrinkage {shrinkage:.3f}) of {words}"
    return FactorRisk(loadings, np.full(names, shrinkage * target), source)


def _with_late_listings(book: Book, exposures: pd.DataFrame, own: FactorRisk, late: NDArray[np.bool_]) -> FactorRisk:
    """Names without a full history, `late` (N,), load on the equal-weighted average of the others by their beta."""
    columns = ["beta", "idiosyncratic_volatility"]
    given = exposures.loc[late, columns]
    if blank := list(given.index[given.isna().any(axis=1)]):
        cure = 'its price history is too short and risk.late_listings = "beta"'
        rules = [f"must not be blank for {name}" for name in blank]
        raise BadInput(Breach.of("exposures.csv", rule, cure, column=", ".join(columns)) for rule in rules)
    beta, idiosyncratic = given["beta"].to_numpy(float), given["idiosyncratic_volatility"].to_numpy(float)
    average = own.loadings.mean(axis=0)
    length = float(np.linalg.norm(average))
    direction = average / length if length > 0 else average
    loadings, specific = np.zeros((len(late), own.loadings.shape[1])), np.zeros(len(late))
    loadings[~late], specific[~late] = own.loadings, own.specific
    loadings[late] = np.outer(beta * float(book.settings.risk.market_volatility or 0.0), direction)
    specific[late] = idiosyncratic**2
    names = ", ".join(map(str, given.index))
    return FactorRisk(loadings, specific, f"{own.source}; by beta, for want of history: {names}")
