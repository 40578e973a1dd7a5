"""Tables from a real PostgreSQL: what its types become, what it refuses in our words, and what is never told."""

from __future__ import annotations

import datetime as dt
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import allocator
from allocator.errors import BadInput
from allocator.importers import databases
from allocator.importers.databases import read_query
from tests.conftest import Folder
from tests.importers.postgres import Server
from tests.importers.test_databases import all_from_a_database, one_from_a_database, same_books

pytestmark = pytest.mark.xdist_group("postgres")  # one server

DAY = dt.date(2026, 11, 20)


@pytest.fixture(scope="module")
def server(postgres: Server) -> Server:
    """One for all; it holds a table of each thing that a test looks at."""
    postgres.run(
        "CREATE TABLE few (instrument text, quantity numeric(12, 3), price float8, day date)",
        "INSERT INTO few VALUES ('NVDA', 100, 180.5, '2026-11-20'), ('META', 20.125, NULL, '2026-11-20')",
        "CREATE SEQUENCE counter",
        "CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO few VALUES (''X'') RETURNING 1'",
        "CREATE ROLE reader LOGIN PASSWORD 'of: the/reader@%41'",
    )
    return postgres


@pytest.fixture(autouse=True)
def password(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where an address finds it."""
    monkeypatch.setenv("PGTEST_PASSWORD", server.password)
    return server.password


def refused(url: str, query: str = "SELECT 1 AS a") -> str:
    """What is said of a query; nothing that a traceback or a log could show of it holds a password."""
    with pytest.raises(BadInput) as caught:
        read_query("holdings", url, query, Path(), DAY)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_every_table_of_a_book_may_come_from_postgresql(listed: Folder, tmp_path: Path, server: Server) -> None:
    def fill(name: str, header: list[str], rows: list[list[str]]) -> str:
        columns = ", ".join(f'"{column}" text' for column in header)
        server.run(f"DROP TABLE IF EXISTS t_{name}", f"CREATE TABLE t_{name} (at int, {columns})")
        marks = ", ".join(["%s"] * (len(header) + 1))
        with server._connection() as connection:
            connection.cursor().executemany(
                f"INSERT INTO t_{name} VALUES ({marks})",
                [(at, *(cell or None for cell in row)) for at, row in enumerate(rows)],
            )
        names = ", ".join(f'"{column}"' for column in header)
        return f"SELECT {names} FROM t_{name} ORDER BY at"

    all_from_a_database(listed, tmp_path / "asked", server.url(), fill)

    same_books(allocator.load(listed.path), allocator.load(tmp_path / "asked"))


def test_each_type_is_the_text_that_a_file_would_hold(server: Server) -> None:
    query = """SELECT 1.250::numeric(9, 3) AS a, 7::numeric AS b, 1e-7::numeric AS c, 12::float8 AS d, 0.1::float4 AS e,
        true AS f, date '2026-11-20' AS g, timestamp '2026-11-20' AS h, timestamp '2026-11-20 12:30' AS i,
        'NaN'::numeric AS j, 'NaN'::float8 AS k, NULL AS l, 'X '::char(4) AS m, 9007199254740993::bigint AS n,
        '6f2c8a4e-0b1d-4c3a-9e5f-112233445566'::uuid AS o, '1.0e30'::numeric AS p, 12.5::money AS q, 'é'::text AS r"""

    (row,) = read_query("holdings", server.url(), query, Path(), DAY).frame.itertuples(index=False)

    assert list(row) == [
        "1.25", "7", "0.0000001", "12", "0.1", "true", "2026-11-20", "2026-11-20 00:00:00", "2026-11-20 12:30:00",
        "NaN", "nan", "", "X", "9007199254740993", "6f2c8a4e-0b1d-4c3a-9e5f-112233445566", "1" + 30 * "0", "$12.50",
        "é",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value", ["ARRAY[1]", "interval '1 day'", "'{}'::json", r"'\x00'::bytea", "time '10:00'", "'1.2.3.4'::inet"]
)
def test_a_type_that_no_file_could_hold_is_refused_by_row_and_column(server: Server, value: str) -> None:
    told = refused(server.url(), f"SELECT 'A' AS instrument, {value} AS odd")

    assert told.startswith("holdings of postgres:1 odd: is of type ")
    assert told.endswith("and no text, number or date; cast it to one of these in the query")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT * FROM fews", 'relation "fews" does not exist; name a table or view that the database has'),
        ("SELECT prize FROM few", 'column "prize" does not exist; name a column that the table has'),
        ("SELCT 1", 'syntax error at or near "SELCT"; write one select in the language of this database'),
        ("", "syntax error at end of input; write one select in the language of this database"),
        ("SELECT 1; DROP TABLE few", "cannot insert multiple commands into a prepared statement; write one select"),
        ("UPDATE few SET price = 1", 'syntax error at or near "UPDATE"; write one select'),
        ("WITH w AS (DELETE FROM few RETURNING *) SELECT * FROM w", "statements in WITH; write one select"),
        ("SELECT nextval('counter')", "nextval() in a read-only transaction; write one select: a query may only read"),
        ("SELECT writes()", "INSERT in a read-only transaction; write one select: a query may only read"),
        ("SELECT set_config('transaction_read_only', 'off', true)", "read-write mode must be set before any"),
        ("COMMIT", 'syntax error at or near "COMMIT"'),
        ("SELECT 1 / 0 AS a", "division by zero; try the query where you wrote it"),
        ("SELECT date 'infinity' AS a", "date too large"),
        ("SELECT :day AS a", 'syntax error at or near ":"; a query knows :as_of alone, the day of the book'),
        ("SELECT * FROM few WHERE day = '2020-01-01'", "tables.holdings.query: gives no rows; look what it asks for"),
    ],
)  # fmt: skip
def test_what_the_database_refuses_is_said_with_its_first_line_and_a_cure(
    server: Server, query: str, told: str
) -> None:
    before = server.answer("SELECT count(*), sum(price), (SELECT last_value FROM counter) FROM few")

    assert told in (said := refused(server.url(), query))
    assert said.startswith("book.toml tables.holdings.query: ")
    assert "\n" not in said
    assert server.answer("SELECT count(*), sum(price), (SELECT last_value FROM counter) FROM few") == before


def test_a_query_may_ask_for_the_day_and_write_colons_and_percents_of_its_own(server: Server) -> None:
    query = "SELECT instrument, '12:30 :x'::text AS a, '50%' AS b FROM few WHERE day = :as_of AND instrument LIKE 'N%'"

    raw = read_query("holdings", server.url(), query, Path(), DAY)

    assert raw.frame.values.tolist() == [["NVDA", "12:30 :x", "50%"]]
    with pytest.raises(BadInput, match="gives no rows"):
        read_query("holdings", server.url(), query, Path(), dt.date(2020, 1, 1))


def test_a_million_rows_are_refused_before_they_are_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "MOST_ROWS", 2500)
    told = refused(server.url(), "SELECT 1 / (9000 - i) AS a FROM generate_series(1, 1000000) AS i")  # row 9000 is none

    assert "gives more than 2,500 rows" in told
    assert "ask for fewer rows or columns" in told


def test_a_query_that_takes_too_long_is_ended_by_the_database(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    stated = server.url(options="-c%20statement_timeout%3D20")
    assert "canceling statement due to statement timeout; ask for fewer rows" in refused(stated, "SELECT pg_sleep(60)")
    monkeypatch.setattr(databases, "MOST_SECONDS", 0.02)
    assert "canceling statement due to statement timeout" in refused(server.url(), "SELECT pg_sleep(60)")


def test_what_cannot_be_reached_is_said_without_the_password(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as shut:
        shut.bind(("127.0.0.1", 0))
        nobody = Server(shut.getsockname()[1], "owner", "")
        assert "Connection refused; look at host and port, and that the server runs" in refused(nobody.url())
    assert "look at the spelling of the host" in refused(server.url(host="nowhere.invalid"))
    assert 'database "none" does not exist' in refused(server.url().replace("/postgres", "/none"))
    assert 'invalid connection option "nonsense"; look at the address' in refused(server.url(nonsense="1"))

    for wrong in ("wr0ng-pass", "auth", "owner"):  # the last two are in what the database says
        monkeypatch.setenv("PGTEST_PASSWORD", wrong)
        told = refused(server.url())
        assert "look at the user and the password of the address" in told
        assert ("password authentication failed" in told) == (wrong == "wr0ng-pass")
        assert wrong not in told.replace("allocator", "")


def test_a_password_with_signs_of_an_address_is_meant_as_it_is(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGTEST_PASSWORD", "of: the/reader@%41")

    assert "permission denied for table few; let this user read it" in refused(server.url(user="reader"), "TABLE few")
    monkeypatch.setenv("RISK", server.url("of%3A the%2Freader%40%2541", user="reader"))
    assert read_query("fx", "${RISK}", "SELECT 1 AS a", Path(), DAY).name == "fx of ${RISK}"


def test_a_book_tells_nobody_the_password_of_its_database(
    listed: Folder, server: Server, run: Callable[..., Result], caplog: pytest.LogCaptureFixture, password: str
) -> None:
    one_from_a_database(listed, "holdings", server.url(), "SELECT * FROM few")

    answers = [run("check", listed.path), run("check", listed.path, "--json"), run("rebalance", listed.path, "--json")]
    with pytest.raises(BadInput) as caught:
        allocator.load(listed.path)
    told = [text for one in answers for text in (one.stdout, one.stderr)]

    assert [one.exit_code for one in answers] == [3, 3, 3]
    assert "holdings of postgres:2" in told[0] + told[1]  # the price that is NULL
    told += [caplog.text, repr(caught.value), repr(caught.value.breaches), *traceback.format_exception(caught.value)]
    assert not any(password in text for text in told)
