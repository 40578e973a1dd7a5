"""Few names in whole lots: against counting every portfolio of small books, and what a person sees of it."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from allocator.__main__ import main
from allocator.book.book import Book
from allocator.book.loading import load
from allocator.display.plan import describe_proof
from allocator.errors import BadInput, BadMandate, Infeasible
from allocator.lots.whole_lots import trade_of_lots
from allocator.mandate.builder import build_mandate
from allocator.mandate.precheck import check
from allocator.optimization.conflicts import relax_by_tier
from allocator.optimization.resolve import ParametricSolver
from allocator.optimization.solve import Program
from allocator.outlook.outlook import build_outlook
from allocator.plan.caution import caution_study
from allocator.plan.document import plan_document
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.rules.rows import Position
from allocator.settings.reading import with_overrides
from allocator.stress_testing.frontier import frontier
from allocator.stress_testing.shock_effects import shock_stress
from tests.books import book as plain_book
from tests.lots.test_best_lots import asked
from tests.lots.test_whole_lots import broken_rules, cash_after, cost_rates
from tests.thoroughness import THOROUGH, some

CASE = Path(__file__).parents[3] / "shared" / "field" / "50-nothing-or-at-least-five-percent" / "book"


def few_names(seed: int) -> Book:
    """A small book of coarse lots that wants at most so many names, or nothing and so much of each, or both."""
    book, draw = asked(seed), np.random.default_rng(seed)
    wanted: dict[str, Any] = {"names_gap": 0.0}
    if seed % 3 != 0:
        wanted["max_names"] = int(draw.integers(1, len(book.instruments)))
    if seed % 3 != 1:
        cap = book.settings.mandate.max_weight or 1.0
        wanted["min_position"] = min(float(draw.choice([0.05, 0.1, 0.2, 0.3])), cap)
    if seed % 4 == 3:
        wanted["max_cash"] = 0.25
    mandate = book.settings.mandate.model_copy(update=wanted)
    return replace(book, settings=book.settings.model_copy(update={"mandate": mandate}))


def best_by_counting(book: Book) -> float | None:
    """The least objective in bps of all whole lots that keep every rule, each rule by arithmetic of the test's own."""
    outlook, mandate, wanted = build_outlook(book), build_mandate(book), book.settings.mandate
    choices, rates, best = list[list[float]](), cost_rates(book), None
    for quantity, size, lot in zip(book.quantities, book.lot_sizes, book.lot_values, strict=True):
        held, least = quantity / size, book.settings.lots.min_trade
        whole = range(-int(np.floor(held + 1e-9)), int(book.value / lot) + 1)
        choices.append([-held, *(n for n in whole if n == 0 or abs(n) * lot >= least - 1e-9)])
    for lots in map(np.array, itertools.product(*choices)):
        quantities = book.quantities + lots * book.lot_sizes
        values = np.where(np.abs(quantities) < 1e-12, 0.0, quantities) * book.prices
        cash = book.cash - float(lots @ book.lot_values) - float(rates @ np.abs(lots * book.lot_values))
        if cash < 0 or (wanted.max_names is not None and (values > 0).sum() > wanted.max_names):
            continue
        weights = values / (values.sum() + cash)
        if ((weights > 0) & (weights < (wanted.min_position or 0.0) - 1e-9)).any():
            continue
        if cash / (values.sum() + cash) > wanted.max_cash + 1e-9:
            continue
        loss = mandate.loss(trade_of_lots(book, mandate, lots), outlook) * 1e4
        moved = lots * book.lot_sizes
        if (best is None or loss < best) and not broken_rules(book, book.quantities + moved, cash_after(book, moved)):
            best = loss
    return best


@pytest.mark.parametrize("seed", some(range(100), 10))
def test_no_counted_portfolio_of_few_names_is_better_than_the_lots(seed: int) -> None:
    book = few_names(seed)
    try:
        plan = rebalance(book)
    except Infeasible:
        assert best_by_counting(book) is None
        return
    best = best_by_counting(book)
    assert best is not None
    found = plan.mandate.loss(plan.weighed, plan.outlook) * 1e4
    assert best - 1e-6 <= found <= best + 0.02, "the best names of lots, as no gap was allowed but a hundredth of a bp"
    assert found - best <= plan.lots_gap_bps + 1e-6
    wanted, weights = book.settings.mandate, plan.weighed.weights
    assert (weights > 0).sum() <= (wanted.max_names or len(weights))
    assert weights[weights > 0].min(initial=1.0) >= (wanted.min_position or 0.0) - 1e-9


