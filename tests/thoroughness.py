"""How much of what is random is tried: a part in `make test`, all of it in `make thorough`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

THOROUGH = bool(os.environ.get("ALLOCATOR_THOROUGH"))
Case = TypeVar("Case")


def some(cases: Iterable[Case], one_in: int) -> list[Case]:
    """Every so many of the cases; all of them where everything is tried."""
    return list(cases)[:: 1 if THOROUGH else one_in]


def count(whole: int, one_in: int) -> int:
    """So many, or that part of it."""
    return whole if THOROUGH else whole // one_in
