"""What tables must agree on: holdings with rates, dates and cash; estimates with the instruments of exposures.csv."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from allocator.book.checks.draft import Draft
from allocator.book.price_history import is_long
from allocator.errors import Breach, closest_name, did_you_mean, setting_breach
from allocator.tables.validation import MINOR_UNITS
from allocator.types import Matrix

OLDEST_RATE = 31
"""Days that a rate of fx.csv may be older than as_of."""
RATES_APART = 0.05
"""Between a currency and its hundredths, which may be quoted on different days."""
LEAST_VALUE, MOST_VALUE = 0.01, 1e15
"""What an account may be worth; beyond, a cent is lost in the digits of a number."""
NOT_SCENARIOS = ("instrument", "source")
"""Columns of scenario_returns.csv that are no scenarios."""


def check_account(draft: Draft) -> Iterator[Breach]:
    """Which account is meant."""
    accounts = list(dict.fromkeys(draft.tables["holdings"]["account"]))
    if draft.account is None and len(accounts) > 1:
        cure = f"say which with --account: {', '.join(accounts)}"
        yield draft.column_breach("holdings", "account", f"holds {len(accounts)} accounts and none is chosen", cure)
    if draft.account is not None and draft.account not in accounts:
        cure = did_you_mean(str(draft.account), accounts)
        yield Breach.of("--account", "no such account in holdings.csv", cure, value=str(draft.account))


def check_dates(draft: Draft) -> Iterator[Breach]:
    """That nothing is later than as_of, and no rate of long before."""
    tables, as_of = draft.tables, draft.settings.book.as_of
    today = pd.Timestamp(as_of)
    for table, column in (("holdings", "acquired"), ("fx", "date")):
        if column in tables.get(table, ()):
            for row in draft.rows(table, tables[table][column] > today):
                yield row.breach(column, f"is after as_of = {as_of}", "correct the date, or move as_of forward")
    if "fx" in tables:
        for row in draft.rows("fx", tables["fx"]["date"] < pd.Timestamp(as_of - dt.timedelta(days=OLDEST_RATE))):
            rule = f"is more than {OLDEST_RATE} days before as_of = {as_of}"
            yield row.breach("date", rule, "bring the rate up to date")
    yield from _old_prices(draft)
    risk = draft.settings.risk
    if "prices" in tables and risk.source == "prices" and risk.after_as_of == "refuse":
        dates = tables["prices"]["date"]
        late = dates[dates > today]
        if len(late):
            place = (draft.name("prices"), int(str(late.idxmin())), "date", f"{late.min():%Y-%m-%d}")
            cure = 'remove them, or set risk.after_as_of = "cut" to leave them out'
            yield Breach(*place, f"is after as_of = {as_of} ({len(late)} rows are)", cure)


def _old_prices(draft: Draft) -> Iterator[Breach]:
    """Prices of holdings.csv by their own dates: none after as_of, none too old to trade at."""
    holdings, today, days = draft.tables["holdings"], draft.settings.book.as_of, draft.settings.risk.max_age_days
    if "price_date" not in holdings:
        return
    for row in draft.rows("holdings", holdings["price_date"] > pd.Timestamp(today)):
        yield row.breach("price_date", f"is after as_of = {today}", "correct the date, or move as_of forward")
    for row in draft.rows("holdings", holdings["price_date"] < pd.Timestamp(today - dt.timedelta(days=days))):
        rule = f"is more than {days} days before as_of = {today}"
        yield row.breach("price_date", rule, "bring the price up to date, or raise risk.max_age_days", named=True)


def check_one_price(draft: Draft) -> Iterator[Breach]:
    """That accounts do not differ in what belongs to an instrument."""
    holdings = draft.tables["holdings"]
    for column in ("price", "currency", *(("lot_size",) if "lot_size" in holdings else ())):
        first = holdings.groupby("instrument")[column].transform("first")
        if (holdings[column] != first).any():  # what most rows say, or the first of as many
            said = (
                holdings.groupby(["instrument", column], sort=False).size().sort_values(ascending=False, kind="stable")
            )
            usual = said.index.to_frame(index=False).drop_duplicates("instrument").set_index("instrument")[column]
            first = holdings["instrument"].map(usual)
        for row in draft.rows("holdings", holdings[column] != first):
            rule = f"differs from another row of {row['instrument']} ({first[row.line]})"
            cure = "one instrument has one price, currency and lot size in all accounts"
            yield row.breach(column, rule, cure, str(row[column]))


def _own_holdings(draft: Draft) -> pd.DataFrame:
    holdings = draft.tables["holdings"]
    return holdings if draft.account is None else holdings.loc[holdings["account"] == draft.account]


def check_something_is_held(draft: Draft) -> Iterator[Breach]:
    """That the account is not empty."""
    own = _own_holdings(draft)
    if len(own) and not (own["quantity"] > 0).any() and draft.settings.cash.flow <= 0:
        cure = "enter what is held; an amount to invest is a quantity of cash, or cash.paid_in"
        yield draft.column_breach("holdings", "quantity", "the account holds nothing", cure)


def check_currencies(draft: Draft) -> Iterator[Breach]:
    """That every currency has a rate, and the book's own none but 1."""
    home, rates = draft.settings.book.currency, draft.rates
    if rates is None:
        return
    for row in draft.rows("holdings", ~draft.tables["holdings"]["currency"].isin(rates)):
        currency, rule = row["currency"], f"has no rate to {home}"
        cure = f"add {currency} to fx.csv, in {home} for one {currency}"
        if (unit := MINOR_UNITS.get(currency)) is not None:
            rule = f"is 1/{unit.count} {unit.major} and {rule}"
            at = f" at {1 / unit.count:g}" if unit.major == home else f", in {home} for one {currency}"
            cure = f"divide the price by {unit.count} and write {unit.major}, or add {currency} to fx.csv{at}"
        yield row.breach("currency", rule, cure)
    if "fx" in draft.tables:
        fx = draft.tables["fx"]
        for row in draft.rows("fx", (fx["currency"] == home) & (fx["rate"] != 1)):
            yield row.breach("rate", f"one {home} is 1 {home}", "remove the row")
        yield from _minor_rates(draft, rates)


