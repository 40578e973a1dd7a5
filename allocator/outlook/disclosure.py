"""How labs disclose, and what each one's claim, verdict or silence says: a cure model with background claims.

A lab that could replicate discloses after a while, or never; any lab may claim without substance, under both answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from allocator.book.checks.question import ANY_LAB
from allocator.outlook.question import Lab, Question, Signal
from allocator.types import Matrix, Vector

_QUADRATURE = 32
"""Points between two lags, where all is smooth."""


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
        result = np.ones(len(z)) * np.exp(-rate * (at - since))
        for lab in labs:
            result = result * survival(lab, at, z) / survival(lab, since, z)
        return result

    ends = sorted({since, date, *(lab.lag_months for lab in labs if since < lab.lag_months < date)})
    nodes, weights = np.polynomial.legendre.leggauss(_QUADRATURE)
    empty: Vector = np.zeros(len(z))
    for low, high in pairwise(ends):  # smooth between the ends
        for node, weight in zip(nodes, weights, strict=True):
            empty = empty + rate * weight * (high - low) / 2 * quiet(low + (node + 1) / 2 * (high - low))
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
