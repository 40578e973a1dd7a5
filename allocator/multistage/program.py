"""The builder of a tree: one set of variables a decision node, all nodes batched into sparse matrices.

    minimise θ_root     θ_n ≥ sup over the ambiguity set of node n of Σ_children q_m·θ_m,     θ_leaf ≥ loss(leaf)

in wealth units, today's account being 1, so that weights times wealth never appear (science §3.7). Holdings, trades
and cash of a node follow from its parent's by the node's growth; a leaf is a loss row of its parent. The adverse
expectation is nested, node by node, hence time-consistent. One decision node is the same program.

A program that is kept serves all trees of its shape. What is believed and guarded against are parameters of it. The
numbers of its linear rows (growth, costs, rules, where one stands, what charges for risk are linearised around) are
compiled as ones and written into the solver's matrices before each solve: as parameters, which cvxpy multiplies out one
by one, they take it a hundred times as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.ambiguity.sets import by_kind, numbers_by_kind
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import MultistageMandate, NestedWorstCase
from allocator.multistage.objectives import ObjectiveRows, TreeVariables
from allocator.optimization.quadratic_program import TIE_BREAK
from allocator.optimization.solve import Limits, Solver, solve_once
from allocator.optimization.verification import CanonicalCheck
from allocator.outlook.outlook import Outlook
from allocator.outlook.scenario_tree import ScenarioTree
from allocator.rules.convex import DecisionVariables
from allocator.rules.rows import LinearRule, Position, RuleRows
from allocator.types import DeferredModule, Vector

if TYPE_CHECKING:
    import cvxpy as cp
else:
    cp = DeferredModule("cvxpy")

TRADE_UNITS = (0.1, 1.0)
"""Of the account: what trades are measured in where their impact is a cone; where a solver fails on one, the next."""
_LESS = 1e-4
"""What expected wealth counts where the least trades are wanted: nothing brings ten thousand times what is traded."""


class TreeShape(NamedTuple):
    """How a tree is asked: whether anything is traded after the root, in which unit trades are where their impact is a
    cone, how much tighter every limit is than the mandate's, and whether the least trades today are wanted instead.
    """

    trading: bool = True
    trade_unit: float = TRADE_UNITS[0]
    room: float = 0.0
    least: bool = False


PLAIN = TreeShape()


@dataclass(frozen=True, eq=False)
class TreeProgram:
    """The program of a tree and its variables; the duals of `losses`, the leaf rows, are the adversary's unconditional
    probabilities of the leaves. Of one that is kept only `ask` knows the numbers.
    """

    problem: cp.Problem
    variables: TreeVariables
    losses: cp.Constraint
    sets: tuple[cp.Parameter, ...]
    written: _Written | None = None

    def write(self, staged: MultistageMandate, rows: TreeRows) -> None:
        """Let a kept one be of another tree of its shape, whose linear rows these are."""
        if self.written is not None:
            self.written.rows = rows
        if self.sets:
            solved = staged.branchings
            numbers = numbers_by_kind([one.ambiguity for one in solved], [one.p for one in solved])
            for parameter, value in zip(self.sets, numbers, strict=True):
                parameter.value = value

    def ask(self, solver: Solver, limits: Limits) -> tuple[str, CanonicalCheck | None]:
        """A solver's status, and the canonical check of its answer where it says that it has one."""
        return solve_once(self.problem, solver, limits, warm=False, rounded=True, amend=self.written)


