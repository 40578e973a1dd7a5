"""Books spoiled by chance are refused or read as they are, and books that mean the same are the same book."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from allocator import load, rebalance
from tests.fuzz.mutations import KEEPING, SAMPLES, SPOILING, Mutant, mutant
from tests.thoroughness import count

pytestmark = pytest.mark.skipif(os.name != "posix", reason="bounds of memory and alarms as POSIX has them")
ROOT = Path(__file__).resolve().parent.parent.parent
WORKERS = 2
"""Halves of the seeds, so that two processors share them."""
SEEDS = count(20_000, 80)


def answers(seeds: range) -> list[dict[str, Any]]:
    """What a worker says of each seed; one that dies, or is silent, says so of the seed that it was at."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz.worker"], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as worker:  # fmt: skip
        assert worker.stdin is not None
        assert worker.stdout is not None
        found = []
        for seed in seeds:
            worker.stdin.write(f"{seed}\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
            if not line:
                found.append({"seed": seed, "kind": mutant(seed).kind, "same": False, "exit": None, "wrong": "died"})
                break
            found.append(json.loads(line))
        worker.stdin.close()
    return found


@pytest.mark.parametrize("half", range(WORKERS))
def test_a_spoiled_book_is_refused_with_its_cure_or_read_as_another_reader_reads_it(half: int) -> None:
    found = answers(range(half, SEEDS, WORKERS))

    assert [one for one in found if one["wrong"] or one["exit"] not in (0, 3, 4, 5)] == []
    by_exit = Counter(one["exit"] for one in found if not one["same"])
    assert by_exit[3] > by_exit[0] / 4  # the mutations do spoil
    refused = [one for one in found if one["same"] and one["exit"] != 0]
    assert len(refused) <= 0.02 * sum(one["same"] for one in found), refused


def test_every_kind_of_mutation_is_among_those_that_are_answered() -> None:
    assert len({mutant(seed).kind for seed in range(SEEDS)}) == len(SPOILING) + len(KEEPING)


def written(case: Mutant, folder: Path) -> Path:
    """A mutant as a book on disk."""
    folder.mkdir()
    for name, content in case.files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("kind", ["order of rows", "another form", "zeros"])
def test_a_book_that_means_the_same_gives_the_same_orders(tmp_path: Path, kind: str) -> None:
    alike = (mutant(seed) for seed in range(5000))
    case = next(one for one in alike if one.same and one.kind == kind and one.sample == SAMPLES[0])

    plan, as_sample = rebalance(load(written(case, tmp_path / "book"))), rebalance(load(ROOT / SAMPLES[0]))

    assert [(one.side, one.instrument, one.quantity) for one in plan.orders] == [
        (one.side, one.instrument, one.quantity) for one in as_sample.orders
    ]


def test_a_mutant_is_the_same_each_time_it_is_made() -> None:
    assert [mutant(seed) for seed in range(20)] == [mutant(seed) for seed in range(20)]
