"""A compiled tree that is solved again from elsewhere: the answer of a fresh one, and never another question's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from allocator.ambiguity.balls import Box, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler, ModifiedChiSquared
from allocator.ambiguity.polyhedral import ExpertHull
from allocator.ambiguity.product import ProductSet
from allocator.ambiguity.sets import Ambiguity
from allocator.book.loading import load
from allocator.mandate.mandate import Mandate
from allocator.multistage import solve as reused
from allocator.multistage.mandate import MultistageMandate, build_multistage_mandate
from allocator.multistage.objectives import LogUtility, PowerUtility
from allocator.multistage.program import TreeShape, tree_program
from allocator.multistage.solve import compiled_tree_program, solve_policy
from allocator.optimization.solve import CLARABEL, Limits
from allocator.outlook.outlook import build_outlook
from allocator.rules import Participation, VolatilityLimit
from allocator.rules.returns import MinimumExpectedReturn
from allocator.rules.rows import Position
from allocator.types import Vector
from tests.plan.test_axes import stated
from tests.random_trees import NAMES, random_tree
from tests.thoroughness import some


def elsewhere(start: Position, seed: int) -> Position:
    """The same names in other amounts."""
    weights = np.append(start.holdings, start.cash) * np.random.default_rng(seed).uniform(0.3, 2.0, 6)
    weights /= weights.sum()
    return Position(weights[:-1], float(weights[-1]))


def forgotten() -> None:
    """As in a process that has solved nothing yet."""
    reused._of_thread.__dict__.clear()


@pytest.mark.parametrize("impact", [False, True])
@pytest.mark.parametrize("seed", some(range(6), 3))
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
    return compiled_tree_program(staged, start, TreeShape(trading))


def test_a_tree_is_compiled_once_for_all_amounts_held() -> None:
    staged, start = random_tree(0)
    forgotten()

    assert made(staged, start) is made(replace(staged), elsewhere(start, 1))


NUDGE = 1 + 1e-12


def with_last(staged: MultistageMandate, **changed: object) -> MultistageMandate:
    """Its last decision's mandate changed."""
    return replace(staged, mandates=(*staged.mandates[:-1], replace(staged.mandates[-1], **changed)))


def test_what_is_no_number_of_a_linear_row_is_another_program() -> None:
    staged, start = random_tree(0)
    forgotten()
    first, volatility = made(staged, start), with_last(staged, convex_rules=(VolatilityLimit(0.3),))
    last = volatility.outlooks[-1]
    riskier = replace(last, risk=last.risk.over(NUDGE))
    others = [
        replace(staged, utility=PowerUtility(3.0)),
        replace(staged, ambiguities=(KullbackLeibler(0.0), *staged.ambiguities[1:])),
        with_last(staged, linear_rules=()),
        volatility,
    ]

    assert all(made(other, start) is not first for other in others)
    assert made(volatility, start) is made(replace(volatility, utility=LogUtility()), start)
    assert made(volatility, start) is not made(with_last(staged, convex_rules=(VolatilityLimit(0.3 * NUDGE),)), start)
    other = replace(volatility, outlooks=(*volatility.outlooks[:-1], riskier))
    assert made(volatility, start) is not made(other, start)
    assert made(staged, start, trading=False) is not first
    assert made(staged, Position(np.where(np.arange(5) == 0, 0.0, start.holdings), start.cash)) is not first
    assert made(staged, start) is first


