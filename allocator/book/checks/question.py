"""What `[question]`, `[model]`, `[market]`, `[robust]` and the tables that feed them must agree on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from allocator.book.checks.draft import Draft, Row, not_one, unknown_names
from allocator.book.checks.rules import archetype_cure, bucket_counts
from allocator.errors import Breach, did_you_mean, setting_breach
from allocator.outlook.efficiency_model_settings import APPLICATION
from allocator.settings.reading import dotted_key
from allocator.settings.settings import EARLIER_SHARES, Settings
from allocator.settings.uncertainty import (
    AMBIGUITY_SETS,
    DisclosureSection,
    LimitSection,
    QuestionSection,
    ScenarioParameters,
)

# What the rows of `signals.csv` must agree on with the question and with each other: who may say what, and when.
#
ANY_SOURCE = "any source"
"""The source of a claim of which it is known only that somebody silent made it, and since when."""
ANY_SOURCE_NAMES = (ANY_SOURCE, "any lab")


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
    told = _Told({}, {}, {}, set())
    # a day's claims come before what is said of them, wherever their rows stand
    everything = draft.rows("signals", late | True)
    for row in sorted(everything, key=lambda row: (row["date"], row["kind"] != "claim")):
        if row["date"].date() < question.opened:
            cure = "correct it; what was known by then belongs in the prior"
            yield row.breach("date", f"is before the question opened on {question.opened}", cure)
        kind = str(row["kind"])
        yield from _cells_of(row, kind)
        if kind in ("usage", "evidence"):
            yield from told.again(row, kind)
        if kind == "usage":
            yield from _usage(draft.settings, row)
        elif kind == "evidence":
            yield from _known_hypothesis(draft.settings.hypotheses, row)
        else:
            yield from _of_a_source(draft.settings, row)
            yield from told.hear(row, kind, said_hypothesis(draft.settings.sources, row.cells))


_CELLS = {
    "price_fall": ("usage",),
    "usage_growth": ("usage",),
    "log10_bayes_factor": ("evidence",),
    "hypothesis": ("claim", "verification", "refutation", "evidence"),
    "since": ("claim",),
    "strength": ("claim", "verification", "refutation", "evidence"),
}
"""The kinds that a cell belongs to."""
_WORDS = {
    "claim": "a claim",
    "verification": "a verification",
    "refutation": "a refutation",
    "evidence": "evidence",
    "usage": "a usage figure",
}
_NEEDED = {
    "usage": {"price_fall": "write a log change; a price that halves is 0.69", "usage_growth": "write a log change"},
    "evidence": {
        "log10_bayes_factor": "write the decimal logarithm; evidence of ten to one is 1",
        "hypothesis": "add it",
    },
}


def _cells_of(row: Row, kind: str) -> Iterator[Breach]:
    """Cells that a row of this kind has not, or must have."""
    for name, kinds in _CELLS.items():
        if _there(row, name) and kind not in kinds and not (name == "strength" and row[name] == 1):
            rule = f"belongs to {_WORDS[kinds[0]]}, and this is {_WORDS[kind]}"
            yield row.breach(name, rule, f"clear the cell, or change the kind to {kinds[0]}")
    for name, cure in _NEEDED.get(kind, {}).items():
        if not _there(row, name):
            yield row.breach(name, f"is needed for {_WORDS[kind]}", cure)


def said_hypothesis(sources: Mapping[str, Mapping[str, Any]], cells: Mapping[Any, Any]) -> str | None:
    """Which hypothesis a claim or verdict is about: the one it names, else the one that its source may disclose, or all
    of them together; None where that is not one.
    """
    said = cells.get("hypothesis")
    if isinstance(said, str) and said:
        return said
    own = sources.get(str(cells["source"]), {})
    possible = {*own} if own else {name for models in sources.values() for name in models}
    return possible.pop() if len(possible) == 1 else None


def _future(draft: Draft, late: pd.Series[bool]) -> Iterator[Breach]:
    """Signals after as_of; the cure is that of all of them at once."""
    last, count = draft.tables["signals"]["date"].max(), int(late.sum())
    rows = "this row" if count == 1 else f"these {count} rows"
    lie = "1 signal lies" if count == 1 else f"{count} signals lie"
    for row in draft.rows("signals", late):
        cure = f"{lie} after it: use --as-of {last:%Y-%m-%d} or later, or remove {rows}"
        yield row.breach("date", f"is after as_of = {draft.settings.book.as_of}", cure)


def _known_hypothesis(known: Collection[str], row: Row) -> Iterator[Breach]:
    if _there(row, "hypothesis") and row["hypothesis"] not in known:
        yield row.breach("hypothesis", "no such hypothesis in [question]", did_you_mean(row["hypothesis"], known))


def _of_a_source(settings: Settings, row: Row) -> Iterator[Breach]:
    """A claim or a verdict is by a source of the question, of what it may disclose; only that by any source has a
    `since`.
    """
    sources, source, anybody = settings.sources, str(row["source"]), row["source"] in ANY_SOURCE_NAMES
    needed = row["kind"] == "claim" and anybody
    assert settings.question is not None  # asked before
    opened = settings.question.opened
    if needed and not _there(row, "since"):
        yield row.breach("since", f"is needed for a claim by {source}", "state the last day without a claim")
    elif _there(row, "since") and not needed and row["kind"] == "claim":
        yield row.breach("since", f"belongs to a claim by {ANY_SOURCE}", "clear the cell")
    elif needed and not opened <= row["since"].date() < row["date"].date():
        rule = f"must be from the opening on {opened} to before the row's own date"
        yield row.breach("since", rule, "correct it")
    if not anybody and source not in sources:
        rule = "no such source in [question.sources] or [question.labs]"
        yield row.breach("source", rule, did_you_mean(source, sources))
        return
    possible = [*sources.get(source, {})] or [*{name: 0 for models in sources.values() for name in models}]
    about = said_hypothesis(sources, row.cells)
    if about is None:
        cure = f"say which: {' or '.join(possible)}"
        yield row.breach("hypothesis", f"is needed, as {source} may disclose several", cure)
    elif about not in settings.hypotheses:
        yield from _known_hypothesis(settings.hypotheses, row)
    elif about not in possible:
        rule = f"{source} has no hazard of it in [question.sources], so it can claim no such thing"
        yield row.breach("hypothesis", rule, f"add [{dotted_key('question', 'sources', source, about)}], or correct it")


def _there(row: Row, column: str) -> bool:
    return bool(pd.notna(row.cells.get(column)))


def _usage(settings: Settings, row: Row) -> Iterator[Breach]:
    if settings.question is not None and settings.question.demand is None:
        cure = "add it: what you believe of the usage elasticity"
        yield row.breach("kind", "needs [question.demand]", cure)


@dataclass(frozen=True)
class _Told:
    """What rows before this one have said, by source and hypothesis: claims that are open, and verdicts with dates."""

    open: dict[tuple[str, str | None], list[dt.date]]
    judged: dict[tuple[str, str | None], tuple[str, dt.date]]
    last: dict[str, dt.date]
    observed: set[tuple[object, ...]]

    def again(self, row: Row, kind: str) -> Iterator[Breach]:
        """An observation by the same source, of the same day and hypothesis."""
        key = (kind, row["source"], row["date"], row.cells.get("hypothesis") if kind == "evidence" else None)
        if key in self.observed:
            yield row.breach("kind", "stands here twice", "keep one of them", f"{kind} {row['source']}")
        self.observed.add(key)

    def hear(self, row: Row, kind: str, about: str | None) -> Iterator[Breach]:
        """What cannot follow on the rows before: a verdict is of the first claim that is open."""
        source, day = str(row["source"]), row["date"].date()
        anybody = any(own == ANY_SOURCE for own, _ in self.open)
        said = (ANY_SOURCE if source in ANY_SOURCE_NAMES else source, about)
        claims = self.open.setdefault(said, [])
        if kind == "claim":
            last = max(self.last.values(), default=None)
            if day in claims:
                yield row.breach("kind", "stands here twice", "keep one of them", f"{kind} {source}")
            elif anybody:
                rule = f"comes after a claim by {ANY_SOURCE}, which stands for the first of them"
                yield row.breach("source", rule, f"name the source in the row of {ANY_SOURCE}, without since")
            elif said[0] == ANY_SOURCE and last is not None and _there(row, "since") and row["since"].date() < last:
                rule = f"is before {last}, when somebody had claimed"
                yield row.breach("since", rule, "state that day or a later one")
            self.last[said[0]] = day
            claims.append(day)
        elif claims:
            claims.pop(0)
            self.judged[said] = (kind, day)
        elif said in self.judged:
            rule = f"a claim is judged once, and this one's {self.judged[said][0]} is of {self.judged[said][1]}"
            yield row.breach("kind", rule, "keep the row that holds, and remove the other", f"{kind} {source}")
        else:
            yield row.breach("kind", f"{source} has claimed nothing by {day}", "add the claim that it belongs to")


# What `book.toml` says of the question, the model and the market, and the returns that come of it.
#
LOADINGS = ("training", "inference", "capacity", "application", "other")
ALWAYS = (*LOADINGS, "owner", "multiple_loading", "committed_capex", "required_return")
COORDINATES = tuple(ScenarioParameters.model_fields)
"""Parameters of a scenario, all numbers: shocks change them, and two scenarios have a distance in them."""


def check_question(draft: Draft) -> Iterator[Breach]:
    """That the question was opened by as_of, and every scenario is an answer to it that evidence can speak for."""
    settings, question = draft.settings, draft.settings.question
    if question is None:
        return
    if question.opened > settings.book.as_of:
        rule, cure = f"is after as_of = {settings.book.as_of}", "correct it, or move as_of forward"
        yield setting_breach("question.opened", question.opened, rule, cure)
    if not settings.hypotheses:
        said = [f'"{each.hypothesis}"' for each in settings.scenarios.values() if each.hypothesis]
        listed = ", ".join(dict.fromkeys(said)) or '"yes", "no"'
        cure = f"name the answers, the one that labs may disclose first: hypotheses = [{listed}]"
        yield setting_breach("question.hypotheses", None, "is needed: the question's answers", cure)
    words = (("hypothesis", settings.hypotheses), ("regime", settings.regimes))
    for key, known in words:
        for name, scenario in settings.scenarios.items() if known else ():
            said = getattr(scenario, key)
            if said not in known:
                rule = f"must be {' or '.join(known)} for [question] to mean it"
                cure = did_you_mean(said, known) if said else "add it"
                yield setting_breach(f"scenarios.{name}.{key}", said, rule, cure)
        misspelt = any(getattr(scenario, key) not in known for scenario in settings.scenarios.values())
        for word in () if misspelt else known:
            if prior_of(settings, key, word) <= 0:
                rule = "has no prior probability, so no signal could ever speak for it"
                yield setting_breach(f"scenarios.*.{key}", word, rule, f"give a {word} scenario a probability above 0")
    if question.demand is not None and len(settings.regimes) != 2:
        rule = "moves the odds between two regimes, the first where the elasticity is above 1"
        cure = "name two in question.regimes, and give each scenario one as its regime"
        yield setting_breach("question.demand", None, rule, cure)
    yield from _sources(settings)


def _sources(settings: Settings) -> Iterator[Breach]:
    """Sources disclose hypotheses of the question; names of these, scenarios and regimes are told apart in a view."""
    disclosed = set()
    for source, models in settings.sources.items():
        place = ("question", "sources", source)
        if source in ANY_SOURCE_NAMES:
            rule = "stands in signals.csv for nobody in particular"
            yield setting_breach(dotted_key(*place), source, rule, "give the source another name")
        if not models:
            rule = "may disclose nothing, so that its silence says nothing"
            cure = f"add [{dotted_key(*place, (*settings.hypotheses, 'HYPOTHESIS')[0])}], or remove the source"
            yield setting_breach(dotted_key(*place), None, rule, cure)
        if settings.hypotheses:
            yield from unknown_names(place, models, settings.hypotheses, "hypothesis")
        disclosed |= {*models}
    silent = [name for name in settings.hypotheses if name not in disclosed]
    if len(silent) > 1 and settings.question is not None and settings.question.sources:
        rule = f"cannot be disclosed by anybody, and neither can {silent[0]}: nothing tells them apart but evidence"
        cure = f"add [question.sources.NAME.{silent[-1]}], or merge the two"
        yield setting_breach("question.hypotheses", silent[-1], rule, cure)


def check_view(draft: Draft) -> Iterator[Breach]:
    """That `[believe]` speaks of hypotheses or of scenarios, and leaves something for the others."""
    settings = draft.settings
    answers = settings.hypotheses or {each.hypothesis for each in settings.scenarios.values() if each.hypothesis}
    kinds = {name: {*answers} if name in answers else {*settings.scenarios} for name in settings.believe}
    for name, known in kinds.items():
        if name not in known:
            cure = did_you_mean(name, [*answers, *settings.scenarios])
            rule = (
                "is a regime, and a view is of a hypothesis or a scenario"
                if name in settings.regimes
                else ("no such hypothesis or scenario")
            )
            cure = f"known here: {', '.join([*answers, *settings.scenarios])}" if name in settings.regimes else cure
            yield setting_breach(dotted_key("believe", name), name, rule, cure)
        elif name in answers and name in settings.scenarios:
            rule = "is the name of a hypothesis and of a scenario"
            yield setting_breach(dotted_key("believe", name), name, rule, "rename one of them")
    kinds = {name: known for name, known in kinds.items() if name in known}
    if len({frozenset(known) for known in kinds.values()}) > 1:
        rule, cure = "speaks of hypotheses and of scenarios at once", "state it of one of them"
        yield setting_breach("believe", None, rule, cure)
    elif kinds:
        total, left = sum(settings.believe.values()), sorted(next(iter(kinds.values())) - {*settings.believe})
        if left and total > 1 + 1e-9:
            cure = f"lower them by {total - 1:.4g} in all, or by more: '{left[0]}' has what is left"
            yield setting_breach("believe", f"{total:.10g}", "must sum to at most 1", cure)
        elif not left:
            yield from not_one("believe", settings.believe.values(), "must sum to 1")


def check_views(draft: Draft) -> Iterator[Breach]:
    """That `[views]` name what the book has."""
    settings, everyone = draft.settings, draft.tables.get("exposures")
    known: dict[str, Collection[str]] = {
        "bucket": [*settings.buckets.names, "cash"],
        "group": settings.groups,
        "scenario": settings.scenarios,
        "hypothesis": settings.hypotheses,
        "regime": settings.regimes,
    }
    if everyone is not None:
        known["instrument"] = list(map(str, everyone["instrument"]))
    for name, view in settings.views.items():
        for figure, subject in ((view.figure, getattr(view, view.figure)), ("over", view.over)):
            if subject is None:
                continue
            ((key, value),) = subject.named
            place = dotted_key("views", name, figure, key)
            if key in known:
                yield from unknown_names((), [value], known[key], key, at=place)
            if key == "bucket" and everyone is not None and value in known[key]:
                if not bucket_counts(everyone, value)[0].any():
                    yield setting_breach(place, value, "has no names in exposures.csv", "name one that has some")
            elif key == "group" and isinstance(shares := settings.groups.get(value), dict) and not any(shares.values()):
                yield setting_breach(place, value, "has no member with a share above 0", "give it one")
            elif value == "benchmark" and "benchmark" not in draft.given:
                cure = "add benchmark.csv, or name something else"
                yield setting_breach(place, value, "there is no benchmark", cure)
        if view.over is not None and view.over == view.expected_return:
            cure = "rank it over something else"
            yield setting_breach(dotted_key("views", name, "over"), None, "is what it is ranked over itself", cure)


def prior_of(settings: Settings, key: str, word: str) -> float:
    """The stated probability of all scenarios of a `hypothesis` or a `regime`."""
    return sum(scenario.probability for scenario in settings.scenarios.values() if getattr(scenario, key) == word)


def check_belief_ranges(draft: Draft) -> Iterator[Breach]:
    """What we believe lies within what we are unsure of: else the belief may lie outside its own interval."""
    question = draft.settings.question
    if question is None or question.ranges is None or not draft.settings.hypotheses:
        return
    first = draft.settings.hypotheses[0]
    prior = prior_of(draft.settings, "hypothesis", first)
    stated = [("scenarios.*.probability", f"of the {first} scenarios", prior, "prior")]
    stated = stated if prior > 0 else []  # refused by itself
    stated += [
        (f"{place}.{key}", f"of {source}", float(getattr(model, key)), key)
        for place, source, model in _disclosure_models(question)
        for key in ("disclosure", "hazard", "background")
    ]
    for place, whose, value, key in stated:
        low, high = getattr(question.ranges, key)
        if not low * (1 - 1e-9) <= value <= high * (1 + 1e-9):
            rule = f"{whose} is outside [question.ranges] {key} = [{low:g}, {high:g}]"
            yield setting_breach(place, f"{value:.10g}", rule, "widen the range to hold it, or correct the value")


def _disclosure_models(question: QuestionSection) -> Iterator[tuple[str, str, DisclosureSection]]:
    """The key, source and numbers of each."""
    for name, lab in question.labs.items():
        yield dotted_key("question", "labs", name), name, lab
    for name, models in question.sources.items():
        for hypothesis, model in models.items():
            yield dotted_key("question", "sources", name, hypothesis), name, model


def check_market(draft: Draft) -> Iterator[Breach]:
    """That the market's probabilities are of every scenario, sum to one, and can be brought to as_of."""
    settings, market = draft.settings, draft.settings.market
    if market is None:
        return
    yield from unknown_names((), market.probabilities, settings.scenarios, "scenario", at="market.probabilities")
    for name in settings.scenarios:
        if name not in market.probabilities:
            cure = "add it; 0 says that prices exclude it"
            yield setting_breach(f"market.probabilities.{name}", None, "is missing", cure)
    yield from not_one("market.probabilities", market.probabilities.values(), "must sum to 1")
    yield from unknown_names(("market", "scenarios"), market.scenarios, settings.scenarios, "scenario")
    for name in market.scenarios if settings.model is None else ():
        rule = "are parameters of the efficiency model, and there is no [model]"
        yield setting_breach(dotted_key("market", "scenarios", name), None, rule, "add [model], or remove them")
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
    if day < as_of and not settings.horizon.reviews:  # they need these anyway
        yield from news_keys(settings, f": the market's probabilities are of {day}")


