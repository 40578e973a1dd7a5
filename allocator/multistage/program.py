"""The builder of a tree: one set of variables a decision node, all nodes batched into sparse matrices.

    minimise θ_root     θ_n ≥ sup over the ambiguity set of node n of Σ_children q_m·θ_m,     θ_leaf ≥ loss(leaf)

in wealth units, today's account being 1, so that weights times wealth never appear (science §3.7). Holdings, trades
and cash of a node follow from its parent's by the node's growth; a leaf is a loss row of its parent. The adverse
expectation is nested, node by node, hence time-consistent. One decision node is the same program. Where one stands
today is a parameter, so that the same tree is solved again from elsewhere without compiling it again; the tree's own
numbers are compiled in: as parameters, which cvxpy multiplies out one by one, they take it a hundred times as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.multistage.mandate import MultistageMandate, NestedWorstCase
from allocator.multistage.objectives import (
    ExAnteRegret,
    LinearUtility,
    LogUtility,
    MeanCVaR,
    MixtureVariance,
    OneDecision,
    PiecewiseLinearUtility,
    PowerUtility,
    Regret,
)
from allocator.optimization.single_period import TIE_BREAK, Position
from allocator.outlook.outlook import Outlook
from allocator.rules import LargestWeights, NoTrade, Participation, VolatilityLimit, WorstCaseFloor
from allocator.types import Vector

# The loss rows of leaves, θ_leaf ≥ loss: a form for each utility of the final wealth, and each one-decision objective.
#
# Rows are nondecreasing in what the adverse expectation asks of them, so that their duals are the adversary
# (science §3.1).
#


def leaf_constraints(
    staged: MultistageMandate, holdings: cp.Variable, cash: cp.Variable, theta: cp.Variable, thresholds: cp.Variable
) -> tuple[cp.Constraint, list[cp.Constraint]]:
    """θ_leaf ≥ loss, and what the leaf's wealth or measures are; `holdings` (D·N,), `cash` (D,), `theta` (D + L,).

    `thresholds` (D,) are those of a CVaR at each node.
    """
    tree, utility = staged.tree, staged.utility
    nodes, names = tree.growth.shape
    goals = utility if isinstance(utility, PiecewiseLinearUtility) else None
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
    if isinstance(utility, LinearUtility):
        return here >= 1 - measures, known
    if isinstance(utility, LogUtility):
        return here >= -cp.log(measures), known
    assert isinstance(utility, PowerUtility)
    convex = cp.power(measures, 1 - utility.aversion)
    return here >= (convex - 1) / (utility.aversion - 1), known


def _at_once(
    staged: MultistageMandate, objective: OneDecision, holdings: cp.Variable, wealth: cp.Variable
) -> tuple[cp.Expression, list[cp.Constraint]]:
    """(L,) losses of one decision's leaves, which end as `wealth` (L,), and what else they need."""
    plain = 1 - wealth
    if isinstance(objective, Regret):
        return plain + objective.best, []
    if isinstance(objective, ExAnteRegret):
        # the adverse expectation is in the corners already: every leaf loses the same, whatever its probability
        corners, best = objective.under(staged.ambiguities[0], staged.tree.child_probabilities(0))
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
    staged: MultistageMandate,
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


def next_values(
    staged: MultistageMandate, theta: cp.Variable, thresholds: cp.Variable
) -> tuple[cp.Expression, list[cp.Constraint]]:
    """(D + L,) what the adverse expectation of a node is taken of: its children's values, under a nested CVaR also
    their tails.

    A leaf's tail is in its loss already, where its draws are.
    """
    objective, nodes = staged.utility, staged.tree.nodes
    if not isinstance(objective, MeanCVaR) or objective.weight == 0 or nodes == 1:
        return theta, []
    here, own = theta[1:nodes], thresholds[staged.tree.parents[1:]]
    excess = cp.Variable(nodes - 1, nonneg=True, name="excess of a branch")
    value = (1 - objective.weight) * here + objective.weight * (own + excess / (1 - objective.level))
    return cp.hstack([theta[:1], value, theta[nodes:]]), [excess >= here - own]


TRADE_UNITS = (0.1, 1.0)
"""Of the account: what trades are measured in where their impact is a cone; where a solver fails on one, the next."""


