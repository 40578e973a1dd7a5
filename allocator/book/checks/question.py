"""What `[question]`, `[model]`, `[market]`, `[robust]` and the tables that feed them must agree on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pandas as pd

from allocator.book.checks.draft import Draft, Row, not_one, unknown_names
from allocator.errors import Breach, did_you_mean, setting_breach
from allocator.settings.reading import dotted_key
from allocator.settings.settings import Settings
from allocator.settings.uncertainty import AMBIGUITY_SETS, LimitSection, ScenarioSection

# What the rows of `signals.csv` must agree on with the question and with each other: who may say what, and when.
#
ANY_LAB = "any lab"
"""The source of a claim of which it is known only that somebody silent made it, and since when."""


def check_signals(draft: Draft) -> Iterator[Breach]:
    """Every row of signals.csv that cannot be."""
    question, signals = draft.settings.question, draft.tables["signals"]
    if question is None:
        cure = "add [question] to book.toml, or remove the table"
        rule = "signals speak to a question, and there is no [question]"
        yield Breach.of(draft.name("signals"), rule, cure)
        return
    late = signals["date"] > pd.Timestamp(draft.settings.book.as_of)
    yield from _future(draft, late)
    judged: dict[str, tuple[str, dt.date]] = {}
    claimed: set[str] = set()
    seen: set[tuple[object, ...]] = set()
    # a day's claims come before what is said of them, wherever their rows stand
    everything = draft.rows("signals", late | True)
    for row in sorted(everything, key=lambda row: (row["date"], row["kind"] != "claim")):
        kind, source, day = str(row["kind"]), str(row["source"]), row["date"].date()
        if day < question.opened:
            cure = "correct it; what was known by then belongs in the prior"
            yield row.breach("date", f"is before the question opened on {question.opened}", cure)
        key = (kind, source, *([day] if kind == "usage" else []))
        if key in seen:
            yield row.breach("kind", "stands here twice", "keep one of them", f"{kind} {source}")
            continue
        seen.add(key)
        if kind == "usage":
            yield from _usage(draft.settings, row)
            continue
        yield from _of_a_lab(question.opened, question.labs, row)
        if kind == "claim":
            if ANY_LAB in claimed and source != ANY_LAB:
                rule = f"comes after a claim by {ANY_LAB}, which stands for the first of them"
                yield row.breach("source", rule, f"name the lab in the row of {ANY_LAB}, without since")
            claimed.add(source)
        else:
            yield from _verdict(row, (kind, source, day), claimed, judged)


def _future(draft: Draft, late: pd.Series[bool]) -> Iterator[Breach]:
    """Signals after as_of; the cure is that of all of them at once."""
    last, count = draft.tables["signals"]["date"].max(), int(late.sum())
    rows = "this row" if count == 1 else f"these {count} rows"
    lie = "1 signal lies" if count == 1 else f"{count} signals lie"
    for row in draft.rows("signals", late):
        cure = f"{lie} after it: use --as-of {last:%Y-%m-%d} or later, or remove {rows}"
        yield row.breach("date", f"is after as_of = {draft.settings.book.as_of}", cure)


def _of_a_lab(opened: dt.date, labs: Collection[str], row: Row) -> Iterator[Breach]:
    """A claim or a verdict: it has no figures, is by a lab of the question, and only that by any lab has a `since`."""
    for name in ("price_fall", "usage_growth"):
        if _there(row, name):
            rule = f"belongs to a usage figure, and this is a {row['kind']}"
            yield row.breach(name, rule, "clear the cell, or change the kind to usage")
    needed = row["kind"] == "claim" and row["source"] == ANY_LAB
    if needed and not _there(row, "since"):
        yield row.breach("since", f"is needed for a claim by {ANY_LAB}", "state the last day without a claim")
    elif _there(row, "since") and not needed:
        yield row.breach("since", f"belongs to a claim by {ANY_LAB}", "clear the cell")
    elif needed and not opened <= row["since"].date() < row["date"].date():
        rule = f"must be from the opening on {opened} to before the row's own date"
        yield row.breach("since", rule, "correct it")
    if row["source"] != ANY_LAB and row["source"] not in labs:
        yield row.breach("source", "no such lab in [question.labs]", did_you_mean(row["source"], labs))


def _there(row: Row, column: str) -> bool:
    return bool(pd.notna(row.cells.get(column)))


def _usage(settings: Settings, row: Row) -> Iterator[Breach]:
    if settings.question is not None and settings.question.demand is None:
        cure = "add it: what you believe of the usage elasticity"
        yield row.breach("kind", "needs [question.demand]", cure)
    for name in ("price_fall", "usage_growth"):
        if not _there(row, name):
            yield row.breach(name, "is needed for a usage figure", "write a log change; a price that halves is 0.69")


def _verdict(
    row: Row, said: tuple[str, str, dt.date], claimed: Collection[str], judged: dict[str, tuple[str, dt.date]]
) -> Iterator[Breach]:
    """A verification or refutation belongs to an earlier claim, and a claim is judged once."""
    kind, source, day = said
    if source not in claimed:
        yield row.breach("kind", f"{source} has claimed nothing by {day}", "add the claim that it belongs to")
    if source in judged:
        before, then = judged[source]
        rule = f"a claim is judged once, and this one's {before} is of {then}"
        yield row.breach("kind", rule, "keep the row that holds, and remove the other", f"{kind} {source}")
    judged.setdefault(source, (kind, day))


# What `book.toml` says of the question, the model and the market, and the returns that come of it.
#
HYPOTHESES = ("generalizable", "proprietary")
REGIMES = ("jevons", "compression")
LOADINGS = ("training", "inference", "capacity", "application", "other")
ALWAYS = (*LOADINGS, "owner", "multiple_loading", "committed_capex", "required_return")
_TEXTS = ("hypothesis", "demand", "note")
COORDINATES = tuple(name for name in ScenarioSection.model_fields if name not in ("probability", *_TEXTS))
"""Parameters of a scenario, all numbers: shocks change them, and two scenarios have a distance in them."""
APPLICATION = ("token_share", "passed_on", "application_margin", "application_elasticity")


def check_question(draft: Draft) -> Iterator[Breach]:
    """That the question was opened by as_of, and every scenario is an answer to it that evidence can speak for."""
    settings, question = draft.settings, draft.settings.question
    if question is None:
        return
    if question.opened > settings.book.as_of:
        rule, cure = f"is after as_of = {settings.book.as_of}", "correct it, or move as_of forward"
        yield setting_breach("question.opened", question.opened, rule, cure)
    words = (("hypothesis", HYPOTHESES), *((("demand", REGIMES),) if question.demand else ()))
    for name, scenario in settings.scenarios.items():
        for key, known in words:
            said = getattr(scenario, key)
            if said not in known:
                rule = f"must be {' or '.join(known)} for [question] to mean it"
                cure = did_you_mean(said, known) if said else "add it"
                yield setting_breach(f"scenarios.{name}.{key}", said, rule, cure)
    for key, known in words:
        for word in known:
            if prior_of(settings, key, word) <= 0:
                rule = "has no prior probability, so no signal could ever speak for it"
                yield setting_breach(f"scenarios.*.{key}", word, rule, f"give a {word} scenario a probability above 0")


def prior_of(settings: Settings, key: str, word: str) -> float:
    """The stated probability of all scenarios of an answer (`hypothesis`) or a regime (`demand`)."""
    return sum(scenario.probability for scenario in settings.scenarios.values() if getattr(scenario, key) == word)


def check_belief_ranges(draft: Draft) -> Iterator[Breach]:
    """What we believe lies within what we are unsure of: else the belief may lie outside its own interval."""
    question = draft.settings.question
    if question is None or question.ranges is None:
        return
    prior = prior_of(draft.settings, "hypothesis", "generalizable")
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
            rule = f"{whose} is outside [question.ranges] {key} = [{low:g}, {high:g}]"
            yield setting_breach(place, f"{value:.10g}", rule, "widen the range to hold it, or correct the value")


def check_market(draft: Draft) -> Iterator[Breach]:
    """That the market's probabilities are of every scenario, sum to one, and can be brought to as_of."""
    settings, market = draft.settings, draft.settings.market
    if market is None:
        return
    if settings.model is None:
        rule = "anchors the efficiency model's returns, and there is no [model]"
        yield setting_breach("market", None, rule, "add [model], or remove [market]")
    yield from unknown_names((), market.probabilities, settings.scenarios, "scenario", at="market.probabilities")
    for name in settings.scenarios:
        if name not in market.probabilities:
            cure = "add it; 0 says that prices exclude it"
            yield setting_breach(f"market.probabilities.{name}", None, "is missing", cure)
    yield from not_one("market.probabilities", market.probabilities.values(), "must sum to 1")
    yield from _market_date(settings, market.date)


