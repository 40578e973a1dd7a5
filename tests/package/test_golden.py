"""What tests/golden.py calls the same: bytes; else orders and texts exactly, numbers to a certificate's tolerance."""

from __future__ import annotations

import copy
import csv
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.golden import compared
from tests.golden_books import write_book, write_tree
from tests.golden_cases import cases_of
from tests.golden_compare import Gone, Ignored, Loose, New, Table, differences
from tests.golden_table import TABLE

PLAN: dict[str, Any] = {
    "format": "allocator.plan/1",
    "orders": [{"side": "buy", "instrument": "META", "quantity": 120.0, "value": 84000.0}],
    "worth": {"gain_bps": 61.5, "verdict": "must trade"},
    "figures": {"after": {"expected_return": 0.1088, "buckets": {"cash": 0.05}}},
    "certificate": {"allowed_bps": 0.01, "gap_bps": 1e-7, "attempts": [], "wasteless": None},
}
NO_TABLE = Table()


def changed(place: str, value: object) -> dict[str, Any]:
    """The plan with another value at a place."""
    plan: Any = copy.deepcopy(PLAN)
    *above, last = place.split(".")
    part = plan
    for key in above:
        part = part[int(key)] if isinstance(part, list) else part[key]
    part[int(last) if isinstance(part, list) else last] = value
    return dict(plan)


def without(place: str) -> dict[str, Any]:
    """The plan without one key of a section."""
    plan: Any = copy.deepcopy(PLAN)
    section, key = place.split(".")
    del plan[section][key]
    return dict(plan)


def paths(old: object, new: object, table: Table = NO_TABLE) -> list[str]:
    """Where two documents differ."""
    return [one.path for one in differences(old, new, table)]


def test_the_same_document_differs_nowhere() -> None:
    assert paths(PLAN, copy.deepcopy(PLAN)) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("figures.after.expected_return", 0.10881),
        ("worth.gain_bps", 61.52),
        ("worth.verdict", "trade"),
        ("orders.0.side", "sell"),
        ("orders.0.instrument", "GOOGL"),
        ("orders.0.quantity", 120.0000001),
        ("certificate.wasteless", 0.0),
    ],
)
def test_a_number_beyond_its_tolerance_a_text_or_an_order_that_changed_is_found(place: str, value: object) -> None:
    assert paths(PLAN, changed(place, value)) == [f"plan.{place}"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("figures.after.expected_return", 0.1088 + 5e-7),
        ("worth.gain_bps", 61.505),
        ("orders.0.value", 84000),
        ("certificate.attempts", ["PIQP: stopped"]),
    ],
)
def test_what_the_certificate_allows_and_the_solver_s_own_affairs_are_equal(place: str, value: object) -> None:
    assert paths(PLAN, changed(place, value)) == []


def test_an_order_that_is_missing_or_further_is_found() -> None:
    assert "plan.orders.0.side" in paths(PLAN, changed("orders", []))
    assert "plan.orders.1.side" in paths(PLAN, changed("orders", PLAN["orders"] * 2))


def test_a_key_that_is_gone_wants_a_reason() -> None:
    new = without("certificate.wasteless")

    assert paths(PLAN, new) == ["plan.certificate.wasteless"]
    assert paths(PLAN, new, Table(paths={"plan.certificate.wasteless": Gone("nobody read it")})) == []


def test_a_key_that_is_new_wants_a_reason() -> None:
    old = without("worth.verdict")

    assert paths(old, PLAN) == ["plan.worth.verdict"]
    assert paths(old, PLAN, Table(new={"plan.worth.verdict": New("the screen showed it")})) == []
    # the reason is for its being there, not for another value
    assert paths(changed("worth.verdict", "hold"), PLAN, Table(new={"plan.worth.verdict": New("the same")})) != []


def test_a_key_that_was_renamed_or_moved_is_followed_with_all_below_it() -> None:
    figures = PLAN["figures"]["after"]
    moved = {key: value for key, value in PLAN.items() if key != "figures"} | {"today": {"proposed": {"all": figures}}}
    one = Table(paths={"plan.figures.after": "plan.today.proposed.all"})
    starred = Table(paths={"plan.figures.*": "plan.today.proposed.all", "plan.figures.*.none": Gone("of no use")})

    assert paths(PLAN, moved, one) == []
    assert paths(PLAN, moved, starred) == []
    assert paths(changed("figures.after.buckets.cash", 0.06), moved, one) == ["plan.today.proposed.all.buckets.cash"]


def test_today_s_names_on_both_sides_need_no_translation() -> None:
    table = Table(paths={"plan.gain": "plan.worth"}, texts={"^must$": "must trade"})

    assert paths(PLAN, PLAN, table) == []


