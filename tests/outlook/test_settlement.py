"""The distribution of the settlement date against printed numbers, simulation and arithmetic by hand."""

from __future__ import annotations

import datetime as dt
import functools
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from allocator.outlook.belief_report import VERIFIED_AFTER, settlement_distribution
from allocator.outlook.posterior import belief_path, posterior
from allocator.outlook.question import DAYS_A_MONTH, DisclosureModel, Question, disclosure_density, silence_probability
from allocator.types import Vector
from tests.outlook.questions import LAB, OPENED, claim_probability, generalizable_probability, labs_of, real, said
from tests.thoroughness import THOROUGH, some

MONTHS = (3, 6, 9, 12, 18, 24)
PATHS = 200_000


def after(months: float) -> dt.date:
    return OPENED + dt.timedelta(days=round(months * DAYS_A_MONTH))


def simulated(labs: list[DisclosureModel], threshold: float, seed: int) -> Vector:
    """Months to settlement along paths: by silence, by the first claim, or by its test; infinite where by none."""
    rng = np.random.default_rng(seed)
    hazards, shares, backgrounds = (np.array([getattr(lab, name) for lab in labs])
                                    for name in ("hazard", "disclosure", "background"))  # fmt: skip
    general = rng.random(PATHS) < 0.5
    able = (rng.random((PATHS, len(labs))) < shares) & general[:, None]
    genuine = np.where(able, rng.exponential(1, (PATHS, len(labs))) / hazards, np.inf)
    empty = rng.exponential(1, (PATHS, len(labs))) / backgrounds
    claims = np.minimum(genuine, empty)
    who, first = claims.argmin(axis=1), claims.min(axis=1)
    passes = rng.random(PATHS) < np.where(genuine[np.arange(PATHS), who] <= first, 0.9, 0.1)

    def silence(t: Vector) -> Vector:
        return np.prod([silence_probability(lab, t) for lab in labs], axis=0)

    grid = np.arange(0, 36, 1e-3)
    general_still = silence(grid) / (1 + silence(grid))
    crossed = np.flatnonzero(np.maximum(general_still, 1 - general_still) >= threshold)
    quiet_until = grid[crossed[0]] if len(crossed) else np.inf
    t = np.minimum(first, 1e6)
    own = np.select(
        [who == j for j in range(len(labs))], [disclosure_density(lab, t) / silence_probability(lab, t) for lab in labs]
    )
    noise = backgrounds[who]
    ratio = silence(t) * (1 + own / noise)
    p, share = ratio / (1 + ratio), own / (own + noise)
    tested = np.where(passes, (share * 0.9 + (1 - share) * 0.1) / 0.1, (share * 0.1 + (1 - share) * 0.9) / 0.9) * ratio
    later = tested / (1 + tested)
    dates = np.where(
        np.maximum(p, 1 - p) >= threshold,
        first,
        np.where(np.maximum(later, 1 - later) >= threshold, first + VERIFIED_AFTER, np.inf),
    )
    return np.where(first < quiet_until, dates, quiet_until)


@pytest.mark.parametrize(
    ("threshold", "printed", "never"),
    [
        (0.90, [0.223, 0.267, 0.368, 0.881, 0.901], 0.099),
        (0.95, [0.0, 0.221, 0.323, 0.360, 0.756], 0.244),
    ],
)
def test_the_settlement_date_is_distributed_as_printed(threshold: float, printed: list[float], never: float) -> None:
    found = settlement_distribution(real(threshold=threshold), [], OPENED)

    assert [found.within(m) for m in MONTHS[:-1]] == pytest.approx(printed, abs=0.003)  # 2e5 paths: ±.0011
    assert 1 - found.within(24) == pytest.approx(never, abs=0.003)


