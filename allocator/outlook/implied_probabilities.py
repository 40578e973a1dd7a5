"""What prices imply: the scenario probabilities under which the model moves as prices did.

Of all that do, those nearest in relative entropy to what the signals and the silence make of the market's own: a move
that says no more than these is no news.

A price that moved by m since the market's own date tells Σ_k p_k V_ki = M_i·(m·A_i(0) / (A_i(t)·(1 + k_i)^t))^(1/s), M
what the market should see by the signals and A what prices then hold: beyond these are other news, which came evenly
since that date, and of which the mean share s has come into prices (J where nothing is digested). Several names
over-determine the probabilities; then the nearest in least squares is taken, and each name's residual is either
mispricing or a wrong exposure: the numbers cannot tell which.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.book.checks.question import LOADINGS
from allocator.errors import BadInput, Breach, NotSolved, did_you_mean, setting_breach
from allocator.outlook.calibration import CalibratedModel, calibrate, digestion_months, has_loadings, undigested_part
from allocator.outlook.posterior import require_finite
from allocator.outlook.question import DAYS_A_MONTH
from allocator.types import Matrix, Vector

# The price moves that probabilities are read from: typed or of prices.csv, and the names that tell nothing.
#
# A name without loadings, or worth the same in every scenario, would be read as if the model knew its price: typed it
# is refused, of prices.csv it is left out and named.
#
_ALIKE = 1e-9
"""Values that differ by less of themselves, scenario by scenario, are the same."""
_NO_LOADINGS = "has no loadings, so the model says nothing of its price"
_CONSTANT = "is worth the same in every scenario, so its price says nothing of them"
_NO_MODEL = "use a book with a [model], such as data/note; typed returns say nothing of what moves them"


@dataclass(frozen=True)
class UnreadMove:
    """A name whose price move is not read, and why."""

    instrument: str
    reason: str


@dataclass(frozen=True)
class PriceMoves:
    """Simple returns since the market's date, by instrument, and the names whose moves are not read."""

    returns: Mapping[str, float]
    not_read: tuple[UnreadMove, ...]


def price_moves(
    book: Book, model: CalibratedModel, since: dt.date, typed: Mapping[str, float] | None, without: Collection[str] = ()
) -> PriceMoves:
    """The moves since the market's date that can be read: the `typed` ones, else those of prices.csv.

    Raises:
        BadInput: a name is unknown or is cash, a move is none, a typed one tells nothing, or there is no move to read.
    """
    silent, breaches = _silent(book, model), list(_misnamed("--without", book, without))
    unread = dict.fromkeys(without, "left out by --without")
    if typed is not None:
        moves: Mapping[str, float] = typed
        breaches += _mistyped(book, typed, without, silent)
    else:
        moves, blank = _of_prices(book, since)
        reasons = silent | blank | {name: unread[name] for name in without}
        unread = {name: reasons[name] for name in book.instruments if name in reasons}
    read = {name: move for name, move in moves.items() if name not in unread}
    if typed is None:
        breaches += _misprinted(read)
    if not read and not breaches:
        rule = "no price move is given" if not unread else "no price move is left to read"
        told = "; ".join(f"{name} {reason}" for name, reason in list(unread.items())[:3])
        cure = "write for example --move NVDA=-0.12" + (f" ({told})" if told else "")
        breaches.append(Breach.of("--move" if typed is not None else "prices.csv", rule, cure))
    if breaches:
        raise BadInput(breaches)
    return PriceMoves(read, tuple(UnreadMove(name, reason) for name, reason in unread.items()))


