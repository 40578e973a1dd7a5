"""`plan.json`: one stable document of a plan, with everything a stranger needs to prove it again.

Weights are rounded to the 8 decimals that are stable; the numbers under `proof` are exact, so that a script of numpy
alone can recompute every rule, the objective and the bound (`docs/verify_plan.py`; with reviews
`docs/verify_policy.py`). With reviews the policy stands in it node by node, so that a later run can be held against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.multistage.mandate import objective_label
from allocator.multistage.review_policy import ReviewPolicy
from allocator.multistage.value_of_waiting import CautionScheduleRow
from allocator.plan.attribution import attribution_document
from allocator.plan.certificate import Certificate
from allocator.plan.follow import PolicyDeviation, input_fingerprints
from allocator.plan.plan import Figures, Order, Plan
from allocator.plan.proof import policy_proof_document, proof_document
from allocator.plan.runs import PLAN_FORMAT
from allocator.rules import RuleMeasurement
from allocator.types import Vector


def plan_document(plan: Plan, deviation: PolicyDeviation | None = None) -> dict[str, Any]:
    """The plan as plain data, and how far it follows an earlier one where it was held against one.

    Strings, numbers, lists and mappings. Its JSON Schema is `schemas/plan.schema.json`.
    """
    if not isinstance(plan, Plan):
        rule, cure = f"is a {type(plan).__name__} and not a Plan", "give what allocator.rebalance(book) returns"
        raise BadInput([Breach("plan", None, None, None, rule, cure)])
    return {
        "format": PLAN_FORMAT,
        "book": _book(plan),
        "objective": _objective(plan),
        "positions": _positions(plan),
        "orders": orders_document(plan.orders),
        "decision": _decision(plan),
        "attribution": None if plan.duals is None else attribution_document(plan),
        "figures": {
            name: figures_document(figures)
            for name, figures in (("before", plan.before), ("target", plan.targeted), ("after", plan.after))
        },
        "scenarios": _scenarios(plan),
        "rules": rules_document(plan.measurements),
        "relaxed": [
            {
                "rule": one.label,
                "stated": one.stated,
                "kept": one.kept,
                "measured": round(one.measured, 8),
                "priority": one.tier,
                "kind": "at most" if one.at_most else "at least",
            }
            for one in plan.relaxed
        ],
        "shadow_prices": [{"rule": rule.label, "bps_per_point": round(rule.bps_per_point, 4)} for rule in plan.binding],
        "rounding_bps": round(plan.rounding_bps, 4),
        "stability_l1": None if plan.stability is None else round(plan.stability, 6),
        "risk_source": plan.outlook.risk.source,
        "policy": None if plan.policy is None else _policy(plan, plan.policy),
        "followed": None if deviation is None else _deviation(deviation),
        "fingerprints": input_fingerprints(plan.book),
        "certificate": _certificate(plan),
        "proof": proof_document(plan),
    }


def _book(plan: Plan) -> dict[str, Any]:
    settings = plan.book.settings
    return {
        "name": settings.book.name,
        "account": plan.book.account,
        "as_of": settings.book.as_of.isoformat(),
        "currency": settings.book.currency,
        "value": round(plan.book.value, 2),
        "until": None if settings.horizon.until is None else settings.horizon.until.isoformat(),
        "horizon_months": round(settings.months, 6),
        "announcement_share": settings.horizon.announcement_share,
    }


def _objective(plan: Plan) -> dict[str, Any]:
    """What is maximised; only `time_consistent` objectives have a policy that a later run can follow."""
    kind = plan.book.settings.mandate.objective
    if plan.policy is None:
        return {"kind": kind, "label": kind.replace("_", " "), "time_consistent": True}
    return {
        "kind": kind,
        "label": objective_label(plan.policy.mandate),
        "time_consistent": not plan.policy.mandate.at_leaves,
    }


def _positions(plan: Plan) -> list[dict[str, Any]]:
    book, target, final = plan.book, plan.target, plan.final
    traded = {order.instrument: order for order in plan.orders}
    rows: list[dict[str, Any]] = [
        {
            "instrument": name,
            "quantity_before": float(book.quantities[i]),
            "quantity_after": _quantity_after(float(book.quantities[i]), traded.get(name)),
            "price": float(book.prices[i]),
            "weight_before": _weight(book.weights[i]),
            "weight_target": _weight(target.weights[i]),
            "weight_after": _weight(final.weights[i]),
            "active_weight_after": _active(book, name, float(final.weights[i])),
            "no_trade_from": None if plan.no_trade is None else _weight(plan.no_trade.low[i]),
            "no_trade_to": None if plan.no_trade is None else _weight(plan.no_trade.high[i]),
        }
        for i, name in enumerate(book.instruments)
    ]
    return [
        *rows,
        {
            "instrument": book.cash_instrument,
            "quantity_before": round(book.cash, 2),
            "quantity_after": round(final.cash, 2),
            "price": 1.0,
            "weight_before": _weight(book.cash / book.value),
            "weight_target": _weight(target.cash / target.value),
            "weight_after": _weight(final.cash / final.value),
            "active_weight_after": _active(book, book.cash_instrument, final.cash / final.value),
            "no_trade_from": None,
            "no_trade_to": None,
        },
    ]


def _decision(plan: Plan) -> dict[str, Any]:
    """What trading changes the objective by; with the verdict "no trade", what is forgone."""
    decision = plan.decision
    return {
        "verdict": decision.verdict,
        "gain_bps": _bps(decision.gain_bps),
        "positive_share": decision.share,
        "lowest_bps": _bps(decision.lowest_bps),
        "median_bps": _bps(decision.median_bps),
        "highest_bps": _bps(decision.highest_bps),
        "orders": decision.orders,
        "tickets": round(decision.tickets, 2),
    }


def _bps(value: float | None) -> float | None:
    return None if value is None else round(value, 4) + 0.0


def _active(book: Book, instrument: str, weight: float) -> float | None:
    """The weight over the benchmark's; None without a benchmark."""
    return None if book.benchmark is None else _weight(weight - float(book.benchmark[instrument]))