@pytest.mark.parametrize(
    ("labs", "threshold"),
    [
        ([LAB, LAB], 0.9),
        ([LAB, LAB], 0.95),
        ([LAB, DisclosureModel(0.6, 0.05, 0.02)], 0.9),
        ([LAB, DisclosureModel(0.95, 0.3, 0.004), DisclosureModel(0.7, 0.1, 0.01)], 0.95),
    ],
)
def test_the_settlement_date_is_distributed_as_simulated(labs: list[DisclosureModel], threshold: float) -> None:
    question = real(labs=dict(zip("abc", labs, strict=False)), threshold=threshold)
    found, dates = settlement_distribution(question, [], OPENED), simulated(labs, threshold, seed=20261120)

    for m in (*MONTHS, 2.0, 4.5, 16.0, 30.0):
        share = float((dates <= m).mean())
        # four standard errors, and a day's mass for the trapezium rule
        day = float(((dates > m - 1 / DAYS_A_MONTH) & (dates <= m + 1 / DAYS_A_MONTH)).mean())
        assert found.within(m) == pytest.approx(share, abs=4 * np.sqrt(max(share * (1 - share), 1e-4) / PATHS) + day)


def test_the_probability_of_being_settled_never_falls() -> None:
    for frailty in (None, 0.5):
        found = settlement_distribution(real(frailty=frailty), [], after(2))

        assert (np.diff(found.probability) >= 0).all()
        assert 0 <= found.probability[0] <= found.probability[-1] <= 1


def test_a_question_that_silence_cannot_settle_may_never_be_settled() -> None:
    found = settlement_distribution(real(threshold=0.979), [], OPENED, horizon=240.0)

    assert found.within(240) < 0.6
    assert found.within(240) == pytest.approx(found.within(120), abs=0.02)


def test_what_is_settled_stays_so_in_the_distribution() -> None:
    found = settlement_distribution(real(), [], after(20))

    assert found.probability.min() == 1


def test_an_outstanding_claim_waits_for_its_verification() -> None:
    claim = said(after(4), "claim", "a")
    h = float(disclosure_density(LAB, 4.0) / silence_probability(LAB, 4.0))
    share, p = h / (h + LAB.background), 0.853
    passes = p * (share * 0.9 + (1 - share) * 0.1) + (1 - p) * 0.1

    found = settlement_distribution(real(), [claim], after(5))

    assert found.within(0) == 0
    assert found.within(2.1) == pytest.approx(passes, abs=0.02)  # a month of the other lab's silence has passed
    assert found.within(36) > found.within(2.1)  # and that the other lab still may speak


def test_a_claim_that_settles_at_once_needs_no_verification() -> None:
    found = settlement_distribution(real(threshold=0.8), [said(after(4), "claim", "a")], after(4))

    assert found.probability.min() == 1


def test_labs_that_were_all_refuted_are_watched_on() -> None:
    day = after(12)
    signals = [said(day, kind, lab) for lab in "ab" for kind in ("claim", "refutation")]
    found = settlement_distribution(real(threshold=0.9), signals, day)

    assert found.within(VERIFIED_AFTER) < 0.01
    assert found.within(36) >= found.within(12) > found.within(6) >= 0


@pytest.mark.parametrize(("frailty", "judged"), [(None, False), (0.5, False), (None, True)])
def test_where_every_claim_settles_the_date_is_that_of_the_next_claim(frailty: float | None, judged: bool) -> None:
    day = after(4 if judged else 0)
    signals = [said(day, "claim", "a"), said(day, "refutation", "a")] if judged else []
    question = real(threshold=0.8 if judged else 0.75, frailty=frailty)

    found = settlement_distribution(question, signals, day)

    for months in (0.5, 1.0, 2.0):
        assert found.within(months) == pytest.approx(claim_probability(question, signals, day, months), abs=2e-3)


def test_a_question_that_fell_below_the_threshold_and_not_below_the_release_is_settled_now() -> None:
    told = [said(after(4), "claim", "a"), said(after(5), "verification", "a")]

    assert settlement_distribution(real(), told, after(20)).probability.min() == 1
    assert settlement_distribution(real(release=0.94), told, after(20)).probability[0] < 0.01


def test_an_overdue_verification_takes_as_long_again() -> None:
    claim = said(after(4), "claim", "a")
    overdue = settlement_distribution(real(), [claim], after(9))

    assert overdue.within(VERIFIED_AFTER - 0.1) < 0.4
    assert overdue.within(VERIFIED_AFTER + 0.1) > overdue.within(VERIFIED_AFTER - 0.1) + 0.2


