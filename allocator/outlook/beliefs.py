"""Beliefs: scenario probabilities given dated signals and silence.

The replicability question has two answers, generalizable (G) and proprietary (P). What labs say and keep silent about
(`disclosure.py`) moves the odds between them, usage figures those between demand regimes: silence is evidence for P, a
claim for G, and a verification weighs more than either.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from scipy.special import log_ndtr, ndtr

from allocator.errors import BadInput, Breach
from allocator.outlook.disclosure import of_lab, of_pooled, pooled_claim
from allocator.outlook.question import Demand, Question, Signal
from allocator.types import Matrix, Vector

_LEAST = 500.0
"""How far evidence may tell scenarios apart, in logs."""


def likelihood_ratio(question: Question, signals: Sequence[Signal], months: Vector) -> Vector:
    """(T,) how much better G explains what was seen up to each of `months` than P does.

    Given the common multiplier z, the labs are independent: a silent lab contributes S, a claim S + g/ν, a verified one
    S + (g/ν)·se/fp, a refuted one S + (g/ν)·(1−se)/(1−fp), with S and g at the date of the claim.
    """
    result: Vector = np.exp(log_likelihood_ratio(question, signals, months))
    return result


def log_likelihood_ratio(question: Question, signals: Sequence[Signal], months: Vector) -> Vector:
    """(T,) the logarithm of `likelihood_ratio`, finite also where the ratio itself would not be a number.

    (draws, T) where the labs' numbers are draws.
    """
    z, weight = question.common
    t = np.asarray(months, dtype=float)
    total, pooled = np.zeros((len(t), len(z))), pooled_claim(question, signals)
    for name, lab in question.labs.items():
        own = [signal for signal in signals if signal.lab == name]
        # after a claim by any lab nobody asks who has been silent since
        until = np.where(t >= pooled.date, pooled.since, t) if pooled is not None and name in pooled.silent else t
        total = total + np.log(of_lab(question, lab, own, until, z))
    if pooled is not None:
        total = total + np.log(of_pooled(question, pooled, signals, t))
    top = total.max(axis=-1)
    result: Vector = top + np.log(np.exp(total - top[..., None]) @ weight)
    return result


def elasticity(demand: Demand, signals: Sequence[Signal], until: dt.date | None = None) -> tuple[float, float]:
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


def expanding(mean: float, deviation: float) -> float:
    """P(elasticity > 1): that revenue grows when prices fall."""
    return float(ndtr((mean - 1) / deviation))


def posterior(question: Question, signals: Sequence[Signal], days: Sequence[dt.date]) -> Matrix:
    """(T, K) scenario probabilities on each of `days`, from the signals dated on or before it and the silence since.

    The joint prior is updated on both axes at once.
    """
    return updated(question.prior, log_evidence(question, signals, days))


def updated(probabilities: Vector, log_evidence: Matrix) -> Matrix:
    """(T, K) probabilities times evidence, normalised: only what the evidence differs by between scenarios counts.

    With draws before them: (draws, T, K), and probabilities (K,) or (draws, 1, K).
    """
    top = np.where(probabilities > 0, log_evidence, -np.inf).max(axis=-1, keepdims=True)
    # beyond e^-500 a scenario is excluded either way; the bound keeps it from being impossible for ever
    weight = probabilities * np.exp(np.clip(log_evidence - top, -_LEAST, 0.0))
    result: Matrix = weight / weight.sum(axis=-1, keepdims=True)
    return sound(result, "question", "its probabilities")


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
    sound(ratio, "question.labs", "what the labs' claims and silence say")
    sound(factor, "question.demand", "what the usage figures say")
    result: Matrix = np.where(question.generalizable, ratio, 0.0) + np.where(question.jevons, factor, 0.0)
    return result


def sound(numbers: Matrix, key: str, what: str) -> Matrix:
    """The same numbers, if they are numbers.

    Raises:
        BadInput: one is infinite or not a number: settings or figures are beyond what arithmetic can follow.
    """
    if np.isfinite(numbers).all():
        return numbers
    rule = f"{what} cannot be computed: numbers here are too large or too small"
    cure = "look for a rate, noise, elasticity or figure that is off by many orders of magnitude"
    raise BadInput([Breach("book.toml", None, key, None, rule, cure)])


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


def moved_by(
    question: Question, probabilities: Vector, signals: Sequence[Signal], since: dt.date, until: dt.date
) -> Vector:
    """(K,) somebody else's probabilities of `since`, moved to `until` by the same evidence (the market's).

    (draws, 1, K) where the question's numbers are draws.
    """
    evidence = log_evidence(question, signals, [since, until])
    moved = updated(probabilities, evidence[..., 1:, :] - evidence[..., :1, :])
    result: Vector = moved[0] if moved.ndim == 2 else moved
    return result


def generalizable(question: Question, probabilities: Matrix) -> Vector:
    """(T,) or scalar: the probability of G."""
    result: Vector = probabilities @ question.generalizable.astype(float)
    return result


def settled(question: Question, path: Vector) -> str | None:
    """Which answer a path of P(G), in date order, has settled on; None while open (in at τ, out below τ_off)."""
    return settling(question, path)[0]


def settling(question: Question, path: Vector) -> tuple[str | None, int | None]:
    """The answer that a path of P(G), in date order, has settled on, and where in the path it did so last."""
    answer: str | None = None
    since: int | None = None
    for i, p in enumerate(path):
        if answer is not None and (p if answer == "generalizable" else 1 - p) < question.release:
            answer, since = None, None
        if answer is None and max(p, 1 - p) >= question.threshold:
            answer, since = "generalizable" if p >= question.threshold else "proprietary", i
    return answer, since