def news_keys(settings: Settings, why: str) -> Iterator[Breach]:
    """What is not said of how a re-pricing comes, where that is needed."""
    cures = {
        "announcement_share": "say which part of a re-pricing happens with the news, from 0 to 1",
        "digestion_months": "say in which half-life prices take in the rest: 1 for a month, or inf for the old rule, "
        "by which it stays to come until the horizon",
    }
    for key, cure in cures.items():
        if getattr(settings.horizon, key) is None:
            yield setting_breach(f"horizon.{key}", None, f"is needed{why}", cure)


def check_model_parameters(draft: Draft) -> Iterator[Breach]:
    """That the model has its parameters of every scenario, and a radius by corners the ranges that it follows."""
    settings, question = draft.settings, draft.settings.question
    for name, scenario in settings.scenarios.items() if settings.model is not None else ():
        for key in COORDINATES:
            if getattr(scenario, key) is None:
                yield setting_breach(f"scenarios.{name}.{key}", None, "is needed by [model]", "add it")
    yield from _rerating(settings)
    axis = settings.robust.question
    for key, reach in (("robust", settings.robust), ("robust.question", axis)):
        corners = reach is not None and reach.schedule == "corners"
        if corners and (question is None or question.ranges is None):
            cure = 'add them, or use schedule = "caution"'
            yield setting_breach(f"{key}.schedule", "corners", "needs [question.ranges]", cure)


