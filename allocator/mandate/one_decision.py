"""Objectives that tie the leaves together: mixture variance and regret, one frozen class each.

None of them is an expectation of losses that a leaf knows alone: a common centre or the best that hindsight allows ties
the leaves together, so deciding again by them would contradict what was planned (science §3.12). Mixture variance and
the regret of not knowing the probabilities are for one decision; regret after the fact is asked of a whole tree at its
leaves, which is not time-consistent, and said so. CVaR is their neighbour, and can be nested (`mandate.tail`). `worst`
values a portfolio from the formulas. `equivalent` is minus the objective: a risk-adjusted return.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import permutations
from typing import TypeAlias

import numpy as np

from allocator.ambiguity.sets import Ambiguity, Box, Known, TotalVariation, Worst
from allocator.mandate.common_number import AtOnce, least
from allocator.mandate.tail import MeanCVaR
from allocator.outlook.risk_model import FactorRisk
from allocator.settings.mandate import MOST_SCENARIOS
from allocator.types import Matrix, Vector


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

        return least(at, float(gains.min()), float(gains.max()), ambiguity, p)

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
