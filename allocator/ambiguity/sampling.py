"""Beliefs that are plausible beside the stated one: draws from the ambiguity set, the same ones every time.

A belief lies on a random way from the stated one to where the set or the simplex ends, at a depth that would fill a
ball evenly. Ways lead to uniform points of the simplex, which makes the draws from the whole simplex uniform; in a KL
set, an ellipsoid when small, and in a χ² set, one as far as the simplex reaches, they are as likely as the ellipsoid is
wide: covariance diag(p) − pp'. Sets that may be flat hold no such way: their beliefs are random mixtures of corners.
"""

from __future__ import annotations

import numpy as np

from allocator.ambiguity.sets import (
    LEAST_PROBABILITY,
    LEAST_RADIUS,
    Ambiguity,
    AnyProbabilities,
    Box,
    Contamination,
    ExpertHull,
    KullbackLeibler,
    ModifiedChiSquared,
    Polytope,
    Singleton,
    TotalVariation,
    Wasserstein,
    worst_case,
)
from allocator.types import Matrix, Vector

PROBABILITY_SHIFT = 0.02
"""No belief is known better than this: the shift of one probability that stability is measured with."""
_STEPS = 8
_ROOM = 1e-9
_LOSSES = 64
"""Random losses a scenario, whose worst members are mixed."""


def sample_beliefs(ambiguity: Ambiguity, probabilities: Vector, draw: np.random.Generator, count: int) -> Matrix:
    """(count, K) beliefs inside the set; where it is narrower than PROBABILITY_SHIFT, within that shift.

    The floor makes a set that shrinks with the evidence (`robust.schedule`) end where a single belief stands, and not
    in a certainty that nobody has.
    """
    if len(probabilities) == 1:
        return np.ones((count, 1))
    if isinstance(ambiguity, Wasserstein | ExpertHull | Polytope):
        members = _members(ambiguity, probabilities, draw)
        if np.abs(members - probabilities).sum(axis=1).max() / 2 > PROBABILITY_SHIFT:
            return _mixed(members, draw, count)
        ambiguity = TotalVariation(PROBABILITY_SHIFT)
    set_ = _at_least_a_shift(ambiguity)
    dimensions = len(probabilities) - 1
    if isinstance(set_, KullbackLeibler | ModifiedChiSquared):  # no tilt reaches what the belief excludes
        possible = np.where(probabilities > LEAST_PROBABILITY, probabilities, 0.0)
        dimensions = max(int((possible > 0).sum()) - 1, 1)
        own = draw.normal(size=(count, len(probabilities))) * np.sqrt(possible)
        way = own - own.sum(axis=1, keepdims=True) * possible / possible.sum()
    else:
        way = draw.dirichlet(np.ones(len(probabilities)), count) - probabilities
    depth = draw.random(count) ** (1 / dimensions)
    with np.errstate(divide="ignore", invalid="ignore"):
        to_the_edge = np.where(way < 0, probabilities / -way, np.inf).min(axis=1)
    to_the_edge = np.where(np.isfinite(to_the_edge), to_the_edge, 0.0)
    reach = np.minimum(to_the_edge, _reach(set_, probabilities, way, to_the_edge))
    beliefs = np.maximum(probabilities + (depth * reach)[:, None] * way, 0.0)
    result: Matrix = beliefs / beliefs.sum(axis=1, keepdims=True)
    return result


def _at_least_a_shift(ambiguity: Ambiguity) -> Ambiguity:
    if isinstance(ambiguity, KullbackLeibler):
        return KullbackLeibler(max(ambiguity.radius, 2 * PROBABILITY_SHIFT**2))  # Pinsker, as in `current_radius`
    if isinstance(ambiguity, ModifiedChiSquared):
        return ModifiedChiSquared(max(ambiguity.radius, 4 * PROBABILITY_SHIFT**2))  # Cauchy-Schwarz, as there
    if isinstance(ambiguity, TotalVariation | Box | Contamination):
        return type(ambiguity)(max(ambiguity.radius, PROBABILITY_SHIFT))
    return TotalVariation(PROBABILITY_SHIFT) if isinstance(ambiguity, Singleton) else ambiguity


