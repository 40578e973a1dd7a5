"""The proof parts of `plan.json`: exact numbers from which a stranger recomputes rules, objective and bound.

Of one period: the program's data and its multipliers. With reviews: trades at every node, what names and cash grow by
between nodes and to the end, every rule with its coefficients and every set, enough to recompute holdings, costs, rules
and the worst case without Allocator. There is none for nested CVaR, whose draws are too many to write down, nor for
objectives that are no utility of the final wealth.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias, TypedDict, cast

import numpy as np
import scipy.sparse as sp

from allocator.ambiguity.sets import NodeSetDocument, SetDocument
from allocator.mandate.return_errors import ReturnErrorDocument
from allocator.multistage.mandate import OBJECTIVES
from allocator.multistage.review_policy import FlowOfNode, ReviewPolicy, flow_of_node
from allocator.optimization.verification import DualCertificate
from allocator.outlook.outlook import Outlook
from allocator.plan.plan import Plan
from allocator.presentation import Keywords, NotNegative, Numbers, Table
from allocator.rules import ConvexRule, RuleRows, Trade
from allocator.rules.convex import ConvexDocument, ConvexRuleDual, Witness
from allocator.types import Matrix, Vector

_PROVED = [name for name, kind in OBJECTIVES.items() if kind.is_proved]
_INTEGER, _NUMBER = {"type": "integer"}, {"type": "number"}
_Entry: TypeAlias = Annotated[list[float], Keywords(prefixItems=[_INTEGER, _INTEGER, _NUMBER], minItems=3, maxItems=3)]
_Entries: TypeAlias = Annotated[list[_Entry], "(row, instrument, coefficient), zeros left out"]

_Holdings = TypedDict("_Holdings", {"holdings": Numbers, "cash": float})


class _TradeRow(_Holdings):
    bought: Numbers
    sold: Numbers


class _Rows(TypedDict):
    labels: list[str]
    holdings: _Entries
    cash: Numbers
    buys: _Entries
    sells: _Entries
    wealth: Numbers
    limit: Numbers


class _PeriodRows(_Rows):
    gains: Annotated[list[_Entry], "(row, scenario, coefficient), expectations written out"]


class _NodeRows(_Rows):
    """holdings·h + buys·b + sells·s + cash·c - wealth·W is at most limit, of the account before the trades or,
    in_money, of today's account"""

    in_money: list[bool]


class _Multipliers(TypedDict):
    rows: Numbers
    position: Numbers
    cash: float
    wealth: float
    factors: Numbers
    adversary: Numbers
    witness: Witness


class _Convex(ConvexDocument):
    price: float
    direction: Annotated[Numbers, "u, a member of the set"]
    witness: Witness


class Proof(TypedDict):
    """wealth before trading is 1; rows: holdings·h + cash·c + buys·b + sells·s + gains·r <= wealth·W + limit, r the
    gains in each scenario; null with reviews, whose proof is in policy"""

    probabilities: Numbers
    returns: Annotated[Table, "scenarios × instruments"]
    cash_returns: Numbers
    loadings: Annotated[Table, "instruments × factors"]
    specific: Numbers
    ambiguity: SetDocument
    return_weight: float
    cost_price: Annotated[float, "weight of costs in the objective"]
    value: Annotated[float, "account value, unrounded"]
    risk_aversion: float
    cost_rates: Numbers
    impact: Annotated[Numbers, "cost of trading the part z of the account in a name: impact z^1.5, beside its rate"]
    return_error: ReturnErrorDocument
    before: _Holdings
    target: _TradeRow
    after: _TradeRow
    rows: _PeriodRows
    multipliers: _Multipliers
    convex: Annotated[
        list[_Convex],
        "rules that the largest u'x over a set must keep, each with the price and the u of its tangent; x is h - "
        "against W for holdings and R (h - against W) for risk, at most limit W; the benchmark's gains less the "
        "portfolio's for worst_case, at most W - 1 - limit",
    ]


