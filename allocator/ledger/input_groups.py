"""What a plan is made from, in six groups; in which of them two books differ; and the books between the two, which take
each group from the one or from the other (science §4.11).

A book between is held to the checks of a book. Groups that no such book can take apart are one: of other instruments
the holdings and the exposures, of another question the model and the signals.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from allocator.book.book import Book
from allocator.book.checks.consistency import CHECKS
from allocator.book.checks.draft import Draft, disagreements
from allocator.errors import printable
from allocator.settings.reading import dotted_key
from allocator.settings.settings import PluginsSection, Settings
from allocator.types import Vector

GROUPS = {
    "holdings": "holdings and prices",
    "signals": "signals, views and the date",
    "exposures": "exposures",
    "model": "model parameters",
    "mandate": "mandate",
    "costs": "costs",
}
"""The groups in their order, and what each is called."""
SECTIONS = {
    "holdings": ("cash",),
    "signals": ("believe", "views"),
    "exposures": ("buckets",),
    "model": ("scenarios", "question", "model", "market", "horizon", "risk", "solver"),
    "mandate": ("mandate", "robust", "trading", "lots", "groups", "shocks"),
    "costs": ("costs",),
}
"""The sections of book.toml by group. [book] and [plugins] are of several."""
NO_GROUP = ("stress", "tables", "confirm", "ledger", "orders")
"""Sections that no plan is made from."""
PLUGINS = {"models": "model", "rules": "mandate", "objectives": "mandate"}
TABLES = {
    "quantities": ("holdings", "holdings.csv (quantity)"),
    "cash": ("holdings", "holdings.csv (cash)"),
    "prices": ("holdings", "holdings.csv (price)"),
    "quoted_prices": ("holdings", ""),
    "currencies": ("holdings", "holdings.csv (currency)"),
    "rates": ("holdings", ""),
    "lot_sizes": ("holdings", "holdings.csv (lot_size)"),
    "signals": ("signals", "signals.csv"),
    "price_history": ("signals", "prices.csv"),
    "instruments": ("exposures", ""),
    "cash_instrument": ("exposures", "the name of cash"),
    "exposures": ("exposures", "exposures.csv"),
    "cash_required_return": ("exposures", "exposures.csv (required_return of cash)"),
    "scenario_returns": ("exposures", "scenario_returns.csv"),
    "covariance": ("exposures", "covariance.csv"),
    "factors": ("exposures", "factors.csv"),
    "classification": ("exposures", ""),
    "benchmark": ("mandate", "benchmark.csv"),
}
"""The fields of a book by group, and what each is called where it says something that the others do not."""
_OF_INSTRUMENTS: tuple[str, ...] = ("holdings", "exposures")
COST_COLUMNS = ("spread_bps", "average_daily_volume")
"""The columns of exposures.csv that are of costs."""
_WORDS = {"exposures": ("name", "source"), "signals": ("note",)}
"""Columns that no plan is made from."""
_NAMED = 3
"""Names that are told of many."""


@dataclass(frozen=True, eq=False)
class MixedBooks:
    """Two books, the `other` in the order of the `one` where both have the same instruments, and all between them.

    A mix is named by the groups that are of the other; `reviews` are those of both, passed ones among them.
    """

    one: Book
    other: Book
    alike: bool
    """Whether both have the same instruments."""
    reviews: tuple[Sequence[dt.date], Sequence[dt.date]]

    @staticmethod
    def of(one: Book, other: Book) -> MixedBooks:
        """The books between two."""
        alike = one.cash_instrument == other.cash_instrument and {*one.instruments} == {*other.instruments}
        return MixedBooks(one, _in_order(other, one) if alike else other, alike, _standing_reviews(one, other))

    @cached_property
    def changed(self) -> Mapping[str, tuple[str, ...]]:
        """What differs, by group; groups that are the same are left out."""
        found: dict[str, list[str]] = {group: [] for group in GROUPS}
        found["holdings"] += [] if self.alike else ["holdings.csv (other instruments)"]
        for name, (group, told) in TABLES.items():
            before, after = getattr(self.one, name), getattr(self.other, name)
            if name == "exposures" and self.alike:
                costs = (_columns_of(table, COST_COLUMNS, kept=True) for table in (before, after))
                found["costs"] += _table_changes(told, name, *costs)
                before, after = (_columns_of(table, COST_COLUMNS, kept=False) for table in (before, after))
            elif isinstance(before, np.ndarray) and not self.alike:
                before, after = (
                    self._of_both(book, values) for book, values in ((self.one, before), (self.other, after))
                )
            if told:
                found[group] += _table_changes(told, name, before, after)
        for group, place, before, after in self._settings():
            found[group] += [f"{key} {_told(a)} → {_told(b)}" for key, a, b in _value_changes((place,), before, after)]
        return {group: tuple(told) for group, told in found.items() if told}

    def _of_both(self, book: Book, values: Vector) -> Vector:
        """Numbers of the instruments that both have, in the order of the one."""
        theirs = {*self.other.instruments}
        order = [book.instruments.index(name) for name in self.one.instruments if name in theirs]
        return np.asarray(values[order])

    def _settings(self) -> Iterator[tuple[str, str, Any, Any]]:
        one, other = self.one.settings, self.other.settings
        yield "holdings", "book.currency", one.book.currency, other.book.currency
        yield "signals", "book.as_of", one.book.as_of, other.book.as_of
        of_shocks = bool(one.mandate.max_stress_loss or other.mandate.max_stress_loss)
        for group, names in SECTIONS.items():
            for name in names:
                before, after = (_plain(getattr(settings, name)) for settings in (one, other))
                if name == "horizon":
                    before["reviews"], after["reviews"] = self.reviews
                if name != "shocks" or of_shocks:  # else no plan is made from them
                    yield group, name, before, after
        for kind, group in PLUGINS.items():
            yield group, f"plugins.{kind}", getattr(one.plugins, kind), getattr(other.plugins, kind)

    def book(self, mix: Collection[str]) -> Book:
        """The book that has the groups `mix` of the other, and the rest of the one; both themselves where it has all
        that differs, or nothing.
        """
        if (count := len(self.changed.keys() & {*mix})) in (0, len(self.changed)):
            return self.other if count else self.one
        taken = {name: getattr(self._side(group, mix), name) for name, (group, _) in TABLES.items()}
        if self.alike and ("costs" in mix) != ("exposures" in mix):
            exposures, costs = (self._side(group, mix).exposures for group in ("exposures", "costs"))
            taken["exposures"] = _columns_of(exposures, COST_COLUMNS, kept=False).join(
                _columns_of(costs, COST_COLUMNS, kept=True)
            )
        if taken["benchmark"] is not None:  # names that it does not have weigh nothing in it
            everyone = [*taken["instruments"], taken["cash_instrument"]]
            taken["benchmark"] = taken["benchmark"].reindex(everyone, fill_value=0.0)
        return replace(self.one, settings=self._mixed_settings(mix), **taken)

    def _side(self, group: str, mix: Collection[str]) -> Book:
        return self.other if group in mix else self.one

    def _mixed_settings(self, mix: Collection[str]) -> Settings:
        """The settings of a mix; what the section's side states is stated in it."""
        of = {group: self._side(group, mix).settings for group in GROUPS}
        own = of["holdings"].book.model_copy(update={"as_of": of["signals"].book.as_of})
        plugins = {kind: getattr(of[group].plugins, kind) for kind, group in PLUGINS.items()}
        values: dict[str, Any] = {"book": own, "plugins": PluginsSection.model_construct(**plugins)}
        values |= {name: getattr(of[group], name) for group, names in SECTIONS.items() for name in names}
        stated = {name for group, names in SECTIONS.items() for name in names if name in of[group].model_fields_set}
        ahead = [day for day in self.reviews["model" in mix] if day > own.as_of]
        values["horizon"] = values["horizon"].model_copy(update={"reviews": ahead})
        return Settings.model_construct({"book", "plugins", *stated}, **values)

    @cached_property
    def blocks(self) -> Mapping[tuple[str, ...], str]:
        """The groups that differ, together where no book takes them apart, with the reason.

        What groups must agree on is between two of them: each of the other is put by itself into the one, so that every
        pair is met both ways, and where it cannot stand there, as few others as it needs go with it.
        """
        blocks: list[tuple[str, ...]] = [(group,) for group in self.changed]
        why = dict[tuple[str, ...], str]()
        if not self.alike:
            why[_OF_INSTRUMENTS] = "they are of other instruments"
            blocks = [_OF_INSTRUMENTS, *(one for one in blocks if one[0] not in _OF_INSTRUMENTS)]
        while joined := next(self._joined(blocks), None):
            block, said = joined
            blocks = [one for one in blocks if not {*one} <= {*block}] + [block]
            why = {one: told for one, told in why.items() if not {*one} <= {*block}} | {block: said}
        order = list(GROUPS)
        return {block: why.get(block, "") for block in sorted(blocks, key=lambda one: order.index(one[0]))}

    def _joined(self, blocks: Sequence[tuple[str, ...]]) -> Iterator[tuple[tuple[str, ...], str]]:
        """Blocks that must be joined, and why the first of them does not stand alone."""
        for block in blocks:
            if (said := self._refusal(block)) is None:
                continue
            needed = list(blocks)
            for one in blocks:
                fewer = [group for other in needed if other != one for group in other]
                if one != block and self._refusal(fewer) is None:
                    needed.remove(one)
            yield tuple(group for group in GROUPS if any(group in one for one in needed)), said

    def _refusal(self, mix: Collection[str]) -> str | None:
        """Why these groups of the other do not stand in the one; None where they do."""
        if len(mix) == len(self.changed):
            return None
        book = self.book(mix)
        tables = _tables(book)
        breaches = disagreements(Draft(book.settings, tables, tables.keys()), CHECKS)
        told = (" ".join(filter(None, (one.column or one.table, one.value, one.rule))) for one in breaches)
        return next(told, None)


