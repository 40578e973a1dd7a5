"""A book after a shock: prices at once, what is then believed, and what names return from there.

With g the growth of a name from today's price to the horizon in each scenario, s what the shock states of its price,
and p the market's probabilities, all before and (primed) after the shock:

    price after / price before = (1 + s)·(Σ p'_k g'_k / Σ p_k g_k)^J,

so that the announcement share J of a re-pricing comes at once and the rest by the horizon, as at a review (design §5).
What s takes is lost for good. Where spreads widen, prices stay: what is held is marked at its bid, half of the widening
lower, at once and not at the horizon (Bangia, Diebold, Schuermann and Stroughair 1999), and who trades after the shock
pays the wider spread. Risk within scenarios is that of the shock from then on. Time stands still: a silence of twelve
months is what twelve more months of it would tell us today, so that a shock is beside the plan in the same year, and
nothing of it is the mere passing of time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd

from allocator.ambiguity.sets import Ambiguity, NewInformation, ambiguity_set
from allocator.book.book import Book
from allocator.book.checks.stress import (
    BookNames,
    check_shock,
    days_after,
    settings_after_shock,
    shock_signals,
)
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.mandate.builder import build_mandate, marked_down
from allocator.mandate.mandate import Mandate
from allocator.outlook.calibration import (
    announcement_share,
    build_question,
    calibrate,
    dated_signals,
    market_growth,
    market_path,
)
from allocator.outlook.efficiency_model import scenario_returns
from allocator.outlook.efficiency_model_settings import MOST_RETURN
from allocator.outlook.outlook import Outlook, PricedIn, with_belief_as_prior
from allocator.outlook.posterior import bayes_update, log_evidence, require_finite
from allocator.outlook.risk_model import FactorRisk
from allocator.rules.builder import immediate_returns
from allocator.settings.settings import Settings
from allocator.settings.stress import ShockSection, joined_shocks, starter_shocks
from allocator.types import Matrix, Vector

_WORTHLESS = 1e-9
"""Of its price: what is left of a name that loses everything, so that a price stays one."""


@dataclass(frozen=True, eq=False)
class ShockedBook:
    """One shock: the `book` at the prices that it leaves, and `outlook` and `mandate` from there to the horizon.

    `at_once` (N,) are simple returns of prices, from which what is held is `marked_down` (N,); `growth` (K, N) and
    `cash_growth` (K,) are from today's prices to the horizon. `signals` are the rows of signals.csv that it adds, and
    `told` the day by which everything of it is learnt. `unmoved` names those whose returns are typed in, which no
    parameter of the model moves, and `worthless` those that lose everything: they are not bought back.
    """

    name: str
    shock: ShockSection
    book: Book
    outlook: Outlook
    mandate: Mandate
    ambiguity: Ambiguity
    at_once: Vector
    marked_down: Vector
    growth: Matrix
    cash_growth: Vector
    hypotheses: dict[str, float] | None
    signals: pd.DataFrame
    told: dt.date
    unmoved: tuple[str, ...]
    worthless: tuple[str, ...]


def apply_shock(
    book: Book, outlook: Outlook, name: str, shock: ShockSection, held: Vector | None = None
) -> ShockedBook:
    """What a shock makes of a book and its outlook; `held` (N,) is the money in each name that is to be sold, the
    book's own if not said.

    Raises:
        BadInput: its numbers are beyond what arithmetic can follow.
        BadMandate: its belief is outside the limits that the book guards by.
    """
    settings = settings_after_shock(book.settings, shock) if shock.changes_model else book.settings
    signals = shock_signals(book.settings, book.signals, shock)
    news = _news(book, shock, signals)
    beliefs = bayes_update(outlook.probabilities, news.evidence[None, :])[0]
    growth, unmoved = _growth(book, outlook, settings)
    stated = np.maximum(immediate_returns(book, shock, held), _WORTHLESS - 1)
    worthless = tuple(np.array(book.instruments)[stated <= _WORTHLESS - 1].tolist())
    moved = _market_moves(book, outlook, market_growth(replace(book, settings=settings), growth), news.evidence)
    repriced = moved ** announcement_share(book)
    at_once = require_finite((1 + stated) * repriced - 1, "shocks", f"what '{name}' does to prices")
    returns = require_finite(growth / repriced - 1, "shocks", f"what names return after '{name}'")
    from_there = replace(
        outlook,
        probabilities=beliefs,
        returns=returns,
        risk=shocked_risk(outlook.risk, shock),
        priced=_priced(outlook.priced, moved),
    )
    later = _at_prices(book, _without(with_belief_as_prior(settings, book), worthless), shock, at_once)
    ambiguity = ambiguity_set(book, outlook)
    if shock.tells:
        ambiguity = ambiguity.at_node(book, beliefs, news)
    return ShockedBook(
        name=name,
        shock=shock,
        book=later,
        outlook=from_there,
        mandate=build_mandate(later, from_there, ambiguity),
        ambiguity=ambiguity,
        at_once=at_once,
        marked_down=marked_down(book, shock),
        growth=(1 + stated) * growth,
        cash_growth=1 + outlook.cash_returns,
        hypotheses=None if (question := build_question(book)) is None else question.answers_by_name(beliefs),
        signals=signals,
        told=news.told,
        unmoved=unmoved if shock.changes_model else (),
        worthless=worthless,
    )


def shocked_risk(risk: FactorRisk, shock: ShockSection) -> FactorRisk:
    """Risk within a scenario as the shock leaves it."""
    beta, own = (1.0 if times is None else times for times in (shock.beta_times, shock.idiosyncratic_times))
    return risk.stressed(beta, own, shock.correlation or 0.0) if shock.changes_risk else risk


def _news(book: Book, shock: ShockSection, rows: pd.DataFrame) -> NewInformation:
    """What the shock tells: the signals seen by the day that it looks to, and what they add to today's evidence."""
    as_of, known, question = book.settings.book.as_of, dated_signals(book), build_question(book)
    if question is None or not shock.tells:
        return NewInformation(known, as_of, np.zeros(len(book.scenarios)), "today")
    both = rows if book.signals is None else pd.concat([book.signals, rows]) if len(rows) else book.signals
    seen = dated_signals(replace(book, signals=both))
    days = [signal.date for signal in seen]
    told = max([as_of, *days, *([days_after(book.settings, shock.silent_months)] if shock.silent_months else [])])
    before = log_evidence(question, known, [as_of])[0]
    return NewInformation(seen, told, log_evidence(question, seen, [told])[0] - before, "after the shock")


