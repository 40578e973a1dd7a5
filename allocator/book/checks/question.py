"""What `[question]`, `[model]`, `[market]` and the tables that feed them must agree on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pandas as pd

from allocator.errors import Breach, did_you_mean
from allocator.settings.reading import dotted_key
from allocator.settings.settings import ScenarioSection, Settings
from allocator.settings.uncertainty import AMBIGUITY_SETS, LimitSection

# What the rows of `signals.csv` must agree on with the question and with each other: who may say what, and when.
#
ANY_LAB = "any lab"
"""The source of a claim of which it is known only that somebody silent made it, and since when."""


def check_signals(settings: Settings, signals: pd.DataFrame, where: str) -> Iterator[Breach]:
    """Every row that cannot be; `where` is what the table is called."""
    question = settings.question
    if question is None:
        yield Breach(
            where,
            None,
            None,
            None,
            "signals speak to a question, and there is no [question]",
            "add [question] to book.toml, or remove the table",
        )
        return
    yield from _future(settings, signals, where)
    judged: dict[str, tuple[str, dt.date]] = {}
    claimed: set[str] = set()
    pooled = False
    seen: set[tuple[object, ...]] = set()
    # a day's claims come before what is said of them, wherever their rows stand
    in_order = sorted(signals.iterrows(), key=lambda item: (item[1]["date"], item[1]["kind"] != "claim"))
    for row, signal in in_order:
        place, day = (where, int(str(row))), signal["date"].date()
        kind, source = str(signal["kind"]), str(signal["source"])
        if day < question.opened:
            yield _before(question.opened, place, day)
        key = (kind, source, *([day] if kind == "usage" else []))
        if key in seen:
            yield Breach(*place, "kind", f"{kind} {source}", "stands here twice", "keep one of them")
            continue
        seen.add(key)
        if kind == "usage":
            yield from _usage(settings, place, signal)
            continue
        yield from _no_figures(place, signal)
        yield from _interval(question.opened, place, signal)
        if source == ANY_LAB:
            pooled = pooled or (kind == "claim")
        elif source not in question.labs:
            yield Breach(
                *place, "source", source, "no such lab in [question.labs]", did_you_mean(source, question.labs)
            )
        if kind == "claim":
            if pooled and source != ANY_LAB:
                rule = f"comes after a claim by {ANY_LAB}, which stands for the first of them"
                yield Breach(*place, "source", source, rule, f"name the lab in the row of {ANY_LAB}, without since")
            claimed.add(source)
        else:
            yield from _verdict(place, (kind, source, day), claimed, judged)


def _future(settings: Settings, signals: pd.DataFrame, where: str) -> Iterator[Breach]:
    """Signals after as_of; the cure is that of all of them at once."""
    as_of = settings.book.as_of
    days = signals["date"].dt.date
    late = signals.loc[days > as_of]
    if late.empty:
        return
    last, count = days.max(), len(late)
    rows = "this row" if count == 1 else f"these {count} rows"
    for row, day in days.loc[late.index].items():
        cure = (
            f"{count} signal{'s lie' if count > 1 else ' lies'} after it: use --as-of {last} or later, or remove {rows}"
        )
        yield Breach(where, int(str(row)), "date", str(day), f"is after as_of = {as_of}", cure)


def _before(opened: dt.date, place: tuple[str, int], day: dt.date) -> Breach:
    rule, cure = f"is before the question opened on {opened}", "correct it; what was known by then belongs in the prior"
    return Breach(*place, "date", str(day), rule, cure)


def _verdict(
    place: tuple[str, int],
    said: tuple[str, str, dt.date],
    claimed: Collection[str],
    judged: dict[str, tuple[str, dt.date]],
) -> Iterator[Breach]:
    """A verification or refutation belongs to an earlier claim, and a claim is judged once."""
    kind, source, day = said
    if source not in claimed:
        yield Breach(*place, "kind", kind, f"{source} has claimed nothing by {day}", "add the claim that it belongs to")
    if source in judged:
        before, then = judged[source]
        yield Breach(
            *place,
            "kind",
            f"{kind} {source}",
            f"a claim is judged once, and this one's {before} is of {then}",
            "keep the row that holds, and remove the other",
        )
    judged.setdefault(source, (kind, day))


def _interval(opened: dt.date, place: tuple[str, int], signal: pd.Series[Any]) -> Iterator[Breach]:
    """`since` belongs to a claim by any lab, which needs it."""
    since = signal.get("since")
    there = since is not None and bool(pd.notna(since))
    needed = signal["kind"] == "claim" and signal["source"] == ANY_LAB
    if needed and not there:
        yield Breach(*place, "since", "", f"is needed for a claim by {ANY_LAB}", "state the last day without a claim")
    elif there and not needed:
        rule, cure = f"belongs to a claim by {ANY_LAB}", "clear the cell"
        yield Breach(*place, "since", f"{since:%Y-%m-%d}", rule, cure)
    elif since is not None and there and not opened <= since.date() < signal["date"].date():
        rule = f"must be from the opening on {opened} to before the row's own date"
        yield Breach(*place, "since", f"{since:%Y-%m-%d}", rule, "correct it")


def _no_figures(place: tuple[str, int], signal: pd.Series[float]) -> Iterator[Breach]:
    for name in ("price_fall", "usage_growth"):
        if name in signal and pd.notna(signal[name]):
            yield Breach(
                *place,
                name,
                f"{signal[name]:g}",
                f"belongs to a usage figure, and this is a {signal['kind']}",
                "clear the cell, or change the kind to usage",
            )


def _usage(settings: Settings, place: tuple[str, int], signal: pd.Series[float]) -> Iterator[Breach]:
    if settings.question is not None and settings.question.demand is None:
        yield Breach(
            *place, "kind", "usage", "needs [question.demand]", "add it: what you believe of the usage elasticity"
        )
    for name in ("price_fall", "usage_growth"):
        if name not in signal or pd.isna(signal[name]):
            yield Breach(
                *place, name, "", "is needed for a usage figure", "write a log change; a price that halves is 0.69"
            )


Tables = Mapping[str, pd.DataFrame]
HYPOTHESES = ("generalizable", "proprietary")
REGIMES = ("jevons", "compression")
LOADINGS = ("training", "inference", "capacity", "application", "other")
ALWAYS = (*LOADINGS, "owner", "multiple_loading", "committed_capex", "required_return")
_TEXTS = ("hypothesis", "demand", "note")
COORDINATES = tuple(name for name in ScenarioSection.model_fields if name not in ("probability", *_TEXTS))
"""Parameters of a scenario, all numbers: shocks change them, and two scenarios have a distance in them."""
APPLICATION = ("token_share", "passed_on", "application_margin", "application_elasticity")


def check_question(settings: Settings, tables: Tables, given: Collection[str]) -> list[Breach]:
    """Every disagreement about what is believed; `given` names the tables that are there, sound or not."""
    found = [
        *_question(settings),
        *_ranges(settings),
        *_market(settings),
        *_model_parameters(settings),
        *_schedule(settings),
    ]
    if "exposures" in tables and ("scenario_returns" in tables or "scenario_returns" not in given):
        found += _returns_of_everyone(settings, tables)
    if "signals" in tables:
        found += check_signals(settings, tables["signals"], str(tables["signals"].attrs.get("name", "signals")))
    return found


def _in_book(key: str, value: object, rule: str, cure: str) -> Breach:
    return Breach("book.toml", None, key, None if value is None else str(value), rule, cure)


def _question(settings: Settings) -> Iterator[Breach]:
    question = settings.question
    if question is None:
        return
    if question.opened > settings.book.as_of:
        yield _in_book(
            "question.opened",
            question.opened,
            f"is after as_of = {settings.book.as_of}",
            "correct it, or move as_of forward",
        )
    words = (("hypothesis", HYPOTHESES), *((("demand", REGIMES),) if question.demand else ()))
    for name, scenario in settings.scenarios.items():
        for key, known in words:
            said = getattr(scenario, key)
            if said not in known:
                yield _in_book(
                    f"scenarios.{name}.{key}",
                    said,
                    f"must be {' or '.join(known)} for [question] to mean it",
                    did_you_mean(said, known) if said else "add it",
                )
    for key, known in words:
        for word in known:
            prior = sum(
                scenario.probability for scenario in settings.scenarios.values() if getattr(scenario, key) == word
            )
            if prior <= 0:
                yield _in_book(
                    f"scenarios.*.{key}",
                    word,
                    "has no prior probability, so no signal could ever speak for it",
                    f"give a {word} scenario a probability above 0",
                )


def _ranges(settings: Settings) -> Iterator[Breach]:
    """What we believe lies within what we are unsure of: else the belief may lie outside its own interval."""
    question = settings.question
    if question is None or question.ranges is None:
        return
    prior = sum(one.probability for one in settings.scenarios.values() if one.hypothesis == "generalizable")
    stated = [("scenarios.*.probability", "of the generalizable scenarios", prior, "prior_generalizable")]
    stated = stated if prior > 0 else []  # refused by itself
    stated += [
        (f"question.labs.{dotted_key(name)}.{key}", f"of {name}", float(getattr(lab, key)), key)
        for name, lab in question.labs.items()
        for key in ("disclosure", "hazard", "background")
    ]
    for place, whose, value, key in stated:
        low, high = getattr(question.ranges, key)
        if not low * (1 - 1e-9) <= value <= high * (1 + 1e-9):
            yield _in_book(
                place,
                f"{value:.10g}",
                f"{whose} is outside [question.ranges] {key} = [{low:g}, {high:g}]",
                "widen the range to hold it, or correct the value",
            )


def _market(settings: Settings) -> Iterator[Breach]:
    market, question, as_of = settings.market, settings.question, settings.book.as_of
    if market is None:
        return
    if settings.model is None:
        yield _in_book(
            "market",
            None,
            "anchors the efficiency model's returns, and there is no [model]",
            "add [model], or remove [market]",
        )
    for name in market.probabilities:
        if name not in settings.scenarios:
            yield _in_book("market.probabilities", name, "no such scenario", did_you_mean(name, settings.scenarios))
    for name in settings.scenarios:
        if name not in market.probabilities:
            yield _in_book(f"market.probabilities.{name}", None, "is missing", "add it; 0 says that prices exclude it")
    total = sum(market.probabilities.values())
    if abs(total - 1) > 1e-9:
        cure = f"the sum is {total:.10g}: {'raise' if total < 1 else 'lower'} them by {abs(1 - total):.4g} in all"
        yield _in_book("market.probabilities", f"{total:.10g}", "must sum to 1", cure)
    if market.date > as_of:
        yield _in_book("market.date", market.date, f"is after as_of = {as_of}", "correct it, or move as_of forward")
    if market.date < as_of and question is None:
        yield _in_book(
            "market.date",
            market.date,
            "is not as_of, and without [question] nothing says how prices moved since",
            "add [question], or state the market's probabilities of as_of",
        )
    if question is not None and market.date < question.opened:
        yield _in_book(
            "market.date",
            market.date,
            f"is before the question opened on {question.opened}",
            "state the probabilities of that day or later",
        )
    if market.date < as_of and settings.horizon.announcement_share is None:
        yield _in_book(
            "horizon.announcement_share",
            None,
            f"is needed: the market's probabilities are of {market.date}",
            "say which part of a re-pricing happens with the news, from 0 to 1",
        )


def _model_parameters(settings: Settings) -> Iterator[Breach]:
    if settings.model is None:
        return
    for name, scenario in settings.scenarios.items():
        for key in COORDINATES:
            if getattr(scenario, key) is None:
                yield _in_book(f"scenarios.{name}.{key}", None, "is needed by [model]", "add it")


def _schedule(settings: Settings) -> Iterator[Breach]:
    if settings.robust.schedule == "corners" and (settings.question is None or settings.question.ranges is None):
        yield _in_book("robust.schedule", "corners", "needs [question.ranges]", 'add them, or use schedule = "caution"')


def _returns_of_everyone(settings: Settings, tables: Tables) -> Iterator[Breach]:
    """Every name's returns come from the user's table or from the model, and the model has what it needs."""
    exposures = tables["exposures"]
    where = str(exposures.attrs.get("name", "exposures"))
    given = set(tables["scenario_returns"]["instrument"]) if "scenario_returns" in tables else set()
    rest = exposures.loc[~exposures["instrument"].isin(given)]
    if settings.plugins.models:
        return  # the plugin's returns are held to their contract when it has made them
    if settings.model is None:
        table = str(tables["scenario_returns"].attrs["name"]) if "scenario_returns" in tables else "scenario_returns"
        if not given:
            yield Breach(
                table,
                None,
                None,
                None,
                "this table is required, as there is no [model]",
                "add scenario_returns.csv, or [model] to book.toml",
            )
        for name in rest["instrument"] if given else ():
            yield Breach(table, None, "instrument", name, "has no row here", "add its row")
        return
    for row, own in rest.iterrows():
        yield from _loadings(where, int(str(row)), own)


def _loadings(where: str, row: int, own: pd.Series[float]) -> Iterator[Breach]:
    cash = str(own["bucket"]) == "cash"
    wanted = ["required_return"] if cash else list(ALWAYS)
    if not cash and abs(own.get("inference", 0)) > 0:
        wanted.append("gross_margin")
    if not cash and abs(own.get("application", 0)) > 0:
        wanted += APPLICATION
    missing = [name for name in wanted if name not in own or pd.isna(own[name])]
    for name in missing:
        yield Breach(
            where,
            row,
            name,
            "",
            f"is needed by [model] for {own['instrument']}",
            "fill it in, or give the name's returns in scenario_returns.csv",
        )
    total = sum(float(own[name]) for name in LOADINGS) if not cash and not missing else 1.0
    if abs(total - 1) > 1e-6:
        yield Breach(
            where,
            row,
            "training … other",
            f"{total:.6g}",
            "the five loadings must sum to 1",
            f"the sum is {total:.6g}; what hangs on no driver goes into other",
        )


# Whether what `[robust]` guards against speaks of this book's scenarios: experts, metric and limits.
#
_NOISE = 1e-9


def check_ambiguity_settings(settings: Settings) -> Iterator[Breach]:
    """What `[robust]` says of scenarios; sections that its set does not read are said to be idle elsewhere."""
    robust, table = settings.robust, AMBIGUITY_SETS[settings.robust.set].table
    checks: Mapping[str, Any] = {"experts": _expert, "metric": _coordinate, "limits": _limit}
    for name, stated in getattr(robust, table, {}).items():
        yield from checks[table](settings, name, stated)


def _said(column: str, value: str | None, rule: str, cure: str) -> Breach:
    return Breach("book.toml", None, column, value, rule, cure)


def _unknown(settings: Settings, place: tuple[str, ...], names: Mapping[str, object]) -> Iterator[Breach]:
    for scenario in names:
        if scenario not in settings.scenarios:
            cure = did_you_mean(scenario, settings.scenarios)
            yield _said(dotted_key(*place, scenario), scenario, "no such scenario", cure)


def _expert(settings: Settings, name: str, probabilities: Mapping[str, float]) -> Iterator[Breach]:
    place = ("robust", "experts", name)
    yield from _unknown(settings, place, probabilities)
    missing = [scenario for scenario in settings.scenarios if scenario not in probabilities]
    for scenario in missing:
        yield _said(
            dotted_key(*place, scenario),
            None,
            "is required: an expert speaks of every scenario",
            "add it; 0 is allowed",
        )
    total = sum(probabilities.values())
    if not missing and abs(total - 1) > _NOISE:
        cure = f"the sum is {total:.10g}: {'raise' if total < 1 else 'lower'} them by {abs(1 - total):.4g} in all"
        yield _said(dotted_key(*place), f"{total:.10g}", "an expert's probabilities must sum to 1", cure)


def _coordinate(settings: Settings, name: str, _: float) -> Iterator[Breach]:
    place = dotted_key("robust", "metric", name)
    if name not in COORDINATES:
        yield _said(place, name, "no such number of a scenario", did_you_mean(name, COORDINATES))
        return
    for scenario, section in settings.scenarios.items():
        if getattr(section, name) is None:
            yield _said(dotted_key("scenarios", scenario, name), None, "is needed by [robust.metric]", "add it")


def _limit(settings: Settings, name: str, limit: LimitSection) -> Iterator[Breach]:
    place = ("robust", "limits", name)
    unknown = list(_unknown(settings, (*place, "weights"), limit.weights))
    yield from unknown
    if unknown:
        return
    each = [limit.weights.get(scenario, 0.0) for scenario in settings.scenarios]
    if limit.max is not None and min(each) > limit.max:
        cure = f"raise max to {min(each):g} or more"
        yield _said(dotted_key(*place, "max"), f"{limit.max:g}", "no probabilities can keep it", cure)
    if limit.min is not None and max(each) < limit.min:
        cure = f"lower min to {max(each):g} or less"
        yield _said(dotted_key(*place, "min"), f"{limit.min:g}", "no probabilities can keep it", cure)
