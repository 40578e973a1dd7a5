"""Books of thinly traded names with a benchmark, under every rule that a book can state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from allocator.book.book import Book, from_frames

COUNT = 6
NAMES = [f"N{i}" for i in range(COUNT)]
EVERYONE = [*NAMES, "CASH"]
RULES: dict[str, dict[str, Any]] = {
    "volatility": {"max_volatility": 0.16},
    "tracking error": {"max_tracking_error": 0.12},
    "largest": {"largest": {"count": 2, "max": 0.5}},
    "worst case": {"min_worst_case_return": 0.06, "risk_aversion": 6.0},
    "worst active": {"min_worst_case_active_return": 0.0, "risk_aversion": 6.0},
    "scenarios": {"min_worst_scenario_return": -0.06},
    "stress": {"max_stress_loss": {"glut": 0.25}},
    "participation": {"max_participation": 0.3},
    "exposure": {"exposures": {"beta": {"min": 0.5, "max": 0.8}}},
    "ratio": {"ratios": {"pair": {"group": "some", "to": "rest", "min": 0.2, "max": 0.4}}},
    "locked and forbidden": {"locked": ["N0"], "forbidden": ["N3"]},
}
TOGETHER: dict[str, Any] = {
    "max_volatility": 0.2, "max_tracking_error": 0.2, "largest": {"count": 2, "max": 0.7},
    "min_worst_case_return": -0.05, "min_worst_case_active_return": -0.1, "min_worst_scenario_return": -0.2,
    "max_stress_loss": {"glut": 0.35}, "max_participation": 0.8, "exposures": {"beta": {"max": 1.2}},
    "ratios": {"pair": {"group": "some", "to": "rest", "max": 1.5}}, "min_expected_return": 0.02,
}  # fmt: skip
SETS: tuple[dict[str, Any], ...] = (
    {"set": "total_variation", "radius": 0.1}, {"set": "kl", "radius": 0.05}, {"set": "box", "radius": 0.1},
    {"set": "worst"}, {"set": "none"},
    {"set": "contamination", "radius": 0.15}, {"set": "modified_chi2", "radius": 0.1},
    {"set": "wasserstein", "radius": 0.1, "metric": {"replicability": 0.5, "usage_elasticity": 1.0}},
    {"set": "hull", "experts": {"bull": {"up": 0.7, "middle": 0.2, "down": 0.1},
                                "bear": {"up": 0.25, "middle": 0.25, "down": 0.5}}},
    {"set": "polytope", "limits": {"down": {"weights": {"down": 1.0}, "min": 0.2, "max": 0.4},
                                   "calm": {"weights": {"middle": 1.0, "up": -0.5}, "max": 0.1}}},
)  # fmt: skip


def random_book(
    seed: int, mandate: dict[str, Any], *, impact: float = 0.0, robust: dict[str, Any] | None = None
) -> Book:
    """Six names with odd prices and lots of one to five hundredths of the account, thinly traded."""
    draw = np.random.default_rng(seed)
    prices = np.round(draw.uniform(20, 400, COUNT), 2)
    lots = np.maximum(np.round(draw.uniform(0.002, 0.02, COUNT) * 1e6 / prices), 1.0)
    parts = draw.dirichlet(np.ones(COUNT + 1))
    bench = np.round(draw.dirichlet(np.ones(COUNT)), 4)
    bench[0] += 1 - bench.sum()
    settings = {
        "book": {"name": f"random {seed}", "currency": "USD", "as_of": pd.Timestamp("2026-11-20").date()},
        "scenarios": {
            "up": {"probability": 0.5, "replicability": 1.0, "usage_elasticity": 1.8},
            "middle": {"probability": 0.2, "replicability": 1.0, "usage_elasticity": 1.1},
            "down": {"probability": 0.3, "replicability": 0.1, "usage_elasticity": 0.6},
        },
        "risk": {"market_volatility": 0.2},
        "mandate": {"risk_aversion": 0.5, "max_weight": 0.6} | mandate,
        "groups": {"some": NAMES[:2], "rest": NAMES[2:]},
        "shocks": {"glut": {"market": -0.3, "instruments": {"N1": -0.7}}},
        "robust": robust or {"set": "total_variation", "radius": 0.1},
        "costs": {"commission_bps": 5.0, "spread_bps": 5.0, "impact": impact},
        "lots": {"min_trade": 1000.0},
    }
    tables = {
        "holdings": pd.DataFrame({
            "account": "a", "instrument": EVERYONE,
            "quantity": [*np.round(parts[:-1] * 1e6 / prices, 2), round(parts[-1] * 1e6, 2)],
            "price": [*prices, 1.0], "currency": "USD", "lot_size": [*lots, 0.01],
        }),
        "exposures": pd.DataFrame({
            "instrument": EVERYONE, "name": EVERYONE, "issuer": EVERYONE, "bucket": ["adopter"] * COUNT + ["cash"],
            "beta": [*draw.uniform(0.5, 1.6, COUNT), 0.0],
            "idiosyncratic_volatility": [*draw.uniform(0.1, 0.4, COUNT), 0.0],
            "average_daily_volume": [*(draw.uniform(0.05, 2, COUNT) * 1e6 / prices), None], "source": "a test",
        }),
        "benchmark": pd.DataFrame({"instrument": NAMES, "weight": bench}),
        "scenario_returns": pd.DataFrame({
            "instrument": EVERYONE,
            **{name: [*draw.normal(mean, 0.15, COUNT).clip(-0.6), 0.03]
               for name, mean in (("up", 0.25), ("middle", 0.05), ("down", -0.2))},
        }),
    }  # fmt: skip
    return from_frames(settings, tables)
