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
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.ambiguity.pushforward import Pushforward, scenario_set
from allocator.ambiguity.sets import LEAST_PROBABILITY, Ambiguity, KullbackLeibler, Singleton, TotalVariation
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.objectives import ObjectiveRows, TreeVariables
from allocator.optimization.dual_forms import dual_form, set_structure
from allocator.optimization.single_period import TIE_BREAK, Position
from allocator.outlook.outlook import Outlook
from allocator.rules import LargestWeights, NoTrade, Participation, VolatilityLimit, WorstCaseFloor
from allocator.types import Matrix, Vector

# The dual forms of many nodes of a tree as one block of rows and cones: what they say is what `dual_form` says.
#
# A constraint of cvxpy costs as much to compile for one node as for all of them (science §3.7).
#
BATCHED = (KullbackLeibler, TotalVariation)
"""Sets whose nodes are compiled as one."""


@dataclass(frozen=True, eq=False)
class RobustNode:
    """A node with a set of its own: the value of its children stands at `children` (K,), believed at `p` (K,)."""

    node: int
    children: np.ndarray[tuple[Any, ...], np.dtype[Any]]
    p: Vector
    ambiguity: Ambiguity


def batched_worst_cases(
    nodes: Sequence[RobustNode], theta: cp.Variable, ahead: cp.Expression, charges: cp.Expression
) -> Iterator[cp.Constraint]:
    """θ_n ≥ the adverse expectation of what is `ahead` of it, for nodes whose sets are among `BATCHED`."""
    divergence = [one for one in nodes if isinstance(one.ambiguity, KullbackLeibler)]
    variation = [one for one in nodes if isinstance(one.ambiguity, TotalVariation)]
    if divergence:
        yield from _divergence(divergence, theta, ahead, charges)
    if variation:
        yield from _variation(variation, theta, ahead, charges)


def _divergence(
    nodes: Sequence[RobustNode], theta: cp.Variable, ahead: cp.Expression, charges: cp.Expression
) -> Iterator[cp.Constraint]:
    possible = [np.flatnonzero(one.p > LEAST_PROBABILITY) for one in nodes]
    believed = [one.p[at] / one.p[at].sum() for one, at in zip(nodes, possible, strict=True)]
    below = np.concatenate([one.children[at] for one, at in zip(nodes, possible, strict=True)])
    # beyond the farthest child the ball is everything, and a larger number would only strain the solver
    radii = np.array([min(_radius(one), -float(np.log(p.min())) + 0.1) for one, p in zip(nodes, believed, strict=True)])
    owner = np.repeat(np.arange(len(nodes)), [len(at) for at in possible])
    eta, price = cp.Variable(len(nodes)), cp.Variable(len(nodes), nonneg=True)
    weight, shifted = cp.Variable(len(below)), cp.Variable(len(below))
    yield shifted >= ahead[below] - eta[owner] - price[owner]
    yield cp.ExpCone(shifted, price[owner], weight)
    at = [one.node for one in nodes]
    yield theta[at] >= eta + cp.multiply(radii, price) + _means(believed) @ weight + charges[at]


def _variation(
    nodes: Sequence[RobustNode], theta: cp.Variable, ahead: cp.Expression, charges: cp.Expression
) -> Iterator[cp.Constraint]:
    below = np.concatenate([one.children for one in nodes])
    owner = np.repeat(np.arange(len(nodes)), [len(one.p) for one in nodes])
    radii = np.array([_radius(one) for one in nodes])
    eta, largest = cp.Variable(len(nodes)), cp.Variable(len(nodes))
    above = cp.Variable(len(below), nonneg=True)
    yield above >= ahead[below] - eta[owner]
    yield largest[owner] >= ahead[below]
    yield largest >= eta
    at, means = [one.node for one in nodes], _means([one.p for one in nodes])
    yield theta[at] >= cp.multiply(radii, largest) + cp.multiply(1 - radii, eta) + means @ above + charges[at]


def _radius(one: RobustNode) -> float:
    assert isinstance(one.ambiguity, BATCHED)
    return one.ambiguity.radius


