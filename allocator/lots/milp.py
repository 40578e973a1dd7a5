"""The order grid, what may be ordered of each name; what whole lots minimise; and a part of the grid as the columns and
rows of an integer program.

Everything is counted in steps from where the neighbourhood starts and in money of a middling step, never in parts of
the account: the search is the same whether the account holds a thousand or a trillion. And every number that steers the
search is rounded to digits that no processor's arithmetic differs in: of several portfolios within the gap the same one
is found anywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.book.book import Book
from allocator.mandate.mandate import Mandate
from allocator.optimization.highs import Block
from allocator.optimization.verification import DualCertificate, cheapest, lower_bound, reduced_costs
from allocator.outlook.outlook import Outlook
from allocator.rules import RuleRows, Trade
from allocator.rules.rows import Position
from allocator.types import Matrix, Vector

_RETURN_DIGITS = 12
"""Of slopes, loadings and rules' coefficients: sums of products differ in the last two or three of sixteen."""
_BPS_DIGITS = 8
_POINT_DIGITS = 8
"""Of a portfolio where tangents touch; wherever they do, they are below what they stand for."""
_STEP_DIGITS = 6
"""Of targets: far above what a solver may leave open, far below a lot."""


def steady(values: Vector, digits: int) -> Vector:
    """Rounded to digits that no processor's arithmetic differs in."""
    return np.asarray(np.round(values, digits) + 0.0)


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

    def around(self, reach: float) -> tuple[Vector, Vector]:
        """(N,) the lowest and the highest steps within `reach`, a fraction of the account, of the nearest trades."""
        low, high = self.nearest
        room = np.ceil(np.minimum(reach / self.values, 2 * (self.most_bought + self.held) + 2))
        return np.floor(low - room), np.ceil(high + room)

    def next_up(self, steps: Vector) -> Vector:
        """(N,) the next trade that may be ordered above each, or the same where there is none."""
        less = whole_steps_below(steps + 1)
        up = np.where(steps < 0, np.where(-less >= self.smallest, less, 0.0), np.where(steps > 0, steps + 1, 0.0))
        up = np.where(steps == 0, self.smallest, up)
        result: Vector = np.where(up <= self.most_bought, up, steps)
        return result

    def next_down(self, steps: Vector) -> Vector:
        """(N,) the next trade that may be ordered below each, or the same where there is none."""
        sold = np.where(steps == 0, self.smallest, 1 - steps)
        sold = np.where(sold <= self.most_sold, sold, self.held)
        down = np.where(steps > self.smallest, steps - 1, np.where(steps > 0, 0.0, -sold))
        result: Vector = np.where(down < steps, down, steps)
        return result

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
        targets=np.clip(steady((target.bought - target.sold) / book.value / values, _STEP_DIGITS), -held, most_bought),
        smallest=np.maximum(np.ceil(minimum / values - _NOISE), 1.0),
        held=held,
        most_bought=most_bought,
        impact=mandate.impact,
    )


_FLOAT_NOISE = 1e-14
"""Of the account: the last bits of sums over it, which may be many of the solver's tolerances where lots are fine."""