def _rerating(settings: Settings) -> Iterator[Breach]:
    """A re-rating tells two buckets apart, which the book must have."""
    missing = [name for name in EARLIER_SHARES if name not in settings.buckets.names]
    stated: list[tuple[tuple[str, ...], ScenarioParameters]] = [
        (("scenarios", name), scenario) for name, scenario in settings.scenarios.items()
    ]
    markets = {} if settings.market is None else settings.market.scenarios
    stated += [(("market", "scenarios", name), scenario) for name, scenario in markets.items()]
    for place, scenario in stated if settings.model is not None and missing else ():
        if scenario.rerating:
            rule = f"re-rates {' against '.join(EARLIER_SHARES)}, and [buckets] names has no {' and no '.join(missing)}"
            cure = "add it there and to exposures.csv, or remove rerating"
            yield setting_breach(dotted_key(*place, "rerating"), f"{scenario.rerating:g}", rule, cure)


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
        if draft.settings.market is not None:
            yield from _unanchored(draft)
        grows = (
            everyone["required_return"].notna() if "required_return" in everyone else pd.Series(True, everyone.index)
        )
        unsaid = everyone.loc[rest & ~(grows & (everyone["bucket"] == "cash")), ["instrument", "bucket"]]
        for name, bucket in unsaid.itertuples(index=False):
            cure = f"add its row, or one of its bucket {bucket}"
            yield draft.column_breach("scenario_returns", "instrument", "has no row here", cure, name)
    else:
        for row in draft.rows("exposures", rest):
            yield from _loadings(row)


