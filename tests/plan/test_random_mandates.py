"""300 random books, or a fifth of them, planned through to whole lots, and rules that clash only in lots give way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocator.book.book import Book
from allocator.errors import Infeasible, NotSolved
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import no_trade
from allocator.optimization.conflicts import explain_conflict
from allocator.outlook.outlook import build_outlook
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from tests.lots.test_whole_lots import random_book
from tests.thoroughness import count, some

BOOKS = count(300, 10)
PARTS = [range(i, BOOKS, count(10, 2)) for i in range(count(10, 2))]


def planned(book: Book) -> Plan | Infeasible | NotSolved:
    """The plan, or why there is none."""
    try:
        return rebalance(book)
    except (Infeasible, NotSolved) as error:
        return error


@pytest.mark.parametrize("seeds", PARTS, ids=range(len(PARTS)))
def test_every_rule_holds_on_the_final_lots_and_none_is_dropped(seeds: range) -> None:
    solved = 0
    for seed in seeds:
        book = random_book(seed, 3)
        outlook, wanted = build_outlook(book), build_mandate(book)
        labels = [reading.label for reading in wanted.readings(no_trade(book), outlook)]
        answer = planned(book)
        assert isinstance(answer, Plan | Infeasible), f"{seed}: {answer}"
        if isinstance(answer, Plan):
            assert [reading.label for reading in answer.measurements] == labels, seed
            assert answer.relaxed == (), seed
            # what has a plan is never called a conflict
            assert explain_conflict(answer.start, outlook, wanted) is None, seed
            assert all(reading.excess <= 1e-9 for reading in wanted.readings(answer.final, outlook)), seed
            solved += 1
    assert solved >= 0.8 * len(seeds)


@pytest.mark.parametrize("seed", some(range(10), 3))
def test_coarse_lots_that_clash_have_a_plan_where_the_rules_they_name_give_way(seed: int) -> None:
    book = random_book(seed, 3, coarse=True)
    answer = planned(book)
    if not isinstance(answer, Infeasible) or "whole-lot" not in answer.message or answer.cut_short:
        return
    tiers = {_key(label): 5 for label in answer.rules}
    settings = book.settings
    softer = settings.mandate.model_copy(update={"tiers": tiers})
    plan = rebalance(replace(book, settings=settings.model_copy(update={"mandate": softer})))

    assert plan.relaxed
    kept = {way.label for way in plan.relaxed}
    assert kept <= set(answer.rules)
    assert np.isfinite(plan.final.value)


def _key(label: str) -> str:
    name, _, _ = label.partition(" at ")
    own = {"cash": "min_cash", "turnover": "max_turnover", "volatility": "max_volatility"}
    if name in own:
        return own[name]
    kind, _, rest = name.partition(" ")
    if kind in ("group", "bucket"):
        return f"{kind}s.{rest}"
    return "max_weight" if " at most " in label else f"weights.{name}"
