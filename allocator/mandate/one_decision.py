"""Objectives that only one decision can have: mixture variance, CVaR on draws, and regret, one frozen class each.

None of them is an expectation of losses that a leaf knows alone: a common centre, a common quantile or the best that
hindsight allows ties the leaves together, so deciding again by them would contradict what was planned (science §3.12).
`worst` values a portfolio from the formulas: the inner maximisers of the ambiguity sets, and a bisection over the one
common number, where the objective is convex in it. `equivalent` is minus the objective: a risk-adjusted return.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import permutations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from allocator.book.wishes import MOST_SCENARIOS
from allocator.mandate.ambiguity import Ambiguity, Box, Known, TotalVariation, Worst
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk import FactorRisk
from allocator.types import Matrix, Vector

_SEED = 20261120
"""Of the draws: the same inputs give the same draws, hence the same plan."""
_HALVINGS = 200
"""Of the interval that holds the common number: until no number lies between its ends."""


@dataclass(frozen=True, eq=False)
class AtOnce:
    """What a portfolio is worth under one of these: the worst case, (L,) losses at the leaves, the (L,) adversary."""

    loss: float
    leaf_losses: Vector
    adversary: Vector


@dataclass(frozen=True, eq=False)
class MixtureVariance:
    """−return + γ·variance of the mixture of scenarios: within each one and between them (science §3.4).

    The variance under probabilities q is min_c Σ q_k (h'Ωh + (r_k − c)²), hence the worst case is
    min_c sup_q Σ q_k (−r_k + γ(h'Ωh + (r_k − c)²)). `risk` is over the horizon.
    """

    aversion: float
    risk: FactorRisk

    def worst(self, holdings: Vector, cash: float, wealth: Vector, ambiguity: Ambiguity, p: Vector) -> AtOnce:
        """Of `holdings` (N,) that end as `wealth` (L,) of today's account."""
        del cash
        gains, within = wealth - 1, self.risk.variance(holdings)

        def at(centre: float) -> tuple[Vector, Vector]:
            away = gains - centre
            return -gains + self.aversion * (within + away**2), -2 * self.aversion * away

        return _least(at, float(gains.min()), float(gains.max()), ambiguity, p)

    def equivalent(self, loss: float) -> float:
        """The risk-adjusted return."""
        return -loss


@dataclass(frozen=True, eq=False)
class MeanCVaR:
    """(1 − weight)·expected loss + weight·CVaR at `level`, over scenarios and the draws within each (science §3.5).

    min_t sup_q Σ q_k ((1 − weight)·(−r_k) + weight·(t + mean_s(−R_ks − t)₊ / (1 − level))), after Rockafellar and
    Uryasev (2000, eq. 4). The expected loss is of the scenarios' own means, so that it has no error of the draws.
    `growth` (L, S, N) are values at the end per unit held, by leaf and draw; `cash_growth` (L,).
    """

    level: float
    weight: float
    growth: NDArray[np.float64]
    cash_growth: Vector

    def worst(self, holdings: Vector, cash: float, wealth: Vector, ambiguity: Ambiguity, p: Vector) -> AtOnce:
        """Of `holdings` (N,) and `cash` that end as `wealth` (L,) in the scenarios' means."""
        drawn = 1 - self.growth @ holdings - (self.cash_growth * cash)[:, None]
        plain, tail = (1 - self.weight) * (1 - wealth), 1 / (1 - self.level)

        def at(threshold: float) -> tuple[Vector, Vector]:
            above = np.maximum(drawn - threshold, 0.0).mean(axis=1)
            slopes = self.weight * (1 - tail * (drawn > threshold).mean(axis=1))
            return plain + self.weight * (threshold + tail * above), slopes

        return _least(at, float(drawn.min()) - 1e-9, float(drawn.max()), ambiguity, p)

    def equivalent(self, loss: float) -> float:
        """The risk-adjusted return."""
        return -loss


@dataclass(frozen=True, eq=False)
class Regret:
    """What the best portfolio of each scenario would have earned more there: v_k − r_k (science §3.6).

    `best` (L,) are the v_k, the highest returns that the rules allow in each scenario from today's holdings; empty
    until they have been solved for. At the largest radius this is Savage's (1951) minimax regret.
    """

    best: Vector = field(default_factory=lambda: np.zeros(0))

    def worst(self, holdings: Vector, cash: float, wealth: Vector, ambiguity: Ambiguity, p: Vector) -> AtOnce:
        """Of a portfolio that ends as `wealth` (L,)."""
        del holdings, cash
        losses: Vector = self.best + 1 - wealth
        q = ambiguity.adversary(losses, p)
        return AtOnce(float(q @ losses), losses, q)

    def equivalent(self, loss: float) -> float:
        """Minus the regret."""
        return -loss


@dataclass(frozen=True, eq=False)
class ExAnteRegret:
    """What somebody who knows the probabilities, and not the scenario, expects to earn more: max_q v(q) − q'r.

    v(q) is convex, so that the maximum is at a corner of the set (science §3.6). `corners` (M, L) and what is best
    under each, `best` (M,); `best_if_right` is v of the belief. Empty until they have been solved for.
    """

    corners: Matrix = field(default_factory=lambda: np.zeros((0, 0)))
    best: Vector = field(default_factory=lambda: np.zeros(0))
    best_if_right: float = 0.0

    def under(self, ambiguity: Ambiguity, p: Vector) -> tuple[Matrix, Vector]:
        """(M, L) probabilities to look at and (M,) what is best under each: the belief alone where it is trusted."""
        if isinstance(ambiguity, Known):
            return p[None, :], np.array([self.best_if_right])
        return self.corners, self.best

    def worst(self, holdings: Vector, cash: float, wealth: Vector, ambiguity: Ambiguity, p: Vector) -> AtOnce:
        """Of a portfolio that ends as `wealth` (L,)."""
        del holdings, cash
        corners, best = self.under(ambiguity, p)
        regrets = best - corners @ (wealth - 1)
        most = int(np.argmax(regrets))
        return AtOnce(float(regrets[most]), np.full(len(wealth), regrets[most]), corners[most])

    def equivalent(self, loss: float) -> float:
        """Minus the regret."""
        return -loss


OneDecision: TypeAlias = MixtureVariance | MeanCVaR | Regret | ExAnteRegret


def simulated(outlook: Outlook, draws: int, scenarios: NDArray[np.int64]) -> NDArray[np.float64]:
    """(L, S, N) values at the end per unit held: normal around the mean of each leaf's scenario with the covariance
    within it, and never below nothing.

    Antithetic: each draw comes with its mirror image, so that S is even and the means are exact but for the floor. All
    scenarios share the draws, so that an adversary cannot choose one for its luck.
    """
    rng, risk = np.random.default_rng(_SEED), outlook.risk
    names, factors = risk.loadings.shape
    half = rng.standard_normal((draws // 2, factors + names))
    moves = half[:, :factors] @ risk.loadings.T + half[:, factors:] * np.sqrt(risk.specific)
    grown = 1 + outlook.returns[scenarios][:, None, :] + np.concatenate([moves, -moves])
    values: NDArray[np.float64] = np.maximum(grown, 0.0, out=grown)
    return values


def corners_of(ambiguity: Ambiguity, p: Vector) -> Matrix:
    """(M, K) the corners of a polyhedral set: its greedy adversaries look at the order of the losses alone, and each
    corner is the only worst case of some losses without ties; so the orders give all of them.

    Raises:
        ValueError: the set has no corners that orders alone give, or there are too many scenarios.
    """
    if not isinstance(ambiguity, Known | TotalVariation | Box | Worst) or len(p) > MOST_SCENARIOS:
        raise ValueError(f"corners are for polyhedral sets over at most {MOST_SCENARIOS} scenarios")
    found = [ambiguity.adversary(np.array(order, dtype=np.float64), p) for order in permutations(range(len(p)))]
    corners: Matrix = np.unique(np.round(found, 15), axis=0)
    return corners


def _least(
    at: Callable[[float], tuple[Vector, Vector]], low: float, high: float, ambiguity: Ambiguity, p: Vector
) -> AtOnce:
    """min over x in [low, high] of sup_q q'losses(x), `at` giving losses and slopes (L,): by halving.

    Where the adversary jumps from one corner to another, the mean of both that makes the slope vanish is his choice
    at the saddle: the set is convex.
    """

    def seen(x: float) -> tuple[Vector, float]:
        losses, slopes = at(x)
        q = ambiguity.adversary(losses, p)
        return q, float(q @ slopes)

    below, above = seen(low), seen(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        here = seen(middle)
        if here[1] < 0:
            low, below = middle, here
        else:
            high, above = middle, here
    rises = above[1] - below[1]
    part = min(max(above[1] / rises, 0.0), 1.0) if rises > 0 else 0.0
    losses = at(high)[0]
    worst = ambiguity.adversary(losses, p)
    return AtOnce(float(worst @ losses), losses, part * below[0] + (1 - part) * above[0])
