"""What is best along an axis of beliefs: one verified allocation a point, and its objective there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypedDict

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.errors import BadMandate, Breach, Infeasible, NotSolved
from allocator.mandate.builder import build_mandate
from allocator.multistage.mandate import build_multistage_mandate
from allocator.multistage.solve import solve_policy, with_hindsight
from allocator.optimization.resolve import CertifiedSolution
from allocator.optimization.solve import Limits
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.plan.reviews import of_chosen_names
from allocator.plan.targets import solve_targets
from allocator.presentation import ByName, Probability, Row
from allocator.rules.builder import bucket_shares
from allocator.rules.rows import Position
from allocator.settings.settings import CostsSection
from allocator.settings.uncertainty import RobustSection
from allocator.stress_testing.reoptimization import (
    Answer,
    PlanProblem,
    Say,
    UnsolvedProblem,
    Work,
    parallel_map,
    say_nothing,
)
from allocator.types import Matrix, Vector


# Ways through the beliefs: one probability from 0 to 1, everything else kept in proportion.
#
@dataclass(frozen=True, eq=False)
class BeliefAxis:
    """The probability of `name`, `stated` today; `if_true` and `if_false` (K,) are the beliefs at 1 and at 0.

    Scenarios keep their probabilities given `name` and given its contrary.
    """

    name: str
    stated: float
    if_true: Vector
    if_false: Vector

    def at(self, probability: float) -> Vector:
        """(K,) the belief in which `name` has this probability."""
        belief: Vector = probability * self.if_true + (1 - probability) * self.if_false
        return belief

    def grid(self) -> list[float]:
        """Points from 0 to 1, today's probability among them."""
        return sorted({*(step / STEPS for step in range(STEPS + 1)), self.stated})


def refuse_impossible_axis(book: Book) -> None:
    """Raise where the plan does not follow from probabilities, or not by one decision.

    Raises:
        BadMandate: with the reason.
    """
    objective = book.settings.mandate.objective
    breaches = []
    if book.settings.uses_tree:
        rule = "is solved on a decision tree, and belief stress needs a plan of one decision"
        cure = "choose return_minus_risk without [horizon] reviews, or try another belief of the tree with --set"
        breaches.append(Breach("book.toml", None, "mandate.objective", objective, rule, cure))
    elif not book.settings.mandate.traits.uses_returns:
        rule = "uses no returns, so that probabilities do not change the plan"
        breaches.append(Breach("book.toml", None, "mandate.objective", objective, rule, "choose return_minus_risk"))
    if len(book.scenarios) == 1:
        rule = "has one scenario, whose probability is 1"
        breaches.append(Breach("book.toml", None, "scenarios", book.scenarios[0], rule, "state at least two"))
    if breaches:
        raise BadMandate(breaches)


def belief_axes(book: Book, outlook: Outlook) -> tuple[BeliefAxis, ...]:
    """The hypotheses where scenarios say which they stand for (of two, the first), else each scenario's probability."""
    answers = [book.settings.scenarios[name].hypothesis for name in outlook.scenarios]
    if None not in answers:
        names = book.settings.hypotheses[: 1 if len(book.settings.hypotheses) == 2 else None]
        events = {name: np.array([answer == name for answer in answers]) for name in names}
        every = (_axis(name, true, outlook.probabilities, possible=True) for name, true in events.items())
        if possible := tuple(axis for axis in every if axis is not None):
            return possible
    alone = np.eye(len(outlook.scenarios), dtype=bool)
    axes = [_axis(name, alone[k], outlook.probabilities) for k, name in enumerate(outlook.scenarios)]
    return tuple(axis for axis in axes if axis is not None)


def _axis(
    name: str, true: np.ndarray[Any, np.dtype[np.bool_]], p: Vector, *, possible: bool = False
) -> BeliefAxis | None:
    """The axis of an event that holds in some scenarios; None where the belief leaves nothing to be in proportion.

    Unless it must be `possible`, it holds in one scenario alone, which has all of the probability at 1.
    """
    stated, other = float(p[true].sum()), float(p[~true].sum())  # a view may have left 1e-217: still in proportion
    if other <= 0 or (stated <= 0 and possible):
        return None
    if_true = np.where(true, p, 0.0) / stated if stated > 0 else true.astype(np.float64)
    return BeliefAxis(name, round(stated, 15), if_true, np.where(true, 0.0, p) / other)


STEPS = 40
"""Pieces of an axis that are looked at; what turns twice within one is overlooked."""
_BROKEN = 1e-8
"""Of a rule's own unit: what is no breach of it."""


@dataclass(frozen=True)
class FailedBelief:
    """A belief under which there is no verified allocation: its probabilities by scenario, and the reason."""

    probabilities: Mapping[str, float]
    error: str
    reason: str

    @classmethod
    def of(cls, outlook: Outlook, belief: Vector, problem: UnsolvedProblem) -> FailedBelief:
        """A failure with the belief (K,) it belongs to."""
        probabilities = dict(zip(outlook.scenarios, map(float, belief), strict=True))
        return cls(probabilities, problem.error, problem.reason)


