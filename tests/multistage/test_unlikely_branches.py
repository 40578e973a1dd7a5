"""Trees with branches and scenarios that are all but impossible, against a program that shares nothing with ours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from allocator.ambiguity.divergences import Divergence
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.solve import solve_policy
from allocator.rules.rows import Position
from tests.agreement import OBJECTIVE, SHARP
from tests.random_trees import random_tree
from tests.thoroughness import some
from tests.unlikely import DECADES, DIVERGENCES, RADII, exact_adversary, exact_worst_case

_FINE = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
LINEAR = 2
"""Of the seeds of random trees, every third one from here on asks for wealth itself."""


def unlikely_tree(p: float, ambiguity: Divergence, seed: int) -> tuple[MultistageMandate, Position]:
    """A random tree in which the first branch of each decision, and the first scenario at its end, has probability
    `p`.
    """
    staged, start = random_tree(seed)
    tree = staged.tree
    branches, leaves = tree.probabilities.copy(), tree.leaf_probabilities.copy()
    for node in range(tree.nodes):
        below, ends = tree.children(node)
        for probabilities, at in ((branches, below), (leaves, ends)):
            if len(at):
                probabilities[at[0]] = p
                probabilities[at[1:]] *= (1 - p) / probabilities[at[1:]].sum()
    tree = replace(tree, probabilities=branches, leaf_probabilities=leaves)
    return replace(staged, tree=tree, ambiguities=(ambiguity,) * tree.nodes), start


def by_linear_programs(staged: MultistageMandate, start: Position, ambiguity: Divergence) -> float:
    """The least nested adverse loss of wealth, between a linear program with a row for every adversary met so far, and
    what its own trades are worth: h, b, s (D, N), c, θ (D,), caps of 60 %.
    """
    tree, rates = staged.tree, staged.mandates[0].cost_rates
    nodes, names = tree.growth.shape
    size = nodes * names
    of = {name: np.arange(size).reshape(nodes, names) + i * size for i, name in enumerate("hbs")}
    cash, theta = 3 * size + np.arange(nodes), 3 * size + nodes + np.arange(nodes)
    width = 3 * size + 2 * nodes
    equal, rights, above, limits = [], [], [], []
    for node in range(nodes):
        own, money, parent = np.zeros((names, width)), np.zeros(width), tree.parents[node]
        each = np.arange(names)
        own[each, of["h"][node]], own[each, of["b"][node]], own[each, of["s"][node]] = 1, -1, 1
        money[cash[node]], money[of["b"][node]], money[of["s"][node]] = 1, 1 + rates, rates - 1
        before, sold = np.zeros((names, width)), np.zeros((names, width))
        sold[each, of["s"][node]] = 1
        if parent >= 0:
            before[each, of["h"][parent]] = tree.growth[node]
            money[cash[parent]] = -tree.cash_growth[node]
        equal += [*(own - before), money]
        rights += [*(start.holdings if parent < 0 else np.zeros(names)), start.cash if parent < 0 else 0.0]
        above += [*(sold - before)]
        limits += [*(start.holdings if parent < 0 else np.zeros(names))]
        caps = np.zeros((names, width))
        caps[:, of["h"][node]], caps[:, cash[node]] = np.eye(names) - 0.6, -0.6
        above += [*caps]
        limits += [0.0] * names
    ends = np.zeros((tree.leaves, width))
    for leaf, parent in enumerate(tree.leaf_parents):
        ends[leaf, of["h"][parent]], ends[leaf, cash[parent]] = -tree.leaf_growth[leaf], -tree.leaf_cash_growth[leaf]
    ahead = np.vstack([np.eye(width)[theta], ends])  # losses of what may come, less 1 at leaves
    ones = np.append(np.zeros(nodes), np.ones(tree.leaves))
    bounds, cuts = [(0, None)] * (width - nodes) + [(-10, 10)] * nodes, list[np.ndarray]()
    for node in range(nodes):
        below, ends_here = tree.children(node)
        q = np.zeros(nodes + tree.leaves)
        q[[*below, *(nodes + ends_here)]] = tree.child_probabilities(node)
        cuts.append(q)
    owners = list(range(nodes))
    for _ in range(80):
        rows = [q @ ahead - np.eye(width)[theta[node]] for node, q in zip(owners, cuts, strict=True)]
        found = linprog(
            np.eye(width)[theta[0]], np.vstack([*above, *rows]), np.append(limits, [-(q @ ones) for q in cuts]),
            np.array(equal), np.array(rights), bounds, method="highs", options=_FINE,
        )  # fmt: skip
        assert found.status == 0, found.message
        losses = ahead @ found.x + ones
        for node in reversed(range(nodes)):  # what the trades are worth
            below, ends_here = tree.children(node)
            at, p = [*below, *(nodes + ends_here)], tree.child_probabilities(node)
            q = np.zeros(nodes + tree.leaves)
            q[at] = exact_adversary(losses[at], ambiguity, p)
            losses[node] = q @ losses
            cuts.append(q)
            owners.append(node)
        if losses[0] - found.fun <= SHARP:
            return float(found.fun)
    raise AssertionError(f"{losses[0] - found.fun:.1e} apart")


@pytest.mark.parametrize("class_", DIVERGENCES)
@pytest.mark.parametrize("p", some(DECADES, 3))
def test_a_tree_is_worth_what_linear_programs_make_of_it(class_: type[Divergence], p: float) -> None:
    for i, radius in enumerate(some(RADII, 5)):
        ambiguity = class_(radius)
        staged, start = unlikely_tree(p, ambiguity, LINEAR + 3 * i)

        assert solve_policy(staged, start).objective == pytest.approx(
            by_linear_programs(staged, start, ambiguity), abs=OBJECTIVE
        )


@pytest.mark.parametrize("class_", DIVERGENCES)
@pytest.mark.parametrize("p", some(DECADES, 3))
def test_every_utility_s_policy_is_worth_what_thirty_digits_make_of_it_node_by_node(
    class_: type[Divergence], p: float
) -> None:
    for seed, radius in enumerate(some(RADII, 5)):
        ambiguity = class_(radius)
        staged, start = unlikely_tree(p, ambiguity, seed)
        policy, tree = solve_policy(staged, start), staged.tree
        losses = np.append(np.zeros(tree.nodes), policy.valued.leaf_losses)
        for node in reversed(range(tree.nodes)):
            below, ends = tree.children(node)
            at = [*below, *(tree.nodes + ends)]
            losses[node] = exact_worst_case(losses[at], ambiguity, tree.child_probabilities(node))

        assert policy.objective == pytest.approx(losses[0], abs=1e-12)
        assert policy.gap <= OBJECTIVE
