"""The best policy over a tree: solved, checked outside the solver, and decided where the adversary does not look.

Whatever the solver says, only its trades are kept: `policy_from_trades` makes a policy of them, whose rules are
measured at every node and whose objective is recomputed from the formulas. The compiled program's
residuals, cones and duality gap are checked by numpy.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.errors import Infeasible, NotSolved
from allocator.multistage.mandate import MultistageMandate, without_ambiguity
from allocator.multistage.objectives import DrawnTail, LinearUtility
from allocator.multistage.policy import (
    Policy,
    adverse_node_probabilities,
    path_wealth,
    policy_from_trades,
    refuse_broken_policy,
)
from allocator.multistage.program import (
    PLAIN,
    TRADE_UNITS,
    TreeProgram,
    TreeShape,
    compiled_in,
    tree_program,
    tree_rows,
)
from allocator.optimization.highs import linear_model, quiet_highs, run_highs
from allocator.optimization.quadratic_program import TIE_BREAK
from allocator.optimization.solve import CLARABEL, RELAXED, RESIDUAL_ALLOWED, Limits, Solver
from allocator.optimization.verification import CanonicalCheck, linear_check
from allocator.rules import NoTrade
from allocator.rules.epigraphs import ColumnLayout, Cuts, impact_cuts
from allocator.rules.rows import Position
from allocator.types import DeferredModule, Matrix, Vector

if TYPE_CHECKING:
    import cvxpy as cp
    import highspy
else:
    cp, highspy = DeferredModule("cvxpy"), DeferredModule("highspy")

# Trees that were compiled a moment ago: a tree of the same shape is solved again without compiling it again.
#
# What is lived through many times in one question (the lots against holding, who holds other weights or believes
# otherwise, another announcement share) differs in numbers alone. Programs are kept by thread, a few of them, and found
# by comparing all that is compiled in, where a hash of what differs most is the same.
#
_KEPT, _KEPT_SIZE = 96, 20_000
"""Programs that are kept, and the decisions of all of them, but for the last."""
_of_thread = threading.local()


def compiled_tree_program(
    staged: MultistageMandate, start: Position | Sequence[Position], shape: TreeShape = PLAIN
) -> TreeProgram:
    """The program of a tree from `start`: one that was compiled before where only numbers are others."""
    kept: list[tuple[int, object, TreeProgram]] = _of_thread.__dict__.setdefault("kept", [])
    parts = (staged.tree, staged.mandates, staged.outlooks, staged.ambiguities, staged.utility, staged.around)
    before, own, rows = _of_thread.__dict__.get("asked", ((None,) * len(parts), (), None))
    is_same = [one is other for one, other in zip(parts, before, strict=True)]
    own = own if all(is_same[:-1]) else compiled_in(staged)
    moved = (
        rows.from_elsewhere(staged.tree, start) if rows is not None and rows.shape == shape and all(is_same) else None
    )
    rows = moved or tree_rows(staged, start, shape)
    _of_thread.asked = (parts, own, rows)
    question = (shape, rows.pattern, own)
    key = hash((shape, *(part.tobytes() for part in rows.pattern), *(part for part in own if isinstance(part, str))))
    for place, (stated, other, program) in enumerate(kept):
        if stated == key and is_identical(other, question):
            del kept[place]
            kept.append((key, question, program))  # compared with the next at a glance where it is the same
            program.write(staged, rows)
            return program
    program = tree_program(staged, start, shape, rows=rows)
    if not staged.utility.is_large:
        kept.append((key, question, program))
        while len(kept) > _KEPT or sum(one.variables.holdings.size for _, _, one in kept[:-1]) > _KEPT_SIZE:
            del kept[0]
    return program


def is_identical(one: object, other: object) -> bool:
    """Whether two parts of a question are equal to their last digit."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(is_identical, one, other))
    if is_dataclass(one):
        return all(is_identical(getattr(one, part.name), getattr(other, part.name)) for part in fields(one))
    return bool(one == other)


_DISAGREES = 1e-6
"""How far the recomputed objective may lie from the solver's, as a fraction of the account."""
SMALL_STEPS: Mapping[str, float] = {"min_switch_step_length": 1e-3, "min_terminate_step_length": 1e-8}
"""Many cones leave the first steps little room: by its defaults the solver gives up there, one tree in two of twelve
reviews. Where it does not, these change nothing that it does."""
_LADDER = (
    replace(CLARABEL, further=SMALL_STEPS),
    CLARABEL.at(10.0, str(RELAXED), SMALL_STEPS),
    CLARABEL.at(1.0, "CLARABEL with shorter steps", {**SMALL_STEPS, "max_step_fraction": 0.95}),
    CLARABEL.at(1.0, "CLARABEL by its defaults"),
    CLARABEL.at(100.0, "CLARABEL at 100 x tolerance", SMALL_STEPS),
)
"""Where cones meet in a corner the last digits may be out of reach; our own checks then judge what is left."""
_COARSE = CLARABEL.at(1e3, "CLARABEL at 1000 x tolerance", SMALL_STEPS)
"""Half of the steps are for the last three digits, and a charge linearised around less is as good as at rest."""
_COARSE_ALLOWED, _COARSE_REPEATS, _NEARBY = 1e-4, 3, 1e-4
"""Its canonical residuals, how often it is asked at most, and the change of what wealth at the end counts as by which
the next answer will be at rest.
"""
_ROOMS = (1e-6, 4e-6)
"""Of the account: where what a solver is sure of keeps the limits but for its last digits, how much tighter it is asked
to keep them."""
_MOST_CUTS = 60
_CUT_ENOUGH = 1e-8
"""How near the adverse expectation of a policy is to that of the cuts when they are enough."""
_REPEATS, _AT_REST = 4, 1e-9
"""How often a tree is solved again around what was found at most, and the change of certainty equivalent by which that
is found again. Each repeat leaves about a thousandth of it."""
_NO_TRADE = 1e-8
"""Of the account: a smaller trade is what a solver makes of none."""
_OFF_PATH = 1e-6
"""A node to which the adversary gives less than this probability has not been decided by the program (science F11)."""


