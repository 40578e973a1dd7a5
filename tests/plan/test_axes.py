"""Plans of books whose ambiguity set is of two axes: radii, what each axis takes and costs, and the proof."""

from __future__ import annotations

import datetime as dt
import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.polyhedral import ExpertHull
from allocator.ambiguity.product import ProductSet
from allocator.ambiguity.sets import ambiguity_set
from allocator.book.book import Book
from allocator.book.loading import load
from allocator.display.plan import describe_plan_axes
from allocator.errors import BadInput
from allocator.mandate.builder import build_mandate
from allocator.optimization.solve import Program
from allocator.outlook.calibration import build_question, dated_signals
from allocator.outlook.outlook import build_outlook
from allocator.outlook.posterior import elasticity, hypothesis_probabilities, prior_with, with_sources
from allocator.outlook.question import DemandElasticity, Signal
from allocator.plan.document import plan_document
from allocator.plan.rebalance import rebalance
from allocator.plan.targets import solve_certified
from allocator.rules.rows import Position
from allocator.types import Vector

DAY = dt.date(2026, 11, 20)


def stated(
    answer: float, regime: float, kind: str = "total_variation", of_regimes: str = "total_variation"
) -> list[str]:
    """Caution about the answer and about the regime."""
    return [
        f"robust.question.set={kind}", "robust.question.schedule=caution", f"robust.question.caution={answer}",
        f"robust.regime.set={of_regimes}", "robust.regime.schedule=caution", f"robust.regime.caution={regime}",
    ]  # fmt: skip


def product_of(book: Book) -> ProductSet:
    """Its set, which is of two axes."""
    found = ambiguity_set(book, build_outlook(book))
    assert isinstance(found, ProductSet)
    return found


def radii(book: Book) -> tuple[float, ...]:
    """Of the answers, then of each answer's regimes."""
    found = product_of(book)
    return found.question.reach, *(one.reach for one in found.regimes)


def targets(book: Book) -> tuple[float, Vector]:
    """The certified objective, minimised, and the holdings."""
    outlook = build_outlook(book)
    mandate, start = build_mandate(book, outlook), Position(book.weights, book.cash / book.value)
    target, _, proof = solve_certified(Program(outlook, mandate), start, outlook, mandate)
    return proof.objective, target.values


@pytest.fixture(scope="module")
def note(root: Path) -> Path:
    return root / "tests" / "plain_books" / "note"


def test_the_regime_s_caution_is_released_by_usage_figures() -> None:
    demand = DemandElasticity(1.2, 0.6, 0.25)
    figures = [Signal(DAY, "usage", price_fall=0.25, usage_growth=0.3)] * 16
    ratios = [elasticity(demand, figures[:count])[1] / demand.deviation for count in (0, 2, 4, 8, 16)]

    assert ratios == pytest.approx([1, 0.7625, 0.6402, 0.5077, 0.3846], abs=5e-5)


def test_the_radii_of_the_note_are_those_of_its_belief_and_of_its_figures(note: Path) -> None:
    book = load(note, overrides=stated(0.5, 0.5))
    outlook, half = build_outlook(book), 0.5
    p = outlook.probabilities
    left = elasticity(DemandElasticity(1.2, 0.6, 0.25), _figures(book))[1] / 0.6

    wanted = [half * min(p[:2].sum(), p[2:].sum())]
    wanted += [half * left * (1 - part.max() / part.sum()) for part in (p[:2], p[2:])]
    assert radii(book) == pytest.approx(wanted, abs=1e-15)
    kl = load(note, overrides=stated(0.5, 0.5, "kl", "modified_chi2"))
    assert radii(kl) == pytest.approx([2 * wanted[0] ** 2, *(4 * each**2 for each in wanted[1:])], abs=1e-15)


def _figures(book: Book) -> list[Signal]:
    assert book.signals is not None
    rows = book.signals[book.signals["kind"] == "usage"]
    return [Signal(row.date.date(), "usage", "", "", row.price_fall, row.usage_growth) for row in rows.itertuples()]


