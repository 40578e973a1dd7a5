"""Rules that fractions keep together and no whole lots do: what is named, judged by counting every whole-lot portfolio.

The count shares nothing with the search: orders on the order grid, the account and each rule by arithmetic.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book, from_frames
from allocator.errors import Infeasible
from allocator.lots.whole_lots import whole_lots
from allocator.mandate.builder import build_mandate
from allocator.optimization.elastic import ElasticProgram
from allocator.optimization.solve import trade_of_solution
from allocator.outlook.outlook import build_outlook
from allocator.rules import Trade
from allocator.rules.rows import Position
from allocator.types import Vector
from tests.lots.test_whole_lots import SCENARIOS, cost_rates
from tests.thoroughness import count

_NOISE = 1e-9
"""What a rule on whole lots may be missed by, in its own unit."""
pytestmark = pytest.mark.xdist_group("lots that clash")  # what they share is counted once
CONFLICTS = count(40, 2)


def narrow_book(seed: int, impact: float = 0.0) -> Book:
    """Three to five names in lots of a sixth to a third of the account, under limits close around a portfolio."""
    draw = np.random.default_rng(70_000 + seed)
    count = (3, 4, 3, 4, 5)[seed % 5]
    listed = [f"N{i}" for i in range(count)]
    worth, prices = 20_000.0, np.round(draw.uniform(20, 400, count), 2)
    lots = np.maximum(np.round(worth / draw.uniform(4, 8 - count / 2, count) / prices), 1.0)
    parts, wish = draw.dirichlet(np.ones(count + 1)), draw.dirichlet(2 * np.ones(count + 1))
    quantities = np.round(parts[:-1] * worth / prices, 2)
    beta, own = np.round(draw.uniform(0.5, 1.6, count), 2), np.round(draw.uniform(0.1, 0.4, count), 2)
    up, down = np.round(draw.normal(0.15, 0.1, count), 3), np.round(draw.normal(-0.05, 0.1, count), 3)
    group = [name for name in listed if draw.random() < 0.5] or listed[:1]

    def near(value: float, room: float) -> float:
        return float(np.round(np.clip(value + draw.uniform(0.2, 1) * room, 0.0, 1.0), 3))

    mandate: dict[str, Any] = {"risk_aversion": 1.0, "min_cash": near(wish[-1], -0.04), "max_cash": near(wish[-1], 0.3)}
    weights: dict[str, dict[str, float]] = {}
    for name, share in zip(listed, wish, strict=False):
        limits = {"min": near(share, -0.08), "max": near(share, 0.08)}
        kept = {side: limit for side, limit in limits.items() if draw.random() < 0.5 and limit > 0}
        if kept:
            weights[name] = kept
    mandate["weights"] = weights
    in_group = float(sum(share for name, share in zip(listed, wish, strict=False) if name in group))
    if draw.random() < 0.6:
        mandate["groups"] = {"some": {"min": near(in_group, -0.1), "max": near(in_group, 0.1)}}
    if draw.random() < 0.3:
        mandate["max_turnover"] = near(float(np.abs(wish - parts)[:-1].sum()) / 2, 0.3)
    invested = wish[:-1]
    if draw.random() < 0.5:
        calm = float(np.sqrt((0.2 * beta @ invested) ** 2 + own**2 @ invested**2))
        mandate["max_volatility"] = near(calm, 0.02)
    if draw.random() < 0.3:
        mandate["largest"] = {"count": 2, "max": near(float(np.sort(invested)[-2:].sum()), 0.08)}
    if draw.random() < 0.3:
        outcomes = [float(one @ invested + 0.03 * wish[-1]) for one in (up, down)]
        mandate["min_worst_case_return"] = float(np.round(min(_mixtures(outcomes)) - draw.uniform(0.005, 0.02), 3))
    settings = {
        "book": {"name": f"narrow {seed}", "currency": "USD", "as_of": pd.Timestamp("2026-11-20").date()},
        "scenarios": {name: {"probability": p} for name, p in SCENARIOS.items()},
        "risk": {"market_volatility": 0.2},
        "mandate": mandate,
        "groups": {"some": group},
        "robust": {"set": "total_variation", "radius": 0.1},
        "costs": {"commission_bps": float(draw.choice([0.0, 2.0, 30.0])), "spread_bps": 5.0, "impact": impact},
        "lots": {"min_trade": float(draw.choice([0.0, 500.0, 4000.0]))},
    }
    everyone = [*listed, "CASH"]
    tables = {
        "holdings": pd.DataFrame({
            "account": "a", "instrument": everyone, "quantity": [*quantities, round(parts[-1] * worth, 2)],
            "price": [*prices, 1.0], "currency": "USD", "lot_size": [*lots, 0.01],
        }),
        "exposures": pd.DataFrame({
            "instrument": everyone, "name": everyone, "issuer": everyone,
            "bucket": [*["neutral"] * count, "cash"], "beta": [*beta, 0.0],
            "idiosyncratic_volatility": [*own, 0.0], "source": "a test",
            "average_daily_volume": [*np.round(5000.0 / prices, 1), 0.0],
        }),
        "scenario_returns": pd.DataFrame({"instrument": everyone, "up": [*up, 0.03], "down": [*down, 0.03]}),
    }  # fmt: skip
    return from_frames(settings, tables)


def _mixtures(outcomes: Any) -> tuple[Any, Any]:
    """Outcomes under the two corners of a total variation of a tenth around 60 : 40."""
    return 0.7 * outcomes[0] + 0.3 * outcomes[1], 0.5 * outcomes[0] + 0.5 * outcomes[1]


@dataclass(frozen=True)
class Rule:
    """What each of the counted portfolios measures, and the limit."""

    measured: Vector
    limit: float
    at_most: bool

    def kept(self, limit: float | None = None) -> Vector:
        """Which portfolios keep it, at its own limit or another."""
        limit = self.limit if limit is None else limit
        result: Vector = self.measured <= limit + _NOISE if self.at_most else self.measured >= limit - _NOISE
        return result


class Counted:
    """Every whole-lot portfolio that the account can pay for, and every rule on it."""

    def __init__(self, book: Book) -> None:
        wanted, names, value = book.settings.mandate, book.instruments, book.value
        orders = np.meshgrid(*(_orders(book, i) for i in range(len(names))), indexing="ij")
        lots = np.stack([part.ravel() for part in orders], axis=1)
        money = lots * book.lot_values
        cash = book.cash - money.sum(axis=1) - np.abs(money) @ cost_rates(book)
        cash -= impact_of(book, money)
        lots, money, cash = (part[cash >= -1e-13 * value] for part in (lots, money, cash))
        self.lots, self.money = lots, money
        values = (book.quantities + lots * book.lot_sizes) * book.prices
        after = values.sum(axis=1) + cash
        w, in_cash = values / after[:, None], cash / after
        self.count = len(lots)
        self.rules: dict[str, Rule] = {
            f"cash at least {_percent(wanted.min_cash)}": Rule(in_cash, wanted.min_cash, at_most=False),
            f"cash at most {_percent(wanted.max_cash)}": Rule(in_cash, wanted.max_cash, at_most=True),
        }
        for name, limits in wanted.weights.items():
            self._range(name, w[:, names.index(name)], limits)
        for group, limits in wanted.groups.items():
            shares = np.array([book.members(group).get(name, 0.0) for name in names])
            self._range(f"group {group}", w @ shares, limits)
        if wanted.max_turnover is not None:
            turnover = np.maximum(money.clip(0).sum(axis=1), -money.clip(None, 0).sum(axis=1)) / value
            self._add("turnover", turnover, wanted.max_turnover, at_most=True)
        exposures = book.exposures.iloc[: len(names)]
        if wanted.max_volatility is not None:
            beta, own = (exposures[c].to_numpy(float) for c in ("beta", "idiosyncratic_volatility"))
            calm = np.sqrt((0.2 * w @ beta) ** 2 + w**2 @ own**2)
            self._add("volatility", calm, wanted.max_volatility, at_most=True)
        if wanted.largest is not None:
            largest = np.sort(w, axis=1)[:, -2:].sum(axis=1)
            self._add("the 2 largest names", largest, wanted.largest.max, at_most=True)
        if wanted.min_worst_case_return is not None:
            returns = build_outlook(book).returns
            outcomes = [(values @ one + 0.03 * cash) / value for one in returns]
            worst = np.minimum(*_mixtures(outcomes)) + after / value - 1
            self._add("adverse expected return", worst, wanted.min_worst_case_return, at_most=False)

    def _range(self, name: str, measured: Vector, limits: Any) -> None:
        if limits.max is not None:
            self._add(name, measured, limits.max, at_most=True)
        if limits.min:
            self._add(name, measured, limits.min, at_most=False)

    def _add(self, name: str, measured: Vector, limit: float, *, at_most: bool) -> None:
        self.rules[f"{name} at {'most' if at_most else 'least'} {_percent(limit)}"] = Rule(measured, limit, at_most)

    def possible(self, labels: Any, limits: dict[str, float] | None = None) -> bool:
        """Whether some whole lots keep all of these rules, some of them at other limits."""
        kept = np.ones(self.count, dtype=bool)
        for label in labels:
            kept &= self.rules[label].kept((limits or {}).get(label))
        return bool(kept.any())


def impact_of(book: Book, money: Vector) -> Vector:
    """What impact costs in all: the daily volatility of each order, times the root of its part of a day's volume."""
    coefficient, exposures = book.settings.costs.impact, book.exposures.iloc[: len(book.instruments)]
    if not coefficient:
        return np.zeros(len(money))
    beta, own = (exposures[c].to_numpy(float) for c in ("beta", "idiosyncratic_volatility"))
    daily = np.sqrt((0.2 * beta) ** 2 + own**2) / np.sqrt(252)
    volume = exposures["average_daily_volume"].to_numpy(float) * book.prices
    return np.asarray(coefficient * (np.abs(money) ** 1.5) @ (daily / np.sqrt(volume)))


