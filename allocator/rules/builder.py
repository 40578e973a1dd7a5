"""From `[mandate]` to rules, and what they count, as arrays over the book's instruments: shares, volumes, shocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import numpy as np
import pandas as pd

from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import Book
from allocator.book.checks.rules import bucket_counts
from allocator.outlook.outlook import Outlook
from allocator.rules.convex import ConvexRule, LargestWeights, VolatilityLimit, WorstCaseFloor
from allocator.rules.holdings import (
    ExposureLimit,
    InstrumentCaps,
    InstrumentFloors,
    RatioLimit,
    WeightAtLeast,
    WeightAtMost,
)
from allocator.rules.plugin_rules import plugin_rules, refuse_duplicate_labels
from allocator.rules.returns import MinimumExpectedReturn, ScenarioFloor, StressFloor
from allocator.rules.rows import LinearRule
from allocator.rules.trading import Forbidden, NoTrade, Participation, Turnover
from allocator.settings.mandate import WeightRange
from allocator.settings.stress import ShockSection
from allocator.types import Vector

TRADING_DAYS = 252
"""A year, for the volatility of a day."""


def bucket_shares(book: Book, bucket: str) -> Vector:
    """(N,) how much of each instrument counts towards a bucket."""
    return np.asarray(bucket_counts(book.exposures, bucket), dtype=np.float64)


def locked_names(book: Book) -> dict[str, date]:
    """Names that cannot be traded before a later day, and that day."""
    if "tradable_from" not in book.exposures:
        return {}
    days = book.exposures["tradable_from"]
    later = days[days > pd.Timestamp(book.settings.book.as_of)]
    return {str(name): day.date() for name, day in later.items()}


def group_shares(book: Book, name: str) -> tuple[Vector, float]:
    """(N,) how much of each instrument counts towards a bucket or a user group, and how much of cash."""
    if name not in book.settings.groups:
        return bucket_shares(book, name), 0.0
    members = book.members(name)
    shares = np.array([members.get(instrument, 0.0) for instrument in book.instruments])
    return shares, members.get(book.cash_instrument, 0.0)


def exposure_values(book: Book, name: str) -> Vector:
    """(N,) a numeric column of exposures.csv or factors.csv."""
    factors = book.factors
    table = factors if factors is not None and name in factors else book.exposures
    return np.asarray(table[name], dtype=np.float64)


def daily_volume_in_money(book: Book) -> Vector:
    """(N,) money traded on an average day."""
    return np.asarray(book.exposures["average_daily_volume"], dtype=np.float64) * book.prices


def daily_volatility(outlook: Outlook) -> Vector:
    """(N,) volatility of a day, from the risk over the horizon."""
    return np.asarray(np.sqrt(outlook.risk.variances / outlook.years / TRADING_DAYS), dtype=np.float64)


def shock_returns(book: Book, name: str) -> Vector:
    """(N,) returns at once under a shock of the book, as far as it states them."""
    return immediate_returns(book, book.settings.shocks[name])


def immediate_returns(book: Book, shock: ShockSection) -> Vector:
    """(N,) an instrument's own number, else its bucket's, else the market's times its beta and the factors'."""
    moved = np.zeros(len(book.instruments))
    if shock.market is not None:
        moved = shock.market * np.asarray(book.exposures["beta"], dtype=np.float64)
    if shock.factors and book.factors is not None:
        moved = moved + book.factors[list(shock.factors)].to_numpy(dtype=float) @ np.array([*shock.factors.values()])
    for i, (instrument, bucket) in enumerate(book.exposures["bucket"].items()):
        moved[i] = shock.instruments.get(str(instrument), shock.buckets.get(str(bucket), moved[i]))
    return np.maximum(moved, -1.0)


UNLIMITED = WeightRange(min=0.0)
"""The range of a name for which none is stated."""


def _every_linear_rule(book: Book, outlook: Outlook) -> tuple[LinearRule, ...]:
    """Ours, then those of other packages."""
    ours, plugged = tuple(_linear_rules(book)), tuple(plugin_rules(book, outlook))
    refuse_duplicate_labels(ours, plugged, len(book.instruments))
    return (*ours, *plugged)


def _linear_rules(book: Book) -> Iterator[LinearRule]:
    wanted, tiers = book.settings.mandate, book.settings.mandate.tiers
    nobody = np.zeros(len(book.instruments))
    yield from _instrument_ranges(book)
    yield from _issuer_ranges(book)
    for bucket, limits in wanted.buckets.items():
        shares = bucket_shares(book, bucket)
        yield from _range(f"bucket {bucket}", shares, limits, 0.0, tiers.get(f"buckets.{bucket}", 0))
    for group, limits in wanted.groups.items():
        shares, cash = group_shares(book, group)
        yield from _range(f"group {group}", shares, limits, cash, tiers.get(f"groups.{group}", 0))
    if wanted.min_cash > 0:
        yield WeightAtLeast("cash", nobody, wanted.min_cash, 1.0, tiers.get("min_cash", 0))
    if wanted.max_cash < 1:
        yield WeightAtMost("cash", nobody, wanted.max_cash, 1.0, tiers.get("max_cash", 0))
    yield from _ratios(book)
    yield from _exposure_limits(book)
    yield from _on_trades(book)
    yield from _on_returns(book)
    yield from locked_and_forbidden(book)


def _instrument_ranges(book: Book) -> Iterator[LinearRule]:
    """Caps and floors, one rule a priority: a name's own range may have another than the general cap."""
    wanted, tiers = book.settings.mandate, book.settings.mandate.tiers
    caps: dict[int, dict[int, float]] = {}
    floors: dict[int, dict[int, float]] = {}
    for i, name in enumerate(book.instruments):
        limits = wanted.weights.get(name, UNLIMITED)
        own = tiers.get(f"weights.{name}", 0)
        if limits.max is not None and limits.max < 1:
            caps.setdefault(own, {})[i] = limits.max
        elif limits.max is None and wanted.max_weight is not None and wanted.max_weight < 1:
            caps.setdefault(tiers.get("max_weight", 0), {})[i] = wanted.max_weight
        if limits.min:
            floors.setdefault(own, {})[i] = limits.min
    for tier, at in caps.items():
        yield InstrumentCaps(tuple(book.instruments[i] for i in at), tuple(at), tuple(at.values()), tier)
    for tier, at in floors.items():
        yield InstrumentFloors(tuple(book.instruments[i] for i in at), tuple(at), tuple(at.values()), tier)


