"""Whole lots: the nearest portfolio that keeps every rule, against counting all of them and arithmetic."""

from __future__ import annotations

import itertools
import re
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book, from_frames
from allocator.errors import Infeasible, NotSolved, OutOfTime
from allocator.lots import whole_lots as lots_module
from allocator.lots.whole_lots import LotsFound, trade_of_lots, whole_lots
from allocator.mandate.builder import build_mandate
from allocator.optimization.solve import Limits, Program
from allocator.outlook.outlook import build_outlook
from allocator.plan.certificate import certify_solution
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.rules import Trade
from allocator.rules.rows import Position
from allocator.types import Vector
from tests.thoroughness import some

SCENARIOS = {"up": 0.6, "down": 0.4}


def random_book(seed: int, names: int, *, coarse: bool = False) -> Book:
    """A book of a few names with odd prices, lots and holdings, and a mandate of several rules that it may break."""
    draw = np.random.default_rng(seed)
    listed = [f"N{i}" for i in range(names)]
    prices = np.round(draw.uniform(20, 400, names), 2)
    lots = draw.choice([1.0, 5.0, 10.0] if coarse else [0.01, 0.1, 1.0, 1.0, 3.0, 10.0], names)
    worth = 20_000.0 if coarse else 1_000_000.0
    if coarse:
        lots = np.maximum(np.round(worth / 6 / prices), 1.0)  # about six lots to the whole account
    parts = draw.dirichlet(np.ones(names + 1))
    quantities = np.round(parts[:-1] * worth / prices, 2)  # fractional holdings, seldom a multiple of the lot
    group = [name for name in listed if draw.random() < 0.5] or listed[:1]
    mandate: dict[str, Any] = {
        "risk_aversion": float(draw.uniform(0.5, 4)),
        "max_weight": float(np.round(draw.uniform(1.4, 2.5) / names, 2)),
        "min_cash": float(np.round(draw.choice([0.0, 0.01, 0.05]), 2)),
        "groups": {"some": {"max": float(np.round(draw.uniform(0.5, 0.9), 2))}},
        "buckets": {"adopter": {"max": float(np.round(draw.uniform(0.4, 0.9), 2))}},
    }
    if draw.random() < 0.5:
        mandate["weights"] = {listed[-1]: {"min": float(np.round(draw.uniform(0.01, 0.1), 3))}}
    if draw.random() < 0.5:
        mandate["max_turnover"] = float(np.round(draw.uniform(0.3, 0.9), 2))
    if draw.random() < 0.4:
        mandate["max_volatility"] = float(np.round(draw.uniform(0.2, 0.3), 3))
    settings = {
        "book": {"name": f"random {seed}", "currency": "USD", "as_of": pd.Timestamp("2026-11-20").date()},
        "scenarios": {name: {"probability": p} for name, p in SCENARIOS.items()},
        "risk": {"market_volatility": 0.2},
        "mandate": mandate,
        "groups": {"some": group},
        "robust": {"set": "total_variation", "radius": 0.1},
        "costs": {"commission_bps": float(draw.choice([0.0, 2.0, 30.0])), "spread_bps": 5.0},
        "lots": {"min_trade": float(draw.choice([0.0, 500.0, 3000.0]))},
    }
    everyone = [*listed, "CASH"]
    tables = {
        "holdings": pd.DataFrame({
            "account": "a", "instrument": everyone, "quantity": [*quantities, round(parts[-1] * worth, 2)],
            "price": [*prices, 1.0], "currency": "USD", "lot_size": [*lots, 0.01],
        }),
        "exposures": pd.DataFrame({
            "instrument": everyone, "name": everyone, "issuer": everyone,
            "bucket": ["adopter", *draw.choice(["adopter", "neutral", "efficiency"], names)[1:], "cash"],
            "beta": [*draw.uniform(0.5, 1.6, names), 0.0],
            "idiosyncratic_volatility": [*draw.uniform(0.1, 0.4, names), 0.0], "source": "a test",
        }),
        "scenario_returns": pd.DataFrame({
            "instrument": everyone, "up": [*draw.normal(0.15, 0.1, names).clip(-0.5), 0.03],
            "down": [*draw.normal(-0.05, 0.1, names).clip(-0.5), 0.03],
        }),
    }  # fmt: skip
    return from_frames(settings, tables)


