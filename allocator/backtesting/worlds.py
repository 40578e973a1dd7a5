"""Simulated worlds: a scenario comes true, signals arrive by their hazards, and prices follow with noise.

The truth is a book. What it believes, how its sources disclose and what its prices hold are asked of the product's own
functions; nothing here has a second formula of any of them. An investor believes another book: the truth with errors.
Draws hang on a seed and on the investor's and the world's number alone: every policy and every cell has the same ones.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from scipy.special import expit, gamma, logit

from allocator.book.book import Book
from allocator.errors import BadInput, setting_breach
from allocator.outlook.calibration import build_question, dated_signals
from allocator.outlook.efficiency_model_settings import MOST_RETURN
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.outlook.posterior import node_log_likelihoods
from allocator.outlook.question import (
    DisclosureModel,
    Question,
    Signal,
    disclosure_density,
    open_claims,
    silence_probability,
)
from allocator.outlook.risk_model import FactorRisk
from allocator.types import Matrix, Vector

# What an investor is wrong about: each of the truth's parameters moved by the strength, times its deviation here, times
# one draw of his own.
#
ERRORS = {
    "prior": 0.5,
    "hazard": 0.3,
    "disclosure": 0.5,
    "exposures": 0.1,
    "announcement_share": 0.15,
    "digestion": 0.5,
}
"""Deviations at strength 1: of log odds (prior, disclosure), logs (hazard, digestion) or the amount itself."""
_LOADINGS = ("training", "inference", "capacity", "application")
"""Of each name; `other` keeps their sum at 1."""
_MOST_DRAWS = 50
"""Investors whose book is refused are drawn again, so often at most."""
_Draws: TypeAlias = np.random.Generator


def random_stream(seed: int, *place: int) -> np.random.Generator:
    """The draws of one place, such as (investor, world), whatever else is drawn."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=place))


def with_errors(truth: Book, strength: float, draw: _Draws, about: Collection[str] = tuple(ERRORS)) -> Book:
    """What an investor believes who is wrong `about` some of ERRORS; every error is drawn, so that one does not hang on
    which others count.
    """
    by = {name: strength * deviation * (name in about) for name, deviation in ERRORS.items()}
    settings, exposures = truth.settings, truth.exposures.copy()
    asked, horizon = settings.question, settings.horizon
    assert asked is not None  # was checked by `refuse_untried`
    weights = _moved_prior(truth, by["prior"], draw)
    faster, likelier = np.exp(by["hazard"] * draw.standard_normal()), by["disclosure"] * draw.standard_normal()

    def disclosing(one: Any) -> Any:
        ever = one.disclosure if one.disclosure in (0.0, 1.0) else float(expit(logit(one.disclosure) + likelier))
        return one.model_copy(update={"hazard": float(one.hazard * faster), "disclosure": ever})

    for name in (one for one in _LOADINGS if one in exposures):
        moves = by["exposures"] * draw.standard_normal(len(exposures))
        given = exposures[name].to_numpy(dtype=float)
        exposures[name] = np.where(np.nan_to_num(given) != 0, given + moves, given)
    if "other" in exposures:
        moved = [name for name in _LOADINGS if name in exposures]
        before, after = (
            frame[moved].fillna(0.0).to_numpy(dtype=float).sum(axis=1) for frame in (truth.exposures, exposures)
        )
        exposures["other"] = exposures["other"] + before - after
    share = float(horizon.announcement_share or 0.0) + by["announcement_share"] * draw.standard_normal()
    half = float(horizon.digestion_months or 0.0) * np.exp(by["digestion"] * draw.standard_normal())
    update = {
        "scenarios": {
            name: one.model_copy(update={"probability": float(p)})
            for (name, one), p in zip(settings.scenarios.items(), weights, strict=True)
        },
        "question": asked.model_copy(
            update={
                "labs": {name: disclosing(one) for name, one in asked.labs.items()},
                "sources": {
                    name: {of: disclosing(one) for of, one in own.items()} for name, own in asked.sources.items()
                },
            }
        ),
        "horizon": horizon.model_copy(
            update={"announcement_share": float(np.clip(share, 0.0, 1.0)), "digestion_months": float(half)}
        ),
    }
    return replace(truth, settings=settings.model_copy(update=update), exposures=exposures)


