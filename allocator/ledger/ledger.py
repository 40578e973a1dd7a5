"""A ledger: where it is, what is added to it and what is read from it, whichever database keeps it.

Its chain is verified by recomputing every hash. A tail that was cut off leaves a whole chain behind: that is found by
a head hash that was kept elsewhere, as it is printed with every orders file.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from allocator.errors import BadInput, Breach, did_you_mean
from allocator.importers.addresses import (
    LOCK_SECONDS,
    Mode,
    Unanswered,
    address_fault,
    database_engine,
    database_said,
    sqlite_engine,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from allocator.settings.settings import LedgerSection

DEFAULT = "ledger.db"
APPLIED = "applied"
"""The kind of an entry about trades that were written into holdings."""
NO_HASH = "0" * 64
"""What the first entry names as the one before."""
_LOCK = 0x616C6C6F6361746F
"""Of the advisory locks of PostgreSQL, the one that writers of ledgers wait for."""
Found = TypeVar("Found")
Row = dict[str, Any]


def canonical(data: object) -> str:
    """The one JSON text of plain data."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256(content: bytes | str) -> str:
    """What tells one content from another; a text that is no text, as only another's hand could leave it, has one."""
    raw = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    return hashlib.sha256(raw).hexdigest()


@dataclass(frozen=True)
class LedgerEntry:
    """One thing that happened: its number in the chain, its hash, and all that was written down of it."""

    sequence: int
    hash: str
    said: Mapping[str, Any]
    before: str | None = None
    """When the entry before was recorded, of one that was just added."""

    @property
    def clock_went_back(self) -> bool:
        """Whether it bears an earlier time than the entry before; the order is that of the numbers."""
        return self.before is not None and str(self.said["recorded"]) < self.before

    @property
    def run_id(self) -> str:
        """Of the run that it is, or is about."""
        return str(self.said["run_id"])


@dataclass(frozen=True)
class Verification:
    """What was recomputed, and every row that is not as it was written."""

    entries: int
    runs: int
    contents: int
    head: str
    faults: Sequence[Breach]


