"""The same question written from the textbook, in net trades and plain cvxpy: no code shared with the program.

And questions with every rule there is, each limit set by a portfolio that is known to keep them all.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import product

import cvxpy as cp
import numpy as np

from allocator.ambiguity.balls import Box, Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import Ambiguity
from allocator.mandate.return_errors import BoxError, BudgetError, EllipsoidError
from allocator.rules import (
    ConvexRule,
    ExposureLimit,
    InstrumentCaps,
    LargestWeights,
    LinearRule,
    Participation,
    RatioLimit,
    ScenarioFloor,
    StressFloor,
    Trade,
    Turnover,
    VolatilityLimit,
    WeightAtLeast,
    WeightAtMost,
    WorstCaseFloor,
)
from allocator.types import Vector
from tests.problems import SETS, Question, names, random_question

CHARGES = ("impact", "box", "ellipsoid")
RULES = (
    "exposure at most", "exposure at least", "ratio at most", "ratio at least", "participation", "scenario floor",
    "stress", "volatility", "tracking error", "largest", "worst case", "active",
)  # fmt: skip


def rich_question(
    seed: int,
    *what: str,
    ambiguity: Ambiguity | None = None,
    risk_aversion: float = 2.0,
    count: int = 8,
    room: float = 0.1,
) -> Question:
    """A random question with these charges and rules; `room` is how far a limit lies from what the cautious portfolio,
    which keeps them all, measures towards what the greedy one does."""
    draw = np.random.default_rng(1000 + seed)
    asked = random_question(seed, count=count, ambiguity=ambiguity, risk_aversion=risk_aversion)
    mandate = asked.mandate
    if "impact" in what:
        mandate = replace(mandate, impact=draw.uniform(0, 0.05, count))
    if "box" in what:
        mandate = replace(mandate, return_error=BoxError(draw.uniform(0, 0.1, count)))
    if "ellipsoid" in what:
        mandate = replace(mandate, return_error=EllipsoidError(0.3))
    if "budget" in what:
        mandate = replace(mandate, return_error=BudgetError(2.5, draw.uniform(0, 0.1, count)))
    asked = replace(asked, mandate=mandate)
    calm = replace(asked, mandate=replace(mandate, risk_aversion=20.0))
    if set(what) & set(RULES) <= {"worst case", "active"}:
        calm = replace(asked, mandate=replace(mandate, risk_aversion=0.0, ambiguity=_another(asked)))
    cautious, greedy = calm.trade(calm.solved().holdings), asked.trade(asked.solved().holdings)
    for rule in [_rule(name, asked, greedy, draw) for name in RULES if name in what]:
        limits = [
            kept.measured + max(room * (wished.measured - kept.measured), 0) + 1e-3
            if kept.at_most
            else kept.measured + min(room * (wished.measured - kept.measured), 0) - 1e-3
            for kept, wished in zip(
                rule.readings(cautious, asked.outlook), rule.readings(greedy, asked.outlook), strict=True
            )
        ]
        eased = rule.with_limits(limits)
        if isinstance(eased, LinearRule):
            mandate = replace(mandate, linear_rules=(*mandate.linear_rules, eased))
        else:
            mandate = replace(mandate, convex_rules=(*mandate.convex_rules, eased))
    return replace(asked, mandate=mandate)


def _rule(name: str, asked: Question, greedy: Trade, draw: np.random.Generator) -> LinearRule | ConvexRule:
    """The rule with a limit that is still to be set; counted so that the greedy portfolio is on its wrong side."""
    count = len(asked.start.holdings)
    other = _another(asked)
    most = np.argsort(-greedy.values)
    head, tail = np.zeros(count), draw.uniform(0.2, 1, count)
    head[most[: count // 2]] = 1.0
    tail[most[0]] = 0.0
    bench = draw.dirichlet(np.ones(count + 1))
    kinds: dict[str, LinearRule | ConvexRule] = {
        "exposure at most": ExposureLimit("growth", head - 0.3, 0.0),
        "exposure at least": ExposureLimit("quality", 100 * (0.3 - head), 0.0, at_most=False),
        "ratio at most": RatioLimit("head {} tail", head, tail, 0.0, to_cash=0.2),
        "ratio at least": RatioLimit("tail {} head", tail, head, 0.0, at_most=False, of_cash=0.2),
        "participation": Participation(
            names(count), tuple(range(count)), (0.0,) * count, tuple(draw.uniform(0.01, 5, count))
        ),
        "scenario floor": ScenarioFloor(asked.outlook.scenarios, (0.0,) * len(asked.outlook.scenarios)),
        "stress": StressFloor("crash", -head * draw.uniform(0.2, 0.9, count), 0.0),
        "volatility": VolatilityLimit(0.0),
        "tracking error": VolatilityLimit(0.0, bench[:-1]),
        "largest": LargestWeights(3, 0.0),
        "worst case": WorstCaseFloor(0.0, other),
        "active": WorstCaseFloor(0.0, other, bench),
    }
    return kinds[name]


def _another(asked: Question) -> Ambiguity:
    """A floor of the very worst case that is maximised would never bind."""
    return SETS[(SETS.index(asked.mandate.ambiguity) + 1) % len(SETS)]


def textbook_optimum(asked: Question) -> float:
    """The least loss, by Clarabel on the definitions."""
    outlook, mandate, start = asked.outlook, asked.mandate, asked.start
    count = len(start.holdings)
    h, cost = cp.Variable(count), cp.Variable()
    x = h - start.holdings
    spent = mandate.cost_rates @ cp.abs(x)
    if mandate.impact is not None:
        spent = spent + mandate.impact @ cp.power(cp.abs(x), 1.5)
    wealth = 1 - cost
    cash = wealth - cp.sum(h)
    gains = outlook.returns @ h + outlook.cash_returns * cash
    root = np.linalg.cholesky(outlook.risk.loadings @ outlook.risk.loadings.T + np.diag(outlook.risk.specific)).T
    rules = [h >= 0, cash >= 0, cost >= spent]
    loss, more = worst_of(-gains, mandate.ambiguity, outlook.probabilities)
    loss = loss + mandate.risk_aversion * cp.sum_squares(root @ h) + cost
    if isinstance(mandate.return_error, BoxError):
        loss = loss + mandate.return_error.deviations @ h
    elif isinstance(mandate.return_error, EllipsoidError):
        loss = loss + mandate.return_error.size * cp.norm(root @ h)
    elif isinstance(mandate.return_error, BudgetError):
        wrong, budget = cp.multiply(mandate.return_error.deviations, h), mandate.return_error.count
        part = budget - int(budget)  # the sum of so many largest is linear between whole numbers
        loss = loss + (1 - part) * cp.sum_largest(wrong, int(budget)) + part * cp.sum_largest(wrong, int(budget) + 1)
    for rule in (*mandate.linear_rules, *mandate.convex_rules):
        rules += _definition(rule, asked, h, x, cash, wealth, gains, root)
    problem = cp.Problem(cp.Minimize(loss), rules + more)
    for tolerance in (1e-10, 1e-9, 1e-8):  # the last digit may be out of reach
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            problem.solve(cp.CLARABEL, tol_gap_abs=tolerance, tol_gap_rel=tolerance, tol_feas=tolerance)
        if problem.status == cp.OPTIMAL:
            return float(problem.value)
    raise AssertionError(problem.status)


def worst_of(losses: cp.Expression, ambiguity: Ambiguity, p: Vector) -> tuple[cp.Expression, list[cp.Constraint]]:
    """The largest q'losses over the set: the dual of a linear program over its inequalities, or of relative entropy."""
    if isinstance(ambiguity, KullbackLeibler):
        price, shift, tilt = cp.Variable(nonneg=True), cp.Variable(), cp.Variable(len(p), nonneg=True)
        # price·exp((loss − shift)/price − 1) ≤ tilt, from the definition of the conjugate
        each = [cp.rel_entr(price, tilt[k]) <= shift + price - losses[k] for k in range(len(p))]
        return shift + price * ambiguity.radius + p @ tilt, each
    if isinstance(ambiguity, TotalVariation):
        signs = np.array(list(product((-1.0, 1.0), repeat=len(p))))
        rows, limits = signs, signs @ p + 2 * ambiguity.radius
    else:
        radius = ambiguity.radius if isinstance(ambiguity, Box) else 0.0 if isinstance(ambiguity, Singleton) else 2.0
        rows = np.vstack([np.eye(len(p)), -np.eye(len(p))])
        limits = np.concatenate([p + radius, radius - p])
    dear, level = cp.Variable(len(limits), nonneg=True), cp.Variable()
    return limits @ dear + level, [rows.T @ dear + level >= losses]


