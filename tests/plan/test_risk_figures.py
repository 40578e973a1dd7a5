"""What a portfolio may lose, in closed form: against simulation, derivatives and hand; and what names add to it."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from allocator.book.book import Book
from allocator.mandate.mandate import no_trade
from allocator.outlook.outlook import build_outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.plan.document import plan_document
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.plan.risk_figures import BEYOND, GainMixture, RiskFigures, risk_document, risk_figures
from allocator.rules import RuleMeasurement
from allocator.settings.stress import ShockSection
from allocator.stress_testing.shock_effects import shock_stress
from tests.books import book
from tests.stress_testing.sample_plans import planned

DRAWS = 1_000_000


def mixture(seed: int, names: int = 5, scenarios: int = 4, scale: float = 1.0) -> GainMixture:
    """A random one; `scale` is that of the risk within its scenarios."""
    draw = np.random.default_rng(seed)
    loadings, specific = 0.2 * scale * draw.standard_normal((names, 2)), (0.2 * scale) ** 2 * draw.random(names)
    returns = np.column_stack([draw.normal(0.05, 0.3, (scenarios, names)), np.full(scenarios, 0.02)])
    amounts = draw.dirichlet(np.ones(names + 1))
    return GainMixture.of(draw.dirichlet(np.ones(scenarios)), returns, FactorRisk(loadings, specific, ""), amounts)


@pytest.mark.parametrize("share", [1.0, 0.04])
def test_tails_and_contributions_are_those_of_a_million_draws(share: float) -> None:
    """The day of settlement is drawn, not its probability; names are drawn one by one, not their sum."""
    draw, names, p = np.random.default_rng(7), 3, np.array([0.5, 0.2, 0.3])
    means = np.array([[0.15, 0.10, 0.20], [-0.5, -0.1, 0.05], [0.05, 0.08, -0.25]])
    risk = FactorRisk(np.array([[0.2], [0.1], [0.15]]), np.array([0.03, 0.01, 0.02]), "")
    amounts = np.array([0.4, 0.3, 0.2, 0.1])
    found = GainMixture.of(p, np.column_stack([means, np.full(3, 0.02)]), risk, amounts).over(share)

    known = draw.random(DRAWS) < share
    came = share * (p @ means) + np.where(known[:, None], means[draw.choice(3, DRAWS, p=p)] - p @ means, 0.0)
    noise = draw.standard_normal((DRAWS, 1)) * risk.loadings[:, 0] + draw.standard_normal((DRAWS, names)) * np.sqrt(
        risk.specific
    )
    drawn = np.column_stack([(came + np.sqrt(share) * noise) * amounts[:3], np.full(DRAWS, share * 0.02 * 0.1)])
    gains = drawn.sum(axis=1)
    for beyond in BEYOND.values():
        tail, count = found.tail(beyond), round(beyond * DRAWS)
        exceeded = float((gains < -tail.value_at_risk).mean())
        assert exceeded == pytest.approx(beyond, abs=5 * np.sqrt(beyond * (1 - beyond) / DRAWS))
        worst = drawn[np.argpartition(gains, count)[:count]]
        error = 5 * worst.std(axis=0) / np.sqrt(count)  # twice that: its edge is drawn too
        assert tail.contributions == pytest.approx(-worst.mean(axis=0), abs=2 * float(error.max()))
        assert tail.expected_shortfall == pytest.approx(-worst.sum(axis=1).mean(), abs=2 * float(error.max()))


def test_one_scenario_has_the_quantile_and_shortfall_of_the_normal_distribution() -> None:
    one = GainMixture(np.ones(1), np.array([[0.03, 0.05]]), np.array([0.03, 0.01]))
    for level, beyond in BEYOND.items():
        tail = one.tail(beyond)
        assert tail.value_at_risk == pytest.approx(0.2 * norm.ppf(level) - 0.08, abs=1e-13)
        assert tail.expected_shortfall == pytest.approx(0.2 * norm.pdf(norm.ppf(level)) / beyond - 0.08, abs=1e-13)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6, 1e-9, 0.0])
@pytest.mark.parametrize("seed", range(5))
def test_contributions_add_up_however_little_risk_is_within_scenarios(seed: int, scale: float) -> None:
    whole = mixture(seed, names=40, scenarios=7, scale=scale)
    for one in (whole, whole.over(1 / 252), whole.over(10 / 252).after(0.003)):
        assert one.variances.sum() == pytest.approx(
            one.covariances.sum() + one.probabilities @ (one.gains - one.probabilities @ one.gains) ** 2, abs=1e-13
        )
        for beyond in (*BEYOND.values(), 0.5):
            tail = one.tail(beyond)
            assert tail.contributions.sum() == pytest.approx(tail.expected_shortfall, abs=1e-12)
            assert tail.expected_shortfall >= tail.value_at_risk - 1e-12


def test_what_a_position_adds_is_its_amount_times_the_derivative() -> None:
    """Euler's allocation, by central differences of the shortfall in each amount."""
    draw = np.random.default_rng(3)
    risk = FactorRisk(0.2 * draw.standard_normal((4, 2)), 0.02 * draw.random(4), "")
    returns, p, amounts = draw.normal(0.0, 0.3, (3, 5)), np.array([0.2, 0.5, 0.3]), draw.dirichlet(np.ones(5))

    def shortfall(held: Any) -> float:
        return GainMixture.of(p, returns, risk, held).over(0.1).tail(0.01).expected_shortfall

    step = 1e-5 * np.eye(5)
    slopes = np.array([(shortfall(amounts + one) - shortfall(amounts - one)) / 2e-5 for one in step])
    found = GainMixture.of(p, returns, risk, amounts).over(0.1).tail(0.01).contributions
    assert found == pytest.approx(amounts * slopes, abs=1e-8)


