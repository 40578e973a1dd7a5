"""Mandates whose rules clash, an oracle of the tests' own for what can hold together, and printed fixes followed.

The oracle writes every rule in purchases and sales by `tests.questions.space`, and cones by cvxpy's own atoms. It
shares nothing with the search for conflicts.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import cvxpy as cp
import numpy as np

from allocator.errors import Infeasible
from allocator.mandate.ambiguity import Worst
from allocator.mandate.rules import (
    AtLeast,
    AtMost,
    ConvexRule,
    ExposureLimit,
    InstrumentFloors,
    LargestWeights,
    LinearRule,
    MinimumExpectedReturn,
    NoTrade,
    Ratio,
    Turnover,
    VolatilityLimit,
    WorstCaseFloor,
)
from tests.questions import Question, caps, names, random_question, space

COUNT = 6
_NOISE = 3e-7
"""What the oracle's solver cannot tell from nothing."""


def demanding(seed: int, *, cones: bool = False, impact: bool = False) -> Question:
    """Random rules with limits so narrow that many sets of them cannot hold together."""
    draw = np.random.default_rng(seed)
    asked = random_question(seed, count=COUNT)
    shares = (draw.random((2, COUNT)) < 0.5).astype(float) * np.round(draw.uniform(0.3, 1, (2, COUNT)), 2)
    floors = np.round(draw.uniform(0, 0.3, 2), 3)

    def limit(low: float, high: float) -> float:
        return float(np.round(draw.uniform(low, high), 3))

    rules: list[LinearRule] = [
        caps(COUNT, limit(0.12, 0.5)),
        InstrumentFloors(names(COUNT)[:2], (0, 1), (float(floors[0]), float(floors[1]))),
        AtMost("group first", shares[0], limit(0.05, 0.6)),
        AtLeast("group second", shares[1], limit(0.1, 0.5)),
        AtLeast("cash", np.zeros(COUNT), limit(0.0, 0.3), 1.0),
        AtMost("cash", np.zeros(COUNT), limit(0.3, 0.6), 1.0),
        Turnover(limit(0.02, 0.4)),
        MinimumExpectedReturn(limit(-0.1, 0.2)),
        NoTrade(names(COUNT)[5:], (5,)),
        ExposureLimit("beta", np.round(draw.uniform(0.5, 1.5, COUNT), 2), limit(0.2, 1.0)),
        Ratio("first {} second", shares[0], shares[1], limit(0.1, 0.8)),
    ]
    kept = [rule for rule in rules if draw.random() < (0.5 if cones else 0.7)]
    against = draw.dirichlet(np.ones(COUNT))
    convex: list[ConvexRule] = [
        VolatilityLimit(limit(0.05, 0.2)),
        VolatilityLimit(limit(0.02, 0.2), against),
        LargestWeights(2, limit(0.1, 0.5)),
        WorstCaseFloor(limit(-0.1, 0.05), Worst()),
    ]
    chosen = tuple(rule for rule in convex if cones and draw.random() < 0.6)
    asked = asked.with_rules(*kept)
    mandate = replace(asked.mandate, cost_rates=np.full(COUNT, 0.01 if seed % 3 == 0 else 0.0), convex_rules=chosen)
    if impact:
        mandate = replace(mandate, impact=np.round(draw.uniform(0.01, 0.1, COUNT), 3))
    return replace(asked, mandate=mandate)


def possible(asked: Question, labels: Sequence[str] | None = None) -> bool:
    """Whether these rules (all of them, where none are named) can hold together; purchases and sales are one rule."""
    rows = asked.mandate.rows.labels
    wanted = None if labels is None else set(labels)
    dropped = [i for i, label in enumerate(rows) if wanted is not None and _named(label) not in wanted]
    convex = [rule for rule in asked.mandate.convex_rules if wanted is None or rule.label in wanted]
    if not convex and asked.mandate.impact is None:
        return space(asked).without(dropped).feasible()
    return _least_missed(asked, dropped, convex) <= _NOISE


def _named(label: str) -> str:
    return re.sub(r" \((purchases|sales)\)$", "", label)


