"""Labels, signs and cash, between a book and a peer: translated here, for all peers, and nowhere else.

A peer's weights are fractions of the account by name, may be negative, and know cash only where it is a name like any
other. Ours are not negative, cover every name of the book, and say what is cash. Where the two do not meet, it is
refused by name, or warned of where the peer's figures stay right and only tell less.
"""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from allocator.book.book import Book
from allocator.errors import BadInput, BadMandate, Breach, did_you_mean, setting_breach
from allocator.lots.whole_lots import relaxed_rules
from allocator.mandate.builder import build_mandate, cost_rates
from allocator.mandate.precheck import check_obviously_infeasible
from allocator.optimization.solve import Limits
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.plan.targets import Targets, solve_targets
from allocator.rules import format_limit
from allocator.rules.builder import locked_names, unclassified_names
from allocator.rules.rows import Position
from allocator.settings.reading import dotted_key, settings_from, unused_keys
from allocator.types import Matrix, Vector

NOISE = 1e-8
"""Of the account: a weight this far below zero, or a sum this far from one, is a peer's rounding."""
BookAt: TypeAlias = Callable[[dt.date], Book]
"""The book as it was known on a day, such as `book.at`."""
Absent = Literal["refuse", "sell"]
"""What becomes of the book's names that the peer does not know: refuse them, or sell what is held of them."""


class TranslationWarning(UserWarning):
    """The peer takes the weights, and something that the book says has no place there."""


@dataclass(frozen=True, eq=False)
class NamePositions:
    """Where a peer's names stand in a book.

    `labels` (n,) are its names as it writes them, which need not be texts, and `names` the texts that they are matched
    by; `at` (n,) are places among the book's instruments, with cash after the last of them; `absent` are the
    instruments that the peer does not know.
    """

    peer: str
    labels: tuple[Any, ...]
    names: tuple[str, ...]
    cash_instrument: str
    at: tuple[int, ...]
    absent: tuple[str, ...]
    instruments: int

    @property
    def knows_cash(self) -> bool:
        """Whether cash is a name of the peer's, like any other."""
        return self.instruments in self.at

    def taken(self, held: Sequence[float] | Vector) -> tuple[Vector, float]:
        """(N,) holdings and cash, in fractions of the account, from weights in the peer's order.

        What the weights leave of the account is cash where the peer does not know it, and else must be nothing.

        Raises:
            BadInput: a weight is negative or not a number, or the weights do not fit into one account.
        """
        weights = np.asarray(held, dtype=np.float64)
        if wrong := self._unheld(weights):
            raise BadInput(wrong)
        whole = np.zeros(self.instruments + 1)
        whole[list(self.at)] = np.maximum(weights, 0.0)
        if self.knows_cash:
            return whole[:-1] / whole.sum(), float(whole[-1] / whole.sum())
        scale = max(float(whole.sum()), 1.0)  # a sum of one and a rounding is one
        return whole[:-1] / scale, float(1 - (whole[:-1] / scale).sum())

    def _unheld(self, weights: Vector) -> list[Breach]:
        """Why no account here can hold these weights."""
        if weights.shape != (len(self.names),):
            rule = f"there are {weights.size} weights for {len(self.names)} names"
            return [self._breach(None, None, rule, "give one weight a name")]
        short = "an account here holds no short position; close it, or leave this book out of a long-short strategy"
        borrowed = "an account here borrows nothing; let mandate.min_cash leave room for what the peer's trades cost"
        cure = {self.cash_instrument: borrowed}
        outside = [
            self._breach(name, f"{weight:g}", "must be a number from 0 to 1", cure.get(name, short))
            for name, weight in zip(self.names, weights, strict=True)
            if not -NOISE <= weight <= 1 + NOISE
        ]
        total = float(weights.sum())
        if outside or 1 - NOISE <= total <= 1 + NOISE:
            return outside
        if total > 1:
            return [self._breach(None, f"{total:.10g}", "weights held must not add up to more than 1", borrowed)]
        if not self.knows_cash:
            return []
        rule = f"weights held must add up to 1, for {self.cash_instrument} is one of them"
        return [self._breach(None, f"{total:.10g}", rule, "say how much of it is held")]

    def given(self, holdings: Vector, cash: float) -> Vector:
        """(n,) weights in the peer's order, from (N,) holdings and cash; what the peer does not know is left out."""
        result: Vector = np.append(holdings, cash)[list(self.at)]
        return result

    def _breach(self, name: str | None, value: str | None, rule: str, cure: str) -> Breach:
        return Breach(f"weights from {self.peer}", None, name, value, rule, cure)


