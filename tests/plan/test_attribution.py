"""Reasons add up to the gain, by every order and every motive; the path average is what makes them."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad

from allocator.ambiguity.balls import TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import Ambiguity
from allocator.errors import NotSolved
from allocator.mandate.mandate import Mandate
from allocator.mandate.return_errors import BoxError, EllipsoidError, inverse_norm_weights
from allocator.optimization.verification import DualCertificate
from allocator.plan.attribution import (
    MOTIVES,
    GainAttribution,
    attribute_trade,
    path_average_adversary,
)
from allocator.rules import InstrumentCaps, LargestWeights, MinimumExpectedReturn, Trade, WorstCaseFloor
from allocator.types import Vector
from tests.agreement import HOLDINGS, OBJECTIVE
from tests.problems import SETS, Question, names, question, random_question
from tests.thoroughness import count

BOOKS = count(120, 3)
PARTS = 6


def asked(seed: int) -> Question:
    """Every set in turn, with every kind of return error, impact and convex rule; today breaks rules more often than
    not."""
    count = 4 + seed % 13
    made = random_question(seed, count=count, scenarios=2 + seed % 5, ambiguity=SETS[seed % len(SETS)])
    mandate, kind = made.mandate, seed // len(SETS)
    if kind % 4 == 1:
        mandate = replace(mandate, return_error=EllipsoidError(0.2))
    if kind % 4 == 2:
        mandate = replace(mandate, return_error=BoxError(np.full(count, 0.01)))
    if kind % 3 == 1:
        mandate = replace(mandate, impact=np.full(count, 0.02))
    if kind % 4 == 3:
        largest, floor = LargestWeights(2, 0.6), floor_between(made)
        mandate = replace(mandate, convex_rules=(floor,) if kind % 8 == 3 else (largest,))
    if kind % 5 == 4:
        mandate = Mandate(0.0, 2.0, SETS[0], mandate.linear_rules, (), mandate.cost_rates)
    return replace(made, mandate=mandate)


def floor_between(made: Question) -> WorstCaseFloor:
    """A floor that binds: half way between what the plan has without it and the most that there is."""
    wide = TotalVariation(0.3)
    cautious = replace(made, mandate=replace(made.mandate, ambiguity=wide, risk_aversion=0.0))
    worst = []
    for asked_for in (made, cautious):
        trade = made.trade(asked_for.solved().holdings)
        gains = made.outlook.portfolio_returns(trade.values, trade.cash) + trade.value - 1
        worst.append(-wide.worst_case(-gains, made.outlook.probabilities))
    return WorstCaseFloor(sum(worst) / 2, wide)


def today(made: Question) -> Trade:
    nothing = np.zeros(len(made.start.holdings))
    return made.swapped(nothing, nothing)


def priced(made: Question, prices: DualCertificate, trade: Trade) -> float:
    """λ'g by the rules' tangents, in plain loops."""
    rows, price = prices.priced(made.outlook, made.mandate)
    before, total = trade.value_before, 0.0
    for r in np.flatnonzero(price):
        used = rows.holdings[[r]].toarray()[0] @ trade.values + rows.cash[r] * trade.cash
        used += rows.buys[[r]].toarray()[0] @ trade.bought + rows.sells[[r]].toarray()[0] @ trade.sold
        total += price[r] * ((used - rows.wealth[r] * trade.value) / before - rows.limit[r])
    return float(total)


@functools.cache
def solved(seed: int) -> tuple[Question, Trade, DualCertificate, GainAttribution]:
    made = asked(seed)
    target, prices, _ = made.certified()
    return made, target, prices, attribute_trade(made.start, made.outlook, made.mandate, target, prices)


@pytest.mark.parametrize("part", range(PARTS))
def test_orders_and_motives_add_up_to_the_gain_and_the_gain_is_never_negative(part: int) -> None:
    broken = 0
    for seed in range(part, BOOKS, PARTS):
        made, target, prices, found = solved(seed)
        before = made.mandate.loss(today(made), made.outlook) + priced(made, prices, today(made))
        after = made.mandate.loss(target, made.outlook) + priced(made, prices, target)
        broken += any(reading.excess > 0 for reading in made.mandate.readings(today(made), made.outlook))

        assert found.gain == pytest.approx(before - after, abs=1e-12), seed
        assert found.lines.sum() == pytest.approx(found.gain, abs=1e-9), seed
        assert found.motives.sum() == pytest.approx(found.gain, abs=1e-9)
        assert found.gain >= -1e-7
        assert column(found, "funding").sum() == pytest.approx(0, abs=1e-12)
    assert broken > BOOKS / PARTS / 4


def column(found: GainAttribution, motive: str) -> Vector:
    return np.asarray(found.parts[:, MOTIVES.index(motive)])


@pytest.mark.parametrize("part", range(PARTS))
def test_every_column_is_its_own_formula_at_both_ends(part: int) -> None:
    for seed in range(part, BOOKS, 2 * PARTS):
        made, target, prices, found = solved(seed)
        mandate, outlook, start = made.mandate, made.outlook, made.start
        gains = [outlook.portfolio_returns(*at) for at in ((start.holdings, start.cash), (target.values, target.cash))]
        p, weight = outlook.probabilities, mandate.return_weight
        expected = weight * float(p @ (gains[1] - gains[0]))
        worst = [weight * -mandate.ambiguity.worst_case(-gain, p) for gain in gains]
        variance = [outlook.risk.variance(start.holdings), outlook.risk.variance(target.values)]
        charge = [0.0, 0.0]
        if mandate.return_error is not None:
            charge = [mandate.return_error.charge(held, outlook.risk) for held in (start.holdings, target.values)]

        assert column(found, "expected_return").sum() == pytest.approx(expected, abs=1e-12)
        assert column(found, "robustness").sum() == pytest.approx(worst[1] - worst[0] - expected, abs=1e-10)
        assert column(found, "risk").sum() == pytest.approx(-mandate.risk_aversion * (variance[1] - variance[0]))
        assert column(found, "return_error").sum() == pytest.approx(charge[0] - charge[1], abs=1e-12)
        costs = mandate.cost_price(outlook) * (1 - target.value)
        assert column(found, "costs").sum() == pytest.approx(-costs, abs=1e-12)
        rules = priced(made, prices, today(made)) - priced(made, prices, target)
        assert column(found, "rules").sum() == pytest.approx(rules, abs=1e-12)


def test_an_order_that_is_not_given_has_no_reasons() -> None:
    _, target, _, found = solved(3)
    still = np.append(target.bought + target.sold == 0, False)

    assert (found.parts[still] == 0).all()
    assert (found.lines[~still] != 0).all()


def test_parts_that_do_not_add_up_do_not_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    made = random_question(2)
    target, prices, _ = made.certified()
    monkeypatch.setattr("allocator.plan.attribution._risk", lambda *_: np.full(len(made.start.holdings) + 1, 1e-6))

    with pytest.raises(NotSolved, match="the reasons miss the gain"):
        attribute_trade(made.start, made.outlook, made.mandate, target, prices)


def test_reasons_are_those_of_arithmetic_by_hand() -> None:
    # all in cash; A returns 20 % or -10 %, even odds, adversary .25/.75; no risk aversion, 1 % costs, A at most 50 %
    made = question(
        np.array([[0.20], [-0.05]]),
        ambiguity=TotalVariation(0.25), risk_aversion=0.0, cost_rate=0.01,
        rules=[InstrumentCaps(("A",), (0,), (0.5,))],
    )  # fmt: skip
    target, prices, _ = made.certified()
    found = attribute_trade(made.start, made.outlook, made.mandate, target, prices)

    # one unit of A: 7.5 % expected, 1.25 % under the adversary, less 1 % to buy it: the cap holds it back
    bought = 0.5 / (1 + 0.5 * 0.01)  # of what is left after costs
    assert target.bought == pytest.approx([bought], abs=HOLDINGS)
    line = dict(zip(MOTIVES, found.parts[0], strict=True))
    assert line["expected_return"] == pytest.approx(0.075 * bought, abs=HOLDINGS)
    assert line["robustness"] == pytest.approx(-0.0625 * bought, abs=HOLDINGS)
    assert line["costs"] == pytest.approx(-0.01 * bought, abs=HOLDINGS)
    # what is gained is what the rule was worth: λ'g(today) = -λ·0.5
    assert line["rules"] == pytest.approx(-0.0025 * bought, abs=OBJECTIVE)
    assert found.gain == pytest.approx(0, abs=OBJECTIVE)


def test_a_broken_rule_is_a_reason_to_trade() -> None:
    # A is the better name, and over its cap today: without the rule nobody would sell
    made = question(
        np.array([[0.10, 0.05]]), risk_aversion=0.0, held=np.array([0.8, 0.2]),
        rules=[InstrumentCaps(names(2), (0, 1), (0.5, 1.0))],
    )  # fmt: skip
    target, prices, _ = made.certified()
    found = attribute_trade(made.start, made.outlook, made.mandate, target, prices)

    assert target.values == pytest.approx([0.5, 0.5], abs=HOLDINGS)
    assert made.mandate.loss(today(made), made.outlook) < made.mandate.loss(target, made.outlook)
    assert column(found, "rules")[0] == pytest.approx(0.05 * 0.3, abs=OBJECTIVE)
    assert found.gain >= -1e-9


def test_the_adversary_at_the_targets_alone_does_not_add_up() -> None:
    """Science §4.10 with its N = 20 and radius .15: robustness reads otherwise with either end's adversary."""
    apart = []
    for seed in range(10):
        made = random_question(seed, count=20, ambiguity=TotalVariation(0.15))
        target, prices, _ = made.certified()
        outlook, start = made.outlook, made.start
        found = attribute_trade(start, outlook, made.mandate, target, prices)
        gains = [outlook.portfolio_returns(*at) for at in ((start.holdings, start.cash), (target.values, target.cash))]
        p, change = outlook.probabilities, gains[1] - gains[0]
        ends = [float((made.mandate.ambiguity.adversary(-gain, p) - p) @ change) for gain in gains]
        robustness = float(column(found, "robustness").sum())

        assert ends[1] - 1e-12 <= robustness <= ends[0] + 1e-12  # a concave worst-case return: slopes fall on the way
        apart.append(max(abs(end - robustness) for end in ends))
    assert sorted(apart)[5] > 1e-4


