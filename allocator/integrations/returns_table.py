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

from allocator.book.book import Book, book_of_sound_tables, refuse_no_book
from allocator.book.checks.draft import unconfirmed
from allocator.book.doubts.doubts import RETURNS_TABLE
from allocator.book.doubts.prices import PriceTable, price_doubts
from allocator.book.price_history import spacing_breach
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.integrations.host import (
    WEIGHED,
    BookAt,
    NamePositions,
    TranslationWarning,
    depends_on_holdings,
    refuse_prices,
)
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.outlook.risk_model import estimate_risk
from allocator.settings.reading import settings_of_frames
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
    """The same book for every fold of a walk and most points of a grid; labels of no file may be any texts."""
    document = {
        "book": {"name": f"rows from {peer}", "currency": "USD", "as_of": dt.date(2000, 1, 1)},  # nothing here is dated
        "scenarios": {"rows": {"probability": 1.0}},
        "risk": {"source": "exposures", "market_volatility": 1.0},
    }
    return book_of_sound_tables(settings_of_frames(document | json.loads(stated)), _tables(names))


def _tables(names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The tables that every book has, with nothing in them but the names."""
    everyone, count = [*names, CASH + "_" * max(map(len, names), default=0) * (CASH in names)], len(names)
    bucket = BucketsSection().names[-1]
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


def outlook_from_returns(book: Book, rows: pd.DataFrame, *, peer: str) -> Outlook:
    """(T, N) simple returns as T equally probable scenarios over one row; their covariance as the risk within one.

    Raises:
        BadInput: rows of days are improbable, and `confirm` of the settings does not say that they are right.
    """
    refuse_doubtful_returns(rows, book, peer=peer)
    returns = np.ascontiguousarray(rows.to_numpy(dtype=np.float64))
    return Outlook(
        scenarios=tuple(f"row {row}" for row in range(len(rows))),
        probabilities=np.full(len(rows), 1 / len(rows)),
        returns=returns,
        cash_returns=np.zeros(len(rows)),
        risk=estimate_risk(returns, ESTIMATE, f"{len(rows)} rows"),
        years=1.0,
    )


# What is possible and improbable in a peer's table of rows that are days, as in the book's own: refused until it is
# confirmed, by `[[confirm]]` of the book or by entries that the adapter is given, each of which must meet a doubt.
#
NO_PRICES = 0.1
"""Where more than this part of a name's rows is 0 or less, between its first figure and its last, it has no prices."""


def own_confirmations(book: Book, confirm: Sequence[Mapping[str, object]]) -> Sequence[Confirmation]:
    """The entries that an adapter is given as `confirm`.

    Raises:
        BadInput: one is not of its contract.
    """
    return settings_of_frames(book.settings, confirm).confirm[len(book.settings.confirm) :] if confirm else ()


def refuse_doubtful_returns(rows: pd.DataFrame, book: Book, own: Sequence[Confirmation] = (), *, peer: str) -> None:
    """Doubt a peer's simple returns (days × labels) of the book's instruments like the prices that they make.

    Raises:
        BadInput: some are improbable and not confirmed, or an entry of `confirm` meets no doubt.
    """
    given = _dated(_of_instruments(rows, book))
    returns = given.loc[:, (given.fillna(0.0) != 0).any()]  # the others are cash, under any name
    if (returns.abs() > 1).to_numpy().sum() > NO_RETURNS * returns.size:  # prices: that is said elsewhere
        return
    before = pd.DatetimeIndex(returns.index[:1]) - pd.Timedelta(days=1)
    growth = (1 + returns.clip(lower=-0.999999)).cumprod()
    prices = pd.concat([pd.DataFrame(1.0, index=before, columns=returns.columns), growth])
    where = PriceTable(f"returns from {peer}", RETURNS_TABLE)
    if breaches := _unsettled(prices, where, _looked_at(own, given, book), book):
        raise BadInput(breaches)


def price_breaches(prices: pd.DataFrame, book: Book, own: Sequence[Confirmation] = (), *, peer: str) -> list[Breach]:
    """What is wrong with a peer's prices (days × labels) of the book's instruments; a name is the column of its own.

    Figures of 0 or less are no prices: a name that has many of them has returns, and few are looked over.
    """
    quoted, file = _of_instruments(prices, book), f"prices from {peer}"
    there = quoted.notna() & (quoted != 0)
    listed = there.cummax() & there[::-1].cummax()[::-1]
    share = ((quoted <= 0) & listed).sum() / listed.sum()
    no_prices = share[share > NO_PRICES]
    rule, cure = "of its figures are 0 or less, which no price is", f"are they returns? {peer} wants prices"
    breaches = [Breach.of(file, f"{part:.0%} {rule}", cure, column=str(name)) for name, part in no_prices.items()]
    others = quoted.where(quoted > 0).drop(columns=no_prices.index)
    return [*breaches, *_unsettled(_dated(others), PriceTable(file), _looked_at(own, others, book), book)]


def _looked_at(own: Sequence[Confirmation], table: pd.DataFrame, book: Book) -> list[Confirmation]:
    """All but entries of the book's names without a column, which another part of a walk may have."""
    return [entry for entry in own if entry.name in table or entry.name not in book.instruments]


def _unsettled(prices: pd.DataFrame, where: PriceTable, own: Sequence[Confirmation], book: Book) -> list[Breach]:
    """Doubts about closes of days that nothing confirms, and entries of `own` of which there is no doubt.

    An entry of the book's confirms as well; it need not meet a doubt here, but in the book's own table or another fold.
    """
    settled = {entry.key for entry in book.settings.confirm} - {entry.key for entry in own}
    doubts = [
        doubt
        for doubt in price_doubts(prices.groupby(pd.DatetimeIndex(prices.index).normalize()).last(), where)
        if doubt.key not in settled
        and (where.table, doubt.kind) != (RETURNS_TABLE, "gap")  # folds leave days out, and no return spans them
    ]
    return [replace(one, table=where.file) if one.table == "book.toml" else one for one in unconfirmed(doubts, own)]


def _of_instruments(table: pd.DataFrame, book: Book) -> pd.DataFrame:
    """The columns of the book's instruments, by their names."""
    at = {str(label): place for place, label in enumerate(table.columns)}
    names = [name for name in book.instruments if name in at]
    return table.iloc[:, [at[name] for name in names]].set_axis(names, axis=1).astype(float)


def _dated(table: pd.DataFrame) -> pd.DataFrame:
    """The same rows by their days; none where they are no days, or not in their order: nothing is told of those."""
    days = table.index.to_timestamp() if isinstance(table.index, pd.PeriodIndex) else table.index
    if not isinstance(days, pd.DatetimeIndex) or not days.is_monotonic_increasing:
        return table.iloc[:0].set_axis(pd.DatetimeIndex([]))
    return table.set_axis(days.tz_localize(None))


# A peer's table of returns beside a book: the history that risk is estimated from, and what such a table cannot be.
#


def with_return_history(book: Book, places: NamePositions, given: pd.DataFrame, *, peer: str) -> Outlook:
    """The book's outlook; where its risk is that of prices, estimated from the last rows of (T, n) returns instead.

    The index is read where it holds dates.
    """
    risk = book.settings.risk
    if risk.source != "prices":
        return build_outlook(book)
    rows, needed, days = len(given), int(risk.window_rows or 0), given.index
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
    window = given.tail(needed)
    refuse_doubtful_returns(window, book, peer=peer)
    per_row = estimate_risk(window[[*book.instruments]].to_numpy(), risk, f"{needed} returns from {peer}")
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


def book_on(book: Book, book_at: BookAt | None, day: Any, *, peer: str) -> Book:
    """The book that a peer asks on a day: as `book_at` knew it then, or the one that there is, which is warned of where
    it speaks of later.

    Raises:
        BadInput: the peer says no day, or `book_at` answers with no book of that day.
    """
    if book_at is None:
        warn_of_hindsight(book, day)
        return book
    if day is None:
        rule, cure = "have no dates, and book_at is asked of a day", "give the rows an index of dates"
        raise BadInput.of(f"rows from {peer}", rule, cure)
    asked = pd.Timestamp(day).tz_localize(None).date()
    found = book_at(asked)
    refuse_no_book(found)
    if (speaks := found.settings.book.as_of) > asked:
        rule = f"answers of {asked} with a book of {speaks}, which knows what was not known then"
        raise BadInput.of("book_at", rule, "give book.at, or what gives a book of that day")
    return found


def warn_of_prices(returns: Matrix, names: Sequence[str], *, peer: str) -> None:
    """Rows of returns are wanted; a peer's own optimizers take prices in silence."""
    try:
        refuse_prices(returns, names, peer=peer)
    except BadInput as error:
        warnings.warn(str(error), TranslationWarning, stacklevel=5)
