"""From a book to its tree: what may be known at each review date, how likely that is, and what prices then hold.

While sources are silent a review finds either that the silence has lasted or that one of them has claimed a hypothesis
since the last review; the claim is judged by the review after. After a verdict, and after the last review, the tree
looks no further: what else may be learnt is left out, which understates what waiting is worth. Usage figures and other
evidence move no branch.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

import numpy as np

from allocator.book.book import Book
from allocator.book.checks.question import ANY_SOURCE
from allocator.outlook.calibration import build_question, dated_signals, market_probabilities
from allocator.outlook.outlook import Outlook
from allocator.outlook.posterior import (
    bayes_update,
    claim_probabilities,
    hypothesis_probabilities,
    log_evidence,
    log_likelihoods,
)
from allocator.outlook.question import DAYS_A_MONTH, Question, Signal, open_claims
from allocator.presentation import IsoDate, Keywords, NotNegative, OutlookHeading, Probability
from allocator.settings.settings import DAYS_A_YEAR
from allocator.types import Matrix, Vector

# The tree of what may be known when: decision nodes at today and at the review dates, leaves at the horizon.
#
# A node is a state of the evidence on a date: silence so far, a claim since the last review, a verdict on it. What it
# costs to trade there is known from the price of the node; what a leaf brings is a scenario come true. The tree says
# nothing of what is decided.
#


@dataclass(frozen=True, eq=False)
class ScenarioTree:
    """D decision nodes, the root first and parents before children, and L leaves, for N instruments and K scenarios.

    `parents` (D,), −1 at the root; `probabilities` (D,) given the parent; `beliefs` (D, K) about the scenarios at each
    node. `growth` (D, N) and `cash_growth` (D,) are values at a node per unit of value at its parent, before any
    trade. A leaf hangs on decision node `leaf_parents`, is scenario `leaf_scenarios`, and has the same three: (L,),
    (L, N), (L,). `names`, `kinds` and `dates` tell people what the nodes are.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    dates: tuple[dt.date, ...]
    parents: np.ndarray[tuple[int], np.dtype[np.int64]]
    probabilities: Vector
    beliefs: Matrix
    growth: Matrix
    cash_growth: Vector
    leaf_parents: np.ndarray[tuple[int], np.dtype[np.int64]]
    leaf_scenarios: np.ndarray[tuple[int], np.dtype[np.int64]]
    leaf_probabilities: Vector
    leaf_growth: Matrix
    leaf_cash_growth: Vector

    @property
    def nodes(self) -> int:
        """D."""
        return len(self.parents)

    @property
    def leaves(self) -> int:
        """L."""
        return len(self.leaf_parents)

    def children(self, node: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]:
        """Positions of its decision nodes and of its leaves."""
        return np.flatnonzero(self.parents == node), np.flatnonzero(self.leaf_parents == node)

    def child_probabilities(self, node: int) -> Vector:
        """Probabilities of its decision nodes, then of its leaves; they sum to one."""
        nodes, leaves = self.children(node)
        return np.concatenate([self.probabilities[nodes], self.leaf_probabilities[leaves]])

    def reach(self) -> tuple[Vector, Vector]:
        """(D,) and (L,) probabilities of coming there at all."""
        reached = np.ones(self.nodes)
        for node in range(1, self.nodes):
            reached[node] = reached[self.parents[node]] * self.probabilities[node]
        return reached, reached[self.leaf_parents] * self.leaf_probabilities

    def on_path(self, values: Vector) -> Vector:
        """(L,) sums of `values` (D,) over the decision nodes on the way to each leaf."""
        sums = values.copy()
        for node in range(1, self.nodes):
            sums[node] += sums[self.parents[node]]
        return sums[self.leaf_parents]

    def since_now(self) -> tuple[Matrix, Vector]:
        """(D, N) and (D,) values at each node per unit of today's."""
        growth, cash = self.growth.copy(), self.cash_growth.copy()
        for node in range(1, self.nodes):
            growth[node] *= growth[self.parents[node]]
            cash[node] *= cash[self.parents[node]]
        return growth, cash

    def below(self, node: int) -> tuple[list[int], list[int]]:
        """The decision nodes and the leaves of the tree that begins at `node`."""
        at = [node]
        for child in range(node + 1, self.nodes):
            if self.parents[child] in at:
                at.append(child)
        return at, np.flatnonzero(np.isin(self.leaf_parents, at)).tolist()

    def part(self, at: Sequence[int], leaves: Sequence[int]) -> ScenarioTree:
        """The tree of some decision nodes, the first being its root and parents before children, and some leaves."""
        at, leaves, place = list(at), list(leaves), np.full(self.nodes, -1)
        place[at] = np.arange(len(at))
        told: dict[str, Any] = {name: tuple(getattr(self, name)[i] for i in at) for name in ("names", "kinds", "dates")}
        own = {name: getattr(self, name)[at] for name in ("probabilities", "growth", "cash_growth")}  # copies
        for values in own.values():
            values[0] = 1.0
        of_leaves = {name: getattr(self, f"leaf_{name}")[leaves] for name in ("scenarios", *own)}
        return replace(
            self,
            parents=np.concatenate([[-1], place[self.parents[at[1:]]]]).astype(np.int64),
            beliefs=self.beliefs[at],
            leaf_parents=place[self.leaf_parents[leaves]],
            **{f"leaf_{name}": values for name, values in of_leaves.items()},
            **own,
            **told,
        )