def other_numbers(staged: MultistageMandate, seed: int) -> MultistageMandate:
    """The same shape where every number of a linear row is another one."""
    draw, tree = np.random.default_rng(seed), staged.tree

    def moved(values: Vector) -> Vector:
        return values * draw.uniform(0.97, 1.03, np.shape(values))

    def at(mandate: Mandate) -> Mandate:
        impact = None if mandate.impact is None else moved(mandate.impact)
        rules = [
            rule.with_limits([float(one) for one in moved(np.array(rule.limits))]) for rule in mandate.linear_rules
        ]
        return replace(mandate, cost_rates=moved(mandate.cost_rates), impact=impact, linear_rules=tuple(rules))

    later = tree.parents >= 0
    grown = {"growth": np.where(later[:, None], moved(tree.growth), 1), "leaf_growth": moved(tree.leaf_growth)}
    cash = {
        "cash_growth": np.where(later, moved(tree.cash_growth), 1),
        "leaf_cash_growth": moved(tree.leaf_cash_growth),
    }
    outlooks = tuple(
        replace(one, returns=one.returns + draw.normal(0, 0.01, one.returns.shape)) for one in staged.outlooks
    )
    mandates = tuple(map(at, staged.mandates))
    return replace(staged, tree=replace(tree, **grown, **cash), mandates=mandates, outlooks=outlooks)


@pytest.mark.parametrize("charged", [False, True])
@pytest.mark.parametrize("impact", [False, True])
@pytest.mark.parametrize("seed", [0, 3, 4])
def test_one_program_serves_every_tree_of_its_shape_as_if_each_were_compiled_by_itself(
    seed: int, impact: bool, charged: bool
) -> None:
    staged, start = random_tree(seed, impact=impact)
    floor = MinimumExpectedReturn(-0.2)
    rules = [
        (*mandate.linear_rules, floor, Participation(NAMES, tuple(range(5)), (0.5,) * 5, (0.4,) * 5))
        for mandate in staged.mandates
    ]
    mandates = tuple(replace(one, linear_rules=own) for one, own in zip(staged.mandates, rules, strict=True))
    staged = replace(staged, mandates=mandates, utility=LogUtility(charged=charged))
    other, there = other_numbers(staged, seed), elsewhere(start, seed)
    forgotten()
    fresh = solve_policy(other, there)
    forgotten()
    before, first = solve_policy(staged, start), made(staged, start)
    again = solve_policy(other, there)

    assert made(other, there) is first
    assert again.holdings.tobytes() == fresh.holdings.tobytes()
    assert again.objective == fresh.objective != pytest.approx(before.objective, abs=1e-4)
    # and as the program in which cvxpy was told every number
    solved = replace(other, around=again.staged.around)
    plain = tree_program(solved, there)
    status, residuals = plain.ask(CLARABEL, Limits(1e-8))
    assert status == "optimal"
    assert residuals is not None
    assert residuals.worst <= 1e-8
    kept = compiled_tree_program(solved, there)
    kept.ask(CLARABEL, Limits(1e-8))
    assert kept.problem.value == pytest.approx(plain.problem.value, abs=1e-7)
    assert plain.problem.value == pytest.approx(float(again.solved.losses[0]), abs=1e-7)