def small(
    quantities: list[float], prices: list[float], sizes: list[float], cash: float, mandate: dict[str, Any], **more: Any
) -> Book:
    """A book by hand: the first name is the best in every scenario, and so on down."""
    count = len(prices)
    names = [f"N{i}" for i in range(count)]
    everyone = [*names, "CASH"]
    settings = {
        "book": {"name": "small", "currency": "USD", "as_of": pd.Timestamp("2026-11-20").date()},
        "scenarios": {"base": {"probability": 1.0}},
        "risk": {"market_volatility": 0.2},
        "mandate": {"risk_aversion": 0.1} | mandate,
    } | more  # fmt: skip
    tables = {
        "holdings": pd.DataFrame({
            "account": "a", "instrument": everyone, "quantity": [*quantities, cash], "price": [*prices, 1.0],
            "currency": "USD", "lot_size": [*sizes, 0.01],
        }),
        "exposures": pd.DataFrame({
            "instrument": everyone, "name": everyone, "issuer": everyone, "bucket": ["neutral"] * count + ["cash"],
            "beta": [1.0] * count + [0.0], "idiosyncratic_volatility": [0.2] * count + [0.0], "source": "a test",
        }),
        "scenario_returns": pd.DataFrame({
            "instrument": everyone, "base": [*(0.2 - 0.03 * np.arange(count)), 0.01],
        }),
    }  # fmt: skip
    return from_frames(settings, tables)


def broken_rules(book: Book, quantities: Vector, cash: float) -> list[str]:
    """The rules of `random_book` that a portfolio breaks, by arithmetic on units and prices alone."""
    wanted, names = book.settings.mandate, book.instruments
    values = quantities * book.prices
    total = values.sum() + cash
    moved = values - book.quantities * book.prices
    room = 1e-9
    cap = wanted.max_weight or 1.0
    found = [f"cap {name}" for name, value in zip(names, values, strict=True) if value / total > cap + room]
    found += [f"floor {name}" for name, limits in wanted.weights.items()
              if values[names.index(name)] / total < (limits.min or 0) - room]  # fmt: skip
    for group, limits in wanted.groups.items():
        share = sum(book.members(group).get(name, 0.0) * value for name, value in zip(names, values, strict=True))
        found += [f"group {group}"] if share / total > (limits.max or 1) + room else []
    for bucket, limits in wanted.buckets.items():
        share = float(values[(book.exposures["bucket"] == bucket).to_numpy()].sum())
        found += [f"bucket {bucket}"] if share / total > (limits.max or 1) + room else []
    found += ["cash"] if cash / total < wanted.min_cash - room or cash < 0 else []
    if wanted.max_turnover is not None:
        turnover = max(moved[moved > 0].sum(), -moved[moved < 0].sum()) / book.value
        found += ["turnover"] if turnover > wanted.max_turnover + room else []
    if wanted.max_volatility is not None:
        w = values / total
        beta = book.exposures["beta"].to_numpy(float)
        own = book.exposures["idiosyncratic_volatility"].to_numpy(float)
        found += ["volatility"] if np.sqrt((0.2 * beta @ w) ** 2 + own**2 @ w**2) > wanted.max_volatility + room else []
    return found


def cost_rates(book: Book) -> Vector:
    costs = book.settings.costs
    return np.full(len(book.instruments), (costs.commission_bps + costs.spread_bps / 2) / 1e4)


def cash_after(book: Book, moved: Vector) -> float:
    """Money left after trading `moved` units, costs paid."""
    money = moved * book.prices
    return float(book.cash - money.sum() - cost_rates(book) @ np.abs(money))


def fractional(book: Book) -> Trade:
    """The targets before any rounding."""
    outlook, mandate = build_outlook(book), build_mandate(book)
    start = Position(book.weights, book.cash / book.value)
    solution = Program(outlook, mandate).solve(start, outlook, mandate, Limits())
    return certify_solution(start, outlook, mandate, solution, book.value)[0]


