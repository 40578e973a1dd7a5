"""`allocator waiting`: what the reviews of a book are worth, beside the announcement share."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import Result

from allocator.__main__ import main
from tests.command_line import runner

pytestmark = pytest.mark.xdist_group("what waiting is worth")


def run(*arguments: object) -> Result:
    return runner().invoke(main, ["waiting", *map(str, arguments)])


@pytest.fixture(scope="module")
def document(root: Path) -> dict[str, Any]:
    answer = run(root / "tests" / "plain_books" / "reviewed", "--json")
    assert answer.exit_code == 0, answer.output
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_the_document_keeps_its_schema(root: Path, document: dict[str, Any]) -> None:
    schema = json.loads((root / "schemas" / "waiting.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    spoiled = copy.deepcopy(document)  # the next tests read it as it is
    del spoiled["waiting"][0]["recourse_bps"], schema["title"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoiled, schema)


def test_the_less_comes_with_the_news_the_more_it_is_worth_to_decide_again(document: dict[str, Any]) -> None:
    found = {one["announcement_share"]: one for one in document["waiting"]}
    assert list(found) == [0.0, 0.6, 1.0]
    assert found[0.0]["recourse_bps"] > found[0.6]["recourse_bps"] > found[1.0]["recourse_bps"] > 0
    for one in found.values():
        assert one["cost_of_robustness_bps"] >= 0
        assert one["protection_bps"] >= 0
        assert one["perfect_information_bps"] >= 0
        assert one["vss_all_bps"] >= one["vss_root_bps"] - 1e-6


def test_no_row_is_empty_although_today_s_holdings_break_rules(document: dict[str, Any]) -> None:
    for one in document["waiting"]:
        assert one["missing"] == {}
        assert all(value is not None for name, value in one.items() if name != "axes")  # of books with two axes
        assert one["idling_bps"] > 0


def test_the_table_fits_eighty_columns_and_says_what_idling_is(root: Path) -> None:
    answer = run(root / "tests" / "plain_books" / "reviewed", "--share", "0.6")
    assert answer.exit_code == 0
    assert max(map(len, answer.stdout.splitlines())) <= 80
    assert "cost of only required trades until news" in answer.stdout
    assert "none" not in answer.stdout


def test_a_book_without_reviews_has_nothing_to_wait_for(root: Path) -> None:
    answer = run(root / "tests" / "plain_books" / "listed")
    assert answer.exit_code == 3
    assert "states no review, so there is nothing to wait for" in " ".join(answer.stderr.split())
