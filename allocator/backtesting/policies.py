"""What is compared: policies that meet the same situation under the same rules, and trade.

A situation is what an investor believes at one review, with nothing of what he holds. What a policy trades there hangs
on the situation and on where it stands alone, not on what was asked before: programs are kept by shape and start cold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.sets import Ambiguity, ambiguity_set
from allocator.book.book import Book
from allocator.errors import AllocatorError, NotSolved
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import MultistageMandate, PathWealth, build_multistage_mandate
from allocator.multistage.solve import solve_policy
from allocator.optimization.solve import Limits
from allocator.outlook.calibration import dated_signals
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.outlook.question import open_claims
from allocator.outlook.risk_model import FactorRisk
from allocator.outlook.scenario_tree import build_review_tree
from allocator.plan.caution import at_full_caution
from allocator.rules import Trade
from allocator.rules.rows import Position
from allocator.stress_testing.reoptimization import PlanProblem, Reoptimizer, UnsolvedProblem
from allocator.types import Vector

STATED = 0.5
"""The caution of the policies that are compared."""
Caution: TypeAlias = tuple[float, float]
"""About the answer, and about the regime."""


class Situation:
    """What `book`, whose day and signals are those of a review, believes and is allowed."""

    def __init__(self, book: Book) -> None:
        self.book, self.limits = book, Limits.of(book)
        self._certain: dict[str, MultistageMandate] = {}
        self._around: dict[int, PathWealth | None] = {}
        self._found: dict[str, Vector] = {}

    @cached_property
    def outlook(self) -> Outlook:
        """What is believed."""
        return build_outlook(self.book)

    @cached_property
    def reviewed(self) -> MultistageMandate:
        """The tree of the reviews that are left, every set at caution 1."""
        return self._staged(self.book, self.outlook)

    @cached_property
    def once(self) -> MultistageMandate:
        """The same for who trades now and no more."""
        return self._staged(_without_reviews(self.book), self.outlook)

    def _staged(self, book: Book, outlook: Outlook) -> MultistageMandate:
        reviews = build_review_tree(book, outlook)
        return build_multistage_mandate(at_full_caution(book), outlook, reviews=reviews)

    def certain(self, answer: str) -> MultistageMandate:
        """`once` for who takes the answer for granted."""
        if answer not in self._certain:
            view = {"believe": {answer: 1.0}}
            book = replace(self.book, settings=self.book.settings.model_copy(update=view))
            self._certain[answer] = self._staged(_without_reviews(book), build_outlook(book))
        return self._certain[answer]

    def first_trade(self, staged: MultistageMandate, caution: Caution, start: Position) -> Trade:
        """Of the best policy at a caution. Risk on the way is charged first around the policy that was found first
        here, near which all others are; so the first must be the same one wherever results are to be.
        """
        sets = tuple(one.at_caution(*caution) if any(caution) else Singleton() for one in staged.ambiguities)
        asked = replace(staged, ambiguities=sets, around=self._around.get(id(staged)))
        policy = solve_policy(asked, start, self.limits)
        self._around.setdefault(id(staged), policy.around)
        return policy.trade(0)

    @cached_property
    def mean_variance(self) -> Mandate:
        """One period by mean and variance: half the utility's relative risk aversion, its set at caution 1."""
        settings = self.book.settings
        aversion = settings.mandate.relative_risk_aversion or 1.0  # a log's
        mandate = settings.mandate.model_copy(
            update={"objective": "return_minus_risk", "risk_aversion": aversion / 2, "relative_risk_aversion": None}
        )
        stated = settings.model_copy(update={"mandate": mandate})
        cautious = at_full_caution(replace(_without_reviews(self.book), settings=stated))
        cautious = _without_reviews(cautious)
        return build_mandate(cautious, self.outlook, ambiguity_set(cautious, self.outlook))

    def once_only(self, name: str, found: Callable[[], Vector]) -> Vector:
        """What a policy of this name wants here wherever it stands."""
        if name not in self._found:
            self._found[name] = found()
        return self._found[name]

    def guarded(self, caution: Caution) -> Ambiguity:
        """The set of scenario probabilities at a caution; the belief alone where there is none."""
        return self.mean_variance.ambiguity.at_caution(*caution) if any(caution) else Singleton()


def _without_reviews(book: Book) -> Book:
    horizon = book.settings.horizon.model_copy(update={"reviews": []})
    return replace(book, settings=book.settings.model_copy(update={"horizon": horizon}))


def shape_of(situation: Situation) -> tuple[int, ...]:
    """By what situations are met in turn, so that a program is compiled once for those that share it."""
    return tuple(situation.reviewed.tree.parents.tolist())


@dataclass(frozen=True)
class TrialPolicy:
    """One way to trade: its `name`, and the `caution` of the set that it guards against; None where it has none."""

    name: str
    caution: Caution | None = None

    def trade(self, met: Situation, start: Position) -> Trade:
        """What is traded there, the account before it being 1.

        Raises:
            AllocatorError: the rules cannot be kept, or nothing proved was found.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class UtilityPolicy(TrialPolicy):
    """The best by the book's utility: over the tree of reviews, or as if one traded now and no more."""

    caution: Caution = (0.0, 0.0)
    reviewed: bool = True

    def trade(self, met: Situation, start: Position) -> Trade:
        """Over the tree, or at once."""
        staged = met.reviewed if self.reviewed else met.once
        return met.first_trade(staged, self.caution, start)


