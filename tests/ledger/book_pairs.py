"""Two books that differ in any of the six groups, for what is told of their difference."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from allocator.book.book import Book, from_weights
from allocator.book.loading import load
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance

OVERRIDES = {
    "signals": ("believe.generalizable=0.4",),
    "model": ("risk.market_volatility=0.2", "horizon.announcement_share=0.5"),
    "mandate": ("mandate.max_weight=0.15",),
    "costs": ("costs.commission_bps=20",),
}
"""What --set makes of a sample book, by group."""
ROOT = Path(__file__).resolve().parents[2]


def changed_book(folder: str, groups: Collection[str]) -> Book:
    """A sample book with something else in each of the groups."""
    book = load(ROOT / "data" / folder, overrides=[one for group in groups for one in OVERRIDES.get(group, ())])
    if "holdings" in groups:
        up = np.linspace(0.95, 1.1, len(book.instruments))
        book = replace(book, prices=book.prices * up, quoted_prices=book.quoted_prices * up)
    if "exposures" in groups:
        book = replace(book, exposures=book.exposures.assign(beta=book.exposures["beta"] * 0.8))
    return book


@cache
def planned(folder: str, groups: tuple[str, ...] = ()) -> Plan:
    """The plan of such a book; made once."""
    return rebalance(changed_book(folder, groups))


def book_of_one_name(held: float, *, other: float = 0.0, **mandate: object) -> Book:
    """A name that everybody wants, another, and cash: a plan is decided by limits alone."""
    weights: Mapping[str, float] = {"X": held, "Y": other}
    returns = {"X": {"one": 0.2}, "Y": {"one": 0.05}, "cash": {"one": 0.0}}
    return from_weights(
        weights,
        buckets={"X": "neutral", "Y": "neutral", "USD": "cash"},
        returns=returns,
        probabilities={"one": 1.0},
        mandate={"max_cash": 1.0, **mandate},
        as_of=load(ROOT / "data" / "note").settings.book.as_of,
    )
