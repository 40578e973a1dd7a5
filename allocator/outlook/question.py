"""The replicability question: who may answer it and how, what is observed, and what was believed at the start."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from scipy.special import gammainccinv, gammaincinv, gammaln

from allocator.book.checks.question import ANY_LAB
from allocator.types import Matrix, Vector

Number: TypeAlias = float | Vector
"""One number, or one a draw: an array (draws, 1, 1), which goes with arrays (draws, days, scenarios)."""
DAYS_A_MONTH = 365.25 / 12
_NODES = 128
"""Quadrature nodes of the frailty; exact to about 1e-12 over the ranges that a book may state."""


@dataclass(frozen=True)
class Lab:
    """How one lab discloses, under G: ever with probability `disclosure`, then at `hazard` a month after `lag_months`.

    `background` is the hazard a month of claiming without substance, under G and P alike.
    """

    disclosure: Number
    hazard: Number
    background: Number
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
class DemandElasticity:
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
    demand: DemandElasticity | None = None
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

    def verdict(self, verified: bool) -> tuple[float, float]:
        """P(a claim is verified, or else refuted), if it is genuine and if it is not."""
        of_genuine, of_empty = self.sensitivity, self.false_positive
        return (of_genuine, of_empty) if verified else (1 - of_genuine, 1 - of_empty)


# How labs disclose, and what each one's claim, verdict or silence says: a cure model with background claims.
#
# A lab that could replicate discloses after a while, or never; any lab may claim without substance, under both
# answers.
#
_QUADRATURE = 32
"""Points between two lags, where all is smooth."""


def silence_probability(lab: Lab, months: Vector | float, common: Vector | float = 1.0) -> Vector:
    """Probability, under G, that the lab has not genuinely disclosed by `months`: 1 − δ + δe^(−λz(t−d)₊)."""
    waited = np.maximum(np.asarray(months, dtype=float) - lab.lag_months, 0.0)
    result: Vector = 1 - lab.disclosure + lab.disclosure * np.exp(-lab.hazard * np.asarray(common) * waited)
    return result


def disclosure_density(lab: Lab, months: Vector | float, common: Vector | float = 1.0) -> Vector:
    """Density a month, under G, of genuine disclosure at `months`: δλz·e^(−λz(t−d)), 0 before the lag."""
    t = np.asarray(months, dtype=float)
    rate = lab.hazard * np.asarray(common)
    result: Vector = np.where(
        t >= lab.lag_months, lab.disclosure * rate * np.exp(-rate * np.maximum(t - lab.lag_months, 0.0)), 0.0
    )
    return result


def lab_likelihood(question: Question, name: str, signals: Sequence[Signal], t: Vector, z: Vector) -> Matrix:
    """(T, nodes) the contribution of the lab of this name: silent, then claimed, then verified or refuted."""
    lab, own = question.labs[name], [signal for signal in signals if signal.lab == name]
    claim = next((question.months(signal.date) for signal in own if signal.kind == "claim"), np.inf)
    factor = silence_probability(lab, np.minimum(t, claim)[:, None], z)
    said = disclosure_density(lab, min(claim, 1e9), z) / lab.background
    grade = np.ones(len(t))
    for signal in sorted(own, key=lambda signal: signal.date):
        if signal.kind != "claim":
            genuine, empty = question.verdict(signal.kind == "verification")
            grade = np.where(t >= question.months(signal.date), grade * genuine / empty, grade)
    result: Matrix = factor + np.where((t >= claim)[:, None], said * grade[:, None], 0.0)
    return result


@dataclass(frozen=True, eq=False)
class PooledClaim:
    """The first claim by any of the labs `silent` until then, between the months `since` and `date`.

    `genuine` and `empty` (nodes,) say how much likelier it is than under P, given G and the common multiplier, that
    the first claim came then and was genuine, or without substance.
    """

    silent: tuple[str, ...]
    since: float
    date: float
    genuine: Vector
    empty: Vector


def pooled_claim(question: Question, signals: Sequence[Signal]) -> PooledClaim | None:
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
        result = np.ones(len(z)) * np.exp(-rate * (at - since))
        for lab in labs:
            result = result * silence_probability(lab, at, z) / silence_probability(lab, since, z)
        return result

    ends = sorted({since, date, *(lab.lag_months for lab in labs if since < lab.lag_months < date)})
    nodes, weights = np.polynomial.legendre.leggauss(_QUADRATURE)
    empty: Vector = np.zeros(len(z))
    for low, high in pairwise(ends):  # smooth between the ends
        for node, weight in zip(nodes, weights, strict=True):
            empty = empty + rate * weight * (high - low) / 2 * quiet(low + (node + 1) / 2 * (high - low))
    genuine = np.maximum(1 - quiet(date) - empty, 0.0)
    under_p = -np.expm1(-rate * (date - since))
    return PooledClaim(silent, since, date, genuine / under_p, empty / under_p)


def says_any_lab(signals: Sequence[Signal]) -> bool:
    """Whether somebody has claimed of whom nobody says who it was."""
    return any(signal.lab == ANY_LAB for signal in signals)


def open_claims(signals: Sequence[Signal]) -> dict[str, Signal]:
    """The claims that are neither verified nor refuted, by lab."""
    judged = {signal.lab for signal in signals if signal.kind in ("verification", "refutation")}
    return {signal.lab: signal for signal in signals if signal.kind == "claim" and signal.lab not in judged}


def silent_labs(question: Question, signals: Sequence[Signal]) -> tuple[str, ...]:
    """The labs that have claimed nothing by name."""
    said = {signal.lab for signal in signals if signal.kind == "claim"}
    return tuple(name for name in question.labs if name not in said)


def pooled_likelihood(question: Question, pooled: PooledClaim, signals: Sequence[Signal], t: Vector) -> Matrix:
    """(T, nodes) what the claim by any lab contributes from its date on, graded by its verdict from that date on."""
    grade = np.ones(len(t))
    for signal in signals:
        if signal.lab == ANY_LAB and signal.kind != "claim":
            genuine, empty = question.verdict(signal.kind == "verification")
            grade = np.where(t >= question.months(signal.date), grade * (genuine / empty), grade)
    claimed = grade[:, None] * pooled.genuine + pooled.empty
    result: Matrix = np.where((t >= pooled.date)[:, None], claimed, 1.0)
    return result
