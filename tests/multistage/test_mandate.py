"""A mandate in units of another account says the same of the same money."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocator.multistage.mandate import rescale_mandate, without_ambiguity
from allocator.rules import Participation, Trade
from tests.random_trees import random_tree


@pytest.mark.parametrize("wealth", [0.3, 1.0, 2.5])
def test_money_costs_the_same_whatever_account_it_is_counted_in(wealth: float) -> None:
    staged, _ = random_tree(3, impact=True)
    mandate = staged.mandates[0]
    assert mandate.impact is not None
    names = len(mandate.cost_rates)
    draw = np.random.default_rng(7)
    bought, sold = draw.uniform(0, 0.1, names), draw.uniform(0, 0.1, names)

    here, there = mandate.costs(bought, sold), rescale_mandate(mandate, wealth).costs(bought / wealth, sold / wealth)

    np.testing.assert_allclose(there * wealth, here, rtol=1e-12)


@pytest.mark.parametrize("wealth", [0.3, 1.0, 2.5])
def test_a_part_of_the_day_s_volume_is_the_same_part_whatever_account_it_is_counted_in(wealth: float) -> None:
    staged, _ = random_tree(3)
    rule = Participation(("I0", "I1"), (0, 1), (0.5, 0.5), (0.08, 0.2))
    mandate = replace(staged.mandates[0], linear_rules=(rule,))
    names = len(mandate.cost_rates)
    bought = np.zeros(names)
    bought[:2] = 0.03, 0.04

    def measured(unit: float) -> list[float]:
        traded = Trade(bought / unit, 0.5, bought / unit, 0 * bought, 0.0, 1.0)
        return [reading.measured for reading in rescale_mandate(mandate, unit).readings(traded, staged.outlooks[0])]

    assert measured(wealth) == pytest.approx([0.03 / 0.08, 0.04 / 0.2], rel=1e-12)


def test_who_trusts_the_belief_guards_against_nothing_and_keeps_the_rules() -> None:
    staged, _ = random_tree(3)
    trusted = without_ambiguity(staged)

    assert {type(ambiguity).__name__ for ambiguity in trusted.ambiguities} == {"Singleton"}
    assert trusted.mandates is staged.mandates
