"""From a book to its tree: what may be known at each review date, how likely that is, and what prices then hold.

While sources are silent a review finds either that the silence has lasted or that one of them has claimed a hypothesis
since the last review; the claim is judged by the review after. After a verdict, and after the last review, the tree
looks no further: what else may be learnt is left out, which understates what waiting is worth. Usage figures and other
evidence move no branch.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product
from typing import Annotated, Any, Literal, NotRequired, TypeAlias, TypedDict

import numpy as np

from allocator.book.book import Book
from allocator.book.checks.question import ANY_SOURCE
from allocator.errors import NotSolved
from allocator.outlook.calibration import (
    announcement_share,
    dated_signals,
    digestion_days,
    digestion_months,
    market_growth,
    market_path,
    required_returns,
    undigested_part,
)
from allocator.outlook.outlook import Outlook, PricedIn, believed_question
from allocator.outlook.posterior import (
    bayes_update,
    claim_probabilities,
    hypothesis_probabilities,
    log_evidence,
    log_likelihoods,
)
from allocator.outlook.question import DAYS_A_MONTH, Question, Signal, open_claims
from allocator.outlook.views import ViewsDocument
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

    `parents` (D,), −1 at a root, of which a forest has several; `probabilities` (D,) given the parent; `beliefs` (D, K)
    about the scenarios at each node. `growth` (D, N) and `cash_growth` (D,) are values at a node per unit of value at
    its parent, before any trade. A leaf hangs on decision node `leaf_parents`, is scenario `leaf_scenarios`, and has
    the same three: (L,), (L, N), (L,). `names`, `kinds` and `dates` tell people what the nodes are. `flows` (D,) are
    the cash that comes at a node before any trade, or goes below 0, in units of today's account; None where none does.
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
    flows: Vector | None = None

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
        return self._children[node]

    @cached_property
    def _children(self) -> list[tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]]:
        each = range(self.nodes)
        return [(np.flatnonzero(self.parents == at), np.flatnonzero(self.leaf_parents == at)) for at in each]

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
        for node in np.flatnonzero(self.parents >= 0):
            sums[node] += sums[self.parents[node]]
        return sums[self.leaf_parents]

    @property
    def cash_flows(self) -> Vector:
        """(D,) the flows, zeros where none comes."""
        return np.zeros(self.nodes) if self.flows is None else self.flows

    @property
    def all_flows(self) -> float:
        """What comes on the way in all, the same to every leaf, as flows are dated."""
        return float(self.on_path(self.cash_flows)[0])

    @cached_property
    def to_come(self) -> Vector:
        """(D,) what later flows are worth at each node: of a node's children all have the same, as they are dated."""
        worth, flows = np.zeros(self.nodes), self.cash_flows
        for node in np.flatnonzero(self.parents >= 0)[::-1]:
            worth[self.parents[node]] = (flows[node] + worth[node]) / self.cash_growth[node]
        return worth

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

    def part(self, at: Sequence[int], leaves: Sequence[int], account: float = 1.0) -> ScenarioTree:
        """The tree of some decision nodes, the first being its root and parents before children, and some leaves, for
        an account worth so much of today's. What has come at the root is there.
        """
        at, leaves, place = list(at), list(leaves), np.full(self.nodes, -1)
        place[at] = np.arange(len(at))
        told: dict[str, Any] = {name: tuple(getattr(self, name)[i] for i in at) for name in ("names", "kinds", "dates")}
        own = {name: getattr(self, name)[at] for name in ("probabilities", "growth", "cash_growth")}  # copies
        for values in own.values():
            values[0] = 1.0
        flows = None if self.flows is None else np.concatenate([[0.0], self.flows[at[1:]] / account])
        of_leaves = {name: getattr(self, f"leaf_{name}")[leaves] for name in ("scenarios", *own)}
        return replace(
            self,
            parents=np.concatenate([[-1], place[self.parents[at[1:]]]]).astype(np.int64),
            beliefs=self.beliefs[at],
            leaf_parents=place[self.leaf_parents[leaves]],
            flows=flows,
            **{f"leaf_{name}": values for name, values in of_leaves.items()},
            **own,
            **told,
        )

    @staticmethod
    def forest(trees: Sequence[ScenarioTree]) -> ScenarioTree:
        """All of them side by side, each with a root of its own."""
        first = np.cumsum([0, *(tree.nodes for tree in trees[:-1])])
        parents = [np.where(tree.parents < 0, -1, tree.parents + at) for tree, at in zip(trees, first, strict=True)]
        of_leaves = [tree.leaf_parents + at for tree, at in zip(trees, first, strict=True)]
        joined: dict[str, Any] = {"parents": np.concatenate(parents), "leaf_parents": np.concatenate(of_leaves)}
        if all(tree.flows is None for tree in trees):
            joined["flows"] = None
        else:
            joined["flows"] = np.concatenate([tree.cash_flows for tree in trees])
        for part in fields(ScenarioTree):
            if part.name in joined:
                continue
            every = [getattr(tree, part.name) for tree in trees]
            alike = sum(every, ()) if isinstance(every[0], tuple) else np.concatenate(every)
            joined[part.name] = alike
        return ScenarioTree(**joined)


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
    question: Question | None
    """The book's, as it is believed."""


