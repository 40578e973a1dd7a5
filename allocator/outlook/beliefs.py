"""Beliefs: scenario probabilities given dated signals and silence.

The replicability question has two answers, generalizable (G) and proprietary (P). A lab that could replicate discloses
after a while, or never (a cure model); any lab may claim without substance (background claims, under both answers). So
silence is evidence for P, a claim for G, and a verification weighs more than either.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import gammainccinv, gammaincinv, gammaln, log_ndtr, ndtr

from allocator.types import Matrix, Vector

DAYS_A_MONTH = 365.25 / 12
_NODES = 128
"""Quadrature nodes of the frailty; exact to about 1e-12 over the ranges that a book may state."""


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

    A usage figure is a log price fall and the log usage growth that came with it.
    """

    date: dt.date
    kind: str
    lab: str = ""
    price_fall: float = 0.0
    usage_growth: float = 0.0


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
    z, weight = question.common
    t = np.asarray(months, dtype=float)
    total = np.ones((len(t), len(z)))
    for name, lab in question.labs.items():
        total = total * of_lab(question, lab, [signal for signal in signals if signal.lab == name], t, z)
    result: Vector = total @ weight
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
        gain = variance * x / (x**2 * variance + demand.noise**2)
        mean, variance = mean + gain * (y - x * mean), variance * (1 - gain * x)
    return mean, float(np.sqrt(variance))


def expanding(mean: float, deviation: float) -> float:
    """P(elasticity > 1): that revenue grows when prices fall."""
    return float(ndtr((mean - 1) / deviation))


def posterior(question: Question, signals: Sequence[Signal], days: Sequence[dt.date]) -> Matrix:
    """(T, K) scenario probabilities on each of `days`, from the signals dated on or before it and the silence since.

    The joint prior is updated on both axes at once.
    """
    weight = question.prior * _evidence(question, signals, days)
    result: Matrix = weight / weight.sum(axis=1, keepdims=True)
    return result


def _evidence(question: Question, signals: Sequence[Signal], days: Sequence[dt.date]) -> Matrix:
    """(T, K) what the evidence of each day multiplies odds by: the likelihood ratio of G against P, and the Bayes
    factor that the usage figures give the Jevons regime.
    """
    months = np.array([question.months(day) for day in days])
    ratio = likelihood_ratio(question, signals, months)[:, None]
    factor = np.array([_demand_factor(question, signals, day) for day in days])[:, None]
    result: Matrix = np.where(question.generalizable, ratio, 1.0) * np.where(question.jevons, factor, 1.0)
    return result


def _demand_factor(question: Question, signals: Sequence[Signal], day: dt.date) -> float:
    demand = question.demand
    if demand is None or not any(signal.kind == "usage" and signal.date <= day for signal in signals):
        return 1.0
    before = _log_odds_of_expanding(demand.mean, demand.deviation)
    after = _log_odds_of_expanding(*elasticity(demand, signals, day))
    # beyond e^±500 a regime is certain either way; the bound keeps the arithmetic finite
    return float(np.exp(np.clip(after - before, -500.0, 500.0)))


def _log_odds_of_expanding(mean: float, deviation: float) -> float:
    """ln of P(elasticity > 1) / P(elasticity <= 1), finite where the probability itself rounds to 0 or 1."""
    z = (mean - 1) / deviation
    return float(log_ndtr(z) - log_ndtr(-z))


def moved_by(
    question: Question, probabilities: Vector, signals: Sequence[Signal], since: dt.date, until: dt.date
) -> Vector:
    """(K,) somebody else's probabilities of `since`, moved to `until` by the same evidence (the market's)."""
    before, after = _evidence(question, signals, [since, until])
    moved = probabilities * after / before
    result: Vector = moved / moved.sum()
    return result


def generalizable(question: Question, probabilities: Matrix) -> Vector:
    """(T,) or scalar: the probability of G."""
    result: Vector = probabilities @ question.generalizable.astype(float)
    return result


