"""From a book to modelled returns: who makes them, and how the market's anchor moves with the news."""

from __future__ import annotations

import datetime as dt
import functools
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadInput
from allocator.outlook.calibration import (
    CalibratedModel,
    belief_ranges,
    build_question,
    calibrate,
    dated_signals,
    scenario_probabilities,
)
from allocator.outlook.outlook import attribute_returns, build_outlook
from allocator.outlook.posterior import elasticity, update_market_probabilities
from allocator.outlook.question import Signal, disclosure_density, silence_probability
from allocator.types import Vector
from tests.outlook.questions import (
    demand_expansion_probability,
    generalizable_probability,
    labs_of,
    likelihood_ratio,
    said,
)

if TYPE_CHECKING:
    from tests.conftest import Folder

FIRST = dt.date(2026, 11, 20)
LATER = dt.date(2026, 12, 20)
SCENARIOS = [
    f"{answer}_{demand}" for answer in ("generalizable", "proprietary") for demand in ("jevons", "compression")
]


@functools.cache
def note_book(root: Path, *overrides: str, as_of: dt.date | None = None) -> Book:
    return load(root / "tests" / "plain_books" / "note", overrides=overrides, as_of=as_of)


def model_of(book: Book) -> CalibratedModel:
    found = calibrate(book)
    assert found is not None
    return found


def market_by_hand(book: Book) -> Vector:
    """The stated probabilities, times the evidence since their date: silence of the labs and the usage figures."""
    question, stated, signals = build_question(book), book.settings.market, dated_signals(book)
    assert question is not None
    assert stated is not None
    assert question.demand is not None
    since, until = question.months(stated.date), question.months(book.settings.book.as_of)
    silent = {t: np.prod([silence_probability(lab, t) for lab in labs_of(question).values()]) for t in (since, until)}
    p = demand_expansion_probability(*elasticity(question.demand, signals))
    q = demand_expansion_probability(question.demand.mean, question.demand.deviation)
    factor = p / (1 - p) / (q / (1 - q))
    then = np.array([stated.probabilities[name] for name in book.scenarios])
    moved = then * np.array([factor, 1, factor, 1]) * np.array([1, 1, 0, 0]) * silent[until] / silent[since]
    moved = moved + then * np.array([factor, 1, factor, 1]) * np.array([0, 0, 1, 1])
    result: Vector = moved / moved.sum()
    return result


# Who makes a return


def with_own_returns(note: Folder, *rows: list[object]) -> Book:
    note.write("scenario_returns.csv", [["instrument", *SCENARIOS], *rows])
    return load(note.path)


def test_the_users_returns_replace_the_models_by_name(note: Folder) -> None:
    before = build_outlook(load(note.path))
    book = with_own_returns(note, ["GPU", 0.1, -0.2, 0.3, 0.4])
    after, i = build_outlook(book), book.instruments.index("GPU")

    np.testing.assert_array_equal(after.returns[:, i], [0.1, -0.2, 0.3, 0.4])
    np.testing.assert_array_equal(np.delete(after.returns, i, axis=1), np.delete(before.returns, i, axis=1))
    np.testing.assert_array_equal(after.cash_returns, before.cash_returns)


def test_the_users_return_on_cash_replaces_the_required_one(note: Folder) -> None:
    assert build_outlook(load(note.path)).cash_returns == pytest.approx(0.04, abs=1e-15)
    book = with_own_returns(note, ["USD", 0.01, 0.02, 0.03, 0.04])

    np.testing.assert_array_equal(build_outlook(book).cash_returns, [0.01, 0.02, 0.03, 0.04])


