"""Beliefs: scenario probabilities given dated signals and silence.

The replicability question has two answers, generalizable (G) and proprietary (P). What labs say and keep silent about
(`question.py`) moves the odds between them, usage figures those between demand regimes: silence is evidence for P, a
claim for G, and a verification weighs more than either.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_ndtr

from allocator.errors import BadInput, setting_breach
from allocator.outlook.question import (
    DemandElasticity,
    Number,
    Question,
    Signal,
    lab_likelihood,
    pooled_claim,
    pooled_likelihood,
    says_any_lab,
    silence_probability,
    silent_labs,
)
from allocator.types import Matrix, Vector

_LEAST = 500.0
"""How far evidence may tell scenarios apart, in logs."""


def log_likelihood_ratio(question: Question, signals: Sequence[Signal], months: Vector) -> Vector:
    """(T,) log of how much better G explains what was seen up to each of `months` than P does.

    Given the common multiplier z, the labs are independent: a silent lab contributes S, a claim S + g/ν, a verified one
    S + (g/ν)·se/fp, a refuted one S + (g/ν)·(1−se)/(1−fp), with S and g at the date of the claim. (draws, T) where the
    labs' numbers are draws. The log is finite also where the ratio itself would not be a number.
    """
    z, weight = question.common
    t = np.asarray(months, dtype=float)
    total, pooled = np.zeros((len(t), len(z))), pooled_claim(question, signals)
    for name in question.labs:
        # after a claim by any lab nobody asks who has been silent since
        until = np.where(t >= pooled.date, pooled.since, t) if pooled is not None and name in pooled.silent else t
        total = total + np.log(lab_likelihood(question, name, signals, until, z))
    if pooled is not None:
        total = total + np.log(pooled_likelihood(question, pooled, signals, t))
    top = total.max(axis=-1)
    result: Vector = top + np.log(np.exp(total - top[..., None]) @ weight)
    return result


def elasticity(
    demand: DemandElasticity, signals: Sequence[Signal], until: dt.date | None = None
) -> tuple[float, float]:
    """Mean and deviation of the usage elasticity after the usage figures so far (Kalman update)."""
    mean, variance = demand.mean, demand.deviation**2
    for signal in signals:
        if signal.kind != "usage" or (until is not None and signal.date > until):
            continue
        x, y = signal.price_fall, signal.usage_growth
        told = x**2 * variance + demand.noise**2
        # never variance·(1 − gain·x): that difference rounds to 0 where the noise is small
        mean, variance = mean + variance * x / told * (y - x * mean), variance * (demand.noise**2 / told)
    return mean, float(np.sqrt(variance))


def posterior(question: Question, signals: Sequence[Signal], days: Sequence[dt.date]) -> Matrix:
    """(T, K) scenario probabilities on each of `days`, from the signals dated on or before it and the silence since.

    The joint prior is updated on both axes at once.
    """
    return bayes_update(question.prior, log_evidence(question, signals, days))


def bayes_update(probabilities: Vector, log_evidence: Matrix) -> Matrix:
    """(T, K) probabilities times evidence, normalised: only what the evidence differs by between scenarios counts.

    With draws before them: (draws, T, K), and probabilities (K,) or (draws, 1, K).
    """
    top = np.where(probabilities > 0, log_evidence, -np.inf).max(axis=-1, keepdims=True)
    # beyond e^-500 a scenario is excluded either way; the bound keeps it from being impossible for ever
    weight = probabilities * np.exp(np.clip(log_evidence - top, -_LEAST, 0.0))
    result: Matrix = weight / weight.sum(axis=-1, keepdims=True)
    return require_finite(result, "question", "its probabilities")


def log_evidence(question: Question, signals: Sequence[Signal], days: Sequence[dt.date]) -> Matrix:
    """(T, K) log of what the evidence of each day multiplies odds by: the likelihood ratio of G against P, and the
    Bayes factor that the usage figures give the Jevons regime.

    Raises:
        BadInput: hazards, noise or figures are so extreme that the evidence is no number.
    """
    months = np.array([question.months(day) for day in days])
    with np.errstate(all="ignore"):  # what comes of an overflow is refused below
        ratio = log_likelihood_ratio(question, signals, months)[..., None]
        factor = _log_demand_factors(question, signals, days)[:, None]
    require_finite(ratio, "question.labs", "what the labs' claims and silence say")
    require_finite(factor, "question.demand", "what the usage figures say")
    result: Matrix = np.where(question.generalizable, ratio, 0.0) + np.where(question.jevons, factor, 0.0)
    return result


def require_finite(numbers: Matrix, key: str, what: str) -> Matrix:
    """The same numbers, if they are numbers.

    Raises:
        BadInput: one is infinite or not a number: settings or figures are beyond what arithmetic can follow.
    """
    if np.isfinite(numbers).all():
        return numbers
    rule = f"{what} cannot be computed: numbers here are too large or too small"
    cure = "look for a rate, noise, elasticity or figure that is off by many orders of magnitude"
    raise BadInput([setting_breach(key, None, rule, cure)])


def _log_demand_factors(question: Question, signals: Sequence[Signal], days: Sequence[dt.date]) -> Vector:
    """(T,) log of what the usage figures told by each of `days` multiply the odds of the Jevons regime by."""
    demand = question.demand
    told = sorted(signal.date for signal in signals if signal.kind == "usage")
    if demand is None or not told:
        return np.zeros(len(days))
    before = _log_odds_of_expanding(demand.mean, demand.deviation)
    steps = np.array([before, *(_log_odds_of_expanding(*elasticity(demand, signals, day)) for day in told)]) - before
    result: Vector = steps[[bisect_right(told, day) for day in days]]
    return result


def _log_odds_of_expanding(mean: float, deviation: float) -> float:
    """ln of P(elasticity > 1) / P(elasticity <= 1), finite where the probability itself rounds to 0 or 1."""
    z = np.float64(mean - 1) / deviation
    return float(log_ndtr(z) - log_ndtr(-z))


def update_market_probabilities(
    question: Question, probabilities: Vector, signals: Sequence[Signal], since: dt.date, until: dt.date
) -> Vector:
    """(K,) somebody else's probabilities of `since`, moved to `until` by the same evidence (the market's).

    (draws, 1, K) where the question's numbers are draws.
    """
    evidence = log_evidence(question, signals, [since, until])
    moved = bayes_update(probabilities, evidence[..., 1:, :] - evidence[..., :1, :])
    result: Vector = moved[0] if moved.ndim == 2 else moved
    return result


def generalizable_probability(question: Question, probabilities: Matrix) -> Vector:
    """(T,) or scalar: the probability of G."""
    result: Vector = probabilities @ question.generalizable.astype(float)
    return result


def generalizable_on(question: Question, signals: Sequence[Signal], day: dt.date) -> float:
    """P(G) on one day, given what was seen until then."""
    return float(generalizable_probability(question, posterior(question, signals, [day]))[0])


def jevons_probability(question: Question, probabilities: Vector) -> float | None:
    """P(Jevons) under (K,) scenario probabilities; None where the question does not model demand."""
    return None if question.demand is None else float(probabilities @ question.jevons.astype(float))


def settled_answer(question: Question, path: Vector) -> str | None:
    """Which answer a path of P(G), in date order, has settled on; None while open (in at τ, out below τ_off)."""
    return settlement_in_path(question, path)[0]


def settlement_in_path(question: Question, path: Vector) -> tuple[str | None, int | None]:
    """The answer that a path of P(G), in date order, has settled on, and where in the path it did so last."""
    answer: str | None = None
    since: int | None = None
    for i, p in enumerate(path):
        if answer is not None and (p if answer == "generalizable" else 1 - p) < question.release:
            answer, since = None, None
        if answer is None and max(p, 1 - p) >= question.threshold:
            answer, since = "generalizable" if p >= question.threshold else "proprietary", i
    return answer, since


# The way here: what was believed on each day from the opening to today, and whether that has settled the question.
#
# `settled` depends on the way (in at the threshold, out below the release), so whoever asks walks the same days.
#
_AT_ONCE = 4096
"""Days evaluated together: with a frailty a day takes 128 numbers, and centuries of them would not fit in memory."""


@dataclass(frozen=True, eq=False)
class BeliefPath:
    """On each of `days` (T,) from the opening to today: scenario probabilities `beliefs` (T, K), P(G) `generalizable`.

    `settled` is the answer that this has settled on by today, `since` the day on which it last did; None while open.
    """

    days: tuple[dt.date, ...]
    beliefs: Matrix
    generalizable: Vector
    settled: str | None
    since: dt.date | None


def belief_path(question: Question, signals: Sequence[Signal], day: dt.date) -> BeliefPath:
    """The way from the opening to `day`, by the day."""
    days = [question.opened + dt.timedelta(days=n) for n in range((day - question.opened).days + 1)]
    blocks = [posterior(question, signals, days[i : i + _AT_ONCE]) for i in range(0, len(days), _AT_ONCE)]
    beliefs: Matrix = np.concatenate(blocks)
    path = generalizable_probability(question, beliefs)
    answer, since = settlement_in_path(question, path)
    return BeliefPath(tuple(days), beliefs, path, answer, None if since is None else days[since])


# What may come without a word or with the next one: when silence alone settles, how likely the next claim is.
#
_STEP = 30


def settled_by_silence(
    question: Question, signals: Sequence[Signal], day: dt.date, years: int = 20, past: BeliefPath | None = None
) -> dt.date | None:
    """The first day on which silence alone has settled the question; None if never within `years` of `day`.

    Where it is settled on `day` already, the day on which that happened, by whatever evidence.
    """
    past = past or belief_path(question, signals, day)
    if past.settled is not None:
        return past.since
    # From here on nothing is said: what was said counts the same every day, and each silent lab's survival can only
    # fall, whatever the common multiplier. So P(G) never rises, only P can be settled on, and once past the threshold
    # silence stays past it: the first month that ends beyond it holds the first day beyond it.
    told = [signal for signal in signals if signal.date <= day]
    last = 365 * years - 1
    months = _crossed(question, told, day, [*range(0, last, _STEP), last])
    if months is None:
        return None
    ahead = _crossed(question, told, day, range(max(months - _STEP, 0), months + 1))
    return None if ahead is None else day + dt.timedelta(days=ahead)


def _crossed(question: Question, signals: Sequence[Signal], day: dt.date, ahead: Sequence[int]) -> int | None:
    """The first of so many days ahead, in order, on which P(G) is beyond the threshold on either side."""
    path = generalizable_probability(
        question, posterior(question, signals, [day + dt.timedelta(days=n) for n in ahead])
    )
    there = np.flatnonzero(np.maximum(path, 1 - path) >= question.threshold)
    return ahead[int(there[0])] if len(there) else None


def claim_probability(question: Question, signals: Sequence[Signal], day: dt.date, months: float) -> float:
    """P(some silent lab claims, genuinely or not, within `months` of `day`), given what was seen until then."""
    if says_any_lab(signals):
        return 0.0  # the first claim is there, and nobody is asked who else makes one
    (z, weight), t = question.common, question.months(day)
    seen, quiet = np.ones((1, len(z))), np.ones(len(z))
    for name in question.labs:
        seen = seen * lab_likelihood(question, name, signals, np.array([t]), z)
    silent = [question.labs[name] for name in silent_labs(question, signals)]
    for lab in silent:
        quiet = quiet * silence_probability(lab, t + months, z) / silence_probability(lab, t, z)
    background = float(np.exp(-months * sum(lab.background for lab in silent)))
    weights = seen[0] * weight
    genuine_silence = float(weights @ quiet / weights.sum())
    p = generalizable_on(question, signals, day)
    return p * (1 - genuine_silence * background) + (1 - p) * (1 - background)


# Robust Bayes: how low and how high P(G) may be, given what the book is unsure of.
#
_GRID = (33, 257)
"""Disclosures and hazards of the first look; in ln(hazard) nothing is narrower than about 1, so no peak is lost."""
_POOLED_GRID = (5, 17)
"""Where a claim by any lab joins the labs and each point takes a quadrature."""
_CLOSER = (9, 9)
_LOOKS = 14
"""Each look spans two cells of the last one: 14 of them pin the place down to 1e-8 of a cell, its value to rounding."""


@dataclass(frozen=True)
class BeliefRanges:
    """Lowest and highest prior of G, and disclosure, hazard and background: one unknown value, common to all labs."""

    prior: tuple[float, float]
    disclosure: tuple[float, float]
    hazard: tuple[float, float]
    background: tuple[float, float]


def posterior_bounds(
    question: Question, ranges: BeliefRanges, signals: Sequence[Signal], day: dt.date
) -> tuple[float, float]:
    """Lowest and highest P(G) over `ranges`, which replace each lab's own values by one that all labs share, and over
    the belief itself: where labs differ, no common value need give it.

    P(G) rises with the prior and, where there is a claim, falls with the background, so their ends suffice. Disclosure
    and hazard are searched: a claim speaks loudest at a hazard near 1/(months since the lag), and one lab's claim
    beside another's silence, or a refutation, may do so at a disclosure in between.
    """
    reached = [generalizable_on(question, signals, day)]
    for end, sign in ((0, -1.0), (1, 1.0)):
        background = ranges.background[1 - end]
        disclosure, hazard = _extreme(question, ranges, signals, day, background, sign)
        extreme = _with_labs(question, disclosure=disclosure, hazard=hazard, background=background)
        extreme = replace(extreme, prior=prior_with(question, ranges.prior[end]))
        reached.append(generalizable_on(extreme, signals, day))
    return min(reached), max(reached)


def _with_labs(question: Question, **values: float) -> Question:
    """The question if these numbers of all its labs were the same."""
    return replace(question, labs={name: replace(lab, **values) for name, lab in question.labs.items()})


def prior_with(question: Question, generalizable_prior: Number) -> Vector:
    """(K,) the prior of the scenarios if G had this prior; within an answer their proportions stay.

    (draws, 1, K) where it is drawn: an array (draws, 1, 1).
    """
    share = question.prior[question.generalizable.astype(bool)].sum()
    given = np.asarray(generalizable_prior, dtype=np.float64)
    scale = np.where(question.generalizable, given / share, (1 - given) / (1 - share))
    result: Vector = question.prior * scale
    return result


def _extreme(
    question: Question, ranges: BeliefRanges, signals: Sequence[Signal], day: dt.date, background: float, sign: float
) -> tuple[float, float]:
    """Disclosure and hazard where G explains what was seen best (`sign` 1) or worst (−1): a grid, then ever closer."""
    pooled = says_any_lab(signals)
    ratios, grid = (_pooled_ratios, _POOLED_GRID) if pooled else (_ratios, _GRID)
    month, same = np.array([question.months(day)]), _with_labs(question, background=background)
    disclosures, hazards = np.linspace(*ranges.disclosure, grid[0]), np.geomspace(*ranges.hazard, grid[1])
    best = (-np.inf, ranges.disclosure[0], ranges.hazard[0])
    for _ in range(_LOOKS):
        seen = sign * ratios(same, signals, month, disclosures, hazards)
        i, j = divmod(int(np.argmax(seen)), len(hazards))
        if seen[i, j] > best[0]:
            best = float(seen[i, j]), float(disclosures[i]), float(hazards[j])
        disclosures = np.linspace(*_beside(disclosures, i), _CLOSER[0])
        hazards = np.geomspace(*_beside(hazards, j), _CLOSER[1])
    return best[1:]


def _beside(places: Vector, i: int) -> tuple[float, float]:
    """The places before and after the i-th, where there are any."""
    return float(places[max(i - 1, 0)]), float(places[min(i + 1, len(places) - 1)])


def _ratios(
    question: Question, signals: Sequence[Signal], month: Vector, disclosures: Vector, hazards: Vector
) -> Matrix:
    """(D, H) likelihood ratio of G. A lab's factor is linear in its disclosure, and knows its hazard only times z."""
    z, weight = question.common
    rates, able = (hazards[:, None] * z).ravel(), _with_labs(question, disclosure=1.0, hazard=1.0)
    product = np.ones((len(disclosures), len(hazards), len(z)))
    for name in question.labs:
        more = lab_likelihood(able, name, signals, month, rates)[0].reshape(len(hazards), len(z)) - 1
        product *= 1 + disclosures[:, None, None] * more
    result: Matrix = product @ weight
    return result


def _pooled_ratios(
    question: Question, signals: Sequence[Signal], month: Vector, disclosures: Vector, hazards: Vector
) -> Matrix:
    """(D, H) the log of the same with a claim by any lab, which joins the labs: point by point."""
    logs = np.zeros((len(disclosures), len(hazards)))
    for i, j in np.ndindex(logs.shape):
        joined = _with_labs(question, disclosure=float(disclosures[i]), hazard=float(hazards[j]))
        logs[i, j] = log_likelihood_ratio(joined, signals, month)[0]
    return logs
