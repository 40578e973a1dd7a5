"""Random mandates that cannot be met: each fix that is printed leads to a plan when it is followed as --set would."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book, from_frames
from allocator.errors import AllocatorError, Infeasible
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.settings.reading import with_overrides
from tests.thoroughness import count

AS_OF = dt.date(2026, 11, 20)
REFUSED = count(500, 10)
PARTS = 10
KINDS = ("plain", "impact", "coarse", "reviewed")
"""Of which a third are without impact and coarse lots; a tenth have reviews."""


@pytest.fixture(autouse=True)
def without_stability(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stability solves every plan anew for each scenario, and keeps no rule."""
    monkeypatch.setattr("allocator.plan.rebalance.stability", lambda *_: None)


def kind_of(seed: int) -> str:
    """What makes the book hard."""
    return "reviewed" if seed % 10 == 9 else KINDS[seed % 3]


def demanding_book(seed: int) -> Book:
    """A book of a few names under many limits of every kind, so narrow that most cannot be met together."""
    draw, kind = np.random.default_rng([16, seed]), kind_of(seed)
    count = int(draw.integers(3, 7)) if kind != "reviewed" else 3
    listed = [f"N{i}" for i in range(count)]
    worth = 20_000.0 if kind == "coarse" else 1_000_000.0
    prices = np.round(draw.uniform(20, 400, count), 2)
    lots = draw.choice([0.01, 1.0, 5.0], count)
    if kind == "coarse":
        lots = np.maximum(np.round(worth / draw.uniform(5, 20, count) / prices), 1.0)
    parts = draw.dirichlet(np.ones(count + 1))
    quantities = np.round(parts[:-1] * worth / prices, 2)
    group = [name for name in listed if draw.random() < 0.5] or listed[:1]
    everyone = [*listed, "CASH"]
    settings: dict[str, Any] = {
        "book": {"name": f"demanding {seed}", "currency": "USD", "as_of": AS_OF},
        "scenarios": {"up": {"probability": 0.6}, "down": {"probability": 0.4}},
        "risk": {"market_volatility": 0.2},
        "mandate": {"risk_aversion": float(draw.uniform(0.5, 4))} | dict(_limits(draw, listed)),
        "groups": {"some": group},
        "shocks": {"crash": {"market": -0.3}},
        "robust": {"set": str(draw.choice(["total_variation", "kl"])), "radius": 0.1},
        "costs": {"commission_bps": float(draw.choice([0.0, 2.0, 30.0])), "spread_bps": 5.0,
                  "impact": float(draw.uniform(0.2, 1.5)) if kind == "impact" else 0.0},
        "lots": {"min_trade": float(draw.choice([0.0, 500.0, 2000.0])) * worth / 1e6 * (20 if kind == "coarse" else 1)},
    }  # fmt: skip
    benchmark = np.floor(1000 * draw.dirichlet(np.ones(count))) / 1000
    tables = {
        "holdings": pd.DataFrame({
            "account": "a", "instrument": everyone, "quantity": [*quantities, round(parts[-1] * worth, 2)],
            "price": [*prices, 1.0], "currency": "USD", "lot_size": [*lots, 0.01],
        }),
        "exposures": pd.DataFrame({
            "instrument": everyone, "name": everyone,
            "issuer": [*(f"I{i // 2}" for i in range(count)), "Bank"],
            "bucket": ["adopter", *draw.choice(["adopter", "neutral", "efficiency"], count)[1:], "cash"],
            "beta": [*np.round(draw.uniform(0.5, 1.6, count), 2), 0.0],
            "idiosyncratic_volatility": [*np.round(draw.uniform(0.1, 0.4, count), 2), 0.0], "source": "a test",
            "average_daily_volume": [*np.round(draw.uniform(0.05, 2.0, count) * worth / prices, 1), 0.0],
        }),
        "scenario_returns": pd.DataFrame({
            "instrument": everyone, "up": [*np.round(draw.normal(0.15, 0.1, count), 3), 0.03],
            "down": [*np.round(draw.normal(-0.05, 0.1, count), 3), 0.03],
        }),
        "benchmark": pd.DataFrame({
            "instrument": everyone, "weight": [*benchmark, round(1 - float(benchmark.sum()), 3)],
        }),
    }  # fmt: skip
    return from_frames(settings, tables)


