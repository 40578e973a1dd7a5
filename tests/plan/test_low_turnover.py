"""Among near-equal plans the one that trades least: how much less, and what it is allowed to cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from allocator.book.book import Book
from allocator.optimization.solve import Program
from allocator.plan.document import plan_document
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from tests.books import book

NAMES = tuple(f"N{i}" for i in range(8))


def random_book(seed: int, **sections: Any) -> Book:
    """Eight names of random returns in three scenarios, hardly any costs, fine lots."""
    draw = np.random.default_rng(seed)
    returns = {name: list(draw.normal(0.06, 0.15, 8)) for name in ("a", "b", "c")}
    return book(
        {
            "mandate": {"max_weight": 0.3, "risk_aversion": 2.0},
            "costs": {"commission_bps": 5.0},
            "robust": {"set": "total_variation", "radius": 0.05},
            **sections,
        },
        names=NAMES,
        returns=returns,
        quantity=1000.0,
        cash=100_000.0,
        exposures_columns={"idiosyncratic_volatility": list(draw.uniform(0.15, 0.4, 8))},
    )


def indifferent(made: Book, bps: float) -> Plan:
    trading = made.settings.trading.model_copy(update={"indifference_bps": bps})
    return rebalance(replace(made, settings=made.settings.model_copy(update={"trading": trading})))


def turnover(plan: Plan) -> float:
    return float(plan.target.bought.sum() + plan.target.sold.sum()) / plan.book.value


@pytest.mark.parametrize("seed", range(4))
def test_the_more_is_indifferent_the_less_is_traded_and_no_more_is_given_up(seed: int) -> None:
    made = random_book(seed)
    best = indifferent(made, 0.0)
    traded = [turnover(best)]
    for bps in (0.5, 2.0, 8.0, 30.0):
        plan = indifferent(made, bps)
        given_up = (plan.mandate.loss(plan.target, plan.outlook) - best.certificate.objective) * 1e4
        assert given_up <= bps + 1e-9
        assert -0.01 <= plan.certificate.gap * 1e4 <= bps + 0.01
        assert plan.certificate.allowed == pytest.approx(bps / 1e4 + 1e-6)
        traded.append(turnover(plan))

    assert traded == sorted(traded, reverse=True)
    assert traded[-1] < 0.95 * traded[0]


@pytest.mark.parametrize("seed", range(4))
def test_most_of_what_may_be_given_up_buys_less_trading(seed: int) -> None:
    made = random_book(seed)
    best, plan = indifferent(made, 0.0), indifferent(made, 4.0)

    given_up = (plan.certificate.objective - best.certificate.objective) * 1e4
    assert 3.0 < given_up <= 4.0


def test_pointless_small_trades_are_dropped() -> None:
    # at 20% a name that returns 3.6% is held right, against cash at 2%; two are off by a hair, AAA is worth 35%
    made = book(
        {"mandate": {"risk_aversion": 1.0, "max_weight": 0.6}, "robust": {"set": "none", "radius": 0.0}},
        returns={"base": [0.048, 0.0352, 0.036, 0.0368]},
        quantity=1000.0,
        cash=100_000.0,
        exposures_columns={"idiosyncratic_volatility": [0.2, 0.2, 0.2, 0.2], "beta": [0.0, 0.0, 0.0, 0.0]},
    )
    best, plan = indifferent(made, 0.0), indifferent(made, 0.5)

    assert {order.instrument for order in best.orders} == {"AAA", "BBB", "DDD"}
    assert {order.instrument for order in plan.orders} == {"AAA"}


def test_without_indifference_nothing_is_solved_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = random_book(1)
    solves: list[float] = []
    solve = Program.solve

    def counted(self: Program, *arguments: Any, **named: Any) -> Any:
        solves.append(named.get("trading_price", 0.0))
        return solve(self, *arguments, **named)

    monkeypatch.setattr(Program, "solve", counted)
    indifferent(made, 0.0)
    once = len(solves)
    solves.clear()
    indifferent(made, 3.0)

    assert once == 1
    assert len(solves) <= 1 + 8
    assert all(price > 0 for price in solves[1:])


def test_where_all_there_is_to_gain_may_be_given_up_nothing_is_traded() -> None:
    made = random_book(2, mandate={"risk_aversion": 0.1})
    hair = made.scenario_returns * 0.01  # the returns of a few days
    made = replace(made, scenario_returns=hair)
    best, plan = indifferent(made, 0.0), indifferent(made, 100.0)

    assert 0 < best.decision.gain_bps < 100
    assert turnover(best) > 0.01
    assert turnover(plan) == 0
    assert plan.orders == ()
    assert (plan.decision.verdict, plan.decision.orders, plan.decision.gain_bps) == ("no trade", 0, 0)


@pytest.mark.parametrize(
    ("set_", "radius"), [("none", 0.0), ("total_variation", 0.1), ("box", 0.1), ("kl", 0.05), ("worst", 0.0)]
)
def test_whatever_is_guarded_against_the_proof_is_within_the_indifference(set_: str, radius: float) -> None:
    made = random_book(5, robust={"set": set_, "radius": radius}, mandate={"max_weight": 0.3, "max_turnover": 0.4})
    best, plan = indifferent(made, 0.0), indifferent(made, 3.0)

    assert turnover(plan) < turnover(best)
    assert plan.certificate.bound == pytest.approx(best.certificate.bound, abs=1e-12)
    assert plan.certificate.gap <= 3.01e-4


def test_no_trade_regions_of_a_restrained_plan_end_at_its_targets() -> None:
    plan = indifferent(random_book(1, mandate={"risk_aversion": 3.0}), 4.0)
    weights, before = plan.target.weights, plan.book.value
    bought, sold = plan.target.bought > 1e-5 * before, plan.target.sold > 1e-5 * before

    assert bought.any()
    assert weights[bought] == pytest.approx(plan.no_trade.low[bought], abs=1e-5)
    assert weights[sold] == pytest.approx(plan.no_trade.high[sold], abs=1e-5)
    assert (plan.no_trade.low - 1e-5 <= weights).all()
    assert (weights <= plan.no_trade.high + 1e-5).all()


def test_the_document_says_how_far_from_the_best_the_plan_may_be() -> None:
    document = plan_document(indifferent(random_book(1), 4.0))

    assert document["certificate"]["allowed_bps"] == pytest.approx(4.01)
    assert document["certificate"]["gap_bps"] <= 4.01