def compiled_in(staged: MultistageMandate) -> tuple[object, ...]:
    """What of a question is compiled in: its shape, and what is neither in its linear rows nor the size or the belief
    of a set. Beliefs are, where a convex rule looks at them.
    """
    tree, utility = staged.tree, staged.utility
    convex = {id(rule): rule for one in staged.mandates for rule in one.convex_rules}  # the same ones at most nodes
    places = {at: i for i, at in enumerate(convex)}
    risky, gains = utility.charges_risk or convex, any(one.looks_at_gains for one in convex.values())
    believing = any(one.directions is None for one in convex.values())
    return (
        (tree.parents, tree.leaf_parents, tree.growth.shape[1], tree.leaf_scenarios if staged.at_leaves else None),
        tree.flows is None,
        tuple(convex.values()),
        tuple((one.impact is None, tuple(places[id(rule)] for rule in one.convex_rules)) for one in staged.mandates),
        tuple((one.risk, one.years) for one in staged.outlooks) if risky else None,
        tuple((one.returns, one.cash_returns) for one in staged.outlooks) if gains or believing else None,
        tuple(one.probabilities for one in staged.outlooks) if believing else None,
        repr([one.ambiguity.structure(one.p) for one in staged.branchings]),
        utility,
    )


def tree_program(
    staged: MultistageMandate,
    start: Position | Sequence[Position],
    shape: TreeShape = PLAIN,
    *,
    rows: TreeRows | None = None,
    cuts: Sequence[Sequence[Vector]] | None = None,
) -> TreeProgram:
    """The program of a mandate over a tree from `start`; over a forest of all its trees, each from a start of its own.
    One to keep for all trees whose linear rows are as `rows`, where these are given.

    With `cuts`, probabilities of every node's children, its adverse expectation is the largest of those: a bound from
    below on that of any set with all of them.
    """
    tree = staged.tree
    nodes, names = tree.growth.shape
    stated = tree_rows(staged, start, shape) if rows is None else rows.as_ones()
    bought, sold = stated.tradable
    v = TreeVariables(
        tree,
        staged.outlooks,
        staged.steps,
        holdings=cp.Variable(nodes * names, nonneg=True, name="holdings"),
        cash=cp.Variable(nodes, nonneg=True, name="cash"),
        buys=_only(bought, purchases := cp.Variable(int(bought.sum()), nonneg=True, name="buys")),
        sells=_only(sold, sales := cp.Variable(int(sold.sum()), nonneg=True, name="sells")),
        wealth=cp.Variable(nodes, name="wealth"),
        wealth_before=cp.Variable(nodes, name="wealth before trades"),
        wealth_at_end=cp.Variable(tree.leaves, name="wealth at the end"),
        theta=cp.Variable(nodes + tree.leaves, name="value"),
    )
    further, cones = _cones(staged, v, bought | sold, shape.trade_unit)
    parts = [v.holdings, purchases, sales, v.cash, v.wealth, v.wealth_before, v.wealth_at_end, *further]
    every = cp.hstack([part for part in parts if part.size])
    linear = [stated.equations @ every == stated.sides]
    if len(stated.limits):
        linear.append(stated.limited @ every <= stated.limits)
    own = staged.utility.rows(v)
    losses = v.theta[nodes:] >= own.losses
    worst = [*_worst_cases(staged, v.theta, own, cuts)]
    sets = {one.id: one for row in worst for one in row.parameters()}  # their ids tell which was made first
    first = names if shape.least else nodes * names
    traded = cp.sum(v.buys[:first]) + cp.sum(v.sells[:first])
    value = cp.sum(v.theta[np.flatnonzero(tree.parents < 0)])
    wanted = traded + _LESS * value if shape.least else value + TIE_BREAK * traded
    constraints = [*linear, *cones, *own.constraints, losses, *worst]
    problem = cp.Problem(cp.Minimize(wanted), [*constraints, *_convex_rules(staged, v, shape)])
    kept = None if rows is None else _Written(problem, every, linear, rows)
    program = TreeProgram(problem, v, losses, tuple(sets[at] for at in sorted(sets)), kept)
    program.write(staged, stated if rows is None else rows)
    return program


