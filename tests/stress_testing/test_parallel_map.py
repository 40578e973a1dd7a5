"""Work on many items: in order, in any number of processes, told, and kept when Ctrl-C comes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from allocator.stress_testing import reoptimization as pool
from allocator.stress_testing.reoptimization import parallel_map
from tests.thoroughness import some

ROOT = Path(__file__).resolve().parents[2]

Work = Callable[[Sequence[int]], list[int]]


def squares() -> Work:
    return lambda numbers: [number * number for number in numbers]


def slow_squares(seconds: float) -> Work:
    def work(numbers: Sequence[int]) -> list[int]:
        time.sleep(seconds * len(numbers))
        return [number * number for number in numbers]

    return work


def stopping(at: int) -> Work:
    def work(numbers: Sequence[int]) -> list[int]:
        if at in numbers:
            raise KeyboardInterrupt
        return [number * number for number in numbers]

    return work


def dying_elsewhere() -> Work:
    def work(numbers: Sequence[int]) -> list[int]:
        time.sleep(0.02)
        if multiprocessing.parent_process() is not None:
            os._exit(1)
        return [number * number for number in numbers]

    return work


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "AT_ONCE", 1)


def test_results_come_in_the_order_of_the_items() -> None:
    assert parallel_map(squares, [3, 1, 2]) == ([9, 1, 4], False)


def test_two_processes_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "ALONE_SECONDS", 0.05)
    items = list(range(60))
    told: list[str] = []
    results, _ = parallel_map(partial(slow_squares, 0.01), items, jobs=2, say=told.append, what="numbers")

    assert results == [number * number for number in items]
    assert told[-1] == "60 of 60 numbers"


@pytest.mark.parametrize("together", [1, 2, 3, 7, 16])
def test_items_handed_out_together_come_back_in_order(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "AT_ONCE", together)

    assert parallel_map(squares, list(range(7)))[0] == [0, 1, 4, 9, 16, 25, 36]


def test_what_a_process_that_ends_by_itself_leaves_is_worked_on_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "ALONE_SECONDS", 0.05)
    told: list[str] = []
    done = parallel_map(dying_elsewhere, list(range(12)), jobs=2, say=told.append, what="numbers")

    assert done == ([number * number for number in range(12)], False)
    assert told[-1] == "12 of 12 numbers"
    assert "a process ended by itself: what is left is worked on in this one" in told


def test_nothing_to_do_is_done() -> None:
    assert parallel_map(squares, [], jobs=2) == ([], False)


def test_ctrl_c_keeps_what_is_finished() -> None:
    assert parallel_map(partial(stopping, 4), list(range(9))) == ([0, 1, 4, 9, *[None] * 5], True)


def test_ctrl_c_keeps_what_other_processes_have_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "ALONE_SECONDS", 0.05)
    monkeypatch.setattr(pool, "_TOLD_SECONDS", 0.0)

    def press(text: str) -> None:
        if int(text.split(maxsplit=1)[0]) > 20:
            raise KeyboardInterrupt

    results, interrupted = parallel_map(partial(slow_squares, 0.01), list(range(400)), jobs=2, say=press)

    assert interrupted
    assert 20 < sum(result is not None for result in results) < 400
    assert all(result in (None, i * i) for i, result in enumerate(results))


def test_an_error_of_the_work_itself_is_not_swallowed() -> None:
    def broken() -> Work:
        return lambda numbers: [1 // number for number in numbers]

    with pytest.raises(ZeroDivisionError):
        parallel_map(broken, [1, 0])


SLOW_START = """
import os, signal, sys, threading, time
from allocator.stress_testing.reoptimization import parallel_map

class Slow:
    def __call__(self):
        return self.work
    def work(self, items):
        time.sleep(0.02 * len(items))
        return [item + 1 for item in items]

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores Ctrl-C
    threading.Timer(float(sys.argv[1]), lambda: os.killpg(os.getpgrp(), signal.SIGINT)).start()
    results, interrupted = parallel_map(Slow(), list(range(4000)), jobs=2)
    print(interrupted, 0 < sum(result is not None for result in results) < len(results))
else:
    time.sleep(1.0)  # a worker that imports for a while
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this system has no signal masks")
@pytest.mark.parametrize("after", some((1.3, 0.9, 2.0), 3))
def test_ctrl_c_while_workers_start_stops_them_and_keeps_what_is_finished(tmp_path: Path, after: float) -> None:
    """It reaches every process of a terminal, those too that have not begun."""
    script = tmp_path / "slow.py"
    script.write_text(SLOW_START, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), str(after)], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=120, start_new_session=True,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "True"], done.stderr
    assert "Traceback" not in done.stderr