def _unanchored(draft: Draft) -> Iterator[Breach]:
    """Names whose typed returns a market cannot anchor."""
    risky = draft.tables["exposures"]["bucket"] != "cash"
    for row in draft.rows("exposures", risky):
        if not _there(row, "required_return"):
            rule = f"is needed by [market] for {row['instrument']}, whose typed returns are anchored to it"
            reviews = "" if not draft.settings.horizon.reviews else " and [horizon] reviews"
            yield row.breach("required_return", rule, f"fill in the return a year, or remove [market]{reviews}")


def _loadings(row: Row) -> Iterator[Breach]:
    """What the model needs of a name; of cash only what it returns."""
    cash = row["bucket"] == "cash"
    wanted = ["required_return"] if cash else list(ALWAYS)
    for loading, parameters in () if cash else (("inference", ("gross_margin",)), ("application", APPLICATION)):
        if abs(row.cells.get(loading, 0)) > 0:
            wanted += parameters
    missing = [name for name in wanted if not _there(row, name)]
    if not cash and missing == list(ALWAYS):
        cure = f"name one ({archetype_cure()}), fill in the loadings, or give its returns in scenario_returns.csv"
        yield row.breach("archetype", "is needed by [model], as the row has no loadings", cure, named=True)
        return
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
    if table == "experts":
        yield from _experts(("robust",), robust.experts, settings.scenarios, "scenario")
    checks: Mapping[str, Any] = {"metric": _coordinate, "limits": _limit}
    for name, stated in getattr(robust, table, {}).items() if table in checks else ():
        yield from checks[table](settings, name, stated)
    if robust.axes:
        yield from _axes(settings)


