"""What is compiled in: two questions of one shape share a program, whatever their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from allocator.mandate.mandate import EllipsoidError, Mandate
from allocator.outlook.outlook import Outlook
from allocator.program.convex import is_conic, pattern_of
from allocator.program.worst_case import is_curved, shape_of
from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class Shape:
    """What must be equal for two questions to share one compiled program."""

    loadings: Vector
    specific: Vector
    scenarios: int
    pattern: tuple[Any, ...]
    conic: bool
    """Whether it takes more than a quadratic program."""

    def fits(self, other: Shape) -> bool:
        """Whether a program compiled for one serves the other."""
        return (
            self.pattern == other.pattern
            and self.scenarios == other.scenarios
            and np.array_equal(self.loadings, other.loadings)
            and np.array_equal(self.specific, other.specific)
        )


def shape(outlook: Outlook, mandate: Mandate) -> Shape:
    """The shape of a question."""
    rows = mandate.rows
    set_, support = shape_of(mandate.ambiguity, outlook.probabilities)
    pattern = (
        type(set_).__name__,
        support,
        bool(mandate.return_weight),
        mandate.risk_aversion > 0,
        mandate.impact is not None,
        type(mandate.return_error).__name__,
        mandate.charges is not None,
        rows.structure,
        convex := tuple(pattern_of(rule, outlook.probabilities) for rule in mandate.convex_rules),
    )
    conic = (
        is_curved(type(set_).__name__)
        or mandate.impact is not None
        or isinstance(mandate.return_error, EllipsoidError)
        or any(map(is_conic, convex))
    )
    return Shape(outlook.risk.loadings, outlook.risk.specific, len(outlook.scenarios), pattern, conic)
