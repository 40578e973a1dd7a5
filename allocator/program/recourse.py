"""The builder of a tree: one set of variables a decision node, all nodes batched into sparse matrices.

    minimise θ_root     θ_n ≥ sup over the ambiguity set of node n of Σ_children q_m·θ_m,     θ_leaf ≥ loss(leaf)

in wealth units, today's account being 1, so that weights times wealth never appear (science §3.7). Holdings, trades
and cash of a node follow from its parent's by the node's growth; a leaf is a loss row of its parent. The worst case is
nested, node by node, hence time-consistent. One decision node is the same program. It is built anew for each question:
that takes less time than solving it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from allocator.mandate.ambiguity import Known
from allocator.mandate.rules import LargestWeights, Participation, VolatilityLimit, WorstCaseFloor
from allocator.mandate.staged import Staged
from allocator.outlook.outlook import Outlook
from allocator.program.batched import BATCHED, Robust, batched
from allocator.program.compile import TIE_BREAK, Start
from allocator.program.leaves import leaf_rows
from allocator.program.worst_case import shape_of, worst_case
from allocator.types import Vector

TRADE_UNITS = (0.1, 1.0)
"""Of the account: what trades are measured in where their impact is a cone; where a solver fails on one, the next."""


@dataclass(frozen=True, eq=False)
class Staging:
    """The program of a tree and the variables that are read from it.

    `holdings`, `buys`, `sells` (D·N,) node by node, `cash` (D,); `losses` are the leaf rows, whose duals are the
    adversary's unconditional probabilities of the leaves.
    """

    problem: cp.Problem
    holdings: cp.Variable
    cash: cp.Variable
    buys: cp.Variable
    sells: cp.Variable
    losses: cp.Constraint


@dataclass(frozen=True, eq=False)
class _Nodes:
    """What every constraint speaks of: variables, and values before each node's trades."""

    holdings: cp.Variable
    cash: cp.Variable
    buys: cp.Variable
    sells: cp.Variable
    wealth: cp.Variable
    wealth_before: cp.Variable

    def of(self, node: int, names: int) -> tuple[cp.Expression, cp.Expression]:
        """Holdings (N,) and wealth of one node."""
        return self.holdings[node * names : (node + 1) * names], self.wealth[node]


def staging(
    staged: Staged,
    start: Start,
    *,
    fixed: Vector | None = None,
    trading: bool = True,
    trade_unit: float = TRADE_UNITS[0],
) -> Staging:
    """The program of a mandate over a tree from `start`.

    `fixed` (N,) are holdings after the root's trades that somebody else decided, and whose rules he has looked at;
    without `trading` nothing is traded after the root: a policy that commits now.
    """
    tree = staged.tree
    nodes, names = tree.nodes, len(start.holdings)
    v = _Nodes(
        cp.Variable(nodes * names, nonneg=True, name="holdings"),
        cp.Variable(nodes, nonneg=True, name="cash"),
        cp.Variable(nodes * names, nonneg=True, name="buys"),
        cp.Variable(nodes * names, nonneg=True, name="sells"),
        cp.Variable(nodes, name="wealth"),
        cp.Variable(nodes, name="wealth before trades"),
    )
    theta = cp.Variable(nodes + tree.leaves, name="value")
    carried, carried_cash = _carried(staged)
    before = carried @ v.holdings + np.concatenate([start.holdings, np.zeros((nodes - 1) * names)])
    cash_before = carried_cash @ v.cash + np.concatenate([[start.cash], np.zeros(nodes - 1)])
    each = sp.csr_array(sp.kron(sp.eye_array(nodes), np.ones((1, names))))
    rates = sp.csr_array(sp.block_diag([mandate.cost_rates[None, :] for mandate in staged.mandates]))
    costs, constraints = rates @ (v.buys + v.sells), []
    if staged.mandates[0].impact is not None:
        powers = cp.Variable(nodes * names, nonneg=True, name="trades to the 3/2")
        impact = np.concatenate([np.asarray(mandate.impact) for mandate in staged.mandates])
        # in units in which no cone is small: what a solver calls zero would be all of it
        constraints.append(powers >= cp.power((v.buys + v.sells) / trade_unit, 1.5))
        costs = costs + each @ cp.multiply(impact * trade_unit**1.5, powers)
    losses, measured = leaf_rows(staged, v.holdings, v.cash, theta)
    constraints += [
        v.holdings == before + v.buys - v.sells,
        v.cash == cash_before - each @ v.buys + each @ v.sells - costs,
        v.wealth == each @ v.holdings + v.cash,
        v.wealth_before == each @ before + cash_before,
        v.sells <= before,
        *measured,
        losses,
        *_worst_cases(staged, v, theta),
        *_rules(staged, v, range(0 if fixed is None else 1, nodes if trading else 1)),
    ]
    if fixed is not None:
        constraints.append(v.holdings[:names] == fixed)
    if not trading and nodes > 1:
        constraints += [v.buys[names:] == 0, v.sells[names:] == 0]
    traded = cp.sum(v.buys) + cp.sum(v.sells)
    problem = cp.Problem(cp.Minimize(theta[0] + TIE_BREAK * traded), constraints)
    return Staging(problem, v.holdings, v.cash, v.buys, v.sells, losses)


