"""Ten measures of a series of simple returns r_1 … r_T of which there are m a year; None where one is not defined.

The formulas are those of empyrical; a test holds each to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from allocator.types import Vector

_TAIL = 0.05


def annual_return(returns: Vector, per_year: float) -> float | None:
    """(Π (1 + r_t))^(m / T) − 1: what compounding made of it in a year."""
    if not len(returns):
        return None
    return float(np.prod(1 + returns) ** (per_year / len(returns)) - 1)


def annual_volatility(returns: Vector, per_year: float) -> float | None:
    """√m · s, with s the sample standard deviation, s² = Σ (r_t − r̄)² / (T − 1)."""
    return float(np.std(returns, ddof=1) * np.sqrt(per_year)) if len(returns) > 1 else None


def downside_risk(returns: Vector, per_year: float) -> float | None:
    """√m · √(Σ min(r_t, 0)² / T): the volatility of losses alone."""
    return float(np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2) * per_year)) if len(returns) else None


def sharpe_ratio(returns: Vector, per_year: float) -> float | None:
    """√m · r̄ / s (Sharpe 1994): of returns, or of those in excess of a rate."""
    deviation = float(np.std(returns, ddof=1)) if len(returns) > 1 else 0.0
    return float(np.mean(returns)) / deviation * float(np.sqrt(per_year)) if deviation > _NONE else None


def sortino_ratio(returns: Vector, per_year: float) -> float | None:
    """m · r̄ / downside risk."""
    risk = downside_risk(returns, per_year)
    return float(np.mean(returns)) * per_year / risk if risk else None


def max_drawdown(returns: Vector, per_year: float) -> float | None:
    """min_t (V_t / max_{s ≤ t} V_s − 1), with V_0 = 1 and V_t = Π_{s ≤ t} (1 + r_s): the deepest fall from a peak."""
    del per_year
    if not len(returns):
        return None
    values = np.concatenate([[1.0], np.cumprod(1 + returns)])
    return float((values / np.maximum.accumulate(values) - 1).min())


def calmar_ratio(returns: Vector, per_year: float) -> float | None:
    """annual return / |max drawdown| (Young 1991)."""
    fall, gained = max_drawdown(returns, per_year), annual_return(returns, per_year)
    return gained / -fall if fall and gained is not None else None


def conditional_value_at_risk(returns: Vector, per_year: float) -> float | None:
    """The mean of the ⌊0.05·(T − 1)⌋ + 1 least returns of one period."""
    del per_year
    return float(np.mean(np.sort(returns)[: int((len(returns) - 1) * _TAIL) + 1])) if len(returns) else None


def tail_ratio(returns: Vector, per_year: float) -> float | None:
    """|95th percentile| / |5th percentile|, interpolated linearly: above 1 the best days outweigh the worst."""
    del per_year
    if not len(returns):
        return None
    low, high = np.percentile(returns, [100 * _TAIL, 100 * (1 - _TAIL)])
    return float(abs(high) / abs(low)) if low else None


def omega_ratio(returns: Vector, per_year: float) -> float | None:
    """Σ max(r_t, 0) / Σ max(−r_t, 0) (Keating and Shadwick 2002): all gains against all losses."""
    del per_year
    lost = float(np.maximum(-returns, 0.0).sum())
    return float(np.maximum(returns, 0.0).sum()) / lost if len(returns) > 1 and lost > 0 else None


_NONE = 1e-14
"""A deviation that rounding makes of returns that are all the same."""


@dataclass(frozen=True)
class Measure:
    """A measure: what it is called and whether it is a fraction, which is shown as a percentage."""

    formula: Callable[[Vector, float], float | None]
    label: str
    is_fraction: bool = False


MEASURES: Mapping[str, Measure] = {
    "annual_return": Measure(annual_return, "annual return", True),
    "annual_volatility": Measure(annual_volatility, "annual volatility", True),
    "downside_risk": Measure(downside_risk, "downside risk", True),
    "sharpe_ratio": Measure(sharpe_ratio, "Sharpe ratio"),
    "sortino_ratio": Measure(sortino_ratio, "Sortino ratio"),
    "max_drawdown": Measure(max_drawdown, "max drawdown", True),
    "calmar_ratio": Measure(calmar_ratio, "Calmar ratio"),
    "conditional_value_at_risk": Measure(conditional_value_at_risk, "CVaR 5 % a row", True),
    "tail_ratio": Measure(tail_ratio, "tail ratio"),
    "omega_ratio": Measure(omega_ratio, "omega ratio"),
}
