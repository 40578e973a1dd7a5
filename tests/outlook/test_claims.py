"""The note's arithmetic, line by line: what the figures give, and the verdict on each claim. Worked by hand."""

from __future__ import annotations

from math import log
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from allocator.errors import BadInput
from allocator.outlook.efficiency_model import ModelScenarios, Technique, market_quantities
from allocator.outlook.efficiency_model_claims import FORMULAS, CheckedClaim, check_claims
from allocator.outlook.question import DisclosureModel, silence_probability

if TYPE_CHECKING:
    from tests.conftest import Folder

WORKED = {
    "token_ratio": (120 / 58, 157 / 58, 1e-12),
    "score_ratio": (0.912, 0.981, 5e-4),
    "score_gap": (1, 5, 0),
    "training_cost_after": (50, 100, 0),
    "burn_after": (9.656, 12.35, 5e-3),
    "volume_to_hold_revenue": (2**0.25, 3, 1e-12),
    "volume_at_price_cut": (2, 2, 0),
    "revenue_multiplier": (5 / 3, 5, 1e-12),
    "price_cut_that_stagnates": (0.8, 0.9, 1e-12),
    "usage_elasticity": (1.465, 3.322, 5e-4),
    "elasticity_for_revenue": (2.62, 3.32, 5e-3),
    "token_demand": (1.85, 3.70, 5e-3),
    "bill_saving": (0.220, 0.630, 5e-4),
    "pass_through_of_saving": (0.359, 0.698, 5e-4),
    "implied_sales": (15.8, 17.0, 5e-2),
    "value_over_target": (3.04, 3.04, 5e-3),
    "pre_money": (730, 730, 0),
    "sales_growth": (0.80, 0.83, 5e-3),
    "required_value": (1655, 2459, 0.5),
    "required_multiple": (5.9, 17.6, 5e-2),
    "years_of_burn": (7.2, 7.2, 5e-2),
    "sourced_capital": (122, 122, 0),
    "step_up": (0.40, 0.68, 1e-12),
    "value_lost": (0.50, 0.54, 5e-3),
    "orbital_ratio": (0.6, 1.62, 1e-12),
    "orbital_saving": (0.148, 0.148, 5e-4),
    "rival_margin_at_todays_price": (1, 1, 1e-12),
    "price_cut_without_profit": (0.5, 0.5, 0),
    "rival_share": (0.913, 0.913, 5e-4),
    "answered_within": (0.488, 0.724, 6e-4),
    "generalizable_after_silence": (0.0909, 0.0909, 5e-5),
    "months_to_settle": (17.430, 17.430, 5e-4),
}

VERDICTS = {
    "token_ratio": ["holds only if"],
    "score_ratio": ["does not hold"],
    "score_gap": ["holds"],
    "training_cost_after": ["holds"],
    "burn_after": ["does not hold"],
    "volume_to_hold_revenue": ["holds only if"],
    "volume_at_price_cut": ["holds"],
    "revenue_multiplier": ["does not hold", "holds only if"],
    "usage_elasticity": ["holds"],
    "token_demand": ["does not hold", "holds"],
    "bill_saving": ["holds only if"],
    "required_multiple": ["holds"],
    "sourced_capital": ["does not hold"],
    "orbital_ratio": ["holds only if"],
    "rival_margin_at_todays_price": ["does not hold"],
    "answered_within": ["holds"],
    "generalizable_after_silence": ["holds"],
}


@pytest.fixture(scope="module")
def checked(root: Path) -> tuple[CheckedClaim, ...]:
    every = check_claims(root / "data" / "note")
    return tuple(one for one in every if not one.dates and one.found is not None)  # what asks the outlook: elsewhere


def breaches(folder: Path) -> list[str]:
    with pytest.raises(BadInput) as caught:
        check_claims(folder)
    return [str(breach) for breach in caught.value.breaches]


def test_every_formula_checks_a_claim_of_the_note_and_has_a_worked_number(checked: tuple[CheckedClaim, ...]) -> None:
    assert {one.formula.name for one in checked} == set(FORMULAS) == set(WORKED)


