"""What several tables and `book.toml` must agree on: the rules that no single table's contract can see.

What the mandate stands on is in `rules.py`, what is held and estimated in `tables.py`, what is believed and observed in
`question.py`, what might happen in `stress.py`; the horizon, its reviews, the objective and plugins are below. A table
that already broke its own contract is given and yet absent here, and the checks that need it are left for the next run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

from allocator.book.checks import question, rules, stress, tables
from allocator.book.checks.draft import Draft, looked_at, not_one
from allocator.book.price_history import check_history
from allocator.errors import Breach, setting_breach
from allocator.plugins import plugin_breaches
from allocator.settings.mandate import OBJECTIVES
from allocator.settings.reading import dotted_key, unused_keys
from allocator.settings.settings import Settings, SourceTable

_CHOICES = " or ".join(f"'{name}'" for name, traits in OBJECTIVES.items() if traits.not_reviewed is None)
_MEMORY = 1_000_000_000
"""Bytes that the draws of mean_cvar may take; a solver then needs several times as much."""


def check_scenarios(draft: Draft) -> Iterator[Breach]:
    """That probabilities sum to one, and no scenario is called like a column."""
    scenarios = draft.settings.scenarios
    stated = [scenario.probability for scenario in scenarios.values()]
    yield from not_one("scenarios.*.probability", stated, "probabilities must sum to 1")
    for name in scenarios:
        if name.casefold() in tables.NOT_SCENARIOS:
            rule = "is the name of another column of scenario_returns.csv"
            cure = "give the scenario another name, here and there"
            yield setting_breach(dotted_key("scenarios", name), name, rule, cure)


def check_idle_keys(draft: Draft) -> Iterator[Breach]:
    """That nothing is written that nobody reads."""
    for key, because, reason in unused_keys(draft.settings.model_dump(exclude_unset=True)):
        value = reduce(getattr, key, draft.settings)
        if value is not None:
            told = None if isinstance(value, dict) else f"{value:g}" if isinstance(value, float) else value
            cure = _idle_cure(key[-1], because)
            yield setting_breach(dotted_key(*key), told, f"has no effect with {reason}", cure)


def _idle_cure(key: str, because: Sequence[tuple[str, ...]]) -> str:
    """Remove it; a radius that a schedule sets can also be the user's own."""
    schedule = next((one for one in because if one[-1] == "schedule"), None)
    other = {"radius": "fixed", "caution": "caution"}.get(key)
    if schedule is None or other is None:
        return "remove it"
    return f"remove it, or set {dotted_key(*schedule)} = '{other}' to use it"


# What a utility of the final wealth, and reviews on the way there, must agree on with the rest of the book.
#


def check_horizon(draft: Draft) -> Iterator[Breach]:
    """That the horizon and its reviews lie ahead, and labs adopt from a stated day where it stays."""
    horizon, model, as_of = draft.settings.horizon, draft.settings.model, draft.settings.book.as_of
    until, since = horizon.until, None if model is None else model.since
    if until is not None and until <= as_of:
        cure = "move it ahead: there is nothing left"
        yield setting_breach("horizon.until", until, f"is not after as_of = {as_of}", cure)
    if since is not None and since > as_of:
        cure = "state the day from which labs have adopted"
        yield setting_breach("model.since", since, f"is after as_of = {as_of}", cure)
    if until is not None and model is not None and since is None:
        rule = "is needed with horizon.until: else labs would begin to adopt anew each day"
        cure = "state the day from which labs have adopted, such as question.opened"
        yield setting_breach("model.since", None, rule, cure)
    for day in horizon.reviews:
        if day <= as_of:
            cure = f"remove it, or move it after {as_of}; --as-of lets reviews pass by itself"
            yield setting_breach("horizon.reviews", day, f"is not after as_of = {as_of}", cure)
        elif until is not None and day >= until:
            cure = "remove it, or move until ahead"
            yield setting_breach("horizon.reviews", day, f"is not before until = {until}", cure)


def check_reviews(draft: Draft) -> Iterator[Breach]:
    """That reviews have an objective that they may follow, news to wait for, and prices that news moves."""
    settings, objective = draft.settings, draft.settings.mandate.objective
    if not settings.horizon.reviews:
        return
    if (why := settings.mandate.traits.not_reviewed) is not None:
        yield setting_breach("mandate.objective", objective, why, f"with reviews choose {_CHOICES}")
    yield from question.news_keys(settings, " with reviews: the value of deciding later depends on it")
    if settings.question is None:
        rule = "reviews wait for news, and there is no question"
        yield setting_breach("question", None, rule, "add [question], or remove reviews")
    if settings.market is None:
        rule = "is needed with reviews: without what prices hold, nobody knows what a name costs after the news"
        yield setting_breach("market", None, rule, "add [market] with its date and probabilities")
    if settings.mandate.turnover_budget is not None:
        rule, cure = "is spent at several dates with reviews, and no plan of them adds that up", "state max_turnover"
        yield setting_breach("mandate.turnover_budget", None, rule, f"{cure}, which holds at each, or remove reviews")
    if settings.robust.schedule == "corners":
        cure = "use schedule = 'caution', or 'fixed' with a radius"
        yield setting_breach("robust.schedule", "corners", "is not known at review dates", cure)


