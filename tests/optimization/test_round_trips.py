"""Money cannot be thrown away to keep a rule: nothing is bought and sold at once, and cost never looks like calm."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.ambiguity.divergences import KullbackLeibler
from allocator.errors import Infeasible
from allocator.optimization.solve import Program
from allocator.plan.targets import solve_certified
from allocator.rules import WeightAtMost
from tests.agreement import HOLDINGS, OBJECTIVE, SHARP
from tests.problems import Question, caps, no_cash, question
from tests.thoroughness import some

RETURNS = np.array([[0.10, 0.00], [0.05, 0.08]]).T
HALF = np.array([0.5, 0.5])


def certified(asked: Question) -> Question:
    program = Program(asked.outlook, asked.mandate)
    target, _, certificate = solve_certified(program, asked.start, asked.outlook, asked.mandate)
    assert abs(certificate.gap) < SHARP * max(1.0, abs(certificate.objective))
    assert not ((target.bought > 1e-9) & (target.sold > 1e-9)).any()
    return asked


@pytest.mark.parametrize("cost_rate", [0.0, 0.0001, 0.005])
def test_caps_that_cannot_add_up_are_a_conflict_whatever_trading_costs(cost_rate: float) -> None:
    limited = WeightAtMost("cash", np.zeros(2), 0.1, cash_share=1.0)
    asked = question(RETURNS, np.eye(2) * 0.04, rules=[caps(2, 0.3), limited], cost_rate=cost_rate)

    with pytest.raises(Infeasible, match="limits conflict"):
        certified(asked)


def test_minimum_variance_never_pays_costs_to_look_calmer() -> None:
    asked = question(RETURNS, np.diag([0.04, 0.09]), return_weight=0.0, rules=[no_cash(2)], cost_rate=0.005, held=HALF)

    solution = certified(asked).solved()

    # least w'Ωw at full investment is (9, 4)/13; costs keep it short of there, never beyond
    assert 0.5 < solution.holdings[0] < 9 / 13
    assert solution.holdings.sum() == pytest.approx(1 - 0.01 * (solution.holdings[0] - 0.5), abs=1e-4)


def test_minimum_variance_without_costs_is_the_closed_form() -> None:
    asked = question(RETURNS, np.diag([0.04, 0.09]), return_weight=0.0, rules=[no_cash(2)], held=HALF)

    assert asked.solved().holdings == pytest.approx([9 / 13, 4 / 13], abs=HOLDINGS)


@pytest.mark.parametrize("aversion", [1e2, 1e4, 1e6])
def test_an_enormous_risk_aversion_is_still_proved(aversion: float) -> None:
    certified(question(RETURNS, np.diag([0.04, 0.09]), risk_aversion=aversion, held=HALF * 0.9))


@pytest.mark.parametrize("seed", some(range(40), 10))
def test_an_impossible_scenario_stays_impossible_in_a_kl_set(seed: int) -> None:
    draw = np.random.default_rng(seed)
    p = np.append(draw.dirichlet(np.ones(3)), 0.0)
    asked = question(
        draw.normal(0.05, 0.2, (4, 5)), np.eye(5) * 0.05, probabilities=p, ambiguity=KullbackLeibler(0.1),
        rules=[caps(5, 0.4)], cost_rate=0.001,
    )  # fmt: skip
    program = Program(asked.outlook, asked.mandate)

    _, prices, certificate = solve_certified(program, asked.start, asked.outlook, asked.mandate)

    assert prices.adversary[3] == 0.0
    assert abs(certificate.gap) < SHARP


def test_a_kl_radius_beyond_every_scenario_is_the_worst_of_all() -> None:
    draw = np.random.default_rng(5)
    returns = draw.normal(0.05, 0.2, (3, 4))
    wide, wider = (
        question(returns, np.eye(4) * 0.05, ambiguity=KullbackLeibler(radius), cost_rate=0.001)
        for radius in (3.0, 50.0)
    )

    assert wider.optimum() == pytest.approx(wide.optimum(), abs=OBJECTIVE)
