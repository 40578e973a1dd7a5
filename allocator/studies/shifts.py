"""The least shift of the belief that makes another choice better, and how plausible it is (science §4.6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from allocator.plan.break_even import Shift, least_shift_chi2, least_shift_kl, least_shift_tv
from allocator.plan.plan import Plan, figures
from allocator.types import Vector

PAIRS = 4
"""Of the largest names, each compared with the next."""
_SAYS = (
    (0.99, "next to nothing"),
    (0.9, "a small change"),
    (0.7, "a clear change"),
    (0.4, "a large change"),
    (0.1, "against our belief"),
)
"""From which plausibility on it is called what."""
KINDS = {"total_variation": least_shift_tv, "kl": least_shift_kl, "chi2": least_shift_chi2}


@dataclass(frozen=True, eq=False)
class Flip:
    """`first` is expected to return `ahead` more than `second` (fraction of the account, over the horizon); the nearest
    belief that makes them equal, by each distance; None where none does.
    """

    first: str
    second: str
    ahead: float
    shifts: Mapping[str, Shift | None]

    @property
    def plausibility(self) -> float | None:
        """e^(−relative entropy) of the least shift: 1 is today's belief, 0 what it excludes."""
        shift = self.shifts["kl"]
        return None if shift is None else float(np.exp(-shift.distance))

    @property
    def in_words(self) -> str:
        """The plausibility as people say it."""
        return in_words(self.plausibility)

    def document(self, scenarios: tuple[str, ...]) -> dict[str, Any]:
        """Plain data."""
        return {
            "first": self.first,
            "second": self.second,
            "ahead": round(self.ahead, 10),
            "plausibility": None if self.plausibility is None else round(self.plausibility, 8),
            "in_words": self.in_words,
            "shifts": {
                kind: None
                if shift is None
                else {
                    "distance": round(shift.distance, 10),
                    "probabilities": dict(zip(scenarios, (round(float(q), 10) for q in shift.q), strict=True)),
                }
                for kind, shift in self.shifts.items()
            },
        }


def in_words(plausibility: float | None) -> str:
    """A plausibility e^(−relative entropy) in words; None is a shift that no belief makes."""
    if plausibility is None:
        return "impossible"
    return next((said for least, said in _SAYS if plausibility >= least), "next to impossible")


def flips_of(plan: Plan) -> tuple[Flip, ...]:
    """The orders against holding, after costs; then each of the largest targets against the next, by their returns."""
    weighed = figures(plan.book, plan.outlook, plan.mandate, plan.weighed)
    found = []
    if plan.weighed_orders:
        today, then = (np.array(one.scenario_returns) for one in (plan.before, weighed))
        found.append(flip("the orders", then, "holding", today, plan.outlook.probabilities))
    weights, names = plan.target.weights, plan.book.instruments
    largest = [i for i in np.argsort(-weights, kind="stable")[:PAIRS] if weights[i] > 0]
    for i, j in pairwise(largest):
        returns = plan.outlook.returns
        found.append(flip(names[i], returns[:, i], names[j], returns[:, j], plan.outlook.probabilities))
    return tuple(found)


def flip(first: str, its_returns: Vector, second: str, others: Vector, probabilities: Vector) -> Flip:
    """The least shifts between two choices with these (K,) returns; the better one under the belief comes first."""
    better = others - its_returns
    ahead = -float(probabilities @ better)
    if ahead < 0:
        first, second, better, ahead = second, first, -better, -ahead
    return Flip(first, second, ahead, {kind: shift(better, probabilities) for kind, shift in KINDS.items()})
