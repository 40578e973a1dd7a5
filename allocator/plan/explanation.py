"""`explain(plan)`: why these orders, why not more, what carries risk and worst case, and how wrong we may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NotRequired, TypedDict

import numpy as np

from allocator.book.book import Book, refuse_no_book
from allocator.errors import BadInput, BadMandate, Breach, did_you_mean
from allocator.mandate.mandate import no_trade
from allocator.optimization.verification import DualCertificate
from allocator.outlook.calibration import calibrate
from allocator.outlook.outlook import EXPECTED_PARTS, named_parts
from allocator.outlook.views import ViewsDocument
from allocator.plan.attribution import (
    AttributionDocument,
    GainAttribution,
    Motives,
    attribute_gain,
    attribution_document,
    motives_in_bps,
    round_bps,
)
from allocator.plan.break_even import (
    LEAST_SHIFTS,
    LeastShift,
    ShiftRow,
    break_even_probability,
    crossing,
)
from allocator.plan.document import RuleRow, rules_document
from allocator.plan.marginal import (
    MARGINS,
    MarginalValues,
    RiskContributions,
    marginal_values,
    risk_contributions,
)
from allocator.plan.plan import Plan, portfolio_figures
from allocator.plan.risk_figures import RisksDocument, risks_document
from allocator.plan.trade_decision import Verdict
from allocator.presentation import ByName, OutlookHeading, Row
from allocator.rules import RuleMeasurement
from allocator.types import Vector


@dataclass(frozen=True)
class HypothesisBreakEven:
    """Where along the first hypothesis holding today is as good as the orders; None where nowhere from 0 to 1.

    `by_return` compares expected returns after costs, `by_objective` what the plan maximises, at the same radius. The
    scenarios keep their probabilities given the hypothesis and given its contrary.
    """

    hypothesis: str
    probability: float
    by_return: float | None
    by_objective: float | None


@dataclass(frozen=True, eq=False)
class Explanation:
    """What there is to say about a plan beside its orders. Margins and contributions are those of the targets."""

    plan: Plan
    reasons: GainAttribution
    margins: MarginalValues
    contributions: RiskContributions
    ahead: float
    """Expected return of the orders over holding today, after costs, under the belief."""
    hypothesis: HypothesisBreakEven | None
    """None where the book's scenarios do not say which answer they stand for."""
    shifts: Mapping[str, LeastShift | None]
    """The nearest belief at which the sign of `ahead` turns, by total variation, relative entropy, modified χ²."""


@dataclass(frozen=True, eq=False)
class BindingRuleOfName:
    """A rule that looks at a name: its reading on the final lots, and what it takes from one more unit of the name."""

    reading: RuleMeasurement
    takes: float


@dataclass(frozen=True, eq=False)
class NameExplanation:
    """One name: returns (K,), the parts of their expectation, its drivers (K,) by name where the efficiency model makes
    them, the rules it meets.
    """

    instrument: str
    index: int
    returns: Vector
    parts: dict[str, float]
    drivers: Mapping[str, Vector] | None
    rules: tuple[BindingRuleOfName, ...]


def explain(asked: Plan | Book) -> Explanation:
    """Explain a plan, or the plan of a book: what each order adds, in basis points of the account that add up.

    Raises:
        BadInput: it is neither.
        BadMandate: the plan has reviews.
        AllocatorError: of a book, whatever `rebalance` raises.
    """
    if not isinstance(asked, Plan):
        refuse_unexplained(asked)
    if isinstance(asked, Plan):
        plan = asked
    else:
        from allocator.plan.rebalance import rebalance

        plan = rebalance(asked)
    outlook, mandate, target, prices = plan.outlook, plan.mandate, plan.target, _duals(plan)
    weighed = portfolio_figures(plan.book, outlook, mandate, plan.weighed)
    today, then = (np.array(one.scenario_returns) for one in (plan.before, weighed))
    ahead = float(outlook.probabilities @ (then - today))
    turned = today - then if ahead >= 0 else then - today
    return Explanation(
        plan=plan,
        reasons=attribute_gain(plan),
        margins=marginal_values(plan.start, outlook, mandate, target, prices),
        contributions=risk_contributions(outlook, target, plan.adversary),
        ahead=ahead,
        hypothesis=_hypothesis(plan, today, then),
        shifts={kind: shift(turned, outlook.probabilities) for kind, shift in LEAST_SHIFTS.items()},
    )