def solve_policy(
    staged: MultistageMandate,
    start: Position,
    limits: Limits | None = None,
    *,
    trading: bool = True,
) -> Policy:
    """The best policy over a tree, checked outside the solver; without `trading` nothing is traded after its root.

    Where the risk on the way is charged, the charge is linearised around what comes of it at a coarse tolerance, and
    around what was found, until that stays where it is (science §3.14).

    Raises:
        Infeasible: limits conflict at some node.
        NotSolved: no solver's answer passes the checks.
    """
    limits = limits or Limits()
    staged = _charged_nearby(staged, start, limits, TreeShape(trading))
    policy = _solved(staged, start, limits, trading=trading)
    for _ in range(_REPEATS if staged.utility.path_aversion else 0):
        if abs(policy.residual) <= _AT_REST:
            break
        policy = _solved(replace(staged, around=policy.own_path), start, limits, trading=trading)
    return _decided(policy, limits) if trading else policy


def _charged_nearby(
    staged: MultistageMandate, start: Position | Sequence[Position], limits: Limits, shape: TreeShape = PLAIN
) -> MultistageMandate:
    """The same question with risk on the way charged around what it comes to at a coarse tolerance, asked until that
    is charged as it was found. The question itself where it is not charged or nothing is found.
    """
    for _ in range(_COARSE_REPEATS if staged.utility.path_aversion else 0):
        program = compiled_tree_program(staged, start, shape)
        residuals = program.ask(_COARSE, limits)[1]
        if residuals is None or residuals.worst > _COARSE_ALLOWED:
            break
        v = program.variables
        holdings = np.maximum(v.holdings.value, 0.0).reshape(staged.tree.growth.shape)
        own, before = path_wealth(staged, holdings, v.cash.value), staged.first_around
        staged = replace(staged, around=own)
        if np.abs(own.counted(staged.tree, own) - before.counted(staged.tree, own)).max() <= _NEARBY:
            break
    return staged


def _solved(staged: MultistageMandate, start: Position, limits: Limits, *, trading: bool) -> Policy:
    """The best policy by one program, before nodes are decided that the adversary rules out.

    Raises:
        Infeasible: limits conflict at some node.
        NotSolved: no solver's answer passes the checks.
    """
    attempts = list[str]()
    staged.mandates[0].refuse_unchosen()
    ruled = range(staged.tree.nodes if trading else 1)
    stated: Policy | None = None
    if (tail := staged.utility.tail) is not None and staged.tree.nodes == 1:
        try:
            policy = TailRows(staged, start, tail).solve(limits)
            _refuse_unproved(policy, ruled)
            return policy
        except NotSolved as error:
            attempts.append(f"{_BY_ROWS}: {error}")
    for solver, program, room in _ladder(staged, start, trading=trading):
        if room and stated is None:  # then limits are not what stands in the way
            break
        status, residuals = program.ask(solver, limits)
        if status in (cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE):
            attempts.append(f"{solver}: {status}")
            break
        if residuals is None or residuals.worst > RESIDUAL_ALLOWED:
            attempts.append(f"{solver}: {status if residuals is None else f'residuals are {residuals.worst:.1e}'}")
            continue
        try:
            policy = _followed(staged, start, program, str(solver), attempts, residuals)
            if stated is not None and room:  # no policy is better than under the limits as they are stated
                policy = replace(policy, canonical=stated.canonical, claimed=stated.claimed)
            stated = stated or policy
            _refuse_unproved(policy, ruled)
            return policy
        except NotSolved as error:
            attempts.append(f"{solver}: {error}")
    refuse_infeasible_tree(staged, start, limits, trading=trading)
    try:
        if staged.at_leaves:
            raise NotSolved("are for adverse expectations node by node")
        return _by_cuts(staged, start, limits, attempts, ruled, trading=trading)
    except NotSolved as error:
        attempts.append(f"by cuts: {error}")
    cure = "loosen solver.tolerance a little" + (", or a tight rule" if staged.mandates[0].rules else "")
    if staged.utility.path_aversion:  # more risk than all wealth could pay for leaves nothing of it to have a utility
        cure += ", or set mandate.charge_risk = false if rules force too much risk for such an aversion"
    raise NotSolved(f"no verified policy ({'; '.join(attempts)}); {cure}")


def _ladder(
    staged: MultistageMandate, start: Position, *, trading: bool
) -> Iterator[tuple[Solver, TreeProgram, float]]:
    """The solver at ever looser tolerances; where trades have impact, then once more in another unit of trades; then
    with room to spare at every limit.
    """
    units = TRADE_UNITS if staged.mandates[0].impact is not None else TRADE_UNITS[:1]
    for room, unit in product((0.0, *_ROOMS), units):
        other = "" if unit == TRADE_UNITS[0] else ", other units"
        other += f", limits tighter by {room:.0e}" if room else ""
        for solver in _LADDER:  # written anew for each, whatever else was solved in between
            program = compiled_tree_program(staged, start, TreeShape(trading, unit, room))
            yield replace(solver, label=f"{solver}{other}"), program, room


