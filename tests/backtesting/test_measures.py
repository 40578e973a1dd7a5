"""Ten measures: closed forms, and empyrical-reloaded to 1e-12 on random series."""

from __future__ import annotations

import math

import numpy as np
import pytest

from allocator.backtesting.measures import MEASURES
from allocator.types import Vector
from tests.integrations.conftest import peer

CLOCKS = (252.0, 52.0, 12.0)


def series(seed: int) -> Vector:
    draw = np.random.default_rng(seed)
    rows = int(draw.integers(3, 900))
    return np.asarray(
        draw.normal(0.0005, 0.02, rows) + 0.05 * (draw.random(rows) < 0.01) - 0.08 * (draw.random(rows) < 0.01)
    )


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_is_what_empyrical_says_to_twelve_digits(name: str) -> None:
    stats = peer("empyrical", "test")
    takes_clock = name in {
        "annual_return", "annual_volatility", "downside_risk", "sharpe_ratio", "sortino_ratio", "calmar_ratio",
    }  # fmt: skip
    for seed in range(30):
        returns, per_year = series(seed), CLOCKS[seed % 3]
        theirs = getattr(stats, name)(returns, **({"annualization": per_year} if takes_clock else {}))
        assert MEASURES[name].formula(returns, per_year) == pytest.approx(float(theirs), rel=1e-12, abs=1e-12), seed


def test_measures_of_four_returns_are_those_of_the_hand() -> None:
    returns = np.array([0.10, -0.05, 0.02, -0.01])
    found = {name: one.formula(returns, 12.0) for name, one in MEASURES.items()}
    grown = 1.10 * 0.95 * 1.02 * 0.99
    deviation = math.sqrt(sum((r - 0.015) ** 2 for r in returns) / 3)
    downside = math.sqrt((0.05**2 + 0.01**2) / 4 * 12)
    low = -0.05 + 0.15 * 0.04
    high = 0.02 + 0.85 * 0.08
    assert found == pytest.approx(
        {
            "annual_return": grown**3 - 1,
            "annual_volatility": deviation * math.sqrt(12),
            "downside_risk": downside,
            "sharpe_ratio": 0.015 / deviation * math.sqrt(12),
            "sortino_ratio": 0.015 * 12 / downside,
            "max_drawdown": -0.05,
            "calmar_ratio": (grown**3 - 1) / 0.05,
            "conditional_value_at_risk": -0.05,
            "tail_ratio": high / -low,
            "omega_ratio": 0.12 / 0.06,
        },
        rel=1e-12,
    )


def test_a_measure_that_divides_by_nothing_is_none() -> None:
    rising = np.full(30, 0.01)
    found = {name: one.formula(rising, 52.0) for name, one in MEASURES.items()}
    assert {name for name, value in found.items() if value is None} == {
        "sharpe_ratio", "sortino_ratio", "calmar_ratio", "omega_ratio",
    }  # fmt: skip
    assert found["annual_return"] == pytest.approx(1.01**52 - 1, rel=1e-12)
    assert found["max_drawdown"] == 0
    assert all(one.formula(np.zeros(0), 52.0) is None for one in MEASURES.values())