def _in_order(book: Book, like: Book) -> Book:
    """The same book with its instruments, and the columns of its tables, in the order of another's."""
    place = {name: i for i, name in enumerate(book.instruments)}
    order, changes = np.array([place[name] for name in like.instruments]), dict[str, Any]()
    for field in fields(book):
        own, other = getattr(book, field.name), getattr(like, field.name)
        if isinstance(own, np.ndarray):
            changes[field.name] = own[order]
        elif field.name == "currencies":
            changes[field.name] = tuple(own[i] for i in order)
        elif isinstance(own, pd.Series | pd.DataFrame) and own.index.name == "instrument":
            mine, theirs = ([*frame.index] if frame is not None else [] for frame in (own, other))
            ranked = {name: i for i, name in enumerate([*like.instruments, like.cash_instrument])}
            own = own.loc[theirs if {*mine} == {*theirs} else sorted(mine, key=ranked.__getitem__)]
            changes[field.name] = own
        if isinstance(own, pd.DataFrame) and other is not None and {*own.columns} == {*other.columns}:
            changes[field.name] = own[list(other.columns)]
    return replace(book, instruments=like.instruments, **changes)


def _standing_reviews(one: Book, other: Book) -> tuple[Sequence[dt.date], Sequence[dt.date]]:
    """The reviews of two books, passed ones among them: the same where they differ in some that have passed alone."""
    own, theirs = (book.settings.horizon.reviews for book in (one, other))
    later = max(book.settings.book.as_of for book in (one, other))
    if [day for day in own if day > later] != [day for day in theirs if day > later]:
        return own, theirs
    return (both := sorted({*own, *theirs})), both