_own_model = lru_cache(maxsize=1)(calibrate)
"""A book's calibration, the same for all of its shocks."""


def _growth(book: Book, outlook: Outlook, settings: Settings) -> tuple[Matrix, tuple[str, ...]]:
    """(K, N) growth from today's prices to the horizon where the model has other `settings`; names it cannot move."""
    before = 1 + outlook.returns
    if settings is book.settings:
        return before, ()
    own, changed = _own_model(book), calibrate(replace(book, settings=settings))
    assert own is not None  # a shock that changes the model was held to a book that has one
    assert changed is not None
    given = np.isin(book.instruments, book.scenario_returns.index)
    # today's prices stay what they are: the anchor is that of the model as it was believed
    moved = 1 + scenario_returns(changed.values, own.loadings, own.anchor, outlook.years)
    return np.where(given, before, moved), tuple(np.array(book.instruments)[given])


def _market_moves(book: Book, outlook: Outlook, growth: Matrix, evidence: Vector) -> Vector:
    """(N,) what the market's own view of each name is multiplied by, of which the announcement share comes at once;
    `growth` is as the market then believes it.
    """
    path = market_path(book)
    if path is None:
        return np.ones(len(book.instruments))
    then = bayes_update(path.now, evidence[None, :])[0]
    moved: Vector = then @ growth / (path.now @ market_growth(book, 1 + outlook.returns))
    return moved


def _priced(before: PricedIn | None, moved: Vector) -> PricedIn | None:
    """What prices then hold: older news is digested as it would have been, and that of the shock is of today."""
    with np.errstate(all="ignore"):  # what is no number is refused as a price
        return before and replace(before, undigested=before.undigested + np.log(moved))


def _without(settings: Settings, worthless: tuple[str, ...]) -> Settings:
    """The settings with names that nobody can trade any more, but those that must not be held anyway."""
    wanted = settings.mandate
    more = [name for name in worthless if name not in wanted.locked and name not in wanted.forbidden]
    mandate = wanted.model_copy(update={"locked": [*wanted.locked, *more]})
    return settings.model_copy(update={"mandate": mandate}) if more else settings


