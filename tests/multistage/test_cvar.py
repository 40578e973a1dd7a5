"""Nested CVaR on a tree: against a backward recursion by linear programs, and at the ends of what it can be."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from allocator.ambiguity.balls import AnyProbabilities, Box, Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import Ambiguity
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.objectives import LinearUtility
from allocator.multistage.policy import Policy
from allocator.multistage.risk_adjustment import MeanCVaR
from allocator.multistage.solve import solve_policy
from allocator.rules.rows import Position
from tests.agreement import OBJECTIVE
from tests.random_trees import random_tree
from tests.thoroughness import count, some
from tests.trees import CASH_ONLY, COSTS, worked

SETS: tuple[Ambiguity, ...] = (Singleton(), TotalVariation(0.2), Box(0.15), AnyProbabilities())


def nested(
    seed: int, ambiguity: Ambiguity, *, level: float = 0.8, weight: float = 0.6, draws: int = 1
) -> tuple[MultistageMandate, Position]:
    """A random tree under one set at every node; leaves vary around what they bring."""
    staged, start = random_tree(seed)
    tree, draw = staged.tree, np.random.default_rng(seed)
    spread = draw.normal(0, 0.1, (draws, tree.growth.shape[1])) if draws > 1 else np.zeros((1, tree.growth.shape[1]))
    growth = np.maximum(tree.leaf_growth[:, None, :] * (1 + spread), 0.0)
    objective = MeanCVaR(level, weight, growth, tree.leaf_cash_growth)
    return replace(staged, utility=objective, ambiguities=(ambiguity,) * tree.nodes), start


def jointly(objective: MeanCVaR, plain: np.ndarray, drawn: np.ndarray, ambiguity: Ambiguity, p: np.ndarray) -> float:
    """max over q in the set and tail weights z_ms ≤ q_m / (S (1 − level)), Σz = 1: one linear program."""
    count, draws = drawn.shape
    tail, moved = count * draws, 2 * count  # q, z, and what is added to and taken from each probability
    cost = -np.concatenate([(1 - objective.weight) * plain, objective.weight * drawn.ravel(), np.zeros(moved)])
    room = np.hstack(
        [
            -np.repeat(np.eye(count), draws, axis=0) / (draws * (1 - objective.level)),
            np.eye(tail),
            np.zeros((tail, moved)),
        ]
    )
    sums = np.zeros((2, count + tail + moved))
    sums[0, :count], sums[1, count : count + tail] = 1, 1
    shift = np.hstack([np.eye(count), np.zeros((count, tail)), -np.eye(count), np.eye(count)])
    most = np.full(moved, 0.0)
    rows, limits = room, np.zeros(tail)
    if isinstance(ambiguity, TotalVariation):
        most = np.full(moved, 1.0)
        each = np.concatenate([np.zeros(count + tail), np.ones(count), np.zeros(count)])
        rows, limits = np.vstack([room, each]), np.append(limits, ambiguity.radius)
    if isinstance(ambiguity, Box):
        most = np.full(moved, ambiguity.radius)
    if isinstance(ambiguity, AnyProbabilities):
        most = np.full(moved, 1.0)
    found = linprog(
        cost,
        A_ub=rows,
        b_ub=limits,
        A_eq=np.vstack([sums, shift]),
        b_eq=np.concatenate([[1, 1], p]),
        bounds=[(0, 1)] * count + [(0, None)] * tail + [(0, bound) for bound in most],
        method="highs",
    )
    assert found.success
    return -float(found.fun)


def by_programs(policy: Policy) -> np.ndarray:
    """(D,) values of a policy, node by node, by linear programs over probabilities and tails at once."""
    staged, tree = policy.staged, policy.staged.tree
    objective, values = staged.utility, np.zeros(staged.tree.nodes)
    assert isinstance(objective, MeanCVaR)
    held, cash = policy.holdings[tree.leaf_parents], policy.cash[tree.leaf_parents]
    plain = 1 - (tree.leaf_growth * held).sum(axis=1) - tree.leaf_cash_growth * cash
    drawn = 1 - (objective.growth * held[:, None, :]).sum(axis=2) - (objective.cash_growth * cash)[:, None]
    for node in reversed(range(tree.nodes)):
        below, ends = tree.children(node)
        p, ambiguity = tree.child_probabilities(node), staged.ambiguities[node]
        assert isinstance(ambiguity, Singleton | TotalVariation | Box | AnyProbabilities)
        if len(ends):
            values[node] = jointly(objective, plain[ends], drawn[ends], ambiguity, p)
        else:
            values[node] = jointly(objective, values[below], values[below][:, None], ambiguity, p)
    return values


@pytest.mark.parametrize("ambiguity", SETS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("draws", [1, 40])
def test_every_node_s_value_is_the_joint_maximum_over_probabilities_and_tail_weights(
    ambiguity: Ambiguity, draws: int
) -> None:
    for seed in range(count(3, 3)):
        policy = solve_policy(*nested(seed, ambiguity, draws=draws))

        assert policy.valued.losses == pytest.approx(by_programs(policy), abs=OBJECTIVE)
        assert policy.objective == pytest.approx(policy.claimed, abs=OBJECTIVE)


@pytest.mark.parametrize("ambiguity", some([*SETS[:2], KullbackLeibler(0.1)], 2), ids=lambda one: type(one).__name__)
def test_no_other_policy_has_less_nested_cvar(ambiguity: Ambiguity) -> None:
    """Mixtures with the best policies of other levels, weights and beliefs keep the caps, and cost no more."""
    staged, start = nested(1, ambiguity, draws=40)
    best = solve_policy(staged, start)
    assert isinstance(staged.utility, MeanCVaR)
    for utility in (
        LinearUtility(),
        replace(staged.utility, level=0.3),
        replace(staged.utility, weight=1.0),
        replace(staged.utility, weight=0.1),
    ):
        other = solve_policy(replace(staged, utility=utility), start)
        for part in (0.05, 0.5, 1.0):
            holdings = (1 - part) * best.holdings + part * other.holdings
            cash = (1 - part) * best.cash + part * other.cash
            mixed = replace(best, holdings=holdings, cash=cash).under(staged.ambiguities)
            assert mixed.losses[0] >= best.objective - OBJECTIVE


@pytest.mark.parametrize(("level", "weight"), [(1e-12, 1.0), (0.8, 0.0)], ids=["tail of everything", "no tail"])
@pytest.mark.parametrize("ambiguity", SETS, ids=lambda one: type(one).__name__)
def test_a_tail_that_is_everything_or_counts_nothing_is_the_expected_wealth(
    ambiguity: Ambiguity, level: float, weight: float
) -> None:
    staged, start = nested(2, ambiguity, level=level, weight=weight)

    assert solve_policy(staged, start).objective == pytest.approx(
        solve_policy(replace(staged, utility=LinearUtility()), start).objective, abs=OBJECTIVE
    )


def test_the_widest_set_and_the_farthest_tail_are_the_worst_leaf() -> None:
    widest = solve_policy(*nested(0, TotalVariation(1.0)))
    farthest = solve_policy(*nested(0, Singleton(), level=0.999, weight=1.0))
    assert isinstance(widest.staged.utility, MeanCVaR)

    for policy in (widest, farthest):
        held, cash = policy.holdings, policy.cash
        tree = policy.staged.tree
        ends = (tree.leaf_growth * held[tree.leaf_parents]).sum(axis=1) + tree.leaf_cash_growth * cash[
            tree.leaf_parents
        ]
        assert policy.objective == pytest.approx(float((1 - ends).max()), abs=1e-9)
    assert widest.objective == pytest.approx(farthest.objective, abs=OBJECTIVE)


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_nested_cvar_is_another_number_than_the_cvar_of_the_end(seed: int) -> None:
    """A bad branch of a bad branch counts at both: hence its own name."""
    staged, start = nested(seed, Singleton(), level=0.5, weight=1.0)
    policy = solve_policy(staged, start)
    tree = staged.tree
    held, cash = policy.holdings[tree.leaf_parents], policy.cash[tree.leaf_parents]
    losses = 1 - (tree.leaf_growth * held).sum(axis=1) - tree.leaf_cash_growth * cash
    order = np.argsort(-losses)
    taken = np.minimum(np.cumsum(tree.reach()[1][order] / 0.5), 1.0)
    at_the_end = float(np.diff(taken, prepend=0.0) @ losses[order])

    assert abs(policy.objective - at_the_end) > 1e-4


@pytest.mark.parametrize(("weight", "ambiguity"), some(product([0.5, 1.0], [*SETS, KullbackLeibler(0.1)]), 2))
def test_a_re_solve_at_any_node_repeats_what_nested_cvar_planned_there(weight: float, ambiguity: Ambiguity) -> None:
    """Where only tails count too, and most nodes lie outside of them."""
    staged, start = nested(4, ambiguity, level=0.7, weight=weight, draws=20)
    policy = solve_policy(staged, start)

    for node in range(1, staged.tree.nodes):
        unit = float(policy.wealth_before[node])
        again = solve_policy(staged.below(node, unit), policy.start_of(node))
        assert 1 - unit + unit * again.objective == pytest.approx(policy.valued.losses[node], abs=OBJECTIVE)


def test_who_holds_ten_times_as_much_decides_the_same_under_nested_cvar() -> None:
    staged, start = nested(5, TotalVariation(0.1), draws=20)
    policy = solve_policy(staged, start)

    for unit in (1.0, 10.0):
        again = solve_policy(staged.below(1, unit), policy.start_of(1))
        assert again.holdings[0] == pytest.approx(policy.holdings[1] / policy.wealth_before[1], abs=1e-4)


def test_nested_cvar_on_the_worked_tree_keeps_costs_and_caps() -> None:
    staged = worked(radius=0.5, costs=COSTS)
    tree = staged.tree
    objective = MeanCVaR(0.9, 0.5, tree.leaf_growth[:, None, :], tree.leaf_cash_growth)
    cautious = solve_policy(replace(staged, utility=objective), CASH_ONLY)
    bold = solve_policy(replace(staged, utility=LinearUtility()), CASH_ONLY)

    assert cautious.valued.leaf_losses.max() > cautious.objective  # what the tail makes of the worst leaf
    ends = [
        (tree.leaf_growth * one.holdings[tree.leaf_parents]).sum(axis=1)
        + tree.leaf_cash_growth * one.cash[tree.leaf_parents]
        for one in (cautious, bold)
    ]
    assert ends[0].min() > ends[1].min() + 0.05
