"""Books small enough to know by hand what is best under every belief."""

from __future__ import annotations

from typing import Any

import numpy as np

from allocator.book.book import Book
from allocator.types import Vector
from tests.books import book

HELD = 0.2
"""Today's weight of each of two names; the rest is cash."""
AVERSION, VARIANCE = 2.0, 0.25
TRUE, FALSE = np.array([0.30, 0.06]), np.array([-0.10, 0.14])
"""Returns of AAA and BBB in the two scenarios; cash returns 2%."""


def two_names(
    returns: Vector = TRUE, labels: tuple[str, str] = ("efficiency", "capital_intensity"), **settings: Any
) -> Book:
    """Independent names, no costs, nothing that binds: weights are (mean − 2%) / (2·aversion·variance), linear in p.

    `returns` (2,) are those of the first scenario, `labels` the buckets of the two names.
    """
    document: dict[str, Any] = {
        "mandate": {"risk_aversion": AVERSION},
        "risk": {"source": "exposures", "market_volatility": 0.15},
        "robust": {"set": "none"},
        "costs": {"commission_bps": 0.0, "spread_bps": 0.0},
        "scenarios": {
            "open": {"probability": 0.6, "hypothesis": "generalizable"},
            "closed": {"probability": 0.4, "hypothesis": "proprietary"},
        },
    }
    return book(
        document | settings,
        names=("AAA", "BBB"),
        returns={"open": list(returns), "closed": list(FALSE)},
        cash=600_000.0,
        quantity=2000.0,
        exposures_columns={
            "beta": [0.0, 0.0],
            "idiosyncratic_volatility": [VARIANCE**0.5] * 2,
            "bucket": list(labels),
        },
    )


def best(probability: float) -> Vector:
    """(2,) the weights that are best, where neither is below 0 and cash is left."""
    mean = probability * TRUE + (1 - probability) * FALSE
    weights: Vector = (mean - 0.02) / (2 * AVERSION * VARIANCE)
    return weights
