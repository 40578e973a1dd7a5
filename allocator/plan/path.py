"""Averages along the straight way from today's holdings to the targets, so that a change splits into parts that add up.

By the fundamental theorem of calculus the change of a convex function is its average slope times the way. For the worst
case the slope is the adversary, for a norm the direction; both change on the way, so neither end alone adds up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from allocator.ambiguity.sets import LEAST_PROBABILITY, Ambiguity, KullbackLeibler, ModifiedChiSquared, Worst, is_belief
from allocator.types import Matrix, Vector

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_TOLERANCE = 1e-12
"""Of a probability: how far a quadrature may be from the same on two halves."""
_SHORTEST = 1e-13
"""Of the way: shorter pieces carry nothing."""
Adversary = Callable[[Vector], Vector]


def averaged_adversary(before: Vector, after: Vector, ambiguity: Ambiguity, probabilities: Vector) -> Vector:
    """(K,) the adversary averaged while losses go from `before` to `after` in a straight line: q̄'(after − before) is
    the change of the worst case.

    Exact where the set has flat faces only, so that the adversary changes a finite number of times (all but the
    divergences); for these by Gauss-Legendre quadrature, halved until it is exact to 1e-12.
    """
    if not isinstance(ambiguity, KullbackLeibler | ModifiedChiSquared) or is_belief(ambiguity):
        pieces = _pieces(before, after, lambda losses: ambiguity.adversary(losses, probabilities))
        return np.asarray(sum((end - begin) * q for begin, end, q in pieces), dtype=np.float64)
    if isinstance(ambiguity, ModifiedChiSquared):
        return _averaged(before, after, lambda rows: np.array([ambiguity.adversary(x, probabilities) for x in rows]))
    possible = probabilities > LEAST_PROBABILITY
    p, radius = probabilities[possible] / probabilities[possible].sum(), ambiguity.radius
    result = np.zeros_like(probabilities)
    result[possible] = _averaged(before[possible], after[possible], lambda rows: _tilts(rows, p, radius))
    return result


def _pieces(before: Vector, after: Vector, adversary: Adversary) -> list[tuple[float, float, Vector]]:
    """(begin, end, q): parts of the way with one adversary each.

    The worst case is then convex and piecewise linear along the way: where the lines of the two ends meet it either
    touches them, and that is the break, or lies above, and there is another piece between.
    """
    slope, exact = after - before, 1e-15 * (1 + float(np.abs(np.concatenate([before, after])).max()))
    waiting = [(0.0, adversary(before), 1.0, adversary(after))]
    found: list[tuple[float, float, Vector]] = []
    while waiting:
        a, at_a, b, at_b = waiting.pop()
        apart, steeper = float((at_a - at_b) @ (before + a * slope)), float((at_b - at_a) @ slope)
        if b - a <= _SHORTEST or steeper * (b - a) - apart <= exact or steeper <= 0:
            found.append((a, b, at_a))
            continue
        middle = a + apart / steeper
        if middle <= a + _SHORTEST:
            found.append((a, b, at_b))
            continue
        losses = before + middle * slope
        between = adversary(losses)
        if float((between - at_a) @ losses) <= exact:
            found += [(a, middle, at_a), (middle, b, at_b)]
        else:
            waiting += [(a, at_a, middle, between), (middle, between, b, at_b)]
    return found


def _averaged(here: Vector, there: Vector, adversaries: Callable[[Matrix], Matrix]) -> Vector:
    """The same by quadrature, from `adversaries` of (M, K) losses: smooth between the places where another scenario
    becomes the worst.
    """
    breaks = sorted({0.0, 1.0, *(end for _, end, _ in _pieces(here, there, lambda x: Worst().adversary(x, x)))})

    def mean(begin: Vector, end: Vector) -> Matrix:
        at = (begin + end)[:, None] / 2 + (end - begin)[:, None] / 2 * _NODES
        q = adversaries((here + at[..., None] * (there - here)).reshape(-1, len(here)))
        averaged: Matrix = np.einsum("n,snk->sk", _WEIGHTS / 2, q.reshape(len(begin), len(_NODES), len(here)))
        return averaged * (end - begin)[:, None]

    begin, end = np.array(breaks[:-1]), np.array(breaks[1:])
    whole, total = mean(begin, end), np.zeros(len(here))
    while len(begin):
        middle = (begin + end) / 2
        halves = mean(np.concatenate([begin, middle]), np.concatenate([middle, end]))
        left, right = halves[: len(begin)], halves[len(begin) :]
        open_ = (np.abs(left + right - whole).max(axis=1) > _TOLERANCE) & (end - begin > _SHORTEST)
        total += (left + right)[~open_].sum(axis=0)
        begin, end = np.concatenate([begin[open_], middle[open_]]), np.concatenate([middle[open_], end[open_]])
        whole = np.concatenate([left[open_], right[open_]])
    return total


def _tilts(losses: Matrix, p: Vector, radius: float) -> Matrix:
    """(M, K) for each row of losses the tilt q ∝ p·e^{ϑ·loss} whose relative entropy is the radius."""
    spread = np.ptp(losses, axis=1, keepdims=True)
    flat = spread <= 1e-15
    scaled = (losses - losses.max(axis=1, keepdims=True)) / np.where(flat, 1.0, spread)
    top = np.where(scaled >= 0, p, 0.0)
    most = top.sum(axis=1, keepdims=True)

    def tilted(strength: Matrix) -> Matrix:
        weight: Matrix = p * np.exp(strength * scaled)
        result: Matrix = weight / weight.sum(axis=1, keepdims=True)
        return result

    def entropy(q: Matrix) -> Matrix:
        return np.asarray(np.where(q > 0, q * np.log(np.maximum(q, 1e-300) / p), 0.0).sum(axis=1, keepdims=True))

    low, high = np.zeros_like(spread), np.ones_like(spread)
    for _ in range(40):
        short = entropy(tilted(high)) < radius
        if not short.any():
            break
        low, high = np.where(short, high, low), np.where(short, 2 * high, high)
    for _ in range(60):
        middle = (low + high) / 2
        short = entropy(tilted(middle)) < radius
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    q = np.where(radius >= -np.log(most), top / most, tilted(low))
    return np.asarray(np.where(flat, p, q))


def inverse_norm_weights(before: float, after: float, apart: float) -> tuple[float, float]:
    """∫(1 − t)/‖x(t)‖ dt and ∫t/‖x(t)‖ dt over x(t) = (1 − t)·x₀ + t·x₁, from ‖x₀‖, ‖x₁‖ and ‖x₁ − x₀‖.

    With them the gradient of a norm is averaged: first·x₀ + second·x₁. Where one end is 0 it carries no weight.
    """
    if before <= 0 or after <= 0:
        return (0.0, 1 / after) if after > 0 else (1 / before if before > 0 else 0.0, 0.0)
    squared = apart**2
    slope = (after**2 - before**2 - squared) / 2  # x₀'(x₁ − x₀)
    if apart < 0.3 * (before + after):  # where the closed form below loses its digits
        at = (1 + _NODES) / 2
        over = _WEIGHTS / 2 / np.sqrt(before**2 + 2 * slope * at + squared * at**2)
        return float(over @ (1 - at)), float(over @ at)
    whole = 2 / apart * float(np.arctanh(min(apart / (before + after), 1 - 1e-16)))  # potential of a straight rod
    second = (after - before - slope * whole) / squared
    return whole - second, second
