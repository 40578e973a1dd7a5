"""The efficiency model against its limits over the whole parameter range, and against two printed tables."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.outlook.efficiency_model import (
    DRIVERS,
    Loadings,
    Market,
    ModelScenarios,
    Technique,
    driver_attribution,
    market_quantities,
    scenario_returns,
    value_multipliers,
)

EVERYWHERE = settings(derandomize=True, max_examples=50, deadline=None)
NOTE = Technique()
WORLDS = ModelScenarios(  # science §1.5: generalizable or proprietary, Jevons or compression
    replicability=np.array([1, 1, 0.1, 0.1]),
    pass_through=np.array([0.85, 1.0, 0.35, 0.6]),
    usage_elasticity=np.array([1.9, 0.6, 1.9, 0.6]),
    training_elasticity=np.array([0.8, 0.3, 0.9, 0.7]),
    multiple_compression=np.array([0.05, 0.45, 0.05, 0.25]),
    capacity=np.ones(4),
)
ROWS = {  # training, inference, capacity, application, owner, gross margin, ℓ, K, k, application elasticity
    "META": (-0.10, 0.25, 0, 0.15, 1, 0.6, 0.1, 0.06, 0.09, 1.0),
    "EFFLAB": (-0.15, 0.95, 0, 0, 0.6, 0.5, 0.6, 0, 0.18, 0.0),
    "OPENAI": (-0.35, 1.25, 0, 0, 0, 0.5, 1, 0.25, 0.18, 0.0),
    "SPX_XAI": (-0.05, 0.35, 0.45, 0, 0, 0.5, 1, 0.2, 0.15, 0.0),
    "GPU": (0.45, 0, 0.45, 0, 0, 1.0, 0.5, 0, 0.11, 0.0),
    "CLOUD": (0.20, 0, 0.40, 0.10, 0, 1.0, 0.3, 0.15, 0.10, 1.0),
    "APPS": (0, 0, 0, 0.9, 0, 1.0, 0.1, 0, 0.10, 1.5),
    "CASH": (0, 0, 0, 0, 0, 1.0, 0, 0, 0.04, 0.0),
}


def loadings(rows: Any) -> Loadings:
    a = np.array(list(rows), dtype=float)
    count = len(a)
    return Loadings(
        *a[:, :4].T, 1 - a[:, :4].sum(axis=1), *a[:, 4:9].T,
        token_share=np.full(count, 0.2), passed_on=np.full(count, 0.5), application_margin=np.full(count, 0.7),
        application_elasticity=a[:, 9],
    )  # fmt: skip


NAMES = loadings(ROWS.values())


def one(**given: float) -> ModelScenarios:
    """A single scenario: everything replicable, passed on and spent again unless said otherwise."""
    base = {"replicability": 1.0, "pass_through": 1.0, "usage_elasticity": 1.0, "training_elasticity": 1.0,
            "multiple_compression": 0.0, "capacity": 1.0}  # fmt: skip
    return ModelScenarios(**{name: np.array([value]) for name, value in (base | given).items()})


def producer(**given: float) -> Loadings:
    """A pure seller of inference."""
    base = dict.fromkeys((field.name for field in fields(Loadings)), 0.0)
    base |= {"inference": 1.0, "gross_margin": 0.5, "application_margin": 1.0}
    return Loadings(**{name: np.array([value]) for name, value in (base | given).items()})


shares = st.floats(0, 1)
elasticities = st.floats(0, 10)
years = st.floats(0.05, 5)
techniques = st.builds(
    Technique,
    training_reduction=st.floats(1, 1e3), token_reduction=st.floats(1, 1e3), adoption_years=st.floats(0.05, 50),
    training_share=shares, owner_share=shares, share_sensitivity=st.floats(0, 10), rent_elasticity=st.floats(0, 10),
    rent_low=st.floats(0.05, 1), rent_high=st.floats(1, 10), salvage=shares,
)  # fmt: skip
scenarios = st.builds(
    one,
    replicability=shares, pass_through=st.floats(0, 3), usage_elasticity=elasticities,
    training_elasticity=st.floats(0, 5), multiple_compression=st.floats(-3, 3), capacity=st.floats(1e-3, 100),
)  # fmt: skip
signed = st.floats(-1, 1.5)
instruments = st.tuples(
    signed, signed, signed, signed, shares, st.floats(0.2, 1), st.floats(-1, 1.5), shares, st.floats(-0.05, 0.3),
    st.floats(0, 3),
).map(lambda row: loadings([row]))  # fmt: skip


def only(m: Market, name: str) -> float:
    return float(getattr(m, name)[0])


# Nothing changes


@EVERYWHERE
@given(scenarios, techniques, instruments, years)
def test_without_a_technique_every_instrument_keeps_its_value(
    scenario: ModelScenarios, technique: Technique, names: Loadings, horizon: float
) -> None:
    technique = replace(technique, training_reduction=1.0, token_reduction=1.0)
    scenario = replace(scenario, capacity=np.ones(1), multiple_compression=np.zeros(1))

    values = value_multipliers(market_quantities(scenario, technique, horizon), names, technique)

    assert values == pytest.approx(1, abs=1e-12)
    assert scenario_returns(values, names, np.ones(1), horizon)[0] == pytest.approx(
        (1 + names.required_return) ** horizon - 1, abs=1e-12
    )


@EVERYWHERE
@given(scenarios, techniques, instruments)
def test_before_anybody_adopts_every_instrument_keeps_its_value(
    scenario: ModelScenarios, technique: Technique, names: Loadings
) -> None:
    scenario = replace(scenario, capacity=np.ones(1), multiple_compression=np.zeros(1))

    state = market_quantities(scenario, technique, 0.0)

    assert only(state, "diffusion") == 0
    assert value_multipliers(state, names, technique) == pytest.approx(1, abs=1e-12)


@EVERYWHERE
@given(techniques, years, shares, st.floats(0.2, 1))
def test_when_all_is_passed_on_and_spent_again_only_adopters_gain(
    technique: Technique, horizon: float, owner: float, margin: float
) -> None:
    state = market_quantities(one(), technique, horizon)

    for name in ("revenue", "tokens", "training", "demand", "rent"):
        assert only(state, name) == pytest.approx(1, abs=1e-12)
    assert only(state, "stranded") == pytest.approx(0, abs=1e-12)
    assert value_multipliers(state, producer(owner=owner, gross_margin=margin), technique) == pytest.approx(1, abs=1e-9)


def test_an_adopter_then_gains_what_the_producers_give_away() -> None:
    gained = dict(zip(ROWS, value_multipliers(market_quantities(one(), NOTE, 1e9), NAMES, NOTE)[0], strict=True))

    assert gained["APPS"] == pytest.approx(1.181, abs=5e-4)
    assert gained["META"] > 1  # adopters in part
    assert gained["CLOUD"] > 1
    for name in ("EFFLAB", "OPENAI", "SPX_XAI", "GPU", "CASH"):
        assert gained[name] == pytest.approx(1, abs=1e-12)


# Edges between growth and decline


@EVERYWHERE
@given(scenarios, techniques, years)
def test_revenue_is_constant_at_unit_usage_elasticity(
    scenario: ModelScenarios, technique: Technique, horizon: float
) -> None:
    state = market_quantities(replace(scenario, usage_elasticity=np.ones(1)), technique, horizon)

    assert only(state, "revenue") == pytest.approx(1, abs=1e-12)


@EVERYWHERE
@given(scenarios, techniques, years, st.floats(0.1, 1.5))
def test_token_demand_is_constant_where_usage_grows_as_fast_as_the_technique_saves(
    scenario: ModelScenarios, technique: Technique, horizon: float, passed: float
) -> None:
    served = technique.owner_share + (1 - technique.owner_share) * scenario.replicability
    scenario = replace(scenario, pass_through=np.array([passed]), usage_elasticity=served / passed)

    assert only(market_quantities(scenario, technique, horizon), "tokens") == pytest.approx(1, abs=1e-12)


@EVERYWHERE
@given(scenarios, techniques, years)
def test_without_a_price_cut_usage_stands_and_compute_falls_by_the_saving(
    scenario: ModelScenarios, technique: Technique, horizon: float
) -> None:
    scenario = replace(scenario, pass_through=np.zeros(1), replicability=np.ones(1))

    state = market_quantities(scenario, technique, horizon)

    assert (only(state, "price"), only(state, "usage")) == (1, 1)
    assert only(state, "tokens") == pytest.approx(technique.token_reduction ** -only(state, "diffusion"), abs=1e-12)


def test_without_a_price_cut_compute_falls_to_the_number_printed() -> None:
    assert only(market_quantities(one(pass_through=0.0), NOTE, 1e9), "tokens") == pytest.approx(0.3704, abs=5e-5)


@EVERYWHERE
@given(techniques, years, elasticities, st.floats(0.2, 1))
def test_an_adopter_that_passes_everything_on_keeps_its_margin(
    technique: Technique, horizon: float, elasticity: float, margin: float
) -> None:
    technique = replace(technique, rent_elasticity=0.0, least_value=1e-12)  # rent stays 1

    state = market_quantities(one(usage_elasticity=elasticity), technique, horizon)

    found = value_multipliers(state, producer(gross_margin=margin), technique)[0, 0]
    assert found == pytest.approx(only(state, "revenue"), rel=1e-12)


@pytest.mark.parametrize(("margin", "printed"), [(0.4, 1.944), (0.5, 1.630), (0.6, 1.420)])
def test_an_owner_that_cuts_no_price_keeps_the_whole_saving(margin: float, printed: float) -> None:
    technique = replace(NOTE, rent_elasticity=0.0)
    state = market_quantities(one(pass_through=0.0), technique, 1e9)

    found = value_multipliers(state, producer(owner=1.0, gross_margin=margin), technique)[0, 0]

    assert found == pytest.approx((1 - (1 - margin) / 2.7) / margin, abs=1e-12)
    assert found == pytest.approx(printed, abs=6e-4)


@pytest.mark.parametrize(("margin", "printed"), [(0.4, 0.514), (0.5, 0.698), (0.6, 0.923)])
def test_a_rival_without_the_technique_earns_nothing_at_the_zero_profit_price(margin: float, printed: float) -> None:
    passed = -np.log(1 - margin) / np.log(2.7)
    technique = replace(NOTE, rent_elasticity=0.0, least_value=1e-12, share_sensitivity=0.0)
    rival = producer(gross_margin=margin, inference=1.0)

    def profit(theta: float) -> float:
        state = market_quantities(one(pass_through=theta, replicability=0.0), technique, 1e9)
        return float(value_multipliers(state, replace(rival, other=np.array([1.0])), technique)[0, 0]) - 1

    assert passed == pytest.approx(printed, abs=6e-4)
    assert profit(passed) == pytest.approx(0, abs=1e-12)
    assert profit(passed - 0.01) > 0
    assert profit(passed + 0.01) == pytest.approx(0, abs=1e-12)  # and stops selling rather than lose


@pytest.mark.parametrize(
    ("training_elasticity", "printed"), [(0.0, 1.556), (0.3, 1.507), (0.5, 1.447), (0.8, 1.266), (1.0, 1.0)]
)
def test_total_compute_breaks_even_where_the_closed_form_says(training_elasticity: float, printed: float) -> None:
    w = NOTE.training_share
    edge = 1 + np.log((1 - w * 10 ** (training_elasticity - 1)) / (1 - w)) / np.log(2.7)

    state = market_quantities(one(usage_elasticity=edge, training_elasticity=training_elasticity), NOTE, 1e9)

    assert edge == pytest.approx(printed, abs=6e-4)
    assert only(state, "demand") == pytest.approx(1, abs=1e-12)


# Slopes


@EVERYWHERE
@given(scenarios, techniques, years, st.floats(0.01, 1))
def test_revenue_tokens_and_training_grow_by_their_closed_form_slopes(
    scenario: ModelScenarios, technique: Technique, horizon: float, step: float
) -> None:
    more = replace(
        scenario,
        usage_elasticity=scenario.usage_elasticity + step,
        training_elasticity=scenario.training_elasticity + step,
    )
    low, high = market_quantities(scenario, technique, horizon), market_quantities(more, technique, horizon)
    a, theta, served = only(low, "diffusion"), float(scenario.pass_through[0]), only(low, "served")

    def growth(name: str) -> float:
        return float(np.log(only(high, name) / only(low, name)))

    assert growth("revenue") == pytest.approx(step * a * theta * np.log(technique.token_reduction), abs=1e-9)
    assert growth("tokens") == pytest.approx(step * a * theta * np.log(technique.token_reduction), abs=1e-9)
    assert growth("training") == pytest.approx(step * a * served * np.log(technique.training_reduction), abs=1e-9)
    assert only(high, "demand") >= only(low, "demand")
    assert only(high, "rent") >= only(low, "rent")


@EVERYWHERE
@given(scenarios, techniques, years)
def test_capacity_is_stranded_only_while_it_is_not_fully_used(
    scenario: ModelScenarios, technique: Technique, horizon: float
) -> None:
    state = market_quantities(scenario, replace(technique, salvage=0.4), horizon)
    used = only(state, "demand") / float(scenario.capacity[0])

    assert (only(state, "stranded") == 0) == (used >= 1)
    assert technique.rent_low <= only(state, "rent") <= technique.rent_high


@EVERYWHERE
@given(scenarios, techniques, years)
def test_market_shares_add_up_and_stand_still_when_all_can_adopt(
    scenario: ModelScenarios, technique: Technique, horizon: float
) -> None:
    state = market_quantities(scenario, technique, horizon)
    equal = market_quantities(replace(scenario, replicability=np.ones(1)), technique, horizon)
    s = technique.owner_share

    assert s * only(state, "owner_share") + (1 - s) * only(state, "rival_share") == pytest.approx(1, abs=1e-12)
    assert only(state, "owner_share") >= only(state, "rival_share")
    assert (only(equal, "owner_share"), only(equal, "rival_share")) == pytest.approx((1, 1), abs=1e-15)


# Where a return comes from, and what it is anchored to


@EVERYWHERE
@given(scenarios, techniques, instruments, years)
def test_the_drivers_of_a_value_add_up_to_it(
    scenario: ModelScenarios, technique: Technique, names: Loadings, horizon: float
) -> None:
    state = market_quantities(scenario, technique, horizon)
    values = value_multipliers(state, names, technique)

    parts = driver_attribution(state, names, technique)

    assert list(parts) == [driver.name for driver in DRIVERS]
    # parts of opposite sign may be many times the value that they add up to: digits are lost to the largest of them
    largest = max(1.0, *(float(np.abs(part).max()) for part in parts.values()))
    assert sum(parts.values()) == pytest.approx(values - 1, rel=1e-12, abs=1e-12 * largest)


def test_a_driver_that_an_instrument_does_not_hang_on_adds_nothing() -> None:
    parts = driver_attribution(market_quantities(WORLDS, NOTE, 1.0), NAMES, NOTE)
    at = {name: position for position, name in enumerate(ROWS)}

    assert max(np.abs(part[:, at["CASH"]]).max() for part in parts.values()) == 0
    for driver in ("price", "share shift", "stranded capex"):
        assert np.abs(parts[driver][:, at["GPU"]]).max() == 0
    assert (parts["training demand"][:, at["GPU"]] < 0).all()
    assert (parts["training demand"][:, at["OPENAI"]] > 0).all()
    assert (parts["price"][:, at["APPS"]] > 0).all()


@pytest.mark.parametrize(("capacity", "moving"), [(0.8, {"rent"}), (1.3, {"rent", "stranded capex"})])
def test_more_or_less_capacity_than_planned_moves_only_what_supply_moves(capacity: float, moving: set[str]) -> None:
    technique = replace(NOTE, training_reduction=1.0, token_reduction=1.0)
    state = market_quantities(one(capacity=capacity), technique, 1.0)

    parts = driver_attribution(state, NAMES, technique)

    seen = {driver for driver, part in parts.items() if np.abs(part).max() > 1e-12}
    assert seen == moving
    assert np.abs(sum(parts.values()) - (value_multipliers(state, NAMES, technique) - 1)).max() < 1e-12


@EVERYWHERE
@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4), techniques, st.lists(instruments, min_size=1), years)
def test_under_the_markets_own_probabilities_every_name_returns_what_it_requires(
    weights: list[float], technique: Technique, held: list[Loadings], horizon: float
) -> None:
    names = Loadings(*(np.concatenate([getattr(i, field.name) for i in held]) for field in fields(Loadings)))
    p = np.array(weights) / sum(weights)
    values = value_multipliers(market_quantities(WORLDS, technique, horizon), names, technique)

    expected = p @ scenario_returns(values, names, p @ values, horizon)

    required = (1 + names.required_return) ** horizon
    assert np.abs((expected + 1) / required - 1).max() < 1e-15


# Two printed tables (science §1.5)


def assert_printed(market: Market, printed: dict[str, list[float]]) -> None:
    """Quantities of the market, scenario by scenario, in the digits of a page."""
    assert {name: [round(float(x), 3) for x in getattr(market, name)] for name in printed} == printed


def test_the_market_block_prints_the_worked_scenarios() -> None:
    state = market_quantities(WORLDS, NOTE, 1.0)

    printed = {
        "price": [0.537, 0.481, 0.774, 0.645],
        "usage": [3.258, 1.551, 1.626, 1.301],
        "revenue": [1.750, 0.746, 1.259, 0.839],
        "tokens": [1.568, 0.746, 1.370, 1.096],
        "training": [0.712, 0.305, 0.961, 0.887],
        "demand": [1.183, 0.548, 1.186, 1.002],
        "rent": [1.106, 0.697, 1.108, 1.001],
        "stranded": [0.0, 0.271, 0.0, 0.0],
    }
    assert_printed(state, printed)


def test_the_instrument_block_prints_the_value_multipliers() -> None:
    values = value_multipliers(market_quantities(WORLDS, NOTE, 1.0), NAMES, NOTE)

    np.testing.assert_array_equal(np.round(values, 3), [
        [1.223, 1.707, 1.932, 1.262, 0.929, 0.997, 1.125, 1],
        [1.009, 0.834, 0.724, 0.425, 0.293, 0.491, 1.097, 1],
        [1.245, 1.533, 0.689, 0.927, 1.051, 1.046, 1.056, 1],
        [1.069, 0.879, 0.265, 0.631, 0.839, 0.916, 1.071, 1],
    ])  # fmt: skip


def test_the_anchored_returns_over_fifteen_months_are_those_printed() -> None:
    values = value_multipliers(market_quantities(WORLDS, NOTE, 1.25), NAMES, NOTE)
    p = np.array([0.275, 0.225, 0.275, 0.225])

    returns = scenario_returns(values, NAMES, p @ values, 1.25)

    np.testing.assert_array_equal(np.round(returns, 3), [
        [0.195, 0.675, 1.653, 0.840, 0.330, 0.286, 0.166, 0.050],
        [-0.035, -0.229, -0.074, -0.419, -0.611, -0.392, 0.138, 0.050],
        [0.222, 0.495, -0.167, 0.301, 0.517, 0.352, 0.091, 0.050],
        [0.031, -0.179, -0.720, -0.127, 0.195, 0.175, 0.110, 0.050],
    ])  # fmt: skip
