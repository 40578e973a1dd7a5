"""The channels that the note speaks of (science §1.7): printed tables, an independent evaluation, limits and guards."""

from __future__ import annotations

import datetime as dt
from dataclasses import fields, replace
from functools import partial
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from allocator.book.book import Book
from allocator.book.checks.stress import ParameterKey, settings_after_shock
from allocator.book.loading import load
from allocator.errors import BadInput
from allocator.outlook.calibration import CalibratedModel, calibrate, model_splits, price_notes
from allocator.outlook.efficiency_model import (
    Loadings,
    ModelScenarios,
    Technique,
    driver_attribution,
    market_quantities,
    scenario_returns,
    value_multipliers,
)
from allocator.outlook.outlook import build_outlook
from allocator.plan.rebalance import rebalance
from allocator.stress_testing.outcomes import outlook_at_draws, stress_base
from allocator.stress_testing.parameter_stress import model_stress
from allocator.stress_testing.shocked_book import shock_library
from tests.outlook.note_as_told import BEFORE, TOLD, TWO_LABS, before, scenarios, told
from tests.outlook.test_efficiency_model import EVERYWHERE, NAMES, NOTE, WORLDS, assert_printed, instruments, one, years
from tests.thoroughness import count

DRAW = np.random.default_rng(17)


def model_of(book: Book) -> CalibratedModel:
    found = calibrate(book)
    assert found is not None
    return found


# The printed tables


def test_the_market_block_of_the_note_as_told_is_the_one_printed(root: Path) -> None:
    printed = {
        "price": [0.557, 0.481, 0.833, 0.746],
        "usage": [4.073, 1.609, 1.468, 1.320],
        "tokens": [1.960, 0.774, 1.236, 1.112],
        "training": [0.844, 0.305, 0.905, 0.870],
        "demand": [1.458, 0.563, 1.087, 1.003],
        "rent": [1.254, 0.709, 1.051, 1.002],
        "stranded": [0.0, 0.262, 0.0, 0.0],
        "owner_share": [1.0, 1.0, 1.495, 1.495],
        "rival_share": [0.552, 0.601, 0.913, 0.913],
    }
    assert_printed(model_of(told(root)).market, printed)


def test_the_values_of_the_note_as_told_are_those_printed(root: Path) -> None:
    book = told(root)

    assert book.instruments == (
        "META", "GOOGL", "OPENAI", "ANTHROPIC", "SPX_XAI", "EFFLAB", "GPU", "CLOUD", "ORBITAL", "APPS"
    )  # fmt: skip
    np.testing.assert_array_equal(np.round(model_of(book).values, 3), [
        [1.294, 1.109, 1.055, 1.067, 1.053, 1.697, 1.063, 1.064, 1.071, 1.117],
        [1.032, 0.869, 0.301, 0.371, 0.245, 0.995, 0.230, 0.384, 0.145, 1.087],
        [1.328, 1.112, 1.069, 1.039, 1.160, 1.576, 1.146, 1.145, 1.198, 1.050],
        [1.200, 1.027, 0.641, 0.641, 0.894, 1.132, 1.001, 1.058, 0.988, 1.058],
    ])  # fmt: skip


