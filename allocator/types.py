"""Array types by shape, so that signatures say what they carry."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float64]
"""One number for each instrument (N,), scenario (K,), row (R,) or factor (F,)."""
Matrix: TypeAlias = NDArray[np.float64]
"""Two-dimensional; the docstring names the axes."""
