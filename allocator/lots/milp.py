"""The order grid, what may be ordered of each name, and a part of it as the columns and rows of an integer program.

Everything is counted in steps from where the neighbourhood starts and in money of a middling step, never in parts of
the account: the search is the same whether the account holds a thousand or a trillion.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.book.book import Book
from allocator.mandate.mandate import Mandate
from allocator.optimization.highs import Block
from allocator.outlook.outlook import Outlook
from allocator.rules import RuleRows, Trade
from allocator.rules.rows import Position
from allocator.types import Vector

# What may be ordered: for every name, whole lots, at least the smallest trade, or everything that is held.
#
_NOISE = 1e-9  # of a lot
_FINEST = 1e-10
"""A step is worth at least this part of the account: finer lots are ordered in round numbers of them."""
_FINEST_OF_COARSEST = 1e-6
"""And at least this part of the coarsest choice that rounding has to make: next to it, finer steps are noise."""


@dataclass(frozen=True, eq=False)
class OrderGrid:
    """The trades that may be ordered, (N,) in steps: none, `smallest` or more either way, or everything held.

    A step is `lots_a_step` lots, nearly always one. `targets` are wanted, not whole. `held` need not be whole either:
    selling all of it is an order like any other, however small. Values are fractions of the account.
    """

    start: Position
    cost_rates: Vector
    values: Vector
    lots_a_step: Vector
    targets: Vector
    smallest: Vector
    held: Vector
    most_bought: Vector
    impact: Vector | None

    @cached_property
    def most_sold(self) -> Vector:
        """(N,) whole steps that are held."""
        return whole_steps_below(self.held)

    @cached_property
    def nearest(self) -> tuple[Vector, Vector]:
        """(N,) the nearest trades that may be ordered at or below the target, and at or above it."""
        below, above, smallest = whole_steps_below(self.targets), -whole_steps_below(-self.targets), self.smallest
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

    def orderable(self, steps: Vector) -> NDArray[np.bool_]:
        """(N,) whether each trade is one that may be ordered."""
        whole = np.abs(steps - np.rint(steps)) <= _NOISE
        sized = (steps >= self.smallest) | ((-steps >= self.smallest) & (-steps <= self.most_sold))
        result: NDArray[np.bool_] = (steps == 0) | (steps == -self.held) | (whole & sized)
        return result


def whole_steps_below(steps: Vector) -> Vector:
    """The whole number at or below, not fooled by the last bits of a float."""
    result: Vector = np.floor(steps + _NOISE + 4e-16 * np.abs(steps))
    return result


def order_grid(book: Book, mandate: Mandate, start: Position, target: Trade) -> OrderGrid:
    """The trades that a book allows, around a wanted one."""
    lot_values = _lot_values(book)
    each = np.where(lot_values < _FINEST * book.value, _round_number(_FINEST * book.value / lot_values), 1.0)
    grid = _in_steps(book, mandate, start, target, each)
    low, high = grid.nearest
    finest = _FINEST_OF_COARSEST * float(((high - low) * grid.values).max())
    if (grid.values >= finest).all():
        return grid
    each = np.where(grid.values < finest, each * _round_number(finest / grid.values), each)
    return _in_steps(book, mandate, start, target, each)


def _round_number(least: Vector) -> Vector:
    """The power of ten at or above, at least one."""
    result: Vector = 10.0 ** np.ceil(np.log10(np.maximum(least, 1.0)) - _NOISE)
    return result


def _lot_values(book: Book) -> Vector:
    """(N,) money for one lot; of a name at price 0, which no search may trade, the whole account."""
    return np.where(book.prices > 0, book.lot_values, book.value)


def _in_steps(book: Book, mandate: Mandate, start: Position, target: Trade, lots_a_step: Vector) -> OrderGrid:
    values, worth_something = _lot_values(book) / book.value * lots_a_step, book.prices > 0
    held = np.where(worth_something, book.quantities / (book.lot_sizes * lots_a_step), 0.0)
    most_bought = np.where(worth_something, whole_steps_below(1 / values), 0.0)
    minimum = book.settings.lots.min_trade / book.value
    return OrderGrid(
        start=start,
        cost_rates=mandate.cost_rates,
        values=values,
        lots_a_step=lots_a_step,
        targets=np.clip((target.bought - target.sold) / book.value / values, -held, most_bought),
        smallest=np.maximum(np.ceil(minimum / values - _NOISE), 1.0),
        held=held,
        most_bought=most_bought,
        impact=mandate.impact,
    )


_FLOAT_NOISE = 1e-14
"""Of the account: the last bits of sums over it, which may be many of the solver's tolerances where lots are fine."""


