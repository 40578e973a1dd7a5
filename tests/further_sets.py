"""Random sets of the kinds that want more than a radius, or another one than half the L1 distance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from allocator.ambiguity.balls import Contamination
from allocator.ambiguity.divergences import ModifiedChiSquared
from allocator.ambiguity.polyhedral import ExpertHull, Polytope
from allocator.ambiguity.sets import Ambiguity
from allocator.ambiguity.transport import Wasserstein
from allocator.types import Matrix, Vector

Maker = Callable[[np.random.Generator, Vector, float], Ambiguity]
"""From a generator, a belief and a radius in [0, 1] to a set around the belief."""


def coordinates_metric(draw: np.random.Generator, count: int) -> Matrix:
    """Weighted L1 distances of scenarios with two coordinates, the first one of 0 and 1 as replicability is."""
    places = np.column_stack([draw.integers(0, 2, count), draw.uniform(0, 2, count) * draw.integers(0, 2)])
    return np.asarray(np.abs(places[:, None, :] - places[None, :, :]) @ draw.uniform(0.2, 2, 2), dtype=np.float64)


def _hull(draw: np.random.Generator, p: Vector, radius: float) -> ExpertHull:
    experts = draw.dirichlet(np.full(len(p), 0.7), int(draw.integers(1, 5)))
    return ExpertHull(p + radius * (experts - p))


def _polytope(draw: np.random.Generator, p: Vector, radius: float) -> Polytope:
    """Rows that the belief keeps, with room as the radius; one in three sets has an equality."""
    matrix = draw.normal(size=(int(draw.integers(1, 4)), len(p)))
    limits = matrix @ p + radius * draw.uniform(0, 1, len(matrix))
    if draw.integers(3) == 0:
        row = draw.integers(0, 2, len(p)).astype(float)
        matrix, limits = np.vstack([matrix, row, -row]), np.concatenate([limits, [row @ p, -(row @ p)]])
    return Polytope(matrix, limits)


FURTHER: dict[str, Maker] = {
    "contamination": lambda _, __, radius: Contamination(radius),
    "modified chi squared": lambda _, __, radius: ModifiedChiSquared(4 * radius**2),
    "wasserstein": lambda draw, p, radius: Wasserstein(radius, coordinates_metric(draw, len(p))),
    "hull": _hull,
    "polytope": _polytope,
}
