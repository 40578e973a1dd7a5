"""Risk within a scenario, always as factors plus a diagonal: Ω = LL' + diag(d).

Built from beta and idiosyncratic volatility, from a price history, or from a given covariance. No N × N matrix is
formed unless the user gave one or the history has more rows than names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from allocator.book.book import Book
from allocator.errors import BadInput, Breach, setting_breach
from allocator.settings.settings import RiskSection
from allocator.types import Matrix, Vector

# From a price history to the returns that a covariance is estimated from: cut-off, window, blanks, late listings.
#
# Nothing is filled. What is left out is left out by a rule that `[risk]` names, and `words` says how much.
#
FEWEST_ROWS = 20
"""Below this a covariance is noise."""
_APART = 1.25
"""Daily rows are 252 to 262 a year, 365 with weekends, weekly ones 52: further apart than this they are others."""


@dataclass(frozen=True, eq=False)
class ReturnHistory:
    """Simple returns per row, shape (T, names with a full history); `fully_listed` (N,) says which names those are."""

    returns: Matrix
    fully_listed: NDArray[np.bool_]
    words: str


def historical_returns(book: Book) -> ReturnHistory:
    """The returns inside the window that `[risk]` states, counted back from as_of.

    Raises:
        BadInput: too few rows, blanks or late listings where the rule is to refuse them; all at once.
    """
    assert book.price_history is not None
    risk, history = book.settings.risk, book.price_history
    rows = int(risk.window_rows or 0)
    until = history.loc[history.index <= pd.Timestamp(book.settings.book.as_of)]
    breaches = []
    if len(until) < rows + 1:
        told = f"{rows} returns need {rows + 1} prices up to {book.settings.book.as_of}; there are {len(until)}"
        breaches.append(_breach("risk.window_rows", told, "shorten the window or lengthen the history"))
    window = until.tail(rows + 1)  # one more price than returns
    notes = [f"{len(history) - len(until)} later rows cut"] if len(history) > len(until) else []

    window, late, of_listings, told_of_listings = _listed(book, window, until)
    kept, of_blanks, told_of_blanks = _without_blanks(book, window.loc[:, ~late])
    breaches += of_listings + of_blanks
    notes += told_of_listings + told_of_blanks
    if not breaches and len(kept) - 1 < FEWEST_ROWS:
        breaches.append(_breach("risk.window_rows", f"only {len(kept) - 1} returns are left", "at least 20 are needed"))
    if not breaches and kept.shape[1] == 0:
        breaches.append(_breach("risk.source", "no instrument has a full history", 'set risk.source = "exposures"'))
    if not breaches:
        breaches += spacing_breach(pd.DatetimeIndex(kept.index), float(risk.periods_per_year or 0.0), "prices.csv")
    if breaches:
        raise BadInput(breaches)
    words = f"{len(kept) - 1} returns to {kept.index[-1]:%Y-%m-%d}" + "".join(f", {note}" for note in notes)
    prices = kept.to_numpy(dtype=float)
    return ReturnHistory(prices[1:] / prices[:-1] - 1, ~late.to_numpy(dtype=bool), words)


def spacing_breach(days: pd.DatetimeIndex, periods_per_year: float, table: str) -> Iterator[Breach]:
    """What rows of these days cannot be where so many are a year: annualised, their risk would be another's."""
    if not days.is_monotonic_increasing:
        yield Breach.of(table, "rows are not in the order of their dates", "sort them: sort_index()", column="date")
    elif len(days) > FEWEST_ROWS and (span := (days[-1] - days[0]).days) > 0:
        a_year = (len(days) - 1) / span * 365.25
        if not 1 / _APART < a_year / periods_per_year < _APART:
            rule = f"there are about {a_year:.0f} rows a year by their dates, and risk.periods_per_year says "
            cure = "correct risk.periods_per_year, or give rows that are so many a year"
            yield Breach.of(table, f"{rule}{periods_per_year:g}", cure, column="date")


