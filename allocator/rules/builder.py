"""From `[mandate]` to rules, and what they count, as arrays over the book's instruments: shares, volumes, shocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date

import numpy as np
import pandas as pd

from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import Ask, Book, directly
from allocator.errors import BadInput, setting_breach
from allocator.outlook.outlook import Outlook
from allocator.rules.convex import ConvexRule, LargestWeights, VolatilityLimit, WorstCaseFloor
from allocator.rules.holdings import (
    Band,
    Destination,
    ExposureLimit,
    InstrumentCaps,
    InstrumentFloors,
    MinimumPosition,
    NameCount,
    RatioLimit,
    WeightAtLeast,
    WeightAtMost,
)
from allocator.rules.plugin_rules import plugin_rules, refuse_duplicate_labels
from allocator.rules.returns import MinimumExpectedReturn, ScenarioFloor, StressFloor
from allocator.rules.rows import AIM, LinearRule
from allocator.rules.trading import Forbidden, LeftAlone, NotEligible, NoTrade, OneWay, PaidOut, Participation, Turnover
from allocator.settings.mandate import WeightRange
from allocator.settings.reading import dotted_key
from allocator.settings.stress import ShockSection, joined_shocks
from allocator.types import Vector

TRADING_DAYS = 252
"""A year, for the volatility of a day."""


def bucket_shares(book: Book, bucket: str) -> Vector:
    """(N,) how much of each instrument counts towards a bucket."""
    return book.bucket_shares.get(bucket, np.zeros(len(book.instruments)))


def locked_names(book: Book) -> dict[str, date]:
    """Names that cannot be traded before a later day, and that day."""
    if "tradable_from" not in book.exposures:
        return {}
    days = book.exposures["tradable_from"]
    later = days[days > pd.Timestamp(book.settings.book.as_of)]
    return {str(name): day.date() for name, day in later.items()}


def unclassified_names(book: Book) -> tuple[str, ...]:
    """Names of which nobody has said what they are: neither bought nor sold, unless a rule names them as locked or
    forbidden.
    """
    said = {*book.settings.mandate.locked, *book.settings.mandate.forbidden}
    return tuple(name for name in book.instruments if name in book.classification.unclassified and name not in said)


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
    return immediate_returns(book, joined_shocks(book.settings.shocks)[name])


def immediate_returns(book: Book, shock: ShockSection, held: Vector | None = None) -> Vector:
    """(N,) what a shock does to prices at once, each of its parts to what the others leave; and, where it says what
    cannot be sold, to that part of `held` (N,) in money, the book's own holdings if not said.
    """
    times = 1.0 if shock.beta_times is None else shock.beta_times
    moved, *others = (_stated_returns(book, part, times) for part in shock.parts)
    for other in others:
        moved = (1 + moved) * (1 + other) - 1
    if shock.unsold is None:
        return moved
    unsold = unsold_shares(book, book.quantities * book.prices if held is None else held)
    return np.asarray((1 + moved) * (1 + shock.unsold * unsold) - 1, dtype=np.float64)


def unsold_shares(book: Book, held: Vector) -> Vector:
    """(N,) the part of holdings in money that a day does not take: all of what is locked, and what is beyond
    `mandate.max_participation` of a day's volume, where that is stated.
    """
    shares, part = np.zeros(len(book.instruments)), book.settings.mandate.max_participation
    if part is not None:
        sold = np.minimum(part * daily_volume_in_money(book), held)
        shares = np.divide(held - sold, held, out=shares, where=held > 0)
    locked = [*book.settings.mandate.locked, *locked_names(book)]
    return np.where(np.isin(book.instruments, locked), 1.0, shares)


def _stated_returns(book: Book, shock: ShockSection, beta_times: float) -> Vector:
    """(N,) an instrument's own number, else its bucket's, else the market's times its beta and the factors', with what
    its multiple falls by.
    """
    moved = np.zeros(len(book.instruments))
    if shock.market is not None:
        moved = shock.market * beta_times * np.asarray(book.exposures["beta"], dtype=np.float64)
    if shock.factors and book.factors is not None:
        moved = moved + book.factors[list(shock.factors)].to_numpy(dtype=float) @ np.array([*shock.factors.values()])
    if shock.multiples is not None:
        kept = np.exp(-shock.multiples * np.asarray(book.exposures["multiple_loading"], dtype=np.float64))
        moved = (1 + np.maximum(moved, -1.0)) * kept - 1
    for i, (instrument, bucket) in enumerate(book.exposures["bucket"].items()):
        moved[i] = shock.instruments.get(str(instrument), shock.buckets.get(str(bucket), moved[i]))
    return np.maximum(moved, -1.0)


UNLIMITED = WeightRange(min=0.0)
"""The range of a name for which none is stated."""


def _every_linear_rule(book: Book, outlook: Outlook, ask: Ask = directly) -> tuple[LinearRule, ...]:
    """Ours, then those of other packages."""
    ours = tuple(rule for rules in _LINEAR_RULES for rule in ask(rules, book))
    if not book.settings.plugins.rules:
        return ours
    plugged = tuple(plugin_rules(book, outlook))
    refuse_duplicate_labels(ours, plugged, len(book.instruments))
    return (*ours, *plugged)


def _group_ranges(book: Book) -> Iterator[LinearRule]:
    """Buckets, groups of the user's own, and cash."""
    wanted, tiers = book.settings.mandate, book.settings.mandate.tiers
    nobody = np.zeros(len(book.instruments))
    for bucket, limits in wanted.buckets.items():
        yield from _range(book, f"bucket {bucket}", bucket_shares(book, bucket), limits, 0.0, "buckets", bucket)
    for group, limits in wanted.groups.items():
        shares, cash = group_shares(book, group)
        yield from _range(book, f"group {group}", shares, limits, cash, "groups", group)
    if wanted.min_cash > 0:
        yield WeightAtLeast("cash", nobody, wanted.min_cash, 1.0, tiers.get("min_cash", 0), _key("min_cash"))
    if wanted.max_cash < 1:
        yield WeightAtMost("cash", nobody, wanted.max_cash, 1.0, tiers.get("max_cash", 0), _key("max_cash"))


