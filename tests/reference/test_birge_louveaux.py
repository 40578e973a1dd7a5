"""Two programs of Birge and Louveaux, Introduction to Stochastic Programming, asked of the tree as goals.

The farmer is one decision whose names are acres; financial planning is three periods of stocks and bonds. Neither has
anything to do with this tool but the tree, which is why they test it. Money is scaled to an account of 1.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.sparse as sp

from allocator.ambiguity.balls import Singleton
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.policy import Policy
from allocator.multistage.solve import policy_after_first_trades, solve_policy
from allocator.multistage.value_of_waiting import mean_value_trades, perfect_foresight_loss
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.outlook.scenario_tree import ScenarioTree
from allocator.rules import LinearRule, RuleMeasurement, RuleRows, Trade, linear_rows
from allocator.rules.rows import Position
from allocator.types import Matrix, Vector
from tests.goals import PiecewiseLinearUtility

DAY = dt.date(2026, 1, 1)

LAND = 500.0
PLANTING = np.array([150.0, 230.0, 260.0])
YIELDS = np.array([2.5, 3.0, 20.0])
WEATHER = np.array([1.2, 1.0, 0.8])
SELLING = np.array([170.0, 150.0, 36.0])
BUYING = np.array([238.0, 210.0])
NEEDS = np.array([200.0, 240.0])
QUOTA, BEYOND_QUOTA = 6000.0, 10.0
PURSE = 200_000.0
"""More than any planting costs: the farmer of the book is not short of cash."""

WEALTH, GOAL, SURPLUS, SHORTAGE = 55.0, 80.0, 1.0, 4.0
UP, DOWN = (1.25, 1.14), (1.06, 1.12)
"""Stocks and bonds."""


@dataclass(frozen=True, eq=False)
class Land(LinearRule):
    """Acres planted are at most so many: Σ h_i / (cost of an acre) ≤ acres, as a part of all of them."""

    per_acre: Vector
    acres: float
    tier: int = 0
    in_money = False
    untradable: tuple[int, ...] = ()

    def rescaled(self, wealth_before: float) -> Land:
        """Acres are no money."""
        del wealth_before
        return self

    def rows(self, instruments: int) -> RuleRows:
        """One row, whose limit is a part of the account before trading."""
        return linear_rows(
            ["land"],
            instruments,
            holdings=sp.csr_array(1 / (self.per_acre * self.acres)[None, :]),
            limit=np.ones(1),
            stated=[1.0],
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """The part of the land that is planted."""
        del outlook
        planted = float((trade.values / self.per_acre).sum()) / self.acres
        return [RuleMeasurement("land", planted, 1.0, at_most=True)]

    def with_limits(self, limits: Sequence[float]) -> Land:
        """More land."""
        return replace(self, acres=self.acres * limits[0])


def certain(names: int) -> FactorRisk:
    """No risk within a scenario."""
    return FactorRisk(np.zeros((names, 1)), np.zeros(names), "")


def mandate(names: int, *rules: LinearRule) -> Mandate:
    """Trading is free."""
    return Mandate(1.0, 0.0, Singleton(), rules, (), np.zeros(names))


def outlook(growth: Matrix, cash_growth: float, years: float) -> Outlook:
    """Scenarios of equal probability."""
    count = len(growth)
    labels, p = tuple(f"S{k}" for k in range(count)), np.full(count, 1 / count)
    return Outlook(labels, p, growth - 1, np.full(count, cash_growth - 1), certain(growth.shape[1]), years)


def farm() -> MultistageMandate:
    """A name is worth its harvest at the selling price; what the cows need and the quota are the goals' pieces."""
    growth = WEATHER[:, None] * YIELDS * SELLING / PLANTING
    third = np.full(3, 1 / 3)
    tree = ScenarioTree(
        ("now",),
        ("now",),
        (DAY,),
        np.array([-1]),
        np.ones(1),
        third[None, :],
        np.ones((1, 3)),
        np.ones(1),
        np.zeros(3, dtype=np.int64),
        np.arange(3),
        third,
        growth,
        np.ones(3),
    )
    dearer = BUYING / SELLING[:2]
    needed = NEEDS * SELLING[:2] / PURSE
    beyond = BEYOND_QUOTA / SELLING[2]
    goals = PiecewiseLinearUtility(
        np.vstack([np.eye(3), np.zeros((1, 3))]),
        np.array([0.0, 0, 0, 1]),
        np.array([[1, dearer[0]], [1, dearer[1]], [1, beyond], [1, 1]]),
        np.array(
            [
                [-needed[0], -needed[0] * dearer[0]],
                [-needed[1], -needed[1] * dearer[1]],
                [0, QUOTA * (SELLING[2] - BEYOND_QUOTA) / PURSE],
                [-1, -1],
            ]
        ),
    )
    land = Land(PLANTING / PURSE, LAND)
    return MultistageMandate(tree, (mandate(3, land),), (outlook(growth, 1.0, 1.0),), (Singleton(),), goals)


