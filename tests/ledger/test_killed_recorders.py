"""The real command killed while it records: the ledger is whole, no run half there, no orders without theirs.

A command is a fork of this process, which has the libraries imported; in `make thorough` also one that starts anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from allocator.__main__ import main
from tests.fuzz.killing import environment, faults_of_pair
from tests.ledger.places import BOOK, Place, Sample
from tests.thoroughness import THOROUGH, count

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills as POSIX has them")


def forked(arguments: Sequence[str]) -> int:
    """The process of the command in a fork of this one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # later Pythons warn of the solvers' threads, which rest
        child = os.fork()
    if child:
        return child
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        main(list(arguments))
    except SystemExit as ended:
        os._exit(ended.code if isinstance(ended.code, int) else 1)
    finally:
        os._exit(1)


def started(arguments: Sequence[str]) -> int:
    """The process of the command, of an interpreter of its own."""
    command = [sys.executable, "-m", "allocator", *arguments]
    one = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    one.returncode = 0  # waited for below
    return one.pid


def faults(place: Place, out: Path) -> list[str]:
    """What is wrong with the ledger and the orders that are there."""
    found = list(map(str, place.ledger.verify().faults))
    recorded = {json.loads(row["entry"])["contents"]["outputs"]["orders.csv"] for row in place.rows("ledger_entries")}
    if (out / "orders.csv").exists():
        found += faults_of_pair(out)
        if hashlib.sha256((out / "orders.csv").read_bytes()).hexdigest() not in recorded:
            found.append("orders without their run")
        receipt = json.loads((out / "receipt.json").read_text(encoding="utf-8"))
        if receipt["files"]["orders.csv"] not in recorded or place.ledger.verify(receipt["head"]).faults:
            found.append("a receipt of a run that is not there")
    return found


@contextmanager
def watching(place: Place) -> Iterator[Callable[[], object]]:
    """What gives something else once a run was added."""
    if place.server is None:
        yield lambda: Path(place.stated).stat().st_mtime_ns
        return
    with place.connection() as connection:
        yield lambda: connection.execute("SELECT max(sequence) FROM ledger_runs").fetchone()


@pytest.mark.parametrize(
    "start", [forked, pytest.param(started, marks=pytest.mark.skipif(not THOROUGH, reason="slow"))]
)
def test_the_command_killed_at_any_time_leaves_a_whole_ledger_and_no_orders_without_their_run(
    place: Place, tmp_path: Path, start: Callable[[Sequence[str]], int]
) -> None:
    out, book, chance = tmp_path / "out", tmp_path / "book", random.Random(25)
    shutil.copytree(BOOK, book)
    url = place.stated if place.server else f"sqlite:///{place.stated}"
    with (book / "book.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[ledger]\nurl = "{url}"\n')
    command = ["rebalance", str(book), "--out", str(out)]
    begun = time.monotonic()
    assert os.waitstatus_to_exitcode(os.waitpid(start(command), 0)[1]) == 0
    whole, found, codes = time.monotonic() - begun, dict[int, list[str]](), list[int]()

    for number in range(count(100, 20)):
        turnover = f"mandate.max_turnover={chance.uniform(0.30, 0.35):.4f}"  # another plan than the one before
        with watching(place) as seen:
            before, child = seen(), start([*command, "--set", turnover])
            if number % 2:  # from the moment that its run can be seen, which alone would seldom happen
                while seen() == before and not os.waitid(os.P_PID, child, _ENDED):
                    time.sleep(0.005)
                time.sleep(chance.uniform(0, 0.02))
            else:
                time.sleep(chance.uniform(0.3, 1.05) * whole)
        os.kill(child, signal.SIGKILL)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        if wrong := faults(place, out):
            found[number] = wrong

    assert found == {}
    assert any(code < 0 for code in codes)
    assert os.waitstatus_to_exitcode(os.waitpid(start(command), 0)[1]) == 0
    assert faults(place, out) == []


def test_apply_killed_at_any_time_leaves_one_table_or_the_other_and_is_finished_by_the_same_command(
    place: Place, tmp_path: Path, sample: Sample
) -> None:
    book, chance = tmp_path / "book", random.Random(26)
    shutil.copytree(BOOK, book)
    table = book / "holdings.csv"
    before, found, codes = table.read_bytes(), dict[int, str](), list[int]()

    def applied(run_id: str) -> int:
        return forked(["apply", run_id, "--book", str(book), "--ledger", place.stated])

    sample.record(place.ledger, "whole")
    begun = time.monotonic()
    assert os.waitstatus_to_exitcode(os.waitpid(applied("whole"), 0)[1]) == 0
    whole, after = time.monotonic() - begun, table.read_bytes()
    assert after != before
    for number in range(count(100, 12)):
        table.write_bytes(before)
        sample.record(place.ledger, f"day-{number}")
        child = applied(f"day-{number}")
        if number % 2:  # from the moment that the table is another
            while table.read_bytes() == before and not os.waitid(os.P_PID, child, _ENDED):
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.02))
        else:
            time.sleep(chance.uniform(0.3, 1.05) * whole)
        os.kill(child, signal.SIGKILL)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        if table.read_bytes() not in (before, after):
            found[number] = "neither table"
        again = os.waitstatus_to_exitcode(os.waitpid(applied(f"day-{number}"), 0)[1])
        if (again, table.read_bytes()) not in ((0, after), (3, after)):  # 3: it was recorded when it was killed
            found[number] = f"then {again}"

    assert found == {}
    assert any(code < 0 for code in codes)
    assert [one["run_id"] for one in place.ledger.applied()] == ["whole", *(f"day-{n}" for n in range(len(codes)))]
    assert place.ledger.verify().faults == []


_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT
