"""Simulated worlds keep the product's own laws: what is true is as believed, prices end where the scenario does."""

from __future__ import annotations

import datetime as dt
import tomllib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import allocator
from allocator.backtesting.worlds import (
    ERRORS,
    WorldSource,
    _empty_claims,
    believed_book,
    book_at_review,
    drawn_signals,
    random_stream,
    refuse_untried,
    with_errors,
)
from allocator.book.book import Book
from allocator.errors import BadInput
from allocator.outlook.calibration import build_question, dated_signals, market_path, required_growth
from allocator.outlook.outlook import build_outlook
from allocator.outlook.posterior import claim_probabilities
from allocator.outlook.question import DAYS_A_MONTH, Question, Signal
from tests.thoroughness import count

WORLDS = count(2000, 10)


@pytest.fixture(scope="module")
def book() -> Book:
    return allocator.load("data/reviewed")


@pytest.fixture(scope="module")
def asked(book: Book) -> Question:
    question = build_question(book)
    assert question is not None
    return question


def quiet(book: Book) -> Book:
    """Without risk within a scenario: prices move by news alone."""
    return replace(book, settings=book.settings.model_copy(
        update={"risk": book.settings.risk.model_copy(update={"source": "none"})}
    ))  # fmt: skip


def test_a_world_ends_where_its_scenario_does_whatever_was_signalled_on_the_way(book: Book) -> None:
    source = WorldSource(quiet(book), 26)
    ends = 1 + build_outlook(book).returns
    cash = 1 + build_outlook(book).cash_returns

    for number in range(12):
        world = source.world(0, number)
        assert world.growth.prod(axis=0) == pytest.approx(ends[world.scenario], rel=1e-9)
        assert world.cash_growth.prod() == pytest.approx(cash[world.scenario], rel=1e-9)


def test_at_an_announcement_share_of_one_no_name_is_worth_less_waiting_for_in_the_market_s_eyes(book: Book) -> None:
    """Where all news is priced at once, what prices hold is the market's own expectation: returns from there are the
    required ones under its probabilities, on every path.
    """
    at_once = book.settings.horizon.model_copy(update={"announcement_share": 1.0})
    truth = replace(book, settings=book.settings.model_copy(update={"horizon": at_once}))
    world = next(one for n in range(30) if len((one := WorldSource(truth, 26).world(1, n)).signals) > 3)
    for day in world.days:
        seen = book_at_review(truth, day, world.signals)
        path = market_path(seen)
        assert path is not None
        assert path.now @ (1 + build_outlook(seen).returns) == pytest.approx(required_growth(seen), rel=1e-9)


def test_scenarios_come_true_as_often_as_the_book_believes(book: Book) -> None:
    source, believed = WorldSource(quiet(book), 26), build_outlook(book).probabilities
    drawn = [source.scenario(3, number)[0] for number in range(4000)]

    shares = np.bincount(drawn, minlength=len(believed)) / len(drawn)
    assert np.abs(shares - believed).max() < 4 * np.sqrt(0.25 / len(drawn))
    assert source.world(3, 7).scenario == drawn[7]


def test_claims_come_as_often_as_the_tree_says_that_they_will(book: Book, asked: Question) -> None:
    """P(somebody claims before the first review), given each answer, mixed by the belief: the tree's own figure."""
    days = (book.settings.book.as_of, *book.settings.horizon.reviews, dt.date(2027, 11, 20))
    seen, months = dated_signals(book), (days[1] - days[0]).days / DAYS_A_MONTH
    wanted = claim_probabilities(asked, seen, days[0], months)["generalizable"]
    by_answer = asked.answers_by_name(build_outlook(book).probabilities)

    found = 0.0
    for answer, probability in by_answer.items():
        claimed = 0
        for number in range(WORLDS):
            rows, _ = drawn_signals(asked, seen, answer, days, random_stream(5, number))
            claimed += any(row[1] == "claim" and row[0] <= days[1] for row in rows)
        found += probability * claimed / WORLDS
    assert found == pytest.approx(wanted, abs=4 * np.sqrt(0.25 / WORLDS))


def test_a_claim_is_judged_at_the_review_after_the_one_that_finds_it_by_the_test_s_own_errors(
    book: Book, asked: Question
) -> None:
    days = (book.settings.book.as_of, *book.settings.horizon.reviews, dt.date(2027, 11, 20))
    verdicts = {True: list[bool](), False: list[bool]()}
    for number in range(WORLDS):
        rows, first = drawn_signals(asked, dated_signals(book), "generalizable", days, random_stream(6, number))
        for day, kind, source, _ in rows:
            if kind == "claim":
                found = next((review for review in days[1:-1] if review >= day), None)
                judged = next((review for review in days[1:-1] if found is not None and review > found), None)
                assert judged is None or any(row[0] == judged and row[2] == source for row in rows)
        if first is not None and first <= days[1]:
            whose = next(source for day, kind, source, _ in rows if day == first and kind == "claim")
            own = [row for row in rows if row[2] == whose]
            if [row[1] for row in own].count("claim") == 1:
                verdicts[True].append(own[-1][1] == "verification")
    share = float(np.mean(verdicts[True]))
    assert share == pytest.approx(asked.sensitivity, abs=4 * np.sqrt(0.05 * 0.95 / len(verdicts[True])))


@pytest.mark.parametrize("before", [0, 180])
def test_who_has_claimed_before_is_judged_and_who_was_verified_discloses_no_more(asked: Question, before: int) -> None:
    opened, today, end = asked.opened, dt.date(2026, 11, 20), dt.date(2027, 11, 20)
    faster = replace(asked.sources["OpenAI"]["generalizable"], disclosure=0.9, hazard=0.3, background=0.3)
    own = {**asked.sources["OpenAI"], "generalizable": faster}  # so that half a year of silence says much
    asked = replace(asked, sources={**asked.sources, "OpenAI": own})
    claimed = today - dt.timedelta(days=before)
    claim = Signal(claimed, "claim", "OpenAI", "generalizable")
    days = (today, dt.date(2027, 2, 20), dt.date(2027, 5, 20), end)
    assert opened < today
    genuine = 0
    for number in range(WORLDS):
        rows, _ = drawn_signals(asked, [claim], "generalizable", days, random_stream(7, number))
        first = next(row for row in rows if row[2] == "OpenAI" and row[1] != "claim")
        assert first[0] == days[1]
        genuine += first[1] == "verification"
    # the claim was genuine, or the source has kept silent until today and claimed without substance
    model = asked.sources["OpenAI"]["generalizable"]
    density = model.disclosure * model.hazard * np.exp(-model.hazard * asked.months(claimed))
    silent = 1 - model.disclosure + model.disclosure * np.exp(-model.hazard * asked.months(today))
    likely = density / (density + model.background * silent)
    wanted = likely * asked.sensitivity + (1 - likely) * asked.false_positive
    assert genuine / WORLDS == pytest.approx(wanted, abs=4 * np.sqrt(0.25 / WORLDS))


@pytest.mark.parametrize("kind", ["model", "other"])
def test_noise_has_mean_one_and_the_risk_within_a_scenario(book: Book, kind: Any) -> None:
    source, outlook = WorldSource(book, 26, kind), build_outlook(book)
    days = (dt.date(2026, 11, 20), dt.date(2027, 2, 20), dt.date(2027, 11, 20))
    drawn = np.array([
        source._noise(outlook.risk, outlook.years, days, random_stream(8, number))[0] for number in range(6000)
    ])  # fmt: skip
    variances = outlook.risk.variances * 92 / 365
    spread = np.sqrt(np.exp(variances) - 1) if kind == "model" else np.sqrt(variances)

    if kind == "other":  # cut off alike on either side: else the names of most risk would gain 20 bps a quarter
        assert (drawn.min(), drawn.max()) == pytest.approx((0.05, 1.95))
    assert drawn.mean(axis=0) == pytest.approx(np.ones(len(spread)), abs=0.03)
    assert drawn.std(axis=0) == pytest.approx(spread, rel=0.06 if kind == "model" else 0.15)


