"""What the levels of holdings and rates are doubted for: another unit, another quotation, the rate the other way round."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import pandas as pd

from allocator.book.checks.rules import Tables, file_name
from allocator.book.doubts.doubt import Doubt
from allocator.resources import sample_books_folder
from allocator.settings.settings import Settings

LEVEL = 1.5
"""A holding's price against the last one of its history, either way."""
PAR_QUOTED = 100.0
"""Bills and bonds are quoted per so much of their nominal value."""
PAR_RANGE = (50.0, 150.0)
"""Prices that may be per 100."""
BOND_VOLATILITY = 0.05
"""Annual: a name below it may be a bill or a bond."""
ROUND_NOMINAL = 1000.0
"""Nominal values are multiples of it."""
MOSTLY = 0.5
"""Of the account: what a position that is counted a hundredfold comes to."""
VALUE_APART = 0.01
"""Of a position: its market value may differ by this from quantity x price, as of another minute."""
CENT = 0.01
"""Of the currency: what a market value is rounded to."""
RATE_FACTOR = 2.0
"""A rate may lie beyond what its currencies were ever worth by this factor, either way."""
MINOR_UNITS: Mapping[str, tuple[str, float]] = {
    "GBX": ("GBP", 100.0),
    "ILA": ("ILS", 100.0),
    "ZAC": ("ZAR", 100.0),
    "USX": ("USD", 100.0),
    "KWF": ("KWD", 1000.0),
}
"""Codes of hundredths and thousandths that exchanges quote in: the currency, and how many make one."""


def level_doubts(settings: Settings, tables: Tables, account: str | None) -> Iterator[Doubt]:
    """Every doubt about the levels of holdings.csv and fx.csv, from tables that are of their contracts."""
    if "fx" in tables:
        yield from rate_doubts(settings.book.currency, tables["fx"], file_name(tables, "fx"))
    if "holdings" not in tables:
        return
    if "prices" in tables:
        yield from _against_history(settings, tables)
    if "market_value" in tables["holdings"]:
        yield from _against_market_value(tables)
    if "exposures" in tables:
        yield from _per_hundred(settings, tables, account)


def _against_history(settings: Settings, tables: Tables) -> Iterator[Doubt]:
    """A holding's price against the last price row up to as_of."""
    last = _last_prices(tables["prices"], settings.book.as_of, settings.risk.max_age_days)
    for row, holding in tables["holdings"].drop_duplicates("instrument").iterrows():
        name = str(holding["instrument"])
        if name not in last:
            continue
        day, quoted = last[name]
        ratio = float(holding["price"]) / quoted if quoted > 0 else 1.0
        if not 1 / LEVEL <= ratio <= LEVEL and holding["price"] > 0:
            rule = f"is {_times(ratio)} its last price in {file_name(tables, 'prices')}, {quoted:g} on {day:%Y-%m-%d}"
            place = (file_name(tables, "holdings"), int(str(row)), "price", f"{holding['price']:g}")
            yield Doubt("holdings", "level", name, None, *place, rule, "write both in one unit and currency")


def _last_prices(prices: pd.DataFrame, as_of: dt.date, max_age_days: int) -> dict[str, tuple[pd.Timestamp, float]]:
    """Of each name the last day that has a price and the price, where that is recent enough to say anything."""
    long = set(prices.columns) == {"date", "instrument", "price"}
    wide = (
        prices.pivot_table(index="date", columns="instrument", values="price", aggfunc="last")
        if long
        else prices.set_index("date")
    )
    until = pd.Timestamp(as_of)
    wide = wide.sort_index().loc[lambda rows: rows.index <= until]
    oldest = until - pd.Timedelta(days=max(max_age_days, 1))
    last = {str(name): wide[name].dropna() for name in wide}
    return {
        name: (one.index[-1], float(one.iloc[-1])) for name, one in last.items() if len(one) and one.index[-1] >= oldest
    }


