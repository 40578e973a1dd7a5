"""How the plan lets go of its caution: at each node, what is believed, how far we guard and what that costs."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np

from allocator.ambiguity.sets import Known
from allocator.book.book import Book
from allocator.errors import Infeasible, NotSolved
from allocator.mandate.staged import trusting
from allocator.optimization.solve import Limits
from allocator.outlook.calibration import question_of
from allocator.outlook.posterior import generalizable, past_of
from allocator.outlook.question import Question
from allocator.outlook.scenario_tree import State, reviews_of
from allocator.program.decisions import policy_of
from allocator.program.policy import Policy, follow
from allocator.rules.builder import bucket_shares

HEADLINE = ("efficiency", "capital_intensity")
"""The buckets that the question divides."""
_SHOWN = 0.0005
"""Of the account: smaller trades are no news."""


@dataclass(frozen=True)
class Move:
    """A trade at a node as a part of the account there, positive to buy."""

    instrument: str
    part: float


@dataclass(frozen=True)
class Release:
    """One node: the probability of coming there, P(generalizable), the radius, and what is decided.

    `caution_bps` is the price of caution from there on: how much more sure return the policy that trusts the belief
    would have under it, in bps of the account at the node; None where that policy was not found. `shares` by bucket are
    of the account after trades. `moves` are the trades there, largest first. `radius` is None where the one worst
    case is today's.
    """

    name: str
    kind: str
    date: dt.date
    probability: float
    generalizable: float | None
    settled: bool
    radius: float | None
    caution_bps: float | None
    shares: dict[str, float]
    cash: float
    moves: tuple[Move, ...]


def released(book: Book, policy: Policy, limits: Limits | None = None) -> tuple[Release, ...]:
    """Every decision node of a policy, in the order of the tree."""
    staged = policy.staged
    tree, question = staged.tree, question_of(book)
    reached, _ = tree.reach()
    states, found = reviews_of(book, staged.outlooks[0]).states, []
    for node in range(tree.nodes):
        moved = (policy.bought[node] - policy.sold[node]) / policy.wealth_before[node]
        order = [i for i in np.argsort(-np.abs(moved), kind="stable") if abs(moved[i]) > _SHOWN]
        shares = {
            name: float(bucket_shares(book, name) @ policy.holdings[node] / policy.wealth[node]) for name in HEADLINE
        }
        price = price_of_caution(policy, node, limits)
        p = None if question is None else float(generalizable(question, tree.beliefs[node][None, :])[0])
        found.append(
            Release(
                name=tree.names[node],
                kind=tree.kinds[node],
                date=tree.dates[node],
                probability=float(reached[node]),
                generalizable=p,
                settled=question is not None and _settled(question, states[node]),
                radius=None if node and staged.at_leaves else float(getattr(staged.ambiguities[node], "radius", 0.0)),
                caution_bps=None if price is None else price * 1e4,
                shares=shares,
                cash=float(policy.cash[node] / policy.wealth[node]),
                moves=tuple(Move(book.instruments[i], float(moved[i])) for i in order),
            )
        )
    return tuple(found)


def _settled(question: Question, state: State) -> bool:
    """As everywhere: in at the threshold, out below the release, along the way that led here."""
    return past_of(question, state.signals, state.told).settled is not None


def price_of_caution(policy: Policy, node: int, limits: Limits | None = None) -> float | None:
    """What guarding costs from `node` on if the belief is right: sure return under it, of the policy that trusts it,
    less that of ours (price of robustness, science §3.8). As a part of the account at the node; None where that policy
    was not found: a verified plan is not lost for want of a figure beside it.
    """
    unit = float(policy.wealth_before[node])
    below = policy.staged.below(node, unit)
    if all(isinstance(ambiguity, Known) for ambiguity in below.ambiguities):
        return 0.0
    start, at, trusted = policy.start_of(node), policy.staged.tree.below(node)[1], trusting(below)
    ours = follow(trusted, start, (policy.bought - policy.sold)[at] / unit)
    try:
        best = policy_of(trusted, start, limits)
    except (Infeasible, NotSolved):
        return None
    return max(best.equivalent - ours.equivalent, 0.0)
