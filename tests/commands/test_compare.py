"""`allocator compare A B`: books, plan.json files and runs of a ledger; what it says, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from allocator.book.book import Book
from allocator.ledger import record
from allocator.ledger.causes import _Worth
from allocator.ledger.input_groups import GROUPS
from allocator.types import Vector
from tests.conftest import ROOT

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
NOTE = "data/note"
pytestmark = [pytest.mark.usefixtures("plans_made_once"), pytest.mark.xdist_group("compared")]
CHANGES = (
    "--set",
    "mandate.max_weight=0.15",
    "--set",
    "mandate.max_turnover=0.35",
    "--set",
    "costs.commission_bps=5",
    "--believe",
    "generalizable=0.4",
)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with the sample books, where a ledger may be made."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)


def compared(run: Run, valid: Valid, *arguments: object) -> dict[str, Any]:
    answer = run("compare", *arguments, "--json")
    assert answer.exit_code == 0, answer.output
    return valid(answer.stdout, "comparison")


def refusal(run: Run, *arguments: object) -> list[tuple[str, str]]:
    """Where and what of each error of an input that is refused."""
    answer = run("compare", *arguments, "--json")
    assert answer.exit_code == 3, answer.output
    return [(error["table"], error["rule"]) for error in json.loads(answer.stdout)["errors"]]


def test_a_book_is_compared_with_itself_and_a_change_in_it(run: Run, valid: Valid) -> None:
    document = compared(run, valid, NOTE, *CHANGES)

    assert [row["group"] for row in document["groups"]] == ["signals", "mandate", "costs"]
    assert document["groups"][1]["changed"] == ["mandate.max_weight 0.18 → 0.15", "mandate.max_turnover 0.4 → 0.35"]
    assert document["a"]["label"] == NOTE
    assert document["b"]["label"] == f"{NOTE} {' '.join(CHANGES).replace('--believe ', '--set believe.')}"
    for row in (*document["weights"], *document["figures"]):
        assert abs(sum(row["parts"].values()) + row["lots"] - (row["b"] - row["a"])) <= 1e-9
        assert all(row["least"][group] <= row["most"][group] for group in row["parts"])
    plans = [json.loads(run("rebalance", NOTE, *more, "--json").stdout) for more in ((), CHANGES)]
    for side, plan in zip("ab", plans, strict=True):
        weights = {row["instrument"]: row["weight_after"] for row in plan["positions"]}
        assert {row["instrument"]: row[side] for row in document["weights"]} == weights
        orders = {one["instrument"]: (one["side"], one["quantity"]) for one in plan["orders"]}
        rows = {one["instrument"]: (one[f"{side}_side"], one[f"{side}_quantity"]) for one in document["orders"]}
        assert {name: order for name, order in rows.items() if order[0]} == orders
        assert {row[f"{side}_rule"] for row in document["rules"]} >= {row["rule"] for row in plan["rules"]}


def test_a_limit_stands_beside_the_same_limit_at_another_number(run: Run, valid: Valid) -> None:
    rows = compared(run, valid, NOTE, *CHANGES)["rules"]
    pairs = {row["a_rule"]: row["b_rule"] for row in rows}

    assert pairs["META at most 18%"] == "META at most 15%"
    assert pairs["cash at least 2%"] == "cash at least 2%"
    assert pairs["turnover at most 40% (sales)"] == "turnover at most 35% (sales)"
    assert len(pairs) == len(rows)
    assert None not in {*pairs, *pairs.values()}


@pytest.mark.parametrize("full", [False, True])
def test_the_screen_fits_a_terminal_and_full_shows_every_range(run: Run, full: bool) -> None:
    said = run("compare", NOTE, *CHANGES, *(["--full"] if full else [])).stdout
    lines = said.splitlines()

    assert max(map(len, lines)) <= 80
    assert "What made the difference, % of the account, mean over all orders of the groups" in said
    assert "mandate: mandate.max_weight 0.18 → 0.15, mandate.max_turnover 0.4 → 0.35" in lines
    if full:
        assert said.count("in any order") >= 10
    else:
        assert len(lines) <= 45
    head = next(line for line in lines if line.split()[:3] == ["change", "signals", "mandate"])
    moved = next(line for line in lines if line.startswith("moved"))
    assert head.split() == ["change", "signals", "mandate", "costs", "lots"]
    assert moved.count("%") == 3


def test_in_full_no_number_of_four_groups_is_cut_and_every_name_is_there(run: Run) -> None:
    more = (*CHANGES, "--set", "risk.market_volatility=0.2")
    document = json.loads(run("compare", NOTE, *more, "--json").stdout)
    told = run("compare", NOTE, *more, "--full").stdout
    lines = told[told.index("What made the difference") :].splitlines()

    groups = [row["group"] for row in document["groups"]]
    read = 0
    assert groups == ["signals", "model", "mandate", "costs"]
    assert next(line for line in lines if line.split()[:1] == ["change"]).split() == ["change", *groups, "lots"]
    for row in document["weights"]:
        at = next(at for at, line in enumerate(lines) if line.split()[:1] == [row["instrument"]])
        if all(abs(value) >= 1e-6 for end in ("parts", "least", "most") for value in row[end].values()):
            for line, end in zip(lines[at + 1 : at + 3], ("least", "most"), strict=True):
                assert [float(cell) for cell in line.split()[-4:]] == [round(100 * row[end][one], 2) for one in groups]
                read += 1
    assert read >= 4


def test_two_plans_on_disk_are_side_by_side_and_no_cause_is_guessed(run: Run, valid: Valid) -> None:
    run("rebalance", NOTE, "--out", "one")
    run("rebalance", NOTE, *CHANGES, "--out", "two")
    document = compared(run, valid, "one", "two/plan.json")

    assert document["groups"] == []
    assert {row["parts"] for row in document["weights"]} == {None}
    assert document["notes"] == [
        "What made the difference wants both books: one and two/plan.json hold no inputs. Name the books, or recorded "
        "runs.",
        "Written otherwise, beside holdings, signals and the date: [believe], [costs], [mandate].",
    ]
    books = compared(run, valid, NOTE, *CHANGES)
    assert [row["a"] for row in document["weights"]] == [row["a"] for row in books["weights"]]
    assert [row["b"] for row in document["weights"]] == [row["b"] for row in books["weights"]]
    assert "one and two/plan.json hold no inputs" in " ".join(run("compare", "one", "two/plan.json").stdout.split())
    assert compared(run, valid, NOTE, "two")["notes"][0].startswith(
        "What made the difference wants both books: two holds"
    )


def test_runs_of_a_ledger_are_compared_by_what_was_recorded(run: Run, valid: Valid) -> None:
    assert run("rebalance", NOTE, "--record", "--run-id", "one").exit_code == 0
    assert run("rebalance", NOTE, *CHANGES, "--record", "--run-id", "two").exit_code == 0
    (Path("data") / "note" / "holdings.csv").unlink()  # what was recorded is enough
    document = compared(run, valid, "one", "two")

    assert [row["group"] for row in document["groups"]] == ["signals", "mandate", "costs"]
    assert document["notes"] == []
    changed = compared(run, valid, "one", "--set", "mandate.max_weight=0.15")
    assert [row["group"] for row in changed["groups"]] == ["mandate"]
    assert refusal(run, "one", "three")[0][1].startswith("is nothing here, and no run of ledger.db: ")
    assert refusal(run, "one", "two", "--account", "other")[0] == ("--account", "one is of account main")


def test_a_recorded_run_is_solved_again_where_something_else_would_make_it_now(
    run: Run, valid: Valid, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("rebalance", NOTE, "--record", "--run-id", "one").exit_code == 0
    with monkeypatch.context() as before:
        before.setattr(record, "versions", lambda: {"cvxpy": "0.9"})
        assert run("rebalance", NOTE, *CHANGES, "--record", "--run-id", "old").exit_code == 0
    solved = list[tuple[str, ...]]()
    of_book = _Worth.of_book

    def counted(worth: _Worth, book: Book, mix: Collection[str], **further: bool) -> Vector:
        solved.append(tuple(mix))
        return of_book(worth, book, mix, **further)

    monkeypatch.setattr(_Worth, "of_book", counted)
    compared(run, valid, "one", "old")
    assert solved[0] == tuple(GROUPS)  # of the two that which is of other versions, and six between
    assert len(solved) == 7

    solved.clear()
    compared(run, valid, "one", "--set", "mandate.max_weight=0.15")
    assert not solved


def test_nothing_is_said_to_differ_where_nothing_does(run: Run, valid: Valid) -> None:
    document = compared(run, valid, NOTE, NOTE)

    assert document["notes"] == ["Nothing that a plan is made from differs."]
    assert {row["b"] - row["a"] for row in document["weights"]} == {0.0}


def test_what_cannot_be_compared_is_refused_with_a_cure(run: Run) -> None:
    Path("broken").mkdir()
    Path("broken/plan.json").write_text('{"format": "allocator.plan/2", "book": {}}', encoding="utf-8")
    run("rebalance", NOTE, "--out", "one")

    answer = run("compare", NOTE)
    assert answer.exit_code == 2
    assert "name B too, or change A with --set, --believe or --as-of" in answer.stderr
    assert refusal(run, NOTE, "data/nothing") == [("data/nothing", "is not there")]
    assert refusal(run, NOTE, "data") == [("data", "has no book.toml and no plan.json")]
    assert refusal(run, NOTE, "broken") == [("broken", "is not as it was written: it is without 'figures'")]
    ((where, rule),) = refusal(run, NOTE, "one", "--set", "costs.commission_bps=2")
    assert (where, rule[:36]) == ("one", "is a plan.json, which holds nothing ")
    assert refusal(run, NOTE, "--set", "mandate.max_wieght=0.2") == [("--set", "unknown key")]


def test_errors_of_both_books_are_told_at_once_and_say_whose_they_are(run: Run) -> None:
    for folder in ("note", "listed"):
        file = Path("data", folder, "holdings.csv")
        file.write_text(file.read_text(encoding="utf-8").replace("USD", "UDS", 1), encoding="utf-8")

    tables = {where for where, _ in refusal(run, NOTE, "data/listed")}

    assert {"data/note/holdings.csv", "data/listed/holdings.csv"} <= tables
    assert len(refusal(run, NOTE, *CHANGES)) == len({*refusal(run, NOTE, *CHANGES)})


def test_a_book_without_a_plan_is_named_in_the_refusal(run: Run) -> None:
    answer = run("compare", NOTE, "--set", "mandate.max_turnover=0.01")

    assert answer.exit_code == 4
    assert f"{NOTE} --set mandate.max_turnover=0.01: infeasible" in " ".join(answer.stderr.split())
