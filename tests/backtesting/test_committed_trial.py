"""The trials that are committed are what the command makes, and the page shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import allocator
from allocator.backtesting.cells import Design, asked_design
from allocator.backtesting.lives import InvestorLife
from allocator.backtesting.worlds import WorldSource
from allocator.book.book import Book
from tests.make_trial import DOCUMENT, RESULTS, read_results, reduced_trial, screen
from tests.thoroughness import THOROUGH, some

SAME = 1e-5
"""Of the account: what other solvers' last digits make of a policy at most."""


@pytest.fixture(scope="module")
def book() -> Book:
    return allocator.load("data/reviewed")


def lived_again(book: Book, design: Design, at: int) -> None:
    """The first investor of a cell has the wealth that is committed, in his first world; in all, where thorough."""
    path = RESULTS[not design.grid]
    (committed,) = [one for one in read_results(path) if (one.cell, one.investor) == (at, 0)]
    worlds = design.worlds if THOROUGH else 1
    design = replace(design, worlds=worlds, grid=design.grid and THOROUGH)
    cell = design.cells[at]
    found = InvestorLife(design, at, WorldSource(cell.truth(book), design.seed, cell.kind)).run(0)

    assert found.scenarios == committed.scenarios[:worlds]
    for name, wealth in found.wealth.items():
        assert wealth == pytest.approx(committed.wealth[name][:worlds], abs=SAME), name
        assert found.turnover[name] == pytest.approx(committed.turnover[name][:worlds], abs=20 * SAME), name
        assert found.inside[name] == (committed.inside[name] and committed.inside[name][:worlds]), name


COMMITTED = [("reduced", at) for at in (*range(7), *some(range(7, 13), 3))]
if RESULTS[False].exists():  # the whole one takes hours, and is committed once it was run
    COMMITTED += [("whole", at) for at in range(7)]


@pytest.mark.parametrize(("which", "at"), COMMITTED)
def test_the_first_investor_of_each_cell_has_the_wealth_that_is_committed(book: Book, which: str, at: int) -> None:
    if which == "whole":
        stated = json.loads(DOCUMENT.read_text(encoding="utf-8"))
        assert (stated["seed"], stated["investors"], stated["worlds"]) == (26, 200, 10)
    lived_again(book, asked_design(book, reduced=which == "reduced"), at)


def test_the_page_shows_the_reduced_trial_as_its_results_make_it(book: Book, root: Path) -> None:
    found = reduced_trial(book)

    assert found.document()["complete"]
    assert screen(found) in (root / "docs" / "trial.md").read_text(encoding="utf-8")
