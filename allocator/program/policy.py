"""What is decided at every node of a tree: solved, followed forward by arithmetic, valued backward by formulas.

Nothing of the solver's word is kept but the trades: holdings, cash and wealth are recomputed from them node by node,
every rule is measured at every node by its own formula, and the objective is recomputed by backward recursion with the
inner maximisers of the ambiguity sets. The compiled program's residuals, cones and duality gap are checked by numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cvxpy as cp
import numpy as np

from allocator.errors import Infeasible, NotSolved
from allocator.mandate.ambiguity import Ambiguity, Known, KullbackLeibler
from allocator.mandate.one_decision import ExAnteRegret, MeanCVaR, MixtureVariance, Regret
from allocator.mandate.rules import Reading, Trade
from allocator.mandate.seen import Seen, of_scenarios
from allocator.mandate.staged import Staged, in_account
from allocator.mandate.utility import Linear, leaf_losses
from allocator.program.canonical import CanonicalCheck
from allocator.program.compile import TIE_BREAK, Start
from allocator.program.recourse import TRADE_UNITS, Staging, committed, staging
from allocator.program.solve import RELAXED, RESIDUAL_ALLOWED, Limits, attempt
from allocator.types import Matrix, Vector

_DUST = 1e-9
"""A trade or a holding below this part of today's account is the solver's noise."""
_BROKEN = 1e-6
"""How far a fractional policy may miss a rule, as a part of the account: what a solver's last digits may do."""
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
"""How near the worst case of a policy is to that of the cuts when they are enough."""
_OFF_PATH = 1e-6
"""A node to which the adversary gives less than this probability has not been decided by the program (science F11)."""


@dataclass(frozen=True, eq=False)
class Valued:
    """A policy's losses by backward recursion: at nodes (D,) and leaves (L,), and the adversary's choice at each node.

    `adversaries[n]` are the worst probabilities of node n's children, its decision nodes first.
    """

    losses: Vector
    leaf_losses: Vector
    adversaries: tuple[Vector, ...]


@dataclass(frozen=True, eq=False)
class Policy:
    """What to hold at every node, in units of today's account: (D, N) `before` trades, `bought`, `sold`, `holdings`
    after; (D,) `cash` after, `wealth_before` and `wealth` after trades. `valued` is its worth under the sets that it
    guards against; `gap` how far the canonical program's bound lies below it.
    """

    staged: Staged
    start: Start
    before: Matrix
    bought: Matrix
    sold: Matrix
    holdings: Matrix
    cash: Vector
    wealth_before: Vector
    wealth: Vector
    valued: Valued
    solver: str
    attempts: tuple[str, ...]
    canonical: CanonicalCheck

    @property
    def objective(self) -> float:
        """The minimised worst-case loss of the policy at the root, recomputed from the formulas."""
        return float(self.valued.losses[0])

    @property
    def equivalent(self) -> float:
        """The sure return to the horizon that is as good."""
        return self.staged.utility.equivalent(self.objective)

    @property
    def gap(self) -> float:
        """Between the policy and the bound that the solver's multipliers prove, relative to max(1, |objective|)."""
        return self.canonical.gap

    def trade(self, node: int) -> Trade:
        """One node's trades, its account before them being 1."""
        unit = float(self.wealth_before[node])
        bought, sold = self.bought[node] / unit, self.sold[node] / unit
        costs = 1 - float(self.wealth[node]) / unit
        return Trade(self.holdings[node] / unit, float(self.cash[node]) / unit, bought, sold, costs, 1.0)

    def readings(self, node: int) -> list[Reading]:
        """Every rule measured at one node."""
        mandate = in_account(self.staged.mandates[node], float(self.wealth_before[node]))
        return mandate.readings(self.trade(node), self.staged.outlooks[node])

    def start_of(self, node: int) -> Start:
        """Where one stands on coming to a node, its account before trading being 1."""
        unit = float(self.wealth_before[node])
        holdings = np.maximum(self.before[node] / unit, 0.0)
        return Start(holdings, max(1 - float(holdings.sum()), 0.0))

    def under(self, ambiguities: Sequence[Ambiguity | Seen]) -> Valued:
        """The same policy valued under other sets: no solve."""
        return valued(self.staged, tuple(ambiguities), self.holdings, self.cash)


