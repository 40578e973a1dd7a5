"""The Book: what we hold and know, aligned by label once.

Tables and settings flow in, already held to their contracts one by one; the rules that span columns and tables are in
`checks/`. What flows out carries one instrument order for everybody below: that of `exposures.csv`, cash apart.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from allocator.book.checks.consistency import CHECKS
from allocator.book.checks.draft import Agreement, Draft, disagreements, looked_at, unconfirmed
from allocator.book.checks.rules import bucket_column_breaches, bucket_counts
from allocator.book.checks.tables import check_same_instruments
from allocator.book.defaults import Classification, classification, with_defaults
from allocator.book.doubts.doubts import RETURNS_TABLE, check_doubts
from allocator.book.price_history import is_long, prices_by_day
from allocator.errors import BadInput, Breach, did_you_mean, setting_breach
from allocator.presentation import BookHeading, OutlookHeading
from allocator.settings.reading import settings_of_frames, settings_on
from allocator.settings.settings import EARLIER_SHARES, BucketsSection, Settings, share_columns
from allocator.tables import ContractOfBook, validate
from allocator.tables.files import RawTable, from_frame
from allocator.tables.schema import UNCLASSIFIED
from allocator.types import Vector

REQUIRED = ("holdings", "exposures")
OPTIONAL = ("scenario_returns", "signals", "prices", "covariance", "benchmark", "fx", "factors")


@dataclass(frozen=True, eq=False)
class Book:
    """What one account holds and what we know about it.

    Arrays over instruments have shape (N,) in the order of `instruments`, which leaves out cash.
    Money is in the currency `settings.book.currency`.
    """

    settings: Settings
    account: str
    instruments: tuple[str, ...]
    cash_instrument: str
    quantities: Vector
    prices: Vector
    """Money for one unit, converted by fx.csv where the instrument trades in another currency."""
    quoted_prices: Vector
    """Money for one unit in the currency that the instrument trades in."""
    currencies: tuple[str, ...]
    """The currency that each instrument trades in."""
    lot_sizes: Vector
    """Units in the smallest order."""
    cash: float
    """Money, with what `[cash]` says is paid in and out: below 0 where more is paid out than there is."""
    exposures: pd.DataFrame
    """One row an instrument, without cash; columns of exposures.csv."""
    scenario_returns: pd.DataFrame
    """Instruments and cash × scenarios, simple returns over the horizon; no rows where the model makes them."""
    cash_required_return: float | None = None
    """Annual; what cash returns where the efficiency model makes returns."""
    signals: pd.DataFrame | None = None
    """Dated observations in date order; columns of signals.csv."""
    price_history: pd.DataFrame | None = None
    """Dates × instruments, as written: cut-off and window are the risk model's."""
    covariance: pd.DataFrame | None = None
    """Annual, instruments × instruments."""
    benchmark: pd.Series[float] | None = None
    """Weights of instruments and cash, summing to one."""
    factors: pd.DataFrame | None = None
    """Instruments × factors of factors.csv, without cash, which counts 0; each in its own unit."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Units of the book's currency for one of each other currency that its instruments trade in."""
    classification: Classification = field(default_factory=Classification)
    """What exposures.csv leaves to an archetype, and whom it leaves unclassified."""

    def __repr__(self) -> str:
        book = self.settings.book
        return f"Book({book.name!r}, account {self.account!r}, {len(self.instruments)} instruments, {book.as_of})"

    @property
    def foreign_currencies(self) -> tuple[str, ...]:
        """Currencies other than the book's that its instruments are priced in."""
        return tuple(sorted(self.rates))

    @cached_property
    def value(self) -> float:
        """The account's value in money, before any trade."""
        return math.fsum(self.quantities * self.prices) + self.cash

    @property
    def weights(self) -> Vector:
        """(N,) fractions of the account's value held now; cash is the rest."""
        return self.quantities * self.prices / self.value

    @cached_property
    def bucket_shares(self) -> dict[str, Vector]:
        """(N,) how much of each instrument counts towards each bucket of `[buckets]`."""
        names = self.settings.buckets.names
        return dict(zip(names, bucket_counts(self.exposures, *names), strict=True))

    @property
    def given_away(self) -> NDArray[np.bool_]:
        """(N,) names at price 0 that are held and that the mandate forbids: to be ordered away for nothing."""
        forbidden = np.isin(self.instruments, self.settings.mandate.forbidden)
        return np.asarray(forbidden & (self.prices == 0) & (self.quantities > 0), dtype=np.bool_)

    @property
    def untraded(self) -> NDArray[np.bool_]:
        """(N,) names that have no price and of which nothing is held: not yet listed, or no longer."""
        return np.asarray((self.prices == 0) & (self.quantities == 0), dtype=np.bool_)

    @property
    def lot_values(self) -> Vector:
        """(N,) money for one lot."""
        return self.lot_sizes * self.prices

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Scenario names, in the order of `book.toml`."""
        return tuple(self.settings.scenarios)

    def members(self, group: str) -> dict[str, float]:
        """The shares of a user group of `[groups]` by instrument."""
        named = self.settings.groups[group]
        return dict.fromkeys(named, 1.0) if isinstance(named, list) else dict(named)

    def at(
        self,
        date: dt.date,
        *,
        signals: pd.DataFrame | None = None,
        prices: pd.DataFrame | None = None,
        holdings: Mapping[str, float] | pd.Series[float] | None = None,
    ) -> Book:
        """The same book as it would have been known on `date`: nothing in it is dated later, and it is checked as a
        book is that is loaded then.

        `signals` and `prices` are tables such as signals.csv and prices.csv, `holdings` units by name, cash among them;
        without them they are the book's own. A name is worth its last price by then, no older than `risk.max_age_days`.
        Where there is none, it is neither bought nor sold, its risk is none, and nothing of it may be held; prices of a
        book without a history are those that it states. All else is as the book states it, whenever that was.

        Raises:
            BadInput: a table is not of its contract, or the book cannot speak on that day; all errors at once.
        """
        return _on_date(self, date, signals, prices, holdings)

    def heading(self) -> BookHeading:
        """How documents begin: which account, when, and its value to the cent."""
        book, flow = self.settings.book, self.settings.cash.flow
        heading: BookHeading = {
            "name": book.name,
            "account": self.account,
            "as_of": book.as_of.isoformat(),
            "currency": book.currency,
            "value": round(self.value, 2),
        }
        return {**heading, "cash_flow": round(flow, 2)} if flow else heading

    def outlook_heading(self) -> OutlookHeading:
        """The same of documents that look ahead: until when, and how a re-pricing comes."""
        horizon = self.settings.horizon
        return {
            **self.heading(),
            "until": None if horizon.until is None else horizon.until.isoformat(),
            "horizon_months": round(self.settings.months, 6),
            "announcement_share": horizon.announcement_share,
            "digestion_months": None if horizon.digestion_months == np.inf else horizon.digestion_months,
        }


class LooksAtAccount(Exception):
    """What was asked of a book of no account in particular hangs on what an account holds."""


def _of_an_account(_: Book) -> Any:
    raise LooksAtAccount


class BookOfAny(Book):
    """A book of any account: what is made of it is the same for all that share the rest, as it holds nothing that could
    be looked at.
    """

    account = quantities = cash = value = property(_of_an_account)

    @staticmethod
    def of(book: Book) -> BookOfAny:
        """The same book without its account."""
        anyones = object.__new__(BookOfAny)
        anyones.__dict__.update({name: what for name, what in vars(book).items() if name != "value"})
        return anyones


Ask: TypeAlias = Callable[..., Any]
"""Asks a function what it makes of a book, `ask(make, book, *others)`; whoever has many accounts may know already."""


def directly(make: Callable[..., Any], *of: Any) -> Any:
    """Ask each time."""
    return make(*of)


def refuse_no_book(given: object) -> None:
    """Refuse what is no book, where a path or a plan was passed in its place.

    Raises:
        BadInput: it is none.
    """
    if not isinstance(given, Book):
        cure = "give what allocator.load(folder) or allocator.from_frames(…) returns"
        raise BadInput.of("book", f"is a {type(given).__name__} and not a Book", cure)


def from_frames(
    settings: Settings | Mapping[str, object],
    tables: Mapping[str, pd.DataFrame | Mapping[str, Sequence[object]] | Sequence[Mapping[str, object]]],
    *,
    account: str | None = None,
    confirm: Sequence[Mapping[str, object]] = (),
) -> Book:
    """A Book from pandas objects: `tables` by name (`holdings`, `exposures`, `scenario_returns`, …).

    Columns, units and what may be blank are those of the files (`allocator schema NAME`); an index named `instrument`
    or `date` counts as that column, and rows are aligned by label. A table may also be plain data: columns by name,
    or one mapping a row. `settings` are what `book.toml` would say, with days as dates or as texts such as 2026-11-20;
    `confirm` are entries of its `[[confirm]]`, for data that is improbable and right.

    Raises:
        BadInput: a table or setting is not of its contract; all errors at once.
    """
    breaches: list[Breach] = []
    checked: Settings | None = None
    raw: dict[str, RawTable] = {}
    try:
        checked = settings_of_frames(settings, confirm)
    except BadInput as error:
        breaches += error.breaches
    for name, table in tables.items():
        try:
            raw[name] = from_frame(name, table)
        except BadInput as error:
            breaches += error.breaches
    if checked is None or breaches:
        known = {breach.table for breach in breaches}
        raise BadInput([*breaches, *(breach for breach in check_tables(raw) if breach.table not in known)])
    try:
        return assemble_book(checked, raw, account=account)
    except BadInput as error:
        raise BadInput(map(_of_frames, error.breaches)) from None


_CENT = 0.01


def from_weights(
    weights: Mapping[str, float] | pd.Series[float],
    *,
    buckets: Mapping[str, str] | pd.Series[str],
    returns: pd.DataFrame | Mapping[str, Mapping[str, float]],
    probabilities: Mapping[str, float] | pd.Series[float],
    value: float = 1_000_000.0,
    currency: str = "USD",
    as_of: dt.date | None = None,
    **sections: Mapping[str, object],
) -> Book:
    """A Book of nothing but weights: an account of `value`, what `weights` (fractions, at most 1) leave over is cash.

    `buckets` label every name that may be held, also those without a weight; `returns` are simple returns over the
    horizon, a row for each name or for a bucket and a column for each scenario; `probabilities` are the scenarios'.
    `sections` are those of `book.toml`: `mandate={"max_weight": 0.7}`. Each name is traded in cents at a price of 1.
    `as_of` is today by default, and decides nothing but what the book is dated.

    Raises:
        BadInput: labels do not fit each other, or a number is none that a table may hold; all errors at once.
    """
    given, breaches = dict[str, dict[str, Any]](), list[Breach]()
    for argument, labelled, numbers in (
        ("weights", weights, True), ("buckets", buckets, False), ("probabilities", probabilities, True),
    ):  # fmt: skip
        try:
            given[argument] = _by_label(argument, labelled, numbers=numbers)
        except BadInput as error:
            breaches += error.breaches
    if not isinstance(returns, pd.DataFrame | Mapping):
        rule = f"are a {type(returns).__name__}, and no frame or mapping by name"
        breaches.append(Breach.of("returns", rule, "give a row for each name or bucket, a column for each scenario"))
    if not 0 < value < np.inf:
        breaches.append(Breach.of("value", f"must be an amount above 0, and is {value:g}", "write what is held in all"))
    held = given.get("weights", {})
    odd, total = [name for name, weight in held.items() if not 0 <= weight <= 1], sum(held.values())
    if odd or total > 1 + 1e-9:
        rule = f"must be fractions from 0 to 1, of at most 1 together, and come to {total:g}"
        named = ", ".join(f"{name} ({held[name]:g})" for name in odd)
        cure = f"correct {named}; 60 % is 0.6" if odd else "write 60 % as 0.6, or scale them down"
        breaches.append(Breach.of("weights", rule, cure))
    if breaches:
        raise BadInput(breaches)
    labels = given["buckets"]
    cash = next((name for name, bucket in labels.items() if bucket == "cash"), currency)
    names = [name for name in dict.fromkeys([*held, *labels]) if name != cash]
    held = {name: round(held.get(name, 0.0) * value, 2) for name in names}
    left = round(value - sum(held.values()), 2)
    if left < 0:  # cents that rounding spent
        largest = max(held, key=held.__getitem__)
        held[largest] = round(held[largest] + left, 2)
    held[cash] = max(left, 0.0)
    rows = returns if isinstance(returns, pd.DataFrame) else pd.DataFrame.from_dict(dict(returns), orient="index")
    document = {
        "book": {"name": "weights", "currency": currency, "as_of": as_of or dt.date.today()},  # a date
        "scenarios": {name: {"probability": each} for name, each in given["probabilities"].items()},
    }
    own = list(dict.fromkeys(label for label in labels.values() if isinstance(label, str) and label != "cash"))
    if own and not {*own} & {*BucketsSection().names}:  # else one that is not among those is an error of typing
        document["buckets"] = {"names": own}
    tables = {
        "holdings": pd.DataFrame(
            {"instrument": list(held), "quantity": held.values(), "price": 1.0, "lot_size": _CENT}
        ),
        "exposures": pd.DataFrame({"instrument": list(labels), "bucket": list(labels.values())}),
        "scenario_returns": rows.rename_axis(index="instrument"),
    }
    return from_frames(document | sections, tables)


def _by_label(argument: str, given: Any, *, numbers: bool) -> dict[str, Any]:
    """Values by label, each once.

    Raises:
        BadInput: it is no mapping, says something twice, or holds what is no number.
    """
    if not isinstance(given, Mapping | pd.Series):
        rule = f"are a {type(given).__name__}, and no mapping or Series"
        raise BadInput.of(argument, rule, "give one value by name")
    found = dict[str, Any]()
    for label, value in given.items():
        if str(label) in found:
            raise BadInput.of(argument, "names this twice", "keep one of them", value=str(label))
        try:
            found[str(label)] = float(value) if numbers else value
        except (TypeError, ValueError):
            rule = f"must be a number for each name, and is {value!r} for {label}"
            raise BadInput.of(argument, rule, "write a number") from None
    return found


def _of_frames(breach: Breach) -> Breach:
    """An error in the words of who has no book.toml and gives no option."""
    texts = (breach.table.removeprefix("--"), breach.rule, breach.cure)
    table, rule, cure = (text.replace("book.toml", "settings") for text in texts)
    return replace(breach, table=table, rule=rule, cure=cure)


def assemble_book(settings: Settings, raw: Mapping[str, RawTable], *, account: str | None = None) -> Book:
    """Hold every table to its contract and all of them to each other, then align.

    Raises:
        BadInput: all errors of all tables at once.
    """
    draft, breaches = checked_draft(settings, raw, account)
    if breaches:
        raise BadInput(breaches)
    return aligned(draft)


def checked_draft(
    settings: Settings,
    raw: Mapping[str, RawTable],
    account: str | None = None,
    without: Collection[Callable[[Draft], Iterable[Breach]]] = (),
) -> tuple[Draft, list[Breach]]:
    """Tables held to their contracts and to each other, and every error of all of them; `without` some checks."""
    known, missing = REQUIRED + OPTIONAL, [name for name in REQUIRED if name not in raw]
    breaches = [Breach.of(name, "this table is required", f"add {name}.csv to the book's folder") for name in missing]
    strangers = [name for name in raw if name not in known]
    breaches += [Breach.of(name, "this table is not known", did_you_mean(name, known)) for name in strangers]
    tables, of_contracts = _validated(raw, settings)
    draft = Draft(settings, with_defaults(settings, tables), raw.keys(), account)
    breaches += [_debit(breach, raw, settings.book.currency) for breach in of_contracts]
    checks = [check for check in CHECKS if check.look not in without]
    return draft, [*breaches, *disagreements(draft, checks), *check_doubts(draft)]


def check_tables(raw: Mapping[str, RawTable]) -> list[Breach]:
    """Every error of each table's own contract, for when there is no book to hold them together."""
    return [_debit(breach, raw, None) for breach in _validated(raw, None)[1]]


