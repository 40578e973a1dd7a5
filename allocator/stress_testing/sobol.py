"""Which parameter matters: Sobol indices of outcomes, first-order and total, with their bootstrap uncertainty.

First-order: the share of an outcome's variance that fixing the parameter would take away. Total: what would be left of
it if all others were fixed (Saltelli 2010; scipy.stats.sobol_indices). An outcome that no parameter moves has no
variance to share out: its indices are 0. So are those of a parameter that does not reach an outcome, by the same draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import sobol_indices

from allocator.stress_testing.outcomes import Outcome, OutcomeMeter, measure_outcomes
from allocator.stress_testing.parameter_draws import ParameterRange, draw_parameters
from allocator.types import Matrix

BASE = 512
"""Points of the design; every one is evaluated once for each parameter and twice more."""
_RESAMPLES, _CONFIDENCE = 200, 0.9
_CONSTANT = 1e-12
"""An outcome is constant where it moves by less than this, of the account."""


@dataclass(frozen=True, eq=False)
class SobolIndices:
    """Sobol indices (outcomes, P) with the ends of their 90 % bootstrap intervals; `constant` (outcomes,)."""

    keys: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    first: Matrix
    first_low: Matrix
    first_high: Matrix
    total: Matrix
    total_low: Matrix
    total_high: Matrix
    constant: tuple[bool, ...]

    def frame(self) -> pd.DataFrame:
        """One row an outcome and parameter."""
        rows = [
            {
                "portfolio": outcome.portfolio,
                "measure": outcome.measure,
                "parameter": key,
                "first": self.first[i, j],
                "first_low": self.first_low[i, j],
                "first_high": self.first_high[i, j],
                "total": self.total[i, j],
                "total_low": self.total_low[i, j],
                "total_high": self.total_high[i, j],
                "constant": self.constant[i],
            }
            for i, outcome in enumerate(self.outcomes)
            for j, key in enumerate(self.keys)
        ]
        return pd.DataFrame(rows)

    def of(self, portfolio: str, measure: str) -> pd.DataFrame:
        """One outcome's parameters, the most important first (by total index)."""
        frame = self.frame()
        own = frame[(frame["portfolio"] == portfolio) & (frame["measure"] == measure)]
        return own.sort_values("total", ascending=False, kind="stable").reset_index(drop=True)


def parameter_importance(
    gauge: OutcomeMeter, doubts: Sequence[ParameterRange], seed: int, base: int = BASE
) -> SobolIndices | None:
    """The indices of every outcome; None where a point of the design makes no number.

    Raises:
        KeyboardInterrupt: it was interrupted; a part of a design has no indices.
    """
    at_a, at_b, mixed = _design(doubts, base, seed)
    points = np.concatenate([at_a, at_b, *mixed])
    found = measure_outcomes(gauge, points).values
    if found.shape[1] < len(points):
        raise KeyboardInterrupt
    if not np.isfinite(found).all():
        return None
    count, rows = len(doubts), len(found)
    blocks = found.reshape(rows, count + 2, base)
    constant = np.ptp(found, axis=1) <= _CONSTANT
    parts = np.zeros((6, rows, count))
    if not constant.all():
        parts[:, ~constant] = _indices(blocks[~constant], seed)
    first, first_low, first_high, total, total_low, total_high = parts
    return SobolIndices(
        gauge.keys, gauge.outcomes, first, first_low, first_high, total, total_low, total_high,
        tuple(map(bool, constant)),
    )  # fmt: skip


def _design(doubts: Sequence[ParameterRange], base: int, seed: int) -> tuple[Matrix, Matrix, list[Matrix]]:
    """Two independent sets of points, and for each parameter the first with that parameter of the second."""
    both = draw_parameters([*doubts, *doubts], base, "sobol", seed)
    at_a, at_b = both[:, : len(doubts)], both[:, len(doubts) :]
    mixed = []
    for i in range(len(doubts)):
        one = at_a.copy()
        one[:, i] = at_b[:, i]
        mixed.append(one)
    return at_a, at_b, mixed


def _indices(blocks: Matrix, seed: int) -> Matrix:
    """(6, outcomes, P): first, its ends, total, its ends, from (outcomes, P + 2, n) evaluations.

    Percentile bootstrap over the points of the design, seeded: scipy's own takes its resamples from nowhere.
    """
    draw = np.random.default_rng(seed)
    points = blocks.shape[2]
    again = [_of(blocks[:, :, draw.integers(points, size=points)]) for _ in range(_RESAMPLES)]
    low, high = np.quantile(again, ((1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2), axis=0)
    first, total = _of(blocks)
    return np.array([first, low[0], high[0], total, low[1], high[1]])


def _of(blocks: Matrix) -> tuple[Matrix, Matrix]:
    """(outcomes, P) first-order and total indices."""
    given = {"f_A": blocks[:, 0].copy(), "f_B": blocks[:, 1].copy(), "f_AB": blocks[:, 2:].transpose(1, 0, 2).copy()}
    found = sobol_indices(func=given, n=blocks.shape[2])
    return found.first_order, found.total_order
