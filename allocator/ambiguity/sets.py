"""Ambiguity sets: which scenario probabilities we guard against.

One frozen class a set, with all that is ever asked of one; `Ambiguity` has what most sets answer in the same way, and
no other file tells one set from another. `adversary(losses, p)` is the worst member, exact and apart from the program,
whose dual forms (science §3.2) it checks. A set is known by its `name`, by which `[robust]` and its table in
`settings/uncertainty.py` call it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from allocator.book.book import Book
from allocator.outlook.calibration import belief_ranges, dated_signals
from allocator.outlook.outlook import Outlook, believed_question
from allocator.outlook.posterior import (
    bayes_update,
    belief_path,
    elasticity,
    posterior_bounds,
    posterior_corners,
    settled_hypothesis,
)
from allocator.outlook.question import Question, Signal
from allocator.presentation import Keywords, Numbers, Table
from allocator.settings.uncertainty import AMBIGUITY_SETS, ReachSection
from allocator.types import Matrix, Vector

if TYPE_CHECKING:
    import cvxpy as cp

    Form: TypeAlias = tuple[cp.Expression, list[cp.Constraint]]
    """An expression and the constraints that it needs."""

PROBABILITY_SHIFT = 0.02
"""No belief is known better than this: the shift of one probability that stability is measured with."""


ABOUT = ("answer", "regime")
"""What a set of two axes is about."""
SET_NAMES = [*AMBIGUITY_SETS, "product"]


class _AxisSetDocument(TypedDict):
    """The set of the answers, or of one answer's regimes given it"""

    scenarios: Annotated[list[int], "positions of the answer's scenarios; empty of the set of the answers"]
    given: Annotated[Numbers, "what is believed given the answer where a belief excludes it"]
    set: Annotated[str, Keywords(enum=[*AMBIGUITY_SETS])]
    radius: float
    table: Table


SetTable: TypeAlias = Annotated[
    Table | list[_AxisSetDocument],
    "metric of wasserstein; the belief and the experts of hull, a row each; rows (a, b) of a'q <= b of polytope; of "
    "product the set of the answers, then that of each answer's regimes; empty for the others",
]


class SetDocument(TypedDict):
    """An ambiguity set by name; product is of two axes, an answer's probability times a regime's given it."""

    set: Annotated[str, Keywords(enum=SET_NAMES)]
    radius: Annotated[float, "of product that of the answers"]
    table: SetTable


class NodeSetDocument(TypedDict):
    """An ambiguity set of a node, and what it is around."""

    set: SetDocument
    of: Annotated[
        Numbers,
        "the probabilities that the set is around: of the node's branches, or of scenarios where it is a pushforward "
        "through likelihoods",
    ]
    likelihoods: Annotated[Table, "scenarios × branches, for a set that speaks of scenarios"]


@dataclass(frozen=True, eq=False)
class DualForm:
    """A convex expression that equals sup over a set of q'losses, the constraints that it needs and its parameters.

    It is nondecreasing in the losses, so it composes with epigraph rows losses ≥ loss, whose duals are the adversary.
    """

    expression: cp.Expression
    constraints: list[cp.Constraint]
    parameters: Sequence[cp.Parameter]

    def write(self, ambiguity: Ambiguity, probabilities: Vector) -> None:
        """Set the numbers of a set of the same structure."""
        numbers = ambiguity.compiled.dual_numbers(probabilities)
        for parameter, value in zip(self.parameters, numbers.values(), strict=True):
            parameter.value = value


@dataclass(frozen=True, eq=False)
class LinearDual:
    """The same as numbers, of a set with flat faces: the least mean'ℓ + cost'z over losses·ℓ + rows·z ≤ 0, with z ≥ 0
    where it is not `free`. (K,) `mean`, (m,) `cost` and `free`, (n, K) `losses`, (n, m) `rows`.
    """

    mean: Vector
    cost: Vector
    free: NDArray[np.bool_]
    losses: Matrix
    rows: Matrix

    @classmethod
    def of(cls, scenarios: int, cost: Any, free: Any, losses: Any, rows: Any, mean: Vector | None = None) -> LinearDual:
        """Of as many scenarios; blocks of matrices are joined."""
        own = np.zeros(scenarios) if mean is None else mean
        return cls(own, np.hstack(cost), np.hstack(free).astype(bool), np.block(losses), np.block(rows))


