"""The way here: what was believed on each day from the opening to today, and whether that has settled the question.

`settled` depends on the way (in at the threshold, out below the release), so whoever asks walks the same days.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.outlook.beliefs import generalizable, posterior, settling
from allocator.outlook.question import Question, Signal
from allocator.types import Matrix, Vector

_AT_ONCE = 4096
"""Days evaluated together: with a frailty a day takes 128 numbers, and centuries of them would not fit in memory."""


@dataclass(frozen=True, eq=False)
class Past:
    """On each of `days` (T,) from the opening to today: scenario probabilities `beliefs` (T, K), P(G) `generalizable`.

    `settled` is the answer that this has settled on by today, `since` the day on which it last did; None while open.
    """

    days: tuple[dt.date, ...]
    beliefs: Matrix
    generalizable: Vector
    settled: str | None
    since: dt.date | None


def past_of(question: Question, signals: Sequence[Signal], day: dt.date) -> Past:
    """The way from the opening to `day`, by the day."""
    days = [question.opened + dt.timedelta(days=n) for n in range((day - question.opened).days + 1)]
    blocks = [posterior(question, signals, days[i : i + _AT_ONCE]) for i in range(0, len(days), _AT_ONCE)]
    beliefs: Matrix = np.concatenate(blocks)
    path = generalizable(question, beliefs)
    answer, since = settling(question, path)
    return Past(tuple(days), beliefs, path, answer, None if since is None else days[since])