def match_names(
    book: Book, names: Sequence[object], *, peer: str, absent: Absent = "refuse", may_sell: bool = True
) -> NamePositions:
    """Match a peer's names with a book's instruments and cash, by label and never by position.

    `may_sell` says whether who asks has the choice of `absent`, for the cure.

    Raises:
        BadInput: names that the book does not know, or twice, or instruments of the book that the peer does not know;
            all at once.
    """
    if absent not in ("refuse", "sell"):
        raise ValueError(f"absent must be 'refuse' or 'sell', not {absent!r}")
    everyone = (*book.instruments, book.cash_instrument)
    place = {name: i for i, name in enumerate(everyone)}
    given = [*map(str, names)]
    unknown = [name for name in dict.fromkeys(given) if name not in place]
    twice = [name for name in dict.fromkeys(given) if given.count(name) > 1]
    missing = tuple(name for name in book.instruments if name not in given)
    add = "add it, or say absent='sell' to hold nothing of what is not there" if may_sell else "add it"
    wrong = [
        *((name, "is not an instrument of the book", did_you_mean(name, everyone)) for name in unknown),
        *((name, "is there more than once", "keep one of them") for name in twice),
        *((name, "of the book is not there", add) for name in (missing if absent == "refuse" else ())),
    ]
    if wrong:
        raise BadInput(Breach.of(f"names from {peer}", rule, cure, value=name) for name, rule, cure in wrong)
    at = tuple(place[name] for name in given)
    return NamePositions(peer, tuple(names), tuple(given), book.cash_instrument, at, missing, len(book.instruments))


def weights_by_name(weights: Mapping[Any, float], names: Sequence[str], *, peer: str) -> Vector:
    """(n,) weights in the order of `names`, 0 for a name that is not mentioned; labels that are no texts count as such.

    Raises:
        BadInput: a weight of a name that is not among them, or two of one.
    """
    given = [*map(str, weights)]
    sold = "or say absent='sell', where a selection has dropped it"
    wrong = [
        *(
            (name, "is not one of the names", f"{did_you_mean(name, names)}; {sold}")
            for name in given
            if name not in names
        ),
        *((name, "is there more than once", "keep one of them") for name in names if given.count(name) > 1),
    ]
    if wrong:
        raise BadInput(Breach.of(f"weights from {peer}", rule, cure, column=name) for name, rule, cure in wrong)
    by_name = dict(zip(given, weights.values(), strict=True))
    return np.array([float(by_name.get(name, 0.0)) for name in names])


def refuse_prices(returns: Matrix, names: Sequence[str], *, peer: str) -> None:
    """Refuse (T, n) figures that cannot be simple returns of something one owns.

    Raises:
        BadInput: a name loses more than all, or all of its figures are those of prices.
    """
    table, breaches = f"returns from {peer}", []
    for name, column in zip(names, returns.T, strict=True):
        least = float(np.fmin.reduce(column, initial=np.inf))  # blanks of a late listing aside
        if 0.5 < least < np.inf:
            rule, cure = (
                "these are not returns: none is below 50 %",
                "are they prices? give simple returns: pct_change()",
            )
            breaches.append(Breach(f"returns from {peer}", None, name, f"{least:g}", rule, cure))
        elif least < -1:
            cure = "are they in percent, or differences of prices? -5 % is -0.05"
            breaches.append(Breach(table, None, name, f"{least:g}", "must be -1 or more", cure))
    if breaches:
        raise BadInput(breaches)


def moments(outlook: Outlook, places: NamePositions) -> tuple[Vector, Matrix]:
    """(n,) means and (n, n) covariance in a peer's order over the horizon, cash among them: within and between.

    Between scenarios it is the spread of their means under the belief; cash has no risk within one.
    """
    returns, at = np.column_stack([outlook.returns, outlook.cash_returns])[:, list(places.at)], list(places.at)
    count = places.instruments
    within = np.zeros((count + 1, count + 1))
    within[:count, :count] = outlook.risk.loadings @ outlook.risk.loadings.T + np.diag(outlook.risk.specific)
    mean = outlook.probabilities @ returns
    apart = returns - mean
    return mean, within[np.ix_(at, at)] + (apart.T * outlook.probabilities) @ apart


# Our program, asked by a peer: verified targets in fractions of the account.
#
# Peers trade fractions, or make whole lots in their own way, so they get the targets that `rebalance` makes
# whole lots of: solved and certified as there, and stopped there.
#
WEIGHED = {"min_gain_bps", "min_share", "cost_factor"}
"""Keys of `[trading]` that say when whole lots are not recommended; a peer decides itself when it trades."""


