"""The bound's new terms: the cheapest trades under impact by brute force, and nonsense that never proves too much."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from allocator.errors import NotSolved
from allocator.mandate.mandate import Mandate
from allocator.mandate.return_errors import BudgetError, EllipsoidError
from allocator.optimization.verification import (
    DualCertificate,
    DualValues,
    _least_power,
    _least_traded,
    best_dual_certificate,
    lower_bound,
)
from allocator.plan.certificate import Certificate, certify
from allocator.rules import LargestWeights, VolatilityLimit, WorstCaseFloor
from allocator.rules.convex import ConvexRuleDual
from allocator.types import Vector
from tests.agreement import KEPT, OBJECTIVE, SHARP
from tests.problems import SETS, Question, random_question
from tests.textbook_program import RULES, rich_question
from tests.thoroughness import some

GRID = np.linspace(0, 1, 201)


def mandate(impact: Vector) -> Mandate:
    return replace(random_question(0, count=len(impact)).mandate, impact=impact)


def by_grid(buys: float, sells: float, held: float, impact: float) -> float:
    """The least over all purchases and sales of a fine grid."""
    b, s = np.meshgrid(GRID, GRID * held)
    return float((buys * b + sells * s + impact * (b + s) ** 1.5).min())


@pytest.mark.parametrize("sign", [-1.0, 0.0, 1e-6, 1.0])
def test_the_cheapest_trades_are_those_of_a_grid(sign: float) -> None:
    """For every sign of the price of cash, whichever side is cheaper, and with nothing or everything held."""
    draw = np.random.default_rng(1)
    for _ in range(60):
        count = 3
        impact = draw.uniform(0, 2, count) * (draw.random(count) < 0.8)
        buys, sells = draw.normal(size=(2, count)) * 10 ** draw.uniform(-3, 0.5)
        held = draw.choice([0.0, 0.3, 1.0], count)
        cash = sign * float(draw.uniform(0.1, 2))
        found = _least_traded(buys, sells, held, mandate(impact), cash)
        grid = sum(by_grid(*one) for one in zip(buys, sells, held, cash * impact, strict=True))

        assert found <= grid + 1e-12
        if sign >= 0:  # with a price below nothing the bound is loose, never false
            scale = np.abs(buys).max() + np.abs(sells).max() + cash * impact.max()
            assert found >= grid - 0.03 * scale


def test_without_impact_the_cheapest_trades_are_corners() -> None:
    draw = np.random.default_rng(2)
    buys, sells, held = draw.normal(size=5), draw.normal(size=5), draw.random(5)
    for impact in (None, np.zeros(5)):
        found = _least_traded(buys, sells, held, replace(mandate(np.zeros(5)), impact=impact), 0.7)

        assert found == pytest.approx(np.minimum(buys, 0).sum() + (np.minimum(sells, 0) * held).sum(), abs=1e-15)


def test_the_least_power_is_that_of_a_grid() -> None:
    draw = np.random.default_rng(3)
    linear, impact = draw.normal(size=400), draw.uniform(0, 2, 400) * (draw.random(400) < 0.9)
    low = draw.uniform(0, 1, 400) * (draw.random(400) < 0.5)
    high = low + draw.uniform(0, 1, 400)
    found = _least_power(linear, impact, low, high)
    z = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, 4001)
    grid = (linear[:, None] * z + impact[:, None] * z**1.5).min(axis=1)

    assert (found <= grid + 1e-15).all()
    np.testing.assert_allclose(found, grid, atol=1e-6)


def nonsense(asked: Question, draw: np.random.Generator) -> DualCertificate:
    """Lawful multipliers drawn blindly for every rule and charge there is."""
    outlook, mandate = asked.outlook, asked.mandate
    count, factors = outlook.risk.loadings.shape
    p, size = outlook.probabilities, float(10 ** draw.uniform(-3, 1))

    def direction(rule: object) -> Vector:
        if isinstance(rule, WorstCaseFloor):
            return rule.ambiguity.project(draw.normal(0.3, 0.3, len(p)), p)
        if isinstance(rule, LargestWeights):
            return rule.lawful(draw.uniform(-1, 2, count), outlook)
        free = draw.normal(size=factors + count)
        return np.asarray(free / np.linalg.norm(free) * draw.choice([1.0, 0.5]))

    def wrong() -> Vector:
        if isinstance(mandate.return_error, BudgetError):
            return mandate.return_error.directions.lawful(draw.uniform(-1, 2, count))
        return direction(None) if isinstance(mandate.return_error, EllipsoidError) else np.zeros(0)

    assert all(isinstance(rule, VolatilityLimit | LargestWeights | WorstCaseFloor) for rule in mandate.convex_rules)
    return DualCertificate(
        rows=size * draw.exponential(size=len(mandate.rows.labels)) * (draw.random() < 0.8),
        position=size * draw.normal(size=count),
        cash=size * float(draw.normal()),
        wealth=size * float(draw.normal()),
        factors=size * draw.normal(size=factors),
        adversary=mandate.ambiguity.project(draw.normal(0.3, 0.3, len(p)), p),
        slopes=tuple(
            ConvexRuleDual(size * float(draw.exponential()), direction(rule)) for rule in mandate.convex_rules
        ),
        error=wrong(),
    )


KINDS = (("impact", "ellipsoid", *RULES), RULES, ("budget",), ("box",), ("ellipsoid",), ("impact",))


@pytest.mark.parametrize(("at", "kind"), some(product(range(len(SETS)), KINDS), 7))  # each set, under another kind
def test_nonsense_never_proves_more_than_the_optimum(at: int, kind: tuple[str, ...]) -> None:
    """Around the optimum too: the solver's own multipliers, bent a little or a lot."""
    draw = np.random.default_rng(70 + at)
    for aversion in (0.0, 2.0):
        asked = rich_question(at, *kind, ambiguity=SETS[at], risk_aversion=aversion)
        solution = asked.solved()
        optimum, (own, bound) = asked.loss(solution.holdings), asked.prices()
        assert bound == pytest.approx(optimum, abs=OBJECTIVE)
        for _ in range(20):
            blind = nonsense(asked, draw)
            share = float(draw.choice([0.0, 1e-3, 0.1, 1.0]))
            bent = replace(
                own,
                rows=own.rows + share * blind.rows,
                position=own.position + share * blind.position,
                cash=own.cash + share * blind.cash,
                wealth=own.wealth + share * blind.wealth,
                factors=own.factors * (1 + share * aversion),
                slopes=tuple(
                    ConvexRuleDual(mine.price + share * other.price, other.direction)
                    for mine, other in zip(own.slopes, blind.slopes, strict=True)
                ),
            )
            for prices in (blind, bent):
                assert lower_bound(asked.start, asked.outlook, asked.mandate, prices) <= optimum + 1e-9
            error = blind.error if len(blind.error) else None
            found = DualValues(blind.rows, blind.cash, blind.adversary, blind.slopes, error)
            holdings = draw.choice([1.0, 0.0]) * draw.dirichlet(np.ones(len(solution.holdings)))
            _, completed = best_dual_certificate(
                asked.start, asked.outlook, asked.mandate, asked.trade(holdings), found
            )
            assert completed <= optimum + 2e-9


