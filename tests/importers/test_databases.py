"""Tables from SQLite and addresses of any database: what is read, what is refused, and what is told to nobody."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import sqlite3
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result

import allocator
from allocator import Book
from allocator.errors import BadInput, Breach
from allocator.importers import databases
from allocator.importers.addresses import address_fault
from allocator.importers.databases import read_query
from allocator.plan.follow import input_fingerprints
from allocator.plan.runs import input_digests
from tests.conftest import Folder
from tests.importers.postgres import ABSENT

DAY = dt.date(2026, 11, 20)
FEW = [("NVDA", 100, 180.5, "2026-11-20"), ("META", 20, None, "2026-11-20"), ("OLD", 5, 1.0, "2026-11-19")]
Fill = Callable[[str, list[str], list[list[str]]], str]
"""Makes a table of a name, a header and rows; the query that gives it."""


def one_from_a_database(book: Folder, table: str, url: str, query: str) -> None:
    """The same book, with one of its tables from elsewhere."""
    (book.path / f"{table}.csv").unlink(missing_ok=True)
    with (book.path / "book.toml").open("a", encoding="utf-8") as toml:
        toml.write(f"\n[tables.{table}]\nurl = {json.dumps(url)}\nquery = {json.dumps(query)}\n")


def all_from_a_database(book: Folder, place: Path, url: str, fill: Fill) -> Folder:
    """A copy of a book without a file of a table."""
    shutil.copytree(book.path, place)
    copy = Folder(place)
    for path in sorted(place.glob("*.csv")):
        header, *rows = copy.rows(path.name)
        one_from_a_database(copy, path.stem, url, fill(path.stem, header, rows))
    assert not list(place.glob("*.csv"))
    return copy


def same_books(one: Book, other: Book) -> None:
    assert input_fingerprints(one) == input_fingerprints(other)
    for name in ("instruments", "account", "cash", "value", "probabilities"):
        assert repr(getattr(one, name, None)) == repr(getattr(other, name, None)), name


def sqlite_fill(file: Path) -> Fill:
    def fill(name: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
        connection = sqlite3.connect(file)
        with connection:
            connection.execute(f"CREATE TABLE {name} ({', '.join(json.dumps(column) for column in header)})")
            connection.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(header))})", rows)
        connection.close()
        return f"SELECT * FROM {name}"

    return fill


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A folder with a database of one small table."""
    sqlite_fill(tmp_path / "few.db")("few", ["instrument", "quantity", "price", "day"], FEW)
    return tmp_path


def asked(folder: Path, query: str, url: str = "sqlite:///few.db") -> list[list[str]]:
    return read_query("holdings", url, query, folder, DAY).frame.values.tolist()


def refused(folder: Path, query: str = "SELECT 1 AS a", url: str = "sqlite:///few.db") -> str:
    with pytest.raises(BadInput) as caught:
        read_query("holdings", url, query, folder, DAY)
    assert caught.value.__context__ is None  # of a driver, which could hold the address
    return str(caught.value)


@pytest.mark.parametrize("sample", ["typed", "plain_books/note", "plain_books/approval"])
def test_every_table_of_a_book_may_come_from_sqlite(root: Path, tmp_path: Path, sample: str) -> None:
    book = Folder(Path(shutil.copytree(root / "tests" / sample, tmp_path / "book")))
    for beside in ("figures.csv", "claims.csv"):
        (book.path / beside).unlink(missing_ok=True)
    copy = all_from_a_database(book, tmp_path / "asked", "sqlite:///all.db", sqlite_fill(tmp_path / "all.db"))
    (tmp_path / "all.db").rename(copy.path / "all.db")

    same_books(allocator.load(book.path), allocator.load(copy.path))


def test_what_is_wrong_in_a_table_is_said_as_of_a_file_by_the_row_of_the_answer(listed: Folder, tmp_path: Path) -> None:
    for instrument, column, value in (("NVDA", "price", "1,234.5"), ("AVGO", "quantity", "x"), ("TSM", "price", "")):
        listed.cell("holdings.csv", instrument, column, value)
    shutil.copytree(listed.path, tmp_path / "asked")
    header, *rows = listed.rows("holdings.csv")
    query = sqlite_fill(tmp_path / "asked" / "all.db")("holdings", header, rows)
    one_from_a_database(Folder(tmp_path / "asked"), "holdings", "sqlite:///all.db", query)

    def breaches(folder: Path) -> tuple[Breach, ...]:
        with pytest.raises(BadInput) as caught:
            allocator.load(folder)
        return caught.value.breaches

    of_file, of_query = breaches(listed.path), breaches(tmp_path / "asked")
    assert len(of_file) == 3
    assert {one.table for one in of_query} == {"holdings of all.db"}
    assert [(b.row and b.row - 1, b.column, b.value, b.rule, b.cure) for b in of_file] == [
        (b.row, b.column, b.value, b.rule, b.cure) for b in of_query
    ]