def _listed(
    book: Book, window: pd.DataFrame, until: pd.DataFrame
) -> tuple[pd.DataFrame, pd.Series[bool], list[Breach], list[str]]:
    """The window by the rule for late listings; which names are late in it; errors and notes."""
    rule = book.settings.risk.late_listings
    there = window.notna()
    earlier = until.loc[: window.index[0]].notna().any() if len(window) else there.any()  # blank on one day is not late
    first = there.idxmax().where(there.any()) if len(window) else pd.Series(pd.NaT, index=window.columns)
    first = first.mask(earlier & there.any(), window.index[0]) if len(window) else first
    late = first.isna() | (first > window.index[0]) if len(window) else first.isna()
    if not late.any() or rule == "beta":
        return window, late, [], []
    if rule == "refuse":
        cure = 'shorten risk.window_rows, or set risk.late_listings = "shorten_window" or "beta"'
        days = {str(name): f"{day:%Y-%m-%d}" if pd.notna(day) else "as_of" for name, day in first[late].items()}
        return window, late, [_breach(name, f"has no price before {day}", cure) for name, day in days.items()], []
    if first.isna().any():
        cure = 'set risk.late_listings = "beta"'
        never = first.index[first.isna()]
        return window, late, [_breach(str(name), "has no price at all before as_of", cure) for name in never], []
    note = f"window starts {first.max():%Y-%m-%d} with the last listing"
    return window.loc[first.max() :], late & False, [], [note]


def _without_blanks(book: Book, kept: pd.DataFrame) -> tuple[pd.DataFrame, list[Breach], list[str]]:
    """The prices by the rule for blanks, errors and notes."""
    blank = kept.isna()
    some = bool(blank.to_numpy().any())
    if some and book.settings.risk.blanks == "refuse":
        days = {str(name): kept.index[blank[name]] for name in kept if blank[name].any()}
        return kept, [_blank(name, own) for name, own in days.items()], []
    breaches = list(_stale(book, kept))
    if not some:
        return kept, breaches, []
    return kept.dropna(), breaches, [f"{int(blank.any(axis=1).sum())} rows with blanks left out"]


def _blank(name: str, days: pd.Index) -> Breach:
    more = len(days) - 1
    rest = f" and {more} more day{'s' if more > 1 else ''}" if more else ""
    cure = 'correct it, or set risk.blanks = "drop_rows" to leave out those days'
    return _breach(name, f"is blank on {days[0]:%Y-%m-%d}{rest}", cure)


def _stale(book: Book, prices: pd.DataFrame) -> Iterator[Breach]:
    """A history that ends long before as_of, one name's or all of it, or that does once rows with blanks are out."""
    today, days = book.settings.book.as_of, book.settings.risk.max_age_days
    cure = f"bring it up to date, or raise risk.max_age_days above {days}"
    if not len(prices):
        return

    def told(date: pd.Timestamp) -> str:
        return f"{date:%Y-%m-%d}, {(today - date.date()).days} days before as_of = {today}"

    oldest = pd.Timestamp(today) - pd.Timedelta(days=days)
    if prices.index[-1] < oldest:
        yield _breach("date", f"the last row is of {told(prices.index[-1])}", cure)
        return
    last = {str(name): prices.index[prices[name].notna()].max() for name in prices}
    late = {name: date for name, date in last.items() if date < oldest}
    yield from (_breach(name, f"has its last price on {told(date)}", cure) for name, date in late.items())
    whole = prices.dropna()
    if not late and len(whole) and whole.index[-1] < oldest:
        yield _breach("date", f"the last row without a blank is of {told(whole.index[-1])}", cure)


def _breach(column: str, rule: str, cure: str) -> Breach:
    return Breach.of("prices.csv", rule, cure, column=column)