def _debit(breach: Breach, raw: Mapping[str, RawTable], currency: str | None) -> Breach:
    """A negative quantity of cash is a debit, which no contract of one table can tell from a short position."""
    holdings, exposures = raw.get("holdings"), raw.get("exposures")
    if holdings is None or exposures is None or (breach.table, breach.column) != (holdings.name, "quantity"):
        return breach
    if breach.row is None or not str(breach.value).startswith("-") or "instrument" not in exposures.frame:
        return breach
    labels = exposures.frame.get("bucket", pd.Series("", exposures.frame.index)).astype(str).str.strip()
    cash = set(exposures.frame.loc[labels == "cash", "instrument"].map(str))
    if currency is not None and currency not in {*exposures.frame["instrument"].map(str)}:
        cash.add(currency)
    name = (
        holdings.frame["instrument"].iloc[holdings.rows.index(breach.row)] if "instrument" in holdings.frame else None
    )
    if str(name) not in cash:
        return breach
    cure = f"write 0 and pay the {str(breach.value).lstrip('-')} in, or sell first: nothing is bought on credit"
    return replace(breach, rule="is a debit of cash", cure=cure)


def _validated(raw: Mapping[str, RawTable], settings: Settings | None) -> tuple[dict[str, pd.DataFrame], list[Breach]]:
    """The tables that are of their contracts, indexed by file row, and the errors of the others."""
    tables: dict[str, pd.DataFrame] = {}
    breaches: list[Breach] = []
    for name in (name for name in REQUIRED + OPTIONAL if name in raw):
        contract = "prices_long" if name == "prices" and is_long(raw[name].frame) else name
        if name == "exposures":
            frame, own = _validated_exposures(raw[name], settings)
        else:
            frame, own = validate(contract, raw[name])
        breaches += own
        if not own:
            frame.index = pd.Index(raw[name].rows)
            frame.attrs["name"] = raw[name].name
            tables[name] = frame
    return tables, breaches


