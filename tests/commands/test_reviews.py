"""`allocator rebalance` and `allocator outlook` on a book with reviews: documents, files, exit codes and widths."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from jsonschema import Draft202012Validator

from allocator.__main__ import main
from tests.command_line import runner

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
pytestmark = [pytest.mark.usefixtures("plans_made_once"), pytest.mark.xdist_group("plans of the reviewed book")]


def ran(*arguments: object) -> Result:
    answer = runner().invoke(main, [str(one) for one in arguments])
    assert answer.exit_code == 0, answer.output
    return answer


@pytest.fixture(scope="module")
def sample(root: Path) -> Path:
    return root / "tests" / "plain_books" / "reviewed"


@pytest.fixture(scope="module")
def out(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample book's plan, written."""
    folder = tmp_path_factory.mktemp("plan")
    ran("rebalance", sample, "--out", folder)
    return folder


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of a document that has keys of a contract, the first of each list."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from objects(inner)
    elif isinstance(value, list) and value:
        yield from objects(value[0])


def test_a_plan_with_reviews_is_of_its_schema_with_and_without_an_earlier_one(
    sample: Path, out: Path, valid: Valid
) -> None:
    alone = valid((out / "plan.json").read_text(encoding="utf-8"), "plan")
    followed = valid(ran("rebalance", sample, "--json", "--follow", out / "plan.json").stdout, "plan")
    assert alone["followed"] is None
    assert followed["followed"]["follows"] is True
    # the same inputs give the same document; orders.csv names the digest of the whole of it
    assert {**followed, "followed": None, "orders_sha256": alone["orders_sha256"]} == alone


def test_a_plan_that_holds_is_of_the_schema(sample: Path, valid: Valid) -> None:
    wide = ("--set", "mandate.max_weight=0.9", "--set", "trading.min_gain_bps=5000")
    loose = ("--set", "mandate.max_cash=0.9", "--set", "mandate.buckets.capital_intensity.max=1.0")
    free = ("--set", "mandate.groups.orbit.max=1.0", "--set", "mandate.buckets.efficiency.min=0.0")
    free += ("--set", "mandate.groups.private.max=1.0", "--set", "mandate.min_cash=0.0")
    found = valid(ran("rebalance", sample, "--json", *wide, *loose, *free).stdout, "plan")
    assert (found["decision"]["verdict"], found["orders"]) == ("no trade", [])
    assert found["decision"]["orders"] > 0


def test_the_tree_is_of_its_schema(sample: Path, valid: Valid) -> None:
    assert valid(ran("outlook", sample, "--json").stdout, "outlook")


@pytest.mark.parametrize(
    "key", ["price", "followed", "fingerprints", "caution_schedule", "nodes", "policy", "certificate"]
)
def test_a_key_that_is_removed_or_added_fails_the_schema(root: Path, out: Path, key: str) -> None:
    schema = json.loads((root / "schemas" / "plan.schema.json").read_text(encoding="utf-8"))
    document = json.loads((out / "plan.json").read_text(encoding="utf-8"))
    check = Draft202012Validator(schema)
    for change in ("removed", "added"):
        spoiled = copy.deepcopy(document)
        (place, *_) = [one for one in objects(spoiled) if key in one and (key != "price" or "weight_target" in one)]
        if change == "removed":
            del place[key]
        else:
            place["more"] = 1
        assert check.is_valid(document)
        assert not check.is_valid(spoiled), change


def test_orders_are_written_as_the_document_has_them(out: Path) -> None:
    assert sorted(path.name for path in out.iterdir()) == ["orders.csv", "plan.json"]
    document = json.loads((out / "plan.json").read_text(encoding="utf-8"))
    with (out / "orders.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["side"], row["instrument"], float(row["quantity"])) for row in rows] == [
        (order["side"], order["instrument"], order["quantity"]) for order in document["orders"]
    ]


@pytest.mark.parametrize("columns", [80, 60])
def test_the_plan_and_the_tree_fit_the_terminal(sample: Path, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in (("rebalance",), ("rebalance", "--full"), ("outlook",)):
        lines = ran(*command, sample).stdout.splitlines()
        assert [line for line in lines if len(line) > columns] == []


def test_a_time_limit_that_is_too_small_exits_without_a_plan(sample: Path, run: Run, tmp_path: Path) -> None:
    answer = run("rebalance", sample, "--set", "solver.time_limit_seconds=0.000001", "--out", tmp_path / "out")
    assert answer.exit_code == 5
    assert "raise solver.time_limit_seconds" in " ".join(answer.stderr.split())
    assert not (tmp_path / "out" / "plan.json").exists()


def test_explaining_a_book_of_a_utility_is_refused_with_the_cure(sample: Path, run: Run) -> None:
    answer = run("explain", sample)
    assert answer.exit_code == 3
    told = " ".join(answer.stderr.split())
    assert (
        "mandate.objective is solved on the tree of decisions, and explanations are of one period (got 'log')" in told
    )
    assert "choose mandate.objective = 'return_minus_risk' with horizon.reviews = [], or look at" in told


def test_a_narrow_terminal_is_shown_fewer_columns_and_no_broken_word(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = ran("rebalance", sample, "--full").stdout.partition("The policy, review by review")[2].splitlines()
    rows = shown[2 : next(at for at, line in enumerate(shown) if line.startswith("Probability:"))]
    kinds = [line.split()[0] for line in rows]

    assert shown[1].split() == ["if", "probability", "P(gen)", "robustness", "eff/cap"]
    assert not [line for line in shown if "Radius:" in line]
    assert set(kinds) <= {"now", "silent", "claimed", "verified", "refuted", "2027-02-20", "2027-05-20", "2027-08-20"}
    assert kinds.count("silent") == kinds.count("claimed") == 3
