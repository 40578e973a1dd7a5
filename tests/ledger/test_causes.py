"""What made the difference: parts that add up, by definition and in closed form, and what is said where they cannot."""

from __future__ import annotations

from itertools import permutations
from math import factorial

import numpy as np
import pytest

from allocator.book.book import Book
from allocator.ledger.causes import COMPARED, Causes, SolvedTargets, _Worth, steps_by_group
from allocator.ledger.comparison import compare_plans
from allocator.ledger.input_groups import GROUPS, MixedBooks
from allocator.plan.document import plan_document
from allocator.plan.plan import Plan
from allocator.types import Matrix
from tests.ledger.book_pairs import book_of_one_name, changed_book, planned
from tests.thoroughness import THOROUGH, count


def quietly(_: str) -> None:
    """Nobody waits."""


def between(one: Plan | Book, other: Plan | Book) -> Causes:
    """What made the difference of two, which is known."""
    found = compare_plans(one, other).causes
    assert found is not None
    return found


def shapley(values: Matrix) -> Matrix:
    """Parts by the definition: the mean step over all orders."""
    groups = len(values).bit_length() - 1
    parts = np.zeros((groups, values.shape[1]))
    for order in permutations(range(groups)):
        mix = 0
        for group in order:
            parts[group] += values[mix | 1 << group] - values[mix]
            mix |= 1 << group
    return parts / factorial(groups)


@pytest.mark.parametrize("groups", [1, 2, 3, 5])
def test_shares_of_steps_are_those_of_all_orders(groups: int) -> None:
    values = np.random.default_rng(groups).normal(size=(2**groups, 7))

    parts = np.array([shares @ steps for shares, steps in steps_by_group(values)])

    assert np.abs(parts - shapley(values)).max() < 1e-12
    assert np.abs(parts.sum(axis=0) - (values[-1] - values[0])).max() < 1e-12


def test_a_pair_of_gloves_is_shared_as_is_known() -> None:
    # two have a left glove, one the right one: a pair is worth 1 (Shapley 1953's example as textbooks have it)
    values = np.array([[float(mix & 4 > 0 and mix & 3 > 0)] for mix in range(8)])

    assert [float((shares @ steps)[0]) for shares, steps in steps_by_group(values)] == pytest.approx(
        [1 / 6, 1 / 6, 2 / 3]
    )


def test_two_groups_of_a_book_that_limits_decide_have_their_parts_in_closed_form() -> None:
    # the target of X is min(cap, held + turnover): .4, with either change .5, and .5 with both
    one = book_of_one_name(0.2, max_weight=0.5, max_turnover=0.2)
    other = book_of_one_name(0.4, max_weight=0.5, max_turnover=0.3)

    found = between(one, other)

    assert list(found.blocks) == [("holdings",), ("mandate",)]
    at = found.names.index("X")
    assert found.parts[:, at] == pytest.approx([0.05, 0.05], abs=1e-7)
    assert found.least is not None
    assert found.most is not None
    assert found.least[:, at] == pytest.approx([0.0, 0.0], abs=1e-7)
    assert found.most[:, at] == pytest.approx([0.1, 0.1], abs=1e-7)
    assert found.ends[:, at] == pytest.approx([0.4, 0.5], abs=1e-7)


SIX = tuple(GROUPS)


def test_parts_of_six_groups_add_up_and_lie_within_their_range() -> None:
    found = between(planned("note"), planned("note", SIX))

    assert [name for (name,) in found.blocks] == list(SIX)
    assert np.abs(found.parts.sum(axis=0) - (found.ends[1] - found.ends[0])).max() <= 1e-12
    assert (found.least - 1e-12 <= found.parts).all()
    assert (found.parts <= found.most + 1e-12).all()
    assert found.range is not None
    assert (found.range[:, 0] <= found.range[:, 1]).all()
    assert (found.moves <= found.range[:, 1] + 1e-12).all()  # a mean moves no more than the most of its steps
    weights = len(found.names)
    assert np.abs(found.parts[:, :weights].sum(axis=1)).max() < 1e-9  # what one name gains others lose
    assert (np.abs(found.parts[:, :weights]).max(axis=1) > 1e-5).all()


@pytest.mark.parametrize("seed", range(count(20, 20)))
def test_parts_of_random_changes_add_up_in_the_document(seed: int) -> None:
    random = np.random.default_rng(seed)
    folder = str(random.choice(["note", "listed"]))
    chosen = {*random.choice(["holdings", "exposures", "model", "mandate", "costs"], size=3, replace=False)}
    groups = tuple(group for group in GROUPS if group in chosen)
    document = compare_plans(planned(folder), changed_book(folder, groups)).document()

    assert [row["group"] for row in document["groups"]] == list(groups)
    for row in (*document["weights"], *document["figures"]):
        assert abs(sum(row["parts"].values()) + row["lots"] - (row["b"] - row["a"])) <= 1e-9


@pytest.mark.parametrize("group", GROUPS)
def test_a_change_in_one_group_gives_everything_to_it(group: str) -> None:
    found = between(planned("note"), planned("note", (group,)))

    assert list(found.blocks) == [(group,)]
    assert np.array_equal(found.parts[0], found.ends[1] - found.ends[0])
    assert found.changed[group]


