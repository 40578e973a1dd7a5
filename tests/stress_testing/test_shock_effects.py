"""What shocks do to the current and the proposed portfolio, and to the plan re-optimised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadInput, Infeasible
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import no_trade
from allocator.outlook.outlook import build_outlook
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.settings.stress import ShockSection, starter_shocks
from allocator.stress_testing import shock_effects as room
from allocator.stress_testing import shock_effects as study
from allocator.stress_testing.shock_effects import (
    ClaimedEffect,
    ShockEffect,
    effect_without_shock,
    shock_effect,
    shock_stress,
)
from allocator.stress_testing.shocked_book import apply_shock, shock_library
from allocator.stress_testing.stress import stress

BOOKS = ("note", "listed", "reviewed")


@pytest.fixture(scope="module")
def note(root: Path) -> Book:
    return load(root / "tests" / "plain_books" / "note")


@pytest.fixture(scope="module")
def plan(note: Book) -> Plan:
    return rebalance(note)


def struck(plan: Plan, shock: ShockSection) -> ShockEffect:
    outlook = build_outlook(plan.book)
    return shock_effect(plan, outlook, apply_shock(plan.book, outlook, "it", shock))


def test_a_shock_of_nothing_leaves_everything_as_it_was(plan: Plan) -> None:
    found = struck(plan, ShockSection(market=0.0))
    held, planned = effect_without_shock(plan)
    for one, other in ((found.current, held), (found.proposed, planned)):
        assert vars(one) == pytest.approx(vars(other), abs=1e-14)
    assert found.reoptimized is not None
    assert (
        plan.mandate.loss(plan.final, plan.outlook) >= -found.reoptimized.adverse_expected_return - 1e-3
    )  # only whole lots are between


def test_the_effect_on_the_plan_is_that_of_its_lots_by_hand(plan: Plan) -> None:
    outlook = build_outlook(plan.book)
    after = apply_shock(plan.book, outlook, "it", ShockSection(instruments={"META": -0.5}, silent_months=12.0))
    found = shock_effect(plan, outlook, after)
    final, before = plan.final, plan.final.value_before
    worth = final.values @ (1 + after.at_once) + final.cash
    assert found.proposed.immediate_return == pytest.approx(worth / before - 1, abs=1e-14)
    ends = after.growth @ final.values + after.cash_growth * final.cash
    assert found.proposed.expected_return == pytest.approx(after.outlook.probabilities @ ends / before - 1, abs=1e-14)
    worst = -after.mandate.ambiguity.worst_case(1 - ends / before, after.outlook.probabilities)
    assert found.proposed.adverse_expected_return == pytest.approx(worst, abs=1e-14)


def test_reoptimising_is_never_worse_by_what_the_mandate_asks(plan: Plan) -> None:
    """The loss of the targets after the shock against that of standing still, where standing still keeps the rules."""
    outlook, compared = build_outlook(plan.book), 0
    for name, shock in shock_library(plan.book).shocks.items():
        after = apply_shock(plan.book, outlook, name, shock)
        owned = replace(after.book, quantities=plan.final.values / plan.book.prices, cash=plan.final.cash)
        mandate = build_mandate(owned, after.outlook, after.ambiguity)
        after = replace(after, mandate=mandate)
        found = study.reoptimized_after_shock(owned, after)
        assert not isinstance(found, str), name
        trade, _ = found
        standing = no_trade(owned)
        if all(reading.excess <= 1e-9 for reading in mandate.readings(standing, after.outlook)):
            assert mandate.loss(trade, after.outlook) <= mandate.loss(standing, after.outlook) + 1e-9, name
            compared += 1
        turnover = max(trade.bought.sum(), trade.sold.sum()) / trade.value_before
        assert turnover <= 0.40 + 1e-6  # the book's own rule
    assert compared >= 2


def test_a_plan_that_cannot_be_is_said_and_never_left_out(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def impossible(*_: object) -> None:
        raise Infeasible("infeasible: these limits conflict: 'a' and 'b'", ("a", "b"), ())

    monkeypatch.setattr(study, "solve_targets", impossible)
    found = struck(plan, ShockSection(market=-0.1))
    assert found.reoptimized is None
    assert found.why_not == "infeasible: these limits conflict: 'a' and 'b'"
    assert found.turnover is None


@pytest.mark.parametrize("name", BOOKS)
def test_each_starter_shock_has_the_sign_that_its_claim_says_or_a_reason_why_not(root: Path, name: str) -> None:
    made = load(root / "tests" / "plain_books" / name)
    outlook, known = build_outlook(made), shock_library(made)
    told: dict[str, list[ClaimedEffect]] = {
        one: list(room._claimed_signs(made, outlook, apply_shock(made, outlook, one, shock)))
        for one, shock in known.shocks.items()
    }
    assert sum(map(len, told.values())) > 20
    for one, signs in told.items():
        assert all(sign.as_claimed for sign in signs) or known.shocks[one].unlike, one


def test_no_reason_is_given_for_what_is_as_claimed_everywhere(root: Path) -> None:
    unlike = set()
    for name in BOOKS:
        made = load(root / "tests" / "plain_books" / name)
        outlook = build_outlook(made)
        for one, shock in shock_library(made).shocks.items():
            signs = room._claimed_signs(made, outlook, apply_shock(made, outlook, one, shock))
            if any(not sign.as_claimed for sign in signs):
                unlike.add(one)
    assert unlike == {name for name, shock in starter_shocks().items() if shock.unlike}


def test_the_starter_set_speaks_of_every_kind_of_thing_that_a_shock_moves() -> None:
    shocks = starter_shocks().values()
    assert {kind for shock in shocks for kind in ("signals", "silent_months", "model", "scenarios", "multiples",
            "market", "instruments", "delay_months") if getattr(shock, kind)} >= {"signals", "silent_months", "model",
            "scenarios", "multiples", "market", "instruments", "delay_months"}  # fmt: skip
    assert sum(shock.claim is not None for shock in shocks) >= 25


def test_a_shock_of_the_books_own_replaces_the_starter_one(root: Path) -> None:
    made = load(root / "tests" / "plain_books" / "note", overrides=["shocks.market_down_20.market=-0.3"])
    assert shock_library(made).shocks["market_down_20"].market == -0.3


def test_starter_shocks_of_names_that_the_book_has_not_are_left_out_with_the_reason(root: Path) -> None:
    known = shock_library(load(root / "tests" / "plain_books" / "listed"))
    assert "ipo_slips" not in known.shocks
    assert known.left_out["ipo_slips"] == "SPX_XAI: no such instrument in exposures.csv"


def test_unknown_shocks_are_refused_all_at_once(note: Book) -> None:
    with pytest.raises(BadInput) as caught:
        shock_library(note).chosen(("ipo_slip", "market_dwn_20"))
    assert [str(breach).splitlines()[0] for breach in caught.value.breaches] == [
        "--shock: no such shock (got 'ipo_slip'); did you mean 'ipo_slips'?",
        "--shock: no such shock (got 'market_dwn_20'); did you mean 'market_down_20'?",
    ]


def test_what_is_interrupted_keeps_what_is_finished_and_says_so(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    real, done = room.shock_effect, list[str]()

    def twice(*given: object) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append("one")
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(room, "shock_effect", twice)
    found = shock_stress(plan)
    assert len(found.effects) == 2
    assert found.interrupted
    assert found.asked > 20
    assert found.document()["interrupted"]
    monkeypatch.undo()
    whole = shock_stress(plan, tuple(one.name for one in found.effects))
    for one, other in zip(whole.effects, found.effects, strict=True):
        assert vars(one.proposed) == vars(other.proposed)


def test_the_frame_has_a_row_a_shock_and_one_for_none(plan: Plan) -> None:
    frame = stress(plan.book, plan=plan, parts=("shocks",), shocks=("rates_up",)).frame()
    assert list(frame.index) == ["no shock", "rates_up"]
    assert frame.loc["rates_up", "proposed immediate_return"] < frame.loc["no shock", "proposed immediate_return"]
    assert np.isnan(frame.loc["no shock", "reoptimized expected_return"])


def test_effects_do_not_depend_on_the_order_of_the_shocks(plan: Plan) -> None:
    names = ("rates_up", "usage_times_5", "all_silent_12_months")
    one = {found.name: found for found in shock_stress(plan, names).effects}
    other = {found.name: found for found in shock_stress(plan, names[::-1]).effects}
    for name in names:
        assert vars(one[name].reoptimized) == vars(other[name].reoptimized)  # type: ignore[arg-type]
        assert one[name].trades == other[name].trades


SHOCK_OF_A_CLAIM = {
    "2.7x fewer tokens": "tokens_saved_2x",
    "Intelligence Index 52": "training_saved_3x",
    "a single-digit point gap": "training_saved_3x",
    "training costs collapse from": "claim_verified",
    "OpenAI's $17B/year burn": "nothing_reinvested",
    "If inference tokens drop 2-3x": "saving_passed_on",
    "if efficiency forces pricing down 50%": "token_price_halves",
    "Revenue per API call falls 2-3x": "revenue_stagnates",
    "Jevons Paradox": "usage_grows_faster",
    "they are buying infrastructure": "usage_times_5",
    "it could unlock new applications": "demand_beats_saving",
    "a material TCO advantage": "customers_save_30",
    "The 50-54x revenue multiples": "multiples_54_to_25",
    "OpenAI closed a $122B funding round": "half_the_revenue",
    "The capital raise is justified": "raise_undone",
    "The $200B+ capital committed": "capacity_stranded",
    "SpaceX-xAI's $1.25 trillion merger": "ipo_slips",
    "the margin advantage of space-based compute": "orbital_edge_gone",
    "they can train frontier models at 1/10": "meta_at_market_rates",
    "Within 3-6 months": "openai_announces",
    "If both remain silent for 12+ months": "all_silent_12_months",
}


def test_every_claim_of_the_note_is_a_starter_shock(root: Path) -> None:
    claims = set(pd.read_csv(root / "tests" / "plain_books" / "note" / "claims.csv")["claim"])
    known = starter_shocks()
    for claim in claims:
        found = [shock for words, shock in SHOCK_OF_A_CLAIM.items() if claim.startswith(words)]
        assert len(found) == 1, claim
        assert found[0] in known
        assert known[found[0]].expect
    assert all(any(claim.startswith(words) for claim in claims) for words in SHOCK_OF_A_CLAIM)


def test_what_has_no_number_has_no_sign() -> None:
    for sign in ("gains", "falls", "stays"):
        assert ClaimedEffect("X", sign, None).as_claimed is None  # type: ignore[arg-type]
    assert ClaimedEffect("X", "falls", -0.1).as_claimed
    assert not ClaimedEffect("X", "falls", 0.1).as_claimed
    assert ClaimedEffect("X", "stays", 1e-5).as_claimed
