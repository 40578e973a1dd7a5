"""From settings to rules: every key becomes the right rule, with its label, its tier and its shares."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.ambiguity.balls import Box, Singleton, TotalVariation
from allocator.errors import BadMandate
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import BoxError, EllipsoidError, Mandate
from allocator.outlook.outlook import build_outlook
from allocator.rules import (
    ConvexRule,
    ExposureLimit,
    Forbidden,
    LargestWeights,
    LinearRule,
    NoTrade,
    Participation,
    RatioLimit,
    ScenarioFloor,
    StressFloor,
    VolatilityLimit,
    WorstCaseFloor,
)
from allocator.rules.builder import daily_volatility, daily_volume_in_money, shock_returns
from tests.books import CASH, NAMES, book

BENCHMARK = pd.DataFrame({"instrument": [*NAMES, CASH], "weight": [0.4, 0.3, 0.2, 0.0, 0.1]})
WEIGHTS = [0.4, 0.3, 0.2, 0.0, 0.1]
TWO = {"up": [0.1, 0.2, 0.0, 0.0], "down": [-0.1, 0.0, 0.0, 0.0]}
BUCKETS = ["efficiency", "capital_intensity", "capital_intensity", "adopter"]


def made(mandate: dict[str, Any], **more: Any) -> Mandate:
    """The mandate of four names with these wishes."""
    sections = {key: more.pop(key) for key in ("groups", "shocks", "robust", "costs", "horizon") if key in more}
    return build_mandate(book({"mandate": mandate} | sections, **more))


def the_rule(mandate: Mandate, kind: type) -> Any:
    """The only rule of its kind."""
    rules: tuple[LinearRule | ConvexRule, ...] = (*mandate.linear_rules, *mandate.convex_rules)
    (found,) = (rule for rule in rules if isinstance(rule, kind))
    return found


def test_a_ratio_of_groups_and_buckets_counts_their_shares() -> None:
    wishes = {"ratios": {"barbell": {"group": "hedges", "to": "capital_intensity", "min": 0.5, "max": 2.0}}}
    found = made(
        wishes | {"tiers": {"ratios.barbell": 4}},
        groups={"hedges": {"AAA": 1.0, "BBB": 0.25}},
        exposures_columns={"bucket": BUCKETS, "capital_intensity_share": [0.1, None, 0.6, None]},
    )
    most, least = (rule for rule in found.linear_rules if isinstance(rule, RatioLimit))

    assert list(found.rows.labels) == [
        "hedges at most 2 x capital_intensity", "hedges at least 0.5 x capital_intensity",
    ]  # fmt: skip
    for rule, limit, at_most in ((most, 2.0, True), (least, 0.5, False)):
        assert (rule.limit, rule.at_most, rule.of_cash, rule.to_cash, rule.tier) == (limit, at_most, 0.0, 0.0, 4)
        np.testing.assert_array_equal(rule.of, [1.0, 0.25, 0.0, 0.0])
        np.testing.assert_array_equal(rule.to, [0.1, 1.0, 0.6, 0.0])


def test_a_ratio_of_at_least_nothing_is_no_rule() -> None:
    dry = {"group": "efficiency", "to": "adopter", "min": 0.0, "max": 5.0}
    found = made({"ratios": {"dry": dry}}, exposures_columns={"bucket": BUCKETS})

    assert found.rows.labels == ("efficiency at most 5 x adopter",)


def test_an_exposure_reads_a_column_of_either_table() -> None:
    factors = pd.DataFrame({"instrument": [*NAMES, CASH], "rates": [1.0, -2.0, 0.5, 0.0, 0.0]})
    found = made(
        {"exposures": {"beta": {"max": 0.9}, "rates": {"min": -0.1, "max": 0.2}}, "tiers": {"exposures.rates": 2}},
        factors=factors,
    )
    rules = [rule for rule in found.linear_rules if isinstance(rule, ExposureLimit)]

    assert list(found.rows.labels) == [
        "exposure beta at most 0.9", "exposure rates at most 0.2", "exposure rates at least -0.1",
    ]  # fmt: skip
    assert [rule.tier for rule in rules] == [0, 2, 2]
    np.testing.assert_array_equal(rules[0].exposures, np.ones(4))
    np.testing.assert_array_equal(rules[1].exposures, [1.0, -2.0, 0.5, 0.0])


def test_participation_is_a_part_of_each_name_s_volume_in_money() -> None:
    found = made(
        {"max_participation": 0.2, "tiers": {"max_participation": 7}},
        exposures_columns={"average_daily_volume": [5.0, 50.0, 500.0, 0.0]},
    )
    rule = the_rule(found, Participation)

    # a unit is worth 100 of an account of 5000
    assert rule.volumes == pytest.approx((0.1, 1.0, 10.0, 0.0))
    assert (rule.limits, rule.names, rule.at, rule.tier) == ((0.2,) * 4, NAMES, (0, 1, 2, 3), 7)
    assert found.rows.labels[1] == "BBB traded at most 20% of its daily volume"


def test_locked_and_forbidden_names_are_rules_that_never_give_way() -> None:
    later = {"tradable_from": [None, pd.Timestamp("2027-01-01"), None, None]}
    found = made({"locked": ["AAA", "BBB"], "forbidden": ["DDD", "CCC"]}, exposures_columns=later)
    stays = [rule for rule in found.linear_rules if isinstance(rule, NoTrade)]
    goes = the_rule(found, Forbidden)

    assert list(found.rows.labels) == [
        "BBB is not tradable yet", "AAA is locked", "DDD is forbidden", "CCC is forbidden",
    ]  # fmt: skip
    assert [rule.at for rule in stays] == [(1,), (0,)]
    assert goes.at == (3, 2)
    assert not found.rows.tier.any()


def test_every_scenario_has_the_floor_of_the_settings() -> None:
    wishes = {"min_worst_scenario_return": -0.05, "tiers": {"min_worst_scenario_return": 3}}
    found = made(wishes, returns=TWO)
    rule = the_rule(found, ScenarioFloor)

    assert (rule.scenarios, rule.limits, rule.tier) == (("up", "down"), (-0.05, -0.05), 3)
    assert list(found.rows.labels) == ["return in up at least -5%", "return in down at least -5%"]


def test_a_shock_moves_a_name_by_its_own_number_else_its_bucket_s_else_the_market() -> None:
    shock = {"market": -0.2, "buckets": {"capital_intensity": -0.5}, "instruments": {"BBB": -0.7, "DDD": 0.1}}
    held = book(
        {
            "mandate": {"max_stress_loss": {"glut": 0.25}, "tiers": {"max_stress_loss.glut": 1}},
            "shocks": {"glut": shock},
        },
        exposures_columns={"bucket": BUCKETS, "beta": [1.5, 1.5, 1.5, 1.5]},
    )
    rule = the_rule(build_mandate(held), StressFloor)

    np.testing.assert_allclose(shock_returns(held, "glut"), [-0.3, -0.7, -0.5, 0.1])
    np.testing.assert_allclose(rule.shock, [-0.3, -0.7, -0.5, 0.1])
    assert (rule.name, rule.limit, rule.tier) == ("glut", 0.25, 1)
    assert build_mandate(held).rows.labels == ("loss under glut at most 25%",)


def test_a_shock_without_a_market_moves_nobody_else_and_none_loses_more_than_all() -> None:
    shocks = {"one": {"instruments": {"CCC": -0.4}}, "crash": {"market": -0.9}}
    held = book({"shocks": shocks}, exposures_columns={"beta": [1.0, 2.0, -1.0, 0.0]})

    np.testing.assert_allclose(shock_returns(held, "one"), [0, 0, -0.4, 0])
    np.testing.assert_allclose(shock_returns(held, "crash"), [-0.9, -1.0, 0.9, 0.0])


def test_the_convex_wishes_become_convex_rules_with_their_tiers() -> None:
    wishes = {
        "max_volatility": 0.3,
        "max_tracking_error": 0.1,
        "largest": {"count": 2, "max": 0.6},
        "min_worst_case_return": -0.1,
        "min_worst_case_active_return": -0.2,
    }
    tiers = {key: i + 1 for i, key in enumerate(wishes)}
    found = made(
        wishes | {"tiers": tiers}, robust={"set": "box", "radius": 0.1}, returns=TWO, benchmark=BENCHMARK
    ).convex_rules
    volatility, error, largest, worst, active = found

    assert [rule.label for rule in found] == [
        "volatility at most 30%", "tracking error at most 10%", "the 2 largest names at most 60%",
        "adverse expected return at least -10%", "adverse expected active return at least -20%",
    ]  # fmt: skip
    assert [rule.tier for rule in found] == [1, 2, 3, 4, 5]
    assert isinstance(volatility, VolatilityLimit)
    assert isinstance(error, VolatilityLimit)
    assert isinstance(largest, LargestWeights)
    assert isinstance(worst, WorstCaseFloor)
    assert isinstance(active, WorstCaseFloor)
    assert (volatility.against, worst.against, largest.count) == (None, None, 2)
    np.testing.assert_array_equal(np.asarray(error.against), WEIGHTS[:-1])
    np.testing.assert_array_equal(np.asarray(active.against), WEIGHTS)
    assert worst.ambiguity == active.ambiguity == Box(0.1)


def test_the_floor_of_a_worst_case_holds_for_minimum_variance_too() -> None:
    wishes = {"objective": "minimum_variance", "min_worst_case_return": 0.0}
    found = made(wishes, robust={"set": "none"}, returns=TWO)

    assert (found.return_weight, found.ambiguity, the_rule(found, WorstCaseFloor).ambiguity) == (
        0.0,
        Singleton(),
        Singleton(),
    )


def test_more_largest_names_than_there_are_are_all_of_them() -> None:
    assert the_rule(made({"largest": {"count": 9, "max": 0.6}}), LargestWeights).count == 4
    assert made({"largest": {"count": 2, "max": 1.0}}).convex_rules == ()


TIERED: dict[str, tuple[dict[str, Any], str]] = {
    "max_weight": ({"max_weight": 0.3}, "AAA at most 30%"),
    "weights.BBB": ({"weights": {"BBB": {"min": 0.1}}}, "BBB at least 10%"),
    "issuers.Issuer AAA": ({"issuers": {"Issuer AAA": {"max": 0.3}}}, "issuer Issuer AAA at most 30%"),
    "max_issuer_weight": ({"max_issuer_weight": 0.3}, "issuer Issuer BBB at most 30%"),
    "buckets.efficiency": ({"buckets": {"efficiency": {"max": 0.9}}}, "bucket efficiency at most 90%"),
    "groups.some": ({"groups": {"some": {"max": 0.3}}}, "group some at most 30%"),
    "min_cash": ({"min_cash": 0.01}, "cash at least 1%"),
    "max_cash": ({"max_cash": 0.5}, "cash at most 50%"),
    "max_turnover": ({"max_turnover": 0.5}, "turnover at most 50% (sales)"),
    "min_expected_return": ({"min_expected_return": 0.01}, "expected return at least 1%"),
}


@pytest.mark.parametrize("key", TIERED)
def test_a_tier_reaches_the_rows_of_its_own_rule_and_no_other(key: str) -> None:
    wishes, label = TIERED[key]
    both = wishes | {"weights": {"CCC": {"max": 0.45}} | wishes.get("weights", {})}
    for tier in (0, 6):
        rows = made(both | ({"tiers": {key: tier}} if tier else {}), groups={"some": ["AAA"]}).rows

        assert rows.tier[rows.labels.index(label)] == tier
        assert rows.tier[rows.labels.index("CCC at most 45%")] == 0


def test_a_name_s_own_cap_has_its_own_tier_beside_the_general_cap() -> None:
    rows = made(
        {"max_weight": 0.4, "weights": {"BBB": {"max": 0.2}}, "tiers": {"max_weight": 5, "weights.BBB": 2}}
    ).rows

    assert dict(zip(rows.labels, rows.tier, strict=True)) == {
        "AAA at most 40%": 5, "BBB at most 20%": 2, "CCC at most 40%": 5, "DDD at most 40%": 5,
    }  # fmt: skip


def test_impact_costs_what_the_square_root_law_says() -> None:
    """Trading v of a name costs impact x volatility of a day x v x sqrt(v / money traded a day), by hand."""
    held = book(
        {"costs": {"impact": 0.8, "commission_bps": 10.0}, "horizon": {"months": 6}},
        exposures_columns={"average_daily_volume": [50.0, 200.0, 1000.0, 10.0], "beta": [1.0, 0.5, 2.0, 0.0]},
    )
    mandate = build_mandate(held)
    bought, sold = np.array([300.0, 0.0, 100.0, 0.0]), np.array([0.0, 1000.0, 0.0, 50.0])
    annual = np.sqrt((0.15 * np.array([1.0, 0.5, 2.0, 0.0])) ** 2 + 0.2**2)
    v = np.array([300.0, 1000.0, 100.0, 50.0])
    by_hand = 0.001 * v + 0.8 * annual / np.sqrt(252) * v * np.sqrt(v / np.array([5000.0, 20000.0, 1e5, 1000.0]))

    np.testing.assert_allclose(daily_volatility(build_outlook(held)), annual / np.sqrt(252))
    np.testing.assert_allclose(daily_volume_in_money(held), [5000, 20000, 1e5, 1000])
    np.testing.assert_allclose(mandate.costs(bought, sold, held.value), by_hand)
    np.testing.assert_allclose(mandate.costs(bought / held.value, sold / held.value) * held.value, by_hand)


def test_without_a_coefficient_there_is_no_impact() -> None:
    assert made({}, exposures_columns={"average_daily_volume": [50.0, 200.0, 1000.0, 0.0]}).impact is None


@pytest.mark.parametrize("wrong", [np.inf, np.nan, -1.0])
def test_an_impact_that_is_no_cost_is_refused(wrong: float) -> None:
    with pytest.raises(BadMandate, match="must be 0 or more, and finite"):
        replace(made({}), impact=np.array([0.1, 0.1, 0.1, wrong]))


@pytest.mark.parametrize("months", [6, 12, 24])
def test_the_error_of_returns_is_in_deviations_over_the_horizon(months: int) -> None:
    robust = {"set": "total_variation", "radius": 0.1, "return_error": "box", "return_error_size": 0.3}
    columns = {"beta": [1.0, 0.5, 2.0, 0.0]}
    boxed = made({}, robust=robust, horizon={"months": months}, exposures_columns=columns)
    round_ = made({}, robust=robust | {"return_error": "ellipsoid"}, horizon={"months": months})
    annual = np.sqrt((0.15 * np.array([1.0, 0.5, 2.0, 0.0])) ** 2 + 0.2**2)

    assert isinstance(boxed.return_error, BoxError)
    np.testing.assert_allclose(boxed.return_error.deviations, 0.3 * annual * np.sqrt(months / 12))
    assert isinstance(round_.return_error, EllipsoidError)
    assert round_.return_error.size == 0.3
    assert boxed.ambiguity == TotalVariation(0.1)
    assert made({}).return_error is None
