"""Plans around beliefs that hold a scenario all but impossible: proved, by adversaries who do not overlook it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.divergences import Divergence
from allocator.rules import WorstCaseFloor
from tests.agreement import KEPT, OBJECTIVE, SHARP
from tests.problems import Question, caps, question, random_portfolios, random_question
from tests.thoroughness import some
from tests.unlikely import DECADES, DIVERGENCES, RADII, exact_worst_case, unlikely_beliefs

BY_CLASS = pytest.mark.parametrize("class_", DIVERGENCES)
BY_DECADE = pytest.mark.parametrize("p", some(DECADES, 3))


def questions(class_: type[Divergence], p: float) -> Iterator[tuple[Question, Divergence]]:
    for seed, radius in enumerate(some(RADII, 5)):
        for _, belief in unlikely_beliefs(seed, p):
            asked = random_question(seed, ambiguity=class_(radius), risk_aversion=(0.0, 2.0)[seed % 2])
            yield replace(asked, outlook=replace(asked.outlook, probabilities=belief)), class_(radius)


@BY_CLASS
@BY_DECADE
def test_a_plan_is_proved_and_worth_what_thirty_digits_make_of_it(class_: type[Divergence], p: float) -> None:
    for asked, ambiguity in questions(class_, p):
        trade, _, certificate = asked.certified()
        gains, belief = asked.outlook.portfolio_returns(trade.values, trade.cash), asked.outlook.probabilities
        others = certificate.objective - ambiguity.worst_case(-gains, belief)

        assert abs(certificate.gap) <= SHARP
        assert others + exact_worst_case(-gains, ambiguity, belief) == pytest.approx(certificate.objective, abs=1e-11)
        for other in random_portfolios(asked, 1, count=10):
            assert asked.mandate.loss(other, asked.outlook) >= certificate.bound - 1e-9


@BY_CLASS
@BY_DECADE
def test_a_floor_under_the_worst_case_binds_and_is_kept(class_: type[Divergence], p: float) -> None:
    for robust, ambiguity in questions(class_, p):
        asked = robust.with_ambiguity(Singleton())
        floor = WorstCaseFloor(0.0, ambiguity)
        most, least = (floor.readings(each.certified()[0], asked.outlook)[0].measured for each in (robust, asked))
        limit = least + 0.5 * (most - least)
        rules = (replace(floor, limit=limit),)
        trade, _, certificate = replace(asked, mandate=replace(asked.mandate, convex_rules=rules)).certified()
        gains = asked.outlook.portfolio_returns(trade.values, trade.cash) + trade.value - 1

        assert abs(certificate.gap) <= SHARP
        assert -exact_worst_case(-gains, ambiguity, asked.outlook.probabilities) >= limit - KEPT


@BY_CLASS
@BY_DECADE
def test_two_scenarios_are_weighed_by_what_the_worst_of_them_may_become(class_: type[Divergence], p: float) -> None:
    """A name that loses nearly all in one and gains in the other against cash: the better of both, by closed form."""
    for radius in some(RADII, 3):
        belief, name = np.array([p, 1 - p]), np.array([-0.95, 0.10])
        asked = question(
            name[:, None], probabilities=belief, cash_return=0.03, risk_aversion=0.0, ambiguity=class_(radius),
            rules=[caps(1, 1.0)],
        )  # fmt: skip
        trade, _, certificate = asked.certified()
        exact = -exact_worst_case(-name, class_(radius), belief)

        assert -certificate.objective == pytest.approx(max(exact, 0.03), abs=OBJECTIVE)
        assert trade.values[0] == pytest.approx(float(exact > 0.03), abs=1e-3)