@dataclass(frozen=True)
class MeanVariancePolicy(TrialPolicy):
    """The best of one period by mean and variance, as averse as the book's utility."""

    caution: Caution = (0.0, 0.0)

    def trade(self, met: Situation, start: Position) -> Trade:
        """With a proof."""
        mandate = replace(met.mean_variance, ambiguity=met.guarded(self.caution))
        return _proved(start, met.outlook, mandate, met.limits)


@dataclass(frozen=True)
class NearestPolicy(TrialPolicy):
    """The trades nearest, by squares, to a portfolio that is no optimum of ours: equal weights, or what is held."""

    equal: bool = True

    def wanted(self, met: Situation, start: Position) -> Vector:
        """(N,) that portfolio."""
        del met
        return np.full(len(start.holdings), 1 / len(start.holdings)) if self.equal else start.holdings

    def trade(self, met: Situation, start: Position) -> Trade:
        """The same program, of another objective."""
        names, wanted = len(start.holdings), self.wanted(met, start)
        mandate = replace(met.mean_variance, ambiguity=Singleton(), risk_aversion=_NEARNESS / 2)
        # of returns c·w and a variance of c/2·h'h the best h is w, but for costs and rules
        risk = FactorRisk(np.zeros((names, 1)), np.ones(names), "the squared distance from a portfolio")
        returns = np.tile(_NEARNESS * wanted, (len(met.outlook.scenarios), 1))
        outlook = replace(met.outlook, returns=returns, cash_returns=np.zeros(len(returns)), risk=risk)
        return _proved(start, outlook, mandate, met.limits)


_NEARNESS = 10.0
"""How much a squared distance weighs beside costs: a round trip of 1 % moves a weight by a thousandth."""


@dataclass(frozen=True)
class AnswerPolicy(TrialPolicy):
    """The best of one period for who takes an answer for granted: the one claimed last of those not refuted, or the
    true one; nobody's word, and it is the belief.
    """

    knows: str | None = None

    def trade(self, met: Situation, start: Position) -> Trade:
        """One period at no caution."""
        answer = self.knows or claimed_answer(met.book)
        staged = met.once if answer is None else met.certain(answer)
        return met.first_trade(staged, (0.0, 0.0), start)


def claimed_answer(book: Book) -> str | None:
    """Of the claims that are not refuted, what the last one says."""
    seen = dated_signals(book)
    standing = {*((one.date, one.hypothesis) for one in open_claims(seen).values())}
    standing |= {(one.date, one.hypothesis) for one in seen if one.kind == "verification"}
    return max(standing)[1] if standing else None


_solvers: list[Reoptimizer] = []


def _proved(start: Position, outlook: Outlook, mandate: Mandate, limits: Limits) -> Trade:
    """The proved optimum of one period."""
    if not _solvers:
        _solvers.append(Reoptimizer(PlanProblem(start, outlook, mandate, limits)))
    found = _solvers[0].solve(outlook, mandate, start)
    if isinstance(found, UnsolvedProblem):
        raise NotSolved(found.reason)
    moves = found.holdings - start.holdings
    bought, sold = np.maximum(moves, 0.0), np.maximum(-moves, 0.0)
    costs = 1 - float(found.holdings.sum()) - found.cash
    return Trade(found.holdings, found.cash, bought, sold, costs, 1.0)


def tree_name(caution: Caution) -> str:
    """Of a policy on the tree."""
    answer, regime = caution
    if not (answer or regime):
        return NOMINAL
    if not (answer and regime):
        return f"tree, {'answer' if answer else 'regime'} {answer or regime:g}"
    return f"tree, both {answer:g}" if answer == regime else f"tree, {answer:g} and {regime:g}"


NOMINAL = "tree, nominal"


def compared_policies() -> list[TrialPolicy]:
    """Those of the table, in its order; the tree that trusts the belief, which others are held against, is first."""
    on_tree = [(0.0, 0.0), (STATED, 0.0), (0.0, STATED), (STATED, STATED)]
    policies: list[TrialPolicy] = [UtilityPolicy(tree_name(c), c) for c in on_tree]
    return [
        *policies,
        UtilityPolicy("one period, nominal", on_tree[0], reviewed=False),
        UtilityPolicy("one period, both 0.5", on_tree[-1], reviewed=False),
        MeanVariancePolicy("mean-variance, nominal", on_tree[0]),
        MeanVariancePolicy("mean-variance, both 0.5", on_tree[-1]),
        AnswerPolicy("follow the claim"),
        NearestPolicy("1/N", equal=True),
        NearestPolicy("hold", equal=False),
    ]


GRID = tuple(step / 10 for step in range(1, 11))


def grid_policies() -> list[TrialPolicy]:
    """The tree along the grid of each axis, but for those of the table."""
    at = [caution for c in GRID if c != STATED for caution in ((c, 0.0), (0.0, c))]
    return [UtilityPolicy(tree_name(caution), caution) for caution in sorted(at)]


def traded(policy: TrialPolicy, met: Situation, start: Position) -> Trade | None:
    """What it trades; None where the rules cannot be kept, or nothing proved was found."""
    try:
        return policy.trade(met, start)
    except AllocatorError:
        return None


def best_if_known(met: Situation, start: Position, answer: str) -> Vector | None:
    """(N + 1,) the weights that one period is best with for who knows the answer."""
    found = traded(AnswerPolicy("", knows=answer), met, start)
    return None if found is None else found.all_weights