def _quantity_after(held: float, order: Order | None) -> float:
    """What is held after an order, as decimals add up."""
    if order is None:
        return held
    sign = -1 if order.side == "sell" else 1
    return float(Decimal(repr(held)) + sign * Decimal(repr(order.quantity)))


def _weight(weight: float) -> float:
    return round(float(weight), 8) + 0.0


def orders_document(orders: Sequence[Order]) -> list[dict[str, Any]]:
    """Orders, money in cents."""
    return [
        {
            "side": order.side,
            "instrument": order.instrument,
            "quantity": order.quantity,
            "price": order.price,
            "value": round(order.value, 2),
            "cost": round(order.cost, 2),
        }
        for order in orders
    ]


def rules_document(readings: Sequence[RuleMeasurement]) -> list[dict[str, Any]]:
    """Every rule measured, null where that is no number."""
    return [
        {
            "rule": reading.label,
            "measured": round(reading.measured, 8) if np.isfinite(reading.measured) else None,
            "limit": reading.limit,
            "kind": "at most" if reading.at_most else "at least",
        }
        for reading in readings
    ]


def figures_document(figures: Figures) -> dict[str, Any]:
    """One portfolio's figures, rounded to the decimals that are stable."""
    named: dict[str, Any] = {
        name: None if (value := getattr(figures, name)) is None else _weight(value)
        for name in (
            "expected_return",
            "adverse_expected_return",
            "volatility",
            "volatility_within",
            "volatility_between",
            "expected_shortfall",
            "costs",
            "active_expected_return",
            "active_adverse_expected_return",
            "tracking_error",
        )
    }
    return named | {"buckets": {name: _weight(share) for name, share in figures.buckets.items()}}


def _scenarios(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "scenario": name,
            "probability": float(p),
            "adverse_probability": _weight(q),
            "return_before": _weight(before),
            "return_target": _weight(target),
            "return_after": _weight(after),
        }
        for name, p, q, before, target, after in zip(
            plan.outlook.scenarios,
            plan.outlook.probabilities,
            plan.adversary,
            plan.before.scenario_returns,
            plan.targeted.scenario_returns,
            plan.after.scenario_returns,
            strict=True,
        )
    ]


