"""What caution about each axis costs and protects, from none to all.

Every plan of the study is optimal at its own caution, solved again by the same program and certified, without lots. Its
cost is what it has less than the plan that trusts the belief if the belief is right; its protection is what it has more
under one reference set, that of caution 1, so that protection grows with caution. The knee is where the share of all
protection is furthest above the share of all cost (science §3.13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import numpy as np

from allocator.ambiguity.sets import ABOUT, Ambiguity, ambiguity_set
from allocator.book.book import Book, refuse_no_book
from allocator.errors import BadInput, setting_breach
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import MultistageMandate, PathWealth, build_multistage_mandate
from allocator.multistage.policy import Policy
from allocator.multistage.solve import solve_policy, with_hindsight
from allocator.optimization.conflicts import relax_by_tier
from allocator.optimization.solve import Limits, kept_programs
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.outlook.scenario_tree import build_review_tree
from allocator.plan.reviews import of_chosen_names
from allocator.plan.targets import solve_certified, with_chosen_names
from allocator.presentation import Keywords, NotNegative, OutlookHeading, Probability, Row
from allocator.rules import Trade
from allocator.rules.rows import Position
from allocator.settings.uncertainty import AMBIGUITY_SETS, AxisSection, RobustSection

# The study: caution from 0 to 1 about the answer, about the regime, and about both.
#
GRID = tuple(step / 10 for step in range(11))
_MOVED = 1e-3
"""Of the account: weights that change by less in all have stopped changing."""


class CautionRow(NamedTuple):
    """One plan: `cost_bps` in the objective if the belief is right, `protection_bps` under the reference set, both of
    the account and against the plan that trusts the belief; the least of its scenario returns, its turnover, and how
    far its weights are from those at caution 1, half the sum of differences.
    """

    cost_bps: float
    protection_bps: float
    worst_scenario_return: float
    turnover: float
    distance: float


@dataclass(frozen=True, eq=False)
class CautionCurve:
    """About one `axis`, or both: a row for each caution of `GRID`."""

    axis: str
    rows: tuple[CautionRow, ...]

    @property
    def shares(self) -> tuple[tuple[float, float], ...]:
        """Of the largest cost and of the largest protection, at each caution."""
        return tuple(map(self.share, self.rows))

    def share(self, row: CautionRow) -> tuple[float, float]:
        """Of this curve's largest cost and protection."""
        cost, protection = (max(getattr(one, name) for one in self.rows) for name in ("cost_bps", "protection_bps"))
        return (row.cost_bps / cost if cost > _NOTHING else 0.0), (
            row.protection_bps / protection if protection > _NOTHING else 0.0
        )

    @property
    def knee(self) -> float | None:
        """The caution that buys the largest share of protection beyond its share of the cost; None where none buys."""
        gains = [protection - cost for cost, protection in self.shares]
        return GRID[int(np.argmax(np.round(gains, 6)))] if max(gains) > _IN_STEP else None

    @property
    def steady_from(self) -> float:
        """The caution from which on the plan no longer changes."""
        still = [row.distance <= _MOVED for row in self.rows]
        return GRID[next(at for at in range(len(still)) if all(still[at:]))]


_NOTHING = 0.005
"""Basis points: what rounds to 0.00."""
_NEAR = 0.05
"""Of the cost at the knee: a plan that costs as much but for this is at it."""
_IN_STEP = 0.005
"""Of a curve's protection: no caution that buys less than this beyond its share of the cost is a knee."""


@dataclass(frozen=True, eq=False)
class CautionStudy:
    """The curves, those about one axis and, last, that about all; and `own`, the plan of the book as it is stated."""

    book: Book
    curves: tuple[CautionCurve, ...]
    own: CautionRow

    @property
    def side(self) -> str:
        """Where the book's plan lies by what it costs: before the knee, at it, or beyond."""
        curve = self.curves[-1]
        if curve.knee is None:
            return "none"
        at = curve.rows[GRID.index(curve.knee)].cost_bps
        if abs(self.own.cost_bps - at) <= _NEAR * at + _NOTHING:
            return "at"
        return "before" if self.own.cost_bps < at else "beyond"

    def document(self) -> CautionStudyDocument:
        """The figures as plain data."""
        return {
            "format": "allocator.caution/1",
            "book": self.book.outlook_heading(),
            "curves": [
                {
                    "axis": one.axis,
                    "knee": one.knee,
                    "steady_from": one.steady_from,
                    "plans": [{"caution": c, **_row(one, row)} for c, row in zip(GRID, one.rows, strict=True)],
                }
                for one in self.curves
            ],
            "stated": {"side": self.side, **_row(self.curves[-1], self.own)},
        }


