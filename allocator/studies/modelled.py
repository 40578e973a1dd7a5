"""What model stress found: distributions of returns, of outcomes and of the plan, and which parameter matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.studies.importance import Importance
from allocator.studies.outcomes import Outcome
from allocator.studies.ranges import Doubt
from allocator.studies.redone import Redone
from allocator.types import Matrix, Vector

QUANTILES = (0.05, 0.25, 0.50, 0.75, 0.95)
MOVED = 1e-4
"""Of the account: a target nearer than this to what is held is no trade."""


@dataclass(frozen=True)
class Failure:
    """A draw that gave no number or no plan, at which stage and why, with its parameters by key."""

    index: int
    stage: str
    why: str
    parameters: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class ModelStress:
    """`finished` of the `made` draws (`asked` rounded up for Sobol points); arrays over draws follow `values` (D, P).

    `measures` (outcomes, D) and `today` (outcomes,), what the book's own parameters make, are parts of the account;
    `gains` (portfolios, D, K); `returns` (S, K, N) of the first S draws. Target weights, cash last, (N + 1,): `before`
    any trade, as `planned`, and `redone` at the first `to_redo` draws. `importance` is None where a draw failed or it
    was interrupted.
    """

    book: Book
    doubts: tuple[Doubt, ...]
    method: str
    prices: str
    seed: int
    asked: int
    made: int
    finished: int
    interrupted: bool
    values: Matrix
    outcomes: tuple[Outcome, ...]
    measures: Matrix
    gains: Matrix
    returns: Matrix
    today: Vector
    to_redo: int
    redone: Redone
    why_not_redone: str
    before: Vector
    planned: Vector
    importance: Importance | None
    failures: tuple[Failure, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The instruments, cash last."""
        return (*self.book.instruments, self.book.cash_instrument)

    def draws(self) -> pd.DataFrame:
        """One row a finished draw: its parameters, then its outcomes; blank where it made no number."""
        columns = {doubt.key: self.values[:, i] for i, doubt in enumerate(self.doubts)}
        named = {f"{one.portfolio}: {one.measure}": self.measures[i] for i, one in enumerate(self.outcomes)}
        return pd.DataFrame(columns | named)

    def frame(self) -> pd.DataFrame:
        """One row an outcome: what it is today, its quantiles over the draws, the share of draws below 0."""
        rows = []
        for i, outcome in enumerate(self.outcomes):
            own = self.measures[i][np.isfinite(self.measures[i])]
            rows.append(
                {"portfolio": outcome.portfolio, "measure": outcome.measure, "today": self.today[i]}
                | _quantiles(own)
                | {"below_0": float((own < 0).mean()) if len(own) else np.nan}
            )
        return pd.DataFrame(rows)

    def scenario_returns(self) -> pd.DataFrame:
        """One row a scenario and name: quantiles of its return over the first draws (`returns`)."""
        rows = []
        for k, scenario in enumerate(self.book.scenarios):
            for i, name in enumerate(self.book.instruments):
                own = self.returns[:, k, i]
                rows.append({"scenario": scenario, "instrument": name} | _quantiles(own[np.isfinite(own)]))
        return pd.DataFrame(rows)

    def weights(self) -> pd.DataFrame:
        """One row a name, cash last: weight before, planned, its quantiles over plans made again, and their sides.

        `bought`, `sold` and `left` are shares of those plans; `same_side` of those that trade it as the targets do.
        """
        again = np.array(list(self.redone.weights.values())).reshape(-1, len(self.before))
        moved = again - self.before
        own = _sides(self.planned - self.before)
        rows = []
        for i, name in enumerate(self.names):
            sides = _sides(moved[:, i])
            shares = [float((sides == side).mean()) if len(sides) else np.nan for side in (1, -1, 0)]
            rows.append(
                {"instrument": name, "before": self.before[i], "planned": self.planned[i]}
                | _quantiles(again[:, i])
                | dict(zip(("bought", "sold", "left"), shares, strict=True))
                | {"same_side": float((sides == own[i]).mean()) if len(sides) else np.nan}
            )
        return pd.DataFrame(rows)

    def share_notes(self) -> tuple[str, ...]:
        """What an index of 0 of the announcement share means in this book; nothing where it moves returns."""
        market, as_of = self.book.settings.market, self.book.settings.book.as_of
        if market is None:
            return ("The announcement share moves nothing here: without [market] nothing is re-priced.",)
        if self.prices == "stay":
            return ("The announcement share moves no return here: prices stay; it moves the day of news alone.",)
        if market.date == as_of:
            return (
                f"The announcement share moves no return from today: the market's probabilities are of {as_of}, so "
                "prices hold all the news so far. An index of 0 means that; what it moves is the day of news.",
            )
        return ()

    def document(self) -> dict[str, Any]:
        """The figures as plain data; draws themselves are in `draws()`."""
        return {
            "method": self.method,
            "prices": self.prices,
            "seed": self.seed,
            "asked": self.asked,
            "made": self.made,
            "finished": self.finished,
            "interrupted": self.interrupted,
            "parameters": [vars(doubt) for doubt in self.doubts],
            "outcomes": _records(self.frame()),
            "scenario_returns": _records(self.scenario_returns()),
            "importance": None if self.importance is None else _records(self.importance.frame()),
            "optimised_again": {
                "asked": self.to_redo,
                "finished": len(self.redone.weights) + len(self.redone.failed),
                "why_not": self.why_not_redone,
                "weights": _records(self.weights()) if self.redone.weights else [],
            },
            "failures": [vars(failure) | {"parameters": dict(failure.parameters)} for failure in self.failures],
            "notes": list(self.share_notes()),
        }


def _quantiles(values: Vector) -> dict[str, float]:
    found = np.quantile(values, QUANTILES) if len(values) else np.full(len(QUANTILES), np.nan)
    return {f"q{100 * level:02.0f}": float(value) for level, value in zip(QUANTILES, found, strict=True)}


def _sides(moves: Vector) -> Vector:
    """1 bought, −1 sold, 0 left."""
    return np.where(np.abs(moves) <= MOVED, 0.0, np.sign(moves))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain data; what is no number is None."""
    return [
        {str(key): None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()}
        for row in frame.to_dict("records")
    ]