def policy_of(
    staged: Staged,
    start: Start,
    limits: Limits | None = None,
    *,
    trading: bool = True,
) -> Policy:
    """The best policy over a tree, checked outside the solver; without `trading` nothing is traded after its root.

    Raises:
        Infeasible: the rules cannot hold together at every node.
        NotSolved: no solver's answer passes the checks.
    """
    attempts, limits = [], limits or Limits()
    ruled = range(staged.tree.nodes if trading else 1)
    for solver, looseness, further, made in _ladder(staged, start, trading=trading):
        looser = replace(limits, tolerance=looseness * limits.tolerance)
        status, found = attempt(made.problem, "CLARABEL", looser, further)
        if status in (cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE):
            attempts.append(f"{solver}: {status}")
            break
        if found is None or found.worst > RESIDUAL_ALLOWED:
            attempts.append(f"{solver}: {status}" if found is None else f"{solver}: residuals are {found.worst:.1e}")
            continue
        try:
            policy = _followed(staged, start, made, solver, tuple(attempts), found, ruled)
            return _decided(policy, limits) if trading else policy
        except NotSolved as error:
            attempts.append(f"{solver}: {error}")
    refuse_impossible(staged, start, limits, trading=trading)
    try:
        policy = _by_cuts(staged, start, limits, tuple(attempts), ruled, trading=trading)
        return _decided(policy, limits) if trading else policy
    except NotSolved as error:
        attempts.append(f"by cuts: {error}")
    cure = "loosen solver.tolerance a little, raise solver.time_limit_seconds, or loosen a tight rule"
    raise NotSolved(f"no verified policy ({'; '.join(attempts)}); {cure}")


def _ladder(
    staged: Staged, start: Start, *, trading: bool
) -> Iterator[tuple[str, float, Mapping[str, float], Staging]]:
    """The solver at ever looser tolerances; where trades have impact, then once more in another unit of trades."""
    made = staging(staged, start, trading=trading)
    yield from ((name, looseness, further, made) for name, looseness, further in _LADDER)
    if staged.mandates[0].impact is not None:
        other = staging(staged, start, trading=trading, trade_unit=TRADE_UNITS[1])
        yield from ((f"{name}, other units", looseness, further, other) for name, looseness, further in _LADDER)


def _by_cuts(
    staged: Staged,
    start: Start,
    limits: Limits,
    attempts: tuple[str, ...],
    ruled: Sequence[int],
    *,
    trading: bool,
) -> Policy:
    """The best policy without a cone for any set: against the worst probabilities met so far at every node, and again
    with those that are worst for what it finds, until they change nothing (adversary cuts, Bertsimas, Dunning and Lubin
    2016). Slower than the sets' own duals, and it solves where their cones leave a solver no room.

    Raises:
        NotSolved: a program of it has no solution, or the worst case is not met in time.
    """
    tree = staged.tree
    cuts = [[tree.child_probabilities(node)] for node in range(tree.nodes)]
    for _ in range(_MOST_CUTS):
        made = staging(staged, start, trading=trading, cuts=cuts)
        status, found = "", None
        for _, looseness, further in _LADDER:
            looser = replace(limits, tolerance=looseness * limits.tolerance)
            status, found = attempt(made.problem, "CLARABEL", looser, further)
            if found is not None and found.worst <= RESIDUAL_ALLOWED:
                break
        if found is None or found.worst > RESIDUAL_ALLOWED:
            raise NotSolved(status or "residuals")
        moves = (np.asarray(made.buys.value) - np.asarray(made.sells.value)).reshape(tree.growth.shape)
        policy = follow(staged, start, moves, "CLARABEL by cuts", attempts, found)
        traded = float(np.asarray(made.buys.value).sum() + np.asarray(made.sells.value).sum())
        size = max(1.0, abs(policy.objective))
        missing = (policy.objective - float(made.problem.value) + TIE_BREAK * traded) / size
        if missing <= _CUT_ENOUGH:
            refuse_broken(policy, ruled)
            return replace(policy, canonical=replace(found, gap=found.gap + max(missing, 0.0)))
        for own, q in zip(cuts, policy.valued.adversaries, strict=True):
            own.append(q)
    raise NotSolved(f"the worst case is still {missing:.1e} away after {_MOST_CUTS} cuts")


