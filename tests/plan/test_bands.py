"""Bands: left alone inside, brought back from outside, open while cash comes or goes, and never beyond their edges."""

from __future__ import annotations

import itertools
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from allocator import BadInput, Infeasible, Plan, rebalance
from allocator.book.book import Book
from allocator.mandate.builder import build_mandate
from allocator.optimization.conflicts import explain_conflict
from allocator.outlook.outlook import build_outlook
from allocator.rules.rows import Position
from tests.books import NAMES
from tests.plan.test_cash_and_one_way import held
from tests.thoroughness import some

WORTH = 5000.0
"""Four names of 1000 each, and as much cash."""


def band(target: float, width: float = 0.03, to: str = "edge") -> dict[str, object]:
    return {"target": target, "width": width, "to": to}


def planned(bands: dict[str, object], *, objective: str = "return_minus_risk", **more: Any) -> Plan:
    mandate = {"objective": objective, "bands": bands, **more.pop("mandate", {})}
    return rebalance(held(more.pop("money", 1000.0), mandate=mandate, **more))


def weights(plan: Plan) -> dict[str, float]:
    return dict(zip(NAMES, map(float, plan.final.weights), strict=True))


@pytest.mark.parametrize("objective", ["return_minus_risk", "minimum_variance"])
def test_a_book_of_bands_alone_is_left_alone_inside_them(objective: str) -> None:
    plan = planned({name: band(0.19) for name in NAMES}, objective=objective)

    assert not plan.weighed_orders
    assert plan.decision.verdict == "no trade"


@pytest.mark.parametrize(
    ("to", "target", "expected"),
    [("edge", 0.3, 0.25), ("edge", 0.1, 0.15), ("target", 0.3, 0.3), ("target", 0.1, 0.1)],
)
def test_what_is_outside_goes_to_the_nearest_edge_or_to_the_target(to: str, target: float, expected: float) -> None:
    bands = {name: band(0.2) for name in NAMES[1:]} | {"AAA": band(target, 0.05, to)}
    plan = planned(bands, bps=0.0)

    assert {order.instrument for order in plan.orders} == {"AAA"}
    assert weights(plan)["AAA"] == pytest.approx(expected, abs=2e-4)
    assert plan.decision.verdict == "trade required"


def test_a_name_without_a_band_is_traded_as_the_objective_says() -> None:
    plan = planned({name: band(0.2) for name in NAMES[:2]})

    assert plan.orders
    assert {order.instrument for order in plan.orders} <= {"CCC", "DDD"}


def test_another_limit_goes_before_the_band_and_no_further_than_it_needs() -> None:
    bands = {name: band(0.2, 0.05) for name in NAMES}
    plan = planned(bands, mandate={"min_cash": 0.23}, bps=0.0)

    sold = {order.instrument: order.value for order in plan.orders}
    assert all(order.side == "sell" for order in plan.orders)
    assert sum(sold.values()) == pytest.approx(0.03 * WORTH, abs=8)
    assert not plan.relaxed


def test_a_group_keeps_its_weight_while_its_members_change() -> None:
    sections = {"groups": {"pair": ["BBB", "CCC"]}, "bps": 0.0}
    plan = planned(
        {"pair": band(0.4, 0.05), "AAA": band(0.2), "DDD": band(0.2)}, mandate={"max_weight": 0.3}, **sections
    )

    found = weights(plan)
    assert {order.instrument for order in plan.orders} == {"BBB", "CCC"}
    assert found["BBB"] + found["CCC"] == pytest.approx(0.4, abs=1e-3)


def test_a_bucket_outside_of_its_band_is_brought_to_the_edge() -> None:
    plan = planned({"efficiency": band(0.6, 0.05)}, mandate={"max_cash": 0.5}, bps=0.0)

    assert plan.after.buckets["efficiency"] == pytest.approx(0.65, abs=1e-3)


def test_a_band_is_open_while_cash_arrives_and_its_edges_stand() -> None:
    bands = {name: band(0.2, 0.04) for name in NAMES}
    plan = planned(bands, cash={"paid_in": 300.0}, mandate={"no_sales": True, "max_cash": 0.2})

    bought = {order.instrument for order in plan.orders}
    assert bought
    assert all(order.side == "buy" for order in plan.orders)
    assert not bought >= {*NAMES}  # the objective chooses
    assert all(0.16 - 1e-9 <= weight <= 0.24 + 1e-9 for weight in weights(plan).values())


