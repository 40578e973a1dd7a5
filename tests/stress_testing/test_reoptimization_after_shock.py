"""What is re-optimised after a shock: by whom, at which prices, around which belief, under which rules."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.ambiguity.polyhedral import ExpertHull
from allocator.ambiguity.sets import ambiguity_set
from allocator.ambiguity.transport import Wasserstein
from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadMandate
from allocator.mandate.builder import build_mandate
from allocator.multistage.mandate import build_multistage_mandate
from allocator.outlook.outlook import build_outlook
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.rules import NoTrade
from allocator.settings.stress import ShockSection
from allocator.stress_testing import shock_effects
from allocator.stress_testing.shock_effects import ShockEffect, shock_effect, shock_stress
from allocator.stress_testing.shocked_book import apply_shock
from allocator.types import Matrix
from tests.agreement import HOLDINGS
from tests.books import CASH, NAMES, book


def struck(plan: Plan | Plan, **given: Any) -> ShockEffect:
    outlook = build_outlook(plan.book)
    return shock_effect(plan, outlook, apply_shock(plan.book, outlook, "it", ShockSection.model_validate(given)))


@pytest.fixture(scope="module")
def reviewed(root: Path) -> Book:
    return load(root / "tests" / "plain_books" / "reviewed")


def test_returns_that_are_typed_in_move_once_with_reviews_too(root: Path, tmp_path: Path, reviewed: Book) -> None:
    """The model's own returns, typed in for some names, are shock_effects on as the model's are."""
    typed = tmp_path / "typed"
    shutil.copytree(root / "tests" / "plain_books" / "reviewed", typed)
    outlook = build_outlook(reviewed)
    rows = {name: outlook.returns[:, reviewed.instruments.index(name)] for name in ("META", "OPENAI", "GPU")}
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(reviewed.scenarios)).rename_axis("instrument")
    frame.to_csv(typed / "scenario_returns.csv")
    told: dict[str, Any] = {"silent_months": 4.0}
    by_model, by_hand = (struck(rebalance(made), **told) for made in (reviewed, load(typed)))
    assert by_model.reoptimized is not None
    assert by_hand.reoptimized is not None
    assert vars(by_hand.reoptimized) == pytest.approx(vars(by_model.reoptimized), abs=HOLDINGS)
    assert by_hand.turnover == pytest.approx(by_model.turnover, abs=1e-5)


@pytest.fixture(scope="module")
def near(root: Path) -> Book:
    """The reviewed book around a metric that a shock of the model would move."""
    wanted = ["robust.set=wasserstein", "robust.metric={pass_through=1.0}", "robust.radius=0.1"]
    return load(root / "tests" / "plain_books" / "reviewed", overrides=wanted)


def metric_of(book: Book) -> Matrix:
    ambiguity = ambiguity_set(book, build_outlook(book))
    assert isinstance(ambiguity, Wasserstein)
    return ambiguity.metric


def test_distances_between_scenarios_stay_those_of_the_book_when_a_shock_moves_parameters(near: Book) -> None:
    outlook = build_outlook(near)
    after = apply_shock(near, outlook, "it", ShockSection(scenarios={"every": {"pass_through": 1.0}}))
    assert isinstance(after.ambiguity, Wasserstein)
    assert after.ambiguity.metric == pytest.approx(metric_of(near))
    assert np.abs(metric_of(after.book)).max() == 0  # by its own numbers all scenarios would be one place


def test_with_reviews_too_the_distances_stay_those_of_the_book(near: Book) -> None:
    after = apply_shock(near, build_outlook(near), "it", ShockSection(scenarios={"every": {"pass_through": 1.0}}))
    guarded = build_multistage_mandate(after.book, after.outlook, after.ambiguity).mandates[0].ambiguity
    assert isinstance(guarded, Wasserstein)
    assert guarded.metric == pytest.approx(metric_of(near))


def test_experts_have_heard_the_news_when_a_tree_is_reoptimised(root: Path) -> None:
    first = (
        "{generalizable_jevons=0.4, generalizable_compression=0.3, proprietary_jevons=0.2, proprietary_compression=0.1}"
    )
    second = first.replace("0.4", "x").replace("0.1", "0.4").replace("x", "0.1")
    wanted = ["robust={set='hull'}", f"robust.experts.one={first}", f"robust.experts.two={second}"]
    made = load(root / "tests" / "plain_books" / "reviewed", overrides=wanted)
    told = ShockSection.model_validate({"signals": [{"kind": "claim", "source": "OpenAI", "after_months": 3.0}]})
    after = apply_shock(made, build_outlook(made), "it", told)
    then = shock_effects._by_the_day(after.book, after)
    outlook = shock_effects._from_the_day(after.book, then, after.outlook, told)
    guarded = build_multistage_mandate(then, outlook, after.ambiguity).mandates[0].ambiguity
    assert isinstance(guarded, ExpertHull)
    assert isinstance(after.ambiguity, ExpertHull)
    assert guarded.experts == pytest.approx(after.ambiguity.experts, abs=1e-12)
    stated = ambiguity_set(made, build_outlook(made))
    assert isinstance(stated, ExpertHull)
    assert np.abs(stated.experts - guarded.experts).max() > 0.03


def test_volumes_and_impact_are_of_the_account_that_owns_the_plan() -> None:
    columns = {"average_daily_volume": [4.0] * len(NAMES)}
    wish = {"mandate": {"max_participation": 0.5}, "costs": {"impact": 0.1}}
    made = book(wish, exposures_columns=columns, returns={"base": [0.01, 0.02, 0.03, 0.2]})
    plan = rebalance(made)
    outlook = build_outlook(made)
    after = apply_shock(made, outlook, "it", ShockSection(market=-0.5))
    owned = replace(after.book, quantities=plan.final.values / made.prices, cash=plan.final.cash)
    own, others = build_mandate(owned, after.outlook, after.ambiguity), build_mandate(after.book, after.outlook)
    assert own.impact is not None
    assert others.impact is not None
    assert own.impact == pytest.approx(others.impact * np.sqrt(owned.value / after.book.value), rel=1e-12)
    found = shock_effect(plan, outlook, after)
    traded = dict(found.trades)
    assert abs(traded["DDD"]) * owned.value == pytest.approx(0.5 * 4.0 * 50.0, rel=1e-4)  # of the fallen volume


def test_what_is_free_by_the_day_of_the_plan_stays_free_when_lock_ups_are_put_off() -> None:
    days = [pd.Timestamp("2026-01-01"), pd.Timestamp("2027-03-01"), pd.NaT, pd.NaT]
    made = book(exposures_columns={"tradable_from": days})
    after = apply_shock(made, build_outlook(made), "it", ShockSection(delay_months=12.0))
    locked = [rule.names for rule in after.mandate.linear_rules if isinstance(rule, NoTrade)]
    assert locked == [("BBB",)]
    assert after.book.exposures["tradable_from"]["AAA"] == pd.Timestamp("2026-01-01")
    assert after.book.exposures["tradable_from"]["BBB"] == pd.Timestamp("2028-02-29") + pd.Timedelta("1D")


def test_a_benchmark_is_held_and_moves_with_prices() -> None:
    """Who holds the benchmark is as near to it after a fall as before."""
    weights = pd.DataFrame({"instrument": [*NAMES, CASH], "weight": [0.25, 0.25, 0.25, 0.25, 0.0]})
    wish = {"mandate": {"max_tracking_error": 0.001, "min_cash": 0.0}}
    made = book(wish, cash=0.0, benchmark=weights)
    plan = rebalance(made)
    assert plan.after.tracking_error == pytest.approx(0.0, abs=1e-9)
    found = struck(plan, instruments={"AAA": -0.6})
    assert found.limit_breaches == ()
    after = apply_shock(made, build_outlook(made), "it", ShockSection(instruments={"AAA": -0.6}))
    assert after.book.benchmark is not None
    assert after.book.benchmark.to_numpy() == pytest.approx(np.array([0.1, 0.25, 0.25, 0.25, 0.0]) / 0.85, abs=1e-15)
    assert made.benchmark is not None
    assert made.benchmark["AAA"] == 0.25


def test_a_name_that_loses_everything_is_not_bought_back() -> None:
    made = book({"mandate": {"max_weight": 0.4}}, returns={"base": [0.5, 0.02, 0.03, 0.04]})
    plan = rebalance(made)
    bought = struck(plan, instruments={"AAA": -0.99})
    assert dict(bought.trades)["AAA"] > 0.1  # what has a price left, and half of it to earn, is bought
    found = struck(plan, instruments={"AAA": -1.0})
    assert found.worthless == ("AAA",)
    assert "AAA" not in dict(found.trades)
    assert found.reoptimized is not None
    assert found.why_not is None


def test_a_worthless_name_that_must_not_be_held_is_no_contradiction() -> None:
    made = book({"mandate": {"forbidden": ["AAA"]}})
    found = struck(rebalance(made), instruments={"AAA": -1.0})
    assert found.worthless == ("AAA",)
    assert found.reoptimized is not None


@pytest.fixture(scope="module")
def fenced(root: Path) -> Plan:
    """A book whose limits hold today and leave out what a proof would make it believe."""
    weights = "{generalizable_jevons=1.0, generalizable_compression=1.0}"
    wanted = ["robust={set='polytope'}", f"robust.limits.answer={{weights={weights}, max=0.75, min=0.1}}"]
    return rebalance(load(root / "tests" / "plain_books" / "note", overrides=wanted))


def test_a_shock_beyond_the_limits_is_said_and_the_others_are_kept(fenced: Plan) -> None:
    found = shock_stress(fenced)
    assert set(found.refused) >= {"claim_verified"}
    assert "robust.limits" in found.refused["claim_verified"]
    assert "leaves out what we would believe after the shock" in found.refused["claim_verified"]
    assert len(found.effects) + len(found.refused) == found.asked
    assert len(found.effects) > 15
    assert not found.interrupted
    assert found.document()["refused"] == dict(found.refused)


def test_a_shock_beyond_the_limits_is_refused_where_it_is_all_that_is_asked(fenced: Plan) -> None:
    with pytest.raises(BadMandate, match="leaves out what we would believe after the shock"):
        shock_stress(fenced, ("claim_verified",))