def refuse_impossible(staged: Staged, start: Start, limits: Limits, *, trading: bool = True) -> None:
    """Raise where the rules alone cannot be kept: asked without utility and sets, whose cones can hide or feign it.

    Raises:
        Infeasible: the rules cannot hold together at every node.
    """
    plain = replace(committed(staged), utility=Linear(), risk_charge=0.0)
    status, _ = attempt(staging(plain, start, trading=trading).problem, "CLARABEL", limits)
    if status in (cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE):
        raise Infeasible("the rules cannot hold together at every review date", (), ())


def _followed(
    staged: Staged,
    start: Start,
    made: Staging,
    solver: str,
    attempts: tuple[str, ...],
    canonical: CanonicalCheck,
    ruled: Sequence[int],
) -> Policy:
    """The solver's trades followed forward, and every check of the policy that they make.

    Raises:
        NotSolved: a rule is broken, or the objective is not what the solver said.
    """
    nodes, names = staged.tree.growth.shape
    moves = (np.asarray(made.buys.value) - np.asarray(made.sells.value)).reshape(nodes, names)
    policy = follow(staged, start, moves, solver, attempts, canonical)
    traded = float(np.asarray(made.buys.value).sum() + np.asarray(made.sells.value).sum())
    claimed = float(made.problem.value) - TIE_BREAK * traded
    if not abs(policy.objective - claimed) <= _DISAGREES * max(1.0, abs(claimed)):
        raise NotSolved(f"the formulas give {policy.objective:.9g} where the solver says {claimed:.9g}")
    refuse_broken(policy, ruled)
    return policy


def follow(
    staged: Staged,
    start: Start,
    moves: Matrix,
    solver: str = "",
    attempts: tuple[str, ...] = (),
    canonical: CanonicalCheck | None = None,
) -> Policy:
    """The policy that trades `moves` (D, N) at the nodes, positive to buy: holdings, cash and value by arithmetic."""
    tree = staged.tree
    before, cash_before = np.zeros_like(tree.growth), np.zeros(tree.nodes)
    holdings, cash = np.zeros_like(tree.growth), np.zeros(tree.nodes)
    bought, sold, wealth_before = np.zeros_like(tree.growth), np.zeros_like(tree.growth), np.zeros(tree.nodes)
    for node in range(tree.nodes):
        parent = tree.parents[node]
        before[node] = start.holdings if node == 0 else tree.growth[node] * holdings[parent]
        cash_before[node] = start.cash if node == 0 else tree.cash_growth[node] * cash[parent]
        wealth_before[node] = before[node].sum() + cash_before[node]
        move = np.where(np.abs(moves[node]) < _DUST, 0.0, moves[node])
        move = np.where(before[node] + move < _DUST, -before[node], move)
        bought[node], sold[node] = np.maximum(move, 0.0), np.maximum(-move, 0.0)
        costs = float(staged.mandates[node].costs(bought[node], sold[node]).sum())
        left = cash_before[node] + sold[node].sum() - bought[node].sum() - costs
        holdings[node], cash[node] = before[node] + move, 0.0 if -_DUST < left < 0 else left
    return Policy(
        staged=staged,
        start=start,
        before=before,
        bought=bought,
        sold=sold,
        holdings=holdings,
        cash=cash,
        wealth_before=wealth_before,
        wealth=holdings.sum(axis=1) + cash,
        valued=valued(staged, staged.ambiguities, holdings, cash),
        solver=solver,
        attempts=attempts,
        canonical=canonical or CanonicalCheck(0.0, 0.0, 0.0),
    )


