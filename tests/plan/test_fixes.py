"""Random mandates that cannot be met: each fix that is printed leads to a plan when it is followed as --set would."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book, from_frames
from allocator.book.loading import load
from allocator.errors import Infeasible, NotSolved
from allocator.plan.rebalance import rebalance
from allocator.settings.reading import with_overrides
from tests.books import book as tiny
from tests.lots.test_whole_lots import small
from tests.thoroughness import count

AS_OF = dt.date(2026, 11, 20)
REFUSED, REVIEWED = count(500, 50), count(20, 20)
PARTS = 10


def kind_of(seed: int) -> str:
    """What makes the book hard: solved on the tree of decisions, impact, coarse lots, or the limits alone."""
    return "tree" if seed % 10 == 9 else "impact" if seed % 9 == 0 else ("plain", "coarse")[seed % 2]


def demanding_book(seed: int) -> Book:
    """A book of a few names under many limits of every kind, so narrow that most cannot be met together."""
    draw, kind = np.random.default_rng([16, seed]), kind_of(seed)
    count = int(draw.integers(3, 6)) if kind != "tree" else 3
    listed = [f"N{i}" for i in range(count)]
    worth = 20_000.0 if kind == "coarse" else 1_000_000.0
    prices = np.round(draw.uniform(20, 400, count), 2)
    lots = draw.choice([0.01, 1.0, 5.0], count)
    if kind == "coarse":
        lots = np.maximum(np.round(worth / draw.uniform(5, 20, count) / prices), 1.0)
    parts = draw.dirichlet(np.ones(count + 1))
    quantities = np.round(parts[:-1] * worth / prices, 2)
    group = [name for name in listed if draw.random() < 0.5] or listed[:1]
    everyone = [*listed, "CASH"]
    settings: dict[str, Any] = {
        "book": {"name": f"demanding {seed}", "currency": "USD", "as_of": AS_OF},
        "scenarios": {"up": {"probability": 0.6}, "down": {"probability": 0.4}},
        "risk": {"market_volatility": 0.2},
        "mandate": ({"objective": "log"} if kind == "tree" else {"risk_aversion": float(draw.uniform(0.5, 4))})
        | dict(_limits(draw, listed)),
        "groups": {"some": group},
        "shocks": {"crash": {"market": -0.3}},
        "robust": {"set": str(draw.choice(["total_variation", "kl"])), "radius": 0.1},
        "costs": {"commission_bps": float(draw.choice([0.0, 2.0, 30.0])), "spread_bps": 5.0,
                  "impact": float(draw.uniform(0.2, 1.5)) if kind == "impact" else 0.0},
        "lots": {"min_trade": float(draw.choice([0.0, 500.0, 2000.0])) * worth / 1e6 * (20 if kind == "coarse" else 1)},
    }  # fmt: skip
    benchmark = np.floor(1000 * draw.dirichlet(np.ones(count))) / 1000
    tables = {
        "holdings": pd.DataFrame({
            "account": "a", "instrument": everyone, "quantity": [*quantities, round(parts[-1] * worth, 2)],
            "price": [*prices, 1.0], "currency": "USD", "lot_size": [*lots, 0.01],
        }),
        "exposures": pd.DataFrame({
            "instrument": everyone, "name": everyone,
            "issuer": [*(f"I{i // 2}" for i in range(count)), "Bank"],
            "bucket": ["adopter", *draw.choice(["adopter", "neutral", "efficiency"], count)[1:], "cash"],
            "beta": [*np.round(draw.uniform(0.5, 1.6, count), 2), 0.0],
            "idiosyncratic_volatility": [*np.round(draw.uniform(0.1, 0.4, count), 2), 0.0], "source": "a test",
            "average_daily_volume": [*np.round(draw.uniform(0.05, 2.0, count) * worth / prices, 1), 0.0],
        }),
        "scenario_returns": pd.DataFrame({
            "instrument": everyone, "up": [*np.round(draw.normal(0.15, 0.1, count), 3), 0.03],
            "down": [*np.round(draw.normal(-0.05, 0.1, count), 3), 0.03],
        }),
        "benchmark": pd.DataFrame({
            "instrument": everyone, "weight": [*benchmark, round(1 - float(benchmark.sum()), 3)],
        }),
    }  # fmt: skip
    return from_frames(settings, tables)


def _limits(draw: np.random.Generator, listed: list[str]) -> Iterator[tuple[str, Any]]:
    """Some of the keys of [mandate], each with a narrow limit."""
    names = len(listed)

    def limit(low: float, high: float) -> float:
        return float(np.round(draw.uniform(low, high), 4))

    def span(low: float, high: float, room: float = 0.2) -> dict[str, float]:
        first = limit(low, high)
        given = {"min": first, "max": float(np.round(min(first + draw.uniform(0, room), 1.0), 4))}
        return {side: given[side] for side in given if draw.random() < 0.6} or {"max": given["max"]}

    some = [str(name) for name in draw.choice(listed, int(draw.integers(1, 3)), replace=False)]
    every: dict[str, tuple[float, Any]] = {
        "max_weight": (0.5, limit(0.5 / names, 2.0 / names)),
        "max_issuer_weight": (0.3, limit(0.15, 0.5)),
        "weights": (0.5, {name: span(0.0, 0.4) for name in some}),
        "issuers": (0.2, {"I0": span(0.0, 0.5)}),
        "buckets": (0.3, {"adopter": span(0.0, 0.6)}),
        "groups": (0.4, {"some": span(0.0, 0.7)}),
        "ratios": (0.2, {"first": {"group": "some", "to": "adopter"} | span(0.3, 0.8, 1.0)}),
        "exposures": (0.3, {"beta": span(0.2, 1.0)}),
        "min_cash": (0.4, limit(0.0, 0.3)),
        "max_cash": (0.4, limit(0.3, 0.5)),
        "max_turnover": (0.4, limit(0.01, 0.4)),
        "max_participation": (0.3, limit(0.02, 1.0)),
        "min_expected_return": (0.3, limit(0.02, 0.12)),
        "min_worst_scenario_return": (0.2, limit(-0.1, 0.03)),
        "min_worst_case_return": (0.2, limit(-0.05, 0.06)),
        "min_worst_case_active_return": (0.1, limit(-0.05, 0.04)),
        "max_volatility": (0.3, limit(0.03, 0.2)),
        "max_tracking_error": (0.2, limit(0.01, 0.1)),
        "largest": (0.2, {"count": 2, "max": limit(0.1, 0.6)}),
        "max_stress_loss": (0.2, {"crash": limit(0.02, 0.2)}),
        "locked": (0.3, [str(draw.choice(listed[::2]))]),
        "forbidden": (0.2, [str(draw.choice(listed[1::2]))]),
    }
    for key, (share, value) in every.items():
        if draw.random() < share:
            yield key, value


def reviewed_book(root: Path, seed: int) -> Book:
    """The sample with one review, under limits that are near to what is held and narrow."""
    draw = np.random.default_rng([61, seed])
    narrow = {
        "max_turnover": draw.uniform(0.0, 0.1), "min_cash": draw.uniform(0.02, 0.12),
        "max_cash": draw.uniform(0.12, 0.2),
        "max_weight": draw.uniform(0.1, 0.3), "buckets.efficiency.min": draw.uniform(0.1, 0.3),
        "buckets.capital_intensity.max": draw.uniform(0.4, 0.7), "groups.private.max": draw.uniform(0.2, 0.5),
    }  # fmt: skip
    limits = [f"mandate.{key}={limit:.3f}" for key, limit in narrow.items()]
    return load(
        root / "tests" / "plain_books" / "reviewed",
        overrides=["horizon.reviews=[2027-05-20]", "robust.set=none", *limits],
    )


def first_refused(books: Iterator[tuple[int, Book]], wanted: int) -> Iterator[tuple[int, Book, Infeasible]]:
    """The first books that have no plan, and what is said of each."""
    for seed, book in books:
        try:
            rebalance(book)
        except Infeasible as error:
            yield seed, book, error
            wanted -= 1
        except NotSolved:
            continue
        if not wanted:
            return


def judge(book: Book, error: Infeasible, said: str) -> None:
    """Every fix names each key once and leads to a plan that keeps every limit; where there is none, that is said."""
    assert error.fixes or "no change of one limit" in error.message, said
    assert not error.for_fractions, said
    assert len(error.fixes) - len(error.overrides) in (0, 1), said  # the last may be to use smaller lots
    for fix, overrides in zip(error.fixes, error.overrides, strict=False):
        keys = [override.partition("=")[0] for override in overrides]
        assert keys, said
        assert len(set(keys)) == len(keys), said
        assert len(keys) == 1 or fix.endswith("(one alone is not enough)"), said
        plan = rebalance(replace(book, settings=with_overrides(book.settings, overrides)))
        assert max((one.excess for one in plan.measurements), default=0.0) <= 1e-9, said
    if len(error.fixes) > len(error.overrides):
        part = float(re.fullmatch(r"use smaller lots: ([\d.]+) times each lot_size .*", error.fixes[-1])[1])  # type: ignore[index]
        rebalance(replace(book, lot_sizes=book.lot_sizes * part))


@pytest.mark.parametrize("part", range(PARTS))
def test_every_fix_that_is_printed_leads_to_a_plan_that_keeps_every_limit(part: int) -> None:
    books = ((seed, demanding_book(seed)) for seed in itertools.count(part, PARTS))
    for seed, book, error in first_refused(books, REFUSED // PARTS):
        judge(book, error, f"{seed} ({kind_of(seed)}): {error}")


def test_every_fix_of_a_reviewed_book_leads_to_a_plan_with_its_reviews(root: Path) -> None:
    books = ((seed, reviewed_book(root, seed)) for seed in itertools.count())
    for seed, book, error in first_refused(books, REVIEWED):
        judge(book, error, f"{seed}: {error}")


def test_limits_that_one_key_states_are_one_and_called_by_it() -> None:
    """Both names are capped by max_weight, both scenarios have one floor."""
    caps = {"max_weight": 0.2, "max_cash": 0.3}
    with pytest.raises(Infeasible) as capped:
        rebalance(small([0, 0], [100, 100], [1, 1], 10_000, caps))
    returns = {"up": [0.05, 0.01, 0.01, 0.01], "down": [0.01, 0.05, 0.01, 0.01]}
    floor = {"min_worst_scenario_return": 0.04, "max_turnover": 0.8}
    with pytest.raises(Infeasible) as floored:
        rebalance(tiny({"mandate": floor}, returns=returns))

    assert capped.value.fixes == ("raise mandate.max_weight to 35%", "raise 'cash at most 30%' to 60%")
    assert capped.value.overrides == (("mandate.max_weight=0.35",), ("mandate.max_cash=0.6",))
    assert floored.value.overrides == (("mandate.min_worst_scenario_return=0.03",),)
    assert floored.value.fixes == ("lower mandate.min_worst_scenario_return to 3%",)


def test_a_fix_that_leads_to_the_next_conflict_is_not_told() -> None:
    """More turnover alone lets the floor of N0 hold, and then volatility is in the way: √½·20 % = 14.1 %."""
    limits = {"weights": {"N0": {"min": 0.5}}, "max_turnover": 0.2, "max_volatility": 0.1}
    with pytest.raises(Infeasible) as told:
        rebalance(small([0, 0], [100, 100], [1, 1], 10_000, limits))

    assert told.value.overrides == (("mandate.weights.N0.min=0.2",),)


def test_no_fix_is_out_of_the_range_of_its_key() -> None:
    """A day's volume is so thin that the sale is many times of it: participation goes up to ten times."""
    limits = {"max_participation": 0.1, "forbidden": ["AAA"]}
    volumes = {"average_daily_volume": [0.5] * 4}
    with pytest.raises(Infeasible) as told:
        rebalance(tiny({"mandate": limits}, exposures_columns=volumes))

    assert told.value.fixes == ("take AAA out of mandate.forbidden",)
    assert told.value.overrides == (("mandate.forbidden=[]",),)
