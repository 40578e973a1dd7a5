"""A plan's figures against arithmetic by hand, on books small enough to do it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator

import allocator
from allocator.ambiguity.balls import TotalVariation
from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import NotSolved
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import no_trade
from allocator.optimization.quadratic_program import QuadraticProgram
from allocator.outlook.outlook import build_outlook
from allocator.plan.certificate import refuse_broken
from allocator.plan.document import plan_document
from allocator.plan.plan import Plan, portfolio_figures
from allocator.plan.rebalance import rebalance
from allocator.plan.risk_figures import GainMixture
from allocator.rules import Trade
from allocator.types import Vector
from tests.books import book

NAMES = ("AAA", "BBB", "CCC")
RETURNS = {"up": [0.30, 0.10, 0.05], "flat": [0.02, 0.06, 0.04], "down": [-0.40, -0.05, 0.03]}
BELIEF = {"up": 0.5, "flat": 0.3, "down": 0.2}


def three(benchmark: bool = False, months: float = 12.0, **sections: Any) -> Book:
    """Three names, three scenarios, bucket shares of their own."""
    tables = {}
    if benchmark:
        tables["benchmark"] = pd.DataFrame({"instrument": [*NAMES, "USD-CASH"], "weight": [0.4, 0.3, 0.2, 0.1]})
    return book(
        {"horizon": {"months": months}, **sections},
        names=NAMES,
        returns=RETURNS,
        probabilities=BELIEF,
        exposures_columns={
            "bucket": ["efficiency", "capital_intensity", "adopter"],
            "efficiency_share": [0.6, 0.1, 0.0],
            "capital_intensity_share": [0.2, 0.9, 0.3],
            "beta": [1.2, 1.5, 0.8],
            "idiosyncratic_volatility": [0.3, 0.25, 0.2],
        },
        **tables,
    )


def bought(made: Book, quantities: dict[str, float], costs: float) -> Trade:
    """A trade by hand: units bought (negative: sold), and what it costs."""
    moved = np.array([quantities.get(name, 0.0) for name in made.instruments]) * made.prices
    buys, sells = np.maximum(moved, 0), np.maximum(-moved, 0)
    cash = made.cash + sells.sum() - buys.sum() - costs
    return Trade(made.quantities * made.prices + moved, float(cash), buys, sells, costs, made.value)


def test_returns_and_costs_are_those_of_arithmetic() -> None:
    made = three(robust={"set": "total_variation", "radius": 0.1})
    found = portfolio_figures(
        made, build_outlook(made), build_mandate(made), bought(made, {"AAA": 5, "BBB": -2}, costs=4.0)
    )

    # after: AAA 1500, BBB 800, CCC 1000, cash 1000 - 500 + 200 - 4 = 696, of 4000; cash returns 2 % everywhere
    gains = {
        "up": (1500 * 0.30 + 800 * 0.10 + 1000 * 0.05 + 696 * 0.02 - 4) / 4000,
        "flat": (1500 * 0.02 + 800 * 0.06 + 1000 * 0.04 + 696 * 0.02 - 4) / 4000,
        "down": (1500 * -0.40 + 800 * -0.05 + 1000 * 0.03 + 696 * 0.02 - 4) / 4000,
    }
    assert found.scenario_returns == pytest.approx(tuple(gains.values()))
    assert found.expected_return == pytest.approx(0.5 * gains["up"] + 0.3 * gains["flat"] + 0.2 * gains["down"])
    assert found.adverse_expected_return == pytest.approx(0.4 * gains["up"] + 0.3 * gains["flat"] + 0.3 * gains["down"])
    assert found.costs == pytest.approx(0.001)


def test_volatilities_are_annual_and_add_up_to_that_of_the_mixture() -> None:
    made = three(months=6.0)
    outlook = build_outlook(made)
    trade = bought(made, {"AAA": 5, "BBB": -2}, costs=0.0)
    found = portfolio_figures(made, outlook, build_mandate(made), trade)

    h = np.array([1500, 800, 1000]) / 4000
    beta, own = np.array([1.2, 1.5, 0.8]), np.array([0.3, 0.25, 0.2])
    within = (0.15 * beta @ h) ** 2 + (own**2) @ h**2
    means = np.array([[*RETURNS[name], 0.02] for name in RETURNS]) @ np.append(h, 0.175)
    belief = np.array(list(BELIEF.values()))
    between = belief @ means**2 - (belief @ means) ** 2

    assert found.volatility_within == pytest.approx(np.sqrt(within))
    assert found.volatility_between == pytest.approx(np.sqrt(between / 0.5))
    # the variance over the half year of a mixture of normals with these means and this covariance
    rng = np.random.default_rng(7)
    drawn = means[rng.choice(3, size=400_000, p=belief)] + rng.normal(0, np.sqrt(within * 0.5), size=400_000)
    total = (found.volatility_within**2 + found.volatility_between**2) * 0.5
    assert float(drawn.var()) == pytest.approx(total, rel=0.01)


def test_bucket_shares_count_the_numeric_shares_and_the_label_without_one() -> None:
    made = three()
    found = portfolio_figures(
        made, build_outlook(made), build_mandate(made), bought(made, {"AAA": 5, "BBB": -2}, costs=4.0)
    )

    assert found.buckets == pytest.approx(
        {
            "efficiency": (0.6 * 1500 + 0.1 * 800) / 3996,
            "capital_intensity": (0.2 * 1500 + 0.9 * 800 + 0.3 * 1000) / 3996,
            "adopter": 1000 / 3996,
            "neutral": 0.0,
            "cash": 696 / 3996,
        }
    )


def test_active_figures_are_differences_from_the_benchmark() -> None:
    made = three(benchmark=True, months=6.0, robust={"set": "total_variation", "radius": 0.1})
    outlook = build_outlook(made)
    found = portfolio_figures(made, outlook, build_mandate(made), no_trade(made))

    weights, against = np.full(4, 0.25), np.array([0.4, 0.3, 0.2, 0.1])
    difference = weights - against
    active = np.array([[*RETURNS[name], 0.02] for name in RETURNS]) @ difference
    belief = np.array(list(BELIEF.values()))
    beta, own = np.array([1.2, 1.5, 0.8]), np.array([0.3, 0.25, 0.2])
    tracking = np.sqrt((0.15 * beta @ difference[:3]) ** 2 + (own**2) @ difference[:3] ** 2)

    assert found.active_expected_return == pytest.approx(belief @ active)
    assert found.active_adverse_expected_return == pytest.approx(-TotalVariation(0.1).worst_case(-active, belief))
    assert found.tracking_error == pytest.approx(tracking)


def test_without_a_benchmark_there_are_no_active_figures() -> None:
    made = three()
    found = portfolio_figures(made, build_outlook(made), build_mandate(made), no_trade(made))

    assert (found.active_expected_return, found.active_adverse_expected_return) == (None, None)
    assert found.tracking_error is None


@pytest.fixture(scope="module")
def plan() -> Plan:
    return rebalance(
        three(
            benchmark=True,
            mandate={"max_weight": 0.45, "min_cash": 0.05, "max_turnover": 0.3, "risk_aversion": 0.5},
            robust={"set": "total_variation", "radius": 0.1},
            costs={"commission_bps": 10.0, "spread_bps": 20.0},
        )
    )


def test_orders_say_units_money_cost_and_weights(plan: Plan) -> None:
    made, after = plan.book, dict(zip(plan.book.instruments, plan.final.values, strict=True))

    assert plan.orders
    for order in plan.orders:
        at = made.instruments.index(order.instrument)
        sign = -1 if order.side == "sell" else 1
        assert order.quantity == int(order.quantity) > 0
        assert order.value == pytest.approx(order.quantity * 100)
        assert order.cost == pytest.approx(order.value * 0.002)  # 10 bps and half of 20
        assert order.price == 100
        assert order.weight_before == pytest.approx(0.25)
        assert order.weight_after == pytest.approx(after[order.instrument] / plan.final.value)
        assert after[order.instrument] == pytest.approx((made.quantities[at] + sign * order.quantity) * 100)


def test_orders_explain_every_unit_of_cash(plan: Plan) -> None:
    sold = sum(order.value for order in plan.orders if order.side == "sell")
    paid = sum(order.value for order in plan.orders if order.side == "buy")
    costs = sum(order.cost for order in plan.orders)

    assert plan.final.cash == pytest.approx(plan.book.cash + sold - paid - costs, abs=1e-9)
    assert plan.final.costs == pytest.approx(costs)
    assert plan.final.value == pytest.approx(plan.book.value - costs)


def test_sells_come_before_buys_and_the_largest_first(plan: Plan) -> None:
    assert list(plan.orders) == sorted(
        plan.orders, key=lambda order: ({"sell": 0, "buy": 1}[order.side], -order.value, order.instrument)
    )


def test_rounding_damage_is_the_difference_of_the_losses(plan: Plan) -> None:
    loss = plan.mandate.loss
    damage = loss(plan.final, plan.outlook) - loss(plan.target, plan.outlook)

    def by_hand(trade: Trade) -> float:
        h = trade.values / plan.book.value
        gains = np.array([[*RETURNS[name], 0.02] for name in RETURNS]) @ np.append(h, trade.cash / plan.book.value)
        q = TotalVariation(0.1).adversary(-gains, np.array(list(BELIEF.values())))
        beta, own = np.array([1.2, 1.5, 0.8]), np.array([0.3, 0.25, 0.2])
        risk = 0.5 * ((0.15 * beta @ h) ** 2 + (own**2) @ h**2)
        return float(-q @ gains + risk + trade.costs / plan.book.value)

    assert plan.rounding_bps == pytest.approx(damage * 1e4)
    assert plan.rounding_bps == pytest.approx((by_hand(plan.final) - by_hand(plan.target)) * 1e4, abs=1e-8)


def test_the_adversary_is_the_worst_member_of_the_set(plan: Plan) -> None:
    belief = np.array(list(BELIEF.values()))
    gains = plan.outlook.portfolio_returns(plan.target.values, plan.target.cash)

    assert plan.adversary.sum() == pytest.approx(1)
    assert np.abs(plan.adversary - belief).sum() / 2 <= 0.1 + 1e-9
    assert plan.adversary @ -gains == pytest.approx(TotalVariation(0.1).worst_case(-gains, belief), rel=1e-6)


def test_binding_rules_are_those_at_their_limit_dearest_first(plan: Plan) -> None:
    measured = {reading.label: reading for reading in plan.mandate.readings(plan.target, plan.outlook)}

    assert plan.binding
    assert [rule.bps_per_point for rule in plan.binding] == sorted(
        (rule.bps_per_point for rule in plan.binding), reverse=True
    )
    for rule in plan.binding:
        assert rule.bps_per_point > 0
        assert abs(measured[rule.label].excess) < 1e-6


def test_a_shadow_price_is_what_loosening_the_rule_earns(plan: Plan) -> None:
    dearest = plan.binding[0]
    assert dearest.label in ("AAA at most 45%", "BBB at most 45%", "CCC at most 45%", "cash at least 5%") or (
        dearest.label.startswith("turnover at most 30%")
    )
    step = 1e-4
    mandate = plan.book.settings.mandate
    key, change = (
        ("min_cash", -step)
        if dearest.label.startswith("cash")
        else ("max_turnover", step)
        if dearest.label.startswith("turnover")
        else ("max_weight", step)
    )
    loosened = mandate.model_copy(update={key: getattr(mandate, key) + change})
    moved = rebalance(replace(plan.book, settings=plan.book.settings.model_copy(update={"mandate": loosened})))

    earned = (plan.certificate.objective - moved.certificate.objective) * 1e4 / (step * 100)
    assert earned == pytest.approx(dearest.bps_per_point, rel=0.05, abs=0.02)


def shifted_targets(made: Book, belief: Vector) -> Vector:
    """The targets under another belief, from scratch."""
    scenarios = {
        name: section.model_copy(update={"probability": float(p)})
        for (name, section), p in zip(made.settings.scenarios.items(), belief, strict=True)
    }
    target = rebalance(replace(made, settings=made.settings.model_copy(update={"scenarios": scenarios}))).target
    return np.append(target.values, target.cash) / target.value


def test_stability_is_that_of_solving_again_by_brute_force(plan: Plan) -> None:
    belief = np.array(list(BELIEF.values()))
    here = np.append(plan.target.values, plan.target.cash) / plan.target.value
    largest = 0.0
    for k in range(3):
        for shift in (-0.02, 0.02):
            shifted = belief * (1 - belief[k] - shift) / (1 - belief[k])
            shifted[k] = belief[k] + shift
            largest = max(largest, float(np.abs(shifted_targets(plan.book, shifted) - here).sum()))

    assert plan.stability == pytest.approx(largest, abs=1e-5)


def test_a_plan_that_cannot_stand_a_shift_says_none() -> None:
    made = three(mandate={"min_expected_return": 0.07, "max_weight": 0.5})
    best = float(np.array([0.5, 0.3, 0.2]) @ np.array(list(RETURNS.values())) @ np.array([0.5, 0.5, 0.0]))
    tight = made.settings.mandate.model_copy(update={"min_expected_return": best - 1e-6})

    plan = rebalance(replace(made, settings=made.settings.model_copy(update={"mandate": tight})))

    assert plan.stability is None
    assert plan_document(plan, full=True)["stability_l1"] is None


def test_stability_is_solved_only_where_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    solves: list[int] = []
    honest = QuadraticProgram.solve
    monkeypatch.setattr(QuadraticProgram, "solve", lambda *asked: solves.append(1) or honest(*asked))
    plan = rebalance(three())

    assert "stability_l1" not in plan_document(plan)
    assert len(solves) == 1
    assert plan_document(plan, full=True)["stability_l1"] == round(plan.stability or 0.0, 6)
    assert len(solves) == 1 + 2 * 3


def test_every_rule_is_measured_on_the_final_lots(plan: Plan) -> None:
    values, cash = plan.final.values, plan.final.cash
    total = values.sum() + cash
    measured = {reading.label: reading.measured for reading in plan.measurements}

    for name, value in zip(NAMES, values, strict=True):
        assert measured[f"{name} at most 45%"] == pytest.approx(value / total)
    assert measured["cash at least 5%"] == pytest.approx(cash / total)
    assert all(reading.excess <= 1e-9 for reading in plan.measurements)
    assert plan.certificate.rules == len(plan.measurements)


def test_the_document_says_the_same_as_the_plan(plan: Plan, root: Path) -> None:
    document = plan_document(plan)

    schema = json.loads((root / "schemas" / "plan.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert [row["instrument"] for row in document["positions"]] == [*NAMES, "USD-CASH"]
    assert sum(row["weight_after"] for row in document["positions"]) == pytest.approx(1, abs=1e-7)
    assert document["rounding_bps"] == round(plan.rounding_bps, 4)
    assert document["figures"]["after"]["expected_return"] == round(plan.after.expected_return, 8)


def test_a_broken_rule_stops_the_plan_with_its_measure(plan: Plan) -> None:
    readings = list(plan.measurements)
    broken = [replace(readings[0], measured=readings[0].limit + 0.01)]

    with pytest.raises(NotSolved, match=r"the whole lots break 'AAA at most 45%' measures 0.46; no number leaves"):
        refuse_broken(broken, 1e-9, "the whole lots")
    refuse_broken(readings, 1e-9, "the whole lots")


def test_a_measure_that_is_no_number_stops_the_plan(plan: Plan) -> None:
    with pytest.raises(NotSolved, match="no number leaves"):
        refuse_broken([replace(plan.measurements[0], measured=float("nan"))], 1e-9, "the whole lots")


def test_progress_is_told_in_the_order_of_the_work() -> None:
    said: list[str] = []

    rebalance(three(), progress=said.append)

    assert said == ["reading the outlook", "solving", "finding whole lots"]


def test_the_public_verb_is_this_one(root: Path) -> None:
    public: Callable[..., Plan] = allocator.rebalance

    assert public is rebalance
    assert allocator.load(root / "tests" / "plain_books" / "listed").account == "main"


def test_active_weights_are_over_the_benchmark_and_cancel_out(root: Path) -> None:
    made = load(root / "tests" / "plain_books" / "listed")
    positions = plan_document(rebalance(made))["positions"]
    assert made.benchmark is not None

    for row in positions:
        over = row["weight_after"] - float(made.benchmark[row["instrument"]])
        assert row["active_weight_after"] == pytest.approx(over, abs=2e-8)
    assert sum(row["active_weight_after"] for row in positions) == pytest.approx(0, abs=1e-6)


def test_without_a_benchmark_no_active_weight_is_told() -> None:
    document = plan_document(rebalance(book()))

    assert {row["active_weight_after"] for row in document["positions"]} == {None}


# The expected shortfall of a mixture of normal distributions.
#


def expected_shortfall(means: Vector, probabilities: Vector, deviation: float) -> float:
    """At 95 %, of one position with these scenario means and one deviation within them."""
    return GainMixture(probabilities, means[:, None], np.array([deviation**2])).tail(0.05).expected_shortfall


QUANTILE = 1.6448536269514722
"""Of the standard normal distribution, at 95 %."""
DENSITY = 0.10313564037537140
"""Of the standard normal distribution, there."""


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (0.08, 0.25), (-0.3, 0.02), (0.1, 1e-6), (0.5, 3.0)])
def test_the_shortfall_of_one_normal_distribution_is_its_closed_form(mean: float, deviation: float) -> None:
    exact = -mean + deviation * DENSITY / 0.05

    assert expected_shortfall(np.array([mean]), np.ones(1), deviation) == pytest.approx(exact, abs=1e-12, rel=1e-12)
    # however it is split into scenarios, and whatever improbable ones stand by
    split = expected_shortfall(np.array([mean, mean, 5.0]), np.array([0.3, 0.7, 0.0]), deviation)
    assert split == pytest.approx(exact, abs=1e-12, rel=1e-12)


def test_the_density_of_that_test_is_the_normal_one() -> None:
    assert np.exp(-(QUANTILE**2) / 2) / np.sqrt(2 * np.pi) == pytest.approx(DENSITY, rel=1e-12)


@pytest.mark.parametrize(("bad", "exact"), [
    (0.05, 0.4), (0.2, 0.4), (0.02, (0.02 * 0.4 - 0.03 * 0.1) / 0.05), (0.0, -0.1),
])  # fmt: skip
def test_the_shortfall_of_two_points_takes_the_worse_one_up_to_its_probability(bad: float, exact: float) -> None:
    means, probabilities = np.array([0.1, -0.4]), np.array([1 - bad, bad])

    assert expected_shortfall(means, probabilities, 0.0) == pytest.approx(exact, abs=1e-12)
    # and a very small deviation comes to the same
    assert expected_shortfall(means, probabilities, 1e-7) == pytest.approx(exact, abs=1e-6)


def test_the_shortfall_of_a_mixture_is_that_of_its_simulation() -> None:
    means, probabilities, deviation = np.array([0.2, 0.05, -0.35, -0.1]), np.array([0.3, 0.4, 0.04, 0.26]), 0.18
    draw = np.random.default_rng(95)
    count = 4_000_000
    outcomes = means[draw.choice(4, count, p=probabilities)] + deviation * draw.standard_normal(count)
    worst = np.partition(outcomes, count // 20)[: count // 20]

    # the mean of 200,000 outcomes is right to about 0.0003
    assert expected_shortfall(means, probabilities, deviation) == pytest.approx(-worst.mean(), abs=1e-3)
    assert expected_shortfall(means, probabilities, deviation) > deviation * DENSITY / 0.05 - probabilities @ means


def test_a_plan_s_shortfall_is_over_its_horizon_and_of_its_own_scenarios(plan: Plan) -> None:
    for figures in (plan.before, plan.targeted, plan.after):
        deviation = figures.volatility_within * np.sqrt(plan.outlook.years)
        of_these = expected_shortfall(np.array(figures.scenario_returns), plan.outlook.probabilities, float(deviation))

        assert figures.expected_shortfall == pytest.approx(of_these, abs=1e-12)
        assert figures.expected_shortfall > -figures.expected_return


def test_a_plan_prints_its_screen_in_a_notebook_too(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """rich would hand what is printed to the notebook, and leave the text empty."""
    alone = str(plan)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)

    assert str(plan) == alone
    assert "side  instrument" in alone


def test_of_probabilities_that_are_equally_bad_those_are_reported_that_fit_the_shadow_prices() -> None:
    returns = {"up": [0.2, 0.1, 0.0], "bad": [-0.1, -0.1, -0.05], "as bad": [-0.1, -0.1, -0.05]}
    likely = {"up": 0.6, "bad": 0.2, "as bad": 0.2}
    robust = {"set": "total_variation", "radius": 0.1}
    plan = rebalance(book({"robust": robust}, names=NAMES, returns=returns, probabilities=likely), lots=False)
    assert plan.duals is not None
    gains = plan.outlook.portfolio_returns(plan.target.values, plan.target.cash)
    own = plan.mandate.ambiguity.adversary(-gains, plan.outlook.probabilities)
    assert float((plan.duals.adversary - own) @ gains) == pytest.approx(0.0, abs=1e-6 * plan.target.value_before)
    assert np.abs(plan.duals.adversary - own).max() > 0.01
    assert plan.adversary is plan.duals.adversary