def _validated_exposures(raw: RawTable, settings: Settings | None) -> tuple[pd.DataFrame, list[Breach]]:
    """The table held to the buckets of the settings; without these any label and shares of any bucket are of it."""
    names = [] if settings is None else settings.buckets.names
    shares = dict.fromkeys(column for column in raw.columns if column.startswith("share_"))
    shares |= dict.fromkeys(share_columns(name)[0] for name in names)
    of_book = () if settings is None else bucket_column_breaches(settings, raw.name, raw.columns)
    labels = None if settings is None else (*names, "cash")
    like = next(iter(EARLIER_SHARES.values()))
    cure = "name it in [buckets] of book.toml, or write one of these"
    frame, breaches = validate(
        ContractOfBook("exposures", "bucket", labels, UNCLASSIFIED, cure, like, tuple(shares)), raw
    )
    return frame, [*of_book, *breaches]


def book_of_sound_tables(settings: Settings, tables: Mapping[str, pd.DataFrame]) -> Book:
    """A Book of tables that are sound by the way they were made, but for names that no file could have: nothing in them
    is data that might be doubted.

    Raises:
        BadInput: settings do not agree with the tables; all at once.
    """
    draft = Draft(settings, tables, tables.keys())
    breaches = [*disagreements(draft, CHECKS), *unconfirmed((), settings.confirm, {RETURNS_TABLE})]
    if breaches:
        raise BadInput(replace(one, table="settings") for one in breaches)
    return aligned(draft)