def _market_date(settings: Settings, day: dt.date) -> Iterator[Breach]:
    question, as_of, key = settings.question, settings.book.as_of, "market.date"
    if day > as_of:
        yield setting_breach(key, day, f"is after as_of = {as_of}", "correct it, or move as_of forward")
    if day < as_of and question is None:
        rule = "is not as_of, and without [question] nothing says how prices moved since"
        yield setting_breach(key, day, rule, "add [question], or state the market's probabilities of as_of")
    if question is not None and day < question.opened:
        cure = "state the probabilities of that day or later"
        yield setting_breach(key, day, f"is before the question opened on {question.opened}", cure)
    if day < as_of and settings.horizon.announcement_share is None:
        rule = f"is needed: the market's probabilities are of {day}"
        cure = "say which part of a re-pricing happens with the news, from 0 to 1"
        yield setting_breach("horizon.announcement_share", None, rule, cure)


def check_model_parameters(draft: Draft) -> Iterator[Breach]:
    """That the model has its parameters of every scenario, and a radius by corners the ranges that it follows."""
    settings, question = draft.settings, draft.settings.question
    for name, scenario in settings.scenarios.items() if settings.model is not None else ():
        for key in COORDINATES:
            if getattr(scenario, key) is None:
                yield setting_breach(f"scenarios.{name}.{key}", None, "is needed by [model]", "add it")
    if settings.robust.schedule == "corners" and (question is None or question.ranges is None):
        cure = 'add them, or use schedule = "caution"'
        yield setting_breach("robust.schedule", "corners", "needs [question.ranges]", cure)


