"""What a small book leaves unsaid: columns and the row of cash that it has by default, returns by bucket, and what a
name is like where its row says so in one word: its archetype, of `data/archetypes.csv`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, TypedDict

import numpy as np
import pandas as pd

from allocator.errors import BadInput
from allocator.presentation import Count
from allocator.settings.settings import EARLIER_SHARES, Settings, share_columns
from allocator.tables import validate
from allocator.tables.files import read_table
from allocator.tables.schema import UNCLASSIFIED, sample_books_folder

ACCOUNT = "main"
"""The account of a holdings.csv that names none."""
_PARTS = ("training", "inference", "capacity", "application")
"""Loadings beside which `other` is what is left of 1."""


@cache
def archetypes() -> pd.DataFrame:
    """`data/archetypes.csv`: loadings, risk and required return, of which a row of exposures.csv takes what it leaves
    blank, by archetype.
    """
    table, breaches = validate("archetypes", read_table(sample_books_folder() / "archetypes.csv", "archetypes.csv"))
    if breaches:
        raise BadInput(breaches)
    return table.set_index("archetype")


class AssumedRow(TypedDict):
    """What is assumed of some names, because their rows leave it to an archetype."""

    archetype: str
    instruments: list[str]
    values: Annotated[Count, "cells of exposures.csv that are taken from it"]


class ClassificationRows(TypedDict):
    """Names that exposures.csv says too little of; there is none of it where all say enough."""

    unclassified: Annotated[list[str], "held, not bought, at a return of 0: neither bucket nor archetype is stated"]
    assumed: Annotated[list[AssumedRow], "of names that name an archetype, or whose bucket has one"]


@dataclass(frozen=True)
class Classification:
    """What exposures.csv leaves open: `unclassified` names by their row of `table`, and of each name that takes values
    from an archetype, `assumed`, which one and the columns.
    """

    table: str = "exposures.csv"
    unclassified: Mapping[str, int] = field(default_factory=dict)
    assumed: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)

    def rows(self) -> list[AssumedRow]:
        """The assumed values by archetype, those of most names first."""
        by: dict[str, list[str]] = {}
        for name, (archetype, _) in self.assumed.items():
            by.setdefault(archetype, []).append(name)
        return [
            {"archetype": one, "instruments": names, "values": sum(len(self.assumed[name][1]) for name in names)}
            for one, names in sorted(by.items(), key=lambda each: -len(each[1]))
        ]

    def document(self) -> ClassificationRows | None:
        """The same as plain data; None where nothing is open."""
        if not self.unclassified and not self.assumed:
            return None
        return {"unclassified": [*self.unclassified], "assumed": self.rows()}

    def notes(self) -> list[str]:
        """A sentence for each, for screens."""
        told = []
        if count := len(self.unclassified):
            one = count == 1
            told.append(
                f"{count} {'name is' if one else 'names are'} unclassified: held, not bought, at a return of 0. State "
                f"bucket or archetype in {self.table}, {_lines([*self.unclassified.values()])}."
            )
        if rows := self.rows():
            each = ", ".join(f"{row['archetype']} ({len(row['instruments'])})" for row in rows)
            told.append(
                f"Assumed by archetype: {sum(row['values'] for row in rows)} values of {len(self.assumed)} "
                f"name{'s' * (len(self.assumed) > 1)}: {each}."
            )
        return told


def _lines(rows: Sequence[int]) -> str:
    """Rows of a file in few words."""
    if len(rows) == 1:
        return f"row {rows[0]}"
    if len(rows) > 2 and [*rows] == [*range(rows[0], rows[-1] + 1)]:
        return f"rows {rows[0]} to {rows[-1]}"
    last = f"{len(rows) - 5} more" if len(rows) > 6 else f"{rows[-1]}"
    return f"rows {', '.join(map(str, rows[: 5 if len(rows) > 6 else -1]))} and {last}"


def default_cash(settings: Settings, exposures: pd.DataFrame) -> str | None:
    """What cash is called in a book whose exposures.csv has no row of it; None where it has one.

    None as well where a name of another bucket is called like the currency, so that a row of cash must be written.
    """
    currency = settings.book.currency
    named = (exposures["bucket"] == "cash").any() or (exposures["instrument"] == currency).any()
    return None if named else currency


def with_defaults(settings: Settings, tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Sound tables with what they leave out: who holds, in which currency, what a name is called, what its archetype
    says of it, the row of cash, and for each name that has no row of scenario_returns.csv the row of its bucket.
    """
    full = dict(tables)
    if (holdings := full.get("holdings")) is not None:
        full["holdings"] = _with_columns(holdings, account=ACCOUNT, currency=settings.book.currency)
    if (exposures := full.get("exposures")) is None:
        return full
    instrument = exposures["instrument"]
    exposures = _with_columns(exposures, name=instrument, issuer=instrument, source="")
    exposures = _classified(settings, exposures)
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


