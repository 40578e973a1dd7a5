"""Where the best on paper buys and sells one name at once there is no plan, and the fix that is told gives one."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from allocator.errors import Infeasible
from allocator.optimization.solve import Program
from allocator.plan.certificate import GAP_ALLOWED, Certificate
from allocator.plan.rebalance import rebalance
from allocator.plan.targets import solve_certified
from allocator.rules import ExposureLimit, Trade, WeightAtLeast, WeightAtMost
from tests.infeasible_books import loosened
from tests.lots.test_whole_lots import small
from tests.problems import Question, caps, question

AVERSION = 12.0
COSTS = {"commission_bps": 1900.0, "spread_bps": 100.0}


def planned(asked: Question, *, explains: bool = True) -> tuple[Trade, Certificate]:
    """The plan of the main path."""
    program = Program(asked.outlook, asked.mandate, explains=explains)
    target, _, certificate = solve_certified(program, asked.start, asked.outlook, asked.mandate)
    return target, certificate


def cash_at_most(count: int, limit: float) -> WeightAtMost:
    return WeightAtMost("cash", np.zeros(count), limit, cash_share=1.0)


def crowded(seed: int) -> Question:
    """Four risky names with dear trades, of which some must be bought."""
    draw = np.random.default_rng(seed)
    held = draw.dirichlet(np.ones(4)) * 0.6
    cash, beta = cash_at_most(4, float(draw.uniform(0.28, 0.38))), ExposureLimit("beta", draw.uniform(0.5, 1.5, 4), 0.9)
    asked = question(
        draw.normal(0.02, 0.1, (1, 4)), np.diag(draw.uniform(0.2, 1.0, 4)), held=held, risk_aversion=AVERSION,
        rules=[caps(4, 0.5), cash, beta],
    )  # fmt: skip
    return replace(asked, mandate=replace(asked.mandate, cost_rates=draw.uniform(0.05, 0.2, 4)))


def pressed(seed: int) -> Question:
    """Two risky names with impact, of which some must be bought."""
    draw = np.random.default_rng(seed)
    held = draw.uniform(0.1, 0.3, 2)
    cash = cash_at_most(2, 1 - float(held.sum()) - float(draw.uniform(0.02, 0.1)))
    asked = question(
        draw.normal(0.02, 0.1, (1, 2)), np.diag(draw.uniform(1.0, 2.0, 2)), held=held, risk_aversion=AVERSION,
        rules=[cash, ExposureLimit("beta", draw.uniform(0.5, 1.5, 2), 0.9)],
    )  # fmt: skip
    mandate = replace(asked.mandate, cost_rates=draw.uniform(0.0, 0.02, 2), impact=draw.uniform(0.3, 0.6, 2))
    return replace(asked, mandate=mandate)


@pytest.mark.parametrize("asked", [*map(crowded, (2, 4, 6)), *map(pressed, (1, 4))])
def test_the_fix_that_is_told_gives_a_plan_and_half_of_it_does_not(asked: Question) -> None:
    with pytest.raises(Infeasible, match=r"no plan: the best on paper under 'cash at most .* only loses cash") as told:
        planned(asked)
    (move,) = told.value.moves
    (one,) = move
    target, certificate = planned(loosened(asked, move))

    assert not ((target.bought > 0) & (target.sold > 0)).any()
    assert certificate.gap <= GAP_ALLOWED
    stated = float(re.findall(r"'cash at most ([\d.]+)%'", told.value.message)[0]) / 100
    assert one.limit > stated
    with pytest.raises(Infeasible, match="no plan"):
        planned(loosened(asked, [replace(one, limit=(one.limit + stated) / 2)]))


def test_a_refusal_of_one_of_many_draws_asks_nothing_further() -> None:
    with pytest.raises(Infeasible, match="`rebalance` with these numbers names the limits") as told:
        planned(crowded(2), explains=False)
    assert told.value.fixes == ()


def test_limits_that_ask_for_it_together_are_loosened_together() -> None:
    asked = question(
        np.array([[0.0]]), np.eye(1), risk_aversion=4.0, held=np.array([0.5]), cost_rate=0.2,
        rules=[cash_at_most(1, 0.45), WeightAtLeast("a", np.ones(1), 0.5)],
    )  # fmt: skip
    with pytest.raises(Infeasible, match=r"no plan: the best on paper under .* and .* buys and sells one name") as told:
        planned(asked)
    (move,) = told.value.moves

    planned(loosened(asked, move))


def test_of_a_book_the_fix_as_printed_gives_a_plan_of_whole_lots() -> None:
    mandate = {"risk_aversion": 50.0, "max_cash": 0.45}
    with pytest.raises(Infeasible, match="no plan: the best on paper under 'cash at most 45%'") as told:
        rebalance(small([5000.0], [10.0], [0.01], 50_000.0, mandate, costs=COSTS))
    assert not told.value.for_fractions
    (fix,) = told.value.fixes
    limit = float(re.fullmatch(r"raise 'cash at most 45%' to ([\d.]+)%", fix)[1]) / 100  # type: ignore[index]
    plan = rebalance(small([5000.0], [10.0], [0.01], 50_000.0, mandate | {"max_cash": limit}, costs=COSTS))

    assert plan.certificate.gap <= GAP_ALLOWED
    assert plan.final.weights[0] > 0
