"""A book before it is one, and how its checks say what is wrong: in which file, row and column, or at which key.

A check takes a `Draft` and yields its errors. `consistency.py` lists all checks with the tables that each looks at: one
more is a function and a row there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from allocator.errors import Breach, did_you_mean, setting_breach
from allocator.settings.reading import dotted_key
from allocator.settings.settings import Settings

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True, eq=False)
class Row:
    """A row of a table that is of its contract: `line` is where it stands in the file."""

    table: str
    line: int
    cells: Mapping[Any, Any]

    def __getitem__(self, column: str) -> Any:
        return self.cells[column]

    def breach(self, column: str, rule: str, cure: str, value: str | None = None) -> Breach:
        """An error of this row, which shows what stands in the column unless a `value` is given."""
        told = shown(self.cells.get(column)) if value is None else value
        return Breach(self.table, self.line, column, told, rule, cure)


def shown(cell: Any) -> str:
    """A cell as errors show it: nothing for a blank."""
    if pd.isna(cell):
        return ""
    if isinstance(cell, pd.Timestamp):
        return f"{cell:%Y-%m-%d}"
    return f"{cell:g}" if isinstance(cell, float) else str(cell)


@dataclass(frozen=True, eq=False)
class Draft:
    """Settings, and the tables that are of their contracts, each indexed by the lines of its file.

    `given` names the tables that are there, sound or not; `account` is the one that was asked for.
    """

    settings: Settings
    tables: Tables
    given: Collection[str] = ()
    account: str | None = None

    def name(self, table: str) -> str:
        """What errors call a table, such as holdings.csv."""
        return str(self.tables[table].attrs.get("name", table))

    def rows(self, table: str, which: pd.Series[bool]) -> Iterator[Row]:
        """The rows of a table that `which` is true of."""
        frame, name = self.tables[table].loc[which], self.name(table)
        columns = list(frame.columns)
        for line, cells in zip(frame.index, frame.itertuples(index=False, name=None), strict=True):
            yield Row(name, int(line), dict(zip(columns, cells, strict=True)))

    def column_breach(self, table: str, column: str, rule: str, cure: str, value: str | None = None) -> Breach:
        """An error of a column as a whole."""
        return Breach(self.name(table), None, column, value, rule, cure)

    @cached_property
    def instruments(self) -> list[str]:
        """All of exposures.csv, cash among them."""
        return list(self.tables["exposures"]["instrument"])

    @cached_property
    def risky(self) -> pd.DataFrame:
        """The rows of exposures.csv that are not cash."""
        exposures = self.tables["exposures"]
        return exposures.loc[exposures["bucket"] != "cash"]

    @cached_property
    def cash(self) -> frozenset[str]:
        """The instruments that are cash; none where exposures.csv is not there."""
        if "exposures" not in self.tables:
            return frozenset()
        exposures = self.tables["exposures"]
        return frozenset(map(str, exposures.loc[exposures["bucket"] == "cash", "instrument"]))

    @cached_property
    def rates(self) -> dict[str, float] | None:
        """Units of the book's currency for one of each; None where fx.csv is there and broke its contract."""
        if "fx" in self.given and "fx" not in self.tables:
            return None
        fx = self.tables.get("fx")
        own = {} if fx is None else dict(zip(fx["currency"], fx["rate"], strict=True))
        return {self.settings.book.currency: 1.0} | own

    @cached_property
    def factors(self) -> list[str]:
        """The factors of factors.csv; none where it is not there."""
        columns = map(str, self.tables["factors"]) if "factors" in self.tables else ()
        return [name for name in columns if name not in ("instrument", "source")]


class Agreement(NamedTuple):
    """A check, and the table that must be there and sound for it to look; None where settings are enough."""

    look: Callable[[Draft], Iterable[Breach]]
    needs: str | None


def looked_at(*checks: Callable[[Draft], Iterable[Breach]], needs: str | None = None) -> tuple[Agreement, ...]:
    """Rows of the list of checks, of the same need."""
    return tuple(Agreement(look, needs) for look in checks)


def disagreements(draft: Draft, checks: Iterable[Agreement]) -> list[Breach]:
    """All errors, in the order of the checks."""
    tables = {None, *draft.tables}
    return [breach for check in checks if check.needs in tables for breach in check.look(draft)]


def unknown_names(
    place: tuple[str, ...], names: Iterable[str], known: Collection[str], what: str, *, at: str | None = None
) -> Iterator[Breach]:
    """Names below a section of book.toml that mean nothing, or `at` a key that lists them."""
    for name in names:
        if name not in known:
            yield setting_breach(at or dotted_key(*place, name), name, f"no such {what}", did_you_mean(name, known))


def repeated_names(key: str, names: list[str]) -> Iterator[Breach]:
    """Names that a list of book.toml has more than once."""
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield setting_breach(key, name, "is named twice", "name it once")


def not_one(key: str, probabilities: Iterable[float], rule: str) -> Iterator[Breach]:
    """Probabilities that do not sum to one, and by how much they miss it."""
    total = sum(probabilities)
    if abs(total - 1) > 1e-9:
        cure = f"the sum is {total:.10g}: {'raise' if total < 1 else 'lower'} them by {abs(1 - total):.4g} in all"
        yield setting_breach(key, f"{total:.10g}", rule, cure)