def refuse_unexplained(book: Book) -> None:
    """Refuse a book whose plan is not of one period, before anything is solved.

    Raises:
        BadInput: it is no book.
        BadMandate: its objective is solved on the tree of decisions.
    """
    refuse_no_book(book)
    if book.settings.uses_tree:
        objective = book.settings.mandate.objective
        rule = "is solved on the tree of decisions, and explanations are of one period"
        cure = (
            "choose mandate.objective = 'return_minus_risk' with horizon.reviews = [], or look at `allocator rebalance "
            "--full` and `allocator waiting`"
        )
        raise BadMandate([Breach("book.toml", None, "mandate.objective", objective, rule, cure)])


def _duals(plan: Plan) -> DualCertificate:
    refuse_unexplained(plan.book)
    assert plan.duals is not None  # of one period
    return plan.duals


def _hypothesis(plan: Plan, today: Vector, then: Vector) -> HypothesisBreakEven | None:
    sections, p = plan.book.settings.scenarios, plan.outlook.probabilities
    if any(sections[name].hypothesis is None for name in plan.outlook.scenarios):
        return None
    hypothesis = plan.book.settings.hypotheses[0]
    true = np.array([sections[name].hypothesis == hypothesis for name in plan.outlook.scenarios])
    stated = float(p[true].sum())
    if not 0 < stated < 1:
        return None
    if_true, if_false = np.where(true, p, 0.0) / stated, np.where(true, 0.0, p) / (1 - stated)
    held = no_trade(plan.book)

    def ahead(probability: float) -> float:
        moved = replace(plan.outlook, probabilities=probability * if_true + (1 - probability) * if_false)
        return plan.mandate.loss(held, moved) - plan.mandate.loss(plan.weighed, moved)

    by_objective = crossing(ahead, stated) if plan.mandate.return_weight and plan.weighed_orders else None
    by_return = break_even_probability(then, today, if_true, if_false)
    return HypothesisBreakEven(hypothesis, stated, by_return, by_objective)


def position_of(book: Book, instrument: str) -> int:
    """Where an instrument stands, cash last.

    Raises:
        BadInput: there is no such instrument, with the nearest name.
    """
    known = [*book.instruments, book.cash_instrument]
    if instrument not in known:
        rule, cure = "no such instrument in exposures.csv", did_you_mean(instrument, known)
        raise BadInput([Breach("INSTRUMENT", None, None, instrument, rule, cure)])
    return known.index(instrument)


def explain_name(plan: Plan, instrument: str) -> NameExplanation:
    """One name of a plan.

    Raises:
        BadInput: there is no such instrument.
    """
    i, book, outlook = position_of(plan.book, instrument), plan.book, plan.outlook
    cash = i == len(book.instruments)
    rows, priced = _duals(plan).priced(outlook, plan.mandate)
    coefficients = rows.cash if cash else rows.holdings[:, [i]].toarray()[:, 0]
    trading = np.zeros(len(priced)) if cash else abs(rows.buys[:, [i]] + rows.sells[:, [i]]).toarray()[:, 0]
    parts = outlook.expected_parts()[:, i]
    touching = np.flatnonzero((coefficients != 0) | (trading != 0))
    model = calibrate(book)
    drivers = None
    if not cash and model is not None and instrument not in book.scenario_returns.index:
        drivers = {name: part[:, i] for name, part in model.drivers(outlook.years).items()}
    return NameExplanation(
        instrument,
        i,
        outlook.cash_returns if cash else outlook.returns[:, i],
        named_parts(parts, parts),
        drivers,
        tuple(BindingRuleOfName(plan.measurements[r], float(priced[r] * coefficients[r])) for r in touching),
    )


# An explanation as one stable document. What is in bps says so; infinite numbers are null.
#


class _ExplainedPosition(TypedDict):
    instrument: str
    weight_target: float
    volatility_within: Annotated[float, "its part of the annual volatility within scenarios"]
    mixture_within: Annotated[float, "its part within scenarios of the annual volatility of the mixture"]
    mixture_between: float
    expected_return: Annotated[float, "its part of the expected return before costs"]
    expected_return_parts: Annotated[ByName, EXPECTED_PARTS]
    adverse_expected_return: Annotated[float, "its part of the adverse expected return before costs"]
    marginal_value: Annotated[ByName, MARGINS, "bps per unit of the account put into it; adds up to 0 where it is held"]
    reduced_cost: Annotated[
        float, "bps per unit that its return is below what holding it would take; 0 where it is held"
    ]
    break_even_excess_return: Annotated[
        float | None,
        "bps of return more in every scenario from which on more of it would be held; null where no return would do",
    ]
    spare_return: Annotated[
        float | None,
        "bps of return that it could lose before less of it is held; null where a rule keeps it, or none is held",
    ]