# A book on another day: what had been seen by then, held to the checks of a book that is loaded then.
#


def _on_date(
    book: Book,
    date: dt.date,
    signals: pd.DataFrame | None,
    prices: pd.DataFrame | None,
    holdings: Mapping[str, float] | pd.Series[float] | None,
) -> Book:
    if not isinstance(date, dt.date) or pd.isna(date):
        raise BadInput.of("date", "is no date", "give for example datetime.date(2026, 11, 20)", value=str(date))
    day = date.date() if isinstance(date, dt.datetime) else date  # a Timestamp is one
    since, breaches = book.settings.book.as_of, list[Breach]()
    settings, held, observed, by_day = book.settings, book, book.signals, book.price_history
    try:
        if signals is not None:
            tables, wrong = _validated({"signals": from_frame("signals", signals)}, settings)
            observed, breaches = tables.get("signals"), wrong
    except BadInput as error:
        breaches += error.breaches
    try:
        by_day = by_day if prices is None else history_of_table(book, from_frame("prices", prices))
    except BadInput as error:
        breaches += error.breaches
    try:
        settings = settings_on(settings, day)
        held = book if holdings is None else _holding(book, holdings)
    except BadInput as error:
        breaches += error.breaches
    if breaches := [*breaches, *views_of_later(book.settings, day)]:
        raise BadInput(breaches)
    own = prices is None and (by_day is None or day >= since)  # rows may be older than what the book states
    return dated_book(held, settings, observed, by_day, stated_on=since if own else None)