def _moved_prior(truth: Book, size: float, draw: _Draws) -> Vector:
    """(K,) the log odds between two answers move by `size` times a normal draw, and between an answer's regimes."""
    scenarios = truth.settings.scenarios.values()
    prior = np.array([one.probability for one in scenarios])
    answers = np.array([truth.settings.hypotheses.index(str(one.hypothesis)) for one in scenarios])
    moves = size / np.sqrt(2) * draw.standard_normal(len(truth.settings.hypotheses))
    within = prior * np.exp(size / np.sqrt(2) * draw.standard_normal(len(prior)))
    mass = np.equal.outer(np.arange(len(moves)), answers).astype(float)
    odds = (mass @ prior) * np.exp(moves)
    result: Vector = within * (odds / odds.sum() / (mass @ within))[answers]
    return result


def believed_book(
    truth: Book, strength: float, seed: int, investor: int, about: Collection[str] = tuple(ERRORS)
) -> tuple[Book, int]:
    """The investor's book, and how many before it the product refused.

    Raises:
        BadInput: every draw is refused.
    """
    draw = random_stream(seed, investor)
    for refused in range(_MOST_DRAWS):
        book = with_errors(truth, strength, draw, about)
        try:
            build_outlook(book)
        except BadInput as error:
            last = error
            continue
        return book, refused
    raise last


# A book on a later day, with what has been signalled by then.
#
SignalRow: TypeAlias = tuple[dt.date, str, str, str]
"""Its date, kind, source and hypothesis."""


def book_at_review(book: Book, day: dt.date, rows: Sequence[SignalRow]) -> Book:
    """The same book on `day`, rows until then among its signals. Holdings and prices stay: who plans says where he
    stands, and what prices hold is the outlook's.
    """
    settings, seen = book.settings, [row for row in rows if row[0] <= day]
    horizon, model = settings.horizon, settings.model
    later = [review for review in horizon.reviews if review > day]
    update: dict[str, Any] = {
        "book": settings.book.model_copy(update={"as_of": day}),
        "horizon": horizon.model_copy(update={"reviews": later}),
    }
    if model is not None:  # what a price has come to is no reason to refuse it on the way
        update["model"] = model.model_copy(
            update={"max_return": MOST_RETURN, "since": model.since or settings.book.as_of}
        )
    signals = book.signals
    if seen:
        new = pd.DataFrame(seen, columns=["date", "kind", "source", "hypothesis"])
        new["date"] = pd.to_datetime(new["date"])
        signals = new if signals is None or signals.empty else pd.concat([signals, new], ignore_index=True)
        signals = signals.sort_values("date", kind="stable", ignore_index=True)
    return replace(book, settings=settings.model_copy(update=update), signals=signals)


# What comes true.
#
Kind: TypeAlias = Literal["model", "other"]
"""Whose worlds: our model's, or another's, whose hazards change with time, who knows a scenario that nobody has, and
whose noise has fat tails."""
_OTHER_SCENARIO, _DEGREES, _MOST_MOVE = 0.1, 4, 0.95
_GENUINE_SHAPE, _EMPTY_SHAPE = 0.5, 2.0


@dataclass(frozen=True, eq=False)
class World:
    """What happens between the days of decision, `days` (R + 1,) and the end: `growth` (R + 1, N) and `cash_growth`
    (R + 1,) from each to the next, `signals` of all days, and `truth` (R + 1, K), what who knows all but the scenario
    would believe on each. `answer` is the hypothesis that is true, `claimed` the day of the first genuine claim of it.
    """

    scenario: int
    answer: str
    days: tuple[dt.date, ...]
    signals: tuple[SignalRow, ...]
    growth: Matrix
    cash_growth: Vector
    truth: Matrix
    claimed: dt.date | None


