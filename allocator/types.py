"""Array types by shape, so that signatures say what they carry; and modules that are imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float64]
"""One number for each instrument (N,), scenario (K,), row (R,) or factor (F,)."""
Matrix: TypeAlias = NDArray[np.float64]
"""Two-dimensional; the docstring names the axes."""


class DeferredModule:
    """A module that takes long to import and that not every run needs: imported at the first name asked of it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)