def test_empty_claims_of_worlds_that_are_not_our_model_s_have_the_same_mean_waiting_time() -> None:
    months = np.arange(0, 1200, 0.1)
    counts = [len(_empty_claims(0.05, months, random_stream(9, number), "other")) for number in range(40)]

    assert np.mean(counts) == pytest.approx(1200 * 0.05, rel=0.03)


def test_a_world_hangs_on_its_own_number_and_on_nothing_that_was_drawn_before(book: Book) -> None:
    one, other = WorldSource(book, 26), WorldSource(book, 26)
    for number in range(5):
        one.world(2, number)
    before, after = one.world(4, 1), other.world(4, 1)

    assert before.signals == after.signals
    assert np.array_equal(before.growth, after.growth)
    assert not np.array_equal(before.growth, other.world(4, 2).growth)
    assert not np.array_equal(before.growth, WorldSource(book, 27).world(4, 1).growth)


def test_who_is_not_wrong_believes_the_truth_and_twice_the_strength_is_twice_the_error(book: Book) -> None:
    right, _ = believed_book(book, 0.0, 26, 5)
    assert build_outlook(right).probabilities == pytest.approx(build_outlook(book).probabilities, abs=1e-15)
    assert build_outlook(right).returns == pytest.approx(build_outlook(book).returns, abs=1e-13)

    def hazard(strength: float) -> float:
        wrong, _ = believed_book(book, strength, 26, 5)
        question = wrong.settings.question
        assert question is not None
        return float(np.log(question.labs["Google"].hazard / 0.0829))

    assert hazard(2.0) == pytest.approx(2 * hazard(1.0), rel=1e-9)
    loadings = ["training", "inference", "capacity", "application", "other"]
    wrong, _ = believed_book(book, 2.0, 26, 5)
    assert wrong.exposures[loadings].sum(axis=1).to_numpy(float) == pytest.approx(np.ones(10))
    assert (wrong.exposures["capacity"] == 0).equals(book.exposures["capacity"] == 0)


@pytest.mark.parametrize("about", list(ERRORS))
def test_an_error_alone_is_the_same_error_as_among_all_others(book: Book, about: str) -> None:
    alone = with_errors(book, 1.0, random_stream(26, 3), (about,))
    together = with_errors(book, 1.0, random_stream(26, 3))
    where: dict[str, Any] = {
        "prior": lambda one: [each.probability for each in one.settings.scenarios.values()],
        "hazard": lambda one: one.settings.question.labs["OpenAI"].hazard,
        "disclosure": lambda one: one.settings.question.labs["OpenAI"].disclosure,
        "exposures": lambda one: one.exposures["inference"].tolist(),
        "announcement_share": lambda one: one.settings.horizon.announcement_share,
        "digestion": lambda one: one.settings.horizon.digestion_months,
    }

    assert where[about](alone) == pytest.approx(where[about](together))
    for other in set(ERRORS) - {about}:
        assert where[other](alone) == pytest.approx(where[other](book))
        assert where[other](together) != pytest.approx(where[other](book))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["horizon.reviews=[]"], "horizon.reviews"),
        (['mandate.objective="mean_cvar"'], "mandate.objective"),
        (["mandate.max_names=4"], "mandate.max_names"),
        (["mandate.max_volatility=0.2"], "mandate.max_volatility"),
        (["mandate.min_expected_return=0.0"], "mandate.min_expected_return"),
        (["cash.paid_in=1000"], "cash"),
        (["cash.flows={2027-02-10 = 1000.0}"], "cash.flows"),
    ],
)
def test_a_book_that_no_trial_can_live_through_is_refused_with_its_cure(overrides: list[str], words: str) -> None:
    spoiled = allocator.load("data/reviewed")
    key, _, value = overrides[0].partition("=")
    section, name = key.split(".")
    stated = tomllib.loads(f"value = {value}")["value"]
    part = getattr(spoiled.settings, section).model_copy(update={name: stated})
    spoiled = replace(spoiled, settings=spoiled.settings.model_copy(update={section: part}))
    with pytest.raises(BadInput) as refused:
        refuse_untried(spoiled)
    assert words in str(refused.value)
