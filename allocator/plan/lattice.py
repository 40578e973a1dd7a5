"""What may be ordered: for every name, whole lots, at least the smallest trade, or everything that is held."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from allocator.book.book import Book
from allocator.mandate.mandate import Mandate
from allocator.program.compile import Start
from allocator.rules import Trade
from allocator.types import Vector

_NOISE = 1e-9  # of a lot
_FINEST = 1e-10
"""A step is worth at least this part of the account: finer lots are ordered in round numbers of them."""
_FINEST_OF_COARSEST = 1e-6
"""And at least this part of the coarsest choice that rounding has to make: next to it, finer steps are noise."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """The trades that may be ordered, (N,) in steps: none, `smallest` or more either way, or everything held.

    A step is `lots_a_step` lots, nearly always one. `targets` are wanted, not whole. `held` need not be whole either:
    selling all of it is an order like any other, however small. Values are fractions of the account.
    """

    start: Start
    cost_rates: Vector
    values: Vector
    lots_a_step: Vector
    targets: Vector
    smallest: Vector
    held: Vector
    most_bought: Vector
    impact: Vector | None
    known: list[Vector]
    """Trades that were met: with impact, what they cost is known to every later search."""

    @cached_property
    def most_sold(self) -> Vector:
        """(N,) whole steps that are held."""
        return whole_below(self.held)

    @cached_property
    def nearest(self) -> tuple[Vector, Vector]:
        """(N,) the nearest trades that may be ordered at or below the target, and at or above it."""
        below, above, smallest = whole_below(self.targets), -whole_below(-self.targets), self.smallest
        sold = np.maximum(-below, smallest)
        sold = np.where(sold <= self.most_sold, sold, self.held)
        low = np.where(below >= smallest, below, np.where(below >= 0, 0.0, -sold))
        bought = np.where(np.maximum(above, smallest) <= self.most_bought, np.maximum(above, smallest), 0.0)
        high = np.where(above <= -smallest, above, np.where(above <= 0, 0.0, bought))
        return np.minimum(low, high), np.maximum(low, high)

    @property
    def rounded(self) -> Vector:
        """(N,) the nearest trades of all, rules or not."""
        low, high = self.nearest
        result: Vector = np.where(self.targets - low <= high - self.targets, low, high)
        return result

    @cached_property
    def unit(self) -> float:
        """A middling step, as a fraction of the account: what the search counts money in."""
        return float(np.median(self.values))

    @property
    def reach(self) -> float:
        """How far, as a fraction of the account, to look first: enough to make good what ordinary rounding takes."""
        low, high = self.nearest
        return float(np.minimum((high - low) * self.values, 8 * self.unit).sum()) + 16 * self.unit

    def avoidable(self, steps: Vector) -> float:
        """How much further than the nearest trades of all a trade is from the target, as a fraction of the account."""
        return float(self.values @ (np.abs(steps - self.targets) - np.abs(self.rounded - self.targets)))

    def learnt(self, steps: Vector) -> bool:
        """Whether what these steps cost was not known; from now on it is."""
        if self.impact is None or any(np.array_equal(steps, one) for one in self.known):
            return False
        self.known.append(steps)
        return True

    def orderable(self, steps: Vector) -> NDArray[np.bool_]:
        """(N,) whether each trade is one that may be ordered."""
        whole = np.abs(steps - np.rint(steps)) <= _NOISE
        sized = (steps >= self.smallest) | ((-steps >= self.smallest) & (-steps <= self.most_sold))
        result: NDArray[np.bool_] = (steps == 0) | (steps == -self.held) | (whole & sized)
        return result


def whole_below(steps: Vector) -> Vector:
    """The whole number at or below, not fooled by the last bits of a float."""
    result: Vector = np.floor(steps + _NOISE + 4e-16 * np.abs(steps))
    return result


def lattice_of(book: Book, mandate: Mandate, start: Start, target: Trade) -> Lattice:
    """The trades that a book allows, around a wanted one."""
    each = np.where(book.lot_values < _FINEST * book.value, _round_number(_FINEST * book.value / book.lot_values), 1.0)
    lattice = _in_steps(book, mandate, start, target, each)
    low, high = lattice.nearest
    finest = _FINEST_OF_COARSEST * float(((high - low) * lattice.values).max())
    if (lattice.values >= finest).all():
        return lattice
    each = np.where(lattice.values < finest, each * _round_number(finest / lattice.values), each)
    return _in_steps(book, mandate, start, target, each)


def _round_number(least: Vector) -> Vector:
    """The power of ten at or above, at least one."""
    result: Vector = 10.0 ** np.ceil(np.log10(np.maximum(least, 1.0)) - _NOISE)
    return result


def _in_steps(book: Book, mandate: Mandate, start: Start, target: Trade, lots_a_step: Vector) -> Lattice:
    values = book.lot_values / book.value * lots_a_step
    held = book.quantities / (book.lot_sizes * lots_a_step)
    most_bought = whole_below(1 / values)
    minimum = book.settings.lots.min_trade / book.value
    return Lattice(
        start=start,
        cost_rates=mandate.cost_rates,
        values=values,
        lots_a_step=lots_a_step,
        targets=np.clip((target.bought - target.sold) / book.value / values, -held, most_bought),
        smallest=np.maximum(np.ceil(minimum / values - _NOISE), 1.0),
        held=held,
        most_bought=most_bought,
        impact=mandate.impact,
        known=[],
    )
