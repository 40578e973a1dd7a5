"""What a utility of the final wealth, and reviews on the way there, must agree on with the rest of the book."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import pandas as pd

from allocator.book.checks.estimates import NOT_SCENARIOS, check_estimates
from allocator.book.checks.holdings import check_cash, check_positions
from allocator.book.checks.question import check_ambiguity_settings, check_question
from allocator.book.checks.rules import (
    Tables,
    check_benchmark_rules,
    check_factor_names,
    check_rule_columns,
    check_rule_names,
    check_rules_without_tables,
)
from allocator.book.checks.stress import check_shocks, check_stress_ranges
from allocator.errors import Breach
from allocator.plugins import plugin_breaches as breaches_of_from_plugins
from allocator.settings.mandate import MOST_SCENARIOS, ONE_DECISION, REVIEWED
from allocator.settings.reading import dotted_key, unused_keys
from allocator.settings.settings import Settings

_CHOICES = " or ".join(f"'{name}'" for name in REVIEWED)
_PLANNED = "what is best at a review by it is not what it planned for that review"
_WHY_NOT = {
    "mixture_variance": f"is not time-consistent: the variance between scenarios has one mean for all; {_PLANNED}",
    "regret_ex_ante": "is not time-consistent: its corners are of one set of probabilities, and news moves them",
}
_MEMORY = 1_000_000_000
"""Bytes that the draws of mean_cvar may take; a solver then needs several times as much."""


def check_reviews(settings: Settings, tables: Mapping[str, pd.DataFrame]) -> Iterator[Breach]:
    """Every disagreement about the horizon, its reviews and the utility."""
    yield from _horizon(settings)
    if settings.horizon.reviews:
        yield from _reviews(settings)
        if "exposures" in tables:
            yield from _growth(tables)
    if settings.uses_tree:
        yield from _utility(settings)
    if settings.mandate.objective in ONE_DECISION:
        yield from _one_decision(settings, tables)


def _said(key: str, value: object, rule: str, cure: str) -> Breach:
    return Breach("book.toml", None, key, None if value is None else str(value), rule, cure)


def _horizon(settings: Settings) -> Iterator[Breach]:
    until, as_of = settings.horizon.until, settings.book.as_of
    if until is not None and until <= as_of:
        yield _said("horizon.until", until, f"is not after as_of = {as_of}", "move it ahead: there is nothing left")
    since = settings.model.since if settings.model is not None else None
    if since is not None and since > as_of:
        yield _said("model.since", since, f"is after as_of = {as_of}", "state the day from which labs have adopted")
    if until is not None and settings.model is not None and since is None:
        rule = "is needed with horizon.until: else labs would begin to adopt anew each day"
        yield _said("model.since", None, rule, "state the day from which labs have adopted, such as question.opened")
    for day in settings.horizon.reviews:
        if day <= as_of:
            cure = f"remove it, or move it after {as_of}; --as-of lets reviews pass by itself"
            yield _said("horizon.reviews", day, f"is not after as_of = {as_of}", cure)
        elif until is not None and day >= until:
            yield _said("horizon.reviews", day, f"is not before until = {until}", "remove it, or move until ahead")


def _reviews(settings: Settings) -> Iterator[Breach]:
    horizon, objective = settings.horizon, settings.mandate.objective
    if objective not in REVIEWED:
        yield _said(
            "mandate.objective",
            objective,
            _WHY_NOT.get(objective, f"is not time-consistent: {_PLANNED}"),
            f"with reviews choose {_CHOICES}",
        )
    if horizon.announcement_share is None:
        yield _said(
            "horizon.announcement_share",
            None,
            "is needed with reviews: the value of deciding later depends on it",
            "say which part of a re-pricing happens with the news, from 0 to 1",
        )
    if settings.question is None:
        yield _said(
            "question", None, "reviews wait for news, and there is no question", "add [question], or remove reviews"
        )
    if settings.market is None:
        rule = "is needed with reviews: without what prices hold, nobody knows what a name costs after the news"
        yield _said("market", None, rule, "add [market] with its date and probabilities")
    if settings.robust.schedule == "corners":
        cure = "use schedule = 'caution', or 'fixed' with a radius"
        yield _said("robust.schedule", "corners", "is not known at review dates", cure)


def _growth(tables: Mapping[str, pd.DataFrame]) -> Iterator[Breach]:
    """What a name costs at a review follows from its required return, also where its scenario returns are given."""
    exposures = tables["exposures"]
    where = str(exposures.attrs.get("name", "exposures"))
    given = exposures["required_return"] if "required_return" in exposures else pd.Series(float("nan"), exposures.index)
    for row, name in exposures.loc[given.isna(), "instrument"].items():
        rule = f"is needed with reviews for {name}: what it is expected to have grown by then"
        yield Breach(where, int(str(row)), "required_return", "", rule, "fill it in, a year")
    own = tables.get("scenario_returns")
    cash = set(exposures.loc[exposures["bucket"] == "cash", "instrument"])
    if own is None:
        return
    for row, name in own["instrument"].items():
        if name in cash:
            rule = "grows by its required_return where there are reviews"
            yield Breach(str(own.attrs.get("name")), int(str(row)), "instrument", str(name), rule, "remove the row")


def _utility(settings: Settings) -> Iterator[Breach]:
    mandate, robust = settings.mandate, settings.robust
    aversion = mandate.relative_risk_aversion
    if mandate.objective == "crra" and (aversion is None or aversion == 1):
        key, cure = "mandate.relative_risk_aversion", "write for example 3.0; for 1 use objective = 'log'"
        yield _said(key, aversion, "must be stated with objective = 'crra', and not be 1", cure)
    if mandate.tiers:
        rule = f"cannot be relaxed with objective = '{mandate.objective}'"
        yield _said("mandate.tiers", ", ".join(mandate.tiers), rule, "remove the priorities: the rules are then hard")
    if robust.return_error != "none":
        rule, cure = f"is not known with objective = '{mandate.objective}'", "remove it, or use 'return_minus_risk'"
        yield _said("robust.return_error", robust.return_error, rule, cure)
    if settings.trading.indifference_bps:
        rule, cure = f"is not known with objective = '{mandate.objective}'", "remove it, or use 'return_minus_risk'"
        yield _said("trading.indifference_bps", settings.trading.indifference_bps, rule, cure)
    if robust.guards:
        for name, scenario in settings.scenarios.items():
            if scenario.probability in (0, 1):
                rule = "leaves nothing to be wrong about, and [robust] guards against being wrong"
                cure = "state a probability between 0 and 1, or remove the scenario"
                yield _said(f"scenarios.{name}.probability", scenario.probability, rule, cure)


def _one_decision(settings: Settings, tables: Mapping[str, pd.DataFrame]) -> Iterator[Breach]:
    mandate, scenarios, kind = settings.mandate, max(len(settings.scenarios), 1), settings.robust.set
    if mandate.objective == "mean_cvar" and "exposures" in tables:
        names = max(int((tables["exposures"]["bucket"] != "cash").sum()), 1)
        # silence, a claim and its verdicts at each review: about two ways for each to come to the end
        ways = max(2 * len(settings.horizon.reviews), 1)
        fit = _MEMORY // (8 * ways * scenarios * names) // 2 * 2
        if mandate.draws > fit:
            each = f"{scenarios} scenarios x {names} names" + (f" x {ways} ways to come there" if ways > 1 else "")
            rule = f"do not fit into memory: {each} leave room for {fit:,} ({_MEMORY / 1e9:g} GB)"
            cure = f"write draws = {fit}, or have fewer scenarios{', reviews' if ways > 1 else ''} or names"
            yield _said("mandate.draws", mandate.draws, rule, cure)
    if mandate.objective == "regret_ex_ante":
        if kind not in ("none", "total_variation", "box", "worst"):
            rule = (
                "has no corners that are looked at, and the regret of knowing the probabilities is largest at a corner"
            )
            yield _said("robust.set", kind, rule, "use total_variation, box or worst, or objective = 'regret'")
        if scenarios > MOST_SCENARIOS:
            rule = f"looks at every corner of the set, too many with {scenarios} scenarios"
            cure = f"have at most {MOST_SCENARIOS} scenarios, or use objective = 'regret'"
            yield _said("mandate.objective", mandate.objective, rule, cure)


# `[plugins]` of `book.toml`: what other packages add to this book, by name, and what the book must then not have.
#


def check_plugins(settings: Settings) -> Iterator[Breach]:
    """Names that mean no plugin or several, and what a plugin cannot stand beside; nothing is imported."""
    plugins = settings.plugins
    for kind in ("rules", "objectives", "models", "exporters"):
        for name in getattr(plugins, kind):
            yield from breaches_of_from_plugins(kind, name, "book.toml", f"plugins.{kind}.{_quoted(name)}")
    for name in plugins.models:
        if settings.model is not None:
            rule = "makes scenario returns, and so does [model]"
            yield Breach("book.toml", None, f"plugins.models.{_quoted(name)}", None, rule, "remove one of them")
    yield from _beside(settings)
    if settings.horizon.reviews:
        for kind in ("rules", "models"):
            for name in getattr(plugins, kind):
                rule = "speaks of today, and horizon.reviews want what holds at later dates as well"
                cure = "remove the reviews, or the plugin"
                yield Breach("book.toml", None, f"plugins.{kind}.{_quoted(name)}", None, rule, cure)


def _beside(settings: Settings) -> Iterator[Breach]:
    """An objective of another package is a charge beside the adverse expected return, and beside nothing else."""
    objective = settings.mandate.objective
    if objective != "return_minus_risk" or settings.uses_tree:
        for name in settings.plugins.objectives:
            rule = f"is charged beside the return, and objective = '{objective}' "
            rule += "looks at none" if objective == "minimum_variance" else "is solved in stages"
            cure = "choose return_minus_risk without [horizon] reviews, or remove the plugin"
            yield Breach("book.toml", None, f"plugins.objectives.{_quoted(name)}", None, rule, cure)


def tables_in_use(settings: Settings) -> dict[str, set[str]]:
    """The plugins that a book names, by kind; an exporter is named where it has parameters."""
    plugins, tables = settings.plugins, vars(settings.tables).values()
    return {
        "rules": set(plugins.rules),
        "objectives": set(plugins.objectives),
        "models": set(plugins.models),
        "exporters": set(plugins.exporters),
        "sources": {table.source for table in tables if not isinstance(table, str)},
        "commands": set(),
    }


def _quoted(name: str) -> str:
    return f'"{name}"' if "." in name else name


# What several tables and `book.toml` must agree on: the rules that no single table's contract can see.
#
# What the mandate stands on is in `rules.py`, what is held in `holdings.py`, what is estimated in `estimates.py`, what
# is believed and observed in `question.py`, what might happen in `stress.py`; reviews and plugins are above. Each
# function looks at one agreement and yields its errors; a table that already broke its own contract is given and yet
# absent here, and the agreements that need it are left for the next run.
#


def check_consistency(settings: Settings, tables: Tables, account: str | None, given: Collection[str]) -> list[Breach]:
    """Every disagreement between the tables and the settings; `given` names the tables that are there, sound or not."""
    found = [
        *_probabilities(settings),
        *_scenario_names(settings),
        *check_rules_without_tables(settings),
        *_idle(settings),
    ]
    found += [*check_ambiguity_settings(settings), *check_reviews(settings, tables), *check_stress_ranges(settings)]
    found += check_question(settings, tables, given)
    found += [*check_shocks(settings, tables), *check_plugins(settings)]
    found += check_benchmark_rules(settings, given)
    if "holdings" in tables:
        found += check_positions(settings, tables, account, given)
    if "exposures" in tables:
        found += check_cash(settings, tables)
        found += [*check_rule_names(settings, tables), *check_rule_columns(settings, tables, given)]
    found += check_estimates(settings, tables, given)
    if "factors" in tables:
        found += check_factor_names(tables)
    return found


def _probabilities(settings: Settings) -> Iterator[Breach]:
    total = sum(scenario.probability for scenario in settings.scenarios.values())
    if abs(total - 1) > 1e-9:
        yield Breach(
            "book.toml",
            None,
            "scenarios.*.probability",
            f"{total:.10g}",
            "probabilities must sum to 1",
            f"the sum is {total:.10g}: {'raise' if total < 1 else 'lower'} them by {abs(1 - total):.4g} in all",
        )


def _scenario_names(settings: Settings) -> Iterator[Breach]:
    for name in settings.scenarios:
        if name.casefold() in NOT_SCENARIOS:
            yield Breach(
                "book.toml",
                None,
                dotted_key("scenarios", name),
                name,
                "is the name of another column of scenario_returns.csv",
                "give the scenario another name, here and there",
            )


def _idle(settings: Settings) -> Iterator[Breach]:
    for (section, key), _, reason in unused_keys(settings.model_dump(exclude_unset=True)):
        value = getattr(getattr(settings, section), key)
        if value is not None:
            yield Breach(
                "book.toml",
                None,
                dotted_key(section, key),
                None if isinstance(value, dict) else f"{value:g}" if isinstance(value, float) else str(value),
                f"has no effect with {reason}",
                "remove it",
            )
