"""From a book's `[mandate]`, `[robust]` and `[costs]` to a Mandate, aligned with the book's instruments."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import pandas as pd

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.sets import Ambiguity, ambiguity_set
from allocator.book.book import Ask, Book, copy_for_plugins, directly
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.mandate.mandate import Mandate
from allocator.mandate.return_errors import BoxError, BudgetError, EllipsoidError, ReturnError
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.plugins import Plugin, call_plugin, load_plugin, plugin_refusal
from allocator.rules.builder import _convex_rules, _every_linear_rule, daily_volatility, daily_volume_in_money
from allocator.settings.stress import ShockSection
from allocator.types import Vector

# What objectives of other packages charge: a term of the minimised objective, linear in what is held.
#
# A plugin is `make(book, parameters)` and gives a Series by instrument: what a unit of money held in a name is
# charged over the horizon, as a fraction of it; below 0 it is a reward. It is aligned by label, never by position.
# Charges steer the plan and are no money: no return, cost or rule counts them.
#


def plugin_charges(book: Book) -> Vector | None:
    """(N,) charges per unit held, of all objectives of `[plugins.objectives]` together; None where there is none.

    Raises:
        BadInput: a plugin is missing or fails, or what it gives is not of the contract; all errors of one at once.
    """
    total = None
    for name, parameters in book.settings.plugins.objectives.items():
        plugin, make = load_plugin("objectives", name, "book.toml", f"plugins.objectives.{name}")
        made, again = (
            _held(plugin, book, call_plugin(plugin, make, copy_for_plugins(book), deepcopy(parameters)))
            for _ in range(2)
        )
        if not np.array_equal(made, again):  # and so would the plan be: the same inputs give the same plan
            cure = "let it draw its random numbers from a seed among its parameters"
            raise BadInput([plugin_refusal(plugin, "gave two answers to one question", cure)])
        total = made if total is None else total + made
    return total


def _held(plugin: Plugin, book: Book, made: object) -> Vector:
    """The charges in the book's order, once they are of their contract."""
    if not isinstance(made, pd.Series):
        cure = "a Series by instrument is wanted, of what a unit held is charged"
        raise BadInput([plugin_refusal(plugin, f"gives a {type(made).__name__}, not a Series", cure)])
    if found := list(_breaches(plugin, book, made)):
        raise BadInput(found)
    return np.asarray(made.loc[list(book.instruments)], dtype=np.float64)


def _breaches(plugin: Plugin, book: Book, made: pd.Series[float]) -> Iterator[Breach]:
    names = [str(name) for name in made.index]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield plugin_refusal(plugin, "charges an instrument twice", "have it say one number a name", name)
        if name == book.cash_instrument:
            yield plugin_refusal(plugin, "charges cash, which is what all charges are beside", "leave cash out", name)
        elif name not in book.instruments:
            cure = did_you_mean(name, book.instruments)
            yield plugin_refusal(plugin, "charges an instrument that the book has not", cure, name)
    for name in book.instruments:
        if name not in names:
            yield plugin_refusal(plugin, "says no charge of the instrument", "have it say one of all, 0 for none", name)
    for name, value in zip(names, made, strict=True):
        if not isinstance(value, int | float | np.integer | np.floating) or not -1 < float(value) < 1:
            rule, cure = "must charge a finite number between -1 and 1", "a percent of what is held is 0.01"
            yield plugin_refusal(plugin, rule, cure, f"{name}: {value}")


def build_mandate(
    book: Book, outlook: Outlook | None = None, ambiguity: Ambiguity | None = None, ask: Ask = directly
) -> Mandate:
    """The mandate of a book's settings; outlook and set of probabilities are the book's own where none is given."""
    wanted = book.settings.mandate
    outlook = outlook or build_outlook(book)
    weighs_returns = wanted.traits.uses_returns
    ambiguity = ambiguity or ask(ambiguity_set, book, outlook)
    return Mandate(
        return_weight=float(weighs_returns),
        risk_aversion=wanted.risk_aversion if weighs_returns else 1.0,
        ambiguity=ambiguity if weighs_returns else Singleton(),  # then the set is the floors' alone
        linear_rules=_every_linear_rule(book, outlook, ask),
        convex_rules=tuple(ask(_convex_rules, book, ambiguity)),
        cost_rates=ask(cost_rates, book),
        impact=ask(_impact, book, outlook),
        return_error=ask(_return_error, book, outlook),
        charges=plugin_charges(book),
    )


def cost_rates(book: Book) -> Vector:
    """Commission plus half the quoted spread, as a fraction."""
    costs = book.settings.costs
    if "spread_bps" in book.exposures:
        spread = book.exposures["spread_bps"].to_numpy(dtype=float)
        spread = np.where(np.isnan(spread), costs.spread_bps, spread)
    else:
        spread = np.full(len(book.instruments), costs.spread_bps)
    rates: Vector = (costs.commission_bps + spread / 2) / 1e4
    return rates


def marked_down(book: Book, shock: ShockSection) -> Vector:
    """(N,) the part of its value that a name loses at once as its spread widens: half of what it widens by."""
    wider = 0.0 if shock.spread_times is None else shock.spread_times - 1
    return wider * (cost_rates(book) - book.settings.costs.commission_bps / 1e4)


def _impact(book: Book, outlook: Outlook) -> Vector | None:
    """(N,) what multiplies the 3/2 power of the traded part of the account: coefficient·σ_day·√(account / volume).

    Square-root impact (Almgren, Thum, Hauptmann and Li 2005, with the exponent 1/2 that practitioners use).
    """
    coefficient = book.settings.costs.impact
    if coefficient == 0:
        return None
    with np.errstate(divide="ignore"):
        depth = np.sqrt(book.value / daily_volume_in_money(book))
    depth = np.where(book.prices > 0, depth, 0.0)  # nothing is traded for money at price 0
    return np.asarray(coefficient * daily_volatility(outlook) * depth, dtype=np.float64)


def _return_error(book: Book, outlook: Outlook) -> ReturnError | None:
    robust = book.settings.robust
    if robust.return_error == "none":
        return None
    if robust.return_error == "ellipsoid":
        return EllipsoidError(robust.return_error_size)
    deviations = robust.return_error_size * np.sqrt(outlook.risk.variances)
    if robust.return_error == "box":
        return BoxError(deviations)
    return BudgetError(float(robust.return_error_names or 0.0), deviations)
