"""What `[stress.ranges]` must be: in order, lawful, of parameters that the book has, around the book's own values.

A parameter is named by its key in `book.toml`, such as model.token_reduction or scenarios.NAME.usage_elasticity;
question.prior_generalizable, question.disclosure, question.hazard and question.background are those of
[question.ranges]: the prior of the answer, and one value that all labs share.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from allocator.book.question import ModelSection
from allocator.book.sections import HorizonSection, ScenarioSection, Settings
from allocator.book.settings import dotted
from allocator.errors import Breach, did_you_mean

_TOPS = {"prior_generalizable": 1.0, "disclosure": 1.0, "hazard": 10.0, "background": 10.0}
"""Of the question's ranges, as [question.ranges] has them; they begin above 0."""
_SECTIONS: dict[str, type[BaseModel]] = {
    "model": ModelSection,
    "horizon": HorizonSection,
    "scenarios": ScenarioSection,
}
_HOLDS = 1e-9
"""How far a value may be outside, relative to the end: a prior is a sum of probabilities."""


def breaches_of_doubts(settings: Settings) -> Iterator[Breach]:
    """Ranges out of order, beyond what is lawful, without the book's own value, or of what the book has not."""
    ranges = settings.stress.ranges
    if ranges is None:
        return
    for name in ranges.scenarios:
        if name not in settings.scenarios:
            cure = did_you_mean(name, settings.scenarios)
            yield Breach(
                "book.toml", None, dotted("stress", "ranges", "scenarios", name), name, "no such scenario", cure
            )
    for key, (low, high) in stated_ranges(settings).items():
        rule, cure = _fault(settings, key, low, high)
        if rule:
            yield Breach("book.toml", None, _place(key), f"[{low:g}, {high:g}]", rule, cure)


def breaches_of_own_values(settings: Settings) -> Iterator[Breach]:
    """Ranges without the book's own value: what is stressed would then not surround what is believed.

    Asked when the ranges are used, and not of every book: a what-if may move a parameter out of its range.
    """
    for key, (low, high) in stated_ranges(settings).items():
        for own in own_values(settings, key):
            if not low - _HOLDS * abs(low) <= own <= high + _HOLDS * abs(high):
                rule, cure = f"does not hold the book's own {own:.10g}", "widen it to hold that, or correct the value"
                yield Breach("book.toml", None, _place(key), f"[{low:g}, {high:g}]", rule, cure)
                break


def stated_ranges(settings: Settings) -> dict[str, tuple[float, float]]:
    """What [stress.ranges] states, by the key of the parameter such as model.token_reduction."""
    ranges = settings.stress.ranges
    if ranges is None:
        return {}
    found = {}
    for name, pair in ranges.model_dump(exclude={"scenarios"}, exclude_none=True).items():
        room = "model" if name in ModelSection.model_fields else "question" if name in _TOPS else "horizon"
        found[f"{room}.{name}"] = (pair[0], pair[1])
    for scenario, own in ranges.scenarios.items():
        if scenario in settings.scenarios:  # a stranger is refused by itself
            for name, pair in own.model_dump(exclude_none=True).items():
                found[f"scenarios.{scenario}.{name}"] = (pair[0], pair[1])
    return found


def own_values(settings: Settings, key: str) -> tuple[float, ...]:
    """What the book itself says of a parameter: one number, or one a lab; none where it says nothing."""
    room, _, name = key.partition(".")
    if key == "question.prior_generalizable":
        prior = sum(one.probability for one in settings.scenarios.values() if one.hypothesis == "generalizable")
        return (float(prior),) if settings.question is not None else ()
    if room == "question":
        labs = settings.question.labs.values() if settings.question is not None else ()
        return tuple(float(getattr(lab, name)) for lab in labs)
    section: BaseModel | None = {"model": settings.model, "horizon": settings.horizon}.get(room)
    if room == "scenarios":
        scenario, _, name = name.rpartition(".")
        section = settings.scenarios[scenario]
    value = None if section is None else getattr(section, name)
    return () if value is None else (float(value),)


def lawful(key: str) -> tuple[float, float, bool, bool]:
    """Lowest and highest value that the contract allows, and whether each of these ends is itself out of bounds."""
    room, _, name = key.partition(".")
    if room == "question":
        return 0.0, _TOPS[name], True, True
    model = _SECTIONS[room]
    name = name.rpartition(".")[2]
    low, high, above, below = float("-inf"), float("inf"), False, False
    schema = model.model_json_schema()["properties"][name]
    for part in (schema, *schema.get("anyOf", ())):
        low = part.get("minimum", part.get("exclusiveMinimum", low))
        high = part.get("maximum", part.get("exclusiveMaximum", high))
        above |= "exclusiveMinimum" in part
        below |= "exclusiveMaximum" in part
    return float(low), float(high), above, below


def _fault(settings: Settings, key: str, low: float, high: float) -> tuple[str, str]:
    """What is wrong with one range, and the cure; nothing where it is sound."""
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        return "must be two finite numbers", "write for example [0.4, 1.5]"
    if low > high:
        return "must be [lowest, highest]", f"write the lowest first: [{high:g}, {low:g}]"
    least, most, above, below = lawful(key)
    if low < least or high > most or (above and low == least) or (below and high == most):
        words = (f"{'above' if above else 'at least'} {least:g}", f"{'below' if below else 'at most'} {most:g}")
        return f"must be {words[0]} and {words[1]}, at both ends", "bring it inside"
    room = key.partition(".")[0]
    if room == "question" and settings.question is None:
        return "has no effect without [question]", "add [question], or remove the range"
    if room in ("model", "scenarios") and settings.model is None:
        return "has no effect without [model]", "add [model], or remove the range"
    return "", ""


def _place(key: str) -> str:
    """The key as [stress.ranges] writes it: its section is not said there, but of a scenario."""
    room, _, name = key.partition(".")
    if room != "scenarios":
        return dotted("stress", "ranges", name)
    scenario, _, name = name.rpartition(".")
    return dotted("stress", "ranges", "scenarios", scenario, name)