@pytest.mark.parametrize("what", ["longer error", "more of a name", "impossible probabilities", "no direction"])
def test_unlawful_directions_certify_nothing(what: str) -> None:
    asked = rich_question(1, "ellipsoid", "largest", "worst case", ambiguity=SETS[1])
    solution = asked.solved()
    prices, _ = asked.prices()
    largest, worst = prices.slopes
    unlawful = {
        "longer error": replace(prices, error=prices.error * 1.001),
        "more of a name": replace(prices, slopes=(replace(largest, direction=np.full(8, 1.001)), worst)),
        "impossible probabilities": replace(prices, slopes=(largest, replace(worst, direction=np.full(4, 0.5)))),
        "no direction": replace(prices, slopes=(largest, replace(worst, direction=None))),
    }[what]

    def certified(given: DualCertificate) -> Certificate:
        return certify(
            asked.start, asked.outlook, asked.mandate, asked.trade(solution.holdings), given, solution,
        )  # fmt: skip

    assert certified(prices).gap <= SHARP
    with pytest.raises(NotSolved, match="not lawful"):
        certified(unlawful)


def test_everything_sold_and_nothing_at_risk_is_still_proved() -> None:
    """Returns so poor that all is sold: no direction is at risk, and the whole of a holding is traded with impact."""
    asked = rich_question(2, "impact", "ellipsoid", risk_aversion=0.0)
    poor = replace(asked.outlook, returns=asked.outlook.returns - 2.0)
    for linear in ((), asked.mandate.linear_rules[2:3]):
        made = replace(asked, outlook=poor, mandate=replace(asked.mandate, linear_rules=linear))
        target, _, certificate = made.certified()

        assert target.values.max() <= KEPT
        assert abs(certificate.gap) <= SHARP


@pytest.mark.parametrize("power", range(-12, 1, 2))
def test_impact_of_any_size_is_proved(power: int) -> None:
    for seed in range(3):
        asked = rich_question(seed, "impact", risk_aversion=2.0 * (seed % 2))
        made = replace(asked, mandate=replace(asked.mandate, impact=np.full(8, 10.0**power)))

        assert abs(made.certified()[2].gap) <= SHARP