def _means(believed: Sequence[Vector]) -> sp.csr_array:
    """(n, rows): each node's mean over its own children."""
    return sp.csr_array(sp.block_diag([p[None, :] for p in believed]))


TRADE_UNITS = (0.1, 1.0)
"""Of the account: what trades are measured in where their impact is a cone; where a solver fails on one, the next."""


@dataclass(frozen=True, eq=False)
class TreeProgram:
    """The program of a tree and its variables; the duals of `losses`, the leaf rows, are the adversary's unconditional
    probabilities of the leaves.
    """

    problem: cp.Problem
    variables: TreeVariables
    losses: cp.Constraint
    start: tuple[cp.Parameter, cp.Parameter]

    def write(self, start: Position) -> None:
        """Let it begin from `start`, which holds the same names: what is not held is not sold, and has no variable."""
        self.start[0].value, self.start[1].value = start.holdings, start.cash


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
    v = TreeVariables(
        tree,
        staged.outlooks,
        np.array([staged.step(node) for node in range(nodes)]),
        holdings=cp.Variable(nodes * names, nonneg=True, name="holdings"),
        cash=cp.Variable(nodes, nonneg=True, name="cash"),
        buys=_only(bought, "buys"),
        sells=_only(sold, "sells"),
        wealth=cp.Variable(nodes, name="wealth"),
        wealth_before=cp.Variable(nodes, name="wealth before trades"),
        wealth_at_end=cp.Variable(tree.leaves, name="wealth at the end"),
        theta=cp.Variable(nodes + tree.leaves, name="value"),
    )
    held, in_cash = cp.Parameter(names, name="held today"), cp.Parameter(name="cash today")
    before = (
        _grown(tree.growth, tree.parents, nodes) @ v.holdings + sp.csr_array(sp.eye_array(nodes * names, names)) @ held
    )
    cash_before = _grown(tree.cash_growth[:, None], tree.parents, nodes) @ v.cash + np.eye(nodes, 1)[:, 0] * in_cash
    each = _each(nodes, names)
    costs, constraints = _costs(staged, v.buys + v.sells, bought | sold, trade_unit)
    ends = _each(tree.leaves, names) @ _grown(tree.leaf_growth, tree.leaf_parents, nodes)
    cash_at_end = _grown(tree.leaf_cash_growth[:, None], tree.leaf_parents, nodes)
    own = staged.utility.rows(v)
    losses = v.theta[nodes:] >= own.losses
    constraints += [
        v.holdings == before + v.buys - v.sells,
        v.cash == cash_before - each @ v.buys + each @ v.sells - costs,
        v.wealth == each @ v.holdings + v.cash,
        v.wealth_before == each @ before + cash_before,
        v.sells[np.flatnonzero(sold)] <= before[np.flatnonzero(sold)],
        v.wealth_at_end == ends @ v.holdings + cash_at_end @ v.cash,
        *own.constraints,
        losses,
        *_worst_cases(staged, v.theta, own, cuts),
        *_rules(staged, v, range(nodes if trading else 1)),
    ]
    traded = cp.sum(v.buys) + cp.sum(v.sells)
    problem = cp.Problem(cp.Minimize(v.theta[0] + TIE_BREAK * traded), constraints)
    program = TreeProgram(problem, v, losses, (held, in_cash))
    program.write(start)
    return program


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


def _each(count: int, names: int) -> sp.csr_array:
    """(M, M·N): the sum over the names of each."""
    return sp.csr_array(sp.kron(sp.eye_array(count), np.ones((1, names))))


def _grown(growth: Matrix, parents: NDArray[np.int64], nodes: int) -> sp.csr_array:
    """(M·N, D·N): what holdings of decision nodes `parents` (M,) have grown to by `growth` (M, N); none at the root."""
    count, names = growth.shape
    columns = (np.maximum(parents, 0)[:, None] * names + np.arange(names)).ravel()
    grown = np.where(parents[:, None] < 0, 0.0, growth).ravel()
    placed = sp.csr_array((grown, (np.arange(count * names), columns)), shape=(count * names, nodes * names))
    placed.eliminate_zeros()
    return placed


