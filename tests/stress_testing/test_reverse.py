"""Reverse stress of the sample books: what it says must happen is put into the outlook, and the loss then happens."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

from allocator.book.book import Book
from allocator.book.checks.stress import ParameterKey
from allocator.book.loading import load
from allocator.errors import BadInput
from allocator.outlook.calibration import calibrate
from allocator.outlook.outlook import build_outlook
from allocator.plan.rebalance import rebalance
from allocator.stress_testing import reverse as reversed_parameters
from allocator.stress_testing.outcomes import StressPortfolio, stress_base, stress_portfolios
from allocator.stress_testing.reverse import (
    BEYOND,
    NEVER,
    THERE,
    UNKNOWN,
    ParameterRoot,
    ReverseShift,
    ReverseStressOfPortfolio,
    least_shifts,
    model_parameters,
    reverse_stress,
)
from allocator.stress_testing.stress import stress
from allocator.types import Vector
from tests.books import book
from tests.stress_testing.sample_plans import planned, sample, staged


@pytest.mark.parametrize("name", ["listed", "reviewed"])
def test_each_shift_put_into_the_outlook_makes_the_loss_expected(name: str) -> None:
    plan: Any = staged() if name == "reviewed" else planned(name)
    found = reverse_stress(plan, 0.10)

    for one in found.portfolios:
        for shift in one.shifts:
            if shift.distance is None:
                continue
            moved = replace(
                found.outlook, probabilities=shift.probabilities, returns=found.outlook.returns + shift.moves
            )
            assert moved.probabilities @ one.portfolio.losses(moved) == pytest.approx(0.10, abs=1e-9)
        distances = [np.inf if shift.distance is None else shift.distance for shift in one.shifts]
        assert distances[2] <= min(distances[:2])


def test_the_plan_s_portfolio_is_its_lots_and_the_loss_is_after_costs() -> None:
    plan = planned("listed")
    today, after = reverse_stress(plan).portfolios

    assert -today.expected_loss == pytest.approx(plan.before.expected_return)
    assert -after.expected_loss == pytest.approx(plan.after.expected_return)
    assert after.worst_scenario_loss == pytest.approx(-min(plan.after.scenario_returns))


def test_a_loss_that_no_probability_gives_is_said_with_the_maximum() -> None:
    plan = planned("listed")
    after = reverse_stress(plan, 0.10).portfolios[1]
    shift = after.by("probabilities")

    assert shift.why == f"no probabilities give this loss; the largest is {after.worst_scenario_loss:.2%}"
    assert (shift.distance, shift.plausibility, shift.rating, shift.equivalent_z_score) == (None, 0.0, NEVER, None)
    assert reverse_stress(plan, after.worst_scenario_loss).portfolios[1].by("probabilities").distance is not None


def test_the_market_s_move_is_the_one_factor_s_and_moves_names_by_beta_and_by_themselves() -> None:
    found = reverse_stress(planned("listed", "horizon.months=18"))
    today, _ = found.portfolios
    shift = today.by("markets")
    assert shift.market is not None
    beta = found.book.exposures["beta"].to_numpy(dtype=float)
    alone = found.book.exposures["idiosyncratic_volatility"].to_numpy(dtype=float) ** 2 * found.outlook.years
    strength = -shift.market / (beta @ today.portfolio.holdings * 0.18**2 * found.outlook.years)

    assert shift.moves == pytest.approx(beta * shift.market - strength * alone * today.portfolio.holdings)
    assert shift.factors[0] * 0.18 * np.sqrt(1.5) == pytest.approx(shift.market)
    assert shift.equivalent_z_score == pytest.approx(
        (0.10 - today.expected_loss) / np.sqrt(found.outlook.risk.variance(today.portfolio.holdings))
    )


def test_the_maximum_is_over_scenarios_that_are_possible() -> None:
    own = book(
        returns={"never": [-0.9] * 4, "bad": [-0.05] * 4, "good": [0.1] * 4},
        probabilities={"never": 0.0, "bad": 0.5, "good": 0.5},
        cash=0.0,
    )
    today, _ = reverse_stress(rebalance(own)).portfolios

    assert today.worst_scenario_loss == pytest.approx(0.05)
    assert today.by("probabilities").why == "no probabilities give this loss; the largest is 5.00%"
    assert today.by("both").probabilities[0] == 0


def test_names_that_would_have_to_lose_more_than_everything_are_named() -> None:
    today, _ = reverse_stress(planned("listed"), loss=0.8).portfolios
    outlook = build_outlook(sample("listed"))
    mean = outlook.probabilities @ outlook.returns + today.by("markets").moves
    named = [name for name, value in zip(sample("listed").instruments, mean, strict=True) if value < -1]

    assert list(today.by("markets").beyond) == named != []
    assert today.by("probabilities").beyond == ()
    assert reverse_stress(planned("listed")).portfolios[0].by("markets").beyond == ()


def losing(loss: float) -> Book:
    """A book whose one scenario loses 10 % of every name."""
    return book(returns={"bad": [-0.10] * 4, "good": [0.10] * 4}, probabilities={"bad": 0.9, "good": 0.1}, cash=loss)


def test_a_loss_already_expected_wants_no_shift_and_says_so() -> None:
    today, _ = reverse_stress(rebalance(losing(0.0)), loss=0.05).portfolios

    assert today.expected_loss == pytest.approx(0.08)
    assert [shift.rating for shift in today.shifts] == [THERE] * 3
    assert [shift.distance for shift in today.shifts] == [0.0] * 3
    assert [shift.plausibility for shift in today.shifts] == [1.0] * 3


@pytest.mark.parametrize("loss", [0.0, -0.1, 1.5, float("nan")])
def test_a_loss_that_is_no_part_of_the_account_is_refused(loss: float) -> None:
    with pytest.raises(BadInput, match=r"above 0 and at most 1 .*; 10 % is 0\.1") as refused:
        stress(sample("listed"), parts=("reverse",), loss=loss)
    assert refused.value.exit_code == 3


def shift_of(score: float) -> ReverseShift:
    nothing = np.zeros(1)
    return ReverseShift("markets", score**2 / 2, nothing, nothing, nothing, None)


@pytest.mark.parametrize(
    ("score", "rating"),
    [(0.99, "plausible"), (1.5, "unlikely"), (2.9, "very unlikely"), (3.1, BEYOND)],
)
def test_a_shift_is_rated_by_its_equivalent_z_score(score: float, rating: str) -> None:
    assert shift_of(score).rating == rating
    assert shift_of(score).equivalent_z_score == pytest.approx(score)
    assert shift_of(score).plausibility == pytest.approx(np.exp(-(score**2) / 2))


def test_every_parameter_of_the_model_and_of_the_scenarios_is_tried() -> None:
    found = reverse_stress(planned("listed"))
    tried = {root.key for root in found.portfolios[0].roots}

    assert tried == set(model_parameters(sample("listed")))
    assert len(tried) == 11 + 4 * 6
    assert ParameterKey("model", "since") not in tried
    assert {"model.token_reduction", "scenarios.proprietary_jevons.capacity"} <= set(map(str, tried))
    assert reverse_stress(rebalance(book())).portfolios[0].roots == ()


def loss_at(one: ReverseStressOfPortfolio, key: ParameterKey, value: float) -> float:
    """The expected loss when a book with another parameter is read and prices stay those of today."""
    own = sample("reviewed")
    moved = calibrate(sample("reviewed", f"{key}={value!r}"))
    today = calibrate(own)
    assert moved is not None
    assert today is not None
    growth = (1 + moved.loadings.required_return) ** own.settings.years
    outlook = replace(build_outlook(own), returns=growth * moved.values / today.anchor - 1)
    return float(outlook.probabilities @ one.portfolio.losses(outlook))


def test_the_root_of_a_parameter_is_brent_s_with_the_book_read_anew() -> None:
    today, _ = reverse_stress(staged()).portfolios
    root = next(
        one for one in today.roots if one.key == ParameterKey("scenarios", "multiple_compression", "proprietary_jevons")
    )
    exact = brentq(lambda value: loss_at(today, root.key, value) - 0.10, root.base_value, 3.0, xtol=1e-12)

    assert root.value == pytest.approx(exact, abs=1e-8)
    assert root.change == pytest.approx(exact - 0.05, abs=1e-8)
    assert root.smallest_loss < today.expected_loss < 0.10 < root.largest_loss


@pytest.mark.parametrize(
    ("value", "reach", "rating"),
    [
        (1.25, 0.5, "plausible"),
        (2.0, 2.0, "unlikely"),
        (0.75, 2.5, "very unlikely"),
        (0.5, 5.0, BEYOND),
        (1.0, 0.0, THERE),
        (None, None, NEVER),
    ],
)
def test_a_parameter_s_plausibility_is_how_far_it_goes_beside_its_range(
    value: float | None, reach: float | None, rating: str
) -> None:
    root = ParameterRoot(ParameterKey("model", "adoption_years"), 1.0, value, 0.0, 50.0, 0.0, 0.2, low=0.9, high=1.5)

    assert root.reach == (None if reach is None else pytest.approx(reach))
    assert root.rating == rating
    if value is not None:
        assert replace(root, low=None, high=None).rating == (UNKNOWN if value else NEVER)


def test_a_range_that_does_not_go_that_way_makes_a_parameter_next_to_impossible() -> None:
    root = ParameterRoot(
        ParameterKey("model", "training_reduction"), 10.0, 12.0, 1.0, 1000.0, 0.0, 0.2, low=3.0, high=10.0
    )

    assert (root.reach, root.rating) == (None, BEYOND)


def test_a_what_if_out_of_its_range_is_no_obstacle_to_reverse_stress() -> None:
    moved = reverse_stress(planned("note", "model.token_reduction=4.0"))
    token = next(root for root in moved.portfolios[0].roots if root.key == ParameterKey("model", "token_reduction"))

    assert (token.base_value, token.low, token.high) == (4.0, 2.07, 2.71)


def test_a_parameter_that_does_it_nowhere_has_no_root_and_its_extremes_are_told() -> None:
    today, _ = reverse_stress(staged()).portfolios
    root = next(one for one in today.roots if one.key == ParameterKey("model", "salvage"))

    assert (root.value, root.change) == (None, None)
    assert (root.lowest, root.highest) == (0.0, 1.0)
    assert root.largest_loss < 0.10
    ends = [loss_at(today, "model.salvage", value) for value in (0.0, 1.0)]
    assert [root.smallest_loss, root.largest_loss] == pytest.approx(sorted(ends))


@pytest.mark.parametrize(("peaks", "nearest"), [((0.2, 0.5), 0.5), ((0.9, 1.1), 0.9), ((0.1, 0.2), 0.2)])
def test_of_several_roots_the_nearest_to_the_book_s_own_value_is_taken(
    monkeypatch: pytest.MonkeyPatch, peaks: tuple[float, float], nearest: float
) -> None:
    def losses(ground: Any, portfolio: Any, key: ParameterKey, at: Vector) -> Vector:
        del ground, portfolio, key  # above the loss between the two roots, below it on both sides
        result: Vector = 0.10 - (at - peaks[0]) * (at - peaks[1])
        return result

    monkeypatch.setattr(reversed_parameters, "expected_losses", losses)
    ground = stress_base(sample("listed"), "stay")
    portfolio, _ = stress_portfolios(planned("listed"))
    own = {str(root.key): root for root in reversed_parameters.parameter_roots(ground, portfolio, 0.10)}

    assert own["model.adoption_years"].base_value == 0.75
    assert own["model.adoption_years"].value == pytest.approx(nearest, abs=1e-7)


def test_a_parameter_at_which_the_loss_is_expected_already_stays_where_it_is() -> None:
    own = sample("listed")
    short = StressPortfolio("short", -own.weights, 2.0 - own.cash / own.value)
    roots = list(reversed_parameters.parameter_roots(stress_base(own, "stay"), short, 0.01))

    assert [root.change for root in roots] == [0.0] * len(roots)


def test_a_root_lies_where_its_parameter_is_lawful() -> None:
    found = reverse_stress(planned("listed"), loss=0.03)
    for one in found.portfolios:
        for root in one.roots:
            if root.value is not None:
                assert root.lowest <= root.value <= root.highest
                assert root.smallest_loss <= 0.03 <= root.largest_loss


def test_the_result_is_plain_data_and_tables() -> None:
    plan = planned("listed")
    found = reverse_stress(plan)

    json.dumps(found.document(), allow_nan=False)
    assert len(found.frame()) == 6
    assert [len(one["parameters"]) for one in found.document()["portfolios"]] == [35, 35]
    assert set(found.frame()["rating"]) <= {"plausible", "unlikely", "very unlikely", BEYOND, NEVER, THERE}


def test_without_market_risk_probabilities_alone_can_do_it() -> None:
    own = book(
        returns={"bad": [-0.30] * 4, "good": [0.10] * 4},
        exposures_columns={"beta": [0.0] * 4, "idiosyncratic_volatility": [0.0] * 4},
    )
    today, _ = reverse_stress(rebalance(own)).portfolios
    alone, markets, both = least_shifts(stress_base(own, "stay"), today.portfolio, 0.10)

    assert markets.why == "no shift of markets gives this loss: the portfolio has no risk"
    assert both.distance == pytest.approx(alone.distance)


@pytest.mark.parametrize("tiny", ["model.adoption_years=1e-9", "model.least_value=1e-9", "model.rent_low=1e-12"])
def test_a_lawful_parameter_next_to_an_open_end_is_looked_at_too(root: Path, tiny: str) -> None:
    made = load(root / "tests" / "plain_books" / "note", overrides=[tiny])
    found = reverse_stress(rebalance(made))
    key = tiny.partition("=")[0]
    assert key in [str(one.key) for one in found.portfolios[0].roots]
