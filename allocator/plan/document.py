"""`plan.json`: one stable document of a plan, with everything a stranger needs to prove it again.

Weights are rounded to the 8 decimals that are stable; the numbers under `proof` are exact, so that a script of numpy
alone can recompute every rule, the objective and the bound (`docs/verify_plan.py`; with reviews
`docs/verify_policy.py`). With reviews the policy stands in it node by node, so that a later run can be held against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, NotRequired, TypeAlias, TypedDict, cast

import numpy as np

from allocator.ambiguity.product import AxisShare
from allocator.book.defaults import ClassificationRows
from allocator.errors import BadInput, Breach
from allocator.mandate.mandate import no_trade
from allocator.multistage.review_policy import CautionScheduleRow, NodeRow, ReviewPolicy
from allocator.outlook.views import ViewsDocument
from allocator.plan.attribution import AttributionDocument, attribution_document
from allocator.plan.certificate import CertificateRow
from allocator.plan.follow import PolicyDeviation, input_fingerprints
from allocator.plan.plan import FIGURES, Figures, Order, Plan
from allocator.plan.proof import PolicyProof, Proof, policy_proof_document, proof_document
from allocator.plan.risk_figures import RisksDocument, risks_document
from allocator.plan.runs import PLAN_FORMAT
from allocator.plan.trade_decision import TradeValue, Turn
from allocator.presentation import (
    Keywords,
    LimitKind,
    LimitState,
    NotNegative,
    OutlookHeading,
    Row,
    document_of,
    stable_list,
)
from allocator.rules import RuleMeasurement

Weight: TypeAlias = Annotated[float, "fraction of the account's value"]


class _PlanObjective(TypedDict):
    """what is minimised, largest over the probabilities of the set"""

    kind: Annotated[str, "mandate.objective"]
    label: Annotated[str, "what it is called on this tree: nested CVaR, say"]
    time_consistent: Annotated[
        bool,
        "whether solving again at a review, with what it knows and holds, decides what stands in policy; false for "
        "regret at the leaves",
    ]


class _PositionRow(TypedDict):
    instrument: str
    quantity_before: float
    quantity_after: float
    price: Annotated[float, "in the book's currency"]
    weight_before: Weight
    weight_target: Annotated[float, "before rounding to lots"]
    weight_after: Annotated[float, "whole lots, of the account's value after costs"]
    active_weight_after: Annotated[float | None, "weight after over the benchmark's; null without one"]
    no_trade_from: Annotated[
        float | None,
        "the lowest weight from which trading this name alone is not worth its cost, on the scale of weight_target; "
        "null for cash",
    ]
    no_trade_to: Annotated[float | None, "the highest such weight"]


_SCENARIO: tuple[tuple[Any, ...], ...] = (
    ("scenario", str), ("probability", float), ("adverse_probability", float, "at the targets"),
    *((f"return_{when}", float) for when in ("before", "target", "after")),
)  # fmt: skip


class RuleRow(TypedDict):
    """A rule measured."""

    rule: str
    measured: Annotated[float | None, "on the final whole lots; null where it is infinite"]
    limit: float
    kind: LimitKind
    use: Annotated[NotNegative | None, "of the limit: 1 at it, more beyond; null of a limit of 0"]
    state: Annotated[LimitState, "amber from 90% of the limit"]


class _RelaxedRow(TypedDict):
    rule: Annotated[str, "as stated"]
    stated: Annotated[float, "the limit as stated"]
    kept: Annotated[float, "the limit kept instead"]
    measured: Annotated[float, "on the final whole lots"]
    priority: Annotated[int, "1 is relaxed last, 9 first"]
    kind: LimitKind


class _ShadowPrice(TypedDict):
    rule: str
    bps_per_point: Annotated[float, "what one percentage point more of this limit earns, in bps of the account"]


class LookAgainDocument(TypedDict):
    """when to look again: what turns an order, or begins one"""

    belief: Annotated[str | None, "whose probability is moved: the first answer, or the likeliest scenario"]
    today: Annotated[float | None, "its probability"]
    price: Annotated[Row, Turn] | None
    probability: Annotated[Row, Turn] | None
    every: Annotated[list[Annotated[Row, Turn]], "of every name that is traded or held"]


class _PolicyRows(TypedDict):
    """what is done at each review, with reviews or an objective of the tree of decisions; else null"""

    certainty_equivalent_with_lots: Annotated[
        float, "of the policy that begins with the lots that were weighed, less the cash that comes on the way"
    ]
    certainty_equivalent_of_holding: Annotated[float | None, "of the policy that holds until the first review"]
    nodes: Annotated[
        list[NodeRow], Keywords(minItems=1), "what to hold at every node, decisions after the ones that they follow"
    ]
    caution_schedule: Annotated[
        list[Annotated[Row, CautionScheduleRow]],
        Keywords(minItems=1),
        "what is believed, guarded against and decided, node by node, in the order of the policy",
    ]
    proof: PolicyProof | None


_KEYS = tuple((one.name, float | None if one.optional else float, one.note) for one in FIGURES if one.note)
_BUCKETS = ("buckets", dict[str, Weight], "share of the account by bucket; a name may count in several")
_SPLITS = (
    "splits",
    dict[str, Weight],
    "of the account by what the model tells apart beside the buckets, if there is one",
)
_Figures: TypeAlias = Annotated[Row, (*_KEYS, _BUCKETS, _SPLITS)]


_Followed: TypeAlias = Annotated[Row, PolicyDeviation]


class PlanDocument(TypedDict):
    """What `allocator rebalance` decides, and the proof. Weights have 8 stable decimals; numbers under `proof` are
    exact."""

    format: Literal["allocator.plan/2"]
    book: OutlookHeading
    objective: _PlanObjective
    positions: Annotated[list[_PositionRow], "every instrument and, last, cash"]
    orders: Annotated[list[Annotated[Row, Order]], "sells before buys"]
    decision: Annotated[
        Row,
        TradeValue,
        "what trading changes the objective (certainty equivalent) by, against no trade, in bps of the account after "
        "costs and tickets; with the verdict no trade, what is forgone",
    ]
    attribution: AttributionDocument | None
    figures: Annotated[dict[str, _Figures], ("before", "target", "after")]
    risk: RisksDocument
    axes: Annotated[
        dict[str, Annotated[Row, AxisShare]] | None,
        "where the set is of two axes, answer and regime: what adverse probabilities of each take of the expected "
        "return (with reviews, of the certainty equivalent), and what guarding against it costs if the belief is "
        "right, in bps of the account; null where it is over all scenarios",
    ]
    scenarios: list[Annotated[Row, _SCENARIO]]
    rules: list[RuleRow]
    relaxed: Annotated[list[_RelaxedRow], "rules with a priority that could not be kept"]
    shadow_prices: list[_ShadowPrice]
    rounding_bps: Annotated[float, "objective lost to whole lots"]
    risk_source: str
    look_again: Annotated[
        LookAgainDocument | None,
        "the nearest move of one price and of the belief that turn an order; the targets were solved again there and a "
        "step before, a thousandth of the price and a point of probability; in the answer to --json --full "
        "alone, as it takes many solves; null with reviews, and where no order is recommended",
    ]
    policy: _PolicyRows | None
    followed: Annotated[_Followed | None, "how it follows the policy of an earlier plan.json; null without --follow"]
    fingerprints: Annotated[
        dict[str, Annotated[str, Keywords(pattern="^[0-9a-f]{16}$")]],
        Keywords(minProperties=1),
        "what was written in the book by section, and exposures: equal where nothing was changed",
    ]
    certificate: CertificateRow
    proof: Proof | None
    views: NotRequired[Annotated[ViewsDocument, "what [views] did to the probabilities; absent without any"]]
    classification: NotRequired[ClassificationRows]
    stability_l1: NotRequired[
        Annotated[
            float | None,
            "with --full: largest L1 change of target weights when one probability, of the four largest, moves by 2 "
            "points; null where such a move is infeasible",
        ]
    ]
    orders_sha256: NotRequired[
        Annotated[
            str,
            Keywords(pattern="^[0-9a-f]{64}$"),
            "where files are written: the digest of the bytes of orders.csv beside it; each order there names, as "
            "plan_sha256, that of this file with 64 zeros in this place",
        ]
    ]


def plan_document(plan: Plan, deviation: PolicyDeviation | None = None, *, full: bool = False) -> PlanDocument:
    """The plan as plain data, and how far it follows an earlier one where it was held against one; `full` with what
    takes further solves.
    """
    if not isinstance(plan, Plan):
        rule, cure = f"is a {type(plan).__name__} and not a Plan", "give what allocator.rebalance(book) returns"
        raise BadInput([Breach("plan", None, None, None, rule, cure)])
    document: PlanDocument = {
        "format": PLAN_FORMAT,
        "book": plan.book.outlook_heading(),
        "objective": _objective(plan),
        "positions": positions_document(plan),
        "orders": list(map(document_of, plan.orders)),
        "decision": document_of(plan.decision),
        "attribution": None if plan.duals is None else attribution_document(plan),
        "figures": {
            name: figures_document(figures)
            for name, figures in (("before", plan.before), ("target", plan.targeted), ("after", plan.after))
        },
        "risk": risks_document(plan.risk),
        "axes": {name: document_of(share) for name, share in plan.axes.items()} or None,
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
        "risk_source": plan.outlook.risk.source,
        "look_again": None,
        "policy": None if plan.policy is None else _policy(plan, plan.policy),
        "followed": None if deviation is None else document_of(deviation),
        "fingerprints": input_fingerprints(plan.book),
        "certificate": plan.certificate.document(plan.measurements, plan.lots_gap_bps, plan.names),
        "proof": proof_document(plan),
    }
    if full:
        document["stability_l1"] = None if plan.stability is None else round(plan.stability, 6)
    if plan.outlook.views is not None:
        document["views"] = plan.outlook.views.document()
    if (said := plan.book.classification.document()) is not None:
        document["classification"] = said
    return document


def look_again_document(plan: Plan) -> LookAgainDocument | None:
    """The nearest moves, and those of every name."""
    if plan.look_again is None:
        return None
    belief, (price, probability) = plan.look_again.belief, plan.nearest_turns
    return {
        "belief": None if belief is None else belief.name,
        "today": None if belief is None else round(belief.today, 8),
        "price": None if price is None else document_of(price),
        "probability": None if probability is None else document_of(probability),
        "every": list(map(document_of, plan.turns)),
    }


def _objective(plan: Plan) -> _PlanObjective:
    """What is maximised; only `time_consistent` objectives have a policy that a later run can follow."""
    kind = plan.book.settings.mandate.objective
    if plan.policy is None:
        return {"kind": kind, "label": kind.replace("_", " "), "time_consistent": True}
    return {
        "kind": kind,
        "label": plan.policy.mandate.words.label,
        "time_consistent": not plan.policy.mandate.at_leaves,
    }


def positions_document(plan: Plan) -> list[_PositionRow]:
    """Every instrument and, last, cash: what is held, at what price, and the weights before, wanted and after."""
    book, benchmark, traded = plan.book, plan.book.benchmark, {order.instrument: order for order in plan.orders}
    names, nothing = (*book.instruments, book.cash_instrument), [None] * len(book.instruments)
    quantities, prices = book.quantities.tolist(), book.prices.tolist()
    weights = (stable_list(trade.all_weights) for trade in (no_trade(book), plan.target, plan.final))
    active = [*nothing, None] if benchmark is None else stable_list(plan.final.all_weights - np.asarray(benchmark))
    region = plan.no_trade
    low, high = (nothing, nothing) if region is None else map(stable_list, (region.low, region.high))
    columns = zip(
        names,
        [*quantities, round(book.cash, 2)],
        [*map(_quantity_after, quantities, map(traded.get, book.instruments)), round(plan.final.cash, 2)],
        [*prices, 1.0],
        *weights,
        active,
        [*low, None],
        [*high, None],
        strict=True,
    )
    return [cast("_PositionRow", dict(zip(_PositionRow.__annotations__, row, strict=True))) for row in columns]


def _quantity_after(held: float, order: Order | None) -> float:
    """What is held after an order, as decimals add up."""
    if order is None:
        return held
    sign = -1 if order.side == "sell" else 1
    return float(Decimal(repr(held)) + sign * Decimal(repr(order.quantity)))


def _weight(weight: float) -> float:
    return round(float(weight), 8) + 0.0


def rules_document(readings: Sequence[RuleMeasurement]) -> list[RuleRow]:
    """Every rule measured, null where that is no number."""
    return [
        {
            "rule": reading.label,
            "measured": round(reading.measured, 8) if np.isfinite(reading.measured) else None,
            "limit": reading.limit,
            "kind": reading.kind,
            "use": None if reading.use is None else round(reading.use, 8),
            "state": reading.state,
        }
        for reading in readings
    ]


def figures_document(figures: Figures) -> Row:
    """One portfolio's figures, rounded to the decimals that are stable."""
    named = {one.name: getattr(figures, one.name) for one in FIGURES if one.note}
    rounded = {name: None if value is None else _weight(value) for name, value in named.items()}
    shares = {"buckets": figures.buckets, "splits": figures.splits}
    named = {key: {name: _weight(share) for name, share in parts.items()} for key, parts in shares.items()}
    return {**rounded, **named}


def _scenarios(plan: Plan) -> list[Row]:
    returns = (one.scenario_returns for one in (plan.before, plan.targeted, plan.after))
    columns: list[Sequence[float]] = [plan.adversary.tolist(), *returns]
    rounded = [list(map(_weight, column)) for column in columns]
    rows = zip(plan.outlook.scenarios, map(float, plan.outlook.probabilities), *rounded, strict=True)
    return [dict(zip((key for key, *_ in _SCENARIO), row, strict=True)) for row in rows]


def _policy(plan: Plan, policy: ReviewPolicy) -> _PolicyRows:
    """The policy that is followed, what is believed and what prices are at each node, and how caution is released."""
    return {
        "certainty_equivalent_with_lots": round(policy.with_lots.gain, 8),
        "certainty_equivalent_of_holding": None if policy.holding is None else round(policy.holding.gain, 8),
        "nodes": policy.nodes_document(),
        "caution_schedule": list(map(document_of, policy.caution_schedule)),
        "proof": policy_proof_document(plan),
    }