def _limits(draw: np.random.Generator, listed: list[str]) -> Iterator[tuple[str, Any]]:
    """Some of the keys of [mandate], each with a narrow limit."""
    names = len(listed)

    def limit(low: float, high: float) -> float:
        return float(np.round(draw.uniform(low, high), 4))

    def span(low: float, high: float, room: float = 0.2) -> dict[str, float]:
        first = limit(low, high)
        given = {"min": first, "max": float(np.round(min(first + draw.uniform(0, room), 1.0), 4))}
        return {side: given[side] for side in given if draw.random() < 0.6} or {"max": given["max"]}

    some = [str(name) for name in draw.choice(listed, int(draw.integers(1, 3)), replace=False)]
    every: dict[str, tuple[float, Any]] = {
        "max_weight": (0.5, limit(0.5 / names, 2.0 / names)),
        "max_issuer_weight": (0.3, limit(0.15, 0.5)),
        "weights": (0.5, {name: span(0.0, 0.4) for name in some}),
        "issuers": (0.2, {"I0": span(0.0, 0.5)}),
        "buckets": (0.3, {"adopter": span(0.0, 0.6)}),
        "groups": (0.4, {"some": span(0.0, 0.7)}),
        "ratios": (0.2, {"first": {"group": "some", "to": "adopter"} | span(0.3, 0.8, 1.0)}),
        "exposures": (0.3, {"beta": span(0.2, 1.0)}),
        "min_cash": (0.4, limit(0.0, 0.3)),
        "max_cash": (0.4, limit(0.3, 0.5)),
        "max_turnover": (0.4, limit(0.01, 0.4)),
        "max_participation": (0.3, limit(0.02, 1.0)),
        "min_expected_return": (0.3, limit(0.02, 0.12)),
        "min_worst_scenario_return": (0.2, limit(-0.1, 0.03)),
        "min_worst_case_return": (0.2, limit(-0.05, 0.06)),
        "min_worst_case_active_return": (0.1, limit(-0.05, 0.04)),
        "max_volatility": (0.3, limit(0.03, 0.2)),
        "max_tracking_error": (0.2, limit(0.01, 0.1)),
        "largest": (0.2, {"count": 2, "max": limit(0.1, 0.6)}),
        "max_stress_loss": (0.2, {"crash": limit(0.02, 0.2)}),
        "locked": (0.3, [str(draw.choice(listed))]),
        "forbidden": (0.2, [str(draw.choice(listed))]),
    }
    for key, (share, value) in every.items():
        if draw.random() < share:
            yield key, value


@cache
def refused(part: int) -> tuple[tuple[int, Book, Infeasible], ...]:
    """The first books of a part that have no plan, and what is said of each."""
    found = []
    for seed in itertools.count(part, PARTS):
        book = demanding_book(seed)
        try:
            rebalance(book)
        except Infeasible as error:
            found.append((seed, book, error))
        except AllocatorError:
            continue
        if len(found) == REFUSED // PARTS:
            return tuple(found)
    raise AssertionError


def followed(book: Book, overrides: tuple[str, ...]) -> Plan:
    """The plan of the book after a fix."""
    return rebalance(replace(book, settings=with_overrides(book.settings, overrides)))


@pytest.mark.parametrize("part", range(PARTS))
def test_every_fix_that_is_printed_leads_to_a_plan_that_keeps_every_limit(part: int) -> None:
    for seed, book, error in refused(part):
        said = f"{seed} ({kind_of(seed)}): {error}"
        assert error.fixes or "no change of one limit" in error.message, said
        assert not error.for_fractions or "not tried" in error.message, said
        for overrides in error.overrides:
            plan = followed(book, overrides)
            assert max((one.excess for one in plan.measurements), default=0.0) <= 1e-9, said
