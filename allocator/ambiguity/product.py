"""Two axes, two radii: a set of the answers to the question, and for each answer a set of the regimes given it.

    {q: q_hd = a_h·b_d|h, a in the set around the answers, b_·|h in the set around the belief given answer h}

One set over all scenarios spends its radius where it hurts most, inside the likelier answer, and lets go of all of it
with the verdict. Here each axis has a radius of its own: the adverse expectation is that over answers of the adverse
expectations over each answer's regimes (science §3.13). At a node whose branches are news the answers alone are moved,
and with them the news; regimes are where the leaves are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.polyhedral import Pushforward, news_likelihoods
from allocator.ambiguity.sets import (
    ABOUT,
    Ambiguity,
    LinearDual,
    NewInformation,
    SetDocument,
    answer_set,
    by_kind,
    numbers_by_kind,
    regime_set,
    weighted_sums,
)
from allocator.book.book import Book
from allocator.outlook.calibration import dated_signals
from allocator.outlook.outlook import Outlook, believed_question
from allocator.presentation import Rounded
from allocator.settings.uncertainty import RobustSection
from allocator.types import Matrix, Vector

if TYPE_CHECKING:
    import cvxpy as cp

    from allocator.ambiguity.sets import Form


@dataclass(frozen=True, eq=False)
class ProductSet(Ambiguity):
    """A set `question` around the answers and `regimes` (H,) around what is believed given each of them; `answers` (K,)
    say which answer each scenario is of. `given` (K,) is what is believed given an answer that a belief excludes: where
    it is not stated, its scenarios are all alike.
    """

    answers: NDArray[np.int64]
    question: Ambiguity
    regimes: tuple[Ambiguity, ...]
    given: Vector | None = None

    name = "product"
    batched = True
    axes = ABOUT

    @property
    def guards(self) -> bool:  # type: ignore[override]
        """Whether either axis holds more than the belief."""
        return any(one.guards for one in (self.question, *self.regimes))

    @property
    def keeps_every_scenario(self) -> bool:  # type: ignore[override]
        """Whether neither axis leaves one out."""
        return all(one.keeps_every_scenario for one in (self.question, *self.regimes))

    @property
    def curved(self) -> bool:  # type: ignore[override]
        """Whether either axis is."""
        return any(one.curved for one in (self.question, *self.regimes))

    @property
    def says_linear_dual(self) -> bool:
        """Whether both axes do."""
        return all(one.says_linear_dual for one in (self.question, *self.regimes))

    @property
    def radius(self) -> float:
        """Of the answers."""
        return self.question.reach

    def at_caution(self, answer: float, regime: float) -> ProductSet:
        """Each axis at its own."""
        regimes = tuple(one.at_caution(regime, 0.0) for one in self.regimes)
        return replace(self, question=self.question.at_caution(answer, 0.0), regimes=regimes)

    def regime_reach(self, answers: Sequence[str]) -> dict[str, float]:
        """Of each answer."""
        return {name: own.reach for name, own in zip(answers, self.regimes, strict=True)}

    @classmethod
    def from_book(cls, book: Book, outlook: Outlook) -> Self:
        """`[robust.question]` and `[robust.regime]`, around the belief."""
        nothing = np.zeros(len(outlook.probabilities))
        now = NewInformation(dated_signals(book), book.settings.book.as_of, nothing, "today")
        return cls._around(book, outlook.probabilities, now)

    def at_node(self, book: Book, beliefs: Vector, news: NewInformation) -> Self:
        """As far as both schedules make it by then."""
        return self._around(book, beliefs, news)

    @classmethod
    def _around(cls, book: Book, beliefs: Vector, news: NewInformation) -> Self:
        question = news.question or believed_question(book)
        assert question is not None  # was checked on loading
        answers = np.asarray(question.answers, dtype=np.int64)
        plain = cls(answers, Singleton(), (Singleton(),) * len(question.hypotheses))
        of, (mass,), (within,) = plain.members_of, *plain.parted(beliefs[None, :])
        # what the news says of an answer is the mean of what it says of its scenarios, before it came
        heard = np.array([-np.log(within[at] @ np.exp(-news.evidence[at])) for at in of])
        return cls(
            answers,
            answer_set(book, question, mass, news, heard),
            tuple(regime_set(book, question, at, within[at], news) for at in of),
            within,
        )

    # Scenarios by answer.

    @cached_property
    def members_of(self) -> tuple[NDArray[np.int64], ...]:
        """Positions of each answer's scenarios."""
        return tuple(np.flatnonzero(self.answers == h) for h in range(len(self.regimes)))

    @cached_property
    def _otherwise(self) -> Vector:
        return 1 / self._sums.sum(axis=1)[self.answers] if self.given is None else self.given

    @cached_property
    def _sums(self) -> Matrix:
        return np.equal.outer(np.arange(len(self.regimes)), self.answers).astype(float)

    def parted(self, probabilities: Matrix) -> tuple[Matrix, Matrix]:
        """(D, H) of the answers, and (D, K) of the scenarios given theirs."""
        mass = probabilities @ self._sums.T
        own = mass[:, self.answers]
        return mass, np.where(own > 0, probabilities / np.where(own > 0, own, 1.0), self._otherwise)

    def _each(self, probabilities: Vector) -> Iterator[tuple[Ambiguity, Vector]]:
        """Every set with what it is around: of the answers, then of each answer's regimes."""
        (mass,), (given,) = self.parted(probabilities[None, :])
        yield self.question, mass
        for regime, at in zip(self.regimes, self.members_of, strict=True):
            yield regime, given[at]

    # The worst member, and whether something is a member.

    def adversaries(self, losses: Matrix, probabilities: Matrix) -> Matrix:
        """The worst regimes of each answer, then the worst answers."""
        mass, given = self.parted(probabilities)
        q, worst = np.empty_like(given), np.empty_like(mass)
        for h, (regime, at) in enumerate(zip(self.regimes, self.members_of, strict=True)):
            q[:, at] = regime.adversaries(losses[:, at], given[:, at])
            worst[:, h] = (q[:, at] * losses[:, at]).sum(axis=1)
        return np.asarray(q * self.question.adversaries(worst, mass)[:, self.answers])

    def excess(self, q: Vector, probabilities: Vector) -> float:
        """The larger excess of the two axes, a regime's counted as far as its answer is probable."""
        (mass,), (given,) = self.parted(q[None, :])
        (question, answers), *regimes = self._each(probabilities)
        beyond = [question.excess(mass, answers)]
        for (regime, around), at, part in zip(regimes, self.members_of, mass, strict=True):
            beyond += [part * regime.excess(given[at], around)] if part > 0 else []
        return max(beyond)

    def project(self, q: Vector, probabilities: Vector) -> Vector:
        """Axis by axis."""
        clean = np.maximum(q, 0.0)
        (mass,), (given,) = self.parted(clean[None, :] if clean.sum() > 0 else probabilities[None, :])
        (question, around), *regimes = self._each(probabilities)
        result: Vector = question.project(mass, around)[self.answers]
        for (regime, around), at in zip(regimes, self.members_of, strict=True):
            result[at] *= regime.project(given[at], around)
        return result

    def nearest(self, q: Vector, probabilities: Vector) -> Vector:
        """Axis by axis."""
        return self.project(q, probabilities)

    def witness(self, q: Vector, probabilities: Vector) -> Vector:
        """Those of the answers, then of each answer's regimes, one after the other."""
        (mass,), (given,) = self.parted(q[None, :])
        own = [mass, *(given[at] for at in self.members_of)]
        told = [one.witness(at, p) for (one, p), at in zip(self._each(probabilities), own, strict=True)]
        return np.concatenate([np.ravel(one) for one in told])

    # In programs.

    @cached_property
    def compiled(self) -> Ambiguity:
        """Without an axis that holds its belief alone; the belief where both do."""
        question, *regimes = map(_compiled, (self.question, *self.regimes))
        regimes = [own if len(at) > 1 else Singleton() for own, at in zip(regimes, self.members_of, strict=True)]
        product = replace(self, question=question, regimes=tuple(regimes))
        return product if product.guards else Singleton()

    def support(self, probabilities: Vector) -> tuple[Any, ...]:
        """Whose answers they are, and the structures of both axes."""
        return (*self.answers.tolist(), *(one.structure(p) for one, p in self._each(probabilities)))

    def dual_numbers(self, probabilities: Vector) -> dict[str, Any]:
        """Those of the answers, then of each answer's regimes."""
        each = enumerate(self._each(probabilities))
        return {f"{at}: {name}": value for at, (one, p) in each for name, value in one.dual_numbers(p).items()}

    def dual(self, losses: cp.Expression, probabilities: Vector, given: Sequence[cp.Parameter]) -> Form:
        """The dual form of the answers over those of their regimes."""
        import cvxpy as cp

        (question, mass), *regimes = self._each(probabilities)
        numbers, worst, rows = iter(given), cp.Variable(len(self.regimes)), list[cp.Constraint]()
        own = [next(numbers) for _ in question.dual_numbers(mass)]
        for h, ((regime, p), at) in enumerate(zip(regimes, self.members_of, strict=True)):
            expression, constraints = regime.dual(losses[at], p, [next(numbers) for _ in regime.dual_numbers(p)])
            rows += [*constraints, worst[h] >= expression]
        expression, constraints = question.dual(worst, mass, own)
        return expression, rows + constraints

    @classmethod
    def dual_forms(
        cls, sets: Sequence[Any], beliefs: Sequence[Vector], at: Sequence[Any], losses: cp.Expression
    ) -> Form:
        """The same of each node: the regimes of all answers of all nodes at once, then the answers."""
        import cvxpy as cp

        regimes, question = cls._by_axis(sets, beliefs)
        below = [places[own] for one, places in zip(sets, at, strict=True) for own in one.members_of]
        worst, value, rows = cp.Variable(len(below)), cp.Variable(len(sets)), list[cp.Constraint]()
        answers = np.split(np.arange(len(below)), np.cumsum([len(one.regimes) for one in sets])[:-1])
        for upper, axis, places, lower in ((worst, regimes, below, losses), (value, question, answers, worst)):
            for where, expression, constraints in by_kind(*axis, places, lower):
                rows += [*constraints, upper[where] >= expression]
        return value, rows

    @classmethod
    def numbers_of_many(cls, sets: Sequence[Any], beliefs: Sequence[Vector]) -> Iterator[Any]:
        """Those of the regimes, then of the answers."""
        for axis in cls._by_axis(sets, beliefs):
            yield from numbers_by_kind(*axis)

    @classmethod
    def _by_axis(cls, sets: Sequence[Any], beliefs: Sequence[Vector]) -> Iterator[tuple[list[Ambiguity], list[Vector]]]:
        """What is compiled with what it is around: of the regimes of all answers of all nodes, then of the answers."""
        each = [[*one.compiled._each(p)] for one, p in zip(sets, beliefs, strict=True)]
        for axis in ([pair for own in each for pair in own[1:]], [own[0] for own in each]):
            yield [one for one, _ in axis], [p for _, p in axis]

    def linear_dual(self, probabilities: Vector) -> LinearDual:
        """The answers' over what each answer's regimes come to, which is a loss of theirs."""
        (question, mass), *regimes = self._each(probabilities)
        count, answers, outer = len(probabilities), len(self.regimes), question.linear_dual(mass)
        inner = [regime.linear_dual(p) for regime, p in regimes]
        from scipy.linalg import block_diag

        own = block_diag(*(one.rows for one in inner))
        losses, means = np.zeros((len(own), count)), np.zeros((answers, count))
        starts = np.cumsum([0, *(len(one.rows) for one in inner)])
        for h, (one, at) in enumerate(zip(inner, self.members_of, strict=True)):
            losses[starts[h] : starts[h + 1], at], means[h, at] = one.losses, one.mean
        costs = block_diag(*(one.cost[None, :] for one in inner))
        # an answer's worth is a column of its own: at least the mean and the cost of its regimes
        rows = [
            [own, np.zeros((len(own), answers)), np.zeros((len(own), len(outer.cost)))],
            [costs, -np.eye(answers), np.zeros((answers, len(outer.cost)))],
            [np.zeros((len(outer.rows), own.shape[1])), outer.losses, outer.rows],
        ]
        cost, free = [np.zeros(own.shape[1]), outer.mean, outer.cost], [one.free for one in inner]
        all_losses = [[losses], [means], [np.zeros((len(outer.rows), count))]]
        return LinearDual.of(count, cost, [*free, np.ones(answers), outer.free], all_losses, rows)

    def members(self, q: cp.Expression, probabilities: Vector, mass: Any = 1.0) -> list[cp.Constraint]:
        """Answers in their set, and each answer's scenarios in its, as far as the answer is probable."""
        (question, around), *regimes = self._each(probabilities)
        answers = self._sums @ q
        rows = question.members(answers, around, mass)
        for h, ((regime, p), at) in enumerate(zip(regimes, self.members_of, strict=True)):
            rows += regime.members(q[at], p, answers[h])
        return rows

    # Of what news may be.

    def after_news(self, beliefs: Vector, children: Vector, child_beliefs: Matrix) -> Ambiguity:
        """The answers' set, pushed forward: regimes are not told by news."""
        answers = self.parted(beliefs[None, :])[0][0]
        told = news_likelihoods(answers, children, self.parted(child_beliefs)[0])
        return NewsOfAnswers(self.question, told, answers, self)

    def over_paths(self, beliefs: Vector, paths: Vector, scenarios: Matrix) -> Ambiguity:
        """All of it, pushed forward to every path and scenario at once."""
        return Pushforward(self, news_likelihoods(beliefs, paths, scenarios), beliefs)

    def along(self, axis: str) -> ProductSet:
        """That axis alone."""
        if axis == ABOUT[0]:
            return replace(self, regimes=(Singleton(),) * len(self.regimes))
        return replace(self, question=Singleton())

    def sample(self, probabilities: Vector, draw: np.random.Generator, count: int) -> Matrix:
        """Each axis by itself."""
        (question, around), *regimes = self._each(probabilities)
        sampled = question.sample(around, draw, count)[:, self.answers]
        for (regime, p), at in zip(regimes, self.members_of, strict=True):
            sampled[:, at] *= regime.sample(p, draw, count)
        return sampled

    # In documents and on screens.

    def document(self, probabilities: Vector) -> SetDocument:
        """The set of the answers, and that of each answer's regimes with the scenarios that it is over."""
        (question, around), *regimes = self._each(probabilities)
        own: list[Any] = [{"scenarios": [], "given": [], **question.document(around)}]
        for (regime, p), at in zip(regimes, self.members_of, strict=True):
            own.append({"scenarios": at.tolist(), "given": self._otherwise[at].tolist(), **regime.document(p)})
        return {"set": self.name, "radius": self.radius, "table": own}

    def words(self, robust: RobustSection) -> str:  # type: ignore[override]
        """Of both axes."""
        regimes = dict.fromkeys(one.words(robust.regime) for one in self.regimes if one.guards)
        told = " / ".join(regimes) or Singleton().words(robust)
        return f"answers: {self.question.words(robust.question)}; regimes given each: {told}"


