"""Mandates whose rules clash, an oracle of the tests' own for what can hold together, and printed fixes followed.

The oracle writes every rule in purchases and sales by `tests.questions.space`, and cones by cvxpy's own atoms. It
shares nothing with the search for conflicts.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import cvxpy as cp
import numpy as np

from allocator.ambiguity.balls import AnyProbabilities
from allocator.errors import Infeasible
from allocator.optimization.conflicts import RelaxedLimits
from allocator.rules import (
    ConvexRule,
    ExposureLimit,
    InstrumentFloors,
    LargestWeights,
    LinearRule,
    LooserLimit,
    MinimumExpectedReturn,
    NoTrade,
    RatioLimit,
    Turnover,
    VolatilityLimit,
    WeightAtLeast,
    WeightAtMost,
    WorstCaseFloor,
)
from allocator.types import Vector
from tests.problems import Question, Space, caps, names, random_question, space

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
        WeightAtMost("group first", shares[0], limit(0.05, 0.6)),
        WeightAtLeast("group second", shares[1], limit(0.1, 0.5)),
        WeightAtLeast("cash", np.zeros(COUNT), limit(0.0, 0.3), 1.0),
        WeightAtMost("cash", np.zeros(COUNT), limit(0.3, 0.6), 1.0),
        Turnover(limit(0.02, 0.4)),
        MinimumExpectedReturn(limit(-0.1, 0.2)),
        NoTrade(names(COUNT)[5:], (5,)),
        ExposureLimit("beta", np.round(draw.uniform(0.5, 1.5, COUNT), 2), limit(0.2, 1.0)),
        RatioLimit("first {} second", shares[0], shares[1], limit(0.1, 0.8)),
    ]
    kept = [rule for rule in rules if draw.random() < (0.5 if cones else 0.7)]
    against = draw.dirichlet(np.ones(COUNT))
    convex: list[ConvexRule] = [
        VolatilityLimit(limit(0.05, 0.2)),
        VolatilityLimit(limit(0.02, 0.2), against),
        LargestWeights(2, limit(0.1, 0.5)),
        WorstCaseFloor(limit(-0.1, 0.05), AnyProbabilities()),
    ]
    chosen = tuple(rule for rule in convex if cones and draw.random() < 0.6)
    asked = asked.with_rules(*kept)
    mandate = replace(asked.mandate, cost_rates=np.full(COUNT, 0.01 if seed % 3 == 0 else 0.0), convex_rules=chosen)
    if impact:
        mandate = replace(mandate, impact=np.round(draw.uniform(0.01, 0.1, COUNT), 3))
    return replace(asked, mandate=mandate)


def possible(asked: Question, labels: Sequence[str] | None = None) -> bool:
    """Whether these rules (all of them, where none are named) can hold together; purchases and sales are one rule.

    No name may be bought and sold at once where that costs money: every choice of directions is tried.
    """
    rows = asked.mandate.rows.labels
    wanted = None if labels is None else set(labels)
    dropped = [i for i, label in enumerate(rows) if wanted is not None and _named(label) not in wanted]
    convex = [rule for rule in asked.mandate.convex_rules if wanted is None or rule.label in wanted]
    dear = bool(asked.mandate.cost_rates.any()) or asked.mandate.impact is not None
    if not convex and asked.mandate.impact is None:
        area = space(asked).without(dropped)
        return area.feasible() and (not dear or any(_one_way(area, way).feasible() for way in _ways()))
    if _least_missed(asked, dropped, convex) > _NOISE:
        return False
    if not dear or _wastes_nothing(asked, dropped, convex):
        return True
    return any(_least_missed(asked, dropped, convex, way) <= _NOISE for way in _ways())


def _ways() -> list[Vector]:
    """Every choice of which names are bought."""
    return [np.array(way) for way in itertools.product((1.0, 0.0), repeat=COUNT)]


def _one_way(area: Space, way: Vector) -> Space:
    """The names of `way` are bought only, the others sold only."""
    return replace(area, most=area.most * np.concatenate([way, 1 - way]))


def _named(label: str) -> str:
    return re.sub(r" \((purchases|sales)\)$", "", label)


def _least_missed(
    asked: Question, dropped: Sequence[int], convex: Sequence[ConvexRule], way: Vector | None = None
) -> float:
    """The least by which the worst missed of the rules is missed; of a `way`, at impact as it is where that is found.

    Impact as it is, and no dearer, is no convex set: tangents of its cost at the last trades, from below, lead there.
    """
    missed, bought, sold, _ = _nearest(asked, dropped, convex, way)
    if asked.mandate.impact is None or way is None:
        return missed
    for _ in range(4):
        missed, bought, sold, _ = _nearest(asked, dropped, convex, way, at=np.maximum(bought + sold, 0.0))
    return missed


def _wastes_nothing(asked: Question, dropped: Sequence[int], convex: Sequence[ConvexRule]) -> bool:
    """Whether the cheapest trades that keep the rules, where waste is allowed, waste nothing."""
    _, bought, sold, moved = _nearest(asked, dropped, convex, cheapest=True)
    rates, impact = asked.mandate.cost_rates, asked.mandate.impact
    true = 0.0 if impact is None else float(impact @ np.maximum(bought + sold, 0.0) ** 1.5)
    return float(2 * rates @ np.minimum(bought, sold)) + max(moved - true, 0.0) <= 10 * _NOISE


def _nearest(
    asked: Question,
    dropped: Sequence[int],
    convex: Sequence[ConvexRule],
    way: Vector | None = None,
    *,
    at: Vector | None = None,
    cheapest: bool = False,
) -> tuple[float, Vector, Vector, float]:
    """What the worst missed rule is missed by at least, the purchases and sales there, and what impact costs."""
    area, start, outlook, impact = space(asked), asked.start, asked.outlook, asked.mandate.impact
    bought, sold = cp.Variable(COUNT, nonneg=True), cp.Variable(COUNT, nonneg=True)
    missed, moved = cp.Variable(nonneg=True), cp.Variable(nonneg=True)
    rates = asked.mandate.cost_rates
    holdings = start.holdings + bought - sold
    cash = start.cash - (1 + rates) @ bought + (1 - rates) @ sold - moved
    wealth = cp.sum(holdings) + cash
    within: list[cp.Constraint] = [sold <= start.holdings, cash >= 0]
    if way is not None:
        within += [bought <= way, sold <= (1 - way) * start.holdings]
    within.append(moved == 0 if impact is None else moved >= impact @ cp.power(bought + sold, 1.5))
    if at is not None and impact is not None:
        within.append(moved <= (1.5 * impact * np.sqrt(at)) @ (bought + sold) - 0.5 * float(impact @ at**1.5) + 1e-9)
    rows, kept = asked.mandate.rows.on(outlook), [i for i in range(len(area.limits) - 1) if i not in set(dropped)]
    left = rows.holdings @ holdings + rows.cash * cash + rows.buys @ bought + rows.sells @ sold
    if kept:
        within.append((left - rows.wealth * wealth - rows.limit)[kept] <= missed)
    for rule in convex:
        within.append(_function(rule, asked, holdings, cash, wealth) <= missed)
    aim = rates @ (bought + sold) + moved if cheapest else missed
    if cheapest:
        within.append(missed <= _NOISE)
    problem = cp.Problem(cp.Minimize(aim), within)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Solution may be inaccurate", category=UserWarning)
        with suppress(cp.SolverError):
            problem.solve("CLARABEL")
        if problem.status != cp.OPTIMAL and not cheapest:  # a corner where it makes no progress
            problem.solve("SCS", eps=1e-9, max_iters=500_000)
    if problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
        return np.inf, np.zeros(COUNT), np.zeros(COUNT), np.inf
    return float(missed.value), np.asarray(bought.value), np.asarray(sold.value), float(moved.value)


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
    assert isinstance(rule.ambiguity, AnyProbabilities)
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


def loosened(asked: Question, move: Sequence[LooserLimit]) -> Question:
    """The question after limits have moved, to the last digit."""
    given = RelaxedLimits.nothing(asked.start, asked.outlook, asked.mandate)
    places = {member.id: place for place, member in enumerate(given.members)}
    limits = {places[one.id]: one.limit for one in move if one.limit is not None}
    return replace(asked, mandate=replace(given, limits=limits).with_limits(asked.mandate))


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
    return replace(asked, mandate=asked.mandate.with_limits(np.array(limits)))
