"""Costs that impact bends, over the columns of a window: lines below them and one above, never a rate instead of them.

Impact costs impact·t^1.5 of the traded part t of the account. Whatever whole lots are traded, all costs together lie
above tangents, and below chords between the least and the most that each column may trade. A search within these
relaxes the true one: what it calls impossible is impossible. The tangents at trades that were met (`Lattice.known`)
meet the true costs there, so no trade is met twice for being too cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.plan.integer import Block
from allocator.types import Vector

if TYPE_CHECKING:
    from allocator.plan.window import Window

_ABOVE = 1e-12
"""Of what costs come to at most: the last bits of sums."""


def costs_between(view: Window, money: sp.csr_array, linear: sp.csr_array) -> tuple[Block, tuple[float, float]]:
    """What cash and costs are, over a window's columns and these two, and the least and the most that costs can be.

    `money` (1, 6N) is what sales less purchases bring, `linear` what they cost by rates. All is in units, beyond what
    the trades cost by rates that the whole window makes.
    """
    unit, upper = view.lattice.unit, np.where(np.isfinite(view.upper), view.upper, 0.0)
    rows, low, high = [sp.hstack([money, -np.ones((1, 2))])], [0.0], [0.0]
    nothing = np.zeros(len(view.bought))
    for steps in (nothing, view.lattice.targets, *view.lattice.known):
        below, constant = _tangent(view, steps)
        rows.append(sp.hstack([linear + sp.csr_array(below[None, :] / unit), np.array([[0.0, -1.0]])]))
        low.append(-np.inf)
        high.append(-constant / unit)
    above, constant = _chord(view)
    rows.append(sp.hstack([linear + sp.csr_array(above[None, :] / unit), np.array([[0.0, -1.0]])]))
    most = float((linear @ upper)[0] + above @ upper / unit + constant / unit)
    low.append(-(constant / unit + _ABOVE * most))
    high.append(np.inf)
    return Block(sp.csr_array(sp.vstack(rows)), np.array(low), np.array(high)), (0.0, most)


def _tangent(view: Window, steps: Vector) -> tuple[Vector, float]:
    """(6N,) slopes, and a height at nothing, of the line that meets the costs of impact where `steps` are traded."""
    lattice, made = view.lattice, (view.bought + view.sold) > 0
    parts, constant = [], 0.0
    for first, made_here, traded in _sides(view, steps):
        beyond = np.clip(traded - first, 0.0, None)
        slope = 1.5 * _curve(view, np.ones(len(first))) * np.sqrt(first + beyond)
        height = _curve(view, first + beyond) - slope * beyond
        parts.append((slope, np.where(made, 0.0, height)))
        constant += float(height[made_here].sum())
    sold = np.where(view.sold > 0, _curve(view, lattice.held) - _at_sold(view, steps), _curve(view, lattice.held))
    (bought_more, is_bought), (sold_more, is_sold) = parts
    return np.concatenate([bought_more, sold_more, is_bought, is_sold, sold, 0 * sold]), constant


def _chord(view: Window) -> tuple[Vector, float]:
    """(6N,) slopes, and a height at nothing, of the line above the costs of impact of every trade in the window."""
    made = (view.bought + view.sold) > 0
    parts, constant = [], 0.0
    for (first, made_here, _), more in zip(
        _sides(view, view.lattice.targets), np.split(view.upper, 6)[:2], strict=True
    ):
        slope = (_curve(view, first + more) - _curve(view, first)) / np.maximum(more, 1.0)
        parts.append((slope, np.where(made, 0.0, _curve(view, first))))
        constant += float(_curve(view, first)[made_here].sum())
    sold = _curve(view, view.lattice.held) - np.where(view.sold > 0, _curve(view, view.sold), 0.0)
    (bought_more, is_bought), (sold_more, is_sold) = parts
    return np.concatenate([bought_more, sold_more, is_bought, is_sold, sold, 0 * sold]), constant


def _sides(view: Window, steps: Vector) -> list[tuple[Vector, NDArray[np.bool_], Vector]]:
    """For purchases, then sales, (N,): the first steps traded, whether the whole window makes them, and `steps`."""
    return [
        (np.where(view.bought > 0, view.bought, view.first_bought), view.bought > 0, np.maximum(steps, 0.0)),
        (np.where(view.sold > 0, view.sold, view.first_sold), view.sold > 0, np.maximum(-steps, 0.0)),
    ]


def _at_sold(view: Window, steps: Vector) -> Vector:
    """(N,) the height of the tangent where what the whole window sells is sold."""
    beyond = np.clip(np.maximum(-steps, 0.0) - view.sold, 0.0, None)
    slope = 1.5 * _curve(view, np.ones(len(beyond))) * np.sqrt(view.sold + beyond)
    return _curve(view, view.sold + beyond) - slope * beyond


def _curve(view: Window, steps: Vector) -> Vector:
    """(N,) what impact costs, in parts of the account, where so many steps are traded."""
    impact = view.lattice.impact
    return np.zeros(len(steps)) if impact is None else np.asarray(impact * (steps * view.lattice.values) ** 1.5)
