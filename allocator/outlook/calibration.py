"""From a book to the efficiency model: its scenarios, its loadings, and the returns anchored to what prices imply."""

from __future__ import annotations

import datetime as dt
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from allocator.book.book import Book
from allocator.book.checks.question import ALWAYS, APPLICATION, PARAMETERS
from allocator.outlook.efficiency_model import (
    Loadings,
    Market,
    ModelScenarios,
    Number,
    Technique,
    driver_attribution,
    market_quantities,
    scenario_returns,
    value_multipliers,
)
from allocator.outlook.posterior import BeliefRanges, posterior, require_finite, update_market_probabilities
from allocator.outlook.question import DemandElasticity, Lab, Question, Signal
from allocator.settings.settings import DAYS_A_YEAR
from allocator.types import Matrix, Vector

_NEUTRAL = {
    "gross_margin": 1.0,
    "token_share": 0.0,
    "passed_on": 0.0,
    "application_margin": 1.0,
    "application_elasticity": 0.0,
}
"""What stands in for a parameter that multiplies a loading of zero."""


@dataclass(frozen=True, eq=False)
class CalibratedModel:
    """The efficiency model's view of a book: returns and value multipliers (K, N), and the anchor of each name (N,).

    `market_then` and `market_now` (K,) are the market's probabilities on its own date and on as_of; None without
    `[market]`, when the anchor is today's value, 1.
    """

    market: Market
    loadings: Loadings
    technique: Technique
    values: Matrix
    anchor: Vector
    returns: Matrix
    market_then: Vector | None
    market_now: Vector | None

    def drivers(self, years: float) -> Matrix:
        """(K, N, drivers + 1) what each driver adds to the return, last the required return and anchor; sums to it."""
        growth = (1 + self.loadings.required_return) ** years / self.anchor
        parts = driver_attribution(self.market, self.loadings, self.technique) * growth[None, :, None]
        rest = np.broadcast_to(growth - 1, self.returns.shape)[:, :, None]
        return np.concatenate([parts, rest], axis=2)


def build_question(book: Book) -> Question | None:
    """The replicability question of `book.toml`; None where its probabilities are simply given."""
    settings = book.settings.question
    if settings is None:
        return None
    scenarios = book.settings.scenarios.values()
    demand = settings.demand
    return Question(
        opened=settings.opened,
        labs={name: Lab(**lab.model_dump()) for name, lab in settings.labs.items()},
        prior=np.array([scenario.probability for scenario in scenarios]),
        generalizable=np.array([scenario.hypothesis == "generalizable" for scenario in scenarios]),
        jevons=np.array([scenario.demand == "jevons" for scenario in scenarios]),
        sensitivity=settings.sensitivity,
        false_positive=settings.false_positive,
        frailty=settings.frailty,
        demand=None if demand is None else DemandElasticity(*demand.model_dump().values()),
        threshold=settings.threshold,
        release=settings.release,
    )


def belief_ranges(book: Book) -> BeliefRanges | None:
    """What the book is unsure of."""
    ranges = book.settings.question.ranges if book.settings.question is not None else None
    if ranges is None:
        return None
    pairs = (ranges.prior_generalizable, ranges.disclosure, ranges.hazard, ranges.background)
    return BeliefRanges(*((low, high) for low, high in pairs))


def dated_signals(book: Book) -> list[Signal]:
    """The dated observations, in date order."""
    if book.signals is None:
        return []
    return [_signal(row) for row in book.signals.to_dict("records")]


def _signal(row: Mapping[Hashable, Any]) -> Signal:
    day, kind, since = row["date"].date(), str(row["kind"]), row.get("since")
    if kind == "usage":
        return Signal(day, kind, "", float(row["price_fall"]), float(row["usage_growth"]))
    return Signal(day, kind, str(row["source"]), since=since.date() if since is not None and pd.notna(since) else None)


def scenario_probabilities(book: Book, day: dt.date | None = None) -> Vector:
    """(K,) scenario probabilities on `day` (as_of by default): the stated ones, updated by signals and silence."""
    question = build_question(book)
    if question is None:
        return np.array([scenario.probability for scenario in book.settings.scenarios.values()])
    result: Vector = posterior(question, dated_signals(book), [day or book.settings.book.as_of])[0]
    return result


