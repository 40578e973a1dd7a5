"""From a book's `[robust]` to its ambiguity set, with the scenarios in the book's order."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import rel_entr

from allocator.ambiguity.polyhedral import ExpertHull, Polytope, Wasserstein
from allocator.ambiguity.sets import LEAST_RADIUS, Ambiguity, build_ambiguity_set
from allocator.book.book import Book
from allocator.errors import BadMandate, Breach
from allocator.outlook.calibration import belief_ranges, build_question, dated_signals
from allocator.outlook.outlook import Outlook
from allocator.outlook.posterior import (
    bayes_update,
    belief_path,
    generalizable_probability,
    posterior_bounds,
    settled_answer,
)
from allocator.outlook.question import Question, Signal
from allocator.settings.reading import dotted_key
from allocator.types import Matrix, Vector

# How far the ambiguity set reaches: a radius that follows the beliefs by a schedule that the book names.
#
GREATEST_ENTROPY = 50.0
"""Of a KL set, as `[robust]` allows: exp(-50) of a probability is beyond any belief."""
GREATEST_CHI2 = 1e6
"""Of a modified χ² set, as `[robust]` allows."""


def current_radius(book: Book, outlook: Outlook) -> float:
    """The radius of the book's ambiguity set on its as_of date.

    fixed: as stated. caution: c·(1 − the probability of the likelier answer) while the question is open, 0 once it is
    settled: 1 − π is the total-variation distance to certainty, so c is the part of the way to being wrong; a KL set
    gets 2ρ², the least entropy at which it can reach so far (Pinsker), a modified χ² set 4ρ², the least χ² at which it
    can (Cauchy and Schwarz), and contamination ρ itself. corners: as far as the farthest belief that
    `[question.ranges]` allow, which need not shrink: its distance, its relative entropy, its χ², or the part of an
    answer's probability that it takes away.
    """
    return radius_after(book, outlook.probabilities, dated_signals(book), book.settings.book.as_of)


def radius_after(book: Book, probabilities: Vector, signals: Sequence[Signal], day: dt.date) -> float:
    """The same where other `signals` have been seen, by another `day`, and have made these `probabilities` (K,)."""
    robust = book.settings.robust
    if robust.schedule == "fixed":
        return robust.radius
    if robust.schedule == "corners":
        return _corners(book, probabilities, signals, day)
    distance = _caution(book, probabilities, signals, day)
    return {"kl": 2 * distance**2, "modified_chi2": 4 * distance**2}.get(robust.set, distance)


def _caution(book: Book, probabilities: Vector, signals: Sequence[Signal], day: dt.date) -> float:
    question = build_question(book)
    if question is None:
        likeliest = float(probabilities.max())
    else:
        p = _generalizable(question, probabilities)
        way = belief_path(question, signals, day).generalizable
        if settled_answer(question, np.append(way[:-1], p)) is not None:  # today's belief is the outlook's
            return 0.0
        likeliest = max(p, 1 - p)
    return float(book.settings.robust.caution or 0.0) * (1 - likeliest)


def _corners(book: Book, probabilities: Vector, signals: Sequence[Signal], day: dt.date) -> float:
    question, ranges = build_question(book), belief_ranges(book)
    assert question is not None  # the agreement of schedule and question was checked on loading
    assert ranges is not None
    low, high = posterior_bounds(question, ranges, signals, day)
    p = _generalizable(question, probabilities)
    kind = book.settings.robust.set
    if kind == "kl":
        return _entropy_to(low, high, p)
    if kind == "modified_chi2":
        return _chi2_to(low, high, p)
    if kind == "contamination":
        return _part_taken_back(low, high, p)
    return max(high - p, p - low, 0.0)


def _generalizable(question: Question, probabilities: Vector) -> float:
    return float(np.ravel(generalizable_probability(question, probabilities[None, :]))[0])


def _entropy_to(low: float, high: float, p: float) -> float:
    """Relative entropy of the farther of two beliefs in G against `p`: the radius of the KL ball that holds both.

    That of the scenarios is the same, as the ranges move probability between the answers and not within them.
    """
    farthest = max(float(rel_entr(q, p) + rel_entr(1 - q, 1 - p)) for q in (low, high))
    if farthest < 1e-12:
        return 0.0  # the ranges allow one belief only, up to rounding
    return min(max(farthest, LEAST_RADIUS), GREATEST_ENTROPY)


def _chi2_to(low: float, high: float, p: float) -> float:
    """Modified χ² of the farther of two beliefs in G against `p`, which is that of the scenarios too."""
    distance, room = max(high - p, p - low, 0.0), p * (1 - p)
    if distance < 1e-12:
        return 0.0
    return min(max(distance**2 / max(room, 1e-300), LEAST_RADIUS), GREATEST_CHI2)


def _part_taken_back(low: float, high: float, p: float) -> float:
    """The largest part of an answer's probability that one of two beliefs in G takes from it."""
    return max(1 - low / p if p > 0 else 0.0, 1 - (1 - high) / (1 - p) if p < 1 else 0.0, 0.0)


