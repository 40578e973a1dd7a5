"""The form that a rule of another package must have: coefficients and readings that nothing below would choke on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from allocator.mandate.rules import PERCENT, Reading, Rows
from allocator.mandate.rules.rows import NUMBER, TIMES

_VECTORS = ("cash", "expected", "wealth", "limit", "sense", "tier", "size", "stated")
_MATRICES = ("holdings", "buys", "sells")


def faults_of_rows(rows: object, instruments: int, scenarios: int, tier: int) -> Iterator[str]:
    """What is wrong with coefficients: shape first, as nothing else can be said of what has another one."""
    if not isinstance(rows, Rows):
        yield f"gives a {type(rows).__name__} as its rows, not Rows"
        return
    if shapes := list(_shapes(rows, instruments, scenarios)):
        yield from shapes
        return
    numbers = [*(getattr(rows, name).data for name in _MATRICES), rows.gains.ravel()]
    numbers += [getattr(rows, name) for name in _VECTORS if name != "stated"]
    if not all(np.isfinite(part).all() for part in numbers) or np.isinf(rows.stated).any():
        yield "has coefficients that are no finite numbers"
    if not np.isin(rows.sense, (-1.0, 1.0)).all():
        yield "has rows whose sense is neither +1, at most, nor -1, at least"
    if (rows.tier != tier).any():
        yield f"has tier {tier}, and rows of another"
    if (rows.size <= 0).any():
        yield "has rows whose limit does not move with what is stated: their size must be above 0"


def faults_of_readings(found: object, rows: Rows) -> Iterator[str]:
    """What is wrong with readings: they must speak of the same limits, row by row."""
    if not isinstance(found, list) or not all(isinstance(one, Reading) for one in found):
        yield "does not give a list of Reading as its readings"
        return
    if [one.label for one in found] != list(rows.labels):
        yield f"reads {[one.label for one in found]}, and has rows {list(rows.labels)}"
        return
    for one, stated, sense in zip(found, rows.stated, rows.sense, strict=True):
        if np.isnan(one.measured) or not np.isfinite(one.limit):
            yield f"measures '{one.label}' as {one.measured} against {one.limit}"
        elif one.at_most != (sense > 0):
            yield f"says of '{one.label}' both 'at most' and 'at least'"
        elif not np.isnan(stated) and abs(one.limit - stated) > 1e-12 * max(1.0, abs(stated)):
            yield f"reads '{one.label}' against {one.limit}, and states {stated}"


def _shapes(rows: Rows, instruments: int, scenarios: int) -> Iterator[str]:
    labels, count = rows.labels, len(rows.labels)
    sound = isinstance(labels, tuple) and all(
        isinstance(one, str) and one.strip() and one.isprintable() for one in labels
    )
    if not sound or not count or len(set(labels)) != count:
        yield "needs a label of its own for every row, and at least one row"
    for name in _MATRICES:
        part = getattr(rows, name)
        if not isinstance(part, sp.csr_array) or part.shape != (count, instruments):
            yield f"must give {name} as a csr_array of {count} rows and {instruments} names"
    for name in _VECTORS:
        part = getattr(rows, name)
        if not isinstance(part, np.ndarray) or part.shape != (count,) or part.dtype != np.float64:
            yield f"must give {name} as {count} floating-point numbers"
    if not isinstance(rows.gains, np.ndarray) or rows.gains.shape not in ((count, 0), (count, scenarios)):
        yield f"must give gains as {count} rows with a column for each of {scenarios} scenarios, or with none"
    if len(rows.unit) != count or not set(rows.unit) <= {PERCENT, NUMBER, TIMES}:
        yield f"must write limits in one of {[PERCENT, NUMBER, TIMES]}, row by row"