def _issuer_ranges(book: Book) -> Iterator[LinearRule]:
    wanted, tiers = book.settings.mandate, book.settings.mandate.tiers
    issuers = book.exposures["issuer"]
    for issuer in dict.fromkeys(issuers):
        limits = wanted.issuers.get(str(issuer), UNLIMITED)
        shares = np.asarray(issuers == issuer, dtype=np.float64)
        own = tiers.get(f"issuers.{issuer}", 0)
        name = f"issuer {issuer}"
        if limits.max is None and wanted.max_issuer_weight is not None and wanted.max_issuer_weight < 1:
            yield WeightAtMost(name, shares, wanted.max_issuer_weight, tier=tiers.get("max_issuer_weight", 0))
        yield from _range(name, shares, limits, 0.0, own)


def _range(name: str, shares: Vector, limits: WeightRange, cash: float, tier: int) -> Iterator[LinearRule]:
    """A cap and a floor, where they can bind."""
    if limits.max is not None and limits.max < 1:
        yield WeightAtMost(name, shares, limits.max, cash, tier)
    if limits.min:
        yield WeightAtLeast(name, shares, limits.min, cash, tier)


def _ratios(book: Book) -> Iterator[LinearRule]:
    wanted = book.settings.mandate
    for name, limits in wanted.ratios.items():
        of, of_cash = group_shares(book, limits.group)
        to, to_cash = group_shares(book, limits.to)
        pair, tier = f"{limits.group} {{}} {limits.to}", wanted.tiers.get(f"ratios.{name}", 0)
        for limit, at_most in ((limits.max, True), (limits.min or None, False)):
            if limit is not None:
                yield RatioLimit(pair, of, to, limit, at_most, of_cash, to_cash, tier, name)


