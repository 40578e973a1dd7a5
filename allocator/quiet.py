"""Silence for warnings of the libraries that we use, one thread at a time.

The filters of `warnings` belong to the whole process: two threads that save and restore them in turns can leave the
one's silence behind for good. So whoever wants silence waits for it, and wants it for milliseconds.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_alone = threading.RLock()
_before: list[Any] | None = None
"""The filters as they were before the silence that is now, for a worker that is forked within it."""


@contextmanager
def quiet(category: type[Warning]) -> Iterator[None]:
    """Ignore warnings of a category; the filters are afterwards as they were, where nobody else changes them too."""
    global _before  # noqa: PLW0603
    with _alone, warnings.catch_warnings():
        outer, _before = _before, _before or list(warnings.filters)
        warnings.simplefilter("ignore", category)
        try:
            yield
        finally:
            _before = outer


def _anew() -> None:
    """A forked worker has no thread that could ever open a lock that was shut, or end a silence, when it was born."""
    global _alone, _before  # noqa: PLW0603
    _alone = threading.RLock()
    if _before is not None:
        warnings.filters[:] = _before  # type: ignore[index]
        _before = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_anew)