def settled(question: Question, path: Vector) -> str | None:
    """Which answer a path of P(G), in date order, has settled on; None while open (in at τ, out below τ_off)."""
    answer: str | None = None
    for p in path:
        if answer is not None and (p if answer == "generalizable" else 1 - p) < question.release:
            answer = None
        if answer is None and max(p, 1 - p) >= question.threshold:
            answer = "generalizable" if p >= question.threshold else "proprietary"
    return answer


def claim_probability(question: Question, signals: Sequence[Signal], day: dt.date, months: float) -> float:
    """P(some silent lab claims, genuinely or not, within `months` of `day`), given what was seen until then."""
    z, weight = question.common
    t = question.months(day)
    silent = [
        lab for name, lab in question.labs.items() if not any(s.lab == name and s.kind == "claim" for s in signals)
    ]
    p = float(generalizable(question, posterior(question, signals, [day]))[0])
    seen = np.ones((1, len(z)))
    for name, lab in question.labs.items():
        seen = seen * of_lab(question, lab, [signal for signal in signals if signal.lab == name], np.array([t]), z)
    quiet = np.ones(len(z))
    for lab in silent:
        quiet = quiet * survival(lab, t + months, z) / survival(lab, t, z)
    background = float(np.exp(-months * sum(lab.background for lab in silent)))
    weights = seen[0] * weight
    genuine_silence = float(weights @ quiet / weights.sum())
    return p * (1 - genuine_silence * background) + (1 - p) * (1 - background)


@dataclass(frozen=True)
class Possible:
    """One thing that may be observed next: P(G) after it."""

    what: str
    probability: float


def next_signals(question: Question, signals: Sequence[Signal], day: dt.date) -> list[Possible]:
    """What each possible next signal, dated `day`, would do to P(G)."""
    found = []
    for name in question.labs:
        own = [signal.kind for signal in signals if signal.lab == name]
        kinds = ("verification", "refutation") if "claim" in own else ("claim",)
        for kind in kinds:
            if kind in own or ("verification" in own or "refutation" in own):
                continue
            told = [*signals, Signal(day, kind, name)]
            after = float(generalizable(question, posterior(question, told, [day]))[0])
            found.append(Possible(f"{kind} {'by' if kind == 'claim' else 'of'} {name}", after))
    return found


def settled_by_silence(question: Question, signals: Sequence[Signal], day: dt.date, years: int = 20) -> dt.date | None:
    """The first day from `day` on which silence alone has settled the question; None if never within `years`."""
    days = [day + dt.timedelta(days=n) for n in range(365 * years)]
    path = generalizable(question, posterior(question, signals, days))
    there = np.flatnonzero(np.maximum(path, 1 - path) >= question.threshold)
    return days[int(there[0])] if len(there) else None


@dataclass(frozen=True)
class Ranges:
    """What the book is unsure of: lowest and highest prior of G, and factors on disclosure, hazard and background."""

    prior: tuple[float, float]
    disclosure: tuple[float, float]
    hazard: tuple[float, float]
    background: tuple[float, float]


def bounds(question: Question, ranges: Ranges, signals: Sequence[Signal], day: dt.date) -> tuple[float, float]:
    """Lowest and highest P(G) over the corners of `ranges` (robust Bayes): monotone, so corners suffice.

    Every lab takes the same corner; `ranges` are absolute values that replace each lab's own.
    """
    found = []
    share = question.prior[question.generalizable.astype(bool)].sum()
    for p in ranges.prior:
        scale = np.where(question.generalizable, p / share, (1 - p) / (1 - share))
        for d in ranges.disclosure:
            for h in ranges.hazard:
                for b in ranges.background:
                    labs = {
                        name: replace(lab, disclosure=d, hazard=h, background=b) for name, lab in question.labs.items()
                    }
                    corner = replace(question, prior=question.prior * scale, labs=labs)
                    found.append(float(generalizable(corner, posterior(corner, signals, [day]))[0]))
    return min(found), max(found)
