"""Books of an own question: what cannot be asked is refused with the cure, and the AI note's words are nowhere."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from allocator.__main__ import main
from allocator.book.loading import load
from allocator.errors import BadInput

WORDS = re.compile(r"generalizable|jevons|token", re.IGNORECASE)
WORDS_IN_CODE = re.compile(r"generalizable|jevons|tokens|token_?reduction", re.IGNORECASE)
"""A token of an address or of a login is none of the note's."""


def refused(folder: Path, *overrides: str) -> list[str]:
    """What is said of a book that cannot be."""
    with pytest.raises(BadInput) as error:
        load(folder, overrides=list(overrides))
    return [f"{each.column}: {each.rule} (got {each.value}); {each.cure}" for each in error.value.breaches]


@pytest.fixture
def approval(root: Path, tmp_path: Path) -> Path:
    """A copy of the sample book that may be spoiled."""
    return Path(shutil.copytree(root / "tests" / "plain_books" / "approval", tmp_path / "approval"))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ('question.hypotheses=["approved"]', "hypotheses has one answer, 'approved'"),
        ('question.hypotheses=["approved","approved","rejected"]', "'approved' is named twice among hypotheses and re"),
        ('question.regimes=["approved","uncovered"]', "'approved' is named twice among hypotheses and regimes"),
        ('question.hypotheses=["approved","restrict","rejected"]', "must be approved or restrict or rejected"),
        ("question.sources.agency.approvd={disclosure=0.5,hazard=0.1,background=0.1}", "did you mean 'approved'?"),
        ("question.sources.idle={}", "may disclose nothing, so that its silence says nothing"),
        ("scenarios.approved_covered.probability=0.4", "probabilities must sum to 1"),
        ("scenarios.approved_covered.regime='paid'", "must be covered or uncovered for [question] to mean it"),
        ("scenarios.approved_covered.demand='covered'", "demand is the old name of regime, and both are stated"),
        ("believe.approvd=0.5", "did you mean 'approved'?"),
        ("believe.approved=1.2", "must be at most 1"),
        ("market.probabilities.approved_covered=0.5", "must sum to 1"),
        ("question.demand={elasticity_mean=1.2,elasticity_deviation=0.6,figure_noise=0.25}", ""),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_cure(approval: Path, override: str, told: str) -> None:
    if not told:
        assert load(approval, overrides=[override])  # two regimes, the first where the elasticity is above 1
        return
    assert any(told in line for line in refused(approval, override))


def test_views_of_hypotheses_and_scenarios_are_not_mixed_and_must_leave_room(approval: Path) -> None:
    mixed = refused(approval, "believe.approved=0.5", "believe.rejected_covered=0.1")
    assert any("speaks of hypotheses and of scenarios at once" in line for line in mixed)
    every = [f"believe.{name}=0.5" for name in ("approved", "restricted", "rejected")]
    assert any("must sum to 1" in line for line in refused(approval, *every))


def test_answers_that_nobody_can_disclose_are_told_apart_by_nothing(approval: Path) -> None:
    text = (approval / "book.toml").read_text()
    for name in ("restricted", "rejected"):
        text = re.sub(rf"\[question\.sources\.agency\.{name}\]\n(.+\n)+", "", text)
    (approval / "book.toml").write_text(text)
    (line,) = refused(approval)
    assert line.startswith("question.hypotheses: cannot be disclosed by anybody, and neither can restricted")