def _texts(frame: pd.DataFrame, column: str) -> list[str | None]:
    cells = frame[column].tolist() if column in frame else [None] * len(frame)
    return [cell if isinstance(cell, str) else None for cell in cells]


def _classified(settings: Settings, exposures: pd.DataFrame) -> pd.DataFrame:
    """Each name with a bucket, and with what its archetype says where the row is blank.

    The archetype is what the row names, or what `[buckets.archetypes]` has for the bucket that the row states. One that
    is not known is refused by a check.
    """
    stated = [None if cell == UNCLASSIFIED else cell for cell in _texts(exposures, "bucket")]
    named, by_bucket = _texts(exposures, "archetype"), settings.buckets.archetypes
    if None not in stated and not any(named) and not by_bucket:
        return exposures
    known = archetypes()
    taken = [
        None
        if bucket == "cash"
        else next((name for name in (own, by_bucket.get(str(bucket))) if name in known.index), None)
        or (UNCLASSIFIED if bucket is None else None)
        for own, bucket in zip(named, stated, strict=True)
    ]
    own = known.reindex(taken).set_index(exposures.index)
    buckets = [
        bucket or (follows if follows in settings.buckets.names else UNCLASSIFIED)
        for bucket, follows in zip(stated, own["bucket"], strict=True)
    ]
    label = pd.Series(buckets, exposures.index, dtype=object)
    full = exposures.assign(bucket=label.astype(exposures["instrument"].dtype))
    cells = {name: dict[str, None]() for name in exposures["instrument"]}
    # a label that the row states counts in full, as ever: shares follow an archetype of the same bucket alone
    follows_share = (label == own["bucket"]) & pd.Series([name is not None for name in named], exposures.index)
    for column in own.columns.drop(["name", "bucket", "source"]):
        target, values = column, own[column]
        if (bucket := _BUCKET_OF.get(column)) is not None:
            if bucket not in settings.buckets.names:
                continue
            target = next((name for name in share_columns(bucket) if name in exposures), column)
            values = values.where(follows_share)
        given = exposures.get(target, pd.Series(np.nan, exposures.index))
        if column == "other":
            parts = full[[name for name in _PARTS if name in full]]
            states = exposures[[name for name in _PARTS if name in exposures]].notna().any(axis=1)
            values = values.mask(states & values.notna(), (1 - parts.sum(axis=1)).round(12))
        blank = given.isna() & values.notna()
        if blank.any():
            full[target] = given.where(~blank, values)
            for name in exposures.loc[blank, "instrument"]:
                cells[name][target] = None
    full.attrs = dict(exposures.attrs)
    rows = zip(exposures["instrument"], taken, exposures.index, buckets, strict=True)
    found = [(name, archetype, int(row)) for name, archetype, row, bucket in rows if bucket != "cash"]
    full.attrs["classification"] = Classification(
        str(exposures.attrs.get("name", "exposures.csv")),
        {name: row for (name, _, row) in found if full.loc[row, "bucket"] == UNCLASSIFIED},
        {name: (archetype, tuple(cells[name])) for name, archetype, row in found
         if archetype is not None and cells[name] and full.loc[row, "bucket"] != UNCLASSIFIED},
    )  # fmt: skip
    return full


_BUCKET_OF = {column: bucket for bucket, column in EARLIER_SHARES.items()}


def classification(exposures: pd.DataFrame) -> Classification:
    """What a table with its defaults was found to leave open."""
    found = exposures.attrs.get("classification", Classification())
    assert isinstance(found, Classification)
    return found


def _by_name(settings: Settings, returns: pd.DataFrame, exposures: pd.DataFrame) -> pd.DataFrame:
    """A row of a bucket becomes a row of each of its names that has none of its own; an instrument that is called like
    a bucket is the instrument. Names that are unclassified return nothing, where no model says so.
    """
    buckets = {*settings.buckets.names, "cash"} - {*exposures["instrument"]}
    of_bucket = returns["instrument"].isin(buckets)
    unsaid = exposures.loc[~exposures["instrument"].isin(returns["instrument"]), ["instrument", "bucket"]]
    unclassified = unsaid.loc[unsaid["bucket"] == UNCLASSIFIED, ["instrument"]]
    typed_alone = settings.model is None and not settings.plugins.models
    if not of_bucket.any() and not (typed_alone and len(unclassified)):
        return returns
    rows = returns.loc[of_bucket].reset_index(names="line").rename(columns={"instrument": "bucket"})
    spread = unsaid.merge(rows, on="bucket").set_index("line")[list(returns.columns)]
    spread.index.name = None
    parts = [returns.loc[~of_bucket], spread]
    if typed_alone and len(unclassified):
        numbers = [name for name in returns.columns if pd.api.types.is_numeric_dtype(returns[name])]
        parts.append(unclassified.assign(**dict.fromkeys(numbers, 0.0)).reindex(columns=returns.columns))
    result = pd.concat([part for part in parts if len(part)])
    result.attrs = dict(returns.attrs)
    return result
