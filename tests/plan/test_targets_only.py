"""A plan without whole lots: the targets and their proof, and no word of orders."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from allocator.book.loading import load
from allocator.display.plan import plan_text
from allocator.errors import BadInput
from allocator.plan.document import plan_document
from allocator.plan.output import plan_files
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=["listed", "reviewed"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return rebalance(load(ROOT / "data" / request.param), lots=False)


def test_a_plan_without_lots_is_its_targets_and_has_no_orders(plan: Plan) -> None:
    assert not plan.has_lots
    assert plan.orders == plan.weighed_orders == ()
    np.testing.assert_array_equal(plan.final.values, plan.target.values)
    assert (plan.target.bought + plan.target.sold).sum() > 0
    assert plan.rounding_bps == pytest.approx(0.0, abs=1e-9)
    assert plan.decision.gain_bps is not None
    assert plan.decision.positive_share is None


def test_the_screen_says_that_there_are_no_orders(plan: Plan) -> None:
    told = " ".join(plan_text(plan).split())

    assert "Targets only: no whole-lot orders were asked for." in told
    assert "and there are no orders" in told
    assert "rounding" not in told


def test_a_stranger_verifies_the_document_of_targets_and_misses_no_order(plan: Plan) -> None:
    document = plan_document(plan)

    assert document["decision"]["verdict"] == "targets only"
    assert document["orders"] == []
    script = [sys.executable, str(ROOT / "docs" / "verify_plan.py")]
    done = subprocess.run(script, input=json.dumps(document), capture_output=True, text=True, check=False)
    assert done.stdout.startswith("verified: "), done.stderr


def test_targets_are_not_written_as_orders_that_say_nothing(plan: Plan) -> None:
    with pytest.raises(BadInput, match=r"is of targets only.*without lots=False"):
        plan_files(plan, plan_document(plan))
