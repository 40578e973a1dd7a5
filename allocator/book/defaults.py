"""What a small book leaves unsaid: the columns and the row of cash that it has by default, and returns by bucket."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from allocator.settings.settings import Settings

ACCOUNT = "main"
"""The account of a holdings.csv that names none."""


def default_cash(settings: Settings, exposures: pd.DataFrame) -> str | None:
    """What cash is called in a book whose exposures.csv has no row of it; None where it has one.

    None as well where a name of another bucket is called like the currency, so that a row of cash must be written.
    """
    currency = settings.book.currency
    named = (exposures["bucket"] == "cash").any() or (exposures["instrument"] == currency).any()
    return None if named else currency


def with_defaults(settings: Settings, tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Sound tables with what they leave out: who holds, in which currency, what a name is called, the row of cash, and
    for each name that has no row of scenario_returns.csv the row of its bucket.
    """
    full = dict(tables)
    if (holdings := full.get("holdings")) is not None:
        full["holdings"] = _with_columns(holdings, account=ACCOUNT, currency=settings.book.currency)
    if (exposures := full.get("exposures")) is None:
        return full
    instrument = exposures["instrument"]
    exposures = _with_columns(exposures, name=instrument, issuer=instrument, source="")
    if (cash := default_cash(settings, exposures)) is not None:
        row = {"instrument": cash, "name": cash, "issuer": cash, "bucket": "cash", "source": "", "required_return": 0.0}
        exposures.loc[int(exposures.index.max()) + 1, :] = pd.Series(row).reindex(exposures.columns)
    full["exposures"] = exposures
    if (returns := full.get("scenario_returns")) is not None:
        full["scenario_returns"] = _by_name(settings, returns, exposures)
    return full


def _with_columns(frame: pd.DataFrame, **columns: str | pd.Series[str]) -> pd.DataFrame:
    result = frame.assign(**{name: cells for name, cells in columns.items() if name not in frame})
    result.attrs = dict(frame.attrs)
    return result


def _by_name(settings: Settings, returns: pd.DataFrame, exposures: pd.DataFrame) -> pd.DataFrame:
    """A row of a bucket becomes a row of each of its names that has none of its own; an instrument that is called like
    a bucket is the instrument.
    """
    buckets = {*settings.buckets.names, "cash"} - {*exposures["instrument"]}
    of_bucket = returns["instrument"].isin(buckets)
    if not of_bucket.any():
        return returns
    unsaid = exposures.loc[~exposures["instrument"].isin(returns["instrument"]), ["instrument", "bucket"]]
    rows = returns.loc[of_bucket].reset_index(names="line").rename(columns={"instrument": "bucket"})
    spread = unsaid.merge(rows, on="bucket").set_index("line")[list(returns.columns)]
    spread.index.name = None
    result = pd.concat([returns.loc[~of_bucket], spread])
    result.attrs = dict(returns.attrs)
    return result
