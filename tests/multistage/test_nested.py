"""The tree against code that shares nothing with it, and against itself solved again at every node."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import minimize

from allocator.ambiguity.balls import Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import Ambiguity
from allocator.multistage.mandate import MultistageMandate, without_ambiguity
from allocator.multistage.policy import Policy
from allocator.multistage.program import tree_program
from allocator.multistage.solve import solve_policy
from allocator.rules.rows import Position
from tests.agreement import KEPT, OBJECTIVE
from tests.thoroughness import some
from tests.trees import CASH_ONLY, COSTS, FREE, box, kl, tv, worked

SETS = pytest.mark.parametrize("set_of", [tv, kl, box])
Radius = Callable[[float], Ambiguity]


def one_period(p: np.ndarray, growth: np.ndarray, ahead: np.ndarray, ambiguity: Ambiguity) -> tuple[float, np.ndarray]:
    """min over weights (cash last, names to 60 %) of the worst case of −ln(growth·w) + ahead, by scipy."""
    children, names = growth.shape
    budget = {"type": "eq", "fun": lambda z: z[:names].sum() - 1}
    bounds = [(0, 0.6)] * (names - 1) + [(0, 1)]
    first = np.full(names, 1 / names)

    def losses(z: np.ndarray) -> np.ndarray:
        return np.asarray(ahead - np.log(growth @ z[:names]))

    if isinstance(ambiguity, KullbackLeibler):  # λ·ρ + λ·ln Σ p e^(loss/λ), whatever λ = e^l

        def tilted(z: np.ndarray) -> float:
            size, loss = np.exp(z[-1]), losses(z)
            return float(size * (ambiguity.radius + np.log(p @ np.exp((loss - loss.max()) / size))) + loss.max())

        bounds = [*bounds, (-14, 8)]
        best = None
        level = one_period(p, growth, ahead, TotalVariation(1.0))[1]  # the other end: λ → 0, where losses tie
        for start in (
            np.append(w, size) for w in (first, level) for size in (-14.0, -10.0, -6.0, -3.0, -1.5, 0.0, 1.0)
        ):
            found = minimize(tilted, start, bounds=bounds, constraints=[budget], method="SLSQP", options=_FINE)
            if best is None or found.fun < best.fun:
                best = found
        assert best is not None
        return float(best.fun), best.x[:names]
    radius = ambiguity.radius if isinstance(ambiguity, TotalVariation) else 0.0

    def bounded(z: np.ndarray) -> float:  # ρ·top + (1 − ρ)·η + p'(loss − η)₊ with top ≥ loss, η
        return float(radius * z[names] + (1 - radius) * z[names + 1] + p @ z[names + 2 :])

    rows = [
        budget,
        {"type": "ineq", "fun": lambda z: z[names] - losses(z)},
        {"type": "ineq", "fun": lambda z: z[names] - z[names + 1]},
        {"type": "ineq", "fun": lambda z: z[names + 2 :] - losses(z) + z[names + 1]},
    ]
    at = losses(first)
    start = np.concatenate([first, [at.max(), at.min()], at - at.min()])
    bounds = [*bounds, (None, None), (None, None), *[(0, None)] * children]
    found = minimize(bounded, start, bounds=bounds, constraints=rows, method="SLSQP", options=_FINE)
    return float(found.fun), found.x[:names]


_FINE = {"ftol": 1e-13, "maxiter": 2000}


def backward(staged: MultistageMandate) -> tuple[float, np.ndarray]:
    """Value and weights of the root by dynamic programming: at no cost ln W is added, whatever led to a node."""
    tree, values, weights = staged.tree, np.zeros(staged.tree.nodes), np.zeros(8)
    for node in reversed(range(tree.nodes)):
        below, ends = tree.children(node)
        names = np.vstack([tree.growth[below], tree.leaf_growth[ends]])
        cash = np.concatenate([tree.cash_growth[below], tree.leaf_cash_growth[ends]])
        ahead = np.concatenate([values[below], np.zeros(len(ends))])
        p = tree.child_probabilities(node)
        values[node], weights = one_period(p, np.c_[names, cash], ahead, staged.ambiguities[node])
    return float(values[0]), weights


@pytest.mark.parametrize(("set_of", "printed"), [(tv, 0.20841067), (kl, 0.22276380)])
def test_at_no_cost_the_tree_is_a_dynamic_program_that_somebody_else_solves(set_of: Radius, printed: float) -> None:
    staged = worked(radius=0.5, set_of=set_of, costs=FREE)
    policy, (value, weights) = solve_policy(staged, CASH_ONLY), backward(staged)
    held = np.append(policy.holdings[0], policy.cash[0]) / policy.wealth[0]

    assert policy.objective == pytest.approx(value, abs=OBJECTIVE)
    assert held == pytest.approx(weights, abs=5e-3)
    assert -policy.objective == pytest.approx(printed, abs=7e-8)


def again(policy: Policy, node: int) -> Policy:
    """The question that is left at a node, asked of nobody who knows what was planned."""
    return solve_policy(policy.staged.below(node, float(policy.wealth_before[node])), policy.start_of(node))


@pytest.mark.parametrize(("costs", "radius", "set_of"), some(product([COSTS, FREE], [0.3, 1.0], [tv, kl, box]), 5))
def test_a_re_solve_at_any_node_repeats_what_was_planned_there(
    costs: tuple[float, ...], radius: float, set_of: Radius
) -> None:
    """Off the adversary's path too. The value is sharp; holdings are as sharp as a flat optimum lets them be."""
    policy = solve_policy(worked(radius=radius, set_of=set_of, costs=costs), CASH_ONLY)

    for node in range(1, policy.staged.tree.nodes):
        unit, solved = float(policy.wealth_before[node]), again(policy, node)
        assert solved.objective - np.log(unit) == pytest.approx(policy.valued.losses[node], abs=OBJECTIVE)
        assert np.abs(solved.holdings[0] * unit - policy.holdings[node]).sum() <= 5e-3