def nearest_by_counting(book: Book, target: Trade) -> float | None:
    """The least distance in money over every whole-lot portfolio that keeps every rule; None where there is none."""
    least = book.settings.lots.min_trade
    choices = []
    for i, lot in enumerate(book.lot_values):
        lowest = -int(np.floor(book.quantities[i] / book.lot_sizes[i] + 1e-9))
        whole = [n for n in range(lowest, int(book.value / lot) + 1) if n == 0 or abs(n) * lot >= least - 1e-9]
        choices.append([-book.quantities[i] / book.lot_sizes[i], *whole])
    wanted = target.bought - target.sold
    best: float | None = None
    for lots in itertools.product(*choices):
        moved = np.array(lots) * book.lot_sizes
        distance = float(np.abs(np.array(lots) * book.lot_values - wanted).sum())
        if best is not None and distance >= best:
            continue
        cash = cash_after(book, moved)
        if cash >= 0 and not broken_rules(book, book.quantities + moved, cash):
            best = distance
    return best


@pytest.mark.parametrize("seed", some(range(24), 3))
def test_the_lots_are_the_nearest_of_all_that_keep_the_rules(seed: int) -> None:
    book = random_book(seed, names=3 + seed % 2, coarse=True)
    try:
        target = fractional(book)
    except Infeasible:
        pytest.skip("this mandate cannot hold even in fractions")
    best = nearest_by_counting(book, target)
    outlook, mandate = build_outlook(book), build_mandate(book)
    start = Position(book.weights, book.cash / book.value)
    if best is None:
        with pytest.raises(Infeasible):
            whole_lots(book, outlook, mandate, start, target)
        return

    lots, _ = whole_lots(book, outlook, mandate, start, target)

    distance = float(np.abs(lots * book.lot_values - (target.bought - target.sold)).sum())
    assert distance == pytest.approx(best, rel=1e-4, abs=1e-6 * book.value)


def priced(book: Book, target: Trade, scale: float) -> tuple[Book, Trade]:
    """The same account in another money: every price, the cash and the smallest trade times `scale`."""
    lots = book.settings.lots.model_copy(update={"min_trade": book.settings.lots.min_trade * scale})
    settings = book.settings.model_copy(update={"lots": lots})
    moved = Trade(
        target.values * scale, target.cash * scale, target.bought * scale, target.sold * scale,
        target.costs * scale, target.value_before * scale,
    )  # fmt: skip
    return replace(book, prices=book.prices * scale, cash=book.cash * scale, settings=settings), moved


def rounded_off(book: Book, target: Trade) -> float:
    """How far the whole lots are from the target, as a fraction of the account."""
    start = Position(book.weights, book.cash / book.value)
    lots, _ = whole_lots(book, build_outlook(book), build_mandate(book), start, target)
    return float(np.abs(lots * book.lot_values - (target.bought - target.sold)).sum() / book.value)


@pytest.mark.parametrize("scale", [1e-3, 1e4, 1e8])
@pytest.mark.parametrize("seed", [0, 5, 8, 11, 1001, 1004])
def test_counting_agrees_in_every_unit_of_money(seed: int, scale: float) -> None:
    book = random_book(seed, names=3, coarse=True)
    target = fractional(book)
    best = nearest_by_counting(book, target)
    assert best is not None

    assert rounded_off(*priced(book, target, scale)) * book.value == pytest.approx(best, rel=1e-4, abs=0.02)


@pytest.mark.parametrize("seed", range(300, 308))
def test_finer_lots_and_larger_accounts_are_never_rounded_worse(seed: int) -> None:
    """What whole lots can do, lots of a tenth can; down to where a step is nothing."""
    book = random_book(seed, names=8)
    target = fractional(book)
    off = rounded_off(book, target)

    for finer in (1e1, 1e3, 1e5, 1e7):
        shrunk = rounded_off(replace(book, lot_sizes=book.lot_sizes / finer), target)
        larger = Trade(*(getattr(target, part.name) * finer for part in fields(target)))
        grown = rounded_off(replace(book, quantities=book.quantities * finer, cash=book.cash * finer), larger)

        assert shrunk <= off * (1 + 1e-4) + 1e-8, finer
        assert grown <= off * (1 + 1e-4) + 1e-8, finer


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e5, 1e6])
def test_no_order_is_further_off_than_the_coarsest_lot_where_no_rule_holds_it_back(scale: float) -> None:
    """Risk alone limits the targets: nothing but rounding is between them and the lots, at every size of account."""
    book = small(
        [40 * scale, 30 * scale, 20 * scale], [100, 37.5, 12.25], [1, 0.1, 3], 9_000 * scale, {"risk_aversion": 3.0}
    )

    plan = rebalance(book)

    assert len(plan.orders) == 3
    off = np.abs(plan.final.values - plan.target.values)
    assert off.max() <= book.lot_values.max()  # a fine lot may make good what a coarse one leaves, and no more
    assert plan.lots_gap_bps <= 0.1


