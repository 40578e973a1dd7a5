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

_alone = threading.RLock()


@contextmanager
def quiet(category: type[Warning]) -> Iterator[None]:
    """Ignore warnings of a category; the filters are afterwards as they were."""
    with _alone, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


def _anew() -> None:
    """A forked worker has no thread that could ever open a lock that was shut when it was born."""
    global _alone  # noqa: PLW0603
    _alone = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_anew)