def _silent(book: Book, model: CalibratedModel) -> dict[str, str]:
    """Names of which the model has nothing to say, with the reason."""
    reasons: dict[str, str] = {}
    loaded = has_loadings(book)
    least, most = model.market_values.min(axis=0), model.market_values.max(axis=0)
    for i, name in enumerate(book.instruments):
        total = sum(float(getattr(model.loadings, loading)[i]) for loading in LOADINGS)
        if not loaded[i]:
            reasons[name] = _NO_LOADINGS
        elif abs(total - 1) > 1e-6:  # the book holds only those to it that the model makes returns of
            reasons[name] = f"has loadings that sum to {total:.6g}, not 1, so the model says nothing of its price"
        elif most[i] - least[i] <= _ALIKE * most[i]:
            reasons[name] = _CONSTANT
    return reasons


def _misnamed(where: str, book: Book, names: Iterable[str]) -> Iterator[Breach]:
    for name in names:
        if name == book.cash_instrument:
            yield Breach.of(where, "is cash and has no price move", "leave it out", value=name)
        elif name not in book.instruments:
            cure = did_you_mean(name, book.instruments)
            yield Breach.of(where, "no such instrument in exposures.csv", cure, value=name)


def _mistyped(
    book: Book, typed: Mapping[str, float], without: Collection[str], silent: Mapping[str, str]
) -> Iterator[Breach]:
    yield from _misnamed("--move", book, typed)
    for name, move in typed.items():
        place = ("--move", None, name, f"{move:g}")
        if not -1 < move <= 10:
            yield Breach(*place, "must be above -1 and at most 10", "write -12 % as -0.12")
        elif name in silent and name not in without:
            cure = "leave it out" if silent[name] == _CONSTANT else "correct them in exposures.csv, or leave it out"
            yield Breach(*place, silent[name], cure)


def _misprinted(moves: Mapping[str, float]) -> Iterator[Breach]:
    for name, move in moves.items():
        if not -1 < move <= 10:
            rule, cure = "moved by more than tenfold", f"adjust its prices for splits, or go on with --without {name}"
            yield Breach("prices.csv", None, name, f"{move:+.1%}", rule, cure)


def _of_prices(book: Book, since: dt.date) -> tuple[dict[str, float], dict[str, str]]:
    """Simple returns by instrument from the price history, and the names without a price on either day."""
    then, now = _rows(book, since)
    blank = {str(name): f"has no price on {row.name:%Y-%m-%d}" for row in (now, then) for name in row.index[row.isna()]}
    change = now / then - 1
    return {str(name): float(move) for name, move in change.items() if str(name) not in blank}, blank


def _rows(book: Book, since: dt.date) -> tuple[pd.Series[float], pd.Series[float]]:
    """The last prices on or before the market's date, and the last after it on or before as_of."""
    history, until = book.price_history, book.settings.book.as_of
    typing = "give moves: --move NVDA=-0.12"
    if since == until:
        rule, cure = "is as_of, so that prices have had no time to move", f"state an earlier one, or {typing}"
        raise BadInput([setting_breach("market.date", since, rule, cure)])
    if history is None:
        rule, cure = "there are no prices to read moves from", f"add prices.csv, or {typing}"
        raise BadInput.of("prices.csv", rule, cure)
    days = history.index
    then, now = history.loc[days <= np.datetime64(since)], history.loc[days <= np.datetime64(until)]
    if then.empty:
        rule, cure = f"has no row on or before {since}", "lengthen the history, or move [market] date"
        raise BadInput.of("prices.csv", rule, cure, column="date")
    if len(now) == len(then):
        rule = f"has no row after [market] date {since} up to as_of {until}, so that no time has passed"
        raise BadInput.of("prices.csv", rule, f"lengthen the history, or {typing}", column="date")
    return then.iloc[-1], now.iloc[-1]


_HEAVY = 1e4
"""Weight of the row that makes probabilities sum to one in the least-squares step."""
_ROUNDING = 1e-13
"""What floating point makes of a multiple that should be met, relative."""


