"""Every rule at a later node: it binds there by its own formula, and who breaks it there is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from allocator.ambiguity.balls import TotalVariation
from allocator.errors import Infeasible, NotSolved
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.policy import Policy, policy_from_trades, refuse_broken_policy
from allocator.multistage.solve import solve_policy
from allocator.rules import (
    ConvexRule,
    Forbidden,
    InstrumentCaps,
    InstrumentFloors,
    LargestWeights,
    LinearRule,
    MinimumExpectedReturn,
    NoTrade,
    Participation,
    ScenarioFloor,
    StressFloor,
    Turnover,
    VolatilityLimit,
    WeightAtLeast,
    WeightAtMost,
    WorstCaseFloor,
)
from tests.agreement import KEPT
from tests.random_trees import NAMES, SCENARIOS, random_tree
from tests.thoroughness import count, some

Rule = LinearRule | ConvexRule
ALL, GROUP = tuple(range(5)), np.array([1.0, 1, 0.5, 0, 0])
SHOCK = np.array([-0.4, -0.2, -0.1, -0.3, 0.05])
# each with a limit that does not matter: what is measured at the node without the rule is made tighter
RULES: dict[str, Rule] = {
    "caps": InstrumentCaps(NAMES, ALL, (9.0,) * 5),
    "floors": InstrumentFloors(NAMES, ALL, (0.0,) * 5),
    "group at most": WeightAtMost("group", GROUP, 9.0),
    "group at least": WeightAtLeast("group", GROUP, 0.0),
    "turnover": Turnover(9.0),
    "participation": Participation(NAMES, ALL, (9.0,) * 5, (0.5,) * 5),
    "expected return": MinimumExpectedReturn(-9.0),
    "scenario floor": ScenarioFloor(SCENARIOS, (-9.0,) * 3),
    "stress floor": StressFloor("a shock", SHOCK, 9.0),
    "volatility": VolatilityLimit(9.0),
    "tracking error": VolatilityLimit(9.0, np.full(5, 0.2)),
    "largest": LargestWeights(2, 9.0),
    "worst-case floor": WorstCaseFloor(-9.0, TotalVariation(0.2)),
}
TIGHTER = {"caps": 0.9, "group at most": 0.8, "turnover": 0.6, "participation": 0.6, "largest": 0.9}
"""Of what was measured; for the other rules a step of 1 %."""


def ruled(staged: MultistageMandate, rule: Rule, at: Sequence[int]) -> MultistageMandate:
    """One more rule at some nodes."""

    def with_it(node: int) -> object:
        mandate = staged.mandates[node]
        if node not in at:
            return mandate
        if isinstance(rule, ConvexRule):
            return replace(mandate, convex_rules=(*mandate.convex_rules, rule))
        return replace(mandate, linear_rules=(*mandate.linear_rules, rule))

    return replace(staged, mandates=tuple(map(with_it, range(staged.tree.nodes))))  # type: ignore[arg-type]


def tightened(kind: str, free: Policy, node: int) -> Rule:
    """The rule with a limit that the free policy misses at the node."""
    mine = ruled(free.staged, RULES[kind], [node])
    readings = replace(free, staged=mine).readings(node)[len(free.readings(node)) :]
    if not isinstance(RULES[kind], ConvexRule):  # its readings stand last among the linear rules'
        assert not free.staged.mandates[node].convex_rules
    if kind == "turnover":  # purchases and sales have one limit
        return Turnover(TIGHTER[kind] * max(reading.measured for reading in readings))
    worst = max(readings, key=lambda reading: reading.excess)

    def limit(measured: float, *, at_most: bool, is_worst: bool) -> float:
        if not is_worst:
            return 9.0 if at_most else (0.0 if kind == "floors" else -9.0)
        if kind in TIGHTER:
            return measured * TIGHTER[kind]
        return measured - 0.01 if at_most else measured + 0.01

    return RULES[kind].with_limits([limit(r.measured, at_most=r.at_most, is_worst=r is worst) for r in readings])


def missed(policy: Policy, node: int) -> float:
    """The most by which a rule is missed at a node, by its own formula."""
    return max(reading.missed for reading in policy.readings(node))


@pytest.mark.parametrize("kind", RULES)
def test_a_rule_of_a_later_node_binds_there_alone_and_its_breach_is_refused(kind: str) -> None:
    """Trees in which the rule can be kept; at the second review, where accounts have grown apart."""
    tried = 0
    for seed in range(30):
        staged, start = random_tree(seed)
        free, node = solve_policy(staged, start), staged.tree.nodes - 1 - seed % 2
        rule = tightened(kind, free, node)
        asked = ruled(staged, rule, [node])
        broken = policy_from_trades(asked, start, free.bought - free.sold)
        if missed(broken, node) < 1e-4:
            continue  # nothing of the kind is traded or held there
        with pytest.raises(NotSolved, match=f"'node {node}'"):
            refuse_broken_policy(broken, range(asked.tree.nodes))
        try:
            kept = solve_policy(asked, start)
        except Infeasible:
            continue
        refuse_broken_policy(kept, range(asked.tree.nodes))
        own = kept.readings(node)[5:]
        assert -1e-4 <= max(reading.missed for reading in own) <= KEPT, "it binds"
        assert kept.objective >= free.objective - 1e-7
        tried += 1
        if tried == count(3, 3):
            return
    pytest.fail(f"{kind} could be kept in {tried} trees only")


def test_rules_that_cannot_hold_are_said_to_be_so_where_the_cones_of_the_utility_hide_it_from_the_solver() -> None:
    """Power utility under KL: Clarabel fails, within 5 points of what can be kept, without a word on why."""
    staged, start = random_tree(1)
    asked = ruled(staged, MinimumExpectedReturn(0.19), [staged.tree.nodes - 2])

    with pytest.raises(Infeasible):
        solve_policy(asked, start)


def test_a_name_that_is_not_tradable_yet_at_one_date_is_traded_at_the_others() -> None:
    for seed in range(6):
        staged, start = random_tree(seed)
        first = [int(node) for node in staged.tree.children(0)[0]]
        free = solve_policy(staged, start)
        asked = ruled(staged, NoTrade(NAMES, ALL), first)
        kept = solve_policy(asked, start)
        traded = kept.bought + kept.sold

        assert traded[first].max() <= KEPT
        assert traded[0].max() > 1e-3
        assert traded[first[-1] + 1 :].max() > 1e-3
        with pytest.raises(NotSolved, match="is locked"):
            refuse_broken_policy(policy_from_trades(asked, start, free.bought - free.sold), first)


def test_a_name_that_is_forbidden_at_a_later_date_is_gone_by_then() -> None:
    staged, start = random_tree(3)
    asked = ruled(staged, Forbidden(NAMES[:2], (0, 1)), [staged.tree.nodes - 1])

    assert solve_policy(asked, start).holdings[-1, :2].max() <= KEPT


def test_a_day_s_volume_is_money_and_turnover_a_part_of_the_node_s_account() -> None:
    """An account that has grown trades no more of a name's volume, but turns over more money."""
    for seed in range(count(20, 4)):
        staged, start = random_tree(seed)
        every = range(staged.tree.nodes)
        volume = solve_policy(ruled(staged, Participation(NAMES, ALL, (0.1,) * 5, (0.5,) * 5), every), start)
        turned = solve_policy(ruled(staged, Turnover(0.15), every), start)

        assert (volume.bought + volume.sold).max() <= 0.05 + 1e-7
        assert (turned.bought.sum(axis=1) <= 0.15 * turned.wealth_before + 1e-7).all()
        assert (turned.sold.sum(axis=1) <= 0.15 * turned.wealth_before + 1e-7).all()


@pytest.mark.parametrize("seed", some(range(40), 3))
def test_every_rule_holds_at_every_node_of_a_random_tree(seed: int) -> None:
    """Two rules of later nodes at once, the trades with impact in half of them; money at each node adds up."""
    staged, start = random_tree(seed, impact=seed % 2 == 1)
    free, kinds = solve_policy(staged, start), list(RULES)
    asked = staged
    for turn in range(2):
        node = 1 + (seed + 3 * turn) % (staged.tree.nodes - 1)
        asked = ruled(asked, tightened(kinds[(seed + 5 * turn) % len(kinds)], free, node), [node])
    try:
        kept = solve_policy(asked, start)
    except Infeasible:
        kept = free  # the rules may be too much together: then only the caps are asked
    for node in range(kept.staged.tree.nodes):
        trade, mandate = kept.trade(node), kept.staged.mandates[node]
        paid = mandate.costs(kept.bought[node], kept.sold[node]).sum() / kept.wealth_before[node]
        assert missed(kept, node) <= KEPT
        assert trade.costs == pytest.approx(paid, abs=1e-9)
        assert trade.cash >= -1e-7
        assert kept.holdings[node].min() >= 0
