"""Policies under the same rules: each is what it says, by closed forms and by the product's own plan."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

import allocator
from allocator.backtesting.policies import (
    NOMINAL,
    AnswerPolicy,
    MeanVariancePolicy,
    NearestPolicy,
    Situation,
    UtilityPolicy,
    claimed_answer,
    compared_policies,
    grid_policies,
    traded,
    tree_name,
)
from allocator.backtesting.worlds import book_at_review
from allocator.book.book import Book
from allocator.rules.rows import Position


@pytest.fixture(scope="module")
def book() -> Book:
    return allocator.load("data/reviewed")


@pytest.fixture(scope="module")
def met(book: Book) -> Situation:
    return Situation(book)


@pytest.fixture(scope="module")
def start(book: Book) -> Position:
    return Position(book.weights, book.cash / book.value)


def test_the_robust_tree_trades_what_the_plan_of_its_book_aims_at(book: Book, met: Situation, start: Position) -> None:
    plan = allocator.rebalance(book, lots=False)

    trade = UtilityPolicy("own", (0.5, 0.5)).trade(met, start)
    assert trade.all_weights == pytest.approx(plan.target.all_weights, abs=2e-5)


def test_a_tree_at_no_caution_is_the_plan_of_a_book_that_guards_against_nothing(
    book: Book, met: Situation, start: Position
) -> None:
    robust = type(book.settings.robust)()
    trusting = replace(book, settings=book.settings.model_copy(update={"robust": robust}))
    plan = allocator.rebalance(trusting, lots=False)

    trade = UtilityPolicy(NOMINAL).trade(met, start)
    assert trade.all_weights == pytest.approx(plan.target.all_weights, abs=2e-5)


def test_equal_weights_are_reached_where_the_rules_let_them_be(book: Book) -> None:
    settings = book.settings
    free = settings.mandate.model_copy(update={
        "max_turnover": None, "buckets": {}, "groups": {}, "max_cash": 1.0, "min_cash": 0.0, "max_weight": 1.0,
    })  # fmt: skip
    costless = settings.costs.model_copy(update={"commission_bps": 0.0})
    exposures = book.exposures.assign(spread_bps=0.0, tradable_from=None)
    loose = replace(
        book, settings=settings.model_copy(update={"mandate": free, "costs": costless}), exposures=exposures
    )
    trade = NearestPolicy("1/N", equal=True).trade(Situation(loose), Position(book.weights, book.cash / book.value))

    assert trade.values == pytest.approx(np.full(10, 0.1), abs=1e-5)


def test_who_holds_trades_nothing_where_all_rules_are_kept_and_only_what_they_demand_elsewhere(
    met: Situation, start: Position
) -> None:
    hold = NearestPolicy("hold", equal=False)
    forced = hold.trade(met, start)
    assert (
        0.15 < forced.sold.sum() < 0.25
    )  # today's book has too much capital intensity, and too little cash is no cause
    again = Position(forced.values / forced.value, forced.cash / forced.value)

    rested = hold.trade(met, again)
    assert rested.bought.sum() + rested.sold.sum() < 1e-3


def test_one_period_by_mean_and_variance_is_the_product_s_own_plan_of_such_a_book(
    book: Book, met: Situation, start: Position
) -> None:
    settings = book.settings
    mandate = settings.mandate.model_copy(
        update={"objective": "return_minus_risk", "risk_aversion": 1.5, "relative_risk_aversion": None}
    )
    horizon = settings.horizon.model_copy(update={"reviews": []})
    robust = type(settings.robust)()
    plain = settings.model_copy(update={"mandate": mandate, "horizon": horizon, "robust": robust})
    plan = allocator.rebalance(replace(book, settings=plain), lots=False)

    trade = MeanVariancePolicy("mean-variance").trade(met, start)
    assert trade.all_weights == pytest.approx(plan.target.all_weights, abs=2e-5)


def test_who_follows_the_claim_is_certain_of_the_last_one_that_is_not_refuted(book: Book, start: Position) -> None:
    day, claim = dt.date(2027, 2, 20), (dt.date(2027, 1, 5), "claim", "Google", "generalizable")
    silent = Situation(book_at_review(book, day, ()))
    claimed = Situation(book_at_review(book, day, (claim,)))
    refuted = Situation(book_at_review(book, day, (claim, (day, "refutation", "Google", "generalizable"))))
    follows = AnswerPolicy("follow the claim")

    assert [claimed_answer(one.book) for one in (silent, claimed, refuted)] == [None, "generalizable", None]
    once = UtilityPolicy("one period", reviewed=False)
    assert follows.trade(silent, start).values == pytest.approx(once.trade(silent, start).values, abs=1e-6)
    known = AnswerPolicy("", knows="generalizable").trade(claimed, start)
    assert follows.trade(claimed, start).values == pytest.approx(known.values, abs=1e-9)
    assert np.abs(known.values - once.trade(claimed, start).values).sum() > 0.05


def test_where_the_rules_cannot_be_kept_nothing_is_traded(book: Book, start: Position) -> None:
    stuck = book.settings.mandate.model_copy(update={"max_turnover": 0.01})
    met = Situation(replace(book, settings=book.settings.model_copy(update={"mandate": stuck})))

    assert [traded(policy, met, start) for policy in (UtilityPolicy(NOMINAL), NearestPolicy("1/N"))] == [None, None]


def test_names_of_policies_are_their_own_and_the_nominal_tree_is_first() -> None:
    every = [*compared_policies(), *grid_policies()]
    names = [policy.name for policy in every]

    assert len({*names}) == len(names) == 11 + 18
    assert names[0] == NOMINAL
    cautions = {policy.caution for policy in every if isinstance(policy, UtilityPolicy) and policy.reviewed}
    wanted = {(round(c / 10, 1), 0.0) for c in range(11)} | {(0.0, round(c / 10, 1)) for c in range(11)} | {(0.5, 0.5)}
    assert cautions == wanted
    assert tree_name((0.2, 0.6)) == "tree, 0.2 and 0.6"


def test_skfolio_s_portfolios_are_of_the_same_outlook_and_traded_as_near_as_the_rules_let_be(
    met: Situation, start: Position
) -> None:
    pytest.importorskip("skfolio")
    from allocator.backtesting.peer_policies import peer_policies

    cvar, opinions = peer_policies()
    for policy in (cvar, opinions):
        wanted = policy.wanted(met, start)  # type: ignore[attr-defined]
        trade = policy.trade(met, start)
        assert (wanted >= -1e-6).all()
        assert wanted.max() <= 0.18 + 1e-6
        assert np.abs(trade.weights - wanted).sum() < 0.25  # one name is locked, and purchases cost
        assert met.mean_variance.readings(trade, met.outlook)
        assert all(one.missed <= 1e-6 for one in met.mean_variance.readings(trade, met.outlook))
    assert cvar.caution is None
    assert cvar.name != opinions.name