# A tail of many draws at one decision: rows of the draws that are in it, and of no others.
#
# A linear program on a model that HiGHS keeps: it starts with the draws that are worst for today's holdings, is solved
# again with those that its solution has in the tail besides, and ends exactly, where there are none. Linear rules are
# rows, convex ones and impact are cut by their tangents, the set of probabilities by its adversary: each row is valid
# for the whole question, so that the last program's bound is one of it.
#
_BY_ROWS = "HIGHS by rows"
_BEGIN = 2.0
"""The draws to begin with: times what a tail has of the probability. With fewer the first solution's tail has thousands
more, and with less than a tail has of it the threshold has no end."""
_ADDED = 300
"""Draws added in a round, at most: the worst."""
_NEAR = 30
"""Draws added beside those that are missing, the next to be: most of them are what the next weight would miss."""
_TAIL_MET, _TAIL_ROUNDS = 1e-10, 400
"""How near to its bound the objective is when rows are enough."""
_DEVEX = 1
"""HiGHS's number of the weights of edges that are cheap to begin with."""
_DUAL, _PRIMAL, _MOST_STEPS = 1, 4, 200_000
"""HiGHS's numbers of its simplex methods, and the steps that end a run, which needs a few thousand."""
_TIES = 4.0
"""Of the account: more is not traded, so that the price that breaks ties is no more than so many times itself."""
_TAIL_TOLERANCE, _TANGENT_MET = 1e-9, 1e-8
"""Where HiGHS calls a row kept, and how near the epigraph of a convex function is to it when tangents are enough."""


class HoldingPrices(NamedTuple):
    """No policy that holds h (N,) loses less than `constant` + slopes·h."""

    constant: float
    slopes: Vector


