"""The builder of a tree: one set of variables a decision node, all nodes batched into sparse matrices.

    minimise θ_root     θ_n ≥ sup over the ambiguity set of node n of Σ_children q_m·θ_m,     θ_leaf ≥ loss(leaf)

in wealth units, today's account being 1, so that weights times wealth never appear (science §3.7). Holdings, trades
and cash of a node follow from its parent's by the node's growth; a leaf is a loss row of its parent. The adverse
expectation is nested, node by node, hence time-consistent. One decision node is the same program. Where one stands
today and what is believed and guarded against are parameters, so that the same tree is solved again from elsewhere, and
at another belief, without compiling it again; the tree's own numbers are compiled in: as parameters, which cvxpy
multiplies out one by one, they take it a hundred times as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.ambiguity.sets import by_kind, numbers_by_kind
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import MultistageMandate, NestedWorstCase
from allocator.multistage.objectives import ObjectiveRows, TreeVariables
from allocator.optimization.quadratic_program import TIE_BREAK
from allocator.outlook.outlook import Outlook
from allocator.rules.convex import DecisionVariables
from allocator.rules.rows import Position
from allocator.types import DeferredModule, Matrix, Vector

if TYPE_CHECKING:
    import cvxpy as cp
else:
    cp = DeferredModule("cvxpy")

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
    sets: tuple[cp.Parameter, ...]
    around: tuple[cp.Parameter, ...]

    def write(self, staged: MultistageMandate, start: Position | Sequence[Position]) -> None:
        """Let it begin from `start`, which holds the same names: what is not held is not sold, and has no variable.
        Sets of probabilities are where and as large as they are there, charges for risk are linearised around what it
        says.
        """
        starts = _each_start(start)
        self.start[0].value = np.concatenate([one.holdings for one in starts])
        self.start[1].value = np.array([one.cash for one in starts])
        if self.sets:
            solved = [*staged.branchings()]
            numbers = numbers_by_kind([one.ambiguity for one in solved], [one.p for one in solved])
            for parameter, value in zip(self.sets, numbers, strict=True):
                parameter.value = value
        if self.around:
            around = staged.first_around
            charged = self.variables.tree.on_path(around.risks)
            told = (1 / around.nodes, around.risks / around.nodes, around.leaves, np.exp(charged))
            for parameter, value in zip(self.around, told, strict=True):
                parameter.value = value


def compiled_in(staged: MultistageMandate) -> tuple[object, ...]:
    """What of a question is compiled in: all but the sizes of its sets and what they are around, where one stands, and
    what charges for risk are linearised around. Beliefs are, where a rule looks at them.
    """
    tree, mandates, outlooks, names = staged.tree, staged.mandates, staged.outlooks, staged.tree.growth.shape[1]
    linear = {id(rule): rule for one in mandates for rule in one.linear_rules}  # the same ones at most nodes
    convex = {id(rule): rule for one in mandates for rule in one.convex_rules}
    places = {at: i for i, at in enumerate((*linear, *convex))}
    believing = any(one.directions is None for one in convex.values())
    believing = believing or any(one.rows(names).expected.any() for one in linear.values())
    return (
        tuple(getattr(tree, part.name) for part in fields(tree) if part.name not in _OF_BELIEF),
        (*linear.values(), *convex.values()),
        tuple((one.cost_rates, one.impact, tuple(places[id(rule)] for rule in one.rules)) for one in mandates),
        tuple((one.returns, one.cash_returns, one.risk, one.years) for one in outlooks),
        tuple(one.probabilities for one in outlooks) if believing else None,
        repr([one.ambiguity.structure(one.p) for one in staged.branchings()]),
        staged.utility,
    )


_OF_BELIEF = ("probabilities", "beliefs", "leaf_probabilities")
"""What of a tree follows from what is believed."""


def tree_program(
    staged: MultistageMandate,
    start: Position | Sequence[Position],
    *,
    trading: bool = True,
    trade_unit: float = TRADE_UNITS[0],
    cuts: Sequence[Sequence[Vector]] | None = None,
    room: float = 0.0,
) -> TreeProgram:
    """The program of a mandate over a tree from `start`; over a forest of all its trees, each from a start of its own.

    Without `trading` nothing is traded after the root: a policy that commits now. With `cuts`, probabilities of every
    node's children, its adverse expectation is the largest of those: a bound from below on that of any set with all of
    them. With `room`, every limit is so much tighter than the mandate's.
    """
    tree = staged.tree
    nodes, names = tree.growth.shape
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
    roots = np.flatnonzero(tree.parents < 0)
    begins = sp.csr_array((np.ones(len(roots)), (roots, np.arange(len(roots)))), shape=(nodes, len(roots)))
    held, in_cash = cp.Parameter(len(roots) * names, name="held today"), cp.Parameter(len(roots), name="cash today")
    before = _grown(tree.growth, tree.parents, nodes) @ v.holdings + sp.kron(begins, sp.eye_array(names)) @ held
    cash_before = _grown(tree.cash_growth[:, None], tree.parents, nodes) @ v.cash + begins @ in_cash
    each = _each(nodes, names)
    costs, constraints = _costs(staged, v.buys + v.sells, bought | sold, trade_unit)
    ends = _each(tree.leaves, names) @ _grown(tree.leaf_growth, tree.leaf_parents, nodes)
    cash_at_end = _grown(tree.leaf_cash_growth[:, None], tree.leaf_parents, nodes)
    own = staged.utility.rows(v)
    losses = v.theta[nodes:] >= own.losses
    at_end = ends @ v.holdings + cash_at_end @ v.cash
    charged, around = _wealth_at_end(staged, v, at_end)
    worst = [*_worst_cases(staged, v.theta, own, cuts)]
    sets = {one.id: one for row in worst for one in row.parameters()}  # their ids tell which was made first
    constraints += [
        v.holdings == before + v.buys - v.sells,
        v.cash == cash_before - each @ v.buys + each @ v.sells - costs,
        v.wealth == each @ v.holdings + v.cash,
        v.wealth_before == each @ before + cash_before,
        v.sells[np.flatnonzero(sold)] <= before[np.flatnonzero(sold)],
        *charged,
        *own.constraints,
        losses,
        *worst,
        *_rules(staged, v, range(nodes if trading else 1), room),
    ]
    traded = cp.sum(v.buys) + cp.sum(v.sells)
    problem = cp.Problem(cp.Minimize(cp.sum(v.theta[roots]) + TIE_BREAK * traded), constraints)
    program = TreeProgram(problem, v, losses, (held, in_cash), tuple(sets[at] for at in sorted(sets)), around)
    program.write(staged, start)
    return program


def _wealth_at_end(
    staged: MultistageMandate, v: TreeVariables, at_end: cp.Expression
) -> tuple[list[cp.Constraint], tuple[cp.Parameter, ...]]:
    """Wealth at the end as it counts, `PathWealth.counted` in rows with a rotated cone a node; and the parameters of
    the policy that charges for risk are linearised around, in the order of `TreeProgram.write`.
    """
    tree, aversion = staged.tree, staged.utility.path_aversion
    if not aversion:
        return [v.wealth_at_end == at_end], ()
    nodes, per_wealth, wealth_slope = tree.nodes, *(cp.Parameter(tree.nodes, nonneg=True) for _ in range(2))
    ended, raised = (cp.Parameter(tree.leaves, nonneg=True) for _ in range(2))
    risks, moved = cp.Variable(nodes, nonneg=True, name="risks"), cp.Variable(nodes, name="risks moved")
    deviations = cp.Variable(nodes, name="deviations")  # in a cone of their own: one of all names has worse angles
    roots = [
        np.sqrt(aversion / 2 * part) * np.vstack([outlook.risk.loadings.T, np.diag(np.sqrt(outlook.risk.specific))])
        for outlook, part in zip(staged.outlooks, v.steps, strict=True)
    ]
    parts = sp.csr_array(sp.block_diag(roots)) @ v.holdings
    later = np.flatnonzero(tree.parents >= 0)
    above = sp.csr_array((np.ones(len(later)), (later, tree.parents[later])), shape=(nodes, nodes))
    rows = [
        cp.SOC(deviations, cp.reshape(parts, (len(roots[0]), nodes), order="F"), axis=0),
        cp.SOC(v.wealth + risks, cp.vstack([2 * deviations, v.wealth - risks]), axis=0),
        moved == above @ moved + cp.multiply(per_wealth, risks) - cp.multiply(wealth_slope, v.wealth),
        cp.multiply(raised, v.wealth_at_end) == at_end - cp.multiply(ended, moved[tree.leaf_parents]),
    ]
    return rows, (per_wealth, wealth_slope, ended, raised)


def tradable_names(
    staged: MultistageMandate, start: Position | Sequence[Position], *, trading: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(D·N,) what may be bought, and what may be sold, at all. The rest has no variable: one that can only be zero
    leaves a program no interior, and an interior-point solver no way.
    """
    bought = np.ones(staged.tree.growth.shape, dtype=bool)
    for node, mandate in enumerate(staged.mandates):
        for rule in mandate.linear_rules:
            bought[node, list(rule.untradable)] = False
    roots = staged.tree.parents < 0
    if not trading:
        bought[~roots] = False
    sold = bought.copy()
    sold[roots] &= np.array([one.holdings for one in _each_start(start)]) > 0
    return bought.ravel(), sold.ravel()