def test_alike_points_share_what_the_tail_takes_of_them() -> None:
    points = GainMixture(np.array([0.5, 0.3, 0.2]), np.array([[0.1, 0.1], [-0.3, 0.0], [0.0, -0.3]]), np.zeros(2))
    assert points.tail(0.05).contributions == pytest.approx([0.18, 0.12])
    assert points.tail(0.05).value_at_risk == pytest.approx(0.3)
    assert points.tail(0.5).value_at_risk == pytest.approx(0.3)  # at or below which there is half of the probability


def test_over_a_part_of_the_horizon_mean_and_both_variances_are_that_part() -> None:
    whole = mixture(11)
    same = whole.over(1.0)
    assert same.tail(0.01).contributions == pytest.approx(whole.tail(0.01).contributions, abs=1e-13)
    for share in (0.004, 0.3):
        part = whole.over(share)
        assert part.probabilities @ part.gains == pytest.approx(share * (whole.probabilities @ whole.gains), abs=1e-14)
        assert part.covariances == pytest.approx(share * whole.covariances)
        assert part.variances.sum() == pytest.approx(share * whole.variances.sum(), abs=1e-14)


# The figures of a plan, and of books made for it.
#


@functools.cache
def listed() -> Plan:
    return planned("listed")


def test_a_plan_s_risk_is_that_of_its_figures() -> None:
    plan = listed()
    for name, figures in (("before", plan.before), ("target", plan.targeted), ("after", plan.after)):
        risk = plan.risk[name]
        assert risk.volatility == pytest.approx(figures.volatility, abs=1e-13)
        assert risk.volatilities.sum() == pytest.approx(risk.volatility, abs=1e-13)
        assert risk.tails[None, 0.95].expected_shortfall == pytest.approx(figures.expected_shortfall, abs=1e-12)
        assert list(risk.tails) == [(day, level) for day in (1, 10, None) for level in (0.95, 0.99)]


