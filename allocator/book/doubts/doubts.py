"""Every doubt about a book: its levels and rates, a given covariance, and prices as they are used (`prices.py`)."""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from allocator.book.checks.draft import Doubt, Draft, unconfirmed
from allocator.book.doubts.prices import PriceTable, price_doubts
from allocator.book.price_history import prices_by_day
from allocator.errors import Breach
from allocator.settings.settings import Settings
from allocator.tables.schema import sample_books_folder
from allocator.tables.validation import MINOR_UNITS
from allocator.types import Matrix, Vector

RETURNS_TABLE = "returns"
"""What confirmations call a host's table of returns, which is looked at when it is given."""


def check_doubts(draft: Draft, *, needless: bool = True) -> Iterator[Breach]:
    """What is improbable and not confirmed, and, if `needless`, what is confirmed and not in doubt.

    Of a table that is not of its contract nothing is known to be needless, nor of any without what they are told by,
    nor of prices of other days than are looked at here: a backtest looks at all, and at those of a file of its own.
    """
    unsound = set(draft.given) - set(draft.tables)
    unknown = set(draft.tables) if unsound & {"exposures", "fx"} else set()
    confirmed = draft.settings.confirm
    silent = unsound | unknown | {RETURNS_TABLE} if needless else {entry.table for entry in confirmed}
    days = _used_prices(draft).index if _looks_at_prices(draft) else pd.DatetimeIndex([])
    of_prices = (entry for entry in confirmed if entry.table == PriceTable.table)
    elsewhere = {entry.key for entry in of_prices if entry.date is None or pd.Timestamp(entry.date) not in days}
    yield from unconfirmed(_raised(draft), confirmed, silent | elsewhere)


def _looks_at_prices(draft: Draft) -> bool:
    return "prices" in draft.tables and draft.settings.risk.source == "prices"


def _raised(draft: Draft) -> Iterator[Doubt]:
    risk, tables = draft.settings.risk, draft.tables
    yield from level_doubts(draft)
    if "exposures" in tables and risk.source == "exposures":
        yield from volatility_doubts(draft)
    if "scenario_returns" in tables:
        yield from return_doubts(draft)
    if _looks_at_prices(draft):
        yield from price_doubts(_used_prices(draft), PriceTable(draft.name("prices")))
    if "covariance" in tables and risk.source == "covariance" and _is_square(tables["covariance"]):
        yield from covariance_doubts(draft)


def _is_square(covariance: pd.DataFrame) -> bool:
    return set(covariance.columns) - {"instrument"} == set(covariance["instrument"])


def _used_prices(draft: Draft) -> pd.DataFrame:
    """Dates × names up to as_of, the rows that `[risk]` counts back from there."""
    by_day = prices_by_day(draft.tables["prices"]).drop(columns=list(draft.cash), errors="ignore")
    until = by_day.loc[by_day.index <= pd.Timestamp(draft.settings.book.as_of)]
    return until.tail(int(draft.settings.risk.window_rows or 0) + 1)


# Levels of holdings and rates: another unit or quotation, a rate the other way round.
#
OLDEST_LEVEL = 31
"""Days: an older price says nothing of today's level."""
LEVEL = 1.5
"""A holding's price against the last one of its history, either way."""
PAR_QUOTED = 100.0
"""Bills and bonds are quoted per so much of their nominal value."""
PAR_RANGE = (50.0, 150.0)
"""Prices that may be per 100."""
BOND_VOLATILITY = 0.10
"""Annual: a name below it may be a bill or a bond."""
ROUND_NOMINAL = 1000.0
"""Nominal values are multiples of it."""
MOSTLY = 0.5
"""Of the account: what a position that is counted a hundredfold comes to."""
VALUE_APART = 0.01
"""Of a position: its market value may differ by this from quantity x price, as of another minute."""
CENT = 0.01
"""Of the currency: what a market value is rounded to."""
LARGE_RETURN, FAR_RETURN = 3.0, 8.0
"""A typed return beyond 300 %, and beyond so many times the median size of all of them, may be percent."""
RATE_FACTOR = 2.0
"""A rate may lie beyond what its currencies were ever worth by this factor, either way."""


