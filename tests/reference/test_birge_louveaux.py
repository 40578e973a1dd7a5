"""The farmer and financial planning by our tree (Birge and Louveaux, Introduction to Stochastic Programming, ch. 1).

Published values of the first stand in StochasticPrograms.jl and PySP too, of the second in RSOME and SDDP.jl (science
§6.1). Money is in units of the start, today's account being 1.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.sparse as sp

from allocator.mandate.ambiguity import Known
from allocator.mandate.mandate import Mandate
from allocator.mandate.rules import LinearRule, Reading, Rows, Trade, some_rows
from allocator.mandate.staged import Staged
from allocator.mandate.utility import PiecewiseLinear
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk import FactorRisk
from allocator.outlook.tree import Tree
from allocator.program.alternatives import by_averages, foresight, rooted
from allocator.program.compile import Start
from allocator.program.policy import Policy, policy_of
from allocator.types import Vector

CROPS = ("wheat", "corn", "sugar beets")
PLANTING, TONS = np.array([150.0, 230.0, 260.0]), np.array([2.5, 3.0, 20.0])
"""Of an acre: what planting it costs, and what an average year brings."""
YEARS = (1.2, 1.0, 0.8)
ACRES, MONEY, KILO = 500.0, 200_000.0, 1000.0
NEEDED, SOLD_AT, BOUGHT_AT = np.array([200.0, 240.0]), np.array([170.0, 150.0]), np.array([238.0, 210.0])
QUOTA, WITHIN, BEYOND = 6000.0, 36.0, 10.0


@dataclass(frozen=True, eq=False)
class Land:
    """So many acres can be planted; a name's money is what planting costs."""

    acres: float
    tier: int = 0

    def rows(self, instruments: int) -> Rows:
        label, limit = f"at most {self.acres:g} acres", np.array([self.acres / ACRES])
        left = sp.csr_array((MONEY / PLANTING / ACRES)[None, :])
        return some_rows([label], instruments, holdings=left, limit=limit, stated=[self.acres])

    def readings(self, trade: Trade, outlook: Outlook) -> list[Reading]:
        del outlook
        acres = float((trade.values / trade.value_before * MONEY / PLANTING).sum())
        return [Reading(f"at most {self.acres:g} acres", acres / ACRES, self.acres / ACRES, at_most=True)]

    def eased(self, limits: Sequence[float]) -> Land:
        return replace(self, acres=limits[0])


def outlook(names: int) -> Outlook:
    """Nothing in these two examples looks at the horizon's returns: one scenario without any."""
    risk = FactorRisk(np.zeros((names, 1)), np.zeros(names), "none")
    return Outlook(("the end",), np.ones(1), np.zeros((1, names)), np.zeros(1), risk, 1.0)


def staged(tree: Tree, utility: PiecewiseLinear, rules: tuple[LinearRule, ...]) -> Staged:
    """The same rules at every node, no costs, and every probability known."""
    names = tree.growth.shape[1]
    mandate, every = Mandate(1.0, 0.0, Known(), rules, (), np.zeros(names)), tree.nodes
    return Staged(tree, (mandate,) * every, (outlook(names),) * every, (Known(),) * every, utility)


def farm(years: tuple[float, ...] = YEARS) -> Staged:
    """Plant today; in equally probable years a crop of so many times the average is needed, sold and bought."""
    count = len(years)
    tree = Tree(
        names=("spring",),
        kinds=("now",),
        dates=(dt.date(2026, 4, 1),),
        parents=np.array([-1]),
        probabilities=np.ones(1),
        beliefs=np.ones((1, 1)),
        growth=np.ones((1, 3)),
        cash_growth=np.ones(1),
        leaf_parents=np.zeros(count, dtype=np.int64),
        leaf_scenarios=np.zeros(count, dtype=np.int64),
        leaf_probabilities=np.full(count, 1 / count),
        leaf_growth=np.outer(years, TONS * MONEY / PLANTING / KILO),  # thousands of tons
        leaf_cash_growth=np.ones(count),
    )
    grain = np.column_stack([SOLD_AT, BOUGHT_AT]) * KILO / MONEY
    beets = np.array([WITHIN, BEYOND]) * KILO / MONEY
    goals = PiecewiseLinear(
        shares=np.vstack([np.eye(3), np.zeros(3)]),
        cash_shares=np.array([0.0, 0, 0, 1]),
        slopes=np.vstack([grain, beets, [1.0, 1.0]]),
        levels=np.vstack([-grain * NEEDED[:, None] / KILO, [0, (WITHIN - BEYOND) * QUOTA / MONEY], [-1.0, -1.0]]),
    )
    return staged(tree, goals, (Land(ACRES),))


MEADOW = Start(np.zeros(3), 1.0)


def acres(holdings: Vector) -> Vector:
    return np.asarray(holdings * MONEY / PLANTING)


def profit(loss: float) -> float:
    return -loss * MONEY


def test_the_farmer_plants_and_earns_what_the_book_says() -> None:
    plan = policy_of(farm(), MEADOW)

    assert profit(plan.objective) == pytest.approx(108_390, abs=0.02)
    assert acres(plan.holdings[0]) == pytest.approx([170, 80, 250], abs=1e-3)
    assert -plan.valued.leaf_losses * MONEY == pytest.approx([167_000, 109_350, 48_820], abs=0.5)


