"""Probabilities inferred from price moves: recovered, nearest to the prior, and honest about what they leave over."""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.optimize import minimize

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadInput, NotSolved
from allocator.outlook.calibration import CalibratedModel, calibrate
from allocator.outlook.implied_probabilities import ImpliedProbabilities, _nearest, infer_probabilities
from allocator.types import Vector

if TYPE_CHECKING:
    from tests.conftest import Folder

OTHERS = np.array([0.45, 0.15, 0.3, 0.1])


@pytest.fixture(scope="module")
def book(root: Path) -> Book:
    return load(root / "tests" / "plain_books" / "note")


def model_of(book: Book) -> CalibratedModel:
    found = calibrate(book)
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


def test_a_fit_that_is_not_found_is_no_traceback(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    def tired(*_: object) -> None:
        raise RuntimeError("Maximum number of iterations reached.")  # what nnls says

    monkeypatch.setattr("scipy.optimize.nnls", tired)
    with pytest.raises(NotSolved, match=r"Maximum number of iterations reached.*leave names out with --without"):
        infer_probabilities(book, moves(book, OTHERS))


def divergence(p: Vector, prior: Vector) -> float:
    kept = p > 0
    return float(p[kept] @ np.log(p[kept] / prior[kept]))


@pytest.mark.parametrize("p", [OTHERS, np.full(4, 0.25), np.array([0.05, 0.05, 0.7, 0.2]), np.array([0.9, 0, 0.1, 0])])
def test_the_probabilities_that_made_the_moves_are_recovered(book: Book, p: Vector) -> None:
    found = infer_probabilities(book, moves(book, p))

    assert np.abs(found.probabilities - p).max() < 1e-6
    assert np.abs(found.residuals).max() < 1e-6


@pytest.mark.parametrize("share", [0.1, 0.6, 1.0])
def test_the_probabilities_are_recovered_for_any_announcement_share(root: Path, share: float) -> None:
    book = load(root / "tests" / "plain_books" / "note", overrides=[f"horizon.announcement_share={share}"])

    assert np.abs(infer_probabilities(book, moves(book, OTHERS)).probabilities - OTHERS).max() < 1e-6


def test_random_probabilities_are_recovered_from_three_names(book: Book) -> None:
    rng = np.random.default_rng(7)
    for p in rng.dirichlet(np.ones(4), size=20):
        found = infer_probabilities(book, moves(book, p, ("META", "OPENAI", "GPU")))
        assert np.abs(found.probabilities - p).max() < 1e-6


@pytest.mark.parametrize("names", [("GPU",), ("META",), ("OPENAI", "GPU"), ("APPS", "CLOUD")])
def test_too_few_moves_are_met_by_the_probabilities_nearest_to_todays(book: Book, names: tuple[str, ...]) -> None:
    model = model_of(book)
    prior = model.market_now
    assert prior is not None
    values = model.values[:, [book.instruments.index(name) for name in names]]
    wanted = OTHERS @ values

    found = infer_probabilities(book, moves(book, OTHERS, names))

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


def test_the_market_is_shown_as_stated_and_as_the_signals_moved_it(book: Book) -> None:
    model = model_of(book)
    assert model.market_then is not None
    assert model.market_now is not None

    found = infer_probabilities(book, moves(book, OTHERS))

    np.testing.assert_array_equal(found.stated, model.market_then)
    np.testing.assert_array_equal(found.moved, model.market_now)
    assert np.abs(found.stated - found.moved).max() > 0.1


@pytest.mark.parametrize("share", [0.1, 0.6, 1.0])
@pytest.mark.parametrize("names", [None, ("GPU",), ("META",), ("OPENAI", "GPU"), ("APPS", "CLOUD")])
def test_the_move_that_the_model_itself_predicts_is_no_news(
    root: Path, names: tuple[str, ...] | None, share: float
) -> None:
    book = load(root / "tests" / "plain_books" / "note", overrides=[f"horizon.announcement_share={share}"])
    now = model_of(book).market_now
    assert now is not None

    found = infer_probabilities(book, moves(book, now, names))

    assert np.abs(found.probabilities - now).max() < 1e-9
    assert np.abs(found.residuals).max() < 1e-9


@pytest.mark.parametrize("day", [dt.date(2026, 12, 20), dt.date(2027, 4, 8), dt.date(2028, 4, 8)])
def test_on_any_day_one_name_that_moves_as_predicted_leaves_the_markets_probabilities(root: Path, day: dt.date) -> None:
    book = load(root / "tests" / "plain_books" / "note", as_of=day)
    now = model_of(book).market_now
    assert now is not None

    for name in book.instruments:
        assert np.abs(infer_probabilities(book, moves(book, now, (name,))).probabilities - now).max() < 1e-9


def test_a_name_that_stands_still_while_silence_should_have_moved_it_is_news(book: Book) -> None:
    then, now = model_of(book).market_then, model_of(book).market_now
    assert then is not None
    assert now is not None

    found = infer_probabilities(book, moves(book, then, ("GPU",)))

    assert np.abs(found.probabilities - now).max() > 0.01
    assert np.abs(found.residuals).max() < 1e-9


def test_a_name_that_moves_against_the_others_keeps_a_residual(book: Book) -> None:
    told = moves(book, OTHERS)
    told["META"] += 0.02

    found = infer_probabilities(book, told)

    left = dict(zip(found.names, found.residuals, strict=True))
    assert max(left, key=lambda name: left[name]) == "META"
    assert 0.01 < left["META"] <= 0.02
    assert found.probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert (found.probabilities >= 0).all()
    assert found.explained + found.residuals == pytest.approx(found.observed, abs=1e-15)


def test_inconsistent_moves_are_met_in_least_squares(book: Book) -> None:
    rng = np.random.default_rng(3)
    model = model_of(book)
    prior, stated = model.market_then, book.settings.market  # the multiples are of the market's own date
    assert prior is not None
    assert stated is not None
    told = {name: move + rng.normal(0, 0.003) for name, move in moves(book, OTHERS).items()}
    years = (book.settings.book.as_of - stated.date).days / 365.25
    carried = (1 + np.array(list(told.values()))) / (1 + model.loadings.required_return) ** years
    multiples = prior @ model.values * carried ** (1 / 0.6)

    def miss(p: Vector) -> float:
        return float(np.sum((p @ model.values - multiples) ** 2))

    found = infer_probabilities(book, told)

    oracle = minimize(
        miss, prior, method="SLSQP", bounds=[(0, 1)] * 4, options={"ftol": 1e-15, "maxiter": 500},
        constraints=[{"type": "eq", "fun": lambda p: p.sum() - 1}],
    )  # fmt: skip
    assert miss(found.probabilities) == pytest.approx(float(oracle.fun), rel=1e-6)
    assert np.abs(found.probabilities - oracle.x).max() < 1e-4


def test_a_move_beyond_every_scenario_is_refused_with_the_nearest(book: Book) -> None:
    told = moves(book, OTHERS) | {"GPU": -0.9, "META": 3.0}

    with pytest.raises(BadInput) as caught:
        infer_probabilities(book, told)

    low, high = sorted(caught.value.breaches, key=lambda breach: str(breach.column))
    sure = moves(book, np.array([0.0, 1.0, 0.0, 0.0]))["GPU"]
    assert (low.column, low.value, low.rule) == ("GPU", "-90.0%", "no scenario probability explains this move")
    assert f"the nearest is {sure:+.1%}, certainty of generalizable_compression" in low.cure
    assert (high.column, high.value) == ("META", "+300.0%")
    assert "certainty of proprietary_jevons" in high.cure


def test_the_nearest_move_that_is_named_can_be_explained(book: Book) -> None:
    sure = moves(book, np.array([0.0, 1.0, 0.0, 0.0]), ("GPU",))

    found = infer_probabilities(book, sure)

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
        infer_probabilities(book, told)

    assert said in str(caught.value)


def test_without_news_in_prices_nothing_can_be_inferred(root: Path) -> None:
    with pytest.raises(BadInput, match="at 0 no price moves on news"):
        infer_probabilities(
            load(root / "tests" / "plain_books" / "note", overrides=["horizon.announcement_share=0"]), {"GPU": 0.1}
        )


def test_a_book_without_a_model_has_nothing_to_read_moves_against(listed: Folder) -> None:
    with pytest.raises(BadInput, match=r"price moves are read through the efficiency model"):
        infer_probabilities(load(listed.path), {"NVDA": 0.1})


# Names that tell nothing, and names left out

REASON_LOADINGS = "has no loadings, so the model says nothing of its price"
REASON_CONSTANT = "is worth the same in every scenario, so its price says nothing of them"


def spoilt(note: Folder) -> Book:
    """GPU has returns of its own instead of loadings; META hangs on nothing."""
    for column in ("training", "inference", "capacity", "application", "other", "owner"):
        note.cell("exposures.csv", "GPU", column, "")
    note.write("scenario_returns.csv", [["instrument", *load_scenarios(note)], ["GPU", 0.1, -0.2, 0.3, 0.4]])
    for column, value in (("training", "0"), ("inference", "0"), ("capacity", "0"), ("application", "0"),
                          ("other", "1"), ("multiple_loading", "0"), ("committed_capex", "0")):  # fmt: skip
        note.cell("exposures.csv", "META", column, value)
    return load(note.path)


def load_scenarios(note: Folder) -> list[str]:
    return list(tomllib.loads((note.path / "book.toml").read_text(encoding="utf-8"))["scenarios"])


@pytest.mark.parametrize("column", ["owner", "gross_margin", "application_elasticity", "required_return", "other"])
def test_a_name_is_read_only_with_every_loading_that_the_model_wants(note: Folder, column: str) -> None:
    note.write("scenario_returns.csv", [["instrument", *load_scenarios(note)], ["META", 0.1, -0.2, 0.3, 0.4]])
    assert infer_probabilities(load(note.path), {"META": 0.05}).names == ("META",)
    note.cell("exposures.csv", "META", column, "")

    with pytest.raises(BadInput, match=f"--move META: {REASON_LOADINGS} "):
        infer_probabilities(load(note.path), {"META": 0.05})


def test_a_parameter_that_no_loading_needs_may_be_blank_in_a_name_that_is_read(book: Book) -> None:
    assert infer_probabilities(book, moves(book, OTHERS, ("OPENAI", "GPU", "APPS"))).names == ("OPENAI", "GPU", "APPS")


def test_typed_moves_of_names_that_tell_nothing_are_refused(note: Folder) -> None:
    with pytest.raises(BadInput) as caught:
        infer_probabilities(spoilt(note), {"GPU": 0.0, "META": 0.01, "CLOUD": 0.02})

    told = [(breach.column, breach.value, breach.rule) for breach in caught.value.breaches]
    assert told == [("GPU", "0", REASON_LOADINGS), ("META", "0.01", REASON_CONSTANT)]


def test_loadings_that_nobody_held_to_their_sum_are_not_read(note: Folder) -> None:
    note.write("scenario_returns.csv", [["instrument", *load_scenarios(note)], ["GPU", 0.1, -0.2, 0.3, 0.4]])
    note.cell("exposures.csv", "GPU", "other", "0.4")

    with pytest.raises(BadInput, match=r"has loadings that sum to 1\.3, not 1"):
        infer_probabilities(load(note.path), {"GPU": 0.1})


def test_names_of_prices_that_tell_nothing_are_left_out_and_listed(note: Folder, book: Book) -> None:
    told = moves(book, OTHERS) | {"META": 0.3, "GPU": 0.0}
    then = np.full(len(book.instruments), 50.0)
    spoilt(note)

    found = priced(note, book, {"2026-04-08": then, "2026-11-20": then * (1 + np.array(list(told.values())))})

    assert [(one.instrument, one.reason) for one in found.not_read] == [
        ("META", REASON_CONSTANT), ("GPU", REASON_LOADINGS),
    ]  # fmt: skip
    assert set(found.names) == set(book.instruments) - {"META", "GPU"}
    assert np.abs(found.probabilities - OTHERS).max() < 1e-6


def test_a_name_without_a_price_on_either_day_is_listed(note: Folder, book: Book) -> None:
    then = np.full(len(book.instruments), 50.0)
    now = then * (1 + np.array(list(moves(book, OTHERS).values())))
    rows = [["date", *book.instruments], ["2026-04-08", *map(repr, map(float, then))],
            ["2026-11-20", *map(repr, map(float, now))]]  # fmt: skip
    rows[1][1 + book.instruments.index("OPENAI")] = rows[2][1 + book.instruments.index("EFFLAB")] = ""
    write_history(note, rows)

    found = infer_probabilities(load(note.path))

    assert [(one.instrument, one.reason) for one in found.not_read] == [
        ("OPENAI", "has no price on 2026-04-08"), ("EFFLAB", "has no price on 2026-11-20"),
    ]  # fmt: skip
    assert np.abs(found.probabilities - OTHERS).max() < 1e-6


def test_an_impossible_move_can_be_left_out_by_the_name_that_the_cure_gives(note: Folder, book: Book) -> None:
    told = moves(book, OTHERS) | {"GPU": -0.9}
    then = np.full(len(book.instruments), 50.0)
    days = {"2026-04-08": then, "2026-11-20": then * (1 + np.array(list(told.values())))}
    with pytest.raises(BadInput, match="or go on with --without GPU"):
        priced(note, book, days)

    found = infer_probabilities(load(note.path), None, ["GPU"])

    assert [(one.instrument, one.reason) for one in found.not_read] == [("GPU", "left out by --without")]
    assert np.abs(found.probabilities - OTHERS).max() < 1e-6
    typed = infer_probabilities(book, told, ["GPU"])
    assert typed.not_read == found.not_read
    assert typed.names == found.names


@pytest.mark.parametrize(
    ("told", "without", "said"),
    [
        ({"GPU": 0.1}, ["CLUOD"], "--without: no such instrument in exposures.csv (got 'CLUOD'); did you mean 'CLOUD'"),
        ({"GPU": 0.1}, ["USD"], "--without: is cash and has no price move (got 'USD')"),
        ({"GPU": 0.1}, ["GPU"], "no price move is left to read"),
        ({"USD": 0.0}, [], "--move: is cash and has no price move (got 'USD')"),
    ],
)
def test_leaving_out_nobody_or_everybody_is_refused(
    book: Book, told: dict[str, float], without: list[str], said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        infer_probabilities(book, told, without)

    (breach,) = caught.value.breaches
    assert said in str(breach)


# Moves from prices.csv


def write_history(note: Folder, rows: Sequence[Sequence[object]]) -> None:
    """A price history, and holdings at its last prices."""
    note.write("prices.csv", rows)
    (names, last) = rows[0][1:], [row for row in rows[1:] if str(row[0]) <= "2026-11-20"][-1][1:]
    note.price_at({str(name): float(str(price)) for name, price in zip(names, last, strict=True) if price != ""})


def priced(note: Folder, book: Book, days: dict[str, Vector]) -> ImpliedProbabilities:
    rows = [["date", *book.instruments], *([day, *map(repr, map(float, row))] for day, row in days.items())]
    write_history(note, rows)
    return infer_probabilities(load(note.path))


def test_prices_give_the_moves_from_the_markets_date_to_today(note: Folder, book: Book) -> None:
    then = np.linspace(10, 100, len(book.instruments))
    now = then * (1 + np.array(list(moves(book, OTHERS).values())))

    found = priced(note, book, {"2026-03-02": then * 2, "2026-04-07": then, "2026-08-03": then * 3, "2026-11-20": now})

    assert np.abs(found.probabilities - OTHERS).max() < 1e-6
    assert found.names == book.instruments


def test_moves_that_a_thousand_years_do_not_explain_are_refused_as_such(note: Folder, book: Book) -> None:
    then = np.linspace(10, 100, len(book.instruments))
    priced_days = {"2026-04-07": then, "2026-11-20": then * 1.01}
    rows = [["date", *book.instruments], *([d, *map(repr, map(float, row))] for d, row in priced_days.items())]
    write_history(note, rows)

    with pytest.raises(BadInput, match="no scenario probability explains this move"):
        infer_probabilities(load(note.path, as_of=dt.date(2999, 12, 31)))


def test_a_history_that_starts_after_the_markets_date_is_refused(note: Folder, book: Book) -> None:
    then = np.full(len(book.instruments), 10.0)

    with pytest.raises(BadInput, match="has no row on or before 2026-04-08"):
        priced(note, book, {"2026-04-09": then, "2026-11-20": then})


def test_prices_that_end_on_the_markets_date_have_had_no_time_to_move(note: Folder, book: Book) -> None:
    then = np.full(len(book.instruments), 10.0)

    with pytest.raises(BadInput, match=r"no row after \[market\] date 2026-04-08 up to as_of 2026-11-20") as caught:
        priced(note, book, {"2026-04-07": then, "2026-04-08": then, "2026-11-21": then * 2})

    assert "or give moves: --move NVDA=-0.12" in str(caught.value)


def test_prices_of_a_market_that_speaks_of_today_have_had_no_time_to_move(note: Folder, book: Book) -> None:
    rows = [["2026-04-08", *[10] * len(book.instruments)], ["2026-11-20", *[11] * len(book.instruments)]]
    write_history(note, [["date", *book.instruments], *rows])
    today = load(note.path, overrides=["market.date=2026-11-20"])

    with pytest.raises(BadInput, match=r"market\.date: is as_of, so that prices have had no time to move"):
        infer_probabilities(today)
    assert infer_probabilities(today, {"GPU": 0.05}).names == ("GPU",)


def test_a_price_that_rose_more_than_tenfold_is_refused_with_a_way_on(note: Folder, book: Book) -> None:
    then = np.full(len(book.instruments), 10.0)
    now = then * np.where(np.array(book.instruments) == "GPU", 12, 1)

    with pytest.raises(BadInput, match=r"prices.csv GPU: moved by more than tenfold .* or go on with --without GPU"):
        priced(note, book, {"2026-04-08": then, "2026-11-20": now})


def test_without_prices_and_moves_both_are_asked_for(book: Book) -> None:
    with pytest.raises(BadInput, match=r"there are no prices to read moves from; add prices\.csv, or give moves"):
        infer_probabilities(book)


def test_inferring_from_many_names_takes_a_fifth_of_a_second_at_most(book: Book) -> None:
    told = moves(book, OTHERS)
    started = dt.datetime.now(tz=dt.UTC)

    infer_probabilities(book, told)

    assert (dt.datetime.now(tz=dt.UTC) - started).total_seconds() < 0.2


def test_a_market_that_is_no_number_is_refused_and_not_read_as_excluded() -> None:
    values = np.array([[1.2, 0.8], [0.9, 1.1], [1.0, 1.0]])

    with pytest.raises(BadInput, match="read against"):
        _nearest(values, np.array([1.0, 1.0]), np.array([np.nan, 0.5, 0.5]))
