"""The distribution of the settlement date against printed numbers, simulation and arithmetic by hand."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from allocator.outlook.beliefs import DAYS_A_MONTH, Lab, Signal, claim_probability, disclosing, survival
from allocator.outlook.settlement import VERIFIED_AFTER, settlement
from allocator.types import Vector
from tests.outlook.questions import LAB, OPENED, real

MONTHS = (3, 6, 9, 12, 18, 24)
PATHS = 200_000


def after(months: float) -> dt.date:
    return OPENED + dt.timedelta(days=round(months * DAYS_A_MONTH))


def simulated(labs: list[Lab], threshold: float, seed: int) -> Vector:
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
        return np.prod([survival(lab, t) for lab in labs], axis=0)

    grid = np.arange(0, 36, 1e-3)
    general_still = silence(grid) / (1 + silence(grid))
    crossed = np.flatnonzero(np.maximum(general_still, 1 - general_still) >= threshold)
    quiet_until = grid[crossed[0]] if len(crossed) else np.inf
    t = np.minimum(first, 1e6)
    own = np.select([who == j for j in range(len(labs))], [disclosing(lab, t) / survival(lab, t) for lab in labs])
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
    found = settlement(real(threshold=threshold), [], OPENED)

    assert [found.within(m) for m in MONTHS[:-1]] == pytest.approx(printed, abs=0.003)  # 2e5 paths: ±.0011
    assert 1 - found.within(24) == pytest.approx(never, abs=0.003)


@pytest.mark.parametrize(
    ("labs", "threshold"),
    [
        ([LAB, LAB], 0.9),
        ([LAB, LAB], 0.95),
        ([LAB, Lab(0.6, 0.05, 0.02)], 0.9),
        ([LAB, Lab(0.95, 0.3, 0.004), Lab(0.7, 0.1, 0.01)], 0.95),
    ],
)
def test_the_settlement_date_is_distributed_as_simulated(labs: list[Lab], threshold: float) -> None:
    question = real(labs=dict(zip("abc", labs, strict=False)), threshold=threshold)
    found, dates = settlement(question, [], OPENED), simulated(labs, threshold, seed=20261120)

    for m in (*MONTHS, 2.0, 4.5, 16.0, 30.0):
        share = float((dates <= m).mean())
        # four standard errors, and a day's mass for the trapezium rule
        day = float(((dates > m - 1 / DAYS_A_MONTH) & (dates <= m + 1 / DAYS_A_MONTH)).mean())
        assert found.within(m) == pytest.approx(share, abs=4 * np.sqrt(max(share * (1 - share), 1e-4) / PATHS) + day)


def test_the_probability_of_being_settled_never_falls() -> None:
    for frailty in (None, 0.5):
        found = settlement(real(frailty=frailty), [], after(2))

        assert (np.diff(found.probability) >= 0).all()
        assert 0 <= found.probability[0] <= found.probability[-1] <= 1


def test_a_question_that_silence_cannot_settle_may_never_be_settled() -> None:
    found = settlement(real(threshold=0.979), [], OPENED, horizon=240.0)

    assert found.within(240) < 0.6
    assert found.within(240) == pytest.approx(found.within(120), abs=0.02)


def test_what_is_settled_stays_so_in_the_distribution() -> None:
    found = settlement(real(), [], after(20))

    assert found.probability.min() == 1


def test_an_outstanding_claim_waits_for_its_verification() -> None:
    claim = Signal(after(4), "claim", "a")
    h = float(disclosing(LAB, 4.0) / survival(LAB, 4.0))
    share, p = h / (h + LAB.background), 0.853
    passes = p * (share * 0.9 + (1 - share) * 0.1) + (1 - p) * 0.1

    found = settlement(real(), [claim], after(5))

    assert found.within(1.9) == 0
    assert found.within(2.1) == pytest.approx(passes, abs=0.02)  # a month of the other lab's silence has passed
    assert found.within(36) == found.within(2.1)


def test_a_claim_that_settles_at_once_needs_no_verification() -> None:
    found = settlement(real(threshold=0.8), [Signal(after(4), "claim", "a")], after(4))

    assert found.probability.min() == 1


def test_labs_that_have_all_been_judged_leave_nothing_to_wait_for() -> None:
    day = after(12)
    signals = [Signal(day, kind, lab) for lab in "ab" for kind in ("claim", "refutation")]

    assert settlement(real(threshold=0.99), signals, day).probability.max() == 0


@pytest.mark.parametrize("frailty", [None, 0.5])
@pytest.mark.parametrize("judged", [False, True])
def test_where_every_claim_settles_the_date_is_that_of_the_next_claim(frailty: float | None, *, judged: bool) -> None:
    day = after(4 if judged else 0)
    signals = [Signal(day, "claim", "a"), Signal(day, "refutation", "a")] if judged else []
    question = real(threshold=0.8 if judged else 0.75, frailty=frailty)

    found = settlement(question, signals, day)

    for months in (0.5, 1.0, 2.0):
        assert found.within(months) == pytest.approx(claim_probability(question, signals, day, months), abs=2e-3)