@dataclass(frozen=True, eq=False)
class GridNeighbourhood:
    """A part of the order grid, as columns: bought, sold, is bought, is sold, is sold out, and what each name costs the
    objective on its own; six blocks of N.

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
    lowest: Vector
    highest: Vector

    @property
    def cash(self) -> float:
        """What is left after the trades that every point of the neighbourhood makes, impact aside."""
        bought, sold = self.grid.values * self.bought, self.grid.values * self.sold
        costs = float(self.grid.cost_rates @ (bought + sold))
        return self.grid.start.cash + float(sold.sum()) - float(bought.sum()) - costs

    @property
    def whole_grid(self) -> bool:
        """Whether everything that may be ordered is in it."""
        return bool((self.lowest <= -self.grid.held).all() and (self.highest >= self.grid.most_bought).all())

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
        """What makes columns orders."""
        bought_more, sold_more = np.split(self.upper, 6)[:2]
        free_bought, free_sold = bought_more * (self.bought == 0), sold_more * (self.sold == 0)
        return [
            Block(self._columns(1.0, 0.0, -free_bought, 0.0, 0.0, 0.0), -np.inf, bought_more - free_bought),
            Block(self._columns(0.0, 1.0, 0.0, -free_sold, sold_more - free_sold, 0.0), -np.inf, sold_more - free_sold),
            Block(self._columns(0.0, 0.0, 1.0, 1.0, 1.0, 0.0), -np.inf, 1.0),
        ]

    def chord(self, own: Callable[[Vector], Vector], low: Vector, high: Vector) -> Block:
        """The columns of what each name costs on its own are above the line of `own` between two neighbouring trades:
        it is convex, and nothing is ordered between them. Of one trade twice there is no line.
        """
        at, rise = own(low), np.flatnonzero(high > low)
        slope = np.divide(own(high) - at, high - low, out=np.zeros(len(low)), where=high > low)
        rows = self._columns(0.0, 0.0, 0.0, 0.0, 0.0, 1.0) - sp.diags_array(slope) @ self.net
        return Block(sp.csr_array(rows[rise]), (at + slope * (self.bought - self.sold - low))[rise], np.inf)

    @cached_property
    def net(self) -> sp.csr_array:
        """(N, 6N) steps traded beyond those that every point of the neighbourhood makes, purchases less sales."""
        return sp.csr_array(self.buys - self.sells)

    def begun(self, steps: Vector) -> Vector:
        """(5N,) the whole columns that make these trades; the converse of `steps`."""
        everything = (steps < 0) & (steps == -self.grid.held) & (self._can(4) > 0)
        buys, sells = (steps > 0) & ~everything, (steps < 0) & ~everything
        return np.concatenate([
            np.where(buys, steps - self.bought - self.first_bought, 0.0),
            np.where(sells, -steps - self.sold - self.first_sold, 0.0),
            buys & (self.bought == 0),
            sells & (self.sold == 0),
            everything,
        ])  # fmt: skip

    def steps(self, x: Vector) -> Vector:
        """(N,) signed steps of a solution; exactly all that is held where everything is sold."""
        x = np.rint(x[: 5 * len(self.bought)])
        count = len(self.bought)
        net = (self.buys - self.sells)[:, : 5 * count] @ x + self.bought - self.sold
        sold_out = (x[4 * count :] > 0) | (net <= -self.grid.held)
        result: Vector = np.where(sold_out, -self.grid.held, np.rint(net)) + 0.0
        return result


def neighbourhood(grid: OrderGrid, lowest: Vector, highest: Vector) -> GridNeighbourhood:
    """The trades between these; no trade, too, where it is next."""
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
        np.full(len(lowest), np.inf),
    ]
    return GridNeighbourhood(
        grid,
        bought=np.where(is_bought, first_bought, 0.0),
        sold=np.where(is_sold, first_sold, 0.0),
        first_bought=np.where(is_bought, 0.0, first_bought),
        first_sold=np.where(is_sold, 0.0, first_sold),
        upper=np.concatenate(upper).astype(float),
        lowest=lowest,
        highest=highest,
    )


# What whole lots minimise, and how it is told to an integer program.
#


class LotObjective(ABC):
    """A convex function of trades: a sum over names, and what couples them; in a unit of its own."""

    grid: OrderGrid
    gap: float
    """Lots that are so near to what no lots can beat are the best."""
    bound: float
    """What no lots can beat."""
    coupled = 0
    """Columns that it has beside cash and costs."""

    @abstractmethod
    def own(self, steps: Vector) -> Vector:
        """(N,) what depends on one name alone, convex in its steps."""

    @abstractmethod
    def value(self, steps: Vector, trade: Trade) -> float:
        """The objective of a trade, from the formulas."""

    @abstractmethod
    def penalty(self, steps: Vector) -> Vector:
        """(N,) convex, and 0 or less somewhere: no trade is below the bound and the sum of what these come to."""

    def changes(self, steps: Vector, trade: Trade, to: Vector) -> Vector:
        """(N,) what moving one name alone changes, by the tangent at `trade` of what couples them."""
        del trade
        return self.own(to) - self.own(steps)

    def columns(self) -> tuple[Vector, Vector, Vector]:
        """Costs and bounds of its own columns."""
        return np.zeros(0), np.zeros(0), np.zeros(0)

    def coupling(self, view: GridNeighbourhood) -> list[Block]:
        """What its own columns are, over all columns."""
        del view
        return []

    def tangents(self, view: GridNeighbourhood, trade: Trade) -> list[Block]:
        """Rows over all columns that are exact at a trade of what couples names, and never too high."""
        del view, trade
        return []

    def near(self, view: GridNeighbourhood, trade: Trade, room: float) -> list[Block]:
        """More such rows, where trades may be that are within `room` of the best one."""
        del view, trade, room
        return []

    def within(self, room: float) -> tuple[Vector, Vector]:
        """(N,) the lowest and the highest steps of each name whose penalty alone is at most `room`."""
        grid = self.grid
        middle, ends = np.clip(grid.targets, -grid.held, grid.most_bought), (-grid.held, grid.most_bought)
        found = list[Vector]()
        for end in ends:
            inside, outside = middle, end
            for _ in range(_BISECTIONS):
                between = (inside + outside) / 2
                near = self.penalty(between) <= room
                inside, outside = np.where(near, between, inside), np.where(near, outside, between)
            found.append(np.where(self.penalty(end) <= room, end, outside))
        low, high = grid.nearest
        return np.minimum(np.floor(found[0]), low), np.maximum(np.ceil(found[1]), high)


_BISECTIONS = 60
_APART = (-1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0)
"""Where tangents are laid beside the best, of the way: between them y² is missed by a 64th of the room at most."""


@dataclass(frozen=True, eq=False)
class Nearness(LotObjective):
    """The distance to the targets in middling steps of money: what is minimised where the objective is a tree's."""

    grid: OrderGrid

    @property
    def gap(self) -> float:  # type: ignore[override]
        """A millionth of what rounding alone takes."""
        return 1e-6 * max(1.0, self.bound)

    @cached_property
    def bound(self) -> float:  # type: ignore[override]
        """The nearest trades of all, rules or not."""
        return float(self.own(self.grid.rounded).sum())

    @cached_property
    def _money(self) -> Vector:
        return np.clip(self.grid.values / self.grid.unit, 1 / _DEAREST, _DEAREST)

    def own(self, steps: Vector) -> Vector:
        """(N,) how far from the target."""
        return steady(self._money * np.abs(steps - self.grid.targets), _BPS_DIGITS)

    def value(self, steps: Vector, trade: Trade) -> float:
        """The sum over names."""
        del trade
        return float(self.own(steps).sum())

    def penalty(self, steps: Vector) -> Vector:
        """(N,) how much further than the nearest trade."""
        return self.own(steps) - self.own(self.grid.rounded)