class _BreakEvens(TypedDict):
    ahead_bps: Annotated[float, "bps of expected return of the orders over holding today, after costs"]
    hypothesis: Annotated[
        Annotated[Row, HypothesisBreakEven] | None,
        "where holding today is as good as the orders, on the way from the contrary to the hypothesis",
    ]
    shifts: Annotated[
        dict[str, ShiftRow | None],
        tuple(LEAST_SHIFTS),
        "the nearest belief at which the sign of ahead turns; null where there is none",
    ]


class _RuleOfName(RuleRow):
    takes: Annotated[float, "bps per unit of the account put into the name, at the rule's price"]


class _ExplainedName(TypedDict):
    instrument: str
    attribution: Motives
    expected_return_parts: Annotated[ByName, EXPECTED_PARTS]
    returns: ByName
    drivers: dict[str, ByName] | None
    rules: list[_RuleOfName]


class ExplainDocument(TypedDict):
    """Why a plan trades what it trades, why not more, and how wrong the belief may be."""

    format: Literal["allocator.explain/2"]
    book: OutlookHeading
    verdict: Annotated[Verdict, "of rebalance; with no trade the attribution is that of the orders that are forgone"]
    attribution: AttributionDocument
    positions: list[_ExplainedPosition]
    break_even: _BreakEvens
    risk: RisksDocument
    instrument: _ExplainedName | None
    views: NotRequired[Annotated[ViewsDocument, "what [views] did to the probabilities; absent without any"]]


def explanation_document(found: Explanation, one: NameExplanation | None = None) -> ExplainDocument:
    """The explanation as plain data, with one name's own page where it was asked for."""
    plan, views = found.plan, found.plan.outlook.views
    document: ExplainDocument = {
        "format": "allocator.explain/2",
        "book": plan.book.outlook_heading(),
        "verdict": plan.decision.verdict,
        "attribution": attribution_document(plan),
        "positions": [_position(found, i) for i in range(len(plan.book.instruments) + 1)],
        "break_even": _break_even(found),
        "risk": risks_document(plan.risk),
        "instrument": None if one is None else _about(found, one),
    }
    if views is not None:
        document["views"] = views.document()
    return document


def _position(found: Explanation, i: int) -> _ExplainedPosition:
    plan, split = found.plan, found.contributions
    cash = i == len(plan.book.instruments)
    target = plan.target.cash if cash else float(plan.target.values[i])
    parts, weight = plan.outlook.expected_parts()[:, i], target / plan.target.value_before
    return {
        "instrument": plan.book.cash_instrument if cash else plan.book.instruments[i],
        "weight_target": round(target / plan.target.value, 8) + 0.0,
        "volatility_within": _number(split.within[i]),
        "mixture_within": _number(split.mixture_within[i]),
        "mixture_between": _number(split.mixture_between[i]),
        "expected_return": _number(split.expected[i]),
        "expected_return_parts": named_parts(parts, weight * parts),
        "adverse_expected_return": _number(split.worst_case[i]),
        "marginal_value": dict(zip(MARGINS, map(round_bps, found.margins.parts[i]), strict=True)),
        "reduced_cost": round_bps(found.margins.reduced_cost[i]),
        "break_even_excess_return": None if cash else _finite(found.margins.to_more[i]),
        "spare_return": None if cash else _finite(found.margins.to_less[i]),
    }


def _break_even(found: Explanation) -> _BreakEvens:
    names, flip = found.plan.outlook.scenarios, found.hypothesis
    return {
        "ahead_bps": round_bps(found.ahead),
        "hypothesis": None if flip is None else vars(flip),
        "shifts": {kind: None if at is None else at.document(names) for kind, at in found.shifts.items()},
    }


def _about(found: Explanation, one: NameExplanation) -> _ExplainedName:
    scenarios = found.plan.outlook.scenarios
    return {
        "instrument": one.instrument,
        "attribution": motives_in_bps(found.reasons.parts[one.index]),
        "expected_return_parts": one.parts,
        "returns": dict(zip(scenarios, map(float, one.returns), strict=True)),
        "drivers": None
        if one.drivers is None
        else {
            name: {driver: float(parts[k]) for driver, parts in one.drivers.items()} for k, name in enumerate(scenarios)
        },
        "rules": [
            {**measured, "takes": round_bps(rule.takes)}
            for rule, measured in zip(one.rules, rules_document([rule.reading for rule in one.rules]), strict=True)
        ],
    }


def _finite(value: float) -> float | None:
    return round_bps(value) if np.isfinite(value) else None


def _number(value: float) -> float:
    return round(float(value), 10) + 0.0
