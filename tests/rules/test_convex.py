"""Convex rules: the formula, the tangents that every lawful direction gives, and the steepest that touches."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.sets import Ambiguity
from allocator.outlook.outlook import Outlook
from allocator.rules import ConvexRule, LargestWeights, RuleRows, Trade, VolatilityLimit, WorstCaseFloor, row_slack
from allocator.types import Vector
from tests.agreement import KEPT, OBJECTIVE
from tests.inner_maximisers import inner
from tests.problems import SETS, Question, no_cash, random_question

COUNT, SCENARIOS = 7, 4
BENCHMARK = np.array([0.1, 0.05, 0.2, 0.15, 0.1, 0.2, 0.15, 0.05])
IDS = ["none", "total variation", "box", "kl", "worst"]

RULES: dict[str, ConvexRule] = {
    "volatility": VolatilityLimit(0.2),
    "tracking error": VolatilityLimit(0.08, BENCHMARK[:-1]),
    "largest": LargestWeights(3, 0.5),
    **{f"worst case, {name}": WorstCaseFloor(0.02, set_) for name, set_ in zip(IDS, SETS, strict=True)},
    **{f"active, {name}": WorstCaseFloor(-0.02, set_, BENCHMARK) for name, set_ in zip(IDS, SETS, strict=True)},
}


def asked(seed: int = 3, *rules: ConvexRule, years: float = 1.0) -> Question:
    made = random_question(
        seed, count=COUNT, scenarios=SCENARIOS, turnover=None, ambiguity=Singleton(), risk_aversion=0.1
    )
    outlook = replace(made.outlook, years=years)
    return replace(made, outlook=outlook, mandate=replace(made.mandate, linear_rules=(), convex_rules=rules))


def random_trade(draw: np.random.Generator) -> Trade:
    """Any account after any trades, with costs, in any currency."""
    money = float(10 ** draw.uniform(0, 9))
    parts = draw.dirichlet(np.full(COUNT + 1, draw.choice([0.2, 1.0]))) * money * draw.uniform(0.95, 1)
    nothing = np.zeros(COUNT)
    return Trade(parts[:-1], float(parts[-1]), nothing, nothing, money - float(parts.sum()), money)


def random_direction(rule: ConvexRule, outlook: Outlook, draw: np.random.Generator) -> Vector:
    """A lawful one, drawn without the rule's help."""
    if isinstance(rule, VolatilityLimit):
        free = draw.normal(size=outlook.risk.loadings.shape[1] + COUNT)
        return np.asarray(free / np.linalg.norm(free) * draw.uniform() ** 0.2)
    if isinstance(rule, LargestWeights):
        return np.asarray(draw.dirichlet(np.ones(COUNT)) if draw.random() < 0.5 else draw.permutation(np.eye(COUNT))[0])
    assert isinstance(rule, WorstCaseFloor)
    p = outlook.probabilities
    toward = draw.dirichlet(np.ones(len(p)))
    for share in (1.0, 0.5, 0.1, 0.03, 0.0):
        if rule.ambiguity.excess(p + share * (toward - p), p) <= 0:
            return np.asarray(p + share * (toward - p))
    return p


def left(rows: RuleRows, trade: Trade, outlook: Outlook) -> float:
    """What the tangent leaves, in fractions of the account before."""
    return float(row_slack(rows.on(outlook), trade)[0])


def in_tangents_unit(rule: ConvexRule, trade: Trade, outlook: Outlook) -> float:
    """How far the rule is from its limit, by its own formula, in the unit of its tangent."""
    (reading,) = rule.readings(trade, outlook)
    after = trade.value / trade.value_before
    unit = {VolatilityLimit: np.sqrt(outlook.years) * after, LargestWeights: after}.get(type(rule), 1.0)
    return -reading.excess * float(unit)