def _minor_rates(draft: Draft, rates: Mapping[str, float]) -> Iterator[Breach]:
    """A hundredth costs a hundredth of its currency: to the digit where that is the book's, else as of another hour."""
    home, fx = draft.settings.book.currency, draft.tables["fx"]
    for code, unit in MINOR_UNITS.items():
        if code == unit.code and {code, unit.major} <= {*rates}:
            stated, due = (code, rates[unit.major] / unit.count)
            if code == home:
                stated, due = (unit.major, float(unit.count))
            room = 1e-6 if home in (code, unit.major) else RATES_APART
            for row in draft.rows("fx", (fx["currency"] == stated) & ((fx["rate"] / due - 1).abs() > room)):
                yield row.breach("rate", f"one {code} is 1/{unit.count} {unit.major}", f"write {due:.10g}")


def check_value(draft: Draft) -> Iterator[Breach]:
    """What the account is worth, and how many lots that is, must be numbers that money is counted in."""
    own, home = _own_holdings(draft), draft.settings.book.currency
    flow = draft.settings.cash
    if draft.rates is None or not ((own["quantity"] > 0).any() or flow.flow > 0):
        return  # said elsewhere
    price = own["price"] * own["currency"].map(draft.rates)
    if price.isna().any():
        return  # said elsewhere
    held = float((own["quantity"] * price).sum())
    worth = held + flow.flow
    if flow.paid_out and worth < LEAST_VALUE <= held:
        rule = f"is all that there is: the account is worth {held + flow.paid_in:,.2f} {home}"
        yield setting_breach("cash.paid_out", f"{flow.paid_out:.12g}", rule, "pay out less than that")
        return
    if not LEAST_VALUE <= worth <= MOST_VALUE:
        rule = f"the account must be worth from {LEAST_VALUE:g} to {MOST_VALUE:g} {home}"
        cure = "correct quantities, prices and rates: is one of them in another unit?"
        yield draft.column_breach("holdings", "quantity", rule, cure, f"{worth:.4g}")
        return
    lot = (price * own.get("lot_size", 1.0)).reindex(draft.tables["holdings"].index)
    for row in draft.rows("holdings", (lot > 0) & (lot < worth / 1e15)):
        rule = "a lot is worth so little that the account's lots cannot be counted"
        yield row.breach("price", rule, "correct the price, the lot size or the rate")


