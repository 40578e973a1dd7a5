"""Draws of parameters, all at once, against the book read anew with each of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from allocator.book.book import Book
from allocator.book.checks.stress import PRIOR_OF_ANSWER, SHARE, ParameterKey, book_values
from allocator.outlook.calibration import calibrate
from allocator.outlook.outlook import build_outlook
from allocator.stress_testing import outcomes
from allocator.stress_testing.outcomes import PROPOSED, OutlookDraws, StressPortfolio, outlook_at_draws, stress_base
from allocator.stress_testing.parameter_draws import parameter_ranges
from allocator.types import Vector
from tests.stress_testing.sample_plans import ROOT, sample

TOKENS = ParameterKey("model", "token_reduction")
DRAWS = 4


def drawn(own: Book, seed: int = 4) -> dict[ParameterKey, Vector]:
    """Every parameter that can be varied, somewhere in or near its range."""
    draw = np.random.default_rng(seed)
    ranges = {doubt.key: (doubt.low, doubt.high) for doubt in parameter_ranges(own)}
    ranges |= {
        ParameterKey("model", name): ends
        for name, ends in {"rent_low": (0.2, 0.5), "rent_high": (1.1, 1.7), "least_value": (0.01, 0.5)}.items()
    }
    ranges |= {ParameterKey("scenarios", "capacity", name): (0.6, 1.4) for name in own.scenarios}
    ranges |= {ParameterKey("scenarios", "training_elasticity", name): (0.2, 1.1) for name in own.scenarios}
    ranges |= {ParameterKey("scenarios", "replicability", name): (0.1, 1.0) for name in own.scenarios}
    return {key: draw.uniform(*ends, DRAWS) for key, ends in ranges.items()}


def as_overrides(own: Book, values: Mapping[ParameterKey, float]) -> list[str]:
    """The same as --set would have it."""
    settings, written = own.settings, ["question.ranges.prior=[0.01,0.99]"]
    for key, value in values.items():
        if key == PRIOR_OF_ANSWER:
            (prior,) = book_values(settings, key)
            for scenario, one in settings.scenarios.items():
                scale = value / prior if one.hypothesis == "generalizable" else (1 - value) / (1 - prior)
                written.append(f"scenarios.{scenario}.probability={float(one.probability * scale)!r}")
        elif key.section == "question":
            assert settings.question is not None
            written += [f"question.labs.{lab}.{key.name}={float(value)!r}" for lab in settings.question.labs]
        else:
            written.append(f"{key}={float(value)!r}")
    return written


@pytest.mark.parametrize(
    ("name", "more"), [("listed", ()), ("note", ()), ("reviewed", ()), ("note", ("horizon.digestion_months=1",))]
)
def test_every_draw_is_the_book_read_with_its_parameters(name: str, more: tuple[str, ...]) -> None:
    from allocator.book.loading import load

    own = sample(name, *more)
    values = drawn(own)
    found = outlook_at_draws(stress_base(own), values)

    for i in range(DRAWS):
        written = as_overrides(own, {key: v[i] for key, v in values.items()})
        read = load(ROOT / "tests" / "plain_books" / name, overrides=[*more, *written])
        outlook = build_outlook(read)
        model = calibrate(read)
        assert model is not None
        assert found.market is not None
        np.testing.assert_allclose(found.returns[i], outlook.returns, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.probabilities[i], outlook.probabilities, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.market[i], model.market_now, rtol=0, atol=1e-12)


@pytest.mark.parametrize("key", [TOKENS, ParameterKey("question", "hazard"), SHARE])
def test_one_parameter_alone_is_the_book_read_with_it(key: ParameterKey) -> None:
    from allocator.book.loading import load

    own = sample("note")
    at = drawn(own)[key]
    found = outlook_at_draws(stress_base(own), {key: at})
    read = load(ROOT / "tests" / "plain_books" / "note", overrides=as_overrides(own, {key: float(at[2])}))

    np.testing.assert_allclose(found.returns[2], build_outlook(read).returns, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.probabilities[2], build_outlook(read).probabilities, rtol=0, atol=1e-12)


def test_with_frailty_a_draw_of_labs_is_still_the_book_read_with_it() -> None:
    from allocator.book.loading import load

    own = sample("note", "question.frailty=2.0")
    values = {key: at for key, at in drawn(own).items() if key.section == "question"}
    found = outlook_at_draws(stress_base(own), values)
    for i in range(DRAWS):
        written = [*as_overrides(own, {key: v[i] for key, v in values.items()}), "question.frailty=2.0"]
        outlook = build_outlook(load(ROOT / "tests" / "plain_books" / "note", overrides=written))
        np.testing.assert_allclose(found.probabilities[i], outlook.probabilities, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.returns[i], outlook.returns, rtol=0, atol=1e-12)


def test_prices_that_stay_keep_the_anchor_of_the_book_s_own_parameters() -> None:
    own = sample("note")
    model, moved = calibrate(own), calibrate(sample("note", "model.token_reduction=2.1"))
    assert model is not None
    assert moved is not None
    found = outlook_at_draws(stress_base(own, "stay"), {TOKENS: np.array([2.7, 2.1])})
    growth = (1 + model.loadings.required_return) ** own.settings.years

    np.testing.assert_allclose(found.returns[0], build_outlook(own).returns, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.returns[1], growth * moved.values / model.anchor - 1, rtol=0, atol=1e-12)


def test_returns_that_the_user_gives_are_moved_by_no_parameter() -> None:
    own = sample("listed")
    given = build_outlook(own).returns[:, 0]
    from dataclasses import replace

    import pandas as pd

    typed = replace(
        own, scenario_returns=pd.DataFrame([given], index=[own.instruments[0]], columns=list(own.scenarios))
    )
    found = outlook_at_draws(stress_base(typed), {TOKENS: np.array([2.1, 2.7])})

    assert (found.returns[:, :, 0] == given).all()
    assert np.ptp(found.returns[:, 0, 1]) > 0


def test_a_day_of_news_is_after_the_costs_of_getting_there() -> None:
    """One name doubles or stays, the market says one half: news of the first moves it by (2 / 1.5)^J − 1."""
    found = OutlookDraws(np.array([[[1.0], [0.0]]]), np.array([[0.5, 0.5]]), np.array([[0.5, 0.5]]), np.array([0.4]))
    held = StressPortfolio(PROPOSED, np.array([0.6]), 0.39)  # 1 % went on costs
    news = outcomes._on_news(found, held, np.array([1.0, 0.0]))
    assert news == pytest.approx([0.6 * ((2 / 1.5) ** 0.4 - 1) - 0.01], abs=1e-15)
