"""Claims that are asked of the book's own outlook: all signed checks of the note, and what cannot be asked."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from allocator.book.loading import load
from allocator.errors import BadInput
from allocator.outlook.calibration import adoption_years
from allocator.outlook.efficiency_model_claims import OUTLOOK_FORMULAS, CheckedClaim, check_claims
from allocator.stress_testing.belief_sweep import weights_by_belief
from tests.conftest import Folder
from tests.outlook.note_as_told import BEFORE, PARAMETERS, TOLD, TWO_LABS, before, scenarios, told
from tests.outlook.signed_checks import ADVICE, SignedCheck, signed_check

HEADER = ["claim", "check", "low", "high"]
AS_TOLD = [*scenarios(TOLD), "model.share_sensitivity=0.75", "model.rival_margin=0.5"]
"""Of a book that was before."""


@pytest.fixture(scope="module")
def printed(root: Path) -> list[tuple[SignedCheck, float]]:
    """Every signed check with its margin."""
    file = root.parent / "shared" / "claims_signed.csv"
    if not file.is_file():
        pytest.skip("../shared/claims_signed.csv is absent")
    with file.open(encoding="utf-8", newline="") as opened:
        return [(signed_check(row["formula"], row["case"]), float(row["value"])) for row in csv.DictReader(opened)]


def asked(folder: Folder, rows: list[tuple[str, float | None, float | None]], book: Any = None) -> list[CheckedClaim]:
    blank = [["a claim", check, *("" if end is None else end for end in ends)] for check, *ends in rows]
    folder.write("claims.csv", [HEADER, *blank])
    return list(check_claims(folder.path, book))


def test_the_notes_own_book_asks_every_signed_check_and_the_advice_and_all_of_it_holds_with_the_margins_printed(
    root: Path, printed: list[tuple[SignedCheck, float]]
) -> None:
    checked = [one for one in check_claims(root / "data" / "note") if one.dates or one.found is None]
    found = {one.formula.name: one for one in checked}
    rows = {(one.formula.name, one.low, one.high) for one in checked}

    assert rows >= {(one.check, one.low, one.high) for one, _ in printed} | set(ADVICE)
    assert {one.verdict for one in checked} == {"holds", "implies", "not solved"}
    assert len(printed) == 68
    for check, margin in printed:
        one = found[check.check]
        for day in check.days:
            # of today the belief moves with how usage figures are weighed: a few in the fourth digit
            close = 3e-4 if check.days == ("today",) else 2e-9
            assert one.margin(one.dates[day]) == pytest.approx(margin, abs=close), check


def test_fourteen_signed_checks_fail_of_the_table_before(
    note: Folder, root: Path, printed: list[tuple[SignedCheck, float]]
) -> None:
    rows = list(dict.fromkeys((one.check, one.low, one.high) for one, _ in printed))
    found = {one.formula.name: one for one in asked(note, rows, lambda: before(root))}

    margins = [
        found[check.check].margin(found[check.check].dates[day]) for check, _ in printed for day in check.days[:1]
    ]
    assert sum(margin is not None and margin < -1e-9 for margin in margins) == 14


@pytest.mark.parametrize("months", [9, 15])
def test_they_hold_for_nearer_and_farther_horizons(
    months: int, note: Folder, root: Path, printed: list[tuple[SignedCheck, float]]
) -> None:
    rows = list(dict.fromkeys((one.check, one.low, one.high) for one, _ in printed))

    found = asked(note, rows, lambda: told(root, f"horizon.months={months}"))

    assert {one.verdict for one in found} == {"holds"}


def test_the_pair_in_tension_prints_the_probability_at_which_it_breaks(note: Folder, root: Path) -> None:
    cases = "generalizable_jevons, generalizable_compression"
    names = ("OPENAI", "SPX_XAI")
    rows: Any = [(f"break_even_probability({name}, {cases})", None, None) for name in names]

    found = asked(note, rows, lambda: told(root))

    for one, threshold in zip(found, (0.927, 0.934), strict=True):
        assert one.found == pytest.approx((threshold, threshold), abs=1e-3)
        assert one.verdict == "implies"
        assert one.sentence == "implies; generalizable_jevons has 0.811 of the two today"


@pytest.mark.parametrize("name", ["OPENAI", "SPX_XAI"])
def test_at_the_printed_threshold_the_value_is_what_it_is_without_the_technique(
    name: str, note: Folder, root: Path
) -> None:
    cases = "generalizable_jevons, generalizable_compression"
    (one,) = asked(note, [(f"break_even_probability({name}, {cases})", None, None)], lambda: told(root))
    assert one.found is not None
    given = [0.5 * one.found[0], 0.5 * (1 - one.found[0])]
    at = [f"scenarios.{name}.probability={p}" for name, p in zip(TOLD, given, strict=False)]

    (value,) = asked(note, [(f"value_given({name}, generalizable)", None, None)], lambda: told(root, *at))

    assert value.dates["at the opening"] == pytest.approx((1, 1), abs=1e-12)


def test_the_advice_moves_weight_from_capital_intensity_to_efficiency_step_by_step(root: Path) -> None:
    weights = {costs: weights_by_belief(told(root), costs) for costs in (False, True)}

    for costs, up, down, back in ((False, 0.10, -0.20, 1e-4), (True, 0.08, -0.05, 0.01)):
        efficiency, capital = (weights[costs][name] for name in ("efficiency", "capital_intensity"))
        assert efficiency[-1] - efficiency[0] >= up
        assert np.diff(efficiency).min() >= -back
        assert capital[-1] - capital[0] <= down
        assert np.diff(capital).max() <= back
    claims = check_claims(root / "data" / "note", None, lambda _, costs: weights[costs])
    verdicts = {one.formula.name: one.verdict for one in claims if one.formula.name.startswith("weight_")}
    assert verdicts == {check: "holds" for check, _, _ in ADVICE}


def test_with_the_table_before_weight_left_efficiency_as_the_technique_became_general(root: Path) -> None:
    plain = weights_by_belief(before(root, "horizon.digestion_months=inf", *TWO_LABS), costs=False)

    assert plain["efficiency"][-1] - plain["efficiency"][0] < -0.04


def test_claims_about_weights_are_solved_for_only_where_that_is_asked(note: Folder, root: Path) -> None:
    rows = [*ADVICE[:1], ("value_given(META, proprietary)", 1.0, None)]

    weight, value = asked(note, rows, lambda: told(root))

    assert (weight.verdict, weight.found, weight.margin(weight.found)) == ("not solved", None, None)
    assert weight.sentence == "not solved; EFFLAB of efficiency is worth more if generalizable"
    assert value.verdict == "holds"
    steps = {"efficiency": np.array([0.1, 0.2, 0.15]), "capital_intensity": np.array([0.6, 0.5, 0.3])}
    solved = check_claims(note.path, lambda: told(root), lambda _, costs: {} if costs else steps)
    assert solved[0].found == pytest.approx((0.05, 0.05))
    assert solved[0].verdict == "does not hold"


def test_a_book_without_an_efficient_lab_is_told_why_the_advice_may_fail(note: Folder) -> None:
    note.cell("exposures.csv", "EFFLAB", "efficiency_share", "0")
    note.write("claims.csv", [HEADER, ["advice", "weight_slope(efficiency)", 0.1, ""]])

    (one,) = check_claims(note.path, lambda: load(note.path, overrides=AS_TOLD))

    assert one.sentence == "not solved; no name of efficiency is worth more if generalizable"


@pytest.mark.parametrize(("check", "said"), [
    ("value_gven(META, proprietary)", "(got 'value_gven(META, proprietary)'); did you mean 'value_given'?"),
    ("value_given", "no such check (got 'value_given'); write value_given(NAME, GIVEN)"),
    ("value_given(META)", "takes NAME, GIVEN (got 'value_given(META)'); write value_given(NAME, GIVEN)"),
    ("value_given(META, jevons)", "no such hypothesis or scenario: 'jevons'"),
    ("value_given(METAS, proprietary)", "no such instrument: 'METAS' (got 'value_given(METAS, proprietary)'); "
     "did you mean 'META'?"),
    ("value_given(USD, proprietary)", "no such instrument: 'USD'"),
    ("with_training_reduction(META, ten)", "'ten' is no ratio"),
    ("with_training_reduction(META, 0.5)", "'0.5' is no ratio"),
    ("weight_slope(efficient)", "no such bucket: 'efficient'"),
    ("weight_slope(efficiency, cost)", "no such choice: 'cost'"),
    ("value_given(META, proprietary) + 1", "no such check"),
    ("__import__('os').system('true')", "no such check"),
])  # fmt: skip
def test_a_question_that_cannot_be_asked_is_told_with_its_cure(check: str, said: str, note: Folder) -> None:
    with pytest.raises(BadInput) as caught:
        asked(note, [(check, None, None)])

    (breach,) = caught.value.breaches
    assert str(breach).startswith("claims.csv:2 check: ")
    assert said in str(breach)


def test_a_question_without_an_answer_is_refused(note: Folder, root: Path) -> None:
    same = "break_even_probability(APPS, generalizable_jevons, generalizable_jevons)"

    with pytest.raises(BadInput) as caught:
        asked(note, [(same, None, None)], lambda: told(root))

    assert "has no answer in this book" in str(caught.value)


def test_a_book_without_a_model_is_told_that_it_cannot_be_asked(listed: Folder) -> None:
    listed.write("figures.csv", [["name", "value", "unit", "source"], ["x", 1, "", "a test"]])

    with pytest.raises(BadInput) as caught:
        asked(listed, [("stranded(generalizable)", None, None)])

    assert "asks the efficiency model, and book.toml has no [model]" in str(caught.value)


@pytest.mark.parametrize("name", list(OUTLOOK_FORMULAS))
def test_every_question_is_asked_by_a_signed_check_or_the_advice(name: str) -> None:
    text = (Path(__file__).parent / "signed_checks.py").read_text(encoding="utf-8")

    assert f'"{name}(' in text or f'f"{name}(' in text or name == "break_even_probability"


def test_a_training_reduction_without_a_case_is_weighed_by_the_belief(note: Folder, root: Path) -> None:
    checks = ["with_training_reduction(OPENAI, 1)", *(f"with_training_reduction(OPENAI, 1, {name})" for name in TOLD)]

    whole, *each = asked(note, [(check, None, None) for check in checks], lambda: told(root))

    prior = [scenario.probability for scenario in told(root).settings.scenarios.values()]
    parts = [one.dates["at the opening"][0] for one in each]
    assert whole.dates["at the opening"][0] == pytest.approx(float(np.dot(prior, parts)), abs=1e-12)


def test_claims_show_what_is_found_on_both_days_with_the_margin(
    note: Folder, run: Callable[..., Result], valid: Any
) -> None:
    note.write("claims.csv", [HEADER, ["stranded", "value_given(OPENAI, generalizable)", "", 1], *(
        ["advice", check, "" if low is None else low, "" if high is None else high] for check, low, high in ADVICE[:1]
    )])  # fmt: skip
    overrides = [f"--set={each}" for each in AS_TOLD]

    shown = " ".join(run("claims", note.path, *overrides).stdout.split())

    assert "2 checks: 1 hold, 1 need plans: add --advice" in shown
    assert "value_given(OPENAI, generalizable) = 0.784 (at the opening), 0.912 (today) times today's value, a" in shown
    document = valid(run("claims", note.path, *overrides, "--json").stdout, "claims_report")
    stranded, advice = document["claims"]
    assert stranded["dates"]["today"]["low"] == pytest.approx(0.912, abs=1e-3)
    assert stranded["margin"] == pytest.approx(0.0877, abs=3e-4)
    assert (advice["found"], advice["verdict"]) == (None, "not solved")


def test_a_book_moved_by_set_is_asked_as_it_is_moved(note: Folder, run: Callable[..., Result], valid: Any) -> None:
    note.write("claims.csv", [HEADER, ["usage", "usage_once_adopted(generalizable_jevons)", 5, ""]])

    def usage(*overrides: str) -> float:
        told = run("claims", note.path, *(f"--set={each}" for each in overrides), "--json").stdout
        return float(valid(told, "claims_report")["claims"][0]["found"]["low"])

    assert usage(*scenarios(BEFORE)) == pytest.approx(2.7 ** (0.85 * 1.9), abs=1e-12)
    assert usage(*scenarios(TOLD)) == pytest.approx(2.7 ** (0.8 * 2.4), abs=1e-12)


def test_note_and_reviewed_have_one_table_and_one_day_from_which_labs_adopt(root: Path) -> None:
    note, reviewed = (load(root / "data" / name) for name in ("note", "reviewed"))

    for name in PARAMETERS:
        assert [getattr(one, name) for one in note.settings.scenarios.values()] == [
            getattr(one, name) for one in reviewed.settings.scenarios.values()
        ]
    assert {*(tuple(row) for row in TOLD.values())} == {
        tuple(getattr(one, name) for name in PARAMETERS) for one in note.settings.scenarios.values()
    }
    assert adoption_years(note) == adoption_years(reviewed) == 0