def test_a_verdict_releases_the_answer_s_caution_and_leaves_the_regime_s(note: Path) -> None:
    book = load(note, overrides=stated(0.5, 0.5))
    before, after = radii(book), radii(load(note, overrides=[*stated(0.5, 0.5), "believe.generalizable=0.93"]))
    settled = radii(load(note, overrides=[*stated(0.5, 0.5), "believe.generalizable=0.999"]))

    assert after[0] == pytest.approx(0.5 * 0.07, abs=1e-12)
    assert settled[0] == 0
    assert after[1:] == pytest.approx(before[1:], abs=1e-12)
    assert settled[1:] == pytest.approx(before[1:], abs=1e-12)


def test_corners_are_the_interval_that_the_ranges_allow(note: Path) -> None:
    book = load(note, overrides=["robust.question.schedule=corners"])
    outlook, found = build_outlook(book), product_of(book)
    low, high = found.question.table(np.zeros(2))[1:, 0]

    assert 0 < low < outlook.probabilities[:2].sum() < high < 1
    q = found.adversary(np.array([1.0, 1.0, 0.0, 0.0]), outlook.probabilities)
    assert q[:2].sum() == pytest.approx(high, abs=1e-12)
    assert "[question.ranges] allow" in found.words(book.settings.robust)


def test_both_radii_off_are_the_nominal_plan(note: Path) -> None:
    (off, held), (nominal, trusted) = (
        targets(load(note, overrides=overrides))
        for overrides in (stated(0.0, 0.0), ["robust.question.set=none", "robust.regime.set=none"])
    )

    assert off == pytest.approx(nominal, abs=1e-12)
    assert held == pytest.approx(trusted, abs=1e-12)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_objective_never_rises_as_either_caution_grows(note: Path, axis: int) -> None:
    ladder = [(c, 0.3) if axis == 0 else (0.3, c) for c in (0.0, 0.3, 0.6, 1.0)]
    found = [targets(load(note, overrides=stated(*pair)))[0] for pair in ladder]

    assert all(more >= less - 1e-6 for less, more in pairwise(found))
    assert found[-1] > found[0] + 1e-4


