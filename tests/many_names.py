"""A book of many names as a folder: more orders, limits and scenarios than a screen has lines."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

BUCKETS = ("efficiency", "capital_intensity", "adopter", "neutral")


def write_many_names(folder: Path, count: int = 84, scenarios: int = 4, seed: int = 7) -> None:
    """Names of equal weight whose returns are drawn, so that nearly all are traded; caps of 2 % that today breaks."""
    draw = np.random.default_rng(seed)
    worlds = [f"scenario_{i}" for i in range(scenarios)]
    names = [f"N{i:02}" for i in range(count)]
    prices = np.round(draw.uniform(20, 400, count), 2)
    weights = 0.95 * draw.dirichlet(np.full(count, 2.0))
    quantities = np.floor(weights * 1e8 / prices)
    benchmark = np.round(draw.dirichlet(np.ones(count)), 6)
    benchmark[0] = round(1 - benchmark[1:].sum(), 6)
    returns = np.round(draw.normal(0.08, 0.25, (count, scenarios)), 4)
    folder.mkdir(parents=True)
    _table(
        folder / "holdings.csv",
        ["account", "instrument", "quantity", "price", "currency"],
        [
            *(
                ["main", name, int(quantity), price, "USD"]
                for name, quantity, price in zip(names, quantities, prices, strict=True)
            ),
            ["main", "USD", round(1e8 - float(quantities @ prices), 2), 1, "USD"],
        ],
    )
    _table(
        folder / "exposures.csv",
        ["instrument", "name", "issuer", "bucket", "beta", "idiosyncratic_volatility", "source"],
        [
            *(
                [name, f"Name {name}", f"Issuer {name}", BUCKETS[i % 4], 1, 0.25, "drawn"]
                for i, name in enumerate(names)
            ),
            ["USD", "Cash", "Bank", "cash", 0, 0, "drawn"],
        ],
    )
    _table(
        folder / "scenario_returns.csv",
        ["instrument", *worlds],
        [*([name, *row] for name, row in zip(names, returns.tolist(), strict=True)), ["USD", *[0.03] * scenarios]],
    )
    _table(folder / "benchmark.csv", ["instrument", "weight"], zip(names, benchmark.tolist(), strict=True))
    sections = "".join(f"[scenarios.{name}]\nprobability = {1 / scenarios}\n" for name in worlds)
    (folder / "book.toml").write_text(
        '[book]\nname = "Many names"\ncurrency = "USD"\nas_of = 2026-11-20\n'
        '[risk]\nsource = "exposures"\nmarket_volatility = 0.16\n'
        '[robust]\nset = "kl"\nradius = 0.05\n'
        "[mandate]\nmax_weight = 0.02\nmax_cash = 0.1\n" + sections,
        encoding="utf-8",
    )


def _table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened, lineterminator="\n").writerows([columns, *rows])
