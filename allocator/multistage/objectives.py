"""Objectives that the tree solves, one frozen class each: utilities, CVaR, mixture variance, regret.

None of them is an expectation of losses that a leaf knows alone: a common centre or the best that hindsight allows ties
the leaves together, so re-optimising by them would contradict what was planned (science §3.12). Mixture variance and
the regret of not knowing the probabilities are for one decision; regret after the fact is asked of a whole tree at its
leaves, which is not time-consistent, and said so. CVaR is their neighbour, and can be nested (`mandate.tail`). `worst`
values a portfolio from the formulas. `equivalent` is minus the objective: a risk-adjusted return.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from allocator.ambiguity.sets import Ambiguity
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.settings.mandate import MOST_SCENARIOS
from allocator.types import Matrix, Vector

# What wealth at the end is worth: the loss of a leaf, one frozen class a utility.
#
# Each is a convex, nonincreasing loss of the wealth that a leaf ends with, today's account being 1. `equivalent`
# turns an objective back into the certainty equivalent, so that plans under different utilities
# compare.
#


@dataclass(frozen=True)
class LinearUtility:
    """Wealth itself: loss 1 − W, the return with its sign turned."""

    def loss(self, wealth: Vector) -> Vector:
        """(L,) of final wealth."""
        result: Vector = 1 - wealth
        return result

    def equivalent(self, loss: float) -> float:
        """The certainty equivalent, a riskless return that is as good."""
        return -loss


@dataclass(frozen=True)
class LogUtility:
    """Logarithmic utility: loss −ln W."""

    def loss(self, wealth: Vector) -> Vector:
        """(L,) of final wealth; infinite where nothing is left."""
        with np.errstate(divide="ignore"):
            result: Vector = np.where(wealth > 0, -np.log(np.maximum(wealth, 0.0)), np.inf)
        return result

    def equivalent(self, loss: float) -> float:
        """The certainty equivalent, a riskless return that is as good: e^−loss − 1."""
        return float(np.expm1(-loss))


@dataclass(frozen=True)
class PowerUtility:
    """Constant relative risk aversion γ > 0, γ ≠ 1: loss (W^(1−γ) − 1) / (γ − 1)."""

    aversion: float

    def loss(self, wealth: Vector) -> Vector:
        """(L,) of final wealth; infinite where nothing is left and γ > 1."""
        with np.errstate(divide="ignore"):
            powers = np.maximum(wealth, 0.0) ** (1 - self.aversion)
        result: Vector = (powers - 1) / (self.aversion - 1)
        return result

    def equivalent(self, loss: float) -> float:
        """The certainty equivalent, a riskless return that is as good."""
        return float((1 + (self.aversion - 1) * loss) ** (1 / (1 - self.aversion)) - 1)


@dataclass(frozen=True, eq=False)
class PiecewiseLinearUtility:
    """Goals: each of J measures m = shares·(what each name is worth) + cash_share·cash earns min_p(slope·m + level).

    `shares` (J, N), `cash_shares` (J,); `slopes` and `levels` (J, P), increasing and concave in every measure: repeat a
    piece where a measure has fewer. Loss: what is earned with its sign turned.
    """

    shares: Matrix
    cash_shares: Vector
    slopes: Matrix
    levels: Matrix

    def loss(self, measures: Matrix) -> Vector:
        """(L,) of the measures (L, J)."""
        result: Vector = -(self.slopes * measures[:, :, None] + self.levels).min(axis=2).sum(axis=1)
        return result

    def equivalent(self, loss: float) -> float:
        """What is earned, in the units of the pieces."""
        return -loss


Utility: TypeAlias = LinearUtility | LogUtility | PowerUtility | PiecewiseLinearUtility


def leaf_losses(utility: Utility, values: Matrix, cash: Vector) -> Vector:
    """(L,) losses of leaves that end with `values` (L, N) in each name and `cash` (L,)."""
    if isinstance(utility, PiecewiseLinearUtility):
        return utility.loss(values @ utility.shares.T + cash[:, None] * utility.cash_shares)
    return utility.loss(values.sum(axis=1) + cash)


# Objectives with one number that all outcomes share, a centre or a quantile: the best of it, against the adversary.
#
# min over the number of sup over the probabilities: convex in the one and linear in the other, so that halving the
# slope finds it with the inner maximisers of the sets alone. Nothing here solves.
#
_HALVINGS = 200
"""Of the interval that holds the common number: until no number lies between its ends."""


@dataclass(frozen=True, eq=False)
class CommonThreshold:
    """A portfolio under one of these: the adverse expectation, (L,) losses at the leaves, the (L,) adversary."""

    loss: float
    leaf_losses: Vector
    adversary: Vector


def minimise_worst_case(
    at: Callable[[float], tuple[Vector, Vector]], low: float, high: float, ambiguity: Ambiguity, p: Vector
) -> CommonThreshold:
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
    return CommonThreshold(float(worst @ losses), losses, part * below[0] + (1 - part) * above[0])


# CVaR beside the mean: over scenarios and draws of one decision, and nested at the nodes of a tree.
#
# At a node the loss ahead is a random number, the value of the branch that comes or, of a leaf, its loss on a draw.
# The node's value is min_t sup_q Σ q_m ((1 − weight)·ℓ_m + weight·(t + mean(ℓ_m − t)₊ / (1 − level))), after
# Rockafellar and Uryasev (2000, eq. 4); swapping min and sup is valid (science §3.5). Nested it is time-consistent,
# and another number than the CVaR of the end: a bad branch of a bad branch counts at both. With one decision it is
# the plain mean-CVaR.
#
_SEED = 20261120
"""Of the draws: the same inputs give the same draws, hence the same plan."""


@dataclass(frozen=True, eq=False)
class NextStep:
    """What may come next: (M,) losses `plain` of its mean, and (M, S) on draws; a branch is its own only draw."""

    plain: Vector
    drawn: Matrix


@dataclass(frozen=True, eq=False)
class MeanCVaR:
    """(1 − weight)·expected loss + weight·CVaR at `level`, in wealth: homogeneous, so that scale changes nothing.

    The expected loss of a leaf is of its scenario's own mean, so that it has no error of the draws. `growth` (L, S, N)
    are values at the end per unit held, by leaf and draw; `cash_growth` (L,).
    """

    level: float
    weight: float
    growth: NDArray[np.float64]
    cash_growth: Vector

    def drawn(self, holdings: Matrix, cash: Vector) -> Matrix:
        """(L, S) losses on the draws of leaves that come from `holdings` (L, N) and `cash` (L,)."""
        ends = np.einsum("lsn,ln->ls", self.growth, holdings)
        result: Matrix = 1 - ends - (self.cash_growth * cash)[:, None]
        return result

    def worst(self, ahead: NextStep, ambiguity: Ambiguity, p: Vector) -> CommonThreshold:
        """A node's value under the set around `p` (M,), its losses at the best threshold and the (M,) adversary."""
        plain, tail = (1 - self.weight) * ahead.plain, 1 / (1 - self.level)

        def at(threshold: float) -> tuple[Vector, Vector]:
            above = np.maximum(ahead.drawn - threshold, 0.0).mean(axis=1)
            slopes = self.weight * (1 - tail * (ahead.drawn > threshold).mean(axis=1))
            return plain + self.weight * (threshold + tail * above), slopes

        return minimise_worst_case(at, float(ahead.drawn.min()) - 1e-9, float(ahead.drawn.max()), ambiguity, p)

    def counted(self, ahead: NextStep, q: Vector) -> Vector:
        """(M,) how much each branch's loss counts under probabilities `q`: its part of the mean and of the tail."""
        draws = ahead.drawn.shape[1]
        owner, each = np.repeat(np.arange(len(q)), draws), np.repeat(q / draws, draws) / (1 - self.level)
        order = np.argsort(-ahead.drawn.ravel(), kind="stable")
        before = np.concatenate([[0.0], np.cumsum(each[order])[:-1]])
        taken = np.clip(1 - before, 0.0, each[order])
        tail = np.bincount(owner[order], taken, minlength=len(q))
        result: Vector = (1 - self.weight) * q + self.weight * tail
        return result

    def of(self, leaves: NDArray[np.int64]) -> MeanCVaR:
        """The same for some of the leaves."""
        return replace(self, growth=self.growth[leaves], cash_growth=self.cash_growth[leaves])

    def equivalent(self, loss: float) -> float:
        """The risk-adjusted return."""
        return -loss