FARMER = Position(np.zeros(3), 1.0)


def profit(policy: Policy) -> float:
    """In the book's money."""
    return policy.equivalent * PURSE


def acres(money: Vector) -> Vector:
    """Of every crop."""
    planted: Vector = money * PURSE / PLANTING
    return planted


def test_the_farmer_plants_170_80_250_acres_and_expects_108390() -> None:
    policy = solve_policy(farm(), FARMER)

    assert profit(policy) == pytest.approx(108390, abs=0.05)
    assert acres(policy.holdings[0]) == pytest.approx([170, 80, 250], abs=1e-3)


def test_foresight_is_worth_7015_56_to_the_farmer() -> None:
    staged = farm()
    informed = -perfect_foresight_loss(staged, FARMER) * PURSE

    assert informed == pytest.approx(115405.56, abs=0.05)
    assert informed - profit(solve_policy(staged, FARMER)) == pytest.approx(7015.56, abs=0.05)


@pytest.mark.parametrize(("weather", "earned"), [(0, 167666.67), (1, 118600.0), (2, 59950.0)])
def test_a_farmer_who_knows_the_weather_earns(weather: int, earned: float) -> None:
    """The middle one is also EV, the problem of mean yields."""
    staged = farm()
    sure = np.eye(3)[weather]
    known = replace(staged, tree=replace(staged.tree, leaf_probabilities=sure, beliefs=sure[None, :]))

    assert -perfect_foresight_loss(known, FARMER) * PURSE == pytest.approx(earned, abs=0.05)


def test_planting_for_mean_yields_costs_the_farmer_1150() -> None:
    staged = farm()
    moves = mean_value_trades(staged, FARMER)
    averaged = policy_after_first_trades(staged, FARMER, moves)

    assert acres(moves) == pytest.approx([120, 80, 300], abs=1e-3)
    assert profit(averaged) == pytest.approx(107240, abs=0.05)
    assert profit(solve_policy(staged, FARMER)) - profit(averaged) == pytest.approx(1150, abs=0.1)


def planning() -> MultistageMandate:
    """Three periods, up or down each; cash is worth nothing a period later, so that none is held."""
    steps = np.array([UP, DOWN])
    paths = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)])
    finals = steps[paths].prod(axis=1)
    parents = np.array([-1, 0, 0, 1, 1, 2, 2])
    growth = np.vstack([np.ones((1, 2)), np.tile(steps, (3, 1))])
    periods = np.array([0, 1, 1, 2, 2, 2, 2])
    spread = np.array([np.full(8, 1 / 8), *np.kron(np.eye(2), np.full(4, 1 / 4)), *np.kron(np.eye(4), [0.5, 0.5])])
    tree = ScenarioTree(
        tuple(f"node {i}" for i in range(7)),
        ("now", *("silent",) * 6),
        tuple(DAY.replace(year=DAY.year + int(t)) for t in periods),
        parents,
        np.array([1.0, *[0.5] * 6]),
        spread,
        growth,
        np.array([1.0, *[0.0] * 6]),
        np.repeat(np.arange(3, 7), 2),
        np.arange(8),
        np.full(8, 0.5),
        np.tile(steps, (4, 1)),
        np.zeros(8),
    )
    goal = GOAL / WEALTH
    goals = PiecewiseLinearUtility(
        np.ones((1, 2)),
        np.zeros(1),
        np.array([[SURPLUS, SHORTAGE]]),
        np.array([[-SURPLUS * goal, -SHORTAGE * goal]]),
    )
    outlooks = tuple(outlook(finals, 0.0, 3.0 - t) for t in periods)
    return MultistageMandate(tree, (mandate(2),) * 7, outlooks, (Singleton(),) * 7, goals)


def test_financial_planning_is_worth_what_the_book_prints_at_every_node() -> None:
    policy = solve_policy(planning(), Position(np.zeros(2), 1.0))

    assert policy.equivalent * WEALTH == pytest.approx(-1.51408464, abs=1e-6)
    printed = [(41.479, 13.521), (65.095, 2.168), (36.743, 22.368), (83.840, 0), (0, 71.429), (0, 71.429), (64, 0)]
    assert policy.holdings * WEALTH == pytest.approx(np.array(printed), abs=1e-3)
    assert policy.cash == pytest.approx(np.zeros(7), abs=1e-6)
