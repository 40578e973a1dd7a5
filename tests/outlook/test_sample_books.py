"""What the sample books hold: every actor, loadings that sum to one, sources, numbers that agree with each other."""

from __future__ import annotations

import csv
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.book.loading import load
from allocator.outlook.calibration import calibrate

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
