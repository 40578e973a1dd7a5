"""Probabilities inferred from price moves: recovered, nearest to the prior, and honest about what they leave over."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.optimize import minimize

from allocator.book.book import Book
from allocator.book.folder import load
from allocator.errors import BadInput
from allocator.outlook.implied import Implied, implied
from allocator.outlook.model import Modelled, modelled
from allocator.types import Vector

if TYPE_CHECKING:
    from tests.conftest import Folder

OTHERS = np.array([0.45, 0.15, 0.3, 0.1])


@pytest.fixture(scope="module")
def book(root: Path) -> Book:
    return load(root / "data" / "note")


def model_of(book: Book) -> Modelled:
    found = modelled(book)
    assert found is not None
    return found


def moves(book: Book, probabilities: Vector, names: tuple[str, ...] | None = None) -> dict[str, float]:
    """What prices would have done since [market] date if these were the market's probabilities today."""
    model, stated = model_of(book), book.settings.market
    assert stated is not None
    assert model.market_then is not None
    years = (book.settings.book.as_of - stated.date).days / 365.25
    share = book.settings.horizon.announcement_share
    assert share is not None
    change = (probabilities @ model.values / (model.market_then @ model.values)) ** share
    after = (1 + model.loadings.required_return) ** years * change - 1
    return {name: float(after[book.instruments.index(name)]) for name in names or book.instruments}


def divergence(p: Vector, prior: Vector) -> float:
    kept = p > 0
    return float(p[kept] @ np.log(p[kept] / prior[kept]))


@pytest.mark.parametrize("p", [OTHERS, np.full(4, 0.25), np.array([0.05, 0.05, 0.7, 0.2]), np.array([0.9, 0, 0.1, 0])])
def test_the_probabilities_that_made_the_moves_are_recovered(book: Book, p: Vector) -> None:
    found = implied(book, moves(book, p))

    assert np.abs(found.probabilities - p).max() < 1e-6
    assert np.abs(found.residuals).max() < 1e-6


@pytest.mark.parametrize("share", [0.1, 0.6, 1.0])
def test_the_probabilities_are_recovered_for_any_announcement_share(root: Path, share: float) -> None:
    book = load(root / "data" / "note", overrides=[f"horizon.announcement_share={share}"])

    assert np.abs(implied(book, moves(book, OTHERS)).probabilities - OTHERS).max() < 1e-6


def test_random_probabilities_are_recovered_from_three_names(book: Book) -> None:
    rng = np.random.default_rng(7)
    for p in rng.dirichlet(np.ones(4), size=20):
        found = implied(book, moves(book, p, ("META", "OPENAI", "GPU")))
        assert np.abs(found.probabilities - p).max() < 1e-6


@pytest.mark.parametrize("names", [("GPU",), ("META",), ("OPENAI", "GPU"), ("APPS", "CLOUD")])
def test_too_few_moves_are_met_by_the_probabilities_nearest_to_the_stated(book: Book, names: tuple[str, ...]) -> None:
    model = model_of(book)
    prior = model.market_then
    assert prior is not None
    values = model.values[:, [book.instruments.index(name) for name in names]]
    wanted = OTHERS @ values

    found = implied(book, moves(book, OTHERS, names))

    oracle = minimize(
        divergence, prior, (prior,), method="SLSQP", bounds=[(1e-12, 1)] * 4, options={"ftol": 1e-14, "maxiter": 500},
        constraints=[
            {"type": "eq", "fun": lambda p: p.sum() - 1}, {"type": "eq", "fun": lambda p: p @ values - wanted},
        ],
    )  # fmt: skip
    assert oracle.success
    assert np.abs(found.probabilities - oracle.x).max() < 2e-6
    assert divergence(found.probabilities, prior) <= divergence(oracle.x, prior) + 1e-9
    assert np.abs(found.residuals).max() < 1e-8


def test_moves_of_nothing_but_time_leave_the_probabilities_as_stated(book: Book) -> None:
    prior = model_of(book).market_then
    assert prior is not None

    found = implied(book, moves(book, prior))

    assert np.abs(found.probabilities - prior).max() < 1e-9
    np.testing.assert_array_equal(found.prior, prior)


def test_a_name_that_moves_against_the_others_keeps_a_residual(book: Book) -> None:
    told = moves(book, OTHERS)
    told["META"] += 0.02

    found = implied(book, told)

    left = dict(zip(found.names, found.residuals, strict=True))
    assert max(left, key=lambda name: left[name]) == "META"
    assert 0.01 < left["META"] <= 0.02
    assert found.probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert (found.probabilities >= 0).all()
    assert found.explained + found.residuals == pytest.approx(found.observed, abs=1e-15)