class _CautionPlan(TypedDict):
    cost_bps: Annotated[float, "in the objective if the belief is right, against the plan that trusts it"]
    protection_bps: Annotated[float, "in the objective under the set at caution 1, against the same plan"]
    cost_share: Annotated[float, "of the largest of the curve; of stated, of the last curve"]
    protection_share: float
    worst_scenario_return: Annotated[float, "the least of the scenario returns, if held to the horizon"]
    turnover: Annotated[NotNegative, "the larger of today's purchases and sales, as a fraction of the account"]
    distance: Annotated[NotNegative, "half the sum of differences of the weights from those at caution 1"]


class _PlanAtCaution(_CautionPlan):
    caution: Probability


class _StatedPlan(_CautionPlan):
    side: Annotated[
        str,
        Keywords(enum=["before", "at", "beyond", "none"]),
        "of the knee about all axes, by what the plan costs; none where no caution buys anything",
    ]


class _CautionCurveRows(TypedDict):
    axis: Annotated[str, Keywords(enum=[*ABOUT, "both"])]
    knee: Annotated[Probability | None, "the caution with the largest protection share less cost share"]
    steady_from: Annotated[Probability, "the caution from which on the plan no longer changes"]
    plans: Annotated[list[Annotated[Row, _PlanAtCaution]], Keywords(minItems=11, maxItems=11)]


class CautionStudyDocument(TypedDict):
    """What caution about the answer, the regime and both costs if the belief is right, and what it protects if it is
    wrong; written by `allocator caution --json`."""

    format: Literal["allocator.caution/1"]
    book: OutlookHeading
    curves: Annotated[list[_CautionCurveRows], Keywords(minItems=1)]
    stated: Annotated[Row, _StatedPlan, "the plan of the book as it is, before lots"]


def _row(curve: CautionCurve, row: CautionRow) -> Row:
    cost, protection = curve.share(row)
    return {name: round(float(value), 6) + 0.0 for name, value in row._asdict().items()} | {
        "cost_share": round(cost, 6),
        "protection_share": round(protection, 6),
    }


def caution_study(book: Book, *, progress: Callable[[str], None] | None = None) -> CautionStudy:
    """Caution from 0 to 1 about the answer, the regime and both: what it costs, protects and changes.

    Each axis keeps the kind of set that the book states of it where a caution can tell its radius; others, and books
    with one set over all scenarios, are asked with that set's kind or total variation.

    Raises:
        BadInput: there is no question to be cautious about, or the objective looks at no return.
        Infeasible: limits conflict.
        NotSolved: a plan has no verified solution.
    """
    refuse_no_book(book)
    if book.settings.question is None:
        rule, cure = "is needed: caution is of the answers to a question", "add [question]"
        raise BadInput([setting_breach("question", None, rule, cure)])
    if not book.settings.mandate.traits.uses_returns:
        rule, cure = "looks at no return, so that no caution about returns means anything", "choose return_minus_risk"
        raise BadInput([setting_breach("mandate.objective", book.settings.mandate.objective, rule, cure)])
    outlook, say = build_outlook(book), progress or (lambda _: None)
    cautious = at_full_caution(book)
    solver: _Period | _Reviewed = (
        _Reviewed(book, cautious, outlook) if book.settings.uses_tree else _Period(book, cautious, outlook)
    )
    has_regimes = any(reach > 0 for reach in (solver.whole.regime_reach(book.settings.hypotheses) or {}).values())
    axes = {ABOUT[0]: (1.0, 0.0), **({ABOUT[1]: (0.0, 1.0), "both": (1.0, 1.0)} if has_regimes else {})}
    curves, own, trusting = list[CautionCurve](), solver.own(), solver.at(0.0, 0.0)
    for axis, (answer, regime) in axes.items():
        plans = [trusting]
        for c in GRID[1:]:
            say(f"caution about {axis if axis == 'both' else f'the {axis}'}: {c:g}")
            plans.append(solver.at(c * answer, c * regime))
        *rows, of_own = _measured(solver, [*plans, own], answer, regime)
        curves.append(CautionCurve(axis, tuple(rows)))
    return CautionStudy(book, tuple(curves), of_own)


