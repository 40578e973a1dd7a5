"""What is best along an axis of beliefs: one verified allocation a point, and its objective there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypedDict

import numpy as np

from allocator.book.book import Book
from allocator.errors import BadMandate, Breach
from allocator.optimization.resolve import CertifiedSolution
from allocator.outlook.outlook import Outlook
from allocator.plan.plan import Plan
from allocator.presentation import ByName, Probability
from allocator.rules.builder import bucket_shares
from allocator.stress_testing.outcomes import refuse_plan_of_other_book
from allocator.stress_testing.reoptimization import UnsolvedProblem, parallel_map, reoptimizer_at_beliefs
from allocator.types import Matrix, Vector

if TYPE_CHECKING:
    import pandas as pd


# Ways through the beliefs: one probability from 0 to 1, everything else kept in proportion.
#
HYPOTHESIS = "generalizable"
DEMAND = "jevons"


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


def refuse_impossible_axis(book: Book) -> None:
    """Raise where the plan does not follow from probabilities, or not by one decision.

    Raises:
        BadMandate: with the reason.
    """
    objective = book.settings.mandate.objective
    found = []
    if book.settings.uses_tree:
        rule = "is solved on a decision tree, and belief stress needs a plan of one decision"
        cure = "choose return_minus_risk without [horizon] reviews, or try another belief of the tree with --set"
        found.append(Breach("book.toml", None, "mandate.objective", objective, rule, cure))
    elif not book.settings.mandate.traits.uses_returns:
        rule = "uses no returns, so that probabilities do not change the plan"
        found.append(Breach("book.toml", None, "mandate.objective", objective, rule, "choose return_minus_risk"))
    if len(book.scenarios) == 1:
        rule = "has one scenario, whose probability is 1"
        found.append(Breach("book.toml", None, "scenarios", book.scenarios[0], rule, "state at least two"))
    if found:
        raise BadMandate(found)


def belief_axes(book: Book, outlook: Outlook) -> tuple[BeliefAxis, ...]:
    """The hypothesis where scenarios say which answer they stand for, else each scenario's own probability."""
    hypothesis = hypothesis_axis(book, outlook)
    if hypothesis is not None:
        return (hypothesis,)
    named = [
        belief_axis(name, np.arange(len(outlook.scenarios)) == k, outlook) for k, name in enumerate(outlook.scenarios)
    ]
    return tuple(one for one in named if one is not None)


def hypothesis_axis(book: Book, outlook: Outlook) -> BeliefAxis | None:
    """P(generalizable); None where scenarios do not say which answer they stand for, or one of both is certain."""
    sections = book.settings.scenarios
    answers = [sections[name].hypothesis for name in outlook.scenarios]
    if any(answer is None for answer in answers):
        return None
    return belief_axis(HYPOTHESIS, np.array([answer == HYPOTHESIS for answer in answers]), outlook, certain=False)


def belief_axis(
    name: str, true: np.ndarray[tuple[int], np.dtype[np.bool_]], outlook: Outlook, *, certain: bool = True
) -> BeliefAxis | None:
    """The axis of an event that holds in some scenarios; None where the belief leaves nothing to be in proportion.

    Where it holds in one scenario alone and `certain`, that one has all of the probability at 1, whatever it has now.
    """
    p = outlook.probabilities
    stated = float(p[true].sum())
    if stated >= 1 or (stated <= 0 and (not certain or true.sum() != 1)):
        return None
    if_true = np.where(true, p, 0.0) / stated if stated > 0 else true.astype(np.float64)
    return BeliefAxis(name, stated, if_true, np.where(true, 0.0, p) / (1 - stated))


STEPS = 40
"""Pieces of an axis that are looked at; what turns twice within one is overlooked."""
_BROKEN = 1e-8
"""Of a rule's own unit: what is no breach of it."""
BUCKETS = ("efficiency", "capital_intensity", "adopter", "neutral")
Solve = Callable[[Sequence[Vector]], list[CertifiedSolution | UnsolvedProblem]]


@dataclass(frozen=True)
class FailedBelief:
    """A belief under which there is no verified allocation: its probabilities by scenario, and the reason."""

    probabilities: Mapping[str, float]
    error: str
    reason: str


class AxisPoint:
    """Verified answers along an axis, each solved for once; the ambiguity set's radius stays today's."""

    def __init__(self, plan: Plan, axis: BeliefAxis, solve: Solve) -> None:
        self.plan, self.axis, self._solve = plan, axis, solve
        self.known: dict[float, CertifiedSolution | UnsolvedProblem] = {}

    def at(self, probability: float) -> CertifiedSolution | None:
        """What is best at this probability; None where that failed."""
        if probability not in self.known:
            self.known[probability] = self._solve([self.axis.at(probability)])[0]
        found = self.known[probability]
        return found if isinstance(found, CertifiedSolution) else None

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
            failed_belief(self.plan.outlook, self.axis.at(at), found)
            for at, found in sorted(self.known.items())
            if isinstance(found, UnsolvedProblem)
        ]


def failed_belief(outlook: Outlook, belief: Vector, found: UnsolvedProblem) -> FailedBelief:
    """A failure with the belief it belongs to."""
    return FailedBelief(dict(zip(outlook.scenarios, map(float, belief), strict=True)), found.error, found.reason)


class _SweepPoint(TypedDict):
    probability: Probability
    objective: Annotated[float, "certainty equivalent of the optimum, of the account"]
    adverse_expected_return: float
    expected_return: float
    plan_shortfall: Annotated[float, "by how much the objective of the plan's lots is below it, of the account"]
    plan_limit_breach: Annotated[
        bool, "whether the plan's lots breach a limit there, which plan_shortfall does not count"
    ]
    weights: ByName


