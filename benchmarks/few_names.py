"""Few names: how long until the choice is proved to one percent.

`variance`: minimum variance of 10 of 100 names with a factor model, costs and a least position of 2 %. `tails`: mean
and CVaR at 95 % of 10 of 392 names on 10 000 draws, weighed half and half, and .2 to .8, where more names are wanted.
Seconds of processor time, one thread; the gap is of the objective.

    python benchmarks/few_names.py [variance|tails]
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from questions import tail_question

from allocator.ambiguity.balls import Singleton
from allocator.few_names.relaxations import choose_names
from allocator.few_names.search import FoundNames
from allocator.mandate.mandate import Mandate
from allocator.optimization.solve import Limits
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.rules import InstrumentCaps, WeightAtMost
from allocator.rules.holdings import MinimumPosition, NameCount
from allocator.rules.rows import Position


def timed(what: str, wanted: float, choose: Callable[[], FoundNames | None]) -> None:
    """A row."""
    began = time.process_time()
    found = choose()
    seconds = time.process_time() - began
    assert found is not None
    part = found.gap / abs(found.objective)
    print(
        f"{what:42} {seconds:7.2f} {wanted:7.1f} {part:8.2%} {int(found.held.sum()):6d} {found.programs:9d}", flush=True
    )


def variance(seed: int, least: float) -> tuple[Position, Outlook, Mandate]:
    """Ten factors, specific volatilities from 15 to 40 % a year, 10 bps of costs, all in cash."""
    rng, names = np.random.default_rng(seed), 100
    loadings = np.column_stack([0.16 * rng.uniform(0.6, 1.5, names), 0.06 * rng.normal(size=(names, 9))])
    risk = FactorRisk(loadings, rng.uniform(0.15, 0.4, names) ** 2, "drawn")
    outlook = Outlook(("0",), np.ones(1), np.full((1, names), 0.07), np.full(1, 0.02), risk, 1.0)
    labels = tuple(f"I{i}" for i in range(names))
    rules = (
        WeightAtMost("cash", np.zeros(names), 0.02, 1.0),
        InstrumentCaps(labels, tuple(range(names)), (0.25,) * names),
        NameCount(10.0, np.full(names, 0.25)),
        *((MinimumPosition(labels, (least,) * names),) if least else ()),
    )
    return Position(np.zeros(names), 1.0), outlook, Mandate(0.0, 1.0, Singleton(), rules, (), np.full(names, 0.001))


def tails(weight: float, least: float) -> None:
    """A row of a tail: the mandate of `questions.py` with caps of 20 % and few names."""
    staged, _ = tail_question(392, 10_000, np.random.default_rng(7))
    names, start = 392, Position(np.zeros(392), 1.0)
    labels = tuple(f"I{i}" for i in range(names))
    rules = (
        InstrumentCaps(labels, tuple(range(names)), (0.2,) * names),
        NameCount(10.0, np.full(names, 0.2)),
        *((MinimumPosition(labels, (least,) * names),) if least else ()),
    )
    mandate = replace(staged.mandates[0], linear_rules=rules)
    objective: Any = staged.utility
    asked = replace(staged, mandates=(mandate,), utility=replace(objective, weight=weight))
    what = f"CVaR x {weight:g}, 10 of 392, least {least:.0%}"
    timed(what, 60.0, lambda: choose_names(start, asked.outlooks[0], mandate, Limits(), 0.01, asked))


def main(parts: list[str]) -> None:
    """The rows of those parts, all if none is named."""
    print(f"{'':42} {'seconds':>7} {'wanted':>7} {'gap':>8} {'names':>6} {'programs':>9}")
    if not parts or "variance" in parts:
        for seed in range(5):
            for least in (0.0, 0.02):
                asked = variance(seed, least)
                what = f"variance, 10 of 100, least {least:.0%}, seed {seed}"
                timed(what, 2.0, partial(choose_names, *asked, Limits(), 0.01))
    if not parts or "tails" in parts:
        for weight, least in ((0.5, 0.0), (0.5, 0.05), (0.8, 0.0)):
            tails(weight, least)


if __name__ == "__main__":
    main(sys.argv[1:])
