"""A compiled tree that is solved again from elsewhere: the answer of a fresh one, and never another question's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocator.multistage import solve as reused
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.objectives import PowerUtility
from allocator.multistage.solve import compiled_tree_program, solve_policy
from allocator.optimization.single_period import Position
from tests.random_trees import random_tree


def elsewhere(start: Position, seed: int) -> Position:
    """The same names in other amounts."""
    weights = np.append(start.holdings, start.cash) * np.random.default_rng(seed).uniform(0.3, 2.0, 6)
    weights /= weights.sum()
    return Position(weights[:-1], float(weights[-1]))


def forgotten() -> None:
    """As in a process that has solved nothing yet."""
    reused._of_thread.__dict__.clear()


@pytest.mark.parametrize("impact", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_a_tree_solved_again_from_elsewhere_is_answered_to_the_last_digit_as_if_it_were_new(
    seed: int, impact: bool
) -> None:
    staged, start = random_tree(seed, impact=impact)
    there = elsewhere(start, seed)
    forgotten()
    fresh = solve_policy(staged, there)
    forgotten()
    solve_policy(staged, start)
    again = solve_policy(staged, there)

    assert np.abs(solve_policy(staged, start).bought - again.bought).max() > 1e-3
    assert again.holdings.tobytes() == fresh.holdings.tobytes()
    assert again.objective == fresh.objective


def made(staged: MultistageMandate, start: Position, *, trading: bool = True) -> object:
    return compiled_tree_program(staged, start, trading=trading, trade_unit=0.1)


def test_a_tree_is_compiled_once_for_all_amounts_held() -> None:
    staged, start = random_tree(0)
    forgotten()

    assert made(staged, start) is made(replace(staged), elsewhere(start, 1))


def test_any_other_number_of_the_question_is_another_program() -> None:
    staged, start = random_tree(0)
    forgotten()
    first = made(staged, start)
    tree, mandate, outlook = staged.tree, staged.mandates[-1], staged.outlooks[-1]
    nudged = 1 + 1e-12
    others = [
        replace(staged, tree=replace(tree, growth=tree.growth * nudged)),
        replace(staged, tree=replace(tree, leaf_growth=tree.leaf_growth * nudged)),
        replace(staged, tree=replace(tree, probabilities=tree.probabilities * nudged)),
        replace(staged, utility=PowerUtility(3.0 * nudged)),
        replace(staged, ambiguities=staged.ambiguities[::-1]),
        replace(staged, mandates=(*staged.mandates[:-1], replace(mandate, cost_rates=mandate.cost_rates * nudged))),
        replace(staged, mandates=(*staged.mandates[:-1], replace(mandate, linear_rules=()))),
        replace(staged, outlooks=(*staged.outlooks[:-1], replace(outlook, returns=outlook.returns * nudged))),
    ]

    assert all(made(other, start) is not first for other in others)
    forgotten()
    first = made(staged, start)
    assert made(staged, start, trading=False) is not first
    assert made(staged, Position(np.where(np.arange(5) == 0, 0.0, start.holdings), start.cash)) is not first
    assert made(staged, start) is first


def test_no_more_than_a_few_programs_are_kept() -> None:
    forgotten()
    for seed in range(12):
        made(*random_tree(seed))

    assert len(reused._of_thread.kept) == 4
