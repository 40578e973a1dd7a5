"""What the sample books hold: every actor, loadings that sum to one, sources, numbers that agree with each other."""

from __future__ import annotations

import csv
import datetime as dt
import re
import tomllib
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import allocator
from allocator.book.loading import load
from allocator.outlook.calibration import build_question, calibrate
from allocator.outlook.posterior import log_likelihoods, settled_by_silence
from allocator.outlook.question import Question, Signal
from tests.outlook.note_as_told import BEFORE, PARAMETERS, TOLD

BOOKS = ("listed", "note")
LOADINGS = ("training", "inference", "capacity", "application", "other")
ACTORS = {"Meta", "OpenAI", "Anthropic", "Alphabet", "SpaceX-xAI", "Efficient labs", "GPU maker", "Cloud",
          "Orbital capacity", "Enterprise adopters", "Cash"}  # fmt: skip

# data/README.md's loadings of the three names that hold stakes in private labs, before looking through, and the stake:
# training, inference, capacity, application; multiple; committed capex; share of the value; the lab's own loadings.
OPENAI, ANTHROPIC = (-0.35, 1.25, 0, 0, 1.0, 0.25), (-0.30, 1.20, 0, 0, 0.9, 0.10)
STAKES = {
    "GOOGL": ((-0.03, 0.12, 0.08, 0.15, 0.20, 0.06), 0.14 * 380 / 3600, ANTHROPIC),
    "MSFT": ((-0.02, 0.10, 0.14, 0.18, 0.20, 0.08), 0.23 * 852 / 3700, OPENAI),
    "AMZN": ((0.03, 0.04, 0.15, 0.10, 0.15, 0.08), 0.15 * 380 / 2500, ANTHROPIC),
}
OWN = (*LOADINGS[:4], "multiple_loading", "committed_capex")


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / f"{table}.csv").open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def settings(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "book.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("book", BOOKS)
def test_the_loadings_of_every_name_sum_to_one_exactly(book: str, root: Path) -> None:
    sums = {
        row["instrument"]: sum(Decimal(row[name]) for name in LOADINGS)
        for row in rows(root / "data" / book, "exposures")
        if row["training"]
    }

    assert len(sums) >= 11
    assert {name: total for name, total in sums.items() if total != 1} == {}


@pytest.mark.parametrize("book", BOOKS)
def test_every_row_of_the_sample_books_says_where_it_is_from(book: str, root: Path) -> None:
    folder = root / "data" / book

    assert all(row["source"] for row in rows(folder, "exposures"))
    assert all(row["note"].startswith("illustrative, not an observation") for row in rows(folder, "signals"))


FILED = re.compile(r"twice capex/revenue of FY\d{4}(?: and at most 1)? \((.*?) bn USD; 10-K (\d{10}-\d\d-\d{6})")


def twice(filed: str) -> Decimal:
    """Twice capital expenditure over revenue, to the cent: of "capex/revenue", or of "percent % of revenue"."""
    capex, percent, revenue = re.fullmatch(r"([\d.]+)( % of |\s*/\s*)([\d.]+)", filed).groups()
    ratio = Decimal(capex) / (100 if "%" in percent else Decimal(revenue))
    return (2 * ratio).quantize(Decimal("0.01"), ROUND_HALF_UP)


def test_capital_intensity_is_what_the_filing_it_cites_says(root: Path) -> None:
    exposures = {row["instrument"]: row for row in rows(root / "data" / "listed", "exposures")}
    cited = {name: filing for name, row in exposures.items() if (filing := FILED.search(row["source"]))}

    assert set(cited) == {"META", "GOOGL", "MSFT", "AMZN", "ORCL", "CRWV", "EQIX", "VST", "CRM", "ADBE"}
    held = {name: Decimal(exposures[name]["capital_intensity_share"]) for name in cited}
    assert held == {name: min(twice(filing[1]), Decimal(1)) for name, filing in cited.items()}


def test_the_page_tells_the_last_filings_as_the_book_cites_them(root: Path) -> None:
    page = (root / "data" / "listed" / "README.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (\w+) \| \d{4}-\d\d \| (.*?) \| ([\d.]+) \| 10-K (.*?) \|$", page, re.M)
    exposures = {row["instrument"]: row for row in rows(root / "data" / "listed", "exposures")}

    cited = [(name, *filing.groups()) for name, row in exposures.items() if (filing := FILED.search(row["source"]))]
    assert sorted((name, filed.replace(" / ", "/"), accession) for name, filed, _, accession in table) == sorted(cited)
    assert [Decimal(said) for *_, said, _ in table] == [twice(filed) for _, filed, *_ in table]


def test_at_the_limit_of_older_filings_no_plan_keeps_the_rules_and_the_page_says_what_would_be_the_least(
    root: Path,
) -> None:
    page = (root / "data" / "listed" / "README.md").read_text(encoding="utf-8")
    book = load(root / "data" / "listed", overrides=["mandate.buckets.capital_intensity.max=0.40"])

    with pytest.raises(allocator.Infeasible, match=r"raise 'bucket capital_intensity at most 40%' to 41\.08%"):
        allocator.rebalance(book)
    assert "41.08 % would be the least" in page


def test_every_actor_of_the_note_has_a_row(root: Path) -> None:
    folder = root / "data" / "note"
    exposures = {row["instrument"]: row for row in rows(folder, "exposures")}

    assert {row["issuer"] for row in exposures.values()} == ACTORS
    assert [row["instrument"] for row in rows(folder, "holdings")] == list(exposures)
    assert exposures["META"]["owner"] == "1"
    assert exposures["SPX_XAI"]["tradable_from"] > settings(folder)["book"]["as_of"].isoformat()


def test_each_figure_quotes_the_note_or_is_called_an_assumption(root: Path) -> None:
    figures = rows(root / "data" / "note", "figures")

    own = [row["name"] for row in figures if not row["source"].startswith(('the note: "', "assumption, illustrative"))]
    assert own == ["years_to_target"]  # from two dates


def test_figures_that_book_toml_states_too_are_the_same_there(root: Path) -> None:
    folder = root / "data" / "note"
    figure = {row["name"]: float(row["value"]) for row in rows(folder, "figures")}
    book = settings(folder)
    scenarios, labs = book["scenarios"].values(), book["question"]["labs"].values()
    passed = [scenario["pass_through"] for scenario in scenarios]

    for name in ("training_reduction", "token_reduction", "owner_share", "share_sensitivity", "adoption_years"):
        assert figure[name] == book["model"][name]
    assert (figure["pass_through_low"], figure["pass_through_high"]) == (min(passed), max(passed))
    assert figure["replicability"] == min(scenario["replicability"] for scenario in scenarios)
    assert figure["labs"] == len(labs)
    assert {(lab["disclosure"], lab["hazard"]) for lab in labs} == {(figure["disclosure"], figure["hazard"])}
    assert figure["threshold"] == book["question"]["threshold"]
    assert figure["prior"] == pytest.approx(
        sum(scenario["probability"] for scenario in scenarios if scenario["hypothesis"] == "generalizable")
    )


def test_the_listed_loadings_look_through_to_the_private_labs(root: Path) -> None:
    exposures = {row["instrument"]: row for row in rows(root / "data" / "listed", "exposures")}

    for name, (own, share, lab) in STAKES.items():
        looked = [(1 - share) * mine + share * theirs for mine, theirs in zip(own, lab, strict=True)]
        assert [float(exposures[name][column]) for column in OWN] == pytest.approx(looked, abs=1e-4)


def test_the_model_makes_the_returns_that_were_typed_in_before_looking_through(root: Path) -> None:
    typed = pd.read_csv(root / "tests" / "typed" / "scenario_returns.csv", index_col="instrument").drop(
        columns="source"
    )
    book = load(root / "data" / "listed")
    plain = book.exposures.copy()
    for name, (own, _, _) in STAKES.items():
        plain.loc[name, [*OWN]] = own
        plain.loc[name, "other"] = 1 - sum(own[:4])
    plain.loc["GOOGL", "owner"] = 0.6
    object.__setattr__(book, "exposures", plain)

    model = calibrate(book)

    assert model is not None
    names = list(book.instruments)
    assert np.abs(model.returns.T - typed.loc[names, list(book.scenarios)].to_numpy()).max() < 5.1e-5


def of_page(page: str, row: str) -> list[list[float]]:
    """The numbers in each cell of the row that begins so: what was and, where it moved, what is."""
    (line,) = [one for one in page.splitlines() if one.startswith(f"| {row}")]
    cells = [cell.replace("−", "-").split("→") for cell in line.strip("| ").split("|")[1:]]
    return [[float(number) for number in cell] for cell in cells]


def test_the_page_lists_each_parameter_that_was_moved_for_the_notes_sake_old_and_new(root: Path) -> None:
    page = (root / "data" / "README.md").read_text(encoding="utf-8")
    for place, name in enumerate(PARAMETERS):
        pairs = [[BEFORE[scenario][place], TOLD[scenario][place]] for scenario in TOLD]
        assert of_page(page, f"{name} ") == pairs
    assert "`share_sensitivity` 0.5 → 0.75; `rival_margin` not stated → 0.5; `since` of `reviewed/` 2026-04-08" in page
    note = settings(root / "data" / "note")["model"]
    assert (note["share_sensitivity"], note["rival_margin"]) == (0.75, 0.5)


def test_no_parameter_of_listed_was_moved_for_the_notes_sake(root: Path) -> None:
    listed, page = load(root / "data" / "listed").settings, (root / "data" / "README.md").read_text(encoding="utf-8")

    assert listed.model is not None
    assert (listed.model.share_sensitivity, listed.model.rival_margin, listed.model.since) == (0.5, None, None)
    for name, scenario in listed.scenarios.items():
        table = tuple(getattr(scenario, parameter) for parameter in PARAMETERS)
        assert table == BEFORE[name]
        assert of_page(page, f"{name} |") == [[scenario.replicability], *([value] for value in table[:4])]


# The evidence of the books of the note's question: three labs, by the law of science §2.5.1.


def asked_by(book: str, root: Path) -> tuple[Question, dt.date]:
    """What the book asks, and its day."""
    loaded = load(root / "data" / book)
    question = build_question(loaded)
    assert question is not None
    return question, loaded.settings.book.as_of


def from_even_odds(question: Question, months: float, *told: tuple[str, str]) -> float:
    """P(generalizable) after so many months, from one half, if signals of today are all that was ever said."""
    day = question.opened + dt.timedelta(days=round(months * 30.4375))
    signals = [Signal(day, kind, source, question.hypotheses[0]) for kind, source in told]
    ratio = np.exp(log_likelihoods(question, signals, np.array([question.months(day)]))[0, 0])
    return float(ratio / (1 + ratio))


@pytest.mark.parametrize("book", [*BOOKS, "reviewed"])
def test_three_labs_say_something_genuine_within_a_year_with_nine_tenths(book: str, root: Path) -> None:
    question, _ = asked_by(book, root)
    silent = np.exp(log_likelihoods(question, [], np.array([3.0, 6.0, 12.0, 1e6]))[:, 0])

    assert list(question.sources) == ["OpenAI", "Google", "Anthropic"]
    # printed for the hazard that makes it .900 exactly, of which .0829 is rounded
    assert 1 - silent[:3] == pytest.approx([0.463, 0.704, 0.900], abs=7e-4)
    assert silent[3] / (1 + silent[3]) == pytest.approx(0.0034, abs=5e-5)  # silence for ever, from even odds


@pytest.mark.parametrize("book", [*BOOKS, "reviewed"])
def test_silence_a_claim_and_its_verdict_say_what_the_law_prints(book: str, root: Path) -> None:
    question, today = asked_by(book, root)
    months = question.months(today)

    def believed(*told: tuple[str, str], **doubted: Any) -> float:
        return from_even_odds(replace(question, **doubted), months, *told)

    claim, verified, refuted = ((kind, "OpenAI") for kind in ("claim", "verification", "refutation"))
    assert months == pytest.approx(7.425, abs=1e-4)
    assert believed() == pytest.approx(0.184, abs=5.1e-4)
    assert believed(claim) == pytest.approx(0.337, abs=5.1e-4)
    assert believed(claim, verified, ("claim", "Google"), ("verification", "Google")) > 0.999
    # verdicts of one claim are printed for a sensitivity of .9; a better test of claims, as the books have, says more
    assert believed(claim, refuted, sensitivity=0.9) == pytest.approx(0.20, abs=5.1e-3)
    for false_positive, printed in ((0.01, 0.963), (0.02, 0.928), (0.1, 0.735)):
        found = believed(claim, verified, sensitivity=0.9, false_positive=false_positive)
        assert found == pytest.approx(printed, abs=5.1e-4)
    silent, said = 0.15 + 0.85 * np.exp(-0.0829 * months), 0.85 * 0.0829 * np.exp(-0.0829 * months) / 0.05
    for verdict, grade in ((refuted, 0.05 / 0.99), (verified, 0.95 / 0.01)):
        ratio = silent**2 * (silent + said * grade)
        assert believed(claim, verdict) == pytest.approx(ratio / (1 + ratio), rel=1e-12)
    assert believed(claim, verified) > question.threshold  # so one verdict settles it


@pytest.mark.parametrize("book", ["note", "reviewed"])
def test_silence_alone_settles_the_note_after_sixteen_months(book: str, root: Path) -> None:
    question, today = asked_by(book, root)
    day = settled_by_silence(question, [], today)

    assert day is not None
    exactly = -np.log((((1 - 0.95) / 0.95) ** (1 / 3) - 0.15) / 0.85) / 0.0829
    assert round(exactly, 1) == 16.0
    assert 0 <= question.months(day) - exactly < 1 / 30  # the first day on which it is settled


@pytest.mark.parametrize("book", [*BOOKS, "reviewed"])
def test_a_book_without_any_claim_is_called_as_unlikely_as_it_is(book: str, root: Path) -> None:
    question, today = asked_by(book, root)
    months, lab = question.months(today), question.sources["OpenAI"]["generalizable"]
    without = float(np.exp(-3 * lab.background * months))
    quiet = without * float(np.exp(log_likelihoods(question, [], np.array([months]))[0, 0]))

    said = f"{without:.2f} if no lab can replicate, and {quiet:.2f} if all can"
    assert said in (root / "data" / book / "book.toml").read_text(encoding="utf-8")
    page = (root / "data" / "README.md").read_text(encoding="utf-8")
    assert f"probability {without:.2f} if none can replicate, and {quiet:.2f} if all can" in page
