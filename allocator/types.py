"""Array types by shape, so that signatures say what they carry; and modules that are imported when they are used."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import scipy
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
        return getattr(import_module(self._name) if self._name in sys.modules else _imported(self._name), name)


class _Statistics(ModuleType):
    """`scipy.stats` while cvxpy is imported, which wants the entropy of it for one atom: nobody here uses that, and
    the rest takes as long to import as all of cvxpy. Whoever asks for anything else is given the package.
    """

    def __getattr__(self, name: str) -> Any:
        if name == "entropy":
            return lambda *numbers, **further: import_module(_STATISTICS).entropy(*numbers, **further)
        if sys.modules.get(_STATISTICS) is self:
            del sys.modules[_STATISTICS]
        return getattr(import_module(_STATISTICS), name)


_STATISTICS = "scipy.stats"


def _imported(name: str) -> ModuleType:
    for_now = _Statistics(_STATISTICS)
    for_now.__path__ = [str(Path(place) / "stats") for place in scipy.__path__]  # a package, as its own is
    known = sys.modules.setdefault(_STATISTICS, for_now)
    try:
        return import_module(name)
    finally:
        if known is for_now and sys.modules.get(_STATISTICS) is for_now:
            del sys.modules[_STATISTICS]
