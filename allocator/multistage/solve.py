"""The best policy over a tree: solved, checked outside the solver, and decided where the adversary does not look.

Whatever the solver says, only its trades are kept: `policy_from_trades` makes a policy of them, whose rules are
measured at every node and whose objective is recomputed from the formulas. The compiled program's
residuals, cones and duality gap are checked by numpy.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from allocator.errors import Infeasible, NotSolved
from allocator.multistage.mandate import MultistageMandate, without_ambiguity
from allocator.multistage.objectives import LinearUtility, MeanCVaR
from allocator.multistage.policy import Policy, adverse_node_probabilities, policy_from_trades, refuse_broken_policy
from allocator.multistage.program import TRADE_UNITS, TreeProgram, tree_program
from allocator.optimization.single_period import TIE_BREAK, Position
from allocator.optimization.solve import RELAXED, RESIDUAL_ALLOWED, Limits, solve_once
from allocator.optimization.verification import CanonicalCheck

# Trees that were compiled a moment ago: the same tree from elsewhere is solved again without compiling it again.
#
# What is lived through twice in one question (the lots against holding, and who holds other weights) differs in where
# one stands alone. Programs are kept by thread, a few of them, and found by comparing every number of the question.
#
_KEPT = 4


@dataclass(frozen=True, eq=False)
class _CompiledTree:
    """A program and the question that it is of: all but how much of each name is held."""

    staged: MultistageMandate
    held: NDArray[np.bool_]
    how: tuple[bool, float]
    made: TreeProgram


_of_thread = threading.local()


def compiled_tree_program(
    staged: MultistageMandate, start: Position, *, trading: bool, trade_unit: float
) -> TreeProgram:
    """The program of a tree from `start`: one that was compiled before where only the amounts are others."""
    kept: list[_CompiledTree] = _of_thread.__dict__.setdefault("kept", [])
    held, how = start.holdings > 0, (trading, trade_unit)
    for place, one in enumerate(kept):
        if one.how == how and np.array_equal(one.held, held) and is_identical(one.staged, staged):
            kept.append(kept.pop(place))
            one.made.write(start)
            return one.made
    made = tree_program(staged, start, trading=trading, trade_unit=trade_unit)
    if not isinstance(staged.utility, MeanCVaR):  # draws are large, and soon in the way
        kept.append(_CompiledTree(staged, held, how, made))
        del kept[:-_KEPT]
    return made


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
_LADDER: tuple[tuple[str, float, Mapping[str, float]], ...] = (
    ("CLARABEL", 1.0, SMALL_STEPS),
    (RELAXED, 10.0, SMALL_STEPS),
    ("CLARABEL with shorter steps", 1.0, {**SMALL_STEPS, "max_step_fraction": 0.95}),
    ("CLARABEL by its defaults", 1.0, {}),
    ("CLARABEL at 100 x tolerance", 100.0, SMALL_STEPS),
)
"""Where cones meet in a corner the last digits may be out of reach; our own checks then judge what is left."""
_MOST_CUTS = 60
_CUT_ENOUGH = 1e-8
"""How near the adverse expectation of a policy is to that of the cuts when they are enough."""
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

    Raises:
        Infeasible: limits conflict at some node.
        NotSolved: no solver's answer passes the checks.
    """
    attempts, limits = [], limits or Limits()
    ruled = range(staged.tree.nodes if trading else 1)
    for solver, looseness, further, made in _ladder(staged, start, trading=trading):
        looser = replace(limits, tolerance=looseness * limits.tolerance)
        status, found = solve_once(made.problem, "CLARABEL", looser, further, warm=False)
        if status in (cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE):
            attempts.append(f"{solver}: {status}")
            break
        if found is None or found.worst > RESIDUAL_ALLOWED:
            attempts.append(f"{solver}: {status}" if found is None else f"{solver}: residuals are {found.worst:.1e}")
            continue
        try:
            policy = _followed(staged, start, made, solver, tuple(attempts), found)
            _refuse_apart(policy, _DISAGREES)
            refuse_broken_policy(policy, ruled)
            return _decided(policy, limits) if trading else policy
        except NotSolved as error:
            attempts.append(f"{solver}: {error}")
    refuse_infeasible_tree(staged, start, limits, trading=trading)
    try:
        if staged.at_leaves:
            raise NotSolved("are for adverse expectations node by node")
        policy = _by_cuts(staged, start, limits, tuple(attempts), ruled, trading=trading)
        return _decided(policy, limits) if trading else policy
    except NotSolved as error:
        attempts.append(f"by cuts: {error}")
    cure = "loosen solver.tolerance a little, or a tight rule"
    raise NotSolved(f"no verified policy ({'; '.join(attempts)}); {cure}")