@pytest.mark.parametrize("name", WORKED)
def test_the_figures_of_the_note_give_the_worked_number(name: str, checked: tuple[CheckedClaim, ...]) -> None:
    low, high, error = WORKED[name]

    for one in (one for one in checked if one.formula.name == name):
        assert one.found == pytest.approx((low, high), abs=max(error, 1e-12))


def test_the_verdict_on_each_claim_is_the_one_worked_by_hand(checked: tuple[CheckedClaim, ...]) -> None:
    stated = [one for one in checked if one.verdict != "implies"]
    found = {name: [one.verdict for one in stated if one.formula.name == name] for name in FORMULAS}

    assert {name: verdicts for name, verdicts in found.items() if verdicts} == VERDICTS


def test_a_claim_that_does_not_simply_hold_says_what_it_would_take(checked: tuple[CheckedClaim, ...]) -> None:
    doubtful = [one for one in checked if one.verdict in ("holds only if", "does not hold")]
    sentences = {one.formula.name: one.sentence for one in doubtful}

    assert all(one.condition for one in doubtful)
    assert sentences["token_ratio"].startswith("holds only if the rival is Claude Opus 4.6")
    assert sentences["burn_after"].startswith("does not hold unless all of the burn is training compute")


def test_the_burn_falls_to_a_tenth_only_if_all_of_it_is_training_and_nothing_is_spent_again() -> None:
    burn = FORMULAS["burn_after"]

    assert burn(17, 1, 1, 1, 0, 0, 10) == pytest.approx((1.7, 1.7), abs=1e-12)
    assert burn(17, 0.8, 0.5, 0.5, 0, 0, 10)[0] == pytest.approx(10.88, abs=5e-3)
    assert burn(17, 0.8, 0.6, 0.6, 0, 0, 10)[0] == pytest.approx(9.656, abs=5e-4)
    assert burn(17, 0.8, 0.5, 0.5, 0.5, 0.5, 10)[0] == pytest.approx(12.35, abs=5e-3)


@pytest.mark.parametrize(
    ("usage", "fall", "elasticity"),
    [(5, 3, 1.465), (5, 2.7, 1.620), (5, 2, 2.322), (10, 3, 2.096), (10, 2.7, 2.318), (10, 2, 3.322)],
)
def test_usage_grown_so_much_at_a_price_so_low_is_an_elasticity(usage: float, fall: float, elasticity: float) -> None:
    assert FORMULAS["usage_elasticity"](usage, usage, fall, fall) == pytest.approx((elasticity, elasticity), abs=5e-4)


def test_revenue_at_the_notes_token_ratio_grows_all_the_same() -> None:
    assert FORMULAS["revenue_multiplier"](5, 10, 2.7, 2.7) == pytest.approx((1.852, 3.704), abs=5e-4)


@pytest.mark.parametrize(("required", "value", "all_of_it", "half"), [(0.25, 2459, 8.8, 17.6), (0.15, 1655, 5.9, 11.8)])
def test_a_required_return_is_a_value_in_2030(required: float, value: float, all_of_it: float, half: float) -> None:
    assert FORMULAS["required_value"](852, required, required, 4.75)[0] == pytest.approx(value, abs=0.5)
    assert FORMULAS["required_multiple"](852, required, required, 4.75, 280, 0.5) == pytest.approx(
        (all_of_it, half), abs=0.05
    )


def test_the_formulas_agree_with_the_efficiency_model_where_both_speak() -> None:
    proprietary = ModelScenarios(*(np.array([x]) for x in (0.1, 0.0, 1.0, 1.0, 0.0, 1.0)))
    state = market_quantities(proprietary, Technique(adoption_years=0.75), 1.0)

    assert FORMULAS["rival_share"](0.15, 0.5, 0.1, 0.75, 2.7)[0] == pytest.approx(
        float(state.rival_share[0]), abs=1e-12
    )
    assert state.price[0] == 1.0  # selling at market rates compresses nobody's price


