"""Policies that a tree's best one is compared with: idle until news, the root fixed, averages, perfect foresight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from allocator.ambiguity.balls import Singleton
from allocator.multistage.mandate import MultistageMandate, without_ambiguity
from allocator.multistage.objectives import ExAnteRegret, LinearUtility, MeanCVaR, Regret, corner_points
from allocator.multistage.policy import Policy, nested_cvar, policy_from_trades, refuse_broken_policy
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
        every[staged.tree.below(int(child))[1]] = (below.bought - below.sold) * unit
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
    reach = tree.reach()[1]
    root = replace(
        tree,
        names=tree.names[:1],
        kinds=tree.kinds[:1],
        dates=tree.dates[:1],
        parents=tree.parents[:1],
        probabilities=tree.probabilities[:1],
        beliefs=tree.beliefs[:1],
        growth=tree.growth[:1],
        cash_growth=tree.cash_growth[:1],
        leaf_parents=np.zeros(1, dtype=np.int64),
        leaf_scenarios=np.zeros(1, dtype=np.int64),
        leaf_probabilities=np.ones(1),
        leaf_growth=(reach @ (tree.leaf_growth * growth[tree.leaf_parents]))[None, :],
        leaf_cash_growth=np.array([reach @ (tree.leaf_cash_growth * cash[tree.leaf_parents])]),
    )
    averaged = replace(
        staged,
        tree=root,
        mandates=staged.mandates[:1],
        outlooks=staged.outlooks[:1],
        ambiguities=(Singleton(),),
        # what brings its mean has no tail
        utility=LinearUtility() if isinstance(staged.utility, MeanCVaR) else staged.utility,
    )
    policy = solve_policy(averaged, start, limits)
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
    if isinstance(staged.utility, MeanCVaR):
        return float(nested_cvar(without_ambiguity(staged), staged.utility, losses, losses[:, None]).losses[0])
    return float(reach @ losses)


def path_loss(staged: MultistageMandate, leaf: int, start: Position, limits: Limits | None) -> float:
    """The loss of the best policy on the path to one leaf."""
    tree = staged.tree
    path = [int(tree.leaf_parents[leaf])]
    while path[0] > 0:
        path.insert(0, int(tree.parents[path[0]]))
    at = np.array(path)
    chain = replace(
        tree,
        names=tuple(tree.names[i] for i in path),
        kinds=tuple(tree.kinds[i] for i in path),
        dates=tuple(tree.dates[i] for i in path),
        parents=np.arange(len(path)) - 1,
        probabilities=np.ones(len(path)),
        beliefs=tree.beliefs[at],
        growth=tree.growth[at],
        cash_growth=tree.cash_growth[at],
        leaf_parents=np.array([len(path) - 1]),
        leaf_scenarios=tree.leaf_scenarios[[leaf]],
        leaf_probabilities=np.ones(1),
        leaf_growth=tree.leaf_growth[[leaf]],
        leaf_cash_growth=tree.leaf_cash_growth[[leaf]],
    )
    known = replace(
        staged,
        tree=chain,
        mandates=tuple(staged.mandates[i] for i in path),
        outlooks=tuple(staged.outlooks[i] for i in path),
        ambiguities=(Singleton(),) * len(path),
        utility=staged.utility.of(np.array([leaf])) if isinstance(staged.utility, MeanCVaR) else staged.utility,
    )
    return solve_policy(known, start, limits).objective


# What regret is measured against: the most that the rules allow in each scenario, or under given probabilities.
#


def with_regret_benchmarks(
    staged: MultistageMandate, start: Position, limits: Limits | None = None
) -> MultistageMandate:
    """The same question, its regret measured against what is best over the same rules; others as they are.

    After the fact that is the best policy of who knew path and scenario from the start, trading at every review.

    Raises:
        Infeasible: limits conflict.
        NotSolved: no solver's answer passes the checks.
    """
    utility = staged.utility
    if isinstance(utility, Regret):
        plain = replace(staged, utility=LinearUtility(), risk_charge=0.0)
        hindsight = [-path_loss(plain, leaf, start, limits) for leaf in range(staged.tree.leaves)]
        return replace(staged, utility=Regret(np.array(hindsight)))
    if isinstance(utility, ExAnteRegret):
        p = staged.tree.child_probabilities(0)
        corners = corner_points(staged.ambiguities[0], p)
        best = np.array([highest_expected_return(staged, start, q, limits) for q in corners])
        return replace(staged, utility=ExAnteRegret(corners, best, highest_expected_return(staged, start, p, limits)))
    return staged


def highest_expected_return(
    staged: MultistageMandate, start: Position, q: Vector, limits: Limits | None = None
) -> float:
    """v(q): the highest expected return, after costs, over the rules of one decision, `q` (L,) being known."""
    known = replace(
        staged,
        tree=replace(staged.tree, leaf_probabilities=q),
        utility=LinearUtility(),
        ambiguities=(Singleton(),),
        risk_charge=0,
    )
    return solve_policy(known, start, limits).equivalent
