"""An explanation as one stable document; its JSON Schema is `schemas/explain.schema.json`. Everything in bps is said so
by the schema; infinite numbers are null."""

from __future__ import annotations

from typing import Any

import numpy as np

from allocator.plan.explanation import About, Explanation
from allocator.plan.flips import Shift
from allocator.plan.marginal import MARGINS
from allocator.plan.reasons import bps, motives_in_bps, reasons_document

FORMAT = "allocator.explain/1"


def explanation_document(found: Explanation, one: About | None = None) -> dict[str, Any]:
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
        "verdict": plan.worth.verdict,
        "reasons": reasons_document(plan),
        "positions": [_position(found, i) for i in range(len(plan.book.instruments) + 1)],
        "flips": _flips(found),
        "notes": list(found.notes),
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
        "worst_case_return": _number(split.worst_case[i]),
        "margin": dict(zip(MARGINS, map(bps, found.margins.parts[i]), strict=True)),
        "reduced_cost": bps(found.margins.reduced_cost[i]),
        "to_more": None if cash else _finite(found.margins.to_more[i]),
        "to_less": None if cash else _finite(found.margins.to_less[i]),
    }


def _flips(found: Explanation) -> dict[str, Any]:
    names, flip = found.plan.outlook.scenarios, found.hypothesis

    def shift(at: Shift | None) -> dict[str, Any] | None:
        if at is None:
            return None
        return {
            "distance": _number(at.distance),
            "probabilities": dict(zip(names, map(_number, at.q), strict=True)),
        }

    return {
        "ahead": bps(found.ahead),
        "hypothesis": None
        if flip is None
        else {
            "probability": flip.probability,
            "by_return": flip.by_return,
            "by_objective": flip.by_objective,
        },
        "shifts": {kind: shift(at) for kind, at in found.shifts.items()},
    }


def _about(found: Explanation, one: About) -> dict[str, Any]:
    scenarios = found.plan.outlook.scenarios
    return {
        "instrument": one.instrument,
        "reasons": motives_in_bps(found.reasons.parts[one.index]),
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
                "takes": bps(rule.takes),
            }
            for rule in one.rules
        ],
    }


def _finite(value: float, scale: float = 1e4) -> float | None:
    return round(float(value) * scale, 6) + 0.0 if np.isfinite(value) else None


def _number(value: float) -> float:
    return round(float(value), 10) + 0.0
