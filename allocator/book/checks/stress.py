"""What the shocks of a book speak of must be there: names, sources, parameters, and claims before their verdicts.

A shock is held to the same contracts as the book: its signals to those of `signals.csv`, its parameters to those of
`[model]` and `[scenarios]`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Any

import pandas as pd
from pydantic import BaseModel

from allocator.book.checks.draft import Draft, repeated_names, unknown_names
from allocator.book.checks.question import COORDINATES, check_signals, prior_of
from allocator.book.checks.rules import bucket_counts
from allocator.errors import BadInput, Breach, closest_name, did_you_mean, setting_breach
from allocator.outlook.efficiency_model_settings import ModelSection
from allocator.settings.reading import dotted_key, settings_from
from allocator.settings.settings import DAYS_A_YEAR, HorizonSection, Settings
from allocator.settings.stress import EVERY_SCENARIO, EVERY_SOURCE, ShockSection, joined_shocks, starter_shocks
from allocator.settings.uncertainty import ScenarioSection
from allocator.tables.validation import YEARS

_FIGURES = ("price_fall", "usage_growth", "log10_bayes_factor")
_PRICES_ALONE = "state a shock of market, factors, multiples, buckets or instruments alone"
_FIRST_ROW = 10_000_000
"""Where rows of a shock stand while they are looked at beside those of the table."""


@dataclass(frozen=True, eq=False)
class BookNames:
    """What a book has names for: risky `instruments` with their rows of `exposures`, `cash`, `factors`; and the signals
    so far.
    """

    settings: Settings
    instruments: tuple[str, ...]
    cash: Collection[str]
    factors: tuple[str, ...]
    exposures: pd.DataFrame
    signals: pd.DataFrame | None

    @property
    def known(self) -> tuple[str, ...]:
        """What a claim may speak of: instruments, buckets and groups."""
        return (*self.instruments, *self.settings.buckets.names, *self.settings.groups)

    @property
    def labels(self) -> frozenset[str]:
        """The buckets that something is in."""
        return frozenset(map(str, self.exposures["bucket"]))

    @property
    def columns(self) -> frozenset[str]:
        """The columns of exposures.csv that are filled for every name."""
        own = self.exposures
        return frozenset(str(name) for name in own if own[name].notna().all() or name == "tradable_from")


def check_shocks(draft: Draft) -> Iterator[Breach]:
    """Every error of every shock, and rules that stand on a shock that they cannot measure."""
    settings = draft.settings
    shocks = joined_shocks(settings.shocks)
    for name in settings.mandate.max_stress_loss:
        place, shock = dotted_key("mandate", "max_stress_loss", name), shocks.get(name)
        if shock is None:
            near = closest_name(name, settings.shocks)
            cure = f"did you mean {near!r}?" if near else f"add [{dotted_key('shocks', name)}] with what it moves"
            yield setting_breach(place, name, "no such shock", cure)
        elif shock.tells or shock.changes_model or shock.changes_liquidity or not shock.moves_prices:
            rule = "is a limit on what prices lose at once, and this shock does not move prices only"
            yield setting_breach(place, name, rule, _PRICES_ALONE)
    if "exposures" in draft.tables:
        names, signals = draft.risky_names, draft.tables.get("signals")
        there = BookNames(settings, names, draft.cash, tuple(draft.factors), draft.risky, signals)
        for name, shock in shocks.items():
            yield from check_shock(there, name, shock)


def check_shock(there: BookNames, name: str, shock: ShockSection) -> Iterator[Breach]:
    """Everything in one shock that this book cannot carry."""
    place = ("shocks", name)
    if faults := list(_combined(there, name, shock)):
        yield from faults
        return
    for part in shock.parts:
        yield from _moved(there, place, part)
    if shock.changes_risk and there.settings.risk.source == "none":
        cure = "add [risk], or remove beta_times, idiosyncratic_times and correlation"
        yield setting_breach(dotted_key(*place), None, "changes risk within scenarios, and this book has none", cure)
    if shock.tells:
        yield from _told(there, place, shock)
    if shock.changes_model:
        yield from _changed(there, place, shock)
    if shock.delay_months is not None and "tradable_from" not in there.columns:
        cure = "add the column to exposures.csv, or remove it"
        yield setting_breach(dotted_key(*place, "delay_months"), None, "nothing in this book has a tradable_from", cure)
    for own in shock.expect:
        yield from _no_name((*place, "expect"), own, there.cash, there.known, "instrument, bucket or group")
        is_bucket = own in there.settings.buckets.names and own not in (*there.instruments, *there.settings.groups)
        if is_bucket and not (bucket_counts(there.exposures, own)[0] > 0).any():
            yield _nobody(there, dotted_key(*place, "expect", own), own)


def _combined(there: BookNames, name: str, shock: ShockSection) -> Iterator[Breach]:
    """Shocks that it combines: there, not itself however far around, and of one mind about the model."""
    known, at = {**starter_shocks(), **there.settings.shocks}, dotted_key("shocks", name, "combine")
    yield from unknown_names((), shock.combine, known, "shock of [shocks] or data/shocks.toml", at=at)
    members = dict(shock.parts[0].members(known))  # the first is what it says itself
    if name in members:
        yield setting_breach(at, name, "comes back to the shock itself", "take it out of the list, or out of theirs")
    yield from repeated_names(at, shock.combine)
    said: dict[tuple[str, ...], tuple[str, float]] = {}
    for other, part in members.items():
        changes = {("model",): part.model} | {("scenarios", own): keys for own, keys in part.scenarios.items()}
        for place, keys in changes.items():
            for key, value in keys.items():
                first, before = said.setdefault((*place, key), (other, value))
                if before != value:
                    rule = f"{dotted_key(*place, key)} is {before:g} of '{first or name}' and {value:g} of '{other}'"
                    yield setting_breach(at, other, rule, "let one of them say it")


def _nobody(there: BookNames, at: str, bucket: str) -> Breach:
    rule = "nothing in this book " + ("counts towards it" if bucket in there.labels else "has this label")
    return setting_breach(at, bucket, rule, "correct the labels of exposures.csv, or remove it")


def _moved(there: BookNames, place: tuple[str, ...], shock: ShockSection) -> Iterator[Breach]:
    buckets = there.settings.buckets.names
    for name in shock.buckets:
        if name in there.labels:
            continue
        if name in buckets:
            yield _nobody(there, dotted_key(*place, "buckets", name), name)
        else:
            yield from _no_name((*place, "buckets"), name, ("cash",), buckets, "bucket")
    for name in shock.instruments:
        yield from _no_name((*place, "instruments"), name, there.cash, there.instruments, "instrument in exposures.csv")
    if there.factors:
        yield from unknown_names((*place, "factors"), shock.factors, there.factors, "factor in factors.csv")
    for name in shock.factors if not there.factors else ():
        cure = "add factors.csv with its exposures"
        yield setting_breach(dotted_key(*place, "factors", name), name, "no such factor in factors.csv", cure)


def _no_name(
    place: tuple[str, ...], name: str, cash: Collection[str], known: Collection[str], what: str
) -> Iterator[Breach]:
    if name in cash:
        yield setting_breach(dotted_key(*place, name), name, "cash does not move", "remove it")
    else:
        yield from unknown_names(place, [name], known, what)


def _told(there: BookNames, place: tuple[str, ...], shock: ShockSection) -> Iterator[Breach]:
    """The shock's signals are held to the contract of the table, beside its rows."""
    if there.settings.question is None:
        rule = "tells something about a question, and there is no [question]"
        yield setting_breach(dotted_key(*place), None, rule, "add [question], or remove signals and silent_months")
        return
    days = [days_after(there.settings, said.after_months) for said in shock.signals]
    if days and max(days).year not in YEARS:
        rule, cure = f"must come before {YEARS.stop}, as every row of a table", "correct as_of, or remove the shock"
        yield setting_breach(dotted_key(*place, "signals"), max(days), rule, cure)
        return
    own = shock_signals(there.settings, there.signals, shock)
    if own.empty:
        if shock.signals:
            cure = "name what they say next, or remove it"
            said = shock.signals[0].source
            yield setting_breach(dotted_key(*place, "signals"), said, f"{said} has claimed already", cure)
        return
    own.index = pd.RangeIndex(_FIRST_ROW, _FIRST_ROW + len(own))
    both = own if there.signals is None or there.signals.empty else pd.concat([there.signals, own])
    late = there.settings.book.model_copy(update={"as_of": max(own["date"]).date()})
    settings = there.settings.model_copy(update={"book": late})
    both.attrs["name"] = "book.toml"
    for breach in check_signals(Draft(settings, {"signals": both})):
        if breach.row is not None and breach.row >= _FIRST_ROW:
            at = dotted_key(*place, "signals", *([breach.column] if breach.column else []))
            yield setting_breach(at, breach.value, breach.rule, breach.cure)


