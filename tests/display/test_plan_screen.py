"""The first screen of a plan: what it says at the edge of a verdict, and figures that are nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from allocator.display.console import format_percent
from allocator.display.plan import describe_decision
from allocator.plan.rebalance import rebalance
from tests import books


@pytest.mark.parametrize(("share", "insures"), [(0.49, True), (0.5, False), (0.55, False)])
def test_a_trade_insures_where_less_than_half_of_the_inputs_pay_for_it(share: float, insures: bool) -> None:
    plan = rebalance(books.book({"robust": {"set": "total_variation", "radius": 0.1}}))
    taken = replace(plan.decision, verdict="recommended", positive_share=share, gain_bps=3.0, orders=2)

    told = " ".join(describe_decision(replace(plan, decision=taken)))

    assert told.startswith("Recommended. ")
    assert ("It insures" in told) is insures


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [(-0.0, "0.0%"), (-0.0004, "0.0%"), (0.0, "0.0%"), (-0.0005001, "-0.1%"), (-0.12, "-12.0%")],
)
def test_a_percentage_of_nothing_has_no_sign(fraction: float, shown: str) -> None:
    assert format_percent(fraction) == shown
