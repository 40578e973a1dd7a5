"""Objectives of one decision, held against closed forms and against solvers that know nothing of our forms."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import get_args

import numpy as np
import pytest
from scipy.optimize import linprog, minimize
from scipy.stats import norm

from allocator.ambiguity.balls import AnyProbabilities, Box, Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import Ambiguity
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import OBJECTIVES, MultistageMandate
from allocator.multistage.objectives import Objective
from allocator.multistage.policy import policy_value
from allocator.multistage.risk_adjustment import MeanCVaR, MixtureVariance, Regret, simulated_values
from allocator.multistage.solve import solve_policy, with_hindsight
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.rules import MinimumExpectedReturn, WeightAtMost
from allocator.rules.rows import Position
from allocator.settings.mandate import OBJECTIVE_KEYS, ObjectiveName
from allocator.settings.mandate import OBJECTIVES as STATED
from allocator.types import Matrix, Vector
from tests.agreement import OBJECTIVE
from tests.trees import of_one

K, N = 4, 5
SETS: tuple[Ambiguity, ...] = (Singleton(), TotalVariation(0.2), Box(0.1), KullbackLeibler(0.15), AnyProbabilities())
POLYHEDRAL: tuple[Ambiguity, ...] = (Singleton(), TotalVariation(0.2), Box(0.1), AnyProbabilities())


def outlook(seed: int = 7, scenarios: int = K, names: int = N) -> Outlook:
    draw = np.random.default_rng(seed)
    return Outlook(
        scenarios=tuple(f"s{k}" for k in range(scenarios)),
        probabilities=draw.dirichlet(np.full(scenarios, 4.0)),
        returns=draw.normal(0.08, 0.25, (scenarios, names)),
        cash_returns=np.full(scenarios, 0.02),
        risk=FactorRisk(draw.normal(0, 0.12, (names, 2)), draw.uniform(0.01, 0.05, names), "a test"),
        years=1.0,
    )


def staged(objective: Objective, ambiguity: Ambiguity, about: Outlook) -> MultistageMandate:
    mandate = Mandate(1.0, 0.0, Singleton(), (), (), np.zeros(about.returns.shape[1]))
    return MultistageMandate(of_one(about), (mandate,), (about,), (ambiguity,), objective)


def start(names: int = N) -> Position:
    return Position(np.zeros(names), 1.0)


def value(asked: MultistageMandate, x: Vector) -> float:
    """The objective of holdings (N,), the rest in cash."""
    cash = np.array([1 - float(x.sum())])
    return float(policy_value(asked, asked.ambiguities, x[None, :], cash).losses[0])


def never_beaten(asked: MultistageMandate, best: float, tries: int = 200) -> None:
    draw = np.random.default_rng(11)
    for x in draw.dirichlet(np.full(N + 1, 0.5), tries)[:, :N]:
        assert value(asked, x) >= best - OBJECTIVE


def gains(about: Outlook, x: Vector) -> Vector:
    return about.portfolio_returns(x, 1 - float(x.sum()))


def corner_points(ambiguity: Ambiguity, p: Vector) -> Matrix:
    """(M, K) of a polyhedral set: its adversaries look at the order of the losses alone, so orders give all corners."""
    corners: Matrix = np.array([ambiguity.adversary(np.array(order, float), p) for order in permutations(range(K))])
    return corners


def total_variation_rows(p: Vector, radius: float) -> tuple[Matrix, Vector]:
    """A (q, t) ≤ b of t ≥ |q − p|, Σt ≤ 2·radius."""
    eye, count = np.eye(len(p)), len(p)
    rows = np.vstack([np.hstack([eye, -eye]), np.hstack([-eye, -eye]), [[0.0] * count + [1.0] * count]])
    return rows, np.concatenate([p, -p, [2 * radius]])


@pytest.mark.parametrize("ambiguity", SETS, ids=lambda one: type(one).__name__)
def test_the_worst_mixture_variance_is_what_a_direct_maximisation_over_probabilities_finds(
    ambiguity: Ambiguity,
) -> None:
    about, gamma = outlook(), 3.0
    asked, p = staged(MixtureVariance(gamma), ambiguity, about), about.probabilities

    plan = solve_policy(asked, start())

    x = plan.holdings[0]
    r, within = gains(about, x), about.risk.variance(x)

    def minus(q: Vector) -> float:
        return float(q[:K] @ r - gamma * (within + q[:K] @ r**2 - (q[:K] @ r) ** 2))

    rules = [{"type": "eq", "fun": lambda q: q[:K].sum() - 1}]
    first = p.copy()
    if isinstance(ambiguity, TotalVariation):
        rows, limits = total_variation_rows(p, ambiguity.radius)
        rules.append({"type": "ineq", "fun": lambda q: limits - rows @ q})
        first = np.concatenate([p, np.full(K, 0.01)])
    if isinstance(ambiguity, KullbackLeibler):
        rules.append({"type": "ineq", "fun": lambda q: ambiguity.radius - float(q @ np.log(q / p))})
    low, high = np.full(len(first), 1e-12), np.ones(len(first))
    if isinstance(ambiguity, Box):
        low, high = ambiguity.bounds(p)
    if isinstance(ambiguity, Singleton):
        low = high = p
    options = {"ftol": 1e-14, "maxiter": 1000}
    found = minimize(
        minus,
        first,
        bounds=list(zip(low, high, strict=True)),
        constraints=rules,
        method="SLSQP",
        options=options,
    )
    assert plan.objective == pytest.approx(-found.fun, abs=OBJECTIVE)
    q = plan.valued.adversaries[0]
    assert ambiguity.excess(q, p) <= 1e-9
    assert -minus(q) == pytest.approx(plan.objective, abs=OBJECTIVE)
    never_beaten(asked, plan.objective)


@pytest.mark.parametrize("ambiguity", POLYHEDRAL, ids=lambda one: type(one).__name__)
def test_the_worst_cvar_is_the_joint_maximum_over_probabilities_and_tail_weights(ambiguity: Ambiguity) -> None:
    about, level, weight, draws = outlook(), 0.9, 0.7, 60
    objective = MeanCVaR(level, weight, simulated_values(about, draws, np.arange(K)), 1 + about.cash_returns)
    asked, p = staged(objective, ambiguity, about), about.probabilities

    plan = solve_policy(asked, start())

    x, cash = plan.holdings[0], float(plan.cash[0])
    losses = (1 - objective.growth @ x - (objective.cash_growth * cash)[:, None]).ravel()
    plain = 1 - asked.tree.leaf_growth @ x - asked.tree.leaf_cash_growth * cash
    # over (q, t, z): z_ks ≤ q_k / (S (1 − level)), Σz = 1
    tail, corners = K * draws, corner_points(ambiguity, p)  # q as a mean of corners
    share = len(corners)
    cost = -np.concatenate([(1 - weight) * corners @ plain, weight * losses])
    room = -np.repeat(corners.T, draws, axis=0) / (draws * (1 - level))
    ones = np.zeros((2, share + tail))
    ones[0, :share], ones[1, share:] = 1, 1
    found = linprog(
        cost, A_ub=np.hstack([room, np.eye(tail)]), b_ub=np.zeros(tail), A_eq=ones, b_eq=[1, 1], method="highs"
    )
    assert plan.objective == pytest.approx(-found.fun, abs=OBJECTIVE)
    never_beaten(asked, plan.objective, 50)


def test_cvar_on_normal_draws_is_the_closed_form_to_monte_carlo_error() -> None:
    about, draws, level = outlook(scenarios=1, names=1), 200_000, 0.95
    mean, deviation = 0.05, 0.12
    risk = FactorRisk(np.array([[deviation * 0.6]]), np.array([(deviation * 0.8) ** 2]), "a test")
    about = replace(about, returns=np.array([[mean]]), risk=risk, probabilities=np.ones(1))
    objective = MeanCVaR(level, 1.0, simulated_values(about, draws, np.zeros(1, dtype=np.int64)), np.array([1.02]))

    found = value(staged(objective, Singleton(), about), np.ones(1))

    # Rockafellar and Uryasev (2000): CVaR = −mean + deviation·φ(z)/(1 − level)
    closed = -mean + deviation * norm.pdf(norm.ppf(level)) / (1 - level)
    assert found == pytest.approx(closed, abs=4 * deviation * 1.7 / np.sqrt(draws * (1 - level)))


def test_the_portfolio_of_rockafellar_and_uryasev_is_found_again_within_the_error_of_the_draws() -> None:
    covariance = np.array(
        [
            [0.00324625, 0.00022983, 0.00420395],
            [0.00022983, 0.00049937, 0.00019247],
            [0.00420395, 0.00019247, 0.00764097],
        ]
    )
    about, draws = outlook(scenarios=1, names=3), 20_000
    returns = np.array([[0.0101110, 0.0043532, 0.0137058]])
    risk = FactorRisk(np.linalg.cholesky(covariance), np.zeros(3), "a paper")
    about = replace(about, returns=returns, risk=risk, probabilities=np.ones(1), cash_returns=np.zeros(1))
    drawn = simulated_values(about, draws, np.zeros(1, dtype=np.int64))
    published = np.array([0.452006, 0.115575, 0.432419])

    for level, cvar in ((0.90, 0.096975), (0.95, 0.115908), (0.99, 0.152977)):
        asked = staged(MeanCVaR(level, 1.0, drawn, np.ones(1)), Singleton(), about)
        assert value(asked, published) == pytest.approx(cvar, rel=0.03)
    few = replace(asked, utility=MeanCVaR(0.95, 1.0, drawn[:, ::4], np.ones(1)))
    rules = (MinimumExpectedReturn(0.011), WeightAtMost("cash", np.zeros(3), 0.0, cash_share=1.0))
    plan = solve_policy(replace(few, mandates=(replace(few.mandates[0], linear_rules=rules),)), start(3))
    assert plan.objective == pytest.approx(0.115908, rel=0.05)
    assert plan.holdings[0] == pytest.approx(published, abs=0.1)


def test_the_worst_cvar_over_all_probabilities_is_that_of_the_worst_scenario() -> None:
    about, level, draws = outlook(), 0.9, 100
    objective = MeanCVaR(level, 1.0, simulated_values(about, draws, np.arange(K)), 1 + about.cash_returns)
    x = np.full(N, 0.15)
    losses = 1 - objective.growth @ x - (objective.cash_growth * 0.25)[:, None]

    each = np.sort(losses, axis=1)[:, -10:].mean(axis=1)

    assert value(staged(objective, AnyProbabilities(), about), x) == pytest.approx(each.max(), abs=1e-12)


def test_draws_are_the_same_again_have_their_means_and_lose_no_more_than_everything() -> None:
    about = outlook()
    wild = replace(about, risk=about.risk.over(25.0))

    drawn = simulated_values(about, 500, np.arange(K))

    assert np.array_equal(drawn, simulated_values(about, 500, np.arange(K)))
    assert (simulated_values(wild, 500, np.arange(K)) >= 0).all()
    kept = (drawn > 0).all(axis=1)
    assert kept.any()
    assert drawn.mean(axis=1)[kept] == pytest.approx((1 + about.returns)[kept], abs=1e-12)


@pytest.mark.parametrize("radius", [0.0, 0.1, 0.3, 1.0])
def test_regret_is_that_of_a_direct_linear_program_and_minimax_regret_at_the_largest_radius(radius: float) -> None:
    about = outlook()
    asked = with_hindsight(staged(Regret(), TotalVariation(radius), about), start())

    plan = solve_policy(asked, start())

    returns = np.column_stack([about.returns, about.cash_returns])
    best = returns.max(axis=1)
    assert isinstance(asked.utility, Regret)
    assert asked.utility.best == pytest.approx(best, abs=OBJECTIVE)
    corners = corner_points(TotalVariation(radius), about.probabilities) if radius < 1 else np.eye(K)
    found = linprog(
        np.append(np.zeros(N + 1), 1.0),
        A_ub=np.column_stack([-corners @ returns, -np.ones(len(corners))]),
        b_ub=-corners @ best,
        A_eq=[[1.0] * (N + 1) + [0.0]],
        b_eq=[1.0],
        bounds=[(0, None)] * (N + 1) + [(None, None)],
        method="highs",
    )
    assert plan.objective == pytest.approx(found.fun, abs=OBJECTIVE)


def test_without_aversion_or_weight_both_are_the_expected_loss() -> None:
    about = outlook()
    best = max(float(about.probabilities @ about.returns[:, i]) for i in range(N))
    drawn = simulated_values(about, 20, np.arange(K))

    for objective in (MixtureVariance(0.0), MeanCVaR(0.95, 0.0, drawn, 1 + about.cash_returns)):
        plan = solve_policy(staged(objective, Singleton(), about), start())
        assert plan.equivalent == pytest.approx(max(best, 0.02), abs=OBJECTIVE)


def test_every_objective_that_a_book_may_state_is_one_class_by_its_name() -> None:
    on_the_tree = {name for name, traits in STATED.items() if traits.uses_tree}

    assert set(get_args(ObjectiveName)) == set(STATED)
    assert on_the_tree == set(OBJECTIVES)
    assert {key for traits in STATED.values() for key in traits.keys} == set(OBJECTIVE_KEYS)
    for name, kind in OBJECTIVES.items():
        assert kind.name == name
        assert not (kind.over_leaves and STATED[name].not_reviewed)
