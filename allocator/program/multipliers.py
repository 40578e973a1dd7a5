"""Prices of the rules: what the solver's duals mean in the units of the account."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class Slope:
    """The multiplier of a convex rule: its `price` and the direction whose tangent is priced, None if not known."""

    price: float
    direction: Vector | None


@dataclass(frozen=True, eq=False)
class Multipliers:
    """Duals in units of the objective (fractions of the account).

    `rows` (R,) ≥ 0 belong to the linear rules in order; `cash` prices one unit of money; `adversary` (K,) are the
    worst-case probabilities; `slopes` belong to the convex rules in order; `error` is the direction in which the
    returns are wrong, where the solver gave one.
    """

    rows: Vector
    cash: float
    adversary: Vector
    slopes: tuple[Slope, ...] = ()
    error: Vector | None = None


def read(value: object, count: int) -> Vector:
    """A dual as a flat vector; zeros where the constraint does not exist."""
    if value is None:
        return np.zeros(count)
    return np.atleast_1d(np.asarray(value, dtype=float)).reshape(-1)
