"""Money that comes and goes, and trading one way alone: said as rules, priced, and refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from click.testing import Result

from allocator import BadInput, Infeasible, Plan, from_frames, rebalance
from allocator.book.book import Book
from tests.books import NAMES, exposures, holdings
from tests.thoroughness import some

Run = Callable[..., Result]
LISTED = "tests/plain_books/listed"
RETURNS = {"up": [0.30, 0.45, 0.25, 0.05, 0.01], "down": [-0.15, -0.2, 0.05, 0.02, 0.01]}


def held(money: float = 1000.0, /, *, bps: float = 10.0, quantity: float = 10.0, **sections: dict[str, object]) -> Book:
    """Ten each of four names at 100, in lots of a hundredth; variance counts."""
    tables = {"holdings": holdings(cash=money, quantity=quantity).assign(lot_size=0.01), "exposures": exposures()}
    returns = [
        {"instrument": name, **{k: RETURNS[k][i] for k in RETURNS}} for i, name in enumerate([*NAMES, "USD-CASH"])
    ]
    document: dict[str, object] = {
        "book": {"name": "flows", "currency": "USD", "as_of": "2026-11-20"},
        "scenarios": {"up": {"probability": 0.6}, "down": {"probability": 0.4}},
        "risk": {"source": "exposures", "market_volatility": 0.15},
        "costs": {"commission_bps": bps},
    }
    return from_frames(document | sections, {**tables, "scenario_returns": returns})


def planned(money: float = 1000.0, /, **sections: dict[str, object]) -> Plan:
    return rebalance(held(money, **sections))


def test_money_paid_in_is_the_same_as_money_that_lies_there() -> None:
    paid, there = planned(0.0, cash={"paid_in": 2500.0}), planned(2500.0)

    assert paid.book.value == there.book.value == 6500.0
    assert paid.orders == there.orders
    assert paid.measurements == there.measurements


def test_money_is_paid_into_an_account_that_holds_nothing_yet() -> None:
    plan = rebalance(held(0.0, quantity=0.0, cash={"paid_in": 5000.0}))

    assert plan.orders
    assert plan.before.buckets["cash"] == 1.0


def test_what_cash_does_not_cover_is_sold_for_and_no_more_than_is_best() -> None:
    plan = planned(1000.0, cash={"paid_out": 1800.0}, mandate={"objective": "minimum_variance", "no_purchases": True})

    assert plan.book.value == pytest.approx(3200.0)
    assert plan.decision.verdict == "trade required"
    (paid,) = [one for one in plan.measurements if one.label == "1,800 USD paid out"]
    assert paid.measured >= 1800.0
    assert paid.state != "breach"
    assert all(order.side == "sell" for order in plan.orders)
    assert plan.final.cash == pytest.approx(1000.0 + plan.final.sold.sum() - plan.final.costs - 1800.0)


def test_more_cash_out_than_may_be_sold_is_a_conflict_whose_fixes_work() -> None:
    wish = {"no_sales": 0.02, "forbidden": []}
    with pytest.raises(Infeasible) as caught:
        planned(500.0, cash={"paid_out": 900.0}, mandate=wish)

    assert set(caught.value.rules) == {"no sales beyond 2%", "900 USD paid out"}
    assert len(caught.value.overrides) == 2
    for (override,) in caught.value.overrides:
        key, _, number = override.partition("=")
        mended = {"cash": {"paid_out": 900.0}, "mandate": wish}
        section, name = key.split(".")
        mended[section] = {**mended[section], name: float(number)}
        assert planned(500.0, **mended).orders
        step = {"paid_out": 8.0, "no_sales": -2e-4}[name]  # sales may be larger where less is paid out
        with pytest.raises(Infeasible):
            planned(500.0, **{**mended, section: {**mended[section], name: float(number) + step}})


def test_where_the_account_that_is_left_keeps_nothing_the_fix_is_about_the_most_that_can_be_paid() -> None:
    """Of 100 that are left a tenth may be traded: no limit helps, and half of a 256th more cannot be paid out."""
    wish = {"max_turnover": 0.1, "max_weight": 0.3}
    with pytest.raises(Infeasible) as caught:
        planned(1000.0, cash={"paid_out": 4900.0}, mandate=wish)

    ((override,),) = caught.value.overrides
    key, _, most = override.partition("=")
    assert key == "cash.paid_out"
    assert f"lower '4,900 USD paid out' to {most} USD" in str(caught.value)
    assert planned(1000.0, cash={"paid_out": float(most)}, mandate=wish)
    with pytest.raises(Infeasible):
        planned(1000.0, cash={"paid_out": float(most) + 4900 / 256 + 1}, mandate=wish)


def test_all_that_the_account_is_worth_cannot_be_paid_out() -> None:
    with pytest.raises(BadInput, match=r"cash\.paid_out.*is all that there is: the account is worth 5,000\.00 USD"):
        held(1000.0, cash={"paid_out": 5000.0})


@pytest.mark.parametrize("side", ["sales", "purchases"])
def test_nothing_is_traded_the_way_that_is_shut(side: str) -> None:
    plan, free = planned(mandate={f"no_{side}": True}), planned()
    way = {"sales": "sell", "purchases": "buy"}[side]

    assert {order.side for order in free.orders} == {"buy", "sell"}
    assert way not in {order.side for order in plan.weighed_orders}
    assert f"no {side}" in [one.label for one in plan.measurements]


@pytest.mark.parametrize("seed", some(range(6), 3))
def test_the_price_of_no_sales_is_what_the_first_sale_earns(seed: int) -> None:
    draw = np.random.default_rng(seed)
    wish = {"max_cash": float(draw.uniform(0.0, 0.1)), "risk_aversion": float(draw.uniform(1, 6))}

    def objective(limit: float | bool) -> Plan:
        return planned(float(draw_cash), mandate={**wish, "no_sales": limit})

    draw_cash = draw.uniform(500, 3000)
    shut, step = objective(True), 1e-4
    (told,) = [rule.bps_per_point for rule in shut.binding if rule.label == "no sales"] or [0.0]
    gained = (shut.certificate.objective - objective(step).certificate.objective) / step * 100

    assert told == pytest.approx(gained, rel=0.02, abs=0.01)


def test_no_sales_gives_way_where_it_has_a_priority() -> None:
    plan = planned(mandate={"no_sales": True, "weights": {"AAA": {"max": 0.15}}, "tiers": {"no_sales": 5}})

    (given,) = plan.relaxed
    assert (given.label, given.tier) == ("no sales", 5)
    assert given.measured == pytest.approx(0.05, abs=0.002)


def test_only_eligible_names_are_bought_and_others_may_be_sold() -> None:
    plan = planned(mandate={"eligible": ["CCC"], "max_cash": 0.02})

    assert {order.instrument for order in plan.orders if order.side == "buy"} == {"CCC"}
    assert {order.instrument for order in plan.orders if order.side == "sell"}
    assert plan.no_trade is not None
    assert (plan.no_trade.low[[0, 1, 3]] == 0).all()
    assert (plan.no_trade.high[[0, 1, 3]] < 1).any()


def test_a_name_that_must_be_bought_and_is_not_eligible_joins_the_list() -> None:
    wish = {"eligible": ["CCC"], "weights": {"AAA": {"min": 0.4}}}
    with pytest.raises(Infeasible) as caught:
        planned(mandate=wish)

    assert set(caught.value.rules) == {"AAA at least 40%", "AAA is not eligible"}
    assert any("add AAA to mandate.eligible" in fix for fix in caught.value.fixes) or any(
        "the second" in fix for fix in caught.value.fixes
    )
    (listed,) = [one for move in caught.value.overrides for one in move if one.startswith("mandate.eligible")]
    assert json.loads(listed.partition("=")[2]) == ["CCC", "AAA"]
    assert planned(mandate={**wish, "eligible": ["CCC", "AAA"]}).orders


@pytest.mark.parametrize(
    ("mandate", "told"),
    [
        ({"eligible": []}, "names nobody"),
        ({"eligible": ["AAA", "AAA"]}, "twice"),
        ({"eligible": ["AAX"]}, "did you mean 'AAA'"),
        ({"eligible": ["USD-CASH"]}, "cash has rules of its own"),
        ({"eligible": ["AAA"], "tiers": {"eligible": 3}}, "is always hard"),
        ({"no_sales": False, "tiers": {"no_sales": 3}}, "the mandate states no such rule"),
        ({"no_sales": 3.0}, "must be at most 1"),
        ({"no_purchases": "yes"}, "must be a valid number"),
    ],
)
def test_lists_and_limits_without_a_meaning_are_refused(mandate: dict[str, object], told: str) -> None:
    with pytest.raises(BadInput) as caught:
        held(mandate=mandate)
    assert told in " ".join(str(caught.value).split())


@pytest.mark.parametrize("amount", ["250,000", "much", "nan", "inf"])
def test_a_flow_that_is_no_amount_is_wrong_usage(run: Run, amount: str) -> None:
    refused = run("check", LISTED, "--cash", amount)

    assert refused.exit_code == 2
    assert "+250000 or -80000" in refused.stderr


def test_the_screen_and_the_document_say_what_flows(run: Run) -> None:
    out = run("check", LISTED, "--cash", "-80000", "--json")
    document = json.loads(out.stdout)

    assert document["book"]["cash_flow"] == -80000
    assert document["book"]["value"] == pytest.approx(1_460_000 - 80_000)
    assert "1,380,000 USD, 80,000 paid out" in run("check", LISTED, "--cash", "-80000").stdout
    paid = [one for one in document["rules"] if one["rule"] == "80,000 USD paid out"]
    assert [one["holds_today"] for one in paid] == [False]
