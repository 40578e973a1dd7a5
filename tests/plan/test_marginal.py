"""Why not more: the account cancels where a name is held, and what it says is lacking is exactly what is lacking."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from allocator.ambiguity.balls import Singleton, TotalVariation
from allocator.mandate.mandate import Mandate
from allocator.optimization.verification import DualCertificate
from allocator.plan.marginal import HELD, MARGINS, MarginalValues, marginal_values, risk_contributions
from allocator.rules import Forbidden, InstrumentCaps, MinimumExpectedReturn, NoTrade, Trade
from tests.problems import SETS, Question, names, question, random_question

SEEDS = range(30)


def at_the_margin(made: Question) -> tuple[Trade, DualCertificate, MarginalValues]:
    target, prices, _ = made.certified()
    return target, prices, marginal_values(made.start, made.outlook, made.mandate, target, prices)


@functools.cache
def book(seed: int) -> Question:
    """Every set in turn, one in three with impact."""
    made = random_question(seed, count=5 + seed % 8, scenarios=2 + seed % 4, ambiguity=SETS[seed % len(SETS)])
    if seed % 3 == 0:
        impact = np.full(len(made.start.holdings), 0.01)
        made = replace(made, mandate=replace(made.mandate, impact=impact))
    return made


@functools.cache
def solved(seed: int) -> tuple[Trade, DualCertificate, MarginalValues]:
    return at_the_margin(book(seed))


def with_return(made: Question, i: int, more: float) -> Question:
    returns = made.outlook.returns.copy()
    returns[:, i] += more
    return replace(made, outlook=replace(made.outlook, returns=returns))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_account_of_what_is_held_cancels_and_of_the_rest_lacks(seed: int) -> None:
    target, _, found = solved(seed)

    assert found.reduced_cost[found.held] == pytest.approx(0, abs=1e-6)
    assert found.reduced_cost[~found.held].min(initial=0.0) >= -1e-6
    assert (found.held[:-1] == (target.values > HELD)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_price_of_trading_is_between_minus_and_plus_what_trading_costs(seed: int) -> None:
    made, (target, prices, found) = book(seed), solved(seed)
    trading = -found.parts[:-1, MARGINS.index("trading")]
    rows, priced = prices.priced(made.outlook, made.mandate)
    impact = 0.0 if made.mandate.impact is None else 1.5 * made.mandate.impact
    selling = made.mandate.cost_rates + impact * np.sqrt(target.sold)
    buying = made.mandate.cost_rates + impact * np.sqrt(target.bought)

    assert (trading <= prices.cash * buying + rows.buys.T @ priced + 1e-9).all()
    assert (trading >= -prices.cash * selling - rows.sells.T @ priced - 1e-9).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_lacking_is_just_enough_to_be_held(seed: int) -> None:
    made, (target, _, found) = book(seed), solved(seed)
    tested = [i for i in np.flatnonzero(np.isfinite(found.to_more)) if found.to_more[i] > 1e-4][:2]
    for i in tested:
        lacking = float(found.to_more[i])
        held = []
        for part in (0.98, 1.02):
            moved, _, _ = with_return(made, int(i), part * lacking).certified()
            held.append(float(moved.values[i] - target.values[i]))

        assert abs(held[0]) < 5e-6 < held[1], (i, lacking, held)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_can_be_lost_is_just_what_may_be_lost(seed: int) -> None:
    made, (target, _, found) = book(seed), solved(seed)
    tested = [i for i in np.flatnonzero(np.isfinite(found.to_less)) if found.to_less[i] > 1e-5][:2]
    for i in tested:
        spare = float(found.to_less[i])
        held = []
        for part in (0.98, 1.02):
            moved, _, _ = with_return(made, int(i), -part * spare).certified()
            held.append(float(target.values[i] - moved.values[i]))

        assert abs(held[0]) < 5e-6 < held[1], (i, spare, held)


def test_return_that_a_rule_wants_counts_twice() -> None:
    """A name lacks less return where return also mends a rule; and in minimum variance only the rule makes it count."""
    draw = np.random.default_rng(5)
    returns = np.array([[0.02, 0.08, 0.03, 0.01]])
    root = draw.normal(0, 0.2, (4, 6))
    plain = question(returns, root @ root.T + np.diag([0.01, 0.02, 0.01, 0.3]), risk_aversion=3.0)
    floor = MinimumExpectedReturn(0.045)
    floored = plain.with_rules(floor)
    least = replace(plain, mandate=Mandate(0.0, 1.0, Singleton(), (floor,), (), np.zeros(4)))
    checked = 0
    for made in (plain, floored, least):
        target, _, found = at_the_margin(made)
        for i in np.flatnonzero(~found.held[:-1]):
            lacking = float(found.to_more[i])
            below, above = (with_return(made, int(i), part * lacking).certified()[0] for part in (0.99, 1.01))
            assert below.values[i] < 1e-6 < above.values[i]
            checked += 1
        assert target.values.sum() > 0
    assert checked >= 2


def test_in_minimum_variance_without_a_rule_on_returns_no_return_would_do() -> None:
    made = question(np.array([[0.1, 0.1]]), np.diag([0.04, 0.09]), return_weight=0.0)
    _, _, found = at_the_margin(made)

    assert np.isinf(found.to_more).all()


def test_a_rule_about_the_name_alone_is_said_to_stand_in_the_way() -> None:
    made = question(
        np.array([[0.10, 0.08, 0.06, 0.09]]), risk_aversion=0.0, held=np.array([0.2, 0.1, 0.4, 0.0]),
        rules=[InstrumentCaps(names(1), (0,), (0.3,)), NoTrade(("B",), (1,)), Forbidden(("D",), (3,))],
    )  # fmt: skip
    _, _, found = at_the_margin(made)

    assert np.isinf(found.to_more[[0, 1, 3]]).all()
    assert np.isinf(found.to_less[1])


@pytest.mark.parametrize("seed", range(0, 30, 3))
def test_prices_are_the_slopes_of_the_optimum_in_every_limit(seed: int) -> None:
    """Duals against central differences (science §4.1), where they are unique."""
    made, (target, prices, _) = book(seed), solved(seed)
    rows, step = made.mandate.rows, 1e-4
    for r in np.flatnonzero(prices.rows > 1e-4)[:3]:
        if np.isnan(rows.stated[r]) or rows.labels[r].startswith("turnover"):
            continue  # one limit for two rows
        losses = []
        for sign in (1, -1):
            limits = rows.stated.copy()
            limits[r] += sign * step * rows.sense[r]
            eased = replace(made, mandate=made.mandate.with_limits(limits))
            losses.append(eased.loss(eased.certified()[0].values))
        slope = (losses[1] - losses[0]) / (2 * step)
        room = target.value if rows.wealth[r] else 1.0
        assert prices.rows[r] * room == pytest.approx(slope, rel=0.02, abs=2e-5), rows.labels[r]


def test_the_price_of_the_radius_is_the_spread_that_it_moves() -> None:
    made = random_question(4, ambiguity=TotalVariation(0.15))
    target, _, _ = made.certified()
    losses = -made.outlook.portfolio_returns(target.values, target.cash)
    q = TotalVariation(0.15).adversary(losses, made.outlook.probabilities)
    step = 1e-5
    wider, narrower = (made.with_ambiguity(TotalVariation(0.15 + sign * step)).optimum() for sign in (1, -1))
    spread = float(losses.max() - losses[q > 1e-9].min())

    assert (wider - narrower) / (2 * step) == pytest.approx(spread, rel=0.01)


@pytest.mark.parametrize("seed", range(8))
def test_contributions_add_up_to_what_they_are_parts_of(seed: int) -> None:
    made, (target, _, _) = book(seed), solved(seed)
    outlook = replace(made.outlook, years=1.25)
    q = made.mandate.ambiguity.adversary(-outlook.portfolio_returns(target.values, target.cash), outlook.probabilities)
    split = risk_contributions(outlook, target, q)
    gains = outlook.portfolio_returns(target.values, target.cash)
    within = outlook.risk.variance(target.values)
    between = outlook.variance_between(target.values, target.cash)

    assert split.within.sum() == pytest.approx(np.sqrt(within / 1.25))
    mixed = np.sqrt((within + between) / 1.25)
    assert split.mixture_within.sum() + split.mixture_between.sum() == pytest.approx(mixed)
    assert split.mixture_within.sum() == pytest.approx(within / 1.25 / mixed)
    assert split.worst_case.sum() == pytest.approx(float(q @ gains))
    assert split.expected.sum() == pytest.approx(float(outlook.probabilities @ gains))


def test_an_account_all_in_cash_has_no_risk_to_split() -> None:
    made = question(np.array([[-0.5, -0.4]]), np.diag([0.04, 0.09]))
    target, _, _ = made.certified()

    assert risk_contributions(made.outlook, target, np.ones(1)).within == pytest.approx(np.zeros(3))