def check_worthless(draft: Draft) -> Iterator[Breach]:
    """A price of 0 is a name that nobody pays for: held as it is, or given away, and nothing between."""
    mandate, holdings = draft.settings.mandate, draft.tables["holdings"]
    settled = {*mandate.locked, *mandate.forbidden, *draft.classification.unclassified}
    for row in draft.rows("holdings", (holdings["price"] == 0) & ~holdings["instrument"].isin(settled)):
        name = row["instrument"]
        cure = f"write the price of one unit; or put {name!r} into mandate.locked to hold it at 0, "
        yield row.breach("price", "must be above 0", f"{cure}or into mandate.forbidden to give it away at 0")


def check_cash(draft: Draft) -> Iterator[Breach]:
    """That there is one cash instrument, at price 1 in the book's currency, and something besides."""
    everyone, home = draft.tables["exposures"], draft.settings.book.currency
    cash = everyone.loc[everyone["bucket"] == "cash"]
    if len(cash) != 1:
        cure = "exactly one instrument is the account's cash; money-market funds have another bucket"
        yield draft.column_breach("exposures", "bucket", f"{len(cash)} rows have bucket 'cash'", cure)
    if not len(draft.risky):
        yield draft.column_breach("exposures", "bucket", "there is nothing but cash", "add an instrument")
    if len(cash) != 1 or "holdings" not in draft.tables:
        return
    for row in draft.rows("holdings", draft.tables["holdings"]["instrument"].isin(draft.cash)):
        if row["price"] != 1:
            yield row.breach("price", "cash has price 1", "put the amount into quantity")
        if row["currency"] != home:
            cure = f"convert it, or hold foreign cash as a {draft.settings.buckets.names[-1]!r} instrument"
            yield row.breach("currency", f"cash is in the book's currency {home}", cure)


def missing_risk_table(table: str) -> tuple[str, str]:
    """What is wrong where risk comes from a table that is not there, and the cure."""
    return f"needs {table}.csv", f'add {table}.csv, or set risk.source = "exposures"'


def check_risk_tables(draft: Draft) -> Iterator[Breach]:
    """The table that risk comes from is there; a table that it could come from is not left aside in silence."""
    risk = draft.settings.risk
    for table in ("prices", "covariance"):
        if risk.source == table and table not in draft.given:
            yield setting_breach("risk.source", table, *missing_risk_table(table))
        if risk.source != table and table in draft.given and "source" not in risk.model_fields_set:
            named = draft.name(table) if table in draft.tables else f"{table}.csv"
            cure = f'write source = "{table}" to use it, or source = "exposures" to leave it aside'
            yield setting_breach("risk.source", None, f"must be stated, because {named} is there", cure)
    if risk.source == "none":
        yield from _left_out(draft)


def _left_out(draft: Draft) -> Iterator[Breach]:
    """What asks for risk within scenarios in a book that has none, and columns of it that nothing reads."""
    settings, mandate = draft.settings, draft.settings.mandate
    exposures, columns = draft.tables.get("exposures"), ("beta", "idiosyncratic_volatility")
    stated = "risk" in settings.model_fields_set
    if not stated and exposures is not None and all(map(draft.states, columns)):
        cure = 'add [risk] with source = "exposures" and market_volatility, or source = "none" to leave them aside'
        rule = f"must be stated, because {draft.name('exposures')} has beta and idiosyncratic_volatility"
        yield setting_breach("risk", None, rule, cure)
        return
    wanted = {
        "max_volatility": mandate.max_volatility is not None,
        "max_tracking_error": mandate.max_tracking_error is not None,
        "step_risk": mandate.step_risk > 0,
        "risk_aversion": "risk_aversion" in mandate.model_fields_set and mandate.risk_aversion > 0,
        "objective": not mandate.traits.uses_returns,
    }
    for key, really in wanted.items():
        if really:
            missing = "risk.source is none" if stated else "the book has no [risk]"
            cure = "choose another risk.source" if stated else "add [risk] with the source that it comes from"
            rule, cure = f"asks for risk within scenarios, and {missing}", f"{cure}, or remove the key"
            yield setting_breach(f"mandate.{key}", getattr(mandate, key), rule, cure)