def views_of_later(settings: Settings, day: dt.date) -> Iterator[Breach]:
    """Views that book.toml states of its own date, which nobody had on a day before it."""
    for key in ("believe", "views") if day < settings.book.as_of else ():
        if getattr(settings, key):
            rule, cure = (
                f"is of {settings.book.as_of}, and nobody knew it on {day}",
                "leave it out of a book that is asked of",
            )
            yield setting_breach(key, None, rule, f"{cure} that day")


def history_of_table(book: Book, table: RawTable) -> pd.DataFrame:
    """Days × the book's instruments, of a table such as prices.csv.

    Raises:
        BadInput: it is not of its contract, or speaks of others or not of all; all errors at once.
    """
    tables, breaches = _validated({"prices": table}, book.settings)
    if not breaches:
        named = Draft(book.settings, {**_tables_of(book), **tables}, (), book.account)
        breaches = disagreements(named, looked_at(check_same_instruments))
    if breaches:
        raise BadInput(breaches)
    return prices_by_day(tables["prices"])[[*book.instruments]]


def dated_book(
    book: Book,
    settings: Settings,
    signals: pd.DataFrame | None,
    history: pd.DataFrame | None,
    *,
    stated_on: dt.date | None = None,
    checks: Iterable[Agreement] | None = None,
) -> Book:
    """The book on the day of other `settings`: of signals and of a price history by day what there was by then.

    It is held to every check and doubt, or to `checks` alone where the others were made of it on another day.
    Names are worth their last prices, but for those of which the book states a price of a day, `stated_on`, that no row
    is later than.

    Raises:
        BadInput: the book cannot speak on that day; all errors at once.
    """
    day = pd.Timestamp(settings.book.as_of)
    rows = None if history is None else history.loc[history.index <= day, [*book.instruments]]
    past = None if rows is None or rows.empty else rows
    seen = {} if past is None else {"prices": past.rename_axis("date").reset_index()}
    observed = None if signals is None else signals.loc[signals["date"] <= day].sort_values("date", kind="stable")
    if observed is not None and len(observed):
        seen["signals"] = observed
    then = replace(book, settings=settings, signals=seen.get("signals"), price_history=past)
    breaches = list[Breach]()
    if then.price_history is not None:
        then, breaches = _at_last_prices(then, stated_on)
    elif stated_on is None:
        rule = f"has no row by {settings.book.as_of}"
        breaches = [Breach.of("prices", rule, "give prices of earlier days, or ask for a later one", column="date")]
    draft = Draft(then.settings, _tables_of(then) | seen, (*REQUIRED, *seen), then.account)
    others = disagreements(draft, CHECKS if checks is None else checks)
    others += check_doubts(draft, needless=False) if checks is None else ()
    if breaches:  # of a price that is not there nothing else need be said
        others = [one for one in others if (one.table, one.column) != ("holdings", "price")]
    if breaches := [*breaches, *others]:
        raise BadInput(breaches)
    return then


