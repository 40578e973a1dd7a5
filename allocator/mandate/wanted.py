"""From a book's `[mandate]`, `[robust]` and `[costs]` to a Mandate, aligned with the book's instruments."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from allocator.book.book import Book
from allocator.mandate.ambiguity import Ambiguity, Known
from allocator.mandate.charged import plugged_charges
from allocator.mandate.counted import (
    adv_in_money,
    bucket_shares,
    daily_volatility,
    exposures_named,
    group_shares,
    locked_names,
    shock_returns,
)
from allocator.mandate.guarded import set_of
from allocator.mandate.mandate import Mandate
from allocator.mandate.plugged import plugged_rules, refuse_namesakes
from allocator.mandate.return_error import BoxError, EllipsoidError, ReturnError
from allocator.mandate.rules import (
    AtLeast,
    AtMost,
    ConvexRule,
    ExposureLimit,
    Forbidden,
    InstrumentCaps,
    InstrumentFloors,
    LargestWeights,
    LinearRule,
    MinimumExpectedReturn,
    NoTrade,
    Participation,
    Ratio,
    ScenarioFloor,
    StressFloor,
    Turnover,
    VolatilityLimit,
    WorstCaseFloor,
)
from allocator.outlook.outlook import Outlook, outlook_of
from allocator.settings.mandate import Range
from allocator.types import Vector

UNLIMITED = Range(min=0.0)
"""The range of a name for which none is stated."""


def mandate_of(book: Book, outlook: Outlook | None = None, ambiguity: Ambiguity | None = None) -> Mandate:
    """The mandate of a book's settings; outlook and set of probabilities are the book's own where none is given."""
    wanted = book.settings.mandate
    outlook = outlook or outlook_of(book)
    minimum_variance = wanted.objective == "minimum_variance"
    ambiguity = ambiguity or set_of(book, outlook)
    return Mandate(
        return_weight=0.0 if minimum_variance else 1.0,
        risk_aversion=1.0 if minimum_variance else wanted.risk_aversion,
        ambiguity=Known() if minimum_variance else ambiguity,  # then the set is the floors' alone
        linear_rules=_every_linear_rule(book, outlook),
        convex_rules=tuple(_convex_rules(book, ambiguity)),
        cost_rates=cost_rates_of(book),
        impact=_impact(book, outlook),
        return_error=_return_error(book, outlook),
        charges=plugged_charges(book),
    )


def cost_rates_of(book: Book) -> Vector:
    """Commission plus half the quoted spread, as a fraction."""
    costs = book.settings.costs
    if "spread_bps" in book.exposures:
        spread = book.exposures["spread_bps"].fillna(costs.spread_bps).to_numpy(dtype=float)
    else:
        spread = np.full(len(book.instruments), costs.spread_bps)
    rates: Vector = (costs.commission_bps + spread / 2) / 1e4
    return rates


def _impact(book: Book, outlook: Outlook) -> Vector | None:
    """(N,) what multiplies the 3/2 power of the traded part of the account: coefficient·σ_day·√(account / volume).

    Square-root impact (Almgren, Thum, Hauptmann and Li 2005, with the exponent 1/2 that practitioners use).
    """
    coefficient = book.settings.costs.impact
    if coefficient == 0:
        return None
    with np.errstate(divide="ignore"):
        depth = np.sqrt(book.value / adv_in_money(book))
    return np.asarray(coefficient * daily_volatility(outlook) * depth, dtype=np.float64)


def _return_error(book: Book, outlook: Outlook) -> ReturnError | None:
    robust = book.settings.robust
    if robust.return_error == "none":
        return None
    if robust.return_error == "ellipsoid":
        return EllipsoidError(robust.return_error_size)
    risk = outlook.risk
    return BoxError(robust.return_error_size * np.sqrt((risk.loadings**2).sum(axis=1) + risk.specific))


def _every_linear_rule(book: Book, outlook: Outlook) -> tuple[LinearRule, ...]:
    """Ours, then those of other packages."""
    ours, plugged = tuple(_linear_rules(book)), tuple(plugged_rules(book, outlook))
    refuse_namesakes(ours, plugged, len(book.instruments))
    return (*ours, *plugged)


def _linear_rules(book: Book) -> Iterator[LinearRule]:
    wanted, tiers = book.settings.mandate, book.settings.mandate.tiers
    nobody = np.zeros(len(book.instruments))
    yield from _instrument_ranges(book)
    yield from _issuer_ranges(book)
    for bucket, limits in wanted.buckets.items():
        shares, cash = bucket_shares(book, bucket), float(bucket == "cash")
        yield from _range(f"bucket {bucket}", shares, limits, cash=cash, tier=tiers.get(f"buckets.{bucket}", 0))
    for group, limits in wanted.groups.items():
        shares, cash = group_shares(book, group)
        yield from _range(f"group {group}", shares, limits, cash=cash, tier=tiers.get(f"groups.{group}", 0))
    if wanted.min_cash > 0:
        yield AtLeast("cash", nobody, wanted.min_cash, cash_share=1.0, tier=tiers.get("min_cash", 0))
    if wanted.max_cash < 1:
        yield AtMost("cash", nobody, wanted.max_cash, cash_share=1.0, tier=tiers.get("max_cash", 0))
    yield from _ratios(book)
    yield from _exposure_limits(book)
    yield from _on_trades(book)
    yield from _on_returns(book)
    yield from _untouchable(book)


def _instrument_ranges(book: Book) -> Iterator[LinearRule]:
    """Caps and floors, one rule a tier: a name's own range may have another than the general cap."""
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
            yield AtMost(name, shares, wanted.max_issuer_weight, tier=tiers.get("max_issuer_weight", 0))
        yield from _range(name, shares, limits, tier=own)


