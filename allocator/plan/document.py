"""`plan.json`: one stable document of a plan, with everything a stranger needs to prove it again.

Weights are rounded to the 8 decimals that are stable; the numbers under `proof` are exact, so that a script of numpy
alone can recompute every rule, the objective and the bound (`docs/verify_plan.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.plan.certificate import Certificate
from allocator.plan.plan import Figures, Order, Plan
from allocator.plan.proof import proof_document
from allocator.plan.reasons import reasons_document
from allocator.rules import Reading

FORMAT = "allocator.plan/1"


def plan_document(plan: Plan) -> dict[str, Any]:
    """The plan as plain data: strings, numbers, lists and mappings. Its JSON Schema is `schemas/plan.schema.json`."""
    if not isinstance(plan, Plan):
        rule, cure = f"is a {type(plan).__name__} and not a Plan of one decision", "use weights_frame and orders_frame"
        raise BadInput([Breach("plan", None, None, None, rule, cure)])
    book = plan.book
    return {
        "format": FORMAT,
        "book": {
            "name": book.settings.book.name,
            "account": book.account,
            "as_of": book.settings.book.as_of.isoformat(),
            "currency": book.settings.book.currency,
            "value": round(book.value, 2),
            "horizon_months": round(book.settings.months, 6),
        },
        "positions": _positions(plan),
        "orders": orders_document(plan.orders),
        "worth": _worth(plan),
        "reasons": reasons_document(plan),
        "figures": {
            name: figures_document(figures)
            for name, figures in (("before", plan.before), ("target", plan.targeted), ("after", plan.after))
        },
        "scenarios": _scenarios(plan),
        "rules": rules_document(plan.readings),
        "given_way": [
            {
                "rule": one.label,
                "stated": one.stated,
                "kept": one.kept,
                "measured": round(one.measured, 8),
                "tier": one.tier,
                "kind": "at most" if one.at_most else "at least",
            }
            for one in plan.given_way
        ],
        "binding": [{"rule": rule.label, "bps_per_point": round(rule.bps_per_point, 4)} for rule in plan.binding],
        "rounding_bps": round(plan.rounding_bps, 4),
        "stability_l1": None if plan.stability is None else round(plan.stability, 6),
        "risk_source": plan.outlook.risk.source,
        "certificate": _certificate(plan),
        "proof": proof_document(plan),
    }


def _positions(plan: Plan) -> list[dict[str, Any]]:
    book, target, final = plan.book, plan.target, plan.final
    after = final.values / book.prices
    rows: list[dict[str, Any]] = [
        {
            "instrument": name,
            "quantity_before": float(book.quantities[i]),
            "quantity_after": _whole(after[i]),
            "price": float(book.prices[i]),
            "weight_before": _weight(book.weights[i]),
            "weight_target": _weight(target.weights[i]),
            "weight_after": _weight(final.weights[i]),
            "active_weight_after": _active(book, name, float(final.weights[i])),
            "no_trade_from": _weight(plan.no_trade.low[i]),
            "no_trade_to": _weight(plan.no_trade.high[i]),
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


def _worth(plan: Plan) -> dict[str, Any]:
    """What trading is worth; with the verdict "hold", what is forgone."""
    worth = plan.worth
    return {
        "gain_bps": _bps(worth.gain_bps),
        "share": worth.share,
        "lowest_bps": _bps(worth.lowest_bps),
        "median_bps": _bps(worth.median_bps),
        "highest_bps": _bps(worth.highest_bps),
        "orders": worth.orders,
        "tickets": round(worth.tickets, 2),
        "verdict": worth.verdict,
    }


def _bps(value: float | None) -> float | None:
    return None if value is None else round(value, 4) + 0.0


def _active(book: Book, instrument: str, weight: float) -> float | None:
    """The weight over the benchmark's; None without a benchmark."""
    return None if book.benchmark is None else _weight(weight - float(book.benchmark[instrument]))


def _whole(quantity: float) -> float:
    return float(f"{quantity:.12g}")


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


def rules_document(readings: Sequence[Reading]) -> list[dict[str, Any]]:
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
            "worst_case_return",
            "volatility_within",
            "volatility_between",
            "costs",
            "active_expected_return",
            "active_worst_case_return",
            "tracking_error",
        )
    }
    return named | {"buckets": {name: _weight(share) for name, share in figures.buckets.items()}}


def _scenarios(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "scenario": name,
            "probability": float(p),
            "adversary": _weight(q),
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


def _wasteless(certificate: Certificate) -> dict[str, Any] | None:
    """How near the best that burns no money the targets are, where the best on paper burns some."""
    found = certificate.wasteless
    if found is None:
        return None
    return {
        "bound": found.bound,
        "gap_bps": (certificate.objective - found.bound) * 1e4,
        "branches": found.branches,
        "burned_bps": found.burned * 1e4,
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
        "wasteless": _wasteless(certificate),
        "allowed_bps": certificate.allowed * 1e4,
        "rules_checked": certificate.rules,
        "worst_excess_target": certificate.worst_excess,
        "worst_excess_after": max(
            (reading.excess for reading in plan.readings if np.isfinite(reading.excess)), default=None
        ),
    }
