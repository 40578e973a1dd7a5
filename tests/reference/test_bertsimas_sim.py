"""The portfolio of Bertsimas and Sim (2004, §5.1): 150 names, of which at most Γ disappoint at once."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import cvxpy as cp
import numpy as np
import pytest

from allocator.mandate.return_errors import BudgetError
from allocator.types import Vector
from tests.problems import Question, no_cash, question

COUNT = 150
EACH = np.arange(1, COUNT + 1)
MEANS = 0.15 + 0.05 * EACH / COUNT
DEVIATIONS = 0.05 / 450 * np.sqrt(2 * EACH * COUNT * (COUNT + 1))


def published(budget: float) -> Question:
    asked = question(MEANS[None, :], risk_aversion=0.0, rules=[no_cash(COUNT)])
    return replace(asked, mandate=replace(asked.mandate, return_error=BudgetError(budget, DEVIATIONS)))


@pytest.mark.parametrize(("budget", "optimum"), [(1e-9, 1.2), (5.0, 1.170890), (150.0, 1.126685)])
def test_the_published_optimum_is_met_and_proved(budget: float, optimum: float) -> None:
    asked = published(budget)
    target, _, certificate = asked.certified()

    assert 1 - asked.mandate.loss(target, asked.outlook) == pytest.approx(optimum, abs=1e-6)
    assert certificate.gap <= 1e-7


def by_enumeration(deviations: Vector, held: Vector, budget: float) -> float:
    """The largest shortfall, every choice of names tried."""
    values, whole = deviations * held, int(budget)
    choices = combinations(range(len(held)), whole)
    left = [
        values[list(some)].sum() + (budget - whole) * max(np.delete(values, list(some)), default=0) for some in choices
    ]
    return float(max(left))


@pytest.mark.parametrize("budget", [0.4, 1.0, 2.5, 5.0, 6.0, 9.0])
def test_the_charge_is_the_worst_choice_of_names(budget: float) -> None:
    draw = np.random.default_rng(3)
    for _ in range(20):
        deviations, held = draw.uniform(0, 0.2, 6), draw.dirichlet(np.ones(6)) * (draw.random(6) < 0.8)
        error, risk = BudgetError(budget, deviations), question(np.zeros((1, 6))).outlook.risk
        direction = error.steepest(held, risk)

        assert error.charge(held, risk) == pytest.approx(by_enumeration(deviations, held, min(budget, 6.0)), abs=1e-15)
        assert error.slope(direction, risk) @ held == pytest.approx(error.charge(held, risk), abs=1e-15)
        assert error.outside(direction) <= 1e-15
        for other in (draw.random(6), draw.dirichlet(np.ones(6)) * 3):  # inside only where it is lawful
            lawful = error.directions.lawful(other)
            assert error.outside(lawful) <= 1e-12
            assert error.slope(lawful, risk) @ held <= error.charge(held, risk) + 1e-15
        outside = np.full(6, 1.0 + 1e-6) if budget >= 6 else np.full(6, budget / 6 + 1e-6)
        assert error.outside(outside) > 0


@pytest.mark.parametrize("budget", [0.7, 2.0, 4.5])
def test_the_average_slope_says_the_change_of_the_charge(budget: float) -> None:
    draw, risk = np.random.default_rng(5), question(np.zeros((1, 8))).outlook.risk
    for _ in range(50):
        error = BudgetError(budget, draw.uniform(0, 0.2, 8))
        before, after = draw.dirichlet(np.ones(8)), draw.dirichlet(np.full(8, 0.3))
        change = error.charge(after, risk) - error.charge(before, risk)

        assert error.average_slope(before, after, risk) @ (after - before) == pytest.approx(change, abs=1e-15)


@pytest.mark.parametrize("budget", [0.5, 2.0, 3.3, 7.0])
def test_an_independent_program_finds_the_same_optimum(budget: float) -> None:
    """By the definition: the largest of all choices, one row a choice, and risk from the covariance."""
    draw, count = np.random.default_rng(11), 8
    returns, root = draw.normal(0.05, 0.1, (3, count)), draw.normal(0, 0.1, (count, count))
    asked = question(returns, root @ root.T, risk_aversion=1.0)
    error = BudgetError(budget, draw.uniform(0.02, 0.1, count))
    asked = replace(asked, mandate=replace(asked.mandate, return_error=error))
    target, _, _ = asked.certified()

    h, whole = cp.Variable(count, nonneg=True), int(budget)
    wrong, part = cp.multiply(error.deviations, h), budget - whole
    choices = [
        cp.sum(wrong[list(some)]) + (part * wrong[other] if part else 0)
        for some in combinations(range(count), whole)
        for other in (sorted({*range(count)} - {*some}) or [0])
    ]
    gain = returns.mean(axis=0) @ h - cp.maximum(*choices) - cp.sum_squares(root.T @ h)
    problem = cp.Problem(cp.Maximize(gain), [cp.sum(h) <= 1])
    problem.solve(cp.CLARABEL)

    assert -asked.mandate.loss(target, asked.outlook) == pytest.approx(float(problem.value), abs=1e-7)


def test_a_budget_of_every_name_is_the_box_and_none_is_free() -> None:
    risk = question(np.zeros((1, 4))).outlook.risk
    deviations, held = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.3, 0.2, 0.1])

    assert BudgetError(4.0, deviations).charge(held, risk) == pytest.approx(deviations @ held)
    assert BudgetError(7.5, deviations).charge(held, risk) == pytest.approx(deviations @ held)
    assert BudgetError(1e-12, deviations).charge(held, risk) == pytest.approx(0, abs=1e-12)
