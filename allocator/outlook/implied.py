"""What prices imply: the scenario probabilities nearest to the prior under which the model moves as prices did.

A price that moved by m since the market's own date tells Σ_k p_k V_ki = A_i(0)·(m / (1 + k_i)^t)^(1/J): the share J of
a re-pricing comes with the news. Several names over-determine the probabilities; then the nearest in least squares is
taken, and each name's residual is either mispricing or a wrong exposure: the numbers cannot tell which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, nnls

from allocator.book.book import Book
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.outlook.beliefs import DAYS_A_MONTH
from allocator.outlook.model import modelled
from allocator.types import Matrix, Vector

_HEAVY = 1e4
"""Weight of the row that makes probabilities sum to one in the least-squares step."""


@dataclass(frozen=True, eq=False)
class Implied:
    """Probabilities (K,) and, for each observed name, the move seen and the move that they explain (fractions)."""

    scenarios: tuple[str, ...]
    prior: Vector
    probabilities: Vector
    names: tuple[str, ...]
    observed: Vector
    explained: Vector

    @property
    def residuals(self) -> Vector:
        """Observed less explained: dear if positive, or more exposed to the winning scenario than its loadings say."""
        return self.observed - self.explained


def implied(book: Book, moves: Mapping[str, float] | None = None) -> Implied:
    """Infer the market's probabilities from price moves since the market's date.

    `moves` are simple returns by instrument; without them prices.csv gives them, from the last price on or before
    `[market] date` to the last on or before as_of.

    Raises:
        BadInput: there is no model or market to read moves against, a name is unknown, or no probability at all can
            explain a move; says the nearest that one could.
    """
    model = modelled(book)
    stated = book.settings.market
    if model is None or stated is None or model.market_then is None:
        raise BadInput(
            [
                _breach(
                    "market",
                    None,
                    "price moves mean nothing without [model] and [market]",
                    "add both: [market] gives the probabilities to start from and their date",
                )
            ]
        )
    share = book.settings.horizon.announcement_share
    share = 1.0 if share is None else share
    if share == 0:
        raise BadInput(
            [
                _breach(
                    "horizon.announcement_share",
                    "0",
                    "at 0 no price moves on news, so none can be read",
                    "state a share above 0",
                )
            ]
        )
    observed = dict(moves) if moves is not None else _moves(book)
    _refuse_unknown(book, observed)
    years = (book.settings.book.as_of - stated.date).days / DAYS_A_MONTH / 12
    at = [book.instruments.index(name) for name in observed]
    carry = (1 + model.loadings.required_return[at]) ** years
    values, before = model.values[:, at], model.market_then @ model.values[:, at]
    moved = np.array(list(observed.values()))
    multiples = before * ((1 + moved) / carry) ** (1 / share)
    _refuse_impossible(book, observed, values, before, carry, share, multiples)
    probabilities = _nearest(values, multiples, model.market_then)
    explained = carry * (probabilities @ values / before) ** share - 1
    return Implied(book.scenarios, model.market_then, probabilities, tuple(observed), moved, explained)


def _breach(key: str, value: str | None, rule: str, cure: str) -> Breach:
    return Breach("book.toml", None, key, value, rule, cure)


def _moves(book: Book) -> dict[str, float]:
    """Simple returns by instrument from the price history."""
    stated, history = book.settings.market, book.price_history
    if stated is None or history is None:
        raise BadInput(
            [
                Breach(
                    "prices.csv",
                    None,
                    None,
                    None,
                    "there are no prices to read moves from",
                    "add prices.csv, or give moves: --move NVDA=-0.12",
                )
            ]
        )
    then = history.loc[: str(stated.date)].tail(1)
    now = history.loc[: str(book.settings.book.as_of)].tail(1)
    if then.empty or now.empty:
        raise BadInput(
            [
                Breach(
                    "prices.csv",
                    None,
                    "date",
                    None,
                    f"has no row on or before {stated.date}",
                    "lengthen the history, or move [market] date",
                )
            ]
        )
    change = (now.iloc[0] / then.iloc[0] - 1).dropna()
    return {str(name): float(value) for name, value in change.items()}


def _refuse_unknown(book: Book, observed: Mapping[str, float]) -> None:
    breaches = [
        Breach("--move", None, None, name, "no such instrument in exposures.csv", did_you_mean(name, book.instruments))
        for name in observed
        if name not in book.instruments
    ]
    breaches += [
        Breach("--move", None, name, f"{move:g}", "must be above -1 and at most 10", "write -12 % as -0.12")
        for name, move in observed.items()
        if not -1 < move <= 10
    ]
    if not observed:
        breaches.append(
            Breach("--move", None, None, None, "no price move is given", "write for example --move NVDA=-0.12")
        )
    if breaches:
        raise BadInput(breaches)


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
        breaches.append(
            Breach(
                "moves",
                None,
                name,
                f"{move:+.1%}",
                "no scenario probability explains this move",
                f"the nearest is {reach:+.1%}, certainty of {book.scenarios[nearest]}; look for other news or loadings",
            )
        )
    if breaches:
        raise BadInput(breaches)


def _nearest(values: Matrix, multiples: Vector, prior: Vector) -> Vector:
    """(K,) probabilities: least squares to the multiples, and among those the least relative entropy to the prior."""
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

    def dual(theta: Vector) -> tuple[float, Vector]:
        exponent = features @ theta
        top = float(exponent.max())
        weight = start * np.exp(exponent - top)
        tilted = weight / weight.sum()
        return top + float(np.log(weight.sum())) - float(theta @ wanted), tilted @ features - wanted

    found = minimize(dual, np.zeros(len(kept)), jac=True, method="BFGS", options={"gtol": 1e-12, "maxiter": 500})
    exponent = features @ found.x
    weight = start * np.exp(exponent - exponent.max())
    tilted: Vector = weight / weight.sum()
    # on the edge of what is possible the tilt runs away; there the least-squares fit is the answer
    return tilted if float(np.abs(tilted @ features - wanted).max()) < 1e-6 else fitted