def _cones(
    staged: MultistageMandate, v: TreeVariables, tradable: NDArray[np.bool_], trade_unit: float
) -> tuple[list[cp.Variable], list[cp.Constraint]]:
    """What trades cost and the charges for risk where they are charged, in the order of `TreeRows`, and the cones of
    both: of wealth at the end as it counts, `PathWealth.counted`, with a rotated cone a node.
    """
    nodes, aversion = v.tree.nodes, staged.utility.path_aversion
    further, cones = [cp.Variable(nodes, name="costs")], list[cp.Constraint]()
    if staged.mandates[0].impact is not None:
        at = np.flatnonzero(tradable)
        further.append(cp.Variable(len(at), nonneg=True, name="trades to the 3/2"))
        # in units in which no cone is small: what a solver calls zero would be all of it
        cones.append(further[-1] >= cp.power((v.buys + v.sells)[at] / trade_unit, 1.5))
    if not aversion:
        return further, cones
    risks, moved = cp.Variable(nodes, nonneg=True, name="risks"), cp.Variable(nodes, name="risks moved")
    further += [risks, moved]
    wealth = v.wealth
    if v.tree.flows is not None:
        further.append(wealth := cp.Variable(nodes, name="wealth with what is to come"))
    deviations = cp.Variable(nodes, name="deviations")  # in a cone of their own: one of all names has worse angles
    roots = [
        np.sqrt(aversion / 2 * part) * np.vstack([outlook.risk.loadings.T, np.diag(np.sqrt(outlook.risk.specific))])
        for outlook, part in zip(staged.outlooks, v.steps, strict=True)
    ]
    parts = sp.csr_array(sp.block_diag(roots)) @ v.holdings
    cones.append(cp.SOC(deviations, cp.reshape(parts, (len(roots[0]), nodes), order="F"), axis=0))
    cones.append(cp.SOC(wealth + risks, cp.vstack([2 * deviations, wealth - risks]), axis=0))
    return further, cones


def _only(mask: NDArray[np.bool_], variable: cp.Variable) -> cp.Expression:
    """(D·N,) variables where the mask is, zero elsewhere."""
    at = np.flatnonzero(mask)
    place = sp.csr_array((np.ones(len(at)), (at, np.arange(len(at)))), shape=(len(mask), len(at)))
    return place @ variable if len(at) else cp.Constant(np.zeros(len(mask)))


def _worst_cases(
    staged: MultistageMandate, theta: cp.Variable, own: ObjectiveRows, cuts: Sequence[Sequence[Vector]] | None
) -> Iterator[cp.Constraint]:
    """θ_n ≥ the adverse expectation of what is ahead of it (D + L,), or the largest of `cuts`."""
    ahead, charges, solved = own.ahead, own.charges, staged.branchings
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


def _convex_rules(staged: MultistageMandate, v: TreeVariables, shape: TreeShape) -> Iterator[cp.Constraint]:
    """Every convex rule at the nodes where it is asked, kept with room to spare."""
    if shape.room:  # else the variable says so itself
        yield (v.cash if shape.trading else v.cash[:1]) >= shape.room
    for node in range(staged.tree.nodes if shape.trading else 1):
        outlook, rules = staged.outlooks[node], staged.mandates[node].convex_rules
        if not rules:
            continue
        own, wealth = v.of(node)
        before, gains = v.wealth_before[node], outlook.returns @ own + outlook.cash_returns * v.cash[node]
        factors = outlook.risk.loadings.T @ own
        decision = DecisionVariables(own, wealth, factors, gains, before - wealth, before)
        for stated in rules:
            rule = stated.with_limits([stated.limit - stated.sense * shape.room])
            written = rule.cone(decision, outlook, rule.numbers(outlook, 1.0))
            written.write(rule, outlook)
            yield from written.constraints


# The linear rows of a tree, with all that is a number in them.
#