def at_leaf_level(staged: MultistageMandate, start: Position, ambiguity: Ambiguity) -> np.ndarray:
    """(D, N) holdings under one worst case over all leaves at once: what the tree does not do."""
    made = tree_program(without_ambiguity(staged), start)
    rows = [row for row in made.problem.constraints if row is not made.losses]
    losses = cp.Variable(staged.tree.leaves)
    belief = staged.tree.reach()[1]
    worst = ambiguity.dual_form(losses, belief)
    worst.write(ambiguity, belief)
    traded = cp.sum(made.variables.buys) + cp.sum(made.variables.sells)
    problem = cp.Problem(
        cp.Minimize(worst.expression + 1e-8 * traded),
        [*rows, *worst.constraints, losses >= -cp.log(made.variables.wealth_at_end)],
    )
    problem.solve(solver="CLARABEL")
    return np.asarray(made.variables.holdings.value).reshape(staged.tree.growth.shape)


def test_one_worst_case_over_all_leaves_would_go_back_on_what_was_planned() -> None:
    """F10: at the review the same radius guards against other things than it did today."""
    staged, ambiguity = worked(costs=FREE), TotalVariation(0.25)
    planned = at_leaf_level(staged, CASH_ONLY, ambiguity)
    changed = []
    for node in staged.tree.children(0)[0]:
        wealth = planned[0] @ staged.tree.growth[node] + (1 - planned[0].sum()) * staged.tree.cash_growth[node]
        held = np.maximum(staged.tree.growth[node] * planned[0] / wealth, 0)
        start = Position(held, max(1 - float(held.sum()), 0.0))
        solved = at_leaf_level(staged.below(int(node), float(wealth)), start, ambiguity)[0]
        changed.append(np.abs(solved - planned[node] / wealth).sum())

    assert max(changed) > 0.1


@SETS
def test_the_multipliers_of_the_leaves_are_the_adversary_s_probabilities(set_of: Radius) -> None:
    """The same wherever they are unique: where no two children are equally bad, which the optimum often makes them."""
    staged = worked(radius=0.5, set_of=set_of)
    made, policy = tree_program(staged, CASH_ONLY), solve_policy(staged, CASH_ONLY)
    made.problem.solve(solver="CLARABEL")
    q = np.asarray(made.losses.dual_value)

    assert q.sum() == pytest.approx(1, abs=KEPT)
    assert q @ policy.valued.leaf_losses == pytest.approx(policy.objective, abs=1e-5)
    reached, compared = _reached(staged, q), 0
    for node, ambiguity in enumerate(staged.ambiguities):
        below, ends = staged.tree.children(node)
        if reached[node] > 1e-4:
            here = np.concatenate([reached[below], q[ends]]) / reached[node]
            assert ambiguity.excess(here, staged.tree.child_probabilities(node)) <= 1e-4 / reached[node]
            ahead = np.concatenate([policy.valued.losses[below], policy.valued.leaf_losses[ends]])
            if np.diff(np.sort(ahead)).min() > 1e-3:
                assert here == pytest.approx(policy.valued.adversaries[node], abs=1e-3)
                compared += 1
    assert compared >= 5


def _reached(staged: MultistageMandate, q: np.ndarray) -> np.ndarray:
    """(D,) what the leaves' probabilities say of the nodes."""
    tree, reached = staged.tree, np.zeros(staged.tree.nodes)
    for node in reversed(range(tree.nodes)):
        below, ends = tree.children(node)
        reached[node] = reached[below].sum() + q[ends].sum()
    return reached


def test_under_the_beliefs_the_multipliers_are_the_beliefs() -> None:
    staged = worked()
    made = tree_program(staged, CASH_ONLY)
    made.problem.solve(solver="CLARABEL")

    assert all(isinstance(ambiguity, Singleton) for ambiguity in staged.ambiguities)
    assert np.asarray(made.losses.dual_value) == pytest.approx(staged.tree.reach()[1], abs=1e-6)
