"""One piece of work on many items, in this process or in several; what is finished when Ctrl-C comes is kept."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from allocator.errors import BadInput, Breach

T = TypeVar("T")
R = TypeVar("R")
BATCH_SECONDS = 0.25
"""Of work handed to a process at once: less would be spent on the way there and back."""
AT_ONCE = 16
"""Items that work is given together: what Ctrl-C loses at most, beside batches under way elsewhere."""
_TOLD_SECONDS = 0.1
_LAST_SECONDS = 60.0
"""How long batches under way are waited for after Ctrl-C."""
_AHEAD = 2
"""Batches a process has waiting: results are never more than these ahead of what is kept."""


@dataclass(frozen=True)
class Mapped(Generic[R]):
    """Results in the order of the items, None where Ctrl-C came before."""

    results: tuple[R | None, ...]
    interrupted: bool

    @property
    def asked(self) -> int:
        """How many items there were."""
        return len(self.results)

    @property
    def finished(self) -> int:
        """How many of them are done."""
        return sum(result is not None for result in self.results)


def mapped(
    make: Callable[[], Callable[[Sequence[T]], list[R]]],
    items: Sequence[T],
    *,
    jobs: int = 1,
    say: Callable[[str], None] | None = None,
    what: str = "draws",
) -> Mapped[R]:
    """`make()` of all items, a few at once; it runs once a process, and goes there by pickle, as items and results do.

    `say` is told how many are done. Results may not be None. They do not depend on `jobs` as long as the work of an
    item depends on nothing but the item.

    Raises:
        BadInput: `jobs` is not 1 or more.
    """
    if jobs < 1:
        raise BadInput([Breach("jobs", None, None, str(jobs), "must be 1 or more", "leave it out for one process")])
    told = _Told(say, len(items), what)
    results: list[Any] = [None] * len(items)
    try:
        work = make()
        done = _here(work, items, results, told, until=None if jobs == 1 else BATCH_SECONDS)
        if done < len(items):
            _apart_or_here(make, work, items, results, told, jobs, done)
    except KeyboardInterrupt:
        return Mapped(tuple(results), interrupted=True)
    return Mapped(tuple(results), interrupted=False)


class _Told:
    """Says how many are done, ten times a second at most."""

    def __init__(self, say: Callable[[str], None] | None, asked: int, what: str) -> None:
        self._say, self._asked, self._what, self._last, self._done = say, asked, what, 0.0, 0

    def more(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if self._say is not None and (now - self._last > _TOLD_SECONDS or self._done == self._asked):
            self._last = now
            self._say(f"{self._done:,} of {self._asked:,} {self._what}")


def _here(
    work: Callable[[Sequence[T]], list[R]], items: Sequence[T], results: list[Any], told: _Told, until: float | None
) -> int:
    """Work in this process, to the end or for some seconds (which say how long an item takes); how many are done."""
    began = time.monotonic()
    for at in range(0, len(items), AT_ONCE):
        if until is not None and time.monotonic() - began > until:
            return at
        found = work(items[at : at + AT_ONCE])
        results[at : at + len(found)] = found
        told.more(len(found))
    return len(items)


@contextmanager
def unheard() -> Iterator[None]:
    """Processes that are started within never hear Ctrl-C, not even before their first line: it is the parent's."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_work: Callable[[Any], list[Any]] | None = None
"""A process's own work, made once."""


def _begin(make: Callable[[], Callable[[Any], list[Any]]]) -> None:
    global _work  # noqa: PLW0603  the only way a process keeps what its initializer made
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer; a batch under way is finished
    _work = make()


def _batch(items: list[Any]) -> list[Any]:
    assert _work is not None
    return [result for at in range(0, len(items), AT_ONCE) for result in _work(items[at : at + AT_ONCE])]


def _apart_or_here(
    make: Callable[[], Callable[[Sequence[T]], list[R]]],
    work: Callable[[Sequence[T]], list[R]],
    items: Sequence[T],
    results: list[Any],
    told: _Told,
    jobs: int,
    done: int,
) -> None:
    """Work in several processes; where one of them ends by itself, what is left is worked on in this one."""
    try:
        _apart(make, items, results, told, jobs, done)
    except BrokenExecutor:
        left = [i for i, result in enumerate(results) if result is None]
        for at in range(0, len(left), AT_ONCE):
            some = left[at : at + AT_ONCE]
            for i, result in zip(some, work([items[i] for i in some]), strict=True):
                results[i] = result
            told.more(len(some))


def _apart(
    make: Callable[[], Callable[[Sequence[T]], list[R]]],
    items: Sequence[T],
    results: list[Any],
    told: _Told,
    jobs: int,
    done: int,
) -> None:
    """Work in `jobs` processes on what is not `done`; a process is started afresh, so that no thread is forked."""
    size = max(done, 1)  # what took BATCH_SECONDS here
    size = max(1, min(size, -(-(len(items) - done) // jobs)))
    starts = iter(range(done, len(items), size))
    running: dict[Future[list[Any]], int] = {}
    context = multiprocessing.get_context("spawn")

    def keep(finished: set[Future[list[Any]]]) -> None:
        for future in finished:
            at, found = running.pop(future), future.result()
            results[at : at + len(found)] = found
            told.more(len(found))

    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(make,)) as pool:
        try:
            for at in starts:
                with unheard():
                    future = pool.submit(_batch, list(items[at : at + size]))
                running[future] = at
                if len(running) >= _AHEAD * jobs:
                    keep(wait(running, return_when=FIRST_COMPLETED).done)
            while running:
                keep(wait(running, return_when=FIRST_COMPLETED).done)
        except KeyboardInterrupt:
            for future in list(running):
                if future.cancel():
                    running.pop(future)
            with suppress(BrokenExecutor):  # what a process that ended had is not finished, and Ctrl-C is the reason
                keep(wait(running, timeout=_LAST_SECONDS).done)
            raise
