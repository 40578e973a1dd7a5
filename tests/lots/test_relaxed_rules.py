"""Plans of which a rule gave way: nothing silently, no further than it must, and no rule dropped."""

from __future__ import annotations

from typing import Any

import pytest

from allocator.display.plan import show_plan
from allocator.errors import Infeasible
from allocator.plan.document import plan_document
from allocator.plan.rebalance import rebalance
from tests.lots.test_whole_lots import small

HELD = ([80, 20], [100, 100], [1, 1], 0)
RULES: dict[str, Any] = {"weights": {"N0": {"max": 0.35}}, "max_turnover": 0.3}


def test_without_a_tier_rules_that_clash_are_refused() -> None:
    with pytest.raises(Infeasible) as refused:
        rebalance(small(*HELD, RULES))  # type: ignore[arg-type]

    assert refused.value.rules == ("N0 at most 35%", "turnover at most 30%")
    assert refused.value.fixes == ("raise the first to 50%", "raise the second to 45%")


def test_a_rule_with_a_priority_is_relaxed_and_everybody_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    plan = rebalance(small(*HELD, RULES | {"tiers": {"max_turnover": 9}}))  # type: ignore[arg-type]
    (way,) = plan.relaxed

    assert (way.label, way.stated, way.tier) == ("turnover at most 30%", 0.3, 9)
    assert way.kept == pytest.approx(0.45)
    assert way.measured == pytest.approx(0.45)
    assert plan.final.weights[0] <= 0.35 + 1e-9
    assert plan_document(plan)["relaxed"] == [
        {
            "rule": "turnover at most 30%", "stated": 0.3, "kept": pytest.approx(0.45), "measured": 0.45, "priority": 9,
            "kind": "at most",
        }
    ]  # fmt: skip
    show_plan(plan)
    assert "Relaxed: 'turnover at most 30%' to 45% (priority 9)" in capsys.readouterr().out


def test_a_plan_that_keeps_every_rule_says_nothing_of_giving_way() -> None:
    plan = rebalance(small(*HELD, {"max_turnover": 0.3, "tiers": {"max_turnover": 9}}))  # type: ignore[arg-type]

    assert plan.relaxed == ()


def test_whole_lots_loosen_a_rule_with_a_tier_to_what_they_measure() -> None:
    """Lots of 10% of the account: a floor of 12% and a cap of 15% hold for fractions, not for lots."""
    rules = {"weights": {"N0": {"min": 0.12, "max": 0.15}}, "tiers": {"weights.N0": 5}}
    plan = rebalance(small([0, 50], [100, 100], [10, 1], 5_000, rules))
    (way,) = plan.relaxed

    assert (way.label, way.stated) == ("N0 at least 12%", 0.12)
    assert way.kept == pytest.approx(0.1)
    assert way.measured == pytest.approx(0.1)
