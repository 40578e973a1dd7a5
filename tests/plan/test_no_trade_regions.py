"""No-trade regions: where trading a name alone is not worth its cost, against solving again from there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.sets import Ambiguity
from allocator.plan.trade_decision import NoTradeRegions, no_trade_regions
from allocator.rules import InstrumentCaps, InstrumentFloors, NoTrade, Participation, Trade
from allocator.rules.rows import Position
from allocator.types import Vector
from tests.problems import SETS, Question, caps, names, question, random_question
from tests.thoroughness import some

TRADED = 1e-5


def regions(asked: Question) -> tuple[Trade, NoTradeRegions]:
    target, prices, _ = asked.certified()
    return target, no_trade_regions(asked.outlook, asked.mandate, target, prices)


@pytest.mark.parametrize("ambiguity", SETS, ids=str)
@pytest.mark.parametrize("seed", some(range(10), 3))
def test_what_is_traded_goes_to_the_edge_and_what_is_not_stands_inside(ambiguity: Ambiguity, seed: int) -> None:
    target, found = regions(random_question(seed, ambiguity=ambiguity))
    bought, sold = target.bought > TRADED, target.sold > TRADED

    assert bought.any()
    assert sold.any()
    # a gap g of the certificate leaves weights free by about the root of g / curvature, which a curved set shows
    apart = 1e-4 if ambiguity.curved else 1e-5
    assert target.weights[bought] == pytest.approx(found.low[bought], abs=apart)
    assert target.weights[sold] == pytest.approx(found.high[sold], abs=apart)
    assert (found.low - apart <= target.weights).all()
    assert (target.weights <= found.high + apart).all()


def test_edges_coincide_to_a_millionth() -> None:
    missed = []
    for seed in range(10):
        target, found = regions(random_question(seed, ambiguity=Singleton()))
        missed += list(np.abs(found.low - target.weights)[target.bought > TRADED])
        missed += list(np.abs(found.high - target.weights)[target.sold > TRADED])

    assert len(missed) > 40
    assert max(missed) < 1e-6


def calm_question(seed: int) -> Question:
    """No rules, cash left over: the region is exact, for what a name is traded against is only cash."""
    asked = random_question(seed, count=6, ambiguity=Singleton(), risk_aversion=6.0, turnover=None).with_rules()
    held = asked.start.holdings
    return replace(asked, start=Position(held / 2, 1 - float(held.sum()) / 2))


def alone(asked: Question, target: Trade, name: int, weight: float) -> Question:
    """Everything at the targets but one name, which has another weight at the expense of cash, and is alone free."""
    wealth = target.value
    holdings = target.weights.copy()
    cash = target.cash / wealth + holdings[name] - weight
    holdings[name] = weight
    others = tuple(i for i in range(len(holdings)) if i != name)
    locked = NoTrade(tuple(names(len(holdings))[i] for i in others), others)
    mandate = replace(asked.mandate, linear_rules=(locked,), risk_aversion=asked.mandate.risk_aversion * wealth)
    return replace(asked, start=Position(holdings, cash), mandate=mandate)


@pytest.mark.parametrize("seed", [0, 1, 3, 4, 5])
def test_from_inside_nothing_is_traded_and_from_outside_to_the_edge(seed: int) -> None:
    asked = calm_question(seed)
    target, found = regions(asked)
    cash, tried = target.cash / target.value, 0
    assert cash > 0.1
    for name in range(6):
        low, high = float(found.low[name]), float(found.high[name])
        starts = {(low + high) / 2: None, max(low - 0.03, 0.0): low, high + 0.03: high}
        for weight, edge in starts.items():
            if weight - target.weights[name] > cash - 0.01 or (edge == low and weight == 0):
                continue
            again = alone(asked, target, name, weight)
            ended = float(again.solved().holdings[name])
            assert ended == pytest.approx(weight if edge is None else edge, abs=2e-5)
            tried += 1
    assert tried >= 8


def test_a_wider_spread_widens_the_region_and_none_makes_it_a_point() -> None:
    widths = []
    for rate in (0.0, 0.001, 0.002):
        asked = calm_question(3)
        asked = replace(asked, mandate=replace(asked.mandate, cost_rates=np.full(6, rate)))
        _, found = regions(asked)
        widths.append(found.high - found.low)

    held = widths[2] > 0
    assert widths[0] == pytest.approx(0, abs=1e-6)
    assert held.sum() >= 3
    assert (widths[1][held] < widths[2][held]).all()


def test_a_rule_on_one_name_bounds_its_region() -> None:
    asked = calm_question(3)
    free, _ = regions(asked)
    most, least = (int(i) for i in np.argsort(np.where(free.weights > 0.01, free.weights, 1.0))[[2, 0]])
    cap = InstrumentCaps(names(6)[most : most + 1], (most,), (0.5 * float(free.weights[most]),))
    floor = InstrumentFloors(names(6)[least : least + 1], (least,), (1.5 * float(free.weights[least]),))
    _, found = regions(asked.with_rules(cap, floor))

    assert found.high[most] == pytest.approx(0.5 * free.weights[most])
    assert found.low[least] == pytest.approx(1.5 * free.weights[least])


def test_a_name_that_may_not_be_traded_is_never_traded() -> None:
    asked = calm_question(3).with_rules(NoTrade(names(6)[:1], (0,)))
    _, found = regions(asked)

    assert (found.low[0], found.high[0]) == (0, 1)


def test_a_thin_market_moves_no_edge_but_stops_the_trade_short_of_it() -> None:
    asked = calm_question(3)
    free, _ = regions(asked)
    name = int(np.argmax(free.bought))
    volume = 0.25 * float(free.bought[name])
    thin = asked.with_rules(Participation(names(6)[name : name + 1], (name,), (1.0,), (volume,)))
    target, found = regions(thin)

    assert target.bought[name] == pytest.approx(volume, abs=1e-6)
    assert target.weights[name] < found.low[name] - 1e-3


@pytest.mark.parametrize(("held", "low", "high"), [([0.0, 0.3], 0.4, 0.4), ([0.4, 0.3], 0.4, 0.4)])
def test_without_risk_a_name_is_wanted_to_its_cap_or_not_at_all(held: list[float], low: float, high: float) -> None:
    returns = np.array([[0.10, -0.05]])
    asked = question(returns, risk_aversion=0.0, rules=[caps(2, 0.4)], cost_rate=0.001, held=np.array(held))
    _, found = regions(asked)

    assert (found.low[0], found.high[0]) == (pytest.approx(low), pytest.approx(high))
    assert (found.low[1], found.high[1]) == (0, 0)


def test_without_risk_a_name_that_gains_less_than_it_costs_may_stay_wherever_it_is() -> None:
    asked = question(np.array([[0.0005, -0.05]]), risk_aversion=0.0, cost_rate=0.001, held=np.array([0.3, 0.2]))
    _, found = regions(asked)

    assert (found.low[0], found.high[0]) == (0, pytest.approx(1, abs=1e-3))


def test_impact_leaves_the_edges_and_stops_the_trade_short_of_them() -> None:
    asked = calm_question(3)
    dear = replace(asked, mandate=replace(asked.mandate, impact=np.full(6, 0.05)))
    target, found = regions(dear)
    traded: Vector = target.bought > 1e-3

    assert traded.any()
    assert (target.weights[traded] < found.low[traded] - 1e-4).all()
