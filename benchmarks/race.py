"""Contenders who answer the same questions in turn, and what each of them took: processor time and wall time.

One thread. A question is asked of every contender before the next one is, so that what else the machine does hits all
of them alike; ratios are of each question's own times, and medians of these. Nothing that two questions have in common
is said to the contender: whoever keeps something finds out by itself.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 5.0
"""Seconds of processor time: who has taken longer for a question is not asked a second one."""
NAN = float("nan")


def clocked(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of processor time and of the wall's clock that a call takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


@dataclass
class Contender:
    """Who answers: `call` takes a question. `judge` says of question and answer how many bps of the account it is worse
    than the best there is, and by which part of the account it breaks a limit. `kind` is bare, ours or peer.
    """

    who: str
    kind: str
    call: Callable[[Any], Any]
    judge: Callable[[Any, Any], tuple[float, float]] | None = None
    note: str = ""
    per_call: int = 1
    """Questions that one call answers."""
    first: list[tuple[float, float] | None] = field(default_factory=list)
    again: list[tuple[float, float] | None] = field(default_factory=list)
    gap: float = NAN
    missed: float = NAN

    @property
    def tired(self) -> bool:
        """Whether it took too long to be asked again."""
        return any(at is not None and at[0] > PATIENCE for at in (*self.first, *self.again))

    def warm_up(self, question: Any) -> None:
        """Asked off the clock; who cannot answer says so when it counts."""
        with suppress(Exception):
            self.call(question)

    def answer(self, question: Any, times: list[tuple[float, float] | None]) -> None:
        """Asked once, on the clock."""
        if self.tired:
            times.append(None)
            return
        answers: list[Any] = []
        gc.collect()
        try:
            cpu, wall = clocked(lambda: answers.append(self.call(question)))
        except Exception as error:  # a peer may raise whatever it likes: its row says so
            self.note = self.note or f"{type(error).__name__}: {str(error).splitlines()[0][:80] if str(error) else ''}"
            times.append(None)
            return
        times.append((cpu / self.per_call, wall / self.per_call))
        if self.judge is not None:
            gap, missed = self.judge(question, answers[0])
            self.gap = gap if self.gap != self.gap else max(self.gap, gap)
            self.missed = missed if self.missed != self.missed else max(self.missed, missed)


def race(
    task: str, size: str, contenders: Sequence[Contender], firsts: Sequence[Any], repeats: Sequence[Any],
    warm: Sequence[Any] = (),
) -> list[dict[str, Any]]:  # fmt: skip
    """A row each: `firsts` are questions of shapes that were not asked before, `repeats` of the shape of the last.

    The first contender is the one that the others are measured over. A small question to `warm` up with is not counted:
    what is imported at a first call is of no shape.
    """
    for question in warm:
        for one in contenders:
            one.warm_up(question)
    for question in firsts:
        for one in contenders:
            one.answer(question, one.first)
    for question in repeats:
        for one in contenders:
            one.answer(question, one.again)
    return [row_of(task, size, one, contenders[0]) for one in contenders]


def row_of(task: str, size: str, one: Contender, bare: Contender) -> dict[str, Any]:
    """What is kept of a contender, times in ms, beside the one that it is measured over."""
    row: dict[str, Any] = {"task": task, "size": size, "who": one.who, "kind": one.kind}
    for name, own, other in (("first", one.first, bare.first), ("again", one.again, bare.again)):
        done = [at for at in own if at is not None]
        over = [a[0] / b[0] for a, b in zip(own, other, strict=True) if a is not None and b is not None]
        row[name] = _rounded(statistics.median(at[0] for at in done) * 1e3) if done else None
        row[f"{name}_wall"] = _rounded(statistics.median(at[1] for at in done) * 1e3) if done else None
        row[f"{name}_over"] = _rounded(statistics.median(over)) if over and one is not bare else None
    row["gap_bps"] = _rounded(one.gap, 2) if one.gap == one.gap else None
    row["missed"] = _rounded(max(one.missed, 0.0), 2) if one.missed == one.missed else None
    return row | {"asked": sum(at is not None for at in (*one.first, *one.again)), "note": one.note}


def _rounded(number: float, digits: int = 4) -> float:
    """To so many digits that count."""
    return float(f"{number:.{digits}g}")
