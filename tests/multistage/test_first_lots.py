"""The lots that a policy begins with: against all whole lots near the targets, each followed through the tree."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import allocator
from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import Infeasible, NotSolved
from allocator.lots.whole_lots import rules_broken, trade_of_lots
from allocator.multistage.solve import policy_after_first_trades, solve_policy
from allocator.optimization.solve import Limits
from allocator.plan.plan import Plan
from tests.golden_books import write_tree
from tests.thoroughness import some


def coarse(folder: Path, seed: int) -> Book:
    """A tree of a few names, of which one lot is up to a tenth of the account."""
    write_tree(folder, seed)
    book, draw = load(folder), np.random.default_rng(seed)
    whole = np.maximum(np.round(draw.uniform(0.02, 0.1, len(book.instruments)) * book.value / book.prices), 1.0)
    return replace(book, lot_sizes=whole)


def best_by_counting(plan: Plan) -> float:
    """The highest certainty equivalent of all whole lots near the targets that keep every rule, today and later."""
    assert plan.policy is not None
    book, best = plan.book, plan.policy.best
    wanted = (plan.target.bought - plan.target.sold) / book.lot_values
    held = book.quantities / book.lot_sizes
    near = [
        {float(n) for n in range(int(np.floor(one)) - 1, int(np.ceil(one)) + 2) if n >= -holding} | {-holding}
        for one, holding in zip(wanted, held.tolist(), strict=True)
    ]
    found = -np.inf
    for lots in itertools.product(*near):
        trade = trade_of_lots(book, plan.mandate, np.array(lots))
        small = (np.array(lots) != 0) & (np.abs(lots) * book.lot_values < book.settings.lots.min_trade)
        if trade.cash < 0 or small.any() or rules_broken(plan.mandate.readings(trade, plan.outlook)):
            continue
        moves = (trade.bought - trade.sold) / book.value
        try:
            policy = policy_after_first_trades(best.staged, best.start, moves, Limits.of(book), ruled=False)
        except (Infeasible, NotSolved):
            continue
        found = max(found, policy.equivalent)
    return found


@pytest.mark.parametrize("seed", some((1, *range(16, 22), 6, 2, 7, 8, *range(28, 37), 43, 44), 7))  # few names
def test_no_counted_lots_begin_a_better_policy(tmp_path: Path, seed: int) -> None:
    book = coarse(tmp_path / "book", seed)
    try:
        plan = allocator.rebalance(book)
    except Infeasible as error:
        pytest.skip(f"no lots keep the rules of this book: {error.message[:60]}")
    assert plan.policy is not None
    found = plan.policy.with_lots.equivalent
    best = best_by_counting(plan)
    assert found >= best - max(book.settings.lots.gap_bps, plan.lots_gap_bps) / 1e4 - 1e-8
    assert best >= found - 1e-7 or plan.rounding_bps < 0.1
    assert found >= plan.policy.best.equivalent - plan.rounding_bps / 1e4 - 1e-9


def test_the_lots_of_the_reviewed_sample_are_proved_within_the_gap(root: Path) -> None:
    plan = allocator.rebalance(load(root / "data" / "reviewed"))
    assert plan.lots_gap_bps < 0.1  # the nearest lots were .36 bps from the bound of the targets, and lost as much
    assert plan.rounding_bps < 0.1


@pytest.mark.parametrize("seed", [12, 35])  # of powers, and of logarithms
def test_the_last_bits_of_a_tree_move_no_trade(tmp_path: Path, seed: int) -> None:
    write_tree(tmp_path / "book", seed)
    plan = allocator.rebalance(load(tmp_path / "book"), lots=False)
    assert plan.policy is not None
    best, draw = plan.policy.best, np.random.default_rng(seed)

    def shaken(values: np.ndarray) -> np.ndarray:
        return values * (1 + draw.uniform(-4e-16, 4e-16, values.shape))

    staged = best.staged
    tree = replace(staged.tree, growth=shaken(staged.tree.growth), leaf_growth=shaken(staged.tree.leaf_growth))
    other = solve_policy(replace(staged, tree=tree), best.start, Limits.of(plan.book))
    again = solve_policy(staged, best.start, Limits.of(plan.book))
    assert not np.array_equal(tree.growth, staged.tree.growth)
    assert np.abs(other.holdings - again.holdings).max() < 1e-13  # they differed by up to a fifth of a basis point