def test_a_question_whose_answers_have_no_names_asks_for_them(approval: Path) -> None:
    text = (approval / "book.toml").read_text()
    (approval / "book.toml").write_text(re.sub(r"hypotheses = .*\n", "", text))
    assert any(
        'the one that labs may disclose first: hypotheses = ["approved", "restricted", "rejected"]' in line
        for line in refused(approval)
    )


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("2026-09-01,claim,agency,,,,x", "hypothesis: is needed, as agency may disclose several"),
        ("2026-09-01,claim,sponsor,rejected,,,x", "sponsor has no hazard of it in [question.sources]"),
        ("2026-09-01,claim,agency,aproved,,,x", "did you mean 'approved'?"),
        ("2026-09-01,claim,agency,approved,1.5,,x", "must lie from 0 to 1"),
        ("2026-09-01,evidence,me,,1,0.5,x", "hypothesis: is needed for evidence"),
        ("2026-09-01,evidence,me,approved,1,,x", "log10_bayes_factor: is needed for evidence"),
        ("2026-09-01,evidence,me,aproved,1,0.5,x", "did you mean 'approved'?"),
        ("2026-09-01,claim,agency,approved,1,0.5,x", "belongs to evidence, and this is a claim"),
        ("2026-09-01,verification,agency,approved,1,,x", "agency has claimed nothing by 2026-09-01"),
        ("2026-08-14,evidence,advisory committee,approved,1,0.3,x", "stands here twice"),
        ("2026-10-20,claim,any source,approved,1,,x", "since: is needed for a claim by any source"),
    ],
)
def test_a_row_of_evidence_that_cannot_be_is_refused(approval: Path, row: str, told: str) -> None:
    with (approval / "signals.csv").open("a") as file:
        file.write(row + "\n")
    assert any(told in line for line in refused(approval))


def test_several_claims_of_a_source_are_judged_in_their_order(approval: Path) -> None:
    rows = ["2026-10-10,claim,sponsor,approved,1,,x", "2026-10-12,refutation,sponsor,approved,1,,x",
            "2026-10-13,refutation,sponsor,approved,1,,x"]  # fmt: skip
    with (approval / "signals.csv").open("a") as file:
        file.write("\n".join(rows) + "\n")
    assert load(approval)
    with (approval / "signals.csv").open("a") as file:
        file.write("2026-10-14,refutation,sponsor,approved,1,,x\n")
    assert any("a claim is judged once" in line for line in refused(approval))


def test_a_market_without_a_model_wants_required_returns(approval: Path) -> None:
    table = (approval / "exposures.csv").read_text().replace("12,0.11,", "12,,")
    (approval / "exposures.csv").write_text(table)
    text = re.sub(r"reviews = .*\n", "", (approval / "book.toml").read_text())
    (approval / "book.toml").write_text(text)
    assert any("is needed by [market] for SPNSR" in line for line in refused(approval))


def test_typed_returns_and_reviews_want_a_market_and_keep_it(approval: Path) -> None:
    text = (approval / "book.toml").read_text()
    start, end = text.index("[market]"), text.index("[horizon]")
    (approval / "book.toml").write_text(text[:start] + text[end:])
    assert [line for line in refused(approval) if line.startswith("market: is needed with reviews")]
    (approval / "book.toml").write_text(text)
    assert load(approval)


@pytest.mark.parametrize(
    "command", [["rebalance", "--full"], ["beliefs"], ["outlook"], ["waiting"], ["stress", "--full"], ["returns"]],
    ids=lambda command: str(command[0]),
)  # fmt: skip
def test_no_screen_of_an_own_question_has_the_words_of_the_note(root: Path, command: list[str]) -> None:
    book = str(root / "tests" / "plain_books" / "approval")
    fewer = ["--set", "horizon.reviews=[2027-02-19]", "--share", "1"] if command == ["waiting"] else []  # or it is slow
    for form in ([], ["--json"]):
        told = CliRunner().invoke(main, [command[0], book, *fewer, *(form or command[1:])])
        assert told.exit_code == 0, told.output
        assert not WORDS.search(told.output)
        if form:
            assert json.loads(told.stdout)["format"].startswith("allocator.")


def test_outside_the_efficiency_model_no_code_has_the_words_of_its_question(root: Path) -> None:
    found = [
        f"{path.relative_to(root)}: {line.strip()}"
        for path in sorted((root / "allocator").rglob("*.py"))
        if not path.name.startswith("efficiency_model")
        for line in path.read_text().splitlines()
        if WORDS_IN_CODE.search(line)
    ]
    assert found == []
