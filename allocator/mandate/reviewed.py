"""From a book to its mandate in stages: the same wishes at every review, on that day's evidence, prices and locks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from allocator.ambiguity.pushforward import Seen, seen_through, speaks_of_scenarios
from allocator.ambiguity.radius import News, set_after, set_of
from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import Book
from allocator.mandate.builder import mandate_of
from allocator.mandate.mandate import Mandate
from allocator.mandate.one_decision import ExAnteRegret, MixtureVariance, OneDecision, Regret
from allocator.mandate.staged import Staged
from allocator.mandate.tail import MeanCVaR, simulated
from allocator.mandate.utility import Linear, Log, PowerUtility, Utility
from allocator.outlook.outlook import Outlook
from allocator.outlook.scenario_tree import Reviews, reviews_of
from allocator.rules import ConvexRule, LinearRule, NoTrade, Participation, WorstCaseFloor
from allocator.types import Vector


def staged_of(book: Book, outlook: Outlook, today: Ambiguity | None = None) -> Staged:
    """The mandate of a book whose objective is a utility or for one decision, over the tree of its reviews; today's set
    of probabilities is the book's own where none is given.
    """
    today = today or set_of(book, outlook)
    reviews, stated = reviews_of(book, outlook), mandate_of(book, outlook, today)
    sets = [today, *(_set_at(book, today, reviews, node) for node in range(1, reviews.tree.nodes))]
    growth, _ = reviews.tree.since_now()
    return Staged(
        tree=reviews.tree,
        mandates=tuple(
            _at(book, stated, reviews, node, growth[node], sets[node]) for node in range(reviews.tree.nodes)
        ),
        outlooks=reviews.outlooks,
        ambiguities=tuple(_over_news(over, reviews, node) for node, over in enumerate(sets)),
        utility=utility_of(book, outlook, reviews),
        risk_charge=book.settings.mandate.step_risk,
    )


def utility_of(book: Book, outlook: Outlook, reviews: Reviews) -> Utility | OneDecision:
    """What the final wealth is worth; what regret is measured against is still to be solved for."""
    wanted = book.settings.mandate
    if wanted.objective == "log":
        return Log()
    if wanted.objective == "crra":
        return PowerUtility(float(wanted.relative_risk_aversion or 0.0))
    if wanted.objective == "mixture_variance":
        return MixtureVariance(wanted.risk_aversion, outlook.risk)
    if wanted.objective == "mean_cvar":
        tree = reviews.tree
        # from the last decision on: what happens within a scenario before it is not in the tree
        drawn = np.concatenate(
            [
                simulated(reviews.outlooks[node], wanted.draws, tree.leaf_scenarios[tree.leaf_parents == node])
                for node in dict.fromkeys(tree.leaf_parents.tolist())
            ]
        )
        return MeanCVaR(wanted.cvar_level, wanted.cvar_weight, drawn, tree.leaf_cash_growth)
    if wanted.objective == "regret":
        return Regret()
    return ExAnteRegret() if wanted.objective == "regret_ex_ante" else Linear()


def _set_at(book: Book, today: Ambiguity, reviews: Reviews, node: int) -> Ambiguity:
    """Today's set of scenario probabilities as it is at a later node, at the radius that the evidence there leaves.

    Raises:
        BadMandate: the belief at the node is outside the limits of a polytope.
    """
    state = reviews.states[node]
    news = News(state.signals, state.told, reviews.evidence[node], f"at the review '{state.name}'")
    return set_after(book, today, reviews.outlooks[node].probabilities, news)


def _over_news(over: Ambiguity, reviews: Reviews, node: int) -> Ambiguity | Seen:
    """The set over a node's children: the same one around their probabilities, or, for a set that speaks of scenarios,
    that one seen through the news.
    """
    tree = reviews.tree
    children, leaves = tree.children(node)
    if len(leaves) or not speaks_of_scenarios(over):
        return over  # the leaves of a node are the scenarios themselves
    return seen_through(over, tree.beliefs[node], tree.probabilities[children], tree.beliefs[children])


def _at(book: Book, stated: Mandate, reviews: Reviews, node: int, growth: Vector, ambiguity: Ambiguity) -> Mandate:
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
