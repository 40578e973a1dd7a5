"""Reverse stress of the efficiency model: the least change of one parameter that makes a loss expected.

Prices stay those of today, which hold the book's own parameters: the parameter turns out to be another than anybody
priced. One parameter at a time and the root nearest to the book's own value: with several at once the set of losing
parameters is not convex, so what is found is local. Two roots within one step of the scan are overlooked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from allocator.book.book import Book
from allocator.book.checks.question import COORDINATES
from allocator.book.checks.stress import book_values, contract_range
from allocator.presentation import Row
from allocator.settings.uncertainty import ModelSection
from allocator.stress_testing.outcomes import StressBase, StressPortfolio, outlook_at_draws
from allocator.stress_testing.parameter_draws import ranges_around
from allocator.types import Vector

# Plausibility in words: what a shift is called by how many steps it takes, a step being what is quite usual.
#
# Of a shift of belief or of markets a step is a standard deviation: a normal mean moved by s of them is ½s² of
# relative entropy away, so a distance d is worth √(2d); 1, 2 and 3 of them have plausibility exp(−d) of 0.61, 0.14 and
# 0.01. Of a parameter a step is the way from the book's own value to the end of its range.
#
RATINGS = ((1.0, "plausible"), (2.0, "unlikely"), (3.0, "very unlikely"))
"""What is rated so takes at most so many steps; what takes more is rated `BEYOND`."""
BEYOND, THERE, NEVER, UNKNOWN = "extreme", "already the case", "impossible", "no range stated"


def describe_steps(steps: float) -> str:
    """What so many steps are called."""
    if steps == 0:
        return THERE
    return next((word for most, word in RATINGS if steps <= most), BEYOND)


_STEPS = 129
_CLOSER, _LOOKS = 33, 7
_OPEN = 1e-4
"""How near an end that is out of bounds itself is looked at, relative to the parameter's own value."""


@dataclass(frozen=True)
class ParameterRoot:
    """The `value` of a parameter, nearest to its `base_value`, at which the loss is expected; None where there is none.

    It is looked for in the lawful range from `lowest` to `highest`, over which the expected loss goes from
    `smallest_loss` to `largest_loss`.

    `low` and `high` are the range that model stress varies it over; None where it does not.
    """

    key: str
    base_value: float
    value: Annotated[float | None, "nearest value that loses so much; null where none does"]
    lowest: float
    highest: float
    smallest_loss: float
    largest_loss: float
    low: float | None = None
    high: float | None = None

    @property
    def change(self) -> float | None:
        """The value less the book's own."""
        return None if self.value is None else self.value - self.base_value

    @property
    def reach(self) -> float | None:
        """The change in ways from the book's own value to the end of its range: up to 1 lies inside.

        None without a value or a range, or where the range does not go that way at all.
        """
        if self.change is None or self.low is None or self.high is None:
            return None
        way = self.high - self.base_value if self.change > 0 else self.base_value - self.low
        return 0.0 if self.change == 0 else abs(self.change) / way if way > 0 else None

    @property
    def rating(self) -> str:
        """What the plausibility is called, by the thresholds of `RATINGS`."""
        if self.value is None:
            return NEVER
        if self.low is None:
            return UNKNOWN
        return BEYOND if self.reach is None else describe_steps(self.reach)

    def document(self) -> Row:
        """The root as plain data."""
        return vars(self) | {"change": self.change, "reach": self.reach, "rating": self.rating}


def model_parameters(book: Book) -> tuple[str, ...]:
    """Every parameter of the efficiency model that is one number, by its key in `book.toml`; none without [model]."""
    if book.settings.model is None:
        return ()
    shared = [f"model.{name}" for name in ModelSection.model_fields if name != "since"]
    return (*shared, *(f"scenarios.{k}.{name}" for k in book.scenarios for name in COORDINATES))


def parameter_roots(ground: StressBase, portfolio: StressPortfolio, loss: float) -> Iterator[ParameterRoot]:
    """The root of each parameter in turn; `ground` has prices that stay."""
    ranges = {doubt.key: (doubt.low, doubt.high) for doubt in ranges_around(ground.book)}
    for key in model_parameters(ground.book):
        (own,) = book_values(ground.book.settings, key)
        at = _places(key, own)
        losses = expected_losses(ground, portfolio, key, at)
        yield ParameterRoot(
            key=key,
            base_value=own,
            value=own if float(losses[at == own][0]) >= loss else _nearest(ground, portfolio, key, at, losses, loss),
            lowest=float(at[0]),
            highest=float(at[-1]),
            smallest_loss=float(np.nanmin(losses)),
            largest_loss=float(np.nanmax(losses)),
            low=ranges[key][0] if key in ranges else None,
            high=ranges[key][1] if key in ranges else None,
        )


def expected_losses(ground: StressBase, portfolio: StressPortfolio, key: str, at: Vector) -> Vector:
    """(D,) expected loss of the portfolio with the parameter at each of D values; NaN where it is no number."""
    with np.errstate(all="ignore"):
        found = outlook_at_draws(ground, {key: at})
        gains = found.returns @ portfolio.holdings + ground.outlook.cash_returns * portfolio.cash
        losses = portfolio.spent - (found.probabilities * gains).sum(axis=1)
    return np.asarray(np.where(np.isfinite(losses), losses, np.nan))


def _places(key: str, own: float) -> Vector:
    """Where a parameter is looked at: evenly over its lawful range, and evenly in logarithms where it has any."""
    low, high, above, below = contract_range(key)
    room = _OPEN * max(abs(own), _OPEN)
    low, high = min(low + room * above, own), max(high - room * below, own)
    places = [np.linspace(low, high, _STEPS), np.array([own])]
    if high > 0:
        places.append(np.geomspace(max(low, room), high, _STEPS))
    return np.unique(np.clip(np.concatenate(places), low, high))


def _nearest(
    ground: StressBase, portfolio: StressPortfolio, key: str, at: Vector, losses: Vector, loss: float
) -> float | None:
    """The crossing whose step lies nearest to the book's own value, drawn together until it is a point."""
    (own,) = book_values(ground.book.settings, key)
    apart = losses - loss
    with np.errstate(invalid="ignore"):
        steps = np.flatnonzero((apart[:-1] < 0) != (apart[1:] < 0))
    steps = steps[np.isfinite(apart[steps]) & np.isfinite(apart[steps + 1])]
    if not len(steps):
        return None
    first = min(steps, key=lambda i: min(abs(at[i] - own), abs(at[i + 1] - own)))
    low, high = float(at[first]), float(at[first + 1])
    rising = apart[first] < 0
    for _ in range(_LOOKS):
        between = np.linspace(low, high, _CLOSER)
        under = (expected_losses(ground, portfolio, key, between) < loss) == rising
        i = int(np.flatnonzero(under)[-1]) if under.any() else 0
        low, high = float(between[i]), float(between[min(i + 1, _CLOSER - 1)])
    return (low + high) / 2