@dataclass(frozen=True, eq=False)
class NodeEvidence:
    """The evidence at a node: `signals` seen by `day`; `told` is the day that its evidence is of.

    `told` is earlier than `day` where a verdict on a named claim has come and nobody looks at others' silence since.
    """

    name: str
    kind: str
    day: dt.date
    told: dt.date
    signals: tuple[Signal, ...]
    parent: int
    probability: float
    about: str = ""
    """What was claimed, where it may be one of several hypotheses."""

    @property
    def words(self) -> str:
        """What is found there, in a word or two."""
        return f"{self.kind} {self.about}".rstrip()


@dataclass(frozen=True, eq=False)
class ReviewTree:
    """A book's tree, the outlook at each decision node (D,) from there to the horizon, and the evidence there."""

    tree: ScenarioTree
    outlooks: tuple[Outlook, ...]
    states: tuple[NodeEvidence, ...]
    evidence: Matrix
    """(D, K) logs of what the news since today multiplies the odds of the scenarios by, up to a constant a node."""


def build_review_tree(book: Book, outlook: Outlook) -> ReviewTree:
    """The tree of a book's reviews; one decision node where it has none."""
    states = _states(book)
    beliefs, market, evidence = _probabilities(book, outlook, states)
    growth, cash = _growth_since_now(book, outlook, states, market)
    parents, count = np.array([state.parent for state in states]), len(outlook.scenarios)
    last, above = np.setdiff1d(np.arange(len(states)), parents), np.maximum(parents, 0)
    leaf_parents, leaf_scenarios = np.repeat(last, count), np.tile(np.arange(count), len(last))
    end, cash_end = 1 + outlook.returns, 1 + outlook.cash_returns
    tree = ScenarioTree(
        names=tuple(state.name for state in states),
        kinds=tuple(state.kind for state in states),
        dates=tuple(state.day for state in states),
        parents=parents,
        probabilities=np.array([state.probability for state in states]),
        beliefs=beliefs,
        growth=growth / growth[above],
        cash_growth=cash / cash[above],
        leaf_parents=leaf_parents,
        leaf_scenarios=leaf_scenarios,
        leaf_probabilities=beliefs[leaf_parents, leaf_scenarios],
        leaf_growth=end[leaf_scenarios] / growth[leaf_parents],
        leaf_cash_growth=cash_end[leaf_scenarios] / cash[leaf_parents],
    )
    years = [outlook.years - _years(book, state.day) for state in states]
    outlooks = tuple(
        replace(
            outlook,
            probabilities=beliefs[i],
            returns=end / growth[i] - 1,
            cash_returns=cash_end / cash[i] - 1,
            risk=outlook.risk if i == 0 else outlook.risk.over(years[i] / outlook.years),
            years=years[i],
        )
        for i in range(len(states))
    )
    return ReviewTree(tree, outlooks, states, evidence)