_DEAREST = 1e5
"""A lot counts for at most this much more than a middling one, and at least this much less: what a solver can see."""
_BPS = 1e4


@dataclass(frozen=True, eq=False)
class PlanObjective(LotObjective):
    """The plan's own objective in bps, and what the targets were charged for a unit traded beside its costs.

    What a name alone decides are its costs, what is charged for holding it and its own risk; names are coupled by the
    factors' exposures y, each with its y², by the adverse return and by the error of returns. The targets' prices prove
    what no trade can beat, and what each name adds to that where it is traded otherwise.
    """

    grid: OrderGrid
    outlook: Outlook
    mandate: Mandate
    prices: DualCertificate
    trading_price: float
    gap: float

    @cached_property
    def bound(self) -> float:  # type: ignore[override]
        """By the targets' prices."""
        bound = lower_bound(self.grid.start, self.outlook, self.mandate, self.prices, self.trading_price)
        return round(_BPS * bound, _BPS_DIGITS)

    def own(self, steps: Vector) -> Vector:
        """(N,) costs, charges and own risk."""
        holdings, traded = self._holdings(steps), np.abs(steps) * self.grid.values
        price = self.mandate.cost_price(self.outlook)
        costs = price * self.mandate.costs(traded, 0 * traded) + self.trading_price * traded
        return steady(_BPS * (self._specific * holdings**2 + self._charges * holdings + costs), _BPS_DIGITS)

    def value(self, steps: Vector, trade: Trade) -> float:
        """The formulas' own."""
        extra = self.trading_price * float(np.abs(steps) @ self.grid.values)
        return round(_BPS * (self.mandate.loss(trade, self.outlook) + extra), _BPS_DIGITS)

    def penalty(self, steps: Vector) -> Vector:
        """(N,) by the Lagrangian of the targets' prices, name by name."""
        in_holdings, in_buys, in_sells = self._reduced
        holdings, traded = self._holdings(steps), self.grid.values * steps
        best = cheapest(in_holdings, self._specific)
        held = in_holdings * (holdings - best) + self._specific * (holdings**2 - best**2)
        penalty = held + in_buys * np.maximum(traded, 0) + in_sells * np.maximum(-traded, 0)
        return steady(_BPS * penalty, _BPS_DIGITS)

    @cached_property
    def _reduced(self) -> tuple[Vector, Vector, Vector]:
        in_holdings, in_buys, in_sells = reduced_costs(self.outlook, self.mandate, self.prices, self.trading_price)
        lawful = 1.0 if self.mandate.impact is None or self.prices.cash >= 0 else 0.0
        return in_holdings, lawful * np.maximum(in_buys, 0.0), lawful * np.maximum(in_sells, 0.0)

    @cached_property
    def _specific(self) -> Vector:
        return np.asarray(self.mandate.risk_aversion * self.outlook.risk.specific)

    @cached_property
    def _charges(self) -> Vector:
        charge = self.mandate.linear_charge
        return np.zeros(len(self.grid.values)) if charge is None else charge

    def _holdings(self, steps: Vector) -> Vector:
        return np.asarray(self.grid.start.holdings + self.grid.values * steps)

    def _slopes(self, trade: Trade) -> tuple[Vector, Vector, float, Vector]:
        """Exposures y at a trade; the slopes there of the adverse loss in holdings and cash, and of errors of returns
        that are not each name's own, in holdings.
        """
        holdings, cash = steady(trade.values / trade.value_before, _POINT_DIGITS), trade.cash / trade.value_before
        mandate, outlook, error = self.mandate, self.outlook, self.mandate.return_error
        in_gains = np.zeros(len(outlook.probabilities))
        if mandate.return_weight:
            losses = steady(-outlook.portfolio_returns(holdings, cash), _POINT_DIGITS)
            in_gains = -mandate.ambiguity.adversary(losses, outlook.probabilities)
        joint = 0 * holdings
        if error is not None and error.linear_charge is None:
            joint = error.slope(error.steepest(holdings, outlook.risk), outlook.risk)
        in_cash = round(float(in_gains @ outlook.cash_returns), _RETURN_DIGITS)
        factors, in_holdings = steady(self._loadings.T @ holdings, _POINT_DIGITS), outlook.returns.T @ in_gains
        return factors, steady(in_holdings, _RETURN_DIGITS), in_cash, steady(joint, _RETURN_DIGITS)

    def changes(self, steps: Vector, trade: Trade, to: Vector) -> Vector:
        """(N,) exact in risk and costs of each name, at the adversary and the errors of the trade."""
        moved = self.grid.values * (to - steps)
        costs = self.mandate.costs(self.grid.values * np.abs(to), 0 * to)
        costs = costs - self.mandate.costs(self.grid.values * np.abs(steps), 0 * to)
        factors, in_holdings, in_cash, joint = self._slopes(trade)
        loadings, gamma = self._loadings, self.mandate.risk_aversion
        risk = gamma * (2 * (loadings @ factors) * moved + (loadings**2).sum(axis=1) * moved**2)
        coupled = (in_holdings + joint) * moved - in_cash * (moved + costs) + risk
        return steady(self.own(to) - self.own(steps) + _BPS * coupled, _BPS_DIGITS)

    @cached_property
    def _loadings(self) -> Matrix:
        return steady(self.outlook.risk.loadings, _RETURN_DIGITS)

    @property
    def _factors(self) -> int:
        return self.outlook.risk.loadings.shape[1] if self.mandate.risk_aversion else 0

    @property
    def coupled(self) -> int:  # type: ignore[override]
        """y and y² of each factor, the adverse loss, the joint error of returns."""
        return 2 * self._factors + 2

    def columns(self) -> tuple[Vector, Vector, Vector]:
        """y costs nothing itself; what is not asked of the adversary or of errors is 0."""
        count, error = self._factors, self.mandate.return_error
        free = [bool(self.mandate.return_weight), error is not None and error.linear_charge is None]
        cost = np.concatenate([np.zeros(count), np.ones(count), np.ones(2)])
        lower = np.concatenate([np.full(count, -np.inf), np.zeros(count), np.where(free, -np.inf, 0.0)])
        upper = np.concatenate([np.full(2 * count, np.inf), np.where(free, np.inf, 0.0)])
        return cost, lower, upper

    def coupling(self, view: GridNeighbourhood) -> list[Block]:
        """y are the exposures, in bps."""
        count, loadings = self._factors, self._loadings
        if not count:
            return []
        here = -_BPS * steady(loadings.T @ self._holdings(view.bought - view.sold), _RETURN_DIGITS)
        own = [-sp.eye_array(count), sp.csr_array((count, count + 2))]
        return [Block(self._over(view, _BPS * loadings.T, np.zeros(count), own), here, here)]

    def tangents(self, view: GridNeighbourhood, trade: Trade) -> list[Block]:
        """y² at its exposures, the adverse loss at its adversary, the errors of returns at its own."""
        factors, in_holdings, in_cash, joint = self._slopes(trade)
        factors = factors[: self._factors]
        begun = self._holdings(view.bought - view.sold)
        slopes, of_cash = -_BPS * np.stack([in_holdings, joint]), np.array([-_BPS * in_cash, 0.0])
        blocks = [
            Block(
                self._over(view, slopes, of_cash, [sp.csr_array((2, 2 * self._factors)), sp.eye_array(2)]),
                -steady(slopes @ begun + of_cash * view.cash, _BPS_DIGITS),
                np.inf,
            )
        ]
        return [*blocks, self._risk_tangent(view, factors)] if self._factors else blocks

    def near(self, view: GridNeighbourhood, trade: Trade, room: float) -> list[Block]:
        """Tangents of y² on either side of the best trade, as far as a trade may be whose value is within `room` of it:
        what is not the best is worse by γ(y − y*)² at least.
        """
        if not self._factors or not 0 < room < np.inf:
            return []
        factors = self._slopes(trade)[0][: self._factors]
        reach = np.sqrt(room / (_BPS * self.mandate.risk_aversion))
        return [self._risk_tangent(view, steady(factors + part * reach, _POINT_DIGITS)) for part in _APART]

    def _risk_tangent(self, view: GridNeighbourhood, factors: Vector) -> Block:
        count, gamma = len(factors), _BPS * self.mandate.risk_aversion
        none = sp.csr_array((count, len(self.grid.values)))
        own = [-sp.diags_array(2 * gamma / _BPS * factors), sp.eye_array(count), sp.csr_array((count, 2))]
        return Block(self._over(view, none, 0 * factors, own), -gamma * factors**2, np.inf)

    def _over(
        self, view: GridNeighbourhood, in_holdings: Matrix, in_cash: Vector, own: list[sp.sparray]
    ) -> sp.csr_array:
        """Rows over all columns: of what is held beyond what the neighbourhood begins with, of its cash, of ours."""
        held = sp.csr_array(in_holdings) @ sp.diags_array(self.grid.values) @ view.net
        in_cash_costs = np.stack([in_cash * self.grid.unit, 0 * in_cash], axis=1)
        return sp.csr_array(sp.hstack([held, sp.csr_array(in_cash_costs), *own]))