def calibrate(book: Book) -> CalibratedModel | None:
    """What the efficiency model makes of the book; None where the book has no `[model]`.

    Names whose returns the user gives are in it too where they have loadings; their returns here are the model's.
    """
    settings = book.settings
    if settings.model is None:
        return None
    technique = Technique(**settings.model.model_dump(exclude={"since"}))
    years, loadings = settings.years, model_loadings(book)
    state = market_quantities(model_scenarios(book), technique, years + adoption_years(book))
    values = require_finite(value_multipliers(state, loadings, technique), "model", "what the names are worth")
    then, now = market_probabilities(book)
    share = float(settings.horizon.announcement_share or 0.0)
    anchor = require_finite(market_anchor(values, then, now, share), "market", "what prices already hold")
    returns = require_finite(scenario_returns(values, loadings, anchor, years), "model", "what the names return")
    return CalibratedModel(state, loadings, technique, values, anchor, returns, then, now)


def adoption_years(book: Book) -> float:
    """Years for which labs have been adopting the technique by as_of."""
    model = book.settings.model
    since = None if model is None else model.since
    return 0.0 if since is None else (book.settings.book.as_of - since).days / DAYS_A_YEAR


def model_scenarios(book: Book) -> ModelScenarios:
    """The efficiency model's parameters of each scenario."""
    scenarios, named = book.settings.scenarios.values(), (*PARAMETERS, "capacity")
    return ModelScenarios(
        **{name: np.array([getattr(scenario, name) for scenario in scenarios], dtype=float) for name in named}
    )


def has_loadings(book: Book) -> NDArray[np.bool_]:
    """(N,) whether a name has every loading that the model wants: a name whose returns are typed in may have none."""

    nothing = np.zeros(len(book.instruments), dtype=bool)

    def filled(column: str) -> NDArray[np.bool_]:
        return book.exposures[column].notna().to_numpy(dtype=bool) if column in book.exposures else nothing

    def hangs_on(loading: str) -> NDArray[np.bool_]:
        given = book.exposures.get(loading)
        return nothing if given is None else given.fillna(0.0).to_numpy(dtype=float) != 0

    complete = filled("gross_margin") | ~hangs_on("inference")
    for column in ALWAYS:
        complete &= filled(column)
    for column in APPLICATION:
        complete &= filled(column) | ~hangs_on("application")
    return complete


def model_loadings(book: Book) -> Loadings:
    """(N,) arrays; a parameter of a zero loading may be blank, and a name without loadings is all other."""
    loadings = {}
    for name in (*ALWAYS, "gross_margin", *APPLICATION):
        default = _NEUTRAL.get(name, 1.0 if name == "other" else 0.0)
        given = book.exposures.get(name, pd.Series(default, book.exposures.index))
        loadings[name] = np.asarray(given.fillna(default), dtype=np.float64)
    return Loadings(**loadings)


def market_probabilities(book: Book, question: Question | None = None) -> tuple[Vector | None, Vector | None]:
    """(K,) the market's probabilities on its own date, and the same moved to as_of by signals and silence since.

    `question` stands for the book's own where its numbers are draws: then (draws, 1, K) on as_of. None without
    `[market]`.
    """
    stated = book.settings.market
    if stated is None:
        return None, None
    then = np.array([stated.probabilities[name] for name in book.scenarios])
    question, as_of = question or build_question(book), book.settings.book.as_of
    if question is None or stated.date == as_of:
        return then, then
    return then, update_market_probabilities(question, then, dated_signals(book), stated.date, as_of)


def market_anchor(values: Matrix, then: Vector | None, now: Vector | None, share: Number) -> Vector:
    """(N,) what prices of as_of already hold: A(0)·(Σ p_t V / Σ p_0 V)^J, the part that came with the news.

    `then` p_0 are the market's probabilities of its own date, `now` p_t those of as_of; 1 without them. With values
    (draws, K, N), `now` (draws, 1, K) and `share` (draws, 1): (draws, N).
    """
    if then is None or now is None:
        return np.ones((*values.shape[:-2], values.shape[-1]))
    before: Vector = then @ values
    if now is then:
        return before
    after = now @ values if now.ndim == 1 else (now @ values)[..., 0, :]
    result: Vector = before * (after / before) ** share
    return result
