"""Whole lots where impact bends costs: what is found, and what is called impossible, judged by counting all of them."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.errors import Infeasible
from allocator.lots.milp import GridNeighbourhood, impact_chord, neighbourhood, order_grid
from allocator.lots.whole_lots import trade_of_lots, whole_lots
from allocator.mandate.builder import build_mandate
from allocator.outlook.outlook import build_outlook
from allocator.rules.rows import Position
from allocator.types import Vector
from tests.lots.test_lot_conflicts import Counted, impact_of, moved, narrow_book, wished

IMPACT = 2.0
"""So dear that costs at one rate a name called rules impossible that some whole lots keep, as in the last seven."""
SEEDS = (*range(5), 7, 54, 69, 79, 84, 91, 118)


def test_counting_knows_what_impact_costs() -> None:
    book = narrow_book(0, IMPACT)
    counted = Counted(book)
    one = counted.lots[len(counted.lots) // 3]
    costs = trade_of_lots(book, build_mandate(book), one).costs

    impact = float(impact_of(book, (one * book.lot_values)[None, :])[0])
    assert 100 < impact < costs < 1.5 * impact


@pytest.mark.parametrize("seed", SEEDS)
def test_the_nearest_whole_lots_are_found_or_what_cannot_hold_is_named(seed: int) -> None:
    book = narrow_book(seed, IMPACT)
    counted, target = Counted(book), wished(book)
    if target is None:
        return
    kept = np.ones(counted.count, dtype=bool)
    for rule in counted.rules.values():
        kept &= rule.kept()
    wanted = target.bought - target.sold
    away = np.where(kept, np.abs(counted.money - wanted).sum(axis=1), np.inf)
    start = Position(book.weights, book.cash / book.value)
    if not kept.any():
        with pytest.raises(Infeasible) as error:
            whole_lots(book, build_outlook(book), build_mandate(book), start, target)
        judge(error.value, counted)
        return
    lots, _ = whole_lots(book, build_outlook(book), build_mandate(book), start, target)
    assert np.abs(lots * book.lot_values - wanted).sum() == pytest.approx(away.min(), abs=1e-5 * book.value)


def judge(error: Infeasible, counted: Counted) -> None:
    """Nothing is called impossible, and the fix works."""
    assert error.message.startswith(
        "infeasible: no whole-lot portfolio was found that keeps every rule; the nearest one "
    )
    for fix in error.fixes[:-1]:
        assert counted.possible(counted.rules, moved(fix, counted)), f"{error}\n{fix}"


@pytest.mark.parametrize("reach", [0.05, 0.4, np.inf])
def test_the_line_that_impact_is_charged_by_is_above_every_trade_of_a_neighbourhood(reach: float) -> None:
    book, draw = narrow_book(54, IMPACT), np.random.default_rng(1)
    target, mandate = wished(book), build_mandate(book)
    assert target is not None
    assert mandate.impact is not None
    grid = order_grid(book, mandate, Position(book.weights, book.cash / book.value), target)
    view = neighbourhood(grid, *grid.around(reach))
    slopes, at_nothing = impact_chord(view)
    for _ in range(200):
        x = orders(view, draw)
        costs = float(mandate.impact @ (np.abs(view.steps(x)) * grid.values) ** 1.5)
        assert (slopes @ x + at_nothing) * grid.unit >= costs - 1e-15


def orders(view: GridNeighbourhood, draw: np.random.Generator) -> Vector:
    """(6N,) columns of some orders that a window allows."""
    bought, sold, is_bought, is_sold, everything, _ = np.split(view.upper, 6)
    x = np.zeros((6, len(bought)))
    for i in range(len(bought)):
        ways = ["none"]
        if is_bought[i] or view.bought[i] > 0:
            ways.append("buy")
        if is_sold[i] or view.sold[i] > 0:
            ways.append("sell")
        if everything[i]:
            ways.append("all")
        way = ways[draw.integers(len(ways))]
        if way == "buy":
            x[0, i], x[2, i] = draw.integers(bought[i] + 1), is_bought[i]
        elif way == "sell":
            x[1, i], x[3, i] = draw.integers(sold[i] + 1), is_sold[i]
        elif way == "all":
            x[4, i] = 1.0
    return x.ravel()
