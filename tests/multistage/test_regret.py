"""Regret at the leaves of a tree: against linear programs that know nothing of our forms, and what it cannot claim."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from allocator.ambiguity.balls import AnyProbabilities, Box, Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.polyhedral import ExpertHull, Pushforward
from allocator.ambiguity.sets import Ambiguity
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.policy import Policy, refuse_broken_policy
from allocator.multistage.risk_adjustment import Regret
from allocator.multistage.solve import policy_after_first_trades, solve_policy, with_hindsight
from allocator.rules.rows import Position
from tests.agreement import OBJECTIVE
from tests.random_trees import random_tree
from tests.thoroughness import some
from tests.trees import CASH_ONLY, worked

SETS: tuple[Ambiguity, ...] = (Singleton(), TotalVariation(0.2), Box(0.1), AnyProbabilities())
CAP = 0.6


def regretful(seed: int, ambiguity: Ambiguity) -> tuple[MultistageMandate, Position]:
    """A random tree, its set today and something else at every later node, where it must not matter."""
    staged, start = random_tree(seed)
    others = (TotalVariation(0.9),) * (staged.tree.nodes - 1)
    return replace(staged, utility=Regret(), ambiguities=(ambiguity, *others)), start


def hindsight(staged: MultistageMandate, start: Position, leaf: int) -> float:
    """Return of the best path to a leaf: a linear program over holdings, purchases, sales and cash of its nodes."""
    tree, path = staged.tree, [int(staged.tree.leaf_parents[leaf])]
    while path[0] > 0:
        path.insert(0, int(tree.parents[path[0]]))
    names, steps = tree.growth.shape[1], len(path)
    rates, width = staged.mandates[0].cost_rates, 3 * tree.growth.shape[1] + 1
    rows, limits, caps = [], [], []
    for step, node in enumerate(path):
        own, eye = step * width, np.eye(names)
        block = np.zeros((names + 1, steps * width))
        block[:names, own : own + names] = eye  # h − b + s = before
        block[:names, own + names : own + 2 * names] = -eye
        block[:names, own + 2 * names : own + 3 * names] = eye
        block[names, own + 3 * names] = 1  # c + (1 + k)b − (1 − k)s = cash before
        block[names, own + names : own + 2 * names] = 1 + rates
        block[names, own + 2 * names : own + 3 * names] = rates - 1
        if step:
            block[:names, own - width : own - width + names] = -np.diag(tree.growth[node])
            block[names, own - 1] = -tree.cash_growth[node]
        rows.append(block)
        limits.append(np.append(start.holdings, start.cash) if step == 0 else np.zeros(names + 1))
        cap = np.zeros((names, steps * width))
        cap[:, own : own + names] = eye - CAP
        cap[:, own + 3 * names] = -CAP
        caps.append(cap)
    cost = np.zeros(steps * width)
    cost[-width : -width + names], cost[-1] = -tree.leaf_growth[leaf], -tree.leaf_cash_growth[leaf]
    found = linprog(
        cost,
        A_ub=np.vstack(caps),
        b_ub=np.zeros(names * steps),
        A_eq=np.vstack(rows),
        b_eq=np.concatenate(limits),
        method="highs",
    )
    assert found.success
    return -float(found.fun) - 1


def adversary(losses: np.ndarray, p: np.ndarray, ambiguity: Ambiguity) -> float:
    """max q'losses over the set around the leaves' unconditional probabilities: a linear program."""
    count, most = len(p), {Singleton: 0.0, TotalVariation: 1.0, AnyProbabilities: 1.0}.get(type(ambiguity), 0.1)
    shift = np.hstack([np.eye(count), -np.eye(count), np.eye(count)])
    total = np.concatenate([np.ones(count), np.zeros(2 * count)])
    moved = np.concatenate([np.zeros(count), np.ones(count), np.zeros(count)])
    found = linprog(
        np.concatenate([-losses, np.zeros(2 * count)]),
        A_ub=moved[None, :] if isinstance(ambiguity, TotalVariation) else None,
        b_ub=[ambiguity.radius] if isinstance(ambiguity, TotalVariation) else None,
        A_eq=np.vstack([shift, total]),
        b_eq=np.append(p, 1.0),
        bounds=[(0, 1)] * count + [(0, most)] * (2 * count),
        method="highs",
    )
    assert found.success
    return -float(found.fun)


def final_returns(policy: Policy) -> np.ndarray:
    tree = policy.staged.tree
    held, cash = policy.holdings[tree.leaf_parents], policy.cash[tree.leaf_parents]
    result: np.ndarray = (tree.leaf_growth * held).sum(axis=1) + tree.leaf_cash_growth * cash - 1
    return result


@pytest.mark.parametrize("ambiguity", SETS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("seed", some(range(3), 3))
def test_regret_is_against_who_knew_path_and_scenario_and_its_worst_case_is_one_over_all_leaves(
    ambiguity: Ambiguity, seed: int
) -> None:
    asked, start = regretful(seed, ambiguity)
    policy = solve_policy(with_hindsight(asked, start), start)
    tree = asked.tree
    best = np.array([hindsight(asked, start, leaf) for leaf in range(tree.leaves)])
    regrets = best - final_returns(policy)

    assert policy.staged.at_leaves
    assert policy.valued.leaf_losses == pytest.approx(regrets, abs=OBJECTIVE)
    assert regrets.min() >= -OBJECTIVE
    assert policy.objective == pytest.approx(adversary(regrets, tree.reach()[1], ambiguity), abs=OBJECTIVE)
    assert policy.objective == pytest.approx(policy.claimed, abs=OBJECTIVE)
    refuse_broken_policy(policy, range(tree.nodes))


@pytest.mark.parametrize("ambiguity", [*SETS, KullbackLeibler(0.1)], ids=lambda one: type(one).__name__)
def test_no_other_policy_regrets_less(ambiguity: Ambiguity) -> None:
    """Mixtures with the policies of other sets keep the caps, and cost no more."""
    asked, start = regretful(1, ambiguity)
    known = with_hindsight(asked, start)
    best = solve_policy(known, start)
    for other in (Singleton(), AnyProbabilities(), TotalVariation(0.5)):
        sets = (other, *known.ambiguities[1:])
        they = solve_policy(replace(known, ambiguities=sets), start)
        for part in (0.05, 0.5, 1.0):
            holdings = (1 - part) * best.holdings + part * they.holdings
            mixed = replace(best, holdings=holdings, cash=(1 - part) * best.cash + part * they.cash)
            assert mixed.under(known.ambiguities).losses[0] >= best.objective - 1e-8


def test_the_radius_is_today_s_and_a_set_of_a_later_node_does_not_matter() -> None:
    asked, start = regretful(2, TotalVariation(0.2))
    other = replace(asked, ambiguities=(asked.ambiguities[0], *(Singleton(),) * (asked.tree.nodes - 1)))
    wider = replace(asked, ambiguities=(TotalVariation(0.4), *asked.ambiguities[1:]))
    values = [solve_policy(with_hindsight(one, start), start).objective for one in (asked, other, wider)]

    assert values[0] == pytest.approx(values[1], abs=OBJECTIVE)
    assert values[2] > values[0] + 1e-4


def test_a_set_that_speaks_of_scenarios_is_seen_through_all_news_at_once() -> None:
    """A hull: the worst of the belief and the experts, who agree on what news a scenario would bring."""
    staged = worked(radius=0.0)
    tree, belief = staged.tree, staged.tree.beliefs[0]
    experts = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1]])
    asked = replace(staged, utility=Regret(), ambiguities=(ExpertHull(experts), *staged.ambiguities[1:]))
    policy = solve_policy(with_hindsight(asked, CASH_ONLY), CASH_ONLY)
    (one,) = policy.staged.branchings
    assert isinstance(one.ambiguity, Pushforward)
    reach, kinds = tree.reach()[1], tree.leaf_scenarios
    worst = max(
        float((reach * expert[kinds] / belief[kinds]) @ policy.valued.leaf_losses) for expert in (belief, *experts)
    )

    assert np.bincount(kinds, reach) == pytest.approx(belief, abs=1e-12)
    assert policy.objective == pytest.approx(worst, abs=OBJECTIVE)


def test_the_best_policy_after_given_first_trades_is_one_program() -> None:
    """Its subtrees solved on their own would each guard against their own worst leaf, and miss the best."""
    asked, start = regretful(1, TotalVariation(0.2))
    known = with_hindsight(asked, start)
    best = solve_policy(known, start)
    again = policy_after_first_trades(known, start, best.bought[0] - best.sold[0])
    held = policy_after_first_trades(known, start, 0 * start.holdings, ruled=False)

    assert again.objective == pytest.approx(best.objective, abs=OBJECTIVE)
    assert held.objective > best.objective + 1e-5
    assert held.holdings[0] == pytest.approx(start.holdings, abs=1e-12)


def test_solved_again_at_a_review_it_decides_otherwise_which_is_why_nothing_is_announced() -> None:
    staged = worked()
    asked = replace(staged, utility=Regret(), ambiguities=(TotalVariation(0.25),) * staged.tree.nodes)
    policy = solve_policy(with_hindsight(asked, CASH_ONLY), CASH_ONLY)
    apart = []
    for node in policy.staged.tree.children(0)[0]:
        unit = float(policy.wealth_before[node])
        again = solve_policy(policy.staged.below(int(node), unit), policy.start_of(int(node)))
        apart.append(np.abs(again.holdings[0] * unit - policy.holdings[node]).sum())

    assert max(apart) > 0.05


def test_hindsight_is_of_today_s_account_at_every_node() -> None:
    """Below a node regret is what it was, in the account of the node."""
    asked, start = regretful(2, Singleton())
    policy = solve_policy(with_hindsight(asked, start), start)
    for node in policy.staged.tree.children(0)[0]:
        unit = float(policy.wealth_before[node])
        below = policy.staged.below(int(node), unit)
        again = solve_policy(below, policy.start_of(int(node)))
        kept = replace(again.staged, ambiguities=(Singleton(),) * below.tree.nodes)
        assert solve_policy(kept, again.start).objective * unit == pytest.approx(
            policy.valued.losses[node], abs=OBJECTIVE
        )
