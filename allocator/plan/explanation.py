"""`explain(plan)`: why these orders, why not more, what carries risk and worst case, and how wrong we may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from allocator.book.book import Book, refuse_no_book
from allocator.errors import BadInput, BadMandate, Breach, did_you_mean
from allocator.mandate.mandate import no_trade
from allocator.optimization.verification import DualCertificate
from allocator.outlook.calibration import calibrate
from allocator.outlook.outlook import COLUMNS
from allocator.plan.attribution import GainAttribution, attribute_gain, attribution_document, motives_in_bps, round_bps
from allocator.plan.break_even import (
    LeastShift,
    break_even_probability,
    crossing,
    least_shift_chi2,
    least_shift_kl,
    least_shift_tv,
)
from allocator.plan.marginal import (
    MARGINS,
    MarginalValues,
    RiskContributions,
    marginal_values,
    risk_contributions,
)
from allocator.plan.plan import Plan, portfolio_figures
from allocator.rules import RuleMeasurement
from allocator.types import Vector

HYPOTHESIS = "generalizable"


@dataclass(frozen=True)
class HypothesisBreakEven:
    """Where along the hypothesis holding today is as good as the orders; None where nowhere on the way from 0 to 1.

    `by_return` compares expected returns after costs, `by_objective` what the plan maximises, at the same radius. The
    scenarios keep their probabilities given the hypothesis and given its contrary.
    """

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
    """One name: returns (K,), its drivers (K, COLUMNS) where the efficiency model makes them, the rules it meets."""

    instrument: str
    index: int
    returns: Vector
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
    kinds = {"total_variation": least_shift_tv, "kl": least_shift_kl, "chi2": least_shift_chi2}
    return Explanation(
        plan=plan,
        reasons=attribute_gain(plan),
        margins=marginal_values(plan.start, outlook, mandate, target, prices),
        contributions=risk_contributions(outlook, target, plan.adversary),
        ahead=ahead,
        hypothesis=_hypothesis(plan, today, then),
        shifts={kind: shift(turned, outlook.probabilities) for kind, shift in kinds.items()},
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
        cure = "choose return_minus_risk, or look at `allocator rebalance --full` and `allocator waiting`"
        raise BadMandate([Breach("book.toml", None, "mandate.objective", objective, rule, cure)])


def _duals(plan: Plan) -> DualCertificate:
    refuse_unexplained(plan.book)
    assert plan.duals is not None  # of one period
    return plan.duals


def _hypothesis(plan: Plan, today: Vector, then: Vector) -> HypothesisBreakEven | None:
    sections, p = plan.book.settings.scenarios, plan.outlook.probabilities
    if any(sections[name].hypothesis is None for name in plan.outlook.scenarios):
        return None
    true = np.array([sections[name].hypothesis == HYPOTHESIS for name in plan.outlook.scenarios])
    stated = float(p[true].sum())
    if not 0 < stated < 1:
        return None
    if_true, if_false = np.where(true, p, 0.0) / stated, np.where(true, 0.0, p) / (1 - stated)
    held = no_trade(plan.book)

    def ahead(probability: float) -> float:
        moved = replace(plan.outlook, probabilities=probability * if_true + (1 - probability) * if_false)
        return plan.mandate.loss(held, moved) - plan.mandate.loss(plan.weighed, moved)

    by_objective = crossing(ahead, stated) if plan.mandate.return_weight and plan.weighed_orders else None
    return HypothesisBreakEven(stated, break_even_probability(then, today, if_true, if_false), by_objective)


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
    touching = np.flatnonzero((coefficients != 0) | (trading != 0))
    model = calibrate(book)
    drivers = None
    if not cash and model is not None and instrument not in book.scenario_returns.index:
        drivers = dict(zip(COLUMNS, model.drivers(outlook.years)[:, i, :].T, strict=True))
    return NameExplanation(
        instrument,
        i,
        outlook.cash_returns if cash else outlook.returns[:, i],
        drivers,
        tuple(BindingRuleOfName(plan.measurements[r], float(priced[r] * coefficients[r])) for r in touching),
    )


# An explanation as one stable document; its JSON Schema is `schemas/explain.schema.json`. Everything in bps is said so
# by the schema; infinite numbers are null.
#
FORMAT = "allocator.explain/2"


def explanation_document(found: Explanation, one: NameExplanation | None = None) -> dict[str, Any]:
    """The explanation as plain data, with one name's own page where it was asked for."""
    plan, settings = found.plan, found.plan.book.settings
    return {
        "format": FORMAT,
        "book": {
            "name": settings.book.name,
            "account": plan.book.account,
            "as_of": settings.book.as_of.isoformat(),
            "horizon_months": round(settings.months, 6),
        },
        "verdict": plan.decision.verdict,
        "attribution": attribution_document(plan),
        "positions": [_position(found, i) for i in range(len(plan.book.instruments) + 1)],
        "break_even": _break_even(found),
        "instrument": None if one is None else _about(found, one),
    }


def _position(found: Explanation, i: int) -> dict[str, Any]:
    plan, split = found.plan, found.contributions
    cash = i == len(plan.book.instruments)
    target = plan.target.cash if cash else float(plan.target.values[i])
    return {
        "instrument": plan.book.cash_instrument if cash else plan.book.instruments[i],
        "weight_target": round(target / plan.target.value, 8) + 0.0,
        "volatility_within": _number(split.within[i]),
        "mixture_within": _number(split.mixture_within[i]),
        "mixture_between": _number(split.mixture_between[i]),
        "expected_return": _number(split.expected[i]),
        "adverse_expected_return": _number(split.worst_case[i]),
        "marginal_value": dict(zip(MARGINS, map(round_bps, found.margins.parts[i]), strict=True)),
        "reduced_cost": round_bps(found.margins.reduced_cost[i]),
        "break_even_excess_return": None if cash else _finite(found.margins.to_more[i]),
        "spare_return": None if cash else _finite(found.margins.to_less[i]),
    }


def _break_even(found: Explanation) -> dict[str, Any]:
    names, flip = found.plan.outlook.scenarios, found.hypothesis

    def shift(at: LeastShift | None) -> dict[str, Any] | None:
        if at is None:
            return None
        return {
            "distance": _number(at.distance),
            "probabilities": dict(zip(names, map(_number, at.q), strict=True)),
        }

    return {
        "ahead_bps": round_bps(found.ahead),
        "hypothesis": None
        if flip is None
        else {
            "probability": flip.probability,
            "by_return": flip.by_return,
            "by_objective": flip.by_objective,
        },
        "shifts": {kind: shift(at) for kind, at in found.shifts.items()},
    }


def _about(found: Explanation, one: NameExplanation) -> dict[str, Any]:
    scenarios = found.plan.outlook.scenarios
    return {
        "instrument": one.instrument,
        "attribution": motives_in_bps(found.reasons.parts[one.index]),
        "returns": dict(zip(scenarios, map(float, one.returns), strict=True)),
        "drivers": None
        if one.drivers is None
        else {
            name: {driver: float(parts[k]) for driver, parts in one.drivers.items()} for k, name in enumerate(scenarios)
        },
        "rules": [
            {
                "rule": rule.reading.label,
                "measured": _finite(rule.reading.measured, scale=1.0),
                "limit": rule.reading.limit,
                "kind": "at most" if rule.reading.at_most else "at least",
                "takes": round_bps(rule.takes),
            }
            for rule in one.rules
        ],
    }


def _finite(value: float, scale: float = 1e4) -> float | None:
    return round(float(value) * scale, 6) + 0.0 if np.isfinite(value) else None


def _number(value: float) -> float:
    return round(float(value), 10) + 0.0