def _least_missed(asked: Question, dropped: Sequence[int], convex: Sequence[ConvexRule]) -> float:
    """The least by which the worst missed of the rules is missed."""
    area, start, outlook = space(asked), asked.start, asked.outlook
    bought, sold = cp.Variable(COUNT, nonneg=True), cp.Variable(COUNT, nonneg=True)
    missed, moved = cp.Variable(nonneg=True), cp.Variable(nonneg=True)
    rates = asked.mandate.cost_rates
    holdings = start.holdings + bought - sold
    cash = start.cash - (1 + rates) @ bought + (1 - rates) @ sold - moved
    wealth = cp.sum(holdings) + cash
    within: list[cp.Constraint] = [sold <= start.holdings, cash >= 0]
    if asked.mandate.impact is None:
        within.append(moved == 0)
    else:
        within.append(moved >= asked.mandate.impact @ cp.power(bought + sold, 1.5))
    rows, kept = asked.mandate.rows.on(outlook), [i for i in range(len(area.limits) - 1) if i not in set(dropped)]
    left = rows.holdings @ holdings + rows.cash * cash + rows.buys @ bought + rows.sells @ sold
    if kept:
        within.append((left - rows.wealth * wealth - rows.limit)[kept] <= missed)
    for rule in convex:
        within.append(_function(rule, asked, holdings, cash, wealth) <= missed)
    problem = cp.Problem(cp.Minimize(missed), within)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Solution may be inaccurate", category=UserWarning)
        with suppress(cp.SolverError):
            problem.solve("CLARABEL")
    if problem.status != cp.OPTIMAL:  # a corner where it makes no progress
        problem.solve("SCS", eps=1e-9, max_iters=500_000)
    return float(problem.value)


def _function(
    rule: ConvexRule, asked: Question, holdings: cp.Expression, cash: cp.Expression, wealth: cp.Expression
) -> cp.Expression:
    outlook = asked.outlook
    if isinstance(rule, VolatilityLimit):
        active = holdings if rule.against is None else holdings - rule.against * wealth
        parts = cp.hstack([outlook.risk.loadings.T @ active, cp.multiply(np.sqrt(outlook.risk.specific), active)])
        return cp.norm(parts) - rule.limit * np.sqrt(outlook.years) * wealth
    if isinstance(rule, LargestWeights):
        return cp.sum_largest(holdings, rule.count) - rule.limit * wealth
    assert isinstance(rule, WorstCaseFloor)
    assert isinstance(rule.ambiguity, Worst)
    return rule.limit - cp.min(outlook.returns @ holdings + outlook.cash_returns * cash) - (wealth - 1)


def hopeless(wanted: int, *, first: int = 0, cones: bool = False, impact: bool = False) -> list[int]:
    """Seeds of mandates whose rules cannot hold together."""
    found: list[int] = []
    seed = first
    while len(found) < wanted:
        if not possible(demanding(seed, cones=cones, impact=impact)):
            found.append(seed)
        seed += 1
    return found


_FIX = re.compile(r"(?:raise|lower) (?:the (first|second)|'([^']+)') to (-?[\d.]+(?:e-?\d+)?)(%?)")


def mended(asked: Question, error: Infeasible, fix: str, part: float = 1.0) -> Question:
    """The question after a printed fix, or after `part` of its way."""
    changes = {}
    for place, label, number, unit in _FIX.findall(fix):
        named = label or error.rules[("first", "second").index(place)]
        changes[named] = float(number) / (100 if unit else 1)
    assert changes, fix
    rows, convex = asked.mandate.rows, asked.mandate.convex_rules
    labels = [*map(_named, rows.labels), *(rule.label for rule in convex)]
    stated = [*rows.stated, *(rule.limit for rule in convex)]  # type: ignore[attr-defined]
    assert set(changes) <= set(labels), fix
    limits = [
        was + part * (changes[label] - was) if label in changes else was
        for label, was in zip(labels, stated, strict=True)
    ]
    return replace(asked, mandate=asked.mandate.eased(np.array(limits)))
