"""The outlook's claims: 500 instruments × 16 scenarios, draws, beliefs by day, implied probabilities, digestion.

python benchmarks/outlook.py
"""

from __future__ import annotations

import datetime as dt
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from allocator.book.loading import load
from allocator.outlook.belief_report import belief_report
from allocator.outlook.calibration import build_question, dated_signals, market_anchor, market_path
from allocator.outlook.efficiency_model import (
    Loadings,
    ModelScenarios,
    Technique,
    driver_attribution,
    market_quantities,
    scenario_returns,
)
from allocator.outlook.efficiency_model import value_multipliers as values_of
from allocator.outlook.implied_probabilities import infer_probabilities
from allocator.outlook.outlook import PricedIn
from allocator.outlook.posterior import posterior

REPEATS = 15
BOOK = Path(__file__).resolve().parents[1] / "data" / "note"


def measure(what: str, target: str, work: Callable[[], object]) -> None:
    """Print the median of a few runs."""
    milliseconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        milliseconds.append((time.perf_counter() - began) * 1e3)
    print(f"{what:44} {statistics.median(milliseconds):8.1f} ms  (target {target})")


def main() -> None:
    """Measure on random numbers of the stated size, and on the sample book."""
    draw, technique = np.random.default_rng(1), Technique()
    scenarios = ModelScenarios(*(draw.uniform(0.1, 1.0, 16) for _ in range(6)))
    parts = draw.dirichlet(np.ones(5), 500).T
    rest = [draw.uniform(0.1, 0.9, 500) for _ in range(9)]
    loadings = Loadings(*parts, *rest)

    def outlook() -> None:
        state = market_quantities(scenarios, technique, 1.0)
        found = values_of(state, loadings, technique)
        scenario_returns(found, loadings, found.mean(axis=0), 1.0)

    measure("outlook, 500 instruments x 16 scenarios", "20 ms", outlook)
    state = market_quantities(scenarios, technique, 1.0)
    measure("its drivers, for all of them", "none", lambda: driver_attribution(state, loadings, technique))
    many = ModelScenarios(*(draw.uniform(0.8, 1.0, (100_000, 4)) for _ in range(6)))
    many, floor = replace(many, pass_through=2 * many.pass_through), Technique(rival_margin=0.1)
    measure("market, 100 000 draws of four scenarios", "none", lambda: market_quantities(many, technique, 1.0))
    bound = float(np.mean(market_quantities(many, floor, 1.0).price > market_quantities(many, floor, 1.0).passed_on))
    what = f"and the marginal seller's price, {bound:.0%} bound"
    measure(what, "50 ms more", lambda: market_quantities(many, floor, 1.0))
    book = load(BOOK)
    question, signals = build_question(book), dated_signals(book)
    assert question is not None
    days = [question.opened + dt.timedelta(days=n) for n in range(36 * 30 + 15)]
    measure("beliefs by day through 36 months", "200 ms", lambda: posterior(question, signals, days))
    measure("all that `beliefs` shows", "none", lambda: belief_report(book))
    moves = dict.fromkeys(book.instruments[:4], 0.01)
    measure("implied, four names", "200 ms", lambda: infer_probabilities(book, moves))
    digested = load(BOOK, overrides=["horizon.digestion_months=1"])
    values, expected = draw.uniform(0.3, 2.0, (len(book.scenarios), 500)), draw.uniform(0.0, 0.2, 500)

    def digestion() -> None:
        _, undigested = market_anchor(values, market_path(digested), 0.6)
        PricedIn(1 + expected, undigested, 0.6).parts(expected)

    measure("digestion and parts, 226 days, 500 names", "5 ms", digestion)


if __name__ == "__main__":
    main()
