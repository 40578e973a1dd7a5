"""Experts, a metric and limits under `[robust]`: each wrong one is refused with place, value and cure, all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from allocator.ambiguity.balls import TotalVariation
from allocator.ambiguity.polyhedral import ExpertHull, Polytope
from allocator.ambiguity.sets import ambiguity_set
from allocator.ambiguity.transport import Wasserstein
from allocator.book.loading import load
from allocator.errors import BadInput, BadMandate
from allocator.outlook.outlook import build_outlook
from tests.spoiled_books import told

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    from tests.conftest import Folder

HULL = ["robust.set=hull", "robust.radius=0"]
BEAR = "robust.experts.bear={generalizable_jevons=0.1,generalizable_compression=0.5,proprietary_jevons=0.1,"
WHOLE = BEAR + "proprietary_compression=0.3}"
LIMITS = ["robust.set=polytope", "robust.radius=0"]
GLUT = "robust.limits.glut={weights={generalizable_compression=1.0,proprietary_compression=1.0},"
METRIC = ["robust.set=wasserstein"]


def refused(book: Folder, *overrides: str) -> list[str]:
    return told(book, overrides=list(overrides))


def test_every_fault_of_an_expert_is_told_at_once(listed: Folder) -> None:
    assert refused(
        listed, *HULL, WHOLE, "robust.experts.bull={generalizable_jevon=0.6,generalizable_jevons=0.5}",
        "robust.experts.sure={generalizable_jevons=0.5,generalizable_compression=0.5,proprietary_jevons=0.1,"
        "proprietary_compression=0.1}",
    ) == [
        "--set robust.experts.bull.generalizable_jevon: no such scenario (got 'generalizable_jevon'); "
        "did you mean 'generalizable_jevons'?",
        *(f"--set robust.experts.bull.{name}: is required: an expert speaks of every scenario; add it; 0 is allowed"
          for name in ("generalizable_compression", "proprietary_jevons", "proprietary_compression")),
        "--set robust.experts.sure: an expert's probabilities must sum to 1 (got '1.2'); "
        "the sum is 1.2: lower them by 0.2 in all",
    ]  # fmt: skip


def test_a_metric_of_what_no_scenario_states_is_refused(listed: Folder) -> None:
    found = refused(listed, *METRIC, "robust.metric.replicabilty=1.0", "robust.metric.pass_through=1.0")

    assert found[0] == (
        "--set robust.metric.replicabilty: no such number of a scenario (got 'replicabilty'); "
        "did you mean 'replicability'?"
    )
    assert len(found) == 5
    assert all("pass_through: is needed by [robust.metric]; add it" in one for one in found[1:])


def test_a_probability_is_no_coordinate(listed: Folder) -> None:
    (found,) = refused(listed, *METRIC, "robust.metric.probability=1.0")

    assert "no such number of a scenario (got 'probability'); known here: capacity, entry, multiple" in found


def test_limits_of_unknown_scenarios_or_that_nothing_keeps_are_refused(listed: Folder) -> None:
    assert refused(
        listed, *LIMITS, "robust.limits.a={weights={proprietary_jevon=1.0},max=0.5}",
        "robust.limits.b={weights={generalizable_jevons=1.0,generalizable_compression=1.0,proprietary_jevons=1.0,"
        "proprietary_compression=2.0},max=0.9,min=2.5}".replace("max=0.9,", ""),
        "robust.limits.c={weights={generalizable_jevons=1.0,generalizable_compression=1.0,proprietary_jevons=1.0,"
        "proprietary_compression=2.0},max=0.9}",
    ) == [
        "--set robust.limits.a.weights.proprietary_jevon: no such scenario (got 'proprietary_jevon'); "
        "did you mean 'proprietary_jevons'?",
        "--set robust.limits.b.min: no probabilities can keep it (got '2.5'); lower min to 2 or less",
        "--set robust.limits.c.max: no probabilities can keep it (got '0.9'); raise max to 1 or more",
    ]  # fmt: skip


def test_a_belief_outside_the_limits_is_refused_with_the_rows_that_it_breaks(
    listed: Folder, run: Callable[..., Result]
) -> None:
    wanted = [*LIMITS, GLUT + "max=0.3,min=0.1}", "robust.limits.g={weights={generalizable_jevons=2.0},min=0.7}"]
    book = load(listed.path, overrides=wanted)

    with pytest.raises(BadMandate) as caught:
        ambiguity_set(book, build_outlook(book))
    assert [str(breach) for breach in caught.value.breaches] == [
        "book.toml robust.limits.glut.max: today's belief is outside: it makes 0.4 of it (got '0.3'); "
        "raise it to 0.4 or more, or correct the probabilities of the scenarios",
        "book.toml robust.limits.g.min: today's belief is outside: it makes 0.6 of it (got '0.7'); "
        "lower it to 0.6 or less, or correct the probabilities of the scenarios",
    ]
    answer = run("check", listed.path, *(part for one in wanted for part in ("--set", one)))
    assert answer.exit_code == 3
    assert "today's belief is outside" in " ".join(answer.stderr.split())


def test_the_sets_of_a_book_speak_of_its_scenarios_in_its_order(root: Path) -> None:
    where = root / "tests" / "plain_books" / "listed"
    transport = load(where, overrides=[
        "robust.set=wasserstein", "robust.radius=0.2", "robust.metric={replicability=2.0,usage_elasticity=0.5}",
    ])  # fmt: skip
    # (1, 1.9), (1, 0.6), (0.1, 1.9), (0.1, 0.6): the answer is 1.8 apart, the regime 0.65
    near = ambiguity_set(transport, build_outlook(transport))
    assert isinstance(near, Wasserstein)
    np.testing.assert_allclose(near.metric[0], [0.0, 0.65, 1.8, 2.45])
    hull = ambiguity_set(experts := load(where, overrides=["robust.set=hull", WHOLE]), build_outlook(experts))
    assert isinstance(hull, ExpertHull)
    np.testing.assert_allclose(hull.experts, [[0.1, 0.5, 0.1, 0.3]])
    limited = load(where, overrides=["robust.set=polytope", GLUT + "max=0.6,min=0.3}"])
    stated = ambiguity_set(limited, build_outlook(limited))
    assert isinstance(stated, Polytope)
    np.testing.assert_array_equal(stated.matrix, [[0, 1, 0, 1], [0, -1, 0, -1]])
    np.testing.assert_array_equal(stated.limits, [0.6, -0.3])


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        (["robust.set=wasserstein"], "set = 'wasserstein' needs [robust.metric]"),
        (["robust.set=hull", "robust.radius=0"], "set = 'hull' needs [robust.experts]"),
        (["robust.set=polytope", "robust.radius=0"], "set = 'polytope' needs [robust.limits]"),
        ([*HULL[:1], WHOLE, "robust.radius=0.1"], "radius = 0.1 has no meaning with set = 'hull'"),
        (["robust.set=contamination", "robust.radius=1.1"], "radius = 1.1 of a 'contamination' set must lie in [0, 1]"),
        (["robust.set=modified_chi2", "robust.radius=1e-7"], "is too small to be told from 0"),
        (["robust.set=modified_chi2", "robust.radius=2e6"], "is beyond any probability"),
        ([*METRIC, "robust.metric.capacity=1.0", "robust.radius=0", "robust.schedule=corners"],
         "and that of 'wasserstein' is in the unit of its metric, which no belief tells"),
        ([*HULL, WHOLE, "robust.schedule=caution", "robust.caution=0.2"],
         "and 'hull' has none: it reaches as far as its experts"),
        ([*LIMITS, GLUT + "max=0.6}", "robust.schedule=corners"], "and 'polytope' has none"),
    ],
)  # fmt: skip
def test_a_set_without_what_it_reads_or_with_what_it_does_not_is_refused(
    listed: Folder, overrides: list[str], rule: str
) -> None:
    (found,) = refused(listed, *overrides)

    assert rule in found


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("robust.limits.glut={weights={proprietary_jevons=1.0}}", "states neither min nor max"),
        (GLUT + "max=0.2,min=0.3}", "min = 0.3 must not be above max = 0.2"),
        ("robust.limits.glut={weights={proprietary_jevons=0.0},max=0.3}", "counts no scenario"),
        ("robust.limits.glut={weights={},max=0.3}", "should have at least 1 item"),
    ],
)
def test_a_limit_that_limits_nothing_is_refused(listed: Folder, override: str, rule: str) -> None:
    (found,) = refused(listed, *LIMITS, override)

    assert rule.replace("should", "must") in found


def test_what_another_set_reads_is_idle_and_a_what_if_sets_it_aside(listed: Folder) -> None:
    text = (listed.path / "book.toml").read_text(encoding="utf-8")
    expert = WHOLE.removeprefix("robust.experts.bear={").removesuffix("}").replace(",", "\n")
    (listed.path / "book.toml").write_text(f"{text}\n[robust.experts.bear]\n{expert}\n", encoding="utf-8")

    with pytest.raises(BadInput) as caught:
        load(listed.path)
    (breach,) = caught.value.breaches
    assert (breach.column, breach.value) == ("robust.experts", None)
    assert breach.rule == "has no effect with set = 'total_variation'"
    asked = load(listed.path, overrides=["robust.set=hull"])  # the radius of the last set is left aside
    assert isinstance(ambiguity_set(asked, build_outlook(asked)), ExpertHull)
    back = load(listed.path, overrides=["robust.set=total_variation"])
    assert isinstance(ambiguity_set(back, build_outlook(back)), TotalVariation)