def _years(book: Book, day: dt.date) -> float:
    return (day - book.settings.book.as_of).days / DAYS_A_YEAR


def _states(book: Book) -> tuple[NodeEvidence, ...]:
    """The nodes, parents before children: each review's, then the next one's."""
    as_of, question = book.settings.book.as_of, build_question(book)
    states = [NodeEvidence("now", "now", as_of, as_of, tuple(dated_signals(book)), -1, 1.0)]
    if question is None:
        return tuple(states)
    level = range(1)
    for day in book.settings.horizon.reviews:
        before = len(states)
        states += [child for at in level for child in _next(question, states[at], at, day)]
        level = range(before, len(states))
    return tuple(states)


def _next(question: Question, state: NodeEvidence, at: int, day: dt.date) -> Iterator[NodeEvidence]:
    """What the review on `day` may find, coming from `state`."""
    if claims := list(open_claims(state.signals)):
        yield from _judged(question, state, at, day, claims)
        return
    claimed = claim_probabilities(question, state.signals, state.told, (day - state.told).days / DAYS_A_MONTH)
    if claimed:
        silent = max(1 - sum(claimed.values()), 0.0)
        yield NodeEvidence(f"silent until {day}", "silent", day, day, state.signals, at, silent)
    for hypothesis, probability in claimed.items():
        said = (*state.signals, Signal(day, "claim", ANY_SOURCE, hypothesis, since=state.told))
        about = hypothesis if len(question.disclosed) > 1 else ""
        name = f"{hypothesis} claimed by {day}" if about else f"claimed by {day}"
        yield NodeEvidence(name, "claimed", day, day, said, at, probability, about)


def _judged(
    question: Question, state: NodeEvidence, at: int, day: dt.date, claims: Sequence[tuple[str, str]]
) -> Iterator[NodeEvidence]:
    """Every outcome of the open claims, with its probability under today's belief."""
    pooled = [source for source, _ in claims] == [ANY_SOURCE]
    told = day if pooled else state.told
    before = hypothesis_probabilities(question, state.signals, state.told)
    seen = _log_likelihoods(question, state.signals, state.told)
    for outcome in product((True, False), repeat=len(claims)):
        words = ["verified" if verified else "refuted" for verified in outcome]
        kinds = ["verification" if verified else "refutation" for verified in outcome]
        verdicts = [Signal(told, kind, *claim) for kind, claim in zip(kinds, claims, strict=True)]
        said = (*state.signals, *verdicts)
        empty = float(np.prod([question.verdict(verified)[1] for verified in outcome]))
        # a verdict is as much likelier under a hypothesis than of an empty claim as it moves its log likelihood, which
        # can tell where probabilities round to 1
        likely = before @ np.exp(_log_likelihoods(question, said, told) - seen) * empty
        kind = words[0] if len({*words}) == 1 else "mixed"
        several = len(question.disclosed) > 1
        each = [
            f"{source} {word}{f' of {hypothesis}' if several else ''}"
            for (source, hypothesis), word in zip(claims, words, strict=True)
        ]
        name = kind if pooled else ", ".join(each)
        about = "; ".join(each) if kind == "mixed" else claims[0][1] if several and len(claims) == 1 else ""
        yield NodeEvidence(f"{name} by {day}", kind, day, told, said, at, float(likely), about)


def _log_likelihoods(question: Question, signals: Sequence[Signal], day: dt.date) -> Vector:
    """(H,) of each hypothesis, in logs."""
    result: Vector = log_likelihoods(question, signals, np.array([question.months(day)]))[0]
    return result