def _round_trips(certificate: Certificate) -> dict[str, Any] | None:
    """How near the best without round trips the targets are, where the best on paper buys and sells a name at once."""
    found = certificate.round_trips
    if found is None:
        return None
    return {
        "bound": found.bound,
        "gap_bps": (certificate.objective - found.bound) * 1e4,
        "branches": found.branches,
        "gain_on_paper_bps": found.gain_on_paper * 1e4,
    }


def _certificate(plan: Plan) -> dict[str, Any]:
    certificate = plan.certificate
    return {
        "solver": certificate.solver,
        "attempts": list(certificate.attempts),
        "canonical": {
            "primal": certificate.canonical.primal,
            "dual": certificate.canonical.dual,
            "gap": certificate.canonical.gap,
        },
        "objective": certificate.objective,
        "bound": certificate.bound,
        "gap_bps": certificate.gap * 1e4,
        "allowed_bps": certificate.allowed * 1e4,
        "round_trips": _round_trips(certificate),
        "decisions": certificate.decisions,
        "outcomes": certificate.outcomes,
        "rules_checked": certificate.rules,
        "largest_violation_target": certificate.largest_violation,
        "largest_violation_after": max(
            (reading.excess for reading in plan.measurements if np.isfinite(reading.excess)), default=None
        ),
    }


def _policy(plan: Plan, policy: ReviewPolicy) -> dict[str, Any]:
    """The policy that is followed, what is believed and what prices are at each node, and how caution is released."""
    return {
        "certainty_equivalent_with_lots": round(policy.with_lots.equivalent, 8),
        "certainty_equivalent_of_holding": None if policy.holding is None else round(policy.holding.equivalent, 8),
        "nodes": _nodes(plan, policy),
        "caution_schedule": [_schedule_row(one) for one in policy.caution_schedule],
        "proof": policy_proof_document(plan),
    }


def _nodes(plan: Plan, policy: ReviewPolicy) -> list[dict[str, Any]]:
    """Each decision node: (N,) by instrument, weights as fractions of the account there."""
    followed, tree = policy.followed, policy.mandate.tree
    growth, cash_growth = tree.since_now()

    def by_name(values: Vector) -> dict[str, float]:
        return {name: round(float(value), 8) for name, value in zip(plan.book.instruments, values, strict=True)}

    return [
        {
            "node": tree.names[node],
            "kind": tree.kinds[node],
            "date": tree.dates[node].isoformat(),
            "parent": int(tree.parents[node]),
            "beliefs": dict(zip(plan.outlook.scenarios, map(float, tree.beliefs[node]), strict=True)),
            "prices": by_name(growth[node]),
            "cash_growth": round(float(cash_growth[node]), 8),
            "account": round(float(followed.wealth_before[node]), 8),
            "before": by_name(followed.before[node] / followed.wealth_before[node]),
            "after": by_name(followed.holdings[node] / followed.wealth[node]),
        }
        for node in range(tree.nodes)
    ]


def _schedule_row(one: CautionScheduleRow) -> dict[str, Any]:
    return {
        "node": one.name,
        "kind": one.kind,
        "date": one.date.isoformat(),
        "probability": round(one.probability, 8),
        "generalizable": None if one.generalizable is None else round(one.generalizable, 8),
        "settled": one.settled,
        "radius": None if one.radius is None else round(one.radius, 8),
        "cost_of_robustness_bps": None if one.caution_bps is None else round(one.caution_bps, 2),
        "shares": {name: round(share, 6) for name, share in one.shares.items()} | {"cash": round(one.cash, 6)},
        "trades": {move.instrument: round(move.part, 6) for move in one.moves},
    }


def _deviation(found: PolicyDeviation) -> dict[str, Any]:
    return {
        "node": found.node,
        "between_reviews": found.between_reviews,
        "distance": round(found.distance, 8),
        "follows": found.follows,
        "differences": {name: round(apart, 8) for name, apart in found.differences},
        "causes": list(found.causes),
    }