def days_after(settings: Settings, months: float) -> dt.date:
    """The day so many months after as_of, the next day at the soonest."""
    return settings.book.as_of + dt.timedelta(days=max(1, ceil(months * DAYS_A_YEAR / 12 - 1e-9)))


def shock_signals(settings: Settings, signals: pd.DataFrame | None, shock: ShockSection) -> pd.DataFrame:
    """The signals of a shock as rows of `signals.csv`, in date order; a claim by every source is one by each of
    which nothing is claimed that is open or verified.
    """
    if not shock.signals:
        return _no_signals()
    known = [] if signals is None else signals.sort_values("date", kind="stable").to_dict("records")
    spoken = ("claim", "verification", "refutation")
    standing = {str(row["source"]): row["kind"] for row in known if row["kind"] in spoken}
    silent = [source for source in settings.sources if standing.get(source, "refutation") == "refutation"]
    rows = [
        {
            "date": pd.Timestamp(days_after(settings, said.after_months)),
            "source": source,
            **said.model_dump(include={"kind", "hypothesis", "strength", *_FIGURES}),
        }
        for said in shock.signals
        for source in (silent if said.source in EVERY_SOURCE else [said.source])
    ]
    return _signals_frame(rows).sort_values("date", kind="stable").reset_index(drop=True)