class _NodeProof(NodeSetDocument, FlowOfNode):
    parent: Annotated[int, Keywords(minimum=-1)]
    probability: float
    growth: Numbers
    cash_growth: float
    bought: Numbers
    sold: Numbers
    holdings: Numbers
    cash: float
    cost_rates: Numbers
    impact: Numbers
    beliefs: Numbers
    returns: Table
    cash_returns: Numbers
    deviation: Annotated[float, "of what is left of the horizon, over that of all of it"]
    step: Annotated[float, "part of what is left of the horizon until the next decision"]
    risk_charge: float
    rows: _NodeRows
    convex: Annotated[
        list[ConvexDocument], "rules as the largest u'x over a set; limits over what is left of the horizon"
    ]


class _Leaves(TypedDict):
    parents: list[int]
    probabilities: Numbers
    growth: Table
    cash_growth: Numbers


class PolicyProof(TypedDict):
    """what docs/verify_plan.py needs to follow the policy again, exact, in units of today's account; null where the
    objective is no utility of the final wealth"""

    utility: Annotated[str, Keywords(enum=[*_PROVED])]
    relative_risk_aversion: float | None
    path_aversion: Annotated[
        NotNegative,
        "wealth W at the end counts as W exp(-sum of path_aversion/2 x variance of what is held, as a part of wealth, "
        "from each decision on the way to the next)",
    ]
    before: _Holdings
    loadings: Table
    specific: Numbers
    objective: float
    nodes: Annotated[list[_NodeProof], Keywords(minItems=1)]
    leaves: _Leaves


def proof_document(plan: Plan) -> Proof | None:
    """Everything that `docs/verify_plan.py` needs, in fractions of the account before trading; None with reviews."""
    outlook, mandate, duals = plan.outlook, plan.mandate, plan.certificate.duals
    if duals is None:
        return None
    rows = mandate.rows
    return {
        "probabilities": _list(outlook.probabilities),
        "returns": outlook.returns.tolist(),
        "cash_returns": _list(outlook.cash_returns),
        "loadings": outlook.risk.loadings.tolist(),
        "specific": _list(outlook.risk.specific),
        "ambiguity": mandate.ambiguity.document(outlook.probabilities),
        "return_weight": mandate.return_weight,
        "cost_price": mandate.cost_price(outlook),
        "value": plan.book.value,
        "risk_aversion": mandate.risk_aversion,
        "cost_rates": _list(mandate.cost_rates),
        "impact": _list(np.zeros(len(mandate.cost_rates)) if mandate.impact is None else mandate.impact),
        "return_error": _return_error(plan, duals),
        "before": {"holdings": _list(plan.start.holdings), "cash": plan.start.cash},
        "target": _trade(plan.target),
        "after": _trade(plan.final),
        "rows": {
            **_rows(rows),
            "gains": matrix_entries(
                sp.csr_array(np.outer(rows.expected, outlook.probabilities) + _gains(rows, outlook))
            ),
        },
        "multipliers": {
            "rows": _list(duals.rows),
            "position": _list(duals.position),
            "cash": duals.cash,
            "wealth": duals.wealth,
            "factors": _list(duals.factors),
            "adversary": _list(duals.adversary),
            "witness": mandate.ambiguity.witness(duals.adversary, outlook.probabilities).tolist(),
        },
        "convex": [
            _convex(rule, slope, outlook) for rule, slope in zip(mandate.convex_rules, duals.slopes, strict=True)
        ],
    }


def _rows(rows: RuleRows) -> _Rows:
    return {
        "labels": list(rows.labels),
        "holdings": matrix_entries(rows.holdings),
        "cash": _list(rows.cash),
        "buys": matrix_entries(rows.buys),
        "sells": matrix_entries(rows.sells),
        "wealth": _list(rows.wealth),
        "limit": _list(rows.limit),
    }