def units(plan: Plan) -> Vector:
    """Signed units traded, from the orders alone."""
    moved = dict.fromkeys(plan.book.instruments, 0.0)
    for order in plan.orders:
        assert moved[order.instrument] == 0.0, "one order a name"
        moved[order.instrument] = -order.quantity if order.side == "sell" else order.quantity
    return np.array(list(moved.values()))


@pytest.mark.parametrize("block", some(range(6), 3))
def test_every_rule_holds_on_the_final_lots_of_random_books(block: int) -> None:
    solved = 0
    for seed in range(100 + 10 * block, 110 + 10 * block):
        book = random_book(seed, names=4 + seed % 9)
        try:
            plan = rebalance(book)
        except Infeasible:
            continue
        solved += 1
        moved = units(plan)
        after, cash = book.quantities + moved, cash_after(book, moved)
        lots = moved / book.lot_sizes
        money = np.abs(moved * book.prices)

        assert broken_rules(book, after, cash) == [], seed
        assert cash >= -1e-9, seed
        assert (after >= -1e-9).all(), seed
        lots, money = np.where(after == 0, 0.0, lots), np.where(after == 0, 0.0, money)  # all of it may always be sold
        np.testing.assert_allclose(lots, np.rint(lots), atol=1e-6)
        assert (money[money > 0] >= book.settings.lots.min_trade - 1e-6).all(), seed
        assert cash == pytest.approx(plan.final.cash, abs=1e-6)
        sides = [order.side for order in plan.orders]
        assert sides == sorted(sides, reverse=True), seed
    assert solved >= 4


def test_a_limit_of_volatility_is_kept_by_cutting() -> None:
    """Lots of a quarter of the account: the nearest ones break the conic rule, and the next nearest is taken."""
    book = small(
        [0, 0, 0], [100, 100, 100], [25, 25, 25], 10_000, {"max_volatility": 0.16, "max_weight": 0.5},
    )  # fmt: skip

    plan = rebalance(book)

    (measured,) = [reading for reading in plan.measurements if reading.label.startswith("volatility")]
    w = plan.final.weights
    by_hand = float(np.sqrt((0.2 * w.sum()) ** 2 + 0.04 * (w**2).sum()))
    rounded = np.rint(plan.target.values / 2500) * 0.25
    assert np.sqrt((0.2 * rounded.sum()) ** 2 + 0.04 * (rounded**2).sum()) > 0.16  # nearest without the rule
    assert measured.measured == pytest.approx(by_hand)
    assert by_hand <= 0.16


def test_lots_of_a_hundred_are_traded_in_hundreds() -> None:
    plan = rebalance(small([1000, 1000], [37.5, 12.25], [100, 100], 20_000, {"max_weight": 0.6}))

    assert plan.orders
    assert all(order.quantity % 100 == 0 for order in plan.orders)


def test_hundredths_of_a_unit_are_traded_exactly() -> None:
    plan = rebalance(small([1.37, 2.5], [3712.5, 1225.25], [0.01, 0.01], 5_000, {"max_weight": 0.6}))

    assert plan.orders
    assert all(order.quantity == round(order.quantity, 2) for order in plan.orders)
    assert plan.rounding_bps < 10


def test_a_fractional_rest_below_a_lot_stays() -> None:
    plan = rebalance(small([0, 10.5], [100, 100], [1, 1], 0, {"max_weight": 0.97}))

    (sell,) = [order for order in plan.orders if order.side == "sell"]
    assert sell.quantity <= 10
    assert plan.book.quantities[1] - sell.quantity >= 0.5