def _tables(book: Book) -> dict[str, pd.DataFrame]:
    """The tables of a book with their defaults, as checks look at them; prices are in the book's currency."""
    cash = {"name": book.cash_instrument, "issuer": book.cash_instrument, "bucket": "cash", "source": "",
            "required_return": book.cash_required_return}  # fmt: skip
    exposures = book.exposures.copy()
    exposures.loc[book.cash_instrument] = pd.Series(cash, dtype=object).reindex(exposures.columns)
    holdings = pd.DataFrame({
        "account": book.account,
        "instrument": [*book.instruments, book.cash_instrument],
        "quantity": [*book.quantities, book.cash],
        "price": [*book.prices, 1.0],
        "currency": book.settings.book.currency,
        "lot_size": [*book.lot_sizes, 1.0],
    })  # fmt: skip
    found = {
        "exposures": exposures,
        "scenario_returns": None if book.scenario_returns.empty else book.scenario_returns,
        "prices": book.price_history,
        "covariance": book.covariance,
        "benchmark": None if book.benchmark is None else book.benchmark.to_frame("weight"),
        "factors": book.factors,
    }
    tables = {name: table.reset_index() for name, table in found.items() if table is not None}
    tables["exposures"].attrs["classification"] = book.classification
    return tables | {"holdings": holdings} | ({} if book.signals is None else {"signals": book.signals})