def planned(**wanted: object) -> Plan:
    """Case 50 of the field with other wishes."""
    loaded = load(CASE)
    settings = with_overrides(loaded.settings, [f"mandate.{key}={value}" for key, value in wanted.items()])
    return rebalance(replace(loaded, settings=settings))


def test_nothing_or_at_least_five_percent_is_held_of_each_name() -> None:
    plan = planned()

    weights = plan.final.weights
    assert weights.tolist() == pytest.approx([0, 0.05, 0.05, 0.063], abs=1e-9)
    assert plan.names is not None
    assert plan.names.gap <= 0.01 * abs(plan.names.objective)
    told = plan_document(plan)["certificate"]["names"]
    assert (told["held"], told["bound"]) == (3, plan.names.bound)
    assert told["gap_bps"] == pytest.approx(plan.names.gap * 1e4, abs=1e-6)


def test_without_the_rule_more_names_are_held_with_less() -> None:
    free = planned(min_position=0)

    assert free.names is None
    assert 0 < free.final.weights.min() < 0.05
    assert free.mandate.loss(free.target, free.outlook) < planned().certificate.objective


def test_the_screen_says_how_much_better_other_names_could_be() -> None:
    told = " ".join(describe_proof(planned(max_names=2, min_position=0.01)))

    assert re.search(r"best there is with these names \(PIQP", told)
    assert re.search(
        r"No other choice of names is better by more than \d+\.\d\d bps \(\d+\.\d\d% of the objective\)", told
    )


REFUSED = [
    ({"min_position": 0.3, "max_weight": 0.2}, "must not be above mandate.max_weight = 0.2"),
    ({"min_position": 0.3, "weights.AAA.max": 0.2}, "must not be above mandate.weights.AAA.max = 0.2"),
    ({"max_names": 0}, "greater than or equal to 1"),
    ({"max_names": 2, "objective": "regret"}, "is not known with objective = 'regret'"),
    ({"max_names": 2, "tiers": '{"max_names" = 3}'}, "is always hard"),
]


