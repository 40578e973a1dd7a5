"""Whether a rule's coefficients and its formula say the same: where they part, and where each of them begins to break.

A formula that is stricter than its rows is found out on the final lots; rows that are stricter than their formula would
make a plan that keeps every rule and is not the best one. So both are held against each other, at the border too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from allocator.book.book import Book
from allocator.mandate.rules import Reading, Rows, Trade, slack
from allocator.types import Vector

Measure = Callable[[Trade], Sequence[Reading]]
_APART = 1e-7
"""Of the account: coefficients and formula that differ by less say the same."""
_ALONE = 200
"""So many names are each tried as the only holding."""
_BORDERS = 3
"""So many ways from a portfolio that keeps a rule to one that breaks it are followed, for each rule."""
_HALVINGS = 45


def disagreements(rows: Rows, measure: Measure, book: Book) -> Iterator[str]:
    """Where rows with their gains written out and a formula contradict each other, a sentence each; one a row."""
    tried = [(words, after, _trade(book, after)) for words, after in _portfolios(book)]
    left = np.array([slack(rows, trade) for _, _, trade in tried])
    excess = np.array([[reading.excess for reading in measure(trade)] for _, _, trade in tried])
    for row, label in enumerate(rows.labels):
        apart = ((left[:, row] > _APART) & (excess[:, row] > _APART)) | (
            (left[:, row] < -_APART) & (excess[:, row] < -_APART)
        )
        if apart.any():
            at = int(np.argmax(apart))
            by = ("kept", "broken") if left[at, row] > 0 else ("broken", "kept")
            yield f"contradicts itself: {tried[at][0]}, '{label}' is {by[0]} by its rows and {by[1]} by its readings"
        elif not _same_border(rows, measure, book, [after for _, after, _ in tried], excess[:, row], row):
            yield f"contradicts itself: '{label}' ends elsewhere by its rows than by its readings"


def _same_border(
    rows: Rows, measure: Measure, book: Book, portfolios: Sequence[Vector], excess: Vector, row: int
) -> bool:
    """Whether the row has nothing left where its formula begins to break, on the way between two portfolios."""
    kept, broken = np.flatnonzero(excess < -_APART), np.flatnonzero((excess > _APART) & np.isfinite(excess))
    for start, end in list(zip(map(int, kept), map(int, broken), strict=False))[:_BORDERS]:
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            at = _trade(book, (1 - middle) * portfolios[start] + middle * portfolios[end])
            low, high = (low, middle) if measure(at)[row].excess > 0 else (middle, high)
        border = _trade(book, (1 - low) * portfolios[start] + low * portfolios[end])
        if abs(float(slack(rows, border)[row])) > _APART * 10:
            return False
    return True


def _portfolios(book: Book) -> Iterator[tuple[str, Vector]]:
    """(N + 1,) money in each name and in cash: of today, and what the rule is tried on beside it."""
    value, count = book.value, len(book.instruments)
    today = np.append(book.quantities * book.prices, book.cash)
    yield "with today's holdings", today
    yield "with cash alone", value * np.eye(1, count + 1, count)[0]
    yield "with equal weights", np.full(count + 1, value / (count + 1))
    for i in range(min(count, _ALONE)):
        yield f"with {book.instruments[i]} alone", value * np.eye(1, count + 1, i)[0]
    yield "with equal weights and a tenth lost to costs", np.full(count + 1, 0.9 * value / (count + 1))
    yield "with today's holdings and a tenth lost to costs", 0.9 * today


def _trade(book: Book, after: Vector) -> Trade:
    before, values = book.quantities * book.prices, after[:-1]
    bought, sold = np.maximum(values - before, 0.0), np.maximum(before - values, 0.0)
    return Trade(values, float(after[-1]), bought, sold, book.value - float(after.sum()), book.value)
