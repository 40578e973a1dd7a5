"""The risk within a scenario, charged along the path: against closed forms, another optimiser, and simulated paths."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq, minimize

from allocator.ambiguity.balls import Singleton
from allocator.book.loading import load
from allocator.mandate.mandate import Mandate
from allocator.multistage import solve as solving
from allocator.multistage.mandate import (
    MultistageMandate,
    PathWealth,
    build_multistage_mandate,
    without_ambiguity,
)
from allocator.multistage.objectives import LogUtility, Objective, PowerUtility
from allocator.multistage.policy import Policy, adverse_node_probabilities, policy_from_trades, policy_value
from allocator.multistage.solve import solve_policy
from allocator.optimization.quadratic_program import TIE_BREAK
from allocator.optimization.solve import Limits
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.rules.rows import Position
from tests.agreement import OBJECTIVE, holdings_within
from tests.random_trees import random_tree
from tests.thoroughness import count, some
from tests.trees import of_one

CLOSED = [(0.08, 0.04, 0.2, 1, 0.92839), (0.10, 0.04, 0.3, 1, 0.61893), (0.08, 0.04, 0.2, 3, 0.31666)]
"""Mean, cash, volatility, relative risk aversion, and the weight of the one name (science §3.14)."""
FINE = Limits(tolerance=1e-11)


def charged(aversion: float) -> Objective:
    return LogUtility(charged=True) if aversion == 1 else PowerUtility(aversion, charged=True)


def one_step(mean: float, cash: float, volatility: float, aversion: float) -> MultistageMandate:
    """A year, one name, one scenario, no costs."""
    risk = FactorRisk(np.zeros((1, 1)), np.array([volatility**2]), "")
    outlook = Outlook(("it",), np.ones(1), np.array([[mean]]), np.array([cash]), risk, 1.0)
    mandate = Mandate(1.0, 0.0, Singleton(), (), (), np.zeros(1))
    return MultistageMandate(of_one(outlook), (mandate,), (outlook,), (Singleton(),), charged(aversion))


@pytest.mark.parametrize(("mean", "cash", "volatility", "aversion", "printed"), CLOSED)
def test_one_step_holds_what_the_closed_form_says(
    mean: float, cash: float, volatility: float, aversion: float, printed: float
) -> None:
    def slope(w: float) -> float:
        return float(aversion * volatility**2 * w * (1 + cash + w * (mean - cash)) - (mean - cash))

    policy = solve_policy(one_step(mean, cash, volatility, aversion), Position(np.zeros(1), 1.0), FINE)
    weight = brentq(slope, 0, 1, xtol=1e-14)
    flat = holdings_within(2 * max(policy.gap, 1e-15) + TIE_BREAK**2, aversion * volatility**2)

    assert weight == pytest.approx(printed, abs=5e-6)
    assert float(policy.holdings[0, 0]) == pytest.approx(weight, abs=1e-6 + flat)
    certain = (1 + cash + weight * (mean - cash)) * np.exp(-aversion / 2 * (volatility * weight) ** 2) - 1
    assert policy.equivalent == pytest.approx(certain, abs=1e-9)


@pytest.mark.parametrize(("mean", "cash", "volatility", "aversion", "printed"), CLOSED)
def test_the_formula_s_own_fixed_point_is_the_closed_form_to_a_millionth(
    mean: float, cash: float, volatility: float, aversion: float, printed: float
) -> None:
    """No solver: the best weight around the wealth of the last, again and again."""
    staged, weight = one_step(mean, cash, volatility, aversion), 1.0

    def loss(w: float, around: PathWealth) -> float:
        value = policy_value(staged, staged.ambiguities, np.array([[w]]), np.array([1 - w]), around)
        return float(value.losses[0])

    for _ in range(8):
        around = policy_from_trades(staged, Position(np.zeros(1), 1.0), np.array([[weight]])).own_path
        # of a smooth function, the zero of its slope: its least value is flat to the root of its last digit
        weight = brentq(lambda w, at=around: loss(w + 1e-4, at) - loss(w - 1e-4, at), 0.01, 0.9999, xtol=1e-13)

    assert weight == pytest.approx(printed, abs=5e-6)
    assert aversion * volatility**2 * weight * (1 + cash + weight * (mean - cash)) == pytest.approx(
        mean - cash, abs=1e-6 * aversion * volatility**2
    )


def plain_tree(seed: int, aversion: float) -> tuple[MultistageMandate, Position]:
    """A random tree of no costs, taken at its beliefs."""
    staged, start = random_tree(seed)
    mandates = tuple(replace(one, cost_rates=0 * one.cost_rates) for one in staged.mandates)
    return without_ambiguity(replace(staged, mandates=mandates, utility=charged(aversion))), start


@pytest.mark.parametrize(("seed", "aversion"), some([(1, 1.0), (3, 3.0)], 2))
def test_another_optimiser_finds_nothing_better_by_the_exact_formula(seed: int, aversion: float) -> None:
    """Weights node by node, W·exp(−Σ γ/2·Δσ²) at the leaves, by scipy from the policy and from equal weights."""
    staged, start = plain_tree(seed, aversion)
    tree, utility = staged.tree, staged.utility
    nodes, names = tree.growth.shape
    reach = tree.reach()[1]
    policy = solve_policy(staged, start)

    def loss(flat: np.ndarray) -> float:
        weights, wealth, logs = flat.reshape(nodes, names), np.ones(nodes), np.zeros(nodes)
        for node in range(nodes):
            if node:
                above = tree.parents[node]
                held = weights[above]
                grown = held @ tree.growth[node] + (1 - held.sum()) * tree.cash_growth[node]
                wealth[node], logs[node] = wealth[above] * grown, logs[above]
            logs[node] += aversion / 2 * staged.steps[node] * staged.outlooks[node].risk.variance(weights[node])
        at = weights[tree.leaf_parents]
        ends = (at * tree.leaf_growth).sum(axis=1) + (1 - at.sum(axis=1)) * tree.leaf_cash_growth
        return float(reach @ utility.loss(wealth[tree.leaf_parents] * ends * np.exp(-logs[tree.leaf_parents])))

    kept = {"type": "ineq", "fun": lambda flat: 1 - flat.reshape(nodes, names).sum(axis=1)}
    ours = policy.holdings / policy.wealth[:, None]
    assert loss(ours.ravel()) == pytest.approx(policy.objective, abs=1e-9)
    for first in (ours, np.full_like(ours, 1 / (names + 1))):
        found = minimize(
            loss, first.ravel(), bounds=[(0, 0.6)] * ours.size, constraints=[kept], method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 300},
        )  # fmt: skip
        assert found.fun == pytest.approx(policy.objective, abs=OBJECTIVE)


# The reviewed book: what was planned is decided again, and is worth what its paths are.
#
NOMINAL, NESTED = ("robust.set='none'",), ()
AVERSIONS = {1.0: ("mandate.objective='log'",), 3.0: ("mandate.objective='crra'", "mandate.relative_risk_aversion=3.0")}


@cache
def reviewed(root: Path, aversion: float, *overrides: str, on: bool = True) -> Policy:
    asked = (*AVERSIONS[aversion], f"mandate.charge_risk={str(on).lower()}", *overrides)
    book = load(root / "tests" / "plain_books" / "reviewed", overrides=asked)
    staged = build_multistage_mandate(book, build_outlook(book))
    return solve_policy(staged, Position(book.weights, book.cash / book.value))


@pytest.mark.parametrize(
    ("aversion", "overrides"), some([(3.0, NESTED), (1.0, NESTED), (3.0, NOMINAL), (1.0, NOMINAL)], 4)
)
def test_a_re_solve_at_every_node_repeats_the_announced_policy(
    root: Path, aversion: float, overrides: tuple[str, ...]
) -> None:
    """By somebody who knows nothing of what was planned: T10 (science §3.9)."""
    policy = reviewed(root, aversion, *overrides)

    for node in range(1, policy.staged.tree.nodes):
        unit = float(policy.wealth_before[node])
        below = replace(policy.staged.below(node, unit), around=None)
        again = solve_policy(below, policy.start_of(node))
        assert np.abs(again.holdings[0] - policy.holdings[node] / unit).max() <= 1e-3


@pytest.mark.parametrize("seed", some(range(6), 6))
def test_a_re_solve_repeats_what_was_planned_off_the_adversary_s_path_too(seed: int) -> None:
    """Under a mixture of sets, some of which leave nodes no probability."""
    staged, start = random_tree(seed)
    policy = solve_policy(replace(staged, utility=charged(3.0 if seed % 2 else 1.0)), start)

    for node in range(1, staged.tree.nodes):
        unit = float(policy.wealth_before[node])
        again = solve_policy(replace(policy.staged.below(node, unit), around=None), policy.start_of(node))
        assert np.abs(again.holdings[0] - policy.holdings[node] / unit).max() <= 1e-3


def simulated(policy: Policy, draws: int, seed: int = 7) -> np.ndarray:
    """(L, S) final wealth where every name moves lognormally around its scenario, and one trades to the planned weights
    at every node; draws come with their mirror images, one after the other.
    """
    staged, tree, rng = policy.staged, policy.staged.tree, np.random.default_rng(seed)
    nodes, wealth = np.ones((tree.nodes, draws)), np.ones((tree.leaves, draws))
    for node in range(tree.nodes):
        risk, (below, ends) = staged.outlooks[node].risk, tree.children(node)
        factors, names = risk.loadings.shape[1], len(risk.specific)
        half = rng.standard_normal((draws // 2, factors + names)) * np.sqrt(staged.steps[node])
        moves = half[:, :factors] @ risk.loadings.T + half[:, factors:] * np.sqrt(risk.specific)
        spread = staged.steps[node] * risk.variances / 2
        noise = np.exp(np.stack([moves, -moves], axis=1).reshape(draws, names) - spread)
        growth = np.vstack([tree.growth[below], tree.leaf_growth[ends]])
        in_cash = np.concatenate([tree.cash_growth[below], tree.leaf_cash_growth[ends]]) * policy.cash[node]
        came = (growth * policy.holdings[node]) @ noise.T + in_cash[:, None]
        kept = policy.wealth[below] / policy.wealth_before[below]  # what trading costs
        here = nodes[node] / policy.wealth[node] if node else np.full(draws, 1.0)
        nodes[below] = came[: len(below)] * kept[:, None] * here
        wealth[ends] = came[len(below) :] * here
    return wealth


def of_pairs(values: np.ndarray) -> tuple[float, float]:
    """The mean and its standard error, of draws with their mirror images."""
    pairs = values.reshape(-1, 2).mean(axis=1)
    return float(pairs.mean()), float(pairs.std() / np.sqrt(len(pairs)))


@pytest.mark.parametrize("aversion", [1.0, 3.0])
def test_the_own_value_is_that_of_simulated_paths(root: Path, aversion: float) -> None:
    """Under the adversary's probabilities of the policy, within three standard errors and ten basis points."""
    policy = reviewed(root, aversion)
    q = adverse_node_probabilities(policy)[1]
    utility = policy.staged.utility
    loss, error = of_pairs(q @ utility.loss(simulated(policy, count(1_000_000, 10))))

    assert abs(utility.equivalent(loss) - policy.equivalent) <= 3 * error + 10e-4