def level_doubts(draft: Draft) -> Iterator[Doubt]:
    """Every doubt about the levels of holdings.csv and fx.csv."""
    if "fx" in draft.tables:
        yield from rate_doubts(draft.settings.book.currency, draft.tables["fx"], draft.name("fx"))
    if "holdings" not in draft.tables:
        return
    if "prices" in draft.tables:
        yield from _against_history(draft)
    if "market_value" in draft.tables["holdings"]:
        yield from _against_market_value(draft)
    if "exposures" in draft.tables and draft.rates is not None:
        yield from _per_hundred(draft, draft.rates)


def return_doubts(draft: Draft) -> Iterator[Doubt]:
    """Typed scenario returns that stand far beyond the others: percent where a fraction belongs."""
    returns, table = draft.tables["scenario_returns"], draft.name("scenario_returns")
    scenarios = [name for name in draft.settings.scenarios if name in returns and name not in ("instrument", "source")]
    sizes = np.abs(returns[scenarios].to_numpy(dtype=np.float64))
    usual = float(np.median(sizes)) if scenarios else 0.0
    risky = ~returns["instrument"].isin(draft.cash)
    beyond = risky.to_numpy()[:, None] & (sizes > LARGE_RETURN) & (sizes > FAR_RETURN * usual)
    beyond &= ~((sizes > 1).mean(axis=0) > 0.5)  # prices or percent throughout: said elsewhere
    for i in np.flatnonzero(beyond.any(axis=0)):
        scenario, far = scenarios[i], pd.Series(beyond[:, i], index=returns.index)
        for row in draft.rows("scenario_returns", far):
            rule = f"of {row['instrument']} is {row[scenario]:+.0%}, where half of all returns are below {usual:.1%}"
            cure = f"write {row[scenario]:g} % as {row[scenario] / 100:g}"
            place = (table, row.line, scenario, f"{row[scenario]:g}")
            yield Doubt("scenario_returns", "return", f"{row['instrument']}, {scenario}", None, *place, rule, cure)


def _against_history(draft: Draft) -> Iterator[Doubt]:
    """A holding's price against the last price row up to as_of."""
    last = _last_prices(draft.tables["prices"], draft.settings.book.as_of, draft.settings.risk.max_age_days)
    holdings = draft.tables["holdings"].drop_duplicates("instrument")
    for row, name, price in zip(holdings.index, holdings["instrument"], holdings["price"], strict=True):
        if name not in last or price == 0:
            continue
        day, quoted = last[name]
        if 1 / LEVEL <= price / quoted <= LEVEL:
            continue
        rule = f"is {_times(price / quoted)} its last price in {draft.name('prices')}, {quoted:g} on {day:%Y-%m-%d}"
        place = (draft.name("holdings"), int(row), "price", f"{price:g}")
        yield Doubt("holdings", "level", name, None, *place, rule, "write both in one unit and currency")


def _last_prices(prices: pd.DataFrame, as_of: dt.date, max_age_days: int) -> dict[str, tuple[pd.Timestamp, float]]:
    """Of each name the last day that has a price and the price, where that is recent enough to say anything."""
    until = pd.Timestamp(as_of)
    oldest = pd.Timestamp(as_of - dt.timedelta(days=min(max(max_age_days, 1), OLDEST_LEVEL)))
    recent = prices.loc[(prices["date"] <= until) & (prices["date"] >= oldest)]
    by_day = prices_by_day(recent)
    there = by_day.notna().to_numpy()
    if not len(by_day):
        return {}
    at, days, values = len(by_day) - 1 - there[::-1].argmax(axis=0), list(by_day.index), by_day.to_numpy()
    some = np.flatnonzero(there.any(axis=0)).tolist()
    return {str(by_day.columns[i]): (days[at[i]], float(values[at[i], i])) for i in some}


