"""Convex rules in the program, one function a class: constraints with parameters, and how their duals are read.

A dual is read as a price and a direction, so that the lower bound can put the rule's tangent there in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import cvxpy as cp
import numpy as np

from allocator.cvxpy_parameters import FastParameter
from allocator.outlook.outlook import Outlook
from allocator.rules import ConvexRule, LargestWeights, VolatilityLimit, WorstCaseFloor
from allocator.types import Vector

# Prices of the rules: what the solver's duals mean in the units of the account.
#


@dataclass(frozen=True, eq=False)
class ConvexRuleDual:
    """The multiplier of a convex rule: its `price` and the direction whose tangent is priced, None if not known."""

    price: float
    direction: Vector | None


@dataclass(frozen=True, eq=False)
class DualValues:
    """Duals in units of the objective (fractions of the account).

    `rows` (R,) ≥ 0 belong to the linear rules in order; `cash` prices one unit of money; `adversary` (K,) are the
    adverse probabilities; `slopes` belong to the convex rules in order; `error` is the direction in which the
    returns are wrong, where the solver gave one.
    """

    rows: Vector
    cash: float
    adversary: Vector
    slopes: tuple[ConvexRuleDual, ...] = ()
    error: Vector | None = None


def flat_dual(value: object, count: int) -> Vector:
    """A dual as a flat vector; zeros where the constraint does not exist."""
    if value is None:
        return np.zeros(count)
    return np.atleast_1d(np.asarray(value, dtype=float)).reshape(-1)


@dataclass(frozen=True, eq=False)
class DecisionVariables:
    """The variables that a convex rule may speak of; `gains` (K,) and `costs` are in units of the largest return."""

    holdings: cp.Variable
    wealth: cp.Variable
    factors: cp.Variable
    gains: cp.Variable
    costs: cp.Variable


@dataclass(frozen=True, eq=False)
class RuleConstraints:
    """A convex rule's constraints; `write(rule, outlook, unit)` sets its numbers, `read()` gives its scaled dual."""

    constraints: list[cp.Constraint]
    write: Callable[[Any, Outlook, float], None]
    read: Callable[[], ConvexRuleDual]


def cone_of_rule(rule: ConvexRule, decision: DecisionVariables, outlook: Outlook) -> RuleConstraints:
    """A convex rule as constraints on one decision."""
    return _constraints(rule, decision, outlook)


def rule_pattern(rule: ConvexRule, probabilities: Vector) -> tuple[Any, ...]:
    """What of a rule is compiled in: two rules of one pattern share a program."""
    if isinstance(rule, VolatilityLimit):
        return ("volatility", rule.against is None)
    if isinstance(rule, LargestWeights):
        return ("largest", rule.count)
    if isinstance(rule, WorstCaseFloor):
        return ("adverse expected return", rule.ambiguity.is_curved, rule.ambiguity.structure(probabilities))
    raise TypeError(f"no program for {type(rule).__name__}")


def is_conic_pattern(pattern: tuple[Any, ...]) -> bool:
    """Whether a rule of this pattern takes more than linear constraints."""
    return pattern[0] == "volatility" or (pattern[0] == "adverse expected return" and bool(pattern[1]))


@singledispatch
def _constraints(rule: object, decision: DecisionVariables, outlook: Outlook) -> RuleConstraints:  # noqa: ARG001
    raise TypeError(f"no program for {type(rule).__name__}")


@_constraints.register
def _(rule: VolatilityLimit, decision: DecisionVariables, outlook: Outlook) -> RuleConstraints:
    names, factors = outlook.risk.loadings.shape
    limit = FastParameter(nonneg=True, name="volatility limit")
    deviations = np.sqrt(outlook.risk.specific)
    own = cp.multiply(deviations, decision.holdings)
    exposures, reference = decision.factors, None
    if rule.against is not None:
        reference = FastParameter(factors + names, name="benchmark's risk")
        exposures = exposures - reference[:factors] * decision.wealth
        own = own - reference[factors:] * decision.wealth
    cone = cp.SOC(limit * decision.wealth, cp.hstack([exposures, own])).set_label("volatility")

    def write(rule: VolatilityLimit, outlook: Outlook, unit: float) -> None:
        del unit
        limit.value = rule.limit * np.sqrt(outlook.years)
        if reference is not None:
            against = np.asarray(rule.against)
            reference.value = np.concatenate([outlook.risk.loadings.T @ against, deviations * against])

    def slope() -> ConvexRuleDual:
        if cone.dual_value is None:
            return ConvexRuleDual(0.0, None)
        price, direction = max(float(np.ravel(cone.dual_value[0])[0]), 0.0), -np.ravel(cone.dual_value[1])
        return ConvexRuleDual(price, _divided(direction, float(np.linalg.norm(direction))))

    return RuleConstraints([cone], write, slope)


@_constraints.register
def _(rule: LargestWeights, decision: DecisionVariables, outlook: Outlook) -> RuleConstraints:
    names = outlook.risk.loadings.shape[0]
    limit = FastParameter(nonneg=True, name="limit of the largest")
    # nobody is held short, so the least is not below nothing; were it, a count beyond the names would allow anything
    least, above = cp.Variable(nonneg=True, name="least of the largest"), cp.Variable(names, nonneg=True)
    each = above >= decision.holdings - least
    together = (rule.count * least + cp.sum(above) <= limit * decision.wealth).set_label("largest")

    def write(rule: LargestWeights, outlook: Outlook, unit: float) -> None:
        del outlook, unit
        limit.value = rule.limit

    def slope() -> ConvexRuleDual:
        price = max(float(flat_dual(together.dual_value, 1)[0]), 0.0)
        return ConvexRuleDual(price, _divided(flat_dual(each.dual_value, names), price))

    return RuleConstraints([each, together], write, slope)


@_constraints.register
def _(rule: WorstCaseFloor, decision: DecisionVariables, outlook: Outlook) -> RuleConstraints:
    scenarios = len(outlook.scenarios)
    shortfalls = cp.Variable(scenarios, name="shortfalls")
    reference, limit = FastParameter(scenarios, name="benchmark's gains / unit"), FastParameter(name="floor / unit")
    worst = rule.ambiguity.dual_form(shortfalls, outlook.probabilities)
    each = shortfalls >= reference - decision.gains
    together = (worst.expression + decision.costs <= -limit).set_label("adverse expected return")
    of = 1.0

    def write(rule: WorstCaseFloor, outlook: Outlook, unit: float) -> None:
        nonlocal of
        of = unit
        limit.value, reference.value = rule.limit / unit, rule.benchmark_gains(outlook) / unit
        worst.write(rule.ambiguity, outlook.probabilities)

    def slope() -> ConvexRuleDual:
        price = max(float(flat_dual(together.dual_value, 1)[0]), 0.0)
        return ConvexRuleDual(price / of, _divided(flat_dual(each.dual_value, scenarios), price))

    return RuleConstraints([each, together, *worst.constraints], write, slope)


def _divided(direction: Vector, price: float) -> Vector | None:
    """The direction of a dual; None where its price is too small to tell one."""
    return direction / price if price > 1e-12 else None
