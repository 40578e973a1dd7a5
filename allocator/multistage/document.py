"""`plan.json` of a plan in stages: today's orders, the policy that they begin, and how it lets go of its caution.

The policy stands in it node by node, with what is believed and what prices are there, so that a later run can be held
against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from allocator.ambiguity.pushforward import Pushforward, scenario_set
from allocator.mandate.mandate import Mandate
from allocator.multistage.follow import FORMAT, PolicyDeviation, input_fingerprints
from allocator.multistage.objectives import LinearUtility, LogUtility, PowerUtility
from allocator.multistage.plan import MultistagePlan, objective_label
from allocator.multistage.value_of_waiting import CautionScheduleRow
from allocator.outlook.outlook import Outlook
from allocator.plan.document import (
    ambiguity_document,
    figures_document,
    matrix_entries,
    orders_document,
    rules_document,
)
from allocator.rules import ConvexRule, LargestWeights, Participation, RuleRows, VolatilityLimit, WorstCaseFloor
from allocator.types import Vector

# The proof part of `plan.json` of a plan in stages: exact numbers from which a stranger follows the policy again.
#
# Trades at every node, what names and cash grow by between nodes and to the end, every rule with its coefficients and
# every set: enough to recompute holdings, costs, rules and the worst case without Allocator. There is none for nested
# CVaR, whose draws are too many to write down, nor for objectives that are no utility of the final wealth.
#
_UTILITIES = {LogUtility: "log", PowerUtility: "crra", LinearUtility: "return"}


def multistage_proof_document(plan: MultistagePlan) -> dict[str, Any] | None:
    """Everything that `docs/verify_stages.py` needs, money in units of today's account."""
    policy, tree, utility = plan.followed, plan.staged.tree, plan.staged.utility
    if type(utility) not in _UTILITIES:
        return None
    risk = plan.outlook.risk
    return {
        "utility": _UTILITIES[type(utility)],
        "relative_risk_aversion": utility.aversion if isinstance(utility, PowerUtility) else None,
        "before": {"holdings": _list(plan.start.holdings), "cash": plan.start.cash},
        "loadings": risk.loadings.tolist(),
        "specific": _list(risk.specific),
        "objective": policy.objective,
        "nodes": [_node(plan, node) for node in range(tree.nodes)],
        "leaves": {
            "parents": tree.leaf_parents.tolist(),
            "probabilities": _list(tree.leaf_probabilities),
            "growth": tree.leaf_growth.tolist(),
            "cash_growth": _list(tree.leaf_cash_growth),
        },
    }


def _node(plan: MultistagePlan, node: int) -> dict[str, Any]:
    policy, tree, staged = plan.followed, plan.staged.tree, plan.staged
    mandate, outlook, ambiguity = staged.mandates[node], staged.outlooks[node], staged.ambiguities[node]
    p = ambiguity.beliefs if isinstance(ambiguity, Pushforward) else tree.child_probabilities(node)
    names = len(mandate.cost_rates)
    return {
        "parent": int(tree.parents[node]),
        "probability": float(tree.probabilities[node]),
        "growth": _list(tree.growth[node]),
        "cash_growth": float(tree.cash_growth[node]),
        "bought": _list(policy.bought[node]),
        "sold": _list(policy.sold[node]),
        "holdings": _list(policy.holdings[node]),
        "cash": float(policy.cash[node]),
        "cost_rates": _list(mandate.cost_rates),
        "impact": _list(np.zeros(names) if mandate.impact is None else mandate.impact),
        "beliefs": _list(outlook.probabilities),
        "returns": outlook.returns.tolist(),
        "cash_returns": _list(outlook.cash_returns),
        "deviation": float(np.sqrt(outlook.years / plan.outlook.years)),
        "risk_charge": staged.charge(node),
        "set": ambiguity_document(scenario_set(ambiguity), p),
        "of": _list(p),
        "likelihoods": ambiguity.likelihoods.tolist() if isinstance(ambiguity, Pushforward) else [],
        "rows": _rows(mandate, outlook),
        "convex": [_convex(rule, outlook) for rule in mandate.convex_rules],
    }


def _rows(mandate: Mandate, outlook: Outlook) -> dict[str, Any]:
    """Linear rules: holdings·h + buys·b + sells·s + cash·c − wealth·W ≤ limit, of the account before or in money."""
    names = len(mandate.cost_rates)
    each: list[RuleRows] = [rule.rows(names).on(outlook) for rule in mandate.linear_rules]
    money = [isinstance(rule, Participation) for rule in mandate.linear_rules]

    def stacked(part: str) -> list[list[float]]:
        return matrix_entries(sp.csr_array(sp.vstack([getattr(one, part) for one in each]))) if each else []

    return {
        "labels": [label for one in each for label in one.labels],
        "holdings": stacked("holdings"),
        "buys": stacked("buys"),
        "sells": stacked("sells"),
        "cash": [float(x) for one in each for x in one.cash],
        "wealth": [float(x) for one in each for x in one.wealth],
        "limit": [float(x) for one in each for x in one.limit],
        "in_money": [is_money for one, is_money in zip(each, money, strict=True) for _ in one.labels],
    }


