"""From a book's settings to rules and costs, and the objective from its formulas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from allocator.ambiguity.balls import Singleton, TotalVariation
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import no_trade
from allocator.outlook.outlook import build_outlook
from allocator.rules import Trade, VolatilityLimit
from allocator.rules.builder import bucket_shares
from tests.books import book
from tests.problems import random_question


def test_every_wish_of_the_settings_becomes_a_labelled_rule() -> None:
    wanted = {
        "max_weight": 0.4,
        "max_issuer_weight": 0.5,
        "min_cash": 0.02,
        "max_cash": 0.3,
        "max_turnover": 0.25,
        "min_expected_return": 0.01,
        "max_volatility": 0.3,
        "weights": {"BBB": {"min": 0.05, "max": 0.2}},
        "issuers": {"Meta": {"min": 0.1}},
        "buckets": {"efficiency": {"min": 0.1, "max": 0.6}},
        "groups": {"chips": {"max": 0.35}},
    }
    columns = {
        "issuer": ["Meta", "Meta", "Other", "Other"],
        "tradable_from": [None, None, None, pd.Timestamp("2027-01-01")],
    }
    made = build_mandate(
        book({"mandate": wanted, "groups": {"chips": {"AAA": 1.0, "CCC": 0.5}}}, exposures_columns=columns)
    )

    assert list(made.rows.labels) == [
        "AAA at most 40%", "BBB at most 20%", "CCC at most 40%", "DDD at most 40%", "BBB at least 5%",
        "issuer Meta at most 50%", "issuer Meta at least 10%", "issuer Other at most 50%",
        "bucket efficiency at most 60%", "bucket efficiency at least 10%", "group chips at most 35%",
        "cash at least 2%", "cash at most 30%", "turnover at most 25% (purchases)", "turnover at most 25% (sales)",
        "expected return at least 1%", "DDD is not tradable yet",
    ]  # fmt: skip
    (volatility,) = made.convex_rules
    assert isinstance(volatility, VolatilityLimit)
    assert (volatility.limit, volatility.against) == (0.3, None)
    np.testing.assert_array_equal(made.rows.holdings.toarray()[10], [1.0, 0.0, 0.5, 0.0])


def test_a_wish_that_cannot_bind_makes_no_rule() -> None:
    wanted = {"max_weight": 1.0, "max_cash": 1.0, "min_cash": 0.0, "buckets": {"efficiency": {"min": 0.0, "max": 1.0}}}

    assert build_mandate(book({"mandate": wanted})).rows.labels == ()


def test_costs_are_commission_and_half_the_spread() -> None:
    given = {"costs": {"commission_bps": 2.0, "spread_bps": 6.0}}

    np.testing.assert_allclose(build_mandate(book(given)).cost_rates, np.full(4, 5e-4))
    own = build_mandate(book(given, exposures_columns={"spread_bps": [10.0, None, 0.0, 40.0]}))
    np.testing.assert_allclose(own.cost_rates, np.array([7.0, 5.0, 2.0, 22.0]) / 1e4)


def test_bucket_shares_default_to_the_label() -> None:
    columns = {
        "bucket": ["efficiency", "capital_intensity", "efficiency", "adopter"],
        "efficiency_share": [0.3, 0.2, None, None],
    }
    held = book(exposures_columns=columns)

    np.testing.assert_array_equal(bucket_shares(held, "efficiency"), [0.3, 0.2, 1.0, 0.0])
    np.testing.assert_array_equal(bucket_shares(held, "capital_intensity"), [0, 1, 0, 0])
    np.testing.assert_array_equal(bucket_shares(held, "adopter"), [0, 0, 0, 1])


def test_minimum_variance_looks_at_no_return() -> None:
    made = build_mandate(book({"mandate": {"objective": "minimum_variance"}}))

    assert (made.return_weight, made.risk_aversion, made.ambiguity) == (0.0, 1.0, Singleton())


def test_the_ambiguity_set_is_the_one_of_the_settings() -> None:
    assert build_mandate(book({"robust": {"set": "total_variation", "radius": 0.2}})).ambiguity == TotalVariation(0.2)


def test_the_objective_is_worst_loss_and_risk_and_costs() -> None:
    given = book(
        {
            "mandate": {"risk_aversion": 3.0},
            "robust": {"set": "total_variation", "radius": 0.25},
        },
        returns={"up": [0.1, 0.2, 0.0, 0.0], "down": [-0.1, 0.0, 0.0, 0.0]},
    )
    outlook, mandate = build_outlook(given), build_mandate(given)
    trade = Trade(np.array([300.0, 200.0, 0.0, 0.0]), 495.0, np.zeros(4), np.zeros(4), 5.0, 1000.0)
    gains = np.array([0.3 * 0.1 + 0.2 * 0.2, -0.3 * 0.1]) + 0.495 * 0.02
    worst = -(0.25 * gains[0] + 0.75 * gains[1])
    variance = (0.15 * 0.5) ** 2 + 0.2**2 * (0.3**2 + 0.2**2)

    assert mandate.loss(trade, outlook) == pytest.approx(worst + 3 * variance + 0.005)


def test_the_objective_is_the_same_in_money_and_in_fractions() -> None:
    asked = random_question(1)
    small = asked.trade(asked.solved().holdings)
    large = Trade(small.values * 1e7, small.cash * 1e7, small.bought * 1e7, small.sold * 1e7, small.costs * 1e7, 1e7)

    assert asked.mandate.loss(large, asked.outlook) == pytest.approx(
        asked.mandate.loss(small, asked.outlook), rel=1e-12
    )


def test_the_untraded_portfolio_is_a_trade_of_nothing() -> None:
    held = book()
    trade = no_trade(held)

    assert trade.value == trade.value_before == held.value == 5000.0
    assert trade.costs == trade.bought.sum() == trade.sold.sum() == 0
    np.testing.assert_allclose(trade.weights, np.full(4, 0.2))
