"""A book after a shock: what prices do at once, what is believed then, and what names return from there."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.ambiguity.balls import TotalVariation
from allocator.ambiguity.sets import ambiguity_set
from allocator.book.book import Book
from allocator.book.checks.stress import check_shock, days_after
from allocator.book.loading import load
from allocator.outlook.calibration import build_question, calibrate, dated_signals
from allocator.outlook.outlook import build_outlook
from allocator.outlook.posterior import posterior, update_market_probabilities
from allocator.outlook.scenario_tree import build_review_tree
from allocator.settings.stress import ShockSection
from allocator.stress_testing.shocked_book import ShockedBook, apply_shock, names_in_book, shock_library
from tests.books import book
from tests.outlook.questions import said


def shock(**given: Any) -> ShockSection:
    return ShockSection.model_validate(given)


def struck(made: Book, **given: Any) -> ShockedBook:
    return apply_shock(made, build_outlook(made), "it", shock(**given))


@pytest.fixture(scope="module")
def note(root: Path) -> Book:
    return load(root / "tests" / "plain_books" / "note")


def with_share(root: Path, share: float) -> Book:
    return load(root / "tests" / "plain_books" / "note", overrides=[f"horizon.announcement_share={share}"])


def test_a_name_falls_by_its_own_number_else_its_buckets_else_by_the_market_times_its_beta(note: Book) -> None:
    found = struck(note, market=-0.1, buckets={"adopter": -0.3}, instruments={"META": 0.05})
    beta = note.exposures["beta"].to_numpy(dtype=float)
    expected = np.where(note.exposures["bucket"] == "adopter", -0.3, -0.1 * beta)
    expected[note.instruments.index("META")] = 0.05
    assert found.at_once == pytest.approx(expected, abs=1e-15)
    assert found.book.prices == pytest.approx(note.prices * (1 + expected), rel=1e-15)


def test_what_a_shock_of_prices_takes_is_lost_for_good(note: Book) -> None:
    """From there a name returns what it returned before: the fall is not earned back."""
    found = struck(note, instruments={"META": -0.4})
    before = build_outlook(note)
    assert found.outlook.returns == pytest.approx(before.returns, abs=1e-15)
    i = note.instruments.index("META")
    assert found.growth[:, i] == pytest.approx(0.6 * (1 + before.returns[:, i]), rel=1e-15)


def test_a_name_that_loses_everything_still_has_a_price(note: Book) -> None:
    found = struck(note, instruments={"META": -1.0})
    i = note.instruments.index("META")
    assert 0 < found.book.prices[i] <= 1e-8 * note.prices[i]
    assert np.isfinite(found.outlook.returns).all()


def test_factors_move_names_by_their_exposures() -> None:
    oil = {"AAA": 1.0, "BBB": -2.0, "CCC": 0.0, "DDD": 0.5}
    made = book(factors=pd.DataFrame({"instrument": [*oil], "oil": [*oil.values()], "source": "a test"}))
    found = struck(made, factors={"oil": 0.1}, market=-0.2)
    assert found.at_once == pytest.approx([-0.2 + 0.1 * oil[name] for name in made.instruments])


def test_silence_is_believed_as_if_that_much_later_nobody_had_spoken(note: Book) -> None:
    question = build_question(note)
    assert question is not None
    later = days_after(note.settings, 12)
    assert later == dt.date(2027, 11, 21)  # 365.25 days
    expected = posterior(question, dated_signals(note), [later])[0]
    assert struck(note, silent_months=12.0).outlook.probabilities == pytest.approx(expected, abs=1e-14)


def test_a_claim_is_believed_on_its_own_day_with_the_silence_of_the_others_until_then(note: Book) -> None:
    question = build_question(note)
    assert question is not None
    day = days_after(note.settings, 3)
    told = [*dated_signals(note), said(day, "claim", "OpenAI")]
    expected = posterior(question, told, [day])[0]
    found = struck(note, signals=[{"kind": "claim", "source": "OpenAI", "after_months": 3.0}])
    assert found.outlook.probabilities == pytest.approx(expected, abs=1e-14)
    assert found.hypotheses["generalizable"] == pytest.approx(float(expected[:2].sum()), abs=1e-14)


def test_every_lab_is_each_that_has_claimed_nothing(note: Book) -> None:
    every = struck(note, signals=[{"kind": "claim", "source": "every lab"}])
    each = struck(note, signals=[{"kind": "claim", "source": name} for name in ("OpenAI", "Google", "Anthropic")])
    one = struck(note, signals=[{"kind": "claim", "source": "OpenAI"}])
    assert every.outlook.probabilities == pytest.approx(each.outlook.probabilities, abs=1e-15)
    assert every.outlook.probabilities[:2].sum() > one.outlook.probabilities[:2].sum() + 0.1


def test_the_announcement_share_parts_what_comes_at_once_from_what_comes_later_and_not_the_whole(root: Path) -> None:
    silence = {"silent_months": 24.0}
    none, half, whole = (struck(with_share(root, share), **silence) for share in (0.0, 0.5, 1.0))
    assert np.abs(none.at_once).max() == 0
    assert np.abs(whole.at_once).max() > 0.01
    for found in (none, half, whole):  # the market's anchor moves with the share, so each beside its own growth
        own = build_outlook(with_share(root, {id(none): 0.0, id(half): 0.5, id(whole): 1.0}[id(found)]))
        assert found.growth == pytest.approx(1 + own.returns, abs=1e-15)
        assert (1 + found.at_once) * (1 + found.outlook.returns) == pytest.approx(found.growth, rel=1e-14)


def test_at_a_whole_announcement_share_names_return_what_they_must_under_the_markets_own_view(root: Path) -> None:
    made = with_share(root, 1.0)
    found = struck(made, signals=[{"kind": "claim", "source": "Google", "after_months": 2.0}])
    model, question = calibrate(made), build_question(made)
    assert model is not None
    assert model.market_now is not None
    assert question is not None
    day = days_after(made.settings, 2)
    told = [*dated_signals(made), said(day, "claim", "Google")]
    assert model.market_then is not None
    assert made.settings.market is not None
    market = update_market_probabilities(question, model.market_then, told, [made.settings.market.date, day])[-1]
    required = (1 + model.loadings.required_return) ** made.settings.years - 1
    assert market @ found.outlook.returns == pytest.approx(required, abs=1e-12)


def test_a_parameter_of_the_model_changes_worth_and_not_the_price_that_was_paid(root: Path) -> None:
    """Against a book whose own model has that parameter: there the anchor moved too, as prices knew it all along."""
    made = load(root / "tests" / "plain_books" / "listed")
    found = struck(made, model={"token_reduction": 2.0}, scenarios={"every": {"usage_elasticity": 1.2}})
    elasticities = [f"scenarios.{name}.usage_elasticity=1.2" for name in made.scenarios]
    other = load(root / "tests" / "plain_books" / "listed", overrides=["model.token_reduction=2.0", *elasticities])
    own, knew = calibrate(made), calibrate(other)
    assert own is not None
    assert knew is not None
    assert found.growth == pytest.approx((1 + knew.returns) * knew.anchor / own.anchor, rel=1e-12)
    share = float(made.settings.horizon.announcement_share or 0)
    assert found.at_once == pytest.approx((knew.anchor / own.anchor) ** share - 1, abs=1e-12)
    assert found.outlook.probabilities == pytest.approx(build_outlook(made).probabilities, abs=0)


def test_a_fall_of_multiples_is_taken_as_it_is_stated_whatever_share_of_news_comes_at_once(root: Path) -> None:
    for share in (0.0, 0.6, 1.0):
        made = with_share(root, share)
        own, loading = build_outlook(made), made.exposures["multiple_loading"].to_numpy()
        found = struck(made, multiples=0.77)
        assert found.at_once == pytest.approx(np.exp(-0.77 * loading) - 1, abs=1e-15)
        assert found.outlook.returns == pytest.approx(own.returns, abs=1e-15)  # what it takes is lost for good
        assert found.outlook.probabilities == pytest.approx(own.probabilities, abs=0)


def test_a_fall_of_multiples_stands_beside_the_markets_and_not_beside_a_names_own_number(note: Book) -> None:
    loading, beta = (note.exposures[name].to_numpy() for name in ("multiple_loading", "beta"))
    found = struck(note, market=-0.08, multiples=0.2, instruments={"META": 0.1})
    both = (1 - 0.08 * beta) * np.exp(-0.2 * loading) - 1
    others = [i for i, name in enumerate(note.instruments) if name != "META"]
    assert found.at_once[others] == pytest.approx(both[others], abs=1e-15)
    assert found.at_once[note.instruments.index("META")] == pytest.approx(0.1, abs=1e-15)


def test_multiples_from_54_to_25_take_from_the_notes_holdings_what_the_issue_says(note: Book) -> None:
    library = shock_library(note)
    found = apply_shock(note, build_outlook(note), "multiples_54_to_25", library.shocks["multiples_54_to_25"])
    assert float(found.at_once @ note.weights) == pytest.approx(-0.287, abs=5e-4)


def test_one_scenarios_own_number_goes_before_that_of_every(note: Book) -> None:
    found = struck(note, scenarios={"every": {"capacity": 1.5}, "proprietary_jevons": {"capacity": 0.8}})
    capacities = {name: scenario.capacity for name, scenario in found.book.settings.scenarios.items()}
    assert capacities == {name: 0.8 if name == "proprietary_jevons" else 1.5 for name in capacities}


def test_returns_that_are_typed_in_are_moved_by_news_and_by_no_parameter(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "note"
    shutil.copytree(root / "tests" / "plain_books" / "note", folder)
    (folder / "scenario_returns.csv").write_text(
        "instrument,generalizable_jevons,generalizable_compression,proprietary_jevons,proprietary_compression\n"
        "META,0.2,0.1,0.3,-0.1\n"
    )
    made = load(folder)
    i = made.instruments.index("META")
    found = struck(made, model={"token_reduction": 2.0})
    assert found.unmoved == ("META",)
    assert found.growth[:, i] == pytest.approx([1.2, 1.1, 1.3, 0.9])
    assert found.at_once[i] == pytest.approx(0, abs=1e-15)
    assert struck(made, silent_months=12.0).at_once[i] != 0


def test_the_set_is_as_wide_as_the_evidence_leaves_it(note: Book) -> None:
    """The radius is caution x (1 - the likelier answer's probability); settled by silence there is none."""
    claimed = struck(note, signals=[{"kind": "claim", "source": "OpenAI", "after_months": 3.0}])
    assert claimed.hypotheses is not None
    assert isinstance(claimed.mandate.ambiguity, TotalVariation)
    likelier = max(claimed.hypotheses.values())
    assert claimed.mandate.ambiguity.radius == pytest.approx(0.5 * (1 - likelier), abs=1e-12)
    silent = struck(note, silent_months=120.0)
    assert silent.hypotheses is not None
    assert silent.hypotheses["generalizable"] < 0.05
    assert getattr(silent.mandate.ambiguity, "radius", 0.0) == 0


def test_lock_ups_are_put_off(note: Book) -> None:
    found = struck(note, delay_months=12.0)
    before = note.exposures.loc["SPX_XAI", "tradable_from"]
    assert (found.book.exposures.loc["SPX_XAI", "tradable_from"] - before).days == 366
    assert np.abs(found.at_once).max() < 1e-14


def test_the_shock_that_the_page_shows_can_be_asked(root: Path) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```$", (root / "docs" / "stress.md").read_text("utf-8"), re.M | re.S)
    text, structure = [block for block in blocks if "[shocks." in block]
    made = load(root / "tests" / "plain_books" / "note")
    (name,) = tomllib.loads(text)["shocks"]
    own = ShockSection.model_validate(tomllib.loads(text)["shocks"][name])
    assert not list(check_shock(names_in_book(made), name, own))
    found = apply_shock(made, build_outlook(made), name, own)
    assert found.hypotheses is not None
    assert found.hypotheses["generalizable"] > 0.5

    shocks = {name: ShockSection.model_validate(shock) for name, shock in tomllib.loads(structure)["shocks"].items()}
    with_them = replace(made, settings=made.settings.model_copy(update={"shocks": shocks}))
    library = shock_library(with_them).shocks
    assert set(shocks) <= set(library)
    assert library["black_monday"].beta_times == 1.5
    assert not [breach for name in shocks for breach in check_shock(names_in_book(with_them), name, library[name])]


def test_a_verdict_leaves_the_radius_of_regimes_and_a_usage_figure_releases_it(root: Path) -> None:
    overrides = [
        f"robust.{axis}.{key}"
        for axis in ("question", "regime")
        for key in ("set=total_variation", "schedule=caution", "caution=0.5")
    ]
    made = load(root / "tests" / "plain_books" / "note", overrides=overrides)
    before = ambiguity_set(made, build_outlook(made))
    rows = [{"kind": "claim", "source": "OpenAI", "after_months": 0}]
    verdict = [*rows, {"kind": "verification", "source": "OpenAI", "after_months": 0}]
    figures = [{"kind": "usage", "price_fall": 0.3, "usage_growth": 0.6, "after_months": 1}]
    verified, told = (struck(made, signals=signals).ambiguity for signals in (verdict, figures))

    answers = ["generalizable", "proprietary"]
    assert verified.reach < before.reach
    assert verified.regime_reach(answers) == pytest.approx(before.regime_reach(answers), abs=1e-12)
    released, stated = told.regime_reach(answers), before.regime_reach(answers)
    assert released is not None
    assert stated is not None
    assert sum(released.values()) < sum(stated.values())


def test_news_of_before_a_shock_is_digested_by_the_next_review_as_without_it(root: Path) -> None:
    made = load(root / "data" / "reviewed")
    after = struck(made, market=-0.1)
    plain, shocked = (
        build_review_tree(*each).tree for each in ((made, build_outlook(made)), (after.book, after.outlook))
    )

    np.testing.assert_allclose(shocked.growth, plain.growth, rtol=1e-12)


def test_what_a_shock_tells_is_undigested_news_of_its_day(root: Path) -> None:
    made = load(root / "data" / "note")
    after = struck(made, model={"token_reduction": 3.0})
    parts = after.outlook.expected_parts()[:, :-1]
    came = np.log(1 + after.at_once) / 0.6  # of which the announcement share came at once

    assert after.outlook.priced is not None
    before = build_outlook(made).priced
    assert before is not None
    np.testing.assert_allclose(after.outlook.priced.undigested, before.undigested + came, atol=1e-12)
    np.testing.assert_allclose(
        np.nansum(parts, axis=0), after.outlook.probabilities @ after.outlook.returns, atol=1e-12
    )