def test_as_of_and_what_ifs_reach_the_query_and_the_digest_tells_other_rows(
    listed: Folder, run: Callable[..., Result]
) -> None:
    header, *rows = listed.rows("holdings.csv")
    dated = [[*row, day] for day in ("2026-11-20", "2027-02-20") for row in rows]
    sqlite_fill(listed.path / "all.db")("held", [*header, "day"], dated)
    names = ", ".join(header)
    one_from_a_database(listed, "holdings", "sqlite:///all.db", f"SELECT {names} FROM held WHERE day = :as_of")

    assert run("check", listed.path, "--as-of", "2027-02-20").exit_code == 0
    refusal = run("check", listed.path, "--as-of", "2027-02-21")
    assert (refusal.exit_code, "gives no rows" in refusal.stderr + refusal.stdout) == (3, True)
    fewer = names.replace("quantity", "round(quantity / 2) AS quantity")
    other = f"tables.holdings.query=\"SELECT {fewer} FROM held WHERE day = '2026-11-20'\""
    assert run("check", listed.path, "--set", other).exit_code == 0

    here = input_digests(listed.path)
    assert here["holdings of all.db"] == input_digests(listed.path, as_of=dt.date(2027, 2, 20))["holdings of all.db"]
    assert here["holdings of all.db"] != input_digests(listed.path, [other])["holdings of all.db"]


def test_columns_are_called_as_they_are_and_cells_are_the_texts_of_a_file(few: Path) -> None:
    raw = read_query("prices", "sqlite:///few.db", "SELECT 12.0 AS 'BRK.B', 1e22 AS b, NULL AS c, ' d ' AS d", few, DAY)

    assert raw.columns == ["BRK.B", "b", "c", "d"]
    assert raw.frame.values.tolist() == [["12", "10000000000000000000000", "", "d"]]
    assert asked(few, "SELECT value FROM json_each('[1, 0.1, 9e999]')") == [["1"], ["0.1"], ["inf"]]
    assert asked(few, "SELECT '12:30 :x' AS a, '50%' AS b WHERE 'ab' LIKE 'a%'") == [["12:30 :x", "50%"]]
    assert asked(few, "SELECT instrument FROM few WHERE day < :as_of -- the days before") == [["OLD"]]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT * FROM fews", "no such table: fews; name a table or view that the database has"),
        ("SELECT prize FROM few", "no such column: prize; name a column that the table has"),
        ("SELCT 1", 'near "SELCT": syntax error; write one select in the language of this database'),
        ("", "gives no table; write one select: a query may only read"),
        ("SELECT 1; DELETE FROM few", "one statement at a time.; write one select: a query may only read"),
        ("DELETE FROM few", "not authorized; write one select: a query may only read"),
        ("UPDATE few SET price = 1 RETURNING price", "not authorized; write one select"),
        ("UPDATE sqlite_master SET sql = ''", "write one select"),
        ("CREATE TEMP TABLE t (a)", "not authorized; write one select"),
        ("ATTACH DATABASE 'new.db' AS n", "not authorized; write one select"),
        ("VACUUM INTO 'copy.db'", "authorization denied; write one select"),
        ("PRAGMA journal_mode = wal", "not authorized; write one select"),
        ("SELECT :day AS a", "a query knows :as_of alone, the day of the book"),
        ("SELECT 1 AS a WHERE false", "gives no rows; look what it asks for"),
        ("SELECT 1 AS a, 2 AS a", "holdings of few.db a: this column is there 2 times; remove or rename all but one"),
        ("SELECT x'00' AS a", "holdings of few.db:1 a: is of type bytes, and no text, number or date; cast it"),
        ("SELECT 'a' || char(0) AS a", "with a NUL"),
        ("SELECT replace(hex(zeroblob(70000)), '0', 'a') AS a", "is a text of more than 131,072 characters"),
        ("SELECT randomblob(2000000) AS a", "string or blob too big; ask for fewer rows or columns"),
        ("SELECT cast(x'ff' AS text) AS a", "Could not decode to UTF-8"),
    ],
)  # fmt: skip
def test_what_sqlite_refuses_is_said_with_its_first_line_and_a_cure(few: Path, query: str, told: str) -> None:
    before = (few / "few.db").read_bytes()

    assert told in (said := refused(few, query))
    assert said.startswith(("book.toml tables.holdings.query: ", "holdings of few.db"))
    assert [path.name for path in few.iterdir()] == ["few.db"]
    assert (few / "few.db").read_bytes() == before