class Ambiguity:
    """What is asked of a set of probabilities q around a belief p, and the answer of most; vectors are (K,).

    A set answers for itself: `adversary` or `adversaries`, `excess`, `dual_numbers`, `dual`, `members`, `words` and,
    where it has flat faces only, `linear_dual`.
    """

    name: ClassVar[str] = ""
    guards: ClassVar[bool] = True
    """Whether it is meant to hold more than the belief."""
    curved: ClassVar[bool] = False
    """Whether something else than flat faces bounds it, so that its dual form takes a cone."""
    signed: ClassVar[bool] = False
    """Whether numbers of its dual form may be negative."""
    batched: ClassVar[bool] = False
    """Whether the dual forms of many nodes are compiled as one, by `dual_forms`."""
    about_scenarios: ClassVar[bool] = False
    """Whether it is about scenarios by name, so that over anything else it is pushed forward by news."""
    keeps_every_scenario: ClassVar[bool] = False
    """Whether the adversary leaves some probability to all that the belief holds possible."""
    axes: ClassVar[tuple[str, ...]] = ()
    """What it is about, where it is about more than one thing: each has a set of its own, `along` it."""

    @property
    def reach(self) -> float:
        """The radius of the set of scenarios; 0 where it has none."""
        return float(getattr(self.of_scenarios, "radius", 0.0))

    def at_caution(self, answer: float, regime: float) -> Ambiguity:
        """Of a set of axes at caution 1, the same at so much of it about each."""
        del answer, regime
        return self

    def regime_reach(self, answers: Sequence[str]) -> dict[str, float] | None:
        """The radius of the regimes' set by answer; None where it has no axes."""
        del answers
        return None

    # How it comes from a book, and what it is later.

    @classmethod
    def from_book(cls, book: Book, outlook: Outlook) -> Self:
        """The set that `[robust]` states, around the belief."""
        return cls()

    def at_node(self, book: Book, beliefs: Vector, news: NewInformation) -> Self:
        """Today's set as it is around the `beliefs` that the news has left, at the radius that it leaves.

        Raises:
            BadMandate: it cannot be around them.
        """
        return self

    def leaves_out(self, beliefs: Vector) -> bool:
        """Whether it cannot be around these `beliefs`: a book that holds them is refused."""
        return False

    @classmethod
    def on_axis(cls, radius: float, experts: Matrix) -> Ambiguity:
        """The set of one axis, at a radius where it has one, with experts (M, n) where it asks them."""
        del radius, experts
        return cls()

    @classmethod
    def radius_for(cls, distance: float) -> float:
        """The least radius at which a member may be so far away in total variation."""
        return distance

    @classmethod
    def radius_to(cls, low: float, high: float, p: float) -> float:
        """The radius that reaches beliefs of `low` and `high` in an answer that is believed at `p`."""
        return max(high - p, p - low, 0.0)

    # The worst member, and whether something is a member.

    def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
        """The worst member: that with the largest expected loss."""
        worst: Vector = self.adversaries(losses[None, :], probabilities[None, :])[0]
        return worst

    def adversaries(self, losses: Matrix, probabilities: Matrix) -> Matrix:
        """(D, K) the worst members of many draws, each with losses and a belief of its own."""
        return np.array([self.adversary(loss, p) for loss, p in zip(losses, probabilities, strict=True)])

    def worst_case(self, losses: Vector, probabilities: Vector) -> float:
        """The largest expected loss."""
        return float(self.adversary(losses, probabilities) @ losses)

    def worst_cases(self, losses: Matrix, probabilities: Matrix) -> Vector:
        """(D,) the largest expected loss of each draw."""
        return np.asarray((self.adversaries(losses, probabilities) * losses).sum(axis=1))

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """How far `q` lies outside the set; ≤ 0 is inside."""
        raise NotImplementedError

    def project(self, q: Vector, probabilities: Vector) -> Vector:
        """The member beside `q`: solver noise taken out, never added."""
        clean = np.maximum(q, 0.0)
        clean = clean / clean.sum() if clean.sum() > 0 else probabilities.copy()
        return clean if self.excess(clean, probabilities) <= 0 else self.nearest(clean, probabilities)

    def nearest(self, q: Vector, probabilities: Vector) -> Vector:
        """The last member on the way from the belief to `q` outside: every set is convex and holds the belief."""
        from scipy.optimize import brentq

        def excess_at(share: float) -> float:
            return self.excess(probabilities + share * (q - probabilities), probabilities)

        share = brentq(excess_at, 0.0, 1.0, xtol=1e-16, disp=False) if excess_at(0.0) < 0 else 0.0
        back = 1e-16
        while share > 0 and excess_at(share) > 0:  # a root is known up to rounding, and a member lies inside
            share, back = max(share - back, 0.0), 2 * back
        member: Vector = probabilities + share * (q - probabilities)
        return member

    def witness(self, q: Vector, probabilities: Vector) -> Matrix:
        """The numbers from which a stranger sees that `q` is a member, where its own do not say it."""
        return np.zeros(0)

    # In programs.

    @property
    def compiled(self) -> Ambiguity:
        """The set that is compiled in its place."""
        return self

    @property
    def is_singleton(self) -> bool:
        """Whether the set holds the belief alone: it is so small that it cannot be told from it."""
        return not self.compiled.guards

    @property
    def is_curved(self) -> bool:
        """Whether what is compiled is curved."""
        return self.compiled.curved

    @property
    def says_linear_dual(self) -> bool:
        """Whether what is compiled has flat faces only, and its dual form as numbers; else it is compiled by cvxpy."""
        of = self.compiled
        return not of.curved and type(of).linear_dual is not Ambiguity.linear_dual

    def structure(self, probabilities: Vector) -> tuple[str | bool | int, ...]:
        """What is compiled in and no parameter: two sets of one structure share a program."""
        return (self.compiled.name, *self.compiled.support(probabilities))

    def support(self, probabilities: Vector) -> tuple[bool | int, ...]:
        """Of the structure, what the set's name does not say."""
        return ()

    def dual_form(self, losses: cp.Expression, probabilities: Vector) -> DualForm:
        """The adverse expectation of `losses` in a program."""
        from allocator.cvxpy_parameters import FastParameter

        of = self.compiled
        numbers = of.dual_numbers(probabilities)
        given = [FastParameter(np.shape(each), nonneg=not of.signed, name=name) for name, each in numbers.items()]
        form = DualForm(*of.dual(losses, probabilities, given), given)
        form.write(self, probabilities)
        return form

    def dual_numbers(self, probabilities: Vector) -> dict[str, Any]:
        """The numbers of the dual form, by name."""
        raise NotImplementedError

    def dual(self, losses: cp.Expression, probabilities: Vector, given: Sequence[cp.Parameter]) -> Form:
        """The dual form, its numbers being `given`; `probabilities` tell only which of them are zero."""
        raise NotImplementedError

    def linear_dual(self, probabilities: Vector) -> LinearDual:
        """The dual form as numbers, where no face of what is compiled is curved."""
        raise NotImplementedError

    @classmethod
    def dual_forms(
        cls, sets: Sequence[Any], beliefs: Sequence[Vector], at: Sequence[Any], losses: cp.Expression
    ) -> Form:
        """(n,) the dual forms of `sets` of this class as one block, each over the `losses` that stand `at` its places;
        its parameters are made in the order of `numbers_of_many`, and hold these.

        A constraint costs as much to compile for one node of a tree as for all of them (science §3.7).
        """
        raise NotImplementedError

    @classmethod
    def numbers_of_many(cls, sets: Sequence[Any], beliefs: Sequence[Vector]) -> Iterator[Any]:
        """The numbers of `dual_forms`, which may be written anew for sets of the same structures."""
        raise NotImplementedError

    def members(self, q: cp.Expression, probabilities: Vector, mass: Any = 1.0) -> list[cp.Constraint]:
        """The set by its definition, for `mass` times probabilities `q`: where a program takes a term and no
        constraint.
        """
        raise NotImplementedError

    # Of scenarios, and of what news may be.

    @property
    def of_scenarios(self) -> Ambiguity:
        """The set of scenario probabilities itself."""
        return self

    def after_news(self, beliefs: Vector, children: Vector, child_beliefs: Matrix) -> Ambiguity:
        """The set of what the news may be at a node of `beliefs`, whose M `children` have beliefs (M, K)."""
        return self

    def over_paths(self, beliefs: Vector, paths: Vector, scenarios: Matrix) -> Ambiguity:
        """The set over all paths (M,) at once, each of which ends in one of the `scenarios` (M, K)."""
        return self.after_news(beliefs, paths, scenarios)

    def along(self, axis: str) -> Ambiguity:
        """The set of one of its `axes` alone, the other being as believed."""
        del axis
        return self

    # Members at random: a belief lies on a random way from the stated one to where the set or the simplex ends, at a
    # depth that would fill a ball evenly. Ways lead to uniform points of the simplex, which makes the draws from the
    # whole simplex uniform.

    def sample(self, probabilities: Vector, draw: np.random.Generator, count: int) -> Matrix:
        """(count, K) beliefs inside the set; where it is narrower than PROBABILITY_SHIFT, within that shift.

        The floor makes a set that shrinks with the evidence (`robust.schedule`) end where a single belief stands, and
        not in a certainty that nobody has.
        """
        if len(probabilities) == 1:
            return np.ones((count, 1))
        wide = self.widened()
        ways, dimensions = wide.ways(probabilities, draw, count)
        depth = draw.random(count) ** (1 / dimensions)
        with np.errstate(divide="ignore", invalid="ignore"):
            edge = np.where(ways < 0, probabilities / -ways, np.inf).min(axis=1)
            edge = np.where(np.isfinite(edge), edge, 0.0)
            reach = np.minimum(edge, wide.room_along(probabilities, ways, edge))
        beliefs = np.maximum(probabilities + (depth * reach)[:, None] * ways, 0.0)
        sampled: Matrix = beliefs / beliefs.sum(axis=1, keepdims=True)
        return sampled

    def widened(self) -> Ambiguity:
        """The set that is sampled."""
        return self

    def ways(self, probabilities: Vector, draw: np.random.Generator, count: int) -> tuple[Matrix, int]:
        """(count, K) directions from the belief, and in how many dimensions they lie."""
        return draw.dirichlet(np.ones(len(probabilities)), count) - probabilities, len(probabilities) - 1

    def room_along(self, probabilities: Vector, ways: Matrix, edge: Vector) -> Vector:
        """(count,) how many times each way may be gone before the set is left; the simplex ends at `edge`."""
        return edge

    # In documents and on screens.

    def table(self, probabilities: Vector) -> Matrix:
        """The numbers that it is made of where a radius does not say it."""
        return np.zeros((0, len(probabilities)))

    def document(self, probabilities: Vector) -> SetDocument:
        """What a stranger needs to find its worst case, but for the belief."""
        return {"set": self.name, "radius": self.reach, "table": self.table(probabilities).tolist()}

    def node_document(self, probabilities: Vector) -> NodeSetDocument:
        """The same at a node of a tree, with the belief that the set is around."""
        return {"set": self.document(probabilities), "of": probabilities.tolist(), "likelihoods": []}

    def words(self, robust: ReachSection | None) -> str:
        """What it guards against, as `robust` states it; nothing where it states no such set."""
        raise NotImplementedError


