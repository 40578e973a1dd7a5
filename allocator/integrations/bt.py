"""bt: our robust program as an Algo, between what selects and what rebalances.

Written against bt 1.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from allocator.book.book import Book, refuse_no_book
from allocator.errors import BadInput, Breach
from allocator.integrations.host import (
    Absent,
    NamePositions,
    host_targets,
    match_names,
    weights_bought,
    with_forbidden_names,
    with_holdings,
)
from allocator.integrations.returns_table import warn_of_hindsight

try:
    import bt
except ImportError as error:
    raise ImportError("allocator.integrations.bt needs bt: pip install 'portfolio-allocator[integrations]'") from error
PEER = "bt"


class WeighRobustly(bt.Algo):
    """Sets `temp["weights"]` to our verified targets, from what the strategy holds at that moment.

        bt.Strategy("robust", [bt.algos.RunQuarterly(), bt.algos.SelectAll(), WeighRobustly(book),
                               bt.algos.Rebalance()])

    Outlook and mandate are the book's own, at every date; holdings and the account's value are the strategy's. The
    names are `temp["selected"]`, or the columns of the universe without it. What the weights leave of 1 is the
    strategy's capital, on which bt counts no return, which is warned of where cash is no column.

    Args:
        book: what `allocator.load` or `allocator.from_frames` gives.
        absent: names of the book that are not selected are refused, or what is held of them is sold ("sell").

    Raises:
        BadInput: names, prices or holdings that do not fit the book; all at once.
        Infeasible: limits conflict on that date; the backtest stops there.
        NotSolved: no solver gave an answer that passes our own checks.
    """

    def __init__(self, book: Book, *, absent: Absent = "refuse") -> None:
        super().__init__()
        refuse_no_book(book)
        self.book = book
        self.absent = absent

    def __call__(self, target: Any) -> bool:
        """Read selection, holdings and value of a `bt.Strategy`; write weights; go on."""
        names = list(target.temp.get("selected", target.universe.columns))
        _refuse_returns(target)
        places = match_names(self.book, names, peer=PEER, absent=self.absent)
        warn_of_hindsight(self.book, target.now)
        _refuse_without_price(target, places)
        held = {name: float(child.weight) for name, child in target.children.items() if child.weight != 0}
        everywhere = match_names(self.book, list(dict.fromkeys([*names, *held])), peer=PEER, absent="sell")
        if everywhere.knows_cash:  # what bt has not invested is the account's cash as well
            cash_name = self.book.cash_instrument
            held[cash_name] = held.get(cash_name, 0.0) + 1 - sum(held.values())
        holdings, cash = everywhere.taken([held.get(name, 0.0) for name in everywhere.names])
        book = with_holdings(with_forbidden_names(self.book, places), holdings, cash, float(target.value))
        weights = weights_bought(host_targets(book), places)
        target.temp["weights"] = {name: float(w) for name, w in zip(places.names, weights, strict=True) if w > 0}
        return True


def _refuse_without_price(target: Any, places: NamePositions) -> None:
    prices = target.universe.loc[target.now, list(places.names)]
    rule, cure = f"must be above 0 on {target.now:%Y-%m-%d}", "select only names that have a price, as SelectAll does"
    _refuse({str(name): price for name, price in prices.items() if not (np.isfinite(price) and price > 0)}, rule, cure)


def _refuse_returns(target: Any) -> None:
    """A universe with a figure of 0 or less has no prices: bt would trade it all the same."""
    least = target.universe.loc[: target.now].min()
    rule, cure = "is no price of something one owns", "are they returns? bt wants prices"
    _refuse({str(name): price for name, price in least.items() if price <= 0}, rule, cure)


def _refuse(prices: Mapping[str, float], rule: str, cure: str) -> None:
    if prices:
        raise BadInput(
            Breach(f"prices from {PEER}", None, name, f"{price:g}", rule, cure) for name, price in prices.items()
        )