def simulated_values(outlook: Outlook, draws: int, scenarios: NDArray[np.int64]) -> NDArray[np.float64]:
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


@dataclass(frozen=True, eq=False)
class MixtureVariance:
    """−return + γ·variance of the mixture of scenarios: within each one and between them (science §3.4).

    The variance under probabilities q is min_c Σ q_k (h'Ωh + (r_k − c)²), hence the adverse expectation is
    min_c sup_q Σ q_k (−r_k + γ(h'Ωh + (r_k − c)²)). `risk` is over the horizon.
    """

    aversion: float
    risk: FactorRisk

    def worst(self, holdings: Vector, cash: float, wealth: Vector, ambiguity: Ambiguity, p: Vector) -> CommonThreshold:
        """Of `holdings` (N,) that end as `wealth` (L,) of today's account."""
        del cash
        gains, within = wealth - 1, self.risk.variance(holdings)

        def at(centre: float) -> tuple[Vector, Vector]:
            away = gains - centre
            return -gains + self.aversion * (within + away**2), -2 * self.aversion * away

        return minimise_worst_case(at, float(gains.min()), float(gains.max()), ambiguity, p)

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

    def worst(self, holdings: Vector, cash: float, wealth: Vector, ambiguity: Ambiguity, p: Vector) -> CommonThreshold:
        """Of a portfolio that ends as `wealth` (L,)."""
        del holdings, cash
        losses: Vector = self.best + 1 - wealth
        q = ambiguity.adversary(losses, p)
        return CommonThreshold(float(q @ losses), losses, q)

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
        if not ambiguity.guards:
            return p[None, :], np.array([self.best_if_right])
        return self.corners, self.best

    def worst(self, holdings: Vector, cash: float, wealth: Vector, ambiguity: Ambiguity, p: Vector) -> CommonThreshold:
        """Of a portfolio that ends as `wealth` (L,)."""
        del holdings, cash
        corners, best = self.under(ambiguity, p)
        regrets = best - corners @ (wealth - 1)
        most = int(np.argmax(regrets))
        return CommonThreshold(float(regrets[most]), np.full(len(wealth), regrets[most]), corners[most])

    def equivalent(self, loss: float) -> float:
        """Minus the regret."""
        return -loss


OneDecision: TypeAlias = MixtureVariance | MeanCVaR | Regret | ExAnteRegret


def corner_points(ambiguity: Ambiguity, p: Vector) -> Matrix:
    """(M, K) the corners of a polyhedral set: its greedy adversaries look at the order of the losses alone, and each
    corner is the only adverse member for some losses without ties; so the orders give all of them.

    Raises:
        ValueError: the set has no corners that orders alone give, or there are too many scenarios.
    """
    if ambiguity.curved or ambiguity.about_scenarios or len(p) > MOST_SCENARIOS:
        raise ValueError(f"corners are for polyhedral sets over at most {MOST_SCENARIOS} scenarios")
    found = [ambiguity.adversary(np.array(order, dtype=np.float64), p) for order in permutations(range(len(p)))]
    corners: Matrix = np.unique(np.round(found, 15), axis=0)
    return corners