def _costs(
    staged: MultistageMandate, traded: cp.Expression, tradable: NDArray[np.bool_], trade_unit: float
) -> tuple[cp.Expression, list[cp.Constraint]]:
    """(D,) what trades (D·N,) cost at each node, and the cones of their impact."""
    costs = sp.csr_array(sp.block_diag([mandate.cost_rates[None, :] for mandate in staged.mandates])) @ traded
    if staged.mandates[0].impact is None:
        return costs, []
    at = np.flatnonzero(tradable)
    powers = cp.Variable(len(at), nonneg=True, name="trades to the 3/2")
    impact = np.concatenate([np.asarray(mandate.impact) for mandate in staged.mandates])[at]
    # in units in which no cone is small: what a solver calls zero would be all of it
    cones = powers >= cp.power(traded[at] / trade_unit, 1.5)
    each = _each(*staged.tree.growth.shape)
    return costs + each[:, at] @ cp.multiply(impact * trade_unit**1.5, powers), [cones]


def _worst_cases(
    staged: MultistageMandate, theta: cp.Variable, own: ObjectiveRows, cuts: Sequence[Sequence[Vector]] | None
) -> Iterator[cp.Constraint]:
    """θ_n ≥ the adverse expectation of what is ahead of it (D + L,): nodes of a kind at once where that has a form,
    others one by one.
    """
    tree, ahead, charges = staged.tree, own.ahead, own.charges
    rows = sp.lil_array((tree.nodes, tree.nodes + tree.leaves))
    plain, robust = list[int](), list[RobustNode]()
    if staged.at_leaves:  # then only the root has a value, and nothing else would hold the others
        yield theta[1 : tree.nodes] == 0
    for one in staged.branchings():
        node, at, p, ambiguity = one.node, one.at, one.p, one.ambiguity
        if not isinstance(ambiguity, Pushforward) and isinstance(set_structure(ambiguity, p)[0], Singleton):
            rows[[node], at] = p
            plain.append(node)
        elif cuts is not None:
            yield theta[node] >= np.array(cuts[node]) @ ahead[at] + charges[node]
        elif isinstance(ambiguity, BATCHED):
            robust.append(RobustNode(node, at, p, ambiguity))
        else:
            losses, of = ahead[at], p
            if isinstance(ambiguity, Pushforward):
                losses, of = ambiguity.likelihoods @ losses, ambiguity.beliefs
            worst = dual_form(losses, scenario_set(ambiguity), of)
            worst.write(scenario_set(ambiguity), of)
            yield from worst.constraints
            yield theta[node] >= worst.expression + charges[node]
    if plain:
        yield theta[plain] >= sp.csr_array(rows)[plain] @ ahead + charges[plain]
    yield from batched_worst_cases(robust, theta, ahead, charges)


def _rules(staged: MultistageMandate, v: TreeVariables, at: Sequence[int]) -> Iterator[cp.Constraint]:
    """Every rule at the decision nodes `at`."""
    blocks = [_linear(staged, node) for node in at]
    if any(block.shape[0] for block, _ in blocks):
        left, limits = sp.csr_array(sp.vstack([block for block, _ in blocks])), np.concatenate([b for _, b in blocks])
        every = cp.hstack([v.holdings, v.buys, v.sells, v.cash, v.wealth, v.wealth_before])
        yield (left @ every <= limits).set_label("rules at every node")
    for node in at:
        own, wealth = v.of(node)
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
    rule: WorstCaseFloor, own: cp.Expression, v: TreeVariables, node: int, outlook: Outlook
) -> Iterator[cp.Constraint]:
    shortfalls = cp.Variable(len(outlook.scenarios), name="shortfalls")
    before = v.wealth_before[node]
    gains = outlook.returns @ own + outlook.cash_returns * v.cash[node]
    worst = dual_form(shortfalls, rule.ambiguity, outlook.probabilities)
    worst.write(rule.ambiguity, outlook.probabilities)
    yield shortfalls >= rule.benchmark_gains(outlook) * before - gains
    yield worst.expression + before - v.wealth[node] <= -rule.limit * before
    yield from worst.constraints
