"""Inner maximisers: the worst expected loss over an ambiguity set by general solvers, apart from our closed forms."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog, minimize_scalar

from allocator.ambiguity.balls import AnyProbabilities, Box, Contamination, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler, ModifiedChiSquared
from allocator.ambiguity.polyhedral import ExpertHull, Polytope
from allocator.ambiguity.sets import Ambiguity
from allocator.ambiguity.transport import Wasserstein
from allocator.types import Vector


def inner(losses: Vector, ambiguity: Ambiguity, p: Vector) -> float:  # noqa: PLR0911
    """max q'losses over the set, from its definition."""
    if isinstance(ambiguity, TotalVariation):
        return _total_variation(losses, ambiguity.radius, p)
    if isinstance(ambiguity, Box):
        return _on_simplex(losses, np.column_stack([p - ambiguity.radius, p + ambiguity.radius]).clip(0, 1))
    if isinstance(ambiguity, KullbackLeibler):
        return _relative_entropy(losses, ambiguity.radius, p)
    if isinstance(ambiguity, ModifiedChiSquared):
        return _modified_chi2(losses, ambiguity.radius, p)
    if isinstance(ambiguity, Wasserstein):
        return _transport(losses, ambiguity, p)
    if isinstance(ambiguity, ExpertHull):
        return float(_program(-np.vstack([p, ambiguity.experts]) @ losses))
    if isinstance(ambiguity, Polytope):
        return float(_program(-losses, A_ub=ambiguity.matrix, b_ub=ambiguity.limits))
    if isinstance(ambiguity, Contamination):
        return _on_simplex(losses, np.column_stack([(1 - ambiguity.radius) * p, np.ones(len(p))]))
    if isinstance(ambiguity, AnyProbabilities):
        return _on_simplex(losses, np.column_stack([np.zeros(len(p)), np.ones(len(p))]))
    return float(p @ losses)


def _on_simplex(losses: Vector, bounds: Vector) -> float:
    found = linprog(-losses, A_eq=np.ones((1, len(losses))), b_eq=[1.0], bounds=bounds, method="highs")
    assert found.status == 0, found.message
    return -float(found.fun)


def _total_variation(losses: Vector, radius: float, p: Vector) -> float:
    """Over (q, t): t ≥ |q − p|, Σt ≤ 2·radius, Σq = 1."""
    count = len(p)
    eye = np.eye(count)
    found = linprog(
        np.concatenate([-losses, np.zeros(count)]),
        A_ub=np.vstack([np.hstack([eye, -eye]), np.hstack([-eye, -eye]), [[0.0] * count + [1.0] * count]]),
        b_ub=np.concatenate([p, -p, [2 * radius]]),
        A_eq=np.array([[1.0] * count + [0.0] * count]),
        b_eq=[1.0],
        method="highs",
    )
    assert found.status == 0, found.message
    return -float(found.fun)


def _relative_entropy(losses: Vector, radius: float, p: Vector) -> float:
    """inf over price > 0 of price·radius + price·ln Σ p e^(loss/price) (Donsker and Varadhan 1975), on a log scale."""
    seen = p > 0
    p, losses = p[seen], losses[seen]
    if radius == 0 or np.ptp(losses) == 0:
        return float(p @ losses)
    spread, highest = float(np.ptp(losses)), float(losses.max())

    def dual(log_price: Vector) -> Vector:
        price = np.exp(log_price) * spread
        weights = p * np.exp((losses - highest) / price[:, None])
        return price * radius + highest + price * np.log(weights.sum(axis=1))

    grid = np.linspace(-16, 12, 281)
    near = grid[int(np.argmin(dual(grid)))]
    found = minimize_scalar(
        lambda at: float(dual(np.array([at]))[0]),
        bounds=(near - 0.2, near + 0.2),
        method="bounded",
        options={"xatol": 1e-12},
    )
    return min(float(found.fun), highest)


def _program(costs: Vector, **rows: Vector) -> float:
    """The most −costs'x over probabilities x under further rows."""
    found = linprog(costs, A_eq=np.ones((1, len(costs))), b_eq=[1.0], method="highs", **rows)
    assert found.status == 0, found.message
    return -float(found.fun)


def _transport(losses: Vector, ambiguity: Wasserstein, p: Vector) -> float:
    """Over transports T with rows summing to p: Σ T_jk·loss_k within the cost."""
    count = len(p)
    found = linprog(
        -np.tile(losses, count),
        A_ub=ambiguity.metric.reshape(1, -1),
        b_ub=[ambiguity.radius],
        A_eq=np.kron(np.eye(count), np.ones(count)),
        b_eq=p,
        method="highs",
    )
    assert found.status == 0, found.message
    return -float(found.fun)


def _modified_chi2(losses: Vector, radius: float, p: Vector) -> float:
    """inf over η of η + √(1 + radius)·‖√p∘(loss − η)₊‖, η by search: −∞ at radius 0, at most the largest loss."""
    seen = p > 0
    p, losses = p[seen], losses[seen]
    if radius == 0 or np.ptp(losses) == 0:
        return float(p @ losses)
    highest, spread = float(losses.max()), float(np.ptp(losses))

    def dual(log_below: Vector) -> Vector:
        eta = highest - spread * np.exp(log_below)[:, None]
        return eta[:, 0] + np.sqrt((1 + radius) * (np.maximum(losses - eta, 0) ** 2 @ p))

    grid = np.linspace(-16, 8, 481)
    near = grid[int(np.argmin(dual(grid)))]
    found = minimize_scalar(
        lambda at: float(dual(np.array([at]))[0]),
        bounds=(near - 0.1, near + 0.1),
        method="bounded",
        options={"xatol": 1e-12},
    )
    return min(float(found.fun), highest)


def random_instance(draw: np.random.Generator, count: int, kind: int) -> tuple[Vector, Vector]:
    """Losses and a belief of `count` scenarios; by `kind` with ties, with impossible scenarios, with both."""
    losses, p = draw.normal(size=count), draw.dirichlet(np.ones(count))
    if kind & 1:
        losses[draw.integers(count)] = losses[draw.integers(count)]
        losses[draw.integers(count)] = losses.max()
    if kind & 2 and count > 2:
        p[draw.integers(count)] = 0.0
        p /= p.sum()
    return losses, p