def _holding(book: Book, holdings: Mapping[str, float] | pd.Series[float]) -> Book:
    """The book with other units of its instruments and cash; of a name that is not there it has none.

    Raises:
        BadInput: a name is not of the book, or a number is none that can be held; all at once.
    """
    units, everyone = _by_label("holdings", holdings, numbers=True), (*book.instruments, book.cash_instrument)
    wrong = [
        Breach.of("holdings", "is not an instrument of the book", did_you_mean(name, everyone), value=name)
        for name in units
        if name not in everyone
    ] + [
        Breach("holdings", None, name, f"{number:g}", "must be a finite number, 0 or more", "write the units held")
        for name, number in units.items()
        if not 0 <= number < math.inf
    ]
    if wrong:
        raise BadInput(wrong)
    quantities = np.array([units.get(name, 0.0) for name in book.instruments])
    return replace(book, quantities=quantities, cash=units.get(book.cash_instrument, 0.0) + book.settings.cash.flow)


def _at_last_prices(book: Book, since: dt.date | None) -> tuple[Book, list[Breach]]:
    """The book at the last prices of its history, names without one locked, and what is held of these; `since` a day on
    which it stated newer ones than the history has by then.
    """
    history, settings, names = book.price_history, book.settings, np.array(book.instruments)
    assert history is not None
    today, oldest = settings.book.as_of, settings.risk.max_age_days
    values = history.to_numpy(dtype=float)
    there = ~np.isnan(values)
    last = len(values) - 1 - there[::-1].argmax(axis=0)
    days = pd.DatetimeIndex(history.index)[last]
    listed = there.any(axis=0)
    recent = listed & np.asarray(days >= pd.Timestamp(today - dt.timedelta(days=oldest)))
    stated = np.zeros_like(listed) if since is None else ~listed | np.asarray(days <= pd.Timestamp(since))
    quoted = np.where(stated, book.quoted_prices, np.where(recent, values[last, range(len(names))], 0.0))
    rates = np.array([{settings.book.currency: 1.0, **book.rates}[currency] for currency in book.currencies])
    breaches = []
    for i in np.flatnonzero((book.quantities > 0) & ~stated & ~recent):
        rule, cure = f"has no price by {today}, and it is held", "give one, or holdings without it"
        if listed[i]:
            rule = f"has its last price on {days[i]:%Y-%m-%d}, {(today - days[i].date()).days} days before {today}"
            cure = f"{cure}; or raise risk.max_age_days above {oldest}"
        breaches.append(Breach.of("prices", rule, cure, column=names[i]))
    mandate = settings.mandate
    unpriced = names[(quoted == 0) & (book.quantities == 0) & ~np.isin(names, [*mandate.locked, *mandate.forbidden])]
    if len(unpriced):
        mandate = mandate.model_copy(update={"locked": [*mandate.locked, *map(str, unpriced)]})
        settings = settings.model_copy(update={"mandate": mandate})
    return replace(book, settings=settings, quoted_prices=quoted, prices=quoted * rates), breaches


