"""Conflicts: what is named cannot hold, each part of it can, each fix as printed works, and half of it does not."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from allocator.book.loading import load
from allocator.commands.options import error_document
from allocator.display.console import show_refusal
from allocator.errors import Infeasible
from allocator.mandate.builder import build_mandate
from allocator.optimization import conflicts
from allocator.optimization import elastic as feasibility
from allocator.optimization.conflicts import explain_conflict
from allocator.optimization.elastic import ElasticProgram
from allocator.optimization.solve import Program
from allocator.outlook.outlook import build_outlook
from allocator.plan.targets import solve_certified
from allocator.rules import (
    InstrumentFloors,
    MinimumExpectedReturn,
    NoTrade,
    RatioLimit,
    Turnover,
    VolatilityLimit,
    WeightAtLeast,
    WeightAtMost,
)
from allocator.rules.rows import Position
from tests.infeasible_books import demanding, hopeless, loosened, mended, possible
from tests.problems import Question, no_cash, question
from tests.thoroughness import count, some

LINEAR = hopeless(count(160, 10))
CONES, IMPACT = hopeless(count(100, 10), first=5000, cones=True), hopeless(count(20, 10), first=9000, impact=True)
ASKED = [
    *((seed, False, False) for seed in LINEAR),
    *((seed, True, False) for seed in CONES),
    *((seed, False, True) for seed in IMPACT),
]
PARTS = [ASKED[i :: count(8, 2)] for i in range(count(8, 2))]


def made(one: tuple[int, bool, bool]) -> Question:
    seed, cones, impact = one
    return demanding(seed, cones=cones, impact=impact)


def planned(asked: Question) -> None:
    """Have a certified plan made of a question; where its best has round trips, after the fix that is then told."""
    program = Program(asked.outlook, asked.mandate)
    try:
        solve_certified(program, asked.start, asked.outlook, asked.mandate)
    except Infeasible as error:
        if not error.message.startswith("no plan"):
            raise
        (move,) = error.moves
        solve_certified(program, asked.start, asked.outlook, loosened(asked, move).mandate)


def refused(asked: Question) -> Infeasible:
    """What is said of a question, without asking the program first."""
    error = explain_conflict(asked.start, asked.outlook, asked.mandate)
    assert error is not None
    return error


def test_enough_random_mandates_are_hopeless_and_enough_are_not() -> None:
    assert len(ASKED) == count(280, 10)
    assert LINEAR[-1] >= len(LINEAR) + count(20, 10)
    assert CONES[-1] - 5000 > len(CONES) + count(5, 10)
    assert sum(any("most" in label for label in refused(made(one)).rules) for one in ASKED[:8]) > 0


@pytest.mark.parametrize("part", PARTS, ids=range(len(PARTS)))
def test_what_is_named_cannot_hold_together_each_part_can_and_each_fix_gives_a_plan_but_half_of_it_does_not(
    part: list[tuple[int, bool, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conflicts, "ITERATIONS", 500)  # what else clashes is counted below
    for one in part:
        asked = made(one)
        error = refused(asked)
        said = f"{one}: {error}"

        assert error.exit_code == 4, said
        assert error.rules, said
        assert error.rules in error.conflicts, said
        assert all(f"'{label}'" in error.message for label in error.rules), said
        assert not possible(asked, error.rules), said
        for label in error.rules:
            assert possible(asked, [other for other in error.rules if other != label]), said
        # a ratio to a group that is and stays empty has no limit that would do
        assert error.fixes or any(" x " in label for conflict in error.conflicts for label in conflict), said
        for fix in error.fixes:
            assert possible(mended(asked, error, fix)), f"{said}\n{fix}"
            assert not possible(mended(asked, error, fix, 0.5)), f"{said}\n{fix}"
            planned(mended(asked, error, fix))


@pytest.mark.parametrize("one", [(171, False, False), (9020, False, True)])
def test_a_mended_mandate_is_solved_and_certified(one: tuple[int, bool, bool]) -> None:
    asked = made(one)
    error = refused(asked)

    planned(mended(asked, error, error.fixes[0]))


@pytest.mark.parametrize("one", [(24, False, False), (171, False, False)])
def test_no_fix_rests_on_buying_and_selling_one_name_at_once(one: tuple[int, bool, bool]) -> None:
    asked = made(one)
    error = refused(asked)

    assert error.fixes
    for fix in error.fixes:
        assert possible(mended(asked, error, fix))  # by some choice of one direction for each name


def test_rules_that_only_burning_money_would_keep_are_refused_as_a_conflict() -> None:
    # a quarter each in A and B, B stays, A may not be more than B, and cash must fall from 50 %: bought and sold at
    # 10 % each, A would burn 4 % of the account, and cash be 48 % of what is left
    asked = question(
        np.array([[0.1, 0.1]]), np.eye(2) * 0.04, held=np.array([0.25, 0.25]), cost_rate=0.1,
        rules=[
            NoTrade(("B",), (1,)),
            RatioLimit("a {} b", np.array([1.0, 0.0]), np.array([0.0, 1.0]), 1.0),
            WeightAtMost("cash", np.zeros(2), 0.48, cash_share=1.0),
        ],
    )  # fmt: skip
    error = refused(asked)

    assert set(error.rules) == {"B is locked", "a at most 1 x b", "cash at most 48%"}
    assert len(error.fixes) == 2
    for fix in error.fixes:
        mended(asked, error, fix).certified()
    with pytest.raises(Infeasible, match="limits conflict"):
        solve_certified(Program(asked.outlook, asked.mandate), asked.start, asked.outlook, asked.mandate)


def test_a_search_without_work_left_says_that_it_was_cut_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(conflicts, "ITERATIONS", 0)
    error = refused(made((CONES[0], True, False)))
    show_refusal(error)

    assert error.cut_short
    assert error.rules
    assert "the search was cut short" in capsys.readouterr().err


@pytest.mark.parametrize("seed", some(LINEAR[1:10], 4))
def test_all_conflicts_of_up_to_four_rules_are_found_as_counting_finds_them(seed: int) -> None:
    asked = demanding(seed)
    labels = list(dict.fromkeys(label.partition(" (")[0] for label in asked.mandate.rows.labels))
    found: list[frozenset[str]] = []
    for size in (1, 2, 3):
        for rules in itertools.combinations(labels, size):
            if not any(known <= set(rules) for known in found) and not possible(asked, rules):
                found.append(frozenset(rules))
    error = refused(asked)

    assert not error.cut_short
    assert {frozenset(conflict) for conflict in error.conflicts if len(conflict) < 4} == set(found)
    assert len(error.rules) == min(map(len, error.conflicts))


@pytest.mark.parametrize("one", [(LINEAR[0], False, False), (CONES[0], True, False), (IMPACT[0], False, True)])
def test_what_is_known_to_clash_or_to_hold_is_not_solved_again(one: tuple[int, bool, bool]) -> None:
    asked = made(one)
    asking = ElasticProgram(asked.start, asked.outlook, asked.mandate)
    labels, conflict = [member.label for member in asking.members], refused(asked).rules
    clash = [labels.index(label) for label in conflict]
    assert not asking.holds(clash)
    assert asking.holds(clash[1:])
    solved = asking.iterations

    assert not asking.holds(range(len(labels)))
    assert asking.holds(clash[2:])
    assert asking.iterations == solved


def test_cuts_that_hold_nothing_back_are_dropped_and_what_was_said_is_said_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feasibility, "_CUTS", 5)
    for one in ASKED[len(LINEAR) :: 7]:
        asked = made(one)
        error = refused(asked)
        assert not possible(asked, error.rules)
        for label in error.rules:
            assert possible(asked, [other for other in error.rules if other != label])


def test_a_mandate_that_can_hold_is_never_called_hopeless() -> None:
    found = 0
    for seed in range(200, 400):
        asked = demanding(seed)
        if found < count(20, 2) and possible(asked):
            asked.certified()
            found += 1

    assert found == count(20, 2)


def test_two_rules_that_clash_are_both_named_with_the_smallest_change_of_either() -> None:
    shares = np.array([1.0, 1.0, 0.0])
    asked = question(
        np.array([[0.1, 0.1, 0.1]]), np.eye(3) * 0.04,
        rules=[WeightAtLeast("group capital", shares, 0.4), WeightAtMost("group compute", shares, 0.25)],
    )  # fmt: skip

    assert str(refused(asked)) == (
        "infeasible: these limits conflict: 'group capital at least 40%' and 'group compute at most 25%'; "
        "smallest fix: lower the first to 25%, or raise the second to 40%"
    )


def test_a_rule_that_cannot_be_met_alone_is_named_alone() -> None:
    asked = question(np.array([[0.1, 0.05]]), np.eye(2) * 0.04, rules=[MinimumExpectedReturn(0.12)])
    error = refused(asked)

    assert error.message == "infeasible: no portfolio meets 'expected return at least 12%'"
    assert error.fixes == ("lower 'expected return at least 12%' to 10%",)


def test_a_rule_without_a_limit_to_move_is_named_but_offers_no_fix() -> None:
    asked = question(
        np.array([[0.1, 0.05]]), np.eye(2) * 0.04,
        rules=[NoTrade(("I0",), (0,)), InstrumentFloors(("I0",), (0,), (0.1,))],
    )  # fmt: skip
    error = refused(asked)

    assert set(error.rules) == {"I0 is locked", "I0 at least 10%"}
    assert error.fixes == ("lower the second to 0%",)


def test_too_little_volatility_is_named_with_the_least_that_the_other_rules_allow() -> None:
    asked = question(
        np.array([[0.1, 0.05]]), np.diag([0.04, 0.16]), rules=[no_cash(2)], volatility=0.1
    )  # the calmest mixture has weights 4:1 and a volatility of √0.032 = 17.8885 %
    error = refused(asked)

    assert error.message == "infeasible: these limits conflict: 'cash at most 0%' and 'volatility at most 10%'"
    assert error.fixes == ("raise the first to 44.1%", "raise the second to 17.89%")  # 1 − 10 / 17.8885
    mended_limit = replace(asked.mandate, convex_rules=(VolatilityLimit(0.1789),))
    replace(asked, mandate=mended_limit).certified()


def test_purchases_and_sales_are_one_rule_with_one_number() -> None:
    held = np.array([0.5, 0.5])
    asked = question(
        np.array([[0.1, 0.05]]), np.eye(2) * 0.04, held=held,
        rules=[Turnover(0.1), WeightAtLeast("group a", np.array([1.0, 0.0]), 0.8)],
    )  # fmt: skip
    error = refused(asked)

    assert error.rules == ("turnover at most 10%", "group a at least 80%")
    assert error.fixes == ("raise the first to 30%", "lower the second to 60%")


def test_where_one_rule_alone_is_not_enough_the_changes_are_named_together() -> None:
    first, second = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    asked = question(
        np.array([[0.1, 0.05]]), np.eye(2) * 0.04,
        rules=[
            WeightAtLeast("a", first, 0.5), WeightAtMost("b", first, 0.2),
            WeightAtLeast("c", second, 0.4), WeightAtMost("d", second, 0.1),
        ],
    )  # fmt: skip
    error = refused(asked)

    assert error.conflicts == (("a at least 50%", "b at most 20%"), ("c at least 40%", "d at most 10%"))
    assert len(error.fixes) == 1
    assert error.fixes[0].endswith("(one alone is not enough)")
    assert possible(mended(asked, error, error.fixes[0]))
    assert not possible(mended(asked, error, error.fixes[0], 0.5))


def test_people_and_programs_are_told_of_every_conflict_and_of_a_search_cut_short(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = Infeasible("infeasible: no portfolio meets 'a'", ["a"], ["drop it"], [["a"], ["b", "c"]], cut_short=True)
    again = pickle.loads(pickle.dumps(error))
    show_refusal(again)
    said = capsys.readouterr().err

    assert "also infeasible: these limits conflict: 'b' and 'c'" in said
    assert "the search was cut short" in said
    assert error_document(again)["conflicts"] == [["a"], ["b", "c"]]
    assert error_document(again)["cut_short"] is True


@pytest.mark.parametrize(
    "overrides",
    [
        ("mandate.exposures.beta.min=1.0", "mandate.max_stress_loss.glut=0.12", "mandate.max_turnover=0.4028"),
        ("mandate.max_turnover=0.0775", "mandate.exposures.beta.max=0.8876"),
    ],
)
def test_a_conflict_is_named_where_a_warm_simplex_gets_lost(root: Path, overrides: tuple[str, ...]) -> None:
    book = load(root / "tests" / "plain_books" / "listed", overrides=overrides)
    outlook = build_outlook(book)

    error = explain_conflict(Position(book.weights, book.cash / book.value), outlook, build_mandate(book, outlook))

    assert error is not None
    assert error.message.startswith("infeasible: these limits conflict: ")
    assert error.fixes
