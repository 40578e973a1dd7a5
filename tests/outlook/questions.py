"""The replicability question of science §2.2, also on a calendar whose days are hundredths of a month."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr

from allocator.outlook.posterior import log_likelihood_ratio
from allocator.outlook.question import Lab, Question, Signal
from allocator.types import Vector

OPENED = dt.date(2026, 1, 1)
LAB = Lab(disclosure=0.85, hazard=0.136, background=0.008)


class Hundredths(Question):
    """A question whose months can be hit exactly: a hundred days each."""

    def months(self, day: dt.date) -> float:
        return (day - self.opened).days / 100


def at(months: float) -> dt.date:
    """That many months after the opening, on the calendar of `Hundredths`."""
    return OPENED + dt.timedelta(days=round(100 * months))


def asked(**given: Any) -> Hundredths:
    """Two labs alike, even odds on both axes."""
    base: dict[str, Any] = {
        "opened": OPENED,
        "labs": {"a": LAB, "b": LAB},
        "prior": np.array([0.3, 0.2, 0.3, 0.2]),
        "generalizable": np.array([True, True, False, False]),
        "jevons": np.array([True, False, True, False]),
    }
    return Hundredths(**(base | given))


def real(**given: Any) -> Question:
    """The same question on the calendar that there is."""
    return Question(**vars(asked(**given)))


def likelihood_ratio(question: Question, signals: Sequence[Signal], months: Vector) -> Vector:
    """(T,) how much better G explains what was seen than P does."""
    ratio: Vector = np.exp(log_likelihood_ratio(question, signals, months))
    return ratio


def demand_expansion_probability(mean: float, deviation: float) -> float:
    """P(elasticity > 1): that revenue grows when prices fall."""
    return float(ndtr((mean - 1) / deviation))