def _tables_of(book: Book) -> dict[str, pd.DataFrame]:
    """The tables that a book is the alignment of, for checks that span them."""
    settings, cash = book.settings, book.cash_instrument
    everyone, home = [*book.instruments, cash], book.settings.book.currency
    of_cash = {"instrument": cash, "name": cash, "issuer": cash, "bucket": "cash", "source": ""}
    exposures = book.exposures.reset_index()
    exposures.loc[len(exposures), :] = pd.Series({**of_cash, "required_return": book.cash_required_return}).reindex(
        exposures.columns
    )
    exposures.attrs["classification"] = book.classification
    tables = {
        "holdings": pd.DataFrame(
            {
                "account": book.account,
                "instrument": everyone,
                "quantity": [*book.quantities, book.cash - settings.cash.flow],
                "price": [*book.quoted_prices, 1.0],
                "currency": [*book.currencies, home],
                "lot_size": [*book.lot_sizes, 1.0],
            }
        ),
        "exposures": exposures,
    }
    if book.rates:
        of_currencies = {"currency": [*book.rates], "rate": [*book.rates.values()]}
        tables["fx"] = pd.DataFrame({**of_currencies, "date": pd.Timestamp(settings.book.as_of)})
    if len(book.scenario_returns):
        tables["scenario_returns"] = book.scenario_returns.rename_axis("instrument").reset_index()
    for name, table in (("covariance", book.covariance), ("factors", book.factors)):
        if table is not None:
            tables[name] = table.rename_axis("instrument").reset_index()
    if book.benchmark is not None:
        tables["benchmark"] = book.benchmark.rename("weight").rename_axis("instrument").reset_index()
    return tables


