"""The policy that a plan with reviews begins: what to hold at each review, for what has been seen by then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, TypedDict

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.policy import Policy
from allocator.multistage.value_of_waiting import CautionScheduleRow, caution_schedule
from allocator.optimization.solve import Limits
from allocator.outlook.scenario_tree import Beliefs, Evidence, Parent, Prices
from allocator.presentation import ByName, IsoDate, Keywords, NotNegative
from allocator.types import Vector


class NodeRow(TypedDict):
    """A decision node as a plan's document says it."""

    node: str
    kind: Evidence
    date: IsoDate
    parent: Parent
    beliefs: Beliefs
    prices: Prices
    cash_growth: Annotated[NotNegative, "the same for cash"]
    account: Annotated[float, Keywords(exclusiveMinimum=0), "value before trades per unit of today's account"]
    before: Annotated[ByName, "holdings before trades, as fractions of the account there"]
    after: Annotated[ByName, "holdings after trades, as fractions of the account then"]


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

    def nodes_document(self, scenarios: Sequence[str]) -> list[NodeRow]:
        """Each decision node: (N,) by instrument, weights as fractions of the account there."""
        followed, tree = self.followed, self.mandate.tree
        growth, cash_growth = tree.since_now()

        def by_name(values: Vector) -> dict[str, float]:
            return {name: round(float(value), 8) for name, value in zip(self.book.instruments, values, strict=True)}

        return [
            {
                "node": tree.names[node],
                "kind": tree.kinds[node],
                "date": tree.dates[node].isoformat(),
                "parent": int(tree.parents[node]),
                "beliefs": dict(zip(scenarios, map(float, tree.beliefs[node]), strict=True)),
                "prices": by_name(growth[node]),
                "cash_growth": round(float(cash_growth[node]), 8),
                "account": round(float(followed.wealth_before[node]), 8),
                "before": by_name(followed.before[node] / followed.wealth_before[node]),
                "after": by_name(followed.holdings[node] / followed.wealth[node]),
            }
            for node in range(tree.nodes)
        ]