@dataclass(frozen=True, eq=False)
class FactorRisk:
    """Covariance of instrument returns over the horizon, Ω = loadings·loadings' + diag(specific).

    `loadings` has shape (N, F) with the factors scaled to unit variance; `specific` (N,) is variance. `source` says
    in words where it is from. Cash carries no risk.
    """

    loadings: Matrix
    specific: Vector
    source: str

    def variance(self, holdings: Vector) -> float:
        """h'Ωh over the horizon, for holdings as fractions of wealth."""
        factors = self.loadings.T @ holdings
        return float(factors @ factors + self.specific @ holdings**2)

    def covariances(self, holdings: Vector) -> Vector:
        """(N,) Ωh: each instrument's covariance with the portfolio."""
        result: Vector = self.loadings @ (self.loadings.T @ holdings) + self.specific * holdings
        return result

    def over(self, years: float) -> FactorRisk:
        """The same risk over a horizon `years` times as long; variance grows with time."""
        return FactorRisk(self.loadings * np.sqrt(years), self.specific * years, self.source)


def build_risk_model(book: Book) -> FactorRisk:
    """The book's risk over its horizon, from the source that `[risk]` names.

    Raises:
        BadInput: the price history is too short, or has blanks or late listings that no rule allows.
    """
    sources = {"prices": _from_prices, "covariance": _from_covariance, "exposures": _from_exposures}
    return sources[book.settings.risk.source](book).over(book.settings.years)


def _from_exposures(book: Book) -> FactorRisk:
    """One market factor: Ω = σ²ββ' + diag(idiosyncratic²), the single-index model (Sharpe 1963)."""
    beta = book.exposures["beta"].to_numpy(dtype=float)
    idiosyncratic = book.exposures["idiosyncratic_volatility"].to_numpy(dtype=float)
    volatility = float(book.settings.risk.market_volatility or 0.0)
    source = f"beta and idiosyncratic volatility of exposures.csv, market volatility {volatility:.1%} a year"
    return FactorRisk((beta * volatility)[:, None], idiosyncratic**2, source)


def _from_covariance(book: Book) -> FactorRisk:
    assert book.covariance is not None
    values, vectors = np.linalg.eigh(book.covariance.to_numpy(dtype=float))
    kept = values >= values[-1] * 1e-14  # all of them where there is no risk at all
    return FactorRisk(vectors[:, kept] * np.sqrt(values[kept]), np.zeros(len(values)), "covariance.csv")


def _from_prices(book: Book) -> FactorRisk:
    history, settings = historical_returns(book), book.settings.risk
    per_year = float(settings.periods_per_year or 0.0)
    words = f"{history.words}; {per_year:g} rows a year"
    if book.foreign_currencies:
        words += f"; currency moves are not in it ({', '.join(book.foreign_currencies)})"
    own = estimate_risk(history.returns, settings, words).over(per_year)
    return own if history.fully_listed.all() else _with_late_listings(book, own, ~history.fully_listed)


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
    _, singular, vectors = np.linalg.svd(centred, full_matrices=False)
    loadings = (vectors[:count].T * singular[:count]) / np.sqrt(rows - 1)
    total = (centred**2).sum(axis=0) / (rows - 1)
    specific = np.maximum(total - (loadings**2).sum(axis=1), 0.0)
    return FactorRisk(loadings, specific, f"{count} statistical factors of {words}")


def _ledoit_wolf(returns: Matrix, settings: RiskSection, words: str) -> FactorRisk:
    """Sample covariance shrunk towards a multiple of the identity (Ledoit and Wolf 2004); rows are its factors."""
    del settings
    try:
        from sklearn.covariance import ledoit_wolf_shrinkage
    except ImportError:
        cure = "pip install 'portfolio-allocator[risk]', or set risk.method = \"statistical_factors\""
        rule = "needs scikit-learn, which is not installed"
        raise BadInput([setting_breach("risk.method", "ledoit_wolf", rule, cure)]) from None
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


def _with_late_listings(book: Book, own: FactorRisk, late: NDArray[np.bool_]) -> FactorRisk:
    """Names without a full history, `late` (N,), load on the equal-weighted average of the others by their beta."""
    columns = ["beta", "idiosyncratic_volatility"]
    given = book.exposures.loc[late, columns]
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
    names = ", ".join(np.array(book.instruments)[late])
    return FactorRisk(loadings, specific, f"{own.source}; by beta, for want of history: {names}")