def _times(ratio: float) -> str:
    """0.001 is a thousandth of, 1.6 is 1.6 times."""
    powers = {10: "a tenth of", 100: "a hundredth of", 1000: "a thousandth of", 1_000_000: "a millionth of"}
    for power, words in powers.items():
        if abs(ratio * power - 1) < 0.1:
            return words
    return f"{ratio:.3g} times"


def _against_market_value(tables: Tables) -> Iterator[Doubt]:
    """quantity x price against the value that the same row states."""
    holdings, table = tables["holdings"], file_name(tables, "holdings")
    for row, holding in holdings.loc[holdings["market_value"].notna()].iterrows():
        product, stated = float(holding["quantity"] * holding["price"]), float(holding["market_value"])
        if abs(product - stated) <= max(VALUE_APART * abs(stated), CENT):
            continue
        rule = f"is {stated:g}, and quantity x price is {product:g}"
        cure = "correct quantity, price or market_value"
        if abs(product / PAR_QUOTED - stated) <= max(VALUE_APART * abs(stated), CENT):
            cure = f"the price is per {PAR_QUOTED:g} of nominal value: write {holding['price'] / PAR_QUOTED:g}"
        place = (table, int(str(row)), "market_value", f"{stated:g}")
        yield Doubt("holdings", "market_value", str(holding["instrument"]), None, *place, rule, cure)


def _per_hundred(settings: Settings, tables: Tables, account: str | None) -> Iterator[Doubt]:
    """A quiet name with a round quantity and a price near 100 that is most of the account: a bill quoted per 100?"""
    holdings, exposures = tables["holdings"], tables["exposures"].set_index("instrument")
    own = holdings if account is None else holdings.loc[holdings["account"] == account]
    rates = {settings.book.currency: 1.0}
    if "fx" in tables:
        rates |= dict(zip(tables["fx"]["currency"], tables["fx"]["rate"], strict=True))
    worth = own["quantity"] * own["price"] * own["currency"].map(rates)
    volatility = _own_volatilities(settings, exposures)
    for row, holding in own.iterrows():
        name = str(holding["instrument"])
        quiet = volatility.get(name, 1.0) <= BOND_VOLATILITY and exposures["bucket"].get(name) != "cash"
        round_ = holding["quantity"] >= ROUND_NOMINAL and holding["quantity"] % ROUND_NOMINAL == 0
        if quiet and round_ and PAR_RANGE[0] <= holding["price"] <= PAR_RANGE[1] and worth[row] >= MOSTLY * worth.sum():
            rule = f"makes {name} {worth[row] / worth.sum():.0%} of the account; bills and bonds are quoted per 100"
            cure = f"write the price of one unit, {holding['price'] / PAR_QUOTED:g}, if the quantity is a nominal value"
            place = (file_name(tables, "holdings"), int(str(row)), "price", f"{holding['price']:g}")
            yield Doubt("holdings", "per_100", name, None, *place, rule, cure)


def _own_volatilities(settings: Settings, exposures: pd.DataFrame) -> dict[str, float]:
    """Annual volatility of each name by its beta and idiosyncratic volatility, where both are there."""
    if "idiosyncratic_volatility" not in exposures:
        return {}
    beta = exposures["beta"] if "beta" in exposures else pd.Series(1.0, exposures.index)
    market = settings.risk.market_volatility or USUAL_MARKET_VOLATILITY
    both = ((beta * market) ** 2 + exposures["idiosyncratic_volatility"] ** 2) ** 0.5
    return {str(name): float(one) for name, one in both.dropna().items()}


USUAL_MARKET_VOLATILITY = 0.16
"""Annual, where the book states none."""


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
        code: RateRange(known[major].lowest / count, known[major].highest / count)
        for code, (major, count) in MINOR_UNITS.items()
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
        (100.0, "per 0.01"),
    ):
        if plausible.lowest * RATE_FACTOR / 1.1 <= rate * factor <= plausible.highest / RATE_FACTOR * 1.1:
            return f"did you mean {rate * factor:.4g}? This one is {words}"
    return "write what one unit costs in the book's currency"
