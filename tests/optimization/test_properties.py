"""Invariants that hold for any valid book: names, order and units mean nothing, caution costs, nobody is better."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.ambiguity.balls import Box, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import Book, from_frames
from allocator.errors import Infeasible
from allocator.mandate.builder import build_mandate
from allocator.outlook.outlook import build_outlook
from allocator.rules import LinearRule, MinimumExpectedReturn, Turnover, VolatilityLimit, WeightAtLeast, WeightAtMost
from allocator.rules.rows import Position
from allocator.types import Vector
from tests.agreement import OBJECTIVE
from tests.books import AS_OF
from tests.problems import SETS, Question, caps, random_portfolios, random_question
from tests.thoroughness import count

SEEDS = st.integers(0, 10_000)
SOME = settings(max_examples=count(25, 4), deadline=None, derandomize=True, database=None)
FEW = settings(max_examples=count(12, 3), deadline=None, derandomize=True, database=None)
ROBUST = ({"set": "total_variation", "radius": 0.2}, {"set": "kl", "radius": 0.1}, {"set": "worst"}, {"set": "none"})


class Tables:
    """A random book as frames, so that its rows can be shuffled, renamed and scaled before it is a book."""

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        count = int(draw.integers(2, 9))
        names = [f"N{i}" for i in range(count)]
        everyone = [*names, "CASH"]
        self.settings: dict[str, Any] = {
            "book": {"name": "random", "currency": "USD", "as_of": AS_OF},
            "scenarios": {"up": {"probability": 0.375}, "middle": {"probability": 0.5}, "down": {"probability": 0.125}},
            "risk": {"source": "exposures", "market_volatility": 0.18},
            "robust": ROBUST[seed % 4],
            "mandate": {
                "risk_aversion": float(draw.uniform(0.5, 4)),
                "max_weight": max(0.3, 2 / count),
                "min_cash": 0.02,
                "max_turnover": 0.8,
                "max_volatility": 0.3 if seed % 3 == 0 else None,
                "buckets": {"efficiency": {"max": 0.6}},
                "groups": {"first": {"max": 0.5}},
            },
            "groups": {"first": names[: count // 2 + 1]},
            "costs": {"commission_bps": 2.0},
        }
        self.holdings = pd.DataFrame(
            {
                "account": "main",
                "instrument": everyone,
                "quantity": [*np.round(draw.uniform(0, 100, count)), 500.0],
                "price": [*np.round(draw.uniform(5, 300, count), 2), 1.0],
                "currency": "USD",
            }
        )
        self.exposures = pd.DataFrame(
            {
                "instrument": everyone,
                "name": everyone,
                "issuer": everyone,
                "bucket": [
                    "efficiency",
                    *draw.choice(["efficiency", "capital_intensity", "adopter"], count - 1),
                    "cash",
                ],
                "beta": [*draw.uniform(0.2, 2, count), 0.0],
                "idiosyncratic_volatility": [*draw.uniform(0.1, 0.5, count), 0.0],
                "spread_bps": [*draw.uniform(0, 30, count), 0.0],
                "source": "random",
            }
        )
        returns = {name: [*draw.normal(mean, 0.2, count), 0.03] for name, mean in
                   (("up", 0.25), ("middle", 0.08), ("down", -0.2))}  # fmt: skip
        self.returns = pd.DataFrame({"instrument": everyone, **{k: np.clip(v, -0.9, 3) for k, v in returns.items()}})

    def book(self) -> Book:
        return from_frames(
            self.settings,
            {"holdings": self.holdings, "exposures": self.exposures, "scenario_returns": self.returns},
        )


def asked(book: Book) -> Question:
    return Question(Position(book.weights, book.cash / book.value), build_outlook(book), build_mandate(book))


def answer(book: Book) -> tuple[float, pd.Series[float]]:
    """The optimum and the target weights by name."""
    question = asked(book)
    holdings = question.solved().holdings
    return question.loss(holdings), pd.Series(holdings, index=list(book.instruments))


@FEW
@given(seed=SEEDS)
def test_the_order_and_the_names_of_instruments_do_not_matter(seed: int) -> None:
    loss, weights = answer(Tables(seed).book())
    other, draw = Tables(seed), np.random.default_rng(seed)
    new = {name: f"Z{i}" for i, name in enumerate(draw.permutation(list(weights.index)))}
    for frame in (other.holdings, other.exposures, other.returns):
        frame["instrument"] = frame["instrument"].replace(new)
    other.holdings = other.holdings.sample(frac=1, random_state=seed)
    other.exposures = other.exposures.sample(frac=1, random_state=seed + 1)
    other.returns = other.returns.sample(frac=1, random_state=seed + 2)
    other.settings["groups"] = {"first": [new[name] for name in other.settings["groups"]["first"]]}
    other_loss, other_weights = answer(other.book())

    assert other_loss == pytest.approx(loss, abs=OBJECTIVE)
    np.testing.assert_allclose(other_weights[[new[name] for name in weights.index]], weights, atol=2e-4)


@FEW
@given(seed=SEEDS, power=st.integers(-3, 6))
def test_scaling_all_money_changes_nothing(seed: int, power: int) -> None:
    loss, weights = answer(Tables(seed).book())
    more = Tables(seed)
    more.holdings["quantity"] *= 10.0**power
    dearer = Tables(seed)
    scale = 2.0**power
    dearer.holdings.loc[dearer.holdings["instrument"] != "CASH", "price"] *= scale
    dearer.holdings.loc[dearer.holdings["instrument"] == "CASH", "quantity"] *= scale
    for scaled in (more, dearer):
        other_loss, other_weights = answer(scaled.book())

        assert other_loss == pytest.approx(loss, abs=OBJECTIVE)
        np.testing.assert_allclose(other_weights, weights, atol=2e-4)


def shares(seed: int) -> Vector:
    return np.round(np.random.default_rng(seed).uniform(0, 1, 8), 2)


RULES = (
    lambda limit, _: caps(8, limit),
    lambda limit, seed: WeightAtMost("group", shares(seed), limit),
    lambda limit, seed: WeightAtLeast("group", shares(seed), 1 - limit),
    lambda limit, _: WeightAtLeast("cash", np.zeros(8), 1 - limit, 1.0),
    lambda limit, _: Turnover(limit),
    lambda limit, _: MinimumExpectedReturn(0.3 - limit / 2),
)


@SOME
@given(seed=SEEDS, kind=st.integers(0, len(RULES)), limits=st.tuples(st.floats(0.13, 0.9), st.floats(0.13, 0.9)))
def test_a_tighter_rule_never_improves_the_objective(seed: int, kind: int, limits: tuple[float, float]) -> None:
    base = random_question(seed, count=8, turnover=None)

    def optimum(limit: float) -> float:
        if kind == len(RULES):
            return base.with_rules(caps(8, 0.5), volatility=VolatilityLimit(limit / 2)).optimum()
        rule: LinearRule = RULES[kind](limit, seed)
        return base.with_rules(rule).optimum()

    tight, loose = sorted(limits)
    try:
        tightly = optimum(tight)
    except Infeasible:
        return  # nothing is worse than no portfolio
    assert tightly >= optimum(loose) - 5e-8


@SOME
@given(seed=SEEDS, kind=st.sampled_from([TotalVariation, Box, KullbackLeibler]),
       radii=st.tuples(st.floats(0, 1), st.floats(0, 1)))  # fmt: skip
def test_a_larger_radius_never_improves_the_objective(
    seed: int, kind: type[Ambiguity], radii: tuple[float, float]
) -> None:
    small, large = (random_question(seed, ambiguity=kind(radius)).optimum() for radius in sorted(radii))  # type: ignore[call-arg]

    assert large >= small - 5e-8


@FEW
@given(seed=SEEDS, volatility=st.sampled_from([None, 0.2]), aversion=st.sampled_from([0.0, 1.0, 20.0]))
def test_no_random_feasible_portfolio_beats_the_plan(seed: int, volatility: float | None, aversion: float) -> None:
    question = random_question(seed, ambiguity=SETS[seed % 5], volatility=volatility, risk_aversion=aversion)
    optimum = question.optimum()
    trades = random_portfolios(question, seed)

    assert trades
    assert min(question.mandate.loss(trade, question.outlook) for trade in trades) >= optimum - 5e-8


@FEW
@given(seed=SEEDS)
def test_a_scenario_split_in_two_changes_nothing_under_relative_entropy(seed: int) -> None:
    whole = random_question(seed, ambiguity=KullbackLeibler(0.1))
    outlook = whole.outlook
    parts = replace(
        outlook,
        scenarios=(*outlook.scenarios, "again"),
        probabilities=np.append(outlook.probabilities * [0.6, 1, 1, 1], outlook.probabilities[0] * 0.4),
        returns=np.vstack([outlook.returns, outlook.returns[:1]]),
        cash_returns=np.append(outlook.cash_returns, outlook.cash_returns[0]),
    )

    assert replace(whole, outlook=parts).optimum() == pytest.approx(whole.optimum(), abs=OBJECTIVE)


@FEW
@given(seed=SEEDS, split=st.floats(0.1, 0.9))
def test_a_name_listed_twice_is_no_better_than_once(seed: int, split: float) -> None:
    """Two lines with the same returns, risk of factors only: the optimum is that of one line."""
    once = random_question(seed, count=6, turnover=None).with_rules(WeightAtLeast("cash", np.zeros(6), 0.02, 1.0))
    risk = replace(once.outlook.risk, specific=np.zeros(6))
    once = replace(once, outlook=replace(once.outlook, risk=risk))
    doubled = replace(risk, loadings=np.vstack([risk.loadings, risk.loadings[:1]]), specific=np.zeros(7))
    returns = np.hstack([once.outlook.returns, once.outlook.returns[:, :1]])
    held = np.append(once.start.holdings, once.start.holdings[0] * (1 - split))
    held[0] *= split
    twice = Question(
        Position(held, once.start.cash),
        replace(once.outlook, risk=doubled, returns=returns),
        replace(
            once.mandate,
            linear_rules=(WeightAtLeast("cash", np.zeros(7), 0.02, 1.0),),
            cost_rates=np.append(once.mandate.cost_rates, once.mandate.cost_rates[0]),
        ),
    )

    assert twice.optimum() == pytest.approx(once.optimum(), abs=OBJECTIVE)
