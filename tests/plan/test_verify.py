"""plan.json can be proved again by a stranger: sixty lines of numpy that see a tampered plan, and do not know us."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from allocator.book.folder import load
from allocator.plan.document import plan_document
from allocator.plan.rebalance import rebalance

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
)


def verified(document: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-W", "error", str(SCRIPT)]
    return subprocess.run(command, input=json.dumps(document), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def plan(root: Path) -> dict[str, Any]:
    return plan_document(rebalance(load(root / "tests" / "typed")))


@pytest.mark.parametrize("overrides", WHAT_IFS, ids=" ".join)
def test_every_kind_of_plan_is_verified_without_us(root: Path, overrides: tuple[str, ...]) -> None:
    done = verified(plan_document(rebalance(load(root / "tests" / "typed", overrides=overrides))))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("verified: ")


def test_the_script_has_sixty_lines_and_imports_only_numpy_beside_the_standard_library() -> None:
    text = SCRIPT.read_text(encoding="utf-8")

    assert len(text.splitlines()) <= 60
    assert [line for line in text.splitlines() if "import" in line.split()] == [
        "import json", "import sys", "import numpy as np",
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
    plan["figures"]["after"]["worst_case_return"] += 0.01


def _an_adversary_outside(plan: dict[str, Any]) -> None:
    plan["proof"]["multipliers"]["adversary"] = [1.0, 0.0, 0.0, 0.0]


def _unlawful_prices(plan: dict[str, Any]) -> None:
    plan["proof"]["multipliers"]["rows"][0] = -1.0


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (_more_of_the_first, "after: balance"),
        (_another_target, "nothing is better by 0.01 bps"),
        (_hundred_times_the_order, "orders make the plan"),
        (_no_orders, "orders make the plan"),
        (_a_finer_figure, "after: figures"),
        (_an_adversary_outside, "adversary"),
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
