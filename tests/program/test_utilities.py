"""Every utility against formulas, solvers that share nothing with ours, and the identities between them."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import minimize

from allocator.mandate.ambiguity import Ambiguity, Known, KullbackLeibler, TotalVariation
from allocator.mandate.mandate import Mandate
from allocator.mandate.staged import Staged
from allocator.mandate.utility import Linear, Log, PiecewiseLinear, PowerUtility, Utility
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk import FactorRisk
from allocator.outlook.tree import Tree
from allocator.program.compile import Start
from allocator.program.policy import Policy, policy_of
from allocator.program.solve import Limits
from allocator.types import Matrix, Vector
from tests.trees import CASH_ONLY, FREE, worked

FINE = Limits(tolerance=1e-11)
PENALTIES = pytest.mark.parametrize("penalty", [0.25, 0.5, 1.0, 2.0])


def one_decision(
    returns: Matrix,
    probabilities: Vector,
    utility: Utility,
    *,
    cash_return: float = 0.0,
    ambiguity: Ambiguity | None = None,
    costs: Vector | None = None,
    risk: FactorRisk | None = None,
    risk_charge: float = 0.0,
) -> Staged:
    """Decide today, see one of K scenarios come true."""
    scenarios, names = returns.shape
    tree = Tree(
        names=("now",),
        kinds=("now",),
        dates=(dt.date(2026, 11, 20),),
        parents=np.array([-1]),
        probabilities=np.ones(1),
        beliefs=probabilities[None, :],
        growth=np.ones((1, names)),
        cash_growth=np.ones(1),
        leaf_parents=np.zeros(scenarios, dtype=np.int64),
        leaf_scenarios=np.arange(scenarios),
        leaf_probabilities=probabilities,
        leaf_growth=1 + returns,
        leaf_cash_growth=np.full(scenarios, 1 + cash_return),
    )
    flat = FactorRisk(np.zeros((names, 1)), np.zeros(names), "none")
    labels = tuple(f"s{k}" for k in range(scenarios))
    about = Outlook(labels, probabilities, returns, np.full(scenarios, cash_return), risk or flat, 1.0)
    mandate = Mandate(1.0, 0.0, Known(), (), (), np.zeros(names) if costs is None else costs)
    return Staged(tree, (mandate,), (about,), (ambiguity or Known(),), utility, risk_charge)


def in_cash(names: int) -> Start:
    return Start(np.zeros(names), 1.0)


def drawn(seed: int, scenarios: int = 5, names: int = 3) -> tuple[Matrix, Vector]:
    """Scenario returns whose best mixture has no name at nothing or at everything too often."""
    draw = np.random.default_rng(seed)
    return draw.uniform(-0.5, 0.65, (scenarios, names)), draw.dirichlet(np.full(scenarios, 4.0))


def ends(policy: Policy) -> Vector:
    """(L,) what the leaves end with."""
    tree = policy.staged.tree
    held = (tree.leaf_growth * policy.holdings[tree.leaf_parents]).sum(axis=1)
    return np.asarray(held + tree.leaf_cash_growth * policy.cash[tree.leaf_parents])


@pytest.mark.parametrize("interest", [0.0, 0.03])
@pytest.mark.parametrize(("gain", "loss", "p"), [(1.0, 1.0, 0.6), (0.5, 0.4, 0.5), (2.0, 0.9, 0.4), (0.3, 0.5, 0.3)])
def test_a_bet_of_two_outcomes_is_kelly_s_part_of_the_account(
    gain: float, loss: float, p: float, interest: float
) -> None:
    asked = one_decision(np.array([[gain], [-loss]]), np.array([p, 1 - p]), Log(), cash_return=interest)
    up, down = gain - interest, loss + interest
    part = float(np.clip((1 + interest) * (p / down - (1 - p) / up), 0, 1))
    growth = p * np.log(1 + interest + part * up) + (1 - p) * np.log(1 + interest - part * down)

    plan = policy_of(asked, in_cash(1), FINE)

    assert plan.holdings[0, 0] == pytest.approx(part, abs=2e-5)
    assert -plan.objective == pytest.approx(growth, abs=1e-8)


def test_a_race_on_which_everything_is_staked_is_bet_on_by_the_probabilities_alone() -> None:
    """Kelly's horses: one of three wins and pays its odds; without cash the odds change nothing."""
    p, odds = np.array([0.5, 0.3, 0.2]), np.array([1.5, 4.0, 7.0])
    asked = one_decision(np.diag(odds) - 1, p, Log(), cash_return=-0.99)

    plan = policy_of(asked, in_cash(3), FINE)

    assert plan.holdings[0] == pytest.approx(p, abs=2e-5)
    assert -plan.objective == pytest.approx(float(p @ np.log(p * odds)), abs=1e-8)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("utility", [PowerUtility(2.0), PowerUtility(0.5), Log()], ids=["2", ".5", "log"])
