"""`allocator caution`: every plan is optimal at its own caution, and the knee is where more of it stops paying."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner

from allocator.__main__ import main
from allocator.ambiguity.balls import Singleton
from allocator.book.loading import load
from allocator.errors import BadInput
from allocator.mandate.builder import build_mandate
from allocator.multistage import solve as solving
from allocator.optimization.solve import Program
from allocator.outlook.outlook import build_outlook
from allocator.plan.caution import GRID, CautionCurve, CautionRow, CautionStudy, caution_study
from allocator.plan.targets import solve_certified
from allocator.rules.rows import Position
from tests import books
from tests.plan.test_axes import stated


@pytest.fixture(scope="module")
def study(root: Path) -> CautionStudy:
    return caution_study(load(root / "tests" / "plain_books" / "note", overrides=stated(0.5, 0.5)))


def curve(costs: list[float], protections: list[float]) -> CautionCurve:
    """Of given costs and protections."""
    pairs = zip(costs, protections, strict=True)
    return CautionCurve("both", tuple(CautionRow(cost, saved, -0.1, 0.2, 0.0) for cost, saved in pairs))


def test_the_knee_of_the_worked_table_is_at_half() -> None:
    """Science §3.13: price and protection of the note, both axes, c = 0(.1)1."""
    price = [0, 0.3, 1.3, 7.7, 22, 30, 41, 53, 68, 83, 88]
    protection = [0, 3.9, 9.8, 28, 59, 70, 80, 87, 93, 96, 96]

    assert curve(price, protection).knee == 0.5  # type: ignore[arg-type]  # whole numbers are numbers
    assert curve([0.0] * 11, [0.0] * 11).knee is None
    assert curve(list(np.linspace(0, 5, 11)), list(np.linspace(0, 9, 11))).knee is None  # in step


def test_cost_and_protection_begin_at_nothing_and_never_fall(study: CautionStudy) -> None:
    assert [one.axis for one in study.curves] == ["answer", "regime", "both"]
    for one in study.curves:
        assert one.rows[0][:2] == pytest.approx((0, 0), abs=1e-3)
        for name in ("cost_bps", "protection_bps"):
            values = [getattr(row, name) for row in one.rows]
            assert all(after >= before - 0.01 for before, after in pairwise(values))
        assert one.rows[-1].distance == 0


def test_a_plan_of_the_study_is_the_book_s_own_at_that_caution(study: CautionStudy, root: Path) -> None:
    both, at = study.curves[-1], GRID.index(0.5)

    assert study.own == pytest.approx(both.rows[at], abs=2e-4)
    book = load(root / "tests" / "plain_books" / "note", overrides=stated(1.0, 0.0))
    outlook, start = build_outlook(book), Position(book.weights, book.cash / book.value)
    mandate = build_mandate(book, outlook)
    nominal = replace(mandate, ambiguity=Singleton())
    of_answer, trusted = (solve_certified(Program(outlook, one), start, outlook, one)[0] for one in (mandate, nominal))
    cost, protection, *_ = study.curves[0].rows[-1]
    assert (nominal.loss(of_answer, outlook) - nominal.loss(trusted, outlook)) * 1e4 == pytest.approx(cost, abs=0.01)
    assert (mandate.loss(trusted, outlook) - mandate.loss(of_answer, outlook)) * 1e4 == pytest.approx(
        protection, abs=0.01
    )


@pytest.mark.parametrize(("caution", "side"), [(0.0, "before"), (1.0, "beyond")])
def test_the_study_says_on_which_side_of_the_knee_a_book_lies(root: Path, caution: float, side: str) -> None:
    found = caution_study(load(root / "tests" / "plain_books" / "listed", overrides=stated(caution, caution)))

    assert found.side == side
    assert found.own.cost_bps == pytest.approx(found.curves[-1].rows[GRID.index(caution)].cost_bps, abs=0.01)


def test_the_document_is_as_its_schema_says_and_the_screen_fits(root: Path) -> None:
    schema = json.loads((root / "schemas" / "caution.schema.json").read_text(encoding="utf-8"))
    note = str(root / "tests" / "plain_books" / "note")
    document = json.loads(CliRunner().invoke(main, ["caution", note, "--json"]).stdout)
    jsonschema.validate(document, schema)
    screen = CliRunner().invoke(main, ["caution", note]).stdout

    assert len(screen.splitlines()) <= 45
    both = document["curves"][-1]
    assert f"Knee of caution about both: {both['knee']:g}" in " ".join(screen.split())
    assert "The book's plan has" in screen


def test_a_book_without_a_question_or_without_returns_has_no_caution(root: Path) -> None:
    least = ["mandate.objective=minimum_variance", "robust.set=none"]
    with pytest.raises(BadInput, match=r"looks at no return.*choose return_minus_risk"):
        caution_study(load(root / "tests" / "plain_books" / "listed", overrides=least))
    with pytest.raises(BadInput, match=r"caution is of the answers to a question.*add \[question\]"):
        caution_study(books.book(returns={"up": [0.1] * 4, "down": [-0.1] * 4}))


def test_caution_of_a_book_with_reviews_is_of_its_policies(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty-two trees, of four programs: of neither axis, of either, and of both."""
    compiled: list[object] = []
    build = solving.tree_program
    monkeypatch.setattr(solving, "tree_program", lambda *given, **told: compiled.append(given) or build(*given, **told))
    solving._of_thread.__dict__.clear()
    found = caution_study(load(root / "tests" / "plain_books" / "reviewed", overrides=stated(0.3, 0.3, "kl", "kl")))

    assert len(compiled) == 4
    assert found.own.cost_bps == pytest.approx(found.curves[-1].rows[GRID.index(0.3)].cost_bps, abs=0.05)
    assert found.own.protection_bps == pytest.approx(found.curves[-1].rows[3].protection_bps, abs=0.05)
    for one in found.curves:
        assert all(row.cost_bps >= -0.01 for row in one.rows)
        protections = [row.protection_bps for row in one.rows]
        assert all(after >= before - 0.05 for before, after in pairwise(protections))
