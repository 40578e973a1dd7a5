"""How far the ambiguity set reaches: a radius that follows the beliefs by a schedule that the book names."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
from scipy.special import rel_entr

from allocator.book.book import Book
from allocator.mandate.ambiguity import LEAST_RADIUS
from allocator.outlook.calibration import question_of, ranges_of, signals_of
from allocator.outlook.outlook import Outlook
from allocator.outlook.posterior import bounds, generalizable, past_of, settled
from allocator.outlook.question import Question, Signal
from allocator.types import Vector

GREATEST_ENTROPY = 50.0
"""Of a KL set, as `[robust]` allows: e^-50 of a probability is beyond any belief."""
GREATEST_CHI2 = 1e6
"""Of a modified χ² set, as `[robust]` allows."""


def radius_of(book: Book, outlook: Outlook) -> float:
    """The radius of the book's ambiguity set on its as_of date.

    fixed: as stated. caution: c·(1 − the probability of the likelier answer) while the question is open, 0 once it is
    settled: 1 − π is the total-variation distance to certainty, so c is the part of the way to being wrong; a KL set
    gets 2ρ², the least entropy at which it can reach so far (Pinsker), a modified χ² set 4ρ², the least χ² at which it
    can (Cauchy and Schwarz), and contamination ρ itself. corners: as far as the farthest belief that
    `[question.ranges]` allow, which need not shrink: its distance, its relative entropy, its χ², or the part of an
    answer's probability that it takes away.
    """
    return radius_at(book, outlook.probabilities, signals_of(book), book.settings.book.as_of)


def radius_at(book: Book, probabilities: Vector, signals: Sequence[Signal], day: dt.date) -> float:
    """The same where other `signals` have been seen, by another `day`, and have made these `probabilities` (K,)."""
    robust = book.settings.robust
    if robust.schedule == "fixed":
        return robust.radius
    if robust.schedule == "corners":
        return _corners(book, probabilities, signals, day)
    distance = _caution(book, probabilities, signals, day)
    return {"kl": 2 * distance**2, "modified_chi2": 4 * distance**2}.get(robust.set, distance)


def _caution(book: Book, probabilities: Vector, signals: Sequence[Signal], day: dt.date) -> float:
    question = question_of(book)
    if question is None:
        likeliest = float(probabilities.max())
    else:
        p = _generalizable(question, probabilities)
        way = past_of(question, signals, day).generalizable
        if settled(question, np.append(way[:-1], p)) is not None:  # today's belief is the outlook's
            return 0.0
        likeliest = max(p, 1 - p)
    return float(book.settings.robust.caution or 0.0) * (1 - likeliest)


def _corners(book: Book, probabilities: Vector, signals: Sequence[Signal], day: dt.date) -> float:
    question, ranges = question_of(book), ranges_of(book)
    assert question is not None  # the agreement of schedule and question was checked on loading
    assert ranges is not None
    low, high = bounds(question, ranges, signals, day)
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
    return float(np.ravel(generalizable(question, probabilities[None, :]))[0])


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
