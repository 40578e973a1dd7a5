"""From a solver's holdings to a trade: without dust, and with the cash that the trades leave."""

from __future__ import annotations

import numpy as np

from allocator.mandate.mandate import Mandate
from allocator.program.compile import Start
from allocator.rules import Trade
from allocator.types import Vector

_DUST = 1e-9
"""A fractional trade below this part of the account is the solver's noise, not a wish."""


def as_trade(start: Start, mandate: Mandate, holdings: Vector, value: float) -> Trade:
    """The solver's holdings without dust, cash recomputed from the cash row."""
    moved = np.maximum(holdings, 0.0) - start.holdings
    moved = np.where(np.abs(moved) < _DUST, 0.0, moved)
    moved = np.where(start.holdings + moved < _DUST, -start.holdings, moved)
    bought, sold = np.maximum(moved, 0.0), np.maximum(-moved, 0.0)
    costs = float(mandate.costs(bought, sold).sum())
    cash = start.cash + float(sold.sum()) - float(bought.sum()) - costs
    if -_DUST < cash < 0:
        cash = 0.0
    return Trade((start.holdings + moved) * value, cash * value, bought * value, sold * value, costs * value, value)
