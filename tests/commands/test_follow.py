"""Re-solving over time: a later run follows the announced policy when nothing else changed, and says why it departs."""

from __future__ import annotations

import csv
import datetime as dt
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from allocator.__main__ import main
from allocator.book.loading import load
from allocator.outlook.outlook import build_outlook
from allocator.plan.follow import FOLLOWS
from tests.command_line import runner
from tests.implied_books import announced, node_book
from tests.thoroughness import some

pytestmark = [pytest.mark.usefixtures("plans_made_once"), pytest.mark.xdist_group("followed")]
policy_of = functools.cache(announced)
"""The policy of a folder that no test changes."""


def run(*arguments: object) -> Result:
    return runner().invoke(main, [str(one) for one in arguments])


def held_against(plan: Path, book: Path, day: object, *more: str) -> dict[str, Any]:
    answer = run("rebalance", book, "--as-of", day, "--follow", plan / "plan.json", "--json", *more)
    assert answer.exit_code == 0, answer.output
    found: dict[str, Any] = json.loads(answer.stdout)["followed"]
    return found


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The sample book with smallest orders and lots of nearly nothing, so that they hardly move it off the policy."""
    place = tmp_path_factory.mktemp("follow") / "book"
    place.mkdir()
    for path in (root / "tests" / "plain_books" / "reviewed").iterdir():
        (place / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    book = place / "book.toml"
    book.write_text(book.read_text(encoding="utf-8").replace("min_trade = 50000", "min_trade = 0"), encoding="utf-8")
    with (place / "holdings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (place / "holdings.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"lot_size": "1"} for row in rows if row["instrument"] != "USD")
        writer.writerows(row for row in rows if row["instrument"] == "USD")
    return place


@pytest.fixture(scope="module")
def plan(sample: Path) -> Path:
    answer = run("rebalance", sample, "--out", sample.parent / "plan")
    assert answer.exit_code == 0, answer.output
    return sample.parent / "plan"


@pytest.mark.parametrize("node", some(range(11), 3))  # of every review one
def test_a_run_at_each_node_follows_what_was_announced_for_it(
    sample: Path, plan: Path, tmp_path: Path, node: int
) -> None:
    policy, states = policy_of(sample, ())
    place = tmp_path / "book"
    node_book(sample, place, policy, states[node], node)
    found = held_against(plan, place, states[node].day)
    assert found["node"] == states[node].name
    assert found["follows"]
    assert found["distance"] < FOLLOWS
    # the announced policy begins with whole lots, the node's book with fractions: only holdings differ, and by little
    assert all(cause.startswith("holdings") for cause in found["causes"])


def test_between_reviews_the_announced_policy_holds_and_a_moved_belief_is_a_cause(sample: Path, plan: Path) -> None:
    announced_for, then = (
        build_outlook(load(sample, as_of=day)).probabilities for day in (None, dt.date(2026, 12, 20))
    )
    moved = np.abs(then - announced_for).sum() / 2
    assert moved > 0.01
    found = held_against(plan, sample, "2026-12-20")
    assert (found["node"], found["between_reviews"]) == ("now", True)
    assert any(cause.startswith(f"the belief: {moved:.1%}") for cause in found["causes"])
    assert "the date: it was announced for 2026-11-20" in found["causes"]


def test_what_has_changed_is_said_with_its_size(sample: Path, plan: Path, tmp_path: Path) -> None:
    place = tmp_path / "book"
    place.mkdir()
    for path in sample.iterdir():
        (place / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    with (place / "holdings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["instrument"] == "GPU":
            row["price"] = str(float(row["price"]) * 1.2)
    with (place / "holdings.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    found = held_against(plan, place, "2026-11-20", "--set", "mandate.max_weight=0.16")
    assert not found["follows"]
    assert "prices: 1 differ from the announced ones, most GPU by +20.0%" in found["causes"]
    assert "the book: [mandate] changed" in found["causes"]
    assert any(cause.startswith("holdings: ") for cause in found["causes"])
    said = run("rebalance", place, "--follow", plan / "plan.json", "--set", "mandate.max_weight=0.16").stdout
    assert "Departs from what 'now' announced by" in said
    assert "Changed: the book: [mandate] changed." in said


def test_a_run_that_changes_nothing_says_so(sample: Path, plan: Path) -> None:
    said = run("rebalance", sample, "--follow", plan / "plan.json").stdout
    assert "Follows what 'now' announced" in said
    assert "Nothing else has changed." in said


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{", "cannot be read"),
        ("{}", "is no plan of format allocator.plan/2"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_announced_plan_is_refused(sample: Path, tmp_path: Path, text: str | None, rule: str) -> None:
    path = tmp_path / "plan.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    answer = run("rebalance", sample, "--follow", path)
    assert answer.exit_code == 3
    assert rule in answer.stderr


def test_a_later_plan_another_account_and_other_instruments_are_refused(
    sample: Path, plan: Path, tmp_path: Path
) -> None:
    document = json.loads((plan / "plan.json").read_text(encoding="utf-8"))
    changes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"book": document["book"] | {"as_of": "2027-01-01"}}, "is of 2027-01-01, later than as_of"),
        ({"book": document["book"] | {"account": "other"}}, "is of account other"),
        (
            {"policy": {"nodes": [document["policy"]["nodes"][0] | {"after": {"GPU": 1.0}}]}},
            "is about other instruments",
        ),
        ({"policy": None}, "has no policy to follow"),
        ({"format": "allocator.plan/1"}, "is no plan of format allocator.plan/2"),
    )
    for change, rule in changes:
        path = tmp_path / "plan.json"
        path.write_text(json.dumps(document | change), encoding="utf-8")
        answer = run("rebalance", sample, "--follow", path)
        assert answer.exit_code == 3
        assert rule in " ".join(answer.stderr.split())


def test_a_book_that_announces_no_policy_has_nothing_to_follow(root: Path, plan: Path) -> None:
    answer = run("rebalance", root / "tests" / "plain_books" / "listed", "--follow", plan / "plan.json")
    assert answer.exit_code == 3
    assert "it announces no policy" in " ".join(answer.stderr.split())


def test_a_plan_that_is_not_whole_is_refused_and_not_a_traceback(sample: Path, plan: Path, tmp_path: Path) -> None:
    document = json.loads((plan / "plan.json").read_text(encoding="utf-8"))
    del document["fingerprints"]
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    answer = run("rebalance", sample, "--follow", path)
    assert answer.exit_code == 3
    assert "is not as it was written: it is without 'fingerprints'" in " ".join(answer.stderr.split())


def test_a_table_that_changed_is_a_cause(sample: Path, tmp_path: Path) -> None:
    place = tmp_path / "book"
    place.mkdir()
    for path in sample.iterdir():
        (place / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    rows = csv.DictReader((place / "holdings.csv").read_text(encoding="utf-8").splitlines())
    names = [row["instrument"] for row in rows]

    def benchmark(first: float) -> None:
        weights = [first, 1 - first, *[0.0] * (len(names) - 2)]
        rows = "".join(f"{name},{weight}\n" for name, weight in zip(names, weights, strict=True))
        (place / "benchmark.csv").write_text("instrument,weight\n" + rows, encoding="utf-8")

    benchmark(0.5)
    assert run("rebalance", place, "--out", tmp_path / "plan").exit_code == 0
    benchmark(0.4)
    assert held_against(tmp_path / "plan", place, "2026-11-20")["causes"] == ["the book: benchmark.csv changed"]


def test_targets_follow_within_half_a_percent_of_the_account_and_no_further(
    sample: Path, plan: Path, tmp_path: Path
) -> None:
    from allocator.book.loading import load
    from allocator.plan.follow import policy_deviation
    from allocator.plan.rebalance import rebalance

    today = rebalance(load(sample))
    document = json.loads((plan / "plan.json").read_text(encoding="utf-8"))
    own = dict(zip(today.book.instruments, map(float, today.target.weights), strict=True))
    first, second = sorted(own, key=lambda name: -own[name])[:2]
    told = {}
    for part in (0.0049, 0.0051):
        document["policy"]["nodes"][0]["after"] = own | {first: own[first] - part, second: own[second] + part}
        (tmp_path / "plan.json").write_text(json.dumps(document), encoding="utf-8")
        deviation = policy_deviation(today, tmp_path / "plan.json")
        assert deviation.distance == pytest.approx(part, abs=1e-12)
        told[part] = deviation.follows

    assert told == {0.0049: True, 0.0051: False}