def _signals_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    types = {"date": "datetime64[ns]", "strength": "float64"} | dict.fromkeys(_FIGURES, "float64")
    return pd.DataFrame(rows, columns=["date", "kind", "source", "hypothesis", "strength", *_FIGURES]).astype(types)


@cache
def _no_signals() -> pd.DataFrame:
    """As most shocks have."""
    return _signals_frame(())


def _changed(there: BookNames, place: tuple[str, ...], shock: ShockSection) -> Iterator[Breach]:
    settings = there.settings
    if settings.model is None:
        cure = "add [model], or remove model and scenarios"
        yield setting_breach(dotted_key(*place), None, "changes the efficiency model, and there is no [model]", cure)
        return
    unknown: list[Breach] = []
    for scenario, changes in shock.scenarios.items():
        known = (*settings.scenarios, EVERY_SCENARIO)
        unknown += unknown_names((*place, "scenarios"), [scenario], known, "scenario")
        for key in changes:
            if key not in COORDINATES:
                at = dotted_key(*place, "scenarios", scenario, key)
                rule = "is no parameter that a shock changes"
                unknown.append(setting_breach(at, key, rule, did_you_mean(key, COORDINATES)))
    if unknown:
        yield from unknown
        return
    try:
        settings_after_shock(settings, shock)
    except BadInput as error:
        for breach in error.breaches:
            yield setting_breach(f"{dotted_key(*place)}.{breach.column}", breach.value, breach.rule, breach.cure)


def settings_after_shock(settings: Settings, shock: ShockSection) -> Settings:
    """The settings with the model and scenario parameters that a shock states, for us and for the market.

    Raises:
        BadInput: a parameter is unknown or out of its range.
    """
    document = settings.model_dump(exclude_unset=True)
    if shock.model:
        document["model"] = document["model"] | shock.model
    markets = document.get("market", {}).get("scenarios", {})
    for name, scenario in document["scenarios"].items():
        changed = shock.scenarios.get(EVERY_SCENARIO, {}) | shock.scenarios.get(name, {})
        document["scenarios"][name] = scenario | changed
        if name in markets:  # the market sees it too
            markets[name] = {key: value for key, value in markets[name].items() if key not in changed}
    return settings_from(document)


# What `[stress.ranges]` must be: in order, lawful, of parameters that the book has, around the book's own values.
#
# The question's are those of [question.ranges]: the prior of the first hypothesis, and one value that all sources
# share.
#


@dataclass(frozen=True)
class ParameterKey:
    """A parameter by where it stands in `book.toml`: model, horizon, question, or scenarios and which of them."""

    section: str
    name: str
    scenario: str | None = None

    def __str__(self) -> str:
        place = (self.section,) if self.scenario is None else (self.section, self.scenario)
        return dotted_key(*place, self.name)

    @property
    def label(self) -> str:
        """As people say it: its name, and of which scenario."""
        return self.name if self.scenario is None else f"{self.name} ({self.scenario})"


PRIOR_OF_ANSWER = ParameterKey("question", "prior")
SHARE = ParameterKey("horizon", "announcement_share")
_TOPS = {"prior": 1.0, "disclosure": 1.0, "hazard": 10.0, "background": 10.0}
"""Of the question's ranges, as [question.ranges] has them; they begin above 0."""
_SECTIONS: dict[str, type[BaseModel]] = {
    "model": ModelSection,
    "horizon": HorizonSection,
    "scenarios": ScenarioSection,
}
_HOLDS = 1e-9
"""How far a value may be outside, relative to the end: a prior is a sum of probabilities."""