def _gains(rows: RuleRows, outlook: Outlook) -> Matrix:
    return rows.gains if rows.gains.shape[1] else np.zeros((len(rows.labels), len(outlook.scenarios)))


def _return_error(plan: Plan, duals: DualCertificate) -> ReturnErrorDocument:
    """By how much returns may be wrong: deviations·h at once, what objectives of other packages charge included, and
    size times the deviation of h along `direction`, or the largest spread∘h of so many names.
    """
    error, (names, factors) = plan.mandate.return_error, plan.outlook.risk.loadings.shape
    charged = plan.mandate.linear_charge
    plain: ReturnErrorDocument = {
        "size": 0.0,
        "deviations": _list(np.zeros(names) if charged is None else charged),
        "direction": [0.0] * (factors + names),
    }
    return plain if error is None else error.document(plain, duals.error)


def _convex(rule: ConvexRule, slope: ConvexRuleDual, outlook: Outlook) -> _Convex:
    """A convex rule with its price and the lawful u of its tangent."""
    direction = np.asarray(slope.direction)
    witness = rule.witness(direction, outlook)
    return {**rule.document(outlook), "price": slope.price, "direction": _list(direction), "witness": witness}


def _trade(trade: Trade) -> _TradeRow:
    """In fractions of the account before trading."""
    before = trade.value_before
    return {
        "holdings": _list(trade.values / before),
        "cash": trade.cash / before,
        "bought": _list(trade.bought / before),
        "sold": _list(trade.sold / before),
    }


def _list(values: Vector) -> list[float]:
    return cast("list[float]", (values + 0.0).tolist())  # no negative zero


def matrix_entries(matrix: sp.csr_array) -> list[list[float]]:
    """Non-zero entries as (row, instrument, coefficient): a cap for each of 2000 names stays 2000 entries."""
    found = matrix.tocoo()
    return list(map(list, zip(*(part.tolist() for part in (*found.coords, found.data)), strict=True)))


def policy_proof_document(plan: Plan) -> PolicyProof | None:
    """Everything that `docs/verify_policy.py` needs, money in units of today's account."""
    objective = None if plan.policy is None else plan.policy.mandate.utility.proof()
    if plan.policy is None or objective is None:
        return None
    policy, tree, risk = plan.policy.followed, plan.policy.mandate.tree, plan.outlook.risk
    return {
        **objective,
        "path_aversion": plan.policy.mandate.utility.path_aversion,
        "before": {"holdings": _list(plan.start.holdings), "cash": plan.start.cash},
        "loadings": risk.loadings.tolist(),
        "specific": _list(risk.specific),
        "objective": policy.objective,
        "nodes": [_node(plan, plan.policy, node) for node in range(tree.nodes)],
        "leaves": {
            "parents": tree.leaf_parents.tolist(),
            "probabilities": _list(tree.leaf_probabilities),
            "growth": tree.leaf_growth.tolist(),
            "cash_growth": _list(tree.leaf_cash_growth),
        },
    }


def _node(plan: Plan, reviewed: ReviewPolicy, node: int) -> _NodeProof:
    policy, tree, staged = reviewed.followed, reviewed.mandate.tree, reviewed.mandate
    mandate, outlook, ambiguity = staged.mandates[node], staged.outlooks[node], staged.ambiguities[node]
    names = len(mandate.cost_rates)
    return {
        "parent": int(tree.parents[node]),
        "probability": float(tree.probabilities[node]),
        "growth": _list(tree.growth[node]),
        "cash_growth": float(tree.cash_growth[node]),
        **flow_of_node(tree, node),
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
        "step": float(staged.steps[node]),
        "risk_charge": staged.utility.charge(float(staged.steps[node])),
        **ambiguity.node_document(tree.child_probabilities(node)),
        "rows": {
            **_rows(mandate.rows.on(outlook)),
            "in_money": [rule.in_money for rule in mandate.linear_rules for _ in rule.labels],
        },
        "convex": [rule.document(outlook) for rule in mandate.convex_rules],
    }
