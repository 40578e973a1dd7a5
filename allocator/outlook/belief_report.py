"""Where the question stands, what each next signal would do, and when it will be settled, in closed form.

Three ways lead there: silence until the posterior crosses the threshold; the verdict on a claim that is open today,
`VERIFIED_AFTER` months after it (one that is overdue is taken to come in another `VERIFIED_AFTER` months); and the
first further claim, by a lab that is silent today, which settles at once, with a verdict that is still to come, or with
its own `VERIFIED_AFTER` months later. Every sequence of verdicts is followed, each with its joint probability.

What a second further claim would add is left out, and so is what the other labs keep silent about after the first: the
probabilities are of being settled at least, and "never" is an upper bound. Densities are exact; the integral over the
date of the claim is a trapezium rule by the day.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import cumulative_trapezoid

from allocator.book.book import Book
from allocator.book.checks.question import ANY_LAB
from allocator.errors import BadInput, setting_breach
from allocator.outlook.calibration import belief_ranges, build_question, calibrate, dated_signals
from allocator.outlook.posterior import (
    BeliefPath,
    belief_path,
    generalizable_on,
    generalizable_probability,
    jevons_probability,
    posterior,
    posterior_bounds,
    require_finite,
    settled_by_silence,
)
from allocator.outlook.question import (
    DAYS_A_MONTH,
    Lab,
    Question,
    Signal,
    disclosure_density,
    lab_likelihood,
    open_claims,
    pooled_claim,
    pooled_likelihood,
    says_any_lab,
    silence_probability,
    silent_labs,
)
from allocator.types import Matrix, Vector

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


def settlement_distribution(
    question: Question, signals: Sequence[Signal], day: dt.date, horizon: float = 36.0, past: BeliefPath | None = None
) -> Settlement:
    """The distribution of the settlement date, given what was seen until `day`; a question that is settled is so at 0.

    `past` is the way here where the caller knows it already.
    """
    ahead = np.arange(int(np.ceil(horizon * DAYS_A_MONTH)) + 1) / DAYS_A_MONTH
    if (past or belief_path(question, signals, day)).settled is not None:
        return Settlement(ahead, np.ones(len(ahead)))
    today = _today(question, signals, day, ahead)
    total = np.zeros(len(ahead))
    for way in _quiet(today, _ClaimState(0, today.seen, 1.0), 0.0):
        total += way
    return Settlement(ahead, np.minimum(total, 1.0))


@dataclass(frozen=True, eq=False)
class _OpenClaim:
    """The verification of an open claim, `due` in so many months: how likely the claim is relative to P, given the
    common multiplier (nodes,), if it is `genuine` and if it is `empty`.
    """

    due: float
    genuine: Vector
    empty: Vector


@dataclass(frozen=True, eq=False)
class _SettlementStart:
    """Where the story starts: P(G) `p`, the evidence under G (nodes,) but for the open claims, which `tests` judge.

    `rest[i]` (nodes,) is what the claims say whose verdicts are not known after i of them.
    """

    question: Question
    now: float
    ahead: Vector
    p: float
    silent: tuple[Lab, ...]
    seen: Vector
    tests: tuple[_OpenClaim, ...]
    rest: tuple[Vector, ...]
    known: dict[tuple[float, float], tuple[Matrix, list[Matrix]]] = field(default_factory=dict)

    @property
    def scale(self) -> float:
        """What turns evidence under G into probability."""
        return self.p / float(self.seen @ self.rest[0])

    def grid(self, start: float, end: float) -> Vector:
        """(T,) both ends and the days between."""
        return np.concatenate([[start], self.ahead[(self.ahead > start) & (self.ahead < end)], [end]])

    def silence(self, start: float, end: float) -> tuple[Matrix, list[Matrix]]:
        """(T, nodes) P(nothing more is said, under G), and for each silent lab that times its genuine hazard."""
        if (start, end) not in self.known:
            t, (z, _) = self.now + self.grid(start, end)[:, None], self.question.common
            quiet = np.ones((len(t), len(z)))
            for lab in self.silent:
                quiet = quiet * silence_probability(lab, t, z) / silence_probability(lab, self.now, z)
            quiet = quiet * self.unfounded(start, end)[:, None]
            self.known[start, end] = (
                quiet,
                [quiet * disclosure_density(lab, t, z) / silence_probability(lab, t, z) for lab in self.silent],
            )
        return self.known[start, end]

    def unfounded(self, start: float, end: float) -> Vector:
        """(T,) P(nobody has claimed without substance since today)."""
        result: Vector = np.exp(-self.grid(start, end) * sum(lab.background for lab in self.silent))
        return result

    def settles(self, under_g: Vector, under_p: Vector) -> NDArray[np.bool_]:
        """Whether these joint probabilities settle the question."""
        most = np.maximum(under_g, under_p)
        result: NDArray[np.bool_] = (most > 0) & (most >= self.question.threshold * (under_g + under_p))
        return result


@dataclass(frozen=True, eq=False)
class _ClaimState:
    """The first `verdicts` of the tests are known: what they and all that is seen make of G (nodes,), and of P."""

    verdicts: int
    under_g: Vector
    under_p: float

    def next(self, today: _SettlementStart) -> Iterator[tuple[float, _ClaimState]]:
        """When the next verdicts come, and what each outcome tells; those that come together speak together."""
        rest = today.tests[self.verdicts :]
        together = [test for test in rest if test.due == rest[0].due]
        for outcome in product((True, False), repeat=len(together)) if together else ():
            g, of_p = self.under_g, self.under_p
            for test, yes in zip(together, outcome, strict=True):
                genuine, empty = today.question.verdict(yes)
                g = g * (test.genuine * genuine + test.empty * empty)
                of_p *= empty
            yield together[0].due, _ClaimState(self.verdicts + len(together), g, of_p)


def _today(question: Question, signals: Sequence[Signal], day: dt.date, ahead: Vector) -> _SettlementStart:
    """What is seen, what is open, and who is silent."""
    now, (z, seen) = question.months(day), question.common
    claims, pooled, tests = open_claims(signals), pooled_claim(question, signals), []
    if pooled is not None and ANY_LAB in claims:
        tests.append(_OpenClaim(_due(pooled.date, now), pooled.genuine, pooled.empty))
    elif pooled is not None:
        seen = seen * pooled_likelihood(question, pooled, signals, np.array([now]))[0]
    for name, lab in question.labs.items():
        if pooled is not None and name in pooled.silent:
            seen = seen * silence_probability(lab, pooled.since, z)
        elif name in claims:
            at = question.months(claims[name].date)
            genuine = disclosure_density(lab, at, z) / lab.background
            tests.append(_OpenClaim(_due(at, now), genuine, silence_probability(lab, at, z)))
        else:
            seen = seen * lab_likelihood(question, name, signals, np.array([now]), z)[0]
    tests.sort(key=lambda test: test.due)
    rest = [np.ones(len(z))]
    for test in reversed(tests):
        rest.insert(0, rest[0] * (test.genuine + test.empty))
    silent = () if pooled is not None else tuple(question.labs[name] for name in silent_labs(question, signals))
    p = generalizable_on(question, signals, day)
    return _SettlementStart(question, now, ahead, p, silent, seen, tuple(tests), tuple(rest))


def _due(claimed: float, now: float) -> float:
    """In how many months the verdict on a claim comes; one that is overdue takes as long again."""
    return claimed + VERIFIED_AFTER - now if claimed + VERIFIED_AFTER > now else VERIFIED_AFTER


def _quiet(today: _SettlementStart, told: _ClaimState, start: float) -> Iterator[Vector]:
    """Each way to be settled from `start` on where no lab has said anything more by then: (T,) by each day ahead."""
    last = float(today.ahead[-1])
    due = today.tests[told.verdicts].due if told.verdicts < len(today.tests) else np.inf
    end = min(due, last)
    t, (quiet, genuine) = today.grid(start, end), today.silence(start, end)
    under_g = today.scale * (quiet @ (told.under_g * today.rest[told.verdicts]))
    under_p = (1 - today.p) * told.under_p * today.unfounded(start, end)
    crossed = np.flatnonzero(today.settles(under_g, under_p))
    until = int(crossed[0]) + 1 if len(crossed) else len(t)
    if len(crossed):
        yield np.where(today.ahead >= t[until - 1], (under_g + under_p)[until - 1], 0.0)
    unfounded = (1 - today.p) * today.unfounded(start, end)[:until]
    for lab, hazard in zip(today.silent, genuine, strict=True):
        real, empty = today.scale * hazard[:until], today.scale * lab.background * quiet[:until]
        yield from _claimed(today, told, _FirstFurtherClaim(t[:until], real, empty, lab.background * unfounded))
    if not len(crossed) and due <= last:
        for _, more in told.next(today):
            yield from _quiet(today, more, due)


@dataclass(frozen=True, eq=False)
class _FirstFurtherClaim:
    """The first further claim, on each day of `t` (T,): its density a month, (T, nodes) under G if it is `real` and if
    it is `empty`, and (T,) under P.
    """

    t: Vector
    real: Matrix
    empty: Matrix
    under_p: Vector

    def told(self, told: _ClaimState, known: Vector, real: float = 1.0, empty: float = 1.0) -> tuple[Vector, Vector]:
        """(T,) joint densities under G and P with what is told besides, `known` being what open claims say."""
        weight = told.under_g * known
        return real * (self.real @ weight) + empty * (self.empty @ weight), empty * told.under_p * self.under_p

    def by_then(self, density: Vector) -> Vector:
        """(T,) the probability that has come together by each day of `t`."""
        result: Vector = cumulative_trapezoid(density, self.t, initial=0.0)
        return result


def _claimed(today: _SettlementStart, told: _ClaimState, claim: _FirstFurtherClaim) -> Iterator[Vector]:
    """Each way to be settled after the first further claim: at once, by a verdict to come, or by its own."""
    g, p = claim.told(told, today.rest[told.verdicts])
    at_once = today.settles(g, p)
    yield np.interp(today.ahead, claim.t, claim.by_then((g + p) * at_once), left=0.0)
    yield from _judged(today, told, claim, ~at_once)


def _judged(
    today: _SettlementStart, told: _ClaimState, claim: _FirstFurtherClaim, still: NDArray[np.bool_]
) -> Iterator[Vector]:
    """The same where the claim left the question open on the days that are `still` so (T,)."""
    if not still.any():
        return
    if told.verdicts == len(today.tests):
        for verified in (True, False):
            g, p = claim.told(told, today.rest[-1], *today.question.verdict(verified))
            settled = claim.by_then((g + p) * (still & today.settles(g, p)))
            yield np.interp(today.ahead - VERIFIED_AFTER, claim.t, settled, left=0.0)
    for due, more in told.next(today):
        g, p = claim.told(more, today.rest[more.verdicts])
        settles = today.settles(g, p)
        yield np.where(today.ahead >= due, claim.by_then((g + p) * (still & settles))[-1], 0.0)
        yield from _judged(today, more, claim, still & ~settles)


# What may come: what each possible next signal would do.
#
PRICE_FALL = 0.3
"""How far prices fall in the usage figures that may come next: simple, not log."""
ELASTICITIES = (0.5, 1.0, 2.0)
"""The growth of usage that comes with it, as an elasticity: revenue falls, holds, grows."""


@dataclass(frozen=True)
class NextSignal:
    """One thing that may be observed next: P(G) after it, and P(Jevons) where the question models demand."""

    what: str
    probability: float
    jevons: float | None = None


def next_signals(question: Question, signals: Sequence[Signal], day: dt.date) -> list[NextSignal]:
    """What each possible next signal, dated `day`, would do to P(G) and P(Jevons)."""
    possible = (*_of_labs(question, signals, day), *_of_usage(question, day))
    after = [posterior(question, [*signals, signal], [day]) for _, signal in possible]
    return [
        NextSignal(what, float(generalizable_probability(question, belief)[0]), jevons_probability(question, belief[0]))
        for (what, _), belief in zip(possible, after, strict=True)
    ]


def _of_labs(question: Question, signals: Sequence[Signal], day: dt.date) -> Iterator[tuple[str, Signal]]:
    """A claim by each lab that is silent, the verification and refutation of each claim that is open."""
    claims, pooled = open_claims(signals), says_any_lab(signals)
    silent = () if pooled else silent_labs(question, signals)
    for name in (*question.labs, *((ANY_LAB,) if pooled else ())):
        if name in silent:
            yield f"claim by {name}", Signal(day, "claim", name)
        for kind in ("verification", "refutation") if name in claims else ():
            yield f"{kind} of {name}", Signal(day, kind, name)


def _of_usage(question: Question, day: dt.date) -> Iterator[tuple[str, Signal]]:
    """A usage figure of each elasticity, where the question says what to make of it."""
    if question.demand is None:
        return
    fall = -float(np.log(1 - PRICE_FALL))
    for elasticity in ELASTICITIES:
        grown = elasticity * fall
        what = f"usage {np.expm1(grown):+z.0%} as prices fall {PRICE_FALL:z.0%}"
        yield what, Signal(day, "usage", "", fall, grown)


# Where the question stands: beliefs now and through time, what would change them, and when it will be settled.
#


@dataclass(frozen=True, eq=False)
class BeliefReport:
    """What is believed on `day`.

    `prior`, `belief`, `market` (K,) are scenario probabilities, the market's None where the book states none. `days`
    (T,) run from the opening to `day`, with P(generalizable) `path` (T,) and scenario probabilities `paths` (T, K).
    `jevons` is None where the question does not model demand. `settled_by_silence` is in the past where the question is
    settled: the day on which that happened.
    """

    scenarios: tuple[str, ...]
    day: dt.date
    prior: Vector
    belief: Vector
    market: Vector | None
    generalizable: float
    jevons: float | None
    bounds: tuple[float, float] | None
    settled: str | None
    signals: tuple[Signal, ...]
    days: tuple[dt.date, ...]
    path: Vector
    paths: Matrix
    next_signals: tuple[NextSignal, ...]
    settled_by_silence: dt.date | None
    settlement: Settlement

    def months(self) -> list[int]:
        """Where in `days` a reader looks: the opening, each month's end, every signal, and today."""
        marked = {0, len(self.days) - 1}
        marked |= {i for i, day in enumerate(self.days[:-1]) if self.days[i + 1].month != day.month}
        told = {signal.date for signal in self.signals}
        return sorted(marked | {i for i, day in enumerate(self.days) if day in told})