def test_a_name_with_returns_of_its_own_needs_no_loadings(note: Folder) -> None:
    for column in ("training", "inference", "capacity", "application", "other", "required_return"):
        note.cell("exposures.csv", "GPU", column, "")
    with pytest.raises(BadInput) as caught:
        load(note.path)
    assert [breach.column for breach in caught.value.breaches] == [
        "training", "inference", "capacity", "application", "other", "required_return",
    ]  # fmt: skip

    book = with_own_returns(note, ["GPU", 0.1, 0.1, 0.1, 0.1])

    assert np.isfinite(build_outlook(book).returns).all()
    assert dict(zip(book.instruments, attribute_returns(book).origins, strict=True))["GPU"] == "table"


def test_a_table_of_all_names_replaces_the_model_whole(note: Folder) -> None:
    names = [*load(note.path).instruments, "USD"]
    book = with_own_returns(note, *([name, 0.1, 0.15, 0.2, 0.25] for name in names))

    np.testing.assert_array_equal(build_outlook(book).returns, np.repeat([[0.1], [0.15], [0.2], [0.25]], 10, axis=1))
    assert set(attribute_returns(book).origins) == {"table"}


def test_a_parameter_of_a_loading_of_zero_may_be_blank(note: Folder) -> None:
    blank = model_of(load(note.path)).returns
    note.cell("exposures.csv", "GPU", "gross_margin", "0.37")
    for column, value in (("token_share", "0.9"), ("passed_on", "0.2"), ("application_margin", "0.3"),
                          ("application_elasticity", "3")):  # fmt: skip
        note.cell("exposures.csv", "OPENAI", column, value)

    np.testing.assert_array_equal(model_of(load(note.path)).returns, blank)


@pytest.mark.parametrize(("instrument", "column"), [("OPENAI", "gross_margin"), ("APPS", "passed_on"),
                                                    ("GPU", "owner"), ("USD", "required_return")])  # fmt: skip
def test_a_parameter_that_counts_may_not_be_blank(note: Folder, instrument: str, column: str) -> None:
    row = note.cell("exposures.csv", instrument, column, "")

    with pytest.raises(BadInput) as caught:
        load(note.path)

    (breach,) = caught.value.breaches
    assert (breach.table, breach.row, breach.column) == ("exposures.csv", row, column)
    assert breach.cure == "fill it in, or give the name's returns in scenario_returns.csv"


@pytest.mark.parametrize("capacity", [0.7, 1.0, 1.3])
@pytest.mark.parametrize("book", ["note", "listed"])
def test_the_drivers_of_a_return_add_up_to_it(root: Path, book: str, capacity: float) -> None:
    loaded = load(
        root / "tests" / "plain_books" / book, overrides=[f"scenarios.generalizable_jevons.capacity={capacity}"]
    )
    model = model_of(loaded)

    parts = model.drivers(loaded.settings.horizon.months / 12)

    assert list(parts)[-1] == "required return and anchor"
    assert np.abs(sum(parts.values()) - model.returns).max() < 1e-12
    found = attribute_returns(loaded, loaded.instruments[0])
    assert found.drivers is not None
    assert np.abs(sum(found.drivers.values()) - found.outlook.returns[:, 0]).max() < 1e-12


# What the market knows (design §5)


@pytest.mark.parametrize("as_of", [FIRST, LATER, dt.date(2027, 4, 8)])
def test_the_markets_probabilities_move_with_the_books_signals(root: Path, as_of: dt.date) -> None:
    book = note_book(root, as_of=as_of)
    model = model_of(book)

    assert model.market_now is not None
    assert np.abs(model.market_now - market_by_hand(book)).max() < 1e-14


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("as_of", [FIRST, LATER, dt.date(2027, 4, 8)])
def test_returns_start_at_the_price_of_the_node_we_stand_on(root: Path, share: float, as_of: dt.date) -> None:
    book = note_book(root, f"horizon.announcement_share={share}", as_of=as_of)
    model = model_of(book)
    then, now = np.array([0.275, 0.225, 0.275, 0.225]), market_by_hand(book)
    before = then @ model.values
    price = before * ((now @ model.values) / before) ** share
    required = 1 + book.exposures["required_return"].to_numpy(dtype=float)

    expected = required * model.values / price - 1

    assert np.abs(model.returns - expected).max() < 1e-12
    assert np.abs(build_outlook(book).returns - expected).max() < 1e-12