@dataclass(frozen=True, eq=False)
class Ledger:
    """A place where runs are recorded: a file of SQLite, or the address of a database as somebody stated it."""

    shown: str
    file: Path | None = None
    url: str | None = None
    folder: Path = field(default_factory=Path)
    _engines: dict[bool, Engine] = field(default_factory=dict)
    """By whether it writes; none keeps a connection."""
    _secrets: set[str] = field(default_factory=set)

    # What is added.

    def add(
        self,
        kind: str,
        run_id: str | None,
        said: Mapping[str, Any],
        contents: Mapping[str, bytes] | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> LedgerEntry:
        """Record one thing, whole or not at all; of a run, what `said["summary"]` has goes into the index.

        A run of an id that is there is not recorded again: that one is given back. Without an id it is called by its
        number in the chain. What is done `then` belongs to it: where that fails, nothing is recorded.

        Raises:
            BadInput: the database cannot be reached or refuses.
        """

        def write(connection: Connection) -> LedgerEntry:
            from allocator.ledger.tables import ENTRIES, FORMAT, RUNS

            if kind == "run" and run_id is not None and (there := self._run(connection, run_id)) is not None:
                return there
            if kind == APPLIED:
                self._refuse_twice(connection, str(run_id), said["run"])
            row = self._last(connection)
            last = None if row is None else self._sound(row)  # nothing is built on what was changed
            sequence, previous = (1, NO_HASH) if last is None else (last.sequence + 1, last.hash)
            name = f"run-{sequence}" if run_id is None else run_id
            now = _now()
            head = {"format": FORMAT, "sequence": sequence, "previous": previous, "kind": kind, "run_id": name}
            whole = {**said, **head, "recorded": now}
            text = canonical(whole)
            made = {"format": FORMAT, "sequence": sequence, "kind": kind, "run_id": name, "hash": sha256(text)}
            self._keep(connection, contents or {})
            if kind == "run":
                of_run = {"format": FORMAT, "sequence": sequence, "run_id": name, "recorded": now}
                connection.execute(RUNS.insert(), [{**of_run, **said["summary"]}])
            connection.execute(ENTRIES.insert(), [{**made, "entry": text}])
            then()
            return LedgerEntry(sequence, sha256(text), whole, None if last is None else last.said["recorded"])

        return self._transaction(write, writes=True)

    def open(self) -> None:
        """Make it where there is none, and refuse what could not be written to: before there is anything to lose."""
        self._transaction(lambda _: None, writes=True)

    # What is read.

    def history(self, last: int | None = None) -> tuple[int, list[Row], LedgerEntry | None]:
        """How many runs there are, the `last` of them oldest first, each with how often it was approved and whether its
        trades were applied, and the head.
        """

        def read(connection: Connection) -> tuple[int, list[Row], LedgerEntry | None]:
            from sqlalchemy import func, select

            from allocator.ledger.tables import ENTRIES, RUNS

            count = connection.scalar(select(func.count()).select_from(RUNS)) or 0
            columns = [column for column in RUNS.c if column.name != "format"]
            rows = connection.execute(select(*columns).order_by(RUNS.c.sequence.desc()).limit(last)).mappings()
            what = ENTRIES.c.kind, ENTRIES.c.run_id
            notes = select(*what, func.count()).where(ENTRIES.c.kind.in_(("approval", APPLIED))).group_by(*what)
            noted = {(kind, run_id): number for kind, run_id, number in connection.execute(notes)}
            found = [
                {
                    **row,
                    "approvals": noted.get(("approval", row["run_id"]), 0),
                    APPLIED: (APPLIED, row["run_id"]) in noted,
                }
                for row in rows
            ]
            end = self._last(connection)
            head = None if end is None else LedgerEntry(end["sequence"], end["hash"], {})
            return count, found[::-1], head

        return self._transaction(read)

    def find(self, run_id: str) -> LedgerEntry | None:
        """The run of this id."""
        return self._transaction(lambda connection: self._run(connection, run_id))

    def run(self, run_id: str) -> LedgerEntry:
        """The run of this id.

        Raises:
            BadInput: there is none, or it is not as it was recorded.
        """
        if (found := self.find(run_id)) is None:
            from sqlalchemy import select

            from allocator.ledger.tables import RUNS

            names = self._transaction(lambda connection: list(connection.scalars(select(RUNS.c.run_id))))
            cure = did_you_mean(run_id, names) if names else "`allocator rebalance BOOK --record` records one"
            raise BadInput([Breach("RUN", None, None, run_id, f"{self.shown} has no run of this name", cure)])
        return found

    def approvals(self, run: LedgerEntry) -> list[LedgerEntry]:
        """The notes of approval of a run, in their order; one of another run of its name is none."""
        return self._transaction(lambda connection: self._about(connection, "approval", run.run_id, run.hash))

    def application(self, run: LedgerEntry) -> LedgerEntry | None:
        """The entry about what was traded of a run, where that was written into holdings."""
        return self._transaction(
            lambda connection: next(iter(self._about(connection, APPLIED, run.run_id, run.hash)), None)
        )

    def refuse_applied(self, run: LedgerEntry) -> None:
        """Raise where what was traded of a run was written into holdings before."""
        self._transaction(lambda connection: self._refuse_twice(connection, run.run_id, run.hash))

    def applied(self) -> list[Row]:
        """What every entry about trades that were written into holdings says, oldest first."""

        def read(connection: Connection) -> list[Row]:
            from allocator.ledger.tables import ENTRIES

            rows = connection.execute(ENTRIES.select().where(ENTRIES.c.kind == APPLIED).order_by(ENTRIES.c.sequence))
            return [dict(self._sound(dict(row)).said) for row in rows.mappings()]

        file = self.file
        if self.url is not None and re.fullmatch(r"sqlite:///[^?$]+", self.url):
            file = self.folder / self.url.removeprefix("sqlite:///")
        if file is not None and not file.exists():
            return []
        return self._transaction(read, empty=[])

    def contents(self, digests: Sequence[str]) -> dict[str, bytes]:
        """Bytes that were recorded, by their SHA-256.

        Raises:
            BadInput: one is missing or is not what its digest says.
        """
        return self._transaction(lambda connection: self._contents(connection, digests))

    def with_approvals(self, run: LedgerEntry) -> tuple[dict[str, bytes], list[LedgerEntry], str]:
        """All that was recorded of a run by its SHA-256, its notes of approval, and the head of the chain."""
        digests = sorted(_digests_of(run.said))

        def read(connection: Connection) -> tuple[dict[str, bytes], list[LedgerEntry], str]:
            last = self._last(connection)
            head = run.hash if last is None else str(last["hash"])
            return self._contents(connection, digests), self._about(connection, "approval", run.run_id, run.hash), head

        return self._transaction(read)

    def verify(self, head: str | None = None) -> Verification:
        """Recompute every hash, and hold every row to the entry that it belongs to.

        With the hash of a `head` that was kept elsewhere the chain must still hold that entry: else its tail was cut,
        or it was written anew.

        Raises:
            BadInput: the head is no hash, or the database cannot be reached.
        """
        if head is not None and not re.fullmatch("[0-9a-f]{64}", head):
            rule, cure = "is no head hash", "give all 64 digits, as they were printed with the orders"
            raise BadInput([Breach("--head", None, None, head, rule, cure)])
        return self._transaction(lambda connection: self._verified(connection, head))

    # How it is done.

    def _verified(self, connection: Connection, head: str | None) -> Verification:
        from sqlalchemy import text

        from allocator.ledger.tables import METADATA

        def rows(table: str, key: str) -> Iterator[Row]:
            # as they are, and not as the types of columns would have them
            found = connection.execution_options(yield_per=500).execute(text(f"SELECT * FROM {table} ORDER BY {key}"))
            if {*found.keys()} != {*METADATA.tables[table].c.keys()}:
                raise BadInput([self._of_another_format("has other tables than this release writes")])
            return (dict(row) for row in found.mappings())

        faults, hashes, runs, named = list[Breach](), list[str](), dict[int, Row](), set[str]()
        for number, row in enumerate(rows("ledger_entries", "sequence"), 1):
            previous = hashes[-1] if hashes else NO_HASH
            said, wrong = _judged(row, number, previous)
            faults += [self._fault(number, *one) for one in wrong]
            hashes.append(str(row["hash"]))
            if not wrong:
                named |= _digests_of(said)
                if said["kind"] == "run":
                    of_run = {name: said[name] for name in ("format", "sequence", "run_id", "recorded")}
                    runs[said["sequence"]] = {**of_run, **said["summary"]}
        indexed = 0
        for row in rows("ledger_runs", "sequence"):
            indexed += 1
            number = row["sequence"]
            wanted = runs.pop(number, None) if isinstance(number, int) else None
            if wanted is None:
                rule = "the index has a run that the chain has not, or not as it was recorded"
                faults.append(self._fault(number, "runs", rule))
            elif different := [name for name in wanted if not _same(wanted[name], row.get(name))]:
                faults.append(self._fault(number, "runs", f"the index says another {' and '.join(different)}"))
        faults += [self._fault(number, "runs", "the index is without this run") for number in runs]
        held = 0
        for row in rows("ledger_contents", "digest"):
            held += 1
            digest = row["digest"]
            if not isinstance(digest, str) or digest not in named or _unpacked(row) is None:
                faults.append(self._fault(None, "contents", f"{str(digest)[:12]} is not as it was recorded"))
            named.discard(digest)
        faults += [self._fault(None, "contents", f"{digest[:12]} is missing") for digest in sorted(named)]
        if head is not None and head not in hashes:
            faults.append(Breach("--head", None, None, head, *_CUT))
        return Verification(len(hashes), indexed, held, hashes[-1] if hashes else NO_HASH, faults)

    def _keep(self, connection: Connection, contents: Mapping[str, bytes]) -> None:
        """Add the contents that are not there yet."""
        from allocator.ledger.tables import CONTENTS, FORMAT

        digests = CONTENTS.select().with_only_columns(CONTENTS.c.digest)
        known = set(connection.scalars(digests.where(CONTENTS.c.digest.in_(contents))))
        packed = {digest: zlib.compress(content, 1) for digest, content in contents.items() if digest not in known}
        new = [
            {"format": FORMAT, "digest": digest, "packed_digest": sha256(content), "packed": content}
            for digest, content in packed.items()
        ]
        if new:
            connection.execute(CONTENTS.insert(), new)

    def _about(self, connection: Connection, kind: str, run_id: str, run_hash: str) -> list[LedgerEntry]:
        """The entries of a kind about a run, in their order; one about another run of its name is none."""
        from allocator.ledger.tables import ENTRIES

        of_run = (ENTRIES.c.kind == kind) & (ENTRIES.c.run_id == run_id)
        rows = connection.execute(ENTRIES.select().where(of_run).order_by(ENTRIES.c.sequence)).mappings()
        found = [self._sound(dict(row)) for row in rows]
        return [entry for entry in found if entry.said["run"] == run_hash]

    def _refuse_twice(self, connection: Connection, run_id: str, run_hash: str) -> None:
        if self._about(connection, APPLIED, run_id, run_hash):
            rule = "was applied before: its trades are in the holdings"
            cure = "rebalance again, and apply that run; what was filled later belongs into the table of holdings"
            raise BadInput([Breach("RUN", None, None, run_id, rule, cure)])

    def _contents(self, connection: Connection, digests: Sequence[str]) -> dict[str, bytes]:
        from allocator.ledger.tables import CONTENTS

        rows = connection.execute(CONTENTS.select().where(CONTENTS.c.digest.in_(digests))).mappings()
        packed, found, faults = {row["digest"]: dict(row) for row in rows}, dict[str, bytes](), list[Breach]()
        for digest in digests:
            content = _unpacked(packed[digest]) if digest in packed else None
            if content is None:
                faults.append(self._fault(None, "contents", f"{digest[:12]} is missing or not as it was recorded"))
            else:
                found[digest] = content
        if faults:
            raise BadInput(faults)
        return found

    def _fault(self, number: object, column: str, rule: str) -> Breach:
        return Breach(self.shown, number if isinstance(number, int) else None, column, None, rule, _RESTORE)

    def _run(self, connection: Connection, run_id: str) -> LedgerEntry | None:
        from allocator.ledger.tables import ENTRIES

        named = (ENTRIES.c.kind == "run") & (ENTRIES.c.run_id == run_id)
        row = connection.execute(ENTRIES.select().where(named)).mappings().first()
        return None if row is None else self._sound(dict(row))

    def _sound(self, row: Row) -> LedgerEntry:
        """An entry as it was recorded."""
        said, wrong = _judged(row, row["sequence"], None)
        if wrong:
            raise BadInput([self._fault(row["sequence"], *one) for one in wrong])
        return LedgerEntry(said["sequence"], row["hash"], said)

    def _last(self, connection: Connection) -> Row | None:
        """The row of the last entry.

        Raises:
            BadInput: another release wrote it.
        """
        from allocator.ledger.tables import ENTRIES, FORMAT

        row = connection.execute(ENTRIES.select().order_by(ENTRIES.c.sequence.desc()).limit(1)).mappings().first()
        if row is not None and row["format"] != FORMAT:
            raise BadInput([self._of_another_format(f"is of format {row['format']}, and this release has {FORMAT}")])
        return None if row is None else dict(row)

    def _of_another_format(self, rule: str) -> Breach:
        return Breach(self.shown, None, None, None, rule, _OTHER_RELEASE)

    def _transaction(
        self, work: Callable[[Connection], Found], *, writes: bool = False, empty: Found | None = None
    ) -> Found:
        """What `work` finds or adds, all in one transaction; what is `empty`, if given, where there is no ledger yet.

        Raises:
            BadInput: the database cannot be reached or refuses; nothing of a password is told, and nothing was added.
        """
        reached = False
        try:
            if writes not in self._engines:
                self._engines[writes] = self._engine(writes=writes)
            with self._engines[writes].connect() as connection:
                reached = True
                with _begun(connection, writes=writes):
                    if empty is not None and _is_new(connection):
                        return empty
                    self._refuse_what_is_no_ledger(connection, writes=writes)
                    return work(connection)
        except BadInput:
            raise
        except Unanswered as refused:
            fault = refused.args[0], refused.args[1]
        except Exception as error:
            if not _of_database(error):
                raise
            cures = {**_CURES, **(_OF_WRITING if writes else {})}
            fault = database_said(error, self._secrets, reached=reached, otherwise=_LOOK, cures=cures)
            if _OTHER_TABLES.search(f"{getattr(getattr(error, 'orig', None), 'sqlstate', None)} {fault[0]}"):
                fault = "has other tables than this release writes", _OTHER_RELEASE
        raise BadInput(
            [Breach("ledger", None, None, self.shown, *fault)]
        )  # here, where no driver's error is its context

    def _engine(self, *, writes: bool) -> Engine:
        mode: Mode = "rwc" if writes else "rw"
        if self.url is not None:
            return database_engine(self.url, self.folder, self._secrets, mode)
        assert self.file is not None
        if not writes and not self.file.exists():
            raise Unanswered("there is no ledger here", f"{_RECORD}, or name the ledger: --ledger PLACE")
        return sqlite_engine(self.file, mode)

    def _refuse_what_is_no_ledger(self, connection: Connection, *, writes: bool) -> None:
        """Make the tables where there are none, if something is to be written."""
        from allocator.ledger.tables import is_there, make_tables

        there = is_there(connection)
        if there:
            return
        if there is None and connection.dialect.name == "sqlite":
            raise BadInput([self._of_another_format("holds other tables, and is no ledger")])
        if not writes:
            raise BadInput([Breach("ledger", None, None, self.shown, "holds no run yet", _RECORD)])
        make_tables(connection)


_OTHER_RELEASE = "use the release that wrote it, or name another ledger"
_OTHER_TABLES = re.compile("^42703|^42P01|no such column|no such table|has no column")
_RESTORE = "restore the ledger from a copy, and find out who changed it"
_RECORD = "record one with `allocator rebalance BOOK --record`"
_LOOK = "look at the database; nothing was recorded"
_CURES = {
    "^57014|interrupted": "ask again, or let who keeps the database allow more time",
    "unable to open": "make its folder, or look at the rights of the folder and the file",
    'database ".*" does not exist': "make the database, or look at the spelling of its name",
}
"""Of what is otherwise than where a table is read."""
_OF_WRITING = {
    "^25006|^42501|readonly": "let this user write to it, or name another ledger",
    "^53100|is full": "make room where the ledger is; nothing was recorded",
}
_CUT = (
    "no entry has this hash: the tail of the ledger was cut, or it was written anew",
    "restore the ledger from a copy that has it",
)


def _now() -> str:
    """By the clock of this machine, which may be wrong: nothing hangs on it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _of_database(error: Exception) -> bool:
    from sqlalchemy.exc import SQLAlchemyError

    # UnicodeError: of what SQLite says of a file whose bytes were changed
    return isinstance(error, SQLAlchemyError | sqlite3.Error | OSError | UnicodeError)


def _begun(connection: Connection, *, writes: bool) -> Any:
    """A transaction; one that writes has the ledger for itself."""
    from sqlalchemy import text

    driver: Any = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):
        driver.text_factory = _decoded
        if writes:  # a journal that stays costs a folder's sync less, and its end is synced like the rows
            driver.execute("PRAGMA journal_mode = PERSIST")
            driver.execute("PRAGMA synchronous = FULL")
        begun = connection.begin()
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
        return begun
    if not writes:
        connection.execution_options(isolation_level="REPEATABLE READ")
    begun = connection.begin()
    if writes:
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    return begun


def _is_new(connection: Connection) -> bool:
    from allocator.ledger.tables import is_there

    return is_there(connection) is False or (is_there(connection) is None and connection.dialect.name != "sqlite")


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _judged(row: Row, number: int, previous: str | None) -> tuple[Row, list[tuple[str, str]]]:
    """What an entry says, and by column what is wrong with its row; `previous` is the hash of the one before."""
    text = row["entry"]
    if not isinstance(text, str) or sha256(text) != row["hash"]:
        return {}, [("hash", "the entry is not what its hash says")]
    try:
        said = json.loads(text)
        whole = isinstance(said, dict) and canonical(said) == text
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        return {}, [("entry", "is no entry")]
    wrong = [
        (name, "is not what the entry says")
        for name in ("format", "sequence", "kind", "run_id")
        if not _same(said.get(name), row[name])
    ]
    if said.get("sequence") != number:
        wrong.append(("sequence", f"entry {number} is missing, or there twice"))
    if previous is not None and said.get("previous") != previous:
        wrong.append(("previous", "the entry before is not the one that this one follows"))
    return said, wrong


def _digests_of(said: Mapping[str, Any]) -> set[str]:
    """The contents that an entry names."""
    return {digest for part in said.get("contents", {}).values() for digest in part.values()}


def _same(said: object, found: object) -> bool:
    """A number of a column of numbers may be read as 1 or 1.0."""
    numbers = isinstance(said, int | float) and isinstance(found, int | float)
    return said == found and (numbers or type(said) is type(found))


def _unpacked(row: Row) -> bytes | None:
    """The content of a row; None where any byte of it is not as it was recorded."""
    from allocator.ledger.tables import FORMAT

    packed = row["packed"]
    if not isinstance(packed, bytes) or row["format"] != FORMAT or sha256(packed) != row["packed_digest"]:
        return None
    try:
        content = zlib.decompress(packed)
    except zlib.error:
        return None
    return content if sha256(content) == row["digest"] else None


# Where a ledger is.
#


def ledger_of(section: LedgerSection | None, folder: Path) -> Ledger:
    """The ledger that a book in `folder` names in its [ledger]; without one, `ledger.db` where we are."""
    if section is None:
        return Ledger(DEFAULT, Path(DEFAULT))
    if section.url is not None:
        return Ledger(section.url, url=section.url, folder=folder)
    return Ledger(str(folder / section.path), folder / section.path)


def find_ledger(stated: str | None) -> Ledger:
    """The ledger at a stated place: a file, the address of a database, or the folder of a book that names one.

    Raises:
        BadInput: the address holds a password or is none, or the book names no ledger.
    """
    if stated is None:
        own = Path("book.toml").is_file() and _of_book(Path())
        return own or Ledger(DEFAULT, Path(DEFAULT))
    if "://" in stated:
        if fault := address_fault(stated):
            raise BadInput([Breach("--ledger", None, None, None, *fault)])
        return Ledger(stated, url=stated)
    if not os.path.isdir(stated):  # noqa: PTH112  # a Path would not be asked for a name that none can have
        return Ledger(stated, Path(stated))
    if (named := _of_book(Path(stated))) is None:
        cure = "write [ledger] into its book.toml, or name the file: --ledger ledger.db"
        raise BadInput([Breach("--ledger", None, None, stated, "this book has no [ledger]", cure)])
    return named


def _of_book(folder: Path) -> Ledger | None:
    from allocator.book.loading import book_text
    from allocator.settings.reading import read_settings

    section = read_settings(book_text(folder)).ledger
    return None if section is None else ledger_of(section, folder)