def test_a_table_that_puts_two_keys_in_one_place_is_refused() -> None:
    with pytest.raises(ValueError, match=r"two old keys at plan\.worth\.verdict"):
        paths(PLAN, PLAN, Table(paths={"plan.format": "plan.worth.verdict"}))


def test_texts_formats_and_labels_follow_the_table_and_nothing_else() -> None:
    old = {"format": "allocator.stages/1", "drivers": {"stranded capex": 0.1}, "verdict": "must trade"}
    new = {"format": "allocator.plan/2", "drivers": {"stranded capital": 0.1}, "verdict": "trade required"}
    table = Table(
        formats={"allocator.stages/1": "allocator.plan/2"},
        texts={"^must trade$": "trade required"},
        keys={"capex": "capital"},
    )

    assert paths(old, new, table) == []
    assert paths(old, new | {"verdict": "trade"}, table) == ["plan.verdict"]
    assert paths(old, new | {"format": "allocator.plan/3"}, table) == ["plan.format"]


def test_a_place_may_be_ignored_or_loosened_for_a_reason() -> None:
    new = changed("figures.after.expected_return", 0.1089)

    assert paths(PLAN, new, Table(tolerances={"plan.figures": Loose(1e-3, "sampled")})) == []
    assert paths(PLAN, new, Table(tolerances={"*.figures.*.expected_return": Ignored("sampled")})) == []


def test_the_exit_code_and_what_is_said_on_stderr_are_compared_too() -> None:
    answer = {"exit": 0, "stdout": json.dumps(PLAN), "stderr": "wrote plan.json\n"}

    assert compared(answer, dict(answer), table=NO_TABLE) == []
    assert [one.path for one in compared(answer, answer | {"exit": 5}, table=NO_TABLE)] == ["exit"]
    assert [one.path for one in compared(answer, answer | {"stderr": ""}, table=NO_TABLE)] == ["stderr.text"]


def test_the_cells_of_a_table_are_compared_as_numbers_and_its_orders_exactly() -> None:
    old = "instrument,quantity,cost\nMETA,120,30.35\n"

    def found(new: str) -> list[str]:
        return [one.path for one in compared(old, new, name="rebalance → plans/orders.csv", table=NO_TABLE)]

    assert found(old.replace("30.35", "30.350000001")) == []
    assert found(old.replace("30.35", "30.36")) == ["csv.orders.0.cost"]
    assert found(old.replace("120", "121")) == ["csv.orders.0.quantity"]


def test_random_books_and_trees_are_the_same_for_every_side(tmp_path: Path) -> None:
    for side in ("old", "new"):
        write_book(tmp_path / side / "book", 7)
        write_tree(tmp_path / side / "tree", 7)
    files = sorted(path.relative_to(tmp_path / "old") for path in (tmp_path / "old").rglob("*.*"))

    assert {path.name for path in files} >= {"book.toml", "holdings.csv", "exposures.csv", "scenario_returns.csv"}
    for path in files:
        assert (tmp_path / "old" / path).read_bytes() == (tmp_path / "new" / path).read_bytes()
    with (tmp_path / "old" / "book" / "holdings.csv").open(encoding="utf-8", newline="") as file:
        assert len({len(row) for row in csv.reader(file)}) == 1
    assert tomllib.loads((tmp_path / "old" / "tree" / "book.toml").read_text(encoding="utf-8"))["horizon"]["reviews"]


def test_every_case_has_a_name_of_its_own_and_every_command_a_case() -> None:
    from allocator.__main__ import main

    cases = cases_of(["listed", "note", "reviewed"], ["book"], 30, 10)

    assert len({case.name for case in cases}) == len(cases)
    assert {case.arguments[0] for case in cases} >= set(main.commands)


def test_what_is_there_once_more_in_a_list_is_found_through_the_whole_table() -> None:
    old = {"format": "allocator.plan/1", "binding": [], "given_way": [], "scenarios": [], "positions": []}
    new = {
        "format": "allocator.plan/2",
        "shadow_prices": [{"rule": "ghost", "bps_per_point": 999.0}],
        "relaxed": [{"rule": "ghost"}],
        "scenarios": [{"scenario": "ghost"}],
        "positions": [{"quantity_after": 5}],
    }

    told = {one.path.split(".")[1] for one in differences(old, new, TABLE)}

    assert told >= {"shadow_prices", "relaxed", "scenarios", "positions"}


def test_portfolios_that_change_places_are_found() -> None:
    def made(number: int, *names: str) -> dict[str, Any]:
        return {"format": f"allocator.stress/{number}", "model": {"outcomes": [{"portfolio": name} for name in names]}}

    old, same = made(1, "plan", "holdings"), made(2, "proposed", "current")
    swapped = made(2, "current", "proposed")

    assert differences(old, same, TABLE) == []
    assert len(differences(old, swapped, TABLE)) == 2
