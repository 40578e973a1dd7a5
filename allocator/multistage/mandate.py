"""From a book to its mandate in stages: the same wishes at every review, on that day's evidence, prices and locks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.sets import Ambiguity, NewInformation, ambiguity_set
from allocator.book.book import Book
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import Mandate
from allocator.multistage.objectives import (
    ExAnteRegret,
    LinearUtility,
    LogUtility,
    MeanCVaR,
    MixtureVariance,
    OneDecision,
    PiecewiseLinearUtility,
    PowerUtility,
    Regret,
    Utility,
    simulated_values,
)
from allocator.outlook.outlook import Outlook
from allocator.outlook.scenario_tree import ReviewTree, ScenarioTree, build_review_tree
from allocator.rules import ConvexRule, LinearRule, NoTrade, Participation, WorstCaseFloor
from allocator.types import Vector

# A mandate over a tree: the same rules at every decision node, each with the node's own outlook and ambiguity set.
#


@dataclass(frozen=True, eq=False)
class NestedWorstCase:
    """An adverse expectation: of `node` over what stands at `at` (M,) of nodes and then leaves, believed at `p`."""

    node: int
    at: NDArray[np.int64]
    p: Vector
    ambiguity: Ambiguity


@dataclass(frozen=True, eq=False)
class MultistageMandate:
    """What is compiled and solved; one entry a decision node (D,) of `mandates`, `outlooks` and `ambiguities`.

    A node's mandate holds its rules and costs: its money (impact, daily volumes) is in units of today's account. Its
    outlook is from the node to the horizon. `ambiguities` are sets over the node's children, decision nodes first.
    `risk_charge` κ adds κ·√(part of the years to the horizon that the step takes)·‖L'h‖ to a node's loss, for a linear
    utility only: under any other it would change with the account's size. Of the `OneDecision` objectives only
    `MeanCVaR`, nested, and `Regret`, at the leaves, are for a tree of more than one decision node.
    """

    tree: ScenarioTree
    mandates: tuple[Mandate, ...]
    outlooks: tuple[Outlook, ...]
    ambiguities: tuple[Ambiguity, ...]
    utility: Utility | OneDecision
    risk_charge: float = 0.0

    @property
    def guards(self) -> bool:
        """Whether any node guards against other probabilities than the believed."""
        return any(ambiguity.guards for ambiguity in self.ambiguities)

    @property
    def at_leaves(self) -> bool:
        """Whether there is one adverse expectation, over all leaves at once: not time-consistent."""
        return isinstance(self.utility, Regret) and self.tree.nodes > 1

    def branchings(self) -> Iterator[NestedWorstCase]:
        """Where there is an adverse expectation: at every node over its children, or at the root over all leaves."""
        tree = self.tree
        if self.at_leaves:
            yield NestedWorstCase(0, tree.nodes + np.arange(tree.leaves), tree.reach()[1], self._over_leaves())
            return
        for node, ambiguity in enumerate(self.ambiguities):
            below, ends = tree.children(node)
            at = np.concatenate([below, tree.nodes + ends])
            yield NestedWorstCase(node, at, tree.child_probabilities(node), ambiguity)

    def _over_leaves(self) -> Ambiguity:
        """The root's set over paths and scenarios; one about scenarios is pushed forward by all news at once."""
        tree = self.tree
        kinds = np.eye(tree.beliefs.shape[1])[tree.leaf_scenarios]
        return self.ambiguities[0].of_scenarios.after_news(tree.beliefs[0], tree.reach()[1], kinds)

    def charge(self, node: int) -> float:
        """κ·√(years until the next date / years to the horizon), for a risk that is stated to the horizon."""
        children = self.tree.children(node)[0]
        years = self.outlooks[node].years
        ahead = years - self.outlooks[children[0]].years if len(children) else years
        return self.risk_charge * float(np.sqrt(ahead / years))

    def below(self, node: int, wealth_before: float) -> MultistageMandate:
        """The question that is left at `node`, where the account before trading is worth so much of today's."""
        tree, at = self.tree.below(node)
        goals = self.utility
        if isinstance(goals, PiecewiseLinearUtility):  # stated in today's account, which every other utility forgets
            goals = replace(goals, slopes=goals.slopes * wealth_before)
        leaves = np.flatnonzero(np.isin(self.tree.leaf_parents, at))
        if isinstance(goals, MeanCVaR):
            goals = goals.of(leaves)
        if isinstance(goals, Regret) and len(goals.best):  # what hindsight makes of today's account, in the node's
            goals = Regret(((goals.best + 1) / wealth_before - 1)[leaves])
        return replace(
            self,
            tree=tree,
            mandates=tuple(rescale_mandate(self.mandates[i], wealth_before) for i in at),
            outlooks=tuple(self.outlooks[i] for i in at),
            ambiguities=tuple(self.ambiguities[i] for i in at),
            utility=goals,
        )


def without_ambiguity(staged: MultistageMandate) -> MultistageMandate:
    """The same question for somebody who takes every belief as it is."""
    return replace(staged, ambiguities=(Singleton(),) * staged.tree.nodes)


def rescale_mandate(mandate: Mandate, wealth_before: float) -> Mandate:
    """A mandate whose money is in units of an account `wealth_before` times as large."""

    def scaled(rule: LinearRule) -> LinearRule:
        if isinstance(rule, Participation):
            return replace(rule, volumes=tuple(volume / wealth_before for volume in rule.volumes))
        return rule

    impact = None if mandate.impact is None else mandate.impact * np.sqrt(wealth_before)
    return replace(mandate, linear_rules=tuple(map(scaled, mandate.linear_rules)), impact=impact)


