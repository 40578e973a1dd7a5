"""The open question: its hypotheses, who may disclose which, what is observed, and what was believed at the start."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv, gammaincinv, gammaln

from allocator.book.checks.question import ANY_SOURCE
from allocator.types import Matrix, Vector

Number: TypeAlias = float | Vector
"""One number, or one a draw: an array (draws, 1, 1), which goes with arrays (draws, days, nodes)."""
Positions: TypeAlias = NDArray[np.int64]
DAYS_A_MONTH = 365.25 / 12
_NODES = 128
"""Quadrature nodes of the frailty; exact to about 1e-12 over the ranges that a book may state."""


@dataclass(frozen=True)
class DisclosureModel:
    """How one source discloses one hypothesis where it is true: ever with probability `disclosure`, then at `hazard` a
    month after `lag_months` (a cure model).

    `background` is the hazard a month of claiming it without substance, whichever hypothesis is true.
    """

    disclosure: Number
    hazard: Number
    background: Number
    lag_months: float = 0.0


@dataclass(frozen=True)
class Signal:
    """A dated observation: a `claim`, `verification` or `refutation` of a hypothesis by or of a source, `evidence` for
    or against a hypothesis, or a `usage` figure.

    A usage figure is a log price fall and the log usage growth that came with it. A claim by `ANY_SOURCE` was made by
    some source that had been silent, after the day `since`. `strength` is the part of a row's weight that counts: 0 is
    as if it had not been observed, 1 the law. Evidence has a Bayes factor, as its decimal logarithm.
    """

    date: dt.date
    kind: str
    source: str = ""
    hypothesis: str = ""
    price_fall: float = 0.0
    usage_growth: float = 0.0
    since: dt.date | None = None
    strength: float = 1.0
    log10_bayes_factor: float = 0.0


@dataclass(frozen=True)
class DemandElasticity:
    """The usage elasticity as we believe it: Normal(`mean`, `deviation`²); a figure errs by Normal(0, `noise`²).

    Above 1 is the question's first regime.
    """

    mean: float
    deviation: float
    noise: float


@dataclass(frozen=True, eq=False)
class Question:
    """An open question: when it opened, its H hypotheses, who may disclose which, and what was believed at the start.

    `prior` (K,) sums to one over scenarios; `answers` and `regime_of` (K,) are positions in `hypotheses` and `regimes`
    of what each scenario stands for. `sources` are disclosure models by source and hypothesis. `sensitivity` and
    `false_positive` belong to verification. `frailty` is the shape of a gamma multiplier common to all hazards
    (correlated sources); None makes them independent. `view` (K,) is what somebody's view of a day adds to the log
    odds of the scenarios from that day on.
    """

    opened: dt.date
    hypotheses: tuple[str, ...]
    sources: Mapping[str, Mapping[str, DisclosureModel]]
    prior: Vector
    answers: Positions
    regimes: tuple[str, ...] = ()
    regime_of: Positions | None = None
    sensitivity: float = 0.9
    false_positive: float = 0.1
    frailty: float | None = None
    demand: DemandElasticity | None = None
    threshold: float = 0.95
    release: float = 0.85
    view: tuple[dt.date, Vector] | None = None

    @cached_property
    def common(self) -> tuple[Vector, Vector]:
        """Values of the common multiplier and their probabilities; one value of 1 when sources are independent."""
        if self.frailty is None:
            return np.ones(1), np.ones(1)
        a = self.frailty
        low, high = max(float(gammaincinv(a, 1e-16)) / a, 1e-15), float(gammainccinv(a, 1e-16)) / a
        logs = np.linspace(np.log(low), np.log(high), _NODES)  # trapezium rule in ln z: converges exponentially
        values = np.exp(logs)
        weights = np.exp(a * (np.log(a) + logs - values) - gammaln(a)) * (logs[1] - logs[0])
        weights[0] = 1 - weights[1:].sum()  # all the mass below, where nothing depends on z any more
        return values, weights

    @cached_property
    def pooled(self) -> dict[tuple[Signal, ...], PooledClaim | None]:
        """What a claim by any source was found to say, by the signals that were seen."""
        return {}

    @cached_property
    def disclosed(self) -> tuple[str, ...]:
        """The hypotheses that some source may disclose."""
        return tuple(name for name in self.hypotheses if any(name in models for models in self.sources.values()))

    def by_hypothesis(self, probabilities: Matrix) -> Matrix:
        """(…, H) of each hypothesis, from (…, K) of the scenarios."""
        result: Matrix = probabilities @ np.equal.outer(self.answers, np.arange(len(self.hypotheses))).astype(float)
        return result

    def answers_by_name(self, probabilities: Vector) -> dict[str, float]:
        """The probability of each hypothesis, from (K,) of the scenarios."""
        return dict(zip(self.hypotheses, map(float, self.by_hypothesis(probabilities)), strict=True))

    def by_regime(self, probabilities: Matrix) -> Matrix:
        """(…, R) of each regime, from (…, K) of the scenarios."""
        of = np.full(len(self.prior), -1) if self.regime_of is None else self.regime_of
        result: Matrix = probabilities @ np.equal.outer(of, np.arange(len(self.regimes))).astype(float)
        return result

    def months(self, day: dt.date) -> float:
        """Months from the opening to `day`."""
        return (day - self.opened).days / DAYS_A_MONTH

    def verdict(self, verified: bool) -> tuple[float, float]:
        """P(a claim is verified, or else refuted), if it is genuine and if it is not."""
        of_genuine, of_empty = self.sensitivity, self.false_positive
        return (of_genuine, of_empty) if verified else (1 - of_genuine, 1 - of_empty)


# What each source's claims, verdicts and silence say of each hypothesis: a cure model with background claims.
#
# A source that could disclose a true hypothesis does so after a while, or never; any may claim without substance, under
# every hypothesis. What it says of one hypothesis tells nothing of the others, so it cancels where that one is false.
#
_QUADRATURE = 32
"""Points between two lags, where all is smooth."""


def silence_probability(model: DisclosureModel, months: Vector | float, common: Vector | float = 1.0) -> Vector:
    """Probability that a true hypothesis has not been disclosed by `months`: 1 − δ + δe^(−λz(t−d)₊)."""
    waited = np.maximum(np.asarray(months, dtype=float) - model.lag_months, 0.0)
    result: Vector = 1 - model.disclosure + model.disclosure * np.exp(-model.hazard * np.asarray(common) * waited)
    return result


def disclosure_density(model: DisclosureModel, months: Vector | float, common: Vector | float = 1.0) -> Vector:
    """Density a month of disclosing a true hypothesis at `months`: δλz·e^(−λz(t−d)), 0 before the lag."""
    t = np.asarray(months, dtype=float)
    rate = model.hazard * np.asarray(common)
    result: Vector = np.where(
        t >= model.lag_months, model.disclosure * rate * np.exp(-rate * np.maximum(t - model.lag_months, 0.0)), 0.0
    )
    return result


def source_log_likelihood(
    question: Question,
    source: str,
    hypothesis: str,
    signals: Sequence[Signal],
    t: Vector,
    z: Vector,
    told: Vector | None = None,
) -> Matrix:
    """(T, nodes) log of how much better the hypothesis explains what the source said of it by `t` than one does of
    which it says nothing: ln[S(t) + Σ (g(t_c)/ν)·grade_c] over its claims c, graded by their verdicts.

    It is watched on after a claim, which may be empty. A row of a strength below 1 adds that part of what it would add
    to the log (science §2.5.1). Where nobody asks who is silent after a while, `told` (T,) are the months until which
    rows are seen, and `t` those until which silence counts.
    """
    model = question.sources[source].get(hypothesis)
    if model is None:
        return np.zeros((len(t), len(z)))
    silence = silence_probability(model, t[:, None], z)
    result, said, level, claims = np.log(silence), 0.0 * silence, 0.0 * silence, list[Matrix]()
    for signal in sorted(signals, key=lambda one: (one.date, one.kind != "claim")):
        if (signal.source, signal.hypothesis) != (source, hypothesis) or signal.kind == "evidence":
            continue
        month = question.months(signal.date)
        if signal.kind == "claim":
            claims.append(disclosure_density(model, month, z) / (model.background * silence))
            said = said + claims[-1]
        else:  # of the first claim that is open
            genuine, empty = question.verdict(signal.kind == "verification")
            said = said + claims.pop(0) * (genuine / empty - 1)
        after = np.log1p(said)
        result = result + np.where(
            ((t if told is None else told) >= month)[:, None], signal.strength * (after - level), 0.0
        )
        level = after
    return result


def open_claims(signals: Sequence[Signal]) -> dict[tuple[str, str], Signal]:
    """The claims that count and are neither verified nor refuted, by source and hypothesis; of several the first."""
    result: dict[tuple[str, str], list[Signal]] = {}
    for signal in sorted(signals, key=lambda one: (one.date, one.kind != "claim")):
        claims = result.setdefault((signal.source, signal.hypothesis), [])
        if signal.kind == "claim":
            claims.append(signal)
        elif signal.kind in ("verification", "refutation"):
            claims.pop(0)
    standing = {pair: [claim for claim in claims if claim.strength > 0] for pair, claims in result.items()}
    return {pair: claims[0] for pair, claims in standing.items() if claims}


def silent_sources(question: Question, signals: Sequence[Signal]) -> tuple[tuple[str, str], ...]:
    """Who has said nothing yet that stands, source and hypothesis: no claim that is open or verified."""
    spoken = {*open_claims(signals), *((one.source, one.hypothesis) for one in signals if one.kind == "verification")}
    pairs = ((source, hypothesis) for source, models in question.sources.items() for hypothesis in models)
    return tuple(pair for pair in pairs if pair not in spoken)


@dataclass(frozen=True, eq=False)
class FirstClaim:
    """The first claim by anybody between two months, of any hypothesis, if hypothesis l is true (H, …).

    `quiet` (H, …, nodes) is P(nobody claims), `unclaimed` that integrated over the months; `rates` (H,) are what
    claims of each hypothesis without substance come at.
    """

    quiet: Matrix
    unclaimed: Matrix
    rates: tuple[Number, ...]

    def probability(self, claimed: int) -> Matrix:
        """(H, …, nodes) P(the first claim comes, and is of the hypothesis at this position), if each l is true."""
        result: Matrix = self.rates[claimed] * self.unclaimed
        result[claimed] = result[claimed] + self.genuine(claimed)
        return result

    def genuine(self, claimed: int) -> Matrix:
        """(…, nodes) P(it comes and is genuine), if that hypothesis is true."""
        result: Matrix = np.maximum(1 - self.quiet[claimed] - sum(self.rates) * self.unclaimed[claimed], 0.0)
        return result


def first_claim(question: Question, signals: Sequence[Signal], since: float, until: float) -> FirstClaim:
    """What may be claimed first between two months, given what was seen by `since`; who has claimed may claim again."""
    z, models = question.common[0], [model for own in question.sources.values() for model in own.values()]
    rates: list[Number] = [
        sum(own[name].background for own in question.sources.values() if name in own) for name in question.hypotheses
    ]
    total, length = sum(rates), until - since
    lags = {model.lag_months for model in models}
    ends = sorted({since, until, *(lag for lag in lags if since < lag < until)})
    places, weights = np.polynomial.legendre.leggauss(_QUADRATURE)
    low, width = np.array(ends[:-1])[:, None], np.diff(ends)[:, None]  # smooth between the ends
    at, weight = (low + (places + 1) / 2 * width).ravel(), (weights * width / 2).ravel()[:, None]
    days = np.concatenate([[since, until], at])
    quiet, unclaimed = [], []
    for name in question.hypotheses:
        own = [source for source, models_of in question.sources.items() if name in models_of]
        log = np.zeros((len(days), len(z))) - total * (days - since)[:, None]
        for source in own:
            told = source_log_likelihood(question, source, name, signals, days, z)
            log = log + told - told[..., :1, :]
        still = np.exp(log)
        quiet.append(still[..., 1:2, :])
        alone = np.zeros((1, len(z))) - np.expm1(-total * length) / total  # nothing but empty claims ends the silence
        unclaimed.append((weight * still[..., 2:, :]).sum(axis=-2, keepdims=True) if own else alone)
    still_silent, waited = (np.array(np.broadcast_arrays(*each)) for each in (quiet, unclaimed))
    return FirstClaim(still_silent, waited, tuple(rates))


@dataclass(frozen=True, eq=False)
class PooledClaim:
    """The first claim by any source, between the months `since` and `date`, of the hypothesis at position `claimed`.

    `genuine` and `empty` (H, …, nodes) say how much likelier it is than if nobody could have disclosed anything, given
    each hypothesis and the common multiplier, that the first claim came then, was of that hypothesis, and was genuine,
    or without substance.
    """

    since: float
    date: float
    claimed: int
    genuine: Matrix
    empty: Matrix


def pooled_claim(question: Question, signals: Sequence[Signal]) -> PooledClaim | None:
    """What a claim by any source says; None where there is none."""
    seen = tuple(signals)
    if seen not in question.pooled:
        question.pooled[seen] = _pooled_claim(question, seen)
    return question.pooled[seen]


def _pooled_claim(question: Question, signals: Sequence[Signal]) -> PooledClaim | None:
    claim = next((signal for signal in signals if signal.source == ANY_SOURCE and signal.kind == "claim"), None)
    if claim is None or claim.since is None:
        return None
    named = [signal for signal in signals if signal.source != ANY_SOURCE]
    since, date = question.months(claim.since), question.months(claim.date)
    first, claimed = first_claim(question, named, since, date), question.hypotheses.index(claim.hypothesis)
    rate = first.rates[claimed]
    nothing = rate * -np.expm1(-sum(first.rates) * (date - since)) / sum(first.rates)
    genuine = np.zeros_like(first.quiet)
    genuine[claimed] = first.genuine(claimed) / nothing
    return PooledClaim(since, date, claimed, genuine, rate * first.unclaimed / nothing)


def says_any_source(signals: Sequence[Signal]) -> bool:
    """Whether somebody has claimed of whom nobody says who it was."""
    return any(signal.source == ANY_SOURCE and signal.kind == "claim" for signal in signals)


def pooled_log_likelihood(question: Question, pooled: PooledClaim, signals: Sequence[Signal], t: Vector) -> Matrix:
    """(H, …, T, nodes) log of what the claim by any source contributes from its date on, its verdict from its own."""
    result = np.zeros((*pooled.empty.shape[:-2], len(t), pooled.empty.shape[-1]))
    grade, level = 1.0, np.zeros_like(pooled.empty)
    for signal in sorted(signals, key=lambda one: (one.date, one.kind != "claim")):
        if signal.source == ANY_SOURCE and signal.kind != "evidence":
            if signal.kind != "claim":
                genuine, empty = question.verdict(signal.kind == "verification")
                grade *= genuine / empty
            after = np.log(grade * pooled.genuine + pooled.empty)
            there = t >= question.months(signal.date)
            result = result + np.where(there[:, None], signal.strength * (after - level), 0.0)
            level = after
    return result
