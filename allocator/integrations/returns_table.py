"""A question made of a table of returns alone: every row a scenario, for a peer that brings no book.

Rows are equally probable scenarios over the horizon of one row, so that all that a mandate weighs (the mean, the worst
case over probabilities, the charge for risk) is per row, costs too: as skfolio has it, state what trading costs divided
by the rows between two trades. Risk is the covariance of the same rows, estimated as a price
history's is. There is nothing but the names: cash returns nothing, and max_cash is 0 unless it is stated.
"""

from __future__ import annotations

import datetime as dt
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from allocator.book.book import Book, from_frames
from allocator.book.checks.draft import unconfirmed
from allocator.book.doubts.doubts import RETURNS_TABLE
from allocator.book.doubts.prices import PriceTable, price_doubts
from allocator.book.price_history import spacing_breach
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.integrations.host import WEIGHED, NamePositions, TranslationWarning, depends_on_holdings, refuse_prices
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.outlook.risk_model import estimate_risk
from allocator.settings.settings import BucketsSection, Confirmation, RiskSection
from allocator.settings.uncertainty import AMBIGUITY_SETS
from allocator.types import Matrix

SECTIONS = ("mandate", "robust", "costs", "trading", "groups", "solver", "confirm")
"""Of book.toml; the others say what the rows say here."""
_FREE = "choose for example kl or total_variation"
CASH = "UNINVESTED"
NO_RETURNS = 0.05
"""Where more than this part of a table is beyond 100 %, it holds no returns."""
ESTIMATE = RiskSection(source="prices", window_rows=20, periods_per_year=1.0)
"""Whose method is auto; the window is all rows that are given."""


def book_from_returns(names: Sequence[str], settings: Mapping[str, Any] | None, *, peer: str) -> Book:
    """A book of `names` that holds nothing but cash, with the sections of book.toml that are given.

    Raises:
        BadInput: a section is unknown or needs more than rows, or is not of its contract; all at once.
    """
    given, table = dict(settings or {}), f"settings from {peer}"
    sections = {name: section if isinstance(section, Mapping) else {} for name, section in given.items()}
    robust, mandate, trading = (sections.get(name, {}) for name in ("robust", "mandate", "trading"))
    breaches = [
        Breach.of(table, "cannot be stated without a book", did_you_mean(name, SECTIONS), column=name)
        for name in given
        if name not in SECTIONS
    ]
    kind = robust.get("set")
    if kind in AMBIGUITY_SETS and AMBIGUITY_SETS[kind].table:
        rule, cure = "needs scenarios that have names and parameters, and rows have none", _FREE
        breaches.append(Breach(table, None, "robust.set", str(kind), rule, cure))
    if mandate.get("min_worst_scenario_return") is not None:
        rule, cure = "would make a floor of every row", 'use robust.set = "worst" to look at the worst row'
        breaches.append(Breach.of(table, rule, cure, column="mandate.min_worst_scenario_return"))
    if mandate.get("buckets"):
        rule, cure = "counts labels of exposures.csv, and rows have none", "name a group in groups and limit that"
        breaches.append(Breach.of(table, rule, cure, column="mandate.buckets"))
    for key in sorted(WEIGHED & {*trading}):
        rule, cure = "weighs whole lots against not trading, and a peer gets the targets", "leave it out"
        breaches.append(Breach.of(table, rule, cure, column=f"trading.{key}"))
    if breaches:
        raise BadInput(breaches)
    stated = given.get("mandate", {})
    stated = {"max_cash": 0.0, **mandate} if isinstance(stated, Mapping) else stated
    return _made(tuple(names), json.dumps({**given, "mandate": stated}, default=_plain(table)), peer)