@dataclass(frozen=True, eq=False)
class TreeProgram:
    """The program of a tree and the variables that are read from it.

    `holdings`, `buys`, `sells` (D·N,) node by node, `cash` (D,); `losses` are the leaf rows, whose duals are the
    adversary's unconditional probabilities of the leaves.
    """

    problem: cp.Problem
    holdings: cp.Variable
    cash: cp.Variable
    buys: cp.Expression
    sells: cp.Expression
    losses: cp.Constraint
    start: tuple[cp.Parameter, cp.Parameter]

    def write(self, start: Position) -> None:
        """Let it begin from `start`, which holds the same names: what is not held is not sold, and has no variable."""
        self.start[0].value, self.start[1].value = start.holdings, start.cash


@dataclass(frozen=True, eq=False)
class _NodeVariables:
    """What every constraint speaks of: variables, and values before each node's trades."""

    holdings: cp.Variable
    cash: cp.Variable
    buys: cp.Expression
    sells: cp.Expression
    wealth: cp.Variable
    wealth_before: cp.Variable

    def of(self, node: int, names: int) -> tuple[cp.Expression, cp.Expression]:
        """Holdings (N,) and wealth of one node."""
        return self.holdings[node * names : (node + 1) * names], self.wealth[node]


def tree_program(
    staged: MultistageMandate,
    start: Position,
    *,
    trading: bool = True,
    trade_unit: float = TRADE_UNITS[0],
    cuts: Sequence[Sequence[Vector]] | None = None,
) -> TreeProgram:
    """The program of a mandate over a tree from `start`.

    Without `trading` nothing is traded after the root: a policy that commits now. With `cuts`, probabilities of every
    node's children, its adverse expectation is the largest of those: a bound from below on that of any set with all of
    them.
    """
    tree = staged.tree
    nodes, names = tree.nodes, len(start.holdings)
    bought, sold = tradable_names(staged, start, trading=trading)
    v = _NodeVariables(
        cp.Variable(nodes * names, nonneg=True, name="holdings"),
        cp.Variable(nodes, nonneg=True, name="cash"),
        _only(bought, "buys"),
        _only(sold, "sells"),
        cp.Variable(nodes, name="wealth"),
        cp.Variable(nodes, name="wealth before trades"),
    )
    theta = cp.Variable(nodes + tree.leaves, name="value")
    carried, carried_cash = _carried(staged)
    held, in_cash = cp.Parameter(names, name="held today"), cp.Parameter(name="cash today")
    before = carried @ v.holdings + sp.csr_array(sp.eye_array(nodes * names, names)) @ held
    cash_before = carried_cash @ v.cash + np.eye(nodes, 1)[:, 0] * in_cash
    each = sp.csr_array(sp.kron(sp.eye_array(nodes), np.ones((1, names))))
    rates = sp.csr_array(sp.block_diag([mandate.cost_rates[None, :] for mandate in staged.mandates]))
    costs, constraints = rates @ (v.buys + v.sells), []
    if staged.mandates[0].impact is not None:
        at = np.flatnonzero(bought | sold)
        powers = cp.Variable(len(at), nonneg=True, name="trades to the 3/2")
        impact = np.concatenate([np.asarray(mandate.impact) for mandate in staged.mandates])[at]
        # in units in which no cone is small: what a solver calls zero would be all of it
        constraints.append(powers >= cp.power((v.buys + v.sells)[at] / trade_unit, 1.5))
        costs = costs + each[:, at] @ cp.multiply(impact * trade_unit**1.5, powers)
    thresholds = cp.Variable(nodes, name="thresholds")
    losses, measured = leaf_constraints(staged, v.holdings, v.cash, theta, thresholds)
    ahead, tails = next_values(staged, theta, thresholds)
    constraints += [
        v.holdings == before + v.buys - v.sells,
        v.cash == cash_before - each @ v.buys + each @ v.sells - costs,
        v.wealth == each @ v.holdings + v.cash,
        v.wealth_before == each @ before + cash_before,
        v.sells[np.flatnonzero(sold)] <= before[np.flatnonzero(sold)],
        *measured,
        losses,
        *tails,
        *_worst_cases(staged, v, theta, ahead, cuts),
        *_rules(staged, v, range(nodes if trading else 1)),
    ]
    traded = cp.sum(v.buys) + cp.sum(v.sells)
    problem = cp.Problem(cp.Minimize(theta[0] + TIE_BREAK * traded), constraints)
    made = TreeProgram(problem, v.holdings, v.cash, v.buys, v.sells, losses, (held, in_cash))
    made.write(start)
    return made