def _percent(limit: float) -> str:
    return f"{limit * 100:.6g}%"


def _orders(book: Book, i: int) -> list[float]:
    """Lots of one name that may be traded: none, whole ones of the smallest trade or more, all that is held."""
    lot, held = book.lot_values[i], book.quantities[i] / book.lot_sizes[i]
    whole = range(-int(np.floor(held + 1e-9)), int(book.value / lot) + 1)
    least = book.settings.lots.min_trade
    return sorted({-held, *(float(n) for n in whole if n == 0 or abs(n) * lot >= least - 1e-9)})


def wished(book: Book) -> Trade | None:
    """Fractions that keep the rules; None where there are none."""
    start, mandate = Position(book.weights, book.cash / book.value), build_mandate(book)
    feasibility = ElasticProgram(start, build_outlook(book), mandate)
    found = feasibility.elastic(dict.fromkeys(range(len(feasibility.members)), 1.0))
    if found is None or found.total > 0:
        return None
    return trade_of_solution(start, mandate, found.trade.values, book.value)


@dataclass(frozen=True)
class Case:
    """A book whose rules hold in fractions and, as counting says, in no whole lots; and what is said of it."""

    seed: int
    book: Book
    counted: Counted
    error: Infeasible


@cache
def cases() -> tuple[Case, ...]:
    """The first of them."""
    found: list[Case] = []
    for seed in itertools.count():
        book = narrow_book(seed)
        counted = Counted(book)
        if not counted.possible(counted.rules) and (target := wished(book)) is not None:
            found.append(Case(seed, book, counted, refused(book, target)))
            if len(found) == CONFLICTS:
                break
    return tuple(found)