def test_the_other_way_round_every_part_has_the_other_sign() -> None:
    groups = ("holdings", "mandate", "costs")
    there, back = (between(*pair) for pair in (
        (planned("note"), planned("note", groups)), (planned("note", groups), planned("note")),
    ))  # fmt: skip

    assert np.abs(there.parts + back.parts).max() < 1e-9
    assert there.least is not None
    assert back.most is not None
    assert np.abs(there.least + back.most).max() < 1e-9


def test_what_is_kept_between_books_changes_no_answer() -> None:
    books = MixedBooks.of(changed_book("note", ()), changed_book("note", SIX))
    kept = _Worth((*books.one.instruments, "USD"))
    mixes = [tuple(np.array(SIX)[[(mix >> at & 1) == 1 for at in range(6)]]) for mix in (9, 21, 40, 54, 62)]
    in_turn = {mix: kept.of_book(books.book(mix), mix) for mix in mixes}

    for mix in mixes:
        alone = _Worth(kept.names).of_book(books.book(mix), mix)
        assert np.abs(in_turn[mix] - alone).max() < 1e-12
    assert len(kept.believed) < len(mixes)


def test_a_mix_is_the_book_that_somebody_would_write() -> None:
    books = MixedBooks.of(changed_book("note", ()), changed_book("note", ("signals", "model", "mandate", "costs")))
    worth = _Worth((*books.one.instruments, "USD"))

    for groups in (("mandate",), ("signals", "costs")):
        plan = planned("note", groups)
        written = worth.of_solved(plan.book, groups, SolvedTargets.of_plan(plan))
        assert np.abs(worth.of_book(books.book(groups), groups) - written).max() < 1e-9


@pytest.mark.parametrize("folder", ["note", "approval"])
def test_targets_of_a_document_are_worth_what_solving_their_book_gives(folder: str) -> None:
    plan = planned(folder)
    worth = _Worth((*plan.book.instruments, "USD"))

    recorded = worth.of_solved(plan.book, (), SolvedTargets.of_document(plan_document(plan)))

    assert np.abs(recorded - worth.of_book(plan.book, ())).max() < 1e-6


# Where a book between has no plan.
#


def test_one_order_is_taken_and_told_where_a_book_between_has_no_plan() -> None:
    # from .8 to .5 takes a turnover of .3, which B's mandate has not
    one = book_of_one_name(0.8, max_weight=0.5, max_turnover=0.5)
    other = book_of_one_name(0.5, max_weight=0.5, max_turnover=0.1, min_cash=0.2)

    found = compare_plans(one, other)

    assert found.causes is not None
    assert found.causes.order == (("holdings",), ("mandate",))
    assert found.causes.range is None
    assert np.allclose(found.causes.parts.sum(axis=0), found.causes.ends[1] - found.causes.ends[0], atol=1e-12)
    (note,) = found.notes
    assert note.startswith("In one order alone (holdings, then mandate), without a range: the book with mandate of B ")
    assert "has no plan: infeasible: these limits conflict: " in note
    assert "turnover at most 10%" in note


def test_the_first_order_that_has_a_plan_throughout_is_the_one() -> None:
    one = book_of_one_name(0.5, max_weight=0.5, max_turnover=0.1, min_cash=0.2)
    other = book_of_one_name(0.8, max_weight=0.5, max_turnover=0.5)

    document = compare_plans(one, other).document()

    assert document["order"] == ["mandate", "holdings"]
    assert [row["moves_least"] for row in document["groups"]] == [None, None]
    assert document["weights"][0]["least"] is None


def test_plans_stand_side_by_side_where_no_order_leads_from_one_to_the_other() -> None:
    one = book_of_one_name(0.8, max_turnover=0.05, weights={"X": {"min": 0.8}})
    other = book_of_one_name(0.0, max_turnover=0.05, max_weight=0.1)

    found = compare_plans(one, other)

    assert found.causes is None
    assert found.notes[0].startswith("What made the difference is not known: no order leads from A to B through books ")
    assert found.document()["weights"][0]["parts"] is None


# Reviews: each book is a tree.
#


def test_with_reviews_more_than_three_groups_are_taken_in_one_order() -> None:
    groups = ("holdings", "model", "mandate", "costs")
    found = compare_plans(planned("approval"), planned("approval", groups))

    assert found.causes is not None
    assert [name for (name,) in found.causes.order or ()] == list(groups)
    assert np.abs(found.causes.parts.sum(axis=0) - (found.causes.ends[1] - found.causes.ends[0])).max() < 1e-12
    assert found.notes[0].endswith("without a range: with reviews each of the 16 books is a tree.")


@pytest.mark.skipif(not THOROUGH, reason="sixteen trees")
def test_every_order_of_reviewed_books_is_taken_when_it_is_asked_for() -> None:
    groups = ("holdings", "model", "mandate", "costs")
    found = compare_plans(planned("reviewed"), planned("reviewed", groups), every_order=True)

    assert found.causes is not None
    assert found.causes.order is None
    assert np.abs(found.causes.parts.sum(axis=0) - (found.causes.ends[1] - found.causes.ends[0])).max() < 1e-12


def test_the_objective_is_left_out_where_it_is_another_one() -> None:
    one = book_of_one_name(0.2, max_weight=0.5)
    other = book_of_one_name(0.2, max_weight=0.5, objective="log")

    figures = [row["figure"] for row in compare_plans(one, other).document()["figures"]]

    assert figures == [one.name for one in COMPARED]
    assert compare_plans(one, one).notes == ("Nothing that a plan is made from differs.",)
