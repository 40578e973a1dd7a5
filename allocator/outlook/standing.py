"""Where the question stands: beliefs now and through time, what would change them, and when it will be settled."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.outlook.beliefs import sound
from allocator.outlook.coming import Possible, jevons_of, next_signals, settled_by_silence
from allocator.outlook.model import modelled, question_of, ranges_of, signals_of
from allocator.outlook.past import past_of
from allocator.outlook.question import Signal
from allocator.outlook.ranges import bounds
from allocator.outlook.settlement import Settlement, settlement
from allocator.types import Matrix, Vector


@dataclass(frozen=True, eq=False)
class Standing:
    """What is believed on `day`.

    `prior`, `belief`, `market` (K,) are scenario probabilities, the market's None where the book states none. `days`
    (T,) run from the opening to `day`, with P(generalizable) `path` (T,) and scenario probabilities `paths` (T, K).
    `jevons` is None where the question does not model demand. `settled_by_silence` is in the past where the question is
    settled: the day on which that happened.
    """

    scenarios: tuple[str, ...]
    day: dt.date
    prior: Vector
    belief: Vector
    market: Vector | None
    generalizable: float
    jevons: float | None
    bounds: tuple[float, float] | None
    settled: str | None
    signals: tuple[Signal, ...]
    days: tuple[dt.date, ...]
    path: Vector
    paths: Matrix
    next_signals: tuple[Possible, ...]
    settled_by_silence: dt.date | None
    settlement: Settlement

    def months(self) -> list[int]:
        """Where in `days` a reader looks: the opening, each month's end, every signal, and today."""
        marked = {0, len(self.days) - 1}
        marked |= {i for i, day in enumerate(self.days[:-1]) if self.days[i + 1].month != day.month}
        told = {signal.date for signal in self.signals}
        return sorted(marked | {i for i, day in enumerate(self.days) if day in told})


def standing(book: Book) -> Standing:
    """Where the book's question stands on its as_of date.

    Raises:
        BadInput: the book asks no question.
    """
    question = question_of(book)
    if question is None:
        raise BadInput(
            [
                Breach(
                    "book.toml",
                    None,
                    "question",
                    None,
                    "this book states its probabilities outright",
                    "add [question] with labs and their hazards, and signals.csv",
                )
            ]
        )
    day, signals = book.settings.book.as_of, signals_of(book)
    past = past_of(question, signals, day)
    sound(past.beliefs, "question", "what is believed")
    ranges, model = ranges_of(book), modelled(book)
    return Standing(
        scenarios=book.scenarios,
        day=day,
        prior=question.prior,
        belief=past.beliefs[-1],
        market=None if model is None else model.market_now,
        generalizable=float(past.generalizable[-1]),
        jevons=jevons_of(question, past.beliefs[-1]),
        bounds=None if ranges is None else bounds(question, ranges, signals, day),
        settled=past.settled,
        signals=tuple(signals),
        days=past.days,
        path=past.generalizable,
        paths=past.beliefs,
        next_signals=tuple(next_signals(question, signals, day)),
        settled_by_silence=settled_by_silence(question, signals, day, past=past),
        settlement=settlement(question, signals, day, past=past),
    )