def _convex(rule: ConvexRule, outlook: Outlook) -> dict[str, Any]:
    """A convex rule as the largest u'x over a set; limits over what is left of the horizon."""
    assert isinstance(rule, VolatilityLimit | LargestWeights | WorstCaseFloor)
    kinds: dict[type, str] = {VolatilityLimit: "norm", LargestWeights: "largest", WorstCaseFloor: "worst_case"}
    limit = rule.limit
    set_: dict[str, Any] = {"set": "norm", "radius": 1.0, "table": []}
    against: Vector | None = None
    if isinstance(rule, VolatilityLimit):
        limit *= float(np.sqrt(outlook.years))
        against = None if rule.against is None else np.append(rule.against, 1 - rule.against.sum())
    elif isinstance(rule, LargestWeights):
        set_ = {"set": "largest", "radius": rule.count, "table": []}
    else:
        set_, against = ambiguity_document(rule.ambiguity, outlook.probabilities), rule.against
    return {
        "label": rule.label,
        "kind": kinds[type(rule)],
        "set": set_,
        "against": _list(np.zeros(outlook.returns.shape[1] + 1) if against is None else against),
        "limit": limit,
    }


def _list(values: Vector) -> list[float]:
    return [float(value) for value in values]


def multistage_document(
    plan: MultistagePlan, release: Sequence[CautionScheduleRow], departure: PolicyDeviation | None = None
) -> dict[str, Any]:
    """The plan as plain data, and how it follows an earlier one where it was held against one.

    Its JSON Schema is `schemas/stages.schema.json`.
    """
    book = plan.book
    return {
        "format": FORMAT,
        "book": {
            "name": book.settings.book.name,
            "account": book.account,
            "as_of": book.settings.book.as_of.isoformat(),
            "currency": book.settings.book.currency,
            "value": round(book.value, 2),
            "until": None if book.settings.horizon.until is None else book.settings.horizon.until.isoformat(),
            "horizon_months": round(book.settings.months, 6),
            "announcement_share": book.settings.horizon.announcement_share,
        },
        "objective": {
            "kind": book.settings.mandate.objective,
            "label": objective_label(plan.staged),
            "time_consistent": not plan.staged.at_leaves,
        },
        "release": [_release(one) for one in release],
        "orders": orders_document(plan.orders),
        "positions": _positions(plan),
        "worth": {
            "verdict": plan.verdict,
            "gain_bps": None if plan.gain_bps is None else round(plan.gain_bps, 4),
            "orders": len(plan.weighed_orders),
            "tickets": plan.tickets,
            "equivalent": round(plan.with_lots.equivalent, 8),
            "holding_equivalent": None if plan.holding is None else round(plan.holding.equivalent, 8),
            "rounding_bps": round(plan.rounding_bps, 4),
        },
        "figures": {"before": figures_document(plan.before), "after": figures_document(plan.after)},
        "rules": rules_document(plan.readings),
        "policy": _policy(plan),
        "announced": None if departure is None else _departure(departure),
        "fingerprints": input_fingerprints(book),
        "certificate": {
            "solver": plan.policy.solver,
            "attempts": list(plan.policy.attempts),
            "decisions": plan.staged.tree.nodes,
            "outcomes": plan.staged.tree.leaves,
            "objective": plan.policy.objective,
            "gap": plan.policy.gap,
            "primal": plan.policy.canonical.primal,
            "dual": plan.policy.canonical.dual,
        },
        "proof": multistage_proof_document(plan),
    }


def _release(one: CautionScheduleRow) -> dict[str, Any]:
    return {
        "node": one.name,
        "kind": one.kind,
        "date": one.date.isoformat(),
        "probability": round(one.probability, 8),
        "generalizable": None if one.generalizable is None else round(one.generalizable, 8),
        "settled": one.settled,
        "radius": None if one.radius is None else round(one.radius, 8),
        "caution_bps": None if one.caution_bps is None else round(one.caution_bps, 2),
        "shares": {name: round(share, 6) for name, share in one.shares.items()} | {"cash": round(one.cash, 6)},
        "trades": {move.instrument: round(move.part, 6) for move in one.moves},
    }


def _departure(found: PolicyDeviation) -> dict[str, Any]:
    return {
        "node": found.node,
        "between_reviews": found.between_reviews,
        "distance": round(found.distance, 8),
        "follows": found.follows,
        "differences": {name: round(apart, 8) for name, apart in found.differences},
        "causes": list(found.causes),
    }


def _positions(plan: MultistagePlan) -> list[dict[str, Any]]:
    names = [*plan.book.instruments, plan.book.cash_instrument]
    columns = {
        "before": np.append(plan.start.holdings, plan.start.cash),
        "target": np.append(plan.target.values, plan.target.cash) / plan.target.value,
        "after": np.append(plan.final.values, plan.final.cash) / plan.final.value,
    }
    prices = np.append(plan.book.prices, 1.0)
    return [
        {"instrument": name, "price": float(prices[i])}
        | {key: round(float(values[i]), 8) for key, values in columns.items()}
        for i, name in enumerate(names)
    ]


def _policy(plan: MultistagePlan) -> list[dict[str, Any]]:
    """Each decision node of the policy that is followed: (N,) by instrument, weights as parts of the account there."""
    policy, tree = plan.followed, plan.staged.tree
    growth, cash_growth = tree.since_now()
    names = plan.book.instruments

    def by_name(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
        return {name: round(float(value), 8) for name, value in zip(names, values, strict=True)}

    return [
        {
            "node": tree.names[node],
            "kind": tree.kinds[node],
            "date": tree.dates[node].isoformat(),
            "parent": int(tree.parents[node]),
            "beliefs": dict(zip(plan.outlook.scenarios, map(float, tree.beliefs[node]), strict=True)),
            "prices": by_name(growth[node]),
            "cash_growth": round(float(cash_growth[node]), 8),
            "account": round(float(policy.wealth_before[node]), 8),
            "before": by_name(policy.before[node] / policy.wealth_before[node]),
            "after": by_name(policy.holdings[node] / policy.wealth[node]),
        }
        for node in range(tree.nodes)
    ]