def test_a_general_solver_finds_the_same_optimum_on_the_definition(utility: Utility, seed: int) -> None:
    """Weights of names and cash, costs on what is bought; from several starts, by SLSQP."""
    returns, p = drawn(seed)
    costs, names = np.array([0.002, 0.01, 0.0]), returns.shape[1]
    growth = np.column_stack([1 + returns, np.full(len(p), 1.02)])

    def definition(x: Vector) -> float:
        wealth = growth @ np.append(x, 1 - x.sum() - costs @ x)
        if isinstance(utility, PowerUtility):
            return -float(p @ (wealth ** (1 - utility.aversion) / (1 - utility.aversion)))
        return -float(p @ np.log(wealth))

    budget = {"type": "ineq", "fun": lambda x: 1 - x.sum() - costs @ x}
    starts = np.vstack([np.full(names, 0.25), 0.8 * np.eye(names)])
    options = {"ftol": 1e-14, "maxiter": 1000}
    tried = [
        minimize(definition, x, bounds=[(0, 1)] * names, constraints=[budget], method="SLSQP", options=options)
        for x in starts
    ]
    best = min(tried, key=lambda one: float(one.fun))
    asked = one_decision(returns, p, utility, cash_return=0.02, costs=costs)

    plan = policy_of(asked, in_cash(names), FINE)

    shift = 1 / (1 - utility.aversion) if isinstance(utility, PowerUtility) else 0.0
    assert plan.objective == pytest.approx(best.fun + shift, abs=1e-8)
    assert plan.holdings[0] == pytest.approx(best.x, abs=2e-4)


@pytest.mark.parametrize("ambiguity", [Known(), TotalVariation(0.2), KullbackLeibler(0.1)], ids=["p", "tv", "kl"])
@pytest.mark.parametrize("charge", [0.05, 0.2, 0.5])
def test_linear_with_a_charge_for_risk_is_the_textbook_s_program(charge: float, ambiguity: Ambiguity) -> None:
    for seed in range(4):
        draw, (returns, p) = np.random.default_rng(seed), drawn(seed)
        names, costs = returns.shape[1], np.array([0.001, 0.004, 0.01])
        risk = FactorRisk(draw.normal(0, 0.2, (names, 2)), draw.uniform(0.01, 0.1, names), "a test")
        root = np.linalg.cholesky(risk.loadings @ risk.loadings.T + np.diag(risk.specific)).T
        x = cp.Variable(names, nonneg=True)
        cash = 1 - cp.sum(x) - costs @ x
        losses = 1 - (1 + returns) @ x - 1.02 * cash
        worst, rules = _worst(losses, ambiguity, p)
        problem = cp.Problem(cp.Minimize(worst + charge * cp.norm(root @ x)), [cash >= 0, *rules])
        problem.solve(cp.CLARABEL)
        asked = one_decision(
            returns,
            p,
            Linear(),
            cash_return=0.02,
            ambiguity=ambiguity,
            costs=costs,
            risk=risk,
            risk_charge=charge,
        )

        plan = policy_of(asked, in_cash(names))

        assert plan.objective == pytest.approx(float(problem.value), abs=1e-7)
        assert plan.holdings[0] == pytest.approx(x.value, abs=2e-3)


def _worst(losses: cp.Expression, ambiguity: Ambiguity, p: Vector) -> tuple[cp.Expression, list[cp.Constraint]]:
    """By duality of the definitions; total variation through every sign of q − p."""
    if isinstance(ambiguity, KullbackLeibler):
        price, shift, tilt = cp.Variable(nonneg=True), cp.Variable(), cp.Variable(len(p), nonneg=True)
        each = [cp.rel_entr(price, tilt[k]) <= shift + price - losses[k] for k in range(len(p))]
        return shift + price * ambiguity.radius + p @ tilt, each
    if isinstance(ambiguity, TotalVariation):
        up, down, level = cp.Variable(nonneg=True), cp.Variable(len(p)), cp.Variable()
        return level + 2 * ambiguity.radius * up + p @ down, [cp.abs(down) <= up, down + level >= losses]
    return p @ losses, []