def _times(ratio: float) -> str:
    """0.001 is a thousandth of, 1.6 is 1.6 times."""
    powers = {10: "a tenth of", 100: "a hundredth of", 1000: "a thousandth of", 1_000_000: "a millionth of"}
    for power, words in powers.items():
        if abs(ratio * power - 1) < 0.1:
            return words
    return f"{ratio:.3g} times"


def _against_market_value(draft: Draft) -> Iterator[Doubt]:
    """quantity x price against the value that the same row states."""
    holdings, table = draft.tables["holdings"], draft.name("holdings")
    product = holdings["quantity"] * holdings["price"]
    room = np.maximum(VALUE_APART * holdings["market_value"], CENT)
    for row in holdings.index[(product - holdings["market_value"]).abs() > room]:  # blank ones compare false
        name = str(holdings.at[row, "instrument"])
        stated, price = float(holdings["market_value"][row]), float(holdings["price"][row])
        cure = "correct quantity, price or market_value"
        if abs(product[row] / PAR_QUOTED - stated) <= room[row]:
            cure = f"the price is per {PAR_QUOTED:g} of nominal value: write {price / PAR_QUOTED:g}"
        rule = f"is {stated:g}, and quantity x price is {product[row]:g}"
        yield Doubt("holdings", "market_value", name, None, table, int(row), "market_value", f"{stated:g}", rule, cure)


def _per_hundred(draft: Draft, rates: Mapping[str, float]) -> Iterator[Doubt]:
    """A quiet name with a round quantity and a price near 100 that is most of its account: a bill quoted per 100?"""
    holdings = draft.tables["holdings"]
    own = holdings if draft.account is None else holdings.loc[holdings["account"] == draft.account]
    if own.empty:
        return
    value = own["quantity"] * own["price"] * own["currency"].map(rates)
    share = value / value.groupby(own["account"]).transform("sum")
    odd = own["price"].between(*PAR_RANGE) & (share >= MOSTLY)
    odd &= (own["quantity"] >= ROUND_NOMINAL) & (own["quantity"] % ROUND_NOMINAL == 0)
    if not odd.any():
        return
    volatilities = _volatilities(draft).drop(index=list(draft.cash))
    odd &= own["instrument"].map(volatilities).le(BOND_VOLATILITY)
    for row in own.index[odd]:
        name, price = str(own.at[row, "instrument"]), float(own["price"][row])
        rule = f"makes {name} {share[row]:.0%} of the account; bills and bonds are quoted per 100"
        cure = f"write the price of one unit, {price / PAR_QUOTED:g}, if the quantity is a nominal value"
        place = (draft.name("holdings"), int(row), "price", f"{price:g}")
        yield Doubt("holdings", "per_100", name, None, *place, rule, cure)


def _volatilities(draft: Draft) -> pd.Series[float]:
    """Annual, by instrument: by beta and idiosyncratic volatility; where not stated, by what risk comes from."""
    risk, tables = draft.settings.risk, draft.tables
    exposures = tables["exposures"].drop_duplicates("instrument").set_index("instrument")
    own = pd.Series(own_volatilities(draft.settings, exposures), exposures.index)
    if risk.source == "covariance" and "covariance" in tables and _is_square(tables["covariance"]):
        square = tables["covariance"].set_index("instrument").astype(float)
        return own.fillna(pd.Series(np.diag(square.loc[:, square.index]), square.index).pow(0.5))
    if risk.source == "prices" and "prices" in tables:
        returns = _used_prices(draft).pct_change(fill_method=None)
        return own.fillna(returns.std() * float(risk.periods_per_year or 0.0) ** 0.5)
    return own


