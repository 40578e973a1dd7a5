"""Which charts a page has: where each stands, of which document it is made, and the table behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

WIDE, NARROW = 720, 340
"""Pixels across, on a desktop and on a phone."""


@dataclass(frozen=True)
class Chart:
    """`spec(document, width=…)` is its Vega-Lite specification, None where the document has nothing to say."""

    section: str
    document: str
    title: str
    spec: Callable[..., dict[str, Any] | None]
    table: str


CHARTS: tuple[Chart, ...] = ()
