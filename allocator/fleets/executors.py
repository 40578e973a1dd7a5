"""One loop for every executor of `concurrent.futures`: processes here, or a Dask cluster.

A worker may die at any time. What was under way is worked on again, account by account, and an account that a worker
dies of twice, with nothing else beside it, has failed by its own doing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from typing import Any, Protocol, TypeAlias

from allocator.errors import BadInput, required_extra
from allocator.fleets.accounts import Batch
from allocator.fleets.batches import Result, failed
from allocator.stress_testing.reoptimization import ignore_interrupts, serve_parent

Work: TypeAlias = Callable[[bytes, Batch], list[Result]]
DEATHS = 2
"""Workers that may die of one account, alone, until it has failed."""
_AHEAD = 2
"""Batches a worker has waiting: results are never more than these ahead of what is written."""


class Workers(Protocol):
    """An executor that outlives its workers."""

    def submit(self, work: Work, shared: bytes, batch: Batch) -> Future[list[Result]]:
        """Have a batch worked on."""

    @property
    def wanted(self) -> int:
        """Batches that may be under way."""

    def is_death(self, error: BaseException) -> bool:
        """Whether an error says that a worker has died of a batch, or beside it."""

    def renew(self) -> bool:
        """Go on after a death; whether all that was under way is lost with it."""

    def close(self) -> None:
        """Leave no process and no connection behind."""


class ProcessWorkers:
    """Processes of this machine, started afresh so that no thread is forked."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = self._open()

    def _open(self) -> Executor:
        return ProcessPoolExecutor(self._count, get_context("spawn"), initializer=serve_parent)

    def submit(self, work: Work, shared: bytes, batch: Batch) -> Future[list[Result]]:
        """Have a batch worked on; a process that is started for it never hears Ctrl-C."""
        with ignore_interrupts():
            return self._pool.submit(work, shared, batch)

    @property
    def wanted(self) -> int:
        """Batches that may be under way."""
        return _AHEAD * self._count

    def is_death(self, error: BaseException) -> bool:
        """A pool that has lost one process is broken."""
        return isinstance(error, BrokenExecutor)

    def renew(self) -> bool:
        """Another pool: with one of its processes a pool loses all that was under way."""
        self.close()
        self._pool = self._open()
        return True

    def close(self) -> None:
        """End what waits, and wait for what is under way."""
        self._pool.shutdown(cancel_futures=True)


class DaskWorkers:
    """The workers of a Dask cluster, whose scheduler starts what a dead worker had on another."""

    def __init__(self, address: str) -> None:
        distributed = required_extra("distributed", "distributed", "fleet", "--scheduler")
        try:
            self._client = distributed.Client(address, timeout=_REACHED_IN, set_as_default=False)
        except (OSError, ValueError) as error:
            rule = f"cannot be reached: {error}".splitlines()[0]
            cure = "name the address that the scheduler prints when it starts, such as tcp://127.0.0.1:8786"
            raise BadInput.of("--scheduler", rule, cure, value=address) from None
        self._executor = self._client.get_executor()
        self._died = distributed.scheduler.KilledWorker
        if not self._client.nthreads():
            self.close()
            cure = "start some: dask worker ADDRESS --nthreads 1"
            raise BadInput.of("--scheduler", "has no workers", cure, value=address)

    def submit(self, work: Work, shared: bytes, batch: Batch) -> Future[list[Result]]:
        """Have a batch worked on."""
        future: Future[list[Result]] = self._executor.submit(work, shared, batch)
        return future

    @property
    def wanted(self) -> int:
        """Batches that may be under way, with the workers that there are now."""
        return _AHEAD * max(int(sum(self._client.nthreads().values())), 1)

    def is_death(self, error: BaseException) -> bool:
        """After some deaths of workers that had a batch the scheduler gives it up."""
        return isinstance(error, self._died)

    def renew(self) -> bool:
        """The cluster renews itself, and nothing else is lost."""
        return False

    def close(self) -> None:
        """Leave the cluster as it is."""
        self._executor.shutdown(wait=False)
        self._client.close()


_REACHED_IN = "10s"


def work_through(
    workers: Workers,
    batches: Iterator[Batch],
    shared: bytes,
    keep: Callable[[Batch, list[Result]], None],
    work: Work,
) -> None:
    """Have batches worked on, and keep what becomes of each as it comes."""
    running = dict[Future[list[Result]], Batch]()
    while True:
        for batch in islice(batches, max(workers.wanted - len(running), 0)):
            running[_submitted(workers, work, shared, batch)] = batch
        if not running:
            return
        done = wait(running, return_when=FIRST_COMPLETED).done
        lost = list[Batch]()
        if any(workers.is_death(error) for one in done if (error := one.exception()) is not None) and workers.renew():
            done = set(wait(running).done)
        for future in done:
            batch, error = running.pop(future), future.exception()
            if error is None:
                keep(batch, future.result())
            elif workers.is_death(error):
                lost.append(batch)
            else:
                raise error
        for batch in sorted(lost, key=lambda batch: batch.number):
            keep(batch, [result for one in batch.parts for result in _alone(workers, work, shared, one)])


def _submitted(workers: Workers, work: Work, shared: bytes, batch: Batch) -> Future[list[Result]]:
    """Have a batch worked on, also where a process died since the last look."""
    try:
        return workers.submit(work, shared, batch)
    except BrokenExecutor as error:
        lost: Future[Any] = Future()
        lost.set_exception(error)
        return lost


def _alone(workers: Workers, work: Work, shared: bytes, one: Batch) -> list[Result]:
    """What becomes of an account with nothing beside it."""
    for _ in range(DEATHS):
        future = _submitted(workers, work, shared, one)
        error = future.exception()
        if error is None:
            return future.result()
        if not workers.is_death(error):
            raise error
        workers.renew()
    said = f"{DEATHS} workers died, one after the other, while they worked on this account alone"
    return [failed(case.name, DIED, said) for case in one.cases]


DIED = "WorkerDied"
"""The error of an account that workers died of: another run tries again."""
