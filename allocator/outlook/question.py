"""The replicability question: who may answer it and how, what is observed, and what was believed at the start."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from scipy.special import gammainccinv, gammaincinv, gammaln

from allocator.types import Vector

Number: TypeAlias = float | Vector
"""One number, or one a draw: an array (draws, 1, 1), which goes with arrays (draws, days, scenarios)."""
DAYS_A_MONTH = 365.25 / 12
_NODES = 128
"""Quadrature nodes of the frailty; exact to about 1e-12 over the ranges that a book may state."""


@dataclass(frozen=True)
class Lab:
    """How one lab discloses, under G: ever with probability `disclosure`, then at `hazard` a month after `lag_months`.

    `background` is the hazard a month of claiming without substance, under G and P alike.
    """

    disclosure: Number
    hazard: Number
    background: Number
    lag_months: float = 0.0


@dataclass(frozen=True)
class Signal:
    """A dated observation: a `claim`, `verification` or `refutation` by or of a lab, or a `usage` figure.

    A usage figure is a log price fall and the log usage growth that came with it. A claim by `ANY_LAB` was made by some
    lab that had been silent, after the day `since`.
    """

    date: dt.date
    kind: str
    lab: str = ""
    price_fall: float = 0.0
    usage_growth: float = 0.0
    since: dt.date | None = None


@dataclass(frozen=True)
class Demand:
    """The usage elasticity as we believe it: Normal(`mean`, `deviation`²); a figure errs by Normal(0, `noise`²)."""

    mean: float
    deviation: float
    noise: float


@dataclass(frozen=True, eq=False)
class Question:
    """The replicability question: when it opened, who may answer, and what was believed at the start.

    `prior` (K,) sums to one over scenarios; `generalizable` and `jevons` (K,) say which answer and which demand regime
    each scenario stands for. `sensitivity` and `false_positive` belong to verification. `frailty` is the shape of a
    gamma multiplier common to all hazards (correlated labs); None makes the labs independent.
    """

    opened: dt.date
    labs: Mapping[str, Lab]
    prior: Vector
    generalizable: Vector
    jevons: Vector
    sensitivity: float = 0.9
    false_positive: float = 0.1
    frailty: float | None = None
    demand: Demand | None = None
    threshold: float = 0.95
    release: float = 0.85

    @cached_property
    def common(self) -> tuple[Vector, Vector]:
        """Values of the common multiplier and their probabilities; one value of 1 when labs are independent."""
        if self.frailty is None:
            return np.ones(1), np.ones(1)
        a = self.frailty
        low, high = max(float(gammaincinv(a, 1e-16)) / a, 1e-15), float(gammainccinv(a, 1e-16)) / a
        logs = np.linspace(np.log(low), np.log(high), _NODES)  # trapezium rule in ln z: converges exponentially
        values = np.exp(logs)
        weights = np.exp(a * (np.log(a) + logs - values) - gammaln(a)) * (logs[1] - logs[0])
        weights[0] = 1 - weights[1:].sum()  # all the mass below, where nothing depends on z any more
        return values, weights

    def months(self, day: dt.date) -> float:
        """Months from the opening to `day`."""
        return (day - self.opened).days / DAYS_A_MONTH