def test_positions_of_the_document_add_up_to_its_totals() -> None:
    document = plan_document(listed())
    assert [*document["risk"]] == ["before", "target", "after"]
    for risk in document["risk"].values():
        rows = risk["positions"]
        assert sum(row["volatility"] for row in rows) == pytest.approx(risk["volatility"], abs=1e-6)
        for at, tail in enumerate(risk["tails"]):
            added = sum(row["expected_shortfall"][at] for row in rows)
            assert added == pytest.approx(tail["expected_shortfall"], abs=1e-6)
        assert sum(row["shocks"]["glut"] for row in rows) == pytest.approx(risk["shocks"]["glut"], abs=1e-6)
        assert list(risk["largest"].values()) == sorted(risk["largest"].values(), reverse=True)
    measured = next(row["measured"] for row in document["rules"] if row["rule"].startswith("loss under glut"))
    assert measured == pytest.approx(-document["risk"]["after"]["shocks"]["glut"], abs=1e-8)


def test_risk_of_the_document_has_no_more_decimals_than_are_stable_and_no_zero_a_sign() -> None:
    empty = of_holdings(book(quantity=0.0, returns={"base": [0.0] * 4, "other": [0.0] * 4}))
    texts: list[str] = []
    for risk in (risk_document(empty), plan_document(listed())["risk"]["target"]):
        json.loads(json.dumps(risk), parse_float=texts.append)

    assert [text for text in texts if round(float(text), 8) != float(text) or text == "-0.0"] == []
    assert len(set(texts)) > 20


def of_holdings(made: Book) -> RiskFigures:
    return risk_figures(made, build_outlook(made), no_trade(made), made.settings.mandate.max_participation)


def test_concentration_counts_what_is_invested_and_not_cash() -> None:
    even = of_holdings(book())
    assert even.effective_names == pytest.approx(4.0)
    assert even.largest == pytest.approx(dict.fromkeys(("AAA", "BBB", "CCC", "DDD"), 0.2))
    nothing = of_holdings(book(quantity=0.0))
    assert (nothing.effective_names, nothing.largest, nothing.volatility) == (0.0, {}, 0.0)
    assert nothing.tails[None, 0.99].value_at_risk == pytest.approx(-0.02)  # all of it earns what cash does
    assert [row["instrument"] for row in risk_document(nothing)["positions"]] == ["USD-CASH"]


def test_days_to_liquidate_are_holdings_over_the_stated_part_of_a_day() -> None:
    volumes = {"average_daily_volume": [1.0, 20.0, 100.0, 4.0]}
    made = book({"mandate": {"max_participation": 0.5}}, exposures_columns=volumes)
    found = of_holdings(made)
    assert found.liquidation == pytest.approx([20.0, 1.0, 0.2, 5.0])
    assert found.days_to_liquidate == pytest.approx(20.0)
    assert of_holdings(book(exposures_columns=volumes)).days_to_liquidate is None  # at no stated participation
    never = of_holdings(book({"mandate": {"max_participation": 0.5}}, exposures_columns={
        "average_daily_volume": [0.0, 20.0, 100.0, 4.0]
    }))  # fmt: skip
    assert never.days_to_liquidate == np.inf
    assert risk_document(never)["days_to_liquidate"] is None