def check_cash_flows(draft: Draft) -> Iterator[Breach]:
    """That cash which comes or goes later does so at a review."""
    settings, as_of = draft.settings, draft.settings.book.as_of
    reviews = [day for day in settings.horizon.reviews if day > as_of]
    for day, flow in settings.cash.dated.items():
        today = f"cash.paid_{'in' if flow > 0 else 'out'} = {abs(flow):.15g}"
        if day <= as_of:
            rule = f"is not after as_of = {as_of}"
            cure = f"remove it, or set it to 0, where holdings.csv has counted it; what flows today is {today}"
        elif not reviews:
            rule = "is planned at the first review from its day on, and there is no review ahead"
            cure = f"remove it and plan on that day with {today}, or add a review to horizon.reviews"
        elif day > reviews[-1]:
            until, rule = settings.horizon.until, f"is after the last review, {reviews[-1]}"
            further = f"horizon.until = {until} after it and " if until is not None and day >= until else ""
            cure = f"move {further}a review to {day} or later, or remove it and plan on that day with {today}"
        else:
            continue
        yield setting_breach(dotted_key("cash", "flows", day.isoformat()), f"{flow:.15g}", rule, cure)


def check_growth(draft: Draft) -> Iterator[Breach]:
    """What a name costs at a review follows from its required return, also where its scenario returns are given."""
    if not draft.settings.horizon.reviews:
        return
    everyone, column = draft.tables["exposures"], "required_return"
    blank = everyone[column].isna() if column in everyone else ~everyone["instrument"].isin(draft.cash)
    for row in draft.rows("exposures", blank):
        cure = "fill in what it is expected to grow by in a year"
        yield row.breach(column, "is needed with reviews", cure, named=True)
    if "scenario_returns" in draft.tables:
        for row in draft.rows("scenario_returns", draft.tables["scenario_returns"]["instrument"].isin(draft.cash)):
            yield row.breach("instrument", "grows by its required_return where there are reviews", "remove the row")


def check_utility(draft: Draft) -> Iterator[Breach]:
    """What the program of the tree leaves out, and what a utility must be told."""
    settings, mandate, robust = draft.settings, draft.settings.mandate, draft.settings.robust
    if not settings.uses_tree:
        return
    aversion, objective = mandate.relative_risk_aversion, f"objective = '{mandate.objective}'"
    if "relative_risk_aversion" in mandate.traits.keys and (aversion is None or aversion == 1):
        key, cure = "mandate.relative_risk_aversion", "write for example 3.0; for 1 use objective = 'log'"
        yield setting_breach(key, aversion, f"must be stated with {objective}, and not be 1", cure)
    if mandate.tiers:
        cure = "remove the priorities: the rules are then hard"
        yield setting_breach("mandate.tiers", ", ".join(mandate.tiers), f"cannot be relaxed with {objective}", cure)
    unknown = {
        "robust.return_error": None if robust.return_error == "none" else robust.return_error,
        "trading.indifference_bps": settings.trading.indifference_bps or None,
    }
    for key, value in unknown.items():
        if value is not None:
            cure = "remove it, or use 'return_minus_risk'"
            yield setting_breach(key, value, f"is not known with {objective}", cure)
    for name, scenario in settings.scenarios.items() if robust.guards else ():
        if scenario.probability in (0, 1):
            rule = "leaves nothing to be wrong about, and [robust] guards against being wrong"
            cure = "state a probability between 0 and 1, or remove the scenario"
            yield setting_breach(f"scenarios.{name}.probability", scenario.probability, rule, cure)