def check_risk_columns(draft: Draft) -> Iterator[Breach]:
    """The columns that risk comes from are there, and filled where it comes from nothing else."""
    risk = draft.settings.risk
    if risk.source != "exposures" and not (risk.source == "prices" and risk.late_listings == "beta"):
        return
    everyone = draft.tables["exposures"]
    for column in ("beta", "idiosyncratic_volatility"):
        if column not in everyone:
            cure = "add the column, or give prices.csv or covariance.csv and say so in risk.source"
            yield draft.column_breach("exposures", column, f"risk.source = '{risk.source}' needs it", cure)
        elif risk.source == "exposures":
            for row in draft.rows("exposures", everyone[column].isna() & (everyone["bucket"] != "cash")):
                yield row.breach(column, "must not be blank", "risk.source = 'exposures' needs it", named=True)


_ADD_ROW = {
    "holdings": "add a row with today's price, quantity 0 if it is not held",
    "covariance": "add its row",
    "factors": "add its row",
}
"""Tables that want a row for every instrument but cash, and the cure where one is missing."""


def check_same_instruments(draft: Draft) -> Iterator[Breach]:
    """That tables speak of the instruments of exposures.csv, and those that must of all."""
    known, where = draft.instruments, f"is not in {draft.name('exposures')}"
    for table in ("holdings", "scenario_returns", "benchmark", "covariance", "factors"):
        if table in draft.tables:
            own = draft.tables[table]["instrument"]
            buckets = [*draft.settings.buckets.names, "cash"] if table == "scenario_returns" else []
            for row in draft.rows(table, ~own.isin([*known, *buckets])):
                near = closest_name(row["instrument"], [*known, *buckets])
                cure = f"did you mean {near!r}?" if near else f"add it to {draft.name('exposures')}, or remove the row"
                yield row.breach("instrument", where, cure)
            for name in sorted({*known} - draft.cash - {*own} if table in _ADD_ROW else ()):
                yield draft.column_breach(table, "instrument", "has no row here", _ADD_ROW[table], name)
    for table in ("prices", "covariance"):
        if table in draft.tables:
            frame = draft.tables[table]
            long = table == "prices" and is_long(frame)
            named = {*frame["instrument"]} if long else {*frame.columns} - {"date", "instrument"}
            for name in sorted(named - {*known}):
                cure = f"{did_you_mean(name, known)} Else remove {'its rows' if long else 'the column'}"
                yield draft.column_breach(table, name, where, cure)
            for name in sorted({*known} - draft.cash - named):
                yield draft.column_breach(table, name, f"has no {'rows' if long else 'column'} here", "add it")


def check_scenario_columns(draft: Draft) -> Iterator[Breach]:
    """That scenario_returns.csv has a column for each scenario, and no other."""
    table, scenarios = "scenario_returns", draft.settings.scenarios
    columns = [column for column in draft.tables[table].columns if column not in NOT_SCENARIOS]
    there = {*columns}
    missing = [name for name in scenarios if name not in there and name.casefold() not in NOT_SCENARIOS]
    unknown = [name for name in columns if name not in scenarios]
    for name in missing:
        cure = did_you_mean(name, unknown) if unknown else "add it"
        yield draft.column_breach(table, name, "this scenario of book.toml has no column", cure)
    for name in unknown:
        cure = did_you_mean(name, missing) if missing else f"remove it, or add [scenarios.{name}] to book.toml"
        yield draft.column_breach(table, name, "this column is no scenario of book.toml", cure)