@dataclass(frozen=True, eq=False)
class GridNeighbourhood:
    """A part of the order grid, as columns: bought, sold, is bought, is sold, is sold out, distance; six blocks of N.

    Names that are bought (or sold) throughout the neighbourhood start from `bought` (`sold`) steps; the others from
    nothing, and their first order is `first_bought` or `first_sold` steps, made by the column that says that there is
    one.
    """

    grid: OrderGrid
    bought: Vector
    sold: Vector
    first_bought: Vector
    first_sold: Vector
    upper: Vector
    whole_grid: bool

    @property
    def buys(self) -> sp.csr_array:
        """(N, 6N) steps bought beyond `bought`."""
        return self._columns(1.0, 0.0, self.first_bought * self._can(2), 0.0, 0.0, 0.0)

    @property
    def sells(self) -> sp.csr_array:
        """(N, 6N) steps sold beyond `sold`."""
        everything = (self.grid.held - self.sold) * self._can(4)
        return self._columns(0.0, 1.0, 0.0, self.first_sold * self._can(3), everything, 0.0)

    def _can(self, block: int) -> Vector:
        return np.split(self.upper, 6)[block]

    def _columns(self, *parts: Vector | float) -> sp.csr_array:
        names, blocks = len(self.bought), len(parts)
        data = np.stack([np.broadcast_to(part, names).astype(float) for part in parts], axis=1).ravel()
        at = (np.arange(names)[:, None] + names * np.arange(blocks)).ravel()
        return sp.csr_array((data, at, np.arange(names + 1) * blocks), shape=(names, names * blocks))

    def structure(self) -> list[Block]:
        """What makes columns orders, and distance the distance."""
        bought_more, sold_more = np.split(self.upper, 6)[:2]
        free_bought, free_sold = bought_more * (self.bought == 0), sold_more * (self.sold == 0)
        low, high = self.grid.nearest
        here, net = self.bought - self.sold, self.buys - self.sells
        # the chord between the two nearest trades: with it the relaxation knows the cost of rounding
        below, above = np.abs(low - self.grid.targets), np.abs(high - self.grid.targets)
        slope = np.divide(above - below, high - low, out=np.zeros(len(low)), where=high > low)
        away = self._columns(0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
        return [
            Block(self._columns(1.0, 0.0, -free_bought, 0.0, 0.0, 0.0), -np.inf, bought_more - free_bought),
            Block(self._columns(0.0, 1.0, 0.0, -free_sold, sold_more - free_sold, 0.0), -np.inf, sold_more - free_sold),
            Block(self._columns(0.0, 0.0, 1.0, 1.0, 1.0, 0.0), -np.inf, 1.0),
            Block(away + net, self.grid.targets - here, np.inf),
            Block(away - net, here - self.grid.targets, np.inf),
            Block(away - sp.diags_array(slope) @ net, below + slope * (here - low), np.inf),
        ]

    def steps(self, x: Vector) -> Vector:
        """(N,) signed steps of a solution; exactly all that is held where everything is sold."""
        x = np.rint(x[: 5 * len(self.bought)])
        count = len(self.bought)
        net = (self.buys - self.sells)[:, : 5 * count] @ x + self.bought - self.sold
        sold_out = (x[4 * count :] > 0) | (net <= -self.grid.held)
        result: Vector = np.where(sold_out, -self.grid.held, np.rint(net)) + 0.0
        return result


def neighbourhood(grid: OrderGrid, reach: float) -> GridNeighbourhood:
    """The trades within `reach`, a fraction of the account, of the nearest ones; no trade, too, where it is next."""
    low, high = grid.nearest
    room = np.ceil(np.minimum(reach / grid.values, 2 * (grid.most_bought + grid.held) + 2))
    lowest, highest = np.floor(low - room), np.ceil(high + room)
    smallest, held = grid.smallest, grid.held
    first_bought, last_bought = np.maximum(smallest, lowest), np.minimum(grid.most_bought, highest)
    first_sold, last_sold = np.maximum(smallest, -highest), np.minimum(grid.most_sold, -lowest)
    can_buy, can_sell = last_bought >= first_bought, last_sold >= first_sold
    is_bought, is_sold = can_buy & (lowest >= smallest), can_sell & (highest <= -smallest)
    ordinary = (held == grid.most_sold) & (held >= smallest)
    sold_out = (held > 0) & ~ordinary & (-held >= lowest)
    upper = [
        np.where(can_buy, last_bought - first_bought, 0.0),
        np.where(can_sell, last_sold - first_sold, 0.0),
        can_buy & ~is_bought,
        can_sell & ~is_sold,
        sold_out,
        np.full(len(low), np.inf),
    ]
    return GridNeighbourhood(
        grid,
        bought=np.where(is_bought, first_bought, 0.0),
        sold=np.where(is_sold, first_sold, 0.0),
        first_bought=np.where(is_bought, 0.0, first_bought),
        first_sold=np.where(is_sold, 0.0, first_sold),
        upper=np.concatenate(upper).astype(float),
        whole_grid=bool((lowest <= -held).all() and (highest >= grid.most_bought).all()),
    )


def impact_chord(view: GridNeighbourhood) -> tuple[Vector, float]:
    """(6N,) slopes, and a height at nothing, in units, of a line above what impact costs: impact·t^1.5 where the part t
    of the account is traded. So cash is no less than is counted, whatever the neighbourhood trades.
    """
    grid, made, heights, slopes = view.grid, (view.bought + view.sold) > 0, list[Vector](), list[Vector]()
    if (impact := grid.impact) is None:
        return np.zeros(len(view.upper)), 0.0

    def curve(steps: Vector) -> Vector:
        return np.asarray(impact * (steps * grid.values) ** 1.5 / grid.unit)

    constant, more = 0.0, np.split(view.upper, 6)[:2]
    for begun, first, beyond in zip((view.bought, view.sold), (view.first_bought, view.first_sold), more, strict=True):
        at = np.where(begun > 0, begun, first)
        slopes.append((curve(at + beyond) - curve(at)) / np.maximum(beyond, 1.0))
        heights.append(np.where(made, 0.0, curve(at)))
        constant += float(curve(begun).sum())
    return np.concatenate([*slopes, *heights, curve(grid.held) - curve(view.sold), 0 * made]), constant


@dataclass(frozen=True, eq=False)
class NeighbourhoodRules:
    """The rules that a neighbourhood can break, over its columns, cash and costs, counted in units.

    `equations` say what cash and costs are; impact is charged by its chord, so that cash is no less than they say. The
    rows of `rules` are those `kept` of all R and, as number R, that cash is not below nothing; each was multiplied by
    `shrink`.
    """

    equations: Block
    rules: Block
    kept: NDArray[np.intp]
    shrink: Vector


def neighbourhood_rules(view: GridNeighbourhood, outlook: Outlook, rows: RuleRows) -> NeighbourhoodRules:
    """The rules' rows over a neighbourhood's columns: what is traded throughout it goes into the limits."""
    grid = view.grid
    written_out = rows.on(outlook)
    in_holdings, in_cash = written_out.holdings, written_out.cash
    limits = (_limits(view, rows, in_holdings, in_cash) + _FLOAT_NOISE) / grid.unit

    money = sp.diags_array(grid.values / grid.unit)
    buys, sells = money @ view.buys, money @ view.sells
    own = in_holdings @ (buys - sells) + rows.buys @ buys + rows.sells @ sells
    own = sp.csr_array(sp.vstack([own, sp.csr_array((1, len(view.upper)))]))
    chord, at_nothing = impact_chord(view)
    costs = sp.csr_array(grid.cost_rates[None, :]) @ (buys + sells) + sp.csr_array(chord[None, :])
    cash = sp.csr_array(np.ones((1, len(grid.values)))) @ (sells - buys) - costs
    constants = np.array([at_nothing, -at_nothing])
    equations = Block(sp.csr_array(sp.hstack([sp.vstack([cash, costs]), -sp.eye_array(2)])), constants, constants)
    in_costs, in_cash_alone = _reach(costs, view.upper) + at_nothing, _reach(cash, view.upper) - at_nothing
    of_cash, of_costs = np.append(in_cash, -1.0), np.append(rows.wealth, 0.0)

    most = _most(own, view.upper) + _range(of_cash, *in_cash_alone) + _range(of_costs, *in_costs)
    kept = np.flatnonzero(most > limits - 1e-9)
    # a row with a long way to go is shrunk, so that a solver's 1e-9 stays far above the last bits of its limit
    shrink = 1 / np.maximum(np.abs(limits[kept]) / 1e6, 1.0)
    both = sp.csr_array(np.stack([of_cash, of_costs], axis=1)[kept])
    return NeighbourhoodRules(
        equations,
        Block(sp.csr_array(sp.diags_array(shrink) @ sp.hstack([own[kept], both])), -np.inf, limits[kept] * shrink),
        kept,
        shrink,
    )


def _limits(view: GridNeighbourhood, rows: RuleRows, in_holdings: sp.csr_array, in_cash: Vector) -> Vector:
    """(R + 1,) what the rules leave after the trades that every point of the neighbourhood makes, and the cash then."""
    grid = view.grid
    bought, sold = grid.values * view.bought, grid.values * view.sold
    costs = float(grid.cost_rates @ (bought + sold))
    cash = grid.start.cash + float(sold.sum()) - float(bought.sum()) - costs
    used = in_holdings @ (grid.start.holdings + bought - sold) + in_cash * cash
    return np.append(rows.limit + rows.wealth * (1 - costs) - used - rows.buys @ bought - rows.sells @ sold, cash)


def _most(coefficients: sp.sparray, upper: Vector) -> Vector:
    """(R,) the most that rows can reach over 0 ≤ x ≤ upper; distance, without a bound, is in no rule."""
    finite = np.where(np.isfinite(upper), upper, 0.0)
    result: Vector = coefficients.maximum(0) @ finite
    return result


def _reach(row: sp.sparray, upper: Vector) -> Vector:
    """The least and the most that one row can reach over 0 ≤ x ≤ upper."""
    return np.array([-_most(-row, upper)[0], _most(row, upper)[0]])


def _range(weights: Vector, least: float, most: float) -> Vector:
    """(R,) the most that `weights` times one number between these can reach."""
    return np.maximum(weights * most, weights * least)