@dataclass(frozen=True, eq=False)
class NewsOfAnswers(Pushforward):
    """The answers' set of `whole`, pushed forward to the branches of a node."""

    whole: ProductSet

    batched = True
    axes = ABOUT

    @property
    def of_scenarios(self) -> Ambiguity:
        """The product."""
        return self.whole

    @property
    def compiled(self) -> Ambiguity:
        """The belief, where the answers' set is."""
        return self if _compiled(self.over).guards else Singleton()

    @property
    def keeps_every_scenario(self) -> bool:  # type: ignore[override]
        """Whether every branch keeps some probability."""
        return self.over.keeps_every_scenario

    def at_caution(self, answer: float, regime: float) -> Ambiguity:
        """The answers' own."""
        return replace(self, over=self.over.at_caution(answer, regime), whole=self.whole.at_caution(answer, regime))

    def along(self, axis: str) -> Ambiguity:
        """News is of the answers."""
        return replace(self, over=self.over if axis == ABOUT[0] else Singleton(), whole=self.whole.along(axis))

    @classmethod
    def dual_forms(
        cls, sets: Sequence[Any], beliefs: Sequence[Vector], at: Sequence[Any], losses: cp.Expression
    ) -> Form:
        """Those of the answers, over what the branches bring in each."""
        import cvxpy as cp

        places = [own for one, own in zip(sets, at, strict=True) for _ in one.beliefs]
        told, value = cp.Variable(len(places)), cp.Variable(len(sets))  # the answers' numbers are parameters, too
        rows = [told >= weighted_sums(cls._likelihoods(sets), losses, places)]
        answers = np.split(np.arange(told.size), np.cumsum([len(one.beliefs) for one in sets])[:-1])
        for where, expression, constraints in by_kind(*cls._of_answers(sets), answers, told):
            rows += [*constraints, value[where] >= expression]
        return value, rows

    @classmethod
    def numbers_of_many(cls, sets: Sequence[Any], beliefs: Sequence[Vector]) -> Iterator[Any]:
        """What the news says, then those of the answers."""
        yield cls._likelihoods(sets)
        yield from numbers_by_kind(*cls._of_answers(sets))

    @staticmethod
    def _likelihoods(sets: Sequence[NewsOfAnswers]) -> Vector:
        return np.concatenate([one.likelihoods.ravel() for one in sets])

    @staticmethod
    def _of_answers(sets: Sequence[NewsOfAnswers]) -> tuple[list[Ambiguity], list[Vector]]:
        return [_compiled(one.over) for one in sets], [one.beliefs for one in sets]


