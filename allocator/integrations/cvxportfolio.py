"""cvxportfolio: our robust program as a policy, our rules as its constraints, our adverse expectation in its objective.

Written against cvxportfolio 1.5, which is GPLv3 and is imported here only, where a user has installed it. Its weights
have cash last, under a name of its own, and are fractions of the account before costs, which it takes out of cash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cvxpy as cp
import pandas as pd

from allocator.book.book import Book, refuse_no_book
from allocator.errors import BadInput
from allocator.integrations.cvxpy_terms import HostTrade, rule_constraints, worst_case_return
from allocator.integrations.host import (
    Absent,
    BookAt,
    NamePositions,
    host_targets,
    match_names,
    refuse_prices,
    weights_bought,
    with_forbidden_names,
    with_holdings,
)
from allocator.integrations.returns_table import book_on, own_confirmations, refuse_doubtful_returns
from allocator.outlook.outlook import build_outlook

try:
    from cvxportfolio.constraints.base_constraints import Constraint
    from cvxportfolio.costs import Cost
    from cvxportfolio.policies import Policy
except ImportError as error:
    raise ImportError("allocator.integrations.cvxportfolio needs cvxportfolio: pip install cvxportfolio") from error
PEER = "cvxportfolio"


class RobustPolicy(Policy):
    """Our robust program as a policy: trades to our verified targets, from what is held at that moment.

        cvxportfolio.StockMarketSimulator(market_data=data).backtest(RobustPolicy(book))

    Outlook and mandate are the book's, at every date or of the day before (`book_at`); weights and the account's value
    are the simulator's, whose last name is the book's cash, whatever it is called. The targets leave in cash what the
    book's own costs will take; where the simulator's take more, cash below zero is refused at the next step: let
    mandate.min_cash leave room.

    Args:
        book: what `allocator.load` or `allocator.from_frames` gives.
        book_at: what gives the book as it was known on a day, such as `book.at`. It is asked of the day before that of
            the trades, which are made as it opens: what is dated that day may have come later. Without it the one book
            speaks at every date.
        absent: names of the book that are not in the universe are refused, or sold ("sell").
        confirm: entries of `[[confirm]]` of the table "returns": improbable returns of the market that are right.

    Raises:
        BadInput: names or weights that do not fit the book: shorts, borrowed cash; all at once. Past returns that are
            improbable and not confirmed, where a run ends, and an entry that no run has needed.
        Infeasible: limits conflict on that date, with the smallest fix.
        NotSolved: no solver gave an answer that passes our own checks.
    """

    def __init__(
        self,
        book: Book,
        *,
        book_at: BookAt | None = None,
        absent: Absent = "refuse",
        confirm: Sequence[Mapping[str, object]] = (),
    ) -> None:
        refuse_no_book(book)
        self.book = book
        self.book_at = book_at
        self.absent = absent
        self.confirm = own_confirmations(book, confirm)
        self._past: pd.DataFrame | None = None

    def values_in_time(
        self, current_weights: pd.Series[float], current_portfolio_value: float, **kwargs: Any
    ) -> pd.Series[float]:
        """Weights after the trades, cash last, from weights before them."""
        day = kwargs.get("t")
        if day is not None and self.book_at is not None:
            day = pd.Timestamp(day) - pd.Timedelta(days=1)
        book = book_on(self.book, self.book_at, day, peer=PEER)
        past = kwargs.get("past_returns")
        if self._past is None and past is not None:
            refuse_prices(past.to_numpy(), [*map(str, past.columns)], peer=PEER)
        self._past = past
        places = _placed(book, current_weights.index, self.absent)
        holdings, cash = places.taken(current_weights.to_list())
        book = with_holdings(with_forbidden_names(book, places), holdings, cash, float(current_portfolio_value))
        return pd.Series(weights_bought(host_targets(book), places), index=current_weights.index)

    def finalize_estimator(self, **kwargs: Any) -> None:
        """Judge all the returns that the run has seen, once: where a backtest ends, and before `execute` answers."""
        del kwargs
        past, self._past = self._past, None
        none = pd.DataFrame(columns=[*self.book.instruments])
        refuse_doubtful_returns(none if past is None else past, self.book, self.confirm, peer=PEER)


class _BookComponent:
    """What a term of the program and a constraint have in common: a book, and the universe it is compiled for."""

    def __init__(self, book: Book) -> None:
        refuse_no_book(book)
        self.book = book
        self._places: NamePositions | None = None

    def initialize_estimator(self, universe: pd.Index, trading_calendar: Any = None, **kwargs: Any) -> None:
        """Match the universe with the book, by label."""
        del trading_calendar, kwargs
        self._places = _placed(self.book, universe, "refuse", may_sell=False)

    def _traded(self, w_plus: Any, z: Any) -> HostTrade:
        assert self._places is not None
        order = [self._places.at.index(i) for i in range(self._places.instruments)]
        return HostTrade(w_plus[order], w_plus[len(order)], z[order])


class Rules(_BookComponent, Constraint):
    """The book's rules as constraints of cvxportfolio's own programs, and no name or cash below zero.

        cvxportfolio.SinglePeriodOptimization(objective, [Rules(book)], include_cash_return=False)

    Every rule of `[mandate]` is there, its limit as a fraction of the account before costs (which is never looser), and
    what the book's own costs will take is left in cash. Priorities mean nothing here: no rule is relaxed.

    Raises:
        BadMandate: a rule or a cost that hangs on the account's value, which a constraint is not told; a rule that is
            not convex in another program's weights; or no room in cash for what trading costs.
    """

    def compile_to_cvxpy(self, w_plus: Any, z: Any, w_plus_minus_w_bm: Any, **kwargs: Any) -> list[cp.Constraint]:
        """Constraints on the weights after trades."""
        del w_plus_minus_w_bm, kwargs
        return rule_constraints(self.book, build_outlook(self.book), self._traded(w_plus, z))


class WorstCaseReturn(_BookComponent, Cost):
    """The adverse expected return over the book's set of probabilities, over its horizon: a term to maximise.

    Cash's own return is in it, so that `include_cash_return=False` belongs to the program. Weigh it against
    cvxportfolio's own terms with care: theirs are per trading period.
    """

    def compile_to_cvxpy(self, w_plus: Any, z: Any, w_plus_minus_w_bm: Any, **kwargs: Any) -> cp.Expression:
        """A concave expression of the weights after trades."""
        del w_plus_minus_w_bm, kwargs
        return worst_case_return(self.book, build_outlook(self.book), self._traded(w_plus, z))


def _placed(book: Book, universe: pd.Index, absent: Absent, *, may_sell: bool = True) -> NamePositions:
    """The universe matched with the book, its last name being the book's cash."""
    *names, cash = map(str, universe)
    if cash in book.instruments:
        cure = "cvxportfolio's last name is its cash account; add it"
        raise BadInput.of(f"names from {PEER}", "is an instrument of the book, and last", cure, value=cash)
    return match_names(book, [*names, book.cash_instrument], peer=PEER, absent=absent, may_sell=may_sell)
