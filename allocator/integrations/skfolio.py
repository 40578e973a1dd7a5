"""skfolio: our outlook inside their optimizers, and our robust program inside their pipelines.

Written against skfolio 1.12. `fit` of both wants returns, not prices; weights are matched by the names of columns.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from allocator.book.book import Book, refuse_no_book
from allocator.errors import BadInput, BadMandate, Infeasible, NotSolved, OutOfTime
from allocator.integrations.host import (
    Absent,
    BookAt,
    NamePositions,
    TranslationWarning,
    depends_on_holdings,
    host_targets,
    match_names,
    moments,
    refuse_prices,
    weights_after,
    weights_by_name,
    with_forbidden_names,
    with_holdings,
    with_settings,
)
from allocator.integrations.returns_table import (
    book_from_returns,
    book_on,
    last_day,
    outlook_from_returns,
    settings_depend_on_holdings,
    warn_of_hindsight,
    warn_of_prices,
    with_names_to_sell,
    with_return_history,
)
from allocator.mandate.builder import cost_rates
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.types import Matrix, Vector

try:
    from skfolio.exceptions import OptimizationError
    from skfolio.optimization import BaseOptimization
    from skfolio.prior import BasePrior, ReturnDistribution
    from sklearn.utils.validation import validate_data
except ImportError as error:
    raise ImportError(
        "allocator.integrations.skfolio needs skfolio: pip install 'portfolio-allocator[integrations]'"
    ) from error
PEER = "skfolio"
PAIRS = 500
"""Points of all scenarios, and as many reflected ones; a scenario has no fewer than there are directions of risk."""
_SEED = 20_261_130


class ScenarioPrior(BasePrior):
    """Our outlook inside skfolio's optimizers: weighted points of every scenario as their returns and sample weights.

        MeanRisk(objective_function=ObjectiveFunction.MAXIMIZE_UTILITY, risk_aversion=1.5,
                 prior_estimator=ScenarioPrior(allocator.load("data/listed")))

    `fit(X)` reads the names of X's columns, which may be some of the book's instruments and its cash, and no figure of
    it. `return_distribution_` has `returns` (S, n), `mu` (n,) and `covariance` (n, n) (within scenarios and between
    them), all simple returns over the book's horizon and not over a row of X: constraints on returns mean that horizon.
    Scenarios of probability 0 are left out. Each of the others is spread into points that carry the risk within it (see
    `scenario_points`), so that views, which weigh points anew, keep it. Measures of a path mean nothing of points,
    which have no order; that is warned of. With `book_at`, such as `book.at`, the outlook is that of the last day of X.

    Raises:
        BadInput: there is no book, or a column of X is not a name of it.
    """

    def __init__(self, book: Book | None = None, book_at: BookAt | None = None) -> None:
        self.book = book
        self.book_at = book_at

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> ScenarioPrior:
        """Read the outlook for the names of X (T, n); y and fit_params are not looked at."""
        del y, fit_params
        validate_data(self, X, ensure_all_finite=False)  # a late listing leaves blanks that nobody reads here
        book = book_on(_needed(self.book), self.book_at, last_day(X), peer=PEER)
        places = match_names(book, _names(self, X), peer=PEER, absent="sell")
        outlook = build_outlook(book)
        points, weights = scenario_points(outlook, places)
        told = "rows are points of scenarios and have no order: measures of a path, such as drawdowns, mean nothing"
        warnings.warn(told, TranslationWarning, stacklevel=2)
        mean, covariance = moments(outlook, places)
        self.return_distribution_ = ReturnDistribution(
            mu=mean, covariance=covariance, returns=points, sample_weight=weights
        )
        return self


def scenario_points(outlook: Outlook, places: NamePositions) -> tuple[Matrix, Vector]:
    """(S, n) points of the possible scenarios in a peer's order, and their weights (S,).

    A scenario is pairs of points, normal draws around it and their reflections, whose own covariance is exactly the one
    within scenarios; it has about as many of them as it is probable, for OpinionPooling forgets weights. What skfolio
    makes of points, np.cov of `aweights`, is 1/(1 − Σw²) times their covariance: all of them stand that much nearer to
    their mean, and it finds the outlook's.
    """
    at, probabilities = list(places.at), outlook.probabilities / outlook.probabilities.sum()
    risk = np.column_stack([outlook.risk.loadings, np.diag(np.sqrt(outlook.risk.specific))])
    risk = np.vstack([risk, np.zeros(risk.shape[1])])[at]  # cash has none
    risk = risk[:, risk.any(axis=0)]
    draw, points, weights = np.random.default_rng(_SEED), [], []
    for mean, probability in zip(np.column_stack([outlook.returns, outlook.cash_returns]), probabilities, strict=True):
        if probability > 0:
            pairs = max(risk.shape[1], round(PAIRS * probability), 1)
            q, r = np.linalg.qr(draw.standard_normal((pairs, risk.shape[1])))
            apart = np.sqrt(pairs) * (q * np.sign(np.diag(r))) @ risk.T
            points += [mean[at] + apart, mean[at] - apart]
            weights += [np.full(2 * pairs, probability / (2 * pairs))]
    spread, weight = np.vstack(points), np.concatenate(weights)
    middle = weight @ spread
    return middle + np.sqrt(1 - weight @ weight) * (spread - middle), weight


class RobustAllocation(BaseOptimization):
    """Our robust program as an optimizer of skfolio's: in a Pipeline, WalkForward, GridSearchCV or as a `fallback`.

        RobustAllocation(allocator.load("data/listed"))                   # a book's outlook and mandate
        RobustAllocation(settings={"robust": {"set": "kl", "radius": 0.02}})      # the rows of X are all there is

    With a `book`, outlook and mandate are the book's, and X (T, n) says which names there are; where its
    `risk.source` is "prices", the last `window_rows` rows of X are the history that risk is estimated from, in place of
    the book's own. Without one, each row of X is a scenario, all equally probable, over the horizon of one row (see
    `returns_table.py`), and `settings` are sections of book.toml: mandate, robust, costs, trading, groups, solver.

    Args:
        book: what `allocator.load` or `allocator.from_frames` gives.
        settings: sections of book.toml, where there is no book.
        risk_aversion: in place of `mandate.risk_aversion`, for a grid search.
        radius: in place of `robust.radius`, for a grid search.
        book_at: what gives the book as it was known on a day, such as `book.at`, beside `book`: it is asked of the last
            day of X, so that signals, views and prices are never later ones. Without it the one book speaks at every
            date.
        absent: names of the book that X does not have are refused, or what is held of them is sold ("sell").
        portfolio_params, fallback, raise_on_failure: as skfolio has them. A fallback also takes over where the input is
            refused, so that this is warned of.
        previous_weights: (n,), by name, or one number for all, in X's order; what they leave of 1 is cash. None is what
            the book holds; without a book, cash.

    `weights_` (n,) are the verified targets before whole lots, fractions of the account after costs, in X's order; they
    add up to less than 1 where cash is kept and is no column of X, which is warned of.

    Raises:
        OptimizationError: limits conflict, with the conflict and the fix, or no verified answer.
        BadInput: labels, weights or figures that do not fit the book; all at once.
        BadMandate: an objective that is decided in stages.
    """

    def __init__(
        self,
        book: Book | None = None,
        settings: Mapping[str, Any] | None = None,
        risk_aversion: float | None = None,
        radius: float | None = None,
        book_at: BookAt | None = None,
        absent: Absent = "refuse",
        portfolio_params: dict[str, Any] | None = None,
        fallback: Any = None,
        previous_weights: Any = None,
        raise_on_failure: bool = True,
    ) -> None:
        super().__init__(
            portfolio_params=portfolio_params,
            fallback=fallback,
            previous_weights=previous_weights,
            raise_on_failure=raise_on_failure,
        )
        self.book = book
        self.settings = settings
        self.risk_aversion = risk_aversion
        self.radius = radius
        self.book_at = book_at
        self.absent = absent

    @property
    def needs_previous_weights(self) -> bool:
        """Whether what is held before changes the weights: costs, limits on trades, names that stay, or skfolio's."""
        if super().needs_previous_weights:
            return True
        if self.book is None:
            return settings_depend_on_holdings(self.settings, self.risk_aversion, peer=PEER)
        return depends_on_holdings(self._book(()))

    def fit(self, X: Any, y: Any = None) -> RobustAllocation:
        """Solve for the names of X (T, n) simple returns; y is not looked at."""
        del y
        validate_data(self, X, ensure_min_samples=2 if self.book is None else 1)
        return self._fitted(X)

    def partial_fit(self, X: Any, y: Any = None) -> RobustAllocation:
        """The same once there are further rows, X, behind those so far; `fit` begins anew. Where there is no plan, the
        rows count as seen all the same, and of fallbacks skfolio knows "previous_weights" alone here.
        """
        self._validate_partial_fit_fallback()
        seen = getattr(self, "_seen", None)
        validate_data(self, X, reset=seen is None, ensure_min_samples=2 if seen is None and self.book is None else 1)
        rows = X if seen is None else _joined(seen, X)
        with self._handle_optimization_errors(X, y, method="partial_fit"):
            self._fitted(rows)
        return self

    def _fitted(self, X: Any) -> RobustAllocation:
        """Solved for all rows that there are, of which those stay that further ones will need."""
        try:
            self.weights_ = self._weights(np.asarray(X, dtype=np.float64), X)
            self._seen = self._needed_later(X)
        except (Infeasible, NotSolved, OutOfTime) as error:
            self._seen = self._needed_later(X)
            raise OptimizationError(str(error)) from error
        except (BadInput, BadMandate) as error:
            if self.fallback is not None or not self.raise_on_failure:
                told = f"what was asked is refused, and not for want of a solution: {error}"
                warnings.warn(told, TranslationWarning, stacklevel=4)
            raise
        return self

    def _needed_later(self, X: Any) -> Any:
        """The last rows: all of them where they are the scenarios, and one at least, which has the day."""
        wanted = len(X)
        if self.book is not None:
            risk = self.book.settings.risk
            wanted = int(risk.window_rows or 1) if risk.source == "prices" else 1
        return X.tail(wanted).copy() if isinstance(X, pd.DataFrame) else np.array(X)[-wanted:]

    def _book(self, names: Sequence[str], X: Any = None) -> Book:
        changes = {("mandate", "risk_aversion"): self.risk_aversion, ("robust", "radius"): self.radius}
        stated = {place: value for place, value in changes.items() if value is not None}
        if self.book is not None:
            if self.settings is not None:
                cure = "leave one of them out; settings are for rows without a book"
                raise BadInput.of(PEER, "the book has settings of its own", cure, column="settings")
            refuse_no_book(self.book)
            book = (
                self.book
                if X is None or self.book_at is None
                else book_on(self.book, self.book_at, last_day(X), peer=PEER)
            )
            return with_settings(book, stated)
        if self.book_at is not None:
            raise BadInput.of(
                PEER, "is asked of days of a book, and there is none", "give the book too", column="book_at"
            )
        return with_settings(book_from_returns(names, self.settings, peer=PEER), stated)

    def _weights(self, returns: Matrix, X: Any) -> Vector:
        names = _names(self, X, None if self.book is not None else returns.shape[1])
        sold = () if self.book is not None else self._dropped(names)
        book = self._book([*names, *sold], X)
        places = match_names(book, names, peer=PEER, absent="sell" if sold else self.absent)
        rows = pd.DataFrame(returns, index=X.index if isinstance(X, pd.DataFrame) else None, columns=[*names])
        if self.book is not None:
            refuse_prices(returns, names, peer=PEER)
            outlook = with_return_history(book, places, rows, peer=PEER)
            warn_of_hindsight(book, last_day(X))
        else:
            warn_of_prices(returns, names, peer=PEER)
            outlook = with_names_to_sell(outlook_from_returns(book, rows, peer=PEER), len(book.instruments))
        self._warn_of_costs(book)
        if self.previous_weights is not None:
            book = self._holding(book, names)
        return weights_after(host_targets(with_forbidden_names(book, places), outlook), places)

    def _dropped(self, names: Sequence[str]) -> list[str]:
        """Names that are held and that a selection has dropped since; they are sold where that is asked."""
        held = self.previous_weights
        known = isinstance(held, Mapping) and self.absent == "sell"
        return [str(name) for name in held if str(name) not in names] if known else []

    def _warn_of_costs(self, book: Book) -> None:
        """skfolio's figures know no costs but those that a portfolio is told of."""
        if cost_rates(book).any() and "transaction_costs" not in (self.portfolio_params or {}):
            told = f"the weights are best after costs, and {PEER}'s figures of them are before costs"
            cure = "say portfolio_params={'transaction_costs': …}, per row of X, for figures after them"
            warnings.warn(f"{told}: {cure}", TranslationWarning, stacklevel=4)

    def _holding(self, book: Book, names: Sequence[str]) -> Book:
        """The book with what skfolio says is held, of which a selection may have dropped some names since."""
        held = self.previous_weights
        if isinstance(held, Mapping) and self.absent == "sell":
            names = list(dict.fromkeys([*names, *map(str, held)]))
        if isinstance(held, Mapping):
            held = weights_by_name(held, names, peer=PEER)
        places = match_names(book, names, peer=PEER, absent="sell")
        if np.ndim(held) == 0:  # of every instrument; where cash is a column, it is what they leave
            held = places.given(np.full(places.instruments, float(held)), 1 - float(held) * (len(names) - 1))
        return with_holdings(book, *places.taken(held))


