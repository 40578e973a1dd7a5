"""A claim by any lab of which only the interval is known: likelihood, verdict, settlement and bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocator.book.checks.question import ANY_SOURCE
from allocator.outlook.belief_report import next_signals, settlement_distribution
from allocator.outlook.posterior import BeliefRanges, posterior, posterior_bounds
from allocator.outlook.question import DisclosureModel, Signal, pooled_claim, silence_probability
from tests.outlook.questions import LAB, Hundredths, asked, at, claim_probability, generalizable_probability, said

FAR = DisclosureModel(0.6, 0.3, 0.02, lag_months=4.0)
CASES = {
    "alike": {},
    "frailty": {"frailty": 0.5},
    "lag inside and different hazards": {"labs": {"a": LAB, "b": FAR}},
}


def p_of(question: Hundredths, signals: list[Signal], months: float) -> float:
    return float(generalizable_probability(question, posterior(question, signals, [at(months)]))[0])


def claimed(since: float, date: float) -> Signal:
    return said(at(date), "claim", ANY_SOURCE, since=at(since))


@pytest.mark.parametrize("case", CASES)
def test_the_belief_before_a_review_is_the_mean_of_those_after_it(case: str) -> None:
    question = asked(**CASES[case])
    before, chance = p_of(question, [], 3), claim_probability(question, [], at(3), 3.0)
    after = chance * p_of(question, [claimed(3, 6)], 6) + (1 - chance) * p_of(question, [], 6)
    assert after == pytest.approx(before, abs=4e-15)


def test_the_chance_of_a_claim_is_that_of_the_predictive_step() -> None:
    question, rate = asked(), 0.016
    p = p_of(question, [], 3)
    quiet = float((silence_probability(LAB, 6.0) / silence_probability(LAB, 3.0)) ** 2)
    by_hand = p * (1 - quiet * np.exp(-3 * rate)) + (1 - p) * (1 - np.exp(-3 * rate))
    assert claim_probability(question, [], at(3), 3.0) == pytest.approx(by_hand, abs=1e-15)


@pytest.mark.parametrize(("months", "one"), [(3, 0.239156), (6, 0.348825), (12, 0.426083)])
def test_a_genuine_first_claim_is_as_likely_as_competing_risks_say(months: float, one: float) -> None:
    pooled = pooled_claim(asked(), [claimed(0, months)])
    assert pooled is not None
    assert float(pooled.genuine[0, 0, 0]) * -np.expm1(-0.016 * months) == pytest.approx(2 * one, abs=1.1e-6)


def test_the_genuine_share_of_first_claims_is_that_of_simulated_ones() -> None:
    rng, count = np.random.default_rng(7), 200_000
    real = np.full(count, np.inf)
    for lab in (LAB, FAR):
        waits = lab.lag_months + rng.exponential(1 / lab.hazard, count)
        real = np.minimum(real, np.where(rng.random(count) < lab.disclosure, waits, np.inf))
    empty = rng.exponential(1 / (LAB.background + FAR.background), count)
    open_then = np.minimum(real, empty) > 2
    first = open_then & (np.minimum(real, empty) <= 7)
    pooled = pooled_claim(asked(labs={"a": LAB, "b": FAR}), [claimed(2, 7)])
    assert pooled is not None
    share = float(pooled.genuine[0, 0, 0] / (pooled.genuine + pooled.empty)[0, 0, 0])
    assert share == pytest.approx(float((real < empty)[first].mean()), abs=0.006)


def test_a_claim_within_a_short_interval_says_what_a_named_one_does() -> None:
    apart = [abs(p_of(asked(), [claimed(4 - d, 4)], 4) - p_of(asked(), [said(at(4), "claim", "a")], 4))
             for d in (1, 0.1, 0.01)]  # fmt: skip
    assert apart[0] > 5 * apart[1] > 25 * apart[2]
    assert apart[2] < 1e-3


def test_a_verdict_grades_the_claim_and_silence_no_longer_counts() -> None:
    question, claim = asked(), claimed(3, 6)
    pooled = pooled_claim(question, [claim])
    assert pooled is not None
    silence = float(silence_probability(LAB, 3.0)) ** 2
    for kind, grade in (("verification", 9.0), ("refutation", 1 / 9)):
        ratio = silence * float(grade * pooled.genuine[0, 0, 0] + pooled.empty[0, 0, 0])
        found = [p_of(question, [claim, said(at(9), kind, ANY_SOURCE)], month) for month in (9, 30)]
        assert found == pytest.approx([ratio / (1 + ratio)] * 2, abs=1e-14)
    assert p_of(question, [claim], 6) == p_of(question, [claim], 30)
    assert p_of(question, [claim], 5.99) == p_of(question, [], 5.99)


def test_a_lab_that_claimed_by_name_may_be_the_one_that_claims_next() -> None:
    named = said(at(2), "claim", "a")
    pooled = pooled_claim(asked(), [named, claimed(3, 6)])
    assert pooled is not None
    chance = claim_probability(asked(), [named], at(3), 3.0)
    after = chance * p_of(asked(), [named, claimed(3, 6)], 6) + (1 - chance) * p_of(asked(), [named], 6)
    assert after == pytest.approx(p_of(asked(), [named], 3), abs=4e-15)


def test_after_the_claim_only_its_verdict_is_to_come() -> None:
    claim = claimed(3, 6)
    found = [one.what for one in next_signals(asked(), [claim], at(7))]
    assert found == [f"verification of {ANY_SOURCE}", f"refutation of {ANY_SOURCE}"]
    assert claim_probability(asked(), [claim], at(7), 12.0) == 0


def test_the_question_settles_with_the_verdict_three_months_after_the_claim() -> None:
    question, claim = asked(), claimed(3, 6)
    before, p = p_of(question, [claim], 6), 0.0
    for kind, chance in (("verification", 0.1), ("refutation", 0.9)):
        after = p_of(question, [claim, said(at(9), kind, ANY_SOURCE)], 9)
        if max(after, 1 - after) >= 0.95:
            p += chance * (1 - before) / (1 - after)
    found = settlement_distribution(question, [claim], at(6))
    assert 0 < p < 1
    assert found.within(2.9) == 0
    assert found.within(3.1) == pytest.approx(p, abs=1e-12)
    assert found.probability.max() <= 1


def test_the_bounds_hold_a_fine_grid() -> None:
    ranges, signals = BeliefRanges((0.3, 0.7), (0.7, 0.95), (0.08, 0.2), (0.003, 0.02)), [claimed(3, 6)]
    brute = []
    for p in ranges.prior:
        for d in np.linspace(*ranges.disclosure, 7):
            for h in np.geomspace(*ranges.hazard, 15):
                for b in ranges.background:
                    lab = replace(LAB, disclosure=d, hazard=h, background=b)
                    prior = np.array([p, 0, 1 - p, 0])
                    brute.append(p_of(asked(prior=prior, labs={"a": lab, "b": lab}), signals, 6))
    low, high = posterior_bounds(asked(), ranges, signals, at(6))
    assert min(brute) - 1e-3 < low <= min(brute) + 1e-12
    assert max(brute) - 1e-12 <= high < max(brute) + 1e-3
