"""The chain of a ledger: what is in it, that it only grows, and that every change of it is found, on each database."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import shutil
import sqlite3
import warnings
from pathlib import Path
from typing import Any

import pytest

from allocator.errors import BadInput
from allocator.ledger import ledger as module
from allocator.ledger.ledger import Ledger, find_ledger
from allocator.ledger.record import approve, history_document
from tests.ledger.places import TABLES, Place, Sample, some_byte_changed
from tests.package.test_architecture import SLOW, SOLVERS, loaded_by
from tests.thoroughness import count


def refused(place: Place, *arguments: Any) -> str:
    """What verifying says."""
    try:
        return "\n".join(map(str, place.ledger.verify(*arguments).faults))
    except BadInput as error:
        return str(error)


def test_runs_and_notes_are_one_chain_whose_hashes_a_stranger_can_recompute(place: Place, sample: Sample) -> None:
    heads = sample.fill(place)

    previous = "0" * 64
    for number, row in enumerate(place.rows("ledger_entries"), 1):
        said = json.loads(row["entry"])
        assert row["entry"] == json.dumps(said, sort_keys=True, separators=(",", ":"))
        assert (said["sequence"], said["previous"]) == (number, previous)
        assert (said["format"], said["kind"], said["run_id"]) == (row["format"], row["kind"], row["run_id"])
        previous = hashlib.sha256(row["entry"].encode()).hexdigest()
        assert previous == row["hash"] == heads[number - 1]
    found = place.ledger.verify(heads[0])
    assert (found.entries, found.runs, found.head, found.faults) == (6, 4, heads[-1], [])


def test_the_bytes_of_inputs_and_orders_are_given_back_and_held_once(place: Place, sample: Sample) -> None:
    first, second = (sample.record(place.ledger, name) for name in ("one", "two"))

    held = {one.name: one.content for one in sample.inputs} | dict(sample.files)
    named = {**first.said["contents"]["inputs"], **first.said["contents"]["outputs"]}
    assert {name: place.ledger.contents([digest])[digest] for name, digest in named.items()} == held
    assert first.said["contents"] == second.said["contents"]
    assert len(place.rows("ledger_contents")) == len(named) + 1  # and the parameters


@pytest.mark.parametrize("table", TABLES)
def test_no_row_can_be_changed_removed_or_put_in_the_place_of_another(place: Place, sample: Sample, table: str) -> None:
    sample.fill(place, 2)
    before = place.everything()
    own = ["TRUNCATE TABLE {}"] if place.server else ["INSERT OR REPLACE INTO {} SELECT * FROM {}"]

    for statement in ("UPDATE {} SET format = 'other'", "DELETE FROM {}", *own):
        with pytest.raises(Exception, match="a ledger only grows"):
            place.run(statement.format(table, table))

    assert place.everything() == before


def test_every_changed_byte_of_any_row_is_found(place: Place, sample: Sample) -> None:
    sample.fill(place)
    place.without_triggers()
    chance, missed, seen = random.Random(22), [], set()
    changes = some_byte_changed(chance, place)

    for _ in range(count(200, 10)):
        table, column, before, after, key, at = next(changes)
        seen.add(table)
        if not refused(place):
            missed.append((table, column, before, after))
        place.run(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", before, at)

    assert missed == []
    assert seen == set(TABLES)
    assert refused(place) == ""


def test_every_changed_byte_of_the_file_that_changes_a_row_is_found(tmp_path: Path, sample: Sample) -> None:
    place = Place(str(tmp_path / "ledger.db"))
    sample.fill(place)
    file, rows = Path(place.stated), place.everything()
    content, chance, changed = file.read_bytes(), random.Random(23), 0

    for _ in range(count(400, 10)):
        at = chance.randrange(len(content))
        file.write_bytes(content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :])
        try:
            same = place.everything() == rows
        except (sqlite3.Error, UnicodeError):
            same = False
        changed += not same
        assert same or refused(place), at
    file.write_bytes(content)

    assert changed
    assert refused(place) == ""


def cut(place: Place, entries: int) -> None:
    """Remove the last entries as one would who knows the tables: with their runs and what only they name."""
    kept = place.rows("ledger_entries")[: len(place.rows("ledger_entries")) - entries]
    named = {digest for row in kept for part in json.loads(row["entry"]).get("contents", {}).values()
             for digest in part.values()}  # fmt: skip
    for table in ("ledger_entries", "ledger_runs"):
        place.run(f"DELETE FROM {table} WHERE sequence > ?", len(kept))
    for row in place.rows("ledger_contents"):
        if row["digest"] not in named:
            place.run("DELETE FROM ledger_contents WHERE digest = ?", row["digest"])


def restore(place: Place, before: dict[str, list[dict[str, Any]]]) -> None:
    for table, rows in before.items():
        known = {row[TABLES[table]] for row in place.rows(table)}
        for row in rows:
            if row[TABLES[table]] not in known:
                marks = ", ".join("?" * len(row))
                place.run(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())


def test_every_cut_tail_is_found_by_a_head_that_was_kept(place: Place, sample: Sample) -> None:
    heads = sample.fill(place, count(12, 4))
    place.without_triggers()
    before, chance = place.everything(), random.Random(24)

    for _ in range(count(50, 10)):
        gone = chance.randrange(1, len(heads) + 1)
        cut(place, gone)
        kept = chance.choice(heads[len(heads) - gone :])
        assert refused(place) == ""  # what is left is whole
        assert "the tail of the ledger was cut" in refused(place, kept)
        restore(place, before)

    assert refused(place, heads[-1]) == ""


@pytest.mark.parametrize("head", ["", "abc", "g" * 64, "0" * 65])
def test_a_head_that_is_no_hash_is_refused_and_not_sought(tmp_path: Path, sample: Sample, head: str) -> None:
    place = Place(str(tmp_path / "ledger.db"))
    sample.record(place.ledger, None)

    assert "is no head hash" in refused(place, head)


def test_an_entry_that_was_taken_out_or_put_in_is_found(place: Place, sample: Sample) -> None:
    sample.fill(place, 3)
    place.without_triggers()
    approval = place.rows("ledger_entries")[2]

    place.run("DELETE FROM ledger_entries WHERE sequence = 3")
    assert "entry 3 is missing" in refused(place)
    place.run(
        "INSERT INTO ledger_entries (format, sequence, kind, run_id, hash, entry) VALUES (?, ?, ?, ?, ?, ?)",
        *(approval[name] for name in ("format", "sequence", "kind", "run_id", "hash", "entry")),
    )
    assert refused(place) == ""
    place.run("INSERT INTO ledger_contents (format, digest, packed_digest, packed) SELECT format, ?, packed_digest, "
              "packed FROM ledger_contents LIMIT 1", "f" * 64)  # fmt: skip
    assert "is not as it was recorded" in refused(place)


def test_nothing_is_built_on_an_entry_that_was_changed(place: Place, sample: Sample) -> None:
    entry = sample.record(place.ledger, "one")
    place.without_triggers()
    text = place.rows("ledger_entries")[0]["entry"]
    place.run("UPDATE ledger_entries SET entry = ?", text.replace('"turnover"', '"turnoveR"'))

    with pytest.raises(BadInput, match="not what its hash says"):
        sample.record(place.ledger, "two")
    with pytest.raises(BadInput, match="not what its hash says"):
        place.ledger.run("one")
    assert [row["run_id"] for row in place.rows("ledger_entries")] == [entry.run_id]


def add_some(stated: str, sample: Sample, writer: int, runs: int) -> None:
    """In a process of its own."""
    for number in range(runs):
        sample.record(find_ledger(stated), f"{writer} {number}" if number % 2 else None, b"%d %d" % (writer, number))


def test_writers_at_once_wait_for_each_other_and_lose_nothing(place: Place, sample: Sample) -> None:
    writers = [
        multiprocessing.get_context("fork").Process(target=add_some, args=(place.stated, sample, writer, 4))
        for writer in range(3)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # later Pythons warn of the solvers' threads, which rest
        for one in writers:
            one.start()
    for one in writers:
        one.join()

    assert [one.exitcode for one in writers] == [0, 0, 0]
    found = place.ledger.verify()
    assert (found.entries, found.runs, found.faults) == (12, 12, [])


def test_the_same_run_recorded_twice_is_one_run(place: Place, sample: Sample) -> None:
    first, second = (sample.record(place.ledger, "one") for _ in range(2))

    assert first.hash == second.hash
    assert place.ledger.verify().runs == 1


def test_a_clock_that_goes_back_is_told_and_moves_no_run(
    place: Place, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(["2026-11-20T10:00:00+00:00", "2026-11-19T10:00:00+00:00", "2026-11-21T10:00:00+00:00"])
    monkeypatch.setattr(module, "_now", lambda: next(times))

    entries = [sample.record(place.ledger, name) for name in ("one", "two", "three")]

    assert [entry.clock_went_back for entry in entries] == [False, True, False]
    assert [run["run_id"] for run in history_document(place.ledger, None)["runs"]] == ["one", "two", "three"]
    assert refused(place) == ""


def test_a_history_is_read_from_the_index_and_from_no_document(place: Place, sample: Sample) -> None:
    sample.fill(place)
    place.without_triggers()
    place.run("UPDATE ledger_entries SET entry = ''")
    place.run("DELETE FROM ledger_contents")

    document = history_document(place.ledger, 3)

    assert document["total"] == 4
    assert [(run["run_id"], run["approvals"]) for run in document["runs"]] == [("day-1", 1), ("day-2", 0), ("day-3", 1)]
    assert document["runs"][0]["book"] == sample.document["book"]["name"]
    assert document["runs"][0]["orders"] == len(sample.document["orders"])


def test_reading_a_ledger_waits_for_nothing_that_makes_plans(tmp_path: Path, sample: Sample, root: Path) -> None:
    place = str(tmp_path / "ledger.db")
    sample.record(find_ledger(place), "one")

    for command in (["history"], ["show", "one"], ["verify"], ["approve", "one", "--note", "Ann: fine"]):
        assert loaded_by(root, *command, "--ledger", place) & (SLOW | SOLVERS) == {"sqlalchemy"}


def test_a_ledger_of_another_format_is_refused_and_left_as_it_is(place: Place, sample: Sample) -> None:
    sample.record(place.ledger, "one")
    place.without_triggers()
    place.run("UPDATE ledger_entries SET format = 'allocator.ledger/9'")
    before = place.everything()

    for ask in (
        lambda: sample.record(place.ledger, "two"),
        place.ledger.history,
        lambda: approve(place.ledger, "one", "x"),
    ):
        with pytest.raises(BadInput, match=r"ledger/9|not what the entry says"):
            ask()

    assert place.everything() == before
    place.run("ALTER TABLE ledger_runs RENAME COLUMN verdict TO judgement")
    with pytest.raises(BadInput, match=r"has other tables than this release writes .*; use the release that wrote it"):
        place.ledger.history()


def test_what_a_killed_writer_left_in_the_file_is_mended_by_whoever_reads_next(tmp_path: Path, sample: Sample) -> None:
    writing, left = Place(str(tmp_path / "ledger.db")), Place(str(tmp_path / "left" / "ledger.db"))
    head, before = sample.record(writing.ledger, "one").hash, Path(writing.stated).read_bytes()
    Path(left.stated).parent.mkdir()
    with writing.connection() as connection:
        connection.execute("PRAGMA cache_size = 1")  # so that rows are in the file before they are there for good
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO ledger_contents SELECT format, digest || 'x', digest, packed FROM ledger_contents"
        )
        connection.execute(
            "INSERT INTO ledger_contents SELECT format, digest || 'y', digest, packed FROM ledger_contents"
        )
        for name in ("ledger.db", "ledger.db-journal"):
            shutil.copy(tmp_path / name, tmp_path / "left" / name)
        assert Path(left.stated).read_bytes() != before  # to be rolled back
        connection.execute("ROLLBACK")

    assert refused(left, head) == ""
    assert left.everything() == writing.everything()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no run yet"),
        (b"instrument,quantity\n" * 100, "file is not a database"),
        (None, "there is no ledger here"),
    ],
    ids=["empty", "text", "missing"],
)
def test_a_file_that_is_no_ledger_is_told_from_one_and_left_as_it_is(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "ledger.db"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(BadInput) as error:
        Ledger(str(file), file).history()

    assert said in str(error.value)
    assert (file.read_bytes() if file.exists() else None) == content


def test_a_database_of_other_tables_becomes_no_ledger(tmp_path: Path, sample: Sample) -> None:
    place = Place(str(tmp_path / "positions.db"))
    place.run("CREATE TABLE positions (a)")
    before = Path(place.stated).read_bytes()

    with pytest.raises(BadInput, match="holds other tables, and is no ledger"):
        sample.record(place.ledger, None)

    assert Path(place.stated).read_bytes() == before