@dataclass(frozen=True, eq=False)
class TreeRows:
    """`equations` @ x = `sides` and `limited` @ x ≤ `limits`, over x of holdings (D·N), purchases and sales of what may
    be traded, cash, wealth and wealth before trades (D each), wealth at the end (L), what trades cost (D), its powers
    where trades have impact, and charges for risk and what they move (D each) where it is charged, beside wealth with
    what is to come (D) where cash flows later.

    `tradable` (D·N,) are what may be bought, and what may be sold, at all. The rest has no variable: one that can only
    be zero leaves a program no interior, and an interior-point solver no way.
    """

    shape: TreeShape
    tradable: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    equations: sp.csr_array
    sides: Vector
    limited: sp.csr_array
    limits: Vector

    @property
    def pattern(self) -> tuple[NDArray[Any], ...]:
        """Where its numbers are, as far as more than the tree decides it."""
        return (*self.tradable, self.limited.indptr, self.limited.indices)

    def from_elsewhere(self, tree: ScenarioTree, start: Position | Sequence[Position]) -> TreeRows | None:
        """The same tree's from another start; None where there is other to sell."""
        (bought, sold), names, roots = self.tradable, tree.growth.shape[1], np.flatnonzero(tree.parents < 0)
        starts, at = start if isinstance(start, Sequence) else [start], _names_of(roots, names)
        held = np.concatenate([one.holdings for one in starts])
        if not np.array_equal(sold[at], bought[at] & (held > 0)):
            return None
        sides = self.sides.copy()
        sides[at], sides[bought.size + roots] = held, [one.cash for one in starts]
        return replace(self, sides=sides)

    def as_ones(self) -> TreeRows:
        """Ones in their places."""
        ones = [
            sp.csr_array((np.ones(rows.nnz), rows.indices, rows.indptr), shape=rows.shape)
            for rows in (self.equations, self.limited)
        ]
        sides, limits = np.ones(len(self.sides)), np.ones(len(self.limits))
        return TreeRows(self.shape, self.tradable, ones[0], sides, ones[1], limits)


class _Written:
    """Writes the linear rows of a kept program into a solver's matrices, over the ones that stand there."""

    def __init__(self, problem: cp.Problem, every: cp.Expression, linear: Sequence[cp.Constraint], rows: TreeRows):
        self.rows = rows
        self._problem, self._every, self._linear = problem, every, linear
        self._places: list[_Places] = []

    def __call__(self, data: dict[str, Any], chain: Any, inverse: Any) -> None:
        """Into the `data` of cvxpy's chain."""
        rows = self.rows
        blocks = ((rows.equations, rows.sides), (rows.limited, rows.limits))[: len(self._linear)]
        if not self._places:
            # what each column and each row becomes of a point that counts them
            columns, count = np.arange(1.0, len(data["c"]) + 1), np.arange(1.0, len(data["b"]) + 1)
            told = SimpleNamespace(x=columns, z=count, status="Solved", obj_val=0.0, solve_time=0.0, iterations=0)
            self._problem.unpack(chain.invert(told, inverse))
            at = np.asarray(self._every.value).astype(int) - 1
            for (matrix, _), one in zip(blocks, self._linear, strict=True):
                own = np.abs(np.atleast_1d(one.dual_value)).astype(int) - 1
                self._places.append(_Places.of(data["A"], data["b"], matrix, own, at))
        for (matrix, sides), places in zip(blocks, self._places, strict=True):
            places.write(data["A"], data["b"], matrix.data, sides)


@dataclass(frozen=True, eq=False)
class _Places:
    """Where entries and sides of rows stand in a solver's matrix and vector, and their signs there."""

    entries: NDArray[np.int64]
    signs: Vector
    rows: NDArray[np.int64]
    row_signs: Vector

    @classmethod
    def of(cls, A: sp.csc_array, b: Vector, matrix: sp.csr_array, rows: NDArray[np.int64], columns: Any) -> _Places:
        """Of a matrix that was compiled as ones."""
        owner = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        A.sort_indices()
        there = np.repeat(np.arange(A.shape[1]), np.diff(A.indptr)) * A.shape[0] + A.indices
        wanted = columns[matrix.indices] * A.shape[0] + rows[owner]
        entries = np.minimum(np.searchsorted(there, wanted), len(there) - 1)
        if not np.array_equal(there[entries], wanted):
            raise AssertionError("a number of a tree has no place in what was compiled")
        return cls(entries, A.data[entries], rows, b[rows])

    def write(self, A: sp.csc_array, b: Vector, numbers: Vector, sides: Vector) -> None:
        """Over the ones."""
        A.sort_indices()
        is_there = np.array_equal(A.data[self.entries], self.signs) and np.array_equal(b[self.rows], self.row_signs)
        if not (is_there and (np.abs(self.signs) == 1).all() and (np.abs(self.row_signs) == 1).all()):
            raise AssertionError("a number of a tree is not where it was compiled")
        A.data[self.entries] = self.signs * numbers
        b[self.rows] = self.row_signs * sides


