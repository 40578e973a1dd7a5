"""What is decided at every node of a tree: trades followed forward by arithmetic, valued backward by formulas.

Nothing here solves. Holdings, cash and wealth follow from the trades node by node, every rule is measured at every node
by its own formula, and the objective is recomputed by backward recursion with the inner maximisers of the sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from allocator.ambiguity.sets import Ambiguity
from allocator.errors import NotSolved
from allocator.multistage.mandate import MultistageMandate, PathWealth, rescale_mandate
from allocator.multistage.objectives import ScenarioStep
from allocator.optimization.verification import CanonicalCheck
from allocator.rules import RuleMeasurement, Trade
from allocator.rules.rows import Position
from allocator.types import Matrix, Vector

_DUST = 1e-9
"""A trade or a holding below this part of today's account is the solver's noise."""
_BROKEN = 1e-6
"""How far a fractional policy may miss a rule, as a part of the account: what a solver's last digits may do."""

_NOT_ASKED = CanonicalCheck(np.nan, np.nan, np.nan)
"""What no solver has vouched for."""


@dataclass(frozen=True, eq=False)
class PolicyValue:
    """A policy's losses by backward recursion: at nodes (D,) and leaves (L,), and the adversary's choice at each node.

    `adversaries[n]` are the adverse probabilities of node n's children, its decision nodes first; `counted[n]` how much
    their losses count in its own: the same, but that a tail counts more.
    """

    losses: Vector
    leaf_losses: Vector
    adversaries: tuple[Vector, ...]
    counted: tuple[Vector, ...]


@dataclass(frozen=True, eq=False)
class Policy:
    """What to hold at every node, in units of today's account: (D, N) `before` trades, `bought`, `sold`, `holdings`
    after; (D,) `cash` after, `wealth_before` and `wealth` after trades. `valued` is its worth under the sets that it
    guards against; `claimed` what the solver said of it, NaN where none was asked for the whole of it. Risk on the way
    is charged on its own wealth; the solver was asked with that of the policy before it, `solved` (science §3.14).
    """

    staged: MultistageMandate
    start: Position
    before: Matrix
    bought: Matrix
    sold: Matrix
    holdings: Matrix
    cash: Vector
    wealth_before: Vector
    wealth: Vector
    valued: PolicyValue
    solver: str = ""
    attempts: tuple[str, ...] = ()
    canonical: CanonicalCheck = _NOT_ASKED
    claimed: float = np.nan

    @property
    def objective(self) -> float:
        """The minimised adverse expected loss of the policy at the root, recomputed from the formulas."""
        return float(self.valued.losses[0])

    @property
    def equivalent(self) -> float:
        """The certainty equivalent: the riskless return to the horizon that is as good."""
        return self.staged.utility.equivalent(self.objective)

    @property
    def gain(self) -> float:
        """The certainty equivalent less the cash that comes on the way, which is no gain."""
        return self.staged.gain(self.objective)

    @cached_property
    def own_path(self) -> PathWealth:
        """What it is charged for risk by."""
        return path_wealth(self.staged, self.holdings, self.cash)

    @property
    def around(self) -> PathWealth | None:
        """What others near it may be charged around; None where risk on the way is not charged."""
        return self.own_path if self.staged.utility.path_aversion else None

    @cached_property
    def solved(self) -> PolicyValue:
        """Its worth by the program that was solved: of charges linearised around the policy before it."""
        staged = self.staged
        if not staged.utility.path_aversion:
            return self.valued
        return policy_value(staged, staged.ambiguities, self.holdings, self.cash, staged.first_around)

    @property
    def residual(self) -> float:
        """How far the charges are from their fixed point: what they move the certainty equivalent by."""
        return self.equivalent - self.staged.utility.equivalent(float(self.solved.losses[0]))

    @property
    def apart(self) -> float:
        """How far the formulas are above what the solver says, relative to max(1, |objective|); never below 0."""
        loss = float(self.solved.losses[0])
        return max(loss - self.claimed, 0.0) / max(1.0, abs(loss))

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

    def readings(self, node: int) -> list[RuleMeasurement]:
        """Every rule measured at one node."""
        mandate = rescale_mandate(self.staged.mandates[node], float(self.wealth_before[node]))
        return mandate.readings(self.trade(node), self.staged.outlooks[node])

    def start_of(self, node: int) -> Position:
        """Where one stands on coming to a node, its account before trading being 1."""
        unit = float(self.wealth_before[node])
        holdings = np.maximum(self.before[node] / unit, 0.0)
        cash = 1 - float(holdings.sum())
        return Position(holdings, cash if self.staged.tree.cash_flows[node] < 0 else max(cash, 0.0))

    def under(self, ambiguities: Sequence[Ambiguity]) -> PolicyValue:
        """The same policy valued under other sets: no solve."""
        return policy_value(self.staged, tuple(ambiguities), self.holdings, self.cash)


def policy_from_trades(staged: MultistageMandate, start: Position, moves: Matrix) -> Policy:
    """The policy that trades `moves` (D, N) at the nodes, positive to buy: holdings, cash and value by arithmetic."""
    tree, flows = staged.tree, staged.tree.cash_flows
    before, cash_before = np.zeros_like(tree.growth), np.zeros(tree.nodes)
    holdings, cash = np.zeros_like(tree.growth), np.zeros(tree.nodes)
    bought, sold, wealth_before = np.zeros_like(tree.growth), np.zeros_like(tree.growth), np.zeros(tree.nodes)
    for node in range(tree.nodes):
        parent = tree.parents[node]
        before[node] = start.holdings if node == 0 else tree.growth[node] * holdings[parent]
        cash_before[node] = start.cash if node == 0 else tree.cash_growth[node] * cash[parent] + flows[node]
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
        valued=policy_value(staged, staged.ambiguities, holdings, cash),
    )