def _probabilities(
    book: Book, outlook: Outlook, states: Sequence[NodeEvidence]
) -> tuple[Matrix, Matrix | None, Matrix]:
    """(D, K) our beliefs and the market's at each node, both moved by the same evidence since now, and its logs."""
    question, market = build_question(book), market_probabilities(book)[1]
    if question is None or len(states) == 1:
        nothing = np.zeros((1, len(outlook.scenarios)))
        return outlook.probabilities[None, :], None if market is None else market[None, :], nothing
    evidence = np.array([log_evidence(question, state.signals, [state.told])[0] for state in states])
    moved = evidence - evidence[0]

    def at_nodes(today: Vector) -> Matrix:
        return np.concatenate([bayes_update(today, news[None, :]) for news in moved])

    return at_nodes(outlook.probabilities), None if market is None else at_nodes(market), moved


def _growth_since_now(
    book: Book, outlook: Outlook, states: Sequence[NodeEvidence], market: Matrix | None
) -> tuple[Matrix, Vector]:
    """(D, N) and (D,) prices and cash at each node per unit of today's: (1 + k)^t·(Σ π_t g / Σ π_0 g)^J.

    g is the growth to the horizon in each scenario and π the market's probabilities: the announcement share J of the
    re-pricing comes with the news, the rest on the way to the horizon (design §5).
    """
    if market is None or len(states) == 1:
        return np.ones((1, len(book.instruments))), np.ones(1)
    years = np.array([_years(book, state.day) for state in states])
    required = np.asarray(book.exposures["required_return"], dtype=np.float64)
    share = float(book.settings.horizon.announcement_share or 0.0)
    implied = market @ (1 + outlook.returns)
    growth = (1 + required) ** years[:, None] * (implied / implied[0]) ** share
    return growth, (1 + float(book.cash_required_return or 0.0)) ** years


Evidence: TypeAlias = Annotated[
    str,
    Keywords(enum=["now", "silent", "claimed", "verified", "refuted", "mixed"]),
    "what the review finds; mixed: of several claims some verified and some refuted",
]


class NodeHeading(TypedDict):
    """What is known at a node, and what prices are then."""

    node: Annotated[str, "what is known there, in words; by it a later run finds the node again"]
    kind: Evidence
    date: IsoDate
    parent: Annotated[int, Keywords(minimum=-1), "position in this list of the node before it; -1 for the first"]
    beliefs: Annotated[dict[str, Probability], "probability of each scenario, given what the node knows"]
    prices: Annotated[dict[str, NotNegative], "value of each instrument per unit of today's, before any trade"]


class _TreeNode(NodeHeading):
    probability: Annotated[Probability, "of coming here from the node before it"]
    reach: Annotated[Probability, "of coming here at all"]


class OutlookDocument(TypedDict):
    """What `allocator outlook` draws: what may be known at each review, how likely that is, and what prices then
    hold."""

    format: Literal["allocator.outlook/1"]
    book: OutlookHeading
    nodes: Annotated[list[_TreeNode], Keywords(minItems=1), "today's first, each after the one that it follows"]
    outcomes: Annotated[int, Keywords(minimum=1), "scenarios at the horizon, once for each node that they may follow"]


def node_headings(book: Book, tree: ScenarioTree) -> list[NodeHeading]:
    """Of each decision node."""
    return [
        {
            "node": tree.names[i],
            "kind": tree.kinds[i],
            "date": tree.dates[i].isoformat(),
            "parent": int(tree.parents[i]),
            "beliefs": dict(zip(book.scenarios, map(float, tree.beliefs[i]), strict=True)),
            "prices": {name: round(float(x), 8) for name, x in zip(book.instruments, growth, strict=True)},
        }
        for i, growth in enumerate(tree.since_now()[0])
    ]


def tree_document(book: Book, reviews: ReviewTree) -> OutlookDocument:
    """The tree as plain data."""
    tree, (reached, _) = reviews.tree, reviews.tree.reach()
    return {
        "format": "allocator.outlook/1",
        "book": book.outlook_heading(),
        "nodes": [
            {
                **heading,
                "probability": float(tree.probabilities[i]),
                "reach": float(reached[i]),
            }
            for i, heading in enumerate(node_headings(book, tree))
        ],
        "outcomes": tree.leaves,
    }