def believed_otherwise(staged: MultistageMandate) -> MultistageMandate:
    """The same tree where other branches and scenarios are likely."""
    tree, draw = staged.tree, np.random.default_rng(5)

    def moved(probabilities: Vector, of: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Vector:
        drawn = probabilities * draw.uniform(0.5, 2.0, len(probabilities))
        totals = {above: float(drawn[of == above].sum()) for above in of.tolist()}
        return drawn / np.array([totals[above] for above in of.tolist()])

    both = np.concatenate([tree.parents, tree.leaf_parents])
    found = moved(np.concatenate([tree.probabilities, tree.leaf_probabilities]), both)
    beliefs = tree.beliefs * draw.uniform(0.5, 2.0, tree.beliefs.shape[1])
    beliefs /= beliefs.sum(axis=1, keepdims=True)
    other = replace(tree, probabilities=found[: tree.nodes], leaf_probabilities=found[tree.nodes :], beliefs=beliefs)
    outlooks = tuple(replace(one, probabilities=p) for one, p in zip(staged.outlooks, beliefs, strict=True))
    return replace(staged, tree=other, outlooks=outlooks)


def two_axes(staged: MultistageMandate, question: Ambiguity, regime: Ambiguity) -> MultistageMandate:
    """Its first two scenarios are the regimes of one answer, and news is of the answers."""
    tree, whole = staged.tree, ProductSet(np.array([0, 0, 1]), question, (regime, regime))
    sets = [
        whole.after_news(tree.beliefs[node], tree.probabilities[below], tree.beliefs[below]) if len(below) else whole
        for node, below in ((node, tree.children(node)[0]) for node in range(tree.nodes))
    ]
    return replace(staged, ambiguities=tuple(sets))


PAIRS = {
    "kl of both": (KullbackLeibler, KullbackLeibler),
    "variation of both": (TotalVariation, TotalVariation),
    "one of each": (KullbackLeibler, TotalVariation),
    "without a form of many": (ModifiedChiSquared, Box),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_a_tree_solved_again_at_another_caution_is_answered_to_the_last_digit_as_if_it_were_new(pair: str) -> None:
    staged, start = random_tree(3)
    question, regime = PAIRS[pair]
    small, large = (two_axes(staged, question(size), regime(2 * size)) for size in (0.01, 0.1))
    forgotten()
    fresh = solve_policy(large, start)
    forgotten()
    before, first = solve_policy(small, start), made(small, start)
    again = solve_policy(large, start)

    assert made(large, start) is first
    assert again.holdings.tobytes() == fresh.holdings.tobytes()
    assert again.objective == fresh.objective > before.objective + 1e-4


@pytest.mark.parametrize("pair", [*PAIRS, "one axis", "experts"])
def test_a_tree_solved_again_at_another_belief_is_answered_to_the_last_digit_as_if_it_were_new(pair: str) -> None:
    staged, start = random_tree(3)
    other = believed_otherwise(staged)
    if pair in PAIRS:
        question, regime = PAIRS[pair]
        staged, other = (two_axes(one, question(0.02), regime(0.05)) for one in (staged, other))
    if pair == "experts":
        experts, kl = ExpertHull(np.array([[0.8, 0.2], [0.1, 0.9]])), KullbackLeibler(0.05)
        staged, other = (two_axes(one, experts, kl) for one in (staged, other))
    forgotten()
    fresh = solve_policy(other, start)
    forgotten()
    before, first = solve_policy(staged, start), made(staged, start)
    again = solve_policy(other, start)

    assert made(other, start) is first
    assert again.holdings.tobytes() == fresh.holdings.tobytes()
    assert again.objective == fresh.objective
    assert abs(fresh.objective - before.objective) > 1e-5


def test_an_axis_without_caution_or_another_kind_of_set_is_another_program() -> None:
    staged, start = random_tree(3)
    kl, none = KullbackLeibler(0.1), KullbackLeibler(0.0)
    forgotten()
    first = made(two_axes(staged, kl, kl), start)

    assert made(two_axes(staged, KullbackLeibler(0.2), KullbackLeibler(0.3)), start) is first
    assert made(two_axes(staged, kl, none), start) is not first
    assert made(two_axes(staged, none, kl), start) is not first
    assert made(two_axes(staged, kl, TotalVariation(0.1)), start) is not first
    turned = replace(two_axes(staged, kl, kl).ambiguities[-1], answers=np.array([1, 1, 0]))
    assert made(replace(staged, ambiguities=(*two_axes(staged, kl, kl).ambiguities[:-1], turned)), start) is not first


def test_a_book_s_tree_at_another_caution_is_answered_as_if_it_were_new(root: Path) -> None:
    """Both axes at once, in one program of the whole study."""
    books = [load(root / "tests" / "plain_books" / "reviewed", overrides=stated(c, c, "kl", "kl")) for c in (0.2, 0.7)]
    little, much = (build_multistage_mandate(book, build_outlook(book)) for book in books)
    start, other = (
        Position(books[0].weights, books[0].cash / books[0].value),
        replace(little, ambiguities=much.ambiguities),
    )
    forgotten()
    fresh = solve_policy(other, start)
    forgotten()
    first = made(little, start)

    assert made(other, start) is first
    assert solve_policy(other, start).holdings.tobytes() == fresh.holdings.tobytes()


def test_no_more_than_a_few_programs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reused, "_KEPT", 4)
    forgotten()
    for seed in range(6):
        made(*random_tree(seed))

    assert len(reused._of_thread.kept) == 4
