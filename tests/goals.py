"""Goals: an objective of no book, for published programs; and all that it takes to add one: nothing else knows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import cvxpy as cp
import numpy as np

from allocator.multistage.objectives import Objective, ObjectiveRows, TreeVariables
from allocator.types import Matrix, Vector


@dataclass(frozen=True, eq=False)
class PiecewiseLinearUtility(Objective):
    """Each of J measures m = shares·(what each name is worth) + cash_share·cash earns min_p(slope·m + level).

    `shares` (J, N), `cash_shares` (J,); `slopes` and `levels` (J, P), increasing and concave in every measure: repeat a
    piece where a measure has fewer. Loss: what is earned with its sign turned.
    """

    shares: Matrix
    cash_shares: Vector
    slopes: Matrix
    levels: Matrix

    name: ClassVar[str] = "goals"

    def leaf_losses(self, values: Matrix, cash: Vector) -> Vector:
        """Of the measures."""
        measures = values @ self.shares.T + cash[:, None] * self.cash_shares
        result: Vector = -(self.slopes * measures[:, :, None] + self.levels).min(axis=2).sum(axis=1)
        return result

    def rows(self, v: TreeVariables) -> ObjectiveRows:
        """A line a piece."""
        tree, earned = v.tree, cp.Variable((v.tree.leaves, len(self.shares)), name="earned")
        held = cp.reshape(v.holdings, tree.growth.shape, order="C")[tree.leaf_parents]
        cash = cp.reshape(cp.multiply(tree.leaf_cash_growth, v.cash[tree.leaf_parents]), (tree.leaves, 1), order="C")
        measures = cp.multiply(tree.leaf_growth, held) @ self.shares.T + cash @ self.cash_shares[None, :]
        every = np.ones((tree.leaves, 1))
        pieces = [
            earned <= cp.multiply(every @ slope[None, :], measures) + every @ level[None, :]
            for slope, level in zip(self.slopes.T, self.levels.T, strict=True)
        ]
        return ObjectiveRows(-cp.sum(earned, axis=1), v.theta, np.zeros(tree.nodes), pieces)

    def restated(self, leaves: Sequence[int], account: float = 1.0) -> PiecewiseLinearUtility:
        """Goals are stated in today's account."""
        del leaves
        return replace(self, slopes=self.slopes * account)