def _few_names(book: Book) -> Iterator[NameCount | MinimumPosition]:
    """How many names are held, and how little of each; nothing where that excludes no portfolio."""
    wanted, names = book.settings.mandate, book.instruments
    if wanted.max_names is not None and wanted.max_names < len(names):
        general = 1.0 if wanted.max_weight is None or "max_weight" in wanted.tiers else wanted.max_weight
        own = [wanted.weights.get(name, UNLIMITED).max for name in names]
        hard = [1.0 if f"weights.{name}" in wanted.tiers else cap for name, cap in zip(names, own, strict=True)]
        caps = np.array([general if cap is None else cap for cap in hard])
        yield NameCount(float(wanted.max_names), caps, _key("max_names"))
    if wanted.min_position:
        yield MinimumPosition(names, (wanted.min_position,) * len(names), _key("min_position"))


def _key(*parts: str) -> str:
    """Of a rule in book.toml."""
    return dotted_key("mandate", *parts)


def _instrument_ranges(book: Book) -> Iterator[LinearRule]:
    """Caps and floors, one rule a priority: a name's own range may have another than the general cap."""
    wanted, tiers = book.settings.mandate, book.settings.mandate.tiers
    caps: dict[int, dict[int, tuple[float, str]]] = {}
    floors: dict[int, dict[int, tuple[float, str]]] = {}
    for i, name in enumerate(book.instruments):
        limits = wanted.weights.get(name, UNLIMITED)
        own = tiers.get(f"weights.{name}", 0)
        if limits.max is not None and limits.max < 1:
            caps.setdefault(own, {})[i] = limits.max, ""
        elif limits.max is None and wanted.max_weight is not None and wanted.max_weight < 1:
            caps.setdefault(tiers.get("max_weight", 0), {})[i] = wanted.max_weight, _key("max_weight")
        if limits.min:
            floors.setdefault(own, {})[i] = limits.min, ""
    for rule, side, kept in ((InstrumentCaps, "max", caps), (InstrumentFloors, "min", floors)):
        for tier, at in kept.items():
            names = tuple(book.instruments[i] for i in at)
            keys = ((_key("weights", name, side), shared) for name, (_, shared) in zip(names, at.values(), strict=True))
            yield rule(names, tuple(at), tuple(limit for limit, _ in at.values()), tier, tuple(keys))