@pytest.mark.parametrize("ambiguity", SETS, ids=lambda a: type(a).__name__)
def test_the_averaged_adversary_is_that_of_a_fine_walk(ambiguity: Ambiguity) -> None:
    slow = isinstance(ambiguity, KullbackLeibler)
    for seed in range(5 if slow else 25):
        draw = np.random.default_rng(seed)
        p, losses = draw.dirichlet(np.ones(5)), draw.normal(0, 0.2, (2, 5))
        found = path_average_adversary(losses[0], losses[1], ambiguity, p)
        steps = (np.arange(200) + 0.5) / 200
        walked = np.mean([ambiguity.adversary((1 - t) * losses[0] + t * losses[1], p) for t in steps], axis=0)
        change = ambiguity.worst_case(losses[1], p) - ambiguity.worst_case(losses[0], p)

        assert found @ (losses[1] - losses[0]) == pytest.approx(change, abs=1e-11)
        assert found.sum() == pytest.approx(1)
        assert found == pytest.approx(walked, abs=6e-3)


def test_a_kl_ball_that_reaches_the_worst_scenario_adds_up() -> None:
    for seed in range(40):
        draw = np.random.default_rng(seed)
        p, losses = draw.dirichlet(np.ones(4)), draw.normal(0, 0.2, (2, 4))
        ball = KullbackLeibler(float(draw.uniform(0.3, 3)))
        found = path_average_adversary(losses[0], losses[1], ball, p)
        change = ball.worst_case(losses[1], p) - ball.worst_case(losses[0], p)

        assert found @ (losses[1] - losses[0]) == pytest.approx(change, abs=1e-10), seed


