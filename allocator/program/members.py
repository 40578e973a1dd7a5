"""The named things that a conflict is made of: a rule, or one row of a rule of many, each with a limit to move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from allocator.mandate.mandate import Mandate
from allocator.rules import Rows, Turnover, percent

_NATURAL = 0.01
"""What a limit of 0 is measured in; others are measured in themselves (science §5.2)."""


@dataclass(frozen=True)
class Member:
    """One name in a conflict. `rows` are its rows among the linear ones, then one a convex rule.

    `stated` is its limit as written, NaN where there is nothing to move; loosening moves it in the direction `sense`.
    """

    label: str
    rows: tuple[int, ...]
    stated: float
    sense: float
    unit: str
    tier: int
    size: float

    @property
    def has_limit(self) -> bool:
        """Whether there is a limit to loosen."""
        return not np.isnan(self.stated)

    @property
    def price(self) -> float:
        """What one unit of its row missed counts: a limit missed by all of itself counts 1."""
        natural = abs(self.stated) if self.has_limit and abs(self.stated) > 1e-9 else _NATURAL
        return 1 / (natural * (self.size if self.size > 0 else 1.0))


def members_of(mandate: Mandate, tangents: Sequence[Rows]) -> tuple[Member, ...]:
    """Every member of a mandate, in the order in which its rules stand; `tangents` are one row a convex rule."""
    return (*_linear(mandate), *_convex(tangents, len(mandate.rows.labels)))


def _linear(mandate: Mandate) -> Iterator[Member]:
    instruments, at = len(mandate.cost_rates), 0
    for rule in mandate.linear_rules:
        rows = rule.rows(instruments)
        count = len(rows.labels)
        if isinstance(rule, Turnover):  # purchases and sales are one limit
            label = f"turnover at most {percent(rule.limit)}"
            yield Member(label, tuple(range(at, at + count)), rule.limit, 1.0, rows.unit[0], rule.tier, 1.0)
        else:
            yield from (_row(rows, i, at + i) for i in range(count))
        at += count


def _convex(tangents: Sequence[Rows], at: int) -> Iterator[Member]:
    yield from (_row(tangent, 0, at + position) for position, tangent in enumerate(tangents))


def _row(rows: Rows, i: int, at: int) -> Member:
    return Member(
        rows.labels[i],
        (at,),
        float(rows.stated[i]),
        float(rows.sense[i]),
        rows.unit[i],
        int(rows.tier[i]),
        float(rows.size[i]),
    )
