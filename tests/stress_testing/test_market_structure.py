"""Shocks of the market's structure: correlations, betas, spreads, what cannot be sold; several in one; by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator.book.book import Book
from allocator.mandate.builder import cost_rates
from allocator.mandate.mandate import no_trade
from allocator.outlook.outlook import build_outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.plan.rebalance import rebalance
from allocator.rules.builder import immediate_returns, shock_returns, unsold_shares
from allocator.settings.stress import ShockSection, starter_shocks
from allocator.stress_testing.shock_effects import ADDITIVE, _PricePaths, shock_stress
from allocator.stress_testing.shocked_book import apply_shock, shock_library
from tests.books import book
from tests.stress_testing.sample_plans import planned, sample

BREAK = {"correlation": 1.0, "beta_times": 1.5, "idiosyncratic_times": 2.0}


def covariance(risk: FactorRisk) -> Any:
    return risk.loadings @ risk.loadings.T + np.diag(risk.specific)


def test_correlations_go_to_one_and_leave_every_volatility() -> None:
    draw = np.random.default_rng(2)
    risk = FactorRisk(draw.standard_normal((6, 3)), draw.random(6), "")
    before, deviations = covariance(risk), np.sqrt(risk.variances)
    assert covariance(risk.stressed(correlation=1.0)) == pytest.approx(np.outer(deviations, deviations))
    assert risk.stressed(correlation=1.0).loadings.shape == (6, 1)
    halfway = covariance(risk.stressed(correlation=0.5))
    assert halfway == pytest.approx((before + np.outer(deviations, deviations)) / 2)
    assert covariance(risk.stressed(1.5, 2.0)) == pytest.approx(
        2.25 * risk.loadings @ risk.loadings.T + 4 * np.diag(risk.specific)
    )
    twice = covariance(risk.stressed(correlation=0.5).stressed(correlation=0.5))
    assert twice == pytest.approx(covariance(risk.stressed(correlation=0.75)))


def test_a_correlation_break_moves_no_price_and_the_volatility_to_its_closed_form() -> None:
    made = book({"shocks": {"it": dict(BREAK)}, "mandate": {"risk_aversion": 1.0}})
    outlook = build_outlook(made)
    after = apply_shock(made, outlook, "it", shock_library(made).shocks["it"])
    effect, added = _PricePaths.after(after).of(no_trade(made))
    assert not after.at_once.any()
    assert not after.marked_down.any()
    each = np.sqrt((1.5 * 0.15) ** 2 + (2 * 0.2) ** 2)  # all names alike, one scenario
    assert effect.volatility == pytest.approx(0.8 * each)
    risk = added[2] + added[1]  # alike for names that are, but for what each is expected to return
    assert risk[:4] == pytest.approx([risk.sum() / 4] * 4, abs=1e-13)
    assert added[2].sum() == pytest.approx(effect.expected_shortfall, abs=1e-13)


@pytest.mark.parametrize("name", ["listed", "note"])
def test_the_names_of_every_shock_add_up_to_its_totals(name: str) -> None:
    plan = planned(name)
    library = shock_library(plan.book).shocks
    assert {"correlation_break", "liquidity_dries_up", "crash"} <= set(library)
    for shock_name, shock in library.items():
        for trade in (no_trade(plan.book), plan.final):
            after = apply_shock(plan.book, plan.outlook, shock_name, shock, trade.values)
            effect, added = _PricePaths.after(after).of(trade)
            totals = [getattr(effect, figure) for figure in ADDITIVE]
            assert added.sum(axis=1) == pytest.approx(totals, abs=1e-10), shock_name


def test_the_document_has_what_each_name_adds_to_a_shock() -> None:
    plan = planned("listed")
    (effect,) = shock_stress(plan, ("crash",)).effects
    document = effect.document()
    for whose in ("current", "proposed"):
        assert document["positions"][whose]
        for figure in ADDITIVE:
            total = sum(row[figure] for row in document["positions"][whose].values())
            assert total == pytest.approx(document[whose][figure], abs=2e-8)  # the total is rounded
    assert effect.reoptimized is not None
    assert effect.reoptimized.expected_shortfall < effect.proposed.expected_shortfall
    assert effect.proposed.volatility > 1.5 * plan.after.volatility


def test_shocks_in_one_move_what_the_others_leave() -> None:
    made = book(
        {
            "shocks": {
                "crash": {"market": -0.2, "instruments": {"CCC": -0.4}},
                "glut": {"buckets": {"efficiency": -0.5}},
                "both": {"combine": ["crash", "glut"], "instruments": {"DDD": -0.1}},
                "steeper": {"combine": ["market_down_20", "break"]},
                "break": {"beta_times": 1.5, "correlation": 0.5},
                "all": {"combine": ["steeper", "both"], "correlation": 0.5},
            }
        },
        exposures_columns={"beta": [1.0, 2.0, 1.0, 0.5]},
    )
    assert shock_returns(made, "both") == pytest.approx([1 - 1, 1 - 1, 1 - 1, 1 - 1] - np.array(
        [1 - 0.8 * 0.5, 1 - 0.6 * 0.5, 1 - 0.6 * 0.5, 1 - 0.9 * 0.9 * 0.5]
    ))  # fmt: skip
    assert shock_returns(made, "steeper") == pytest.approx([-0.3, -0.6, -0.3, -0.15])  # 1.5 times beta counts too
    library = shock_library(made).shocks
    assert library["all"].correlation == pytest.approx(0.75)
    assert library["all"].beta_times == 1.5
    # its betas are of the whole: the fall of `crash` is steeper too
    assert immediate_returns(made, library["all"])[0] == pytest.approx(0.7 * 0.7 * 0.5 - 1)


def test_a_book_s_own_shock_replaces_a_starter_where_it_is_combined() -> None:
    made = book({"shocks": {"market_down_20": {"market": -0.1}, "it": {"combine": ["market_down_20"]}}})
    assert shock_returns(made, "it") == pytest.approx([-0.1] * 4)
    assert immediate_returns(made, shock_library(made).shocks["crash"]) == pytest.approx([-0.15] * 4)


def illiquid(**mandate: Any) -> Book:
    return book(
        {
            "mandate": {"max_participation": 0.5, "locked": ["DDD"], **mandate},
            "shocks": {"it": {"spread_times": 3.0, "unsold": -0.3}},
            "costs": {"commission_bps": 5.0, "spread_bps": 40.0},
        },
        exposures_columns={"average_daily_volume": [1.0, 20.0, 0.0, 100.0], "spread_bps": [100.0, np.nan, 20.0, 20.0]},
    )


def test_what_a_day_does_not_take_falls_and_the_rest_is_marked_at_its_bid() -> None:
    made = illiquid()
    held = made.quantities * made.prices
    assert unsold_shares(made, held) == pytest.approx([0.95, 0.0, 1.0, 1.0])
    assert unsold_shares(made, np.zeros(4)) == pytest.approx([0.0, 0.0, 0.0, 1.0])  # locked is locked
    shock = shock_library(made).shocks["it"]
    after = apply_shock(made, build_outlook(made), "it", shock)
    assert after.at_once == pytest.approx([-0.285, 0.0, -0.3, -0.3])
    assert after.marked_down == pytest.approx([0.01, 0.004, 0.002, 0.002])  # half of what is wider
    assert cost_rates(after.book) == pytest.approx([0.0155, 0.0065, 0.0035, 0.0035])
    effect, added = _PricePaths.after(after).of(no_trade(made))
    assert added[0] == pytest.approx(0.2 * np.array([0.715 * 0.99 - 1, -0.004, 0.7 * 0.998 - 1, 0.7 * 0.998 - 1, 0.0]))
    outlook = build_outlook(made)
    assert effect.expected_return == pytest.approx(  # by the horizon spreads are what they were
        0.2 * float((1 + after.at_once) @ (1 + outlook.returns[0])) + 0.2 * 1.02 - 1
    )


def test_what_cannot_be_sold_hangs_on_what_each_portfolio_holds() -> None:
    made = illiquid(locked=[], weights={"AAA": {"max": 0.1}}, max_participation=8.0)
    plan = rebalance(made)
    (effect,) = shock_stress(plan, ("it",)).effects
    held, kept = made.weights[0], float(plan.final.values[0] / plan.final.value_before)
    assert kept < held
    unsold = [max(share - 8 * 100 / made.value, 0.0) for share in (held, kept)]
    for whose, share, rest in zip(("current", "proposed"), (held, kept), unsold, strict=True):
        marked = (share - 0.3 * rest) * 0.99 - share
        assert effect.positions[whose][0, 0] == pytest.approx(marked, abs=1e-12)


def test_a_limit_on_stress_losses_stands_on_shocks_that_are_combined_too() -> None:
    shocks = {"a": {"market": -0.2}, "b": {"instruments": {"AAA": -0.5}}, "it": {"combine": ["a", "b"]}}
    made = book({"shocks": shocks, "mandate": {"max_stress_loss": {"it": 0.15}, "risk_aversion": 0.1}})
    plan = rebalance(made)
    assert plan.risk["after"].shocks["it"].sum() >= -0.15 - 1e-9
    assert plan.risk["after"].shocks["it"].sum() == pytest.approx(
        float(np.append(shock_returns(made, "it"), 0.0) @ np.append(plan.final.values, plan.final.cash))
        / plan.final.value_before - plan.final.costs / plan.final.value_before, abs=1e-12
    )  # fmt: skip


def test_a_book_without_risk_within_scenarios_says_why_it_has_no_correlation_break() -> None:
    made = book({"risk": {"source": "none"}})
    assert (
        shock_library(made)
        .left_out["correlation_break"]
        .endswith("changes risk within scenarios, and this book has none")
    )
    assert "liquidity_dries_up" in shock_library(made).shocks


def test_a_tree_is_reoptimised_at_the_risk_of_its_day() -> None:
    made = sample("reviewed")
    told = ShockSection(silent_months=1.0, correlation=1.0)
    after = apply_shock(made, build_outlook(made), "it", told)
    from allocator.stress_testing.shock_effects import _by_the_day, _from_the_day

    then = _by_the_day(after.book, after)
    risk, fresh = _from_the_day(after.book, then, after.outlook, told).risk, build_outlook(then).risk
    assert risk.variances == pytest.approx(fresh.variances)
    assert np.sqrt(np.outer(risk.variances, risk.variances)) == pytest.approx(covariance(risk))


def test_starters_of_the_market_s_structure_are_the_ones_that_the_pages_name() -> None:
    shocks = starter_shocks()
    assert {key: getattr(shocks["correlation_break"], key) for key in BREAK} == BREAK
    assert (shocks["liquidity_dries_up"].spread_times, shocks["liquidity_dries_up"].unsold) == (3.0, -0.3)
    assert shocks["crash"].combine == ["market_down_20", "correlation_break", "liquidity_dries_up"]