def build_multistage_mandate(book: Book, outlook: Outlook, today: Ambiguity | None = None) -> MultistageMandate:
    """The mandate of a book whose objective is a utility or for one decision, over the tree of its reviews; today's set
    of probabilities is the book's own where none is given.
    """
    today = today or ambiguity_set(book, outlook)
    reviews, stated = build_review_tree(book, outlook), build_mandate(book, outlook, today)
    sets = [today, *(_set_at(book, today, reviews, node) for node in range(1, reviews.tree.nodes))]
    growth, _ = reviews.tree.since_now()
    return MultistageMandate(
        tree=reviews.tree,
        mandates=tuple(
            _at(book, stated, reviews, node, growth[node], sets[node]) for node in range(reviews.tree.nodes)
        ),
        outlooks=reviews.outlooks,
        ambiguities=tuple(_over_news(over, reviews, node) for node, over in enumerate(sets)),
        utility=build_utility(book, outlook, reviews),
        risk_charge=book.settings.mandate.step_risk,
    )


def build_utility(book: Book, outlook: Outlook, reviews: ReviewTree) -> Utility | OneDecision:
    """What the final wealth is worth; what regret is measured against is still to be solved for."""
    wanted = book.settings.mandate
    if wanted.objective == "log":
        return LogUtility()
    if wanted.objective == "crra":
        return PowerUtility(float(wanted.relative_risk_aversion or 0.0))
    if wanted.objective == "mixture_variance":
        return MixtureVariance(wanted.risk_aversion, outlook.risk)
    if wanted.objective == "mean_cvar":
        tree = reviews.tree
        # from the last decision on: what happens within a scenario before it is not in the tree
        drawn = np.concatenate(
            [
                simulated_values(reviews.outlooks[node], wanted.draws, tree.leaf_scenarios[tree.leaf_parents == node])
                for node in dict.fromkeys(tree.leaf_parents.tolist())
            ]
        )
        return MeanCVaR(wanted.cvar_level, wanted.cvar_weight, drawn, tree.leaf_cash_growth)
    if wanted.objective == "regret":
        return Regret()
    return ExAnteRegret() if wanted.objective == "regret_ex_ante" else LinearUtility()


def _set_at(book: Book, today: Ambiguity, reviews: ReviewTree, node: int) -> Ambiguity:
    """Today's set of scenario probabilities as it is at a later node, at the radius that the evidence there leaves.

    Raises:
        BadMandate: the belief at the node is outside the limits of a polytope.
    """
    state = reviews.states[node]
    news = NewInformation(state.signals, state.told, reviews.evidence[node], f"at the review '{state.name}'")
    return today.at_node(book, reviews.outlooks[node].probabilities, news)


def _over_news(over: Ambiguity, reviews: ReviewTree, node: int) -> Ambiguity:
    """The set over a node's children: the same one around their probabilities, or, for a set that speaks of scenarios,
    that one pushed forward by the news.
    """
    tree = reviews.tree
    children, leaves = tree.children(node)
    if len(leaves):
        return over  # the leaves of a node are the scenarios themselves
    return over.after_news(tree.beliefs[node], tree.probabilities[children], tree.beliefs[children])


def _at(book: Book, stated: Mandate, reviews: ReviewTree, node: int, growth: Vector, ambiguity: Ambiguity) -> Mandate:
    """The mandate at one node: locks that have ended are gone, volumes in money have grown with prices."""
    if node == 0:
        return stated
    locked_until = _locks(book)
    day = pd.Timestamp(reviews.states[node].day)

    def linear(rule: LinearRule) -> LinearRule | None:
        if isinstance(rule, NoTrade) and rule.why == NoTrade.why:
            still = [i for i, name in enumerate(rule.names) if locked_until[name] > day]
            names, at = tuple(rule.names[i] for i in still), tuple(rule.at[i] for i in still)
            return replace(rule, names=names, at=at) if still else None
        if isinstance(rule, Participation):
            return replace(rule, volumes=tuple(np.array(rule.volumes) * growth[list(rule.at)]))
        return rule

    def convex(rule: ConvexRule) -> ConvexRule:
        return replace(rule, ambiguity=ambiguity) if isinstance(rule, WorstCaseFloor) else rule

    rules = [linear(rule) for rule in stated.linear_rules]
    return replace(
        stated,
        linear_rules=tuple(rule for rule in rules if rule is not None),
        convex_rules=tuple(map(convex, stated.convex_rules)),
        impact=None if stated.impact is None else stated.impact / np.sqrt(growth),
    )


def _locks(book: Book) -> dict[str, pd.Timestamp]:
    """Until when each name cannot be traded."""
    return {} if "tradable_from" not in book.exposures else dict(book.exposures["tradable_from"].dropna())


# What an objective is called on a tree, where it is not what its one-decision name says.
#
_NAMES = {
    LinearUtility: "expected wealth",
    LogUtility: "log utility",
    PowerUtility: "power utility",
    MixtureVariance: "mean and mixture variance",
    ExAnteRegret: "regret of not knowing the probabilities",
}


def objective_label(staged: MultistageMandate) -> str:
    """The objective's name; one that is not time-consistent says so."""
    if isinstance(staged.utility, MeanCVaR):
        return "nested CVaR" if staged.tree.nodes > 1 else "mean and CVaR"
    if isinstance(staged.utility, Regret):
        return "regret at the leaves: not time-consistent" if staged.at_leaves else "regret"
    return _NAMES.get(type(staged.utility), "goals")
