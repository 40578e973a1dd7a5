"""The policy that a plan with reviews begins: what to hold at each review, for what has been seen by then."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.policy import Policy
from allocator.multistage.value_of_waiting import CautionScheduleRow, caution_schedule
from allocator.optimization.solve import Limits


@dataclass(frozen=True, eq=False)
class ReviewPolicy:
    """Today's decision and every later one, node by node.

    `best` is the policy with fractional trades; `with_lots` begins with the whole lots that were weighed,
    `holding` with today's holdings, and both re-optimise at every review; `holding` is None where nobody who
    holds today could keep the rules at a review. `followed` is the one of the two that the plan's orders begin.
    """

    book: Book
    mandate: MultistageMandate
    best: Policy
    with_lots: Policy
    holding: Policy | None
    followed: Policy

    @cached_property
    def caution_schedule(self) -> tuple[CautionScheduleRow, ...]:
        """How caution is released, node by node; each node is solved once more to price it, when first asked for."""
        solver = self.book.settings.solver
        limits = Limits(solver.tolerance, solver.time_limit_seconds)
        return caution_schedule(self.book, self.followed, limits)

    def weights_frame(self) -> pd.DataFrame:
        """Decision nodes down, in the order of the tree, by `node` and `date`; instruments and, last, cash across.

        Weights after the node's trades, as fractions of the account there: each row sums to 1.
        """
        tree, policy = self.mandate.tree, self.followed
        held = np.column_stack([policy.holdings, policy.cash])
        return pd.DataFrame(
            held / held.sum(axis=1, keepdims=True),
            index=pd.MultiIndex.from_arrays([tree.names, pd.to_datetime(list(tree.dates))], names=["node", "date"]),
            columns=pd.Index([*self.book.instruments, self.book.cash_instrument], name="instrument"),
        )