def further(question: Question, claims: dict[str, float], today: float, rng: np.random.Generator) -> tuple[
    Vector, dict[str, Vector], Vector, Vector, Vector
]:  # fmt: skip
    """Weighted paths from today: whether each open claim passes, and when which lab claims next and passes."""
    general, a = rng.random(PATHS) < 0.5, question.frailty
    z = np.ones(PATHS) if a is None else rng.gamma(a, 1 / a, PATHS)
    weight, passes, genuine, empty = np.ones(PATHS), {}, [], []
    for name, lab in labs_of(question).items():
        if name in claims:
            real_one = np.where(general, disclosure_density(lab, claims[name], z), 0.0)
            other = lab.background * np.where(general, silence_probability(lab, today, z), 1.0)
            weight *= (real_one + other) / lab.background
            true = rng.random(PATHS) < real_one / (real_one + other)
            passes[name] = rng.random(PATHS) < np.where(true, 0.9, 0.1)
            waiting = general & ~true  # who claimed without substance may disclose yet
            still = silence_probability(lab, today, z)
        else:
            still = silence_probability(lab, today, z)
            weight *= np.where(general, still, 1.0)
            waiting = general
        able = waiting & (rng.random(PATHS) < 1 - (1 - lab.disclosure) / still)
        wait = max(lab.lag_months - today, 0.0) + rng.exponential(1, PATHS) / (lab.hazard * z)
        genuine.append(np.where(able, wait, np.inf))
        empty.append(rng.exponential(1, PATHS) / lab.background)
    claimed = np.minimum(genuine, empty)
    who, first = claimed.argmin(axis=0), claimed.min(axis=0)
    own = rng.random(PATHS) < np.where(np.min(genuine, axis=0) <= first, 0.9, 0.1)
    return weight, passes, first, who, own


def followed(question: Question, claims: dict[str, float], today: float, months: float, seed: int) -> tuple[
    Vector, Vector
]:  # fmt: skip
    """Months from today to settlement of weighted paths: beliefs are those of the signals seen, paths those simulated.

    What silence and a second further claim say after the first further claim is left out.
    """
    weight, passes, first, who, own = further(question, claims, today, np.random.default_rng(seed))
    due = {name: at + VERIFIED_AFTER - today for name, at in claims.items()}
    due = {name: wait if wait > 0 else VERIFIED_AFTER for name, wait in due.items()}
    dues, days = sorted(set(due.values())), np.arange(int(months * DAYS_A_MONTH) + 1)
    told = [said(after(at), "claim", name) for name, at in claims.items()]

    @functools.cache
    def settles(known: tuple[tuple[str, bool], ...], lab: str | None, verdict: bool | None, n: int) -> bool:
        day = after(today) + dt.timedelta(days=n)
        more = [said(day, "verification" if yes else "refutation", name) for name, yes in known]
        more += [] if lab is None else [said(day, "claim", lab)]
        more += [] if verdict is None else [said(day, "verification" if verdict else "refutation", str(lab))]
        p = float(generalizable_probability(question, posterior(question, [*told, *more], [day]))[0])
        return max(p, 1 - p) >= question.threshold

    dates = np.full(PATHS, np.inf)
    for outcome in product((True, False), repeat=len(claims)):
        verdicts = dict(zip(claims, outcome, strict=True))

        def known(t: float, verdicts: dict[str, bool] = verdicts) -> tuple[tuple[str, bool], ...]:
            return tuple((name, yes) for name, yes in verdicts.items() if due[name] <= t)

        here = np.all([passes[name] == yes for name, yes in verdicts.items()], axis=0) & np.ones(PATHS, bool)
        moments = sorted([*dues, *(days / DAYS_A_MONTH)])
        quiet = next((t for t in moments if settles(known(t), None, None, int(t * DAYS_A_MONTH))), np.inf)
        dates[here & (first >= quiet)] = quiet
        for n in days:
            on = here & (first < quiet) & (first >= n / DAYS_A_MONTH) & (first < (n + 1) / DAYS_A_MONTH)
            for j, lab in enumerate(question.sources):
                mine, t = on & (who == j), (n + 0.5) / DAYS_A_MONTH
                if settles(known(t), lab, None, int(n)):
                    dates[mine] = first[mine]
                    continue
                later = next((d for d in dues if d > t and settles(known(d), lab, None, int(n))), None)
                if later is not None:
                    dates[mine] = later
                    continue
                for yes in (True, False):
                    if settles(known(np.inf), lab, yes, int(n)):
                        dates[mine & (own == yes)] = first[mine & (own == yes)] + VERIFIED_AFTER
    return dates, weight


