"""What a rule measured, in the unit of its limit."""

from __future__ import annotations

import math

from allocator.display.console import percents
from allocator.rules import PERCENT, Reading


def in_its_unit(reading: Reading, digits: int = 1) -> str:
    """18.9%, 1.18 or 2.4 x; a ratio to a group of which nothing is held is no number."""
    if not math.isfinite(reading.measured):
        return "none of the second"
    return percents(reading.measured, digits) if reading.unit == PERCENT else f"{reading.measured:.4g}{reading.unit}"
