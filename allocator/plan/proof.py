"""The proof part of `plan.json`: exact numbers from which a stranger recomputes rules, objective and bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from allocator.ambiguity.sets import (
    Ambiguity,
    Box,
    Contamination,
    Hull,
    Known,
    KullbackLeibler,
    ModifiedChiSquared,
    Polytope,
    TotalVariation,
    Wasserstein,
    Worst,
)
from allocator.mandate.mandate import BoxError, EllipsoidError
from allocator.optimization.rule_cones import Slope
from allocator.outlook.outlook import Outlook
from allocator.plan.plan import Plan
from allocator.rules import ConvexRule, LargestWeights, Rows, Trade, VolatilityLimit, WorstCaseFloor
from allocator.types import Matrix, Vector

_SETS: dict[type, str] = {
    Known: "none",
    TotalVariation: "total_variation",
    Box: "box",
    KullbackLeibler: "kl",
    Worst: "worst",
    Contamination: "contamination",
    ModifiedChiSquared: "modified_chi2",
    Wasserstein: "wasserstein",
    Hull: "hull",
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
            "holdings": entries(rows.holdings),
            "cash": _list(rows.cash),
            "buys": entries(rows.buys),
            "sells": entries(rows.sells),
            "gains": entries(sp.csr_array(np.outer(rows.expected, outlook.probabilities) + _gains(rows, outlook))),
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


def _gains(rows: Rows, outlook: Outlook) -> Matrix:
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


def _convex(rule: ConvexRule, slope: Slope, outlook: Outlook) -> dict[str, Any]:
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
    elif isinstance(ambiguity, Hull):
        table = ambiguity.vertices(probabilities)
    elif isinstance(ambiguity, Polytope):
        table = np.hstack([ambiguity.matrix, ambiguity.limits[:, None]])
    return {"set": _SETS[type(ambiguity)], "radius": getattr(ambiguity, "radius", 0.0), "table": table.tolist()}


def _witness(ambiguity: Ambiguity, q: Vector, probabilities: Vector) -> list[Any]:
    """What shows that `q` is a member where its numbers alone do not: the transport, or the weights of the mixture."""
    if isinstance(ambiguity, Wasserstein | Hull):
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


def entries(matrix: sp.csr_array) -> list[list[float]]:
    """Non-zero entries as (row, instrument, coefficient): a cap for each of 2000 names stays 2000 entries."""
    found = matrix.tocoo()
    return [[int(i), int(j), float(v)] for i, j, v in zip(*found.coords, found.data, strict=True)]
