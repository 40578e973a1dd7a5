"""Utilities of final wealth against closed forms, each other, and solvers that know nothing of our forms."""

from __future__ import annotations

import datetime as dt

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import minimize

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import Ambiguity
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.objectives import LinearUtility, LogUtility, PowerUtility, Utility
from allocator.multistage.policy import Policy
from allocator.multistage.solve import solve_policy
from allocator.optimization.solve import Limits
from allocator.outlook.outlook import Outlook
from allocator.outlook.scenario_tree import ScenarioTree
from allocator.rules.rows import Position
from allocator.types import Matrix, Vector
from tests.agreement import OBJECTIVE, holdings_within, objectives_within
from tests.goals import PiecewiseLinearUtility
from tests.problems import SETS, question, random_question
from tests.thoroughness import some
from tests.trees import CASH_ONLY, worked


def one_decision(
    outlook: Outlook, mandate: Mandate, utility: Utility, ambiguity: Ambiguity | None = None
) -> MultistageMandate:
    """A tree of one decision node, whose leaves are the scenarios."""
    count, names = outlook.returns.shape
    tree = ScenarioTree(
        ("now",),
        ("now",),
        (dt.date(2026, 1, 1),),
        np.array([-1]),
        np.ones(1),
        outlook.probabilities[None, :],
        np.ones((1, names)),
        np.ones(1),
        np.zeros(count, dtype=np.int64),
        np.arange(count),
        outlook.probabilities,
        1 + outlook.returns,
        1 + outlook.cash_returns,
    )
    return MultistageMandate(tree, (mandate,), (outlook,), (ambiguity or mandate.ambiguity,), utility)


def plain(returns: Matrix, p: Vector, utility: Utility, ambiguity: Ambiguity | None = None) -> MultistageMandate:
    """One decision from cash, at no cost and under no rule."""
    asked = question(returns, probabilities=p, risk_aversion=0.0)
    return one_decision(asked.outlook, asked.mandate, utility, ambiguity)


def drawn(seed: int) -> tuple[Matrix, Vector]:
    """(5, 3) returns and probabilities of five scenarios."""
    draw = np.random.default_rng(seed)
    return draw.normal(0.06, 0.3, (5, 3)).clip(-0.8), draw.dirichlet(np.full(5, 4.0))


def all_cash(names: int) -> Position:
    """Nothing held yet."""
    return Position(np.zeros(names), 1.0)


