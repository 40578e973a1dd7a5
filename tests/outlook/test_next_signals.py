"""What each next signal would do and when silence settles: printed numbers, Bayes by hand, the scan of every day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import allocator.outlook.belief_report as under_test
from allocator.outlook.belief_report import next_signals
from allocator.outlook.posterior import belief_path, elasticity, posterior, settled_by_silence
from allocator.outlook.question import DAYS_A_MONTH, DemandElasticity, DisclosureModel, Question, Signal
from tests.outlook.questions import (
    OPENED,
    asked,
    at,
    demand_expansion_probability,
    generalizable_probability,
    real,
    said,
    usage,
)

DEMAND = DemandElasticity(1.2, 0.6, 0.25)


def after(months: float) -> dt.date:
    return OPENED + dt.timedelta(days=round(months * DAYS_A_MONTH))


def test_each_possible_next_signal_says_what_it_would_do() -> None:
    day, claim = at(4), said(at(4), "claim", "a")
    kinds = {one.what: float(one.hypotheses[0]) for one in next_signals(asked(), [claim], day)}

    assert list(kinds) == ["verification of a", "refutation of a", "claim by b"]
    assert [round(p, 3) for p in kinds.values()] == [0.980, 0.503, 0.988]
    judged = [claim, said(day, "verification", "a"), said(day, "claim", "b"), said(day, "refutation", "b")]
    assert [one.what for one in next_signals(asked(), judged, day)] == ["claim by b"]  # who was refuted may claim again


@pytest.mark.parametrize(("threshold", "printed"), [(0.95, 17.430), (0.90, 11.279)])
def test_silence_settles_on_the_date_of_the_closed_form(threshold: float, printed: float) -> None:
    share = ((1 - threshold) / threshold) ** 0.5
    closed = -np.log((share - 0.15) / 0.85) / 0.136
    day = settled_by_silence(real(threshold=threshold), [], OPENED)

    assert closed == pytest.approx(printed, abs=6e-4)
    assert day is not None
    assert 0 <= (day - OPENED).days / DAYS_A_MONTH - closed < 1 / DAYS_A_MONTH


def test_silence_never_settles_beyond_the_floor_that_labs_who_never_disclose_leave() -> None:
    floor = 1 / (1 + 0.15**-2)

    assert floor == pytest.approx(0.0220, abs=5e-5)
    assert settled_by_silence(asked(threshold=1 - floor + 1e-6), [], OPENED) is None
    assert settled_by_silence(asked(threshold=1 - floor - 1e-4), [], OPENED) is not None


def test_a_usage_figure_may_come_next_where_demand_is_modelled() -> None:
    question, day = asked(demand=DEMAND, prior=np.array([0.4, 0.05, 0.15, 0.4])), at(4)
    found = {one.what: one for one in next_signals(question, [], day)}

    assert list(found) == [
        "claim by a", "claim by b", "usage +20% as prices fall 30%", "usage +43% as prices fall 30%",
        "usage +104% as prices fall 30%",
    ]  # fmt: skip
    for name, slope in zip(list(found)[2:], (0.5, 1.0, 2.0), strict=True):
        figure = usage(day, np.log(1 / 0.7), slope * np.log(1 / 0.7))
        told = posterior(question, [figure], [day])[0]
        assert found[name].hypotheses[0] == pytest.approx(told[:2].sum(), abs=1e-14)
        assert (found[name].regimes or {})["jevons"] == pytest.approx(told[[0, 2]].sum(), abs=1e-14)
    assert demand_expansion_probability(*elasticity(DEMAND, [figure])) > 0.85
    jevons = [(one.regimes or {})["jevons"] for one in found.values()]
    assert jevons[2] < posterior(question, [], [day])[0][[0, 2]].sum() < jevons[4]
    assert jevons[0] > 0.6  # a claim moves the other axis too where the prior is not a product


def test_without_a_model_of_demand_no_signal_says_anything_of_it() -> None:
    found = next_signals(asked(), [], at(4))

    assert [(one.what, one.regimes) for one in found] == [("claim by a", None), ("claim by b", None)]


# Silence


def drawn(seed: int) -> tuple[Question, list[Signal], dt.date]:
    """A question of one to three labs with some signals, and a day after them."""
    draw = np.random.default_rng(seed)
    names = "abc"[: draw.integers(1, 4)]
    labs = {name: DisclosureModel(draw.uniform(0.3, 0.99), draw.uniform(0.02, 1), draw.uniform(0.002, 0.05),
                      draw.uniform(0, 9)) for name in names}  # fmt: skip
    prior = draw.dirichlet(np.ones(4))
    given: dict[str, Any] = {"labs": labs, "prior": prior, "threshold": draw.uniform(0.6, 0.97), "release": 0.55,
                             "frailty": draw.choice([None, 0.5, 3.0])}  # fmt: skip
    signals = []
    for name in names:
        if draw.random() < 0.4:
            signals.append(said(after(draw.uniform(0, 6)), "claim", name))
            if draw.random() < 0.6:
                kind = "verification" if draw.random() < 0.4 else "refutation"
                signals.append(said(after(draw.uniform(6, 8)), kind, name))
    return real(**given), signals, after(draw.uniform(8, 12))


def every_day(question: Question, signals: Sequence[Signal], day: dt.date) -> dt.date | None:
    """The first of the days of twenty years on which the belief is beyond the threshold."""
    days = [day + dt.timedelta(days=n) for n in range(7300)]
    path = np.concatenate([generalizable_probability(question, posterior(question, signals, days[i : i + 730]))
                           for i in range(0, 7300, 730)])  # fmt: skip
    there = np.flatnonzero(np.maximum(path, 1 - path) >= question.threshold)
    return days[there[0]] if len(there) else None


def test_silence_settles_on_the_day_that_a_scan_of_every_day_finds() -> None:
    kinds = {"settled already": 0, "by silence": 0, "never": 0}
    for seed in range(60):
        question, signals, day = drawn(seed)
        found, past = settled_by_silence(question, signals, day), belief_path(question, signals, day)
        if past.settled is not None:
            kinds["settled already"] += 1
            assert found == past.since
            continue
        kinds["never" if found is None else "by silence"] += 1
        assert found == every_day(question, signals, day)
    assert min(kinds.values()) >= 5


def test_the_day_of_silence_is_found_without_looking_at_every_day(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[dt.date] = []

    def counted(question: Question, signals: Sequence[Signal], days: Sequence[dt.date]) -> Any:
        looked.extend(days)
        return posterior(question, signals, days)

    monkeypatch.setattr(under_test, "posterior", counted)

    assert settled_by_silence(real(), [], OPENED) == every_day(real(), [], OPENED)
    assert len(looked) < 300


def test_tomorrows_claim_is_not_silence() -> None:
    late = [said(after(8), "claim", "a")]

    assert settled_by_silence(real(), late, after(4)) == settled_by_silence(real(), [], after(4))


def test_a_question_that_is_settled_was_so_from_the_day_on_which_it_last_became_so() -> None:
    told = [said(after(4), "claim", "a"), said(after(5), "verification", "a")]
    day = after(20)
    past = belief_path(real(), told, day)

    assert 0.85 < past.hypotheses[-1, 0] < 0.95  # below the threshold again, and not below the release
    assert (past.settled, past.since) == ("generalizable", after(5))
    assert settled_by_silence(real(), told, day) == after(5)
    released = belief_path(real(release=0.94), told, day)
    assert (released.settled, released.since) == (None, None)
    assert belief_path(real(), [], after(30)).since == settled_by_silence(real(), [], OPENED)


def test_the_way_here_is_the_same_in_one_piece_as_in_blocks() -> None:
    day = OPENED + dt.timedelta(days=5000)
    told = [said(after(4), "claim", "a")]
    past = belief_path(real(frailty=0.5), told, day)

    assert (past.days[0], past.days[-1], len(past.days)) == (OPENED, day, 5001)
    np.testing.assert_allclose(past.beliefs, posterior(real(frailty=0.5), told, past.days), atol=1e-15)
