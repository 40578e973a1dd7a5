"""What every tree keeps (science §3.9), on the worked tree: order, limits, monotony, scale, martingales."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest

from allocator.ambiguity.balls import AnyProbabilities, TotalVariation
from allocator.ambiguity.sets import Ambiguity
from allocator.multistage.mandate import MultistageMandate, rescale_mandate
from allocator.multistage.objectives import LinearUtility, LogUtility, PowerUtility, Utility
from allocator.multistage.solve import policy_after_first_trades, solve_policy
from allocator.multistage.value_of_waiting import mean_value_trades, perfect_foresight_loss
from allocator.rules import Participation
from allocator.rules.rows import Position
from tests.agreement import HOLDINGS, OBJECTIVE
from tests.goals import PiecewiseLinearUtility
from tests.thoroughness import some
from tests.trees import CASH_ONLY, COSTS, FREE, GRID, LOADINGS, NAMES, box, kl, revealed, tv, worked

EVERY_COST = pytest.mark.parametrize("costs", [COSTS, FREE], ids=["costs", "free"])


def everywhere(staged: MultistageMandate, ambiguity: Ambiguity) -> MultistageMandate:
    """The same set at every node, settled or not."""
    return replace(staged, ambiguities=(ambiguity,) * staged.tree.nodes)


def log_recourse(staged: MultistageMandate) -> float:
    """Log-bps that trading at the reviews is worth."""
    return (solve_policy(staged, CASH_ONLY, trading=False).objective - solve_policy(staged, CASH_ONLY).objective) * 1e4


@pytest.mark.parametrize(("share", "costs"), some(product([0.0, 0.5, 1.0], [COSTS, FREE]), 3))
def test_averages_and_never_trading_are_no_better_than_the_best_policy_nor_that_than_foresight(
    share: float, costs: tuple[float, ...]
) -> None:
    staged = worked(share, costs=costs)
    best = solve_policy(staged, CASH_ONLY).objective
    averages = policy_after_first_trades(staged, CASH_ONLY, mean_value_trades(staged, CASH_ONLY)).objective

    assert perfect_foresight_loss(staged, CASH_ONLY) <= best + 1e-7
    assert best <= averages + 1e-7
    assert best <= solve_policy(staged, CASH_ONLY, trading=False).objective + 1e-7


def test_where_prices_move_only_at_the_end_it_is_no_use_to_know_the_evidence_before_it_comes() -> None:
    """J = 0 at no cost: every path of evidence known in advance gives what deciding as it comes gives."""
    staged = worked(0.0, costs=FREE)
    tree, reach = staged.tree, staged.tree.reach()[0]
    known = 0.0
    for end in sorted(set(tree.leaf_parents.tolist())):
        path = [int(end)]
        while path[0] > 0:
            path.insert(0, int(tree.parents[path[0]]))
        certain = tree.probabilities.copy()
        certain[path] = 1.0
        alone = replace(staged, tree=_only(certain, path, staged))
        known += reach[end] * solve_policy(alone, CASH_ONLY).objective

    assert solve_policy(staged, CASH_ONLY).objective == pytest.approx(known, abs=OBJECTIVE)


def _only(certain: np.ndarray, path: list[int], staged: MultistageMandate):  # type: ignore[no-untyped-def]
    """The tree with the nodes off the path impossible."""
    tree = staged.tree
    off = np.setdiff1d(np.arange(tree.nodes), path)
    certain[off] = [0.0 if tree.parents[node] in path else 1.0 for node in off]
    if len(siblings := tree.children(path[-1])[0]):
        certain[siblings] = 0.0
    return replace(tree, probabilities=certain)


@pytest.mark.parametrize(("costs", "printed"), [(FREE, 0.430590), (COSTS, 0.418753)], ids=["free", "costs"])
def test_where_nothing_is_priced_before_the_trade_who_waits_in_cash_does_as_well_as_who_knew(
    costs: tuple[float, ...], printed: float
) -> None:
    staged = revealed(0.0, costs)

    assert -solve_policy(staged, CASH_ONLY).objective == pytest.approx(printed, abs=6e-7)
    assert -perfect_foresight_loss(staged, CASH_ONLY) == pytest.approx(printed, abs=6e-7)


def test_recourse_falls_as_more_of_the_news_is_in_the_price_before_one_can_trade() -> None:
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    found, reviewed = ([log_recourse(made(share)) for share in shares] for made in (revealed, _free))

    assert all(less < more for more, less in pairwise(found))
    assert all(less < more for more, less in pairwise(reviewed))
    assert found == pytest.approx([2581, 1886, 1218, 608, 395], abs=0.6)


def _free(share: float) -> MultistageMandate:
    return worked(share, costs=FREE)


def test_where_trading_costs_half_of_what_is_traded_nothing_is_traded_later() -> None:
    dear = worked(costs=(0.5,) * 7)
    held = Position(np.full(7, 1 / 8), 1 / 8)
    for start in (CASH_ONLY, held):
        flexible, fixed = solve_policy(dear, start), solve_policy(dear, start, trading=False)
        assert flexible.objective == pytest.approx(fixed.objective, abs=OBJECTIVE)


@pytest.mark.parametrize("set_of", [tv, kl, box])
def test_a_radius_of_nothing_is_the_belief_itself(set_of: object) -> None:
    staged = everywhere(worked(), set_of(0.0))  # type: ignore[operator]

    assert solve_policy(staged, CASH_ONLY).objective == pytest.approx(
        solve_policy(worked(), CASH_ONLY).objective, abs=OBJECTIVE
    )


@pytest.mark.parametrize("ambiguity", [TotalVariation(1.0), AnyProbabilities()])
def test_the_widest_radius_values_the_policy_at_its_worst_leaf(ambiguity: Ambiguity) -> None:
    policy = solve_policy(everywhere(worked(), ambiguity), CASH_ONLY)

    assert policy.objective == pytest.approx(policy.valued.leaf_losses.max(), abs=1e-9)
    assert -policy.objective == pytest.approx(0.115043, abs=5e-7)


@EVERY_COST
@pytest.mark.parametrize("set_of", [tv, kl, box])
def test_a_wider_radius_is_never_worth_more(set_of: object, costs: tuple[float, ...]) -> None:
    found = [
        solve_policy(worked(radius=radius, set_of=set_of, costs=costs, grid=(0, 4, 8, 15)), CASH_ONLY).objective  # type: ignore[arg-type]
        for radius in (0.0, 0.1, 0.3, 0.6, 1.0)
    ]

    assert all(narrow <= wide + OBJECTIVE for narrow, wide in pairwise(found))


@pytest.mark.parametrize("radius", [0.0, 0.5])
def test_dearer_trades_are_never_worth_more(radius: float) -> None:
    rates = [tuple(times * rate for rate in COSTS) for times in (0.0, 0.5, 1.0, 2.0, 5.0)]
    found = [solve_policy(worked(radius=radius, costs=costs), CASH_ONLY).objective for costs in rates]

    assert all(cheap <= dear + OBJECTIVE for cheap, dear in pairwise(found))


def test_an_account_a_thousand_times_as_large_decides_the_same() -> None:
    """Science's T8: today's account is 1 in the program, so that the logarithm never sees the money (F14)."""
    money, cash = np.array([30.0, 0, 20, 0, 25, 0, 5]), 20.0
    policies = [
        solve_policy(worked(radius=0.5), Position(times * money / total, times * cash / total))
        for times, total in ((1.0, 100.0), (1000.0, 100_000.0))
    ]

    assert policies[0].holdings == pytest.approx(policies[1].holdings, abs=HOLDINGS)


@pytest.mark.parametrize("utility", [LogUtility(), LinearUtility(), PowerUtility(3.0), PowerUtility(0.5)])
def test_a_node_decides_the_same_whatever_today_s_account_was(utility: Utility) -> None:
    staged = worked(utility=utility)
    whole = solve_policy(staged, CASH_ONLY)
    scaled = [solve_policy(staged.below(1, unit), whole.start_of(1)) for unit in (1.0, 1000.0)]

    assert scaled[0].holdings == pytest.approx(scaled[1].holdings, abs=HOLDINGS)


def test_goals_and_money_below_a_node_are_restated_in_its_account() -> None:
    goals = PiecewiseLinearUtility(np.ones((1, 7)), np.ones(1), np.array([[2.0, 0.5]]), np.array([[0.0, 1.5]]))
    below = worked(utility=goals).below(1, 1.25).utility
    assert isinstance(below, PiecewiseLinearUtility)
    volumes = Participation(NAMES[:1], (0,), (0.1,), (2.0,))
    mandate = replace(worked().mandates[0], linear_rules=(volumes,), impact=np.full(7, 0.1))
    rule = rescale_mandate(mandate, 1.25).linear_rules[0]
    assert isinstance(rule, Participation)

    cash, nothing = np.ones(1), np.zeros((1, 7))
    assert below.leaf_losses(nothing, 0.8 * cash) == pytest.approx(goals.leaf_losses(nothing, cash))
    assert rule.volumes == pytest.approx((1.6,))
    moved = np.full(7, 0.2)
    assert rescale_mandate(mandate, 1.25).costs(moved / 1.25, 0 * moved) * 1.25 == pytest.approx(
        mandate.costs(moved, 0 * moved)
    )


def test_a_re_solve_with_goals_at_a_node_repeats_the_policy_s_decision() -> None:
    goals = PiecewiseLinearUtility(np.ones((1, 7)), np.ones(1), np.array([[3.0, 0.7]]), np.array([[-2.0, 0.62]]))
    staged = worked(utility=goals)
    whole = solve_policy(staged, CASH_ONLY)

    for node in range(1, staged.tree.nodes):
        again = solve_policy(staged.below(node, float(whole.wealth_before[node])), whole.start_of(node))
        assert again.objective == pytest.approx(whole.valued.losses[node], abs=OBJECTIVE)


def test_prices_are_a_martingale_under_the_market_s_probabilities_when_all_news_is_priced_at_once() -> None:
    tree = worked(1.0, believed=(0.5, 0.55)).tree
    for node in range(tree.nodes):
        below, ends = tree.children(node)
        after = np.array(GRID[-1] if len(ends) else GRID[GRID.index(_month(tree.names[node])) + 1])
        mean = tree.child_probabilities(node) @ np.concatenate([tree.growth[below], tree.leaf_growth[ends]])
        carried = (1 + LOADINGS.required_return) ** ((float(after) - _month(tree.names[node])) / 12)
        assert mean == pytest.approx(carried, rel=2e-14)


def _month(name: str) -> int:
    return int(name.split()[-2])
