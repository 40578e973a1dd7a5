"""An objective that charges nothing for the risk within a scenario says so where everybody looks."""

from __future__ import annotations

from typing import Any

import pytest

from allocator.plan.rebalance import rebalance
from tests import books

SAYS = "charges nothing for risk within a scenario"


@pytest.mark.parametrize(
    ("mandate", "charges"),
    [
        ({"objective": "log"}, True),
        ({"objective": "log", "charge_risk": False}, False),
        ({"objective": "crra", "relative_risk_aversion": 3.0}, True),
        ({"objective": "crra", "relative_risk_aversion": 3.0, "charge_risk": False}, False),
        ({"objective": "return"}, False),
        ({"objective": "return", "step_risk": 0.2}, True),
        ({"objective": "mean_cvar", "draws": 20}, True),
        ({"objective": "mean_cvar", "cvar_weight": 0.0, "draws": 20}, False),
        ({"objective": "regret"}, False),
        ({"objective": "mixture_variance"}, True),
        ({"objective": "return_minus_risk"}, True),
        ({"objective": "return_minus_risk", "risk_aversion": 0.0}, False),
        ({"objective": "minimum_variance"}, True),
    ],
)
def test_the_first_screen_says_where_risk_within_a_scenario_costs_nothing(
    mandate: dict[str, Any], charges: bool
) -> None:
    returns = {"up": [0.3, 0.1, 0.05, 0.0], "down": [-0.2, 0.0, 0.03, 0.04]}
    screen = str(rebalance(books.book({"mandate": {"max_weight": 0.6, **mandate}}, returns=returns)))

    assert (SAYS in screen) is not charges
    assert len(screen.splitlines()) <= 45


def test_where_there_is_no_risk_within_a_scenario_nothing_is_said_of_it() -> None:
    still = {"beta": [0.0] * 4, "idiosyncratic_volatility": [0.0] * 4}
    plan = rebalance(books.book({"mandate": {"objective": "return"}}, exposures_columns=still))

    assert plan.charges_risk
    assert SAYS not in str(plan)


def test_a_charged_plan_says_how_far_its_charge_is_from_its_fixed_point() -> None:
    returns = {"up": [0.3, 0.1, 0.05, 0.0], "down": [-0.2, 0.0, 0.03, 0.04]}
    plan = rebalance(books.book({"mandate": {"objective": "log", "max_weight": 0.6}}, returns=returns))

    assert plan.certificate.fixed_point is not None
    assert abs(plan.certificate.fixed_point) <= 1e-8
    assert "The charge for risk is 0.001 bps from its fixed point." in " ".join(str(plan).split())
    assert plan.certificate.document(plan.measurements, 0.0)["fixed_point_bps"] == plan.certificate.fixed_point * 1e4
