"""The trial goes on where it stopped, gives the same numbers however it is run, and says what follows by its rule."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import allocator
from allocator.__main__ import main
from allocator.backtesting import trial as subject
from allocator.backtesting.cells import Cell, Design, asked_design, full_cells, reduced_cells
from allocator.backtesting.lives import InvestorResult
from allocator.backtesting.policies import GRID, NOMINAL, compared_policies, grid_policies
from allocator.backtesting.trial import Trial, simulate
from allocator.backtesting.worlds import ERRORS
from allocator.book.book import Book
from allocator.display.trial import show_trial
from allocator.errors import BadInput
from tests.command_line import runner

SMALL = Design((Cell(1.0, 0.6, "other"),), investors=2, worlds=1, grid=False)


@pytest.fixture(scope="module")
def book() -> Book:
    return allocator.load("data/reviewed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trial") / "results"


@pytest.fixture(scope="module")
def small(book: Book, folder: Path) -> Trial:
    return simulate(book, SMALL, folder=folder)


def test_a_second_run_makes_what_is_missing_and_the_same_numbers_in_another_process(
    book: Book, small: Trial, folder: Path
) -> None:
    there = sorted(path.name for path in folder.iterdir())
    assert there == ["cell-00-investor-0000.json", "cell-00-investor-0001.json", "inputs.json"]
    kept = simulate(book, SMALL, folder=folder)
    assert kept.results == small.results
    for name in there[:2]:  # the first is made here, the other elsewhere
        (folder / name).unlink()

    again = simulate(book, SMALL, folder=folder, jobs=2)
    assert again.results == small.results
    assert again.document() == small.document()
    assert sorted(path.name for path in folder.iterdir()) == there


def test_more_investors_may_follow_and_another_seed_or_book_is_refused(book: Book, small: Trial, folder: Path) -> None:
    assert small.results
    fewer = simulate(book, replace(SMALL, investors=1), folder=folder)
    assert fewer.results == tuple(one for one in small.results if one.investor == 0)

    for other, words in (
        (lambda: simulate(book, replace(SMALL, seed=27), folder=folder), "seed"),
        (lambda: simulate(book, replace(SMALL, worlds=2), folder=folder), "worlds"),
        (lambda: simulate(replace(book, quantities=book.quantities * 2), SMALL, folder=folder), "holdings"),
        (lambda: simulate(_with_turnover(book, 0.3), SMALL, folder=folder), "mandate"),
    ):
        with pytest.raises(BadInput) as refused:
            other()
        assert f"whose {words}" in str(refused.value).replace("[", "").replace("]", "")
        assert "another folder" in str(refused.value)


def _with_turnover(book: Book, most: float) -> Book:
    mandate = book.settings.mandate.model_copy(update={"max_turnover": most})
    return replace(book, settings=book.settings.model_copy(update={"mandate": mandate}))


def test_a_result_that_is_not_as_it_was_written_is_refused_and_made_again_once_it_is_gone(
    book: Book, small: Trial, folder: Path
) -> None:
    place = folder / "cell-00-investor-0000.json"
    whole = place.read_bytes()
    place.write_bytes(whole[:-40])
    with pytest.raises(BadInput, match="not as it was written") as refused:
        simulate(book, SMALL, folder=folder)
    assert "remove it" in str(refused.value)
    place.write_bytes(whole)
    assert simulate(book, SMALL, folder=folder).results == small.results


def test_every_policy_lives_in_the_same_worlds_and_none_makes_money_of_nothing(small: Trial) -> None:
    for one in small.results:
        wealth = np.array([*one.wealth.values()])
        assert list(one.wealth) == [policy.name for policy in compared_policies()]
        assert ((wealth > 0.3) & (wealth < 2.0)).all()
        assert all(len(one.months[name]) == 1 for name in one.wealth)
        assert one.inside["1/N"] is None
        assert one.still[NOMINAL] == [0]


# Made-up results: what is read of them is known.
#
def made_up(design: Design, at: int, gains: dict[str, float], seed: int = 1) -> list[InvestorResult]:
    """Investors of a cell whose policies all have one random wealth, but for what some gain in every world."""
    names = [policy.name for policy in design.policies(design.cells[at])]
    found = []
    for investor in range(design.investors):
        draw = np.random.default_rng([seed, investor])
        wealth = 1.05 + 0.1 * draw.standard_normal(design.worlds)
        nothing: dict[str, Any] = {name: [0] * design.worlds for name in names}
        own = {name: (wealth + gains.get(name, 0.0)).tolist() for name in names}
        found.append(InvestorResult(
            at, investor, 0, (0,) * design.worlds, own, nothing, dict.fromkeys(names, [None] * design.worlds),
            nothing, dict.fromkeys(names, [1.0] * design.worlds),
        ))  # fmt: skip
    return found


def ruled(book: Book, lost: Sequence[float], helped: Sequence[float]) -> Trial:
    """A full design in which the tree, at each caution about the answer, loses and helps so many bps in all worlds."""
    design = Design(full_cells(book), investors=20, worlds=2)
    results = list[InvestorResult]()
    for at, cell in enumerate(design.cells):
        bps = lost if cell.strength == 0 else helped
        sign = -1.0 if cell.strength == 0 else 1.0
        gains = {f"tree, answer {c:g}": sign * own / 1e4 for c, own in zip(GRID, bps, strict=True)}
        results += made_up(design, at, gains)
    return Trial(book, design, tuple(results))


def test_the_rule_finds_the_largest_caution_whose_loss_and_help_are_known(book: Book) -> None:
    found = ruled(book, lost=[1, 2, 3, 5, 8, 13, 14, 16, 20, 30], helped=[1, 1, 1, 1, 1, 1, -1, 1, 1, 1])

    assert found.default_caution == {"answer": 0.6, "regime": 0.0}
    by = {row.caution: row for row in found.rule if row.axis == "answer"}
    assert [c for c in GRID if by[c].passes] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert len(by[0.6].lost_bps) == 2  # at either announcement share
    assert by[0.6].helped_bps == pytest.approx([1.0, 1.0], abs=1e-6)
    assert by[0.6].lost_at_most_bps[0] == pytest.approx(13.0, abs=0.5)  # a little more by a utility than in money


@pytest.fixture(scope="module")
def even(book: Book) -> Trial:
    """One in which every caution about the answer loses and helps a basis point."""
    return ruled(book, lost=[1.0] * 10, helped=[1.0] * 10)


def test_without_enough_investors_or_a_cell_that_it_looks_at_the_rule_says_nothing(book: Book, even: Trial) -> None:
    found = even
    assert found.default_caution == {"answer": 1.0, "regime": 0.0}

    no_right = tuple(one for one in found.results if one.cell in (0, 1, 4))
    assert Trial(book, found.design, no_right).rule == ()
    few = Trial(book, found.design, tuple(one for one in found.results if one.investor < 2))
    assert few.default_caution == {}
    assert not few.document()["complete"]
    assert {row["p"] for cell in few.cells for row in cell.policies} == {None}


def test_a_sure_difference_is_marked_and_none_is_where_there_is_none(
    even: Trial, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = even
    right = found.cells[0]
    rows = {row["policy"]: row for row in right.policies}
    assert rows["tree, answer 0.5"]["above_nominal_bps"] == pytest.approx(-1.0, abs=0.1)
    assert float(rows["tree, answer 0.5"]["p"] or 1) < 0.05
    assert rows["1/N"]["p"] == 1.0
    assert rows["1/N"]["regret"] == pytest.approx(0.0, abs=1e-12)
    assert rows["tree, answer 0.5"]["regret"] == pytest.approx(1e-4, abs=1e-9)

    for full in (False, True):
        show_trial(found, full=full)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80
        assert full or len(lines) <= 45, len(lines)
        text = "\n".join(lines)
        assert "-1*" in text
        assert "1 about the answer, 0 about the regime." in text


def test_the_document_is_of_its_schema_and_every_number_finite(even: Trial, root: Path) -> None:
    schema = json.loads((root / "schemas" / "trial.schema.json").read_text(encoding="utf-8"))
    document = even.document()

    Draft202012Validator(schema).validate(json.loads(json.dumps(document, allow_nan=False)))
    assert [len(cell["policies"]) for cell in document["cells"]] == [11] * 7
    assert len(document["rule"]) == 20


def test_designs_have_the_cells_that_the_page_names(book: Book) -> None:
    full, reduced = full_cells(book), reduced_cells(book)

    assert [(cell.strength, cell.share, cell.kind) for cell in full] == [
        *((float(s), share, "model") for share in (0.6, 1.0) for s in range(3)), (1.0, 0.6, "other"),
    ]  # fmt: skip
    assert reduced[: len(full)] == full
    assert [cell.about for cell in reduced[len(full) :]] == [(name,) for name in ERRORS]
    whole = asked_design(book, reduced=False)
    assert (whole.investors, whole.worlds, whole.seed, whole.grid) == (200, 10, 26, True)
    grids = [len(whole.policies(cell)) - len(compared_policies()) for cell in full]
    assert grids == [len(grid_policies()) if cell.strength < 2 and cell.kind == "model" else 0 for cell in full]


def test_ctrl_c_keeps_what_is_finished_and_says_so(book: Book, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[tuple[int, int]]()
    work = subject._work

    def stopping(*made: Any) -> Any:
        live = work(*made)

        def one(items: Sequence[tuple[int, int]]) -> Any:
            calls.extend(items)
            if len(calls) > 1:
                raise KeyboardInterrupt
            return live(items)

        return one

    monkeypatch.setattr(subject, "_work", stopping)
    found = simulate(book, SMALL, folder=folder.parent / "stopped")
    assert found.interrupted
    assert found.document()["interrupted"]
    assert [one.investor for one in found.results] == [0]
    assert (folder.parent / "stopped" / "cell-00-investor-0000.json").exists()


def test_the_command_asks_for_a_folder_before_hours_and_refuses_what_it_cannot_live_through() -> None:
    done = runner().invoke(main, ["trial", "data/reviewed"])
    assert done.exit_code == 2
    assert "--out FOLDER" in done.stderr

    refused = runner().invoke(main, ["trial", "data/note", "--reduced", "--json"])
    assert refused.exit_code == 3
    assert "horizon.reviews" in refused.stdout
