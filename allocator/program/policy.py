"""What is decided at every node of a tree: trades followed forward by arithmetic, valued backward by formulas.

Nothing here solves. Holdings, cash and wealth follow from the trades node by node, every rule is measured at every node
by its own formula, and the objective is recomputed by backward recursion with the inner maximisers of the sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.errors import NotSolved
from allocator.mandate.ambiguity import Ambiguity
from allocator.mandate.one_decision import ExAnteRegret, MeanCVaR, MixtureVariance, Regret
from allocator.mandate.rules import Reading, Trade
from allocator.mandate.seen import Seen, of_scenarios
from allocator.mandate.staged import Staged, in_account
from allocator.mandate.utility import leaf_losses
from allocator.program.canonical import CanonicalCheck
from allocator.program.compile import Start
from allocator.types import Matrix, Vector

_DUST = 1e-9
"""A trade or a holding below this part of today's account is the solver's noise."""
_BROKEN = 1e-6
"""How far a fractional policy may miss a rule, as a part of the account: what a solver's last digits may do."""


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
    guards against; `claimed` what the solver said of it, NaN where none was asked for the whole of it.
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
    claimed: float

    @property
    def objective(self) -> float:
        """The minimised worst-case loss of the policy at the root, recomputed from the formulas."""
        return float(self.valued.losses[0])

    @property
    def equivalent(self) -> float:
        """The sure return to the horizon that is as good."""
        return self.staged.utility.equivalent(self.objective)

    @property
    def apart(self) -> float:
        """How far the formulas are above what the solver says, relative to max(1, |objective|); never below 0."""
        return max(self.objective - self.claimed, 0.0) / max(1.0, abs(self.objective))

    @property
    def gap(self) -> float:
        """Between the policy and the bound that the solver's multipliers prove, relative to max(1, |objective|): but
        for the price that breaks ties, 1e-8 for all that is traded.
        """
        return self.canonical.gap + self.apart

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


def follow(
    staged: Staged,
    start: Start,
    moves: Matrix,
    solver: str = "",
    attempts: tuple[str, ...] = (),
    canonical: CanonicalCheck | None = None,
    claimed: float = np.nan,
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
        canonical=canonical or CanonicalCheck(np.nan, np.nan, np.nan),
        claimed=claimed,
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
