"""Beliefs against printed numbers, closed forms, Bayes by hand and simulation."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from scipy.integrate import quad, simpson

from allocator.errors import BadInput
from allocator.outlook.posterior import (
    BeliefRanges,
    elasticity,
    log_evidence,
    posterior,
    posterior_bounds,
    update_market_probabilities,
)
from allocator.outlook.question import (
    DemandElasticity,
    DisclosureModel,
    Question,
    Signal,
    disclosure_density,
    silence_probability,
)
from tests.outlook.questions import (
    LAB,
    OPENED,
    asked,
    at,
    claim_probability,
    demand_expansion_probability,
    generalizable_probability,
    likelihood_ratio,
    said,
    settled_answer,
    usage,
)

FIGURES = [usage(at(m), x, y) for m, x, y in ((1, 0.25, 0.45), (2, 0.25, 0.38), (3, 0.3, 0.62))]
DEMAND = DemandElasticity(1.2, 0.6, 0.25)
RANGES = BeliefRanges((0.3, 0.7), (0.7, 0.95), (0.08, 0.2), (0.008, 0.008))


def p_of(question: Question, signals: Sequence[Signal], day: dt.date) -> float:
    """P(generalizable) on a day."""
    return float(generalizable_probability(question, posterior(question, signals, [day]))[0])


def odds(p: float) -> float:
    return p / (1 - p)


# Two printed tables (science §2.2)


def test_silence_speaks_as_the_first_table_prints() -> None:
    months = np.array([0, 1, 3, 6, 9, 12, 18, 24, 1e6])
    ratio = likelihood_ratio(asked(), [], months)

    printed = [1, 0.7955, 0.5116, 0.2765, 0.1600, 0.1000, 0.0500, 0.0333, 0.0225]
    assert np.abs(ratio - printed).max() <= 6e-5
    believed = [p_of(asked(), [], at(m)) for m in months[:-1]] + [float(ratio[-1] / (1 + ratio[-1]))]
    assert (
        np.abs(np.array(believed) - [0.5, 0.4431, 0.3384, 0.2166, 0.1379, 0.0909, 0.0476, 0.0322, 0.0220]).max() <= 6e-5
    )


@pytest.mark.parametrize(
    ("month", "ratio", "claimed", "verified", "refuted", "seconded"),
    [
        (1, 15.1, 0.923, 0.990, 0.672, 0.995),
        (2, 14.8, 0.904, 0.988, 0.617, 0.993),
        (4, 14.0, 0.853, 0.980, 0.503, 0.988),
        (6, 13.2, 0.784, 0.968, 0.394, 0.980),
        (9, 11.6, 0.650, 0.939, 0.259, 0.956),
        (12, 9.9, 0.498, 0.891, 0.166, 0.908),
        (18, 6.6, 0.248, 0.719, 0.075, 0.685),
    ],
)
def test_a_claim_speaks_as_the_second_table_prints(
    month: float, ratio: float, claimed: float, verified: float, refuted: float, seconded: float
) -> None:
    day = at(month)
    claim = said(day, "claim", "a")
    found = [
        p_of(asked(), [claim, *more], day)
        for more in (
            [], [said(day, "verification", "a")], [said(day, "refutation", "a")], [said(day, "claim", "b")]
        )
    ]  # fmt: skip

    assert found == pytest.approx([claimed, verified, refuted, seconded], abs=6e-4)
    assert odds(found[0]) / odds(p_of(asked(), [], day)) == pytest.approx(ratio, abs=0.051)


def test_half_to_three_quarters_have_spoken_after_three_to_six_months() -> None:
    genuine = 1 - likelihood_ratio(asked(), [], np.array([3.0, 6.0, 12.0]))

    assert np.round(genuine, 3).tolist() == [0.488, 0.723, 0.900]  # .72346; the table rounds it up


def test_a_verification_is_weighed_by_whether_the_claim_was_genuine() -> None:
    day, h = at(4), float(disclosure_density(LAB, 4.0) / silence_probability(LAB, 4.0))
    share = h / (h + LAB.background)
    claim = said(day, "claim", "a")
    before = odds(p_of(asked(), [claim], day))

    passed = odds(p_of(asked(), [claim, said(day, "verification", "a")], day)) / before
    failed = odds(p_of(asked(), [claim, said(day, "refutation", "a")], day)) / before

    assert passed == pytest.approx((share * 0.9 + (1 - share) * 0.1) / 0.1, rel=1e-12)
    assert failed == pytest.approx((share * 0.1 + (1 - share) * 0.9) / 0.9, rel=1e-12)


def test_a_verification_speaks_only_from_its_own_day() -> None:
    claim, later = said(at(4), "claim", "a"), said(at(7), "verification", "a")

    for months, told in ((3.99, []), (4, [claim]), (6.99, [claim]), (7, [claim, later]), (9, [claim, later])):
        assert p_of(asked(), [claim, later], at(months)) == p_of(asked(), told, at(months))


def test_after_its_claim_a_lab_is_watched_on_as_the_claim_may_be_empty() -> None:
    one = asked(labs={"a": LAB})
    claim = [said(at(4), "claim", "a")]
    said_then = float(disclosure_density(LAB, 4.0)) / 0.008

    for month in (4, 9, 30):
        assert odds(p_of(one, claim, at(month))) == pytest.approx(float(silence_probability(LAB, month)) + said_then)
    assert p_of(asked(), claim, at(30)) < p_of(asked(), claim, at(4))  # the other lab is still silent


def test_a_lab_cannot_have_disclosed_before_its_lag() -> None:
    slow = asked(labs={"a": replace(LAB, lag_months=5.0)})

    assert p_of(slow, [], at(5)) == pytest.approx(0.5, abs=1e-15)
    assert p_of(slow, [], at(8)) == pytest.approx(p_of(asked(labs={"a": LAB}), [], at(3)), abs=1e-15)
    assert p_of(slow, [said(at(4), "claim", "a")], at(4)) == pytest.approx(0.5, abs=1e-15)  # surely without substance


# Closed forms


@pytest.mark.parametrize(("months", "printed"), [(3, 0.239156), (6, 0.348825), (12, 0.426083)])
def test_the_first_genuine_disclosure_competes_with_the_other_lab_and_the_background(
    months: float, printed: float
) -> None:
    both = 2 * LAB.background
    found, _ = quad(
        lambda t: float(disclosure_density(LAB, t) * silence_probability(LAB, t)) * np.exp(-both * t), 0, months
    )

    d, rate = LAB.disclosure, LAB.hazard
    one, two = rate + both, 2 * rate + both
    closed = d * rate * ((1 - d) * (1 - np.exp(-one * months)) / one + d * (1 - np.exp(-two * months)) / two)
    assert found == pytest.approx(closed, abs=1e-12)
    assert found == pytest.approx(printed, abs=6e-7)


@pytest.mark.parametrize(
    ("shape", "silence", "believed"), [(0.5, 0.409, 0.290), (1.0, 0.289, 0.224), (2.0, 0.204, 0.170)]
)
def test_correlated_labs_make_silence_say_less_as_printed(shape: float, silence: float, believed: float) -> None:
    question = asked(frailty=shape)

    assert likelihood_ratio(question, [], np.array([12.0]))[0] == pytest.approx(silence, abs=6e-4)
    assert p_of(question, [], at(12)) == pytest.approx(believed, abs=6e-4)


@pytest.mark.parametrize("shape", [0.05, 0.2, 0.5, 1.0, 2.0, 10.0, 150.0, 200.0, 1000.0])
def test_correlated_labs_are_the_sum_over_who_can_disclose(shape: float) -> None:
    labs = {"a": LAB, "b": DisclosureModel(0.6, 0.4, 0.01), "c": DisclosureModel(0.95, 5.0, 0.02)}
    months = np.array([0.0, 0.1, 1.0, 12.0, 60.0])

    expected = np.zeros(len(months))
    for able in product((True, False), repeat=3):
        weight = np.prod(
            [lab.disclosure if a else 1 - lab.disclosure for a, lab in zip(able, labs.values(), strict=True)]
        )
        rate = sum(lab.hazard for a, lab in zip(able, labs.values(), strict=True) if a)
        expected += weight * (1 + months * rate / shape) ** -shape

    found = likelihood_ratio(asked(labs=labs, frailty=shape), [], months)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_strongly_common_labs_approach_independent_ones_as_the_shape_grows() -> None:
    independent = p_of(asked(), [], at(12))
    found = [abs(p_of(asked(frailty=shape), [], at(12)) - independent) for shape in (1.0, 10.0, 100.0, 1000.0)]

    assert found == sorted(found, reverse=True)
    assert found[-1] < 2e-4


@pytest.mark.parametrize("frailty", [None, 0.5, 2.0])
def test_a_claim_of_one_common_cause_raises_the_other_labs_hazard(frailty: float | None) -> None:
    question = asked(frailty=frailty)
    claim = [said(at(4), "claim", "a"), said(at(4), "verification", "a")]
    z, weight = question.common
    seen = (
        weight
        * (silence_probability(LAB, 4.0, z) + disclosure_density(LAB, 4.0, z) / LAB.background * 9)
        * silence_probability(LAB, 4.0, z)
    )
    ratio = float(seen.sum())

    assert p_of(question, claim, at(4)) == pytest.approx(ratio / (1 + ratio), abs=1e-12)


# A belief may not be expected to move


@pytest.mark.parametrize("frailty", [None, 0.5])
@pytest.mark.parametrize(("seen", "step"), [(0.0, 3.0), (4.0, 2.0), (12.0, 6.0)])
def test_the_expected_belief_after_a_claim_or_none_is_todays(seen: float, step: float, frailty: float | None) -> None:
    question = asked(frailty=frailty)
    p, after = p_of(question, [], at(seen)), p_of(question, [], at(seen + step))
    claim = claim_probability(question, [], at(seen), step)
    ratio = likelihood_ratio(question, [], np.array([seen, seen + step]))
    silent_and_general = p * float(ratio[1] / ratio[0]) * np.exp(-step * 2 * LAB.background)

    assert (1 - claim) * after + (p - silent_and_general) == pytest.approx(p, abs=1e-15)


def test_the_expected_belief_over_every_date_of_the_first_claim_is_todays() -> None:
    question, months = asked(), np.arange(0, 601) / 100
    quiet = np.exp(-2 * LAB.background * months)
    silent = silence_probability(LAB, months) ** 2
    density = (
        2
        * quiet
        * (
            0.5 * (disclosure_density(LAB, months) * silence_probability(LAB, months) + LAB.background * silent)
            + 0.5 * LAB.background
        )
    )
    after = np.array([p_of(question, [said(at(m), "claim", "a")], at(m)) for m in months])
    claimed = float(simpson(density, x=months))

    assert claimed == pytest.approx(claim_probability(question, [], OPENED, 6.0), abs=1e-10)
    expected = float(simpson(density * after, x=months)) + (1 - claimed) * p_of(question, [], at(6))
    assert expected == pytest.approx(0.5, abs=1e-10)


@pytest.mark.parametrize("frailty", [None, 0.5])
def test_the_expected_belief_after_a_verification_or_refutation_is_todays(frailty: float | None) -> None:
    question, day, claim = asked(frailty=frailty), at(4), said(at(4), "claim", "a")
    z, weight = question.common
    seen = weight * silence_probability(LAB, 4.0, z)
    genuine, silent = float(seen @ disclosure_density(LAB, 4.0, z)), float(seen @ silence_probability(LAB, 4.0, z))
    share = genuine / (genuine + LAB.background * silent)
    p = p_of(question, [claim], day)
    passes = p * (share * 0.9 + (1 - share) * 0.1) + (1 - p) * 0.1

    passed, failed = (p_of(question, [claim, said(day, kind, "a")], day) for kind in ("verification", "refutation"))

    assert passes * passed + (1 - passes) * failed == pytest.approx(p, abs=1e-15)


def test_simulated_labs_claim_as_often_as_the_formula_says() -> None:
    rng, paths = np.random.default_rng(20261120), 400_000
    general = rng.random(paths) < 0.5
    able = rng.random((paths, 2)) < LAB.disclosure
    genuine = np.where(able & general[:, None], rng.exponential(1 / LAB.hazard, (paths, 2)), np.inf)
    empty = rng.exponential(1 / LAB.background, (paths, 2))
    claims = np.minimum(genuine, empty)

    for months, printed in ((3, 0.7204), (6, 0.5798), (12, 0.4539)):
        formula = 1 - claim_probability(asked(), [], OPENED, months)
        simulated = float((claims.min(axis=1) > months).mean())
        assert formula == pytest.approx(printed, abs=6e-5)
        assert simulated == pytest.approx(formula, abs=4 * np.sqrt(formula * (1 - formula) / paths))
    window = (np.abs(claims[:, 0] - 4) < 0.25) & (claims[:, 1] > claims[:, 0])
    believed = p_of(asked(), [said(at(4), "claim", "a")], at(4))
    assert float(general[window].mean()) == pytest.approx(
        believed, abs=4 * np.sqrt(believed * (1 - believed) / window.sum())
    )


def test_who_has_claimed_may_claim_again_unless_the_claim_was_genuine() -> None:
    claim = [said(at(4), "claim", "a")]
    p = p_of(asked(), claim, at(4))
    then, later, real = *silence_probability(LAB, np.array([4.0, 7.0])), disclosure_density(LAB, 4.0) / 0.008
    quiet = float(later / then * (later + real) / (then + real)) * np.exp(-3 * 2 * LAB.background)

    found = claim_probability(asked(), claim, at(4), 3.0)

    assert found == pytest.approx(p * (1 - quiet) + (1 - p) * (1 - np.exp(-3 * 2 * LAB.background)), abs=1e-15)


# Demand


def test_usage_figures_move_the_elasticity_as_printed() -> None:
    found = [demand_expansion_probability(*elasticity(DEMAND, FIGURES[:count])) for count in range(4)]

    assert [round(p, 3) for p in found] == [0.631, 0.757, 0.805, 0.914]


def test_the_elasticity_after_figures_is_the_regression_with_its_prior() -> None:
    x, y = np.array([0.25, 0.25, 0.3]), np.array([0.45, 0.38, 0.62])
    precision = 1 / 0.6**2 + x @ x / 0.25**2
    mean = (1.2 / 0.6**2 + x @ y / 0.25**2) / precision

    assert elasticity(DEMAND, FIGURES) == pytest.approx((mean, precision**-0.5), abs=1e-14)


def test_usage_figures_move_the_demand_axis_and_nothing_else() -> None:
    question = asked(demand=DEMAND)
    found = posterior(question, FIGURES, [at(3)])[0]
    silent = posterior(question, [], [at(3)])[0]

    assert found[:2].sum() == pytest.approx(silent[:2].sum(), abs=1e-15)
    factor = odds(demand_expansion_probability(*elasticity(DEMAND, FIGURES))) / odds(
        demand_expansion_probability(1.2, 0.6)
    )
    assert odds(found[[0, 2]].sum()) == pytest.approx(odds(0.6) * factor, rel=1e-12)
    assert posterior(question, FIGURES, [at(0.99)])[0] == pytest.approx(posterior(question, [], [at(0.99)])[0])


def test_a_joint_prior_need_not_be_a_product() -> None:
    question = asked(prior=np.array([0.4, 0.05, 0.15, 0.4]), demand=DEMAND)
    signals = [said(at(4), "claim", "a"), *FIGURES]

    found = posterior(question, signals, [at(5)])[0]

    ratio = float(likelihood_ratio(question, signals, np.array([5.0]))[0])
    factor = odds(demand_expansion_probability(*elasticity(DEMAND, FIGURES))) / odds(
        demand_expansion_probability(1.2, 0.6)
    )
    by_hand = question.prior * [ratio * factor, ratio, factor, 1]
    assert found == pytest.approx(by_hand / by_hand.sum(), abs=1e-15)
    silence = posterior(question, [], [at(12)])[0]
    assert silence[0] / silence[1] == pytest.approx(8, rel=1e-12)  # silence says nothing of demand given the answer
    assert silence[[0, 2]].sum() < 0.55  # but with a dependent prior it moves the demand axis too


def test_figures_of_one_day_all_speak_from_that_day() -> None:
    question, day = asked(demand=DEMAND), at(2)
    figures = [
        usage(day, 0.25, 0.45),
        FIGURES[0],
        usage(day, 0.3, 0.1),
    ]
    days = [at(m) for m in (0.5, 1, 1.99, 2, 5)]

    by_day = [posterior(question, figures, [one])[0] for one in days]

    np.testing.assert_allclose(posterior(question, figures, days), by_day, atol=1e-15)
    factor = odds(demand_expansion_probability(*elasticity(DEMAND, figures))) / odds(
        demand_expansion_probability(1.2, 0.6)
    )
    assert odds(by_day[3][[0, 2]].sum()) == pytest.approx(odds(0.6) * factor, rel=1e-12)


# Dates


def test_beliefs_do_not_depend_on_the_order_of_the_rows() -> None:
    question = asked(demand=DEMAND, frailty=0.5)
    signals = [said(at(2), "claim", "b"), said(at(4), "claim", "a"), said(at(5), "refutation", "b"), FIGURES[0]]
    expected = posterior(question, signals, [at(6)])

    for order in permutations(signals):
        np.testing.assert_allclose(posterior(question, order, [at(6)]), expected, atol=1e-15)


def test_tomorrows_signals_are_unknown_today() -> None:
    question = asked(demand=DEMAND)
    late = [
        said(at(8), "claim", "a"),
        said(at(9), "verification", "a"),
        usage(at(8), 0.3, 0.1),
    ]
    days = [at(m) for m in (0, 3, 7.99)]

    np.testing.assert_array_equal(posterior(question, late, days), posterior(question, [], days))


def test_settled_holds_until_the_belief_falls_below_the_release() -> None:
    question = asked()

    assert settled_answer(question, np.array([0.5, 0.949])) is None
    assert settled_answer(question, np.array([0.5, 0.95])) == "generalizable"
    assert settled_answer(question, np.array([0.5, 0.96, 0.86])) == "generalizable"
    assert settled_answer(question, np.array([0.5, 0.96, 0.849])) is None
    assert settled_answer(question, np.array([0.5, 0.96, 0.849, 0.9])) is None
    assert settled_answer(question, np.array([0.5, 0.05])) == "proprietary"
    assert settled_answer(question, np.array([0.5, 0.04, 0.149])) == "proprietary"
    assert settled_answer(question, np.array([0.5, 0.04, 0.151])) is None
    assert settled_answer(question, np.array([0.96, 0.03])) == "proprietary"
    assert settled_answer(question, np.array([0.86])) is None  # without a past it was never settled


def test_settled_is_known_from_the_signals_alone() -> None:
    day = at(4)
    signals = [
        said(day, "claim", "a"), said(at(5), "verification", "a"), said(at(7), "claim", "b"),
        said(at(8), "refutation", "b"),
    ]  # fmt: skip
    days = [at(m / 10) for m in range(241)]

    def at_end(told: Sequence[Signal], until: float) -> str | None:
        path = generalizable_probability(asked(), posterior(asked(), told, days[: round(until * 10) + 1]))
        return settled_answer(asked(), path)

    assert at_end(signals, 4.9) is None
    assert at_end(signals, 5) == "generalizable"
    assert at_end(signals[::-1], 24) == at_end(signals, 24) == "generalizable"
    assert at_end([], 24) == "proprietary"


# Somebody else's probabilities, and what we are unsure of


def test_the_market_moves_by_the_same_evidence_from_its_own_prior() -> None:
    question = asked(demand=DEMAND)
    signals = [*FIGURES, said(at(4), "claim", "a")]
    theirs = np.array([0.1, 0.2, 0.3, 0.4])

    found = update_market_probabilities(question, theirs, signals, [at(2), at(6)])[-1]

    ratio = likelihood_ratio(question, signals, np.array([2.0, 6.0]))
    r = float(ratio[1] / ratio[0])
    f = odds(demand_expansion_probability(*elasticity(DEMAND, FIGURES))) / odds(
        demand_expansion_probability(*elasticity(DEMAND, FIGURES[:2]))
    )
    by_hand = theirs * [r * f, r, f, 1]
    assert found == pytest.approx(by_hand / by_hand.sum(), abs=1e-14)
    assert update_market_probabilities(question, question.prior, signals, [OPENED, at(6)])[-1] == pytest.approx(
        posterior(question, signals, [at(6)])[0], abs=1e-15
    )


def test_the_market_may_believe_in_a_scenario_that_we_exclude() -> None:
    question = asked(prior=np.array([0.5, 0.0, 0.3, 0.2]))
    theirs = np.array([0.0, 0.5, 0.5, 0.0])

    found = update_market_probabilities(question, theirs, [], [OPENED, at(12)])[-1]

    ratio = float(likelihood_ratio(question, [], np.array([12.0]))[0])
    assert found == pytest.approx([0, ratio / (1 + ratio), 1 / (1 + ratio), 0], abs=1e-15)


@pytest.mark.parametrize(
    ("month", "low", "high", "reach"),
    [
        (0, 0.300, 0.700, 0.200), (3, 0.123, 0.628, 0.290), (6, 0.046, 0.556, 0.340), (12, 0.008, 0.430, 0.339),
        (18, 0.002, 0.336, 0.289), (36, 0.001, 0.212, 0.188),
    ],
)  # fmt: skip
def test_the_bounds_over_what_we_are_unsure_of_are_those_printed(
    month: float, low: float, high: float, reach: float
) -> None:
    found = posterior_bounds(asked(), RANGES, [], at(month))
    base = p_of(asked(), [], at(month))

    assert np.round(found, 3).tolist() == [low, high]
    assert max(found[1] - base, base - found[0]) == pytest.approx(reach, abs=1.1e-3)


def test_the_bounds_after_a_claim_reach_beyond_the_corners() -> None:
    ranges, claim = replace(RANGES, background=(0.003, 0.02)), [said(at(4), "claim", "a")]

    assert np.round(posterior_bounds(asked(), ranges, claim, at(4)), 4).tolist() == [0.4923, 0.9730]
    corners = [p_within(*corner, claim, at(4)) for corner in product(*vars(ranges).values())]
    assert max(corners) == pytest.approx(0.9706, abs=6e-5)  # science §2.4 prints the corners: a hazard of .13 says more


CLAIMED = [said(at(4), "claim", "a")]
HISTORIES = {
    "silent": [],
    "claimed": CLAIMED,
    "claimed early": [said(at(0.5), "claim", "a")],
    "verified": [*CLAIMED, said(at(6), "verification", "a")],
    "refuted": [*CLAIMED, said(at(6), "refutation", "a")],
    "both claimed": [*CLAIMED, said(at(9), "claim", "b")],
    "one verified, one refuted": [
        *CLAIMED, said(at(9), "claim", "b"), said(at(9), "verification", "a"), said(at(9), "refutation", "b"),
    ],
}  # fmt: skip


def p_within(p: float, d: float, h: float, b: float, signals: Sequence[Signal], day: dt.date, **given: object) -> float:
    """P(generalizable) where all labs are of these values."""
    inside = asked(prior=np.array([p, 0, 1 - p, 0]), labs=dict.fromkeys("ab", DisclosureModel(d, h, b)), **given)
    return p_of(inside, signals, day)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("frailty", [None, 0.5])
@pytest.mark.parametrize("history", HISTORIES)
def test_the_bounds_are_the_extremes_of_a_fine_grid(history: str, frailty: float | None, *, wide: bool) -> None:
    signals, day = HISTORIES[history], at(12)
    ranges = BeliefRanges((0.3, 0.7), (0.1, 0.95), (0.01, 3.0), (0.003, 0.3)) if wide else replace(
        RANGES, background=(0.003, 0.02)
    )  # fmt: skip
    steps = 5 if frailty else 9
    (d_low, d_high), (h_low, h_high) = ranges.disclosure, ranges.hazard
    grid = product(ranges.prior, np.linspace(d_low, d_high, steps), np.geomspace(h_low, h_high, 7 * steps),
                   np.geomspace(*ranges.background, 3))  # fmt: skip
    brute = np.array([p_within(*place, signals, day, frailty=frailty) for place in grid])

    low, high = posterior_bounds(asked(frailty=frailty), ranges, signals, day)

    assert low <= brute.min() + 1e-12
    assert brute.max() - 1e-12 <= high
    assert odds(low) == pytest.approx(odds(brute.min()), rel=0.03)  # and no farther than between two grid points
    assert odds(high) == pytest.approx(odds(brute.max()), rel=0.03)


def test_the_bounds_hold_every_belief_within_the_ranges() -> None:
    rng = np.random.default_rng(4)
    signals = [said(at(4), "claim", "a")]
    ranges = replace(RANGES, background=(0.003, 0.02))
    for months in (2.0, 4.0, 10.0):
        low, high = posterior_bounds(asked(), ranges, signals, at(months))
        for _ in range(60):
            p, d, h, b = (rng.uniform(*pair) for pair in (
                ranges.prior, ranges.disclosure, ranges.hazard, ranges.background
            ))  # fmt: skip
            inside = asked(prior=np.array([p, 0, 1 - p, 0]), labs=dict.fromkeys("ab", DisclosureModel(d, h, b)))
            assert low - 1e-12 <= p_of(inside, signals, at(months)) <= high + 1e-12


# Extreme figures


@pytest.mark.parametrize("noise", [1e-1, 1e-3, 1e-9, 1e-150])
@pytest.mark.parametrize("second", [9.0, -9.0])
def test_figures_that_contradict_each_other_to_the_last_move_the_market_by_their_difference(
    noise: float, second: float
) -> None:
    question = asked(demand=DemandElasticity(1.2, 0.6, noise))
    told = [
        usage(at(1), 0.25, 0.02),
        usage(at(3), 3.0, second),
    ]
    market = np.array([0.1, 0.4, 0.3, 0.2])

    moved = update_market_probabilities(question, market, told, [at(2), at(4)])[-1]
    believed = posterior(question, told, [at(0), at(2), at(4)])

    assert np.isfinite(moved).all()
    assert moved.sum() == pytest.approx(1, abs=1e-12)
    assert np.isfinite(believed).all()
    assert believed.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-12)
    assert moved[[0, 2]].sum() == pytest.approx(float(second > 0), abs=1e-6)


def test_the_elasticity_keeps_its_error_however_small_the_noise() -> None:
    mean, deviation = elasticity(DemandElasticity(1.2, 0.6, 1e-9), [usage(at(1), 0.25, 0.45)])

    assert mean == pytest.approx(0.45 / 0.25, abs=1e-9)
    assert deviation == pytest.approx(1e-9 / 0.25, rel=1e-6)


def test_a_noise_whose_square_is_no_number_is_refused_where_a_second_figure_asks_for_it() -> None:
    question = asked(demand=DemandElasticity(1.2, 0.6, 1e-200))

    with pytest.raises(BadInput, match="what the usage figures say"):
        log_evidence(question, [usage(at(1), 0.25, 0.45), usage(at(2), 0.25, 0.45)], [at(3)])


def test_claims_against_hardly_any_background_are_certain_and_finite() -> None:
    labs = {name: DisclosureModel(0.85, 0.136, 1e-200) for name in "abc"}
    question = asked(labs=labs)
    told = [said(at(1), "claim", name) for name in labs]

    assert p_of(question, told, at(2)) == pytest.approx(1, abs=1e-12)
    assert np.isfinite(update_market_probabilities(question, question.prior, told, [at(0.5), at(2)])[-1]).all()


def test_the_silence_of_many_sure_labs_is_certain_and_finite() -> None:
    labs = {f"lab {i}": DisclosureModel(1 - 1e-16, 10.0, 0.01) for i in range(40)}

    assert p_of(asked(labs=labs), [], at(100)) == pytest.approx(0, abs=1e-12)


def test_evidence_that_is_no_number_is_refused_and_never_believed() -> None:
    noiseless = asked(demand=DemandElasticity(1.2, 0.6, 1e-200))
    told = [usage(at(1), 0.25, 0.02)]

    for ask in (lambda: posterior(noiseless, told, [at(2)]),
                lambda: update_market_probabilities(noiseless, noiseless.prior, told, [at(0), at(2)])[-1]):  # fmt: skip
        with pytest.raises(BadInput, match=r"question\.demand"):
            ask()


def test_the_bounds_hold_the_belief_where_labs_differ() -> None:
    labs = {"a": DisclosureModel(0.7, 0.08, 0.02), "b": DisclosureModel(0.95, 0.2, 0.003)}
    question, ranges = asked(labs=labs), BeliefRanges((0.5, 0.5), (0.7, 0.95), (0.08, 0.2), (0.003, 0.02))
    told = [said(at(0.5), "claim", "b"), said(at(1), "refutation", "b")]

    for signals in ([], told, [said(at(20), "claim", "a")]):
        for month in (1, 6, 21):
            low, high = posterior_bounds(question, ranges, signals, at(month))
            assert low <= p_of(question, signals, at(month)) <= high
