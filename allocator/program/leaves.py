"""The loss rows of leaves, θ_leaf ≥ loss: a form for each utility of the final wealth, and each one-decision objective.

Rows are nondecreasing in what the worst case asks of them, so that their duals are the adversary (science §3.1).
"""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from allocator.ambiguity.pushforward import of_scenarios
from allocator.mandate.one_decision import ExAnteRegret, MixtureVariance, OneDecision, Regret
from allocator.mandate.staged import Staged
from allocator.mandate.tail import MeanCVaR
from allocator.mandate.utility import Linear, Log, PiecewiseLinear, PowerUtility


def leaf_rows(
    staged: Staged, holdings: cp.Variable, cash: cp.Variable, theta: cp.Variable, thresholds: cp.Variable
) -> tuple[cp.Constraint, list[cp.Constraint]]:
    """θ_leaf ≥ loss, and what the leaf's wealth or measures are; `holdings` (D·N,), `cash` (D,), `theta` (D + L,).

    `thresholds` (D,) are those of a CVaR at each node.
    """
    tree, utility = staged.tree, staged.utility
    nodes, names = tree.growth.shape
    goals = utility if isinstance(utility, PiecewiseLinear) else None
    shares = np.ones((1, names)) if goals is None else goals.shares
    of_cash = np.ones(1) if goals is None else goals.cash_shares
    count = len(shares)
    weighted = tree.leaf_growth[:, None, :] * shares  # (L, J, N)
    rows = np.repeat(np.arange(tree.leaves * count), names)
    columns = np.repeat(tree.leaf_parents[:, None] * names + np.arange(names), count, axis=0).ravel()
    worth = sp.csr_array((weighted.ravel(), (rows, columns)), shape=(tree.leaves * count, nodes * names))
    worth_of_cash = sp.csr_array(
        (
            (tree.leaf_cash_growth[:, None] * of_cash).ravel(),
            (np.arange(tree.leaves * count), np.repeat(tree.leaf_parents, count)),
        ),
        shape=(tree.leaves * count, nodes),
    )
    measures = cp.Variable(tree.leaves * count, name="wealth at the end")
    known = [measures == worth @ holdings + worth_of_cash @ cash]
    here = theta[nodes:]
    if goals is not None:
        earned = cp.Variable((tree.leaves, count), name="earned")
        for piece in range(goals.slopes.shape[1]):
            line = cp.multiply(np.tile(goals.slopes[:, piece], tree.leaves), measures)
            known.append(
                cp.reshape(earned, (tree.leaves * count,), order="C")
                <= line + np.tile(goals.levels[:, piece], tree.leaves)
            )
        return here >= -cp.sum(earned, axis=1), known
    if isinstance(utility, MeanCVaR):
        loss, more = _tail(staged, utility, holdings, cash, 1 - measures, thresholds)
        return here >= loss, known + more
    if isinstance(utility, MixtureVariance | Regret | ExAnteRegret):
        loss, more = _at_once(staged, utility, holdings, measures)
        return here >= loss, known + more
    if isinstance(utility, Linear):
        return here >= 1 - measures, known
    if isinstance(utility, Log):
        return here >= -cp.log(measures), known
    assert isinstance(utility, PowerUtility)
    convex = cp.power(measures, 1 - utility.aversion)
    return here >= (convex - 1) / (utility.aversion - 1), known


def _at_once(
    staged: Staged, objective: OneDecision, holdings: cp.Variable, wealth: cp.Variable
) -> tuple[cp.Expression, list[cp.Constraint]]:
    """(L,) losses of one decision's leaves, which end as `wealth` (L,), and what else they need."""
    plain = 1 - wealth
    if isinstance(objective, Regret):
        return plain + objective.best, []
    if isinstance(objective, ExAnteRegret):
        # the worst case is in the corners already: every leaf loses the same, whatever its probability
        corners, best = objective.under(of_scenarios(staged.ambiguities[0]), staged.tree.child_probabilities(0))
        regret = cp.Variable(name="regret")
        return regret * np.ones(staged.tree.leaves), [regret >= best + corners @ plain]
    assert isinstance(objective, MixtureVariance)
    return _mixture(objective, holdings, wealth)


def _mixture(
    objective: MixtureVariance, holdings: cp.Variable, wealth: cp.Variable
) -> tuple[cp.Expression, list[cp.Constraint]]:
    if objective.aversion == 0:  # the centre would be free, and a solver has nothing to choose it by
        return 1 - wealth, []
    risk, within, centre = objective.risk, cp.Variable(name="variance within"), cp.Variable(name="centre")
    parts = cp.hstack([risk.loadings.T @ holdings, cp.multiply(np.sqrt(risk.specific), holdings)])
    spread = within + cp.square(wealth - 1 - centre)
    return 1 - wealth + objective.aversion * spread, [within >= cp.sum_squares(parts)]


def _tail(
    staged: Staged,
    objective: MeanCVaR,
    holdings: cp.Variable,
    cash: cp.Variable,
    plain: cp.Expression,
    thresholds: cp.Variable,
) -> tuple[cp.Expression, list[cp.Constraint]]:
    if objective.weight == 0:  # nothing would hold the threshold
        return plain, []
    tree, (leaves, draws, names) = staged.tree, objective.growth.shape
    excess = cp.Variable(leaves * draws, nonneg=True, name="excess")
    parents = np.repeat(tree.leaf_parents, draws)
    columns = (parents[:, None] * names + np.arange(names)).ravel()
    begins = np.arange(leaves * draws + 1) * names
    grown = sp.csr_array((objective.growth.ravel(), columns, begins), shape=(leaves * draws, tree.nodes * names))
    drawn = 1 - grown @ holdings - cp.multiply(np.repeat(objective.cash_growth, draws), cash[parents])
    mean = sp.csr_array(sp.kron(sp.eye_array(leaves), np.full((1, draws), 1 / draws)))
    shortfall = thresholds[tree.leaf_parents] + (mean @ excess) / (1 - objective.level)
    loss = (1 - objective.weight) * plain + objective.weight * shortfall
    return loss, [excess >= drawn - thresholds[parents]]


def ahead_of(staged: Staged, theta: cp.Variable, thresholds: cp.Variable) -> tuple[cp.Expression, list[cp.Constraint]]:
    """(D + L,) what the worst case of a node is taken of: its children's values, under a nested CVaR their tails too.

    A leaf's tail is in its loss already, where its draws are.
    """
    objective, nodes = staged.utility, staged.tree.nodes
    if not isinstance(objective, MeanCVaR) or objective.weight == 0 or nodes == 1:
        return theta, []
    here, own = theta[1:nodes], thresholds[staged.tree.parents[1:]]
    excess = cp.Variable(nodes - 1, nonneg=True, name="excess of a branch")
    value = (1 - objective.weight) * here + objective.weight * (own + excess / (1 - objective.level))
    return cp.hstack([theta[:1], value, theta[nodes:]]), [excess >= here - own]