def tradable_names(
    staged: MultistageMandate, start: Position, *, trading: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(D·N,) what may be bought, and what may be sold, at all. The rest has no variable: one that can only be zero
    leaves a program no interior, and an interior-point solver no way.
    """
    bought = np.ones(staged.tree.growth.shape, dtype=bool)
    for node, mandate in enumerate(staged.mandates):
        for rule in mandate.linear_rules:
            if isinstance(rule, NoTrade):
                bought[node, list(rule.at)] = False
    if not trading:
        bought[1:] = False
    sold = bought.copy()
    sold[0] &= start.holdings > 0
    return bought.ravel(), sold.ravel()


def _only(mask: NDArray[np.bool_], name: str) -> cp.Expression:
    """(D·N,) variables where the mask is, zero elsewhere."""
    at = np.flatnonzero(mask)
    if not len(at):
        return cp.Constant(np.zeros(len(mask)))
    place = sp.csr_array((np.ones(len(at)), (at, np.arange(len(at)))), shape=(len(mask), len(at)))
    return place @ cp.Variable(len(at), nonneg=True, name=name)


def _carried(staged: MultistageMandate) -> tuple[sp.csr_array, sp.csr_array]:
    """(D·N, D·N) and (D, D): from holdings and cash of the parents to those before each node's trades."""
    tree = staged.tree
    nodes, names = tree.growth.shape
    child = np.arange(1, nodes)
    rows = (child[:, None] * names + np.arange(names)).ravel()
    columns = (tree.parents[1:, None] * names + np.arange(names)).ravel()
    holdings = sp.csr_array((tree.growth[1:].ravel(), (rows, columns)), shape=(nodes * names, nodes * names))
    cash = sp.csr_array((tree.cash_growth[1:], (child, tree.parents[1:])), shape=(nodes, nodes))
    return holdings, cash


def _worst_cases(
    staged: MultistageMandate,
    v: _NodeVariables,
    theta: cp.Variable,
    ahead: cp.Expression,
    cuts: Sequence[Sequence[Vector]] | None,
) -> Iterator[cp.Constraint]:
    """θ_n ≥ the adverse expectation of what is `ahead` of it (D + L,): nodes of a kind at once where that has a form,
    others one by one.
    """
    tree = staged.tree
    rows = sp.lil_array((tree.nodes, tree.nodes + tree.leaves))
    plain, batches = list[int](), dict[type, list[NestedWorstCase]]()
    charges = np.zeros(tree.nodes) if staged.risk_charge == 0 else cp.Variable(tree.nodes, nonneg=True, name="charges")
    if staged.risk_charge > 0:
        yield from _charges(staged, v, charges)
    if staged.at_leaves:  # then only the root has a value, and nothing else would hold the others
        yield theta[1 : tree.nodes] == 0
    for one in staged.branchings():
        node, at, p, ambiguity = one.node, one.at, one.p, one.ambiguity
        if ambiguity.is_singleton:
            rows[[node], at] = p
            plain.append(node)
        elif cuts is not None:
            yield theta[node] >= np.array(cuts[node]) @ ahead[at] + charges[node]
        elif ambiguity.batched:
            batches.setdefault(type(ambiguity), []).append(one)
        else:
            worst = ambiguity.dual_form(ahead[at], p)
            yield from worst.constraints
            yield theta[node] >= worst.expression + charges[node]
    if plain:
        yield theta[plain] >= sp.csr_array(rows)[plain] @ ahead + charges[plain]
    for nodes in batches.values():
        yield from batched_worst_cases(nodes, theta, ahead, charges)


def batched_worst_cases(
    nodes: Sequence[NestedWorstCase], theta: cp.Variable, ahead: cp.Expression, charges: cp.Expression
) -> Iterator[cp.Constraint]:
    """θ_n ≥ the adverse expectation of what is `ahead` of it, for nodes whose sets are of one class."""
    sets, beliefs, at = [one.ambiguity for one in nodes], [one.p for one in nodes], [one.at for one in nodes]
    expression, constraints = sets[0].dual_forms(sets, beliefs, at, ahead)
    yield from constraints
    where = [one.node for one in nodes]
    yield theta[where] >= expression + charges[where]


def _charges(staged: MultistageMandate, v: _NodeVariables, charges: cp.Variable) -> Iterator[cp.Constraint]:
    """What risk within a scenario costs until the next date, at every node."""
    names = staged.tree.growth.shape[1]
    for node, outlook in enumerate(staged.outlooks):
        own, _ = v.of(node, names)
        parts = cp.hstack([outlook.risk.loadings.T @ own, cp.multiply(np.sqrt(outlook.risk.specific), own)])
        yield cp.SOC(charges[node], staged.charge(node) * parts)


def _rules(staged: MultistageMandate, v: _NodeVariables, at: Sequence[int]) -> Iterator[cp.Constraint]:
    """Every rule at the decision nodes `at`."""
    names = staged.tree.growth.shape[1]
    blocks = [_linear(staged, node) for node in at]
    if any(block.shape[0] for block, _ in blocks):
        left, limits = sp.csr_array(sp.vstack([block for block, _ in blocks])), np.concatenate([b for _, b in blocks])
        every = cp.hstack([v.holdings, v.buys, v.sells, v.cash, v.wealth, v.wealth_before])
        yield (left @ every <= limits).set_label("rules at every node")
    for node in at:
        own, wealth = v.of(node, names)
        for rule in staged.mandates[node].convex_rules:
            if isinstance(rule, VolatilityLimit):
                yield _volatility(rule, own, wealth, staged.outlooks[node])
            elif isinstance(rule, LargestWeights):
                yield cp.sum_largest(own, rule.count) <= rule.limit * wealth
            elif isinstance(rule, WorstCaseFloor):
                yield from _floor(rule, own, v, node, staged.outlooks[node])


def _linear(staged: MultistageMandate, node: int) -> tuple[sp.csr_array, Vector]:
    """One node's linear rules over [h, b, s, c, W, W before] of all nodes, and what is left of their limits."""
    nodes, names = staged.tree.growth.shape
    shape = (0, 3 * nodes * names + 3 * nodes)
    rows_of, columns_of, entries, limits, count = [], [], [], list[Vector](), 0
    # where the node's own part of h, b, s, c, W and W before begins
    begins = [node * names + nodes * names * part for part in range(3)]
    begins += [3 * nodes * names + nodes * part + node for part in range(3)]
    for rule in staged.mandates[node].linear_rules:
        if isinstance(rule, NoTrade):
            continue  # what may not be traded has no variable
        rows = rule.rows(names).on(staged.outlooks[node])
        # limits are parts of the account before trading, but a day's volume is money, whatever the account is worth
        absolute = isinstance(rule, Participation)
        limits.append(rows.limit if absolute else np.zeros(len(rows.labels)))
        relative = np.zeros(len(rows.labels)) if absolute else rows.limit
        for begin, part in zip(begins, (rows.holdings, rows.buys, rows.sells), strict=False):
            # entries are placed by hand: stacking sparse blocks rule by rule costs more than compiling the program
            own = sp.coo_array(part)
            rows_of.append(own.row + count)
            columns_of.append(own.col + begin)
            entries.append(own.data)
        for begin, column in zip(begins[3:], (rows.cash, -rows.wealth, -relative), strict=True):
            at = np.flatnonzero(column)
            rows_of.append(at + count)
            columns_of.append(np.full(len(at), begin))
            entries.append(column[at])
        count += len(rows.labels)
    if not count:
        return sp.csr_array(shape), np.zeros(0)
    placed = (np.concatenate(rows_of), np.concatenate(columns_of))
    return sp.csr_array((np.concatenate(entries), placed), shape=(count, shape[1])), np.concatenate(limits)


def _volatility(rule: VolatilityLimit, own: cp.Expression, wealth: cp.Expression, outlook: Outlook) -> cp.Constraint:
    risk, deviations = outlook.risk, np.sqrt(outlook.risk.specific)
    exposures, alone = risk.loadings.T @ own, cp.multiply(deviations, own)
    if rule.against is not None:
        exposures = exposures - (risk.loadings.T @ rule.against) * wealth
        alone = alone - (deviations * rule.against) * wealth
    return cp.SOC(rule.limit * np.sqrt(outlook.years) * wealth, cp.hstack([exposures, alone]))


def _floor(
    rule: WorstCaseFloor, own: cp.Expression, v: _NodeVariables, node: int, outlook: Outlook
) -> Iterator[cp.Constraint]:
    shortfalls = cp.Variable(len(outlook.scenarios), name="shortfalls")
    before = v.wealth_before[node]
    gains = outlook.returns @ own + outlook.cash_returns * v.cash[node]
    worst = rule.ambiguity.dual_form(shortfalls, outlook.probabilities)
    yield shortfalls >= rule.benchmark_gains(outlook) * before - gains
    yield worst.expression + before - v.wealth[node] <= -rule.limit * before
    yield from worst.constraints