def _issuer_ranges(book: Book) -> Iterator[LinearRule]:
    wanted, tiers = book.settings.mandate, book.settings.mandate.tiers
    every = wanted.max_issuer_weight is not None and wanted.max_issuer_weight < 1
    if not (every or wanted.issuers):
        return
    issuers = list(map(str, book.exposures["issuer"]))
    members: dict[str, list[int]] = {}
    for i, issuer in enumerate(issuers):
        members.setdefault(issuer, []).append(i)
    for issuer, at in members.items():
        if not (every or issuer in wanted.issuers):
            continue
        limits, name, shares = wanted.issuers.get(issuer, UNLIMITED), f"issuer {issuer}", np.zeros(len(issuers))
        shares[at] = 1.0
        if limits.max is None and wanted.max_issuer_weight is not None and every:
            tier, keys = tiers.get("max_issuer_weight", 0), (_key("issuers", issuer, "max"), _key("max_issuer_weight"))
            yield WeightAtMost(name, shares, wanted.max_issuer_weight, 0.0, tier, *keys)
        yield from _range(book, name, shares, limits, 0.0, "issuers", issuer)


def _range(
    book: Book, name: str, shares: Vector, limits: WeightRange, cash: float, kind: str, of: str
) -> Iterator[LinearRule]:
    """A cap and a floor, where they can bind."""
    tier = book.settings.mandate.tiers.get(f"{kind}.{of}", 0)
    if limits.max is not None and limits.max < 1:
        yield WeightAtMost(name, shares, limits.max, cash, tier, _key(kind, of, "max"))
    if limits.min:
        yield WeightAtLeast(name, shares, limits.min, cash, tier, _key(kind, of, "min"))


def _bands(book: Book) -> Iterator[LinearRule]:
    """Bands, and what each aims at today: inside nothing, outside its edge or its target. While cash comes or goes it
    is open: inside there is no aim, and an edge is a limit alone.
    """
    wanted, flows = book.settings.mandate, book.settings.cash.flow != 0
    for name, band in wanted.bands.items():
        shares, cash = group_shares(book, name)
        if name in book.instruments:
            shares, cash = np.asarray(np.array(book.instruments) == name, dtype=np.float64), 0.0
        tier = wanted.tiers.get(f"bands.{name}", 0)
        yield Band(name, shares, band.target, band.width, cash, tier, _key("bands", name, "width"))
        off = float(shares @ book.weights) + cash * book.cash / book.value - band.target
        outside = abs(off) > band.width + _INSIDE
        if book.settings.uses_tree or (flows and not (outside and band.to == "target")):
            continue
        if not outside:
            yield LeftAlone(name, shares)
        else:
            aim = band.target if band.to == "target" else band.target + np.copysign(band.width, off)
            yield Destination(name, shares, float(aim), 0.0, cash, AIM)


_INSIDE = 1e-9


def _ratios(book: Book) -> Iterator[LinearRule]:
    wanted = book.settings.mandate
    for name, limits in wanted.ratios.items():
        of, of_cash = group_shares(book, limits.group)
        to, to_cash = group_shares(book, limits.to)
        pair, tier = f"{limits.group} {{}} {limits.to}", wanted.tiers.get(f"ratios.{name}", 0)
        for limit, side in ((limits.max, "max"), (limits.min or None, "min")):
            if limit is not None:
                key = _key("ratios", name, side)
                yield RatioLimit(pair, of, to, limit, side == "max", of_cash, to_cash, tier, name, key)


def _exposure_limits(book: Book) -> Iterator[LinearRule]:
    wanted = book.settings.mandate
    for name, limits in wanted.exposures.items():
        exposures, tier = exposure_values(book, name), wanted.tiers.get(f"exposures.{name}", 0)
        for limit, side in ((limits.max, "max"), (limits.min, "min")):
            if limit is not None:
                yield ExposureLimit(name, exposures, limit, side == "max", tier, _key("exposures", name, side))


def _turnovers(book: Book) -> Iterator[LinearRule]:
    wanted = book.settings.mandate
    if wanted.max_turnover is not None:
        yield Turnover(wanted.max_turnover, wanted.tiers.get("max_turnover", 0), _key("max_turnover"))
    if (budget := wanted.turnover_budget) is not None:
        if budget.used is None:
            rule = "counts what was traded in a ledger, and nobody has looked"
            cure = "state what was traded within the window: used = 0.1"
            raise BadInput([setting_breach("mandate.turnover_budget", None, rule, cure)])
        tier, key = wanted.tiers.get("turnover_budget", 0), _key("turnover_budget", "share")
        yield Turnover(budget.share, tier, key, budget.used, budget.months)


def _participation(book: Book) -> Iterator[LinearRule]:
    wanted, everyone = book.settings.mandate, tuple(range(len(book.instruments)))
    if wanted.max_participation is not None:
        limits = (wanted.max_participation,) * len(everyone)
        volumes = tuple(map(float, daily_volume_in_money(book) / book.value))
        tier = wanted.tiers.get("max_participation", 0)
        yield Participation(book.instruments, everyone, limits, volumes, tier, _key("max_participation"))


