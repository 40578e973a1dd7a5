"""What may come: how likely the next claim is, what each next signal would do, and when silence alone settles."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from allocator.book.checks.question import ANY_LAB
from allocator.outlook.beliefs import generalizable, posterior
from allocator.outlook.disclosure import of_lab, silent_labs, survival
from allocator.outlook.past import Past, past_of
from allocator.outlook.question import Question, Signal
from allocator.types import Vector

PRICE_FALL = 0.3
"""How far prices fall in the usage figures that may come next: simple, not log."""
ELASTICITIES = (0.5, 1.0, 2.0)
"""The growth of usage that comes with it, as an elasticity: revenue falls, holds, grows."""
_STEP = 30


def claim_probability(question: Question, signals: Sequence[Signal], day: dt.date, months: float) -> float:
    """P(some silent lab claims, genuinely or not, within `months` of `day`), given what was seen until then."""
    z, weight = question.common
    t = question.months(day)
    if any(signal.lab == ANY_LAB for signal in signals):
        return 0.0  # the first claim is there, and nobody is asked who else makes one
    silent = [question.labs[name] for name in silent_labs(question, signals)]
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
    """One thing that may be observed next: P(G) after it, and P(Jevons) where the question models demand."""

    what: str
    probability: float
    jevons: float | None = None


def next_signals(question: Question, signals: Sequence[Signal], day: dt.date) -> list[Possible]:
    """What each possible next signal, dated `day`, would do to P(G) and P(Jevons)."""
    found = []
    for what, signal in (*_of_labs(question, signals, day), *_of_usage(question, day)):
        after = posterior(question, [*signals, signal], [day])
        found.append(Possible(what, float(generalizable(question, after)[0]), jevons_of(question, after[0])))
    return found


def jevons_of(question: Question, probabilities: Vector) -> float | None:
    """P(Jevons) under (K,) scenario probabilities; None where the question does not model demand."""
    return None if question.demand is None else float(probabilities @ question.jevons.astype(float))


def _of_labs(question: Question, signals: Sequence[Signal], day: dt.date) -> Iterator[tuple[str, Signal]]:
    """A claim by each lab that is silent, the verification and refutation of each claim that is open."""
    pooled = any(signal.lab == ANY_LAB for signal in signals)
    for name in (*question.labs, *((ANY_LAB,) if pooled else ())):
        own = {signal.kind for signal in signals if signal.lab == name}
        if "verification" in own or "refutation" in own:
            continue
        if pooled and "claim" not in own:
            continue
        for kind in ("verification", "refutation") if "claim" in own else ("claim",):
            yield f"{kind} {'by' if kind == 'claim' else 'of'} {name}", Signal(day, kind, name)


def _of_usage(question: Question, day: dt.date) -> Iterator[tuple[str, Signal]]:
    """A usage figure of each elasticity, where the question says what to make of it."""
    if question.demand is None:
        return
    fall = -float(np.log(1 - PRICE_FALL))
    for elasticity in ELASTICITIES:
        grown = elasticity * fall
        what = f"usage {np.expm1(grown):+.0%} as prices fall {PRICE_FALL:.0%}"
        yield what, Signal(day, "usage", "", fall, grown)


def settled_by_silence(
    question: Question, signals: Sequence[Signal], day: dt.date, years: int = 20, past: Past | None = None
) -> dt.date | None:
    """The first day on which silence alone has settled the question; None if never within `years` of `day`.

    Where it is settled on `day` already, the day on which that happened, by whatever evidence.
    """
    past = past or past_of(question, signals, day)
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
    path = generalizable(question, posterior(question, signals, [day + dt.timedelta(days=n) for n in ahead]))
    there = np.flatnonzero(np.maximum(path, 1 - path) >= question.threshold)
    return ahead[int(there[0])] if len(there) else None
