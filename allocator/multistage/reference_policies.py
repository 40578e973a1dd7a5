"""Policies that a tree's best one is compared with: idle until news, the root fixed, averages, perfect foresight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from allocator.multistage.mandate import MultistageMandate, without_ambiguity
from allocator.multistage.objectives import LinearUtility
from allocator.multistage.policy import Policy, nested_value, policy_from_trades, refuse_broken_policy
from allocator.multistage.solve import solve_policy
from allocator.optimization.single_period import Position
from allocator.optimization.solve import Limits
from allocator.rules import NoTrade
from allocator.types import Vector

QUIET = "silent"
"""The kind of a node at which there is still no news."""


def policy_after_first_trades(
    staged: MultistageMandate, start: Position, moves: Vector, limits: Limits | None = None, *, ruled: bool = True
) -> Policy:
    """The best policy whose first trades are `moves` (N,): every subtree below the root is solved on its own. Where
    they are not to be `ruled`, somebody else has looked at the rules of the root.

    The adverse expectation is nested, so that what is best below a node is best whatever led there; with its holdings
    fixed in one program the root would have no interior. Regret at the leaves knows no such subtrees, and is asked in
    one program all the same: it is linear but for its set.

    Raises:
        NotSolved: the first trades break a rule of the root, or a subtree has no verified policy.
        Infeasible: limits conflict below the root.
    """
    every = np.zeros_like(staged.tree.growth)
    every[0] = moves
    first = policy_from_trades(staged, start, every)
    if ruled:
        refuse_broken_policy(first, range(1))
    if staged.at_leaves:
        return _given(staged, start, first, limits)
    for child in staged.tree.children(0)[0]:
        unit = float(first.wealth_before[child])
        below = solve_policy(staged.below(int(child), unit), first.start_of(int(child)), limits)
        every[staged.tree.below(int(child))[0]] = (below.bought - below.sold) * unit
    return policy_from_trades(staged, start, every)


def _given(staged: MultistageMandate, start: Position, first: Policy, limits: Limits | None) -> Policy:
    """The best policy after the first trades of `first`: one program, whose root holds what they leave."""
    root = replace(staged.mandates[0], linear_rules=(_untouched(staged),), convex_rules=())
    after = Position(first.holdings[0], float(first.cash[0]))
    later = solve_policy(replace(staged, mandates=(root, *staged.mandates[1:])), after, limits)
    moves = later.bought - later.sold
    moves[0] = first.bought[0] - first.sold[0]
    return policy_from_trades(staged, start, moves)


def _untouched(staged: MultistageMandate) -> NoTrade:
    names = staged.tree.growth.shape[1]
    return NoTrade(tuple(map(str, range(names))), tuple(range(names)), "is held until there is news")


def buy_and_hold_policy(staged: MultistageMandate, start: Position, moves: Vector) -> Policy:
    """The policy that trades `moves` (N,) today and never again; as for one that commits now, today's rules are asked.

    Raises:
        NotSolved: the trades break a rule of the root.
    """
    every = np.zeros_like(staged.tree.growth)
    every[0] = moves
    policy = policy_from_trades(staged, start, every)
    refuse_broken_policy(policy, range(1))
    return policy


def wait_then_trade_policy(staged: MultistageMandate, start: Position, limits: Limits | None = None) -> Policy:
    """The best policy that holds today's holdings until the first news: nothing is traded at the root, nor at a silent
    node that only silence led to. Today's holdings must keep the rules of the root; where nothing may be traded later,
    no rule is asked.

    Raises:
        NotSolved: today's holdings break a rule, or a subtree has no verified policy.
        Infeasible: limits conflict after the news.
    """
    tree, quiet = staged.tree, {0}
    for node in range(1, tree.nodes):
        if tree.kinds[node] == QUIET and tree.parents[node] in quiet:
            quiet.add(node)
    names, still = tree.growth.shape[1], _untouched(staged)
    mandates = tuple(
        replace(mandate, linear_rules=(still,), convex_rules=()) if node in quiet - {0} else mandate
        for node, mandate in enumerate(staged.mandates)
    )
    return policy_after_first_trades(replace(staged, mandates=mandates), start, np.zeros(names), limits)


def mean_value_trades(staged: MultistageMandate, start: Position, limits: Limits | None = None) -> Vector:
    """(N,) the trades of the mean-value problem: buy today, hold to the horizon, every name bringing its mean.

    Raises:
        Infeasible: the root's limits conflict.
        NotSolved: there is no verified solution.
    """
    tree, (growth, cash) = staged.tree, staged.tree.since_now()
    reach, root = tree.reach()[1], staged.part([0], [0])
    averaged = replace(
        root,
        tree=replace(
            root.tree,
            leaf_parents=np.zeros(1, dtype=np.int64),
            leaf_scenarios=np.zeros(1, dtype=np.int64),
            leaf_probabilities=np.ones(1),
            leaf_growth=(reach @ (tree.leaf_growth * growth[tree.leaf_parents]))[None, :],
            leaf_cash_growth=np.array([reach @ (tree.leaf_cash_growth * cash[tree.leaf_parents])]),
        ),
        utility=root.utility.of_means(),
    )
    policy = solve_policy(without_ambiguity(averaged), start, limits)
    moves: Vector = policy.bought[0] - policy.sold[0]
    return moves


def perfect_foresight_loss(staged: MultistageMandate, start: Position, limits: Limits | None = None) -> float:
    """The expected loss under the beliefs of who knows path and scenario: one chain a leaf, the rules unchanged. Under
    a nested CVaR what the paths lose is nested as everybody's losses are.

    Raises:
        Infeasible: limits conflict along a path.
        NotSolved: a path has no verified policy.
    """
    reach, losses = staged.tree.reach()[1], np.zeros(staged.tree.leaves)
    for leaf in np.flatnonzero(reach > 0):
        losses[leaf] = path_loss(staged, int(leaf), start, limits)
    nothing_held = np.zeros_like(staged.tree.growth)  # what holding costs on the way is in the losses of the paths
    return float(nested_value(without_ambiguity(staged), losses, losses[:, None], nothing_held).losses[0])


def path_loss(staged: MultistageMandate, leaf: int, start: Position, limits: Limits | None) -> float:
    """The loss of the best policy on the path to one leaf."""
    path = [int(staged.tree.leaf_parents[leaf])]
    while path[0] > 0:
        path.insert(0, int(staged.tree.parents[path[0]]))
    chain = without_ambiguity(staged.part(path, [leaf]))
    certain = replace(chain.tree, probabilities=np.ones(len(path)), leaf_probabilities=np.ones(1))
    return solve_policy(replace(chain, tree=certain), start, limits).objective


def with_hindsight(staged: MultistageMandate, start: Position, limits: Limits | None = None) -> MultistageMandate:
    """The same question; regret in it is measured against the best policy over the same rules of who knew path and
    scenario from the start, trading at every review.

    Raises:
        Infeasible: limits conflict.
        NotSolved: no solver's answer passes the checks.
    """

    def best() -> Vector:
        plain = replace(staged, utility=LinearUtility())
        return np.array([-path_loss(plain, leaf, start, limits) for leaf in range(staged.tree.leaves)])

    return replace(staged, utility=staged.utility.with_hindsight(best))