def path_wealth(staged: MultistageMandate, holdings: Matrix, cash: Vector) -> PathWealth:
    """What holdings (D, N) and cash (D,) are charged for risk by."""
    tree, nodes = staged.tree, holdings.sum(axis=1) + cash
    nodes = nodes if tree.flows is None else nodes + tree.to_come
    held, in_cash = holdings[tree.leaf_parents], cash[tree.leaf_parents]
    variances = [
        float(staged.steps[node]) * staged.outlooks[node].risk.variance(own) for node, own in enumerate(holdings)
    ]
    risks = staged.utility.path_aversion / 2 * np.array(variances) / np.maximum(nodes, _DUST) ** 2
    leaves = (tree.leaf_growth * held).sum(axis=1) + tree.leaf_cash_growth * in_cash
    return PathWealth(np.maximum(nodes, _DUST), leaves, risks)


def policy_value(
    staged: MultistageMandate,
    ambiguities: tuple[Ambiguity, ...],
    holdings: Matrix,
    cash: Vector,
    around: PathWealth | None = None,
) -> PolicyValue:
    """Losses of a policy by backward recursion, the adverse expectation at each node by the set's inner maximiser;
    charges for risk are its own, or linearised `around` another one.
    """
    tree, utility = staged.tree, staged.utility
    if ambiguities is not staged.ambiguities:
        staged = replace(staged, ambiguities=ambiguities)
    held, in_cash = holdings[tree.leaf_parents], cash[tree.leaf_parents]
    values, left = tree.leaf_growth * held, tree.leaf_cash_growth * in_cash
    if utility.path_aversion:  # a charge is paid in cash at the end
        own = path_wealth(staged, holdings, cash)
        left = left - (own.leaves - (around or own).counted(tree, own))
    at_leaves = utility.leaf_losses(values, left)
    if staged.at_leaves:
        return _over_leaves(staged, at_leaves)
    return nested_value(staged, at_leaves, utility.drawn_losses(at_leaves, held, in_cash), holdings)


def nested_value(staged: MultistageMandate, plain: Vector, drawn: Matrix, holdings: Matrix) -> PolicyValue:
    """Node by node what the objective makes of what is ahead; leaves lose `plain` (L,) in the mean, (L, S) `drawn`."""
    tree = staged.tree
    losses, at_leaves = np.zeros(tree.nodes), plain.copy()
    adversaries, counted = [np.zeros(0)] * tree.nodes, [np.zeros(0)] * tree.nodes
    for one in reversed(staged.branchings):
        node, below, ends = one.node, one.at[one.at < tree.nodes], one.at[one.at >= tree.nodes] - tree.nodes
        certain = np.repeat(losses[below][:, None], drawn.shape[1] if len(ends) else 1, axis=1)
        step = ScenarioStep(
            np.concatenate([losses[below], plain[ends]]),
            np.vstack([certain, drawn[ends]]) if len(ends) else certain,
            holdings[node],
            staged.outlooks[node],
            float(staged.steps[node]),
        )
        value = staged.utility.worst(step, one.ambiguity, one.p)
        losses[node], at_leaves[ends] = value.loss, value.losses[len(below) :]
        adversaries[node], counted[node] = value.adversary, value.counted
    return PolicyValue(losses, at_leaves, tuple(adversaries), tuple(counted))


def _over_leaves(staged: MultistageMandate, at_leaves: Vector) -> PolicyValue:
    """One adverse expectation over all leaves; a later node's loss, and what follows, are conditional on it."""
    tree, (one,) = staged.tree, staged.branchings
    reached = np.concatenate([np.zeros(tree.nodes), one.ambiguity.adversary(at_leaves, one.p)])
    losses, adversaries = np.concatenate([np.zeros(tree.nodes), at_leaves]), [np.zeros(0)] * tree.nodes
    for node in reversed(range(tree.nodes)):
        below, ends = tree.children(node)
        at, p = np.concatenate([below, tree.nodes + ends]), tree.child_probabilities(node)
        reached[node] = reached[at].sum()
        adversaries[node] = reached[at] / reached[node] if reached[node] > 0 else p
        losses[node] = float(adversaries[node] @ losses[at])
    return PolicyValue(losses[: tree.nodes], at_leaves, tuple(adversaries), tuple(adversaries))


def refuse_broken_policy(policy: Policy, nodes: Sequence[int]) -> None:
    """Raise where the policy breaks a rule at one of `nodes`, by the rule's own formula.

    Raises:
        NotSolved: names the worst rule and its node.
    """
    worst: tuple[float, str, str] = (_BROKEN, "", "")
    for node in nodes:
        short = [RuleMeasurement("cash at least 0%", float(policy.cash[node]), 0.0, at_most=False)]
        for reading in short + policy.readings(node):
            if reading.missed > worst[0]:
                worst = (reading.missed, reading.label, policy.staged.tree.names[node])
    if worst[1]:
        raise NotSolved(f"'{worst[1]}' is missed by {worst[0]:.1e} at '{worst[2]}'")


def adverse_node_probabilities(policy: Policy) -> tuple[Vector, Vector]:
    """(D,) and (L,) how much nodes and leaves count at the root: the adversary's probabilities, but for tails."""
    tree = policy.staged.tree
    nodes, leaves = np.ones(tree.nodes), np.zeros(tree.leaves)
    for node in range(tree.nodes):
        below, ends = tree.children(node)
        q = policy.valued.counted[node]
        nodes[below], leaves[ends] = nodes[node] * q[: len(below)], nodes[node] * q[len(below) :]
    return nodes, leaves
