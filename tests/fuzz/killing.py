"""Kill the real command while it writes, at times that chance chooses, and look at what is left."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from allocator.__main__ import main
from tests.command_line import runner

ROOT = Path(__file__).resolve().parent.parent.parent
NO_DIGEST = "0" * 64
WRITING = """
import sys
from pathlib import Path
from allocator.plan.runs import write_files
pairs, out = Path(sys.argv[1]), Path(sys.argv[2])
both = [{path.name: path.read_bytes() for path in sorted((pairs / one).iterdir())} for one in ("0", "1")]
print("ready", flush=True)
for time in range(10**9):
    write_files(both[time % 2], out)
"""
"""What the command does at its end, again and again, so that a kill falls into it."""


def faults_of_pair(out: Path) -> list[str]:
    """What is wrong with the two files of a plan: missing, cut short, or not of each other."""
    if not out.is_dir():
        return ["there is no folder"]
    try:
        orders, plan = (out / "orders.csv").read_bytes(), (out / "plan.json").read_bytes()
        document = json.loads(plan)
    except (OSError, ValueError) as error:
        return [f"{type(error).__name__}: {error}"]
    named = document["orders_sha256"]
    faults = [] if named == hashlib.sha256(orders).hexdigest() else ["plan.json names other orders"]
    whole = plan.replace(named.encode(), NO_DIGEST.encode())
    named_by = {row["plan_sha256"] for row in csv.DictReader(orders.decode().splitlines())}
    if not named_by <= {hashlib.sha256(whole).hexdigest()}:
        faults.append("orders.csv names another plan")
    return faults


def rebalance(book: Path, out: Path, *options: str) -> Sequence[str]:
    """The command line of a plan that is written."""
    return [sys.executable, "-m", "allocator", "rebalance", str(book), "--out", str(out), *options]


def environment() -> dict[str, str]:
    """With the checkout in front."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def two_pairs(book: Path, folder: Path) -> Path:
    """Two plans of a book, written by the command: folders 0 and 1."""
    for number, turnover in enumerate(("0.35", "0.30")):
        _, _, _, *arguments = rebalance(book, folder / str(number), "--set", f"mandate.max_turnover={turnover}")
        assert runner().invoke(main, arguments).exit_code == 0
    return folder


def killed_writers(
    pairs: Path, out: Path, seed: int, times: int, *, writers: int = 2
) -> Iterator[tuple[int, list[str]]]:
    """So many times: some writers at once, one killed at a moment of chance, and the faults of what is there then."""
    chance = random.Random(seed)
    alive: list[subprocess.Popen[str]] = []
    try:
        for number in range(times):
            if chance.random() < 0.2:
                _end(alive)
                alive = []
                shutil.rmtree(out, ignore_errors=True)  # so that the first pair is killed, too
            while len(alive) < writers:
                alive.append(_writer(pairs, out))
            time.sleep(chance.random() * 0.3)
            victim = alive.pop(chance.randrange(len(alive)))
            _end([victim])
            for one in alive:
                one.send_signal(signal.SIGSTOP)
            started = out.is_dir() and os.path.lexists(out / "plan.json") and (out / "plan.json").exists()
            yield number, faults_of_pair(out) if started else []
            for one in alive:
                one.send_signal(signal.SIGCONT)
    finally:
        _end(alive)


def _end(writers: Sequence[subprocess.Popen[str]]) -> None:
    for one in writers:
        one.send_signal(signal.SIGKILL)
        one.wait()
        if one.stdout is not None:
            one.stdout.close()


def _writer(pairs: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITING, str(pairs), str(out)]
    one = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    assert one.stdout is not None
    one.stdout.readline()
    return one


def killed_commands(book: Path, out: Path, seed: int, times: int) -> Iterator[tuple[int, bool, list[str]]]:
    """So many times: the real command, killed at a moment of chance; its exit code, whether it was writing, the faults.

    Every other one is killed a moment after it has begun to write, which alone would seldom happen.
    """
    chance = random.Random(seed)
    whole = _seconds(rebalance(book, out))
    for number in range(times):
        if chance.random() < 0.2:
            shutil.rmtree(out, ignore_errors=True)  # so that the first pair is killed, too
        turnover = f"mandate.max_turnover={chance.uniform(0.30, 0.35):.4f}"  # another plan than the one before
        before = _in_the_making(out)
        command = _started(rebalance(book, out, "--set", turnover))
        ends = time.monotonic() + (1e9 if number % 2 else chance.uniform(0.0, 1.1 * whole))
        while command.poll() is None and time.monotonic() < ends and not (number % 2 and _in_the_making(out) != before):
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.06) * (number % 2))
        writing = _in_the_making(out) != before
        command.kill()
        there = out.is_dir() and os.path.lexists(out / "plan.json") and (out / "plan.json").exists()
        yield command.wait(), writing, faults_of_pair(out) if there else []


def _in_the_making(out: Path) -> set[str]:
    """What a writer has made that is no plan yet, and the version that is shown."""
    beside = {path.name for path in out.parent.glob(".writing-*")}
    return beside | ({path.name for path in (out / ".plans").glob("*")} if out.is_dir() else set())


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _seconds(command: Sequence[str]) -> float:
    """How long it takes here and now."""
    begun = time.monotonic()
    assert _started(command).wait() == 0
    return time.monotonic() - begun
