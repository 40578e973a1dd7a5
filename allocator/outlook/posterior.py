"""Beliefs: scenario probabilities given dated signals and silence.

What sources say and keep silent about (`question.py`) moves the odds between the hypotheses, usage figures those
between the regimes: silence is evidence against what could have been disclosed, a claim for it, and a verification
weighs more than either.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from scipy.special import log_ndtr

from allocator.errors import BadInput, setting_breach
from allocator.outlook.question import (
    DemandElasticity,
    Number,
    Question,
    Signal,
    first_claim,
    pooled_claim,
    pooled_log_likelihood,
    says_any_source,
    source_log_likelihood,
)
from allocator.types import Matrix, Vector

_LEAST = 500.0
"""How far evidence may tell scenarios apart, in logs."""


def node_log_likelihoods(question: Question, signals: Sequence[Signal], months: Vector) -> list[Matrix]:
    """For each hypothesis (T, nodes): log of how much better it explains what sources said up to each of `months`, and
    did not say, than one that nobody can disclose, given the common multiplier. Given it, sources are independent.

    (draws, T, nodes) where the sources' numbers are draws.
    """
    z, t = question.common[0], np.asarray(months, dtype=float)
    pooled = pooled_claim(question, signals)
    result = [np.zeros((len(t), len(z))) for _ in question.hypotheses]
    for source, models in question.sources.items():
        for hypothesis in models:
            k = question.hypotheses.index(hypothesis)
            # after a claim by any source nobody asks who has been silent since
            until = t if pooled is None else np.where(t >= pooled.date, pooled.since, t)
            result[k] = result[k] + source_log_likelihood(question, source, hypothesis, signals, until, z, t)
    if pooled is not None:
        said = pooled_log_likelihood(question, pooled, signals, t)
        result = [own + said[k] for k, own in enumerate(result)]
    return result


def log_likelihoods(question: Question, signals: Sequence[Signal], months: Vector) -> Matrix:
    """(T, H) log of how much better each hypothesis explains what was seen up to each of `months` than one of which
    nothing was said and nothing could be. The log is finite also where the ratio itself would not be a number.

    (draws, T, H) where the sources' numbers are draws.
    """
    weight, t = question.common[1], np.asarray(months, dtype=float)
    ratios = []
    for k, total in enumerate(node_log_likelihoods(question, signals, t)):
        top = total.max(axis=-1)
        ratio = top + np.log(np.exp(total - top[..., None]) @ weight) if total.any() else np.zeros(len(t))
        for signal in signals:
            if signal.kind == "evidence" and signal.hypothesis == question.hypotheses[k]:
                told = signal.strength * signal.log10_bayes_factor * np.log(10)
                ratio = ratio + np.where(t >= question.months(signal.date), told, 0.0)
        ratios.append(ratio)
    return np.stack(np.broadcast_arrays(*ratios), axis=-1)


def elasticity(
    demand: DemandElasticity, signals: Sequence[Signal], until: dt.date | None = None
) -> tuple[float, float]:
    """Mean and deviation of the usage elasticity after the usage figures so far (Kalman update)."""
    mean, variance = demand.mean, demand.deviation**2
    for signal in signals:
        if signal.kind != "usage" or (until is not None and signal.date > until):
            continue
        x, y = signal.price_fall, signal.usage_growth
        told = np.float64(x**2 * variance + demand.noise**2)  # 0 where both round to it: no number, which is refused
        # never variance·(1 − gain·x): that difference rounds to 0 where the noise is small
        mean, variance = mean + variance * x / told * (y - x * mean), variance * (demand.noise**2 / told)
    return float(mean), float(np.sqrt(variance))


def posterior(question: Question, signals: Sequence[Signal], days: Sequence[dt.date]) -> Matrix:
    """(T, K) scenario probabilities on each of `days`, from the signals dated on or before it and the silence since,
    and from the question's view.

    The joint prior is updated on both axes at once.
    """
    evidence = log_evidence(question, signals, days)
    if question.view is not None:
        since, told = question.view
        evidence = evidence + np.where(np.array([day >= since for day in days])[:, None], told, 0.0)
    return bayes_update(question.prior, evidence)


def bayes_update(probabilities: Vector, log_evidence: Matrix) -> Matrix:
    """(T, K) probabilities times evidence, normalised: only what the evidence differs by between scenarios counts.

    With draws before them: (draws, T, K), and probabilities (K,) or (draws, 1, K).
    """
    top = np.where(probabilities > 0, log_evidence, -np.inf).max(axis=-1, keepdims=True)
    # beyond e^-500 a scenario is excluded either way; the bound keeps it from being impossible for ever
    weight = probabilities * np.exp(np.clip(log_evidence - top, -_LEAST, 0.0))
    result: Matrix = weight / weight.sum(axis=-1, keepdims=True)
    return require_finite(result, "question", "its probabilities")


def log_evidence(question: Question, signals: Sequence[Signal], days: Sequence[dt.date]) -> Matrix:
    """(T, K) log of what the evidence of each day multiplies odds by: the likelihood of each hypothesis, and the Bayes
    factor that the usage figures give the first regime.

    Raises:
        BadInput: hazards, noise or figures are so extreme that the evidence is no number.
    """
    months = np.array([question.months(day) for day in days])
    with np.errstate(all="ignore"):  # what comes of an overflow is refused below
        ratios = log_likelihoods(question, signals, months)
        factor = _log_demand_factors(question, signals, days)[:, None]
    require_finite(ratios, "question", "what the sources' claims and silence say")
    require_finite(factor, "question.demand", "what the usage figures say")
    result: Matrix = ratios[..., question.answers]
    return result if question.regime_of is None else result + np.where(question.regime_of == 0, factor, 0.0)


def require_finite(numbers: Matrix, key: str, what: str) -> Matrix:
    """The same numbers, if they are numbers.

    Raises:
        BadInput: one is infinite or not a number: settings or figures are beyond what arithmetic can follow.
    """
    if np.isfinite(numbers).all():
        return numbers
    rule = f"{what} cannot be computed: numbers here are too large or too small"
    cure = "look for a rate, noise, elasticity or figure that is off by many orders of magnitude"
    raise BadInput([setting_breach(key, None, rule, cure)])


def _log_demand_factors(question: Question, signals: Sequence[Signal], days: Sequence[dt.date]) -> Vector:
    """(T,) log of what the usage figures told by each of `days` multiply the odds of the first regime by."""
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


def update_market_probabilities(
    question: Question, probabilities: Vector, signals: Sequence[Signal], days: Sequence[dt.date]
) -> Matrix:
    """(T, K) the probabilities of somebody else, the market, on the first of some days, and moved to each of them.

    (draws, T, K) where the question's numbers are draws.
    """
    evidence = log_evidence(question, signals, days)
    return bayes_update(probabilities, evidence - evidence[..., :1, :])


def hypothesis_probabilities(question: Question, signals: Sequence[Signal], day: dt.date) -> Vector:
    """(H,) the probability of each hypothesis on one day, given what was seen until then."""
    result: Vector = question.by_hypothesis(posterior(question, signals, [day]))[0]
    return result


def regime_probabilities(question: Question, probabilities: Vector) -> dict[str, float] | None:
    """Of each regime, under (K,) scenario probabilities; None where nothing is observed of them."""
    if question.demand is None:
        return None
    return dict(zip(question.regimes, map(float, question.by_regime(probabilities)), strict=True))


def settled_hypothesis(question: Question, path: Matrix) -> str | None:
    """Which hypothesis a path (T, H), in date order, has settled on; None while open (in at τ, out below τ_off)."""
    return settlement_in_path(question, path)[0]


def settlement_in_path(question: Question, path: Matrix) -> tuple[str | None, int | None]:
    """The hypothesis that a path (T, H), in date order, has settled on, and where in the path it did so last."""
    answer: int | None = None
    since: int | None = None
    for i, p in enumerate(path.tolist()):
        if answer is not None and p[answer] < question.release:
            answer, since = None, None
        if answer is None and max(p) >= question.threshold:
            answer, since = p.index(max(p)), i
    return None if answer is None else question.hypotheses[answer], since


# The way here: what was believed on each day from the opening to today, and whether that has settled the question.
#
# `settled` depends on the way (in at the threshold, out below the release), so whoever asks walks the same days.
#
_AT_ONCE = 4096
"""Days evaluated together: with a frailty a day takes 128 numbers, and centuries of them would not fit in memory."""


@dataclass(frozen=True, eq=False)
class BeliefPath:
    """On each of `days` (T,) from the opening to today: `beliefs` (T, K) of the scenarios, `hypotheses` (T, H).

    `settled` is the hypothesis that this has settled on by today, `since` the day on which it last did; None while
    open.
    """

    days: tuple[dt.date, ...]
    beliefs: Matrix
    hypotheses: Matrix
    settled: str | None
    since: dt.date | None


def belief_path(question: Question, signals: Sequence[Signal], day: dt.date) -> BeliefPath:
    """The way from the opening to `day`, by the day."""
    days = [question.opened + dt.timedelta(days=n) for n in range((day - question.opened).days + 1)]
    blocks = [posterior(question, signals, days[i : i + _AT_ONCE]) for i in range(0, len(days), _AT_ONCE)]
    beliefs: Matrix = np.concatenate(blocks)
    path = question.by_hypothesis(beliefs)
    answer, since = settlement_in_path(question, path)
    return BeliefPath(tuple(days), beliefs, path, answer, None if since is None else days[since])


# What may come without a word or with the next one: when silence alone settles, how likely the next claim is.
#
_STEP = 30


def settled_by_silence(
    question: Question, signals: Sequence[Signal], day: dt.date, years: int = 20, past: BeliefPath | None = None
) -> dt.date | None:
    """The first day on which silence alone has settled the question; None if never within `years` of `day`.

    Where it is settled on `day` already, the day on which that happened, by whatever evidence.
    """
    past = past or belief_path(question, signals, day)
    if past.settled is not None:
        return past.since
    told = [signal for signal in signals if signal.date <= day]
    last = 365 * years - 1
    if len(question.disclosed) > 1:  # one answer may fall as another rises, and pass the threshold for a while
        days = _crossed(question, told, day, range(last + 1))
        return None if days is None else day + dt.timedelta(days=days)
    # From here on nothing is said: what was said counts the same every day, and each source's survival can only fall,
    # whatever the common multiplier. So the one hypothesis that may be disclosed never rises, the others keep their
    # proportions, and once past the threshold silence stays past it: the first month that ends beyond it holds the
    # first day beyond it.
    months = _crossed(question, told, day, [*range(0, last, _STEP), last])
    if months is None:
        return None
    ahead = _crossed(question, told, day, range(max(months - _STEP, 0), months + 1))
    return None if ahead is None else day + dt.timedelta(days=ahead)


def _crossed(question: Question, signals: Sequence[Signal], day: dt.date, ahead: Sequence[int]) -> int | None:
    """The first of so many days ahead, in order, on which some hypothesis is beyond the threshold."""
    for i in range(0, len(ahead), _AT_ONCE):
        block = ahead[i : i + _AT_ONCE]
        path = question.by_hypothesis(posterior(question, signals, [day + dt.timedelta(days=n) for n in block]))
        there = np.flatnonzero(path.max(axis=-1) >= question.threshold)
        if len(there):
            return block[int(there[0])]
    return None


def claim_probabilities(question: Question, signals: Sequence[Signal], day: dt.date, months: float) -> dict[str, float]:
    """P(the first further claim, genuine or not, comes within `months` of `day` and is of each hypothesis), given what
    was seen until then; of those that somebody may claim.
    """
    if says_any_source(signals):
        return {}  # the first claim is there, and nobody is asked who else makes one
    weight, t = question.common[1], question.months(day)
    first = first_claim(question, signals, t, t + months)
    seen = np.array(
        [np.exp(each[0] - each[0].max()) * weight for each in node_log_likelihoods(question, signals, np.array([t]))]
    )
    nodes = hypothesis_probabilities(question, signals, day)[:, None] * seen / seen.sum(axis=1, keepdims=True)
    likely = {name: first.probability(question.hypotheses.index(name))[:, 0] for name in question.disclosed}
    return {name: float((each * nodes).sum()) for name, each in likely.items()}


# Robust Bayes: how low and how high P(G) may be, given what the book is unsure of.
#
_GRID = (17, 9.0)
"""Disclosures of the first look, and hazards for each unit of ln(hazard): nothing is narrower than about 1 there."""
_MOST_HAZARDS = 257
_BACKGROUNDS = 17
_CLOSER = (9, 9)
_LOOKS = 14
"""Each look spans two cells of the last one: 14 of them pin the place down to 1e-8 of a cell, its value to rounding."""


@dataclass(frozen=True)
class BeliefRanges:
    """Lowest and highest prior of the first hypothesis, and disclosure, hazard and background: one unknown value, the
    same for all sources and hypotheses.
    """

    prior: tuple[float, float]
    disclosure: tuple[float, float]
    hazard: tuple[float, float]
    background: tuple[float, float]


def posterior_bounds(
    question: Question, ranges: BeliefRanges, signals: Sequence[Signal], day: dt.date
) -> tuple[float, float]:
    """Lowest and highest probability of the first hypothesis over `ranges`, which replace each source's own values by
    one that all share, and over the belief itself: where sources differ, no common value need give it.

    It rises with its prior. Disclosure and hazard are searched: a claim speaks loudest at a hazard near 1/(months since
    the lag), and one source's claim beside another's silence, or a refutation, may do so at a disclosure in between.
    It is monotone in the background where all claims are of one hypothesis and of full strength; else that is looked at
    between its ends too. What was asked before is not searched again: every shock of prices has the same evidence.
    """
    asked = _content((question, ranges, signals, day))
    if (known := _BOUNDS.get(asked)) is None:
        if len(_BOUNDS) >= _MOST_BOUNDS:
            _BOUNDS.clear()
        known = _BOUNDS[asked] = _searched_bounds(question, ranges, signals, day)
    return known


_BOUNDS, _MOST_BOUNDS = dict[Hashable, tuple[float, float]](), 256


def _content(value: Any) -> Hashable:
    """Every number and word that a question is made of."""
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return tuple((key, _content(one)) for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(_content, value))
    return tuple(map(_content, vars(value).values())) if is_dataclass(value) else value


def _searched_bounds(
    question: Question, ranges: BeliefRanges, signals: Sequence[Signal], day: dt.date
) -> tuple[float, float]:
    claimed = {one.hypothesis for one in signals if one.kind == "claim"}
    lawful = all(one.strength == 1 for one in signals if one.kind != "evidence")
    ends = [*{*ranges.background}]
    backgrounds = ends if len(claimed) < 2 and lawful else np.geomspace(*ranges.background, _BACKGROUNDS).tolist()
    reached = [float(hypothesis_probabilities(question, signals, day)[0])]
    for end, sign in ((0, -1.0), (1, 1.0)):
        there = replace(question, prior=prior_with(question, ranges.prior[end]))
        reached += [sign * _extreme(there, ranges, signals, day, each, sign) for each in backgrounds]
    return min(reached), max(reached)


def posterior_corners(question: Question, ranges: BeliefRanges, signals: Sequence[Signal], day: dt.date) -> Matrix:
    """(M, H) beliefs in the answers whose hull is what `ranges` allow: of two answers the ends of the interval, of more
    the posteriors at every corner of the ranges.
    """
    if len(question.hypotheses) == 2:
        ends = np.array(posterior_bounds(question, ranges, signals, day))
        return np.column_stack([ends, 1 - ends])
    corners = [
        with_sources(
            replace(question, prior=prior_with(question, prior)), disclosure=disclosure, hazard=hazard, background=empty
        )
        for prior, disclosure, hazard, empty in product(*map(dict.fromkeys, vars(ranges).values()))
    ]
    return np.array([hypothesis_probabilities(corner, signals, day) for corner in corners])


def with_sources(question: Question, **values: Any) -> Question:
    """The question if these numbers of all its sources were the same."""
    sources = {
        source: {name: replace(model, **values) for name, model in models.items()}
        for source, models in question.sources.items()
    }
    return replace(question, sources=sources)


def prior_with(question: Question, first_prior: Number) -> Vector:
    """(K,) the prior of the scenarios if the first hypothesis had this prior; within it, and among the others, their
    proportions stay.

    (draws, 1, K) where it is drawn: an array (draws, 1, 1).
    """
    first = question.answers == 0
    share = question.prior[first].sum()
    given = np.asarray(first_prior, dtype=np.float64)
    result: Vector = question.prior * np.where(first, given / share, (1 - given) / (1 - share))
    return result


def _extreme(
    question: Question, ranges: BeliefRanges, signals: Sequence[Signal], day: dt.date, background: float, sign: float
) -> float:
    """The most of `sign` times the probability of the first hypothesis: over a grid, then ever closer."""
    disclosures = np.linspace(*ranges.disclosure, _GRID[0])
    width = np.log(ranges.hazard[1] / ranges.hazard[0])
    hazards = np.geomspace(*ranges.hazard, int(min(_GRID[1] * (1 + np.ceil(width)), _MOST_HAZARDS)))
    best = -np.inf
    for _ in range(_LOOKS):
        first, second = (each.ravel()[:, None, None] for each in np.meshgrid(disclosures, hazards, indexing="ij"))
        drawn = with_sources(question, disclosure=first, hazard=second, background=background)
        belief = posterior(drawn, signals, [day])
        seen = sign * question.by_hypothesis(belief)[..., 0].ravel()
        at = int(np.argmax(seen))
        best, (i, j) = max(best, float(seen[at])), divmod(at, len(hazards))
        disclosures = np.linspace(*_beside(disclosures, i), _CLOSER[0])
        hazards = np.geomspace(*_beside(hazards, j), _CLOSER[1])
    return best


def _beside(places: Vector, i: int) -> tuple[float, float]:
    """The places before and after the i-th, where there are any."""
    return float(places[max(i - 1, 0)]), float(places[min(i + 1, len(places) - 1)])
