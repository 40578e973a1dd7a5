"""What the supremum of a convex rule, or of a charge, ranges over: sup over u of u'x, with all that is said of u."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from allocator.types import Vector

Multiplier = tuple[float, Vector, float]
"""A price, a direction that is as long as it is priced, and that length."""


@dataclass(frozen=True, eq=False)
class Above:
    """Constraints in cvxpy that say that something is no less than a supremum; `read()` gives their multiplier."""

    constraints: list[Any]
    read: Callable[[], Multiplier | None]


def flat_dual(value: object, count: int) -> Vector:
    """A dual as a flat vector; zeros where the solver gave none."""
    return np.zeros(count) if value is None else np.atleast_1d(np.asarray(value, dtype=float)).reshape(-1)


class Directions(ABC):
    """A set of directions u, by its `kind` in a proof."""

    kind: str
    radius: float
    is_conic: bool
    """Whether it takes more than linear constraints."""

    @abstractmethod
    def steepest(self, x: Vector) -> Vector:
        """The lawful u whose u'x is largest."""

    @abstractmethod
    def lawful(self, direction: Vector) -> Vector:
        """A lawful direction near this one: solver noise taken out."""

    @abstractmethod
    def outside(self, direction: Vector) -> float:
        """How far a direction is from lawful; at most 0 is lawful."""

    @abstractmethod
    def above(self, bound: Any, x: Any, label: str) -> Above:
        """bound ≥ sup u'x, for expressions of cvxpy."""


@dataclass(frozen=True)
class UnitBall(Directions):
    """Every u that is no longer than 1: the supremum is ‖x‖."""

    kind, radius, is_conic = "norm", 1.0, True

    def steepest(self, x: Vector) -> Vector:
        """x / ‖x‖."""
        return self.lawful(x / (float(np.linalg.norm(x)) or 1.0))

    def lawful(self, direction: Vector) -> Vector:
        """Shortened to length 1."""
        return direction / max(float(np.linalg.norm(direction)), 1.0)

    def outside(self, direction: Vector) -> float:
        """‖u‖ − 1."""
        return float(np.linalg.norm(direction)) - 1

    def above(self, bound: Any, x: Any, label: str) -> Above:
        """A second-order cone."""
        import cvxpy as cp

        cone = cp.SOC(bound, x).set_label(label)

        def read() -> Multiplier | None:
            if cone.dual_value is None:
                return None
            direction = -np.ravel(cone.dual_value[1])
            return max(float(np.ravel(cone.dual_value[0])[0]), 0.0), direction, float(np.linalg.norm(direction))

        return Above([cone], read)


@dataclass(frozen=True)
class LargestOf(Directions):
    """Every u in [0, 1] that sums to at most `radius`: the sum of so many largest of x, the last one in part."""

    radius: float
    kind, is_conic = "largest", False

    def steepest(self, x: Vector) -> Vector:
        """1 for the largest, what is left of the sum for the next."""
        direction = np.zeros(len(x))
        direction[np.argsort(-x, kind="stable")] = np.clip(self.radius - np.arange(len(x)), 0.0, 1.0)
        return direction

    def lawful(self, direction: Vector) -> Vector:
        """Clipped into [0, 1], and scaled down where it sums to more."""
        clipped = np.clip(direction, 0.0, 1.0)
        return clipped * min(1.0, self.radius / max(float(clipped.sum()), 1e-300))

    def outside(self, direction: Vector) -> float:
        """The most by which a bound or the sum is missed."""
        return max(-float(direction.min()), float(direction.max()) - 1, float(direction.sum()) - self.radius)

    def above(self, bound: Any, x: Any, label: str) -> Above:
        """radius·k + Σ above ≤ bound with above_i ≥ x_i − k (Rockafellar and Uryasev 2000)."""
        import cvxpy as cp

        # x is not below nothing, nor is the least of the largest: else a radius beyond its length would allow anything
        least, above = cp.Variable(nonneg=True, name=f"least of {label}"), cp.Variable(x.shape[0], nonneg=True)
        each = above >= x - least
        together = (self.radius * least + cp.sum(above) <= bound).set_label(label)

        def read() -> Multiplier:
            price = max(float(flat_dual(together.dual_value, 1)[0]), 0.0)
            return price, flat_dual(each.dual_value, x.shape[0]), price

        return Above([each, together], read)
