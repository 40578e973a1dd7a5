"""Questions of any number of hypotheses: against enumeration of what may have happened, simulation and closed forms."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import gamma

from allocator.book.book import Book
from allocator.book.checks.question import ANY_SOURCE
from allocator.book.loading import load
from allocator.outlook.belief_report import VERIFIED_AFTER, settlement_distribution
from allocator.outlook.calibration import build_question, dated_signals, market_path, scenario_probabilities
from allocator.outlook.outlook import build_outlook
from allocator.outlook.posterior import (
    BeliefRanges,
    claim_probabilities,
    log_likelihoods,
    posterior,
    posterior_bounds,
    settled_by_silence,
)
from allocator.outlook.question import DAYS_A_MONTH, DisclosureModel, Question, Signal
from allocator.outlook.scenario_tree import build_review_tree
from allocator.types import Vector
from tests.outlook.questions import LAB, OPENED, Hundredths, asked, at, said
from tests.thoroughness import THOROUGH

NAMES = ("yes", "partly", "no")
MODELS = {
    "court": {
        "yes": DisclosureModel(0.9, 0.12, 0.01),
        "partly": DisclosureModel(0.7, 0.05, 0.02, lag_months=2.0),
        "no": DisclosureModel(0.8, 0.2, 0.004),
    },
    "party": {"yes": DisclosureModel(0.5, 0.3, 0.05)},
    "press": {"yes": DisclosureModel(0.3, 0.08, 0.1), "no": DisclosureModel(0.6, 0.1, 0.08)},
}


@pytest.fixture
def approval(root: Path) -> Book:
    """The sample book of three answers."""
    return load(root / "tests" / "plain_books" / "approval")


def three(**given: Any) -> Hundredths:
    """Three hypotheses, three sources, a scenario each."""
    base: dict[str, Any] = {
        "opened": OPENED,
        "hypotheses": NAMES,
        "sources": MODELS,
        "prior": np.array([0.5, 0.3, 0.2]),
        "answers": np.array([0, 1, 2]),
    }
    return Hundredths(**(base | given))


def drawn_signals(draw: np.random.Generator, until: float) -> list[Signal]:
    """Claims of every kind, some judged, none twice on a day."""
    signals = []
    for source, models in MODELS.items():
        for name in models:
            months = np.sort(np.round(draw.uniform(0.1, until, draw.integers(0, 3)), 2))
            for month in months:
                signals.append(Signal(at(month), "claim", source, name))
                if draw.random() < 0.6:
                    kind = draw.choice(["verification", "refutation"])
                    signals.append(Signal(at(min(month + 0.05, until)), str(kind), source, name))
    return sorted(signals, key=lambda one: (one.date, one.kind != "claim"))


def enumerated(question: Question, signals: Sequence[Signal], t: float, z: float) -> Vector:
    """(H,) the density of all that was seen by `t`, given the common multiplier, by summing over what may have
    happened: no claim of the true hypothesis was genuine, or one of them was. Waits are exponential, from the lag.
    """
    result = np.ones(len(question.hypotheses))
    for (source, models), (k, name) in product(question.sources.items(), enumerate(question.hypotheses)):
        if name not in models:
            continue
        m, rows = models[name], [one for one in signals if (one.source, one.hypothesis) == (source, name)]
        claims = [question.months(one.date) for one in rows if one.kind == "claim"]
        verdicts = [one.kind == "verification" for one in rows if one.kind != "claim"]  # of the claims in order
        verdicts_at = [verdicts[c] if c < len(verdicts) else None for c in range(len(claims))]

        def likely(true_claim: int | None, verdicts_at: Sequence[bool | None] = verdicts_at) -> float:
            made = 1.0
            for c, yes in enumerate(verdicts_at):
                p = question.sensitivity if c == true_claim else question.false_positive
                made *= 1.0 if yes is None else p if yes else 1 - p
            return made

        empty = m.background ** len(claims) * np.exp(-m.background * t)
        rate, wait = m.hazard * z, max(t - m.lag_months, 0.0)
        never = 1 - m.disclosure + m.disclosure * np.exp(-rate * wait)
        real = never * empty * likely(None)
        for c, at_month in enumerate(claims):
            if at_month >= m.lag_months:
                density = m.disclosure * rate * np.exp(-rate * (at_month - m.lag_months))
                real += density * empty / m.background * likely(c)
        result *= np.where(np.arange(len(result)) == k, real, empty * likely(None))
    return result


@pytest.mark.parametrize("frailty", [None, 0.7])
@pytest.mark.parametrize("seed", range(6))
def test_three_hypotheses_and_sources_are_believed_as_enumeration_says(seed: int, frailty: float | None) -> None:
    question, t = three(frailty=frailty), 7.0
    signals = drawn_signals(np.random.default_rng(seed), t)
    found = posterior(question, signals, [at(t)])[0]

    if frailty is None:
        density = enumerated(question, signals, t, 1.0)
    else:  # Gauss-Legendre in the quantiles' logarithms would do as well: here in z itself, in pieces
        ends = np.concatenate([[0.0], np.geomspace(1e-12, 60.0, 60)])
        places, weights = np.polynomial.legendre.leggauss(40)
        pieces = list(pairwise(ends))
        zs = np.concatenate([low + (places + 1) / 2 * (high - low) for low, high in pieces])
        each = np.concatenate([weights * (high - low) / 2 for low, high in pieces])
        at_z = np.array([enumerated(question, signals, t, z) for z in zs])
        density = (each * gamma.pdf(zs, frailty, scale=1 / frailty)) @ at_z
    expected = question.prior * density / (question.prior @ density)
    assert np.abs(found - expected).max() <= (1e-12 if frailty is None else 1e-9)


def test_a_hypothesis_that_nobody_discloses_is_one_without_a_model() -> None:
    never = DisclosureModel(0.0, 0.1, 0.02)
    both = asked(sources={name: {"generalizable": LAB, "proprietary": never} for name in "ab"})
    signals = [said(at(3), "claim", "a"), said(at(5), "verification", "a")]
    for month in (0.0, 2.0, 4.0, 7.425, 30.0):
        mine, plain = (
            posterior(one, signals[: int(month > 3) + int(month > 5)], [at(month)]) for one in (both, asked())
        )
        assert np.abs(mine - plain).max() <= 1e-15


@pytest.mark.parametrize("frailty", [None, 0.6])
def test_the_belief_is_the_mean_of_those_after_silence_or_a_claim_of_any_hypothesis(frailty: float | None) -> None:
    question, known = (
        three(frailty=frailty),
        [Signal(at(1), "claim", "press", "no"), Signal(at(2), "refutation", "press", "no")],
    )
    before = posterior(question, known, [at(3)])[0]
    claimed = claim_probabilities(question, known, at(3), 4.0)
    after = (1 - sum(claimed.values())) * posterior(question, known, [at(7)])[0]
    for name, p in claimed.items():
        more = [*known, Signal(at(7), "claim", ANY_SOURCE, name, since=at(3))]
        after = after + p * posterior(question, more, [at(7)])[0]
        judged = [Signal(at(7), kind, ANY_SOURCE, name) for kind in ("verification", "refutation")]
        parts = [np.exp(log_likelihoods(question, [*more, one], np.array([7.0]))[0]) for one in judged]
        whole = np.exp(log_likelihoods(question, more, np.array([7.0]))[0])
        assert parts[0] * 0.1 + parts[1] * 0.9 == pytest.approx(whole, rel=1e-12)  # fp of a false one, and the rest
    assert np.abs(after - before).max() <= 1e-12


def test_every_node_of_a_tree_believes_the_mean_of_its_children(approval: Book) -> None:
    tree = build_review_tree(approval, build_outlook(approval)).tree
    kinds = set(tree.kinds)
    assert {"silent", "claimed", "verified", "refuted"} <= kinds
    for node in range(tree.nodes):
        children = np.flatnonzero(tree.parents == node)
        if len(children):
            mean = tree.probabilities[children] @ tree.beliefs[children]
            assert tree.probabilities[children].sum() == pytest.approx(1, abs=1e-12)
            assert np.abs(mean - tree.beliefs[node]).max() <= 1e-12


PATHS = 400_000 if THOROUGH else 40_000


def test_settlement_dates_of_three_hypotheses_are_those_of_simulated_worlds() -> None:
    question = replace(three(threshold=0.9), opened=OPENED)
    question = Question(**{name: getattr(question, name) for name in question.__dataclass_fields__})
    rng, months = np.random.default_rng(11), 12.0
    days = np.arange(int(months * DAYS_A_MONTH) + 1)
    pairs = [(source, name) for source, models in MODELS.items() for name in models]
    truth = rng.choice(3, PATHS, p=question.prior)
    first, about, real = np.full(PATHS, np.inf), np.zeros(PATHS, int), np.zeros(PATHS, bool)
    for i, (source, name) in enumerate(pairs):
        m = MODELS[source][name]
        able = (truth == NAMES.index(name)) & (rng.random(PATHS) < m.disclosure)
        genuine = np.where(able, m.lag_months + rng.exponential(1 / m.hazard, PATHS), np.inf)
        empty = rng.exponential(1 / m.background, PATHS)
        own = np.minimum(genuine, empty)
        about, real = np.where(own < first, i, about), np.where(own < first, genuine < empty, real)
        first = np.minimum(first, own)
    passes = rng.random(PATHS) < np.where(real, question.sensitivity, question.false_positive)
    dates, whole = np.full(PATHS, np.inf), [OPENED + dt.timedelta(days=int(n)) for n in days]

    def settled(signals: Sequence[Signal], on: Sequence[dt.date]) -> Vector:
        return np.asarray(posterior(question, signals, on).max(axis=1) >= question.threshold)

    quiet = np.flatnonzero(settled([], whole))
    last = days[quiet[0]] / DAYS_A_MONTH if len(quiet) else np.inf
    dates[first >= last] = last
    day_of = np.minimum((first * DAYS_A_MONTH), 1e6).astype(int)
    for i, (source, name) in enumerate(pairs):
        for n in days:
            mine = (about == i) & (first < last) & (day_of == n)
            if not mine.any():
                continue
            claim = Signal(whole[n], "claim", source, name)
            if settled([claim], [whole[n]])[0]:
                dates[mine] = first[mine]
                continue
            for kind, yes in (("verification", True), ("refutation", False)):
                if settled([claim, Signal(whole[n], kind, source, name)], [whole[n]])[0]:
                    dates[mine & (passes == yes)] = first[mine & (passes == yes)] + VERIFIED_AFTER
    found = settlement_distribution(question, [], OPENED)
    for month in (1.0, 2.5, 3.5, 6.0, 9.0, 12.0):
        assert found.within(month) == pytest.approx(
            float((dates <= month).mean()), abs=4 * 0.5 / np.sqrt(PATHS) + 0.004
        )


def test_silence_of_three_hypotheses_settles_on_the_first_day_beyond_the_threshold() -> None:
    question = three(threshold=0.62)
    day = settled_by_silence(question, [], OPENED)
    assert day is not None
    path = [posterior(question, [], [OPENED + dt.timedelta(days=n)])[0].max() for n in range((day - OPENED).days + 1)]
    assert path[-1] >= 0.62 > max(path[:-1])


# Strength, evidence and views


def test_a_strength_counts_that_part_of_the_log_and_nothing_is_silence() -> None:
    question, t = asked(labs={"a": LAB}), np.array([6.0])
    claim, verdict = said(at(4), "claim", "a"), said(at(5), "refutation", "a")
    silence = 1 - 0.85 + 0.85 * np.exp(-0.136 * 6)
    x = 0.85 * 0.136 * np.exp(-0.136 * 4) / (0.008 * silence)
    for s, v in product((0.0, 0.2, 1.0), (0.0, 0.5, 1.0)):
        told = [replace(claim, strength=s), replace(verdict, strength=v)]
        expected = np.log(silence) + s * np.log1p(x) + v * (np.log1p(x * 0.1 / 0.9) - np.log1p(x))
        assert log_likelihoods(question, told, t)[0, 0] == pytest.approx(expected, abs=1e-14)
    assert log_likelihoods(question, [replace(claim, strength=0.0)], t)[0, 0] == pytest.approx(
        np.log(silence), abs=1e-15
    )


def test_evidence_multiplies_the_odds_of_its_hypothesis_by_its_bayes_factor() -> None:
    question, day = three(), at(5)
    before = posterior(question, [], [day])[0]
    row = Signal(at(4), "evidence", "an expert", "partly", log10_bayes_factor=-0.5, strength=0.4)
    after = posterior(question, [row], [day])[0]
    assert after[1] / (1 - after[1]) == pytest.approx(before[1] / (1 - before[1]) * 10 ** (-0.5 * 0.4), rel=1e-13)
    assert after[0] / after[2] == pytest.approx(before[0] / before[2], rel=1e-13)
    assert np.array_equal(posterior(question, [row], [at(3)]), posterior(question, [], [at(3)]))


def test_a_view_is_believed_exactly_and_silence_goes_on_from_it(root: Path) -> None:
    path = root / "tests" / "plain_books" / "approval"
    plain, viewed = load(path), load(path, overrides=["believe.approved=0.7"])
    before, after = scenario_probabilities(plain), scenario_probabilities(viewed)
    assert after[:2].sum() == pytest.approx(0.7, abs=1e-14)
    assert after[:2] / after[:2].sum() == pytest.approx(before[:2] / before[:2].sum(), rel=1e-13)
    assert after[2:] / after[2:].sum() == pytest.approx(before[2:] / before[2:].sum(), rel=1e-13)
    later = dt.date(2027, 3, 1)
    question, own = build_question(viewed), build_question(plain)
    assert question is not None
    assert own is not None
    moved = posterior(own, dated_signals(plain), [later])[0] / before
    expected = after * moved / (after @ moved)
    assert posterior(question, dated_signals(viewed), [later])[0] == pytest.approx(expected, rel=1e-12)
    yesterday = plain.settings.book.as_of - dt.timedelta(days=1)
    assert scenario_probabilities(viewed, yesterday) == pytest.approx(
        scenario_probabilities(plain, yesterday), rel=1e-15
    )
    theirs = [path.now for path in map(market_path, (viewed, plain)) if path is not None]
    assert theirs[0] == pytest.approx(theirs[1], rel=1e-15)


def test_a_view_of_a_scenario_or_of_every_hypothesis_is_believed_too(root: Path) -> None:
    path = root / "tests" / "plain_books" / "approval"
    before = scenario_probabilities(load(path))
    one = scenario_probabilities(load(path, overrides=["believe.rejected_covered=0.5"]))
    assert one[4] == pytest.approx(0.5, abs=1e-14)
    assert np.delete(one, 4) * 2 == pytest.approx(np.delete(before, 4) / (1 - before[4]), rel=1e-12)
    every = ["believe.approved=0.2", "believe.restricted=0.3", "believe.rejected=0.5"]
    stated = scenario_probabilities(load(path, overrides=every))
    assert [stated[i : i + 2].sum() for i in (0, 2, 4)] == pytest.approx([0.2, 0.3, 0.5], abs=1e-14)


# What a review of the code found


def test_evidence_by_any_source_is_evidence_and_no_claim() -> None:
    question, row = three(), Signal(at(4), "evidence", ANY_SOURCE, "yes", log10_bayes_factor=1.0)
    named = replace(row, source="a wire")
    claim = Signal(at(3), "claim", ANY_SOURCE, "yes", since=at(2))
    assert claim_probabilities(question, [row], at(5), 3.0) == claim_probabilities(question, [named], at(5), 3.0)
    for known in ([], [claim]):
        mine, other = (posterior(question, [*known, one], [at(5)]) for one in (row, named))
        assert np.array_equal(mine, other)


def test_a_verdict_on_a_named_claim_counts_also_after_a_claim_by_anybody() -> None:
    known = [Signal(at(1), "claim", "court", "yes"), Signal(at(4), "claim", ANY_SOURCE, "yes", since=at(2))]
    before, after = (
        posterior(three(), [*known, *more], [at(6)])[0, 0]
        for more in ([], [Signal(at(5), "verification", "court", "yes")])
    )
    assert after > before + 0.001


def test_the_first_verdict_is_as_likely_in_the_settlement_as_in_the_tree(approval: Book) -> None:
    tree = build_review_tree(approval, build_outlook(approval)).tree
    verified = float(tree.probabilities[tree.kinds.index("verified")])
    question, signals, day = build_question(approval), dated_signals(approval), approval.settings.book.as_of
    assert question is not None
    found = settlement_distribution(question, signals, day, horizon=4.0)
    due = VERIFIED_AFTER - (question.months(day) - question.months(signals[-1].date))  # 1.4 months: the claim's verdict
    jump = found.within(due + 0.05) - found.within(due - 0.05)
    # what settles by then is nearly all of it: some of that probability has gone to announcements before
    assert 0.75 * verified < jump <= verified


def test_a_range_of_backgrounds_is_searched_where_claims_are_weak() -> None:
    question = asked(labs={"a": LAB})
    told = [replace(said(at(2), "claim", "a"), strength=0.2), said(at(3), "refutation", "a")]
    ranges = BeliefRanges((0.5, 0.5), (0.85, 0.85), (0.136, 0.136), (0.0005, 0.1))
    low, _ = posterior_bounds(question, ranges, told, at(4))
    models = (replace(LAB, background=float(b)) for b in np.geomspace(0.0005, 0.1, 400))
    least = min(float(question.by_hypothesis(posterior(asked(labs={"a": one}), told, [at(4)]))[0, 0]) for one in models)
    assert low == pytest.approx(least, abs=2e-3)