def _members(
    ambiguity: Wasserstein | ExpertHull | Polytope, probabilities: Vector, draw: np.random.Generator
) -> Matrix:
    """(M, K) the corners where they are known, else members that are worst for random losses; and the belief."""
    if isinstance(ambiguity, ExpertHull):
        return ambiguity.vertices(probabilities)
    if isinstance(ambiguity, Polytope) and ambiguity.corners is not None:
        return np.vstack([probabilities, ambiguity.corners])
    losses = draw.normal(size=(_LOSSES * len(probabilities), len(probabilities)))
    worst = [ambiguity.adversary(each, probabilities) for each in losses]
    return np.vstack([probabilities, np.unique(np.round(worst, 12), axis=0)])


def _mixed(members: Matrix, draw: np.random.Generator, count: int) -> Matrix:
    """(count, K) mixtures of as many members as a point between corners takes."""
    picked = draw.integers(len(members), size=(count, members.shape[1]))
    weights = draw.dirichlet(np.ones(members.shape[1]), count)
    beliefs = np.einsum("nk,nkj->nj", weights, members[picked])
    result: Matrix = beliefs / beliefs.sum(axis=1, keepdims=True)
    return result


def _reach(ambiguity: Ambiguity, probabilities: Vector, way: Matrix, to_the_edge: Vector) -> Vector:
    """(count,) how many times each way may be gone before the set is left."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if isinstance(ambiguity, TotalVariation):
            return np.asarray(ambiguity.radius / (np.abs(way).sum(axis=1) / 2), dtype=np.float64)
        if isinstance(ambiguity, Box):
            return np.asarray(ambiguity.radius / np.abs(way).max(axis=1), dtype=np.float64)
        if isinstance(ambiguity, Contamination):  # the simplex, drawn together around the belief
            return np.asarray(ambiguity.radius * to_the_edge, dtype=np.float64)
        if isinstance(ambiguity, ModifiedChiSquared):
            p = np.where(probabilities > LEAST_PROBABILITY, probabilities, 1.0)
            length = np.sqrt((way**2 / p).sum(axis=1))
            return np.where(length > 0, np.sqrt(ambiguity.radius) / length * (1 - _ROOM), to_the_edge)
    if not isinstance(ambiguity, KullbackLeibler):
        return to_the_edge
    return _reach_in_entropy(ambiguity.radius, probabilities, way, to_the_edge)


def _reach_in_entropy(radius: float, probabilities: Vector, way: Matrix, to_the_edge: Vector) -> Vector:
    """(count,) by Newton's method: relative entropy is convex along a way, so steps that overshoot come back."""
    p = np.where(probabilities > LEAST_PROBABILITY, probabilities, 1.0)
    most = to_the_edge * (1 - _ROOM)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.minimum(np.nan_to_num(np.sqrt(2 * radius / (way**2 / p).sum(axis=1))), most)
        for _ in range(_STEPS):
            beliefs = np.maximum(probabilities + at[:, None] * way, 0.0)
            logs = np.log(np.where(beliefs > 0, beliefs / p, 1.0))
            slope = (way * logs).sum(axis=1)
            step = np.where(slope > 0, ((beliefs * logs).sum(axis=1) - radius) / slope, 0.0)
            at = np.clip(at - step, 0.0, most)
    return np.asarray(at * (1 - _ROOM), dtype=np.float64)


# The adverse expectation of many losses at once, each under a belief of its own: what `dual_form` says of one.
#
_BATCH_STEPS = 80


def worst_case_batch(losses: Matrix, ambiguity: Ambiguity, probabilities: Matrix) -> Vector:
    """(D,) the largest expected loss over the set around each belief; `losses` and `probabilities` are (D, K)."""
    if isinstance(ambiguity, TotalVariation):
        return _moved(losses, probabilities, ambiguity.radius)
    if isinstance(ambiguity, Box):
        return _filled(losses, probabilities, ambiguity.radius)
    if isinstance(ambiguity, KullbackLeibler):
        return _tilted(losses, probabilities, ambiguity.radius)
    if isinstance(ambiguity, Singleton | AnyProbabilities | Contamination):  # a part of the mean, the rest of the worst
        part = {Singleton: 0.0, AnyProbabilities: 1.0}.get(type(ambiguity), getattr(ambiguity, "radius", 0.0))
        return np.asarray((1 - part) * (probabilities * losses).sum(axis=1) + part * losses.max(axis=1))
    each = [worst_case(loss, ambiguity, p) for loss, p in zip(losses, probabilities, strict=True)]
    return np.array(each)


