"""The map: beliefs that add up, what is best at them, and where it changes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import allocator
from allocator.book.loading import load
from allocator.errors import BadInput, BadMandate
from allocator.optimization.solve import Program
from allocator.outlook.outlook import build_outlook
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.plan.targets import solve_certified
from allocator.stress_testing.belief_map import BeliefMap, belief_grid, belief_map
from tests import books
from tests.agreement import OBJECTIVE
from tests.stress_testing.known_books import best, two_names
from tests.thoroughness import some


@cache
def listed() -> Plan:
    """The plan of the sample book."""
    return rebalance(load("tests/plain_books/listed"))


@cache
def small() -> BeliefMap:
    """Its map, coarse."""
    return belief_map(listed(), steps=6)


def test_the_square_has_the_probabilities_it_says() -> None:
    lattice = belief_grid(listed().book, listed().outlook, 6)

    assert lattice.names == ("generalizable", "jevons")
    assert len(lattice.at) == 36
    assert lattice.beliefs.sum(axis=1) == pytest.approx(np.ones(36))
    assert lattice.beliefs[:, :2].sum(axis=1) == pytest.approx(lattice.at[:, 0])
    assert lattice.beliefs[:, [0, 2]].sum(axis=1) == pytest.approx(lattice.at[:, 1])
    assert lattice.beliefs[:, 0] == pytest.approx(lattice.at[:, 0] * lattice.at[:, 1])


def test_an_excluded_answer_brings_the_regimes_of_its_own_place_on_the_map() -> None:
    """With two axes the adversary may bring it back: at probability 0 the row is the limit of those beside it."""
    book = load("data/listed")
    edge = belief_map(rebalance(book), steps=3)
    rows = edge.weights.reshape(3, 3, -1)

    assert book.settings.robust.axes
    assert (edge.lattice.at[:3, 0] == 0).all()
    assert np.abs(rows[0, 0] - rows[0, 2]).sum() > 0.1  # what demand does matters where the answer is excluded, too
    assert rows[0] == pytest.approx(rows[1], abs=1e-4)  # every answer in the stated range: the belief moves nothing


def test_every_point_is_the_optimum_of_the_long_way() -> None:
    plan, found = listed(), small()
    for m in range(0, 36, 5):
        outlook = replace(plan.outlook, probabilities=found.lattice.beliefs[m])
        trade, _, certificate = solve_certified(Program(outlook, plan.mandate), plan.start, outlook, plan.mandate)

        assert found.objective[m] == pytest.approx(-certificate.objective, abs=OBJECTIVE)
        assert found.weights[m, :-1] == pytest.approx(trade.weights, abs=1e-4)


def test_the_triangle_is_the_simplex_of_three_scenarios() -> None:
    returns = {"a": [0.1, 0.0], "b": [0.0, 0.1], "c": [0.05, 0.05]}
    three = books.book(names=("AAA", "BBB"), returns=returns, probabilities={"a": 0.5, "b": 0.3, "c": 0.2})
    lattice = belief_grid(three, build_outlook(three), 5)

    assert len(lattice.at) == 15
    assert lattice.beliefs[:, :2] == pytest.approx(lattice.at)
    assert lattice.beliefs.sum(axis=1) == pytest.approx(np.ones(15))
    assert lattice.stated == (0.5, 0.3)


def test_more_scenarios_share_the_third_corner_in_proportion() -> None:
    returns = {name: [0.1, 0.0] for name in "abcd"}
    four = books.book(names=("AAA", "BBB"), returns=returns, probabilities={"a": 0.1, "b": 0.3, "c": 0.4, "d": 0.2})
    lattice = belief_grid(four, build_outlook(four), 3)

    assert lattice.names == ("b", "c")
    rest = lattice.beliefs[(lattice.at == 0).all(axis=1)][0]
    assert rest == pytest.approx([1 / 3, 0, 0, 2 / 3])


def test_two_scenarios_are_a_line_with_the_closed_form_on_it() -> None:
    found = belief_map(rebalance(two_names()), steps=11)

    assert len(found.lattice.at) == 11
    for belief, weights in zip(found.lattice.beliefs, found.weights, strict=True):
        assert weights[:2] == pytest.approx(np.maximum(best(float(belief[0])), 0), abs=3e-5)


@pytest.mark.parametrize("jobs", some((1, 2), 2))
def test_made_again_by_any_number_of_jobs_the_map_has_the_same_digits(
    jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allocator.stress_testing.reoptimization.ALONE_SECONDS", 0.02)
    again = belief_map(listed(), steps=6, jobs=jobs)

    assert (again.weights == small().weights).all()
    assert (again.objective == small().objective).all()


def test_ctrl_c_leaves_a_map_with_what_was_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allocator.stress_testing.reoptimization._TOLD_SECONDS", 0.0)
    monkeypatch.setattr("allocator.stress_testing.reoptimization.AT_ONCE", 1)

    def press(text: str) -> None:
        if text.startswith("7 of"):
            raise KeyboardInterrupt

    found = belief_map(listed(), steps=6, say=press)

    assert found.interrupted
    assert (found.finished, found.asked) == (7, 36)
    assert np.isfinite(found.objective).sum() == 7
    assert (found.objective[:7] == small().objective[:7]).all()


def test_points_where_the_rules_cannot_hold_are_named_with_their_beliefs() -> None:
    book = two_names(mandate={"risk_aversion": 2.0, "min_expected_return": 0.13})
    found = belief_map(rebalance(book), steps=11)

    assert 0 < len(found.failed) < 11
    assert np.isnan(found.objective).sum() == len(found.failed)
    assert all(0.125 < one.probabilities["open"] < 0.575 for one in found.failed)  # neither name returns as much
    json.dumps(found.document(), allow_nan=False)


def test_the_frame_has_a_row_a_point() -> None:
    frame = small().frame()

    assert len(frame) == 36
    assert list(frame.columns[:4]) == ["p_generalizable", "p_jevons", "objective", "apart"]
    shares = frame[["efficiency", "capital_intensity", "adopter", "neutral", "cash"]]
    assert (shares.to_numpy() >= -1e-9).all()


@pytest.mark.parametrize("steps", [1, -1, 1001])
def test_a_map_of_no_size_is_refused(steps: int) -> None:
    with pytest.raises(BadInput, match="between 2 and 200"):
        allocator.stress(listed().book, plan=listed(), map_steps=steps)


def test_no_map_of_what_does_not_follow_from_probabilities() -> None:
    with pytest.raises(BadMandate, match="uses no returns"):
        belief_map(rebalance(two_names(mandate={"objective": "minimum_variance"})))
