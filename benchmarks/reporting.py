"""What a report costs beyond what is solved for it, and a step of the desk: targets 2.5 s and 0.4 MB for sample books.

`python benchmarks/reporting.py`. Processor time of the page from documents that are there (charts, tables, HTML), for
the sample books and for N = 500, from a plan alone and under stress (targets 10 s and 3 MB). Then a step of the
desk, from a knob's turn to new weights: each with another belief, median of 50 (targets 100 ms at
N = 15, 300 ms at N = 100, solve included).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

# beside this script
from questions import settings, tables

from allocator.book.book import Book, from_frames
from allocator.book.loading import load
from allocator.commands.options import BookChoice
from allocator.commands.report import of_book
from allocator.plan.document import plan_document
from allocator.plan.rebalance import rebalance
from allocator.reporting.desk import Desk
from allocator.reporting.page import Documents, report
from tests.many_names import write_many_names

SAMPLES = Path(__file__).resolve().parent.parent / "data"


def timed(work: Callable[[], object]) -> float:
    """Seconds of processor time."""
    began = time.process_time()
    work()
    return time.process_time() - began


def page(name: str, documents: Documents) -> None:
    """Print what a page costs, and how large it is."""
    made: list[str] = []
    seconds = timed(lambda: made.append(report(documents)))
    print(f"page of {name}: {seconds:.2f} s, {len(made[0].encode()) / 1e6:.2f} MB")


def steps(name: str, book: Book, turn: Callable[[float], dict[str, float]]) -> None:
    """Print the median step of a desk at beliefs that differ."""
    desk = Desk(book)
    desk.answer({})
    seconds = [timed(lambda p=p: desk.answer(turn(float(p)))) for p in np.linspace(0.05, 0.9, 50)]  # type: ignore[misc]
    print(f"desk step, {name}: {statistics.median(seconds) * 1e3:.0f} ms, longest {max(seconds) * 1e3:.0f}")


def main() -> None:
    """Print every figure."""
    report({"plan": plan_document(rebalance(load(SAMPLES / "listed")))})  # the first drawing starts the engine
    for sample in ("listed", "note", "reviewed", "approval"):
        documents, _ = of_book(BookChoice(str(SAMPLES / sample), None, (), None), 1, lambda _: None)
        page(sample, documents)
    rng = np.random.default_rng(20261130)
    large = from_frames(settings(500, rng), tables(500, rng))
    page("N = 500, the plan alone", {"plan": plan_document(rebalance(large))})
    with TemporaryDirectory() as folder:
        many = Path(folder) / "many"
        write_many_names(many, count=500)
        page("N = 500 under stress", of_book(BookChoice(str(many), None, (), None), 1, lambda _: None)[0])
    steps("listed, N = 13", load(SAMPLES / "listed"), lambda p: {"belief": p})
    steps("note, N = 10", load(SAMPLES / "note"), lambda p: {"belief": p})
    for sample in ("reviewed", "approval"):
        steps(f"{sample}, a tree", load(SAMPLES / sample), lambda p: {"belief": p})
    steps("N = 100, risk aversion", from_frames(settings(100, rng), tables(100, rng)), lambda p: {"risk": 1 + 5 * p})


if __name__ == "__main__":
    main()