def test_inconsistent_moves_are_met_in_least_squares(book: Book) -> None:
    rng = np.random.default_rng(3)
    model = model_of(book)
    prior, stated = model.market_then, book.settings.market
    assert prior is not None
    assert stated is not None
    told = {name: move + rng.normal(0, 0.003) for name, move in moves(book, OTHERS).items()}
    years = (book.settings.book.as_of - stated.date).days / 365.25
    carried = (1 + np.array(list(told.values()))) / (1 + model.loadings.required_return) ** years
    multiples = prior @ model.values * carried ** (1 / 0.6)

    def miss(p: Vector) -> float:
        return float(np.sum((p @ model.values - multiples) ** 2))

    found = implied(book, told)

    oracle = minimize(
        miss, prior, method="SLSQP", bounds=[(0, 1)] * 4, options={"ftol": 1e-15, "maxiter": 500},
        constraints=[{"type": "eq", "fun": lambda p: p.sum() - 1}],
    )  # fmt: skip
    assert miss(found.probabilities) == pytest.approx(float(oracle.fun), rel=1e-6)
    assert np.abs(found.probabilities - oracle.x).max() < 1e-4


def test_a_move_beyond_every_scenario_is_refused_with_the_nearest(book: Book) -> None:
    told = moves(book, OTHERS) | {"GPU": -0.9, "META": 3.0}

    with pytest.raises(BadInput) as caught:
        implied(book, told)

    low, high = sorted(caught.value.breaches, key=lambda breach: str(breach.column))
    sure = moves(book, np.array([0.0, 1.0, 0.0, 0.0]))["GPU"]
    assert (low.column, low.value, low.rule) == ("GPU", "-90.0%", "no scenario probability explains this move")
    assert f"the nearest is {sure:+.1%}, certainty of generalizable_compression" in low.cure
    assert (high.column, high.value) == ("META", "+300.0%")
    assert "certainty of proprietary_jevons" in high.cure


def test_the_nearest_move_that_is_named_can_be_explained(book: Book) -> None:
    sure = moves(book, np.array([0.0, 1.0, 0.0, 0.0]), ("GPU",))

    found = implied(book, sure)

    assert found.probabilities == pytest.approx([0, 1, 0, 0], abs=1e-5)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"GPUS": 0.1}, "no such instrument in exposures.csv (got 'GPUS'); did you mean 'GPU'?"),
        ({"GPU": -1.0}, "--move GPU: must be above -1 and at most 10 (got '-1')"),
        ({"GPU": 12.0}, "write -12 % as -0.12"),
        ({"GPU": float("nan")}, "must be above -1"),
        ({}, "no price move is given"),
    ],
)
def test_moves_that_are_no_moves_are_refused(book: Book, told: dict[str, float], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        implied(book, told)

    assert said in str(caught.value)


def test_without_news_in_prices_nothing_can_be_inferred(root: Path) -> None:
    with pytest.raises(BadInput, match="at 0 no price moves on news"):
        implied(load(root / "data" / "note", overrides=["horizon.announcement_share=0"]), {"GPU": 0.1})


def test_a_book_without_a_model_has_nothing_to_read_moves_against(listed: Folder) -> None:
    with pytest.raises(BadInput, match=r"price moves mean nothing without \[model\] and \[market\]"):
        implied(load(listed.path), {"NVDA": 0.1})


# Moves from prices.csv


def priced(note: Folder, book: Book, days: dict[str, Vector]) -> Implied:
    rows = [["date", *book.instruments], *([day, *map(repr, map(float, row))] for day, row in days.items())]
    note.write("prices.csv", rows)
    return implied(load(note.path))


def test_prices_give_the_moves_from_the_markets_date_to_today(note: Folder, book: Book) -> None:
    then = np.linspace(10, 100, len(book.instruments))
    now = then * (1 + np.array(list(moves(book, OTHERS).values())))

    found = priced(note, book, {"2026-03-02": then * 2, "2026-04-07": then, "2026-08-03": then * 3, "2026-11-20": now})

    assert np.abs(found.probabilities - OTHERS).max() < 1e-6
    assert found.names == book.instruments


def test_a_history_that_starts_after_the_markets_date_is_refused(note: Folder, book: Book) -> None:
    then = np.full(len(book.instruments), 10.0)

    with pytest.raises(BadInput, match="has no row on or before 2026-04-08"):
        priced(note, book, {"2026-04-09": then, "2026-11-20": then})


def test_without_prices_and_moves_both_are_asked_for(book: Book) -> None:
    with pytest.raises(BadInput, match=r"there are no prices to read moves from; add prices\.csv, or give moves"):
        implied(book)


def test_inferring_from_many_names_takes_a_fifth_of_a_second_at_most(book: Book) -> None:
    told = moves(book, OTHERS)
    started = dt.datetime.now(tz=dt.UTC)

    implied(book, told)

    assert (dt.datetime.now(tz=dt.UTC) - started).total_seconds() < 0.2
