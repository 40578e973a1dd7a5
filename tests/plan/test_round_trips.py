"""A whole plan where the best on paper has round trips: proved to strangers, explained, and said as such."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from allocator.display.explanation import show_explanation
from allocator.display.plan import show_plan
from allocator.plan.document import plan_document
from allocator.plan.explanation import explain, explain_name
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from tests.agreement import HOLDINGS, OBJECTIVE
from tests.lots.test_whole_lots import small
from tests.plan.test_verify import verified

MANDATE = {"risk_aversion": 50.0, "max_cash": 0.45, "weights": {"N0": {"min": 0.5}}}


@cache
def plan(indifference: float = 0.0) -> Plan:
    """Half in one risky name that must be bought, at 19.5% a trade: 1 − 0.195·b of wealth, 45% of it cash."""
    costs, trading = {"commission_bps": 1900.0, "spread_bps": 100.0}, {"indifference_bps": indifference}
    return rebalance(small([5000.0], [10.0], [0.01], 50_000.0, MANDATE, costs=costs, trading=trading))


@pytest.mark.parametrize("indifference", [0.0, 5.0])
def test_it_is_verified_without_us_and_says_what_round_trips_would_gain(root: Path, indifference: float) -> None:
    document = plan_document(plan(indifference))
    schema = json.loads((root / "schemas" / "plan.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(document)
    told = document["certificate"]["round_trips"]
    done = verified(document)

    assert (done.returncode, done.stderr) == (0, "")
    assert told["gain_on_paper_bps"] > 1000
    assert abs(told["gap_bps"]) <= 0.01
    # nothing but that makes the proof any looser
    assert document["certificate"]["allowed_bps"] <= told["gain_on_paper_bps"] + indifference + 0.02
    document["certificate"]["allowed_bps"] -= told["gain_on_paper_bps"]
    assert "nothing is better by more than is told" in verified(document).stderr


def test_only_what_must_be_bought_is_and_its_account_comes_to_nothing() -> None:
    found = explain(plan())

    assert plan().target.bought / 1e5 == pytest.approx([0.05 / (1.195 - 0.45 * 0.195)], abs=HOLDINGS)
    assert plan().duals.cash < 0  # one unit of money less would do the plan good
    assert found.margins.reduced_cost[0] == pytest.approx(0.0, abs=OBJECTIVE)
    assert found.reasons.parts.sum() == pytest.approx(found.reasons.gain, abs=1e-9)
    assert found.reasons.gain > 0
    assert np.array_equal(plan().no_trade.low, plan().no_trade.high)


def test_the_price_of_the_rule_is_what_loosening_it_gains() -> None:
    price = next(rule for rule in plan().binding if rule.label == "cash at most 45%").bps_per_point
    costs = {"commission_bps": 1900.0, "spread_bps": 100.0}
    looser = rebalance(
        small([5000.0], [10.0], [0.01], 50_000.0, MANDATE | {"max_cash": 0.4501}, costs=costs)
    ).certificate.objective

    assert (plan().certificate.objective - looser) / 1e-4 * 100 == pytest.approx(price, rel=1e-2)


def test_people_are_told_that_the_best_on_paper_has_round_trips(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(plan(), full=True)
    show_explanation(explain(plan()), explain_name(plan(), "N0"))
    said = " ".join(capsys.readouterr().out.split())

    assert re.search(r"bps of the best without round trips, by \d branches;", said)
    assert "would gain up to" in said
    assert "Stability: not measured where the best on paper has round trips" in said
    assert "Note: The best on paper has round trips" in said
