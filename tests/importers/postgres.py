"""A PostgreSQL server of the tests' own: in a folder of its own, heard on this machine alone, gone when they end."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ABSENT = "PostgreSQL is not installed: apt-get install postgresql, or whatever brings initdb here"


@dataclass(frozen=True)
class Server:
    """Where it listens, and the one who may do everything."""

    port: int
    owner: str
    password: str

    def url(self, password: str = "${PGTEST_PASSWORD}", user: str = "", host: str = "127.0.0.1", **options: str) -> str:
        """An address as book.toml has it."""
        more = "&".join(f"{key}={value}" for key, value in options.items())
        return f"postgresql+psycopg://{user or self.owner}:{password}@{host}:{self.port}/postgres" + f"?{more}" * bool(
            more
        )

    def run(self, *statements: str) -> None:
        """Statements of the owner, each in force at once."""
        with self._connection() as connection:
            for statement in statements:
                connection.execute(statement)

    def answer(self, query: str) -> list[Any]:
        """The rows of a query of the owner."""
        with self._connection() as connection:
            return list(connection.execute(query).fetchall())

    def _connection(self) -> Any:
        import psycopg

        known = {"host": "127.0.0.1", "port": self.port, "user": self.owner, "password": self.password}
        return psycopg.connect(**known, dbname="postgres", autocommit=True, connect_timeout=5)  # type: ignore[arg-type]


def binaries() -> Path:
    """The folder of initdb, wherever a system has it; a test that asks is skipped where there is none."""
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found and not debian:
        pytest.skip(ABSENT)
    return (debian[-1] if debian else Path(str(found)).resolve()).parent


@contextmanager
def running_server() -> Iterator[Server]:
    """A server that is up; as root it runs as the user `postgres`, for PostgreSQL refuses root."""
    tools = binaries()
    who = _user("postgres") if os.getuid() == 0 else None
    by: dict[str, Any] = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []} if who else {}
    folder, password = Path(tempfile.mkdtemp(prefix="pg")), secrets.token_urlsafe(12)
    (folder / "password").write_text(password, encoding="utf-8")
    for path in (folder, folder / "password") if who else ():
        os.chown(path, who.pw_uid, who.pw_gid)
    try:
        make = [tools / "initdb", "-D", folder / "data", "-U", "owner", "-A", "scram-sha-256", "-E", "UTF8",
                "--locale=C", "--no-sync", f"--pwfile={folder / 'password'}"]  # fmt: skip
        subprocess.run(make, cwd=folder, check=True, capture_output=True, **by)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        serve = [tools / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder, "-c", "fsync=off",
                 "-c", "listen_addresses=127.0.0.1"]  # fmt: skip
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(serve, cwd=folder, stdout=log, stderr=log, **by)
        try:
            yield _when_it_answers(Server(port, "owner", password), server, folder / "log")
        finally:
            server.send_signal(signal.SIGINT)  # at once, whoever is connected
            server.wait()
    finally:
        shutil.rmtree(folder)


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        pytest.skip(ABSENT)


def _when_it_answers(server: Server, process: subprocess.Popen[bytes], log: Path) -> Server:
    import psycopg

    while process.poll() is None:
        try:
            server.run("SELECT 1")
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return server
    raise RuntimeError(log.read_text(encoding="utf-8", errors="replace"))
