"""When the question will be settled: the distribution of the date, from today's evidence, in closed form.

Two ways lead there: silence until the posterior crosses the threshold, or the first claim, which settles at once or
when it is verified or refuted `VERIFIED_AFTER` months later. What a second claim would add is left out, so "never" is
an upper bound. Densities are exact; the integral over the date of the claim is a trapezium rule by the day.

Where claims are open today, their verifications are what comes, each `VERIFIED_AFTER` months after its claim; one that
is overdue is taken to come in another `VERIFIED_AFTER` months. Every sequence of verdicts counts with its joint
probability; what other labs say or keep silent about meanwhile is left out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
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
from allocator.outlook.past import Past, past_of
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


def settlement(
    question: Question, signals: Sequence[Signal], day: dt.date, horizon: float = 36.0, past: Past | None = None
) -> Settlement:
    """The distribution of the settlement date, given what was seen until `day`; a question that is settled is so at 0.

    `past` is the way here where the caller knows it already.
    """
    steps = int(horizon * DAYS_A_MONTH) + 1
    ahead = np.arange(steps) / DAYS_A_MONTH
    if (past or past_of(question, signals, day)).settled is not None:
        return Settlement(ahead, np.ones(steps))
    if claims := _open_claims(signals):
        return Settlement(ahead, _after_claims(question, signals, day, ahead, claims))
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


def _open_claims(signals: Sequence[Signal]) -> dict[str, Signal]:
    """The claims that are neither verified nor refuted, by lab."""
    judged = {signal.lab for signal in signals if signal.kind in ("verification", "refutation")}
    return {signal.lab: signal for signal in signals if signal.kind == "claim" and signal.lab not in judged}


@dataclass(frozen=True, eq=False)
class _Test:
    """The verification of an open claim, `due` in so many months: how likely the claim is relative to P, given the
    common multiplier (nodes,), if it is `genuine` and if it is `empty`.
    """

    due: float
    genuine: Vector
    empty: Vector

    def says(self, question: Question, verdict: bool | None) -> tuple[Vector, float]:
        """The claim and the verdict on it (None: not yet known), under G relative to P's claim, and under P."""
        if verdict is None:
            return self.genuine + self.empty, 1.0
        se, fp = question.sensitivity, question.false_positive
        real, not_real = (se, fp) if verdict else (1 - se, 1 - fp)
        return self.genuine * real + self.empty * not_real, not_real


def _after_claims(
    question: Question, signals: Sequence[Signal], day: dt.date, ahead: Vector, claims: Mapping[str, Signal]
) -> Vector:
    """With claims outstanding, the next news are their verifications: in order of their dates, until one settles it."""
    now = question.months(day)
    z, seen = question.common
    tests = []
    for name, lab in question.labs.items():
        if name in claims:
            at = question.months(claims[name].date)
            due = at + VERIFIED_AFTER - now if at + VERIFIED_AFTER > now else VERIFIED_AFTER
            tests.append(_Test(due, disclosing(lab, at, z) / lab.background, survival(lab, at, z)))
        else:
            own = [signal for signal in signals if signal.lab == name]
            seen = seen * of_lab(question, lab, own, np.array([now]), z)[0]
    p = float(generalizable(question, posterior(question, signals, [day]))[0])
    total = np.zeros_like(ahead)
    for due, probability in _settled_by(question, sorted(tests, key=lambda test: test.due), seen, p):
        total += np.where(ahead >= due, probability, 0.0)
    return total


def _settled_by(question: Question, tests: Sequence[_Test], seen: Vector, p: float) -> Iterator[tuple[float, float]]:
    """When verifications settle the question and how probable that is: every sequence of verdicts, jointly by Bayes.

    `seen` (nodes,) is the evidence of all other labs under G, `p` today's P(G). Verdicts due together speak together.
    """
    rest = [np.ones_like(seen)]  # what the claims say whose verdicts are not known yet, from the last one back
    for test in reversed(tests):
        rest.insert(0, rest[0] * test.says(question, None)[0])
    claimed = float(seen @ rest[0])

    def follow(i: int, under_g: Vector, under_p: float) -> Iterator[tuple[float, float]]:
        for verdict in (True, False) if i < len(tests) else ():
            g, of_p = tests[i].says(question, verdict)
            told_g, told_p = under_g * g, under_p * of_p
            if i + 1 < len(tests) and tests[i + 1].due == tests[i].due:
                yield from follow(i + 1, told_g, told_p)
                continue
            general = p * float(told_g @ rest[i + 1]) / claimed
            probability = general + (1 - p) * told_p
            belief = general / probability if probability > 0 else p
            if max(belief, 1 - belief) >= question.threshold:
                yield tests[i].due, probability
            else:
                yield from follow(i + 1, told_g, told_p)

    return follow(0, seen, 1.0)
