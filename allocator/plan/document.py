"""`plan.json`: one stable document of a plan, with everything a stranger needs to prove it again.

Weights are rounded to the 8 decimals that are stable; the numbers under `proof` are exact, so that a script of numpy
alone can recompute every rule, the objective and the bound (`docs/verify_plan.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from allocator.ambiguity.sets import (
    Ambiguity,
    AnyProbabilities,
    Box,
    Contamination,
    ExpertHull,
    KullbackLeibler,
    ModifiedChiSquared,
    Polytope,
    Singleton,
    TotalVariation,
    Wasserstein,
)
from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.mandate.mandate import BoxError, EllipsoidError
from allocator.optimization.rule_cones import ConvexRuleDual
from allocator.outlook.outlook import Outlook
from allocator.plan.attribution import attribution_document
from allocator.plan.certificate import Certificate
from allocator.plan.plan import Figures, Order, Plan
from allocator.rules import (
    ConvexRule,
    LargestWeights,
    RuleMeasurement,
    RuleRows,
    Trade,
    VolatilityLimit,
    WorstCaseFloor,
)
from allocator.types import Matrix, Vector

# The proof part of `plan.json`: exact numbers from which a stranger recomputes rules, objective and bound.
#
_SETS: dict[type, str] = {
    Singleton: "none",
    TotalVariation: "total_variation",
    Box: "box",
    KullbackLeibler: "kl",
    AnyProbabilities: "worst",
    Contamination: "contamination",
    ModifiedChiSquared: "modified_chi2",
    Wasserstein: "wasserstein",
    ExpertHull: "hull",
    Polytope: "polytope",
}
_SUPREMA: dict[type, str] = {VolatilityLimit: "norm", LargestWeights: "largest", WorstCaseFloor: "worst_case"}


def proof_document(plan: Plan) -> dict[str, Any]:
    """Everything that `docs/verify_plan.py` needs, in fractions of the account before trading."""
    outlook, mandate, prices = plan.outlook, plan.mandate, plan.certificate.prices
    rows = mandate.rows
    return {
        "probabilities": _list(outlook.probabilities),
        "returns": outlook.returns.tolist(),
        "cash_returns": _list(outlook.cash_returns),
        "loadings": outlook.risk.loadings.tolist(),
        "specific": _list(outlook.risk.specific),
        "ambiguity": ambiguity_document(mandate.ambiguity, outlook.probabilities),
        "return_weight": mandate.return_weight,
        "cost_price": mandate.cost_price(outlook),
        "value": plan.book.value,
        "risk_aversion": mandate.risk_aversion,
        "cost_rates": _list(mandate.cost_rates),
        "impact": _list(np.zeros(len(mandate.cost_rates)) if mandate.impact is None else mandate.impact),
        "return_error": _return_error(plan),
        "before": {"holdings": _list(plan.start.holdings), "cash": plan.start.cash},
        "target": _trade(plan.target),
        "after": _trade(plan.final),
        "rows": {
            "labels": list(rows.labels),
            "holdings": matrix_entries(rows.holdings),
            "cash": _list(rows.cash),
            "buys": matrix_entries(rows.buys),
            "sells": matrix_entries(rows.sells),
            "gains": matrix_entries(
                sp.csr_array(np.outer(rows.expected, outlook.probabilities) + _gains(rows, outlook))
            ),
            "wealth": _list(rows.wealth),
            "limit": _list(rows.limit),
        },
        "multipliers": {
            "rows": _list(prices.rows),
            "position": _list(prices.position),
            "cash": prices.cash,
            "wealth": prices.wealth,
            "factors": _list(prices.factors),
            "adversary": _list(prices.adversary),
            "witness": _witness(mandate.ambiguity, prices.adversary, outlook.probabilities),
        },
        "convex": [
            _convex(rule, slope, outlook) for rule, slope in zip(mandate.convex_rules, prices.slopes, strict=True)
        ],
    }


def _gains(rows: RuleRows, outlook: Outlook) -> Matrix:
    return rows.gains if rows.gains.shape[1] else np.zeros((len(rows.labels), len(outlook.scenarios)))


def _return_error(plan: Plan) -> dict[str, Any]:
    """By how much returns may be wrong: charge = deviations·h, what objectives of other packages charge included, and
    size times the deviation of h along `direction`.
    """
    error, (names, factors) = plan.mandate.return_error, plan.outlook.risk.loadings.shape
    charged = np.zeros(names) if plan.mandate.charges is None else plan.mandate.charges
    return {
        "size": error.size if isinstance(error, EllipsoidError) else 0.0,
        "deviations": _list(charged + (error.deviations if isinstance(error, BoxError) else 0.0)),
        "direction": _list(
            plan.certificate.prices.error if isinstance(error, EllipsoidError) else np.zeros(factors + names)
        ),
    }


def _convex(rule: ConvexRule, slope: ConvexRuleDual, outlook: Outlook) -> dict[str, Any]:
    """A convex rule as the largest u'x over a set, its price and the lawful u of its tangent; limits over the horizon.

    x is a deviation (R of what is held over `against`), the weights, or the losses below the benchmark `against`.
    """
    assert isinstance(rule, VolatilityLimit | LargestWeights | WorstCaseFloor)
    kind, limit = _SUPREMA[type(rule)], rule.limit
    set_: dict[str, Any] = {"set": "norm", "radius": 1.0, "table": []}
    against: Vector | None = None
    witness: list[Any] = []
    if isinstance(rule, VolatilityLimit):
        limit *= float(np.sqrt(outlook.years))
        against = None if rule.against is None else np.append(rule.against, 1 - rule.against.sum())
    elif isinstance(rule, LargestWeights):
        set_ = {"set": "largest", "radius": rule.count, "table": []}
    elif isinstance(rule, WorstCaseFloor):
        set_, against = ambiguity_document(rule.ambiguity, outlook.probabilities), rule.against
        witness = _witness(rule.ambiguity, np.asarray(slope.direction), outlook.probabilities)
    return {
        "label": rule.label,
        "kind": kind,
        "set": set_,
        "against": _list(np.zeros(outlook.returns.shape[1] + 1) if against is None else against),
        "limit": limit,
        "price": slope.price,
        "direction": _list(np.asarray(slope.direction)),
        "witness": witness,
    }


def ambiguity_document(ambiguity: Ambiguity, probabilities: Vector) -> dict[str, Any]:
    """The set by name, its radius, and the table that it is made of where a radius does not say it."""
    table: Matrix = np.zeros((0, len(probabilities)))
    if isinstance(ambiguity, Wasserstein):
        table = ambiguity.metric
    elif isinstance(ambiguity, ExpertHull):
        table = ambiguity.vertices(probabilities)
    elif isinstance(ambiguity, Polytope):
        table = np.hstack([ambiguity.matrix, ambiguity.limits[:, None]])
    return {"set": _SETS[type(ambiguity)], "radius": getattr(ambiguity, "radius", 0.0), "table": table.tolist()}


def _witness(ambiguity: Ambiguity, q: Vector, probabilities: Vector) -> list[Any]:
    """What shows that `q` is a member where its numbers alone do not: the transport, or the weights of the mixture."""
    if isinstance(ambiguity, Wasserstein | ExpertHull):
        found: list[Any] = ambiguity.witness(q, probabilities).tolist()
        return found
    return []


def _trade(trade: Trade) -> dict[str, Any]:
    """In fractions of the account before trading."""
    before = trade.value_before
    return {
        "holdings": _list(trade.values / before),
        "cash": trade.cash / before,
        "bought": _list(trade.bought / before),
        "sold": _list(trade.sold / before),
    }


def _list(values: Vector) -> list[float]:
    return [float(value) for value in values]


def matrix_entries(matrix: sp.csr_array) -> list[list[float]]:
    """Non-zero entries as (row, instrument, coefficient): a cap for each of 2000 names stays 2000 entries."""
    found = matrix.tocoo()
    return [[int(i), int(j), float(v)] for i, j, v in zip(*found.coords, found.data, strict=True)]


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
        "reasons": attribution_document(plan),
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