_NOISE = 1e-9


def ambiguity_set(book: Book, outlook: Outlook) -> Ambiguity:
    """The set that `[robust]` states, as far as it reaches on the book's as_of date.

    Raises:
        BadMandate: the belief breaks limits of a polytope, so that it would guard against everything but the belief.
    """
    robust = book.settings.robust
    radius = current_radius(book, outlook)
    if robust.set == "wasserstein":
        return build_ambiguity_set("wasserstein", radius, metric=scenario_metric(book))
    if robust.set == "hull":
        experts = [[expert[name] for name in book.scenarios] for expert in robust.experts.values()]
        given = np.array(experts)
        return build_ambiguity_set("hull", experts=given / given.sum(axis=1, keepdims=True))
    if robust.set == "polytope":
        _refuse_outside(book, outlook.probabilities)
        return build_ambiguity_set("polytope", limits=probability_limits(book))
    return build_ambiguity_set(robust.set, radius)


@dataclass(frozen=True, eq=False)
class NewInformation:
    """What has been learnt since today: the `signals` seen by then, the day that they `told` something of, and by how
    much they multiply the odds of the scenarios, in logs (K,); `when` in words.
    """

    signals: Sequence[Signal]
    told: dt.date
    evidence: Vector
    when: str


def updated_ambiguity_set(book: Book, today: Ambiguity, beliefs: Vector, news: NewInformation) -> Ambiguity:
    """Today's set as it is around the `beliefs` (K,) that the news has left, at the radius that it leaves.

    Experts have seen the news too: their probabilities move by the same evidence.

    Raises:
        BadMandate: the belief is outside the limits of a polytope.
    """
    if isinstance(today, ExpertHull):
        moved = [bayes_update(expert, news.evidence[None, :])[0] for expert in today.experts]
        return build_ambiguity_set("hull", experts=np.array(moved))
    if isinstance(today, Polytope):
        if today.excess(beliefs, beliefs) > _NOISE:
            rule = f"leaves out what we would believe {news.when}"
            cure = "widen the limits: what holds today need not hold after the news"
            raise BadMandate([Breach("book.toml", None, "robust.limits", None, rule, cure)])
        return today
    if isinstance(today, Wasserstein):
        return today
    return build_ambiguity_set(book.settings.robust.set, radius_after(book, beliefs, news.signals, news.told))


def scenario_metric(book: Book) -> Matrix:
    """(K, K) distances of the scenarios: the weighted L1 distance in the coordinates that `[robust.metric]` names."""
    scenarios, weights = book.settings.scenarios.values(), book.settings.robust.metric
    places = np.array([[float(getattr(scenario, name)) for name in weights] for scenario in scenarios])
    return np.asarray(np.abs(places[:, None, :] - places[None, :, :]) @ list(weights.values()), dtype=np.float64)


def probability_limits(book: Book) -> tuple[Matrix, Vector]:
    """(R, K) and (R,): A and b of A·q ≤ b, a row for each stated max and min, the latter with its signs turned."""
    rows, rights = [], []
    for limit in book.settings.robust.limits.values():
        own = np.array([limit.weights.get(name, 0.0) for name in book.scenarios])
        for sign, bound in ((1.0, limit.max), (-1.0, limit.min)):
            if bound is not None:
                rows.append(sign * own)
                rights.append(sign * bound)
    return np.array(rows), np.array(rights)


def _refuse_outside(book: Book, probabilities: Vector) -> None:
    """Signals move the belief, so that this is seen only once there is an outlook."""
    found = []
    for name, limit in book.settings.robust.limits.items():
        measured = float(sum(w * probabilities[book.scenarios.index(of)] for of, w in limit.weights.items()))
        for key, bound, sign in (("max", limit.max, 1), ("min", limit.min, -1)):
            if bound is not None and sign * (measured - bound) > _NOISE:
                found.append(
                    Breach(
                        "book.toml",
                        None,
                        dotted_key("robust", "limits", name, key),
                        f"{bound:g}",
                        f"today's belief is outside: it makes {measured:.6g} of it",
                        f"{'raise' if sign > 0 else 'lower'} it to {measured:.6g} or {'more' if sign > 0 else 'less'}, "
                        "or correct the probabilities of the scenarios",
                    )
                )
    if found:
        raise BadMandate(found)