def by_kind(
    sets: Sequence[Ambiguity], beliefs: Sequence[Vector], at: Sequence[Any], losses: cp.Expression
) -> Iterator[tuple[list[int], Any, list[cp.Constraint]]]:
    """The adverse expectations of `losses` at each set's places, of a kind at once where that has a form and others one
    by one: which sets, their expectations and the constraints that these need.
    """
    for kind, those in _alike(sets, beliefs):
        own, around, places = [sets[i] for i in those], [beliefs[i] for i in those], [at[i] for i in those]
        if len(around[0]) == 1:
            yield those, losses[np.concatenate(places)], []
        elif kind is not None:
            yield those, *kind.dual_forms(own, around, places, losses)
        elif own[0].is_singleton:
            yield those, weighted_sums(np.concatenate(around), losses, places), []
        else:
            worst = own[0].dual_form(losses[places[0]], around[0])
            yield those, worst.expression, worst.constraints


def weighted_sums(weights: Vector, terms: cp.Expression, at: Sequence[Any]) -> cp.Expression:
    """(n,) for each of the places `at` the sum of the terms there, by `weights` that are a parameter: one a place, of
    all places in turn.

    A matrix of parameters is multiplied out entry by entry while it is compiled, a vector of them is not.
    """
    import cvxpy as cp
    import scipy.sparse as sp

    from allocator.cvxpy_parameters import FastParameter

    each = sp.csr_array(sp.block_diag([np.ones((1, len(places))) for places in at]))
    return each @ cp.multiply(FastParameter.of(weights), terms[np.concatenate(at)])


