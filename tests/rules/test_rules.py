"""Each rule: one portfolio inside, one outside, one where the optimum sits on the limit, and its two formulas agree."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pytest

from allocator.outlook.outlook import Outlook
from allocator.rules import (
    Band,
    Destination,
    ExposureLimit,
    Forbidden,
    InstrumentCaps,
    InstrumentFloors,
    LeftAlone,
    LinearRule,
    MinimumExpectedReturn,
    NotEligible,
    NoTrade,
    OneWay,
    PaidOut,
    Participation,
    RatioLimit,
    RuleRows,
    ScenarioFloor,
    StressFloor,
    Trade,
    Turnover,
    VolatilityLimit,
    WeightAtLeast,
    WeightAtMost,
    format_limit_percent,
    stack_rows,
)
from allocator.types import Vector
from tests.agreement import KEPT
from tests.problems import Question, question

NAMES = 3
MEANS = np.array([0.02, 0.06, 0.12])
NOBODY = np.zeros(NAMES)
SHARES = np.array([0.0, 0.5, 1.0])
BETAS = np.array([0.5, 1.0, 2.0])
WITHOUT_A_LIMIT = ("no trade", "locked", "forbidden", "not eligible")


@dataclass(frozen=True, eq=False)
class Case:
    """A rule, its labels, weights that keep it and weights that break it (cash is the rest)."""

    rule: LinearRule
    labels: tuple[str, ...]
    inside: tuple[float, ...]
    outside: tuple[float, ...]
    homogeneous: bool = True
    """Whether the rule is about fractions of the account after the trades."""
    low_return: bool = False
    """Whether the optimum runs against the rule only when returns are turned around."""


CASES = {
    "caps": Case(
        InstrumentCaps(("B", "C"), (1, 2), (0.4, 0.25)),
        ("B at most 40%", "C at most 25%"),
        (0.5, 0.3, 0.2), (0.5, 0.2, 0.3),
    ),
    "floors": Case(
        InstrumentFloors(("A",), (0,), (0.125,)),
        ("A at least 12.5%",),
        (0.2, 0.2, 0.2), (0.1, 0.4, 0.4),
    ),
    "at most": Case(
        WeightAtMost("bucket efficiency", SHARES, 0.3),
        ("bucket efficiency at most 30%",), (0.1, 0.2, 0.1), (0.1, 0.3, 0.2),
    ),
    "at least": Case(
        WeightAtLeast("group chips", SHARES, 0.3), ("group chips at least 30%",), (0.1, 0.3, 0.2), (0.1, 0.2, 0.1),
        low_return=True,
    ),
    "cash at most": Case(
        WeightAtMost("cash", NOBODY, 0.05, cash_share=1.0), ("cash at most 5%",), (0.3, 0.3, 0.36), (0.3, 0.3, 0.3),
        low_return=True,
    ),
    "cash at least": Case(
        WeightAtLeast("cash", NOBODY, 0.05, cash_share=1.0), ("cash at least 5%",), (0.3, 0.3, 0.3), (0.3, 0.3, 0.36)
    ),
    "turnover": Case(
        Turnover(0.2), ("turnover at most 20% (purchases)", "turnover at most 20% (sales)"),
        (0.3, 0.3, 0.3), (0.2, 0.2, 0.55), homogeneous=False,
    ),
    "expected return": Case(
        MinimumExpectedReturn(0.06), ("expected return at least 6%",), (0.1, 0.4, 0.4), (0.4, 0.4, 0.1),
        homogeneous=False, low_return=True,
    ),
    "no trade": Case(
        NoTrade(("C",), (2,), date(2027, 1, 4)), ("C is not tradable yet",),
        (0.5, 0.1, 0.3), (0.3, 0.2, 0.31), homogeneous=False
    ),
    "locked": Case(
        NoTrade(("C",), (2,)), ("C is locked",), (0.5, 0.1, 0.3), (0.3, 0.2, 0.31), homogeneous=False
    ),
    "forbidden": Case(Forbidden(("C",), (2,)), ("C is forbidden",), (0.5, 0.1, 0.0), (0.3, 0.2, 0.1)),
    "no sales": Case(
        OneWay("sales", 0.0), ("no sales",), (0.3, 0.2, 0.4), (0.3, 0.1, 0.5), homogeneous=False
    ),
    "few purchases": Case(
        OneWay("purchases", 0.05), ("no purchases beyond 5%",), (0.3, 0.2, 0.35), (0.3, 0.2, 0.36 + 0.05),
        homogeneous=False,
    ),
    "not eligible": Case(
        NotEligible(("B", "C"), (1, 2)), ("B is not eligible", "C is not eligible"),
        (0.5, 0.1, 0.3), (0.3, 0.2, 0.31), homogeneous=False,
    ),
    "band": Case(
        Band("mix", SHARES, 0.35, 0.1), ("mix within 10% of 35% (above)", "mix within 10% of 35% (below)"),
        (0.3, 0.2, 0.3), (0.3, 0.2, 0.4),
    ),
    "band with cash": Case(
        Band("C", np.array([0.0, 0.0, 1.0]), 0.3, 0.1, cash_share=0.5),
        ("C within 10% of 30% (above)", "C within 10% of 30% (below)"), (0.5, 0.2, 0.2), (0.1, 0.1, 0.6),
    ),
    "destination": Case(
        Destination("C", np.array([0.0, 0.0, 1.0]), 0.25, 0.0), ("C at 25% (above)", "C at 25% (below)"),
        (0.3, 0.2, 0.25), (0.3, 0.2, 0.3),
    ),
    "left alone": Case(
        LeftAlone("C", np.array([0.0, 0.0, 1.0])), ("C left alone (purchases)", "C left alone (sales)"),
        (0.1, 0.4, 0.3), (0.3, 0.2, 0.2), homogeneous=False,
    ),
    "paid out": Case(
        PaidOut(8e4, 8e4, 1e5, "USD"), ("80,000 USD paid out",), (0.3, 0.3, 0.4), (0.3, 0.3, 0.45), homogeneous=False
    ),
    "exposure at most": Case(
        ExposureLimit("beta", BETAS, 0.9), ("exposure beta at most 0.9",), (0.5, 0.2, 0.2), (0.2, 0.2, 0.4)
    ),
    "exposure at least": Case(
        ExposureLimit("beta", BETAS, 0.9, at_most=False), ("exposure beta at least 0.9",),
        (0.2, 0.2, 0.4), (0.5, 0.2, 0.2), low_return=True,
    ),
    "exposure in thousands": Case(
        ExposureLimit("tons", BETAS * 1e3, 900.0), ("exposure tons at most 900",), (0.5, 0.2, 0.2), (0.2, 0.2, 0.4)
    ),
    "exposure below nothing": Case(
        ExposureLimit("rates", np.array([1.0, 0.0, -2.0]), -0.4, at_most=False), ("exposure rates at least -0.4",),
        (0.3, 0.2, 0.3), (0.0, 0.2, 0.5),
    ),
    "ratio at most": Case(
        RatioLimit("C {} rest", np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.5, 0.0]), 1.5, to_cash=0.5),
        ("C at most 1.5 x rest",), (0.3, 0.2, 0.3), (0.1, 0.2, 0.6),
    ),
    "ratio at least": Case(
        RatioLimit(
            "A {} C", np.array([1.0, 0.5, 0.0]), np.array([0.0, 0.0, 1.0]), 0.5, False, of_cash=0.25, to_cash=1.0
        ),
        ("A at least 0.5 x C",), (0.4, 0.4, 0.1), (0.05, 0.05, 0.1), low_return=True,
    ),
    "participation": Case(
        Participation(("A", "C"), (0, 2), (0.25, 0.25), (0.0, 0.4)),
        ("A traded at most 25% of its daily volume", "C traded at most 25% of its daily volume"),
        (0.3, 0.2, 0.38), (0.2, 0.2, 0.45), homogeneous=False,
    ),
    "scenario floor": Case(
        ScenarioFloor(("S0",), (0.06,)), ("return in S0 at least 6%",), (0.1, 0.4, 0.4), (0.4, 0.4, 0.1),
        homogeneous=False, low_return=True,
    ),
    "stress": Case(
        StressFloor("crash", np.array([-0.1, -0.3, -0.6]), 0.25), ("loss under crash at most 25%",),
        (0.4, 0.3, 0.1), (0.1, 0.2, 0.5), homogeneous=False,
    ),
}  # fmt: skip
HELD = np.array([0.3, 0.2, 0.3])


def asked(*rules: LinearRule, low_return: bool = False, volatility: float | None = None) -> Question:
    """Three names, the last the best, held in part; no costs and little risk, so that rules decide."""
    returns = np.array([MEANS * (-1 if low_return else 1)])
    return question(
        returns,
        np.diag([0.02, 0.04, 0.09]),
        cash_return=0.01,
        risk_aversion=0.05,
        rules=rules,
        volatility=volatility,
        held=HELD,
    )


def outlook() -> Outlook:
    return asked().outlook


def bought_into(weights: tuple[float, ...], money: float = 1e5) -> Trade:
    """The account moved from `HELD` to these weights without costs."""
    values = np.array(weights) * money
    moved = values - HELD * money
    return Trade(values, money - values.sum(), np.maximum(moved, 0), np.maximum(-moved, 0), 0.0, money)


def residuals(rows: RuleRows, trade: Trade, outlook: Outlook) -> Vector:
    """The rows on a trade, in units of the account before it."""
    unit = trade.value_before
    h, c, b, s = trade.values / unit, trade.cash / unit, trade.bought / unit, trade.sold / unit
    mean = float(outlook.probabilities @ (outlook.returns @ h + outlook.cash_returns * c))
    left = rows.holdings @ h + rows.cash * c + rows.buys @ b + rows.sells @ s + rows.expected * mean
    if rows.gains.size:
        left = left + rows.gains @ (outlook.returns @ h + outlook.cash_returns * c)
    return np.asarray(left - rows.wealth * trade.value / unit - rows.limit)


@pytest.mark.parametrize("name", CASES)
def test_a_portfolio_inside_is_read_as_inside_by_both_formulas(name: str) -> None:
    case = CASES[name]
    trade = bought_into(case.inside)

    assert all(reading.excess <= 1e-12 for reading in case.rule.readings(trade, outlook()))
    assert (residuals(case.rule.rows(NAMES), trade, outlook()) <= 1e-12).all()


@pytest.mark.parametrize("name", CASES)
def test_a_portfolio_outside_is_read_as_outside_by_both_formulas(name: str) -> None:
    case = CASES[name]
    trade = bought_into(case.outside)

    assert max(reading.excess for reading in case.rule.readings(trade, outlook())) > 1e-3
    assert residuals(case.rule.rows(NAMES), trade, outlook()).max() > 1e-3


@pytest.mark.parametrize("name", sorted({*CASES} - {"paid out"}))  # no program borrows, with or without it
def test_the_optimum_runs_into_the_rule_and_stops_there(name: str) -> None:
    case = CASES[name]
    free, bound = asked(low_return=case.low_return), asked(case.rule, low_return=case.low_return)
    if name in (
        "expected return",
        "scenario floor",
    ):  # with returns turned around nothing reaches it: let risk push instead
        free, bound = (replaced_aversion(one) for one in (asked(), asked(case.rule)))
    wished = case.rule.readings(free.trade(free.solved().holdings), free.outlook)
    got = case.rule.readings(bound.trade(bound.solved().holdings), bound.outlook)

    assert max(reading.excess for reading in wished) > 0.01
    assert max(reading.missed for reading in got) == pytest.approx(0, abs=KEPT)


def replaced_aversion(one: Question) -> Question:
    return question(
        one.outlook.returns,
        np.diag([0.02, 0.04, 0.09]),
        cash_return=0.01,
        risk_aversion=5.0,
        rules=one.mandate.linear_rules,
        held=HELD,
    )


def test_the_optimum_runs_into_the_volatility_limit_and_stops_there() -> None:
    rule = VolatilityLimit(0.1)
    free, bound = asked(), asked(volatility=0.1)
    wished = rule.readings(free.trade(free.solved().holdings), free.outlook)[0]
    got = rule.readings(bound.trade(bound.solved().holdings), bound.outlook)[0]

    assert wished.excess > 0.1
    assert got.excess == pytest.approx(0, abs=KEPT)
    assert got.label == "volatility at most 10%"


def test_volatility_is_annual_whatever_the_horizon() -> None:
    two_years = question(np.array([MEANS]), np.diag([0.02, 0.04, 0.09]), years=2.0, held=HELD)
    trade = bought_into((0.0, 0.0, 0.5))

    measured = VolatilityLimit(0.1).readings(trade, two_years.outlook)[0].measured

    assert measured == pytest.approx(0.5 * np.sqrt(0.09 / 2))


@pytest.mark.parametrize("name", CASES)
def test_coefficients_and_formula_agree_on_random_trades(name: str) -> None:
    case, draw = CASES[name], np.random.default_rng(11)
    rows = case.rule.rows(NAMES)
    for _ in range(200):
        money = float(10 ** draw.uniform(0, 9))
        bought, sold = draw.uniform(0, 0.2, (2, NAMES)) * money * (draw.random((2, NAMES)) < 0.7)
        costs = float(draw.uniform(0, 0.05)) * money
        held = draw.dirichlet(np.ones(NAMES + 1)) * money
        values = held[:-1] + bought - sold
        trade = Trade(values, held[-1] - bought.sum() + sold.sum() - costs, bought, sold, costs, money)
        readings = case.rule.readings(trade, outlook())
        factor = trade.value / money if case.homogeneous else 1.0
        found = residuals(rows, trade, outlook())

        np.testing.assert_allclose(found, [reading.missed * factor for reading in readings], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_rows_and_readings_are_called_the_same_in_the_same_order(name: str) -> None:
    case = CASES[name]
    readings = case.rule.readings(bought_into(case.inside), outlook())

    assert case.rule.rows(NAMES).labels == case.labels
    assert tuple(reading.label for reading in readings) == case.labels


@pytest.mark.parametrize("name", CASES)
def test_the_stated_limit_and_its_direction_are_the_users_own(name: str) -> None:
    case = CASES[name]
    rows = case.rule.rows(NAMES)
    readings = case.rule.readings(bought_into(case.inside), outlook())
    stated = [np.nan if name in WITHOUT_A_LIMIT else reading.limit for reading in readings]

    np.testing.assert_array_equal(rows.stated, stated)
    assert list(rows.sense) == [1.0 if reading.at_most else -1.0 for reading in readings]


@pytest.mark.parametrize("name", CASES)
def test_an_eased_rule_is_the_rule_with_another_limit(name: str) -> None:
    case, trade = CASES[name], bought_into(CASES[name].inside)
    rows = case.rule.rows(NAMES)
    wider = rows.stated + 0.01 * rows.sense
    eased = case.rule.with_limits(list(wider))
    again = eased.rows(NAMES)

    np.testing.assert_array_equal(again.stated, wider)
    if name in WITHOUT_A_LIMIT:
        assert again.labels == rows.labels
        return
    np.testing.assert_allclose([reading.limit for reading in eased.readings(trade, outlook())], wider, atol=1e-15)
    # every row has more room, but for volume where there is none
    gained = residuals(rows, trade, outlook()) - residuals(again, trade, outlook())
    assert ((gained > 0) | (rows.size == 0)).all()
    if not case.homogeneous:
        np.testing.assert_allclose(gained, 0.01 * rows.size, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_rule_is_missed_in_money_where_it_is_broken_in_its_own_unit(name: str) -> None:
    for weights in (CASES[name].inside, CASES[name].outside):
        for reading in CASES[name].rule.readings(bought_into(weights), outlook()):
            assert (reading.missed > 0) == (reading.excess > 0)


@pytest.mark.parametrize("at_most", [True, False])
def test_nothing_against_nothing_holds_and_something_against_nothing_is_infinitely_much(at_most: bool) -> None:
    rule = RatioLimit("A {} B", np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), 2.0, at_most)
    (nothing,) = rule.readings(bought_into((0.0, 0.0, 0.5)), outlook())
    (something,) = rule.readings(bought_into((0.1, 0.0, 0.5)), outlook())

    assert (nothing.measured, nothing.excess, nothing.missed) == (2.0, 0.0, 0.0)
    assert something.measured == np.inf
    assert something.excess == (np.inf if at_most else -np.inf)
    assert something.missed == pytest.approx(0.1 if at_most else -0.1)


def test_a_ratio_of_dust_to_dust_is_told_and_missed_by_dust_only() -> None:
    rule = RatioLimit("A {} B", np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), 2.0)
    (dust,) = rule.readings(bought_into((1e-9, 1e-10, 0.5)), outlook())

    assert dust.measured == pytest.approx(10)
    assert dust.missed == pytest.approx(8e-10)


def test_a_name_without_volume_is_not_traded_at_all() -> None:
    rule = Participation(("A",), (0,), (0.1,), (0.0,))
    (stays,) = rule.readings(bought_into((0.3, 0.4, 0.3)), outlook())
    (moves,) = rule.readings(bought_into((0.3 + 1e-6, 0.4, 0.3)), outlook())

    assert (stays.measured, stays.excess) == (0.0, -0.1)
    assert moves.measured == moves.excess == np.inf
    assert moves.missed == pytest.approx(1e-6)


def test_participation_counts_purchases_and_sales_against_a_day() -> None:
    trade = Trade(np.array([40.0, 50.0]), 5.0, np.array([30.0, 0.0]), np.array([0.0, 10.0]), 5.0, 100.0)
    bought, sold = Participation(("A", "B"), (0, 1), (0.5, 0.5), (0.5, 0.4)).readings(trade, outlook())

    assert (bought.measured, sold.measured) == pytest.approx((30 / 50, 10 / 40))


def test_every_scenario_has_its_own_floor_after_costs() -> None:
    returns = np.array([[0.1, 0.0, 0.0], [-0.2, 0.0, 0.1], [0.0, 0.3, 0.0]])
    three = question(returns, cash_return=0.02, held=HELD).outlook
    rule = ScenarioFloor(three.scenarios, (-0.05, -0.1, 0.0))
    trade = Trade(np.array([50.0, 20.0, 10.0]), 15.0, NOBODY, NOBODY, 5.0, 100.0)
    found = [reading.measured for reading in rule.readings(trade, three)]

    assert found == pytest.approx([0.003 + 0.05 - 0.05, 0.003 - 0.1 + 0.01 - 0.05, 0.003 + 0.06 - 0.05])
    np.testing.assert_allclose(residuals(rule.rows(NAMES), trade, three), np.array([-0.05, -0.1, 0.0]) - found)


def test_a_stress_loss_includes_what_trading_cost() -> None:
    trade = Trade(np.array([50.0, 20.0, 10.0]), 15.0, NOBODY, NOBODY, 5.0, 100.0)
    (reading,) = StressFloor("crash", np.array([-0.5, 0.1, -1.0]), 0.3).readings(trade, outlook())

    assert reading.measured == pytest.approx((25 - 2 + 10 + 5) / 100)


def test_turnover_counts_the_larger_of_purchases_and_sales_against_the_value_before() -> None:
    trade = Trade(np.array([40.0, 50.0]), 5.0, np.array([30.0, 0.0]), np.array([0.0, 10.0]), 5.0, 100.0)

    bought, sold = Turnover(0.2).readings(trade, outlook())

    assert (bought.measured, sold.measured) == pytest.approx((0.3, 0.1))
    assert bought.excess == pytest.approx(0.1)
    assert sold.excess == pytest.approx(-0.1)


def test_expected_return_is_after_costs_and_of_the_value_before() -> None:
    trade = Trade(np.array([0.0, 0.0, 50.0]), 40.0, NOBODY, NOBODY, 10.0, 100.0)

    (reading,) = MinimumExpectedReturn(0.0).readings(trade, outlook())

    assert reading.measured == pytest.approx((50 * 0.12 + 40 * 0.01 - 10) / 100)


def test_stacking_keeps_every_row_of_every_rule_in_order() -> None:
    rules = [case.rule for case in CASES.values()]
    rows = stack_rows([rule.rows(NAMES) for rule in rules], NAMES)
    trade = bought_into((0.2, 0.3, 0.4))
    apart = np.concatenate([residuals(rule.rows(NAMES), trade, outlook()) for rule in rules])

    assert rows.labels == tuple(label for case in CASES.values() for label in case.labels)
    np.testing.assert_allclose(residuals(rows, trade, outlook()), apart, atol=1e-15)


def test_no_rules_make_no_rows_at_all() -> None:
    rows = stack_rows([], NAMES)

    assert rows.labels == ()
    assert rows.holdings.shape == (0, NAMES)
    assert len(rows.limit) == len(rows.stated) == 0


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.125, "12.5%"), (0.1, "10%"), (1.0, "100%"), (0.0, "0%"), (0.00015, "0.015%")]
)
def test_limits_are_written_as_people_write_them(fraction: float, text: str) -> None:
    assert format_limit_percent(fraction) == text