def refused(book: Book, target: Trade) -> Infeasible:
    """What is said of a book whose rules no whole lots keep."""
    start = Position(book.weights, book.cash / book.value)
    with pytest.raises(Infeasible) as error:
        whole_lots(book, build_outlook(book), build_mandate(book), start, target)
    return error.value


_FIX = re.compile(r"(?:raise|lower) '([^']+)' to (-?[\d.]+)%")


def moved(fix: str, counted: Counted, part: float = 1.0) -> dict[str, float]:
    """The limits after a printed fix, or after `part` of its way."""
    stated = {name: counted.rules[name].limit for name, _ in _FIX.findall(fix)}
    return {name: stated[name] + part * (float(to) / 100 - stated[name]) for name, to in _FIX.findall(fix)}


def test_counting_knows_every_rule_and_many_kinds_of_them_clash() -> None:
    for case in cases():
        mandate = build_mandate(case.book, build_outlook(case.book))
        convex = {rule.label for rule in mandate.convex_rules}
        assert {*mandate.rows.limit_labels, *convex} == set(case.counted.rules), case.seed
    named = {label.partition(" at ")[0] for case in cases() for label in case.error.rules}

    assert named >= {"cash", "group some", "turnover", "volatility", "the 2 largest names", "N0"}
    assert "adverse expected return" in named


@pytest.mark.parametrize("place", range(CONFLICTS))
def test_the_rules_that_the_nearest_lots_miss_are_named_the_fix_works_and_half_of_it_does_not(place: int) -> None:
    case = cases()[place]
    counted, error = case.counted, case.error
    said = f"{case.seed}: {error}"

    assert error.exit_code == 4, said
    assert error.message.startswith("infeasible: no whole-lot portfolio keeps every rule; the nearest one misses"), said
    assert all(f"'{label}'" in error.message for label in error.rules), said
    assert counted.possible([label for label in counted.rules if label not in error.rules]), said
    fix, _ = error.fixes  # the last is to use smaller lots
    assert counted.possible(counted.rules, moved(fix, counted)), said
    assert not counted.possible(counted.rules, moved(fix, counted, 0.5)), said
