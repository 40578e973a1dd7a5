"""What prices imply: the scenario probabilities under which the model moves as prices did.

Of all that do, those nearest in relative entropy to what the signals and the silence make of the market's own: a move
that says no more than these is no news.

A price that moved by m since the market's own date tells Σ_k p_k V_ki = A_i(0)·(m / (1 + k_i)^t)^(1/J): the share J of
a re-pricing comes with the news. Several names over-determine the probabilities; then the nearest in least squares is
taken, and each name's residual is either mispricing or a wrong exposure: the numbers cannot tell which.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, nnls

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.outlook.beliefs import sound
from allocator.outlook.model import Modelled, modelled
from allocator.outlook.moves import NotRead, moves_of
from allocator.outlook.question import DAYS_A_MONTH
from allocator.settings.uncertainty import MarketSection
from allocator.types import Matrix, Vector

_HEAVY = 1e4
"""Weight of the row that makes probabilities sum to one in the least-squares step."""
_ROUNDING = 1e-13
"""What floating point makes of a multiple that should be met, relative."""


@dataclass(frozen=True, eq=False)
class Implied:
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
    not_read: tuple[NotRead, ...]

    @property
    def residuals(self) -> Vector:
        """Observed less explained: dear if positive, or more exposed to the winning scenario than its loadings say."""
        return self.observed - self.explained


def implied(book: Book, moves: Mapping[str, float] | None = None, without: Collection[str] = ()) -> Implied:
    """Infer the market's probabilities from price moves since the market's date.

    `moves` are simple returns by instrument; without them prices.csv gives them, from the last price on or before
    `[market] date` to the last on or before as_of. The names in `without` are left out.

    Raises:
        BadInput: there is no model or market to read moves against, a name is unknown or tells nothing, or no
            probability at all can explain a move; says the nearest that one could.
    """
    model, stated, then, now = _to_read_against(book)
    share = book.settings.horizon.announcement_share
    share = 1.0 if share is None else share
    if share == 0:
        rule, cure = "at 0 no price moves on news, so none can be read", "state a share above 0"
        raise BadInput([Breach("book.toml", None, "horizon.announcement_share", "0", rule, cure)])
    read = moves_of(book, model, stated.date, moves, without)
    names, moved = tuple(read.returns), np.array(list(read.returns.values()))
    years = (book.settings.book.as_of - stated.date).days / DAYS_A_MONTH / 12
    at = [book.instruments.index(name) for name in names]
    carry = (1 + model.loadings.required_return[at]) ** years
    values, before = model.values[:, at], then @ model.values[:, at]
    with np.errstate(over="ignore"):  # what overflows is beyond every scenario, and refused as such
        multiples = before * ((1 + moved) / carry) ** (1 / share)
    _refuse_impossible(book, read.returns, values, before, carry, share, multiples)
    probabilities = sound(_nearest(values, multiples, now), "market", "the probabilities that prices imply")
    explained = sound(carry * (probabilities @ values / before) ** share - 1, "market", "what prices should have done")
    return Implied(book.scenarios, then, now, probabilities, names, moved, explained, read.not_read)


def _to_read_against(book: Book) -> tuple[Modelled, MarketSection, Vector, Vector]:
    """The model, the market as stated, and its probabilities of then and of now."""
    model, stated = modelled(book), book.settings.market
    if model is None or stated is None or model.market_then is None or model.market_now is None:
        rule = "price moves mean nothing without [model] and [market]"
        cure = "add both: [market] gives the probabilities to start from and their date"
        raise BadInput([Breach("book.toml", None, "market", None, rule, cure)])
    return model, stated, model.market_then, model.market_now


def _refuse_impossible(
    book: Book,
    observed: Mapping[str, float],
    values: Matrix,
    before: Vector,
    carry: Vector,
    share: float,
    multiples: Vector,
) -> None:
    """A move outside what certainty of the best or worst scenario would give has no probability behind it."""
    breaches = []
    for i, (name, move) in enumerate(observed.items()):
        low, high = float(values[:, i].min()), float(values[:, i].max())
        if low - 1e-12 <= multiples[i] <= high + 1e-12:
            continue
        nearest = int(np.argmin(np.abs(values[:, i] - multiples[i])))
        reach = carry[i] * (values[nearest, i] / before[i]) ** share - 1
        rule = "no scenario probability explains this move"
        cure = (
            f"the nearest is {reach:+.1%}, certainty of {book.scenarios[nearest]}; look for other news or loadings, "
            f"or go on with --without {name}"
        )
        breaches.append(Breach("moves", None, name, f"{move:+.1%}", rule, cure))
    if breaches:
        raise BadInput(breaches)


def _nearest(values: Matrix, multiples: Vector, prior: Vector) -> Vector:
    """(K,) probabilities: least squares to the multiples, and among those the least relative entropy to the prior."""
    sound(np.concatenate([values.ravel(), multiples, prior]), "market", "what prices are read against")
    if np.abs(prior @ values - multiples).max() <= _ROUNDING * multiples.max():
        return prior  # no news; names that are nearly alike would make more of the rounding
    count = values.shape[0]
    rows = np.vstack([values.T, np.full(count, _HEAVY)])
    fitted, _ = nnls(rows, np.append(multiples, _HEAVY))
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

    def tilt(theta: Vector) -> tuple[Vector, float]:
        exponent = features @ theta
        top = float(exponent.max())
        weight = start * np.exp(exponent - top)
        return weight / weight.sum(), top + float(np.log(weight.sum()))

    def dual(theta: Vector) -> tuple[float, Vector]:
        tilted, log_sum = tilt(theta)
        return log_sum - float(theta @ wanted), tilted @ features - wanted

    found = minimize(dual, np.zeros(len(wanted)), jac=True, method="BFGS", options={"gtol": 1e-12, "maxiter": 500})
    theta, tilted = found.x, tilt(found.x)[0]
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
