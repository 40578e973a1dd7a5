"""The trial that rules of other packages stand: our own pass it, and no number of a row may be off its formula."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.mandate.builder import build_mandate
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.rules import LinearRule, RuleRows
from allocator.rules.plugin_rules import rows_against_formula

MORE = (
    "mandate.min_expected_return=0.02", "mandate.min_worst_scenario_return=-0.3",
    "mandate.locked=['EQIX']", "mandate.forbidden=['ADBE']", "mandate.ratios.two={group='chips', to='power', max=2.0}",
    "mandate.exposures.beta.min=0.2",
)  # fmt: skip


@pytest.fixture(scope="module")
def listed() -> tuple[Book, Outlook]:
    book = load(Path(__file__).resolve().parents[2] / "tests" / "plain_books" / "listed", overrides=MORE)
    return book, build_outlook(book)


def ours(book: Book, outlook: Outlook) -> Iterator[tuple[LinearRule, RuleRows]]:
    for rule in build_mandate(book, outlook).linear_rules:
        yield rule, rule.rows(len(book.instruments)).on(outlook)


def found(rule: LinearRule, rows: RuleRows, listed: tuple[Book, Outlook]) -> list[str]:
    return list(rows_against_formula(rows, lambda trade: rule.readings(trade, listed[1]), listed[0]))


def test_every_rule_of_ours_says_the_same_by_its_rows_and_by_its_readings(listed: tuple[Book, Outlook]) -> None:
    rules = list(ours(*listed))

    assert len({type(rule) for rule, _ in rules}) >= 10
    assert [told for rule, rows in rules for told in found(rule, rows, listed)] == []


@pytest.mark.parametrize("part", ["holdings", "wealth", "limit", "buys", "sells"])
def test_a_number_of_a_row_that_is_a_hundredth_off_is_found_out(listed: tuple[Book, Outlook], part: str) -> None:
    wrong = [
        (rule, replace(rows, **{part: getattr(rows, part) * 0.99}))
        for rule, rows in ours(*listed)
        if np.abs(rows.limit + rows.wealth).max() > 1e-3  # where a limit is 0 the rows may be in any unit
        and (getattr(rows, part).nnz if part in ("holdings", "buys", "sells") else getattr(rows, part).any())
    ]

    assert wrong
    assert [rows.labels for rule, rows in wrong if not found(rule, rows, listed)] == []