class SweepDocument(TypedDict):
    """Optima along one probability."""

    axis: str
    stated: Probability
    points: list[_SweepPoint]


@dataclass(frozen=True, eq=False)
class BeliefSweep:
    """M verified allocations along an axis.

    `probabilities` (M,) of the axis; `weights` (M, N + 1) after the trades, cash last; and in fractions of the account
    over the horizon: the maximised `objective` (M,); `adverse_expected_return` and `expected_return` (M,) after
    costs; `shortfall` (M,), by how much the objective of the plan's own lots is less, which says little where they
    breach a limit, `limit_breach` (M,). `buckets` (M, 5), cash last.
    """

    axis: BeliefAxis
    instruments: tuple[str, ...]
    probabilities: Vector
    weights: Matrix
    objective: Vector
    adverse_expected_return: Vector
    expected_return: Vector
    shortfall: Vector
    limit_breach: tuple[bool, ...]
    buckets: Matrix = field(repr=False)

    def frame(self) -> pd.DataFrame:
        """One row a probability."""
        import pandas as pd

        columns = dict(zip((*BUCKETS, "cash"), self.buckets.T, strict=True))
        figures = {
            "objective": self.objective,
            "adverse_expected_return": self.adverse_expected_return,
            "expected_return": self.expected_return,
        }
        named = dict(zip(self.instruments, self.weights.T, strict=True))
        return pd.DataFrame(
            {"probability": self.probabilities, **figures, "plan_shortfall": self.shortfall, **columns, **named}
        )

    def document(self) -> SweepDocument:
        """Plain data."""
        return {
            "axis": self.axis.name,
            "stated": round(self.axis.stated, 8),
            "points": [
                {
                    "probability": round(float(at), 8),
                    "objective": round(float(self.objective[m]), 10),
                    "adverse_expected_return": round(float(self.adverse_expected_return[m]), 10),
                    "expected_return": round(float(self.expected_return[m]), 10),
                    "plan_shortfall": round(float(self.shortfall[m]), 10),
                    "plan_limit_breach": self.limit_breach[m],
                    "weights": dict(zip(self.instruments, (round(float(w), 8) for w in self.weights[m]), strict=True)),
                }
                for m, at in enumerate(self.probabilities)
            ],
        }


def axis_solver(plan: Plan) -> Callable[[], Solve]:
    """A function that makes the solver of a plan's questions under other beliefs; it can go to another process."""
    from allocator.optimization.solve import Limits

    section = plan.book.settings.solver
    limits = Limits(section.tolerance, section.time_limit_seconds)
    return partial(reoptimizer_at_beliefs, plan.start, plan.outlook, plan.mandate, limits)


def plan_or_rebalance(book: Book, plan: Plan | None, say: Callable[[str], None] | None) -> Plan:
    """The plan to stress: the one given, or the one that `rebalance` makes of the book.

    Raises:
        BadInput: the plan is of another book.
        AllocatorError: whatever `rebalance` raises.
    """
    if plan is None:
        from allocator.plan.rebalance import rebalance

        return rebalance(book, progress=say)
    refuse_plan_of_other_book(book, plan)
    return plan


def axis_grid(axis: BeliefAxis, steps: int = STEPS) -> list[float]:
    """Points from 0 to 1, today's probability among them."""
    return sorted({*(step / steps for step in range(steps + 1)), axis.stated})


def sweep_axis(
    plan: Plan, axis: BeliefAxis, *, steps: int = STEPS, jobs: int = 1, say: Callable[[str], None] | None = None
) -> tuple[AxisPoint, bool]:
    """The answers on the grid of an axis, and whether Ctrl-C came before the last of them."""
    make, points = axis_solver(plan), axis_grid(axis, steps)
    done = parallel_map(make, [axis.at(point) for point in points], jobs=jobs, say=say, what=f"beliefs in {axis.name}")
    on = AxisPoint(plan, axis, make())
    on.known |= {point: found for point, found in zip(points, done.results, strict=True) if found is not None}
    return on, done.interrupted


def belief_sweep(on: AxisPoint, points: list[float]) -> BeliefSweep:
    """The sweep over those of the points that are known and verified."""
    plan, book = on.plan, on.plan.book
    found = [(point, one) for point in points if isinstance(one := on.known.get(point), CertifiedSolution)]
    shares = np.column_stack([bucket_shares(book, name) for name in BUCKETS])
    rows = [_figures(on, point, one) for point, one in found]
    objective, adverse, expected, shortfall = np.array(rows).reshape(-1, 4).T
    weights = np.array([one.weights for _, one in found]).reshape(-1, len(book.instruments) + 1)
    return BeliefSweep(
        on.axis,
        (*plan.book.instruments, plan.book.cash_instrument),
        np.array([point for point, _ in found]),
        weights,
        objective,
        adverse,
        expected,
        shortfall,
        tuple(bool(on.limit_breaches(point)) for point, _ in found),
        np.column_stack([weights[:, :-1] @ shares, weights[:, -1]]),
    )


def _figures(on: AxisPoint, point: float, one: CertifiedSolution) -> tuple[float, float, float, float]:
    outlook, mandate = on.outlook(point), on.plan.mandate
    gains = outlook.portfolio_returns(one.holdings, one.cash) + float(one.holdings.sum()) + one.cash - 1
    adverse = -mandate.ambiguity.worst_case(-gains, outlook.probabilities)
    shortfall = mandate.loss(on.plan.final, outlook) - one.objective
    return -one.objective, adverse, float(outlook.probabilities @ gains), shortfall
