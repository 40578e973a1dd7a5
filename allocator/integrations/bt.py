"""bt: our robust program as an Algo, between what selects and what rebalances.

Written against bt 1.4.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from allocator.book.book import Book, refuse_no_book
from allocator.errors import BadInput, Breach
from allocator.integrations.host import (
    Absent,
    BookAt,
    NamePositions,
    host_targets,
    match_names,
    weights_bought,
    with_forbidden_names,
    with_holdings,
)
from allocator.integrations.returns_table import book_on, own_confirmations, price_breaches

try:
    import bt
except ImportError as error:
    raise ImportError("allocator.integrations.bt needs bt: pip install 'portfolio-allocator[integrations]'") from error
PEER = "bt"


class WeighRobustly(bt.Algo):
    """Sets `temp["weights"]` to our verified targets, from what the strategy holds at that moment.

        bt.Strategy("robust", [bt.algos.RunQuarterly(), bt.algos.SelectAll(), WeighRobustly(book),
                               bt.algos.Rebalance()])

    Outlook and mandate are the book's, at every date or of the day (`book_at`); holdings and the account's value are
    the strategy's. The names are `temp["selected"]`, or the columns of the universe without it. What the weights leave
    of 1 is the strategy's capital, on which bt counts no return, which is warned of where cash is no column.

    Args:
        book: what `allocator.load` or `allocator.from_frames` gives.
        book_at: what gives the book as it was known on a day, such as `book.at`: signals, views and prices are then
            those of the backtest's own day, never later ones. Without it the one book speaks at every date.
        absent: names of the book that are not selected are refused, or what is held of them is sold ("sell").
        confirm: entries of `[[confirm]]` of the table "prices": improbable prices of the backtest that are right.

    Raises:
        BadInput: names, prices or holdings that do not fit the book, prices of selected names that are improbable and
            not confirmed, and an entry that meets no doubt; all at once.
        Infeasible: limits conflict on that date; the backtest stops there.
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
        super().__init__()
        refuse_no_book(book)
        self.book = book
        self.book_at = book_at
        self.absent = absent
        self.confirm = own_confirmations(book, confirm)
        self._judged: Any = None
        self._breaches: list[Breach] = []

    def __call__(self, target: Any) -> bool:
        """Read selection, holdings and value of a `bt.Strategy`; write weights; go on."""
        labels = list(target.temp.get("selected", target.universe.columns))
        self._refuse_doubtful(target, {*map(str, labels)})
        book = book_on(self.book, self.book_at, target.now, peer=PEER)
        places = match_names(book, labels, peer=PEER, absent=self.absent)
        _refuse_without_price(target, places)
        held, value = _held(target)
        everywhere = match_names(book, list(dict.fromkeys([*labels, *held])), peer=PEER, absent="sell")
        if everywhere.knows_cash:  # what bt has not invested is the account's cash as well
            cash_label = everywhere.labels[everywhere.at.index(everywhere.instruments)]
            held[cash_label] = held.get(cash_label, 0.0) + 1 - sum(held.values())
        holdings, cash = everywhere.taken([held.get(label, 0.0) for label in everywhere.labels])
        book = with_holdings(with_forbidden_names(book, places), holdings, cash, value)
        weights = weights_bought(host_targets(book), places)
        target.temp["weights"] = {label: float(w) for label, w in zip(places.labels, weights, strict=True) if w > 0}
        return True

    def _refuse_doubtful(self, target: Any, selected: Collection[str]) -> None:
        """Judge the backtest's whole table where it is first seen, and speak of the names that may be held."""
        if self._judged is not target._universe:
            self._judged = target._universe
            self._breaches = price_breaches(target._universe, self.book, self.confirm, peer=PEER)
        names = {*self.book.instruments}
        left = names - {*selected} if self.absent == "sell" and names & {*selected} else set()
        if wrong := [breach for breach in self._breaches if breach.column not in left]:
            raise BadInput(wrong)


def _held(target: Any) -> tuple[dict[Any, float], float]:
    """Weights by label, and the value that they are fractions of: a fixed-income strategy's is its next notional."""
    weights = {label: float(child.weight) for label, child in target.children.items() if child.weight != 0}
    if not target.fixed_income:
        return weights, float(target.value)
    now = float(target.notional_value)
    notional = float(target.temp.get("notional_value", now))
    if not 0 < notional < np.inf:
        cure = "set it before, as bt.algos.SetNotional does"
        raise BadInput.of(f"account from {PEER}", "has no notional value above 0", cure, value=f"{notional:g}")
    part = min(now / notional, 1.0)  # where the notional shrinks, every position shrinks with it
    return {label: weight * part for label, weight in weights.items()}, notional


def _refuse_without_price(target: Any, places: NamePositions) -> None:
    prices = target.universe.loc[target.now, list(places.labels)]
    rule, cure = f"must be above 0 on {target.now:%Y-%m-%d}", "select only names that have a price, as SelectAll does"
    wrong = [(label, price) for label, price in prices.items() if not (np.isfinite(price) and price > 0)]
    if wrong:
        raise BadInput(
            Breach(f"prices from {PEER}", None, str(name), f"{price:g}", rule, cure) for name, price in wrong
        )