def _each_start(start: Position | Sequence[Position]) -> Sequence[Position]:
    """One a root."""
    return start if isinstance(start, Sequence) else [start]


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
    """θ_n ≥ the adverse expectation of what is ahead of it (D + L,), or the largest of `cuts`."""
    ahead, charges, solved = own.ahead, own.charges, [*staged.branchings()]
    if staged.at_leaves:  # then only the root has a value, and nothing else would hold the others
        yield theta[1 : staged.tree.nodes] == 0
    if cuts is None:
        yield from nested_worst_cases(solved, theta, ahead, charges)
        return
    for one in solved:
        yield theta[one.node] >= np.array(cuts[one.node]) @ ahead[one.at] + charges[one.node]


def nested_worst_cases(
    solved: Sequence[NestedWorstCase], theta: cp.Variable, ahead: cp.Expression, charges: cp.Expression
) -> Iterator[cp.Constraint]:
    """θ_n ≥ the adverse expectation of what is `ahead` of it."""
    sets, beliefs, at = ([getattr(one, name) for one in solved] for name in ("ambiguity", "p", "at"))
    for where, expression, constraints in by_kind(sets, beliefs, at, ahead) if solved else ():
        yield from constraints
        nodes = [solved[i].node for i in where]
        yield theta[nodes] >= expression + charges[nodes]