@pytest.mark.parametrize("aversion", some([3.0, 1.0], 2))
def test_who_charges_risk_does_better_on_the_paths_than_who_does_not(root: Path, aversion: float) -> None:
    """The same draws, under the beliefs as they are."""
    careful, careless = (reviewed(root, aversion, *NOMINAL, on=on) for on in (True, False))
    p, utility, draws = careful.staged.tree.reach()[1], careful.staged.utility, count(1_000_000, 10)
    better, error = of_pairs(p @ (utility.loss(simulated(careless, draws)) - utility.loss(simulated(careful, draws))))

    assert better > 3 * error


def test_what_is_charged_is_at_its_fixed_point_and_proved_there(root: Path) -> None:
    policy = reviewed(root, 1.0)

    assert policy.staged.around is not None
    assert abs(policy.residual) <= 1e-8
    assert policy.gap <= OBJECTIVE
    first = replace(policy, staged=replace(policy.staged, around=None))
    assert abs(first.residual) > 1e-4  # around a wealth that stays as it is


def test_all_repeats_are_of_one_compiled_program(monkeypatch: pytest.MonkeyPatch) -> None:
    staged, start = plain_tree(2, 1.0)
    made: list[object] = []
    build = solving.tree_program
    monkeypatch.setattr(solving, "tree_program", lambda *given, **told: made.append(given) or build(*given, **told))
    solve_policy(staged, start)

    assert len(made) == 1