def check_draws(draft: Draft) -> Iterator[Breach]:
    """That draws fit into memory."""
    settings, mandate = draft.settings, draft.settings.mandate
    scenarios = max(len(settings.scenarios), 1)
    if settings.uses_tree and "draws" in mandate.traits.keys and "exposures" in draft.tables:
        names = max(len(draft.risky), 1)
        # silence, a claim and its verdicts at each review: about two ways for each to come to the end
        ways = max(2 * len(settings.horizon.reviews), 1)
        fit = _MEMORY // (8 * ways * scenarios * names) // 2 * 2
        if mandate.draws > fit:
            each = f"{scenarios} scenarios x {names} names" + (f" x {ways} ways to come there" if ways > 1 else "")
            rule = f"do not fit into memory: {each} leave room for {fit:,} ({_MEMORY / 1e9:g} GB)"
            cure = f"write draws = {fit}, or have fewer scenarios{', reviews' if ways > 1 else ''} or names"
            yield setting_breach("mandate.draws", mandate.draws, rule, cure)


# `[plugins]` of `book.toml`: what other packages add to this book, by name, and what the book must then not have.
#


def check_plugins(draft: Draft) -> Iterator[Breach]:
    """Names that mean no plugin or several, and what a plugin cannot stand beside; nothing is imported."""
    settings, plugins = draft.settings, draft.settings.plugins
    for kind in ("rules", "objectives", "models", "exporters"):
        for name in getattr(plugins, kind):
            yield from plugin_breaches(kind, name, "book.toml", dotted_key("plugins", kind, name))
    for name in plugins.models if settings.model is not None else ():
        rule = "makes scenario returns, and so does [model]"
        yield setting_breach(dotted_key("plugins", "models", name), None, rule, "remove one of them")
    objective, traits = settings.mandate.objective, settings.mandate.traits
    if not traits.uses_returns or traits.uses_tree:
        for name in plugins.objectives:
            rule = f"is charged beside the return, and objective = '{objective}' "
            rule += "is solved in stages" if traits.uses_returns else "looks at none"
            cure = "choose return_minus_risk without [horizon] reviews, or remove the plugin"
            yield setting_breach(dotted_key("plugins", "objectives", name), None, rule, cure)
    for kind in ("rules", "models") if settings.horizon.reviews else ():
        for name in getattr(plugins, kind):
            rule = "speaks of today, and horizon.reviews want what holds at later dates as well"
            yield setting_breach(dotted_key("plugins", kind, name), None, rule, "remove the reviews, or the plugin")


def tables_in_use(settings: Settings) -> dict[str, set[str]]:
    """The plugins that a book names, by kind; an exporter is named where it has parameters."""
    named = {kind: {*getattr(settings.plugins, kind)} for kind in ("rules", "objectives", "models", "exporters")}
    sources = {table.source for table in vars(settings.tables).values() if isinstance(table, SourceTable)}
    return {**named, "sources": sources, "commands": set()}


CHECKS = (
    *looked_at(check_scenarios),
    *looked_at(rules.check_bucket_names, rules.check_buckets_and_groups, rules.check_ratios),
    *looked_at(rules.check_bands, needs="exposures"),
    *looked_at(rules.check_tiers, rules.check_lists, rules.check_few_names),
    *looked_at(rules.check_limits, check_idle_keys, question.check_ambiguity_settings, check_horizon, check_reviews),
    *looked_at(check_cash_flows),
    *looked_at(check_growth, needs="exposures"),
    *looked_at(check_utility, check_draws, stress.check_stress_ranges, question.check_question),
    *looked_at(
        question.check_view,
        question.check_views,
        question.check_belief_ranges,
        question.check_market,
        question.check_model_parameters,
    ),
    *looked_at(question.check_returns_of_everyone, needs="exposures"),
    *looked_at(question.check_signals, needs="signals"),
    *looked_at(stress.check_shocks, check_plugins, rules.check_benchmark_rules),
    *looked_at(tables.check_account, tables.check_dates, tables.check_one_price, needs="holdings"),
    *looked_at(
        tables.check_something_is_held,
        tables.check_worthless,
        tables.check_currencies,
        tables.check_value,
        needs="holdings",
    ),
    *looked_at(
        rules.check_archetypes, tables.check_cash, rules.check_rule_names, rules.check_members, needs="exposures"
    ),
    *looked_at(rules.check_counted, rules.check_cash_shares, rules.check_rule_columns, needs="exposures"),
    *looked_at(tables.check_risk_tables),
    *looked_at(tables.check_risk_columns, tables.check_same_instruments, needs="exposures"),
    *looked_at(check_history, needs="prices"),
    *looked_at(tables.check_scenario_columns, tables.check_plausible_returns, needs="scenario_returns"),
    *looked_at(tables.check_benchmark_sum, needs="benchmark"),
    *looked_at(tables.check_covariance, needs="covariance"),
    *looked_at(rules.check_factor_names, needs="factors"),
)
"""Every check, in the order that its errors are told in, and the table that must be sound for it to look."""