def test_a_target_is_gone_to_with_the_cash_that_arrives() -> None:
    bands = {name: band(0.25, 0.02, "target") for name in NAMES}
    plan = planned(bands, money=0.0, quantity=5.0, cash={"paid_in": 2000.0}, bps=0.0)

    assert weights(plan) == pytest.approx(dict.fromkeys(NAMES, 0.25), abs=2e-4)


@pytest.mark.parametrize("seed", some(range(20), 10))
def test_the_targets_are_what_an_independent_program_says(seed: int) -> None:
    """Without costs: pinned where bands pin them, the rest as the objective says."""
    draw = np.random.default_rng(seed)
    targets, widths = draw.uniform(0.12, 0.25, 3), draw.uniform(0.02, 0.06, 3)
    to = ["edge", "target"]
    bands = {
        name: band(float(target), float(width), to[int(draw.integers(2))])
        for name, target, width in zip(NAMES, targets, widths, strict=False)
    }
    plan = planned(bands, bps=0.0)

    asked = cp.Variable(4, nonneg=True)
    rules = [cp.sum(asked) <= 1]
    for i, (target, width) in enumerate(zip(targets, widths, strict=True)):
        off = 0.2 - target
        at = 0.2 if abs(off) <= width else target
        if abs(off) > width and bands[NAMES[i]]["to"] == "edge":
            at = target + np.copysign(width, off)
        rules.append(asked[i] == at)
    outlook = plan.outlook
    risk = outlook.risk.loadings @ outlook.risk.loadings.T + np.diag(outlook.risk.specific)
    mean, cash = outlook.probabilities @ outlook.returns, float(outlook.probabilities @ outlook.cash_returns)
    gain = mean @ asked + cash * (1 - cp.sum(asked)) - 2.0 * cp.quad_form(asked, risk)
    cp.Problem(cp.Maximize(gain), rules).solve(solver=cp.CLARABEL)

    np.testing.assert_allclose(plan.target.weights, asked.value, atol=2e-5)


def test_sixty_forty_in_whole_shares_is_the_nearest_pair_that_can_be_paid() -> None:
    book = held(812.5, bps=0.0, mandate={"bands": {"AAA": band(0.6, 0.05, "target"), "BBB": band(0.3, 0.05, "target")}})
    prices, lots = np.array([291.37, 73.11, 100.0, 100.0]), np.ones(4)
    quantities = np.array([30.0, 40.0, 0.0, 0.0])
    from dataclasses import replace

    book = replace(book, prices=prices, quoted_prices=prices, lot_sizes=lots, quantities=quantities)
    plan = rebalance(book)
    value = book.value

    def missed(pair: tuple[int, int]) -> float:
        return abs(pair[0] * 291.37 / value - 0.6) + abs(pair[1] * 73.11 / value - 0.3)

    found = plan.final.values[:2] / prices[:2]
    best = min(itertools.product(range(60), range(160)), key=missed)
    assert tuple(np.rint(found).astype(int)) == best


def test_a_lock_outside_of_a_band_is_a_conflict_of_the_two_whose_fixes_work() -> None:
    bands, mandate = {"AAA": band(0.3, 0.02)}, {"locked": ["AAA"]}
    with pytest.raises(Infeasible) as caught:
        planned(bands, mandate=mandate)

    assert {*caught.value.rules} == {"AAA within 2% of 30%", "AAA is locked"}
    (wider,), (unlocked,) = caught.value.overrides
    key, _, width = wider.partition("=")
    assert (key, unlocked) == ("mandate.bands.AAA.width", "mandate.locked=[]")
    assert float(width) == pytest.approx(0.1, abs=5e-4)  # what others cost makes it weigh a little more
    assert planned({"AAA": band(0.3, float(width))}, mandate=mandate)


def test_a_band_and_no_sales_conflict_and_nothing_else_is_named() -> None:
    bands = {"AAA": band(0.1, 0.02), **{name: band(0.2, 0.05) for name in NAMES[1:]}}
    with pytest.raises(Infeasible) as caught:
        planned(bands, mandate={"no_sales": True, "max_weight": 0.5})

    assert {*caught.value.rules} == {"AAA within 2% of 10%", "no sales"}
    relaxed = planned(bands, mandate={"no_sales": True, "tiers": {"bands.AAA": 4}})
    assert [one.label for one in relaxed.relaxed] == ["AAA within 2% of 10%"]


