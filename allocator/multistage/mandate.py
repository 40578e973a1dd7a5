"""From a book to its mandate in stages: the same wishes at every review, on that day's evidence, prices and locks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.sets import Ambiguity, NewInformation, ambiguity_set
from allocator.book.book import Book
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import Mandate
from allocator.multistage import risk_adjustment as _risk_adjustment  # noqa: F401  # its classes are objectives, too
from allocator.multistage.objectives import Objective, ObjectiveWords
from allocator.outlook.outlook import Outlook
from allocator.outlook.scenario_tree import ReviewTree, ScenarioTree, build_review_tree
from allocator.types import Vector


def _kinds(of: type[Objective]) -> Iterator[type[Objective]]:
    """An objective, and all that are made of it in whatever file."""
    yield of
    for kind in of.__subclasses__():
        yield from _kinds(kind)


OBJECTIVES: Mapping[str, type[Objective]] = {kind.name: kind for kind in _kinds(Objective) if kind.name}
"""By the name in `book.toml`; what the rest of a book has to know of each is in `settings/mandate.py`."""

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
class PathWealth:
    """What a policy is charged for risk by: (D,) wealth at its decision `nodes` after trades and with what is to come,
    which is as good as cash, (L,) at its `leaves` before any charge, and `risks` (D,), γ/2·Δσ² of what is held from
    each node to the next.
    """

    nodes: Vector
    leaves: Vector
    risks: Vector

    def counted(self, tree: ScenarioTree, own: PathWealth) -> Vector:
        """(L,) what wealth at the end of a policy of `own` counts as, linearised around this one.

        W·exp(−Σ ρ) is not concave in what is held. Around W̄ and ρ̄ of an earlier policy it is
        exp(−Σ ρ̄)·(W − W̄·Σ (ρ_n − ρ̄_n)·W_n/W̄_n), equal in value and slope there, concave, and with one quadratic over
        a wealth a node, ρ_n·W_n = γ/2·Δ·‖L'h‖²/W_n. Around itself it is the policy's own value; around a wealth that
        stays at 1 and is charged nothing it is W − Σ ρ_n·W_n (science §3.14, whose ratios are W̄/W̄_n).
        """
        moved = tree.on_path((own.risks - self.risks) * own.nodes / self.nodes)
        result: Vector = np.exp(-tree.on_path(self.risks)) * (own.leaves - self.leaves * moved)
        return result

    def part(self, at: Sequence[int], leaves: Sequence[int], account: float) -> PathWealth:
        """Of some nodes and leaves, in units of an account worth so much of today's."""
        return PathWealth(self.nodes[list(at)] / account, self.leaves[list(leaves)] / account, self.risks[list(at)])


@dataclass(frozen=True, eq=False)
class MultistageMandate:
    """What is compiled and solved; one entry a decision node (D,) of `mandates`, `outlooks` and `ambiguities`.

    A node's mandate holds its rules and costs: its money (impact, daily volumes) is in units of today's account. Its
    outlook is from the node to the horizon. `ambiguities` are sets over the node's children, decision nodes first.
    `around` is the policy that the charge for risk is linearised around; None before there is one.
    """

    tree: ScenarioTree
    mandates: tuple[Mandate, ...]
    outlooks: tuple[Outlook, ...]
    ambiguities: tuple[Ambiguity, ...]
    utility: Objective
    around: PathWealth | None = None

    @property
    def guards(self) -> bool:
        """Whether any node guards against other probabilities than the believed."""
        return any(ambiguity.guards for ambiguity in self.ambiguities)

    @property
    def at_leaves(self) -> bool:
        """Whether there is one adverse expectation, over all leaves at once: not time-consistent."""
        return self.utility.over_leaves and self.tree.nodes > 1

    def choosing(self, held: NDArray[np.bool_]) -> MultistageMandate:
        """The same question once the names (N,) that are held are chosen."""
        return replace(self, mandates=tuple(one.choosing(held) for one in self.mandates))

    def gain(self, loss: float) -> float:
        """What a loss is as a return, less the cash that comes on the way; in a regret there is none of it."""
        came = 0.0 if self.utility.over_leaves else self.tree.all_flows
        return self.utility.equivalent(loss) - came

    @property
    def words(self) -> ObjectiveWords:
        """What people read of the objective."""
        return self.utility.words(reviewed=self.tree.nodes > 1)

    @cached_property
    def branchings(self) -> tuple[NestedWorstCase, ...]:
        """Where there is an adverse expectation: at every node over its children, or at the root over all leaves."""
        tree = self.tree
        if self.at_leaves:
            every = tree.nodes + np.arange(tree.leaves)
            return (NestedWorstCase(0, every, tree.reach()[1], self._over_leaves()),)
        return tuple(
            NestedWorstCase(
                node,
                np.concatenate([(at := tree.children(node))[0], tree.nodes + at[1]]),
                tree.child_probabilities(node),
                ambiguity,
            )
            for node, ambiguity in enumerate(self.ambiguities)
        )

    def _over_leaves(self) -> Ambiguity:
        """The root's set over paths and scenarios; one about scenarios is pushed forward by all news at once."""
        tree = self.tree
        kinds = np.eye(tree.beliefs.shape[1])[tree.leaf_scenarios]
        return self.ambiguities[0].of_scenarios.over_paths(tree.beliefs[0], tree.reach()[1], kinds)

    @cached_property
    def steps(self) -> Vector:
        """(D,) the part of the years to the horizon that pass until the next date."""
        years, ends = np.array([outlook.years for outlook in self.outlooks]), np.zeros(self.tree.nodes)
        later = np.flatnonzero(self.tree.parents >= 0)
        ends[self.tree.parents[later[::-1]]] = years[later[::-1]]  # of the first of several
        parts: Vector = (years - ends) / years
        return parts

    def below(self, node: int, wealth_before: float) -> MultistageMandate:
        """The question that is left at `node`, where the account before trading is worth so much of today's."""
        at, leaves = self.tree.below(node)
        return self.part(at, leaves, wealth_before)

    def part(self, at: Sequence[int], leaves: Sequence[int], account: float = 1.0) -> MultistageMandate:
        """The question of some decision nodes, the first being the root, and some leaves, for an account worth so much
        of today's.
        """
        return replace(
            self,
            tree=self.tree.part(at, leaves, account),
            mandates=tuple(rescale_mandate(self.mandates[i], account) for i in at),
            outlooks=tuple(self.outlooks[i] for i in at),
            ambiguities=tuple(self.ambiguities[i] for i in at),
            utility=self.utility.restated(leaves, account),
            around=None if self.around is None else self.around.part(at, leaves, account),
        )

    def paths(self, leaves: Sequence[int]) -> list[MultistageMandate]:
        """The question of who knows that he comes to a leaf, for each of some: no news, no set of probabilities."""
        found = list[MultistageMandate]()
        for leaf in leaves:
            path = [int(self.tree.leaf_parents[leaf])]
            while path[0] > 0:
                path.insert(0, int(self.tree.parents[path[0]]))
            chain = without_ambiguity(self.part(path, [leaf]))
            certain = replace(chain.tree, probabilities=np.ones(len(path)), leaf_probabilities=np.ones(1))
            found.append(replace(chain, tree=certain))
        return found

    def forest(self, questions: Sequence[MultistageMandate], leaves: Sequence[int]) -> MultistageMandate:
        """Questions of this one's `leaves`, in their order, side by side: what is best for each is best for the sum."""
        around = [one.around for one in questions if one.around is not None]  # all of them, or none
        joined = (np.concatenate([getattr(one, part) for one in around]) for part in ("nodes", "leaves", "risks"))
        return replace(
            self,
            tree=ScenarioTree.forest([one.tree for one in questions]),
            mandates=tuple(mandate for one in questions for mandate in one.mandates),
            outlooks=tuple(outlook for one in questions for outlook in one.outlooks),
            ambiguities=tuple(ambiguity for one in questions for ambiguity in one.ambiguities),
            utility=self.utility.restated(leaves),
            around=PathWealth(*joined) if around else None,
        )

    @property
    def first_around(self) -> PathWealth:
        """What the charge for risk is linearised around: the stated policy, at first a wealth that stays as it is."""
        nodes, leaves = self.tree.nodes, self.tree.leaves
        return self.around or PathWealth(np.ones(nodes), np.ones(leaves), np.zeros(nodes))


