"""What signals.csv may not say of a claim by any lab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from allocator.book.loading import load
from allocator.errors import BadInput

if TYPE_CHECKING:
    from tests.conftest import Folder

HEADER = ["date", "kind", "source", "since"]
ANY = ["2026-08-01", "claim", "any lab", "2026-07-01"]
ORDER = "must be from the opening on 2026-04-08 to before the row's own date"


@pytest.mark.parametrize(
    ("rows", "column", "rule"),
    [
        ([[*ANY[:3], ""]], "since", "is needed for a claim by any lab"),
        ([["2026-08-01", "claim", "OpenAI", "2026-07-01"]], "since", "belongs to a claim by any source"),
        (
            [ANY, ["2026-09-01", "verification", "any lab", "2026-07-01"]],
            "since",
            "belongs to a claim, and this is a verification",
        ),
        ([[*ANY[:3], "2026-04-07"]], "since", ORDER),
        ([[*ANY[:3], "2026-08-01"]], "since", ORDER),
        (
            [ANY, ["2026-09-01", "claim", "OpenAI", ""]],
            "source",
            "comes after a claim by any source, which stands for the first of them",
        ),
        ([["2026-09-01", "verification", "any lab", ""]], "kind", "any lab has claimed nothing by 2026-09-01"),
    ],
)
def test_a_claim_by_any_lab_that_makes_no_sense_is_refused(
    note: Folder, rows: list[list[str]], column: str, rule: str
) -> None:
    note.write("signals.csv", [HEADER, *rows])
    with pytest.raises(BadInput) as caught:
        load(note.path)
    assert [(b.row, b.column, b.rule) for b in caught.value.breaches] == [(len(rows) + 1, column, rule)]


def test_a_claim_by_any_lab_and_its_verdict_are_taken(note: Folder) -> None:
    note.write("signals.csv", [HEADER, ANY, ["2026-09-01", "refutation", "any lab", ""]])
    book = load(note.path)
    assert book.signals is not None
    assert len(book.signals) == 2