def _needed(book: Book | None) -> Book:
    if book is None:
        cure = "give what allocator.load(folder) or allocator.from_frames(…) returns"
        raise BadInput.of(PEER, "is required: the scenarios are its own", cure, column="book")
    refuse_no_book(book)
    return book


def _joined(seen: Any, X: Any) -> Any:
    """Rows so far and further ones, which are later where both have dates.

    Raises:
        BadInput: they are not.
    """
    if not (isinstance(seen, pd.DataFrame) and isinstance(X, pd.DataFrame)):
        return np.vstack([np.asarray(seen), np.asarray(X)])
    before, first = last_day(seen), last_day(X.iloc[:1])
    if before is not None and first is not None and first <= before:
        rule, cure = f"begin on {first:%Y-%m-%d}, and rows until {before:%Y-%m-%d} are known", "give new rows alone"
        raise BadInput.of(f"returns from {PEER}", rule, cure)
    return pd.concat([seen, X])


def _names(fitted: Any, X: Any, count: int | None = None) -> Sequence[str]:
    """The labels of columns as texts; of `count` that have none, skfolio's own words for them, or an error."""
    if hasattr(fitted, "feature_names_in_"):
        return [*map(str, fitted.feature_names_in_)]
    if isinstance(X, pd.DataFrame):  # sklearn keeps no names that are numbers
        return [*map(str, X.columns)]
    if count is not None:
        return [f"x{i}" for i in range(count)]
    cure = "give a DataFrame, and in a Pipeline call set_output(transform='pandas'): by position is a guess"
    raise BadInput.of(f"returns from {PEER}", "the columns have no names", cure)
