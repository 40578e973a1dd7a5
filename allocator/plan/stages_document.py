"""`plan.json` of a plan in stages: today's orders, the policy that they begin, and how it lets go of its caution.

The policy stands in it node by node, with what is believed and what prices are there, so that a later run can be held
against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from allocator.plan.announced import FORMAT, Departure, fingerprints
from allocator.plan.document import figures_document, orders_document, rules_document
from allocator.plan.labels import label_of
from allocator.plan.release import Release
from allocator.plan.stages import StagedPlan
from allocator.plan.stages_proof import stages_proof


def stages_document(plan: StagedPlan, release: Sequence[Release], departure: Departure | None = None) -> dict[str, Any]:
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
            "label": label_of(plan.staged),
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
        "fingerprints": fingerprints(book),
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
        "proof": stages_proof(plan),
    }


def _release(one: Release) -> dict[str, Any]:
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


def _departure(found: Departure) -> dict[str, Any]:
    return {
        "node": found.node,
        "between_reviews": found.between_reviews,
        "distance": round(found.distance, 8),
        "follows": found.follows,
        "differences": {name: round(apart, 8) for name, apart in found.differences},
        "causes": list(found.causes),
    }


def _positions(plan: StagedPlan) -> list[dict[str, Any]]:
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


def _policy(plan: StagedPlan) -> list[dict[str, Any]]:
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