@dataclass(frozen=True, eq=False)
class ImpliedProbabilities:
    """Probabilities (K,) and, for each name that was read, the move seen and the move that they explain (fractions).

    `stated` are the market's of its own date, `moved` the same after the signals and the silence since: what the model
    expects prices to say, and what `probabilities` are nearest to.
    """

    scenarios: tuple[str, ...]
    stated: Vector
    moved: Vector
    probabilities: Vector
    names: tuple[str, ...]
    observed: Vector
    explained: Vector
    not_read: tuple[UnreadMove, ...]

    @property
    def residuals(self) -> Vector:
        """Observed less explained: dear if positive, or more exposed to the winning scenario than its loadings say."""
        return self.observed - self.explained


def infer_probabilities(
    book: Book, moves: Mapping[str, float] | None = None, without: Collection[str] = ()
) -> ImpliedProbabilities:
    """Infer the market's probabilities from price moves since the market's date.

    `moves` are simple returns by instrument; without them prices.csv gives them, from the last price on or before
    `[market] date` to the last on or before as_of. The names in `without` are left out.

    Raises:
        BadInput: there is no model or market to read moves against, a name is unknown or tells nothing, or no
            probability at all can explain a move; says the nearest that one could.
        NotSolved: the least-squares fit to the moves was not found.
    """
    model, stated = calibrate(book), book.settings.market
    if model is None or stated is None or model.market_then is None or model.market_now is None:
        missing = "model" if model is None else "market"
        rule = "price moves are read through the efficiency model and what prices held before: [model] and [market]"
        cure = "add [market] with its date and probabilities" if stated is None and model is not None else _NO_MODEL
        raise BadInput([setting_breach(missing, None, rule, cure)])
    given = book.settings.horizon.announcement_share
    days = np.arange(max((book.settings.book.as_of - stated.date).days, 1))
    left = float(undigested_part(days, digestion_months(book)).mean())
    share = 1.0 if given is None else given + (1 - given) * (1 - left)
    if share == 0:
        rule, cure = "at 0 no price moves on news, so none can be read", "state a share above 0"
        raise BadInput([setting_breach("horizon.announcement_share", "0", rule, cure)])
    read = price_moves(book, model, stated.date, moves, without)
    names, moved = tuple(read.returns), np.array(list(read.returns.values()))
    at = [book.instruments.index(name) for name in names]
    years = (book.settings.book.as_of - stated.date).days / DAYS_A_MONTH / 12
    values, carry = model.market_values[:, at], (1 + model.loadings.required_return[at]) ** years
    priced = _Priced(values, model.market_now, model.market_then @ values, model.anchor[at], carry, share)
    with np.errstate(over="ignore"):  # what overflows is beyond every scenario, and refused as such
        multiples = priced.multiples(moved)
    if breaches := list(_impossible(book, read.returns, priced, multiples)):
        raise BadInput(breaches)
    nearest = _nearest(priced.values, multiples, model.market_now)
    probabilities = require_finite(nearest, "market", "the probabilities that prices imply")
    explained = require_finite(priced.moves(probabilities @ priced.values), "market", "what prices should have done")
    return ImpliedProbabilities(
        book.scenarios, model.market_then, model.market_now, probabilities, names, moved, explained, read.not_read
    )


@dataclass(frozen=True, eq=False)
class _Priced:
    """How n names are priced: `values` (K, n), the market's probabilities `now` (K,) if it knows no more than we do,
    what prices held on its own date, `then` (n,), and hold today by that, `anchor` (n,), what a name is required to
    have grown by since, `carry` (n,), and the `share` of other news that has come into prices since it came.
    """

    values: Matrix
    now: Vector
    then: Vector
    anchor: Vector
    carry: Vector
    share: float

    def multiples(self, moves: Vector) -> Vector:
        """(n,) expected values that these moves tell."""
        surprise = (1 + moves) / self.carry * self.then / self.anchor
        result: Vector = (self.now @ self.values) * surprise ** (1 / self.share)
        return result

    def moves(self, multiples: Vector) -> Vector:
        """(n,) the moves that tell these expected values."""
        surprise = (multiples / (self.now @ self.values)) ** self.share
        result: Vector = self.carry * surprise * self.anchor / self.then - 1
        return result