class AxisPoint:
    """Verified answers along an axis, each solved for once; the ambiguity set's radius stays today's."""

    def __init__(self, plan: Plan, axis: BeliefAxis, solve: Work[Vector, Answer]) -> None:
        self.plan, self.axis, self._solve = plan, axis, solve
        self.known: dict[float, Answer] = {}

    def at(self, probability: float) -> CertifiedSolution | None:
        """What is best at this probability; None where that failed."""
        if probability not in self.known:
            self.known[probability] = self._solve([self.axis.at(probability)])[0]
        answer = self.known[probability]
        return answer if isinstance(answer, CertifiedSolution) else None

    def outlook(self, probability: float) -> Outlook:
        """The plan's outlook with the belief at this probability."""
        return replace(self.plan.outlook, probabilities=self.axis.at(probability))

    def limit_breaches(self, probability: float) -> list[str]:
        """The limits that the plan's lots breach under this belief: floors on expected and adverse expected returns."""
        readings = self.plan.mandate.readings(self.plan.final, self.outlook(probability))
        return [reading.label for reading in readings if reading.excess > _BROKEN]

    def failures(self) -> list[FailedBelief]:
        """What failed so far."""
        return [
            FailedBelief.of(self.plan.outlook, self.axis.at(at), answer)
            for at, answer in sorted(self.known.items())
            if isinstance(answer, UnsolvedProblem)
        ]


def bucket_weights(book: Book, weights: Matrix) -> dict[str, Vector]:
    """What of each of M allocations (M, N + 1) is in each bucket (M,), and in cash."""
    buckets = {name: weights[:, :-1] @ bucket_shares(book, name) for name in book.settings.buckets.names}
    return buckets | {"cash": weights[:, -1]}


def weights_by_belief(book: Book, costs: bool) -> dict[str, Vector]:
    """(M,) weights of each bucket in the targets as the first hypothesis becomes likelier, without rules on buckets,
    and without views: the sweep states the belief.

    Without `costs` there are no trading costs, no limit on turnover and no adverse probabilities either.

    Raises:
        BadMandate, Infeasible, NotSolved: there is no verified plan at one of them.
    """
    settings, exposures = book.settings, book.exposures
    mandate, changes = settings.mandate.model_copy(update={"buckets": {}}), dict[str, Any]()
    if not costs:
        mandate = mandate.model_copy(update={"max_turnover": None})
        changes = {"costs": CostsSection(), "robust": RobustSection()}
        exposures = exposures.assign(spread_bps=0.0) if "spread_bps" in exposures else exposures
    held = []
    for probability in SLOPE:
        changes |= {"mandate": mandate, "believe": {settings.hypotheses[0]: probability}, "views": {}}
        own = replace(book, exposures=exposures, settings=settings.model_copy(update=changes))
        if settings.uses_tree:
            target = rebalance(own).target
        else:
            outlook, start = build_outlook(own), Position(own.weights, own.cash / own.value)
            target = solve_targets(own, start, outlook, build_mandate(own, outlook), Limits.of(own)).target
        held.append(target.all_weights)
    return bucket_weights(book, np.array(held))


def reviewed_sweep(book: Book, say: Say = say_nothing) -> Row | None:
    """The same as a `SweepDocument` for a book on a tree of decisions: what is best to hold today, and the figure that
    it is best by, as a view makes the first hypothesis likelier. None where no answer can be made likelier.

    A probability without a verified policy is left out; at the ends an answer keeps what a view may leave it.
    """
    if book.settings.question is None:
        return None
    name = book.settings.hypotheses[0]
    of_name = [section.hypothesis == name for section in book.settings.scenarios.values()]
    outlook = build_outlook(book)
    stated = round(float(outlook.probabilities[of_name].sum()), 15)
    start, limits, points = Position(book.weights, book.cash / book.value), Limits.of(book), list[Row]()
    _, names = of_chosen_names(book, outlook, build_multistage_mandate(book, outlook), start)
    for at in sorted({*(step / STEPS for step in range(STEPS + 1)), stated}):
        say(f"beliefs in {name}: {at:.1%}")
        view = {name: min(max(at, _LEFT), 1 - _LEFT)} if at != stated else book.settings.believe
        own = replace(book, settings=book.settings.model_copy(update={"believe": view}))
        try:
            staged = build_multistage_mandate(own, build_outlook(own))
            staged = staged if names is None else staged.choosing(names.held)
            policy = solve_policy(with_hindsight(staged, start, limits), start, limits)
        except (Infeasible, NotSolved):
            continue
        held = map(float, policy.trade(0).all_weights.round(8))
        weights = dict(zip((*book.instruments, book.cash_instrument), held, strict=True))
        points.append({"probability": at, "objective": round(policy.gain, 10), "weights": weights})
    return {"axis": name, "stated": round(stated, 8), "points": points}