def belief_report(book: Book) -> BeliefReport:
    """Where the book's question stands on its as_of date.

    Raises:
        BadInput: the book asks no question.
    """
    question = build_question(book)
    if question is None:
        cure = "add [question] with labs and their hazards, and signals.csv"
        raise BadInput([setting_breach("question", None, "this book states its probabilities outright", cure)])
    day, signals = book.settings.book.as_of, dated_signals(book)
    past = belief_path(question, signals, day)
    require_finite(past.beliefs, "question", "what is believed")
    ranges, model = belief_ranges(book), calibrate(book)
    return BeliefReport(
        scenarios=book.scenarios,
        day=day,
        prior=question.prior,
        belief=past.beliefs[-1],
        market=None if model is None else model.market_now,
        generalizable=float(past.generalizable[-1]),
        jevons=jevons_probability(question, past.beliefs[-1]),
        bounds=None if ranges is None else posterior_bounds(question, ranges, signals, day),
        settled=past.settled,
        signals=tuple(signals),
        days=past.days,
        path=past.generalizable,
        paths=past.beliefs,
        next_signals=tuple(next_signals(question, signals, day)),
        settled_by_silence=settled_by_silence(question, signals, day, past=past),
        settlement=settlement_distribution(question, signals, day, past=past),
    )
