"""Which parameters model stress varies, and how far: what `[stress.ranges]` states, else illustrative ranges.

The announcement share is always among them: [0, 1] where the book does not say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.stats import qmc

from allocator.book.book import Book
from allocator.book.checks.stress import (
    PRIOR_OF_ANSWER,
    SHARE,
    ParameterKey,
    book_values,
    check_book_values_in_ranges,
    contract_range,
    stated_ranges,
)
from allocator.errors import BadInput
from allocator.outlook.efficiency_model import PASS_THROUGH_RANGES, TECHNIQUE_RANGES, USAGE_RANGES
from allocator.settings.uncertainty import ScenarioSection
from allocator.types import Matrix

MULTIPLES, PRIOR = 0.1, 0.1
"""Illustrative: either way of the book's own log multiple compression, and of its prior of the answer."""
_INSIDE = 1e-3


@dataclass(frozen=True)
class ParameterRange:
    """A parameter, what the book has of it (None: nothing, or a number a source), and its range."""

    key: ParameterKey
    base_value: float | None
    low: float
    high: float
    stated: bool
    """Whether the book states the range; else it is illustrative."""


def parameter_ranges(book: Book) -> tuple[ParameterRange, ...]:
    """The parameters that are varied.

    Raises:
        BadInput: a stated range does not hold the book's own value; all of them at once.
    """
    if breaches := list(check_book_values_in_ranges(book.settings)):
        raise BadInput(breaches)
    return ranges_around(book)


def ranges_around(book: Book) -> tuple[ParameterRange, ...]:
    """The same, wherever the book's own values are: a what-if may have moved one out of its range."""
    stated = stated_ranges(book.settings)
    ranges = stated or dict(_illustrative(book))
    ranges = ranges | {SHARE: ranges.get(SHARE, (0.0, 1.0))}
    return tuple(_doubt(book, key, low, high, key in stated) for key, (low, high) in ranges.items())


def _doubt(book: Book, key: ParameterKey, low: float, high: float, stated: bool) -> ParameterRange:
    """A range of ours is widened to hold the book's own values, and kept lawful."""
    own = book_values(book.settings, key)
    if not stated:
        least, most, above, below = contract_range(key)
        low, high = max(low, least + _INSIDE * above), min(high, most - _INSIDE * below)
        low, high = min(low, *own, high), max(high, *own, low)
    return ParameterRange(key, own[0] if len(set(own)) == 1 else None, low, high, stated)


def _illustrative(book: Book) -> Iterator[tuple[ParameterKey, tuple[float, float]]]:
    """The ranges of a book that states none."""
    settings = book.settings
    if settings.model is not None:
        yield from ((ParameterKey("model", name), ends) for name, ends in TECHNIQUE_RANGES.items())
        for name, scenario in settings.scenarios.items():
            yield from _of_scenario(name, scenario)
    question = settings.question
    if question is not None and question.ranges is not None:
        for key, pair in question.ranges.model_dump().items():
            yield ParameterKey("question", key), (pair[0], pair[1])
    elif question is not None:
        (prior,) = book_values(settings, PRIOR_OF_ANSWER)
        yield PRIOR_OF_ANSWER, (prior - PRIOR, prior + PRIOR)


def _of_scenario(name: str, scenario: ScenarioSection) -> Iterator[tuple[ParameterKey, tuple[float, float]]]:
    key = partial(ParameterKey, "scenarios", scenario=name)
    if scenario.regime in USAGE_RANGES:
        yield key("usage_elasticity"), USAGE_RANGES[scenario.regime]
    if scenario.hypothesis in PASS_THROUGH_RANGES:
        yield key("pass_through"), PASS_THROUGH_RANGES[scenario.hypothesis]
    middle = float(scenario.multiple_compression or 0.0)
    yield key("multiple_compression"), (middle - MULTIPLES, middle + MULTIPLES)


# Draws of doubted parameters: even over their ranges, the same ones every time, and each known by its index.
#


def draw_parameters(doubts: Sequence[ParameterRange], draws: int, seed: int) -> Matrix:
    """(draws, P) values inside the ranges: scrambled Sobol points (Owen 1998), even where `draws` is a power of two."""
    unit = qmc.Sobol(len(doubts), seed=np.random.default_rng(seed)).random(draws)
    low, high = np.array([(doubt.low, doubt.high) for doubt in doubts]).T
    points: Matrix = low + unit * (high - low)
    return points