def impact_chord(view: GridNeighbourhood) -> tuple[Vector, float]:
    """(6N,) slopes, and a height at nothing, in units, of a line above what impact costs: impact·t^1.5 where the part t
    of the account is traded. So cash is no less than is counted, whatever the neighbourhood trades.
    """
    grid, made, heights, slopes = view.grid, (view.bought + view.sold) > 0, list[Vector](), list[Vector]()
    if (impact := grid.impact) is None:
        return np.zeros(len(view.upper)), 0.0

    def curve(steps: Vector) -> Vector:
        part = steps * grid.values
        return np.asarray(impact * part * np.sqrt(part) / grid.unit)  # a root is exact anywhere, a power is not

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


def steady_rows(rows: RuleRows, outlook: Outlook) -> RuleRows:
    """Rows with gains written out in holdings and cash, their coefficients rounded; what that takes is left aside."""
    written, changed = rows.on(outlook), np.zeros(len(rows.labels), dtype=bool)
    parts: dict[str, sp.csr_array] = {}
    for part in ("holdings", "buys", "sells"):
        exact = getattr(written, part)
        parts[part] = sp.csr_array((steady(exact.data, _RETURN_DIGITS), exact.indices, exact.indptr), exact.shape)
        changed |= abs(parts[part] - exact).sum(axis=1) > 0
    cash = steady(written.cash, _RETURN_DIGITS)
    changed |= cash != written.cash
    return replace(written, cash=cash, limit=rows.limit + np.where(changed, 10.0**-_RETURN_DIGITS, 0.0), **parts)