@pytest.mark.parametrize(
    ("bands", "more", "told"),
    [
        ({"AAX": band(0.2)}, {}, "did you mean 'AAA'"),
        ({"USD-CASH": band(0.2)}, {}, "cash has rules of its own"),
        ({"AAA": band(0.2, 0.0)}, {}, "must be greater than 0"),
        ({"AAA": band(0.2, to="middle")}, {}, "must be one of 'edge' or 'target'"),
        ({"AAA": band(0.2)}, {"forbidden": ["AAA"]}, "is forbidden: nothing of it may be left"),
        ({"AAA": band(0.5)}, {"max_weight": 0.4}, "is above what it may weigh, 0.4"),
        ({"AAA": band(0.5)}, {"weights": {"AAA": {"max": 0.4}}}, "is above what it may weigh, 0.4"),
        ({"AAA": band(0.5)}, {"max_issuer_weight": 0.4}, "is above what it may weigh, 0.4"),
        ({"efficiency": band(0.1)}, {"buckets": {"efficiency": {"min": 0.4}}}, "is below what it must weigh, 0.4"),
        ({name: band(0.3) for name in NAMES}, {}, "add up to 1.2 of instruments, more than there is"),
        ({"adopter": band(0.3)}, {}, "nothing in this book counts towards it"),
        ({"AAA": {"target": 0.2}}, {}, "mandate.bands.AAA.width"),
    ],
)
def test_bands_without_a_meaning_are_refused(bands: dict[str, object], more: dict[str, object], told: str) -> None:
    with pytest.raises(BadInput) as caught:
        held(mandate={"bands": bands, **more})
    assert told in " ".join(str(caught.value).split())


def can_hold(book: Book, labels: set[str]) -> bool:
    """Whether some portfolio keeps the limits of these names, by a linear program of another hand."""
    mandate, count = build_mandate(book), len(book.instruments)
    rows = mandate.rows
    bought, sold = cp.Variable(count, nonneg=True), cp.Variable(count, nonneg=True)
    held = book.weights + bought - sold
    cash = book.cash / book.value + cp.sum(sold) - cp.sum(bought) - mandate.cost_rates @ (bought + sold)
    wealth = cp.sum(held) + cash
    rules = [held >= 0, cash >= min(book.cash / book.value, 0.0)]
    for row, label in enumerate(rows.limit_labels):
        if label in labels:
            used = (
                rows.holdings[[row]] @ held
                + rows.cash[row] * cash
                + rows.buys[[row]] @ bought
                + rows.sells[[row]] @ sold
            )
            rules.append(used <= rows.wealth[row] * wealth + rows.limit[row] + 1e-9)
    problem = cp.Problem(cp.Minimize(0), rules)
    problem.solve(solver=cp.HIGHS)
    return problem.status == cp.OPTIMAL


@pytest.mark.parametrize("seed", some(range(100), 15))
def test_conflicts_with_bands_flows_and_one_way_are_minimal(seed: int) -> None:
    draw = np.random.default_rng(seed)
    bands = {name: band(float(draw.uniform(0.02, 0.35)), float(draw.uniform(0.01, 0.04))) for name in NAMES[: seed % 3]}
    mandate: dict[str, object] = {"bands": bands, "max_cash": float(draw.uniform(0.05, 0.3))}
    shut = ("no_sales", "no_purchases")[seed % 2]
    mandate[shut] = True if draw.random() < 0.5 else float(draw.uniform(0, 0.05))
    if draw.random() < 0.5:
        mandate["eligible"] = ["AAA", "DDD"]
    if draw.random() < 0.5:
        mandate["weights"] = {"CCC": {"min": 0.3}}
    if draw.random() < 0.4:
        mandate["locked"] = ["CCC"]
    out = {"paid_out": float(draw.integers(1100, 2500))}
    flow = out if seed % 2 == 0 else {"paid_in": float(draw.integers(0, 3000))}
    book = held(1000.0, mandate=mandate, cash=flow, bps=0.0)  # or a linear program loses cash by round trips
    conflict = explain_conflict(
        Position(book.weights, book.cash / book.value), build_outlook(book), build_mandate(book)
    )

    hard = {label for rule in build_mandate(book).rules if rule.tier == 0 for label in rule.limit_labels}
    assert (conflict is None) == can_hold(book, hard)
    for found in () if conflict is None else conflict.conflicts:
        assert not can_hold(book, {*found}), found
        assert all(can_hold(book, {*found} - {one}) for one in found), found