def _sides(book: Book) -> Iterator[LinearRule]:
    """What may not be bought or sold at all."""
    wanted = book.settings.mandate
    for key, limit in (("no_sales", wanted.no_sales), ("no_purchases", wanted.no_purchases)):
        if limit is not None:
            yield OneWay(key.removeprefix("no_"), limit, wanted.tiers.get(key, 0), _key(key))
    if wanted.eligible is not None:
        rest = tuple(i for i, name in enumerate(book.instruments) if name not in wanted.eligible)
        if rest:
            yield NotEligible(tuple(book.instruments[i] for i in rest), rest, key=_key("eligible"))


def _paid_out(book: Book) -> Iterator[LinearRule]:
    if book.cash < 0:
        paid, home = book.settings.cash.paid_out, book.settings.book.currency
        yield PaidOut(paid, paid, book.value, home, dotted_key("cash", "paid_out"))


def _on_returns(book: Book) -> Iterator[LinearRule]:
    wanted, tiers = book.settings.mandate, book.settings.mandate.tiers
    if wanted.min_expected_return is not None:
        tier = tiers.get("min_expected_return", 0)
        yield MinimumExpectedReturn(wanted.min_expected_return, tier, _key("min_expected_return"))
    if wanted.min_worst_scenario_return is not None:
        limits = (wanted.min_worst_scenario_return,) * len(book.scenarios)
        tier = tiers.get("min_worst_scenario_return", 0)
        yield ScenarioFloor(book.scenarios, limits, tier, _key("min_worst_scenario_return"))
    for name, limit in wanted.max_stress_loss.items():
        tier = tiers.get(f"max_stress_loss.{name}", 0)
        yield StressFloor(name, shock_returns(book, name), limit, tier, _key("max_stress_loss", name))


def locked_and_forbidden(book: Book) -> Iterator[NoTrade | Forbidden]:
    """Names that stay as they are, and names that must go."""
    wanted, unclassified = book.settings.mandate, unclassified_names(book)
    if unclassified:
        at = tuple(map(book.instruments.index, unclassified))
        yield NoTrade(unclassified, at, why="unclassified in exposures.csv")
    days = {name: day for name, day in locked_names(book).items() if name not in unclassified}
    locked: dict[str, date | None] = {**days, **dict.fromkeys(name for name in wanted.locked if name not in days)}
    for until in sorted({*locked.values()}, key=lambda day: day or date.max):
        names = tuple(name for name in locked if locked[name] == until)
        yield NoTrade(names, tuple(map(book.instruments.index, names)), until, key="" if until else _key("locked"))
    if wanted.forbidden:
        at = tuple(map(book.instruments.index, wanted.forbidden))
        yield Forbidden(tuple(wanted.forbidden), at, key=_key("forbidden"))


_LINEAR_RULES: tuple[Callable[[Book], Iterator[LinearRule]], ...] = (
    _instrument_ranges, _issuer_ranges, _group_ranges, _bands, _ratios, _exposure_limits, _turnovers, _participation,
    _sides, _paid_out, _on_returns, locked_and_forbidden, _few_names,
)  # fmt: skip


def _convex_rules(book: Book, ambiguity: Ambiguity) -> Iterator[ConvexRule]:
    wanted, tiers = book.settings.mandate, book.settings.mandate.tiers
    benchmark = None if book.benchmark is None else np.asarray(book.benchmark, dtype=np.float64)

    def stated(name: str, *parts: str) -> tuple[int, str]:
        return tiers.get(name, 0), _key(name, *parts)

    if wanted.max_volatility is not None:
        yield VolatilityLimit(wanted.max_volatility, None, *stated("max_volatility"))
    if wanted.max_tracking_error is not None and benchmark is not None:
        yield VolatilityLimit(wanted.max_tracking_error, benchmark[:-1], *stated("max_tracking_error"))
    if wanted.largest is not None and wanted.largest.max < 1:
        count = min(wanted.largest.count, len(book.instruments))
        yield LargestWeights(count, wanted.largest.max, *stated("largest", "max"))
    if wanted.min_worst_case_return is not None:
        yield WorstCaseFloor(wanted.min_worst_case_return, ambiguity, None, *stated("min_worst_case_return"))
    if wanted.min_worst_case_active_return is not None and benchmark is not None:
        floor = wanted.min_worst_case_active_return
        yield WorstCaseFloor(floor, ambiguity, benchmark, *stated("min_worst_case_active_return"))
