"""`reverse_stress(book, plan, loss)`: what would have to happen to lose so much (science §4.7).

Three least shifts of what is believed, in closed form: of the probabilities alone, of markets alone, of both together;
then the least change of one model parameter at a time. A loss is of the account before any trade, after costs, over
the horizon, and expected: the mean under what the world would then have to be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.outlook.outlook import Outlook
from allocator.plan.plan import Plan
from allocator.plan.stages import StagedPlan
from allocator.studies.evaluated import ground_of
from allocator.studies.portfolios import Portfolio, portfolios_of
from allocator.studies.reversed_parameters import Root, roots_of
from allocator.studies.tilts import Tilt, by_both, by_markets, by_probabilities
from allocator.types import Vector

Way: TypeAlias = Literal["probabilities", "markets", "both"]

WORDS = ((1.0, "plausible"), (2.0, "a stretch"), (3.0, "far-fetched"))
"""What a shift is called that is worth at most so many standard deviations; beyond them `BEYOND`.

A normal mean moved by s standard deviations is ½s² of relative entropy away, so any distance d is worth √(2d) of them:
1, 2 and 3 are e^-d of 0.61, 0.14 and 0.01.
"""
BEYOND, THERE, NEVER = "next to impossible", "already there", "impossible"


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
        """The plausibility in words, by the thresholds of `WORDS`."""
        if self.sigmas is None:
            return NEVER
        if self.sigmas == 0:
            return THERE
        return next((word for most, word in WORDS if self.sigmas <= most), BEYOND)


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
        rows = [
            {"portfolio": one.portfolio.name, **vars(root), "change": root.change}
            for one in self.portfolios
            for root in one.roots
        ]
        columns = ["portfolio", *Root.__dataclass_fields__, "change"]
        return pd.DataFrame(rows, columns=columns)

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
                    "parameters": [vars(root) | {"change": root.change} for root in one.roots],
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
            "market": shift.market,
            "factors": list(map(float, shift.factors)),
            "probabilities": dict(zip(self.outlook.scenarios, map(float, shift.probabilities), strict=True)),
            "moves": dict(zip(self.book.instruments, map(float, shift.moves), strict=True)),
        }


def reverse_stress(book: Book, plan: Plan | StagedPlan | None = None, loss: float = 0.10) -> ReverseStress:
    """The least shifts that make `loss` of the account expected, for today's holdings and for the plan's final lots.

    Raises:
        BadInput: the loss is not a fraction above 0 and at most 1, or the book's risk cannot be estimated.
    """
    if not 0 < loss <= 1:
        rule, cure = "must be a part of the account above 0 and at most 1", "write ten percent as 0.10"
        raise BadInput([Breach("reverse stress", None, "loss", f"{loss:g}", rule, cure)])
    ground = ground_of(book, "stay", None if plan is None else plan.outlook)
    found = [
        Reversed(
            portfolio=portfolio,
            expected_loss=float(ground.outlook.probabilities @ portfolio.losses(ground.outlook)),
            largest_loss=_largest(ground.outlook, portfolio),
            shifts=shifts_of(book, ground.outlook, portfolio, loss),
            roots=tuple(roots_of(ground, portfolio, loss)),
        )
        for portfolio in portfolios_of(book, plan)
    ]
    return ReverseStress(book, ground.outlook, loss, tuple(found))


def shifts_of(book: Book, outlook: Outlook, portfolio: Portfolio, loss: float) -> tuple[Shift, ...]:
    """The three least shifts of one portfolio."""
    losses, p = portfolio.losses(outlook), outlook.probabilities
    variance = outlook.risk.variance(portfolio.holdings)
    same = np.full(len(p), variance)
    largest = f"{_largest(outlook, portfolio):.2%}"
    return (
        _shift(
            book, outlook, portfolio, "probabilities", by_probabilities(losses, p, loss),
            f"no probability gives this loss, the maximum is {largest}",
        ),
        _shift(
            book, outlook, portfolio, "markets", by_markets(losses, variance, p, loss),
            "no market gives this loss: nothing in the portfolio moves",
        ),
        _shift(
            book, outlook, portfolio, "both", by_both(losses, same, p, loss),
            f"nothing in the portfolio moves, and no probability gives this loss: the maximum is {largest}",
        ),
    )  # fmt: skip


def _largest(outlook: Outlook, portfolio: Portfolio) -> float:
    return float(portfolio.losses(outlook)[outlook.probabilities > 0].max())


def _shift(book: Book, outlook: Outlook, portfolio: Portfolio, way: Way, tilt: Tilt | None, never: str) -> Shift:
    strength = 0.0 if tilt is None else tilt.strength
    risk, section = outlook.risk, book.settings.risk
    factors = 0.0 - strength * (risk.loadings.T @ portfolio.holdings)  # never -0.0
    market = None
    if section.source == "exposures":  # the one factor is the market, scaled to unit variance over the horizon
        market = float(factors[0]) * float(section.market_volatility or 0.0) * float(np.sqrt(outlook.years))
    return Shift(
        way=way,
        distance=None if tilt is None else tilt.distance,
        probabilities=outlook.probabilities if tilt is None else tilt.q,
        moves=0.0 - strength * risk.covariances(portfolio.holdings),
        factors=factors,
        market=market,
        why=never if tilt is None else "",
    )