def test_a_shock_costs_at_once_what_a_stress_test_says_of_it() -> None:
    """Wider spreads and what cannot be sold count; news, which a plan does not follow, is left to stress."""
    shocks = {
        "dry": {"spread_times": 3.0, "unsold": -0.3}, "wide": {"spread_times": 10.0}, "fall": {"market": -0.2},
        "all": {"combine": ["dry", "fall"], "beta_times": 1.5}, "calm": {"correlation": 1.0},
    }  # fmt: skip
    columns = {"average_daily_volume": [10.0, 20.0, 100.0, 4.0], "spread_bps": [10.0, 40.0, 80.0, 5.0]}
    settings = {"shocks": shocks, "mandate": {"max_participation": 0.5}, "costs": {"commission_bps": 3.0}}
    plan = rebalance(book(settings, exposures_columns=columns))
    effects = {effect.name: effect for effect in shock_stress(plan, (*shocks,)).effects}

    for whose, when in (("current", "before"), ("proposed", "after")):
        assert [*plan.risk[when].shocks] == ["dry", "wide", "fall", "all"]
        for name, added in plan.risk[when].shocks.items():
            assert added == pytest.approx(effects[name].positions[whose][0], abs=1e-12), name
    telling = {"market": -0.1, "scenarios": {"every": {"pass_through": 0.5}}}
    one = ShockSection.model_validate(telling)
    made = replace(listed().book, settings=listed().book.settings.model_copy(update={"shocks": {"it": one}}))
    assert of_holdings(made).shocks == {}


def test_a_span_beyond_the_horizon_is_left_out() -> None:
    made = book({"horizon": {"months": 0.25}})
    assert list(of_holdings(made).tails) == [(1, 0.95), (1, 0.99), (None, 0.95), (None, 0.99)]


def test_five_hundred_names_and_a_hundred_scenarios_add_up_too() -> None:
    whole = mixture(5, names=500, scenarios=100)
    for one in (whole, whole.over(10 / 252)):
        for beyond in BEYOND.values():
            tail = one.tail(beyond)
            assert tail.contributions.sum() == pytest.approx(tail.expected_shortfall, abs=1e-10)


@pytest.mark.parametrize(
    ("measured", "limit", "at_most", "use", "state"),
    [
        (0.108, 0.12, True, 0.9, "amber"), (0.1079, 0.12, True, 0.8991667, "green"), (0.12, 0.12, True, 1.0, "amber"),
        (0.13, 0.12, True, 1.0833333, "breach"), (-0.05, 0.12, True, 0.0, "green"),  # a gain where a loss is limited
        (0.06, 0.05, False, 0.8333333, "green"), (0.055, 0.05, False, 0.9090909, "amber"),
        (0.04, 0.05, False, 1.25, "breach"), (0.0, 0.05, False, None, "breach"),
        (-0.18, -0.20, False, 0.9, "amber"), (0.10, -0.20, False, 0.0, "green"), (-0.25, -0.2, False, 1.25, "breach"),
        (-0.2, -0.1, True, 0.5, "green"), (0.0, 0.0, True, None, "green"), (0.1, 0.0, True, None, "breach"),
        (np.inf, 2.0, True, None, "breach"),
    ],
)  # fmt: skip
def test_use_of_a_limit_is_one_at_the_limit_on_either_side(
    measured: float, limit: float, at_most: bool, use: float | None, state: str
) -> None:
    reading = RuleMeasurement("x", measured, limit, at_most)
    assert reading.use == (None if use is None else pytest.approx(use, abs=1e-6))
    assert reading.state == state


def test_the_screen_names_the_value_at_risk_and_the_effective_names() -> None:
    plan = listed()
    loss, names = plan.risk["after"].tails[10, 0.99].value_at_risk, plan.risk["after"].effective_names
    line = next(line for line in str(plan).splitlines() if line.startswith("Risk: "))
    assert line.startswith(f"Risk: VaR 99% over 10 days {loss:.1%} (today ")
    assert f"effective names {names:.1f} (" in line


def test_costs_of_trading_are_what_cash_adds_at_once() -> None:
    plan = listed()
    free = replace(plan.final, cash=plan.final.cash + plan.final.costs, costs=0.0)
    found = risk_figures(plan.book, plan.outlook, free, None)
    paid = plan.final.costs / plan.final.value_before
    for span in (1, None):
        more = plan.risk["after"].tails[span, 0.99].expected_shortfall - found.tails[span, 0.99].expected_shortfall
        assert more == pytest.approx(paid, rel=0.05)  # but for what the cash would have earned
