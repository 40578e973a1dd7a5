"""A tree of one decision is the program of one period: two builders that share no line of the objective or the sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.objectives import LinearUtility
from allocator.multistage.solve import solve_policy
from allocator.optimization.solve import Limits
from tests.agreement import KEPT, OBJECTIVE
from tests.problems import SETS, Question, random_question
from tests.textbook_program import RULES, rich_question
from tests.thoroughness import some
from tests.trees import of_one

FINE = Limits(tolerance=1e-10)


def as_tree(asked: Question) -> MultistageMandate:
    """Decide today, see a scenario; the set moves from the mandate to the node, losses are 1 − W."""
    tree = of_one(asked.outlook)
    return MultistageMandate(tree, (asked.mandate,), (asked.outlook,), (asked.mandate.ambiguity,), LinearUtility())


def assert_same_optimum(asked: Question) -> None:
    """Both optima, by the mandate's own formula and by the tree's, on both portfolios."""
    one, tree = asked.optimum(FINE), solve_policy(as_tree(asked), asked.start, FINE)

    assert tree.objective == pytest.approx(one, abs=OBJECTIVE)
    assert asked.mandate.loss(tree.trade(0), asked.outlook) == pytest.approx(tree.objective, abs=1e-12)
    assert max(reading.missed for reading in tree.readings(0)) <= KEPT


@pytest.mark.parametrize("seed", some(range(20), 3))
def test_a_tree_of_one_decision_gives_the_one_period_program_s_optimum_with_costs_and_limits(seed: int) -> None:
    """Caps, a group, cash and turnover, costs by name; every fourth belief leaves a scenario out."""
    asked = random_question(seed, count=6 + seed % 5, ambiguity=SETS[seed % 5], risk_aversion=0.0)
    if seed % 4 == 3:
        p = np.where(np.arange(4) == seed % 3, 0.0, asked.outlook.probabilities)
        asked = replace(asked, outlook=replace(asked.outlook, probabilities=p / p.sum()))
    assert_same_optimum(asked)


@pytest.mark.parametrize("seed", some(range(12), 3))
def test_a_tree_of_one_decision_gives_the_one_period_program_s_optimum_with_impact(seed: int) -> None:
    assert_same_optimum(rich_question(seed, "impact", ambiguity=SETS[seed % 5], risk_aversion=0.0))


@pytest.mark.parametrize("at", range(28))
def test_a_tree_of_one_decision_gives_the_one_period_program_s_optimum_under_every_rule(at: int) -> None:
    """Each rule where it binds, under two sets or three, and all of them together."""
    kinds = RULES if at >= 24 else (RULES[at % len(RULES)],)
    assert_same_optimum(rich_question(at, *kinds, ambiguity=SETS[(at + at // len(RULES)) % 5], risk_aversion=0.0))
