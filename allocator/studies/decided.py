"""What would be traded after a shock: verified targets from the holdings that it leaves.

Where the book decides again at reviews, what is learnt comes with its date: the tree is then that of the day by which
it has been learnt, at the prices and with the reviews that are left by then.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.errors import BadMandate, Infeasible, NotSolved, OutOfTime
from allocator.multistage.mandate import Staged, staged_of
from allocator.multistage.reference_policies import with_hindsight
from allocator.multistage.solve import policy_of
from allocator.optimization.single_period import Start
from allocator.optimization.solve import Limits, as_trade
from allocator.outlook.outlook import Outlook, outlook_of
from allocator.plan.targets import targets_of
from allocator.rules import Trade
from allocator.settings.settings import DAYS_A_YEAR
from allocator.studies.shocks import Shocked
from allocator.types import Vector


def decided_again(owned: Book, after: Shocked) -> tuple[Trade, Vector] | str:
    """The trade of who owns that book after the shock, and its gains (K,) from then to the horizon as fractions of what
    it was worth after the shock; or why there is none.
    """
    settings = owned.settings
    limits = Limits(settings.solver.tolerance, settings.solver.time_limit_seconds)
    try:
        if not settings.in_stages:
            start = _start(owned)
            trade = targets_of(owned, start, after.outlook, after.mandate, limits).target
            return trade, _gains(trade, after.outlook)
        then, outlook = owned, after.outlook
        if after.shock.tells and settings.horizon.reviews:
            if after.shock.changes_model or after.shock.moves_prices:
                return "what is learnt by a review and what happens at a stroke are two shocks there; ask them apart"
            if settings.horizon.until is None or after.told >= settings.horizon.until:
                return f"the horizon is over by {after.told}"
            then = _by_the_day(owned, after)
            outlook = _from_the_day(owned, then, after.outlook)
        start, staged = _start(then), _staged(then, outlook, after)
        policy = policy_of(with_hindsight(staged, start, limits), start, limits)
        trade = as_trade(start, staged.mandates[0], policy.holdings[0], then.value)
        grown = then.value / owned.value
        return trade, grown * (1 + _gains(trade, outlook)) - 1
    except (BadMandate, Infeasible, NotSolved, OutOfTime) as error:
        return str(error)


def _start(book: Book) -> Start:
    return Start(book.weights, book.cash / book.value)


def _gains(trade: Trade, outlook: Outlook) -> Vector:
    """(K,) what a trade gains to the horizon, its costs included, as fractions of what was there before it."""
    before = trade.value_before
    gains = outlook.portfolio_returns(trade.values / before, trade.cash / before)
    return gains + trade.value / before - 1


def _staged(then: Book, outlook: Outlook, after: Shocked) -> Staged:
    """The mandate over the tree; its set is that which the shock leaves, at the radius of the day of all its news."""
    return staged_of(then, outlook, after.ambiguity)


def _from_the_day(owned: Book, then: Book, outlook: Outlook) -> Outlook:
    """The outlook of that day, with what is left of the returns from the shock to the horizon."""
    years = (then.settings.book.as_of - owned.settings.book.as_of).days / DAYS_A_YEAR
    cash = (1 + float(owned.cash_required_return or 0.0)) ** years
    return replace(
        outlook_of(then),
        returns=(1 + outlook.returns) * (owned.prices / then.prices) - 1,
        cash_returns=(1 + outlook.cash_returns) / cash - 1,
    )


def _by_the_day(owned: Book, after: Shocked) -> Book:
    """The book on the day by which everything is learnt: names and cash have grown as they must, as by a review."""
    settings, day = owned.settings, after.told
    days = (day - settings.book.as_of).days
    required = np.asarray(owned.exposures["required_return"], dtype=np.float64)
    grown = (1 + required) ** (days / DAYS_A_YEAR)
    left = [review for review in settings.horizon.reviews if review > day]
    signals = after.signals if owned.signals is None else pd.concat([owned.signals, after.signals])
    return replace(
        owned,
        settings=settings.model_copy(
            update={
                "book": settings.book.model_copy(update={"as_of": day}),
                "horizon": settings.horizon.model_copy(update={"reviews": left}),
                # the history is as old as it is: no day has really passed
                "risk": settings.risk.model_copy(update={"max_age_days": settings.risk.max_age_days + days}),
            }
        ),
        signals=signals,
        prices=owned.prices * grown,
        quoted_prices=owned.quoted_prices * grown,
        cash=owned.cash * (1 + float(owned.cash_required_return or 0.0)) ** (days / DAYS_A_YEAR),
    )