def test_nothing_is_sold_that_is_not_held() -> None:
    book = small([7.9, 0, 3.2], [100, 90, 80], [1, 1, 1], 100, {"max_weight": 0.8})

    plan = rebalance(book)

    for order in plan.orders:
        if order.side == "sell":
            assert order.quantity <= book.quantities[book.instruments.index(order.instrument)]


def test_an_order_below_the_smallest_trade_is_not_made() -> None:
    free = rebalance(small([40, 40], [100, 100], [1, 1], 2_000, {"max_weight": 0.45}))
    held = rebalance(
        small([40, 40], [100, 100], [1, 1], 2_000, {"max_weight": 0.45}, lots={"min_trade": 600.0}),
    )  # fmt: skip

    assert min(order.value for order in free.orders) < 600
    assert all(order.value >= 600 for order in held.orders)


def test_the_floor_of_cash_holds_after_costs() -> None:
    plan = rebalance(
        small([0, 0], [97, 89], [1, 1], 10_000, {"min_cash": 0.05}, costs={"commission_bps": 200.0}),
    )  # fmt: skip

    assert plan.final.costs > 100
    assert plan.final.cash / plan.final.value >= 0.05 - 1e-12


def test_cash_is_never_overdrawn_by_costs() -> None:
    plan = rebalance(small([0, 0], [97, 89], [1, 1], 10_000, {}, costs={"commission_bps": 200.0}))

    spent = sum(order.value + order.cost for order in plan.orders)
    assert spent <= 10_000
    assert plan.final.cash >= 0


def test_cash_of_exactly_nothing_is_not_mistaken_for_debt() -> None:
    """All money is invested in whole lots to the last cent; prices that binary fractions cannot hold."""
    book = small([0, 30], [0.1, 0.7], [1, 1], 0.0, {"max_weight": 1.0}, lots={"min_trade": 0.0})

    plan = rebalance(book)

    assert [(order.side, order.instrument) for order in plan.orders] == [("sell", "N1"), ("buy", "N0")]
    assert plan.final.cash == pytest.approx(0, abs=1e-9)
    assert plan.final.cash >= 0


def test_a_time_limit_of_the_users_own_ends_the_search_for_lots_and_is_named() -> None:
    limited = {"min_trade": 0.0, "time_limit_seconds": 1e-9}
    with pytest.raises(OutOfTime, match=r"after 1e-09 s; raise lots\.time_limit_seconds, or remove it"):
        rebalance(small([0, 30], [10, 100], [1, 1], 7_000, {"max_weight": 0.5}, lots=limited))


def test_fixes_that_the_users_time_limit_left_untried_are_told_with_the_conflict() -> None:
    clash = {"weights": {"N0": {"min": 0.6}}, "max_turnover": 0.1}
    limited = {"min_trade": 0.0, "time_limit_seconds": 1e-9}
    book = small([0, 30], [10, 100], [1, 1], 7_000, clash, lots=limited)

    with pytest.raises(Infeasible, match=r"fixes on whole lots: the time limit ended the search.*raise lots\.") as told:
        rebalance(book)

    assert told.value.for_fractions
    assert len(told.value.rules) == 2


def test_without_a_time_limit_no_clock_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> float:
        raise AssertionError("a clock was asked")

    monkeypatch.setattr("allocator.optimization.highs.time", SimpleNamespace(monotonic=asked))

    assert rebalance(small([0, 30], [10, 100], [1, 1], 7_000, {"max_weight": 0.5})).orders


def test_lots_that_cannot_fit_name_the_rule_the_lot_and_a_fix_that_works() -> None:
    """A floor of 12 % and lots of 10 % of the account, under a cap of 15 %: one lot is too few, two are too many."""
    limits = {"weights": {"N0": {"min": 0.12, "max": 0.15}}}
    book = small([0, 50], [100, 100], [10, 1], 5_000, limits)

    with pytest.raises(Infeasible) as refused:
        rebalance(book)

    error = refused.value
    assert error.rules == ("N0 at least 12%",)
    assert str(error).startswith("infeasible: no whole-lot portfolio keeps every rule; the nearest one misses 'N0 at")
    assert "the smallest order of N0 is 1,000.00 USD, 10% of the account" in str(error)
    assert error.fixes[0] == "lower 'N0 at least 12%' to 10%"
    assert "smaller lots" in error.fixes[1]
    fixed = small([0, 50], [100, 100], [10, 1], 5_000, {"weights": {"N0": {"min": 0.10, "max": 0.15}}})
    assert rebalance(fixed).final.weights[0] == pytest.approx(0.10)