def test_the_returns_of_the_note_as_told_are_those_printed_for_the_evidence_of_two_labs(root: Path) -> None:
    outlook = build_outlook(told(root, *TWO_LABS))

    np.testing.assert_array_equal(np.round(100 * outlook.returns, 1), [
        [10.2, 12.5, 33.6, 36.9, 16.7, 36.7, 12.1, 9.1, 15.3, 15.6],
        [-12.1, -11.9, -61.9, -52.4, -72.9, -19.8, -75.8, -60.6, -84.4, 12.5],
        [13.1, 12.8, 35.3, 33.3, 28.6, 26.9, 20.8, 17.3, 29.0, 8.6],
        [2.3, 4.1, -18.8, -17.8, -0.9, -8.8, 5.5, 8.4, 6.4, 9.5],
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("margin", "g", "largest"),
    [(0.5, 0, 0.698), (0.5, 0.1, 0.798), (0.5, 0.25, 0.948), (0.5, 0.5, 1.198), (0.5, 1, 1.698)],
)
def test_the_largest_pass_through_that_a_price_supports_is_the_closed_form(
    margin: float, g: float, largest: float
) -> None:
    technique = replace(NOTE, rival_margin=margin, rent_elasticity=0.0)  # rent stays 1
    edge = (g * log(2.7) - log(1 - margin)) / log(2.7)

    def cut(theta: float) -> tuple[float, float]:
        market = market_quantities(one(replicability=g, pass_through=theta), technique, 1e9)
        return float(market.price[0]), float(market.passed_on[0])

    assert edge == pytest.approx(largest, abs=6e-4)
    supported, asked = cut(edge - 1e-6)
    assert supported == asked
    supported, asked = cut(edge + 0.2)
    assert supported == pytest.approx(2.7**-edge, rel=1e-13)
    assert supported > asked


# An independent evaluation: scalars, sixty halvings, one name and one scenario at a time


def halved(s: dict[str, float], t: Technique, a: float, served: float, trained: float) -> float:
    """Log price by bisection, as the page has it."""
    log_y = log(float(t.token_reduction))
    asked = -a * s["pass_through"] * log_y
    if t.rival_margin is None:
        return asked

    def needed(p: float) -> float:
        tokens = exp(-s["usage_elasticity"] * p - a * served * log_y)
        demand = float(t.training_share) * trained + (1 - float(t.training_share)) * tokens
        rent = min(max((demand / s["capacity"]) ** float(t.rent_elasticity), float(t.rent_low)), float(t.rent_high))
        return log(1 - float(t.rival_margin)) + log(rent) - a * s["replicability"] * log_y

    low = asked
    high = max(low, log((1 - float(t.rival_margin)) * float(t.rent_high)) - a * s["replicability"] * log_y)
    if needed(low) <= low:
        return low
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if needed(middle) > middle else (low, middle)
    return (low + high) / 2


def worth(s: dict[str, float], t: Technique, e: dict[str, float], horizon: float) -> float:
    """V of one name in one scenario, from the formulas of §1.2, §1.3 and §1.7."""
    x, y, g, s_o = float(t.training_reduction), float(t.token_reduction), s["replicability"], float(t.owner_share)
    a = 1 - exp(-horizon / float(t.adoption_years))
    phi = s_o + (1 - s_o) * g
    m_t = x ** (a * phi * (s["training_elasticity"] - 1))
    p = exp(halved(s, t, a, phi, m_t))
    q = p ** -s["usage_elasticity"]
    m_c = q * y ** (-a * phi)
    d = float(t.training_share) * m_t + (1 - float(t.training_share)) * m_c
    u = d / s["capacity"]
    kappa = min(max(u ** float(t.rent_elasticity), float(t.rent_low)), float(t.rent_high))
    sigma = max(0.0, 1 - u) * (1 - float(t.salvage))
    shift = y ** (a * (1 - g) * float(t.share_sensitivity))
    sh_o = shift / (s_o * shift + 1 - s_o)
    sh_r = 1 / (s_o * shift + 1 - s_o) * x ** (-s["entry"] * a * phi)
    phi_i = e["owner"] + (1 - e["owner"]) * g
    share = e["owner"] * sh_o + (1 - e["owner"]) * sh_r
    gp = q * share * max(0.0, p - (1 - e["gross_margin"]) * kappa * y ** (-a * phi_i)) / e["gross_margin"]
    tau, kept = e["token_share"], 1 - e["passed_on"]
    app = (1 - tau * e["passed_on"] * (1 - p)) ** -e["application_elasticity"]
    app *= (e["application_margin"] + tau * (1 - p) * kept) / e["application_margin"]
    going = e["training"] * m_t * kappa + e["inference"] * gp + e["capacity"] * min(d, s["capacity"]) * kappa
    going += e["application"] * app + e["other"]
    going *= exp(-s["multiple_compression"] * e["multiple_loading"] + s["rerating"] * e["efficiency_tilt"])
    return max(float(t.least_value), going - e["committed_capex"] * sigma)


def drawn_scenarios(size: int) -> ModelScenarios:
    """Over all that a book may state."""
    u = DRAW.uniform
    return ModelScenarios(
        replicability=u(0, 1, size), pass_through=u(0, 3, size), usage_elasticity=u(0, 10, size),
        training_elasticity=u(0, 5, size), multiple_compression=u(-1, 1, size), rerating=u(-1, 1, size),
        entry=u(0, 2, size), capacity=np.exp(u(-3, 3, size)),
    )  # fmt: skip


def drawn_technique(margin: float | None) -> Technique:
    u = DRAW.uniform
    return Technique(
        training_reduction=exp(u(0, 6)), token_reduction=exp(u(0, 6)), adoption_years=u(0.1, 3),
        training_share=u(0, 1), owner_share=u(0, 1), share_sensitivity=u(0, 2), rent_elasticity=u(0, 10),
        rent_low=u(0.05, 1), rent_high=u(1, 10), salvage=u(0, 1), rival_margin=margin,
    )  # fmt: skip


def each(of: Any) -> list[dict[str, float]]:
    """One dictionary a scenario, or a name."""
    arrays = {name: np.asarray(values) for name, values in vars(of).items()}
    size = max(len(values) for values in arrays.values())
    spread = {name: np.broadcast_to(values, (size,)) for name, values in arrays.items()}
    return [{name: float(values[i]) for name, values in spread.items()} for i in range(size)]


@pytest.mark.parametrize("margin", [None, 0.0, 0.5, 0.9, 0.999999])
def test_values_are_those_of_an_independent_evaluation_by_bisection(margin: float | None) -> None:
    tilted = replace(NAMES, efficiency_tilt=DRAW.uniform(-1, 1, len(NAMES.training)))
    for _ in range(count(40, 10)):
        technique, drawn, horizon = drawn_technique(margin), drawn_scenarios(4), float(DRAW.uniform(0.1, 4))

        found = value_multipliers(market_quantities(drawn, technique, horizon), tilted, technique)

        own = [[worth(s, technique, e, horizon) for e in each(tilted)] for s in each(drawn)]
        np.testing.assert_allclose(found, own, rtol=1e-9, atol=1e-12)


def test_each_of_many_draws_is_what_it_is_alone() -> None:
    drawn, technique = drawn_scenarios(3000), drawn_technique(0.6)
    many = ModelScenarios(**{name: values.reshape(-1, 4) for name, values in vars(drawn).items()})
    margins = DRAW.uniform(0, 0.99, (750, 1))

    together = market_quantities(many, replace(technique, rival_margin=margins), 1.0)

    assert (together.price > together.passed_on).mean() > 0.2
    for i in range(0, 750, 50):
        alone = ModelScenarios(**{name: values[i] for name, values in vars(many).items()})
        market = market_quantities(alone, replace(technique, rival_margin=float(margins[i, 0])), 1.0)
        for name in ("price", "demand", "rent", "rival_share"):
            np.testing.assert_array_equal(getattr(together, name)[i], getattr(market, name))


def needed_above(p: float, technique: Technique, drawn: ModelScenarios, a: float) -> float:
    """What sellers need, less a log price that pass-through asks for: the rent is that of a market without floor."""
    log_y, margin = log(float(technique.token_reduction)), float(technique.rival_margin or 0.0)
    asking = replace(drawn, pass_through=np.array([-p / (a * log_y)]))
    rent = float(market_quantities(asking, replace(technique, rival_margin=None), 1.0).rent[0])
    return log(1 - margin) + log(rent) - a * float(drawn.replicability[0]) * log_y - p


def test_the_marginal_sellers_price_is_the_root_that_brent_finds() -> None:
    bound = 0
    for _ in range(count(2000, 4)):
        technique, drawn = drawn_technique(float(DRAW.uniform(0, 0.999))), drawn_scenarios(1)
        market = market_quantities(drawn, technique, 1.0)
        above = partial(needed_above, technique=technique, drawn=drawn, a=float(market.diffusion[0]))
        asked = log(float(market.passed_on[0]))
        if above(asked) <= 0:
            assert market.price[0] == market.passed_on[0]
            continue
        bound += 1
        found = brentq(above, asked, asked + above(asked) + 1e-9, xtol=1e-14, rtol=1e-14)
        assert log(float(market.price[0])) == pytest.approx(found, abs=1e-11)
    assert bound >= 50


def test_what_sellers_need_falls_as_the_price_rises_so_that_one_price_is_needed() -> None:
    for _ in range(count(200, 4)):
        technique, (s,) = drawn_technique(0.5), each(drawn_scenarios(1))
        prices = np.linspace(-4, 2, 200)
        served = float(technique.owner_share) + (1 - float(technique.owner_share)) * s["replicability"]
        tokens = np.exp(-s["usage_elasticity"] * prices - served * log(float(technique.token_reduction)))
        demand = float(technique.training_share) + (1 - float(technique.training_share)) * tokens
        rent = np.clip((demand / s["capacity"]) ** float(technique.rent_elasticity),
                       float(technique.rent_low), float(technique.rent_high))  # fmt: skip

        assert (np.diff(np.log(rent)) <= 1e-12).all()


# Off, and limits


def test_with_every_channel_off_a_value_is_the_plain_formulas_to_the_last_bit_or_so() -> None:
    market = market_quantities(WORLDS, NOTE, 1.0)

    a, log_y = 1 - exp(-1 / 0.75), log(2.7)
    served = 0.15 + 0.85 * WORLDS.replicability
    plain = {
        "price": np.exp(-a * WORLDS.pass_through * log_y),
        "usage": np.exp(a * WORLDS.pass_through * WORLDS.usage_elasticity * log_y),
        "tokens": np.exp(a * (WORLDS.pass_through * WORLDS.usage_elasticity - served) * log_y),
        "training": np.exp(a * served * (WORLDS.training_elasticity - 1) * log(10)),
    }
    for name, values in plain.items():
        np.testing.assert_allclose(getattr(market, name), values, rtol=9e-16, atol=0)
    open_market = market_quantities(replace(WORLDS, entry=np.zeros(4)), replace(NOTE, rival_margin=0.999999), 1.0)
    for name in vars(market):
        if name != "scenarios":
            np.testing.assert_array_equal(getattr(market, name), getattr(open_market, name))


@pytest.mark.parametrize("book", ["listed", "note", "reviewed"])
def test_no_seller_of_the_sample_books_shuts_down_so_that_the_rule_changes_none_of_them(book: str, root: Path) -> None:
    assert least_margin(model_of(load(root / "data" / book))) > 0


def least_margin(model: CalibratedModel) -> float:
    """Price less unit cost of who sells inference at least, over names and scenarios."""
    m, e = model.market, model.loadings
    owned = e.owner + (1 - e.owner) * m.scenarios.replicability[:, None]
    saving = float(model.technique.token_reduction) ** (-m.diffusion[:, None] * owned)
    margin = m.price[:, None] - (1 - e.gross_margin) * m.rent[:, None] * saving
    return float(margin[:, e.inference != 0].min())


PRICE_WARS = {
    "saving_passed_on", "token_price_halves", "usage_times_5", "usage_times_10", "demand_beats_saving",
    "revenue_stagnates",
}  # fmt: skip
"""Starter shocks that pass so much on that laggards would sell below cost, and now stop: their numbers moved."""


@pytest.mark.parametrize("name", ["listed", "note", "reviewed"])
def test_the_shocks_whose_numbers_shut_down_moves_are_those_of_price_wars(name: str, root: Path) -> None:
    book = before(root, name=name)

    moved = {
        shock
        for shock, stated in shock_library(book).shocks.items()
        if stated.changes_model
        if least_margin(model_of(replace(book, settings=settings_after_shock(book.settings, stated)))) < 0
    }

    assert moved == PRICE_WARS


@EVERYWHERE
@given(instruments, years, st.floats(0, 10), st.floats(0, 0.999))
def test_without_a_technique_no_entry_and_no_seller_changes_a_value(
    names: Loadings, horizon: float, entry: float, margin: float
) -> None:
    technique = replace(NOTE, training_reduction=1.0, token_reduction=1.0, rival_margin=margin)

    market = market_quantities(one(entry=entry, usage_elasticity=2.0), technique, horizon)

    assert value_multipliers(market, names, technique) == pytest.approx(1, abs=1e-12)


@EVERYWHERE
@given(instruments, st.floats(0, 10), st.floats(0, 0.999), st.floats(0, 3))
def test_before_anybody_adopts_no_channel_changes_a_value(
    names: Loadings, entry: float, margin: float, theta: float
) -> None:
    technique = replace(NOTE, rival_margin=margin)

    market = market_quantities(one(entry=entry, pass_through=theta), technique, 0.0)

    assert value_multipliers(market, names, technique) == pytest.approx(1, abs=1e-12)


def test_rivals_that_sell_cover_their_cash_cost_and_none_sells_at_a_loss() -> None:
    technique = replace(NOTE, rival_margin=0.5)
    rows = replace(NAMES, other=np.ones(8), training=np.zeros(8), capacity=np.zeros(8), application=np.zeros(8))
    for theta in (0.2, 0.698, 1.0, 3.0):
        market = market_quantities(one(replicability=0.0, pass_through=theta), technique, 2.0)
        # the marginal seller's margin is 1 − m̄: at the supported price its cash cost is covered
        assert float(market.price[0]) >= 0.5 * float(market.rent[0]) * (1 - 1e-12)
        assert (value_multipliers(market, replace(rows, multiple_loading=np.zeros(8)), technique) >= 0.02).all()


def test_a_rerating_lifts_what_is_all_efficiency_and_lowers_what_is_all_capital_by_its_own_size() -> None:
    tilt = np.array([0.5, 1, -1, -1, -0.9, -0.8, 0, 0])
    names = replace(NAMES, efficiency_tilt=tilt, committed_capex=np.zeros(8))
    flat = value_multipliers(market_quantities(WORLDS, NOTE, 1.0), names, NOTE)

    moved = market_quantities(replace(WORLDS, rerating=np.array([0.05, 0.3, -0.15, -0.15])), NOTE, 1.0)

    change = np.log(value_multipliers(moved, names, NOTE) / flat)
    np.testing.assert_allclose(change, np.outer([0.05, 0.3, -0.15, -0.15], tilt), atol=1e-12)


def test_the_drivers_add_up_with_every_channel_on(root: Path) -> None:
    model = model_of(told(root))

    parts = driver_attribution(model.market, model.loadings, model.technique)

    assert np.abs(sum(parts.values()) - (model.values - 1)).max() < 1e-12
    assert np.abs(parts["share shift"][0, model.loadings.owner == 0]).max() > 0.1  # entry, where shares stand still


# The market's own parameters


def test_a_market_with_parameters_of_its_own_expects_what_every_name_requires(root: Path) -> None:
    book = told(root, *scenarios(BEFORE, "market.scenarios"), "horizon.announcement_share=1.0")
    model = model_of(book)

    implied = scenario_returns(model.market_values, model.loadings, model.anchor, book.settings.years)

    assert model.market_now is not None
    required = (1 + model.loadings.required_return) ** book.settings.years
    assert np.abs((model.market_now @ implied + 1) / required - 1).max() < 1e-14
    plain = model_of(told(root, *scenarios(BEFORE)))
    np.testing.assert_array_equal(model.market_values, plain.values)
    assert np.abs(model.market_values - model.values).max() > 0.5


def test_a_parameter_that_the_market_shares_hardly_moves_returns_and_one_that_it_does_not_moves_them(
    root: Path,
) -> None:
    def expected(*overrides: str) -> Any:
        outlook = build_outlook(told(root, *overrides))
        return outlook.probabilities @ outlook.returns

    own = {name: values[3] for name, values in TOLD.items()}
    lower = [f"scenarios.{name}.multiple_compression={c + 0.3}" for name, c in own.items()]
    market = [f"market.scenarios.{name}.multiple_compression={c}" for name, c in own.items()]
    names, loading = told(root).instruments, model_of(told(root)).loadings.multiple_loading

    today, shared, alone = expected(), expected(*lower), expected(*lower, *market)

    at = names.index("OPENAI")
    assert np.abs(shared - today)[[i for i in range(10) if i != at]].max() < 5e-3
    going = np.array([name in ("META", "GOOGL", "EFFLAB", "GPU", "APPS") for name in names])  # no capex to speak of
    np.testing.assert_allclose((1 + alone)[going] / (1 + today)[going], np.exp(-0.3 * loading[going]), rtol=0.01)
    assert alone[at] < today[at] - 0.3


def test_draws_of_a_book_whose_market_has_its_own_parameters_are_that_book(root: Path) -> None:
    own = scenarios(BEFORE, "market.scenarios")
    key = ParameterKey("scenarios", "usage_elasticity", "generalizable_jevons")
    ground = stress_base(told(root, *own))

    draws = outlook_at_draws(ground, {key: np.array([2.0, 2.4])})

    for returns, value in zip(draws.returns, (2.0, 2.4), strict=True):
        book = told(root, *own, f"scenarios.generalizable_jevons.usage_elasticity={value}")
        np.testing.assert_allclose(returns, build_outlook(book).returns, atol=1e-13)
    assert draws.implied is not None
    assert np.abs(draws.implied - draws.returns).max() > 0.1


# Guards, and what is said


def test_a_price_that_rivals_do_not_support_is_told_with_the_one_that_is_used(root: Path) -> None:
    book = before(root, "model.rival_margin=0.25")

    (said,) = price_notes(book)

    assert said == (
        "proprietary_compression: pass_through 0.60 asks for a price of 0.645; rivals need 0.688, which is used."
    )
    assert price_notes(told(root)) == ()
    assert price_notes(before(root)) == ()


def refused(book: Book) -> list[str]:
    with pytest.raises(BadInput) as caught:
        build_outlook(book)
    return [str(each) for each in caught.value.breaches]


@pytest.mark.parametrize("overrides", [
    ("scenarios.proprietary_jevons.pass_through=1.0", "scenarios.proprietary_compression.pass_through=1.0"),
    ("model.token_reduction=20.0",),
])  # fmt: skip
def test_a_return_that_no_price_would_allow_is_refused_with_scenario_name_and_cause(
    overrides: tuple[str, ...], root: Path
) -> None:
    found = refused(before(root, *overrides))

    first = found[0]
    assert first.startswith("book.toml model.max_return: OPENAI returns +")
    assert "% a year in generalizable_jevons: value floor reached in proprietary_jevons, proprietary_c" in first
    cure = first.rsplit("or write ", 1)[1].removesuffix(" if it is meant").replace(" ", "")
    build_outlook(before(root, *overrides, f"model.{cure}"))  # the cure holds


def test_a_return_beyond_the_limit_without_any_floor_says_what_the_price_holds(root: Path) -> None:
    found = refused(before(root, "model.max_return=0.8"))

    assert found[0].startswith("book.toml model.max_return: OPENAI returns +")
    assert "in generalizable_jevons: its value there is 1.93 of today's, and its price holds 0." in found[0]


def test_evidence_alone_may_carry_a_price_far_from_one_unlikely_scenario(root: Path) -> None:
    book = load(root / "data" / "note", as_of=dt.date(2027, 11, 20), overrides=[*scenarios(BEFORE), *LATE])

    outlook = build_outlook(book)

    assert outlook.returns.max() > 3
    assert outlook.probabilities[:2].sum() < 0.1


LATE = ("model.share_sensitivity=0.5", "model.since=2026-04-08", "horizon.announcement_share=1.0")
"""Nineteen months of silence, all of it in prices."""


def test_a_return_that_the_user_types_in_is_not_held_to_the_models_limit(note: Any) -> None:
    header = ["instrument", *BEFORE, "source"]
    note.write("scenario_returns.csv", [header, *([name, 9.0, 0, 0, 0, "typed"] for name in ("OPENAI", "ANTHROPIC"))])

    overrides = [*scenarios(BEFORE), "model.share_sensitivity=0.5", "model.max_return=0.9"]
    assert build_outlook(load(note.path, overrides=overrides)).returns.max() == 9.0


@pytest.mark.parametrize(("override", "said"), [
    ("scenarios.generalizable_jevons.entry=-0.1", ".entry: must be greater than or equal to 0"),
    ("model.rival_margin=1.0", "model.rival_margin: must be below 1"),
    ("model.rival_margin=-0.1", "model.rival_margin: must be greater than or equal to 0"),
    ("market.scenarios.generalizable_jevon.entry=0.1",
     "market.scenarios.generalizable_jevon: no such scenario (got 'generalizable_jevon'); "
     "did you mean 'generalizable_jevons'?"),
    ("market.scenarios.generalizable_jevons.entri=0.1", "market.scenarios.generalizable_jevons.entri: unknown key"),
    ("market.scenarios.generalizable_jevons.probability=0.1", "unknown key"),
    ("scenarios.generalizable_jevons.reratin=0.1", "did you mean 'rerating'?"),
    ("model.rival_margins=0.1", "did you mean 'rival_margin'?"),
])  # fmt: skip
def test_a_parameter_out_of_its_range_or_unknown_is_refused(override: str, said: str, root: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load(root / "data" / "note", overrides=[override])

    (breach,) = caught.value.breaches
    assert said in str(breach)


def test_a_rerating_wants_the_two_buckets_that_it_tells_apart(note: Any) -> None:
    text = (note.path / "book.toml").read_text(encoding="utf-8")
    for old, new in (("[mandate.buckets.efficiency]", "[mandate.buckets.lean]"),):
        text = text.replace(old, new)
    (note.path / "book.toml").write_text(
        text + '\n[buckets]\nnames = ["lean", "capital_intensity", "adopter"]\n', encoding="utf-8"
    )
    table = (note.path / "exposures.csv").read_text(encoding="utf-8")
    (note.path / "exposures.csv").write_text(
        table.replace("efficiency_share", "share_lean").replace(",efficiency,", ",lean,"), encoding="utf-8"
    )

    with pytest.raises(BadInput) as caught:
        load(note.path, overrides=[f"scenarios.{name}.rerating={0.1 * (i == 0)}" for i, name in enumerate(BEFORE)])

    assert [str(each) for each in caught.value.breaches] == [
        "--set scenarios.generalizable_jevons.rerating: re-rates efficiency against capital_intensity, and [buckets] "
        "names has no efficiency (got '0.1'); add it there and to exposures.csv, or remove rerating"
    ]


def test_the_loadings_of_a_book_carry_its_shares_of_efficiency_and_capital_intensity(root: Path) -> None:
    book = told(root)

    tilt = dict(zip(book.instruments, model_of(book).loadings.efficiency_tilt, strict=True))

    assert tilt["OPENAI"] == -1
    assert tilt["EFFLAB"] == 1
    assert tilt["META"] == pytest.approx(0.05)
    assert {field.name for field in fields(Loadings)} >= {"efficiency_tilt"}


def test_a_supported_price_is_told_by_check_and_returns_on_the_screen_and_in_json(
    root: Path, run: Any, valid: Any
) -> None:
    overrides = [f"--set={each}" for each in ("model.rival_margin=0.25", *scenarios(BEFORE))]
    for command in ("check", "returns"):
        shown = " ".join(run(command, root / "data" / "note", *overrides).stdout.split())
        assert "asks for a price of 0.645; rivals need 0.688, which is used." in shown
    (note,) = valid(run("returns", root / "data" / "note", *overrides, "--json").stdout, "returns")["notes"]
    assert "rivals need 0.688" in note


def test_draws_with_an_implausible_return_are_counted_and_shown(root: Path) -> None:
    wide = "stress.ranges.scenarios.proprietary_jevons.pass_through=[0.25,1.0]"
    book = before(root, wide, "stress.ranges.scenarios.proprietary_compression.pass_through=[0.4,1.0]")
    found = model_stress(rebalance(book), 64, redo=0)

    assert 0 < found.implausible < 64
    assert found.where.max() <= found.implausible
    note = next(found.notes())
    assert note.startswith(f"{found.implausible} of 64 draws make a return above model.max_return = 300% a year, most")
    assert found.document()["implausible"] == found.implausible
    none = model_stress(rebalance(before(root, wide, "model.max_return=1000.0")), 64, redo=0)
    assert none.implausible == 0
    assert not [note for note in none.notes() if "max_return" in note]


def test_buyers_and_sellers_of_compute_are_told_apart_beside_the_buckets(root: Path, run: Any, valid: Any) -> None:
    book = before(root)
    splits, weights = model_splits(book), book.weights
    training, capacity = (book.exposures[name].to_numpy() for name in ("training", "capacity"))

    np.testing.assert_array_equal(splits["compute_sold"] - splits["compute_bought"], training + capacity)
    assert splits["compute_bought"][book.instruments.index("OPENAI")] == 0.35
    assert splits["compute_sold"][book.instruments.index("SPX_XAI")] == 0.45
    plan = rebalance(book)
    for name, part in splits.items():
        assert plan.before.splits[name] == pytest.approx(float(part @ weights), abs=1e-12)
    figures = valid(run("rebalance", root / "data" / "note", "--json").stdout, "plan")["figures"]
    assert {*figures["target"]["splits"]} == {"compute_bought", "compute_sold"}
    shown = run("rebalance", root / "data" / "note", "--full").stdout
    rows = [line.split()[:2] for line in shown.splitlines() if line.startswith("compute ")]
    assert rows == [["compute", "bought"], ["compute", "sold"]]
    told = run("returns", root / "data" / "note").stdout
    assert "Compute bought, of a name's value: OPENAI 35%, ANTHROPIC 30%" in " ".join(told.split())
    rows = valid(run("returns", root / "data" / "note", "--json").stdout, "returns")["instruments"]
    assert {row["instrument"]: row["splits"] for row in rows}["GPU"] == {"compute_bought": 0.0, "compute_sold": 0.9}


def test_buyers_of_compute_gain_where_spending_on_it_collapses_and_sellers_lose(root: Path) -> None:
    model = model_of(told(root))

    parts = driver_attribution(model.market, model.loadings, model.technique)["training demand"][1]

    assert (parts[(model.loadings.training < 0) & (model.loadings.capacity == 0)] > 0).all()
    assert (parts[model.loadings.training > 0] < 0).all()


def test_a_book_without_a_model_has_no_splits(root: Path) -> None:
    book = load(root / "data" / "approval")

    assert model_splits(book) == {}
    assert rebalance(book).after.splits == {}


def test_a_shock_that_no_price_supports_is_told_with_the_lowest_that_one_does(root: Path, run: Any) -> None:
    shown = run("stress", root / "data" / "note", "--shock", "usage_times_10", "--set", "model.rival_margin=0.5").stdout

    told = " ".join(shown.split())
    assert "usage times 10, proprietary_jevons: pass_through 1.00 asks for a price of 0.370; rivals need 0." in told