class _TreeColumns(NamedTuple):
    """Where each part of x begins."""

    holdings: int
    buys: int
    sells: int
    cash: int
    wealth: int
    before: int
    at_end: int
    costs: int
    powers: int
    risks: int
    moved: int
    whole: int
    width: int


def tree_rows(staged: MultistageMandate, start: Position | Sequence[Position], shape: TreeShape = PLAIN) -> TreeRows:
    """All linear rows of a tree from `start`, or of a forest, each tree of it from a start of its own."""
    tree, charged = staged.tree, bool(staged.utility.path_aversion)
    bought, sold = tradable = tradable_names(staged, start, trading=shape.trading)
    nodes, several = tree.nodes, int((bought | sold).sum()) if staged.mandates[0].impact is not None else 0
    sizes = [bought.size, int(bought.sum()), int(sold.sum()), nodes, nodes, nodes, tree.leaves, nodes, several]
    flows = charged and tree.flows is not None
    x = _TreeColumns(*np.cumsum([0, *sizes, *(nodes * charged,) * 2, nodes * flows]).tolist())
    rows = _Entries()
    _add_account(rows, staged, tradable, x, shape.trade_unit)
    _add_wealth_at_end(rows, staged, x)
    sides = np.concatenate([np.zeros(bought.size), tree.cash_flows, np.zeros(rows.count - bought.size - nodes)])
    if flows:  # wealth with what is to come is wealth, and that
        at, node = rows.begin(nodes), np.arange(nodes)
        rows.add(at + node, x.whole + node, 1.0)
        rows.add(at + node, x.wealth + node, -1.0)
        sides = np.append(sides, tree.to_come)
    matrix, limited = rows.matrix(x.width), _limited_rows(staged, tradable, x, shape)
    found = TreeRows(shape, tradable, matrix, sides, *limited).from_elsewhere(tree, start)
    assert found is not None  # it was laid out for what there is to sell
    return found


def _names_of(nodes: NDArray[np.int64], names: int) -> NDArray[np.int64]:
    """Where the names of some nodes stand, node by node."""
    return (nodes[:, None] * names + np.arange(names)).ravel()


def _add_account(
    rows: _Entries, staged: MultistageMandate, tradable: Sequence[NDArray[np.bool_]], x: _TreeColumns, unit: float
) -> None:
    """Holdings, cash, wealth, wealth before trades, and what trades cost."""
    tree = staged.tree
    (nodes, names), later = tree.growth.shape, np.flatnonzero(tree.parents >= 0)
    own, node, parents = np.arange(nodes * names), np.arange(nodes), tree.parents[later]
    of_name = np.repeat(node, names)  # whose a name's entry is
    trades = [(np.flatnonzero(tradable[0]), x.buys, 1.0), (np.flatnonzero(tradable[1]), x.sells, -1.0)]
    at = rows.begin(len(own))  # h = growth times h of the parent, or what is held today, + b - s
    rows.add(at + own, x.holdings + own, 1.0)
    rows.add(at + _names_of(later, names), x.holdings + _names_of(parents, names), -tree.growth[later].ravel())
    for those, begin, sign in trades:
        rows.add(at + those, begin + np.arange(len(those)), -sign)
    at = rows.begin(nodes)  # c = growth times c of the parent, or what there is today, - b + s - costs
    rows.add(at + node, x.cash + node, 1.0)
    rows.add(at + later, x.cash + parents, -tree.cash_growth[later])
    rows.add(at + node, x.costs + node, 1.0)
    for those, begin, sign in trades:
        rows.add(at + of_name[those], begin + np.arange(len(those)), sign)
    at = rows.begin(nodes)  # W = Σh + c
    rows.add(at + node, x.wealth + node, 1.0)
    rows.add(at + of_name, x.holdings + own, -1.0)
    rows.add(at + node, x.cash + node, -1.0)
    at = rows.begin(nodes)  # before trades it is what they cost more
    for begin, number in ((x.before, 1.0), (x.wealth, -1.0), (x.costs, -1.0)):
        rows.add(at + node, begin + node, number)
    at, rates = rows.begin(nodes), np.concatenate([mandate.cost_rates for mandate in staged.mandates])
    rows.add(at + node, x.costs + node, 1.0)
    for those, begin, _ in trades:
        rows.add(at + of_name[those], begin + np.arange(len(those)), -rates[those])
    if staged.mandates[0].impact is not None:
        impact, those = (
            np.concatenate([mandate.impact for mandate in staged.mandates]),
            np.flatnonzero(np.any(tradable, 0)),
        )
        rows.add(at + of_name[those], x.powers + np.arange(len(those)), -impact[those] * unit**1.5)