def settings_depend_on_holdings(settings: Mapping[str, Any] | None, risk_aversion: float | None, *, peer: str) -> bool:
    """The same of settings, whose names are not known before there are rows.

    Raises:
        BadInput: a section that decides it is not of its contract.
    """
    given = dict(settings or {})
    wanted = mandate if isinstance(mandate := given.get("mandate"), Mapping) else {}
    if any(wanted.get(key) for key in ("max_turnover", "max_participation", "locked")):
        return True
    decides = {key: wanted[key] for key in ("objective", "risk_aversion") if key in wanted}
    if risk_aversion is not None:
        decides["risk_aversion"] = risk_aversion
    sections: dict[str, Any] = {key: given[key] for key in ("costs", "trading") if key in given}
    return depends_on_holdings(book_from_returns(["any"], {**sections, "mandate": decides}, peer=peer))


def with_names_to_sell(outlook: Outlook, names: int) -> Outlook:
    """The same outlook with names behind its own that have no rows, because nothing of them will be held."""
    more = names - outlook.returns.shape[1]
    risk = outlook.risk
    loadings = np.vstack([risk.loadings, np.zeros((more, risk.loadings.shape[1]))])
    return replace(
        outlook,
        returns=np.column_stack([outlook.returns, np.zeros((len(outlook.returns), more))]),
        risk=replace(risk, loadings=loadings, specific=np.append(risk.specific, np.zeros(more))),
    )


def _plain(table: str) -> Callable[[Any], Any]:
    """What to write for a value that is no plain data: numbers and arrays of numpy's are; anything else is refused."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.generic | np.ndarray):
            return value.tolist()
        cure = "write numbers, text, lists and mappings, as in book.toml"
        raise BadInput.of(table, f"holds a {type(value).__name__}", cure, value=str(value))

    return plain


@lru_cache(maxsize=8)
def _made(names: tuple[str, ...], stated: str, peer: str) -> Book:
    """The same book for every fold of a walk and most points of a grid: its tables are held to their contracts once."""
    document = {
        "book": {"name": f"rows from {peer}", "currency": "USD", "as_of": dt.date(2000, 1, 1)},  # nothing here is dated
        "scenarios": {"rows": {"probability": 1.0}},
        "risk": {"source": "exposures", "market_volatility": 1.0},
    }
    return from_frames(document | json.loads(stated), _tables(names))


def _tables(names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The tables that every book has, with nothing in them but the names."""
    everyone, count, bucket = [*names, CASH], len(names), BucketsSection().names[-1]
    holdings = {
        "account": "rows", "instrument": everyone, "quantity": [0.0] * count + [1e6], "price": 1.0, "currency": "USD"
    }  # fmt: skip
    exposures = {
        "instrument": everyone, "name": everyone, "issuer": everyone, "bucket": [bucket] * count + ["cash"],
        "beta": 0.0, "idiosyncratic_volatility": [1.0] * count + [0.0], "source": "the rows",
    }  # fmt: skip
    returns = {"instrument": everyone, "rows": 0.0}
    tables = {"holdings": holdings, "exposures": exposures, "scenario_returns": returns}
    return {name: pd.DataFrame(columns) for name, columns in tables.items()}


def refuse_doubtful_returns(
    returns: Matrix, names: Sequence[str], days: pd.DatetimeIndex, confirmed: Sequence[Confirmation], table: str
) -> None:
    """Doubt (T, n) simple returns on `days` like the prices that they make; `table` is what errors call them.

    Raises:
        BadInput: some are improbable, and no entry of `confirmed` says that they are right.
    """
    moving = [at for at, column in enumerate(returns.T) if column.any()]  # the others are cash, under any name
    returns, names = returns[:, moving], [names[at] for at in moving]
    if not moving or (np.abs(returns) > 1).mean() > NO_RETURNS:  # prices: that is said elsewhere
        return
    growth = np.cumprod(np.vstack([np.ones(returns.shape[1]), 1 + np.maximum(returns, -0.999999)]), axis=0)
    index = days.insert(0, days[0] - pd.Timedelta(days=1))
    prices = pd.DataFrame(growth, index=index, columns=list(names))
    own = [entry for entry in confirmed if entry.table == RETURNS_TABLE]
    doubts = price_doubts(prices, PriceTable(table, RETURNS_TABLE))
    # one that no doubt of these rows needs may be needed by another fold of a walk
    if breaches := list(unconfirmed(doubts, own, silent={RETURNS_TABLE})):
        raise BadInput(breaches)