@pytest.mark.parametrize("kinds", [("total_variation", "total_variation"), ("kl", "total_variation")])
def test_a_plan_says_what_each_axis_takes_and_costs_and_is_proved_by_a_stranger(
    note: Path, root: Path, kinds: tuple[str, str]
) -> None:
    plan = rebalance(load(note, overrides=stated(1.0, 0.5, *kinds)))
    answer, regime = plan.axes["answer"], plan.axes["regime"]

    taken = (plan.after.expected_return - plan.after.adverse_expected_return) * 1e4
    assert answer.adverse_bps + regime.adverse_bps == pytest.approx(taken, abs=1e-3)
    assert min(answer.adverse_bps, regime.adverse_bps) > 0
    assert answer.cost_bps is not None
    assert regime.cost_bps is not None
    nominal = replace(plan.mandate, ambiguity=Singleton())
    best, _, _ = solve_certified(Program(plan.outlook, nominal), plan.start, plan.outlook, nominal)
    cost = nominal.loss(plan.target, plan.outlook) - nominal.loss(best, plan.outlook)
    assert answer.cost_bps + regime.cost_bps == pytest.approx(cost * 1e4, abs=1e-3)
    assert cost >= -1e-6
    document = json.dumps(plan_document(plan))
    command = [sys.executable, str(root / "docs" / "verify_plan.py")]
    done = subprocess.run(command, input=document, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("verified"), done.stderr
    told = " ".join(str(plan).split())
    assert f"{answer.adverse_bps:.0f} about the answer (cost {answer.cost_bps:.0f} if the belief is right)" in told
    assert len(str(plan).splitlines()) <= 45


def test_a_set_over_all_scenarios_has_no_axes(note: Path) -> None:
    overrides = ["robust.set=total_variation", "robust.schedule=caution", "robust.caution=0.5"]
    plan = rebalance(load(note, overrides=overrides))

    assert plan.axes == {}
    assert plan_document(plan)["axes"] is None


REFUSED = {
    "robust.set=kl robust.radius=0.1 robust.schedule=fixed robust.question.set=kl robust.question.radius=0.1":
        "[robust.question] is of axes; remove set and radius, or remove [robust.question]",
    "robust.question.set=wasserstein": "over whole scenarios, and an axis has none",
    "robust.regime.set=polytope": "over whole scenarios, and an axis has none",
    "robust.regime.schedule=corners robust.regime.set=hull": "which say nothing of regimes",
    "robust.question.schedule=corners robust.question.set=kl": "remove set, radius and experts",
    "robust.question.set=hull": "experts and set = 'hull' go together",
    "robust.question.set=kl robust.question.schedule=caution": "caution and schedule = 'caution' go together",
    "robust.question.set=total_variation robust.question.radius=1.5": "must lie in [0, 1]; lower it",
    "robust.regime.set=worst robust.regime.radius=0.1": "has no meaning with set = 'worst'",
    'robust.question.set=hull robust.question.experts.a.generalizable=0.4': "an expert speaks of every answer",
    'robust.regime.set=hull robust.regime.experts.a={jevons=0.4,compression=0.4}': "must sum to 1",
    'robust.regime.set=hull robust.regime.experts.a={jevons=0.4,compresion=0.6}': "did you mean 'compression'?",
}  # fmt: skip


@pytest.mark.parametrize("overrides", REFUSED)
def test_what_an_axis_cannot_be_is_refused_with_the_cure(note: Path, overrides: str) -> None:
    with pytest.raises(BadInput) as refused:
        load(note, overrides=overrides.split())

    assert REFUSED[overrides] in str(refused.value)


def test_a_what_if_of_an_axis_sets_the_one_set_aside_and_the_other_way_round(note: Path) -> None:
    by_axes = load(note, overrides=["robust.question.set=kl", "robust.question.radius=0.1"]).settings.robust
    both = ["robust.set=total_variation", "robust.schedule=fixed", "robust.radius=0.1"]
    single = load(note, overrides=both).settings.robust

    assert by_axes.set == "none"
    assert by_axes.axes["question"].radius == 0.1
    assert single.set == "total_variation"
    assert single.axes == {}
    again = load(note, overrides=["robust.question.schedule=corners"]).settings.robust.axes
    assert again["question"].makes_its_set


def test_a_fixed_radius_and_experts_are_taken_as_they_are_stated(note: Path) -> None:
    book = load(
        note,
        overrides=[
            "robust.question.set=hull",
            "robust.question.experts.bull={generalizable=0.9, proprietary=0.1}",
            "robust.regime.set=box",
            "robust.regime.radius=0.15",
        ],
    )
    found, p = product_of(book), build_outlook(book).probabilities

    assert radii(book)[1:] == (0.15, 0.15)
    q = found.adversary(np.array([1.0, 0.0, 0.0, 0.0]), p)
    assert q[:2].sum() == pytest.approx(0.9, abs=1e-12)
    assert q[0] / q[:2].sum() == pytest.approx(min(p[0] / p[:2].sum() + 0.15, 1), abs=1e-12)
    assert math.isclose(q.sum(), 1, abs_tol=1e-12)


def test_corners_of_more_than_two_answers_are_the_hull_of_the_posteriors_at_all_of_them(
    root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "approval"
    shutil.copytree(root / "tests" / "plain_books" / "approval", folder)
    ranges = "prior = [0.3, 0.6]\ndisclosure = [0.5, 0.97]\nhazard = [0.08, 0.2]\nbackground = [0.002, 0.05]\n"
    toml = (folder / "book.toml").read_text(encoding="utf-8")
    (folder / "book.toml").write_text(f"{toml}\n[question.ranges]\n{ranges}", encoding="utf-8")
    book = load(folder, overrides=["robust.question.schedule=corners"])
    question, day = build_question(book), book.settings.book.as_of
    assert question is not None
    hull = product_of(book).question
    assert isinstance(hull, ExpertHull)

    assert hull.experts.shape == (16, 3)
    corner = replace(question, prior=prior_with(question, 0.6))
    corner = with_sources(corner, disclosure=0.5, hazard=0.2, background=0.002)
    wanted = hypothesis_probabilities(corner, dated_signals(book), day)
    assert np.abs(hull.experts - wanted).sum(axis=1).min() == pytest.approx(0, abs=1e-12)
    assert hull.excess(wanted, question.by_hypothesis(build_outlook(book).probabilities)) <= 1e-9


def test_what_the_axes_take_is_of_the_objective_s_own_figure(root: Path) -> None:
    """CVaR and regret are no certainty equivalents."""
    book = load(root / "data" / "note", overrides=["mandate.objective=mean_cvar"])
    told = " ".join(describe_plan_axes(rebalance(book)))

    assert "bps of the risk-adjusted return: " in told