class TailRows:
    """The columns of `ColumnLayout`, then holdings (N), the threshold, θ, and an excess of each draw that has a row."""

    def __init__(self, staged: MultistageMandate, start: Position, tail: DrawnTail) -> None:
        self._staged, self._start, self._tail = staged, start, tail
        self._mandate, self._outlook = staged.mandates[0], staged.outlooks[0]
        (self._node,) = staged.branchings
        self._leaves, self._draws, names = tail.growth.shape
        self._values = tail.growth.reshape(-1, names)
        rules, outlook = self._mandate.convex_rules, self._outlook
        extra = tuple(rule.extra_columns(outlook) for rule in rules)
        columns = ColumnLayout(start, self._mandate.cost_rates, self._mandate.impact is not None, extra)
        self._columns = columns
        self._epigraphs = [rule.epigraph(columns.first(i), columns, outlook) for i, rule in enumerate(rules)]
        self._held = columns.total
        self._threshold = columns.total + names
        self._theta = self._threshold + 1
        self._of_draw = np.full(self._leaves * self._draws, -1, dtype=np.int64)
        self._cuts = list[tuple[Vector, int]]()
        self._blocks = list[sp.csr_array | Vector]()
        """What the solver was given, to check it by: rows, or the probabilities of a cut."""
        self._share = tail.weight / (1 - tail.level) / self._draws
        self._known = self._node.p if self._leaves == 1 or self._node.ambiguity.is_singleton else None
        """The probabilities where there is no choice of them: then θ is written out in the costs, as a dense row would
        only slow the simplex."""
        self._solver = self._first_model()

    def _first_model(self) -> highspy.Highs:
        """Rules, the account's own rows and what is held; every limit of a convex rule is a bound of its epigraph."""
        columns, width, names = self._columns, self._theta + 1, self._columns.names
        own, low, high = columns.equations(self._epigraphs)
        rules = columns.of_rows(self._mandate.rows.on(self._outlook))
        first = Cuts.all([epigraph.first for epigraph in self._epigraphs], columns.total)
        stated, moved = self._by_holdings(sp.csr_array(sp.vstack([own, rules.rows, first.rows])))
        holding = sp.hstack(
            [columns.holding(sp.csr_array(sp.eye_array(names))), -sp.eye_array(names), sp.csr_array((names, 2))]
        )
        matrix = sp.csr_array(sp.vstack([stated, holding]))
        none = np.full(len(rules.limits) + len(first.limits), -np.inf)
        held = -self._start.holdings
        lower, upper = (np.concatenate([each, np.zeros(names), [0.0, 0.0]]) for each in columns.bounds(self._epigraphs))
        lower[self._columns.cash] = 0.0  # at a review nobody may owe what goes out there
        lower[self._threshold :], upper[self._held :] = -np.inf, np.inf
        upper[[epigraph.column for epigraph in self._epigraphs]] = 0.0
        costs = np.zeros(width)
        costs[: 2 * names] = TIE_BREAK
        if self._known is None:
            costs[self._theta] = 1.0
        else:
            at, entries = self._leaf_row(self._known)
            costs[at], lower[self._theta], upper[self._theta] = -entries, 0.0, 0.0
        solver = quiet_highs(
            threads=1,
            primal_feasibility_tolerance=_TAIL_TOLERANCE,
            dual_feasibility_tolerance=_TAIL_TOLERANCE,
            simplex_scale_strategy=0,  # numbers are of order one, and scaled ones take up to three times the steps
            simplex_iteration_limit=_MOST_STEPS,
        )
        self._blocks.append(matrix)
        solver.passModel(
            linear_model(
                costs,
                lower,
                upper,
                matrix,
                np.concatenate([np.concatenate([low, none]) + moved, held]),
                np.concatenate([np.concatenate([high, rules.limits, first.limits]) + moved, held]),
            )
        )
        return solver

    def _by_holdings(self, rows: sp.csr_array) -> tuple[sp.csr_array, Vector]:
        """Rows over the columns of the layout in what is held where they speak of that as a purchase less a sale: the
        fewer entries, the sooner the simplex is there. And what that adds to their limits.
        """
        names = self._columns.names
        bought, sold = rows[:, :names], rows[:, names : 2 * names]
        held = sp.csr_array(bought - bought * ((bought + sold) != 0))
        rest = rows[:, 2 * names :]
        threshold_and_theta = sp.csr_array((rows.shape[0], 2))
        changed = sp.hstack([bought - held, sold + held, rest, held, threshold_and_theta])
        return sp.csr_array(changed), held @ self._start.holdings

    def asks(self, staged: MultistageMandate, start: Position) -> bool:
        """Ask another weight of the tail, or another set, from where the solver stands: every row that there is holds
        of any. False, and nothing is changed, where the question is another one, or one of these rows would not hold.
        """
        tail, (node,) = staged.utility.tail, staged.branchings
        own = (self._staged.tree, self._mandate, self._outlook, self._tail.growth, self._start)
        if tail is None or tail.level != self._tail.level or (node.p != self._node.p).any():
            return False
        given = (staged.tree, staged.mandates[0], staged.outlooks[0], tail.growth, start)
        if any(one is not other for one, other in zip(given, own, strict=True)):
            return False
        known = self._leaves == 1 or node.ambiguity.is_singleton
        if known is (self._known is None) or any(node.ambiguity.excess(q, node.p) > _TAIL_MET for q, _ in self._cuts):
            return False
        same, self._staged, self._tail, self._node = tail.weight == self._tail.weight, staged, tail, node
        if same:
            return True
        self._share = tail.weight / (1 - tail.level) / self._draws
        # exact weights of edges would be worked out anew from where it stands, which takes longer than the solve
        self._solver.setOptionValue("simplex_dual_edge_weight_strategy", _DEVEX)
        if self._known is not None:
            at, entries = self._cut(self._known)
            self._solver.changeColsCost(len(at), at.astype(np.int32), -entries)
            self._solver.setOptionValue("simplex_strategy", _PRIMAL)  # where it stands is still within every row
        for q, row in self._cuts:
            for column, entry in zip(*(part.tolist() for part in self._cut(q)), strict=True):
                self._solver.changeCoeff(row, column, entry)
            self._solver.changeRowBounds(row, 1 - tail.weight, np.inf)
        return True

    def solve(self, limits: Limits) -> Policy:
        """The best policy, checked outside the solver.

        Raises:
            NotSolved: HiGHS does not solve a program of it, or rows are not enough after so many rounds.
            OutOfTime: the user's time limit ended it.
        """
        return self._followed(self._best(limits))

    def _best(self, limits: Limits) -> Vector:
        """The point at which rows are enough."""
        held, tail, clock = self._start.holdings, self._tail, limits.clock()
        if (self._of_draw < 0).all():
            begin = held if held.any() else np.ones(len(held))
            losses = -(self._values @ begin)
            order = np.argsort(-losses, kind="stable")
            mass = np.cumsum(self._node.p[order // self._draws]) / self._draws
            self._add_draws(order[: np.searchsorted(mass, _BEGIN * (1 - tail.level) - _TAIL_MET) + 1])
            if self._known is None:
                self._add_cut(self._node.p)
        for _ in range(_TAIL_ROUNDS):
            run_highs(self._solver)
            clock.refuse_late()
            self._solver.setOptionValue("simplex_strategy", _DUAL)
            status = self._solver.getModelStatus()
            if status != highspy.HighsModelStatus.kOptimal:
                raise NotSolved(self._solver.modelStatusToString(status))
            x = np.array(self._solver.getSolution().col_value)
            if not self._tightened(x):
                return x
        raise NotSolved(f"rows are not enough after {_TAIL_ROUNDS} rounds")

    def between(self, low: Vector, high: Vector, limits: Limits) -> tuple[Policy, HoldingPrices]:
        """The best policy that holds between these (N,), from where the solver stands, and what its prices prove of any
        other: rows are kept from one question to the next.

        Raises:
            NotSolved: as of `solve`.
        """
        at = np.arange(self._held, self._threshold, dtype=np.int32)
        self._solver.changeColsBounds(len(at), at, low, high)
        x = self._best(limits)
        names = len(low)
        policy = policy_from_trades(self._staged, self._start, (x[:names] - x[names : 2 * names])[None, :])
        return policy, self._prices()

    def _prices(self) -> HoldingPrices:
        """By numpy, from the prices of rows: every column but holdings where it is best between bounds that it has, as
        none can be larger than all there is times the most that a draw makes of it.
        """
        model, found, rows = self._solver.getLp(), self._solver.getSolution(), self._matrix()
        low, high, lower, upper = (
            np.array(side) for side in (model.row_lower_, model.row_upper_, model.col_lower_, model.col_upper_)
        )
        prices = np.array(found.row_dual)
        sides = np.where(prices > 0, low, high)
        prices = np.where(np.isfinite(sides), prices, 0.0)
        reduced = np.array(model.col_cost_) - rows.T @ prices
        far = 2.0 + float(self._values.max())
        others = np.where(reduced > 0, np.maximum(lower, -far), np.minimum(upper, far)) * reduced
        own = slice(self._held, self._threshold)
        others[own] = 0.0
        constant = float(np.where(prices != 0, sides, 0.0) @ prices) + float(others.sum())
        constant += 0.0 if self._known is None else 1 - self._tail.weight
        return HoldingPrices(constant - _TIES * TIE_BREAK, reduced[own])

    def _tightened(self, x: Vector) -> bool:
        """Whether rows were added that the point breaks."""
        trade, tail = self._columns.trade(x), self._tail
        cash, threshold = float(x[self._columns.cash]), float(x[self._threshold])
        cuts = [epigraph.cut(x, trade) for epigraph in self._epigraphs]
        if self._mandate.impact is not None:
            cuts.append(impact_cuts(x, self._mandate.impact, self._columns))
        every = Cuts.all([tangents for tangents, below in cuts if below > _TANGENT_MET], self._columns.total)
        rows, moved = self._by_holdings(every.rows)
        self._add_rows(rows, -np.inf, every.limits + moved)
        drawn = self._drawn(x[self._held : self._threshold], cash)
        excess = np.maximum(drawn - threshold, 0.0)
        shortfall = threshold + excess.reshape(self._leaves, -1).mean(axis=1) / (1 - tail.level)
        tree = self._staged.tree
        plain = 1 - tree.leaf_growth @ x[self._held : self._threshold] - tree.leaf_cash_growth * cash
        value = (1 - tail.weight) * plain + tail.weight * shortfall
        q = self._node.ambiguity.adversary(value, self._node.p)
        claimed = self._claimed(x)
        if float(q @ value) - claimed > _TAIL_MET * max(1.0, abs(claimed)):
            without = np.flatnonzero(self._of_draw < 0)
            missing = int((excess[without] > 0).sum())
            worst = without[np.argsort(-drawn[without], kind="stable")]
            self._add_draws(worst[: min(missing + _NEAR, _ADDED) if missing else 0])
            is_new = self._known is None and not any(np.array_equal(q, met) for met, _ in self._cuts)
            if is_new:
                self._add_cut(q)
            if is_new or missing:  # else all that is over is what the solver calls zero
                return True
        return bool(len(every.limits))

    def _claimed(self, x: Vector) -> float:
        """What the program says that the point loses."""
        if self._known is None:
            return float(x[self._theta])
        at, entries = self._leaf_row(self._known)
        drawn = np.flatnonzero(self._of_draw >= 0)
        excess = self._known[drawn // self._draws] @ x[self._of_draw[drawn]]
        return float(1 - self._tail.weight - entries @ x[at] + self._share * excess)

    def _leaf_row(self, q: Vector) -> tuple[NDArray[np.int64], Vector]:
        """Minus what leaves lose under `q`, but for excesses and a constant: the columns and their numbers."""
        tree, rest = self._staged.tree, 1 - self._tail.weight
        at = np.concatenate([np.arange(self._held, self._threshold), [self._columns.cash, self._threshold]])
        held = rest * (q @ tree.leaf_growth)
        return at, np.concatenate([held, [rest * float(q @ tree.leaf_cash_growth), -self._tail.weight]])

    def _drawn(self, holdings: Vector, cash: float) -> Vector:
        return 1 - self._values @ holdings - np.repeat(self._tail.cash_growth, self._draws) * cash

    def _add_rows(self, rows: sp.csr_array, low: float, high: Vector) -> None:
        if count := rows.shape[0]:
            matrix = sp.csr_array(rows)
            self._blocks.append(matrix)
            starts, at = matrix.indptr[:-1].astype(np.int32), matrix.indices.astype(np.int32)
            self._solver.addRows(count, np.full(count, low), high, matrix.nnz, starts, at, matrix.data)

    def _add_draws(self, draws: NDArray[np.int64]) -> None:
        """Excess columns and rows: values'h + cash + threshold + excess ≥ 1; each excess enters every cut."""
        count = len(draws)
        if not count:
            return
        first = self._solver.getNumCol()
        self._of_draw[draws] = first + np.arange(count)
        leaves, cuts = draws // self._draws, len(self._cuts)
        costs = np.zeros(count) if self._known is None else self._share * self._known[leaves]
        entries = -self._share * np.array([q[leaves] for q, _ in self._cuts]).reshape(cuts, count).T
        rows = np.tile(np.array([row for _, row in self._cuts], dtype=np.int32), count)
        starts = (np.arange(count) * cuts).astype(np.int32)
        bounds = np.zeros(count), np.full(count, np.inf)
        self._solver.addCols(count, costs, *bounds, len(rows), starts, rows, np.ravel(entries))
        names = len(self._start.holdings)
        left = np.column_stack([self._values[draws], self._tail.cash_growth[leaves], np.ones(count), np.ones(count)])
        columns = [np.tile(np.arange(self._held, self._held + names), (count, 1))]
        columns += [np.full((count, 1), self._columns.cash), np.full((count, 1), self._threshold)]
        columns += [self._of_draw[draws][:, None]]
        at = np.concatenate(columns, axis=1).astype(np.int32)
        starts = (np.arange(count) * at.shape[1]).astype(np.int32)
        self._blocks.append(
            sp.csr_array(
                (left.ravel(), at.ravel(), np.append(starts, at.size)), shape=(count, self._solver.getNumCol())
            )
        )
        self._solver.addRows(count, np.ones(count), np.full(count, np.inf), at.size, starts, at.ravel(), np.ravel(left))

    def _add_cut(self, q: Vector) -> None:
        """θ ≥ Σ q·value, in the losses of leaves."""
        at, entries = self._cut(q)
        self._cuts.append((q, self._solver.getNumRow()))
        self._blocks.append(q)
        kept = entries != 0
        rest = 1 - self._tail.weight
        self._solver.addRow(rest, np.inf, int(kept.sum()), at[kept].astype(np.int32), entries[kept])

    def _cut(self, q: Vector) -> tuple[NDArray[np.int64], Vector]:
        """The row of a cut: `_leaf_row`, θ where probabilities are chosen, and minus the excesses."""
        drawn, (at, entries) = np.flatnonzero(self._of_draw >= 0), self._leaf_row(q)
        theta = [self._theta] if self._known is None else []
        at = np.concatenate([at, theta, self._of_draw[drawn]]).astype(np.int64)
        return at, np.concatenate([entries, np.ones(len(theta)), -self._share * q[drawn // self._draws]])

    def _matrix(self) -> sp.csr_array:
        """The rows that the solver was given."""
        parts = list[tuple[Vector, NDArray[np.int64], NDArray[np.int64]]]()
        for one in self._blocks:
            if isinstance(one, np.ndarray):
                at, entries = self._cut(one)
                parts.append((entries, at, np.array([len(at)])))
            else:
                parts.append((one.data, one.indices, np.diff(one.indptr)))
        entries, at, counts = map(np.concatenate, zip(*parts, strict=True))
        begins = np.concatenate([[0], np.cumsum(counts)])
        return sp.csr_array(
            (entries, at.astype(np.int32), begins.astype(np.int32)), shape=(len(counts), self._solver.getNumCol())
        )

    def _followed(self, x: Vector) -> Policy:
        """The policy of the last point, and the program's own residuals and bound by numpy."""
        names = len(self._start.holdings)
        bought, sold = x[:names], x[names : 2 * names]
        policy = policy_from_trades(self._staged, self._start, (bought - sold)[None, :])
        claimed = self._claimed(x)
        model, found, rows = self._solver.getLp(), self._solver.getSolution(), self._matrix()
        sides = [np.array(side) for side in (model.row_lower_, model.row_upper_, model.col_lower_, model.col_upper_)]
        check = linear_check(np.array(model.col_cost_), rows, *sides, x=x, prices=np.array(found.row_dual))
        return replace(policy, solver=_BY_ROWS, canonical=check, claimed=claimed)


class TailPolicies:
    """The best policies of one decision after the other that differ in the weight of the tail or in the set, each
    checked as `solve_policy` checks it: rows are kept from one to the next, most of all from less weight to more.
    """

    def __init__(self, start: Position, limits: Limits) -> None:
        self._start, self._limits = start, limits
        self._rows: TailRows | None = None

    def solve(self, staged: MultistageMandate) -> Policy:
        """The best policy.

        Raises:
            Infeasible: limits conflict at some node.
            NotSolved: no solver's answer passes the checks.
        """
        tail = staged.utility.tail if staged.tree.nodes == 1 else None
        if tail is None:
            return solve_policy(staged, self._start, self._limits)
        staged.mandates[0].refuse_unchosen()
        try:
            if self._rows is None or not self._rows.asks(staged, self._start):
                self._rows = TailRows(staged, self._start, tail)
            policy = self._rows.solve(self._limits)
            _refuse_unproved(policy, range(1))
            return policy
        except NotSolved:
            self._rows = None
            return solve_policy(staged, self._start, self._limits)


def _by_cuts(
    staged: MultistageMandate,
    start: Position,
    limits: Limits,
    attempts: Sequence[str],
    ruled: Sequence[int],
    *,
    trading: bool,
) -> Policy:
    """The best policy without a cone for any set: against the adverse probabilities met so far at every node, and again
    with those that are worst for what it finds, until they change nothing (adversary cuts, Bertsimas, Dunning and Lubin
    2016). Slower than the sets' own duals, and it solves where their cones leave a solver no room.

    Raises:
        NotSolved: a program of it has no solution, or the adverse expectation is not met in time.
    """
    cuts = [[staged.tree.child_probabilities(node)] for node in range(staged.tree.nodes)]
    for _ in range(_MOST_CUTS):
        program, status, residuals = tree_program(staged, start, TreeShape(trading), cuts=cuts), "", None
        for solver in _LADDER:
            status, residuals = program.ask(solver, limits)
            if residuals is not None and residuals.worst <= RESIDUAL_ALLOWED:
                break
        if residuals is None or residuals.worst > RESIDUAL_ALLOWED:
            raise NotSolved(status or "residuals")
        policy = _followed(staged, start, program, f"{CLARABEL} by cuts", attempts, residuals)
        if policy.apart <= _CUT_ENOUGH:
            _refuse_unproved(policy, ruled)  # nor may it be worth more than the bound
            return policy
        for own, q in zip(cuts, policy.solved.adversaries, strict=True):
            own.append(q)
    raise NotSolved(f"the adverse expectation is still {policy.apart:.1e} away after {_MOST_CUTS} cuts")


def refuse_infeasible_tree(staged: MultistageMandate, start: Position, limits: Limits, *, trading: bool = True) -> None:
    """Raise where the rules alone cannot be kept: asked without utility and sets, whose cones can hide or feign it.

    Raises:
        Infeasible: limits conflict at some node.
    """
    plain = replace(without_ambiguity(staged), utility=LinearUtility())
    status, _ = compiled_tree_program(plain, start, TreeShape(trading)).ask(CLARABEL, limits)
    if status == cp.INFEASIBLE:  # an inaccurate certificate is none
        raise Infeasible("infeasible: no policy keeps every limit at every review date", (), ())


def _followed(
    staged: MultistageMandate,
    start: Position,
    program: TreeProgram,
    solver: str,
    attempts: Sequence[str],
    canonical: CanonicalCheck,
) -> Policy:
    """The solver's trades followed forward, beside what it says that they are worth."""
    buys, sells = (np.asarray(trades.value) for trades in (program.variables.buys, program.variables.sells))
    claimed = float(program.problem.value) - TIE_BREAK * float(buys.sum() + sells.sum())
    policy = policy_from_trades(staged, start, (buys - sells).reshape(staged.tree.growth.shape))
    return replace(policy, solver=solver, attempts=tuple(attempts), canonical=canonical, claimed=claimed)


def _refuse_unproved(policy: Policy, ruled: Sequence[int]) -> None:
    """Raise where the formulas make less, or more, of a policy than its solver does, or a rule is missed.

    Raises:
        NotSolved: says both figures, or the rule.
    """
    loss = float(policy.solved.losses[0])
    if not abs(loss - policy.claimed) <= _DISAGREES * max(1.0, abs(policy.claimed)):
        raise NotSolved(f"the formulas give {loss:.9g} where the solver says {policy.claimed:.9g}")
    refuse_broken_policy(policy, ruled)


def _decided(policy: Policy, limits: Limits) -> Policy:
    """The same policy with the nodes decided that the adversary rules out: each is solved on its own (science F11).

    Only what is best from there on is changed there, and no node with a part in the adverse expectation.
    """
    staged, tree = policy.staged, policy.staged.tree
    if _looks_everywhere(staged):
        return policy
    # of the program that was solved: by its own charges the adversary may just look where nothing was decided
    reached, (possible, _) = adverse_node_probabilities(replace(policy, valued=policy.solved))[0], tree.reach()
    moves = policy.bought - policy.sold
    undecided = [
        node
        for node in range(1, tree.nodes)
        if reached[node] < _OFF_PATH and possible[node] > 0 and reached[tree.parents[node]] >= _OFF_PATH
    ]
    for node in undecided:
        moves[tree.below(node)[0]] = _best_below(policy, node, limits)
    if not undecided:
        return policy
    said = {name: getattr(policy, name) for name in ("solver", "attempts", "canonical", "claimed")}
    again = replace(policy_from_trades(staged, policy.start, moves), **said)
    if staged.at_leaves and again.objective > policy.objective:
        return policy  # what is best from there on is not what is best from here: not time-consistent
    if again.objective > policy.objective + _DISAGREES:
        raise NotSolved("deciding the nodes that the adversary rules out changed the plan")
    return again


def _best_below(policy: Policy, node: int, limits: Limits | None) -> Matrix:
    """(nodes below, N) the best trades from `node` on, coming there by the policy, in units of its account."""
    unit = float(policy.wealth_before[node])
    if unit <= 0:
        raise Infeasible(f"infeasible: more is paid out than there is at '{policy.staged.tree.names[node]}'", (), ())
    below = solve_policy(policy.staged.below(node, unit), policy.start_of(node), limits)
    trades: Matrix = (below.bought - below.sold) * unit
    return trades


def _looks_everywhere(staged: MultistageMandate) -> bool:
    """Whether every node that can come counts at the root: then the program has decided it."""
    return staged.utility.counts_everything and all(one.keeps_every_scenario for one in staged.ambiguities)


# The best policy where something is given: the first trades, or the path and the scenario.
#


def buy_and_hold_policy(staged: MultistageMandate, start: Position, moves: Vector, *, ruled: bool = True) -> Policy:
    """The policy that trades `moves` (N,) today and never again; as of one that commits now, today's rules are asked,
    unless somebody else has looked at them.

    Raises:
        NotSolved: the trades break a rule of the root.
    """
    every = np.zeros_like(staged.tree.growth)
    every[0] = moves
    policy = policy_from_trades(staged, start, every)
    if ruled:
        refuse_broken_policy(policy, range(1))
    return policy


def least_trades(staged: MultistageMandate, start: Position, limits: Limits | None = None) -> Vector:
    """(N,) the trades of today that the rules demand: the least money for which every rule can be kept, today and at
    every review; of several such trades those that leave the highest expected wealth.

    Raises:
        Infeasible: limits conflict at some node.
        NotSolved: no solver's answer passes the checks.
    """
    plain, status = replace(without_ambiguity(staged), utility=LinearUtility()), ""
    program = compiled_tree_program(plain, start, TreeShape(least=True))
    v = program.variables
    for solver in _LADDER:
        status, residuals = program.ask(solver, limits or Limits())
        if residuals is not None and residuals.worst <= RESIDUAL_ALLOWED:
            moves: Vector = np.asarray(v.buys.value - v.sells.value)[: len(start.holdings)]
            return np.where(np.abs(moves) < _NO_TRADE, 0.0, moves)
    refuse_infeasible_tree(staged, start, limits or Limits())
    raise NotSolved(f"the trades that the rules demand are not found: {status}")


def policy_after_first_trades(
    staged: MultistageMandate, start: Position, moves: Vector, limits: Limits | None = None, *, ruled: bool = True
) -> Policy:
    """The best policy whose first trades are `moves` (N,): every subtree below the root is solved on its own. Where
    they are not to be `ruled`, somebody else has looked at the rules of the root.

    The adverse expectation is nested, so that what is best below a node is best whatever led there; with its holdings
    fixed in one program the root would have no interior. Regret at the leaves knows no such subtrees, and is asked in
    one program all the same: it is linear but for its set.

    Raises:
        NotSolved: the first trades break a rule of the root, or a subtree has no verified policy.
        Infeasible: limits conflict below the root.
    """
    first = buy_and_hold_policy(staged, start, moves, ruled=ruled)
    if staged.at_leaves:
        return _given(staged, start, first, limits)
    every = first.bought - first.sold
    for child in staged.tree.children(0)[0].tolist():
        every[staged.tree.below(child)[0]] = _best_below(first, child, limits)
    return policy_from_trades(staged, start, every)


def _given(staged: MultistageMandate, start: Position, first: Policy, limits: Limits | None) -> Policy:
    """The best policy after the first trades of `first`: one program, whose root holds what they leave."""
    root = replace(staged.mandates[0], linear_rules=(nothing_traded(staged),), convex_rules=())
    after = Position(first.holdings[0], float(first.cash[0]))
    later = solve_policy(replace(staged, mandates=(root, *staged.mandates[1:])), after, limits)
    moves = later.bought - later.sold
    moves[0] = first.bought[0] - first.sold[0]
    return policy_from_trades(staged, start, moves)


def nothing_traded(staged: MultistageMandate) -> NoTrade:
    """No name is traded at a node."""
    names = staged.tree.growth.shape[1]
    return NoTrade(tuple(map(str, range(names))), tuple(range(names)))


def path_losses(
    staged: MultistageMandate, leaves: Sequence[int], start: Position, limits: Limits | None = None
) -> Vector:
    """(M,) the losses of the best policies on the paths to some leaves.

    Raises:
        Infeasible: limits conflict along a path.
        NotSolved: a path has no verified policy.
    """
    questions = staged.paths(leaves)
    policies = solve_side_by_side(staged, questions, leaves, [start] * len(questions), limits)
    return np.array([policy.objective for policy in policies])


def solve_side_by_side(
    staged: MultistageMandate,
    questions: Sequence[MultistageMandate],
    leaves: Sequence[int],
    starts: Sequence[Position],
    limits: Limits | None = None,
) -> list[Policy]:
    """The best policies of questions about some `leaves` of a tree, each from a start of its own: compiled and solved
    as one, as what is best for each is best for their sum, and checked one by one; where that fails, solved so.

    Raises:
        Infeasible: limits conflict in one.
        NotSolved: one has no verified policy.
    """
    limits = limits or Limits()
    if not questions:
        return []
    try:
        return [_decided(one, limits) for one in _side_by_side(staged, questions, leaves, starts, limits)]
    except NotSolved:
        return [solve_policy(one, start, limits) for one, start in zip(questions, starts, strict=True)]


def _side_by_side(
    staged: MultistageMandate,
    questions: Sequence[MultistageMandate],
    leaves: Sequence[int],
    starts: Sequence[Position],
    limits: Limits,
) -> list[Policy]:
    """The same before nodes are decided that the adversary rules out.

    Raises:
        NotSolved: the solver's answer passes no check, which says nothing of each of them.
    """
    forest = _charged_nearby(staged.forest(questions, leaves), starts, limits)
    for _ in range(_REPEATS + 1):
        program = compiled_tree_program(forest, starts)
        status, residuals = program.ask(_LADDER[0], limits)
        if residuals is None or residuals.worst > RESIDUAL_ALLOWED:
            raise NotSolved(status)
        v, worth, policies = program.variables, 0.0, list[Policy]()
        moves = np.asarray(v.buys.value - v.sells.value).reshape(forest.tree.growth.shape)
        for one, start, at, ends in zip(questions, starts, *_each_part(questions), strict=True):
            around = None if forest.around is None else forest.around.part(at, ends, 1.0)
            policy = policy_from_trades(replace(one, around=around), start, moves[at])
            refuse_broken_policy(policy, range(one.tree.nodes))
            worth += float(policy.solved.losses[0])
            policies.append(policy)
        claimed = float(program.problem.value) - TIE_BREAK * float(v.buys.value.sum() + v.sells.value.sum())
        if not abs(worth - claimed) <= _DISAGREES * max(1.0, abs(claimed)):
            raise NotSolved(f"the formulas give {worth:.9g} where the solver says {claimed:.9g}")
        if not staged.utility.path_aversion or all(abs(policy.residual) <= _AT_REST for policy in policies):
            break
        questions = [replace(policy.staged, around=policy.own_path) for policy in policies]
        forest = staged.forest(questions, leaves)
    return policies


def _each_part(questions: Sequence[MultistageMandate]) -> tuple[list[range], list[range]]:
    """The decision nodes and the leaves of each in the forest of all."""
    found = list[list[range]]()
    for counts in ([one.tree.nodes for one in questions], [one.tree.leaves for one in questions]):
        first = np.cumsum([0, *counts]).tolist()
        found.append([range(begin, end) for begin, end in pairwise(first)])
    return found[0], found[1]


def with_hindsight(staged: MultistageMandate, start: Position, limits: Limits | None = None) -> MultistageMandate:
    """The same question; regret in it is measured against the best policy over the same rules of who knew path and
    scenario from the start, trading at every review.

    Raises:
        Infeasible: limits conflict.
        NotSolved: no solver's answer passes the checks.
    """

    def best() -> Vector:
        plain = replace(staged, utility=LinearUtility())
        return -path_losses(plain, range(staged.tree.leaves), start, limits)

    return replace(staged, utility=staged.utility.with_hindsight(best))
