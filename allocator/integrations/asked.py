"""Our program, asked by a peer: verified targets in fractions of the account.

Peers trade fractions, or make whole lots in their own way, so they get the targets that `rebalance` makes
whole lots of: solved and certified as there, and stopped there.
"""

from __future__ import annotations

import warnings

from allocator.book.book import Book
from allocator.errors import BadMandate, Breach
from allocator.integrations.translated import NOISE, Places, TranslationWarning
from allocator.lots.whole_lots import given_way
from allocator.mandate.builder import cost_rates_of, mandate_of
from allocator.mandate.precheck import refuse_hopeless
from allocator.optimization.single_period import Start
from allocator.optimization.solve import Limits
from allocator.outlook.outlook import Outlook, outlook_of
from allocator.plan.targets import Targets, targets_of
from allocator.rules import limit_in_words
from allocator.rules.builder import locked_names
from allocator.types import Vector

WEIGHED = {"min_gain_bps", "min_share", "cost_factor"}
"""Keys of `[trading]` that say when whole lots are not worth it; a peer decides itself when it trades."""


def targets(book: Book, outlook: Outlook | None = None) -> Targets:
    """The verified targets of a book, under its own outlook unless one is given; warns of rules that gave way.

    Raises:
        BadInput: the price history cannot give a covariance.
        BadMandate: the objective is one that is decided in stages.
        Infeasible: the rules cannot hold together; names them and the smallest fix.
        NotSolved: no solver gave an answer that passes our own checks.
    """
    settings = book.settings
    if settings.in_stages:
        rule, cure = "is for the tree of decisions, and a peer asks for one period", "choose return_minus_risk"
        raise BadMandate([Breach("book.toml", None, "mandate.objective", settings.mandate.objective, rule, cure)])
    if idle := sorted(WEIGHED & settings.trading.model_fields_set):
        told = f"trading.{', trading.'.join(idle)}: a peer gets the targets, which are not weighed against holding"
        warnings.warn(told, TranslationWarning, stacklevel=3)
    outlook = outlook or outlook_of(book)
    stated = mandate_of(book, outlook)
    refuse_hopeless(book, outlook)
    start = Start(book.weights, book.cash / book.value)
    found = targets_of(
        book, start, outlook, stated, Limits(settings.solver.tolerance, settings.solver.time_limit_seconds)
    )
    for one in given_way(found.given, found.mandate.readings(found.target, outlook)):
        told = f"{limit_in_words(one.stated, one.unit)} became {limit_in_words(one.kept, one.unit)}"
        warnings.warn(f"{one.label} gave way: {told} (tier {one.tier})", TranslationWarning, stacklevel=3)
    return found


def weights_after(found: Targets, places: Places) -> Vector:
    """(n,) target weights in the peer's order, fractions of the account after costs; warns of cash without a place."""
    trade = found.target
    _warn_of_cash(places, trade.cash / trade.value)
    return places.given(trade.weights, trade.cash / trade.value)


def weights_bought(found: Targets, places: Places) -> Vector:
    """(n,) the same as fractions of the account before costs, for peers that take costs from cash themselves."""
    trade = found.target
    holdings = trade.values / trade.value_before
    _warn_of_cash(places, trade.cash / trade.value_before)
    return places.given(holdings, 1 - float(holdings.sum()))


def _warn_of_cash(places: Places, cash: float) -> None:
    if cash > NOISE and not places.knows_cash:
        warnings.warn(
            # no figure in it: Python shows a text once, and a backtest says it at every step
            f"a part of the account stays in {places.cash_instrument}, which is not a name of {places.peer}: the "
            f"weights add up to less than 1, and {places.peer} counts no return of the rest; give it a column, or "
            "set mandate.max_cash = 0",
            TranslationWarning,
            stacklevel=4,
        )


def looks_at_holdings(book: Book) -> bool:
    """Whether the targets of a book may depend on what is held before: by costs, limits on trades, names that stay,
    rules of other packages, or ties that the nearest portfolio wins where risk has no price.
    """
    mandate, costs = book.settings.mandate, book.settings.costs
    tied = mandate.risk_aversion == 0 and mandate.objective != "minimum_variance"
    limited = mandate.max_turnover is not None or mandate.max_participation is not None
    costly = bool(cost_rates_of(book).any()) or costs.impact > 0 or book.settings.trading.indifference_bps > 0
    return limited or costly or tied or bool(mandate.locked or locked_names(book) or book.settings.plugins.rules)