def test_a_second_run_a_month_later_keeps_the_announced_drift(root: Path) -> None:
    first, second = (note_book(root, as_of=day) for day in (FIRST, LATER))
    one, two = model_of(first), model_of(second)
    assert one.market_now is not None
    assert two.market_now is not None

    # no news: prices moved by the share of the silence's meaning that comes at once, and by nothing else
    drift = ((two.market_now @ two.values) / (one.market_now @ one.values)) ** 0.6
    assert np.abs((1 + two.returns) * drift - (1 + one.returns)).max() < 1e-12
    assert np.abs(drift - 1).max() > 1e-3
    # the part still to come is in the expected returns, and is no full re-anchor
    growth = 1 + two.loadings.required_return
    left = two.market_now @ (1 + two.returns) / growth
    before = np.array([0.275, 0.225, 0.275, 0.225]) @ two.values
    assert left == pytest.approx((two.market_now @ two.values / before) ** 0.4, abs=1e-12)


def test_a_month_later_every_name_returns_by_the_rule_and_nothing_jumps(root: Path) -> None:
    """Design §5: A(t) = A(0)·(Σ p_t V / Σ p_0 V)^J, on days between two runs and on the second run's own."""
    then = np.array([0.275, 0.225, 0.275, 0.225])
    days = [FIRST + dt.timedelta(n) for n in range(0, (LATER - FIRST).days + 1, 3)]
    models = [model_of(note_book(root, as_of=day)) for day in days]

    prices = []
    for model in models:
        assert model.market_now is not None
        start = then @ model.values
        price = start * (model.market_now @ model.values / start) ** 0.6
        expected = (1 + model.loadings.required_return) * model.values / price - 1
        assert np.abs(model.returns - expected).max() < 1e-12
        prices.append(price)

    steps = np.diff(np.log(prices), axis=0)  # (dates, N), of silence alone
    whole = np.abs(np.log(prices[-1] / prices[0]))
    assert whole.max() > 1e-3
    assert (np.abs(steps).max(axis=0) <= 1.5 * whole / len(steps) + 1e-12).all()


def test_where_nothing_is_announced_returns_stand_still(root: Path) -> None:
    first, second = (
        model_of(note_book(root, "horizon.announcement_share=0", as_of=day)).returns for day in (FIRST, LATER)
    )

    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("as_of", [FIRST, LATER, dt.date(2028, 1, 3)])
def test_where_all_is_announced_every_name_is_always_fairly_priced(root: Path, as_of: dt.date) -> None:
    model = model_of(note_book(root, "horizon.announcement_share=1", as_of=as_of))
    assert model.market_now is not None

    required = 1 + model.loadings.required_return

    assert np.abs(model.market_now @ (1 + model.returns) / required - 1).max() < 6e-16


def test_on_its_own_date_the_market_prices_every_name_fairly_at_any_share(root: Path) -> None:
    model = model_of(load(root / "tests" / "plain_books" / "listed"))
    assert model.market_now is not None

    required = 1 + model.loadings.required_return

    assert np.abs(model.market_now @ (1 + model.returns) / required - 1).max() < 6e-16


