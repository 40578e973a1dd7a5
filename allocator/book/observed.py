"""What the rows of `signals.csv` must agree on with the question and with each other: who may say what, and when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator
from typing import Any

import pandas as pd

from allocator.book.sections import Settings
from allocator.errors import Breach, did_you_mean

ANY_LAB = "any lab"
"""The source of a claim of which it is known only that somebody silent made it, and since when."""


def breaches_of_signals(settings: Settings, signals: pd.DataFrame, where: str) -> Iterator[Breach]:
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