def test_losses_that_tie_or_do_not_move_are_no_obstacle() -> None:
    p = np.array([0.3, 0.3, 0.2, 0.2])
    tied = np.array([0.1, 0.1, 0.1, 0.1])
    for ambiguity in SETS:
        for before, after in ((tied, tied), (tied, tied + np.arange(4) / 10), (tied - np.arange(4) / 10, tied)):
            found = path_average_adversary(before, after, ambiguity, p)
            change = ambiguity.worst_case(after, p) - ambiguity.worst_case(before, p)
            assert found @ (after - before) == pytest.approx(change, abs=1e-11)
            assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize("turn", [0.0, 1e-9, 1e-4, 0.01, 0.5, 2.0, 3.1])
def test_the_average_of_a_norm_is_that_of_quadrature(turn: float) -> None:
    first, second = np.array([0.3, 0.0]), 0.5 * np.array([np.cos(turn), np.sin(turn)])

    found = inverse_norm_weights(0.3, 0.5, float(np.linalg.norm(second - first)))

    sums = [
        quad(lambda t, own=own: own(t) / np.linalg.norm((1 - t) * first + t * second), 0, 1, epsabs=1e-13, limit=200)[0]
        for own in (lambda t: 1 - t, lambda t: t)
    ]
    assert found == pytest.approx(sums, rel=1e-9)


def test_the_average_of_a_norm_from_nothing_or_to_nothing() -> None:
    assert inverse_norm_weights(0.0, 0.5, 0.5) == pytest.approx((0, 2))
    assert inverse_norm_weights(0.25, 0.0, 0.25) == pytest.approx((4, 0))
    assert inverse_norm_weights(0.0, 0.0, 0.0) == (0, 0)


def test_rules_on_returns_are_priced_with_what_the_scenarios_bring() -> None:
    made = random_question(11)
    rules = (*made.mandate.linear_rules, MinimumExpectedReturn(0.10))
    made = replace(made, mandate=replace(made.mandate, linear_rules=rules, risk_aversion=30.0))
    target, prices, _ = made.certified()
    found = attribute_trade(made.start, made.outlook, made.mandate, target, prices)

    assert prices.rows[-1] > 1e-4
    assert found.lines.sum() == pytest.approx(found.gain, abs=1e-9)
    assert found.gain > 0


def test_a_set_that_the_path_does_not_know_adds_up_too() -> None:
    class Unknown(Ambiguity):
        """Any set at all, known by nothing but its adversary."""

        def __init__(self, inner: Ambiguity) -> None:
            self.inner = inner

        def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
            return self.inner.adversary(losses, probabilities)

    for seed, inner in enumerate(SETS[1:3]):
        draw = np.random.default_rng(seed)
        p, losses = draw.dirichlet(np.ones(4)), draw.normal(0, 0.2, (2, 4))
        found = path_average_adversary(losses[0], losses[1], Unknown(inner), p)

        assert found == pytest.approx(path_average_adversary(losses[0], losses[1], inner, p), abs=1e-9)
