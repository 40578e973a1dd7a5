"""What the holdings of an account must agree on: which account, dates, currencies, prices, cash, and that it counts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator

import pandas as pd

from allocator.book.checks.rules import Tables, file_name
from allocator.errors import Breach, did_you_mean
from allocator.settings.settings import Settings

OLDEST_RATE = 31
"""Days that a rate of fx.csv may be older than as_of."""
LEAST_VALUE, MOST_VALUE = 0.01, 1e15
"""What an account may be worth; beyond, a cent is lost in the digits of a number."""


def check_positions(
    settings: Settings, tables: Tables, account: str | None, given: Collection[str]
) -> Iterator[Breach]:
    """Every disagreement of holdings.csv with itself, fx.csv and the settings."""
    yield from _account(tables, account)
    yield from _dates(settings, tables)
    yield from _one_price(tables)
    yield from _worth_something(tables, account)
    if "fx" in tables or "fx" not in given:
        yield from _currencies(settings, tables)
        yield from _countable(settings, tables, account)


def _account(tables: Tables, account: str | None) -> Iterator[Breach]:
    accounts = list(dict.fromkeys(tables["holdings"]["account"]))
    if account is None and len(accounts) > 1:
        yield Breach(
            file_name(tables, "holdings"),
            None,
            "account",
            None,
            f"holds {len(accounts)} accounts and none is chosen",
            f"say which with --account: {', '.join(accounts)}",
        )
    if account is not None and account not in accounts:
        yield Breach(
            "--account", None, None, account, "no such account in holdings.csv", did_you_mean(account, accounts)
        )


def _worth_something(tables: Tables, account: str | None) -> Iterator[Breach]:
    holdings = tables["holdings"]
    own = holdings if account is None else holdings.loc[holdings["account"] == account]
    if len(own) and not (own["quantity"] > 0).any():
        yield Breach(
            file_name(tables, "holdings"),
            None,
            "quantity",
            None,
            "the account holds nothing",
            "enter what is held; an amount to invest is a quantity of cash",
        )


def _countable(settings: Settings, tables: Tables, account: str | None) -> Iterator[Breach]:
    """What the account is worth, and how many lots that is, must be numbers that money is counted in."""
    holdings, home = tables["holdings"], settings.book.currency
    own = holdings if account is None else holdings.loc[holdings["account"] == account]
    if not (own["quantity"] > 0).any():
        return  # said elsewhere
    rates = {home: 1.0} | (
        dict(zip(tables["fx"]["currency"], tables["fx"]["rate"], strict=True)) if "fx" in tables else {}
    )
    price = own["price"] * own["currency"].map(rates)
    if price.isna().any():
        return  # said elsewhere
    worth = float((own["quantity"] * price).sum())
    if not LEAST_VALUE <= worth <= MOST_VALUE:
        yield Breach(
            file_name(tables, "holdings"),
            None,
            "quantity",
            f"{worth:.4g}",
            f"the account must be worth from {LEAST_VALUE:g} to {MOST_VALUE:g} {home}",
            "correct quantities, prices and rates: is one of them in another unit?",
        )
        return
    lot = price * own.get("lot_size", 1.0)
    for row in own.index[lot < worth / 1e15]:
        yield Breach(
            file_name(tables, "holdings"),
            int(row),
            "price",
            f"{own.loc[row, 'price']:g}",
            "a lot is worth so little that the account's lots cannot be counted",
            "correct the price, the lot size or the rate",
        )


def _dates(settings: Settings, tables: Tables) -> Iterator[Breach]:
    as_of = pd.Timestamp(settings.book.as_of)
    for table, column in (("holdings", "acquired"), ("fx", "date")):
        if table in tables and column in tables[table]:
            dates = tables[table][column]
            for row, date in dates[dates > as_of].items():
                yield _late(file_name(tables, table), int(str(row)), column, date, settings.book.as_of)
    if "fx" in tables:
        oldest = as_of - pd.Timedelta(days=OLDEST_RATE)
        for row, date in tables["fx"]["date"][tables["fx"]["date"] < oldest].items():
            yield Breach(
                file_name(tables, "fx"),
                int(str(row)),
                "date",
                f"{date:%Y-%m-%d}",
                f"is {(settings.book.as_of - date.date()).days} days before as_of = {settings.book.as_of}",
                f"bring the rate up to date: {OLDEST_RATE} days at most",
            )
    yield from _old_prices(settings, tables)
    if "prices" in tables and settings.risk.source == "prices" and settings.risk.after_as_of == "refuse":
        dates = tables["prices"]["date"]
        late = dates[dates > as_of]
        if len(late):
            first = late.idxmin()
            yield Breach(
                file_name(tables, "prices"),
                int(str(first)),
                "date",
                f"{late.min():%Y-%m-%d}",
                f"is after as_of = {settings.book.as_of} ({len(late)} rows are)",
                'remove them, or set risk.after_as_of = "cut" to leave them out',
            )


def _old_prices(settings: Settings, tables: Tables) -> Iterator[Breach]:
    """Prices of holdings.csv by their own dates: none after as_of, none too old to trade at."""
    holdings, today, days = tables["holdings"], settings.book.as_of, settings.risk.max_age_days
    if "price_date" not in holdings:
        return
    dates = holdings["price_date"].dropna()
    for row, date in dates.items():
        age = (today - date.date()).days
        if age < 0:
            yield _late(file_name(tables, "holdings"), int(str(row)), "price_date", date, today)
        elif age > days:
            rule = f"is {age} days before as_of = {today}"
            cure = f"bring the price up to date, or raise risk.max_age_days above {days}"
            yield Breach(file_name(tables, "holdings"), int(str(row)), "price_date", f"{date:%Y-%m-%d}", rule, cure)


def _late(table: str, row: int, column: str, date: object, as_of: dt.date) -> Breach:
    return Breach(
        table, row, column, f"{date:%Y-%m-%d}", f"is after as_of = {as_of}", "correct the date, or move as_of forward"
    )


def _currencies(settings: Settings, tables: Tables) -> Iterator[Breach]:
    holdings, home = tables["holdings"], settings.book.currency
    known = {home} | (set(tables["fx"]["currency"]) if "fx" in tables else set())
    for row, currency in holdings["currency"][~holdings["currency"].isin(known)].items():
        yield Breach(
            file_name(tables, "holdings"),
            int(str(row)),
            "currency",
            currency,
            f"has no rate to {home}",
            f"add {currency} to fx.csv, in {home} for one {currency}",
        )
    if "fx" in tables:
        fx = tables["fx"]
        for row, rate in fx["rate"][(fx["currency"] == home) & (fx["rate"] != 1)].items():
            yield Breach(
                file_name(tables, "fx"), int(str(row)), "rate", f"{rate:g}", f"one {home} is 1 {home}", "remove the row"
            )


def _one_price(tables: Tables) -> Iterator[Breach]:
    holdings = tables["holdings"]
    columns = ["price", "currency", *(["lot_size"] if "lot_size" in holdings else [])]
    for column in columns:
        first = holdings.groupby("instrument")[column].transform("first")
        for row in holdings.index[holdings[column] != first]:
            yield Breach(
                file_name(tables, "holdings"),
                int(row),
                column,
                str(holdings.loc[row, column]),
                f"differs from another row of {holdings.loc[row, 'instrument']} ({first[row]})",
                "one instrument has one price, currency and lot size in all accounts",
            )


def check_cash(settings: Settings, tables: Tables) -> Iterator[Breach]:
    """That there is one cash instrument, at price 1 in the book's currency, and something besides."""
    exposures = tables["exposures"]
    cash = exposures.loc[exposures["bucket"] == "cash"]
    if len(cash) != 1:
        yield Breach(
            file_name(tables, "exposures"),
            None,
            "bucket",
            None,
            f"{len(cash)} rows have bucket 'cash'",
            "exactly one instrument is the account's cash; money-market funds are 'neutral'",
        )
    if len(exposures) == len(cash):
        yield Breach(
            file_name(tables, "exposures"), None, "bucket", None, "there is nothing but cash", "add an instrument"
        )
    if len(cash) != 1 or "holdings" not in tables:
        return
    holdings = tables["holdings"]
    for row, held in holdings.loc[holdings["instrument"] == cash["instrument"].iloc[0]].iterrows():
        place = (file_name(tables, "holdings"), int(str(row)))
        if held["price"] != 1:
            yield Breach(*place, "price", f"{held['price']:g}", "cash has price 1", "put the amount into quantity")
        if held["currency"] != settings.book.currency:
            yield Breach(
                *place,
                "currency",
                held["currency"],
                f"cash is in the book's currency {settings.book.currency}",
                "convert it, or hold foreign cash as a 'neutral' instrument",
            )