@dataclass(eq=False)
class WorldSource:
    """Draws worlds of a `truth`; outlooks of what was signalled before are kept."""

    truth: Book
    seed: int
    kind: Kind = "model"
    _known: dict[Any, Outlook] = field(default_factory=dict)

    def world(self, investor: int, number: int) -> World:
        """One world; scenario, signals and noise have draws of their own."""
        book = self.truth
        question, until = build_question(book), book.settings.horizon.until
        assert question is not None  # both were checked by `refuse_untried`
        assert until is not None
        signals, noise = (random_stream(self.seed, investor, number, part) for part in (1, 2))
        days = (book.settings.book.as_of, *book.settings.horizon.reviews)
        now = self._outlook(days[0], ())
        k, nowhere = self.scenario(investor, number)
        answer = question.hypotheses[question.answers[k]]
        rows, claimed = drawn_signals(question, dated_signals(book), answer, (*days, until), signals, self.kind)
        outlooks = [self._outlook(day, tuple(row for row in rows if row[0] <= day)) for day in days]
        ends = [np.column_stack([1 + one.returns, 1 + one.cash_returns]) for one in outlooks]
        # the price of a day holds what makes of it the same end: of one end the growth between two days is the ratio
        steps = [before[k] / after[k] for before, after in pairwise(ends)]
        last = np.sort(ends[-1], axis=0)[:2].mean(axis=0) if nowhere else ends[-1][k]
        growth = np.array([*steps, last])
        growth[:, :-1] *= self._noise(now.risk, now.years, (*days, until), noise)
        truth = np.array([one.probabilities for one in outlooks])
        return World(-1 if nowhere else k, answer, days, rows, growth[:, :-1], growth[:, -1], truth, claimed)

    def scenario(self, investor: int, number: int) -> tuple[int, bool]:
        """Which one comes true, and whether what comes is one that nobody has, with its answer."""
        draw = random_stream(self.seed, investor, number, 0)
        believed = self._outlook(self.truth.settings.book.as_of, ()).probabilities
        k = min(int(np.searchsorted(np.cumsum(believed), draw.random())), len(believed) - 1)
        return k, self.kind == "other" and draw.random() < _OTHER_SCENARIO

    def _outlook(self, day: dt.date, seen: tuple[SignalRow, ...]) -> Outlook:
        if (day, seen) not in self._known:
            self._known[day, seen] = build_outlook(book_at_review(self.truth, day, seen))
        return self._known[day, seen]

    def _noise(self, risk: FactorRisk, years: float, days: Sequence[dt.date], draw: _Draws) -> Matrix:
        """(R + 1, N) of mean one, with the risk within a scenario over the days between; fat tails are cut off alike on
        either side, as the mean would else be above one.
        """
        names, factors = risk.loadings.shape
        parts, whole = [], (days[-1] - days[0]).days
        for start, end in pairwise(days):
            own = risk.over((end - start).days / whole) if years > 0 else risk
            normal = draw.standard_normal(factors + names)
            fat = np.sqrt((_DEGREES - 2) / draw.chisquare(_DEGREES, factors + names))  # of the same variance
            z = normal * fat if self.kind == "other" else normal
            moved = own.loadings @ z[:factors] + np.sqrt(own.specific) * z[factors:]
            parts.append(
                1 + np.clip(moved, -_MOST_MOVE, _MOST_MOVE)
                if self.kind == "other"
                else np.exp(moved - own.variances / 2)
            )
        return np.array(parts)


def drawn_signals(
    question: Question, seen: Sequence[Signal], answer: str, days: Sequence[dt.date], draw: _Draws, kind: Kind = "model"
) -> tuple[tuple[SignalRow, ...], dt.date | None]:
    """What is signalled after the first of `days` until the last, the reviews standing between; and when `answer`,
    which is true, is claimed genuinely first.

    Sources that have not disclosed it by now do so by their cure model, given that; any claims at its background rate
    besides. A claim is judged at the review after the one that finds it.
    """
    now, reviews = days[0], days[1:-1]
    ahead = [now + dt.timedelta(days=n) for n in range((days[-1] - now).days + 1)]
    months = np.array([question.months(day) for day in ahead])
    z = _common_multiplier(question, seen, answer, months[0], draw)
    claims, heard = list[tuple[dt.date, str, str, bool, dt.date]](), open_claims(seen)
    verified = {(one.source, one.hypothesis) for one in seen if one.kind == "verification"}
    for source, models in question.sources.items():
        for hypothesis, model in models.items():
            pair, u, w = (source, hypothesis), draw.random(), draw.random()
            still = hypothesis == answer and pair not in verified
            if pair in heard:  # it may be the one that is genuine
                claim = heard[pair]
                month = question.months(claim.date)
                # it was, or the source is silent to this day (science §2.5): whoever discloses does so once
                hazard = float(disclosure_density(model, month, z) / silence_probability(model, months[0], z))
                genuine = still and w < hazard / (hazard + float(model.background))
                claims.append((claim.date, *pair, genuine, now))
                still = still and not genuine
            if still:
                left = _still_silent(model, months, z, kind)
                after = np.flatnonzero(left <= u * left[0])
                if len(after):
                    claims.append((ahead[after[0]], *pair, True, ahead[after[0]]))
            claims += [
                (ahead[at], *pair, False, ahead[at])
                for at in _empty_claims(float(model.background), months, draw, kind)
            ]
    rows, first = list[SignalRow](), None
    for day, source, hypothesis, genuine, found in sorted(claims, key=lambda one: (one[0], one[1:3])):
        chance, heard_now = draw.random(), day > now
        if heard_now:
            rows.append((day, "claim", source, hypothesis))
            first = day if genuine and (first is None or day < first) else first
        finds = found if not heard_now else next((review for review in reviews if review >= day), None)
        judged = None if finds is None else next((review for review in reviews if review > finds), None)
        if judged is not None:
            is_verified = chance < question.verdict(True)[0 if genuine else 1]
            rows.append((judged, "verification" if is_verified else "refutation", source, hypothesis))
    return tuple(sorted(rows, key=lambda row: (row[0], row[1] != "claim"))), first