LABS = {"a": LAB, "b": DisclosureModel(0.6, 0.05, 0.02), "c": DisclosureModel(0.7, 0.1, 0.03)}


CASES: list[tuple[dict[str, DisclosureModel], dict[str, float], float, float]] = [
    (LABS, {"a": 4.0, "b": 5.0}, 5.5, 0.995),
    (LABS, {"b": 9.0, "a": 12.0}, 12.5, 0.97),
    (LABS, {"a": 2.0, "b": 1.0}, 8.0, 0.998),  # both overdue: they come together
    (LABS, {"a": 14.0, "c": 15.0, "b": 16.0}, 16.2, 0.96),  # nobody is silent any more
    ({"a": LAB, "b": LAB}, {"a": 4.0}, 5.0, 0.95),
    ({"a": LAB, "b": LAB}, {"a": 9.0}, 9.5, 0.9),
    ({"a": LAB, "b": DisclosureModel(0.85, 0.136, 0.3, lag_months=8.0), "c": LAB}, {"a": 5.0}, 6.0, 0.97),
    ({"a": LAB, "b": LAB}, {}, 3.0, 0.9),
    ({"a": LAB, "b": DisclosureModel(0.9, 0.2, 0.01, lag_months=5.0)}, {}, 3.0, 0.93),
]


@pytest.mark.parametrize(("frailty", "case"), some(product([None, 0.5], CASES), 2))  # nine: each with or without
def test_open_claims_silence_and_the_next_claim_settle_as_simulated(
    frailty: float | None, case: tuple[dict[str, DisclosureModel], dict[str, float], float, float]
) -> None:
    labs, claims, today, threshold = case
    question = real(labs=labs, threshold=threshold, frailty=frailty)
    told = [said(after(at), "claim", name) for name, at in claims.items()]
    assert belief_path(question, told, after(today)).settled is None

    found = settlement_distribution(question, told, after(today))
    ahead = (0.0, 0.7, 1.35, 1.65, 2.35, 2.65, 2.85, 3.15, 5.0, *((8.0, 13.5) if THOROUGH else ()))
    dates, weight = followed(question, claims, today, ahead[-1] + 0.5, seed=1)

    weight = weight / weight.sum()
    error = 4 * float(np.sqrt((weight**2).sum())) / 2 + 0.004  # claims stand on whole days
    for months in ahead:
        assert found.within(months) == pytest.approx(float(weight[dates <= months].sum()), abs=error)
    assert found.within(36) > 0.05


def test_the_other_labs_silence_and_claims_count_while_a_claim_is_open() -> None:
    told = [said(after(4), "claim", "a")]
    plain, deaf = real(), real(labs={"a": LAB, "b": DisclosureModel(1e-9, 0.136, 1e-9)})

    found, alone = (settlement_distribution(question, told, after(5)) for question in (plain, deaf))

    assert alone.within(36) == pytest.approx(alone.within(2.1), abs=0.03)  # what else the lab itself may claim
    assert found.within(36) > alone.within(36)
    assert 0.1 < found.within(1.5) < claim_probability(plain, told, after(5), 1.5)


def test_the_horizon_itself_is_within_the_distribution() -> None:
    found = settlement_distribution(real(), [], OPENED, horizon=36.0)

    assert found.months[-1] >= 36


def test_the_density_of_the_first_claim_is_integrated_without_half_a_day_too_much() -> None:
    question = real(labs={"a": DisclosureModel(0.5, 0.1, 5.0), "b": DisclosureModel(0.5, 0.1, 5.0)}, threshold=0.501)

    found = settlement_distribution(replace(question, prior=np.array([0.25, 0.25, 0.25, 0.25])), [], OPENED)

    assert found.probability[0] == 0
