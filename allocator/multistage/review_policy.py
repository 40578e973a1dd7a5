"""The policy that a plan with reviews begins: what to hold at each review, for what has been seen by then, and how the
cost of robustness falls on the way.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, NamedTuple, NotRequired, TypedDict

import numpy as np
import pandas as pd

from allocator.ambiguity.product import AxisShare, axis_shares, in_bps
from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import Book
from allocator.errors import Infeasible, NotSolved
from allocator.multistage.mandate import MultistageMandate, without_ambiguity
from allocator.multistage.policy import Policy, policy_from_trades
from allocator.multistage.solve import solve_policy
from allocator.optimization.solve import Limits
from allocator.outlook.outlook import believed_question
from allocator.outlook.posterior import belief_path
from allocator.outlook.scenario_tree import (
    Evidence,
    NodeEvidence,
    NodeHeading,
    ScenarioTree,
    build_review_tree,
    node_headings,
)
from allocator.presentation import ByName, Keywords, NotNegative, Probability, Rounded
from allocator.rules.builder import bucket_shares
from allocator.types import Vector

# How the cost of robustness falls: at each node, what is believed, the radius, and what robustness costs.
#
_SHOWN = 0.0005
"""Of the account: smaller trades are no news."""


@dataclass(frozen=True)
class CautionScheduleRow:
    """One node: the probability of coming there, P of each hypothesis, the radius, and what is decided.

    `cost_of_robustness_bps` is how much higher the certainty equivalent of the policy that trusts the belief is under
    it, from there on; None where that policy was not found.
    """

    node: str
    kind: Evidence
    about: Annotated[
        str, "what was claimed, where it may be one of several hypotheses; after which news nothing more is learnt"
    ]
    date: dt.date
    probability: Annotated[Probability, Rounded(8), "of coming here at all"]
    hypotheses: Annotated[
        dict[str, Annotated[Probability, Rounded(8)]] | None, "probability of each there; null without a question"
    ]
    settled: Annotated[bool, "whether one answer is as probable as the threshold"]
    radius: Annotated[
        NotNegative | None,
        Rounded(8),
        "how far the probabilities of this node may be wrong, in the measure of the set; 0 where it has none, null "
        "where the one adverse expectation is today's",
    ]
    cost_of_robustness_bps: Annotated[
        NotNegative | None,
        Rounded(2),
        "what guarding costs from here on if the belief is right, in bps of certainty equivalent of the account here",
    ]
    regime_radius: Annotated[
        dict[str, Annotated[NotNegative, Rounded(8)]] | None,
        "where the set is of axes: how far the probabilities of regimes may be wrong, given each answer; radius is of "
        "the answers then",
    ]
    axes: Annotated[
        dict[str, AxisShare] | None,
        "where the set is of axes: what adverse probabilities of the answer and of the regime take of the certainty "
        "equivalent of the account here, and what guarding against them costs: together cost_of_robustness_bps",
    ]
    shares: Annotated[
        dict[str, Annotated[float, Rounded(6)]],
        "of the two headline buckets and of cash, after trades, as fractions of the account; a name may count in both",
    ]
    trades: Annotated[
        dict[str, Annotated[float, Rounded(6)]],
        "by instrument, positive to buy, as fractions of the account here, largest first; below 0.05 % left out",
    ]


def caution_schedule(book: Book, policy: Policy, limits: Limits | None = None) -> tuple[CautionScheduleRow, ...]:
    """Every decision node of a policy, in the order of the tree."""
    states = build_review_tree(book, policy.staged.outlooks[0]).states
    return tuple(_schedule_row(book, policy, node, state, limits) for node, state in enumerate(states))


def _schedule_row(
    book: Book, policy: Policy, node: int, state: NodeEvidence, limits: Limits | None
) -> CautionScheduleRow:
    staged, tree, question, wealth = policy.staged, policy.staged.tree, believed_question(book), policy.wealth[node]
    moved = (policy.bought[node] - policy.sold[node]) / policy.wealth_before[node]
    order = [i for i in np.argsort(-np.abs(moved), kind="stable") if abs(moved[i]) > _SHOWN]
    parts, whole = robustness_by_axis(policy, node, limits), staged.ambiguities[node].of_scenarios
    price = parts.cost
    headline = book.settings.buckets.shown
    return CautionScheduleRow(
        node=tree.names[node],
        kind=tree.kinds[node],
        about=state.about,
        date=tree.dates[node],
        probability=float(tree.reach()[0][node]),
        hypotheses=None if question is None else question.answers_by_name(tree.beliefs[node]),
        # as everywhere: in at the threshold, out below the release, along the way that led here
        settled=question is not None and belief_path(question, state.signals, state.told).settled is not None,
        radius=None if node and staged.at_leaves else staged.ambiguities[node].reach,
        cost_of_robustness_bps=None if price is None else price * 1e4,
        regime_radius=whole.regime_reach(book.settings.hypotheses),
        axes=parts.axes,
        shares={name: float(bucket_shares(book, name) @ policy.holdings[node] / wealth) for name in headline}
        | {"cash": float(policy.cash[node] / wealth)},
        trades={book.instruments[i]: float(moved[i]) for i in order},
    )


class RobustnessByAxis(NamedTuple):
    """What robustness costs from a node on if the belief is right, as a part of the account there, None where it is not
    found; and what is about the answer and about the regime, None where the set has no axes.
    """

    cost: float | None
    axes: dict[str, AxisShare] | None = None


def robustness_by_axis(
    policy: Policy, node: int, limits: Limits | None = None, trusting: Policy | None = None
) -> RobustnessByAxis:
    """The cost is the certainty equivalent under the belief of the policy that trusts it, `trusting` where it is known,
    less that of ours (science §3.8). None where that policy was not found: a verified plan is not lost for want of a
    figure beside it.
    """
    unit = float(policy.wealth_before[node])
    below = policy.staged.below(node, unit)
    start, at, trusted = policy.start_of(node), policy.staged.tree.below(node)[0], without_ambiguity(below)
    sets, axes = below.ambiguities, below.ambiguities[0].axes
    if all(one.is_singleton for one in sets):
        return RobustnessByAxis(0.0, in_bps((0.0, 0.0), (0.0, 0.0)) if axes else None)
    moves = (policy.bought - policy.sold)[at] / unit
    ours = policy_from_trades(trusted, start, moves)

    def adverse(others: tuple[Ambiguity, ...]) -> float:
        return -below.utility.equivalent(float(ours.under(others).losses[0]))

    def if_right(others: tuple[Ambiguity, ...]) -> float:
        guarded = solve_policy(replace(below, ambiguities=others), start, limits)
        return -policy_from_trades(trusted, start, guarded.bought - guarded.sold).equivalent

    taken = axis_shares(sets, adverse, -ours.equivalent, adverse(sets)) if axes else None
    try:
        best = trusting or solve_policy(trusted, start, limits)
        cost = max(best.equivalent - ours.equivalent, 0.0)
        spent = axis_shares(sets, if_right, -best.equivalent, cost - best.equivalent) if axes else None
    except (Infeasible, NotSolved):
        return RobustnessByAxis(None, None if taken is None else in_bps(taken, None))
    return RobustnessByAxis(cost, None if taken is None else in_bps(taken, spent))


# Today's decision and every later one.
#


class FlowOfNode(TypedDict):
    """What comes or goes there."""

    cash_flow: NotRequired[Annotated[float, "comes before trades, or goes below 0, per unit of today's account"]]


def flow_of_node(tree: ScenarioTree, node: int) -> FlowOfNode:
    """What comes or goes at a node; absent where nothing does."""
    return {"cash_flow": float(tree.cash_flows[node])} if tree.cash_flows[node] else {}


class NodeRow(NodeHeading, FlowOfNode):
    """A decision node as a plan's document says it."""

    cash_growth: Annotated[NotNegative, "value of cash per unit of today's"]
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
        return caution_schedule(self.book, self.followed, Limits.of(self.book))

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

    def nodes_document(self) -> list[NodeRow]:
        """Each decision node: (N,) by instrument, weights as fractions of the account there."""
        followed, tree = self.followed, self.mandate.tree
        _, cash_growth = tree.since_now()

        def by_name(values: Vector) -> dict[str, float]:
            return {name: round(float(value), 8) for name, value in zip(self.book.instruments, values, strict=True)}

        return [
            {
                **heading,
                "cash_growth": round(float(cash_growth[node]), 8),
                "account": round(float(followed.wealth_before[node]), 8),
                "before": by_name(followed.before[node] / followed.wealth_before[node]),
                "after": by_name(followed.holdings[node] / followed.wealth[node]),
                **flow_of_node(tree, node),
            }
            for node, heading in enumerate(node_headings(self.book, tree))
        ]
