"""Whether to trade at all: the gain, its range over plausible beliefs and costs, and the verdict, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from allocator.ambiguity.balls import AnyProbabilities, Singleton
from allocator.ambiguity.sets import Ambiguity
from allocator.mandate.mandate import no_trade
from allocator.mandate.return_errors import BoxError
from allocator.plan.document import plan_document
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.plan.trade_decision import TradeValue, value_of_trading
from allocator.rules import Trade
from allocator.settings.settings import TradingSection
from tests.books import book
from tests.problems import SETS, Question, caps, question, random_question

EVEN = TradingSection()


def weighed(asked: Question, lots: Trade, trading: TradingSection = EVEN, **tickets: Any) -> TradeValue:
    nothing = np.zeros(len(asked.mandate.cost_rates))
    today = asked.swapped(nothing, nothing)
    return value_of_trading(asked.outlook, asked.mandate, today, lots, trading, **{"orders": 2, **tickets})


def switch(edge: float, spread: float, *, cost_rate: float = 0.001, ambiguity: Ambiguity | None = None) -> Question:
    """Two scenarios, two names: the second is `edge` better on average and ± `spread` around it, all in the first."""
    returns = np.array([[0.05, 0.05 + edge + spread], [0.05, 0.05 + edge - spread]])
    return question(
        returns, risk_aversion=0.0, ambiguity=ambiguity, cost_rate=cost_rate, held=np.array([1.0, 0.0])
    )  # fmt: skip


def moved(asked: Question, part: float = 0.5) -> Trade:
    """That part of the first name turned into the second, costs paid from what is bought."""
    rate = float(asked.mandate.cost_rates[0])
    bought = part * (1 - rate) / (1 + rate)
    return asked.swapped(np.array([0.0, bought]), np.array([part, 0.0]))


def test_the_gain_is_what_the_objective_falls_by() -> None:
    asked = switch(0.01, 0.0)
    lots = moved(asked)

    # half the account gains 1% more on what is bought, and the costs are not there to earn 5%
    by_hand = (lots.bought[1] * 0.06 - 0.5 * 0.05) - lots.costs
    assert weighed(asked, lots).gain_bps == pytest.approx(by_hand * 1e4)


def test_tickets_are_a_cost_of_every_order() -> None:
    asked = switch(0.01, 0.0)
    free, dear = weighed(asked, moved(asked)), weighed(asked, moved(asked), orders=2, ticket=0.0003)

    assert dear.tickets == pytest.approx(0.0006)
    for one, other in (
        (free.gain_bps, dear.gain_bps),
        (free.lowest_bps, dear.lowest_bps),
        (free.highest_bps, dear.highest_bps),
    ):
        assert one is not None
        assert other == pytest.approx(one - 6)


def test_the_range_is_that_of_beliefs_and_costs_by_hand() -> None:
    asked = switch(0.004, 0.05)
    lots = moved(asked)
    found = weighed(asked, lots, TradingSection(cost_factor=4.0))

    def at(shift: float, factor: float) -> float:
        mean = 0.5 * (lots.values @ np.array([0.05, 0.104]) + lots.values @ np.array([0.05, 0.004]))
        tilt = shift * float(lots.values @ np.array([0.0, 0.1]))
        return float(mean + tilt - 0.05 - factor * lots.costs) * 1e4

    # beliefs within 0.02 of one half in total variation, costs from a quarter to four times what is estimated
    assert found.lowest_bps == pytest.approx(at(-0.02, 4.0), abs=2.0)
    assert found.highest_bps == pytest.approx(at(0.02, 0.25), abs=2.0)
    assert found.lowest_bps < found.median_bps < found.highest_bps  # type: ignore[operator]
    draw = np.random.default_rng(0)
    pays = [at(draw.uniform(-0.02, 0.02), 4.0 ** draw.uniform(-1, 1)) > 0 for _ in range(20_000)]
    assert found.positive_share == pytest.approx(np.mean(pays), abs=0.03)


@pytest.mark.parametrize("ambiguity", SETS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_every_part_of_the_objective_is_counted(ambiguity: Ambiguity, seed: int) -> None:
    asked = random_question(seed, ambiguity=ambiguity)
    asked = replace(asked, mandate=replace(asked.mandate, return_error=BoxError(np.full(10, 0.01))))
    target = asked.certified()[0]
    found = weighed(asked, target, TradingSection(cost_factor=1.0))
    assert found.lowest_bps is not None
    assert found.highest_bps is not None

    # costs known: an expectation over members of the set lies between the least and the greatest over its corners
    nothing = np.zeros(10)
    today = asked.swapped(nothing, nothing)
    with_belief = replace(asked.mandate, ambiguity=Singleton())
    corners = []
    for k in range(4):
        certain = replace(asked.outlook, probabilities=np.eye(4)[k])
        corners.append((with_belief.loss(today, certain) - with_belief.loss(target, certain)) * 1e4)
    belief = (with_belief.loss(today, asked.outlook) - with_belief.loss(target, asked.outlook)) * 1e4
    assert min(corners) - 1e-6 <= found.lowest_bps <= belief <= found.highest_bps <= max(corners) + 1e-6
    if isinstance(ambiguity, AnyProbabilities):
        assert found.lowest_bps < min(corners) + 0.25 * (max(corners) - min(corners))


def test_a_gain_in_too_few_beliefs_is_not_taken() -> None:
    asked = switch(0.0045, 0.2)  # more than the costs of 2 x 10 bps by 2.5, but a shift of one point is 40 bps
    lots = moved(asked)
    found = weighed(asked, lots)

    assert found.gain_bps > 0
    assert found.positive_share is not None
    assert 0.3 < found.positive_share < 0.7
    assert weighed(asked, lots, TradingSection(min_share=found.positive_share)).verdict == "recommended"
    assert weighed(asked, lots, TradingSection(min_share=found.positive_share + 0.001)).verdict == "no trade"


def test_a_gain_has_to_be_above_the_least_one_wanted() -> None:
    asked = switch(0.01, 0.0)
    lots = moved(asked)
    gain = weighed(asked, lots).gain_bps

    assert weighed(asked, lots, TradingSection(min_gain_bps=gain - 0.01)).verdict == "recommended"
    assert weighed(asked, lots, TradingSection(min_gain_bps=gain)).verdict == "no trade"


def test_where_a_rule_is_broken_today_there_is_no_choice() -> None:
    asked = switch(-0.01, 0.1).with_rules(caps(2, 0.7))
    found = weighed(asked, moved(asked))

    assert found.gain_bps < 0
    assert found.verdict == "trade required"


def test_nothing_to_trade_gains_nothing() -> None:
    asked = switch(0.01, 0.1)
    nothing = np.zeros(2)
    found = weighed(asked, asked.swapped(nothing, nothing), orders=0, ticket=5.0)

    assert (found.gain_bps, found.positive_share, found.tickets, found.verdict) == (0, 0, 0, "no trade")


@pytest.mark.parametrize("seed", range(6))
def test_the_same_inputs_give_the_same_verdict_and_dearer_estimates_never_a_higher_share(seed: int) -> None:
    asked = random_question(seed)
    target = asked.certified()[0]
    assert weighed(asked, target) == weighed(asked, target)

    shares = []
    for factor in (1.0, 3.0, 30.0):
        costs = factor * target.costs
        dearer = replace(target, costs=costs, cash=target.cash - (costs - target.costs))
        shares.append(weighed(asked, dearer).positive_share)
    assert shares == sorted(shares, reverse=True)  # type: ignore[type-var]


def test_minimum_variance_is_weighed_in_its_own_unit_and_by_its_gain_alone() -> None:
    asked = question(
        np.array([[0.1, 0.0], [0.0, 0.1]]),
        np.diag([0.04, 0.09]),
        return_weight=0.0,
        cost_rate=0.001,
        held=np.array([0.5, 0.5]),
    )
    calmer = asked.swapped(np.array([0.05, 0.0]), np.array([0.0, 0.06]))
    wilder = asked.swapped(np.array([0.0, 0.05]), np.array([0.06, 0.0]))
    found = weighed(asked, calmer, TradingSection(min_gain_bps=1000))

    variance = 0.04 * 0.5**2 + 0.09 * 0.5**2 - (0.04 * 0.55**2 + 0.09 * 0.44**2)
    assert found.gain_bps == pytest.approx((variance - 2 * 0.09 * calmer.costs) * 1e4)
    assert (found.positive_share, found.lowest_bps, found.median_bps, found.highest_bps) == (None, None, None, None)
    assert (found.verdict, weighed(asked, wilder).verdict) == ("recommended", "no trade")


def planned(**trading: float) -> Plan:
    """Three names of which one is a little better, dear to trade."""
    returns = {"up": [0.12, 0.121, 0.11], "down": [-0.02, -0.019, -0.01]}
    return rebalance(
        book(
            {"costs": {"commission_bps": 20.0, "ticket": 1.0}, "mandate": {"risk_aversion": 0.0}, "trading": trading},
            names=("AAA", "BBB", "CCC"),
            returns=returns,
            probabilities={"up": 0.6, "down": 0.4},
        )
    )


def test_a_plan_that_holds_is_todays_portfolio_with_the_proof_of_its_target() -> None:
    trade, hold = planned(), planned(min_gain_bps=900)

    assert (trade.decision.verdict, hold.decision.verdict) == ("recommended", "no trade")
    assert trade.orders
    assert hold.orders == ()
    now = no_trade(hold.book)
    assert (hold.final.values == now.values).all()
    assert (hold.final.cash, hold.final.costs) == (now.cash, 0)
    assert hold.after == hold.before
    assert (hold.target.values == trade.target.values).all()
    assert hold.certificate == trade.certificate or hold.certificate.objective == trade.certificate.objective
    assert hold.decision.orders == len(trade.orders) > 0
    assert hold.decision.tickets == len(trade.orders)
    assert replace(hold.decision, verdict="recommended") == trade.decision
    assert hold.rounding_bps == trade.rounding_bps
    assert all(reading.excess <= 1e-9 for reading in hold.measurements)


def test_the_document_tells_the_worth_and_every_no_trade_region() -> None:
    for made in (planned(), planned(min_gain_bps=900)):
        document = plan_document(made)
        told = document["decision"]

        assert told["verdict"] == made.decision.verdict
        assert told["gain_bps"] == round(made.decision.gain_bps, 4)
        assert told["positive_share"] == made.decision.positive_share
        assert bool(document["orders"]) == (told["verdict"] == "recommended")
        for row in document["positions"][:-1]:
            assert 0 <= row["no_trade_from"] <= row["no_trade_to"] <= 1
        assert document["positions"][-1]["no_trade_from"] is None


def test_a_broken_rule_is_mended_whatever_it_costs() -> None:
    made = rebalance(
        book(
            {
                "mandate": {"max_weight": 0.19, "risk_aversion": 0.0},
                "costs": {"commission_bps": 90.0},
                "trading": {"min_gain_bps": 1000, "min_share": 1.0},
            },
            returns={"base": [0.05, 0.05, 0.05, 0.05]},
        )
    )

    assert made.decision.verdict == "trade required"
    assert made.decision.gain_bps < 0
    assert len(made.orders) == 4
