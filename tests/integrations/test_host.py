"""Labels, signs and cash, where a peer and a book do not meet: refused by name, never guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allocator.ambiguity.balls import AnyProbabilities, Box, Contamination, Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler, ModifiedChiSquared
from allocator.ambiguity.polyhedral import ExpertHull, Polytope
from allocator.ambiguity.sets import Ambiguity
from allocator.ambiguity.transport import Wasserstein
from allocator.errors import BadInput
from allocator.integrations.cvxpy_terms import worst_case_expression
from allocator.integrations.host import (
    match_names,
    moments,
    refuse_prices,
    weights_by_name,
    with_holdings,
    with_settings,
)
from allocator.integrations.returns_table import own_confirmations, price_breaches, refuse_doubtful_returns
from allocator.outlook.outlook import build_outlook
from tests.books import CASH, NAMES, book


def test_labels_are_matched_by_name_and_not_by_position() -> None:
    places = match_names(book(), [CASH, "DDD", "AAA", "BBB", "CCC"], peer="a peer")
    holdings, cash = places.taken([0.4, 0.3, 0.1, 0.15, 0.05])

    assert holdings == pytest.approx([0.1, 0.15, 0.05, 0.3])
    assert cash == pytest.approx(0.4)
    assert places.given(holdings, cash) == pytest.approx([0.4, 0.3, 0.1, 0.15, 0.05])


def test_unknown_doubled_and_missing_names_are_all_refused_at_once() -> None:
    with pytest.raises(BadInput) as error:
        match_names(book(), ["AAAA", "BBB", "BBB", "CCC"], peer="a peer")

    found = [(breach.value, breach.rule) for breach in error.value.breaches]
    assert found == [
        ("AAAA", "is not an instrument of the book"),
        ("BBB", "is there more than once"),
        ("AAA", "of the book is not there"),
        ("DDD", "of the book is not there"),
    ]
    assert "did you mean 'AAA'?" in str(error.value)


def test_what_the_weights_leave_is_cash_where_the_peer_has_no_name_for_it() -> None:
    holdings, cash = match_names(book(), NAMES, peer="a peer").taken([0.2, 0.2, 0.2, 0.1])

    assert (holdings.sum(), cash) == pytest.approx((0.7, 0.3))


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ([-0.1, 0.5, 0.3, 0.3], "AAA: must be a number from 0 to 1 (got '-0.1')"),
        ([float("nan"), 0.5, 0.3, 0.2], "AAA: must be a number from 0 to 1 (got 'nan')"),
        ([0.4, 0.4, 0.3, 0.2], "weights held must not add up to more than 1 (got '1.3')"),
        ([0.4, 0.4, 0.3, 0.2], "let mandate.min_cash leave room for what the peer's trades cost"),
        ([0.5, 0.5], "there are 2 weights for 4 names"),
    ],
)
def test_weights_that_no_account_here_can_hold_are_refused(weights: list[float], told: str) -> None:
    with pytest.raises(BadInput) as error:
        match_names(book(), NAMES, peer="a peer").taken(weights)

    assert told in str(error.value)


def test_weights_that_know_cash_must_say_how_much_of_it_is_held() -> None:
    with pytest.raises(BadInput, match=f"must add up to 1, for {CASH} is one of them"):
        match_names(book(), [*NAMES, CASH], peer="a peer").taken([0.2, 0.2, 0.2, 0.1, 0.0])


def test_the_rounding_of_a_peer_is_not_leverage() -> None:
    holdings, cash = match_names(book(), NAMES, peer="a peer").taken([0.5, 0.5, 4e-9, -4e-9])

    assert (holdings >= 0).all()
    assert holdings.sum() + cash == pytest.approx(1, abs=1e-15)
    assert cash >= 0


def test_a_weight_of_a_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadInput, match="did you mean 'AAA'"):
        weights_by_name({"AAAA": 1.0}, NAMES, peer="a peer")


def test_labels_that_are_numbers_are_matched_as_texts_and_kept_as_they_are() -> None:
    places = match_names(book(names=("1", "2", "30")), [30, "1", np.int64(2)], peer="a peer")
    assert (places.labels, places.names, places.at) == ((30, "1", 2), ("30", "1", "2"), (2, 0, 1))
    assert weights_by_name({30: 0.5, 1: 0.25}, places.names, peer="a peer") == pytest.approx([0.5, 0.25, 0.0])
    with pytest.raises(BadInput, match="1: is there more than once"):
        weights_by_name({1: 0.5, "1": 0.25}, places.names, peer="a peer")


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ([100.0, 101.0, 99.5], "are they prices?"),
        ([0.01, -1.2, 0.02], "must be -1 or more"),
        ([1.01, 1.0, 0.99], "prices"),
    ],
)
def test_prices_and_percent_are_no_returns(column: list[float], told: str) -> None:
    good = [0.01, -0.02, 0.03]

    refuse_prices(np.array([good, good]).T, ["A", "B"], peer="a peer")
    with pytest.raises(BadInput) as error:
        refuse_prices(np.array([good, column]).T, ["A", "B"], peer="a peer")
    assert told in str(error.value)
    assert [breach.column for breach in error.value.breaches] == ["B"]


def test_holdings_in_fractions_are_held_at_the_value_that_the_peer_says() -> None:
    held = with_holdings(book(), np.array([0.1, 0.2, 0.3, 0.15]), 0.25, 1e6)

    assert held.value == pytest.approx(1e6)
    assert held.weights == pytest.approx([0.1, 0.2, 0.3, 0.15])
    with pytest.raises(BadInput, match="must have a value above 0"):
        with_holdings(book(), np.zeros(4), 1.0, -5.0)


def test_a_setting_that_nothing_reads_is_refused() -> None:
    plain = book({"mandate": {"objective": "minimum_variance"}})

    with pytest.raises(BadInput, match="has no effect with objective = 'minimum_variance'"):
        with_settings(plain, {("mandate", "risk_aversion"): 3.0})
    with pytest.raises(BadInput, match="must be greater than or equal to 0"):
        with_settings(book(), {("mandate", "risk_aversion"): -3.0})


def test_moments_are_within_scenarios_and_between_them() -> None:
    asked = book(returns={"up": [0.2, 0.1, 0.0, 0.1], "down": [-0.1, 0.0, 0.1, 0.1]})
    outlook = build_outlook(asked)
    mean, covariance = moments(outlook, match_names(asked, [CASH, *NAMES], peer="a peer"))

    weights = np.array([0.2, 0.3, 0.1, 0.2, 0.2])
    holdings, cash = weights[1:], 0.2
    assert mean @ weights == pytest.approx(outlook.probabilities @ outlook.portfolio_returns(holdings, cash))
    total = outlook.risk.variance(holdings) + outlook.variance_between(holdings, cash)
    assert weights @ covariance @ weights == pytest.approx(total)


def test_real_histories_raise_the_same_doubt_as_prices_and_as_returns_of_a_host(reference: Path) -> None:
    table = pd.read_csv(reference / "pypfopt" / "stock_prices.csv", index_col=0, parse_dates=True)
    returns, asked = table.pct_change(fill_method=None).iloc[1:], book(names=tuple(map(str, table.columns)))
    entry = {"kind": "jump", "name": "AAPL", "date": "2000-09-29", "why": "profit warning"}
    as_prices, as_returns = (own_confirmations(asked, [{"table": name, **entry}]) for name in ("prices", "returns"))

    (found,) = price_breaches(table, asked, peer="a peer")
    with pytest.raises(BadInput) as error:
        refuse_doubtful_returns(returns, asked, peer="a peer")
    (same,) = error.value.breaches
    assert (found.table, same.table) == ("prices from a peer", "returns from a peer")
    assert found.rule == same.rule == "falls by 52% from one row to the next on 2000-09-29, as in a 2:1 split"
    assert price_breaches(table, asked, as_prices, peer="a peer") == []
    refuse_doubtful_returns(returns, asked, as_returns, peer="a peer")
    with pytest.raises(BadInput, match="confirms what is not in doubt"):
        refuse_doubtful_returns(returns, asked, as_prices, peer="a peer")


SETS: tuple[Ambiguity, ...] = (
    Singleton(),
    TotalVariation(0.15),
    Box(0.1),
    Contamination(0.2),
    KullbackLeibler(0.05),
    ModifiedChiSquared(0.2),
    Wasserstein(0.3, np.abs(np.subtract.outer([0.0, 1.0, 2.0, 4.0], [0.0, 1.0, 2.0, 4.0]))),
    ExpertHull(np.array([[0.1, 0.2, 0.3, 0.4]])),
    Polytope(np.array([[1.0, 1.0, 0.0, 0.0]]), np.array([0.8])),
    AnyProbabilities(),
)


@pytest.mark.parametrize("ambiguity", SETS, ids=lambda one: type(one).__name__)
def test_a_set_by_its_definition_is_as_bad_as_its_own_adversary(ambiguity: Ambiguity) -> None:
    import cvxpy as cp

    p, losses = np.array([0.4, 0.3, 0.2, 0.1]), np.array([-0.1, 0.05, 0.3, 0.2])
    given = cp.Variable(4)
    problem = cp.Problem(cp.Minimize(worst_case_expression(given, ambiguity, p)), [given == losses])
    problem.solve(solver="CLARABEL")

    assert problem.value == pytest.approx(ambiguity.adversary(losses, p) @ losses, abs=1e-6)
