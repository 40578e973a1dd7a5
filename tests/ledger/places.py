"""Where tests keep ledgers, SQLite and a real PostgreSQL, and a way to their rows past our own code."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from allocator.commands.options import BookChoice
from allocator.ledger.ledger import Ledger, LedgerEntry, find_ledger
from allocator.ledger.record import approve, record_run
from allocator.plan.runs import BookInput, book_inputs, digests_of, run_inputs
from tests.importers.postgres import Server

ROOT = Path(__file__).resolve().parent.parent.parent
BOOK = ROOT / "tests" / "typed"
TABLES = {"ledger_entries": "sequence", "ledger_runs": "sequence", "ledger_contents": "digest"}
KINDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.xdist_group("postgres"))]
"""Of a fixture's parameters: what every test of a place is run on."""


@dataclass(frozen=True)
class Place:
    """A ledger as one states it; `server` where it is no file."""

    stated: str
    server: Server | None = None
    schema: str = ""

    @property
    def ledger(self) -> Ledger:
        """As the commands open it."""
        return find_ledger(self.stated)

    def connection(self) -> Any:
        """Of the database itself, each statement in force at once."""
        if self.server is None:
            return closing(sqlite3.connect(self.stated, isolation_level=None))
        import psycopg

        known = {"host": "127.0.0.1", "port": self.server.port, "user": self.server.owner}
        own: Any = {**known, "password": self.server.password, "options": f"-csearch_path={self.schema}"}
        return psycopg.connect(**own, dbname="postgres", autocommit=True)

    def run(self, statement: str, *values: object) -> list[Any]:
        """Past our code; `?` stands for a value."""
        with self.connection() as connection:
            done = connection.execute(statement if self.server is None else statement.replace("?", "%s"), values)
            return list(done.fetchall()) if done.description else []

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All of a table, by the names of columns."""
        with self.connection() as connection:
            done = connection.execute(f"SELECT * FROM {table} ORDER BY {TABLES[table]}")
            names = [column[0] for column in done.description]
            return [dict(zip(names, row, strict=True)) for row in done.fetchall()]

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        """Every row of the ledger."""
        return {table: self.rows(table) for table in TABLES}

    def without_triggers(self) -> Place:
        """The same, of somebody who may do everything."""
        if self.server is None:
            for (name,) in self.run("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
                self.run(f"DROP TRIGGER {name}")
        else:
            for table in TABLES:
                self.run(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        return self


def new_place(kind: str, folder: Path, postgres: Server | None) -> Place:
    """One that nobody has written to; of PostgreSQL a schema of its own."""
    if postgres is None:
        assert kind == "sqlite"
        return Place(str(folder / "ledger.db"))
    schema = f"s{random.SystemRandom().getrandbits(60):x}"
    postgres.run(f"CREATE SCHEMA {schema}")
    return Place(postgres.url(options=f"-csearch_path%3D{schema}"), postgres, schema)


@dataclass(frozen=True)
class Sample:
    """What one run of a book is recorded from."""

    book: Any
    document: Mapping[str, Any]
    files: Mapping[str, bytes]
    inputs: list[BookInput]
    choice: BookChoice = field(default_factory=lambda: BookChoice(str(BOOK), None, (), None))

    @classmethod
    def made(cls) -> Sample:
        """Of the sample book."""
        from allocator.plan.document import plan_document
        from allocator.plan.output import plan_files
        from allocator.plan.rebalance import rebalance

        book = BookChoice(str(BOOK), None, (), None).load()
        plan = rebalance(book)
        document = plan_document(plan)
        return cls(book, document, plan_files(plan, document), book_inputs(BOOK))

    def record(self, ledger: Ledger, run_id: str | None, further: bytes = b"") -> LedgerEntry:
        """Add it; with `further` bytes in a file that tells it from others."""
        files = {**self.files, "further.txt": further} if further else self.files
        options = self.choice.recorded()
        made_from = run_inputs(self.book, digests_of(self.inputs), options)
        return record_run(ledger, run_id, self.document, files, self.book.settings, self.inputs, options, made_from)

    def fill(self, place: Place, runs: int = 4) -> list[str]:
        """Some runs, every other of them approved; the head after each entry."""
        heads = list[str]()
        for number in range(runs):
            entry = self.record(place.ledger, f"day-{number}", b"further %d" % number)
            heads.append(entry.hash)
            if number % 2:
                heads.append(approve(place.ledger, entry.run_id, f"note {number}")["head"])
        return heads


def some_byte_changed(chance: random.Random, place: Place) -> Iterator[tuple[str, str, object, object, str, object]]:
    """A row with one byte of one of its cells changed, for as long as one looks: table, column, before, after, key."""
    while True:
        table = chance.choice(list(TABLES))
        row = chance.choice(place.rows(table))
        column = chance.choice(list(row))
        before = row[column]
        after = _changed(chance, before)
        if after is not None and after != before:
            key, at = TABLES[table], row[TABLES[table]]
            try:
                place.run(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", after, at)
            except Exception:  # the number or name of another row: the database has it once
                continue
            yield table, column, before, after, key, after if column == key else at


def _changed(chance: random.Random, cell: object) -> object:
    """With one byte that is another; None where that gives nothing that the column could hold."""
    if isinstance(cell, bytes):
        at = chance.randrange(len(cell))
        return cell[:at] + bytes([cell[at] ^ (1 << chance.randrange(8))]) + cell[at + 1 :]
    text = str(cell)
    at = chance.randrange(len(text))
    digits = "0123456789" if isinstance(cell, int | float) else '0123456789abcdef{}",: XYZ'
    changed = text[:at] + chance.choice(digits) + text[at + 1 :]
    try:
        return type(cell)(changed)
    except ValueError:
        return None