def _at_prices(book: Book, settings: Settings, shock: ShockSection, at_once: Vector) -> Book:
    """The book at the prices that the shock leaves, with lock-ups put off; a benchmark is held, so that its weights
    move with them.
    """
    exposures, benchmark = book.exposures, book.benchmark
    if shock.spread_times is not None:
        spread = settings.costs.spread_bps * shock.spread_times
        settings = settings.model_copy(update={"costs": settings.costs.model_copy(update={"spread_bps": spread})})
        if "spread_bps" in exposures:
            exposures = exposures.assign(spread_bps=exposures["spread_bps"] * shock.spread_times)
    if settings.model is not None:  # what a shock makes is no fault of the book's parameters
        unlimited = settings.model.model_copy(update={"max_return": MOST_RETURN})
        settings = settings.model_copy(update={"model": unlimited})
    if benchmark is not None:
        benchmark = benchmark * np.append(1 + at_once, 1.0)
        benchmark = benchmark / float(benchmark.sum())
    if shock.delay_months is not None:
        late = days_after(settings, shock.delay_months) - settings.book.as_of
        days = exposures["tradable_from"]
        locked = days > pd.Timestamp(settings.book.as_of)  # what can be traded already stays so
        exposures = exposures.assign(tradable_from=days.where(~locked, days + late))
    return replace(
        book,
        settings=settings,
        prices=book.prices * (1 + at_once),
        quoted_prices=book.quoted_prices * (1 + at_once),
        exposures=exposures,
        benchmark=benchmark,
    )


# The starter shocks that a book can carry, beside its own: every claim and signal of the note as one shock each.
#


@dataclass(frozen=True, eq=False)
class ShockLibrary:
    """The shocks of a book by name, its own first; `left_out` says of the model's other starter shocks why."""

    shocks: dict[str, ShockSection]
    left_out: dict[str, str]

    def chosen(self, names: tuple[str, ...]) -> dict[str, ShockSection]:
        """Those of these names, in their order; all where none is given.

        Raises:
            BadInput: a name is not in the library, or this book cannot carry it.
        """
        wanted = dict.fromkeys(names or self.shocks)
        breaches = [
            Breach("--shock", None, None, name, self.left_out[name], "it is not of this book")
            if name in self.left_out
            else Breach("--shock", None, None, name, "no such shock", did_you_mean(name, self.shocks))
            for name in wanted
            if name not in self.shocks
        ]
        if breaches:
            raise BadInput(breaches)
        return {name: self.shocks[name] for name in wanted}


def shock_library(book: Book) -> ShockLibrary:
    """Every shock that can be asked of a book."""
    there = names_in_book(book)
    known = there.known
    own = book.settings.shocks
    shocks, left_out = joined_shocks(own), dict[str, str]()
    for name, starter in starter_shocks().items():
        if name in own:
            continue
        # a claim that speaks of many names says of this book's what it says of them
        expected = {expects: sign for expects, sign in starter.expect.items() if expects in known}
        words = (
            {} if book.settings.model is not None else {"claim": None, "unlike": None}
        )  # the note is about the model
        shock = starter.joined({**starter_shocks(), **own}).model_copy(update={"expect": expected, **words})
        if breach := next(iter(check_shock(there, name, shock)), None):
            if book.settings.model is not None or shock.changes_risk:  # else they are of another question
                left_out[name] = f"{breach.value or breach.column}: {breach.rule}"
        elif missing := [name for name in _columns_of(shock) if name not in there.columns]:
            if book.settings.model is not None or "beta" in missing:
                left_out[name] = f"{missing[0]}: is needed for every name"
        else:
            shocks[name] = shock
    return ShockLibrary(shocks, left_out)


def _columns_of(shock: ShockSection) -> Iterator[str]:
    """Columns of exposures.csv that it moves names by."""
    if shock.market is not None:
        yield "beta"
    if shock.multiples is not None:
        yield "multiple_loading"


def names_in_book(book: Book) -> BookNames:
    """What a book has names for."""
    factors = () if book.factors is None else tuple(map(str, book.factors))
    return BookNames(book.settings, book.instruments, {book.cash_instrument}, factors, book.exposures, book.signals)
