"""Whether what `[robust]` guards against speaks of this book's scenarios: experts, metric and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from allocator.book.robust import LimitSection
from allocator.book.sections import ScenarioSection, Settings
from allocator.book.settings import dotted
from allocator.errors import Breach, did_you_mean

_TEXTS = ("hypothesis", "demand", "note")
COORDINATES = tuple(name for name in ScenarioSection.model_fields if name not in ("probability", *_TEXTS))
"""Scenario parameters that are numbers, so that two scenarios have a distance in them."""
_NOISE = 1e-9


def breaches_of_guards(settings: Settings) -> Iterator[Breach]:
    """What `[robust]` says of scenarios; sections that its set does not read are said to be idle elsewhere."""
    robust = settings.robust
    if robust.set == "hull":
        for name, probabilities in robust.experts.items():
            yield from _expert(settings, name, probabilities)
    if robust.set == "wasserstein":
        for name in robust.metric:
            yield from _coordinate(settings, name)
    if robust.set == "polytope":
        for name, limit in robust.limits.items():
            yield from _limit(settings, name, limit)


def _said(column: str, value: str | None, rule: str, cure: str) -> Breach:
    return Breach("book.toml", None, column, value, rule, cure)


def _unknown(settings: Settings, place: tuple[str, ...], names: Mapping[str, object]) -> Iterator[Breach]:
    for scenario in names:
        if scenario not in settings.scenarios:
            cure = did_you_mean(scenario, settings.scenarios)
            yield _said(dotted(*place, scenario), scenario, "no such scenario", cure)


def _expert(settings: Settings, name: str, probabilities: Mapping[str, float]) -> Iterator[Breach]:
    place = ("robust", "experts", name)
    yield from _unknown(settings, place, probabilities)
    missing = [scenario for scenario in settings.scenarios if scenario not in probabilities]
    for scenario in missing:
        yield _said(
            dotted(*place, scenario), None, "is required: an expert speaks of every scenario", "add it; 0 is allowed"
        )
    total = sum(probabilities.values())
    if not missing and abs(total - 1) > _NOISE:
        cure = f"the sum is {total:.10g}: {'raise' if total < 1 else 'lower'} them by {abs(1 - total):.4g} in all"
        yield _said(dotted(*place), f"{total:.10g}", "an expert's probabilities must sum to 1", cure)


def _coordinate(settings: Settings, name: str) -> Iterator[Breach]:
    place = dotted("robust", "metric", name)
    if name not in COORDINATES:
        yield _said(place, name, "no such number of a scenario", did_you_mean(name, COORDINATES))
        return
    for scenario, section in settings.scenarios.items():
        if getattr(section, name) is None:
            yield _said(dotted("scenarios", scenario, name), None, "is needed by [robust.metric]", "add it")


def _limit(settings: Settings, name: str, limit: LimitSection) -> Iterator[Breach]:
    place = ("robust", "limits", name)
    unknown = list(_unknown(settings, (*place, "weights"), limit.weights))
    yield from unknown
    if unknown:
        return
    each = [limit.weights.get(scenario, 0.0) for scenario in settings.scenarios]
    if limit.max is not None and min(each) > limit.max:
        cure = f"raise max to {min(each):g} or more"
        yield _said(dotted(*place, "max"), f"{limit.max:g}", "no probabilities can keep it", cure)
    if limit.min is not None and max(each) < limit.min:
        cure = f"lower min to {max(each):g} or less"
        yield _said(dotted(*place, "min"), f"{limit.min:g}", "no probabilities can keep it", cure)