def test_an_endless_query_is_ended_by_rows_cells_or_work(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT {} FROM t"
    monkeypatch.setattr(databases, "MOST_ROWS", 1500)
    assert "gives more than 1,500 rows" in refused(few, endless.format("x"))
    monkeypatch.setattr(databases, "MOST_ROWS", 500_000)
    monkeypatch.setattr(databases, "MOST_CELLS", 1500)
    assert "1,500 cells" in refused(few, endless.format("x, x AS y"))
    monkeypatch.setattr(databases, "MOST_STEPS", 3)
    assert "interrupted; ask for fewer rows or columns" in refused(few, endless.format("count(*)"))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:///fwe.db", "there is no such file; did you mean 'few.db'?"),
        ("sqlite:///other/x.db", "there is no such file; put the file there; a path is relative to the folder"),
        ("sqlite:///text.db", "file is not a database; name a file of SQLite"),
        ("${NOT_THERE}", "the environment has no NOT_THERE; say export NOT_THERE=… before the command"),
        ("sqlite:///${NOT_THERE}/few.db", "the environment has no NOT_THERE"),
        ("${BROKEN}", "BROKEN of the environment has a line break or blanks around it; set it without them"),
        ("${ODD}", "is no address of a database; write sqlite:///positions.db"),
        ("postgresql+psycopg://u:${ODD}@h:${ODD}/d", "the port is no number; write it as in HOST:5432"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused_and_no_file_is_made(
    few: Path, monkeypatch: pytest.MonkeyPatch, url: str, told: str
) -> None:
    monkeypatch.setenv("BROKEN", "sqlite:///few.db\n")
    monkeypatch.setenv("ODD", "s3cret")
    (few / "text.db").write_text("instrument,quantity\n" * 100, encoding="utf-8")

    assert told in (said := refused(few, "SELECT * FROM few", url))
    assert said.startswith("book.toml tables.holdings.")
    assert "s3cret" not in said
    assert sorted(path.name for path in few.iterdir()) == ["few.db", "text.db"]


@pytest.mark.parametrize("url", ["sqlite:///few.db", "${WHOLE}", "sqlite:///${PLACE}", "sqlite:///${ABSOLUTE}/few.db"])
def test_an_address_may_come_from_the_environment_in_whole_or_in_part(
    few: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("WHOLE", "sqlite:///few.db")
    monkeypatch.setenv("PLACE", "few.db")
    monkeypatch.setenv("ABSOLUTE", str(few))

    assert asked(few, "SELECT count(*) AS n FROM few", url) == [["3"]]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql+psycopg://u:s3cret@h/d", "holds a password"),
        ("postgresql+psycopg://u:s3cret${P}@h/d", "holds a password"),
        ("postgresql+psycopg://u:$P@h/d", "holds a password"),
        ("postgresql://u:s3cret@h/d", "holds a password"),
        ("mysql://u:s3cret@h/d", "holds a password"),
        ("postgresql+psycopg://u@h/d?password=s3cret", "holds a password"),
        ("postgresql+psycopg://u@h/d?sslpassword=s3cret", "holds a password"),
        ("postgresql+psycopg://u:${P}@h/d?sslpassword=${Q}&passfile=x", None),
        ("postgresql+psycopg:///d?host=/run", None),
        ("${WHOLE}", None),
        ("postgresql://h/d", "names another driver than postgresql+psycopg"),
        ("mysql://h/d", "must begin with sqlite:/// or postgresql+psycopg://"),
        ("h/d", "is no address of a database"),
        ("sqlite://few.db", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///few.db?mode=rwc", "has options, and SQLite is given none"),
    ],
)
def test_an_address_is_judged_where_it_is_written(url: str, told: str | None) -> None:
    fault = address_fault(url)

    assert fault is None if told is None else fault is not None and told in fault[0]
    assert "s3cret" not in str(fault)


@pytest.mark.parametrize(
    "line",
    [
        'tables.holdings={url = "postgresql+psycopg://u:s3cret@h/d", query = "x"}',
        'tables.holdings={ulr = "postgresql+psycopg://u:s3cret@h/d", query = "x"}',
        'tables.holdings={url = "postgresql+psycopg://u:s3cret@h/d", query = 5}',
        'tables.holdings="postgresql+psycopg://u:s3cret@h/d"',
        'tables.holdings="host=h password=s3cret"',
        "tables.holdings.url=postgresql+psycopg://u:s3cret@h/d",
        'book.database="postgresql://u:s3cret@h:5432/d"',
        'tables.holdings={url = "postgresql+psycopg://u:s3cret@h/d"',
        'tables.holdings={url = "sqlite:///few.db", query = "x", password = "s3cret"}',
        '"postgresql+psycopg://u:s3cret@h/d"="x"',
        "postgresql+psycopg://u:s3cret@h/d",
    ],
)
def test_a_password_is_repeated_nowhere_wherever_somebody_wrote_it(
    listed: Folder, run: Callable[..., Result], line: str
) -> None:
    answers = [run("check", listed.path, "--set", line), run("check", listed.path, "--set", line, "--json")]
    with (listed.path / "book.toml").open("a", encoding="utf-8") as toml:
        toml.write("\n" + line.replace("tables.holdings", "[tables]\nholdings", 1) + "\n")
    answers.append(run("check", listed.path))

    assert [one.exit_code for one in answers] == [3, 3, 3]
    assert not [one.output for one in answers if "s3cret" in one.stdout + one.stderr]


@pytest.mark.parametrize("text", ["see http://host:8080/a@b", "x://u:${P}@h/d", "at 12:30", "pass: all"])
def test_an_error_says_in_full_what_is_no_password(text: str) -> None:
    assert Breach.of("t", text, text).rule == text


@pytest.mark.parametrize(
    ("gone", "url", "told"),
    [
        (
            "sqlalchemy",
            "sqlite:///few.db",
            "needs SQLAlchemy, which is not installed; pip install 'portfolio-allocator[sql]'",
        ),
        (
            "sqlalchemy",
            "postgresql+psycopg://h/d",
            "needs SQLAlchemy, which is not installed; pip install 'portfolio-allocator[postgres]'",
        ),
        (
            "psycopg",
            "postgresql+psycopg://h/d",
            "needs psycopg, which is not installed; pip install 'portfolio-allocator[postgres]'",
        ),
    ],
)
def test_a_missing_driver_is_named_with_the_extra_that_has_it(
    few: Path, monkeypatch: pytest.MonkeyPatch, gone: str, url: str, told: str
) -> None:
    monkeypatch.setitem(sys.modules, gone, None)

    assert told in refused(few, url=url)


@pytest.mark.parametrize(
    ("old", "new", "errors"),
    [
        ('currency = "USD"', 'currency = "usd"', 1),
        ('url = "sqlite:///all.db"', 'url = "postgresql+psycopg://u:s3cret@h/d"', 1),
        ('url = "sqlite:///all.db"', 'url = "sqlite:///al.db"', 1),
    ],
)
def test_what_is_wrong_elsewhere_makes_no_missing_file_of_a_query(
    listed: Folder, old: str, new: str, errors: int
) -> None:
    query = sqlite_fill(listed.path / "all.db")("held", *_split(listed.rows("holdings.csv")))
    one_from_a_database(listed, "holdings", "sqlite:///all.db", query)
    listed.replace("book.toml", old, new)

    with pytest.raises(BadInput) as caught:
        allocator.load(listed.path)
    assert len(caught.value.breaches) == errors
    assert caught.value.breaches[0].row is not None


def test_a_file_that_was_a_table_is_not_left_beside_its_query(listed: Folder) -> None:
    query = sqlite_fill(listed.path / "all.db")("held", *_split(listed.rows("holdings.csv")))
    kept = (listed.path / "holdings.csv").read_bytes()
    one_from_a_database(listed, "holdings", "sqlite:///all.db", query)
    (listed.path / "holdings.csv").write_bytes(kept)

    with pytest.raises(BadInput, match=r"holdings\.csv: no table of a book has this name"):
        allocator.load(listed.path)


def _split(rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    return rows[0], rows[1:]


def test_a_long_table_is_read_as_it_stands(few: Path) -> None:
    endless = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t WHERE x < 20000)"

    frame = read_query("prices", "sqlite:///few.db", f"{endless} SELECT x AS a, -x AS b FROM t", few, DAY).frame

    pd.testing.assert_series_equal(frame["b"], pd.Series([str(-x) for x in range(1, 20_001)], name="b", dtype=object))


def test_ci_refuses_a_run_that_was_skipped_for_want_of_postgresql(root: Path) -> None:
    (pattern,) = re.findall(r"grep -E '(SKIPPED.*PostgreSQL.*)' ", (root / ".ci" / "run").read_text(encoding="utf-8"))

    assert re.search(pattern, f"SKIPPED [1] tests: {ABSENT}")


def test_psycopg_which_is_lgpl_is_brought_by_an_extra_of_its_own(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]

    assert [name for name, wanted in extras.items() if any("psycopg" in one for one in wanted)] == ["postgres"]
    assert not any("psycopg" in one for one in project["dependencies"])