def _common_multiplier(question: Question, seen: Sequence[Signal], answer: str, month: float, draw: _Draws) -> float:
    """The one of all hazards, drawn given what was seen; 1 where sources are independent."""
    values, weights = question.common
    told = node_log_likelihoods(question, seen, np.array([month]))[question.hypotheses.index(answer)][0]
    after = weights * np.exp(told - told.max())
    at = int(np.searchsorted(np.cumsum(after / after.sum()), draw.random()))
    return float(values[min(at, len(values) - 1)])


def _still_silent(model: DisclosureModel, months: Vector, z: float, kind: Kind) -> Vector:
    """(T,) that a true hypothesis has not been disclosed by then."""
    if kind == "model":
        return silence_probability(model, months, z)
    waited = np.maximum(months - model.lag_months, 0.0)
    scale = 1 / (np.asarray(model.hazard) * z) / gamma(1 + 1 / _GENUINE_SHAPE)
    result: Vector = 1 - model.disclosure + model.disclosure * np.exp(-((waited / scale) ** _GENUINE_SHAPE))
    return result


def _empty_claims(rate: float, months: Vector, draw: _Draws, kind: Kind) -> list[int]:
    """The days, by position in `months`, of claims without substance: one comes after the other by a waiting time that
    has no memory, or that in the other's worlds is Weibull's of the same mean, since the question opened.
    """
    scale = 1 / rate / gamma(1 + 1 / _EMPTY_SHAPE)
    found, at = list[int](), float(months[0])
    if kind == "other":  # given that none came until now
        at = scale * ((at / scale) ** _EMPTY_SHAPE + draw.exponential()) ** (1 / _EMPTY_SHAPE)
    else:
        at += draw.exponential() / rate
    while at <= months[-1]:
        found.append(int(np.searchsorted(months, at)))
        at += scale * draw.weibull(_EMPTY_SHAPE) if kind == "other" else draw.exponential() / rate
    return found


def refuse_untried(book: Book) -> None:
    """Refuse a book that the trial cannot live through.

    Raises:
        BadInput: all that is in the way.
    """
    settings, mandate = book.settings, book.settings.mandate
    few = mandate.max_names is not None or mandate.min_position is not None
    no_utility = "charge_risk" not in mandate.traits.keys
    reasons = (
        ("question", settings.question is None, "is needed: worlds differ in its answer", "add [question]"),
        ("market", settings.market is None, "is needed: prices follow what the market believes", "add [market]"),
        ("horizon.reviews", not settings.horizon.reviews, "states none: nothing is learnt on the way", "add dates"),
        (
            "mandate.objective",
            no_utility,
            "has no utility of wealth",
            "choose log or crra",
        ),
        ("mandate.bands", bool(mandate.bands), "hang on what is held, another in each world", "leave them out"),
        ("mandate.max_names", few, "is a search in each world", "leave it and min_position out"),
        ("mandate.turnover_budget", mandate.turnover_budget is not None, "counts a ledger's runs", "leave it out"),
        ("plugins.models", bool(settings.plugins.models), "gives no prices on later days", "leave it out"),
        ("views", bool(settings.views), "are of today alone", "leave them out"),
        ("believe", bool(settings.believe), "is of today alone", "state it as the prior of [scenarios]"),
        ("cash", bool(settings.cash.flow), "is paid once", "leave the payment out"),
        ("cash.flows", bool(settings.cash.dated), "come in none of the worlds", "leave them out"),
    )
    found = [setting_breach(key, None, rule, cure) for key, is_there, rule, cure in reasons if is_there]
    rule, cure = "looks at returns or risk, of which who holds or weighs equally knows nothing", "leave it out"
    found += [
        setting_breach(f"mandate.{key}", None, rule, cure)
        for key in _OF_OUTLOOK
        if getattr(mandate, key) not in (None, {})
    ]
    if found:
        raise BadInput(found)


_OF_OUTLOOK = (
    "min_expected_return", "min_worst_scenario_return", "min_worst_case_return", "min_worst_case_active_return",
    "max_volatility", "max_tracking_error", "max_stress_loss",
)  # fmt: skip
"""Rules by which the portfolio nearest to another one would be measured on returns that are none (`NearestPolicy`)."""
