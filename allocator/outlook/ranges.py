"""Robust Bayes: how low and how high P(G) may be, given what the book is unsure of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from allocator.book.checks.question import ANY_LAB
from allocator.outlook.beliefs import generalizable, log_likelihood_ratio, posterior
from allocator.outlook.disclosure import of_lab
from allocator.outlook.question import Number, Question, Signal
from allocator.types import Matrix, Vector

_GRID = (33, 257)
"""Disclosures and hazards of the first look; in ln(hazard) nothing is narrower than about 1, so no peak is lost."""
_POOLED_GRID = (5, 17)
"""Where a claim by any lab joins the labs and each point takes a quadrature."""
_CLOSER = (9, 9)
_LOOKS = 14
"""Each look spans two cells of the last one: 14 of them pin the place down to 1e-8 of a cell, its value to rounding."""


@dataclass(frozen=True)
class Ranges:
    """Lowest and highest prior of G, and disclosure, hazard and background: one unknown value, common to all labs."""

    prior: tuple[float, float]
    disclosure: tuple[float, float]
    hazard: tuple[float, float]
    background: tuple[float, float]


def bounds(question: Question, ranges: Ranges, signals: Sequence[Signal], day: dt.date) -> tuple[float, float]:
    """Lowest and highest P(G) over `ranges`, which replace each lab's own values by one that all labs share, and over
    the belief itself: where labs differ, no common value need give it.

    P(G) rises with the prior and, where there is a claim, falls with the background, so their ends suffice. Disclosure
    and hazard are searched: a claim speaks loudest at a hazard near 1/(months since the lag), and one lab's claim
    beside another's silence, or a refutation, may do so at a disclosure in between.
    """
    found = [float(generalizable(question, posterior(question, signals, [day]))[0])]
    for end, sign in ((0, -1.0), (1, 1.0)):
        background = ranges.background[1 - end]
        disclosure, hazard = _extreme(question, ranges, signals, day, background, sign)
        found.append(_belief(question, signals, day, ranges.prior[end], (disclosure, hazard, background)))
    return min(found), max(found)


def _belief(
    question: Question, signals: Sequence[Signal], day: dt.date, prior: float, values: tuple[float, float, float]
) -> float:
    """P(G) if the prior of G and all labs' disclosure, hazard and background were these."""
    disclosure, hazard, background = values
    labs = {
        name: replace(lab, disclosure=disclosure, hazard=hazard, background=background)
        for name, lab in question.labs.items()
    }
    moved = replace(question, prior=prior_at(question, prior), labs=labs)
    return float(generalizable(moved, posterior(moved, signals, [day]))[0])


def prior_at(question: Question, generalizable_prior: Number) -> Vector:
    """(K,) the prior of the scenarios if G had this prior; within an answer their proportions stay.

    (draws, 1, K) where it is drawn: an array (draws, 1, 1).
    """
    share = question.prior[question.generalizable.astype(bool)].sum()
    given = np.asarray(generalizable_prior, dtype=np.float64)
    scale = np.where(question.generalizable, given / share, (1 - given) / (1 - share))
    result: Vector = question.prior * scale
    return result


def _extreme(
    question: Question, ranges: Ranges, signals: Sequence[Signal], day: dt.date, background: float, sign: float
) -> tuple[float, float]:
    """Disclosure and hazard where G explains what was seen best (`sign` 1) or worst (−1): a grid, then ever closer."""
    (d_low, d_high), (h_low, h_high) = ranges.disclosure, ranges.hazard
    grid = _POOLED_GRID if any(signal.lab == ANY_LAB for signal in signals) else _GRID
    disclosures, hazards = np.linspace(d_low, d_high, grid[0]), np.geomspace(h_low, h_high, grid[1])
    best = (-np.inf, d_low, h_low)
    for _ in range(_LOOKS):
        ratios = sign * _ratios(question, signals, day, background, disclosures, hazards)
        i, j = divmod(int(np.argmax(ratios)), len(hazards))
        if ratios[i, j] > best[0]:
            best = float(ratios[i, j]), float(disclosures[i]), float(hazards[j])
        disclosures = np.linspace(*_beside(disclosures, i), _CLOSER[0])
        hazards = np.geomspace(*_beside(hazards, j), _CLOSER[1])
    return best[1:]


def _beside(places: Vector, i: int) -> tuple[float, float]:
    """The places before and after the i-th, where there are any."""
    return float(places[max(i - 1, 0)]), float(places[min(i + 1, len(places) - 1)])


def _ratios(
    question: Question,
    signals: Sequence[Signal],
    day: dt.date,
    background: float,
    disclosures: Vector,
    hazards: Vector,
) -> Matrix:
    """(D, H) likelihood ratio of G. A lab's factor is linear in its disclosure, and knows its hazard only times z."""
    z, weight = question.common
    rates = (hazards[:, None] * z).ravel()
    month = np.array([question.months(day)])
    if any(signal.lab == ANY_LAB for signal in signals):
        return _pooled_ratios(question, signals, month, background, disclosures, hazards)
    product = np.ones((len(disclosures), len(hazards), len(z)))
    for name, lab in question.labs.items():
        own = [signal for signal in signals if signal.lab == name]
        able = replace(lab, disclosure=1.0, hazard=1.0, background=background)
        more = of_lab(question, able, own, month, rates)[0].reshape(len(hazards), len(z)) - 1
        product *= 1 + disclosures[:, None, None] * more
    result: Matrix = product @ weight
    return result


def _pooled_ratios(
    question: Question,
    signals: Sequence[Signal],
    month: Vector,
    background: float,
    disclosures: Vector,
    hazards: Vector,
) -> Matrix:
    """(D, H) the same with a claim by any lab, which joins the labs: point by point."""
    found = np.zeros((len(disclosures), len(hazards)))
    for i, j in np.ndindex(found.shape):
        values = {"disclosure": float(disclosures[i]), "hazard": float(hazards[j]), "background": background}
        labs = {name: replace(lab, **values) for name, lab in question.labs.items()}
        found[i, j] = log_likelihood_ratio(replace(question, labs=labs), signals, month)[0]
    return found