def host_targets(book: Book, outlook: Outlook | None = None) -> Targets:
    """The verified targets of a book, under its own outlook unless one is given; warns of rules that were relaxed.

    Raises:
        BadInput: the price history cannot give a covariance.
        BadMandate: the objective is one that is decided in stages.
        Infeasible: limits conflict; names them and the smallest fix.
        NotSolved: no solver gave an answer that passes our own checks.
    """
    settings = book.settings
    if settings.uses_tree:
        told, cure = "is for the tree of decisions, and a peer asks for one period", "choose return_minus_risk"
        raise BadMandate([setting_breach("mandate.objective", settings.mandate.objective, told, cure)])
    if idle := sorted(WEIGHED & settings.trading.model_fields_set):
        told = f"trading.{', trading.'.join(idle)}: a peer gets the targets, which are not weighed against not trading"
        warnings.warn(told, TranslationWarning, stacklevel=3)
    outlook = outlook or build_outlook(book)
    stated = build_mandate(book, outlook)
    check_obviously_infeasible(book, outlook)
    start = Position(book.weights, book.cash / book.value)
    targets = solve_targets(book, start, outlook, stated, Limits.of(book))
    for rule in relaxed_rules(targets.given, targets.mandate.readings(targets.target, outlook)):
        told = f"from {format_limit(rule.stated, rule.unit)} to {format_limit(rule.kept, rule.unit)}"
        warnings.warn(f"{rule.label} was relaxed {told} (priority {rule.tier})", TranslationWarning, stacklevel=3)
    return targets


def weights_after(targets: Targets, places: NamePositions) -> Vector:
    """(n,) target weights in the peer's order, fractions of the account after costs; warns of cash without a place."""
    trade = targets.target
    _warn_of_cash(places, trade.cash / trade.value)
    return places.given(trade.weights, trade.cash / trade.value)


def weights_bought(targets: Targets, places: NamePositions) -> Vector:
    """(n,) the same as fractions of the account before costs, for peers that take costs from cash themselves."""
    trade = targets.target
    holdings = trade.values / trade.value_before
    _warn_of_cash(places, trade.cash / trade.value_before)
    return places.given(holdings, 1 - float(holdings.sum()))


def _warn_of_cash(places: NamePositions, cash: float) -> None:
    if cash > NOISE and not places.knows_cash:
        warnings.warn(
            # no figure in it: Python shows a text once, and a backtest says it at every step
            f"a part of the account stays in {places.cash_instrument}, which is not a name of {places.peer}: the "
            f"weights add up to less than 1, and {places.peer} counts no return of the rest; give it a column, or "
            "set mandate.max_cash = 0",
            TranslationWarning,
            stacklevel=4,
        )


def depends_on_holdings(book: Book) -> bool:
    """Whether the targets of a book may depend on what is held before: by costs, limits on trades, names that stay,
    rules of other packages, or ties that the nearest portfolio wins where risk has no price.
    """
    mandate, costs = book.settings.mandate, book.settings.costs
    tied = mandate.risk_aversion == 0 and mandate.traits.uses_returns
    limited = mandate.max_turnover is not None or mandate.max_participation is not None
    costly = bool(cost_rates(book).any()) or costs.impact > 0 or book.settings.trading.indifference_bps > 0
    stuck = mandate.locked or locked_names(book) or unclassified_names(book)
    return limited or costly or tied or bool(stuck or book.settings.plugins.rules)


# A book with other values of its settings, or of what it holds: what a peer says in place of the book.
#


def with_settings(book: Book, changes: Mapping[tuple[str, str], object]) -> Book:
    """The same book with other values of (section, key) of book.toml, none of which may be a new name.

    Raises:
        BadInput: a value is not of the contract, or nothing would read it.
    """
    if not changes:
        return book
    document = book.settings.model_dump(exclude_unset=True)
    for (section, key), value in changes.items():
        document.setdefault(section, {})[key] = value
    settings = settings_from(document)
    idle = {place: reason for place, _, reason in unused_keys(document)}
    if unread := [(place, value) for place, value in changes.items() if place in idle]:
        raise BadInput(
            setting_breach(dotted_key(*place), value, f"has no effect with {idle[place]}", "leave it out")
            for place, value in unread
        )
    return replace(book, settings=settings)


def with_forbidden_names(book: Book, places: NamePositions) -> Book:
    """The same book, of whose names that a peer does not know nothing may be left."""
    if not places.absent:
        return book
    return with_settings(book, {("mandate", "forbidden"): [*book.settings.mandate.forbidden, *places.absent]})


def with_holdings(book: Book, holdings: Vector, cash: float, value: float | None = None) -> Book:
    """The same book where (N,) `holdings` and `cash` are held, in fractions of the account's `value` in money.

    Raises:
        BadInput: the account is worth nothing, or what the book has no price of is held.
    """
    worth = book.value if value is None else float(value)
    if not 0 < worth < np.inf:
        raise BadInput.of("account", "must have a value above 0", "stop trading it", value=f"{worth:g}")
    rule, cure = f"is held, and the book of {book.settings.book.as_of} has no price of it", "give it a price by then"
    if blank := [book.instruments[i] for i in np.flatnonzero((holdings > 0) & ~(book.prices > 0))]:
        raise BadInput(Breach.of("account", rule, cure, column=name) for name in blank)
    quantities = np.divide(holdings * worth, book.prices, out=np.zeros(len(holdings)), where=book.prices > 0)
    return replace(book, quantities=quantities, cash=cash * worth)