def _carried(staged: Staged) -> tuple[sp.csr_array, sp.csr_array]:
    """(D·N, D·N) and (D, D): from holdings and cash of the parents to those before each node's trades."""
    tree = staged.tree
    nodes, names = tree.growth.shape
    child = np.arange(1, nodes)
    rows = (child[:, None] * names + np.arange(names)).ravel()
    columns = (tree.parents[1:, None] * names + np.arange(names)).ravel()
    holdings = sp.csr_array((tree.growth[1:].ravel(), (rows, columns)), shape=(nodes * names, nodes * names))
    cash = sp.csr_array((tree.cash_growth[1:], (child, tree.parents[1:])), shape=(nodes, nodes))
    return holdings, cash


def _worst_cases(staged: Staged, v: _Nodes, theta: cp.Variable) -> Iterator[cp.Constraint]:
    """θ_n ≥ the worst case over its children: nodes of a kind at once where that has a form, others one by one."""
    tree, names = staged.tree, staged.tree.growth.shape[1]
    rows = sp.lil_array((tree.nodes, tree.nodes + tree.leaves))
    plain, robust = list[int](), list[Robust]()
    charge = [staged.charge(node) for node in range(tree.nodes)]
    charges = np.zeros(tree.nodes) if staged.risk_charge == 0 else cp.Variable(tree.nodes, nonneg=True, name="charges")
    for node in range(tree.nodes):
        at = np.concatenate([tree.children(node)[0], tree.nodes + tree.children(node)[1]])
        p, ambiguity = tree.child_probabilities(node), staged.ambiguities[node]
        if staged.risk_charge > 0:
            own, _ = v.of(node, names)
            risk = staged.outlooks[node].risk
            parts = cp.hstack([risk.loadings.T @ own, cp.multiply(np.sqrt(risk.specific), own)])
            yield cp.SOC(charges[node], charge[node] * parts)
        if isinstance(shape_of(ambiguity, p)[0], Known):
            rows[[node], at] = p
            plain.append(node)
            continue
        if isinstance(ambiguity, BATCHED):
            robust.append(Robust(node, at, p, ambiguity))
            continue
        worst = worst_case(theta[at], ambiguity, p)
        worst.write(ambiguity, p)
        yield from worst.constraints
        yield theta[node] >= worst.expression + charges[node]
    if plain:
        yield theta[plain] >= sp.csr_array(rows)[plain] @ theta + charges[plain]
    yield from batched(robust, theta, charges)


def _rules(staged: Staged, v: _Nodes, at: Sequence[int]) -> Iterator[cp.Constraint]:
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


def _linear(staged: Staged, node: int) -> tuple[sp.csr_array, Vector]:
    """One node's linear rules over [h, b, s, c, W, W before] of all nodes, and what is left of their limits."""
    nodes, names = staged.tree.growth.shape
    shape = (0, 3 * nodes * names + 3 * nodes)
    rows_of, columns_of, entries, limits, count = [], [], [], list[Vector](), 0
    # where the node's own part of h, b, s, c, W and W before begins
    begins = [node * names + nodes * names * part for part in range(3)]
    begins += [3 * nodes * names + nodes * part + node for part in range(3)]
    for rule in staged.mandates[node].linear_rules:
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


def _floor(rule: WorstCaseFloor, own: cp.Expression, v: _Nodes, node: int, outlook: Outlook) -> Iterator[cp.Constraint]:
    shortfalls = cp.Variable(len(outlook.scenarios), name="shortfalls")
    before = v.wealth_before[node]
    gains = outlook.returns @ own + outlook.cash_returns * v.cash[node]
    worst = worst_case(shortfalls, rule.ambiguity, outlook.probabilities)
    worst.write(rule.ambiguity, outlook.probabilities)
    yield shortfalls >= rule.benchmark_gains(outlook) * before - gains
    yield worst.expression + before - v.wealth[node] <= -rule.limit * before
    yield from worst.constraints


def committed(staged: Staged) -> Staged:
    """The same question for somebody who takes every belief as it is."""
    return replace(staged, ambiguities=(Known(),) * staged.tree.nodes)
