"""plan.json can be proved again by a stranger: sixty lines of numpy that see a tampered plan, and do not know us."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from allocator.book.loading import load
from allocator.plan.document import plan_document
from allocator.plan.rebalance import rebalance
from tests.thin_books import RULES, SETS, random_book
from tests.thoroughness import some

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "verify_plan.py"
WHAT_IFS = (
    (),
    ("robust.set='kl'", "robust.radius=0.05"),
    ("robust.set='kl'", "robust.radius=5"),
    ("robust.set='box'", "robust.radius=0.1"),
    ("robust.set='worst'", "robust.radius=0"),
    ("robust.set='none'", "robust.radius=0"),
    ("mandate.risk_aversion=0",),
    ("mandate.min_expected_return=0.105",),
    ("mandate.max_volatility=0.185",),
    ("lots.min_trade=0", "mandate.max_turnover=1"),
    ("trading.indifference_bps=5",),
    ("robust.set='contamination'", "robust.radius=0.2"),
    ("robust.set='modified_chi2'", "robust.radius=0.2"),
    ("robust.set='modified_chi2'", "robust.radius=20"),
    ("robust.return_error='box'", "robust.return_error_size=0.2"),
    ("robust.return_error='ellipsoid'", "robust.return_error_size=0.2"),
    ("robust.return_error='budget'", "robust.return_error_size=0.2", "robust.return_error_names=1.5"),
)

EASY: dict[str, Any] = {
    "max_volatility": 0.2, "max_tracking_error": 0.2, "largest": {"count": 2, "max": 0.6},
    "min_worst_case_return": -0.2, "min_worst_case_active_return": -0.2, "min_worst_scenario_return": -0.25,
    "max_stress_loss": {"glut": 0.35}, "max_participation": 0.8, "exposures": {"beta": {"max": 1.2}},
    "ratios": {"pair": {"group": "some", "to": "rest", "max": 1.5}}, "min_expected_return": -0.1,
}  # fmt: skip


def verified(document: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-E", "-s", "-W", "error", str(SCRIPT)]
    return subprocess.run(command, input=json.dumps(document), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def plan(root: Path) -> dict[str, Any]:
    return plan_document(rebalance(load(root / "tests" / "typed")))


@pytest.mark.parametrize("overrides", WHAT_IFS, ids=" ".join)
def test_every_kind_of_plan_is_verified_without_us(root: Path, overrides: tuple[str, ...]) -> None:
    done = verified(plan_document(rebalance(load(root / "tests" / "typed", overrides=overrides))))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("verified: ")


@pytest.mark.parametrize("name", RULES)
def test_a_plan_under_every_rule_is_verified_without_us(name: str) -> None:
    done = verified(plan_document(rebalance(random_book(4, RULES[name]))))

    assert (done.returncode, done.stderr) == (0, "")


ERRORS: list[dict[str, Any]] = [
    {},
    {"return_error": "ellipsoid", "return_error_size": 0.2},
    {"return_error": "budget", "return_error_size": 0.2, "return_error_names": 2.5},
]


# of two errors and a set one, so that each set and each error is there
@pytest.mark.parametrize(("robust", "error"), some(product(SETS, ERRORS), 2))
def test_a_plan_under_all_rules_with_impact_is_verified_without_us(
    robust: dict[str, Any], error: dict[str, Any]
) -> None:
    done = verified(plan_document(rebalance(random_book(3, EASY, robust=robust | error, impact=0.5))))

    assert (done.returncode, done.stderr) == (0, "")


def test_the_script_has_sixty_lines_and_imports_only_numpy_beside_the_standard_library() -> None:
    names = ("verify_plan.py", "verify_pieces.py", "verify_sets.py")
    text, pieces, sets = (SCRIPT.with_name(name).read_text(encoding="utf-8") for name in names)
    imports = [[line for line in one.splitlines() if "import" in line.split()] for one in (text, pieces, sets)]

    assert max(len(one.splitlines()) for one in (text, pieces, sets)) <= 60
    assert imports == [
        ["import sys", "import numpy as np",
         "from verify_pieces import cheapest, dense, inside, largest, read"],
        ["import json", "import sys", "import numpy as np", "from verify_sets import is_member, worst_case",
         "        from verify_policy import verify  # noqa: PLC0415  # which is made of these pieces, too"],
        ["import numpy as np"],
    ]  # fmt: skip


def _more_of_the_first(plan: dict[str, Any]) -> None:
    plan["proof"]["after"]["holdings"][0] += 0.01


def _another_target(plan: dict[str, Any]) -> None:
    target = plan["proof"]["target"]
    for key in ("holdings", "bought"):
        target[key][0] -= 0.01
        target[key][1] += 0.01


def _hundred_times_the_order(plan: dict[str, Any]) -> None:
    plan["orders"][0]["quantity"] *= 100


def _no_orders(plan: dict[str, Any]) -> None:
    plan["orders"].clear()


def _a_finer_figure(plan: dict[str, Any]) -> None:
    plan["figures"]["after"]["adverse_expected_return"] += 0.01


def _an_adversary_outside(plan: dict[str, Any]) -> None:
    plan["proof"]["multipliers"]["adversary"] = [1.0, 0.0, 0.0, 0.0]


def _of(plan: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(rule for rule in plan["proof"]["convex"] if rule["kind"] == kind)
    return found


def _longer_direction(plan: dict[str, Any]) -> None:
    rule = _of(plan, "risk")
    rule["direction"] = [2 * u for u in rule["direction"]]


def _more_than_a_name(plan: dict[str, Any]) -> None:
    _of(plan, "holdings")["direction"][0] = 1.5


def _impossible_probabilities(plan: dict[str, Any]) -> None:
    rule = _of(plan, "worst_case")
    rule["direction"] = [0.0, 0.0, 1.0]
    plan["proof"]["probabilities"] = [0.8, 0.19, 0.01]


def _negative_price(plan: dict[str, Any]) -> None:
    _of(plan, "risk")["price"] = -1e-3


def _dear_price(plan: dict[str, Any]) -> None:
    _of(plan, "holdings")["price"] += 0.01


def _tighter(kind: str) -> Callable[[dict[str, Any]], None]:
    def tamper(plan: dict[str, Any]) -> None:
        _of(plan, kind)["limit"] += 0.9 if kind == "worst_case" else -0.9 * _of(plan, kind)["limit"]

    return tamper


def _another_benchmark(plan: dict[str, Any]) -> None:
    rule = next(rule for rule in plan["proof"]["convex"] if rule["label"].startswith("tracking"))
    rule["against"] = [3.0, *[0.0] * 5, -2.0]


def _no_impact(plan: dict[str, Any]) -> None:
    plan["proof"]["impact"] = [0.0] * 6


def _no_error(plan: dict[str, Any]) -> None:
    plan["proof"]["return_error"]["size"] = 0.0


def _a_longer_error(plan: dict[str, Any]) -> None:
    error = plan["proof"]["return_error"]
    error["direction"] = [3 * u for u in error["direction"]]


def _a_boxed_error(plan: dict[str, Any]) -> None:
    plan["proof"]["return_error"]["deviations"] = [0.1] * 6


def _a_stricter_scenario(plan: dict[str, Any]) -> None:
    rows = plan["proof"]["rows"]
    at = next(i for i, label in enumerate(rows["labels"]) if label.startswith("return in down"))
    rows["gains"] = [[i, j, v * 5 if i == at else v] for i, j, v in rows["gains"]]
    rows["limit"][at] -= 1.0


@pytest.fixture(scope="module")
def rich() -> dict[str, Any]:
    robust = {"set": "total_variation", "radius": 0.1, "return_error": "ellipsoid", "return_error_size": 0.2}
    return plan_document(rebalance(random_book(3, EASY, robust=robust, impact=0.5)))


def test_the_document_of_many_rules_keeps_its_schema(rich: dict[str, Any], root: Path) -> None:
    schema = json.loads((root / "schemas" / "plan.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(rich)
    lacking = copy.deepcopy(rich)
    del lacking["proof"]["convex"][0]["direction"]

    assert not Draft202012Validator(schema).is_valid(lacking)
    assert {rule["kind"] for rule in rich["proof"]["convex"]} == {"holdings", "risk", "worst_case"}


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (_longer_direction, "prices are lawful"),
        (_more_than_a_name, "prices are lawful"),
        (_impossible_probabilities, "prices are lawful"),
        (_negative_price, "prices are lawful"),
        (_dear_price, "nothing is better"),
        (_tighter("risk"), "after: volatility at most 20%"),
        (_tighter("holdings"), "after: the 2 largest names at most 60%"),
        (_tighter("worst_case"), "after: adverse expected return at least -20%"),
        (_another_benchmark, "after: tracking error at most 20%"),
        (_no_impact, "after: balance"),
        (_no_error, "nothing is better"),
        (_a_longer_error, "prices are lawful"),
        (_a_boxed_error, "nothing is better"),
        (_a_stricter_scenario, "after: return in down"),
    ],
)
def test_a_plan_of_many_rules_tampered_with_is_not_verified(
    rich: dict[str, Any], tamper: Callable[[dict[str, Any]], None], told: str
) -> None:
    changed = copy.deepcopy(rich)
    tamper(changed)

    done = verified(changed)

    assert done.returncode == 1
    assert done.stderr.startswith("NOT verified: ")
    assert told in done.stderr


def _unlawful_prices(plan: dict[str, Any]) -> None:
    plan["proof"]["multipliers"]["rows"][0] = -1.0


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (_more_of_the_first, "after: balance"),
        (_another_target, "nothing is better by more than is told"),
        (_hundred_times_the_order, "orders make the plan"),
        (_no_orders, "orders make the plan"),
        (_a_finer_figure, "after: figures"),
        (_an_adversary_outside, "prices are lawful"),
        (_unlawful_prices, "prices are lawful"),
    ],
)
def test_a_tampered_plan_is_not_verified(
    plan: dict[str, Any], tamper: Callable[[dict[str, Any]], None], told: str
) -> None:
    changed = copy.deepcopy(plan)
    tamper(changed)

    done = verified(changed)

    assert done.returncode == 1
    assert done.stderr.startswith("NOT verified: ")
    assert told in done.stderr
