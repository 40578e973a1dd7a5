"""What reverse stress found: the least shifts that lose so much, with their plausibility in words and in number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.outlook.outlook import Outlook
from allocator.studies.plausibility import NEVER, in_words
from allocator.studies.portfolios import Portfolio
from allocator.studies.reversed_parameters import Root
from allocator.types import Vector

Way: TypeAlias = Literal["probabilities", "markets", "both"]


@dataclass(frozen=True, eq=False)
class Shift:
    """One way to lose: the least shift, `distance` of relative entropy from the belief (nats), None where none does it.

    `probabilities` (K,) and `moves` (N,), what is added to every name's mean return over the horizon; `factors` (F,)
    the risk factors' moves in standard deviations; `market` the market factor's return where risk is from exposures.
    """

    way: Way
    distance: float | None
    probabilities: Vector
    moves: Vector
    factors: Vector
    market: float | None
    why: str = ""
    """Why nothing does it."""
    beyond: tuple[str, ...] = ()
    """Names that would have to lose more than everything: there the normal law of markets is no guide."""

    @property
    def plausibility(self) -> float:
        """e^-distance, from 1 (nothing has to change) to 0."""
        return 0.0 if self.distance is None else float(np.exp(-self.distance))

    @property
    def sigmas(self) -> float | None:
        """The standard deviations by which a normal mean would be as far away."""
        return None if self.distance is None else float(np.sqrt(2 * self.distance))

    @property
    def words(self) -> str:
        """The plausibility in words, by the thresholds of `plausibility.WORDS`."""
        return NEVER if self.sigmas is None else in_words(self.sigmas)


@dataclass(frozen=True, eq=False)
class Reversed:
    """One portfolio: its `expected_loss` under the belief, its `largest_loss` over possible scenarios, and the ways."""

    portfolio: Portfolio
    expected_loss: float
    largest_loss: float
    shifts: tuple[Shift, ...]
    roots: tuple[Root, ...]

    def by(self, way: Way) -> Shift:
        """The shift of one kind."""
        return next(shift for shift in self.shifts if shift.way == way)


@dataclass(frozen=True, eq=False)
class ReverseStress:
    """What would have to happen to lose `loss` of the account, in each portfolio."""

    book: Book
    outlook: Outlook
    loss: float
    portfolios: tuple[Reversed, ...]

    def frame(self) -> pd.DataFrame:
        """One row a portfolio and way: distance, plausibility, sigmas, words, and the probabilities it takes."""
        rows = [
            {
                "portfolio": one.portfolio.name,
                "way": shift.way,
                "distance": shift.distance,
                "plausibility": shift.plausibility,
                "sigmas": shift.sigmas,
                "words": shift.words,
                "market": shift.market,
                **dict(zip(self.outlook.scenarios, map(float, shift.probabilities), strict=True)),
            }
            for one in self.portfolios
            for shift in one.shifts
        ]
        return pd.DataFrame(rows)

    def moves(self) -> pd.DataFrame:
        """One row a portfolio, way and name: what is added to the name's mean return over the horizon."""
        rows = [
            {"portfolio": one.portfolio.name, "way": shift.way, "instrument": name, "move": float(shift.moves[i])}
            for one in self.portfolios
            for shift in one.shifts
            for i, name in enumerate(self.book.instruments)
        ]
        return pd.DataFrame(rows)

    def parameters(self) -> pd.DataFrame:
        """One row a portfolio and parameter: its own value, the value that loses so much, and what its range does."""
        rows = [{"portfolio": one.portfolio.name} | root.document() for one in self.portfolios for root in one.roots]
        return pd.DataFrame(rows, columns=["portfolio", *Root.__dataclass_fields__, "change", "reach", "words"])

    def document(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {
            "loss": self.loss,
            "portfolios": [
                {
                    "portfolio": one.portfolio.name,
                    "expected_loss": one.expected_loss,
                    "largest_loss": one.largest_loss,
                    "shifts": [self._shift(shift) for shift in one.shifts],
                    "parameters": [root.document() for root in one.roots],
                }
                for one in self.portfolios
            ],
        }

    def _shift(self, shift: Shift) -> dict[str, Any]:
        return {
            "way": shift.way,
            "distance": shift.distance,
            "plausibility": shift.plausibility,
            "sigmas": shift.sigmas,
            "words": shift.words,
            "why": shift.why,
            "beyond": list(shift.beyond),
            "market": shift.market,
            "factors": list(map(float, shift.factors)),
            "probabilities": dict(zip(self.outlook.scenarios, map(float, shift.probabilities), strict=True)),
            "moves": dict(zip(self.book.instruments, map(float, shift.moves), strict=True)),
        }
