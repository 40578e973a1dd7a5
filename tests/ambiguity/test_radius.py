"""How far the ambiguity set reaches as the evidence comes in, and what that leaves of the plan."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from allocator.ambiguity.balls import Box, Contamination, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler, ModifiedChiSquared
from allocator.ambiguity.sets import current_radius
from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadInput
from allocator.mandate.builder import build_mandate
from allocator.optimization.solve import Program
from allocator.outlook.calibration import belief_ranges, build_question, dated_signals
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.outlook.posterior import posterior_bounds, settled_by_silence
from allocator.rules.rows import Position
from allocator.types import Vector

if TYPE_CHECKING:
    from tests.conftest import Folder

CLAIMS = [
    ["2026-05-08", "claim", "OpenAI"], ["2026-05-20", "verification", "OpenAI"], ["2026-06-08", "claim", "Google"],
    ["2026-06-20", "verification", "Google"],
]  # fmt: skip


@pytest.fixture(scope="module")
def sample(root: Path) -> Book:
    return load(root / "tests" / "plain_books" / "note")


def likelier(outlook: Outlook) -> float:
    p = float(outlook.probabilities[:2].sum())
    return max(p, 1 - p)


def told(note: Folder, count: int) -> Book:
    """The book after the first `count` of four signals, all for the generalizable answer."""
    (note.path / "signals.csv").unlink(missing_ok=True)
    if count:
        note.write("signals.csv", [["date", "kind", "source"], *CLAIMS[:count]])
    return load(note.path, overrides=["market.date=2026-11-20"])


def with_belief(outlook: Outlook, generalizable: float) -> Outlook:
    p = outlook.probabilities
    parts = [p[:2] / p[:2].sum() * generalizable, p[2:] / p[2:].sum() * (1 - generalizable)]
    return replace(outlook, probabilities=np.concatenate(parts))


def planned(book: Book, outlook: Outlook) -> Vector:
    """(N,) the optimal weights."""
    mandate = build_mandate(book, outlook)
    start = Position(book.weights, book.cash / book.value)
    return Program(outlook, mandate).solve(start, outlook, mandate).holdings


def test_caution_is_a_part_of_the_way_to_being_wrong_about_the_answer(sample: Book) -> None:
    outlook = build_outlook(sample)

    assert current_radius(sample, outlook) == pytest.approx(0.5 * (1 - likelier(outlook)), abs=1e-15)
    assert build_mandate(sample, outlook).ambiguity == TotalVariation(current_radius(sample, outlook))
    for p in (0.051, 0.5, 0.9, 0.949):
        assert current_radius(sample, with_belief(outlook, p)) == pytest.approx(0.5 * min(p, 1 - p), abs=1e-15)
    for p in (0.0, 0.05, 0.95, 1.0):
        assert current_radius(sample, with_belief(outlook, p)) == 0  # settled


def test_a_box_reaches_as_far_as_total_variation_and_kl_by_pinsker(root: Path, sample: Book) -> None:
    outlook = build_outlook(sample)
    distance = current_radius(sample, outlook)
    box = load(root / "tests" / "plain_books" / "note", overrides=["robust.set=box"])
    kl = load(root / "tests" / "plain_books" / "note", overrides=["robust.set=kl"])

    assert build_mandate(box, outlook).ambiguity == Box(distance)
    assert build_mandate(kl, outlook).ambiguity == KullbackLeibler(2 * distance**2)


def test_chi_squared_reaches_as_far_by_cauchy_and_schwarz_and_contamination_takes_the_same_part(
    root: Path, sample: Book
) -> None:
    outlook = build_outlook(sample)
    distance = current_radius(sample, outlook)
    chi2 = load(root / "tests" / "plain_books" / "note", overrides=["robust.set=modified_chi2"])
    part = load(root / "tests" / "plain_books" / "note", overrides=["robust.set=contamination"])

    assert build_mandate(chi2, outlook).ambiguity == ModifiedChiSquared(4 * distance**2)
    assert build_mandate(part, outlook).ambiguity == Contamination(distance)
    even = np.array([0.5, 0.5])  # where the two sides are equally likely it reaches so far and no farther
    q = ModifiedChiSquared(4 * distance**2).adversary(np.array([0.0, 1.0]), even)
    assert np.abs(q - even).sum() / 2 == pytest.approx(distance, abs=1e-12)


@pytest.mark.parametrize("kind", ["modified_chi2", "contamination"])
def test_further_sets_by_corners_hold_the_farthest_belief_and_no_more(note: Folder, kind: str) -> None:
    note.replace("book.toml", 'schedule = "caution"', 'schedule = "corners"')
    note.replace("book.toml", "caution = 0.5 ", "")
    book = load(note.path, overrides=[f"robust.set={kind}"])
    outlook, question, ranges = build_outlook(book), build_question(book), belief_ranges(book)
    assert question is not None
    assert ranges is not None
    reached = posterior_bounds(question, ranges, dated_signals(book), book.settings.book.as_of)

    ball = build_mandate(book, outlook).ambiguity
    excess = [ball.excess(with_belief(outlook, q).probabilities, outlook.probabilities) for q in reached]
    assert max(excess) == pytest.approx(0, abs=1e-12)
    assert current_radius(book, with_belief(outlook, 1.0)) == (
        1e6 if kind == "modified_chi2" else pytest.approx(0.6, abs=0.4)
    )


def test_without_a_question_caution_looks_at_the_likeliest_scenario(listed: Folder) -> None:
    text = (listed.path / "book.toml").read_text(encoding="utf-8")
    start = text.index("[robust]")
    (listed.path / "book.toml").write_text(
        text[:start] + '[robust]\nset = "total_variation"\nschedule = "caution"\ncaution = 0.4\n'
        + text[text.index("\n[", start + 1):],
        encoding="utf-8",
    )  # fmt: skip
    book = load(listed.path)
    outlook = build_outlook(book)

    assert current_radius(book, outlook) == pytest.approx(0.4 * (1 - outlook.probabilities.max()), abs=1e-15)


def test_corners_reach_to_the_farthest_belief_that_the_ranges_allow(note: Folder) -> None:
    note.replace("book.toml", 'schedule = "caution"', 'schedule = "corners"')
    note.replace("book.toml", "caution = 0.5 ", "")
    book = load(note.path)
    outlook, question, ranges = build_outlook(book), build_question(book), belief_ranges(book)
    assert question is not None
    assert ranges is not None

    low, high = posterior_bounds(question, ranges, dated_signals(book), book.settings.book.as_of)
    p = float(outlook.probabilities[:2].sum())

    assert low < p < high
    assert current_radius(book, outlook) == pytest.approx(max(p - low, high - p), abs=1e-15)


def test_corners_without_ranges_are_refused(note: Folder) -> None:
    text = (note.path / "book.toml").read_text(encoding="utf-8")
    start = text.index("[question.ranges]")
    text = text[:start] + text[text.index("# The note's two answers") :]
    (note.path / "book.toml").write_text(
        text.replace('schedule = "caution"', 'schedule = "corners"').replace("caution = 0.5 ", ""), encoding="utf-8"
    )

    with pytest.raises(BadInput) as caught:
        load(note.path)
    (breach,) = caught.value.breaches
    assert (breach.column, breach.rule) == ("robust.schedule", "needs [question.ranges]")


def test_a_fixed_radius_is_as_stated_whatever_is_believed(listed: Folder) -> None:
    book = load(listed.path)

    assert book.settings.robust.schedule == "fixed"
    assert current_radius(book, build_outlook(book)) == book.settings.robust.radius


def test_there_is_no_radius_once_the_question_is_settled(note: Folder) -> None:
    radii = []
    for count in (1, 2, 3, 4):
        book = told(note, count)
        outlook = build_outlook(book)
        radii.append(current_radius(book, outlook))
        if likelier(outlook) >= 0.95:
            assert radii[-1] == 0
    assert radii == sorted(radii, reverse=True)
    assert radii[0] > 0.025
    assert radii[-1] == 0


def test_evidence_for_the_technique_leads_the_robust_plan_to_that_answers_optimum(note: Folder) -> None:
    left = []
    for count in (0, 1, 2, 3, 4):
        book = told(note, count)
        outlook = build_outlook(book)
        best = planned(book, with_belief(outlook, 1.0))
        left.append(float(np.abs(planned(book, outlook) - best).sum()))

    assert left[0] > 0.1
    assert all(after <= before + 1e-6 for before, after in pairwise(left))
    assert left[-1] < 1e-6


def test_certainty_of_the_other_answer_leads_the_robust_plan_to_its_optimum(sample: Book) -> None:
    outlook = build_outlook(sample)
    best = planned(sample, with_belief(outlook, 0.0))

    left = [
        float(np.abs(planned(sample, with_belief(outlook, p)) - best).sum())
        for p in (0.4, 0.3, 0.2, 0.1, 0.05, 0.01, 0.001, 0.0)
    ]

    assert left == sorted(left, reverse=True)
    assert left[0] > 0.5
    assert left[4] < 0.07  # settled
    assert left[5] < 0.014
    assert left[-1] == 0


def test_the_longer_the_silence_the_less_the_radius_until_there_is_none(root: Path) -> None:
    sample = load(root / "tests" / "plain_books" / "note")
    question = build_question(sample)
    assert question is not None
    first = settled_by_silence(question, dated_signals(sample), sample.settings.book.as_of)
    assert first is not None
    silent = [dt.date(2026, 11, 20), dt.date(2027, 4, 8), first - dt.timedelta(days=1)]
    settled = [first, first + dt.timedelta(days=9), dt.date(2027, 11, 20), dt.date(2030, 4, 8)]
    for kind in ("total_variation", "box", "kl", "contamination", "modified_chi2"):
        radii = []
        for day in (*silent, *settled):
            book = load(root / "tests" / "plain_books" / "note", as_of=day, overrides=[f"robust.set={kind}"])
            radii.append(current_radius(book, build_outlook(book)))
        assert radii == sorted(radii, reverse=True)
        assert min(radii[:3]) > 0
        assert radii[3:] == [0, 0, 0, 0]


def test_the_longer_the_silence_the_nearer_the_robust_plan_to_that_answers_optimum(root: Path) -> None:
    left = []
    for day in (dt.date(2026, 11, 20), dt.date(2027, 4, 8), dt.date(2027, 11, 20), dt.date(2030, 4, 8)):
        book = load(root / "tests" / "plain_books" / "note", as_of=day, overrides=["market.date=2026-11-20"])
        outlook = build_outlook(book)
        best = planned(book, with_belief(outlook, 0.0))
        left.append(float(np.abs(planned(book, outlook) - best).sum()))

    assert left[0] > 0.1
    assert left[:3] == sorted(left[:3], reverse=True)
    assert max(left[2:]) < 0.05  # settled, and optimal for the belief, which leaves the other answer 5 % at most


def test_what_is_settled_is_so_until_the_belief_falls_below_the_release(note: Folder) -> None:
    note.write("signals.csv", [["date", "kind", "source"], ["2026-08-08", "claim", "OpenAI"],
                               ["2026-08-20", "verification", "OpenAI"]])  # fmt: skip
    later = dt.date(2027, 11, 20)
    book = load(note.path, as_of=later, overrides=["market.date=2026-11-20"])
    outlook = build_outlook(book)

    assert 0.85 < likelier(outlook) < 0.95  # the other labs have been silent since
    assert current_radius(book, outlook) == 0
    open_again = load(note.path, as_of=later, overrides=["market.date=2026-11-20", "question.release=0.949"])
    assert current_radius(open_again, outlook) == pytest.approx(0.5 * (1 - likelier(outlook)), abs=1e-15)


def entropy(q: Vector, p: Vector) -> float:
    return float((q * np.log(q / p)).sum())


def test_a_kl_set_by_corners_holds_the_farthest_belief_and_no_more(note: Folder) -> None:
    note.replace("book.toml", 'schedule = "caution"', 'schedule = "corners"')
    note.replace("book.toml", "caution = 0.5 ", "")
    book = load(note.path, overrides=["robust.set=kl"])
    outlook, question, ranges = build_outlook(book), build_question(book), belief_ranges(book)
    assert question is not None
    assert ranges is not None
    reached = posterior_bounds(question, ranges, dated_signals(book), book.settings.book.as_of)

    entropies = [entropy(with_belief(outlook, q).probabilities, outlook.probabilities) for q in reached]

    assert current_radius(book, outlook) == pytest.approx(max(entropies), rel=1e-12)
    ball = KullbackLeibler(current_radius(book, outlook))
    assert max(ball.excess(with_belief(outlook, q).probabilities, outlook.probabilities) for q in reached) < 1e-12
    distance = max(abs(q - outlook.probabilities[:2].sum()) for q in reached)
    assert 2 * distance**2 < max(entropies)  # Pinsker's bound is from below: such a ball would leave it outside
    assert current_radius(book, with_belief(outlook, 0.0)) == 50  # what is excluded is as far as [robust] allows
    assert current_radius(book, with_belief(outlook, 1.0)) == 50


def test_a_kl_set_by_corners_that_allow_one_belief_only_is_that_belief(note: Folder) -> None:
    note.replace("book.toml", 'schedule = "caution"', 'schedule = "corners"')
    note.replace("book.toml", "caution = 0.5 ", "")
    (lab, *_) = load(note.path).settings.sources["OpenAI"].values()
    pairs = {"prior": 0.5, **{name: getattr(lab, name) for name in ("disclosure", "hazard", "background")}}
    book = load(note.path, overrides=["robust.set=kl", *(f"question.ranges.{k}=[{v}, {v}]" for k, v in pairs.items())])

    assert current_radius(book, build_outlook(book)) == 0