def numbers_by_kind(sets: Sequence[Ambiguity], beliefs: Sequence[Vector]) -> Iterator[Any]:
    """The numbers that `by_kind` has made parameters of, in the order in which it made them."""
    for kind, those in _alike(sets, beliefs):
        own, around = [sets[i] for i in those], [beliefs[i] for i in those]
        if len(around[0]) == 1:
            continue
        if kind is not None:
            yield from kind.numbers_of_many(own, around)
        elif own[0].is_singleton:
            yield np.concatenate(around)
        else:
            yield from own[0].compiled.dual_numbers(around[0]).values()


def _alike(sets: Sequence[Ambiguity], beliefs: Sequence[Vector]) -> Iterator[tuple[type[Ambiguity] | None, list[int]]]:
    """Which are compiled at once: those of a single outcome, which is certain, each that has no form of many, those
    that hold the belief alone, and those of a kind that has one.
    """
    certain, plain, batches = list[int](), list[int](), dict[type[Ambiguity], list[int]]()
    for i, one in enumerate(sets):
        if len(beliefs[i]) == 1:
            certain.append(i)
        elif one.is_singleton:
            plain.append(i)
        elif one.batched:
            batches.setdefault(type(one), []).append(i)
        else:
            yield None, [i]
    for those in (certain, plain):
        if those:
            yield None, those
    yield from batches.items()


