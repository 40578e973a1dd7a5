"""How far the ambiguity set reaches: a radius that follows the beliefs by a schedule that the book names."""

from __future__ import annotations

import numpy as np

from allocator.book.book import Book
from allocator.outlook.beliefs import bounds, generalizable
from allocator.outlook.model import question_of, ranges_of, signals_of
from allocator.outlook.outlook import Outlook


def radius_of(book: Book, outlook: Outlook) -> float:
    """The radius of the book's ambiguity set on its as_of date.

    fixed: as stated. caution: c·(1 − the probability of the likelier answer), which falls to nothing as the question
    settles: 1 − π is the total-variation distance to certainty, so c is the part of the way to being wrong. corners:
    the distance to the farthest belief that `[question.ranges]` allow, which need not shrink. For a KL set both are
    turned into 2ρ² (Pinsker).
    """
    robust = book.settings.robust
    if robust.schedule == "fixed":
        return robust.radius
    distance = _caution(book, outlook) if robust.schedule == "caution" else _corners(book, outlook)
    return 2 * distance**2 if robust.set == "kl" else distance


def _caution(book: Book, outlook: Outlook) -> float:
    question = question_of(book)
    if question is None:
        likeliest = float(outlook.probabilities.max())
    else:
        p = float(generalizable(question, outlook.probabilities[None, :])[0])
        likeliest = max(p, 1 - p)
    return float(book.settings.robust.caution or 0.0) * (1 - likeliest)


def _corners(book: Book, outlook: Outlook) -> float:
    question, ranges = question_of(book), ranges_of(book)
    assert question is not None  # the agreement of schedule and question was checked on loading
    assert ranges is not None
    low, high = bounds(question, ranges, signals_of(book), book.settings.book.as_of)
    p = float(np.ravel(generalizable(question, outlook.probabilities[None, :]))[0])
    return max(high - p, p - low, 0.0)
