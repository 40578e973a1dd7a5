"""What `[question]`, `[model]`, `[market]` and the tables that feed them must agree on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import pandas as pd

from allocator.book.observed import breaches_of_signals
from allocator.book.sections import Settings
from allocator.book.settings import dotted
from allocator.errors import Breach, did_you_mean

Tables = Mapping[str, pd.DataFrame]

HYPOTHESES = ("generalizable", "proprietary")
REGIMES = ("jevons", "compression")
LOADINGS = ("training", "inference", "capacity", "application", "other")
ALWAYS = (*LOADINGS, "owner", "multiple_loading", "committed_capex", "required_return")
APPLICATION = ("token_share", "passed_on", "application_margin", "application_elasticity")
PARAMETERS = ("replicability", "pass_through", "usage_elasticity", "training_elasticity", "multiple_compression")


def breaches_of_evidence(settings: Settings, tables: Tables, given: Collection[str]) -> list[Breach]:
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
        found += breaches_of_signals(settings, tables["signals"], str(tables["signals"].attrs.get("name", "signals")))
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
        (f"question.labs.{dotted(name)}.{key}", f"of {name}", float(getattr(lab, key)), key)
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
        for key in PARAMETERS:
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
