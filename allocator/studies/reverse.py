"""`reverse_stress(book, plan, loss)`: what would have to happen to lose so much (science §4.7).

Three least shifts of what is believed, in closed form: of the probabilities alone, of markets alone, of both together;
then the least change of one model parameter at a time. A loss is of the account before any trade, after costs, over
the horizon, and expected: the mean under what the world would then have to be.
"""

from __future__ import annotations

import numpy as np

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.multistage.plan import StagedPlan
from allocator.outlook.outlook import Outlook
from allocator.plan.plan import Plan
from allocator.studies.evaluated import ground_of
from allocator.studies.portfolios import Portfolio, portfolios_of
from allocator.studies.reversals import Reversed, ReverseStress, Shift, Way
from allocator.studies.reversed_parameters import roots_of
from allocator.studies.tilts import Tilt, by_both, by_markets, by_probabilities


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
    q = outlook.probabilities if tilt is None else tilt.q
    moves = 0.0 - strength * risk.covariances(portfolio.holdings)
    return Shift(
        way=way,
        distance=None if tilt is None else tilt.distance,
        probabilities=q,
        moves=moves,
        factors=factors,
        market=market,
        why=never if tilt is None else "",
        beyond=tuple(np.array(book.instruments)[q @ outlook.returns + moves < -1].tolist()),
    )