def _exposure_limits(book: Book) -> Iterator[LinearRule]:
    wanted = book.settings.mandate
    for name, limits in wanted.exposures.items():
        exposures, tier = exposure_values(book, name), wanted.tiers.get(f"exposures.{name}", 0)
        for limit, at_most in ((limits.max, True), (limits.min, False)):
            if limit is not None:
                yield ExposureLimit(name, exposures, limit, at_most, tier)


def _on_trades(book: Book) -> Iterator[LinearRule]:
    wanted, everyone = book.settings.mandate, range(len(book.instruments))
    if wanted.max_turnover is not None:
        yield Turnover(wanted.max_turnover, wanted.tiers.get("max_turnover", 0))
    if wanted.max_participation is not None:
        limits = (wanted.max_participation,) * len(everyone)
        volumes = tuple(map(float, daily_volume_in_money(book) / book.value))
        tier = wanted.tiers.get("max_participation", 0)
        yield Participation(book.instruments, tuple(everyone), limits, volumes, tier)


def _on_returns(book: Book) -> Iterator[LinearRule]:
    wanted, tiers = book.settings.mandate, book.settings.mandate.tiers
    if wanted.min_expected_return is not None:
        yield MinimumExpectedReturn(wanted.min_expected_return, tiers.get("min_expected_return", 0))
    if wanted.min_worst_scenario_return is not None:
        limits = (wanted.min_worst_scenario_return,) * len(book.scenarios)
        yield ScenarioFloor(book.scenarios, limits, tiers.get("min_worst_scenario_return", 0))
    for name, limit in wanted.max_stress_loss.items():
        yield StressFloor(name, shock_returns(book, name), limit, tiers.get(f"max_stress_loss.{name}", 0))


def locked_and_forbidden(book: Book) -> Iterator[NoTrade | Forbidden]:
    """Names that stay as they are, and names that must go."""
    wanted = book.settings.mandate
    days = locked_names(book)
    locked: dict[str, date | None] = {**days, **dict.fromkeys(name for name in wanted.locked if name not in days)}
    for until in sorted({*locked.values()}, key=lambda day: day or date.max):
        names = tuple(name for name in locked if locked[name] == until)
        yield NoTrade(names, tuple(map(book.instruments.index, names)), until)
    if wanted.forbidden:
        yield Forbidden(tuple(wanted.forbidden), tuple(map(book.instruments.index, wanted.forbidden)))


def _convex_rules(book: Book, ambiguity: Ambiguity) -> Iterator[ConvexRule]:
    wanted, tiers = book.settings.mandate, book.settings.mandate.tiers
    benchmark = None if book.benchmark is None else np.asarray(book.benchmark, dtype=np.float64)
    if wanted.max_volatility is not None:
        yield VolatilityLimit(wanted.max_volatility, None, tiers.get("max_volatility", 0))
    if wanted.max_tracking_error is not None and benchmark is not None:
        yield VolatilityLimit(wanted.max_tracking_error, benchmark[:-1], tiers.get("max_tracking_error", 0))
    if wanted.largest is not None and wanted.largest.max < 1:
        count = min(wanted.largest.count, len(book.instruments))
        yield LargestWeights(count, wanted.largest.max, tiers.get("largest", 0))
    if wanted.min_worst_case_return is not None:
        tier = tiers.get("min_worst_case_return", 0)
        yield WorstCaseFloor(wanted.min_worst_case_return, ambiguity, None, tier)
    if wanted.min_worst_case_active_return is not None and benchmark is not None:
        tier = tiers.get("min_worst_case_active_return", 0)
        yield WorstCaseFloor(wanted.min_worst_case_active_return, ambiguity, benchmark, tier)