def _add_wealth_at_end(rows: _Entries, staged: MultistageMandate, x: _TreeColumns) -> None:
    """Wealth at the end as it counts, `PathWealth.counted` times what it is discounted by there."""
    tree, around, charged = staged.tree, staged.first_around, bool(staged.utility.path_aversion)
    (leaves, names), above = tree.leaf_growth.shape, tree.leaf_parents
    leaf, node, later = np.arange(leaves), np.arange(tree.nodes), np.flatnonzero(tree.parents >= 0)
    at = rows.begin(leaves)
    rows.add(at + leaf, x.at_end + leaf, np.exp(tree.on_path(around.risks)) if charged else 1.0)
    rows.add(at + np.repeat(leaf, names), x.holdings + _names_of(above, names), -tree.leaf_growth.ravel())
    rows.add(at + leaf, x.cash + above, -tree.leaf_cash_growth)
    if charged:
        rows.add(at + leaf, x.moved + above, around.leaves)
        at = rows.begin(tree.nodes)
        rows.add(at + node, x.moved + node, 1.0)
        rows.add(at + later, x.moved + tree.parents[later], -1.0)
        rows.add(at + node, x.risks + node, -1 / around.nodes)
        whole = x.wealth if tree.flows is None else x.whole
        rows.add(at + node, whole + node, around.risks / around.nodes)


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
    starts = start if isinstance(start, Sequence) else [start]
    sold[roots] &= np.array([one.holdings for one in starts]) > 0
    return bought.ravel(), sold.ravel()


class _Entries:
    """Entries of rows, one below the other."""

    def __init__(self) -> None:
        self.count = 0
        self._rows, self._columns, self._numbers = list[Any](), list[Any](), list[Any]()

    def begin(self, count: int) -> int:
        """The first of so many further rows."""
        self.count += count
        return self.count - count

    def add(self, rows: NDArray[np.int64], columns: NDArray[np.int64], numbers: Vector | float) -> None:
        """One a row and column; those without a column are left out."""
        self._rows.append(rows)
        self._columns.append(columns)
        self._numbers.append(np.broadcast_to(numbers, rows.shape))

    def matrix(self, width: int) -> sp.csr_array:
        """All of them, zeros among them too."""
        rows, columns, numbers = (np.concatenate(each) for each in (self._rows, self._columns, self._numbers))
        is_there = columns >= 0
        placed = (numbers[is_there].astype(float), (rows[is_there], columns[is_there]))
        found = sp.csr_array(placed, shape=(self.count, width))
        found.sort_indices()
        return found


