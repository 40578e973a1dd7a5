"""A fleet, N = 100: `python benchmarks/fleet.py [ROUNDS]`. Targets: one core takes 2 ms an account without lots, 25
with them; the command takes the same memory for 10 000 accounts as for 1 000; Dask .85 of a pool of as many processes.

The standard book in many accounts of about two billion each, whose quantities differ by half. Times are of the
processor but beside Dask, where they are of the clock, as what is compared there waits; medians of ROUNDS.
"""

from __future__ import annotations

import datetime as dt
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # per core, here and in every worker
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from questions import settings, tables

COUNT, VALUE, FEW, SOME, MANY, WORKERS = 100, 2e9, 200, 1_000, 10_000, 2


def written(folder: Path, accounts: int) -> Path:
    """A book of so many accounts in a folder."""
    rng, folder = np.random.default_rng(1), folder / f"book{accounts}"
    folder.mkdir()
    frames, stated = tables(COUNT, rng, VALUE), settings(COUNT, rng)
    (folder / "book.toml").write_text("\n".join(_toml((), stated)) + "\n", encoding="utf-8")
    for name, frame in frames.items():
        if name != "holdings":
            frame.to_csv(folder / f"{name}.csv", index=False)
    whole = frames["holdings"].assign(price=lambda frame: frame["price"].round(2))
    for number in range(accounts):
        scale = np.append(rng.uniform(0.5, 1.5, COUNT), 1.0)
        own = whole.assign(account=f"A{number:05d}", quantity=np.floor(whole["quantity"] * scale).astype(int))
        own = own.loc[(own["quantity"] > 0) | (number == 0)]  # the first says the price of all
        own.to_csv(folder / "holdings.csv", index=False, mode="a", header=number == 0)
    return folder


def _toml(place: tuple[str, ...], section: dict[str, Any]) -> Iterator[str]:
    plain = {key: value for key, value in section.items() if not isinstance(value, dict)}
    if plain:
        yield f"[{'.'.join(place)}]"
    for key, value in plain.items():
        yield f"{key} = {value.isoformat() if isinstance(value, dt.date) else json.dumps(value)}"
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _toml((*place, key), value)


def in_this_process(folder: Path, rounds: int, *, lots: bool) -> float:
    """ms of the processor an account, in batches as they come."""
    from allocator.fleets.accounts import read_fleet
    from allocator.fleets.batches import AccountSolver

    shared, accounts = read_fleet(folder, lots=lots)
    solver, took = AccountSolver(shared), list[float]()
    gc.set_threshold(100_000)  # as in a worker
    for number in [0, *range(accounts.batches)] * rounds:
        batch, began = accounts.batch(number), time.process_time()
        found = [solver.result(case, held) for case, held in zip(batch.cases, batch.held, strict=True)]
        took.append((time.process_time() - began) / len(found) * 1e3)
        assert not any(one["error"] for one in found)
    return median(took[1:])


def memory(folder: Path) -> None:
    """Print the most that the command itself held while it ran, and what all took of the processor."""
    from allocator.fleets.executors import ProcessWorkers
    from allocator.fleets.fleet import run_fleet

    with tempfile.TemporaryDirectory() as out:
        lots = sys.argv[3:] == ["lots"]
        run_fleet(folder, Path(out) / "run", lots=lots, workers=lambda: ProcessWorkers(WORKERS))
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(own.ru_maxrss / 1e3, sum(one.ru_utime + one.ru_stime for one in (own, others)))


def in_a_process_of_its_own(folder: Path, *further: str) -> tuple[float, float]:
    """What `memory` prints: MB, and seconds of the processor."""
    told = subprocess.run(
        [sys.executable, __file__, "--memory", str(folder), *further], check=True, capture_output=True, text=True
    )
    most, took = map(float, told.stdout.split())
    return most, took


def rate(folder: Path, workers: Callable[[], Any]) -> float:
    """Accounts a second by the clock, from the first results to the last."""
    from allocator.fleets.fleet import run_fleet

    told = list[tuple[float, int]]()

    def tell(text: str) -> None:
        if " accounts, " in text:
            told.append((time.perf_counter(), int(text.split(" of ", maxsplit=1)[0].replace(",", ""))))

    with tempfile.TemporaryDirectory() as out:
        run_fleet(folder, Path(out) / "run", workers=workers, progress=tell)
    (began, first), (ended, last) = told[WORKERS], told[-1]  # once every worker has read the book
    return (last - first) / (ended - began)


def against_dask(folder: Path, rounds: int) -> list[tuple[float, float]]:
    """Rates of a pool and of a cluster, one after the other."""
    from distributed import LocalCluster

    from allocator.fleets.executors import DaskWorkers, ProcessWorkers

    one_each = {"n_workers": WORKERS, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(**one_each, silence_logs=50) as cluster:  # type: ignore[no-untyped-call, unused-ignore]
        address = cluster.scheduler_address
        return [
            (rate(folder, lambda: ProcessWorkers(WORKERS)), rate(folder, lambda: DaskWorkers(address)))
            for _ in range(rounds)
        ]


def main(rounds: int) -> None:
    """All of it."""
    with tempfile.TemporaryDirectory() as place:
        few, some, many = (written(Path(place), accounts) for accounts in (FEW, SOME, MANY))
        targets, lots = (in_this_process(few, rounds, lots=with_lots) for with_lots in (False, True))
        print(f"targets, proved: {targets:.2f} ms an account (target 2)", flush=True)
        print(f"with lots: {lots:.1f} ms an account (target 25)", flush=True)
        (less, _), (more, took) = in_a_process_of_its_own(some), in_a_process_of_its_own(many)
        print(
            f"memory, {SOME:,} and {MANY:,} accounts: {less:.0f} and {more:.0f} MB; targets of {MANY:,}: ",
            end="",
        )
        print(f"{took:.0f} s of the processor", flush=True)
        pairs = against_dask(some, rounds)
        shares = sorted(cluster / pool for pool, cluster in pairs)
        print(
            f"Dask beside a pool: {median(shares):.2f} (target .85), {shares[0]:.2f} to {shares[-1]:.2f}; ",
            end="",
        )
        print(f"{median(pool for pool, _ in pairs):.0f} accounts a second in the pool", flush=True)
        _, took = in_a_process_of_its_own(many, "lots")
        print(f"{MANY:,} accounts with lots: {took:.0f} s of the processor (target 250)")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["--memory"]:
        memory(Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 5)
