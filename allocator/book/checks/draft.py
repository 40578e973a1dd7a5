"""A book before it is one, and how its checks say what is wrong: in which file, row and column, or at which key.

A check takes a `Draft` and yields its errors. `consistency.py` lists all checks with the tables that each looks at: one
more is a function and a row there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from allocator.book.defaults import Classification, classification
from allocator.errors import Breach, did_you_mean, setting_breach
from allocator.settings.reading import dotted_key
from allocator.settings.settings import Confirmation, Settings

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True, eq=False)
class Row:
    """A row of a table that is of its contract: `line` is where it stands in the file."""

    table: str
    line: int
    cells: Mapping[Any, Any]

    def __getitem__(self, column: str) -> Any:
        return self.cells[column]

    def breach(self, column: str, rule: str, cure: str, value: str | None = None, *, named: bool = False) -> Breach:
        """An error of this row, which shows what stands in the column unless a `value` is given; `named`, of whom."""
        told = shown(self.cells.get(column)) if value is None else value
        return Breach(self.table, self.line, column, told, rule, cure, name=self["instrument"] if named else None)


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
        if not which.any():
            return
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
    def risky_names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(map(str, self.risky["instrument"]))

    @cached_property
    def cash(self) -> frozenset[str]:
        """The instruments that are cash; none where exposures.csv is not there."""
        if "exposures" not in self.tables:
            return frozenset()
        exposures = self.tables["exposures"]
        return frozenset(map(str, exposures.loc[exposures["bucket"] == "cash", "instrument"]))

    @cached_property
    def classification(self) -> Classification:
        """Names that are unclassified, and what others take from archetypes."""
        return classification(self.tables["exposures"]) if "exposures" in self.tables else Classification()

    def states(self, column: str) -> bool:
        """Whether exposures.csv itself has a number other than 0 in a column, not only archetypes."""
        exposures, found = self.tables["exposures"], self.classification
        if column not in exposures:
            return False
        own = [name not in found.unclassified and column not in found.assumed.get(name, ("", ()))[1]
               for name in exposures["instrument"]]  # fmt: skip
        return bool(exposures.loc[own, column].any())

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


# Doubts: what is possible and improbable is an error until `[[confirm]]` names the table, the kind, and the name and
# the day where the doubt has them. An entry that meets no doubt confirms what nobody looks at any more: an error, too.
#


@dataclass(frozen=True)
class Doubt:
    """An improbable reading of `table`: which kind, of whom, when, and what would mend it.

    `file` is what errors call the table; `value` is what was read, `cure` what to correct if it is wrong.
    """

    table: str
    kind: str
    name: str | None
    date: dt.date | None
    file: str
    row: int | None
    column: str | None
    value: str | None
    rule: str
    cure: str

    @property
    def key(self) -> tuple[str, str, str | None, dt.date | None]:
        """What an entry of `[[confirm]]` must say to mean this doubt."""
        return self.table, self.kind, self.name, self.date

    def breach(self) -> Breach:
        """The doubt as an error, with the entry that confirms it."""
        cure = f"{self.cure}; if it is right as it stands, confirm it"
        return Breach(self.file, self.row, self.column, self.value, self.rule, cure, self.entry())

    def entry(self) -> str:
        """The entry of `[[confirm]]` that would confirm it, but for its reason."""
        lines = ["[[confirm]]", f'table = "{self.table}"', f'kind = "{self.kind}"']
        if self.name is not None:
            lines.append(f"name = {_toml_text(self.name)}")
        if self.date is not None:
            lines.append(f"date = {self.date.isoformat()}")
        return "\n".join([*lines, 'why = ""  # say why'])


def _toml_text(text: str) -> str:
    """A basic string of TOML; names have no control characters."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def unconfirmed(
    doubts: Iterable[Doubt], confirmed: Sequence[Confirmation], silent: Collection[object] = ()
) -> Iterator[Breach]:
    """The errors: every doubt that nothing confirms, and every confirmation that no doubt needs.

    Doubts of `silent` tables or keys could not be raised, so that no confirmation of them is needless.
    """
    raised = list(doubts)
    entries = {entry.key: at for at, entry in reversed([*enumerate(confirmed)])}
    yield from (doubt.breach() for doubt in raised if doubt.key not in entries)
    needed = {doubt.key for doubt in raised}
    for at, entry in enumerate(confirmed):
        if entry.key not in needed and (entry.table in silent or entry.key in silent):
            continue
        if entry.key not in needed:
            yield _needless(at, entry, raised)
        elif entries[entry.key] != at:
            rule, cure = f"says the same as entry {entries[entry.key] + 1}", "remove one of the two"
            yield Breach("book.toml", None, f"confirm.{at}", _said(entry), rule, cure)


def _said(entry: Confirmation) -> str:
    return ", ".join(str(part) for part in entry.key if part is not None)


def _needless(at: int, entry: Confirmation, raised: Sequence[Doubt]) -> Breach:
    alike = [doubt for doubt in raised if (doubt.table, doubt.kind) == (entry.table, entry.kind)]
    same_name = [doubt for doubt in alike if doubt.name == entry.name]
    if same_name and same_name[0].date is not None:
        cure = f"write date = {same_name[0].date.isoformat()}, or remove the entry"
    elif alike and alike[0].name is not None:
        cure = f"write name = {_toml_text(alike[0].name)}, or remove the entry"
    else:
        cure = "remove the entry: there is nothing to confirm"
    return Breach("book.toml", None, f"confirm.{at}", _said(entry), "confirms what is not in doubt", cure)