def _rules(staged: MultistageMandate, v: TreeVariables, at: Sequence[int], room: float) -> Iterator[cp.Constraint]:
    """Every rule at the decision nodes `at`, kept with `room` to spare."""
    if room:  # else the variable says so itself
        yield v.cash[list(at)] >= room
    left, limits = _all_linear(staged, at)
    if len(limits):
        every = cp.hstack([v.holdings, v.buys, v.sells, v.cash, v.wealth, v.wealth_before])
        yield (left @ every <= limits - room).set_label("rules at every node")
    for node in at:
        outlook, rules = staged.outlooks[node], staged.mandates[node].convex_rules
        if not rules:
            continue
        own, wealth = v.of(node)
        before, gains = v.wealth_before[node], outlook.returns @ own + outlook.cash_returns * v.cash[node]
        factors = outlook.risk.loadings.T @ own
        decision = DecisionVariables(own, wealth, factors, gains, before - wealth, before)
        for stated in rules:
            rule = stated.with_limits([stated.limit - stated.sense * room])
            written = rule.cone(decision, outlook, rule.numbers(outlook, 1.0))
            written.write(rule, outlook)
            yield from written.constraints


def _all_linear(staged: MultistageMandate, at: Sequence[int]) -> tuple[sp.csr_array, Vector]:
    """The linear rules of the decision nodes `at` over [h, b, s, c, W, W before] of all nodes, one above the other, and
    what is left of their limits.
    """
    (nodes, names), count = staged.tree.growth.shape, 0
    rows, columns, entries, limits = [], [], [], list[Vector]()
    for node in at:
        # where the node's own part of h, b, s, c, W and W before begins
        begins = [node * names + nodes * names * part for part in range(3)]
        begins += [3 * nodes * names + nodes * part + node for part in range(3)]
        own = _linear(staged.mandates[node], staged.outlooks[node])
        rows.append(own.rows + count)
        columns.append(np.array(begins)[own.parts] + own.columns)
        entries.append(own.entries)
        limits.append(own.limits)
        count += len(own.limits)
    placed = (np.concatenate(rows), np.concatenate(columns))
    shape = (count, 3 * nodes * names + 3 * nodes)
    return sp.csr_array((np.concatenate(entries), placed), shape=shape), np.concatenate(limits)


class _RuleEntries(NamedTuple):
    """Entries of rows, each in a part of [h, b, s, c, W, W before]; what of the limits does not grow with wealth."""

    rows: NDArray[np.int64]
    parts: NDArray[np.int64]
    columns: NDArray[np.int64]
    entries: Vector
    limits: Vector


@lru_cache(maxsize=256)
def _linear(mandate: Mandate, outlook: Outlook) -> _RuleEntries:
    """One node's linear rules; paths through a node, and trees under other sets or utilities, have the same.

    Entries are placed by hand: stacking sparse blocks rule by rule costs more than compiling the program.
    """
    found, limits, count = list[tuple[Any, ...]](), list[Vector](), 0
    for rule in mandate.linear_rules:
        if rule.untradable:
            continue  # what may not be traded has no variable
        rows = rule.rows(len(mandate.cost_rates)).on(outlook)
        # limits are parts of the account before trading, but a day's volume is money, whatever the account is worth
        fixed, relative = (rows.limit, 0 * rows.limit) if rule.in_money else (0 * rows.limit, rows.limit)
        limits.append(fixed)
        numbers = (rows.cash, -rows.wealth, -relative)
        for part, block in enumerate(
            [rows.holdings, rows.buys, rows.sells, *(sp.csr_array(n[:, None]) for n in numbers)]
        ):
            own = sp.coo_array(block)
            found.append((own.row + count, np.full(own.nnz, part), own.col.astype(np.int64), own.data))
        count += len(rows.labels)
    if not count:
        none = np.zeros(0, dtype=np.int64)
        return _RuleEntries(none, none, none, np.zeros(0), np.zeros(0))
    rows_of, parts, columns, entries = (np.concatenate(each) for each in zip(*found, strict=True))
    return _RuleEntries(rows_of, parts, columns, entries, np.concatenate(limits))
