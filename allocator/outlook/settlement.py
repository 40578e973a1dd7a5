"""When the question will be settled: the distribution of the date, from today's evidence, in closed form.

Two ways lead there: silence until the posterior crosses the threshold, or the first claim, which settles at once or
when it is verified or refuted `VERIFIED_AFTER` months later. What a second claim would add is left out, so "never" is
an upper bound. Densities are exact; the integral over the date of the claim is a trapezium rule by the day.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.outlook.beliefs import (
    DAYS_A_MONTH,
    Question,
    Signal,
    disclosing,
    generalizable,
    of_lab,
    posterior,
    survival,
)
from allocator.types import Vector

VERIFIED_AFTER = 3.0
"""Months from a claim to its verification or refutation."""


@dataclass(frozen=True, eq=False)
class Settlement:
    """Probability (T,) that the question is settled within each of `months` (T,) from today."""

    months: Vector
    probability: Vector

    def within(self, months: float) -> float:
        """Probability of being settled within so many months."""
        return float(np.interp(months, self.months, self.probability))


def settlement(question: Question, signals: Sequence[Signal], day: dt.date, horizon: float = 36.0) -> Settlement:
    """The distribution of the settlement date, given what was seen until `day`."""
    steps = int(horizon * DAYS_A_MONTH) + 1
    ahead = np.arange(steps) / DAYS_A_MONTH
    if open_claim := _open_claim(signals):
        return Settlement(ahead, _after_claim(question, signals, day, ahead, open_claim))
    path = generalizable(question, posterior(question, signals, [day + dt.timedelta(days=n) for n in range(steps)]))
    crossed = np.flatnonzero(np.maximum(path, 1 - path) >= question.threshold)
    quiet_until = int(crossed[0]) if len(crossed) else steps
    total = np.zeros(steps)
    silence = np.ones(steps)
    for density, settled_at_once, later in _claims(question, signals, day, ahead, path):
        mass = np.where(np.arange(steps) < quiet_until, density, 0.0) / DAYS_A_MONTH
        mass[0] /= 2  # trapezium
        total += np.cumsum(mass * settled_at_once)
        total += _delayed(np.cumsum(mass * np.where(settled_at_once > 0, 0.0, later)), ahead)
        silence -= np.cumsum(mass)
    if quiet_until < steps:
        total[quiet_until:] += silence[quiet_until]
    return Settlement(ahead, np.minimum(total, 1.0))


def _delayed(settled: Vector, ahead: Vector) -> Vector:
    """The same cumulative probability, `VERIFIED_AFTER` months later."""
    result: Vector = np.interp(ahead - VERIFIED_AFTER, ahead, settled, left=0.0)
    return result


def _claims(
    question: Question, signals: Sequence[Signal], day: dt.date, ahead: Vector, path: Vector
) -> list[tuple[Vector, Vector, Vector]]:
    """For each silent lab and each day ahead: density a month of claiming first; whether that settles at once;
    and the probability that verification settles it later.
    """
    z, weight = question.common
    silent = {name: lab for name, lab in question.labs.items() if not any(s.lab == name for s in signals)}
    now = question.months(day)
    t = (now + ahead)[:, None]
    p = float(path[0])
    background = np.exp(-ahead * sum(lab.background for lab in silent.values()))
    quiet = np.prod([survival(lab, t, z) / survival(lab, now, z) for lab in silent.values()], axis=0)
    seen = weight.copy()
    for name, lab in question.labs.items():
        own = [signal for signal in signals if signal.lab == name]
        seen = seen * of_lab(question, lab, own, np.array([now]), z)[0]
    seen = seen / seen.sum()
    found = []
    for name, lab in silent.items():
        genuine = disclosing(lab, t, z) / survival(lab, t, z)
        under_g = ((genuine + lab.background) * quiet) @ seen * background
        under_p = lab.background * background
        real = np.divide((genuine * quiet) @ seen * background, under_g, out=np.zeros_like(under_g), where=under_g > 0)
        claimed = _after_claim_by(question, signals, name, now + ahead, path)
        found.append(
            (
                p * under_g + (1 - p) * under_p,
                (np.maximum(claimed, 1 - claimed) >= question.threshold).astype(float),
                _verified_settles(question, claimed, real),
            )
        )
    return found


def _after_claim_by(question: Question, signals: Sequence[Signal], name: str, months: Vector, path: Vector) -> Vector:
    """(T,) P(G) if that lab claimed on that day, from P(G) had it stayed silent: odds times likelihood ratio."""
    z, weight = question.common
    others = weight * np.ones((len(months), 1))
    for other, lab in question.labs.items():
        if other != name:
            own = [signal for signal in signals if signal.lab == other]
            others = others * of_lab(question, lab, own, months, z)
    lab, t = question.labs[name], months[:, None]
    silent, genuine = survival(lab, t, z), disclosing(lab, t, z)
    ratio = (others * (silent + genuine / lab.background)).sum(axis=1) / (others * silent).sum(axis=1)
    odds = path / (1 - path) * ratio
    result: Vector = odds / (1 + odds)
    return result


def _verified_settles(question: Question, claimed: Vector, real: Vector) -> Vector:
    """Probability that the verification of a claim settles the question, from P(G) after it and P(genuine | G)."""
    se, fp = question.sensitivity, question.false_positive
    yes_g = real * se + (1 - real) * fp
    success = claimed * yes_g + (1 - claimed) * fp
    after_yes = claimed * yes_g / success
    after_no = claimed * (1 - yes_g) / (1 - success)
    settles_yes = np.maximum(after_yes, 1 - after_yes) >= question.threshold
    settles_no = np.maximum(after_no, 1 - after_no) >= question.threshold
    result: Vector = success * settles_yes + (1 - success) * settles_no
    return result


def _open_claim(signals: Sequence[Signal]) -> Signal | None:
    """The latest claim that is neither verified nor refuted."""
    judged = {signal.lab for signal in signals if signal.kind in ("verification", "refutation")}
    open_claims = [signal for signal in signals if signal.kind == "claim" and signal.lab not in judged]
    return max(open_claims, key=lambda signal: signal.date, default=None)


def _after_claim(question: Question, signals: Sequence[Signal], day: dt.date, ahead: Vector, claim: Signal) -> Vector:
    """With a claim outstanding, the next news is its verification."""
    p = generalizable(question, posterior(question, signals, [day]))
    if max(float(p[0]), 1 - float(p[0])) >= question.threshold:
        return np.ones_like(ahead)
    lab, (z, seen) = question.labs[claim.lab], question.common
    at, now = question.months(claim.date), np.array([question.months(day)])
    for name, other in question.labs.items():
        if name != claim.lab:
            seen = seen * of_lab(question, other, [signal for signal in signals if signal.lab == name], now, z)[0]
    genuine, silent = float(disclosing(lab, at, z) @ seen), float(survival(lab, at, z) @ seen)
    real = np.array([genuine / (genuine + lab.background * silent)])
    due = max(at + VERIFIED_AFTER - question.months(day), 0.0)
    result: Vector = np.where(ahead >= due, float(_verified_settles(question, p, real)[0]), 0.0)
    return result
