"""What a trial shows: certainty equivalents and worst deciles with bounds, corrected p-values, the default caution.

Investors are drawn again with replacement, each with all of its worlds (cluster bootstrap): the worlds of one investor
share his errors. Arrays of outcomes are (I, W, P): investors, worlds of each, policies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from allocator.multistage.objectives import Objective
from allocator.types import Matrix, Vector

RESAMPLES = 10_000
DECILE = 0.1
FEWEST = 20
"""Investors of which resamples say something."""
_AT_ONCE = 500
"""Resamples looked at together."""
Outcomes = NDArray[np.float64]


def investor_weights(investors: int, draw: np.random.Generator, resamples: int = RESAMPLES) -> Matrix:
    """(B + 1, I) how often each investor counts: first once each, then as they are drawn again."""
    again = draw.multinomial(investors, np.full(investors, 1 / investors), size=resamples)
    return np.vstack([np.ones(investors), again]).astype(np.float64)


def certainty_equivalents(utility: Objective, wealth: Outcomes, weights: Matrix) -> Matrix:
    """(B, P) the riskless return with the mean utility of wealth (I, W, P), by `weights` (B, I) of investors."""
    losses = utility.loss(wealth).mean(axis=1)
    means = weights @ losses / weights.sum(axis=1, keepdims=True)
    result: Matrix = np.vectorize(utility.equivalent, otypes=[np.float64])(means)
    return result


def worst_deciles(wealth: Outcomes, weights: Matrix, part: float = DECILE) -> Matrix:
    """(B, P) the mean return of the tenth of all worlds in which each policy itself does worst."""
    investors, worlds, policies = wealth.shape
    result = np.empty((len(weights), policies))
    for p in range(policies):
        flat = wealth[:, :, p].ravel()
        order = np.argsort(flat, kind="stable")
        gains, whose = flat[order] - 1, np.repeat(np.arange(investors), worlds)[order]
        for at in range(0, len(weights), _AT_ONCE):
            counts = weights[at : at + _AT_ONCE, whose]
            reached, tail = np.cumsum(counts, axis=1), part * counts.sum(axis=1, keepdims=True)
            inside = np.clip(tail - (reached - counts), 0.0, counts)
            result[at : at + _AT_ONCE, p] = (inside @ gains) / tail[:, 0]
    return result


def high_percentile(values: Matrix) -> Vector:
    """One-sided, at 95 %, of rows that are resamples, the first of them the estimate."""
    result: Vector = np.quantile(values[1:], 0.95, axis=0)
    return result


def low_percentile(values: Matrix) -> Vector:
    """The same from below."""
    result: Vector = np.quantile(values[1:], 0.05, axis=0)
    return result


def two_sided_p(differences: Matrix) -> Vector:
    """(P,) of no difference: twice the smaller part of the resamples on either side of 0, 1 where there is none."""
    resampled = differences[1:]
    below, above = ((1 + (side).sum(axis=0)) / (1 + len(resampled)) for side in (resampled <= 0, resampled >= 0))
    result: Vector = np.minimum(1.0, 2 * np.minimum(below, above))
    return result


def holm_adjusted(p: Sequence[float]) -> list[float]:
    """p-values of one family, corrected for how many there are (Holm 1979)."""
    given = np.asarray(p, dtype=np.float64)
    order, adjusted, least = np.argsort(given, kind="stable"), np.empty(len(given)), 0.0
    for rank, at in enumerate(order):
        least = max(least, min(1.0, (len(given) - rank) * float(given[at])))
        adjusted[at] = least
    return adjusted.tolist()


# The rule about the defaults, as docs/trial.md states it and as it was before the first run.
#
LOSS_ALLOWED_BPS = 15.0


def passes_rule(lost_at_most_bps: Sequence[float], helped_at_least_bps: Sequence[float]) -> bool:
    """Whether a caution may be the default: where beliefs are right its loss, by its upper bound, is at most 15 bps,
    and where they are wrong its help in the worst decile, by its lower bound, above 0; at every announcement share.
    """
    return max(lost_at_most_bps) <= LOSS_ALLOWED_BPS and min(helped_at_least_bps) > 0


def default_caution(grid: Sequence[tuple[float, bool]]) -> float:
    """The largest caution of the grid that passes; 0 where none does."""
    return max((caution for caution, passes in grid if passes), default=0.0)