USUAL_MARKET_VOLATILITY = 0.16
"""Annual, where the book states none."""


def own_volatilities(settings: Settings, exposures: pd.DataFrame) -> Vector:
    """(rows,) annual volatility of each name by its beta and idiosyncratic volatility; NaN where neither is stated."""
    market = settings.risk.market_volatility or USUAL_MARKET_VOLATILITY
    nothing = pd.Series(np.nan, exposures.index)
    beta = np.asarray(exposures.get("beta", nothing), dtype=np.float64)
    idiosyncratic = np.asarray(exposures.get("idiosyncratic_volatility", nothing), dtype=np.float64)
    result: Vector = np.hypot(beta * market, idiosyncratic)
    return result


# Rates: what a currency was ever worth in US dollars says what no rate can be.
#


@dataclass(frozen=True)
class RateRange:
    """The least and the most that one unit of a currency was worth in US dollars since 2000."""

    lowest: float
    highest: float


@cache
def rate_ranges() -> dict[str, RateRange]:
    """`data/fx_ranges.csv`, and the minor units of its currencies."""
    with (sample_books_folder() / "fx_ranges.csv").open(encoding="utf-8", newline="") as opened:
        known = {
            row["currency"]: RateRange(float(row["lowest_usd"]), float(row["highest_usd"]))
            for row in csv.DictReader(opened)
        }
    minor = {
        unit.code: RateRange(known[unit.major].lowest / unit.count, known[unit.major].highest / unit.count)
        for unit in MINOR_UNITS.values()
        if unit.code
    }
    return known | minor


def plausible_rates(currency: str, home: str) -> RateRange | None:
    """What one unit of `currency` may cost in `home`; None where one of them is not known."""
    known = rate_ranges()
    if currency not in known or home not in known:
        return None
    theirs, ours = known[currency], known[home]
    return RateRange(theirs.lowest / ours.highest / RATE_FACTOR, theirs.highest / ours.lowest * RATE_FACTOR)


def rate_doubts(home: str, fx: pd.DataFrame, table: str) -> Iterator[Doubt]:
    """Rates (money in `home` for one unit) that no rate of these currencies since 2000 comes near."""
    for row, (currency, rate) in enumerate(zip(fx["currency"], fx["rate"], strict=True)):
        plausible = plausible_rates(str(currency), home)
        if plausible is None or currency == home or plausible.lowest <= rate <= plausible.highest:
            continue
        rule = f"1 {currency} = {rate:g} {home} is not near any rate since 2000"
        rule += f", which were {plausible.lowest * RATE_FACTOR:.3g} to {plausible.highest / RATE_FACTOR:.3g}"
        place = (table, int(str(fx.index[row])), "rate", f"{rate:g}")
        yield Doubt("fx", "rate", str(currency), None, *place, rule, _rate_cure(float(rate), plausible))


def _rate_cure(rate: float, plausible: RateRange) -> str:
    for factor, words in (
        (1 / rate**2, "the other way round"),
        (0.01, "per 100"),
        (0.001, "per 1000"),
        (100.0, "of a hundredth of a unit"),
    ):
        if plausible.lowest * RATE_FACTOR / 1.1 <= rate * factor <= plausible.highest / RATE_FACTOR * 1.1:
            return f"did you mean {rate * factor:.4g}? This one is {words}"
    return "write what one unit costs in the book's currency"


# Risk as it is stated: a day's in the place of a year's, percent squared, a correlation.
#
CALM_MARKET, WILD_MARKET = 0.03, 1.0
"""Annual: a market's volatility outside is in doubt."""
APART = 3.0
"""Volatilities of the covariance against those of exposures.csv, either way, by their median."""
QUIET, WILD = 0.03, 2.0
"""Annual: a median volatility outside is in doubt where exposures.csv says nothing of risk."""
ROWS_A_YEAR = {"daily": 252.0, "weekly": 52.0, "monthly": 12.0, "quarterly": 4.0}


