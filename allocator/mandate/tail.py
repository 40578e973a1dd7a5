"""CVaR beside the mean: over scenarios and draws of one decision, and nested at the nodes of a tree.

At a node the loss ahead is a random number, the value of the branch that comes or, of a leaf, its loss on a draw. The
node's value is min_t sup_q Σ q_m ((1 − weight)·ℓ_m + weight·(t + mean(ℓ_m − t)₊ / (1 − level))), after Rockafellar and
Uryasev (2000, eq. 4); swapping min and sup is valid (science §3.5). Nested it is time-consistent, and another number
than the CVaR of the end: a bad branch of a bad branch counts at both. With one decision it is the plain mean-CVaR.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from allocator.ambiguity.pushforward import Seen
from allocator.ambiguity.sets import Ambiguity
from allocator.mandate.common_number import AtOnce, least
from allocator.outlook.outlook import Outlook
from allocator.types import Matrix, Vector

_SEED = 20261120
"""Of the draws: the same inputs give the same draws, hence the same plan."""


@dataclass(frozen=True, eq=False)
class Ahead:
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

    def worst(self, ahead: Ahead, ambiguity: Ambiguity | Seen, p: Vector) -> AtOnce:
        """A node's value under the set around `p` (M,), its losses at the best threshold and the (M,) adversary."""
        plain, tail = (1 - self.weight) * ahead.plain, 1 / (1 - self.level)

        def at(threshold: float) -> tuple[Vector, Vector]:
            above = np.maximum(ahead.drawn - threshold, 0.0).mean(axis=1)
            slopes = self.weight * (1 - tail * (ahead.drawn > threshold).mean(axis=1))
            return plain + self.weight * (threshold + tail * above), slopes

        return least(at, float(ahead.drawn.min()) - 1e-9, float(ahead.drawn.max()), ambiguity, p)

    def counted(self, ahead: Ahead, q: Vector) -> Vector:
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