_LEFT = 1e-3
"""Of an answer that a view all but excludes."""
SLOPE = tuple(round(0.05 + 0.09 * step, 2) for step in range(11))
"""Probabilities of the first hypothesis."""


def allocation_columns(book: Book, weights: Matrix) -> dict[str, Vector]:
    """The columns of a frame with M allocations (M, N + 1): buckets, then names, cash last in both."""
    return bucket_weights(book, weights) | dict(zip((*book.instruments, book.cash_instrument), weights.T, strict=True))


_POINT = (
    ("probability", Probability),
    ("objective", float, "certainty equivalent of the optimum, of the account"),
    ("adverse_expected_return", float),
    ("expected_return", float),
    ("plan_shortfall", float, "by how much the objective of the plan's lots is below it, of the account"),
    ("plan_limit_breach", bool, "whether the plan's lots breach a limit there, which plan_shortfall does not count"),
    ("weights", ByName),
)


class SweepDocument(TypedDict):
    """Optima along one probability."""

    axis: str
    stated: Probability
    points: list[Annotated[Row, _POINT]]


@dataclass(frozen=True, eq=False)
class BeliefSweep:
    """M verified allocations along an axis.

    `probabilities` (M,) of the axis; `weights` (M, N + 1) after the trades, cash last; and in fractions of the account
    over the horizon: the maximised `objective` (M,); `adverse_expected_return` and `expected_return` (M,) after
    costs; `shortfall` (M,), by how much the objective of the plan's own lots is less, which says little where they
    breach a limit, `limit_breach` (M,).
    """

    axis: BeliefAxis
    book: Book
    probabilities: Vector
    weights: Matrix
    objective: Vector
    adverse_expected_return: Vector
    expected_return: Vector
    shortfall: Vector
    limit_breach: tuple[bool, ...]

    @property
    def figures(self) -> dict[str, Vector]:
        """(M,) each, by the name that documents give them."""
        own = (self.probabilities, self.objective, self.adverse_expected_return, self.expected_return, self.shortfall)
        return dict(zip((key for key, *_ in _POINT), own, strict=False))

    def frame(self) -> pd.DataFrame:
        """One row a probability."""
        return pd.DataFrame(self.figures | allocation_columns(self.book, self.weights))

    def document(self) -> SweepDocument:
        """Plain data."""
        names, figures = (*self.book.instruments, self.book.cash_instrument), self.figures
        return {
            "axis": self.axis.name,
            "stated": round(self.axis.stated, 8),
            "points": [
                {name: round(float(values[m]), 10) for name, values in figures.items()}
                | {
                    "plan_limit_breach": self.limit_breach[m],
                    "weights": dict(zip(names, (round(float(weight), 8) for weight in self.weights[m]), strict=True)),
                }
                for m in range(len(self.weights))
            ],
        }


def sweep_axis(plan: Plan, axis: BeliefAxis, *, jobs: int = 1, say: Say = say_nothing) -> tuple[AxisPoint, bool]:
    """The answers on the grid of an axis, and whether Ctrl-C came before the last of them."""
    make, points = PlanProblem.of(plan).at_beliefs, axis.grid()
    beliefs, what = [axis.at(point) for point in points], f"beliefs in {axis.name}"
    answers, interrupted = parallel_map(make, beliefs, jobs=jobs, say=say, what=what)
    on = AxisPoint(plan, axis, make())
    on.known |= {point: answer for point, answer in zip(points, answers, strict=True) if answer is not None}
    return on, interrupted


def belief_sweep(on: AxisPoint, points: Sequence[float]) -> BeliefSweep:
    """The sweep over those of the points that are known and verified."""
    book = on.plan.book
    best = {point: answer for point in points if isinstance(answer := on.known.get(point), CertifiedSolution)}
    figures = np.array([_figures(on, point, answer) for point, answer in best.items()]).reshape(-1, 4).T
    objective, adverse, expected, shortfall = figures
    weights = np.array([answer.weights for answer in best.values()]).reshape(-1, len(book.instruments) + 1)
    breaches = tuple(bool(on.limit_breaches(point)) for point in best)
    return BeliefSweep(on.axis, book, np.array(list(best)), weights, objective, adverse, expected, shortfall, breaches)


def _figures(on: AxisPoint, point: float, best: CertifiedSolution) -> tuple[float, float, float, float]:
    outlook, mandate = on.outlook(point), on.plan.mandate
    gains = outlook.portfolio_returns(best.holdings, best.cash) + float(best.holdings.sum()) + best.cash - 1
    adverse = -mandate.ambiguity.worst_case(-gains, outlook.probabilities)
    shortfall = mandate.loss(on.plan.final, outlook) - best.objective
    return -best.objective, adverse, float(outlook.probabilities @ gains), shortfall
