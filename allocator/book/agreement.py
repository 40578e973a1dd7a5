"""What several tables and `book.toml` must agree on: the rules that no single table's contract can see.

What the mandate stands on is in `footing.py` (names) and `columns.py` (numbers). Each function looks at one agreement
and yields its breaches; a table that already broke its own contract is given and yet absent here, and the agreements
that need it are left for the next run.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd

from allocator.book.columns import Tables, breaches_of_benchmark, breaches_of_columns, breaches_of_factors, name_of
from allocator.book.evidence import breaches_of_evidence
from allocator.book.footing import breaches_of_names, breaches_of_words
from allocator.book.sections import Settings
from allocator.book.settings import dotted, idle_keys
from allocator.errors import Breach, did_you_mean

OLDEST_RATE = 31
"""Days that a rate of fx.csv may be older than as_of."""
LEAST_VALUE, MOST_VALUE = 0.01, 1e15
"""What an account may be worth; beyond, a cent is lost in the digits of a number."""


def breaches_of(settings: Settings, tables: Tables, account: str | None, given: Collection[str]) -> list[Breach]:
    """Every disagreement between the tables and the settings; `given` names the tables that are there, sound or not."""
    found = [*_probabilities(settings), *_scenario_names(settings), *breaches_of_words(settings), *_idle(settings)]
    found += [*_risk_tables(settings, tables, given), *breaches_of_evidence(settings, tables, given)]
    found += breaches_of_benchmark(settings, given)
    if "holdings" in tables:
        found += [*_account(tables, account), *_dates(settings, tables), *_one_price(tables)]
        found += [*_worth_something(tables, account)]
        if "fx" in tables or "fx" not in given:
            found += [*_currencies(settings, tables), *_countable(settings, tables, account)]
    if "exposures" in tables:
        found += [*_cash(settings, tables), *_risk_columns(settings, tables)]
        found += [*breaches_of_names(settings, tables), *breaches_of_columns(settings, tables, given)]
        found += _same_instruments(tables)
    if "scenario_returns" in tables:
        found += [*_scenarios(settings, tables), *_plausible_returns(settings, tables)]
    if "benchmark" in tables:
        found += _sums_to_one(tables)
    if "covariance" in tables:
        found += _covariance(tables)
    if "factors" in tables:
        found += breaches_of_factors(tables)
    return found


def _instruments(tables: Tables) -> list[str]:
    return list(tables["exposures"]["instrument"])


def _probabilities(settings: Settings) -> Iterator[Breach]:
    total = sum(scenario.probability for scenario in settings.scenarios.values())
    if abs(total - 1) > 1e-9:
        yield Breach(
            "book.toml",
            None,
            "scenarios.*.probability",
            f"{total:.10g}",
            "probabilities must sum to 1",
            f"the sum is {total:.10g}: {'raise' if total < 1 else 'lower'} them by {abs(1 - total):.4g} in all",
        )


def _scenario_names(settings: Settings) -> Iterator[Breach]:
    for name in settings.scenarios:
        if name.casefold() in _NOT_SCENARIOS:
            yield Breach(
                "book.toml",
                None,
                dotted("scenarios", name),
                name,
                "is the name of another column of scenario_returns.csv",
                "give the scenario another name, here and there",
            )


_NOT_SCENARIOS = ("instrument", "source")
"""Columns of scenario_returns.csv that are no scenarios."""


def _idle(settings: Settings) -> Iterator[Breach]:
    for (section, key), _, reason in idle_keys(settings.model_dump(exclude_unset=True)):
        value = getattr(getattr(settings, section), key)
        if value is not None:
            yield Breach(
                "book.toml",
                None,
                dotted(section, key),
                f"{value:g}" if isinstance(value, float) else str(value),
                f"has no effect with {reason}",
                "remove it",
            )


def _account(tables: Tables, account: str | None) -> Iterator[Breach]:
    accounts = list(dict.fromkeys(tables["holdings"]["account"]))
    if account is None and len(accounts) > 1:
        yield Breach(
            name_of(tables, "holdings"),
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
            name_of(tables, "holdings"),
            None,
            "quantity",
            None,
            "the account holds nothing",
            "enter what is held; money to invest is a quantity of cash",
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
            name_of(tables, "holdings"),
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
            name_of(tables, "holdings"),
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
                yield _late(name_of(tables, table), int(str(row)), column, date, settings.book.as_of)
    if "fx" in tables:
        oldest = as_of - pd.Timedelta(days=OLDEST_RATE)
        for row, date in tables["fx"]["date"][tables["fx"]["date"] < oldest].items():
            yield Breach(
                name_of(tables, "fx"),
                int(str(row)),
                "date",
                f"{date:%Y-%m-%d}",
                f"is {(settings.book.as_of - date.date()).days} days before as_of = {settings.book.as_of}",
                f"bring the rate up to date: {OLDEST_RATE} days at most",
            )
    if "prices" in tables and settings.risk.source == "prices" and settings.risk.after_as_of == "refuse":
        dates = tables["prices"]["date"]
        late = dates[dates > as_of]
        if len(late):
            first = late.idxmin()
            yield Breach(
                name_of(tables, "prices"),
                int(str(first)),
                "date",
                f"{late.min():%Y-%m-%d}",
                f"is after as_of = {settings.book.as_of} ({len(late)} rows are)",
                'remove them, or set risk.after_as_of = "cut" to leave them out',
            )


def _late(table: str, row: int, column: str, date: object, as_of: dt.date) -> Breach:
    return Breach(
        table, row, column, f"{date:%Y-%m-%d}", f"is after as_of = {as_of}", "correct the date, or move as_of forward"
    )


def _currencies(settings: Settings, tables: Tables) -> Iterator[Breach]:
    holdings, home = tables["holdings"], settings.book.currency
    known = {home} | (set(tables["fx"]["currency"]) if "fx" in tables else set())
    for row, currency in holdings["currency"][~holdings["currency"].isin(known)].items():
        yield Breach(
            name_of(tables, "holdings"),
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
                name_of(tables, "fx"), int(str(row)), "rate", f"{rate:g}", f"one {home} is 1 {home}", "remove the row"
            )


def _one_price(tables: Tables) -> Iterator[Breach]:
    holdings = tables["holdings"]
    columns = ["price", "currency", *(["lot_size"] if "lot_size" in holdings else [])]
    for column in columns:
        first = holdings.groupby("instrument")[column].transform("first")
        for row in holdings.index[holdings[column] != first]:
            yield Breach(
                name_of(tables, "holdings"),
                int(row),
                column,
                str(holdings.loc[row, column]),
                f"differs from another row of {holdings.loc[row, 'instrument']} ({first[row]})",
                "one instrument has one price, currency and lot size in all accounts",
            )


def _cash(settings: Settings, tables: Tables) -> Iterator[Breach]:
    exposures = tables["exposures"]
    cash = exposures.loc[exposures["bucket"] == "cash"]
    if len(cash) != 1:
        yield Breach(
            name_of(tables, "exposures"),
            None,
            "bucket",
            None,
            f"{len(cash)} rows have bucket 'cash'",
            "exactly one instrument is the account's cash; money-market funds are 'neutral'",
        )
    if len(exposures) == len(cash):
        yield Breach(
            name_of(tables, "exposures"), None, "bucket", None, "there is nothing but cash", "add an instrument"
        )
    if len(cash) != 1 or "holdings" not in tables:
        return
    holdings = tables["holdings"]
    for row, held in holdings.loc[holdings["instrument"] == cash["instrument"].iloc[0]].iterrows():
        place = (name_of(tables, "holdings"), int(str(row)))
        if held["price"] != 1:
            yield Breach(*place, "price", f"{held['price']:g}", "cash has price 1", "put the amount into quantity")
        if held["currency"] != settings.book.currency:
            yield Breach(
                *place,
                "currency",
                held["currency"],
                f"cash is in the book's currency {settings.book.currency}",
                "convert it, or hold foreign money as a 'neutral' instrument",
            )


def _risk_columns(settings: Settings, tables: Tables) -> Iterator[Breach]:
    risk = settings.risk
    exposures = tables["exposures"]
    if risk.source == "exposures" or (risk.source == "prices" and risk.late_listings == "beta"):
        risky = exposures.loc[exposures["bucket"] != "cash"]
        for column in ("beta", "idiosyncratic_volatility"):
            if column not in exposures:
                yield Breach(
                    name_of(tables, "exposures"),
                    None,
                    column,
                    None,
                    f"risk.source = '{risk.source}' needs it",
                    "add the column, or give prices.csv or covariance.csv and say so in risk.source",
                )
                continue
            for row in risky.index[risky[column].isna()] if risk.source == "exposures" else ():
                yield Breach(
                    name_of(tables, "exposures"),
                    int(row),
                    column,
                    "",
                    "must not be blank",
                    f"risk.source = 'exposures' needs it for {risky.loc[row, 'instrument']}",
                )


def _risk_tables(settings: Settings, tables: Tables, given: Collection[str]) -> Iterator[Breach]:
    """The table that risk comes from is there; a table that it could come from is not left aside in silence."""
    risk = settings.risk
    for table in ("prices", "covariance"):
        if risk.source == table and table not in given:
            yield Breach(
                "book.toml",
                None,
                "risk.source",
                table,
                f"needs {table}.csv",
                f'add {table}.csv, or set risk.source = "exposures"',
            )
        if risk.source != table and table in given and "source" not in risk.model_fields_set:
            named = name_of(tables, table) if table in tables else f"{table}.csv"
            yield Breach(
                "book.toml",
                None,
                "risk.source",
                None,
                f"must be stated, because {named} is there",
                f'write source = "{table}" to use it, or source = "exposures" to leave it aside',
            )


def _same_instruments(tables: Tables) -> Iterator[Breach]:
    instruments = _instruments(tables)
    cash = set(tables["exposures"].loc[tables["exposures"]["bucket"] == "cash", "instrument"])
    where = name_of(tables, "exposures")
    for table in ("holdings", "scenario_returns", "benchmark", "covariance", "factors"):
        if table not in tables:
            continue
        own = tables[table]["instrument"]
        for row, name in own[~own.isin(instruments)].items():
            yield Breach(
                name_of(tables, table),
                int(str(row)),
                "instrument",
                name,
                f"is not in {where}",
                did_you_mean(name, instruments),
            )
        cures = {
            "holdings": "add a row with today's price, quantity 0 if it is not held",
            "covariance": "add its row",
            "factors": "add its row",
        }
        wanted = set(instruments) - (set() if table == "holdings" else cash)
        for name in sorted(wanted - set(own)) if table in cures else ():
            yield Breach(name_of(tables, table), None, "instrument", name, "has no row here", cures[table])
    for table in ("prices", "covariance"):
        if table in tables:
            yield from _columns(tables, table, instruments, cash)


def _columns(tables: Tables, table: str, instruments: list[str], cash: set[str]) -> Iterator[Breach]:
    frame = tables[table]
    if table == "prices" and set(frame.columns) == {"date", "instrument", "price"}:
        own = set(frame["instrument"])
    else:
        own = set(frame.columns) - {"date", "instrument"}
    for name in sorted(own - set(instruments)):
        yield Breach(
            name_of(tables, table),
            None,
            name,
            None,
            f"is not in {name_of(tables, 'exposures')}",
            f"{did_you_mean(name, instruments)} Else remove the column",
        )
    for name in sorted(set(instruments) - cash - own):
        yield Breach(name_of(tables, table), None, name, None, "has no column here", "add it")


def _scenarios(settings: Settings, tables: Tables) -> Iterator[Breach]:
    columns = [column for column in tables["scenario_returns"].columns if column not in _NOT_SCENARIOS]
    table = name_of(tables, "scenario_returns")
    missing = [name for name in settings.scenarios if name not in columns and name.casefold() not in _NOT_SCENARIOS]
    unknown = [name for name in columns if name not in settings.scenarios]
    for name in missing:
        cure = did_you_mean(name, unknown) if unknown else "add it"
        yield Breach(table, None, name, None, "this scenario of book.toml has no column", cure)
    for name in unknown:
        cure = did_you_mean(name, missing) if missing else f"remove it, or add [scenarios.{name}] to book.toml"
        yield Breach(table, None, name, None, "this column is no scenario of book.toml", cure)


def _plausible_returns(settings: Settings, tables: Tables) -> Iterator[Breach]:
    returns, table = tables["scenario_returns"], name_of(tables, "scenario_returns")
    cash: set[str] = set()
    if "exposures" in tables:
        exposures = tables["exposures"]
        cash = set(exposures.loc[exposures["bucket"] == "cash", "instrument"])
    for name in settings.scenarios:
        if name not in returns or name in _NOT_SCENARIOS:
            continue
        values = returns[name]
        big = int((values.abs() > 1).sum())
        if len(values) > 2 and big > len(values) / 2:
            yield Breach(
                table,
                None,
                name,
                None,
                f"{big} of {len(values)} returns are beyond 100 %",
                "prices or percent where returns belong? write +12 % as 0.12",
            )
        limit = 0.3 * max(1.0, settings.horizon.months / 12)
        for row in values.index[returns["instrument"].isin(cash) & (values.abs() > limit)]:
            yield Breach(
                table,
                int(row),
                name,
                f"{values[row]:g}",
                f"cash does not return more than {limit:.0%}",
                "percent where a fraction belongs? write 4 % as 0.04",
            )


def _sums_to_one(tables: Tables) -> Iterator[Breach]:
    total = float(tables["benchmark"]["weight"].sum())
    if abs(total - 1) > 1e-6:
        yield Breach(
            name_of(tables, "benchmark"),
            None,
            "weight",
            f"{total:.8g}",
            "weights must sum to 1",
            f"the sum is {total:.8g}; cash is a row like any other",
        )


def _covariance(tables: Tables) -> Iterator[Breach]:
    frame, table = tables["covariance"], name_of(tables, "covariance")
    names = list(frame["instrument"])
    if set(frame.columns) - {"instrument"} != set(names):
        for name in sorted(set(names) ^ (set(frame.columns) - {"instrument"})):
            yield Breach(table, None, name, None, "has a row or a column, not both", "a covariance is square")
        return
    square = frame.set_index("instrument").loc[names, names].to_numpy(dtype=float)
    scale = float(np.abs(square).max())
    rows, columns = np.nonzero(np.triu(np.abs(square - square.T) > 1e-9 * scale))
    for first, second in zip(rows[:10], columns[:10], strict=True):
        yield Breach(
            table,
            int(frame.index[first]),
            names[second],
            f"{square[first, second]:g}",
            f"differs from its mirror image {square[second, first]:g}",
            "a covariance is symmetric",
        )
    if len(rows) == 0 and (least := float(np.linalg.eigvalsh(square)[0])) < -1e-8 * scale:
        yield Breach(
            table,
            None,
            None,
            f"{least:.3g}",
            "has a negative eigenvalue: no portfolio has negative variance",
            "estimate it from complete rows, or give prices.csv instead",
        )
