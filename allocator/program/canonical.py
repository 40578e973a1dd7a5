"""The first of two checks: the compiled data and the solver's raw vectors, by numpy alone.

    minimise ½x'Px + q'x   subject to   Ax = b,  b − Ax ∈ K,  lower ≤ x ≤ upper

Cone membership of the primal and the dual, stationarity and the duality gap; nothing that the solver says about itself
is used, only x and the dual vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from allocator.types import Matrix, Vector


@dataclass(frozen=True)
class CanonicalCheck:
    """Worst violations, relative to max(1, size of the data they are compared with)."""

    primal: float
    dual: float
    gap: float

    @property
    def worst(self) -> float:
        """The largest of the three."""
        return max(self.primal, self.dual, self.gap)


def check(data: Mapping[str, Any], x: Vector, equalities: Vector, cones: Vector) -> CanonicalCheck:
    """Residuals of a solution of cvxpy's canonical data, in the quadratic or in the conic form.

    `x` (n,), `equalities` duals of Ax = b, `cones` duals of the inequality and cone rows, in the data's order.
    """
    if not (np.isfinite(x).all() and np.isfinite(equalities).all() and np.isfinite(cones).all()):
        return CanonicalCheck(np.inf, np.inf, np.inf)
    A, b, F, g, q = _rows(data)
    P = sp.csr_array(data["P"]) if "P" in data else sp.csr_array((len(x), len(x)))
    low, high = _bounds(data.get("lower_bounds"), -np.inf, len(x)), _bounds(data.get("upper_bounds"), np.inf, len(x))
    slack = g - F @ x
    primal = max(
        _largest(np.abs(A @ x - b)), _largest(low - x), _largest(x - high), _outside(data["dims"], slack, dual=False)
    ) / max(1.0, _largest(np.abs(b)), _largest(np.abs(g)))
    gradient = P @ x + q + A.T @ equalities + F.T @ cones
    # what is left of the gradient must be the price of a bound that exists
    held = np.where(gradient > 0, np.isfinite(low), np.isfinite(high))
    dual = max(_largest(np.abs(gradient[~held])), _outside(data["dims"], cones, dual=True)) / max(
        1.0, _largest(np.abs(q))
    )
    at_bounds = np.where(gradient > 0, low, high)[held] @ gradient[held]
    curvature = float(x @ (P @ x))
    upper = 0.5 * curvature + float(q @ x)
    lower = -0.5 * curvature - float(b @ equalities) - float(g @ cones) + float(at_bounds)
    return CanonicalCheck(float(primal), float(dual), abs(upper - lower) / max(1.0, abs(upper)))


def _rows(data: Mapping[str, Any]) -> tuple[sp.csr_array, Vector, sp.csr_array, Vector, Vector]:
    """Equalities, then inequality and cone rows, of either form."""
    if "F" in data:
        return sp.csr_array(data["A"]), data["b"], sp.csr_array(data["F"]), data["G"], data["q"]
    zero = data["dims"].zero
    rows = sp.csr_array(data["A"])
    return rows[:zero], data["b"][:zero], rows[zero:], data["b"][zero:], data["c"]


def _bounds(given: Vector | None, default: float, count: int) -> Vector:
    return np.full(count, default) if given is None else np.asarray(given, dtype=float)


def _largest(values: Vector) -> float:
    return max(float(values.max()), 0.0) if values.size else 0.0


def _outside(dims: Any, values: Vector, *, dual: bool) -> float:
    """How far a slack (or a dual vector) lies outside its cone."""
    if dims.psd or dims.p3d or dims.pnd:
        return np.inf  # no program of ours has such a cone; never wave one through
    worst, start = _largest(-values[: dims.nonneg]), dims.nonneg
    for size in dims.soc:
        cone = values[start : start + size]
        worst = max(worst, float(np.linalg.norm(cone[1:]) - cone[0]))
        start += size
    outside = _outside_dual_exponential if dual else _outside_exponential
    with np.errstate(over="ignore"):  # an overflow is infinitely far outside, which is what it then says
        return max(worst, outside(values[start : start + 3 * dims.exp].reshape(-1, 3)))


def _outside_exponential(cones: Matrix) -> float:
    """K = closure of {y > 0, y·e^(x/y) ≤ z}; `cones` (C, 3).

    Never less than the distance to K in the largest coordinate: what z is short of, or how far the face y = 0 is. Next
    to the apex, where a set costs nothing, z alone would say any number of a point that all but touches K.
    """
    x, y, z = cones.T
    inner = y > 0
    at_edge = np.maximum(np.maximum(-y, x), -z)[~inner]
    x, y, z = x[inner], y[inner], z[inner]
    to_face = np.maximum(np.maximum(y, x), -z)
    return max(_largest(at_edge), _largest(np.minimum(y * np.exp(x / y) - z, to_face)))


def _outside_dual_exponential(cones: Matrix) -> float:
    """K* = closure of {u < 0, −u·e^(v/u) ≤ e·w}; `cones` (C, 3). Never less than the distance, as for K."""
    u, v, w = cones.T
    inner = u < 0
    at_edge = np.maximum(np.maximum(u, -v), -w)[~inner]
    u, v, w = u[inner], v[inner], w[inner]
    to_face = np.maximum(np.maximum(-u, -v), -w)
    return max(_largest(at_edge), _largest(np.minimum(-u * np.exp(v / u - 1) - w, to_face)))
