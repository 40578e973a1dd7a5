"""The best whole lots: against counting all of them in the objective, against plain rounding, and what proves them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import Infeasible
from allocator.lots import whole_lots as lots_module
from allocator.lots.milp import PlanObjective, order_grid
from allocator.lots.whole_lots import trade_of_lots
from allocator.mandate.builder import build_mandate
from allocator.optimization.single_period import Position
from allocator.outlook.outlook import build_outlook
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from tests.golden_books import write_book
from tests.lots.test_whole_lots import broken_rules, cash_after, cost_rates, fractional, random_book, small
from tests.thoroughness import some

SETS = ("total_variation", "kl", "worst", "none")
ERRORS = ("none", "box", "ellipsoid", "budget")


def asked(seed: int) -> Book:
    """A small book of coarse lots, with another set, return error or objective from seed to seed."""
    book = random_book(seed, names=3 + seed % 2, coarse=True)
    settings = book.settings
    robust = settings.robust.model_copy(update={"set": SETS[seed % 4], "radius": 0.0 if seed % 4 > 1 else 0.1})
    if ERRORS[seed // 4 % 4] != "none":
        robust = robust.model_copy(update={"return_error": ERRORS[seed // 4 % 4], "return_error_size": 0.2})
        if ERRORS[seed // 4 % 4] == "budget":
            robust = robust.model_copy(update={"return_error_names": 1.5})
    lots = settings.lots.model_copy(update={"gap_bps": 0.001})
    return replace(book, settings=settings.model_copy(update={"robust": robust, "lots": lots}))


def best_by_counting(book: Book) -> float | None:
    """The least objective in bps over every whole-lot portfolio that keeps every rule; None where there is none."""
    outlook, mandate, least = build_outlook(book), build_mandate(book), book.settings.lots.min_trade
    choices = []
    for i, lot in enumerate(book.lot_values):
        lowest = -int(np.floor(book.quantities[i] / book.lot_sizes[i] + 1e-9))
        whole = [n for n in range(lowest, int(book.value / lot) + 1) if n == 0 or abs(n) * lot >= least - 1e-9]
        choices.append([-book.quantities[i] / book.lot_sizes[i], *whole])
    best: float | None = None
    rates = cost_rates(book)
    for lots in itertools.product(*choices):
        money = np.array(lots) * book.lot_values
        if book.cash - money.sum() - rates @ np.abs(money) < 0:
            continue
        loss = mandate.loss(trade_of_lots(book, mandate, np.array(lots)), outlook) * 1e4
        if best is not None and loss >= best:
            continue
        moved = np.array(lots) * book.lot_sizes
        if not broken_rules(book, book.quantities + moved, cash_after(book, moved)):
            best = loss
    return best


@pytest.mark.parametrize("block", range(4))
def test_no_counted_portfolio_has_a_better_objective_than_the_lots(block: int) -> None:
    agreed, seeds = 0, some(range(5000 + 1000 * block, 5050 + 1000 * block), 13)
    for seed in seeds:
        book = asked(seed)
        try:
            plan = rebalance(book)
        except Infeasible:
            continue
        best = best_by_counting(book)
        assert best is not None, seed
        found = plan.mandate.loss(plan.weighed, plan.outlook) * 1e4
        assert best - 1e-6 <= found <= best + 0.001 + 1e-6, seed
        assert found - best <= plan.lots_gap_bps + 1e-6, seed
        agreed += 1
    assert agreed >= len(seeds) // 2


def loss_of(plan: Plan, money: np.ndarray) -> float | None:
    """The objective in bps of whole lots worth `money`, or None where they break a rule."""
    trade = trade_of_lots(plan.book, plan.mandate, money / plan.book.lot_values)
    if trade.cash < 0 or any(reading.excess > 1e-9 for reading in plan.mandate.readings(trade, plan.outlook)):
        return None
    return plan.mandate.loss(trade, plan.outlook) * 1e4


@pytest.mark.parametrize("seed", some(range(700, 730), 6))
def test_no_rounding_and_no_order_moved_by_a_lot_is_better_than_the_lots(seed: int) -> None:
    """Where lots are finer nobody counts them all: plain rounding, and each order a lot more or less, must be worse."""
    book = random_book(seed, names=5 + seed % 9)
    try:
        plan = rebalance(book)
    except Infeasible:
        return
    found, gap = plan.mandate.loss(plan.weighed, plan.outlook) * 1e4, book.settings.lots.gap_bps
    made = plan.weighed.bought - plan.weighed.sold
    wanted = plan.target.bought - plan.target.sold
    others = [np.rint(wanted / book.lot_values) * book.lot_values, np.trunc(wanted / book.lot_values) * book.lot_values]
    for i, lot in enumerate(book.lot_values):
        for way in (-lot, lot):
            other = made.copy()
            other[i] += way
            others.append(other)
    held = book.quantities * book.prices
    for money in others:
        size = np.abs(money[money != 0])
        if (money < -held).any() or (size < book.settings.lots.min_trade).any():
            continue
        loss = loss_of(plan, money)
        assert loss is None or loss >= found - gap - 1e-6


def test_rounding_within_the_gap_of_the_targets_bound_asks_no_integer_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("an integer program was asked")

    monkeypatch.setattr(lots_module, "_program", asked)
    book = small([400, 300, 200], [100, 37.5, 12.25], [1, 0.1, 3], 90_000, {"risk_aversion": 3.0})

    plan = rebalance(book)

    assert len(plan.orders) == 3
    bound = plan.certificate.bound * 1e4
    assert plan.lots_gap_bps == pytest.approx(plan.mandate.loss(plan.weighed, plan.outlook) * 1e4 - bound, abs=1e-6)
    assert plan.lots_gap_bps <= 0.1


@pytest.mark.parametrize("seed", range(12))
def test_the_bound_and_the_penalties_of_names_are_below_the_objective_of_any_trade(seed: int) -> None:
    book = asked(6200 + seed)
    try:
        plan = rebalance(book, lots=False)
    except Infeasible:
        return
    outlook, mandate, start = plan.outlook, plan.mandate, Position(book.weights, book.cash / book.value)
    assert plan.duals is not None
    grid = order_grid(book, mandate, start, fractional(book))
    objective = PlanObjective(grid, outlook, mandate, plan.duals, 0.0, 0.1)
    assert objective.bound == pytest.approx(plan.certificate.bound * 1e4, abs=1e-6)
    draw = np.random.default_rng(seed)
    for _ in range(40):
        steps = np.ceil(draw.uniform(-grid.held, 2.0))
        trade = trade_of_lots(book, mandate, steps * grid.lots_a_step)
        kept = trade.cash >= 0 and not any(one.excess > 1e-9 for one in mandate.readings(trade, outlook))
        if kept:
            assert objective.value(steps, trade) >= objective.bound + objective.penalty(steps).sum() - 1e-6


def test_lots_of_targets_that_trade_least_do_not_trade_what_was_left_for_indifference() -> None:
    book = random_book(1003, names=8)
    trading = book.settings.trading.model_copy(update={"indifference_bps": 20.0})
    calm = rebalance(replace(book, settings=book.settings.model_copy(update={"trading": trading})))
    busy = rebalance(book)

    def traded(plan: Plan) -> float:
        return float((plan.weighed.bought + plan.weighed.sold).sum())

    assert traded(calm) < traded(busy) - 0.01 * book.value
    target = float((calm.target.bought + calm.target.sold).sum())
    assert traded(calm) < target + 0.02 * book.value


@pytest.mark.parametrize("kind", ["coarse", "mixed"])
def test_the_last_bits_of_arithmetic_change_no_lot(kind: str) -> None:
    draw, looked, searched = np.random.default_rng(12), 0, 0

    def shaken(values: Any, size: float) -> Any:
        return values * (1 + size * draw.uniform(-1, 1, np.shape(values)))

    for seed in some(range(100), 10):
        book = random_book(seed, names=6 + seed % 6, coarse=kind == "coarse")
        robust = book.settings.robust.model_copy(update={"set": SETS[seed % 4], "radius": 0.1 * (seed % 4 < 2)})
        book = replace(book, settings=book.settings.model_copy(update={"robust": robust}))
        try:
            plan = rebalance(book)
        except Infeasible:
            continue
        target, risk, prices = plan.target, plan.outlook.risk, plan.duals
        assert prices is not None
        found = [
            lots_module.whole_lots(
                book,
                replace(
                    plan.outlook,
                    returns=shaken(plan.outlook.returns, size),
                    risk=replace(risk, loadings=shaken(risk.loadings, size)),
                ),
                plan.mandate,
                plan.start,
                replace(target, bought=shaken(target.bought, 20 * size), sold=shaken(target.sold, 20 * size)),
                replace(prices, factors=shaken(prices.factors, 20 * size)),
            )[0].tolist()
            for size in (0.0, 1e-15, 2e-15)
        ]
        assert found[0] == found[1] == found[2], seed
        looked, searched = looked + 1, searched + (plan.lots_gap_bps > 0.0)
    assert looked >= 3
    assert searched >= 2


def test_where_one_lot_is_a_thousandth_of_another_the_best_is_found_and_proved(tmp_path: Path) -> None:
    """Exposures in fractions were lost in the solver's presolve, and no lots but the rounded ones were looked at."""
    write_book(tmp_path / "book", 294)
    plan = rebalance(load(tmp_path / "book"))
    assert plan.mandate.loss(plan.weighed, plan.outlook) * 1e4 <= -790.4399 + 1e-3
    assert plan.lots_gap_bps < 0.01
