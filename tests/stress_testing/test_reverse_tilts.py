"""The closed forms of reverse stress against cvxpy, against each other, and against Meucci's normal formula."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from allocator.plan.break_even import LeastShift, least_shift_kl, tilt_and_shift
from allocator.stress_testing.reverse import shift_markets
from allocator.types import Matrix, Vector
from tests.agreement import OBJECTIVE

SEEDS = range(12)


class Instance:
    """A portfolio of three names in K scenarios, each with a mean, and a covariance of its own."""

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self.scenarios = 2 + seed % 4
        self.p: Vector = draw.dirichlet(np.full(self.scenarios, 2.0))
        self.x: Vector = draw.uniform(0.1, 0.5, 3)
        self.means: Matrix = draw.normal(0.05, 0.15, (self.scenarios, 3))
        roots = draw.normal(0, 0.15, (self.scenarios, 3, 3))
        self.omega = np.array([root @ root.T + 0.005 * np.eye(3) for root in roots])
        self.losses: Vector = -self.means @ self.x
        self.variances: Vector = np.array([self.x @ one @ self.x for one in self.omega])
        self.loss = float(self.p @ self.losses) + draw.uniform(0.02, 0.15)


def found(tilt: LeastShift | None) -> LeastShift:
    assert tilt is not None
    return tilt


def joint_by_cvxpy(one: Instance) -> tuple[float, Vector, Matrix]:
    """Entropy pooling on scenario × normal, convex in q and u_k = q_k z_k."""
    q, u = cp.Variable(one.scenarios, nonneg=True), cp.Variable((one.scenarios, 3))
    roots = [np.linalg.inv(np.linalg.cholesky(omega)) for omega in one.omega]
    apart = sum(cp.quad_over_lin(root @ u[k], q[k]) for k, root in enumerate(roots))
    gain = q @ (one.means @ one.x) + cp.sum(u @ one.x)
    program = cp.Problem(cp.Minimize(cp.sum(cp.kl_div(q, one.p)) + apart / 2), [cp.sum(q) == 1, gain <= -one.loss])
    program.solve(solver=cp.CLARABEL)
    assert program.status == "optimal"
    return float(program.value), np.asarray(q.value), np.asarray(u.value) / np.asarray(q.value)[:, None]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_shift_of_both_is_the_convex_program_s(seed: int) -> None:
    one = Instance(seed)
    value, q, z = joint_by_cvxpy(one)
    tilt = found(tilt_and_shift(one.losses, one.variances, one.p, one.loss))

    assert tilt.distance == pytest.approx(value, abs=1e-6)
    assert tilt.q == pytest.approx(q, abs=2e-4)
    assert np.array([-tilt.strength * omega @ one.x for omega in one.omega]) == pytest.approx(z, abs=2e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_shift_of_both_just_gives_the_loss_and_is_never_dearer_than_one_alone(seed: int) -> None:
    one = Instance(seed)
    same = np.full(one.scenarios, float(one.variances[0]))
    both = found(tilt_and_shift(one.losses, same, one.p, one.loss))
    alone = least_shift_kl(one.losses - one.loss, one.p)
    market = found(shift_markets(one.losses, float(same[0]), one.p, one.loss))

    assert both.q @ (one.losses + both.strength * same) == pytest.approx(one.loss, abs=1e-12)
    assert both.distance <= min(np.inf if alone is None else alone.distance, market.distance) + 1e-12
    assert (alone is None) == (one.losses.max() < one.loss)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_shift_of_probabilities_is_the_convex_program_s(seed: int) -> None:
    one = Instance(seed)
    loss = (float(one.p @ one.losses) + float(one.losses.max())) / 2
    q = cp.Variable(one.scenarios, nonneg=True)
    constraints = [cp.sum(q) == 1, q @ one.losses >= loss]
    program = cp.Problem(cp.Minimize(cp.sum(cp.kl_div(q, one.p))), constraints)
    program.solve(solver=cp.CLARABEL)
    tilt = found(least_shift_kl(one.losses - loss, one.p))

    assert tilt.strength == 0  # markets stay where they are
    assert tilt.distance == pytest.approx(float(program.value), abs=OBJECTIVE)
    assert tilt.q == pytest.approx(np.asarray(q.value), abs=2e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_shift_of_markets_is_the_quadratic_program_s(seed: int) -> None:
    one = Instance(seed)
    z, omega, mean = cp.Variable(3), one.omega[0], one.p @ one.means
    apart = cp.sum_squares(np.linalg.inv(np.linalg.cholesky(omega)) @ z) / 2
    program = cp.Problem(cp.Minimize(apart), [-(mean + z) @ one.x >= one.loss])
    program.solve(solver=cp.CLARABEL)
    tilt = found(shift_markets(one.losses, float(one.variances[0]), one.p, one.loss))

    assert tilt.distance == pytest.approx(float(program.value), abs=OBJECTIVE)
    assert -tilt.strength * omega @ one.x == pytest.approx(np.asarray(z.value), abs=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_scenario_leaves_the_markets_and_meucci_s_normal_formula(seed: int) -> None:
    one = Instance(seed)
    mean, omega = one.p @ one.means, one.omega[0]
    loss, variance = np.array([-mean @ one.x]), float(one.variances[0])
    both = found(tilt_and_shift(loss, np.array([variance]), np.ones(1), one.loss))
    market = found(shift_markets(loss, variance, np.ones(1), one.loss))
    view = one.x[None, :]  # μ~ = μ + ΣQ'(QΣQ')⁻¹(v − Qμ) with Q = x' and v = −L
    posterior = mean + omega @ view.T @ np.linalg.solve(view @ omega @ view.T, np.array([-one.loss]) - view @ mean)

    assert both.distance == pytest.approx(market.distance, rel=1e-10)
    assert mean - both.strength * omega @ one.x == pytest.approx(posterior, abs=1e-12)
    assert mean - market.strength * omega @ one.x == pytest.approx(posterior, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_risk_within_scenarios_leaves_the_probabilities(seed: int) -> None:
    one = Instance(seed)
    nothing, largest = np.zeros(one.scenarios), float(one.losses.max())
    loss = (float(one.p @ one.losses) + largest) / 2
    both, alone = (
        found(tilt_and_shift(one.losses, nothing, one.p, loss)),
        found(least_shift_kl(one.losses - loss, one.p)),
    )

    assert both.distance == pytest.approx(alone.distance, rel=1e-9)
    assert both.q == pytest.approx(alone.q, abs=1e-9)
    assert tilt_and_shift(one.losses, nothing, one.p, largest + 0.01) is None
    assert least_shift_kl(one.losses - (largest + 0.01), one.p) is None
    assert shift_markets(one.losses, 0.0, one.p, loss) is None


def test_a_larger_loss_is_farther_away_on_every_way() -> None:
    one = Instance(3)
    losses = np.linspace(float(one.p @ one.losses) + 1e-3, float(one.losses.max()) - 1e-3, 20)
    for way in (
        lambda loss: least_shift_kl(one.losses - loss, one.p),
        lambda loss: shift_markets(one.losses, 0.02, one.p, loss),
        lambda loss: tilt_and_shift(one.losses, one.variances, one.p, loss),
    ):
        distances = [found(way(float(loss))).distance for loss in losses]
        assert (np.diff(distances) > 0).all()


def test_what_is_lost_already_wants_no_shift() -> None:
    losses, p = np.array([0.2, 0.1]), np.array([0.5, 0.5])
    for tilt in (
        least_shift_kl(losses - 0.15, p),
        shift_markets(losses, 0.02, p, 0.15),
        tilt_and_shift(losses, np.full(2, 0.02), p, 0.15),
    ):
        assert found(tilt).distance == 0
        assert found(tilt).q == pytest.approx(p)
        assert found(tilt).strength == 0


def test_an_impossible_scenario_stays_impossible_in_both() -> None:
    losses, p = np.array([0.9, 0.1, -0.1]), np.array([0.0, 0.5, 0.5])
    tilt = found(tilt_and_shift(losses, np.full(3, 0.02), p, 0.3))

    assert tilt.q[0] == 0
    assert tilt.q.sum() == pytest.approx(1)


def test_a_loss_of_far_more_than_the_scenarios_is_reached_by_markets_without_overflow() -> None:
    losses, p = np.array([0.01, -0.01]), np.array([0.5, 0.5])
    tilt = found(tilt_and_shift(losses, np.full(2, 1e-8), p, 1.0))

    assert tilt.q @ (losses + tilt.strength * 1e-8) == pytest.approx(1.0)


def test_the_published_reverse_stress_fits_together() -> None:
    """Science §4.7, L = .03: from its tilt of probabilities and its market value follow its tilt of both and its value.

    The scenario losses are not published; ln(q/p) is linear in them, and .0467 is their largest.
    """
    p, q = np.array([0.3, 0.2, 0.3, 0.2]), np.array([0.008, 0.474, 0.045, 0.473])
    logs = np.log(q / p)
    strength = (logs.max() - q @ logs) / (0.0467 - 0.03)
    losses = 0.0467 - (logs.max() - logs) / strength
    variance = (0.03 - float(p @ losses)) ** 2 / (2 * 0.241850)
    alone = found(least_shift_kl(losses - 0.03, p))
    both = found(tilt_and_shift(losses, np.full(4, variance), p, 0.03))

    assert alone.distance == pytest.approx(0.7027, abs=2e-3)  # q is printed to three digits
    assert both.distance == pytest.approx(0.1698053, abs=3e-4)
    assert both.q == pytest.approx([0.193, 0.275, 0.258, 0.275], abs=1e-3)
    assert np.exp(-both.distance) == pytest.approx(0.844, abs=5e-4)