def aligned(draft: Draft) -> Book:
    """The book of sound tables that agree."""
    settings, tables = draft.settings, draft.tables
    everyone = tables["exposures"].set_index("instrument")
    (cash,) = map(str, everyone.index[everyone["bucket"] == "cash"])
    exposures = everyone.drop(index=cash)
    names, home = list(map(str, exposures.index)), settings.book.currency
    holdings = tables["holdings"]
    account = draft.account or str(holdings["account"].iloc[0])
    quoted = holdings.drop_duplicates("instrument").set_index("instrument")  # one price an instrument was checked
    own = holdings.loc[holdings["account"] == account].set_index("instrument")
    prices = quoted["price"] * quoted["currency"].map(draft.rates or {})
    of_cash = everyone["required_return"][cash] if "required_return" in everyone else np.nan
    signals, benchmark = tables.get("signals"), tables.get("benchmark")
    foreign = {*quoted["currency"]} - {home}
    return Book(
        settings=settings,
        account=account,
        instruments=tuple(names),
        cash_instrument=cash,
        quantities=own["quantity"].reindex(names, fill_value=0.0).to_numpy(dtype=float),
        prices=prices.reindex(names).to_numpy(dtype=float),
        quoted_prices=quoted["price"].reindex(names).to_numpy(dtype=float),
        currencies=tuple(map(str, quoted["currency"].reindex(names))),
        lot_sizes=_lot_sizes(own, quoted, names),
        cash=float(own["quantity"].get(cash, 0.0)) + settings.cash.flow,
        exposures=exposures,
        scenario_returns=_given_returns(settings, tables.get("scenario_returns"), [*names, cash]),
        cash_required_return=None if np.isnan(of_cash) else float(of_cash),
        signals=None if signals is None else signals.sort_values("date", kind="stable"),
        price_history=prices_by_day(tables["prices"])[names] if "prices" in tables else None,
        covariance=_of_instruments(tables.get("covariance"), names, names),
        benchmark=None if benchmark is None else _weights(benchmark, [*names, cash]),
        factors=_of_instruments(tables.get("factors"), names),
        rates={one: rate for one, rate in (draft.rates or {}).items() if one in foreign},
        classification=classification(tables["exposures"]),
    )


def _lot_sizes(own: pd.DataFrame, quoted: pd.DataFrame, names: list[str]) -> Vector:
    """(N,) the account's own, where it holds the name, else those of whoever does; 1 where nobody says."""
    if "lot_size" not in own:
        return np.ones(len(names))
    lots = own["lot_size"].reindex(names).fillna(quoted["lot_size"].reindex(names)).fillna(1.0)
    return lots.to_numpy(dtype=float)


def _weights(benchmark: pd.DataFrame, everyone: list[str]) -> pd.Series[float]:
    return benchmark.set_index("instrument")["weight"].reindex(everyone, fill_value=0.0)


def _given_returns(settings: Settings, table: pd.DataFrame | None, everyone: list[str]) -> pd.DataFrame:
    """The user's own scenario returns, in the book's order; no rows where the model makes them all."""
    if table is None:
        return pd.DataFrame(columns=list(settings.scenarios), dtype=float)
    own = table.set_index("instrument")
    return own.loc[[name for name in everyone if name in own.index], list(settings.scenarios)]


def _of_instruments(
    table: pd.DataFrame | None, names: list[str], columns: list[str] | None = None
) -> pd.DataFrame | None:
    """The numbers of a table with a row an instrument, in the book's order, cash left out."""
    if table is None:
        return None
    numbers = table.drop(columns="source", errors="ignore").set_index("instrument").loc[names]
    return numbers if columns is None else numbers[columns]


def copy_for_plugins(book: Book) -> Book:
    """The book as a plugin gets it: what it writes into these tables and settings changes nothing of ours."""
    own = {field.name: getattr(book, field.name) for field in fields(book)}
    tables: dict[str, Any] = {k: v.copy() for k, v in own.items() if isinstance(v, pd.DataFrame | pd.Series)}
    return replace(book, settings=book.settings.model_copy(deep=True), **tables)