def _compiled(one: Ambiguity) -> Ambiguity:
    """What is compiled of an axis: the belief where its radius is 0."""
    return Singleton() if getattr(one, "radius", 1.0) == 0 else one.compiled


def axis_shares(
    sets: Sequence[Ambiguity], value: Callable[[tuple[Ambiguity, ...]], float], neither: float, both: float
) -> tuple[float, float]:
    """What of both − neither is about the answer, and about the regime: `value` is a figure under other sets, that
    under the `sets` being `both` and that under the beliefs `neither`.

    The mean of the two orders in which the axes may come (Shapley 1953), so that the two add up exactly.
    """
    answer, regime = (tuple(one.along(axis) for one in sets) for axis in ABOUT)
    if all(one.is_singleton for one in regime):
        return both - neither, 0.0
    if all(one.is_singleton for one in answer):
        return 0.0, both - neither
    about = ((value(answer) - neither) + (both - value(regime))) / 2
    return about, both - neither - about


@dataclass(frozen=True)
class AxisShare:
    """Of one axis, in bps of the account; over both they add up.

    `adverse_bps` is what adverse probabilities of it take of the expected return (with reviews, of the certainty
    equivalent), `cost_bps` what guarding against them costs in the objective if the belief is right; None where a plan
    that it takes to know was not found.
    """

    adverse_bps: Annotated[float, Rounded(4)]
    cost_bps: Annotated[float | None, Rounded(4)]


def in_bps(taken: tuple[float, float], spent: tuple[float, float] | None) -> dict[str, AxisShare]:
    """By axis, from parts of the account."""
    costs = (None, None) if spent is None else spent
    return {
        name: AxisShare(round(one * 1e4, 4) + 0.0, None if cost is None else round(cost * 1e4, 4) + 0.0)
        for name, one, cost in zip(ABOUT, taken, costs, strict=True)
    }