def test_a_smallest_trade_that_cannot_fit_is_named_too() -> None:
    """Cash must rise by 1 % of the account, and the smallest order is worth 30 % of it: turnover forbids it."""
    limits = {"min_cash": 0.02, "max_turnover": 0.10, "max_weight": 1.0}
    book = small([50, 49], [100, 100], [1, 1], 100, limits, lots={"min_trade": 3000.0})

    with pytest.raises(Infeasible) as refused:
        rebalance(book)

    assert refused.value.exit_code == 4
    assert "3,000.00 USD, 30% of the account" in str(refused.value)
    assert refused.value.rules[0] in ("cash at least 2%", "turnover at most 10%")


def applied(fix: str, mandate: dict[str, Any]) -> dict[str, Any]:
    """A mandate with a printed fix applied, word for word."""
    fixed = {**mandate, "weights": {name: dict(limits) for name, limits in mandate.get("weights", {}).items()}}
    for rule, limit in re.findall(r"'([^']+)' to ([0-9.]+)%", fix):
        name = rule.split(" at ")[0]
        if name == "volatility":
            fixed["max_volatility"] = float(limit) / 100
        elif name == "cash":
            fixed["min_cash" if "least" in rule else "max_cash"] = float(limit) / 100
        else:
            fixed["weights"][name]["min" if "least" in rule else "max"] = float(limit) / 100
    return fixed


@pytest.mark.parametrize("months", [6, 12, 24])
@pytest.mark.parametrize("limit", [0.15, 0.1525])
def test_a_fix_of_volatility_is_annual_and_works_as_printed(months: int, limit: float) -> None:
    mandate = {"max_volatility": limit, "weights": {"N0": {"min": 0.3}, "N1": {"min": 0.3}}}
    shape = ([0, 0, 60], [100, 100, 100], [25, 25, 25], 4_000)

    with pytest.raises(Infeasible) as refused:
        rebalance(small(*shape, mandate, horizon={"months": months}))

    assert any("volatility at most" in fix for fix in refused.value.fixes)
    for fix in refused.value.fixes[:-1]:
        plan = rebalance(small(*shape, applied(fix, mandate), horizon={"months": months}))
        assert all(reading.excess <= 1e-9 for reading in plan.measurements)


@pytest.mark.parametrize("size", [1.0, 100.0, 1e4])
def test_cash_of_exactly_so_much_is_refused_by_name_and_not_by_the_clock(size: float) -> None:
    """A floor and a cap that are one number: whole lots seldom make it, and no search should wait to say so."""
    mandate = {"min_cash": 0.05, "max_cash": 0.05, "max_weight": 0.3}
    draw = np.random.default_rng(3)
    prices = [float(price) for price in np.round(draw.uniform(30, 600, 8), 2)]
    quantities = [round(size * 100_000 / price) for price in prices]
    shape = (quantities, prices, [1] * 8, size * 123_456.78)
    costs = {"commission_bps": 1.5}

    with pytest.raises(Infeasible) as refused:
        rebalance(small(*shape, mandate, costs=costs))  # type: ignore[arg-type]

    assert set(refused.value.rules) & {"cash at least 5%", "cash at most 5%"}
    plan = rebalance(small(*shape, applied(refused.value.fixes[0], mandate), costs=costs))  # type: ignore[arg-type]
    assert plan.final.cash / plan.final.value == pytest.approx(0.05, abs=2e-4)


def test_a_small_part_of_a_large_account_is_told_with_its_digits() -> None:
    limits = {"min_cash": 0.05, "max_cash": 0.05, "max_weight": 0.9}
    book = small([400_000, 500_000], [97.13, 89.57], [10, 10], 3_000_000, limits, costs={"commission_bps": 3.0})

    with pytest.raises(Infeasible) as refused:
        rebalance(book)

    assert "the smallest order of N0 is 971.30 USD, 0.00112% of the account" in str(refused.value)


