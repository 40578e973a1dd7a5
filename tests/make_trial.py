"""Brings a finished trial into the checkout: `python -m tests.make_trial FOLDER`, FOLDER being its --out.

Of the reduced trial every result is committed, of the whole one its document and the first investor of each cell, which
a test lives through again. The tables of docs/trial.md are made of them.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import pytest

import allocator
from allocator.backtesting.cells import Cell, Design, asked_design
from allocator.backtesting.lives import InvestorResult
from allocator.backtesting.trial import Trial
from allocator.book.book import Book

ROOT = Path(__file__).resolve().parents[1]
BOOK, PAGE = ROOT / "data" / "reviewed", ROOT / "docs" / "trial.md"
RESULTS = {
    True: ROOT / "tests" / "backtesting" / "reduced.jsonl",
    False: ROOT / "tests" / "backtesting" / "whole.jsonl",
}
"""By whether the trial is the reduced one: an investor a line."""
DOCUMENT = ROOT / "docs" / "trial.json"


def read_results(path: Path) -> tuple[InvestorResult, ...]:
    """As they were committed."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return tuple(InvestorResult(**{**row, "scenarios": tuple(row["scenarios"])}) for row in rows)


def reduced_trial(book: Book) -> Trial:
    """The committed one."""
    return Trial(book, asked_design(book, reduced=True), read_results(RESULTS[True]))


def screen(trial: Trial, *, full: bool = False) -> str:
    """What the command shows of it at 80 columns."""
    from allocator.display import trial as shown

    with pytest.MonkeyPatch.context() as patch:
        written = StringIO()
        patch.setenv("COLUMNS", "80")
        patch.setenv("NO_COLOR", "1")
        patch.setattr(sys, "stdout", written)
        shown.show_trial(trial, full=full)
    return "".join(line.rstrip() + "\n" for line in written.getvalue().splitlines())


def with_table(page: str, name: str, text: str) -> str:
    """The page with the block after `<!-- name -->` replaced."""
    place = re.compile(rf"(<!-- {name} -->\n```text\n).*?(^```$)", re.MULTILINE | re.DOTALL)
    found, times = place.subn(lambda match: match[1] + text + match[2], page)
    assert times == 1, f"{name} stands {times} times on the page"
    return found


def main(folder: Path) -> None:
    """Write the results, the document of the whole trial, and the page."""
    stated, book = json.loads((folder / "inputs.json").read_text(encoding="utf-8")), allocator.load(BOOK)
    files = sorted(folder.glob("cell-*-investor-*.json"))
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    results = tuple(InvestorResult(**{**row, "scenarios": tuple(row["scenarios"])}) for row in rows)
    cells = tuple(Cell(**{**cell, "about": tuple(cell["about"])}) for cell in stated["cells"])
    investors = 1 + max(one.investor for one in results)
    trial = Trial(
        book, Design(cells, investors, stated["worlds"], stated["seed"], stated["grid"], stated["peers"]), results
    )
    assert trial.document()["complete"], "some investors are not done"
    is_reduced, page = not trial.design.grid, PAGE.read_text(encoding="utf-8")
    if is_reduced:
        assert trial.design == asked_design(book, reduced=True)
        page = with_table(page, "reduced", screen(trial))
    else:
        DOCUMENT.write_text(json.dumps(trial.document(), indent=1) + "\n", encoding="utf-8")
        page = with_table(with_table(page, "whole", screen(trial)), "every figure", screen(trial, full=True))
        results = tuple(one for one in results if one.investor == 0)
    kept = "".join(json.dumps(asdict(one), separators=(",", ":")) + "\n" for one in results)
    RESULTS[is_reduced].write_text(kept, encoding="utf-8")
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