@cache
def set_class(name: str) -> type[Ambiguity]:
    """The class that `[robust]` calls so: every file of this folder may define some."""
    folder = __name__.rpartition(".")[0]
    for file in iter_modules(import_module(folder).__path__):
        import_module(f"{folder}.{file.name}")
    ahead: list[type[Ambiguity]] = [Ambiguity]
    while ahead:
        kind = ahead.pop()
        if kind.name == name:
            return kind
        ahead += kind.__subclasses__()
    raise KeyError(name)


# From a book's `[robust]` to its set, with the scenarios in the book's order, and a radius that follows the beliefs by
# the schedule that the book names.
#


def ambiguity_set(book: Book, outlook: Outlook) -> Ambiguity:
    """The set that `[robust]` states, as far as it reaches on the book's as_of date: over all scenarios, or of axes.

    Raises:
        BadMandate: the belief breaks limits of a polytope, so that it would guard against everything but the belief.
    """
    robust = book.settings.robust
    return set_class(SET_NAMES[-1] if robust.axes else robust.set).from_book(book, outlook)


@dataclass(frozen=True, eq=False)
class NewInformation:
    """What has been learnt since today: the `signals` seen by then, the day that they `told` something of, and by how
    much they multiply the odds of the scenarios, in logs (K,); `when` in words. `question` is the book's as it is
    believed, where somebody has built it before.
    """

    signals: Sequence[Signal]
    told: dt.date
    evidence: Vector
    when: str
    question: Question | None = None


def current_radius(book: Book, outlook: Outlook) -> float:
    """The radius of the book's ambiguity set on its as_of date.

    fixed: as stated. caution: c·(1 − the probability of the likelier answer) while the question is open, 0 once it is
    settled: 1 − π is the total-variation distance to certainty, so c is the part of the way to being wrong; a KL set
    gets 2ρ², the least entropy at which it can reach so far (Pinsker), a modified χ² set 4ρ², the least χ² at which it
    can (Cauchy and Schwarz), and contamination ρ itself. corners: as far as the farthest belief that
    `[question.ranges]` allow, which need not shrink: its distance, its relative entropy, its χ², or the part of an
    answer's probability that it takes away.
    """
    return radius_after(book, outlook.probabilities, dated_signals(book), book.settings.book.as_of)


