"""The closed-form adversaries against general solvers that know only each set's definition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from allocator.ambiguity.balls import AnyProbabilities, Box, Contamination, Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler, ModifiedChiSquared
from allocator.ambiguity.sets import Ambiguity, ambiguity_set, set_class
from allocator.book.loading import load
from allocator.outlook.outlook import build_outlook
from allocator.settings.uncertainty import AMBIGUITY_SETS
from tests.inner_maximisers import inner, random_instance

INSTANCES = 200
KINDS: dict[str, Callable[[float], Ambiguity]] = {
    "none": lambda _: Singleton(),
    "total variation": TotalVariation,
    "box": Box,
    "relative entropy": lambda radius: KullbackLeibler(4 * radius),
    "worst": lambda _: AnyProbabilities(),
}
AGREEMENT = {"relative entropy": 1e-8}


def radius_of(draw: np.random.Generator, i: int) -> float:
    """Zero and the largest now and then, else anything between."""
    return (0.0, 1.0)[i % 2] if i % 10 < 2 else float(draw.uniform(0, 1) ** 2)


@pytest.mark.parametrize("kind", KINDS)
def test_each_adversary_is_worth_what_an_independent_maximiser_finds(kind: str) -> None:
    draw = np.random.default_rng(1)
    for i in range(INSTANCES):
        losses, p = random_instance(draw, 2 + i % 7, kind=i % 4)
        ambiguity = KINDS[kind](radius_of(draw, i))

        assert ambiguity.worst_case(losses, p) == pytest.approx(
            inner(losses, ambiguity, p), abs=AGREEMENT.get(kind, 1e-12)
        )


@pytest.mark.parametrize("kind", KINDS)
def test_each_adversary_is_a_member_of_its_own_set(kind: str) -> None:
    draw = np.random.default_rng(2)
    for i in range(INSTANCES):
        losses, p = random_instance(draw, 2 + i % 7, kind=i % 4)
        ambiguity = KINDS[kind](radius_of(draw, i))
        q = ambiguity.adversary(losses, p)

        assert (q >= 0).all()
        assert q.sum() == pytest.approx(1, abs=1e-12)
        assert ambiguity.excess(q, p) <= 1e-12


def test_each_excess_measures_the_distance_that_its_set_is_named_after() -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.2, 0.4])

    assert Singleton().excess(q, p) == pytest.approx(0.2)
    assert TotalVariation(0.05).excess(q, p) == pytest.approx(0.2 - 0.05)
    assert Box(0.05).excess(q, p) == pytest.approx(0.2 - 0.05)
    relative = 0.4 * np.log(0.8) + 0.2 * np.log(2 / 3) + 0.4 * np.log(2)
    assert KullbackLeibler(0.05).excess(q, p) == pytest.approx(relative - 0.05)
    assert KullbackLeibler(50.0).excess(q, np.array([0.5, 0.5, 0.0])) == float("inf")


@pytest.mark.parametrize("kind", KINDS)
def test_stepping_inside_never_leaves_the_set_whatever_comes_in(kind: str) -> None:
    draw = np.random.default_rng(3)
    for i in range(INSTANCES):
        _, p = random_instance(draw, 2 + i % 7, kind=i % 4)
        ambiguity = KINDS[kind](radius_of(draw, i))
        wild = draw.normal(0.2, 0.5, len(p)) * (i % 5 > 0)
        q = ambiguity.project(wild, p)

        assert (q >= 0).all()
        assert q.sum() == pytest.approx(1, abs=1e-12)
        assert ambiguity.excess(q, p) <= 1e-15


@pytest.mark.parametrize("kind", KINDS)
def test_stepping_inside_changes_no_member_of_the_set(kind: str) -> None:
    draw = np.random.default_rng(4)
    for i in range(INSTANCES):
        losses, p = random_instance(draw, 2 + i % 7, kind=i % 4)
        ambiguity = KINDS[kind](radius_of(draw, i))
        member = p + draw.uniform(0, 0.999) * (ambiguity.adversary(losses, p) - p)

        np.testing.assert_allclose(ambiguity.project(member, p), member, rtol=0, atol=1e-15)


def test_stepping_inside_keeps_the_solvers_direction_up_to_the_boundary() -> None:
    p = np.array([0.5, 0.3, 0.2])

    found = TotalVariation(0.2).project(np.array([0.1, 0.3, 0.6]), p)

    np.testing.assert_allclose(found, [0.3, 0.3, 0.4], atol=1e-12)


def test_relative_entropy_never_costs_more_than_the_total_variation_of_pinskers_inequality() -> None:
    draw = np.random.default_rng(5)
    for i in range(INSTANCES):
        losses, p = random_instance(draw, 2 + i % 7, kind=i % 4)
        radius = float(draw.uniform(0, 2))
        wider = TotalVariation(min(np.sqrt(radius / 2), 1.0))

        assert KullbackLeibler(radius).worst_case(losses, p) <= wider.worst_case(losses, p) + 1e-12


@pytest.mark.parametrize("kind", ["total variation", "box", "relative entropy"])
def test_a_larger_radius_never_lowers_the_worst_case(kind: str) -> None:
    draw = np.random.default_rng(6)
    for i in range(50):
        losses, p = random_instance(draw, 2 + i % 7, kind=i % 4)
        values = [KINDS[kind](radius).worst_case(losses, p) for radius in np.linspace(0, 1, 11)]

        assert values[0] == pytest.approx(p @ losses, abs=1e-12)
        assert (np.diff(values) >= -1e-10).all()
        assert values[-1] <= losses.max() + 1e-12


def test_relative_entropy_never_reaches_a_scenario_that_the_belief_excludes() -> None:
    q = KullbackLeibler(40.0).adversary(np.array([0.0, 1.0, 9.0]), np.array([0.6, 0.4, 0.0]))

    np.testing.assert_allclose(q, [0, 1, 0], atol=1e-12)


def test_total_variation_may_reach_a_scenario_that_the_belief_excludes() -> None:
    q = TotalVariation(0.1).adversary(np.array([0.0, 1.0, 9.0]), np.array([0.6, 0.4, 0.0]))

    np.testing.assert_allclose(q, [0.5, 0.4, 0.1], atol=1e-12)


def test_a_relative_entropy_ball_below_a_millionth_is_the_belief_itself() -> None:
    p = np.array([0.6, 0.4])

    np.testing.assert_array_equal(KullbackLeibler(9e-7).adversary(np.array([0.0, 1.0]), p), p)
    assert KullbackLeibler(1.1e-6).adversary(np.array([0.0, 1.0]), p)[1] > 0.4005


@pytest.mark.parametrize(
    ("name", "set_"),
    [
        ("none", Singleton()),
        ("total_variation", TotalVariation(0.2)),
        ("box", Box(0.2)),
        ("kl", KullbackLeibler(0.2)),
        ("worst", AnyProbabilities()),
        ("contamination", Contamination(0.2)),
        ("modified_chi2", ModifiedChiSquared(0.2)),
    ],
)
def test_each_name_of_the_settings_means_its_set(root: Path, name: str, set_: Ambiguity) -> None:
    radius = 0.2 if AMBIGUITY_SETS[name].most_radius else 0.0
    book = load(root / "tests" / "plain_books" / "listed", overrides=[f"robust={{set='{name}',radius={radius}}}"])

    assert set_class(name) is type(set_)
    assert ambiguity_set(book, build_outlook(book)) == set_


def test_every_name_of_the_settings_has_a_class_and_no_other_has() -> None:
    assert {set_class(name).name for name in AMBIGUITY_SETS} == set(AMBIGUITY_SETS)
    with pytest.raises(KeyError):
        set_class("sphere")
