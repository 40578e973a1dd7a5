"""Parameters whose numbers are written often: cvxpy's own checks of a value take longer than the solve that follows.

Imported inside the functions that build programs, as it imports cvxpy.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import cvxpy as cp
import numpy as np

from allocator.types import Vector


class FastParameter(cp.Parameter):  # type: ignore[misc]  # cvxpy has no types
    """A cvxpy parameter that looks once at what it is given: its shape, that it is finite, and its sign.

    cvxpy projects each value onto what the parameter's attributes allow and compares (0.1 ms; twenty of them were two
    thirds of a re-solve at N = 100). What does not pass is left to cvxpy, and refused in its words.
    """

    stacked: Vector | None = None
    """Where the numbers are written besides: a part of the vector that a loop's maps are applied to."""

    @classmethod
    def of(cls, numbers: Any) -> FastParameter:
        """One that holds these."""
        return cls(np.shape(numbers), value=numbers)

    @property
    def value(self) -> Any:
        """The number last written."""
        return super().value

    @value.setter
    def value(self, given: Any) -> None:
        numbers = np.array(given, dtype=np.float64)
        least = numbers if numbers.ndim == 0 else np.minimum.reduce(numbers, axis=None, initial=0.0)
        whole = numbers if numbers.ndim == 0 else np.add.reduce(numbers, axis=None)
        lawful = numbers.shape == self.shape and isfinite(whole)
        if lawful and (least >= 0 or not self.attributes["nonneg"]):
            self.save_value(numbers)
            if self.stacked is not None:
                self.stacked[:] = numbers.ravel(order="F")
        else:
            cp.Parameter.value.fset(self, given)
            if self.stacked is not None:
                self.stacked[:] = np.asarray(super().value).ravel(order="F")
