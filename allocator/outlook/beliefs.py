"""Beliefs: scenario probabilities given dated signals and silence.

The replicability question has two answers, generalizable (G) and proprietary (P). A lab that could replicate discloses
after a while, or never (a cure model); any lab may claim without substance (background claims, under both answers). So
silence is evidence for P, a claim for G, and a verification weighs more than either.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy.special import gammainccinv, gammaincinv, gammaln, log_ndtr, ndtr

from allocator.book.evidence import ANY_LAB
from allocator.errors import BadInput, Breach
from allocator.types import Matrix, Vector

DAYS_A_MONTH = 365.25 / 12
_QUADRATURE = 32
_NODES = 128
"""Quadrature nodes of the frailty; exact to about 1e-12 over the ranges that a book may state."""

_LEAST = 500.0
"""How far evidence may tell scenarios apart, in logs."""


@dataclass(frozen=True)
class Lab:
    """How one lab discloses, under G: ever with probability `disclosure`, then at `hazard` a month after `lag_months`.

    `background` is the hazard a month of claiming without substance, under G and P alike.
    """

    disclosure: float
    hazard: float
    background: float
    lag_months: float = 0.0


@dataclass(frozen=True)
class Signal:
    """A dated observation: a `claim`, `verification` or `refutation` by or of a lab, or a `usage` figure.

    A usage figure is a log price fall and the log usage growth that came with it. A claim by `ANY_LAB` was made by some
    lab that had been silent, after the day `since`.
    """

    date: dt.date
    kind: str
    lab: str = ""
    price_fall: float = 0.0
    usage_growth: float = 0.0
    since: dt.date | None = None


@dataclass(frozen=True)
class Demand:
    """The usage elasticity as we believe it: Normal(`mean`, `deviation`²); a figure errs by Normal(0, `noise`²)."""

    mean: float
    deviation: float
    noise: float


@dataclass(frozen=True, eq=False)
class Question:
    """The replicability question: when it opened, who may answer, and what was believed at the start.

    `prior` (K,) sums to one over scenarios; `generalizable` and `jevons` (K,) say which answer and which demand regime
    each scenario stands for. `sensitivity` and `false_positive` belong to verification. `frailty` is the shape of a
    gamma multiplier common to all hazards (correlated labs); None makes the labs independent.
    """

    opened: dt.date
    labs: Mapping[str, Lab]
    prior: Vector
    generalizable: Vector
    jevons: Vector
    sensitivity: float = 0.9
    false_positive: float = 0.1
    frailty: float | None = None
    demand: Demand | None = None
    threshold: float = 0.95
    release: float = 0.85

    @cached_property
    def common(self) -> tuple[Vector, Vector]:
        """Values of the common multiplier and their probabilities; one value of 1 when labs are independent."""
        if self.frailty is None:
            return np.ones(1), np.ones(1)
        a = self.frailty
        low, high = max(float(gammaincinv(a, 1e-16)) / a, 1e-15), float(gammainccinv(a, 1e-16)) / a
        logs = np.linspace(np.log(low), np.log(high), _NODES)  # trapezium rule in ln z: converges exponentially
        values = np.exp(logs)
        weights = np.exp(a * (np.log(a) + logs - values) - gammaln(a)) * (logs[1] - logs[0])
        weights[0] = 1 - weights[1:].sum()  # all the mass below, where nothing depends on z any more
        return values, weights

    def months(self, day: dt.date) -> float:
        """Months from the opening to `day`."""
        return (day - self.opened).days / DAYS_A_MONTH


def survival(lab: Lab, months: Vector | float, common: Vector | float = 1.0) -> Vector:
    """Probability, under G, that the lab has not genuinely disclosed by `months`: 1 − δ + δe^(−λz(t−d)₊)."""
    waited = np.maximum(np.asarray(months, dtype=float) - lab.lag_months, 0.0)
    result: Vector = 1 - lab.disclosure + lab.disclosure * np.exp(-lab.hazard * np.asarray(common) * waited)
    return result


def disclosing(lab: Lab, months: Vector | float, common: Vector | float = 1.0) -> Vector:
    """Density a month, under G, of genuine disclosure at `months`: δλz·e^(−λz(t−d)), 0 before the lag."""
    t = np.asarray(months, dtype=float)
    rate = lab.hazard * np.asarray(common)
    result: Vector = np.where(
        t >= lab.lag_months, lab.disclosure * rate * np.exp(-rate * np.maximum(t - lab.lag_months, 0.0)), 0.0
    )
    return result


def likelihood_ratio(question: Question, signals: Sequence[Signal], months: Vector) -> Vector:
    """(T,) how much better G explains what was seen up to each of `months` than P does.

    Given the common multiplier z, the labs are independent: a silent lab contributes S, a claim S + g/ν, a verified one
    S + (g/ν)·se/fp, a refuted one S + (g/ν)·(1−se)/(1−fp), with S and g at the date of the claim.
    """
    result: Vector = np.exp(log_likelihood_ratio(question, signals, months))
    return result


def log_likelihood_ratio(question: Question, signals: Sequence[Signal], months: Vector) -> Vector:
    """(T,) the logarithm of `likelihood_ratio`, finite also where the ratio itself would not be a number."""
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
    top = total.max(axis=1)
    result: Vector = top + np.log(np.exp(total - top[:, None]) @ weight)
    return result


@dataclass(frozen=True, eq=False)
class Pooled:
    """The first claim by any of the labs `silent` until then, between the months `since` and `date`.

    `genuine` and `empty` (nodes,) say how much likelier it is than under P, given G and the common multiplier, that
    the first claim came then and was genuine, or without substance.
    """

    silent: tuple[str, ...]
    since: float
    date: float
    genuine: Vector
    empty: Vector


def pooled_claim(question: Question, signals: Sequence[Signal]) -> Pooled | None:
    """What a claim by any lab says; None where there is none.

    With Q the probability under G that nobody has claimed since: the first claim came in the interval with probability
    1 − Q(end), without substance with ∫νQ; under P with 1 − e^(−ν·length).
    """
    claim = next((signal for signal in signals if signal.lab == ANY_LAB and signal.kind == "claim"), None)
    if claim is None or claim.since is None:
        return None
    silent = silent_labs(question, signals)
    since, date = question.months(claim.since), question.months(claim.date)
    z, labs = question.common[0], [question.labs[name] for name in silent]
    rate = sum(lab.background for lab in labs)

    def quiet(at: float) -> Vector:
        result = np.full(len(z), np.exp(-rate * (at - since)))
        for lab in labs:
            result = result * survival(lab, at, z) / survival(lab, since, z)
        return result

    ends = sorted({since, date, *(lab.lag_months for lab in labs if since < lab.lag_months < date)})
    nodes, weights = np.polynomial.legendre.leggauss(_QUADRATURE)
    empty = np.zeros(len(z))
    for low, high in pairwise(ends):  # smooth between the ends
        for node, weight in zip(nodes, weights, strict=True):
            empty += rate * weight * (high - low) / 2 * quiet(low + (node + 1) / 2 * (high - low))
    genuine = np.maximum(1 - quiet(date) - empty, 0.0)
    under_p = -np.expm1(-rate * (date - since))
    return Pooled(silent, since, date, genuine / under_p, empty / under_p)


def silent_labs(question: Question, signals: Sequence[Signal]) -> tuple[str, ...]:
    """The labs that have claimed nothing by name."""
    said = {signal.lab for signal in signals if signal.kind == "claim"}
    return tuple(name for name in question.labs if name not in said)


def of_pooled(question: Question, pooled: Pooled, signals: Sequence[Signal], t: Vector) -> Matrix:
    """(T, nodes) what the claim by any lab contributes from its date on, graded by its verdict from that date on."""
    genuine = np.ones(len(t))
    for signal in signals:
        if signal.lab == ANY_LAB and signal.kind != "claim":
            after, yes = t >= question.months(signal.date), signal.kind == "verification"
            se, fp = question.sensitivity, question.false_positive
            genuine = np.where(after, genuine * (se / fp if yes else (1 - se) / (1 - fp)), genuine)
    claimed = genuine[:, None] * pooled.genuine + pooled.empty
    result: Matrix = np.where((t >= pooled.date)[:, None], claimed, 1.0)
    return result


def of_lab(question: Question, lab: Lab, signals: Sequence[Signal], t: Vector, z: Vector) -> Matrix:
    """(T, nodes) one lab's contribution as time passes: silent, then claimed, then verified or refuted."""
    claim = next((question.months(signal.date) for signal in signals if signal.kind == "claim"), np.inf)
    until = np.minimum(t, claim)[:, None]
    factor = survival(lab, until, z)
    said = disclosing(lab, min(claim, 1e9), z) / lab.background
    grade = np.ones(len(t))
    for signal in sorted(signals, key=lambda signal: signal.date):
        after = t >= question.months(signal.date)
        if signal.kind == "verification":
            grade = np.where(after, grade * question.sensitivity / question.false_positive, grade)
        if signal.kind == "refutation":
            grade = np.where(after, grade * (1 - question.sensitivity) / (1 - question.false_positive), grade)
    claimed = (t >= claim)[:, None]
    result: Matrix = factor + np.where(claimed, said * grade[:, None], 0.0)
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
    """(T, K) probabilities times evidence, normalised: only what the evidence differs by between scenarios counts."""
    top = log_evidence[:, probabilities > 0].max(axis=1, keepdims=True)
    # beyond e^-500 a scenario is excluded either way; the bound keeps it from being impossible for ever
    weight = probabilities * np.exp(np.clip(log_evidence - top, -_LEAST, 0.0))
    result: Matrix = weight / weight.sum(axis=1, keepdims=True)
    return sound(result, "question", "its probabilities")


def log_evidence(question: Question, signals: Sequence[Signal], days: Sequence[dt.date]) -> Matrix:
    """(T, K) log of what the evidence of each day multiplies odds by: the likelihood ratio of G against P, and the
    Bayes factor that the usage figures give the Jevons regime.

    Raises:
        BadInput: hazards, noise or figures are so extreme that the evidence is no number.
    """
    months = np.array([question.months(day) for day in days])
    with np.errstate(all="ignore"):  # what comes of an overflow is refused below
        ratio = log_likelihood_ratio(question, signals, months)[:, None]
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
    """(K,) somebody else's probabilities of `since`, moved to `until` by the same evidence (the market's)."""
    before, after = log_evidence(question, signals, [since, until])
    result: Vector = updated(probabilities, (after - before)[None, :])[0]
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