def without_ambiguity(staged: MultistageMandate) -> MultistageMandate:
    """The same question for somebody who takes every belief as it is."""
    return replace(staged, ambiguities=(Singleton(),) * staged.tree.nodes)


def rescale_mandate(mandate: Mandate, wealth_before: float) -> Mandate:
    """A mandate whose money is in units of an account `wealth_before` times as large."""
    if wealth_before == 1.0:
        return mandate
    impact = None if mandate.impact is None else mandate.impact * np.sqrt(wealth_before)
    rules = tuple(rule.rescaled(wealth_before) for rule in mandate.linear_rules)
    return replace(mandate, linear_rules=rules, impact=impact)


def build_multistage_mandate(
    book: Book, outlook: Outlook, today: Ambiguity | None = None, *, reviews: ReviewTree | None = None
) -> MultistageMandate:
    """The mandate of a book whose objective is a utility or for one decision, over the tree of its reviews; today's set
    of probabilities is the book's own where none is given, and the tree is built where it is not.
    """
    today, reviews = today or ambiguity_set(book, outlook), reviews or build_review_tree(book, outlook)
    stated = build_mandate(book, outlook, today)
    sets = [today, *(_set_at(book, today, reviews, node) for node in range(1, reviews.tree.nodes))]
    growth, _ = reviews.tree.since_now()
    return MultistageMandate(
        tree=reviews.tree,
        mandates=tuple(_at(stated, reviews, node, growth[node], sets[node]) for node in range(reviews.tree.nodes)),
        outlooks=reviews.outlooks,
        ambiguities=tuple(_over_news(over, reviews, node) for node, over in enumerate(sets)),
        utility=OBJECTIVES[book.settings.mandate.objective].from_book(book, reviews),
    )


def _set_at(book: Book, today: Ambiguity, reviews: ReviewTree, node: int) -> Ambiguity:
    """Today's set of scenario probabilities as it is at a later node, at the radius that the evidence there leaves.

    Raises:
        BadMandate: the belief at the node is outside the limits of a polytope.
    """
    state = reviews.states[node]
    when = f"at the review '{state.name}'"
    news = NewInformation(state.signals, state.told, reviews.evidence[node], when, reviews.question)
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


def _at(stated: Mandate, reviews: ReviewTree, node: int, growth: Vector, ambiguity: Ambiguity) -> Mandate:
    """The mandate at one node: locks that have ended are gone, volumes in money have grown with prices."""
    if node == 0:
        return stated
    day = reviews.states[node].day
    linear = [rule.at_review(day, growth, ambiguity) for rule in stated.linear_rules]
    convex = [rule.at_review(day, growth, ambiguity) for rule in stated.convex_rules]
    return replace(
        stated,
        linear_rules=tuple(rule for rule in linear if rule is not None),
        convex_rules=tuple(rule for rule in convex if rule is not None),
        impact=None if stated.impact is None else stated.impact / np.sqrt(growth),
    )