def volatility_doubts(draft: Draft) -> Iterator[Doubt]:
    """Whether the market's volatility, and those that exposures.csv gives, can be a year's."""
    market, cure = draft.settings.risk.market_volatility, "write a year's as a fraction: 1 % a day is 0.16"
    if market is not None and not CALM_MARKET <= market <= WILD_MARKET:
        key = "market_volatility"
        place = ("book.toml", None, f"risk.{key}", f"{market:g}", f"is {market:.1%} a year", cure)
        yield Doubt("risk", "scale", key, None, *place)
    own = own_volatilities(draft.settings, draft.risky)
    own = own[np.isfinite(own) & (own > 0)]
    if len(own) and not QUIET <= np.median(own) <= WILD:
        rule = f"says volatilities from {own.min():.2%} to {own.max():.2%} a year"
        column = "idiosyncratic_volatility"
        yield Doubt("exposures", "scale", None, None, draft.name("exposures"), None, column, None, rule, cure)


def covariance_doubts(draft: Draft) -> Iterator[Doubt]:
    """Every doubt about covariance.csv, which is square, symmetric and of its contract."""
    frame, where = draft.tables["covariance"], draft.name("covariance")
    names = list(map(str, frame["instrument"]))
    square: Matrix = frame.set_index("instrument").loc[names, names].to_numpy(dtype=float)
    volatilities = np.sqrt(np.maximum(np.diag(square), 0.0))
    if _is_correlation(square):
        rule = "has 1 in each diagonal place and nothing beyond it elsewhere: a correlation, of volatilities of 100 %"
        cure = "multiply by the volatilities of both names"
        yield Doubt("covariance", "scale", None, None, where, None, None, None, rule, cure)
        return
    own = None
    if "exposures" in draft.tables:
        exposures = draft.tables["exposures"].drop_duplicates("instrument").set_index("instrument").reindex(names)
        own = own_volatilities(draft.settings, exposures)
    told = _scale(volatilities, own)
    if told is not None:
        spread = f"volatilities from {volatilities.min():.2%} to {volatilities.max():.2%} a year"
        yield Doubt("covariance", "scale", None, None, where, None, None, None, f"says {spread}{told[0]}", told[1])


def _is_correlation(square: Matrix) -> bool:
    apart = square - np.diag(np.diag(square))
    return bool(len(square) > 1 and (np.abs(np.diag(square) - 1) < 1e-9).all() and np.abs(apart).max() <= 1)


def _scale(volatilities: Vector, own: Vector | None) -> tuple[str, str] | None:
    """What is odd about the volatilities, and what would mend it; None where nothing is."""
    if own is None or not (np.isfinite(own) & (own > 0)).any():
        middle = float(np.median(volatilities))
        if QUIET <= middle <= WILD:
            return None
        likely = "daily" if middle < QUIET else "percent"
        return "", _mended(likely)
    told = np.isfinite(own) & (own > 0) & (volatilities > 0)
    if not told.any():  # no risk at all where the book has some
        return None
    ratio = float(np.exp(np.median(np.log(volatilities[told] / own[told]))))
    if 1 / APART <= ratio <= APART:
        return None
    said = f", where exposures.csv says {np.median(own[told]):.1%} for the median name"
    candidates = {name: 1 / math.sqrt(rows) for name, rows in ROWS_A_YEAR.items()} | {"percent": 100.0}
    likely = min(candidates, key=lambda name: abs(math.log(ratio / candidates[name])))
    return said, _mended(likely if abs(math.log(ratio / candidates[likely])) < math.log(2.0) else None)


def _mended(likely: str | None) -> str:
    if likely == "percent":
        return "is it in percent squared? divide by 10000"
    if likely is None:
        return "write an annual covariance of returns as fractions"
    return f"is it {likely}? multiply by {ROWS_A_YEAR[likely]:g}"