def check_stress_ranges(draft: Draft) -> Iterator[Breach]:
    """Ranges out of order, beyond what is lawful, or of what the book has not."""
    settings, ranges = draft.settings, draft.settings.stress.ranges
    if ranges is not None:
        yield from unknown_names(("stress", "ranges", "scenarios"), ranges.scenarios, settings.scenarios, "scenario")
    for key, (low, high) in stated_ranges(settings).items():
        if fault := _fault(settings, key, low, high):
            yield setting_breach(_place(key), f"[{low:g}, {high:g}]", *fault)


def check_book_values_in_ranges(settings: Settings) -> Iterator[Breach]:
    """Ranges without the book's own value: what is stressed would then not surround what is believed.

    Asked when the ranges are used, and not of every book: a what-if may move a parameter out of its range.
    """
    for key, (low, high) in stated_ranges(settings).items():
        for own in book_values(settings, key):
            if not low - _HOLDS * abs(low) <= own <= high + _HOLDS * abs(high):
                rule, cure = f"does not hold the book's own {own:.10g}", "widen it to hold that, or correct the value"
                yield setting_breach(_place(key), f"[{low:g}, {high:g}]", rule, cure)
                break


def stated_ranges(settings: Settings) -> dict[ParameterKey, tuple[float, float]]:
    """What [stress.ranges] states."""
    ranges = settings.stress.ranges
    if ranges is None:
        return {}
    stated = {}
    for name, pair in ranges.model_dump(exclude={"scenarios"}, exclude_none=True).items():
        section = "model" if name in ModelSection.model_fields else "question" if name in _TOPS else "horizon"
        stated[ParameterKey(section, name)] = (pair[0], pair[1])
    for scenario, own in ranges.scenarios.items():
        if scenario in settings.scenarios:  # a stranger is refused by itself
            for name, pair in own.model_dump(exclude_none=True).items():
                stated[ParameterKey("scenarios", name, scenario)] = (pair[0], pair[1])
    return stated


def book_values(settings: Settings, key: ParameterKey) -> tuple[float, ...]:
    """What the book itself says of a parameter: one number, or one a source; none where it says nothing."""
    if key == PRIOR_OF_ANSWER:
        first = settings.hypotheses[:1] if settings.question is not None else ()
        return tuple(float(prior_of(settings, "hypothesis", name)) for name in first)
    if key.section == "question":
        models = [model for source in settings.sources.values() for model in source.values()]
        return tuple(float(getattr(model, key.name)) for model in models)
    section = getattr(settings, key.section)
    value = getattr(section if key.scenario is None else section[key.scenario], key.name, None)
    return () if value is None else (float(value),)


def contract_range(key: ParameterKey) -> tuple[float, float, bool, bool]:
    """Lowest and highest value that the contract allows, and whether each of these ends is itself out of bounds."""
    return _contract_range(key.section, key.name)


@cache
def _contract_range(section: str, name: str) -> tuple[float, float, bool, bool]:
    if section == "question":
        return 0.0, _TOPS[name], True, True
    low, high, above, below = float("-inf"), float("inf"), False, False
    schema = _SECTIONS[section].model_json_schema()["properties"][name]
    for part in (schema, *schema.get("anyOf", ())):
        low = part.get("minimum", part.get("exclusiveMinimum", low))
        high = part.get("maximum", part.get("exclusiveMaximum", high))
        above |= "exclusiveMinimum" in part
        below |= "exclusiveMaximum" in part
    return float(low), float(high), above, below


def _fault(settings: Settings, key: ParameterKey, low: float, high: float) -> tuple[str, str] | None:
    """What is wrong with one range, and the cure; None where it is sound."""
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        return "must be two finite numbers", "write for example [0.4, 1.5]"
    if low > high:
        return "must be [lowest, highest]", f"write the lowest first: [{high:g}, {low:g}]"
    least, most, above, below = contract_range(key)
    if low < least or high > most or (above and low == least) or (below and high == most):
        words = (f"{'above' if above else 'at least'} {least:g}", f"{'below' if below else 'at most'} {most:g}")
        return f"must be {words[0]} and {words[1]}, at both ends", "bring it inside"
    if key.section == "question" and settings.question is None:
        return "has no effect without [question]", "add [question], or remove the range"
    if key.section in ("model", "scenarios") and settings.model is None:
        return "has no effect without [model]", "add [model], or remove the range"
    return None


def _place(key: ParameterKey) -> str:
    """The key as [stress.ranges] writes it: its section is not said there, but of a scenario."""
    place = () if key.scenario is None else ("scenarios", key.scenario)
    return dotted_key("stress", "ranges", *place, key.name)