@pytest.mark.parametrize(
    ("year", "planted", "earned"),
    [
        (1.2, (183.333333, 66.666667, 250), 167_666.666667),
        (1.0, (120, 80, 300), 118_600),
        (0.8, (100, 25, 375), 59_950),
    ],
)
def test_who_knows_the_year_plants_for_it(year: float, planted: tuple[float, ...], earned: float) -> None:
    plan = policy_of(farm((year,)), MEADOW)

    assert profit(plan.objective) == pytest.approx(earned, abs=0.02)
    assert acres(plan.holdings[0]) == pytest.approx(planted, abs=1e-3)


def test_knowing_the_year_is_worth_7015_56_and_looking_past_the_mean_1150() -> None:
    asked = farm()
    best, knowing = profit(policy_of(asked, MEADOW).objective), profit(foresight(asked, MEADOW))
    mean = by_averages(asked, MEADOW)
    of_mean = profit(rooted(asked, MEADOW, mean).objective)

    assert acres(mean) == pytest.approx([120, 80, 300], abs=1e-3)
    assert profit(policy_of(farm((1.0,)), MEADOW).objective) == pytest.approx(118_600, abs=0.02)  # EV
    assert knowing == pytest.approx(115_405.56, abs=0.02)  # WS
    assert of_mean == pytest.approx(107_240, abs=0.02)  # EEV
    assert knowing - best == pytest.approx(7015.56, abs=0.03)  # EVPI
    assert best - of_mean == pytest.approx(1150, abs=0.03)  # VSS


def test_the_mean_s_acres_may_also_be_fixed_in_the_program() -> None:
    asked = farm()
    fixed = np.array([120.0, 80, 300]) * PLANTING / MONEY

    assert profit(policy_of(asked, MEADOW, fixed=fixed).objective) == pytest.approx(107_240, abs=0.02)


WEALTH, TUITION = 55.0, 80.0
"""In thousands: what there is, and what is needed after three periods of five years."""
UP, DOWN = (1.25, 1.14), (1.06, 1.12)
"""What stocks and bonds grow to in a good and in a bad period, equally probable."""


def planning() -> Staged:
    """Seven decision nodes, named by the periods that led there: none, u, d, uu, ud, du, dd; eight leaves."""
    parents = np.array([-1, 0, 0, 1, 1, 2, 2])
    steps = np.array([UP, DOWN])
    halves = np.full(6, 0.5)
    tree = Tree(
        names=("now", "u", "d", "uu", "ud", "du", "dd"),
        kinds=("now", *("review",) * 6),
        dates=tuple(dt.date(2026 + 5 * depth, 1, 1) for depth in (0, 1, 1, 2, 2, 2, 2)),
        parents=parents,
        probabilities=np.concatenate([[1.0], halves]),
        beliefs=np.ones((7, 1)),
        growth=np.vstack([np.ones(2), np.tile(steps, (3, 1))]),
        cash_growth=np.concatenate([[1.0], np.zeros(6)]),  # there is no cash in the book's example
        leaf_parents=np.repeat(np.arange(3, 7), 2),
        leaf_scenarios=np.zeros(8, dtype=np.int64),
        leaf_probabilities=np.full(8, 0.5),
        leaf_growth=np.tile(steps, (4, 1)),
        leaf_cash_growth=np.zeros(8),
    )
    goal = TUITION / WEALTH
    surplus, shortfall = 1.0, 4.0
    utility = PiecewiseLinear(
        np.ones((1, 2)),
        np.ones(1),
        np.array([[surplus, shortfall]]),
        np.array([[-surplus * goal, -shortfall * goal]]),
    )
    return staged(tree, utility, ())


def planned() -> Policy:
    return policy_of(planning(), Start(np.zeros(2), 1.0))


def test_financial_planning_falls_short_by_what_the_book_says() -> None:
    assert -planned().objective * WEALTH == pytest.approx(-1.51408464, abs=1e-5)


@pytest.mark.parametrize(
    ("node", "stocks", "bonds"),
    [
        (0, 41.479, 13.521),
        (1, 65.095, 2.168),
        (2, 36.743, 22.368),
        (3, 83.840, 0),
        (4, 0, 71.429),
        (5, 0, 71.429),
        (6, 64, 0),
    ],
)
def test_financial_planning_holds_at_every_node_what_the_book_says(node: int, stocks: float, bonds: float) -> None:
    assert planned().holdings[node] * WEALTH == pytest.approx([stocks, bonds], abs=1.5e-3)


def test_financial_planning_ends_at_the_goal_or_above_in_all_years_but_the_worst() -> None:
    plan = planned()
    ends = (plan.staged.tree.leaf_growth * plan.holdings[plan.staged.tree.leaf_parents]).sum(axis=1) * WEALTH

    assert ends[:-1].min() == pytest.approx(TUITION, abs=1e-3)
    assert ends[-1] == pytest.approx(64 * 1.06, abs=1e-3)
    assert plan.cash == pytest.approx(np.zeros(7), abs=1e-7)
