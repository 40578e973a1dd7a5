"""When to look again: each move that is told turns its order, and a step less does not, when others solve it again."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from click.testing import Result

from allocator import Plan, from_frames, rebalance
from allocator.book.book import Book
from allocator.plan.trade_decision import BELIEF_STEP, PRICE_STEP, Turn, _first_turned
from allocator.types import Vector
from tests.books import CASH, exposures, holdings
from tests.thoroughness import some

Run = Callable[..., Result]
LITTLE = 1e-5
"""Of the account: no trade. Within a few of it the last digits of two solvers may differ."""


def random_book(seed: int) -> Book:
    """Five names, some of them not held, with costs; half have a cap, some may not sell, some limit turnover."""
    draw = np.random.default_rng(seed)
    names = tuple("ABCDE")
    quantity = np.round(draw.uniform(0, 30, 5) * (draw.random(5) < 0.8), 2)
    table = holdings(names, cash=float(draw.integers(50, 2000))).assign(lot_size=0.01)
    table.loc[:4, "quantity"] = quantity
    returns = {name: draw.normal(0.06, 0.15, 3) for name in names} | {CASH: np.full(3, 0.02)}
    mandate: dict[str, object] = {"risk_aversion": float(draw.uniform(1, 5))}
    if draw.random() < 0.5:
        mandate["max_weight"] = float(draw.uniform(0.3, 0.6))
    if draw.random() < 0.3:
        mandate["max_turnover"] = float(draw.uniform(0.1, 0.4))
    document = {
        "book": {"name": "turns", "currency": "USD", "as_of": "2026-11-20"},
        "scenarios": {
            k: {"probability": float(p)}
            for k, p in zip(("up", "flat", "down"), draw.dirichlet(np.ones(3) * 4), strict=True)
        },
        "risk": {"source": "exposures", "market_volatility": 0.15},
        "costs": {"commission_bps": float(draw.uniform(5, 60))},
        "trading": {"min_share": 0.0},
        "mandate": mandate,
    }
    rows = [
        {"instrument": name, **dict(zip(("up", "flat", "down"), map(float, each), strict=True))}
        for name, each in returns.items()
    ]
    own = {"beta": list(draw.uniform(0.6, 1.4, 5)), "idiosyncratic_volatility": list(draw.uniform(0.1, 0.3, 5))}
    return from_frames(document, {"holdings": table, "exposures": exposures(names, **own), "scenario_returns": rows})


def traded(book: Book, plan: Plan, probabilities: Vector) -> Vector:
    """What another program would buy of each name, or sell below 0, of the account."""
    count, outlook, wanted = len(book.instruments), plan.outlook, book.settings.mandate
    before = book.weights
    bought, sold = cp.Variable(count, nonneg=True), cp.Variable(count, nonneg=True)
    held = before + bought - sold
    costs = book.settings.costs.commission_bps / 1e4 * cp.sum(bought + sold)
    cash = book.cash / book.value - cp.sum(bought) + cp.sum(sold) - costs
    wealth = 1 - costs
    root = np.linalg.cholesky(outlook.risk.loadings @ outlook.risk.loadings.T + np.diag(outlook.risk.specific)).T
    gain = (probabilities @ outlook.returns) @ held + float(probabilities @ outlook.cash_returns) * cash - costs
    rules = [held >= 0, cash >= 0]
    if wanted.max_weight is not None:
        rules.append(held <= wanted.max_weight * wealth)
    if wanted.max_turnover is not None:
        rules += [cp.sum(bought) <= wanted.max_turnover, cp.sum(sold) <= wanted.max_turnover]
    problem = cp.Problem(cp.Maximize(gain - wanted.risk_aversion * cp.sum_squares(root @ held)), rules)
    for tolerance in (1e-12, 1e-11, 1e-10):  # the last digit may be out of reach
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            problem.solve(cp.CLARABEL, tol_gap_abs=tolerance, tol_gap_rel=tolerance, tol_feas=tolerance)
        if problem.status == cp.OPTIMAL:
            break
    return np.asarray(bought.value - sold.value)


def turned(side: str, moved: float) -> bool:
    """Whether a trade is surely no longer what it was."""
    return abs(moved) > LITTLE / 2 if side == "hold" else moved * (1 if side == "buy" else -1) <= 2 * LITTLE


def still(side: str, moved: float) -> bool:
    """Whether a trade is still what it was, surely."""
    return abs(moved) <= 2 * LITTLE if side == "hold" else moved * (1 if side == "buy" else -1) > LITTLE / 2


def at_price(plan: Plan, turn: Turn, steps: float) -> float:
    """What is traded of a name so many steps from its turn."""
    assert turn.price_move is not None
    i = plan.book.instruments.index(turn.instrument)
    prices = plan.book.prices.copy()
    prices[i] *= 1 + turn.price_move + steps * PRICE_STEP * np.sign(turn.price_move)
    return float(traded(replace(plan.book, prices=prices), plan, plan.outlook.probabilities)[i])


def at_belief(plan: Plan, turn: Turn, steps: float) -> float:
    """The same for the belief."""
    assert turn.probability is not None
    p = plan.outlook.probabilities
    k = int(np.argmax(p))
    way = np.sign(turn.probability - p[k])
    moved = turn.probability + steps * BELIEF_STEP * way
    shifted = p * (1 - moved) / (1 - p[k])
    shifted[k] = moved
    return float(traded(plan.book, plan, shifted)[plan.book.instruments.index(turn.instrument)])


@pytest.mark.parametrize("seed", some(range(100), 10))
def test_a_step_beyond_turns_the_order_and_a_step_before_does_not(seed: int) -> None:
    plan = rebalance(random_book(seed))
    today = traded(plan.book, plan, plan.outlook.probabilities)
    told, (nearest_price, nearest_belief) = plan.turns, plan.nearest_turns

    assert told
    for turn in told:
        assert still(turn.side, today[plan.book.instruments.index(turn.instrument)])
        if turn.price_move is not None:
            assert turned(turn.side, at_price(plan, turn, 1.0)), turn
            assert still(turn.side, at_price(plan, turn, -1.0)), turn
        if turn.probability is not None:
            assert turned(turn.side, at_belief(plan, turn, 0.0)), turn
            if abs(turn.probability - plan.outlook.probabilities.max()) > BELIEF_STEP:
                assert still(turn.side, at_belief(plan, turn, -1.0)), turn
    if nearest_belief is not None:
        assert nearest_belief.probability in [turn.probability for turn in told]
    if nearest_price is not None:
        assert (nearest_price.instrument, nearest_price.price_move) in [(t.instrument, t.price_move) for t in told]


def test_most_orders_of_names_that_are_held_turn_somewhere() -> None:
    turns = [turn for seed in (0, 2) for turn in rebalance(random_book(seed)).turns]

    assert sum(turn.price_move is not None for turn in turns) >= len(turns) / 2
    assert any(turn.probability is not None for turn in turns)


@pytest.mark.parametrize("at", [1, 2, 7, 8, 9, 40, 100])
@pytest.mark.parametrize("guess", [0.0, 1.0, 7.3, 8.0, 60.0, 4000.0])
def test_the_first_step_that_turns_is_found_from_any_guess(at: int, guess: float) -> None:
    asked: list[int] = []

    def turned(n: int) -> bool:
        asked.append(n)
        return n >= at

    assert _first_turned(turned, guess, 100) == at
    assert len(asked) <= 16
    assert max(asked) <= 100


def test_a_step_that_has_no_plan_is_no_answer() -> None:
    assert _first_turned(lambda n: None if n > 3 else False, 1.0, 100) is None
    assert _first_turned(lambda _: False, 5.0, 100) is None
    assert _first_turned(lambda _: True, 5.0, 0) is None


def test_full_says_when_to_look_again_on_the_screen_and_in_the_document(run: Run) -> None:
    command = ("rebalance", "data/note")
    full = run(*command, "--full").stdout
    document: dict[str, Any] = json.loads(run(*command, "--full", "--json").stdout)["look_again"]

    assert json.loads(run(*command, "--json").stdout)["look_again"] is None
    text = " ".join(full.split())
    price, belief = document["price"], document["probability"]
    assert f"Look again when {price['instrument']} {'falls' if price['price_move'] < 0 else 'rises'} by " in text
    assert (
        f"P({document['belief']}) is {belief['probability']:.0%} ({belief['instrument']}): then an order turns." in text
    )
    every = {turn["instrument"]: turn for turn in document["every"]}
    assert every[price["instrument"]]["price_move"] == price["price_move"]
    assert "When to look again" in text


def test_a_plan_with_reviews_says_nothing_of_it() -> None:
    from allocator import load

    plan = rebalance(load("tests/plain_books/reviewed"))
    assert plan.look_again is None
    assert plan.nearest_turns == (None, None)
    assert plan.turns == ()