def test_fully_announcing_prices_are_a_martingale_under_the_markets_probabilities(root: Path) -> None:
    """T13: after a claim, the price expected over its verification and its refutation is the price before."""
    book = note_book(root, "horizon.announcement_share=1")
    question, values = build_question(book), model_of(book).values
    assert question is not None
    day, then = FIRST, np.array([0.275, 0.225, 0.275, 0.225])
    claim = [*dated_signals(book), said(day, "claim", "OpenAI")]
    lab, t = labs_of(question)["OpenAI"], question.months(day)
    hazard = float(disclosure_density(lab, t) / silence_probability(lab, t))
    genuine = hazard / (hazard + lab.background)

    def theirs(*more: Signal) -> Vector:
        return update_market_probabilities(question, then, [*claim, *more], [question.opened, day])[-1]

    now = theirs()
    p = float(generalizable_probability(question, now))
    good, lucky = question.sensitivity, question.false_positive
    passes = p * (genuine * good + (1 - genuine) * lucky) + (1 - p) * lucky
    after = passes * theirs(said(day, "verification", "OpenAI"))
    after = after + (1 - passes) * theirs(said(day, "refutation", "OpenAI"))

    assert np.abs(after - now).max() < 4e-16
    assert np.abs((after @ values) / (now @ values) - 1).max() < 9e-16


def test_silence_and_claim_average_to_todays_price_under_the_markets_probabilities(root: Path) -> None:
    book = note_book(root, "horizon.announcement_share=1")
    question, model = build_question(book), model_of(book)
    assert question is not None
    assert model.market_now is not None
    signals, now = dated_signals(book), model.market_now
    later = update_market_probabilities(question, now, signals, [FIRST, LATER])[-1]
    t = np.array([question.months(FIRST), question.months(LATER)])
    ratio = likelihood_ratio(question, signals, t)
    quiet = np.exp(-(t[1] - t[0]) * 0.016)
    silent = now * np.where(question.answers == 0, ratio[1] / ratio[0], 1.0) * quiet
    claimed = now - silent

    price = (silent.sum() * later + claimed) @ model.values

    assert np.abs(price / (now @ model.values) - 1).max() < 6e-16


def test_without_a_market_every_name_is_anchored_to_today(note: Folder) -> None:
    text = (note.path / "book.toml").read_text(encoding="utf-8")
    start, end = text.index("[market]"), text.index("[horizon]")
    (note.path / "book.toml").write_text(text[:start] + text[end:], encoding="utf-8")

    model = model_of(load(note.path))

    assert (model.market_then, model.market_now) == (None, None)
    expected = (1 + model.loadings.required_return) * model.values - 1
    np.testing.assert_allclose(model.returns, expected, atol=1e-15)


# The market's date


@pytest.mark.parametrize(
    ("date", "said"),
    [
        ("2026-11-21", "is after as_of = 2026-11-20"),
        ("2026-04-07", "is before the question opened on 2026-04-08"),
    ],
)
def test_a_market_date_that_the_rule_cannot_place_is_refused(root: Path, date: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        note_book(root, f"market.date={date}")

    (breach,) = caught.value.breaches
    assert (breach.column, breach.value) == ("market.date", date)
    assert breach.rule == said


@pytest.mark.parametrize("date", ["2026-04-08", "2026-11-20"])
def test_a_market_date_from_the_opening_to_today_is_taken(root: Path, date: str) -> None:
    book = note_book(root, f"market.date={date}")

    assert model_of(book).market_then == pytest.approx([0.275, 0.225, 0.275, 0.225], abs=1e-15)


def test_an_old_market_date_needs_an_announcement_share(note: Folder) -> None:
    text = (note.path / "book.toml").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("announcement_share")]
    (note.path / "book.toml").write_text(text.replace(line, ""), encoding="utf-8")

    with pytest.raises(BadInput) as caught:
        load(note.path)
    (breach,) = caught.value.breaches
    assert breach.column == "horizon.announcement_share"
    assert breach.rule == "is needed: the market's probabilities are of 2026-04-08"
    load(note.path, overrides=["market.date=2026-11-20"])  # today's need none


def test_without_a_question_the_market_must_speak_of_today(listed: Folder) -> None:
    with pytest.raises(BadInput, match=r"is not as_of, and without \[question\] nothing says how prices moved since"):
        load(listed.path, overrides=[
            "market.date=2026-11-19", "horizon.announcement_share=0.5",
            *(f"market.probabilities.{a}_{b}=0.25" for a in ("generalizable", "proprietary")
              for b in ("jevons", "compression")),
        ])  # fmt: skip