def _ladder(
    staged: MultistageMandate, start: Position, *, trading: bool
) -> Iterator[tuple[str, float, Mapping[str, float], TreeProgram]]:
    """The solver at ever looser tolerances; where trades have impact, then once more in another unit of trades."""
    units = TRADE_UNITS if staged.mandates[0].impact is not None else TRADE_UNITS[:1]
    for unit in units:
        other = "" if unit == TRADE_UNITS[0] else ", other units"
        for name, looseness, further in _LADDER:  # written anew for each, whatever else was solved in between
            made = compiled_tree_program(staged, start, trading=trading, trade_unit=unit)
            yield f"{name}{other}", looseness, further, made


def _by_cuts(
    staged: MultistageMandate,
    start: Position,
    limits: Limits,
    attempts: tuple[str, ...],
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
        made, status, found = tree_program(staged, start, trading=trading, cuts=cuts), "", None
        for _, looseness, further in _LADDER:
            looser = replace(limits, tolerance=looseness * limits.tolerance)
            status, found = solve_once(made.problem, "CLARABEL", looser, further, warm=False)
            if found is not None and found.worst <= RESIDUAL_ALLOWED:
                break
        if found is None or found.worst > RESIDUAL_ALLOWED:
            raise NotSolved(status or "residuals")
        policy = _followed(staged, start, made, "CLARABEL by cuts", attempts, found)
        if policy.apart <= _CUT_ENOUGH:
            _refuse_apart(policy, _DISAGREES)  # nor may it be worth more than the bound
            refuse_broken_policy(policy, ruled)
            return policy
        for own, q in zip(cuts, policy.valued.adversaries, strict=True):
            own.append(q)
    raise NotSolved(f"the adverse expectation is still {policy.apart:.1e} away after {_MOST_CUTS} cuts")


def refuse_infeasible_tree(staged: MultistageMandate, start: Position, limits: Limits, *, trading: bool = True) -> None:
    """Raise where the rules alone cannot be kept: asked without utility and sets, whose cones can hide or feign it.

    Raises:
        Infeasible: limits conflict at some node.
    """
    plain = replace(without_ambiguity(staged), utility=LinearUtility(), risk_charge=0.0)
    status, _ = solve_once(tree_program(plain, start, trading=trading).problem, "CLARABEL", limits)
    if status == cp.INFEASIBLE:  # an inaccurate certificate is none
        raise Infeasible("infeasible: no policy keeps every limit at every review date", (), ())


def _followed(
    staged: MultistageMandate,
    start: Position,
    made: TreeProgram,
    solver: str,
    attempts: tuple[str, ...],
    canonical: CanonicalCheck,
) -> Policy:
    """The solver's trades followed forward, beside what it says that they are worth."""
    buys, sells = np.asarray(made.buys.value), np.asarray(made.sells.value)
    claimed = float(made.problem.value) - TIE_BREAK * float(buys.sum() + sells.sum())
    moves = (buys - sells).reshape(staged.tree.growth.shape)
    return policy_from_trades(staged, start, moves, solver, attempts, canonical, claimed)


def _refuse_apart(policy: Policy, tolerance: float) -> None:
    """Raise where the formulas make less, or more, of a policy than its solver does.

    Raises:
        NotSolved: says both figures.
    """
    if not abs(policy.objective - policy.claimed) <= tolerance * max(1.0, abs(policy.claimed)):
        raise NotSolved(f"the formulas give {policy.objective:.9g} where the solver says {policy.claimed:.9g}")


def _decided(policy: Policy, limits: Limits) -> Policy:
    """The same policy with the nodes decided that the adversary rules out: each is solved on its own (science F11).

    Only what is best from there on is changed there, and no node with a part in the adverse expectation.
    """
    staged, tree = policy.staged, policy.staged.tree
    if _looks_everywhere(staged):
        return policy
    reached, (possible, _) = adverse_node_probabilities(policy)[0], tree.reach()
    moves = policy.bought - policy.sold
    undecided = [
        node
        for node in range(1, tree.nodes)
        if reached[node] < _OFF_PATH and possible[node] > 0 and reached[tree.parents[node]] >= _OFF_PATH
    ]
    for node in undecided:
        unit = float(policy.wealth_before[node])
        below = solve_policy(staged.below(node, unit), policy.start_of(node), limits)
        moves[tree.below(node)[1]] = (below.bought - below.sold) * unit
    if not undecided:
        return policy
    again = policy_from_trades(
        staged, policy.start, moves, policy.solver, policy.attempts, policy.canonical, policy.claimed
    )
    if staged.at_leaves and again.objective > policy.objective:
        return policy  # what is best from there on is not what is best from here: not time-consistent
    if again.objective > policy.objective + _DISAGREES:
        raise NotSolved("deciding the nodes that the adversary rules out changed the plan")
    return again


def _looks_everywhere(staged: MultistageMandate) -> bool:
    """Whether every node that can come counts at the root: then the program has decided it."""
    tails = isinstance(staged.utility, MeanCVaR) and staged.utility.weight == 1
    return not tails and all(ambiguity.keeps_every_scenario for ambiguity in staged.ambiguities)