def check_returns_of_everyone(draft: Draft) -> Iterator[Breach]:
    """Every name's returns come from the user's table or from the model, and the model has what it needs."""
    own, everyone = draft.tables.get("scenario_returns"), draft.tables["exposures"]
    if own is None and "scenario_returns" in draft.given:
        return
    if draft.settings.plugins.models:
        return  # the plugin's returns are held to their contract when it has made them
    rest = pd.Series(True, everyone.index) if own is None else ~everyone["instrument"].isin(set(own["instrument"]))
    if draft.settings.model is None and own is None:
        rule, cure = (
            "this table is required, as there is no [model]",
            "add scenario_returns.csv, or [model] to book.toml",
        )
        yield Breach.of("scenario_returns", rule, cure)
    elif draft.settings.model is None:
        for name in everyone.loc[rest, "instrument"]:
            yield draft.column_breach("scenario_returns", "instrument", "has no row here", "add its row", name)
    else:
        for row in draft.rows("exposures", rest):
            yield from _loadings(row)


def _loadings(row: Row) -> Iterator[Breach]:
    """What the model needs of a name; of cash only what it returns."""
    cash = row["bucket"] == "cash"
    wanted = ["required_return"] if cash else list(ALWAYS)
    for loading, parameters in () if cash else (("inference", ("gross_margin",)), ("application", APPLICATION)):
        if abs(row.cells.get(loading, 0)) > 0:
            wanted += parameters
    missing = [name for name in wanted if not _there(row, name)]
    for name in missing:
        cure = "fill it in, or give the name's returns in scenario_returns.csv"
        yield row.breach(name, "is needed by [model]", cure, named=True)
    total = sum(float(row[name]) for name in LOADINGS) if not cash and not missing else 1.0
    if abs(total - 1) > 1e-6:
        cure = f"the sum is {total:.6g}; what hangs on no driver goes into other"
        yield row.breach("training … other", "the five loadings must sum to 1", cure, f"{total:.6g}")


# Whether what `[robust]` guards against speaks of this book's scenarios: experts, metric and limits.
#


def check_ambiguity_settings(draft: Draft) -> Iterator[Breach]:
    """What `[robust]` says of scenarios; sections that its set does not read are said to be idle elsewhere."""
    settings, robust = draft.settings, draft.settings.robust
    table = AMBIGUITY_SETS[robust.set].table
    checks: Mapping[str, Any] = {"experts": _expert, "metric": _coordinate, "limits": _limit}
    for name, stated in getattr(robust, table, {}).items():
        yield from checks[table](settings, name, stated)


def _expert(settings: Settings, name: str, probabilities: Mapping[str, float]) -> Iterator[Breach]:
    place = ("robust", "experts", name)
    yield from unknown_names(place, probabilities, settings.scenarios, "scenario")
    missing = [scenario for scenario in settings.scenarios if scenario not in probabilities]
    for scenario in missing:
        rule = "is required: an expert speaks of every scenario"
        yield setting_breach(dotted_key(*place, scenario), None, rule, "add it; 0 is allowed")
    if not missing:
        yield from not_one(dotted_key(*place), probabilities.values(), "an expert's probabilities must sum to 1")


def _coordinate(settings: Settings, name: str, _: float) -> Iterator[Breach]:
    yield from unknown_names(("robust", "metric"), [name], COORDINATES, "number of a scenario")
    for scenario, section in settings.scenarios.items() if name in COORDINATES else ():
        if getattr(section, name) is None:
            key = dotted_key("scenarios", scenario, name)
            yield setting_breach(key, None, "is needed by [robust.metric]", "add it")


def _limit(settings: Settings, name: str, limit: LimitSection) -> Iterator[Breach]:
    place = ("robust", "limits", name)
    unknown = list(unknown_names((*place, "weights"), limit.weights, settings.scenarios, "scenario"))
    yield from unknown
    if unknown:
        return
    each = [limit.weights.get(scenario, 0.0) for scenario in settings.scenarios]
    if limit.max is not None and min(each) > limit.max:
        cure = f"raise max to {min(each):g} or more"
        yield setting_breach(dotted_key(*place, "max"), f"{limit.max:g}", "no probabilities can keep it", cure)
    if limit.min is not None and max(each) < limit.min:
        cure = f"lower min to {max(each):g} or less"
        yield setting_breach(dotted_key(*place, "min"), f"{limit.min:g}", "no probabilities can keep it", cure)