def by_scipy(returns: Matrix, p: Vector, utility: Utility) -> Vector:
    """(N,) the best holdings, cash being what is left."""
    names = returns.shape[1]
    found = minimize(
        lambda x: float(p @ utility.loss(1 + returns @ x)),  # type: ignore[arg-type]
        np.full(names, 0.5 / names),
        bounds=[(0, 1)] * names,
        constraints={"type": "ineq", "fun": lambda x: 1 - x.sum()},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    return np.asarray(found.x)


@pytest.mark.parametrize("aversion", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("seed", range(5))
def test_constant_relative_risk_aversion_agrees_with_scipy(seed: int, aversion: float) -> None:
    returns, p = drawn(seed)
    utility = PowerUtility(aversion)
    policy = solve_policy(plain(returns, p, utility), all_cash(3))
    best = by_scipy(returns, p, utility)

    assert policy.objective == pytest.approx(float(p @ utility.loss(1 + returns @ best)), abs=OBJECTIVE)
    assert policy.holdings[0] == pytest.approx(best, abs=2e-3)


@pytest.mark.parametrize(("won", "lost", "chance"), [(1.0, 1.0, 0.6), (0.5, 0.4, 0.55), (2.0, 0.9, 0.4)])
def test_log_utility_bets_as_kelly_does(won: float, lost: float, chance: float) -> None:
    policy = solve_policy(plain(np.array([[won], [-lost]]), np.array([chance, 1 - chance]), LogUtility()), all_cash(1))
    stake = chance / lost - (1 - chance) / won

    assert policy.holdings[0, 0] == pytest.approx(stake, abs=1e-4)
    growth = chance * np.log1p(stake * won) + (1 - chance) * np.log1p(-stake * lost)
    assert -policy.objective == pytest.approx(growth, abs=OBJECTIVE)


def penalised(averse: Policy, returns: Matrix, p: Vector, aversion: float) -> tuple[KullbackLeibler, float]:
    """The ball that holds the penalised adversary of a policy, and what the log of one step then loses.

    A ball as large as his divergence has the penalty as its multiplier, and his policy.
    """
    wealth = 1 + returns @ averse.holdings[0]
    adversary = p * wealth ** (1 - aversion)
    adversary /= adversary.sum()
    return KullbackLeibler(float(adversary @ np.log(adversary / p))), float(-adversary @ np.log(wealth))


PENALTIES = (0.25, 0.5, 1.0, 2.0)
T11 = [(seed, penalty) for seed in range(4) for penalty in PENALTIES]


def test_robust_log_with_a_divergence_penalty_is_constant_relative_risk_aversion() -> None:
    """The value is sharp; weights are as sharp as a flat optimum lets them be: a value told to 1e-10 tells them to
    1e-5, and in a direction in which scenarios hardly differ to a little less.
    """
    fine, apart = Limits(tolerance=1e-11), []
    for seed, penalty in T11:
        (returns, p), aversion = drawn(seed), 1 + 1 / penalty
        averse = solve_policy(plain(returns, p, PowerUtility(aversion)), all_cash(3), fine)
        ball, loss = penalised(averse, returns, p, aversion)
        robust = solve_policy(plain(returns, p, LogUtility(), ball), all_cash(3), fine)
        apart.append(float(np.abs(robust.holdings[0] - averse.holdings[0]).max()))
        assert robust.objective == pytest.approx(loss, abs=objectives_within(fine))

    assert max(apart) <= holdings_within(objectives_within(fine))
    assert np.quantile(apart, 0.75) <= holdings_within(objectives_within(fine)) / 4


def twice(returns: Matrix, p: Vector, utility: Utility, ambiguity: Ambiguity) -> MultistageMandate:
    """Two decisions with the same returns after each."""
    once = plain(returns, p, utility, ambiguity)
    count, names = returns.shape
    inner = np.arange(1, count + 1)
    tree = ScenarioTree(
        ("now", *(f"after {k}" for k in range(count))),
        ("now", *("silent",) * count),
        (dt.date(2026, 1, 1), *(dt.date(2026, 7, 1),) * count),
        np.array([-1, *np.zeros(count, dtype=np.int64)]),
        np.array([1.0, *p]),
        np.tile(p, (count + 1, 1)),
        np.vstack([np.ones((1, names)), 1 + returns]),
        np.ones(count + 1),
        np.repeat(inner, count),
        np.tile(np.arange(count), count),
        np.tile(p, count),
        np.tile(1 + returns, (count, 1)),
        np.ones(count * count),
    )
    nodes = count + 1
    return MultistageMandate(tree, once.mandates * nodes, once.outlooks * nodes, (ambiguity,) * nodes, utility)


@pytest.mark.parametrize(("seed", "penalty"), T11)
def test_nested_robust_log_is_constant_relative_risk_aversion_where_every_subtree_is_as_uncertain(
    seed: int, penalty: float
) -> None:
    """Balls charge nothing for their divergence: were it larger below one child than below another, penalties and
    balls would part at the root."""
    (returns, p), aversion, fine = drawn(seed), 1 + 1 / penalty, Limits(tolerance=1e-10)
    averse = solve_policy(twice(returns, p, PowerUtility(aversion), Singleton()), all_cash(3), fine)
    ball, loss = penalised(averse, returns, p, aversion)
    robust = solve_policy(twice(returns, p, LogUtility(), ball), all_cash(3), fine)

    near = holdings_within(objectives_within(fine))
    assert robust.objective == pytest.approx(2 * loss, abs=objectives_within(fine))
    assert robust.holdings[0] == pytest.approx(averse.holdings[0], abs=near)
    assert robust.holdings / robust.wealth[:, None] == pytest.approx(
        averse.holdings / averse.wealth[:, None], abs=holdings_within(objectives_within(fine))
    )


def test_eighty_tangents_of_the_logarithm_are_worth_as_much() -> None:
    at = np.geomspace(0.2, 5.0, 80)
    tangents = PiecewiseLinearUtility(np.ones((1, 7)), np.ones(1), (1 / at)[None, :], (np.log(at) - 1)[None, :])
    log, lines = solve_policy(worked(), CASH_ONLY), solve_policy(worked(utility=tangents), CASH_ONLY)

    assert -log.objective == pytest.approx(0.201289, abs=5e-7)
    assert -lines.objective == pytest.approx(0.201375, abs=5e-7)


@pytest.mark.parametrize("seed", range(6))
def test_a_linear_utility_with_a_risk_charge_is_the_cone_program(seed: int) -> None:
    asked = random_question(seed, risk_aversion=0.0, ambiguity=Singleton())
    free = asked.with_rules()
    charge = 0.4
    policy = solve_policy(one_decision(free.outlook, free.mandate, LinearUtility(charge), Singleton()), free.start)
    bought, sold = cp.Variable(10, nonneg=True), cp.Variable(10, nonneg=True)
    held = free.start.holdings + bought - sold
    cash = free.start.cash - cp.sum(bought) + cp.sum(sold) - free.mandate.cost_rates @ (bought + sold)
    outlook, risk = free.outlook, free.outlook.risk
    mean = outlook.probabilities @ (1 + outlook.returns)
    grown = mean @ held + (1 + outlook.probabilities @ outlook.cash_returns) * cash
    parts = cp.hstack([risk.loadings.T @ held, cp.multiply(np.sqrt(risk.specific), held)])
    problem = cp.Problem(cp.Minimize(1 - grown + charge * cp.norm(parts)), [held >= 0, cash >= 0])
    problem.solve(solver="CLARABEL")

    assert policy.objective == pytest.approx(float(problem.value), abs=OBJECTIVE)


@pytest.mark.parametrize("ambiguity", SETS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("seed", some(range(12), 4))
def test_one_decision_with_linear_utility_is_the_one_period_program(seed: int, ambiguity: Ambiguity) -> None:
    asked = random_question(seed, risk_aversion=0.0, ambiguity=ambiguity)
    policy = solve_policy(one_decision(asked.outlook, asked.mandate, LinearUtility()), asked.start)

    assert policy.objective == pytest.approx(asked.optimum(), abs=OBJECTIVE)


@pytest.mark.parametrize(
    "utility", [LinearUtility(), LogUtility(), PowerUtility(0.5), PowerUtility(2.0), PowerUtility(5.0)]
)
@pytest.mark.parametrize("sure", [-0.4, 0.0, 0.25])
def test_a_sure_return_is_its_own_equivalent(utility: Utility, sure: float) -> None:
    assert utility.equivalent(float(utility.loss(np.array([1 + sure]))[0])) == pytest.approx(sure, abs=1e-12)