def neighbourhood_rules(view: GridNeighbourhood, outlook: Outlook, rows: RuleRows) -> NeighbourhoodRules:
    """The rules' rows over a neighbourhood's columns: what is traded throughout it goes into the limits."""
    grid = view.grid
    rows = steady_rows(rows, outlook)
    in_holdings, in_cash = rows.holdings, rows.cash
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
    bought, sold, cash = grid.values * view.bought, grid.values * view.sold, view.cash
    costs = float(grid.cost_rates @ (bought + sold))
    used = in_holdings @ (grid.start.holdings + bought - sold) + in_cash * cash
    return np.append(rows.limit + rows.wealth * (1 - costs) - used - rows.buys @ bought - rows.sells @ sold, cash)


def _most(coefficients: sp.sparray, upper: Vector) -> Vector:
    """(R,) the most that rows can reach over 0 ≤ x ≤ upper; what a name costs, without a bound, is in no rule."""
    finite = np.where(np.isfinite(upper), upper, 0.0)
    result: Vector = coefficients.maximum(0) @ finite
    return result


def _reach(row: sp.sparray, upper: Vector) -> Vector:
    """The least and the most that one row can reach over 0 ≤ x ≤ upper."""
    return np.array([-_most(-row, upper)[0], _most(row, upper)[0]])


def _range(weights: Vector, least: float, most: float) -> Vector:
    """(R,) the most that `weights` times one number between these can reach."""
    return np.maximum(weights * most, weights * least)