def _range(name: str, shares: Vector, limits: Range, *, cash: float = 0.0, tier: int = 0) -> Iterator[LinearRule]:
    """A cap and a floor, where they can bind."""
    if limits.max is not None and limits.max < 1:
        yield AtMost(name, shares, limits.max, cash, tier)
    if limits.min:
        yield AtLeast(name, shares, limits.min, cash, tier)


def _ratios(book: Book) -> Iterator[LinearRule]:
    wanted = book.settings.mandate
    for name, limits in wanted.ratios.items():
        of, of_cash = group_shares(book, limits.group)
        to, to_cash = group_shares(book, limits.to)
        label, tier = f"{limits.group} {{}} {limits.to}", wanted.tiers.get(f"ratios.{name}", 0)
        if limits.max is not None:
            yield Ratio(label, of, to, limits.max, True, of_cash, to_cash, tier)
        if limits.min:
            yield Ratio(label, of, to, limits.min, False, of_cash, to_cash, tier)


def _exposure_limits(book: Book) -> Iterator[LinearRule]:
    wanted = book.settings.mandate
    for name, limits in wanted.exposures.items():
        exposures, tier = exposures_named(book, name), wanted.tiers.get(f"exposures.{name}", 0)
        if limits.max is not None:
            yield ExposureLimit(name, exposures, limits.max, True, tier)
        if limits.min is not None:
            yield ExposureLimit(name, exposures, limits.min, False, tier)


def _on_trades(book: Book) -> Iterator[LinearRule]:
    wanted, everyone = book.settings.mandate, range(len(book.instruments))
    if wanted.max_turnover is not None:
        yield Turnover(wanted.max_turnover, wanted.tiers.get("max_turnover", 0))
    if wanted.max_participation is not None:
        limits = (wanted.max_participation,) * len(everyone)
        volumes = tuple(map(float, adv_in_money(book) / book.value))
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


def _untouchable(book: Book) -> Iterator[LinearRule]:
    """Names that stay as they are, and names that must go."""
    wanted = book.settings.mandate
    if locked := locked_names(book):
        yield NoTrade(tuple(locked), tuple(locked.values()))
    named = {name: book.instruments.index(name) for name in wanted.locked if name not in locked}
    if named:
        yield NoTrade(tuple(named), tuple(named.values()), "is locked")
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
