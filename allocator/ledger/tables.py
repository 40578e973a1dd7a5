"""The three tables of a ledger, in SQLite and in PostgreSQL: rows are added, and triggers refuse every other change.

An entry is one thing that happened, such as a run or its approval. `ledger_entries` is the chain: the whole entry as
canonical JSON, with its number and the hash of the one before in it, and the SHA-256 of that text. `ledger_runs` is the
index that a history is read from, `ledger_contents` the bytes of inputs and orders, each once, by their SHA-256.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    DDL,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    event,
    inspect,
)

FORMAT: Final = "allocator.ledger/1"
"""Of every row; one of another format was written by another release."""
METADATA = MetaData()


def _table(name: str, *columns: Column[Any] | Index) -> Table:
    return Table(name, METADATA, Column("format", String(40), nullable=False), *columns)


ENTRIES = _table(
    "ledger_entries",
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(20), nullable=False),
    Column("run_id", String(200), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("entry", Text, nullable=False),
    Index("ledger_entries_kind", "kind", "run_id"),
)
RUNS = _table(
    "ledger_runs",
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("run_id", String(200), nullable=False, unique=True),
    Column("recorded", String(40), nullable=False),
    *(Column(name, Text, nullable=False) for name in ("book", "account", "as_of", "currency")),
    *(Column(name, Float) for name in ("value", "turnover", "expected_return", "adverse_expected_return")),
    Column("orders", Integer, nullable=False),
    Column("verdict", String(40), nullable=False),
)
CONTENTS = _table(
    "ledger_contents",
    Column("digest", String(64), primary_key=True),
    Column("packed_digest", String(64), nullable=False),
    Column("packed", LargeBinary, nullable=False),
)
_KEYS = {ENTRIES: "sequence", RUNS: "sequence", CONTENTS: "digest"}
_REFUSED = "a ledger only grows"


def _let_only_grow(table: Table, key: str) -> None:
    """The triggers of a table, made with it. In SQLite a REPLACE deletes and tells no trigger of that."""
    name = table.name
    for verb in ("UPDATE", "DELETE", "INSERT"):
        taken = f"WHEN EXISTS (SELECT 1 FROM {name} WHERE {key} = NEW.{key})" if verb == "INSERT" else ""
        body = f"BEFORE {verb} ON {name} {taken} BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
        made = DDL(f"CREATE TRIGGER {name}_no_{verb.lower()} {body}")  # type: ignore[no-untyped-call]
        event.listen(table, "after_create", made.execute_if(dialect="sqlite"))
    refuses = f"BEGIN RAISE EXCEPTION '{_REFUSED}'; END"
    function = f"CREATE OR REPLACE FUNCTION ledger_only_grows() RETURNS trigger LANGUAGE plpgsql AS $${refuses}$$"
    trigger = (
        f"CREATE TRIGGER {name}_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON {name} "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_only_grows()"
    )
    for statement in (function, trigger):
        made = DDL(statement)  # type: ignore[no-untyped-call]
        event.listen(table, "after_create", made.execute_if(dialect="postgresql"))


for _table_, _key in _KEYS.items():
    _let_only_grow(_table_, _key)


def is_there(connection: Connection) -> bool | None:
    """Whether a database holds a ledger; None where it is one that holds other tables alone."""
    found = inspect(connection).get_table_names()
    there = [table.name in found for table in METADATA.tables.values()]
    return all(there) if any(there) or not found else None


def make_tables(connection: Connection) -> None:
    """Make those that are not there, with their triggers."""
    METADATA.create_all(connection)