def _sorted(losses: Matrix, probabilities: Matrix) -> tuple[Matrix, Matrix]:
    """Both with the smallest loss of each draw first."""
    order = np.argsort(losses, axis=1, kind="stable")
    return np.take_along_axis(losses, order, axis=1), np.take_along_axis(probabilities, order, axis=1)


def _moved(losses: Matrix, probabilities: Matrix, radius: float) -> Vector:
    """Total variation: mass moved from the smallest losses to the largest."""
    loss, q = _sorted(losses, probabilities)
    before = np.cumsum(q, axis=1) - q
    taken = np.clip(radius - before, 0.0, q)
    taken[:, -1] = 0.0
    kept = q - taken
    kept[:, -1] += taken.sum(axis=1)
    return np.asarray((kept * loss).sum(axis=1))


def _filled(losses: Matrix, probabilities: Matrix, radius: float) -> Vector:
    """Box: everything at its lowest, the largest losses filled up first."""
    loss, p = _sorted(losses, probabilities)
    low, high = np.maximum(p - radius, 0.0), np.minimum(p + radius, 1.0)
    room = (high - low)[:, ::-1]
    left = (1 - low.sum(axis=1))[:, None] - (np.cumsum(room, axis=1) - room)
    q = low + np.clip(left, 0.0, room)[:, ::-1]
    return np.asarray((q * loss).sum(axis=1))


def _tilted(losses: Matrix, probabilities: Matrix, radius: float) -> Vector:
    """Relative entropy: q ∝ p·e^{ϑ·loss} of each draw whose entropy is the radius, all ϑ at once."""
    mean = (probabilities * losses).sum(axis=1)
    if radius < LEAST_RADIUS:
        return np.asarray(mean)
    possible = probabilities > LEAST_PROBABILITY
    p = np.where(possible, probabilities, 0.0)
    p = p / p.sum(axis=1, keepdims=True)
    top = np.where(possible, losses, -np.inf).max(axis=1)
    spread = top - np.where(possible, losses, np.inf).min(axis=1)
    scaled = np.where(possible, (losses - top[:, None]) / np.where(spread > 0, spread, 1.0)[:, None], -1.0)
    whole = -np.log(np.where(possible & (scaled >= 0), p, 0.0).sum(axis=1)) <= radius
    inner = np.flatnonzero(~whole & (spread > 1e-15))
    result: Vector = np.where(whole, top, mean)
    result[inner] = top[inner] + spread[inner] * _mean_at_radius(scaled[inner], p[inner], radius)
    return result


def _mean_at_radius(scaled: Matrix, p: Matrix, radius: float) -> Vector:
    """(D,) mean of the losses (from −1 to 0) under the tilt of this entropy, ϑ·mean − ln Σ p e^{ϑ·loss}.

    It rises with ϑ at ϑ·variance: Newton steps, halved or doubled where they leave what is known to hold the root.
    """
    low, high = np.zeros(len(p)), np.full(len(p), np.inf)
    centre = (p * scaled).sum(axis=1)
    at = np.sqrt(2 * radius / (p * (scaled - centre[:, None]) ** 2).sum(axis=1))
    mean = centre
    for _ in range(_BATCH_STEPS):
        weight = p * np.exp(at[:, None] * scaled)
        total = weight.sum(axis=1)
        mean = (weight * scaled).sum(axis=1) / total
        variance = (weight * (scaled - mean[:, None]) ** 2).sum(axis=1) / total
        lacking = radius - (at * mean - np.log(total))
        low, high = np.where(lacking > 0, at, low), np.where(lacking > 0, high, at)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = at + lacking / (at * variance)
        beyond = np.where(np.isinf(high), 2 * at, (low + high) / 2)
        following = np.where((step > low) & (step < high), step, beyond)
        if ((np.abs(following - at) <= 1e-12 * at) | (np.abs(lacking) <= 1e-15)).all():
            break
        at = following
    return np.asarray(mean)
