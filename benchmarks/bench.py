"""Every claim about speed in one run: our calls, the bare solvers and the peers on the same data, each task in turn.

    make bench                         # in build/peers, where the peers are; writes docs/performance.md too
    python benchmarks/bench.py --large     # also what takes minutes: Riskfolio-Lib at N = 2000, peers at 500 x 5000
    python benchmarks/bench.py public KL:1000         # some tasks, or sizes, printed and not kept
    python benchmarks/bench.py --keep public KL:1000  # put in place of the same sizes of the run that is kept

A run of all tasks is kept in benchmarks/results.json, from which `page.py` makes the page. Each size of a task runs in
a process of its own, on one thread. What a peer cannot do, or where it is not installed, its row says so.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import datetime as dt
import importlib.metadata
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
SHOWN = ("numpy", "scipy", "pandas", "cvxpy", "piqp", "clarabel", "highspy", "osqp", "skfolio", "PyPortfolioOpt",
         "riskfolio-lib", "cvxportfolio")  # fmt: skip


def one(task: str, size: str, *, large: bool) -> None:
    """Measure one size in this process and print its rows."""
    import gc
    import warnings

    warnings.simplefilter("ignore")
    if task in ("mean-variance", "CVaR"):
        from peers import load_peers

        load_peers()
        gc.collect()
        gc.freeze()  # what the peers bring is no garbage of ours to look through
    from tasks import TASKS

    json.dump(TASKS[task].measure(size, large=large), sys.stdout)


def measured(task: str, size: str, *, large: bool) -> list[dict[str, Any]]:
    """The same in a process of its own."""
    asked = [sys.executable, __file__, "--one", f"{task}:{size}", *(["--large"] if large else [])]
    path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(asked, check=False, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path})
    if done.returncode:
        raise SystemExit(f"bench: {task} {size} ended with status {done.returncode}")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def in_place(kept: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The kept rows, those of the sizes that were measured again replaced, by task in the order of the tasks."""
    from tasks import TASKS

    again, tasks = {(row["task"], row["size"]) for row in new}, list(TASKS)
    rows = [row for row in kept if (row["task"], row["size"]) not in again] + new
    places = {name: {size: i for i, size in enumerate(TASKS[name].sizes)} for name in tasks}
    return sorted(rows, key=lambda row: (tasks.index(row["task"]), places[row["task"]].get(row["size"], 0)))


def machine() -> dict[str, Any]:
    """What it was measured on, and with."""
    told = Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""
    cpu = next((line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")), "")
    versions = {}
    for name in SHOWN:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(), "cpu": cpu or platform.machine(), "cores": os.cpu_count(),
        "python": platform.python_version(), "system": platform.system(), "versions": versions,
        "load_before": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def main() -> None:
    """All, or what is named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK[:SIZE]")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        task, _, size = asked.one.partition(":")
        one(task, size, large=asked.large)
        return
    from page import tables_of
    from tasks import TASKS

    began, at, every = time.monotonic(), machine(), list[dict[str, Any]]()
    chosen = [named.partition(":") for named in asked.tasks] or [(name, "", "") for name in TASKS]
    for task, _, size in chosen:
        sizes = [size] if size else TASKS[task].sizes
        rows = [row for each in sizes for row in measured(task, each, large=asked.large)]
        every += rows
        print("\n".join(tables_of(task, rows)), flush=True)
    at |= {"load_after": round(os.getloadavg()[0], 1), "seconds": round(time.monotonic() - began)}
    print(f"in {at['seconds']} s", flush=True)
    if asked.keep and asked.tasks:
        kept = json.loads(RESULTS.read_text(encoding="utf-8"))
        named = [f"{row['task']} {row['size']}" for row in every]
        at, every = kept["machine"], in_place(kept["rows"], every)
        at["again"] = list(dict.fromkeys([*at.get("again", []), *named]))
    if asked.keep or not asked.tasks:
        # a row a line, so that two runs can be compared
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in every)
        text = f'{{"machine": {json.dumps(at, ensure_ascii=False)},\n"rows": [\n{lines}\n]}}\n'
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