def test_the_formulas_agree_with_the_beliefs_where_both_speak() -> None:
    lab = DisclosureModel(0.85, 0.136, 0.008)
    silent = float(silence_probability(lab, 12.0)) ** 2
    (months, _) = FORMULAS["months_to_settle"](0.5, 2, 0.85, 0.136, 0.95)
    settled = float(silence_probability(lab, months)) ** 2

    assert FORMULAS["answered_within"](2, 0.85, 0.136, 12, 12)[0] == pytest.approx(1 - silent, abs=1e-12)
    assert FORMULAS["generalizable_after_silence"](0.5, 2, 0.85, 0.136, 12)[0] == pytest.approx(silent / (1 + silent))
    assert settled / (1 + settled) == pytest.approx(0.05, abs=1e-12)


def test_half_the_price_is_the_pass_through_at_which_a_rival_earns_nothing() -> None:
    (_, theta) = FORMULAS["pass_through_of_saving"](0.3, 0.5, 2.7)

    assert theta == pytest.approx(log(2) / log(2.7))
    assert FORMULAS["price_cut_without_profit"](0.5) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.0, 2.0, "holds"),
        (None, 2.0, "holds"),
        (1.0, None, "holds"),
        (0.5, 3.0, "holds"),
        (1.5, 3.0, "holds only if"),
        (2.0, 3.0, "holds only if"),
        (1.2, 1.3, "holds only if"),
        (2.1, None, "does not hold"),
        (None, 0.9, "does not hold"),
        (None, None, "implies"),
    ],
)
def test_the_verdict_compares_what_is_stated_with_what_the_figures_give(
    low: float | None, high: float | None, verdict: str
) -> None:
    assert CheckedClaim("a claim", FORMULAS["token_ratio"], low, high, (1.0, 2.0), "", "").verdict == verdict


def test_a_figure_is_not_refused_for_its_last_bit() -> None:
    assert CheckedClaim("a claim", FORMULAS["step_up"], 0.4, 0.68, (2100 / 1500 - 1, 0.68), "", "").verdict == "holds"


def test_every_fault_of_both_tables_is_told_at_once(note: Folder) -> None:
    note.replace("claims.csv", ",token_ratio,2.65,2.75,", ",token_ration,2.65,2.75,")
    note.replace("claims.csv", ",score_gap,0,9,", ",score_gap,9,0,")
    note.replace("figures.csv", "price_cut,", "price_cuts,")

    assert breaches(note.path) == [
        "claims.csv:2 check: no such check (got 'token_ration'); did you mean 'token_ratio'?",
        "claims.csv:4 low: is above high = 0 (got '9'); swap them",
        "claims.csv:8 check: needs the figure 'price_cut', which is not in figures.csv (got 'volume_at_price_cut'); "
        "did you mean 'price_cuts'?",
    ]


def test_a_misspelt_check_is_told_even_where_the_figures_cannot_be_read(note: Folder) -> None:
    note.replace("claims.csv", ",token_ratio,2.65,2.75,", ",token_ration,2.65,2.75,")
    note.replace("figures.csv", "tokens_muse,58,", "tokens_muse,many,")

    figures, claims = breaches(note.path)
    assert figures.startswith("figures.csv:2 value: must be a number (got 'many')")
    assert "did you mean 'token_ratio'?" in claims


@pytest.mark.parametrize("value", ["0", "1", "-3"])
def test_figures_that_give_no_number_are_named(value: str, note: Folder) -> None:
    note.replace("figures.csv", "token_reduction,2.7,", f"token_reduction,{value},")

    found = breaches(note.path)
    assert found
    assert all("cannot be computed from" in breach and f"token_reduction = {value}" in breach for breach in found)


def test_a_folder_without_claims_is_refused_with_the_file_to_add(listed: Folder) -> None:
    assert [breach.split(":")[0] for breach in breaches(listed.path)] == ["figures.csv", "claims.csv"]
    assert "there is no such folder" in breaches(listed.path / "nowhere")[0]


def test_stated_limits_may_be_left_out_of_the_table(note: Folder) -> None:
    note.write("claims.csv", [["claim", "check"], ["fewer tokens", "token_ratio"]])

    (one,) = check_claims(note.path)
    assert (one.verdict, one.sentence) == ("implies", "implies")