def test_cuts_that_do_not_end_name_the_rules_that_still_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lots_module, "_ROUNDS", 1)
    monkeypatch.setattr(lots_module, "with_tangent", lambda rows, *_: rows)
    monkeypatch.setattr(lots_module, "tighten_rows", lambda rows, *_: rows)
    book = small([0, 0, 0], [100, 100, 100], [25, 25, 25], 10_000, {"max_volatility": 0.16, "max_weight": 0.5})

    with pytest.raises(NotSolved, match=r"keeps 'volatility at most 16%' \(measures 0.2449"):
        rebalance(book)


def test_an_odd_lot_is_sold_out_in_one_order() -> None:
    """A cap of nothing, lots of ten, 55 held: all 55 may go, as they would at a broker."""
    plan = rebalance(small([55, 0], [100, 100], [10, 1], 1_000, {"weights": {"N0": {"max": 0.0}}}))

    (sell,) = [order for order in plan.orders if order.side == "sell"]
    assert sell.quantity == 55
    assert plan.final.values[0] == 0


def test_a_holding_below_the_smallest_trade_can_be_sold_out() -> None:
    limits = {"weights": {"N0": {"max": 0.0}}, "max_cash": 1.0}
    plan = rebalance(small([3.7, 90], [100, 100], [1, 1], 1_000, limits, lots={"min_trade": 2_000.0}))

    (sell,) = [order for order in plan.orders if order.instrument == "N0"]
    assert (sell.side, sell.quantity) == ("sell", 3.7)
    assert plan.final.values[0] == 0


def test_part_of_an_odd_lot_is_still_sold_in_whole_lots() -> None:
    plan = rebalance(small([55, 0], [100, 100], [10, 1], 1_000, {"weights": {"N0": {"max": 0.5}}}))

    (sell,) = [order for order in plan.orders if order.side == "sell"]
    assert sell.quantity == 30


@pytest.mark.parametrize("quantity", [0.1 + 0.2, 1e9 + 0.7, 123_456_789.123, 5e-7])
def test_everything_sold_is_exactly_what_was_held(quantity: float) -> None:
    book = small([quantity, 0], [70.7, 100], [0.1, 1], 1_000, {"weights": {"N0": {"max": 0.0}}})
    target = fractional(book)

    lots, _ = whole_lots(
        book, build_outlook(book), build_mandate(book), Position(book.weights, book.cash / book.value), target
    )

    assert 0 <= quantity + lots[0] * 0.1 <= 4e-16 * quantity
    assert trade_of_lots(book, build_mandate(book), lots).values[0] == 0


@pytest.mark.parametrize("steps", [[0.5, 0.0], [0.0, -80.0]])  # half a lot; more than is held
def test_what_is_no_order_does_not_leave(steps: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lots_module, "best_lots", lambda *_: LotsFound(np.array(steps), 0.0, 0.0))

    with pytest.raises(NotSolved, match="is not one; no number leaves"):
        rebalance(small([40, 40], [100, 100], [1, 1], 2_000, {"risk_aversion": 3.0}))


def test_an_order_below_the_smallest_trade_does_not_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lots_module, "best_lots", lambda *_: LotsFound(np.array([5.0, 0.0]), 0.0, 0.0))

    with pytest.raises(NotSolved, match="the order of N0, 5 lots, is not one"):
        rebalance(small([40, 40], [100, 100], [1, 1], 2_000, {"risk_aversion": 3.0}, lots={"min_trade": 600.0}))


def test_traded_is_the_account_after_signed_lots() -> None:
    book = small([10, 20], [100, 50], [5, 2], 1_000, {}, costs={"commission_bps": 100.0})

    trade = trade_of_lots(book, build_mandate(book), np.array([-1.0, 3.0]))

    assert list(trade.values) == [500.0, 1300.0]
    assert (list(trade.bought), list(trade.sold)) == ([0.0, 300.0], [500.0, 0.0])
    assert trade.costs == pytest.approx(8.0)
    assert trade.cash == pytest.approx(1_000 + 500 - 300 - 8)


def test_a_plan_of_one_account_is_not_touched_by_its_name() -> None:
    book = random_book(101, names=6)

    assert rebalance(book).orders == rebalance(replace(book, account="another")).orders