def outlook_from_returns(book: Book, returns: Matrix, names: Sequence[str], days: Any, *, peer: str) -> Outlook:
    """(T, N) simple returns as T equally probable scenarios over one row; their covariance as the risk within one.

    Raises:
        BadInput: rows on `days` that are dates are improbable, and `confirm` of the settings does not say otherwise.
    """
    rows, _ = returns.shape
    if isinstance(days, pd.DatetimeIndex) and days.is_monotonic_increasing and len(days) > 1:
        refuse_doubtful_returns(returns, names, days, book.settings.confirm, f"returns from {peer}")
    return Outlook(
        scenarios=tuple(f"row {row}" for row in range(rows)),
        probabilities=np.full(rows, 1 / rows),
        returns=np.ascontiguousarray(returns),
        cash_returns=np.zeros(rows),
        risk=estimate_risk(returns, ESTIMATE, f"{rows} rows"),
        years=1.0,
    )


# A peer's table of returns beside a book: the history that risk is estimated from, and what such a table cannot be.
#


def with_return_history(book: Book, places: NamePositions, returns: Matrix, days: Any, *, peer: str) -> Outlook:
    """The book's outlook; where its risk is that of prices, estimated from the last rows of (T, n) returns instead.

    `days` (T,) are the index of the rows, read where it holds dates.
    """
    risk = book.settings.risk
    if risk.source != "prices":
        return build_outlook(book)
    rows, needed = len(returns), int(risk.window_rows or 0)
    table = f"returns from {peer}"
    rule, cure = "has no history here, and risk is estimated from it", "add its column"
    breaches = [Breach.of(table, rule, cure, column=name) for name in places.absent]
    if rows < needed:
        rule, cure = f"risk.window_rows = {needed} wants more rows than {rows}", "lengthen them or shorten the window"
        breaches.append(Breach.of(table, rule, cure))
    if isinstance(days, pd.PeriodIndex):
        days = days.to_timestamp()
    if isinstance(days, pd.DatetimeIndex):
        breaches += spacing_breach(days, float(risk.periods_per_year or 0.0), table)
    if breaches:
        raise BadInput(breaches)
    if isinstance(days, pd.DatetimeIndex) and len(days) > 1:
        refuse_doubtful_returns(returns[-needed:], places.names, days[-needed:], book.settings.confirm, table)
    order = [places.at.index(i) for i in range(places.instruments)]
    per_row = estimate_risk(returns[-needed:][:, order], risk, f"{needed} returns from {peer}")
    yearly = per_row.over(float(risk.periods_per_year or 0.0))
    return replace(build_outlook(book), risk=yearly.over(book.settings.years))


def last_day(X: Any) -> pd.Timestamp | None:
    """The day of the last row of a table, where its index says it."""
    if not isinstance(X, pd.DataFrame) or not len(X):
        return None
    last = X.index[-1]
    if isinstance(last, pd.Period):
        return last.end_time.normalize()
    return pd.Timestamp(last) if isinstance(last, dt.date) else None


def warn_of_hindsight(book: Book, day: Any) -> None:
    """A book of today that is asked in the past, on `day`, knows what was not known then; None says no day."""
    if day is None:
        return
    asked, today = pd.Timestamp(day).tz_localize(None), pd.Timestamp(book.settings.book.as_of)
    if (today - asked).days > book.settings.risk.max_age_days:
        told = f"it is asked on {asked:%Y-%m-%d}, and the book speaks on {today:%Y-%m-%d}"
        warnings.warn(f"{told}: what it believes was not known then", TranslationWarning, stacklevel=5)


def warn_of_prices(returns: Matrix, names: Sequence[str], *, peer: str) -> None:
    """Rows of returns are wanted; a peer's own optimizers take prices in silence."""
    try:
        refuse_prices(returns, names, peer=peer)
    except BadInput as error:
        warnings.warn(str(error), TranslationWarning, stacklevel=5)
