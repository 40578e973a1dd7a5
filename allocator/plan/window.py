"""A window of the lattice around the target, as the columns and rows of an integer program.

Everything is counted in steps from where the window starts and in money of a middling step, never in parts of the
account: the search is the same whether the account holds a thousand or a trillion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.outlook.outlook import Outlook
from allocator.plan.bent import costs_between
from allocator.plan.integer import Block
from allocator.plan.lattice import Lattice
from allocator.rules import Rows
from allocator.types import Vector

_FLOAT_NOISE = 1e-14
"""Of the account: the last bits of sums over it, which may be many of the solver's tolerances where lots are fine."""


@dataclass(frozen=True, eq=False)
class Window:
    """A part of the lattice, as columns: bought, sold, is bought, is sold, is sold out, distance; six blocks of N.

    Names that are bought (or sold) throughout the window start from `bought` (`sold`) steps; the others from nothing,
    and their first order is `first_bought` or `first_sold` steps, made by the column that says that there is one.
    """

    lattice: Lattice
    bought: Vector
    sold: Vector
    first_bought: Vector
    first_sold: Vector
    upper: Vector
    whole_lattice: bool

    @property
    def buys(self) -> sp.csr_array:
        """(N, 6N) steps bought beyond `bought`."""
        return self._columns(1.0, 0.0, self.first_bought * self._can(2), 0.0, 0.0, 0.0)

    @property
    def sells(self) -> sp.csr_array:
        """(N, 6N) steps sold beyond `sold`."""
        everything = (self.lattice.held - self.sold) * self._can(4)
        return self._columns(0.0, 1.0, 0.0, self.first_sold * self._can(3), everything, 0.0)

    def _can(self, block: int) -> Vector:
        return np.split(self.upper, 6)[block]

    def _columns(self, *parts: Vector | float) -> sp.csr_array:
        count = len(self.bought)
        return sp.csr_array(sp.hstack([sp.diags_array(np.broadcast_to(part, count).astype(float)) for part in parts]))

    def structure(self) -> list[Block]:
        """What makes columns orders, and distance the distance."""
        bought_more, sold_more = np.split(self.upper, 6)[:2]
        free_bought, free_sold = bought_more * (self.bought == 0), sold_more * (self.sold == 0)
        low, high = self.lattice.nearest
        here, net = self.bought - self.sold, self.buys - self.sells
        # the chord between the two nearest trades: with it the relaxation knows the cost of rounding
        below, above = np.abs(low - self.lattice.targets), np.abs(high - self.lattice.targets)
        slope = np.divide(above - below, high - low, out=np.zeros(len(low)), where=high > low)
        away = self._columns(0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
        return [
            Block(self._columns(1.0, 0.0, -free_bought, 0.0, 0.0, 0.0), -np.inf, bought_more - free_bought),
            Block(self._columns(0.0, 1.0, 0.0, -free_sold, sold_more - free_sold, 0.0), -np.inf, sold_more - free_sold),
            Block(self._columns(0.0, 0.0, 1.0, 1.0, 1.0, 0.0), -np.inf, 1.0),
            Block(away + net, self.lattice.targets - here, np.inf),
            Block(away - net, here - self.lattice.targets, np.inf),
            Block(away - sp.diags_array(slope) @ net, below + slope * (here - low), np.inf),
        ]

    def steps(self, x: Vector) -> Vector:
        """(N,) signed steps of a solution; exactly all that is held where everything is sold."""
        x = np.rint(x[: 5 * len(self.bought)])
        count = len(self.bought)
        net = (self.buys - self.sells)[:, : 5 * count] @ x + self.bought - self.sold
        sold_out = (x[4 * count :] > 0) | (net <= -self.lattice.held)
        result: Vector = np.where(sold_out, -self.lattice.held, np.rint(net)) + 0.0
        return result


def window(lattice: Lattice, reach: float) -> Window:
    """The trades within `reach`, a fraction of the account, of the nearest ones; no trade, too, where it is next."""
    low, high = lattice.nearest
    room = np.ceil(np.minimum(reach / lattice.values, 2 * (lattice.most_bought + lattice.held) + 2))
    lowest, highest = np.floor(low - room), np.ceil(high + room)
    smallest, held = lattice.smallest, lattice.held
    first_bought, last_bought = np.maximum(smallest, lowest), np.minimum(lattice.most_bought, highest)
    first_sold, last_sold = np.maximum(smallest, -highest), np.minimum(lattice.most_sold, -lowest)
    can_buy, can_sell = last_bought >= first_bought, last_sold >= first_sold
    is_bought, is_sold = can_buy & (lowest >= smallest), can_sell & (highest <= -smallest)
    ordinary = (held == lattice.most_sold) & (held >= smallest)
    sold_out = (held > 0) & ~ordinary & (-held >= lowest)
    upper = [
        np.where(can_buy, last_bought - first_bought, 0.0),
        np.where(can_sell, last_sold - first_sold, 0.0),
        can_buy & ~is_bought,
        can_sell & ~is_sold,
        sold_out,
        np.full(len(low), np.inf),
    ]
    return Window(
        lattice,
        bought=np.where(is_bought, first_bought, 0.0),
        sold=np.where(is_sold, first_sold, 0.0),
        first_bought=np.where(is_bought, 0.0, first_bought),
        first_sold=np.where(is_sold, 0.0, first_sold),
        upper=np.concatenate(upper).astype(float),
        whole_lattice=bool((lowest <= -held).all() and (highest >= lattice.most_bought).all()),
    )


@dataclass(frozen=True, eq=False)
class RulesInWindow:
    """The rules that a window can break, over its columns, cash and costs, counted in units.

    `equations` say what cash and costs are; with impact, between what costs lie. The rows of `rules` are those `kept`
    of all R and, as number R, that cash is not below nothing; each was multiplied by `shrink`.
    """

    equations: Block
    rules: Block
    kept: NDArray[np.intp]
    shrink: Vector


def rules_on(view: Window, outlook: Outlook, rows: Rows) -> RulesInWindow:
    """The rules' rows over a window's columns: what is traded throughout it goes into the limits."""
    lattice = view.lattice
    written_out = rows.on(outlook)
    in_holdings, in_cash = written_out.holdings, written_out.cash
    limits = (_limits(view, rows, in_holdings, in_cash) + _FLOAT_NOISE) / lattice.unit

    money = sp.diags_array(lattice.values / lattice.unit)
    buys, sells = money @ view.buys, money @ view.sells
    own = in_holdings @ (buys - sells) + rows.buys @ buys + rows.sells @ sells
    own = sp.csr_array(sp.vstack([own, sp.csr_array((1, len(view.upper)))]))
    costs = sp.csr_array(lattice.cost_rates[None, :]) @ (buys + sells)
    brought = sp.csr_array(np.ones((1, len(lattice.values)))) @ (sells - buys)
    if lattice.impact is None:
        cash = brought - costs
        equations = Block(sp.csr_array(sp.hstack([sp.vstack([cash, costs]), -sp.eye_array(2)])), 0.0, 0.0)
        in_costs, in_cash_alone = _reach(costs, view.upper), _reach(cash, view.upper)
    else:
        equations, in_costs = costs_between(view, brought, costs)
        least, highest = _reach(brought, view.upper)
        in_cash_alone = (least - in_costs[1], highest - in_costs[0])
    of_cash, of_costs = np.append(in_cash, -1.0), np.append(rows.wealth, 0.0)

    most = _most(own, view.upper) + _range(of_cash, *in_cash_alone) + _range(of_costs, *in_costs)
    kept = np.flatnonzero(most > limits - 1e-9)
    # a row with a long way to go is shrunk, so that a solver's 1e-9 stays far above the last bits of its limit
    shrink = 1 / np.maximum(np.abs(limits[kept]) / 1e6, 1.0)
    both = sp.csr_array(np.stack([of_cash, of_costs], axis=1)[kept])
    return RulesInWindow(
        equations,
        Block(sp.csr_array(sp.diags_array(shrink) @ sp.hstack([own[kept], both])), -np.inf, limits[kept] * shrink),
        kept,
        shrink,
    )


def _limits(view: Window, rows: Rows, in_holdings: sp.csr_array, in_cash: Vector) -> Vector:
    """(R + 1,) what the rules leave after the trades that every point of the window makes, and the cash then."""
    lattice = view.lattice
    bought, sold = lattice.values * view.bought, lattice.values * view.sold
    costs = float(lattice.cost_rates @ (bought + sold))
    cash = lattice.start.cash + float(sold.sum()) - float(bought.sum()) - costs
    used = in_holdings @ (lattice.start.holdings + bought - sold) + in_cash * cash
    return np.append(rows.limit + rows.wealth * (1 - costs) - used - rows.buys @ bought - rows.sells @ sold, cash)


def _most(coefficients: sp.sparray, upper: Vector) -> Vector:
    """(R,) the most that rows can reach over 0 ≤ x ≤ upper; distance, without a bound, is in no rule."""
    finite = np.where(np.isfinite(upper), upper, 0.0)
    result: Vector = coefficients.maximum(0) @ finite
    return result


def _reach(row: sp.sparray, upper: Vector) -> tuple[float, float]:
    """The least and the most that one row can reach over 0 ≤ x ≤ upper."""
    return -float(_most(-row, upper)[0]), float(_most(row, upper)[0])


def _range(weights: Vector, least: float, most: float) -> Vector:
    """(R,) the most that `weights` times one number between these can reach."""
    return np.maximum(weights * most, weights * least)