def _definition(  # noqa: PLR0911  # one a rule
    rule: LinearRule | ConvexRule,
    asked: Question,
    h: cp.Expression,
    x: cp.Expression,
    cash: cp.Expression,
    wealth: cp.Expression,
    gains: cp.Expression,
    root: Vector,
) -> list[cp.Constraint]:
    """A rule as the textbook writes it."""
    outlook = asked.outlook
    if isinstance(rule, InstrumentCaps):
        return [h[list(rule.at)] <= np.array(rule.limits) * wealth]
    if isinstance(rule, WeightAtMost):
        return [rule.shares @ h + rule.cash_share * cash <= rule.limit * wealth]
    if isinstance(rule, WeightAtLeast):
        return [rule.shares @ h + rule.cash_share * cash >= rule.limit * wealth]
    if isinstance(rule, Turnover):
        return [cp.sum(cp.pos(x)) <= rule.limit, cp.sum(cp.neg(x)) <= rule.limit]
    if isinstance(rule, ExposureLimit):
        exposure = rule.exposures @ h
        return [exposure <= rule.limit * wealth if rule.at_most else exposure >= rule.limit * wealth]
    if isinstance(rule, RatioLimit):
        first, second = rule.of @ h + rule.of_cash * cash, rule.to @ h + rule.to_cash * cash
        return [first <= rule.limit * second if rule.at_most else first >= rule.limit * second]
    if isinstance(rule, Participation):
        return [cp.abs(x[list(rule.at)]) <= np.array(rule.limits) * np.array(rule.volumes)]
    if isinstance(rule, ScenarioFloor):
        return [gains + wealth - 1 >= np.array(rule.limits)]
    if isinstance(rule, StressFloor):
        return [1 - wealth - rule.shock @ h <= rule.limit]
    if isinstance(rule, VolatilityLimit):
        against = h if rule.against is None else h - rule.against * wealth
        return [cp.norm(root @ against) <= rule.limit * np.sqrt(outlook.years) * wealth]
    if isinstance(rule, LargestWeights):
        return [cp.sum_largest(h, rule.count) <= rule.limit * wealth]
    assert isinstance(rule, WorstCaseFloor)
    reference = np.zeros(len(outlook.scenarios))
    if rule.against is not None:
        reference = outlook.returns @ rule.against[:-1] + outlook.cash_returns * rule.against[-1]
    worst, more = worst_of(reference - gains + 1 - wealth, rule.ambiguity, outlook.probabilities)
    return [worst <= -rule.limit, *more]