def valued(staged: Staged, ambiguities: tuple[Ambiguity | Seen, ...], holdings: Matrix, cash: Vector) -> Valued:
    """Losses of a policy by backward recursion, the worst case at each node by the set's inner maximiser."""
    tree = staged.tree
    ends = tree.leaf_growth * holdings[tree.leaf_parents]
    if isinstance(staged.utility, MixtureVariance | MeanCVaR | Regret | ExAnteRegret):
        wealth = ends.sum(axis=1) + tree.leaf_cash_growth * cash[tree.leaf_parents]
        p = tree.child_probabilities(0)
        at_once = staged.utility.worst(holdings[0], float(cash[0]), wealth, of_scenarios(ambiguities[0]), p)
        return Valued(np.array([at_once.loss]), at_once.leaf_losses, (at_once.adversary,))
    at_leaves = leaf_losses(staged.utility, ends, tree.leaf_cash_growth * cash[tree.leaf_parents])
    losses, adversaries = np.zeros(tree.nodes), [np.zeros(0)] * tree.nodes
    for node in reversed(range(tree.nodes)):
        nodes, leaves = tree.children(node)
        ahead = np.concatenate([losses[nodes], at_leaves[leaves]])
        p = tree.child_probabilities(node)
        q = ambiguities[node].adversary(ahead, p) if np.isfinite(ahead).all() else p
        losses[node] = float(q[q > 0] @ ahead[q > 0])
        adversaries[node] = q
        if staged.risk_charge > 0:
            losses[node] += staged.charge(node) * float(np.sqrt(staged.outlooks[node].risk.variance(holdings[node])))
    return Valued(losses, at_leaves, tuple(adversaries))


def refuse_broken(policy: Policy, nodes: Sequence[int]) -> None:
    """Raise where the policy breaks a rule at one of `nodes`, by the rule's own formula.

    Raises:
        NotSolved: names the worst rule and its node.
    """
    worst: tuple[float, str, str] = (_BROKEN, "", "")
    for node in nodes:
        short = [Reading("cash at least 0%", float(policy.cash[node]), 0.0, at_most=False)]
        for reading in short + policy.readings(node):
            if reading.missed > worst[0]:
                worst = (reading.missed, reading.label, policy.staged.tree.names[node])
    if worst[1]:
        raise NotSolved(f"'{worst[1]}' is missed by {worst[0]:.1e} at '{worst[2]}'")


def worst_reach(policy: Policy) -> tuple[Vector, Vector]:
    """(D,) and (L,) the adversary's unconditional probabilities of nodes and leaves."""
    tree = policy.staged.tree
    nodes, leaves = np.ones(tree.nodes), np.zeros(tree.leaves)
    for node in range(tree.nodes):
        below, ends = tree.children(node)
        q = policy.valued.adversaries[node]
        nodes[below], leaves[ends] = nodes[node] * q[: len(below)], nodes[node] * q[len(below) :]
    return nodes, leaves


def _decided(policy: Policy, limits: Limits) -> Policy:
    """The same policy with the nodes decided that the adversary rules out: each is solved on its own (science F11).

    Only what is best from there on is changed there, and no node with a part in the worst case.
    """
    staged, tree = policy.staged, policy.staged.tree
    if all(isinstance(ambiguity, Known | KullbackLeibler) for ambiguity in staged.ambiguities):
        return policy
    reached, (possible, _) = worst_reach(policy)[0], tree.reach()
    moves = policy.bought - policy.sold
    undecided = [
        node
        for node in range(1, tree.nodes)
        if reached[node] < _OFF_PATH and possible[node] > 0 and reached[tree.parents[node]] >= _OFF_PATH
    ]
    for node in undecided:
        unit = float(policy.wealth_before[node])
        below = policy_of(staged.below(node, unit), policy.start_of(node), limits)
        moves[tree.below(node)[1]] = (below.bought - below.sold) * unit
    if not undecided:
        return policy
    again = follow(staged, policy.start, moves, policy.solver, policy.attempts, policy.canonical)
    if again.objective > policy.objective + _DISAGREES:
        raise NotSolved("deciding the nodes that the adversary rules out changed the plan")
    return again
