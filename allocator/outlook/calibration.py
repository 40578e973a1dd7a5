"""From a book to the efficiency model: its scenarios, its loadings, and the returns anchored to what prices imply."""

from __future__ import annotations

import datetime as dt
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from allocator.book.book import Book
from allocator.book.checks.question import ALWAYS, ANY_SOURCE, ANY_SOURCE_NAMES, said_hypothesis
from allocator.book.checks.rules import bucket_counts
from allocator.errors import BadInput, setting_breach
from allocator.outlook.efficiency_model import (
    SPLITS,
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
from allocator.outlook.efficiency_model_settings import APPLICATION, MOST_RETURN, NEUTRAL, NOT_DRAWN, ModelSection
from allocator.outlook.posterior import (
    BeliefRanges,
    bayes_update,
    posterior,
    require_finite,
    update_market_probabilities,
)
from allocator.outlook.question import DAYS_A_MONTH, DemandElasticity, DisclosureModel, Question, Signal
from allocator.settings.settings import DAYS_A_YEAR, EARLIER_SHARES
from allocator.types import Matrix, Vector

_ROUNDING = 1e-9
_EXCLUDED = 500.0
"""How far, in logs, a view takes a scenario that it excludes: as far as evidence may."""


@dataclass(frozen=True, eq=False)
class CalibratedModel:
    """The efficiency model's view of a book: returns and value multipliers (K, N), and the anchor of each name (N,).

    `market_values` (K, N) are the multipliers by the market's own parameters, which the anchor is of: `values`, where
    it has none. `path` are the market's probabilities from its own date to as_of; None without `[market]`, when the
    anchor is today's value, 1. `undigested` (N,) is the news of it that prices have not taken in yet, in logs.
    """

    market: Market
    loadings: Loadings
    technique: Technique
    values: Matrix
    market_values: Matrix
    anchor: Vector
    returns: Matrix
    path: MarketPath | None
    undigested: Vector

    @property
    def market_then(self) -> Vector | None:
        """(K,) the market's probabilities on its own date."""
        return None if self.path is None else self.path.then

    @property
    def market_now(self) -> Vector | None:
        """(K,) the same on as_of."""
        return None if self.path is None else self.path.now

    def drivers(self, years: float) -> dict[str, Matrix]:
        """(K, N) by driver, what it adds to the return; last the required return and anchor; all sum to it."""
        growth = (1 + self.loadings.required_return) ** years / self.anchor
        parts = driver_attribution(self.market, self.loadings, self.technique)
        rest = np.broadcast_to(growth - 1, self.returns.shape)
        return {name: part * growth for name, part in parts.items()} | {"required return and anchor": rest}


def build_question(book: Book) -> Question | None:
    """The open question of `book.toml`; None where its probabilities are simply given."""
    settings, asked = book.settings, book.settings.question
    if asked is None:
        return None
    scenarios, demand = settings.scenarios.values(), asked.demand
    hypotheses, regimes = settings.hypotheses, settings.regimes
    question = Question(
        opened=asked.opened,
        hypotheses=hypotheses,
        sources={
            source: {name: DisclosureModel(**model.model_dump()) for name, model in models.items()}
            for source, models in settings.sources.items()
        },
        prior=np.array([scenario.probability for scenario in scenarios]),
        answers=np.array([hypotheses.index(str(scenario.hypothesis)) for scenario in scenarios]),
        regimes=regimes,
        regime_of=np.array([regimes.index(str(each.regime)) for each in scenarios]) if regimes else None,
        sensitivity=asked.sensitivity,
        false_positive=asked.false_positive,
        frailty=asked.frailty,
        demand=None if demand is None else DemandElasticity(*demand.model_dump().values()),
        threshold=asked.threshold,
        release=asked.release,
    )
    if not settings.believe:
        return question
    today = settings.book.as_of
    believed = posterior(question, dated_signals(book), [today])[0]
    return replace(question, view=(today, _view(book, believed)))


def _view(book: Book, believed: Vector) -> Vector:
    """(K,) what `[believe]` adds to the log odds of the scenarios: the Bayes factors that turn what is `believed` into
    the view, in which the others keep their proportions.
    """
    view, scenarios = book.settings.believe, book.settings.scenarios
    stated = np.array([view.get(str(each.hypothesis), view.get(name, np.nan)) for name, each in scenarios.items()])
    names = [each.hypothesis if each.hypothesis in view else name for name, each in scenarios.items()]
    rest = np.isnan(stated)
    groups = np.array([believed[[other == name for other in names]].sum() for name in names])
    now = np.where(rest, believed[rest].sum(), groups)
    left = 1 - sum(view.values())
    then = np.where(rest, left if left > _ROUNDING else 0.0, stated)
    if ((now <= 0) & (then > 0)).any():
        rule = "gives probability to what is impossible before it"
        raise BadInput([setting_breach("believe", None, rule, "give it a prior above 0, or leave it out")])
    with np.errstate(divide="ignore"):
        result: Vector = np.where(now > 0, np.log(np.maximum(then, 0.0)) - np.log(np.where(now > 0, now, 1.0)), 0.0)
    return np.maximum(result, -_EXCLUDED)


def belief_ranges(book: Book) -> BeliefRanges | None:
    """What the book is unsure of."""
    ranges = book.settings.question.ranges if book.settings.question is not None else None
    if ranges is None:
        return None
    pairs = (ranges.prior, ranges.disclosure, ranges.hazard, ranges.background)
    return BeliefRanges(*((low, high) for low, high in pairs))


def dated_signals(book: Book) -> list[Signal]:
    """The dated observations, in date order."""
    if book.signals is None:
        return []
    sources, names = book.settings.sources, list(book.signals.columns)
    cells = zip(*(book.signals[name].tolist() for name in names), strict=True)  # to_dict takes five times as long
    rows: Iterator[dict[Hashable, Any]] = (dict(zip(names, row, strict=True)) for row in cells)
    return [_signal(row, said_hypothesis(sources, row) or "") for row in rows]


def _signal(row: Mapping[Hashable, Any], hypothesis: str) -> Signal:
    def cell(name: str, otherwise: Any) -> Any:
        return otherwise if pd.isna(row.get(name)) else row[name]

    day, kind, since = row["date"].date(), str(row["kind"]), cell("since", None)
    if kind == "usage":
        return Signal(day, kind, price_fall=float(row["price_fall"]), usage_growth=float(row["usage_growth"]))
    return Signal(
        day,
        kind,
        ANY_SOURCE if row["source"] in ANY_SOURCE_NAMES else str(row["source"]),
        hypothesis,
        since=None if since is None else since.date(),
        strength=float(cell("strength", 1.0)),
        log10_bayes_factor=float(cell("log10_bayes_factor", 0.0)),
    )


def scenario_probabilities(book: Book, day: dt.date | None = None) -> Vector:
    """(K,) scenario probabilities on `day` (as_of by default): the stated ones, updated by signals and silence, and by
    the view of `[believe]`.
    """
    question = build_question(book)
    if question is None:
        stated = np.array([scenario.probability for scenario in book.settings.scenarios.values()])
        return bayes_update(stated, _view(book, stated)[None, :])[0] if book.settings.believe else stated
    result: Vector = posterior(question, dated_signals(book), [day or book.settings.book.as_of])[0]
    return result


def calibrate(book: Book) -> CalibratedModel | None:
    """What the efficiency model makes of the book; None where the book has no `[model]`.

    Names whose returns the user gives are in it too where they have loadings; their returns here are the model's.
    """
    settings = book.settings
    if settings.model is None:
        return None
    technique = model_technique(settings.model)
    years, loadings, scenarios = settings.years, model_loadings(book), model_scenarios(book)
    adopted = years + adoption_years(book)
    state = market_quantities(scenarios, technique, adopted)
    values = require_finite(value_multipliers(state, loadings, technique), "model", "what the names are worth")
    own, implied = market_scenarios(book, scenarios), values
    if own is not scenarios:
        implied = value_multipliers(market_quantities(own, technique, adopted), loadings, technique)
        implied = require_finite(implied, "market.scenarios", "what the names are worth to the market")
    path = market_path(book)
    anchor, undigested = market_anchor(implied, path, announcement_share(book))
    require_finite(anchor, "market", "what prices already hold")
    returns = require_finite(scenario_returns(values, loadings, anchor, years), "model", "what the names return")
    return CalibratedModel(state, loadings, technique, values, implied, anchor, returns, path, undigested)


def model_technique(stated: ModelSection) -> Technique:
    """What `[model]` states of the market."""
    return Technique(**stated.model_dump(exclude=NOT_DRAWN))


def typed_names(book: Book) -> NDArray[np.bool_]:
    """(N,) whose scenario returns the user states."""
    typed = {*book.scenario_returns.index}
    return np.array([name in typed for name in book.instruments], dtype=np.bool_)


def market_growth(book: Book, growth: Matrix) -> Matrix:
    """(K, N) growth to the horizon as the market believes it, from ours: other where [market.scenarios] has its own
    parameters, and the name's returns are the model's.
    """
    if book.settings.market is None or not book.settings.market.scenarios:
        return growth
    model = calibrate(book)
    assert model is not None  # the market's own parameters are held to a book with a model
    typed = typed_names(book)
    return np.where(typed, growth, growth * model.market_values / model.values)


def implausible(book: Book, returns: Matrix) -> NDArray[np.bool_]:
    """(…, K, N) whether the model's returns are above `model.max_return` a year, or over a horizon that is shorter."""
    assert book.settings.model is not None
    most = (1 + book.settings.model.max_return) ** max(book.settings.years, 1.0) - 1
    result: NDArray[np.bool_] = (returns > most) & ~typed_names(book)
    return result


def refuse_implausible(book: Book, model: CalibratedModel) -> None:
    """Hold the model's returns to `model.max_return`, by name; if it is not stated, those that a value floor makes.

    Evidence alone can carry a price far from what one scenario says: its return is then high, and unlikely.

    Raises:
        BadInput: a return is above it; says of each in which scenario, of which name and what makes it.
    """
    settings = book.settings
    assert settings.model is not None
    most, annual = settings.model.max_return, (1 + model.returns) ** (1 / max(settings.years, 1.0)) - 1
    floored, stated = model.market_values <= settings.model.least_value, "max_return" in settings.model.model_fields_set
    beyond = np.argwhere(implausible(book, model.returns) & (stated | floored.any(axis=0)))
    needed = max((ceil(float(annual[k, i]) * 10) / 10 for k, i in beyond), default=0.0)
    other = f", or write max_return = {needed:g} if it is meant" if needed <= MOST_RETURN else ""
    breaches = []
    for k, i in beyond:
        floors = np.flatnonzero(floored[:, i])
        cause = f"its value there is {model.values[k, i]:.3g} of today's, and its price holds {model.anchor[i]:.3g}"
        cure = f"correct the parameters of {book.scenarios[k]}"
        if floors.size:
            names = ", ".join(book.scenarios[j] for j in floors)
            cause, cure = f"value floor reached in {names}", f"correct the parameters of {names}"
        rule = f"{book.instruments[i]} returns {annual[k, i]:+.0%} a year in {book.scenarios[k]}: {cause}"
        breaches.append(setting_breach("model.max_return", f"{most:g}", rule, cure + other))
    if breaches:
        raise BadInput(breaches)


def price_notes(book: Book) -> tuple[str, ...]:
    """A sentence for each scenario in which pass-through asks for a price that the marginal seller does not support."""
    if (model := calibrate(book)) is None:
        return ()
    market = model.market
    return tuple(
        f"{name}: pass_through {market.scenarios.pass_through[k]:.2f} asks for a price of {market.passed_on[k]:.3f}; "
        f"rivals need {market.price[k]:.3f}, which is used."
        for k, name in enumerate(book.scenarios)
        if market.price[k] > market.passed_on[k]
    )


def adoption_years(book: Book) -> float:
    """Years for which labs have been adopting the technique by as_of."""
    model = book.settings.model
    since = None if model is None else model.since
    return 0.0 if since is None else (book.settings.book.as_of - since).days / DAYS_A_YEAR


def model_scenarios(book: Book) -> ModelScenarios:
    """The efficiency model's parameters of each scenario."""
    scenarios, named = book.settings.scenarios.values(), [field.name for field in fields(ModelScenarios)]
    return ModelScenarios(
        **{name: np.array([getattr(scenario, name) for scenario in scenarios], dtype=float) for name in named}
    )


def market_scenarios(book: Book, ours: ModelScenarios) -> ModelScenarios:
    """The same as the market believes them: its own of [market.scenarios], elsewhere ours, which may be draws."""
    stated = {} if book.settings.market is None else book.settings.market.scenarios
    changed: dict[str, Matrix] = {}
    for scenario, parameters in stated.items():
        for name, value in parameters.model_dump(exclude_unset=True, exclude_none=True).items():
            changed.setdefault(name, getattr(ours, name).copy())
            changed[name][..., book.scenarios.index(scenario)] = value
    return replace(ours, **changed) if changed else ours


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
    gaining, losing = bucket_counts(book.exposures, *EARLIER_SHARES)
    loadings = {"efficiency_tilt": gaining - losing}
    for name in (field.name for field in fields(Loadings) if field.name not in loadings):
        default = NEUTRAL.get(name, 1.0 if name == "other" else 0.0)
        given = book.exposures.get(name, pd.Series(default, book.exposures.index))
        loadings[name] = np.asarray(given.fillna(default), dtype=np.float64)
    return Loadings(**loadings)


def model_splits(book: Book) -> dict[str, Vector]:
    """(N,) parts of each name's value by what the model tells apart beside the buckets; nothing without a model."""
    if book.settings.model is None:
        return {}
    loadings = model_loadings(book)
    return {name: part(loadings) for name, part in SPLITS.items()}


# What prices hold of the news so far: the announcement share J of a day's re-pricing came with the news, and the rest
# is digested with a half-life. With m(t) = Σ p V the value that the market sees on day t, and the age of news:
#
#     ln A(t) = ln m(0) + Σ_u Δln m(u)·w(t − u),   w(age) = J + (1 − J)(1 − 2^(−age/half)) = 1 − (1 − J)·2^(−age/half),
#
# so that A(t) = m(0)·(m(t)/m(0))^J·exp((1 − J)·Σ_u Δln m(u)·(1 − 2^(−(t − u)/half))) = m(t)·exp(−(1 − J)·U(t)), with
# U(t) = Σ_u Δln m(u)·2^(−(t − u)/half) the news still undigested. V is that of as_of's horizon on every day.
#
_FORGOTTEN = 60.0
"""Half-lives after which less of a day's news is left than a number can hold."""


@dataclass(frozen=True, eq=False)
class MarketPath:
    """The market's `probabilities` (…, T, K) from its own date to as_of, and of the news between one and the next what
    is `left` (T − 1,) to be digested, apart from what came with it: 2^(−age/half).
    """

    probabilities: Matrix
    left: Vector

    @property
    def then(self) -> Vector:
        """(K,) on the market's own date, the same in every draw."""
        result: Vector = self.probabilities[(0,) * (self.probabilities.ndim - 1)]
        return result

    @property
    def now(self) -> Vector:
        """(…, K) on as_of."""
        result: Vector = self.probabilities[..., -1, :]
        return result


def market_path(book: Book, question: Question | None = None) -> MarketPath | None:
    """The market's probabilities day by day, moved by signals and silence; None without `[market]`.

    `question` stands for the book's own where its numbers are draws: then (draws, T, K).
    """
    stated = book.settings.market
    if stated is None:
        return None
    then = np.array([stated.probabilities[name] for name in book.scenarios])
    question, as_of = question or build_question(book), book.settings.book.as_of
    if question is None or stated.date == as_of:
        return MarketPath(then[None, :], np.zeros(0))
    days, left = digestion_days(stated.date, as_of, digestion_months(book))
    moved = update_market_probabilities(question, then, dated_signals(book), days)
    moved[..., 0, :] = then  # as it is stated, to the last digit
    return MarketPath(moved, left)


def announcement_share(book: Book) -> float:
    """The part of a re-pricing that comes with the news; 0 where none is stated, and no news is awaited."""
    return float(book.settings.horizon.announcement_share or 0.0)


def digestion_months(book: Book) -> float:
    """The half-life of the rest; infinite where none is stated."""
    stated = book.settings.horizon.digestion_months
    return np.inf if stated is None else float(stated)


def digestion_days(since: dt.date, until: dt.date, half: float) -> tuple[list[dt.date], Vector]:
    """(T,) days from `since` to `until`, both too, and what is `left` (T − 1,) of the news of each but the first.

    By the day, but for news so old, or digested so slowly, that the days make no difference.
    """
    total = (until - since).days
    recent = 0 if np.isinf(half) else int(min(_FORGOTTEN * half * DAYS_A_MONTH + 1, total))
    ages = np.unique([total, *range(recent + 1)])[::-1]
    return [until - dt.timedelta(days=int(age)) for age in ages], undigested_part(ages[1:], half)


def undigested_part(ages: NDArray[np.int64], half: float) -> Vector:
    """2^(−age/half), of ages in days; of a half-life of 0 all is digested by the next day."""
    with np.errstate(all="ignore"):  # of a half-life of seconds, or of 0
        result: Vector = np.where(ages == 0, 1.0, np.exp2(-ages / (half * DAYS_A_MONTH)))
    return result


def market_anchor(values: Matrix, path: MarketPath | None, share: Number) -> tuple[Vector, Vector]:
    """(…, N) what prices of as_of hold of values (…, K, N), and the news that they have still to take in, in logs.

    Without a path prices are 1, and nothing is known of news. With draws, values (draws, K, N), `share` is (draws, 1).
    """
    if path is None:
        shape = (*values.shape[:-2], values.shape[-1])
        return np.ones(shape), np.full(shape, np.nan)
    seen, now = path.probabilities @ values, path.now
    before = path.then @ values
    after = now @ values if now.ndim == 1 else (now[..., None, :] @ values)[..., 0, :]
    with np.errstate(all="ignore"):  # what is worth nothing has no price: refused where it is asked for
        news = np.diff(np.log(seen), axis=-2)
        anchor = before * (after / before) ** share * np.exp((1 - np.asarray(share)) * ((1 - path.left) @ news))
    return anchor, path.left @ news


def typed_values(book: Book) -> Matrix | None:
    """(K, N) what the user's own returns make of today's prices, where they are to be anchored to [market]: in a book
    without a model; None elsewhere. With a model, a typed return stands in place of an anchored one.
    """
    settings = book.settings
    if settings.market is None or settings.model is not None or settings.plugins.models:
        return None
    typed: Matrix = 1 + book.scenario_returns.loc[list(book.instruments)].to_numpy(dtype=np.float64).T
    return typed


def required_returns(book: Book) -> Vector:
    """(N,) a year; NaN where none is stated."""
    stated = book.exposures.get("required_return")
    return np.full(len(book.instruments), np.nan) if stated is None else np.asarray(stated, dtype=np.float64)


def required_growth(book: Book) -> Vector:
    """(N,) what each name's required return makes of a unit over the horizon."""
    result: Vector = (1 + required_returns(book)) ** book.settings.years
    return result