def build_review_tree(book: Book, outlook: Outlook) -> ReviewTree:
    """The tree of a book's reviews; one decision node where it has none."""
    question = believed_question(book)
    states = _states(book, question)
    beliefs, evidence = _probabilities(question, outlook, states)
    growth, cash, priced = _prices(book, question, outlook, states, evidence)
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
        flows=node_flows(book, [state.day for state in states]),
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
            priced=priced[i],
        )
        for i in range(len(states))
    )
    return ReviewTree(tree, outlooks, states, evidence, question)


def node_flows(book: Book, days: Sequence[dt.date]) -> Vector | None:
    """(D,) what `[cash]` says to come at nodes of these days, today's left out, in units of today's account."""
    at_reviews = book.settings.cash_at_reviews
    return np.array([at_reviews.get(day, 0.0) for day in days]) / book.value if at_reviews else None


_LUNCH = 1e-6
"""By how much of what is invested a portfolio must beat cash in every outcome: more than a solver may be off."""


def free_lunches(tree: ScenarioTree) -> int:
    """At how many decisions some portfolio without short sales beats cash in all that may follow, before costs.

    One linear program for all: at each, the most that a portfolio is ahead of cash where it is least ahead.
    """
    from scipy.optimize import linprog
    from scipy.sparse import coo_array, eye_array, hstack, kron

    nodes, names = tree.growth.shape
    ahead = np.vstack([
        tree.growth[1:] - tree.cash_growth[1:, None], tree.leaf_growth - tree.leaf_cash_growth[:, None]
    ])  # fmt: skip
    above = np.concatenate([tree.parents[1:], tree.leaf_parents])
    rows, at = np.repeat(np.arange(len(above)), names), (above[:, None] * names + np.arange(names)).ravel()
    least = coo_array((np.ones(len(above)), (np.arange(len(above)), above)), shape=(len(above), nodes))
    held = coo_array((-ahead.ravel(), (rows, at)), shape=(len(above), nodes * names))
    found = linprog(
        np.append(np.zeros(nodes * names), -np.ones(nodes)),
        A_ub=hstack([held, least], format="csr"),
        b_ub=np.zeros(len(above)),
        A_eq=hstack([kron(eye_array(nodes), np.ones((1, names))), coo_array((nodes, nodes))], format="csr"),
        b_eq=np.ones(nodes),
        bounds=[(0, None)] * (nodes * names) + [(None, None)] * nodes,
        method="highs",
    )
    if found.x is None:
        raise NotSolved(f"no portfolio was found that beats cash, nor that none does ({found.message})")
    return int((found.x[nodes * names :] > _LUNCH).sum())


def _years(book: Book, day: dt.date) -> float:
    return (day - book.settings.book.as_of).days / DAYS_A_YEAR


def _states(book: Book, question: Question | None) -> tuple[NodeEvidence, ...]:
    """The nodes, parents before children: each review's, then the next one's."""
    as_of = book.settings.book.as_of
    states = [NodeEvidence("now", "now", as_of, as_of, tuple(dated_signals(book)), -1, 1.0)]
    if question is None:
        return tuple(states)
    level, ended, flows = [0], list[tuple[NodeEvidence, int]](), book.settings.cash_at_reviews
    for day in book.settings.horizon.reviews:
        found = [child for at in level for child in _next(question, states[at], at, day)]
        followed = {child.parent for child in found}
        ended += [(states[at], at) for at in level if at not in followed]
        level = [*range(len(states), len(states) + len(found))]
        states += found
        if day in flows:  # the only ones that are looked at after the last news, for what comes then
            carried = [_carried(first, states[at], at, day) for first, at in ended]
            ended = [(first, len(states) + i) for i, (first, _) in enumerate(ended)]
            states += carried
    return tuple(states)