def _axes(settings: Settings) -> Iterator[Breach]:
    """That the book has the axes that sets are stated of, and experts speak of them."""
    robust = settings.robust
    if settings.question is None:
        for name in robust.axes:
            rule = "is of answers to a question, or of regimes given one, and there is no [question]"
            yield setting_breach(f"robust.{name}", None, rule, "add [question], or state one set in [robust]")
        return
    if robust.question is not None:
        place = ("robust", "question")
        yield from _experts(place, robust.question.experts, settings.hypotheses, "answer")
    if (regime := robust.regime) is None:
        return
    if regime.schedule == "corners":
        rule, cure = "is of [question.ranges], which say nothing of regimes", "use schedule = 'caution', or 'fixed'"
        yield setting_breach("robust.regime.schedule", "corners", rule, cure)
    if regime.guards and not any(len(own) > 1 for own in _regimes_by_answer(settings).values()):
        rule = "is of a second axis, which the book does not have: no answer has scenarios of two regimes"
        yield setting_breach("robust.regime", regime.set, rule, "remove [robust.regime]")
        return
    place = ("robust", "regime")
    yield from (unsound := [*_experts(place, regime.experts, settings.regimes, "regime")])
    for name, expert in regime.experts.items() if not unsound else ():
        for answer, own in _regimes_by_answer(settings).items():
            if not any(expert[each] for each in own):
                rule = f"gives no probability to any regime of '{answer}', so that it says nothing given that answer"
                yield setting_breach(dotted_key(*place, "experts", name), None, rule, "raise one above 0")


def _regimes_by_answer(settings: Settings) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for scenario in settings.scenarios.values():
        if scenario.hypothesis in settings.hypotheses and scenario.regime in settings.regimes:
            found.setdefault(str(scenario.hypothesis), set()).add(str(scenario.regime))
    return found


def _experts(
    place: tuple[str, ...], experts: Mapping[str, Mapping[str, float]], known: Collection[str], kind: str
) -> Iterator[Breach]:
    """That each expert gives a probability to all that is known, and to nothing else."""
    for name, probabilities in experts.items():
        own = (*place, "experts", name)
        yield from unknown_names(own, probabilities, known, kind)
        missing = [each for each in known if each not in probabilities]
        for each in missing:
            rule = f"is required: an expert speaks of every {kind}"
            yield setting_breach(dotted_key(*own, each), None, rule, "add it; 0 is allowed")
        if not missing:
            yield from not_one(dotted_key(*own), probabilities.values(), "an expert's probabilities must sum to 1")


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