BOOKS = {
    "log, kl": ("reviewed", "mandate.objective='log'"),
    "crra, total variation": (
        "reviewed", "mandate.objective='crra'", "mandate.relative_risk_aversion=3.0", "robust.set='total_variation'",
    ),
    "one decision": ("reviewed", "mandate.objective='log'", "horizon.reviews=[]"),
}  # fmt: skip


@pytest.mark.parametrize("case", BOOKS)
def test_switched_off_the_risk_within_a_scenario_changes_no_digit_of_a_policy(root: Path, case: str) -> None:
    """What is decided without the charge is what is decided where there is no risk to charge."""
    name, *overrides = BOOKS[case]
    book = load(root / "tests" / "plain_books" / name, overrides=[*overrides, "mandate.charge_risk=false"])
    outlook, start = build_outlook(book), Position(book.weights, book.cash / book.value)
    off = solve_policy(build_multistage_mandate(book, outlook), start)
    on = load(root / "tests" / "plain_books" / name, overrides=[*overrides, "mandate.charge_risk=true"])
    riskless = replace(outlook, risk=FactorRisk(0 * outlook.risk.loadings, 0 * outlook.risk.specific, "none"))
    there = solve_policy(build_multistage_mandate(on, riskless), start)

    assert off.holdings == pytest.approx(there.holdings, abs=1e-12)
    assert off.objective == pytest.approx(there.objective, abs=1e-12)
    assert off.solved is off.valued