@pytest.mark.parametrize("years", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("name", RULES)
def test_the_steepest_tangent_touches_the_rule(name: str, years: float) -> None:
    rule, outlook, draw = RULES[name], asked(years=years).outlook, np.random.default_rng(5)
    for _ in range(200):
        trade = random_trade(draw)
        steepest = rule.steepest(trade, outlook)

        assert rule.outside(steepest, outlook) <= 1e-12
        assert left(rule.tangent(steepest, outlook), trade, outlook) == pytest.approx(
            in_tangents_unit(rule, trade, outlook), abs=2e-9 if "kl" in name else 1e-12
        )


@pytest.mark.parametrize("name", RULES)
def test_every_lawful_tangent_lies_on_the_rule_s_side(name: str) -> None:
    """A tangent leaves at least as much as the rule itself, so it holds wherever the rule does."""
    rule, outlook, draw = RULES[name], asked().outlook, np.random.default_rng(6)
    strictly = 0
    for _ in range(300):
        trade, direction = random_trade(draw), random_direction(rule, outlook, draw)
        assert rule.outside(direction, outlook) <= 1e-12
        room = left(rule.tangent(direction, outlook), trade, outlook) - in_tangents_unit(rule, trade, outlook)
        assert room >= -(2e-9 if "kl" in name else 1e-12)
        strictly += room > 1e-6

    assert strictly > 100 or name.endswith(", none")


@pytest.mark.parametrize("name", RULES)
def test_a_direction_made_lawful_is_lawful_and_a_lawful_one_stays(name: str) -> None:
    rule, outlook, draw = RULES[name], asked().outlook, np.random.default_rng(7)
    for _ in range(200):
        fair = random_direction(rule, outlook, draw)
        wild = fair + draw.normal(size=len(fair)) * float(10 ** draw.uniform(-10, 1))
        assert rule.outside(rule.lawful(wild, outlook), outlook) <= 1e-12
        np.testing.assert_allclose(rule.lawful(fair, outlook), fair, atol=1e-12)


UNLAWFUL: dict[str, tuple[ConvexRule, Vector]] = {
    "longer than 1": (RULES["volatility"], np.full(COUNT + 3, 0.4)),
    "longer than 1 against a benchmark": (RULES["tracking error"], np.full(COUNT + 3, 0.4)),
    "more names than the count": (RULES["largest"], np.full(COUNT, 0.5)),
    "more than a whole name": (RULES["largest"], np.eye(COUNT)[0] * 1.1),
    "less than nothing of a name": (RULES["largest"], -0.1 * np.eye(COUNT)[0]),
    "not summing to 1": (RULES["worst case, worst"], np.full(SCENARIOS, 0.3)),
    "less likely than nothing": (RULES["worst case, worst"], np.array([1.2, -0.2, 0.0, 0.0])),
    "outside the belief": (RULES["worst case, none"], np.array([1.0, 0.0, 0.0, 0.0])),
    "outside total variation": (RULES["active, total variation"], np.array([0.0, 0.0, 0.0, 1.0])),
    "outside the box": (RULES["worst case, box"], np.array([0.0, 0.0, 0.0, 1.0])),
    "outside relative entropy": (RULES["active, kl"], np.array([0.0, 0.0, 0.0, 1.0])),
}


@pytest.mark.parametrize("what", UNLAWFUL)
def test_an_unlawful_direction_is_recognised(what: str) -> None:
    rule, direction = UNLAWFUL[what]

    assert rule.outside(direction, asked().outlook) > 0.05


def test_the_largest_names_are_those_of_the_heaviest_subset() -> None:
    outlook, draw = asked().outlook, np.random.default_rng(8)
    for count in range(1, COUNT + 1):
        rule = LargestWeights(count, 0.5)
        for _ in range(30):
            trade = random_trade(draw)
            subsets = itertools.combinations(trade.values / trade.value, count)
            (reading,) = rule.readings(trade, outlook)

            assert reading.measured == pytest.approx(max(map(sum, subsets)), abs=1e-14)
            assert rule.steepest(trade, outlook).sum() == count


@pytest.mark.parametrize("years", [0.5, 2.0])
def test_tracking_error_is_the_annual_volatility_of_the_difference(years: float) -> None:
    outlook, draw = asked(years=years).outlook, np.random.default_rng(9)
    covariance = outlook.risk.loadings @ outlook.risk.loadings.T + np.diag(outlook.risk.specific)
    trade = random_trade(draw)
    apart = trade.values / trade.value - BENCHMARK[:-1]
    (error,) = RULES["tracking error"].readings(trade, outlook)
    (volatility,) = RULES["volatility"].readings(trade, outlook)

    assert error.measured == pytest.approx(np.sqrt(apart @ covariance @ apart / years))
    assert volatility.measured == pytest.approx(np.sqrt(trade.weights @ covariance @ trade.weights / years))


@pytest.mark.parametrize("set_", SETS, ids=IDS)
@pytest.mark.parametrize("against", [None, BENCHMARK], ids=["absolute", "active"])
def test_a_worst_case_is_that_of_a_general_solver(set_: Ambiguity, against: Vector | None) -> None:
    outlook, draw = asked().outlook, np.random.default_rng(10)
    rule = WorstCaseFloor(0.02, set_, against)
    for _ in range(10):
        trade = random_trade(draw)
        before = trade.value_before
        gains = (outlook.returns @ trade.values + outlook.cash_returns * trade.cash + trade.value) / before - 1
        if against is not None:
            gains = gains - outlook.returns @ BENCHMARK[:-1] - outlook.cash_returns * BENCHMARK[-1]
        (reading,) = rule.readings(trade, outlook)

        assert reading.measured == pytest.approx(-inner(-gains, set_, outlook.probabilities), abs=OBJECTIVE)
        assert not reading.at_most


@pytest.mark.parametrize(("name", "label"), [
    ("volatility", "volatility at most 20%"), ("tracking error", "tracking error at most 8%"),
    ("largest", "the 3 largest names at most 50%"), ("worst case, box", "adverse expected return at least 2%"),
    ("active, kl", "adverse expected active return at least -2%"),
])  # fmt: skip
def test_a_convex_rule_is_called_the_same_everywhere(name: str, label: str) -> None:
    rule, outlook = RULES[name], asked().outlook
    trade = random_trade(np.random.default_rng(11))
    (reading,) = rule.readings(trade, outlook)
    rows = rule.tangent(rule.steepest(trade, outlook), outlook)

    assert (rule.label, reading.label, rows.labels) == (label, label, (label,))
    assert rows.stated == reading.limit
    assert rows.sense == (1.0 if reading.at_most else -1.0)


@pytest.mark.parametrize("name", RULES)
def test_an_eased_convex_rule_has_the_other_limit_and_nothing_else(name: str) -> None:
    rule, outlook, draw = RULES[name], asked(years=2.0).outlook, np.random.default_rng(12)
    trade = random_trade(draw)
    (reading,) = rule.readings(trade, outlook)
    rows = rule.tangent(rule.steepest(trade, outlook), outlook)
    step = 0.01 * float(rows.sense[0])
    eased = rule.with_limits([reading.limit + step])
    (after,) = eased.readings(trade, outlook)
    gained = left(eased.tangent(rule.steepest(trade, outlook), outlook), trade, outlook) - left(rows, trade, outlook)

    assert (after.measured, after.limit) == (reading.measured, reading.limit + step)
    per_wealth = 1.0 if isinstance(rule, WorstCaseFloor) else trade.value / trade.value_before
    assert gained == pytest.approx(0.01 * float(rows.size[0]) * per_wealth)


@pytest.mark.parametrize("name", RULES)
def test_the_optimum_runs_into_the_convex_rule_and_stops_there(name: str) -> None:
    """The limit lies halfway between what the optimum without the rule has and what can be had."""
    rule, free = RULES[name], asked(3)
    if isinstance(rule, WorstCaseFloor):
        free = replace(free, mandate=replace(free.mandate, risk_aversion=30.0))
        best = replace(free, mandate=replace(free.mandate, risk_aversion=0.0, ambiguity=rule.ambiguity))
        had = rule.readings(best.trade(best.solved().holdings), free.outlook)[0].measured
    else:
        had = 0.0
    (wished,) = rule.readings(free.trade(free.solved().holdings), free.outlook)
    limited = rule.with_limits([(wished.measured + had) / 2])
    bound = replace(free, mandate=replace(free.mandate, convex_rules=(limited,)))
    (got,) = limited.readings(bound.trade(bound.solved().holdings), bound.outlook)

    assert abs(wished.measured - had) > 0.01
    assert got.excess == pytest.approx(0, abs=KEPT)


def test_more_largest_names_than_there_are_is_a_cap_of_all_of_them() -> None:
    few = asked(3, LargestWeights(COUNT + 5, 0.5))
    trade = few.trade(few.solved().holdings)

    assert trade.weights.sum() == pytest.approx(0.5, abs=KEPT)
    assert no_cash(COUNT).readings(trade, few.outlook)[0].measured == pytest.approx(0.5, abs=KEPT)