def radius_after(
    book: Book, probabilities: Vector, signals: Sequence[Signal], day: dt.date, question: Question | None = None
) -> float:
    """The same where other `signals` have been seen, by another `day`, and have made these `probabilities` (K,)."""
    robust, question = book.settings.robust, question or believed_question(book)
    if robust.schedule == "fixed":
        return robust.radius
    kind = set_class(robust.set)
    if robust.schedule == "corners":
        ranges = belief_ranges(book)
        assert question is not None  # the agreement of schedule and question was checked on loading
        assert ranges is not None
        low, high = posterior_bounds(question, ranges, signals, day)
        return kind.radius_to(low, high, float(question.by_hypothesis(probabilities)[0]))
    answers = probabilities if question is None else question.by_hypothesis(probabilities)
    return kind.radius_for(_caution(question, robust, answers, signals, day))


def _caution(
    question: Question | None, reach: ReachSection, answers: Vector, signals: Sequence[Signal], day: dt.date
) -> float:
    """c·(1 − the likelier of the answers), 0 once the question is settled."""
    if question is not None:
        way = belief_path(question, signals, day).hypotheses
        if settled_hypothesis(question, np.vstack([way[:-1], answers])) is not None:  # today's is the outlook's
            return 0.0
    return float(reach.caution or 0.0) * (1 - float(answers.max()))


# The sets of two axes: of the answers, and of the regimes given one of them.
#


def answer_set(book: Book, question: Question, answers: Vector, news: NewInformation, heard: Vector) -> Ambiguity:
    """`[robust.question]` around the `answers` (H,), of which the news has said as much as `heard` (H,), in logs.

    By corners it is the interval of beliefs that `[question.ranges]` allow, or of more than two answers their hull.
    """
    reach = book.settings.robust.question
    if reach is None:
        return set_class("none")()
    if reach.makes_its_set:
        ranges = belief_ranges(book)
        assert ranges is not None  # was checked on loading
        return set_class("hull").on_axis(0.0, posterior_corners(question, ranges, news.signals, news.told))
    radius = reach.radius
    if reach.schedule == "caution":
        radius = set_class(reach.set).radius_for(_caution(question, reach, answers, news.signals, news.told))
    stated = np.array([[expert[name] for name in question.hypotheses] for expert in reach.experts.values()])
    return set_class(reach.set).on_axis(radius, _after(stated, heard))


def regime_set(book: Book, question: Question, at: NDArray[np.int64], given: Vector, news: NewInformation) -> Ambiguity:
    """`[robust.regime]` around the belief `given` an answer, in its scenarios `at`.

    By caution the radius is c·(posterior deviation of the elasticity / prior deviation)·(1 − the likelier regime's
    probability): usage figures release it, verdicts do not.
    """
    reach = book.settings.robust.regime
    if reach is None or len(at) < 2:
        return set_class("none")()
    radius = reach.radius
    if reach.schedule == "caution":
        left, demand = 1.0, question.demand
        if demand is not None:
            left = elasticity(demand, news.signals, news.told)[1] / demand.deviation
        radius = set_class(reach.set).radius_for(float(reach.caution or 0.0) * left * (1 - float(given.max())))
    stated = np.zeros((0, len(at)))
    if question.regime_of is not None and reach.experts:
        own = question.regime_of[at]
        shares = given / np.array([given[own == regime].sum() for regime in own])  # of scenarios of one regime
        named = [question.regimes[regime] for regime in own]
        stated = np.array([[expert[name] for name in named] for expert in reach.experts.values()]) * shares
    return set_class(reach.set).on_axis(radius, _after(stated, news.evidence[at]))


def _after(experts: Matrix, evidence: Vector) -> Matrix:
    """Experts have heard the news too."""
    return np.array([bayes_update(expert / expert.sum(), evidence[None, :])[0] for expert in experts])