def check_plausible_returns(draft: Draft) -> Iterator[Breach]:
    """That what stands in scenario_returns.csv can be returns: no prices, no percent."""
    table = "scenario_returns"
    returns, limit = draft.tables[table], 0.3 * max(1.0, draft.settings.years)
    scenarios = [name for name in draft.settings.scenarios if name in returns and name not in NOT_SCENARIOS]
    sizes, cash = np.abs(returns[scenarios].to_numpy(dtype=np.float64)), returns["instrument"].isin(draft.cash)
    counts, beyond = (sizes > 1).sum(axis=0), cash.to_numpy()[:, None] & (sizes > limit)
    most = (len(sizes) > 2) & (counts > len(sizes) / 2)
    for i in np.flatnonzero(most | beyond.any(axis=0)):
        if most[i]:
            cure = "prices or percent where returns belong? write +12 % as 0.12"
            yield draft.column_breach(
                table, scenarios[i], f"{counts[i]} of {len(sizes)} returns are beyond 100 %", cure
            )
        for row in draft.rows(table, pd.Series(beyond[:, i], index=returns.index)):
            cure = "percent where a fraction belongs? write 4 % as 0.04"
            yield row.breach(scenarios[i], f"cash does not return more than {limit:.0%}", cure)


def check_benchmark_sum(draft: Draft) -> Iterator[Breach]:
    """That the benchmark is all of a portfolio."""
    total = float(draft.tables["benchmark"]["weight"].sum())
    if abs(total - 1) > 1e-6:
        cure = f"the sum is {total:.8g}; cash is a row like any other"
        yield draft.column_breach("benchmark", "weight", "weights must sum to 1", cure, f"{total:.8g}")


def check_covariance(draft: Draft) -> Iterator[Breach]:
    """That the covariance is one: square, symmetric, and of no negative variance."""
    frame, table = draft.tables["covariance"], draft.name("covariance")
    names, columns = list(frame["instrument"]), {*frame.columns} - {"instrument"}
    if columns != {*names}:
        for name in sorted({*names} ^ columns):
            yield Breach.of(table, "has a row or a column, not both", "a covariance is square", column=name)
        return
    square = frame.set_index("instrument").loc[names, names].to_numpy(dtype=float)
    scale = float(np.abs(square).max())
    skewed = np.argwhere(np.triu(np.abs(square - square.T) > 1e-9 * scale))
    for i, j in skewed[:10]:
        told, rule = f"{square[i, j]:g} against {square[j, i]:g}", "differs from its mirror image"
        yield Breach(table, int(frame.index[i]), names[j], told, rule, "a covariance is symmetric")
    if len(skewed) == 0 and (least := float(np.linalg.eigvalsh(square)[0])) < -1e-8 * scale:
        rule = "has a negative eigenvalue: no portfolio has negative variance"
        yield Breach.of(table, rule, _indefinite_cure(square, least, 1e-8 * scale), value=f"{least:.3g}")


def _indefinite_cure(square: Matrix, least: float, allowed: float) -> str:
    """Whether rounding of the entries explains an eigenvalue (by Weyl at most n halves of the last digit)."""
    digits = max(_decimals(value) for value in square.ravel())
    explained = len(square) * 0.5 * 10.0**-digits
    if digits > MOST_DECIMALS or -least > explained:
        return "estimate it from complete rows, or give prices.csv instead"
    wanted = int(np.ceil(-np.log10(allowed / (0.5 * len(square)))))
    told = f"its entries are rounded to {digits} decimals, which alone explains down to -{explained:.2g}"
    return f"{told}: write at least {wanted} decimals"


MOST_DECIMALS = 12
"""Entries with more are not rounded ones."""


def _decimals(value: float) -> int:
    """Digits behind the point that write a number exactly as it was read."""
    return next((digits for digits in range(MOST_DECIMALS + 1) if round(value, digits) == value), MOST_DECIMALS + 1)
