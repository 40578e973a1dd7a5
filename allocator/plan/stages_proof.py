"""The proof part of `plan.json` of a plan in stages: exact numbers from which a stranger follows the policy again.

Trades at every node, what names and cash grow by between nodes and to the end, every rule with its coefficients and
every set: enough to recompute holdings, costs, rules and the worst case without Allocator. There is none for nested
CVaR, whose draws are too many to write down, nor for objectives that are no utility of the final wealth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from allocator.ambiguity.pushforward import Seen, of_scenarios
from allocator.mandate.mandate import Mandate
from allocator.mandate.utility import Linear, Log, PowerUtility
from allocator.outlook.outlook import Outlook
from allocator.plan.document import ambiguity_document, entries
from allocator.plan.stages import StagedPlan
from allocator.rules import ConvexRule, LargestWeights, Participation, Rows, VolatilityLimit, WorstCaseFloor
from allocator.types import Vector

_UTILITIES = {Log: "log", PowerUtility: "crra", Linear: "return"}


def stages_proof(plan: StagedPlan) -> dict[str, Any] | None:
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


def _node(plan: StagedPlan, node: int) -> dict[str, Any]:
    policy, tree, staged = plan.followed, plan.staged.tree, plan.staged
    mandate, outlook, ambiguity = staged.mandates[node], staged.outlooks[node], staged.ambiguities[node]
    p = ambiguity.beliefs if isinstance(ambiguity, Seen) else tree.child_probabilities(node)
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
        "set": ambiguity_document(of_scenarios(ambiguity), p),
        "of": _list(p),
        "likelihoods": ambiguity.likelihoods.tolist() if isinstance(ambiguity, Seen) else [],
        "rows": _rows(mandate, outlook),
        "convex": [_convex(rule, outlook) for rule in mandate.convex_rules],
    }


def _rows(mandate: Mandate, outlook: Outlook) -> dict[str, Any]:
    """Linear rules: holdings·h + buys·b + sells·s + cash·c − wealth·W ≤ limit, of the account before or in money."""
    names = len(mandate.cost_rates)
    each: list[Rows] = [rule.rows(names).on(outlook) for rule in mandate.linear_rules]
    money = [isinstance(rule, Participation) for rule in mandate.linear_rules]

    def stacked(part: str) -> list[list[float]]:
        return entries(sp.csr_array(sp.vstack([getattr(one, part) for one in each]))) if each else []

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
