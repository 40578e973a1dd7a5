"""A mandate over a tree: the same rules at every decision node, each with the node's own outlook and ambiguity set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from allocator.ambiguity.pushforward import Seen, of_scenarios, seen_through, speaks_of_scenarios
from allocator.ambiguity.sets import Ambiguity, Known
from allocator.mandate.mandate import Mandate
from allocator.mandate.one_decision import OneDecision, Regret
from allocator.mandate.tail import MeanCVaR
from allocator.mandate.utility import PiecewiseLinear, Utility
from allocator.outlook.outlook import Outlook
from allocator.outlook.scenario_tree import Tree
from allocator.rules import LinearRule, Participation
from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class Branching:
    """A worst case: of node `node` over what stands at `at` (M,) among nodes and then leaves, believed at `p` (M,)."""

    node: int
    at: NDArray[np.int64]
    p: Vector
    ambiguity: Ambiguity | Seen


@dataclass(frozen=True, eq=False)
class Staged:
    """What is compiled and solved; one entry a decision node (D,) of `mandates`, `outlooks` and `ambiguities`.

    A node's mandate holds its rules and costs: its money (impact, daily volumes) is in units of today's account. Its
    outlook is from the node to the horizon. `ambiguities` are sets over the node's children, decision nodes first.
    `risk_charge` κ adds κ·√(part of the years to the horizon that the step takes)·‖L'h‖ to a node's loss, for a linear
    utility only: under any other it would change with the account's size. Of the `OneDecision` objectives only
    `MeanCVaR`, nested, and `Regret`, at the leaves, are for a tree of more than one decision node.
    """

    tree: Tree
    mandates: tuple[Mandate, ...]
    outlooks: tuple[Outlook, ...]
    ambiguities: tuple[Ambiguity | Seen, ...]
    utility: Utility | OneDecision
    risk_charge: float = 0.0

    @property
    def at_leaves(self) -> bool:
        """Whether there is one worst case, over all leaves at once: not time-consistent."""
        return isinstance(self.utility, Regret) and self.tree.nodes > 1

    def branchings(self) -> Iterator[Branching]:
        """Where there is a worst case: at every node over its children, or at the root over all leaves."""
        tree = self.tree
        if self.at_leaves:
            yield Branching(0, tree.nodes + np.arange(tree.leaves), tree.reach()[1], self._over_leaves())
            return
        for node, ambiguity in enumerate(self.ambiguities):
            below, ends = tree.children(node)
            at = np.concatenate([below, tree.nodes + ends])
            yield Branching(node, at, tree.child_probabilities(node), ambiguity)

    def _over_leaves(self) -> Ambiguity | Seen:
        """The root's set over paths and scenarios; one that speaks of scenarios is seen through all news at once."""
        own, tree = of_scenarios(self.ambiguities[0]), self.tree
        if not speaks_of_scenarios(own):
            return own
        kinds = np.eye(tree.beliefs.shape[1])[tree.leaf_scenarios]
        return seen_through(own, tree.beliefs[0], tree.reach()[1], kinds)

    def charge(self, node: int) -> float:
        """κ·√(years until the next date / years to the horizon), for a risk that is stated to the horizon."""
        children = self.tree.children(node)[0]
        years = self.outlooks[node].years
        ahead = years - self.outlooks[children[0]].years if len(children) else years
        return self.risk_charge * float(np.sqrt(ahead / years))

    def below(self, node: int, wealth_before: float) -> Staged:
        """The question that is left at `node`, where the account before trading is worth so much of today's."""
        tree, at = self.tree.below(node)
        goals = self.utility
        if isinstance(goals, PiecewiseLinear):  # stated in today's account, which every other utility forgets
            goals = replace(goals, slopes=goals.slopes * wealth_before)
        leaves = np.flatnonzero(np.isin(self.tree.leaf_parents, at))
        if isinstance(goals, MeanCVaR):
            goals = goals.of(leaves)
        if isinstance(goals, Regret) and len(goals.best):  # what hindsight makes of today's account, in the node's
            goals = Regret(((goals.best + 1) / wealth_before - 1)[leaves])
        return replace(
            self,
            tree=tree,
            mandates=tuple(in_account(self.mandates[i], wealth_before) for i in at),
            outlooks=tuple(self.outlooks[i] for i in at),
            ambiguities=tuple(self.ambiguities[i] for i in at),
            utility=goals,
        )


def trusting(staged: Staged) -> Staged:
    """The same question for somebody who takes every belief as it is."""
    return replace(staged, ambiguities=(Known(),) * staged.tree.nodes)


def in_account(mandate: Mandate, wealth_before: float) -> Mandate:
    """A mandate whose money is in units of an account `wealth_before` times as large."""

    def scaled(rule: LinearRule) -> LinearRule:
        if isinstance(rule, Participation):
            return replace(rule, volumes=tuple(volume / wealth_before for volume in rule.volumes))
        return rule

    impact = None if mandate.impact is None else mandate.impact * np.sqrt(wealth_before)
    return replace(mandate, linear_rules=tuple(map(scaled, mandate.linear_rules)), impact=impact)