def _measured(solver: _Period | _Reviewed, plans: Sequence[Any], answer: float, regime: float) -> Iterator[CautionRow]:
    """Of the plans at each caution about an axis, and of one more."""
    right, wrong = ([solver.loss(plan, *c) for plan in plans] for c in ((0.0, 0.0), (answer, regime)))
    trades = [solver.today(plan) for plan in plans]
    for trade, if_right, if_wrong in zip(trades, right, wrong, strict=True):
        gains = solver.outlook.portfolio_returns(trade.values, trade.cash) + trade.value - 1
        yield CautionRow(
            cost_bps=(if_right - right[0]) * 1e4,
            protection_bps=(wrong[0] - if_wrong) * 1e4,
            worst_scenario_return=float(gains.min()),
            turnover=max(float(trade.bought.sum()), float(trade.sold.sum())),
            distance=float(np.abs(trade.all_weights - trades[-2].all_weights).sum()) / 2,
        )


def at_full_caution(book: Book) -> Book:
    """The book with caution 1 about both axes: the kinds of its sets where a caution can tell their radius."""
    robust = book.settings.robust

    def kind(axis: AxisSection | None) -> str:
        for one in (axis, robust):
            if one is not None and AMBIGUITY_SETS[one.set].scheduled:
                return one.set
        return "total_variation"

    question, regime = (AxisSection(set=kind(one), schedule="caution", caution=1.0) for one in (
        robust.question, robust.regime,
    ))  # fmt: skip
    left = robust.model_dump(exclude_unset=True, include={"return_error", "return_error_size", "return_error_names"})
    full = RobustSection(question=question, regime=regime, **left)
    return replace(book, settings=book.settings.model_copy(update={"robust": full}))


class _Period:
    """Plans of one period: one program for each shape, solved again at every caution."""

    def __init__(self, book: Book, cautious: Book, outlook: Outlook) -> None:
        self.outlook, self.mandate, self.limits = outlook, build_mandate(book, outlook), Limits.of(book)
        self.whole = ambiguity_set(cautious, outlook)
        self._start = Position(book.weights, book.cash / book.value)
        self._program = kept_programs()
        self.mandate = with_chosen_names(self.mandate, book, self._start, outlook)  # the same at every caution
        given = relax_by_tier(self._start, outlook, self.mandate)
        if given is not None:
            self.mandate = given.looser(1e-4).with_limits(self.mandate)

    def _guarded(self, answer: float, regime: float) -> Mandate:
        return replace(self.mandate, ambiguity=self.whole.at_caution(answer, regime))

    def at(self, answer: float, regime: float) -> Trade:
        """The targets."""
        return self._solved(self._guarded(answer, regime))

    def own(self) -> Trade:
        """The book's."""
        return self._solved(self.mandate)

    def _solved(self, mandate: Mandate) -> Trade:
        fitting = self._program(self.outlook, mandate)
        return solve_certified(fitting, self._start, self.outlook, mandate, self.limits)[0]

    def loss(self, plan: Trade, answer: float, regime: float) -> float:
        """Its minimised objective under another caution."""
        return self._guarded(answer, regime).loss(plan, self.outlook)

    def today(self, plan: Trade) -> Trade:
        """What is traded today."""
        return plan


class _Reviewed:
    """Policies over the tree of reviews."""

    def __init__(self, book: Book, cautious: Book, outlook: Outlook) -> None:
        self.outlook, self._limits = outlook, Limits.of(book)
        self._start = Position(book.weights, book.cash / book.value)
        reviews = build_review_tree(book, outlook)
        own = build_multistage_mandate(book, outlook, reviews=reviews)
        own, _ = of_chosen_names(book, outlook, own, self._start)  # the same at every caution
        self._own = with_hindsight(own, self._start, self._limits)
        self._sets = build_multistage_mandate(cautious, outlook, reviews=reviews).ambiguities
        self.whole = self._sets[0].of_scenarios
        self._around: PathWealth | None = None

    def _guarded(self, answer: float, regime: float) -> tuple[Ambiguity, ...]:
        return tuple(one.at_caution(answer, regime) for one in self._sets)

    def at(self, answer: float, regime: float) -> Policy:
        """The policy."""
        return self._solved(replace(self._own, ambiguities=self._guarded(answer, regime)))

    def own(self) -> Policy:
        """The book's."""
        return self._solved(self._own)

    def _solved(self, staged: MultistageMandate) -> Policy:
        """The policy, risk on the way being charged first around the one before."""
        policy = solve_policy(replace(staged, around=self._around), self._start, self._limits)
        self._around = policy.around
        return policy

    def loss(self, plan: Policy, answer: float, regime: float) -> float:
        """Minus its certainty equivalent under another caution."""
        losses = plan.under(self._guarded(answer, regime)).losses
        return -self._own.utility.equivalent(float(losses[0]))

    def today(self, plan: Policy) -> Trade:
        """What is traded today."""
        return plan.trade(0)