@PENALTIES
def test_log_guarded_by_a_price_on_divergence_is_constant_relative_risk_aversion(penalty: float) -> None:
    """Science F13: sup_q E_q[−ln W] − κ·KL(q, p) = κ·ln E_p[W^(−1/κ)], which is CRRA with γ = 1 + 1/κ.

    Its adversary is q ∝ p·W^(−1/κ). The ball whose radius is that q's divergence has κ as its price, so that log on the
    ball decides the same. In draws with two names that are nearly alike, weights are as loose as the root of the gap.
    """
    for seed in (1, 3, 4):
        returns, p = drawn(seed, scenarios=6)
        averse = policy_of(one_decision(returns, p, PowerUtility(1 + 1 / penalty)), in_cash(3), FINE)
        tilted = p * ends(averse) ** (-1 / penalty)
        q = tilted / tilted.sum()
        radius = float(q @ np.log(q / p))
        ball = policy_of(one_decision(returns, p, Log(), ambiguity=KullbackLeibler(radius)), in_cash(3), FINE)

        assert radius > 1e-3
        assert ball.holdings[0] == pytest.approx(averse.holdings[0], abs=1e-5)
        assert ball.valued.adversaries[0] == pytest.approx(q, abs=1e-5)
        penalised = ball.objective - penalty * radius
        assert penalised == pytest.approx(penalty * np.log(p @ ends(averse) ** (-1 / penalty)), abs=1e-8)
        assert float(np.expm1(-penalised)) == pytest.approx(averse.equivalent, abs=1e-6)


@PENALTIES
def test_over_a_tree_too_the_price_on_divergence_at_every_node_is_constant_relative_risk_aversion(
    penalty: float,
) -> None:
    """The price nests: what a node is worth is κ·ln of its children's mean power, down to the leaves. A ball below 1e-6
    is the belief itself to us (F14), which shows at κ = 1, where one node's is 8e-7."""
    averse = policy_of(worked(utility=PowerUtility(1 + 1 / penalty), costs=FREE), CASH_ONLY, FINE)
    tree = averse.staged.tree
    powers, at_nodes, charged = ends(averse) ** (-1 / penalty), np.zeros(tree.nodes), np.zeros(tree.nodes)
    guarded: list[Ambiguity] = [Known()] * tree.nodes
    for node in reversed(range(tree.nodes)):
        below, leaves = tree.children(node)
        p, ahead = tree.child_probabilities(node), np.concatenate([at_nodes[below], powers[leaves]])
        at_nodes[node] = p @ ahead
        q = p * ahead / at_nodes[node]
        radius = float(q[p > 0] @ np.log(q[p > 0] / p[p > 0]))
        guarded[node] = KullbackLeibler(radius)
        charged[node] = penalty * radius + q @ np.concatenate([charged[below], np.zeros(len(leaves))])

    ball = policy_of(replace(averse.staged, utility=Log(), ambiguities=tuple(guarded)), CASH_ONLY)

    assert ball.holdings[0] == pytest.approx(averse.holdings[0], abs=1e-5)
    assert float(np.expm1(charged[0] - ball.objective)) == pytest.approx(averse.equivalent, abs=4e-6)


def test_eighty_tangents_of_the_logarithm_are_worth_what_science_measured() -> None:
    """Science's T14 (.201289 against .201375): tangents lie above the curve. Theirs touch it from .2 to 5."""
    at = np.geomspace(0.2, 5, 80)
    tangents = PiecewiseLinear(np.ones((1, 7)), np.ones(1), (1 / at)[None, :], (np.log(at) - 1)[None, :])
    log, flat = policy_of(worked(), CASH_ONLY), policy_of(worked(utility=tangents), CASH_ONLY)

    assert (-log.objective, -flat.objective) == pytest.approx((0.201289, 0.201375), abs=6e-7)
    assert flat.objective <= log.objective
    assert Log().loss(ends(flat)).mean() >= flat.valued.leaf_losses.mean()


@pytest.mark.parametrize(
    ("utility", "expected"),
    [
        (Linear(), lambda wealth, p: p @ wealth - 1),
        (Log(), lambda wealth, p: np.exp(p @ np.log(wealth)) - 1),
        (PowerUtility(2.0), lambda wealth, p: 1 / (p @ (1 / wealth)) - 1),
        (PowerUtility(0.5), lambda wealth, p: (p @ np.sqrt(wealth)) ** 2 - 1),
        (PowerUtility(4.0), lambda wealth, p: (p @ wealth**-3.0) ** (-1 / 3) - 1),
    ],
    ids=["linear", "log", "2", ".5", "4"],
)
def test_the_sure_return_that_is_as_good_is_the_power_mean_of_wealth(utility: Utility, expected: object) -> None:
    assert callable(expected)
    for seed in range(5):
        returns, p = drawn(seed)
        plan = policy_of(one_decision(returns, p, utility), in_cash(3))

        assert plan.equivalent == pytest.approx(expected(ends(plan), p), abs=1e-9)
        assert not isinstance(utility, PiecewiseLinear)
        sure = utility.loss(np.array([1 + plan.equivalent]))[0]
        assert sure == pytest.approx(plan.objective, abs=1e-12)
