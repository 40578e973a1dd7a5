"""What wealth at the end is worth: the loss of a leaf, one frozen class a utility.

Each is a convex, nonincreasing loss of the wealth that a leaf ends with, today's account being 1. `equivalent` turns an
objective back into a sure return (the certainty equivalent), so that plans under different utilities compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from allocator.types import Matrix, Vector


@dataclass(frozen=True)
class Linear:
    """Wealth itself: loss 1 − W, the return with its sign turned."""

    def loss(self, wealth: Vector) -> Vector:
        """(L,) of final wealth."""
        result: Vector = 1 - wealth
        return result

    def equivalent(self, loss: float) -> float:
        """The sure return that is as good."""
        return -loss


@dataclass(frozen=True)
class Log:
    """Logarithmic utility: loss −ln W."""

    def loss(self, wealth: Vector) -> Vector:
        """(L,) of final wealth; infinite where nothing is left."""
        with np.errstate(divide="ignore"):
            result: Vector = np.where(wealth > 0, -np.log(np.maximum(wealth, 0.0)), np.inf)
        return result

    def equivalent(self, loss: float) -> float:
        """The sure return that is as good: e^−loss − 1."""
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
        """The sure return that is as good."""
        return float((1 + (self.aversion - 1) * loss) ** (1 / (1 - self.aversion)) - 1)


@dataclass(frozen=True, eq=False)
class PiecewiseLinear:
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


Utility: TypeAlias = Linear | Log | PowerUtility | PiecewiseLinear


def leaf_losses(utility: Utility, values: Matrix, cash: Vector) -> Vector:
    """(L,) losses of leaves that end with `values` (L, N) in each name and `cash` (L,)."""
    if isinstance(utility, PiecewiseLinear):
        return utility.loss(values @ utility.shares.T + cash[:, None] * utility.cash_shares)
    return utility.loss(values.sum(axis=1) + cash)
