"""Objectives with one number that all outcomes share, a centre or a quantile: the best of it, against the adversary.

min over the number of sup over the probabilities: convex in the one and linear in the other, so that halving the slope
finds it with the inner maximisers of the sets alone. Nothing here solves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from allocator.ambiguity.pushforward import Seen
from allocator.ambiguity.sets import Ambiguity
from allocator.types import Vector

_HALVINGS = 200
"""Of the interval that holds the common number: until no number lies between its ends."""


@dataclass(frozen=True, eq=False)
class AtOnce:
    """What a portfolio is worth under one of these: the worst case, (L,) losses at the leaves, the (L,) adversary."""

    loss: float
    leaf_losses: Vector
    adversary: Vector


def least(
    at: Callable[[float], tuple[Vector, Vector]], low: float, high: float, ambiguity: Ambiguity | Seen, p: Vector
) -> AtOnce:
    """min over x in [low, high] of sup_q q'losses(x), `at` giving losses and slopes (L,): by halving.

    Where the adversary jumps from one corner to another, the mean of both that makes the slope vanish is his choice
    at the saddle: the set is convex.
    """

    def seen(x: float) -> tuple[Vector, float]:
        losses, slopes = at(x)
        q = ambiguity.adversary(losses, p)
        return q, float(q @ slopes)

    below, above = seen(low), seen(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        here = seen(middle)
        if here[1] < 0:
            low, below = middle, here
        else:
            high, above = middle, here
    rises = above[1] - below[1]
    part = min(max(above[1] / rises, 0.0), 1.0) if rises > 0 else 0.0
    losses = at(high)[0]
    worst = ambiguity.adversary(losses, p)
    return AtOnce(float(worst @ losses), losses, part * below[0] + (1 - part) * above[0])