def _limited_rows(
    staged: MultistageMandate, tradable: Sequence[NDArray[np.bool_]], x: _TreeColumns, shape: TreeShape
) -> tuple[sp.csr_array, Vector]:
    """What is sold was held, and linear rules of every node, of today alone where nothing is traded later."""
    (nodes, names), rows = staged.tree.growth.shape, _Entries()
    # the columns of [h, b, s, c, W, W before], -1 where there is none
    begins = zip(tradable, (x.buys, x.sells), strict=True)
    trades = [np.where(mask, begin + np.cumsum(mask) - 1, -1) for mask, begin in begins]
    of_nodes = [begin + np.arange(nodes) for begin in (x.cash, x.wealth, x.before)]
    places = np.concatenate([x.holdings + np.arange(nodes * names), *trades, *of_nodes])
    at, block = np.flatnonzero(tradable[1]), nodes * names
    own, limits = np.arange(rows.begin(len(at)), rows.count), [np.zeros(len(at))]
    rows.add(own, places[at], -1.0)  # holdings before trades less sales are holdings less purchases
    rows.add(own, places[block + at], 1.0)
    for node in range(nodes if shape.trading else 1):
        # where the node's own part of h, b, s, c, W and W before begins
        own = np.array([node * names + block * part for part in range(3)])
        own = np.append(own, [3 * block + nodes * part + node for part in range(3)])
        found = _linear(staged.mandates[node], staged.outlooks[node])
        begin = rows.begin(len(found.limits))
        rows.add(begin + found.rows, places[own[found.parts] + found.columns], found.entries)
        limits.append(found.limits - shape.room)
    return rows.matrix(x.width), np.concatenate(limits)


class _RuleEntries(NamedTuple):
    """Entries of rows, each in a part of [h, b, s, c, W, W before]; what of the limits does not grow with wealth."""

    rows: NDArray[np.int64]
    parts: NDArray[np.int64]
    columns: NDArray[np.int64]
    entries: Vector
    limits: Vector


@lru_cache(maxsize=256)
def _linear(mandate: Mandate, outlook: Outlook) -> _RuleEntries:
    """One node's linear rules; paths through a node, and trees under other sets or utilities, have the same."""
    names = len(mandate.cost_rates)
    rules = [rule for rule in mandate.linear_rules if not rule.untradable]  # what may not be traded has no variable
    each = [_rule_entries(rule, names, outlook if _rows_of(rule, names)[1] else None) for rule in rules]
    first = np.cumsum([0, *(len(one.limits) for one in each)]).tolist()
    moved = [one._replace(rows=one.rows + begin) for one, begin in zip(each, first, strict=False)]
    none = np.zeros(0, dtype=np.int64)
    every = zip(_RuleEntries(none, none, none, np.zeros(0), np.zeros(0)), *moved, strict=True)
    return _RuleEntries(*map(np.concatenate, every))


@lru_cache(maxsize=1024)
def _rows_of(rule: LinearRule, names: int) -> tuple[RuleRows, bool]:
    """A rule's rows, and whether they look at what the scenarios bring."""
    rows = rule.rows(names)
    return rows, bool(rows.uses_scenario_returns.any())


@lru_cache(maxsize=1024)
def _rule_entries(rule: LinearRule, names: int, outlook: Outlook | None) -> _RuleEntries:
    """One rule's rows, placed by hand: stacking sparse blocks costs more than compiling the program."""
    rows, found = _rows_of(rule, names)[0], list[tuple[Any, ...]]()
    rows = rows if outlook is None else rows.on(outlook)
    # limits are parts of the account before trading, but a day's volume is money, whatever the account is worth
    fixed, relative = (rows.limit, 0 * rows.limit) if rule.in_money else (0 * rows.limit, rows.limit)
    for part, block in enumerate((rows.holdings, rows.buys, rows.sells)):
        own = sp.coo_array(block)
        found.append((own.row, np.full(own.nnz, part), own.col, own.data))
    for part, numbers in enumerate((rows.cash, -rows.wealth, -relative), start=3):
        at = np.flatnonzero(numbers)
        found.append((at, np.full(len(at), part), 0 * at, numbers[at]))
    at_rows, parts, columns, entries = (np.concatenate(each) for each in zip(*found, strict=True))
    return _RuleEntries(at_rows, parts, columns, entries, fixed)
