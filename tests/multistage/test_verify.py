"""A plan with reviews can be proved again by a stranger, who sees a tampered one: numpy alone, and nothing of ours."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from allocator.book.loading import load
from allocator.plan.document import plan_document
from allocator.plan.rebalance import rebalance

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "verify_plan.py"
LOOSE = (
    "mandate.buckets.efficiency.min=0.0", "mandate.buckets.capital_intensity.max=1.0", "mandate.max_cash=0.9",
    "mandate.min_cash=0.0", "mandate.groups.private.max=1.0", "mandate.groups.orbit.max=1.0", "mandate.max_weight=0.9",
)  # fmt: skip
WHAT_IFS: dict[str, tuple[str, ...]] = {
    "log, kl": (),
    "crra, charged for risk": (
        "mandate.objective='crra'", "mandate.relative_risk_aversion=3.0", "mandate.charge_risk=true",
        "robust.set='total_variation'",
    ),
    "return, risk by step, box": ("mandate.objective='return'", "mandate.step_risk=0.3", "robust.set='box'"),
    "crra, wasserstein": (
        "mandate.objective='crra'", "mandate.relative_risk_aversion=3.0", "robust.set='wasserstein'",
        "robust.schedule='fixed'", "robust.radius=0.05", "robust.metric.replicability=1.0",
    ),
    "log, charged for risk, convex rules": (
        "mandate.charge_risk=true", "mandate.max_volatility=0.4", "mandate.largest={count=2, max=0.35}",
        "mandate.min_worst_case_return=-0.3",
    ),
    "holding": (*LOOSE, "trading.min_gain_bps=5000"),
}  # fmt: skip


def document(root: Path, overrides: tuple[str, ...]) -> dict[str, Any]:
    plan = rebalance(load(root / "tests" / "plain_books" / "reviewed", overrides=overrides))
    made: dict[str, Any] = json.loads(json.dumps(plan_document(plan), allow_nan=False))
    return made


def verified(found: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-E", "-s", "-W", "error", str(SCRIPT)]
    return subprocess.run(command, input=json.dumps(found), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def plan(root: Path) -> dict[str, Any]:
    return document(root, ())


@pytest.mark.parametrize("case", WHAT_IFS)
def test_every_kind_of_plan_with_reviews_is_verified_without_us(root: Path, case: str, plan: dict[str, Any]) -> None:
    found = document(root, WHAT_IFS[case]) if WHAT_IFS[case] else plan
    done = verified(found)
    schema = json.loads((root / "schemas" / "plan.schema.json").read_text(encoding="utf-8"))

    assert (done.returncode, done.stderr) == (0, "")
    assert "11 decisions" in done.stdout
    assert [*Draft202012Validator(schema).iter_errors(found)] == []


def _bought(found: dict[str, Any]) -> None:
    node = found["policy"]["proof"]["nodes"][4]
    node["bought"][0] += 0.01


def _cheap(found: dict[str, Any]) -> None:
    node = found["policy"]["proof"]["nodes"][0]
    node["cost_rates"][node["sold"].index(max(node["sold"]))] = 0.0


def _grown(found: dict[str, Any]) -> None:
    found["policy"]["proof"]["nodes"][2]["growth"][1] *= 1.01


def _brought(found: dict[str, Any]) -> None:
    found["policy"]["proof"]["leaves"]["growth"][3][2] *= 1.05


def _narrow(found: dict[str, Any]) -> None:
    found["policy"]["proof"]["nodes"][2]["set"]["radius"] = 0.0


def _trusted(found: dict[str, Any]) -> None:
    found["policy"]["proof"]["nodes"][1]["probability"] += 0.01


def _capped(found: dict[str, Any]) -> None:
    rows = found["policy"]["proof"]["nodes"][5]["rows"]
    rows["limit"] = [limit - 0.2 for limit in rows["limit"]]


def _ordered(found: dict[str, Any]) -> None:
    found["orders"][0]["quantity"] += 1000


def _announced(found: dict[str, Any]) -> None:
    found["policy"]["nodes"][3]["after"]["GPU"] += 1e-4


def _worth(found: dict[str, Any]) -> None:
    found["policy"]["certainty_equivalent_with_lots"] += 1e-5


@pytest.mark.parametrize(
    ("tampered", "told"),
    [
        (_bought, "account"),
        (_cheap, "account"),
        (_grown, "account"),
        (_brought, "objective"),
        (_narrow, "objective"),
        (_trusted, "probabilities"),
        (_capped, "at most"),
        (_ordered, "orders make the first trades"),
        (_announced, "silent until 2027-05-20"),
        (_worth, "certainty equivalent"),
    ],
)
def test_a_number_that_is_changed_is_seen(
    tampered: Callable[[dict[str, Any]], None], told: str, plan: dict[str, Any]
) -> None:
    spoiled = copy.deepcopy(plan)
    tampered(spoiled)
    done = verified(spoiled)

    assert done.returncode == 1
    assert done.stderr.startswith("NOT verified: ")
    assert told in done.stderr


def test_a_plan_without_a_proof_is_not_verified(plan: dict[str, Any]) -> None:
    done = verified({**plan, "policy": {**plan["policy"], "proof": None}})

    assert done.returncode == 1
    assert "carries no proof" in done.stderr


def test_the_verifier_of_policies_imports_only_numpy_and_its_pieces() -> None:
    text = SCRIPT.with_name("verify_policy.py").read_text(encoding="utf-8")

    assert [line for line in text.splitlines() if "import" in line.split()] == [
        "import numpy as np",
        "from verify_pieces import dense, largest",
        "from verify_sets import worst_case",
    ]
