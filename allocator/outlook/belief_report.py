"""Where the question stands, what each next signal would do, and when it will be settled, in closed form.

Three ways lead there: silence until the posterior crosses the threshold; the verdict on a claim that is open today,
`VERIFIED_AFTER` months after it (one that is overdue is taken to come in another `VERIFIED_AFTER` months); and the
first further claim, by a source that is silent today, which settles at once, with a verdict that is still to come, or
with its own `VERIFIED_AFTER` months later. Every sequence of verdicts is followed, each with its joint probability.

What a second further claim would add is left out, and so is what the others keep silent about after the first: the
probabilities are of being settled at least, and "never" is an upper bound. Densities are exact; the integral over the
date of the claim is a trapezium rule by the day.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from allocator.book.book import Book
from allocator.book.checks.question import ANY_SOURCE
from allocator.errors import BadInput, setting_breach
from allocator.outlook.calibration import belief_ranges, dated_signals, market_path
from allocator.outlook.outlook import believed_question
from allocator.outlook.posterior import (
    BeliefPath,
    belief_path,
    hypothesis_probabilities,
    node_log_likelihoods,
    posterior,
    posterior_bounds,
    regime_probabilities,
    require_finite,
    settled_by_silence,
)
from allocator.outlook.question import (
    DAYS_A_MONTH,
    Question,
    Signal,
    disclosure_density,
    open_claims,
    pooled_claim,
    says_any_source,
    silent_sources,
    source_log_likelihood,
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
    for way in _quiet(today, _ClaimState(0, today.joint), 0.0):
        total += way
    return Settlement(ahead, np.minimum(total, 1.0))


@dataclass(frozen=True, eq=False)
class _OpenClaim:
    """The verification of an open claim, `due` in so many months, and the `worlds` (W,) in which it is genuine."""

    due: float
    worlds: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _SettlementStart:
    """Where the story starts: `joint` (H, W, nodes), probabilities of each hypothesis, of the open claims being genuine
    or empty (W worlds) and of the common multiplier.

    `pairs` are those who may claim next, source and hypothesis, each with the worlds (W,) in which it has disclosed all
    that it had to; in the others it is watched on by the `signals` without the open claims.
    """

    question: Question
    signals: Sequence[Signal]
    now: float
    ahead: Vector
    pairs: dict[tuple[str, str], NDArray[np.bool_]]
    joint: Matrix
    tests: tuple[_OpenClaim, ...]
    known: dict[tuple[float, float], tuple[list[Matrix], list[Matrix]]] = field(default_factory=dict)

    def grid(self, start: float, end: float) -> Vector:
        """(T,) both ends and the days between."""
        return np.concatenate([[start], self.ahead[(self.ahead > start) & (self.ahead < end)], [end]])

    def silence(self, start: float, end: float) -> tuple[list[Matrix], list[Matrix]]:
        """Of each hypothesis (T, W, nodes) P(nothing more is said, if it is true), and for each of those who may claim
        next what it is about: that times its genuine hazard.
        """
        if (start, end) not in self.known:
            ahead, z = self.grid(start, end), self.question.common[0]
            t, now, rate = self.now + ahead, np.array([self.now]), sum(self.background(*pair) for pair in self.pairs)
            quiet = [np.exp(-rate * ahead)[:, None, None] for _ in self.question.hypotheses]
            hazards = []
            for (source, name), told in self.pairs.items():
                k, own = self.question.hypotheses.index(name), (self.question, source, name, self.signals)
                survival = np.exp(source_log_likelihood(*own, t, z) - source_log_likelihood(*own, now, z))[:, None]
                density = disclosure_density(self.question.sources[source][name], t[:, None], z)
                density = density / np.exp(source_log_likelihood(*own, t, z))
                quiet[k] = quiet[k] * np.where(told[:, None], 1.0, survival)
                hazards.append(np.where(told[:, None], 0.0, density[:, None]))
            genuine = [
                quiet[self.question.hypotheses.index(name)] * hazard
                for (_, name), hazard in zip(self.pairs, hazards, strict=True)
            ]
            self.known[start, end] = quiet, genuine
        return self.known[start, end]

    def background(self, source: str, hypothesis: str) -> float:
        """Rate a month of its claims without substance."""
        return float(self.question.sources[source][hypothesis].background)

    def settles(self, joint: Matrix) -> NDArray[np.bool_]:
        """(T,) whether these joint probabilities (T, H) settle the question."""
        most = joint.max(axis=-1)
        result: NDArray[np.bool_] = (most > 0) & (most >= self.question.threshold * joint.sum(axis=-1))
        return result


@dataclass(frozen=True, eq=False)
class _ClaimState:
    """The first `verdicts` of the tests are known: what they and all that is seen make of `joint` (H, W, nodes)."""

    verdicts: int
    joint: Matrix

    def next(self, today: _SettlementStart) -> Iterator[tuple[float, _ClaimState]]:
        """When the next verdicts come, and what each outcome tells; those that come together speak together."""
        rest = today.tests[self.verdicts :]
        together = [test for test in rest if test.due == rest[0].due]
        for outcome in product((True, False), repeat=len(together)) if together else ():
            joint = self.joint
            for test, yes in zip(together, outcome, strict=True):
                joint = joint * np.where(test.worlds, *today.question.verdict(yes))[:, None]
            yield together[0].due, _ClaimState(self.verdicts + len(together), joint)


def _today(question: Question, signals: Sequence[Signal], day: dt.date, ahead: Vector) -> _SettlementStart:
    """What is seen, what is open, and who may claim next."""
    now, weight, claims = question.months(day), question.common[1], list(open_claims(signals).values())
    worlds = np.array([*product((True, False), repeat=len(claims))], dtype=bool).reshape(2 ** len(claims), len(claims))
    pooled, anybody = pooled_claim(question, signals), says_any_source(signals)
    known = [one for one in signals if one.source == ANY_SOURCE or one not in claims]
    # whether a claim is genuine is asked of the law, whatever part of its weight counts (science 2.5.1)
    seen, sure = _nodes(question, signals, now), [replace(one, strength=1.0) for one in signals]
    factors = np.ones((len(seen), len(worlds), seen.shape[1]))
    for c, claim in enumerate(claims):
        if pooled is not None and claim.source == ANY_SOURCE:
            empty = (pooled.empty / (pooled.genuine + pooled.empty))[:, 0]
        else:
            without = [full for full, one in zip(sure, signals, strict=True) if one is not claim]
            empty = np.exp(_nodes(question, without, now) - _nodes(question, sure, now))
        factors = factors * np.where(worlds[None, :, c, None], 1 - empty[:, None], empty[:, None])
    joint = np.exp(seen - seen.max(axis=1, keepdims=True))[:, None] * factors * weight
    joint = joint * (hypothesis_probabilities(question, signals, day) / joint.sum(axis=(1, 2)))[:, None, None]
    tests = [_OpenClaim(_due(question.months(one.date), now), worlds[:, c]) for c, one in enumerate(claims)]
    pairs = {
        (source, name): np.any(worlds[:, [(one.source, one.hypothesis) == (source, name) for one in claims]], axis=1)
        for source, models in question.sources.items()
        for name in models
    }
    ordered = tuple(sorted(tests, key=lambda test: test.due))
    return _SettlementStart(question, known, now, ahead, {} if anybody else pairs, joint, ordered)


def _nodes(question: Question, signals: Sequence[Signal], month: float) -> Matrix:
    """(H, nodes) log likelihoods at one month."""
    result: Matrix = np.array([each[0] for each in node_log_likelihoods(question, signals, np.array([month]))])
    return result


def _due(claimed: float, now: float) -> float:
    """In how many months the verdict on a claim comes; one that is overdue takes as long again."""
    return claimed + VERIFIED_AFTER - now if claimed + VERIFIED_AFTER > now else VERIFIED_AFTER


def _quiet(today: _SettlementStart, told: _ClaimState, start: float) -> Iterator[Vector]:
    """Each way to be settled from `start` on where nobody has said anything more by then: (T,) by each day ahead."""
    last = float(today.ahead[-1])
    due = today.tests[told.verdicts].due if told.verdicts < len(today.tests) else np.inf
    end = min(due, last)
    t, (quiet, genuine) = today.grid(start, end), today.silence(start, end)
    joint = _contracted(quiet, told.joint)
    crossed = np.flatnonzero(today.settles(joint))
    until = int(crossed[0]) + 1 if len(crossed) else len(t)
    if len(crossed):
        yield np.where(today.ahead >= t[until - 1], joint[until - 1].sum(), 0.0)
    still = [each[:until] for each in quiet]
    for (source, name), hazard in zip(today.pairs, genuine, strict=True):
        k, rate = today.question.hypotheses.index(name), today.background(source, name)
        yield from _claimed(today, told, _FirstFurtherClaim(t[:until], k, hazard[:until], rate, still))
    if not len(crossed) and due <= last:
        for _, more in told.next(today):
            yield from _quiet(today, more, due)


def _contracted(densities: Sequence[Matrix], joint: Matrix) -> Matrix:
    """(T, H) what (T, W, nodes) of each hypothesis come to under the joint probabilities (H, W, nodes)."""
    columns = [
        each.reshape(len(each), -1) @ (own.ravel() if each.shape[1:] == own.shape else own.sum(keepdims=True).ravel())
        for each, own in zip(densities, joint, strict=True)
    ]
    return np.column_stack(columns)


@dataclass(frozen=True, eq=False)
class _FirstFurtherClaim:
    """The first further claim, of the hypothesis at position `about`, on each day of `t` (T,): its density a month
    (T, W, nodes) where it is `real`, and at the `rate` of empty ones where all was `quiet` (by hypothesis).
    """

    t: Vector
    about: int
    real: Matrix
    rate: float
    quiet: Sequence[Matrix]

    def told(self, joint: Matrix, real: float = 1.0, empty: float = 1.0) -> Matrix:
        """(T, H) joint densities with what is told besides: a verdict as likely as that if it is real or empty."""
        result = empty * self.rate * _contracted(self.quiet, joint)
        result[:, self.about] += real * (self.real.reshape(len(self.t), -1) @ joint[self.about].ravel())
        return result

    def by_then(self, density: Vector) -> Vector:
        """(T,) the probability that has come together by each day of `t`."""
        from scipy.integrate import cumulative_trapezoid

        result: Vector = cumulative_trapezoid(density, self.t, initial=0.0)
        return result


def _claimed(today: _SettlementStart, told: _ClaimState, claim: _FirstFurtherClaim) -> Iterator[Vector]:
    """Each way to be settled after the first further claim: at once, by a verdict to come, or by its own."""
    joint = claim.told(told.joint)
    at_once = today.settles(joint)
    yield np.interp(today.ahead, claim.t, claim.by_then(joint.sum(axis=1) * at_once), left=0.0)
    yield from _judged(today, told, claim, ~at_once)


def _judged(
    today: _SettlementStart, told: _ClaimState, claim: _FirstFurtherClaim, still: NDArray[np.bool_]
) -> Iterator[Vector]:
    """The same where the claim left the question open on the days that are `still` so (T,)."""
    if not still.any():
        return
    if told.verdicts == len(today.tests):
        for verified in (True, False):
            joint = claim.told(told.joint, *today.question.verdict(verified))
            settled = claim.by_then(joint.sum(axis=1) * (still & today.settles(joint)))
            yield np.interp(today.ahead - VERIFIED_AFTER, claim.t, settled, left=0.0)
    for due, more in told.next(today):
        joint = claim.told(more.joint)
        settles = today.settles(joint)
        yield np.where(today.ahead >= due, claim.by_then(joint.sum(axis=1) * (still & settles))[-1], 0.0)
        yield from _judged(today, more, claim, still & ~settles)


# What may come: what each possible next signal would do.
#
PRICE_FALL = 0.3
"""How far prices fall in the usage figures that may come next: simple, not log."""
ELASTICITIES = (0.5, 1.0, 2.0)
"""The growth of usage that comes with it, as an elasticity: revenue falls, holds, grows."""


@dataclass(frozen=True, eq=False)
class NextSignal:
    """One thing that may be observed next: the hypotheses' probabilities after it (H,), and by name those of the
    regimes where the question models demand.
    """

    what: str
    hypotheses: Vector
    regimes: dict[str, float] | None = None


def next_signals(question: Question, signals: Sequence[Signal], day: dt.date) -> list[NextSignal]:
    """What each possible next signal, dated `day`, would do to hypotheses and regimes."""
    possible = (*_of_sources(question, signals, day), *_of_usage(question, day))
    after = [posterior(question, [*signals, signal], [day]) for _, signal in possible]
    return [
        NextSignal(what, question.by_hypothesis(belief[0]), regime_probabilities(question, belief[0]))
        for (what, _), belief in zip(possible, after, strict=True)
    ]


def _of_sources(question: Question, signals: Sequence[Signal], day: dt.date) -> Iterator[tuple[str, Signal]]:
    """A claim by each that may claim, the verification and refutation of each claim that is open."""
    open_now, anybody = open_claims(signals), says_any_source(signals)
    possible = () if anybody else silent_sources(question, signals)
    pairs = [(source, name) for source, models in question.sources.items() for name in models]
    for source, name in (*pairs, *(pair for pair in open_now if pair[0] == ANY_SOURCE)):
        about = f" of {name}" if len(question.disclosed) > 1 else ""
        if (source, name) in possible:
            yield f"claim{about} by {source}", Signal(day, "claim", source, name)
        for kind in ("verification", "refutation") if (source, name) in open_now else ():
            yield f"{kind} of {source}{about and ': ' + name}", Signal(day, kind, source, name)


def _of_usage(question: Question, day: dt.date) -> Iterator[tuple[str, Signal]]:
    """A usage figure of each elasticity, where the question says what to make of it."""
    if question.demand is None:
        return
    fall = -float(np.log(1 - PRICE_FALL))
    for elasticity in ELASTICITIES:
        grown = elasticity * fall
        what = f"usage {np.expm1(grown):+z.0%} as prices fall {PRICE_FALL:z.0%}"
        yield what, Signal(day, "usage", price_fall=fall, usage_growth=grown)


# Where the question stands: beliefs now and through time, what would change them, and when it will be settled.
#


@dataclass(frozen=True, eq=False)
class BeliefReport:
    """What is believed on `day`.

    `prior`, `belief`, `market` (K,) are scenario probabilities, the market's None where the book states none; the
    probabilities of `hypotheses` (H,) are `answers`, those of the regimes by name None where nothing is observed of
    them. `bounds` are of the first hypothesis. `days` (T,) run from the opening to `day`, with probabilities of the
    hypotheses `path` (T, H) and scenarios `paths` (T, K). `settled_by_silence` is in the past where the question is
    settled: the day on which that happened.
    """

    scenarios: tuple[str, ...]
    day: dt.date
    prior: Vector
    belief: Vector
    market: Vector | None
    hypotheses: tuple[str, ...]
    answers: Vector
    regimes: dict[str, float] | None
    bounds: tuple[float, float] | None
    settled: str | None
    threshold: float
    signals: tuple[Signal, ...]
    days: tuple[dt.date, ...]
    path: Matrix
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
    question = believed_question(book)
    if question is None:
        cure = "add [question] with its sources and their hazards, and signals.csv"
        raise BadInput([setting_breach("question", None, "this book states its probabilities outright", cure)])
    day, signals = book.settings.book.as_of, dated_signals(book)
    past = belief_path(question, signals, day)
    require_finite(past.beliefs, "question", "what is believed")
    ranges, path = belief_ranges(book), market_path(book)
    return BeliefReport(
        scenarios=book.scenarios,
        day=day,
        prior=question.prior,
        belief=past.beliefs[-1],
        market=None if path is None else path.now,
        hypotheses=question.hypotheses,
        answers=past.hypotheses[-1],
        regimes=regime_probabilities(question, past.beliefs[-1]),
        bounds=None if ranges is None else posterior_bounds(question, ranges, signals, day),
        settled=past.settled,
        threshold=question.threshold,
        signals=tuple(signals),
        days=past.days,
        path=past.hypotheses,
        paths=past.beliefs,
        next_signals=tuple(next_signals(question, signals, day)),
        settled_by_silence=settled_by_silence(question, signals, day, past=past),
        settlement=settlement_distribution(question, signals, day, past=past),
    )