def _impossible(book: Book, observed: Mapping[str, float], priced: _Priced, multiples: Vector) -> Iterator[Breach]:
    """A move outside what certainty of the best or worst scenario would give has no probability behind it."""
    nearest = np.abs(priced.values - multiples).argmin(axis=0)
    reach = priced.moves(priced.values[nearest, np.arange(len(nearest))])
    for i, (name, move) in enumerate(observed.items()):
        if not priced.values[:, i].min() - 1e-12 <= multiples[i] <= priced.values[:, i].max() + 1e-12:
            cure = f"the nearest is {reach[i]:+.1%}, certainty of {book.scenarios[nearest[i]]}; look for other news or "
            cure += f"loadings, or go on with --without {name}"
            yield Breach("moves", None, name, f"{move:+.1%}", "no scenario probability explains this move", cure)


def _nearest(values: Matrix, multiples: Vector, prior: Vector) -> Vector:
    """(K,) probabilities: least squares to the multiples, and among those the least relative entropy to the prior."""
    from scipy.optimize import nnls

    require_finite(np.concatenate([values.ravel(), multiples, prior]), "market", "what prices are read against")
    if np.abs(prior @ values - multiples).max() <= _ROUNDING * multiples.max():
        return prior  # no news; names that are nearly alike would make more of the rounding
    count = values.shape[0]
    rows = np.vstack([values.T, np.full(count, _HEAVY)])
    try:
        fitted, _ = nnls(rows, np.append(multiples, _HEAVY))
    except RuntimeError as error:
        said = f"no probabilities were found that prices imply ({error}); leave names out with --without"
        raise NotSolved(said) from None
    fitted = fitted / fitted.sum()
    start = np.where(prior > 0, prior, 1e-12)
    directions = values - start @ values
    _, singular, right = np.linalg.svd(directions, full_matrices=False)
    kept = right[singular > singular.max(initial=0.0) * 1e-9]
    if not len(kept):
        return prior
    features = directions @ kept.T  # (K, rank): what the moves can tell scenarios apart by
    scale = np.abs(features).max(axis=0)
    features = features / scale
    wanted = fitted @ features

    tilted = _tilted(start, features, wanted)
    # on the edge of what is possible the tilt runs away; there the least-squares fit is the answer
    return tilted if float(np.abs(tilted @ features - wanted).max()) < 1e-6 else fitted


def _tilted(start: Vector, features: Matrix, wanted: Vector) -> Vector:
    """(K,) start·exp(features·θ), normalised, with the wanted means: the least relative entropy to `start` there is."""
    from scipy.optimize import minimize

    def tilt(theta: Vector) -> tuple[Vector, float]:
        exponent = features @ theta
        top = float(exponent.max())
        weight = start * np.exp(exponent - top)
        return weight / weight.sum(), top + float(np.log(weight.sum()))

    def dual(theta: Vector) -> tuple[float, Vector]:
        tilted, log_sum = tilt(theta)
        return log_sum - float(theta @ wanted), tilted @ features - wanted

    least = minimize(dual, np.zeros(len(wanted)), jac=True, method="BFGS", options={"gtol": 1e-12, "maxiter": 500})
    theta, tilted = least.x, tilt(least.x)[0]
    for _ in range(5):  # the line search stops where the dual is flat to rounding, at 1e-9; Newton's steps do not
        miss = tilted @ features - wanted
        spread = (features - tilted @ features).T @ (tilted[:, None] * (features - tilted @ features))
        theta = theta - np.linalg.lstsq(spread, miss, rcond=None)[0]
        better = tilt(theta)[0]
        if not np.abs(better @ features - wanted).max() < np.abs(miss).max():
            break
        tilted = better
    result: Vector = tilted
    return result