# From a book to its question


def test_a_book_says_what_its_question_is(root: Path) -> None:
    book = note_book(root)
    question, ranges = build_question(book), belief_ranges(book)

    assert question is not None
    assert question.prior.tolist() == [0.32, 0.18, 0.28, 0.22]
    assert question.answers.tolist() == [0, 0, 1, 1]
    assert question.regime_of is not None
    assert question.regime_of.tolist() == [0, 1, 0, 1]
    assert ranges is not None
    assert (ranges.prior, ranges.background) == ((0.3, 0.7), (0.02, 0.1))
    assert [(s.date.isoformat(), s.kind, s.source, s.usage_growth) for s in dated_signals(book)] == [
        ("2026-07-31", "usage", "", 0.45), ("2026-10-30", "usage", "", 0.38),
    ]  # fmt: skip


def test_on_the_day_of_the_opening_we_believe_the_prior(root: Path) -> None:
    book = note_book(root)

    assert scenario_probabilities(book, dt.date(2026, 4, 8)) == pytest.approx([0.32, 0.18, 0.28, 0.22], abs=1e-15)
    assert scenario_probabilities(book).sum() == pytest.approx(1, abs=1e-15)


def test_a_book_without_a_question_believes_what_it_states(listed: Folder) -> None:
    book = load(listed.path)

    assert (build_question(book), belief_ranges(book), calibrate(book)) == (None, None, None)
    assert build_outlook(book).probabilities.tolist() == [s.probability for s in book.settings.scenarios.values()]


def test_usage_figures_without_error_that_contradict_each_other_leave_every_return_a_number(note: Folder) -> None:
    note.write("signals.csv", [
        ["date", "kind", "source", "price_fall", "usage_growth"],
        ["2026-07-31", "usage", "a router", 0.25, 0.02], ["2026-10-30", "usage", "a router", 3.0, 9.0],
    ])  # fmt: skip

    model = model_of(load(note.path, overrides=["question.demand.figure_noise=0.001", "market.date=2026-09-01"]))

    assert np.isfinite(model.returns).all()
    assert model.market_now is not None
    assert np.isfinite(model.market_now).all()


def test_returns_that_are_no_numbers_are_refused(note: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    book = load(note.path, overrides=["market.date=2026-09-01"])
    monkeypatch.setattr("allocator.outlook.calibration.update_market_probabilities", lambda *_: np.full((2, 4), np.nan))

    with pytest.raises(BadInput, match="what prices already hold"):
        calibrate(book)


@pytest.mark.parametrize(
    ("row", "day"),
    [
        (["2026-12-03", "usage", "a router", 0.25, 0.9], dt.date(2026, 12, 3)),
        (["2026-12-03", "claim", "OpenAI", "", ""], dt.date(2026, 12, 3)),
    ],
)
def test_news_inside_the_month_moves_returns_on_its_own_day_and_no_other(
    note: Folder, row: list[object], day: dt.date
) -> None:
    days = [FIRST + dt.timedelta(days=n) for n in range(9, 18)]
    quiet = [model_of(load(note.path, as_of=one)).returns for one in days]
    with (note.path / "signals.csv").open("a", encoding="utf-8") as signals:
        signals.write(",".join(map(str, row)) + ",\n")
    told = [model_of(load(note.path, as_of=one)).returns for one in days if one >= day]

    before = quiet[: days.index(day)]
    steps = np.array([np.abs(b - a).max() for a, b in pairwise([*before, *told])])
    calm = max(np.abs(b - a).max() for a, b in pairwise(quiet))
    at = int(steps.argmax())
    assert at == len(before) - 1
    assert steps[at] > 3 * calm
    assert np.delete(steps, at).max() < 3 * calm
