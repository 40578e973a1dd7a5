"""How wrong we would have to be: the probability at which two allocations are worth the same, and the least shift of
the belief that makes the other one better (science §4.5, §4.6).

Pure functions of scenario returns (K,), probabilities (K,) and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, TypedDict

import numpy as np

from allocator.presentation import Probability
from allocator.types import Vector

_DOUBLINGS = 50


class ShiftRow(TypedDict):
    """A least shift as documents say it."""

    distance: float
    probabilities: Annotated[dict[str, Probability], "by scenario"]


@dataclass(frozen=True, eq=False)
class LeastShift:
    """The nearest probabilities `q` (K,) under which the other allocation is as good, or a loss is expected, `distance`
    from the belief; `strength` is that of a shift of markets which goes with it.
    """

    distance: float
    q: Vector
    strength: float = 0.0

    def document(self, scenarios: Sequence[str]) -> ShiftRow:
        """Plain data."""
        own = {name: round(float(p), 10) + 0.0 for name, p in zip(scenarios, self.q, strict=True)}
        return {"distance": round(self.distance, 10) + 0.0, "probabilities": own}


def break_even_probability(first: Vector, second: Vector, if_true: Vector, if_false: Vector) -> float | None:
    """The probability π of a hypothesis at which two allocations have the same expected return.

    `first` and `second` (K,) are their returns, `if_true` and `if_false` (K,) the scenario probabilities given the
    hypothesis and given its contrary: π* = (b_P − a_P) / ((a_G − a_P) − (b_G − b_P)). None where no probability in
    [0, 1] does it, or every one.
    """
    apart = first - second
    true, false = float(if_true @ apart), float(if_false @ apart)
    if true == false or true * false > 0:
        return None
    return false / (false - true)


def crossing(difference: Callable[[float], float], nearest_to: float, steps: int = 64) -> float | None:
    """The root of a function on [0, 1] that is nearest to a point; None where none is seen.

    By a scan, then Brent's method. Two roots within one step of the scan are overlooked.
    """
    from scipy.optimize import brentq

    at = np.unique(np.append(np.linspace(0, 1, steps + 1), nearest_to))
    values = np.array([difference(float(x)) for x in at])
    found = [float(x) for x, value in zip(at, values, strict=True) if value == 0]
    changes = np.flatnonzero(values[:-1] * values[1:] < 0)
    found += [float(brentq(difference, at[i], at[i + 1], xtol=1e-15)) for i in changes]
    return min(found, key=lambda root: abs(root - nearest_to), default=None)


def tilt_and_shift(losses: Vector, variances: Vector, probabilities: Vector, loss: float) -> LeastShift | None:
    """Entropy pooling on scenario × normal: q_k ∝ p_k·exp(ϑℓ_k + ½ϑ²v_k), z_k = −ϑΩ_k x; None where no ϑ gives it.

    The mean loss at ϑ is the slope of the cumulant function ln Σ p_k exp(ϑℓ_k + ½ϑ²v_k), which is convex, so it rises
    with ϑ. `variances` (K,) may differ by scenario.
    """
    from scipy.optimize import brentq

    if float(probabilities @ losses) >= loss:
        return LeastShift(0.0, probabilities.copy(), 0.0)
    possible = probabilities > 0
    p, own, v = probabilities[possible], losses[possible], variances[possible]

    def tilted(strength: float) -> Vector:
        exponent = strength * own + strength**2 * v / 2
        weight = p * np.exp(exponent - exponent.max())
        return np.asarray(weight / weight.sum())

    def lacking(strength: float) -> float:
        return float(tilted(strength) @ (own + strength * v)) - loss

    high = next((2.0**k for k in range(_DOUBLINGS) if lacking(2.0**k) >= 0), None)
    if high is None:
        return None
    strength = float(brentq(lacking, 0.0, high, xtol=1e-16))
    tilt, q = tilted(strength), np.zeros_like(probabilities)
    q[possible], seen = tilt, tilt > 0
    entropy = float(np.sum(tilt[seen] * np.log(tilt[seen] / p[seen])))
    return LeastShift(max(entropy, 0.0) + strength**2 * float(tilt @ v) / 2, q, strength)


def least_shift_kl(better: Vector, probabilities: Vector) -> LeastShift | None:
    """The least relative entropy Σ q ln(q/p) with q'better ≥ 0: q ∝ p·e^{ϑ·better}.

    `better` (K,) is by how much the other allocation returns more in each scenario. None where no belief that keeps
    impossible scenarios impossible makes it better.
    """
    shift = tilt_and_shift(better, np.zeros(len(better)), probabilities, 0.0)
    return None if shift is None else replace(shift, strength=0.0)  # markets stay where they are


def least_shift_tv(better: Vector, probabilities: Vector) -> LeastShift | None:
    """The least total variation ½‖q − p‖₁ with q'better ≥ 0: mass from the scenarios that speak most against the other
    allocation to the one that speaks most for it, which solves the linear program. None where nothing does it.
    """
    best, q, lacking = int(np.argmax(better)), probabilities.copy(), -float(probabilities @ better)
    if lacking <= 0:
        return LeastShift(0.0, q)
    if better[best] < 0:
        return None
    for k in np.argsort(better, kind="stable"):
        won = float(better[best] - better[k])
        if lacking <= 0 or won <= 0:
            break
        mass = min(q[k], lacking / won)
        q[k] -= mass
        q[best] += mass
        lacking -= mass * won
    return LeastShift(float(np.abs(q - probabilities).sum() / 2), q)


def least_shift_chi2(better: Vector, probabilities: Vector) -> LeastShift | None:
    """The least modified χ² distance Σ (q − p)²/p with q'better ≥ 0; (p'd)²/Var_p(d) while every q stays above 0.

    q/p is rising in d, so the scenarios that fall to 0 are those of the least d: each number of them is tried.
    """
    possible = np.flatnonzero(probabilities > 0)
    if float(probabilities @ better) >= 0:
        return LeastShift(0.0, probabilities.copy())
    if float(better[possible].max()) < 0:
        return None
    order, best = possible[np.argsort(better[possible], kind="stable")], None
    for dropped in range(len(order)):
        kept = order[dropped:]
        p, d = probabilities[kept], better[kept]
        likeliest = float(d[np.argmax(p)])  # what the others differ from it keeps their digits, however unlikely
        away = d - likeliest
        unit = float(np.sqrt(p @ away**2)) or 1.0
        moments = np.array([[p.sum(), p @ away / unit], [p @ away / unit, p @ (away / unit) ** 2]])
        level, slope = np.linalg.lstsq(moments, np.array([1.0, -likeliest / unit]), rcond=None)[0]
        q = np.zeros_like(probabilities)
        q[kept] = p * (level + slope * away / unit)
        reached = abs(q.sum() - 1) < 1e-9 and abs(float(q @ better)) < 1e-9 * float(np.abs(better).max())
        if reached and (q >= -1e-15).all():
            distance = float(np.sum((q - probabilities)[possible] ** 2 / probabilities[possible]))
            if best is None or distance < best.distance:
                best = LeastShift(distance, np.maximum(q, 0.0))
    return best


LEAST_SHIFTS: Mapping[str, Callable[[Vector, Vector], LeastShift | None]] = {
    "total_variation": least_shift_tv, "kl": least_shift_kl, "chi2": least_shift_chi2,
}  # fmt: skip
"""By their distance."""
