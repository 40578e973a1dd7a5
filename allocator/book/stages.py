"""What a utility of the final wealth, and reviews on the way there, must agree on with the rest of the book."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from allocator.book.sections import Settings
from allocator.book.wishes import MOST_SCENARIOS, ONE_DECISION, REVIEWED
from allocator.errors import Breach

_CHOICES = " or ".join(f"'{name}'" for name in REVIEWED)
_PLANNED = "what is best at a review by it is not what it planned for that review"
_WHY_NOT = {
    "mixture_variance": f"is not time-consistent: the variance between scenarios has one mean for all; {_PLANNED}",
    "regret_ex_ante": "is not time-consistent: its corners are of one set of probabilities, and news moves them",
}
_MEMORY = 1_000_000_000
"""Bytes that the draws of mean_cvar may take; a solver then needs several times as much."""


def breaches_of_stages(settings: Settings, tables: Mapping[str, pd.DataFrame]) -> Iterator[Breach]:
    """Every disagreement about the horizon, its reviews and the utility."""
    yield from _horizon(settings)
    if settings.horizon.reviews:
        yield from _reviews(settings)
        if "exposures" in tables:
            yield from _growth(tables)
    if settings.in_stages:
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
            "is needed with reviews: what deciding later is worth hangs on it",
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
        rule = f"cannot give way with objective = '{mandate.objective}'"
        yield _said("mandate.tiers", ", ".join(mandate.tiers), rule, "remove the tiers: the rules are then hard")
    if robust.return_error != "none":
        rule, cure = f"is not known with objective = '{mandate.objective}'", "remove it, or use 'return_minus_risk'"
        yield _said("robust.return_error", robust.return_error, rule, cure)
    if settings.trading.indifference_bps:
        rule, cure = f"is not known with objective = '{mandate.objective}'", "remove it, or use 'return_minus_risk'"
        yield _said("trading.indifference_bps", settings.trading.indifference_bps, rule, cure)
    if robust.set != "none":
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