@pytest.mark.parametrize(("wanted", "rule"), REFUSED, ids=[rule for _, rule in REFUSED])
def test_wishes_for_few_names_that_mean_nothing_are_refused(wanted: dict[str, object], rule: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(CASE, overrides=[f"mandate.{key}={value}" for key, value in wanted.items()])

    assert any(rule in breach.rule for breach in caught.value.breaches)


def test_few_names_and_reviews_are_refused_together(root: Path) -> None:
    with pytest.raises(BadInput, match="is of one decision, and horizon"):
        load(root / "data" / "reviewed", overrides=["mandate.max_names=4"])


def held_book(**mandate: object) -> Book:
    """A fifth of each of four names and of cash; two cannot be traded."""
    wish = {"objective": "minimum_variance", "locked": ["AAA", "BBB"], **mandate}
    return plain_book({"mandate": wish, "robust": {"set": "none"}}, names=("AAA", "BBB", "CCC", "DDD"))


def test_names_that_are_locked_count_and_the_conflict_says_which() -> None:
    book = held_book(max_names=1)
    with pytest.raises(Infeasible) as caught:
        rebalance(book)
    with pytest.raises(Infeasible):
        check(book)

    assert caught.value.rules == ("at most 1 name held", "AAA is locked", "BBB is locked")
    cures = [override for (override,) in caught.value.overrides]  # each was tried
    assert {"mandate.max_names=2", 'mandate.locked=["BBB"]'} <= {*cures}
    plan = rebalance(held_book(max_names=2))
    assert (plan.final.weights > 0).tolist() == [True, True, False, False]


def test_a_locked_name_below_the_least_position_is_a_conflict_by_name() -> None:
    with pytest.raises(Infeasible) as caught:
        rebalance(held_book(min_position=0.4))

    assert caught.value.rules == ("every name nothing or at least 40%", "AAA is locked")
    assert any(
        override.startswith("mandate.min_position=0.") for overrides in caught.value.overrides for override in overrides
    )


NARROW = {"max_names": 2, "max_weight": 0.3, "max_cash": 0.1}
LARGE = {"min_position": 0.4, "max_weight": 0.45, "max_cash": 0.05}
CONFLICTS = [
    (NARROW, {"at most 2 names held", "cash at most 10%"}, "mandate.max_names=3"),
    (LARGE, {"every name nothing or at least 40%", "cash at most 5%"}, "mandate.max_cash=0.1"),
]


@pytest.mark.parametrize(("wanted", "rules", "cure"), CONFLICTS)
def test_a_conflict_of_few_names_is_told_with_fixes_that_work(
    wanted: dict[str, object], rules: set[str], cure: str
) -> None:
    with pytest.raises(Infeasible) as caught:
        planned(**{"min_position": 0, **wanted})

    assert rules <= set(caught.value.rules)
    cures = [override for overrides in caught.value.overrides for override in overrides]
    assert cure in cures
    for overrides in caught.value.overrides:
        changed = dict(override.removeprefix("mandate.").split("=", 1) for override in overrides)
        planned(**{"min_position": 0, **wanted, **changed})  # or it raises


def test_who_asks_a_mandate_many_times_is_told_that_names_are_not_chosen() -> None:
    book = held_book(max_names=2)
    outlook = build_outlook(book)
    start = Position(book.weights, book.cash / book.value)
    for ask in (
        Program(outlook, build_mandate(book)).solve,
        ParametricSolver(start, outlook, build_mandate(book)).solve,
    ):
        with pytest.raises(BadMandate, match="chooses names once, for a plan"):
            ask(start, outlook, build_mandate(book))


def test_few_names_of_a_tail_have_lots_whose_gap_counts_all_names() -> None:
    plan = planned(objective="mean_cvar", max_names=2, max_cash=0.01, min_position=0.1)

    weights, policy = plan.weighed.weights, plan.policy
    assert plan.names is not None
    assert policy is not None
    assert (weights > 0).sum() <= 2
    assert weights[weights > 0].min() >= 0.1 - 1e-9
    most = policy.mandate.utility.equivalent(plan.names.bound)
    assert plan.lots_gap_bps >= (most - policy.with_lots.equivalent) * 1e4 - 1e-9


def test_every_screen_of_a_plan_of_few_names_is_of_the_names_that_were_chosen() -> None:
    asked = ["tests/plain_books/listed", "--set", "mandate.max_names=10"]
    for command in (["rebalance", *asked], ["rebalance", *asked, "--full"], ["frontier", *asked, "--points", "3"]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
        assert "Look again when" in done.output or command[0] == "frontier"
    turning = rebalance(load("tests/plain_books/listed", overrides=["mandate.max_names=10"])).turns
    assert {turn.instrument for turn in turning} >= {"META", "MSFT"}


def test_a_rule_with_a_priority_gives_way_to_the_names_that_were_chosen() -> None:
    stated = {"risk_aversion": 2.0, "max_names": 1, "max_cash": 0.2, "max_weight": 0.5, "tiers": {"max_cash": 1}}
    plan = rebalance(plain_book({"mandate": stated}))
    assert (plan.final.weights > 0).sum() == 1
    assert [rule.label for rule in plan.relaxed] == ["cash at most 20%"]


def test_without_aversion_to_risk_one_name_is_proved_to_be_the_best() -> None:
    stated = {"mandate": {"risk_aversion": 0.0, "max_names": 1, "max_weight": 0.7}, "costs": {"spread_bps": 20.0}}
    plan = rebalance(plain_book(stated, quantity=0.0, cash=5000.0), lots=False)
    assert plan.names is not None
    assert plan.names.gap < 1e-6


def unequal(seed: int, **mandate: object) -> Book:
    """Five names of unequal size and some cash, with rules that have a priority."""
    draw = np.random.default_rng(seed)
    book = plain_book({"mandate": mandate, "costs": {"commission_bps": 5.0}}, names=("AAA", "BBB", "CCC", "DDD", "EEE"))
    quantities = np.round(book.quantities * draw.uniform(0.2, 2.0, 5))
    return replace(book, quantities=quantities)


@pytest.mark.parametrize("seed", some(range(8), 5))
def test_where_whole_names_alone_conflict_rules_give_way_by_priority_as_least_as_any_names_let_them(seed: int) -> None:
    """Of parts of names two of five would keep all; of whole ones at most two turn over what the others are worth."""
    tiers = {"max_turnover": 1} if seed % 2 else {"max_turnover": 2, "max_cash": 1}
    book = unequal(seed, max_names=2, max_turnover=0.05, max_cash=0.3, max_weight=0.6, tiers=tiers)
    outlook, stated = build_outlook(book), build_mandate(book)
    start, missed = Position(book.weights, book.cash / book.value), list[tuple[float, ...]]()
    for pair in itertools.combinations(range(5), 2):
        given = relax_by_tier(start, outlook, stated.choosing(np.isin(np.arange(5), pair)))
        assert given is not None
        of_tier = {given.members[at].tier: limit for at, limit in given.limits.items()}
        missed.append(tuple(of_tier.get(tier, 0.0) for tier in sorted(tiers.values())))

    plan = rebalance(book, lots=False)

    assert plan.names is not None
    assert plan.names.held.sum() <= 2
    gave = {rule.tier: rule.measured for rule in plan.relaxed}
    found = tuple(gave.get(tier, 0.0) for tier in sorted(tiers.values()))
    assert found == pytest.approx(min(missed), abs=3e-4)
    assert (rebalance(book).final.weights > 0).sum() <= 2


def test_rules_without_priority_that_no_names_keep_are_named_without_those_that_give_way() -> None:
    """Three names of 20 % leave 40 % of cash; that turnover has a priority does not matter."""
    book = unequal(0, max_names=3, max_weight=0.2, max_cash=0.1, max_turnover=0.3, tiers={"max_turnover": 1})
    with pytest.raises(Infeasible) as caught:
        rebalance(book)
    assert not any("turnover" in label for label in caught.value.rules)
    assert {"cash at most 10%", "at most 3 names held"} <= {*caught.value.rules}


def test_caution_frontier_and_shocks_of_a_tail_are_of_the_names_that_were_chosen() -> None:
    listed = Path(__file__).parents[2] / "data" / "listed"
    asked = ["mandate.objective='mean_cvar'", "mandate.max_names=10", "mandate.draws=20", "mandate.names_gap=0.9"]
    book = load(listed, overrides=asked)
    plan = rebalance(book, lots=False)
    assert plan.names is not None

    cautious, shocked = caution_study(book), shock_stress(plan, ("crash",))

    assert cautious.own.turnover == pytest.approx(max(plan.target.bought.sum(), plan.target.sold.sum()) / book.value)
    if THOROUGH:
        drawn = frontier(book, points=3)
        assert drawn.plan.figures.expected_return == pytest.approx(plan.targeted.expected_return, abs=1e-6)
    (effect,) = shocked.effects
    assert effect.why_not is None
    bought = {name for name, part in effect.trades if part > 0}
    assert bought <= {name for name, own in zip(book.instruments, plan.names.held, strict=True) if own}


def test_fewer_names_than_are_locked_are_a_conflict_whose_fix_works_even_if_one_is_above_its_cap() -> None:
    """What mends one conflict leads to the next, and a simplex that is lost there hides none of them."""
    listed = Path(__file__).parents[2] / "data" / "listed"
    asked = ["mandate.max_names=3", 'mandate.locked=["NVDA", "META", "MSFT", "GOOGL"]']
    with pytest.raises(Infeasible) as caught:
        rebalance(load(listed, overrides=asked))
    assert caught.value.rules == ("NVDA at most 12%", "NVDA is locked")
    (fix,) = caught.value.overrides
    assert "mandate.max_names=8" in fix
    if THOROUGH:
        assert (rebalance(load(listed, overrides=[*asked, *fix])).final.weights[:-1] > 0).sum() == 8
