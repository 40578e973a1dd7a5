"""The sample books with their plans, made once for all tests of studies."""

from __future__ import annotations

import functools
from pathlib import Path

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def sample(name: str, *overrides: str) -> Book:
    """A sample book under what-ifs."""
    return load(ROOT / "tests" / "plain_books" / name, overrides=overrides)


@functools.cache
def planned(name: str, *overrides: str) -> Plan:
    """Its plan."""
    return rebalance(sample(name, *overrides))


@functools.cache
def staged() -> Plan:
    """The plan of the sample book that is decided again at reviews."""
    return rebalance(sample("reviewed"))
