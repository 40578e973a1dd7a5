"""The best policy over a tree: solved, checked outside the solver, and decided where the adversary does not look.

Whatever the solver says, only its trades are kept: `policy_from_trades` makes a policy of them, whose rules are
measured at every node and whose objective is recomputed from the formulas. The compiled program's
residuals, cones and duality gap are checked by numpy.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from allocator.errors import Infeasible, NotSolved
from allocator.multistage.mandate import MultistageMandate, without_ambiguity
from allocator.multistage.objectives import LinearUtility
from allocator.multistage.policy import (
    Policy,
    adverse_node_probabilities,
    path_wealth,
    policy_from_trades,
    refuse_broken_policy,
)
from allocator.multistage.program import TRADE_UNITS, TreeProgram, tree_program
from allocator.optimization.quadratic_program import TIE_BREAK
from allocator.optimization.solve import CLARABEL, RELAXED, RESIDUAL_ALLOWED, Limits, Solver, solve_once
from allocator.optimization.verification import CanonicalCheck
from allocator.rules import NoTrade
from allocator.rules.rows import Position
from allocator.types import DeferredModule, Matrix, Vector

if TYPE_CHECKING:
    import cvxpy as cp
else:
    cp = DeferredModule("cvxpy")

# Trees that were compiled a moment ago: the same tree from elsewhere is solved again without compiling it again.
#
# What is lived through twice in one question (the lots against holding, and who holds other weights) differs in where
# one stands alone. Programs are kept by thread, a few of them, and found by comparing every number of the question.
#
_KEPT = 4


_of_thread = threading.local()


def compiled_tree_program(
    staged: MultistageMandate, start: Position, *, trading: bool, trade_unit: float, room: float = 0.0
) -> TreeProgram:
    """The program of a tree from `start`: one that was compiled before where only the amounts are others."""
    kept: list[tuple[object, TreeProgram]] = _of_thread.__dict__.setdefault("kept", [])
    compiled_in = replace(staged, around=None, ambiguities=tuple(one.unscaled for one in staged.ambiguities))
    question = (trading, trade_unit, room, start.holdings > 0, compiled_in)
    for place, (other, program) in enumerate(kept):
        if is_identical(other, question):
            kept.append(kept.pop(place))
            program.write(staged, start)
            return program
    program = tree_program(staged, start, trading=trading, trade_unit=trade_unit, room=room)
    if not staged.utility.is_large:
        kept.append((question, program))
        del kept[:-_KEPT]
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
_ROOMS = (1e-6, 4e-6)
"""Of the account: where what a solver is sure of keeps the limits but for its last digits, how much tighter it is asked
to keep them."""
_MOST_CUTS = 60
_CUT_ENOUGH = 1e-8
"""How near the adverse expectation of a policy is to that of the cuts when they are enough."""
_REPEATS, _AT_REST = 4, 1e-9
"""How often a tree is solved again around what was found at most, and the change of certainty equivalent by which that
is found again. Each repeat leaves about a thousandth of it."""
_LESS = 1e-4
"""What expected wealth counts where the least trades are wanted: nothing brings ten thousand times what is traded."""
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

    Where the risk on the way is charged, it is solved again with the charge linearised around what was found, until
    that stays where it is (science §3.14).

    Raises:
        Infeasible: limits conflict at some node.
        NotSolved: no solver's answer passes the checks.
    """
    limits = limits or Limits()
    policy = _solved(staged, start, limits, trading=trading)
    for _ in range(_REPEATS if staged.utility.path_aversion else 0):
        if abs(policy.residual) <= _AT_REST:
            break
        policy = _solved(replace(staged, around=policy.own_path), start, limits, trading=trading)
    return _decided(policy, limits) if trading else policy


def charged_nearby(staged: MultistageMandate, start: Position, limits: Limits) -> MultistageMandate:
    """The same question with risk on the way charged around what it comes to at a coarse tolerance: where
    `solve_policy` then begins, and proves. The question itself where risk is not charged or nothing is found.
    """
    if not staged.utility.path_aversion:
        return staged
    program = compiled_tree_program(staged, start, trading=True, trade_unit=TRADE_UNITS[0])
    if solve_once(program.problem, _COARSE, limits, warm=False)[1] is None:
        return staged
    v = program.variables
    holdings = np.maximum(v.holdings.value, 0.0).reshape(staged.tree.growth.shape)
    return replace(staged, around=path_wealth(staged, holdings, v.cash.value))


def _solved(staged: MultistageMandate, start: Position, limits: Limits, *, trading: bool) -> Policy:
    """The best policy by one program, before nodes are decided that the adversary rules out.

    Raises:
        Infeasible: limits conflict at some node.
        NotSolved: no solver's answer passes the checks.
    """
    attempts = list[str]()
    ruled = range(staged.tree.nodes if trading else 1)
    stated: Policy | None = None
    for solver, program, room in _ladder(staged, start, trading=trading):
        if room and stated is None:  # then limits are not what stands in the way
            break
        status, residuals = solve_once(program.problem, solver, limits, warm=False)
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
            program = compiled_tree_program(staged, start, trading=trading, trade_unit=unit, room=room)
            yield replace(solver, label=f"{solver}{other}"), program, room


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
        program, status, residuals = tree_program(staged, start, trading=trading, cuts=cuts), "", None
        for solver in _LADDER:
            status, residuals = solve_once(program.problem, solver, limits, warm=False)
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
    status, _ = solve_once(tree_program(plain, start, trading=trading).problem, CLARABEL, limits)
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
    plain, names, status = replace(without_ambiguity(staged), utility=LinearUtility()), len(start.holdings), ""
    program = tree_program(plain, start)
    v = program.variables
    traded = cp.sum(v.buys[:names]) + cp.sum(v.sells[:names])
    problem = cp.Problem(cp.Minimize(traded + _LESS * v.theta[0]), program.problem.constraints)
    for solver in _LADDER:
        status, residuals = solve_once(problem, solver, limits or Limits(), warm=False)
        if residuals is not None and residuals.worst <= RESIDUAL_ALLOWED:
            moves: Vector = np.asarray(v.buys.value - v.sells.value)[:names]
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


def path_loss(staged: MultistageMandate, leaf: int, start: Position, limits: Limits | None) -> float:
    """The loss of the best policy on the path to one leaf."""
    path = [int(staged.tree.leaf_parents[leaf])]
    while path[0] > 0:
        path.insert(0, int(staged.tree.parents[path[0]]))
    chain = without_ambiguity(staged.part(path, [leaf]))
    certain = replace(chain.tree, probabilities=np.ones(len(path)), leaf_probabilities=np.ones(1))
    return solve_policy(replace(chain, tree=certain), start, limits).objective


def with_hindsight(staged: MultistageMandate, start: Position, limits: Limits | None = None) -> MultistageMandate:
    """The same question; regret in it is measured against the best policy over the same rules of who knew path and
    scenario from the start, trading at every review.

    Raises:
        Infeasible: limits conflict.
        NotSolved: no solver's answer passes the checks.
    """

    def best() -> Vector:
        plain = replace(staged, utility=LinearUtility())
        return np.array([-path_loss(plain, leaf, start, limits) for leaf in range(staged.tree.leaves)])

    return replace(staged, utility=staged.utility.with_hindsight(best))
