"""An objective: holding a name is charged for its capital intensity, whatever it returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from allocator.book.book import Book


def intensity(book: Book, parameters: Mapping[str, Any]) -> pd.Series[float]:
    """By instrument, what a unit held is charged over the horizon: `rate` times its capital-intensity share.

    What is missing or not finite is refused by Allocator, so nothing is filled in here.
    """
    shares = book.exposures["capital_intensity_share"].astype(float)
    return shares * float(parameters["rate"])
