"""Among plans that are nearly the best, the one that trades least (`trading.indifference_bps`).

The program is asked again with a price on every unit traded beside its costs. The dearer trading is, the less is
traded and the more of the objective is given up, so the dearest price whose plan is near enough is found by bisection.
The prices tried are the same whatever the indifference: more of it never trades more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from allocator.optimization.verification import Prices
from allocator.plan.certificate import Certificate
from allocator.rules import Trade

_SOLVES = 8
_LADDER = np.geomspace(1e-7, 10.0, 2**_SOLVES - 1)
"""Prices of trading one unit of wealth: from a thousandth of a basis point to ten times all there is, 7.5% apart."""


@dataclass(frozen=True, eq=False)
class Restrained:
    """Targets, their certificate, their own prices, and what was charged for a unit traded beside its costs."""

    target: Trade
    certificate: Certificate
    prices: Prices
    trading_price: float = 0.0


def least_traded(best: Restrained, again: Callable[[float], Restrained | None]) -> Restrained:
    """The plan at the dearest price of trading that is still near enough; `best` where none is.

    `again(price)` solves at that price and answers None where the plan is not near enough, or not verified.
    """
    found, low, high = best, -1, len(_LADDER)
    while high - low > 1:
        middle = (low + high) // 2
        tried = again(float(_LADDER[middle]))
        if tried is None:
            high = middle
        else:
            found, low = tried, middle
    return found