def _carried(first: NodeEvidence, state: NodeEvidence, at: int, day: dt.date) -> NodeEvidence:
    """A review at which nothing is learnt, the last news having been that of `first`."""
    name, after = f"{first.name}, silent until {day}", f"after {first.words}"
    return replace(state, name=name, kind="silent", day=day, parent=at, probability=1.0, about=after)


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
    question: Question | None, outlook: Outlook, states: Sequence[NodeEvidence]
) -> tuple[Matrix, Matrix]:
    """(D, K) our beliefs at each node, and the logs of the evidence since now that moved them there."""
    if question is None or len(states) == 1:
        return outlook.probabilities[None, :], np.zeros((1, len(outlook.scenarios)))
    evidence = np.array([log_evidence(question, state.signals, [state.told])[0] for state in states])
    moved = evidence - evidence[0]
    return np.concatenate([bayes_update(outlook.probabilities, news[None, :]) for news in moved]), moved


def _prices(
    book: Book, question: Question | None, outlook: Outlook, states: Sequence[NodeEvidence], evidence: Matrix
) -> tuple[Matrix, Vector, list[PricedIn | None]]:
    """(D, N) and (D,) prices and cash at each node per unit of today's, (1 + k)^t·A_n/A_0, and what prices hold there.

    With g the growth to the horizon in each scenario, π the market's probabilities and D the news digested since now,
    A_n/A_0 = (Σ π_n g / Σ π_0 g)^J·exp((1 − J)·D): the announcement share J of a re-pricing comes with the news, and
    the rest as until today (`calibration.py`). Silence is news of every day, a claim or a verdict of the review that it
    comes to.
    """
    path, known = market_path(book, question), outlook.priced
    if path is None or question is None or len(states) == 1:
        return np.ones((1, len(book.instruments))), np.ones(1), [known]
    values, half, share = market_growth(book, 1 + outlook.returns), digestion_months(book), announcement_share(book)
    start = log_evidence(question, states[0].signals, [states[0].told])
    implied = bayes_update(path.now, evidence) @ values
    anchored = np.zeros(values.shape[1]) if known is None else known.undigested
    # where no market anchors a name nothing is known of older news
    undigested, digested = [np.nan_to_num(anchored)], [np.zeros(values.shape[1])]
    silent: dict[tuple[int, dt.date, dt.date], Matrix] = {}
    for after, state in zip(implied[1:], states[1:], strict=True):
        before, at = states[state.parent], (state.parent, state.day, state.told)
        days, left = digestion_days(before.day, state.day, half)
        if at not in silent:  # what the market sees between the reviews, while nothing is said
            told = [min(day, state.told) for day in days[1:-1]] or [before.told]
            quiet = bayes_update(path.now, log_evidence(question, before.signals, told) - start)
            silent[at] = quiet[: len(days) - 2] @ values
        news = np.diff(np.log(np.vstack([implied[state.parent], silent[at], after])), axis=0)
        faded, late = undigested_part(np.array([(state.day - before.day).days]), half), undigested[state.parent]
        digested.append(digested[state.parent] + (1 - faded) * late + (1 - left) @ news)
        undigested.append(faded * late + left @ news)
    years, required = np.array([_years(book, state.day) for state in states]), 1 + required_returns(book)
    growth = required ** years[:, None] * (implied / implied[0]) ** share * np.exp((1 - share) * np.array(digested))
    priced = [
        known and replace(known, required=required**left, undigested=np.where(np.isnan(anchored), np.nan, own))
        for left, own in zip(outlook.years - years, undigested, strict=True)
    ]
    return growth, (1 + float(book.cash_required_return or 0.0)) ** years, priced


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
    views: NotRequired[Annotated[ViewsDocument, "what [views] did to the probabilities; absent without any"]]


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
    tree, (reached, _), views = reviews.tree, reviews.tree.reach(), reviews.outlooks[0].views
    document: OutlookDocument = {
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
    if views is not None:
        document["views"] = views.document()
    return document