def _columns_of(table: pd.DataFrame, names: Collection[str], *, kept: bool) -> pd.DataFrame:
    return table[[column for column in table if (column in names) == kept]]


# What differs, in words: keys of book.toml with both values, tables with their columns.
#


def _table_changes(told: str, name: str, one: Any, other: Any) -> list[str]:
    """What of a field of a book differs, in words; nothing where nothing does."""
    if isinstance(one, np.ndarray):
        return [] if np.array_equal(one, other) else [told]
    one, other = (_table(part) for part in (one, other))
    if one is None or other is None:
        return [] if one is other else [f"{told} ({'gone' if other is None else 'new'})"]
    if not isinstance(one, pd.DataFrame):
        return [] if one == other else [told]
    if one.index.name is not None and {*one.index} != {*other.index}:
        sets = (("new", other.index.difference(one.index)), ("gone", one.index.difference(other.index)))
        return [f"{told} ({', '.join(f'{_few(names)} {word}' for word, names in sets if len(names))})"]
    if len(one) != len(other):
        return [f"{told} ({len(one)} rows → {len(other)})"]
    first, second = (_cells(table, _WORDS.get(name, ())) for table in (one, other))
    blank = [""] * len(one)
    differ = [key for key in {**first, **second} if first.get(key, blank) != second.get(key, blank)]
    return [f"{told} ({_few(differ)})"] if differ else []


def _table(part: Any) -> Any:
    """A table that says something; None for one that does not."""
    if isinstance(part, pd.Series):  # a benchmark, in which what weighs nothing is not
        part = part[part != 0].to_frame("weight")
    return None if isinstance(part, pd.DataFrame) and part.empty else part


def _cells(table: pd.DataFrame, without: Collection[str]) -> dict[str, list[object]]:
    """Columns as plain cells, "" for a blank."""
    said = [column for column in table if column not in without]
    return {str(column): table[column].astype(object).where(table[column].notna(), "").tolist() for column in said}


def _few(names: Collection[object]) -> str:
    told = [printable(str(name)) for name in names]
    if isinstance(names, pd.DatetimeIndex):
        return f"{len(told)} rows"
    return ", ".join(told if len(told) <= _NAMED else [*told[:_NAMED], f"{len(told) - _NAMED} more"])


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    return {key: _plain(part) for key, part in value.items()} if isinstance(value, dict) else value


def _value_changes(place: tuple[str, ...], one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every key at which two sections differ, and what stands there; notes are words, which no plan is made from."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            if key != "note" or isinstance(one.get(key), dict):
                yield from _value_changes((*place, str(key)), one.get(key), other.get(key))
    elif one != other and (one or other or _is_number(one) != _is_number(other)):
        yield (place[0] if len(place) == 1 else dotted_key(*place)), one, other


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _told(value: Any) -> str:
    if value is None or isinstance(value, dict):
        return "stated" if value else "none"
    if isinstance(value, list):
        return f"[{_few(value)}]"
    return f"{value:g}" if isinstance(value, float) else printable(str(value))
